"""What the checks of an audit share: the cohort, its classification, its images and their features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from radfoundry.audit import baselines, duplicates
from radfoundry.audit.baselines import Task
from radfoundry.cohort import Cohort
from radfoundry.predictions import class_name
from radfoundry.splits import Fold
from radfoundry.types import Embeddings

RAW_PIXELS = "raw-pixels"
SEEN = ("train", "training", "validation", "valid", "val")  # parts whose scores are not to be believed


@dataclass(frozen=True)
class Evidence:
    """What the checks share.

    task: target, patients and folds, or None where the target cannot be classified (`refusal` says why).
    parts: arrays (n,) of str; two cases with different non-empty entries are on different sides somewhere.
    prints: fingerprints of the images. features: name to (n, d), embeddings and raw pixels.
    """

    cohort: Cohort
    target: str
    task: Task | None
    refusal: str
    parts: Sequence[np.ndarray]
    prints: duplicates.Prints
    embeddings: Mapping[str, Embeddings]
    features: Mapping[str, np.ndarray]
    head: str = baselines.FAST_HEAD
    seed: int = 0
    n_perm: int = 200
    n_boot: int = 2000
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def patient(self) -> np.ndarray:
        return self.cohort.patients.astype(str)

    @property
    def case(self) -> np.ndarray:
        return self.cohort.table["case_id"].astype(str).to_numpy(object)

    @property
    def label(self) -> np.ndarray:
        if self.task is None:
            return self.cohort.table[f"y:{self.target}"].astype(str).to_numpy(object)
        return np.array([*self.task.classes, ""], object)[self.task.code]  # code -1: no label

    @property
    def main_features(self) -> str | None:
        """The embeddings to be audited: the first trained ones, else any, else raw pixels."""
        trained = [name for name in self.features if not baselines.is_control(name)]
        return next(iter(trained or self.features), None)


def parts_of(
    cohort: Cohort, folds: Sequence[Fold] | None, predictions: pd.DataFrame | None
) -> list[np.ndarray]:
    """Who is kept apart from whom: by the `split` column, by each fold, by split and folds of predictions."""
    n, found = len(cohort), []
    if "split" in cohort.table:
        split = cohort.table["split"]
        found.append(split.astype(object).where(split.notna(), "").astype(str).to_numpy(object))
    for fold in folds or ():
        side = np.full(n, "", object)
        side[fold.train], side[fold.test] = "train", "test"
        both = np.intersect1d(fold.train, fold.test)
        side[both] = "train and test"
        found.append(side)
    if predictions is not None:
        found += _parts_of_predictions(cohort, predictions)
    return found


def _parts_of_predictions(cohort: Cohort, table: pd.DataFrame) -> list[np.ndarray]:
    place = {case: row for row, case in enumerate(cohort.table["case_id"].astype(str))}

    def sides(rows: pd.DataFrame, column: str, prefix: str = "") -> np.ndarray:
        side = np.full(len(cohort), "", object)
        for case, part in zip(rows["case_id"].astype(str), rows[column], strict=True):
            if case in place and not pd.isna(part):
                side[place[case]] = f"{prefix}{class_name(part)}"
        return side

    if "fold" in table:
        tested = tested_rows(table)
        repeats = tested["repeat"] if "repeat" in tested else pd.Series(0, index=tested.index)
        return [sides(group, "fold", "fold ") for _, group in tested.groupby(repeats.fillna(0))]
    return [sides(table, "split")] if "split" in table and table["split"].nunique() > 1 else []


def tested_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Predictions without those of training and validation cases, where a column `split` tells them."""
    if "split" not in table:
        return table
    return table[~table["split"].astype(str).str.casefold().isin(SEEN)]
