"""S12 · Do readers do better with the AI than without, how much faster, and do they follow it when it errs?

Question. Several readers judged the same cases in two modalities, as a rule without and with an AI. Is their
accuracy higher with it, for readers and cases like these and not only for those who took part?

Methods. The figure of merit of each reader is averaged over readers. Modalities are compared by the analysis
of variance of Obuchowski and Rockette with Hillis' degrees of freedom, readers and cases random; where reads
are missing by U-statistics on what was read. The same question is then answered for these readers alone, for
these cases alone, with other estimates of the covariance and by a bootstrap of readers and cases, so that
nothing rests on one choice. Decisions give sensitivity, specificity and accuracy, Holm-corrected as a family.

Agreement. Kappa of each reader with the truth and between readers, with the difference by a bootstrap of
readers and cases. Both are given, because published studies often do not say which they mean.

Time. A mixed model of log seconds with modality, session and position in the list, readers and cases random;
ratios of geometric means. Where readers began with different modalities, carry-over is tested.

Automation bias. Accuracy where the AI was right and where it was wrong, and decisions that changed with it,
in both directions. The AI alone and the more frequent class stand beside the readers.

Design after the published study of twenty clinicians and 125 cases, whose order was fixed (unaided, then
aided): with a fixed order learning cannot be told from aid, and the page says so where it finds one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from radfoundry.datasets import phantom_readers
from radfoundry.errors import InputError, InputMismatch, NotEnoughData, TableError
from radfoundry.evaluate.compare import Comparison, holm
from radfoundry.evaluate.kappa import ReaderKappa, Weights, reader_kappa
from radfoundry.evaluate.readers import analyse
from radfoundry.evaluate.readers import reads as reader_table
from radfoundry.evaluate.readers.anova import Effects
from radfoundry.evaluate.readers.automation_bias import AutomationBias, automation_bias
from radfoundry.evaluate.readers.merits import Merit, data_of, merits
from radfoundry.evaluate.readers.reading_time import ReadingTime, reading_time
from radfoundry.evaluate.readers.reads import Reads
from radfoundry.evaluate.readers.result import ReaderStudy, titled
from radfoundry.studies import reader_sections as sections
from radfoundry.studies.reader_sections import Found
from radfoundry.studies.run import Run, command_line
from radfoundry.types import Estimate

TITLE = "Readers with and without the AI"
DECIDED = ("sensitivity", "specificity", "accuracy")
GRADES = 10
"""Ratings on a scale of more grades have no kappa."""


@dataclass(frozen=True)
class Config:
    """Options of the study; without --reads it runs on generated readers with planted effects."""

    reads: Path | None = None
    """Reader table (CSV, TSV, Parquet, iMRMC): case_id, y_true, reader, modality, score and/or decision;
    order, session, seconds, ai_score and ai_decision where known."""
    out: Path = Path("runs/reader_study")
    """Run folder to make."""
    force: bool = False
    """Replace an existing run folder."""
    reference: str = ""
    """Modality that the others are compared with; by default unaided, else the first by name."""
    merit: str = ""
    """Main figure of merit: auroc, auroc_binormal, sensitivity, specificity, accuracy, or a part of the curve
    such as specificity:0.8:1. By default auroc, or accuracy where there are decisions alone."""
    margin: float | None = None
    """Also test that a modality is not worse than the reference by this much."""
    truth: str | None = None
    """Column that holds the truth, where it has no familiar name."""
    threshold: float | None = None
    """Score from which on a read counts as positive, where the table has no decisions."""
    level: float = 0.95
    """Confidence level."""
    readers: int = 8
    """Phantoms: readers."""
    cases: int = 160
    """Phantoms: cases."""
    n_boot: int = 1000
    """Bootstrap draws of readers and cases."""
    seed: int = 0
    """Seed of phantoms and resampling."""


def run(config: Config) -> Path:
    """Run the study; returns the run folder."""
    _check(config)
    with Run(
        config.out, command=command_line(), config=config, seed=config.seed, title=TITLE, force=config.force
    ) as run:
        planted = None
        if config.reads is None:
            made = phantom_readers.make(config.readers, config.cases, seed=config.seed)
            planted, reads = made.truth, reader_table.arrange(made.table, threshold=config.threshold)
            run.note("Generated readers: the numbers show that the analysis finds what was planted, no more.")
        else:
            reads = reader_table.read(config.reads, threshold=config.threshold, truth=config.truth)
        reads = _ordered(reads, config.reference)
        run.hide([*reads.cases, *reads.patient])
        run.add_data(
            config.reads.name if config.reads else "phantom readers", _digest(reads), len(reads.cases)
        )
        for note in reads.notes:
            run.note(note)
        found = _analysed(run, config, reads, _merit(config, reads))
        sections.write(run, found, planted, __doc__)
        run.write_predictions(_predictions(reads))
    return run.out


def _check(config: Config) -> None:
    if not 0 < config.level < 1:
        raise InputError(f"--level must lie between 0 and 1, not {config.level}. For 95 % give 0.95")
    if config.n_boot < 100:
        raise InputError(f"--n-boot must be at least 100, not {config.n_boot}: fewer give no usable limits")
    if config.margin is not None and not 0 < config.margin < 1:
        raise InputError(f"--margin must lie between 0 and 1, not {config.margin:g}")
    if config.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {config.seed}")
    merits(config.merit or "auroc")  # a name that is none is told before a file is read


def _merit(config: Config, reads: Reads) -> Merit:
    scored = bool(np.isfinite(reads.rating).any())
    return merits(config.merit or ("auroc" if scored else "accuracy"))


def _ordered(reads: Reads, reference: str) -> Reads:
    """The reference modality first, the others by name."""
    there = reads.modalities
    if not reference:
        reference = reader_table.default_reference(there)
    if reference not in there:
        raise InputError(f"--reference: no modality {reference!r}. Modalities: {', '.join(there)}")
    at = [there.index(reference), *(i for i, m in enumerate(there) if m != reference)]
    return replace(
        reads, modalities=tuple(there[i] for i in at), rating=reads.rating[at], decision=reads.decision[at]
    )


def _digest(reads: Reads) -> str:
    import hashlib

    found = hashlib.sha256()
    for array in (reads.y, reads.rating, reads.decision):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


# -- analyses ---------------------------------------------------------------------------------------


def _analysed(run: Run, config: Config, reads: Reads, merit: Merit) -> Found:
    main = _study(config, reads, merit, margin=config.margin)
    decided = []
    if np.isfinite(reads.decision).any():
        for name in DECIDED:
            if name != merit.name:
                study = _or_note(run, name.capitalize(), partial(_study, config, reads, merits(name)))
                decided += [study] if study is not None else []
    decided = _family(decided)
    kappa = _all_kappas(run, config, reads)
    time = (
        _or_note(run, "Reading time", lambda: _time(reads, config.level)) if "seconds" in reads.rows else None
    )
    bias = None
    if "ai_decision" in reads.rows and len(reads.modalities) > 1:
        bias = _or_note(run, "Automation bias", lambda: _bias(config, reads))
    if warning := sections.fixed_order(reads):
        run.note(warning)
    for note in main.notes:
        run.note(note)
    return Found(
        reads, main, tuple(decided), _otherwise(config, reads, merit, main), kappa, time, bias,
        _ai(run, config, reads, merit),
    )  # fmt: skip


def _study(config: Config, reads: Reads, merit: Merit, *, margin: float | None = None) -> ReaderStudy:
    return analyse(
        reads, merit=merit, method="auto", weights="readers", effects=_effects(reads), margin=margin,
        reference=reads.modalities[0], level=config.level, n_boot=config.n_boot, seed=config.seed,
    )  # fmt: skip


def _effects(reads: Reads) -> Effects:
    """A single reader is no sample of readers."""
    return "random" if len(reads.readers) > 1 else "fixed readers"


def _family(studies: list[ReaderStudy]) -> list[ReaderStudy]:
    """The differences of all of them corrected together."""
    p = holm([one.p for study in studies for one in study.differences])
    turn = iter(p)
    return [
        replace(study, differences=tuple(replace(one, p_holm=float(next(turn))) for one in study.differences))
        for study in studies
    ]


def _otherwise(
    config: Config, reads: Reads, merit: Merit, main: ReaderStudy
) -> tuple[tuple[str, ReaderStudy | str], ...]:
    """The main question answered in other ways: what each is called, and its result or why there is none."""
    missing = not np.isfinite(data_of(reads, merit)).all()
    # bootstrap takes what was read; the analysis of variance would answer for the complete cases alone
    fixed: dict[str, Any] = {"method": "bootstrap"} if missing else {}
    ways: dict[str, dict[str, Any]] = {
        "these readers alone": {"effects": "fixed readers", **fixed},
        "these cases alone": {"effects": "fixed cases", **fixed},
        "covariance by jackknife (DBM)": {"covariance": "jackknife", "complete_cases": True},
        "covariance by bootstrap": {"covariance": "bootstrap", "complete_cases": True},
        "U-statistics": {"method": "u-statistics", "weights": "readers"},
        "U-statistics, every read counts once": {"method": "u-statistics"},
        "bootstrap of readers and cases": {"method": "bootstrap"},
    }
    if missing:
        ways = {"covariance by DeLong": {"complete_cases": True}, **ways}
    else:
        del ways["U-statistics, every read counts once"]  # all readers read the same cases
    found: list[tuple[str, ReaderStudy | str]] = []
    for name, options in ways.items():
        given = {"method": "obuchowski-rockette", "effects": _effects(reads), **options}
        try:
            study = analyse(
                reads, merit=merit, reference=reads.modalities[0], level=config.level, n_boot=config.n_boot,
                seed=config.seed, **given,
            )  # fmt: skip
        except (NotEnoughData, InputError) as why:
            found.append((name, str(why)))
            continue
        if study.method != main.method:
            found.append((name, study))
    return _reasons_once(found)


def _reasons_once(found: list[tuple[str, ReaderStudy | str]]) -> tuple[tuple[str, ReaderStudy | str], ...]:
    """Ways that all fail for one reason stand in one line, after those that worked."""
    why: dict[str, list[str]] = {}
    for name, study in found:
        if isinstance(study, str):
            why.setdefault(study, []).append(name)
    worked = [(name, study) for name, study in found if not isinstance(study, str)]
    return (*worked, *((", ".join(names), reason) for reason, names in why.items()))


T = TypeVar("T")


def _or_note(run: Run, what: str, make: Callable[[], T]) -> T | None:
    """What `make` gives, or a note of why the data do not support it."""
    try:
        return make()
    except (NotEnoughData, TableError, InputMismatch) as why:
        run.note(f"{what}: {why}")
        return None


def _all_kappas(run: Run, config: Config, reads: Reads) -> ReaderKappa | None:
    """Of decisions, and of ratings on a scale of few grades: between readers, weighted, as kappa_ratings."""
    estimates: list[Estimate] = []
    differences: list[Comparison] = []
    if np.isfinite(reads.decision).any():
        found = _or_note(run, "Kappa", partial(_kappa, config, reads, reads.decision, "none"))
        estimates += found.estimates if found else ()
        differences += found.differences if found else ()
    grades = len(np.unique(reads.rating[np.isfinite(reads.rating)]))
    if 2 < grades <= GRADES and len(reads.readers) > 1:
        found = _or_note(run, "Kappa of ratings", partial(_kappa, config, reads, reads.rating, "quadratic"))
        kept = "kappa_pairwise"  # the truth is on no scale of five grades
        estimates += [replace(e, name="kappa_ratings") for e in (found.estimates if found else ())
                      if e.name == kept]  # fmt: skip
        differences += [replace(c, name="kappa_ratings") for c in (found.differences if found else ())
                        if c.name == kept]  # fmt: skip
    return ReaderKappa(tuple(estimates), tuple(differences)) if estimates else None


def _kappa(config: Config, reads: Reads, readings: np.ndarray, weights: Weights) -> ReaderKappa:
    return reader_kappa(
        readings, reads.y, rng=np.random.default_rng(config.seed), modalities=reads.modalities,
        readers=reads.readers, weights=weights, missing="drop", patient=reads.patient,
        reference=reads.modalities[0], draws=config.n_boot, level=config.level,
    )  # fmt: skip


def _time(reads: Reads, level: float) -> ReadingTime:
    return reading_time(reads.rows, modalities=reads.modalities, missing="drop", level=level)


def _bias(config: Config, reads: Reads) -> AutomationBias:
    """Of the first modality after the reference: with more of them each could have an AI of its own."""
    unaided, aided = reads.modalities[:2]
    rows = reads.rows[reads.rows["modality"].isin((unaided, aided))]
    return automation_bias(
        rows, rng=np.random.default_rng(config.seed), unaided=unaided, aided=aided, draws=config.n_boot,
        level=config.level,
    )  # fmt: skip


def _ai(run: Run, config: Config, reads: Reads, merit: Merit) -> dict[str, Estimate]:
    """The AI alone on all cases it spoke of, by figure of merit: as one reader in one modality."""
    sources = {"rating": ("ai_score", "score"), "decision": ("ai_decision", "decision")}
    found = {}
    for one in (merit, *(merits(name) for name in DECIDED if name != merit.name)):
        column, ours = sources[one.uses]
        if column not in reads.rows or reads.rows[column].isna().all():
            continue
        told = reads.rows.dropna(subset=[column])
        if several := int((told.groupby("case_id")[column].nunique() > 1).sum()):
            run.note(f"The AI alone is not judged: {several} cases have more than one {column}.")
            continue
        table = told.drop_duplicates("case_id")[["case_id", "patient_id", "y_true", column]]
        table = table.rename(columns={column: ours}).assign(reader="AI", modality="AI")
        alone = _or_note(run, "The AI alone", partial(_alone, config, table, one))
        if alone is not None:
            found[one.name] = replace(alone, model="AI alone", subgroup=None)
    return found


def _alone(config: Config, table: pd.DataFrame, merit: Merit) -> Estimate:
    study = analyse(
        reader_table.arrange(table), merit=merit, effects="fixed readers", level=config.level,
        n_boot=config.n_boot, seed=config.seed,
    )  # fmt: skip
    return study.averages[0]


def _predictions(reads: Reads) -> pd.DataFrame:
    """The reads as a prediction table: each reader in each modality is a model."""
    rows = reads.rows[reads.rows["modality"].isin(reads.modalities)]
    kept = [c for c in ("score", "decision") if rows[c].notna().all()]
    models = rows["reader"].map(titled) + ", " + rows["modality"].astype(str)
    carried = [c for c in ("reader", "modality", "session", "order", "seconds") if c in rows]
    table = rows[["case_id", "patient_id", "y_true", *kept, *carried]]
    table = table if "score" in kept else table.assign(score=table["decision"])
    return table.assign(target="truth", model=models)
