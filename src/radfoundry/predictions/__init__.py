"""The prediction table: one row a case x target x model x resample, from anybody's model.

Columns: case_id, patient_id, target, y_true, score (or score:<class>, one a class), optional decision
and threshold, model, split, repeat, fold, seed; any other column is a covariate for subgroups.
Familiar names (`label`, `prob`, `subject`, ...) are understood, and so are wide tables: a pair
`y_<finding>` and `p_<finding>` for each finding, or `prob_<class>` for each class. What had to be assumed
is said in `table.attrs["notes"]`.

A time to an event: columns `time:<name>` and `event:<name>` (0 censored, 1 the event, 2 and more competing
events), target equal to that name, score the risk (higher is worse), and optional `surv:<horizon>`
probabilities to be free of the event beyond that time. y_true is not needed there.

`files` reads the file, `shapes` turns its columns into ours, `checks` refuses what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from radfoundry.errors import TableError
from radfoundry.predictions import checks, files, shapes
from radfoundry.predictions.columns import (
    ROW,
    class_columns,
    class_name,
    covariates,
    horizon_columns,
    is_multiclass,
    is_survival,
    survival_targets,
)

__all__ = [
    "class_columns", "class_name", "covariates", "horizon_columns", "is_multiclass", "is_survival",
    "read_predictions", "survival_targets", "validate", "write_predictions",
]  # fmt: skip

FORMAT = 1


def read_predictions(
    path: str | Path,
    *,
    truth: str | None = None,
    models: Sequence[str] = (),
    positive: str | None = None,
) -> pd.DataFrame:
    """Read CSV, TSV or Parquet and validate it.

    truth, models, positive: as in `validate`. Identifiers stay text, so that leading zeros survive. Raises
    ReadError when the file cannot be read, TableError (row and column named; the header is row 1, as in a
    spreadsheet) when the table is wrong.
    """
    path = Path(path)
    table = files.load(path)
    try:
        return validate(table, model=path.stem, truth=truth, models=models, positive=positive)
    except TableError as fault:
        raise TableError(f"{path}: {fault}") from fault


def validate(
    table: pd.DataFrame,
    *,
    model: str = "model",
    truth: str | None = None,
    models: Sequence[str] = (),
    positive: str | None = None,
) -> pd.DataFrame:
    """A checked copy with every identifying column present; assumptions in `attrs["notes"]`.

    model: name given to the scores where the table has no `model` column. truth: the column that holds the
    truth, where it has no familiar name. models: those to keep, by their name in the column `model`, or by
    the column that holds their scores (several such columns become several models). positive: the label
    that counts as 1. Raises TableError for: a missing column, text or NaN or infinity in a score, labels of
    a binary target that are neither 0 nor 1 nor words for it, a duplicated case x target x model x
    resample, a decision or threshold for some cases only, and a patient in two splits.
    """
    if len(table) == 0:
        raise TableError("the table has no rows. Give at least one prediction")
    notes = list(table.attrs.get("notes", ()))
    table = table.reset_index(drop=True)
    if ROW not in table:
        table = table.assign(**{ROW: np.arange(2, len(table) + 2)})
    table = shapes.arrange(table, notes, truth=truth, models=models, positive=positive)
    table = table.reset_index(drop=True)
    checks.require(table)
    table = checks.fill(table, model, notes)
    checks.scores(table)
    checks.decisions(table)
    table = checks.truth(table, notes)
    table = checks.survival(table, notes)
    checks.scale(table, notes)
    checks.unique(table)
    checks.splits(table, notes)
    table = table.drop(columns=ROW).reset_index(drop=True)
    table.attrs = {"notes": list(dict.fromkeys(notes))}
    return table


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
