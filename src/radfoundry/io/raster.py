"""PNG and JPEG, 8 and 16 bit, without decoding a grey file as colour."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from radfoundry.errors import ReadError
from radfoundry.io.source import MALFORMED, MAX_VALUES, check_size
from radfoundry.types import Image

ORIENTATION = 0x0112
GREY = {"L": 255.0, "I;16": 65535.0, "I;16B": 65535.0, "I;16L": 65535.0}


def read_raster(path: Path, *, max_values: int = MAX_VALUES) -> Image:
    """One PNG or JPEG as an Image in its stored grey levels; display_range spans the bit depth.

    EXIF orientation is applied and recorded, transparency is composited on black and recorded, bilevel
    and palette files are expanded, 16-bit colour is reduced to 8 bit and recorded. Raises ReadError for a
    truncated or oversized file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # max_values decides
            opened = Pillow.open(path)
        with opened as picture:
            check_size((picture.height, picture.width, len(picture.getbands())), path, max_values)
            array, white, record = _decode(picture)
            frames = getattr(picture, "n_frames", 1)
        if _is_deep_colour(path):
            record = (*record, "16-bit colour reduced to 8 bit (the high bytes)")
    except ReadError:
        raise
    except Pillow.DecompressionBombError as cause:
        raise ReadError(
            f"{path}: {cause}. If it is real, raise PIL.Image.MAX_IMAGE_PIXELS and pass max_values to read()"
        ) from cause
    except (*MALFORMED, SyntaxError) as cause:  # Pillow reports a broken PNG chunk as SyntaxError
        raise ReadError(
            f"{path} is truncated or damaged: {cause}. Copy it again from where it came"
        ) from cause
    if frames > 1:
        record = (*record, f"first of {frames} frames")
    return Image(array, (0.0, white), source=str(path), record=record)


def _decode(picture: Pillow.Image) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Array float32, its white level, and what was done."""
    record: tuple[str, ...] = ()
    orientation = (
        picture.getexif().get(ORIENTATION, 1) if picture.format == "JPEG" else _png_orientation(picture)
    )
    if orientation not in (0, 1):
        picture = ImageOps.exif_transpose(picture)
        record = (f"EXIF orientation {orientation} applied",)
    if picture.mode in GREY:
        return np.asarray(picture).astype(np.float32), GREY[picture.mode], record
    if picture.mode == "I":  # Pillow's 32-bit integers, which hold 16-bit PNG in older versions
        return np.asarray(picture).astype(np.float32), 65535.0, record
    if picture.mode == "1":
        return (
            np.asarray(picture.convert("L")).astype(np.float32),
            255.0,
            (*record, "bilevel expanded to 0 and 255"),
        )
    if picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info:
        grey = picture.mode == "LA"
        picture = _on_black(picture)
        record = (*record, "transparency composited on black")
        return np.asarray(picture.convert("L") if grey else picture).astype(np.float32), 255.0, record
    if picture.mode != "RGB":
        record = (*record, f"{picture.mode} converted to RGB")
        picture = picture.convert("RGB")
    return np.asarray(picture).astype(np.float32), 255.0, record


def _is_deep_colour(path: Path) -> bool:
    """Whether a PNG holds 16-bit samples with colour or alpha, of which Pillow keeps the high bytes."""
    with open(path, "rb") as file:
        head = file.read(26)
    return head[:4] == b"\x89PNG" and head[12:16] == b"IHDR" and head[24] == 16 and head[25] in (2, 4, 6)


def _png_orientation(picture: Pillow.Image) -> int:
    """PNG keeps EXIF in its own chunk; getexif() would decode the whole picture to look for one."""
    return picture.getexif().get(ORIENTATION, 1) if "exif" in picture.info else 1


def _on_black(picture: Pillow.Image) -> Pillow.Image:
    layer = picture.convert("RGBA")
    return Pillow.alpha_composite(Pillow.new("RGBA", layer.size, (0, 0, 0, 255)), layer).convert("RGB")
