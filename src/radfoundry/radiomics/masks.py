"""From a mask on the grid of a volume to the voxels of one region, and its size alone.

The size is the baseline that every set of features has to beat: features of a lesion, learned ones too,
encode how large it is.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from radfoundry.errors import InputMismatch
from radfoundry.types import Volume

SIZE_NAMES = ("size_Volume", "size_LogVolume", "size_MaximumDiameter")
"""mm3, natural logarithm of mm3, mm."""
GRID_TOLERANCE = 0.1
"""Fraction of a voxel by which the corners of mask and volume may differ (rounding in headers)."""


def region(volume: Volume, mask: Volume, label: int | Literal["all"] | None = None) -> np.ndarray:
    """Which voxels of `volume` belong to the region: (I, J, K) bool.

    label: the mask's value that marks it, "all" for every value but 0; None where there is only one.
    Raises InputMismatch: another grid, 4D, sheared axes, a mask that is empty, of probabilities, of several
        labels, or of one voxel.
    """
    where = volume.source or "the volume"
    _check_grid(volume, mask, where)
    marked = mask.array != 0  # NaN counts, and is refused below
    values = np.unique(mask.array[marked])
    if not np.isfinite(values).all() or (values != np.round(values)).any():
        raise InputMismatch(
            f"the mask of {where} holds fractions. Threshold it first: a mask marks a voxel or does not"
        )
    if not values.size:
        raise InputMismatch(f"the mask of {where} is empty. Leave the case out, or correct its mask column")
    labels = [int(value) for value in values]
    if label is None and len(labels) > 1:
        shown = ", ".join(map(str, labels[:8])) + (", ..." if len(labels) > 8 else "")
        raise InputMismatch(
            f"the mask of {where} holds {len(labels)} labels ({shown}). Say which is meant: label=NUMBER, or "
            'label="all"'
        )
    found = marked if label in (None, "all") else mask.array == label
    if not found.any():
        shown = ", ".join(map(str, labels[:8]))
        raise InputMismatch(f"the mask of {where} has no label {label}; it holds {shown}. Choose one of them")
    if found.sum() < 2:
        raise InputMismatch(
            f"the mask of {where} has one voxel, which has no texture and no shape. Leave the case out, or "
            "use an encoder that takes a point"
        )
    return found


def size_features(volume: Volume, mask: Volume, label: int | Literal["all"] | None = None) -> np.ndarray:
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

    inside = np.argwhere(found)
    steps = np.array(np.meshgrid((0, 1), (0, 1), (0, 1), indexing="ij")).reshape(3, 8).T
    corners = np.unique((inside[:, None, :] + steps[None]).reshape(-1, 3), axis=0)
    hull = corners[ConvexHull(corners).vertices]  # corners of voxels always span three dimensions
    return float(pdist(hull @ affine[:3, :3].T).max())


def _check_grid(volume: Volume, mask: Volume, where: str) -> None:
    if volume.array.ndim != 3:
        raise InputMismatch(f"{where} is 4D {volume.array.shape}. Take one volume of the series")
    if mask.array.shape != volume.array.shape:
        raise InputMismatch(
            f"the mask of {where} has {_shape(mask)} voxels, the volume {_shape(volume)}. Resample the mask "
            "to the volume's grid (nearest neighbour), or draw it on this series"
        )
    if max(volume.array.shape) == 0:
        raise InputMismatch(f"{where} has no voxels")
    size = np.array(volume.array.shape)
    corners = np.array(np.meshgrid(*[(0, n) for n in size], indexing="ij")).reshape(3, 8).T
    apart = corners @ (volume.affine - mask.affine)[:3, :3].T + (volume.affine - mask.affine)[:3, 3]
    farthest = float(np.linalg.norm(apart, axis=1).max())
    if farthest > GRID_TOLERANCE * float(volume.spacing_mm.min()):
        raise InputMismatch(
            f"the mask of {where} lies elsewhere: its corners are up to {farthest:.3g} mm away from the "
            "volume's. Take the mask of this series, or resample it to the volume's grid"
        )
    axes = volume.affine[:3, :3] / volume.spacing_mm
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise InputMismatch(
            f"{where} has axes that are not perpendicular. Resample it to a straight grid first"
        )


def _shape(volume: Volume) -> str:
    return " x ".join(map(str, volume.array.shape))
