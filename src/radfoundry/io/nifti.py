"""NIfTI to Volume, through nibabel; a BIDS sidecar says the modality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from radfoundry.errors import ReadError
from radfoundry.io.source import MALFORMED, MAX_VALUES, check_size
from radfoundry.types import Unit, Volume

SAME_MM = 0.1
"""sform and qform that place every corner closer than this differ by rounding only."""
MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}


def read_nifti(path: Path, *, max_values: int = MAX_VALUES) -> Volume:
    """Volume (I, J, K) or (I, J, K, T), scaled by the header's slope, affine in RAS+ mm.

    A 2D file gets K = 1. Raises ReadError for a truncated file, a non-finite or singular affine, colour or
    complex voxels, or more than four dimensions.
    """
    try:
        image: Any = nibabel.load(path)
        shape = _shape(image.shape, path)
        check_size(shape, path, max_values)
        if image.get_data_dtype().fields or image.get_data_dtype().kind == "c":
            raise ReadError(
                f"{path} holds {image.get_data_dtype()} voxels; only real numbers are read. Split it"
            )
        affine, record = _affine(image, path)
        record += _repairs(image)
        array = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape, order="F")
    except ReadError:
        raise
    except (
        *MALFORMED,
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
    ) as cause:
        raise ReadError(
            f"{path} is truncated or damaged: {cause}. Copy it again from where it came"
        ) from cause
    modality, unit, said = _sidecar(path)
    try:
        return Volume(array, affine, unit, modality, str(path), (*record, *said))
    except ValueError as cause:
        raise ReadError(f"{path}: {cause}. Repair the sform or qform, e.g. with nibabel") from cause


def _shape(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """At least three axes; trailing axes of length one beyond three are dropped."""
    kept = list(shape) + [1] * (3 - len(shape))
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    if len(kept) > 4:
        raise ReadError(f"{path} has {len(kept)} dimensions {shape}; three or four are read. Split it first")
    return tuple(kept)


def _affine(image: Any, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    affine = np.array(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all():
        raise ReadError(
            f"{path} has a non-finite affine, so its position is unknown. Repair its sform or qform"
        )
    record: list[str] = []
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        record.append("no sform or qform: orientation is a guess from the header's voxel sizes")
    elif int(header["sform_code"]) > 0 and int(header["qform_code"]) > 0:
        apart = _apart(image)
        if apart > SAME_MM:
            record.append(f"sform and qform place a corner {apart:.2f} mm apart: the sform is used")
    unit = header.get_xyzt_units()[0]
    if MM_PER_UNIT.get(unit, 1.0) != 1.0:
        affine[:3] *= MM_PER_UNIT[unit]
        record.append(f"affine converted from {unit} to mm")
    return affine, tuple(record)


def _apart(image: Any) -> float:
    """Largest distance between where sform and qform place a corner of the grid, in the file's unit."""
    corners = np.array([(i, j, k, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.array([*image.shape, 1, 1][:3]) - 1
    difference = image.header.get_sform() - image.header.get_qform()
    return float(np.linalg.norm((corners @ difference.T)[:, :3], axis=1).max())


def _repairs(image: Any) -> tuple[str, ...]:
    """What nibabel found wrong in the header as it lies in the file, and mended while loading."""
    header = type(image.header)
    holder = image.file_map.get("header") or image.file_map["image"]
    with nibabel.openers.Opener(holder.filename) as file:
        said = header.diagnose_binaryblock(file.read(header.template_dtype.itemsize))
    return tuple(f"header: {line}" for line in said.splitlines() if line)


def _sidecar(path: Path) -> tuple[str, Unit, tuple[str, ...]]:
    """Modality from the BIDS JSON of the same name, where there is one that can be read."""
    stem = path.name[: -len(".nii.gz")] if path.name.endswith(".nii.gz") else path.stem
    sidecar = path.with_name(f"{stem}.json")
    if not sidecar.is_file():
        return "", "a.u.", ()
    try:
        content = json.loads(sidecar.read_text("utf-8"))
    except (OSError, ValueError):  # the image is whole without its sidecar, so say it and go on
        return "", "a.u.", (f"sidecar {sidecar.name} could not be read",)
    modality = str(content.get("Modality", "")) if isinstance(content, dict) else ""
    if modality == "CT":
        return modality, "HU", ("unit HU because the sidecar says Modality CT",)
    return modality, "a.u.", ()
