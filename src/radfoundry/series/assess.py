"""Verdicts against truth: accuracy by label with intervals, coverage, calibration, every error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.calibration import ece
from radfoundry.evaluate.intervals import wilson
from radfoundry.series.classify import Classified
from radfoundry.series.header import SeriesHeader
from radfoundry.types import Estimate

CONFIDENT = 0.9


@dataclass(frozen=True)
class Assessment:
    """What came of one way of classifying.

    estimates: overall and by label. labels: one row a label with n, recall, precision, F1. coverage: columns
    coverage, accuracy, low, high, confidence, n, as the least confident series are left to a person.
    confusion: truth by verdict. errors: one row a wrong verdict.
    """

    name: str
    estimates: tuple[Estimate, ...]
    labels: pd.DataFrame
    coverage: pd.DataFrame
    confusion: pd.DataFrame
    errors: pd.DataFrame


def assess(
    found: Sequence[Classified],
    truth: Sequence[str],
    *,
    anatomy: Sequence[str] | None = None,
    name: str = "",
    level: float = 0.95,
) -> Assessment:
    """Assess verdicts; truth and anatomy in the order of `found`, anatomy "" where it is not known.

    Intervals are Wilson's over series, and say so: series of one study share a scanner and a protocol, so
    they are too narrow where studies are few. Raises NotEnoughData without series.
    """
    if not found:
        raise NotEnoughData("no series has a known label, so there is nothing to assess")
    said = [item.verdict.label for item in found]
    right = np.array([a == b for a, b in zip(said, truth)])
    p = np.array([math.nan if c.verdict.confidence is None else c.verdict.confidence for c in found])
    unsure = np.array([item.verdict.unsure for item in found])
    studies = len({item.series.study or item.series.uid for item in found})

    def share(metric: str, of: np.ndarray, note: str | None = None, subgroup: str | None = None) -> Estimate:
        k, n = int(of.sum()), len(of)
        low, high = wilson(k, n, level)
        return Estimate(
            metric,
            k / n if n else math.nan,
            low,
            high,
            level,
            "Wilson",
            n,
            studies,
            subgroup=subgroup,
            model=name,
            note=note,
            cluster="exam",
        )

    common = Counter(truth).most_common(1)[0]
    estimates = [
        share("accuracy", right),
        share("accuracy_trivial", np.array([t == common[0] for t in truth]), f"always {common[0]}"),
        share("sure", ~unsure),
        share("accuracy_when_sure", right[~unsure]),
        share("confident_error", ~right & (p > CONFIDENT), f"wrong with a probability above {CONFIDENT}"),
        share(
            "candidates_hold_truth",
            np.array([t in c.verdict.candidates for t, c in zip(truth, found)]),
            f"{np.mean([len(c.verdict.candidates) for c in found]):.2f} candidates on average",
        ),
    ]
    told = np.isfinite(p)
    if told.any():
        value = ece(right[told].astype(int), p[told])
        estimates.append(
            Estimate(
                "ece",
                value,
                method="10 bins",
                n=int(told.sum()),
                model=name,
                note="confidence against being right",
            )
        )
    if anatomy is not None and any(anatomy):
        known = np.array([bool(a) for a in anatomy])
        hit = np.array([c.verdict.anatomy == a for c, a in zip(found, anatomy)])
        estimates.append(share("accuracy_anatomy", hit[known]))
    labels, more = _by_label(said, truth, name, level)
    return Assessment(
        name,
        (*estimates, *more),
        labels,
        _coverage(right, p, unsure, level),
        pd.crosstab(pd.Series(truth, name="truth"), pd.Series(said, name="verdict")),
        _errors(found, truth, right),
    )


def _by_label(
    said: Sequence[str], truth: Sequence[str], name: str, level: float
) -> tuple[pd.DataFrame, list[Estimate]]:
    rows, estimates = [], []
    a, b = np.array(said), np.array(truth)
    for label in sorted({*said, *truth}):
        hit, n, called = (
            int(((a == label) & (b == label)).sum()),
            int((b == label).sum()),
            int((a == label).sum()),
        )
        f1 = 2 * hit / (n + called) if n + called else math.nan
        rows.append(
            {
                "label": label,
                "n": n,
                "recall": hit / n if n else math.nan,
                "low": wilson(hit, n, level)[0],
                "high": wilson(hit, n, level)[1],
                "called": called,
                "precision": hit / called if called else math.nan,
                "f1": f1,
            }
        )
        if n:
            low, high = wilson(hit, n, level)
            estimates.append(
                Estimate("recall", hit / n, low, high, level, "Wilson", n, subgroup=label, model=name)
            )
    frame = pd.DataFrame(rows)
    seen = frame[frame["n"] > 0]
    estimates.append(
        Estimate(
            "f1_macro",
            float(seen["f1"].mean()),
            level=level,
            n=len(truth),
            model=name,
            note=f"{len(seen)} labels; no interval: most have a handful of series",
        )
    )
    return frame, estimates


def _coverage(right: np.ndarray, p: np.ndarray, unsure: np.ndarray, level: float) -> pd.DataFrame:
    """Accuracy of the most confident series as coverage grows; unsure ones come last, ties stay together."""
    score = np.where(np.isfinite(p), p, 1.0) - 2.0 * unsure
    order = np.argsort(-score, kind="stable")
    rows = []
    for k in range(1, len(order) + 1):
        if k < len(order) and score[order[k]] == score[order[k - 1]]:
            continue
        hits = int(right[order[:k]].sum())
        low, high = wilson(hits, k, level)
        rows.append(
            {
                "coverage": k / len(order),
                "accuracy": hits / k,
                "low": low,
                "high": high,
                "confidence": float(p[order[k - 1]]),
                "n": k,
            }
        )
    return pd.DataFrame(rows)


def _errors(found: Sequence[Classified], truth: Sequence[str], right: np.ndarray) -> pd.DataFrame:
    columns = ["where", "truth", "verdict", "confidence", "unsure", "vendor", "candidates", "trace"]
    rows = [
        [
            c.series.where,
            t,
            c.verdict.label,
            c.verdict.confidence,
            c.verdict.unsure,
            c.header.vendor,
            ", ".join(c.verdict.candidates),
            "; ".join(c.verdict.trace),
        ]
        for c, t, ok in zip(found, truth, right)
        if not ok
    ]
    return pd.DataFrame(rows, columns=columns).sort_values("confidence", ascending=False, na_position="last")


ANONYMISED = (
    "SequenceName",
    "PulseSequenceName",
    "ReceiveCoilName",
    "BodyPartExamined",
    "ContrastBolusAgent",
    "Manufacturer",
    "ManufacturerModelName",
    "SeriesDescription",
    "ProtocolName",
    "private",
)
"""What de-identification may take: free text and device descriptions (PS3.15 annex E), private elements."""


def hide(header: SeriesHeader, names: Iterable[str]) -> SeriesHeader:
    """The header without some tags. `anonymised` stands for ANONYMISED, `private` for all vendor elements.

    A b-value that only a private element told goes with them.
    """
    gone = {part for name in names for part in (ANONYMISED if name == "anonymised" else (name,))}
    values = {key: found for key, found in header.values.items() if key not in gone}
    if "private" in gone:
        values = {key: found for key, found in values.items() if not key.startswith("vendor:")}
        standard = "DiffusionBValue" in values
        header = replace(
            header,
            asl="",
            b_values=header.b_values if standard else (),
            n_directions=header.n_directions if standard else 0,
        )
    if "Manufacturer" in gone:
        header = replace(header, vendor="")
    return replace(header, values=values)
