"""Counts by week and what they are compared with."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.monitor.series import Baseline, Series, baseline, cross, hits, weekly

MONDAY = np.datetime64("2025-01-06")


def series(n: object, count: object, strata: tuple[str, ...] = ("all",)) -> Series:
    n, count = np.asarray(n), np.asarray(count)
    n, count = n.reshape(len(n), -1), count.reshape(len(n), -1)
    return Series(MONDAY + 7 * np.arange(len(n)), n, count, strata)


def test_weeks_are_those_of_iso_and_empty_ones_stay() -> None:
    # 29 December 2025 is the Monday of week 1 of 2026; 4 January its Sunday.
    when = [
        "2026-01-04T23:59:59Z",
        "2025-12-29T00:00:00Z",
        "2025-12-28T23:59:59Z",
        "2026-01-20T12:00:00+00:00",
    ]
    found = weekly(when, [1, 0, 1, 1])
    assert found.start.astype(str).tolist() == [
        "2025-12-22", "2025-12-29", "2026-01-05", "2026-01-12", "2026-01-19"]  # fmt: skip
    assert found.n[:, 0].tolist() == [1, 2, 0, 0, 1] and found.count[:, 0].tolist() == [1, 1, 0, 0, 1]
    assert all(day.isocalendar()[2] == 1 for day in found.start.tolist()) and found.unit == "weeks"


def test_zone_decides_the_day() -> None:
    found = weekly(["2026-01-04T23:30:00Z"], [1], zone="Europe/Zurich")
    assert found.start.tolist() == [date(2026, 1, 5)]
    with pytest.raises(ValueError, match="freq must be one of"):
        weekly(["2026-01-04"], [1], freq="fortnight")


def test_months_and_stated_ends() -> None:
    when = ["2026-01-31", "2026-03-01", "2026-07-01"]
    found = weekly(when, [1, 0, 1], freq="M", first=date(2025, 12, 1), last=date(2026, 4, 30))
    assert found.start.astype("datetime64[M]").astype(str).tolist() == [
        "2025-12", "2026-01", "2026-02", "2026-03", "2026-04"]  # fmt: skip
    assert found.n[:, 0].tolist() == [0, 1, 0, 1, 0] and found.unit == "months"


def test_unknown_results_are_counted_and_left_out() -> None:
    found = weekly(["2026-01-05", "2026-01-06", None], [1, np.nan, 1])
    assert (found.n.sum(), found.unknown) == (1, 2)
    with pytest.raises(NotEnoughData, match="nothing to chart"):
        weekly(["2026-01-05"], [np.nan])


@pytest.mark.parametrize(("when", "hit", "error", "words"), [
    (["next Monday"], [1], InputError, "cannot be read"),
    (["0900-01-01", "2026-01-01"], [1, 1], InputError, "cannot be read"),
    (["1700-01-01", "2250-01-01"], [1, 1], InputError, r"span 28,\d+ weeks, from 1699 to 2249"),
    (["2026-01-05"], [2], ValueError, "0, 1 or NaN"),
])  # fmt: skip
def test_wrong_input_is_explained(when: list[str], hit: list[int], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        weekly(when, hit)


def test_hits_of_each_rate() -> None:
    table = pd.DataFrame({"expected": [1, 1, 0, 0, np.nan, 1], "observed": [1, 0, 0, 1, 1, np.nan]})
    nan = np.nan
    wanted = {
        "omission": [0, 1, nan, nan, nan, nan],
        "invention": [nan, nan, 0, 1, nan, nan],
        "disagreement": [0, 1, 0, 1, nan, nan],
        "positive": [1, 0, 0, 1, 1, nan],
    }
    for rate, values in wanted.items():
        np.testing.assert_array_equal(hits(table, rate), values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="omission, invention"):
        hits(table, "misses")  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from([0, 1]), st.sampled_from("abc")), min_size=1))
def test_no_case_is_lost_or_counted_twice(cases: list[tuple[int, int, str]]) -> None:
    when = [MONDAY + day for day, _, _ in cases]
    hit, strata = [h for _, h, _ in cases], [s for _, _, s in cases]
    split, plain = weekly(when, hit, strata=strata), weekly(when, hit)
    assert split.n.sum() == len(cases) and split.count.sum() == sum(hit)
    np.testing.assert_array_equal(split.pooled().n, plain.n)
    np.testing.assert_array_equal(split.pooled().count, plain.count)
    for i, (name, own) in enumerate(split.by().items()):
        assert name == split.strata[i] and own.count.sum() == sum(h for _, h, s in cases if s == name)
    assert len(plain.start) == (max(d for d, _, _ in cases) // 7 - min(d for d, _, _ in cases) // 7) + 1


def test_strata_of_several_columns() -> None:
    table = pd.DataFrame({"view": ["PA", "AP"], "site": ["n", "s"], "age": [1, 2]})
    assert cross(table, ["view", "site"]).tolist() == ["PA, n", "AP, s"]
    with pytest.raises(InputError, match="lacks scanner"):
        cross(table, ["view", "scanner"])


def test_standardised_rate_by_hand() -> None:
    # Baseline: PA 10 of 100, portable 20 of 50, so the mix is 2/3 to 1/3 and the rate .2.
    weeks = series(
        [[100, 50], [10, 40], [30, 0], [0, 0]], [[10, 20], [2, 10], [6, 0], [0, 0]], ("PA", "port")
    )
    base = baseline(weeks, 1)
    assert base.rate == pytest.approx(0.2) and base.weight.tolist() == pytest.approx([2 / 3, 1 / 3])
    value = base.value(weeks.n, weeks.count)
    # Third week: no portable film, which enters with its .4.
    np.testing.assert_allclose(value, [0.2, 2 / 3 * 0.2 + 1 / 3 * 0.25, 2 / 3 * 0.2 + 1 / 3 * 0.4, np.nan])
    variance = base.variance(weeks.n)
    np.testing.assert_allclose(variance[1], 4 / 9 * 0.09 / 10 + 1 / 9 * 0.24 / 40)
    np.testing.assert_allclose(variance[2], 4 / 9 * 0.09 / 30)
    assert np.isnan(variance[3])


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_standardised_rate_has_the_baseline_mean_under_any_mix(rho: float) -> None:
    rng = np.random.default_rng(0)
    base = Baseline(np.array([0.1, 0.4]), np.array([0.7, 0.3]), np.zeros(2, int), np.ones(1, bool), rho=rho)
    n = np.tile([[5, 45], [50, 0], [3, 3]], (20_000, 1))
    odds = (1 - rho) / rho if rho else 0.0
    p = rng.beta(base.p * odds, (1 - base.p) * odds, n.shape) if rho else base.p
    deviation, variance = base.deviation(n, rng.binomial(n, p))
    for row in range(3):
        own = deviation[row::3]
        assert abs(own.mean()) < 4 * own.std() / np.sqrt(len(own))
        assert own.var() == pytest.approx(variance[row], rel=0.05)


def test_dispersion_index_is_pearsons() -> None:
    n, count = np.array([50, 60, 40, 55]), np.array([5, 12, 2, 9])
    base = baseline(series(n, count), 4)
    # The same as the test of homogeneity of a 2 x 4 table.
    chi2, p, freedom, _ = stats.chi2_contingency([count, n - count], correction=False)
    assert base.index == pytest.approx(chi2 / freedom) and base.index_p == pytest.approx(p)


def test_overdispersion_is_recovered() -> None:
    rng = np.random.default_rng(1)
    rho = 0.05
    found = []
    for _ in range(40):
        n = rng.poisson(60, 100)
        p = rng.beta(0.2 * (1 - rho) / rho, 0.8 * (1 - rho) / rho, 100)
        found.append(baseline(series(n, rng.binomial(n, p)), 100, overdispersed=True).rho)
    assert np.mean(found) == pytest.approx(rho, abs=4 * np.std(found) / np.sqrt(40))
    n = np.full(100, 60)
    assert baseline(series(n, rng.binomial(n, 0.2)), 100, overdispersed=True).rho < 0.02


def test_laneys_sigma_is_the_mean_moving_range() -> None:
    n, count = np.array([50, 60, 0, 40]), np.array([5, 12, 0, 2])
    base = baseline(series(n, count), 4)
    p = 19 / 150
    z = [(c / m - p) / np.sqrt(p * (1 - p) / m) for c, m in ((5, 50), (12, 60), (2, 40))]
    assert base.sigma_z == pytest.approx((abs(z[1] - z[0]) + abs(z[2] - z[1])) / 2 / 1.128)


def test_baseline_is_chosen_by_number_date_or_statement() -> None:
    weeks = series([10, 10, 10], [1, 2, 9])
    assert baseline(weeks, 2).rate == pytest.approx(0.15)
    assert baseline(weeks, until=date(2025, 1, 20)).periods.tolist() == [True, True, False]
    assert baseline(weeks, stated=0.2).stated and not baseline(weeks, 2).stated
    low, high = baseline(weeks, 2).interval()
    assert (low, high) == pytest.approx((0.0321, 0.3789), abs=1e-4)  # R: binom.test(3, 20)$conf.int
    with pytest.raises(ValueError, match="one of periods, until and stated"):
        baseline(weeks, 2, stated=0.1)
    with pytest.raises(NotEnoughData, match="0 hits in 30 cases"):
        baseline(series([10, 20], [0, 0]), 2)
    with pytest.raises(NotEnoughData, match="20 hits in 20 cases"):
        baseline(series([10, 10], [10, 10]), 2)
