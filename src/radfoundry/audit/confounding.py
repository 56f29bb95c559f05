"""Whether images betray where they were made, and whether that place goes with the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from radfoundry.audit.baselines import (
    Task,
    cross_scores,
    estimate,
    make_task,
    mean_aurocs,
    shuffle_by_patient,
)
from radfoundry.cohort import Cohort
from radfoundry.errors import NotEnoughData
from radfoundry.types import Estimate

MIN_PATIENTS = 5  # a level with fewer is left out: it can be in no cross-validation


@dataclass(frozen=True, slots=True)
class Association:
    """Between two categorical variables. v: bias-corrected Cramér's V, 0 to 1; p: permutation p value."""

    v: float
    p: float
    n: int


def place_columns(cohort: Cohort) -> list[str]:
    """Covariates that say where or how an image was made: categories of 2 to 20 levels, sex excepted."""
    found = []
    for name in cohort.covariates:
        values = cohort.table[name].dropna()
        numeric = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values)
        if name != "sex" and not (numeric and name not in ("site", "scanner", "view")):
            levels = values.astype(str).nunique()
            if 2 <= levels <= 20 and levels < len(values) / 2:
                found.append(name)
    return found


def place_task(cohort: Cohort, column: str, seed: int) -> Task:
    """Predict `column` from the image, 5-fold by patient. NotEnoughData: fewer than two usable levels."""
    values = cohort.table[column].astype(object).where(cohort.table[column].notna(), None)
    patients = cohort.table["patient_id"].groupby(values.astype(str)).nunique()
    rare = patients.index[patients < MIN_PATIENTS]
    values = values.where(~values.astype(str).isin(rare), None)
    if values.dropna().nunique() < 2:
        raise NotEnoughData(f"{column}: fewer than two levels with {MIN_PATIENTS} patients")
    return make_task(column, values.to_numpy(object), cohort.patients.astype(str), seed=seed)


def predictability(
    task: Task, features: np.ndarray, *, head: str, seed: int, n_boot: int, model: str
) -> tuple[Estimate, dict[str, float]]:
    """How well the place is read from `features`: macro one-against-rest AUC, and the AUC by level."""
    scores = cross_scores(features, task.indicators(), task.folds, head=head, seed=seed)
    found = estimate(f"auroc:{task.name}", task, scores, n_boot=n_boot, seed=seed, model=model)
    areas = mean_aurocs(task.indicators(), scores, task.known)
    levels = task.classes[1:] if task.columns == 1 else task.classes
    return found, dict(zip(levels, areas.tolist(), strict=True))


def cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    """Bias-corrected Cramér's V of two (n,) arrays of codes (Bergsma 2013, J Korean Stat Soc 42:323).

    >>> round(cramers_v(np.repeat([0, 1], 50), np.repeat([0, 1], 50)), 2)
    1.0
    >>> cramers_v(np.tile([0, 1], 50), np.repeat([0, 1], 50))
    0.0
    """
    counts = _table(a, b)
    n, (r, k) = counts.sum(), counts.shape
    if min(r, k) < 2 or n < 3:
        return 0.0
    phi2 = max(0.0, _chi2(counts) / n - (r - 1) * (k - 1) / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)
    return float(np.sqrt(phi2 / max(min(rows, columns) - 1, 1e-12)))


def association(place: Task, target: Task, *, n_perm: int = 999, seed: int = 0) -> Association:
    """Between place and label, over rows where both are known; labels are permuted by patient for p.

    A permutation, not the chi-square distribution, because cells are small and patients repeat.
    """
    both = place.known & target.known
    a, b, patient = place.code[both], target.code[both], target.patient[both]
    if both.sum() < 3:
        return Association(0.0, 1.0, int(both.sum()))
    observed, rng = _chi2(_table(a, b)), np.random.default_rng(seed)
    drawn = [_chi2(_table(a, shuffle_by_patient(b, patient, rng))) for _ in range(n_perm)]
    p = (1 + np.sum(np.array(drawn) >= observed - 1e-9)) / (1 + n_perm)
    return Association(cramers_v(a, b), float(p), int(both.sum()))


def _table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    rows, i = np.unique(a, return_inverse=True)
    columns, j = np.unique(b, return_inverse=True)
    counts = np.zeros((len(rows), len(columns)))
    np.add.at(counts, (i, j), 1)
    return counts


def _chi2(counts: np.ndarray) -> float:
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())
