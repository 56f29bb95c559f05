"""A folder of slices becomes a volume whose voxels lie where DICOM says, or is refused with the reason."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from radfoundry.errors import ReadError
from radfoundry.io import read, read_image
from radfoundry.types import Image, Volume
from tests.io.synthetic import ct_series, dicom, save, uid


def assert_places_agree(folder: Path, volume: Volume) -> None:
    """Each corner of each file, by PS3.3 C.7.6.2.1.1, holds in the volume what it holds in the file."""
    inverse = np.linalg.inv(volume.affine)
    for path in folder.glob("*.dcm"):
        data = pydicom.dcmread(path)
        row, column = np.split(np.array(data.ImageOrientationPatient, float), 2)
        down, across = (float(v) for v in data.PixelSpacing)
        for r, c in [(0, 0), (0, data.Columns - 1), (data.Rows - 1, 0), (data.Rows - 2, 1)]:
            lps = np.array(data.ImagePositionPatient, float) + row * across * c + column * down * r
            ijk = (inverse @ [-lps[0], -lps[1], lps[2], 1])[:3]
            assert np.abs(ijk - ijk.round()).max() < 1e-3
            assert volume.array[tuple(ijk.round().astype(int))] == int(data.pixel_array[r, c]) - 1024


def test_series_is_sorted_by_position_not_by_instance_number(tmp_path):
    pixels = ct_series(tmp_path)
    volume = read(tmp_path)
    assert volume.array.shape == (5, 6, 4)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array.T, pixels.astype(np.float32) - 1024)
    np.testing.assert_allclose(
        volume.affine, [[-0.5, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]], atol=1e-9
    )
    assert (volume.unit, volume.modality) == ("HU", "CT")


@settings(max_examples=20, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3)),
    step=st.floats(0.5, 6),
    negative=st.booleans(),
    slices=st.integers(2, 5),
)
def test_round_trip_keeps_every_coordinate(turn, spacing, step, negative, slices):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        direction = Rotation.from_rotvec(turn).as_matrix()
        rounded = tuple(round(v, 4) for v in spacing)
        ct_series(
            folder, slices=slices, direction=direction, spacing=rounded, step=step, negative_column=negative
        )
        volume = read(folder)
        assert_places_agree(folder, volume)
        np.testing.assert_allclose(volume.spacing_mm, [rounded[1], rounded[0], step], atol=1e-5)
        assert np.linalg.det(volume.affine[:3, :3]) > 0


def test_negated_column_cosine_is_not_mirrored(tmp_path):
    ct_series(tmp_path, negative_column=True)
    volume = read(tmp_path)
    assert_places_agree(tmp_path, volume)
    assert volume.affine[1, 1] > 0 and volume.affine[2, 2] < 0


def test_missing_slice_is_refused_or_interpolated_on_request(tmp_path):
    pixels = ct_series(tmp_path, slices=6, missing=[2])
    with pytest.raises(ReadError, match=r"1 missing slices \(between slices 1 and 2.*irregular='resample'"):
        read(tmp_path)
    volume = read(tmp_path, irregular="resample")
    assert volume.array.shape[2] == 6
    expected = (pixels[1].astype(float) + pixels[3]) / 2 - 1024
    np.testing.assert_allclose(volume.array[:, :, 2].T, expected, rtol=1e-6)
    np.testing.assert_array_equal(volume.array[:, :, 4].T, pixels[4].astype(float) - 1024)
    assert "interpolated linearly to 6" in volume.record[-1]


def test_uneven_spacing_is_refused(tmp_path):
    ct_series(tmp_path, slices=3)
    ct_series(tmp_path / "more", slices=1, origin=(-10.0, -20.0, 36.7))
    with pytest.raises(ReadError, match=r"unevenly spaced: its slices lie 2\.000 to 2\.700 mm apart"):
        read(tmp_path)


def test_identical_duplicates_are_dropped_others_refused(tmp_path):
    pixels = ct_series(tmp_path)
    first = next(tmp_path.glob("*.dcm"))
    shutil.copy(first, tmp_path / "copy.dcm")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array.T, pixels.astype(np.float32) - 1024)
    assert volume.record == ("1 duplicate images dropped",)

    changed = pydicom.dcmread(first)
    changed.PixelData = bytes(len(changed.PixelData))
    save(changed, tmp_path / "copy.dcm")
    with pytest.raises(ReadError, match="same SOP Instance UID but different content"):
        read(tmp_path)
    changed.SOPInstanceUID = changed.file_meta.MediaStorageSOPInstanceUID = uid("other")
    save(changed, tmp_path / "copy.dcm")
    with pytest.raises(ReadError, match="between 1 and 2 different images"):
        read(tmp_path)


def test_repeats_make_a_fourth_axis_in_temporal_order(tmp_path):
    late = ct_series(tmp_path / "a", seed=1, TemporalPositionIdentifier=2)
    early = ct_series(tmp_path / "b", seed=2, TemporalPositionIdentifier=1)
    volume = read(tmp_path)
    assert volume.array.shape == (5, 6, 4, 2)
    np.testing.assert_array_equal(volume.array.T, np.stack([early, late]).astype(np.float32) - 1024)
    assert "temporal position" in volume.record[-1]


def test_mixed_orientations_and_echoes_are_listed_and_can_be_chosen(tmp_path):
    axial = ct_series(tmp_path / "a", EchoTime=11)
    ct_series(tmp_path / "b", direction=np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0.0]]), EchoTime=11)
    ct_series(tmp_path / "c", EchoTime=92, seed=3)
    with pytest.raises(ReadError, match=r"3 stacks that differ in orientation and echoes") as refusal:
        read(tmp_path)
    assert "stack=1: sagittal, 6 × 5, 4 images at 4 positions, echo time 11 ms" in str(refusal.value)
    np.testing.assert_array_equal(read(tmp_path, stack=0).array.T, axial.astype(np.float32) - 1024)
    np.testing.assert_array_equal(read(f"{tmp_path}#echo=92").array, read(tmp_path / "c").array)
    with pytest.raises(ReadError, match="no echo of 50 ms"):
        read(tmp_path, echo=50)
    with pytest.raises(ReadError, match="stacks 0 to 2, not 7"):
        read(tmp_path, stack=7)


def test_several_series_in_a_folder_are_listed(tmp_path):
    ct_series(tmp_path / "a")
    second = ct_series(tmp_path / "b", SeriesInstanceUID=uid("second"), seed=5)
    with pytest.raises(ReadError, match="holds 2 series") as refusal:
        read(tmp_path)
    assert uid("second") in str(refusal.value)
    assert "secret" not in str(refusal.value).lower()
    chosen = read(tmp_path, series=uid("second"))
    np.testing.assert_array_equal(chosen.array.T, second.astype(np.float32) - 1024)


@pytest.mark.parametrize("tilt", [-20.0, 7.5, 18.5])
def test_gantry_tilt_is_sheared_back(tmp_path, tilt):
    """A field linear in physical space must read the same at each voxel's place after the correction."""
    rows, columns, slices, down = 40, 4, 5, 0.5
    ct_series(tmp_path, slices=slices, shape=(rows, columns), spacing=(down, 1.0), step=3.0, tilt_deg=tilt)
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        y = float(data.ImagePositionPatient[1]) + np.arange(rows) * down
        z = float(data.ImagePositionPatient[2])
        field = np.rint(2000 + 100 * y + 20 * z).astype(np.uint16)
        data.PixelData = np.repeat(field[:, None], columns, 1).tobytes()
        data.save_as(path)
    volume = read(tmp_path)
    assert f"gantry tilt of {abs(tilt):.2f} degrees" in volume.record[0]
    axes = volume.affine[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.array.shape], indexing="ij"), -1)
    lps = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    expected = 2000 - 100 * lps[..., 1] + 20 * lps[..., 2] - 1024
    inside = volume.array > volume.array.min()
    close = np.abs(volume.array - expected) < 1.5
    # In each column, all voxels agree but the two where the picture's edge is mixed with the fill.
    assert (inside & ~close).sum(axis=1).max() <= 2
    assert (inside & close).sum() >= (rows - 2) * columns * slices


def test_slices_shifted_sideways_are_refused(tmp_path):
    ct_series(tmp_path, slices=3)
    ct_series(tmp_path / "more", slices=1, origin=(-4.0, -20.0, 36.0))
    ct_series(tmp_path / "last", slices=1, origin=(-10.0, -20.0, 38.0))
    with pytest.raises(ReadError, match="shifted sideways"):
        read(tmp_path)


def test_files_without_position_make_no_volume(tmp_path):
    for number in (1, 2):
        save(dicom(np.full((4, 4), number, np.uint16), InstanceNumber=number), tmp_path / f"{number}.dcm")
    with pytest.raises(ReadError, match="2 of them without a position"):
        read(tmp_path)


def test_list_of_files_zip_and_directory_agree(tmp_path):
    folder = tmp_path / "series"
    ct_series(folder)
    (folder / "notes.txt").write_text("not an image")
    whole = read(folder)
    assert whole.record == ("1 files that are not DICOM passed over",)
    np.testing.assert_array_equal(read(sorted(folder.glob("*.dcm"))).array, whole.array)
    with zipfile.ZipFile(tmp_path / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.glob("*.dcm"):
            archive.write(path, f"../../{path.name}")
    packed = read(tmp_path / "series.zip")
    np.testing.assert_array_equal(packed.array, whole.array)
    np.testing.assert_array_equal(packed.affine, whole.affine)
    assert packed.source == str(tmp_path / "series.zip")


def test_folder_of_one_picture_reads_as_the_picture(tmp_path):
    save(dicom(np.arange(12, dtype=np.uint16).reshape(3, 4), Modality="DX"), tmp_path / "a.dcm")
    image = read(tmp_path)
    assert isinstance(image, Image) and image.array.shape == (3, 4)


def test_slice_of_a_volume_as_picture(tmp_path):
    pixels = ct_series(tmp_path)
    with pytest.raises(ReadError, match=r"has 4 slices, one picture is needed.*#frame=2"):
        read_image(tmp_path)
    image = read_image(f"{tmp_path}#frame=3")
    np.testing.assert_array_equal(image.array, pixels[3].astype(np.float32) - 1024)
    assert image.spacing_mm == pytest.approx((0.75, 0.5))
    with pytest.raises(ReadError, match="frames 0 to 3, not 9"):
        read_image(f"{tmp_path}#frame=9")
