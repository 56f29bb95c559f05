"""A quick walk over a DICOM header that keeps the wanted elements raw and steps over the rest.

pydicom builds an object for each of the 100 to 300 elements of a header; here only the two dozen that are
asked for become objects, and pydicom converts their values when they are looked at. Only the little endian
syntaxes (compressed ones are written in explicit little endian) and elements of defined length are walked;
for all else the answer is None and pydicom reads the header itself.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection
from pathlib import Path

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010

Walk = tuple[dict[BaseTag, RawDataElement], int, int]


def walk_header(path: Path, wanted: Collection[int]) -> tuple[Dataset, str, int, int] | None:
    """(header, transfer syntax, offset of the pixel value, its length), or None where pydicom has to read it.

    The length is 0 without Pixel Data and 0xFFFFFFFF for encapsulated pixels.
    """
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):  # empty, or a file system without memory maps
            return None
    with data:
        if data[128:132] != b"DICM":
            return None
        try:
            elements, start, _ = _walk(data, 132, implicit=False, wanted=None, last_group=2)
            raw = elements.get(BaseTag(0x00020010))
            syntax = (raw.value or b"").decode("ascii").strip("\0 ") if raw else ""
            if syntax in ("", BIG, DEFLATED):
                return None
            implicit = syntax == IMPLICIT
            kept, offset, length = _walk(data, start, implicit=implicit, wanted=wanted, last_group=0x7FE0)
        except (struct.error, UnicodeDecodeError, _Unwalkable):
            return None
    header = Dataset(kept)  # type: ignore[arg-type]
    header.set_original_encoding(implicit, True)
    return header, syntax, offset, length


class _Unwalkable(Exception):
    """An element that only a full parser understands."""


def _walk(
    data: mmap.mmap, at: int, *, implicit: bool, wanted: Collection[int] | None, last_group: int
) -> Walk:
    """Elements up to Pixel Data or beyond `last_group`, where the walk stopped, the length of Pixel Data."""
    kept: dict[BaseTag, RawDataElement] = {}
    end, unpack, before = len(data), struct.unpack_from, 0
    while at + 8 <= end:
        group, element, vr, length = unpack("<HH2sH", data, at)
        tag = group << 16 | element
        if group > last_group:
            break
        if tag <= before:
            raise _Unwalkable  # not in order: damaged, or not what its transfer syntax says
        before = tag
        value = at + 8
        if implicit:
            (length,) = unpack("<L", data, at + 4)
        elif vr in LONG:
            (length,) = unpack("<L", data, at + 8)
            value = at + 12
        elif not vr.isalpha():
            raise _Unwalkable
        if tag == PIXEL_DATA:
            return kept, value, length
        if length == UNDEFINED or value + length > end or group == 0x7FE0:
            raise _Unwalkable
        if wanted is None or tag in wanted:
            name = None if implicit else vr.decode("ascii")
            known = BaseTag(tag)
            kept[known] = RawDataElement(
                known, name, length, data[value : value + length], value, implicit, True
            )
        at = value + length
    return kept, at, 0
