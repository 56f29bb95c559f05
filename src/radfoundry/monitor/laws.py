"""The distribution of one week's rate in control: of one stratum, or standardised over several."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import signal, stats

from radfoundry.monitor.series import Baseline

GRID = 8192
"""Steps of the rate from 0 to 1, on which the sum of several strata is computed."""


@dataclass(frozen=True)
class Law:
    """values: what the rate can be, rising, (m,). below, above: P(rate <= value), P(rate >= value).

    pad: how far a value may be off: 0 but for rounding with one stratum, else half a grid step a stratum.
    """

    values: np.ndarray
    below: np.ndarray
    above: np.ndarray
    pad: float

    def p_value(self, value: float) -> float:
        """Two-sided: twice the smaller tail, on the side of caution by `pad`."""
        up = np.searchsorted(self.values, value - self.pad)
        down = np.searchsorted(self.values, value + self.pad, side="right") - 1
        above = self.above[up] if up < len(self.values) else 0.0
        return float(min(1.0, 2 * min(above, self.below[down] if down >= 0 else 0.0)))

    def limits(self, alpha: float) -> tuple[float, float]:
        """The lowest and highest value that are no alarm; beyond each lies alpha / 2 at most."""
        quiet = np.flatnonzero((self.below > alpha / 2) & (self.above > alpha / 2))  # the median always is
        exact = self.pad < 1e-6
        low, high = self.values[quiet[0]], self.values[quiet[-1]]
        return (low, high) if exact else (max(0.0, low - self.pad), min(1.0, high + self.pad))

    def outside(self, low: float, high: float) -> float:
        """Probability of a rate below low or above high."""
        first = np.searchsorted(self.values, low - self.pad)
        last = np.searchsorted(self.values, high + self.pad, side="right") - 1
        under = self.below[first - 1] if first > 0 else 0.0
        over = self.above[last + 1] if last + 1 < len(self.values) else 0.0
        return float(min(1.0, under + over))


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
        return _law(values, mass, 1e-9)
    mass = np.ones(1)
    for one in present:
        place = np.rint(base.weight[one] * np.arange(n[one] + 1) / n[one] * GRID).astype(int)
        mass = signal.convolve(mass, np.bincount(place, counts(int(n[one]), float(real[one]), base.rho)))
    return _law(fixed + np.arange(len(mass)) / GRID, np.maximum(mass, 0.0), len(present) / (2 * GRID) + 1e-9)


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


def _law(values: np.ndarray, mass: np.ndarray, pad: float) -> Law:
    below = np.minimum(np.cumsum(mass), 1.0)
    above = np.minimum(np.cumsum(mass[::-1])[::-1], 1.0)
    return Law(values, below, above, pad)


def normal_half(variance: float, alpha: float) -> float:
    """Half the width of two-sided normal limits."""
    return float(stats.norm.isf(alpha / 2)) * math.sqrt(variance)
