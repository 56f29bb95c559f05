"""From a Volume to the array a 3D encoder was trained on: one interpolation, one crop, one intensity rule.

The resampled volume is never made whole: its grid is an affine and a shape, and only the voxels that the
model sees are interpolated. Storage order does not matter, because the grid is laid out in the patient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from nibabel import orientations
from scipy import ndimage

from radfoundry.errors import InputMismatch
from radfoundry.preprocess.lesion import Lesion, index_of
from radfoundry.preprocess.volume_recipe import Percentiles, VolumeRecipe, Window, ZScore, axis_of
from radfoundry.types import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAT = 1e-6
"""A turn by less than this, as a part of a voxel step, is rounding of the header."""


@dataclass(frozen=True)
class Grid:
    """Where the resampled voxels would lie. affine: index to RAS mm. shape: of the whole grid."""

    affine: np.ndarray
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Cut:
    """The part of a grid that the model sees, axis by axis.

    start: grid index (may be a fraction) of the first wanted voxel. size: voxels wanted.
    low, high: which of them, counted from `start`, the volume covers.
    """

    start: np.ndarray
    size: tuple[int, int, int]
    low: tuple[int, int, int]
    high: tuple[int, int, int]


def apply(volume: Volume, recipe: VolumeRecipe, lesion: Lesion | None = None) -> tuple[np.ndarray, list[str]]:
    """(what the model receives, what was done beyond the recipe).

    The array is (channels, *size) float32, or (slices, channels, rows, columns) for a bag.
    Raises InputMismatch for a 4D series, a missing lesion, and a volume without foreground.
    """
    if volume.array.ndim != 3:
        raise InputMismatch(
            f"{volume.source or 'the volume'} is a 4D series {volume.array.shape}; one volume is needed. "
            "Save the one you mean"
        )
    notes: list[str] = []
    seen = _cropped_before(volume, recipe, lesion, notes)
    grid = grid_of(seen, recipe)
    if recipe.resize:
        array = _resized(seen, grid, recipe)
        array = intensity(array, recipe, _population(volume, recipe))
    else:
        cut = _cut(grid, recipe, lesion)
        array = sample(seen, grid, cut, _fill(recipe))
        array = intensity(array, recipe, _population(volume, recipe))
        array = _padded(array, cut, recipe, notes)
    array = _divisible(array, recipe, notes)
    return _channels(array, recipe), notes


def grid_of(volume: Volume, recipe: VolumeRecipe) -> Grid:
    """The grid at the recipe's spacing that begins at the volume's first voxel, in the recipe's axes.

    Its length along an axis is round((n - 1) * old / new + 1), as MONAI's Spacing has it.
    """
    begin = recipe.grid or recipe.orientation
    affine, shape = _reoriented(volume.affine, volume.array.shape, begin)
    old = np.linalg.norm(affine[:3, :3], axis=0)
    new = _spacing(recipe, begin, old)
    if recipe.patient_axes:
        affine, shape = _upright(affine, shape, begin, new)
    else:
        shape = tuple(int(n) for n in np.round((np.array(shape) - 1) * old / new + 1.0))
        affine = affine.copy()
        affine[:3, :3] *= new / old
    affine, shape = _reoriented(affine, shape, recipe.orientation)
    return Grid(affine, shape)


def sample(volume: Volume, grid: Grid, cut: Cut, fill: float | None) -> np.ndarray:
    """Trilinear values of the volume at the covered voxels of a cut, float32.

    fill: value of what lies beyond the outermost voxels; None repeats their own.
    """
    count = tuple(h - lo for lo, h in zip(cut.low, cut.high, strict=True))
    step = np.eye(4)
    step[:3, 3] = cut.start + np.array(cut.low)
    to_source = np.linalg.solve(volume.affine, grid.affine @ step)
    return interpolate(volume.array, to_source, count, fill)


def interpolate(
    array: np.ndarray, to_source: np.ndarray, shape: Sequence[int], fill: float | None = None
) -> np.ndarray:
    """Trilinear values at `to_source @ (i, j, k, 1)`, for every index of `shape`; float32.

    Axis by axis where the axes are parallel, which is far faster; else by scipy.
    """
    turn = to_source[:3, :3]
    size = np.abs(turn)
    axis = size.argmax(axis=0)  # for each axis of the output, the axis of the array along which it runs
    off = size.copy()
    off[axis, range(3)] = 0.0
    if len(set(axis.tolist())) == 3 and (off * np.maximum(np.array(shape) - 1, 1)).max() < 1e-4:
        return _separable(array, axis, turn[axis, range(3)], to_source[axis, 3], shape, fill)
    mode, value = ("nearest", 0.0) if fill is None else ("grid-constant", fill)
    return ndimage.affine_transform(
        np.asarray(array, np.float32), turn, to_source[:3, 3], tuple(shape), np.float32, 1, mode, value
    )


def intensity(array: np.ndarray, recipe: VolumeRecipe, population: np.ndarray | None = None) -> np.ndarray:
    """The recipe's intensity rule, float32. population: voxels for its statistics, else the array's own."""
    rule = recipe.intensity
    if isinstance(rule, Window):
        return _mapped(array, rule.low, rule.high, rule.out, rule.clip)
    voxels = array if population is None else population
    chosen = voxels[voxels != 0] if rule.nonzero else voxels.ravel()
    if not len(chosen):
        raise InputMismatch(
            "every voxel of the crop is 0, so there is nothing to normalise. Check the lesion"
        )
    if isinstance(rule, Percentiles):
        low, high = np.percentile(chosen, (rule.low, rule.high))
        return _mapped(array, float(low), float(high), rule.out, rule.clip)
    return _standardised(array, rule, chosen)


def _standardised(array: np.ndarray, rule: ZScore, chosen: np.ndarray) -> np.ndarray:
    background = array == 0
    if rule.percentiles:
        low, high = np.percentile(chosen, rule.percentiles)
        array, chosen = np.clip(array, low, high), np.clip(chosen, low, high)
    mean, deviation = float(chosen.mean(dtype=np.float64)), float(chosen.std(dtype=np.float64))
    out = ((array - mean) / (deviation or 1.0)).astype(np.float32)
    if rule.noise is not None:
        drawn = np.random.default_rng(rule.noise).standard_normal(array.shape, dtype=np.float32)
        return np.where(background, drawn, out)
    return np.where(background, np.float32(0.0), out) if rule.nonzero else out


def _mapped(array: np.ndarray, low: float, high: float, out: tuple[float, float], clip: bool) -> np.ndarray:
    scale = (out[1] - out[0]) / (high - low if high > low else 1.0)
    found = (array - np.float32(low)) * np.float32(scale) + np.float32(out[0])
    return np.clip(found, min(out), max(out)).astype(np.float32) if clip else found.astype(np.float32)


def _population(volume: Volume, recipe: VolumeRecipe) -> np.ndarray | None:
    return volume.array if recipe.statistics == "volume" else None


def _fill(recipe: VolumeRecipe) -> float | None:
    """The raw value that the intensity rule turns into pad_value."""
    if recipe.outside == "edge" or not isinstance(recipe.intensity, Window):
        return None
    rule = recipe.intensity
    part = (recipe.pad_value - rule.out[0]) / (rule.out[1] - rule.out[0])
    return rule.low + part * (rule.high - rule.low)


# --- the grid ------------------------------------------------------------------------------------------


def _reoriented(affine: np.ndarray, shape: Sequence[int], axes: str) -> tuple[np.ndarray, tuple]:
    """Affine and shape of the same voxels with the array's axes growing towards the letters of `axes`."""
    wanted = orientations.axcodes2ornt(tuple(axes))
    turn = orientations.ornt_transform(orientations.io_orientation(affine), wanted)
    new = np.empty(3, dtype=int)
    new[turn[:, 0].astype(int)] = np.array(shape)[:3]
    return affine @ orientations.inv_ornt_aff(turn, tuple(shape)[:3]), tuple(int(n) for n in new)


def _spacing(recipe: VolumeRecipe, axes: str, old: np.ndarray) -> np.ndarray:
    """Wanted voxel size along `axes`; the recipe states it along its own orientation."""
    if recipe.spacing_mm is None:
        return old
    stated = {
        axis_of(letter): value for letter, value in zip(recipe.orientation, recipe.spacing_mm, strict=True)
    }
    wanted = [stated[axis_of(letter)] for letter in axes]
    return np.array([o if w is None else w for w, o in zip(wanted, old, strict=True)], dtype=float)


def _upright(
    affine: np.ndarray, shape: Sequence[int], axes: str, new: np.ndarray
) -> tuple[np.ndarray, tuple[int, ...]]:
    """A grid along the patient's axes that covers an oblique volume, from its lowest corner in `axes`."""
    ornt = orientations.axcodes2ornt(tuple(axes))
    towards = np.zeros((3, 3))  # columns: direction of each axis of the grid in RAS
    towards[ornt[:, 0].astype(int), range(3)] = ornt[:, 1]
    far = np.array(shape) - 1
    corners = np.array([(i, j, k, 1) for i in (0, far[0]) for j in (0, far[1]) for k in (0, far[2])], float)
    along = (corners @ affine.T)[:, :3] @ towards
    low, high = along.min(axis=0), along.max(axis=0)
    upright = np.eye(4)
    upright[:3, :3] = towards * new
    upright[:3, 3] = towards @ low
    return upright, tuple(int(n) for n in np.round((high - low) / new + 1.0))


# --- what to cut ---------------------------------------------------------------------------------------


def _cropped_before(volume: Volume, recipe: VolumeRecipe, lesion: Lesion | None, notes: list[str]) -> Volume:
    """The bounding box of the foreground or of the lesion, at the volume's own voxels."""
    if recipe.crop == "foreground":
        found = ndimage.find_objects((volume.array > recipe.foreground).astype(np.uint8))
        if not found:
            raise InputMismatch(
                f"{volume.source or 'the volume'} has no voxel above {recipe.foreground:g}: no foreground. "
                "Check its units"
            )
        box = found[0]
    elif recipe.crop == "box":
        box = _lesion_box(volume, _needed(lesion), recipe.margin_mm)
    else:
        return volume
    first = np.eye(4)
    first[:3, 3] = [part.start for part in box]
    array = volume.array[box]
    notes.append(f"bounding box of {'x'.join(map(str, array.shape))} voxels")
    return replace(volume, array=array, affine=volume.affine @ first)


def _lesion_box(volume: Volume, lesion: Lesion, margin_mm: float) -> tuple[slice, ...]:
    if lesion.box is None:
        raise InputMismatch(
            f"{volume.source or 'the volume'}: the bounding box of the lesion is needed, and only a mask has "
            "one. Give a mask in the cohort"
        )
    low, high = (np.array(corner) for corner in lesion.box)
    ends = np.array([low - margin_mm, high + margin_mm])
    corners = [index_of((ends[i][0], ends[j][1], ends[k][2]), volume.affine)
               for i in (0, 1) for j in (0, 1) for k in (0, 1)]  # fmt: skip
    first = np.maximum(np.ceil(np.min(corners, axis=0) - 1e-6), 0).astype(int)
    last = np.minimum(np.floor(np.max(corners, axis=0) + 1e-6), np.array(volume.array.shape) - 1).astype(int)
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))


def _needed(lesion: Lesion | None) -> Lesion:
    if lesion is None:
        raise InputMismatch(
            "this encoder looks at a lesion, and none is given. Fill in roi_x, roi_y and roi_z (LPS mm) or a "
            "mask in the cohort"
        )
    return lesion


def _cut(grid: Grid, recipe: VolumeRecipe, lesion: Lesion | None) -> Cut:
    """The window on the grid, and the part of it that the volume covers."""
    asked = recipe.size or (None, None, None)
    size = np.array([n if s is None else s for n, s in zip(grid.shape, asked, strict=True)])
    shape = np.array(grid.shape)
    if recipe.crop == "roi":
        at = index_of(_needed(lesion).centre, grid.affine)
        start = np.floor(at) - size // 2 if recipe.centre == "floor" else at - (size - 1) / 2
        kept = [s is None for s in asked]
        start = np.where(kept, 0.0, start)
    else:
        start = (shape // 2 - size // 2).astype(float)
    low = np.clip(np.ceil(-0.5 - start), 0, size).astype(int)
    high = np.clip(np.floor(shape - 0.5 - start) + 1, 0, size).astype(int)
    if (high <= low).any():  # a lesion at the very border of an oblique volume
        raise InputMismatch("the crop around the lesion lies outside the resampled volume. Check the point")
    return Cut(start, _three(size), _three(low), _three(high))


def _padded(array: np.ndarray, cut: Cut, recipe: VolumeRecipe, notes: list[str]) -> np.ndarray:
    """Add what the volume does not cover."""
    missing = np.array(cut.size) - array.shape
    if not missing.any():
        return array
    before = {
        "centred": np.array(cut.low),
        "both": missing // 2,
        "end": np.zeros(3, dtype=int),
    }[recipe.border]
    width = [(int(b), int(m - b)) for b, m in zip(before, missing, strict=True)]
    axes = ", ".join(
        f"{b}+{e} along {letter}" for (b, e), letter in zip(width, recipe.orientation, strict=True) if b or e
    )
    notes.append(f"voxels missing at the border were added ({axes}) with {recipe.pad_value:g}")
    return np.pad(array, width, constant_values=np.float32(recipe.pad_value))


def _divisible(array: np.ndarray, recipe: VolumeRecipe, notes: list[str]) -> np.ndarray:
    if not recipe.divisor:
        return array
    missing = [-n % recipe.divisor for n in array.shape]
    if not any(missing):
        return array
    width = [(0, m) if recipe.border == "end" else (m // 2, m - m // 2) for m in missing]
    notes.append(f"padded from {'x'.join(map(str, array.shape))} to multiples of {recipe.divisor}")
    return np.pad(array, width, constant_values=np.float32(recipe.pad_value))


def _channels(array: np.ndarray, recipe: VolumeRecipe) -> np.ndarray:
    where = 1 if recipe.bag else 0
    one = np.expand_dims(array, where)
    return np.ascontiguousarray(np.repeat(one, recipe.channels, axis=where), dtype=np.float32)


# --- interpolation -------------------------------------------------------------------------------------


def _separable(
    array: np.ndarray, axis: np.ndarray, step: np.ndarray, begin: np.ndarray, shape: Sequence[int],
    fill: float | None,
) -> np.ndarray:  # fmt: skip
    """Linear interpolation along one axis after the other; axis[k] of the array becomes axis k."""
    out = np.transpose(array, axis)
    for k in range(3):
        position = begin[k] + step[k] * np.arange(shape[k])
        out = _linear(out, k, position, fill)
    return np.ascontiguousarray(out, dtype=np.float32)


def _linear(array: np.ndarray, axis: int, position: np.ndarray, fill: float | None) -> np.ndarray:
    """Values at fractional indices along one axis; beyond the ends `fill` takes part as a neighbour does."""
    n = array.shape[axis]
    whole = np.round(position)
    if np.abs(position - whole).max() < FLAT and whole.min() >= 0 and whole.max() < n:
        return np.take(array, whole.astype(np.intp), axis)
    lower = np.floor(position).astype(np.intp)
    weight = (position - lower).astype(np.float32)
    tall = [-1 if a == axis else 1 for a in range(3)]
    near = _taken(array, lower, axis, fill)
    near *= 1 - weight.reshape(tall)
    far = _taken(array, lower + 1, axis, fill)
    far *= weight.reshape(tall)
    near += far
    return near


def _taken(array: np.ndarray, index: np.ndarray, axis: int, fill: float | None) -> np.ndarray:
    n = array.shape[axis]
    found = np.take(array, np.clip(index, 0, n - 1), axis).astype(np.float32)
    if fill is not None:
        outside = (index < 0) | (index >= n)
        if outside.any():
            found[(slice(None),) * axis + (outside,)] = fill
    return found


def _resized(volume: Volume, grid: Grid, recipe: VolumeRecipe) -> np.ndarray:
    """The whole grid, interpolated to the recipe's size."""
    size = _three([n if s is None else s for n, s in zip(grid.shape, recipe.size or (), strict=True)])
    whole = sample(volume, grid, Cut(np.zeros(3), grid.shape, (0, 0, 0), grid.shape), _fill(recipe))
    if recipe.resize_by == "area":
        for axis in range(3):
            whole = _box_means(whole, axis, size[axis])
        return whole
    for axis in range(3):
        n = whole.shape[axis]
        if n != size[axis]:
            whole = _linear(whole, axis, (np.arange(size[axis]) + 0.5) * (n / size[axis]) - 0.5, None)
    return whole


def _box_means(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Means over boxes from floor(i n / size) to ceil((i + 1) n / size): torch's adaptive average pooling."""
    n = array.shape[axis]
    first = np.arange(size) * n // size
    last = -(-(np.arange(size) + 1) * n // size)
    total = np.cumsum(array, axis=axis, dtype=np.float64)
    total = np.concatenate([np.zeros_like(np.take(total, [0], axis)), total], axis=axis)
    length = (last - first).reshape([-1 if a == axis else 1 for a in range(3)])
    return ((np.take(total, last, axis) - np.take(total, first, axis)) / length).astype(np.float32)


def _three(values: Sequence[int] | np.ndarray) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])
