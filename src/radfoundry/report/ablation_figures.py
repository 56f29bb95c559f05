"""Drawings of an ablation: what mattered, and all cells in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from radfoundry.report.figures import INK, LINE, PALETTE, SOFT, Drawing, styled

WORDS = {
    "features": "feature set",
    "sample_size": "number of cases",
    "k": "number of features",
    "imbalance": "imbalance correction",
    "split": "which cases were tested",
    "cell by split": "unexplained",
}


@styled
def what_mattered(shares: Sequence[Any], means: pd.DataFrame) -> Drawing:
    """Left: share of the variance of fold AUCs by source. Right: mean AUC of each level of each factor.

    shares: objects with source, share, low, high. means: factor, level, value, low, high.
    """
    order = sorted(shares, key=lambda s: -s.share)
    lines = max(len(order), len(means) + 1.15 * means["factor"].nunique() if len(means) else 1)
    figure = Figure(figsize=(9.6, 1.1 + 0.29 * lines))
    left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.75, "width_ratios": [1, 1.15]})
    figure.subplots_adjust(
        left=0.2, right=0.97, top=1 - 0.4 / (1.1 + 0.29 * lines), bottom=0.62 / (1.1 + 0.29 * lines)
    )
    for index, share in enumerate(order):
        chance = share.source in ("split", "cell by split")
        colour = PALETTE[4] if chance else PALETTE[0]
        left.barh(-index, share.share, height=0.62, color=colour, alpha=0.75)
        if np.isfinite(share.low):
            left.plot([share.low, share.high], [-index, -index], color=INK, lw=1.1)
        left.text(-0.02, -index, WORDS.get(share.source, share.source), ha="right", va="center", fontsize=10,
                  transform=left.get_yaxis_transform())  # fmt: skip
    left.set(yticks=[], xlim=(0, None), xlabel="Share of the variance of fold AUCs")
    left.set_title("What AUCs differ by", loc="left", fontsize=11)
    left.grid(axis="y", visible=False)
    left.spines["left"].set_visible(False)
    _levels(right, means)
    data = pd.concat([
        pd.DataFrame([{"panel": "share", "row": s.source, "value": s.share, "low": s.low, "high": s.high}
                      for s in order]),
        means.assign(panel="mean AUC", row=means["factor"] + " = " + means["level"])
        [["panel", "row", "value", "low", "high"]] if len(means) else pd.DataFrame(),
    ])  # fmt: skip
    return figure, data


def _levels(axes: Any, means: pd.DataFrame) -> None:
    place, shown = 0.0, 0
    for factor, own in means.groupby("factor", sort=False):
        axes.text(-0.03, -place, WORDS.get(str(factor), str(factor)), ha="right", va="center", fontsize=9.5,
                  color=SOFT, transform=axes.get_yaxis_transform(), style="italic")  # fmt: skip
        place += 0.95
        for row in own.itertuples():
            axes.plot([row.low, row.high], [-place, -place], color=PALETTE[0], lw=2.2, alpha=0.5)
            axes.plot(row.value, -place, "o", color=PALETTE[0], ms=5)
            axes.text(-0.03, -place, row.level, ha="right", va="center", fontsize=10,
                      transform=axes.get_yaxis_transform())  # fmt: skip
            place, shown = place + 1.0, shown + 1
        place += 0.2
    axes.set(yticks=[], xlabel="Mean AUC over the cells with that level", ylim=(-place + 0.3, 0.8))
    axes.set_title("Which level did better", loc="left", fontsize=11)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    if not shown:
        axes.text(0.5, 0.5, "no factor was varied", ha="center", transform=axes.transAxes, color=SOFT)


@styled
def all_cells(table: pd.DataFrame, chosen: pd.DataFrame) -> Drawing:
    """Every cell by its mean outer AUC, a column a feature set; the choice made inside is the bar across.

    table: features, auroc (one row a cell). chosen: features, value, low, high. The distance from the
    highest dot to the bar is what picking the best cell afterwards would have promised too much.
    """
    names = list(chosen["features"])
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)  # the sideways scatter only separates the dots
    for place, (name, row) in enumerate(zip(names, chosen.itertuples())):
        areas = table.loc[table["features"] == name, "auroc"].to_numpy(float)
        x = place + rng.uniform(-0.22, 0.22, len(areas))
        axes.plot(x, areas, "o", ms=4, color=PALETTE[0], alpha=0.45, mew=0)
        axes.fill_between([place - 0.32, place + 0.32], row.low, row.high, color=PALETTE[1], alpha=0.14, lw=0)
        axes.plot([place - 0.32, place + 0.32], [row.value] * 2, color=PALETTE[1], lw=2.2)
    axes.axhline(0.5, color=SOFT, lw=1, ls=(0, (4, 3)))
    axes.set_xticks(range(len(names)), [_wrapped(n) for n in names], fontsize=10, color=INK)
    axes.set(ylabel="Mean AUC over the outer folds", xlim=(-0.6, len(names) - 0.4))
    axes.grid(axis="x", visible=False)
    axes.spines["bottom"].set_color(LINE)
    axes.plot([], [], "o", ms=4, color=PALETTE[0], alpha=0.6, label="one pipeline")
    axes.plot([], [], color=PALETTE[1], lw=2.2, label="chosen on the training cases, 95 % interval")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=9.5, borderaxespad=0.2)
    return figure, pd.concat([table.assign(kind="cell"), chosen.assign(kind="chosen inside")])


def _wrapped(name: str) -> str:
    return "\n".join(name.split(" ")) if len(name) > 12 else name
