"""Pictures whose pixels are not square, resampled until they are: encoders and eyes know only square ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from radfoundry.io.source import MAX_VALUES, check_size
from radfoundry.preprocess.recipe import bilinear
from radfoundry.types import Frames, Image

TOLERANCE = 0.01
"""Headers round a spacing to a few digits; sides that differ by less are equal."""


Picture = TypeVar("Picture", bound=Image | Frames)


def squared(picture: Picture, aspect: float | None = None, *, max_values: int = MAX_VALUES) -> Picture:
    """The picture with square pixels of its finer spacing, by linear interpolation, recorded.

    aspect: height of a pixel over its width, where no spacing says it. The field of view is kept, so that
    `spacing_mm` is what the whole number of new rows or columns makes of it. A picture whose sides differ by
    less than 1 % is returned as it is. Raises ReadError where the result would be above `max_values`.
    """
    spacing = picture.spacing_mm
    ratio = spacing[0] / spacing[1] if spacing else aspect or 1.0
    if max(ratio, 1 / ratio) <= 1 + TOLERANCE:
        return picture
    single = isinstance(picture, Image)
    frames = picture.array[None] if single else picture.array
    old = frames.shape[1:3]
    rows, columns = (round(old[0] * ratio), old[1]) if ratio > 1 else (old[0], round(old[1] / ratio))
    if (rows, columns) == old:  # a few pixels, which have no square beside them
        return picture
    check_size((len(frames), rows, columns, *frames.shape[3:]), f"{picture.source}, made square,", max_values)
    array = np.stack([bilinear(frame, (rows, columns)) for frame in frames])
    new = (spacing[0] * (old[0] / rows), spacing[1] * (old[1] / columns)) if spacing else None
    was = f"{spacing[0]:g} × {spacing[1]:g} mm" if spacing else f"of aspect {ratio:g}:1"
    said = f"pixels {was} (down × across) not square: {old[0]} × {old[1]} interpolated to {rows} × {columns}"
    return replace(
        picture,
        array=array[0] if single else array,
        spacing_mm=new,
        record=(*picture.record, said),
    )
