"""Heads on frozen embeddings: one scikit-learn estimator by name, tuned on its own training data.

    head = make_head("logistic").fit(X, y, groups=patient)
    head.predict_proba(X_new)

Hyper-parameters are chosen by an inner cross-validation of the rows given to `fit`, stratified by class
and grouped by patient; the rows of a test fold are never seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted

from radfoundry.adapt.checks import check_training_data, check_vectors
from radfoundry.adapt.logistic import LogisticPath, Splits
from radfoundry.errors import NotEnoughData
from radfoundry.optional import require
from radfoundry.registry import Registry

HEADS: Registry[type[BaseEstimator] | str] = Registry("head", "radfoundry.heads")
for _name in ("logistic", "svm-linear", "svm-rbf", "knn", "xgboost", "lightgbm", "mlp"):
    HEADS.add(_name, _name)


def make_head(name: str, *, seed: int = 0, n_jobs: int = 1, **options: Any) -> Any:
    """An unfitted head with fit(X, y, groups=None) and predict_proba(X).

    name: logistic, svm-linear, svm-rbf, knn, xgboost, lightgbm, mlp, or a plug-in of the entry-point
    group `radfoundry.heads` (a class taking seed and n_jobs). options go to the class: `inner_folds`
    for Head, the settings of BalancedEpochMLP for mlp. UnknownName, or MissingExtra for a head whose
    library is absent.

    >>> X = np.array([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
    >>> make_head("logistic").fit(X, np.array([0, 0, 1, 1])).predict(X)
    array([0, 0, 1, 1])
    """
    found = HEADS.get(name)
    if not isinstance(found, str):
        return found(seed=seed, n_jobs=n_jobs, **options)
    if name == "mlp":
        from radfoundry.adapt.mlp import BalancedEpochMLP

        require("torch", extra="torch")
        return BalancedEpochMLP(seed=seed, **options)
    if name in ("xgboost", "lightgbm"):
        require(name, extra="boost")
    return Head(name, seed=seed, n_jobs=n_jobs, **options)


class Head(ClassifierMixin, BaseEstimator):
    """Standardisation and a classifier, tuned by patient-grouped inner folds.

    Fitted: classes_ (k,), model_ (the fitted pipeline; works on class codes 0..k-1), chosen_ (the
    hyper-parameters), inner_folds_ (how many inner folds there were; 0: too few patients of a class,
    so that the middle of the grid was taken untested).

    The SVMs give probabilities by Platt's sigmoid on inner out-of-fold decisions. Where an SVM knows
    nothing the sigmoid may come out reversed; an AUC well below one half on few cases means just that.
    """

    def __init__(self, name: str = "logistic", seed: int = 0, n_jobs: int = 1, inner_folds: int = 5) -> None:
        self.name = name
        self.seed = seed
        self.n_jobs = n_jobs
        self.inner_folds = inner_folds

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Head:
        """X: (n, p) embeddings; y: (n,) labels of two or more classes; groups: (n,) patients."""
        X, y = check_training_data(X, y, groups)
        self.classes_, code = np.unique(y, return_inverse=True)
        splits = inner_splits(code, groups, self.inner_folds, self.seed)
        self.inner_folds_ = len(splits)
        if self.name == "logistic":
            self.model_ = _pipeline(LogisticPath()).fit(X, code, classifier__splits=splits)
            self.chosen_ = {"C": self.model_[-1].C_}
        else:
            self.model_, self.chosen_ = self._search(X, code, splits)
        self.n_features_in_ = X.shape[1]
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, k) probabilities in the order of classes_."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.predict_proba(check_vectors(X, self.n_features_in_)), dtype=float)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The most probable class of each row."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    def _search(self, X: np.ndarray, code: np.ndarray, splits: Splits) -> tuple[Any, dict[str, Any]]:
        smallest = min((len(train) for train, _ in splits), default=len(X))
        classifier, grid = _candidates(self.name, X.shape[1], smallest, self.seed, self.n_jobs)
        pipe = _pipeline(classifier)
        svm = isinstance(classifier, SVC)
        if svm and not splits:
            raise NotEnoughData(
                f"{self.name} needs at least two patients of every class to give probabilities; "
                "use more cases, or the logistic head"
            )
        chosen = {name: values[len(values) // 2] for name, values in grid.items()}
        if splits and max(map(len, grid.values())) > 1:
            scoring = (
                "roc_auc" if len(self.classes_) == 2 else ("balanced_accuracy" if svm else "roc_auc_ovr")
            )
            where = {f"classifier__{name}": values for name, values in grid.items()}
            search = GridSearchCV(pipe, where, scoring=scoring, cv=splits, refit=False, n_jobs=self.n_jobs)
            best = search.fit(X, code).best_params_
            chosen = {name.removeprefix("classifier__"): value for name, value in best.items()}
        pipe[-1].set_params(**chosen)
        if svm:
            return CalibratedClassifierCV(pipe, method="sigmoid", cv=splits, ensemble=False).fit(
                X, code
            ), chosen
        return pipe.fit(X, code), chosen


def inner_splits(
    code: np.ndarray, groups: np.ndarray | None, n_splits: int = 5, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified, patient-grouped (train, test) indices; every part of every fold's training has all classes.

    Fewer folds where a class has fewer patients; an empty list where no split into two is possible.
    """
    groups = np.arange(len(code)) if groups is None else np.asarray(groups)
    classes = np.unique(code)
    most = min(n_splits, *(len(np.unique(groups[code == c])) for c in classes))
    for k in range(most, 1, -1):
        folds = list(StratifiedGroupKFold(k, shuffle=True, random_state=seed).split(code, code, groups))
        if all(np.isin(classes, code[part]).all() for fold in folds for part in fold):
            return folds
    return []


def _pipeline(classifier: Any) -> Pipeline:
    return Pipeline([("scale", StandardScaler()), ("classifier", classifier)])


def _candidates(name: str, p: int, n_train: int, seed: int, n_jobs: int) -> tuple[Any, dict[str, list]]:
    """The classifier and its grid. A linear kernel of p standardised features grows with p: so does 1/C."""
    if name == "svm-linear":
        return SVC(kernel="linear", random_state=seed), {"C": [c / p for c in (0.01, 0.1, 1, 10, 100)]}
    if name == "svm-rbf":
        return SVC(kernel="rbf", random_state=seed), {
            "C": [0.1, 1, 10, 100],
            "gamma": [0.1 / p, 0.3 / p, 1 / p],
        }
    if name == "knn":
        k = sorted({min(k, n_train) for k in (3, 5, 11, 21, 51)})
        return KNeighborsClassifier(metric="cosine", weights="distance"), {"n_neighbors": k}
    if name == "xgboost":
        xgboost = require("xgboost", extra="boost")
        fixed = {"n_estimators": 150, "learning_rate": 0.05, "subsample": 0.8, "colsample_bytree": 0.3}
        model = xgboost.XGBClassifier(**fixed, random_state=seed, n_jobs=n_jobs, verbosity=0)
        return model, {"max_depth": [2, 4]}
    if name == "lightgbm":
        lightgbm = require("lightgbm", extra="boost")
        fixed = {"n_estimators": 150, "learning_rate": 0.05, "subsample": 0.8, "subsample_freq": 1}
        sampled = {
            "colsample_bytree": 0.3,
            "min_child_samples": 10,
            "deterministic": True,
            "force_row_wise": True,
        }
        model = lightgbm.LGBMClassifier(**fixed, **sampled, random_state=seed, n_jobs=n_jobs, verbosity=-1)
        return model, {"num_leaves": [4, 15]}
    raise ValueError(f"Head does not know {name!r}; use make_head")
