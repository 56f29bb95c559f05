"""One DICOM file: its header (only the elements needed) and its stored pixels.

Native pixels are read straight from their place in the file; pydicom decodes compressed ones.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from radfoundry.errors import ReadError
from radfoundry.io.header import UNDEFINED, walk_header
from radfoundry.io.source import MALFORMED, MAX_VALUES, check_size

# fmt: off
IMAGE_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "Manufacturer",
    "InstanceNumber", "AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "PresentationIntentType",
    "GridFrameOffsetVector", "EchoTime", "InversionTime", "TriggerTime", "AcquisitionTime",
    "ContentTime", "TemporalPositionIdentifier", "DiffusionBValue", "DiffusionGradientOrientation",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "WindowCenter",
    "WindowWidth", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence", "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "SequenceOfUltrasoundRegions", "PixelAspectRatio",
]
# fmt: on
# Siemens mosaic: CSA header and the count of tiles. UIH grid: one item a tile.
PRIVATE_TAGS = [0x00290010, 0x00291010, 0x00190010, 0x0019100A, 0x00650010, 0x00651051]
TAGS: list[Any] = [*IMAGE_TAGS, *PRIVATE_TAGS]

NATIVE = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}
DEFLATED = "1.2.840.10008.1.2.1.99"
# Standard objects that have rows and columns but whose values mean something other than a picture.
NOT_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
}
GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "")
# What pydicom raises on elements that are not what their tag and VR claim.
UNREADABLE = (*MALFORMED, InvalidDicomError, BytesLengthException)


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A header without its pixels. offset: where native pixel values start in the file, else None."""

    path: Path
    header: Dataset
    offset: int | None
    length: int
    syntax: str = ""

    @property
    def frames(self) -> int:
        return self.whole("NumberOfFrames", 1) or 1

    @property
    def has_pixels(self) -> bool:
        return self.length > 0

    def get(self, name: str, default: Any = None) -> Any:
        """Value of an element by keyword; `default` where it is absent or empty.

        The slices of a series repeat most of their values byte for byte, so conversions are remembered.
        Raises ReadError for bytes that are no value of that element.
        """
        tag = _tag(name)
        element = self.header.get_item(tag)
        if element is None:
            return default
        try:
            if isinstance(element, RawDataElement) and element.VR in REMEMBERED:
                value = _remembered(self.header, tag, element)
            else:
                value = self.header[tag].value
        except UNREADABLE as cause:
            raise ReadError(f"{self.path} has an unreadable {name}: {cause}. Correct the header") from cause
        return default if value is None or value == "" else value

    def whole(self, name: str, default: int | None = None) -> int:
        """Value of an element that counts something; ReadError unless it is one whole number."""
        value = self.get(name, default)
        try:
            return int(value)
        except (TypeError, ValueError, OverflowError) as cause:
            said = "does not say" if value is None else f"has {value!r} as"
            raise ReadError(f"{self.path} {said} {name}, a whole number. Correct the header") from cause

    def has(self, name: str) -> bool:
        return _tag(name) in self.header


@contextmanager
def readable(file: DicomFile) -> Iterator[None]:
    """ReadError for whatever an ill-typed element (of a sequence, mostly) raises inside the block."""
    try:
        yield
    except ReadError:
        raise
    except UNREADABLE as cause:
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise ReadError(f"{file.path} has a damaged header: {reason}. Export it again") from cause


REMEMBERED = frozenset(("CS", "DS", "FD", "FL", "IS", "SS", "UI", "UL", "US"))
MOST_REMEMBERED, LONGEST_REMEMBERED = 20_000, 256
_conversions: dict[tuple, Any] = {}


def _remembered(header: Dataset, tag: BaseTag, element: RawDataElement) -> Any:
    """Converted value of a raw element, from its bytes if they were seen before; shared, so never changed."""
    if element.length > LONGEST_REMEMBERED:
        return header[tag].value
    key = (tag, element.VR, element.value, element.is_little_endian)
    value = _conversions.get(key)
    if value is None:
        value = header[tag].value
        if len(_conversions) > MOST_REMEMBERED:
            _conversions.clear()
        _conversions[key] = value
    return value


@cache
def _tag(name: str) -> BaseTag:
    return Tag(name)


def open_dicom(path: Path, tags: Sequence[Any] = TAGS) -> DicomFile:
    """Read the elements of `tags`; ReadError where the bytes are no DICOM or end inside the header."""
    try:
        found = walk_header(path, _numbers_of(tuple(tags)))
        if found is not None:
            header, syntax, offset, length = found
            native = syntax in NATIVE and length not in (0, UNDEFINED)
            return DicomFile(path, header, offset if native else None, length, syntax)
        with open(path, "rb") as file:
            bare = file.read(132)[128:] != b"DICM"
            file.seek(0)
            _refuse_deflate_bomb(file, bare, path)
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(tags), force=bare)
            syntax = str(getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID", "") or "")
            if not syntax:
                syntax = _implied_syntax(header)
            if syntax == DEFLATED:  # offsets inside the inflated stream mean nothing in the file
                return DicomFile(path, header, None, 1, syntax)
            offset, length = _pixel_element(file, header)
    except ReadError:
        raise
    except UNREADABLE as cause:
        raise ReadError(
            f"{path} is truncated or no DICOM: {cause}. Copy it again from where it came"
        ) from cause
    if len(header) == 0:
        raise ReadError(f"{path} holds no DICOM elements. Copy it again from where it came")
    native = syntax in NATIVE and length not in (0, 0xFFFFFFFF)
    return DicomFile(path, header, offset if native else None, length, syntax)


@cache
def _numbers_of(tags: tuple[Any, ...]) -> frozenset[int]:
    """The same tags as numbers, with the character set, which says how text is to be read."""
    return frozenset(int(Tag(tag)) for tag in (*tags, "SpecificCharacterSet"))


def _implied_syntax(header: FileDataset) -> str:
    """Files without meta information: the syntax that pydicom found by trying."""
    implicit, little = header.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little is not False else "1.2.840.10008.1.2.2"


def _pixel_element(file: Any, header: FileDataset) -> tuple[int, int]:
    """(offset of the value, its length) of Pixel Data at the current place; (0, 0) when there is none."""
    implicit, little = header.original_encoding
    order = "<" if little is not False else ">"
    head = file.read(12)
    if len(head) < 8 or struct.unpack(f"{order}HH", head[:4]) not in (
        (0x7FE0, 0x0010),
        (0x7FE0, 8),
        (0x7FE0, 9),
    ):
        return 0, 0
    if head[2:4] not in (b"\x10\x00", b"\x00\x10"):
        return 0, 0xFFFFFFFF  # float pixel data: pydicom reads it
    if implicit:
        return file.tell() - len(head) + 8, struct.unpack(f"{order}L", head[4:8])[0]
    return file.tell(), struct.unpack(f"{order}L", head[8:12])[0]


def _refuse_deflate_bomb(file: Any, bare: bool, path: Path) -> None:
    """A deflated data set is inflated whole by pydicom, so its size is tried here first, in pieces."""
    if bare:
        return
    file.seek(128)
    if DEFLATED.encode() not in file.read(1024):
        return
    meta = read_file_meta_info(str(path))
    file.seek(132 + 12 + meta.FileMetaInformationGroupLength)
    inflate, total, chunk = zlib.decompressobj(-zlib.MAX_WBITS), 0, file.read(1 << 20)
    while chunk and not inflate.eof:
        total += len(inflate.decompress(chunk, 1 << 24))
        if total > 2 * MAX_VALUES:
            raise ReadError(f"{path} inflates beyond {total:,} bytes: a decompression bomb. It is not read")
        chunk = inflate.unconsumed_tail or file.read(1 << 20)


def check_pixels(file: DicomFile, *, max_values: int = MAX_VALUES) -> None:
    """ReadError unless the file holds a picture of an acceptable, and truthful, size."""
    where = file.path
    what = NOT_PICTURES.get(str(file.get("SOPClassUID", "")))
    if what:
        raise ReadError(f"{where} is {what}, not a picture. Pass the images it refers to")
    if not file.get("Rows") or not file.get("Columns") or not file.has_pixels:
        kind = getattr(file.get("SOPClassUID"), "name", "") or "a DICOM object"
        raise ReadError(f"{where} has no pixels ({kind}). Pass an image file; reports and plans are not read")
    samples = file.whole("SamplesPerPixel", 1)
    shape = (file.frames, file.whole("Rows"), file.whole("Columns"), samples)
    check_size(shape, where, max_values)
    _check_layout(file, samples)
    if file.offset is None:
        return
    needed = -(-int(np.prod(shape, dtype=np.int64)) * file.whole("BitsAllocated") // 8)
    if str(file.get("PhotometricInterpretation")) == "YBR_FULL_422":
        needed = needed * 2 // 3
    available = min(file.length, where.stat().st_size - file.offset)
    if available < needed:
        raise ReadError(
            f"{where} is truncated: {available:,} bytes of pixels, but {shape[1]} × {shape[2]} × {shape[0]} "
            f"frames need {needed:,}. Copy it again from where it came"
        )


def _check_layout(file: DicomFile, samples: int) -> None:
    """Refuse bits and colours that contradict each other (PS3.3 C.7.6.3.1): a guess would change values."""
    allocated = file.whole("BitsAllocated")
    bits = file.whole("BitsStored", allocated)
    high = file.whole("HighBit", bits - 1)
    if not (1 <= bits <= allocated and bits - 1 <= high < allocated):
        raise ReadError(
            f"{file.path} says {bits} bits stored of {allocated} allocated with high bit {high}, "
            "which is impossible. Correct the header"
        )
    photometric = str(file.get("PhotometricInterpretation", ""))
    colour = photometric == "RGB" or photometric.startswith("YBR")
    if samples != (3 if colour else 1) or not (colour or photometric in GREY):
        raise ReadError(
            f"{file.path} has {samples} samples a pixel but is {photometric or 'of no stated colour'}: "
            "its values cannot be told. Correct Samples per Pixel or Photometric Interpretation"
        )


def stored(file: DicomFile) -> np.ndarray:
    """Stored values before any rescale: (frames, rows, columns) integers, or (frames, rows, columns, 3) RGB.

    YBR is converted to RGB. Raises ReadError where decoding fails, naming the missing plug-in if that is why.
    """
    with _decoding(file):
        return _native(file, 0, file.frames) if _is_plain(file) else _decoded(file)


def stored_frame(file: DicomFile, frame: int, held: Dataset | None = None) -> np.ndarray:
    """Stored values of one frame, (rows, columns) or (rows, columns, 3): the others are not decoded.

    held: the data set itself where it is in memory and not in a file. Raises ReadError as `stored` does.
    """
    with _decoding(file):
        if held is None and _is_plain(file) and not _is_swapped(file):
            return _native(file, frame, 1)[0]
        data = _whole(file.path) if held is None else held
        if "TransferSyntaxUID" not in getattr(data, "file_meta", ()):
            raise ReadError(
                f"{file.path} does not say how its pixels are coded. Set file_meta.TransferSyntaxUID"
            )
        _check_codestream(data, file.path)
        return pydicom.pixels.pixel_array(data, index=frame)


@contextmanager
def _decoding(file: DicomFile) -> Iterator[None]:
    """ReadError for whatever decoding inside the block raises."""
    try:
        yield
    except ReadError:
        raise
    except BaseException as cause:  # codecs raise anything; those in Rust panic past Exception
        if not isinstance(cause, (*UNREADABLE, MemoryError)) and type(cause).__name__ != "PanicException":
            raise
        reason = str(cause).splitlines()[0].rstrip(".") if str(cause) else type(cause).__name__
        advice = "Copy it again from where it came"
        if "plugin" in reason or "missing dependencies" in str(cause):
            advice = "Compressed DICOM needs: pip install 'radfoundry[compressed]'"
        raise ReadError(f"{file.path} could not be decoded: {reason}. {advice}") from cause


def _is_plain(file: DicomFile) -> bool:
    """Whether the values stand in the file as numbers of one sample a pixel."""
    single = file.offset is not None and file.whole("SamplesPerPixel", 1) == 1
    return single and file.whole("BitsAllocated") in (8, 16, 32)


def _is_swapped(file: DicomFile) -> bool:
    """8-bit values in big endian words (PS3.5 8.1.1)."""
    eight = file.whole("BitsAllocated") == 8 and NATIVE[file.syntax] == ">"
    return eight and file.length % 2 == 0 and _is_word(file)


def _native(file: DicomFile, first: int, frames: int) -> np.ndarray:
    """Straight from the file; bits above Bits Stored are cleared: old scanners keep overlays there."""
    allocated = file.whole("BitsAllocated")
    bits = file.whole("BitsStored", allocated)
    signed = bool(file.whole("PixelRepresentation", 0))
    syntax = file.syntax
    shape = (frames, file.whole("Rows"), file.whole("Columns"))
    dtype = np.dtype(f"{NATIVE[syntax]}{'i' if signed else 'u'}{allocated // 8}")
    swapped = _is_swapped(file)
    with open(file.path, "rb") as stream:
        stream.seek((file.offset or 0) + first * shape[1] * shape[2] * dtype.itemsize)
        count = int(np.prod(shape))
        values = np.fromfile(stream, dtype, count + (count & 1 if swapped else 0))
    if swapped:
        values = values.view(">u2").byteswap().view(dtype)[:count]
    values = values.reshape(shape)
    if bits >= allocated:
        return values
    spare = allocated - file.whole("HighBit", bits - 1) - 1
    if signed:
        return np.right_shift(np.left_shift(values, spare), allocated - bits)
    if spare + bits < allocated:
        values = np.right_shift(values, allocated - bits - spare)
    return np.bitwise_and(values, dtype.type((1 << bits) - 1))


def _is_word(file: DicomFile) -> bool:
    with open(file.path, "rb") as stream:
        stream.seek((file.offset or 8) - 8)
        return stream.read(2) == b"OW"


def _decoded(file: DicomFile) -> np.ndarray:
    data = _whole(file.path)
    _check_codestream(data, file.path)
    array = pydicom.pixels.pixel_array(data)
    colour = file.whole("SamplesPerPixel", 1) > 1
    if array.ndim == (3 if colour else 2):
        array = array[None]
    return array


def _whole(path: Path) -> FileDataset:
    """The file with what pydicom needs to decode it."""
    data = pydicom.dcmread(path, force=True)
    if not data.file_meta.get("TransferSyntaxUID"):
        data.file_meta.TransferSyntaxUID = UID(_implied_syntax(data))
    if "PixelRepresentation" not in data:
        data.PixelRepresentation = 0
    return data


def _check_codestream(data: Dataset, path: Path) -> None:
    """A JPEG or JPEG 2000 stream carries its own size; a decoder believes it rather than the header."""
    if not data.file_meta.TransferSyntaxUID.is_compressed or "PixelData" not in data:
        return
    for frame in generate_frames(data.PixelData, number_of_frames=int(data.get("NumberOfFrames", 1) or 1)):
        size = codestream_size(frame[:65536])
        if size and (size[0] > int(data.Rows) or size[1] > int(data.Columns)):
            raise ReadError(
                f"{path} announces {data.Rows} × {data.Columns}, but its compressed stream is "
                f"{size[0]} × {size[1]}: damaged or a decompression bomb. It is not read"
            )


def codestream_size(head: bytes) -> tuple[int, int] | None:
    """(rows, columns) from the first SIZ (JPEG 2000) or SOF (JPEG, JPEG-LS) marker; None when absent.

    ISO 15444-1 A.5.1 and ISO 10918-1 B.2.2.

    >>> codestream_size(bytes.fromhex("ffd8 ffc0 0011 08 0010 0020 03"))
    (16, 32)
    """
    siz = head.find(b"\xff\x4f\xff\x51")
    if siz >= 0 and len(head) >= siz + 24:
        width, height, left, top = struct.unpack(">4L", head[siz + 8 : siz + 24])
        return height - top, width - left
    at = head.find(b"\xff\xd8")
    at = at + 2 if at >= 0 else len(head)
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], struct.unpack(">H", head[at + 2 : at + 4])[0]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = struct.unpack(">HH", head[at + 5 : at + 9])
            return rows, columns
        at += 2 + length
    return None


def is_directory(path: Path) -> bool:
    """Whether this is a DICOMDIR, which lists images but holds none."""
    return path.name.upper() == "DICOMDIR"
