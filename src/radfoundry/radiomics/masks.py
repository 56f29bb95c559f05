"""From a mask on the grid of a volume to the voxels of one region, and its size alone.

The size is the baseline that every set of features has to beat: features of a lesion, learned ones too,
encode how large it is.
"""

from __future__ import annotations

import numpy as np

from radfoundry.errors import InputMismatch
from radfoundry.preprocess.lesion import binary_mask
from radfoundry.types import Volume

SIZE_NAMES = ("size_Volume", "size_LogVolume", "size_MaximumDiameter")
"""mm3, natural logarithm of mm3, mm."""


def region(volume: Volume, mask: Volume, label: int | None = None) -> np.ndarray:
    """Which voxels of `volume` belong to the region: (I, J, K) bool.

    label: the mask's value that marks it, 0 for every value but 0; None where there is only one.
    Raises InputMismatch: a 4D volume, sheared axes, a mask that does not fit (see
        `preprocess.lesion.binary_mask`), a region of one voxel.
    """
    where = volume.source or "the volume"
    if volume.array.ndim != 3:
        raise InputMismatch(f"{where} is 4D {volume.array.shape}. Take one volume of the series")
    axes = volume.affine[:3, :3] / volume.spacing_mm
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise InputMismatch(
            f"{where} has axes that are not perpendicular. Resample it to a straight grid first"
        )
    found = binary_mask(mask, volume, label=label).array.astype(bool)
    if found.sum() < 2:
        raise InputMismatch(
            f"the mask of {where} has one voxel, which has no texture and no shape. Leave the case out, or "
            "use an encoder that takes a point"
        )
    return found


def size_features(volume: Volume, mask: Volume, label: int | None = None) -> np.ndarray:
    """Volume (mm3), its natural logarithm, and the largest diameter (mm), as SIZE_NAMES: (3,) float64.

    The diameter joins the outermost corners of voxels, so that it is never 0.
    Raises what `region` raises.
    """
    found = region(volume, mask, label)
    voxel = abs(float(np.linalg.det(volume.affine[:3, :3])))
    cubic_mm = voxel * int(found.sum())
    return np.array([cubic_mm, np.log(cubic_mm), _diameter(found, volume.affine)])


def _diameter(found: np.ndarray, affine: np.ndarray) -> float:
    """Largest distance between corners of marked voxels, in mm."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    columns = np.argwhere(found.any(axis=2))  # the ends of each column along K: no other voxel is farthest
    along = found[columns[:, 0], columns[:, 1]]
    first, last = along.argmax(axis=1), found.shape[2] - 1 - along[:, ::-1].argmax(axis=1)
    inside = np.concatenate([np.column_stack([columns, end]) for end in (first, last)])
    steps = np.array(np.meshgrid((0, 1), (0, 1), (0, 1), indexing="ij")).reshape(3, 8).T
    corners = np.unique((inside[:, None, :] + steps[None]).reshape(-1, 3), axis=0)
    hull = corners[ConvexHull(corners).vertices]  # corners of voxels always span three dimensions
    return float(pdist(hull @ affine[:3, :3].T).max())
