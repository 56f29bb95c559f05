"""Reports as they are handed over, a table or a folder of text files, to plain text with an id.

Markup is told by its content, never by the name of the file: HTML, RTF and HL7 version 2 may stand in a cell
of a CSV as well. Of an HL7 message only the text of OBX segments is kept, so that no name and no number of a
patient gets in. What had to be guessed is counted in `notes`; no note and no error repeats report text.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from radfoundry.errors import InputError, ReadError, TableError
from radfoundry.registry import nearest
from radfoundry.splits import as_dates
from radfoundry.text.markup import plain_text
from radfoundry.text.mentions import MOST_CHARACTERS, Report, column_names
from radfoundry.text.phrases import fold

MOST_FILE_BYTES = 20_000_000
MOST_TABLE_BYTES = 500_000_000
"""Unpacked."""
MOST_COLUMNS = 2_000

FILES = (".txt", ".html", ".htm", ".rtf", ".hl7")
IDS = ("reportid", "caseid", "uid", "id", "accession", "accessionnumber", "accessionno", "studyid",
       "studyuid", "studyinstanceuid", "examid")  # fmt: skip
TEXTS = ("report", "text", "reporttext", "fulltext", "fullreport", "narrative", "informe")
SECTIONS = {
    "INDICATION": ("indication", "history", "clinicalhistory", "clinicalinformation", "reasonforexam"),
    "TECHNIQUE": ("technique", "procedure"),
    "COMPARISON": ("comparison",),
    "FINDINGS": ("findings",),
    "IMPRESSION": ("impression", "conclusion"),
}
"""Section headers, in the order in which they are joined, and the columns that hold them."""
META = {
    "date": ("studydate", "examdate", "reportdate", "studydatedicom"),
    "site": ("hospital", "center", "centre", "institution"),
    "view": ("viewposition", "projection"),
    "patient_id": ("patient", "subject", "subjectid", "pid"),
    "model_version": ("draftmodelversion", "draftmodel"),
}


@dataclass(frozen=True)
class Reports:
    """What was read. meta: the other columns, a row a report, index report_id; text but `date`.

    notes: what was guessed, with counts. failed: report id, or row or file without one, to the reason.
    """

    reports: list[Report]
    meta: pd.DataFrame
    source: Path
    notes: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


class _Raw(NamedTuple):
    """Before cleaning. where: "row 7" or a file's name. parts: section header -> text. error: why none."""

    report_id: str
    where: str
    parts: Mapping[str, str]
    error: str = ""


def read_reports(
    path: Path | str, *, id_column: str | None = None, text_columns: str | Sequence[str] | None = None
) -> Reports:
    """Reports of a CSV (also gzipped), TSV or Parquet table, of a folder of text files, or of one such file.

    Several text columns are joined under their headers. Raises ReadError for what cannot be read at all, and
    TableError for missing columns or an id that stands for two texts.
    """
    source = Path(path)
    if not source.exists():
        raise ReadError(f"no such file or folder: {source}. Give a CSV or Parquet table, or a folder")
    counts: Counter[str] = Counter()
    if source.is_dir() or source.suffix.lower() in FILES:
        raws, meta = _folder(source, counts)
    else:
        wanted = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns or ())
        raws, meta = _table(source, id_column, wanted, counts)
    if not raws:
        raise TableError(f"{source.name}: holds no report. It needs rows, or files {', '.join(FILES)}")
    failed: dict[str, str] = {}
    found = _unique(raws, source.name, counts, failed)
    reports = [Report(key, text) for key, (_, text) in found.items() if text is not None]
    if not reports:
        first = next(iter(failed.values()))
        raise ReadError(f"{source.name}: none of {len(raws)} reports could be read; the first {first}")
    counts["{n} report{s} without text kept as empty"] += sum(not one.text for one in reports)
    meta = meta.iloc[[number for number, text in found.values() if text is not None]]
    meta = meta.set_axis(pd.Index([one.report_id for one in reports], name="report_id", dtype=object))
    notes = tuple(line.format(n=n, s="s" if n > 1 else "") for line, n in counts.items() if n)
    return Reports(reports, meta, source, notes, failed)


def _unique(
    raws: list[_Raw], where: str, counts: Counter[str], failed: dict[str, str]
) -> dict[str, tuple[int, str | None]]:
    """Id -> place in `raws` and clean text, None where it failed. TableError for an id with two texts."""
    found: dict[str, tuple[int, str | None]] = {}
    clashes: dict[str, list[str]] = {}
    for number, raw in enumerate(raws):
        text: str | None = None
        try:
            if raw.error or not raw.report_id:
                raise InputError(raw.error or "has no report id")
            text = _clean(raw.parts, counts)
        except InputError as error:
            failed[raw.report_id or raw.where] = str(error)
            if not raw.report_id:
                continue
        if raw.report_id not in found:
            found[raw.report_id] = (number, text)
        elif found[raw.report_id][1] == text:
            counts["{n} report{s} with the same id and text as an earlier one left out"] += 1
        else:
            clashes.setdefault(raw.report_id, [raws[found[raw.report_id][0]].where]).append(raw.where)
    if clashes:
        lines = "; ".join(" and ".join(rows[:6]) for rows in list(clashes.values())[:10])
        raise TableError(f"{where}: one report id has different texts in {lines}. Rename or remove some")
    return found


def _clean(parts: Mapping[str, str], counts: Counter[str]) -> str:
    """One text; headers where there are several parts."""
    texts = {}
    for head, raw in parts.items():
        texts[head], kinds = plain_text(raw)
        counts.update(f"{{n}} text{{s}} taken out of {kind}" for kind in kinds)
    text = next(iter(texts.values()), "")
    if len(parts) > 1:
        text = "\n".join(f"{head}: {one}" for head, one in texts.items() if one)
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
    return text


def _folder(source: Path, counts: Counter[str]) -> tuple[list[_Raw], pd.DataFrame]:
    """Texts of a folder, not of the folders in it; or one file as a folder of one."""
    root = source if source.is_dir() else source.parent
    seen = [file for file in (sorted(root.iterdir()) if root is source else [source]) if file.name[0] != "."]
    files = [file for file in seen if file.suffix.lower() in FILES]
    counts["{n} other file{s} or folder{s} not read"] += len(seen) - len(files)
    raws = [_text_file(file, root.resolve(), counts) for file in files]
    return raws, pd.DataFrame({"file": [raw.where for raw in raws]}, dtype=object)


def _text_file(file: Path, root: Path, counts: Counter[str]) -> _Raw:
    try:
        if not file.resolve(strict=True).is_relative_to(root):
            raise InputError("is a link out of the folder")
        if not file.is_file() or file.stat().st_size > MOST_FILE_BYTES:
            raise InputError(f"is no plain file of up to {MOST_FILE_BYTES:,} bytes")
        return _Raw(file.stem, file.name, {"": _decode(file.read_bytes(), counts)})
    except InputError as error:
        return _Raw(file.stem, file.name, {}, str(error))
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        return _Raw(file.stem, file.name, {}, f"cannot be opened ({type(error).__name__})")


def _decode(data: bytes, counts: Counter[str]) -> str:
    """UTF-8, UTF-16 by its mark, else Windows-1252 (latin-1 where even that has no letter for a byte)."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if wide:
            raise InputError("begins as UTF-16 and is none. Save it as UTF-8") from error
        text = data.decode("latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", data) else "cp1252")
        counts["{n} file{s} not UTF-8: read as Windows-1252 (western European)"] += b"\0" not in data
    if "\0" in text:
        raise InputError("holds binary data (zero bytes), no text")
    return text


def _table(
    source: Path, id_column: str | None, text_columns: tuple[str, ...], counts: Counter[str]
) -> tuple[list[_Raw], pd.DataFrame]:
    """Raw reports and the columns beside them, one row each; wholly blank rows are left out."""
    with source.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    table = _parquet(source) if parquet else _csv(source, counts)
    key, texts, unread = _columns(list(table), id_column, text_columns, source.name)
    table = table[(table != "").any(axis=1)]
    raws = [
        _Raw(row[1].strip(), f"row {row[0] + 2}", dict(zip(texts, row[2:], strict=True)))
        for row in table[[key, *texts.values()]].itertuples(name=None)
    ]
    counts["{n} other column{s} with report text not read"] += len(unread)
    return raws, _meta(table.drop(columns=[key, *texts.values(), *unread]), counts)


def _csv(source: Path, counts: Counter[str]) -> pd.DataFrame:
    """All cells as text; row i of the frame is row i + 2 of the spreadsheet."""
    try:
        text = _decode(_unpacked(source), counts)
    except InputError as error:
        raise ReadError(f"{source.name} {error}. Give CSV, TSV, Parquet or a folder of texts") from error
    first = text.split("\n", 1)[0]
    skipped = int(first.lower().startswith("sep="))  # a line that Excel writes for itself
    separator = first[4:5].strip() or "\t" if skipped else max(",;\t|", key=first.count)
    if first.count(separator) > MOST_COLUMNS:
        raise TableError(f"{source.name}: row 1 has more than {MOST_COLUMNS} columns. Keep those needed")
    try:
        cells = pd.read_csv(
            StringIO(text), sep=separator, header=None, dtype=str, na_filter=False, skip_blank_lines=False,
            skipinitialspace=True, skiprows=skipped,
        )  # fmt: skip
    except pd.errors.EmptyDataError as error:
        raise TableError(f"{source.name}: is empty. It needs a header and one row a report") from error
    except (pd.errors.ParserError, ValueError) as error:
        what = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        advice = f"Close all quotes, and quote cells with {separator!r}"
        raise TableError(f"{source.name}: unreadable as CSV: {what}. {advice}") from error
    header = [str(name).strip() for name in cells.iloc[0]]
    cells = cells.iloc[1:].set_axis(range(skipped, skipped + len(cells) - 1))
    for number, name in enumerate(header):
        if not name and (cells[number] != "").any():
            raise TableError(f"{source.name}: row 1 has no name for column {number + 1}. Name or remove it")
        if name and header.index(name) < number:
            twice = f"{header.index(name) + 1} and {number + 1}"
            raise TableError(f"{source.name}: row 1 names columns {twice} the same. Rename or remove one")
    cells = cells[[number for number, name in enumerate(header) if name]]  # spreadsheets leave empty ones
    return cells.set_axis([name for name in header if name], axis=1)


def _unpacked(source: Path) -> bytes:
    with source.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(source) if packed else source.open("rb") as file:
            data = file.read(MOST_TABLE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(f"{source.name} cannot be unpacked or opened. Write or copy it again") from error
    _check_size(source, len(data))
    return data


def _check_size(source: Path, size: int) -> None:
    if size > MOST_TABLE_BYTES:
        raise ReadError(f"{source.name} holds more than {MOST_TABLE_BYTES // 1_000_000} MB. Split it")


def _parquet(source: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells: dict[str, list[str]] = {}
    size = 0
    try:
        with pq.ParquetFile(source) as file:
            cells = {str(name): [] for name in file.schema_arrow.names}
            for batch in file.iter_batches(batch_size=256):  # small: a page may unpack to any size
                size += batch.nbytes
                _check_size(source, size)
                for name in batch.schema.names:
                    cells[str(name)] += [_cell(value) for value in batch.column(name).to_pylist()]
    except (OSError, ValueError, pa.ArrowException, KeyError) as error:
        raise ReadError(f"{source.name} is not readable as Parquet. Write or copy it again") from error
    return pd.DataFrame(cells, dtype=object)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", fold(name))


def _columns(
    names: list[str], id_column: str | None, text_columns: tuple[str, ...], where: str
) -> tuple[str, dict[str, str], list[str]]:
    """The id's column, header -> text column, and columns of report text that are left aside."""
    for wanted in ((id_column,) if id_column else ()) + text_columns:
        if wanted not in names:
            raise TableError(f"{where} has no column {wanted!r}.{nearest(wanted, names)}")
    has = column_names(names)
    by_plain = {_plain(name): name for name in reversed(names)}
    key = id_column or next((by_plain[name] for name in IDS if name in by_plain), None)
    if key is None:
        raise TableError(f"{where} has no column with the id of a report. Name one (--id-column). {has}")
    heads = {name: head for head, spelled in SECTIONS.items() for name in spelled}
    known = {name: heads.get(name, "") for name in (*TEXTS, *heads) if by_plain.get(name, key) != key}
    whole = next((name for name in known if name in TEXTS), "")
    chosen = list(text_columns) or [by_plain[n] for n in ([whole] if whole else known)]
    if not text_columns and not whole and not {"FINDINGS", "IMPRESSION"} & set(known.values()):
        raise TableError(f"{where} has no column with report text. Name one (--text-columns). {has}")
    texts: dict[str, str] = {}
    for name in chosen:
        head = known.get(_plain(name), "")
        texts[name.replace("_", " ").upper() if not head or head in texts else head] = name
    return key, texts, [by_plain[name] for name in known if by_plain[name] not in chosen]


def _meta(rest: pd.DataFrame, counts: Counter[str]) -> pd.DataFrame:
    """The other columns under our names; dates as dates."""
    by_plain = {_plain(name): name for name in reversed(list(rest))}
    for ours, others in META.items():
        old = next((by_plain[name] for name in (_plain(ours), *others) if name in by_plain), ours)
        rest = rest.rename(columns={} if ours in rest else {old: ours})
    if "date" in rest:
        dates = as_dates(rest["date"])
        unread = dates.isna() & (rest["date"] != "")
        counts["{n} date{s} not YYYY-MM-DD or YYYYMMDD: left empty"] += int(unread.sum())
        rest = rest.assign(date=dates)
    return rest
