"""Resampling patients: sort once, draw patient counts, and get every draw from one sparse product.

A bootstrap draw of patients is a vector of counts: how often each patient was picked. Metrics that
depend on ranks or on sums over rows are functions of these counts, so thousands of draws become
matrix products and the rows are never copied. The ranking trick: only the distinct scores of the
smaller class can change the ROC sum, so the other class collapses into the gaps between them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse


def codes_of(cluster: np.ndarray | None, n: int) -> tuple[np.ndarray, int]:
    """Number the patients: (codes (n,), how many). Without `cluster` every row is its own patient.

    >>> codes_of(np.array(["b", "a", "b"]), 3)
    (array([1, 0, 1]), 2)
    """
    if cluster is None:
        return np.arange(n), n
    cluster = np.asarray(cluster)
    if len(cluster) != n:
        raise ValueError(f"{len(cluster)} patient ids for {n} rows")
    names, codes = np.unique(cluster, return_inverse=True)
    return codes.reshape(-1), len(names)


def draw_blocks(
    n_patients: int, n: int, rng: np.random.Generator, *, cells: int = 4_000_000
) -> Iterator[np.ndarray]:
    """Yield patient counts (n_patients, draws in this block) until `n` draws are out.

    Each column sums to n_patients: patients drawn with replacement. A block holds at most `cells`
    numbers, so memory stays bounded for any number of patients or draws.
    """
    size = max(1, min(n, cells // max(n_patients, 1), 512))
    for start in range(0, n, size):
        block = min(size, n - start)
        counts = np.empty((block, n_patients))
        for row in counts:
            row[:] = np.bincount(rng.integers(n_patients, size=n_patients), minlength=n_patients)
        yield np.ascontiguousarray(counts.T)


class Ranked:
    """The order of one score among positives and negatives, summed by patient.

    y: (n,) of 0 and 1; score: (n,); codes: (n,) patient numbers below n_patients.
    Thresholds are the distinct scores of the positives, ascending: between two of them sensitivity
    does not change, so nothing is lost for AUC, average precision or sensitivity at a specificity.
    """

    def __init__(self, y: np.ndarray, score: np.ndarray, codes: np.ndarray, n_patients: int) -> None:
        positive = np.asarray(y) == 1
        score = np.asarray(score, float)
        self.thresholds, at = np.unique(score[positive], return_inverse=True)
        k = len(self.thresholds)
        self._positive = _by_patient(at.reshape(-1), codes[positive], None, (k, n_patients))
        negative, patients = score[~positive], codes[~positive]
        below = np.searchsorted(self.thresholds, negative, "right")  # first threshold strictly above it
        reached = np.searchsorted(self.thresholds, negative, "left")  # first threshold not below it
        shape = (k + 1, n_patients)
        self._at_or_above = _by_patient(below, patients, None, shape)
        half = np.full(len(negative), 0.5)
        self._half = _by_patient(
            np.concatenate([below, reached]),
            np.concatenate([patients, patients]),
            np.concatenate([half, half]),
            shape,
        )

    def auroc(self, counts: np.ndarray) -> np.ndarray:
        """Mann-Whitney AUC of each draw (ties count one half); NaN where a class is absent.

        counts: (n_patients, draws). Returns (draws,).
        """
        positive, negative = self._positive @ counts, self._half @ counts
        wins = np.einsum("kd,kd->d", positive, np.cumsum(negative[:-1], axis=0))
        return _ratio(wins, positive.sum(0) * negative.sum(0))

    def operating(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(true positives (k, draws), false positives (k, draws), positives, negatives (draws,)).

        Row i is the rule `score >= thresholds[i]`.
        """
        positive, negative = self._positive @ counts, self._at_or_above @ counts
        true = np.cumsum(positive[::-1], axis=0)[::-1]
        false = np.cumsum(negative[::-1], axis=0)[::-1][1:]
        return true, false, positive.sum(0), negative.sum(0)


def average_precision(true: np.ndarray, false: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Area under the precision-recall steps, from `Ranked.operating`; (draws,)."""
    gained = true - np.vstack([true[1:], np.zeros((1, true.shape[1]))])
    return _ratio(np.einsum("kd,kd->d", gained, _ratio(true, true + false, empty=0.0)), positives)


def sensitivity_at(
    specificity: float, true: np.ndarray, false: np.ndarray, positives: np.ndarray, negatives: np.ndarray
) -> np.ndarray:
    """Highest sensitivity among thresholds whose specificity is at least the given one; (draws,)."""
    allowed = false <= (1 - specificity) * negatives + 1e-9
    return np.where(negatives > 0, _ratio(np.max(np.where(allowed, true, 0), axis=0), positives), np.nan)


def patient_sums(values: np.ndarray, codes: np.ndarray, n_patients: int) -> np.ndarray:
    """Sum rows by patient: values (n, m) to (n_patients, m)."""
    return np.column_stack([np.bincount(codes, weights=v, minlength=n_patients) for v in values.T])


def percentile(draws: np.ndarray, level: float) -> tuple[float, float, int]:
    """(low, high, draws left out because undefined). NaN limits when fewer than half are defined."""
    kept = draws[np.isfinite(draws)]
    lost = len(draws) - len(kept)
    if len(kept) < max(2, len(draws) / 2):
        return np.nan, np.nan, lost
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), lost


def _by_patient(
    rows: np.ndarray, patients: np.ndarray, weights: np.ndarray | None, shape: tuple[int, int]
) -> sparse.csr_array:
    data = np.ones(len(rows)) if weights is None else weights
    return sparse.csr_array(sparse.coo_array((data, (rows, patients)), shape=shape))


def _ratio(top: np.ndarray, bottom: np.ndarray, empty: float = np.nan) -> np.ndarray:
    bottom = np.broadcast_to(bottom, np.shape(top))
    return np.divide(top, bottom, out=np.full(np.shape(top), empty), where=bottom > 0)
