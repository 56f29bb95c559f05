"""How narrow an interval will be: of an AUC, of a sensitivity, of a specificity.

Cases are independent here, one row a patient. Where patients bring several images, count patients.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import special, stats

from radfoundry.errors import InputError
from radfoundry.evaluate.intervals import delong, z_of
from radfoundry.plan.ranges import check_ranges
from radfoundry.plan.requirement import (
    Criterion,
    Requirement,
    better_than_chance,
    cases,
    cases_of_both,
    certain_screening,
    draws_of,
    fewest,
    interval_width,
    one_of,
    share,
    smallest,
    split,
)

Model = Literal["hanley-mcneil", "binormal"]
Interval = Literal["wilson", "clopper-pearson", "wald"]


def pair_probabilities(auc: float, model: Model = "hanley-mcneil") -> tuple[float, float]:
    """Q1: two positives both outrank one negative; Q2: one positive outranks two negatives.

    hanley-mcneil: Q1 = A / (2 - A), Q2 = 2 A^2 / (1 + A), exact for negative exponential scores (Hanley
    and McNeil, Radiology 1982;143:29). binormal: normal scores of equal variance; then Q1 = Q2, a bivariate
    normal probability with correlation 1/2, written with Owen's T.

    >>> [round(q, 4) for q in pair_probabilities(0.8)]
    [0.6667, 0.7111]
    """
    if model == "hanley-mcneil":
        return auc / (2 - auc), 2 * auc**2 / (1 + auc)
    h = special.ndtri(auc)
    q = float(auc - 2 * special.owens_t(h, 1 / math.sqrt(3)))
    return q, q


def auc_se(auc: float, positives: float, negatives: float, model: Model = "hanley-mcneil") -> float:
    """Standard error of an empirical AUC: exact for finite samples under the model.

    sqrt([A(1 - A) + (m - 1)(Q1 - A^2) + (n - 1)(Q2 - A^2)] / (m n)), m positives, n negatives (Bamber 1975;
    Hanley and McNeil 1982). Counts may be expected ones, not whole.

    >>> round(auc_se(0.85, 40, 40), 4)
    0.0437
    """
    q1, q2 = pair_probabilities(auc, model)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return math.sqrt(variance / (positives * negatives))


def auc_precision(
    auc: float,
    prevalence: float,
    *,
    width: float | None = None,
    n: int | None = None,
    level: float = 0.95,
    model: Model = "hanley-mcneil",
) -> Requirement:
    """Cases for an interval of an AUC that is `width` wide (or its width with n cases).

    width: upper minus lower limit of AUC +- z SE, at the expected numbers of positives and negatives.
    prevalence: share of positives among the cases; for a case-control sample, the share you choose.
    Raises InputError for values that are impossible, NotEnoughData where the width is out of reach.

    >>> auc_precision(0.8, 0.2, width=0.1).n
    599
    """
    better_than_chance(auc)
    share(prevalence, "prevalence")
    share(level, "level", hint="For 95 % give 0.95")
    one_of(width=width, n=n)
    z = z_of(level)

    def wide(total: int) -> float:
        return 2 * z * auc_se(auc, total * prevalence, total * (1 - prevalence), model)

    if n is None:
        target = interval_width(width if width is not None else math.nan)
        found = smallest(
            lambda total: wide(total) <= target, f"an AUC interval {target:g} wide", start=fewest(prevalence)
        )
    else:
        found, target = cases_of_both(n, prevalence), None
    reached = wide(found)
    return Requirement(
        f"{level:.0%} interval of an AUC of {auc:g}",
        found,
        (Criterion("interval of the AUC", "width", target, reached, found if n is None else None),),
        *split(found, prevalence),
        given=n is not None,
        assumptions={"auc": auc, "prevalence": prevalence, "level": level},
        method=f"AUC ± z · SE, {MODELS[model]}",
        source=SOURCES[model],
        notes=_auc_notes(auc, reached, split(found, prevalence)),
    )


MODELS = {
    "hanley-mcneil": "SE of Hanley and McNeil (negative exponential scores)",
    "binormal": "exact SE for normal scores of equal variance",
}


SOURCES = {
    "hanley-mcneil": "Hanley and McNeil, Radiology 1982;143:29-36",
    "binormal": "Bamber, J Math Psychol 1975;12:387-415",
}


def _auc_notes(auc: float, width: float, classes: tuple[int, int]) -> tuple[str, ...]:
    notes = []
    if auc + width / 2 > 1:
        notes.append(
            "the interval would pass 1; there a logit interval is used, and its width differs. Check with "
            "the simulation"
        )
    if min(classes) < 10:
        notes.append(f"only {min(classes)} cases of the rarer class: the formula is rough. Simulate")
    return tuple(notes)


@dataclass(frozen=True, slots=True)
class SimulatedPrecision:
    """What DeLong's interval, as `radfoundry evaluate` computes it, will look like over repeated studies.

    width: mean width; sd: spread of the estimated AUC; coverage: share of intervals that hold the truth.
    Each `_error` is the Monte-Carlo standard error of the number before it.
    """

    auc: float
    positives: int
    negatives: int
    width: float
    width_error: float
    width_90: float
    sd: float
    sd_error: float
    coverage: float
    coverage_error: float
    level: float
    scores: str
    draws: int
    seed: int

    def __str__(self) -> str:
        return (
            f"simulated {self.level:.0%} interval of an AUC of {self.auc:g} (± Monte-Carlo error)\n"
            f"width     {self.width:.4f} ± {self.width_error:.4f} on average; 9 in 10 studies below "
            f"{self.width_90:.4f}\n"
            f"SD        {self.sd:.4f} ± {self.sd_error:.4f} of the estimated AUC\n"
            f"coverage  {self.coverage:.3f} ± {self.coverage_error:.3f}\n"
            f"studies   {self.draws} with {self.positives} positive, {self.negatives} negative; "
            f"{self.scores} scores; DeLong's interval; seed {self.seed}"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


Scores = Literal["binormal", "negative-exponential"]
Progress = Callable[[int, int], object]  # (draws done, draws in all)


def simulate_auc(
    auc: float,
    positives: int,
    negatives: int,
    *,
    scores: Scores = "binormal",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> SimulatedPrecision:
    """Draw whole studies and take DeLong's interval in each.

    scores: "binormal", N(sqrt(2) z(AUC), 1) against N(0, 1); or "negative-exponential", the model behind
    Hanley and McNeil's formula. seed: the same one gives the same studies.
    """
    better_than_chance(auc)
    m, n = cases(positives, 2, "positives"), cases(negatives, 2, "negatives")
    draws = draws_of(draws)
    check_ranges(seed=seed)
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(m, int), np.zeros(n, int)]
    found = np.empty((draws, 3))
    for i in range(draws):
        estimate = delong(y, _draw(auc, m, n, scores, rng), level)
        found[i] = estimate.value, estimate.low, estimate.high
        if progress is not None:
            progress(i + 1, draws)
    value, low, high = found.T
    width, covered = high - low, (low <= auc) & (auc <= high)
    coverage, sd = float(covered.mean()), float(value.std(ddof=1))
    return SimulatedPrecision(
        auc,
        m,
        n,
        float(width.mean()),
        float(width.std(ddof=1) / math.sqrt(draws)),
        float(np.quantile(width, 0.9)),
        sd,
        _sd_error(value),
        coverage,
        math.sqrt(max(coverage * (1 - coverage), 1 / draws) / draws),
        level,
        scores,
        draws,
        seed,
    )


def _draw(auc: float, m: int, n: int, scores: Scores, rng: np.random.Generator) -> np.ndarray:
    if scores == "binormal":
        shift = math.sqrt(2) * special.ndtri(auc)
        return np.r_[rng.normal(shift, 1, m), rng.normal(0, 1, n)]
    return np.r_[rng.exponential(auc / (1 - auc), m), rng.exponential(1, n)]


def _sd_error(values: np.ndarray) -> float:
    """Standard error of a standard deviation, by the fourth moment (scores of an AUC are not normal)."""
    d = values - values.mean()
    variance, fourth = float((d**2).mean()), float((d**4).mean())
    if variance == 0:
        return 0.0
    return math.sqrt(max(fourth - variance**2, 0.0) / len(values)) / (2 * math.sqrt(variance))


def sens_spec_precision(
    *,
    prevalence: float,
    sensitivity: float | None = None,
    specificity: float | None = None,
    width: float | None = None,
    n: int | None = None,
    level: float = 0.95,
    interval: Interval = "wilson",
) -> Requirement:
    """Cases for intervals of sensitivity and specificity that are on average `width` wide.

    One of the two may be left out. Positives and negatives needed are turned into cases to screen by the
    prevalence (Buderer, Acad Emerg Med 1996;3:895). interval "wald" is Buderer's own formula
    n = z^2 p(1 - p) / (width / 2)^2; the other two take the expected width over the binomial distribution of
    what will be seen, which the formula ignores.

    >>> r = sens_spec_precision(prevalence=0.2, sensitivity=0.9, width=0.2, interval="wald")
    >>> r.n, r.n_positive
    (175, 35)
    """
    share(prevalence, "prevalence")
    share(level, "level", hint="For 95 % give 0.95")
    one_of(width=width, n=n)
    wanted = {"sensitivity": (sensitivity, prevalence), "specificity": (specificity, 1 - prevalence)}
    asked = {name: (p, rate) for name, (p, rate) in wanted.items() if p is not None}
    if not asked:
        raise InputError("give the sensitivity or the specificity that you expect, or both")
    for name, (p, _) in asked.items():
        share(p, name, hint="A test without errors has no width to plan: try 0.99")
    target = None if n is not None else interval_width(width if width is not None else math.nan)
    criteria, notes = [], []
    needs: dict[str, int] = {}
    for name, (p, rate) in asked.items():
        if target is not None:
            own = proportion_n(p, target, level=level, interval=interval)
            needs[name] = math.ceil(own / rate - 1e-9)
            sure = certain_screening(own, rate)
            kind = "positives" if name == "sensitivity" else "negatives"
            notes.append(f"{name} needs {own} {kind}; screen {sure} cases to have them with 90 % certainty")
    total = cases(n) if n is not None else max(needs.values())
    for name, (p, rate) in asked.items():
        own = max(math.floor(total * rate + 1e-9), 1)
        reached = proportion_width(p, own, level=level, interval=interval)
        criteria.append(Criterion(f"interval of {name}", "width", target, reached, needs.get(name)))
    values = {name: p for name, (p, _) in asked.items()}
    return Requirement(
        f"{level:.0%} interval of {' and '.join(f'{k} {v:g}' for k, v in values.items())}",
        total,
        tuple(criteria),
        *split(total, prevalence),
        given=n is not None,
        assumptions={**values, "prevalence": prevalence, "level": level},
        method=INTERVALS[interval],
        source="Buderer, Acad Emerg Med 1996;3:895-900",
        notes=tuple(notes),
    )


INTERVALS = {
    "wilson": "expected width of Wilson's interval (Wilson 1927)",
    "clopper-pearson": "expected width of the exact interval (Clopper and Pearson 1934)",
    "wald": "width of p ± z · sqrt(p(1 − p)/n), Buderer's formula",
}


def proportion_width(p: float, n: int, *, level: float = 0.95, interval: Interval = "wilson") -> float:
    """Expected width of the interval of a share p seen in n cases.

    >>> round(proportion_width(0.9, 35, interval="wald"), 4)
    0.1988
    """
    z = z_of(level)
    if interval == "wald":
        return 2 * z * math.sqrt(p * (1 - p) / n)
    low, high = (int(x) for x in stats.binom.ppf([1e-12, 1 - 1e-12], n, p))
    k = np.arange(low, high + 1)
    weight = stats.binom.pmf(k, n, p)
    return float(weight @ _width(k, n, level, interval) / weight.sum())


def _width(k: np.ndarray, n: int, level: float, interval: Interval) -> np.ndarray:
    """Widths of the intervals of k successes in n; (len(k),), as `evaluate.intervals` gives one by one."""
    if interval == "wilson":
        z, share_seen = z_of(level), k / n
        half = z * np.sqrt(share_seen * (1 - share_seen) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return 2 * half
    tail = (1 - level) / 2
    low, high = np.zeros(len(k)), np.ones(len(k))
    some, all_but = k > 0, k < n
    low[some] = special.betaincinv(k[some], n - k[some] + 1, tail)
    high[all_but] = special.betaincinv(k[all_but] + 1, n - k[all_but], 1 - tail)
    return high - low


@functools.lru_cache(maxsize=256)
def proportion_n(p: float, width: float, *, level: float = 0.95, interval: Interval = "wilson") -> int:
    """Smallest n whose expected width is at most `width`.

    >>> proportion_n(0.9, 0.1, interval="wald")
    139
    """

    def enough(n: int) -> bool:
        return proportion_width(p, n, level=level, interval=interval) <= width

    return smallest(enough, f"an interval {width:g} wide", start=2)
