"""From a DICOM header to the planes it holds: classic slice, enhanced frames, Siemens mosaic, UIH grid."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from radfoundry.errors import ReadError
from radfoundry.io.dicom import DicomFile, readable
from radfoundry.io.planes import Plane

MOSAIC_CLOCKS = {
    "temporal position": "TemporalPositionIdentifier",
    "acquisition number": "AcquisitionNumber",
    "inversion time": "InversionTime",
    "trigger time": "TriggerTime",
    "acquisition time": "AcquisitionTime",
    "content time": "ContentTime",
}


def planes_of(file: DicomFile, index: int) -> list[Plane]:
    """The planes in one file, `index` being its number in the series; [] when it has no patient geometry.

    Raises ReadError for geometry that is present but impossible.
    """
    with readable(file):
        return _planes(file, index)


def _planes(file: DicomFile, index: int) -> list[Plane]:
    header = file.header
    if file.has("PerFrameFunctionalGroupsSequence"):
        return _enhanced(file, index)
    if (0x0065, 0x1051) in header:
        return _uih_grid(file, index)
    orientation = _numbers(file.get("ImageOrientationPatient"), 6)
    position = _numbers(file.get("ImagePositionPatient"), 3)
    spacing = _numbers(file.get("PixelSpacing"), 2)
    if orientation is None or position is None or spacing is None:
        return []
    common = _common(file, index)
    row, column = _axes(orientation, file)
    shape = (file.whole("Rows"), file.whole("Columns"))
    first = Plane(position, row, column, _spacing(spacing, file), shape, **common)
    if is_mosaic(file):
        return _mosaic(file, first)
    if file.frames == 1:
        return [first]
    offsets = _numbers(file.get("GridFrameOffsetVector"), file.frames)
    if offsets is None:
        return []
    return [_moved(first, first.normal * (z - offsets[0]), frame=i) for i, z in enumerate(offsets)]


def _numbers(value: Any, count: int) -> np.ndarray | None:
    try:
        array = np.array([float(v) for v in value], dtype=np.float64)
    except (TypeError, ValueError):  # absent, empty or text: there is no geometry to speak of
        return None
    return array if array.shape == (count,) and np.isfinite(array).all() else None


def _axes(orientation: np.ndarray, file: DicomFile) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, made exactly orthogonal: headers round them to a few digits, which is what 1 % allows."""
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.99 or max(lengths) > 1.01 or abs(row @ column) > 0.005:
        raise ReadError(
            f"{file.path} has an impossible Image Orientation {orientation.tolist()}: "
            "its axes are not perpendicular unit vectors. Correct the header, or leave the file out"
        )
    row = row / lengths[0]
    column = column - row * (row @ column)
    return row, column / np.linalg.norm(column)


def _spacing(value: np.ndarray, file: DicomFile) -> tuple[float, float]:
    if min(value) <= 0:
        raise ReadError(
            f"{file.path} has Pixel Spacing {value.tolist()}, which is no distance. Correct the header"
        )
    return float(value[0]), float(value[1])


def _float(value: Any, default: float | None = None) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):  # absent or text
        return default
    return number if math.isfinite(number) else default


def _common(file: DicomFile, index: int) -> dict[str, Any]:
    """What a classic header says about every plane in it."""
    echo = _float(file.get("EchoTime"))
    slope, intercept = rescale_of(file.get("RescaleSlope"), file.get("RescaleIntercept"), file)
    order = {name: _hashable(file.get(tag)) for name, tag in MOSAIC_CLOCKS.items()}
    bvalue = _float(file.get("DiffusionBValue"))
    if bvalue is not None:
        direction = _numbers(file.get("DiffusionGradientOrientation"), 3)
        order["b-value and direction"] = (bvalue, *(direction.tolist() if direction is not None else ()))
    return {
        "file": index,
        "slope": slope,
        "intercept": intercept,
        "echo": round(echo, 3) if echo else None,
        "kind": "/".join(str(part) for part in file.get("ImageType", ())),
        "order": order,
        "instance": int(_float(file.get("InstanceNumber"), 0) or 0),
        "uid": str(file.get("SOPInstanceUID", "")),
        "thickness": _thickness(file.get("SpacingBetweenSlices"), file.get("SliceThickness")),
    }


def rescale_of(slope: Any, intercept: Any, file: DicomFile) -> tuple[float, float]:
    """Rescale slope and intercept, (1, 0) where absent; ReadError for text, infinity and a slope of 0."""
    numbers = _float(1.0 if slope is None else slope), _float(0.0 if intercept is None else intercept)
    if numbers[0] is None or numbers[1] is None or numbers[0] == 0:
        raise ReadError(
            f"{file.path} has rescale slope {slope} and intercept {intercept}. Correct the header"
        )
    return numbers[0], numbers[1]


def _thickness(between: Any, thickness: Any) -> float | None:
    """Distance from slice to slice as the header has it; some write it negative to tell a direction."""
    return abs(_float(between) or _float(thickness) or 0.0) or None


def _hashable(value: Any) -> Any:
    if value is None or value == "":
        return None
    number = _float(str(value).replace(":", ""))  # old files write a time as 10:11:12
    return str(value) if number is None else number


def _moved(plane: Plane, by: np.ndarray, *, frame: int, shape: tuple[int, int] | None = None) -> Plane:
    values = {name: getattr(plane, name) for name in Plane.__slots__}
    values.update(position=plane.position + by, frame=frame, shape=shape or plane.shape)
    return Plane(**values)


def is_mosaic(file: DicomFile) -> bool:
    """Siemens packs the slices of a volume as tiles of one picture and says MOSAIC in Image Type."""
    return "MOSAIC" in [str(part) for part in file.get("ImageType", ())]


def mosaic_tiles(file: DicomFile) -> tuple[int, np.ndarray | None]:
    """(number of slices, unit vector in which tiles advance or None), from the CSA header."""
    tags: dict[str, list[str]] = {}
    raw = file.header.get((0x0029, 0x1010))
    if raw is not None and isinstance(raw.value, bytes):
        try:
            tags = csa_values(raw.value)
        except (ValueError, struct.error):  # damaged: the plain element below may still say the count
            tags = {}
    items = tags.get("NumberOfImagesInMosaic")
    plain = file.header.get((0x0019, 0x100A))
    count = items[0] if items else plain.value if plain is not None else 0
    if isinstance(count, bytes):  # without its private creator the element has no type: an unsigned short
        count = int.from_bytes(count[:2], "little")
    return int(count), _numbers(tags.get("SliceNormalVector"), 3)


def csa_values(data: bytes) -> dict[str, list[str]]:
    """Siemens CSA header as name -> non-empty text values.

    Layout after the public description at nipy.org/nibabel/dicom/siemens_csa.html: CSA2 starts with "SV10";
    each tag has an 84-byte head (name, multiplicity, VR, type, count) and its items, padded to four bytes.
    """
    second = data[:4] == b"SV10"
    at = 8 if second else 0
    (count,) = struct.unpack_from("<I", data, at)
    if not 0 < count <= 1024:
        raise ValueError(f"{count} CSA tags")
    at += 8
    values: dict[str, list[str]] = {}
    extra = 0
    for number in range(count):
        name, _, _, _, items, _ = struct.unpack_from("<64sI4sIII", data, at)
        at += 84
        found = []
        for item in range(items):
            sizes = struct.unpack_from("<4I", data, at)
            at += 16
            if number == 0 and item == 0 and not second:
                extra = sizes[0]  # in CSA1 every length is offset by the first one
            length = sizes[1] if second else sizes[0] - extra
            if not 0 <= length <= len(data) - at:
                raise ValueError("a CSA item runs beyond the end")
            found.append(data[at : at + length].split(b"\0")[0].decode("latin-1").strip())
            at += -(-length // 4) * 4
        values[name.split(b"\0")[0].decode("latin-1")] = [text for text in found if text]
    return values


def _mosaic(file: DicomFile, whole: Plane) -> list[Plane]:
    """Tiles as planes. The header's position is that of the whole picture, as if it were one huge slice
    centred where the first tile is centred; half the difference in size brings it to that tile.
    """
    count, normal = mosaic_tiles(file)
    if count < 1:
        raise ReadError(
            f"{file.path} is a Siemens mosaic without its private header (number of slices), so its slices "
            "cannot be placed. Export it again without removing private elements 0029,10xx or 0019,100A"
        )
    side = math.ceil(math.sqrt(count))
    rows, columns = whole.shape[0] // side, whole.shape[1] // side
    if whole.shape != (rows * side, columns * side):
        raise ReadError(
            f"{file.path} is a mosaic of {count} slices, but {whole.shape[0]} × {whole.shape[1]} pixels do "
            f"not part into {side} × {side} tiles. Export it again"
        )
    if normal is None or abs(abs(normal @ whole.normal) - 1) > 0.01:
        normal = whole.normal
    gap = whole.thickness
    if gap is None:
        raise ReadError(f"{file.path} is a mosaic that does not say its slice spacing. Export it again")
    corner = (
        whole.row * whole.spacing[1] * (whole.shape[1] - columns) / 2
        + whole.column * whole.spacing[0] * (whole.shape[0] - rows) / 2
    )
    sign = math.copysign(1.0, normal @ whole.normal)
    return [
        _moved(whole, corner + whole.normal * (sign * gap * k), frame=k, shape=(rows, columns))
        for k in range(count)
    ]


def _uih_grid(file: DicomFile, index: int) -> list[Plane]:
    """United Imaging's grid picture: a private sequence holds the position of every tile."""
    header = file.header
    orientation = _numbers(header.get("ImageOrientationPatient"), 6)
    spacing = _numbers(header.get("PixelSpacing"), 2)
    items = header[0x0065, 0x1051].value
    positions = [_numbers(item.get("ImagePositionPatient"), 3) for item in items]
    if orientation is None or spacing is None or not positions or any(p is None for p in positions):
        raise ReadError(
            f"{file.path} is a grid of slices without their positions. Export it one file a slice"
        )
    side = math.ceil(math.sqrt(len(positions)))
    rows, columns = file.whole("Rows"), file.whole("Columns")
    shape = (rows // side, columns // side)
    row, column = _axes(orientation, file)
    if rows % side:  # rows that would stay empty are left out of the picture
        side_rows = math.ceil(len(positions) / side)
        shape = (rows // side_rows, shape[1])
    common = _common(file, index)
    return [
        Plane(position, row, column, _spacing(spacing, file), shape, **{**common, "frame": k})
        for k, position in enumerate(positions)
        if position is not None
    ]


def tiles(picture: np.ndarray, count: int, shape: tuple[int, int]) -> np.ndarray:
    """(rows, columns) cut into (count, *shape), row by row.

    >>> tiles(np.arange(16).reshape(4, 4), 3, (2, 2))[1].tolist()
    [[2, 3], [6, 7]]
    """
    down, across = picture.shape[0] // shape[0], picture.shape[1] // shape[1]
    cut = picture[: down * shape[0], : across * shape[1]].reshape(down, shape[0], across, shape[1])
    return cut.swapaxes(1, 2).reshape(down * across, *shape)[:count]


def _enhanced(file: DicomFile, index: int) -> list[Plane]:
    """Frames of an enhanced object; functional groups are taken per frame, then shared (PS3.3 C.7.6.16)."""
    header = file.header
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    groups = header.PerFrameFunctionalGroupsSequence
    if len(groups) != file.frames:
        raise ReadError(
            f"{file.path} has {file.frames} frames but {len(groups)} descriptions of them. Export it again"
        )
    common = _common(file, index)
    planes = []
    for number, frame in enumerate(groups):
        plane = _frame_plane(file, frame, shared, number, common)
        if plane is None:
            return []
        planes.append(plane)
    return planes


def flat(file: DicomFile, number: int = 0) -> DicomFile:
    """An enhanced file with what a picture needs of one frame's functional groups as plain elements.

    Rescale, window and pixel spacing; a classic file is returned as it is.
    """
    if not file.has("PerFrameFunctionalGroupsSequence") and not file.has("SharedFunctionalGroupsSequence"):
        return file
    header = Dataset()
    header.update(file.header)
    with readable(file):
        shared, frames = (
            header.get(f"{name}FunctionalGroupsSequence") or [Dataset()] for name in ("Shared", "PerFrame")
        )
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence"):
            header.update(_group(frames[min(number, len(frames) - 1)], shared[0], name))
    return replace(file, header=header)


def _group(frame: Dataset, shared: Dataset, name: str) -> Dataset:
    for source in (frame, shared):
        items = source.get(name)
        if items:
            return items[0]
    return Dataset()


def _frame_plane(file: DicomFile, frame: Dataset, shared: Dataset, number: int, common: dict) -> Plane | None:
    position = _numbers(_group(frame, shared, "PlanePositionSequence").get("ImagePositionPatient"), 3)
    orientation = _numbers(
        _group(frame, shared, "PlaneOrientationSequence").get("ImageOrientationPatient"), 6
    )
    measures = _group(frame, shared, "PixelMeasuresSequence")
    spacing = _numbers(measures.get("PixelSpacing"), 2)
    if position is None or orientation is None or spacing is None:
        return None
    values = _group(frame, shared, "PixelValueTransformationSequence")
    slope, intercept = rescale_of(
        values.get("RescaleSlope", common["slope"]), values.get("RescaleIntercept", common["intercept"]), file
    )
    row, column = _axes(orientation, file)
    echo = _float(_group(frame, shared, "MREchoSequence").get("EffectiveEchoTime"))
    kinds = _frame_type(frame, shared)
    own = {
        **common,
        "frame": number,
        "slope": slope,
        "intercept": intercept,
        "echo": round(echo, 3) if echo else common["echo"],
        "kind": kinds or common["kind"],
        "order": _frame_order(frame, shared, common["order"]),
        "uid": f"{common['uid']}#{number}",
        "thickness": _thickness(measures.get("SpacingBetweenSlices"), measures.get("SliceThickness")),
    }
    shape = (file.whole("Rows"), file.whole("Columns"))
    return Plane(position, row, column, _spacing(spacing, file), shape, **own)


def _frame_type(frame: Dataset, shared: Dataset) -> str:
    for name in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
        group = _group(frame, shared, name)
        if "FrameType" in group:
            component = str(group.get("ComplexImageComponent") or "")
            return "/".join([*(str(part) for part in group.FrameType), *([component] if component else [])])
    return ""


def _frame_order(frame: Dataset, shared: Dataset, common: dict) -> dict[str, object]:
    content = _group(frame, shared, "FrameContentSequence")
    timing = _group(frame, shared, "CardiacSynchronizationSequence")
    order = {
        **common,
        "temporal position": _hashable(content.get("TemporalPositionIndex"))
        or common.get("temporal position"),
        "trigger time": _hashable(timing.get("NominalCardiacTriggerDelayTime")) or common.get("trigger time"),
        "frame time": _hashable(content.get("FrameAcquisitionDateTime")),
        "acquisition number": _hashable(content.get("FrameAcquisitionNumber"))
        or common.get("acquisition number"),
    }
    diffusion = _group(frame, shared, "MRDiffusionSequence")
    bvalue = _float(diffusion.get("DiffusionBValue"))
    if bvalue is not None:
        gradient = _group(diffusion, Dataset(), "DiffusionGradientDirectionSequence")
        direction = _numbers(gradient.get("DiffusionGradientOrientation"), 3)
        order["b-value and direction"] = (bvalue, *(direction.tolist() if direction is not None else ()))
    return order
