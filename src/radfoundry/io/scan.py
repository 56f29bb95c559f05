"""What lies below a folder: one row a series, from headers alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.errors import ReadError
from radfoundry.io.source import MALFORMED, kind_of

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.io.dicom import DicomFile

# fmt: off
SCAN_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "BodyPartExamined",
    "Manufacturer", "ManufacturerModelName", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness", "EchoTime", "Rows", "Columns", "NumberOfFrames",
]
# fmt: on
# fmt: off
COLUMNS = [
    "path", "format", "modality", "series", "description", "body_part", "manufacturer", "model",
    "files", "frames", "rows", "columns", "positions", "orientations", "echoes", "spacing_mm",
    "slice_mm", "problem",
]
# fmt: on
THREADS = 4


def scan(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """One row a series: where it lies, what it is, how many files, positions, orientations and echoes.

    Only headers are read, and no patient attribute. DICOM files are grouped by folder and series UID, PNG and
    JPEG by folder; a NIfTI or NRRD file is a row of its own, and so is a file that cannot be read.
    Columns: see COLUMNS. Raises ReadError when the folder does not exist.
    """
    import pandas as pd

    root = Path(folder)
    if not root.is_dir():
        raise ReadError(f"{root} is no folder. Pass a folder of images; paths start at {Path.cwd()}")
    rows: dict[tuple, dict[str, Any]] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for path, kind, header, problem in pool.map(_look, _walk(root)):
            if kind is not None:
                _count(rows, root, path, kind, header, problem)
    finished = [_finish(row) for row in rows.values()]
    return pd.DataFrame(sorted(finished, key=lambda row: (row["path"], row["series"])), columns=COLUMNS)


def _walk(root: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if not name.startswith(".") and name.upper() != "DICOMDIR":
                yield Path(here, name)


def _look(path: Path) -> tuple[Path, str | None, DicomFile | None, str]:
    """(path, kind or None for a file that is no image, header of a DICOM file, what is wrong)."""
    from radfoundry.io.dicom import open_dicom

    try:
        kind = kind_of(path)
    except ReadError as error:
        image = path.suffix.lower() in (".dcm", ".ima", ".png", ".jpg", ".jpeg", ".nii", ".nrrd")
        return path, "unreadable" if image else None, None, str(error)
    if kind != "dicom":
        return path, kind, None, ""
    try:
        return path, kind, open_dicom(path, SCAN_TAGS), ""
    except ReadError as error:
        return path, "unreadable", None, str(error)


def _count(rows: dict, root: Path, path: Path, kind: str, header: DicomFile | None, problem: str) -> None:
    """Add one file to the row of its series; a header that cannot be understood is an unreadable file."""
    try:
        facts = _facts(header) if header else {}
    except (ReadError, *MALFORMED) as cause:
        kind, header, facts, problem = "unreadable", None, {}, f"{path}: {cause}"
    series = facts.get("series", "")
    alone = kind in ("nifti", "nrrd", "zip", "unreadable")
    place = _printable(str((path if alone else path.parent).relative_to(root)))
    row = rows.setdefault((place, kind, series), _new_row(place, kind, facts, _printable(problem)))
    row["files"] += 1
    if header is None:
        return
    row["frames"] += header.frames if facts["rows"] else 0
    row["no_pixels"] += not header.has_pixels
    row["at"].add(facts["at"])
    row["facing"].add(facts["facing"])
    row["te"].add(facts["echo"])
    row["sizes"].add((facts["rows"], facts["columns"]))


def _printable(text: str) -> str:
    """File names are bytes: what is no UTF-8 becomes an escape, so that the table can be printed and sent."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _facts(header: DicomFile) -> dict[str, Any]:
    """What the table needs of one header, as plain values; raises what ill-typed elements raise."""
    text = {
        name: str(header.get(tag, ""))
        for name, tag in (
            ("series", "SeriesInstanceUID"), ("modality", "Modality"), ("description", "SeriesDescription"),
            ("body_part", "BodyPartExamined"), ("manufacturer", "Manufacturer"),
            ("model", "ManufacturerModelName"),
        )
    }  # fmt: skip
    sized = bool(header.get("Rows") and header.get("Columns"))
    thickness, echo = header.get("SliceThickness"), header.get("EchoTime")
    return text | {
        "rows": header.whole("Rows") if sized else None,
        "columns": header.whole("Columns") if sized else None,
        "frames": header.frames,
        "spacing_mm": " × ".join(f"{float(v):g}" for v in header.get("PixelSpacing", ())),
        "slice_mm": None if thickness is None else float(thickness),
        "at": tuple(float(v) for v in header.get("ImagePositionPatient", ())),
        "facing": tuple(round(float(v), 3) + 0.0 for v in header.get("ImageOrientationPatient", ())),
        "echo": None if echo is None else float(echo),
    }


def _new_row(place: str, kind: str, facts: dict[str, Any], problem: str) -> dict[str, Any]:
    words = ("modality", "series", "description", "body_part", "manufacturer", "model", "spacing_mm")
    return {
        "path": place, "format": kind, **{name: facts.get(name, "") for name in words},
        "files": 0, "frames": 0, "rows": facts.get("rows"), "columns": facts.get("columns"),
        "slice_mm": facts.get("slice_mm"), "problem": problem,
        "at": set(), "facing": set(), "te": set(), "sizes": set(), "no_pixels": 0,
    }  # fmt: skip


def _finish(row: dict[str, Any]) -> dict[str, Any]:
    """Counts instead of sets, and what would keep `read` from making one volume."""
    row["positions"] = len(row["at"] - {()})
    row["orientations"] = len(row["facing"] - {()})
    row["echoes"] = len(row["te"] - {None})
    problems = [row["problem"]] if row["problem"] else []
    if row["no_pixels"]:
        problems.append(f"{row['no_pixels']} files without pixels")
    if row["orientations"] > 1:
        problems.append(f"{row['orientations']} orientations")
    if row["echoes"] > 1:
        problems.append(f"{row['echoes']} echoes")
    if len(row["sizes"]) > 1:
        problems.append(f"{len(row['sizes'])} matrix sizes")
    row["problem"] = "; ".join(problems)
    return {name: row[name] for name in COLUMNS}
