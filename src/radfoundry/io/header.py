"""A quick walk over a DICOM header that keeps the wanted elements raw and steps over the rest.

pydicom builds an object for each of the 100 to 300 elements of a header; here only the two dozen that are
asked for become objects, and pydicom converts their values when they are looked at. Only the little endian
syntaxes (compressed ones are written in explicit little endian) are walked; sequences of undefined length,
which GE and Philips write, are stepped over item by item. For all else the answer is None and pydicom reads
the header itself.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydicom.charset import decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

# VRs with a length of four bytes, and those with two (PS3.5 7.1.2).
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
     b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
# Item, its end and the end of a sequence (PS3.5 7.5).
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
DEEPEST = 16
"""Sequences in sequences beyond this depth are left to pydicom; real headers nest five or six deep."""

HEAD, LENGTH, ITEM_HEAD = struct.Struct("<HH2sH"), struct.Struct("<L"), struct.Struct("<HHL")

Elements = dict[BaseTag, RawDataElement]
Walk = tuple[Elements, int, int]


@lru_cache(maxsize=8192)
def tag_of(number: int) -> BaseTag:
    """One tag object a number: headers that share their keys are looked up in without comparing tags."""
    return BaseTag(number)


@lru_cache(maxsize=64)
def _name_of(vr: bytes) -> str:
    return vr.decode("ascii")


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


def walk_items(
    value: bytes, *, implicit: bool, wanted: Collection[int], inside: Collection[int],
    chosen: Callable[[int], bool] = lambda number: True,
) -> list[Elements] | None:  # fmt: skip
    """The wanted elements of the chosen items of a sequence; None where pydicom has to read it.

    value: the items as they stand in a file, little endian, without the end of the sequence. chosen: whether
    the item of that number is taken. What stands in the sequences `inside` counts as the item's own, as if
    functional groups were one flat header; of several elements with one tag the first is taken.
    """
    found: list[Elements] = []
    at, number = 0, 0
    try:
        while at < len(value):
            tag, length = _tag_and_length(value, at)
            if tag != ITEM:
                return None
            if chosen(number):
                flat = _Flat(value, wanted, inside, {})
                at = flat.item(at + 8, length, len(value), implicit, 0)
                found.append(flat.kept)
            else:
                at = _past_item(value, at + 8, length, implicit, 0)
            number += 1
    except (struct.error, _Unwalkable):
        return None
    return found if at == len(value) else None


NUMBERS = {
    "FD": "d", "FL": "f", "SS": "h", "US": "H", "SL": "i", "UL": "I", "SV": "q", "UV": "Q"
}  # fmt: skip
WHOLE_TEXT = frozenset(("ST", "LT", "UT", "UR"))  # a backslash in these is a backslash
LONGEST_VALUE = 1 << 16


def decode(element: Any, vr: str, encodings: Sequence[str] = ()) -> tuple[Any, ...]:
    """Values of an element that should have this VR: floats, text without padding, or bytes for O* VRs.

    Takes pydicom's raw elements and converted ones. A value without a type (implicit VR, UN, OB) is read by
    `vr`, others by the VR that they state. Empty parts are left out. Raises ValueError, without repeating the
    value, where the bytes are none of the VR or a number is wanted and text was found.
    """
    value = element.value
    stated = element.VR
    if value is None or stated == "SQ":
        if stated == "SQ":
            raise ValueError("it is a sequence")
        return ()
    if isinstance(value, bytes):
        used = vr if stated in (None, "UN", "OB") else stated
        order = ">" if getattr(element, "is_little_endian", True) is False else "<"
        parts = _parts(value, used, order, encodings)
    elif isinstance(value, list | tuple | MultiValue):
        parts = tuple(value)
    else:
        parts = (value,)
    if vr[0] == "O":
        return parts if all(isinstance(part, bytes) for part in parts) else ()
    numeric = vr in NUMBERS or vr in ("DS", "IS")
    texts = [str(part).strip(" \0") if not isinstance(part, bytes) else None for part in parts]
    if None in texts:
        raise ValueError(f"VR {stated} where {vr} belongs")
    if not numeric:
        return tuple(text for text in texts if text)
    try:
        return tuple(
            float(part) if isinstance(part, int | float) else float(text or "")
            for part, text in zip(parts, texts)
            if text
        )
    except ValueError:
        raise ValueError(f"text (VR {stated}) where {vr} belongs") from None


def _parts(value: bytes, vr: str, order: str, encodings: Sequence[str]) -> tuple[Any, ...]:
    if vr in NUMBERS:
        size = struct.calcsize(NUMBERS[vr])
        if len(value) % size or len(value) > LONGEST_VALUE:
            raise ValueError(f"{len(value)} bytes, which are no {vr}")
        return struct.unpack(f"{order}{len(value) // size}{NUMBERS[vr]}", value)
    if vr[0] == "O" or vr == "UN":
        return (value,) if value else ()
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"{len(value)} bytes, too long for {vr}")
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        text = decode_bytes(value, list(encodings) or ["latin-1"], set())
    return (text,) if vr in WHOLE_TEXT else tuple(text.split("\\"))


class _Unwalkable(Exception):
    """An element that only a full parser understands."""


def _walk(
    data: mmap.mmap, at: int, *, implicit: bool, wanted: Collection[int] | None, last_group: int
) -> Walk:
    """Elements up to Pixel Data or beyond `last_group`, where the walk stopped, the length of Pixel Data."""
    kept: Elements = {}
    end, head, long, before = len(data), HEAD.unpack_from, LENGTH.unpack_from, 0
    raw = RawDataElement._make  # of all fields in order, which is cheaper in this loop than by name
    while at + 8 <= end:
        group, element, vr, length = head(data, at)
        tag = group << 16 | element
        if group > last_group:
            break
        if tag <= before:
            raise _Unwalkable  # not in order: damaged, or not what its transfer syntax says
        before = tag
        value = at + 8
        if implicit:
            (length,) = long(data, at + 4)
        elif vr in LONG:
            (length,) = long(data, at + 8)
            value = at + 12
        elif not vr.isalpha():
            raise _Unwalkable
        if tag == PIXEL_DATA:
            return kept, value, length
        if group == 0x7FE0:
            raise _Unwalkable
        if length == UNDEFINED:
            stop, at = _past_sequence(data, value, vr, implicit, 0)
            if wanted is None or tag in wanted:
                known = tag_of(tag)
                kept[known] = _sequence(known, vr, data, value, stop, implicit)
            continue
        if value + length > end:
            raise _Unwalkable
        if wanted is None or tag in wanted:
            known = tag_of(tag)
            name = None if implicit else _name_of(vr)
            content = data[value : value + length]
            kept[known] = raw((known, name, length, content, value, implicit, True, True, False))
        at = value + length
    return kept, at, 0


def _tag_and_length(data: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    """Of an item, its end or the end of a sequence: these three have no VR in any syntax."""
    group, element, length = ITEM_HEAD.unpack_from(data, at)
    return group << 16 | element, length


def _element(data: mmap.mmap | bytes, at: int, implicit: bool) -> tuple[int, bytes, int, int]:
    """(tag, VR, length, where the value starts) of an element inside an item, or of the item's end."""
    group, element, vr, length = HEAD.unpack_from(data, at)
    tag = group << 16 | element
    if group == 0xFFFE:
        if tag != ITEM_END:
            raise _Unwalkable
        return tag, b"", 0, at + 8
    if implicit:
        return tag, b"", LENGTH.unpack_from(data, at + 4)[0], at + 8
    if vr in SHORT:
        return tag, vr, length, at + 8
    if vr in LONG:
        return tag, vr, LENGTH.unpack_from(data, at + 8)[0], at + 12
    raise _Unwalkable


def _past_sequence(
    data: mmap.mmap | bytes, at: int, vr: bytes, implicit: bool, depth: int
) -> tuple[int, int]:
    """(end of the last item, end of the end marker) of a sequence of undefined length.

    Undefined length makes a UN a sequence in implicit VR (PS3.5 6.2.2). Each turn moves on by eight bytes at
    least, so damaged bytes and lengths beyond the file end in struct.error or _Unwalkable.
    """
    if depth > DEEPEST or not (implicit or vr in (b"SQ", b"UN")):
        raise _Unwalkable
    while True:
        tag, length = _tag_and_length(data, at)
        if tag == SEQUENCE_END:
            return at, at + 8
        if tag != ITEM:
            raise _Unwalkable
        at = _past_item(data, at + 8, length, implicit or vr == b"UN", depth)


def _past_item(data: mmap.mmap | bytes, at: int, length: int, implicit: bool, depth: int) -> int:
    """Where the item ends whose content starts at `at`."""
    if length != UNDEFINED:
        return at + length
    head, long = HEAD.unpack_from, LENGTH.unpack_from
    while True:  # the most frequent loop of all, so `_element` is written out
        group, element, vr, length = head(data, at)
        value = at + 8
        if group == 0xFFFE:
            if group << 16 | element != ITEM_END:
                raise _Unwalkable
            return value
        if implicit:
            (length,) = long(data, at + 4)
        elif vr in LONG:
            (length,) = long(data, at + 8)
            value = at + 12
        elif vr not in SHORT:
            raise _Unwalkable
        if length == UNDEFINED:
            _, at = _past_sequence(data, value, vr, implicit, depth + 1)
        else:
            at = value + length


def _sequence(
    tag: BaseTag, vr: bytes, data: mmap.mmap | bytes, start: int, stop: int, implicit: bool
) -> RawDataElement:
    """A sequence of undefined length as a raw one of defined length, which pydicom parses when looked at."""
    if start == stop and vr != b"SQ" and not _is_sequence(tag):
        raise _Unwalkable  # empty and not called a sequence: pydicom decides what it is
    inner = implicit or vr == b"UN"
    return RawDataElement(tag, "SQ", stop - start, data[start:stop], start, inner, True)


def _is_sequence(tag: BaseTag) -> bool:
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:  # private
        return False


@dataclass(frozen=True, slots=True)
class _Flat:
    """Collects one item: the wanted elements of its own and of the sequences `inside`."""

    data: bytes
    wanted: Collection[int]
    inside: Collection[int]
    kept: Elements

    def item(self, at: int, length: int, end: int, implicit: bool, depth: int) -> int:
        """Keep what is wanted of the item whose content starts at `at`; where the item ends."""
        closed = length != UNDEFINED
        stop = at + length if closed else end
        if depth > DEEPEST or stop > end:
            raise _Unwalkable
        while at < stop or not closed:
            tag, vr, size, value = _element(self.data, at, implicit)
            if tag == ITEM_END:
                if closed:
                    raise _Unwalkable
                return value
            if size != UNDEFINED and value + size > stop:
                raise _Unwalkable
            if tag in self.inside and self.holds_items(vr, size, value):
                at = self.sequence(value, size, stop, implicit or vr == b"UN", depth)
            else:
                at = self.element(tag, vr, size, value, implicit, depth)
        return at

    def holds_items(self, vr: bytes, size: int, value: int) -> bool:
        """Whether an element is a sequence: private tags of that number may be something else elsewhere."""
        if vr not in (b"", b"UN"):
            return vr == b"SQ"
        return size == UNDEFINED or (size >= 8 and _tag_and_length(self.data, value)[0] == ITEM)

    def element(self, tag: int, vr: bytes, size: int, value: int, implicit: bool, depth: int) -> int:
        keep = tag in self.wanted and tag_of(tag) not in self.kept
        if size == UNDEFINED:
            stop, after = _past_sequence(self.data, value, vr, implicit, depth + 1)
            if keep:
                known = tag_of(tag)
                self.kept[known] = _sequence(known, vr, self.data, value, stop, implicit)
            return after
        if keep:
            name = None if implicit else vr.decode("ascii")
            content = self.data[value : value + size]
            known = tag_of(tag)
            self.kept[known] = RawDataElement(known, name, size, content, value, implicit, True)
        return value + size

    def sequence(self, at: int, size: int, end: int, implicit: bool, depth: int) -> int:
        closed = size != UNDEFINED
        stop = at + size if closed else end
        while at < stop or not closed:
            tag, length = _tag_and_length(self.data, at)
            if tag == SEQUENCE_END and not closed:
                return at + 8
            if tag != ITEM:
                raise _Unwalkable
            at = self.item(at + 8, length, stop, implicit, depth + 1)
        return at
