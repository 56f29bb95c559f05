"""C-indices, AUC at a time, Brier and calibration: against scikit-survival, by hand, and what must hold."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.errors import InputMismatch, NotEnoughData
from radfoundry.evaluate.survival.accuracy import (
    auc_at,
    auc_curve,
    case_weights,
    compare_c,
    followed,
    harrell_c,
    uno_c,
)
from radfoundry.evaluate.survival.calibration import brier, calibration_at
from radfoundry.evaluate.survival.curves import kaplan_meier
from radfoundry.evaluate.survival.ranks import Censoring, ComparablePairs
from radfoundry.types import Estimate
from tests._data import data_dir

HORIZONS = (365.0, 1000.0, 1825.0)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def breast() -> pd.DataFrame:
    return pd.read_csv(data_dir("stats_references") / "lifelines_gbsg2.csv")


def apart() -> pd.DataFrame:
    """GBSG2 with censorings half a day later: then G(t-) is G(t), which scikit-survival takes."""
    table = breast()
    return table.assign(time=table["time"] + np.where(table["cens"] == 1, 0.0, 0.5))


def made(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponential times that a score explains in part, about a third censored."""
    draw = np.random.default_rng(seed)
    score = draw.normal(size=n)
    time, lost = draw.exponential(np.exp(-score)), draw.exponential(2.0, n)
    return np.minimum(time, lost), (time <= lost).astype(int), score


def predicted(table: pd.DataFrame) -> dict[float, np.ndarray]:
    """Survival by a formula, the same that made the golden values: it is no good model."""
    rate = np.exp(-8.4 + 0.06 * np.minimum(table["pnodes"].to_numpy(float), 20))
    return {h: np.exp(-rate * h) for h in HORIZONS}


def of(found: list[Estimate], name: str) -> Estimate:
    return next(one for one in found if one.name == name)


def plain_c(time: np.ndarray, event: np.ndarray, score: np.ndarray) -> float:
    """Every pair, as the definition says."""
    won = pairs = 0.0
    for i in np.flatnonzero(event):
        for j in range(len(time)):
            if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                pairs += 1
                won += float(score[i] > score[j]) + 0.5 * float(score[i] == score[j])
    return won / pairs


# --- golden values: scikit-survival 0.28.0 on GBSG2, censorings half a day later ---------------------------


@pytest.mark.parametrize(
    ("column", "harrell", "uno", "areas"),
    [
        ("pnodes", 0.6452446795719611,
         {1000.0: 0.6646920844986542, 2000.0: 0.6342071590716474, None: 0.6450822040509379},
         (0.7166823517280586, 0.6988486409153816, 0.6535363623904985)),
        ("tsize", 0.5718220211614765,
         {1000.0: 0.5742855137923603, 2000.0: 0.566901795792539, None: 0.5738623326018258},
         (0.5713357851855462, 0.5907066263060412, 0.6180081488257791)),
    ],
)  # fmt: skip
def test_c_and_auc_equal_scikit_survival(column: str, harrell: float, uno: dict, areas: tuple) -> None:
    table = apart()
    of_all = table["time"], table["cens"], table[column]
    assert harrell_c(*of_all).value == pytest.approx(harrell, abs=1e-12)
    for tau, value in uno.items():
        assert uno_c(*of_all, tau=tau, n_boot=2, rng=rng()).value == pytest.approx(value, abs=1e-12)
    for estimate, area in zip(auc_at(*of_all, HORIZONS, n_boot=2, rng=rng()), areas, strict=True):
        assert estimate.value == pytest.approx(area, abs=1e-12)


def test_brier_equals_scikit_survival_and_stands_beside_kaplan_meier() -> None:
    table = apart()
    found = brier(table["time"], table["cens"], predicted(table), n_boot=100, rng=rng())
    golden = {"brier@365": 0.0755191356629509, "brier@1000": 0.2132851774041309,
              "brier@1825": 0.23893897680776033, "brier_integrated": 0.19057385822685177}  # fmt: skip
    for name, value in golden.items():
        assert of(found, name).value == pytest.approx(value, abs=1e-12)
        assert of(found, name).low < value < of(found, name).high
        skill = of(found, name.replace("brier", "brier_skill")).value
        assert skill == pytest.approx(1 - value / of(found, f"{name}_trivial").value)


def test_the_trivial_brier_score_is_that_of_the_kaplan_meier_curve() -> None:
    table = breast()
    curve = kaplan_meier(table["time"], table["cens"])
    same = {h: np.full(len(table), curve.value[int(curve.step(h))]) for h in HORIZONS}
    found = brier(table["time"], table["cens"], same, n_boot=2, rng=rng())
    for h in HORIZONS:
        assert of(found, f"brier@{h:g}").value == pytest.approx(of(found, f"brier@{h:g}_trivial").value)
        assert of(found, f"brier_skill@{h:g}").value == pytest.approx(0, abs=1e-12)


# --- by hand and by property --------------------------------------------------------------------------


def rounded(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times in whole months: events and censorings share most of them."""
    time, event, score = made(n, seed)
    return np.ceil(time * 4), event, score


@pytest.mark.parametrize("horizon", [2.0, 4.0, 7.0])
def test_weights_of_rounded_times_have_a_mean_of_one(horizon: float) -> None:
    time, event, _ = rounded()
    censoring = Censoring(time, event)
    kept = censoring.plain[:, None]
    dead = case_weights(censoring, kept, followed(time, event), horizon)[:, 0]
    beyond = (time > horizon) / censoring.at(kept, horizon)[0]
    assert (dead + beyond).mean() == pytest.approx(1, abs=1e-12)
    curve = kaplan_meier(time, event)
    assert dead.mean() == pytest.approx(1 - curve.value[int(curve.step(horizon))])


def test_weights_by_hand_take_the_chance_just_before_an_event() -> None:
    """One event and one censoring at 1, of four: G(1-) = 1 and G(1) = 2/3, so the event at 2 counts 3/2."""
    time, event = np.array([1.0, 1, 2, 3]), np.array([1, 0, 1, 0])
    censoring = Censoring(time, event)
    found = case_weights(censoring, censoring.plain[:, None], followed(time, event), 2.0)[:, 0]
    assert found.tolist() == pytest.approx([1, 0, 1.5, 0])


def test_the_trivial_brier_score_of_rounded_times_is_that_of_a_coin() -> None:
    time, event, _ = rounded()
    curve = kaplan_meier(time, event)
    for h in (2.0, 5.0):
        s = float(curve.value[int(curve.step(h))])
        found = brier(time, event, {h: np.full(len(time), s)}, n_boot=2, rng=rng())
        assert of(found, f"brier@{h:g}_trivial").value == pytest.approx(s * (1 - s), abs=1e-12)
        assert of(found, f"brier@{h:g}").value == pytest.approx(s * (1 - s), abs=1e-12)


def test_uno_on_rounded_times_is_the_sum_over_all_pairs() -> None:
    time, event, score = rounded(80)
    chance = {}
    for t in np.unique(time):
        g = 1.0
        for u in np.unique(time[time < t]):
            lost, dead = ((time == u) & (event == k) for k in (0, 1))
            g *= 1 - lost.sum() / ((time >= u).sum() - dead.sum())
        chance[t] = g
    won = pairs = 0.0
    for i in np.flatnonzero(event):
        rivals = (time > time[i]) | ((time == time[i]) & (event == 0))
        if time[i] < 6:
            pairs += rivals.sum() / chance[time[i]] ** 2
            won += (score[i] > score[rivals]).sum() / chance[time[i]] ** 2
    assert uno_c(time, event, score, tau=6, n_boot=2, rng=rng()).value == pytest.approx(won / pairs)


def test_draws_without_an_event_leave_no_skill_and_no_warning() -> None:
    time, event = np.arange(1.0, 31), np.r_[[1, 1], np.zeros(28, int)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = of(brier(time, event, {3.0: np.full(30, 0.9)}, n_boot=200, rng=rng()), "brier_skill@3")
    assert math.isfinite(found.value) and "undefined" in str(found.note)


def test_c_by_hand() -> None:
    """Deaths at 1, 2, 4 against those still followed: 5 of 5, 3 of 4 and 2 of 2 pairs in order."""
    found = harrell_c([1.0, 2, 3, 4, 5, 6], [1, 1, 0, 1, 0, 1], [6.0, 4, 5, 3, 1, 2])
    assert found.value == pytest.approx(10 / 11)


cases = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 1), st.integers(0, 4)), min_size=3, max_size=40
).map(lambda rows: tuple(np.array(column, float) for column in zip(*rows)))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(cases)
def test_halving_finds_every_comparable_pair(rows: tuple[np.ndarray, ...]) -> None:
    time, event, score = rows
    pairs = ComparablePairs(time, event, score)
    value, influence = pairs.influence()
    if math.isnan(value):
        assert not any(event[i] and (time > time[i]).any() for i in range(len(time)))
        return
    assert value == pytest.approx(plain_c(time, event, score))
    for row in range(min(3, len(time))):  # the influence is the derivative in the weight of a row
        nudge = np.ones((len(time), 1))
        nudge[row] += 1e-6
        slope = (pairs.concordance(nudge)[0] - value) / 1e-6
        assert influence[row] == pytest.approx(slope, abs=1e-4)
    twice = np.repeat(np.arange(len(time)), 2)
    doubled = ComparablePairs(time[twice], event[twice], score[twice])
    weighted = pairs.concordance(np.full((len(time), 1), 2.0))[0]
    assert doubled.concordance(np.ones((len(twice), 1)))[0] == pytest.approx(weighted)


@settings(max_examples=60, deadline=None)
@given(cases, st.randoms(use_true_random=False))
def test_c_of_the_opposite_score_is_the_rest_and_order_does_not_matter(rows, random) -> None:
    time, event, score = rows
    score = score + np.arange(len(score)) / 100  # no ties
    value = ComparablePairs(time, event, score).influence()[0]
    if math.isnan(value):
        return
    assert ComparablePairs(time, event, -score).influence()[0] == pytest.approx(1 - value)
    order = list(range(len(time)))
    random.shuffle(order)
    shuffled = ComparablePairs(time[order], event[order], score[order])
    assert shuffled.influence()[0] == pytest.approx(value)
    assert ComparablePairs(time * 30.4, event, np.exp(score)).influence()[0] == pytest.approx(value)


def test_without_censoring_uno_is_harrell_and_auc_is_that_of_the_roc_curve() -> None:
    time, _, score = made()
    event = np.ones(len(time), int)
    assert uno_c(time, event, score, n_boot=2, rng=rng()).value == pytest.approx(
        harrell_c(time, event, score).value, abs=0.002  # the last deaths are beyond tau
    )  # fmt: skip
    h = float(np.median(time))
    area = auc_at(time, event, score, [h], n_boot=2, rng=rng())[0].value
    dead, alive = score[time <= h], score[time > h]
    assert area == pytest.approx((dead[:, None] > alive).mean())


def test_the_interval_of_c_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)

    def uncensored(n: int) -> Estimate:
        score = draw.normal(size=n)
        return harrell_c(draw.exponential(np.exp(-score)), np.ones(n, int), score)

    truth = uncensored(50_000)
    found = [uncensored(120) for _ in range(400)]
    hits = sum(one.low <= truth.value <= one.high for one in found)
    assert abs(hits / 400 - 0.95) < 0.035
    assert truth.high - truth.low < 0.01 < found[0].high - found[0].low  # the truth is known well enough


def test_copies_of_a_patient_narrow_no_interval() -> None:
    time, event, score = made(150)
    rows = np.repeat(np.arange(150), 10)
    patient = np.char.add("p", rows.astype(str))
    once, ten = harrell_c(time, event, score), harrell_c(time[rows], event[rows], score[rows], patient)
    assert (ten.low, ten.high) == (pytest.approx(once.low, abs=1e-3), pytest.approx(once.high, abs=1e-3))
    assert ten.n == 1500 and ten.n_clusters == 150
    naive = harrell_c(time[rows], event[rows], score[rows])
    assert naive.high - naive.low < 0.5 * (once.high - once.low)
    by_draws = [uno_c(time, event, score, n_boot=300, rng=rng()),
                uno_c(time[rows], event[rows], score[rows], patient, n_boot=300, rng=rng())]  # fmt: skip
    assert by_draws[0].low == pytest.approx(by_draws[1].low, abs=0.02)


def test_jackknife_and_bootstrap_agree() -> None:
    time, event, score = made(400)
    other = score + np.random.default_rng(5).normal(0, 1, 400)
    by_jackknife = compare_c(time, event, score, other)
    by_draws = compare_c(time, event, score, other, n_boot=1500, rng=rng())
    assert by_draws.difference == pytest.approx(by_jackknife.difference) and by_jackknife.p < 0.01
    width = [c.high - c.low for c in (by_jackknife, by_draws)]
    assert width[0] == pytest.approx(width[1], rel=0.1)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    time, event, score = made(400)
    other = score + np.random.default_rng(5).normal(0, 0.3, 400)
    apart = math.hypot(*(c.high - c.low for c in (harrell_c(time, event, s) for s in (score, other))))
    for kind in ("harrell", "uno"):
        found = compare_c(time, event, score, other, kind=kind, n_boot=300, rng=rng())
        assert found.high - found.low < 0.7 * apart
        assert found.difference == pytest.approx(found.value_a - found.value_b)
    same = compare_c(time, event, score, 2 * score + 1)
    assert same.difference == 0 and "agree in every pair" in str(same.note)
    with pytest.raises(ValueError, match="pass rng"):
        compare_c(time, event, score, other, kind="uno")


def test_repeats_are_averaged_after_the_metric() -> None:
    time, event, score = made(200)
    repeats = np.column_stack([score, score + np.random.default_rng(3).normal(0, 2, 200)])
    each = [harrell_c(time, event, s).value for s in repeats.T]
    assert harrell_c(time, event, repeats).value == pytest.approx(np.mean(each))


def test_auc_over_time_holds_its_interval() -> None:
    time, event, score = made(300)
    table = auc_curve(time, event, score, n_boot=100, rng=rng())
    assert list(table.columns) == ["time", "auc", "low", "high", "events", "followed"] and len(table) == 30
    assert ((table["low"] <= table["auc"]) & (table["auc"] <= table["high"])).all()
    assert table["events"].is_monotonic_increasing and table["followed"].is_monotonic_decreasing


# --- calibration --------------------------------------------------------------------------------------


def calibrated(n: int, bold: float, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(time, event, predicted survival at 1): true hazard exp(x), predicted exp(bold x + shift)."""
    draw = np.random.default_rng(2)
    x = draw.normal(-0.5, 0.7, n)
    time, lost = draw.exponential(np.exp(-x)), draw.exponential(3.0, n)
    return np.minimum(time, lost), (time <= lost).astype(int), np.exp(-np.exp(bold * x + shift))


def test_calibration_of_a_true_a_bold_and_a_shifted_model() -> None:
    found, table = calibration_at(*calibrated(4000, 1.0), 1.0)
    ratio, intercept, slope = found
    assert ratio.low < 1 < ratio.high and intercept.low < 0 < intercept.high and slope.low < 1 < slope.high
    assert len(table) == 5 and table["n"].sum() == 4000
    assert ((table["low"] <= table["predicted"]) & (table["predicted"] <= table["high"])).sum() >= 4
    bold = calibration_at(*calibrated(4000, 2.0, 0.35), 1.0)[0][2]
    assert bold.value == pytest.approx(0.5, abs=0.06) and bold.high < 1
    shifted = calibration_at(*calibrated(4000, 1.0, 0.5), 1.0)[0]
    assert shifted[1].value == pytest.approx(-0.5, abs=0.1) and shifted[0].high < 1


def test_observed_risk_is_one_minus_kaplan_meier_in_the_group() -> None:
    time, event, survival = calibrated(500, 1.0)
    _, table = calibration_at(time, event, survival, 1.0, groups=2)
    low = survival > np.median(survival)
    curve = kaplan_meier(time[low], event[low])
    assert table["observed"].iloc[0] == pytest.approx(1 - curve.value[int(curve.step(1.0))])


def test_the_same_prediction_for_all_has_no_slope() -> None:
    time, event, survival = calibrated(300, 1.0)
    found, table = calibration_at(time, event, np.full(300, survival.mean()), 1.0)
    assert math.isnan(found[2].value) and "every predicted risk is the same" in str(found[2].note)
    assert len(table) == 1 and math.isfinite(found[1].value)


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "event", "score", "error", "words"),
    [
        ([0.0, 1, 2], [1, 0, 1], [1, 2, 3], InputMismatch, "time 0 is 0.0: not above zero"),
        ([1.0, -1, 2], [1, 0, 1], [1, 2, 3], InputMismatch, "time 1 is -1.0"),
        ([1.0, np.nan, 2], [1, 0, 1], [1, 2, 3], InputMismatch, "missing or not finite"),
        ([1.0, 2, 3], [0, 0, 0], [1, 2, 3], NotEnoughData, "no event among 3 cases"),
        ([1.0, 2, 3], [1, 2, 1], [1, 2, 3], InputMismatch, "coded 1 and 2.*lung.*subtract 1"),
        ([1.0, 2, 3], [1, 0.5, 1], [1, 2, 3], InputMismatch, "event 1 is 0.5: neither 0"),
        ([1.0, 2, 3], [1, 0, 2], [1, 2, 3], InputMismatch, "declare competing risks"),
        ([1.0, 2, 3], ["dead", "alive", "dead"], [1, 2, 3], InputMismatch, "event 0 is dead"),
        ([1.0, 2, 3], [1, 0, 1], [1, 2], InputMismatch, "score has shape .2,. for 3 cases"),
        ([1.0, 2, 3], [1, 0, 1], [1, np.nan, 3], InputMismatch, "score 1 is missing"),
        ([1.0, 2], [1, 0, 1], [1, 2, 3], InputMismatch, "for the same cases"),
        ([1.0, 1], [1, 1], [1, 2], NotEnoughData, "no two cases can be compared"),
    ],
)  # fmt: skip
def test_cases_that_cannot_be_ranked_are_refused(time, event, score, error, words: str) -> None:
    with pytest.raises(error, match=words):
        harrell_c(time, event, score)


def test_two_scores_of_unequal_length_are_refused() -> None:
    time, event, score = made(50)
    with pytest.raises(InputMismatch, match="score b has shape"):
        compare_c(time, event, score, score[:-1])


def test_a_constant_score_has_no_interval() -> None:
    time, event, _ = made(80)
    for found in (harrell_c(time, event, np.ones(80)), uno_c(time, event, np.ones(80), n_boot=50, rng=rng())):
        assert found.value == 0.5 and math.isnan(found.low) and "constant" in str(found.note)


def test_horizons_that_cannot_be_judged_say_why() -> None:
    time, event, score = made(80)
    early, late = time[event == 1].min() / 2, time.max() * 2
    found = auc_at(time, event, score, [early, 0.5, late, -1.0], n_boot=50, rng=rng())
    assert "no event before it" in str(found[0].note) and math.isfinite(found[1].value)
    assert "nobody was followed beyond it" in str(found[2].note) and "above zero" in str(found[3].note)
    survival = {h: np.full(80, 0.5) for h in (early, late)}
    assert all(math.isnan(e.value) for e in brier(time, event, survival, n_boot=50, rng=rng()))
    estimates, table = calibration_at(time, event, np.full(80, 0.5), late)
    assert all("nobody" in str(e.note) for e in estimates) and table.empty


def test_survival_that_is_no_probability_is_refused() -> None:
    time, event, _ = made(20)
    with pytest.raises(InputMismatch, match=r"case 3.*no probability"):
        calibration_at(time, event, np.r_[0.1, 0.2, 0.3, 1.2, np.full(16, 0.4)], 0.5)
