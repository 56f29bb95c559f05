"""Agreement against published tables, and what must hold for any readings."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from radfoundry.errors import InputMismatch, NotEnoughData
from radfoundry.evaluate.agreement import (
    bland_altman,
    by_group,
    concordance,
    correlation,
    icc,
    krippendorff,
    mean_squares,
    paired_tests,
    repeatability,
)
from radfoundry.evaluate.compare import mcnemar
from radfoundry.types import Estimate
from tests._data import data_dir

# Shrout and Fleiss, Psychol Bull 1979;86:420, table 2.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
# Bland and Altman, Lancet 1986;327:307: peak flow (l/min) by a Wright and a mini meter, the first twice.
WRIGHT = np.array([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427.0])
AGAIN = np.array([490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421.0])
MINI = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451.0])
# Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, example of four observers and twelve units.
N = math.nan
OBSERVERS = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]).T  # fmt: skip

two_digits = st.floats(-50, 50).map(lambda v: round(v, 2))
readings = arrays(float, st.tuples(st.integers(3, 12), st.integers(2, 5)), elements=two_digits)


def of(found: list[Estimate], name: str) -> Estimate:
    return next(one for one in found if one.name == name)


@pytest.mark.parametrize(
    ("name", "value", "low", "high"),
    [
        ("ICC(1)", 0.1657, -0.133, 0.723), ("ICC(A,1)", 0.2898, 0.019, 0.761),
        ("ICC(C,1)", 0.7148, 0.342, 0.946), ("ICC(k)", 0.4428, -0.884, 0.912),
        ("ICC(A,k)", 0.6201, 0.071, 0.927), ("ICC(C,k)", 0.9093, 0.676, 0.986),
    ],
)  # fmt: skip
def test_the_six_correlations_of_shrout_and_fleiss(name: str, value: float, low: float, high: float) -> None:
    """Values as published and recomputed; intervals as R's psych 2.x prints them in its manual of ICC."""
    found = of(icc(JUDGES), name)
    assert found.value == pytest.approx(value, abs=5e-5)
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=1e-3))
    assert found.n == 6


@settings(max_examples=60, deadline=None)
@given(readings)
def test_a_shift_of_all_readings_and_another_unit_change_no_icc(x: np.ndarray) -> None:
    if mean_squares(x).rows < 1e-3 or mean_squares(x).error < 1e-3:
        return
    for one, other in zip(icc(x), icc(3 * x + 11)):
        assert other.value == pytest.approx(one.value, abs=1e-6) and one.value <= 1
        if one.note is None:
            assert one.low <= one.value + 1e-9 and one.value <= one.high + 1e-9


@settings(max_examples=60, deadline=None)
@given(readings)
def test_a_bias_of_one_rater_lowers_agreement_and_not_consistency(x: np.ndarray) -> None:
    if mean_squares(x).rows - mean_squares(x).error < 1e-2 or mean_squares(x).error < 1e-2:
        return
    biased = x - x.mean(axis=0)
    biased[:, 0] += 200
    even = icc(x - x.mean(axis=0))
    found = icc(biased)
    assert of(found, "ICC(C,1)").value == pytest.approx(of(even, "ICC(C,1)").value, abs=1e-6)
    assert of(found, "ICC(A,1)").value < of(even, "ICC(A,1)").value


def test_icc_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = np.zeros(3)
    for _ in range(600):
        x = rng.normal(0, 2, (25, 1)) + rng.normal(0, 1, (25, 3))  # ICC 0.8, no rater effect
        hits += [one.low <= 0.8 <= one.high for one in icc(x)[:3]]
    assert (np.abs(hits / 600 - 0.95) < 0.03).all()


def test_constant_readings_have_no_icc_and_say_why() -> None:
    assert all(math.isnan(one.value) and "do not differ" in str(one.note) for one in icc(np.ones((5, 3))))
    same = np.tile(np.arange(5.0)[:, None], (1, 3))
    assert all(one.value == 1 and "no two readings differ" in str(one.note) for one in icc(same))


def test_peak_flow_of_bland_and_altman() -> None:
    """Lancet 1986: mean difference -2.1, SD 38.8, 95% interval of the bias -22.0 to 17.8 l/min."""
    found = bland_altman(WRIGHT, MINI)
    bias, low, high = (of(found, name) for name in ("bias", "loa_low", "loa_high"))
    assert (bias.value, bias.low, bias.high) == (
        pytest.approx(-2.1, abs=0.05), pytest.approx(-22.0, abs=0.1), pytest.approx(17.8, abs=0.1),
    )  # fmt: skip
    assert (high.value - low.value) / 2 / 1.959964 == pytest.approx(38.8, abs=0.05)
    assert low.low < low.value < low.high < bias.value


def test_a_bias_that_grows_with_the_value_is_found() -> None:
    x = np.linspace(10, 100, 40)
    noise = np.random.default_rng(1).normal(0, 1, 40)
    slope = of(bland_altman(1.2 * x + noise, x), "proportional_bias")
    assert slope.low < 2 * 0.2 / 2.2 < slope.high and slope.low > 0.1


def test_limits_of_repeats_hold_both_variances() -> None:
    """Differences with SD 3 between and 2 within subjects: limits at 1.96 sqrt(9 + 4)."""
    rng = np.random.default_rng(5)
    subject = np.repeat(np.arange(400), rng.integers(1, 6, 400))
    d = 5 + rng.normal(0, 3, 400)[subject] + rng.normal(0, 2, len(subject))
    found = bland_altman(d, np.zeros(len(d)), subject, rng=rng, draws=300)
    half = (of(found, "loa_high").value - of(found, "loa_low").value) / 2
    assert half == pytest.approx(1.96 * math.sqrt(13), rel=0.05)
    for name, truth in (("bias", 5), ("loa_low", 5 - 7.07), ("loa_high", 5 + 7.07)):
        assert of(found, name).low < truth < of(found, name).high
        assert of(found, name).n_clusters == 400
    with pytest.raises(ValueError, match="pass rng"):
        bland_altman(d, np.zeros(len(d)), subject)


def test_two_readings_of_one_meter() -> None:
    """Of pairs the within-subject SD is sqrt(mean d² / 2); 15.3 l/min for the Wright meter (Lancet 1986)."""
    found = repeatability(np.column_stack([WRIGHT, AGAIN]))
    sd = of(found, "within_sd")
    assert (
        sd.value
        == pytest.approx(math.sqrt(((WRIGHT - AGAIN) ** 2).mean() / 2))
        == pytest.approx(15.3, abs=0.05)
    )
    assert of(found, "repeatability_coefficient").value == pytest.approx(2.7718 * sd.value, rel=1e-4)
    assert sd.low == pytest.approx(sd.value * math.sqrt(17 / stats.chi2.ppf(0.975, 17)))
    shifted = repeatability(np.column_stack([WRIGHT, AGAIN + 100]))
    mdc = "minimal_detectable_change"
    assert of(shifted, mdc).value == pytest.approx(of(found, mdc).value)
    assert of(shifted, "repeatability_coefficient").value > 150
    assert math.isnan(of(repeatability(np.column_stack([WRIGHT, AGAIN]) - 600), "within_cv").value)


def test_concordance_is_correlation_less_bias_and_scale() -> None:
    r = stats.pearsonr(WRIGHT, MINI)[0]
    found = concordance(WRIGHT, MINI)
    sd = WRIGHT.std() / MINI.std()
    shift = (WRIGHT.mean() - MINI.mean()) / math.sqrt(WRIGHT.std() * MINI.std())
    assert found.value == pytest.approx(r * 2 / (sd + 1 / sd + shift**2))  # Lin 1989, r times C_b
    assert found.low < found.value < found.high < 1
    assert concordance(WRIGHT, MINI + 200).value < 0.4 and concordance(WRIGHT, WRIGHT).value == 1


def test_concordance_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    truth, hits = 2 * 0.8 / (1 + 1 + 0.25), 0
    for _ in range(500):
        x = rng.multivariate_normal([0, 0.5], [[1, 0.8], [0.8, 1]], 60)
        found = concordance(x[:, 0], x[:, 1])
        hits += found.low <= truth <= found.high
    assert abs(hits / 500 - 0.95) < 0.035


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_alpha_of_krippendorff(scale: str, alpha: float) -> None:
    found = krippendorff(OBSERVERS, scale, rng=np.random.default_rng(0), draws=300)  # type: ignore[arg-type]
    assert found.value == pytest.approx(alpha, abs=5e-4)
    assert found.low < alpha < found.high and found.n == 11  # one unit was read once


def test_alpha_of_random_readings_is_near_zero_and_of_equal_ones_undefined() -> None:
    rng = np.random.default_rng(4)
    found = krippendorff(rng.integers(0, 3, (400, 3)).astype(float), "nominal", rng=rng, draws=200)
    assert found.low < 0 < found.high
    assert math.isnan(krippendorff(np.ones((5, 2)), "nominal").value)
    with pytest.raises(NotEnoughData, match="read twice"):
        krippendorff(np.array([[1, N], [N, 2.0]]), "nominal")
    with pytest.raises(InputMismatch, match="below zero"):
        krippendorff(np.array([[-1, 1], [2, 2.0]]), "ratio")


def test_correlations_have_fishers_interval() -> None:
    found = correlation(WRIGHT, MINI)
    interval = stats.pearsonr(WRIGHT, MINI).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    ranks = correlation(WRIGHT, MINI, "spearman")
    assert (
        ranks.value == pytest.approx(stats.spearmanr(WRIGHT, MINI)[0])
        and ranks.low < ranks.value < ranks.high
    )
    parts = by_group(WRIGHT, MINI, np.array(["f"] * 9 + ["m"] * 7 + ["x"]))
    assert parts["f"].n == 9 and parts["f"].subgroup == "f" and "fewer than three" in str(parts["x"].note)


def test_paired_tests_are_those_of_scipy_with_holm() -> None:
    found = paired_tests({"flow": (WRIGHT, MINI), "again": (WRIGHT, AGAIN)})
    for name, other in (("flow", MINI), ("again", AGAIN)):
        t, w = (next(one for one in found if one.name == name and one.method == m)
                for m in ("paired t", "Wilcoxon signed ranks"))  # fmt: skip
        test = stats.ttest_rel(WRIGHT, other)
        assert (t.statistic, t.p) == (pytest.approx(test.statistic), pytest.approx(test.pvalue))
        assert (t.low, t.high) == pytest.approx(test.confidence_interval())
        assert w.p == pytest.approx(stats.wilcoxon(WRIGHT, other).pvalue)
        assert t.p_holm >= t.p and w.p_holm >= w.p
    same = paired_tests({"same": (WRIGHT, WRIGHT)})
    assert all(math.isnan(one.p) and "zero" in str(one.note) for one in same)


def reference(name: str) -> pd.DataFrame:
    return pd.read_csv(data_dir("stats_references", name), encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("name", "value", "low", "high"),
    [
        ("ICC(1)", 0.727520915896081, 0.43, 0.93), ("ICC(A,1)", 0.7276887871853546, 0.43, 0.93),
        ("ICC(C,1)", 0.7294865007940708, 0.43, 0.93), ("ICC(k)", 0.9143837511760474, 0.75, 0.98),
        ("ICC(A,k)", 0.9144500359453631, 0.75, 0.98), ("ICC(C,k)", 0.9151585588577121, 0.75, 0.98),
    ],
)  # fmt: skip
def test_wines_of_pingouin(name: str, value: float, low: float, high: float) -> None:
    """pingouin 0.7.0, intraclass_corr of its data set `icc`; it rounds intervals to two digits."""
    wines = reference("pingouin_icc.csv").pivot(index="Wine", columns="Judge", values="Scores")
    found = of(icc(wines.to_numpy()), name)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert (round(found.low, 2), round(found.high, 2)) == (low, high)


def test_limits_of_agreement_of_pingouin() -> None:
    """pingouin 0.7.0, plot_blandaltman of its data set `blandaltman` (Giavarina 2015). It rounds 1.959964 to
    1.96 and takes sqrt(3 s^2 / n) for the limits' standard error, as Bland and Altman did in 1986."""
    table = reference("pingouin_blandaltman.csv")
    found = bland_altman(table["A"].to_numpy(), table["B"].to_numpy())
    bias, low, high = (of(found, name) for name in ("bias", "loa_low", "loa_high"))
    assert bias.value == pytest.approx(-27.166666666666668)
    assert bias.low == pytest.approx(-40.16342128207853)
    assert bias.high - bias.low == pytest.approx(25.993509230823726)
    assert (low.value, high.value) == pytest.approx((-95.38632493840417, 41.05299160507083), abs=0.002)
    assert high.high - high.low == pytest.approx(45.0220786547973, rel=0.003)


def test_alpha_of_cronbach_is_the_consistency_of_the_mean() -> None:
    """pingouin 0.7.0, cronbach_alpha of its data set `cronbach_alpha`; its interval has three digits."""
    wide = reference("pingouin_cronbach_alpha.csv").pivot(index="Subj", columns="Items", values="Scores")
    found = of(icc(wide.to_numpy()), "ICC(C,k)")
    assert found.value == pytest.approx(0.5917188485995826, abs=1e-12)
    assert (round(found.low, 3), round(found.high, 3)) == (0.195, 0.840)


def test_mcnemar_of_pingouin() -> None:
    """pingouin 0.7.0, chi2_mcnemar of its data set `chi2_mcnemar`: 8 against 40, exact p 0.000003."""
    table = reference("pingouin_chi2_mcnemar.csv")
    found = mcnemar(table["treatment_X"].to_numpy(bool), table["treatment_Y"].to_numpy(bool))
    assert found.p == pytest.approx(3.3052667092192682e-06, rel=1e-9)
    assert "8 against 40" in found.method


def test_constant_ratings_have_no_interval_and_say_why() -> None:
    same = np.full(8, 3.0)
    for one in bland_altman(same, same)[:3]:
        assert one.value == 3 - 3 and math.isnan(one.low) and "all differences are equal" in str(one.note)
    for one in repeatability(np.full((6, 2), 5.0))[:3]:
        assert one.value == 0 and math.isnan(one.low) and "no two readings differ" in str(one.note)
    assert "constant" in str(concordance(same, MINI[:8]).note)
    assert "constant" in str(correlation(same, MINI[:8]).note)
    assert math.isnan(krippendorff(np.tile(same, (2, 1)).T).value)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: icc([[1, 2, 3], [1, 2]]), InputMismatch, "unequal length"),
        (lambda: krippendorff([[1, 2, 3], [1, 2]]), InputMismatch, "unequal length"),
        (lambda: correlation(WRIGHT, MINI[1:]), InputMismatch, "never paired by position"),
        (lambda: paired_tests({"flow": (WRIGHT, MINI[1:])}), InputMismatch, "never paired by position"),
        (lambda: bland_altman(WRIGHT, MINI[:-1]), InputMismatch, "same targets"),
        (lambda: concordance(WRIGHT[:2], MINI[:2]), NotEnoughData, "three"),
        (lambda: correlation(WRIGHT, np.append(MINI[:-1], math.nan)), InputMismatch, "missing"),
        (lambda: icc(np.array([[1.0, math.nan], [2, 3]])), InputMismatch, "missing"),
        (lambda: icc(np.ones((1, 3))), NotEnoughData, "1 targets by 3 raters"),
        (lambda: icc(np.ones(4)), InputMismatch, "targets, raters"),
        (lambda: by_group(WRIGHT, MINI, np.array(["f"])), InputMismatch, "length"),
    ],
)
def test_readings_that_cannot_be_compared_are_refused(call, error, words: str) -> None:
    with pytest.raises(error, match=words):
        call()
