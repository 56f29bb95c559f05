"""Charts against textbooks and exact probabilities; calibrated limits against another simulation."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.monitor.case_chart import risk_adjusted_cusum, scores
from radfoundry.monitor.chart import Chart
from radfoundry.monitor.charts import (
    Limits,
    by,
    cusum,
    delay,
    ewma,
    family,
    for_family,
    holm_alarms,
    last_zero,
    p_chart,
)
from radfoundry.monitor.laws import counts, law
from radfoundry.monitor.run_length import (
    WeeklyWalk,
    Weeks,
    at_limit,
    cumulative,
    smoothed,
    smoothing,
    summing,
)
from radfoundry.monitor.series import Baseline, Series, baseline
from tests.monitor.test_series import MONDAY, series

# Montgomery, Introduction to Statistical Quality Control, cans of orange juice: 30 samples of 50.
JUICE = [12, 15, 8, 10, 4, 7, 16, 9, 14, 10, 5, 6, 17, 12, 22, 8, 10, 5, 13, 11, 20, 18,
         24, 15, 9, 12, 7, 13, 9, 6]  # fmt: skip
# The same book, the data of its CUSUM and EWMA examples: mean 10 for 20 samples, then 11; sigma 1.
PISTON = [9.45, 7.99, 9.29, 11.66, 12.16, 10.18, 8.04, 11.46, 9.20, 10.34, 9.03, 11.47, 10.51, 9.40, 10.08,
          9.37, 10.62, 10.31, 8.52, 10.84, 10.90, 9.33, 12.29, 11.50, 10.60, 11.08, 10.38, 11.62, 11.31,
          10.52]  # fmt: skip


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def juice() -> Series:
    return series(np.full(30, 50), np.array(JUICE))


def test_p_chart_of_the_orange_juice_cans() -> None:
    chart = p_chart(juice(), baseline(juice(), 30), limits="normal")
    assert chart.rate == pytest.approx(0.2313, abs=5e-5)
    assert chart.low[0] == pytest.approx(0.0524, abs=5e-5) and chart.high[0] == pytest.approx(
        0.4102, abs=5e-5
    )
    assert (np.flatnonzero(chart.alarm) + 1).tolist() == [15, 23]
    exact = p_chart(juice(), baseline(juice(), 30))
    p = 347 / 1500
    assert exact.high[0] * 50 == stats.binom.isf(0.00135, 50, p)
    assert exact.low[0] * 50 == stats.binom.ppf(0.00135, 50, p)
    # The normal limits were meant for .0027; the binomial knows what they give.
    outside = stats.binom.sf(np.floor(50 * chart.high[0]), 50, p) + stats.binom.cdf(2, 50, p)
    assert chart.arl0 == pytest.approx(1 / outside) and f"{outside:.4g}" in chart.how


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 400), st.floats(0.001, 0.999), st.floats(0.0005, 0.2), st.integers(0, 400))
def test_exact_p_chart_never_alarms_more_than_it_says(n: int, p: float, alpha: float, x: int) -> None:
    x = min(x, n)
    weeks = series([n], [x])
    chart = p_chart(weeks, baseline(weeks, stated=p), alpha=alpha)
    low, high = round(chart.low[0] * n), round(chart.high[0] * n)
    below, above = stats.binom.cdf(low - 1, n, p), stats.binom.sf(high, n, p)
    assert below <= alpha / 2 * (1 + 1e-9) and above <= alpha / 2 * (1 + 1e-9)
    assert chart.false_alarm == pytest.approx(below + above, rel=1e-6, abs=1e-12)
    # One count tighter would be too many.
    assert stats.binom.cdf(low, n, p) > alpha / 2 * (1 - 1e-9)
    assert stats.binom.sf(high - 1, n, p) > alpha / 2 * (1 - 1e-9)
    assert bool(chart.alarm[0]) == (x < low or x > high) == (chart.p_value[0] <= alpha)


def test_stated_false_alarms_of_a_p_chart_are_those_that_happen() -> None:
    n = rng().poisson(30, 60)
    frame = series(n, np.zeros(60, int))
    base = baseline(frame, stated=0.12)
    stated = p_chart(frame, base, alpha=0.05)
    draws = rng(1).binomial(n, 0.12, size=(4_000, 60))
    low, high = stated.low * n, stated.high * n
    alarms = (draws < low - 1e-9) | (draws > high + 1e-9)
    each = alarms.mean()
    assert each == pytest.approx(1 / stated.arl0, abs=4 * np.sqrt(each / alarms.size)) and each < 0.05
    assert alarms.any(axis=1).mean() == pytest.approx(stated.false_alarm, abs=4 * 0.5 / np.sqrt(4_000))


def test_overdispersed_baseline_widens_limits_as_far_as_needed() -> None:
    rho, p = 0.04, 0.15
    n = np.full(400, 80)
    count = rng(2).binomial(n, rng(3).beta(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho, 400))
    weeks = series(n, count)
    plain, aware = p_chart(weeks, baseline(weeks, 400)), p_chart(
        weeks, baseline(weeks, 400, overdispersed=True)
    )  # fmt: skip
    assert any("vary" in note for note in plain.notes) and not any("vary" in note for note in aware.notes)
    assert plain.alarm.mean() > 0.02 > 4 * aware.alarm.mean()
    found = baseline(weeks, 400, overdispersed=True)
    a, b = found.rate * (1 - found.rho) / found.rho, (1 - found.rate) * (1 - found.rho) / found.rho
    assert stats.betabinom.sf(round(aware.high[0] * 80), 80, a, b) <= 0.00135
    laney = p_chart(weeks, baseline(weeks, 400), limits="laney")
    assert laney.high[0] - laney.rate == pytest.approx(
        stats.norm.isf(0.00135) * np.sqrt(laney.rate * (1 - laney.rate) / 80) * found.sigma_z
    )
    assert laney.alarm.mean() < 0.02


def test_ewma_of_the_textbook() -> None:
    x = np.array(PISTON)[:, None] - 10
    mean, spread = (a[:, 0] for a in smoothed(x, np.ones_like(x), 0.1, np.zeros((2, 1))))
    np.testing.assert_allclose(10 + mean[:5], [9.945, 9.7495, 9.7036, 9.8992, 10.1253], atol=6e-5)
    limits = 10 + 2.7 * np.sqrt(spread)
    assert limits[[0, -1]] == pytest.approx([10.27, 10.62], abs=5e-3)
    np.testing.assert_allclose(10 + mean[-2:], [10.6468, 10.6341], atol=6e-5)
    assert (np.flatnonzero(10 + mean > limits) + 1).tolist() == [29, 30]
    closed = 0.1 / 1.9 * (1 - 0.9 ** (2 * np.arange(1, 31)))
    np.testing.assert_allclose(spread, closed)


def test_cusum_of_the_textbook_and_its_change_point() -> None:
    path = cumulative(np.array(PISTON)[:, None] - 10, 0.5, np.zeros(1))[:, 0]
    wanted = [0, 0, 0, 1.16, 2.82, 2.50, 0.04, 1.00, 0, 0, 0, 0.97, 0.98, 0, 0, 0, 0.12, 0, 0, 0.34, 0.74, 0,
              1.79, 2.79, 2.89, 3.47, 3.35, 4.47, 5.28, 5.30]  # fmt: skip
    np.testing.assert_allclose(path, wanted, atol=1e-9)
    start = MONDAY + 7 * np.arange(30)
    first = int(np.flatnonzero(path > 5)[0])
    # The book: the alarm is at 29, seven periods after the last 0, so the shift came between 22 and 23.
    assert first + 1 == 29 and last_zero(path, start)[first] == start[22]


@pytest.mark.parametrize(("side", "h", "arl"), [("both", 4.0, 168), ("both", 5.0, 465), ("up", 4.0, 336)])
def test_run_length_of_the_normal_cusum_is_the_published_one(side: str, h: float, arl: float) -> None:
    # Montgomery after Siegmund and Hawkins; a binomial of a million is normal.
    weeks = series([1_000_000], [0])
    base = baseline(weeks, stated=0.5)
    found = at_limit(WeeklyWalk(Weeks(weeks.n, base, base.p), summing(0.5, side)), h, arl, rng(3), 3_000)  # type: ignore[arg-type]
    assert found.arl0 == pytest.approx(arl, abs=4 * found.se)


def test_run_length_of_the_normal_ewma_is_near_the_published_one() -> None:
    # Lucas and Saccucci (1990): 500 for lambda .2, L 2.962 with constant limits. The exact, at first tighter
    # limits cost a few of them.
    weeks = series([1_000_000], [0])
    base = baseline(weeks, stated=0.5)
    found = at_limit(
        WeeklyWalk(Weeks(weeks.n, base, base.p), smoothing(0.2, "both")), 2.962, 500, rng(4), 3_000
    )
    assert 490 - 4 * found.se < found.arl0 < 500 + 4 * found.se


Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


def runs(step: Step, n: np.ndarray, p: float, rho: float, paths: int) -> np.ndarray:
    """Run lengths by the plainest code: draw a week, step, look."""
    source, lengths, alive, t = rng(99), np.zeros(paths, int), np.ones(paths, bool), 0
    while alive.any():
        t += 1
        m = source.choice(n, size=paths)
        chance = source.beta(p / rho - p, (1 - p) / rho - (1 - p), paths) if rho else p
        alarm = step(m, source.binomial(m, chance))
        lengths[alive & alarm] = t
        alive &= ~alarm
    return lengths


@pytest.mark.parametrize(("kind", "side", "rho"), [
    ("ewma", "up", 0.0), ("ewma", "both", 0.1), ("cusum", "up", 0.1), ("cusum", "both", 0.0),
])  # fmt: skip
def test_calibrated_charts_run_as_long_as_wanted(kind: str, side: str, rho: float) -> None:
    p, arl0, paths = 0.08, 60.0, 3_000
    n = np.append(rng(5).poisson(40, 50), [0, 0])
    weeks = series(n, np.zeros(52, int))
    base = replace(baseline(weeks, stated=p), rho=rho)
    make = ewma if kind == "ewma" else cusum
    chart = make(weeks, base, rng=rng(6), side=side, arl0=arl0)  # type: ignore[operator]
    state = np.zeros((2, paths))

    def step_ewma(m: np.ndarray, x: np.ndarray) -> np.ndarray:
        some = m > 0
        state[0, some] = 0.8 * state[0, some] + 0.2 * (x[some] / m[some] - p)
        state[1, some] = 0.64 * state[1, some] + 0.04 * p * (1 - p) * (1 + (m[some] - 1) * rho) / m[some]
        z = state[0] / np.sqrt(np.maximum(state[1], 1e-12))
        return (np.abs(z) if side == "both" else z) > chart.limit

    def step_cusum(m: np.ndarray, x: np.ndarray) -> np.ndarray:
        some = m > 0
        z = (x[some] - m[some] * p) / np.sqrt(m[some] * p * (1 - p) * (1 + (m[some] - 1) * rho))
        state[0, some] = np.maximum(0, state[0, some] + z - 0.5)
        state[1, some] = np.maximum(0, state[1, some] - z - 0.5)
        return (state.max(axis=0) if side == "both" else state[0]) > chart.limit

    lengths = runs(step_ewma if kind == "ewma" else step_cusum, n, p, rho, paths)
    se = np.hypot(lengths.std() / np.sqrt(paths), chart.arl0_se)
    assert lengths.mean() == pytest.approx(chart.arl0, abs=4 * se)
    assert chart.arl0 == pytest.approx(arl0, abs=4 * chart.arl0_se)
    assert (lengths <= 52).mean() == pytest.approx(chart.false_alarm, abs=0.05)


def test_rare_hits_give_a_longer_run_than_wanted_and_say_so() -> None:
    weeks = series(np.full(40, 5), np.zeros(40, int))
    chart = cusum(weeks, baseline(weeks, stated=0.0005), rng=rng(), arl0=50, paths=1_000)
    assert chart.arl0 == pytest.approx(400, rel=0.15)  # any hit alarms, and 1 week in 400 has one
    with pytest.raises(NotEnoughData, match="cannot alarm"):
        cusum(weeks, baseline(weeks, stated=0.0005), rng=rng(), arl0=50, side="down", delta=2)


def test_empty_weeks_carry_charts_on() -> None:
    n, count = np.array([40, 0, 40, 40]), np.array([8, 0, 13, 2])
    whole, without = series(n, count), series(n[n > 0], count[n > 0])
    for make in (ewma, cusum):
        one = make(whole, baseline(whole, stated=0.1), rng=rng(), limit=3.0, paths=50)  # type: ignore[operator]
        two = make(without, baseline(without, stated=0.1), rng=rng(), limit=3.0, paths=50)  # type: ignore[operator]
        np.testing.assert_allclose(one.value[[0, 2, 3]], two.value)
        assert one.value[1] == one.value[0] and one.n[1] == 0
    week = p_chart(whole, baseline(whole, stated=0.1))
    assert np.isnan([week.value[1], week.low[1], week.high[1], week.p_value[1]]).all() and not week.alarm[1]
    assert week.alarm[2]  # 13 of 40 at .1


def changed(weeks: int = 80, at: int = 50) -> Series:
    """Two strata; from week `at` twice the odds in the first."""
    source = rng(7)
    n = source.poisson([60, 25], (weeks, 2))
    p = np.tile([0.06, 0.2], (weeks, 1))
    p[at:, 0] = 0.12
    return series(n, source.binomial(n, p), ("PA", "portable"))


def test_planted_change_is_found_and_dated() -> None:
    weeks = changed()
    base = baseline(weeks, 40)
    chart = cusum(weeks, base, rng=rng(8), arl0=200, paths=500, name="omissions")
    assert chart.first_alarm is not None and weeks.start[50] <= chart.first_alarm <= weeks.start[56]
    assert chart.change_point is not None
    assert abs((chart.change_point - weeks.start[50]).astype(int)) <= 3 * 7
    assert ewma(weeks, base, rng=rng(8), limit=2.9, paths=50).alarm[50:].any()
    assert "change from" in str(chart) and str(chart).startswith("omissions")
    said = json.loads(json.dumps(chart.summary(), allow_nan=False))
    assert said["alarms"][0] == str(chart.first_alarm) and said["cases"] == weeks.n.sum()
    # Twice the odds in most of the cases shows within some weeks, half of that later.
    at_once, later = (delay(chart, weeks, base, ratio, rng=rng(9), paths=300) for ratio in (2.0, 1.4))
    assert 1 < at_once < 6 < later < chart.arl0


def test_other_mix_alone_alarms_the_crude_rate_only() -> None:
    source = rng(10)
    n = source.poisson(np.where(np.arange(100)[:, None] < 50, [60, 20], [20, 60]))
    weeks = series(n, source.binomial(n, [0.05, 0.25]), ("PA", "portable"))
    crude = cusum(weeks.pooled(), baseline(weeks.pooled(), 50), rng=rng(), limit=5.0, paths=50)
    fair = cusum(weeks, baseline(weeks, 50), rng=rng(), limit=5.0, paths=50)
    assert crude.alarm[60:].all() and not fair.alarm[50:].any()
    standard = p_chart(weeks, baseline(weeks, 50))
    assert p_chart(weeks.pooled(), baseline(weeks.pooled(), 50)).alarm[50:].sum() > 10
    assert standard.alarm[50:].sum() <= 1 and "2 strata" in standard.how


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_standardised_p_chart_alarms_as_often_as_it_says(rho: float) -> None:
    n = np.array([[40, 15, 6], [12, 0, 9], [0, 30, 0]])
    base = Baseline(np.array([0.1, 0.3, 0.5]), np.array([0.6, 0.3, 0.1]), np.zeros(3, int), np.zeros(3, bool),
                    rho=rho)  # fmt: skip
    chart = p_chart(series(n, np.zeros_like(n), ("a", "b", "c")), base, alpha=0.05)
    p: np.ndarray = base.p
    if rho:
        p = rng(11).beta(base.p * (1 - rho) / rho, (1 - base.p) * (1 - rho) / rho, (20_000, 3, 3))
    drawn = base.value(np.tile(n, (20_000, 1)), rng(12).binomial(n, p, (20_000, 3, 3)).reshape(-1, 3))
    alarms = (drawn.reshape(-1, 3) < chart.low - 1e-9) | (drawn.reshape(-1, 3) > chart.high + 1e-9)
    stated = [law(week, base).outside(low, high) for week, low, high in zip(n, chart.low, chart.high)]  # type: ignore[union-attr]
    assert all(0.01 < one <= 0.05 for one in stated)
    np.testing.assert_allclose(alarms.mean(axis=0), stated, atol=4 * np.sqrt(0.05 / 20_000))
    assert chart.arl0 == pytest.approx(3 / sum(stated))


def rare(weeks: int) -> Series:
    """Two strata of few cases, in which most weeks have no hit."""
    n = np.tile([9, 4], (weeks, 1))
    return series(n, rng(15).binomial(n, [0.02, 0.04]), ("PA", "portable"))


@pytest.mark.parametrize("limits", ["exact", "normal"])
@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_weeks_without_a_rare_hit_are_no_false_alarms_of_a_standardised_p_chart(
    limits: Limits, rho: float
) -> None:
    n = np.tile([[9, 4], [0, 5], [12, 0], [15, 8]], (1_000, 1))
    base = Baseline(np.array([0.02, 0.04]), np.array([0.7, 0.3]), np.zeros(2, int), np.zeros(4_000, bool),
                    rho=rho)  # fmt: skip
    p: np.ndarray = np.tile(base.p, (len(n), 1))
    if rho:
        p = rng(16).beta(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho)
    chart = p_chart(series(n, rng(17).binomial(n, p), ("PA", "portable")), base, alpha=0.05, limits=limits)
    happened = chart.alarm.mean()
    assert happened == pytest.approx(1 / chart.arl0, abs=4 * np.sqrt(happened / len(n)))
    assert f"{1 / chart.arl0:.4g} on average" in chart.how
    if limits == "exact":
        assert 0.005 < 1 / chart.arl0 <= 0.05
    assert not (chart.alarm & (chart.count == 0)).any() and (chart.count == 0).mean() > 0.5


def test_were_a_rare_rate_off_false_alarms_are_those_above_the_upper_limit() -> None:
    weeks = rare(30)
    base = baseline(weeks, 30)
    chart = p_chart(weeks, base)
    high = chart.high[0]
    odds = np.array([end / (1 - end) / (base.rate / (1 - base.rate)) for end in base.interval()])[:, None]
    p = odds * base.p / (1 - base.p + odds * base.p)
    hits_pa, hits_portable = np.arange(10), np.arange(5)
    above = base.weight[0] * hits_pa[:, None] / 9 + base.weight[1] * hits_portable / 4 > high
    each = [np.outer(stats.binom.pmf(hits_pa, 9, a), stats.binom.pmf(hits_portable, 4, b)) for a, b in p]
    wanted = [float((chance * above).sum()) for chance in each]
    said = next(note for note in chart.notes if "were it at an end" in note)
    assert chart.low[0] == 0 and 0.001 < max(wanted) < 0.05
    assert float(said.split("up to ")[1].split()[0]) == pytest.approx(max(wanted), rel=0.06)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.floats(0.001, 0.999), st.integers(1, 9)), min_size=2, max_size=3
    ),
    st.sampled_from([0.0, 0.1]),
    st.floats(0.001, 0.3),
)
def test_standardised_p_chart_states_what_all_possible_weeks_add_up_to(
    strata: list[tuple[int, float, int]], rho: float, alpha: float
) -> None:
    n, p, mix = (np.array(column) for column in zip(*strata))
    if not n.any():
        return
    base = Baseline(p, mix / mix.sum(), np.zeros(len(n), int), np.zeros(1, bool), rho=rho)
    found = law(n, base)
    assert found is not None
    stated = found.outside(*found.limits(alpha))
    chance = functools.reduce(np.multiply.outer, [counts(int(a), float(b), rho) for a, b in zip(n, p)])
    week = np.stack(np.unravel_index(np.arange(chance.size), chance.shape), axis=1)
    value = base.value(np.tile(n, (len(week), 1)), week)
    happens = sum(c for c, v in zip(chance.ravel(), value) if found.p_value(v) <= alpha)
    assert happens <= stated + 1e-9 and stated <= alpha + 1e-9
    # The grid may add rates that lie within its slack of a limit, and no others.
    low, high = found.limits(alpha)
    near = (np.abs(value - low) <= 2 * found.off) | (np.abs(value - high) <= 2 * found.off)
    assert stated <= happens + chance.ravel()[near].sum() + 1e-9


def test_sum_of_strata_on_a_grid_is_close_to_the_exact_one() -> None:
    base = Baseline(np.array([0.2, 0.4]), np.array([0.5, 0.5]), np.zeros(2, int), np.zeros(1, bool))
    found = law(np.array([20, 20]), base)
    assert found is not None
    # Equal weights and n: the sum of two binomial counts over 40.
    sums = np.convolve(stats.binom.pmf(np.arange(21), 20, 0.2), stats.binom.pmf(np.arange(21), 20, 0.4))
    for count in (4, 12, 20):
        up, down = sums[count:].sum(), sums[: count + 1].sum()
        assert found.p_value(count / 40) == pytest.approx(min(1, 2 * min(up, down)), rel=1e-6)


def test_notes_tell_what_a_reader_must_know() -> None:
    short = series(np.full(30, 20), rng(12).binomial(20, 0.2, 30))
    chart = p_chart(short, baseline(short, 6))
    assert any("short baseline: 6 weeks" in note for note in chart.notes)
    off = next(note for note in chart.notes if "were it at an end" in note)
    assert float(off.split("up to ")[1].split()[0]) > 0.0027
    walk = cusum(short, baseline(short, 6), rng=rng(), arl0=100, paths=500)
    worst = next(note for note in walk.notes if "as short as" in note)
    assert float(worst.rsplit(" ", 1)[1]) < 50
    assert p_chart(short, baseline(short, stated=0.2)).notes == ()
    new = series([[50, 0], [50, 0], [50, 9]], [[5, 0], [6, 0], [4, 9]], ("old", "new"))
    assert any("9 cases belong to strata" in note for note in p_chart(new, baseline(new, 2)).notes)
    early = p_chart(juice(), baseline(juice(), 30), limits="normal")
    assert any("2 alarms within the baseline" in note for note in early.notes)
    assert early.first_alarm is None  # no alarm after it


def test_strata_are_charted_alone_and_judged_together() -> None:
    weeks = changed()
    third = Series(weeks.start, np.pad(weeks.n, ((0, 0), (0, 1)), constant_values=3),
                   np.pad(weeks.count, ((0, 0), (0, 1))), ("PA", "portable", "rare"))  # fmt: skip
    alpha, arl0 = for_family(3, alpha=0.03, arl0=100)
    assert (alpha, arl0) == (pytest.approx(0.01), 300)
    found = by(third, lambda own: p_chart(own, baseline(own, 40), alpha=alpha))
    assert list(found.charts) == ["PA", "portable"] and "0 hits in 120 cases" in found.left_out["rare"]
    one, two = (chart.false_alarm for chart in found.charts.values())
    assert found.family.independent == pytest.approx(1 - (1 - one) * (1 - two))
    assert found.family.bound == pytest.approx(one + two) and family({}).bound == 0
    corrected = holm_alarms(found.charts, 0.2)
    a, b = (chart.p_value for chart in found.charts.values())
    np.testing.assert_array_equal(corrected["PA"], (a <= 0.1) | ((a <= 0.2) & (b <= 0.1)))
    np.testing.assert_array_equal(corrected["portable"], (b <= 0.1) | ((b <= 0.2) & (a <= 0.1)))
    assert ((a > 0.1) & (a <= 0.2)).any() and corrected["PA"].any()


def test_holm_takes_p_charts_of_the_same_weeks_only() -> None:
    one = p_chart(juice(), baseline(juice(), 30))
    other = p_chart(series([50], [9]), baseline(series([50], [9]), 1))
    with pytest.raises(ValueError, match="same periods"):
        holm_alarms({"a": one, "b": other})
    walk = cusum(juice(), baseline(juice(), 30), rng=rng(), limit=5, paths=20)
    with pytest.raises(ValueError, match="p-values of p-charts"):
        holm_alarms({"a": walk})


def test_both_sides_of_a_cusum() -> None:
    weeks = series(np.full(60, 100), np.concatenate([np.full(40, 20), np.full(20, 8)]))
    base = baseline(weeks, stated=0.2)
    chart = cusum(weeks, base, rng=rng(), side="both", limit=5.0, paths=50)
    assert chart.alarm[42:].all() and not chart.alarm[:40].any()
    assert (chart.value[40:] == 0).all() and (chart.lower[42:] < -5).all() and chart.low[0] == -5
    assert chart.change_point == weeks.start[40]
    down = cusum(weeks, base, rng=rng(), side="down", limit=5.0, paths=50)
    np.testing.assert_array_equal(down.lower, chart.lower)
    assert np.isnan(down.value).all() and np.isnan(down.high).all()
    assert not cusum(weeks, base, rng=rng(), side="up", limit=5.0, paths=50).alarm.any()


def test_same_generator_gives_the_same_chart() -> None:
    one, two = (ewma(juice(), baseline(juice(), 30), rng=rng(5), arl0=50, paths=500) for _ in range(2))
    assert one.limit == two.limit and one.arl0 == two.arl0


def test_risk_adjusted_scores_are_log_likelihood_ratios() -> None:
    risk, ratio = np.array([0.02, 0.3, 0.7]), 2.5
    other = ratio * risk / (1 - risk + ratio * risk)
    wanted = [stats.bernoulli.logpmf(y, other) - stats.bernoulli.logpmf(y, risk) for y in (1, 0)]
    np.testing.assert_allclose(scores(risk, ratio), wanted)


def test_risk_adjusted_cusum_runs_as_long_as_wanted_and_finds_a_change() -> None:
    source = rng(13)
    risk = source.beta(1, 12, 1_500)
    when = np.datetime64("2026-01-05T08:00") + np.arange(1_500) * np.timedelta64(1, "h")
    true = np.where(np.arange(1_500) < 1_000, risk, 3 * risk / (1 + 2 * risk))
    hit = source.random(1_500) < true
    chart = risk_adjusted_cusum(
        when[::-1], hit[::-1], risk[::-1], arl0=20_000, limit=5.0, rng=rng(14), paths=100
    )
    assert chart.first_alarm is not None and chart.change_point is not None
    assert when[1_000] < chart.first_alarm < when[1_250]
    assert abs((chart.change_point - when[1_000]) / np.timedelta64(1, "h")) < 150
    chart = risk_adjusted_cusum(when, hit, risk, arl0=800, rng=rng(14))
    gain, paths = scores(risk, 2.0), 1_000
    lengths, path, alive = np.zeros(paths), np.zeros(paths), np.ones(paths, bool)
    t = 0
    while alive.any():
        t += 1
        case = source.integers(1_500, size=paths)
        path = np.maximum(0, path + np.where(source.random(paths) < risk[case], *gain[:, case]))
        alarm = alive & (path > chart.limit)
        lengths[alarm] = t
        alive &= ~alarm
    se = np.hypot(lengths.std() / np.sqrt(paths), chart.arl0_se)
    assert lengths.mean() == pytest.approx(chart.arl0, abs=4 * se)
    assert chart.arl0 == pytest.approx(800, abs=4 * chart.arl0_se) and chart.unit == "cases"


@pytest.mark.parametrize(("hit", "risk", "error", "words"), [
    ([1, 0], [0.5], InputError, "differ in length: 2, 2, 1"),
    ([1, 0], [0.5, 1.0], InputError, "case 1: risk"),
    ([1, 2], [0.5, 0.5], InputError, "case 1"),
    ([1, 0], [np.nan, 0.5], InputError, "case 0"),
])  # fmt: skip
def test_wrong_cases_are_named(hit: list[int], risk: list[float], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        risk_adjusted_cusum(["2026-01-05", "2026-01-06"], hit, risk, arl0=100, rng=rng())


def test_wrong_settings_are_refused() -> None:
    base = baseline(juice(), 30)
    wrong: list[Callable[[], Chart]] = [
        lambda: p_chart(juice(), base, alpha=0),
        lambda: p_chart(juice(), base, limits="three"),  # type: ignore[arg-type]
        lambda: ewma(juice(), base, rng=rng(), weight=0),
        lambda: ewma(juice(), base, rng=rng(), arl0=1),
        lambda: cusum(juice(), base, rng=rng(), delta=0),
        lambda: risk_adjusted_cusum(["2026-01-05"], [1], [0.5], arl0=9, rng=rng(), odds_ratio=1),
    ]
    for make in wrong:
        with pytest.raises(ValueError, match=r"must|lies between"):
            make()
    with pytest.raises(ValueError, match="not of p"):
        delay(p_chart(juice(), base), juice(), base, 2, rng=rng())
    with pytest.raises(NotEnoughData, match="Laney"):
        p_chart(juice(), baseline(juice(), stated=0.2), limits="laney")
