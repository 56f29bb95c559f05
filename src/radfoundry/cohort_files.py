"""The files of a cohort: a table as it lies on disk, and the YAML beside it.

In messages a row is the row of the spreadsheet: the header is row 1, the first case is row 2.
"""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import yaml

from radfoundry.errors import TableError
from radfoundry.registry import nearest

FORMAT = 1
Kind = Literal["binary", "ordinal", "class", "number"]

MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "null", "NULL", "<NA>"))
"""Cells that say nothing."""


def locate(path: Path) -> Path:
    """The table that a path means: itself, or `cohort.csv|parquet` in a folder. TableError for none."""
    if path.is_dir():
        for candidate in ("cohort.csv", "cohort.parquet"):
            if (path / candidate).is_file():
                return path / candidate
        raise TableError(
            f"{path}: a folder without cohort.csv or cohort.parquet. "
            f"Make one: radfoundry cohort from {path} --out DIR"
        )
    if not path.is_file():
        raise TableError(f"{path}: no such file. Check the path")
    if path.stat().st_size == 0:
        raise TableError(f"{path.name}: the file is empty. It needs a header line and one row a case")
    if path.suffix.lower() not in (".csv", ".tsv", ".txt", ".parquet"):
        raise TableError(
            f"{path.name}: a cohort is a .csv or .parquet table. Export the sheet as CSV (UTF-8)"
        )
    return path


def read_meta(file: Path) -> dict[str, Any]:
    """The YAML beside a table, checked; empty where there is none."""
    for side in (file.with_suffix(".yaml"), file.with_name("cohort.yaml")):
        if not side.is_file():
            continue
        try:
            meta = yaml.safe_load(side.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as cause:
            raise TableError(f"{side.name}: not readable as YAML: {cause}. Mend or remove it") from cause
        if not isinstance(meta, dict):
            raise TableError(f"{side.name}: expected `name: value` lines, got {type(meta).__name__}")
        _check_meta(meta, side.name)
        return meta
    return {}


def _check_meta(meta: dict[str, Any], where: str) -> None:
    version = meta.get("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise TableError(f"{where}: format {version} is not known: update radfoundry")
    targets = meta.get("targets") or {}
    example = "Write e.g. `targets: {ila: {kind: binary, positive: 1}}`"
    if not isinstance(targets, dict):
        raise TableError(f"{where}: 'targets' is {targets!r}, no names with properties. {example}")
    for name, about in targets.items():
        if about is not None and not isinstance(about, dict):
            raise TableError(f"{where}: target {name!r} is {about!r}, no properties. {example}")
        kind = (about or {}).get("kind")
        if kind is not None and kind not in get_args(Kind):
            raise TableError(
                f"{where}: target {name!r} has kind {kind!r}.{nearest(str(kind), get_args(Kind))} "
                f"Kinds: {', '.join(get_args(Kind))}"
            )


def read_parquet(file: Path) -> pd.DataFrame:
    """A Parquet table as it is."""
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as cause:  # pyarrow's own errors are ValueErrors
        raise TableError(f"{file.name}: not readable as Parquet: {cause}. Write or copy it again") from cause


def read_csv(file: Path) -> pd.DataFrame:
    """All cells as text; blank lines kept, so that row numbers agree with the spreadsheet."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        line = file.read_bytes()[: cause.start].count(b"\n") + 1
        raise TableError(f"{file.name}: row {line} is not UTF-8 text. Save it as CSV (UTF-8)") from cause
    if "\0" in text or not text.strip():
        raise TableError(f"{file.name}: not a text table (empty or binary). Export the sheet as CSV (UTF-8)")
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    advice = f"Close all quotes, and quote cells with {separator!r}"
    try:
        lines = csv.reader(StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
        rows = [[cell.strip() for cell in line] for line in lines]
    except csv.Error as cause:
        raise TableError(f"{file.name}: unreadable as CSV: {cause}. {advice}") from cause
    header, body = rows[0], rows[1:]
    if not any(header):
        raise TableError(f"{file.name}: row 1 is blank, and it has to name the columns. Remove blank lines")
    for number, row in enumerate(body, start=2):
        while len(row) > len(header) and not row[-1]:
            row.pop()
        if not any(row):
            row[:] = [""] * len(header)
        if len(row) != len(header):
            raise TableError(
                f"{file.name}: unreadable as CSV: row {number} has {len(row)} cells where the header has "
                f"{len(header)}. {advice}"
            )
    table = pd.DataFrame(
        [[None if cell in MISSING else cell for cell in row] for row in body],
        columns=range(len(header)), dtype=object,
    )  # fmt: skip
    return _with_header(table, header, file.name)


def _with_header(table: pd.DataFrame, header: list[str], where: str) -> pd.DataFrame:
    """Name the columns; a nameless one is dropped where empty, as spreadsheets leave it, else refused."""
    for number, name in enumerate(header):
        if not name and table[number].notna().any():
            raise TableError(f"{where}: row 1 has no name for column {number + 1}. Name it or remove it")
    named = [number for number, name in enumerate(header) if name]
    names = [header[number] for number in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"{where}: row 1 names column {twice[0]!r} twice. Rename or remove one")
    return table[named].set_axis(names, axis=1)
