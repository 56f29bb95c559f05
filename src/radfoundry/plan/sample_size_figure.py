"""The drawing of a sample size: what n cases reach, with the target and the answer."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from radfoundry.plan.requirement import Requirement
from radfoundry.report.figures import INK, PALETTE, SOFT, Drawing, styled


@styled
def sample_size(requirement: Requirement, curve: pd.DataFrame) -> Drawing:
    """One panel a criterion; curve as `sample_size.trade_off` gives it. Returns (figure, data drawn)."""
    criteria = requirement.criteria
    columns = min(len(criteria), 2)
    rows = math.ceil(len(criteria) / columns)
    figure = Figure(figsize=(4.6 * columns + 0.4, 3.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, criterion in zip(panels, criteria, strict=False):
        drawn = curve[curve["criterion"] == criterion.name]
        axes.plot(drawn["n"], drawn["reached"], color=PALETTE[0])
        axes.set(xscale="log", xlabel="cases", ylabel=criterion.quantity, title=criterion.name)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(0, 1.02 if criterion.symbol == "≥" else None)
        if criterion.target is not None and math.isfinite(criterion.target):
            axes.axhline(criterion.target, color=SOFT, lw=1, ls=(0, (4, 3)))
        axes.axvline(requirement.n, color=SOFT, lw=1, ls=(0, (1, 2)))
        axes.plot([requirement.n], [criterion.reached], "o", color=PALETTE[1], ms=6)
        if criterion.needs is not None and criterion.needs != requirement.n:
            axes.plot([criterion.needs], [criterion.target], "o", mfc="none", color=INK, ms=6)
    for axes in panels[len(criteria) :]:
        axes.set_axis_off()
    return figure, curve
