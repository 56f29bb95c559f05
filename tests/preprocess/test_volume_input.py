"""A crop shows what lies at its millimetres, however the volume is stored; other software cuts the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from nibabel import orientations

from radfoundry import io
from radfoundry.errors import InputMismatch
from radfoundry.preprocess import volume_input
from radfoundry.preprocess.lesion import Lesion, from_mask
from radfoundry.preprocess.volume_recipe import Percentiles, VolumeRecipe, Window, ZScore
from radfoundry.types import Volume
from tests._data import data_dir
from tests.preprocess.volumes import STORAGE, affine_of, ramp, ramp_at, stored

RAW = Window(0.0, 1.0, clip=False, unit="a.u.")
"""Leaves values as they are."""


def lps(*ras: float) -> Lesion:
    return Lesion((-ras[0], -ras[1], ras[2]), "test")


def unit_vectors(axes: str) -> np.ndarray:
    """Columns: direction in RAS of each letter."""
    found = np.zeros((3, 3))
    for k, (axis, sign) in enumerate(orientations.axcodes2ornt(tuple(axes))):
        found[int(axis), k] = sign
    return found


def places(centre: np.ndarray, size: tuple[int, int, int], step: np.ndarray) -> np.ndarray:
    """RAS mm of the voxels of a crop of that size around a centre. step: columns in mm."""
    index = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"), axis=-1)
    return index @ step.T + centre


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SPL", "IAR"])
@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (12.0, -7.0, 20.0)])
def test_crop_of_a_ramp_holds_the_ramp_at_its_millimetres(axes: str, turn: tuple[float, ...]) -> None:
    affine = affine_of((0.8, 1.1, 2.5), (-40.0, 12.0, -90.0), turn)
    volume = ramp((60, 50, 30), affine)
    centre = affine[:3, :3] @ [29.3, 24.6, 14.2] + affine[:3, 3]
    recipe = VolumeRecipe(axes, RAW, (0.7, 1.3, 1.9), (9, 12, 7), "roi", patient_axes=True)
    array, notes = volume_input.apply(stored(volume, "PIR"), recipe, lps(*centre))
    want = ramp_at(places(centre, (9, 12, 7), unit_vectors(axes) * [0.7, 1.3, 1.9]))
    assert array.shape == (1, 9, 12, 7) and array.dtype == np.float32 and notes == []
    np.testing.assert_allclose(array[0], want, atol=2e-3)


def test_an_oblique_volume_keeps_its_own_axes_unless_turned_upright() -> None:
    affine = affine_of((1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (25.0, 0.0, 0.0))
    volume, centre = ramp((40, 40, 30), affine), affine[:3, :3] @ [20, 20, 15]
    recipe = VolumeRecipe("RAS", RAW, (1.0, 1.0, 1.0), (5, 5, 5), "roi")
    own, _ = volume_input.apply(volume, recipe, lps(*centre))
    upright, _ = volume_input.apply(volume, replace(recipe, patient_axes=True), lps(*centre))
    np.testing.assert_allclose(
        own[0], ramp_at(places(centre, (5, 5, 5), affine[:3, :3] / [1, 1, 2])), atol=1e-3
    )
    np.testing.assert_allclose(upright[0], ramp_at(places(centre, (5, 5, 5), np.eye(3))), atol=1e-3)
    assert np.abs(own - upright).max() > 0.1


RECIPES = {
    "exact": VolumeRecipe("RAS", RAW, (0.9, 1.0, 1.3), (8, 10, 6), "roi"),
    "floor": VolumeRecipe("SPL", RAW, (1.0, 1.0, 1.0), (10, 10, 10), "roi", centre="floor", grid="RAS"),
    "border": VolumeRecipe("LPS", RAW, (1.5, 1.5, 1.5), (40, 40, 40), "roi", border="end", outside="pad"),
    "whole": VolumeRecipe("RAS", RAW, (1.5, 1.5, 3.0), (16, 20, 40), "centre"),
    "upright": VolumeRecipe("LPS", RAW, (1.0, 1.0, 1.0), (9, 9, 9), "roi", patient_axes=True),
    "resize": VolumeRecipe("RAS", RAW, size=(11, 7, 9), resize=True),
    "area": VolumeRecipe("SPL", RAW, size=(11, 7, 9), resize=True, resize_by="area"),
    "foreground": VolumeRecipe("SPL", RAW, crop="foreground", foreground=0.0, divisor=4),
    "z": VolumeRecipe("RAS", ZScore(percentiles=(1, 99)), (1.0, 1.0, 1.0), (8, 8, 8), "roi"),
    "native": VolumeRecipe("LAS", Percentiles(2, 98), size=(None, 12, None), crop="centre"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_how_the_volume_is_stored_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(0)
    affine = affine_of((0.8, 1.1, 2.5), (-40.0, 12.0, -90.0), (4.0, 3.0, -6.0))
    volume = Volume(rng.normal(size=(30, 26, 14)).astype(np.float32), affine, "HU", "CT")
    volume.array[:4] = volume.array[:, -3:] = -1.0
    lesion = lps(*(affine[:3, :3] @ [15.3, 11.4, 6.2] + affine[:3, 3]))
    first, said = volume_input.apply(volume, RECIPES[name], lesion)
    assert first.std() > 0.1
    for axes in STORAGE[1::3]:
        again, notes = volume_input.apply(stored(volume, axes), RECIPES[name], lesion)
        np.testing.assert_allclose(again, first, atol=2e-5, err_msg=axes)
        assert len(notes) == len(said)


@pytest.mark.parametrize(
    ("border", "before"), [("centred", (3, 0, 0)), ("both", (1, 1, 0)), ("end", (0, 0, 0))]
)
def test_missing_voxels_are_added_as_the_border_rule_says(border: Any, before: tuple[int, ...]) -> None:
    volume = ramp((20, 20, 20), np.eye(4))
    recipe = VolumeRecipe("RAS", RAW, (1.0, 1.0, 1.0), (7, 7, 7), "roi", border=border, pad_value=-9.0)
    array, notes = volume_input.apply(volume, recipe, lps(0.0, 18.0, 10.0))
    there = array[0] != -9.0
    assert there.sum() == 4 * 5 * 7  # three voxels lack on the left, two in front, none above
    assert tuple(int(axis.min()) for axis in np.nonzero(there)) == before
    assert len(notes) == 1 and "along R" in notes[0] and "along A" in notes[0] and "along S" not in notes[0]
    inside = array[0][there].reshape(4, 5, 7)
    np.testing.assert_allclose(inside, volume.array[0:4, 15:20, 7:14], atol=1e-4)


def test_beyond_the_outermost_voxels_stands_the_edge_or_the_pad_value() -> None:
    volume = Volume(np.full((10, 10, 10), 500.0, np.float32), np.eye(4), "HU", "CT")
    recipe = VolumeRecipe("RAS", Window(-1000, 1000, clip=False), (0.6, 0.6, 0.6), (16, 16, 16), "roi")
    edge, _ = volume_input.apply(volume, recipe, lps(4.5, 4.5, 4.5))
    np.testing.assert_allclose(edge, 0.75, atol=1e-6)
    pad, _ = volume_input.apply(volume, replace(recipe, outside="pad"), lps(4.5, 4.5, 4.6))
    np.testing.assert_allclose(pad[0, 3:13, 3:13, 3:13], 0.75, atol=1e-6)


def test_box_of_a_lesion_is_cut_with_its_margin() -> None:
    volume = ramp((30, 30, 30), affine_of((1.0, 1.0, 2.0), (0.0, 0.0, 0.0)))
    mask = np.zeros(volume.array.shape, np.float32)
    mask[10:14, 5:11, 20:22] = 1
    lesion = from_mask(Volume(mask, volume.affine), volume)
    array, notes = volume_input.apply(volume, VolumeRecipe("RAS", RAW, crop="box", margin_mm=2.0), lesion)
    assert array.shape == (1, 8, 10, 4) and notes == ["bounding box of 8x10x4 voxels"]
    np.testing.assert_allclose(array[0], volume.array[8:16, 3:13, 19:23], atol=1e-4)
    with pytest.raises(InputMismatch, match="only a mask has one"):
        volume_input.apply(volume, VolumeRecipe("RAS", RAW, crop="box"), lps(5, 5, 5))


def test_a_bag_holds_slices_with_equal_channels() -> None:
    volume = ramp((12, 10, 5), np.eye(4))
    recipe = VolumeRecipe("SPL", Percentiles(), size=(None, 8, 6), crop="centre", channels=3, bag=True)
    array, _ = volume_input.apply(volume, recipe)
    assert array.shape == (5, 3, 8, 6) and recipe.shape == (None, 3, 8, 6)
    assert np.array_equal(array[:, 0], array[:, 2])
    # SLOPE falls towards A, so it rises row by row (towards P), and falls towards L.
    assert (np.diff(array[:, 0], axis=1) > 0).all() and (np.diff(array[:, 0], axis=2) < 0).all()


def test_z_score_over_non_zero_voxels_and_noise_in_the_rest() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(100, 20, (9, 9, 9)).astype(np.float32)
    values[:3] = 0
    volume = Volume(values, np.eye(4), "a.u.", "MR")
    recipe = VolumeRecipe("RAS", ZScore())
    plain = volume_input.apply(volume, recipe)[0][0]
    inside = values[3:]
    np.testing.assert_allclose(plain[3:], (inside - inside.mean()) / inside.std(), atol=1e-4)
    assert (plain[:3] == 0).all()
    noisy = volume_input.apply(volume, replace(recipe, intensity=ZScore(noise=3)))[0][0]
    assert np.array_equal(noisy[3:], plain[3:]) and 0.8 < noisy[:3].std() < 1.2
    again = volume_input.apply(volume, replace(recipe, intensity=ZScore(noise=3)))[0][0]
    assert np.array_equal(noisy, again)
    clipped = volume_input.apply(volume, replace(recipe, intensity=ZScore(percentiles=(5, 95))))[0][0]
    low, high = np.percentile(inside, (5, 95))
    held = np.clip(inside, low, high)
    np.testing.assert_allclose(clipped[3:], (held - held.mean()) / held.std(), atol=1e-4)


def test_statistics_come_from_the_crop_or_the_whole_volume() -> None:
    volume = ramp((20, 20, 20), np.eye(4))
    recipe = VolumeRecipe("RAS", Percentiles(), (1.0, 1.0, 1.0), (5, 5, 5), "roi")
    crop, _ = volume_input.apply(volume, recipe, lps(10, 10, 10))
    whole, _ = volume_input.apply(volume, replace(recipe, statistics="volume"), lps(10, 10, 10))
    assert np.ptp(crop) == pytest.approx(1.0) and np.ptp(whole) == pytest.approx(4 / 19, abs=1e-4)


def test_recipes_that_contradict_themselves_are_refused() -> None:
    for wrong in (
        {"orientation": "RAR"}, {"orientation": "RAZ"}, {"channels": 2}, {"crop": "roi"},
        {"size": (4, 4, 4)}, {"resize": True}, {"crop": "foreground"}, {"foreground": 0.0},
        {"crop": "roi", "size": (4, 4, 4), "resize": True}, {"intensity": ZScore(), "outside": "pad"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"\w"):
            VolumeRecipe(**({"orientation": "RAS", "intensity": RAW} | wrong))


def test_what_cannot_be_cut_is_refused() -> None:
    volume = ramp((8, 8, 8), np.eye(4))
    roi = VolumeRecipe("RAS", RAW, (1.0, 1.0, 1.0), (4, 4, 4), "roi")
    with pytest.raises(InputMismatch, match="roi_x, roi_y and roi_z"):
        volume_input.apply(volume, roi)
    with pytest.raises(InputMismatch, match="4D series"):
        volume_input.apply(Volume(np.zeros((4, 4, 4, 2)), np.eye(4)), roi, lps(1, 1, 1))
    with pytest.raises(InputMismatch, match="no voxel above 1e"):
        volume_input.apply(volume, VolumeRecipe("RAS", RAW, crop="foreground", foreground=1e6))
    empty = Volume(np.zeros((4, 4, 4), np.float32), np.eye(4))
    with pytest.raises(InputMismatch, match="nothing to normalise"):
        volume_input.apply(empty, VolumeRecipe("RAS", ZScore()))


# --- other software ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["LPS", "SPL"])
def test_lung1_is_cut_as_simpleitk_resamples_it(axes: str) -> None:
    """SimpleITK 2.5 ResampleImageFilter, linear, onto 1 mm voxels centred on the tumour."""
    folder = data_dir("pyradiomics_cases")
    image = sitk.ReadImage(str(folder / "lung1_image.nrrd"), sitk.sitkFloat32)
    volume = io.read(folder / "lung1_image.nrrd")
    mask = io.read(folder / "lung1_label.nrrd")
    assert isinstance(volume, Volume) and isinstance(mask, Volume)
    lesion = from_mask(mask, volume)
    size = (48, 40, 32)
    grid = sitk.ResampleImageFilter()
    grid.SetInterpolator(sitk.sitkLinear)
    grid.SetOutputSpacing((1.0, 1.0, 1.0))
    grid.SetOutputDirection(np.eye(3).ravel().tolist())
    grid.SetSize(size)
    grid.SetOutputOrigin([float(c - (n - 1) / 2) for c, n in zip(lesion.centre, size, strict=True)])
    want = sitk.GetArrayFromImage(grid.Execute(image))  # (Z, Y, X)
    ours = VolumeRecipe(axes, RAW, (1.0, 1.0, 1.0), size if axes == "LPS" else size[::-1], "roi")
    array, _ = volume_input.apply(volume, ours, lesion)
    found = array[0] if axes == "SPL" else array[0].transpose(2, 1, 0)
    assert want.std() > 100
    np.testing.assert_allclose(found, want, atol=0.05)


def monai_chain(volume: Volume, *steps: Any) -> np.ndarray:
    monai = pytest.importorskip("monai", reason="the extra `volume` is not installed")
    torch = pytest.importorskip("torch")
    image = monai.data.MetaTensor(
        torch.from_numpy(volume.array[None].copy()), affine=torch.from_numpy(volume.affine)
    )
    return np.asarray(monai.transforms.Compose(steps)(image))


def lung(step: int = 2) -> tuple[Volume, Lesion]:
    """lung1 at every second pixel, and its tumour."""
    folder = data_dir("pyradiomics_cases")
    volume, mask = io.read(folder / "lung1_image.nrrd"), io.read(folder / "lung1_label.nrrd")
    assert isinstance(volume, Volume) and isinstance(mask, Volume)
    lesion = from_mask(mask, volume)
    affine = volume.affine @ np.diag([step, step, 1.0, 1.0])
    array = np.ascontiguousarray(volume.array[::step, ::step])
    return Volume(array, affine, "HU", "CT", "lung1"), lesion


def test_whole_chest_as_monai_prepares_it_for_merlin() -> None:
    """MONAI 1.6: Orientation, Spacing, ScaleIntensityRange, SpatialPad, CenterSpatialCrop."""
    t = pytest.importorskip("monai.transforms", reason="the extra `volume` is not installed")
    volume, _ = lung()
    size = (224, 150, 60)
    want = monai_chain(
        volume, t.Orientation("RAS"), t.Spacing((1.5, 1.5, 3.0), mode="bilinear"),
        t.ScaleIntensityRange(-1000, 1000, 0, 1, clip=True), t.SpatialPad(size), t.CenterSpatialCrop(size),
    )  # fmt: skip
    recipe = VolumeRecipe("RAS", Window(-1000, 1000), (1.5, 1.5, 3.0), size, "centre")
    array, notes = volume_input.apply(volume, recipe)
    assert np.std(want) > 0.1 and len(notes) == 1
    np.testing.assert_allclose(array, want, atol=2e-4)


def test_foreground_as_monai_prepares_it_for_ct_fm() -> None:
    """MONAI 1.6: Orientation, ScaleIntensityRange, CropForeground."""
    t = pytest.importorskip("monai.transforms", reason="the extra `volume` is not installed")
    volume, _ = lung()
    volume.array[:20] = -1024
    want = monai_chain(
        volume, t.Orientation("SPL"), t.ScaleIntensityRange(-1024, 2048, 0, 1, clip=True), t.CropForeground()
    )
    recipe = VolumeRecipe("SPL", Window(-1024, 2048), crop="foreground", foreground=-1024)
    array, _ = volume_input.apply(volume, recipe)
    assert array.shape[3] == volume.array.shape[0] - 20
    np.testing.assert_allclose(array, want, atol=1e-6)


@pytest.mark.parametrize("mode", ["trilinear", "area"])
def test_resize_is_that_of_torch(mode: str) -> None:
    """MONAI 1.6 Resize, that is torch's interpolate without antialiasing."""
    t = pytest.importorskip("monai.transforms", reason="the extra `volume` is not installed")
    volume, _ = lung(4)
    want = monai_chain(volume, t.Orientation("RAS"), t.Resize((96, 70, 64), mode=mode))
    by: Any = "area" if mode == "area" else "linear"
    recipe = VolumeRecipe("RAS", RAW, size=(96, 70, 64), resize=True, resize_by=by)
    array, _ = volume_input.apply(volume, recipe)
    np.testing.assert_allclose(array, want, atol=0.02)


@pytest.mark.parametrize("shift_mm", [(0.0, 0.0, 0.0), (-115.0, 0.0, 60.0), (8.6, -190.0, -155.4)])
def test_lesion_as_fmcib_cuts_it(shift_mm: tuple[float, ...]) -> None:
    """MONAI 1.6 Spacing (diagonal, zeros) and Orientation after (HU + 1024) / 3072; crop and pad by hand.

    The steps of fmcib.preprocessing: index of the seed truncated, 25 voxels to both sides as far as the
    volume reaches, axes reversed, SpatialPad (which adds equally on both sides).
    """
    t = pytest.importorskip("monai.transforms", reason="the extra `volume` is not installed")
    monai = pytest.importorskip("monai")
    torch = pytest.importorskip("torch")
    from radfoundry.encoders import card

    volume, found = lung()
    lesion = Lesion(tuple(np.add(found.centre, shift_mm).tolist()), "test")
    image = monai.data.MetaTensor(
        torch.from_numpy((volume.array[None] + 1024) / 3072), affine=torch.from_numpy(volume.affine)
    )
    spaced = t.Spacing(1.0, padding_mode="zeros", mode="bilinear", align_corners=True, diagonal=True)(image)
    turned = t.Orientation("LPS")(spaced)
    x, y, z = lesion.centre
    at = [int(v) for v in (np.linalg.inv(np.asarray(turned.affine)) @ [-x, -y, z, 1])[:3]]
    cut = tuple(slice(max(c - 25, 0), min(c + 25, n)) for c, n in zip(at, turned.shape[1:], strict=True))
    want = t.SpatialPad((50, 50, 50))(t.Transpose((0, 3, 2, 1))(turned[(slice(None), *cut)]))
    array, notes = volume_input.apply(volume, card("fmcib").recipe, lesion)  # type: ignore[arg-type]
    assert [note.split(" (")[0] for note in notes] == (
        ["voxels missing at the border were added"] if any(shift_mm) else []
    )
    np.testing.assert_allclose(array, np.asarray(want), atol=2e-4)
