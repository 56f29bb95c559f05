"""Forecasts: verdicts, intervals, back-test, stopping rule and cost."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.errors import InputError, NotEnoughData, TableError
from radfoundry.plan.back_test import back_test
from radfoundry.plan.curves import family_of, fit
from radfoundry.plan.forecast import forecast
from radfoundry.plan.measured import Measured, read_curves
from radfoundry.plan.worth import cost, next_labels

N = np.array([5, 10, 15, 20, 30, 50.0])


def curve(
    a: float, b: float, gamma: float, n: np.ndarray = N, noise: float = 0.01, seed: int = 0, **more
) -> Measured:
    """Ten repeats of a power law; within a repeat half of the noise is common to all sizes."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((10, 1)), rng.standard_normal((10, len(n)))
    return Measured(n, a - b * n**-gamma + noise * (common + own) / math.sqrt(2), **more)


def test_goal_within_what_was_measured() -> None:
    f = forecast(curve(0.95, 0.8, 0.6), 0.80)
    assert f.verdict == "reached" and f.low <= f.n_at <= f.high <= 50
    assert f.n_at == pytest.approx((0.8 / 0.15) ** (1 / 0.6), rel=0.15)
    assert f.probability == 1


def test_goal_further_out() -> None:
    f = forecast(curve(0.95, 0.8, 0.6, noise=0.003), 0.90)
    assert f.verdict == "forecast" and 50 < f.n_at < 500
    assert f.low < (0.8 / 0.05) ** (1 / 0.6) < f.high
    assert "is forecast to reach auroc 0.9" in f.sentence


def test_goal_above_the_plateau() -> None:
    f = forecast(curve(0.80, 0.8, 0.9, noise=0.003), 0.95, families=("power", "exponential"))
    assert f.verdict == "not reached" and math.isinf(f.n_at)
    assert f.sentence.startswith("Not reached") and math.isinf(f.high)
    assert f.as_dict()["n_at"] is None and f.as_dict()["unbounded"]
    assert f.probability < 0.5


def test_goal_beyond_the_horizon() -> None:
    f = forecast(curve(0.99, 0.6, 0.25, noise=0.003), 0.95, families=("power",))
    assert f.verdict == "beyond the horizon" and f.n_at > 500
    assert f.sentence.startswith("Beyond the horizon") and "10 times the largest size" in f.sentence


def test_curve_at_chance() -> None:
    f = forecast(curve(0.5, 0.0, 1.0), 0.8)
    assert f.verdict == "below chance" and math.isnan(f.n_at) and "chance" in f.sentence
    assert next_labels(f) is None
    assert forecast(curve(0.45, 0.0, 1.0), 0.8).verdict == "below chance"


def noise(size: int = 6, *, ends: float = 0.53, slope: float = 0.0, luck: float = 0.04) -> Measured:
    """Ten repeats near chance, whose error over repeats is far below the luck of their test patients."""
    rng = np.random.default_rng(0)
    n = N[:size]
    mean = ends + slope * np.log(n / n[-1])
    values = mean + 0.01 * rng.standard_normal((10, size))
    return Measured(n, values, test_covariance=np.full((size, size), luck**2))


def test_luck_of_the_test_patients_counts_when_a_curve_is_held_against_chance() -> None:
    assert forecast(noise(), 0.8).verdict == "below chance"
    assert forecast(noise(luck=0.005), 0.8).usable
    assert forecast(noise(ends=0.62), 0.8).usable
    # A back-test meets the same test patients again: their luck is no doubt there.
    assert forecast(noise(), 0.8, population=False).usable


def test_noise_that_falls_is_noise() -> None:
    """Cross-validated noise often falls; what was never above chance is not a curve that falls."""
    found = forecast(noise(ends=0.48, slope=-0.03), 0.8)
    assert found.verdict == "below chance" and "not to be told from it" in found.sentence
    assert forecast(noise(ends=0.48, slope=-0.12, luck=0.01), 0.8).verdict == "falling"


@pytest.mark.parametrize("sizes", [1, 2])
def test_a_curve_of_few_sizes_is_judged_too(sizes: int) -> None:
    assert forecast(noise(sizes, ends=0.5), 0.8).verdict == "below chance"
    if sizes == 2:
        assert forecast(noise(2, ends=0.7, slope=-0.1, luck=0.01), 0.8).verdict == "falling"
        assert forecast(noise(2, ends=0.7, slope=0.1, luck=0.01), 0.8).usable


def test_interval_that_never_reaches_the_goal_has_words() -> None:
    f = forecast(curve(0.70, 0.5, 0.9, noise=0.003), 0.98, families=("power",))
    assert math.isinf(f.low) and f.interval == "none within the horizon"
    assert "upper limit of the 90% interval stays below it" in f.sentence and "unbounded" not in f.sentence


@pytest.mark.parametrize("option", [
    {"horizon": math.nan}, {"horizon": math.inf}, {"horizon": 0.5}, {"level": math.nan}, {"level": 1.0},
    {"draws": 10**9}, {"draws": 10},
])  # fmt: skip
def test_options_out_of_range_are_refused(option: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(option))} must lie between"):
        forecast(curve(0.9, 0.8, 0.6), 0.85, **option)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_prices_worths_and_back_tests_out_of_range_are_refused(value: float) -> None:
    measured = curve(0.9, 0.8, 0.6)
    with pytest.raises(InputError, match="price must lie between"):
        cost(50, 0.1, price=value)
    with pytest.raises(InputError, match="worth must lie between"):
        next_labels(forecast(measured, 0.85, draws=50), worth=value)
    with pytest.raises(InputError, match="back-test-from must lie between"):
        back_test(measured, 0.85, largest=value)


def test_unusable_covariance_is_said() -> None:
    known = curve(0.9, 0.8, 0.6, test_covariance=np.full((6, 6), 0.0004), test_cases=100)
    assert not forecast(known, 0.85).notes
    for covariance in (None, np.full((6, 6), np.nan)):
        f = forecast(curve(0.9, 0.8, 0.6, test_covariance=covariance, test_cases=100), 0.85)
        assert f.usable and "luck is not in the interval" in f.notes[0]


def test_point_is_the_power_law_and_the_families_feed_the_interval() -> None:
    measured = curve(0.9, 0.8, 0.6, noise=0.005)
    alone, together = (forecast(measured, 0.88, families=f) for f in (("power",), None))
    np.testing.assert_array_equal(alone.band["fit"], together.band["fit"])
    assert together.stack is not None and max(together.stack.weights) < 1
    # The same resampled means are refitted in both: what differs are the families that a draw may pick.
    assert np.abs(together.band["high"] - alone.band["high"]).max() > 0.002


def test_curve_that_falls() -> None:
    values = np.linspace(0.9, 0.7, 6) + 0.01 * np.random.default_rng(0).standard_normal((10, 6))
    f = forecast(Measured(N, values), 0.95)
    assert f.verdict == "falling" and f.sentence.startswith("The curve falls")
    assert not f.usable and f.as_dict()["probability"] is None


def test_fit_that_does_not_converge() -> None:
    f = forecast(curve(0.9, 0.8, 0.6), 0.85, families=("power",), max_steps=1)
    assert f.verdict == "no fit" and "converged" in f.sentence
    assert back_test(curve(0.9, 0.8, 0.6), 0.85, largest=30, families=("power",), max_steps=1).rows == ()


def test_too_few_sizes_are_a_verdict() -> None:
    f = forecast(Measured(N[:1], np.full((10, 1), 0.7)), 0.85)
    assert f.verdict == "no fit" and "at least 2 sizes" in f.sentence


@settings(max_examples=15, deadline=None)
@given(st.floats(0.7, 0.97), st.floats(0.3, 0.9), st.floats(0.3, 1.2), st.integers(0, 99))
def test_band_holds_the_fit_and_n_rises_with_the_goal(a: float, b: float, gamma: float, seed: int) -> None:
    measured = curve(a, b, gamma, seed=seed)
    found = [forecast(measured, goal, draws=200) for goal in (0.7, 0.8, 0.9)]
    band = found[0].band
    assert (band["low"] <= band["fit"]).all() and (band["fit"] <= band["high"]).all()
    assert (band["low"] < band["fit"]).mean() > 0.5 and (band["fit"] < band["high"]).mean() > 0.5
    usable = [f for f in found if f.usable]
    for less, more in itertools.pairwise(usable):
        assert less.n_at <= more.n_at and less.low <= more.low and less.high <= more.high
        assert less.probability >= more.probability


def test_new_patients_are_less_certain_than_these_patients() -> None:
    covariance = np.full((6, 6), 0.03**2)
    measured = curve(0.9, 0.8, 0.6, test_covariance=covariance, pool_positives=60)
    wide = forecast(measured, 0.85).value_at(50)
    narrow = forecast(measured, 0.85, population=False).value_at(50)
    assert wide[2] - wide[1] > 1.5 * (narrow[2] - narrow[1])


def test_dprime_scale_stays_below_one() -> None:
    f = forecast(curve(0.99, 0.5, 0.8, noise=0.002), 0.985, scale="dprime")
    assert f.band["high"].max() < 1 and f.usable
    with pytest.raises(InputError, match="for auroc"):
        forecast(curve(0.9, 0.5, 0.8, metric="f1", chance=0.2), 0.8, scale="dprime")


@pytest.mark.parametrize(("goal", "metric"), [(1.0, "auroc"), (0.5, "auroc"), (0.4, "auroc"), (-0.2, "f1")])
def test_goals_that_cannot_be_meant(goal: float, metric: str) -> None:
    with pytest.raises(InputError, match="goal"):
        forecast(curve(0.9, 0.8, 0.6, metric=metric, chance=0.5), goal)


@pytest.mark.parametrize("step", [0.003, 0.01, 0.0123])
def test_repeats_that_differ_by_a_constant_alone_have_a_slope_without_doubt(step: float) -> None:
    n = np.array([5.0, 10, 20, 30, 50, 100])
    values = (0.9 - 0.6 * n**-0.5).round(3) + step * np.arange(3)[:, None]
    assert forecast(Measured(n, values), 0.8).verdict == "reached"


def test_falling_metrics_are_refused() -> None:
    with pytest.raises(InputError, match="falls as a model gets better"):
        forecast(curve(0.2, 0.1, 0.6, metric="brier"), 0.1)


def test_back_test_compares_with_the_larger_sizes() -> None:
    n = np.array([5, 10, 15, 20, 30, 50, 100, 200, 500.0])
    found = back_test(curve(0.95, 0.8, 0.6, n=n, noise=0.005), 0.9, largest=50)
    assert [r["n"] for r in found.rows] == [100, 200, 500]
    assert found.mae < 0.03 and found.coverage == 1
    assert back_test(curve(0.9, 0.8, 0.6), 0.85, largest=50).rows == ()
    for row in found.rows:
        assert row["error"] == pytest.approx(row["forecast"] - row["observed"])


def test_back_test_sees_nothing_of_the_larger_sizes() -> None:
    n = np.array([5, 10, 15, 20, 30, 50, 100.0])
    one = curve(0.95, 0.8, 0.6, n=n)
    other = Measured(n, np.where(n > 50, 0.6, one.values))
    first, second = (back_test(c, 0.9).rows[0]["forecast"] for c in (one, other))
    assert first == second
    assert (
        "Do not trust" in back_test(other, 0.9).sentence
        and "Do not trust" not in back_test(one, 0.9).sentence
    )


def test_next_labels_of_a_flat_and_of_a_steep_curve() -> None:
    n = np.array([20, 50, 100, 200, 400, 800.0])
    flat = next_labels(forecast(curve(0.9, 0.8, 1.0, n=n, noise=0.002), 0.95))
    steep = next_labels(forecast(curve(0.99, 0.9, 0.4, noise=0.002), 0.95))
    assert flat is not None and flat.stop and abs(flat.gain) < 0.002 and "stop" in flat.sentence
    assert steep is not None and not steep.stop and steep.gain > 0.005
    assert steep.worth == 0.005
    rare = next_labels(forecast(curve(0.99, 0.9, 0.4, noise=0.002), 0.95), prevalence=0.1)
    assert rare is not None and rare.positives == pytest.approx(1) and rare.gain < steep.gain
    assert rare.worth == pytest.approx(0.0005) and not rare.stop


def test_cost_follows_the_negative_binomial() -> None:
    found = cost(50, 0.1, price=4)
    assert found is not None and found.cases == 500 and found.budget == 2000
    rng = np.random.default_rng(0)
    screened = 50 + rng.negative_binomial(50, 0.1, 20000)
    np.testing.assert_allclose([found.low, found.high], np.quantile(screened, [0.05, 0.95]), rtol=0.02)
    more = cost(50, 0.1, have=20)
    assert more is not None and more.positives == 30 and more.further
    assert cost(math.inf, 0.1) is None
    with pytest.raises(InputError, match="prevalence must lie"):
        cost(50, 0)


def test_same_seed_same_forecast() -> None:
    a, b = (forecast(curve(0.9, 0.8, 0.6), 0.85, seed=3) for _ in range(2))
    assert json.dumps(a.as_dict()) == json.dumps(b.as_dict())


def test_measured_elsewhere(tmp_path: Path) -> None:
    table = curve(0.95, 0.8, 0.6, name="ours", target="ila").table()
    table.assign(test_positives=40, test_cases=200).to_csv(tmp_path / "curve.csv", index=False)
    (found,) = read_curves(tmp_path / "curve.csv")
    np.testing.assert_allclose(found.values, curve(0.95, 0.8, 0.6).values)
    assert (found.name, found.target, found.metric) == ("ours", "ila", "auroc")
    assert found.test_covariance is not None
    assert 0.02 < math.sqrt(found.test_covariance[-1, -1]) < 0.06


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("n,value\n5,0.6\n", TableError, "no column 'repeat'"),
        ("n,repeat,value\n5,0,high\n", TableError, "row 2, column 'value': 'high'"),
        ("n,repeat,value\n5,0,.6\n10,0,.7\n5,1,.6\n", TableError, "size 10 was not measured in every repeat"),
        ("n,repeat,value\n5,0,.6\n5,0,.7\n", TableError, "there twice"),
        ("n,repeat,value\n5,0,.6\n10,0,.7\n", NotEnoughData, "1 repeat"),
        ("", TableError, "not readable"),
        ("n,repeat,value\n5,0,.6\n5,1,61.5\n", TableError, "row 3, column 'value': 61.5 .*by 100"),
        ("n,repeat,value,metric\n5,0,.6,auroc\n5,1,-.2,auroc\n", TableError, "row 3, column 'value': -0.2"),
        ("n,repeat,value\n5,0,.6\n5,1,\n", TableError, "row 3, column 'value': empty"),
        ("n,repeat,value\n5,0,.6\n1e9,1,.6\n", TableError, "row 3, column 'n'"),
        ("n,repeat,value,chance\n5,0,.6,50\n5,1,.6,50\n", TableError, "row 2, column 'chance': 50 .*by 100"),
        ("n,repeat,value,chance\n5,0,.6,.5\n5,1,.6,.4\n", TableError, "'chance': 0.4 after 0.5"),
        ("n,repeat,value,test_cases\n5,0,.6,x\n5,1,.6,x\n", TableError, "row 2, column 'test_cases': 'x'"),
        ("n,repeat,value,test_cases,test_positives\n5,0,.6,9,9\n5,1,.6,9,9\n", TableError, "no negative"),
    ],
)  # fmt: skip
def test_wrong_tables(tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(error, match=match) as caught:
        read_curves(tmp_path / "curve.csv")
    assert "np." not in str(caught.value)


def test_values_that_a_metric_cannot_have_are_no_curve() -> None:
    values = np.full((3, 6), 0.7)
    with pytest.raises(InputError, match="70 is no value of auroc, which lies between 0 and 1"):
        Measured(N, 100 * values)
    with pytest.raises(InputError, match=r"-0\.7 is no value of f1"):
        Measured(N, -values, metric="f1")
    assert Measured(N, -values, metric="mcc").mean[0] == pytest.approx(-0.7)


def test_empty_optional_columns_say_nothing(tmp_path: Path) -> None:
    table = (
        curve(0.95, 0.8, 0.6).table().assign(test_positives=np.nan, test_cases=np.nan, pool_positives=None)
    )
    table.to_csv(tmp_path / "curve.csv", index=False)
    (found,) = read_curves(tmp_path / "curve.csv")
    assert found.test_cases is None and found.test_covariance is None and found.pool_positives is None


def test_families_that_need_more_sizes_are_named_in_a_note() -> None:
    measured = curve(0.95, 0.8, 0.6).upto(15)  # three sizes
    f = forecast(measured, 0.9, families=("power", "mmf", "weibull"), draws=50)
    assert f.stack is not None and [own.family for own in f.stack.fits] == ["power"]
    (note,) = [words for words in f.as_dict()["notes"] if "left out" in words]
    assert note.startswith("mmf (4 parameters), weibull (4 parameters) were left out") and "3 sizes" in note
    assert not [w for w in forecast(measured, 0.9, families=("power",), draws=50).notes if "left out" in w]
    assert not [w for w in forecast(measured, 0.9, draws=50).notes if "left out" in w]


def test_beyond_the_horizon_names_no_number_to_cost() -> None:
    n = np.array([5, 10, 20, 40, 80.0])
    rng = np.random.default_rng(0)
    values = 0.95 - 0.3 * n**-0.2 + 0.002 * rng.standard_normal((10, 5))
    f = forecast(Measured(n, values), 0.9)
    assert f.verdict == "beyond the horizon" and f.n_at > f.horizon
    assert np.isnan(f.named) and f.as_dict()["n_at"] is None
    assert cost(f.named, 0.1) is None


def exponential(noise: float, seed: int = 0) -> Measured:
    """Ten repeats of .9 - .35 exp(-n/40): no power law, and .88 is reached at 115."""
    rng = np.random.default_rng(seed)
    return Measured(N, 0.9 - 0.35 * np.exp(-N / 40) + noise * rng.standard_normal((10, 6)))


def test_a_goal_that_the_curve_reaches_very_far_out_is_beyond_the_horizon() -> None:
    measured = Measured(N, 1 - 0.35 * N**-0.05 + 1e-4 * np.random.default_rng(0).standard_normal((10, 6)))
    f = forecast(measured, 0.9, families=("power",))
    assert f.n_at > 1e10 and f.verdict == "beyond the horizon"


def test_where_most_families_reach_what_the_power_law_does_not_it_is_called_unsettled() -> None:
    f = forecast(exponential(0.004), 0.88)
    assert f.verdict == "beyond the horizon" and f.probability > 0.9
    assert f.sentence.endswith("this is not settled. Measure a larger size.")
    alone = forecast(exponential(0.004), 0.88, families=("power",))
    assert alone.verdict == "beyond the horizon" and "settled" not in alone.sentence


def test_each_draw_takes_the_family_that_fits_it() -> None:
    f = forecast(exponential(0.004), 0.88)
    truth = 0.9 - 0.35 * np.exp(-f.horizon / 40)
    assert np.median(f.draws[:, -1]) == pytest.approx(truth, abs=0.02)
    assert abs(f.band["fit"].iloc[-1] - truth) > 0.02  # the power law alone, which fits badly


def test_repeats_are_resampled_whole() -> None:
    """Repeats that differ by a constant say nothing of the slope: the draws move, and keep their form."""
    shift = 0.03 * np.random.default_rng(0).standard_normal((10, 1))
    f = forecast(Measured(N, 0.9 - 0.8 * N**-0.6 + shift), 0.8, families=("power",))
    measured = np.flatnonzero(np.isin(f.band["n"], N))
    first, last = f.draws[:, measured[0]], f.draws[:, measured[-1]]
    assert first.std() > 0.006 and (last - first).std() < first.std() / 4


def test_a_small_pool_widens_the_interval_for_new_patients() -> None:
    small, endless = (
        forecast(curve(0.9, 0.8, 0.6, noise=0.03, pool_positives=pool), 0.85).value_at(50)
        for pool in (55, None)
    )
    assert small[2] - small[1] > 1.3 * (endless[2] - endless[1])


def test_the_level_is_that_of_band_and_gain() -> None:
    half, most = (forecast(curve(0.9, 0.8, 0.6, noise=0.02), 0.85, level=level) for level in (0.5, 0.9))
    inner, outer = half.value_at(50), most.value_at(50)
    assert outer[1] < inner[1] < inner[2] < outer[2]
    less, more = next_labels(half), next_labels(most)
    assert less is not None and more is not None
    assert more.low < less.low and less.high < more.high


def test_the_back_test_counts_the_error_of_what_was_observed() -> None:
    n = np.array([5, 10, 15, 20, 30, 50, 100.0])
    base = curve(0.9, 0.8, 0.6, n=n, noise=0.002).values
    spread = np.linspace(-1, 1, 10)[:, None] * (n > 50)
    steady, loose = (back_test(Measured(n, base + s * spread), 0.9).rows[0] for s in (0.0, 0.08))
    assert loose["forecast"] == steady["forecast"]
    error = (base + 0.08 * spread)[:, -1].std(ddof=1) / math.sqrt(10)
    assert loose["forecast"] - loose["low"] > 1.6 * error > steady["forecast"] - steady["low"]


def test_labels_beyond_the_horizon_buy_nothing_that_could_be_said() -> None:
    steep = curve(0.99, 0.9, 0.4, noise=0.002)
    assert next_labels(forecast(steep, 0.95, horizon=1.0)) is None
    assert next_labels(forecast(steep, 0.95, horizon=1.2)) is not None


def test_aicc_is_that_of_burnham_and_anderson() -> None:
    """chi2 + 2k + 2k(k + 1)/(m - k - 1), m single values of known error (Burnham and Anderson 2002)."""
    value = 0.9 - 0.8 * N**-0.6 + np.array([0.01, -0.01, 0.005, 0, -0.004, 0.002])
    for family in ("power", "exponential", "log"):
        found = fit(N, value, np.full(6, 0.01), family=family, plateau=(0.5, 1.0), measurements=60)
        chi2 = float((((found(N) - value) / 0.01) ** 2).sum())
        k = family_of(family).parameters
        assert found.chi2 == pytest.approx(chi2)
        assert found.aicc == pytest.approx(chi2 + 2 * k + 2 * k * (k + 1) / (60 - k - 1))
