"""Embeddings against radiomics and trivial explanations on two public tables: what the docs quote.

    python benchmarks/measure_ablation.py fmcib --work DIR      421 lung tumours, FMCIB and its controls
    python benchmarks/measure_ablation.py glioma --work DIR     501 gliomas, radiomics (needs the test data)

The first needs `pip install --no-deps tumorimagingbench==0.1.4`; its tables are read in place. DIR gets the
tables in the form of a cohort, the store (an interrupted run goes on from there) and one run folder a target.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

import pandas as pd

from radfoundry.studies.ablation import AblateConfig, run

SETS = {
    "shuffled tumour": "negative_control_shuffled_roi",
    "resampled tumour": "negative_control_randomized_sampled_roi",
    "shuffled surroundings": "negative_control_shuffled_non_roi",
    "resampled surroundings": "negative_control_randomized_sampled_non_roi",
}


def fmcib(work: Path) -> list[Path]:
    """Cohort and feature tables of the 421 tumours of NSCLC-Radiomics; one grid a target."""
    found = importlib.util.find_spec("tumorimagingbench")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("pip install --no-deps tumorimagingbench==0.1.4")
    source = Path(found.submodule_search_locations[0]) / "evaluation" / "readii_eval"
    tables = {
        name: pd.read_csv(source / f"{file}.csv") for name, file in {"FMCIB": "original", **SETS}.items()
    }
    for name, table in tables.items():
        vectors = table.filter(like="pred_").astype("float32")
        named = "PatientID" if "PatientID" in table else "PatientID_x"
        vectors.insert(0, "case_id", table[named].astype(str))
        vectors.to_parquet(work / f"{_file(name)}.parquet", index=False)
    first = tables["FMCIB"]
    # The package does not state what its stage codes mean. Of the 421, two have T stage 5, three N stage 4
    # and four M stage 3 (overall stage IIIa or IIIb, by the same table). They stay in, as the numbers that
    # the table holds: T stage 5 counts as T3 or more in the target t3, all three are among the clinical
    # variables.
    cohort = pd.DataFrame({
        "case_id": first["PatientID"], "age": first["age"], "sex": first["gender"],
        "t_stage": first["clinical.T.Stage"], "n_stage": first["Clinical.N.Stage"],
        "m_stage": first["Clinical.M.Stage"], "overall_stage": first["Overall.Stage"],
        # One patient was lost to follow-up before two years, so the outcome is unknown.
        "y:survival2y": first["survival"].where((first["deadstatus.event"] == 1) | (first["survival"] == 1)),
        "y:t3": (first["clinical.T.Stage"] >= 3).where(first["clinical.T.Stage"].notna()).astype(float),
        "y:squamous": first["Histology"].map(_squamous),
    })  # fmt: skip
    cohort.to_csv(work / "cohort.csv", index=False)
    clinical = "[age, sex, t_stage, n_stage, m_stage, overall_stage]"
    extra = {
        "survival2y": "  T stage: {columns: [t_stage], role: clinical}\n"
        f"  clinical: {{columns: {clinical}, role: clinical}}\n",
        "squamous": f"  clinical: {{columns: {clinical}, role: clinical}}\n",
        "t3": "  age and sex: {columns: [age, sex], role: clinical}\n",
    }
    grids = []
    for target, sets in extra.items():
        lines = ["features:", "  FMCIB: {table: FMCIB.parquet}"]
        lines += [f"  {name}: {{table: {_file(name)}.parquet, role: control, of: FMCIB}}" for name in SETS]
        text = (
            "\n".join(lines)
            + f"\n{sets}"
            + (
                f"cohort: cohort.csv\ntarget: {target}\nvary:\n"
                "  classifier: [logistic, svm-rbf, knn, lda]\nrepeats: 10\n"
            )
        )
        grids.append(work / f"{target}.yaml")
        grids[-1].write_text(text, encoding="utf-8")
    return grids


def glioma(work: Path) -> list[Path]:
    """UCSF-PDGM: 100 whole-tumour features of the contrast-enhanced T1; MGMT and IDH."""
    data = Path(os.environ.get("RADFOUNDRY_DATA", "../shared/data")) / "glioma_ucsf_pdgm"
    about = pd.read_csv(data / "UCSF-PDGM-metadata_v2.csv")
    features = pd.read_csv(data / "radiomic_features_T1gad_bias.csv")
    numbers = features.filter(like="original_").assign(case_id=features["ID"])
    numbers.to_csv(work / "radiomics.csv", index=False)
    known = {"positive": 1, "negative": 0}
    cohort = pd.DataFrame({
        "case_id": about["ID"], "age": about["Age at MRI"], "sex": about["Sex"],
        "y:mgmt": about["MGMT status"].map(known),
        "y:idh": about["IDH"].map(lambda v: None if pd.isna(v) else int(v != "wildtype")),
    })  # fmt: skip
    cohort.to_csv(work / "cohort.csv", index=False)
    grids = []
    for target in ("mgmt", "idh"):
        text = (
            "features:\n  radiomics: {table: radiomics.csv, columns: ['original_*']}\n"
            "  volume: {table: radiomics.csv, columns: [original_shape_VoxelVolume], role: volume}\n"
            "  age: {columns: [age], role: clinical}\n  age and sex: {columns: [age, sex], role: clinical}\n"
            "  radiomics + age: {join: [radiomics, age]}\n"
            f"cohort: cohort.csv\ntarget: {target}\nvary:\n  normalisation: [z, quantile]\n"
            "  selector: [none, anova]\n  k: [30]\n"
            "  classifier: [logistic, lda]\nreference: {selector: none}\nrepeats: 10\n"
        )
        grids.append(work / f"{target}.yaml")
        grids[-1].write_text(text, encoding="utf-8")
    return grids


def _squamous(histology: object) -> float | None:
    if pd.isna(histology) or histology == "nos":
        return None
    return float("squamous" in str(histology))


def _file(name: str) -> str:
    return name.replace(" ", "_")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", choices=["fmcib", "glioma"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=None, help="targets")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    for grid in {"fmcib": fmcib, "glioma": glioma}[asked.which](asked.work):
        if asked.only is None or grid.stem in asked.only:
            out = asked.work / f"run-{grid.stem}"
            print(run(AblateConfig(grid, out=out, force=True, store=asked.work / "store", jobs=asked.jobs)))
