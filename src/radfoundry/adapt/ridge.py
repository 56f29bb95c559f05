"""Ridge-penalised logistic regression for many strengths at once, converged.

Minimises ½|v|² + C Σ s_i log(1 + exp(−y_i (z_i·v + b))) over v and b, the objective of scikit-learn, by
a truncated Newton method (Nocedal and Wright, Numerical Optimization, algorithm 7.1): conjugate gradients
on the Newton equations, all strengths side by side so that each product with the data serves them all.

With few features the equations are solved directly. Else, in the principal axes of the training cases, the
second derivative is close to diagonal, and its diagonal is the preconditioner: a handful of products then
replaces the forming and factoring of a matrix at every step.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

TOLERANCE = 1e-9
"""Largest entry of the gradient of the mean loss at the solution; scikit-learn's default is 1e-4."""
MOST_STEPS, MOST_PRODUCTS, MOST_HALVINGS = 100, 500, 30
ARMIJO = 1e-4
SMALLEST_EIGENVALUE = 1e-12
"""Directions of the training cases below this share of the largest variance are rounding."""
SMALLEST = 1e-12
"""Added to the diagonal: where all cases are certain the intercept has no curvature of its own."""
DIRECT = 160
"""Up to so many features forming and factoring the second derivative costs less than iterating."""


def principal_axes(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean (p,), basis (p, r)) of the training cases A (n, p): orthonormal, orthogonal columns of scores.

    With fewer cases than features all of the penalised optimum lies in their span (representer theorem; the
    intercept is not penalised), so r <= n loses nothing. Directions of rounding are left out.
    """
    mean = A.mean(axis=0)
    centred = A - mean
    n, p = A.shape
    value, vector = np.linalg.eigh(centred.T @ centred if n > p else centred @ centred.T)
    keep = value > SMALLEST_EIGENVALUE * max(value[-1], 0.0)
    if n > p:
        return mean, vector[:, keep]
    return mean, centred.T @ (vector[:, keep] / np.sqrt(value[keep]))


def logistic_path(
    Z: np.ndarray, y: np.ndarray, C: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """(d + 1, len(C)) weights, the intercept last.

    Z: (n, d) in principal axes (orthogonal columns), centred. y: (n,) 0/1. C: strengths. weight: (n,).
    """
    n = len(Z)
    s = (np.ones(n) if weight is None else weight)[:, None]
    X = np.hstack([Z, np.ones((n, 1))])
    ridge = np.ones((X.shape[1], 1))
    ridge[-1] = 0.0  # the intercept is not penalised
    squares, truth, C = X**2, y[:, None].astype(float), np.asarray(C, float)
    theta = np.zeros((X.shape[1], len(C)))
    eta = np.zeros((n, len(C)))
    loss = _loss(eta, truth, s, theta, ridge, C)
    for _ in range(MOST_STEPS):
        p = expit(eta)
        gradient = ridge * theta + C * (X.T @ (s * (p - truth)))
        size = np.abs(gradient).max(axis=0) / (C * n)
        open_ = size > TOLERANCE
        if not open_.any():
            break
        w = s * p * (1 - p)
        if X.shape[1] <= DIRECT:
            step = _solve_directly(X, w, ridge, C, -gradient, open_)
        else:
            share = np.minimum(0.1, np.sqrt(size))
            step = _solve(X, w, ridge, C, -gradient, ridge + C * (squares.T @ w), share)
            step[:, ~open_] = 0.0
        theta, eta, loss, moved = _walk(X, truth, s, ridge, C, theta, eta, loss, step, gradient)
        if not moved[open_].any():
            break  # at the precision of the numbers
    return theta


def _loss(
    eta: np.ndarray, y: np.ndarray, s: np.ndarray, theta: np.ndarray, ridge: np.ndarray, C: np.ndarray
) -> np.ndarray:
    return 0.5 * (ridge * theta**2).sum(axis=0) + C * (s * (np.logaddexp(0, eta) - y * eta)).sum(axis=0)


def _solve_directly(
    X: np.ndarray, w: np.ndarray, ridge: np.ndarray, C: np.ndarray, b: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """The Newton step of each wanted column, by Cholesky."""
    step = np.zeros_like(b)
    for column in np.flatnonzero(wanted):
        second = C[column] * ((X.T * w[:, column]) @ X)
        second.flat[:: len(second) + 1] += ridge[:, 0] + SMALLEST
        step[:, column] = cho_solve(cho_factor(second), b[:, column])
    return step


def _solve(
    X: np.ndarray, w: np.ndarray, ridge: np.ndarray, C: np.ndarray, b: np.ndarray, diagonal: np.ndarray,
    share: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Preconditioned conjugate gradients until each residual is `share` of its start, column by column."""
    x, r = np.zeros_like(b), b.copy()
    z = r / diagonal
    d, rz = z.copy(), (r * z).sum(axis=0)
    goal = share * np.linalg.norm(b, axis=0)
    for _ in range(MOST_PRODUCTS):
        open_ = np.linalg.norm(r, axis=0) > goal
        if not open_.any():
            break
        product = ridge * d + C * (X.T @ (w * (X @ d)))
        curvature = (d * product).sum(axis=0)
        open_ &= curvature > 0
        if not open_.any():
            break
        length = np.where(open_, rz / np.where(open_, curvature, 1.0), 0.0)
        x += length * d
        r -= length * product
        z = r / diagonal
        new = (r * z).sum(axis=0)
        d = z + np.where(open_, new / np.where(rz > 0, rz, 1.0), 0.0) * d
        rz = new
    return x


def _walk(
    X: np.ndarray, y: np.ndarray, s: np.ndarray, ridge: np.ndarray, C: np.ndarray, theta: np.ndarray,
    eta: np.ndarray, loss: np.ndarray, step: np.ndarray, gradient: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Halve each column's step until the loss falls enough; a column that cannot fall stays where it is."""
    slope, along = (gradient * step).sum(axis=0), X @ step
    length, moved = np.ones(len(C)), slope < 0
    for _ in range(MOST_HALVINGS):
        there = _loss(eta + length * along, y, s, theta + length * step, ridge, C)
        # Close to the optimum the fall drowns in rounding: a step that changes nothing else is taken.
        fell = there <= loss + ARMIJO * length * slope + 1e-14 * np.abs(loss)
        if fell[moved].all():
            break
        length = np.where(fell | ~moved, length, length / 2)
    moved &= fell
    length = np.where(moved, length, 0.0)
    return theta + length * step, eta + length * along, np.where(moved, there, loss), moved
