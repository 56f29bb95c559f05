"""What every image study starts from: a labelled cohort, resamples, and features by name."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from radfoundry import encoders
from radfoundry.adapt.fits import Fits
from radfoundry.audit import baselines
from radfoundry.audit.covariates import Covariates
from radfoundry.audit.covariates import read as read_covariates
from radfoundry.cohort import Cohort, read_cohort
from radfoundry.datasets import phantoms
from radfoundry.errors import InputError, InputMismatch, NotEnoughData, RadfoundryError
from radfoundry.io import read_image
from radfoundry.splits import Fold, given, kfold, three_way
from radfoundry.studies.options import Design, Options
from radfoundry.studies.run import Run
from radfoundry.types import Embeddings

BLUR, SAMPLE = 4, 20
"""Images so many times smaller than the encoder's input are blur to it; judged by so many of them."""

ENOUGH_IN_TEST = 30
"""Cases of the rarer class that a test part should hold; below, cross-validation tells more."""


@dataclass(frozen=True)
class Labelled:
    """A cohort reduced to the cases that carry the label.

    y: (n,) 0/1; positive, negative: what 1 and 0 stand for. dropped: cases left out, with the reason.
    """

    cohort: Cohort
    target: str
    y: np.ndarray
    positive: str
    negative: str
    dropped: list[tuple[str, int]]

    @property
    def case_id(self) -> np.ndarray:
        return self.cohort.table["case_id"].to_numpy(object).astype(str)

    @property
    def patient(self) -> np.ndarray:
        return self.cohort.patients.astype(str)

    def keep(self, mask: np.ndarray, reason: str) -> Labelled:
        """The cases of a boolean mask; the others are counted under `reason`."""
        lost = int((~mask).sum())
        if not lost:
            return self
        dropped = [*self.dropped, (reason, lost)]
        kept = self.cohort.subset(mask)
        return Labelled(kept, self.target, self.y[mask], self.positive, self.negative, dropped)


def read(path: Path | None, phantom: Callable[[], Cohort]) -> Cohort:
    """The user's cohort, or the generated one."""
    return phantom() if path is None else read_cohort(path)


def phantom(folder: Path, make: Callable[..., Cohort] = phantoms.make, **options: object) -> Cohort:
    """A generated cohort in `folder`, by `phantoms.make` or another; made once for the same settings."""
    if (folder / "cohort.csv").is_file():
        cohort = read_cohort(folder)
        made = (cohort.meta or {}).get("settings", {})
        if all(made.get(key) == value for key, value in options.items() if key in made):
            return cohort
    print(f"drawing phantoms into {folder}", file=sys.stderr)
    return make(folder, workers=os.cpu_count() or 1, **options)


def labelled(cohort: Cohort, target: str | None) -> Labelled:
    """Binary labels of `target` (the only one when None). Raises InputError or TableError by name."""
    if target is None:
        if len(cohort.targets) != 1:
            known = ", ".join(cohort.targets) or "none"
            raise InputError(
                f"{cohort.name} has {len(cohort.targets)} label columns ({known}). Choose with --target"
            )
        target = cohort.targets[0]
    known_label = cohort.table[f"y:{target}"].notna().to_numpy() if target in cohort.targets else None
    start = cohort if known_label is None else cohort.subset(known_label)
    values = start.labels(target)
    classes = np.unique(values)
    if len(classes) != 2:
        raise InputError(
            f"{cohort.name}: target {target!r} has {len(classes)} classes; this study compares two. "
            "Make a column y:<name> with 0 and 1"
        )
    about = (cohort.meta.get("targets") or {}).get(target) or {}
    names = about.get("classes") or {}
    if about.get("positive") in (0, "0", False):  # `labels` has turned the codes round, the names are by code
        names = {1 - int(code): word for code, word in names.items() if str(code) in ("0", "1")}
    y = (values == classes[1]).astype(int)
    words = [str(names.get(int(c), names.get(str(c), c)) if str(c).isdigit() else c) for c in classes]
    dropped = [] if known_label is None or known_label.all() else [("no label", int((~known_label).sum()))]
    return Labelled(start, target, y, words[1], words[0], dropped)


def resamples(
    data: Labelled, design: Design, *, folds: int = 5, repeats: int = 5, seed: int = 0
) -> tuple[list[Fold], str]:
    """Which rows train, choose the threshold, and test; and the sentence that says so.

    auto: the cohort's own `split` column; else 80:10:10 when its test part holds enough of the rarer
    class, else repeated cross-validation, in which every case is tested.
    """
    has_split = "split" in data.cohort.table and data.cohort.table["split"].notna().all()
    if design == "split" and not has_split:
        raise InputError(f"{data.cohort.name} has no complete column 'split'. Add one, or use --design cv")
    if design == "split" or (design == "auto" and has_split):
        parts = given(data.cohort.table["split"].to_numpy(object), patient=data.patient)
        fold = Fold(parts["train"], parts["test"], validation=parts.get("validation"))
        _need_both(data, fold.train, "the training part of column 'split'")
        _need_both(data, fold.test, "the test part of column 'split'")
        return [fold], f"the cohort's own split ({len(fold.train)} to train, {len(fold.test)} to test)"
    rare = int(min(data.y.sum(), len(data.y) - data.y.sum()))
    if design == "holdout" or (design == "auto" and rare >= 10 * ENOUGH_IN_TEST):
        part = three_way(data.patient, data.y, seed=seed)
        rows = {name: np.flatnonzero(part == name) for name in ("train", "validation", "test")}
        words = f"80:10:10 by patient, stratified ({', '.join(f'{len(r)} {n}' for n, r in rows.items())})"
        return [Fold(rows["train"], rows["test"], validation=rows["validation"])], words
    why = "" if design == "cv" else f", because 10 % would hold about {rare // 10} of the rarer class"
    cut = kfold(data.patient, data.y, n_splits=folds, repeats=repeats, seed=seed)
    return cut, f"{repeats} x {folds}-fold cross-validation by patient, stratified{why}"


def _need_both(data: Labelled, rows: np.ndarray, where: str) -> None:
    if len(np.unique(data.y[rows])) < 2:
        raise NotEnoughData(f"only one class in {where} of {data.cohort.name}. Add cases of the other")


def fits(options: Options) -> Fits:
    """Where the study keeps its finished fits: in the store, beside the vectors they were made from."""
    return Fits(options.store / "fits")


def embed(run: Run, cohorts: Sequence[Cohort], name: str, options: Options) -> list[Embeddings]:
    """Vectors of several cohorts by one encoder, loaded once; failures are logged and counted aloud."""
    main = not baselines.is_control(name)
    of = name.removeprefix("random:")
    described = main or of.startswith("hf-hub:")  # what has no card is known by its files alone, twins too
    encoder = encoders.load(
        name,
        weights=options.weights_of(of) if described else None,
        revision=options.revision_of(of) if described else None,
        device=options.device,
        precision=options.precision if main else "auto",  # a control has no engine but its own
        accept_licences=options.accept_licence,
        seed=options.seed,
    )
    run.add_encoder(name, encoder.fingerprint)
    if encoder.card.licence.restricted:
        run.add_licence(name, encoder.card.licence.name)
    found = []
    for cohort in cohorts:
        result = encoders.embed(cohort, encoder, options.store)
        if result.failures:
            first = result.failures[0][2]
            if not len(result.embeddings.vectors):
                raise InputMismatch(f"none of the images of {cohort.name} fits {name}. The first: {first}")
            run.note(
                f"{len(result.failures)} images of {cohort.name} gave no vector with {name} and were left "
                f"out; the first: {first}"
            )
        run.log(f"{name}: {len(result.embeddings.vectors)} vectors of {cohort.name}")
        if main and not encoder.card.is_3d:
            _say_blur(run, cohort, name, encoder.card.picture_recipe.input_size)
        found.append(result.embeddings)
    return found


def _say_blur(run: Run, cohort: Cohort, name: str, size: int) -> None:
    """Note when the images are much smaller than what the encoder takes (by a sample of them)."""
    column = cohort.image_columns[0]
    rows = np.flatnonzero(cohort.table[column].notna().to_numpy())
    sides = []
    for row in rows[:: max(1, len(rows) // SAMPLE)]:
        with contextlib.suppress(RadfoundryError):  # an unreadable image was reported by embedding it
            sides.append(min(read_image(cohort.image_path(int(row), column)).array.shape[:2]))
    if sides and np.median(sides) * BLUR < size:
        run.note(
            f"The images of {cohort.name} measure {np.median(sides):.0f} pixels and {name} takes {size}: "
            "enlarged so much they are blur to it."
        )


def matrix(cohort: Cohort, found: Embeddings) -> np.ndarray:
    """(n, dim) float32 in the cohort's order, NaN where a case has no vector.

    Several image columns are put side by side when every case has them all, else averaged.
    """
    columns = list(dict.fromkeys(found.column))
    if len(columns) < 2 or len(found.vectors) != len(columns) * len(cohort):
        return baselines.align(cohort, found).astype(np.float32)
    picked = [found.column == column for column in columns]
    parts = [
        Embeddings(
            found.vectors[m],
            found.case_id[m],
            found.column[m],
            found.key[m],
            found.encoder,
            found.fingerprint,
        )
        for m in picked
    ]
    return np.hstack([baselines.align(cohort, part) for part in parts]).astype(np.float32)


def metadata(cohorts: Sequence[Cohort]) -> Covariates:
    """Age, sex, view, site and scanner of all cohorts, stacked, as they are; no column when none varies.

    A level has the same code in every cohort. Nothing is learned of the rows here: `CovariateHead`
    standardises and merges rare levels by the training rows of each fit.
    """
    wanted = ("age", "sex", "view", "site", "scanner")
    first = cohorts[0].table
    used = [
        c
        for c in wanted
        if all(c in cohort.table for cohort in cohorts) and first[c].nunique(dropna=False) > 1
    ]
    stacked = pd.concat([cohort.table[used] for cohort in cohorts], ignore_index=True)
    return read_covariates(stacked, used)


def covariates(cohort: Cohort) -> Mapping[str, np.ndarray]:
    """Columns carried into the prediction table, for subgroups."""
    names = [c for c in ("age", "sex", "view", "site", "scanner") if c in cohort.table]
    return {name: cohort.table[name].to_numpy() for name in names}
