"""Logistic regression on covariates, whose encoding is learned from the training rows of each fit."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from radfoundry.adapt.probe import make_head
from radfoundry.audit.covariates import learn


class CovariateHead(ClassifierMixin, BaseEstimator):
    """A head on raw `audit.covariates.Covariates.values`.

    numeric: (k,) whether a column is a number. Fitted: classes_, encoding_ (means, spreads and common levels
    of the rows given to `fit`), head_.
    """

    def __init__(self, numeric: tuple[bool, ...], head: str = "logistic", seed: int = 0) -> None:
        self.numeric = numeric
        self.head = head
        self.seed = seed

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> CovariateHead:
        """X: (n, k) covariates, NaN where a number is missing; y: (n,); groups: (n,) patients."""
        self.encoding_ = learn(X, self.numeric)
        self.head_ = make_head(self.head, seed=self.seed).fit(self.encoding_.apply(X), y, groups=groups)
        self.classes_ = self.head_.classes_
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, classes) probabilities."""
        check_is_fitted(self, "head_")
        return self.head_.predict_proba(self.encoding_.apply(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The most probable class of each row."""
        return self.classes_[self.predict_proba(X).argmax(1)]
