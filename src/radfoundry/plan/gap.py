"""Whether one learning curve lies above another that was measured on the same subsets and test patients.

Repeats share their pool and their test patients, so that a t-test over repeats would judge the same luck
again and again, and the more repeats the surer. Here the gap may move with other test patients, other
subsets and another pool.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import stats

from radfoundry.errors import InputError
from radfoundry.evaluate.intervals import auc_covariance
from radfoundry.plan.measured import AtTest, Measured, pool_variance
from radfoundry.types import Estimate

NO_TEST = "no test is made"


def gap(a: Measured, b: Measured, *, level: float = 0.95) -> Estimate:
    """Metric of a minus that of b at the largest size, with its interval over patients.

    The variance is the sum of that over test patients (`_over_test_patients`), that of the paired gaps
    between repeats over their number, and that over pools (`_over_pools`). The interval is Student's t
    with Satterthwaite's degrees of freedom (Biometrics Bulletin 1946;2:110). Its limits are NaN, and the note
    says why, where the luck of the test patients is not known. Raises InputError for curves of another
    metric, other sizes or other test patients.
    """
    _check(a, b)
    gaps = a.values - b.values
    value, repeats = float(gaps[:, -1].mean()), len(gaps)
    found = Estimate(
        f"{a.metric}_difference", value, level=level, n=a.test_cases or 0, target=a.target or None,
        model=f"{a.name} minus {b.name}",
    )  # fmt: skip
    if a.tested is None or b.tested is None:
        return replace(found, note=f"{NO_TEST}: how other test patients would move the curves is not known")
    test, df, how = _over_test_patients(a.tested, b.tested)
    if not math.isfinite(test) or repeats < 2:
        return replace(found, note=f"{NO_TEST}: too few test patients or repeats to tell it from luck")
    train = float(gaps[:, -1].var(ddof=1)) / repeats
    if a.pool_positives:
        train += _over_pools(gaps, a, b)
    parts = [(test, df), (train, repeats - 1)]
    whole = test + train
    freedom = whole**2 / sum(v**2 / d for v, d in parts) if whole > 0 else math.inf
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(whole)
    method, patients = f"{how}, subsets and pool, Student's t", len(np.unique(a.tested.patient))
    return replace(found, low=value - half, high=value + half, method=method, n_clusters=patients)


def _check(a: Measured, b: Measured) -> None:
    if a.metric != b.metric or a.values.shape != b.values.shape or not np.array_equal(a.n, b.n):
        raise InputError(f"{a.label} and {b.label} differ in metric, sizes or repeats. Measure both at once")
    if a.tested is not None and b.tested is not None and not a.tested.same_cases(b.tested):
        raise InputError(f"{a.label} and {b.label} were tested on other patients. Measure both at once")


def _over_test_patients(a: AtTest, b: AtTest) -> tuple[float, float, str]:
    """Variance of the gap at the largest size over test patients, its degrees of freedom, and the method.

    AUC: paired DeLong on components averaged over repeats, by patient where one has several cases. Other
    metrics: the same draws of patients for both curves, those left out in which one of them is not defined.
    NaN where a class has one patient, or most draws are not defined.
    """
    if a.components is not None and b.components is not None:
        variance = float(_delong(a, (a.components - b.components)[:, -1:].mean(axis=0, dtype=float))[0])
        rarer = min(len(np.unique(a.patient[a.y == label])) for label in (0, 1))
        return variance, max(rarer - 1, 1), "paired DeLong over test patients"
    assert a.draws is not None and b.draws is not None  # one of the two ways is kept
    moved = a.draws[:, -1] - b.draws[:, -1]
    whole = moved[np.isfinite(moved)]
    variance = float(whole.var(ddof=1)) if 2 * len(whole) >= len(moved) else math.nan
    return variance, len(whole) - 1, f"paired bootstrap over test patients, {len(whole)} draws"


def _over_pools(gaps: np.ndarray, a: Measured, b: Measured) -> float:
    """Variance of the mean gap at the largest size over pools, gaps (R, S).

    Repeats also differ because each subset suits some of the cases tested better than others: that is no luck
    of the pool, and is in the variance over test patients already. With a fixed test part it is taken off. In
    cross-validation the pool and the test patients are the same people, whose two kinds of luck go together,
    which no term of the sum has; what is left on stands for it.
    """
    between, repeats = gaps.var(axis=0, ddof=1), len(gaps)
    assert a.tested is not None and b.tested is not None and a.pool_positives  # the caller asked
    if a.tested.fixed and a.tested.components is not None and b.tested.components is not None:
        parts = (a.tested.components - b.tested.components).astype(float)
        own = np.mean([_delong(a.tested, part) for part in parts - parts.mean(axis=0)], axis=0)
        between = np.maximum(between - own * repeats / (repeats - 1), 0.0)
    return float(pool_variance(between, a.n, a.pool_positives)[-1])


def _delong(tested: AtTest, components: np.ndarray) -> np.ndarray:
    """(S,) variance of areas, or of differences of them, from their components (S, n)."""
    return np.maximum(np.diag(auc_covariance(tested.y, components, tested.patient)), 0.0)
