"""Calibration: do probabilities mean what they say? Slope, intercept, ECE, Brier parts, net benefit."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.classification import divide
from radfoundry.evaluate.intervals import wilson, z_of
from radfoundry.evaluate.resample import codes_of, draw_blocks, patient_sums
from radfoundry.types import Estimate

CLIP = 1e-6


def slope_intercept(
    y: np.ndarray, p: np.ndarray, level: float = 0.95, cluster: np.ndarray | None = None
) -> tuple[Estimate, Estimate]:
    """Calibration slope, and calibration-in-the-large (intercept with the slope held at 1).

    Logistic regression of the outcome on logit(p) (Cox 1958; Van Calster et al. 2019). Ideal: slope 1,
    intercept 0; a slope below 1 means predictions too extreme. Wald intervals; where patients own
    several rows the variance is the cluster sandwich. NotEnoughData when one class is absent.
    """
    y = np.asarray(y, float)
    if len(np.unique(y)) < 2:
        raise NotEnoughData("calibration slope and intercept need both classes")
    clipped = np.clip(np.asarray(p, float), CLIP, 1 - CLIP)
    note = _clip_note(np.asarray(p, float))
    logit = np.log(clipped / (1 - clipped))
    codes, g = codes_of(cluster, len(y))
    one = np.ones((len(y), 1))
    fits = {
        "calibration_slope": (np.column_stack([one, logit]), np.zeros(len(y)), 1),
        "calibration_intercept": (one, logit, 0),
    }
    out = []
    for name, (design, offset, which) in fits.items():
        value, se = _logistic(design, y, offset, codes, g)
        half = z_of(level) * se[which]
        reason = note
        if not math.isfinite(value[which]):
            reason = "no fit: the scores separate the classes, or are constant"
        elif not math.isfinite(half):
            reason = "no interval: a single patient"
        low, high = value[which] - half, value[which] + half
        method = "logistic regression" + ("" if g == len(y) else ", clustered by patient")
        out.append(Estimate(name, float(value[which]), low, high, level, method, len(y), g, note=reason))
    return out[0], out[1]


def _logistic(
    x: np.ndarray, y: np.ndarray, offset: np.ndarray, codes: np.ndarray, g: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and standard errors by Newton's method; NaN where the likelihood has no maximum."""
    beta, nan = np.zeros(x.shape[1]), np.full(x.shape[1], np.nan)
    for _ in range(50):
        mu = 1 / (1 + np.exp(-np.clip(offset + x @ beta, -500, 500)))
        information = (x * (mu * (1 - mu))[:, None]).T @ x
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
            return nan, nan
        step = np.linalg.solve(information, x.T @ (y - mu))
        beta = beta + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    else:
        return nan, nan
    covariance = np.linalg.inv(information)
    if g < 2:  # the sandwich of one cluster is zero
        return beta, nan
    if g < len(y):
        scores = patient_sums(x * (y - mu)[:, None], codes, g)
        covariance = covariance @ (scores.T @ scores) @ covariance * g / max(g - 1, 1)
    return beta, np.sqrt(np.diag(covariance))


def bins_of(p: np.ndarray, bins: int = 10) -> np.ndarray:
    """Bin number of each row, (n,): equal counts as far as ties allow, so no bin is nearly empty.

    >>> bins_of(np.array([0.1, 0.2, 0.8, 0.9]), bins=2)
    array([0, 0, 1, 1])
    """
    p = np.asarray(p, float)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, p, "left"), return_inverse=True)[1].reshape(-1)


def ece(y: np.ndarray, p: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over bins of equal counts: mean |observed - predicted|."""
    return float(_gap(bins_of(p, bins), np.asarray(y, float) - np.asarray(p, float)))


def ece_if_calibrated(p: np.ndarray, bins: int = 10, *, n: int = 200, rng: np.random.Generator) -> float:
    """The ECE that a perfectly calibrated model with these probabilities would show by chance.

    ECE is never negative, so it is above zero in any finite sample; this is the yardstick for it.
    """
    return float(np.mean(ece_by_chance(p, bins, n=n, rng=rng)))


def ece_by_chance(p: np.ndarray, bins: int = 10, *, n: int = 200, rng: np.random.Generator) -> np.ndarray:
    """(n,) ECEs of outcomes drawn from the probabilities p themselves (Broecker and Smith 2007)."""
    p = np.asarray(p, float)
    which = bins_of(p, bins)
    return np.array([_gap(which, (rng.random(len(p)) < p) - p) for _ in range(n)])


def _gap(which: np.ndarray, difference: np.ndarray) -> float:
    return float(np.abs(np.bincount(which, weights=difference)).sum() / len(which))


def brier_parts(y: np.ndarray, p: np.ndarray, bins: int = 10) -> dict[str, float]:
    """Murphy's decomposition of the Brier score over bins of equal counts.

    brier = reliability - resolution + uncertainty + within_bin, exactly; the last term appears because
    probabilities differ inside a bin (Stephenson et al. 2008).
    """
    y, p = np.asarray(y, float), np.asarray(p, float)
    which = bins_of(p, bins)
    share = np.bincount(which) / len(y)
    observed = np.bincount(which, weights=y) / (share * len(y))
    predicted = np.bincount(which, weights=p) / (share * len(y))
    parts = {
        "brier": float(np.mean((p - y) ** 2)),
        "reliability": float((share * (predicted - observed) ** 2).sum()),
        "resolution": float((share * (observed - y.mean()) ** 2).sum()),
        "uncertainty": float(y.mean() * (1 - y.mean())),
    }
    parts["within_bin"] = parts["brier"] - parts["reliability"] + parts["resolution"] - parts["uncertainty"]
    return parts


def reliability_curve(
    y: np.ndarray, p: np.ndarray, bins: int = 10, level: float = 0.95, cluster: np.ndarray | None = None
) -> pd.DataFrame:
    """One row a bin: predicted, observed, low, high, n, patients.

    Wilson intervals; where patients own several rows, at the number of patients, which is conservative.
    """
    y, p = np.asarray(y, float), np.asarray(p, float)
    which = bins_of(p, bins)
    codes, _ = codes_of(cluster, len(y))
    rows = []
    for b in range(which.max() + 1):
        inside = which == b
        patients = len(np.unique(codes[inside]))
        low, high = wilson(y[inside].mean() * patients, patients, level)
        rows.append((p[inside].mean(), y[inside].mean(), low, high, int(inside.sum()), patients))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "n", "patients"])


def net_benefit(
    y: np.ndarray,
    p: np.ndarray,
    thresholds: np.ndarray | None = None,
    *,
    cluster: np.ndarray | None = None,
    n: int = 0,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """Decision curve (Vickers and Elkin 2006): threshold, model, all, none, and low, high when n > 0.

    Net benefit at threshold t: TP/N - FP/N * t/(1-t), acting when p >= t. With n > 0 draws of patients
    the model's line gets a percentile band (pointwise).
    """
    y, p = np.asarray(y, float), np.asarray(p, float)
    grid = np.linspace(0.01, 0.99, 99) if thresholds is None else np.asarray(thresholds, float)
    odds = grid / (1 - grid)
    acts = p[:, None] >= grid
    gain = acts * y[:, None] - acts * (1 - y)[:, None] * odds
    frame = pd.DataFrame({"threshold": grid, "model": gain.mean(axis=0)})
    frame["all"] = y.mean() - (1 - y.mean()) * odds
    frame["none"] = 0.0
    if n and rng is not None:
        codes, g = codes_of(cluster, len(y))
        sums, size = patient_sums(gain, codes, g), np.bincount(codes, minlength=g)
        draws = np.vstack([divide(c.T @ sums, (size @ c)[:, None]) for c in draw_blocks(g, n, rng)])
        frame["low"], frame["high"] = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return frame


def _clip_note(p: np.ndarray) -> str | None:
    count = int(((p < CLIP) | (p > 1 - CLIP)).sum())
    return f"{count} probabilities of 0 or 1 moved to {CLIP:g} from the end" if count else None
