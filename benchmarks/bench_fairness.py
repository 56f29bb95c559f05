"""Fairness of 14 labels by 3 covariates on 22,433 rows: ours against the loop that one writes by hand.

Run: python benchmarks/bench_fairness.py. It uses the published NIH predictions where they are found
(RADFOUNDRY_DATA, else ../shared/data), otherwise synthetic ones of the same size. The loop (pandas rows,
scikit-learn AUCs of resampled patients and of permuted groups) is timed on a few draws and scaled to all of
them; it does less, for it has no standard errors. The same few draws prove that each AUC is equal.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from radfoundry.evaluate.fairness import fairness
from radfoundry.evaluate.fairness import groups as fairness_groups
from radfoundry.evaluate.parts import parts
from radfoundry.predictions import validate

COVARIATES = ("sex", "age", "view")
BANDS = (0, 18, 40, 60, 75, np.inf)
DRAWS, TIMED = 2000, 3
DEFAULT = Path(__file__).parents[1] / ".." / "shared" / "data"


def data() -> tuple[str, pd.DataFrame]:
    """(name, wide table: case, patient, sex, age, view, y_ and p_ of 14 labels)"""
    root = Path(os.environ.get("RADFOUNDRY_DATA", DEFAULT))
    path = root / "nih_cxr" / "chexnet_testset_predictions_with_labels.csv.gz"
    if path.exists():
        return "NIH test set", pd.read_csv(path)
    rng = np.random.default_rng(0)
    n = 22_433
    who = rng.integers(6_187, size=n)
    table = {"image_index": [f"i{i}" for i in range(n)], "patient_id": who,
             "sex": np.where(who % 2, "M", "F"), "age": (20 + who % 60).astype(float),
             "view": rng.choice(["AP", "PA"], n)}  # fmt: skip
    for k, prevalence in enumerate(np.geomspace(0.002, 0.18, 14)):
        y = (rng.random(n) < prevalence).astype(int)
        table |= {f"y_{k}": y, f"p_{k}": 1 / (1 + np.exp(3 - rng.normal(y, 1)))}
    return "synthetic", pd.DataFrame(table)


def loop(wide: pd.DataFrame, label: str, covariate: str, rng: np.random.Generator) -> None:
    """One draw and one permutation of one label and covariate, by hand: AUC and rates of every group."""
    y, p = wide[f"y_{label}"].to_numpy(), wide[f"p_{label}"].to_numpy()
    group = pd.factorize(pd.cut(wide["age"], BANDS, right=False) if covariate == "age" else wide[covariate])[
        0
    ]
    codes, patients = pd.factorize(wide["patient_id"])
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    pick = np.concatenate([rows[i] for i in rng.integers(len(patients), size=len(patients))])
    _by_group(y[pick], p[pick], group[pick])
    _by_group(y, p, rng.permutation(group[np.unique(codes, return_index=True)[1]])[codes])


def _by_group(y: np.ndarray, p: np.ndarray, group: np.ndarray) -> dict[int, tuple[float, ...]]:
    found = {}
    for g in np.unique(group):
        truth, score = y[group == g], p[group == g]
        area = roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else np.nan
        called, ill = score >= 0.5, truth == 1
        rates = [
            called[ill].mean() if ill.any() else np.nan,
            called[~ill].mean() if not ill.all() else np.nan,
        ]
        found[int(g)] = (float(area), *map(float, rates), float(called.mean()), float((truth - score).mean()))
    return found


def largest_difference(wide: pd.DataFrame, label: str) -> float:
    """AUCs by sex of permuted patients: ours and scikit-learn's."""
    keep = ["image_index", "patient_id", "sex", "age", "view", f"y_{label}", f"p_{label}"]
    part = next(parts(validate(wide[keep].rename(columns={"image_index": "case_id"}))))
    engine = fairness_groups.Engine.of(fairness_groups.split(part, "sex", None), ["auroc"])
    labels = next(engine.cells.shuffled(TIMED, np.random.default_rng(1), by_class=True))
    ours = engine.values(labels)["auroc"].value
    repeat, worst = part.repeats[0], 0.0
    for draw in range(TIMED):
        moved = np.empty(part.n_patients, int)
        moved[engine.cells.patient] = labels[:, draw]
        theirs = _by_group(repeat.y, repeat.score[:, 0], moved[repeat.codes])
        worst = max(worst, *(abs(theirs[g][0] - ours[g, draw]) for g in theirs))
    return float(worst)


def main() -> dict:
    name, wide = data()
    labels = [c.removeprefix("y_") for c in wide if c.startswith("y_")]
    start, used = time.perf_counter(), time.process_time()
    found = fairness(wide, COVARIATES, n_boot=DRAWS, n_perm=DRAWS)
    ours, cpu = time.perf_counter() - start, time.process_time() - used

    rng, start = np.random.default_rng(0), time.perf_counter()
    for label in labels:
        for covariate in COVARIATES:
            for _ in range(TIMED):
                loop(wide, label, covariate, rng)
    theirs = (time.perf_counter() - start) / TIMED * DRAWS
    worst = max(largest_difference(wide, label) for label in (labels[0], labels[3]))
    result = {
        "data": name, "rows": len(wide), "patients": int(wide["patient_id"].nunique()), "labels": len(labels),
        "covariates": len(COVARIATES), "gaps": len(found.gaps), "draws_and_permutations": DRAWS,
        "cores": os.cpu_count(), "ours_s": round(ours, 1), "ours_cpu_s": round(cpu, 1),
        "loop_s_scaled": round(theirs), "draws_timed_for_the_loop": TIMED, "ratio": round(theirs / ours, 1),
        "largest_difference_of_one_auc": worst,
    }  # fmt: skip
    assert worst < 1e-5, result
    return result


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
