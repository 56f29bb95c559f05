"""Operating points, chosen on validation data only.

Every rule looks at the cut-points between neighbouring distinct scores (plus "call all positive" and
"call none"), so that a threshold does not sit on a validation case. A case is called positive when its
score is at least the threshold.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from radfoundry.errors import InputError, NotEnoughData

RULES = ("youden", "f1", "sensitivity:X", "specificity:X", "cost:R")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A cut-point with where it came from; sensitivity and specificity are those on validation."""

    value: float
    rule: str
    n_validation: int
    n_positive: int
    sensitivity: float
    specificity: float

    def decide(self, score: np.ndarray) -> np.ndarray:
        """1 where the score is at least the threshold, else 0.

        >>> Threshold(0.5, "given", 0, 0, 1.0, 1.0).decide(np.array([0.2, 0.5]))
        array([0, 1])
        """
        return (np.asarray(score) >= self.value).astype(int)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def choose(y: np.ndarray, score: np.ndarray, rule: str = "youden") -> Threshold:
    """The threshold that `rule` picks on validation labels y (n,) in {0, 1} and scores (n,).

    Rules: `youden` (largest sensitivity + specificity), `f1` (largest F1 of the positive class),
    `sensitivity:X` (the most specific cut with sensitivity of at least X), `specificity:X` (the most
    sensitive cut with specificity of at least X), `cost:R` (least cost where a missed positive costs R
    false alarms). Of tied cuts the middle one. NotEnoughData: one class only. InputError: bad labels,
    scores or rule.

    >>> choose(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.6, 0.9])).value
    0.5
    """
    y, score = _checked(y, score)
    cut, sensitivity, specificity = _operating_points(y, score)
    n_pos, n_neg = int(y.sum()), int((1 - y).sum())
    utility = _utility(rule, sensitivity, specificity, n_pos, n_neg)
    best = np.flatnonzero(utility >= utility.max() - 1e-12)
    i = best[(len(best) - 1) // 2]
    return Threshold(float(cut[i]), rule, len(y), n_pos, float(sensitivity[i]), float(specificity[i]))


def _checked(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, score = np.asarray(y), np.asarray(score, dtype=float)
    if y.ndim != 1 or y.shape != score.shape:
        raise InputError(f"labels {y.shape} and scores {score.shape} must be two vectors of one length")
    if not np.isin(y, (0, 1)).all():
        raise InputError("labels must be 0 or 1: pass (y == positive_class).astype(int)")
    if not np.isfinite(score).all():
        raise InputError(
            f"score {int(np.flatnonzero(~np.isfinite(score))[0])} is not finite; drop or mend it"
        )
    if len(np.unique(y)) < 2:
        raise NotEnoughData(
            "a threshold needs both classes in the validation data; use a larger validation part"
        )
    return y.astype(int), score


def _operating_points(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut-points in rising order with sensitivity and specificity at each."""
    levels = np.unique(score)
    middle = levels[:-1] + np.diff(levels) / 2
    # Between two neighbouring floats the middle rounds down onto the lower one: keep it above that.
    middle = np.where(middle <= levels[:-1], levels[1:], middle)
    cut = np.concatenate([levels[:1], middle, [np.nextafter(levels[-1], np.inf)]])
    positives, negatives = np.sort(score[y == 1]), np.sort(score[y == 0])
    sensitivity = 1 - np.searchsorted(positives, cut, side="left") / len(positives)
    specificity = np.searchsorted(negatives, cut, side="left") / len(negatives)
    return cut, sensitivity, specificity


def _utility(rule: str, sens: np.ndarray, spec: np.ndarray, n_pos: int, n_neg: int) -> np.ndarray:
    name, _, text = rule.partition(":")
    if rule == "youden":
        return sens + spec
    if rule == "f1":
        true_pos, false_pos = sens * n_pos, (1 - spec) * n_neg
        return 2 * true_pos / (n_pos + true_pos + false_pos)
    if name == "cost":
        return -(_number(rule, text, upper=np.inf) * (1 - sens) * n_pos + (1 - spec) * n_neg)
    if name == "sensitivity":
        return np.where(sens >= _number(rule, text) - 1e-12, spec, -1.0)
    if name == "specificity":
        return np.where(spec >= _number(rule, text) - 1e-12, sens, -1.0)
    raise InputError(f"unknown threshold rule {rule!r}. Known: {', '.join(RULES)}")


def _number(rule: str, text: str, upper: float = 1.0) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 < value <= upper:
        raise InputError(f"rule {rule!r} needs a number above 0 and at most {upper:g} after the colon")
    return value
