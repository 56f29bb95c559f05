"""The drawings of a report. Each takes numbers that were computed elsewhere and returns (figure, data drawn).

One look for all: no frame, a light grid, one palette that colour-blind readers can tell apart, words at
the line where they fit. Figures are plain `matplotlib.figure.Figure`: no window, no global state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from radfoundry.report.build import label as metric_label
from radfoundry.report.build import number
from radfoundry.types import Estimate

INK, SOFT, LINE = "#1c2530", "#5a6675", "#dfe4ea"
# Okabe and Ito's hues, darkened to hold on white paper.
PALETTE = ("#1b5e9b", "#d1661c", "#1f8a70", "#9b5aa5", "#6b7280", "#b08a00", "#4aa3d9", "#7a3b2e")
HALF = (5.4, 4.7)  # inches: two of these stand side by side in the report
FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")

P = ParamSpec("P")
Drawing = tuple[Figure, pd.DataFrame]


@functools.cache
def style() -> Any:
    """The rc settings of every figure; only installed fonts are named, or matplotlib warns of each."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return {
        "font.family": "sans-serif",
        "font.sans-serif": [name for name in FONTS if name in installed] or ["DejaVu Sans"],
        "font.size": 11,
        "axes.labelsize": 11,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "grid.linewidth": 0.7,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "text.color": INK,
        "legend.frameon": False,
        "legend.fontsize": 10,
        "lines.linewidth": 1.9,
        "lines.solid_capstyle": "round",
        "figure.facecolor": "white",
        "svg.fonttype": "path",  # the same on every computer, fonts installed or not
        "svg.hashsalt": "radfoundry",  # the same drawing gives the same bytes
    }


def styled(draw: Callable[P, Drawing]) -> Callable[P, Drawing]:
    """Draw under `style`, leaving the caller's matplotlib settings alone."""

    @functools.wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Drawing:
        with mpl.rc_context(style()):
            return draw(*args, **kwargs)

    return inner


def save(figure: Figure, stem: Path) -> None:
    """Write STEM.svg and STEM.png (200 dots per inch), without a date inside."""
    with mpl.rc_context(style()):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(stem.with_suffix(".png"), dpi=200)


@styled
def roc(curves: Mapping[str, pd.DataFrame], estimates: Mapping[str, Estimate] | None = None) -> Drawing:
    """ROC curves by model. Each table: `fpr`, `sensitivity`, and its `low`, `high` where known.

    estimates: the AUC of each model, printed beside its name.
    """
    figure, axes = _square("1 − specificity", "Sensitivity")
    axes.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (4, 3)))
    for (name, curve), colour in zip(curves.items(), _colours(curves), strict=True):
        if {"low", "high"} <= set(curve):
            axes.fill_between(curve["fpr"], curve["low"], curve["high"], color=colour, alpha=0.14, lw=0)
        axes.plot(curve["fpr"], curve["sensitivity"], color=colour, label=_with_value(name, estimates))
    _key(axes, "lower right", "AUC (interval)" if estimates else "")
    return figure, _stacked(curves)


@styled
def precision_recall(
    curves: Mapping[str, pd.DataFrame],
    prevalence: float,
    estimates: Mapping[str, Estimate] | None = None,
) -> Drawing:
    """Precision against recall by model, with the prevalence: what a coin would reach.

    Each table: `recall`, `precision`, and `low`, `high` of the precision where known.
    """
    figure, axes = _square("Recall (sensitivity)", "Precision (PPV)")
    axes.axhline(prevalence, color=SOFT, lw=1, ls=(0, (4, 3)))
    for (name, curve), colour in zip(curves.items(), _colours(curves), strict=True):
        if {"low", "high"} <= set(curve):
            axes.fill_between(curve["recall"], curve["low"], curve["high"], color=colour, alpha=0.14, lw=0)
        axes.plot(
            curve["recall"],
            curve["precision"],
            color=colour,
            drawstyle="steps-post",
            label=_with_value(name, estimates),
        )
    below = prevalence > 0.12
    axes.annotate(
        f"prevalence {prevalence:.2f}",
        (1, prevalence),
        xytext=(-2, -4 if below else 4),
        textcoords="offset points",
        ha="right",
        va="top" if below else "bottom",
        fontsize=9.5,
        color=SOFT,
    )
    _key(axes, "best", "Average precision" if estimates else "")
    return figure, _stacked(curves)


@styled
def calibration(
    curves: Mapping[str, pd.DataFrame], scores: Mapping[str, np.ndarray] | None = None
) -> Drawing:
    """Observed share against predicted probability, with the scores' histogram below.

    Each table, one row a bin: `predicted`, `observed`, and `low`, `high`, `n` where known.
    scores: each model's predicted probabilities, (n,), for the histogram.
    """
    figure = Figure(figsize=HALF, layout="constrained")
    if scores:
        axes, low = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    else:
        axes, low = figure.subplots(), None
    axes.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (4, 3)))
    for (name, curve), colour in zip(curves.items(), _colours(curves), strict=True):
        if {"low", "high"} <= set(curve):
            axes.vlines(curve["predicted"], curve["low"], curve["high"], color=colour, alpha=0.45, lw=1.6)
        axes.plot(curve["predicted"], curve["observed"], "o-", color=colour, ms=5, lw=1.4, label=name)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Observed share")
    _key(axes, "upper left")
    if low is not None and scores:
        for (name, values), colour in zip(scores.items(), _colours(scores), strict=True):
            low.hist(values, bins=np.linspace(0, 1, 41), histtype="step", color=colour, label=name, lw=1.2)
        low.set(ylabel="Cases")
        low.grid(visible=False)
    (axes if low is None else low).set_xlabel("Predicted probability")
    return figure, _stacked(curves)


@styled
def decision_curve(curves: Mapping[str, pd.DataFrame], *, limit: float | None = None) -> Drawing:
    """Net benefit by threshold (Vickers and Elkin 2006), with treating all and none.

    Each table, as `evaluate.calibration.net_benefit` gives it: `threshold`, `model`, and `all`.
    limit: the largest threshold shown; default where treating all and every model have ended.
    """
    names = {"model": "net_benefit", "all": "treat_all", "none": "treat_none"}
    curves = {name: curve.rename(columns=names) for name, curve in curves.items()}
    figure = Figure(figsize=HALF, layout="constrained")
    axes = figure.subplots()
    first = next(iter(curves.values()))
    top = max(curve["net_benefit"].max() for curve in curves.values())
    top = max(top, float(first["treat_all"].max()) if "treat_all" in first else 0.0, 1e-3)
    axes.axhline(0, color=INK, lw=1.2)
    if "treat_all" in first:
        axes.plot(first["threshold"], first["treat_all"], color=SOFT, lw=1.3, label="treat all")
    for (name, curve), colour in zip(curves.items(), _colours(curves), strict=True):
        axes.plot(curve["threshold"], curve["net_benefit"], color=colour, label=name)
    edge = limit or max(float(curve["threshold"].max()) for curve in curves.values())
    axes.set(xlim=(0, edge), ylim=(-0.18 * top, 1.08 * top), xlabel="Threshold probability")
    axes.set_ylabel("Net benefit")
    axes.annotate(
        "treat none",
        (edge, 0),
        xytext=(-2, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9.5,
        color=SOFT,
    )
    _key(axes, "best")
    return figure, _stacked(curves)


@styled
def forest(
    estimates: Sequence[Estimate],
    *,
    overall: Estimate | None = None,
    names: Sequence[str] | None = None,
    axis: tuple[float, float] | None = None,
) -> Drawing:
    """One row a subgroup: name, n, interval drawn, value and interval printed in columns.

    overall: the whole group, drawn as a line behind and as the last row.
    names: the rows' words; default each estimate's subgroup. `site = A` style names are grouped by their
    first part.
    """
    rows = list(estimates) + ([overall] if overall else [])
    words = list(names or [e.subgroup or e.model or e.name for e in estimates]) + (
        ["All cases"] if overall else []
    )
    figure, axes = _rows(rows, words, axis, metric_label(rows[0].name) if rows else "")
    if overall:
        axes.axvline(overall.value, color=PALETTE[0], lw=1, ls=(0, (4, 3)), zorder=0.9)
        axes.axhline(0.5, color=SOFT, lw=0.8)
    return figure, _estimates_table(rows, words)


@styled
def dots(
    estimates: Sequence[Estimate],
    *,
    baseline: Estimate | None = None,
    names: Sequence[str] | None = None,
    axis: tuple[float, float] | None = None,
) -> Drawing:
    """Models by one metric, in the order given, with the trivial baseline as a line.

    Sort before calling: an order is a statement.
    """
    rows = list(estimates)
    words = list(names or [e.model or e.name for e in rows])
    figure, axes = _rows(rows, words, axis, metric_label(rows[0].name) if rows else "", extra=baseline)
    if baseline:
        axes.axvline(baseline.value, color=PALETTE[1], lw=1.4, ls=(0, (4, 3)), zorder=0.9)
        axes.annotate(
            f"{baseline.model or 'trivial baseline'} {number(baseline.value)}",
            (baseline.value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="left" if baseline.value < sum(axes.get_xlim()) / 2 else "right",
            fontsize=9.5,
            color=PALETTE[1],
            annotation_clip=False,
        )
    return figure, _estimates_table(
        [*rows, *([baseline] if baseline else [])], [*words, "baseline"][: len(rows) + bool(baseline)]
    )


@styled
def score_distributions(scores: Mapping[str, np.ndarray], *, threshold: float | None = None) -> Drawing:
    """Histograms of the score by true class. scores: class name to (n,) scores in [0, 1]."""
    figure = Figure(figsize=HALF, layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, 1, 31)
    counted = {}
    for (name, values), colour in zip(scores.items(), _colours(scores), strict=True):
        counted[name] = np.histogram(np.asarray(values, float), bins)[0]
        axes.stairs(counted[name], bins, fill=True, color=colour, alpha=0.22)
        axes.stairs(counted[name], bins, color=colour, lw=1.5, label=f"{name} (n = {len(values):,})")
    if threshold is not None:
        axes.axvline(threshold, color=INK, lw=1, ls=(0, (4, 3)))
        axes.annotate(
            f"threshold {threshold:.2f}",
            (threshold, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=9.5,
            color=SOFT,
        )
    axes.set(xlim=(0, 1), xlabel="Score", ylabel="Cases")
    axes.grid(axis="x", visible=False)
    _headroom(axes, len(scores))
    _key(axes, "upper right")
    frames = [
        pd.DataFrame({"group": name, "from": bins[:-1], "to": bins[1:], "cases": cases})
        for name, cases in counted.items()
    ]
    return figure, pd.concat(frames, ignore_index=True)


@styled
def history(table: pd.DataFrame, *, ylabel: str = "Loss") -> Drawing:
    """Training history: column `epoch`, and one line for each other column."""
    figure = Figure(figsize=HALF, layout="constrained")
    axes = figure.subplots()
    lines = [name for name in table.columns if name != "epoch"]
    for name, colour in zip(lines, _colours(lines), strict=True):
        axes.plot(table["epoch"], table[name], color=colour, label=name)
    axes.set(xlabel="Epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _key(axes, "upper right")
    return figure, table


def _rows(
    rows: Sequence[Estimate],
    words: Sequence[str],
    axis: tuple[float, float] | None,
    xlabel: str,
    extra: Estimate | None = None,
) -> tuple[Figure, Axes]:
    """Names at the left, intervals in the middle, values printed at the right; first row on top."""
    figure = Figure(figsize=(9.6, 1.0 + 0.34 * len(rows)))
    high = 0.62 / (1.0 + 0.34 * len(rows))
    axes = figure.add_axes((0.36, high, 0.38, 1 - high - 0.3 / (1.0 + 0.34 * len(rows))))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    for index, (estimate, word) in enumerate(zip(rows, words, strict=True)):
        y = len(rows) - 1 - index
        bounded = np.isfinite(estimate.low) and np.isfinite(estimate.high)
        if bounded:
            axes.plot([estimate.low, estimate.high], [y, y], color=PALETTE[0], lw=2.2, alpha=0.55)
        if np.isfinite(estimate.value):
            axes.plot(estimate.value, y, "o", color=PALETTE[0], ms=6)
        printed = f"{number(estimate.value)}"
        between = f"{number(estimate.low)} to {number(estimate.high)}" if bounded else (estimate.note or "–")
        for x, text, side, colour in (
            (-0.945, word, "left", INK),
            (-0.06, f"{estimate.n:,}", "right", SOFT),
            (1.16, printed, "right", INK),
            (1.21, between, "left", SOFT),
        ):
            axes.text(
                x,
                y,
                text,
                ha=side,
                va="center",
                color=colour,
                fontsize=10.5,
                transform=axes.get_yaxis_transform(),
            )
    axes.text(
        -0.06,
        len(rows) - 0.35,
        "n",
        ha="right",
        va="bottom",
        color=SOFT,
        fontsize=9.5,
        transform=axes.get_yaxis_transform(),
    )
    axes.set(
        ylim=(-0.6, len(rows) - 0.4),
        yticks=[],
        xlabel=xlabel,
        xlim=axis or _limits([*rows, *([extra] if extra else [])]),
    )
    return figure, axes


def _limits(rows: Sequence[Estimate]) -> tuple[float, float]:
    ends = np.array([v for e in rows for v in (e.low, e.value, e.high) if np.isfinite(v)] or [0.0, 1.0])
    margin = 0.06 * max(float(np.ptp(ends)), 0.1)
    low, high = float(ends.min()) - margin, float(ends.max()) + margin
    if ends.min() >= 0 and ends.max() <= 1:
        return max(low, -0.02), min(high, 1.02)
    return low, high


def _square(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=HALF, layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def _key(axes: Axes, place: Any, title: str = "") -> None:
    """The lines' names in the lines' own colours: read without looking back and forth."""
    if not axes.get_legend_handles_labels()[0]:
        return
    legend = axes.legend(
        loc=place, handlelength=1.1, title=title or None, alignment="left", labelspacing=0.35
    )
    legend.set(frame_on=True)
    legend.get_frame().set(facecolor="white", edgecolor="none", alpha=0.85)
    legend.get_title().set(color=SOFT, fontsize=9.5)
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        colour = getattr(handle, "get_color", None) or getattr(handle, "get_edgecolor", None)
        if colour is not None:
            text.set_color(colour())


def _headroom(axes: Axes, entries: int) -> None:
    """Room above the bars for the key."""
    axes.set_ylim(0, axes.get_ylim()[1] * (1.06 + 0.07 * entries))


def _colours(items: Any) -> list[str]:
    return [PALETTE[index % len(PALETTE)] for index in range(len(items))]


def _with_value(name: str, estimates: Mapping[str, Estimate] | None) -> str:
    if not estimates or name not in estimates:
        return name
    estimate = estimates[name]
    if not np.isfinite(estimate.low):
        return f"{name}  {estimate.value:.3f}"
    return f"{name}  {estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


def _stacked(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The curves as one table with a `model` column in front."""
    frames = [curve.assign(model=name)[["model", *curve.columns]] for name, curve in curves.items()]
    return pd.concat(frames, ignore_index=True)


def _estimates_table(rows: Sequence[Estimate], words: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"row": word, "metric": e.name, "value": e.value, "low": e.low, "high": e.high, "n": e.n}
            for e, word in zip(rows, words, strict=True)
        ]
    )
