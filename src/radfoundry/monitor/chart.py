"""A finished chart: its series, its limits, its alarms, and how often it alarms for nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from radfoundry.evaluate.compare import holm
from radfoundry.monitor.run_length import Side

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["p", "ewma", "cusum", "risk-adjusted cusum"]


@dataclass(frozen=True)
class Chart:
    """All arrays are (k,), one entry a period (of the risk-adjusted chart: a case).

    start: first day; n, count: cases and hits. value: what is drawn, with centre, low and high; NaN where
    there is nothing, as in an empty week or for the limit of a side that is not watched. lower: the downward
    CUSUM, 0 or less; else NaN. p_value: of the week alone, for a p-chart; else NaN. since: where a CUSUM that
    alarms began to rise (its last 0, plus one); else NaT. baseline: what the in-control rate came from.

    rate: the in-control rate. limit: alpha, L or h. tuning: lambda or k. false_alarm: probability of at least
    one false alarm over the periods drawn. arl0: mean periods to a false alarm, with its simulation error (0
    where exact). how: how the limits were obtained. notes: what a reader must know.
    """

    kind: Kind
    name: str
    start: np.ndarray
    n: np.ndarray
    count: np.ndarray
    value: np.ndarray
    centre: np.ndarray
    low: np.ndarray
    high: np.ndarray
    alarm: np.ndarray
    baseline: np.ndarray
    lower: np.ndarray
    p_value: np.ndarray
    since: np.ndarray
    rate: float
    limit: float
    false_alarm: float
    arl0: float
    arl0_se: float
    unit: str
    how: str
    side: Side = "both"
    tuning: float = math.nan
    notes: tuple[str, ...] = ()

    @property
    def first_alarm(self) -> np.datetime64 | None:
        """Start of the first period in alarm after the baseline, or None."""
        at = self._first()
        return None if at is None else self.start[at]

    @property
    def change_point(self) -> np.datetime64 | None:
        """When the change behind the first alarm began, as a CUSUM estimates it; else None."""
        at = self._first()
        return None if at is None or np.isnat(self.since[at]) else self.since[at]

    def _first(self) -> int | None:
        at = np.flatnonzero(self.alarm & ~self.baseline)
        return int(at[0]) if len(at) else None

    def table(self) -> pd.DataFrame:
        """The series: start, n, count, value, centre, low, high, lower, alarm, p_value, since, baseline."""
        import pandas as pd

        names = ("start", "n", "count", "value", "centre", "low", "high", "lower", "alarm", "p_value",
                 "since", "baseline")  # fmt: skip
        return pd.DataFrame({name: getattr(self, name) for name in names})

    def summary(self) -> dict[str, Any]:
        """JSON-ready: what was charted, its false alarms, its alarms and notes; NaN is null."""
        numbers = {name: float(getattr(self, name)) for name in ("rate", "limit", "false_alarm", "arl0",
                                                                 "arl0_se")}  # fmt: skip
        alarms = [str(day) for day in self.start[self.alarm & ~self.baseline]]
        return {
            "kind": self.kind,
            "name": self.name,
            "unit": self.unit,
            "periods": len(self.start),
            "cases": int(self.n.sum()),
            "hits": int(self.count.sum()),
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "alarms": alarms,
            "alarms_in_baseline": [str(day) for day in self.start[self.alarm & self.baseline]],
            "change_point": None if self.change_point is None else str(self.change_point),
            "how": self.how,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        after = int((self.alarm & ~self.baseline).sum())
        alarms = f"{after} alarms after the baseline" if after != 1 else "1 alarm after the baseline"
        begun = "" if self.change_point is None else f", change from {self.change_point}"
        return (
            f"{self.name or self.kind}: {alarms}{begun}; in-control rate {self.rate:.4f}; "
            f"ARL0 {self.arl0:.0f} {self.unit}, {self.false_alarm:.0%} chance of a false alarm over "
            f"the {len(self.start)} drawn ({self.how})"
        )


@dataclass(frozen=True)
class Family:
    """Several charts watched at once.

    independent: probability of at least one false alarm among them over the periods drawn, if they were
    independent. bound: the most it can be, however they depend (Bonferroni).
    """

    charts: int
    independent: float
    bound: float

    def __str__(self) -> str:
        return (
            f"{self.charts} charts: {self.independent:.0%} chance of at least one false alarm if they are "
            f"independent, at most {self.bound:.0%}"
        )


def family(charts: Mapping[str, Chart]) -> Family:
    """The false-alarm probability of charts that are read together."""
    each = np.array([chart.false_alarm for chart in charts.values()])
    return Family(len(each), float(1 - np.prod(1 - each)), float(min(1.0, each.sum())))


def for_family(k: int, *, alpha: float = 0.0027, arl0: float = 370.0) -> tuple[float, float]:
    """alpha and ARL0 for each of k charts so that the family has those given (Bonferroni).

    >>> for_family(4, alpha=0.02, arl0=100)
    (0.005, 400)
    """
    if k < 1:
        raise ValueError(f"a family has at least one chart, not {k}")
    return alpha / k, arl0 * k


def holm_alarms(charts: Mapping[str, Chart], alpha: float = 0.0027) -> dict[str, np.ndarray]:
    """Alarms of p-charts over the same periods, with at most `alpha` false alarms a period in all of them.

    Each period's p-values are corrected by Holm's steps, which never alarm less than alpha / k would.
    Raises ValueError for other charts, and for charts of different periods.
    """
    every = list(charts.values())
    if any(chart.kind != "p" for chart in every):
        raise ValueError("Holm's correction needs the p-values of p-charts; for the others raise arl0")
    if any(not np.array_equal(chart.start, every[0].start) for chart in every):
        raise ValueError("the charts must be of the same periods: give weekly() the same first and last")
    p = np.stack([chart.p_value for chart in every])
    corrected = np.stack([holm(list(column)) for column in p.T], axis=1)
    return {name: row <= alpha for name, row in zip(charts, corrected, strict=True)}
