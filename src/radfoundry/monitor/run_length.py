"""How long a chart runs until it alarms, by simulation; and the limit that gives a wanted run length.

A chart's statistic does not depend on its limit, so one simulation answers for all limits: of each path only
the records (new highest values) matter. The limit is the smallest whose mean run length in control, ARL0,
reaches the wanted one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy import optimize

from radfoundry.errors import NotEnoughData
from radfoundry.monitor.series import Baseline

Side = Literal["up", "down", "both"]

PATHS = 5_000
"""Paths of a calibration: the standard error of the ARL0 is 1.4 % of it."""
ROUGH = 400
BLOCK = 32
LONGEST = 50
"""Paths end at so many times the wanted ARL0; one in control lives as long with probability e^-50."""


class Walk(Protocol):
    """A chart's statistic over simulated periods. It is 0 or more, and alarms above the limit."""

    def begin(self, paths: int) -> np.ndarray:
        """State of new paths, (d, paths)."""
        ...

    def advance(
        self, state: np.ndarray, steps: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The next state, and the statistic (steps, paths)."""
        ...


def cumulative(x: np.ndarray, k: float, start: np.ndarray) -> np.ndarray:
    """C_t = max(0, C_{t-1} + x_t - k) along the first axis; x: (steps, paths). NaN leaves C as it is."""
    gain = np.where(np.isnan(x), 0.0, x - k)
    out, current = np.empty_like(gain), start
    for t in range(len(gain)):
        current = np.maximum(0.0, current + gain[t])
        out[t] = current
    return out


def smoothed(
    x: np.ndarray, variance: np.ndarray, weight: float, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """EWMA of x (steps, paths) and its exact variance; start: (2, paths) of both. NaN leaves them alone."""
    known = ~np.isnan(x)
    step = weight * known
    x, variance = np.where(known, x, 0.0), np.where(known, variance, 0.0)
    mean, spread = np.empty_like(x), np.empty_like(x)
    z, v = start
    for t in range(len(x)):
        z = z + step[t] * (x[t] - z)
        v = (1 - step[t]) ** 2 * v + step[t] ** 2 * variance[t]
        mean[t], spread[t] = z, v
    return mean, spread


def distance(mean: np.ndarray, variance: np.ndarray, side: Side) -> np.ndarray:
    """How far a mean lies out on a side, in its standard deviations; 0 where it has none."""
    up = np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0)
    return np.abs(up) if side == "both" else np.maximum(up if side == "up" else -up, 0.0)


def two_sided(x: np.ndarray, k: float, side: Side, start: np.ndarray) -> np.ndarray:
    """The upward and the downward CUSUM of x (steps, paths), (2, steps, paths); 0 for a side not watched."""
    watched = (side != "down", side != "up")
    signed = (x, -x)
    return np.stack([cumulative(signed[i], k, start[i]) if watched[i] else np.zeros_like(x) for i in (0, 1)])


@dataclass(frozen=True)
class Weeks:
    """Periods to draw: n (k, s) in any order with replacement, hits with probabilities p (s,)."""

    n: np.ndarray
    base: Baseline
    p: np.ndarray

    def draw(self, steps: int, paths: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Deviation from the in-control rate and its variance in control; (steps, paths), NaN if empty."""
        each, centre, variance = self._linear
        which = rng.integers(len(self.n), size=(steps, paths))
        value = -centre[which]
        rho = self.base.rho
        for stratum, p in enumerate(self.p):
            chance: float | np.ndarray = p
            if rho > 0 and 0 < p < 1:
                chance = rng.beta(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho, size=which.shape)
            value += each[which, stratum] * rng.binomial(self.n[which, stratum], chance)
        return value, variance[which]

    @functools.cached_property
    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The deviation of a week is `each` (k, s) times its counts, less `centre` (k,); and its variance."""
        none, variance = self.base.deviation(self.n, np.zeros_like(self.n))
        each = np.where(self.n > 0, self.base.weight / np.maximum(self.n, 1), 0.0)
        return each, -none, variance


Step = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(deviations, their variances, state) to (the next state, the statistic); state: (2, paths)."""


def smoothing(weight: float, side: Side) -> Step:
    """The EWMA's distance from the in-control rate in its own standard deviations."""

    def step(x: np.ndarray, variance: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, spread = smoothed(x, variance, weight, state)
        return np.stack([mean[-1], spread[-1]]), distance(mean, spread, side)

    return step


def summing(k: float, side: Side) -> Step:
    """The CUSUM of standardised deviations, of one side or the higher of both."""

    def step(x: np.ndarray, variance: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = two_sided(x / np.sqrt(variance), k, side, state)
        return both[:, -1], both.max(axis=0)

    return step


@dataclass(frozen=True)
class WeeklyWalk:
    """An EWMA or a CUSUM over drawn weeks."""

    weeks: Weeks
    step: Step

    def begin(self, paths: int) -> np.ndarray:
        return np.zeros((2, paths))

    def advance(
        self, state: np.ndarray, steps: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.step(*self.weeks.draw(steps, state.shape[1], rng), state)


@dataclass(frozen=True)
class CaseWalk:
    """The CUSUM of log-likelihood ratios by case: risks drawn from `risk` (n,), hits at `true` times odds.

    gain: what a hit and what none adds, (2, n).
    """

    risk: np.ndarray
    gain: np.ndarray
    true: float = 1.0

    def begin(self, paths: int) -> np.ndarray:
        return np.zeros((1, paths))

    def advance(
        self, state: np.ndarray, steps: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        which = rng.integers(len(self.risk), size=(steps, state.shape[1]))
        hit = rng.random(which.shape) < shifted(self.risk, self.true)[which]
        out = cumulative(np.where(hit, self.gain[0][which], self.gain[1][which]), 0.0, state[0])
        return out[-1:], out


def shifted(p: np.ndarray, odds_ratio: float) -> np.ndarray:
    """Probabilities whose odds are `odds_ratio` times those of p."""
    return odds_ratio * p / (1 - p + odds_ratio * p)


@dataclass(frozen=True)
class Records:
    """New highest values of each path, in order of time. length: where paths were ended."""

    path: np.ndarray
    time: np.ndarray
    value: np.ndarray
    paths: int
    length: int

    def run_lengths(self, limit: float) -> np.ndarray:
        """Periods until the statistic passes the limit, (paths,); `length` where it did not."""
        out = np.full(self.paths, self.length)
        passed = self.value > limit
        # Backwards, so that the earliest is written last.
        out[self.path[passed][::-1]] = self.time[passed][::-1]
        return out


def simulate(walk: Walk, ceiling: float, paths: int, length: int, rng: np.random.Generator) -> Records:
    """Records of `paths` paths, each followed until it passes `ceiling` or `length` periods are over."""
    alive, state, best, t = np.arange(paths), walk.begin(paths), np.zeros(paths), 0
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while len(alive) and t < length:
        steps = min(BLOCK, length - t)
        state, statistic = walk.advance(state, steps, rng)
        top = np.maximum.accumulate(np.concatenate([best[None], statistic]), axis=0)
        step, column = np.nonzero(top[1:] > top[:-1])
        kept.append((alive[column], t + 1 + step, statistic[step, column]))
        best, t = top[-1], t + steps
        going = best <= ceiling
        alive, best, state = alive[going], best[going], state[:, going]
    path, time, value = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return Records(path, time, value, paths, length)


@dataclass(frozen=True)
class Limit:
    """A limit and what it gives. lengths: run lengths in control, (paths,), cut at `longest`."""

    value: float
    lengths: np.ndarray
    longest: int

    @property
    def arl0(self) -> float:
        """Mean of the run lengths."""
        return float(self.lengths.mean())

    @property
    def se(self) -> float:
        """Standard error of `arl0`, from the simulation."""
        return float(self.lengths.std(ddof=1) / math.sqrt(len(self.lengths)))

    def false_alarm(self, periods: int) -> float:
        """Probability of an alarm within so many periods in control."""
        return float((self.lengths <= periods).mean())

    def said(self, unit: str) -> str:
        """The ARL0 in words. Where paths were cut before they alarmed, it is longer than their mean."""
        cut = float((self.lengths == self.longest).mean())
        least = f"at least {self.arl0:.0f} {unit}: {cut:.0%} of the paths saw no alarm in {self.longest:,}"
        plain = f"{self.arl0:.0f} {unit}"
        paths = f"standard error {self.se:.1f}, {len(self.lengths):,} paths"
        return f"simulated ARL0 {plain if cut < 0.005 else least} ({paths})"


def calibrate(walk: Walk, arl0: float, guess: float, rng: np.random.Generator, paths: int = PATHS) -> Limit:
    """The smallest limit with a mean run length of at least `arl0` in control.

    Counts are discrete, so the mean may be well above what was wanted: it is what `Limit.arl0` says.
    Raises NotEnoughData for a chart that could never alarm.
    """
    if not arl0 > 1:
        raise ValueError(f"arl0 must be above 1 period, not {arl0}")
    length = int(LONGEST * arl0)
    now, ceiling = min(ROUGH, paths), 0.8 * guess
    while True:
        records = simulate(walk, ceiling, now, length, rng)
        # The rough pass must reach past the goal by more than its own error.
        if records.run_lengths(ceiling).mean() >= (1.15 if now <= ROUGH else 1.0) * arl0:
            limit = _smallest(records, arl0, ceiling)
            own = records.run_lengths(limit)
            if (own == length).all():
                raise NotEnoughData(
                    "this chart cannot alarm: with so few cases a week no shift of that size shows. Watch "
                    "the other side, take longer periods, or pool strata"
                )
            if now == paths:
                return Limit(limit, own, length)
            # Rare hits make runs that are much longer than wanted; fewer of them are as exact.
            paths = min(paths, ROUGH + 1 + int(paths * arl0 / own.mean()))
            now, ceiling = paths, 1.04 * limit + 0.02
        else:
            ceiling = 1.12 * ceiling + 0.05


def _smallest(records: Records, arl0: float, ceiling: float) -> float:
    values = np.unique(np.concatenate([[0.0], records.value[records.value <= ceiling]]))
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if records.run_lengths(values[middle]).mean() >= arl0:
            high = middle
        else:
            low = middle + 1
    # Sums that are equal on paper differ in the last digits.
    return float(values[low] * (1 + 1e-9) + 1e-12)


def at_limit(walk: Walk, limit: float, arl0: float, rng: np.random.Generator, paths: int = PATHS) -> Limit:
    """Run lengths at a known limit. Paths are ended at 50 times `arl0`, an idea of their mean."""
    length = int(LONGEST * arl0)
    return Limit(limit, simulate(walk, limit, paths, length, rng).run_lengths(limit), length)


def siegmund(arl0: float, k: float) -> float:
    """Limit h of a one-sided normal CUSUM, by Siegmund's (1985) approximation; where the search begins.

    >>> round(siegmund(930, 0.5), 2)
    4.99
    """

    def above(b: float) -> float:
        return (math.expm1(2 * k * b) - 2 * k * b) / (2 * k * k) - arl0

    return max(0.1, float(optimize.brentq(above, 1e-6, 300 / max(2 * k, 1))) - 1.166)
