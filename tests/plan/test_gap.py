"""Whether one curve is ahead of another: the luck of test patients, subsets and pool all count."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from radfoundry.audit.comparison import adds_over
from radfoundry.errors import InputError
from radfoundry.evaluate.intervals import placements, z_of
from radfoundry.plan.gap import gap
from radfoundry.plan.learning_curve import Plan, measure
from radfoundry.plan.measured import AtTest, Measured, read_curves
from radfoundry.splits import Fold

REPEATS, SIZE, NEGATIVES = 5, 20, 40


def curves(seed: int, *, cross: bool, better: float = 0.0) -> tuple[Measured, Measured]:
    """Two feature sets that know equally much (but for `better`), by the difference of the class means."""
    rng = np.random.default_rng(seed)
    y = (np.arange(240) % 4 == 0).astype(int)
    who = np.arange(240).astype(str)
    if cross:
        dealt = [rng.permutation(240) for _ in range(REPEATS)]
        cuts = [Fold(o[np.arange(240) % 3 != f], np.sort(o[f::3]), r, f)
                for r, o in enumerate(dealt) for f in range(3)]  # fmt: skip
    else:
        order = rng.permutation(240)
        cuts = [Fold(order[:168], np.sort(order[168:]), repeat) for repeat in range(REPEATS)]
    subsets = []
    for cut in cuts:
        mixed = rng.permutation(cut.train)
        subsets.append((mixed[y[mixed] == 1][:SIZE], mixed[y[mixed] == 0][:NEGATIVES]))
    seen = np.unique(np.concatenate([cut.test for cut in cuts]))
    found = []
    for name, effect in (("a", 0.4 + better), ("b", 0.4)):
        X = rng.normal(size=(240, 6)) + effect * y[:, None]
        parts, values = np.zeros((REPEATS, 240)), np.zeros(REPEATS)
        for cut, (positive, negative) in zip(cuts, subsets):
            axis = X[positive].mean(axis=0) - X[negative].mean(axis=0)
            parts[cut.repeat, cut.test] = placements(y[cut.test], X[cut.test] @ axis)
            values[cut.repeat] += parts[cut.repeat, cut.test][y[cut.test] == 1].mean() * REPEATS / len(cuts)
        tested = AtTest(y[seen], who[seen], not cross, components=parts[:, None, seen])
        pool = int(y.sum() if cross else y[order[:168]].sum())
        found.append(Measured(np.array([float(SIZE)]), values[:, None], name=name, pool_positives=pool,
                              tested=tested, test_cases=len(seen)))  # fmt: skip
    return found[0], found[1]


@pytest.mark.parametrize("cross", [False, True])
def test_sets_of_equal_worth_are_rarely_called_ahead(cross: bool) -> None:
    """One-sided 2.5 % is promised; two standard errors over repeats, which share their luck, give 30 %."""
    ahead, behind, over_repeats = 0, 0, 0
    for seed in range(80):
        a, b = curves(seed, cross=cross)
        found = gap(a, b)
        ahead, behind = ahead + (found.low > 0), behind + (found.high < 0)
        each = (a.values - b.values)[:, 0]
        over_repeats += abs(each.mean()) > 2 * each.std(ddof=1) / math.sqrt(REPEATS)
    assert over_repeats > 32
    assert ahead <= 5 and behind <= 5  # more has a probability of .02 at 2.5 %


@pytest.mark.parametrize("cross", [False, True])
def test_a_better_set_is_ahead_and_the_other_behind(cross: bool) -> None:
    a, b = curves(0, cross=cross, better=0.8)
    found, turned = gap(a, b), gap(b, a)
    assert found.low > 0 and turned.high < 0
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    assert found.model == "a minus b" and found.n_clusters == (240 if cross else 72)
    wide = gap(a, b, level=0.99)
    assert wide.low < found.low and wide.high > found.high


def test_equal_repeats_leave_the_paired_delong_error_of_the_audit() -> None:
    rng = np.random.default_rng(4)
    y = (np.arange(120) % 3 == 0).astype(int)
    scores = rng.normal(size=(2, 120)) + y * np.array([[1.2], [0.7]])
    who = np.arange(120).astype(str)
    made = [
        Measured(np.array([9.0]), np.full((4, 1), parts[y == 1].mean()), name=str(i), pool_positives=40,
                 tested=AtTest(y, who, True, components=np.repeat(parts[None, None], 4, axis=0)))
        for i, parts in enumerate(placements(y, s) for s in scores)
    ]  # fmt: skip
    found = gap(made[0], made[1])
    paired = adds_over(scores[1], scores[0], y, who).difference
    assert found.value == pytest.approx(paired.value)
    t = stats.t.ppf(0.975, 39)  # the rarer class has 40 patients
    assert (found.high - found.low) / t == pytest.approx((paired.high - paired.low) / z_of(0.95))


@pytest.mark.parametrize(("metric", "fixed"), [("auroc", True), ("auroc", False), ("auprc", True)])
def test_measured_curves_are_paired_by_subset_and_patient(metric: str, fixed: bool) -> None:
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 2)
    y = (patient % 3 == 0).astype(int)
    X = rng.normal(size=(120, 3)) + 0.6 * y[:, None]
    train, test = (np.flatnonzero(patient < 42), np.flatnonzero(patient >= 42)) if fixed else (None, None)
    plan = Plan((5, 8), negatives=1, repeats=2, folds=2, metric=metric)
    features = {"one": X, "same": X.copy(), "noise": rng.normal(size=(120, 3))}
    one, same, noise = measure(features, y, patient, plan, train=train, test=test, quiet=True)
    found = gap(one, same)
    assert found.value == found.low == found.high == 0
    other = gap(one, noise)
    assert other.low < other.value < other.high and other.n_clusters == (18 if fixed else 60)
    assert ("DeLong" if metric == "auroc" else "bootstrap over test patients") in other.method
    at_five = gap(one.upto(5), noise.upto(5))
    assert at_five.value == pytest.approx((one.values - noise.values)[:, 0].mean()) != other.value


def test_no_test_is_made_where_the_luck_of_test_patients_is_not_known(tmp_path: Path) -> None:
    table = pd.DataFrame({"n": [5, 5, 9, 9] * 2, "repeat": [0, 1] * 4, "name": ["a"] * 4 + ["b"] * 4,
                          "value": [0.6, 0.62, 0.7, 0.71, 0.5, 0.51, 0.52, 0.5]})  # fmt: skip
    table.to_csv(tmp_path / "curves.csv", index=False)
    a, b = read_curves(tmp_path / "curves.csv")
    found = gap(a, b)
    assert found.value == pytest.approx(0.195) and math.isnan(found.low)
    assert found.note is not None and "no test is made" in found.note
    a, b = curves(0, cross=False)
    one, two = (replace(m, tested=of_one_positive_patient(m)) for m in (a, b))
    found = gap(one, two)
    assert math.isnan(found.low) and found.note is not None and "too few test patients" in found.note


def of_one_positive_patient(curve: Measured) -> AtTest:
    assert curve.tested is not None
    return replace(curve.tested, patient=np.where(curve.tested.y == 1, "p", curve.tested.patient))


def test_curves_that_cannot_be_paired_are_refused() -> None:
    a, b = curves(0, cross=False)
    other = curves(1, cross=False)[1]
    with pytest.raises(InputError, match="tested on other patients"):
        gap(a, other)
    with pytest.raises(InputError, match="differ in metric, sizes or repeats"):
        gap(a, replace(b, metric="f1"))
    with pytest.raises(InputError, match="differ in metric, sizes or repeats"):
        gap(a, replace(b, n=b.n + 1))
