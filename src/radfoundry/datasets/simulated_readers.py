"""Ratings of many readers and cases with known variance components: the model of Roe and Metz.

    rating = mean + R + MR + C + MC + RC + E

Mean: of the modality, in positives alone. R: reader; M: modality; C: case; E: what is left, the three-way
term with the reader's inconstancy. Every effect is normal, drawn for positives and negatives apart. Sources:
Roe and Metz, Acad Radiol 1997;4:298; Hillis, Acad Radiol 2012;19:1518 (positives that vary more).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from radfoundry.errors import InputError


@dataclass(frozen=True, slots=True)
class RoeMetz:
    """Expected AUC of each modality, and the variance of each effect on the scale of the ratings.

    auc: over all readers and cases, so that of the mean reader's curve, not of a mean reader. spread: SD of
    the effects of positive cases over that of negatives (1 in Roe and Metz; above 1 in most real data). By
    default the effects of a case sum to 1, in the negatives.
    """

    auc: tuple[float, ...]
    reader: float = 0.02
    modality_reader: float = 0.01
    case: float = 0.3
    modality_case: float = 0.1
    reader_case: float = 0.2
    error: float = 0.4
    spread: float = 1.0

    def __post_init__(self) -> None:
        for auc in self.auc:
            if not 0 < auc < 1:
                raise InputError(f"an AUC of {auc:g} can not be simulated. Give one between 0 and 1")
        if not self.auc:
            raise InputError("give the AUC of one modality at least")
        for name in ("reader", "modality_reader", "case", "modality_case", "reader_case"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is a variance, at least 0, not {getattr(self, name):g}")
        if not 0 < self.error < math.inf:
            raise InputError(f"error is a variance above 0, not {self.error:g}: no reader is constant")
        if not 0 < self.spread < math.inf:
            raise InputError(f"spread is a ratio above 0, not {self.spread:g}")

    @property
    def of_cases(self) -> float:
        """Variance over negative cases, of one reader in one modality."""
        return self.case + self.modality_case + self.reader_case + self.error

    @property
    def of_difference(self) -> float:
        """Variance of a positive's rating minus a negative's, over readers and cases."""
        return 2 * (self.reader + self.modality_reader) + (1 + self.spread**2) * self.of_cases

    @property
    def means(self) -> np.ndarray:
        """(modalities,) mean rating of positives; that of negatives is 0."""
        return np.asarray(special.ndtri(np.array(self.auc)) * math.sqrt(self.of_difference))

    def concordance(self, a: int, b: int, *, reader: bool, positive: bool, negative: bool) -> float:
        """Probability that in modality a, and in modality b too, a positive outranks a negative.

        reader, positive, negative: whether it is the same one both times. These moments decide the variance
        of every empirical AUC (Gallas, Acad Radiol 2006;13:353).
        """
        same = float(a == b)
        shared = 2 * (self.reader + same * self.modality_reader) if reader else 0.0
        effects = self.case + same * self.modality_case
        effects += self.reader_case + same * self.error if reader else 0.0
        shared += effects * (negative + positive * self.spread**2)
        h = self.means / math.sqrt(self.of_difference)
        rho = min(shared / self.of_difference, 1.0)
        if rho > 1 - 1e-12:
            return float(min(special.ndtr(h[a]), special.ndtr(h[b])))
        return float(stats.multivariate_normal.cdf([h[a], h[b]], cov=[[1.0, rho], [rho, 1.0]]))


def simulate_ratings(
    rng: np.random.Generator,
    replicates: int,
    model: RoeMetz,
    readers: int,
    positives: int,
    negatives: int,
    *,
    levels: int | None = None,
    case_noise: np.ndarray | None = None,
) -> np.ndarray:
    """Ratings (replicates, modalities, readers, cases), the positives first.

    levels: a scale of so many grades, 1 to `levels`, cut at equal steps over the range of the ratings; None
    keeps the decision variable. case_noise: (replicates, cases) standard normal draws that become the
    effect of a case, for whatever else must hang on how hard a case looks. Raises InputError for counts below
    1 and fewer than 2 levels.
    """
    counts = {"replicates": replicates, "readers": readers, "positives": positives, "negatives": negatives}
    for name, count in counts.items():
        _count(count, 1, name)
    modalities, n = len(model.auc), positives + negatives
    positive = np.arange(n) < positives
    scale = np.where(positive, model.spread, 1.0)
    case = rng.standard_normal((replicates, n)) if case_noise is None else case_noise

    def draw(variance: float, *shape: int) -> np.ndarray:
        return math.sqrt(variance) * rng.standard_normal((replicates, *shape))

    ratings = draw(model.error, modalities, readers, n)
    ratings += draw(model.reader_case, 1, readers, n)
    ratings += draw(model.modality_case, modalities, 1, n)
    ratings += math.sqrt(model.case) * case[:, None, None, :]
    ratings *= scale
    for variance, first in ((model.reader, 1), (model.modality_reader, modalities)):
        by_truth = draw(variance, first, readers, 2)
        ratings += by_truth[..., np.where(positive, 0, 1)]
    ratings += model.means[:, None, None] * positive
    return ratings if levels is None else graded(ratings, model, levels)


def graded(ratings: np.ndarray, model: RoeMetz, levels: int) -> np.ndarray:
    """Ratings as grades 1 to `levels`; equal steps from 1.5 SD below negatives to 1.5 SD above positives."""
    _count(levels, 2, "levels")
    sd = math.sqrt(model.of_cases)
    cuts = np.linspace(-1.5 * sd, float(model.means.max()) + 1.5 * sd * model.spread, levels + 1)[1:-1]
    return 1.0 + np.searchsorted(cuts, ratings)


def _count(value: int, least: int, name: str) -> None:
    if value != int(value) or value < least:
        raise InputError(f"{name} must be a whole number of {least} or more, not {value}")
