"""Nested cross-validation of logistic regression on 421 x 4,096 embeddings: GridSearchCV against the engine.

    python benchmarks/bench_ablation.py [--splits 10] [--plain-splits 2]

Real FMCIB vectors where tumorimagingbench is installed, else noise of that shape. Both sides run in this
process with one thread, standardise inside the pipeline and choose C of seven by 5 inner folds; AUCs of the
outer folds must be equal. The plain side is GridSearchCV with a converged LogisticRegression (tol 1e-8); its
default tolerance, which is not converged at n << p, is timed too. Prints ratios a split.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from radfoundry.plan.ablation import inner_folds, run_group
from radfoundry.plan.grid import Cell
from radfoundry.plan.parts import plain_pipeline
from radfoundry.splits import Fold, kfold


def table() -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """(vectors, labels, patients, what they are)."""
    found = importlib.util.find_spec("tumorimagingbench")
    if found is None or not found.submodule_search_locations:
        rng = np.random.default_rng(0)
        y = (rng.random(421) < 0.4).astype(int)
        return rng.normal(size=(421, 4096)).astype(np.float32), y, np.arange(421), "noise"
    file = Path(found.submodule_search_locations[0]) / "evaluation" / "readii_eval" / "original.csv"
    read = pd.read_csv(file)
    X = read.filter(like="pred_").to_numpy(np.float32)
    return X, read["survival"].to_numpy(int), read["PatientID"].to_numpy(), "FMCIB vectors"


def plain(X: np.ndarray, y: np.ndarray, who: np.ndarray, fold: Fold, tol: float) -> tuple[float, float]:
    """(seconds, AUC) of GridSearchCV on one outer split."""
    pipe, grid = plain_pipeline(Cell("x"), len(fold.train))
    pipe.set_params(classify__tol=tol)
    cuts = [(f.train, f.test) for f in inner_folds(y[fold.train], who[fold.train], 5, 0)]
    start = time.perf_counter()
    search = GridSearchCV(pipe, grid, scoring="roc_auc", cv=cuts, refit=False).fit(
        X[fold.train], y[fold.train]
    )
    mean = search.cv_results_["mean_test_score"]
    first = int(np.flatnonzero(mean >= mean.max() - 1e-9)[0])
    best = clone(pipe).set_params(**search.cv_results_["params"][first]).fit(X[fold.train], y[fold.train])
    score = best.decision_function(X[fold.test])
    return time.perf_counter() - start, float(roc_auc_score(y[fold.test], score))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--splits", type=int, default=10, help="outer splits of the engine (50 is the whole job)"
    )
    parser.add_argument("--plain-splits", type=int, default=2, help="outer splits of the plain way")
    asked = parser.parse_args()
    X, y, who, what = table()
    folds = kfold(who, y, n_splits=5, repeats=10)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        run_group(X, y, who, folds[:1], [Cell("x")], 5, 0, 0)  # libraries warm
        start = time.perf_counter()
        ours = []
        for fold in folds[: asked.splits]:
            (made,) = run_group(X, y, who, [fold], [Cell("x")], 5, 0, 0)
            ours.append(float(roc_auc_score(y[made["row"]], made["score"])))
        quick = (time.perf_counter() - start) / asked.splits
        slow = {tol: [plain(X, y, who, f, tol) for f in folds[: asked.plain_splits]] for tol in (1e-8, 1e-4)}
    print(f"{what}, {X.shape[0]} x {X.shape[1]}, one thread, seconds an outer split (36 fits)")
    print(f"engine                      {quick:8.2f}   ({asked.splits} splits; 50 take {50 * quick:.0f} s)")
    for tol, found in slow.items():
        seconds = float(np.mean([t for t, _ in found]))
        gap = max(abs(a - b) for (_, a), b in zip(found, ours))
        print(f"GridSearchCV, tol {tol:g}    {seconds:8.2f}   ratio {seconds / quick:.1f}, ", end="")
        print(f"largest AUC difference {gap:.2g}")
    exact = max(abs(a - b) for (_, a), b in zip(slow[1e-8], ours))
    ratio = float(np.mean([t for t, _ in slow[1e-8]])) / quick
    return 0 if ratio >= 8 and exact < 1e-3 else 1


if __name__ == "__main__":
    raise SystemExit(main())
