"""Volumes whose content is known everywhere, and the same volume as another scanner would store it."""

from __future__ import annotations

import itertools

import numpy as np
from nibabel import orientations

from radfoundry.types import Unit, Volume

SLOPE = np.array([3.0, -5.0, 2.0])
"""Change of the ramp per mm along R, A, S."""

STORAGE = ["".join(axes) for sides in itertools.product("RL", "AP", "SI")
           for axes in itertools.permutations(sides)]  # fmt: skip
"""All 48 ways to store a volume."""


def affine_of(
    spacing: tuple[float, ...], origin: tuple[float, ...], turn_deg: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """RAS affine of a volume stored along R, A, S, turned about the three axes one after the other."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(turn_deg)):
        a, b = [i for i in range(3) if i != axis]
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        rotation = one @ rotation
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(spacing)
    affine[:3, 3] = origin
    return affine


def ramp_at(ras: np.ndarray) -> np.ndarray:
    """The ramp's value at points (..., 3) in RAS mm."""
    return ras @ SLOPE + 7.0


def ramp(shape: tuple[int, int, int], affine: np.ndarray, *, unit: Unit = "HU") -> Volume:
    """A volume that holds the ramp."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    ras = index @ affine[:3, :3].T + affine[:3, 3]
    return Volume(ramp_at(ras).astype(np.float32), affine, unit, "CT", "ramp.nii.gz")


def stored(volume: Volume, axes: str) -> Volume:
    """The same voxels in the same places, with the array's axes growing towards the letters of `axes`."""
    turn = orientations.ornt_transform(
        orientations.io_orientation(volume.affine), orientations.axcodes2ornt(tuple(axes))
    )
    array = np.ascontiguousarray(orientations.apply_orientation(volume.array, turn))
    affine = volume.affine @ orientations.inv_ornt_aff(turn, volume.array.shape)
    return Volume(array, affine, volume.unit, volume.modality, volume.source)
