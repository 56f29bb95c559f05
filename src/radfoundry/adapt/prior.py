"""Prior correction: from the class balance of training to the prevalence of deployment.

A head trained on equal numbers of each class gives posteriors for a prevalence of one half. By Bayes'
rule only the prior odds change: logit p' = logit p + log(q/(1-q)) - log(r/(1-r)), where q is the
prevalence in deployment and r the one in training (Saerens et al., Neural Computation 2002).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from radfoundry.errors import InputError


def correct(
    p: np.ndarray,
    prevalence_deploy: float | Sequence[float] | np.ndarray,
    prevalence_train: float | Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Shift posteriors from one prevalence to another; the ranking of binary scores is unchanged.

    p: (n,) probability of the positive class, or (n, k) class probabilities whose rows sum to one.
    prevalence_deploy, prevalence_train: of the positive class for (n,), one a class for (n, k);
    training defaults to balanced classes. InputError: a probability outside [0, 1], or a prevalence
    that is not strictly between 0 and 1.

    >>> correct(np.array([0.5, 0.9]), 0.2).round(3)
    array([0.2  , 0.692])
    """
    p = np.asarray(p, dtype=float)
    if p.ndim not in (1, 2) or not np.isfinite(p).all() or (p < 0).any() or (p > 1).any():
        raise InputError(
            "prior.correct needs probabilities in [0, 1], shape (n,) or (n, k); pass predict_proba"
        )
    if p.ndim == 1:
        deploy, train = _pair(prevalence_deploy, "deploy"), _pair(_default(prevalence_train, 0.5), "train")
        return _reweight(np.column_stack([1 - p, p]), deploy / train)[:, 1]
    k = p.shape[1]
    deploy = _vector(prevalence_deploy, k, "deploy")
    train = _vector(_default(prevalence_train, np.full(k, 1 / k)), k, "train")
    return _reweight(p, deploy / train)


class AtTrainingPrevalence(ClassifierMixin, BaseEstimator):
    """A head trained on balanced draws, whose probabilities are moved back to the training prevalence.

    Without this a balanced head calls every second case positive and cannot be calibrated. Ranking, and
    so the AUC, is unchanged.
    """

    def __init__(self, head: object) -> None:
        self.head = head

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> AtTrainingPrevalence:
        """Fit a copy of the head and remember the share of each class in y."""
        self.head_ = clone(self.head).fit(X, y, groups=groups)
        self.classes_, count = np.unique(y, return_counts=True)
        self.prevalence_ = count / count.sum()
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, k) probabilities at the training prevalence."""
        return correct(self.head_.predict_proba(X), self.prevalence_)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The most probable class of each row."""
        return self.classes_[self.predict_proba(X).argmax(1)]


def _default(value, fallback):
    return fallback if value is None else value


def _reweight(p: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    q = p * ratio
    return q / q.sum(axis=1, keepdims=True)


def _pair(value, which: str) -> np.ndarray:
    if np.ndim(value) != 0 or not 0 < float(value) < 1:
        raise InputError(f"prevalence_{which} must be one number between 0 and 1, not {value!r}")
    return np.array([1 - float(value), float(value)])


def _vector(value, k: int, which: str) -> np.ndarray:
    vector = np.asarray(value, dtype=float)
    if vector.shape != (k,) or (vector <= 0).any() or abs(vector.sum() - 1) > 1e-6:
        raise InputError(f"prevalence_{which} must be {k} positive numbers that sum to 1, not {value!r}")
    return vector / vector.sum()
