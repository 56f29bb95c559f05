"""DICOM series made up on the spot, with every irregularity that scanners produce."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ENTROPY = ["radfoundry tests"]


def uid(*parts: object) -> str:
    return generate_uid(entropy_srcs=[*ENTROPY, *(str(p) for p in parts)])


def dicom(pixels: np.ndarray, *, signed: bool | None = None, **elements: object) -> FileDataset:
    """A CT image of (rows, columns) integers; keyword elements replace or add, None deletes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(elements.get("InstanceNumber", 1), pixels.tobytes())
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * pixels.dtype.itemsize
    values: dict[str, object] = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": uid("series"), "StudyInstanceUID": uid("study"), "PatientID": "secret-id",
        "PatientName": "Secret^Name", "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "InstanceNumber": 1, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "BitsAllocated": bits, "BitsStored": bits,
        "HighBit": bits - 1, "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU",
    }  # fmt: skip
    values.update(elements)
    for name, value in values.items():
        if value is not None:
            setattr(data, name, value)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    return data


def save(data: FileDataset, path: Path) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


def ct_series(
    folder: Path,
    *,
    slices: int = 4,
    shape: tuple[int, int] = (6, 5),
    spacing: tuple[float, float] = (0.75, 0.5),
    step: float = 2.0,
    direction: np.ndarray | None = None,
    origin: tuple[float, float, float] = (-10.0, -20.0, 30.0),
    missing: Iterable[int] = (),
    negative_column: bool = False,
    tilt_deg: float = 0.0,
    seed: int = 0,
    **elements: object,
) -> np.ndarray:
    """Write a CT series, instance numbers shuffled; returns stored values (K, rows, columns) by position.

    direction: (3, 3) with the row, column and normal directions as rows, LPS. negative_column flips the
    column cosine, so that the normal flips too. tilt_deg shifts each slice along the column direction.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    row, column, _ = np.eye(3) if direction is None else direction
    if negative_column:
        column = -column
    normal = np.cross(row, column)
    advance = normal * step - column * step * np.tan(np.radians(tilt_deg))
    pixels = rng.integers(0, 4000, (slices, *shape)).astype(np.uint16)
    number = rng.permutation(slices)
    for k in range(slices):
        if k in set(missing):
            continue
        values = {
            "InstanceNumber": int(number[k]) + 1,
            "ImagePositionPatient": [f"{v:.8f}" for v in np.array(origin) + advance * k],
            "ImageOrientationPatient": [f"{v:.12f}" for v in (*row, *column)],
            "PixelSpacing": list(spacing),
            "SliceThickness": step,
            **elements,
        }
        save(dicom(pixels[k], **values), folder / f"{number[k]:03d}.dcm")
    return pixels
