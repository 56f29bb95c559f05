"""Verdicts against truth: accuracy by label with intervals, coverage, calibration, every error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pydicom.datadict import tag_for_keyword

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.calibration import ece
from radfoundry.evaluate.intervals import wilson
from radfoundry.series.classify import Classified
from radfoundry.series.header import SeriesHeader
from radfoundry.series.labels import parted
from radfoundry.series.tags import COMPUTED, labelling
from radfoundry.types import Estimate

CONFIDENT = 0.9
NOT_MR = "other:NOT-MR"


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

    `accuracy` asks for modality and kind, `accuracy_modality` for the modality alone: a field map taken for
    BOLD is right there, both being `other`; what is not MR stays apart. Intervals are Wilson's over series,
    and say so: series of one study share a scanner and a protocol, so they are too narrow where studies are
    few. Raises NotEnoughData without series.
    """
    if not found:
        raise NotEnoughData("no series has a known label, so there is nothing to assess")
    said = [item.verdict.label for item in found]
    right = np.array([a == b for a, b in zip(said, truth)])
    p = np.array([math.nan if c.verdict.confidence is None else c.verdict.confidence for c in found])
    unsure = np.array([item.verdict.unsure for item in found])
    estimates = _overall(found, truth, right, p, unsure, name, level)
    if anatomy is not None and any(anatomy):
        hit = np.array([c.verdict.anatomy == a for c, a in zip(found, anatomy) if a])
        estimates.append(_share("accuracy_anatomy", hit, _exams(found), name, level))
    labels, more = _by_label(said, truth, name, level)
    return Assessment(
        name,
        (*estimates, *more),
        labels,
        _coverage(right, p, unsure, level),
        pd.crosstab(pd.Series(truth, name="truth"), pd.Series(said, name="verdict")),
        _errors(found, truth, right),
    )


def _exams(found: Sequence[Classified]) -> int:
    return len({item.series.study or item.series.uid for item in found})


def _share(
    metric: str, of: np.ndarray, exams: int, name: str, level: float, note: str | None = None
) -> Estimate:
    """Share of True in `of`, with Wilson's interval over series."""
    k, n = int(of.sum()), len(of)
    low, high = wilson(k, n, level)
    value = k / n if n else math.nan
    return Estimate(
        metric, value, low, high, level, "Wilson", n, exams, model=name, note=note, cluster="exam"
    )  # fmt: skip


def _overall(
    found: Sequence[Classified], truth: Sequence[str], right: np.ndarray, p: np.ndarray, unsure: np.ndarray,
    name: str, level: float,
) -> list[Estimate]:  # fmt: skip
    """Accuracy and its baseline, the sure share, confident errors, conformal coverage, calibration error."""
    common = Counter(truth).most_common(1)[0][0]
    modalities = [_modality(label) for label in truth]
    often = Counter(modalities).most_common(1)[0][0]
    named = [_modality(c.verdict.label) for c in found]
    held = np.array([t in c.verdict.candidates for t, c in zip(truth, found)])
    size = np.mean([len(c.verdict.candidates) for c in found])
    shares: list[tuple[str, np.ndarray, str | None]] = [
        ("accuracy", right, None),
        ("accuracy_trivial", np.array([t == common for t in truth]), f"always {common}"),
        ("accuracy_modality", np.array([a == b for a, b in zip(named, modalities)]), "kinds of other as one"),
        ("accuracy_modality_trivial", np.array([m == often for m in modalities]), f"always {often}"),
        ("sure", ~unsure, None),
        ("accuracy_when_sure", right[~unsure], None),
        ("confident_error", ~right & (p > CONFIDENT), f"wrong with a probability above {CONFIDENT}"),
        ("candidates_hold_truth", held, f"{size:.2f} candidates on average"),
    ]
    exams = _exams(found)
    estimates = [_share(metric, of, exams, name, level, note) for metric, of, note in shares]
    told = np.isfinite(p)
    if told.any():
        value = ece(right[told].astype(int), p[told])
        note = "confidence against being right"
        estimates.append(Estimate("ece", value, method="10 bins", n=int(told.sum()), model=name, note=note))
    return estimates


def _modality(label: str) -> str:
    """The modality of a label; what is not MR stays apart from the kinds of `other`.

    >>> _modality("other:BOLD"), _modality("T1"), _modality(NOT_MR)
    ('other', 'T1', 'other:NOT-MR')
    """
    return label if label == NOT_MR else parted(label)[0]


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


GROUPS: dict[str, tuple[str, ...]] = {
    "names": ("SequenceName", "PulseSequenceName", "vendor:pulse_sequence", "vendor:technique"),
    "image-type": ("ImageType", "vendor:image_kind"),
    "anonymised": (
        "SequenceName", "PulseSequenceName", "ReceiveCoilName", "BodyPartExamined", "ContrastBolusAgent",
        "Manufacturer", "ManufacturerModelName", "SeriesDescription", "ProtocolName", "private",
    ),
}  # fmt: skip
"""What goes together. anonymised: free text and device descriptions, which de-identification may take (PS3.15
annex E), and private elements. The vendor's own copies of a tag go with it."""


MERGED = {
    "EchoTime": "echo_times",
    "RepetitionTime": "repetition_times",
    "InversionTime": "inversion_times",
    "DiffusionBValue": "b_values",
    "ImageOrientationPatient": "normals",
}
"""Tags whose values a header also holds merged over the series."""


def hide(header: SeriesHeader, names: Collection[str]) -> SeriesHeader:
    """The header without some tags: keywords, GROUPS, or `private` for all vendor elements.

    What only private elements told (b-values, labelling, words of Siemens XA, tiles of a mosaic) goes with
    them. Raises InputError for a name that is neither.
    """
    unknown = [name for name in names if name not in GROUPS and name != "private" and not _is_tag(name)]
    if unknown:
        raise InputError(
            f"{', '.join(unknown)}: no DICOM keyword to hide. Groups: {', '.join(GROUPS)}, private"
        )
    gone = {part for name in names for part in GROUPS.get(name, (name,))}
    values = {key: found for key, found in header.values.items() if key not in gone}
    if "private" in gone:
        values = {k: v for k, v in values.items() if not k.startswith("vendor:") and k not in header.private}
        if "DiffusionBValue" not in values:
            header = replace(header, b_values=(), n_directions=0)
        elif "DiffusionGradientOrientation" in header.private:
            header = replace(header, n_directions=0)
        if COMPUTED in header.private:  # without its private elements a mosaic is one picture
            header = replace(header, n_images=header.n_files, n_positions=min(header.n_positions, 1))
        header = replace(header, asl=labelling(values))
    if "Manufacturer" in gone:
        header = replace(header, vendor="")
    merged = {field: () for tag, field in MERGED.items() if tag in gone}
    return replace(header, values=values, **merged)  # type: ignore[arg-type]  # all of them are tuples


def _is_tag(name: str) -> bool:
    return name.startswith("vendor:") or tag_for_keyword(name) is not None
