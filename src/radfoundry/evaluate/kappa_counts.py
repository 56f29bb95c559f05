"""Kappa and its standard errors from tables of counts.

Sources: Cohen, Psychol Bull 1968;70:213; Fleiss, Cohen and Everitt, Psychol Bull 1969;72:323 (standard
errors); Fleiss, Psychol Bull 1971;76:378; Fleiss, Nee and Landis, Psychol Bull 1979;86:974 (standard error
at zero); Gwet, Psychometrika 2021;86:558 (standard error of Fleiss' kappa elsewhere).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from radfoundry.errors import InputMismatch, NotEnoughData


@dataclass(frozen=True)
class Asymptotic:
    """Kappa from counts. se: where kappa is what was found; se_null: were it zero; NaN where undefined."""

    value: float
    se: float
    se_null: float
    observed: float
    expected: float
    n: int

    @property
    def p(self) -> float:
        """Two-sided, of the hypothesis that agreement is that of chance."""
        return float(2 * stats.norm.sf(abs(self.value / self.se_null))) if self.se_null > 0 else math.nan


def cohen_from_table(table: np.ndarray, agreement: np.ndarray | None = None) -> Asymptotic:
    """Cohen's kappa of a (k, k) table of counts, the standard errors by Fleiss, Cohen and Everitt 1969.

    agreement: (k, k) weights, 1 on the diagonal; default the identity. InputMismatch for another shape.
    """
    counts = np.asarray(table, float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise InputMismatch(f"a table of two raters is square and holds counts, not {counts.shape}")
    w = np.eye(len(counts)) if agreement is None else np.asarray(agreement, float)
    n = float(counts.sum())
    if n == 0:
        raise NotEnoughData("the table of two raters is empty")
    share = counts / n
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    chance = np.outer(rows, columns)
    observed, expected = float((w * share).sum()), float((w * chance).sum())
    if expected >= 1 - 1e-12:
        return Asymptotic(math.nan, math.nan, math.nan, observed, expected, int(n))
    value = (observed - expected) / (1 - expected)
    margins = (w @ columns)[:, None] + (rows @ w)[None]
    spread = (share * (w - margins * (1 - value)) ** 2).sum() - (value - expected * (1 - value)) ** 2
    null = (chance * (w - margins) ** 2).sum() - expected**2
    se, se_null = (math.sqrt(max(float(v), 0.0) / n) / (1 - expected) for v in (spread, null))
    return Asymptotic(value, se, se_null, observed, expected, int(n))


def fleiss_from_counts(counts: np.ndarray) -> Asymptotic:
    """Fleiss' kappa of counts (targets, categories), every target read equally often.

    se: Gwet 2021; se_null: Fleiss, Nee and Landis 1979. InputMismatch where the rows' sums differ.
    """
    counts = np.asarray(counts, float)
    if counts.ndim != 2 or len(counts) < 2:
        raise NotEnoughData(f"counts are (targets, categories) with two targets at least, not {counts.shape}")
    m = counts.sum(axis=1)
    if m.min() != m.max() or m[0] < 2:
        raise InputMismatch(
            f"targets were read {m.min():g} to {m.max():g} times: Fleiss' kappa needs two readings at least, "
            "equally many of every target. Krippendorff's alpha allows gaps"
        )
    n, raters = len(counts), float(m[0])
    share = counts.sum(axis=0) / counts.sum()
    agreed = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    observed, expected = float(agreed.mean()), float((share**2).sum())
    if expected >= 1 - 1e-12:
        return Asymptotic(math.nan, math.nan, math.nan, observed, expected, n)
    value = (observed - expected) / (1 - expected)
    by_target = (agreed - expected) / (1 - expected)
    by_chance = (counts @ share) / raters
    linear = by_target - 2 * (1 - value) * (by_chance - expected) / (1 - expected)
    se = math.sqrt(float(((linear - value) ** 2).sum()) / (n * (n - 1)))
    pq = share * (1 - share)
    null = pq.sum() ** 2 - (pq * (1 - 2 * share)).sum()
    se_null = math.sqrt(2 * max(float(null), 0.0) / (n * raters * (raters - 1))) / float(pq.sum())
    return Asymptotic(value, se, se_null, observed, expected, n)
