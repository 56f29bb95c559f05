"""From a measured learning curve to an answer: how many positives does a target need, and is it within reach?

Point: the power law, whose forecasts of simulated curves were nearer than those of the stack (mean absolute
error .022 against .028 ten times further out). Interval: a hierarchical bootstrap over all families.

- Repeats are resampled whole, because sizes of one repeat share their cases.
- Each draw is refitted and picks a family by its own AICc: what the families disagree on is in the band.
- Beyond the largest size no curve falls again: more labels do not make an expected metric worse.
- For new patients come the luck of the pool that all repeats were drawn from, and of the test patients.

On simulated worlds whose true curve is known, 90 % intervals from 50 positives held it at 100, 200 and 500
positives in .90, .92 and .90 of 180 worlds. A power law alone, its repeats resampled, held it in .67, .53 and
.38 of 60: what it lacks is the doubt about its own form (`benchmarks/measure_curves.py`). The intervals were
settled on simulated worlds alone; the point became the power law after real curves had been seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import norm

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.classification import METRICS
from radfoundry.plan.curves import SIGMA_FLOOR, Fitted, Stack, family_of, resampled, stack
from radfoundry.plan.measured import Measured, lowest, pool_variance
from radfoundry.plan.ranges import check_ranges

HORIZON = 10.0
"""Forecasts end at so many times the largest measured size: further out a curve is a guess."""

CERTAIN = 1.645
"""Standard errors by which a mean must lie above chance to be told from it: one-sided, 5 %."""

POINTS = 240
Scale = Literal["value", "dprime"]
Verdict = Literal[
    "reached", "forecast", "beyond the horizon", "not reached", "below chance", "falling", "no fit"
]


@dataclass(frozen=True, eq=False)
class Forecast:
    """What a curve says about a goal.

    n_at: positives at which the main curve reaches `goal` (inf: never). low, high: 90 % interval of it;
    high is inf where the lower band never reaches the goal within the horizon ("unbounded"). probability:
    P(the goal is reached within the horizon). band: n, fit, low, high. draws: (B, len(band)) curves.
    """

    measured: Measured
    goal: float
    verdict: Verdict
    n_at: float
    low: float
    high: float
    probability: float
    horizon: float
    level: float
    band: pd.DataFrame
    draws: np.ndarray
    stack: Stack | None
    scale: Scale = "value"
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether there is a curve that rises above chance."""
        return self.verdict not in ("below chance", "falling", "no fit")

    @property
    def named(self) -> float:
        """n_at as far as the horizon goes; NaN beyond it, where it is a guess that nobody should cost."""
        return math.nan if self.verdict == "beyond the horizon" else self.n_at

    def value_at(self, n: float) -> tuple[float, float, float]:
        """(fit, low, high) of the metric at n positives, within the measured range and the horizon."""
        at = np.log(self.band["n"].to_numpy())
        fit, low, high = (float(np.interp(math.log(n), at, self.band[c])) for c in ("fit", "low", "high"))
        return fit, low, high

    @property
    def interval(self) -> str:
        """The interval of n_at in words of a table."""
        if not self.usable:
            return "–"
        if math.isinf(self.low):
            return "none within the horizon"
        return f"{count(self.low)} to {count(self.high)}"

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return _sentence(self)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; what is infinite or undefined is null, and the verdict says which."""
        m = self.measured
        families = [] if self.stack is None else [
            {**plain(f.as_dict()), "weight": w} for f, w in zip(self.stack.fits, self.stack.weights)
        ]  # fmt: skip
        return {
            "target": m.target, "name": m.name, "metric": m.metric, "goal": self.goal,
            "verdict": self.verdict, "sentence": self.sentence, "n_at": finite(self.named),
            "low": finite(self.low), "high": finite(self.high),
            "unbounded": self.usable and not math.isfinite(self.high), "level": self.level,
            "probability": finite(self.probability), "horizon": self.horizon, "scale": self.scale,
            "largest": {"n": float(m.n[-1]), "value": float(m.mean[-1])}, "families": families,
            "band": [plain(r) for r in self.band.to_dict("records")], "notes": list(self.notes),
        }  # fmt: skip


def forecast(
    measured: Measured,
    goal: float,
    *,
    horizon: float = HORIZON,
    level: float = 0.9,
    families: Sequence[str] | None = None,
    scale: Scale = "value",
    draws: int = 1000,
    population: bool = True,
    max_steps: int = 2000,
    seed: int = 0,
) -> Forecast:
    """Fit the curve, and say at how many positives it reaches `goal`.

    goal: a value of the metric. horizon: how many times the largest size is looked at. families: names of
    `curves.FAMILIES` (default: see `default_families`); a note names those that need more sizes. scale: fit
    the metric itself, or binormal d′ = √2 Φ⁻¹(AUC). population: the interval is for new patients, with the
    luck of the pool and of the test patients in it; otherwise for this pool and this test set, which is what
    a back-test must use.

    Raises InputError for a goal that no value of the metric can have. A curve that falls, stays at chance or
    cannot be fitted is a verdict, not an error.
    """
    _check(measured, goal, horizon, level, draws, scale)
    m, rng = measured, np.random.default_rng(seed)
    link = _Link(m.metric, scale)
    mean, error = mean_error(m)
    trouble = _trouble(m, population)
    at = np.geomspace(m.n[0], horizon * m.n[-1], POINTS)
    at = np.unique(np.concatenate([at, m.n]))
    names = tuple(families or default_families(len(m.n)))
    plateau = link.plateau(m.chance)
    value, sigma = link.to(mean), link.slope(mean) * error
    try:
        fitted = stack(
            m.n,
            value,
            sigma,
            families=names,
            plateau=plateau,
            measurements=m.values.size,
            max_steps=max_steps,
        )
    except NotEnoughData as cause:
        return _without_fit(m, goal, horizon, level, at, str(cause), scale, trouble)
    main = _main(fitted)
    line = link.back(main(at))
    means = link.to(np.clip(mean + _draws(m, error, draws, population, rng), link.low, link.high))
    refits = link.back(
        resampled(m.n, means, sigma, fitted, at, plateau=plateau, measurements=m.values.size, rng=rng)
    )
    curves = _rising(refits, at, m.n[-1])
    tail = (1 - level) / 2
    low, high = np.quantile(curves, [tail, 1 - tail], axis=0)
    band = pd.DataFrame({"n": at, "fit": line, "low": np.minimum(low, line), "high": np.maximum(high, line)})
    found = _reading(band, curves, goal, at, main, link)
    verdict = trouble or _verdict(found["n_at"], m.n[-1], horizon)
    if trouble:
        found = {"n_at": math.nan, "low": math.nan, "high": math.nan, "probability": math.nan}
    return Forecast(m, goal, verdict, horizon=horizon * m.n[-1], level=level, band=band, draws=curves,
                    stack=fitted, scale=scale, notes=(*_left_out(m, names), *_notes(m, population)),
                    **found)  # fmt: skip


def default_families(sizes: int) -> tuple[str, ...]:
    """Families that so many sizes support: those with four parameters only from eight sizes on.

    On fewer they bend after the noise, and their forecasts of simulated curves were the worst.
    """
    few = ("power", "exponential", "log", "ilog2")
    return few if sizes < 8 else (*few, "mmf", "weibull")


def check_goal(metric: str, goal: float, chance: float) -> None:
    """InputError for a metric that falls, or a goal that it cannot reach or that chance reaches."""
    if not METRICS[metric].higher_is_better:
        raise InputError(
            f"{metric} falls as a model gets better; take one that rises, such as auroc or auprc"
        )
    floor = lowest(metric)
    if not floor < goal < 1:
        raise InputError(f"the goal for {metric} must lie between {floor:g} and 1, not {goal:g}")
    if math.isfinite(chance) and goal <= chance:
        raise InputError(f"the goal {goal:g} for {metric} is not above chance ({chance:.3g}): ask for more")


def _check(m: Measured, goal: float, horizon: float, level: float, draws: int, scale: str) -> None:
    check_goal(m.metric, goal, m.chance)
    check_ranges(horizon=horizon, level=level, draws=draws)
    if scale == "dprime" and m.metric != "auroc":
        raise InputError(f"the d′ scale is for auroc, not for {m.metric}. Leave --scale at value")


@dataclass(frozen=True)
class _Link:
    """Between the metric and the scale of the fit."""

    metric: str
    scale: Scale

    @property
    def low(self) -> float:
        return 1e-3 if self.scale == "dprime" else lowest(self.metric)

    @property
    def high(self) -> float:
        return 0.9999 if self.scale == "dprime" else 1.0

    def to(self, value: np.ndarray) -> np.ndarray:
        value = np.clip(value, self.low, self.high)
        return math.sqrt(2) * norm.ppf(value) if self.scale == "dprime" else value

    def back(self, fitted: np.ndarray) -> np.ndarray:
        value = norm.cdf(fitted / math.sqrt(2)) if self.scale == "dprime" else fitted
        return np.clip(value, self.low, self.high)

    def slope(self, value: np.ndarray) -> np.ndarray:
        """d(fitted scale) / d(metric), to carry standard errors over."""
        if self.scale == "value":
            return np.ones_like(value)
        return math.sqrt(2) / norm.pdf(norm.ppf(np.clip(value, self.low, self.high)))

    def plateau(self, chance: float) -> tuple[float, float]:
        least = chance if math.isfinite(chance) else self.low
        return float(self.to(np.array(least))), float(self.to(np.array(1.0)))


def mean_error(m: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Mean over repeats and its standard error, floored."""
    error = (
        m.values.std(axis=0, ddof=1) / math.sqrt(len(m.values)) if len(m.values) > 1 else np.zeros(len(m.n))
    )
    return m.mean, np.maximum(error, SIGMA_FLOOR)


def _draws(
    m: Measured, error: np.ndarray, draws: int, population: bool, rng: np.random.Generator
) -> np.ndarray:
    """(B, S) deviations of the mean: repeats resampled whole, then the pool and the test patients."""
    repeats = len(m.values)
    pick = rng.integers(repeats, size=(draws, repeats))
    centred = m.values - m.mean
    moved = centred[pick].mean(axis=1) * math.sqrt(repeats / max(repeats - 1, 1))
    spread = centred.std(axis=0, ddof=1) / math.sqrt(repeats) if repeats > 1 else np.zeros(len(m.n))
    missing = np.sqrt(np.maximum(error**2 - spread**2, 0))  # what the floor adds
    moved = moved + rng.standard_normal((draws, 1)) * missing
    if not population:
        return moved
    if m.pool_positives:
        moved = moved + rng.standard_normal((draws, 1)) * _pool_error(m)
    tested = _known(m)
    if tested is not None:
        values, vectors = np.linalg.eigh(tested)
        root = vectors * np.sqrt(np.maximum(values, 0))
        moved = moved + rng.standard_normal((draws, len(m.n))) @ root.T
    return moved


def _pool_error(m: Measured) -> np.ndarray:
    """(S,) how far the mean over repeats may lie from that over other pools."""
    assert m.pool_positives  # the caller asked
    between = m.values.var(axis=0, ddof=1) if len(m.values) > 1 else np.zeros(len(m.n))
    return np.sqrt(pool_variance(between, m.n, m.pool_positives))


def _rising(refits: np.ndarray, at: np.ndarray, largest: float) -> np.ndarray:
    """The same curves, which beyond the largest size never fall again."""
    curves, beyond = refits.copy(), at >= largest
    curves[:, beyond] = np.maximum.accumulate(curves[:, beyond], axis=1)
    return curves


def _trouble(m: Measured, population: bool) -> Verdict | None:
    """A curve that falls, or whose largest size cannot be told from chance: nothing to forecast.

    Noise that no size lifts above chance may fall as well (cross-validated noise often does): that is chance.
    """
    doubt = _covariance(m, population)
    falls = _falls(m, doubt)
    if math.isfinite(m.chance):
        at_chance = m.mean <= m.chance + CERTAIN * np.maximum(np.sqrt(np.diag(doubt)), SIGMA_FLOOR)
        if at_chance[-1] and (at_chance.all() or not falls):
            return "below chance"
    return "falling" if falls else None


def _falls(m: Measured, doubt: np.ndarray) -> bool:
    """Whether the slope over log n is negative by more than two standard errors."""
    if len(m.n) < 2:
        return False
    x = np.log(m.n) - np.log(m.n).mean()
    x /= x @ x
    variance = max(float(x @ doubt @ x), 0.0)  # repeats that differ by a constant alone leave a rounded 0
    error = max(math.sqrt(variance), SIGMA_FLOOR * math.sqrt(x @ x))
    return bool(m.mean @ x < -2 * error)


def _covariance(m: Measured, population: bool) -> np.ndarray:
    """(S, S) of the mean curve over what `_draws` resamples: repeats and, for new patients, pool and test."""
    size = len(m.n)
    found = np.zeros((size, size))
    if len(m.values) > 1:
        found += np.atleast_2d(np.cov(m.values.T)) / len(m.values)
    if population and m.pool_positives:
        found += np.outer(_pool_error(m), _pool_error(m))
    tested = _known(m) if population else None
    return found if tested is None else found + tested


def _known(m: Measured) -> np.ndarray | None:
    """The covariance over test patients, where there is one that can be used."""
    found = m.test_covariance
    return found if found is not None and np.isfinite(found).all() else None


def _main(fitted: Stack) -> Fitted | Stack:
    """The curve behind the point: the power law where it was fitted and converged, else the stack."""
    return next((f for f in fitted.fits if f.family == "power" and f.converged), fitted)


def _reading(
    band: pd.DataFrame, curves: np.ndarray, goal: float, at: np.ndarray, main: Fitted | Stack, link: _Link
) -> dict[str, float]:
    """n at the goal from the main curve, its limits from the band, the share of draws that reach it."""
    reach = curves.max(axis=1) >= goal
    return {
        "n_at": _crossing(at, band["fit"].to_numpy(), goal, main, link),
        "low": _first(at, band["high"].to_numpy(), goal),
        "high": _first(at, band["low"].to_numpy(), goal),
        "probability": float(reach.mean()),
    }


def _first(at: np.ndarray, line: np.ndarray, goal: float) -> float:
    """First n at which a line reaches the goal, between grid points in log n; inf where it does not."""
    above = np.flatnonzero(line >= goal)
    if not len(above):
        return math.inf
    i = int(above[0])
    if i == 0:
        return float(at[0])
    part = (goal - line[i - 1]) / (line[i] - line[i - 1])
    return float(math.exp(np.interp(part, [0, 1], np.log(at[i - 1 : i + 1]))))


def _crossing(at: np.ndarray, line: np.ndarray, goal: float, main: Fitted | Stack, link: _Link) -> float:
    inside = _first(at, line, goal)
    if math.isfinite(inside):
        return inside
    if isinstance(main, Fitted):
        return main.n_at(float(link.to(np.array(goal))))
    far = np.geomspace(at[-1], at[-1] * 1e6, 400)
    return _first(far, link.back(main(far)), goal)


def _verdict(n_at: float, largest: float, horizon: float) -> Verdict:
    if not math.isfinite(n_at):
        return "not reached"
    if n_at <= largest:
        return "reached"
    return "forecast" if n_at <= horizon * largest else "beyond the horizon"


def _without_fit(
    m: Measured, goal: float, horizon: float, level: float, at: np.ndarray, why: str, scale: Scale,
    trouble: Verdict | None,
) -> Forecast:  # fmt: skip
    empty = np.full(len(at), math.nan)
    band = pd.DataFrame({"n": at, "fit": empty, "low": empty, "high": empty})
    verdict = trouble or "no fit"
    return Forecast(m, goal, verdict, math.nan, math.nan, math.nan, math.nan, horizon * m.n[-1], level, band,
                    np.empty((0, len(at))), None, scale, (why,))  # fmt: skip


def _left_out(m: Measured, families: Sequence[str]) -> tuple[str, ...]:
    """A note on the families that were asked for and have more parameters than sizes were measured."""
    left = [f"{f} ({family_of(f).parameters} parameters)" for f in families
            if family_of(f).parameters > len(m.n)]  # fmt: skip
    if not left:
        return ()
    which = "was left out: it needs" if len(left) == 1 else "were left out: they need"
    return (f"{', '.join(left)} {which} more than the {len(m.n)} sizes that were measured",)


def _notes(m: Measured, population: bool) -> tuple[str, ...]:
    notes = [words for words in (m.note, m.missing) if words]
    if population and _known(m) is None:
        notes.append(
            "how far other test patients would move this curve is not known, so their luck is not in the "
            "interval"
        )
    if len(m.values) < 10:
        notes.append(f"{len(m.values)} repeats: ten or more give steadier intervals")
    return tuple(notes)


def count(n: float) -> str:
    """Positives in words of a table.

    >>> count(12.3), count(12345.6), count(math.inf), count(math.nan)
    ('13', '12,346', 'unbounded', '–')
    """
    if math.isnan(n):
        return "–"
    return "unbounded" if math.isinf(n) else f"{math.ceil(n - 1e-9):,}"


def _sentence(f: Forecast) -> str:
    m, words = f.measured, f"{f.measured.metric} {f.goal:g}"
    at = f"{m.mean[-1]:.3f} at {m.n[-1]:g} positives"
    if f.verdict == "below chance":
        return (
            f"Below chance, or not to be told from it: {m.label} ({at}; chance is {m.chance:.2f}). No number "
            "of labels is forecast."
        )
    if f.verdict == "falling":
        return (
            f"The curve falls: more labels lower the {m.metric} of {m.label} ({at}). Check labels "
            "and subsets."
        )
    if f.verdict == "no fit":
        return f"No curve could be fitted to {m.label}: {'; '.join(f.notes)}."
    limits = f"{f.level:.0%} interval {f.interval}"
    if math.isinf(f.low):
        limits = f"even the upper limit of the {f.level:.0%} interval stays below it"
    chance = f"P(reached within {f.horizon:,.0f} positives) {f.probability:.2f}"
    if f.verdict == "reached":
        return (
            f"{m.label} reaches {words} at {count(f.n_at)} positives, within what was measured "
            f"({limits}; {chance})."
        )
    if f.verdict == "forecast":
        return f"{m.label} is forecast to reach {words} at {count(f.n_at)} positives ({limits}; {chance})."
    doubt = ""
    if f.probability >= 0.5:  # the power law says one thing, the families that fit better another
        doubt = " Most curves that fit as well do reach it: this is not settled. Measure a larger size."
    if f.verdict == "beyond the horizon":
        return (f"Beyond the horizon: {m.label} is not forecast to reach {words} within "
                f"{f.horizon:,.0f} positives, "
                f"{f.horizon / m.n[-1]:g} times the largest size ({limits}; {chance}).{doubt}")  # fmt: skip
    return f"Not reached: the curve of {m.label} ends below {words} ({limits}; {chance}).{doubt}"


def finite(value: float) -> float | None:
    """None for what JSON has no number for."""
    return float(value) if math.isfinite(value) else None


def plain(record: dict) -> dict[str, Any]:
    """A record ready for JSON."""
    return {str(k): finite(v) if isinstance(v, float) else v for k, v in record.items()}
