"""The reader table: one row a read, arranged as modalities x readers x cases.

Columns: case_id, patient_id (default: the case), y_true (0 or 1), score (any rating scale) and/or decision
(0 or 1), reader, modality (such as unaided and aided); optional: order (position in the reader's list within
a session, from 1), session (reading period, from 1), seconds, ai_score, ai_decision, threshold; any other
column is carried along. Names of other programs are understood: treatment, truth, rating, case (OR-DBM MRMC,
MRMCaov) and readerID, caseID, modalityID, score with rows of truth (iMRMC, its text files too).
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from radfoundry.errors import ReadError, TableError
from radfoundry.predictions import files
from radfoundry.predictions.columns import ALIASES, ROW, familiar, hint, plain, row_of, shown
from radfoundry.predictions.shapes import WORDS

NAMES: dict[str, tuple[str, ...]] = {
    "case_id": ("caseid", *ALIASES["case_id"]),
    "patient_id": ALIASES["patient_id"],
    "y_true": ALIASES["y_true"],
    "score": ("rating", "confidence", *ALIASES["score"]),
    "decision": (),
    "reader": ("readerid", "reader_id", "rater", "observer", "radiologist"),
    "modality": ("treatment", "modalityid", "modality_id", "test", "mode", "condition", "arm", "model"),
    "order": ("reading_order", "position"),
    "session": ("period", "reading_session"),
    "seconds": ("time", "reading_time", "time_s", "duration"),
}
NUMBERS = ("score", "order", "session", "seconds", "ai_score", "threshold")
BEGIN = re.compile(r"^\s*BEGIN\s+DATA\s*:?", re.I)


@dataclass(frozen=True)
class Reads:
    """I modalities, J readers, n cases.

    y: (n,) 0 or 1. rating, decision: (I, J, n) float, NaN where there is no read. rows: the validated long
    table, in the order it was given, with the row of the file in a column of its own (`columns.ROW`, for
    messages: choose columns before printing or writing). notes: what was assumed.
    """

    modalities: tuple[str, ...]
    readers: tuple[str, ...]
    cases: tuple[str, ...]
    y: np.ndarray
    rating: np.ndarray
    decision: np.ndarray
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()

    @cached_property
    def patient(self) -> np.ndarray:
        """(n,) patient of each case."""
        owner = self.rows.drop_duplicates("case_id").set_index("case_id")["patient_id"]
        return owner.loc[list(self.cases)].to_numpy()

    def kept(self, cases: np.ndarray, note: str) -> Reads:
        """The same study with the cases of a mask (n,) alone, and a note that says so."""
        names = tuple(np.array(self.cases, object)[cases])
        rows = self.rows[self.rows["case_id"].isin(names)].reset_index(drop=True)
        return Reads(
            self.modalities, self.readers, names, self.y[cases], self.rating[..., cases],
            self.decision[..., cases], rows, (*self.notes, note),
        )  # fmt: skip


def read(
    path: str | Path, *, threshold: float | None = None, modalities: Sequence[str] = (),
    truth: str | None = None,
) -> Reads:  # fmt: skip
    """A reader table from CSV, TSV, Parquet or an iMRMC text file; options as in `arrange`.

    Raises ReadError when the file cannot be read, TableError (row and column named) when it is wrong.
    """
    path = Path(path)
    table = _imrmc(path)
    table = files.load(path) if table is None else table
    try:
        return arrange(table, threshold=threshold, modalities=modalities, truth=truth)
    except TableError as fault:
        raise TableError(f"{path}: {fault}") from fault


def _imrmc(path: Path) -> pd.DataFrame | None:
    """Rows after BEGIN DATA: of an iMRMC file (reader, case, modality, score); None for another file."""
    if not path.is_file() or path.suffix not in (".imrmc", ".csv", ".txt"):
        return None
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    begin = next((i for i, line in enumerate(lines) if BEGIN.match(line)), None)
    if begin is None:
        return None
    body = "\n".join(lines[begin + 1 :])
    names = ["reader", "case_id", "modality", "score"]
    try:
        table = pd.read_csv(io.StringIO(body), header=None, names=names, dtype=str, skip_blank_lines=False)
    except pd.errors.ParserError as cause:
        raise ReadError(
            f"{path}: rows after BEGIN DATA hold reader, case, modality, score: {cause}"
        ) from cause
    table[ROW] = np.arange(begin + 2, begin + 2 + len(table))
    table = table[table[names].notna().any(axis=1)]
    return table.apply(lambda column: column.str.strip() if column.name in names else column)


def arrange(
    table: pd.DataFrame, *, threshold: float | None = None, modalities: Sequence[str] = (),
    truth: str | None = None,
) -> Reads:  # fmt: skip
    """Check a reader table and arrange it by modality, reader and case.

    threshold: score at and above which a read counts as positive, where the table has no decision.
    modalities: those to keep, in this order (default: all, sorted). truth: the column that holds the truth,
    where it has no familiar name. Raises TableError, naming row and column, for a missing column, text in a
    score, a truth or decision that is neither 0 nor 1, two truths or two patients of one case, and a second
    read of one case by one reader in one modality.
    """
    if len(table) == 0:
        raise TableError("the table has no rows. Give one row a read")
    notes: list[str] = list(table.attrs.get("notes", ()))
    rows = table.reset_index(drop=True)
    if ROW not in rows:
        rows = rows.assign(**{ROW: np.arange(2, len(rows) + 2)})
    rows = _truth_rows(_rename(rows, notes, truth))
    _require(rows, notes)
    rows = _numbers(_identifiers(rows, notes), notes)
    rows = _decide(rows, threshold, notes)
    rows = _without_reads(rows, notes)
    rows = _modalities(rows, modalities, notes)
    _consistent(rows)
    return _as_arrays(rows.reset_index(drop=True), modalities, notes)


def _rename(rows: pd.DataFrame, notes: list[str], truth: str | None) -> pd.DataFrame:
    """Familiar names to ours; a canonical name that is present always wins."""
    repeated = rows.columns[rows.columns.duplicated()]
    if len(repeated):
        raise TableError(f"two columns are called {repeated[0]!r}. Rename or drop one")
    names = {c: plain(c) for c in rows.columns if c != ROW}
    if truth is not None:
        found = [c for c, p in names.items() if c == truth or p == plain(truth)]
        if not found:
            listed = ", ".join(map(str, names))
            raise TableError(f"no column {truth!r} for the truth.{hint(truth, rows)} Columns found: {listed}")
        rows = rows.drop(columns=[c for c, p in names.items() if p == "y_true" and c not in found])
        rows = rows.rename(columns={found[0]: "y_true"})
        names = {c: plain(c) for c in rows.columns if c != ROW}
    mapping = {c: p for c, p in names.items() if p in NAMES or p in NUMBERS or p == "ai_decision"}
    familiar(names, mapping, set(mapping.values()), NAMES, notes)
    return rows.rename(columns=mapping).copy()


def _truth_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """iMRMC keeps the truth in rows whose reader (and modality) is called truth; here it is a column."""
    named = [c for c in ("reader", "modality") if c in rows]
    if not named or "score" not in rows or "case_id" not in rows:
        return rows
    is_truth = np.logical_or.reduce([rows[c].astype(str).str.strip().str.lower() == "truth" for c in named])
    if not is_truth.any():
        return rows
    told = rows[is_truth]
    again = told.duplicated("case_id")
    if again.any():
        raise TableError(f"row {row_of(told, again)}: a second truth of one case. Keep one truth row a case")
    rows = rows[~is_truth].copy()
    if len(rows) == 0:
        raise TableError("the table holds truth and no reads")
    truth = told.set_index(told["case_id"].astype(str))["score"]
    rows["y_true"] = rows["case_id"].astype(str).map(truth)
    unknown = rows["y_true"].isna()
    if unknown.any():
        raise TableError(
            f"row {row_of(rows, unknown)}, column 'case_id': no row of truth for this case. Add one whose "
            "reader and modality are 'truth'"
        )
    return rows


def _require(rows: pd.DataFrame, notes: list[str]) -> None:
    listed = ", ".join(str(c) for c in rows.columns if c != ROW)
    for wanted in ("case_id", "y_true", "reader"):
        if wanted not in rows:
            raise TableError(f"column {wanted!r} is missing.{hint(wanted, rows)} Columns found: {listed}")
    if "score" not in rows and "decision" not in rows:
        raise TableError(f"neither 'score' nor 'decision' is a column. Columns found: {listed}")
    if "target" in rows and rows["target"].nunique() > 1:
        raise TableError("column 'target': several targets. Analyse one at a time")
    if "modality" not in rows:
        notes.append("no modality: all reads are of one")
        rows["modality"] = "all"
    if "patient_id" not in rows:
        notes.append("no patient_id: every case counts as its own patient")
        rows["patient_id"] = rows["case_id"]


def _identifiers(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    for column in ("case_id", "patient_id", "reader", "modality"):
        empty = rows[column].isna() | (rows[column].astype(str).str.strip() == "")
        if empty.any():
            raise TableError(
                f"row {row_of(rows, empty)}, column {column!r}: empty. Every read needs one, and names "
                "such as NA or None are read as empty: use others"
            )
        values = rows[column]
        if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all():
            values = values.astype("int64")
        rows[column] = values.astype(str).str.strip()
    rows["y_true"] = _binary(rows, "y_true")
    unknown = rows["y_true"].isna()
    if unknown.all():
        raise TableError("column 'y_true' is empty in every row. Give the truth, 0 or 1")
    if unknown.any():
        first = row_of(rows, unknown)
        notes.append(f"{int(unknown.sum())} rows without y_true were left out (first: row {first})")
    return rows[~unknown].copy()


def _binary(rows: pd.DataFrame, column: str) -> pd.Series:
    """0 and 1 as floats, from numbers or from words for yes and no; TableError for anything else."""
    values = rows[column]
    text = values.map(lambda v: str(v).strip().casefold() if pd.notna(v) else v)
    found = pd.to_numeric(text.map(lambda v: WORDS.get(v, v)), errors="coerce").astype(float)
    wrong = values.notna() & (text != "") & ~found.isin((0, 1))
    if wrong.any():
        value = values.iloc[int(np.argmax(wrong))]
        raise TableError(
            f"row {row_of(rows, wrong)}, column {column!r}: {shown(value)} is neither 0 nor 1. Code it so"
        )
    return found


def _numbers(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    for column in (c for c in NUMBERS if c in rows):
        values = rows[column]
        found = pd.to_numeric(values, errors="coerce").astype(float)
        text = found.isna() & values.notna() & (values.astype(str).str.strip() != "")
        if text.any() and column == "session":  # accuracy and decisions need no session
            notes.append("column 'session' holds text: it was kept, but reading times need numbers there")
            continue
        if text.any():
            wrong = values.iloc[int(np.argmax(text))]
            raise TableError(f"row {row_of(rows, text)}, column {column!r}: {wrong!r} is not a number")
        if np.isinf(found).any():
            raise TableError(f"row {row_of(rows, np.isinf(found))}, column {column!r}: infinite")
        rows[column] = found
    for column in (c for c in ("decision", "ai_decision") if c in rows):
        rows[column] = _binary(rows, column)
    return rows


def _decide(rows: pd.DataFrame, threshold: float | None, notes: list[str]) -> pd.DataFrame:
    """Decisions as given, or by a threshold on the score."""
    for column in ("score", "decision"):
        if column not in rows:
            rows[column] = np.nan
    if threshold is None and rows["decision"].isna().all() and "threshold" in rows:
        decided = (rows["score"] >= rows["threshold"]).astype(float)
        rows["decision"] = decided.where(rows["score"].notna() & rows["threshold"].notna())
    elif threshold is not None:
        if rows["score"].isna().all():
            raise TableError("column 'score': empty, so no threshold can be applied. Leave the threshold out")
        if rows["decision"].notna().any():
            notes.append(f"decisions of the table were replaced by score >= {threshold:g}")
        rows["decision"] = (rows["score"] >= threshold).astype(float).where(rows["score"].notna())
    return rows


def _without_reads(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    absent = rows["score"].isna() & rows["decision"].isna()
    if absent.all():
        raise TableError("no row has a score or a decision")
    if absent.any():
        first = row_of(rows, absent)
        notes.append(f"{int(absent.sum())} rows without score and decision are no reads (first: row {first})")
    return rows[~absent].copy()


def _modalities(rows: pd.DataFrame, wanted: Sequence[str], notes: list[str]) -> pd.DataFrame:
    there = sorted(rows["modality"].unique(), key=natural)
    absent = [m for m in wanted if m not in there]
    if absent:
        raise TableError(f"no modality {absent[0]!r}. Modalities: {', '.join(there)}")
    if len(set(wanted)) != len(wanted):
        raise TableError("a modality is named twice. Name each once")
    left = [m for m in there if m not in wanted]
    if wanted and left:
        notes.append(f"modalities left out: {', '.join(left)}")
    return rows[rows["modality"].isin(wanted)].copy() if wanted else rows


def _consistent(rows: pd.DataFrame) -> None:
    for column, what in (("y_true", "truth"), ("patient_id", "patient")):
        first = rows.groupby("case_id", sort=False)[column].transform("first")
        other = rows[column] != first
        if other.any():
            case = rows["case_id"].iloc[int(np.argmax(other))]
            there = int(rows.loc[rows["case_id"] == case, ROW].iloc[0])
            raise TableError(
                f"row {row_of(rows, other)}, column {column!r}: another {what} than row {there} gives the "
                "same case. One case, one " + what
            )
    key = ["case_id", "reader", "modality"]
    again = rows.duplicated(key)
    if again.any():
        twin = rows[(rows[key] == rows.loc[again, key].iloc[0]).all(axis=1)]
        raise TableError(
            f"row {row_of(rows, again)}: a second read of the case of row {int(twin[ROW].iloc[0])} by the "
            "same reader in the same modality. Keep one, or call the second another modality"
        )


def natural(name: str) -> tuple[tuple[int, float, str], ...]:
    """Key that sorts reader2 before reader10.

    >>> sorted(["reader10", "reader2"], key=natural)
    ['reader2', 'reader10']
    """
    pieces = [p for p in re.split(r"(\d+)", name) if p]
    return tuple((0, float(p), "") if p.isdecimal() else (1, 0.0, p) for p in pieces)


UNAIDED = ("unaided", "without ai", "no ai")


def default_reference(modalities: Sequence[str]) -> str:
    """The modality without the AI, by its name in `UNAIDED`; without such a name the first.

    >>> default_reference(["aided", "Without_AI"]), default_reference(["CT", "MR"])
    ('Without_AI', 'CT')
    """
    found = {_spaced(m): m for m in reversed(modalities)}
    return next((found[name] for name in UNAIDED if name in found), modalities[0])


def is_unaided(modality: str) -> bool:
    """Whether the name is one of `UNAIDED`, whatever its case and the signs between words."""
    return _spaced(modality) in UNAIDED


def _spaced(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _as_arrays(rows: pd.DataFrame, modalities: Sequence[str], notes: list[str]) -> Reads:
    names = {c: sorted(rows[c].unique(), key=natural) for c in ("modality", "reader", "case_id")}
    names["modality"] = list(modalities) or names["modality"]
    at = tuple(pd.Categorical(rows[c], categories=v).codes for c, v in names.items())
    shape = tuple(len(v) for v in names.values())
    arrays = []
    for column in ("score", "decision"):
        array = np.full(shape, np.nan)
        array[at] = rows[column].to_numpy(float)
        arrays.append(array)
    y = np.zeros(shape[2], int)
    y[at[2]] = rows["y_true"].to_numpy(int)
    rows = rows.assign(y_true=rows["y_true"].astype(int))
    rows.attrs = {}
    return Reads(
        tuple(names["modality"]), tuple(names["reader"]), tuple(names["case_id"]), y, arrays[0], arrays[1],
        rows, tuple(dict.fromkeys(notes)),
    )  # fmt: skip
