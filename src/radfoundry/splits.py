"""Who trains and who tests. Patients are the unit: none is ever in two parts, and every function checks it.

All functions take (n,) arrays in the order of the cases. Assignment depends on patient names, labels and
seed alone, never on the order of the rows: a shuffled table is split the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
    if n_splits < 2:
        raise ValueError(f"n_splits must be 2 or more, not {n_splits}")
    groups = _patients(patient, y)
    small = groups.groupby("stratum").size()
    if (small < n_splits).any():
        worst = small.idxmin()
        raise NotEnoughData(
            f"{n_splits} folds need {n_splits} patients of every class; class {worst!r} has {small.min()}. "
            "Use fewer folds or add cases"
        )
    names = np.asarray(patient).astype(str)
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
    return np.array([PARTS[part_of[p]] for p in np.asarray(patient).astype(str)])


def by_column(values: Any, test: Any, *, patient: Any = None) -> Fold:
    """Hold out the rows where a column (site, scanner, ...) equals `test`, or is one of `test`.

    Give `patient` to have it checked that nobody was seen on both sides.
    """
    column = pd.Series(np.asarray(values, dtype=object))
    wanted = [test] if isinstance(test, str) or not isinstance(test, Sequence) else list(test)
    held = column.isin(wanted).to_numpy()
    if not held.any() or held.all():
        known = ", ".join(sorted(map(str, column.dropna().unique())))
        side = "no row" if not held.any() else "every row"
        raise NotEnoughData(f"{side} has one of {wanted} to hold out. Values found: {known}")
    return _fold(held, patient)


def by_date(dates: Any, cut: Any, *, patient: Any = None) -> Fold:
    """Train before `cut`, test from `cut` on (both as anything pandas reads as a date).

    Raises TableError where a date is missing, NotEnoughData where one side is empty.
    """
    when = pd.to_datetime(pd.Series(np.asarray(dates)))
    if when.isna().any():
        row = int(np.flatnonzero(when.isna())[0]) + 2
        raise TableError(f"row {row}, column 'date': empty; a split by date needs all of them. Fill it in")
    held = (when >= pd.Timestamp(cut)).to_numpy()
    if not held.any() or held.all():
        raise NotEnoughData(
            f"the cut {cut} leaves one side empty: dates run from "
            f"{when.min():%Y-%m-%d} to {when.max():%Y-%m-%d}"
        )
    return _fold(held, patient)


def given(split: Any, *, patient: Any = None) -> dict[str, np.ndarray]:
    """Row indices of each part of a `split` column.

    Raises NotEnoughData without 'train' or without 'test'.
    """
    column = np.asarray(split, dtype=object)
    if patient is not None:
        check_patients(patient, column)
    parts = {str(p): np.flatnonzero(column == p) for p in dict.fromkeys(column) if not pd.isna(p)}
    for needed in ("train", "test"):
        if needed not in parts:
            raise NotEnoughData(
                f"column 'split' has no {needed!r} rows, only {', '.join(parts) or 'empty cells'}"
            )
    return parts


def check_patients(patient: Any, part: Any, *, rows: Any = None, where: str = "split") -> None:
    """Raise TableError when a patient is in two parts; the message names both rows."""
    names, parts = np.asarray(patient, dtype=object), np.asarray(part, dtype=object)
    rows = np.arange(len(names)) + 2 if rows is None else rows
    seen: dict[Any, int] = {}
    for i, name in enumerate(names):
        first = seen.setdefault(name, i)
        if parts[first] != parts[i]:
            raise TableError(
                f"{where}: row {rows[i]}, column 'split': this patient is in {parts[i]!r} here and in "
                f"{parts[first]!r} in row {rows[first]}. Move all rows of a patient into one part"
            )


def _fold(held: np.ndarray, patient: Any) -> Fold:
    if patient is not None:
        check_patients(patient, np.where(held, "test", "train"))
    return Fold(np.flatnonzero(~held), np.flatnonzero(held))


def _patients(patient: Any, y: Any) -> pd.DataFrame:
    """One row a patient: name, number of rows, stratum (their rarest class)."""
    frame = pd.DataFrame({"patient": np.asarray(patient).astype(str), "y": _strata(y)})
    if len(frame) == 0:
        raise NotEnoughData("there are no cases to split")
    count = frame["y"].value_counts()
    frame["rarity"] = frame["y"].map(count)
    frame = frame.sort_values(["rarity", "y"], kind="stable")
    by = frame.groupby("patient", sort=True)
    return pd.DataFrame({"stratum": by["y"].first(), "rows": by.size()}).reset_index()


def _strata(y: Any) -> np.ndarray:
    """Classes as text; more than ten numbers are cut at their quintiles; missing is a class of its own."""
    values = pd.Series(np.asarray(y))
    if pd.api.types.is_float_dtype(values) and values.nunique() > 10:
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
