"""What every head checks before it trains or predicts."""

from __future__ import annotations

import numpy as np

from radfoundry.errors import InputError, NotEnoughData


def check_vectors(X: np.ndarray, dim: int | None = None) -> np.ndarray:
    """X as (n, p) float64; InputError for another shape, width or values that are not finite."""
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2:
        raise InputError(f"embeddings must be (n, dim), not {X.shape}")
    if dim is not None and X.shape[1] != dim:
        raise InputError(
            f"the head was fitted on {dim} features, these rows have {X.shape[1]}: another encoder?"
        )
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        raise InputError(
            f"{len(bad)} rows are not finite, the first is row {bad[0]}: embed these images again"
        )
    return X


def check_training_data(
    X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """X (n, p) float64 and y (n,); at least two classes, no missing label, one group a row."""
    X, y = check_vectors(X), np.asarray(y)
    if y.shape != (len(X),) or (groups is not None and len(groups) != len(X)):
        raise InputError(f"{len(X)} embeddings need as many labels and groups, not {y.shape}")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise InputError(
            f"label {np.flatnonzero(~np.isfinite(y))[0]} is missing; drop the case or give its label"
        )
    classes = np.unique(y)
    if len(classes) < 2:
        raise NotEnoughData(f"all {len(y)} training labels are {classes.tolist()}: a head needs two classes")
    return X, y
