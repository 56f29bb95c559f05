"""The distribution of one week's rate in control: of one stratum, or standardised over several."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import signal, stats

from radfoundry.monitor.series import Baseline

GRID = 8192
"""Steps of the rate from 0 to 1, on which the sum of several strata is computed."""
ROUNDING = 1e-9
"""Rates that are equal on paper differ in their last digits."""


@dataclass(frozen=True)
class Law:
    """values: what the rate can be, rising, (m,). below, above: P(rate <= value), P(rate >= value).

    off: how far a value may be from the rate: 0 with one stratum, else half a grid step a stratum. By as much
    all answers are on the side of caution: p-values and false alarms not too small, limits not too tight.
    """

    values: np.ndarray
    below: np.ndarray
    above: np.ndarray
    off: float = 0.0

    def p_value(self, value: float) -> float:
        """Two-sided: twice the smaller tail."""
        return float(min(1.0, 2 * min(self._at_least(value - self.off), self._at_most(value + self.off))))

    def limits(self, alpha: float) -> tuple[float, float]:
        """The lowest and highest value that are no alarm; beyond each lies alpha / 2 at most."""
        quiet = np.flatnonzero((self.below > alpha / 2) & (self.above > alpha / 2))  # the median always is
        low, high = self.values[quiet[0]] - self.off, self.values[quiet[-1]] + self.off
        return max(0.0, low), min(1.0, high)

    def outside(self, low: float, high: float) -> float:
        """Probability of a rate below low or above high.

        No rate lies below the least possible one or above 1, so a limit there has no tail: with the slack of
        the grid, the weeks without a hit would count as alarms.
        """
        slack = self.off - 2 * ROUNDING  # beyond a limit, not on it
        under = self._at_most(low + slack) if low > self.values[0] + ROUNDING else 0.0
        over = self._at_least(high - slack) if high < 1 - ROUNDING else 0.0
        return float(min(1.0, under + over))

    def _at_most(self, value: float) -> float:
        last = np.searchsorted(self.values, value + ROUNDING, side="right") - 1
        return float(self.below[last]) if last >= 0 else 0.0

    def _at_least(self, value: float) -> float:
        first = np.searchsorted(self.values, value - ROUNDING)
        return float(self.above[first]) if first < len(self.values) else 0.0


def law(n: np.ndarray, base: Baseline, p: np.ndarray | None = None) -> Law | None:
    """The law of `base.value` in a week with n cases by stratum, (s,); None without a case of weight.

    p: real rates by stratum; the baseline's by default. Beta-binomial where the baseline has rho.
    """
    real = base.p if p is None else p
    present = np.flatnonzero((n > 0) & (base.weight > 0))
    if not len(present):
        return None
    absent = (n == 0) & (base.weight > 0)
    fixed = float(base.weight[absent] @ base.p[absent])
    if len(present) == 1:
        one = present[0]
        mass = counts(int(n[one]), float(real[one]), base.rho)
        values = fixed + base.weight[one] * np.arange(n[one] + 1) / n[one]
        return _law(values, mass)
    mass = np.ones(1)
    for one in present:
        place = np.rint(base.weight[one] * np.arange(n[one] + 1) / n[one] * GRID).astype(int)
        mass = signal.convolve(mass, np.bincount(place, counts(int(n[one]), float(real[one]), base.rho)))
    return _law(fixed + np.arange(len(mass)) / GRID, np.maximum(mass, 0.0), len(present) / (2 * GRID))


def laws(n: np.ndarray, base: Baseline, p: np.ndarray | None = None) -> list[Law | None]:
    """The law of each week, n (k, s); weeks with the same cases share it."""
    rows, which = np.unique(n, axis=0, return_inverse=True)
    made = [law(row, base, p) for row in rows]
    return [made[index] for index in np.ravel(which)]


def counts(n: int, p: float, rho: float = 0.0) -> np.ndarray:
    """P(x hits of n), x = 0 to n: binomial, or beta-binomial with correlation rho."""
    x = np.arange(n + 1)
    if rho > 0 and 0 < p < 1:
        return stats.betabinom.pmf(x, n, p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho)
    return stats.binom.pmf(x, n, p)


def _law(values: np.ndarray, mass: np.ndarray, off: float = 0.0) -> Law:
    below = np.minimum(np.cumsum(mass), 1.0)
    above = np.minimum(np.cumsum(mass[::-1])[::-1], 1.0)
    return Law(values, below, above, off)


def normal_half(variance: float, alpha: float) -> float:
    """Half the width of two-sided normal limits."""
    return float(stats.norm.isf(alpha / 2)) * math.sqrt(variance)
