"""Measuring a curve: subsets, splits, metrics, resuming."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from radfoundry.adapt.fits import Fits
from radfoundry.errors import InputError, NotEnoughData, TableError, UnknownName
from radfoundry.evaluate.intervals import delong
from radfoundry.plan import learning_curve
from radfoundry.plan.learning_curve import Plan, early_slope, make_chains, measure, slope_against_final
from radfoundry.plan.measured import Measured


def data(
    n: int = 240, positives: int = 80, p: int = 12, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and patients; two cases a patient, labels mixed within patients."""
    rng = np.random.default_rng(seed)
    y = np.zeros(n, int)
    y[rng.permutation(n)[:positives]] = 1
    x = rng.standard_normal((n, p))
    x[:, :4] += 0.8 * y[:, None]
    return x, y, np.repeat(np.arange(n // 2), 2).astype(str)


def halves(n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n // 2), np.arange(n // 2, n)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 3), st.booleans())
def test_subsets_are_nested_and_no_patient_is_tested(seed: int, k: float, fixed: bool) -> None:
    _, y, patient = data(seed=seed % 7)
    train, test = halves()
    plan = Plan(sizes=(5, 10, 20), negatives=k, repeats=3, folds=3, seed=seed)
    pool = make_chains(y, patient, plan, **({"train": train, "test": test} if fixed else {}))
    assert len(pool.chains) == (3 if fixed else 9)
    for chain in pool.chains:
        before: set[int] = set()
        for n, rows in chain.subsets:
            assert len(set(rows)) == len(rows) and before <= set(rows)
            assert y[rows].sum() == n and (1 - y[rows]).sum() == max(2, round(n * k))
            assert not set(patient[rows]) & set(patient[chain.test])
            before = set(rows)


def test_test_cases_are_the_same_at_every_repeat_of_a_fixed_split() -> None:
    _, y, patient = data()
    train, test = halves()
    pool = make_chains(y, patient, Plan(sizes=(5, 10), negatives=1), train=train, test=test)
    assert all(np.array_equal(c.test, test) for c in pool.chains) and len(pool.chains) == 10
    firsts = {tuple(c.subsets[0][1]) for c in pool.chains}
    assert len(firsts) == 10


def test_every_case_is_tested_once_a_repeat_of_cross_validation() -> None:
    _, y, patient = data()
    pool = make_chains(y, patient, Plan(sizes=(5, 10), negatives=1, repeats=2, folds=4))
    for repeat in range(2):
        tested = np.concatenate([c.test for c in pool.chains if c.repeat == repeat])
        assert np.array_equal(np.sort(tested), np.arange(len(y)))


def test_automatic_sizes_end_where_the_cases_end() -> None:
    _, y, patient = data()
    train, test = halves()
    available = int(y[train].sum())
    pool = make_chains(y, patient, Plan(negatives=1), train=train, test=test)
    assert pool.sizes[:4] == (5, 10, 15, 20) and pool.sizes[-1] <= available and not pool.note
    short = make_chains(y, patient, Plan(negatives=5), train=train, test=test)
    assert short.sizes[-1] * 5 <= (1 - y[train]).sum() and "at 1:5" in short.note


def test_too_few_positives() -> None:
    _, y, patient = data(positives=4)
    with pytest.raises(NotEnoughData, match="too few for the smallest subset of 5 positives"):
        make_chains(y, patient, Plan(folds=2))
    _, y, patient = data(positives=40)
    with pytest.raises(NotEnoughData, match="100 positives was asked for, the training pool gives"):
        make_chains(y, patient, Plan(sizes=(10, 100), negatives=1))
    with pytest.raises(NotEnoughData, match="too few for the smallest subset of 200"):
        make_chains(y, patient, Plan(sizes=(200,), negatives=1))


def test_patient_on_both_sides_is_refused() -> None:
    _, y, patient = data()
    with pytest.raises(TableError, match="this patient is in"):
        make_chains(y, patient, Plan(negatives=1), train=np.arange(121), test=np.arange(121, 240))


def test_test_part_of_one_class_is_refused() -> None:
    _, y, _ = data()
    who = np.arange(240).astype(str)
    with pytest.raises(NotEnoughData, match="one class only"):
        make_chains(
            y,
            who,
            Plan(negatives=1),
            train=np.flatnonzero(y >= 0)[:120],
            test=120 + np.flatnonzero(y[120:] == 0),
        )


@pytest.mark.parametrize(
    ("plan", "error", "match"),
    [
        (Plan(metric="auc"), UnknownName, "no metric 'auc'"),
        (Plan(repeats=1), InputError, "repeats must lie between 2 and 1,000, not 1"),
        (Plan(repeats=10**8), InputError, "repeats must lie between"),
        (Plan(folds=1), InputError, "folds must lie between"),
        (Plan(negatives=0), InputError, "negatives must lie between"),
        (Plan(negatives=float("inf")), InputError, "negatives must lie between .* not inf"),
        (Plan(negatives=float("nan")), InputError, "negatives must lie between .* not nan"),
        (Plan(seed=-1), InputError, "seed must lie between"),
        (Plan(sizes=(1, 5)), InputError, "sizes must lie between 2 and 1,000,000, not 1"),
        (Plan(sizes=(5, 5)), InputError, "different numbers"),
    ],
)  # fmt: skip
def test_wrong_settings(plan: Plan, error: type[Exception], match: str) -> None:
    _, y, patient = data()
    with pytest.raises(error, match=match):
        make_chains(y, patient, plan)


def test_values_are_those_of_a_plain_converged_logistic_regression() -> None:
    """At one size, by scikit-learn alone: the same rows, standardised, the same C, tight tolerance."""
    x, y, patient = data()
    train, test = halves()
    plan = Plan(sizes=(20,), negatives=2, repeats=3)
    (found,) = measure({"x": x}, y, patient, plan, train=train, test=test)
    for chain, value in zip(make_chains(y, patient, plan, train=train, test=test).chains, found.values[:, 0]):
        rows = np.sort(chain.subsets[0][1])
        scaler = StandardScaler().fit(x[rows])
        aucs = [
            roc_auc_score(y[test], LogisticRegression(C=10.0**e, tol=1e-10, max_iter=10000).fit(
                scaler.transform(x[rows]), y[rows]).decision_function(scaler.transform(x[test])))
            for e in range(-5, 2)
        ]  # fmt: skip
        assert min(abs(value - a) for a in aucs) < 1e-3


def test_curve_rises_with_signal_and_stays_at_chance_without() -> None:
    x, y, patient = data(n=400, positives=160)
    noise = np.random.default_rng(5).standard_normal(x.shape)
    plan = Plan(sizes=(5, 20, 80), negatives=1, repeats=5, folds=3)
    signal, nothing = measure({"signal": x, "noise": noise}, y, patient, plan, target="ila")
    assert signal.mean[-1] > signal.mean[0] + 0.05 and signal.mean[-1] > 0.8
    assert abs(nothing.mean[-1] - 0.5) < 0.1
    assert (signal.label, signal.pool_positives, signal.test_cases) == ("ila, signal", 160, 400)


def test_test_error_is_delongs_with_a_fixed_test_part() -> None:
    x, y, patient = data()
    train, test = halves()
    plan = Plan(sizes=(30,), negatives=1, repeats=2)
    (found,) = measure({"x": x}, y, patient, plan, train=train, test=test)
    chain = make_chains(y, patient, plan, train=train, test=test).chains[0]
    table = learning_curve.score_chain("logistic", x, y, patient, chain.subsets, test, None, 0)
    own = delong(y[test], table["score"].to_numpy(), scale="plain", cluster=patient[test])
    error = float(np.sqrt(found.test_covariance[0, 0]))
    assert error == pytest.approx((own.high - own.low) / 2 / 1.96, rel=0.25)


@pytest.mark.parametrize("metric", ["auprc", "f1", "sens_at_spec90", "balanced_accuracy"])
def test_any_metric(metric: str) -> None:
    x, y, patient = data()
    train, test = halves()
    (found,) = measure({"x": x}, y, patient, Plan(sizes=(10, 30), negatives=1, repeats=2, metric=metric),
                       train=train, test=test)  # fmt: skip
    assert np.isfinite(found.values).all() and found.mean[-1] > found.chance
    assert (np.diag(found.test_covariance) > 0).all()


def test_interrupted_curve_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, patient = data()
    train, test = halves()
    plan = Plan(sizes=(5, 10), negatives=1, repeats=4)
    calls = []
    real = learning_curve.cross_predict

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(learning_curve, "cross_predict", counted)
    with pytest.raises(KeyboardInterrupt):
        measure({"x": x}, y, patient, plan, train=train, test=test, fits=Fits(tmp_path))
    (again,) = measure({"x": x}, y, patient, plan, train=train, test=test, fits=Fits(tmp_path))
    assert len(calls) == 5 + 4  # two of four repeats were kept, of two sizes each
    (fresh,) = measure({"x": x}, y, patient, plan, train=train, test=test)
    np.testing.assert_array_equal(again.values, fresh.values)


def test_missing_values_take_the_median_of_the_training_subset() -> None:
    """The same as scikit-learn's SimpleImputer fitted on each training subset, and then a plain curve."""
    x, y, patient = data()
    train, test = halves()
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    plan = Plan(sizes=(10, 30), negatives=1, repeats=2)
    (found,) = measure({"x": x}, y, patient, plan, train=train, test=test)
    assert "missing or infinite" in found.missing and found.test_cases == 120
    for chain in make_chains(y, patient, plan, train=train, test=test).chains:
        for place, (n, rows) in enumerate(chain.subsets):
            whole = SimpleImputer(strategy="median").fit(np.float32(x[rows])).transform(np.float32(x))
            table = learning_curve.score_chain(
                "logistic", whole, y, patient, [(n, rows)], chain.test, None, plan.seed
            )
            expected = roc_auc_score(y[chain.test][table["row"]], table["score"])
            assert found.values[chain.repeat, place] == pytest.approx(expected, abs=1e-9)


def test_imputing_uses_nothing_of_the_test_cases() -> None:
    x, *_ = data()
    x[::7, 2] = np.nan
    x[:120, 5] = np.nan  # known among the test cases alone
    train, other = np.arange(120), x.copy()
    other[120:] = 1e6
    first, second = learning_curve.imputed(x, train), learning_curve.imputed(other, train)
    np.testing.assert_array_equal(first[:120], second[:120])
    assert np.isfinite(first).all() and (first[:, 5] == 0).all()
    assert first[126, 2] == np.nanmedian(x[:120, 2])


def test_what_is_infinite_or_too_large_for_float32_is_missing_and_what_is_empty_is_left_out() -> None:
    x, y, patient = data()
    plan = Plan(sizes=(10,), negatives=1, repeats=2, folds=2)
    holes, plain = x.copy(), x.copy()
    holes[3, 0], holes[4, 1], holes[5, 2], holes[:, 7] = np.inf, 1e300, np.nan, np.nan
    plain[[3, 4, 5], [0, 1, 2]] = np.nan
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = measure({"x": holes}, y, patient, plan, log=said.append)
    (same,) = measure({"x": np.delete(plain, 7, axis=1)}, y, patient, plan)
    np.testing.assert_array_equal(found.values, same.values)
    assert found.missing in said and "x: 1 of 12 features are empty and were left out" in found.missing
    assert "3 values in 3 cases are missing or infinite" in found.missing


def test_features_without_any_value_and_rows_that_do_not_fit_are_refused() -> None:
    x, y, patient = data()
    with pytest.raises(InputError, match="no feature has a finite value"):
        measure({"x": np.full_like(x, np.nan)}, y, patient, Plan(negatives=1))
    with pytest.raises(InputError, match="one vector a case, not 239 for 240"):
        measure({"x": x[1:]}, y, patient, Plan(negatives=1))


def test_test_error_is_unknown_where_most_draws_of_test_patients_have_one_class() -> None:
    x, y, _ = data()
    who = np.arange(240).astype(str)
    test = np.array([np.flatnonzero(y == 1)[0], np.flatnonzero(y == 0)[0]])
    train = np.setdiff1d(np.arange(240), test)
    plan = Plan(sizes=(5, 10), negatives=1, repeats=2, metric="auprc")
    (found,) = measure({"x": x}, y, who, plan, train=train, test=test)
    assert found.test_covariance is None


def test_one_size_has_a_covariance_too() -> None:
    x, y, patient = data()
    train, test = halves()
    plan = Plan(sizes=(10,), negatives=1, repeats=2, metric="auprc")
    (found,) = measure({"x": x}, y, patient, plan, train=train, test=test)
    assert found.test_covariance is not None and found.test_covariance.shape == (1, 1)


def test_early_slope_and_final_value() -> None:
    n = np.array([5, 10, 20, 40, 80.0])
    curves = [
        Measured(n, np.tile(0.5 + slope * np.log2(n / 5), (3, 1)), name=str(slope))
        for slope in (0.01, 0.03, 0.05, 0.08)
    ]
    assert early_slope(curves[1], until=40) == pytest.approx(0.03)
    found = slope_against_final(curves)
    assert found["rho"] == pytest.approx(1) and found["n"] == 4
    assert slope_against_final(curves[:3])["rho"] is None
