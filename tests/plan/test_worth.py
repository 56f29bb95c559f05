"""What labels cost and buy, with the negatives that the curve has beside its positives."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nbinom

from radfoundry.errors import InputError
from radfoundry.plan.forecast import Forecast, forecast
from radfoundry.plan.measured import Measured
from radfoundry.plan.worth import cost, next_labels

N = np.array([5, 10, 15, 20, 30, 50.0])


def steep(negatives: float | None) -> Forecast:
    noise = 0.002 * np.random.default_rng(0).standard_normal((10, len(N)))
    return forecast(Measured(N, 0.99 - 0.9 * N**-0.4 + noise, negatives=negatives), 0.95, draws=100)


@pytest.mark.parametrize(
    ("prevalence", "negatives", "cases", "binds"),
    [
        (0.742, 1, 500 / 0.258, "negatives"),
        (0.742, 5, 2500 / 0.258, "negatives"),
        (0.3, 5, 2500 / 0.7, "negatives"),
        (0.5, 5, 5000, "negatives"),
        (0.1, 5, 5000, "positives"),
        (0.5, 0.1, 1000, "positives"),
    ],
)
def test_the_class_that_is_found_last_decides(
    prevalence: float, negatives: float, cases: float, binds: str
) -> None:
    """500 positives and k negatives for each: n/p or k n/(1 − p), by hand."""
    found = cost(500, prevalence, negatives=negatives, price=2)
    assert found is not None
    assert found.cases == pytest.approx(cases) and found.budget == pytest.approx(2 * cases)
    assert (found.binds, found.negatives) == (binds, 500 * negatives)
    assert json.loads(json.dumps(found.as_dict()))["binds"] == binds


@pytest.mark.parametrize(("prevalence", "negatives"), [(0.742, 1), (0.3, 5), (1 / 6, 5), (0.05, 2)])
def test_limits_are_those_of_finding_both_classes(prevalence: float, negatives: int) -> None:
    found = cost(40, prevalence, negatives=negatives)
    rng = np.random.default_rng(0)
    cases = rng.random((4000, 1800)) < prevalence
    positives = np.cumsum(cases, axis=1)
    both = (positives >= 40) & (np.arange(1, 1801) - positives >= 40 * negatives)
    assert found is not None and both[:, -1].all()
    seen = np.quantile(both.argmax(axis=1) + 1, [0.05, 0.95])
    np.testing.assert_allclose([found.low, found.high], seen, rtol=0.02)


def test_where_the_ratio_is_not_known_positives_alone_count() -> None:
    found = cost(50, 0.9)
    assert found is not None and found.negatives is None and found.binds == "positives"
    assert found.cases == pytest.approx(50 / 0.9)
    limits = 50 + nbinom.ppf([0.05, 0.95], 50, 0.9)
    assert [found.low, found.high] == limits.tolist()


def test_what_is_in_hand_has_its_negatives() -> None:
    found = cost(50, 0.5, negatives=5, have=20)
    assert found is not None and found.further
    assert (found.positives, found.negatives, found.cases) == (30, 150, 300)
    none = cost(20, 0.5, negatives=5, have=20)
    assert none is not None and (none.cases, none.low, none.high) == (0, 0, 0)


def test_a_prevalence_of_one_has_no_negatives_to_find() -> None:
    with pytest.raises(InputError, match="no negative case is ever found"):
        cost(50, 1, negatives=1)
    with pytest.raises(InputError, match="no negative case is ever found"):
        next_labels(steep(5), prevalence=1)
    found = cost(50, 1)
    assert found is not None and found.low == found.cases == found.high == 50


@given(
    n=st.integers(1, 5000),
    p=st.floats(0.001, 0.999),
    k=st.floats(0.01, 50),
    level=st.sampled_from([0.5, 0.9]),
)
def test_negatives_never_make_it_cheaper(n: int, p: float, k: float, level: float) -> None:
    alone, both = cost(n, p, level=level), cost(n, p, negatives=k, level=level)
    assert alone is not None and both is not None
    assert both.low <= both.cases <= both.high
    assert both.cases >= alone.cases and both.high >= alone.high
    assert both.cases == pytest.approx(alone.cases) or both.binds == "negatives"


def test_ten_cases_extend_the_curve_as_far_as_their_negatives_go() -> None:
    common = next_labels(steep(5), prevalence=0.5)
    assert common is not None and common.positives == pytest.approx(1)  # of ten cases five are negative
    assert common.scarce and "as far as their negatives go" in common.sentence
    rare = next_labels(steep(5), prevalence=0.1)
    assert rare is not None and rare.positives == pytest.approx(1) and not rare.scarce
    unknown = next_labels(steep(None), prevalence=0.5)
    assert unknown is not None and unknown.positives == pytest.approx(5) and not unknown.scarce
    each = next_labels(steep(5))
    assert each is not None and each.positives == 10
