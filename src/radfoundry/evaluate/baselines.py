"""What a model that looks at no image would score: printed beside every figure that it flatters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radfoundry.evaluate.classification import METRICS, confusion


@dataclass(frozen=True, slots=True)
class Trivial:
    """value: what the rule scores; rule: the rule in words."""

    value: float
    rule: str


def trivial(metric: str, y: np.ndarray, classes: int = 2) -> Trivial | None:
    """The best-known trivial score of one metric on these labels, or None where there is none.

    y: (n,) class numbers. Accuracy and F1 by always naming the commonest class; the binary F1 and
    PPV by calling everybody positive; NPV by calling everybody negative; AUPRC by prevalence; Brier
    by predicting the prevalence; AUC and balanced accuracy by chance.

    >>> trivial("accuracy", np.array([0, 0, 0, 1]))
    Trivial(value=0.75, rule='always class 0')
    """
    y = np.asarray(y, int)
    if len(y) == 0:
        return None
    shares = np.bincount(y, minlength=classes) / len(y)
    common, prevalence = int(np.argmax(shares)), float(shares[1])
    if metric in ("accuracy", "f1_macro", "f1_weighted"):
        value = METRICS[metric].function(confusion(y, np.full(len(y), common), classes))
        return Trivial(float(value), f"always class {common}")
    if metric == "balanced_accuracy":
        return Trivial(1 / int((shares > 0).sum()), "one class always")
    if metric.startswith("auroc"):
        return Trivial(0.5, "chance")
    if metric == "sens_at_spec90":
        return Trivial(0.1, "chance")
    if metric == "auprc":
        return Trivial(prevalence, "prevalence")
    if metric == "ppv":
        return Trivial(prevalence, "everybody positive")
    if metric == "npv":
        return Trivial(1 - prevalence, "everybody negative")
    if metric == "f1":
        return Trivial(2 * prevalence / (1 + prevalence), "everybody positive")
    if metric == "brier":
        return Trivial(prevalence * (1 - prevalence), "predict the prevalence")
    if metric == "brier_multiclass":
        return Trivial(float(1 - (shares**2).sum()), "predict the shares")
    return None
