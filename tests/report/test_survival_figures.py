"""Survival as it is drawn: what is in the figure is in its table, and numbers at risk are those counted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from radfoundry.evaluate.survival.curves import aalen_johansen, at_risk, kaplan_meier
from radfoundry.report.survival_figures import auc_over_time, calibration_at
from radfoundry.report.survival_figures import kaplan_meier as draw


def groups(n: int = 80) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    out = {}
    for name, mean in (("low risk", 900), ("high risk", 300)):
        time, lost = rng.exponential(mean, n), rng.exponential(900, n)
        out[name] = np.minimum(time, lost), (time <= lost).astype(int)
    return out


def numbers_below(figure) -> dict[str, list[int]]:
    """Numbers of the table under the curves, by row from the top, left to right."""
    texts = [t for t in figure.axes[1].texts if t.get_text().replace(",", "").isdigit()]
    rows: dict[float, list[tuple[float, int]]] = {}
    for t in texts:
        rows.setdefault(t.get_position()[1], []).append(
            (t.get_position()[0], int(t.get_text().replace(",", "")))
        )
    return {y: [count for _, count in sorted(rows[y])] for y in sorted(rows, reverse=True)}


def test_numbers_at_risk_stand_under_their_ticks() -> None:
    data = groups()
    figure, table = draw({g: kaplan_meier(*d).table() for g, d in data.items()}, until=1000)
    curves, below = figure.axes
    assert curves.get_xlim() == below.get_xlim() == (0, 1000)
    left, right = (axes.get_position() for axes in (curves, below))
    assert (left.x0, left.x1) == (right.x0, right.x1) and right.y1 < left.y0
    ticks = [t for t in curves.get_xticks() if 0 <= t <= 1000]
    for (time, _), row in zip(data.values(), numbers_below(figure).values(), strict=True):
        assert row == at_risk(time, ticks).tolist()
    assert set(table["group"]) == {"low risk", "high risk"}


def test_curves_are_steps_from_one_with_marks_where_censored() -> None:
    data = groups()
    figure, _ = draw({g: kaplan_meier(*d).table() for g, d in data.items()}, test="log-rank p = 0.01")
    axes = figure.axes[0]
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    marks = [line for line in axes.lines if line.get_marker() == "|"]
    assert len(steps) == len(marks) == 2 and all(line.get_ydata()[0] == 1 for line in steps)
    assert len(marks[0].get_xdata()) == (data["low risk"][1] == 0).sum()
    assert axes.get_title(loc="right") == "log-rank p = 0.01" and len(axes.collections) == 2


def test_a_group_of_one_and_a_curve_that_ends_early_are_drawn() -> None:
    many = kaplan_meier(np.arange(1.0, 40), np.ones(39)).table()
    curves = {"one": kaplan_meier([5.0], [1]).table(), "many": many}
    figure, _ = draw(curves, until=100, unit="weeks")
    assert figure.axes[0].get_xlabel() == "Time (weeks)"
    assert [row[-1] for row in numbers_below(figure).values()] == [0, 0]


def test_incidence_rises_from_zero() -> None:
    time, cause = np.arange(1.0, 41), np.tile([0, 1, 2, 1], 10)
    figure, _ = draw({"relapse": aalen_johansen(time, cause).table()}, incidence=True, ylabel="Incidence")
    (line,) = figure.axes[0].lines
    assert line.get_ydata()[0] == 0 and (np.diff(line.get_ydata()) >= 0).all()


def test_calibration_ends_where_the_risks_do() -> None:
    risk = {"group": [1, 2], "n": [40, 40], "predicted": [0.1, 0.3], "observed": [0.12, 0.25]}
    groups_of_risk = pd.DataFrame({**risk, "low": [0.05, 0.15], "high": [0.25, 0.4]})
    figure, table = calibration_at({"m": groups_of_risk}, horizon="2 years")
    (axes,) = figure.axes
    assert axes.get_xlim() == axes.get_ylim() and 0.4 < axes.get_xlim()[1] < 0.5
    assert axes.get_xlabel() == "Predicted risk at 2 years" and table["model"].tolist() == ["m", "m"]


def test_auc_over_time_shows_chance() -> None:
    curve = pd.DataFrame({"time": [100.0, 200], "auc": [0.7, 0.65], "low": [0.6, 0.38], "high": [0.8, 0.75]})
    figure, table = auc_over_time({"m": curve})
    (axes,) = figure.axes
    assert axes.get_ylim()[0] < 0.38 and axes.lines[0].get_ydata()[0] == 0.5 and len(table) == 2
