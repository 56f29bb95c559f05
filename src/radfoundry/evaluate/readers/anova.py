"""Obuchowski and Rockette's analysis of variance of figures of merit, and the equivalent DBM.

theta: (I, J) figures of merit of I modalities and J readers; cov: (I, J, I, J) their covariance over cases.
Sources: Obuchowski and Rockette, Commun Stat Simul 1995;24:285; Hillis, Stat Med 2007;26:596 (degrees of
freedom) and 2014;33:330 (single modalities); Hillis et al., Stat Med 2005;24:1579 (DBM by normalised
pseudovalues is OR by the jackknife); Dorfman, Berbaum and Metz, Invest Radiol 1992;27:723.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Effects = Literal["random", "fixed readers", "fixed cases"]
EFFECTS: tuple[Effects, ...] = ("random", "fixed readers", "fixed cases")
ROUNDING = 1e-12  # a variance below this is zero up to rounding


@dataclass(frozen=True)
class Components:
    """Mean squares of theta, and variance components.

    var: mean variance of one figure of merit over cases; cov1: covariance of one reader in two modalities;
    cov2: of two readers in one modality; cov3: of two readers in two modalities. reader and
    modality_reader may come out negative, which is kept. NaN where a covariance has no pair.
    """

    ms_t: float
    ms_r: float
    ms_tr: float
    var: float
    cov1: float
    cov2: float
    cov3: float
    reader: float
    modality_reader: float


@dataclass(frozen=True)
class GlobalTest:
    """Are all modalities equal. statistic: F(df1, df2), or chi-square(df1) where df2 is infinite."""

    statistic: float
    df1: float
    df2: float
    p: float
    denominator: float

    def __str__(self) -> str:
        if math.isnan(self.statistic):
            return "no test: no variance"
        kind = f"F({self.df1:g}, {self.df2:.2f})" if math.isfinite(self.df2) else f"chi-square({self.df1:g})"
        return f"{kind} = {self.statistic:.3f}, p = {self.p:.4g}"


@dataclass(frozen=True)
class Contrast:
    """An estimate with its standard error and degrees of freedom (infinite: normal).

    se is NaN where the variance estimate is not positive: no interval and no test then.
    """

    value: float
    se: float
    df: float
    level: float = 0.95

    @property
    def statistic(self) -> float:
        """value / se."""
        return self.value / self.se if self.se > 0 else math.nan

    @property
    def p(self) -> float:
        """Two-sided, against zero."""
        return float(2 * stats.t.sf(abs(self.statistic), self.df))

    @property
    def low(self) -> float:
        """Lower limit, not cut at the range of the figure of merit."""
        return self.value - self._half

    @property
    def high(self) -> float:
        """Upper limit, not cut at the range of the figure of merit."""
        return self.value + self._half

    @property
    def _half(self) -> float:
        return float(stats.t.ppf((1 + self.level) / 2, self.df)) * self.se

    def p_above(self, bound: float) -> float:
        """One-sided p that the value exceeds `bound`: -margin for non-inferiority, 0 for superiority."""
        return float(stats.t.sf((self.value - bound) / self.se, self.df)) if self.se > 0 else math.nan


def components(theta: np.ndarray, cov: np.ndarray) -> Components:
    """Mean squares and averaged covariances."""
    i, j = theta.shape
    by_modality, by_reader = theta.mean(axis=1), theta.mean(axis=0)
    rest = theta - by_modality[:, None] - by_reader + theta.mean()
    ms_t = j * _ss(by_modality) / (i - 1) if i > 1 else math.nan
    ms_r = i * _ss(by_reader) / (j - 1) if j > 1 else math.nan
    ms_tr = float((rest**2).sum()) / ((i - 1) * (j - 1)) if i > 1 and j > 1 else math.nan
    same_modality = np.eye(i, dtype=bool)[:, None, :, None]
    same_reader = np.eye(j, dtype=bool)[None, :, None, :]
    groups = [
        same_modality & same_reader, ~same_modality & same_reader, same_modality & ~same_reader,
        ~same_modality & ~same_reader,
    ]  # fmt: skip
    var, cov1, cov2, cov3 = (_mean_of(cov, group) for group in groups)
    reader = (ms_r - ms_tr) / i - cov1 + cov3
    both = ms_tr - var + cov1 + max(cov2 - cov3, 0.0)
    reader, both = (0.0 if abs(value) < ROUNDING else value for value in (reader, both))
    return Components(ms_t, ms_r, ms_tr, var, cov1, cov2, cov3, reader, both)


def _ss(values: np.ndarray) -> float:
    return float(((values - values.mean()) ** 2).sum())


def _mean_of(cov: np.ndarray, group: np.ndarray) -> float:
    picked = cov[np.broadcast_to(group, cov.shape)]
    return float(picked.mean()) if picked.size else math.nan


def denominator(found: Components, i: int, j: int, effects: Effects) -> tuple[float, float]:
    """(error term of the modality mean square, its degrees of freedom), by what counts as random.

    random: MS(TR) + J max(Cov2 - Cov3, 0), floored as Hillis does. fixed readers: Var - Cov1 + (J - 1)(Cov2 -
    Cov3), not floored, as MRMCaov has it. fixed cases: MS(TR).
    """
    if effects == "fixed readers":
        across = (j - 1) * (found.cov2 - found.cov3) if j > 1 else 0.0
        return found.var - found.cov1 + across, math.inf
    if effects == "fixed cases":
        return found.ms_tr, (i - 1) * (j - 1)
    total = found.ms_tr + j * max(found.cov2 - found.cov3, 0.0)
    return total, _hillis(total, found.ms_tr, (i - 1) * (j - 1))


def _hillis(total: float, by_readers: float, df: int) -> float:
    """Degrees of freedom of a sum of a mean square with df and of a covariance taken as known."""
    return df * (total / by_readers) ** 2 if by_readers > ROUNDING else math.inf


def global_test(found: Components, i: int, j: int, effects: Effects) -> GlobalTest:
    """F (or chi-square, with fixed readers) that all modalities are equal; NaN without an error term."""
    error, df2 = denominator(found, i, j, effects)
    if not error > ROUNDING:
        return GlobalTest(math.nan, i - 1, df2, math.nan, error)
    f = found.ms_t / error
    if effects == "fixed readers":
        return GlobalTest((i - 1) * f, i - 1, df2, float(stats.chi2.sf((i - 1) * f, i - 1)), error)
    return GlobalTest(f, i - 1, df2, float(stats.f.sf(f, i - 1, df2)), error)


def difference(
    theta: np.ndarray, found: Components, a: int, b: int, effects: Effects, level: float
) -> Contrast:
    """Modality a minus b, averaged over readers, with the error term of all modalities."""
    i, j = theta.shape
    error, df = denominator(found, i, j, effects)
    value = float(theta[a].mean() - theta[b].mean())
    return Contrast(value, _root(2 * error / j), df, level)


def average(theta: np.ndarray, cov: np.ndarray, a: int, effects: Effects, level: float) -> Contrast:
    """Modality a, averaged over readers, from the data of that modality alone."""
    own, inside = theta[a], cov[a, :, a, :]
    j = len(own)
    ms_r = _ss(own) / (j - 1) if j > 1 else math.nan
    cov2 = _mean_of(inside, ~np.eye(j, dtype=bool)) if j > 1 else 0.0
    if effects == "fixed readers":
        variance, df = (float(np.trace(inside)) / j + (j - 1) * cov2) / j, math.inf
    elif effects == "fixed cases":
        variance, df = ms_r / j, float(j - 1)
    else:
        total = ms_r + j * max(cov2, 0.0)
        variance, df = total / j, _hillis(total, ms_r, j - 1)
    return Contrast(float(own.mean()), _root(variance), df, level)


def one_reader(theta: np.ndarray, cov: np.ndarray, a: int, reader: int, level: float) -> Contrast:
    """One reader in modality a, over cases."""
    return Contrast(float(theta[a, reader]), _root(cov[a, reader, a, reader]), math.inf, level)


def reader_difference(
    theta: np.ndarray, cov: np.ndarray, a: int, b: int, reader: int, level: float
) -> Contrast:
    """Modality a minus b of one reader, over cases, from the data of that reader alone."""
    own = cov[:, reader, :, reader]
    value = float(theta[a, reader] - theta[b, reader])
    return Contrast(value, _root(own[a, a] + own[b, b] - 2 * own[a, b]), math.inf, level)


def _root(variance: float) -> float:
    return math.sqrt(variance) if variance > ROUNDING else math.nan


@dataclass(frozen=True)
class Pseudovalues:
    """Mean squares of jackknife pseudovalues: modality, reader, case and their products."""

    t: float
    r: float
    c: float
    tr: float
    tc: float
    rc: float
    trc: float
    n: int


def dbm(theta: np.ndarray, left_out: np.ndarray) -> tuple[Pseudovalues, GlobalTest]:
    """Dorfman, Berbaum and Metz: ANOVA of pseudovalues, readers and cases random.

    left_out: (I, J, N) theta without each case. The pseudovalues are shifted so that their mean is theta
    (normalised). F equals that of Obuchowski and Rockette with the jackknife.
    """
    i, j, n = left_out.shape
    raw = n * theta[..., None] - (n - 1) * left_out
    y = raw - raw.mean(axis=2, keepdims=True) + theta[..., None]
    sizes = {0: i, 1: j, 2: n}

    def mean_square(*kept: int) -> float:
        others = tuple(set(sizes) - set(kept))
        effect = y - y.mean()
        for axis in kept:
            effect = effect - effect.mean(axis=axis, keepdims=True)
        centred = effect.mean(axis=others, keepdims=True) if others else effect
        times = math.prod(sizes[axis] for axis in others)
        return times * float((centred**2).sum()) / math.prod(sizes[axis] - 1 for axis in kept)

    names = {"t": (0,), "r": (1,), "c": (2,), "tr": (0, 1), "tc": (0, 2), "rc": (1, 2), "trc": (0, 1, 2)}
    ms = Pseudovalues(**{name: mean_square(*axes) for name, axes in names.items()}, n=n)
    error = ms.tr + max(ms.tc - ms.trc, 0.0)
    df2 = _hillis(error, ms.tr, (i - 1) * (j - 1))
    f = ms.t / error if error > ROUNDING else math.nan
    return ms, GlobalTest(f, i - 1, df2, float(stats.f.sf(f, i - 1, df2)), error)
