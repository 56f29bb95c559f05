"""Stored DICOM values to a displayable picture: rescale, window or LUT, padding, MONOCHROME1, spacing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, apply_modality_lut

from radfoundry.errors import ReadError
from radfoundry.io.dicom import DicomFile, check_pixels, readable, stored
from radfoundry.io.frames import flat, rescale_of
from radfoundry.io.source import MALFORMED, MAX_VALUES
from radfoundry.io.square import squared
from radfoundry.types import Frames, Image, Unit

FOR_PROCESSING = "raw detector data, not for presentation"
"""In the record of a picture whose Presentation Intent Type is FOR PROCESSING (PS3.3 C.8.11.1.1.1)."""


def read_picture(file: DicomFile, *, max_values: int = MAX_VALUES) -> Image | Frames:
    """A file without usable 3D geometry: Image, or Frames when it has several.

    Pixels are modality values (HU for CT), inverted where the file is MONOCHROME1; display_range comes from
    the first window. A sigmoid or a VOI LUT is not a range, so it is applied to the pixels, except in CT.
    Declared padding is black and does not count for the range. Pixels that are not square are resampled to
    the finer of their two spacings, recorded.
    """
    check_pixels(file, max_values=max_values)
    raw = stored(file)
    with readable(file):
        return _picture(file, raw, max_values)


def _picture(file: DicomFile, raw: np.ndarray, max_values: int) -> Image | Frames:
    file = _alike_frames(file)
    if raw.ndim == 4 or str(file.get("PhotometricInterpretation")) == "PALETTE COLOR":
        array, shown, record = _colour(file, raw)
        unit: Unit = "a.u."
    else:
        array, unit, record = _modality_values(file, raw)
        array, shown, said = _display(file, array, raw, unit)
        record += said
    if file.get("PresentationIntentType") == "FOR PROCESSING":
        record.append(FOR_PROCESSING)
    spacing, said = _spacing(file)
    modality, source, notes = str(file.get("Modality", "")), str(file.path), tuple(record + said)
    made: Image | Frames = (
        Image(array[0], shown, unit, spacing, modality, source, notes)
        if len(array) == 1
        else Frames(array, shown, spacing, modality, source, notes)
    )
    return squared(made, _aspect(file) if spacing is None else None, max_values=max_values)


def _alike_frames(file: DicomFile) -> DicomFile:
    """The file with its functional groups flattened, which is possible where frames share one rescale."""
    first = flat(file)
    if first is not file:
        scales = {_rescale(flat(file, number)) for number in range(file.frames)}
        if len(scales) > 1:
            raise ReadError(
                f"{file.path} rescales its frames differently and does not place them in space, so they "
                "have no common scale. Export it one file a frame"
            )
    return first


def ct_unit(file: DicomFile) -> tuple[Unit, list[str]]:
    """HU when the file is a CT slice rescaled to HU; localizers and unscaled files are not."""
    if file.get("Modality") != "CT":
        return "a.u.", []
    file = flat(file)
    if file.get("RescaleSlope") is None:
        return "a.u.", ["CT without rescale: values are not HU"]
    if str(file.get("RescaleType", "HU")).upper() not in ("HU", "HU_MOD"):
        return "a.u.", [f"CT rescaled to {file.get('RescaleType')}: values are not HU"]
    if "LOCALIZER" in [str(part) for part in file.get("ImageType", ())]:
        return "a.u.", ["CT localizer: values are not HU"]
    return "HU", []


def _modality_values(file: DicomFile, raw: np.ndarray) -> tuple[np.ndarray, Unit, list[str]]:
    """Stored values through the modality LUT or the rescale slope and intercept, float32."""
    unit, record = ct_unit(file)
    if file.get("ModalityLUTSequence"):
        return modality_lut(file, raw), unit, [*record, "modality LUT applied"]
    slope, intercept = _rescale(file)
    array = raw.astype(np.float32)
    if (slope, intercept) != (1.0, 0.0):
        array = (raw * slope + intercept).astype(np.float32)
        record.append(f"rescaled: {slope:g} × stored + {intercept:g}")
    return array, unit, record


def modality_lut(file: DicomFile, raw: np.ndarray) -> np.ndarray:
    """Stored values through the modality LUT, float32."""
    with readable(file):
        return apply_modality_lut(raw, file.header).astype(np.float32)


def _rescale(file: DicomFile) -> tuple[float, float]:
    return rescale_of(file.get("RescaleSlope"), file.get("RescaleIntercept"), file)


def _display(file: DicomFile, array: np.ndarray, raw: np.ndarray, unit: Unit) -> tuple:
    """(array, display range, record) after window or LUT and the MONOCHROME1 inversion."""
    low, high = _stored_limits(file, raw)
    padded, padding = _padding(file, raw)
    shown, record = _window(file)
    applied = _nonlinear(file, array, low) if unit != "HU" else None
    if applied is not None:
        array, (low, high), said = applied
        shown, record = (low, high), [said]
    elif shown is None:
        shown, said = _default_range(file, array if padded is None else array[~padded], (low, high))
        record += said
    inverted = _inverted(file)
    if not file.get("PhotometricInterpretation"):
        record.append("no photometric interpretation: taken as MONOCHROME2")
    if inverted and unit == "HU":  # turning HU upside down would make them something else
        record.append(f"{inverted}: HU kept as they are")
    elif inverted:
        array = np.float32(low + high) - array
        shown = (low + high - shown[1], low + high - shown[0])
        record.append(f"{inverted} inverted: {low + high:g} - value")
    if padded is not None:
        array[padded & (array > shown[0])] = shown[0]
        record.append(padding)
    return array, (float(shown[0]), float(shown[1])), record


def _padding(file: DicomFile, raw: np.ndarray) -> tuple[np.ndarray | None, str]:
    """(which pixels are padding or None where none is, what is done with them), by stored values.

    Padding is no part of the dynamic range and passes through no table (PS3.3 C.7.5.1.1.2): it is background.
    """
    value = file.get("PixelPaddingValue")
    if value is None or raw.dtype.kind == "f":
        return None, ""
    signed = bool(file.get("PixelRepresentation", 0))
    limit = file.get("PixelPaddingRangeLimit", value)
    try:
        first, last = sorted(_sixteen_bits(end, signed) for end in (value, limit))
    except (TypeError, ValueError):  # several values, or text: no padding that could be told
        return None, ""
    padded = (raw >= first) & (raw <= last)
    share = float(padded.mean())
    if not share:
        return None, ""
    which = f"{first}" if first == last else f"{first} to {last}"
    return (
        padded,
        f"padding (stored {which}, {share:.1%} of the pixels): not in the display range, shown black",
    )


def _sixteen_bits(value: Any, signed: bool) -> int:
    """The element as a number of the pixels' own kind: some write it as the other of US and SS."""
    number = int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value) % 65536
    return number - 65536 if signed and number >= 32768 else number


def _inverted(file: DicomFile) -> str:
    """What in the header says that the largest value is black; "" where it is white."""
    if file.get("PhotometricInterpretation") == "MONOCHROME1":
        return "MONOCHROME1"
    return "Presentation LUT INVERSE" if file.get("PresentationLUTShape") == "INVERSE" else ""


def _stored_limits(file: DicomFile, raw: np.ndarray) -> tuple[float, float]:
    """The values that the bit depth allows, in modality units."""
    if raw.dtype.kind == "f":
        return float(raw.min()), float(raw.max())
    bits = _bits(file)
    signed = bool(file.get("PixelRepresentation", 0))
    ends = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    slope, intercept = (1.0, 0.0) if file.get("ModalityLUTSequence") else _rescale(file)
    low, high = sorted(end * slope + intercept for end in ends)
    return low, high


def _bits(file: DicomFile) -> int:
    return file.whole("BitsStored", file.whole("BitsAllocated"))


def _default_range(file: DicomFile, array: np.ndarray, limits: tuple[float, float]) -> tuple:
    """Without a window: the bit depth, unless the pixels use so little of it that all would look grey.

    array: the pixels that are no padding.
    """
    if not array.size:
        return limits, []
    low, high = float(array.min()), float(array.max())
    bits = _bits(file)
    if bits <= 8 or (
        (high - low) >= (limits[1] - limits[0]) / 8 and not bool(file.get("PixelRepresentation", 0))
    ):
        return limits, []
    return (low, high), ["no window: display range from the pixels"]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (MultiValue, list, tuple)) and len(value) else value


def _window(file: DicomFile) -> tuple[tuple[float, float] | None, list[str]]:
    """First window as (black, white) in modality units (PS3.3 C.11.2.1.2)."""
    center, width = _first(file.get("WindowCenter")), _first(file.get("WindowWidth"))
    if center is None or width is None:
        return None, []
    try:
        center, width = float(center), float(width)
    except (TypeError, ValueError):  # text where numbers belong: as good as absent, but said
        return None, ["unreadable window ignored"]
    exact = str(file.get("VOILUTFunction", "LINEAR")) == "LINEAR_EXACT"
    if not math.isfinite(center + width) or width <= 0 or (width < 1 and not exact):
        return None, [f"impossible window of width {width:g} ignored"]
    if exact:
        return (center - width / 2, center + width / 2), []
    return (center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2), []


def _nonlinear(file: DicomFile, array: np.ndarray, lowest: float) -> tuple | None:
    """(array, its range, what was done) for a VOI LUT or a sigmoid; None where the window is linear.

    lowest: the least value that the modality's scale allows.
    """
    sequence = file.get("VOILUTSequence")
    if sequence:
        item = sequence[0]
        count, first, bits = (int(v) for v in item.LUTDescriptor)
        table = _lut_values(item.LUTData, count or 65536, bits)
        if lowest < 0 and first >= 32768:
            first -= 65536  # pydicom reads the descriptor as unsigned when the VR is ambiguous
        at = np.clip(np.rint(array).astype(np.int64) - first, 0, len(table) - 1)
        return table[at], (0.0, 2.0**bits - 1), "VOI LUT applied"
    if str(file.get("VOILUTFunction", "")) != "SIGMOID" or _window(file)[0] is None:
        return None
    center, width = float(_first(file.header.WindowCenter)), float(_first(file.header.WindowWidth))
    curve = 1 / (1 + np.exp(-4 * (array - np.float32(center)) / np.float32(width)))
    return (
        curve.astype(np.float32),
        (0.0, 1.0),
        f"sigmoid window applied (center {center:g}, width {width:g})",
    )


def _lut_values(data: Any, count: int, bits: int) -> np.ndarray:
    if isinstance(data, bytes):
        dtype = np.dtype("<u2") if len(data) >= 2 * count else np.dtype("u1")
        data = np.frombuffer(data, dtype)
    return (np.asarray(data, np.int64) & ((1 << bits) - 1)).astype(np.float32)[:count]


def _colour(file: DicomFile, raw: np.ndarray) -> tuple[np.ndarray, tuple[float, float], list[str]]:
    photometric = str(file.get("PhotometricInterpretation"))
    if photometric == "PALETTE COLOR":
        try:
            array = apply_color_lut(raw, file.header)[..., :3]
        except MALFORMED as cause:
            raise ReadError(f"{file.path} has an unreadable palette: {cause}. Export it again") from cause
        white = float(2 ** (8 * array.dtype.itemsize) - 1)
        return array.astype(np.float32), (0.0, white), ["palette expanded to RGB"]
    record = [f"{photometric} converted to RGB"] if photometric.startswith("YBR") else []
    bits = _bits(file)
    return raw[..., :3].astype(np.float32), (0.0, 2.0**bits - 1), record


def _spacing(file: DicomFile) -> tuple[tuple[float, float] | None, list[str]]:
    """(between rows, between columns): patient, else detector, else scanned film, else ultrasound region."""
    for name, note in (
        ("PixelSpacing", []),
        ("ImagerPixelSpacing", ["spacing is at the detector, not the patient"]),
        ("NominalScannedPixelSpacing", ["spacing is of the scanned film, not the patient"]),
    ):
        value = file.get(name)
        try:
            down, across = (float(v) for v in value)
        except (TypeError, ValueError):  # absent or malformed: spacing is optional in a picture
            continue
        if min(down, across) > 0:
            return (down, across), list(note)
    regions = file.get("SequenceOfUltrasoundRegions")
    units = [regions[0].get(f"PhysicalUnits{axis}Direction") for axis in "XY"] if regions else []
    if len(regions or ()) == 1 and units == [3, 3]:  # centimetres
        across, down = (abs(float(regions[0].get(f"PhysicalDelta{axis}", 0))) * 10 for axis in "XY")
        if min(down, across) > 0:
            return (down, across), []
    return None, []


def _aspect(file: DicomFile) -> float | None:
    """Height of a pixel over its width, for a file that says no spacing (PS3.3 C.7.6.3.1.7)."""
    try:
        down, across = (float(v) for v in file.get("PixelAspectRatio"))
    except (TypeError, ValueError):  # absent or malformed: pixels are taken as square
        return None
    return down / across if min(down, across) > 0 else None
