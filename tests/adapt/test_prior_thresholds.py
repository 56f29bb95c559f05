"""Prior correction and thresholds against Bayes' rule and hand-counted tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import f1_score, roc_curve

from radfoundry.adapt import prior
from radfoundry.adapt.thresholds import Threshold, choose
from radfoundry.errors import InputError, NotEnoughData

INNER = st.floats(0.01, 0.99)


def test_correct_is_the_logit_shift_of_the_formula() -> None:
    p, q = np.array([0.2, 0.5, 0.77]), 0.317
    logit = np.log(p / (1 - p)) + np.log(q / (1 - q))
    np.testing.assert_allclose(prior.correct(p, q), 1 / (1 + np.exp(-logit)), rtol=1e-12)


@given(INNER, INNER, INNER)
def test_correct_there_and_back(p: float, q: float, r: float) -> None:
    there = prior.correct(np.array([p]), q, r)
    np.testing.assert_allclose(prior.correct(there, r, q), [p], rtol=1e-9)


def test_correct_matches_two_gaussians() -> None:
    """The exact posterior of N(0,1) against N(1,1) at prevalence .5, moved to .1, is the one at .1."""
    x = np.linspace(-3, 4, 9)
    ratio = np.exp(x - 0.5)  # likelihood ratio of the two densities
    np.testing.assert_allclose(prior.correct(ratio / (1 + ratio), 0.1), 0.1 * ratio / (0.1 * ratio + 0.9))


def test_correct_classes_agrees_with_binary() -> None:
    p = np.array([0.1, 0.6, 1.0, 0.0])
    both = prior.correct(np.column_stack([1 - p, p]), [0.8, 0.2])
    np.testing.assert_allclose(both[:, 1], prior.correct(p, 0.2))
    np.testing.assert_allclose(both.sum(1), 1)


@pytest.mark.parametrize(
    ("p", "q", "word"),
    [([0.5, np.nan], 0.2, "probabilities"), ([1.2], 0.2, "probabilities"), ([0.5], 0.0, "prevalence_deploy"),
     ([0.5], [0.2, 0.8], "one number"), ([[0.5, 0.5]], [0.5, 0.6], "sum to 1")],
)  # fmt: skip
def test_correct_refuses(p, q, word) -> None:
    with pytest.raises(InputError, match=word):
        prior.correct(np.array(p), q)


def test_a_balanced_head_is_moved_back_to_its_training_prevalence() -> None:
    """Ten positives in a hundred without any signal: a balanced head says one half, the moved one a tenth."""
    y = (np.arange(100) < 10).astype(int)
    moved = prior.AtTrainingPrevalence(AlwaysHalf()).fit(np.zeros((100, 2)), y)
    np.testing.assert_allclose(moved.predict_proba(np.zeros((3, 2))), [[0.9, 0.1]] * 3)
    assert moved.predict(np.zeros((3, 2))).tolist() == [0, 0, 0]


class AlwaysHalf(ClassifierMixin, BaseEstimator):
    """What balanced training leaves where the features say nothing."""

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


Y = np.array([0, 0, 0, 0, 1, 0, 1, 1, 0, 1])
S = np.arange(10) / 10


@pytest.mark.parametrize(
    ("rule", "sensitivity", "specificity"),
    # Counted by hand: positives at .4 .6 .7 .9, negatives at 0 .1 .2 .3 .5 .8.
    [("youden", 1.0, 4 / 6), ("sensitivity:0.75", 0.75, 5 / 6), ("sensitivity:1", 1.0, 4 / 6),
     ("specificity:1", 0.25, 1.0), ("specificity:0.8", 0.75, 5 / 6), ("cost:0.2", 0.25, 1.0),
     ("cost:10", 1.0, 4 / 6)],
)  # fmt: skip
def test_rules_by_hand(rule: str, sensitivity: float, specificity: float) -> None:
    found = choose(Y, S, rule)
    assert (found.sensitivity, found.specificity) == pytest.approx((sensitivity, specificity))
    assert (found.n_validation, found.n_positive, found.rule) == (10, 4, rule)
    decided = found.decide(S)
    assert decided[Y == 1].mean() == pytest.approx(sensitivity)
    assert (1 - decided[Y == 0]).mean() == pytest.approx(specificity)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_rules_are_optimal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, 20)]
    score = rng.integers(0, 8, 22) / 7  # many ties
    fpr, tpr, _ = roc_curve(y, score, drop_intermediate=False)
    found = choose(y, score)
    assert found.sensitivity + found.specificity == pytest.approx((tpr - fpr).max() + 1)
    best = max(f1_score(y, score >= t, zero_division=0) for t in np.unique(score))
    assert f1_score(y, choose(y, score, "f1").decide(score)) == pytest.approx(best)


def test_threshold_lies_between_neighbours() -> None:
    low = np.nextafter(0.5, 0)
    assert choose(np.array([0, 1]), np.array([low, 0.5])).decide(np.array([low, 0.5])).tolist() == [0, 1]


def test_threshold_is_plain() -> None:
    record = choose(Y, S).as_dict()
    assert Threshold(**record) == choose(Y, S)


@pytest.mark.parametrize(
    ("y", "s", "rule", "error", "word"),
    [([1, 1], [0.1, 0.2], "youden", NotEnoughData, "both classes"),
     ([0, 1], [0.1, np.nan], "youden", InputError, "score 1"),
     ([0, 2], [0.1, 0.2], "youden", InputError, "0 or 1"),
     ([0, 1], [0.1], "youden", InputError, "one length"),
     ([0, 1], [0.1, 0.2], "best", InputError, "unknown threshold rule"),
     ([0, 1], [0.1, 0.2], "sensitivity:90", InputError, "at most 1"),
     ([0, 1], [0.1, 0.2], "sensitivity:high", InputError, "number")],
)  # fmt: skip
def test_choose_refuses(y, s, rule, error, word) -> None:
    with pytest.raises(error, match=word):
        choose(np.array(y), np.array(s), rule)
