"""From ordered planes to a regular grid: the affine, gantry tilt, missing and uneven slices.

Affines in this file are LPS: `affine @ (column index, row index, slice, 1)` is in mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from radfoundry.errors import ReadError
from radfoundry.io.planes import MAX_SHEAR, SAME_PLACE_MM, Plane
from radfoundry.io.source import MAX_VALUES, check_size

Irregular = Literal["refuse", "resample"]
MAX_GROWTH = 4
"""Resampling may multiply the number of slices by this much before it is refused as meaningless."""
MAX_TILT_DEG = 45.0
"""Gantries tilt by 30 degrees at most; slices that lie further aside belong to several acquisitions."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the slices lie. affine: (4, 4) LPS, exact for slice k at `index[k]` when `regular`.

    offset_mm: (K, 3) measured positions relative to the first slice, as (along row, along column, depth).
    """

    affine: np.ndarray
    offset_mm: np.ndarray
    regular: bool
    tilt_deg: float
    record: tuple[str, ...]


def layout(planes: list[Plane], where: str, *, irregular: Irregular = "refuse") -> Layout:
    """The grid of K planes sorted along their normal.

    Raises ReadError for slices shifted in their plane, and, unless `irregular` is "resample", for
    missing or unevenly spaced ones.
    """
    first = planes[0]
    frame = np.array([first.row, first.column, first.normal])
    offset = np.array([plane.position - first.position for plane in planes]) @ frame.T
    affine = np.eye(4)
    affine[:3, 0] = first.row * first.spacing[1]
    affine[:3, 1] = first.column * first.spacing[0]
    affine[:3, 3] = first.position
    if len(planes) == 1:
        thickness = first.thickness or 1.0
        affine[:3, 2] = first.normal * thickness
        said = "" if first.thickness else " (not in the header: 1 mm assumed)"
        return Layout(affine, offset, True, 0.0, (f"one slice of {thickness:g} mm{said}",))
    depth = offset[:, 2]
    shear = offset[-1, :2] / depth[-1]
    _check_lateral(offset, shear, first, where)
    gap = depth[-1] / (len(planes) - 1)
    allowed = max(0.01 * gap, min(SAME_PLACE_MM, 0.1 * gap))
    uneven = np.abs(depth - gap * np.arange(len(planes))).max() > allowed
    if uneven and irregular == "refuse":
        raise ReadError(_explain(depth, where))
    affine[:3, 2] = frame.T @ np.array([*(shear * gap), gap])
    tilt = math.degrees(math.atan(float(np.hypot(*shear)))) if np.hypot(*shear) > MAX_SHEAR else 0.0
    if tilt > MAX_TILT_DEG:
        raise ReadError(
            f"{where} has slices shifted sideways by {np.hypot(*shear) * gap:.2f} mm at each step of "
            f"{gap:.2f} mm: several acquisitions in one. Pass the list of files that make one volume"
        )
    return Layout(affine, offset, not uneven, tilt, _gaps(gap, first))


def _gaps(gap: float, first: Plane) -> tuple[str, ...]:
    """Slices lost at regular intervals leave even positions: only the header's own distance tells of them."""
    if first.thickness is None or gap < 1.5 * first.thickness:
        return ()
    return (
        f"slices lie {gap:g} mm apart where the header says {first.thickness:g} mm: "
        "gaps between them, or files missing at regular intervals",
    )


def _check_lateral(offset: np.ndarray, shear: np.ndarray, first: Plane, where: str) -> None:
    """Slices may drift sideways in proportion to depth (a tilt), but not jump."""
    stray = np.abs(offset[:, :2] - offset[:, 2:] * shear).max()
    if stray > 0.1 * min(first.spacing):
        raise ReadError(
            f"{where} has slices shifted sideways by up to {stray:.2f} mm against a straight line: "
            "several acquisitions in one. Pass the list of files that make one volume"
        )


def _explain(depth: np.ndarray, where: str) -> str:
    gaps = np.diff(depth)
    typical = float(np.median(gaps))
    multiples = gaps / typical
    advice = "Add the missing files, or read(path, irregular='resample') to interpolate with a record of it"
    if np.abs(multiples - np.round(multiples)).max() < 0.02:
        holes = [k for k, m in enumerate(np.round(multiples)) if m > 1]
        lost = int(np.round(multiples).sum()) - len(gaps)
        places = ", ".join(f"between slices {k} and {k + 1}" for k in holes[:5])
        more = f" and {len(holes) - 5} other places" if len(holes) > 5 else ""
        return f"{where} has {lost} missing slices ({places}{more}; spacing {typical:.3f} mm). {advice}"
    return (
        f"{where} is unevenly spaced: its slices lie {gaps.min():.3f} to {gaps.max():.3f} mm apart "
        f"(median {typical:.3f} mm). {advice}"
    )


def straighten(
    array: np.ndarray, plan: Layout, spacing: tuple[float, float], fill: float, where: str = "the series",
    *, max_values: int = MAX_VALUES,
) -> tuple:  # fmt: skip
    """(array, affine, record) on an orthogonal, evenly spaced grid.

    array: (T, K, rows, columns). A tilt is undone by shifting each slice within its own plane (the slices
    stay parallel, nothing is rotated), then uneven slices are interpolated along the normal. Both linear.
    Raises ReadError where the grid would have more than `max_values` voxels.
    """
    affine, record = plan.affine.copy(), list(plan.record)
    if plan.tilt_deg:
        array, affine, said = _unshear(array, plan, spacing, fill, where, max_values)
        record.append(said)
    if not plan.regular:
        array, affine, said = _even(array, affine, plan.offset_mm[:, 2])
        record.append(said)
    return array, affine, tuple(record)


def _unshear(
    array: np.ndarray, plan: Layout, spacing: tuple[float, float], fill: float, where: str, max_values: int
) -> tuple:
    """Slice k moves sideways by its lateral offset; the picture grows so that nothing is cut off."""
    lateral = plan.offset_mm[:, 1::-1]
    lateral = np.where(np.abs(lateral).max(axis=0) < SAME_PLACE_MM, 0.0, lateral)  # rounding of the header
    shift = lateral / np.array(spacing)  # (K, 2) in pixels, (down rows, along columns)
    low, high = np.floor(shift.min(axis=0)), np.ceil(shift.max(axis=0))
    low, grown = low.astype(int), (high - low).astype(int)
    times, slices, rows, columns = array.shape
    shape = (times, slices, rows + int(grown[0]), columns + int(grown[1]))
    check_size(shape, where, max_values)
    out = np.empty(shape, np.float32)
    for k in range(slices):
        plane = array[:, k]
        for axis in (0, 1):
            plane = _shift(plane, axis + 1, float(shift[k, axis]) - low[axis], int(grown[axis]), fill)
        out[:, k] = plane
    affine = plan.affine.copy()
    affine[:3, 3] += affine[:3, 1] * low[0] + affine[:3, 0] * low[1]
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    affine[:3, 2] = normal * float(normal @ affine[:3, 2])
    said = (
        f"gantry tilt of {plan.tilt_deg:.2f} degrees sheared onto an orthogonal grid (linear, in plane); "
        f"{grown[0]} rows and {grown[1]} columns added, filled with {fill:g}"
    )
    return out, affine, said


def _shift(plane: np.ndarray, axis: int, by: float, grown: int, fill: float) -> np.ndarray:
    """Move along one axis by `by` >= 0 pixels into an array longer by `grown`; linear, fill outside."""
    if grown == 0:
        return plane
    shape = list(plane.shape)
    length = shape[axis]
    shape[axis] += grown + 1
    whole, part = int(by), np.float32(by - int(by))
    padded = np.full(shape, fill, np.float32)
    padded[(slice(None),) * axis + (slice(whole, whole + length),)] = plane
    here = padded[(slice(None),) * axis + (slice(0, length + grown),)]
    if part == 0:
        return here
    before = np.roll(padded, 1, axis)[(slice(None),) * axis + (slice(0, length + grown),)]
    return here * (1 - part) + before * part


def _even(array: np.ndarray, affine: np.ndarray, depth: np.ndarray) -> tuple:
    """Linear interpolation along the normal, both ends kept, at about the lower quartile of the gaps.

    The smallest gap would follow an outlier: where two table positions meet, slices lie arbitrarily close.
    """
    count = round(depth[-1] / float(np.quantile(np.diff(depth), 0.25))) + 1
    gap = float(depth[-1]) / (count - 1)
    if count > MAX_GROWTH * len(depth):
        raise ReadError(
            f"resampling would make {count} slices of {len(depth)}: most gaps are {gap:.3f} mm, but the "
            f"slices span {depth[-1]:.1f} mm. Pass the list of files that make one volume"
        )
    at = np.interp(np.arange(count) * gap, depth, np.arange(len(depth)))
    below = np.minimum(at.astype(int), len(depth) - 2)
    part = (at - below).astype(np.float32)[None, :, None, None]
    even = array[:, below] * (1 - part) + array[:, below + 1] * part
    affine = affine.copy()
    affine[:3, 2] *= gap / np.linalg.norm(affine[:3, 2]) * _slant(affine)
    said = (
        f"{len(depth)} uneven slices ({np.diff(depth).min():.3f} to {np.diff(depth).max():.3f} mm apart) "
        f"interpolated linearly to {count} at {gap:.3f} mm"
    )
    return even.astype(np.float32, copy=False), affine, said


def _slant(affine: np.ndarray) -> float:
    """Length of the slice step per mm of depth: 1 for orthogonal axes."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    step = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    return float(np.linalg.norm(normal) / abs(normal @ step))
