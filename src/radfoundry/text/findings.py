"""A dictionary of findings as data: what may be in a report, how it is worded, and how bad a miss is.

    format: 1
    name: chest-radiograph
    version: "1"
    language: en
    findings:
      - id: pleural_effusion
        name: Pleural effusion
        region: pleura
        criticality: significant
        parent: pleural_abnormality
        synonyms: [pleural effusion, effusion, pleural|parapneumonic fluid, costophrenic ... blunted]
        exclusions: [pericardial effusion]
        codes: {radlex: RID34539}
    normals:
      - phrases: [pleural_space|pleura ... clear|normal]
        absent: [pleural_effusion, pneumothorax]

A phrase is words in order. `a|b` are alternatives for one place, `_` joins the words of one alternative,
`word?` may be missing, and `...` lets up to six words of the same clause stand between. Case, accents,
hyphens and plural endings do not count.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from reprlib import Repr
from typing import Any, Literal, get_args

from radfoundry import yaml_files
from radfoundry.errors import InputError, UnknownName
from radfoundry.registry import nearest
from radfoundry.text.codes import SYSTEMS, valid_code
from radfoundry.text.phrases import GAP, wordings

Criticality = Literal["critical", "significant", "minor", "normal variant"]
CRITICALITIES: tuple[Criticality, ...] = get_args(Criticality)
Language = Literal["en", "es"]

FOLDER = Path(__file__).parent / "dictionaries"
MOST_BYTES = 5_000_000

KEYS = ("format", "name", "version", "title", "language", "modality", "source", "findings", "normals")
FINDING_KEYS = ("id", "name", "region", "criticality", "parent", "synonyms", "exclusions", "codes")
ID = re.compile(r"[a-z][a-z0-9_]{1,60}")
SHORT = Repr()
"""Writes any value of a file briefly: a few lines of YAML may stand for gigabytes."""
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 2, 100, 100


@dataclass(frozen=True)
class Finding:
    """One entry. synonyms and exclusions are phrases; an exclusion keeps a phrase inside it from counting."""

    id: str
    name: str
    region: str
    criticality: Criticality
    parent: str = ""
    synonyms: tuple[str, ...] = ()
    exclusions: tuple[str, ...] = ()
    codes: Mapping[str, str] = field(default_factory=dict)

    @property
    def phrases(self) -> tuple[str, ...]:
        """Its synonyms; the name where there are none."""
        return self.synonyms or (self.name,)


@dataclass(frozen=True)
class Normal:
    """Wordings of normality, and the findings that they deny."""

    phrases: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Dictionary:
    """Findings by id, in the order of the file."""

    name: str
    version: str
    language: Language
    findings: Mapping[str, Finding]
    normals: tuple[Normal, ...] = ()

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings.values())

    def __getitem__(self, key: str) -> Finding:
        if key not in self.findings:
            raise UnknownName(
                f"{self.name} has no finding {key!r}.{nearest(key, self.findings)} "
                f"It has {len(self)}: radfoundry reports dictionary {self.name}"
            )
        return self.findings[key]

    def by_region(self) -> dict[str, list[Finding]]:
        """Findings by body region, both in the order of the file."""
        found: dict[str, list[Finding]] = {}
        for one in self:
            found.setdefault(one.region, []).append(one)
        return found

    @cached_property
    def digest(self) -> str:
        """Of all that decides what a report yields: part of an extractor's version."""
        plain = {"language": self.language, "findings": [asdict(f) for f in self],
                 "normals": [asdict(n) for n in self.normals]}  # fmt: skip
        return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def ancestors(self, key: str) -> tuple[str, ...]:
        """Parents of a finding, the nearest first."""
        found: list[str] = []
        parent = self[key].parent
        while parent:
            found.append(parent)
            parent = self[parent].parent
        return tuple(found)


@dataclass(frozen=True)
class Problem:
    """One fault of a dictionary: where, what, and what to do."""

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        stop = "" if self.what.endswith(("?", ".")) else "."
        return f"{self.where}: {self.what}{stop} {self.fix}"


def names() -> list[str]:
    """Dictionaries that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@lru_cache(maxsize=8)
def _shipped(name: str) -> Dictionary:
    return read(FOLDER / f"{name}.yaml")


def load(name_or_path: str | Path) -> Dictionary:
    """A dictionary of the package by name, or a file.

    UnknownName for a name that is neither; InputError lists all faults of a file.
    """
    text = str(name_or_path)
    if text in names():
        return _shipped(text)
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return read(path)
    raise UnknownName(
        f"no dictionary {text!r}.{nearest(text, names())} Shipped: {', '.join(names())}; or give a YAML file"
    )


def read(path: Path) -> Dictionary:
    """A dictionary from YAML. InputError names the file and every fault in it, not the first alone."""
    loaded, twice = _load_yaml(path)
    problems = [*twice, *validate(loaded)]
    if problems:
        count = f"{len(problems)} fault{'s' if len(problems) > 1 else ''}"
        raise InputError(f"{path} has {count}:\n" + "\n".join(f"  {one}" for one in problems[:50]))
    findings = [_finding(entry) for entry in loaded["findings"]]
    return Dictionary(
        str(loaded["name"]), str(loaded["version"]), loaded.get("language", "en"),
        {one.id: one for one in findings},
        tuple(Normal(tuple(n["phrases"]), tuple(n["absent"])) for n in loaded.get("normals") or ()),
    )  # fmt: skip


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file of plain values; InputError when it is none, or names one entry twice."""
    loaded, twice = _load_yaml(path)
    if twice:
        raise InputError("\n".join([f"{path}:", *(f"  {one}" for one in twice[:50])]))
    return loaded


def _load_yaml(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The mapping, and the keys that an entry of it has twice: of those YAML keeps the last alone."""
    import yaml

    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} has more than {MOST_BYTES // 1_000_000} MB; that is no dictionary")
        loaded, repeated = yaml_files.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise InputError(f"there is no file {path}. Check the path") from cause
    except OSError as cause:
        raise InputError(f"{path} cannot be read ({cause.strerror}). Give a YAML file") from cause
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as cause:
        raise InputError(f"{path} is not readable as YAML: {_yaml_fault(cause)}") from cause
    if not isinstance(loaded, dict):
        raise InputError(f"{path} holds no mapping. It should begin with `format: 1`")
    return loaded, [
        Problem(
            key.where or "the file",
            f"has {SHORT.repr(key.key)} twice, in lines {key.first} and {key.second}",
            "Only the last would count: join the two, or remove one",
        )
        for key in repeated
    ]


def _yaml_fault(cause: Exception) -> str:
    """What is wrong and where, without the line itself: somebody may have given reports instead."""
    mark, problem = getattr(cause, "problem_mark", None), getattr(cause, "problem", None)
    if mark is None:
        return " ".join(str(cause).split())
    hint = "Put the text in quotes"
    if "got '?'" in str(problem):
        hint = "Within [ ] YAML takes ? for its own: put each phrase on a line of its own, after a dash"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}. {hint}"


def _finding(entry: Mapping[str, Any]) -> Finding:
    return Finding(
        entry["id"], entry["name"], entry["region"], entry["criticality"], entry.get("parent") or "",
        tuple(entry.get("synonyms") or (entry["name"],)), tuple(entry.get("exclusions") or ()),
        dict(entry.get("codes") or {}),
    )  # fmt: skip


# -- validation -------------------------------------------------------------------------------------


def validate(loaded: Mapping[str, Any]) -> list[Problem]:
    """Every fault of a dictionary as loaded from YAML; empty when there is none."""
    problems = list(_head(loaded))
    entries = loaded.get("findings")
    if not isinstance(entries, list) or not entries:
        return [
            *problems,
            Problem("findings", "is no list of findings", "Add `findings:` with one entry each"),
        ]
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        problems += _entry(entry, number)
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            name = entry["id"]
            if name in seen:
                problems.append(Problem(
                    f"findings[{number}]", f"id {name!r} is used by findings[{seen[name]}] too", "Rename one"
                ))  # fmt: skip
            seen.setdefault(name, number)
    problems += _parents(entries, seen)
    language = loaded.get("language", "en")
    problems += _clashes(entries, loaded.get("normals"), language if language in get_args(Language) else "en")
    return problems + list(_normals(loaded.get("normals"), seen))


def _head(loaded: Mapping[str, Any]) -> Iterator[Problem]:
    for key in loaded:
        if key not in KEYS:
            yield Problem(f"{key}", f"is no entry of a dictionary.{nearest(str(key), KEYS)}", "Remove it")
    if loaded.get("format") != 1:
        yield Problem("format", f"is {SHORT.repr(loaded.get('format'))}", "This version reads `format: 1`")
    for key in ("name", "version"):
        if not isinstance(loaded.get(key), str) or not loaded[key].strip():
            yield Problem(key, "is missing or no text", f'Add `{key}: "..."`')
    if loaded.get("language", "en") not in get_args(Language):
        known = ", ".join(get_args(Language))
        language = SHORT.repr(loaded["language"])
        yield Problem("language", f"{language} has no rules", f"Use one of: {known}")


def _entry(entry: Any, number: int) -> Iterator[Problem]:
    where = f"findings[{number}]"
    if not isinstance(entry, dict):
        yield Problem(where, "is no mapping", "Give id, name, region, criticality and synonyms")
        return
    if isinstance(entry.get("id"), str):
        where += f" {entry['id']}"
    for key in entry:
        if key not in FINDING_KEYS:
            yield Problem(
                where, f"has an unknown entry {key!r}.{nearest(str(key), FINDING_KEYS)}", "Remove it"
            )
    for key in ("id", "name", "region"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            yield Problem(where, f"{key} is missing or no text", f"Add `{key}:`")
    if isinstance(entry.get("id"), str) and not ID.fullmatch(entry["id"]):
        yield Problem(
            where,
            f"id {entry['id']!r} is not lower case with underscores, of 2 to 61 characters",
            "Such as pleural_effusion",
        )
    if entry.get("criticality") not in CRITICALITIES:
        level = SHORT.repr(entry.get("criticality"))
        yield Problem(where, f"criticality is {level}", f"Use one of: {', '.join(CRITICALITIES)}")
    if not isinstance(entry.get("parent") or "", str):
        yield Problem(where, f"parent {SHORT.repr(entry['parent'])} is no text", "Give one id")
    yield from _phrases(entry.get("synonyms") or [entry.get("name")], f"{where}.synonyms")
    yield from _phrases(entry.get("exclusions") or [], f"{where}.exclusions")
    codes = entry.get("codes") or {}
    if not isinstance(codes, dict):
        yield Problem(f"{where}.codes", "is no mapping", "Such as {radlex: RID34539}")
        return
    for system, code in codes.items():
        if system not in SYSTEMS:
            yield Problem(f"{where}.codes", f"{system!r} is no known system", f"Use: {', '.join(SYSTEMS)}")
        elif not valid_code(system, code):
            yield Problem(
                f"{where}.codes", f"{SHORT.repr(code)} is no valid {system} code",
                "Look it up, or leave it out",
            )  # fmt: skip


def _phrases(found: Any, where: str) -> Iterator[Problem]:
    if not isinstance(found, list):
        yield Problem(where, "is no list", "Give a list, one phrase a line after a dash")
        return
    for phrase in found:
        if not isinstance(phrase, str):
            yield Problem(
                where, f"{SHORT.repr(phrase)} is no text",
                "Put it in quotes (YAML reads no and on as true/false)",
            )  # fmt: skip
            continue
        try:
            wordings(phrase)
        except InputError as error:
            yield Problem(
                where, f"{phrase!r} {error}", "See the grammar of phrases in docs/how-to/findings.md"
            )


def _parents(entries: Sequence[Any], ids: Mapping[str, int]) -> Iterator[Problem]:
    parent = {
        e["id"]: e["parent"] for e in entries
        if isinstance(e, dict) and isinstance(e.get("id"), str) and isinstance(e.get("parent"), str)
    }  # fmt: skip
    for child, above in parent.items():
        if above not in ids:
            yield Problem(
                child,
                f"parent {above!r} is no finding.{nearest(above, ids)}",
                "Add the parent, or remove `parent:`",
            )
    followed: set[str] = set()
    for start in parent:
        path: dict[str, None] = {}
        at = start
        while at in parent and at not in followed and at not in path:
            path[at] = None
            at = parent[at]
        if at in path:
            cycle = " -> ".join([*list(path)[list(path).index(at) :], at])
            yield Problem(start, f"its parents run in a circle: {cycle}", "Remove one `parent:`")
        followed |= path.keys()


def _clashes(entries: Sequence[Any], normals: Any, language: str) -> Iterator[Problem]:
    """The same wording for two findings, for one and what it excludes, for one and a statement of normality.

    Faulty entries are looked at as well, by those of their phrases that can be read.
    """
    owner: dict[Wording, str] = {}
    told = set()
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            continue
        key = entry["id"] if isinstance(entry.get("id"), str) else f"findings[{number}]"
        excluded = {wording for _, found in _readable(entry.get("exclusions"), language) for wording in found}
        for phrase, found in _readable(entry.get("synonyms") or [entry.get("name")], language):
            if excluded.intersection(found):
                yield Problem(key, f"{phrase!r} is a synonym and excluded", "Remove one of the two")
            for wording in found:
                first = owner.setdefault(wording, key)
                if first != key and (first, key, phrase) not in told:
                    told.add((first, key, phrase))
                    yield Problem(
                        key, f"{phrase!r} means {first!r} as well (both read {_spoken(wording)!r})",
                        "Leave it to one of the two, or make it longer",
                    )  # fmt: skip
    for number, normal in enumerate(normals if isinstance(normals, list) else (), 1):
        for phrase, found in _readable(normal.get("phrases") if isinstance(normal, dict) else None, language):
            for key in dict.fromkeys(owner[wording] for wording in found if wording in owner):
                wording = next(w for w in found if owner.get(w) == key)
                yield Problem(
                    f"normals[{number}].phrases",
                    f"{phrase!r} says that {key!r} is there as well (both read {_spoken(wording)!r})",
                    f"Remove it here, or from the synonyms of {key}",
                )


Wording = tuple[tuple[str, ...], ...]


def _readable(phrases: Any, language: str) -> Iterator[tuple[str, tuple[Wording, ...]]]:
    """Phrases with their wordings, without those that hold a fault themselves."""
    for phrase in phrases if isinstance(phrases, list) else ():
        if isinstance(phrase, str):
            try:
                found = wordings(phrase, language)
            except InputError:
                continue
            yield phrase, found


def _spoken(wording: Wording) -> str:
    return f" {GAP} ".join(" ".join(part) for part in wording)


def _normals(found: Any, ids: Mapping[str, int]) -> Iterator[Problem]:
    if not isinstance(found or [], list):
        yield Problem("normals", "is no list", "Give entries of `phrases:` and `absent:`")
        return
    for number, one in enumerate(found or [], 1):
        where = f"normals[{number}]"
        if not isinstance(one, dict) or set(one) != {"phrases", "absent"}:
            yield Problem(where, "needs `phrases:` and `absent:` and nothing else", "Give both as lists")
            continue
        yield from _phrases(one["phrases"], f"{where}.phrases")
        if one["phrases"] == []:
            yield Problem(f"{where}.phrases", "is empty", "Add a wording of normality, or remove the entry")
        if one["absent"] == []:
            yield Problem(
                f"{where}.absent", "is empty", "Add the findings that are denied, or remove the entry"
            )
        if not isinstance(one["absent"], list):
            yield Problem(f"{where}.absent", "is no list", "Give ids of findings")
            continue
        for name in one["absent"]:
            if not isinstance(name, str):
                yield Problem(f"{where}.absent", f"{SHORT.repr(name)} is no text", "Give ids of findings")
            elif name not in ids:
                yield Problem(f"{where}.absent", f"{name!r} is no finding.{nearest(name, ids)}", "Mend it")
