"""Reader studies that are not fully crossed: one-shot unbiased variance of reader-averaged figures of merit.

A figure of merit A is a weighted mean over reads (AUC: over a reader's pairs of a positive and a negative).
The mean of products of two terms that share neither reader nor case estimates the squared expectation without
bias, whoever read what and however the products are weighted, so var A = A^2 less that mean. With equal
weights, as published, a term may weigh more in A than in the mean; where reads are missing at random that
noise drowns the variance (of 400 simulated studies of 5 readers with a fifth of the reads missing 138 had a
negative one). So the products are weighted until each row and column of each reader weighs the same in both
(15 had one then). Crossed studies have equal weights either way.

Sources: Gallas, Acad Radiol 2006;13:353; Gallas and Brown, Neural Netw 2008;21:387 (any design); Gallas et
al., J Opt Soc Am A 2007;24:B70 (decisions); Obuchowski et al., Acad Radiol 2012;19:1508 (split-plot designs).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Literal

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from radfoundry.errors import NotEnoughData
from radfoundry.evaluate.readers.anova import ROUNDING, Contrast
from radfoundry.evaluate.readers.merits import Merit, data_of
from radfoundry.evaluate.readers.reads import Reads

Weights = Literal["reads", "readers"]
Sums = dict[frozenset[str], float]
ROUNDS = 60  # of weighting; a variance is unbiased after any number of them
CLOSE = 1e-3  # of the largest weight: further off, the design allows no such weights
MEANS = ("auroc", "sensitivity", "specificity", "accuracy")


@dataclass(frozen=True)
class UStatistics:
    """Averages of I modalities and how they vary over readers and cases.

    value: (I,). cov: (I, I), unbiased, so that a variance may be negative. cases: (I, I), the part of cov
    that more readers of the same cases would not reduce; NaN where no two readers share a case. df: (I,)
    readers (the effective number, where they read unequally much) less groups of readers that share no case.
    """

    value: np.ndarray
    cov: np.ndarray
    cases: np.ndarray
    df: np.ndarray

    def contrast(self, weights: np.ndarray, level: float) -> Contrast:
        """Of the modalities by `weights` (I,): (1, -1) is a difference.

        Degrees of freedom as Hillis has them for crossed designs: the variance that shrinks with readers has
        `df` of them, the rest is taken as known. se is NaN where the variance is not positive.
        """
        value, variance = float(weights @ self.value), float(weights @ self.cov @ weights)
        used = np.flatnonzero(weights)
        df = float(self.df[used].min())
        if not variance > ROUNDING:
            return Contrast(value, math.nan, df, level)
        case_part = float(weights[used] @ self.cases[np.ix_(used, used)] @ weights[used])
        case_part = min(max(case_part, 0.0), variance) if math.isfinite(case_part) else 0.0
        by_readers = variance - case_part
        df = df * (variance / by_readers) ** 2 if by_readers > ROUNDING else math.inf
        return Contrast(value, math.sqrt(variance), df, level)


def u_statistics(
    reads: Reads, merit: Merit, weights: Weights = "reads", *, matched: bool = True
) -> UStatistics:
    """Averages and their covariance from whatever was read.

    weights: "reads" counts every read once (AUC: every pair of reads of one reader), as iMRMC does, so that
    readers of more cases count more; "readers" gives each reader one vote. Both are the plain mean over
    readers where all read all. matched: weigh products as the averages do, where the design allows; False is
    iMRMC's estimate. Raises NotEnoughData for a figure of merit that is no mean over reads, and
    where no two readers read different cases.
    """
    if merit.name not in MEANS:
        raise NotEnoughData(f"{merit.name} is no mean over reads, as U-statistics need. Use {MEANS[0]}")
    data = data_of(reads, merit)
    if not np.isfinite(data).any(axis=(1, 2)).all():
        raise NotEnoughData("a modality has no reads. Leave it out")
    terms = [Terms(own, reads.y, merit, weights) for own in data]
    value = np.array([one.mean for one in terms])
    cov, cases = np.empty((2, len(terms), len(terms)))
    for a, b in combinations_with_replacement(range(len(terms)), 2):
        cov[a, b] = cov[b, a] = value[a] * value[b] - _expected_product(terms[a], terms[b], matched)
        cases[a, b] = cases[b, a] = _case_part(terms[a], terms[b])
    readers = np.array([1 / (one.share**2).sum() for one in terms])
    groups = np.array([_groups(there) for there in np.isfinite(data)])
    own_cases = readers - groups < 0.5  # each reader other cases: readers are the groups
    df = np.maximum(np.where(own_cases, readers - 1, readers - groups), 1.0)
    return UStatistics(value, cov, cases, df)


class Terms:
    """Of one modality, for J readers: rows i are positives (or all cases that count), columns j negatives.

    by_row: (J, m), by_column: (J, n): 1 where there is a read; a term exists where both are. For decisions
    there is one column, and `axes` has no j. scale: (J,) what a term of each reader weighs; all terms
    together weigh 1. share: (J,) what each reader weighs.
    """

    def __init__(self, own: np.ndarray, y: np.ndarray, merit: Merit, weights: Weights) -> None:
        self._merit, self._is_pair = merit, merit.name == "auroc"
        if self._is_pair:
            self.axes: tuple[str, ...] = ("r", "i", "j")
            self._rows, self._columns = own[:, y == 1], own[:, y == 0]
        else:
            used = merit.relevant(y)
            self.axes = ("r", "i")
            right = own[:, used] if merit.name == "sensitivity" else own[:, used] == y[used]
            self._rows, self._columns = (
                np.where(np.isfinite(own[:, used]), right, np.nan),
                np.ones((len(own), 1)),
            )
        self.by_row = np.isfinite(self._rows).astype(float)
        self.by_column = np.isfinite(self._columns).astype(float)
        sizes = self.by_row.sum(axis=1) * self.by_column.sum(axis=1)
        counted = (sizes > 0).astype(float) if weights == "readers" else sizes
        self.share = counted / counted.sum()
        self.scale = np.divide(self.share, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
        self.mean = sum(float((self.success(r) * self.scale[r]).sum()) for r in range(len(sizes)))

    def success(self, r: int) -> np.ndarray:
        """(m, n): 1 where the positive outranks the negative, or the decision is right; 0 without a read."""
        there = np.outer(self.by_row[r], self.by_column[r]) > 0
        if not self._is_pair:
            return np.where(there, self._rows[r][:, None], 0.0)
        above, below = self._rows[r][:, None], self._columns[r]
        return np.where(there, (above > below) + 0.5 * (above == below), 0.0)


def _agreements(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Sums:
    """Sums of products of two terms, by what they have in common; pairs: (m, n) of each reader.

    The key names the axes (reader r, row i, column j) on which both terms agree; the others run freely.
    """
    found = dict.fromkeys((frozenset(key) for key in ("", "r", "i", "j", "ri", "rj", "ij", "rij")), 0.0)
    pooled: list[np.ndarray] = []
    for x, z in pairs:
        found[frozenset("r")] += float(x.sum() * z.sum())
        found[frozenset("ri")] += float(x.sum(axis=1) @ z.sum(axis=1))
        found[frozenset("rj")] += float(x.sum(axis=0) @ z.sum(axis=0))
        found[frozenset("rij")] += float((x * z).sum())
        pooled = [x + pooled[0], z + pooled[1]] if pooled else [x, z]
    x, z = pooled
    found[frozenset()] = float(x.sum() * z.sum())
    found[frozenset("i")] = float(x.sum(axis=1) @ z.sum(axis=1))
    found[frozenset("j")] = float(x.sum(axis=0) @ z.sum(axis=0))
    found[frozenset("ij")] = float((x * z).sum())
    return found


def _exactly(same: frozenset[str], axes: tuple[str, ...], sums: Sums) -> float:
    """Sum over pairs of terms that agree on `same` and on no other of `axes` (inclusion and exclusion)."""
    others = [axis for axis in axes if axis not in same]
    return sum(
        (-1) ** size * sums[same | frozenset(extra)]
        for size in range(len(others) + 1)
        for extra in combinations(others, size)
    )


def _expected_product(a: Terms, b: Terms, matched: bool) -> float:
    """Mean product of a term of a and one of b that share neither reader nor case."""
    left, right = _weighted(a, b, ROUNDS if matched else 0)
    readers = range(len(a.scale))

    def pairs(of_a: bool, of_b: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for r in readers:
            x, z = np.outer(left[0][r], left[1][r]), np.outer(right[0][r], right[1][r])
            yield (x * a.success(r) if of_a else x), (z * b.success(r) if of_b else z)

    there = _agreements(pairs(False, False))
    apart = _exactly(frozenset(), a.axes, there)
    if not apart > 1e-9 * there[frozenset()]:
        raise NotEnoughData(
            "no two readers read different cases of one modality, so the variance over readers and cases can "
            "not be estimated. Add readers, or hold them fixed: effects='fixed readers'"
        )
    return _exactly(frozenset(), a.axes, _agreements(pairs(True, True))) / apart


Factors = list[np.ndarray]


def _weighted(a: Terms, b: Terms, rounds: int) -> tuple[Factors, Factors]:
    """Weights of terms, as factors (J, m) and (J, n): by iterative proportional fitting, so that each row and
    column of a reader weighs in the products of terms apart what it weighs in the average. The weights of the
    averages themselves where there are none such, as with one reader who read more than half of all."""
    given = [[one.by_row * one.scale[:, None], one.by_column] for one in (a, b)]
    sides = [list(side) for side in given]
    off = 1.0 if rounds else 0.0
    for _ in range(rounds):
        off = 0.0
        for side, one, other in ((0, a, 1), (1, b, 0)):
            for factor in range(len(a.axes) - 1):
                wanted = [one.by_row, one.by_column][factor] * (
                    one.scale * [one.by_column, one.by_row][factor].sum(axis=1)
                )[:, None]
                meets = _meets(sides[side], sides[other], factor, a.axes)
                if (meets[wanted > 0] <= 1e-9 * meets.max()).any():  # some weights run away to the others
                    return given[0], given[1]
                off = max(off, float(np.abs(sides[side][factor] * meets - wanted).max() / wanted.max()))
                sides[side][factor] = np.divide(wanted, meets, out=np.zeros_like(wanted), where=wanted > 0)
        if off < 1e-7:
            break
    sides = sides if off < CLOSE else given
    return sides[0], sides[1]


def _meets(own: Factors, others: Factors, factor: int, axes: tuple[str, ...]) -> np.ndarray:
    """(J, m) or (J, n): the weight of products that a row (factor 0) or column (1) of a reader would enter
    if its own factor were 1: over the other factor of its terms, and the other side's terms apart from it."""
    along = own[1 - factor]  # (J, n) for rows
    p, q = others[factor], others[1 - factor]
    size = q.sum(axis=1, keepdims=True)
    of_reader = p.sum(axis=1, keepdims=True) * size
    by_own = p * size  # (J, m): terms of the same reader in this row
    apart = of_reader.sum() - of_reader - by_own.sum(axis=0) + by_own
    total = apart * along.sum(axis=1, keepdims=True)
    if "j" in axes:
        by_other = q * p.sum(axis=1, keepdims=True)  # (J, n)
        shared = along @ (p.T @ q).T - p * (along * q).sum(axis=1, keepdims=True)
        column = (along * (by_other - by_other.sum(axis=0))).sum(axis=1, keepdims=True)
        total = total + column + shared
    return total


def _case_part(a: Terms, b: Terms) -> float:
    """What the covariance would be with endless readers of the same cases; NaN where that can not be told.

    For each way of sharing cases: how often the design has it, times the mean product of two readers there,
    of successes less their average.
    """
    readers = range(len(a.scale))
    design = [[np.outer(one.by_row[r] * one.scale[r], one.by_column[r]) for r in readers] for one in (a, b)]
    there = _agreements(zip(*design))
    won = _agreements(
        (design[0][r] * (a.success(r) - a.mean), design[1][r] * (b.success(r) - b.mean)) for r in readers
    )
    cases = tuple(axis for axis in a.axes if axis != "r")
    total = 0.0
    for size in range(len(cases) + 1):
        for shared in map(frozenset, combinations(cases, size)):
            pairs = _exactly(shared, a.axes, there)
            how_often = _exactly(shared, cases, there)
            mean = _exactly(shared, a.axes, won) / pairs if pairs > 1e-9 else math.nan
            if not shared:
                expected = mean
            total += how_often * mean if how_often > 1e-9 else 0.0
    return total - expected


def _groups(there: np.ndarray) -> int:
    """How many groups of readers share no case; there: (J, n) whether a read exists."""
    there = there[there.any(axis=1)]
    readers, cases = np.nonzero(there)
    n = sum(there.shape)
    links = sparse.csr_array((np.ones(len(readers)), (readers, cases + len(there))), shape=(n, n))
    _, label = connected_components(links, directed=False)
    return len(np.unique(label[: len(there)]))
