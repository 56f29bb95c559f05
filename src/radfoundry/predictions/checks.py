"""What a prediction table must keep to; every refusal names the row and the column."""

from __future__ import annotations

import numpy as np
import pandas as pd

from radfoundry.errors import TableError
from radfoundry.predictions.columns import (
    ROW,
    class_columns,
    class_name,
    hint,
    horizon_columns,
    is_multiclass,
    is_survival,
    row_of,
    survival_targets,
)
from radfoundry.predictions.shapes import SCORED, not_binary, numbers


def require(table: pd.DataFrame) -> None:
    """y_true (or time: and event: of the target) and a score must be there; a near name is suggested."""
    shown = ", ".join(str(c) for c in table.columns if c != ROW)
    for wanted in ("y_true", "score"):
        if wanted in table or (wanted == "score" and class_columns(table)):
            continue
        if wanted == "y_true" and _timed(table):
            continue
        remedy = "name it: --truth COLUMN" if wanted == "y_true" else _score_remedy(table)
        raise TableError(
            f"column {wanted!r} is missing.{hint(wanted, table)} Columns found: {shown}. If one of them is "
            f"meant, {remedy}"
        )
    for wanted in ("case_id", "patient_id"):
        if wanted not in table and (near := hint(wanted, table)):
            raise TableError(f"column {wanted!r} is missing.{near} Rename it, or drop that column")


def _timed(table: pd.DataFrame) -> bool:
    """Whether time and event stand in for the truth; TableError where it is unclear which of several."""
    names = survival_targets(table)
    halves = [c for c in map(str, table.columns) if c.startswith(("time:", "event:"))]
    alone = [c for c in halves if c.partition(":")[2] not in names]
    if alone:
        other = "event" if alone[0].startswith("time:") else "time"
        raise TableError(f"column {alone[0]!r} has no partner. Add {other}:{alone[0].partition(':')[2]}")
    if not names:
        return False
    if "target" not in table and len(names) > 1:
        raise TableError(
            f"times of several outcomes ({', '.join(names)}), and no column 'target' says which one a row "
            "predicts. Add it"
        )
    return "target" not in table or bool(table["target"].astype(str).isin(names).all())


def _score_remedy(table: pd.DataFrame) -> str:
    likely = [str(c) for c in table.columns if SCORED.fullmatch(str(c))]
    name = likely[0] if likely else "COLUMN"
    return (
        f"name it: --model {name} (repeat it for several models). Scores of several classes are called "
        "score:<class>, after the labels in y_true"
    )


def fill(table: pd.DataFrame, model: str, notes: list[str]) -> pd.DataFrame:
    """Identifiers as text, and defaults where a column is absent."""
    if "case_id" not in table:
        table["case_id"] = table[ROW] - 1
        notes.append("no case_id: rows are numbered, and can not be paired with another table")
    if "patient_id" not in table:
        table["patient_id"] = table["case_id"]
        notes.append("no patient_id: every case counts as its own patient, so intervals may be too narrow")
    for column in ("case_id", "patient_id"):
        empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
        if empty.any():
            raise TableError(f"row {row_of(table, empty)}, column {column!r}: empty. Every row needs one")
        table[column] = _text(table[column])
    timed = survival_targets(table) if "y_true" not in table else []
    for column, default in (("target", timed[0] if timed else "y"), ("model", model)):
        if column not in table:
            table[column] = default
        elif (empty := table[column].isna()).any():
            raise TableError(f"row {row_of(table, empty)}, column {column!r}: empty. Name it")
        table[column] = table[column].astype(str)
    return table


def _text(column: pd.Series) -> pd.Series:
    """Identifiers as text; 12.0 (a whole number read beside an empty cell) becomes 12."""
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        column = column.astype("int64")
    return column.astype(str)


def scores(table: pd.DataFrame) -> None:
    """Finite numbers, one a case, or one a class and case."""
    classes = class_columns(table)
    for column in (*(["score"] if "score" in table else []), *classes):
        table[column] = numbers(table, column, allow_nan=bool(classes))
        infinite = np.isinf(table[column])
        if infinite.any():
            raise TableError(
                f"row {row_of(table, infinite)}, column {column!r}: infinite. Give a finite score"
            )
    if not classes:
        return
    wide, single = table[classes].notna(), table.get("score", pd.Series(np.nan, table.index)).notna()
    unscored = ~wide.any(axis=1) & ~single
    if unscored.any():
        raise TableError(
            f"row {row_of(table, unscored)}: no score in any of {', '.join(classes)}. Score it or drop it"
        )
    for target, part in table.groupby("target", sort=False):
        for column in (c for c in classes if part[c].notna().any()):
            if part[column].isna().any():
                raise TableError(
                    f"row {row_of(part, part[column].isna())}, column {column!r}: NaN for target "
                    f"{target!r}. Score every class"
                )


def decisions(table: pd.DataFrame) -> None:
    """Decisions are 0 or 1; within a model, target and split every case has one (or a threshold), or none."""
    if "threshold" in table:
        table["threshold"] = numbers(table, "threshold", allow_nan=True)
    if "decision" in table:
        binary = ~is_multiclass(table)
        found = pd.to_numeric(table["decision"].where(binary), errors="coerce")
        wrong = binary & table["decision"].notna() & ~found.isin((0, 1))
        if wrong.any():
            raise TableError(not_binary(table, wrong, "decision"))
    for column in ("decision", "threshold"):
        if column not in table:
            continue
        part = ["model", "target", *(c for c in ("split",) if c in table)]
        some = table.groupby(part, dropna=False)[column].transform("count") > 0
        gap = some & table[column].isna()
        if gap.any():
            raise TableError(
                f"row {row_of(table, gap)}, column {column!r}: empty, though other cases of this model "
                "have one. Fill it in, or drop the rows"
            )


def truth(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The table with y_true as 0 and 1, or as class names; rows of unknown truth are left out aloud.

    Rows of a time to an event have no y_true: it is NaN there.
    """
    timed = is_survival(table)
    if timed.any():
        table = table.assign(y_true=table["y_true"].where(~timed) if "y_true" in table else np.nan)
        if timed.all():
            return table
    unknown = table["y_true"].isna() & ~timed
    if (unknown | timed).all():
        raise TableError("column 'y_true' is empty in every row. Give the truth, 0 or 1")
    if unknown.any():
        first = row_of(table, unknown)
        notes.append(f"{int(unknown.sum())} rows without y_true were left out (first: row {first})")
    multi = is_multiclass(table) & ~timed
    binary = ~multi & ~unknown & ~timed
    found = pd.to_numeric(table["y_true"].where(binary), errors="coerce").astype(float)
    wrong = binary & ~found.isin((0, 1))
    if wrong.any():
        raise TableError(not_binary(table, wrong, "y_true"))
    for target, part in table[multi & ~unknown].groupby("target", sort=False):
        classes = [c.removeprefix("score:") for c in class_columns(table) if part[c].notna().any()]
        strange = ~part["y_true"].map(class_name).isin(classes)
        if strange.any():
            raise TableError(
                f"row {row_of(part, strange)}, column 'y_true': class "
                f"{class_name(part['y_true'].iloc[int(np.argmax(strange))])!r} of target {target!r} has no "
                f"column score:<class>. Classes scored: {', '.join(classes)}"
            )
    coded = table["y_true"].map(class_name) if multi.any() else found
    return table.assign(y_true=coded)[~unknown]


def survival(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Times above zero, events 0 or 1 (2 and more for competing ones) and falling survival probabilities.

    Cases without a time or an event are left out aloud.
    """
    timed = is_survival(table)
    if not timed.any():
        return table
    table = table.copy()
    unknown = pd.Series(False, table.index)
    for name in survival_targets(table):
        rows = timed & (table["target"] == name)
        for column in (f"time:{name}", f"event:{name}"):
            table[column] = numbers(table, column, allow_nan=True, what="a number")
            unknown |= rows & table[column].isna()
        _times(table, f"time:{name}", rows & ~unknown)
        _events(table, f"event:{name}", rows & ~unknown, notes)
    if unknown.any():
        many, first = int(unknown.sum()), row_of(table, unknown)
        notes.append(f"{many} rows without a time or an event were left out (first: row {first})")
    table = table[~unknown].copy()
    if not len(table):
        raise TableError("no row has both a time and an event. Give the follow-up of at least one case")
    _falling(table, is_survival(table))
    return table


def _times(table: pd.DataFrame, column: str, rows: pd.Series) -> None:
    wrong = rows & ~(table[column].gt(0) & np.isfinite(table[column]))
    if wrong.any():
        value = table.loc[wrong, column].iloc[0]
        raise TableError(
            f"row {row_of(table, wrong)}, column {column!r}: {value:g} is not above zero. Time runs from the "
            "start of follow-up: correct the dates; who had the event on the first day gets half a day"
        )


def _events(table: pd.DataFrame, column: str, rows: pd.Series, notes: list[str]) -> None:
    codes = set(table.loc[rows, column])
    if 2 in codes and codes <= {1, 2}:
        notes.append(
            f"column {column!r}: nobody is censored (0), and some are coded 2. If 2 means the event and 1 "
            "censored, as in the lung data of R, subtract 1"
        )
    wrong = rows & ~(table[column].ge(0) & (table[column] % 1 == 0))
    if wrong.any():
        value = class_name(table.loc[wrong, column].iloc[0])
        raise TableError(
            f"row {row_of(table, wrong)}, column {column!r}: {value} is no event."
            " Code 0 for censored, 1 for the event, 2 and more for competing events"
        )


def _falling(table: pd.DataFrame, timed: pd.Series) -> None:
    """Probabilities of survival lie in 0 to 1 and do not rise with the horizon; all have them or none."""
    horizons = list(horizon_columns(table).values())
    for i, column in enumerate(horizons):
        table[column] = numbers(table, column, allow_nan=True, what="a probability")
        given = table.groupby(["model", "target"], dropna=False)[column].transform("count") > 0
        wrong, why = timed & given & table[column].isna(), "empty, though other cases of this model have one"
        if not wrong.any():
            wrong, why = timed & (table[column].lt(0) | table[column].gt(1)), "no probability from 0 to 1"
        if not wrong.any() and i:
            before = horizons[i - 1]
            wrong = timed & (table[column] > table[before] + 1e-9)
            why = f"above {before}: survival cannot rise"
        if wrong.any():
            raise TableError(f"row {row_of(table, wrong)}, column {column!r}: {why}. Correct it")


def scale(table: pd.DataFrame, notes: list[str]) -> None:
    """Say aloud where scores are no probabilities."""
    if "score" not in table:
        return
    limits = table[~is_multiclass(table) & ~is_survival(table)].groupby("target", sort=False)["score"]
    outside = [t for t, s in limits if s.min() < 0 or s.max() > 1]
    calls = [t for t, s in limits if s.isin((0, 1)).all() and s.nunique() > 1]
    if outside:
        given = table.loc[table["target"].isin(outside), "score"]
        percent = " If they are percentages, divide them by 100." if given.between(0, 100).all() else ""
        notes.append(
            f"scores outside 0 to 1 ({', '.join(sorted(outside))}): no probabilities, so Brier and "
            f"calibration are left out, and decisions too unless you give a threshold.{percent}"
        )
    if calls:
        notes.append(
            f"scores of 0 and 1 alone ({', '.join(sorted(calls))}): calls, not probabilities, so calibration "
            "is left out and the AUC is the mean of sensitivity and specificity"
        )


def unique(table: pd.DataFrame) -> None:
    """One row a case, target, model and resample."""
    key = ["case_id", "target", "model", *(c for c in ("split", "repeat", "seed") if c in table)]
    again = table.duplicated(key)
    if again.any():
        values = table[again].iloc[0]
        raise TableError(
            f"row {row_of(table, again)}: a second score for the same {' x '.join(key)} "
            f"(target {values['target']!r}, model {values['model']!r}). Keep one row each, or number "
            "resamples in a column 'repeat'"
        )


def splits(table: pd.DataFrame, notes: list[str]) -> None:
    """No patient in two parts; a patient in several folds is said aloud."""
    within = ["model", "target", *(c for c in ("repeat", "seed") if c in table)]
    if "split" in table and table["split"].nunique() > 1:
        fold = [*within, *(["fold"] if "fold" in table else [])]
        first = table.groupby([*fold, "patient_id"], dropna=False)["split"].transform("first")
        moved = (table["split"].notna() & (table["split"] != first)).to_numpy()
        if moved.any():
            at = int(np.argmax(moved))
            raise TableError(
                f"row {row_of(table, moved)}, column 'split': the patient of this row is in "
                f"{first.iloc[at]!r} and in {table['split'].iloc[at]!r}. Split by patient: one patient, one "
                "part"
            )
    elif "fold" in table and "split" not in table:
        folds = table.groupby([*within, "patient_id"], dropna=False)["fold"].transform("nunique")
        if (folds > 1).any():
            shared = table.loc[folds > 1, "patient_id"].nunique()
            notes.append(
                f"{shared} patients are in several folds of one repeat: if folds were "
                "trained on each other's images, these scores are optimistic"
            )
