"""Do groups of patients fare alike, and what could this n tell.

`fairness` judges a prediction table by covariates. The parts: `gaps` (differences between groups, their tests
and power), `groups` (every metric of a group), `permutation` (of patients between groups), and `thresholds`
(a threshold for each group, as an analysis).
"""

from __future__ import annotations

from radfoundry.evaluate.fairness.gaps import (
    METRICS,
    NOT_TOLD,
    REST,
    SPREAD,
    Fairness,
    Gap,
    about,
    corrected,
    fairness,
)

__all__ = ["METRICS", "NOT_TOLD", "REST", "SPREAD", "Fairness", "Gap", "about", "corrected", "fairness"]
