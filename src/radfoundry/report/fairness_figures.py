"""Metrics by group of patients, side by side: a row a group, a panel a metric, the whole cohort as a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from radfoundry.report.build import label as metric_label
from radfoundry.report.figures import INK, PALETTE, SOFT, Drawing, styled
from radfoundry.types import Estimate

PANELS = ("auroc", "sensitivity", "specificity", "selection_rate", "observed_minus_expected")
WORDS = {"auroc": "AUC", "observed_minus_expected": "Observed − expected"}
ROW, TOP, BOTTOM = 0.30, 0.62, 0.62  # inches: a row, the titles, the axis
PANEL, SIZE = 1.85, 0.68  # inches: columns of a metric and of numbers
LETTER = 0.078  # inches, about
GAP = 0.55  # rows between covariates


@styled
def forest_panels(
    estimates: Sequence[Estimate], covariates: Sequence[Sequence[str]], *, metrics: Sequence[str] = PANELS
) -> Drawing:
    """A row a group, a panel a metric, n at the right; dashed: all cases, dotted: as expected.

    estimates: those of one model and target; all cases have no `subgroup`. covariates: the groups of each
    covariate, in order. Metrics without any value are left out; a group without a value shows why not in the
    data drawn.
    """
    known = {(e.subgroup, e.name): e for e in estimates}
    names = [name for group in covariates for name in group]
    metrics = [m for m in metrics if any(_is_known(known.get((n, m))) for n in names)]
    heights = _heights(covariates)
    rows = (heights[names[-1]] if names else 0) + 1
    left, sizes = _name_width(covariates), SIZE * (1 + _clustered(known))
    width, height = left + PANEL * len(metrics) + sizes + 0.1, TOP + ROW * rows + BOTTOM
    figure = Figure(figsize=(width, height))
    for index, metric in enumerate(metrics):
        box = (
            (left + PANEL * (index + 0.06)) / width,
            BOTTOM / height,
            PANEL * 0.84 / width,
            ROW * rows / height,
        )
        axes = figure.add_axes(box)
        _panel(axes, metric, known, names, heights, rows)
        if index == 0:
            _names(axes, covariates, heights, left)
        if index == len(metrics) - 1:
            _sizes(axes, known, names, heights)
    if any((None, m) in known for m in metrics):
        figure.text(
            (left + 0.06 * PANEL) / width, 0.08 / height, "dashed: all cases", fontsize=9.5, color=PALETTE[0]
        )
    return figure, _table(known, names, metrics)


def _heights(covariates: Sequence[Sequence[str]]) -> dict[str, float]:
    """Place of each group, counted down from the top; a little room between covariates."""
    found, place = {}, 0.0
    for group in covariates:
        for name in group:
            found[name] = place
            place += 1
        place += GAP
    return found


def _panel(
    axes: Axes,
    metric: str,
    known: dict[tuple[str | None, str], Estimate],
    names: Sequence[str],
    heights: dict[str, float],
    rows: float,
) -> None:
    ends = []
    whole = known.get((None, metric))
    if _is_known(whole):
        assert whole is not None
        axes.axvline(whole.value, color=PALETTE[0], lw=1.1, ls=(0, (4, 3)), zorder=0.9)
        ends.append(whole.value)
    if metric == "observed_minus_expected":
        axes.axvline(0, color=SOFT, lw=1, ls=(0, (1, 2)), zorder=0.8)
        ends.append(0.0)
    for name in names:
        one, y = known.get((name, metric)), heights[name]
        if not _is_known(one):
            axes.text(0.5, y, "too few", transform=axes.get_yaxis_transform(), ha="center", va="center",
                      fontsize=9, color=SOFT, style="italic")  # fmt: skip
            continue
        assert one is not None
        bounded = math.isfinite(one.low) and math.isfinite(one.high)
        if bounded:
            axes.plot([one.low, one.high], [y, y], color=PALETTE[0], lw=2.2, alpha=0.5)
        axes.plot(one.value, y, "o", color=PALETTE[0], ms=5.5)
        ends += [one.value, *([one.low, one.high] if bounded else [])]
    axes.set(ylim=(rows - 0.4, -0.6), yticks=[], xlim=_limits(ends, metric))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=3))
    axes.tick_params(axis="x", labelsize=9)
    title = WORDS.get(metric) or metric_label(metric)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, pad=8)


def _names(axes: Axes, covariates: Sequence[Sequence[str]], heights: dict[str, float], width: float) -> None:
    """Groups at the left, right-aligned; the covariate's name once, where all its groups begin with it."""
    for group in covariates:
        head = _shared(group)
        for index, name in enumerate(group):
            y, text = heights[name], name.removeprefix(head).strip()
            spot: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 10.5}
            if head and index == 0:
                axes.text(-(width - 0.2) / (PANEL * 0.84), y, head, color=SOFT, ha="left", **spot)
            axes.text(-0.1, y, text, color=INK, ha="right", **spot)


def _shared(group: Sequence[str]) -> str:
    """The first word of all names of a covariate; empty where they are combinations."""
    words = {name.split(" ", 1)[0] for name in group}
    return words.pop() if len(words) == 1 and len(group) > 1 and not any(" and " in n for n in group) else ""


def _name_width(covariates: Sequence[Sequence[str]]) -> float:
    """Inches that the names need."""
    letters = [len(_shared(g)) + 2 + max(len(n.removeprefix(_shared(g))) for n in g) for g in covariates if g]
    return 0.4 + LETTER * max(letters, default=10)


def _sizes(
    axes: Axes,
    known: dict[tuple[str | None, str], Estimate],
    names: Sequence[str],
    heights: dict[str, float],
) -> None:
    """Cases and patients at the right."""
    spot: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "ha": "right",
        "fontsize": 10,
        "color": SOFT,
    }
    sizes = {name: next(e for (group, _), e in known.items() if group == name) for name in names}
    columns = ("n", "patients") if _clustered(known) else ("n",)
    for index, title in enumerate(columns):
        x = 1 + SIZE * (index + 1) / (PANEL * 0.84)
        axes.text(x, -0.75, title, va="bottom", **spot)
        for name, one in sizes.items():
            count = one.n if title == "n" else one.n_clusters or one.n
            axes.text(x, heights[name], f"{count:,}", va="center", **spot)


def _clustered(known: dict[tuple[str | None, str], Estimate]) -> bool:
    return any(e.n_clusters not in (None, e.n) for e in known.values())


def _limits(ends: Sequence[float], metric: str) -> tuple[float, float]:
    low, high = (float(f(ends)) for f in (np.min, np.max)) if len(ends) else (0.0, 1.0)
    margin = 0.07 * max(high - low, 0.02)
    if metric == "observed_minus_expected":
        return low - margin, high + margin
    return max(low - margin, -0.02), min(high + margin, 1.02)


def _is_known(estimate: Estimate | None) -> bool:
    return estimate is not None and math.isfinite(estimate.value)


def _table(
    known: dict[tuple[str | None, str], Estimate], names: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """All that was drawn, and what could not be: group, metric, value, low, high, n, patients, note."""
    rows = []
    for name in (*names, None):
        for metric in metrics:
            e = known.get((name, metric))
            if e is not None:
                rows.append(
                    {"group": name or "all cases", "metric": metric, "value": e.value, "low": e.low,
                     "high": e.high, "n": e.n, "patients": e.n_clusters, "note": e.note}
                )  # fmt: skip
    return pd.DataFrame(rows)
