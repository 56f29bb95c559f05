"""Paired tests of two models, corrected for resampling and for many questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from radfoundry.evaluate.intervals import auc_covariance, check_binary, placements, wilson, z_of
from radfoundry.evaluate.resample import codes_of, percentile
from radfoundry.types import Estimate, json_ready


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model a minus model b on the same cases.

    p is two-sided; p_holm and p_bh are filled when a family of comparisons is corrected.

    >>> print(Comparison("auroc", 0.82, 0.79, 0.03, -0.01, 0.07, p=0.14, method="paired DeLong", n=100))
    auroc 0.820 - 0.790 = +0.030 (95% CI -0.010 to +0.070; p = 0.14; paired DeLong; n = 100)
    """

    name: str
    value_a: float
    value_b: float
    difference: float
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    statistic: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    p_bh: float = math.nan
    method: str = ""
    n: int = 0
    n_clusters: int | None = None
    target: str | None = None
    model_a: str | None = None
    model_b: str | None = None
    note: str | None = None
    subgroup: str | None = None

    def __str__(self) -> str:
        parts = []
        if math.isfinite(self.low) and math.isfinite(self.high):
            parts.append(f"{self.level:.0%} CI {self.low:+.3f} to {self.high:+.3f}")
        parts += [p_words(self.p)] if math.isfinite(self.p) else []
        parts += [self.method] if self.method else []
        clusters = "" if self.n_clusters in (None, self.n) else f", {self.n_clusters} patients"
        parts += [f"n = {self.n}{clusters}"] + ([self.note] if self.note else [])
        values = f"{self.value_a:.3f} - {self.value_b:.3f} = {self.difference:+.3f}"
        return f"{self.name} {values} ({'; '.join(parts)})"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null."""
        return json_ready(self)

    def estimate(self) -> Estimate:
        """The difference as an Estimate, its p-values in the note: for a run folder's metrics.json."""
        return Estimate(
            f"{self.name}_difference",
            self.difference,
            self.low,
            self.high,
            self.level,
            self.method,
            self.n,
            self.n_clusters,
            self.target,
            self.subgroup,
            model=f"{self.model_a} minus {self.model_b}",
            note=p_note(self.p, self.p_holm, self.note),
        )


def format_p(p: float) -> str:
    """A p-value as printed: two digits, never zero.

    >>> format_p(0.0000123), format_p(0.0412), format_p(0.5)
    ('<0.0001', '0.041', '0.50')
    """
    if p < 0.0001:
        return "<0.0001"
    return f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def p_words(p: float) -> str:
    """A p-value in a sentence; "no p" where there is none.

    >>> p_words(0.04), p_words(0.000001), p_words(math.nan)
    ('p = 0.04', 'p < 0.0001', 'no p')
    """
    return f"p = {format_p(p)}".replace("= <", "< ") if math.isfinite(p) else "no p"


def p_note(p: float, p_holm: float, note: str | None) -> str | None:
    """The note of an estimate that stands for a test: its p-values, then what else is to be said."""
    words = [p_words(p)] if math.isfinite(p) else []
    words += [f"Holm {p_words(p_holm)}"] if math.isfinite(p_holm) else []
    return "; ".join([*words, *filter(None, [note])]) or None


def delong_paired(
    y: np.ndarray, a: np.ndarray, b: np.ndarray, level: float = 0.95, *, cluster: np.ndarray | None = None
) -> Comparison:
    """Two AUCs on the same cases (DeLong et al. 1988; Obuchowski 1997 where patients own several rows).

    statistic: z = (A - B) / sqrt(S_AA + S_BB - 2 S_AB). NotEnoughData when a class is absent.
    """
    y, a = check_binary(y, a)
    _, b = check_binary(y, b)
    return delong_paired_from(y, np.stack([placements(y, a), placements(y, b)]), level, cluster=cluster)


def delong_paired_from(
    y: np.ndarray, components: np.ndarray, level: float = 0.95, *, cluster: np.ndarray | None = None
) -> Comparison:
    """`delong_paired` from placements (2, n), which may be means over repeats."""
    y = np.asarray(y)
    area_a, area_b = components[:, y == 1].mean(axis=1)
    s = auc_covariance(y, components, cluster)
    variance = float(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    _, g = codes_of(cluster, len(y))
    difference = float(area_a - area_b)
    if not variance > 1e-15:
        same = np.allclose(components[0], components[1])
        note = "the two rankings agree in every pair" if same else "no variance to test against"
        z, p, half = (0.0, 1.0, 0.0) if same else (math.nan, math.nan, math.nan)
    else:
        note, se = None, math.sqrt(variance)
        z, half = difference / se, z_of(level) * se
        p = float(2 * stats.norm.sf(abs(z)))
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    if math.isnan(half):
        low = high = math.nan
    method = "paired DeLong" if g == len(y) else "paired clustered DeLong"
    return Comparison(
        "auroc", float(area_a), float(area_b), difference, low, high, level, z, p, method=method, n=len(y),
        n_clusters=g, note=note,
    )  # fmt: skip


def mcnemar(right_a: np.ndarray, right_b: np.ndarray, level: float = 0.95) -> Comparison:
    """Two proportions on the same cases: McNemar's exact test, Newcombe's interval.

    right_a, right_b: (n,) bool, whether each model succeeded on a case (right decision, detection, ...).
    p: two-sided exact binomial of the discordant pairs. Interval: Newcombe 1998, method 10 (square-and-
    add of Wilson limits with the correlation of the pairs). Cases must be independent: with several rows
    a patient use `permutation`.
    """
    right_a, right_b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    n = len(right_a)
    both, only_a = int((right_a & right_b).sum()), int((right_a & ~right_b).sum())
    only_b = int((~right_a & right_b).sum())
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    low, high = newcombe_paired(both, only_a, only_b, n - both - only_a - only_b, level)
    return Comparison(
        "accuracy", (both + only_a) / n, (both + only_b) / n, (only_a - only_b) / n, low, high, level,
        float(min(only_a, only_b)), p, method=f"McNemar exact ({only_a} against {only_b}), Newcombe interval",
        n=n, n_clusters=n,
    )  # fmt: skip


def newcombe_paired(
    both: int, only_a: int, only_b: int, neither: int, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a difference of paired proportions (Newcombe 1998, Stat Med 17:2635, method 10)."""
    n = both + only_a + only_b + neither
    p1, p2 = (both + only_a) / n, (both + only_b) / n
    l1, u1 = wilson(both + only_a, n, level)
    l2, u2 = wilson(both + only_b, n, level)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    product = float(both * neither - only_a * only_b)
    if product > 0:  # continuity corrected, as published, for positive association only
        product = max(product - n / 2, 0.0)
    phi = product / math.sqrt(margins) if margins else 0.0
    d = p1 - p2
    lower = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    upper = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return d - math.sqrt(max(lower, 0.0)), d + math.sqrt(max(upper, 0.0))


Statistic = Callable[[np.ndarray, np.ndarray], float]


def paired_bootstrap(
    metric: Statistic,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    cluster: np.ndarray | None = None,
    *,
    n: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator,
    name: str = "",
) -> Comparison:
    """Difference of any metric(y, score); both models see the same draws of patients.

    a, b: (n,) or (n, k) scores. Draws where a metric is NaN are left out and counted in the note.
    """
    y, a, b = np.asarray(y), np.asarray(a), np.asarray(b)
    codes, g = codes_of(cluster, len(y))
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=g))[:-1])
    draws = np.full(n, np.nan)
    for i in range(n):
        pick = np.concatenate([rows[j] for j in rng.integers(g, size=g)])
        if len(np.unique(y[pick])) > 1:
            draws[i] = metric(y[pick], a[pick]) - metric(y[pick], b[pick])
    label = name or getattr(metric, "__name__", "metric")
    return from_draws(label, metric(y, a), metric(y, b), draws, level, len(y), g)


def from_draws(
    name: str, value_a: float, value_b: float, draws: np.ndarray, level: float, n: int, n_clusters: int
) -> Comparison:
    """A Comparison from bootstrap draws of the difference.

    p: twice the smaller tail beyond zero, ties in both tails, each with one added so that it is never 0.
    """
    low, high, lost = percentile(draws, level)
    kept = draws[np.isfinite(draws)]
    tail = min((kept <= 0).sum(), (kept >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(kept) + 1)) if len(kept) else math.nan
    note = f"{lost} of {len(draws)} draws were undefined and left out" if lost else None
    if (
        n_clusters < 2 or low == high != 0
    ):  # zero width would claim certainty; two equal models may differ by 0
        low = high = p = math.nan
        note = "no interval: every draw of patients gave the same difference"
    return Comparison(
        name, float(value_a), float(value_b), float(value_a - value_b), low, high, level, p=float(p),
        method=f"paired patient bootstrap, {len(draws)} draws", n=n, n_clusters=n_clusters, note=note,
    )  # fmt: skip


def permutation(
    metric: Statistic,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    cluster: np.ndarray | None = None,
    *,
    n: int = 10_000,
    rng: np.random.Generator,
    name: str = "",
) -> Comparison:
    """Exchange the two models' scores patient by patient; p = share of differences at least as large.

    Needs scores on one scale: give ranks (`scipy.stats.rankdata`) for a ranking metric, decisions for a
    decision metric. The observed arrangement is counted, so p is never 0 (Phipson and Smyth 2010).
    """
    y, a, b = np.asarray(y), np.asarray(a, float), np.asarray(b, float)
    codes, g = codes_of(cluster, len(y))
    observed = metric(y, a) - metric(y, b)
    at_least = 0.0
    for _ in range(n):
        swap = rng.integers(2, size=g).astype(bool)[codes]
        swap = swap if a.ndim == 1 else swap[:, None]
        difference = metric(y, np.where(swap, b, a)) - metric(y, np.where(swap, a, b))
        at_least += float(abs(difference) >= abs(observed) - 1e-12)
    label = name or getattr(metric, "__name__", "metric")
    return Comparison(
        label, float(metric(y, a)), float(metric(y, b)), float(observed), p=(at_least + 1) / (n + 1),
        method=f"paired permutation by patient, {n} draws", n=len(y), n_clusters=g,
    )  # fmt: skip


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down p-values, family-wise error; NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    return _adjusted(p, lambda ordered, m: np.maximum.accumulate(ordered * (m - np.arange(m))))


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Benjamini-Hochberg p-values, false discovery rate; NaN stays NaN and does not count.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    array([0.03, 0.04, 0.04])
    """
    return _adjusted(
        p, lambda ordered, m: np.minimum.accumulate((ordered * m / np.arange(1, m + 1))[::-1])[::-1]
    )


def _adjusted(p: Sequence[float], rule: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
    values = np.asarray(p, float)
    out = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    out[order] = np.minimum(rule(values[order], len(order)), 1.0)
    return out


def nadeau_bengio(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    *,
    test_train_ratio: float,
    level: float = 0.95,
) -> Comparison:
    """Corrected resampled t-test over the folds of (repeated) cross-validation (Nadeau and Bengio 2003).

    a, b: the metric of each model per fold, paired, k = folds x repeats. test_train_ratio:
    n_test / n_train, 0.25 for five folds. t = mean / sqrt((1/k + ratio) s2), k - 1 degrees of freedom.
    """
    d, scale, df = _folds(a, b, test_train_ratio)
    mean = float(d.mean())
    if scale == 0:
        t, p = (0.0, 1.0) if mean == 0 else (math.nan, math.nan)
    else:
        t = mean / scale
        p = float(2 * stats.t.sf(abs(t), df))
    half = float(stats.t.ppf((1 + level) / 2, df)) * scale
    note = "the difference is the same in every fold: no variance to test against" if math.isnan(t) else None
    return Comparison(
        "metric", float(np.mean(a)), float(np.mean(b)), mean, mean - half, mean + half, level, t, p,
        method=f"Nadeau-Bengio corrected t, {len(d)} folds", n=len(d), note=note,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Posterior:
    """Probabilities that a is worse than b, practically the same, or better; they sum to 1."""

    worse: float
    same: float
    better: float
    rope: float


def correlated_t(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    *,
    test_train_ratio: float,
    rope: float = 0.02,
) -> Posterior:
    """Bayesian correlated t-test (Corani and Benavoli 2015): the posterior of the mean fold difference.

    A Student t with k - 1 degrees of freedom, location the mean, and the scale of `nadeau_bengio`
    (rho / (1 - rho) equals n_test / n_train). rope: half-width of practical equivalence.
    """
    d, scale, df = _folds(a, b, test_train_ratio)
    mean = float(d.mean())
    if scale == 0:
        inside = abs(mean) <= rope
        return Posterior(float(mean < -rope), float(inside), float(mean > rope), rope)
    below, above = stats.t.cdf(-rope, df, mean, scale), stats.t.sf(rope, df, mean, scale)
    return Posterior(float(below), float(1 - below - above), float(above), rope)


def _folds(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, ratio: float
) -> tuple[np.ndarray, float, int]:
    first, second = np.asarray(a, float), np.asarray(b, float)
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(f"two or more paired folds are needed, not {first.shape} and {second.shape}")
    if not ratio > 0:
        raise ValueError(f"test_train_ratio must be positive, not {ratio}: it is n_test / n_train")
    d = first - second
    if not np.isfinite(d).all():
        raise ValueError("a fold has no value: the metric is undefined there. Use fewer folds")
    variance = float(d.var(ddof=1))
    if variance < 1e-24:  # equal up to rounding
        variance = 0.0
    return d, math.sqrt((1 / len(d) + ratio) * variance), len(d) - 1
