"""Drawings of control charts, in the style of the report's figures: (figure, data drawn)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from radfoundry.errors import NotEnoughData
from radfoundry.monitor.chart import Chart
from radfoundry.report.figures import INK, LINE, PALETTE, SOFT, Drawing, styled

TITLES = {
    "p": "Share of cases",
    "ewma": "Weighted mean of the share",
    "cusum": "Cumulative sum (standard deviations)",
    "risk-adjusted cusum": "Cumulative log-likelihood ratio",
}

WORDS = {"p": "share", "ewma": "EWMA", "cusum": "CUSUM", "risk-adjusted cusum": "risk-adjusted CUSUM"}
MANY = 400
"""Points above which they are not marked, and of alarms in a row only the first is."""


@styled
def chart_drawing(chart: Chart) -> Drawing:
    """One chart: its line, its limits as steps, alarms as triangles, and the cases a period below."""
    figure = Figure(figsize=(9.6, 4.7), layout="constrained")
    if chart.unit == "cases":
        axes, low = figure.subplots(), None
    else:
        axes, low = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    _draw(axes, chart)
    axes.set_ylabel(TITLES[chart.kind])
    axes.set_title(chart.name, loc="left", fontsize=11)
    if low is not None:
        low.stairs(chart.n, _edges(chart), fill=True, color=PALETTE[4], alpha=0.45)
        low.set(ylabel="Cases")
        low.grid(axis="x", visible=False)
    _legend(figure, axes)
    _dates(axes if low is None else low)
    return figure, chart.table()


@styled
def chart_panels(charts: Mapping[str, Chart], *, columns: int = 3) -> Drawing:
    """A panel a chart, with the same axes for charts of one kind, and the data drawn (column `panel`).

    Raises NotEnoughData without charts.
    """
    if not charts:
        raise NotEnoughData("no chart to draw: no stratum had enough data")
    wide = min(columns, len(charts))
    rows = math.ceil(len(charts) / wide)
    figure = Figure(figsize=(max(5.4, 3.6 * wide), 0.4 + 2.7 * rows), layout="constrained")
    kinds = {chart.kind for chart in charts.values()}
    panels = np.atleast_1d(figure.subplots(rows, wide, sharex=True, sharey=len(kinds) == 1)).ravel()
    for axes, (name, chart) in zip(panels, charts.items()):
        _draw(axes, chart)
        axes.set_title(name, loc="left", fontsize=11)
        _dates(axes)
        if len(kinds) > 1:
            axes.set_ylabel(TITLES[chart.kind], fontsize=9)
    _legend(figure, *panels[: len(charts)], without=set(WORDS.values()) if len(kinds) > 1 else set())
    for axes in panels[len(charts) :]:
        axes.set_visible(False)
    if len(kinds) == 1:
        figure.supylabel(TITLES[kinds.pop()], fontsize=11)
    tables = [chart.table().assign(panel=name) for name, chart in charts.items()]
    whole = pd.concat(tables, ignore_index=True)
    return figure, whole[["panel", *whole.columns[:-1]]]


def _edges(chart: Chart) -> np.ndarray:
    """Where periods begin, and where the last one ends, (k + 1,)."""
    start = chart.start
    if chart.unit == "cases":
        return np.append(start, start[-1:] + np.timedelta64(1, "s"))
    gap = start[-1] - start[-2] if len(start) > 1 else np.timedelta64(7, "D")
    return np.append(start, start[-1:] + gap)


def _draw(axes: Axes, chart: Chart) -> None:
    blue, orange = PALETTE[:2]
    edges = _edges(chart)
    middle = edges[:-1] if chart.unit == "cases" else edges[:-1] + (edges[1:] - edges[:-1]) // 2
    if chart.baseline.any():
        known = np.flatnonzero(chart.baseline)
        axes.axvspan(edges[known[0]], edges[known[-1] + 1], color=LINE, alpha=0.45, lw=0)
        axes.annotate("baseline", (edges[known[0]], 1), xycoords=("data", "axes fraction"), xytext=(4, -3),
                      textcoords="offset points", va="top", fontsize=9.5, color=SOFT)  # fmt: skip
    axes.margins(y=0.12)  # room for that word
    axes.stairs(chart.centre, edges, baseline=None, color=SOFT, lw=1)
    for values, label in ((chart.high, "limits"), (chart.low, "")):
        if np.isfinite(values).any():
            axes.stairs(values, edges, baseline=None, color=INK, lw=1.1, ls=(0, (4, 3)), label=label or None)
    for values, word in ((chart.value, WORDS[chart.kind]), (chart.lower, "")):
        known = np.flatnonzero(np.isfinite(values))
        if not len(known):
            continue
        many = len(known) > MANY
        marker = "" if many else "o"
        axes.plot(middle[known], values[known], marker=marker, color=blue, ms=3.6, lw=1.3, label=word or None)
        alarm = chart.alarm & _beyond(chart, values)
        if many:
            alarm = alarm & ~np.append(False, alarm[:-1])
        shown = known[alarm[known]]
        # Shape as well as colour: a triangle is an alarm in black and white too.
        axes.plot(middle[shown], values[shown], "^", color=orange, mec=INK, mew=0.7, ms=9, zorder=3,
                  label="alarm" if word and chart.alarm.any() else None)  # fmt: skip
    if chart.change_point is not None:
        axes.plot(np.repeat(chart.change_point, 2), (0, 1), transform=axes.get_xaxis_transform(),
                  color=orange, lw=1.2, ls=(0, (1, 2)), label="estimated change")  # fmt: skip


def _beyond(chart: Chart, values: np.ndarray) -> np.ndarray:
    """Which of the two lines of a CUSUM an alarm belongs to; all for other charts."""
    if chart.kind != "cusum":
        return np.ones(len(values), bool)
    return np.abs(values) > chart.limit


def _legend(figure: Figure, *panels: Axes, without: Collection[str] = ()) -> None:
    """Each word of the panels once. without: words that the axes of the panels say."""
    entries = {word: handle for axes in panels for handle, word in zip(*axes.get_legend_handles_labels())
               if word not in without}  # fmt: skip
    figure.legend(list(entries.values()), list(entries), loc="outside upper right", ncols=4, handlelength=1.6,
                  fontsize=9.5)  # fmt: skip


def _dates(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.tick_params(axis="x", labelsize=9)
