"""Survival from a prediction table, and its curves: published results, by hand, and what must hold."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.errors import InputMismatch, NotEnoughData, Notice, TableError
from radfoundry.evaluate.survival import compare_models, evaluate_survival, risk_groups
from radfoundry.evaluate.survival.curves import (
    aalen_johansen,
    at_risk,
    follow_up,
    kaplan_meier,
    logrank,
    pairwise_logrank,
    quantile_time,
    survival_at,
)
from radfoundry.predictions import read_predictions, validate, write_predictions
from radfoundry.types import Estimate
from tests._data import data_dir

# Remission in weeks of 42 children with leukaemia (Freireich et al., Blood 1963;21:699), 6-MP and placebo.
MP = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
MP_EVENT = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
WEEKS, EVENT = np.array(MP + PLACEBO, float), np.array(MP_EVENT + [1] * 21)
ARM = np.repeat(["6-MP", "placebo"], 21)
NEEDS = "compared with lifelines (extra survival)"


def stored(name: str) -> pd.DataFrame:
    return pd.read_csv(data_dir("stats_references") / f"lifelines_{name}.csv")


def of(found: list[Estimate], name: str, subgroup: str | None = None, model: str | None = None) -> Estimate:
    rows = [e for e in found if e.name == name and e.subgroup == subgroup and model in (None, e.model)]
    assert len(rows) == 1, f"{len(rows)} rows of {name}"
    return rows[0]


def table(n: int = 120, seed: int = 0, **changes: object) -> pd.DataFrame:
    """A prediction table of one model, with probabilities at two horizons."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=n)
    time, lost = draw.exponential(300 * np.exp(-x)), draw.exponential(600, n)
    return pd.DataFrame({
        "case_id": [f"c{i:03}" for i in range(n)], "patient_id": [f"p{i:03}" for i in range(n)],
        "time:os": np.minimum(time, lost) + 0.5, "event:os": (time <= lost).astype(int),
        "target": "os", "score": x, "model": "m",
        "surv:100": np.exp(-np.exp(x) / 3), "surv:365": np.exp(-np.exp(x) * 365 / 300),
        "sex": np.where(draw.random(n) < 0.5, "F", "M"),
    }).assign(**changes)  # fmt: skip


# --- curves -------------------------------------------------------------------------------------------


def test_kaplan_meier_by_hand() -> None:
    """Deaths at 1, 2 and 4, censored at 3 and 5: 4/5, 3/5, and 3/5 x 1/2; Greenwood's variance at 4."""
    curve = kaplan_meier([5.0, 4, 3, 2, 1], [0, 1, 0, 1, 1])
    assert curve.value.tolist() == pytest.approx([1, 0.8, 0.6, 0.6, 0.3, 0.3])
    assert curve.at_risk.tolist() == [5, 5, 4, 3, 2, 1]
    se = math.sqrt(1 / 20 + 1 / 12 + 1 / 2) / abs(math.log(0.3))
    found = survival_at(curve, 4)
    assert (found.low, found.high) == tuple(
        pytest.approx(0.3 ** math.exp(side * 1.959964 * se)) for side in (1, -1)
    )
    assert "1 at risk" in str(found.note) and quantile_time(curve).value == 4
    assert at_risk([1, 2, 3, 4, 5], [0, 2, 2.5, 6]).tolist() == [5, 4, 3, 0]


def test_lung_as_in_r() -> None:
    """survfit(Surv(time, status) ~ 1, lung, conf.type = "log-log") in R: median 310 (284 to 361)."""
    lung = stored("lung")
    curve = kaplan_meier(lung["time"], lung["status"])
    median = quantile_time(curve)
    assert (median.value, median.low, median.high) == (310, 284, 361)
    test = logrank(lung["time"], lung["status"], lung["sex"])  # survdiff: 112 of 91.6, 53 of 73.4, 10.3
    assert test.statistic == pytest.approx(10.3, abs=0.05) and test.p == pytest.approx(0.0013, abs=5e-5)
    assert test.observed == (112, 53) and test.expected == pytest.approx((91.6, 73.4), abs=0.05)


def test_curve_and_band_are_those_of_lifelines() -> None:
    lifelines = pytest.importorskip("lifelines", reason=NEEDS)

    lung = stored("lung")
    curve = kaplan_meier(lung["time"], lung["status"])
    theirs = lifelines.KaplanMeierFitter().fit(lung["time"], lung["status"])
    assert curve.value == pytest.approx(theirs.survival_function_.to_numpy()[:, 0])
    assert np.column_stack([curve.low, curve.high]) == pytest.approx(theirs.confidence_interval_.to_numpy())
    draw = np.random.default_rng(0)
    time, cause = draw.exponential(1, 300), draw.integers(0, 3, 300)
    ours = aalen_johansen(time, cause, 2)
    other = lifelines.AalenJohansenFitter(calculate_variance=True).fit(time, cause, 2)
    assert ours.value == pytest.approx(other.cumulative_density_.to_numpy()[:, 0])
    rows = np.flatnonzero((ours.value > 0) & (ours.at_risk > 20))
    band = other.confidence_interval_.to_numpy()[rows]
    assert np.column_stack([ours.low, ours.high])[rows] == pytest.approx(np.sort(band, axis=1), abs=1e-9)


def test_leukaemia_as_published() -> None:
    """Medians 23 and 8 weeks; log-rank 16.79, 19.25 and 10.75 expected (Kleinbaum and Klein, chapter 2)."""
    medians = [
        quantile_time(kaplan_meier(WEEKS[a == ARM], EVENT[a == ARM])).value for a in ("6-MP", "placebo")
    ]
    assert medians == [23, 8]
    test = logrank(WEEKS, EVENT, ARM)
    assert test.statistic == pytest.approx(16.79, abs=0.005) and test.df == 1
    assert test.observed == (9, 21) and test.expected == pytest.approx((19.25, 10.75), abs=0.005)


def test_waltons_as_lifelines_documents_it() -> None:
    flies = stored("waltons_dataset")
    test = logrank(flies["T"], flies["E"], flies["group"])
    assert test.statistic == pytest.approx(122.25, abs=0.005)


def test_three_groups_and_strata_are_those_of_lifelines() -> None:
    lifelines = pytest.importorskip("lifelines", reason=NEEDS)

    lung = stored("lung").dropna(subset=["ph.ecog"])
    lung = lung[lung["ph.ecog"] < 3]
    theirs = lifelines.statistics.multivariate_logrank_test(lung["time"], lung["ph.ecog"], lung["status"])
    ours = logrank(lung["time"], lung["status"], lung["ph.ecog"])
    assert ours.statistic == pytest.approx(theirs.test_statistic) and ours.df == 2
    same = logrank(lung["time"], lung["status"], lung["ph.ecog"], strata=np.zeros(len(lung)))
    assert same.statistic == pytest.approx(ours.statistic)
    within = logrank(lung["time"], lung["status"], lung["ph.ecog"], strata=lung["sex"])
    # R: survdiff(Surv(time, status) ~ ph.ecog + strata(sex)); here as sums over the two sexes
    parts = [logrank(s["time"], s["status"], s["ph.ecog"]) for _, s in lung.groupby("sex")]
    assert (
        within.expected == pytest.approx(np.sum([p.expected for p in parts], axis=0)) and within.strata == 2
    )
    pairs = pairwise_logrank(lung["time"], lung["status"], lung["ph.ecog"])
    assert [p.groups for p in pairs] == [("0.0", "1.0"), ("0.0", "2.0"), ("1.0", "2.0")]
    worst = min(pairs, key=lambda p: p.p)
    assert worst.p_holm == pytest.approx(3 * worst.p) and all(p.p_holm >= p.p for p in pairs)


def test_aalen_johansen_by_hand_and_not_one_minus_kaplan_meier() -> None:
    """Cause 1 at 1 and 4, cause 2 at 2, censored at 3: 1/4, and 1/4 + 1/2 x 1; cause 2: 3/4 x 1/3."""
    time, cause = [1.0, 2, 3, 4], [1, 2, 0, 1]
    first, second = aalen_johansen(time, cause, 1), aalen_johansen(time, cause, 2)
    assert first.value.tolist() == pytest.approx([0, 0.25, 0.25, 0.25, 0.75])
    assert second.value.tolist() == pytest.approx([0, 0, 0.25, 0.25, 0.25])
    naive = 1 - kaplan_meier(time, [1, 0, 0, 1]).value
    assert naive[-1] > first.value[-1]
    alone = aalen_johansen(WEEKS, EVENT)  # of a single cause it is one minus Kaplan-Meier
    assert alone.value == pytest.approx(1 - kaplan_meier(WEEKS, EVENT).value)


times = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 1)), min_size=2, max_size=40)


@settings(max_examples=100, deadline=None)
@given(times, st.randoms(use_true_random=False))
def test_kaplan_meier_falls_is_the_share_alive_without_censoring_and_keeps_no_order(rows, random) -> None:
    time, event = (np.array(column, float) for column in zip(*rows))
    whole = kaplan_meier(time, np.ones(len(time)))
    assert whole.value[1:] == pytest.approx([(time > t).mean() for t in np.unique(time)])
    curve = kaplan_meier(time, event)
    assert (np.diff(curve.value) <= 1e-12).all()
    known = ~np.isnan(curve.low)
    assert (curve.low[known] <= curve.value[known] + 1e-12).all()
    assert (curve.value[known] <= curve.high[known] + 1e-12).all()
    random.shuffle(rows)
    again = kaplan_meier(*zip(*rows))
    assert again.value == pytest.approx(curve.value)


def test_the_band_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(2)
    hits = 0
    for _ in range(500):
        time, lost = draw.exponential(1, 60), draw.exponential(2, 60)
        found = survival_at(kaplan_meier(np.minimum(time, lost), time <= lost), 0.7)
        hits += found.low <= math.exp(-0.7) <= found.high
    assert abs(hits / 500 - 0.95) < 0.03


def test_copies_of_a_patient_narrow_no_band() -> None:
    rows = np.repeat(np.arange(42), 5)
    one = survival_at(kaplan_meier(WEEKS, EVENT), 10)
    five = survival_at(kaplan_meier(WEEKS[rows], EVENT[rows], rows), 10)
    assert five.value == pytest.approx(one.value)
    assert (five.low, five.high) == (pytest.approx(one.low), pytest.approx(one.high))
    assert five.n == 210 and five.n_clusters == 42


def test_medians_that_are_not_reached_say_so() -> None:
    alive = quantile_time(kaplan_meier(np.arange(1.0, 41), np.r_[1, np.zeros(39)]))
    assert math.isnan(alive.value) and "not reached" in str(alive.note)
    upper = quantile_time(kaplan_meier(WEEKS[:21], EVENT[:21]))
    assert upper.value == 23 and math.isinf(upper.high) and upper.note == "upper limit not reached"
    assert Estimate.from_dict(upper.as_dict()).value == 23
    assert follow_up(WEEKS, EVENT).value == quantile_time(kaplan_meier(WEEKS, 1 - EVENT)).value


# --- the table ----------------------------------------------------------------------------------------


def test_a_table_gives_every_estimate_with_its_n() -> None:
    found = evaluate_survival(table(), n_boot=100, subgroups=["sex"])
    calibrated = ("brier", "brier_skill", "observed_expected", "calibration_intercept", "calibration_slope")
    assert {e.name for e in found if e.subgroup is None} == {
        "events", "median_follow_up", "median_survival", "c_harrell", "c_uno",
        *(f"{name}@{h}" for h in (100, 365) for name in ("survival", "auc", *calibrated)),
        "brier@100_trivial", "brier@365_trivial",
        "brier_integrated", "brier_integrated_trivial", "brier_skill_integrated",
        "c_harrell_trivial", "c_uno_trivial", "auc@100_trivial", "auc@365_trivial",
    }  # fmt: skip
    assert all(e.model == "m" and e.target == "os" and e.n for e in found)
    c = of(found, "c_harrell")
    assert c.low < c.value < c.high and c.n == 120
    women = of(found, "c_harrell", "sex F")
    assert women.n + of(found, "c_harrell", "sex M").n == 120
    assert of(found, "calibration_slope@100").low < 1 < of(found, "calibration_slope@100").high
    again = evaluate_survival(table(), n_boot=100, subgroups=["sex"])
    assert [e.as_dict() for e in again] == [e.as_dict() for e in found]


def test_rows_in_another_order_give_the_same_estimates() -> None:
    shuffled = table().sample(frac=1, random_state=3)
    one, other = (evaluate_survival(t, n_boot=50) for t in (table(), shuffled))
    assert [e.as_dict() for e in one] == [e.as_dict() for e in other]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_survival_is_read_from_files_beside_binary_targets(tmp_path: Path, name: str) -> None:
    cases = {"case_id": ["c001", "c002"], "patient_id": ["p001", "p002"]}
    binary = pd.DataFrame({**cases, "target": "mass", "y_true": [0, 1], "score": [0.2, 0.9], "model": "m"})
    write_predictions(pd.concat([table(), binary], ignore_index=True), tmp_path / name)
    found = read_predictions(tmp_path / name)
    assert len(found) == 122 and found["y_true"].notna().sum() == 2
    assert len(evaluate_survival(found, n_boot=50)) == len(evaluate_survival(table(), n_boot=50))


def test_horizons_are_asked_for_or_those_of_the_columns() -> None:
    bare = table().drop(columns=["surv:100", "surv:365"])
    bare.loc[bare["time:os"].idxmax(), "event:os"] = 0
    names = {e.name for e in evaluate_survival(bare, horizons=[200], n_boot=50)}
    assert {"survival@200", "auc@200"} <= names and not any(n.startswith("brier") for n in names)
    late = of(evaluate_survival(bare, horizons=[1e5], n_boot=50), "survival@100000")
    assert math.isnan(late.value) and "beyond the follow-up" in str(late.note)


def test_repeats_of_cross_validation_are_averaged_after_the_metric() -> None:
    noisy = table().assign(score=np.random.default_rng(1).normal(size=120))
    both = pd.concat([table(repeat=0), noisy.assign(repeat=1)], ignore_index=True)
    found = of(evaluate_survival(both, n_boot=50), "c_harrell")
    each = [of(evaluate_survival(t, n_boot=50), "c_harrell").value for t in (table(), noisy)]
    assert found.value == pytest.approx(np.mean(each)) and found.n == 120
    with pytest.raises(TableError, match="repeats score other cases"):
        evaluate_survival(both.iloc[:-1], n_boot=50)


def test_training_cases_are_left_out_aloud_and_refused_alone() -> None:
    mixed = table(split=np.where(np.arange(120) < 60, "train", "test"))
    with pytest.warns(Notice, match="60 rows of split train were left out"):
        found = evaluate_survival(mixed, n_boot=50)
    assert of(found, "c_harrell").n == 60
    with pytest.raises(TableError, match=r"fitted on the cases .*\(in_sample=True, --in-sample\)"):
        evaluate_survival(table(split="train"), n_boot=50)
    forced = evaluate_survival(table(split="train"), n_boot=50, in_sample=True)
    assert all("fitted on these same cases: optimistic" in str(e.note) for e in forced)
    both = evaluate_survival(mixed, n_boot=50, in_sample=True)
    assert "optimistic" in str(of(both, "c_harrell", "split train").note)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert of(evaluate_survival(table(split="test"), n_boot=50), "c_harrell").n == 120


def test_groups_are_cut_where_told_and_never_by_the_outcome() -> None:
    pytest.importorskip("lifelines", reason="the hazard ratio is lifelines' (extra survival)")
    found = evaluate_survival(table(), cutoff=0.0, n_boot=50, min_n=5)
    high, low = (of(found, "median_survival", f"{g} risk") for g in ("high", "low"))
    assert high.value < (low.value if math.isfinite(low.value) else math.inf)
    assert "cut-off 0 as given" in str(high.note)
    ratio = of(found, "hazard_ratio:high risk")
    assert ratio.low > 1 and "log-rank chi-square" in str(ratio.note)
    by_median = of(evaluate_survival(table(), cutoff="median", n_boot=50), "hazard_ratio:high risk")
    middle = np.median(table()["score"])
    assert f"cut-off {middle:.4g}, the median of these same scores: it depends" in str(by_median.note)
    mixed = table(split=np.where(np.arange(120) < 60, "train", "test"))
    with pytest.warns(Notice):
        trained = of(evaluate_survival(mixed, cutoff="train:0.5", n_boot=50), "hazard_ratio:high risk")
    cut = np.median(mixed["score"][:60])
    assert f"cut-off {cut:.4g}, quantile 0.5 of 60 training scores" in str(trained.note) and trained.n == 60


@pytest.mark.parametrize(
    ("cutoff", "extra", "error", "words"),
    [
        ("best", {}, InputMismatch, "give a number, 'train:0.5' .* or 'median'"),
        ("train:0.5", {}, InputMismatch, "needs the training scores"),
        ("train:2", {"training": [1.0, 2]}, InputMismatch, "between 0 and 1"),
        (99.0, {}, NotEnoughData, "all 4 cases are of low risk"),
        (0.5, {"split": ["test", "train", "test", "test"]}, InputMismatch, "in_sample=True"),
    ],
)
def test_cut_offs_that_are_refused(cutoff, extra: dict, error, words: str) -> None:
    with pytest.raises(error, match=words):
        risk_groups([0.1, 0.9, 0.4, 0.7], cutoff, **extra)


def test_forced_groups_of_training_cases_say_so() -> None:
    found = risk_groups([0.1, 0.9], 0.5, split="train", in_sample=True)
    assert "optimistic" in found.note and found.label.tolist() == ["low risk", "high risk"]


def test_competing_events_are_declared() -> None:
    other = table()
    other.loc[other.index[:20], "event:os"] = 2
    with pytest.raises(TableError, match=r"'event:os' holds 2.*\(competing=True, --competing\)"):
        evaluate_survival(other, n_boot=50)
    found = evaluate_survival(other, n_boot=50, competing=True, horizons=[100])
    incidence = of(found, "cumulative_incidence@100")
    curve = aalen_johansen(other["time:os"], other["event:os"])
    assert incidence.value == pytest.approx(curve.value[int(curve.step(100))])
    assert "other causes count as censored" in str(of(found, "c_harrell").note)
    assert "take the other causes as censored" in str(of(found, "auc@100").note)
    assert "20 of other causes" in str(of(found, "events").note)


def test_events_and_another_cause_without_anybody_censored() -> None:
    complete = table(**{"event:os": [1, 2] * 60})
    assert any("'event:os': nobody is censored" in note for note in validate(complete).attrs["notes"])
    with pytest.raises(TableError, match=r"coded 1 and 2.*another cause.*--competing"):
        evaluate_survival(complete, n_boot=50)
    found = evaluate_survival(complete, n_boot=50, competing=True, horizons=[100])
    assert of(found, "events").value == 60 and 0 < of(found, "cumulative_incidence@100").value < 1
    assert "0 censored, 60 of other causes" in str(of(found, "events").note)


def test_competing_causes_are_declared_for_a_comparison_too() -> None:
    other = table()
    other.loc[other.index[:20], "event:os"] = 2
    both = pd.concat([other, other.assign(model="n", score=-other["score"])], ignore_index=True)
    with pytest.raises(TableError, match=r"holds 2.*--competing"):
        compare_models(both, "m", "n")
    found = compare_models(both, "m", "n", competing=True)
    assert found.low > 0 and "other causes count as censored" in str(found.note)
    with pytest.raises(InputMismatch, match="Uno's C of competing risks is not given"):
        compare_models(both, "m", "n", kind="uno", competing=True)


@pytest.mark.parametrize("column", ["time:os", "event:os"])
def test_models_that_tell_another_follow_up_are_not_compared(column: str) -> None:
    other = table(model="n")
    at = other.index[7:9]
    other.loc[at, column] = 1 - other.loc[at, column] if column == "event:os" else other.loc[at, column] + 1
    with pytest.raises(TableError, match="another time or event of 'os' in 2 cases"):
        compare_models(pd.concat([table(), other], ignore_index=True), "m", "n")


def three_rows() -> pd.DataFrame:
    """Every patient with three rows of one follow-up."""
    return pd.concat([table().assign(case_id=lambda t, i=i: t["case_id"] + f".{i}") for i in range(3)])


def test_rows_of_a_patient_narrow_no_follow_up_and_get_no_log_rank_p() -> None:
    pytest.importorskip("lifelines", reason="the hazard ratio is lifelines' (extra survival)")
    one, three = (evaluate_survival(t, cutoff=0.0, n_boot=50) for t in (table(), three_rows()))
    first, again = (of(found, "median_follow_up") for found in (one, three))
    assert (again.low, again.high) == (first.low, first.high) and again.n_clusters == 120
    assert again.method == "reverse Kaplan-Meier, log-log band by patient"
    notes = [str(of(found, "hazard_ratio:high risk").note) for found in (one, three)]
    assert "log-rank chi-square" in notes[0]
    assert "chi-square" not in notes[1] and "no log-rank test: patients own several rows" in notes[1]


def test_incidence_by_rows_of_a_patient_says_that_it_takes_them_as_independent() -> None:
    incidence = [
        of(evaluate_survival(t, competing=True, horizons=[100], n_boot=50), "cumulative_incidence@100")
        for t in (table(), three_rows())
    ]
    assert "independent" not in str(incidence[0].note)
    assert "rows of one patient taken as independent" in str(incidence[1].note)
    assert incidence[1].n_clusters == 120


def test_a_cut_off_that_suits_one_model_alone_stops_no_other() -> None:
    far = table(model="far", score=lambda t: t["score"] + 1000)
    found = evaluate_survival(pd.concat([table(), far], ignore_index=True), cutoff=0.0, n_boot=50)
    ratio = of(found, "hazard_ratio:high risk", model="far")
    assert math.isnan(ratio.value) and "all 120 cases are of high risk" in str(ratio.note)
    assert of(found, "events", "high risk", model="m").n < 120
    assert math.isfinite(of(found, "c_harrell", model="far").value)
    with pytest.raises(InputMismatch, match="give a number"):
        evaluate_survival(table(), cutoff="best", n_boot=50)


def test_a_subgroup_asked_for_twice_comes_once() -> None:
    once, twice = (evaluate_survival(table(), subgroups=s, n_boot=50) for s in (["sex"], ["sex", "sex"]))
    assert [e.as_dict() for e in twice] == [e.as_dict() for e in once]


@pytest.mark.parametrize("horizon", [-1.0, math.nan, math.inf])
def test_horizons_that_are_no_time_are_refused(horizon: float) -> None:
    with pytest.raises(InputMismatch, match="give a time of 0 or more"):
        survival_at(kaplan_meier(WEEKS, EVENT), horizon)
    with pytest.raises(InputMismatch, match="give a time of 0 or more"):
        evaluate_survival(table(), horizons=[horizon], n_boot=50)
    assert survival_at(kaplan_meier(WEEKS, EVENT), 0).value == 1


def test_a_tiny_p_is_written_as_below_its_limit() -> None:
    far = logrank(np.r_[WEEKS, WEEKS + 100], np.r_[EVENT, EVENT], np.repeat(["a", "b"], 42))
    assert far.p < 0.0001 and "p < 0.0001" in str(far) and "= <" not in str(far)


def test_two_models_are_compared_on_the_same_cases() -> None:
    noisy = table(model="n", score=np.random.default_rng(1).normal(size=120))
    both = pd.concat([table(), noisy], ignore_index=True)
    found = compare_models(both, "m", "n")
    assert found.low > 0 and found.model_a == "m" and found.n == 120
    assert compare_models(both, "m", "n", kind="uno", n_boot=100).low > 0
    with pytest.raises(TableError, match="'m' scores 120 cases, 'n' 119"):
        compare_models(both.iloc[:-1], "m", "n")
    with pytest.raises(TableError, match=r"no model 'x'\. Models: m, n"):
        compare_models(both, "m", "x")


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time:os": 0.0}, r"row 2, column 'time:os': 0 is not above zero"),
        ({"time:os": -5.0}, r"row 2, column 'time:os': -5 is not above zero"),
        ({"time:os": "long"}, r"row 2, column 'time:os': 'long' is not a number"),
        ({"time:os": np.inf}, r"'time:os': inf is not above zero"),
        ({"time:os": np.nan}, "no row has both a time and an event"),
        ({"event:os": 0.5}, r"row 2, column 'event:os': 0.5 is no event"),
        ({"event:os": -1}, "-1 is no event"),
        ({"event:os": [1, 2] * 60}, r"'event:os' is coded 1 and 2.*lung data of R, subtract 1"),
        ({"surv:365": 1.2}, r"row 2, column 'surv:365': no probability"),
        ({"surv:365": 0.9, "surv:100": 0.5}, r"'surv:365': above surv:100: survival cannot rise"),
        ({"surv:365": [np.nan] + [0.0] * 119}, r"row 2, column 'surv:365': empty, though other cases"),
        ({"surv:soon": 0.5}, r"'surv:soon': write the horizon as a number above zero"),
        ({"score": np.nan}, r"row 2, column 'score': NaN"),
    ],
)
def test_faults_of_the_table_are_named(changes: dict, words: str) -> None:
    with pytest.raises(TableError, match=words):
        evaluate_survival(table(**changes))


def test_missing_times_are_left_out_aloud() -> None:
    some = table()
    some.loc[some.index[[4, 7]], "time:os"] = np.nan
    checked = validate(some)
    assert len(checked) == 118
    assert "2 rows without a time or an event were left out (first: row 6)" in checked.attrs["notes"]


def test_a_time_without_its_event_and_a_target_that_is_not_clear() -> None:
    with pytest.raises(TableError, match=r"'time:os' has no partner\. Add event:os"):
        validate(table().drop(columns="event:os"))
    two = table().assign(**{"time:pfs": 5.0, "event:pfs": 1}).drop(columns="target")
    with pytest.raises(TableError, match=r"times of several outcomes \(os, pfs\)"):
        validate(two)
    assert (validate(table().drop(columns="target"))["target"] == "os").all()
    with pytest.raises(TableError, match="no row predicts a time to an event"):
        evaluate_survival(pd.DataFrame({"case_id": ["a", "b"], "y_true": [0, 1], "score": [0.1, 0.2]}))


def test_all_censored_gives_notes_instead_of_values() -> None:
    found = evaluate_survival(table(**{"event:os": 0}), n_boot=50, cutoff=0.0)
    for name in ("c_harrell", "c_uno", "auc@100", "brier@365"):
        assert math.isnan(of(found, name).value) and "no event among 120 cases" in str(of(found, name).note)
    assert of(found, "events").value == 0 and of(found, "survival@100").value == 1
    with pytest.raises(NotEnoughData, match="no event among 3"):
        logrank([1, 2, 3], [0, 0, 0], ["a", "a", "b"])


def test_no_event_before_the_horizon_is_said() -> None:
    late = table()
    late["time:os"] += 500
    found = of(evaluate_survival(late, horizons=[100], n_boot=50), "auc@100")
    assert math.isnan(found.value) and "no event before it" in str(found.note)


def test_a_group_of_three_cases() -> None:
    small = table(sex=np.r_[["X"] * 3, ["M"] * 117])
    found = evaluate_survival(small, subgroups=["sex"], n_boot=50)
    assert "too few: 3 cases of 3 patients, at least 20" in str(of(found, "c_harrell", "sex X").note)
    test = logrank(small["time:os"], small["event:os"], small["sex"])
    assert "X has 3 cases" in str(test.note) and math.isfinite(test.p)
    three = quantile_time(kaplan_meier([1.0, 2, 3], [1, 0, 1]))
    assert (three.value, three.low, three.high, three.n) == (3, 1, 3, 3)


def test_a_constant_score_in_the_table() -> None:
    found = of(evaluate_survival(table(score=1.0), n_boot=50), "c_harrell")
    assert found.value == 0.5 and "constant" in str(found.note)


def test_a_score_that_points_the_wrong_way_is_doubted() -> None:
    flipped = table()
    flipped["score"] *= -1
    assert "is a higher score worse?" in str(of(evaluate_survival(flipped, n_boot=50), "c_harrell").note)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: kaplan_meier([], []), NotEnoughData, "no case"),
        (lambda: kaplan_meier([1.0, 2], [1]), InputMismatch, "for the same cases"),
        (lambda: logrank([1.0, 2], [1, 1], ["a"]), InputMismatch, "group has shape"),
        (lambda: logrank([1.0, 2], [1, 1], ["a", None]), InputMismatch, "have no group"),
        (lambda: logrank([1.0, 2], [1, 1], ["a", "a"]), NotEnoughData, "one group alone"),
        (lambda: aalen_johansen([1.0, 2], [1, 0], 2), NotEnoughData, "no event of cause 2"),
    ],
)
def test_curves_refuse_what_they_cannot_judge(call, error, words: str) -> None:
    with pytest.raises(error, match=words):
        call()
