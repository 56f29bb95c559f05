"""Reader-and-case bootstrap of 43 readers x 715 cases x 2 modalities: ours against a scikit-learn loop.

Run: python benchmarks/bench_readers.py. Ratings are synthetic (every reader reads every case, which is the
slow case); where the VIPER reads are found (RADFOUNDRY_DATA, else ../shared/data) they are analysed too. The
loop is timed on a few draws and scaled to all of them; the same draws prove that each average AUC is equal.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from radfoundry.evaluate.readers import analyse
from radfoundry.evaluate.readers.bootstrap import weighted_mean
from radfoundry.evaluate.readers.merits import draw_cases, merit_of, values
from radfoundry.evaluate.readers.reads import Reads, arrange

MODALITIES, READERS, CASES, POSITIVES, DRAWS, TIMED = 2, 43, 715, 115, 1000, 3
DEFAULT = Path(__file__).parents[1] / ".." / "shared" / "data"


def synthetic() -> Reads:
    """Ratings of 0 to 100, moderate skill, cases of unlike difficulty."""
    rng = np.random.default_rng(0)
    y = (np.arange(CASES) < POSITIVES).astype(int)
    latent = rng.normal(size=CASES) + rng.normal(size=(MODALITIES, READERS, CASES)) + 1.2 * y
    rating = np.clip(np.round(50 + 15 * latent), 0, 100)
    names = [tuple(f"{kind}{i}" for i in range(size)) for kind, size in zip("mrc", rating.shape)]
    rows = pd.DataFrame({"case_id": names[2], "patient_id": names[2]})
    return Reads(*names, y, rating, np.full(rating.shape, np.nan), rows)


def loop(reads: Reads, cases: np.ndarray, readers: np.ndarray) -> np.ndarray:
    """scikit-learn on resampled reads, (modalities, draws): what one writes by hand."""
    out = np.empty((MODALITIES, cases.shape[1]))
    for d in range(cases.shape[1]):
        pick = np.repeat(np.arange(CASES), cases[:, d].astype(int))
        drawn = np.repeat(np.arange(READERS), readers[:, d].astype(int))
        for i in range(MODALITIES):
            out[i, d] = np.mean([roc_auc_score(reads.y[pick], reads.rating[i, j, pick]) for j in drawn])
    return out


def viper() -> dict:
    """The published reads, not fully crossed, by both methods; empty where they are not found."""
    path = Path(os.environ.get("RADFOUNDRY_DATA", DEFAULT)) / "reader_studies" / "viper_observations.csv.gz"
    if not path.exists():
        return {}
    found = {}
    for method in ("u-statistics", "bootstrap"):
        start = time.perf_counter()
        reads = arrange(pd.read_csv(path), truth="cancerStatus455")
        study = analyse(reads, method=method, n_boot=DRAWS)  # type: ignore[arg-type]
        apart = study.differences[0]
        found[method] = {
            "seconds": round(time.perf_counter() - start, 2),
            "FFDM_minus_SFM": [round(v, 4) for v in (apart.difference, apart.low, apart.high)],
        }
    return {"viper": found}


def main() -> dict:
    reads, rng = synthetic(), np.random.default_rng(1)
    start = time.perf_counter()
    study = analyse(reads, method="bootstrap", n_boot=DRAWS)
    ours = time.perf_counter() - start

    cases = draw_cases(reads, TIMED, rng)
    drawn = rng.integers(READERS, size=(TIMED, READERS))
    readers = np.stack([np.bincount(row, minlength=READERS) for row in drawn], axis=1).astype(float)
    start = time.perf_counter()
    by_loop = loop(reads, cases, readers)
    theirs = (time.perf_counter() - start) / TIMED * DRAWS
    fast = weighted_mean(values(reads, merit_of("auroc"), cases), readers)
    per_draw = float(np.abs(fast - by_loop).max())

    start = time.perf_counter()
    analyse(reads)
    anova = time.perf_counter() - start
    start = time.perf_counter()
    analyse(reads, method="u-statistics")
    u = time.perf_counter() - start
    apart = study.differences[0]
    result = {
        "readers_x_cases_x_modalities": [READERS, CASES, MODALITIES],
        "draws": DRAWS,
        "ours_s": round(ours, 2),
        "sklearn_loop_s_scaled": round(theirs, 1),
        "draws_timed_for_the_loop": TIMED,
        "ratio": round(theirs / ours, 1),
        "largest_difference_of_one_draw": per_draw,
        "difference": [round(v, 4) for v in (apart.difference, apart.low, apart.high)],
        "obuchowski_rockette_s": round(anova, 2),
        "u_statistics_s": round(u, 2),
        **viper(),
    }
    assert per_draw < 1e-9 and ours < 60, result
    return result


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
