"""Do groups of patients fare alike, on real predictions: CheXNet on NIH radiographs, IDH from radiomics.

    python benchmarks/measure_fairness.py nih [--out DIR]
    python benchmarks/measure_fairness.py idh [--out DIR]

nih: the published CheXNet probabilities of 14 findings on the 22,433 images of the NIH test set (sex, age and
view stand in the same file). AUC and calibration on all images. Decisions need a threshold: it is chosen on
half of the patients, for each finding where sensitivity reaches 80 %, and judged on the other half.

idh: IDH mutation from 100 radiomic features of T1 after contrast (UCSF-PDGM): logistic regression, scaled in
each training part, 10 x 5-fold cross-validation by patient; the scores are out of fold.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from radfoundry.cli.evaluate import render_fairness
from radfoundry.evaluate.fairness import Fairness, fairness
from radfoundry.predictions import write_predictions
from radfoundry.report.fairness_figures import forest_panels
from radfoundry.report.figures import save
from radfoundry.splits import kfold

SENSITIVITY = 0.8
MODEL = "CheXNet"


def nih(root: Path, n_perm: int) -> dict[str, tuple[pd.DataFrame, Fairness]]:
    """AUC and calibration on all images; rates at thresholds from the other half of the patients."""
    wide = pd.read_csv(root / "nih_cxr" / "chexnet_testset_predictions_with_labels.csv.gz")
    findings = [c.removeprefix("y_") for c in wide if c.startswith("y_")]
    shared = {"case_id": wide["image_index"], "patient_id": wide["patient_id"], "model": MODEL,
              "sex": wide["sex"], "age": wide["age"], "view": wide["view"]}  # fmt: skip
    long = pd.concat(
        [
            pd.DataFrame({**shared, "target": f, "y_true": wide[f"y_{f}"], "score": wide[f"p_{f}"]})
            for f in findings
        ],
        ignore_index=True,
    )
    patients = np.random.default_rng(0).permutation(np.unique(long["patient_id"]))
    tuning = long["patient_id"].isin(patients[: len(patients) // 2])
    chosen = (
        long[tuning & (long["y_true"] == 1)].groupby("target")["score"].quantile(1 - SENSITIVITY, "lower")
    )
    judged = long[~tuning].assign(threshold=long["target"].map(chosen))
    covariates = ("sex", "age", "view")
    return {
        "all images": (long, fairness(long, covariates, n_perm=n_perm)),
        "half of the patients": (judged, fairness(judged, covariates, n_perm=n_perm)),
    }


def idh(root: Path, n_perm: int) -> dict[str, tuple[pd.DataFrame, Fairness]]:
    """Out-of-fold scores of a logistic regression on radiomics, by age quartile and sex."""
    folder = root / "glioma_ucsf_pdgm"
    clinical = pd.read_csv(folder / "UCSF-PDGM-metadata_v2.csv").set_index("ID")
    features = pd.read_csv(folder / "radiomic_features_T1gad_bias.csv").set_index("ID")
    features = features[[c for c in features if c.startswith("original_")]]
    joined = clinical.join(features, how="inner")
    known = joined[joined["IDH"].notna()]
    y = (known["IDH"].str.strip().str.lower() != "wildtype").to_numpy(int)
    x, patient = known[features.columns].to_numpy(float), known.index.to_numpy(str)
    print(f"{len(joined)} of {len(clinical)} patients have features, {len(known)} a known IDH status")
    print(f"{y.sum()} of them mutated")
    rows = []
    for fold in kfold(patient, y, n_splits=5, repeats=10, seed=0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))
        score = model.fit(x[fold.train], y[fold.train]).predict_proba(x[fold.test])[:, 1]
        rows.append(
            pd.DataFrame(
                {"case_id": patient[fold.test], "target": "IDH mutated", "model": "radiomics",
                 "y_true": y[fold.test], "score": score, "repeat": fold.repeat, "fold": fold.fold,
                 "threshold": y[fold.train].mean(), "sex": known["Sex"].to_numpy()[fold.test],
                 "age": known["Age at MRI"].to_numpy()[fold.test]}
            )
        )  # fmt: skip
    table = pd.concat(rows, ignore_index=True).assign(patient_id=lambda t: t["case_id"])
    return {"all patients": (table, fairness(table, ("age:quartile", "sex"), n_perm=n_perm))}


def main() -> int:
    """Print the gaps; with --out also keep the predictions and draw the forest plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_set", choices=("nih", "idh"))
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("RADFOUNDRY_DATA", "../shared/data"))
    )
    parser.add_argument("--n-perm", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    for name, (table, found) in {"nih": nih, "idh": idh}[options.data_set](
        options.data, options.n_perm
    ).items():
        print(
            f"\n== {name}: {table['case_id'].nunique()} cases of {table['patient_id'].nunique()} patients\n"
        )
        print(render_fairness(found, every=True))
        print("\n".join(f"note: {note}" for note in found.notes))
        if options.out:
            _keep(options.out / name.replace(" ", "-"), table, found)
    print(f"\n{time.perf_counter() - start:.0f} s")
    return 0


def _keep(folder: Path, table: pd.DataFrame, found: Fairness) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(table, folder / "predictions.parquet")
    pd.DataFrame([g.as_dict() for g in found.gaps]).to_csv(folder / "gaps.csv", index=False)
    for (model, target), covariates in found.groups.items():
        own = [e for e in found.estimates if (e.model, e.target) == (model, target)]
        figure, data = forest_panels(own, covariates)
        stem = folder / target.replace(" ", "-")
        save(figure, stem)
        data.to_csv(stem.with_suffix(".csv"), index=False)


if __name__ == "__main__":
    raise SystemExit(main())
