"""Where the lesion of a volume is: a seed point, or the centroid or bounding box of a mask.

Points are given and reported in LPS millimetres, as DICOM, ITK and the cohort table have them; only inside
this file they are turned into the RAS of `Volume.affine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from radfoundry.errors import InputMismatch
from radfoundry.types import Volume

if TYPE_CHECKING:
    import numpy as np

Rule = Literal["auto", "point", "centroid", "box"]
"""How a lesion is found: "auto" takes the point where the case has one, else the centroid of the mask."""

ANY = 0
"""As a label: every voxel of the mask that is not 0."""

LPS_RAS = (-1.0, -1.0, 1.0)
SAME_VOXEL = 0.01
"""Corners of image and mask may lie this part of a voxel apart; more is another geometry."""

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Lesion:
    """centre: LPS mm. how: what it is, for the record. box: (low, high) corners in LPS mm, from a mask only.

    notes: what a reader of the results should know, such as a mask in several parts.
    """

    centre: Point
    how: str
    box: tuple[Point, Point] | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.how} at LPS {_mm(self.centre)}"

    @property
    def address(self) -> str:
        """What tells two lesions apart, for the key of a vector: exact numbers, not where they came from."""
        return repr((self.centre, self.box))


def from_point(point: Sequence[float], volume: Volume) -> Lesion:
    """The lesion around a seed point in LPS mm.

    Raises InputMismatch when it lies outside the volume, and says if another convention would explain it.
    """
    import numpy as np

    at = np.array(point, dtype=float)
    if at.shape != (3,) or not np.isfinite(at).all():
        raise InputMismatch(f"{_name(volume)}: a seed point is three finite numbers in LPS mm, not {point}")
    if not _inside(at, volume):
        low, high = extent_lps(volume)
        raise InputMismatch(
            f"{_name(volume)}: the seed point LPS {_mm(at)} lies outside the volume, which reaches from "
            f"{_mm(low)} to {_mm(high)}. {_other_convention(at, volume)}"
        )
    return Lesion(_point(at), "seed point")


def from_mask(mask: Volume, volume: Volume, *, label: int | None = None, rule: Rule = "centroid") -> Lesion:
    """The lesion that a mask shows: its centroid, or the middle of its bounding box (rule "box").

    A centroid outside the mask (a ring, two parts) is replaced by the mask's voxel nearest to it, and noted.
    Raises InputMismatch as `binary_mask` does.
    """
    import numpy as np
    from scipy import ndimage

    found = binary_mask(mask, volume, label=label)
    index = np.argwhere(found.array)
    low, high = index.min(axis=0), index.max(axis=0)
    affine, notes = found.affine, []
    part = found.array[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    parts = int(ndimage.label(part, np.ones((3, 3, 3)))[1])
    if parts > 1:
        notes.append(f"the mask has {parts} separate parts, taken as one lesion")
    if rule == "box":
        centre, how = (low + high) / 2, "middle of the bounding box of the mask"
    else:
        centre, how = index.mean(axis=0), "centroid of the mask"
        nearest = index[np.argmin((((index - centre) * found.spacing_mm) ** 2).sum(axis=1))]
        if not found.array[tuple(np.round(centre).astype(int))]:
            apart = float(np.linalg.norm((nearest - centre) * found.spacing_mm))
            notes.append(f"the centroid lies {apart:.1f} mm outside the mask: its nearest voxel is taken")
            centre, how = nearest, "voxel of the mask nearest to its centroid"
    corners = [_lps(affine, corner) for corner in _corners(low - 0.5, high + 0.5)]
    box = (_point(np.min(corners, axis=0)), _point(np.max(corners, axis=0)))
    return Lesion(_point(_lps(affine, centre)), how, box, tuple(notes))


def locate(
    volume: Volume, *, point: Sequence[float] | None = None, mask: Volume | None = None, rule: Rule = "auto",
    label: int | None = None,
) -> Lesion:  # fmt: skip
    """The lesion of a case by the rule. Raises InputMismatch where what the rule needs is not given."""
    if rule not in get_args(Rule):
        raise InputMismatch(f"lesion rule {rule!r} is unknown: use one of {', '.join(get_args(Rule))}.")
    if point is not None and rule in ("auto", "point"):
        lesion = from_point(point, volume)
        if mask is None:
            return lesion
        shown = from_mask(mask, volume, label=label)  # the point says where, the mask how large
        return Lesion(lesion.centre, lesion.how, shown.box, shown.notes)
    if mask is not None and rule != "point":
        return from_mask(mask, volume, label=label, rule="box" if rule == "box" else "centroid")
    wanted = {"auto": "no lesion", "point": "no seed point"}.get(rule, "no mask")
    raise InputMismatch(
        f"{_name(volume)}: {wanted} is given. Fill in roi_x, roi_y and roi_z (LPS mm) or a mask in the cohort"
    )


def binary_mask(mask: Volume, volume: Volume, *, label: int | None = None) -> Volume:
    """The mask as 0 and 1 (uint8) on exactly the voxels of `volume`; `ANY` takes every label.

    Axes stored in another order or direction are turned (no voxel changes); anything else that differs is
    refused, because a mask that was resampled silently is another mask.
    Raises InputMismatch: another geometry, empty, several labels without a choice, a label that is not there,
    values that are no labels.
    """
    import numpy as np

    where = f"{mask.source or 'the mask'} of {_name(volume)}"
    turned = turned_like(mask, volume)
    fault = _differs(turned, volume)
    if fault:
        raise InputMismatch(
            f"{where} has another geometry: {fault}. Draw it on this image, or resample it with nearest "
            "neighbours onto this image and look at the result"
        )
    values = turned.array
    if not np.isfinite(values).all() or (values != np.round(values)).any():
        raise InputMismatch(f"{where} holds values that are no labels (whole numbers). Threshold it first")
    labels = [int(v) for v in np.unique(values) if v != 0]
    if not labels:
        raise InputMismatch(f"{where} is empty: no voxel is marked. Leave the case out, or mend the mask")
    listed = ", ".join(map(str, labels[:12]))
    if label is None and len(labels) > 1:
        raise InputMismatch(
            f"{where} holds the labels {listed}. Choose one (label=N, --label N), or {ANY} for all of them"
        )
    if label not in (None, ANY) and label not in labels:
        raise InputMismatch(f"{where} has no label {label}. It holds: {listed}")
    wanted = values != 0 if label in (None, ANY) else values == label
    return Volume(wanted.astype(np.uint8), turned.affine, "a.u.", mask.modality, mask.source, turned.record)


def turned_like(mask: Volume, volume: Volume) -> Volume:
    """The same voxels with the axes in the order and direction of `volume`; nothing is interpolated."""
    import numpy as np
    from nibabel import orientations

    _three(mask)
    turn = orientations.ornt_transform(
        orientations.io_orientation(mask.affine), orientations.io_orientation(volume.affine)
    )
    if np.array_equal(turn, [[0, 1], [1, 1], [2, 1]]):
        return mask
    array = orientations.apply_orientation(mask.array, turn)
    affine = mask.affine @ orientations.inv_ornt_aff(turn, mask.array.shape)
    said = "axes turned to those of the image"
    return Volume(array, affine, mask.unit, mask.modality, mask.source, (*mask.record, said))


def extent_lps(volume: Volume) -> tuple[Point, Point]:
    """Lowest and highest LPS coordinates of the outer faces of the outer voxels."""
    import numpy as np

    far = np.array(volume.array.shape[:3]) - 0.5
    corners = [_lps(volume.affine, corner) for corner in _corners(np.full(3, -0.5), far)]
    return _point(np.min(corners, axis=0)), _point(np.max(corners, axis=0))


def index_of(point_lps: Sequence[float], affine: np.ndarray) -> np.ndarray:
    """Voxel index, (3,) float, of a point in LPS mm under a RAS affine."""
    import numpy as np

    ras = np.append(np.array(point_lps, dtype=float) * LPS_RAS, 1.0)
    return np.linalg.solve(affine, ras)[:3]


def _inside(point: np.ndarray, volume: Volume) -> bool:
    import numpy as np

    at, far = index_of(_point(point), volume.affine), np.array(volume.array.shape[:3])
    return bool((at > -0.5 - 1e-6).all() and (at < far - 0.5 + 1e-6).all())


def _other_convention(point: np.ndarray, volume: Volume) -> str:
    """What a seed point outside the volume may have meant."""
    import numpy as np

    if _inside(point * LPS_RAS, volume):
        return "As RAS it lies inside: if these are RAS (NIfTI, 3D Slicer's display), negate roi_x and roi_y"
    shape = np.array(volume.array.shape[:3])
    if (point >= 0).all() and (point <= shape - 1).all():
        return "As a voxel index it lies inside: multiply it with the affine to get millimetres"
    return "Check the point and the series it was drawn on"


def _differs(mask: Volume, volume: Volume) -> str:
    """What is not the same about two geometries, or ""."""
    import numpy as np

    parts = []
    if mask.array.shape[:3] != volume.array.shape[:3]:
        parts.append(f"{_by(mask.array.shape)} voxels against {_by(volume.array.shape)} of the image")
    if np.abs(mask.spacing_mm - volume.spacing_mm).max() > 1e-3 * volume.spacing_mm.max():
        parts.append(f"voxels of {_mm(mask.spacing_mm)} mm against {_mm(volume.spacing_mm)} mm")
    turn = _degrees(mask.affine, volume.affine)
    if turn > 0.05:
        parts.append(f"axes turned by up to {turn:.2f} degrees")
    far = np.array(volume.array.shape[:3]) - 1
    apart = [
        np.abs(np.linalg.solve(volume.affine, mask.affine @ np.append(c, 1.0))[:3] - c).max()
        for c in _corners(np.zeros(3), far)
    ]
    if not parts and max(apart) > SAME_VOXEL:
        shift = (mask.affine[:3, 3] - volume.affine[:3, 3]) * LPS_RAS
        parts.append(f"its first voxel lies {_mm(shift)} mm (LPS) from the image's")
    return "; ".join(parts)


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
    import numpy as np

    one, two = (m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (a, b))
    return float(np.degrees(np.arccos(np.clip((one * two).sum(axis=0), -1.0, 1.0))).max())


def _three(volume: Volume) -> None:
    if volume.array.ndim != 3:
        raise InputMismatch(
            f"{_name(volume)} is a 4D series {volume.array.shape}; one volume is needed. "
            "Save the one you mean"
        )


def _lps(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    return (affine[:3, :3] @ index + affine[:3, 3]) * LPS_RAS


def _corners(low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    import numpy as np

    ends = (low, high)
    return [
        np.array([ends[i][0], ends[j][1], ends[k][2]], dtype=float)
        for i in (0, 1)
        for j in (0, 1)
        for k in (0, 1)
    ]


def _point(values: np.ndarray) -> Point:
    return float(values[0]), float(values[1]), float(values[2])


def _name(volume: Volume) -> str:
    return volume.source or "the volume"


def _mm(values: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{v + 0.0:.5g}" for v in values)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
