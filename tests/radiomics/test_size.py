"""Size alone: the baseline that every set of features of a lesion has to beat."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radfoundry.errors import InputMismatch
from radfoundry.radiomics import SIZE_NAMES, size_features
from radfoundry.types import Volume


def _mask(found: np.ndarray, spacing: tuple[float, float, float]) -> tuple[Volume, Volume]:
    affine = np.diag([*spacing, 1.0])
    return Volume(np.zeros(found.shape, np.float32), affine), Volume(found.astype(np.uint8), affine)


def test_block_by_hand() -> None:
    found = np.zeros((10, 10, 10), bool)
    found[2:5, 3:7, 4:9] = True  # 3 x 4 x 5 voxels of 2 x 1 x 3 mm: 6 x 4 x 15 mm
    cubic_mm, log, diameter = size_features(*_mask(found, (2.0, 1.0, 3.0)))
    assert cubic_mm == pytest.approx(360.0)
    assert log == pytest.approx(math.log(360.0))
    assert diameter == pytest.approx(math.sqrt(6**2 + 4**2 + 15**2))
    assert len(SIZE_NAMES) == 3


def test_ball_has_its_diameter_and_volume() -> None:
    grid = np.indices((41, 41, 41)) - 20
    found = (grid**2).sum(0) <= 15**2
    cubic_mm, _, diameter = size_features(*_mask(found, (1.0, 1.0, 1.0)))
    assert cubic_mm == pytest.approx(4 / 3 * math.pi * 15**3, rel=0.01)
    assert 30.0 < diameter < 30.0 + 2 * math.sqrt(3)


def test_turned_volume_keeps_its_size() -> None:
    """Oblique and mirrored affines: distances are those of the patient."""
    found = np.zeros((10, 12, 9), bool)
    found[2:5, 3:9, 4:6] = True
    volume, mask = _mask(found, (2.0, 1.0, 3.0))
    angle = 0.3
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    affine = turn @ volume.affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(
        size_features(Volume(volume.array, affine), Volume(mask.array, affine)), size_features(volume, mask)
    )


def test_two_voxels_of_one_row() -> None:
    found = np.zeros((5, 5, 5), bool)
    found[1:3, 2, 2] = True
    assert size_features(*_mask(found, (1.0, 1.0, 1.0)))[2] == pytest.approx(math.sqrt(6.0))


def test_empty_mask_is_refused() -> None:
    with pytest.raises(InputMismatch, match="is empty"):
        size_features(*_mask(np.zeros((4, 4, 4), bool), (1.0, 1.0, 1.0)))


def test_diameter_is_that_of_every_pair_of_corners() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        found = rng.random((6, 5, 7)) < 0.15
        corners = np.unique(
            (np.argwhere(found)[:, None] + np.indices((2, 2, 2)).reshape(3, 8).T).reshape(-1, 3), axis=0
        )
        apart = (corners[:, None] - corners[None]) * (1.0, 2.0, 0.5)
        expected = np.sqrt((apart**2).sum(axis=2)).max()
        assert size_features(*_mask(found, (1.0, 2.0, 0.5)))[2] == pytest.approx(expected)
