"""What frozen encoders know on real chest radiographs: AUC by target, beside everything trivial.

    python benchmarks/measure_nih.py [--out table.csv]

5 x 5-fold cross-validation by patient on the NIH ChestX-ray14 sample, the same folds for every feature set;
the head is ridge regression whose penalty is chosen on the training part. An AUC is the mean over repeats,
its interval rests on patients. The CheXNet probabilities were made by a network trained on other patients of
the same collection.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry import encoders
from radfoundry.audit import adds_over, covariates
from radfoundry.audit.baselines import align, cross_scores
from radfoundry.audit.covariates import Covariates
from radfoundry.datasets import nih_cxr
from radfoundry.evaluate.intervals import delong_from, placements
from radfoundry.splits import kfold
from radfoundry.types import Estimate

ENCODERS = ("efficientnet-lite0", "dinov2-s-focus")
CONTROLS = ("random:efficientnet-lite0", "random:dinov2-s-focus", "raw-pixels")
TARGETS = ("Atelectasis", "Effusion", "Cardiomegaly", "Fibrosis", "Fibrosis against Atelectasis")


def main() -> int:
    """Print one line a target and feature set; optionally write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("RADFOUNDRY_DATA", "../shared/data"))
    )
    parser.add_argument("--store", type=Path, default=Path("stores/nih"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cohort = nih_cxr.load(root=options.data / "nih_cxr")
    features: dict[str, np.ndarray | Covariates] = {}
    for name in (*ENCODERS, *CONTROLS):
        features[name] = _vectors(cohort, name, options.store)
    features["age, sex, view"] = covariates.read(cohort.table, ["age", "sex", "view"])
    chexnet = _chexnet(options.data / "nih_cxr", cohort)
    rows = []
    for target in TARGETS:
        rows += _judge(cohort, target, features, chexnet)
    if options.out:
        pd.DataFrame(rows).to_csv(options.out, index=False)
    return 0


def _vectors(cohort, name: str, store: Path) -> np.ndarray:
    result = encoders.embed(cohort, encoders.load(name), store)
    if result.failures:
        print(f"{name}: {len(result.failures)} images failed", file=sys.stderr)
    return align(cohort, result.embeddings)


def _chexnet(folder: Path, cohort) -> pd.DataFrame:
    table = pd.read_csv(folder / "chexnet_testset_predictions_with_labels.csv.gz")
    image = next(c for c in table if table[c].astype(str).str.fullmatch(r"\d{8}_\d{3}\.png").all())
    stem = cohort.table["image"].map(lambda p: Path(str(p)).stem)
    return table.set_index(table[image].str.removesuffix(".png")).reindex(stem)


def mean_auroc(y: np.ndarray, scores: np.ndarray, patient: np.ndarray) -> Estimate:
    """AUC of out-of-fold scores (repeats, n): the mean over repeats, DeLong's interval."""
    return delong_from(y, np.mean([placements(y, s) for s in scores], axis=0), cluster=patient)


def out_of_fold(features: np.ndarray | Covariates, y: np.ndarray, rows: np.ndarray, folds) -> np.ndarray:
    """Scores (repeats, n) of the chosen rows of a feature set."""
    if isinstance(features, Covariates):
        own = replace(features, values=features.values[rows])
        return cross_scores(own, y[:, None].astype(float), folds)[:, :, 0]
    return cross_scores(features[rows], y[:, None].astype(float), folds)[:, :, 0]


def _judge(
    cohort, target: str, features: dict[str, np.ndarray | Covariates], chexnet: pd.DataFrame
) -> list[dict[str, Any]]:
    single = target != "Fibrosis against Atelectasis"
    fibrosis, atelectasis = (cohort.table[f"y:{n}"].to_numpy(int) for n in ("Fibrosis", "Atelectasis"))
    y = cohort.table[f"y:{target}"].to_numpy(int) if single else fibrosis
    rows = np.arange(len(y)) if single else np.flatnonzero(fibrosis != atelectasis)
    y, patient = y[rows], cohort.patients[rows].astype(str)
    folds = kfold(patient, y, repeats=5)
    scores = {name: out_of_fold(x, y, rows, folds) for name, x in features.items()}
    theirs = chexnet[f"p_{target}"] if single else chexnet["p_Fibrosis"] - chexnet["p_Atelectasis"]
    scores["CheXNet"] = theirs.to_numpy(float)[None, rows]
    print(f"\n{target}: {y.sum()} of {len(y)} images")
    out: list[dict[str, Any]] = []
    for name, score in scores.items():
        e = mean_auroc(y, score, patient)
        print(f"  {name:<28} {e.value:.3f} ({e.low:.3f} to {e.high:.3f})")
        found = {"auroc": e.value, "low": e.low, "high": e.high, "n": len(y), "positives": int(y.sum())}
        out.append({"target": target, "features": name, **found})
    best = max(ENCODERS, key=lambda name: next(r["auroc"] for r in out if r["features"] == name))
    for simple in ("age, sex, view", "raw-pixels", f"random:{best}"):
        print(
            "  " + adds_over(scores[simple], scores[best], y, patient, baseline=simple, model=best).sentence
        )
    return out


if __name__ == "__main__":
    raise SystemExit(main())
