"""Families of learning curves, and their bounded, weighted fit.

Every family is `m(n) = a + b g(n; shape)` with b >= 0 and g rising in n (the number of positives), so that
only the shape is searched and a and b follow by weighted least squares within their bounds (separable least
squares, Golub and Pereyra 1973). Where g ends at 0, a is the plateau. The families, named as in Viering and
Loog 2023:

    power        a − b n^(−γ)                 exponential   a − b exp(−γ n)
    log          a + b log(n)                 ilog2         a − b / log(n)
    mmf          a − b / (1 + (n / κ)^d)      weibull       a − b exp(−ln 2 (n / κ)^d)

The log family has no plateau: it grows without bound and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.registry import nearest

SIGMA_FLOOR = 0.005
"""Standard errors below this claim more than a mean over repeats on one test set can know."""

STARTS = 5
"""Best distinct places of the shape grid from which a fit is polished."""

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Family:
    """One form of learning curve.

    shape: (n (S,), theta (T, q)) to g, (T, S). inverse: (gap, theta) to the n at which g = −gap, where gap >
    0; None for a family without plateau. low, high: bounds of theta, as multiples of n where `scaled`.
    """

    name: str
    shape: Shape
    inverse: Callable[[float, np.ndarray], float] | None
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    points: tuple[int, ...]
    scaled: tuple[bool, ...]

    @property
    def parameters(self) -> int:
        return 2 + len(self.names)

    def bounds(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Limits of the shape for a curve measured at n; scaled ones go from low × min to high × max."""
        low = [v * n.min() if s else v for v, s in zip(self.low, self.scaled)]
        high = [v * n.max() if s else v for v, s in zip(self.high, self.scaled)]
        return np.array(low, float), np.array(high, float)

    def grid(self, n: np.ndarray) -> np.ndarray:
        """(T, q) shapes to try, spaced by ratio."""
        low, high = self.bounds(n)
        axes = [np.geomspace(lo, hi, k) for lo, hi, k in zip(low, high, self.points)]
        if not axes:
            return np.empty((1, 0))
        return np.stack([m.ravel() for m in np.meshgrid(*axes, indexing="ij")], axis=1)


def _power(n: np.ndarray, t: np.ndarray) -> np.ndarray:
    return -np.exp(-t[:, :1] * np.log(n))


def _exponential(n: np.ndarray, t: np.ndarray) -> np.ndarray:
    return -np.exp(-n / t[:, :1])


def _log(n: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.log(n), (len(t), len(n)))


def _ilog2(n: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.broadcast_to(-1 / np.log(n), (len(t), len(n)))


def _mmf(n: np.ndarray, t: np.ndarray) -> np.ndarray:
    return -expit(-t[:, 1:2] * np.log(n / t[:, :1]))


def _weibull(n: np.ndarray, t: np.ndarray) -> np.ndarray:
    return -np.exp(-math.log(2) * np.exp(np.minimum(t[:, 1:2] * np.log(n / t[:, :1]), 300)))


FAMILIES: dict[str, Family] = {
    f.name: f
    for f in (
        Family(
            "power", _power, lambda gap, t: gap ** (-1 / t[0]), ("gamma",),
            (0.02,), (2,), (100,), (False,),
        ),
        Family(
            "exponential", _exponential, lambda gap, t: -t[0] * math.log(gap), ("scale",),
            (0.3,), (20,), (80,), (True,),
        ),
        Family("log", _log, None, (), (), (), (), ()),
        Family("ilog2", _ilog2, lambda gap, t: math.exp(min(1 / gap, 700)), (), (), (), (), ()),
        Family(
            "mmf", _mmf, lambda gap, t: t[0] * (1 / gap - 1) ** (1 / t[1]), ("half", "d"),
            (0.1, 0.1), (100, 3), (30, 20), (True, False),
        ),
        Family(
            "weibull", _weibull, lambda gap, t: t[0] * (-math.log2(gap)) ** (1 / t[1]), ("half", "d"),
            (0.1, 0.1), (100, 2), (30, 20), (True, False),
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """One family fitted to one curve, on the scale it was fitted on.

    a, b, theta: m(n) = a + b g(n; theta). chi2: weighted sum of squares. aicc: see `fit`. converged: whether
    the search ended at a minimum rather than at its limit of steps.
    """

    family: str
    a: float
    b: float
    theta: tuple[float, ...]
    chi2: float
    aicc: float
    converged: bool = True

    def __call__(self, n: np.ndarray | float) -> np.ndarray:
        """m(n), in the shape of n."""
        n = np.asarray(n, float)
        g = FAMILIES[self.family].shape(np.atleast_1d(n).ravel(), np.array([self.theta]))[0]
        return (self.a + self.b * g).reshape(n.shape)

    @property
    def plateau(self) -> float:
        """Where the curve ends; infinite for a log curve that rises."""
        if FAMILIES[self.family].inverse is None and self.b > 0:
            return math.inf
        return self.a

    def n_at(self, target: float) -> float:
        """The n at which the curve reaches `target`; inf where it never does, 1 where it always has.

        >>> round(Fitted("power", 0.95, 0.5, (0.5,), 0, 0).n_at(0.9), 6)
        100.0
        """
        family = FAMILIES[self.family]
        if self(1.0 + 1e-9) >= target:
            return 1.0
        if self.b <= 0:
            return math.inf
        if family.inverse is None:
            return math.exp(min((target - self.a) / self.b, 700))
        if self.a <= target:
            return math.inf
        return float(family.inverse((self.a - target) / self.b, np.asarray(self.theta)))

    def as_dict(self) -> dict[str, object]:
        """JSON-ready: the parameters by name."""
        named = dict(zip(FAMILIES[self.family].names, self.theta))
        return {"family": self.family, "a": self.a, "b": self.b, **named, "chi2": self.chi2,
                "aicc": self.aicc,
                "converged": self.converged}  # fmt: skip


def fit(
    n: np.ndarray,
    value: np.ndarray,
    sigma: np.ndarray | float = 1.0,
    *,
    family: str = "power",
    plateau: tuple[float, float] = (0.5, 1.0),
    measurements: int | None = None,
    max_steps: int = 2000,
) -> Fitted:
    """The best curve of a family within bounds, found from several starts.

    n: (S,) numbers of positives, 2 or more, all different. value: (S,) mean metric. sigma: its standard
    errors. plateau: bounds of the plateau. measurements: how many single values the means rest on (default
    S); the small-sample term of AICc = chi2 + 2k + 2k(k+1)/(N−k−1) counts these.

    Raises NotEnoughData for fewer sizes than parameters, InputError for values that are not finite.
    """
    n, value, sigma = _checked(n, value, sigma, family_of(family).parameters, family)
    one = family_of(family)
    w, grid = 1 / sigma**2, one.grid(n)
    _, _, sse = solve(one.shape(n, grid), value[None], w, _limits(one, plateau))
    best = grid[_distinct(sse[:, 0], one.points)[:STARTS]]
    found = min((_polish(one, start, n, value, w, plateau, max_steps) for start in best), key=lambda f: f[3])
    a_, b_, theta, chi2, converged = found
    k, m = one.parameters, len(n) if measurements is None else measurements
    correction = 2 * k * (k + 1) / (m - k - 1) if m > k + 1 else math.inf
    return Fitted(family, a_, b_, theta, chi2, chi2 + 2 * k + correction, converged)


def solve(
    g: np.ndarray, value: np.ndarray, w: np.ndarray, limits: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b and the weighted sum of squares of every shape and curve, each (T, B), exactly within the box.

    g: (T, S) shapes; value: (B, S) curves; w: (S,) weights; limits: bounds of a. b is never negative.
    """
    low, high = limits
    W, gw, yw = w.sum(), g @ w, value @ w
    gg, gy, yy = (g * g) @ w, (g * w) @ value.T, (value * value) @ w
    centred = np.maximum(gg - gw**2 / W, 1e-300)[:, None]
    free_b = (gy - gw[:, None] * yw / W) / centred
    free_a = yw / W - free_b * gw[:, None] / W

    def sse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return yy - 2 * a * yw - 2 * b * gy + a * a * W + 2 * a * b * gw[:, None] + b * b * gg[:, None]

    a, b = np.broadcast_to(np.clip(yw / W, low, high), gy.shape), np.zeros_like(gy)
    best = sse(a, b)
    for edge in (low, high):
        if math.isfinite(edge):
            slope = np.maximum((gy - edge * gw[:, None]) / gg[:, None], 0)
            a, b, best = _better(a, b, best, np.full_like(slope, edge), slope, sse)
    inside = (free_b >= 0) & (free_a >= low) & (free_a <= high)
    a, b = np.where(inside, free_a, a), np.where(inside, free_b, b)
    return a, b, np.maximum(sse(a, b), 0)


def _better(a, b, best, a2, b2, sse):
    other = sse(a2, b2)
    won = other < best
    return np.where(won, a2, a), np.where(won, b2, b), np.where(won, other, best)


def _polish(
    family: Family, start: np.ndarray, n: np.ndarray, value: np.ndarray, w: np.ndarray,
    plateau: tuple[float, float], max_steps: int,
) -> tuple[float, float, tuple[float, ...], float, bool]:  # fmt: skip
    """From a grid place to the nearest minimum, in log shape; a and b are solved at every step."""
    limits = _limits(family, plateau)

    def at(log_theta: np.ndarray) -> tuple[float, float, np.ndarray]:
        g = family.shape(n, np.exp(log_theta)[None])
        a, b, _ = solve(g, value[None], w, limits)
        return float(a[0, 0]), float(b[0, 0]), (a[0, 0] + b[0, 0] * g[0] - value) * np.sqrt(w)

    converged, log_theta = True, np.log(start)
    if len(start):
        low, high = (np.log(v) for v in family.bounds(n))
        inside = np.clip(log_theta, low + 1e-9, high - 1e-9)
        found = least_squares(
            lambda t: at(t)[2],
            inside,
            bounds=(low, high),
            max_nfev=max_steps,
            xtol=1e-12,
            ftol=1e-14,
            gtol=1e-14,
        )
        converged, log_theta = found.status > 0, found.x
    a, b, residual = at(log_theta)
    return a, b, tuple(float(v) for v in np.exp(log_theta)), float(residual @ residual), converged


def _distinct(sse: np.ndarray, points: Sequence[int]) -> np.ndarray:
    """Places of the grid's local minima, best first (the best places where there is one only)."""
    cube = np.pad(sse.reshape(tuple(points) or (1,)), 1, constant_values=np.inf)
    inner = tuple(slice(1, -1) for _ in range(cube.ndim))
    lowest = np.ones(cube[inner].shape, bool)
    for axis in range(cube.ndim):
        for step in (-1, 1):
            lowest &= cube[inner] <= np.roll(cube, step, axis)[inner]
    places = np.flatnonzero(lowest.ravel())
    return places[np.argsort(sse[places], kind="stable")]


def _limits(family: Family, plateau: tuple[float, float]) -> tuple[float, float]:
    return (-math.inf, math.inf) if family.inverse is None else plateau


def family_of(name: str) -> Family:
    """The family of that name; InputError, with the nearest name, for an unknown one."""
    if name not in FAMILIES:
        raise InputError(f"no curve family {name!r}.{nearest(name, FAMILIES)} Known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _checked(
    n: np.ndarray, value: np.ndarray, sigma: np.ndarray | float, needed: int, family: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, value = np.asarray(n, float), np.asarray(value, float)
    sigma = np.broadcast_to(np.asarray(sigma, float), n.shape)
    if n.ndim != 1 or n.shape != value.shape:
        raise InputError(f"sizes {n.shape} and values {value.shape} must be two vectors of one length")
    if not (
        np.isfinite(n).all() and np.isfinite(value).all() and np.isfinite(sigma).all() and (sigma > 0).all()
    ):
        raise InputError(
            "a curve needs finite sizes and values and positive standard errors; drop the others"
        )
    if (n < 2).any() or len(np.unique(n)) < len(n):
        raise InputError("sizes of a curve must be 2 positives or more, and all different")
    if len(n) < needed:
        raise NotEnoughData(
            f"a {family} curve has {needed} parameters and was measured at {len(n)} sizes. Measure at "
            "more sizes"
        )
    return n, value, sigma


# --- several families together -------------------------------------------------------------------------


@dataclass(frozen=True)
class Stack:
    """Several fitted families and their weights, which add up to 1."""

    fits: tuple[Fitted, ...]
    weights: tuple[float, ...]

    def __call__(self, n: np.ndarray | float) -> np.ndarray:
        """The weighted mean curve at n."""
        return sum((w * f(n) for w, f in zip(self.weights, self.fits)), np.zeros(np.shape(n)))

    @property
    def best(self) -> Fitted:
        """The family with the largest weight."""
        return self.fits[int(np.argmax(self.weights))]


def akaike_weights(aicc: Sequence[float]) -> np.ndarray:
    """exp(−Δ/2), normalised (Burnham and Anderson 2002).

    >>> akaike_weights([10.0, 10.0]).tolist()
    [0.5, 0.5]
    """
    delta = np.asarray(aicc, float)
    if not np.isfinite(delta).any():
        return np.full(len(delta), 1 / len(delta))
    raw = np.exp(-(delta - delta[np.isfinite(delta)].min()) / 2)
    return np.where(np.isfinite(delta), raw, 0) / np.where(np.isfinite(delta), raw, 0).sum()


def stack(
    n: np.ndarray,
    value: np.ndarray,
    sigma: np.ndarray | float,
    *,
    families: Sequence[str] = tuple(FAMILIES),
    plateau: tuple[float, float] = (0.5, 1.0),
    measurements: int | None = None,
    max_steps: int = 2000,
) -> Stack:
    """Every family that these sizes can support, weighted by AICc; fits that did not converge have no weight.

    Raises NotEnoughData where no family can be fitted, or none converged.
    """
    usable = [f for f in families if family_of(f).parameters <= len(n)]
    if not usable:
        least = min(family_of(f).parameters for f in families)
        raise NotEnoughData(
            f"a curve needs at least {least} sizes, this one has {len(n)}. Measure at more sizes"
        )
    fits = tuple(
        fit(n, value, sigma, family=f, plateau=plateau, measurements=measurements, max_steps=max_steps)
        for f in usable
    )
    if not any(f.converged for f in fits):
        raise NotEnoughData(
            f"no curve family converged ({', '.join(usable)}). Measure more repeats, or more sizes "
            "further apart"
        )
    weights = akaike_weights([f.aicc if f.converged else math.inf for f in fits])
    return Stack(fits, tuple(float(w) for w in weights))


def resampled(
    n: np.ndarray, draws: np.ndarray, sigma: np.ndarray, stacked: Stack, at: np.ndarray, *,
    plateau: tuple[float, float], measurements: int, rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Curves (B, len(at)) refitted to resampled means `draws` (B, S); each draw picks a family by its own
    AICc.

    The shape is taken from the grid, whose pitch is far below the spread of the draws.
    """
    w, names = 1 / sigma**2, [f.family for f, weight in zip(stacked.fits, stacked.weights) if weight > 0]
    score, lines = [], []
    for name in names:
        family = FAMILIES[name]
        grid = family.grid(n)
        a, b, sse = solve(family.shape(n, grid), draws, w, _limits(family, plateau))
        best, column = sse.argmin(axis=0), np.arange(len(draws))
        k = family.parameters
        correction = 2 * k * (k + 1) / (measurements - k - 1) if measurements > k + 1 else math.inf
        score.append(sse[best, column] + 2 * k + correction)
        g = family.shape(at, grid)[best]
        lines.append(a[best, column, None] + b[best, column, None] * g)
    raw = np.exp(-(np.array(score) - np.min(score, axis=0)) / 2)
    chosen = (np.cumsum(raw / raw.sum(axis=0), axis=0) < rng.random(len(draws))).sum(axis=0)
    return np.array(lines)[np.minimum(chosen, len(names) - 1), np.arange(len(draws))]
