"""From a protocol and a vendor's dialect to DICOM headers: classic slices and Siemens mosaics.

Elements are built as they stand in a file and converted by pydicom when they are looked at, as if they had
been read; building them converted costs more than all the rest. Multi-frame objects are in
`phantom_series_enhanced`.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

from radfoundry.datasets.phantom_series_protocols import Draw, Protocol
from radfoundry.datasets.phantom_series_siemens import csa
from radfoundry.datasets.phantom_series_vendors import Dialect, Frame, Private, Scanner, body_part, describe

MR_IMAGE, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
CT_IMAGE, CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
AXES = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
}
"""Direction of rows and columns in LPS."""
BLOCKS = {"SIEMENS MEDCOM HEADER2": 0x11, "Philips MR Imaging DD 005": 0x14, "SIEMENS MR SDI 02": 0x11}
"""Blocks that a creator takes at the scanner; others take the first free one."""
Element = DataElement | RawDataElement
Elements = dict[BaseTag, Element]


@dataclass(frozen=True)
class Stack:
    """Parallel slices in LPS mm. centre: middle of the stack; row, column, normal: unit vectors."""

    centre: np.ndarray
    row: np.ndarray
    column: np.ndarray
    normal: np.ndarray
    step: float
    slices: int

    def corner(self, k: float, rows: int, columns: int, spacing: float) -> np.ndarray:
        """Centre of the first pixel of slice k."""
        middle = self.centre + self.normal * (k - (self.slices - 1) / 2) * self.step
        return middle - self.row * spacing * (columns - 1) / 2 - self.column * spacing * (rows - 1) / 2


@dataclass(frozen=True)
class Identity:
    """Who and when; all invented. base: number from which the UIDs of a study count."""

    study: str
    patient: str
    base: int
    elements: Mapping[str, Any]
    reference: str
    origin: np.ndarray

    def uid(self, *parts: int) -> str:
        """A UID under 2.25, the same for the same parts: four digits, then seven."""
        number = self.base
        for part in parts:
            number = number * 10_000_000 + part
        return f"2.25.{number % (1 << 127)}"


@functools.cache
def _known(keyword: str) -> tuple[BaseTag, str]:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return BaseTag(tag), dictionary_VR(tag).split(" ")[0]


def element(keyword: str, value: Any) -> Element:
    """An element by keyword."""
    return _element(*_known(keyword), value)


def _element(tag: BaseTag, vr: str, value: Any) -> Element:
    if vr == "SQ":
        return DataElement(tag, vr, Sequence(value))
    stored = _encoded(vr, value)
    return RawDataElement(tag, vr, len(stored), stored, 0, False, True)


BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FD": "d", "FL": "f", "AT": "HH"}


def _encoded(vr: str, value: Any) -> bytes:
    """A value as it stands in a file of explicit little endian."""
    if isinstance(value, bytes):
        return value + b"\0" * (len(value) % 2)
    parts = value if isinstance(value, list | tuple) else (value,)
    if vr == "AT":
        return b"".join(struct.pack("<HH", part >> 16, part & 0xFFFF) for part in parts)
    if vr in BINARY:
        return struct.pack(f"<{len(parts)}{BINARY[vr]}", *parts)
    limit = 16 if vr == "SH" else 64 if vr == "LO" else None  # coils and sequences with longer names are cut
    texts = [_decimal(part) if vr == "DS" else str(part)[:limit] for part in parts]
    text = "\\".join(texts).encode("latin-1")
    return text + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)


def _decimal(value: Any) -> str:
    """A number in the 16 characters that a decimal string may have."""
    if isinstance(value, str):
        return value
    text = repr(round(float(value), 9))
    if text.endswith(".0"):
        text = text[:-2]
    return text if len(text) <= 16 else f"{float(value):.9g}"


def dataset(values: Mapping[str, Any], private: Iterable[Private] = ()) -> Dataset:
    """A data set of keywords (None: left out) and private elements."""
    return Dataset(merged(values, private))  # type: ignore[arg-type]


def merged(
    values: Mapping[str, Any], private: Iterable[Private] = (), taken: Elements | None = None
) -> Elements:
    """Elements of keywords and private ones; blocks that `taken` reserves are used again."""
    found: Elements = {}
    for keyword, value in values.items():
        if value is not None:
            made = element(keyword, value)
            found[made.tag] = made
    for one in private:
        block = _block(taken or {}, found, one)
        tag = _tag(one.group << 16 | block << 8 | one.number)
        found[tag] = _element(tag, one.vr, one.value)
    return found


_tag = functools.cache(BaseTag)


def _block(taken: Elements, found: Elements, one: Private) -> int:
    """Number of the creator's block, reserved in `found` where neither holds it."""
    for block in (BLOCKS.get(one.creator, 0x10), *range(0x10, 0x20)):
        tag = _tag(one.group << 16 | block)
        held = taken.get(tag) or found.get(tag)
        if held is None:
            found[tag] = _element(tag, "LO", one.creator)
            return block
        if held.value == _encoded("LO", one.creator):
            return block
    raise ValueError(f"group {one.group:04X} has no free block")


# --- geometry -------------------------------------------------------------------------------------------


def stacks_of(p: Protocol, d: Draw, origin: np.ndarray) -> list[Stack]:
    """One stack for each plane; a turning projection has one of a single slice for each angle."""
    shift = origin + np.array([d.u(-9, 9), d.u(-9, 9), d.u(-12, 12)])
    turn = d.u(-4, 4)
    back = d.chance(0.3)
    if p.image == "turning-mip":
        return [
            _stack("coronal", shift, 0.0, i * 180.0 / p.slices, p.step, 1, False) for i in range(p.slices)
        ]
    return [_stack(plane, shift, p.tilt, turn, p.step, p.slices, back) for plane in p.planes]


def _stack(
    plane: str, centre: np.ndarray, tilt: float, turn: float, step: float, slices: int, back: bool
) -> Stack:
    """tilt: degrees about the rows, as of a plane through the commissures; turn: about the long axis."""
    row, column = (np.array(axis) for axis in AXES[plane])
    angle, about = math.radians(turn), math.radians(tilt)
    z = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    row, column = z @ row, z @ column
    normal = np.cross(row, column)
    column = column * math.cos(about) + normal * math.sin(about)
    normal = np.cross(row, column)
    return Stack(centre, row, column, normal, -step if back else step, slices)


def frames_of(p: Protocol, stacks: list[Stack], d: Draw, most: int | None = None) -> list[Frame]:
    """All images of a series in the order of their numbers; of at most `most` volumes, evenly chosen."""
    volumes: list[tuple[float | None, tuple[float, float, float] | None]] = [(None, None)] * p.volumes
    if p.b_values and p.image in ("magnitude", "trace"):
        volumes = []
        for b in p.b_values:
            many = 1 if b == 0 or p.image == "trace" else max(p.directions, 1)
            volumes += [(b, None if b == 0 or p.image == "trace" else _direction(d)) for _ in range(many)]
    chosen = _even(len(volumes), most) if most is not None else range(len(volumes))
    parts = {
        "real-imaginary": ("M", "P", "R", "I"),
        "phase": ("P",),
        "phasediff": ("P",),
        "b0map": ("M", "") if d.vendor == "philips" else ("",),
    }
    if p.image == "real-imaginary" and d.chance(0.5):
        parts["real-imaginary"] = ("R", "I")
    return [
        Frame(s, k, e, v, b, direction, part)
        for s, stack in enumerate(stacks) for v, (b, direction) in ((v,
            volumes[v]) for v in chosen) for part in parts.get(p.image, ("M",))
        for e in range(max(len(p.tes), 1)) for k in range(stack.slices)
    ]  # fmt: skip


def _direction(d: Draw) -> tuple[float, float, float]:
    vector = d.rng.normal(size=3)
    x, y, z = (vector / np.linalg.norm(vector)).round(6).tolist()
    return x, y, z


def thinned(frames: list[Frame], most: int | None) -> list[Frame]:
    """A handful that shows stacks, echoes, b-values, parts and positions: half of them at two positions."""
    if most is None or len(frames) <= most:
        return frames
    groups: dict[tuple, list[Frame]] = {}
    for frame in frames:
        groups.setdefault((frame.stack, frame.echo, frame.volume, frame.part), []).append(frame)
    firsts = [group[0] for group in groups.values()]
    chosen = set(_spread(firsts, max(most // 2, 1)))
    rest = [frame for frame in next(iter(groups.values())) if frame not in chosen]
    chosen |= set(_spread(rest, most - len(chosen)))
    if len(chosen) < most:
        chosen |= set(_spread([f for f in frames if f not in chosen], most - len(chosen)))
    return [frame for frame in frames if frame in chosen]


def _spread(items: list[Frame], most: int) -> list[Frame]:
    return [items[i] for i in _even(len(items), most)]


def _even(count: int, most: int) -> list[int]:
    """At most `most` of 0 .. count - 1, evenly spread, first and last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / max(most - 1, 1)) for i in range(most)})


# --- classic and mosaic ---------------------------------------------------------------------------------


def series_elements(
    p: Protocol, d: Draw, scanner: Scanner, who: Identity, number: int, rank: int
) -> dict[str, Any]:
    """What all objects of a series share, whatever their form."""
    text = describe(p, d, scanner.vendor)
    clock = f"{8 + rank // 12:02d}{(rank * 5) % 60:02d}{d.n(0, 59):02d}"
    protocol = (
        d.pick(("Brain Advanced Sequences", "HEAD ROUTINE", "Default", text))
        if scanner.vendor == "ge"
        else text
    )
    if scanner.vendor == "philips" and d.chance(0.3):
        protocol = f"WIP {text}"
    return dict(who.elements) | {
        "SpecificCharacterSet": "ISO_IR 100", "SeriesDate": who.elements["StudyDate"],
        "ContentDate": who.elements["StudyDate"], "AcquisitionDate": who.elements["StudyDate"],
        "SeriesTime": clock, "ContentTime": clock, "AcquisitionTime": clock, "Modality": "MR",
        "Manufacturer": scanner.manufacturer, "ManufacturerModelName": scanner.model,
        "SoftwareVersions": list(scanner.software), "DeviceSerialNumber": scanner.serial,
        "SeriesDescription": text[:64], "ProtocolName": protocol[:64], "BodyPartExamined": body_part(d,
        scanner),
        "PatientPosition": d.pick(("FFS", "FFS", "HFS")) if p.anatomy in ("Knee", "Ankle", "Hip",
        "Thigh") else d.pick(("HFP", "HFS")) if p.anatomy in ("Wrist", "Elbow", "Breast") else "HFS",
        "SeriesInstanceUID": who.uid(1, rank), "SeriesNumber": number, "FrameOfReferenceUID": who.reference,
        "PositionReferenceIndicator": "", "AcquisitionNumber": 1, "Laterality": None,
    }  # fmt: skip


def pixel_elements(scanner: Scanner, rows: int, columns: int) -> dict[str, Any]:
    """Image Pixel module of a grey image."""
    signed = scanner.vendor == "ge"
    stored = 16 if scanner.vendor in ("ge", "uih", "canon", "hyperfine", "hitachi") else 12
    return {
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": rows, "Columns": columns,
        "BitsAllocated": 16, "BitsStored": stored,
        "HighBit": stored - 1, "PixelRepresentation": int(signed),
    }  # fmt: skip


@dataclass(frozen=True)
class Series:
    """All that the writers of objects need of one series."""

    p: Protocol
    dialect: Dialect
    scanner: Scanner
    who: Identity
    rank: int
    shared: dict[str, Any]
    stacks: list[Stack]
    frames: list[Frame]
    pixels: np.ndarray | None
    """(frames, rows, columns) uint16, in the order of `frames`; None: headers alone."""
    slope: float = 1.0
    intercept: float = 0.0


def finished(
    elements: Elements, sop_class: str, uid: str, stored: bytes | None, colour: bool = False
) -> Dataset:
    """A data set with its identity and, where there are pixels, with what is needed to write it."""
    elements[_known("SOPClassUID")[0]] = element("SOPClassUID", sop_class)
    elements[_known("SOPInstanceUID")[0]] = element("SOPInstanceUID", uid)
    out = Dataset(elements)  # type: ignore[arg-type]
    if stored is not None:
        tag = _known("PixelData")[0]
        elements[tag] = _element(tag, "OB" if colour else "OW", stored)
        out.file_meta = meta_of(sop_class, uid)
    return out


def meta_of(sop_class: str, uid: str) -> FileMetaDataset:
    """File meta information of an object in explicit little endian."""
    values = {
        "MediaStorageSOPClassUID": sop_class, "MediaStorageSOPInstanceUID": uid,
        "TransferSyntaxUID": ExplicitVRLittleEndian,
        "ImplementationClassUID": "2.25.80302813137786398554742050926734630921",
    }  # fmt: skip
    return FileMetaDataset(merged(values))


def classic(s: Series) -> list[Dataset]:
    """One object an image."""
    p, scanner = s.p, s.scanner
    values = s.shared | s.dialect.elements | pixel_elements(scanner, p.rows, p.columns)
    values |= {"PixelSpacing": [p.spacing, p.spacing], "ImagesInAcquisition": len(s.frames)}
    if "SpacingBetweenSlices" in values and p.step:
        values["SpacingBetweenSlices"] = abs(p.step)
    if scanner.vendor in ("philips", "hitachi") or s.slope != 1:
        values |= {
            "RescaleIntercept": s.intercept,
            "RescaleSlope": s.slope,
            "RescaleType": "normalized" if scanner.vendor == "philips" else "US",
        }
    common = merged(values, filled(s, s.dialect.private, s.stacks[0].normal))
    out = []
    for i, frame in enumerate(s.frames):
        changed, private = s.dialect.own(frame)
        picture = None if s.pixels is None else s.pixels[i]
        own = _placed(s, frame, i) | changed | _window(picture)
        normal = s.stacks[frame.stack].normal
        elements = common | merged(own, filled(s, private, normal), common)
        out.append(
            finished(
                elements,
                MR_IMAGE,
                s.who.uid(2, s.rank, i + 1),
                None if picture is None else picture.tobytes(),
            )
        )
    return out


def _placed(s: Series, frame: Frame, i: int) -> dict[str, Any]:
    p, stack = s.p, s.stacks[frame.stack]
    corner = stack.corner(frame.slice, p.rows, p.columns, p.spacing)
    found: dict[str, Any] = {
        "ImageType": s.dialect.image_type(frame), "InstanceNumber": i + 1,
        "ImagePositionPatient": corner.round(6).tolist(),
        "ImageOrientationPatient": [*stack.row.round(9).tolist(), *stack.column.round(9).tolist()],
        "SliceLocation": round(float(corner @ stack.normal), 5),
    }  # fmt: skip
    if p.tes:
        found["EchoTime"] = p.tes[min(frame.echo, len(p.tes) - 1)]
        found["EchoNumbers"] = frame.echo + (2 if p.image == "phasediff" else 1)
    if p.volumes > 1 or frame.volume:
        found["AcquisitionNumber"] = frame.volume + 1
    return found


def _window(picture: np.ndarray | None) -> dict[str, Any]:
    """Window as scanners choose it, from the bright end of the picture."""
    if picture is None or picture.ndim != 2:
        return {"WindowCenter": 500, "WindowWidth": 1000} if picture is None else {}
    low, high = np.percentile(picture[::2, ::2], (2, 99.5))
    return {
        "WindowCenter": round(float(low + high) / 2),
        "WindowWidth": max(round(float(high - low)), 1),
        "SmallestImagePixelValue": None,
    }


def mosaic(s: Series) -> list[Dataset]:
    """One object a volume and echo: the slices as tiles of one picture, placed as Siemens places it."""
    p = s.p
    side = math.ceil(math.sqrt(p.slices))
    values = s.shared | s.dialect.elements | pixel_elements(s.scanner, p.rows * side, p.columns * side)
    values |= {"PixelSpacing": [p.spacing, p.spacing], "SpacingBetweenSlices": abs(p.step)}
    common = merged(values, filled(s, s.dialect.private, s.stacks[0].normal))
    groups: dict[tuple, list[int]] = {}
    for i, frame in enumerate(s.frames):
        groups.setdefault((frame.stack, frame.volume, frame.echo, frame.part), []).append(i)
    out = []
    for number, indices in enumerate(groups.values(), 1):
        frame = s.frames[indices[0]]
        stack = s.stacks[frame.stack]
        advance = stack.normal * np.sign(stack.step)
        first = stack.corner(0, p.rows, p.columns, p.spacing)
        corner = first - (stack.row * p.columns + stack.column * p.rows) * p.spacing * (side - 1) / 2
        changed, private = s.dialect.own(frame)
        own = _placed(s, frame, number - 1) | changed | {"ImagePositionPatient": corner.round(6).tolist()}
        picture = None
        if s.pixels is not None:
            picture = np.zeros((p.rows * side, p.columns * side), np.uint16)
            for k, i in enumerate(indices):
                r, c = divmod(k, side)
                picture[r * p.rows : (r + 1) * p.rows, c * p.columns : (c + 1) * p.columns] = s.pixels[i]
        own |= _window(picture)
        elements = common | merged(own, filled(s, private, advance), common)
        out.append(
            finished(
                elements,
                MR_IMAGE,
                s.who.uid(2, s.rank, number),
                None if picture is None else picture.tobytes(),
            )
        )
    return out


def filled(s: Series, privates: Iterable[Private], normal: np.ndarray) -> list[Private]:
    """CSA items as bytes; numbers of slices and images, and the normal, which the dialect could not know."""
    numbers = {"{slices}": s.p.slices, "{images}": len(s.frames)}
    out = []
    for one in privates:
        value = one.value
        if isinstance(value, dict):
            texts = {"{normal}": [f"{x:.8f}" for x in normal], "{slices}": [str(s.p.slices)]}
            value = csa({name: (vr, texts.get(v[0], v) if v else v) for name, (vr, v) in value.items()})
        elif isinstance(value, str):
            value = numbers.get(value, value)
        out.append(one if value is one.value else one._replace(value=value))
    return out
