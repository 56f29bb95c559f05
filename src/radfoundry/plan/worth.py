"""What more labels are expected to buy, and what they cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import nbinom

from radfoundry.plan.forecast import Forecast
from radfoundry.plan.ranges import check_ranges


@dataclass(frozen=True)
class Gain:
    """What the next labels are expected to buy: gain of the metric from `n` to `n + positives`.

    worth: the gain that these labels must be able to bring. stop: whether even the upper limit of the gain is
    below it.
    """

    n: float
    labels: float
    positives: float
    gain: float
    low: float
    high: float
    worth: float

    @property
    def stop(self) -> bool:
        return self.high < self.worth

    @property
    def sentence(self) -> str:
        advice = "stop: even the upper limit is below" if self.stop else "go on: that may reach"
        return (f"The next {self.labels:g} labels ({self.positives:.2g} positives) are expected to buy "
                f"{self.gain:+.4f} ({self.low:+.4f} to {self.high:+.4f}); {advice} the {self.worth:.2g} that "
                "would be worth it.")  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        names = ("n", "labels", "positives", "gain", "low", "high", "worth")
        return {**{k: getattr(self, k) for k in names}, "stop": self.stop, "sentence": self.sentence}


def next_labels(
    f: Forecast, *, labels: float = 10, prevalence: float | None = None, worth: float = 0.005
) -> Gain | None:
    """The stopping rule at the largest measured size; None for a curve that cannot be forecast.

    With a prevalence the labels are of unselected cases, of which that share is positive; without one each
    label is a positive. worth: the gain that ten more positives must be able to bring. Raises InputError for
    a worth or a prevalence out of range.
    """
    check_ranges(worth=worth, prevalence=prevalence)
    if not f.usable or f.stack is None:
        return None
    n = float(f.measured.n[-1])
    positives = labels * (prevalence or 1.0)
    # One curve at a time: what is common to both ends (level, test patients) does not count.
    x = np.log(f.band["n"].to_numpy())
    ends = np.log([n, n + positives])
    per_draw = np.array([np.diff(np.interp(ends, x, c))[0] for c in f.draws])
    fit = float(np.diff(np.interp(ends, x, f.band["fit"]))[0])
    tail = (1 - f.level) / 2
    low, high = np.quantile(per_draw, [tail, 1 - tail])
    return Gain(
        n, labels, positives, fit, float(min(low, fit)), float(max(high, fit)), worth * positives / 10
    )


@dataclass(frozen=True)
class Cost:
    """Labels and money for a number of positives at a prevalence.

    cases: expected number of cases to screen and label; low, high: 90 % limits, as luck in finding positives
    goes. budget: cases x price. `further` counts from what is labelled already.
    """

    positives: float
    prevalence: float
    cases: float
    low: float
    high: float
    price: float | None
    further: bool

    @property
    def budget(self) -> float | None:
        return None if self.price is None else self.cases * self.price

    def as_dict(self) -> dict[str, Any]:
        names = ("positives", "prevalence", "cases", "low", "high", "price", "further")
        return {**{k: getattr(self, k) for k in names}, "budget": self.budget}


def cost(
    positives: float, prevalence: float, *, price: float | None = None, have: float = 0, level: float = 0.9
) -> Cost | None:
    """Cases to label until `positives` are found (negative binomial), `have` of them being there already.

    None for an infinite number. InputError for a prevalence or a price out of range.

    >>> cost(50, 0.1, price=4.0).budget
    2000.0
    """
    check_ranges(prevalence=prevalence, price=price)
    if not math.isfinite(positives):
        return None
    need = max(math.ceil(positives - 1e-9) - have, 0)
    tail = (1 - level) / 2
    low, high = ((need + nbinom.ppf(q, need, prevalence)) if need else 0.0 for q in (tail, 1 - tail))
    return Cost(need, prevalence, need / prevalence, float(low), float(high), price, have > 0)
