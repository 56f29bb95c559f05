"""From logits to honest probabilities: temperature, conformal sets, what is unlike all training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

RULE_ERRORS = 0.02
"""Least rate of error that a rule is taken to have: phantoms are kinder to rules than archives are."""

NETWORK_ERRORS = 0.02
"""Least rate of error of the network, however well it did in calibration."""
UNSEEN_ERRORS = 0.2
"""Its rate of error on scanners that it never saw, while phantoms alone calibrated it: .17, .18 and .23 on
phantoms of Siemens, GE and Philips, each left out of training (benchmarks/measure_series_unseen.py)."""
DESCRIPTION_ODDS = 4.0
"""How many times likelier a label becomes that a description alone says: little, since nobody measured it."""
OWN_SERIES = 30
"""From so many real series in calibration on, their errors are counted instead."""
PRIOR, PRIOR_RIGHT = 5.0, 0.95
"""Verdicts that every label is taken to have had beforehand, and the share of them that was right."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What one way of looking (tags, pixels, both) was found to need, on series kept from training.

    temperature: divides the logits (Guo et al. 2017). threshold: least probability of a label in the
    conformal set. energy: above this, a series is unlike the training data (Liu et al. 2020). n: series.
    """

    temperature: float
    threshold: float
    energy: float
    n: int


def log_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """(n, classes) log-probabilities."""
    return log_softmax(logits / temperature, axis=1)


def energy(logits: np.ndarray, temperature: float) -> np.ndarray:
    """(n,) free energy −T·logsumexp(logits / T): low for what the network knows (Liu et al. 2020)."""
    return -temperature * logsumexp(logits / temperature, axis=1)


def fit(logits: np.ndarray, y: np.ndarray, *, alpha: float = 0.05, unlike: float = 0.01) -> Calibration:
    """Calibration from logits (n, classes) and true indices (n,), of series that trained nothing.

    alpha: share of series whose set may miss the truth. unlike: share of known series that may be called
    unknown. Raises ValueError without series.
    """
    if len(y) == 0:
        raise ValueError("calibration needs series that were kept from training")
    rows = np.arange(len(y))
    found = minimize_scalar(
        lambda log_t: -log_probabilities(logits, float(np.exp(log_t)))[rows, y].mean(),
        bounds=(np.log(0.05), np.log(20.0)), method="bounded",
    )  # fmt: skip
    temperature = float(np.exp(found.x))
    right = np.exp(log_probabilities(logits, temperature))[rows, y]
    return Calibration(
        temperature,
        conformal_threshold(right, alpha),
        float(np.quantile(energy(logits, temperature), 1 - unlike)),
        len(y),
    )


def conformal_threshold(right: np.ndarray, alpha: float) -> float:
    """Least probability of a label in a set that misses the truth in at most a share alpha of cases.

    right: (n,) probability of the true label in calibration series. Split conformal prediction with the
    score 1 − p (Sadinle et al. 2019): the ⌈(n + 1)(1 − alpha)⌉-th smallest score; 0 (every label is in the
    set) when n is too small for that rank.

    >>> conformal_threshold(np.linspace(0.01, 1.0, 100), 0.1)
    0.1
    >>> conformal_threshold(np.array([0.9, 0.8]), 0.1)
    0.0
    """
    scores = np.sort(1.0 - np.asarray(right, float))
    rank = int(np.ceil((len(scores) + 1) * (1 - alpha)))
    return 0.0 if rank > len(scores) else float(round(1.0 - scores[rank - 1], 12))


def sets(p: np.ndarray, threshold: float) -> list[np.ndarray]:
    """Indices of the labels in each series' conformal set, most probable first; never empty."""
    order = np.argsort(-p, axis=1, kind="stable")
    return [row[: max(int((values >= threshold).sum()), 1)] for row, values in zip(order, p)]


def rule_likelihoods(
    said: Sequence[str | None], truth: Sequence[str], labels: Sequence[str]
) -> Mapping[str, np.ndarray]:
    """Rule verdict -> log P(rules say it | label), one value a label, from series kept from training.

    said: what the rules said of each series, None where they abstained. At least a share RULE_ERRORS of each
    label's verdicts is taken to be wrong, spread over the other labels. PRIOR verdicts a label are added to
    those that were counted, PRIOR_RIGHT of them right: rules abstain often, so counts are small.
    """
    index = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)))
    for verdict, label in zip(said, truth):
        if verdict in index and label in index:
            counts[index[label], index[verdict]] += 1
    prior = np.full_like(counts, (1 - PRIOR_RIGHT) / len(labels)) + PRIOR_RIGHT * np.eye(len(labels))
    rates = (counts + PRIOR * prior) / (counts.sum(axis=1, keepdims=True) + PRIOR)
    rates = (1 - RULE_ERRORS) * rates + RULE_ERRORS / len(labels)
    return {label: np.log(rates[:, i]) for label, i in index.items()}


def described_likelihood(label: str, labels: Sequence[str]) -> np.ndarray:
    """log P(a description says the label | label), one value a label, but for a constant."""
    return np.array([np.log(DESCRIPTION_ODDS) if one == label else 0.0 for one in labels])


def network_errors(right: np.ndarray) -> float:
    """Rate of error to reckon with, from verdicts (n,) bool on real series that trained nothing.

    UNSEEN_ERRORS below OWN_SERIES of them; else (errors + 1) / (n + 2), NETWORK_ERRORS at least.

    >>> network_errors(np.ones(98, bool)), network_errors(np.ones(5, bool))
    (0.02, 0.2)
    """
    n = len(right)
    return UNSEEN_ERRORS if n < OWN_SERIES else max(float(n - right.sum() + 1) / (n + 2), NETWORK_ERRORS)


def combine(log_p: np.ndarray, rule: np.ndarray | None, errors: float = NETWORK_ERRORS) -> np.ndarray:
    """Posterior of one series: the network's log-probabilities and the rules' log-likelihoods, by Bayes.

    errors: share of the network's verdicts taken to be wrong, any label then being as likely. The two see the
    same tags, so this counts shared evidence twice: where they contradict each other the caller says unsure,
    whatever the number.
    """
    doubted = np.log((1 - errors) * np.exp(log_p) + errors / len(log_p))
    joint = doubted if rule is None else doubted + rule
    return np.exp(joint - logsumexp(joint))
