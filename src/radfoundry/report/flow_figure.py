"""The flow of cases, as CONSORT and STARD draw it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from radfoundry.report.figures import SOFT, Drawing, styled


@styled
def flow(
    steps: Sequence[tuple[str, int]],
    excluded: Sequence[Sequence[tuple[str, int]]] = (),
    arms: Sequence[tuple[str, int]] = (),
) -> Drawing:
    """Flow of cases, as CONSORT and STARD draw it.

    steps: (what, n) from top to bottom. excluded: for each gap between steps, the (reason, n) left out
    there. arms: (what, n) side by side at the bottom, such as training and test.
    """
    height = 1.15 * (len(steps) - 1) + 0.7 + (1.15 if arms else 0)
    figure = Figure(figsize=(9.0, height + 0.1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 9), ylim=(-height - 0.05, 0.05))
    axes.axis("off")
    middle = 3.1 if any(excluded) else 4.5
    for index, (what, n) in enumerate(steps):
        top = -1.15 * index
        _box(axes, middle, top - 0.36, 3.7, what, n)
        out = excluded[index] if index < len(excluded) else ()
        last = index == len(steps) - 1
        if not last:
            _arrow(axes, (middle, top - 0.68), (middle, top - 1.17))
        if out:
            _arrow(axes, (middle, top - 0.925), (5.55, top - 0.925))
            _excluded(axes, 5.6, top - 0.925, out)
    if arms:
        _arms(axes, middle, -1.15 * (len(steps) - 1) - 0.68, arms)
    return figure, _flow_table(steps, excluded, arms)


def _flow_table(
    steps: Sequence[tuple[str, int]],
    excluded: Sequence[Sequence[tuple[str, int]]],
    arms: Sequence[tuple[str, int]],
) -> pd.DataFrame:
    rows: list[tuple[str, str, int]] = []
    for index, (what, n) in enumerate(steps):
        rows.append(("step", what, n))
        rows += [("excluded", why, k) for why, k in (excluded[index] if index < len(excluded) else ())]
    rows += [("arm", what, n) for what, n in arms]
    return pd.DataFrame(rows, columns=["kind", "what", "n"])


def _box(axes: Axes, x: float, y: float, width: float, what: str, n: int) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.3),
            width,
            0.6,
            boxstyle="round,pad=0.01,rounding_size=0.05",
            facecolor="#f5f7f9",
            edgecolor="#9aa5b1",
            lw=0.9,
        )
    )
    axes.text(x, y + 0.11, what, ha="center", va="center", fontsize=10.5)
    axes.text(x, y - 0.13, f"n = {n:,}", ha="center", va="center", fontsize=10.5, weight="bold")


def _excluded(axes: Axes, x: float, y: float, reasons: Sequence[tuple[str, int]]) -> None:
    """Reasons in two aligned columns, right of the flow."""
    pitch = 0.23
    top = y + pitch * (len(reasons) - 1) / 2
    for index, (why, n) in enumerate(reasons):
        axes.text(
            x + 0.42, top - pitch * index, f"{n:,}", ha="right", va="center", fontsize=10, weight="bold"
        )
        axes.text(x + 0.52, top - pitch * index, why, ha="left", va="center", fontsize=10, color=SOFT)


def _arms(axes: Axes, middle: float, top: float, arms: Sequence[tuple[str, int]]) -> None:
    width = min(3.0, (8.8 - 0.25 * (len(arms) - 1)) / len(arms))
    span = (width + 0.25) * (len(arms) - 1)
    start = min(max(middle - span / 2, width / 2 + 0.1), 8.9 - span - width / 2)
    centres = [start + (width + 0.25) * index for index in range(len(arms))]
    fork = top - 0.2
    axes.plot([middle, middle], [top, fork], color=SOFT, lw=1)
    axes.plot([min(*centres, middle), max(*centres, middle)], [fork, fork], color=SOFT, lw=1)
    for x, (what, n) in zip(centres, arms, strict=True):
        _arrow(axes, (x, fork), (x, top - 0.48))
        _box(axes, x, top - 0.79, width, what, n)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": SOFT, "lw": 1, "shrinkA": 0, "shrinkB": 0}
    )
