"""Made-up embeddings and images with a signal in a known place."""

from __future__ import annotations

import numpy as np


def embeddings(n: int, p: int, k: int = 2, effect: float = 1.5, seed: int = 0):
    """X (n, p), y (n,) in 0..k-1, patients (n,) of two rows each with one label."""
    rng = np.random.default_rng(seed)
    patient = np.arange(n) // 2
    y = rng.permutation(np.arange(n // 2 + 1) % k)[patient]
    X = rng.normal(size=(n, p))
    X[np.arange(n), y] += effect
    return X, y, patient


def squares(n: int, size: int = 28, seed: int = 0, k: int = 2):
    """Noise images (n, size, size) in [0, 1], brighter in one of k quadrants by class; y (n,)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    images = rng.random((n, size, size), dtype=np.float32) * 0.5
    half = size // 2
    for c in range(k):
        row, column = divmod(c, 2)
        images[y == c, row * half : (row + 1) * half, column * half : (column + 1) * half] += 0.3
    return images, y
