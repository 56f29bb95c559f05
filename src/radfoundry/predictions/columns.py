"""What the columns of a prediction table are called, by us and by others."""

from __future__ import annotations

import difflib
import re

import numpy as np
import pandas as pd

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


def covariates(table: pd.DataFrame) -> list[str]:
    """Columns that are neither identifiers, truth nor scores."""
    return [c for c in table.columns if c not in RESERVED and not c.startswith("score:")]


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
