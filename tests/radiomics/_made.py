"""The IBSI digital phantom, and small lesions in noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from radfoundry.types import Volume

X = 5
"""Value outside the region: the manual shows none; 5 is what both intensity peaks of the consensus need."""

# 5 x 4 x 4 voxels (x, y, z) of 2 mm, written as slices along z, rows along y. arXiv:1612.07003, section 5.1.
PHANTOM = np.array([
    [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
    [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [X, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
    [[1, 4, 4, X, X], [1, 1, 1, 1, 1], [1, 1, X, 1, 1], [1, 1, 6, 1, 1]],
    [[1, 4, 4, X, X], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
]).transpose(2, 1, 0)  # fmt: skip

LESION = (slice(8, 15), slice(6, 14), slice(4, 8))


def ibsi_phantom() -> tuple[Volume, Volume]:
    """Volume and mask of the phantom, in HU so that intensity-volume histograms are not binned."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    return (
        Volume(PHANTOM.astype(np.float32), affine, "HU"),
        Volume((PHANTOM != X).astype(np.uint8), affine),
    )


def lesion(
    unit: str = "HU",
    spacing: tuple[float, float, float] = (0.8, 0.8, 2.5),
    region: Callable[[np.ndarray], None] | None = None,
    shape: tuple[int, int, int] = (24, 20, 12),
) -> tuple[Volume, Volume]:
    """Noise around 40, and a mask: a block, or what `region` writes into it."""
    rng = np.random.default_rng(0)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-80.0, 30.0, 12.0)
    values = np.round(rng.normal(40.0, 60.0, shape)).astype(np.float32)
    marked = np.zeros(values.shape, dtype=np.uint8)
    if region is None:
        marked[LESION] = 1
    else:
        region(marked)
    return Volume(values, affine, unit, "CT"), Volume(marked, affine)  # type: ignore[arg-type]  # one of Unit
