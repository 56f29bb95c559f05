"""Time to an event: curves, tests, how well a score tells who fails first and when, and what it adds.

`evaluate_survival` judges a prediction table. The parts: `curves` (Kaplan-Meier, log-rank, competing risks),
`accuracy` (C-indices, AUC at a time) on `ranks`, `calibration` (Brier scores, calibration at a horizon),
`cutoffs` (groups of risk) and `models` (Cox regression, added value).
"""

from __future__ import annotations

from radfoundry.evaluate.survival.accuracy import auc_at, auc_curve, compare_c, harrell_c, uno_c
from radfoundry.evaluate.survival.calibration import brier, calibration_at
from radfoundry.evaluate.survival.curves import (
    aalen_johansen,
    at_risk,
    follow_up,
    kaplan_meier,
    logrank,
    pairwise_logrank,
    quantile_time,
    survival_at,
)
from radfoundry.evaluate.survival.cutoffs import RiskGroups, risk_groups
from radfoundry.evaluate.survival.models import added_value, cox, likelihood_ratio
from radfoundry.evaluate.survival.table import compare_models, evaluate_survival, survival_parts

__all__ = [
    "RiskGroups", "aalen_johansen", "added_value", "at_risk", "auc_at", "auc_curve", "brier",
    "calibration_at", "compare_c", "compare_models", "cox", "evaluate_survival", "follow_up", "harrell_c",
    "kaplan_meier", "likelihood_ratio", "logrank", "pairwise_logrank", "quantile_time", "risk_groups",
    "survival_at", "survival_parts", "uno_c",
]  # fmt: skip
