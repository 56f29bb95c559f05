"""Cases to show a difference: two AUCs on the same cases or on two groups, two paired proportions.

The tests meant are those of `radfoundry compare`: DeLong's for AUCs, McNemar's exact test for decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import special, stats

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.compare import delong_paired
from radfoundry.evaluate.intervals import auc_covariance, placements
from radfoundry.plan.precision import MODELS, SOURCES, Model, Progress, auc_se
from radfoundry.plan.ranges import check_ranges
from radfoundry.plan.requirement import (
    Criterion,
    Requirement,
    better_than_chance,
    cases,
    cases_of_both,
    certain_screening,
    correlation_of,
    draws_of,
    fewest,
    one_of,
    share,
    smallest,
    split,
)


def auc_covariance_binormal(
    auc_a: float, auc_b: float, positives: float, negatives: float, score_correlation: float
) -> float:
    """Covariance of two empirical AUCs on the same cases, exact for normal scores of equal variance.

    score_correlation: between the two models' scores, within positives as within negatives. The three terms
    are bivariate normal probabilities: the two AUCs see the same pair (correlation r), the same positive
    or the same negative (r / 2). Same construction as the variance of Hanley and McNeil 1982.
    """
    a, b, product = float(special.ndtri(auc_a)), float(special.ndtri(auc_b)), auc_a * auc_b
    pair = _both_below(a, b, score_correlation) - product
    one = _both_below(a, b, score_correlation / 2) - product
    return (pair + (positives - 1 + negatives - 1) * one) / (positives * negatives)


def _both_below(a: float, b: float, correlation: float) -> float:
    if correlation >= 1:
        return float(min(special.ndtr(a), special.ndtr(b)))
    return float(stats.multivariate_normal.cdf([a, b], cov=[[1, correlation], [correlation, 1]]))


def auc_correlation(auc_a: float, auc_b: float, score_correlation: float) -> float:
    """Correlation of two AUCs on the same cases, from that of the scores (large binormal samples).

    What Hanley and McNeil tabulate (Radiology 1983;148:839, table I), computed: a little below the
    correlation of the scores, the more so the higher the AUCs.

    >>> round(auc_correlation(0.8, 0.8, 0.5), 2)
    0.45
    """
    many = 1e9
    covariance = auc_covariance_binormal(auc_a, auc_b, many, many, score_correlation)
    return covariance / (auc_se(auc_a, many, many, "binormal") * auc_se(auc_b, many, many, "binormal"))


@dataclass(frozen=True)
class _Pair:
    """Two AUCs on the same cases (arms 1), or each on its own half of them (arms 2)."""

    auc_a: float
    auc_b: float
    prevalence: float
    arms: int
    score_correlation: float
    correlation: float | None
    model: Model

    @property
    def r(self) -> float:
        """How the two AUCs correlate."""
        if self.arms == 2:
            return 0.0
        return _paired_r(self.auc_a, self.auc_b, self.score_correlation, self.correlation)

    @property
    def correlations(self) -> dict[str, Any]:
        """What was assumed of the pairing, for the result."""
        if self.arms == 2:
            return {}
        scores = {} if self.correlation is not None else {"correlation of the scores": self.score_correlation}
        return {**scores, "correlation of the AUCs": self.r}

    def variance(self, first: float, second: float, total: float) -> float:
        """Of the difference of two AUCs over `total` cases."""
        share_of = self.prevalence / self.arms, (1 - self.prevalence) / self.arms
        counts = total * share_of[0], total * share_of[1]
        a, b = auc_se(first, *counts, self.model), auc_se(second, *counts, self.model)
        if self.arms == 1 and self.correlation is None and self.model == "binormal":
            return a**2 + b**2 - 2 * auc_covariance_binormal(first, second, *counts, self.score_correlation)
        return a**2 + b**2 - 2 * self.r * a * b

    def power_of(self, alpha: float, sides: int, equal_under_null: bool) -> Callable[[int], float]:
        """Power of the z test as a function of the number of cases."""
        z, gap = float(stats.norm.isf(alpha / sides)), abs(self.auc_a - self.auc_b)

        def reached(total: int) -> float:
            se = math.sqrt(self.variance(self.auc_a, self.auc_b, total))
            null = math.sqrt(self.variance(self.auc_a, self.auc_a, total)) if equal_under_null else se
            other = stats.norm.cdf((-gap - z * null) / se) if sides == 2 else 0.0
            return float(stats.norm.cdf((gap - z * null) / se) + other)

        return reached


def compare_aucs(
    auc_a: float,
    auc_b: float,
    prevalence: float,
    *,
    power: float | None = 0.8,
    n: int | None = None,
    alpha: float = 0.05,
    sides: Literal[1, 2] = 2,
    paired: bool = True,
    score_correlation: float = 0.5,
    correlation: float | None = None,
    model: Model = "binormal",
    equal_under_null: bool = False,
) -> Requirement:
    """Cases to tell two AUCs apart with that power (or the power of n cases).

    paired: both models score the same cases. Their AUCs then correlate by `correlation`, or as
    `score_correlation` implies under normal scores. Unpaired: half of the n cases go to each model.
    z = (A - B) / sqrt(SE_A^2 + SE_B^2 - 2 r SE_A SE_B) (Hanley and McNeil, Radiology 1983;148:839).
    equal_under_null: take the variance under the null with both AUCs at auc_a, as Hanley and McNeil's table
    of 1982 does; by default the variance at the true AUCs serves both, as in DeLong's test.

    >>> compare_aucs(0.85, 0.75, 0.5).n
    168
    """
    better_than_chance(auc_a, "auc_a")
    better_than_chance(auc_b, "auc_b")
    if auc_a == auc_b:
        raise InputError(f"both AUCs are {auc_a:g}: no difference to find. Give the one you hope for")
    share(prevalence, "prevalence")
    share(alpha, "alpha", hint="0.05 is usual")
    target = _power_target(power, n, alpha)
    arms = 1 if paired else 2
    if paired:  # refused here, before anything is integrated over it
        _paired_r(auc_a, auc_b, score_correlation, correlation)
    pair = _Pair(auc_a, auc_b, prevalence, arms, score_correlation, correlation, model)
    reached = pair.power_of(alpha, sides, equal_under_null)
    each = 2 * arms
    found = cases_of_both(n, prevalence, each) if n is not None else smallest(
        lambda total: reached(total) >= target, f"power {target:g}", start=fewest(prevalence, each)
    )  # fmt: skip
    if not paired and n is None:
        found += found % 2
    needed = found if n is None else None
    criterion = Criterion(
        "difference of AUCs", "power", None if n is not None else target, reached(found), needed
    )
    return Requirement(
        f"AUC {auc_a:g} against {auc_b:g}, {'same cases' if paired else 'two groups'}",
        found,
        (criterion,),
        *split(found, prevalence),
        given=n is not None,
        assumptions={"prevalence": prevalence, **pair.correlations, "alpha": alpha, "sides": sides},
        method=f"z test of the difference, {MODELS[model]}"
        + (", null variance at the first AUC" if equal_under_null else ""),
        source=f"{SOURCES[model]}; Hanley and McNeil, Radiology 1983;148:839-843",
        notes=() if paired else (f"two groups: {found // 2} cases for each model",),
    )


def _paired_r(auc_a: float, auc_b: float, score_correlation: float, correlation: float | None) -> float:
    if correlation is not None:
        return correlation_of(correlation, "correlation of the AUCs")
    return auc_correlation(auc_a, auc_b, correlation_of(score_correlation, "correlation of the scores"))


def _power_target(power: float | None, n: int | None, alpha: float) -> float:
    if n is not None:
        return math.nan
    one_of(power=power, n=n)
    target = share(power if power is not None else math.nan, "power", hint="0.8 is usual")
    if target <= alpha:
        raise InputError(
            f"power {target:g} must lie above alpha {alpha:g}, which chance alone gives. Try 0.8"
        )
    return target


@dataclass(frozen=True, slots=True)
class SimulatedPower:
    """Share of simulated studies in which DeLong's paired test finds the difference, with its error."""

    auc_a: float
    auc_b: float
    positives: int
    negatives: int
    power: float
    power_error: float
    correlation: float
    alpha: float
    score_correlation: float
    draws: int
    seed: int

    def __str__(self) -> str:
        return (
            f"simulated AUC {self.auc_a:g} against {self.auc_b:g} (± Monte-Carlo error)\n"
            f"power     {self.power:.3f} ± {self.power_error:.3f}; DeLong's test, two-sided, {self.alpha:g}\n"
            f"AUCs      correlate by {self.correlation:.2f}, scores by {self.score_correlation:g}\n"
            f"studies   {self.draws} with {self.positives} positive, {self.negatives} negative for each; "
            f"binormal scores; seed {self.seed}"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def simulate_comparison(
    auc_a: float,
    auc_b: float,
    positives: int,
    negatives: int,
    *,
    score_correlation: float = 0.5,
    alpha: float = 0.05,
    paired: bool = True,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> SimulatedPower:
    """Draw whole studies of two binormal scores and test each by DeLong's test, two-sided.

    Equal AUCs are allowed: the power is then the test's true size. paired=False: `positives` and
    `negatives` are those of each group.
    """
    better_than_chance(auc_a, "auc_a")
    better_than_chance(auc_b, "auc_b")
    m, n = cases(positives, 2, "positives"), cases(negatives, 2, "negatives")
    draws, r = draws_of(draws), correlation_of(score_correlation, "correlation of the scores")
    share(alpha, "alpha", hint="0.05 is usual")
    check_ranges(seed=seed)
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(m, int), np.zeros(n, int)]
    r = r if paired else 0.0
    shift = np.array([[math.sqrt(2) * float(special.ndtri(a))] for a in (auc_a, auc_b)])
    found = np.empty((draws, 2))
    hits = 0
    for i in range(draws):
        scores = rng.normal(size=(2, m + n))
        scores[1] = r * scores[0] + math.sqrt(1 - r * r) * scores[1]
        scores += shift * y
        found[i], p = _p_paired(y, scores) if paired else _p_unpaired(y, scores)
        hits += p < alpha
        if progress is not None:
            progress(i + 1, draws)
    power = hits / draws
    varied = found.std(axis=0).min() > 0
    correlation = float(stats.pearsonr(found[:, 0], found[:, 1]).statistic) if varied else math.nan
    error = math.sqrt(max(power * (1 - power), 1 / draws) / draws)
    return SimulatedPower(auc_a, auc_b, m, n, power, error, correlation, alpha, r, draws, seed)


def _p_paired(y: np.ndarray, scores: np.ndarray) -> tuple[tuple[float, float], float]:
    test = delong_paired(y, scores[0], scores[1])
    return (test.value_a, test.value_b), test.p


def _p_unpaired(y: np.ndarray, scores: np.ndarray) -> tuple[tuple[float, float], float]:
    parts = np.stack([placements(y, s) for s in scores])
    a, b = parts[:, y == 1].mean(axis=1)
    variance = float(np.trace(auc_covariance(y, parts)))
    if variance <= 0:
        return (a, b), float(a == b)
    return (a, b), float(2 * stats.norm.sf(abs(a - b) / math.sqrt(variance)))


Test = Literal["exact", "approximate"]
EXACT_UP_TO = 20_000  # pairs; the scan beyond takes minutes and changes the third digit of n


def compare_paired_proportions(
    share_a: float,
    share_b: float,
    *,
    discordant: float | None = None,
    prevalence: float | None = None,
    among: Literal["positives", "negatives"] = "positives",
    power: float | None = 0.8,
    n: int | None = None,
    alpha: float = 0.05,
    sides: Literal[1, 2] = 2,
    test: Test = "exact",
) -> Requirement:
    """Cases to tell two paired proportions apart by McNemar's test: accuracy, or sensitivity of two readers.

    discordant: share of cases on which the two disagree; by default what independent errors would give,
    share_a (1 - share_b) + share_b (1 - share_a), which is cautious: models of the same images agree more.
    prevalence: for sensitivities, the share of positives; turns pairs into cases to screen. For
    specificities say among="negatives" too. test: "exact", power of the exact test averaged over the
    number of discordant pairs; "approximate", Connor's formula (Biometrics 1987;43:207).

    >>> compare_paired_proportions(0.9, 0.8, discordant=0.18, test="approximate").n
    139
    """
    more, less = _discordant(share(share_a, "share a"), share(share_b, "share b"), discordant)
    share(alpha, "alpha", hint="0.05 is usual")
    target = _power_target(power, n, alpha)
    rate = share(prevalence, "prevalence") if prevalence is not None else 1.0
    rate = 1 - rate if prevalence is not None and among == "negatives" else rate
    notes: list[str] = []

    if n is not None:
        total = cases(n, 2)
        pairs = max(math.floor(total * rate + 1e-9), 1)
    else:
        pairs, test = _pairs_needed(target, more, less, alpha, sides, test, notes)
        total = math.ceil(pairs / rate - 1e-9)
    needed, asked = (None, None) if n is not None else (total, target)
    reached = _mcnemar_power(test, pairs, more, less, alpha, sides)
    criterion = Criterion("difference of paired proportions", "power", asked, reached, needed)
    chosen = "independent errors" if discordant is None else "given"
    if prevalence is not None and n is None:
        sure = certain_screening(pairs, rate)
        notes.append(f"{pairs} {among} needed; screen {sure} cases to have them with 90 % certainty")
    positive, negative = split(total, prevalence) if prevalence is not None else (None, None)
    return Requirement(
        f"{share_a:g} against {share_b:g}, same cases",
        total,
        (criterion,),
        positive,
        negative,
        given=n is not None,
        assumptions={
            f"share discordant ({chosen})": more + less,
            **({"prevalence": prevalence, "compared among": among} if prevalence is not None else {}),
            "alpha": alpha,
            "sides": sides,
        },
        method="McNemar's exact test, power averaged over discordant pairs"
        if test == "exact"
        else "McNemar's test, normal approximation",
        source="Connor, Biometrics 1987;43:207-211",
        notes=tuple(notes),
    )


def _mcnemar_power(test: Test, pairs: int, more: float, less: float, alpha: float, sides: int) -> float:
    if test == "approximate":
        return mcnemar_power_connor(pairs, more, less, alpha, sides)
    return mcnemar_power_exact(pairs, more, less, alpha, sides)[0]


def _pairs_needed(
    target: float, more: float, less: float, alpha: float, sides: int, test: Test, notes: list[str]
) -> tuple[int, Test]:
    """Pairs for that power, and the test that was counted on; `notes` gets why it is another than asked."""
    start = smallest(
        lambda k: mcnemar_power_connor(k, more, less, alpha, sides) >= target, f"power {target:g}"
    )
    if test == "exact" and start > EXACT_UP_TO:
        test = "approximate"
        notes.append(f"above {EXACT_UP_TO:,} pairs exact and approximate power agree: approximate taken")
    return (start if test == "approximate" else _lasting(target, start, more, less, alpha, sides)), test


def _discordant(a: float, b: float, total: float | None) -> tuple[float, float]:
    """Shares of cases that only the better one, and only the other, has right: the larger first.

    total: their sum; None for that of independent errors.
    """
    if a == b:
        raise InputError(f"both shares are {a:g}: there is no difference to find")
    low, high = abs(a - b), min(a + b, 2 - a - b)
    if total is None:
        total = a * (1 - b) + b * (1 - a)
    elif not low - 1e-9 <= total <= high + 1e-9:
        raise InputError(
            f"with shares {a:g} and {b:g} the two disagree on between {low:.4g} and {high:.4g} of the cases, "
            f"not {total:g}. Give a value in that range"
        )
    total = min(max(total, low), high)
    return (total + low) / 2, (total - low) / 2


def mcnemar_power_connor(n: float, more: float, less: float, alpha: float = 0.05, sides: int = 2) -> float:
    """Power of McNemar's test by the normal approximation; more and less: the two discordant shares.

    Phi((d sqrt(n) - z sqrt(s)) / sqrt(s - d^2)), d = more - less, s = more + less (Connor 1987), plus the
    other tail.

    >>> round(mcnemar_power_connor(500, 0.2, 0.1), 4)
    0.9846
    """
    d, s, z = more - less, more + less, float(stats.norm.isf(alpha / sides))
    spread = math.sqrt(max(s - d * d, 1e-15))
    near = stats.norm.cdf((d * math.sqrt(n) - z * math.sqrt(s)) / spread)
    far = stats.norm.cdf((-d * math.sqrt(n) - z * math.sqrt(s)) / spread) if sides == 2 else 0.0
    return float(near + far)


def mcnemar_power_exact(
    n: int, more: float, less: float, alpha: float = 0.05, sides: int = 2
) -> tuple[float, float]:
    """(power, true size) of McNemar's exact test with n pairs, over all numbers of discordant pairs.

    >>> [round(x, 4) for x in mcnemar_power_exact(50, 0.32, 0.08, sides=1)]
    [0.8394, 0.0326]
    """
    s, d = min(more + less, 1.0), np.arange(n + 1)
    power, size = (_averaged(n, s, discordant_power(d, p, alpha, sides)) for p in (more / (more + less), 0.5))
    return power, size


def _averaged(n: int, share_discordant: float, by_d: np.ndarray) -> float:
    """Mean of by_d, (at least n + 1,), indexed by the number of discordant pairs among n."""
    if share_discordant >= 1:
        return float(by_d[n])
    low, high = (int(x) for x in stats.binom.ppf([1e-12, 1 - 1e-12], n, share_discordant))
    d = np.arange(low, high + 1)
    return float(stats.binom.pmf(d, n, share_discordant) @ by_d[d])


def discordant_power(d: np.ndarray, p: float, alpha: float = 0.05, sides: int = 2) -> np.ndarray:
    """Chance that the exact binomial test rejects with d discordant pairs, a share p of them on one side."""
    critical = stats.binom.isf(alpha / sides, d, 0.5) + 1  # reject from this many on
    upper = stats.binom.sf(critical - 1, d, p)
    return np.asarray(upper + (stats.binom.cdf(d - critical, d, p) if sides == 2 else 0.0))


def _lasting(target: float, start: int, more: float, less: float, alpha: float, sides: int) -> int:
    """The smallest n from which on the exact test's power stays at the target; start: the approximate n.

    That power is a saw: it falls back at each new critical value. The scan goes upwards from below the
    approximate n until the target has held for as many pairs as some teeth are long.
    """
    s = min(more + less, 1.0)
    tooth = max(30, math.ceil(12 / s))
    top = 2 * start + 4 * tooth + 50
    by_d = discordant_power(np.arange(top + 1), more / (more + less), alpha, sides)
    first = None
    for k in range(max(int(0.8 * start) - tooth, 2), top + 1):
        if _averaged(k, s, by_d) < target:
            first = None
        elif first is None:
            first = k
        elif k - first >= tooth:
            break
    if first is None:
        raise NotEnoughData(f"power {target:g} is not reached with {top} pairs. Use test='approximate'")
    return first
