"""One split of the cases: every step of a pipeline is done once and shared by the cells that need it.

A step is fitted on the training cases and applied to the cases to score; nothing of the latter is used. Cells
come in the order of the pipeline, so each step keeps its last result alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    Normalizer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from radfoundry.errors import NotEnoughData
from radfoundry.optional import require
from radfoundry.plan import classifiers, selectors
from radfoundry.plan.classifiers import Data, Settings
from radfoundry.plan.grid import Cell

SMOTE_NEIGHBOURS = 5
LARGEST = float(np.finfo(np.float32).max)
"""Larger numbers do not fit the 32 bits in which trees and tables hold features."""


class Part:
    """train, test: row indices of X (n, p) and y (n,) 0/1; NaN, inf and what 32 bits cannot hold are missing.

    most: the largest number of features that any cell keeps, so that a ranking need not go further.
    """

    def __init__(
        self, X: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, *, most: int, seed: int
    ) -> None:
        self.X, self.y, self.train, self.test, self.most, self.seed = X, y, train, test, most, seed
        self._last: dict[str, tuple[Hashable, Any]] = {}

    def scores(self, cell: Cell, chosen: Settings | None = None) -> np.ndarray:
        """(settings, test cases) scores of a cell's classifier."""
        return classifiers.scores(cell.classifier, self.data(cell), chosen)

    def data(self, cell: Cell) -> Data:
        """What the classifier of a cell gets."""
        key = (cell.normalisation, cell.selector, cell.k, cell.imbalance)
        return self._once("data", key, lambda: self._balanced(cell))

    def _balanced(self, cell: Cell) -> Data:
        A, B = self._selected(cell)
        y = self.y[self.train]
        if cell.imbalance in ("none", "class-weight") or A.shape[1] == 0:
            return Data(A, y, B, cell.imbalance == "class-weight", self.seed)
        A, y = sampler(cell.imbalance, y, self.seed).fit_resample(A, y)
        return Data(A, y, B, False, self.seed)

    def _selected(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        key = (cell.normalisation, cell.selector, cell.k)
        return self._once("selected", key, lambda: self._select(cell))

    def _select(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        A, B = self._normalised(cell.normalisation)
        if cell.selector == "none" or A.shape[1] == 0:
            return A, B
        if cell.selector == "pca":
            a, b = self._once("rotated", cell.normalisation, lambda: _rotate(A, B))
            return a[:, : cell.k or None], b[:, : cell.k or None]
        key = (cell.normalisation, cell.selector)
        order = self._once("order", key, lambda: self._rank(cell, A))
        kept = order[: cell.k or None]
        return A[:, kept], B[:, kept]

    def _rank(self, cell: Cell, A: np.ndarray) -> np.ndarray:
        return selectors.rank(
            cell.selector, A, self.y[self.train], most=min(self.most, A.shape[1]), seed=self.seed
        )

    def _normalised(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._once("normalised", name, lambda: self._normalise(name))

    def _normalise(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        A, B = self._once("filled", (), self._fill)
        if A.shape[1] == 0:
            return A, B
        if name == "z":  # the most usual, in two passes over the data
            mean, spread = A.mean(axis=0), A.std(axis=0)
            return (A - mean) / spread, (B - mean) / spread
        step = normaliser(name, len(A))
        return step.fit_transform(A), step.transform(B)

    def _fill(self) -> tuple[np.ndarray, np.ndarray]:
        """Missing values become training medians; features constant in training carry nothing and go."""
        A, B = self.X[self.train].astype(float, copy=False), self.X[self.test].astype(float, copy=False)
        if not (_usable(A) and _usable(B)):
            A, B = (np.where(np.abs(M) <= LARGEST, M, np.nan) for M in (A, B))
            known = np.isfinite(A).any(axis=0)
            fill = SimpleImputer(strategy="median")
            A, B = fill.fit_transform(A[:, known]), fill.transform(B[:, known])
        varies = np.ptp(A, axis=0) > 0
        return (A, B) if varies.all() else (A[:, varies], B[:, varies])

    def _once(self, step: str, key: Hashable, make: Callable[[], Any]) -> Any:
        held = self._last.get(step)
        if held is None or held[0] != key:
            self._last[step] = held = (key, make())
        return held[1]


def _usable(M: np.ndarray) -> bool:
    """Whether all of M are numbers of a size that can be used; makes no copy, and NaN fails both."""
    return not M.size or bool(M.max() <= LARGEST and M.min() >= -LARGEST)


def _rotate(A: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fitted = selectors.components(A, 0)
    return fitted.transform(A), fitted.transform(B)


def normaliser(name: str, n_train: int) -> Any:
    """The scikit-learn transformer of a normalisation."""
    return {
        "none": FunctionTransformer(),
        "z": StandardScaler(),
        "robust": RobustScaler(),
        "min-max": MinMaxScaler(),
        "quantile": QuantileTransformer(n_quantiles=min(100, n_train), output_distribution="normal"),
        "l2": Normalizer(),
    }[name]


def sampler(name: str, y: np.ndarray, seed: int) -> Any:
    """The imbalanced-learn sampler of a level, which makes the classes equal in number."""
    over = require("imblearn.over_sampling", extra="ablation")
    if name == "over":
        return over.RandomOverSampler(random_state=seed)
    if name == "under":
        return require("imblearn.under_sampling", extra="ablation").RandomUnderSampler(random_state=seed)
    rare = int(min(np.bincount(y.astype(int), minlength=2)))
    if rare < 2:
        raise NotEnoughData("SMOTE draws between cases of the rarer class; it needs two of them in training")
    return over.SMOTE(k_neighbors=min(SMOTE_NEIGHBOURS, rare - 1), random_state=seed)


def plain_pipeline(cell: Cell, n_train: int, *, seed: int = 0) -> tuple[Any, dict[str, list]]:
    """A cell as one pipeline and its grid for GridSearchCV: the plain way, for tests and benchmarks.

    A sampler makes it an imbalanced-learn pipeline. Equal to `Part` where the number of training cases is
    that of the inner folds (quantiles and neighbours depend on it).
    """
    classifier, grid = classifiers.plain(
        cell.classifier, n_train, weighted=cell.imbalance == "class-weight", seed=seed
    )
    steps: list[tuple[str, Any]] = [
        ("fill", SimpleImputer(strategy="median")),
        ("varying", VarianceThreshold()),
        ("normalise", normaliser(cell.normalisation, n_train)),
        ("select", selectors.Selector(cell.selector, cell.k, seed)),
    ]
    make: Any = Pipeline
    if cell.imbalance in ("over", "under", "smote"):
        make = require("imblearn.pipeline", extra="ablation").Pipeline
        steps.append(("balance", sampler(cell.imbalance, np.repeat([0, 1], 1 + SMOTE_NEIGHBOURS), seed)))
    settings = {f"classify__{key}": values for key, values in grid.items()}
    return make([*steps, ("classify", classifier)]), settings
