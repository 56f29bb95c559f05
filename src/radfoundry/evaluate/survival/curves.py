"""Time to an event by group: Kaplan-Meier, log-rank tests and competing risks. Numbers in, estimates out.

Times are positive and in one unit, whichever; events are 1 (it happened) or 0 (censored), and 2, 3, ... for
competing events where they are declared. Sources: Kaplan and Meier, JASA 1958;53:457; Kalbfleisch and
Prentice, 2002 (log-log bands); Brookmeyer and Crowley, Biometrics 1982;38:29 (medians); Lin and Wei, JASA
1989;84:1074 (variance by patient); Aalen and Johansen, Scand J Stat 1978;5:141, variance of Marubini and
Valsecchi, 1995, formula 10.13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from radfoundry.errors import InputMismatch, NotEnoughData
from radfoundry.evaluate.compare import holm, p_words
from radfoundry.evaluate.intervals import z_of
from radfoundry.evaluate.resample import codes_of
from radfoundry.types import Estimate


@dataclass(frozen=True)
class Curve:
    """A step function from time 0 on, with its pointwise band.

    Arrays are (k,): time, value, low, high, at_risk (just before that time), events, censored. last: the
    longest follow-up. n: rows, n_clusters: patients.
    """

    time: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    censored: np.ndarray
    n: int
    n_clusters: int
    level: float
    method: str

    @property
    def last(self) -> float:
        return float(self.time[-1])

    def step(self, t: np.ndarray | float) -> np.ndarray:
        """Position in the arrays of the step that holds at each `t`."""
        return np.searchsorted(self.time, t, "right") - 1

    def table(self) -> pd.DataFrame:
        """One row a step: time, value, low, high, at_risk, events, censored."""
        names = ("time", "value", "low", "high", "at_risk", "events", "censored")
        return pd.DataFrame({name: getattr(self, name) for name in names})


def check_times(time: Any, event: Any, *, competing: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(time (n,) float, event (n,) int), or InputMismatch that says which entry is wrong and what to do."""
    time, event = np.asarray(time, float), np.asarray(event)
    if time.ndim != 1 or time.shape != event.shape:
        raise InputMismatch(f"one time and one event a case: times have shape {time.shape}, events "
                            f"{event.shape}. Give both for the same cases")  # fmt: skip
    _refuse(~np.isfinite(time), time, "time", "missing or not finite. Leave the case out, and say so")
    _refuse(time <= 0, time, "time", "not above zero. Time runs from the start of follow-up: correct the "
            "dates; who had the event on the first day gets half a day")  # fmt: skip
    codes = pd.to_numeric(pd.Series(event), errors="coerce").to_numpy(float)
    _refuse(np.isnan(codes), event, "event", "not a number. Code 1 for the event and 0 for censored")
    found = set(np.unique(codes))
    if 2 in found and found <= {1, 2} and not competing:
        raise InputMismatch(
            "events are coded 1 and 2. If 2 means the event and 1 censored, as in the lung data of R, "
            "subtract 1; if 2 is a competing event, declare competing risks"
        )
    allowed = codes >= 0 if competing else np.isin(codes, (0, 1))
    words = "neither 0 (censored) nor 1 (the event)" + ("" if not 2 <= max(found, default=0) <= 9 else
             ". If it is the code of a competing event, declare competing risks")  # fmt: skip
    _refuse(~allowed | (codes % 1 != 0), event, "event", words)
    return time, codes.astype(int)


def _refuse(wrong: np.ndarray, values: np.ndarray, what: str, why: str) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        more = f" ({int(wrong.sum())} such)" if wrong.sum() > 1 else ""
        raise InputMismatch(f"{what} {at} is {values[at]}{more}: {why}")


def need_events(event: np.ndarray, what: str) -> None:
    """NotEnoughData where nobody had the event."""
    if not (event == 1).any():
        raise NotEnoughData(f"no event among {len(event)} cases: {what} needs some. Follow up for longer")


def _steps(time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, ...]:
    """(times, at risk, events of any cause, events of cause 1, censored), each (k,)."""
    at, where = np.unique(time, return_inverse=True)
    each = [np.bincount(where, event_is, len(at)) for event_is in (event > 0, event == 1, event == 0)]
    leaving = each[0] + each[2]
    return at, len(time) - np.concatenate([[0], np.cumsum(leaving)[:-1]]), *each


def _from_zero(first: float, values: np.ndarray) -> np.ndarray:
    return np.concatenate([[first], values])


def kaplan_meier(time: Any, event: Any, patient: Any = None, *, level: float = 0.95) -> Curve:
    """Survival from time 0 on, with a pointwise log-log band.

    time, event: (n,). patient: (n,) ids where patients own several rows; the variance is then summed by
    patient, else it is Greenwood's. Raises InputMismatch for impossible times or events, NotEnoughData
    without a case.
    """
    time, event = check_times(time, event)
    if len(time) == 0:
        raise NotEnoughData("no case to follow. Give at least one time")
    codes, g = codes_of(None if patient is None else np.asarray(patient), len(time))
    at, risk, dead, _, censored = _steps(time, event)
    s = np.cumprod(1 - dead / risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        if g == len(time):
            relative = np.cumsum(np.where(dead > 0, dead / (risk * (risk - dead)), 0.0))
        else:
            relative = _by_patient(time, event, codes, g, at, risk, dead)
        se = np.sqrt(relative) / np.abs(np.log(s))
        low, high = (np.exp(-np.exp(np.log(-np.log(s)) + side * z_of(level) * se)) for side in (1, -1))
    low, high = (np.where(s == 1, 1.0, np.where(s == 0, np.nan, edge)) for edge in (low, high))
    method = "Kaplan-Meier, log-log band" + ("" if g == len(time) else " by patient")
    return Curve(_from_zero(0, at), _from_zero(1, s), _from_zero(1, low), _from_zero(1, high),
                 _from_zero(len(time), risk), _from_zero(0, dead), _from_zero(0, censored), len(time), g,
                 level, method)  # fmt: skip


def _by_patient(
    time: np.ndarray, event: np.ndarray, codes: np.ndarray, g: int, at: np.ndarray, risk: np.ndarray,
    dead: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Variance of log survival with rows of a patient summed, (k,); Greenwood's with one row each.

    The influence of a row: -1 / at risk where it has its event, d / (at risk (at risk - d)) where it
    outlives d.
    """
    where = np.searchsorted(at, time)[:, None]
    outlived = np.where(risk > dead, dead / (risk * np.where(risk > dead, risk - dead, 1.0)), 0.0)
    upto = np.cumsum(outlived)
    died = (event > 0)[:, None]
    own = -1 / risk[where] - outlived[where]
    out = np.empty(len(at))
    for start in range(0, len(at), 256):
        block = np.arange(start, min(start + 256, len(at)))
        influence = upto[np.minimum(where, block)] + np.where(died & (where <= block), own, 0.0)
        sums = np.zeros((g, len(block)))
        np.add.at(sums, codes, influence)
        out[block] = (sums**2).sum(axis=0)
    return out


def check_horizon(horizon: float) -> float:
    """A finite time of 0 or more; InputMismatch otherwise."""
    if not 0 <= horizon < math.inf:
        raise InputMismatch(f"horizon {horizon:g}: give a time of 0 or more, in the unit of the follow-up")
    return float(horizon)


def survival_at(curve: Curve, horizon: float, name: str = "survival") -> Estimate:
    """The curve's value at a time; NaN with a note beyond the follow-up. InputMismatch below time 0."""
    horizon = check_horizon(horizon)
    base = Estimate(f"{name}@{horizon:g}", math.nan, level=curve.level, method=curve.method, n=curve.n,
                    n_clusters=curve.n_clusters)  # fmt: skip
    if horizon > curve.last and curve.value[-1] != 0:
        return replace(base, note=f"beyond the follow-up, which ends at {curve.last:g}")
    at = int(curve.step(horizon))
    left = int(curve.at_risk[at] - curve.events[at] - curve.censored[at])
    note = f"{left} at risk" if left else "nobody at risk any more"
    value, low, high = (float(x[at]) for x in (curve.value, curve.low, curve.high))
    if value in (0.0, 1.0):
        low = high = math.nan
        note += "; no interval: all survived or none"
    return replace(base, value=value, low=low, high=high, note=note)


def quantile_time(curve: Curve, q: float = 0.5, name: str = "median_survival") -> Estimate:
    """First time at which survival is `q` or less, its limits read off the band (Brookmeyer and Crowley).

    Where a half is reached exactly, the middle of the step, as in R. NaN, or an upper limit of infinity, with
    a note where it was not reached.
    """
    base = Estimate(name, math.nan, level=curve.level, method=curve.method, n=curve.n,
                    n_clusters=curve.n_clusters)  # fmt: skip
    value, low, high = (_first(curve.time, line, q) for line in (curve.value, curve.low, curve.high))
    if math.isinf(value):
        floor = f", lower limit {low:g}" if math.isfinite(low) else ""
        return replace(base, low=low if math.isfinite(low) else math.nan, note=f"not reached{floor}")
    note = "upper limit not reached" if math.isinf(high) else None
    return replace(base, value=value, low=low, high=high, note=note)


def _first(time: np.ndarray, line: np.ndarray, q: float) -> float:
    reached = np.flatnonzero(np.nan_to_num(line, nan=0.0) <= q + 1e-9)
    if not len(reached):
        return math.inf
    i = int(reached[0])
    if abs(line[i] - q) < 1e-9:
        below = np.flatnonzero(line < q - 1e-9)
        return float((time[i] + time[int(below[0])]) / 2) if len(below) else float(time[i])
    return float(time[i])


def follow_up(time: Any, event: Any, patient: Any = None, *, level: float = 0.95) -> Estimate:
    """Median follow-up by reverse Kaplan-Meier: events count as the end of observation.

    patient: as in `kaplan_meier`.
    """
    time, event = check_times(time, event)
    found = quantile_time(kaplan_meier(time, 1 - event, patient, level=level), name="median_follow_up")
    return replace(found, method=f"reverse {found.method}")


def at_risk(time: Any, grid: Sequence[float] | np.ndarray) -> np.ndarray:
    """How many are still followed at each time of `grid` (k,): those whose time is not shorter.

    >>> at_risk([1.0, 3.0, 5.0], [0, 3, 6]).tolist()
    [3, 2, 0]
    """
    ordered = np.sort(np.asarray(time, float))
    return len(ordered) - np.searchsorted(ordered, np.asarray(grid, float), "left")


@dataclass(frozen=True)
class LogRank:
    """Do groups differ in survival. observed, expected: events a group; p_holm: within a family of pairs."""

    statistic: float
    df: int
    p: float
    groups: tuple[str, ...]
    sizes: tuple[int, ...]
    observed: tuple[float, ...]
    expected: tuple[float, ...]
    n: int
    p_holm: float = math.nan
    strata: int = 1
    note: str | None = None

    def __str__(self) -> str:
        each = "; ".join(f"{g}: {o:g} observed, {e:.1f} expected, n = {s}" for g, o, e, s in
                         zip(self.groups, self.observed, self.expected, self.sizes))  # fmt: skip
        corrected = f", Holm {p_words(self.p_holm)}" if math.isfinite(self.p_holm) else ""
        within = f", {self.strata} strata" if self.strata > 1 else ""
        test = f"chi-square {self.statistic:.2f} on {self.df} df, {p_words(self.p)}{corrected}{within}"
        return f"log-rank {test} ({each})" + (f"; {self.note}" if self.note else "")


def logrank(time: Any, event: Any, group: Any, strata: Any = None, *, few: int = 5) -> LogRank:
    """Log-rank test of two or more groups (n,), within strata (n,) where given; one row a patient.

    A group of fewer than `few` cases is named in the note: the chi-square law is rough there. Raises
    InputMismatch for unequal lengths, NotEnoughData for a single group or without an event.
    """
    time, event = check_times(time, event)
    group = _labels(group, len(time), "group")
    layer = (
        np.zeros(len(time), int) if strata is None else pd.factorize(_labels(strata, len(time), "strata"))[0]
    )
    need_events(event, "a log-rank test")
    names, code = np.unique(group, return_inverse=True)
    if len(names) < 2:
        raise NotEnoughData(f"one group alone ({', '.join(names)}): a log-rank test needs two")
    k = len(names)
    observed, expected, v = np.zeros(k), np.zeros(k), np.zeros((k, k))
    for one in np.unique(layer):
        rows = layer == one
        o, e, cov = _observed_expected(time[rows], event[rows], code[rows], k)
        observed, expected, v = observed + o, expected + e, v + cov
    d = (observed - expected)[:-1]
    statistic = float(d @ np.linalg.pinv(v[:-1, :-1]) @ d)
    df = int(np.linalg.matrix_rank(v[:-1, :-1]))
    p = float(stats.chi2.sf(statistic, df)) if df else math.nan
    sizes = tuple(int(n) for n in np.bincount(code))
    small = [f"{name} has {size} cases" for name, size in zip(names, sizes) if size < few]
    note = "; ".join(
        [*small, *(["no group could have an event while another was followed"] if not df else [])]
    )
    return LogRank(statistic, df, p, tuple(str(n) for n in names), sizes, tuple(observed), tuple(expected),
                   len(time), strata=len(np.unique(layer)), note=note or None)  # fmt: skip


def _labels(values: Any, n: int, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,):
        raise InputMismatch(f"{what} has shape {values.shape} for {n} cases. Give one label a case")
    if pd.isna(values).any():
        raise InputMismatch(f"{int(pd.isna(values).sum())} cases have no {what}. Leave them out, and say so")
    return values.astype(str)


def _observed_expected(
    time: np.ndarray, event: np.ndarray, code: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events, expected events (k,) and their covariance (k, k), hypergeometric at each event time."""
    at = np.unique(time[event == 1])
    dead = np.zeros((len(at), k))
    np.add.at(dead, (np.searchsorted(at, time[event == 1]), code[event == 1]), 1)
    risk = np.stack([at_risk(time[code == j], at) for j in range(k)], axis=1).astype(float)
    d, y = dead.sum(axis=1), risk.sum(axis=1)
    share = risk / y[:, None]
    factor = d * (y - d) / np.maximum(y - 1, 1)
    cov = np.diag(factor @ share) - np.einsum("t,ti,tj->ij", factor, share, share)
    return dead.sum(axis=0), (d[:, None] * share).sum(axis=0), cov


def pairwise_logrank(time: Any, event: Any, group: Any, strata: Any = None) -> list[LogRank]:
    """Log-rank test of every pair of groups, p-values corrected by Holm over the pairs."""
    time, event = check_times(time, event)
    group = _labels(group, len(time), "group")
    found = []
    for pair in combinations(np.unique(group), 2):
        rows = np.isin(group, pair)
        layer = None if strata is None else np.asarray(strata)[rows]
        if (event[rows] == 1).any():
            found.append(logrank(time[rows], event[rows], group[rows], layer))
        else:
            sizes = tuple(int((group == name).sum()) for name in pair)
            found.append(LogRank(math.nan, 1, math.nan, tuple(str(n) for n in pair), sizes, (0.0, 0.0),
                                 (0.0, 0.0), sum(sizes), note="no event in either group"))  # fmt: skip
    corrected = holm([one.p for one in found])
    return [replace(one, p_holm=float(p)) for one, p in zip(found, corrected)]


def aalen_johansen(time: Any, event: Any, cause: int = 1, *, level: float = 0.95) -> Curve:
    """Cumulative incidence of one cause while others compete, with a pointwise log-log band.

    event: (n,) 0 for censored, 1, 2, ... for the causes. One minus Kaplan-Meier, which takes the other causes
    as censored, would be too high. Rows are taken as independent.
    """
    time, event = check_times(time, event, competing=True)
    if not (event == cause).any():
        raise NotEnoughData(f"no event of cause {cause} among {len(time)} cases")
    own = np.where(event == cause, 1, np.where(event > 0, 2, 0))
    at, risk, dead, d1, censored = _steps(time, own)
    s = np.cumprod(1 - dead / risk)
    before = np.concatenate([[1.0], s[:-1]])
    f = np.cumsum(before * d1 / risk)
    se = np.sqrt(np.maximum(_incidence_variance(f, before, dead, d1, risk), 0.0))
    inner = (f > 0) & (f < 1 - 1e-12)  # a sum of shares may miss 1 by rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        around = np.where(inner, z_of(level) * se / (f * np.log(f)), 0.0)
        low, high = (np.where(inner, f ** np.exp(side * around), f) for side in (-1, 1))
    low, high = np.minimum(low, high), np.maximum(low, high)
    return Curve(_from_zero(0, at), _from_zero(0, f), _from_zero(0, low), _from_zero(0, high),
                 _from_zero(len(time), risk), _from_zero(0, d1), _from_zero(0, dead - d1 + censored),
                 len(time), len(time), level, "Aalen-Johansen, log-log band")  # fmt: skip


def _incidence_variance(
    f: np.ndarray, before: np.ndarray, dead: np.ndarray, d1: np.ndarray, risk: np.ndarray
) -> np.ndarray:
    """(k,) at each step; sums over s <= t of (F(t) - F(s))^2 A + B - 2 (F(t) - F(s)) C, opened in F(t)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.where(risk > dead, dead / (risk * (risk - dead)), 0.0)
    b = before**2 * d1 * (risk - d1) / risk**3
    c = before * d1 / risk**2
    sums = [np.cumsum(x) for x in (a, a * f, a * f**2, b, c, c * f)]
    return f**2 * sums[0] - 2 * f * sums[1] + sums[2] + sums[3] - 2 * (f * sums[4] - sums[5])
