"""Drawings of survival, in the style of `figures`: Kaplan-Meier, calibration at a horizon, AUC over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from radfoundry.report.figures import HALF, INK, SOFT, Drawing, _colours, _key, styled

ROW_INCHES = 0.26  # of one group in the table of numbers at risk


@styled
def kaplan_meier(
    curves: Mapping[str, pd.DataFrame],
    *,
    unit: str = "days",
    ylabel: str = "Survival",
    until: float | None = None,
    test: str = "",
    incidence: bool = False,
) -> Drawing:
    """Step curves by group with their bands, marks of censoring, and the numbers at risk below the same axis.

    Each table, as `evaluate.survival.curves.Curve.table` gives it: time, value, low, high, at_risk, events,
    censored. until: last time shown; default the longest follow-up. test: words above, as a log-rank test.
    incidence: curves rise from 0 (Aalen-Johansen) instead of falling from 1; no censoring is marked, as other
    causes end the observation too.
    """
    below = 0.25 + ROW_INCHES * (len(curves) + 1)
    figure = Figure(figsize=(7.6, 4.2 + below))
    tall = figure.get_figheight()
    margin = 0.10 + 0.0095 * max(len(name) for name in curves)
    axes = figure.add_axes((margin, (below + 0.42) / tall, 0.97 - margin, 1 - (below + 0.74) / tall))
    numbers = figure.add_axes((margin, 0.1 / tall, 0.97 - margin, (below - 0.2) / tall))
    last = until or max(float(curve["time"].max()) for curve in curves.values())
    for (name, curve), colour in zip(curves.items(), _colours(curves), strict=True):
        _steps(axes, name, _until(curve, last), colour, marks=not incidence)
    axes.set(xlim=(0, last), ylim=(0, 1.02), xlabel=f"Time ({unit})" if unit else "Time", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=last > 6))
    _key(axes, "upper left" if incidence else "upper right" if _room(curves, last) else "lower left")
    axes.set_title(test, loc="right", fontsize=9.5, color=SOFT)
    ticks = [t for t in axes.get_xticks() if 0 <= t <= last]
    _numbers(numbers, curves, ticks, last)
    return figure, pd.concat([c.assign(group=n) for n, c in curves.items()], ignore_index=True)


def _until(curve: pd.DataFrame, last: float) -> pd.DataFrame:
    """Steps up to `last`, the step that holds there drawn to the edge."""
    inside = curve[curve["time"] <= last]
    if float(curve["time"].max()) > last:
        inside = pd.concat([inside, inside.iloc[[-1]].assign(time=last, censored=0)], ignore_index=True)
    return inside


def _steps(axes: Axes, name: str, curve: pd.DataFrame, colour: str, *, marks: bool) -> None:
    axes.fill_between(curve["time"], curve["low"], curve["high"], step="post", color=colour, alpha=0.14, lw=0)
    axes.step(curve["time"], curve["value"], where="post", color=colour, label=name)
    lost = curve[curve["censored"] > 0]
    if marks and len(lost):
        axes.plot(lost["time"], lost["value"], "|", color=colour, ms=5.5, mew=0.9, alpha=0.75)


def _room(curves: Mapping[str, pd.DataFrame], last: float) -> bool:
    """Whether the upper right corner is free."""
    middle = [float(c["high"][c["time"] <= 0.6 * last].iloc[-1]) for c in curves.values()]
    return not any(high > 0.72 for high in middle)  # NaN where all had the event before


def _numbers(axes: Axes, curves: Mapping[str, pd.DataFrame], ticks: Sequence[float], last: float) -> None:
    """Who is still followed at each tick: one row a group, under the ticks of the curves."""
    axes.set(xlim=(0, last), ylim=(-0.5, len(curves) + 0.5), xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.text(0, len(curves), "At risk", ha="left", va="center", fontsize=9.5, color=SOFT)
    for row, ((name, curve), colour) in enumerate(zip(curves.items(), _colours(curves), strict=True)):
        y = len(curves) - 1 - row
        beside: dict[str, Any] = {
            "xytext": (-20, 0),
            "textcoords": "offset points",
            "ha": "right",
            "va": "center",
        }
        axes.annotate(name, (0, y), xycoords=("axes fraction", "data"), fontsize=10, color=colour, **beside)
        for tick, count in zip(ticks, _followed(curve, ticks), strict=True):
            side = "right" if tick > 0.985 * last else "center"
            axes.text(tick, y, f"{count:,.0f}", ha=side, va="center", fontsize=10, color=INK)


def _followed(curve: pd.DataFrame, ticks: Sequence[float]) -> list[float]:
    """At risk just before each tick: that of the first step at or after it, 0 beyond the last."""
    at = np.searchsorted(curve["time"].to_numpy(), ticks, "left")
    counts = np.append(curve["at_risk"].to_numpy(), 0.0)
    return [float(counts[i]) for i in at]


@styled
def calibration_at(curves: Mapping[str, pd.DataFrame], *, horizon: str) -> Drawing:
    """Observed risk (one minus Kaplan-Meier) against predicted risk, by groups of predicted risk.

    Each table, as `evaluate.survival.calibration.calibration_at` gives it: predicted, observed, low, high, n.
    horizon: in words, as "2 years". The axes end where the risks do; the broken line is perfect calibration.
    """
    figure = Figure(figsize=HALF, layout="constrained")
    axes = figure.subplots()
    tops = [curve[["predicted", "observed", "high"]].to_numpy().max() for curve in curves.values()]
    edge = min(1.02, 1.08 * float(np.nanmax(tops)))
    axes.plot([0, edge], [0, edge], color=SOFT, lw=1, ls=(0, (4, 3)))
    for (name, curve), colour in zip(curves.items(), _colours(curves), strict=True):
        axes.vlines(curve["predicted"], curve["low"], curve["high"], color=colour, alpha=0.45, lw=1.6)
        axes.plot(curve["predicted"], curve["observed"], "o-", color=colour, ms=5, lw=1.4, label=name)
    axes.set(xlim=(0, edge), ylim=(0, edge), xlabel=f"Predicted risk at {horizon}",
             ylabel=f"Observed risk at {horizon}")  # fmt: skip
    axes.set_aspect("equal")
    _key(axes, "upper left")
    return figure, pd.concat([c.assign(model=n) for n, c in curves.items()], ignore_index=True)


@styled
def auc_over_time(curves: Mapping[str, pd.DataFrame], *, unit: str = "days") -> Drawing:
    """Cumulative/dynamic AUC over time by model, with bands; one half is chance.

    Each table, as `evaluate.survival.accuracy.auc_curve` gives it: time, auc, low, high.
    """
    figure = Figure(figsize=(7.6, 4.3), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0.5, color=SOFT, lw=1, ls=(0, (4, 3)))
    for (name, curve), colour in zip(curves.items(), _colours(curves), strict=True):
        axes.fill_between(curve["time"], curve["low"], curve["high"], color=colour, alpha=0.14, lw=0)
        axes.plot(curve["time"], curve["auc"], color=colour, label=name)
    lowest = min(float(np.nanmin(curve["low"])) for curve in curves.values())
    axes.set(ylim=(min(0.4, lowest - 0.02), 1.0), xlabel=f"Time ({unit})" if unit else "Time")
    axes.set_ylabel("AUC, event by then or not")
    axes.margins(x=0)
    _key(axes, "upper right")
    return figure, pd.concat([c.assign(model=n) for n, c in curves.items()], ignore_index=True)
