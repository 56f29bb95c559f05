"""Figures of a reader study: what is drawn is in the table, and the average curve has the average area."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Polygon

from radfoundry.evaluate.intervals import placements
from radfoundry.evaluate.readers.automation_bias import automation_bias as analyse_bias
from radfoundry.evaluate.readers.reading_time import by_order, reading_time
from radfoundry.report.reader_figures import (
    automation_bias,
    average_roc,
    reader_forest,
    reader_roc,
    reading_times,
    roc_points,
)
from radfoundry.types import Estimate
from tests._data import data_dir


def area(curve: pd.DataFrame) -> float:
    return float(np.trapezoid(curve["sensitivity"], curve["fpr"]))


def auc(y: np.ndarray, score: np.ndarray) -> float:
    return float(placements(y, score)[y == 1].mean())


def words(axes) -> list[str]:
    return [t.get_text() for t in axes.texts]


def study(rng: np.random.Generator, readers: int = 4, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    y = np.repeat([0, 1], n // 2)
    return y, np.clip(np.round(3 + y + rng.normal(0, 1, (2, readers, n))), 1, 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 5), st.integers(1, 5)), min_size=4, max_size=30))
def test_the_areas_of_readers_and_of_their_average_are_the_mann_whitney_ones(rows) -> None:
    y, *ratings = np.array(rows).T
    if len(np.unique(y)) < 2:
        return
    curves = [roc_points(y, one.astype(float)) for one in ratings]
    each = [auc(y, one) for one in ratings]
    assert [area(c) for c in curves] == pytest.approx(each)
    assert area(average_roc(curves)) == pytest.approx(np.mean(each))


def test_average_roc_of_van_dyke_has_the_published_areas() -> None:
    """AUC 0.8970370 (cine) and 0.9408374 (spin echo): MRMCaov's vignette."""
    table = pd.read_csv(data_dir("reader_studies", "VanDyke.csv"))
    wide = table.pivot(index="case", columns=["treatment", "reader"], values="rating")
    y = table.groupby("case")["truth"].first().to_numpy()
    rating = np.stack([wide[t].to_numpy().T for t in (1, 2)])
    figure, drawn = reader_roc(y, rating, modalities=["cine", "spin echo"], readers=list("12345"))
    for name, expected in (("cine", 0.8970370), ("spin echo", 0.9408374)):
        mean = drawn[(drawn["modality"] == name) & (drawn["reader"] == "mean")]
        assert area(mean) == pytest.approx(expected, abs=5e-8)
    assert len(figure.axes[0].lines) == 1 + 2 * (5 + 1)


def test_roc_names_its_areas_and_draws_readers_thin_behind_their_mean() -> None:
    y, rating = study(np.random.default_rng(0))
    estimates = {"unaided": Estimate("auroc", 0.7, 0.6, 0.8), "aided": Estimate("auroc", 0.75)}
    readers = ["a", "b", "c", "d"]
    figure, _ = reader_roc(y, rating, modalities=list(estimates), readers=readers, estimates=estimates)
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["unaided  0.700 (0.600–0.800)", "aided  0.750"]
    assert "4 readers" in legend.get_title().get_text()
    own = [line for line in axes.lines if line.get_color() == legend.get_texts()[0].get_color()]
    assert sorted(line.get_linewidth() for line in own)[-1] > 2 * own[0].get_linewidth() and len(own) == 5


def test_a_reader_who_read_one_class_or_not_at_all_has_no_curve() -> None:
    y, rating = study(np.random.default_rng(1))
    rating[0, 0, y == 1] = math.nan
    rating[1, 3] = math.nan
    _, drawn = reader_roc(y, rating, modalities=["a", "b"], readers=list("wxyz"))
    have = drawn.groupby("modality")["reader"].unique().apply(set)
    assert have["a"] == {"x", "y", "z", "mean"} and have["b"] == {"w", "x", "y", "mean"}


def test_forest_ends_in_a_diamond_as_wide_as_the_interval_of_the_average() -> None:
    readers = {f"Reader {i}": Estimate("auroc", 0.01 * i, 0.01 * i - 0.05, 0.01 * i + 0.05, n=80 + i)
               for i in range(1, 4)}  # fmt: skip
    readers["Reader 4"] = Estimate("auroc", -0.02, n=9)
    average = Estimate("auroc", 0.02, -0.01, 0.05, n=90)
    figure, table = reader_forest(readers, average, metric="auroc", better="more", worse="less")
    (axes,) = figure.axes
    (diamond,) = (p for p in axes.patches if isinstance(p, Polygon))
    corners = diamond.get_xy()
    assert (corners[:, 0].min(), corners[:, 0].max()) == (-0.01, 0.05)
    assert table["reader"].tolist() == [*readers, "Average"]
    assert {"Average", "+0.020", "−0.010 to +0.050", "−0.020", "–", "83", "more →"} <= set(words(axes))
    assert axes.get_xlim()[0] < -0.04 and axes.get_xlim()[1] > 0.08


def test_forest_of_an_average_without_interval_has_no_width() -> None:
    figure, _ = reader_forest({"a": Estimate("auroc", 0.1)}, Estimate("auroc", 0.1), metric="auroc")
    assert not [p for p in figure.axes[0].patches if isinstance(p, Polygon)]


def times(rng: np.random.Generator) -> pd.DataFrame:
    reader, aided, case = (a.ravel() for a in np.meshgrid(range(5), [0, 1], range(30), indexing="ij"))
    seconds = 60 * np.exp(rng.normal(0, 0.3, len(reader)) - 0.4 * aided)
    return pd.DataFrame({
        "reader": reader, "modality": np.where(aided, "aided", "unaided"), "case_id": case,
        "order": case + 1, "session": aided + 1, "seconds": seconds,
    })  # fmt: skip


def test_times_are_drawn_by_reader_and_along_the_list() -> None:
    table = times(np.random.default_rng(2))
    names = ["unaided", "aided"]
    found = reading_time(table, modalities=names)
    figure, drawn = reading_times(found.readers, by_order(table), modalities=names, means=found.means)
    left, right = figure.axes
    thin = [line for line in left.lines if len(line.get_xdata()) == 2 and line.get_linewidth() < 1]
    assert len(thin) == 5 and left.get_yscale() == "log"
    values = found.readers.pivot(index="reader", columns="modality", values="seconds")[names]
    assert np.sort([line.get_ydata() for line in thin], axis=0) == pytest.approx(np.sort(values, axis=0))
    assert [f"{one.value:.0f} s" for one in found.means] == words(left)
    assert {line.get_label() for line in right.lines} == {"unaided, session 1", "aided, session 2"}
    assert drawn["panel"].value_counts().to_dict() == {"by reader": 10, "order": 6}


def test_times_without_an_order_are_one_panel() -> None:
    found = reading_time(times(np.random.default_rng(3)), modalities=["unaided", "aided"])
    figure, _ = reading_times(found.readers, modalities=["unaided", "aided"])
    assert len(figure.axes) == 1


def reads(rng: np.random.Generator, *, ai: float) -> pd.DataFrame:
    y = rng.integers(0, 2, 60)
    says = np.where(rng.random(60) < ai, y, 1 - y)
    frames = []
    for j in range(4):
        alone = np.where(rng.random(60) < 0.7, y, 1 - y)
        aided = np.where(rng.random(60) < 0.5, says, alone)
        for modality, decision in (("unaided", alone), ("aided", aided)):
            frames.append(pd.DataFrame({
                "case_id": range(60), "y_true": y, "reader": j, "modality": modality, "decision": decision,
                "ai_decision": says,
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def test_automation_bias_shows_accuracy_by_the_ais_answer_and_the_flips() -> None:
    rng = np.random.default_rng(4)
    found = analyse_bias(reads(rng, ai=0.75), rng=rng, draws=100)
    figure, drawn = automation_bias(found.estimates, found.switches, found.readers)
    left, right = figure.axes
    accuracy = drawn[drawn["panel"] == "accuracy"].set_index(["group", "modality"])["accuracy"]
    own = {(e.subgroup, e.model): e.value for e in found.estimates if e.name == "accuracy"}
    for group in ("AI right", "AI wrong"):
        for modality in ("unaided", "aided"):
            assert accuracy[group, modality] == own[group, modality]
    assert {f"{100 * v:.0f} %" for (_, m), v in own.items() if m != "AI alone"} == set(words(left))
    kinds = found.switches.set_index("what")["reads"]
    flips = 100 * kinds["positive flip"] / (kinds["positive flip"] + kinds["right advice not taken"])
    assert any("positive flips" in w and f"{flips:.0f} %" in w for w in words(right))
    assert [t.get_text().split("\n")[0] for t in left.get_xticklabels()] == ["All", "AI right", "AI wrong"]


def test_an_ai_that_is_never_wrong_leaves_its_bars_empty() -> None:
    rng = np.random.default_rng(5)
    found = analyse_bias(reads(rng, ai=1.0), rng=rng, draws=50)
    figure, drawn = automation_bias(found.estimates, found.switches, found.readers)
    assert len(figure.axes[1].patches) == 4  # two bars of two rows
    accuracy = drawn[drawn["panel"] == "accuracy"]
    assert accuracy[accuracy["group"] == "AI wrong"]["accuracy"].isna().all()
    figure.canvas.draw_idle()
