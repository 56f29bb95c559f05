"""Can a measurement be trusted: agreement of readings and repeatability, numbers in, estimates out.

Readings of targets by raters, methods or visits are (targets, raters) arrays. Sources: McGraw and Wong,
Psychol Methods 1996;1:30 (ICC); Bland and Altman, Stat Methods Med Res 1999;8:135 and J Biopharm Stat
2007;17:571 (limits of agreement); Lin, Biometrics 1989;45:255 with the correction of 2000;56:324;
Krippendorff, Content Analysis, 2004; Bonett and Wright, Psychometrika 2000;65:23 (Spearman).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from radfoundry.errors import InputMismatch, NotEnoughData
from radfoundry.evaluate.compare import Comparison, holm
from radfoundry.evaluate.intervals import z_of
from radfoundry.evaluate.resample import codes_of, draw_blocks, percentile
from radfoundry.types import Estimate

Scale = Literal["nominal", "ordinal", "interval", "ratio"]
REPEAT = math.sqrt(2.0) * 1.959963984540054
"""Two readings of one target differ by less than this many within-subject SDs in 95 of 100 pairs."""


@dataclass(frozen=True)
class MeanSquares:
    """Of a two-way table, targets by raters. rows: targets; columns: raters; error: residual; within: rows
    taken together, as in a one-way table."""

    rows: float
    columns: float
    error: float
    within: float
    n: int
    k: int


def mean_squares(readings: np.ndarray) -> MeanSquares:
    """Mean squares of readings (targets, raters) without gaps.

    Raises InputMismatch for another shape or a missing value, NotEnoughData below two targets or raters.
    """
    x = _complete(readings)
    n, k = x.shape
    rows = k * ((x.mean(axis=1) - x.mean()) ** 2).sum()
    columns = n * ((x.mean(axis=0) - x.mean()) ** 2).sum()
    within = ((x - x.mean(axis=1, keepdims=True)) ** 2).sum()
    error = max(within - columns, 0.0)
    return MeanSquares(
        rows / (n - 1), columns / (k - 1), error / ((n - 1) * (k - 1)), within / (n * (k - 1)), n, k
    )


def icc(readings: np.ndarray, level: float = 0.95) -> list[Estimate]:
    """Six intraclass correlations of readings (targets, raters): ICC(1), (A,1), (C,1) and their averages.

    ICC(1): each target has other raters. (A,1): the same raters, their differences count (absolute
    agreement). (C,1): the same raters, differences between their means do not count (consistency). (k),
    (A,k), (C,k): of the mean over the k raters. Intervals from F (McGraw and Wong 1996, table 7).
    """
    ms = mean_squares(readings)
    n, k = ms.n, ms.k
    found = [
        *_by_f("ICC(1)", "ICC(k)", ms.rows, ms.within, n * (k - 1), ms, level),
        *_agreement(ms, level),
        *_by_f("ICC(C,1)", "ICC(C,k)", ms.rows, ms.error, (n - 1) * (k - 1), ms, level),
    ]
    order = ("ICC(1)", "ICC(A,1)", "ICC(C,1)", "ICC(k)", "ICC(A,k)", "ICC(C,k)")
    return sorted(found, key=lambda one: order.index(one.name))


def _by_f(
    single: str, average: str, rows: float, rest: float, df: int, ms: MeanSquares, level: float
) -> list[Estimate]:
    method = "F (McGraw and Wong)"
    if rest <= 0 or rows <= 0:
        return [_without_variance(name, ms, rows, rest, level) for name in (single, average)]
    n, k, tail = ms.n, ms.k, (1 + level) / 2
    f = rows / rest
    low, high = f / stats.f.ppf(tail, n - 1, df), f * stats.f.ppf(tail, df, n - 1)
    bounds = (f, low, high)
    one = [(q - 1) / (q + k - 1) for q in bounds]
    mean = [1 - 1 / q for q in bounds]
    return [
        Estimate(single, one[0], one[1], one[2], level, method, n),
        Estimate(average, mean[0], mean[1], mean[2], level, method, n),
    ]


def _agreement(ms: MeanSquares, level: float) -> list[Estimate]:
    n, k = ms.n, ms.k
    spread = ms.columns - ms.error
    below = ms.rows + (k - 1) * ms.error + k * spread / n
    if ms.rows <= 0 or below <= 0 or ms.error <= 0:
        unlike = ms.error + max(spread, 0.0)
        return [_without_variance(name, ms, ms.rows, unlike, level) for name in ("ICC(A,1)", "ICC(A,k)")]
    value = (ms.rows - ms.error) / below
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    df = (a * ms.columns + b * ms.error) ** 2 / (
        (a * ms.columns) ** 2 / (k - 1) + (b * ms.error) ** 2 / ((n - 1) * (k - 1))
    )
    tail = (1 + level) / 2
    f_low, f_high = float(stats.f.ppf(tail, n - 1, df)), float(stats.f.ppf(tail, df, n - 1))
    method, note = "F, Satterthwaite (McGraw and Wong)", None
    if math.isfinite(f_low) and math.isfinite(f_high):
        rest = k * ms.columns + (k * n - k - n) * ms.error
        low = n * (ms.rows - f_low * ms.error) / (f_low * rest + n * ms.rows)
        high = n * (f_high * ms.rows - ms.error) / (rest + n * f_high * ms.rows)
    else:
        low = high = math.nan
        note = "no interval: far below zero the degrees of freedom are none"
    mean, lower, upper = (_of_mean(v, k) for v in (value, low, high))
    return [
        Estimate("ICC(A,1)", value, low, high, level, method, n, note=note),
        Estimate("ICC(A,k)", mean, lower, upper, level, method, n, note=note),
    ]


def _of_mean(single: float, k: int) -> float:
    """Spearman and Brown: ICC of a mean of k; minus infinity where it has no bound."""
    below = 1 + (k - 1) * single
    return -math.inf if below <= 0 else k * single / below


def _without_variance(name: str, ms: MeanSquares, rows: float, rest: float, level: float) -> Estimate:
    if rows > 0 and rest <= 0:
        return Estimate(name, 1.0, level=level, n=ms.n, note="no two readings differ: no interval")
    return Estimate(name, math.nan, level=level, n=ms.n, note="targets do not differ: ICC is not defined")


def bland_altman(
    a: np.ndarray, b: np.ndarray, subject: np.ndarray | None = None, *, level: float = 0.95,
    rng: np.random.Generator | None = None, draws: int = 2000,
) -> list[Estimate]:  # fmt: skip
    """Bias (a minus b), limits of agreement and their intervals, and proportional bias.

    a, b: (n,) readings in one unit. subject: (n,) ids where subjects were read several times; then the limits
    hold variance between and within subjects (Bland and Altman 2007) and all intervals come from resampling
    subjects (rng is needed). proportional_bias: slope of the differences on the means, zero where the bias
    is the same throughout. Raises InputMismatch for unequal lengths, NotEnoughData below three pairs.
    """
    a, b = _paired(a, b)
    d, mean = a - b, (a + b) / 2
    slope = _slope(mean, d, level)
    if subject is not None and len(np.unique(subject)) < len(d):
        if rng is None:
            raise ValueError("limits of repeated readings come from resampling: pass rng")
        return [*_limits_of_repeats(d, np.asarray(subject), level, rng, draws), replace(
            slope, low=math.nan, high=math.nan, note="no interval: readings of a subject are not independent",
        )]  # fmt: skip
    n, sd = len(d), float(d.std(ddof=1))
    t = stats.t.ppf((1 + level) / 2, n - 1)
    bias, z = float(d.mean()), z_of(0.95)
    around = t * sd * math.sqrt(1 / n + z * z / (2 * (n - 1)))
    method = "t (Bland and Altman 1999)"
    rows = [("bias", bias, t * sd / math.sqrt(n)), ("loa_low", bias - z * sd, around),
            ("loa_high", bias + z * sd, around)]  # fmt: skip
    if sd == 0:  # zero width would claim certainty
        note = "no interval: all differences are equal"
        return [*(Estimate(m, v, level=level, n=n, note=note) for m, v, _ in rows), slope]
    return [*(Estimate(m, v, v - half, v + half, level, method, n) for m, v, half in rows), slope]


def _slope(x: np.ndarray, y: np.ndarray, level: float) -> Estimate:
    if np.ptp(x) == 0:
        return Estimate("proportional_bias", math.nan, level=level, n=len(x), note="all means are equal")
    fit = stats.linregress(x, y)
    half = stats.t.ppf((1 + level) / 2, len(x) - 2) * fit.stderr
    return Estimate(
        "proportional_bias",
        float(fit.slope),
        fit.slope - half,
        fit.slope + half,
        level,
        "least squares",
        len(x),
    )


def _limits_of_repeats(
    d: np.ndarray, subject: np.ndarray, level: float, rng: np.random.Generator, draws: int
) -> list[Estimate]:
    codes, groups = codes_of(subject, len(d))
    if groups < 3:
        raise NotEnoughData(f"{groups} subjects were read: limits of agreement need three at least")
    counts = np.concatenate([block.T for block in draw_blocks(groups, draws, rng)])
    sums = [np.bincount(codes, d**power, minlength=groups) for power in (0, 1, 2)]
    values = _limits(np.concatenate([np.ones((1, groups), counts.dtype), counts]), *sums)
    method = "variance components, subjects resampled"
    found = []
    for name, column in zip(("bias", "loa_low", "loa_high"), values.T):
        low, high, _ = percentile(column[1:], level)
        found.append(
            Estimate(name, float(column[0]), low, high, level, method, len(d), groups, cluster="subject")
        )
    return found


def _limits(counts: np.ndarray, m: np.ndarray, s: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(draws, 3) bias and limits; counts: (draws, subjects), how often each was drawn."""
    n, groups = counts @ m, counts.sum(axis=1)
    bias = counts @ s / n
    within = (counts @ (q - s**2 / m)) / np.maximum(n - groups, 1)
    between = (counts @ (s**2 / m) - n * bias**2) / np.maximum(groups - 1, 1)
    size = (n - counts @ m**2 / n) / np.maximum(groups - 1, 1)
    sd = np.sqrt(np.maximum((between - within) / size, 0.0) + within)
    z = z_of(0.95)
    return np.stack([bias, bias - z * sd, bias + z * sd], axis=1)


def repeatability(readings: np.ndarray, level: float = 0.95) -> list[Estimate]:
    """Within-subject SD, repeatability coefficient, within-subject CV, minimal detectable change.

    readings: (subjects, repeats) in one unit, without gaps. repeatability_coefficient: 1.96 √2 within-subject
    SD, which is also the minimal detectable change of one subject when systematic change counts.
    minimal_detectable_change: the same of the residual SD, so that a shift of all subjects does not count.
    within_cv: root mean square of SD / mean over subjects, for positive readings alone. Intervals from
    chi-square; none for the CV.
    """
    x = _complete(readings)
    ms = mean_squares(x)
    n, k = ms.n, ms.k
    found = []
    for name, variance, df, factor in (
        ("within_sd", ms.within, n * (k - 1), 1.0),
        ("repeatability_coefficient", ms.within, n * (k - 1), REPEAT),
        ("minimal_detectable_change", ms.error, (n - 1) * (k - 1), REPEAT),
    ):
        tails = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], df)
        value, low, high = (factor * math.sqrt(v) for v in (variance, *(variance * df / tails)))
        if variance == 0:
            found.append(Estimate(name, 0.0, level=level, n=n, note="no interval: no two readings differ"))
            continue
        found.append(Estimate(name, value, low, high, level, "chi-square", n))
    mean = x.mean(axis=1)
    if (x > 0).all():
        cv = math.sqrt(float((x.var(axis=1, ddof=1) / mean**2).mean()))
        found.append(
            Estimate("within_cv", cv, level=level, method="root mean square", n=n, note="no interval")
        )
    else:
        found.append(Estimate("within_cv", math.nan, level=level, n=n, note="needs positive readings"))
    return found


def concordance(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Estimate:
    """Lin's concordance of two readings (n,): correlation, less what bias and scale take from it."""
    a, b = _paired(a, b)
    n = len(a)
    sa, sb, sab = a.var(), b.var(), ((a - a.mean()) * (b - b.mean())).mean()
    below = sa + sb + (a.mean() - b.mean()) ** 2
    if sa == 0 or sb == 0:
        return Estimate("concordance", math.nan, level=level, n=n, note="one of the two is constant")
    value = float(2 * sab / below)
    r = float(sab / math.sqrt(sa * sb))
    if abs(value) >= 1 or r == 0:
        return Estimate(
            "concordance", value, level=level, n=n, note="no interval: perfect, or no correlation"
        )
    u2 = (a.mean() - b.mean()) ** 2 / math.sqrt(sa * sb)
    variance = (
        (1 - r**2) * value**2 / ((1 - value**2) * r**2)
        + 2 * value**3 * (1 - value) * u2 / (r * (1 - value**2) ** 2)
        - value**4 * u2**2 / (2 * r**2 * (1 - value**2) ** 2)
    ) / (n - 2)
    half = z_of(level) * math.sqrt(max(variance, 0.0))
    low, high = (math.tanh(math.atanh(value) + side * half) for side in (-1, 1))
    return Estimate("concordance", value, low, high, level, "Fisher z (Lin)", n)


def krippendorff(
    readings: np.ndarray, scale: Scale = "interval", *, rng: np.random.Generator | None = None,
    draws: int = 2000, level: float = 0.95,
) -> Estimate:  # fmt: skip
    """Krippendorff's alpha of readings (targets, raters); NaN where a rater did not read a target.

    scale: how far two values are apart. nominal: equal or not; ordinal: by the ranks between; interval:
    squared difference; ratio: squared difference over squared sum. Interval by resampling targets, with rng.
    """
    x = _table(readings)
    x = x[np.isfinite(x).sum(axis=1) >= 2]  # a single reading agrees with nothing
    if len(x) < 2:
        raise NotEnoughData(f"{len(x)} targets were read twice or more: alpha needs two at least")
    values = np.unique(x[np.isfinite(x)])
    table = (x[:, :, None] == values).sum(axis=1).astype(float)  # (targets, values)
    alpha = _alpha(table[None], values, scale)[0]
    if not math.isfinite(alpha):
        return Estimate("alpha", math.nan, level=level, n=len(x), note="all readings are equal: not defined")
    if rng is None:
        return Estimate(
            "alpha", float(alpha), level=level, n=len(x), method=scale, note="no interval: no rng"
        )
    rows = rng.integers(0, len(x), (draws, len(x)))
    drawn = np.concatenate([_alpha(table[part], values, scale) for part in np.array_split(rows, 20)])
    low, high, _ = percentile(drawn, level)
    return Estimate("alpha", float(alpha), low, high, level, f"{scale}, targets resampled", len(x))


def _alpha(tables: np.ndarray, values: np.ndarray, scale: Scale) -> np.ndarray:
    """(draws,) of tables (draws, targets, values)."""
    sizes = tables.sum(axis=2, keepdims=True)
    pairs = np.einsum("dtv,dtw->dvw", tables / (sizes - 1), tables)
    diagonal = np.einsum("dtv->dv", tables / (sizes - 1))
    index = np.arange(len(values))
    pairs[:, index, index] -= diagonal
    totals = pairs.sum(axis=2)
    n = totals.sum(axis=1)
    far = _distances(totals, values, scale)
    observed = (pairs * far).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * far).sum(axis=(1, 2)) / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def _distances(totals: np.ndarray, values: np.ndarray, scale: Scale) -> np.ndarray:
    """(draws or 1, values, values) squared distances."""
    a, b = values[:, None], values[None]
    if scale == "nominal":
        return (a != b).astype(float)[None]
    if scale == "interval":
        return ((a - b) ** 2)[None]
    if scale == "ratio":
        if (values < 0).any():
            raise InputMismatch("a ratio scale has no values below zero. Take interval")
        whole = np.where(a + b > 0, a + b, 1.0)
        return (((a - b) / whole) ** 2)[None]
    upto = np.cumsum(totals, axis=1)
    middle = upto - totals / 2  # half of one's own rank at both ends, all between
    return (middle[:, :, None] - middle[:, None, :]) ** 2


def correlation(
    a: np.ndarray, b: np.ndarray, method: Literal["pearson", "spearman"] = "pearson", *, level: float = 0.95
) -> Estimate:
    """Correlation of two readings (n,), interval by Fisher's z; for Spearman after Bonett and Wright."""
    a, b = _paired(a, b)
    n = len(a)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return Estimate(method, math.nan, level=level, n=n, note="one of the two is constant")
    r = float(stats.pearsonr(a, b)[0] if method == "pearson" else stats.spearmanr(a, b)[0])
    if n < 4 or abs(r) >= 1:
        return Estimate(method, r, level=level, n=n, note="no interval: four pairs at least, not perfect")
    se = math.sqrt((1.0 if method == "pearson" else 1 + r * r / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(r) + side * z_of(level) * se) for side in (-1, 1))
    return Estimate(method, r, low, high, level, "Fisher z", n)


def by_group(
    a: np.ndarray, b: np.ndarray, group: np.ndarray, method: Literal["pearson", "spearman"] = "pearson",
    *, level: float = 0.95,
) -> dict[str, Estimate]:  # fmt: skip
    """`correlation` within each group; a group of fewer than three pairs has a note instead."""
    a, b, group = np.asarray(a, float), np.asarray(b, float), np.asarray(group)
    if not len(a) == len(b) == len(group):
        raise InputMismatch(f"a, b and group differ in length: {len(a)}, {len(b)}, {len(group)}")
    found = {}
    for name in np.unique(group):
        rows = group == name
        few = Estimate(method, math.nan, level=level, n=int(rows.sum()), note="fewer than three pairs")
        one = correlation(a[rows], b[rows], method, level=level) if rows.sum() >= 3 else few
        found[str(name)] = replace(one, subgroup=str(name))
    return found


def paired_tests(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], level: float = 0.95) -> list[Comparison]:
    """Paired t and Wilcoxon's signed ranks of each named pair (after, before), Holm over the names by test.

    t: mean difference with its interval, and Cohen's d of the differences in the note. Wilcoxon: the
    Hodges-Lehmann median difference with no interval, and the matched rank-biserial correlation in the note.
    """
    tests = [test for name, (a, b) in pairs.items() for test in _both_tests(name, *_paired(a, b), level)]
    found = list(tests)
    for method in ("paired t", "Wilcoxon signed ranks"):
        rows = [i for i, test in enumerate(tests) if test.method == method]
        for i, p in zip(rows, holm([tests[i].p for i in rows])):
            found[i] = replace(tests[i], p_holm=float(p))
    return found


def _both_tests(name: str, a: np.ndarray, b: np.ndarray, level: float) -> list[Comparison]:
    d, n = a - b, len(a)
    sd, mean = float(d.std(ddof=1)), float(d.mean())
    if not d.any() or sd == 0:
        note = "all differences are zero" if not d.any() else "all differences are equal: no test"
        none = Comparison(name, float(a.mean()), float(b.mean()), mean, level=level, n=n, note=note)
        return [replace(none, method=method) for method in ("paired t", "Wilcoxon signed ranks")]
    t, half = mean / (sd / math.sqrt(n)), stats.t.ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n)
    first = Comparison(
        name, float(a.mean()), float(b.mean()), mean, mean - half, mean + half, level, t,
        float(2 * stats.t.sf(abs(t), n - 1)), method="paired t", n=n, note=f"Cohen's d {mean / sd:+.2f}",
    )  # fmt: skip
    kept = d[d != 0]
    ranks = stats.rankdata(np.abs(kept))
    biserial = float((ranks * np.sign(kept)).sum() / ranks.sum())
    test = stats.wilcoxon(a, b)
    walsh = (d[:, None] + d[None])[np.triu_indices(n)] / 2
    second = Comparison(
        name, float(np.median(a)), float(np.median(b)), float(np.median(walsh)), level=level,
        statistic=float(test.statistic), p=float(test.pvalue), method="Wilcoxon signed ranks", n=n,
        note=f"rank-biserial {biserial:+.2f}; difference by Hodges and Lehmann",
    )  # fmt: skip
    return [first, second]


def _table(readings: np.ndarray) -> np.ndarray:
    try:
        x = np.asarray(readings, float)
    except ValueError as cause:
        raise InputMismatch(
            "readings are no table of numbers: rows of unequal length, or text. Give (targets, raters), NaN "
            "where a rater did not read a target"
        ) from cause
    if x.ndim != 2:
        raise InputMismatch(f"readings are (targets, raters), not {x.shape}")
    return x


def _complete(readings: np.ndarray) -> np.ndarray:
    x = _table(readings)
    if not np.isfinite(x).all():
        raise InputMismatch(
            f"{int((~np.isfinite(x)).sum())} readings are missing or not finite. Leave their targets out, or "
            "take Krippendorff's alpha, which allows gaps"
        )
    if min(x.shape) < 2:
        raise NotEnoughData(f"{x.shape[0]} targets by {x.shape[1]} raters: two of each are needed at least")
    return x


def _paired(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim != 1 or a.shape != b.shape:
        raise InputMismatch(
            f"two readings of the same targets are needed, not {a.shape} and {b.shape}: lists of unequal "
            "length are never paired by position"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputMismatch("a reading is missing or not finite. Leave out both readings of that target")
    if len(a) < 3:
        raise NotEnoughData(f"{len(a)} pairs: three are needed at least")
    return a, b
