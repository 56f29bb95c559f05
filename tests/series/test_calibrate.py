"""Temperature, conformal sets, open set and Bayes: against closed forms and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from radfoundry.series import calibrate

LABELS = ("T1", "T2", "DWI")


def _drawn(n: int, true_temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of which the labels were drawn at `true_temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, 4))
    p = np.exp(log_softmax(logits / true_temperature, axis=1))
    return logits, np.array([rng.choice(4, p=row) for row in p])


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_drew_the_labels_is_found(true_temperature):
    logits, y = _drawn(6000, true_temperature, 0)
    assert calibrate.fit(logits, y).temperature == pytest.approx(true_temperature, rel=0.1)


def test_no_series_is_an_error():
    with pytest.raises(ValueError, match="kept from training"):
        calibrate.fit(np.zeros((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_conformal_sets_miss_as_often_as_they_say(alpha):
    """Sadinle et al. 2019: the miss rate lies between alpha - 1/(n + 1) and alpha, on average over draws."""
    missed = []
    for seed in range(40):
        logits, y = _drawn(600, 1.0, seed)
        fitted = calibrate.fit(logits[:300], y[:300], alpha=alpha)
        p = np.exp(calibrate.log_probabilities(logits[300:], fitted.temperature))
        missed.append(np.mean(p[np.arange(300), y[300:]] < fitted.threshold))
    assert np.mean(missed) == pytest.approx(alpha, abs=0.012)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.01, 0.5))
def test_the_threshold_keeps_enough_of_the_calibration_series(right, alpha):
    threshold = calibrate.conformal_threshold(np.array(right), alpha)
    assert np.mean(np.array(right) >= threshold - 1e-9) >= 1 - alpha - 1e-9


def test_sets_are_ordered_and_never_empty():
    p = np.array([[0.2, 0.7, 0.1], [0.34, 0.33, 0.33]])
    assert [list(s) for s in calibrate.sets(p, 0.15)] == [[1, 0], [0, 1, 2]]
    assert [list(s) for s in calibrate.sets(p, 0.99)] == [[1], [0]]


def test_energy_is_lower_for_what_the_network_knows():
    assert calibrate.energy(np.array([[9.0, 0, 0], [1.0, 1, 1]]), 1.0).argmin() == 0


def test_rules_that_were_right_move_the_posterior_and_those_that_erred_less_so():
    truth = ["T1"] * 40 + ["T2"] * 40 + ["DWI"] * 20
    good = calibrate.rule_likelihoods(truth, truth, LABELS)
    poor = calibrate.rule_likelihoods(["T2" if i % 2 else t for i, t in enumerate(truth)], truth, LABELS)
    prior = np.log([0.6, 0.3, 0.1])
    trusted, doubted = (calibrate.combine(prior, table["T2"])[1] for table in (good, poor))
    assert trusted > 0.95 > doubted > 0.3


def test_a_rule_never_counts_as_certain():
    """With no error in calibration a verdict still errs in RULE_ERRORS of cases, spread over the labels."""
    table = calibrate.rule_likelihoods(["T1"] * 10**6, ["T1"] * 10**6, LABELS)
    other = 1 - calibrate.RULE_ERRORS * (1 - 1 / 3)
    assert np.exp(table["T1"][0]) == pytest.approx(other, abs=1e-5)


def test_without_a_rule_the_posterior_is_the_network_own_less_its_least_error():
    p = np.array([0.5, 0.3, 0.2])
    wanted = (1 - calibrate.NETWORK_ERRORS) * p + calibrate.NETWORK_ERRORS / 3
    np.testing.assert_allclose(calibrate.combine(np.log(p), None), wanted)


def test_a_certain_network_does_not_silence_a_trusted_rule():
    """Both err in two of a hundred: neither wins by far, and nobody is sure."""
    table = calibrate.rule_likelihoods(["T1"] * 10**6, ["T1"] * 10**6, LABELS)
    p = calibrate.combine(np.log([1e-12, 1 - 2e-12, 1e-12]), table["T1"])
    assert p.max() < 0.9
