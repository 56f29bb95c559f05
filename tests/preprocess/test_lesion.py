"""A lesion is where it was drawn, or the message says what is wrong with the point or the mask."""

from __future__ import annotations

import csv
from ast import literal_eval
from dataclasses import replace

import numpy as np
import pytest

from radfoundry import io
from radfoundry.errors import InputMismatch
from radfoundry.preprocess.lesion import ANY, binary_mask, extent_lps, from_mask, from_point, locate
from radfoundry.types import Volume
from tests._data import data_dir
from tests.preprocess.volumes import STORAGE, affine_of, ramp, stored

AFFINE = affine_of((1.0, 2.0, 3.0), (-10.0, 20.0, 30.0))


def image() -> Volume:
    return ramp((30, 20, 10), AFFINE)


def mask_of(*boxes: tuple[slice, ...], label: float = 1.0, affine: np.ndarray = AFFINE) -> Volume:
    array = np.zeros((30, 20, 10), np.float32)
    for box in boxes:
        array[box] = label
    return Volume(array, affine, source="mask.nii.gz")


BLOCK = (slice(4, 9), slice(10, 13), slice(2, 4))


# --- points --------------------------------------------------------------------------------------------


def test_extent_reaches_to_the_faces_of_the_outer_voxels() -> None:
    low, high = extent_lps(image())
    assert low == (-19.5, -59.0, 28.5) and high == (10.5, -19.0, 58.5)


def test_a_point_inside_is_taken_as_it_is() -> None:
    for point in ((-5.0, -30.0, 40.0), (10.4, -19.1, 28.6)):
        assert from_point(point, image()).centre == point


def test_a_point_outside_is_named_with_the_extent() -> None:
    with pytest.raises(InputMismatch) as refusal:
        from_point((-5.0, -30.0, 400.0), image())
    text = str(refusal.value)
    assert "ramp.nii.gz" in text and "-5, -30, 400" in text and "-19.5, -59, 28.5" in text
    assert "10.5, -19, 58.5" in text and "Check the point" in text and "RAS" not in text


def test_a_ras_point_is_recognised() -> None:
    with pytest.raises(InputMismatch, match="negate roi_x and roi_y"):
        from_point((5.0, 30.0, 40.0), image())


def test_a_voxel_index_is_recognised() -> None:
    with pytest.raises(InputMismatch, match="voxel index"):
        from_point((29.0, 3.0, 4.0), image())


@pytest.mark.parametrize("point", [(1.0, 2.0), (np.nan, 0.0, 0.0), (np.inf, 1.0, 2.0)])
def test_what_is_no_point_is_refused(point: tuple[float, ...]) -> None:
    with pytest.raises(InputMismatch, match="three finite numbers"):
        from_point(point, image())


# --- masks ---------------------------------------------------------------------------------------------


def test_centroid_and_box_of_a_block() -> None:
    lesion = from_mask(mask_of(BLOCK), image())
    # Index centroid (6, 11, 2.5) -> RAS (-4, 42, 37.5) -> LPS.
    assert lesion.centre == pytest.approx((4.0, -42.0, 37.5)) and lesion.notes == ()
    assert lesion.box == (pytest.approx((1.5, -45.0, 34.5)), pytest.approx((6.5, -39.0, 40.5)))
    uneven = mask_of(BLOCK, (slice(4, 16), slice(10, 11), slice(2, 3)))
    assert from_mask(uneven, image(), rule="box").centre == pytest.approx((0.5, -42.0, 37.5))
    assert from_mask(uneven, image()).centre[0] < 3.5


def test_centroid_outside_the_mask_falls_back_to_its_nearest_voxel() -> None:
    ends = mask_of((slice(2, 4), slice(5, 6), slice(5, 6)), (slice(20, 23), slice(5, 6), slice(5, 6)))
    lesion = from_mask(ends, image())
    index = np.linalg.solve(AFFINE, [-lesion.centre[0], -lesion.centre[1], lesion.centre[2], 1.0])[:3]
    assert ends.array[tuple(np.round(index).astype(int))] == 1
    assert "nearest" in lesion.how
    assert lesion.notes[0].startswith("the mask has 2 separate parts") and "6.4 mm outside" in lesion.notes[1]


@pytest.mark.parametrize("axes", STORAGE[::7])
def test_a_mask_stored_along_other_axes_is_the_same_mask(axes: str) -> None:
    first = from_mask(mask_of(BLOCK), image())
    turned = stored(mask_of(BLOCK), axes)
    assert from_mask(turned, image()).centre == pytest.approx(first.centre)
    found = binary_mask(turned, image())
    assert np.array_equal(found.array, mask_of(BLOCK).array) and found.array.dtype == np.uint8
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-9)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputMismatch, match=r"mask.nii.gz of ramp.nii.gz is empty"):
        from_mask(mask_of(), image())


def test_another_geometry_is_refused_and_described() -> None:
    shifted, turned = AFFINE.copy(), affine_of((1.0, 2.0, 3.0), (-10.0, 20.0, 30.0), (0.0, 0.0, 2.0))
    shifted[0, 3] += 0.5
    coarse = AFFINE @ np.diag([1.0, 1.0, 2.0, 1.0])
    cases = {
        "its first voxel lies -0.5, 0, 0 mm": mask_of(BLOCK, affine=shifted),
        "turned by up to 2.00 degrees": mask_of(BLOCK, affine=turned),
        "voxels of 1, 2, 6 mm against 1, 2, 3 mm": mask_of(BLOCK, affine=coarse),
        "29x20x10 voxels against 30x20x10": replace(mask_of(BLOCK), array=mask_of(BLOCK).array[1:]),
    }
    for text, mask in cases.items():
        with pytest.raises(InputMismatch, match="another geometry") as refusal:
            from_mask(mask, image())
        assert text in str(refusal.value)


def test_rounding_of_the_header_is_no_other_geometry() -> None:
    rounded = AFFINE.copy()
    rounded[:3, 3] += 1e-4
    assert from_mask(mask_of(BLOCK, affine=rounded), image()).centre[2] == pytest.approx(37.5, abs=1e-3)


def test_several_labels_ask_for_a_choice() -> None:
    mask = mask_of(BLOCK)
    mask.array[20:25, 4:7, 8] = 4
    with pytest.raises(InputMismatch, match=r"labels 1, 4. Choose one"):
        from_mask(mask, image())
    with pytest.raises(InputMismatch, match=r"no label 2. It holds: 1, 4"):
        from_mask(mask, image(), label=2)
    assert from_mask(mask, image(), label=4).centre == pytest.approx((-12.0, -30.0, 54.0))
    assert binary_mask(mask, image(), label=ANY).array.sum() == 30 + 15


def test_values_that_are_no_labels_are_refused() -> None:
    for value in (0.4, np.nan):
        with pytest.raises(InputMismatch, match="no labels"):
            from_mask(mask_of(BLOCK, label=value), image())
    with pytest.raises(InputMismatch, match="4D series"):
        from_mask(Volume(np.ones((4, 4, 4, 2)), np.eye(4)), image())


# --- which of them -------------------------------------------------------------------------------------


def test_a_point_goes_before_a_mask_unless_the_rule_says_otherwise() -> None:
    point, mask = (-5.0, -30.0, 40.0), mask_of(BLOCK)
    assert locate(image(), point=point, mask=mask).centre == point
    assert locate(image(), point=point, mask=mask).box is not None
    assert locate(image(), point=point, mask=mask, rule="centroid").centre == pytest.approx((4, -42, 37.5))
    assert locate(image(), mask=mask).how.startswith("centroid")


def test_what_the_rule_needs_has_to_be_there() -> None:
    with pytest.raises(InputMismatch, match="no seed point is given"):
        locate(image(), mask=mask_of(BLOCK), rule="point")
    with pytest.raises(InputMismatch, match="no mask is given"):
        locate(image(), point=(-5.0, -30.0, 40.0), rule="box")
    with pytest.raises(InputMismatch, match="roi_x, roi_y and roi_z"):
        locate(image())
    with pytest.raises(InputMismatch, match="unknown"):
        locate(image(), rule="nearest")  # type: ignore[arg-type]


# --- other software ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["lung1", "brain1", "brain2", "breast1"])
def test_centroids_are_those_of_pyradiomics(case: str) -> None:
    """diagnostics_Mask-original_CenterOfMass of pyradiomics' own baseline; ITK, so LPS mm.

    The mask of brain1 has two parts, and its centroid lies outside both.
    """
    folder = data_dir("pyradiomics_cases")
    with (folder / "baseline/baseline_shape.csv").open(newline="") as file:
        rows = {row["featureName"]: row for row in csv.DictReader(file)}
    want = literal_eval(rows["diagnostics_Mask-original_CenterOfMass"][f"{case}_resampling"])
    volume, mask = io.read(folder / f"{case}_image.nrrd"), io.read(folder / f"{case}_label.nrrd")
    assert isinstance(volume, Volume) and isinstance(mask, Volume)
    lesion = from_mask(mask, volume, label=1)
    if case == "brain1":
        assert lesion.notes[0].startswith("the mask has 2 separate parts")
        assert lesion.notes[1] == "the centroid lies 3.0 mm outside the mask: its nearest voxel is taken"
        assert np.linalg.norm(np.subtract(lesion.centre, want)) == pytest.approx(2.99, abs=0.01)
    else:
        assert lesion.centre == pytest.approx(want, abs=1e-3) and lesion.notes == ()
