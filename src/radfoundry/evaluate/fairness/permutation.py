"""Permutation of group labels, whole patients at a time, for the gaps of `fairness`.

A cell is all rows of one patient in one group; where a covariate never changes within a patient, a cell is
a patient. Labels are dealt anew over cells within strata, and every statistic is computed again from
scratch on the permuted groups: for AUCs by sparse products of ranks, for rates by dense ones.

Why strata. An AUC, a sensitivity and a false positive rate are statements given the class, so groups may
differ in prevalence without any unfairness of the score. Where every cell is of one class, labels are
therefore permuted within each class: every permuted group keeps its number of positives and negatives, and
the test is exact whatever the prevalences. Where patients own rows of both classes there is no such
stratum: held apart, these patients (whose negatives are the harder ones) would stay with their group in
every permutation, and so would the gap that comes of them. Labels then move over all cells, and it is the
studentising that keeps a difference in prevalence from counting.

Why studentised. The statistic is the difference over its standard error (of permuted groups too). Plain
differences are exact only if the scores of the groups are distributed alike; two groups may have the same
AUC and different spreads of scores. Studentised, the test is still exact in the first case, and right in
large samples in the second (Neubert and Brunner 2007; Chung and Romano 2013; for AUCs Pauly et al. 2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from radfoundry.evaluate.resample import Ranked, patient_sums

BLOCK = 256  # labellings at a time: small enough for the cache
NEARLY = 1e-4  # ties of a statistic: single precision, summed in another order


@dataclass(frozen=True)
class Rows:
    """One repeat's rows of the groups to compare. y: (n,) 0/1; score: (n,)."""

    y: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Cells:
    """patient, group: (cells,) numbers; k groups; positive, negative: (cells,) rows of each class."""

    patient: np.ndarray
    group: np.ndarray
    k: int
    positive: np.ndarray
    negative: np.ndarray

    @cached_property
    def strata(self) -> np.ndarray:
        """1: positives, 0: negatives; all 0 where any cell holds both classes; (cells,)."""
        mixed = (self.positive > 0) & (self.negative > 0)
        return np.zeros(len(mixed), int) if mixed.any() else (self.positive > 0).astype(int)

    def observed(self) -> np.ndarray:
        """The labels as they are, (cells, 1)."""
        return self.group.astype(_kind(self.k))[:, None]

    def shuffled(self, n: int, rng: np.random.Generator, *, by_class: bool) -> Iterator[np.ndarray]:
        """Blocks of permuted labels (cells, draws), `n` draws in all; within strata where `by_class`."""
        strata = self.strata if by_class else np.zeros(len(self.group), int)
        members = [np.flatnonzero(strata == s) for s in np.unique(strata)]
        for start in range(0, n, BLOCK):
            size = min(BLOCK, n - start)
            labels = np.empty((len(self.group), size), _kind(self.k))
            for rows in members:
                labels[rows] = _dealt(self.group[rows], self.k, size, rng)
            yield labels


def _dealt(labels: np.ndarray, k: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Labels in random order, (len(labels), draws): they ride on sorted random numbers.

    Three times as fast as shuffling. Two equal random numbers go by label, which is too rare to matter.
    """
    low = np.uint32(2 ** max(1, (k - 1).bit_length()) - 1)
    keys = rng.integers(0, 2**32, size=(draws, len(labels)), dtype=np.uint32)
    keys = (keys & ~low) | labels.astype(np.uint32)
    keys.sort(axis=1)
    return (keys & low).astype(_kind(k)).T


def _kind(k: int) -> type[np.signedinteger]:
    """The smallest integers that number k groups."""
    return np.int8 if k <= 128 else np.int32


@dataclass(frozen=True)
class Values:
    """A metric by group. value, weight, variance: (groups, draws); influence: (groups, cells), or None.

    weight: what the group counts in the mean of several groups (its pairs, or its denominator).
    """

    value: np.ndarray
    weight: np.ndarray
    variance: np.ndarray
    influence: np.ndarray | None = None


class Components(Ranked):
    """DeLong's components summed by cell, for many choices of cells at once; in single precision.

    up: thresholds and gaps by cells, the counts that make an AUC. down: its transpose, with each cell's
    numbers of positives and negatives beside it, from components at the thresholds back to cells.
    """

    def __init__(self, y: np.ndarray, score: np.ndarray, codes: np.ndarray, n_patients: int) -> None:
        super().__init__(y, score, codes, n_patients)
        self.k = self._positive.shape[0]
        both = sparse.vstack([self._positive, self._half])
        owned = [np.asarray(side.sum(axis=0)).reshape(-1, 1) for side in (self._positive, self._half)]
        self.up = sparse.csr_array(both.astype(np.float32))
        self.down = sparse.csr_array(sparse.hstack([both.T, *owned]).astype(np.float32))

    def by_choice(
        self, chosen: np.ndarray, scale: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(area, pairs) (draws,) of the chosen cells, and each cell's share in the area's deviation.

        chosen: (cells, draws) of 0 and 1. scale: (draws,) factors of the shares through positives and
        through negatives. The shares of cells not chosen mean nothing.
        """
        found = self.up @ chosen
        positive, negative = found[: self.k], found[self.k :]
        m, n = positive.sum(axis=0), negative.sum(axis=0)
        inside = np.zeros((len(found) + 2, chosen.shape[1]), np.float32)
        below, above = inside[: self.k], inside[self.k : -3]
        np.divide(_running(negative[:-1]), n, out=below)
        area = np.einsum("kd,kd->d", positive, below) / m
        np.divide(_running(positive[::-1])[::-1], m, out=above)
        below *= scale[0] / m
        above *= scale[1] / n
        inside[-2:] = -area * scale[0] / m, -area * scale[1] / n
        return area, m.astype(float) * n, self.down @ inside


def _running(x: np.ndarray, step: int = 64) -> np.ndarray:
    """Running sums down the rows, (n, draws): within stretches, then over them; far faster than `cumsum`."""
    stretches = -(-len(x) // step)
    out = np.zeros((stretches, step, x.shape[1]), x.dtype)
    out.reshape(-1, x.shape[1])[: len(x)] = x
    for i in range(1, step):
        out[:, i] += out[:, i - 1]
    for j in range(1, stretches):
        out[j] += out[j - 1, -1]
    return out.reshape(-1, x.shape[1])[: len(x)]


def choices(labels: np.ndarray, k: int) -> list[np.ndarray]:
    """For each of k groups the cells it holds under each labelling: (cells, draws) of 0 and 1."""
    return [(labels == g).astype(np.float32) for g in range(k)]


def auroc_by_group(
    cells: Cells, repeats: Sequence[Components], chosen: Sequence[np.ndarray], one: bool
) -> Values:
    """Each group's AUC (mean over repeats) under each labelling, with DeLong's variance clustered by cell.

    chosen: as `choices` gives it. Variance as in `intervals.auc_covariance`: components summed by cell, each
    class corrected for its number of cells. one: also give the influences, of a single labelling.
    """
    shape = (cells.k, chosen[0].shape[1])
    value, weight, variance = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    influence = np.zeros((cells.k, len(cells.group)))
    for g, own in enumerate(chosen):
        scale = _correction(own, cells.positive), _correction(own, cells.negative)
        total = np.zeros_like(own)
        for repeat in repeats:
            area, pairs, share = repeat.by_choice(own, scale)
            value[g] += area / len(repeats)
            weight[g] += pairs / len(repeats)
            total += share
        total *= own
        variance[g] = np.einsum("cd,cd->d", total, total) / len(repeats) ** 2
        if one:
            influence[g] = total[:, 0] / len(repeats)
    return Values(value, weight, variance, influence if one else None)


def _correction(chosen: np.ndarray, side: np.ndarray) -> np.ndarray:
    """sqrt(cells / (cells - 1)) of those that hold a class; (draws,)."""
    cells = (side > 0).astype(chosen.dtype) @ chosen
    return np.sqrt(cells / np.maximum(cells - 1, 0.5))


@dataclass(frozen=True)
class Ratio:
    """A rate as top / bottom, summed by cell; (cells,) each."""

    top: np.ndarray
    bottom: np.ndarray


def rates_by_group(
    cells: Cells, ratios: Sequence[Ratio], chosen: Sequence[np.ndarray], one: bool
) -> list[Values]:
    """Each group's rates under each labelling; the variance of a ratio, summed by cell (linearised)."""
    sums = np.stack(
        [c for r in ratios for c in (r.top, r.bottom, r.top**2, r.top * r.bottom, r.bottom**2, r.bottom > 0)]
    ).astype(np.float32)
    found = np.stack([sums @ own for own in chosen]).astype(float)
    found = found.reshape(cells.k, len(ratios), 6, -1)
    out = []
    for i, r in enumerate(ratios):
        top, bottom, tt, tb, bb, n = (found[:, i, j] for j in range(6))
        with np.errstate(divide="ignore", invalid="ignore"):
            value = top / bottom
            variance = np.maximum(tt - 2 * value * tb + value**2 * bb, 0) / bottom**2 * n / (n - 1)
        variance[variance * bottom**2 < 1e-6 * tt] = 0.0  # rounding, where every row is the same
        influence = None
        if one:
            own = np.arange(cells.k)[:, None] == cells.group
            influence = own * (r.top - value * r.bottom) / bottom * np.sqrt(n / (n - 1))
        out.append(Values(value, bottom, variance, influence))
    return out


@dataclass(frozen=True)
class Contrasts:
    """spread: largest minus smallest; t_spread: largest |difference| / SE over pairs; (draws,) both.
    t_rest: (groups, draws) of each group against the others."""

    spread: np.ndarray
    t_spread: np.ndarray
    t_rest: np.ndarray


def contrasts(values: Values, patient: np.ndarray) -> Contrasts:
    """Pairs, and each group against the rest; covariances where influences are known."""
    k = len(values.value)
    covariance = covariances(values, patient)
    t_spread = np.zeros(values.value.shape[1])
    for i in range(k):
        for j in range(i):
            variance = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
            t_spread = np.maximum(t_spread, _studentised(values.value[i] - values.value[j], variance))
    t_rest = np.empty_like(values.value)
    for i in range(k):
        difference, variance = against_rest(values, covariance, i)
        t_rest[i] = _studentised(difference, variance)
    return Contrasts(np.ptp(values.value, axis=0), t_spread, t_rest)


def against_rest(values: Values, covariance: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
    """(difference, variance) (draws,) of group i and the mean of the others, weighted as they count."""
    share = values.weight.copy()
    share[i] = 0
    share = -share / share.sum(axis=0)
    share[i] = 1
    difference = (share * values.value).sum(axis=0)
    return difference, np.einsum("id,ijd,jd->d", share, covariance, share)


def covariances(values: Values, patient: np.ndarray) -> np.ndarray:
    """(groups, groups, draws): patients in two groups make them covary, in the labels as they are."""
    k = len(values.value)
    out = np.zeros((k, k, values.value.shape[1]))
    out[np.arange(k), np.arange(k)] = values.variance
    if values.influence is not None and len(np.unique(patient)) < len(patient):
        by_patient = patient_sums(values.influence.T, patient, int(patient.max()) + 1)
        out[:] = (by_patient.T @ by_patient)[..., None]
    return out


def _studentised(difference: np.ndarray, variance: np.ndarray) -> np.ndarray:
    size = np.abs(difference)
    exact = variance <= 1e-14  # no spread left: equal is 0, different is as extreme as can be
    t = size / np.sqrt(np.where(exact, 1.0, variance))
    return np.where(exact, np.where(size < 1e-6, 0.0, np.inf), t)


def cells_of(patient: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cell of each row (n,), patient of each cell, group of each cell)."""
    pairs, cell = np.unique(np.stack([patient, group]), axis=1, return_inverse=True)
    return cell.reshape(-1), pairs[0], pairs[1]
