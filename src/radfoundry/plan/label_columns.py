"""Labels that stand among the features: whoever learns from them reads the answer off."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from radfoundry.audit.baselines import column_aurocs
from radfoundry.cohort import Cohort
from radfoundry.errors import TableError

LABELS = ("y:", "time:", "event:", "truth:")
"""What a column begins with that holds a label, and so is no feature."""

MOST_CLASSES = 20
"""A column with more values than that is no category."""

TELLING = 0.999
"""A column whose AUC, one way or the other, reaches that tells the label alone, and the page says so."""

BY_LUCK = 1e-3
"""Probability of one such column among all by luck, above which no column is said to hold the label."""

AT_ONCE = 256  # columns that are ranked together, for speed without much memory


def refuse_labels(columns: Sequence[str], matrix: np.ndarray, cohort: Cohort, where: str) -> None:
    """TableError where a column of a feature table is a label of the cohort, by name or by values.

    matrix: (n, p) in the order of the cohort's cases, NaN where a value is missing. where: what the message
    begins with. Names are compared without what begins a label, and whether in capitals or not; values as in
    `holding`.
    """
    labels = {str(c): bare(str(c)) for c in cohort.table.columns if str(c).startswith(LABELS)}
    for column in columns:
        label = next((c for c, name in labels.items() if name == bare(column)), None)
        if label or column.startswith(LABELS):
            raise TableError(_named(where, column, label or column))
    for label in labels:
        found = holding(matrix, cohort.table[label])
        if len(found):
            raise TableError(_held(where, columns[found[0]], label))


def refuse_covariate(column: str, cohort: Cohort, target: str, where: str) -> None:
    """TableError where a covariate of the cohort is the label that is asked for, by name or by values."""
    values = cohort.table[column]
    number = values.astype(float) if pd.api.types.is_numeric_dtype(values) else _codes(values).astype(float)
    number = np.where(values.isna(), np.nan, number)
    label = f"y:{target}"
    if bare(column) == bare(target):
        raise TableError(_named(where, column, label))
    if label in cohort.table and len(holding(number[:, None], cohort.table[label])):
        raise TableError(_held(where, column, label))


def bare(column: str) -> str:
    """A column's name without what begins a label, in small letters.

    >>> bare("y:MGMT"), bare("mgmt")
    ('mgmt', 'mgmt')
    """
    start = next((s for s in LABELS if column.startswith(s)), "")
    return column.removeprefix(start).strip().casefold()


def holding(matrix: np.ndarray, label: pd.Series) -> np.ndarray:
    """Numbers of the columns that hold a label: a value for each class, however the classes are coded.

    A label with more than `MOST_CLASSES` values (a time) must be there as it is. A column must be known in
    half of the cases that have the label. Where so few cases have it that one of these columns would hold it
    by luck with a probability above `BY_LUCK`, nothing can be said.
    """
    codes = _codes(label)
    classes, there = int(codes.max(initial=-1)) + 1, codes >= 0
    known = np.isfinite(matrix[there])
    often = 2 * known.sum(axis=0) >= max(int(there.sum()), 1)
    if classes > MOST_CLASSES:
        number = pd.to_numeric(label, errors="coerce").to_numpy(np.float32)[there, None]
        return np.flatnonzero(((matrix[there] == number) | ~known).all(axis=0) & often)
    if classes < 2 or _by_luck(np.bincount(codes[there])) * matrix.shape[1] > BY_LUCK:
        return np.empty(0, int)
    own = [matrix[codes == c] for c in range(classes)]
    low, high = (np.stack([best.reduce(part, axis=0) for part in own]) for best in (np.fmin, np.fmax))
    apart = (np.diff(np.sort(low, axis=0), axis=0) > 0).all(axis=0)
    return np.flatnonzero((low == high).all(axis=0) & apart & often)


def telling(name: str, matrix: np.ndarray, y: np.ndarray, columns: Sequence[str] | None = None) -> list[str]:
    """A note on the columns of a feature set that tell the label alone; none where there are none.

    matrix: (n, p), NaN where a value is missing. y: (n,) 0/1.
    """
    area = _areas(matrix, y)
    found = np.flatnonzero(np.fmax(area, 1 - area) >= TELLING)
    if not len(found):
        return []
    first = int(found[0])
    word = f"column {columns[first]!r}" if columns is not None else f"column {first + 1} of {len(area)}"
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    by_luck = 2 * matrix.shape[1] / math.comb(len(y), int(y.sum()))
    few = f"; with so few cases luck gives {by_luck:.2g} such columns" if by_luck > 0.05 else ""
    reached = max(area[first], 1 - area[first])
    return [
        f"{name}: {word}{more} alone tells the label (AUC {reached:.3f}){few}. Make sure that it is known "
        "before the label is"
    ]


def _areas(matrix: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(p,) area under the ROC curve of each column over the cases that have it; NaN with one class."""
    found = np.full(matrix.shape[1], np.nan)
    known = np.isfinite(matrix)
    whole = np.flatnonzero(known.all(axis=0))
    for start in range(0, len(whole), AT_ONCE):
        part = whole[start : start + AT_ONCE]
        found[part] = _area(matrix[:, part], y)
    for column in np.flatnonzero(~known.all(axis=0) & known.any(axis=0)):
        rows = known[:, column]
        found[column] = _area(matrix[rows, column][:, None], y[rows])[0]
    return found


def _area(matrix: np.ndarray, y: np.ndarray) -> np.ndarray:
    return column_aurocs(np.broadcast_to(y[:, None], matrix.shape), matrix)


def _by_luck(counts: np.ndarray) -> float:
    """Chance that a column with as many values, as often each, holds the classes of these counts by luck."""
    ways = math.lgamma(counts.sum() + 1) - sum(math.lgamma(count + 1) for count in counts)
    return math.exp(math.lgamma(len(counts) + 1) - ways)


def _codes(values: pd.Series) -> np.ndarray:
    """(n,) the class of each case, −1 where it is missing."""
    return pd.factorize(values)[0]


def _named(where: str, column: str, label: str) -> str:
    return (
        f"{where}: column {column!r} is named like the label {label!r}, which is no feature. Leave the "
        "column out, or give it another name if it is something else"
    )


def _held(where: str, column: str, label: str) -> str:
    return (
        f"{where}: column {column!r} holds the values of the label {label!r}: a model would read them off. "
        "Leave the column out"
    )
