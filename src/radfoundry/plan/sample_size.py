"""Formal sample size: one function a question, each with a `Requirement` for an answer.

    from radfoundry.plan.sample_size import auc_precision
    print(auc_precision(0.8, prevalence=0.2, width=0.1))

Every function takes a target and gives the cases, or takes `n` and gives what those reach. The formulas
live in `precision`, `riley` and `power`; `trade_off` lets any of them run over a range of n.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from radfoundry.errors import RadfoundryError
from radfoundry.plan.power import (
    SimulatedPower,
    compare_aucs,
    compare_paired_proportions,
    simulate_comparison,
)
from radfoundry.plan.precision import (
    SimulatedPrecision,
    auc_precision,
    auc_se,
    sens_spec_precision,
    simulate_auc,
)
from radfoundry.plan.requirement import Criterion, Requirement
from radfoundry.plan.riley import develop_model, r2_from_auc, r2_maximum, validate_model

__all__ = [
    "Criterion",
    "Requirement",
    "SimulatedPower",
    "SimulatedPrecision",
    "auc_precision",
    "auc_se",
    "compare_aucs",
    "compare_paired_proportions",
    "develop_model",
    "r2_from_auc",
    "r2_maximum",
    "sens_spec_precision",
    "simulate_auc",
    "simulate_comparison",
    "trade_off",
    "validate_model",
]


def trade_off(at: Callable[[int], Requirement], n: int, *, points: int = 25) -> pd.DataFrame:
    """What n from an eighth to four times `n` reach; columns n, criterion, quantity, reached.

    at: a question with everything but n filled in, such as lambda k: auc_precision(0.8, 0.2, n=k). Sizes too
    small for the question (no case of a class) are left out.
    """
    sizes = np.unique(np.round(np.geomspace(max(n / 8, 2), 4 * n, points)).astype(int))
    rows = []
    for size in np.unique(np.append(sizes, n)):
        try:
            found = at(int(size)).criteria
        except RadfoundryError:  # fewer cases than the question can be asked of
            continue
        rows += [
            {"n": int(size), "criterion": c.name, "quantity": c.quantity, "reached": c.reached} for c in found
        ]
    return pd.DataFrame(rows, columns=["n", "criterion", "quantity", "reached"])
