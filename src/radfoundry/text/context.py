"""How a language words denial, doubt, history and sections: the data behind the rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

from radfoundry.errors import InputError
from radfoundry.registry import nearest
from radfoundry.text.findings import Language, read_yaml
from radfoundry.text.mentions import Laterality, Severity
from radfoundry.text.phrases import WORD, fold

FOLDER = Path(__file__).parent / "context"

SECTIONS = ("findings", "impression", "comparison", "indication", "technique", "history", "other")
LISTS = ("pseudo_negation", "stop", "restart", "block", "abbreviations", "bridge", "answer_end", "side_stop",
         "direction", "function_words")  # fmt: skip
REACHES = ("negation", "uncertainty", "history")
SIDES = ("before", "after", "answer")
WORDS = {"laterality": get_args(Laterality)[1:], "severity": get_args(Severity)[1:]}
"""Their values but \"\", which no word stands for."""
SAMPLE = 40
"""The language is told from so many reports."""
LEAST = 3
"""So many different function words tell a language."""


@dataclass(frozen=True)
class Context:
    """Phrases of a language by what they do.

    sections: kind to headers. reaches: (negation | uncertainty | history, before | after | answer) to
    triggers; `before` acts on what follows it in the clause, `after` on what precedes, `answer` (and `after`)
    on a label when nothing else is said of it ("Pneumothorax: none"). pseudo_negation: hold a word of denial
    but deny nothing. stop: end the reach of a trigger. restart: begin a new statement after a comma.
    block: may not stand in the gap of a phrase. laterality, severity: word to value. bridge: hold a stop that
    ends no denial ("no findings consistent with"). answer_end: words that may end an answer ("none on this
    study"). side_stop: a side beyond them belongs to something else. direction: so does a side behind them,
    but for the finding right before ("shift to the left"). function_words: tell the language.
    """

    language: Language
    sections: Mapping[str, tuple[str, ...]]
    reaches: Mapping[tuple[str, str], tuple[str, ...]]
    pseudo_negation: tuple[str, ...]
    stop: tuple[str, ...]
    restart: tuple[str, ...]
    block: tuple[str, ...]
    laterality: Mapping[str, str]
    severity: Mapping[str, str]
    abbreviations: tuple[str, ...]
    bridge: tuple[str, ...] = ()
    answer_end: tuple[str, ...] = ()
    side_stop: tuple[str, ...] = ()
    direction: tuple[str, ...] = ()
    function_words: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Of all phrases: part of an extractor's version."""
        plain = asdict(self) | {"reaches": {"-".join(key): value for key, value in self.reaches.items()}}
        return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@lru_cache(maxsize=4)
def of_language(language: Language) -> Context:
    """The context rules that come with the package."""
    return read(FOLDER / f"{language}.yaml")


def foreign(texts: Sequence[str], own: Context) -> Language | None:
    """The language of most of these texts where it is another one, told by function words; None in doubt."""
    found = [set(WORD.findall(fold(text[:2_000]))) for text in texts]
    home = set(own.function_words)
    strange = [words for words in found if len(words & home) < LEAST]
    if not home or 2 * len(strange) <= len(found):
        return None
    for language in get_args(Language):
        if language != own.language:
            theirs = set(of_language(language).function_words) - home
            speak = sum(len(words & theirs) >= max(LEAST, len(words & home) + 1) for words in strange)
            if 2 * speak > len(found):
                return cast(Language, language)
    return None


def read(path: Path) -> Context:
    """Context rules from YAML. InputError names the entry that is wrong."""
    loaded = read_yaml(path)
    known = ("format", "language", "sections", *REACHES, *LISTS, *WORDS)
    for key in loaded:
        if key not in known:
            raise InputError(
                f"{path}: no entry {key!r}.{nearest(str(key), known)} Entries: {', '.join(known)}"
            )
    if loaded.get("format") != 1:
        raise InputError(f"{path}: this version reads `format: 1`")
    language = loaded.get("language", "en")
    if language not in get_args(Language):
        raise InputError(f"{path}: no such language. Use one of: {', '.join(get_args(Language))}")
    sections = {k: _phrases(path, v, k) for k, v in _mapping(path, loaded, "sections", SECTIONS).items()}
    reaches = {
        (kind, side): _phrases(path, phrases, f"{kind}.{side}")
        for kind in REACHES
        for side, phrases in _mapping(path, loaded, kind, SIDES).items()
    }
    lists = {name: _phrases(path, loaded.get(name) or [], name) for name in LISTS}
    valued = {
        name: {
            phrase: value
            for value, phrases in _mapping(path, loaded, name, values).items()
            for phrase in _phrases(path, phrases, f"{name}.{value}")
        }
        for name, values in WORDS.items()
    }
    return Context(
        language, sections, reaches, lists["pseudo_negation"], lists["stop"],
        lists["restart"], lists["block"], valued["laterality"], valued["severity"], lists["abbreviations"],
        lists["bridge"], lists["answer_end"], lists["side_stop"], lists["direction"], lists["function_words"],
    )  # fmt: skip


def _mapping(path: Path, loaded: Mapping[str, Any], name: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    found = loaded.get(name) or {}
    if not isinstance(found, Mapping):
        raise InputError(f"{path}: {name} should be a mapping of: {', '.join(known)}")
    for key in found:
        if key not in known:
            raise InputError(f"{path}: {name}: no entry {key!r}.{nearest(str(key), known)}")
    return found


def _phrases(path: Path, found: Any, where: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(
            f"{path}: {where} should be a list of texts. YAML reads no and on as true/false: quote them"
        )
    return tuple(found)
