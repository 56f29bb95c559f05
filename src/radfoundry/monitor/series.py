"""Counts by week: how many cases, how many hits, by stratum; and the baseline that charts compare with.

A hit is what the chart watches: an omission, an invention, a disagreement. Weeks are ISO weeks, Monday to
Sunday; a week without cases stays in the series with n = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy import stats

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.intervals import clopper_pearson

if TYPE_CHECKING:
    import pandas as pd

Rate = Literal["omission", "invention", "disagreement", "positive"]
MOST_PERIODS = 20_000
UNITS = {"D": "days", "W": "weeks", "M": "months", "Q": "quarters"}
SHORT = 20
"""Fewer weeks than these make a short baseline (Montgomery asks for 20 to 25 samples)."""


@dataclass(frozen=True)
class Series:
    """start: first day of each period, (k,) datetime64[D]. n, count: cases and hits, (k, strata) integers.

    unknown: cases that were left out because the hit is not known.
    """

    start: np.ndarray
    n: np.ndarray
    count: np.ndarray
    strata: tuple[str, ...] = ("all",)
    freq: str = "W"
    unknown: int = 0

    def __post_init__(self) -> None:
        wanted = (len(self.start), len(self.strata))
        if self.n.shape != wanted or self.count.shape != wanted:
            raise ValueError(f"n and count must be {wanted}, not {self.n.shape} and {self.count.shape}")
        if (self.count < 0).any() or (self.count > self.n).any():
            raise ValueError("a count lies outside 0 to n")

    @property
    def unit(self) -> str:
        """Weeks, months, days: the word for the periods."""
        return UNITS.get(self.freq, "periods")

    def pooled(self) -> Series:
        """All strata as one; the mix then changes the rate, which a chart of the strata avoids."""
        return Series(self.start, self.n.sum(1, keepdims=True), self.count.sum(1, keepdims=True),
                      freq=self.freq, unknown=self.unknown)  # fmt: skip

    def by(self) -> dict[str, Series]:
        """Each stratum as a series of its own, over the same periods."""
        return {
            name: Series(self.start, self.n[:, [i]], self.count[:, [i]], (name,), self.freq)
            for i, name in enumerate(self.strata)
        }


def hits(table: pd.DataFrame, rate: Rate) -> np.ndarray:
    """1 for a hit, 0 for none, NaN where the row does not belong to the rate; (rows,).

    table: `Store.outcomes`, with expected and observed. omission: of the expected, those not observed (1
    minus the sensitivity). invention: of those not expected, the observed (1 minus the specificity, where
    `evaluate.draft_comparison` has 1 minus the PPV: a store need not hold every item that is absent on both
    sides). disagreement: of all where both are known. positive: the observed, of all where that is known.

    >>> import pandas as pd
    >>> hits(pd.DataFrame({"expected": [1, 1, 0, None], "observed": [1, 0, 1, 1]}), "omission")
    array([ 0.,  1., nan, nan])
    """
    if rate not in get_args(Rate):
        raise ValueError(f"rate must be one of {', '.join(get_args(Rate))}, not {rate!r}")
    expected, observed = (table[name].to_numpy(float) for name in ("expected", "observed"))
    known = ~np.isnan(observed)
    among = {
        "omission": known & (expected == 1),
        "invention": known & (expected == 0),
        "disagreement": known & ~np.isnan(expected),
        "positive": known,
    }[rate]
    hit = {"omission": observed == 0, "disagreement": observed != expected}.get(rate, observed == 1)
    return np.where(among, hit, np.nan)


def weekly(
    when: Any,
    hit: Any,
    *,
    strata: Any = None,
    freq: str = "W",
    zone: str = "UTC",
    first: date | None = None,
    last: date | None = None,
) -> Series:
    """Cases and hits by period, from the first to the last that has a case.

    when: times, (n,); those without a zone count as UTC. hit: 1, 0 or NaN (left out), (n,). strata: the
    stratum of each case, (n,) text. freq: W (ISO weeks), D, M or Q. zone: whose midnight parts the days.
    first, last: days to begin and end with instead, so that series share their periods; cases outside are
    left out.
    Raises NotEnoughData without a known case, InputError for times that cannot be read or span too long.
    """
    import pandas as pd

    if freq not in UNITS:
        raise ValueError(f"freq must be one of {', '.join(UNITS)}, not {freq!r}")
    hit = np.asarray(hit, float)
    try:
        times = pd.to_datetime(pd.Series(np.asarray(when)), utc=True, format="ISO8601")
    except (ValueError, TypeError) as cause:
        raise InputError("a time of the series cannot be read. Give datetimes or ISO 8601 text") from cause
    known = ~np.isnan(hit) & times.notna().to_numpy()
    if not known.any():
        raise NotEnoughData("no case with a known result and time: there is nothing to chart")
    if not np.isin(hit[known], (0, 1)).all():
        raise ValueError("hit must hold 0, 1 or NaN only")
    periods = times[known].dt.tz_convert(zone).dt.tz_localize(None).dt.to_period(freq)
    whole = _whole(periods, freq, first, last)
    row = np.asarray(whole.get_indexer(pd.PeriodIndex(periods)))
    names, column = _strata(strata, known)
    inside = row >= 0
    shape = (len(whole), len(names))
    n, count = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(n, (row[inside], column[inside]), 1)
    np.add.at(count, (row[inside], column[inside]), hit[known][inside].astype(np.int64))
    start = whole.start_time.to_numpy().astype("datetime64[D]")
    return Series(start, n, count, names, freq, int((~known).sum()))


def _whole(periods: Any, freq: str, first: date | None, last: date | None) -> Any:
    import pandas as pd

    begin = periods.min() if first is None else pd.Period(first, freq)
    end = periods.max() if last is None else pd.Period(last, freq)
    length = (end - begin).n + 1
    if length > MOST_PERIODS:
        raise InputError(
            f"the times span {length:,} {UNITS[freq]}, from {begin.start_time:%Y} to {end.start_time:%Y}. "
            "Check them for a wrong date, or give first and last"
        )
    if length < 1:
        raise NotEnoughData(f"no {UNITS[freq]} lie between first and last")
    return pd.period_range(begin, end, freq=freq)


def _strata(strata: Any, known: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    if strata is None:
        return ("all",), np.zeros(int(known.sum()), int)
    names, column = np.unique(np.asarray(strata).astype(str)[known], return_inverse=True)
    return tuple(str(name) for name in names), column


@dataclass(frozen=True)
class Baseline:
    """What is in control. p: rate by stratum; weight: the baseline's mix, sums to 1; n: cases behind p; (s,).

    periods: which of the series' periods it was estimated from, (k,) bool; none for a stated rate.
    index: Pearson's dispersion index, 1 for binomial counts, with its p-value; sigma_z: Laney's ratio of the
    real to the binomial standard deviation. rho: correlation within a week that charts allow for; 0 is
    binomial.
    """

    p: np.ndarray
    weight: np.ndarray
    n: np.ndarray
    periods: np.ndarray
    index: float = math.nan
    index_p: float = math.nan
    sigma_z: float = math.nan
    rho: float = 0.0

    @property
    def rate(self) -> float:
        """The in-control rate at the baseline's mix."""
        return float(self.weight @ self.p)

    @property
    def stated(self) -> bool:
        """Whether the rate was given, not estimated."""
        return not self.periods.any()

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the rate; NaN for a stated one. Strata are pooled at their weights."""
        n = int(self.n.sum())
        return (math.nan, math.nan) if self.stated else clopper_pearson(round(self.rate * n), n, level)

    def variance(self, n: np.ndarray) -> np.ndarray:
        """Variance of the standardised rate for cases n (k, s); NaN for periods without a case of weight."""
        alone = self.p * (1 - self.p) * (1 + np.maximum(n - 1, 0) * self.rho)
        present = (n > 0) & (self.weight > 0)
        parts = np.where(present, self.weight**2 * alone / np.maximum(n, 1), 0.0)
        return np.where(present.any(axis=1), parts.sum(axis=1), np.nan)

    def deviation(self, n: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`value` less the in-control rate, and its variance; both NaN without a case that has a scale.

        A week with only strata that never had a hit in the baseline has none.
        """
        variance = self.variance(n)
        variance = np.where(variance > 0, variance, np.nan)
        return np.where(np.isnan(variance), np.nan, self.value(n, count) - self.rate), variance

    def value(self, n: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Rate at the baseline's mix, (k,): direct standardisation. NaN for periods without a case of weight.

        A stratum without cases in a week enters with its baseline rate: it then says nothing, and the mean
        in control stays the same, which leaving it out would not grant.
        """
        present = (n > 0) & (self.weight > 0)
        own = np.where(present, count / np.maximum(n, 1), self.p)
        return np.where(present.any(axis=1), own @ self.weight, np.nan)


def baseline(
    series: Series,
    periods: int | None = None,
    *,
    until: date | None = None,
    stated: float | None = None,
    overdispersed: bool = False,
) -> Baseline:
    """The in-control rate: of the first `periods`, of those that begin before `until`, or `stated`.

    overdispersed: weeks that differ more than binomial counts would, for instance because the findings of one
    report go together, are allowed for by a beta-binomial with the baseline's moment estimate of rho.
    Raises NotEnoughData where a baseline has no case, or no hit, or nothing but hits.
    """
    if sum(given is not None for given in (periods, until, stated)) != 1:
        raise ValueError("give one of periods, until and stated")
    none = np.zeros(len(series.start), bool)
    if stated is not None:
        if len(series.strata) > 1 or overdispersed or not 0 < stated < 1:
            raise ValueError("a stated rate lies between 0 and 1, for one stratum without overdispersion")
        return Baseline(np.array([stated]), np.ones(1), np.zeros(1, int), none)
    mask = none.copy()
    if until is not None:
        mask = series.start < np.datetime64(until, "D")
    else:
        mask[:periods] = True
    n, count = series.n[mask], series.count[mask]
    cases, all_hits = int(n.sum()), int(count.sum())
    if all_hits in (0, cases):
        raise NotEnoughData(
            f"the baseline has {all_hits} hits in {cases} cases ({int(mask.sum())} {series.unit}), so no "
            "chance variation can be told from it. Take a longer baseline, or state the rate that you accept"
        )
    total = n.sum(axis=0)
    p = np.divide(count.sum(axis=0), total, out=np.zeros(len(total)), where=total > 0)
    plain = Baseline(p, total / cases, total, mask)
    index, index_p, rho = _dispersion(n, count, p)
    return Baseline(p, plain.weight, total, mask, index, index_p, _sigma_z(plain, n, count),
                    rho if overdispersed else 0.0)  # fmt: skip


def _dispersion(n: np.ndarray, count: np.ndarray, p: np.ndarray) -> tuple[float, float, float]:
    """Pearson's index, its p-value, and Kleinman's (1973) moment estimate of the correlation in a week."""
    varies = (p > 0) & (p < 1)
    n, count, p = n[:, varies], count[:, varies], p[varies]
    filled = n > 0
    squares = np.where(filled, (count - n * p) ** 2 / np.maximum(n * p * (1 - p), 1e-300), 0.0)
    freedom = int(filled.sum()) - len(p)
    if freedom < 1:
        return math.nan, math.nan, 0.0
    # E of the squares, summed, is A + rho (B - A): A for weeks, B for their cases, both less the fitted mean.
    share = np.where(filled, 1 - n / np.maximum(n.sum(axis=0), 1), 0.0)
    a, b = float(share.sum()), float((share * n).sum())
    rho = (float(squares.sum()) - a) / (b - a) if b > a else 0.0
    statistic = float(squares.sum())
    return statistic / freedom, float(stats.chi2.sf(statistic, freedom)), float(np.clip(rho, 0.0, 0.99))


def _sigma_z(base: Baseline, n: np.ndarray, count: np.ndarray) -> float:
    """Mean moving range of the standardised rates over 1.128 (Laney 2002)."""
    deviation, variance = base.deviation(n, count)
    z = deviation / np.sqrt(variance)
    z = z[np.isfinite(z)]
    return float(np.abs(np.diff(z)).mean() / 1.128) if len(z) > 1 else math.nan


def cross(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """The stratum of each row from several columns, such as view and site: "PA, north"; (rows,) text."""
    missing = [name for name in columns if name not in table]
    if missing or not columns:
        raise InputError(f"strata need columns of the table; it lacks {', '.join(missing) or 'any name'}")
    return table[list(columns)].astype(str).agg(", ".join, axis=1).to_numpy(str)
