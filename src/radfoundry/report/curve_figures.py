"""Drawings of learning curves, in the style of `figures`. Each takes tables that were computed elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from radfoundry.report.build import label as metric_label
from radfoundry.report.figures import HALF, INK, SOFT, Drawing, _colours, _key, styled


@dataclass(frozen=True)
class Line:
    """One curve to draw.

    points: n, value, low, high of the measured means (limits of the spread over repeats). band: n, fit, low,
    high of the forecast; NaN where there is none. largest: largest n that the fit saw: beyond it the line is
    dashed. chance: what knowing nothing reaches with these labels; NaN draws no line.
    """

    points: pd.DataFrame
    band: pd.DataFrame
    largest: float
    chance: float = 0.5


@styled
def learning_curve(lines: Mapping[str, Line], goal: float, *, metric: str = "auroc") -> Drawing:
    """Curves by name with their bands, goal and chance as lines; dashed beyond what was measured."""
    figure = Figure(figsize=(7.6, 4.7), layout="constrained")
    axes = figure.subplots()
    _draw(axes, lines, goal, _colours(lines))
    axes.set(xlabel="Positives in training", ylabel=metric_label(metric))
    _key(axes, "lower right")
    return figure, _table({"": lines})


@styled
def small_multiples(
    panels: Mapping[str, Mapping[str, Line]],
    goal: float,
    *,
    metric: str = "auroc",
    columns: int = 3,
) -> Drawing:
    """A panel a label with its own chance, the same axes in all; names of the curves stand in the first."""
    wide = min(columns, len(panels))
    rows = math.ceil(len(panels) / wide)
    figure = Figure(figsize=(max(HALF[0], 3.6 * wide), 0.4 + 3.1 * rows), layout="constrained")
    cells = np.atleast_1d(figure.subplots(rows, wide, sharex=True, sharey=True)).ravel()
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colours = dict(zip(names, _colours(names)))
    for index, (axes, (title, lines)) in enumerate(zip(cells, panels.items())):
        _draw(axes, lines, goal, [colours[name] for name in lines], words=index == 0)
        axes.set_title(title, loc="left", fontsize=11, color=INK)
        if index == 0:
            _key(axes, "lower right")
    for axes in cells[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("Positives in training", fontsize=11, color=INK)
    figure.supylabel(metric_label(metric), fontsize=11, color=INK)
    return figure, _table(panels)


def _draw(
    axes: Axes,
    lines: Mapping[str, Line],
    goal: float,
    colours: Sequence[str],
    *,
    words: bool = True,
) -> None:
    for (name, line), colour in zip(lines.items(), colours, strict=True):
        seen, band = line.points, line.band
        inside, beyond = band[band["n"] <= line.largest * 1.0001], band[band["n"] >= line.largest * 0.9999]
        axes.fill_between(band["n"], band["low"], band["high"], color=colour, alpha=0.13, lw=0)
        axes.plot(inside["n"], inside["fit"], color=colour)
        axes.plot(beyond["n"], beyond["fit"], color=colour, ls=(0, (3, 2)))
        axes.vlines(seen["n"], seen["low"], seen["high"], color=colour, alpha=0.5, lw=1.4)
        axes.plot(seen["n"], seen["value"], "o", color=colour, ms=4.5, label=name)
    axes.axhline(goal, color=INK, lw=1, ls=(0, (4, 3)))
    for chance in sorted({own.chance for own in lines.values() if math.isfinite(own.chance)}):
        axes.axhline(chance, color=SOFT, lw=1, ls=(0, (1, 2)))
    if words:
        axes.annotate(f"goal {goal:g}", (0, goal), xycoords=("axes fraction", "data"), xytext=(4, 3),
                      textcoords="offset points", fontsize=9.5, color=INK)  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=9)


def _table(panels: Mapping[str, Mapping[str, Line]]) -> pd.DataFrame:
    """All that was drawn: panel, name, kind (measured or forecast), n, value, low, high."""
    frames = []
    for panel, lines in panels.items():
        for name, line in lines.items():
            where = {"panel": panel, "name": name}
            frames.append(line.points.assign(**where, kind="measured"))
            frames.append(line.band.rename(columns={"fit": "value"}).assign(**where, kind="forecast"))
    whole = pd.concat(frames, ignore_index=True)
    return whole[["panel", "name", "kind", "n", "value", "low", "high"]]
