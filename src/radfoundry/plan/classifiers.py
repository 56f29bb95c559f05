"""Classifiers of a grid, each over its whole path of settings at once, sharing what the settings share.

`paths[name](data)` gives one row of scores a setting. Where there are fewer cases than features the linear
ones work in the span of the training cases, which changes nothing but the time: a ridge-penalised weight
vector lies in that span (representer theorem), kernels and distances need inner products alone.

`plain(name)` gives the same classifier and settings as one scikit-learn estimator and its grid, to hold the
quick way against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_distances
from sklearn.model_selection import ParameterGrid
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from radfoundry.adapt.logistic import STRENGTHS
from radfoundry.adapt.ridge import SMALLEST_EIGENVALUE, logistic_path, principal_axes
from radfoundry.optional import require

Settings = list[dict[str, Any]]

SVM_C = (0.01, 0.1, 1.0, 10.0, 100.0)
SVM_STOP: dict[str, Any] = {"tol": 1e-4, "max_iter": 100_000}
"""On few features with many ties (age alone) a large C keeps libsvm busy for hours without an end."""
RBF_GAMMA = (0.1, 0.3, 1.0)
NEIGHBOURS = (3, 5, 11, 21, 51)


@dataclass(frozen=True, eq=False)
class Data:
    """A: (n, p) training features, y: (n,) 0/1, B: (m, p) to score; weighted: balance the classes."""

    A: np.ndarray
    y: np.ndarray
    B: np.ndarray
    weighted: bool = False
    seed: int = 0

    @property
    def p(self) -> int:
        return self.A.shape[1]

    @property
    def balance(self) -> str | None:
        return "balanced" if self.weighted else None

    @cached_property
    def gram(self) -> tuple[np.ndarray, np.ndarray]:
        """Inner products of the training cases, (n, n), and of cases to score with them, (m, n)."""
        return self.A @ self.A.T, self.B @ self.A.T

    @cached_property
    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """Both, less the training mean, in the principal axes of the training cases (n, r) and (m, r)."""
        if len(self.A) > self.p:
            mean, basis = principal_axes(self.A)
            return (self.A - mean) @ basis, (self.B - mean) @ basis
        inner, cross = self.gram
        mean = inner.mean(axis=0)
        cross = cross - mean - (cross.mean(axis=1) - mean.mean())[:, None]
        inner = inner - mean - (mean - mean.mean())[:, None]
        value, vector = np.linalg.eigh(inner)
        keep = value > SMALLEST_EIGENVALUE * value[-1]
        vector, root = vector[:, keep], np.sqrt(value[keep])
        return vector * root, cross @ (vector / root)


Path = Callable[[Data], np.ndarray]


def settings(name: str, n_train: int) -> Settings:
    """The settings that the inner folds choose from, the order deciding ties."""
    return list(ParameterGrid(_grid(name, n_train)))


def scores(name: str, data: Data, chosen: Settings | None = None) -> np.ndarray:
    """(settings, m) scores, larger for class 1; on any monotone scale.

    chosen: only these settings (default: all). With no feature left every case gets the same score.
    """
    wanted = settings(name, len(data.A)) if chosen is None else chosen
    if data.p == 0:
        return np.zeros((len(wanted), len(data.B)))
    return _PATHS.get(name, _each)(name, data, wanted)


def plain(name: str, n_train: int, *, weighted: bool = False, seed: int = 0) -> tuple[Any, dict[str, list]]:
    """The classifier as one scikit-learn estimator and its grid, converged: the reference of `scores`."""
    estimator, grid = _estimator(name, seed, weighted), _grid(name, n_train)
    if name in ("svm-linear", "svm-rbf"):
        estimator = Pipeline([("scale", FunctionTransformer(_by_root_p)), ("svm", estimator)])
        grid = {f"svm__{key}": values for key, values in grid.items()}
    if name == "lda":
        estimator = Pipeline([("span", PCA(svd_solver="full")), ("lda", estimator)])
    return estimator, grid


def _by_root_p(X: np.ndarray) -> np.ndarray:
    """A kernel of p standardised features grows with p."""
    return X / np.sqrt(X.shape[1])


def _grid(name: str, n_train: int) -> dict[str, list]:
    if name == "logistic":
        return {"C": list(STRENGTHS)}
    if name == "svm-linear":
        return {"C": list(SVM_C)}
    if name == "svm-rbf":
        return {"C": list(SVM_C[1:]), "gamma": list(RBF_GAMMA)}
    if name == "knn":
        return {"n_neighbors": sorted({min(k, n_train) for k in NEIGHBOURS})}
    if name == "forest":
        return {"min_samples_leaf": [1, 5]}
    if name == "xgboost":
        return {"max_depth": [2, 4]}
    if name == "lightgbm":
        return {"num_leaves": [4, 15]}
    if name == "naive-bayes":
        return {"var_smoothing": [1e-9, 1e-2, 1.0]}
    if name == "mlp":
        return {"alpha": [1e-3, 1.0]}
    return {}


def _estimator(name: str, seed: int, weighted: bool) -> Any:
    balance = "balanced" if weighted else None
    if name == "logistic":
        return LogisticRegression(solver="lbfgs", tol=1e-8, max_iter=20_000, class_weight=balance)
    if name in ("svm-linear", "svm-rbf"):
        return SVC(kernel=name.removeprefix("svm-"), class_weight=balance, **SVM_STOP)
    if name == "knn":
        return KNeighborsClassifier(metric="cosine", weights="distance")
    if name == "lda":
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    if name == "naive-bayes":
        return GaussianNB()
    if name == "forest":
        return RandomForestClassifier(300, class_weight=balance, random_state=seed, n_jobs=1)
    if name == "mlp":
        return MLPClassifier((64,), max_iter=100, learning_rate_init=1e-3, random_state=seed)
    sampled = {"n_estimators": 150, "learning_rate": 0.05, "subsample": 0.8, "colsample_bytree": 0.3}
    if name == "xgboost":
        module = require("xgboost", extra="boost")
        return module.XGBClassifier(**sampled, random_state=seed, n_jobs=1, verbosity=0)
    if name == "lightgbm":
        module = require("lightgbm", extra="boost")
        fixed = {"subsample_freq": 1, "min_child_samples": 10, "deterministic": True, "force_row_wise": True}
        return module.LGBMClassifier(**sampled, **fixed, random_state=seed, n_jobs=1, verbosity=-1)
    raise ValueError(f"no classifier {name!r}")


def _each(name: str, data: Data, wanted: Settings) -> np.ndarray:
    """One fit a setting: what cannot be shared."""
    estimator = _estimator(name, data.seed, data.weighted)
    weight = compute_sample_weight("balanced", data.y) if data.weighted else None
    extra = {"sample_weight": weight} if data.weighted and name in ("xgboost", "lightgbm", "mlp") else {}
    found = []
    for setting in wanted:
        fitted = clone(estimator).set_params(**setting).fit(data.A, data.y, **extra)
        found.append(_score(fitted, data.B))
    return np.array(found)


def _score(fitted: Any, B: np.ndarray) -> np.ndarray:
    if isinstance(fitted, GaussianNB):  # its probabilities round to 0 and 1, which would tie the cases
        joint = fitted.predict_joint_log_proba(B)
        return joint[:, 1] - joint[:, 0]
    if hasattr(fitted, "decision_function"):
        return fitted.decision_function(B)
    return fitted.predict_proba(B)[:, 1]


def _logistic(name: str, data: Data, wanted: Settings) -> np.ndarray:
    Z, W = data.span
    weight = compute_sample_weight("balanced", data.y) if data.weighted else None
    theta = logistic_path(Z, data.y, np.array([setting["C"] for setting in wanted]), weight)
    return (W @ theta[:-1] + theta[-1]).T


def _svm(name: str, data: Data, wanted: Settings) -> np.ndarray:
    inner, cross = (kernel / data.p for kernel in data.gram)
    if name == "svm-rbf":
        own = np.diag(inner)
        other = np.einsum("ij,ij->i", data.B, data.B) / data.p
        inner_distance = np.maximum(own[:, None] + own - 2 * inner, 0)
        cross_distance = np.maximum(other[:, None] + own - 2 * cross, 0)
    found = []
    for setting in wanted:
        if name == "svm-rbf":
            train, test = (np.exp(-setting["gamma"] * d) for d in (inner_distance, cross_distance))
        else:
            train, test = inner, cross
        model = SVC(kernel="precomputed", C=setting["C"], class_weight=data.balance, **SVM_STOP)
        model.fit(train, data.y)
        # Its own decision_function copies the whole kernel for libsvm; the sum over support vectors is this.
        found.append(test[:, model.support_] @ model.dual_coef_[0] + model.intercept_[0])
    return np.array(found)


def _knn(name: str, data: Data, wanted: Settings) -> np.ndarray:
    inner, cross = cosine_distances(data.A), cosine_distances(data.B, data.A)
    found = []
    for setting in wanted:
        model = KNeighborsClassifier(metric="precomputed", weights="distance", **setting)
        found.append(model.fit(inner, data.y).predict_proba(cross)[:, 1])
    return np.array(found)


def _lda(name: str, data: Data, wanted: Settings) -> np.ndarray:
    Z, W = data.span
    fitted = _estimator(name, data.seed, data.weighted).fit(Z, data.y)
    return np.repeat(fitted.decision_function(W)[None], len(wanted), axis=0)


_PATHS: Mapping[str, Callable[[str, Data, Settings], np.ndarray]] = {
    "logistic": _logistic, "svm-linear": _svm, "svm-rbf": _svm, "knn": _knn, "lda": _lda,
}  # fmt: skip
