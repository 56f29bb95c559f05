"""Extractors against annotated reports: published figures, hand counts, resampling, conventions."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from radfoundry.errors import InputMismatch, TableError
from radfoundry.evaluate import classification as cl
from radfoundry.evaluate.finding_cells import Cells, draw_counts, from_tables, present
from radfoundry.evaluate.findings import (
    ALL_NEGATIVE,
    jaccard,
    normal_and_abnormal,
    report_f1,
    validate,
)
from radfoundry.types import Estimate
from tests.evaluate._rows import pick

LEVELS = ("minor", "critical", "normal variant")


def make(reference, call, levels=LEVELS, **more) -> Cells:
    reference, call = np.asarray(reference, bool), np.asarray(call, bool)
    ids = tuple(f"f{i}" for i in range(reference.shape[1]))
    criticality = {one: levels[i % len(levels)] for i, one in enumerate(ids)}
    reports = np.array([f"r{i}" for i in range(len(reference))], dtype=object)
    return Cells(reference, call, ids, criticality, reports, **more)


def random_cells(rng: np.random.Generator, reports: int = 120, findings: int = 9, **more) -> Cells:
    reference = rng.random((reports, findings)) < np.linspace(0.02, 0.5, findings)
    call = np.where(reference, rng.random(reference.shape) < 0.8, rng.random(reference.shape) < 0.05)
    return make(reference, call, **more)


def published(positives: int, hits: int, reports: int, false: int = 0) -> Cells:
    reference = np.zeros(reports * 233, bool)
    reference[np.random.default_rng(0).choice(reference.size, positives, replace=False)] = True
    call = np.zeros_like(reference)
    call[np.flatnonzero(reference)[:hits]] = True
    call[np.flatnonzero(~reference)[:false]] = True
    return make(reference.reshape(reports, 233), call.reshape(reports, 233))


# The abstract of the draft-report monitor (ACR and MGH): 147 reports x 233 findings with 625 positives.
# Its intervals are Wilson's to one unit of the last printed digit, that is, with reports not minded.
@pytest.mark.parametrize(
    ("hits", "printed", "low", "high"), [(486, 0.778, 0.744, 0.809), (468, 0.749, 0.714, 0.782)]
)
def test_published_intervals_are_wilson_with_cells_taken_as_independent(hits, printed, low, high) -> None:
    found = validate(published(625, hits, 147), rng=np.random.default_rng(0), draws=50)
    row = pick(found, "micro_sensitivity", method="Wilson, cells taken as independent")
    assert (row.n, row.n_clusters) == (625, 147)
    assert (row.value, row.low, row.high) == pytest.approx((printed, low, high), abs=1e-3)
    baseline = pick(found, "micro_accuracy", model=ALL_NEGATIVE)
    assert baseline.value == pytest.approx(1 - 625 / 34_251)
    assert f"{baseline.value:.1%}" == "98.2%"
    assert pick(found, "micro_sensitivity", model=ALL_NEGATIVE).value == 0


def test_the_published_draft_model_does_not_reach_the_all_negative_baseline() -> None:
    # 121 radiographs: sensitivity 39.2 % (34.6 to 44.0), F1 .38, accuracy 98.2 %, from about 410 positives.
    found = validate(published(410, 161, 121, false=268), rng=np.random.default_rng(0), draws=50)
    row = pick(found, "micro_sensitivity", method="independent")
    assert (row.value, row.low, row.high) == pytest.approx((0.392, 0.346, 0.440), abs=1.5e-3)
    assert round(pick(found, "micro_f1").value, 2) == 0.38
    accuracy = pick(found, "micro_accuracy", method="independent")
    assert f"{accuracy.value:.1%}" == "98.2%"
    assert accuracy.value < pick(found, "micro_accuracy", model=ALL_NEGATIVE).value


def test_every_accuracy_has_its_baseline_beside_it() -> None:
    cells = random_cells(np.random.default_rng(1))
    found = validate(cells, rng=np.random.default_rng(0), draws=50, strata={"site a": np.arange(120) < 50})
    own = {(e.name, e.target, e.subgroup) for e in found if e.name.endswith("accuracy") and not e.model}
    beside = {(e.name, e.target, e.subgroup) for e in found if e.name.endswith("accuracy") and e.model}
    assert own == beside and len(own) == 9 + 4 + 4


def test_ratios_agree_with_scikit_learn() -> None:
    cells = random_cells(np.random.default_rng(2))
    found = validate(cells, rng=np.random.default_rng(0), draws=200)
    y, z = cells.reference, cells.call
    for i, finding in enumerate(cells.findings):
        where = {"target": finding, "subgroup": cells.criticality[finding]}
        assert pick(found, "sensitivity", **where).value == pytest.approx(sk.recall_score(y[:, i], z[:, i]))
        assert pick(found, "ppv", **where).value == pytest.approx(sk.precision_score(y[:, i], z[:, i]))
        assert pick(found, "f1", **where).value == pytest.approx(sk.f1_score(y[:, i], z[:, i]))
        assert pick(found, "prevalence", **where).value == pytest.approx(y[:, i].mean())
        assert pick(found, "sensitivity", **where).n == y[:, i].sum()
    assert pick(found, "micro_f1").value == pytest.approx(sk.f1_score(y, z, average="micro"))
    enough = y.sum(0) >= 5
    macro = pick(found, "macro_f1")
    assert macro.value == pytest.approx(sk.f1_score(y[:, enough], z[:, enough], average="macro"))
    assert macro.note is not None and f"{enough.sum()} of 9 findings" in macro.note
    assert pick(found, "exact_match").value == pytest.approx(sk.accuracy_score(y, z))
    grave = cells.level == "critical"
    part = pick(found, "micro_ppv", method="bootstrap", subgroup="critical")
    assert part.value == pytest.approx(sk.precision_score(y[:, grave], z[:, grave], average="micro"))


def test_case_measures_follow_the_stated_conventions() -> None:
    # f1 is critical. Reports: both empty; critical missed; one shared and one invented; perfect.
    cells = make([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]], [[0, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 0]])
    assert jaccard(cells).tolist() == [1.0, 0.0, 0.5, 1.0]
    assert report_f1(cells) == pytest.approx([1.0, 0.0, 2 / 3, 1.0])
    found = validate(cells, rng=np.random.default_rng(0), draws=100)
    assert pick(found, "exact_match").value == 0.5
    assert pick(found, "any_critical_miss", subgroup="critical").value == 0.25
    where_present = pick(found, "any_critical_miss_where_present", subgroup="critical")
    assert (where_present.value, where_present.n) == (0.5, 2)
    assert pick(found, "mean_jaccard").value == pytest.approx(0.625)
    assert normal_and_abnormal(cells)["normal reports"].tolist() == [True, False, False, False]


def test_a_normal_report_may_hold_normal_variants() -> None:
    cells = make([[0, 0, 1], [1, 0, 1]], [[0, 0, 0], [0, 0, 0]])
    assert normal_and_abnormal(cells)["normal reports"].tolist() == [True, False]


def test_undefined_ratios_are_nan_and_say_why() -> None:
    cells = make([[0, 1, 0]] * 8, [[0, 1, 0]] * 8)
    found = validate(cells, rng=np.random.default_rng(0), draws=50)
    row = pick(found, "sensitivity", target="f0", subgroup="minor")
    assert math.isnan(row.value) and math.isnan(row.low) and row.note == "the reference has no positive"
    assert math.isnan(pick(found, "f1", target="f0", subgroup="minor").value)
    assert math.isnan(pick(found, "macro_f1", subgroup="minor").value)
    assert pick(found, "sensitivity", target="f1", subgroup="critical").value == 1
    known = np.ones((8, 3), bool)
    known[:, 0] = False
    hidden = validate(replace(cells, known=known), rng=np.random.default_rng(0), draws=20)
    for model in (None, ALL_NEGATIVE):
        assert pick(hidden, "accuracy", target="f0", subgroup="minor", model=model).note == "no cell is known"


def test_rows_survive_a_metrics_file() -> None:
    for one in validate(random_cells(np.random.default_rng(3)), rng=np.random.default_rng(0), draws=20):
        again = Estimate.from_dict(one.as_dict())
        assert str(again) == str(one)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_drawn_counts_are_those_of_the_drawn_reports(seed: int, by_patient: bool, hide: bool) -> None:
    rng = np.random.default_rng(seed)
    patient = np.array([f"p{i // 2}" for i in range(14)], dtype=object) if by_patient else None
    known = rng.random((14, 4)) > 0.2 if hide else None
    cells = replace(random_cells(rng, 14, 4), patient_id=patient, known=known)
    drawn = draw_counts(cells, 5, np.random.default_rng(7))
    g = 7 if by_patient else 14
    source = np.random.default_rng(7)
    for k in range(5):
        units = source.integers(g, size=g)
        rows = np.concatenate([np.flatnonzero(cells.clusters[0] == u) for u in units])
        kept = np.ones((14, 4), bool) if known is None else known
        for i in range(4):
            at = rows[kept[rows, i]]
            expected = cl.confusion(cells.reference[at, i], cells.call[at, i])
            assert drawn[:, :, i, k].tolist() == expected.tolist()


def test_copying_every_report_within_its_patient_leaves_the_interval_unchanged() -> None:
    cells = random_cells(np.random.default_rng(4))
    twice = make(
        np.repeat(cells.reference, 2, axis=0),
        np.repeat(cells.call, 2, axis=0),
        patient_id=np.repeat([f"p{i:03d}" for i in range(120)], 2),
    )
    single = replace(cells, patient_id=np.array([f"p{i:03d}" for i in range(120)]))
    a = pick(validate(single, rng=np.random.default_rng(0), draws=300), "micro_f1")
    b = pick(validate(twice, rng=np.random.default_rng(0), draws=300), "micro_f1")
    assert (a.low, a.high) == pytest.approx((b.low, b.high))
    assert a.low < a.value < a.high and a.n_clusters == b.n_clusters == 120
    assert "patient bootstrap" in a.method and str(a).endswith("n = 1080, 120 patients)")
    # Wilson minds neither cells nor patients, and says so.
    found = validate(twice, rng=np.random.default_rng(0), draws=20)
    methods = {
        pick(found, "exact_match").method,
        pick(found, "ppv", target="f8", subgroup="normal variant").method,
    }
    assert methods == {"Wilson, reports taken as independent"}


def test_reports_that_fail_as_a_whole_widen_the_bootstrap_but_not_wilson() -> None:
    rng = np.random.default_rng(5)
    reference = rng.random((200, 30)) < 0.2
    good = rng.random((200, 1)) < 0.7  # a report is read wholly or not at all
    found = validate(make(reference, reference & good), rng=rng, draws=1000)
    wilson = pick(found, "micro_sensitivity", method="Wilson")
    cluster = pick(found, "micro_sensitivity", method="report bootstrap")
    assert cluster.value == wilson.value
    assert cluster.high - cluster.low > 1.8 * (wilson.high - wilson.low)


def test_uncertain_counts_as_asked() -> None:
    status = np.array([["present", "uncertain"], ["absent", ""]])
    assert present(status, "present")[0].tolist() == [[True, True], [False, False]]
    assert present(status, "absent")[0].tolist() == [[True, False], [False, False]]
    found, known = present(status, "left out")
    assert found.tolist() == [[True, False], [False, False]]
    assert known.tolist() == [[True, False], [True, True]]
    with pytest.raises(ValueError, match="Use one of"):
        present(status, "maybe")  # type: ignore[arg-type]
    with pytest.raises(TableError, match="status 'yes'"):
        present(np.array([["yes"]]))


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    columns = ["report_id", "finding", "status"]
    reference = pd.DataFrame(
        [("a", "x", "present"), ("b", "y", "uncertain"), ("c", "x", "absent")], columns=columns
    )
    call = pd.DataFrame(
        [("a", "x", "present"), ("b", "y", "present"), ("c", "y", "present")], columns=columns
    )
    return reference, call


def test_tables_become_cells_and_reports_without_a_row_are_empty() -> None:
    reference, call = tables()
    kind = {"x": "critical", "y": "minor"}
    cells = from_tables(reference, call, report_id=["a", "b", "c", "d"], criticality=kind)
    assert cells.reference.tolist() == [[True, False], [False, True], [False, False], [False, False]]
    assert cells.call[:, 1].tolist() == [False, True, True, False] and cells.known is None
    out = from_tables(reference, call, report_id=["a", "b", "c", "d"], criticality=kind, uncertain="left out")
    assert out.left_out == 1 and out.counts.sum() == 7
    found = validate(out, rng=np.random.default_rng(0), draws=20)
    assert pick(found, "micro_sensitivity", method="independent").n == 1
    note = pick(found, "micro_specificity", method="bootstrap").note
    assert note is not None and "1 uncertain cells left out" in note
    empty = reference.iloc[:0]
    assert not from_tables(empty, empty, report_id=["a"], criticality=kind).reference.any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(report_id="zz"), "report_id is not among"),
        (lambda t: t.assign(finding="zz"), "row 2: finding is not among"),
        (lambda t: pd.concat([t, t]), "occurs twice"),
        (lambda t: t.assign(status="yes"), "status 'yes'"),
    ],
)
def test_tables_that_do_not_fit_are_refused_without_naming_a_report(change, words: str) -> None:
    reference, call = tables()
    with pytest.raises(TableError, match=words) as caught:
        from_tables(
            change(reference), call, report_id=["a", "b", "c"], criticality={"x": "minor", "y": "minor"}
        )
    assert "zz" not in str(caught.value)


def test_cells_refuse_what_does_not_fit() -> None:
    cells = random_cells(np.random.default_rng(0), 4, 3)
    with pytest.raises(InputMismatch, match="call has shape"):
        replace(cells, call=cells.call[:, :2])
    with pytest.raises(InputMismatch, match="True and False"):
        replace(cells, call=cells.call.astype(int))
    with pytest.raises(TableError, match="report_id 2 of 4 occurs twice"):
        replace(cells, report_id=np.array(["a", "a", "b", "c"]))
    with pytest.raises(TableError, match="finding 3 of 3 occurs twice"):
        replace(cells, findings=("f0", "f1", "f0"))
    with pytest.raises(TableError, match="has no criticality"):
        replace(cells, criticality={"f0": "minor"})
    with pytest.raises(InputMismatch, match="3 patient ids for 4 reports"):
        replace(cells, patient_id=np.arange(3))


def test_two_thousand_draws_of_the_large_corpus_take_under_five_seconds() -> None:
    rng = np.random.default_rng(6)
    reference = rng.random((3900, 233)) < 0.018
    call = np.where(reference, rng.random(reference.shape) < 0.78, rng.random(reference.shape) < 0.004)
    cells = make(reference, call)
    start = time.process_time()
    drawn = draw_counts(cells, 2000, rng)
    assert time.process_time() - start < 5
    assert drawn.shape == (2, 2, 233, 2000)
    assert (drawn.sum((0, 1)) == 3900).all()
