"""Control charts of a rate over weeks, each with a stated rate of false alarms: p-chart, EWMA, CUSUM.

    weeks = weekly(table["happened_at"], hits(table, "omission"), strata=table["view"])
    known = baseline(weeks, 26)
    print(cusum(weeks, known, arl0=370, rng=np.random.default_rng(0)))

All take a series of one or more strata and its baseline. With several strata the rate is standardised to the
baseline's mix, so that more portable films alone raise no alarm; `series.pooled()` charts the crude rate. The
p-chart sees sudden large changes, EWMA and CUSUM small lasting ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy import stats

from radfoundry.errors import NotEnoughData
from radfoundry.monitor.chart import Chart, Family, Kind, family, for_family, holm_alarms
from radfoundry.monitor.laws import laws, normal_half
from radfoundry.monitor.run_length import (
    PATHS,
    ROUGH,
    Limit,
    Side,
    Walk,
    WeeklyWalk,
    Weeks,
    at_limit,
    calibrate,
    distance,
    shifted,
    siegmund,
    simulate,
    smoothed,
    smoothing,
    summing,
    two_sided,
)
from radfoundry.monitor.series import SHORT, Baseline, Series

__all__ = ["Chart", "Family", "Limits", "Side", "Stratified", "by", "cusum", "delay", "ewma", "family",
           "for_family", "holm_alarms", "p_chart"]  # fmt: skip

Limits = Literal["exact", "normal", "laney"]
ALPHA = 0.0027
"""Two-sided, a week: what three standard deviations mean for a normal variable."""
ARL0 = 370.0
"""Weeks; the mean of a chart with ALPHA false alarms a week."""


def p_chart(
    series: Series, base: Baseline, *, alpha: float = ALPHA, limits: Limits = "exact", name: str = ""
) -> Chart:
    """Each week alone against the in-control rate; two-sided.

    limits: "exact" from the binomial (beta-binomial for an overdispersed baseline), with at most alpha / 2
    false alarms a week on each side; "normal", the textbook's approximation; "laney", normal limits widened
    by `base.sigma_z` (Laney 2002). What each gives is computed from the binomial and stated, not assumed.
    With several strata the limits are those of the standardised rate, a weighted sum of binomials.
    """
    if not 0 < alpha < 1 or limits not in get_args(Limits):
        raise ValueError(f"alpha lies between 0 and 1, and limits is one of {', '.join(get_args(Limits))}")
    value, variance = base.deviation(series.n, series.count)
    value = value + base.rate
    wide = _widened(base) if limits == "laney" else 1.0
    k = len(value)
    low, high, p_value, false = (np.full(k, x) for x in (math.nan, math.nan, math.nan, 0.0))
    for week, own in enumerate(laws(series.n, base)):
        if own is None or np.isnan(variance[week]):
            continue
        if limits == "exact":
            low[week], high[week] = own.limits(alpha)
        else:
            half = wide * normal_half(variance[week], alpha)
            low[week], high[week] = max(0.0, base.rate - half), min(1.0, base.rate + half)
        p_value[week], false[week] = own.p_value(value[week]), own.outside(low[week], high[week])
    alarm = p_value <= alpha if limits == "exact" else (value < low - 1e-9) | (value > high + 1e-9)
    filled = ~np.isnan(low)
    mean = float(false[filled].mean()) if filled.any() else 0.0
    plain = _plain("p", series, base, name)
    return replace(
        plain,
        value=value,
        low=low,
        high=high,
        alarm=alarm,
        p_value=p_value,
        limit=alpha,
        false_alarm=float(1 - np.prod(1 - false)),
        arl0=k / float(false.sum()) if mean > 0 else math.inf,
        how=_p_words(series, base, alpha, limits, mean),
        notes=_finished(plain.notes + _if_rate_is_off(series, base, low, high), alarm, base),
    )


def _widened(base: Baseline) -> float:
    if not math.isfinite(base.sigma_z):
        raise NotEnoughData(
            "Laney's limits need at least two weeks with cases in an estimated baseline. Take a longer one"
        )
    return base.sigma_z


def _p_words(series: Series, base: Baseline, alpha: float, limits: Limits, mean: float) -> str:
    name = "beta-binomial" if base.rho > 0 else "binomial"
    if len(series.strata) > 1:
        name += f" summed over {len(series.strata)} strata"
    if limits == "exact":
        return f"exact limits of the {name}, at most {alpha:.4g} false alarms a period; {mean:.4g} on average"
    kind = "normal limits" if limits == "normal" else f"Laney's limits, sigma_z {base.sigma_z:.2f}"
    return f"{kind} for {alpha:.4g} false alarms a period; by the {name} they give {mean:.4g} on average"


def ewma(
    series: Series,
    base: Baseline,
    *,
    rng: np.random.Generator,
    weight: float = 0.2,
    arl0: float = ARL0,
    side: Side = "both",
    limit: float | None = None,
    paths: int = PATHS,
    name: str = "",
) -> Chart:
    """Exponentially weighted mean of the weekly rate, with limits at L of its exact standard deviations.

    weight: lambda, of the newest week. arl0: wanted mean weeks to a false alarm; L is found by simulating
    weeks with the series' own numbers of cases. limit: L itself, whose ARL0 is then simulated.
    An empty week leaves mean and limits as they were. Raises NotEnoughData without cases.
    """
    if not 0 < weight <= 1:
        raise ValueError(f"weight must lie above 0 and at most 1, not {weight}")
    value, variance = _charted(series, base)
    walk = WeeklyWalk(Weeks(series.n, base, base.p), smoothing(weight, side))
    found = _limit(walk, arl0, limit, float(stats.norm.isf(min(0.4, 1 / arl0))), rng, paths)
    mean, spread = (a[:, 0] for a in smoothed(value[:, None], variance[:, None], weight, np.zeros((2, 1))))
    alarm = distance(mean, spread, side) > found.value
    half = np.where(spread > 0, found.value * np.sqrt(spread), math.nan)
    chart = _simulated("ewma", series, base, name, found, "L", arl0 if limit is None else None)
    return replace(
        chart,
        side=side,
        tuning=weight,
        value=base.rate + mean,
        low=np.maximum(0.0, base.rate - half) if side != "up" else chart.low,
        high=np.minimum(1.0, base.rate + half) if side != "down" else chart.high,
        alarm=alarm,
        notes=_finished(chart.notes + _if_rate_is_off_by_walk(walk, base, found, side, rng), alarm, base),
    )


def cusum(
    series: Series,
    base: Baseline,
    *,
    rng: np.random.Generator,
    delta: float = 1.0,
    side: Side = "up",
    arl0: float = ARL0,
    limit: float | None = None,
    paths: int = PATHS,
    name: str = "",
) -> Chart:
    """C_t = max(0, C_{t-1} + x_t - k) of the standardised weekly rate x, with k = delta / 2; alarm above h.

    delta: the shift to be found, in standard deviations of a week's rate. arl0: wanted mean weeks to a false
    alarm; h is found by simulating weeks with the series' own numbers of cases. limit: h itself, whose ARL0
    is then simulated. An empty week leaves C as it was. C is not reset by an alarm.
    Raises NotEnoughData without cases, and where no alarm is possible on that side.
    """
    if not delta > 0:
        raise ValueError(f"delta must be above 0, not {delta}")
    value, variance = _charted(series, base)
    k = delta / 2
    walk = WeeklyWalk(Weeks(series.n, base, base.p), summing(k, side))
    guess = siegmund(arl0 * (2 if side == "both" else 1), k)
    found = _limit(walk, arl0, limit, guess, rng, paths)
    up, down = two_sided((value / np.sqrt(variance))[:, None], k, side, np.zeros((2, 1)))[..., 0]
    rising, falling = up > found.value, down > found.value
    since = np.where(rising, last_zero(up, series.start), last_zero(down, series.start))
    alarm = rising | falling
    none = np.full(len(up), math.nan)
    chart = _simulated("cusum", series, base, name, found, "h", arl0 if limit is None else None)
    return replace(
        chart,
        side=side,
        tuning=k,
        value=up if side != "down" else none,
        lower=-down if side != "up" else none,
        centre=np.zeros(len(up)),
        low=np.full(len(up), -found.value) if side != "up" else none,
        high=np.full(len(up), found.value) if side != "down" else none,
        alarm=alarm,
        since=np.where(alarm, since, np.datetime64("NaT")),
        how=f"k = {k:g}, {chart.how}",
        notes=_finished(chart.notes + _if_rate_is_off_by_walk(walk, base, found, side, rng), alarm, base),
    )


def delay(
    chart: Chart,
    series: Series,
    base: Baseline,
    odds_ratio: float,
    *,
    rng: np.random.Generator,
    paths: int = 2_000,
) -> float:
    """Mean periods until an EWMA or CUSUM alarms, with all odds of a hit `odds_ratio` times the baseline's.

    The change comes with the chart's first period. How long about a doubling of a rare omission would go
    unseen: `delay(chart, series, base, 2, rng=rng)`.
    """
    steps = {"ewma": smoothing, "cusum": summing}
    if chart.kind not in steps:
        raise ValueError(f"delay is of an EWMA or a CUSUM, not of {chart.kind}")
    weeks = Weeks(series.n, base, shifted(base.p, odds_ratio))
    walk = WeeklyWalk(weeks, steps[chart.kind](chart.tuning, chart.side))
    return at_limit(walk, chart.limit, max(chart.arl0, 2.0), rng, paths).arl0


@dataclass(frozen=True)
class Stratified:
    """A chart of each stratum. left_out: strata without enough data, and why. family: read together."""

    charts: dict[str, Chart]
    left_out: dict[str, str]
    family: Family


def by(series: Series, chart: Callable[[Series], Chart]) -> Stratified:
    """A chart of each stratum alone: `by(weeks, lambda own: p_chart(own, baseline(own, 26), alpha=a))`.

    Take alpha or arl0 from `for_family(len(series.strata))`, or correct p-charts afterwards by `holm_alarms`.
    """
    charts, left_out = {}, {}
    for name, own in series.by().items():
        try:
            charts[name] = replace(chart(own), name=name)
        except NotEnoughData as cause:
            left_out[name] = str(cause)
    return Stratified(charts, left_out, family(charts))


def _charted(series: Series, base: Baseline) -> tuple[np.ndarray, np.ndarray]:
    value, variance = base.deviation(series.n, series.count)
    if np.isnan(variance).all():
        raise NotEnoughData("no period has a case of a stratum that varies in the baseline: nothing to chart")
    return value, variance


def last_zero(path: np.ndarray, start: np.ndarray) -> np.ndarray:
    """For each period the start of the one after the path was last 0."""
    at = np.maximum.accumulate(np.where(path <= 0, np.arange(1, len(path) + 1), 0))
    return start[np.minimum(at, len(path) - 1)]


def _limit(
    walk: Walk, arl0: float, limit: float | None, guess: float, rng: np.random.Generator, paths: int
) -> Limit:
    return (
        calibrate(walk, arl0, guess, rng, paths) if limit is None else at_limit(walk, limit, arl0, rng, paths)
    )


def _plain(kind: Kind, series: Series, base: Baseline, name: str) -> Chart:
    """A chart without its statistic."""
    k = len(series.start)
    none, nat = np.full(k, math.nan), np.full(k, np.datetime64("NaT"), "datetime64[D]")
    return Chart(
        kind=kind, name=name, start=series.start, n=series.n.sum(axis=1), count=series.count.sum(axis=1),
        value=none, centre=np.full(k, base.rate), low=none, high=none, alarm=np.zeros(k, bool),
        baseline=base.periods, lower=none, p_value=none, since=nat, rate=base.rate, limit=math.nan,
        false_alarm=math.nan, arl0=math.nan, arl0_se=0.0, unit=series.unit, how="",
        notes=_about(series, base),
    )  # fmt: skip


def _simulated(
    kind: Kind, series: Series, base: Baseline, name: str, found: Limit, letter: str, goal: float | None
) -> Chart:
    """A chart without its statistic, with what the simulation says. goal: the wanted ARL0, or None."""
    wanted = "given" if goal is None else f"for an ARL0 of {goal:g} {series.unit} or more"
    return replace(
        _plain(kind, series, base, name),
        limit=found.value,
        false_alarm=found.false_alarm(len(series.start)),
        arl0=found.arl0,
        arl0_se=found.se,
        how=f"{letter} = {found.value:.3f} {wanted}; {found.said(series.unit)}",
    )


def _about(series: Series, base: Baseline) -> tuple[str, ...]:
    """Notes on the data and the baseline."""
    notes = []
    filled = int((series.n[base.periods].sum(axis=1) > 0).sum())
    if not base.stated and filled < SHORT:
        notes.append(f"short baseline: {filled} {series.unit} with cases; {SHORT} or more are advised")
    if base.index_p < 0.01 and base.index > 1 and base.rho == 0:
        notes.append(
            f"{series.unit} of the baseline vary {base.index:.1f} times as much as binomial counts would "
            f"(p = {base.index_p:.2g}): there will be more false alarms than stated. Use an overdispersed "
            "baseline or Laney's limits"
        )
    strange = int(series.n[:, base.weight == 0].sum())
    if strange:
        notes.append(f"{strange} cases belong to strata that the baseline lacks and are not in the rate")
    still = [s for s, p, w in zip(series.strata, base.p, base.weight) if w > 0 and p in (0, 1)]
    if still and len(series.strata) > 1:
        notes.append(f"strata without variation in the baseline: {', '.join(still[:5])}")
    if series.unknown:
        notes.append(f"{series.unknown} cases without a known result are left out")
    return tuple(notes)


def _if_rate_is_off(series: Series, base: Baseline, low: np.ndarray, high: np.ndarray) -> tuple[str, ...]:
    """What the p-chart's false alarms would be if the estimated rate were off by its own error."""
    filled = np.flatnonzero(~np.isnan(low))
    if base.stated or not len(filled):
        return ()
    ends, worst = base.interval(), 0.0
    for end in ends:
        each = laws(series.n[filled], base, _moved(base, end))
        false = [own.outside(low[week], high[week]) for week, own in zip(filled, each) if own is not None]
        worst = max(worst, float(np.mean(false)))
    return (f"the rate was estimated: were it at an end of its 95% interval ({ends[0]:.4f} to "
            f"{ends[1]:.4f}), false alarms would be up to {worst:.2g} a period",)  # fmt: skip


def _moved(base: Baseline, rate: float) -> np.ndarray:
    """The strata's rates with all odds changed alike, by as much as takes the whole to `rate`."""
    rate = min(max(rate, 1e-9), 1 - 1e-9)
    return shifted(base.p, rate / (1 - rate) / (base.rate / (1 - base.rate)))


def _if_rate_is_off_by_walk(
    walk: WeeklyWalk, base: Baseline, found: Limit, side: Side, rng: np.random.Generator
) -> tuple[str, ...]:
    """The same for a simulated chart: the mean run length at the ends that make it alarm."""
    if base.stated:
        return ()
    low, high = base.interval()
    length = int(5 * found.arl0) + 1
    worst = math.inf
    for p in {"up": (high,), "down": (low,), "both": (low, high)}[side]:
        there = replace(walk, weeks=replace(walk.weeks, p=_moved(base, p)))
        runs = simulate(there, found.value, ROUGH, length, rng).run_lengths(found.value)
        worst = min(worst, float(runs.mean()))
    return (f"the rate was estimated: were it at an end of its 95% interval ({low:.4f} to {high:.4f}), the "
            f"ARL0 could be as short as {worst:.0f}",)  # fmt: skip


def _finished(notes: tuple[str, ...], alarm: np.ndarray, base: Baseline) -> tuple[str, ...]:
    early = int((alarm & base.periods).sum())
    return (*notes, f"{early} alarms within the baseline: it may not be in control") if early else notes
