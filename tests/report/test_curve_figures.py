"""Learning curves as they are drawn: what is in the figure is in its table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from radfoundry.report.curve_figures import Line, learning_curve, small_multiples


def line(top: float) -> Line:
    n = np.array([5, 10, 20, 50.0])
    value = top - 0.5 / n
    points = pd.DataFrame({"n": n, "value": value, "low": value - 0.02, "high": value + 0.02})
    at = np.geomspace(5, 500, 30)
    fit = top - 0.5 / at
    return Line(points, pd.DataFrame({"n": at, "fit": fit, "low": fit - 0.05, "high": fit + 0.05}), 50)


def test_curve_is_solid_where_measured_and_dashed_beyond() -> None:
    figure, table = learning_curve({"a": line(0.9), "b": line(0.8)}, 0.85)
    (axes,) = figure.axes
    forecast = [own for own in axes.lines if own.get_marker() == "None" and len(own.get_xdata()) > 2]
    solid = [own for own in forecast if own.get_linestyle() == "-"]
    dashed = [own for own in forecast if own.get_linestyle() != "-"]
    assert len(solid) == len(dashed) == 2
    assert all(own.get_xdata().max() <= 50.01 for own in solid)
    assert all(own.get_xdata().min() >= 49 for own in dashed)
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a", "b"]
    assert any("goal 0.85" in t.get_text() for t in axes.texts)
    assert set(table["kind"]) == {"measured", "forecast"} and len(table) == 2 * (4 + 30)


def test_small_multiples_share_axes_and_colours() -> None:
    panels = {"ila": {"a": line(0.9), "b": line(0.8)}, "mass": {"b": line(0.7)}}
    figure, table = small_multiples(panels, 0.85)
    first, second = (axes for axes in figure.axes if axes.get_visible())
    assert first.get_ylim() == second.get_ylim() and second.get_title(loc="left") == "mass"
    colour = {own.get_label(): own.get_color() for own in first.lines if own.get_marker() == "o"}
    assert [own.get_color() for own in second.lines if own.get_marker() == "o"] == [colour["b"]]
    assert set(table["panel"]) == {"ila", "mass"}


def test_curve_without_forecast_shows_its_points() -> None:
    bare = Line(line(0.5).points, line(0.5).band.iloc[:0], 50)
    _, table = learning_curve({"a": bare}, 0.9)
    assert set(table["kind"]) == {"measured"}
