"""A case of a cohort as a 3D part of the toolkit needs it: its volume, its mask, and where its lesion is.

case = read_case(cohort, 0)                                     # of the column `image`
case.volume, case.mask, case.lesion                             # Volume, Volume or None, Lesion or None
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from radfoundry import io
from radfoundry.encoders.shelf import Origin
from radfoundry.errors import InputMismatch, TableError
from radfoundry.preprocess.lesion import ANY, Lesion, Point, Rule, binary_mask, locate
from radfoundry.types import Frames, Image, Volume

if TYPE_CHECKING:
    from radfoundry.cohort import Cohort

_KINDS = {Image: "a single picture", Frames: "a cine"}
ROI = ("roi_x", "roi_y", "roi_z")


@dataclass(frozen=True)
class Choice:
    """Which lesion is meant, for a whole cohort.

    rule: "auto" (the point where a case has one, else the centroid of its mask), "point", "centroid" or "box"
        (the middle of the mask's bounding box).
    mask: mask column; by default the one named like the image column, else the only one.
    label: which label of the mask; by default its only one, 0 for all of them together.
    """

    rule: Rule = "auto"
    mask: str | None = None
    label: int | None = None


class Pointer(NamedTuple):
    """What a row of the cohort says about a lesion, before any file is read."""

    point: Point | None
    mask: Path | None
    column: str
    choice: Choice

    @property
    def identity(self) -> str:
        """What the store calls this lesion: changes with the point, the mask's file, the label or the rule.

        A mask's path stays out of it, because the store's rows are exported and paths often hold names.
        """
        if self.by_point and self.point is not None:
            return f"point LPS {', '.join(f'{v:g}' for v in self.point)}"
        if self.mask is None:
            return ""
        label = {None: "", ANY: ", all labels"}.get(self.choice.label, f", label {self.choice.label}")
        found = origin_of(self.mask, "")
        stamp = hashlib.sha256(repr(found).encode()).hexdigest()[:12]
        rule = "box" if self.choice.rule == "box" else "centroid"
        return f"{self.column}{label}, {rule}, file {stamp}"

    @property
    def by_point(self) -> bool:
        """Whether the point decides where the lesion is."""
        return self.point is not None and self.choice.rule in ("auto", "point")


class Case(NamedTuple):
    """volume: the image. mask: 0 and 1 (uint8) on its voxels, or None. lesion: where it is, or None."""

    volume: Volume
    mask: Volume | None
    lesion: Lesion | None


def read_case(cohort: Cohort, index: int, column: str = "image", choice: Choice | None = None) -> Case:
    """Volume, mask and lesion of one row of a cohort; mask and lesion are None where the row has none.

    Raises TableError for a row without an image, or with half a point; ReadError for a file that cannot be
    read; InputMismatch for a point outside the volume and a mask that does not fit (see `lesion`).
    """
    pointer = pointer_of(cohort, index, column, choice or Choice())
    volume = read_volume(cohort.image_path(index, column), str(cohort.meta.get("modality") or ""))
    mask = read_mask(pointer, volume)
    if pointer.point is None and mask is None:
        return Case(volume, None, None)
    return Case(volume, mask, lesion_of(pointer, volume, mask))


def read_volume(path: str | Path, modality: str = "") -> Volume:
    """One volume; `modality` is what the cohort states, for files that do not say.

    Values of a volume that is CT by the cohort alone are taken to be Hounsfield units, and noted.
    Raises InputMismatch for a picture, a cine and a 4D series.
    """
    found = io.read(path)
    if not isinstance(found, Volume):
        raise InputMismatch(f"{path} holds {_KINDS[type(found)]}, no volume. Choose a series or a 3D file")
    if found.array.ndim != 3:
        raise InputMismatch(
            f"{path} is a 4D series {found.array.shape}; one volume is needed. Save the one you mean"
        )
    if found.modality or not modality:
        return found
    if modality == "CT" and found.unit == "a.u.":
        said = (*found.record, "unit HU because the cohort says CT")
        return replace(found, modality=modality, unit="HU", record=said)
    return replace(found, modality=modality)


def read_mask(pointer: Pointer, volume: Volume) -> Volume | None:
    """The mask as 0 and 1 on the voxels of `volume`, or None where the row has none."""
    if pointer.mask is None:
        return None
    found = io.read(pointer.mask)
    if not isinstance(found, Volume):
        raise InputMismatch(
            f"{pointer.mask} holds {_KINDS[type(found)]}, no volume. Give a 3D mask (NIfTI or NRRD)"
        )
    return binary_mask(found, volume, label=pointer.choice.label)


def lesion_of(pointer: Pointer, volume: Volume, mask: Volume | None, *, box: bool = False) -> Lesion:
    """Where the lesion is. mask: from `read_mask`, read here when needed. box: its extent is needed."""
    needed = box or not pointer.by_point
    if mask is None and needed:
        mask = read_mask(pointer, volume)
    return locate(volume, point=pointer.point, mask=mask if needed else None, rule=pointer.choice.rule)


def pointer_of(cohort: Cohort, index: int, column: str, choice: Choice) -> Pointer:
    """What the row says about the lesion. Raises TableError for half a point and for a choice of masks."""
    case = cohort.table["case_id"].iloc[index]
    chosen = mask_column(cohort, column, choice)
    path = cohort.mask_path(index, chosen) if chosen else None
    values = [cohort.table[name].iloc[index] if name in cohort.table else float("nan") for name in ROI]
    given = [not pd.isna(v) for v in values]
    if any(given) and not all(given):
        some = ", ".join(name for name, there in zip(ROI, given, strict=True) if there)
        raise TableError(
            f"{cohort.name}: case {case!r} has {some} but not all of roi_x, roi_y and roi_z. "
            "Fill in all three (LPS mm) or none"
        )
    point = (float(values[0]), float(values[1]), float(values[2])) if all(given) else None
    return Pointer(point, path, chosen or "mask", choice)


def mask_column(cohort: Cohort, column: str, choice: Choice) -> str | None:
    """The mask column that belongs to an image column, or None where the cohort has no masks.

    Raises TableError for a column that is not there, and where several could be meant.
    """
    known = [c for c in cohort.table if c == "mask" or c.startswith("mask:")]
    if choice.mask is not None:
        wanted = choice.mask if choice.mask in known else f"mask:{choice.mask}"
        if wanted not in known:
            raise TableError(
                f"{cohort.name} has no mask column {choice.mask!r}. It has: {', '.join(known) or 'none'}"
            )
        return wanted
    like = column.replace("image", "mask", 1)
    for name in (like, "mask"):
        if name in known:
            return name
    if len(known) > 1 and choice.rule != "point":
        raise TableError(
            f"{cohort.name} has the masks {', '.join(known)} and none is named like {column!r}. Choose one: "
            f"--mask {known[0]} (Python: mask={known[0]!r})"
        )
    return known[0] if known else None


def origin_of(path: Path, modality: str, roi: str = "") -> Origin | None:
    """What tells that a file or folder has not changed: size and time of change; None if absent."""
    source = os.path.abspath(path)
    name = source.rpartition("#")[0] if "#" in Path(source).name and not os.path.exists(source) else source
    try:
        found = os.stat(name)
        if not os.path.isdir(name):
            return Origin(source, found.st_size, found.st_mtime_ns, modality, roi)
        inside = [os.stat(os.path.join(name, child)) for child in os.listdir(name)]
    except OSError:  # reading it says what is wrong
        return None
    changed = max([found.st_mtime_ns, *(child.st_mtime_ns for child in inside)])
    return Origin(source, sum(child.st_size for child in inside), changed, modality, roi)
