"""The drawings of series sorting: evidence against accuracy, confusion, coverage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from radfoundry.report.figures import PALETTE, SOFT, styled
from radfoundry.types import Estimate


@styled
def evidence(
    arms: Mapping[tuple[str, str], Estimate], trivial: Estimate, *, goal: float | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Accuracy with intervals: one row a state of the headers, one mark a way of looking.

    arms: (way, headers) -> accuracy, in the order in which they are drawn.
    """
    ways = list(dict.fromkeys(way for way, _ in arms))
    states = list(dict.fromkeys(state for _, state in arms))
    figure = Figure(figsize=(8.6, 0.9 + 0.95 * len(states)), layout="constrained")
    axes = figure.subplots()
    rows = []
    for (way, state), e in arms.items():
        y = states.index(state) + (ways.index(way) - (len(ways) - 1) / 2) * 0.15
        colour = PALETTE[ways.index(way) % len(PALETTE)]
        axes.plot([e.low, e.high], [y, y], color=colour, lw=1.6, solid_capstyle="round")
        axes.plot(e.value, y, "o", color=colour, ms=5.5, label=way if state == states[0] else None)
        rows.append(
            {"evidence": way, "headers": state, "accuracy": e.value, "low": e.low, "high": e.high, "n": e.n}
        )
    axes.axvline(trivial.value, color=SOFT, lw=1.2, ls=(0, (4, 3)), zorder=0.5)
    axes.annotate(
        f"{trivial.note}: {trivial.value:.2f}",
        (trivial.value, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, 3),
        textcoords="offset points",
        fontsize=9,
        color=SOFT,
    )
    if goal is not None:
        axes.axvline(goal, color=SOFT, lw=0.8, zorder=0.5)
    axes.set_yticks(range(len(states)), states)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.01)
    axes.set_xlabel("Accuracy")
    figure.legend(loc="outside right center", frameon=False)
    return figure, pd.DataFrame(rows)


@styled
def confusion(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Truth (rows) against verdict (columns), counts printed, colour by the share of the row."""
    labels = sorted({*table.index, *table.columns}, key=_rank)
    full = table.reindex(index=[x for x in labels if x in table.index], columns=labels, fill_value=0)
    counts = full.to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.9 + 0.42 * len(labels), 1.3 + 0.36 * len(full)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for (i, j), n in np.ndenumerate(counts):
        if n:
            axes.text(
                j,
                i,
                str(n),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shares[i, j] > 0.6 else "black",
            )
    axes.set_xticks(
        range(len(labels)), [_short(x) for x in labels], rotation=60, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(full)), [f"{_short(x)}  ({n})" for x, n in zip(full.index, counts.sum(axis=1))])
    axes.set_xlabel("Verdict")
    axes.set_ylabel("Truth (series)")
    axes.grid(False)
    axes.tick_params(length=0)
    return figure, full.rename_axis("truth").reset_index()


@styled
def coverage(curves: Mapping[str, pd.DataFrame]) -> tuple[Figure, pd.DataFrame]:
    """Accuracy among the series that the sorter is surest of, as their share grows, with Wilson bands."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for (name, curve), colour in zip(curves.items(), PALETTE):
        axes.plot(
            curve["coverage"], curve["accuracy"], color=colour, lw=1.8, label=name, drawstyle="steps-post"
        )
        axes.fill_between(
            curve["coverage"], curve["low"], curve["high"], color=colour, alpha=0.12, lw=0, step="post"
        )
    low = min(float(curve["accuracy"].min()) for curve in curves.values())
    axes.set_xlim(0, 1.005)
    axes.set_ylim(max(min(0.85, low - 0.1), -0.005), 1.005)
    axes.set_xlabel("Share of series decided without a person, the surest first")
    axes.set_ylabel("Accuracy among them")
    figure.legend(loc="outside right center", frameon=False)
    return figure, pd.concat([c.assign(model=name) for name, c in curves.items()], ignore_index=True)


def _rank(label: str) -> tuple[bool, str]:
    return label.startswith("other"), label


def _short(label: str) -> str:
    return label.removeprefix("other:") if label.startswith("other:") else label
