"""A few slices of a series, small and normalised: what the image tower sees, and the thumbnail.

Nine slices are read, not the series: reading whole series is what makes image models slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radfoundry.errors import ReadError
from radfoundry.io.dicom import DicomFile, check_pixels, open_dicom, readable, stored_frame
from radfoundry.io.frames import is_mosaic, mosaic_tiles, tiles

if TYPE_CHECKING:
    from radfoundry.series.find import Series

SLICES, SIZE = 9, 128
LATE = 3
"""So many of the slices come from the last volume where there are several: contrast, b-values and noise."""
MARGIN = 0.1
"""Share of the stack left out at each end, where little of the body is seen."""
MEMORY = Path("memory")
BINS = 24


@dataclass(frozen=True, slots=True)
class Pixels:
    """slices: (n, SIZE, SIZE) float32 in 0..1, n at most SLICES; one scale for all, so contrasts compare.

    late: (n,) bool, whether a slice is of the last volume. histogram: (2, BINS) float32, shares of the
    values of first and last volume. thumbnail: (rows, columns) uint8, the middle slice of the first volume.
    """

    slices: np.ndarray
    late: np.ndarray
    histogram: np.ndarray
    thumbnail: np.ndarray


@dataclass(frozen=True, slots=True)
class Place:
    """One slice in the files of a series: a frame of a file, or a tile of a mosaic frame."""

    file: int
    frame: int = 0
    tile: int | None = None
    tiles: int = 1
    late: bool = False


def read_pixels(series: Series, *, slices: int = SLICES, size: int = SIZE) -> Pixels:
    """Slices of one series. Raises ReadError where none of them can be read, with the first reason.

    A slice that cannot be read is left out as long as others can.
    """
    pictures, late, reason = [], [], None
    for place in choose(series.files, slices):
        try:
            pictures.append(_picture(series.files[place.file], place))
            late.append(place.late)
        except ReadError as error:
            reason = reason or error
    if not pictures:
        raise reason or ReadError(f"{series.where} holds no slice with pixels. Export it again with pixels")
    return _normalised(pictures, np.array(late), size)


def choose(files: Sequence[DicomFile], n: int = SLICES) -> list[Place]:
    """At most n places of slices, spread over the stack, the last LATE of them from the last volume."""
    kept = [i for i, file in enumerate(files) if file.has_pixels or file.path == MEMORY]
    if not kept:
        return []
    frames = [_frames(files[i]) for i in kept]
    if max(frames) > 1 and len(kept) > 1:  # a volume a file: mosaics, and enhanced objects by volume
        return _of_frames(kept[0], files, n - LATE) + _of_frames(kept[-1], files, LATE, late=True)
    if max(frames) > 1:
        return _of_frames(kept[0], files, n)
    return _of_stack(kept, files, n)


def _frames(file: DicomFile) -> int:
    return max(mosaic_tiles(file)[0], 1) if is_mosaic(file) else file.frames


def _of_frames(index: int, files: Sequence[DicomFile], n: int, *, late: bool = False) -> list[Place]:
    count = _frames(files[index])
    if is_mosaic(files[index]) and count > 1:
        return [Place(index, 0, int(tile), count, late) for tile in _spread(count, n)]
    return [Place(index, int(frame), None, 1, late) for frame in _spread(count, n)]


def _spread(count: int, n: int) -> np.ndarray:
    """At most n distinct indices of 0..count-1, evenly between the margins.

    >>> _spread(100, 3).tolist(), _spread(2, 3).tolist()
    ([10, 50, 89], [0, 1])
    """
    first, last = (count - 1) * MARGIN, (count - 1) * (1 - MARGIN)
    if count <= n:
        return np.arange(count)
    return np.unique(np.round(np.linspace(first, last, n)).astype(int))


def _of_stack(kept: list[int], files: Sequence[DicomFile], n: int) -> list[Place]:
    """Slices of single-frame files, by their place in space; in file order where places are not told."""
    places: dict[tuple, list[int]] = {}
    for order, i in enumerate(kept):
        places.setdefault(_where(files[i]) or (order,), []).append(i)
    stack = [places[key] for key in sorted(places)]
    repeated = max(len(found) for found in stack) > 1
    early = n - LATE if repeated else n
    chosen = [Place(stack[k][0]) for k in _spread(len(stack), early)]
    if repeated:
        several = [found for found in stack if len(found) > 1]
        chosen += [Place(several[k][-1], late=True) for k in _spread(len(several), LATE)]
    return chosen


def _where(file: DicomFile) -> tuple | None:
    """(orientation, distance along the normal), rounded; None where the header does not say."""
    try:
        orientation = np.array([float(v) for v in file.get("ImageOrientationPatient", ())])
        position = np.array([float(v) for v in file.get("ImagePositionPatient", ())])
    except (ReadError, TypeError, ValueError):  # damaged geometry is no geometry here
        return None
    if orientation.shape != (6,) or position.shape != (3,):
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    return (*np.round(normal, 2).tolist(), round(float(normal @ position), 1))


def _picture(file: DicomFile, place: Place) -> np.ndarray:
    """(rows, columns) float32, bright as displayed."""
    if file.path != MEMORY:
        file = open_dicom(file.path)
        check_pixels(file)
    raw = stored_frame(file, place.frame, file.header if file.path == MEMORY else None)
    if raw.ndim == 3:
        raw = raw.mean(axis=-1)
    if place.tile is not None:
        side = int(np.ceil(np.sqrt(place.tiles)))
        raw = tiles(raw, place.tiles, (raw.shape[0] // side, raw.shape[1] // side))[place.tile]
    values = raw.astype(np.float32)
    with readable(file):
        values *= np.float32(file.get("RescaleSlope", 1) or 1)
        values += np.float32(file.get("RescaleIntercept", 0) or 0)
    if file.get("PhotometricInterpretation") == "MONOCHROME1":
        values = -values
    return values


def _normalised(pictures: list[np.ndarray], late: np.ndarray, size: int) -> Pixels:
    """One scale for all slices: 1st to 99th percentile of the first volume's."""
    of_first = [p for p, last in zip(pictures, late) if not last] or pictures
    first = np.concatenate([p.ravel()[:: max(p.size // 16384, 1)] for p in of_first])
    first = first[np.isfinite(first)]
    low, high = np.percentile(first, (1, 99)) if first.size else (0.0, 1.0)
    scale = 1.0 / max(float(high - low), 1e-6)
    scaled = [np.clip(np.nan_to_num((p - low) * scale), 0, 1).astype(np.float32) for p in pictures]
    slices = np.stack([_fitted(picture, size) for picture in scaled])
    histogram = np.zeros((2, BINS), np.float32)
    for row, chosen in enumerate((~late, late)):
        if chosen.any():
            counts, _ = np.histogram(slices[chosen], BINS, (0, 1))
            histogram[row] = counts / max(counts.sum(), 1)
    shown = np.flatnonzero(~late) if (~late).any() else np.arange(len(late))
    middle = scaled[shown[len(shown) // 2]]
    return Pixels(slices, late, histogram, np.round(_shrunk(middle, 160) * 255).astype(np.uint8))


def _fitted(picture: np.ndarray, size: int) -> np.ndarray:
    """Shrunk or enlarged to fit a black square, aspect kept."""
    small = _shrunk(picture, size)
    out = np.zeros((size, size), np.float32)
    top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return out


def _shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    from PIL import Image as Raster

    factor = longest / max(picture.shape)
    rows, columns = (max(round(side * factor), 1) for side in picture.shape)
    image = Raster.fromarray(np.ascontiguousarray(picture, np.float32))
    return np.asarray(
        image.resize((columns, rows), Raster.Resampling.BOX if factor < 1 else Raster.Resampling.BILINEAR)
    )
