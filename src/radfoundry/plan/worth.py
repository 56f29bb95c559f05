"""What more labels are expected to buy, and what they cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import binom

from radfoundry.errors import InputError
from radfoundry.plan.forecast import Forecast
from radfoundry.plan.ranges import check_ranges


@dataclass(frozen=True)
class Gain:
    """What the next labels are expected to buy: gain of the metric from `n` to `n + positives`.

    positives: by which the labels extend the curve, with the negatives that it gives each of them; few of
    them where these negatives are `scarce`. worth: the gain that these labels must be able to bring. stop:
    whether even the upper limit of the gain is below it.
    """

    n: float
    labels: float
    positives: float
    gain: float
    low: float
    high: float
    worth: float
    scarce: bool = False

    @property
    def stop(self) -> bool:
        return self.high < self.worth

    @property
    def sentence(self) -> str:
        advice = "stop: even the upper limit is below" if self.stop else "go on: that may reach"
        some = f"{self.positives:.2g} positives" + (", as far as their negatives go" if self.scarce else "")
        return (f"The next {self.labels:g} labels ({some}) are expected to buy "
                f"{self.gain:+.4f} ({self.low:+.4f} to {self.high:+.4f}); {advice} the {self.worth:.2g} that "
                "would be worth it.")  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        names = ("n", "labels", "positives", "gain", "low", "high", "worth")
        return {**{k: getattr(self, k) for k in names}, "stop": self.stop, "sentence": self.sentence}


def next_labels(
    f: Forecast, *, labels: float = 10, prevalence: float | None = None, worth: float = 0.005
) -> Gain | None:
    """The stopping rule at the largest size; None for a curve that is not forecast, or not so far.

    With a prevalence the labels are of unselected cases, of which that share is positive; where the negatives
    of the curve bind (see `cost`), fewer positives than these can be used. Without one each label is a
    positive. worth: the gain that ten more positives must be able to bring. Raises InputError for a worth or
    a prevalence out of range, and what `check_mix` raises.
    """
    check_ranges(worth=worth, prevalence=prevalence)
    check_mix(prevalence, f.measured.negatives)
    if not f.usable or f.stack is None:
        return None
    n = float(f.measured.n[-1])
    all_used = labels * (1.0 if prevalence is None else prevalence)
    k = 0 if prevalence is None else f.measured.negatives or 0
    positives = min(all_used, labels / _cases(1, k, prevalence or 1.0))
    if n + positives > f.horizon * (1 + 1e-9):  # the curves end before: they would look flat
        return None
    # One curve at a time: what is common to both ends (level, test patients) does not count.
    x = np.log(f.band["n"].to_numpy())
    ends = np.log([n, n + positives])
    per_draw = np.array([np.diff(np.interp(ends, x, c))[0] for c in f.draws])
    fit = float(np.diff(np.interp(ends, x, f.band["fit"]))[0])
    tail = (1 - f.level) / 2
    low, high = np.quantile(per_draw, [tail, 1 - tail])
    return Gain(
        n, labels, positives, fit, float(min(low, fit)), float(max(high, fit)), worth * positives / 10,
        scarce=positives < 0.999 * all_used,
    )  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Labels and money for a number of positives, each with its negatives, at a prevalence.

    positives, negatives: still to be found; negatives are None where the curve's ratio is not known, and
    none are counted. cases: to screen and label, as the class that `binds` takes on average. low, high:
    limits (90 % by default), as luck in finding both classes goes. budget: cases x price. `further` counts
    from what is labelled already.
    """

    positives: float
    negatives: float | None
    prevalence: float
    cases: float
    low: float
    high: float
    price: float | None
    further: bool

    @property
    def binds(self) -> Literal["positives", "negatives"]:
        """The class of which enough are found last."""
        of_negatives = (self.negatives or 0) * self.prevalence
        return "negatives" if of_negatives > self.positives * (1 - self.prevalence) else "positives"

    @property
    def budget(self) -> float | None:
        return None if self.price is None else self.cases * self.price

    def as_dict(self) -> dict[str, Any]:
        names = ("positives", "negatives", "binds", "prevalence", "cases", "low", "high", "price", "further")
        return {**{k: getattr(self, k) for k in names}, "budget": self.budget}


def cost(
    positives: float, prevalence: float, *, negatives: float | None = None, price: float | None = None,
    have: float = 0, level: float = 0.9,
) -> Cost | None:  # fmt: skip
    """Cases to label until `positives` and `negatives` for each of them are found: n/p or k n/(1 − p).

    The larger of the two numbers of cases is taken. negatives: k of the curve's 1:k (None: unknown, positives
    alone count). have: positives that are there already, with their negatives. The limits are those of the
    larger of two negative binomials. None for an infinite number. InputError for a prevalence, a ratio or a
    price out of range, and what `check_mix` raises.

    >>> cost(50, 0.1, price=4.0).budget
    2000.0
    >>> found = cost(500, 0.742, negatives=1)
    >>> round(found.cases), found.binds
    (1938, 'negatives')
    """
    check_ranges(prevalence=prevalence, negatives=negatives, price=price)
    check_mix(prevalence, negatives)
    if not math.isfinite(positives):
        return None
    need = max(math.ceil(positives - have - 1e-9), 0)
    beside = 0 if negatives is None else math.ceil(negatives * need - 1e-9)
    cases = _cases(need, beside, prevalence)
    tail = (1 - level) / 2
    low, high = (_until(q, need, beside, prevalence) for q in (tail, 1 - tail))
    return Cost(
        need, None if negatives is None else beside, prevalence, cases, min(low, cases), max(high, cases),
        price, have > 0,
    )  # fmt: skip


def check_mix(prevalence: float | None, negatives: float | None) -> None:
    """InputError where the curve needs negatives and every case to come is positive."""
    if prevalence == 1 and negatives:
        raise InputError(
            f"at a prevalence of 1 no negative case is ever found, and this curve has {negatives:g} for each "
            "positive. Give the share of positives among the cases that will be labelled"
        )


def _cases(positives: float, negatives: float, prevalence: float) -> float:
    """Cases in which, on average, that many of both classes are found."""
    return max(positives / prevalence, negatives / (1 - prevalence) if negatives else 0.0)


def _until(chance: float, positives: int, negatives: int, prevalence: float) -> float:
    """The least number of cases that hold that many of both classes with a probability of `chance`."""
    if not positives:
        return 0.0

    def complete(cases: int) -> float:
        few = binom.cdf(positives - 1, cases, prevalence)  # positives
        return float(1 - few - binom.sf(cases - negatives, cases, prevalence))

    low, high = positives + negatives - 1, 2 * (positives + negatives)
    while complete(high) < chance:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if complete(middle) >= chance else (middle, high)
    return float(high)
