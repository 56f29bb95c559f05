"""What is said to a language model: prompt files, findings in chunks, reports in windows.

A prompt file is Markdown with the parts `# system` and `# user`, and for a worked example `# example
findings`, `# example report` and `# example answer`. `{findings}` and `{report}` in the user part are filled
in; nothing in a file is evaluated.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from radfoundry.errors import InputError, UnknownName
from radfoundry.registry import nearest
from radfoundry.text.findings import Dictionary, Finding
from radfoundry.text.llm_answers import parse, schema
from radfoundry.text.llm_guard import fence, locate, neutral
from radfoundry.text.phrases import GAP

FOLDER = Path(__file__).parent / "prompts"
MOST_BYTES = 200_000
PARTS = ("system", "user", "example findings", "example report", "example answer")
WORDINGS = 2
"""Synonyms beside the name; more costs tokens for every report."""

_HEADER = re.compile(rf"^# ({'|'.join(PARTS)})[ \t]*$", re.MULTILINE)
_PLACE = re.compile(r"\{(findings|report)\}")


@dataclass(frozen=True)
class Prompt:
    """What surrounds a report. example: findings, report and answer of a worked case, or nothing."""

    name: str
    system: str
    user: str
    example: tuple[str, str, str] | None = None

    @cached_property
    def digest(self) -> str:
        """Of every word of it, not of its name."""
        parts = "\0".join((self.system, self.user, *(self.example or ())))
        return hashlib.sha256(parts.encode()).hexdigest()

    def messages(self, findings: str, window: str) -> list[dict[str, str]]:
        """Turns of a conversation. window: neutral report text.

        What is the same for all reports comes first, so that a server can keep its reading of it.
        """
        turns = [{"role": "system", "content": self.system}]
        if self.example:
            listed, report, answer = self.example
            turns.append({"role": "user", "content": self._fill(listed, neutral(report))})
            turns.append({"role": "assistant", "content": answer})
        return [*turns, {"role": "user", "content": self._fill(findings, window)}]

    def _fill(self, findings: str, window: str) -> str:
        values = {"findings": findings, "report": fence(window)}
        return _PLACE.sub(lambda found: values[found[1]], self.user)  # one pass: a report may hold {findings}


def names() -> list[str]:
    """Prompts that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def load(name_or_path: str | Path) -> Prompt:
    """A prompt of the package by name, or a file.

    UnknownName for a name that is neither; InputError says what a file lacks.
    """
    text = str(name_or_path)
    path = FOLDER / f"{text}.md" if text in names() else Path(text)
    if not path.is_file():
        raise UnknownName(
            f"no prompt {text!r}.{nearest(text, names())} Shipped: {', '.join(names())}; or give a file"
        )
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES} bytes; that is no prompt")
    try:
        return _read(path.stem, path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as cause:
        raise InputError(f"{path} is not UTF-8. Save it as UTF-8") from cause


def _read(name: str, text: str, path: Path) -> Prompt:
    pieces = _HEADER.split(text)
    headers = pieces[1::2]
    parts = {header: body.strip() for header, body in zip(headers, pieces[2::2])}
    if len(parts) < len(headers):
        raise InputError(f"{path} has a part twice. Keep one of each: {', '.join(PARTS)}")
    for part in ("system", "user"):
        if not parts.get(part):
            raise InputError(f"{path} has no part `# {part}`. See {FOLDER / 'zero-shot.md'}")
    for place in ("findings", "report"):
        if parts["user"].count(f"{{{place}}}") != 1:
            raise InputError(f"{path}: `# user` needs {{{place}}} once, where it is to be filled in")
    given = [parts[part] for part in PARTS[2:] if parts.get(part)]
    if not given:
        return Prompt(name, parts["system"], parts["user"])
    if len(given) < 3:
        raise InputError(
            f"{path}: an example needs the three parts {', '.join(f'`# {p}`' for p in PARTS[2:])}"
        )
    _check_example(given[1], given[2], path)
    return Prompt(name, parts["system"], parts["user"], (given[0], given[1], given[2]))


def _check_example(report: str, answer: str, path: Path) -> None:
    """An example that breaks the rules teaches to break them."""
    try:
        shown = parse(answer)
    except InputError as error:
        raise InputError(f"{path}: example answer: {error}") from error
    for one in shown:
        if locate(one.evidence, report) is None:
            raise InputError(
                f"{path}: example answer: the evidence of {one.id!r} is not in the example report"
            )


# -- the dictionary, in chunks --------------------------------------------------------------------------


@dataclass(frozen=True)
class Chunk:
    """Findings that one request asks for. listing: a line each."""

    ids: tuple[str, ...]
    listing: str

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Of an answer about these findings."""
        return schema(self.ids)


def chunks(dictionary: Dictionary, most: int) -> list[Chunk]:
    """Findings by body region, in the order of the file, at most `most` a chunk.

    Neighbouring small regions share a chunk; a region that is too large is cut.
    """
    if most < 1:
        raise ValueError(f"a chunk needs at least one finding, not {most}")
    made: list[list[Finding]] = []
    for region in dictionary.by_region().values():
        if made and len(made[-1]) + len(region) <= most:
            made[-1] += region
        else:
            made += [region[i : i + most] for i in range(0, len(region), most)]
    return [Chunk(tuple(one.id for one in part), "\n".join(map(_line, part))) for part in made]


def _line(finding: Finding) -> str:
    """
    >>> _line(Finding("effusion", "Effusion", "pleura", "minor", synonyms=("small? pleural|other fluid",)))
    '- effusion: Effusion (small pleural fluid)'
    """
    plain = dict.fromkeys(_plainly(phrase) for phrase in finding.synonyms)
    others = [words for words in plain if words.lower() != finding.name.lower()][:WORDINGS]
    return f"- {finding.id}: {finding.name}" + (f" ({'; '.join(others)})" if others else "")


def _plainly(phrase: str) -> str:
    """The first wording of a phrase, for a reader."""
    first = [word if word == GAP else word.removesuffix("?").split("|")[0] for word in phrase.split()]
    return " ".join(first).replace("_", " ")


# -- a report, in windows ---------------------------------------------------------------------------------

_ENDS = (re.compile(r"\n[ \t]*\n\s*"), re.compile(r"[.!?][\"')]?\s+|\n\s*"), re.compile(r"\s+"))


def windows(text: str, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Spans that cover a text, each of at most `size` characters.

    A span ends with a paragraph, else a sentence, else a word, in its second half. The next begins with the
    first sentence (else word) of its last `overlap` characters, so that a sentence shorter than that is whole
    in one of them.

    >>> list(windows("One two. Three four. Five six.", 24, 12))
    [(0, 21), (9, 30)]
    """
    if not 0 <= overlap <= size // 2:
        raise ValueError(f"overlap must lie between 0 and half the size {size}, not {overlap}")
    start = 0
    while len(text) - start > size:
        end = _last_end(text, start + max(size // 2, overlap) + 1, start + size)
        yield start, end
        start = _first_start(text, end - overlap, end)
    yield start, len(text)


def _last_end(text: str, low: int, high: int) -> int:
    for pattern in _ENDS:
        ends = [found.end() for found in pattern.finditer(text, low, high)]
        if ends:
            return ends[-1]
    return high


def _first_start(text: str, low: int, end: int) -> int:
    for pattern in _ENDS[1:]:
        for found in pattern.finditer(text, max(0, low - 3), end):  # a boundary may end just at `low`
            if low <= found.end() < end:
                return found.end()
    return low
