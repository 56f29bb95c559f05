"""Measuring a curve: subsets, splits, metrics, resuming."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
        (Plan(repeats=1), InputError, "2 or more"),
        (Plan(negatives=0), InputError, "more than 0"),
        (Plan(sizes=(1, 5)), InputError, "from 2 on"),
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


def test_features_that_are_not_finite_are_refused() -> None:
    x, y, patient = data()
    x[3, 0] = np.nan
    with pytest.raises(InputError, match="one finite vector a case"):
        measure({"x": x}, y, patient, Plan(negatives=1))


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
