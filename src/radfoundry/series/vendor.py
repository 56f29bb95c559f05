"""What only private elements say: b-values, directions, arterial spin labelling, pulse sequence, image kind.

A private element counts only where its block was reserved by the creator named here (PS3.5 7.8.1), whatever
the block's number. Elements after the dictionaries of pydicom and gdcm and the reading of dcm2niix
(nii_dicom.cpp), checked on series of GE, Siemens and Philips.

Facts in `SeriesHeader.values` that are no DICOM keyword, all of them text:

vendor:pulse_sequence  GE pulse sequence and its internal name, Siemens sequence file and name (XA)
vendor:image_kind      GE magnitude, phase, real or imaginary; Philips and Siemens (XA) image type words
vendor:technique       Philips scanning technique, e.g. FEEPI, DwiSE, GraSE
vendor:asl             the words by which labelling is known, e.g. CONTROL, PSEUDOCONTINUOUS, "ulMode 4"
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pydicom.tag import BaseTag

from radfoundry.io.header import decode, tag_of

Get = Callable[[BaseTag], Any]
"""From a tag to its element, raw or converted, or None."""

BLOCKS = range(0x10, 0x18)
"""Block numbers that are looked at. Scanners reserve from 0x10 on; eight blocks a group are more than any."""
LARGEST_PROTOCOL = 1 << 22
"""A Siemens protocol is 80 to 300 KB of text; what is longer is not searched."""
GE_B_REST = 100_000
"""GE adds 1e9 to the b-values of protocols with several (dcm2niix, issue 602): the rest counts."""
LARGEST_B = 100_000.0
REMEMBERED_BYTES = 64


@dataclass(frozen=True, slots=True)
class Private:
    """One private element: its group, its number inside the block, its VR, and the creator of the block."""

    group: int
    number: int
    vr: str
    creator: str


GE, GE_SEQUENCE = "GEMS_PARM_01", "GEMS_ACQU_01"
SIEMENS, CSA = "SIEMENS MR HEADER", "SIEMENS CSA HEADER"
XA_SERIES, XA_IMAGE = "SIEMENS MR SDS 01", "SIEMENS MR SDI 02"
PHILIPS, PHILIPS_MR, PHILIPS_MR5 = (
    "PHILIPS IMAGING DD 001",
    "PHILIPS MR IMAGING DD 001",
    "PHILIPS MR IMAGING DD 005",
)
UIH = "IMAGE PRIVATE HEADER"
PHILIPS_COPY = Private(0x2005, 0x0F, "SQ", PHILIPS_MR5)
"""Philips puts the enhanced attributes of a classic image into this sequence."""

ELEMENTS = {
    "ge_b": Private(0x0043, 0x39, "IS", GE),
    "ge_kind": Private(0x0043, 0x2F, "SS", GE),
    "ge_asl": Private(0x0043, 0xA3, "CS", GE),
    "ge_asl_text": Private(0x0043, 0xA4, "LO", GE),
    "ge_label_ms": Private(0x0043, 0xA5, "IS", GE),
    "ge_sequence": Private(0x0019, 0x9C, "LO", GE_SEQUENCE),
    "ge_internal": Private(0x0019, 0x9E, "LO", GE_SEQUENCE),
    "ge_x": Private(0x0019, 0xBB, "DS", GE_SEQUENCE),
    "ge_y": Private(0x0019, 0xBC, "DS", GE_SEQUENCE),
    "ge_z": Private(0x0019, 0xBD, "DS", GE_SEQUENCE),
    "siemens_b": Private(0x0019, 0x0C, "IS", SIEMENS),
    "siemens_direction": Private(0x0019, 0x0E, "FD", SIEMENS),
    "siemens_tiles": Private(0x0019, 0x0A, "US", SIEMENS),
    "csa_image": Private(0x0029, 0x10, "OB", CSA),
    "xa_scanning": Private(0x0021, 0x5A, "CS", XA_SERIES),
    "xa_variant": Private(0x0021, 0x5B, "CS", XA_SERIES),
    "xa_options": Private(0x0021, 0x5C, "CS", XA_SERIES),
    "xa_sequence": Private(0x0021, 0x77, "LO", XA_IMAGE),
    "xa_kind": Private(0x0021, 0x75, "CS", XA_IMAGE),
    "philips_b": Private(0x2001, 0x03, "FL", PHILIPS),
    "philips_technique": Private(0x2001, 0x20, "LO", PHILIPS),
    "philips_kind": Private(0x2005, 0x11, "CS", PHILIPS_MR),
    "philips_sequence": Private(0x2005, 0x6E, "CS", PHILIPS_MR),
    "philips_x": Private(0x2005, 0xB0, "FL", PHILIPS_MR),
    "philips_y": Private(0x2005, 0xB1, "FL", PHILIPS_MR),
    "philips_z": Private(0x2005, 0xB2, "FL", PHILIPS_MR),
    "philips_label": Private(0x2005, 0x29, "CS", PHILIPS_MR5),
    "uih_b": Private(0x0065, 0x09, "FD", UIH),
    "uih_direction": Private(0x0065, 0x37, "FD", UIH),
    "uih_tiles": Private(0x0065, 0x50, "DS", UIH),
}
# Protocols are long and the same in all files, so they are read from one file of a series.
PROTOCOLS = (Private(0x0029, 0x20, "OB", CSA), Private(0x0021, 0x19, "OB", XA_SERIES))
CREATOR_GROUPS = (0x0009, 0x0019, 0x0021, 0x0025, 0x0029, 0x0043, 0x0051, 0x0065, 0x2001, 0x2005, 0x700D)
"""Groups whose creators are read, to tell the vendor where Manufacturer was emptied."""
UIH_TILES = tag_of(0x00651051)
"""United Imaging's grid of tiles; `io.frames` reads it at this place."""
SEQUENCES = tuple((group, number) for group, number in ((0x0021, 0xFE), (0x2005, 0x0F)))
"""Private sequences that hold elements of the frame: Siemens XA, and Philips' copy of the enhanced object."""

NAMES = (
    ("siemens", ("SIEMENS",)),
    ("ge", ("GE MEDICAL", "GE HEALTHCARE", "GENERAL ELECTRIC", "GEMS")),
    ("philips", ("PHILIPS",)),
    ("uih", ("UIH", "UNITED IMAGING")),
    ("canon", ("CANON", "TOSHIBA")),
    ("hitachi", ("HITACHI", "FUJIFILM")),  # Fujifilm took over Hitachi's scanners in 2021
    ("hyperfine", ("HYPERFINE",)),
)
CREATORS = (
    ("ge", ("GEMS_",)),
    ("siemens", ("SIEMENS MR", "SIEMENS CSA")),
    ("philips", ("PHILIPS IMAGING", "PHILIPS MR")),
    ("uih", ("IMAGE PRIVATE HEADER", "UIH")),
    ("canon", ("CANON_MEC", "TOSHIBA_MEC")),
    ("hitachi", ("MMCPRIVATE", "HITACHI")),
)
MODELS = (
    ("ge", ("SIGNA", "DISCOVERY MR", "OPTIMA MR", "BRIVO MR")),
    ("siemens", ("MAGNETOM", "PRISMA", "SKYRA", "VERIO", "TRIOTIM", "AVANTO", "AERA", "ESPREE", "SYMPHONY")),
    ("philips", ("ACHIEVA", "INGENIA", "INTERA", "PANORAMA")),
    ("uih", ("UMR",)),
    ("canon", ("VANTAGE", "MRT200", "MRT50")),
    ("hitachi", ("ECHELON", "AIRIS", "APERTO", "OASIS")),
    ("hyperfine", ("SWOOP",)),
)


def private_tags() -> list[int]:
    """Every element of this module in each block, and the creators: what has to be read from the files."""
    places = [(element.group, element.number) for element in ELEMENTS.values()]
    tags = [group << 16 | block << 8 | number for group, number in (*places, *SEQUENCES) for block in BLOCKS]
    return [*tags, *(group << 16 | block for group in CREATOR_GROUPS for block in BLOCKS), UIH_TILES]


def protocol_tags() -> list[int]:
    """The long protocols of Siemens, with their creators."""
    return [
        tag
        for element in PROTOCOLS
        for block in BLOCKS
        for tag in (element.group << 16 | block, element.group << 16 | block << 8 | element.number)
    ]


def inside() -> frozenset[int]:
    """Private sequences in each block, to be walked as if their elements were the frame's own."""
    return frozenset(group << 16 | block << 8 | number for group, number in SEQUENCES for block in BLOCKS)


def vendor_of(manufacturer: str, creators: Iterable[str] = (), model: str = "") -> str:
    """The vendor by Manufacturer, else by private creators, else by the model's name; "" when unknown.

    >>> vendor_of("GE MEDICAL SYSTEMS"), vendor_of("", ["SIEMENS CSA HEADER"]), vendor_of("", [], "uMR 790")
    ('ge', 'siemens', 'uih')
    """
    name = manufacturer.upper().strip()
    if name == "GE" or name.startswith("GE "):
        return "ge"
    for vendor, words in NAMES:
        if any(word in name for word in words):
            return vendor
    reserved = [creator.upper() for creator in creators]
    for vendor, words in CREATORS:
        if any(creator.startswith(word) for creator in reserved for word in words):
            return vendor
    name = model.upper()
    return next((vendor for vendor, words in MODELS if any(word in name for word in words)), "")


@dataclass(slots=True)
class Reader:
    """Private elements of one image after another of a series.

    blocks: in which block an element's creator sits, and how it is written; None where no image that was
    prepared for has it.
    notes: what could not be read, once a kind.
    """

    notes: dict[str, None] = field(default_factory=dict)
    blocks: dict[tuple[int, str], tuple[int, Any] | None] = field(default_factory=dict)
    values: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)

    def prepare(self, images: Iterable[Get]) -> None:
        """Look for the creators in a few images, so that the others need not be searched."""
        for get in images:
            for element in (*ELEMENTS.values(), *PROTOCOLS, PHILIPS_COPY):
                key = (element.group, element.creator)
                if self.blocks.get(key) is None:
                    self.blocks[key] = _block(get, element)

    def creators(self, get: Get) -> list[str]:
        """Names of all creators in the groups that are read, upper case."""
        found = (get(tag_of(group << 16 | block)) for group in CREATOR_GROUPS for block in BLOCKS)
        return [name for name in map(_creator, found) if name]

    def raw(self, get: Get, element: Private) -> Any:
        """The element, or None where it is absent or its block is somebody else's."""
        known = self.blocks.get((element.group, element.creator))
        if known is None:
            return None
        creator = get(tag_of(element.group << 16 | known[0]))
        if creator is None or creator.value != known[1]:
            known = _block(get, element)  # another block than in the images that were prepared for
            if known is None:
                return None
        return get(tag_of(element.group << 16 | known[0] << 8 | element.number))

    def read(self, get: Get, name: str) -> tuple[Any, ...]:
        """Values of the element called `name`; () where it is absent, empty or not what its VR says."""
        element = ELEMENTS[name]
        raw = self.raw(get, element)
        if raw is None:
            return ()
        if not isinstance(raw.value, bytes) or len(raw.value) > REMEMBERED_BYTES:
            return self.decoded(raw, element)
        key = (name, raw.VR, raw.value)  # most images of a series repeat their values
        if key not in self.values:
            self.values[key] = self.decoded(raw, element)
        return self.values[key]

    def decoded(self, raw: Any, element: Private) -> tuple[Any, ...]:
        try:
            return decode(raw, element.vr)
        except ValueError as cause:
            place = f"({element.group:04X},xx{element.number:02X}) of {element.creator}"
            self.notes[f"private element {place} passed over: {cause}"] = None
            return ()


def _block(get: Get, element: Private) -> tuple[int, Any] | None:
    for block in BLOCKS:
        creator = get(tag_of(element.group << 16 | block))
        if creator is not None and _creator(creator) == element.creator:
            return block, creator.value
    return None


def _creator(element: Any) -> str:
    value = getattr(element, "value", None)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.strip(" \0").upper() if isinstance(value, str) else ""


def diffusion(reader: Reader, get: Get) -> tuple[float | None, tuple[float, ...]]:
    """(b-value in s/mm² or None, gradient direction or ()) of one image by its private elements.

    Directions are in the vendor's own axes, so they are good for counting only.
    """
    b = _number(reader.read(get, "ge_b"))
    if b is not None:
        return b % GE_B_REST, _vector(*(reader.read(get, f"ge_{axis}") for axis in "xyz"))
    b = _number(reader.read(get, "siemens_b"))
    if b is not None:
        return b, _vector(reader.read(get, "siemens_direction"))
    b = _number(reader.read(get, "philips_b"))
    if b is not None:
        return b, _vector(*(reader.read(get, f"philips_{axis}") for axis in "xyz"))
    b = _number(reader.read(get, "uih_b"))
    if b is not None:
        return b, _vector(reader.read(get, "uih_direction"))
    csa = reader.read(get, "csa_image")
    if csa:
        return _csa_diffusion(csa[0])
    return None, ()


def _number(values: tuple[Any, ...]) -> float | None:
    """The first value as a b-value; some writers use huge numbers for "none"."""
    number = values[0] if values else None
    if not isinstance(number, float) or not math.isfinite(number) or number < 0:
        return None
    return number if number < LARGEST_B or 1e9 <= number < 2e9 else None


def _vector(*parts: tuple[Any, ...]) -> tuple[float, ...]:
    """Three numbers that are not all zero, or ()."""
    values = tuple(value for part in parts for value in part)
    good = len(values) == 3 and all(isinstance(v, float) and abs(v) < 1e6 for v in values)
    return values if good and any(values) else ()


def _csa_diffusion(data: bytes) -> tuple[float | None, tuple[float, ...]]:
    try:
        b = [float(text) for text in csa_item(data, "B_value")[:1]]
        direction = tuple(float(text) for text in csa_item(data, "DiffusionGradientDirection")[:3])
    except (ValueError, struct.error):  # damaged, or no CSA header at all
        return None, ()
    return (_number(tuple(b)) if b else None), _vector(direction)


def csa_item(data: bytes, name: str) -> list[str]:
    """Non-empty values of one tag of a Siemens CSA header, found by name without reading the rest.

    Layout as in `io.frames.csa_values`. Raises ValueError or struct.error for a damaged tag.
    """
    at = data.find(name.encode("ascii") + b"\0")
    if at < 0:
        return []
    second = data[:4] == b"SV10"
    offset = 0 if second else _csa1_offset(data)
    _, _, _, _, items, _ = struct.unpack_from("<64sI4sIII", data, at)
    at += 84
    found = []
    for _ in range(min(items, 64)):
        sizes = struct.unpack_from("<4I", data, at)
        at += 16
        length = sizes[1] if second else sizes[0] - offset
        if not 0 <= length <= len(data) - at:
            raise ValueError("a CSA item runs beyond the end")
        found.append(data[at : at + length].split(b"\0")[0].decode("latin-1").strip())
        at += -(-length // 4) * 4
    return [text for text in found if text]


def _csa1_offset(data: bytes) -> int:
    """In the first version of the CSA header every length is offset by the first one."""
    items = struct.unpack_from("<64sI4sIII", data, 8)[4]
    return struct.unpack_from("<I", data, 92)[0] if items else 0


COMMENTED_B = re.compile(r"\bb=(\d+(?:\.\d+)?)(?:\(([-+\d.eE, ]+)\))?")


def commented_diffusion(text: str) -> tuple[float | None, tuple[float, ...]]:
    """b-value and direction as Canon writes them into Image Comments (dcm2niix, Canon/README.md).

    >>> commented_diffusion("b=1000(0.445,0.000,0.895)")
    (1000.0, (0.445, 0.0, 0.895))
    """
    found = COMMENTED_B.search(text[:1024])
    if not found:
        return None, ()
    try:
        direction = tuple(float(part) for part in (found[2] or "").split(",") if part.strip())
    except ValueError:
        direction = ()
    return _number((float(found[1]),)), _vector(direction)


GE_KINDS = ("magnitude", "phase", "real", "imaginary")
LABELS = frozenset(("LABEL", "CONTROL"))
NO_LABELLING = frozenset(("", "NONE", "NO", "UNKNOWN", "-"))


CLASSIC = {"ScanningSequence": "xa_scanning", "SequenceVariant": "xa_variant", "ScanOptions": "xa_options"}
"""Classic tags that enhanced objects of Siemens keep in private elements."""


def facts(reader: Reader, get: Get) -> dict[str, tuple[str, ...]]:
    """The facts of the module's table that one image knows, Siemens protocols aside."""
    kind = [
        GE_KINDS[int(number)] for number in reader.read(get, "ge_kind")[:1] if number in range(len(GE_KINDS))
    ]
    labelling = [word for word in _words(reader, get, "philips_label") if word.upper() in LABELS]
    labelling += [word for word in _words(reader, get, "ge_asl") if word.upper() not in NO_LABELLING]
    sequences = _words(reader, get, "ge_sequence", "ge_internal", "xa_sequence")
    labelling += [word for word in sequences if word.upper() in ("3DASL", "ASL", "3DPCASL", "EASL")]
    found = {
        "vendor:pulse_sequence": sequences,
        "vendor:image_kind": [*kind, *_words(reader, get, "philips_kind", "philips_sequence", "xa_kind")],
        "vendor:technique": _words(reader, get, "philips_technique"),
        "vendor:asl": labelling,
    }
    return {name: tuple(dict.fromkeys(words)) for name, words in found.items() if words}


def _words(reader: Reader, get: Get, *names: str) -> list[str]:
    return [word for name in names for word in reader.read(get, name) if isinstance(word, str) and word]


ASL_MODE = re.compile(rb"sAsl\.ulMode\s*=\s*(0x[0-9a-fA-F]{1,8}|\d{1,9})")
SEQUENCE_FILE = re.compile(rb'tSequenceFileName\s*=\s*"{1,2}([^"\r\n]{1,200})"')


def protocol_facts(protocol: bytes) -> dict[str, tuple[str, ...]]:
    """Labelling mode and sequence file of a Siemens protocol, read as the plain text that it holds.

    sAsl.ulMode is 1 where nothing is labelled.

    >>> protocol_facts(b'tSequenceFileName = ""%SiemensSeq%\\\\ep2d_pasl""  sAsl.ulMode = 2')
    {'vendor:pulse_sequence': ('ep2d_pasl',), 'vendor:asl': ('ulMode 2',)}
    """
    if len(protocol) > LARGEST_PROTOCOL:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    name = SEQUENCE_FILE.search(protocol)
    if name:
        file = re.split(r"[\\/%]", name[1].decode("latin-1"))[-1].strip()
        if file and file.isprintable():
            found["vendor:pulse_sequence"] = (file,)
    mode = ASL_MODE.search(protocol)
    number = int(mode[1], 0) if mode else 0
    if number > 1:
        found["vendor:asl"] = (f"ulMode {number}",)
    return found


def protocol_of(reader: Reader, get: Get) -> bytes:
    """The Siemens protocol of an image, b"" where there is none."""
    for element in PROTOCOLS:
        value = getattr(reader.raw(get, element), "value", None)
        if isinstance(value, bytes) and value:
            return value
    return b""
