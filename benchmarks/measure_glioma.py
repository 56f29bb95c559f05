"""Survival in 501 patients with glioma (UCSF-PDGM): what clinic, genes and radiomics tell, out of sample.

    python benchmarks/measure_glioma.py [--out FOLDER]

Risk scores are Cox models fitted in ten folds by patient; every score is of a patient that its model did not
see. Clinical: age and extent of resection. Radiomics: 100 features of T1 after contrast, whole tumour, with a
ridge penalty chosen inside each training part. MGMT and IDH groups were measured in tissue, not predicted.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from radfoundry.evaluate.compare import format_p
from radfoundry.evaluate.survival import (
    added_value,
    auc_curve,
    calibration_at,
    compare_models,
    cox,
    evaluate_survival,
    follow_up,
    harrell_c,
    kaplan_meier,
    logrank,
    quantile_time,
    survival_at,
)
from radfoundry.splits import kfold

HORIZONS = (365.0, 730.0)
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
CLINICAL = ("age", "eor")
FOLDS, INNER, OTHER_SEEDS = 10, 3, 5


def main() -> int:
    """Print every number with its n; optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("RADFOUNDRY_DATA", "../shared/data"))
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    cohort, features = load(options.data / "glioma_ucsf_pdgm")
    groups(cohort)
    table = predictions(cohort, features)
    judge(table)
    other_cuts(cohort)
    add(table)
    if options.out:
        draw(cohort, table, options.out)
    print(f"\n{time.perf_counter() - start:.0f} s")
    return 0


def load(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """(one row a patient with survival and features, names of the features); who is left out is counted."""
    sheet = pd.read_csv(folder / "UCSF-PDGM-metadata_v2.csv")
    radiomics = pd.read_csv(folder / "radiomic_features_T1gad_bias.csv")
    features = [c for c in radiomics if c.startswith("original_")]
    names = {
        "Age at MRI": "age",
        "EOR": "eor",
        "OS": "time",
        "1-dead 0-alive": "event",
        "MGMT status": "mgmt",
        "Final pathologic diagnosis (WHO 2021)": "diagnosis",
    }
    cohort = sheet.rename(columns=names).merge(radiomics[["ID", *features]], on="ID", validate="1:1")
    cohort["idh"] = np.where(cohort["IDH"] == "wildtype", "IDH wildtype", "IDH mutated")
    known = cohort["time"].notna()
    print(f"{len(cohort)} patients; {int((~known).sum())} without overall survival left out, "
          f"{int(cohort.loc[known, 'eor'].isna().sum())} of the others without extent of resection; "
          f"{int(known.sum())} judged, {int(cohort.loc[known, 'event'].sum())} deaths")  # fmt: skip
    mgmt = cohort.loc[known, "mgmt"].fillna("not tested").value_counts()
    print("MGMT: " + ", ".join(f"{name} {n}" for name, n in mgmt.items()))
    cohort = cohort[known].reset_index(drop=True)
    print(f"{len(features)} radiomic features; {follow_up(cohort['time'], cohort['event'])}")
    return cohort, features


def groups(cohort: pd.DataFrame) -> None:
    """Measured groups: medians, survival at the horizons, log-rank and hazard ratio."""
    tested = cohort[cohort["mgmt"].isin(["positive", "negative"])]
    for title, rows, column in (
        ("IDH, measured", cohort, "idh"),
        ("MGMT, measured; indeterminate and not tested left out", tested, "mgmt"),
        ("MGMT among IDH wildtype", tested[tested["idh"] == "IDH wildtype"], "mgmt"),
    ):
        print(f"\n{title}")
        for name, own in rows.groupby(column):
            curve = kaplan_meier(own["time"], own["event"])
            print(f"  {name}: {int(own['event'].sum())} deaths of {len(own)}")
            for estimate in (quantile_time(curve), *(survival_at(curve, h) for h in HORIZONS)):
                print(f"    {estimate}")
        print(f"  {logrank(rows['time'], rows['event'], rows[column])}")
        print("  " + str(cox(rows, [column], time="time", event="event")).replace("\n", "\n  "))
    within = logrank(tested["time"], tested["event"], tested["mgmt"], strata=tested["idh"])
    print(f"\nMGMT within strata of IDH\n  {within}")


def predictions(cohort: pd.DataFrame, features: list[str]) -> pd.DataFrame:
    """The prediction table: out-of-fold risk of the clinical and of the radiomic model."""
    tables, chosen = [], []
    for fold in kfold(cohort["ID"].to_numpy(), cohort["event"].to_numpy(), n_splits=FOLDS):
        train, test = cohort.iloc[fold.train], cohort.iloc[fold.test]
        clinic = cox(train, CLINICAL, time="time", event="event")
        tables.append(_rows(test, "clinical", clinic, test, fold.fold))
        penalty = _penalty(train, features)
        chosen.append(penalty)
        scaled, fitted = _scaled(train, train, features), _scaled(test, train, features)
        radiomic = cox(scaled, features, time="time", event="event", penalty=penalty)
        tables.append(_rows(test, "radiomics", radiomic, fitted, fold.fold))
    print(f"\nridge penalty chosen in the folds: {', '.join(f'{p:g}' for p in chosen)}")
    return pd.concat(tables, ignore_index=True)


def _rows(test: pd.DataFrame, model: str, fit, covariates: pd.DataFrame, fold: int) -> pd.DataFrame:
    survival = fit.survival(covariates, HORIZONS)
    return pd.DataFrame({
        "case_id": test["ID"], "patient_id": test["ID"], "target": "os", "time:os": test["time"],
        "event:os": test["event"], "model": model, "fold": fold, "score": fit.risk(covariates),
        "surv:365": survival[:, 0], "surv:730": survival[:, 1], "IDH": test["idh"].str.removeprefix("IDH "),
    })  # fmt: skip


def _scaled(rows: pd.DataFrame, train: pd.DataFrame, features: list[str]) -> pd.DataFrame:
    """Signed logarithm, then mean 0 and SD 1 of the training part, cut at 4 SD."""

    def log(x: pd.DataFrame) -> pd.DataFrame:
        return np.sign(x) * np.log1p(np.abs(x))

    known = log(train[features])
    out = ((log(rows[features]) - known.mean()) / known.std()).clip(-4, 4)
    return out.assign(time=rows["time"], event=rows["event"])


def _penalty(train: pd.DataFrame, features: list[str]) -> float:
    """The penalty with the best mean C over inner folds of the training part."""
    found = np.zeros(len(PENALTIES))
    for fold in kfold(train["ID"].to_numpy(), train["event"].to_numpy(), n_splits=INNER, seed=1):
        inner, held = train.iloc[fold.train], train.iloc[fold.test]
        scaled, fitted = _scaled(inner, inner, features), _scaled(held, inner, features)
        for i, penalty in enumerate(PENALTIES):
            fit = cox(scaled, features, time="time", event="event", penalty=penalty)
            found[i] += harrell_c(held["time"], held["event"], fit.risk(fitted)).value
    return PENALTIES[int(found.argmax())]


def judge(table: pd.DataFrame) -> None:
    """Every estimate of both models, and C within IDH groups."""
    for estimate in evaluate_survival(table, horizons=HORIZONS, subgroups=["IDH"]):
        print(f"{estimate.model:<10} {estimate.subgroup or '':<16} {estimate}")
    print(f"radiomics - clinical: {compare_models(table, 'radiomics', 'clinical')}")


def out_of_fold(cohort: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """(n,) clinical risk of each patient by a model of the other folds."""
    score = np.empty(len(cohort))
    for fold in kfold(cohort["ID"].to_numpy(), cohort["event"].to_numpy(), n_splits=FOLDS, seed=seed):
        fit = cox(cohort.iloc[fold.train], CLINICAL, time="time", event="event")
        score[fold.test] = fit.risk(cohort.iloc[fold.test])
    return score


def other_cuts(cohort: pd.DataFrame) -> None:
    """How much the clinical C depends on the division into folds, and on who is in the cohort."""
    time, event = cohort["time"], cohort["event"]
    found = [harrell_c(time, event, out_of_fold(cohort, seed)).value for seed in range(1, OTHER_SEEDS + 1)]
    print(f"\nclinical C with {OTHER_SEEDS} other divisions into folds: {min(found):.3f} to {max(found):.3f}")
    same = cohort[cohort["diagnosis"] == "Glioblastoma, IDH-wildtype"].reset_index(drop=True)
    alone = harrell_c(same["time"], same["event"], out_of_fold(same))
    print(f"fitted and judged in glioblastoma, IDH-wildtype, alone: {alone}")


def add(table: pd.DataFrame) -> None:
    """What the radiomic score adds to the clinical one: all patients, and IDH wildtype alone."""
    for title, rows in (("all", table), ("IDH wildtype", table[table["IDH"] == "wildtype"])):
        clinic, image = (rows[rows["model"] == m].sort_values("case_id") for m in ("clinical", "radiomics"))
        found = added_value(clinic["time:os"], clinic["event:os"], clinic["score"], image["score"],
                            clinic["patient_id"])  # fmt: skip
        print(f"\nadded value of radiomics over age and extent of resection, {title}\n{found}")


def draw(cohort: pd.DataFrame, table: pd.DataFrame, out: Path) -> None:
    """Kaplan-Meier of the measured groups, calibration at two years, AUC over time."""
    from radfoundry.report import survival_figures
    from radfoundry.report.figures import save

    out.mkdir(parents=True, exist_ok=True)
    tested = cohort[cohort["mgmt"].isin(["positive", "negative"])]
    for name, rows, column in (("km_idh", cohort, "idh"), ("km_mgmt", tested, "mgmt")):
        curves = {str(g): kaplan_meier(own["time"], own["event"]).table() for g, own in rows.groupby(column)}
        test = logrank(rows["time"], rows["event"], rows[column])
        words = (
            f"log-rank chi-square {test.statistic:.1f}, p {'' if test.p < 0.0001 else '= '}{format_p(test.p)}"
        )
        save(survival_figures.kaplan_meier(curves, test=words, until=2000)[0], out / name)
    by_model = dict(iter(table.groupby("model")))
    calibrated = {m: calibration_at(t["time:os"], t["event:os"], t["surv:730"], 730)[1]
                  for m, t in by_model.items()}  # fmt: skip
    save(survival_figures.calibration_at(calibrated, horizon="2 years")[0], out / "calibration")
    over = {m: auc_curve(t["time:os"], t["event:os"], t["score"], rng=np.random.default_rng(0))
            for m, t in by_model.items()}  # fmt: skip
    save(survival_figures.auc_over_time(over)[0], out / "auc")


if __name__ == "__main__":
    raise SystemExit(main())
