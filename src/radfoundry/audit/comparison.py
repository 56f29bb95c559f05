"""Does a model add anything over a simpler one? A sentence made from numbers by a stated rule.

Rule, for the difference of two areas under the ROC curve on the same cases:

- its interval excludes 0: better, or worse (and by less than the margin, when it lies within it);
- else its interval lies within the margin (0.02 either way): equivalent;
- else: not distinguishable with this many patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from radfoundry.errors import NotEnoughData, TableError
from radfoundry.evaluate.intervals import auc_covariance, delong_from, placements, z_of
from radfoundry.evaluate.resample import Ranked, codes_of, draw_blocks, percentile
from radfoundry.types import Estimate

Verdict = Literal["better", "worse", "equivalent", "not distinguishable"]

MARGIN = 0.02  # region of practical equivalence, in AUC


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two scores on the same cases. difference: model minus baseline."""

    baseline: Estimate
    model: Estimate
    difference: Estimate
    verdict: Verdict
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "baseline": self.baseline.as_dict(),
            "model": self.model.as_dict(),
            "difference": self.difference.as_dict(),
            "verdict": self.verdict,
            "sentence": self.sentence,
        }


def adds_over(
    baseline_scores: np.ndarray,
    model_scores: np.ndarray,
    y: np.ndarray,
    patient: np.ndarray,
    *,
    baseline: str = "the baseline",
    model: str = "the image model",
    target: str | None = None,
    margin: float = MARGIN,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    fold: np.ndarray | None = None,
) -> Comparison:
    """Compare two scores for the same cases, paired.

    baseline_scores, model_scores: (n,), NaN where a case was not scored (the pair is then left out); or
    (repeats, n) out-of-fold scores of repeated cross-validation, of as many repeats each: an AUC is then
    the mean over repeats, as everywhere in `evaluate`, and its interval still rests on patients.
    y: (n,) 0/1. patient: (n,). With one image a patient the interval is the paired DeLong one (DeLong,
    DeLong & Clarke-Pearson, Biometrics 1988; components averaged over repeats), else patients are
    resampled. To ask whether images add to age and sex, give as model a score of images *and* age and sex.
    fold: (n,) or (repeats, n), the fold that tested a case: an AUC is then the mean over folds, as is right
    where folds were scored by fits or models that share no scale (`fold_placements`).
    Raises TableError on lengths or labels, NotEnoughData with one class.
    """
    first, second, truth, who, folds = _checked(baseline_scores, model_scores, y, patient, fold)
    n_patients = len(np.unique(who))
    if n_patients == len(truth):
        areas, bounds = _delong(truth, first, second, folds, level)
        method = "paired DeLong"
    else:
        areas, bounds = _bootstrap(truth, first, second, folds, who, n_boot, level, seed)
        method = f"paired patient bootstrap, {n_boot} draws"
    method += "" if fold is None else ", within folds"

    def make(name: str, value: float, interval: tuple[float, float], who_is: str | None) -> Estimate:
        low, high = interval
        return Estimate(name, value, low, high, level, method, len(truth), n_patients, target, None, who_is)

    difference = make("auroc difference", areas[1] - areas[0], bounds[2], f"{model} minus {baseline}")
    verdict = judge(difference.low, difference.high, margin)
    return Comparison(
        make("auroc", areas[0], bounds[0], baseline),
        make("auroc", areas[1], bounds[1], model),
        difference,
        verdict,
        say(verdict, difference, areas[0], areas[1], baseline, model, margin),
    )


def judge(low: float, high: float, margin: float = MARGIN) -> Verdict:
    """The rule of this module.

    >>> judge(0.01, 0.09), judge(-0.01, 0.015), judge(-0.04, 0.06), judge(-0.2, -0.1)
    ('better', 'equivalent', 'not distinguishable', 'worse')
    """
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "equivalent" if -margin <= low and high <= margin else "not distinguishable"


def say(
    verdict: Verdict,
    difference: Estimate,
    first: float,
    second: float,
    baseline: str,
    model: str,
    margin: float,
) -> str:
    """The sentence for a verdict; every number in it comes from the arguments."""
    found = (
        f"AUC {second:.2f} against {first:.2f}, difference {_signed(difference.value)}, "
        f"{difference.level:.0%} CI {_signed(difference.low)} to {_signed(difference.high)}"
    )
    subject = model[:1].upper() + model[1:] if " " in model else model  # a name stays as it is written
    small = max(abs(difference.low), abs(difference.high)) <= margin
    by = f", but by less than {margin:g}, which hardly matters" if small else ""
    patients = difference.n_clusters or difference.n
    return {
        "better": f"{subject} did better than {baseline}{by} ({found}).",
        "worse": f"{subject} did worse than {baseline}{by} ({found}).",
        "equivalent": f"{subject} added nothing over {baseline}: equal within ±{margin:g} ({found}).",
        "not distinguishable": (
            f"{subject} added nothing measurable over {baseline} with these {patients} patients ({found})."
        ),
    }[verdict]


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def fold_placements(y: np.ndarray, score: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Components (n,) whose mean over positives, and over negatives, is the mean of the AUCs of the folds.

    y: (n,) 0/1; score: (n,); fold: (n,). DeLong's placements, taken among the cases of the same fold, so that
    scores of different folds need no common scale: averaged areas, not pooled scores (Forman & Scholz, SIGKDD
    Explorations 2010;12:49; Parker et al., BMC Bioinformatics 2007;8:326). A fold of few positives counts as
    much as one of many. `delong_from` makes an interval of them. NotEnoughData: a fold of one class.
    """
    parts = [np.flatnonzero(fold == name) for name in np.unique(fold)]
    inside = [placements(y[rows], score[rows]) for rows in parts]
    area = float(np.mean([p[y[rows] == 1].mean() for rows, p in zip(parts, inside, strict=True)]))
    out = np.empty(len(y))
    for rows, p in zip(parts, inside, strict=True):
        same = np.where(y[rows] == 1, (y[rows] == 1).sum(), (y[rows] != 1).sum())  # of the case's class, here
        whole = np.where(y[rows] == 1, (y == 1).sum(), (y != 1).sum())
        out[rows] = area + (p - area) * whole / (len(parts) * same)
    return out


Checked = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _checked(
    baseline: np.ndarray, model: np.ndarray, y: np.ndarray, patient: np.ndarray, fold: np.ndarray | None
) -> Checked:
    """Both scores as (repeats, n), truth, patients, folds (repeats, n), of the cases that both scores have.

    Without folds all cases of a repeat are of one.
    """
    first, second = (np.atleast_2d(np.asarray(c, float)) for c in (baseline, model))
    y, patient = np.asarray(y), np.asarray(patient).astype(str)
    lengths = [first.shape[-1], second.shape[-1], len(y), len(patient)]
    if len(set(lengths)) != 1:
        raise TableError(f"scores, labels and patients differ in length {lengths}: align them by case_id")
    if len(first) != len(second):
        raise TableError(f"{len(first)} and {len(second)} repeats: compare the repeats that both have")
    folds = np.zeros(first.shape, int) if fold is None else np.atleast_2d(np.asarray(fold))
    if folds.shape != first.shape:
        raise TableError(f"folds are {folds.shape}, scores {first.shape}: name the fold of every score")
    whole = np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    first, second, folds = (a[:, whole] for a in (first, second, folds))
    y, patient = y[whole], patient[whole]
    if not np.isin(y, (0, 1)).all():
        raise TableError("labels must be 0 or 1: pass (y == positive_class).astype(int)")
    if len(np.unique(y)) < 2:
        raise NotEnoughData("only one class among the cases that both scores cover: add cases of the other")
    return first, second, y.astype(int), patient, folds


Bounds = list[tuple[float, float]]  # of the baseline, the model and their difference


def _delong(
    y: np.ndarray, first: np.ndarray, second: np.ndarray, folds: np.ndarray, level: float
) -> tuple[list[float], Bounds]:
    parts = np.stack([
        np.mean([fold_placements(y, s, f) for s, f in zip(scores, folds, strict=True)], axis=0)
        for scores in (first, second)
    ])  # fmt: skip
    areas = [float(p[y == 1].mean()) for p in parts]
    covariance = auc_covariance(y, parts)
    gap = areas[1] - areas[0]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    half = z_of(level) * float(np.sqrt(max(variance, 0.0)))
    alone = [delong_from(y, p, level) for p in parts]
    return areas, [*((e.low, e.high) for e in alone), (gap - half, gap + half)]


def _bootstrap(
    y: np.ndarray, first: np.ndarray, second: np.ndarray, folds: np.ndarray, patient: np.ndarray, n: int,
    level: float, seed: int,
) -> tuple[list[float], Bounds]:  # fmt: skip
    """Percentile intervals of both areas and of their difference, from the same draws of patients.

    A fold that a draw leaves with one class has no area there and is left out of that draw's mean.
    """
    codes, g = codes_of(patient, len(y))
    parts = [[np.flatnonzero(f == name) for name in np.unique(f)] for f in folds]
    ranked = [
        [[Ranked(y[p], s[p], codes[p], g) for p in own] for s, own in zip(scores, parts, strict=True)]
        for scores in (first, second)
    ]

    def both(counts: np.ndarray) -> np.ndarray:
        return np.stack([
            np.mean([_over_folds(np.stack([r.auroc(counts) for r in own])) for own in repeats], axis=0)
            for repeats in ranked
        ])  # fmt: skip

    areas = [float(area) for area in both(np.ones((g, 1)))[:, 0]]
    draws = np.concatenate([both(c) for c in draw_blocks(g, n, np.random.default_rng(seed))], axis=1)
    return areas, [percentile(d, level)[:2] for d in (*draws, draws[1] - draws[0])]


def _over_folds(areas: np.ndarray) -> np.ndarray:
    """(folds, draws) to (draws,): the mean of the areas that there are."""
    known = np.isfinite(areas)
    total = np.where(known, areas, 0.0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(areas.shape[1], np.nan), where=known.any(axis=0))
