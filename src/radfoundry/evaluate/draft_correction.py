"""Omission and invention rates of drafts, corrected for the errors of the extractor that read them.

Model. For one finding let (r, d) be its true statuses in report and draft. The extractor reads each text with
sensitivity and specificity known from a validation set, and errs on the two texts independently given
(r, d). The four observed counts then are a known mixture of the four true ones (see `prevalence`), which is
undone. Uncorrected, a finding that is in both texts and missed in one looks like an omission or an invention,
so both rates come out too high, the more so the rarer the finding.

Three things it does not do. Errors shared by both texts (the same odd wording copied into both) are
positively dependent, and then independence takes out too much: `dependence=1` gives the other end, so show
both. The validation must be of texts like these, drafts included. And the rates refer to what is written:
whether the radiologist is right is another question.

Per finding the true table is the most likely one; intervals draw the reports anew and the extractor's rates
from Beta(k + 1/2, n - k + 1/2).

Pooled over findings the extractor's rates differ from finding to finding, and a finding that it always misses
would pass for agreement. The pooled matrix therefore holds the chance of reading the same finding in two
texts, counted over pairs of validation reports, not the square of the average chance. It assumes that
findings are mixed in the validation as they are in the reports. Intervals draw the reports and the validation
reports anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry.errors import InputMismatch
from radfoundry.evaluate import classification as cl
from radfoundry.evaluate.draft_comparison import invention_rate, omission_rate
from radfoundry.evaluate.finding_cells import Cells, by_cluster, draw_counts, resampled
from radfoundry.evaluate.findings import within
from radfoundry.evaluate.prevalence import matrix_of, misclassification, rogan_gladen, true_tables
from radfoundry.evaluate.resample import draw_blocks
from radfoundry.types import Estimate

RATES = {
    "omission_rate_corrected": omission_rate,
    "invention_rate_corrected": invention_rate,
    "prevalence_reference_corrected": lambda cm: cl.divide(cm[1].sum(0), cm.sum((0, 1))),
    "prevalence_draft_corrected": lambda cm: cl.divide(cm[:, 1].sum(0), cm.sum((0, 1))),
}

BLIND = "not identifiable: sensitivity + specificity <= 1"


def correct_drafts(
    cells: Cells,
    validation: Cells,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    minimum_positives: int = 5,
    dependence: float = 0.0,
    strata: Mapping[str, np.ndarray] | None = None,
) -> list[Estimate]:
    """Corrected omission and invention rates and prevalences, by finding, pooled and by criticality.

    cells: what the extractor read in reports (reference) and drafts (call). validation: truth (reference)
    and what the same extractor read (call), of the same findings. A rate is NaN with a note where the data
    cannot give it: fewer than `minimum_positives` validation positives (or negatives), Se + Sp <= 1, or
    fewer than `minimum_positives` findings read on that side. strata: pooled rows for parts of the reports,
    with the extractor's rates of the whole validation. Every note holds the uncorrected value.
    """
    if cells.findings != validation.findings:
        raise InputMismatch("the validation has other findings than the drafts. Use one dictionary for both")
    validation = replace(validation, criticality=cells.criticality)
    cm = draw_counts(cells, draws, rng)
    found = _by_finding(cells, validation, cm, rng, level, minimum_positives, dependence)
    rates = _Pooled(validation, draws, rng, minimum_positives, dependence)
    found += rates.estimates(cells, cm, level)
    for label, reports in (strata or {}).items():
        part = cells.take(reports)
        if len(part):
            found += [
                within(label, one) for one in rates.estimates(part, draw_counts(part, draws, rng), level)
            ]
    return found


def _flat(cm: np.ndarray) -> np.ndarray:
    """(2, 2, ...) to (..., 4) in the order 00, 01, 10, 11."""
    return np.moveaxis(cm.reshape(4, *cm.shape[2:]), 0, -1)


def _square(tables: np.ndarray) -> np.ndarray:
    return np.moveaxis(tables, -1, 0).reshape(2, 2, *tables.shape[:-1])


def _unread(name: str, counts: np.ndarray, minimum: int) -> str | None:
    """Why a rate cannot be corrected for want of findings in the comparison itself; None when it can."""
    sides = {"omission_rate_corrected": ("reports", counts[1].sum())}
    sides["invention_rate_corrected"] = ("drafts", counts[:, 1].sum())
    where, read = sides.get(name, ("", minimum))
    return f"not identifiable: read in {int(read)} {where}, {minimum} are needed" if read < minimum else None


def _by_finding(
    cells: Cells,
    validation: Cells,
    cm: np.ndarray,
    rng: np.random.Generator,
    level: float,
    minimum: int,
    dependence: float,
) -> list[Estimate]:
    right = np.array([validation.counts[1, 1], validation.counts[0, 0]])  # of positives, of negatives
    of = np.array([validation.counts[1].sum(0), validation.counts[0].sum(0)])
    se, sp = cl.divide(right, of)
    usable = (of >= minimum).all(0) & (se + sp > 1)
    truth = true_tables(_flat(cells.counts), misclassification(se, sp, dependence=dependence))
    beta = rng.beta((right + 0.5)[..., None], (of - right + 0.5)[..., None], (*right.shape, cm.shape[3]))
    drawn = np.full((len(usable), cm.shape[3], 4), np.nan)
    drawn[usable] = true_tables(
        _flat(cm[:, :, usable]), misclassification(beta[0, usable], beta[1, usable], dependence=dependence)
    )
    found = []
    for i, finding in enumerate(cells.findings):
        where = {"target": finding, "subgroup": cells.level[i]}
        few = _few(of[:, i], minimum)
        why = few or (None if usable[i] else BLIND)
        for name in ("omission_rate_corrected", "invention_rate_corrected"):
            counts = cells.counts[:, :, i]
            reason = why or _unread(name, counts, minimum)
            found.append(
                _rate(name, counts, truth[i], drawn[i], reason, "rates from Beta", cells, level, where)
            )
        for side in ("reference", "draft"):
            found.append(_margin(cells, i, side, right[:, i], of[:, i], few, level, where))
    return found


def _few(of: np.ndarray, minimum: int) -> str | None:
    """Why a validation with so many positives and negatives is too small; None when it is not."""
    if (of >= minimum).all():
        return None
    return (
        f"not identifiable: {int(of[0])} positives and {int(of[1])} negatives in the validation, "
        f"{minimum} of each are needed"
    )


def _rate(
    name: str,
    counts: np.ndarray,
    truth: np.ndarray,
    drawn: np.ndarray,
    reason: str | None,
    how: str,
    cells: Cells,
    level: float,
    where: Mapping[str, Any],
) -> Estimate:
    """One of RATES from the true table (4,) and its draws (draws, 4); NaN where there is a reason."""
    function, n = RATES[name], _of(name, counts)
    raw = float(function(counts))
    if reason:
        return _unknown(name, reason, raw, level, n, cells, where)
    value = float(function(_square(truth)))
    note = _notes(name, value, raw)
    made = resampled(name, value, function(_square(drawn)), level, cells, n, note=note, **where)
    return replace(made, method=f"corrected, {made.method}, {how}")


def _margin(
    cells: Cells,
    i: int,
    side: str,
    right: np.ndarray,
    of: np.ndarray,
    few: str | None,
    level: float,
    where: Mapping[str, Any],
) -> Estimate:
    """Prevalence of a finding on one side, which needs only that margin."""
    counts = cells.counts[:, :, i]
    read, n = counts.sum(1 if side == "reference" else 0)[1], counts.sum()
    name, raw = f"prevalence_{side}_corrected", float(cl.divide(read, n))
    if few:
        return _unknown(name, few, raw, level, n, cells, where)
    made = rogan_gladen(read, n, (right[0], of[0]), (right[1], of[1]), level)
    words = [w for w in (made.note, f"uncorrected {raw:.3f}") if w]
    return replace(made, name=name, note="; ".join(words), **cells.counted, **where)


def _unknown(
    name: str, reason: str, raw: float, level: float, n: int, cells: Cells, where: Mapping[str, Any]
) -> Estimate:
    note = f"{reason}; uncorrected {raw:.3f}"
    return Estimate(name, math.nan, level=level, n=int(n), note=note, **cells.counted, **where)


class _Pooled:
    """The extractor's pooled matrices by criticality, estimated and drawn once, for any set of reports."""

    def __init__(
        self, validation: Cells, draws: int, rng: np.random.Generator, minimum: int, dependence: float
    ) -> None:
        self.minimum = minimum
        of = validation.counts.sum(1)[::-1]  # positives, negatives
        self.few = {name: _few(of[:, mask].sum(1), minimum) for name, mask in validation.groups.items()}
        sums = _pair_sums(validation, [np.ones((validation.clusters[1], 1))])
        drawn = _pair_sums(validation, draw_blocks(validation.clusters[1], draws, rng))
        self.matrix, self.matrices = (
            {name: _pooled_matrix(x[:, :, mask], dependence) for name, mask in validation.groups.items()}
            for x in (sums, drawn)
        )

    def estimates(self, cells: Cells, cm: np.ndarray, level: float) -> list[Estimate]:
        found = []
        for name, mask in cells.groups.items():
            counts, drawn = cells.counts[:, :, mask].sum(2), cm[:, :, mask].sum(2)
            table = true_tables(_flat(counts), self.matrix[name][0])
            tables = true_tables(_flat(drawn), self.matrices[name])
            why = self.few[name] or (None if np.isfinite(table).all() else BLIND)
            for metric in RATES:
                reason = why or _unread(metric, counts, self.minimum)
                found.append(_rate(metric, counts, table, tables, reason, "validation reports drawn too",
                                   cells, level, {"subgroup": name}))  # fmt: skip
        return found


def _pair_sums(validation: Cells, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Counts of one validation cell, and of pairs of them from two reports: (2, 4, findings, draws).

    The four: present and read, present, absent and read, absent. Pairs are of distinct reports (patients),
    weighted by how often both were drawn: (sum w x)^2 - sum w^2 x^2.
    """
    codes, g = validation.clusters
    hit, missed = validation.cells(True, True), validation.cells(True, False)
    false, silent = validation.cells(False, True), validation.cells(False, False)
    parts = [by_cluster(x, codes, g) for x in (hit, hit | missed, false, false | silent)]
    out = []
    for weights in blocks:
        once = np.stack([part @ weights for part in parts])
        twice = np.stack([part.power(2) @ weights**2 for part in parts])
        out.append(np.stack([once, once**2 - twice]))
    return np.concatenate(out, axis=3)


def _pooled_matrix(sums: np.ndarray, dependence: float) -> np.ndarray:
    """(draws, 4, 4) from `_pair_sums` of the findings of a group."""
    (hit, present, false, absent), (hit2, present2, false2, absent2) = sums
    wrong = np.nan_to_num(cl.divide(false, absent))  # of each finding
    found, over = cl.divide(hit.sum(0), present.sum(0)), cl.divide(false.sum(0), absent.sum(0))
    twice = found**2 + _spread(hit, present, hit2, present2)
    over_twice = over**2 + _spread(false, absent, false2, absent2)
    beside = cl.divide((present * wrong).sum(0), present.sum(0))
    return matrix_of(found, over, beside, twice, cl.divide((hit * wrong).sum(0), present.sum(0)), over_twice,
                     dependence)  # fmt: skip


def _spread(hit: np.ndarray, of: np.ndarray, hit2: np.ndarray, of2: np.ndarray) -> np.ndarray:
    """Variance of a rate between findings, weighted by how often they occur; (draws,), never negative.

    From findings that occur in two reports or more: mean of the chance to read both less the mean squared.
    """
    paired = of2 > 0
    weight = np.where(paired, of, 0.0)
    total = weight.sum(0)
    both = cl.divide((weight * np.nan_to_num(cl.divide(hit2, of2))).sum(0), total)
    mean = cl.divide(np.where(paired, hit, 0.0).sum(0), total)
    return np.maximum(np.nan_to_num(both - mean**2), 0.0)


def _of(metric: str, counts: np.ndarray) -> int:
    """What a rate is a share of: findings read in reports, in drafts, or all cells."""
    if metric.startswith("prevalence"):
        return int(counts.sum())
    return int(counts[1].sum() if metric.startswith("omission") else counts[:, 1].sum())


def _notes(name: str, value: float, raw: float) -> str:
    if value > 1e-6:
        return f"uncorrected {raw:.3f}"
    what = "findings" if name.startswith("prevalence") else "disagreement"
    return f"no more {what} than the extractor's own errors make; uncorrected {raw:.3f}"
