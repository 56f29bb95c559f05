"""What must hold for any data: invariances, clusters, coverage."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate import calibration, compare, curves, evaluate, intervals
from radfoundry.evaluate import classification as cl
from radfoundry.evaluate.resample import Ranked, average_precision, draw_blocks, sensitivity_at

pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(-20, 20)), min_size=4, max_size=60).filter(
    lambda rows: 0 < sum(y for y, _ in rows) < len(rows)
)


def arrays(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([y for y, _ in rows]), np.array([s for _, s in rows], float)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_auc_depends_on_ranks_alone_and_flips_with_the_labels(rows) -> None:
    y, score = arrays(rows)
    auc = cl.auroc(y, score)
    assert auc == pytest.approx(roc_auc_score(y, score))
    assert cl.auroc(y, np.exp(score / 10) + score**3) == pytest.approx(auc)
    assert cl.auroc(1 - y, score) == pytest.approx(1 - auc)
    order = np.random.default_rng(0).permutation(len(y))
    assert intervals.delong(y[order], score[order]).low == pytest.approx(
        intervals.delong(y, score).low, nan_ok=True
    )


@settings(max_examples=60, deadline=None)
@given(pairs, st.integers(0, 10**6))
def test_drawn_counts_are_sample_weights(rows, seed: int) -> None:
    y, score = arrays(rows)
    who = np.arange(len(y)) // 3
    g = who.max() + 1
    counts = next(draw_blocks(g, 6, np.random.default_rng(seed)))
    assert (counts.sum(axis=0) == g).all()
    ranked = Ranked(y, score, who, g)
    areas, operating = ranked.auroc(counts), ranked.operating(counts)
    for d in range(6):
        w = counts[who, d]
        if w[y == 1].sum() == 0 or w[y == 0].sum() == 0:
            assert math.isnan(areas[d])
            continue
        assert areas[d] == pytest.approx(roc_auc_score(y, score, sample_weight=w))
        expected = average_precision_score(y, score, sample_weight=w)
        assert average_precision(*operating[:3])[d] == pytest.approx(expected)
        fpr, tpr, _ = roc_curve(y, score, sample_weight=w, drop_intermediate=False)
        best = max(t for f, t in zip(fpr, tpr) if f <= 0.2 + 1e-9)
        assert sensitivity_at(0.8, *operating)[d] == pytest.approx(best)


def sample(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    return y, np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0.01, 0.99)


def table_of(y, score, patient=None, **more) -> pd.DataFrame:
    case = np.arange(len(y)).astype(str)
    who = case if patient is None else patient
    return pd.DataFrame({"case_id": case, "patient_id": who, "y_true": y, "score": score, **more})


def test_ten_copies_of_each_image_change_no_clustered_interval() -> None:
    y, score = sample()
    who = np.arange(len(y))
    ten_y, ten_score, ten_who = (np.repeat(v, 10) for v in (y, score, who))
    once = intervals.bootstrap_auroc(y, score, who, n=500, rng=np.random.default_rng(1))
    many = intervals.bootstrap_auroc(ten_y, ten_score, ten_who, n=500, rng=np.random.default_rng(1))
    assert (many.low, many.high) == pytest.approx((once.low, once.high))
    assert (many.n, many.n_clusters) == (1200, 120)
    slow = [
        intervals.bootstrap(cl.auroc, *v, n=200, rng=np.random.default_rng(1))
        for v in ((y, score, who), (ten_y, ten_score, ten_who))
    ]
    assert (slow[0].low, slow[0].high) == pytest.approx((slow[1].low, slow[1].high))
    wide = intervals.delong(ten_y, ten_score, cluster=ten_who)
    naive = intervals.delong(ten_y, ten_score)
    plain = intervals.delong(y, score)
    assert wide.high - wide.low == pytest.approx(plain.high - plain.low, rel=0.02)
    assert naive.high - naive.low < 0.4 * (plain.high - plain.low)


def test_ten_copies_change_no_interval_of_the_whole_table_but_wilsons() -> None:
    y, score = sample()
    who = np.repeat(np.arange(len(y)).astype(str), 10)
    once = {e.name: e for e in evaluate(table_of(y, score), n_boot=400)}
    many = {e.name: e for e in evaluate(table_of(np.repeat(y, 10), np.repeat(score, 10), who), n_boot=400)}
    for name in ("auroc_bootstrap", "auprc", "balanced_accuracy", "f1", "brier", "mcc"):
        assert (many[name].low, many[name].high) == pytest.approx((once[name].low, once[name].high)), name
        assert many[name].high - many[name].low > 0.02, name
    for name in ("accuracy", "sensitivity", "ppv"):  # Wilson once, bootstrap with copies: near, not equal
        assert "Wilson" in once[name].method and "bootstrap" in many[name].method
        assert (many[name].low, many[name].high) == pytest.approx((once[name].low, once[name].high), abs=0.03)


def test_fast_and_plain_bootstrap_agree_and_labels_share_draws() -> None:
    y, score = sample(150, 4)
    who = np.arange(150) // 2
    fast = intervals.bootstrap_auroc(y, score, who, n=4000, rng=np.random.default_rng(0))
    slow = intervals.bootstrap(cl.auroc, y, score, who, n=2000, rng=np.random.default_rng(9))
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.012)
    both = intervals.bootstrap_auroc(
        np.stack([y, y], 1),
        np.stack([score, score], 1),
        who,
        n=300,
        rng=np.random.default_rng(0),
        names=["a", "b"],
    )
    assert (both[0].low, both[0].high) == (both[1].low, both[1].high)
    assert [e.target for e in both] == ["a", "b"]


def test_coverage_of_wilson_delong_and_clustered_delong() -> None:
    rng = np.random.default_rng(8)
    hits = np.zeros(3)
    truth, runs = 0.7602, 400  # Phi(1 / sqrt 2), for normal scores one standard deviation apart
    for _ in range(runs):
        y = np.repeat([0, 1], 40)
        e = intervals.delong(y, rng.normal(y, 1))
        hits[0] += e.low <= truth <= e.high
        low, high = intervals.wilson(rng.binomial(50, 0.2), 50)
        hits[1] += low <= 0.2 <= high
        patients = np.repeat(np.arange(60), 3)
        label = np.repeat(rng.permutation(np.repeat([0, 1], 30)), 3)
        shared = np.repeat(rng.normal(0, math.sqrt(0.7), 60), 3)
        c = intervals.delong(label, label + shared + rng.normal(0, math.sqrt(0.3), 180), cluster=patients)
        hits[2] += c.low <= truth <= c.high
    assert (hits / runs > 0.915).all() and (hits / runs < 0.985).all(), hits / runs


def test_perfect_and_constant_scores_get_honest_limits() -> None:
    y = np.array([0] * 10 + [1] * 5)
    perfect = intervals.delong(y, y + np.linspace(0, 0.1, 15))
    assert perfect.value == 1 and perfect.low == pytest.approx(0.05 ** (1 / 5)) and "perfect" in perfect.note
    constant = intervals.delong(y, np.zeros(15))
    assert constant.value == 0.5 and math.isnan(constant.low) and "does not vary" in constant.note
    high = intervals.delong([0] * 20 + [1] * 20, [*range(20), *range(18, 38)])
    assert 0 < high.low < high.high < 1 and "logit" in high.method


def test_repeats_never_narrow_the_interval() -> None:
    y, score = sample()
    one = table_of(y, score)
    same = pd.concat([one.assign(repeat=r) for r in range(5)], ignore_index=True)
    first = {e.name: e for e in evaluate(one, n_boot=300)}
    five = {e.name: e for e in evaluate(same, n_boot=300)}
    for name in ("auroc", "auroc_bootstrap", "auprc", "brier", "calibration_slope"):
        assert five[name].value == pytest.approx(first[name].value), name
        assert (five[name].low, five[name].high) == pytest.approx(
            (first[name].low, first[name].high), rel=0.03
        )
        assert five[name].n == five[name].n_clusters == 120
    assert five["auroc"].method.startswith("mean over 5 repeats; ")


def test_value_is_the_mean_over_repeats() -> None:
    y, a = sample()
    b = np.random.default_rng(2).random(len(y))
    table = pd.concat([table_of(y, s, repeat=r) for r, s in enumerate((a, b))], ignore_index=True)
    found = {e.name: e for e in evaluate(table, n_boot=200)}
    for name in ("auroc", "auprc", "accuracy", "brier"):
        expected = (cl.compute(name, y, a) + cl.compute(name, y, b)) / 2
        assert found[name].value == pytest.approx(expected), name


def test_curves_agree_with_the_points_they_pass() -> None:
    y, score = sample(200)
    rng = np.random.default_rng(0)
    roc = curves.roc_curve(y, score, n=200, rng=rng)
    fpr, tpr, _ = roc_curve(y, score, drop_intermediate=False)
    for grid, value in zip(roc["fpr"], roc["sensitivity"]):
        assert value == pytest.approx(tpr[fpr <= grid + 1e-12].max())
    assert (roc["low"] <= roc["high"]).all() and roc["sensitivity"].iloc[-1] == 1
    assert ((roc["low"] <= roc["sensitivity"]) & (roc["sensitivity"] <= roc["high"])).mean() > 0.9
    pr = curves.pr_curve(y, score, n=200, rng=rng)
    assert pr["precision"].iloc[-1] == pytest.approx(y.sum() / (score >= score[y == 1].min()).sum())
    assert ((pr["low"] <= pr["precision"]) & (pr["precision"] <= pr["high"])).mean() > 0.9


def test_curves_of_repeats_are_the_mean_of_their_curves() -> None:
    y, a = sample(120)
    b = np.random.default_rng(5).random(120)
    for draw, height in ((curves.roc_curve, "sensitivity"), (curves.pr_curve, "precision")):
        one, other, both = (draw(y, s, n=20, rng=np.random.default_rng(0)) for s in (a, b, np.stack([a, b])))
        np.testing.assert_allclose(both[height], (one[height] + other[height]) / 2)


def test_paired_tests_see_a_difference_and_none_where_there_is_none() -> None:
    y, a = sample(150)
    noise = np.random.default_rng(3).random(150)
    rng = np.random.default_rng(0)
    boot = compare.paired_bootstrap(cl.auroc, y, a, noise, n=500, rng=rng)
    perm = compare.permutation(cl.auroc, y, a.argsort().argsort(), noise.argsort().argsort(), n=300, rng=rng)
    assert boot.p < 0.01 and boot.low > 0 and perm.p < 0.01
    same = compare.permutation(cl.auroc, y, a, a, n=50, rng=rng)
    assert same.p == 1 and same.difference == 0
    assert compare.delong_paired(y, a, a).p == 1
    swapped = compare.delong_paired(y, noise, a)
    forward = compare.delong_paired(y, a, noise)
    assert swapped.p == pytest.approx(forward.p) and swapped.low == pytest.approx(-forward.high)
    assert compare.mcnemar([True, False], [False, True]).p == 1


def test_permutation_p_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(1)
    p = []
    for _ in range(60):
        y = np.repeat([0, 1], 12)
        a, b = (rng.normal(y, 1).argsort().argsort() for _ in range(2))
        p.append(compare.permutation(cl.auroc, y, a, b, n=59, rng=rng).p)
    assert np.mean(np.array(p) <= 0.1) < 0.22 and 0.4 < np.mean(p) < 0.62


def test_calibrated_scores_have_slope_one_and_the_expected_ece() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(1, 3, 5000)
    y = (rng.random(5000) < p).astype(int)
    covered = np.zeros(2)
    for _ in range(60):
        outcome = rng.random(500) < p[:500]
        found = calibration.slope_intercept(outcome, p[:500])
        covered += [e.low <= ideal <= e.high for e, ideal in zip(found, (1, 0), strict=True)]
    assert (covered >= 52).all()
    slope, _ = calibration.slope_intercept(y, p)
    chance = calibration.ece_if_calibrated(p, rng=rng)
    assert calibration.ece(y, p) == pytest.approx(chance, abs=0.01) and chance > 0
    overconfident = 1 / (1 + np.exp(-2 * np.log(p / (1 - p))))
    assert calibration.slope_intercept(y, overconfident)[0].value == pytest.approx(slope.value / 2, rel=1e-3)
    separated = calibration.slope_intercept(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]))[0]
    assert math.isnan(separated.value) and "separate" in separated.note
    curve = calibration.reliability_curve(y, p)
    assert ((curve["low"] < curve["predicted"]) & (curve["predicted"] < curve["high"])).sum() >= 8
    band = calibration.net_benefit(y, p, n=100, rng=rng)
    assert (band["low"] <= band["high"]).all() and (band["model"] >= band["none"] - 0.01).all()


def test_one_class_is_refused_with_a_reason() -> None:
    for y in (np.zeros(5, int), np.ones(5, int)):
        with pytest.raises(NotEnoughData, match="positives and negatives"):
            cl.auroc(y, np.arange(5.0))
        with pytest.raises(NotEnoughData):
            intervals.bootstrap_auroc(y, np.arange(5.0), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="not finite"):
        cl.auroc([0, 1], [0.1, math.nan])


def test_comparison_as_estimate_and_json() -> None:
    y, a = sample(60)
    found = replace(compare.delong_paired(y, a, 1 - a), model_a="new", model_b="old", target="t")
    assert found.estimate().value == pytest.approx(found.difference)
    assert found.estimate().name == "auroc_difference" and "p = " in found.estimate().note
    assert found.as_dict()["p_holm"] is None


def test_clustered_delong_counts_patients_who_own_both_classes() -> None:
    """A patient's positive and negative rows rise together, which narrows the AUC's variance."""
    rng = np.random.default_rng(4)
    areas, variances = [], []
    for _ in range(200):
        who = np.tile(np.arange(40), 2)
        y = np.repeat([0, 1], 40)
        score = y + np.tile(rng.normal(0, 0.9, 40), 2) + rng.normal(0, 0.44, 80)
        components = intervals.placements(y, score)
        areas.append(components[y == 1].mean())
        variances.append(intervals.auc_covariance(y, components, who)[0, 0])
    assert np.mean(variances) == pytest.approx(np.var(areas), rel=0.25)
    independent = intervals.auc_covariance(y, components)[0, 0]
    assert np.mean(variances) < 0.6 * independent


def test_a_perfect_share_rests_on_the_patients_behind_it() -> None:
    """Sensitivity 1 in 5 of 100 patients is known no better than 5 successes in 5 (Wilson: 0.566 to 1)."""
    y = np.repeat((np.arange(100) < 5).astype(int), 2)
    score = np.where(y == 1, 0.9, np.linspace(0, 0.6, 200))
    found = {
        e.name: e for e in evaluate(table_of(y, score, np.repeat(np.arange(100).astype(str), 2)), n_boot=200)
    }
    assert found["sensitivity"].value == found["npv"].value == 1
    assert (found["sensitivity"].low, found["sensitivity"].high) == pytest.approx(intervals.wilson(5, 5))
    decided = np.unique(np.arange(200)[score < 0.5] // 2)
    assert found["npv"].low == pytest.approx(intervals.wilson(len(decided), len(decided))[0])


def test_one_patient_gives_no_interval() -> None:
    """Thirty images of one patient: every draw is that patient, and zero width would claim certainty."""
    y, score = sample(30)
    found = evaluate(table_of(y, score, "p"), n_boot=200)
    assert {e.name for e in found if math.isfinite(e.low)} == {"prevalence"}  # Wilson at one patient: wide
    assert all(
        "no interval" in e.note for e in found if e.name in ("auroc", "brier", "f1", "calibration_slope")
    )
    both = compare.paired_bootstrap(
        cl.brier, y, score, 1 - score, np.zeros(30), n=200, rng=np.random.default_rng(0)
    )
    assert math.isnan(both.low) and math.isnan(both.p)


def test_an_ece_of_zero_and_a_constant_difference_are_no_certainties() -> None:
    e = next(e for e in evaluate(table_of([0, 1] * 5, np.full(10, 0.5)), n_boot=200) if e.name == "ece")
    assert e.value == e.low == 0 and e.high > 0.1
    y, right, wrong = np.array([0, 1] * 3), np.array([0, 1] * 3), np.array([1, 0] * 3)
    alike = compare.paired_bootstrap(cl.brier, y, right, wrong, n=200, rng=np.random.default_rng(0))
    assert alike.difference == -1 and math.isnan(alike.low) and math.isnan(alike.p)
    same = compare.paired_bootstrap(cl.brier, y, right, right, n=200, rng=np.random.default_rng(0))
    assert (same.low, same.high, same.p) == (0, 0, 1)


@pytest.mark.parametrize(("power", "truth"), [(1.0, 0.0), (0.5, 0.0824)])
def test_the_ece_lies_in_its_interval_which_covers_the_truth(power: float, truth: float) -> None:
    """truth: of four million scores from beta(2, 2) whose log odds are `power` times as far from 0."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(40):
        p = rng.beta(2, 2, 300)
        true = 1 / (1 + ((1 - p) / p) ** power)
        table = table_of((rng.random(300) < true).astype(int), p)
        e = next(e for e in evaluate(table, n_boot=100) if e.name == "ece")
        assert e.low <= e.value <= e.high and "reflected" in e.method
        covered += e.low <= truth <= e.high
    assert covered >= 33  # plain percentiles cover 0 and 22 of the 40


def test_an_auc_below_one_half_asks_for_the_direction() -> None:
    y, score = sample(150)
    found = {e.name: e for e in evaluate(table_of(y, 1 - score), n_boot=100)}
    assert "does a higher score mean more likely positive?" in found["auroc"].note


def test_calls_are_no_probabilities() -> None:
    y, score = sample(150)
    found = {e.name: e for e in evaluate(table_of(y, (score > 0.5).astype(float)), n_boot=100)}
    assert not {"brier", "ece", "calibration_slope"} & set(found)
    mean = (found["sensitivity"].value + found["specificity"].value) / 2
    assert found["auroc"].value == pytest.approx(mean)
