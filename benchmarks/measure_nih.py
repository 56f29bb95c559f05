"""What frozen encoders know on real chest radiographs: AUC by target, beside everything trivial.

    python benchmarks/measure_nih.py [--out table.csv]

5 x 5-fold cross-validation by patient on the NIH ChestX-ray14 sample, the same folds for every feature set;
the head is ridge regression whose penalty is chosen on the training part. Intervals rest on patients. The
CheXNet probabilities were made by a network trained on other patients of the same collection.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from radfoundry import encoders
from radfoundry.audit import adds_over
from radfoundry.audit.baselines import align, cross_scores, metadata_features
from radfoundry.datasets import nih_cxr
from radfoundry.evaluate.intervals import delong
from radfoundry.splits import kfold

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
    features = {name: _vectors(cohort, name, options.store) for name in (*ENCODERS, *CONTROLS)}
    features["age, sex, view"] = metadata_features(cohort, ["age", "sex", "view"])[0]
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


def _judge(cohort, target: str, features: dict[str, np.ndarray], chexnet: pd.DataFrame) -> list[dict]:
    single = target != "Fibrosis against Atelectasis"
    fibrosis, atelectasis = (cohort.table[f"y:{n}"].to_numpy(int) for n in ("Fibrosis", "Atelectasis"))
    y = cohort.table[f"y:{target}"].to_numpy(int) if single else fibrosis
    rows = np.arange(len(y)) if single else np.flatnonzero(fibrosis != atelectasis)
    y, patient = y[rows], cohort.patients[rows].astype(str)
    folds = kfold(patient, y, repeats=5)
    scores = {
        name: cross_scores(x[rows], y[:, None].astype(float), folds)[:, 0] for name, x in features.items()
    }
    if single:
        scores["CheXNet"] = chexnet[f"p_{target}"].to_numpy(float)[rows]
    else:
        scores["CheXNet"] = (chexnet["p_Fibrosis"] - chexnet["p_Atelectasis"]).to_numpy(float)[rows]
    print(f"\n{target}: {y.sum()} of {len(y)} images")
    out = []
    for name, score in scores.items():
        e = delong(y, score, cluster=patient)
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
