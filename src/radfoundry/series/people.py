"""Whose series these are: a pseudonym of each patient, and where one Patient ID stands for several people.

Names and birth dates are compared and go into a digest; they are kept nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from radfoundry.io.dicom import DicomFile
from radfoundry.series.element import digest, text
from radfoundry.series.images import number

ELEMENTS = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
TOLD_BY = (*ELEMENTS, "StudyInstanceUID", "StudyDate")
FORGOTTEN = ELEMENTS[:3]
"""Elements that are taken out of a header once the pseudonym is made."""
# fmt: off
PLACEHOLDERS = frozenset((
    "anon", "anonym", "anonymous", "anonymised", "anonymized", "anonymouspatient", "deid", "deidentified",
    "removed", "redacted", "unknown", "unnamed", "none", "null", "na", "nil", "noid", "noname", "nopatientid",
    "patient", "patientid", "subject", "test", "xxx", "xxxx", "xxxxx", "xxxxxx", "xxxxxxxx",
))
"""What anonymisers write into Patient ID or Patient's Name, in small letters without other signs."""
DUMMY_DATES = frozenset(("00010101", "19000101"))
"""Birth dates that stand for an unknown one."""
# fmt: on
MOST_NAMED = 3


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """What a header tells of a patient beside the ID; "" for what it does not."""

    birth: str
    name: str
    sex: str


@dataclass(frozen=True, slots=True)
class Owner:
    """base: Patient ID, else Study Instance UID, else the folder. by: which of the three it is.

    visit: Study Instance UID, else date and folder.
    """

    base: str
    by: str
    told: Told
    visit: str


@dataclass(slots=True, eq=False)
class Person:
    """One of the people behind a base; grows as headers that fit are added."""

    birth: str
    sex: str
    names: set[str]
    told: list[Told] = field(default_factory=list)

    def fits(self, other: Told, strict: bool) -> bool:
        """Whether a header may be of this person: nothing that both tell differs.

        Equal birth dates outweigh a name (which changes, and is spelt in several ways) unless strict.
        """
        if self.sex and other.sex and self.sex != other.sex:
            return False
        if self.birth and other.birth:
            if self.birth != other.birth:
                return False
            if not strict:
                return True
        return not self.names or not other.name or other.name in self.names

    def add(self, other: Told) -> None:
        self.birth, self.sex = self.birth or other.birth, self.sex or other.sex
        self.names |= {other.name} - {""}
        self.told.append(other)


@dataclass(frozen=True, slots=True)
class People:
    """of: pseudonym of each file, in their order. notes: pseudonym -> what is to be known of it.

    warnings: what is to be known of the whole archive.
    """

    of: tuple[str, ...]
    notes: dict[str, str]
    warnings: tuple[str, ...]


def subjects(files: Sequence[tuple[DicomFile, str]]) -> People:
    """A pseudonym of each file, twelve hexadecimal digits of a digest of Patient ID.

    Without an ID it is of Study Instance UID, and without that of the folder. Where birth date, sex or name
    say that one ID stands for several people, they go into the digest. files: (header, folder).
    """
    known: dict[tuple[Any, ...], Owner] = {}
    owners = []
    for file, where in files:
        raw = (getattr(file.header.get_item(number(name)), "value", None) for name in TOLD_BY)
        key = (where, *(value if isinstance(value, bytes) else str(value) for value in raw))
        if key not in known:
            known[key] = _owner(file, where)
        owners.append(known[key])
    visits: dict[tuple[str, str], dict[Told, set[str]]] = defaultdict(lambda: defaultdict(set))
    for owner in known.values():
        visits[owner.by, owner.base][owner.told].add(owner.visit)
    names: dict[tuple[str, str, Told], str] = {}
    notes: dict[str, str] = {}
    split: list[tuple[str, list[str]]] = []
    vague: list[tuple[str, int]] = []
    for (by, base), seen in visits.items():
        strict = by == "id" and is_placeholder(base)
        people = _people(seen, strict)
        called = [_pseudonym(base, person, len(people) > 1, strict) for person in people]
        if len(set(called)) > 1:
            split.append((NAMED[by], sorted(set(called))))
        for name, person in zip(called, people):
            names |= {(by, base, told): name for told in person.told}
            n = len(set[str]().union(*(seen[told] for told in person.told)))
            if len(set(called)) > 1:
                notes[name] = f"its {NAMED[by]} is of {len(set(called))} people by birth date, sex or name"
            if strict and n > 1 and not (person.birth and person.names):
                vague.append((name, n))
                said = f"its Patient ID is a placeholder: {n} studies of one person or of several"
                notes[name] = "; ".join(filter(None, (notes.get(name), said)))
    of = tuple(names[owner.by, owner.base, owner.told] for owner in owners)
    return People(of, notes, tuple(_warnings(split, vague, known.values())))


NAMED = {"id": "Patient ID", "study": "Study Instance UID (without a Patient ID)", "folder": "folder"}


def is_placeholder(word: str) -> bool:
    """Whether a Patient ID or name is what anonymisers write for everybody.

    >>> [is_placeholder(word) for word in ("Anonymous^^", "0000", "P0012")]
    [True, True, False]
    """
    plain = "".join(c for c in word.casefold() if c.isalnum())
    return not plain.strip("0") or plain in PLACEHOLDERS


def _owner(file: DicomFile, where: str) -> Owner:
    identity, name, birth, sex, study, date = (text(file, name) for name in TOLD_BY)
    name = "".join(c for c in (name.split("=")[0] or name).casefold() if c.isalnum())
    birth = "".join(c for c in birth if c.isdigit())
    sex = sex[:1].upper()
    told = Told(
        "" if not birth.strip("0") or birth in DUMMY_DATES else birth,
        "" if is_placeholder(name) else name,
        sex if sex in ("M", "F") else "",  # O is also what a scanner writes where nobody said
    )
    visit = study or f"{where}\n{date[:8]}"
    if identity:
        return Owner(identity, "id", told, visit)
    return Owner(study, "study", told, visit) if study else Owner(where, "folder", told, visit)


def _people(seen: Iterable[Told], strict: bool) -> list[Person]:
    """The people behind the headers of one base; a header that fits several of them is of nobody known."""
    people: list[Person] = []
    by_birth: dict[str, list[Person]] = defaultdict(list)
    by_name: dict[str, list[Person]] = defaultdict(list)
    for told in sorted(seen, key=lambda t: (not t.birth, not t.name, not t.sex, t)):
        if told.birth:
            near = by_birth[told.birth]
        else:
            near = by_name[told.name] + by_name[""] if told.name else people
        fitting = list({id(person): person for person in near if person.fits(told, strict)}.values())
        known = len(fitting) == 1
        person = fitting[0] if known else Person("", "", set())
        if not known:
            people.append(person)
            by_birth[told.birth].append(person)
        if not known or (told.name and told.name not in person.names):
            by_name[told.name].append(person)
        person.add(told)
    return people


def _pseudonym(base: str, person: Person, one_of_several: bool, strict: bool) -> str:
    if not one_of_several:
        return digest(base)
    name = min(person.names, default="") if strict or not person.birth else ""
    return digest("\n".join((base, person.birth, person.sex, name)))


def _warnings(
    split: list[tuple[str, list[str]]], vague: list[tuple[str, int]], owners: Iterable[Owner]
) -> list[str]:
    """Lines for a person, without any identifier."""
    said = [
        f"one {what} stands for {len(names)} people by birth date, sex or name: {_some(names)}"
        for what, names in split[:MOST_NAMED]
    ]
    if len(split) > MOST_NAMED:
        said.append(f"so do {len(split) - MOST_NAMED} others (notes of their series)")
    said += [
        f"sub-{name}: {n} studies have a Patient ID that is a placeholder (as ANONYMOUS or 0), and nothing "
        "tells whether they are of one person"
        for name, n in vague[:MOST_NAMED]
    ]
    if len(vague) > MOST_NAMED:
        said.append(f"so it is with {len(vague) - MOST_NAMED} other subjects (notes of their series)")
    studies = {owner.base for owner in owners if owner.by == "study"}
    if len(studies) > 1:
        said.append(f"{len(studies)} studies without Patient ID: each is taken for a subject of its own")
    folders = {owner.base for owner in owners if owner.by == "folder"}
    if folders:
        n = len(folders)
        said.append(
            f"{n} folder{'s' if n > 1 else ''} without Patient ID and Study Instance UID: "
            "each is taken for one subject"
        )
    return said


def _some(names: list[str]) -> str:
    shown = ", ".join(f"sub-{name}" for name in names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown
