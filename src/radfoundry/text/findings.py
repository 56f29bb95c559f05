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

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from radfoundry.errors import InputError, UnknownName
from radfoundry.registry import nearest

Criticality = Literal["critical", "significant", "minor", "normal variant"]
CRITICALITIES: tuple[Criticality, ...] = get_args(Criticality)
Language = Literal["en", "es"]

FOLDER = Path(__file__).parent / "dictionaries"
MOST_BYTES = 5_000_000
MOST_WORDINGS = 2_000
"""One phrase may stand for so many wordings; more is a slip of `|`."""

KEYS = ("format", "name", "version", "title", "language", "modality", "source", "findings", "normals")
FINDING_KEYS = ("id", "name", "region", "criticality", "parent", "synonyms", "exclusions", "codes")
ID = re.compile(r"[a-z][a-z0-9_]{1,60}")
CODES = {"radlex": re.compile(r"RID\d{1,6}"), "snomed": re.compile(r"\d{6,18}")}
GAP = "..."


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
    title: str = ""

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

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Body regions in the order of the file."""
        return tuple(dict.fromkeys(one.region for one in self))

    @cached_property
    def digest(self) -> str:
        """Of all that decides what a report yields: part of an extractor's version."""
        import hashlib
        import json
        from dataclasses import asdict

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
        stop = "" if self.what.endswith("?") else "."
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
    loaded = read_yaml(path)
    problems = validate(loaded)
    if problems:
        count = f"{len(problems)} fault{'s' if len(problems) > 1 else ''}"
        raise InputError(f"{path} has {count}:\n" + "\n".join(f"  {one}" for one in problems[:50]))
    findings = [_finding(entry) for entry in loaded["findings"]]
    return Dictionary(
        str(loaded["name"]), str(loaded["version"]), loaded.get("language", "en"),
        {one.id: one for one in findings},
        tuple(Normal(tuple(n["phrases"]), tuple(n["absent"])) for n in loaded.get("normals") or ()),
        str(loaded.get("title") or ""),
    )  # fmt: skip


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file of plain values; InputError when it is none."""
    import yaml

    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} has more than {MOST_BYTES // 1_000_000} MB; that is no dictionary")
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise InputError(f"there is no file {path}. Check the path") from cause
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as cause:
        raise InputError(f"{path} is not readable as YAML: {' '.join(str(cause).split())}") from cause
    if not isinstance(loaded, dict):
        raise InputError(f"{path} holds no mapping. It should begin with `format: 1`")
    return loaded


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
    good = []
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        own = list(_entry(entry, number))
        problems += own
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            name = entry["id"]
            if name in seen:
                problems.append(Problem(
                    f"findings[{number}]", f"id {name!r} is used by findings[{seen[name]}] too", "Rename one"
                ))  # fmt: skip
            seen.setdefault(name, number)
            if not own:
                good.append(entry)
    problems += _parents(entries, seen)
    problems += _clashes(good, loaded.get("language", "en"))
    return problems + list(_normals(loaded.get("normals"), seen))


def _head(loaded: Mapping[str, Any]) -> Iterator[Problem]:
    for key in loaded:
        if key not in KEYS:
            yield Problem(f"{key}", f"is no entry of a dictionary.{nearest(str(key), KEYS)}", "Remove it")
    if loaded.get("format") != 1:
        yield Problem("format", f"is {loaded.get('format')!r}", "This version reads `format: 1`")
    for key in ("name", "version"):
        if not isinstance(loaded.get(key), str) or not loaded[key].strip():
            yield Problem(key, "is missing or no text", f'Add `{key}: "..."`')
    if loaded.get("language", "en") not in get_args(Language):
        known = ", ".join(get_args(Language))
        yield Problem("language", f"{loaded['language']!r} has no rules", f"Use one of: {known}")


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
            where, f"id {entry['id']!r} is not lower case with underscores", "Such as pleural_effusion"
        )
    if entry.get("criticality") not in CRITICALITIES:
        yield Problem(
            where, f"criticality is {entry.get('criticality')!r}", f"Use one of: {', '.join(CRITICALITIES)}"
        )
    for key in ("synonyms", "exclusions"):
        yield from _phrases(entry.get(key), f"{where}.{key}")
    codes = entry.get("codes") or {}
    if not isinstance(codes, dict):
        yield Problem(f"{where}.codes", "is no mapping", "Such as {radlex: RID34539}")
        return
    for system, code in codes.items():
        if system not in CODES:
            yield Problem(f"{where}.codes", f"{system!r} is no known system", f"Use: {', '.join(CODES)}")
        elif not CODES[system].fullmatch(str(code)) or (system == "snomed" and not verhoeff(str(code))):
            yield Problem(
                f"{where}.codes", f"{code!r} is no valid {system} code", "Look it up, or leave it out"
            )


def _phrases(found: Any, where: str) -> Iterator[Problem]:
    if found is None:
        return
    if not isinstance(found, list):
        yield Problem(where, "is no list", "Give a list, one phrase a line after a dash")
        return
    for phrase in found:
        if not isinstance(phrase, str):
            yield Problem(
                where, f"{phrase!r} is no text", "Put it in quotes (YAML reads no and on as true/false)"
            )
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
    told: set[str] = set()
    for start in parent:
        path = [start]
        while path[-1] in parent and parent[path[-1]] not in path:
            path.append(parent[path[-1]])
        back = parent.get(path[-1])
        if back in path:
            cycle = path[path.index(back) :]
            if not told & set(cycle):
                words = " -> ".join([*cycle, cycle[0]])
                yield Problem(start, f"its parents run in a circle: {words}", "Remove one `parent:`")
            told |= set(cycle)


def _clashes(entries: Sequence[Mapping[str, Any]], language: Any) -> Iterator[Problem]:
    """The same wording for two findings; a phrase that the finding excludes itself."""
    if language not in get_args(Language):
        return
    owner: dict[tuple[tuple[str, ...], ...], str] = {}
    told = set()
    for entry in entries:
        excluded = {w for p in entry.get("exclusions") or () for w in wordings(p, language)}
        for phrase in entry.get("synonyms") or (entry["name"],):
            for wording in wordings(phrase, language):
                if wording in excluded:
                    yield Problem(
                        entry["id"], f"{phrase!r} is a synonym and excluded", "Remove one of the two"
                    )
                first = owner.setdefault(wording, entry["id"])
                if first != entry["id"] and (first, entry["id"], phrase) not in told:
                    told.add((first, entry["id"], phrase))
                    text = f" {GAP} ".join(" ".join(part) for part in wording)
                    yield Problem(
                        entry["id"], f"{phrase!r} means {first!r} as well (both read {text!r})",
                        "Leave it to one of the two, or make it longer",
                    )  # fmt: skip


def _normals(found: Any, ids: Mapping[str, int]) -> Iterator[Problem]:
    for number, one in enumerate(found or (), 1):
        where = f"normals[{number}]"
        if not isinstance(one, dict) or not {"phrases", "absent"} >= set(one) or len(one) < 2:
            yield Problem(where, "needs `phrases:` and `absent:` and nothing else", "Give both as lists")
            continue
        yield from _phrases(one["phrases"], f"{where}.phrases")
        if not isinstance(one["absent"], list):
            yield Problem(f"{where}.absent", "is no list", "Give ids of findings")
            continue
        for name in one["absent"]:
            if name not in ids:
                yield Problem(
                    f"{where}.absent", f"{name!r} is no finding.{nearest(str(name), ids)}", "Mend it"
                )


# -- phrases ----------------------------------------------------------------------------------------

WORD = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Lower case without accents, of the same length: offsets stay those of the text.

    >>> fold("Derrame PLEURAL, cardiomegalía")
    'derrame pleural, cardiomegalia'
    """
    if text.isascii():
        return text.lower()
    return "".join(_folded(letter) for letter in text)


@lru_cache(maxsize=4096)
def _folded(letter: str) -> str:
    first = unicodedata.normalize("NFKD", letter)[:1].lower()
    return first if len(first) == 1 else letter


@lru_cache(maxsize=65536)
def stem(word: str, language: str = "en") -> str:
    """One form for singular and plural (Spanish: and for both genders); the same on both sides is enough.

    >>> [stem(w) for w in ("opacities", "masses", "effusions", "atelectasis", "lung")]
    ['opacity', 'mass', 'effusion', 'atelectasis', 'lung']
    >>> stem("aumentadas", "es") == stem("aumentado", "es")
    True
    """
    if language == "es":
        for ending in ("es", "s"):
            if word.endswith(ending) and len(word) > len(ending) + 3:
                word = word[: -len(ending)]
                break
        return word[:-1] if word[-1] in "aeo" and len(word) > 4 else word
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def words(text: str, language: str = "en") -> tuple[str, ...]:
    """The stemmed words of a text."""
    return tuple(stem(word, language) for word in WORD.findall(fold(text)))


@lru_cache(maxsize=65536)
def parts(phrase: str, language: str = "en") -> tuple[tuple[tuple[str, ...], ...], ...]:
    """A phrase as parts between which words may stand; each part as all its wordings.

    >>> parts("effusion|pleural_fluid ... left")
    ((('effusion',), ('pleural', 'fluid')), (('left',),))
    >>> parts("small? effusion")
    ((('small', 'effusion'), ('effusion',)),)

    Raises InputError for a part without words, or a phrase that stands for too many wordings.
    """
    found, total = [], 1
    for piece in phrase.split(GAP):
        places = [_place(word, language) for word in piece.split()]
        for place in places:
            total *= len(place)
        if total > MOST_WORDINGS:
            raise InputError(f"stands for more than {MOST_WORDINGS} wordings")
        made = {tuple(w for choice in chosen for w in choice): None for chosen in product(*places)}
        if () in made:
            raise InputError("has no words before, after or between its gaps")
        found.append(tuple(made))
    return tuple(found)


def wordings(phrase: str, language: str = "en") -> tuple[tuple[tuple[str, ...], ...], ...]:
    """All wordings of a phrase, each a sequence of parts.

    >>> wordings("heart|cardiac_shadow ... enlarged")
    ((('heart',), ('enlarged',)), (('cardiac', 'shadow'), ('enlarged',)))
    """
    return tuple(product(*parts(phrase, language)))


def _place(word: str, language: str) -> list[tuple[str, ...]]:
    optional = word.endswith("?")
    found = [words(choice.replace("_", " "), language) for choice in word.removesuffix("?").split("|")]
    if not all(found):
        raise InputError(f"has an empty alternative in {word!r}")
    return [*found, ()] if optional else found


def parents_of(dictionary: Dictionary, keys: Iterable[str]) -> set[str]:
    """Findings and all that they imply upwards."""
    found = set(keys)
    for key in tuple(found):
        found |= set(dictionary.ancestors(key))
    return found


def by_region(dictionary: Dictionary) -> dict[str, list[Finding]]:
    """Findings grouped by body region."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for one in dictionary:
        found[one.region].append(one)
    return dict(found)


# -- SNOMED CT check digit --------------------------------------------------------------------------

_D = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432",
      "7659821043", "8765932104", "9876543210")  # fmt: skip
_P = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415",
      "7046913258")  # fmt: skip


def verhoeff(number: str) -> bool:
    """Whether the last digit checks the others (Verhoeff 1969), as in every SNOMED CT identifier.

    >>> verhoeff("60046008"), verhoeff("60046009")
    (True, False)
    """
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = int(_D[check][int(_P[place % 8][int(digit)])])
    return check == 0
