"""What the columns of a prediction table are called, by us and by others."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.errors import TableError

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
ROW = "__row__"  # while a table is read: the row of the spreadsheet (the header is row 1), for messages


def class_columns(table: pd.DataFrame) -> list[str]:
    """The `score:<class>` columns, in the order of the table."""
    return [c for c in table.columns if str(c).startswith("score:")]


def survival_targets(table: pd.DataFrame) -> list[str]:
    """The outcomes with a column `time:<name>` and a column `event:<name>`, in the order of the table."""
    columns = [str(c) for c in table.columns]
    names = [c.removeprefix("time:") for c in columns if c.startswith("time:")]
    return [n for n in names if n and f"event:{n}" in columns]


def is_survival(table: pd.DataFrame) -> pd.Series:
    """Which rows predict a time to an event, (n,) bool: those whose target has a time and an event column."""
    names = survival_targets(table)
    return table["target"].isin(names) if names and "target" in table else pd.Series(False, table.index)


def horizon_columns(table: pd.DataFrame) -> dict[float, str]:
    """Horizon to its column `surv:<horizon>`, ascending; TableError where one is no time above zero."""
    found = {}
    for column in (str(c) for c in table.columns if str(c).startswith("surv:")):
        try:
            horizon = float(column.removeprefix("surv:"))
        except ValueError:
            horizon = math.nan
        if not 0 < horizon < math.inf:
            raise TableError(f"column {column!r}: write the horizon as a number above zero, as in surv:365")
        found[horizon] = column
    return dict(sorted(found.items()))


def covariates(table: pd.DataFrame) -> list[str]:
    """Columns that are neither identifiers, truth nor scores."""
    apart = ("score:", "time:", "event:", "surv:") if survival_targets(table) else ("score:",)
    return [c for c in table.columns if c not in RESERVED and not str(c).startswith(apart)]


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


def plain(name: object) -> str:
    """A column name without case, blanks and hyphens.

    >>> plain(" Image Index")
    'image_index'
    """
    return re.sub(r"[\s\-]+", "_", str(name).strip()).lower()


def familiar(
    names: Mapping[Any, str], mapping: dict[Any, str], taken: Collection[str],
    aliases: Mapping[str, tuple[str, ...]], notes: list[str],
) -> None:  # fmt: skip
    """Add to `mapping` the columns that other software calls by one of `aliases`, and a note for each.

    names: column to its plain name. taken: our names that are there already, or are not to be guessed.
    """
    for wanted, others in aliases.items():
        if wanted in taken:
            continue
        found = next((c for n in others for c, p in names.items() if p == n and c not in mapping), None)
        if found is not None:
            mapping[found] = wanted
            notes.append(f"column {found!r} was read as {wanted}")


def hint(wanted: str, table: pd.DataFrame) -> str:
    """ " Did you mean ...?" where a column is nearly called `wanted`, else nothing."""
    names = {plain(c): str(c) for c in table.columns if c not in (*RESERVED, ROW)}
    near = difflib.get_close_matches(plain(wanted), list(names), n=1, cutoff=0.75)
    return f" Did you mean {names[near[0]]!r}?" if near else ""


def row_of(table: pd.DataFrame, mask: pd.Series | np.ndarray) -> int:
    """The first row where `mask` (n,) holds, as the spreadsheet counts it."""
    return int(table[ROW].iloc[int(np.argmax(np.asarray(mask, bool)))])


def shown(value: object) -> str:
    """A value as the user wrote it: text in quotes, numbers plain."""
    return repr(value) if isinstance(value, str) else class_name(value)
