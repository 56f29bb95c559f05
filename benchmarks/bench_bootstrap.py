"""Patient-clustered bootstrap of 14 AUCs on 22,433 rows: ours against a scikit-learn loop.

Run: python benchmarks/bench_bootstrap.py. It uses the published NIH predictions where they are found
(RADFOUNDRY_DATA, else ../shared/data), otherwise synthetic scores of the same size. The loop is timed
on a few draws and scaled to all of them; the same few draws also prove that each AUC is equal, and a
longer loop on one label proves that the limits agree within Monte Carlo error.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from radfoundry.evaluate.intervals import bootstrap_auroc
from radfoundry.evaluate.resample import Ranked, codes_of, draw_blocks

DRAWS, TIMED, LONG = 2000, 4, 400
DEFAULT = Path(__file__).parents[1] / ".." / "shared" / "data"


def data() -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """(name, y (n, 14), score (n, 14), patient (n,))"""
    root = Path(os.environ.get("RADFOUNDRY_DATA", DEFAULT))
    path = root / "nih_cxr" / "chexnet_testset_predictions_with_labels.csv.gz"
    if path.exists():
        table = pd.read_csv(path)
        labels = [c[2:] for c in table if c.startswith("y_")]
        y, score = (table[[f"{side}_{name}" for name in labels]].to_numpy(float) for side in "yp")
        return "NIH test set", y, score, table["patient_id"].to_numpy()
    rng = np.random.default_rng(0)
    prevalence = np.geomspace(0.002, 0.18, 14)
    y = (rng.random((22_433, 14)) < prevalence).astype(float)
    return "synthetic", y, rng.normal(y, 1), rng.integers(6_187, size=22_433)


def loop(y: np.ndarray, score: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """scikit-learn on resampled rows, (labels, draws): what one writes by hand."""
    order = np.argsort(codes, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    out = np.empty((y.shape[1], counts.shape[1]))
    for d, times in enumerate(counts.T.astype(int)):
        pick = np.concatenate([rows[p] for p in np.repeat(np.arange(len(times)), times)])
        out[:, d] = [roc_auc_score(y[pick, k], score[pick, k]) for k in range(y.shape[1])]
    return out


def main() -> dict:
    name, y, score, patient = data()
    codes, g = codes_of(patient, len(y))
    start = time.perf_counter()
    found = bootstrap_auroc(y, score, patient, n=DRAWS, rng=np.random.default_rng(0))
    ours = time.perf_counter() - start

    counts = next(draw_blocks(g, TIMED, np.random.default_rng(1)))
    start = time.perf_counter()
    by_loop = loop(y, score, codes, counts)
    theirs = (time.perf_counter() - start) / TIMED * DRAWS
    fast = np.stack([Ranked(y[:, k], score[:, k], codes, g).auroc(counts) for k in range(y.shape[1])])
    per_draw = float(np.abs(fast - by_loop).max())

    many = np.concatenate(list(draw_blocks(g, LONG, np.random.default_rng(2))), axis=1)
    low, high = np.quantile(loop(y[:, :1], score[:, :1], codes, many), [0.025, 0.975])
    limits = max(abs(found[0].low - low), abs(found[0].high - high))
    spread = (
        found[0].high - found[0].low
    ) / 3.92  # a limit from LONG draws errs by about 2.7 SE / sqrt(LONG)
    tolerance = 3 * 2.7 * spread * (1 / LONG + 1 / DRAWS) ** 0.5
    result = {
        "data": name,
        "rows": len(y),
        "labels": y.shape[1],
        "patients": g,
        "draws": DRAWS,
        "ours_s": round(ours, 2),
        "sklearn_loop_s_scaled": round(theirs, 1),
        "draws_timed_for_the_loop": TIMED,
        "ratio": round(theirs / ours, 1),
        "largest_difference_of_one_draw": per_draw,
        "largest_difference_of_a_limit": round(limits, 5),
        "monte_carlo_tolerance": round(tolerance, 5),
    }
    assert per_draw < 1e-9 and limits < tolerance, result
    return result


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
