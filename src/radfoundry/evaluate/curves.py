"""ROC and precision-recall curves as tables, with a pointwise band from resampled patients."""

from __future__ import annotations

import numpy as np
import pandas as pd

from radfoundry.evaluate.intervals import check_binary
from radfoundry.evaluate.resample import Ranked, codes_of, draw_blocks


def roc_curve(
    y: np.ndarray,
    score: np.ndarray,
    cluster: np.ndarray | None = None,
    *,
    n: int = 500,
    level: float = 0.95,
    points: int = 101,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Sensitivity on an even grid of false positive rates: fpr, sensitivity, low, high.

    score: (n,), or (repeats, n) of repeated cross-validation: the curve is then the mean over repeats at each
    grid point (vertical averaging, Fawcett 2006), so that its area is the mean AUC that `evaluate` reports.
    The band is pointwise, from `n` draws of patients; the curve is the upper step (the best sensitivity
    whose false positive rate does not exceed the grid point). NotEnoughData when a class is absent.
    """
    repeats, g = _ranked(y, score, cluster)
    grid = np.linspace(0, 1, points)

    def on_grid(counts: np.ndarray) -> np.ndarray:
        return np.mean([one(ranked, counts) for ranked in repeats], axis=0)

    def one(ranked: Ranked, counts: np.ndarray) -> np.ndarray:
        true, false, p, q = ranked.operating(counts)
        lines = [
            _step(grid, false[:, d] / q[d], true[:, d] / p[d], "right")
            for d in range(counts.shape[1])
            if p[d] and q[d]
        ]
        return np.array(lines).reshape(-1, points)

    return _with_band({"fpr": grid}, "sensitivity", on_grid, g, n, level, rng)


def pr_curve(
    y: np.ndarray,
    score: np.ndarray,
    cluster: np.ndarray | None = None,
    *,
    n: int = 500,
    level: float = 0.95,
    points: int = 101,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Precision on an even grid of recall: recall, precision, low, high. Repeats and band as in `roc_curve`.

    Precision at a recall is that of the highest threshold which reaches it.
    """
    repeats, g = _ranked(y, score, cluster)
    grid = np.linspace(0, 1, points)

    def on_grid(counts: np.ndarray) -> np.ndarray:
        return np.mean([one(ranked, counts) for ranked in repeats], axis=0)

    def one(ranked: Ranked, counts: np.ndarray) -> np.ndarray:
        true, false, p, _ = ranked.operating(counts)
        lines = []
        for d in np.flatnonzero(p):
            recall = true[::-1, d] / p[d]
            precision = true[::-1, d] / np.maximum(true[::-1, d] + false[::-1, d], 1)
            at = np.searchsorted(recall, np.maximum(grid, 1e-12) - 1e-12)
            first = np.searchsorted(recall, 0, "right")  # thresholds whose patients were not drawn
            lines.append(precision[np.clip(np.maximum(at, first), 0, len(precision) - 1)])
        return np.array(lines).reshape(-1, points)

    return _with_band({"recall": grid}, "precision", on_grid, g, n, level, rng)


def _ranked(y: np.ndarray, score: np.ndarray, cluster: np.ndarray | None) -> tuple[list[Ranked], int]:
    """One `Ranked` a repeat; all share the patients, so that a draw means the same in each."""
    codes, g = codes_of(cluster, len(np.asarray(y)))
    checked = [check_binary(y, repeat) for repeat in np.atleast_2d(np.asarray(score, float))]
    return [Ranked(truth, repeat, codes, g) for truth, repeat in checked], g


def _step(grid: np.ndarray, x: np.ndarray, height: np.ndarray, side) -> np.ndarray:
    """Height of the last point with x <= grid; x descends with the threshold's rise, so reverse."""
    at = np.searchsorted(x[::-1], grid + 1e-12, side)
    return np.concatenate([[0.0], height[::-1]])[at]


def _with_band(axis, name, on_grid, g, n, level, rng) -> pd.DataFrame:
    frame = pd.DataFrame({**axis, name: on_grid(np.ones((g, 1)))[0]})
    draws = np.vstack([on_grid(counts) for counts in draw_blocks(g, n, rng)])
    frame["low"], frame["high"] = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return frame
