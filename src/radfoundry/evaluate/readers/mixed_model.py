"""A linear model with crossed random effects, such as readers and cases.

Fitted by restricted likelihood with the random effects integrated out (Bates et al., J Stat Softw
2015;67(1), section 3). It is here because statsmodels' MixedLM takes some fifty times as long with crossed
effects; the tests hold it against MixedLM and lme4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, sparse
from threadpoolctl import threadpool_limits


@dataclass(frozen=True)
class Fit:
    """beta: (p,); covariance: (p, p); sd: of each random effect, then of the residual; criterion: minus twice
    the restricted log likelihood."""

    beta: np.ndarray
    covariance: np.ndarray
    sd: np.ndarray
    criterion: float
    converged: bool


def crossed(y: np.ndarray, x: np.ndarray, groups: Sequence[np.ndarray]) -> Fit:
    """Restricted maximum likelihood of y (n,) on x (n, p) with independent random effects.

    groups: one (n,) array of group numbers a random effect; groups may cross. The random effects are
    integrated out (Bates et al. 2015, eq. 41), so that a step costs the cube of the number of groups, those
    of the largest effect left out, whatever n. A variance may be zero.
    """
    model = _Profile(y, x, groups)
    k, p = len(groups), x.shape[1]
    with threadpool_limits(1):  # hundreds of small matrices: threads cost more than they bring
        found = optimize.minimize(
            model.criterion, np.full(k, 0.5), method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-8, "maxiter": 400 * k},
        )  # fmt: skip
    try:
        _, inner, beta, rest = model.solve(found.x)
    except linalg.LinAlgError:
        none = np.full(p, math.nan)
        return Fit(none, np.full((p, p), math.nan), np.full(k + 1, math.nan), math.nan, False)
    residual = rest / (len(y) - p)
    sd = math.sqrt(residual) * np.append(np.abs(found.x), 1.0)
    usable = bool(found.success) and math.isfinite(found.fun) and residual > 1e-12
    return Fit(beta, residual * linalg.inv(inner), sd, float(found.fun), usable)


class _Profile:
    """The criterion of the ratios theta of the random effects' SDs to the residual's.

    The groups of one effect share no row, so that their block of I + theta Z'Z theta is diagonal: that of
    the largest effect is eliminated first, and only the Schur complement of the others is factored.
    """

    def __init__(self, y: np.ndarray, x: np.ndarray, groups: Sequence[np.ndarray]) -> None:
        sizes = [int(g.max()) + 1 for g in groups]
        self.largest = int(np.argmax(sizes))
        self.others = [i for i in range(len(groups)) if i != self.largest]
        self.sizes = [sizes[i] for i in self.others]
        self.n, self.p = x.shape
        right = np.column_stack([x, y])
        z = [_indicator(g, k) for g, k in zip(groups, sizes)]
        large = z[self.largest]
        self.count = np.bincount(groups[self.largest], minlength=sizes[self.largest]).astype(float)
        self.large_right = large.T @ right
        small = sparse.hstack([z[i] for i in self.others], format="csr") if self.others else None
        shape = (0, self.n)
        transposed = sparse.csr_array(shape) if small is None else sparse.csr_array(small.T)
        self.small = (transposed @ transposed.T).toarray()
        self.across = (transposed @ large).toarray()  # (groups of the others, groups of the largest)
        self.small_right = transposed @ right
        self.xx, self.xy, self.yy = x.T @ x, x.T @ y, float(y @ y)

    def solve(self, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
        """(log determinant of I + theta Z'Z theta, X'X and beta less the random effects, residual)."""
        theta, p = np.abs(theta), self.p
        top = float(theta[self.largest])
        diagonal = 1 + top**2 * self.count
        scale = np.repeat(theta[self.others], self.sizes)
        share = top**2 / diagonal
        schur = np.eye(len(scale)) + scale[:, None] * (
            self.small - (self.across * share) @ self.across.T
        ) * scale  # fmt: skip
        root = np.linalg.cholesky(schur)
        left = scale[:, None] * (self.small_right - self.across @ (share[:, None] * self.large_right))
        part = linalg.solve_triangular(root, left, lower=True, check_finite=False)
        taken = self.large_right.T @ (share[:, None] * self.large_right) + part.T @ part
        inner = self.xx - taken[:p, :p]
        beta = np.linalg.solve(inner, self.xy - taken[:p, p])
        rest = self.yy - taken[p, p] - beta @ inner @ beta
        logs = np.log(diagonal).sum() + 2 * np.log(np.diag(root)).sum()
        return float(logs), inner, beta, max(float(rest), 1e-300)

    def criterion(self, theta: np.ndarray) -> float:
        """Minus twice the restricted log likelihood, infinite where it can not be had."""
        try:
            logs, inner, _, rest = self.solve(theta)
        except linalg.LinAlgError:
            return math.inf
        degrees = self.n - self.p
        logs += float(np.linalg.slogdet(inner)[1])
        return logs + degrees * (1 + math.log(2 * math.pi * rest / degrees))


def _indicator(group: np.ndarray, k: int) -> sparse.csr_array:
    rows = np.arange(len(group))
    return sparse.csr_array((np.ones(len(group)), (rows, group)), shape=(len(group), k))
