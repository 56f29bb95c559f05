"""Classification metrics: pure functions, and one table, METRICS, that names them all.

Every decision metric is a function of a confusion matrix, which may carry leading or trailing axes of
bootstrap draws: cm has shape (classes, classes, ...), true class first. An undefined ratio (0/0) is
NaN, never a silent zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.intervals import check_binary, placements
from radfoundry.evaluate.resample import Ranked, average_precision, codes_of, sensitivity_at


def divide(top: np.ndarray | float, bottom: np.ndarray | float) -> np.ndarray:
    """Quotient with NaN where the denominator is zero.

    >>> divide(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def confusion(y: np.ndarray, decision: np.ndarray, classes: int = 2) -> np.ndarray:
    """Counts (classes, classes): row = truth, column = decision; both as class numbers.

    >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]))
    array([[1, 0],
           [1, 1]])
    """
    flat = np.asarray(y, int) * classes + np.asarray(decision, int)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def accuracy(cm: np.ndarray) -> np.ndarray:
    """Share of cases decided rightly."""
    return divide(_correct(cm).sum(0), cm.sum((0, 1)))


def recalls(cm: np.ndarray) -> np.ndarray:
    """Recall of each class, (classes, ...); NaN for a class that does not occur."""
    return divide(_correct(cm), cm.sum(1))


def balanced_accuracy(cm: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur."""
    return _mean_defined(recalls(cm))


def sensitivity(cm: np.ndarray) -> np.ndarray:
    """True positives among positives."""
    return divide(cm[1, 1], cm[1].sum(0))


def specificity(cm: np.ndarray) -> np.ndarray:
    """True negatives among negatives."""
    return divide(cm[0, 0], cm[0].sum(0))


def ppv(cm: np.ndarray) -> np.ndarray:
    """Positive predictive value, at the prevalence of this sample."""
    return divide(cm[1, 1], cm[:, 1].sum(0))


def npv(cm: np.ndarray) -> np.ndarray:
    """Negative predictive value, at the prevalence of this sample."""
    return divide(cm[0, 0], cm[:, 0].sum(0))


def f1_per_class(cm: np.ndarray) -> np.ndarray:
    """F1 of each class, (classes, ...); NaN where a class neither occurs nor is decided."""
    return divide(2 * _correct(cm), cm.sum(0) + cm.sum(1))


def f1(cm: np.ndarray) -> np.ndarray:
    """F1 of the positive class."""
    return f1_per_class(cm)[1]


def f1_macro(cm: np.ndarray) -> np.ndarray:
    """Unweighted mean of the F1 of the classes."""
    return _mean_defined(f1_per_class(cm))


def f1_weighted(cm: np.ndarray) -> np.ndarray:
    """Mean of the F1 of the classes, weighted by how often each occurs."""
    return divide((np.nan_to_num(f1_per_class(cm)) * cm.sum(1)).sum(0), cm.sum((0, 1)))


def mcc(cm: np.ndarray) -> np.ndarray:
    """Matthews correlation (Gorodkin's form for several classes)."""
    total, truth, decided = cm.sum((0, 1)), cm.sum(1), cm.sum(0)
    top = _correct(cm).sum(0) * total - (truth * decided).sum(0)
    bottom = np.sqrt((total**2.0 - (decided**2.0).sum(0)) * (total**2.0 - (truth**2.0).sum(0)))
    return divide(top, bottom)


def auroc(y: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve (Mann-Whitney; ties count one half). NotEnoughData for one class.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    y, score = check_binary(y, score)
    return float(placements(y, score)[y == 1].mean())


def auprc(y: np.ndarray, score: np.ndarray) -> float:
    """Average precision: the area under the precision-recall steps, without interpolation.

    >>> round(auprc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    true, false, positives, _ = _operating(y, score)
    return float(average_precision(true, false, positives)[0])


def sens_at_spec(y: np.ndarray, score: np.ndarray, specificity: float = 0.9) -> float:
    """Highest sensitivity among thresholds with at least that specificity.

    The threshold is found on these very data, so this describes the ROC curve; it is no promise for a
    threshold that has to be fixed beforehand.
    """
    return float(sensitivity_at(specificity, *_operating(y, score))[0])


def brier(y: np.ndarray, p: np.ndarray) -> float:
    """Mean squared distance of probability and outcome.

    >>> round(brier(np.array([0, 1]), np.array([0.2, 0.6])), 3)
    0.1
    """
    return float(np.mean((np.asarray(p, float) - np.asarray(y, float)) ** 2))


def brier_multiclass(y: np.ndarray, p: np.ndarray) -> float:
    """Brier's original sum over classes: y (n,) class numbers, p (n, classes); 0 to 2."""
    return float(np.mean(brier_rows(np.asarray(y, int), np.asarray(p, float))))


def brier_rows(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Squared distance of each row's probabilities (n, classes) to its class; (n,)."""
    return ((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1)


def auroc_ovr(y: np.ndarray, p: np.ndarray, average: str = "macro") -> float:
    """One-against-rest AUC over classes: y (n,) class numbers, p (n, classes).

    average: "macro" or "weighted" (by how often a class occurs). NotEnoughData if a class is absent.
    """
    y, p = np.asarray(y, int), np.asarray(p, float)
    present = np.bincount(y, minlength=p.shape[1])
    if (present == 0).any():
        raise NotEnoughData(f"class number {int(np.argmin(present))} does not occur: no AUC against the rest")
    each = [auroc((y == k).astype(int), p[:, k]) for k in range(p.shape[1])]
    return float(np.average(each, weights=present if average == "weighted" else None))


@dataclass(frozen=True, slots=True)
class Metric:
    """A named metric.

    kind: "decision" (function of a confusion matrix), "score" (of y and any ranking score) or
    "probability" (of y and a probability). proportion: (numerator, denominator) cells of the binary
    confusion matrix where a Wilson interval applies.
    """

    name: str
    kind: str
    function: Callable
    higher_is_better: bool = True
    proportion: Callable[[np.ndarray], tuple[float, float]] | None = None
    multiclass: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("auroc", "score", auroc),
        Metric("auprc", "score", auprc),
        Metric("sens_at_spec90", "score", sens_at_spec),
        Metric(
            "accuracy",
            "decision",
            accuracy,
            multiclass=True,
            proportion=lambda cm: (np.trace(cm), cm.sum()),
        ),
        Metric("balanced_accuracy", "decision", balanced_accuracy, multiclass=True),
        Metric("sensitivity", "decision", sensitivity, proportion=lambda cm: (cm[1, 1], cm[1].sum())),
        Metric("specificity", "decision", specificity, proportion=lambda cm: (cm[0, 0], cm[0].sum())),
        Metric("ppv", "decision", ppv, proportion=lambda cm: (cm[1, 1], cm[:, 1].sum())),
        Metric("npv", "decision", npv, proportion=lambda cm: (cm[0, 0], cm[:, 0].sum())),
        Metric("f1", "decision", f1),
        Metric("f1_macro", "decision", f1_macro, multiclass=True),
        Metric("f1_weighted", "decision", f1_weighted, multiclass=True),
        Metric("mcc", "decision", mcc, multiclass=True),
        Metric("brier", "probability", brier, higher_is_better=False),
    )
}


def compute(name: str, y: np.ndarray, score: np.ndarray, *, threshold: float = 0.5) -> float:
    """One binary metric by name; decision metrics decide by `score >= threshold`."""
    metric = METRICS[name]
    if metric.kind != "decision":
        return float(metric.function(y, score))
    return float(metric.function(confusion(y, np.asarray(score) >= threshold)))


def _correct(cm: np.ndarray) -> np.ndarray:
    return np.stack([cm[k, k] for k in range(len(cm))])


def _mean_defined(values: np.ndarray) -> np.ndarray:
    return divide(np.nan_to_num(values).sum(0), np.isfinite(values).sum(0))


def _operating(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    y, score = check_binary(y, score)
    codes, n = codes_of(None, len(y))
    return Ranked(y, score, codes, n).operating(np.ones((n, 1)))
