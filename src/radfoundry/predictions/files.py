"""A table as other software saves it: comma, semicolon or tab; decimal point or comma; several encodings."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.errors import ReadError, TableError
from radfoundry.predictions.columns import ALIASES, ROW, plain

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .xls, whatever the file is called
HEAD = 65_536  # bytes that are looked at to tell separator and decimal sign


def load(path: Path) -> pd.DataFrame:
    """The raw table, with the spreadsheet's row numbers in a column of their own.

    Identifiers stay text, so that leading zeros survive. What had to be guessed about the file stands in
    `attrs["notes"]`. Raises ReadError when the file is missing or no table, TableError when it is empty.
    """
    if not path.is_file():
        raise ReadError(f"no such file: {path}. Give a CSV, TSV or Parquet table of predictions")
    if path.stat().st_size == 0:
        raise TableError(f"{path}: the file is empty. It needs a header with y_true and score")
    try:
        table = pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else _text_table(path)
    except (ValueError, OSError, EOFError, pd.errors.ParserError) as cause:
        raise ReadError(f"{path} is not a readable CSV, TSV or Parquet table: {cause}") from cause
    return table


def _text_table(path: Path) -> pd.DataFrame:
    with OPENERS.get(path.suffix, open)(path, "rb") as file:
        head = file.read(HEAD)
    if head.startswith(WORKBOOKS) and path.suffix != ".zip":
        raise ReadError(f"{path} is a spreadsheet workbook. Save its sheet as CSV (UTF-8) and give that")
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in head and not wide and path.suffix != ".zip":
        raise ReadError(f"{path} is not a text table (it holds binary data). Give CSV, TSV or Parquet")
    notes: list[str] = []
    try:
        table = _parse(path, head, "utf-16" if wide else "utf-8-sig", notes)
    except UnicodeDecodeError:
        notes = ["the file is not UTF-8: it was read as Windows-1252 (western European)"]
        table = _parse(path, head, "cp1252", notes)
    table.attrs["notes"] = notes
    return table


def _parse(path: Path, head: bytes, encoding: str, notes: list[str]) -> pd.DataFrame:
    text = head.decode(encoding, errors="ignore")
    lines = text.splitlines()
    skipped = int(bool(lines) and lines[0].lower().startswith("sep="))  # a line that Excel writes for itself
    separator, decimal = _dialect(lines[skipped:], path.suffix)
    if separator not in (",", "\t"):
        notes.append(f"columns are separated by {separator!r}")
    if decimal == ",":
        notes.append("numbers have a decimal comma")
    options = {"sep": separator, "decimal": decimal, "encoding": encoding, "skiprows": skipped}
    header = pd.read_csv(path, nrows=0, **options).columns
    identifiers = {*ALIASES["case_id"], *ALIASES["patient_id"], "case_id", "patient_id"}
    kinds = {name: str for name in header if plain(name) in identifiers}
    table = pd.read_csv(path, dtype=kinds, low_memory=False, **options)
    blank = table.isna().all(axis=1).to_numpy()
    table[ROW] = np.arange(2, len(table) + 2) + skipped
    if blank.any():
        notes.append(f"{int(blank.sum())} rows without any entry were left out")
    return table[~blank]


def _dialect(lines: list[str], suffix: str) -> tuple[str, str]:
    """Separator and decimal sign.

    >>> _dialect(["case;score", "a;0,25"], ".csv"), _dialect(["case,score", "a,0.25"], ".csv")
    ((';', ','), (',', '.'))
    """
    header = lines[0] if lines else ""
    separator = "\t" if suffix in (".tsv", ".tab") else max(",;\t|", key=header.count)
    edge = re.escape(separator)
    number = re.compile(rf'(?:^|{edge})\s*"?[+-]?\d*,\d+"?\s*(?={edge}|$)')
    comma = separator != "," and any(number.search(line) for line in lines[1:])
    return separator, "," if comma else "."
