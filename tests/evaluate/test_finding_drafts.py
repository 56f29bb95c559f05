"""Drafts against reports: omissions and inventions counted by hand, by stratum, with and without clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radfoundry.evaluate.draft_comparison import compare_drafts
from radfoundry.evaluate.finding_cells import Cells
from radfoundry.types import Estimate
from tests.evaluate._rows import pick

# Columns: a critical finding, a minor one, a normal variant. Five reports and their drafts.
REPORT = [[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]]
DRAFT = [[1, 0, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [0, 1, 0]]


def five() -> Cells:
    kinds = dict(
        zip(
            ("pneumothorax", "scoliosis", "azygos_lobe"), ("critical", "minor", "normal variant"), strict=True
        )
    )
    return Cells(
        np.array(REPORT, bool),
        np.array(DRAFT, bool),
        tuple(kinds),
        kinds,
        np.array(list("abcde"), dtype=object),
    )


@pytest.fixture(scope="module")
def found() -> list[Estimate]:
    strata = {"view PA": np.array([1, 1, 0, 0, 0], bool), "view portable": np.array([0, 0, 1, 1, 1], bool)}
    return compare_drafts(five(), rng=np.random.default_rng(0), draws=200, strata=strata)


def test_omissions_and_inventions_by_finding(found) -> None:
    missed = pick(found, "omission_rate", target="pneumothorax", subgroup="critical")
    assert (missed.value, missed.n) == (0.5, 2)
    invented = pick(found, "invention_rate", target="pneumothorax", subgroup="critical")
    assert (invented.value, invented.n) == (0.5, 2)
    assert pick(found, "omission_rate", target="azygos_lobe", subgroup="normal variant").value == 0
    assert pick(found, "prevalence_draft", target="azygos_lobe", subgroup="normal variant").value == 0.6


def test_pooled_rates_come_by_wilson_and_by_bootstrap(found) -> None:
    for method in ("Wilson, cells taken as independent", "report bootstrap"):
        assert pick(found, "omission_rate", method).value == pytest.approx(2 / 6)
        assert pick(found, "invention_rate", method).value == pytest.approx(3 / 7)
        assert pick(found, "omission_rate", method, subgroup="minor").value == 0.5
    assert pick(found, "omission_rate", "Wilson").n == 6 and pick(found, "invention_rate", "Wilson").n == 7
    assert pick(found, "micro_accuracy", model="all-negative baseline").value == pytest.approx(9 / 15)


def test_rates_per_report_and_in_normal_reports(found) -> None:
    assert pick(found, "omissions_per_report").value == pytest.approx(2 / 5)
    assert pick(found, "inventions_per_report", subgroup="minor").value == pytest.approx(1 / 5)
    row = pick(found, "any_invention")
    assert (row.value, row.n) == (3 / 5, 5)
    # Reports d and e are normal; their drafts invent a pneumothorax and a scoliosis.
    assert pick(found, "inventions_per_report", subgroup="normal reports").value == 1
    assert pick(found, "any_invention", subgroup="normal reports").value == 1
    row = pick(found, "any_invention", subgroup="normal reports, critical")
    assert (row.value, row.n) == (0.5, 2)
    assert pick(found, "any_critical_miss", subgroup="critical").value == pytest.approx(1 / 5)
    assert pick(found, "mean_jaccard").value == pytest.approx((0.5 + 0 + 1 + 0.5 + 0) / 5)


def test_strata_have_their_own_rows_and_n(found) -> None:
    assert pick(found, "exact_match", subgroup="normal reports").n == 2
    assert pick(found, "exact_match", subgroup="abnormal reports").n == 3
    assert pick(found, "omission_rate", "Wilson", subgroup="view PA").value == pytest.approx(2 / 3)
    assert pick(found, "omission_rate", "Wilson", subgroup="view PA, critical").value == 0.5
    assert pick(found, "exact_match", subgroup="view portable").value == pytest.approx(1 / 3)
    row = pick(found, "omission_rate", "Wilson", subgroup="normal reports, critical")
    assert math.isnan(row.value) and row.note == "not in any report"


def test_planted_rates_lie_in_their_intervals_when_the_reading_is_perfect() -> None:
    rng = np.random.default_rng(1)
    report = rng.random((2000, 40)) < 0.05
    draft = np.where(report, rng.random(report.shape) > 0.25, rng.random(report.shape) < 0.01)
    ids = tuple(f"f{i}" for i in range(40))
    cells = Cells(report, draft, ids, dict.fromkeys(ids, "minor"), np.arange(2000).astype(str))
    rows = compare_drafts(cells, rng=rng, draws=300)
    omitted = pick(rows, "omission_rate", "bootstrap")
    assert omitted.low < 0.25 < omitted.high
    invented = pick(rows, "invention_rate", "bootstrap")
    assert invented.low < 0.95 * 0.01 / (0.95 * 0.01 + 0.05 * 0.75) < invented.high
    hits = [
        one.low <= 0.25 <= one.high for one in rows if one.name == "omission_rate" and one.target is not None
    ]
    assert 34 <= sum(hits) <= 40
