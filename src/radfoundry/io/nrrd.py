"""NRRD to Volume, through pynrrd; LPS and RAS spaces become RAS+."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from radfoundry.errors import ReadError
from radfoundry.io.source import MALFORMED, MAX_VALUES, check_size
from radfoundry.types import Volume

# Signs that take each space to RAS+; others are refused, because guessing mirrors a patient.
SIGNS = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
}


def read_nrrd(path: Path, *, max_values: int = MAX_VALUES) -> Volume:
    """Volume (I, J, K), or (I, J, K, T) where one axis has no direction; affine in RAS+ mm.

    Raises ReadError for a missing or unknown space, a detached data file outside the folder, a truncated
    file, or colour.
    """
    try:
        header: dict[str, Any] = dict(nrrd.read_header(str(path)))
        sizes = tuple(int(n) for n in header["sizes"])
        check_size(sizes, path, max_values)
        _check_data_file(header, path)
        data = _read_data(header, path, sizes)
    except ReadError:
        raise
    except (*MALFORMED, nrrd.NRRDError) as cause:
        raise ReadError(
            f"{path} is truncated or damaged: {cause}. Copy it again from where it came"
        ) from cause
    affine, spatial = _affine(header, path)
    rest = [axis for axis in range(len(sizes)) if axis not in spatial]
    if len(spatial) != 3 or len(rest) > 1:
        raise ReadError(
            f"{path} has {len(spatial)} directed axes of {len(sizes)}; three (plus time) are read"
        )
    _check_rest(header, rest, path)
    array = np.transpose(data, (*spatial, *rest)).astype(np.float32)
    if rest and array.shape[3] == 1:
        array = array[..., 0]
    try:
        record = () if "space origin" in header else ("no 'space origin': the first voxel is put at 0, 0, 0",)
        return Volume(array, affine, source=str(path), record=record)
    except ValueError as cause:
        raise ReadError(f"{path}: {cause}. Repair its 'space directions'") from cause


def _check_rest(header: dict[str, Any], rest: list[int], path: Path) -> None:
    """The axis without a direction may hold times or a list, not colours or the parts of a vector."""
    kinds = header.get("kinds") or []
    for axis in rest:
        kind = str(kinds[axis]) if axis < len(kinds) else ""
        if kind.lower() not in ("", "???", "none", "time", "list", "domain"):
            raise ReadError(f"{path} has voxels of kind {kind!r}, not one number each. Split it first")


def _read_data(header: dict[str, Any], path: Path, sizes: tuple[int, ...]) -> np.ndarray:
    """The array; gzip of an attached file is unpacked only up to the announced size."""
    detached = "data file" in header or "datafile" in header
    skips = any(int(header.get(f"{part}{gap}skip", 0)) for part in ("line", "byte") for gap in (" ", ""))
    if header.get("encoding") in ("gzip", "gz") and not detached and not skips:
        dtype = np.dtype(nrrd.reader._determine_datatype(header))
        wanted = int(np.prod(sizes, dtype=np.int64)) * dtype.itemsize
        with open(path, "rb") as file:
            nrrd.read_header(file)
            content = gzip.GzipFile(fileobj=file).read(wanted)
        if len(content) < wanted:
            raise ReadError(f"{path} is truncated: {len(content):,} of {wanted:,} bytes of voxels")
        return np.frombuffer(content, dtype).reshape(sizes, order="F")
    return nrrd.read(str(path), index_order="F")[0]


def _check_data_file(header: dict[str, Any], path: Path) -> None:
    name = header.get("data file", header.get("datafile"))
    if name is None:
        return
    folder = path.parent.resolve()
    if str(name).startswith("LIST") or "%" in str(name):
        raise ReadError(f"{path} spreads its voxels over several files; join them first (e.g. `unu make`)")
    if not (folder / str(name)).resolve().is_relative_to(folder):
        raise ReadError(f"{path} points to a data file outside its folder; move both into one folder")


def _affine(header: dict[str, Any], path: Path) -> tuple[np.ndarray, list[int]]:
    """RAS+ affine, and which axes of the array are spatial."""
    space = str(header.get("space", "")).lower()
    if space not in SIGNS or "space directions" not in header:
        raise ReadError(
            f"{path} does not say its patient space ({space or 'no space field'}), so left and right are "
            "unknown. Write it with 'space: left-posterior-superior' and 'space directions'"
        )
    units = {str(unit).strip('" ').lower() for unit in header.get("space units") or []}
    if not units <= {"mm", "millimeter", "millimetre", "", "none", "nan"}:
        raise ReadError(f"{path} has 'space units' {', '.join(sorted(units))}. Write it again in mm")
    directions = [
        np.asarray(vector, float) if vector is not None and np.isfinite(vector).all() else None
        for vector in header["space directions"]
    ]
    spatial = [axis for axis, vector in enumerate(directions) if vector is not None]
    affine = np.eye(4)
    for column, axis in enumerate(spatial[:3]):
        affine[:3, column] = directions[axis]
    affine[:3, 3] = np.asarray(header.get("space origin", (0.0, 0.0, 0.0)), float)
    if not np.isfinite(affine).all():
        raise ReadError(f"{path} has a non-finite 'space origin'")
    return np.diag([*SIGNS[space], 1.0]) @ affine, spatial
