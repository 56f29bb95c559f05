"""Numbers of sessions and names that a tree gave once stay as they are.

A person puts files beside images: a mask, a note. Were names counted anew whenever a study or a series
arrives, such a file would come to lie beside another image than it was made for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from radfoundry.series.element import digest

if TYPE_CHECKING:
    from radfoundry.series.find import Series

DIGITS = 24
"""Hexadecimal digits of the digests below: of an archive of any size no two meet."""
Given = Mapping[str, Mapping[str, int]]
"""A name without its number, in lower case -> `series_key` -> the number that the series was given there."""
Sessions = Mapping[tuple[str, str], int]
"""(subject, `study_key`) -> the number of the session."""
Numbered = Sequence[tuple[str, int]]
"""(subject, session) of each series."""


def series_key(one: Series) -> str:
    """What tells a series from others, the same in every call, without saying its UID."""
    return digest(f"{one.uid} {one.study}", DIGITS)


def study_key(one: Series) -> str:
    """What tells the study of a series from others of its subject, the same in every call."""
    return digest(one.visit, DIGITS)


def sessions(series: Sequence[Series], by_date: Numbered, given: Sessions) -> list[tuple[str, int]]:
    """(subject, session) of each series: a study keeps the number it was given, others get the next free one.

    by_date: as `bids.sessions` numbers them, the order in which new studies get theirs.
    """
    keys: dict[tuple[str, int], set[str]] = {}
    for study, one in zip(by_date, series, strict=True):
        keys.setdefault(study, set()).add(study_key(one))
    found: dict[tuple[str, int], int] = {}
    kept: set[tuple[str, int]] = set()
    for subject, place in sorted(keys):
        own = sorted(given[subject, key] for key in keys[subject, place] if (subject, key) in given)
        number = next((number for number in own if (subject, number) not in kept), None)
        if number is not None:
            found[subject, place] = number
            kept.add((subject, number))
    last: dict[str, int] = {}
    for (subject, _), number in given.items():
        last[subject] = max(number, last.get(subject, 0))
    for subject, place in sorted(keys):
        if (subject, place) not in found:
            last[subject] = found[subject, place] = last.get(subject, 0) + 1
    return [(subject, found[subject, place]) for subject, place in by_date]


def order_notes(by_date: Numbered, numbered: Numbered) -> list[str]:
    """What the row of each series says of its subject's sessions, "" where they are in order of date."""
    studies: dict[str, dict[int, int]] = {}
    for (subject, place), (_, number) in zip(by_date, numbered, strict=True):
        studies.setdefault(subject, {})[place] = number
    notes = {}
    for subject, places in studies.items():
        order = [places[place] for place in sorted(places)]
        if order != sorted(order):
            said = ", ".join(map(str, order))
            notes[subject] = f"sessions are numbered as they came; in order of date they are {said}"
    return [notes.get(subject, "") for subject, _ in numbered]


def numbers(names: Sequence[str], idents: Sequence[str], keys: Sequence[Any], given: Given) -> list[int]:
    """The number that each series bears behind its name, 0 for one that needs none.

    names: without a number, "" for a series that gets no name. idents: `series_key` of each. keys: sort the
    series. Of equal names that are all new, each is numbered from 1; a name that stands alone is not. A
    series keeps the number that it had under the same name, and no number is given twice.
    """
    same: dict[str, list[int]] = {}
    for i in sorted(range(len(names)), key=lambda i: keys[i]):
        if names[i]:
            same.setdefault(names[i].lower(), []).append(i)
    found = [0] * len(names)
    for name, rows in same.items():
        before = given.get(name, {})
        used = {number or 1 for number in before.values()}
        following = 1
        for i in rows:
            if idents[i] in before:
                found[i] = before[idents[i]]
            elif before or len(rows) > 1:
                while following in used:
                    following += 1
                found[i] = following
                used.add(following)
    return found
