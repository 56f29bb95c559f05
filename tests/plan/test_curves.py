"""Families of learning curves: what went in comes out, and another program finds the same minimum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.plan.curves import FAMILIES, Fitted, akaike_weights, fit, solve, stack

N = np.array([5, 10, 15, 20, 30, 50, 75, 100.0])
TRUE = {
    "power": (0.93, 0.8, (0.6,)),
    "exponential": (0.9, 0.3, (25.0,)),
    "log": (0.6, 0.05, ()),
    "ilog2": (0.95, 0.5, ()),
    "mmf": (0.92, 0.4, (18.0, 1.2)),
    "weibull": (0.92, 0.4, (18.0, 0.8)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_free_curve_is_recovered(family: str) -> None:
    a, b, theta = TRUE[family]
    found = fit(N, Fitted(family, a, b, theta, 0, 0)(N), 0.01, family=family)
    assert found.converged
    np.testing.assert_allclose([found.a, found.b, *found.theta], [a, b, *theta], rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.6, 0.99), st.floats(0.1, 1.0), st.floats(0.2, 1.8))
def test_power_law_is_recovered_wherever_it_lies(a: float, b: float, gamma: float) -> None:
    found = fit(N, Fitted("power", a, b, (gamma,), 0, 0)(N), 0.01)
    np.testing.assert_allclose(
        found(np.array([5, 500.0])), Fitted("power", a, b, (gamma,), 0, 0)([5, 500]), atol=1e-6
    )


@pytest.mark.parametrize("seed", range(5))
def test_power_law_agrees_with_scipy(seed: int) -> None:
    """Golden: scipy.optimize.curve_fit (trust region, absolute sigma) from the true parameters."""
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(0.005, 0.02, len(N))
    value = 0.9 - 0.6 * N**-0.7 + sigma * rng.standard_normal(len(N))
    found = fit(N, value, sigma)
    theirs, _ = curve_fit(
        lambda n, a, b, c: a - b * n**-c, N, value, p0=[0.9, 0.6, 0.7], sigma=sigma, absolute_sigma=True,
        bounds=([0.5, 0, 0.02], [1, np.inf, 2]), xtol=1e-12, ftol=1e-12, gtol=1e-12,
    )  # fmt: skip
    chi2 = float((((theirs[0] - theirs[1] * N ** -theirs[2]) - value) ** 2 / sigma**2).sum())
    assert found.chi2 <= chi2 + 1e-6
    np.testing.assert_allclose([found.a, found.b, *found.theta], theirs, rtol=2e-3)


def test_published_closed_form_of_n_at_target() -> None:
    """n@90 = (β / (α − .9))^(1/γ)."""
    curve = Fitted("power", 0.95, 0.8, (0.6,), 0, 0)
    assert curve.n_at(0.9) == pytest.approx((0.8 / 0.05) ** (1 / 0.6))
    assert math.isinf(curve.n_at(0.95)) and math.isinf(Fitted("power", 0.85, 0.8, (0.6,), 0, 0).n_at(0.9))


@pytest.mark.parametrize("family", FAMILIES)
def test_n_at_target_is_where_the_curve_reaches_it_and_rises_with_the_target(family: str) -> None:
    curve = Fitted(family, *TRUE[family][:2], TRUE[family][2], 0, 0)
    targets = np.linspace(float(curve(6)), float(curve(90)), 12)
    n = [curve.n_at(t) for t in targets]
    assert (np.diff(n) > 0).all()
    np.testing.assert_allclose(curve(np.array(n)), targets, rtol=1e-9)


def test_log_curve_has_no_plateau() -> None:
    assert math.isinf(Fitted("log", 0.5, 0.1, (), 0, 0).plateau)
    assert Fitted("log", 0.5, 0.1, (), 0, 0).n_at(0.99) < math.inf


def test_bounds_hold() -> None:
    steep = fit(N, np.linspace(0.6, 1.0, len(N)), 0.01, plateau=(0.5, 1.0))
    assert steep.a <= 1.0 and steep.b >= 0
    falling = fit(N, np.linspace(0.9, 0.6, len(N)), 0.01)
    assert falling.b == pytest.approx(0, abs=1e-9)
    assert fit(N, np.full(len(N), 0.3), 0.01, plateau=(0.5, 1.0)).a == 0.5


def test_linear_part_is_solved_exactly() -> None:
    rng = np.random.default_rng(0)
    w, value = rng.uniform(1, 5, 8), rng.uniform(0.5, 1, (1, 8))
    g = FAMILIES["power"].shape(N, np.array([[0.7]]))
    a, b, sse = solve(g, value, w, (-math.inf, math.inf))
    design = np.stack([np.ones(8), g[0]], axis=1) * np.sqrt(w)[:, None]
    expected, rest, *_ = np.linalg.lstsq(design, value[0] * np.sqrt(w), rcond=None)
    if expected[1] >= 0:
        np.testing.assert_allclose([a[0, 0], b[0, 0], sse[0, 0]], [*expected, rest[0]], rtol=1e-8)
    else:
        assert b[0, 0] == 0


def test_stack_prefers_the_family_that_made_the_curve() -> None:
    made = stack(N, Fitted("exponential", 0.9, 0.3, (25.0,), 0, 0)(N), 0.005, measurements=80)
    assert made.best.family == "exponential" and sum(made.weights) == pytest.approx(1)
    assert akaike_weights([3.0, 5.0])[0] == pytest.approx(1 / (1 + math.exp(-1)))


def test_fit_that_does_not_converge_is_said_to_and_has_no_weight() -> None:
    rng = np.random.default_rng(1)
    value = 0.9 - 0.6 * N**-0.7 + 0.01 * rng.standard_normal(len(N))
    assert not fit(N, value, 0.01, max_steps=1).converged
    mixed = stack(N, value, 0.01, families=("power", "log"), max_steps=1)
    assert mixed.weights == (0.0, 1.0)
    with pytest.raises(NotEnoughData, match="no curve family converged"):
        stack(N, value, 0.01, families=("power", "weibull"), max_steps=1)


def test_bad_input() -> None:
    with pytest.raises(NotEnoughData, match="3 parameters and was measured at 2 sizes"):
        fit(N[:2], np.array([0.6, 0.7]))
    with pytest.raises(InputError, match="finite"):
        fit(N, np.full(len(N), np.nan))
    with pytest.raises(InputError, match="all different"):
        fit(np.array([5, 5, 10.0]), np.array([0.5, 0.6, 0.7]))
    with pytest.raises(InputError, match="Did you mean 'power'"):
        fit(N, N / 200, family="powr")
