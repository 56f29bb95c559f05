"""S9 · Embeddings against radiomics for a lesion on CT: which to trust, and which choices matter.

Question. Does an embedding of a lesion, by a frozen encoder, tell more than radiomic features, than the size
of the lesion, than age and sex, and which of the many choices of a pipeline matter?

Methods. Each lesion is located by its seed point or mask. A frozen encoder turns the crop around it into a
vector; radiomic features are those of the IBSI in the mask; the size of the lesion alone and the clinical
variables stand beside them, as do the encoder's randomly initialised twin and the embedding and the radiomics
side by side. Lesions of one patient stay together in every split. What follows is `radfoundry ablate`.

Design after the published single-centre ablation (593 patients; FMCIB .66 against radiomics .59) that varied
imbalance correction, sample size, normalisation, number of features and classifier one at a time; with the
pipeline chosen inside instead of the best cell, intervals, and negative controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from radfoundry import engines
from radfoundry.adapt.fits import processes
from radfoundry.cohort import Cohort
from radfoundry.datasets import phantom_lesions
from radfoundry.encoders import extractors
from radfoundry.encoders.extract import extract
from radfoundry.encoders.store import Store
from radfoundry.errors import InputError, InputMismatch
from radfoundry.plan.grid import FeatureSpec, Grid, Pool
from radfoundry.studies import ablation, inputs
from radfoundry.studies.options import Options
from radfoundry.studies.run import Run, command_line

TITLE = "Embeddings against radiomics"
NOT_CLINICAL = ("scanner", "site", "view")
SMALL: dict[str, tuple[Any, ...]] = {
    "normalisation": ("z", "none"),
    "selector": ("none", "anova"),
    "k": (20,),
    "classifier": ("logistic", "svm-rbf"),
}
WIDE: dict[str, tuple[Any, ...]] = {
    "imbalance": ("none", "class-weight", "over", "under", "smote"),
    "sample_size": (1.0, 0.5, 0.25),
    "normalisation": ("z", "none", "robust", "min-max", "quantile", "l2"),
    "selector": ("none", "anova", "mutual-information", "mrmr", "l1", "rfe", "forest", "pca"),
    "k": (10, 50),
    "classifier": ("logistic", "svm-linear", "svm-rbf", "forest", "knn", "lda", "naive-bayes"),
}


@dataclass(frozen=True)
class Config(Options):
    """Options of the study; without --cohort it runs on generated lung nodules."""

    out: Path = Path("runs/embeddings_vs_radiomics")
    """Run folder to make."""
    encoder: tuple[str, ...] = ("efficientnet-lite0-lesion",)
    """Frozen encoders of lesions or volumes, by name (`radfoundry encoders`)."""
    radiomics: str = "radiomics:ct-plain"
    """radiomics:SETTINGS (`radiomics` adds filtered images), or none."""
    clinical: tuple[str, ...] = ()
    """Covariates of the clinical set; by default age, sex and every other number."""
    grid: Literal["small", "wide"] = "small"
    """small: four factors crossed; wide: the published five ablations, one factor at a time."""
    pooling: Pool = "none"
    """Several lesions of a patient as one case: mean, max, largest (by volume); none keeps a row a lesion."""
    repeats: int = 10
    """Repeats of the outer cross-validation."""
    folds: int = 5
    """Outer folds."""
    inner: int = 5
    """Inner folds."""
    cases: int = 120
    """Phantom lesions to draw."""
    volume_effect: float = 0.3
    """Phantoms: how far the size of a lesion tells its label; 0 is not at all."""
    engine: engines.Engine = "local"
    """local (processes of this machine) or ray."""
    ray_address: str | None = None
    """Ray cluster: auto or HOST:PORT; without it a cluster of this machine."""


def run(config: Config) -> Path:
    """Run the study; returns the run folder."""
    config.check()
    engines.check(config.engine, config.ray_address, config.jobs)
    with Run(
        config.out, command=command_line(), config=config, seed=config.seed, title=TITLE, force=config.force
    ) as run:
        cohort = inputs.read(config.cohort, lambda: _phantom(config))
        data = inputs.labelled(cohort, config.target)
        run.hide([*data.patient, *data.case_id])
        folder = config.store / "features" / cohort.digest()[:16]
        features = _features(run, config, data.cohort, folder)
        grid = Grid(
            features, vary=SMALL if config.grid == "small" else WIDE,
            design="full" if config.grid == "small" else "one-at-a-time",
            reference={"selector": "none", "normalisation": "z", "classifier": "logistic"},
            repeats=config.repeats, folds=config.folds, inner=config.inner, seed=config.seed,
            pool=config.pooling,
        )  # fmt: skip
        ablation.run_grid(
            run, cohort, grid, target=data.target, store=config.store, engine=config.engine,
            address=config.ray_address, jobs=config.jobs,
        )  # fmt: skip
        run.model_card(_card(config, cohort, data.positive, data.negative))
    return run.out


def _phantom(config: Config) -> Cohort:
    settings = f"{config.cases}-{config.effect:g}-{config.volume_effect:g}-{config.seed}"
    folder = config.store.parent / f"phantom-lesions-{settings}"
    return inputs.phantom(
        folder, phantom_lesions.make, n=config.cases, effect=config.effect,
        volume_effect=config.volume_effect, seed=config.seed,
    )  # fmt: skip


def _features(run: Run, config: Config, cohort: Cohort, folder: Path) -> dict[str, FeatureSpec]:
    """Feature sets of the study, as tables beside the store of vectors."""
    Store(config.store).mark()
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, FeatureSpec] = {}
    for name in config.encoder:
        found[name] = _embedded(run, config, cohort, name, folder)
        if config.controls and not name.startswith("random:"):
            twin = f"random:{name}"
            spec = _embedded(run, config, cohort, twin, folder)
            found["random twin" if len(config.encoder) == 1 else twin] = FeatureSpec(
                spec.table, role="control", of=name
            )
    if config.radiomics != "none":
        found["radiomics"] = _extracted(run, cohort, config, config.radiomics, folder)
        for name in config.encoder:
            found[f"{name} + radiomics"] = FeatureSpec(join=(name, "radiomics"))
    if any(c.partition(":")[0] == "mask" for c in cohort.table):
        size = _extracted(run, cohort, config, "lesion-size", folder)
        found["size"] = FeatureSpec(size.table, role="volume")
    clinical = list(config.clinical or _clinical(cohort))
    if clinical:
        found["clinical"] = FeatureSpec(columns=tuple(clinical), role="clinical")
    return found


def _clinical(cohort: Cohort) -> list[str]:
    """Age, sex and the other numeric covariates."""
    from pandas.api.types import is_numeric_dtype

    return [c for c in cohort.covariates
            if c not in NOT_CLINICAL and (c == "sex" or is_numeric_dtype(cohort.table[c]))]  # fmt: skip


def _embedded(run: Run, config: Config, cohort: Cohort, name: str, folder: Path) -> FeatureSpec:
    (vectors,) = inputs.embed(run, [cohort], name, config)
    matrix = inputs.matrix(cohort, vectors)
    return _write(
        folder, name, cohort, matrix, [f"v{i}" for i in range(matrix.shape[1])], vectors.fingerprint
    )


def _extracted(run: Run, cohort: Cohort, config: Config, name: str, folder: Path) -> FeatureSpec:
    extractor = extractors.load(name)
    # A process needs seconds to start, which few lesions do not earn back.
    many = processes(config.jobs) if len(cohort) > 200 else 0
    result = extract(cohort, extractor, config.store, processes=many)
    if not len(result.embeddings.vectors):
        first = result.failures[0][2] if result.failures else "no mask in the cohort"
        raise InputMismatch(f"no lesion of {cohort.name} gave {name}. The first: {first}")
    if result.failures:
        run.note(f"{len(result.failures)} lesions gave no {name}; the first: {result.failures[0][2]}")
    run.add_encoder(name, extractor.fingerprint)
    run.log(f"{name}: {len(result.embeddings.vectors)} lesions")
    row = {case: i for i, case in enumerate(cohort.table["case_id"].astype(str))}
    matrix = np.full((len(cohort), extractor.dim), np.nan, np.float32)
    known = np.zeros(len(cohort), bool)
    for case, vector in zip(result.embeddings.case_id, result.embeddings.vectors):
        matrix[row[str(case)]], known[row[str(case)]] = vector, True
    return _write(folder, name, cohort, matrix, extractor.features, extractor.fingerprint, known)


def _write(
    folder: Path, name: str, cohort: Cohort, matrix: np.ndarray, columns: Sequence[str], fingerprint: str,
    known: np.ndarray | None = None,
) -> FeatureSpec:  # fmt: skip
    """A feature table of the cases that have one."""
    keep = np.isfinite(matrix).any(axis=1) if known is None else known
    if not keep.any():
        raise InputError(f"{name} gave nothing for {cohort.name}")
    table = pd.DataFrame(matrix[keep], columns=list(columns))
    table.insert(0, "case_id", cohort.table.loc[keep, "case_id"].astype(str).to_numpy())
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    path = folder / f"{safe}-{fingerprint[:12]}.parquet"
    table.to_parquet(path, index=False)
    return FeatureSpec(path)


def _card(config: Config, cohort: Cohort, positive: str, negative: str) -> dict[str, Any]:
    return {
        "title": f"{', '.join(config.encoder)} against radiomics: {positive} against {negative}",
        "license": "other",
        "library_name": "radfoundry",
        "tags": ["radiology", "ct", "lesion", "frozen-encoder", "radiomics"],
        "base_model": list(config.encoder),
        "Intended use": "Research only. Not a medical device. No model is kept: pipelines are compared.",
        "Training data": f"{cohort.name}, {len(cohort)} lesions; {config.repeats} x {config.folds} nested "
        "cross-validation by patient.",
    }
