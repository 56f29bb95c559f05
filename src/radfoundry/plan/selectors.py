"""Feature rankings on training cases: the best first, so that every number k of features is a prefix."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_selection import f_classif, mutual_info_classif
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import l1_min_c

L1_FACTOR = 10.0
"""The L1 model is fitted at so many times the smallest C that keeps any feature."""

RFE_SHARE = 0.2
"""Share of the features at hand that recursive elimination drops in each step."""


class Selector(TransformerMixin, BaseEstimator):
    """Keep the k best features of a ranking, or the first k principal components.

    name: see `rank`, `pca` or `none`. k: 0 keeps all. Fitted: columns_ (kept, best first; may be none).
    """

    def __init__(self, name: str = "none", k: int = 0, seed: int = 0) -> None:
        self.name = name
        self.k = k
        self.seed = seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> Selector:
        if self.name == "pca":
            self.pca_ = components(X, self.k)
        elif self.name == "none":
            self.columns_ = np.arange(X.shape[1])
        else:
            self.columns_ = rank(self.name, X, y, most=self.k or X.shape[1], seed=self.seed)[: self.k or None]
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return self.pca_.transform(X) if self.name == "pca" else X[:, self.columns_]


def components(X: np.ndarray, k: int) -> PCA:
    """The first k principal components (0, or more than there are: all)."""
    most = min(X.shape)
    return PCA(min(k, most) or most, svd_solver="full").fit(X)


def rank(name: str, X: np.ndarray, y: np.ndarray, *, most: int, seed: int = 0) -> np.ndarray:
    """Column indices, best first; `l1` leaves out those without weight. most: how many places matter.

    anova: F of the two class means. mutual-information: nearest-neighbour estimate (Ross 2014). mrmr: F over
    the mean absolute correlation with those chosen already (Zhao, Anand & Wang 2019, FCQ). l1: absolute
    weights of an L1-penalised logistic regression. rfe: recursive elimination by the weights of a ridge
    classifier, a fifth at a time (Guyon et al. 2002). forest: impurity importance of extremely randomised
    trees.
    """
    if name == "anova":
        return _order(_f(X, y))
    if name == "mutual-information":
        return _order(mutual_info_classif(X, y, random_state=seed))
    if name == "mrmr":
        return _mrmr(X, y, most)
    if name == "l1":
        model = LogisticRegression(
            l1_ratio=1.0, solver="liblinear", C=L1_FACTOR * l1_min_c(X, y, loss="log"), random_state=seed
        )
        weight = np.abs(model.fit(X, y).coef_[0])
        return _order(weight)[: np.count_nonzero(weight)]
    if name == "rfe":
        return _rfe(X, y)
    if name == "forest":
        trees = ExtraTreesClassifier(300, random_state=seed, n_jobs=1).fit(X, y)
        return _order(trees.feature_importances_)
    raise ValueError(f"no selector {name!r}")


def _order(value: np.ndarray) -> np.ndarray:
    return np.argsort(-np.nan_to_num(value, nan=-np.inf), kind="stable")


def _f(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):  # a feature that is constant within both classes
        return f_classif(X, y)[0]


def _mrmr(X: np.ndarray, y: np.ndarray, most: int) -> np.ndarray:
    n, p = X.shape
    relevance = np.nan_to_num(_f(X, y), nan=0.0, posinf=np.finfo(float).max)
    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0) / np.sqrt(n)
    chosen = [int(np.argmax(relevance))]
    left = np.ones(p, bool)
    left[chosen[0]] = False
    redundancy = np.zeros(p)
    while len(chosen) < min(most, p):
        redundancy += np.abs(Z[:, chosen[-1]] @ Z)
        gain = np.where(left, relevance / np.maximum(redundancy / len(chosen), 1e-3), -np.inf)
        chosen.append(int(np.argmax(gain)))
        left[chosen[-1]] = False
    rest = _order(np.where(left, relevance, -np.inf))
    return np.concatenate([chosen, rest[: p - len(chosen)]]).astype(int)


def _rfe(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    left, dropped = np.arange(X.shape[1]), []
    while len(left) > 1:
        weight = np.abs(RidgeClassifier(alpha=float(len(left))).fit(X[:, left], y).coef_.ravel())
        order = np.argsort(weight, kind="stable")
        go = max(1, int(RFE_SHARE * len(left)))
        dropped.append(left[order[:go]][::-1])
        left = left[np.sort(order[go:])]
    return np.concatenate([left, *dropped[::-1]]).astype(int)
