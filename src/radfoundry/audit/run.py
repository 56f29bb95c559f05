"""All checks on a cohort, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from radfoundry.audit import baselines, checks, duplicates, explanations
from radfoundry.audit.evidence import RAW_PIXELS, Evidence, parts_of
from radfoundry.audit.items import Audit
from radfoundry.cohort import Cohort
from radfoundry.errors import NotEnoughData, TableError
from radfoundry.io import read_image
from radfoundry.splits import Fold
from radfoundry.types import Embeddings, Image


def audit(
    cohort: Cohort,
    target: str,
    *,
    embeddings: Mapping[str, Embeddings] | None = None,
    score: pd.DataFrame | None = None,
    folds: Sequence[Fold] | None = None,
    head: str = baselines.FAST_HEAD,
    seed: int = 0,
    n_perm: int | None = None,
    n_boot: int = 2000,
    workers: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Audit:
    """Every check that the data allow, before a score is believed.

    embeddings: encoder id to Embeddings; the first trained one is audited, and ids that begin with
    `random:`, `random-projection` or `raw-pixels` are controls. Raw 32 x 32 pixels are always one.
    score: a prediction table (docs/reference/formats.md) whose score is to be believed. Over its repeats, and
    over those of `folds`, an AUC is the mean of the repeats' AUCs.
    folds: the cross-validation to audit, as row numbers; default: `split` (train to test) where the
    cohort has one, else 5 folds by patient. head: 'ridge' (closed form; 200 permutations cost little more
    than one fit) or any head of `adapt.probe` (then 20). progress: called with the name of each step.
    Raises TableError for an unknown target; a target that cannot be classified skips what needs it.
    """
    say = progress or (lambda step: None)
    say("reading images")
    prints = duplicates.fingerprint(_jobs(cohort), workers=workers)
    task, refusal = _task(cohort, target, folds, seed)
    features = {name: baselines.align(cohort, found) for name, found in (embeddings or {}).items()}
    if len(prints.row) and RAW_PIXELS not in features:
        features[RAW_PIXELS] = prints.pixels(len(cohort)).astype(np.float64)
    evidence = Evidence(
        cohort, target, task, refusal, parts_of(cohort, folds, score), prints,
        dict(embeddings or {}), features, head, seed,
        n_perm or (200 if head == baselines.FAST_HEAD else 20), n_boot,
    )  # fmt: skip
    items = []
    for check in CHECKS:
        say(check.__name__.replace("_", " "))
        items.append(check(evidence))
    if score is not None:
        items.append(explanations.predictions(evidence, score))
    return Audit(cohort.name, target, tuple(items))


CHECKS = (
    checks.patients,
    checks.image_duplicates,
    checks.embedding_duplicates,
    checks.counts,
    checks.covariates,
    explanations.metadata,
    explanations.shuffled,
    explanations.encoder_floor,
    explanations.place,
)


def _task(
    cohort: Cohort, target: str, folds: Sequence[Fold] | None, seed: int
) -> tuple[baselines.Task | None, str]:
    """The classification, or None and why there is none."""
    labels = cohort.labels(target, allow_constant=True)
    if cohort.kind(target) == "number":
        return None, f"{target} is a number; these checks are for classes. Cut it into classes to audit it."
    split = cohort.table["split"].to_numpy(object) if "split" in cohort.table else None
    try:
        patient = cohort.patients.astype(str)
        return baselines.make_task(target, labels, patient, folds=folds, split=split, seed=seed), ""
    except NotEnoughData as error:
        return None, f"{error}."


def _jobs(cohort: Cohort) -> list[tuple[int, str, str, Callable[[], Image]]]:
    jobs = []
    for column in cohort.image_columns:
        for row in np.flatnonzero(cohort.table[column].notna().to_numpy()):
            jobs.append(
                (int(row), str(cohort.table["case_id"].iloc[row]), column, _reader(cohort, int(row), column))
            )
    if not jobs:
        raise TableError(f"{cohort.name}: no case has an image. Fill in an image column")
    return jobs


def _reader(cohort: Cohort, row: int, column: str) -> Callable[[], Image]:
    return lambda: read_image(cohort.image_path(row, column))
