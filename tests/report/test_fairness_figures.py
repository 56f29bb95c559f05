"""The forest plot of groups: every group on its row in every panel, and all that is drawn in the table."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from radfoundry.report.fairness_figures import PANELS, forest_panels
from radfoundry.report.figures import save
from radfoundry.types import Estimate

GROUPS = [["sex F", "sex M"], ["age 0-17", "age 18-39"]]


def estimates(patients: int | None = 90) -> list[Estimate]:
    out = [Estimate(m, 0.62, 0.6, 0.64, n=400, n_clusters=patients) for m in PANELS]
    for place, name in enumerate(n for group in GROUPS for n in group):
        for metric in PANELS:
            value = math.nan if (name, metric) == ("age 0-17", "auroc") else 0.5 + 0.1 * place
            limits = (value - 0.05, value + 0.05)
            out.append(Estimate(metric, value, *limits, n=100 + place, n_clusters=patients, subgroup=name))
    return out


def test_every_group_is_a_row_and_every_metric_a_panel() -> None:
    figure, table = forest_panels(estimates(), GROUPS)
    assert [a.get_title(loc="left") for a in figure.axes] == [
        "AUC", "Sensitivity", "Specificity", "Selection rate", "Observed − expected"
    ]  # fmt: skip
    for axes, drawn in zip(figure.axes, (3, 4, 4, 4, 4), strict=True):
        dots = [own for own in axes.lines if own.get_marker() == "o"]
        assert len(dots) == drawn  # one group has too few cases for an AUC
        assert [own.get_ydata()[0] for own in dots] == sorted(own.get_ydata()[0] for own in dots)
    assert len(table) == 25 and set(table["group"]) == {
        "sex F",
        "sex M",
        "age 0-17",
        "age 18-39",
        "all cases",
    }
    first = table[(table["group"] == "sex M") & (table["metric"] == "sensitivity")].iloc[0]
    assert (first["value"], first["low"], first["n"], first["patients"]) == pytest.approx(
        (0.6, 0.55, 101, 90)
    )


def test_words_stand_at_the_rows_and_n_at_the_right() -> None:
    figure, _ = forest_panels(estimates(), GROUPS)
    left, right = ([t.get_text() for t in figure.axes[i].texts] for i in (0, -1))
    assert {"sex", "F", "M", "age", "0-17", "18-39", "too few"} <= set(left)
    assert right == ["n", "100", "101", "102", "103", "patients", "90", "90", "90", "90"]
    alone, _ = forest_panels(estimates(patients=None), GROUPS)
    assert "patients" not in [t.get_text() for t in alone.axes[-1].texts]


def test_all_cases_are_a_dashed_line_in_every_panel() -> None:
    figure, _ = forest_panels(estimates(), GROUPS)
    for axes in figure.axes:
        dashed = [own for own in axes.lines if own.get_linestyle() != "-" and own.get_xdata()[0] == 0.62]
        assert len(dashed) == 1
    assert any(t.get_text() == "dashed: all cases" for t in figure.texts)


def test_metrics_that_nobody_has_get_no_panel() -> None:
    only = [e for e in estimates() if e.name == "auroc"]
    figure, table = forest_panels(only, GROUPS)
    assert len(figure.axes) == 1 and set(table["metric"]) == {"auroc"}


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(forest_panels(estimates(), GROUPS)[0], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 10_000
