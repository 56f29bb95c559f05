"""Drawings of charts show what the charts hold."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from radfoundry.errors import NotEnoughData
from radfoundry.monitor.case_chart import risk_adjusted_cusum
from radfoundry.monitor.charts import by, cusum, ewma, p_chart
from radfoundry.monitor.figures import chart_drawing, chart_panels
from radfoundry.monitor.series import baseline
from radfoundry.report.figures import save
from tests.monitor.test_charts import changed, juice, rng


def marked(axes: object) -> int:
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "^")  # type: ignore[attr-defined]


def test_alarms_have_a_shape_of_their_own_and_limits_are_steps(tmp_path: Path) -> None:
    chart = p_chart(juice(), baseline(juice(), 10), name="cans")
    figure, table = chart_drawing(chart)
    axes, cases = figure.axes
    assert marked(axes) == chart.alarm.sum() > 0
    steps = [patch.get_data().values for patch in axes.patches if hasattr(patch, "get_data")]
    assert any(np.array_equal(values, chart.high) for values in steps)
    assert any(np.array_equal(values, chart.low) for values in steps)
    assert axes.get_title(loc="left") == "cans" and cases.get_ylabel() == "Cases"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["limits", "share", "alarm"]
    pd.testing.assert_frame_equal(table, chart.table())
    save(figure, tmp_path / "chart")
    assert (tmp_path / "chart.svg").stat().st_size > 5_000


def test_every_kind_of_chart_is_drawn_and_settings_stay() -> None:
    before = mpl.rcParams.copy()
    weeks = changed()
    base = baseline(weeks, 40)
    both = cusum(weeks, base, rng=rng(), side="both", limit=5, paths=50)
    when = np.datetime64("2026-01-05T08:00") + np.arange(500) * np.timedelta64(1, "h")
    cases = risk_adjusted_cusum(when, np.ones(500), np.full(500, 0.2), arl0=50, rng=rng(), limit=3, paths=50)
    assert (
        0 < cases.alarm.sum() > marked(chart_drawing(cases)[0].axes[0]) == 1
    )  # of a long row only the first
    for chart in (both, ewma(weeks, base, rng=rng(), limit=3, paths=50),
                  cusum(weeks, base, rng=rng(), side="down", limit=5, paths=50)):  # fmt: skip
        assert marked(chart_drawing(chart)[0].axes[0]) == chart.alarm.sum()
    words = [text.get_text() for text in chart_drawing(both)[0].legends[0].get_texts()]
    assert "estimated change" in words
    assert mpl.rcParams == before


def test_panels_share_axes_and_keep_empty_weeks() -> None:
    weeks = changed()
    weeks.n[5] = weeks.count[5] = 0
    found = by(weeks, lambda own: p_chart(own, baseline(own, 40)))
    figure, table = chart_panels(found.charts)
    one, two = figure.axes
    assert one.get_ylim() == two.get_ylim() and two.get_title(loc="left") == "portable"
    assert list(table.columns[:2]) == ["panel", "start"] and len(table) == 160
    assert len(one.lines[0].get_xdata()) == 79
    base = baseline(weeks, 40)
    mixed = {"p-chart": p_chart(weeks, base), "CUSUM": cusum(weeks, base, rng=rng(), limit=5, paths=50)}
    assert mixed["CUSUM"].alarm.any()
    words = [text.get_text() for text in chart_panels(mixed)[0].legends[0].get_texts()]
    assert words == ["limits", "alarm", "estimated change"]  # what the line is stands at the axes
    with pytest.raises(NotEnoughData, match="no chart to draw"):
        chart_panels({})
