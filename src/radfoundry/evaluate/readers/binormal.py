"""The binormal ROC curve, fitted to ratings by maximum likelihood.

Negatives are N(0, 1), positives N(a/b, 1/b) on a hidden scale that K ordered categories cut: sensitivity =
Phi(a + b Phi^-1(fpr)), area Phi(a / sqrt(1 + b^2)). Dorfman and Alf, J Math Psychol 1969;6:487 (Fisher
scoring); Metz, Herman and Shen, Stat Med 1998;17:1033 (neighbouring categories of one class say nothing about
the curve and are joined, so that continuous ratings are ordinal ones with many categories).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

CATEGORIES = 20  # more are joined at quantiles: the fit hardly changes and takes a fraction of the time
STEPS = 200
SLOPES = (0.05, 20.0)  # outside, the curve is a line with a corner: the likelihood has run to its edge


@dataclass(frozen=True)
class Binormal:
    """a: intercept, b: slope on normal axes; cuts: (K - 1,) on the scale of the negatives."""

    a: float
    b: float
    cuts: np.ndarray

    @property
    def auc(self) -> float:
        """Area under the whole curve."""
        return float(ndtr(self.a / math.hypot(1.0, self.b)))


def fit(table: np.ndarray, start: Binormal | None = None) -> Binormal | None:
    """The curve of counts (2, K): negatives, then positives, by ordered category (higher is more positive).

    None where the data are degenerate: fewer than two operating points with both rates strictly between 0 and
    1 that differ in both rates, or a likelihood that has no maximum. start: a fit of nearly the same counts.
    """
    table = joined(np.asarray(table, float))
    if not _determined(table):
        return None
    begin = _begin(table)
    if start is not None and len(start.cuts) == table.shape[1] - 1:
        begin = np.concatenate([[start.a, start.b], start.cuts])
    found = _score(table, begin)
    if found is None or not SLOPES[0] < found[1] < SLOPES[1]:
        return None
    return Binormal(float(found[0]), float(found[1]), found[2:])


def joined(table: np.ndarray) -> np.ndarray:
    """Counts without empty categories, neighbours of one class alone added up.

    >>> joined(np.array([[3.0, 2, 0, 1, 0], [0, 0, 0, 2, 4]]))
    array([[5., 1., 0.],
           [0., 2., 4.]])
    """
    columns: list[np.ndarray] = []
    for column in table.T:
        if not column.sum():
            continue
        last = columns[-1] if columns else None
        if last is not None and any(last[k] == column[k] == 0 for k in (0, 1)):
            columns[-1] = last + column
        else:
            columns.append(column)
    return np.stack(columns, axis=1) if columns else np.zeros((2, 0))


def _determined(table: np.ndarray) -> bool:
    if table.shape[1] < 3 or not table.sum(axis=1).all():
        return False
    rates = np.cumsum(table[:, ::-1], axis=1)[:, :-1] / table.sum(axis=1, keepdims=True)
    inner = rates[:, ((rates > 0) & (rates < 1)).all(axis=0)]
    return all(len(np.unique(inner[k])) > 1 for k in (0, 1))


def _begin(table: np.ndarray) -> np.ndarray:
    """Cuts from the negatives, a and b from a line through the operating points on normal axes."""
    share = (np.cumsum(table, axis=1)[:, :-1] + 0.5) / (table.sum(axis=1, keepdims=True) + 1)
    cuts, below = ndtri(share)
    cuts = cuts + np.arange(len(cuts)) * 1e-4  # equal where no negative lies between two cuts
    spread = cuts - cuts.mean()
    b = float(np.clip((spread @ below) / max(spread @ spread, 1e-9), 0.3, 3.0))
    return np.concatenate([[b * cuts.mean() - below.mean(), b], cuts])


def _score(table: np.ndarray, begin: np.ndarray) -> np.ndarray | None:
    """Fisher scoring with halved steps; None where it does not settle."""
    now, likelihood = begin, _log_likelihood(table, begin)
    for _ in range(STEPS):
        gradient, information = _slopes(table, now)
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        decrement = float(gradient @ step)
        if decrement < 1e-10:
            return now
        scale = 1.0
        while scale > 1e-8:
            trial = now + scale * step
            value = _log_likelihood(table, trial)
            if value > likelihood:
                break
            scale /= 2
        else:
            return now if decrement < 1e-5 else None  # no better by rounding alone
        now, likelihood = trial, value
    return None


def _probabilities(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(2, K + 1) cut points of both classes on the standard normal, and the cuts, with infinite ends."""
    a, b, cuts = parameters[0], parameters[1], parameters[2:]
    ends = np.concatenate([[-np.inf], cuts, [np.inf]])
    shifted = np.concatenate([[-np.inf], b * cuts - a, [np.inf]])
    return np.stack([ends, shifted]), cuts


def _cells(parameters: np.ndarray) -> np.ndarray:
    at, _ = _probabilities(parameters)
    upper_tail = at[:, :-1] > 0  # differences of small upper tails keep their digits
    plain = ndtr(at[:, 1:]) - ndtr(at[:, :-1])
    tails = ndtr(-at[:, :-1]) - ndtr(-at[:, 1:])
    return np.where(upper_tail, tails, plain)


def _log_likelihood(table: np.ndarray, parameters: np.ndarray) -> float:
    if parameters[1] <= 0 or (np.diff(parameters[2:]) <= 0).any():
        return -math.inf
    cells = _cells(parameters)
    if (cells[table > 0] <= 0).any():
        return -math.inf
    return float((table[table > 0] * np.log(cells[table > 0])).sum())


def _slopes(table: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and expected information at the parameters (a, b, cuts)."""
    at, cuts = _probabilities(parameters)
    b, k = parameters[1], table.shape[1]
    density = np.exp(-0.5 * at**2) / math.sqrt(2 * math.pi)
    ends = np.concatenate([[0.0], cuts, [0.0]])
    cells = np.maximum(_cells(parameters), 1e-12)
    slope = np.zeros((2, k, 2 + len(cuts)))
    slope[1, :, 0] = density[1, :-1] - density[1, 1:]
    slope[1, :, 1] = (ends * density[1])[1:] - (ends * density[1])[:-1]
    for klass, factor in ((0, 1.0), (1, b)):
        for cut in range(len(cuts)):
            slope[klass, cut, 2 + cut] += factor * density[klass, cut + 1]
            slope[klass, cut + 1, 2 + cut] -= factor * density[klass, cut + 1]
    gradient = np.einsum("ck,ckp->p", table / cells, slope)
    weight = table.sum(axis=1, keepdims=True) / cells
    return gradient, np.einsum("ck,ckp,ckq->pq", weight, slope, slope)


def tables(y: np.ndarray, x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(draws, 2, K) counts by class and category of ratings x (n,), from counts (n, draws)."""
    grades = np.unique(x)
    if len(grades) > CATEGORIES:
        edges = np.unique(np.quantile(x, np.linspace(0, 1, CATEGORIES + 1)[1:-1]))
        at = np.searchsorted(edges, x, "right")
    else:
        at = np.searchsorted(grades, x)
    k = int(at.max()) + 1
    cell = np.zeros((2 * k, len(x)))
    cell[y.astype(int) * k + at, np.arange(len(x))] = 1
    return (cell @ counts).T.reshape(-1, 2, k)


def binormal_auc(y: np.ndarray, x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(draws,) area under the binormal curve; where that is degenerate the empirical area stands in for it.

    y, x: (n,) truth and rating; counts: (n, draws). Equal tables are fitted once: leaving out one of two
    cases with the same truth and rating is the same.
    """
    distinct, which = np.unique(
        tables(y, x, counts).reshape(counts.shape[1], -1), axis=0, return_inverse=True
    )
    whole = fit(tables(y, x, np.ones((len(x), 1)))[0])
    areas = np.empty(len(distinct))
    for row, flat in enumerate(distinct):
        table = flat.reshape(2, -1)
        found = fit(table, whole)
        areas[row] = _empirical(table) if found is None else found.auc
    return areas[which.reshape(-1)]


def is_degenerate(y: np.ndarray, x: np.ndarray) -> bool:
    """Whether ratings x (n,) determine no binormal curve."""
    return fit(tables(y, x, np.ones((len(x), 1)))[0]) is None


def _empirical(table: np.ndarray) -> float:
    negatives, positives = table
    total = negatives.sum() * positives.sum()
    if not total:
        return math.nan
    return float(positives @ (np.cumsum(negatives) - negatives / 2) / total)
