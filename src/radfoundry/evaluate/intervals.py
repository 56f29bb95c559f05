"""Intervals: Wilson, Clopper-Pearson, DeLong (clustered too) and the bootstrap over patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.resample import Ranked, codes_of, draw_blocks, percentile
from radfoundry.types import Estimate


def z_of(level: float) -> float:
    """Two-sided normal quantile; ValueError unless 0 < level < 1.

    >>> round(z_of(0.95), 4)
    1.96
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return float(stats.norm.ppf((1 + level) / 2))


def wilson(k: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion k/n (Wilson 1927). n may be an effective, non-integer size.

    >>> [round(x, 4) for x in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if n <= 0:
        return math.nan, math.nan
    z, p = z_of(level), k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if k == 0 else max(0.0, centre - half)  # exact at the ends, free of rounding
    return low, 1.0 if k == n else min(1.0, centre + half)


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (conservative) interval of a proportion: beta quantiles.

    >>> [round(x, 4) for x in clopper_pearson(0, 20)]
    [0.0, 0.1684]
    """
    if n <= 0:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.ppf(1 - tail, k + 1, n - k))
    return low, high


def placements(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """DeLong's structural components, in the order of the rows; (n,).

    For a positive: the share of negatives it outranks. For a negative: the share of positives that
    outrank it. Ties count one half. By midranks, O(n log n) (Sun and Xu 2014).
    """
    y, score = check_binary(y, score)
    positive = y == 1
    m, n = int(positive.sum()), int((~positive).sum())
    overall = stats.rankdata(score)
    out = np.empty(len(y))
    out[positive] = (overall[positive] - stats.rankdata(score[positive])) / n
    out[~positive] = 1 - (overall[~positive] - stats.rankdata(score[~positive])) / m
    return out


def auc_covariance(y: np.ndarray, components: np.ndarray, cluster: np.ndarray | None = None) -> np.ndarray:
    """Covariance (k, k) of k AUCs from their components (k, n).

    Rows independent: DeLong et al. 1988. With patients who own several rows: Obuchowski 1997, which
    sums components by patient and adds the covariance of positives and negatives of one patient.
    """
    y = np.asarray(y)
    components = np.atleast_2d(components)
    positive = y == 1
    m, n = int(positive.sum()), int((~positive).sum())
    codes, g = codes_of(cluster, len(y))
    if g == len(y):
        if min(m, n) < 2:
            return np.full((len(components),) * 2, np.nan)
        return np.atleast_2d(
            np.cov(components[:, positive]) / m + np.cov(components[:, ~positive]) / n
        ).astype(float)
    centred = components - components[:, positive].mean(axis=1, keepdims=True)

    def sums(rows: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(codes[rows], weights=c[rows], minlength=g) for c in centred])

    a, b = sums(positive), sums(~positive)
    ga, gb = len(np.unique(codes[positive])), len(np.unique(codes[~positive]))
    if min(ga, gb) < 2:
        return np.full((len(components),) * 2, np.nan)
    cross = g / (g - 1) * (a @ b.T + b @ a.T) / (m * n)
    return ga / (ga - 1) * (a @ a.T) / m**2 + gb / (gb - 1) * (b @ b.T) / n**2 + cross


def delong(
    y: np.ndarray,
    score: np.ndarray,
    level: float = 0.95,
    *,
    cluster: np.ndarray | None = None,
    scale: str = "auto",
) -> Estimate:
    """AUC with DeLong's interval (Obuchowski's clustered form where patients own several rows).

    scale: "plain", "logit", or "auto": logit when the plain interval would pass 0 or 1. A perfect AUC
    has no variance to build on; its limit is then the exact one-sided bound of as many successes in a
    row as the smaller class has patients, which is cautious, and the note says so.
    Raises NotEnoughData when one class is absent.

    >>> print(delong([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.35, 0.8, 0.3, 0.9]))
    auroc 0.778 (95% CI 0.173 to 0.983; DeLong, logit scale; n = 6)
    """
    y, score = check_binary(y, score)
    return delong_from(y, placements(y, score), level, cluster=cluster, scale=scale)


def delong_from(
    y: np.ndarray,
    components: np.ndarray,
    level: float = 0.95,
    *,
    cluster: np.ndarray | None = None,
    scale: str = "auto",
) -> Estimate:
    """`delong` from placements (n,), which may be means over repeats of cross-validation."""
    y = np.asarray(y)
    value = float(components[y == 1].mean())
    _, g = codes_of(cluster, len(y))
    variance = float(auc_covariance(y, components, cluster)[0, 0])
    name = "DeLong" if g == len(y) else "clustered DeLong"
    low, high, note = math.nan, math.nan, None
    if math.isnan(variance):
        note = "no interval: a class has fewer than two patients"
    elif variance <= 0:
        low, high, name, note = _degenerate(value, y, cluster, level)
    else:
        low, high, suffix = _auc_limits(value, math.sqrt(variance), level, scale)
        name += suffix
    return Estimate("auroc", value, low, high, level, name, len(y), g, note=note)


def _auc_limits(value: float, se: float, level: float, scale: str) -> tuple[float, float, str]:
    z = z_of(level)
    low, high = value - z * se, value + z * se
    inside = low > 0 and high < 1
    if scale == "plain" or (scale == "auto" and inside) or not 0 < value < 1:
        return max(0.0, low), min(1.0, high), ""
    logit, half = math.log(value / (1 - value)), z * se / (value * (1 - value))
    ends = [1 / (1 + math.exp(-x)) for x in np.clip([logit - half, logit + half], -700, 700)]
    return ends[0], ends[1], ", logit scale"


def _degenerate(
    value: float, y: np.ndarray, cluster: np.ndarray | None, level: float
) -> tuple[float, float, str, str]:
    if 0 < value < 1:
        return math.nan, math.nan, "DeLong", "no interval: the score does not vary within the classes"
    codes, _ = codes_of(cluster, len(y))
    smaller = min(len(np.unique(codes[y == 1])), len(np.unique(codes[y != 1])))
    bound = (1 - level) ** (1 / smaller)
    note = f"perfect separation: limit of {smaller} successes in {smaller} patients of the smaller class"
    return (bound, 1.0, "exact bound", note) if value == 1 else (0.0, 1 - bound, "exact bound", note)


def bootstrap(
    metric: Callable[[np.ndarray, np.ndarray], float],
    y: np.ndarray,
    score: np.ndarray,
    cluster: np.ndarray | None = None,
    *,
    n: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator,
    name: str = "",
) -> Estimate:
    """Percentile interval of any metric; patients, not rows, are resampled.

    Draws where the metric is undefined (NaN, or NotEnoughData) are left out and counted in the note.
    """
    y, score = np.asarray(y), np.asarray(score)
    codes, g = codes_of(cluster, len(y))
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=g))[:-1])
    draws = np.full(n, np.nan)
    for i in range(n):
        pick = np.concatenate([rows[j] for j in rng.integers(g, size=g)])
        try:
            draws[i] = metric(y[pick], score[pick])
        except NotEnoughData:  # a draw with one class: counted below
            continue
    label = name or getattr(metric, "__name__", "metric")
    return estimate_from_draws(label, float(metric(y, score)), draws, level, len(y), g)


def bootstrap_auroc(
    y: np.ndarray,
    score: np.ndarray,
    cluster: np.ndarray | None = None,
    *,
    n: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator,
    names: Sequence[str] | None = None,
) -> Estimate | list[Estimate]:
    """Patient-bootstrap interval of the AUC, fast.

    y, score: (n,) for one Estimate, or (n, labels) for a list, one a label in `names`: the labels then
    share the same draws of patients. NaN in y leaves that row out for that label.
    Raises NotEnoughData when a label has one class.
    """
    y, score = np.asarray(y, float), np.asarray(score, float)
    single = y.ndim == 1
    y, score = (a.reshape(len(y), -1) for a in (y, score))
    codes, g = codes_of(cluster, len(y))
    known = ~np.isnan(y)
    ranked, values = [], []
    for i, keep in enumerate(known.T):
        truth, given = check_binary(y[keep, i], score[keep, i])
        ranked.append(Ranked(truth, given, codes[keep], g))
        values.append(float(ranked[-1].auroc(np.ones((g, 1)))[0]))
    draws = np.concatenate(
        [np.stack([r.auroc(counts) for r in ranked]) for counts in draw_blocks(g, n, rng)], axis=1
    )
    estimates = [
        estimate_from_draws(
            "auroc",
            values[i],
            draws[i],
            level,
            int(known[:, i].sum()),
            len(np.unique(codes[known[:, i]])),
            target=names[i] if names is not None else None,
        )
        for i in range(len(ranked))
    ]
    return estimates[0] if single else estimates


def estimate_from_draws(
    name: str,
    value: float,
    draws: np.ndarray,
    level: float,
    n: int,
    n_clusters: int,
    target: str | None = None,
) -> Estimate:
    """Percentile interval of finished draws; a note when some were undefined.

    No interval where every draw gave the same value, as with a single patient: zero width would claim
    certainty.
    """
    low, high, lost = percentile(draws, level)
    note = f"{lost} of {len(draws)} draws were undefined and left out" if lost else None
    if low == high:
        low = high = math.nan
        note = "no interval: every draw of patients gave the same value"
    method = f"patient bootstrap, {len(draws)} draws"
    return Estimate(name, value, low, high, level, method, n, n_clusters, target, note=note)


def check_binary(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y as 0/1 integers and finite scores, both present; NotEnoughData or ValueError otherwise."""
    y, score = np.asarray(y), np.asarray(score, float)
    if y.shape != score.shape:
        raise ValueError(f"y has shape {y.shape}, score has {score.shape}")
    if not np.isfinite(score).all():
        raise ValueError(f"score {int(np.flatnonzero(~np.isfinite(score))[0])} is not finite")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("y must hold 0 and 1 only")
    positives = int((y == 1).sum())
    if positives in (0, len(y)):
        which = "no row" if len(y) == 0 else f"all {len(y)} rows are of class {int(positives > 0)}"
        raise NotEnoughData(f"an AUC needs positives and negatives: {which}. Add cases of the other class")
    return y.astype(int), score
