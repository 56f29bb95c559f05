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
    assert f.sentence.startswith("Not reached") and "to unbounded" in f.sentence
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
    with pytest.raises(InputError, match="--prevalence"):
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
    ],
)  # fmt: skip
def test_wrong_tables(tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(error, match=match):
        read_curves(tmp_path / "curve.csv")


def test_beyond_the_horizon_names_no_number_to_cost() -> None:
    n = np.array([5, 10, 20, 40, 80.0])
    rng = np.random.default_rng(0)
    values = 0.95 - 0.3 * n**-0.2 + 0.002 * rng.standard_normal((10, 5))
    f = forecast(Measured(n, values), 0.9)
    assert f.verdict == "beyond the horizon" and f.n_at > f.horizon
    assert np.isnan(f.named) and f.as_dict()["n_at"] is None
    assert cost(f.named, 0.1) is None
