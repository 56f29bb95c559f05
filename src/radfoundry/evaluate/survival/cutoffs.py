"""Groups of low and high risk by a cut-off: given, or a quantile of training scores, never searched for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.errors import InputMismatch, NotEnoughData

TRAINING = ("train", "training")
REFUSED = (
    "these scores were fitted on the cases they would be judged on (split {split!r}): the result would be "
    "optimistic. Judge out-of-fold or held-out scores, or force it (in_sample=True, --in-sample), which "
    "every estimate will say"
)
FORCED = "fitted on these same cases: optimistic"
Cutoff = float | str | None


@dataclass(frozen=True)
class RiskGroups:
    """label: (n,) "low risk" or "high risk"; cut: the cut-off, or one a case; note: where it came from."""

    label: np.ndarray
    cut: float | np.ndarray
    note: str


def risk_groups(
    score: Any, cutoff: float | str, *, training: Any = None, split: Any = None, in_sample: bool = False
) -> RiskGroups:
    """Groups of low and high risk (score >= cut-off) from out-of-sample scores (n,).

    cutoff: a number fixed beforehand; "train:0.5", a quantile of the `training` scores; or "median" of the
    judged scores themselves, which depends on them and says so. It is never chosen by the outcome. split:
    (n,) what each case was to the model; training cases are refused unless `in_sample`.

    >>> risk_groups([0.1, 0.9, 0.4], 0.4).label.tolist()
    ['low risk', 'high risk', 'high risk']
    """
    score = np.asarray(score, float)
    fitted = np.zeros(len(score), bool) if split is None else np.isin(
        np.char.lower(np.broadcast_to(np.asarray(split, str), score.shape)), TRAINING)  # fmt: skip
    if fitted.any() and not in_sample:
        raise InputMismatch(REFUSED.format(split="train"))
    cut, note = _cut(score, cutoff, training)
    label = np.where(score >= cut, "high risk", "low risk")
    if len(np.unique(label)) < 2:
        raise NotEnoughData(f"all {len(score)} cases are of {label[0]}: {note}. Take another cut-off")
    return RiskGroups(label, cut, joined(note, FORCED if fitted.any() else None) or "")


def check_cutoff(cutoff: Cutoff) -> None:
    """InputMismatch where a cut-off is neither a number, a training quantile nor the median."""
    if isinstance(cutoff, str) and cutoff.startswith("train:"):
        _share(cutoff.removeprefix("train:"), cutoff)
    elif isinstance(cutoff, str) and cutoff != "median":
        raise InputMismatch(
            f"cut-off {cutoff!r}: give a number, 'train:0.5' (a training quantile) or 'median'"
        )
    elif isinstance(cutoff, float | int) and not math.isfinite(cutoff):
        raise InputMismatch(f"cut-off {cutoff!r}: give a finite number")


def _cut(score: np.ndarray, cutoff: float | str, training: Any) -> tuple[float, str]:
    check_cutoff(cutoff)
    if isinstance(cutoff, str) and cutoff.startswith("train:"):
        q = _share(cutoff.removeprefix("train:"), cutoff)
        known = np.asarray([] if training is None else training, float)
        if not len(known):
            raise InputMismatch(
                f"cut-off {cutoff!r} needs the training scores: rows of split train, or training="
            )
        cut = float(np.quantile(known, q))
        return cut, f"cut-off {cut:.4g}, quantile {q:g} of {len(known)} training scores"
    if cutoff == "median":
        cut = float(np.median(score))
        return cut, f"cut-off {cut:.4g}, the median of these same scores: it depends on the cases judged"
    return float(cutoff), f"cut-off {cutoff:.4g} as given"


def _share(text: str, whole: str) -> float:
    try:
        q = float(text)
    except ValueError:
        q = math.nan
    if not 0 < q < 1:
        raise InputMismatch(f"cut-off {whole!r}: the quantile lies between 0 and 1, as in 'train:0.5'")
    return q


def joined(*notes: str | None) -> str | None:
    """Those notes that are there, in one."""
    return "; ".join(n for n in notes if n) or None
