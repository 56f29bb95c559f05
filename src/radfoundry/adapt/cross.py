"""Out-of-fold predictions of a head over given folds, as rows of the prediction table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from radfoundry.adapt.probe import inner_splits, make_head
from radfoundry.adapt.thresholds import Threshold, choose
from radfoundry.errors import InputError, NotEnoughData

SMALL = 1000
"""Below so many training rows, matrix threads cost more than they bring (twentyfold on busy cores)."""


THRESHOLD_FOLDS = 3
"""Inner folds whose pooled scores choose the threshold: each costs one more fit of the head."""


class FoldLike(Protocol):
    """What `radfoundry.splits.Fold` offers: row indices, and which repeat and fold they are."""

    @property
    def train(self) -> np.ndarray: ...
    @property
    def test(self) -> np.ndarray: ...
    @property
    def repeat(self) -> int: ...
    @property
    def fold(self) -> int: ...


def cross_predict(
    head: str | Any | Callable[[], Any],
    X: np.ndarray,
    y: np.ndarray,
    folds: Iterable[FoldLike],
    groups: np.ndarray | None = None,
    *,
    target: str = "y",
    model: str | None = None,
    case_id: np.ndarray | None = None,
    covariates: Mapping[str, np.ndarray] | None = None,
    threshold_rule: str | None = None,
    seed: int = 0,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Fit a fresh head on each fold's training rows and score its test rows.

    head: a name for `make_head`, an estimator (cloned) or a function that makes one. X: (n, p);
    y: (n,) labels; groups: (n,) patients (default: every row its own). With two classes `score` is the
    probability of the larger label (in the order of np.unique), and `y_true` is 1 for it; with more there is
    one `score:<class>` a class. threshold_rule (two classes, see `thresholds.choose`) is applied to the
    fold's `validation` rows where it has any, else to inner out-of-fold scores of the training rows, never
    to the test rows; it fills `threshold`, `decision` and `inner_auroc`, the AUC of the scores it was chosen
    on (a pipeline may be selected by it).

    InputError: a patient in two parts of a fold. NotEnoughData: a class is absent from a training part.
    """
    X, y = np.asarray(X), np.asarray(y)
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    names = groups.astype(str) if case_id is None else np.asarray(case_id).astype(str)
    classes = np.unique(y)
    if threshold_rule and len(classes) != 2:
        raise InputError(f"threshold_rule needs two classes, {target} has {len(classes)}; leave it out")
    tables = []
    for fold in folds:
        _check_fold(fold, y, groups, classes)
        held = getattr(fold, "validation", None)
        validation = None if held is None else (X[held], y[held])
        with threadpool_limits(1 if len(fold.train) < SMALL else None):
            fitted, threshold, inner = _fit(head, X[fold.train], y[fold.train], groups[fold.train],
                                            threshold_rule, seed, n_jobs, validation)  # fmt: skip
        truth = y if len(classes) != 2 else (y == classes[1]).astype(int)
        rows = {"case_id": names[fold.test], "patient_id": groups[fold.test].astype(str), "target": target,
                "y_true": truth[fold.test]}  # fmt: skip
        rows |= _scores(fitted.predict_proba(X[fold.test]), classes, threshold)
        rows |= {"model": model or (head if isinstance(head, str) else type(fitted).__name__)}
        rows |= {"split": "test", "repeat": fold.repeat, "fold": fold.fold, "seed": seed}
        rows |= {} if threshold_rule is None else {"inner_auroc": inner}
        rows |= {name: np.asarray(values)[fold.test] for name, values in (covariates or {}).items()}
        tables.append(pd.DataFrame(rows))
    if not tables:
        raise InputError("cross_predict got no folds; make them with radfoundry.splits.kfold")
    return pd.concat(tables, ignore_index=True)


def _check_fold(fold: FoldLike, y: np.ndarray, groups: np.ndarray, classes: np.ndarray) -> None:
    where = f"repeat {fold.repeat}, fold {fold.fold}"
    parts = {"training": fold.train, "validation": getattr(fold, "validation", None), "test": fold.test}
    for (a, one), (b, other) in combinations(((k, v) for k, v in parts.items() if v is not None), 2):
        shared = np.intersect1d(groups[one], groups[other])
        if len(shared):
            raise InputError(f"{len(shared)} patients are in both {a} and {b} of {where}; split by patient")
    absent = np.setdiff1d(classes, y[fold.train])
    if len(absent):
        raise NotEnoughData(f"class {absent[0]} is absent from the training part of {where}; use fewer folds")


def _fit(
    head: str | Any,
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    rule: str | None,
    seed: int,
    n_jobs: int,
    validation: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[Any, Threshold | None, float]:
    """The fitted head, its threshold, and the AUC of the scores that the threshold was chosen on."""

    def fresh() -> Any:
        if isinstance(head, str):
            return make_head(head, seed=seed, n_jobs=n_jobs)
        return head() if not hasattr(head, "fit") or isinstance(head, type) else clone(head)

    fitted = fresh().fit(X, y, groups=groups)
    if rule is None:
        return fitted, None, np.nan
    larger = np.unique(y)[1]
    if validation is not None:
        positive = (validation[1] == larger).astype(int)
        score = fitted.predict_proba(validation[0])[:, 1]
    else:
        positive = (y == larger).astype(int)
        score = _inner_scores(fresh, X, y, groups, inner_splits(positive, groups, THRESHOLD_FOLDS, seed))
    return fitted, choose(positive, score, rule), float(roc_auc_score(positive, score))


def _inner_scores(
    fresh: Callable[[], Any], X: np.ndarray, y: np.ndarray, groups: np.ndarray, splits: Any
) -> np.ndarray:
    if not splits:
        raise NotEnoughData(
            "a threshold needs two patients of each class in training; leave threshold_rule out"
        )
    score = np.empty(len(y))
    for train, test in splits:
        score[test] = fresh().fit(X[train], y[train], groups=groups[train]).predict_proba(X[test])[:, 1]
    return score


def _scores(proba: np.ndarray, classes: np.ndarray, threshold: Threshold | None) -> dict[str, Any]:
    if len(classes) != 2:
        return {f"score:{name}": proba[:, i] for i, name in enumerate(classes)}
    rows: dict[str, Any] = {"score": proba[:, 1]}
    if threshold is not None:
        rows |= {"threshold": threshold.value, "decision": threshold.decide(proba[:, 1])}
    return rows
