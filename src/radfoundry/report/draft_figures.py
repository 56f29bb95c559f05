"""The drawing of draft monitoring: what drafts omit and invent, by finding and criticality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.finding_cells import Cells
from radfoundry.report.figures import styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 40
LEAST = 5
"""Findings seen less often, in reports as well as in drafts, are not drawn."""


def rate_table(cells: Cells, names: Mapping[str, str], strata: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Per finding: criticality, n in reports and drafts, omitted, invented, and counts by stratum."""
    both, omitted, invented = cells.cells(True, True), cells.cells(True, False), cells.cells(False, True)
    rows = []
    for i, key in enumerate(cells.findings):
        r, c = (both | omitted)[:, i], (both | invented)[:, i]
        row = {
            "finding": names.get(key, key), "criticality": cells.level[i], "in_reports": int(r.sum()),
            "omitted": int(omitted[:, i].sum()), "in_drafts": int(c.sum()),
            "invented": int(invented[:, i].sum()),
        }  # fmt: skip
        for label, mask in strata.items():
            row[f"{label}: in_reports"] = int(r[mask].sum())
            row[f"{label}: omitted"] = int(omitted[mask, i].sum())
        rows.append(row)
    return pd.DataFrame(rows)


@styled
def heat_map(
    table: pd.DataFrame, levels: Sequence[str], strata: Sequence[str]
) -> tuple[Figure, pd.DataFrame]:
    """Findings by criticality against omission rate (all, each stratum) and invention rate.

    table: of `rate_table`. Cells hold the counts; colour is the rate, so a dark cell of two cases is read as
    what it is. Raises NotEnoughData where no finding is seen `LEAST` times.
    """
    import matplotlib.pyplot as plt

    often = table[table[["in_reports", "in_drafts"]].max(axis=1) >= LEAST]
    if not len(often):
        raise NotEnoughData(f"no finding occurs in {LEAST} reports or drafts: there is no heat map")
    rank = {level: i for i, level in enumerate(levels)}
    often = often.assign(
        rank=often["criticality"].map(rank), rate=often["omitted"] / often["in_reports"].clip(lower=1)
    )
    shown = often.sort_values(["rank", "omitted", "rate"], ascending=[True, False, False]).head(MOST_ROWS)
    pairs = [("omitted, all", "omitted", "in_reports"), ("invented", "invented", "in_drafts")]
    pairs[1:1] = [(f"omitted, {s}", f"{s}: omitted", f"{s}: in_reports") for s in strata]
    k = shown[[a for _, a, _ in pairs]].to_numpy(float)
    n = shown[[b for _, _, b in pairs]].to_numpy(float)
    rate = np.divide(k, n, out=np.full_like(k, np.nan), where=n > 0)
    height = 1.3 + 0.24 * max(len(shown), 3)
    figure, axes = plt.subplots(figsize=(2.9 + 1.0 * len(pairs), height), layout="constrained")
    image = axes.imshow(np.ma.masked_invalid(rate), cmap="YlOrBr", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(rate):
        text = "–" if np.isnan(value) else f"{int(k[i, j])}/{int(n[i, j])}"
        axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color="w" if value > 0.6 else "0.15")
    axes.set_xticks(range(len(pairs)), [label.replace(", ", ",\n") for label, _, _ in pairs], fontsize=8)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(shown)), list(shown["finding"]), fontsize=8)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _brackets(axes, list(shown["criticality"]))
    figure.colorbar(image, ax=axes, shrink=0.5 if len(shown) > 8 else 0.9, label="share", pad=0.12)
    return figure, shown.drop(columns=["rank", "rate"])


def _brackets(axes: Axes, levels: Sequence[str]) -> None:
    """The criticality at the right of its rows, and a line between two of them."""
    start = 0
    for i in range(1, len(levels) + 1):
        if i == len(levels) or levels[i] != levels[start]:
            middle = (start + i - 1) / 2
            axes.annotate(
                levels[start].replace(" ", "\n"), (1.01, middle), xycoords=("axes fraction", "data"),
                va="center", ha="left", fontsize=8, annotation_clip=False,
            )  # fmt: skip
            if i < len(levels):
                axes.axhline(i - 0.5, color="0.2", lw=0.8)
            start = i
