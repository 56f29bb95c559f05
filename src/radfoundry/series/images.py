"""The images of a series as flat headers: classic slice, mosaic, or frame with its functional groups."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from radfoundry.errors import ReadError
from radfoundry.io.dicom import UNREADABLE, DicomFile
from radfoundry.io.frames import mosaic_tiles
from radfoundry.io.header import tag_of, walk_items
from radfoundry.series import vendor

# fmt: off
GROUPS = (
    "MRImageFrameTypeSequence", "FrameContentSequence", "PlanePositionSequence", "PlaneOrientationSequence",
    "PixelMeasuresSequence", "MREchoSequence", "MRTimingAndRelatedParametersSequence", "MRModifierSequence",
    "MRImagingModifierSequence", "MRFOVGeometrySequence", "MRAveragesSequence", "MRReceiveCoilSequence",
    "MRDiffusionSequence", "DiffusionGradientDirectionSequence", "CardiacSynchronizationSequence",
    "MRArterialSpinLabelingSequence", "MRVelocityEncodingSequence", "FrameAnatomySequence",
    "CTImageFrameTypeSequence",
)
"""Functional groups (PS3.3 C.7.6.16, C.8.13.5) whose elements count as the frame's own."""
# fmt: on
MOST_FRAMES = 512
"""Frames of one series that are looked at; of more, about this many are, spread aperiodically."""
MOST_TILES = 4096
DEEPEST = 8
SAME_PLACE_MM = 0.05
SAME_DIRECTION = math.cos(math.radians(1.0))

Vector = tuple[float, float, float]


@cache
def number(keyword: str) -> BaseTag:
    """Tag of a DICOM keyword."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag_of(tag)


@cache
def _groups() -> frozenset[int]:
    return frozenset({int(number(name)) for name in GROUPS} | vendor.inside())


@dataclass(frozen=True, slots=True)
class Image:
    """One slice, mosaic or frame. elements: tag -> element, the frame's own over shared and common ones.

    private: tags that stand in a private copy alone.
    """

    file: int
    elements: Mapping[BaseTag, Any]
    is_frame: bool = False
    private: frozenset[int] = frozenset()

    @property
    def get(self) -> vendor.Get:
        """From a tag to the element, raw or converted, or None."""
        return self.elements.get


def images_of(files: Sequence[DicomFile], wanted: Collection[int], notes: dict[str, None]) -> list[Image]:
    """All images of a series, frames of enhanced objects among them; damaged functional groups are noted."""
    shared, per_frame = number("SharedFunctionalGroupsSequence"), number(PER_FRAME)
    images: list[Image] = []
    counts = [_frames(file) if per_frame in file.header else 0 for file in files]
    total, before = sum(counts), 0
    if total > MOST_FRAMES:
        notes[f"about {MOST_FRAMES} of {total} frames were looked at"] = None
    for index, (file, count) in enumerate(zip(files, counts, strict=True)):
        top = _shared_keys(file.header)
        if per_frame not in top and shared not in top:
            images.append(Image(index, top))
            continue
        try:
            common = {**top, **next(iter(_items(top.get(shared), wanted)), {})}
            own = _items(top.get(per_frame), wanted, _spread(total, before))
        except (RecursionError, *UNREADABLE):
            notes["functional groups of an enhanced file are damaged"] = None
            own, common = [], top
        private = _told_in_private(top, own[0], wanted) if own else frozenset()
        images += [Image(index, {**common, **frame}, True, private) for frame in own] or [
            Image(index, common)
        ]
        before += count
    return images


def _told_in_private(
    top: Mapping[BaseTag, Any], frame: Mapping[BaseTag, Any], wanted: Collection[int]
) -> frozenset[int]:
    """Standard tags of a frame that stand in private sequences alone, as in Philips' copy of classic ones."""
    if not any(int(tag) >> 16 & 1 for tag in frame):
        return frozenset()
    groups = frozenset(int(number(name)) for name in GROUPS)
    shared, per_frame = number("SharedFunctionalGroupsSequence"), number(PER_FRAME)
    told = set(top)
    for tag in (shared, per_frame):
        told |= set(next(iter(_items(top.get(tag), wanted, lambda index: index == 0, groups)), {}))
    return frozenset(int(tag) for tag in frame if tag not in told)


def _shared_keys(header: Dataset) -> dict[BaseTag, Any]:
    """The elements of a header by the tag objects of `tag_of`, as headers from files have them anyway."""
    elements = dict(header.items())
    first = next(iter(elements), None)
    if first is None or tag_of(int(first)) is first:
        return elements
    return {tag_of(int(tag)): element for tag, element in elements.items()}


def _spread(total: int, before: int) -> Callable[[int], bool]:
    """Which frames are taken of so many, `before` of them in files that came earlier.

    Steps of the golden ratio keep no period, so no echo, slice or b-value is passed over throughout.
    """
    if total <= MOST_FRAMES:
        return lambda frame: True
    share = MOST_FRAMES / total
    return lambda frame: (before + frame) * GOLDEN % 1.0 < share


GOLDEN = (math.sqrt(5) - 1) / 2
PER_FRAME = "PerFrameFunctionalGroupsSequence"


def _frames(file: DicomFile) -> int:
    try:
        return max(file.frames, 1)
    except ReadError:
        return 1


WRITTEN_POSITION = re.compile(rb"\x20\x00\x32\x00(?:DS..|..\x00\x00)([-+0-9eE. \\]{5,50})", re.DOTALL)


def all_positions(files: Sequence[DicomFile]) -> list[tuple[float, ...]]:
    """Every distinct Image Position of frames, found by its tag in the bytes of all functional groups.

    For files of which only a part of the frames was looked at: slices have to be counted over all of them.
    """
    found: dict[bytes, None] = {}
    for file in files:
        value = getattr(file.header.get_item(number(PER_FRAME)), "value", None)
        if isinstance(value, bytes):
            found |= dict.fromkeys(WRITTEN_POSITION.findall(value))
    positions: list[tuple[float, ...]] = []
    for text in found:
        try:
            position = tuple(float(part) for part in text.split(b"\\"))
        except ValueError:  # bytes that looked like it by chance
            continue
        if len(position) == 3:
            positions.append(position)
    return positions


def with_copy(image: Image, wanted: Collection[int], reader: vendor.Reader) -> Image:
    """A classic Philips image with its private copy of the enhanced attributes opened."""
    element = None if image.is_frame else reader.raw(image.get, vendor.PHILIPS_COPY)
    if element is None:
        return image
    try:
        copy = _items(element, wanted)
    except (RecursionError, *UNREADABLE):
        return image
    if not copy:
        return image
    private = frozenset(int(tag) for tag in copy[0] if tag not in image.elements)
    return Image(image.file, {**copy[0], **image.elements}, private=private)


def _items(
    element: Any,
    wanted: Collection[int],
    chosen: Callable[[int], bool] = lambda frame: True,
    inside: Collection[int] | None = None,
) -> list[Mapping[BaseTag, Any]]:
    """Flat elements of the chosen items, from bytes where they are still raw, else by pydicom."""
    if element is None or element.value is None:
        return []
    inside = _groups() if inside is None else inside
    if isinstance(element.value, bytes):
        if isinstance(element, RawDataElement) and element.VR in (None, "SQ", "UN"):
            implicit = element.is_implicit_VR or element.VR == "UN"
            found = walk_items(element.value, implicit=implicit, wanted=wanted, inside=inside, chosen=chosen)
            if found is not None:
                return list(found)
        element = Dataset({element.tag: element})[element.tag]
    items = [item for index, item in enumerate(element.value) if chosen(index)]
    return [_flat(item, wanted, inside, {}, 0) for item in items if isinstance(item, Dataset)]


def _flat(
    item: Dataset, wanted: Collection[int], inside: Collection[int], kept: dict[BaseTag, Any], depth: int
) -> dict[BaseTag, Any]:
    for tag, element in list(item.items()):
        if int(tag) in inside and depth < DEEPEST:
            value = item[tag].value
            for inner in value if isinstance(value, Sequence) and not isinstance(value, bytes | str) else ():
                if isinstance(inner, Dataset):
                    _flat(inner, wanted, inside, kept, depth + 1)
        elif int(tag) in wanted and tag not in kept:
            kept[tag] = element
    return kept


@dataclass(slots=True)
class Slices:
    """How many slices a file holds, remembered by the plain count of tiles: CSA headers are slow to read.

    private: whether a private element told how many.
    """

    reader: vendor.Reader
    notes: dict[str, None]
    known: dict[str, int] = field(default_factory=dict)
    private: bool = False

    def of(self, file: DicomFile) -> int:
        """1, the number of frames, or the number of tiles of a mosaic or grid."""
        get = file.header.get_item
        try:
            if get(number("NumberOfFrames")) is not None and file.frames > 1:
                return file.frames
            if _says_mosaic(get(number("ImageType"))):
                key = str(getattr(self.reader.raw(get, vendor.ELEMENTS["siemens_tiles"]), "value", ""))
                if key not in self.known:
                    self.known[key] = max(mosaic_tiles(file)[0], 1)
                self.private |= self.known[key] > 1
                return min(self.known[key], MOST_TILES)
        except (ReadError, *UNREADABLE):
            self.notes["a number of frames or tiles is unreadable"] = None
            return 1
        grid = self.reader.read(get, "uih_tiles") if get(vendor.UIH_TILES) is not None else ()
        tiles = int(grid[0]) if grid and 1 <= grid[0] <= MOST_TILES else 1
        self.private |= tiles > 1
        return tiles


def _says_mosaic(element: Any) -> bool:
    value = getattr(element, "value", None)
    return b"MOSAIC" in value if isinstance(value, bytes) else "MOSAIC" in str(value)


def geometry(
    planes: Iterable[tuple[Image, tuple[float, ...], tuple[float, ...]]], slices: Callable[[int], int]
) -> tuple[int, tuple[Vector, ...]]:
    """(distinct slice positions, distinct normals) of images with their position and orientation.

    slices: how many slices the file of that number holds. 0 positions where headers do not say. Normals are
    unit vectors in LPS; of both signs the one is taken whose leading part is positive.
    """
    normals: list[Vector] = []
    heights: list[list[float]] = []
    for image, position, orientation in planes:
        normal = normal_of(orientation)
        if normal is None:
            continue
        which = next((k for k, n in enumerate(normals) if _dot(n, normal) > SAME_DIRECTION), len(normals))
        if which == len(normals):
            normals.append(normal)
            heights.append([])
        heights[which] += _heights(image, position, normals[which], slices)
    return sum(map(distinct_heights, heights)), tuple(normals)


def normal_of(orientation: tuple[float, ...]) -> Vector | None:
    """Unit normal of a plane; None for an impossible Image Orientation.

    >>> normal_of((1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    (0.0, 0.0, 1.0)
    """
    if len(orientation) != 6:
        return None
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.sqrt(_dot(normal, normal))
    if not 0.9 < length < 1.1:
        return None
    # Of parts that are about equal the first leads, so that rounding in a header turns no sign.
    most = max(map(abs, normal))
    leading = next(part for part in normal if abs(part) > most - 0.02)
    x, y, z = (part / math.copysign(length, leading) + 0.0 for part in normal)
    return x, y, z


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _heights(
    image: Image, position: tuple[float, ...], normal: Vector, slices: Callable[[int], int]
) -> list[float]:
    """Where along the normal the slices of one image lie, in mm; [] without a position."""
    grid = None if image.is_frame else image.get(vendor.UIH_TILES)
    if grid is not None:
        try:
            items = Dataset({grid.tag: grid})[grid.tag].value[:MOST_TILES]
            spots = [[float(v) for v in item.ImagePositionPatient] for item in items]
            return [_dot(spot, normal) for spot in spots if len(spot) == 3]
        except UNREADABLE:  # then the position of the whole picture counts
            pass
    if len(position) != 3:
        return []
    count = 1 if image.is_frame else slices(image.file)
    start = _dot(position, normal)
    # The tiles of a mosaic are one volume; how far they are apart does not matter for counting them.
    return [start + k for k in range(min(count, MOST_TILES))]


def distinct_heights(heights: list[float]) -> int:
    """How many heights are apart by more than rounding.

    >>> distinct_heights([1.0, 4.0, 1.001])
    2
    """
    if not heights:
        return 0
    ordered = sorted(heights)
    return 1 + sum(b - a > SAME_PLACE_MM for a, b in pairwise(ordered))
