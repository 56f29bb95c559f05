"""Who trains and who tests. Patients are the unit: none is ever in two parts, and every function checks it.

All functions take (n,) arrays in the order of the cases. Assignment depends on patient names, labels and
seed alone, never on the order of the rows: a shuffled table is split the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.errors import NotEnoughData, TableError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One resample: row indices for training and testing (disjoint, sorted).

    validation: rows on which a threshold is chosen; None means inner out-of-fold scores of `train`.
    """

    train: np.ndarray
    test: np.ndarray
    repeat: int = 0
    fold: int = 0
    validation: np.ndarray | None = None


def kfold(patient: Any, y: Any, *, n_splits: int = 5, repeats: int = 1, seed: int = 0) -> list[Fold]:
    """Patient-grouped, stratified k-fold, repeated; in each repeat every row is tested once.

    A patient's stratum is the rarest class among their rows, so that few cases are spread first.
    Raises NotEnoughData when a class has fewer patients than folds.
    """
    if n_splits < 2 or repeats < 1:
        raise ValueError(f"n_splits must be 2 or more and repeats 1 or more, not {n_splits} and {repeats}")
    groups = _patients(patient, y)
    small = groups.groupby("stratum").size()
    if (small < n_splits).any():
        worst = small.idxmin()
        raise NotEnoughData(
            f"{n_splits} folds need {n_splits} patients of every class; class {worst!r} has {small.min()}. "
            "Use fewer folds or add cases"
        )
    names = _names(patient)
    folds = []
    for repeat in range(repeats):
        part_of = _deal(groups, np.full(n_splits, 1 / n_splits), f"{seed}/{repeat}")
        part = np.array([part_of[p] for p in names])
        for fold in range(n_splits):
            train, test = np.flatnonzero(part != fold), np.flatnonzero(part == fold)
            folds.append(Fold(train, test, repeat, fold))
    return folds


def three_way(
    patient: Any, y: Any, *, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> np.ndarray:
    """'train', 'validation' or 'test' for each row, (n,) str; patients grouped, classes balanced.

    Raises NotEnoughData when a class has fewer patients than there are parts.
    """
    share = np.asarray(fractions, dtype=float)
    if len(share) != 3 or (share < 0).any() or not np.isclose(share.sum(), 1):
        raise ValueError(f"fractions are three shares that add up to 1, not {tuple(fractions)}")
    groups = _patients(patient, y)
    small = groups.groupby("stratum").size()
    if (small < (share > 0).sum()).any():
        raise NotEnoughData(
            f"class {small.idxmin()!r} has {small.min()} patients, too few for {(share > 0).sum()} parts. "
            "Use cross-validation (kfold) or add cases"
        )
    part_of = _deal(groups, share, str(seed))
    return np.array([PARTS[part_of[p]] for p in _names(patient)])


def by_column(values: Any, test: Any, *, patient: Any = None) -> Fold:
    """Hold out the rows where a column (site, scanner, ...) equals `test`, or is one of `test`.

    Give `patient` to have it checked that nobody was seen on both sides. Raises TableError where a row has no
    value, because it could belong to either side.
    """
    column = pd.Series(np.asarray(values, dtype=object))
    _refuse_empty(column, "the column to split by", "a split by its values needs all of them. Fill it in")
    single = isinstance(test, str) or not isinstance(test, Iterable)
    wanted = [_word(value) for value in ([test] if single else test)]
    held = column.map(_word).isin(wanted).to_numpy()
    if not held.any() or held.all():
        known = ", ".join(sorted(column.map(_word).unique()))
        side = "no row" if not held.any() else "every row"
        raise NotEnoughData(f"{side} has one of {wanted} to hold out. Values found: {known}")
    return _fold(held, patient)


def by_date(dates: Any, cut: Any, *, patient: Any = None) -> Fold:
    """Train before `cut`, test from `cut` on (dates, or text as YYYY-MM-DD or YYYYMMDD).

    Raises TableError where a date is missing or no date, NotEnoughData where one side is empty.
    """
    values = dates.reset_index(drop=True) if isinstance(dates, pd.Series) else pd.Series(np.asarray(dates))
    _refuse_empty(values, "column 'date'", "a split by date needs all of them. Fill it in")
    when = as_dates(values)
    if when.isna().any():
        row = int(np.flatnonzero(when.isna())[0])
        raise TableError(
            f"row {row + 2}, column 'date': {values.iloc[row]!r} is not a date. Write it as YYYY-MM-DD"
        )
    day = as_dates(pd.Series([cut])).iloc[0]
    if pd.isna(day):
        raise TableError(f"the cut {cut!r} is not a date. Write it as YYYY-MM-DD")
    held = (when >= day).to_numpy()
    if not held.any() or held.all():
        raise NotEnoughData(
            f"the cut {cut} leaves one side empty: dates run from "
            f"{when.min():%Y-%m-%d} to {when.max():%Y-%m-%d}"
        )
    return _fold(held, patient)


def as_dates(values: pd.Series) -> pd.Series:
    """Dates of timestamps, or of text as YYYY-MM-DD (a time may follow) or YYYYMMDD; NaT for all else.

    Other orders of day and month are not guessed.

    >>> as_dates(pd.Series(["2020-02-01", "20200201", "1/2/2020"])).tolist()
    [Timestamp('2020-02-01 00:00:00'), Timestamp('2020-02-01 00:00:00'), NaT]
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.tz_localize(None)
    text = values.map(lambda v: str(v).strip().removesuffix(".0"), na_action="ignore").astype(object)
    day = text.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:[T ]\d{2}:\d{2}.*)?$", expand=False)
    dates = pd.to_datetime(day, format="%Y-%m-%d", errors="coerce")
    return dates.fillna(pd.to_datetime(text, format="%Y%m%d", errors="coerce"))


def given(split: Any, *, patient: Any = None) -> dict[str, np.ndarray]:
    """Row indices of each part of a `split` column; rows without one belong to none.

    Raises NotEnoughData without 'train' or without 'test'.
    """
    column = np.asarray(split, dtype=object)
    stated = np.flatnonzero(pd.notna(column))
    if patient is not None:
        names = np.asarray(patient, dtype=object)
        check_patients(names[stated], column[stated], rows=stated + 2)
    parts = {str(p): np.flatnonzero(column == p) for p in dict.fromkeys(column[stated])}
    for needed in ("train", "test"):
        if needed not in parts:
            raise NotEnoughData(
                f"column 'split' has no {needed!r} rows, only {', '.join(parts) or 'empty cells'}"
            )
    return parts


def check_patients(patient: Any, part: Any, *, rows: Any = None, where: str = "split") -> None:
    """Raise TableError when a patient is in two parts; the message names both rows."""
    names, parts = _names(patient), np.asarray(part, dtype=object)
    rows = np.arange(len(names)) + 2 if rows is None else rows
    seen: dict[Any, int] = {}
    for i, name in enumerate(names):
        first = seen.setdefault(name, i)
        if parts[first] != parts[i]:
            raise TableError(
                f"{where}: row {rows[i]}, column 'split': this patient is in {parts[i]!r} here and in "
                f"{parts[first]!r} in row {rows[first]}. Move all rows of a patient into one part"
            )


def _names(patient: Any) -> np.ndarray:
    """Patients as text, so that 7 and "7" are one; TableError where one has no name."""
    column = pd.Series(np.asarray(patient, dtype=object))
    _refuse_empty(column, "column 'patient_id'", "without it nobody knows whose row this is. Fill it in")
    return column.map(_word).to_numpy(dtype=object)


def _word(value: Any) -> str:
    """A value as a table writes it: 7.0 and 7 alike."""
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value) if whole else value)


def _refuse_empty(column: pd.Series, name: str, why: str) -> None:
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0]) + 2
        raise TableError(f"row {row}, {name}: empty; {why}")


def _fold(held: np.ndarray, patient: Any) -> Fold:
    if patient is not None:
        check_patients(patient, np.where(held, "test", "train"))
    return Fold(np.flatnonzero(~held), np.flatnonzero(held))


def _patients(patient: Any, y: Any) -> pd.DataFrame:
    """One row a patient: name, number of rows, stratum (their rarest class)."""
    frame = pd.DataFrame({"patient": _names(patient), "y": _strata(y)})
    if len(frame) == 0:
        raise NotEnoughData("there are no cases to split")
    count = frame["y"].value_counts()
    frame["rarity"] = frame["y"].map(count)
    frame = frame.sort_values(["rarity", "y"], kind="stable")
    by = frame.groupby("patient", sort=True)
    return pd.DataFrame({"stratum": by["y"].first(), "rows": by.size()}).reset_index()


RARE = 10
"""More than ten different numbers, some in fewer rows than this, are measurements and no classes."""


def _strata(y: Any) -> np.ndarray:
    """Classes as text; measurements are cut at their quintiles; missing is a class of its own."""
    values = pd.Series(np.asarray(y))
    count = values.value_counts()
    if pd.api.types.is_numeric_dtype(values) and len(count) > 10 and count.min() < RARE:
        values = pd.qcut(values, 5, duplicates="drop").astype(str)
    return values.astype(object).where(values.notna(), "missing").astype(str).to_numpy()


def _deal(groups: pd.DataFrame, share: np.ndarray, salt: str) -> dict[str, int]:
    """Patients to parts, stratum by stratum: largest first, each to the part furthest below its share.

    The order within equal sizes comes from a hash of salt and name, which makes it free of row order.
    """
    key = [hashlib.sha256(f"{salt}/{p}".encode()).hexdigest() for p in groups["patient"]]
    ordered = groups.assign(key=key).sort_values(["rows", "key"], ascending=[False, True])
    part_of: dict[str, int] = {}
    total = np.zeros(len(share))
    usable = share > 0
    sizes = groups.groupby("stratum").size()
    for stratum in sizes.sort_values(kind="stable").index:
        members = ordered[ordered["stratum"] == stratum]
        here, seats = np.zeros(len(share)), np.zeros(len(share))
        # every part gets a patient of every class before shares decide
        for position, (name, rows) in enumerate(zip(members["patient"], members["rows"])):
            left = len(members) - position
            unserved = usable & (seats == 0)
            wanted = share * members["rows"].sum() - here
            wanted = np.where(usable, wanted, -np.inf)
            if unserved.sum() >= left:
                wanted = np.where(unserved, wanted, -np.inf)
            best = np.flatnonzero(np.isclose(wanted, wanted.max()))
            choice = int(best[np.argmin(total[best] / share[best])])
            part_of[name] = choice
            here[choice] += rows
            total[choice] += rows
            seats[choice] += 1
    return part_of
