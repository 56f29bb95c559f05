"""Which files are one series: by UID, by folder and plane where UIDs are gone, each image once."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radfoundry.io.dicom import DicomFile
from radfoundry.series.element import digest, text, whole

Placed = tuple[DicomFile, str]
"""A file and the folder that holds it."""
Axes = tuple[tuple[float, ...], tuple[float, ...]]

SPECTROSCOPY = "1.2.840.10008.5.1.4.1.1.4.2"
"""MR Spectroscopy Storage: a series without a picture."""
MEMORY = Path("memory")
SAME_PLANE = math.cos(math.radians(2.0))
FEW = 12
"""Most slices of a plane that, with other planes of the same number, may be a localiser."""


@dataclass(slots=True)
class Group:
    """Files of one series. others: objects without an image, counted by kind. notes: what UIDs hid."""

    uid: str
    study: str
    subject: str
    date: str
    number: int | None
    images: list[Placed]
    others: Counter[str]
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Family:
    """Files that UIDs, or folder and numbers in place of them, put together."""

    study: str
    subject: str
    date: str
    number: int | None
    images: list[Placed] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def groups(files: Iterable[Placed], subjects: Sequence[str]) -> list[Group]:
    """Files put together as series. subjects: pseudonym of each file, in their order.

    A series UID that several people, dates or series numbers have stands for as many series.
    """
    families: dict[tuple[str, ...], _Family] = {}
    for (file, where), subject in zip(files, subjects, strict=True):
        key = _key(file, where, subject)
        family = families.get(key)
        if family is None:
            family = families[key] = _Family(
                text(file, "StudyInstanceUID"), subject, text(file, "StudyDate")[:8],
                whole(file, "SeriesNumber"),
            )  # fmt: skip
        kind = _no_image(file)
        if kind:
            family.others[kind] += 1
        else:
            family.images.append((file, where))
    found: dict[tuple[str, str], list[tuple[str, Group]]] = defaultdict(list)
    for key, family in families.items():
        parts = (_by_number if key[0] else _by_plane)(family.images) or [("", [])]
        for part, images in parts:
            number = family.number if not key[0] or not images else whole(images[0][0], "SeriesNumber")
            others, family.others = family.others, Counter()
            group = Group(key[0], family.study, family.subject, family.date, number, images, others)
            name = digest("/".join((*key, part)))
            if not key[0]:
                group.uid = f"no-uid-{name}"
            found[group.uid, group.study].append((name, group))
    for same in found.values():
        if len(same) > 1:
            for name, group in same:
                group.uid = f"{group.uid}-{name}"
                group.notes.append(f"its Series Instance UID stands for {len(same)} series")
    return [group for same in found.values() for _, group in same]


def _key(file: DicomFile, where: str, subject: str) -> tuple[str, ...]:
    uid, study = text(file, "SeriesInstanceUID"), text(file, "StudyInstanceUID")
    date = "" if study else text(file, "StudyDate")[:8]
    if uid:
        return (uid, study, subject, date)
    return ("", where, study, subject, date, text(file, "SeriesNumber"), text(file, "Modality"))


def _by_number(images: list[Placed]) -> list[tuple[str, list[Placed]]]:
    """Images of one series UID by their series number; all as one where a number is missing.

    Named by it even where there is one: the name stays when another number joins later.
    """
    parts: dict[int | None, list[Placed]] = defaultdict(list)
    for pair in images:
        parts[whole(pair[0], "SeriesNumber")].append(pair)
    if None in parts:
        return [("", images)]
    return [(str(number), part) for number, part in parts.items()]


def _by_plane(images: list[Placed]) -> list[tuple[str, list[Placed]]]:
    """Images without a series UID by matrix and orientation; planes of few slices each are one localiser.

    Orientations within two degrees of the first are one: some scanners write each slice a little turned.
    """
    parts: list[tuple[tuple[str, str], Axes | None, list[Placed]]] = []
    for pair in images:
        matrix, axes = (text(pair[0], "Rows"), text(pair[0], "Columns")), _axes(pair[0])
        for other, first, part in parts:
            if other == matrix and _parallel(first, axes):
                part.append(pair)
                break
        else:
            parts.append((matrix, axes, [pair]))
    planes = [(axes, part) for _, axes, part in parts if axes is not None]
    turned = any(not _parallel(planes[0][0], axes) for axes, _ in planes)
    numbered = bool(images) and whole(images[0][0], "SeriesNumber") is not None
    named = [(_said(matrix, axes), part) for matrix, axes, part in parts if axes is None]
    if turned and numbered and all(len(part) <= FEW for _, part in planes):
        return [("planes", [pair for _, part in planes for pair in part]), *named]
    return [(_said(matrix, axes), part) for matrix, axes, part in parts]


def _axes(file: DicomFile) -> Axes | None:
    """Unit vectors of a row and a column in LPS; None where headers do not say."""
    try:
        values = [float(part) for part in text(file, "ImageOrientationPatient").split("\\")]
    except ValueError:
        return None
    axes = []
    for part in (values[:3], values[3:]):
        length = math.hypot(*part)
        if len(part) != 3 or not 0.5 < length < 2.0:
            return None
        axes.append(tuple(value / length for value in part))
    return axes[0], axes[1]


def _parallel(one: Axes | None, other: Axes | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(sum(a * b for a, b in zip(u, v)) > SAME_PLANE for u, v in zip(one, other))


def _said(matrix: tuple[str, str], axes: Axes | None) -> str:
    turned = [f"{round(value, 2) + 0.0:.2f}" for axis in axes or () for value in axis]
    return "/".join((*matrix, *turned))


def _no_image(file: DicomFile) -> str:
    """What an object is that has no image, e.g. "SR without an image"; "" for an image."""
    if whole(file, "Rows") and whole(file, "Columns"):
        return ""
    if text(file, "SOPClassUID") == SPECTROSCOPY:
        return ""
    return f"{text(file, 'Modality')[:16] or 'object'} without an image"


def in_order(images: list[Placed]) -> list[Placed]:
    """Images by Instance and Acquisition Number; where those leave it open, by file name, 2 before 10."""
    places = [_place(file) for file, _ in images]
    if len(set(places)) == len(places):
        return [pair for _, pair in sorted(zip(places, images), key=lambda both: both[0])]
    return sorted(images, key=lambda pair: (_place(pair[0]), natural(pair[0].path)))


def _place(file: DicomFile) -> tuple[bool, int, int]:
    number = whole(file, "InstanceNumber")
    return number is None, number or 0, whole(file, "AcquisitionNumber") or 0


def natural(path: Path) -> tuple[Any, ...]:
    """Sorts paths with their digits as numbers: IM2 before IM10."""
    parts = re.split(r"(\d+)", str(path))
    return (*((int(part) if k % 2 else part) for k, part in enumerate(parts)), str(path))


@dataclass(frozen=True, slots=True)
class Once:
    """Each image once. copies: how many were left out. shared: images whose SOP Instance UID another has.

    apart: whether numbers or positions tell those apart.
    """

    images: list[Placed]
    copies: int = 0
    shared: int = 0
    apart: bool = True


def once(images: list[Placed]) -> Once:
    """Each image once: of files with the same bytes the first.

    UIDs prove nothing, as anonymisers repeat them. Files are read only where they share or lack a SOP
    Instance UID and have one header and one size.
    """
    by_uid = _parted(images, _uid)
    if len(by_uid) == len(images):
        return Once(images)
    kept: set[int] = set()
    shared: list[list[Placed]] = []
    for uids in by_uid:
        left = [pair for headers in _parted(uids, _contents) for pair in _without_copies(headers)]
        kept.update(id(file) for file, _ in left)
        if len(left) > 1 and _uid(left[0][0]):
            shared.append(left)
    apart = all(
        len({(_place(file), text(file, "ImagePositionPatient")) for file, _ in part}) == len(part)
        for part in shared
    )
    left = [pair for pair in images if id(pair[0]) in kept]
    return Once(left, len(images) - len(left), sum(map(len, shared)), apart)


def _without_copies(images: list[Placed]) -> list[Placed]:
    """Files of one header, those with the same bytes once."""
    if images[0][0].path == MEMORY:  # the header is all there is, pixels included
        return images[:1]
    return [same[0] for sizes in _parted(images, _size) for same in _parted(sizes, _bytes)]


def _uid(file: DicomFile) -> str:
    return text(file, "SOPInstanceUID")


def _parted(images: list[Placed], by: Callable[[DicomFile], Hashable]) -> list[list[Placed]]:
    if len(images) < 2:
        return [images]
    parts: dict[Hashable, list[Placed]] = {}
    for pair in images:
        parts.setdefault(by(pair[0]), []).append(pair)
    return list(parts.values())


def _contents(file: DicomFile) -> Hashable:
    elements = (file.header.get_item(tag) for tag in file.header.keys())  # noqa: SIM118
    return tuple(
        (int(e.tag), e.value if isinstance(e.value, bytes) else str(e.value))
        for e in elements
        if e is not None
    )


def _size(file: DicomFile) -> Hashable:
    try:
        return file.path.stat().st_size
    except OSError:  # gone: like no other
        return str(file.path)


def _bytes(file: DicomFile) -> Hashable:
    try:
        with open(file.path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError:
        return str(file.path)
