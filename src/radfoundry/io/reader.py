"""`read` takes any file or series folder; `read_image` wants one 2D picture."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from radfoundry.errors import ReadError
from radfoundry.io.archive import with_unpacked
from radfoundry.io.grid import Irregular
from radfoundry.io.nifti import read_nifti
from radfoundry.io.nrrd import read_nrrd
from radfoundry.io.raster import read_raster
from radfoundry.io.series import KEPT, read_dicom_file, read_series
from radfoundry.io.source import MAX_VALUES, kind_of
from radfoundry.io.square import squared
from radfoundry.types import Frames, Image, Volume

PathLike = str | os.PathLike[str]
OPTIONS = {"series": str, "echo": float, "stack": int, "frame": int, "irregular": str}


def read(
    path: PathLike | Sequence[PathLike],
    *,
    series: str | None = None,
    echo: float | None = None,
    stack: int | None = None,
    irregular: Irregular = "refuse",
    max_values: int = MAX_VALUES,
) -> Image | Frames | Volume:
    """Read a file, a folder or zip with one DICOM series, or a list of DICOM files.

    DICOM slices become a Volume (I = column, J = row, K along the slice normal), sorted by position; single
    pictures an Image; a cine without geometry Frames. `series` (UID), `echo` (echo time, ms) and `stack`
    (number in the listing of the refusal) choose where a folder holds more than one volume. They may also be
    written behind the path: "folder#echo=11". `irregular="resample"` interpolates missing or uneven slices
    and records it; the default refuses. Gantry tilt is always sheared back, and recorded.

    Raises ReadError, saying what is wrong, where, and what to do.
    """
    options: dict[str, Any] = {"series": series, "echo": echo, "stack": stack, "irregular": irregular}
    if not isinstance(path, (str, os.PathLike)):
        _check_options(options)
        files = [Path(item) for item in path]
        _require(files)
        where = f"{files[0].parent} ({len(files)} files)" if files else "an empty list"
        return read_series(files, where, **options, max_values=max_values)
    target, written = split_path(path)
    if "frame" in written:
        return read_image(path, max_values=max_values)
    options.update(written)
    return _read(target, options, max_values)


def read_image(path: PathLike, *, max_values: int = MAX_VALUES) -> Image:
    """One 2D picture; `path#frame=3` takes frame 3 (counted from 0) of a cine, or slice 3 of a volume.

    Raises ReadError for several frames or slices without a choice, and for a frame that does not exist.
    """
    target, options = split_path(path)
    frame = options.pop("frame", None)
    content = _read(target, options, max_values)
    if isinstance(content, Image):
        if frame not in (None, 0):
            raise ReadError(f"{target} is a single picture, so it has no frame {frame}. Use frame 0 or none")
        return content
    count = len(content.array) if isinstance(content, Frames) else content.array.shape[2]
    if isinstance(content, Volume) and content.array.ndim == 4:
        raise ReadError(f"{target} is a 4D series {content.array.shape}; read() it and take one volume")
    if frame is None and count > 1:
        what = "frames" if isinstance(content, Frames) else "slices"
        raise ReadError(
            f"{target} has {count} {what}, one picture is needed. Choose one: {target}#frame={count // 2}"
        )
    if frame is not None and not 0 <= frame < count:
        raise ReadError(f"{target} has frames 0 to {count - 1}, not {frame}")
    if isinstance(content, Frames):
        return content.image(frame or 0)
    return slice_image(content, frame or 0, max_values=max_values)


def slice_image(volume: Volume, index: int, *, max_values: int = MAX_VALUES) -> Image:
    """Slice `index` along K as rows = J, columns = I; shown between the volume's extremes.

    As in any Image, MONOCHROME1 is inverted (HU excepted) and pixels are made square, recorded. Raises
    ReadError for a slice with NaN or infinity.
    """
    spacing, array = volume.spacing_mm, np.ascontiguousarray(volume.array[:, :, index].T)
    if not np.isfinite(array).all():
        raise ReadError(
            f"{volume.source} has {int((~np.isfinite(array)).sum())} pixels in slice {index} that are no "
            "numbers (NaN or infinity). Replace them with a value of the background"
        )
    finite = volume.array[np.isfinite(volume.array)]
    low, high = float(finite.min()), float(finite.max())
    record = [*volume.record, f"slice {index} of {volume.array.shape[2]} along the third axis"]
    if KEPT in record and volume.unit != "HU":
        array = np.float32(low + high) - array
        record.append(f"MONOCHROME1 inverted: {low + high:g} - value")
    made = Image(
        array,
        (low, high),
        volume.unit,
        (float(spacing[1]), float(spacing[0])),
        volume.modality,
        volume.source,
        tuple(record),
    )
    return squared(made, max_values=max_values)


def split_path(path: PathLike) -> tuple[Path, dict[str, Any]]:
    """Path and the options written behind `#`; a file that really has `#` in its name wins.

    >>> split_path("cine.dcm#frame=3")
    (PosixPath('cine.dcm'), {'frame': 3})
    """
    text = os.fspath(path)
    if "#" not in text or Path(text).exists():
        return Path(text), {}
    name, _, fragment = text.rpartition("#")
    options: dict[str, Any] = {}
    for key, value in parse_qsl(fragment, keep_blank_values=True):
        if key not in OPTIONS:
            raise ReadError(f"{text}: {key!r} is no option of a path. Known: {', '.join(OPTIONS)}")
        try:
            options[key] = OPTIONS[key](value)
        except ValueError as cause:
            raise ReadError(f"{text}: {key} must be a number, not {value!r}") from cause
    if not options:
        raise ReadError(f"{text}: nothing is said behind '#'. Write e.g. {name}#frame=3")
    return Path(name), options


def _read(path: Path, options: dict[str, Any], max_values: int) -> Image | Frames | Volume:
    _check_options(options)
    _require([path])
    if path.is_dir():
        return read_series(_files_below(path), str(path), **options, max_values=max_values)
    if path.name.upper() == "DICOMDIR":
        raise ReadError(f"{path} is only a directory of other files. Pass the folder it lies in")
    kind = kind_of(path)
    if kind == "zip":
        return with_unpacked(
            path, lambda files: read_series(files, str(path), **options, max_values=max_values)
        )
    if kind == "dicom":
        return read_dicom_file(path, **options, max_values=max_values)
    chosen = [key for key in ("series", "echo", "stack") if options.get(key) is not None]
    if chosen:
        raise ReadError(f"{path} is {kind}: {chosen[0]}= chooses among DICOM volumes only. Leave it out")
    readers: dict[str, Any] = {
        "png": read_raster,
        "jpeg": read_raster,
        "nifti": read_nifti,
        "nrrd": read_nrrd,
    }
    return readers[kind](path, max_values=max_values)


def _check_options(options: dict[str, Any]) -> None:
    if options.get("irregular", "refuse") not in ("refuse", "resample"):
        raise ReadError(f"irregular must be 'refuse' or 'resample', not {options['irregular']!r}")


def _require(paths: list[Path]) -> None:
    for path in paths:
        if not path.exists():
            raise ReadError(f"{path} does not exist. Check the path; relative paths start at {Path.cwd()}")
        if not (path.is_dir() or path.is_file()):
            raise ReadError(f"{path} is neither a file nor a folder")


def _files_below(folder: Path) -> list[Path]:
    """Visible files in the folder and its subfolders, in natural order."""
    files = [
        Path(root) / name
        for root, folders, names in os.walk(folder)
        if not folders.sort()  # type: ignore[func-returns-value]
        for name in names
        if not name.startswith(".")
    ]
    if not files:
        raise ReadError(f"{folder} is empty. Pass the folder of a series, or one image file")
    pictures = [
        file for file in files if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".nii", ".nrrd", ".gz")
    ]
    if len(pictures) == len(files):
        raise ReadError(
            f"{folder} holds {len(files)} files that are no DICOM series. Pass one of them: {files[0]}"
        )
    return sorted(
        files, key=lambda file: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", str(file))]
    )
