"""The prediction table: one row a case x target x model x resample, from anybody's model.

Columns: case_id, patient_id, target, y_true, score (or score:<class>, one a class), optional decision
and threshold, model, split, repeat, fold, seed; any other column is a covariate for subgroups.
Familiar names (`label`, `prob`, `subject`, ...) are understood, and so is a wide table with a pair
`y_<finding>` and `p_<finding>` for each finding. What had to be assumed is said in
`table.attrs["notes"]`.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from radfoundry.errors import ReadError, TableError

FORMAT = 1

ALIASES: dict[str, tuple[str, ...]] = {
    "case_id": ("case", "image_id", "image_index", "study_id", "image", "filename", "file", "id"),
    "patient_id": ("patient", "patientid", "subject_id", "subject", "participant_id", "pid"),
    "target": ("finding", "task", "outcome_name"),
    "y_true": ("y", "label", "truth", "ground_truth", "gt", "true", "true_label", "outcome"),
    "score": ("prob", "probability", "p", "y_prob", "y_score", "y_proba", "proba", "p_pred", "pred",
              "prediction", "output", "logit"),
    "decision": ("y_pred", "predicted", "pred_label", "predicted_label", "pred", "prediction"),
    "model": ("algorithm", "reader_or_model"),
    "split": ("partition", "subset"),
}  # fmt: skip
RESAMPLE = ("split", "repeat", "fold", "seed")
RESERVED = (
    "case_id", "patient_id", "target", "y_true", "score", "decision", "threshold", "model", *RESAMPLE,
)  # fmt: skip


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read CSV, TSV or Parquet and validate it.

    Identifiers stay text, so that leading zeros survive. Raises ReadError when the file cannot be read,
    TableError (row and column named; the first data row is row 1) when the table is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise ReadError(f"no such file: {path}. Give a CSV, TSV or Parquet table of predictions")
    if path.stat().st_size == 0:
        raise TableError(f"{path}: the file is empty. It needs a header with y_true and score")
    try:
        table = _load(path)
    except (ValueError, OSError, pd.errors.ParserError) as cause:
        raise ReadError(f"{path} is not a readable CSV, TSV or Parquet table: {cause}") from cause
    try:
        return validate(table, model=path.stem)
    except TableError as fault:
        raise TableError(f"{path}: {fault}") from fault


def validate(table: pd.DataFrame, *, model: str = "model") -> pd.DataFrame:
    """A checked copy with every identifying column present; assumptions in `attrs["notes"]`.

    model: name given to the scores where the table has no `model` column. Raises TableError for: a
    missing column, text or NaN or infinity in a score, a text label of a binary target, a duplicated
    case x target x model x resample, and a patient in two splits.
    """
    if len(table) == 0:
        raise TableError("the table has no rows. Give at least one prediction")
    notes = list(table.attrs.get("notes", ()))
    table = _rename(table.reset_index(drop=True), notes)
    table = _melt(table, notes)
    _require(table)
    table = _fill(table, model, notes)
    _check_scores(table, notes)
    _check_decisions(table)
    table = _check_truth(table, notes)
    _check_unique(table)
    _check_splits(table, notes)
    table.attrs = {"notes": list(dict.fromkeys(notes))}
    return table.reset_index(drop=True)


def write_predictions(table: pd.DataFrame, path: str | Path) -> None:
    """Validate, then write Parquet or CSV by suffix, whole or not at all."""
    path = Path(path)
    checked = validate(table)
    checked.attrs = {"format": FORMAT}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.suffix in (".parquet", ".pq"):
            checked.to_parquet(part, index=False)
        elif path.suffix == ".csv":
            checked.to_csv(part, index=False)
        else:
            raise TableError(f"{path}: write predictions as .parquet or .csv")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def class_columns(table: pd.DataFrame) -> list[str]:
    """The `score:<class>` columns, in the order of the table."""
    return [c for c in table.columns if c.startswith("score:")]


def covariates(table: pd.DataFrame) -> list[str]:
    """Columns that are neither identifiers, truth nor scores."""
    return [c for c in table.columns if c not in RESERVED and not c.startswith("score:")]


def _load(path: Path) -> pd.DataFrame:
    if path.suffix in (".parquet", ".pq"):
        return pd.read_parquet(path)
    separator = "\t" if path.suffix in (".tsv", ".tab") else ","
    header = pd.read_csv(path, sep=separator, nrows=0, encoding="utf-8-sig").columns
    text = {*ALIASES["case_id"], *ALIASES["patient_id"], "case_id", "patient_id"}
    kinds = {name: str for name in header if _plain(name) in text}
    return pd.read_csv(path, sep=separator, dtype=kinds, encoding="utf-8-sig", low_memory=False)


def _plain(name: object) -> str:
    return re.sub(r"[\s\-]+", "_", str(name).strip()).lower()


def _rename(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Familiar names to ours; a canonical name that is present always wins."""
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise TableError(f"two columns are called {repeated[0]!r}. Rename or drop one")
    plain = {c: (str(c).strip() if str(c).startswith("score:") else _plain(c)) for c in table.columns}
    mapping = {c: p for c, p in plain.items() if p in RESERVED or p.startswith("score:")}
    taken = set(mapping.values()) | (
        {"score"} if any(p.startswith("score:") for p in plain.values()) else set()
    )
    for wanted, names in ALIASES.items():
        if wanted in taken:
            continue
        found = next((c for n in names for c, p in plain.items() if p == n and c not in mapping), None)
        if found is not None:
            mapping[found] = wanted
            notes.append(f"column {found!r} was read as {wanted}")
    return table.rename(columns=mapping).copy()


def _melt(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """A wide table with pairs y_<finding>, p_<finding> to one row a case and finding."""
    pairs = {}
    for column in table.columns:
        name = re.fullmatch(r"y[_:](.+)", str(column))
        if name and (score := next((s for s in _partners(name[1]) if s in table), None)):
            pairs[name[1]] = (column, score)
    if not pairs or "y_true" in table or "score" in table:
        return table
    carried = [c for c in table.columns if not re.match(r"(y|p|prob)[_:]", str(c))]
    notes.append(f"a wide table: {len(pairs)} pairs of y_<finding> and p_<finding>")
    if "case_id" not in table:
        table = table.assign(case_id=np.arange(1, len(table) + 1).astype(str))
        carried = ["case_id", *carried]
    parts = []
    for target, (y, p) in pairs.items():
        part = table[carried].assign(target=target)
        part["y_true"], part["score"] = table[y].to_numpy(), _numbers(table[p], str(p))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _partners(name: str) -> tuple[str, ...]:
    return f"p_{name}", f"p:{name}", f"prob_{name}", f"prob:{name}"


def _require(table: pd.DataFrame) -> None:
    for wanted in ("y_true", "score"):
        if wanted == "score" and class_columns(table):
            continue
        if wanted not in table:
            known = "" if wanted != "score" else ", or one column score:<class> a class"
            raise TableError(
                f"column {wanted!r} is missing.{_hint(wanted, table)} Needed: y_true and score{known}. "
                f"Columns found: {', '.join(map(str, table.columns))}"
            )
    for wanted in ("case_id", "patient_id"):
        if wanted not in table and (near := _hint(wanted, table)):
            raise TableError(f"column {wanted!r} is missing.{near} Rename it, or drop that column")


def _hint(wanted: str, table: pd.DataFrame) -> str:
    names = {_plain(c): str(c) for c in table.columns if c not in RESERVED}
    near = difflib.get_close_matches(wanted, list(names), n=1, cutoff=0.75)
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def _fill(table: pd.DataFrame, model: str, notes: list[str]) -> pd.DataFrame:
    if "case_id" not in table:
        table["case_id"] = np.arange(1, len(table) + 1)
        notes.append("no case_id: rows are numbered, and can not be paired with another table")
    if "patient_id" not in table:
        table["patient_id"] = table["case_id"]
        notes.append("no patient_id: every case counts as its own patient, so intervals may be too narrow")
    for column in ("case_id", "patient_id"):
        empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
        if empty.any():
            raise TableError(f"row {_row(empty)}, column {column!r}: empty. Every row needs one")
        table[column] = _text(table[column])
    for column, default in (("target", "y"), ("model", model)):
        if column not in table:
            table[column] = default
        elif table[column].isna().any():
            raise TableError(f"row {_row(table[column].isna())}, column {column!r}: empty. Name it")
        table[column] = table[column].astype(str)
    return table


def _text(column: pd.Series) -> pd.Series:
    """Identifiers as text; 12.0 (a whole number read beside an empty cell) becomes 12."""
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        column = column.astype("int64")
    return column.astype(str)


def _check_scores(table: pd.DataFrame, notes: list[str]) -> None:
    classes = class_columns(table)
    for column in (*(["score"] if "score" in table else []), *classes):
        table[column] = _numbers(table[column], column, allow_nan=bool(classes))
        infinite = np.isinf(table[column])
        if infinite.any():
            raise TableError(f"row {_row(infinite)}, column {column!r}: infinite. Give a finite score")
    if not classes:
        return
    wide, single = table[classes].notna(), table.get("score", pd.Series(np.nan, table.index)).notna()
    unscored = ~wide.any(axis=1) & ~single
    if unscored.any():
        raise TableError(
            f"row {_row(unscored)}: no score in any of {', '.join(classes)}. Score it or drop it"
        )
    for target, part in table.groupby("target", sort=False):
        used = [c for c in classes if part[c].notna().any()]
        for column in used:
            if part[column].isna().any():
                row = table.index.get_loc(part.index[int(np.argmax(part[column].isna()))]) + 1
                raise TableError(
                    f"row {row}, column {column!r}: NaN for target {target!r}. Score every class"
                )


def _numbers(column: pd.Series, name: str, *, allow_nan: bool = False) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    text = numbers.isna() & column.notna()
    if text.any():
        wrong = column.reset_index(drop=True)[_row(text) - 1]
        raise TableError(f"row {_row(text)}, column {name!r}: {wrong!r} is not a number. Give a score")
    if numbers.isna().any() and not allow_nan:
        raise TableError(
            f"row {_row(numbers.isna())}, column {name!r}: NaN. Score this case, or drop the row"
        )
    return numbers


def _check_truth(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    unknown = table["y_true"].isna()
    if unknown.all():
        raise TableError("column 'y_true' is empty in every row. Give the truth, 0 or 1")
    if unknown.any():
        notes.append(f"{int(unknown.sum())} rows without y_true were left out (first: row {_row(unknown)})")
    multi = is_multiclass(table)
    binary = ~multi & ~unknown
    numbers = pd.to_numeric(table["y_true"].where(binary), errors="coerce").astype(float)
    wrong = binary & ~numbers.isin((0, 1))
    if wrong.any():
        value = table["y_true"].iloc[_row(wrong) - 1]
        raise TableError(
            f"row {_row(wrong)}, column 'y_true': {_shown(value)} is neither 0 nor 1. Code positive "
            "as 1 and negative as 0; for several classes give one column score:<class> a class"
        )
    for target, part in table[multi & ~unknown].groupby("target", sort=False):
        classes = [c.removeprefix("score:") for c in class_columns(table) if part[c].notna().any()]
        strange = ~part["y_true"].map(class_name).isin(classes)
        if strange.any():
            label = part.index[int(np.argmax(strange))]
            raise TableError(
                f"row {table.index.get_loc(label) + 1}, column 'y_true': class "
                f"{class_name(part['y_true'][label])!r} of target {target!r} has no column score:<class>. "
                f"Classes scored: {', '.join(classes)}"
            )
    truth = table["y_true"].map(class_name) if multi.any() else numbers
    table = table.assign(y_true=truth)[~unknown]
    low_high = table.loc[~multi, "score"] if "score" in table else pd.Series(dtype=float)
    if ((low_high < 0) | (low_high > 1)).any():
        outside = (low_high < 0) | (low_high > 1)
        names = ", ".join(sorted(set(table.loc[outside[outside].index, "target"])))
        notes.append(
            f"scores outside 0 to 1 ({names}): no probabilities, so Brier and calibration are left out"
        )
    return table


def is_multiclass(table: pd.DataFrame) -> pd.Series:
    """Which rows are scored by class, (n,) bool."""
    classes = class_columns(table)
    return table[classes].notna().any(axis=1) if classes else pd.Series(False, table.index)


def class_name(value: object) -> str:
    """A class as text; whole numbers without decimals, so that 2.0 and "2" agree.

    >>> class_name(2.0), class_name("2"), class_name("oedema")
    ('2', '2', 'oedema')
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _check_decisions(table: pd.DataFrame) -> None:
    if "threshold" in table:
        table["threshold"] = _numbers(table["threshold"], "threshold", allow_nan=True)
    if "decision" not in table:
        return
    binary = ~is_multiclass(table)
    numbers = pd.to_numeric(table["decision"].where(binary), errors="coerce")
    wrong = binary & table["decision"].notna() & ~numbers.isin((0, 1))
    if wrong.any():
        value = table["decision"].iloc[_row(wrong) - 1]
        raise TableError(f"row {_row(wrong)}, column 'decision': {_shown(value)} is neither 0 nor 1")


def _check_unique(table: pd.DataFrame) -> None:
    key = ["case_id", "target", "model", *(c for c in ("split", "repeat", "seed") if c in table)]
    again = table.duplicated(key)
    if again.any():
        values = table[again].iloc[0]
        raise TableError(
            f"row {table.index[again][0] + 1}: a second score for the same {' x '.join(key)} "
            f"(target {values['target']!r}, model {values['model']!r}). Keep one row each, or number "
            "resamples in a column 'repeat'"
        )


def _check_splits(table: pd.DataFrame, notes: list[str]) -> None:
    within = ["model", "target", *(c for c in ("repeat", "seed") if c in table)]
    if "split" in table and table["split"].nunique() > 1:
        fold = [*within, *(["fold"] if "fold" in table else [])]
        first = table.groupby([*fold, "patient_id"], dropna=False)["split"].transform("first")
        moved = table["split"].notna() & (table["split"] != first)
        if moved.any():
            label = table.index[moved][0]
            raise TableError(
                f"row {label + 1}, column 'split': the patient of this row is in {first[label]!r} and in "
                f"{table['split'][label]!r}. Split by patient: one patient, one part"
            )
    elif "fold" in table and "split" not in table:
        folds = table.groupby([*within, "patient_id"], dropna=False)["fold"].transform("nunique")
        if (folds > 1).any():
            shared = table.loc[folds > 1, "patient_id"].nunique()
            notes.append(
                f"{shared} patients are in several folds of one repeat: if folds were "
                "trained on each other's images, these scores are optimistic"
            )


def _shown(value: object) -> str:
    """A value as the user wrote it: text in quotes, numbers plain."""
    return repr(value) if isinstance(value, str) else class_name(value)


def _row(mask: pd.Series | np.ndarray) -> int:
    """The first true row, counted from 1."""
    return int(np.argmax(np.asarray(mask, bool))) + 1
