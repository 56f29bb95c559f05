"""Drawings of draft monitoring: the counts of the heat map are those of the cells."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.finding_cells import Cells
from radfoundry.report import draft_figures
from radfoundry.report.draft_figures import heat_map, rate_table
from radfoundry.text.findings import CRITICALITIES

NAMES = tuple(f"f{i}" for i in range(8))
LEVELS = {name: CRITICALITIES[i % 4] for i, name in enumerate(NAMES)}


def cells(seed: int, reports: int = 40, hidden: float = 0.0) -> Cells:
    rng = np.random.default_rng(seed)
    shape = (reports, len(NAMES))
    known = None if not hidden else rng.random(shape) >= hidden
    ids = np.array([f"r{i}" for i in range(reports)], dtype=object)
    return Cells(rng.random(shape) < 0.4, rng.random(shape) < 0.4, NAMES, LEVELS, ids, known)


def strata(made: Cells) -> dict[str, np.ndarray]:
    first = np.arange(len(made)) % 3 == 0
    return {"view PA": first, "view portable": ~first}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3]))
def test_counts_of_the_table_add_up(seed: int, hidden: float) -> None:
    made = cells(seed, hidden=hidden)
    table = rate_table(made, {"f0": "The first"}, strata(made))
    assert table["finding"].tolist() == ["The first", *NAMES[1:]]
    assert table["criticality"].tolist() == [LEVELS[name] for name in NAMES]
    counts = made.counts  # [reference, call, finding]; cells that are left out are in none
    np.testing.assert_array_equal(table["in_reports"], counts[1].sum(0))
    np.testing.assert_array_equal(table["omitted"], counts[1, 0])
    np.testing.assert_array_equal(table["in_drafts"], counts[:, 1].sum(0))
    np.testing.assert_array_equal(table["invented"], counts[0, 1])
    np.testing.assert_array_equal(
        table["in_reports"] - table["omitted"], table["in_drafts"] - table["invented"]
    )
    for name in ("in_reports", "omitted"):
        parts = table[f"view PA: {name}"] + table[f"view portable: {name}"]
        np.testing.assert_array_equal(parts, table[name])


def test_the_heat_map_shows_counts_by_criticality_the_most_omitted_first() -> None:
    made = cells(1)
    table = rate_table(made, {}, strata(made))
    figure, shown = heat_map(table, CRITICALITIES, ["view PA", "view portable"])
    try:
        axes = figure.axes[0]
        ranks = [CRITICALITIES.index(level) for level in shown["criticality"]]
        assert ranks == sorted(ranks) and len(shown) == len(NAMES)
        for _, own in shown.groupby("criticality"):
            assert own["omitted"].is_monotonic_decreasing
        assert [label.get_text() for label in axes.get_yticklabels()] == shown["finding"].tolist()
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == ["omitted,\nall", "omitted,\nview PA", "omitted,\nview portable", "invented"]
        written = [text.get_text() for text in axes.texts if "/" in text.get_text()]
        first = shown.iloc[0]
        assert written[:2] == [
            f"{first['omitted']}/{first['in_reports']}",
            f"{first['view PA: omitted']}/{first['view PA: in_reports']}",
        ]
        assert len(written) == 4 * len(shown)
        brackets = {text.get_text().replace("\n", " ") for text in axes.texts} & set(CRITICALITIES)
        assert brackets == set(CRITICALITIES)
        assert set(shown) == set(table), "the data beside the figure hold what the table holds"
    finally:
        plt.close(figure)


def row(name: str, level: str, n: int, omitted: int, drafts: int, invented: int) -> dict[str, object]:
    return {"finding": name, "criticality": level, "in_reports": n, "omitted": omitted, "in_drafts": drafts,
            "invented": invented}  # fmt: skip


def test_rare_findings_are_left_out_and_what_is_only_invented_has_a_dash() -> None:
    table = pd.DataFrame([
        row("rare", "critical", 4, 4, 4, 4), row("invented", "minor", 0, 0, 5, 5),
        row("kept", "minor", 5, 1, 4, 0),
    ])  # fmt: skip
    figure, shown = heat_map(table, CRITICALITIES, [])
    try:
        assert shown["finding"].tolist() == ["kept", "invented"]
        assert [t.get_text() for t in figure.axes[0].texts][:4] == ["1/5", "0/4", "–", "5/5"]
    finally:
        plt.close(figure)


def test_at_most_forty_findings_are_drawn_and_the_worst_stay() -> None:
    rows = [row(f"m{i}", "minor", 50, i, 50, 0) for i in range(60)]
    table = pd.DataFrame([*rows, row("c", "critical", 5, 0, 5, 0)])
    figure, shown = heat_map(table, CRITICALITIES, [])
    plt.close(figure)
    assert len(shown) == draft_figures.MOST_ROWS
    assert shown["finding"].tolist()[:2] == ["c", "m59"] and "m0" not in set(shown["finding"])


def test_nothing_to_draw_is_said() -> None:
    empty = np.zeros((3, len(NAMES)), bool)
    made = Cells(empty, empty, NAMES, LEVELS, np.array(["1", "2", "3"], dtype=object))
    table = rate_table(made, {}, {})
    assert (table[["in_reports", "omitted", "in_drafts", "invented"]] == 0).all(axis=None)
    before = plt.get_fignums()
    with pytest.raises(NotEnoughData, match="no finding occurs in 5 reports or drafts"):
        heat_map(table, CRITICALITIES, [])
    assert plt.get_fignums() == before
