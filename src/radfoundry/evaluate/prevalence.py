"""True frequencies behind an imperfect reader: one margin (Rogan-Gladen), or two readings at once.

A reader with sensitivity Se and specificity Sp finds a share a = p Se + (1 - p)(1 - Sp) where the truth is p.
With Se + Sp <= 1 it says nothing about p, and nothing is returned.

Two texts read so (the report r, the draft d) give a table of four shares. Given the two true statuses the
errors on the two sides are independent, so q = K t with K the Kronecker product of the two 2 x 2 matrices
P(read | true). With Se + Sp > 1 for both readers t is K^-1 q where that has no negative entry, else the most
likely table without one.
"""

from __future__ import annotations

import math

import numpy as np

from radfoundry.evaluate.intervals import z_of
from radfoundry.types import Estimate

STEPS = 300
"""Most rounds of accelerated EM; nearly all tables settle within a hundred."""


def true_prevalence(apparent: float, sensitivity: float, specificity: float) -> float:
    """Rogan and Gladen (Am J Epidemiol 1978;107:71), not clipped; NaN unless Se + Sp > 1.

    >>> round(true_prevalence(0.20, 0.90, 0.95), 5)
    0.17647
    """
    gain = sensitivity + specificity - 1
    return (apparent + specificity - 1) / gain if gain > 0 else math.nan


def rogan_gladen(
    positive: float,
    n: float,
    sensitivity: tuple[float, float],
    specificity: tuple[float, float],
    level: float = 0.95,
) -> Estimate:
    """True prevalence behind positive/n, with the interval of Lang and Reiczigel (Prev Vet Med 2014;113:13).

    sensitivity, specificity: (right, of how many) in the validation. The interval carries the error of all
    three proportions: each gets pseudo-counts as in Agresti and Coull, the centre is moved by
    2 z^2 (p Se(1-Se)/n_Se - (1-p) Sp(1-Sp)/n_Sp). Their equation 4 is printed with (1 + P)^2 for (1 - P)^2.
    Value and limits are clipped to 0..1; a clipped value is noted. NaN with a note unless Se + Sp > 1.
    """
    name, method = "true_prevalence", "Rogan-Gladen, Lang-Reiczigel interval"
    counted = min(n, sensitivity[1], specificity[1]) > 0
    se, sp = (k / m if m else math.nan for k, m in (sensitivity, specificity))
    raw = true_prevalence(positive / n, se, sp) if counted else math.nan
    if math.isnan(raw):
        note = "not identifiable: sensitivity + specificity <= 1" if counted else "nothing to count"
        return Estimate(name, math.nan, level=level, method=method, n=int(n), note=note)
    z = z_of(level)
    n_, n_se, n_sp = n + z * z, sensitivity[1] + 2, specificity[1] + 2
    a_, se_, sp_ = (positive + z * z / 2) / n_, (sensitivity[0] + 1) / n_se, (specificity[0] + 1) / n_sp
    p_ = true_prevalence(a_, se_, sp_)
    error_se, error_sp = se_ * (1 - se_) / n_se, sp_ * (1 - sp_) / n_sp
    shift = 2 * z * z * (p_ * error_se - (1 - p_) * error_sp)
    variance = a_ * (1 - a_) / n_ + p_ * p_ * error_se + (1 - p_) ** 2 * error_sp
    half = z * math.sqrt(variance) / (se_ + sp_ - 1)
    value, low, high = (min(1.0, max(0.0, x)) for x in (raw, p_ + shift - half, p_ + shift + half))
    clipped = None if value == raw else f"estimate {raw:.3f} set to {value:.0f}"
    return Estimate(name, value, low, high, level, method, int(n), note=clipped)


def misclassification(
    sensitivity: np.ndarray | float, specificity: np.ndarray | float, dependence: float = 0.0
) -> np.ndarray:
    """P(read | true) of (report, draft), (..., 4, 4): rows read, columns true, in the order 00, 01, 10, 11.

    One reader reads both texts. dependence 0: its errors on the two are independent given the truth, a
    Kronecker product. dependence 1: where the two texts agree (both have the finding or both lack it) it
    errs on both or on neither, as it would on identical wording; between them the covariance is scaled.
    Texts that differ in truth are read independently.

    >>> misclassification(0.8, 1.0)[:, 3].round(2).tolist()
    [0.04, 0.16, 0.16, 0.64]
    """
    se, false = np.broadcast_arrays(np.asarray(sensitivity, float), 1 - np.asarray(specificity, float))
    return matrix_of(se, false, false, se * se, se * false, false * false, dependence)


def matrix_of(
    found: np.ndarray,
    false: np.ndarray,
    false_beside: np.ndarray,
    found_twice: np.ndarray,
    found_and_false: np.ndarray,
    false_twice: np.ndarray,
    dependence: float = 0.0,
) -> np.ndarray:
    """The matrix of `misclassification` from its moments, for findings of different rates pooled.

    With Se and F = 1 - Sp of a finding drawn at random: found E[Se], found_twice E[Se^2], found_and_false
    E[Se F], false_beside E[F], all over findings that are present; false E[F] and false_twice E[F^2] over
    findings that are absent. E[Se^2] > E[Se]^2 where some findings are read better than others, and then the
    two readings of a finding agree more often than their average rate says.
    """
    if not 0 <= dependence <= 1:
        raise ValueError(f"dependence must lie between 0 and 1, not {dependence}")
    both_found = found_twice + dependence * (found - found_twice)
    both_false = false_twice + dependence * (false - false_twice)
    columns = (
        (false, false, both_false),
        (false_beside, found, found_and_false),
        (found, false_beside, found_and_false),
        (found, found, both_found),
    )
    return np.stack(
        [np.stack([1 - a - b + both, b - both, a - both, both], axis=-1) for a, b, both in columns], axis=-1
    )


def true_tables(observed: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Most likely shares (..., 4) of the true tables behind observed counts (..., 4), order as above.

    matrix: (..., 4, 4) from `misclassification`, taken as known. Inverted where the result is a
    distribution, which then is the maximum likelihood; elsewhere EM under the multinomial, whose limit has
    zeros. NaN where the matrix is not `identifiable` or nothing was observed.
    """
    shape = np.broadcast_shapes(observed.shape, matrix.shape[:-1])
    counts = np.broadcast_to(np.asarray(observed, float), shape).reshape(-1, 4)
    matrix = np.broadcast_to(matrix, (*shape, 4)).reshape(-1, 4, 4)
    total = counts.sum(1)
    out = np.full(counts.shape, np.nan)
    fine = (total > 0) & identifiable(matrix)
    shares, matrix = counts[fine] / total[fine, None], matrix[fine]
    solved = np.linalg.solve(matrix, shares[..., None])[..., 0]
    outside = (solved < 0).any(1)
    solved[outside] = _em(shares[outside], matrix[outside], solved[outside])
    out[fine] = solved
    return out.reshape(shape)


def identifiable(matrix: np.ndarray) -> np.ndarray:
    """Where the two true statuses can be told from the two read ones, (...,): Se + Sp > 1.

    The determinant alone does not say so: a reader worse than chance on both sides has (Se + Sp - 1)^4. What
    turns negative is the chance to read a lone finding of one text on its own side less that on the other.
    """
    ok = np.isfinite(matrix).all((-1, -2)) & (matrix[..., 2, 2] > matrix[..., 1, 2])
    return ok & (np.linalg.det(np.where(ok[..., None, None], matrix, 0.0)) > 1e-12)


def _em(shares: np.ndarray, matrix: np.ndarray, start: np.ndarray) -> np.ndarray:
    """EM, sped up by the squared extrapolation S3 of Varadhan and Roland (Scand J Stat 2008;35:335)."""
    table = np.maximum(start, 1e-3)
    table /= table.sum(1, keepdims=True)
    active = np.arange(len(shares))
    for _ in range(STEPS):
        q, k, old = shares[active], matrix[active], table[active]
        first = _em_step(q, k, old)
        second = _em_step(q, k, first)
        r, v = first - old, second - 2 * first + old
        length = np.sqrt((r * r).sum(1) / np.maximum((v * v).sum(1), 1e-300))[:, None]
        leap = old + 2 * length * r + length**2 * v
        leap = np.where((leap < 0).any(1, keepdims=True), second, leap)
        leap = _em_step(q, k, leap)
        better = _likelihood(q, k, leap) > _likelihood(q, k, second)
        new = np.where(better[:, None], leap, second)
        table[active] = new
        active = active[np.abs(new - old).max(1) > 1e-7]
        if not len(active):
            break
    # Zeros are neared and never reached; left as they are, draws would differ by nothing but the stopping.
    exact = np.where(table < 1e-4, 0.0, table)
    exact /= exact.sum(1, keepdims=True)
    as_likely = _likelihood(shares, matrix, exact) >= _likelihood(shares, matrix, table)
    return np.where(as_likely[:, None], exact, table)


def _em_step(q: np.ndarray, k: np.ndarray, table: np.ndarray) -> np.ndarray:
    read = (k @ table[..., None])[..., 0]
    ratio = np.divide(q, read, out=np.zeros_like(q), where=read > 0)
    return table * (ratio[:, None, :] @ k)[:, 0]


def _likelihood(q: np.ndarray, k: np.ndarray, table: np.ndarray) -> np.ndarray:
    return (q * np.log(np.maximum((k @ table[..., None])[..., 0], 1e-300))).sum(1)
