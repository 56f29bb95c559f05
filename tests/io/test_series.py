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
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from radfoundry.errors import ReadError
from radfoundry.io import read, read_image
from radfoundry.types import Image, Volume
from tests.io.synthetic import ct_series, dicom, save, uid

NO_RESCALE = dict.fromkeys(("RescaleSlope", "RescaleIntercept", "RescaleType"))


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


def test_rounding_in_the_header_adds_no_columns_to_a_tilt(tmp_path):
    """A tilt along the rows' normal alone: what an oblique direction leaves across it is rounding."""
    direction = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    ct_series(tmp_path, slices=5, shape=(20, 8), direction=direction, tilt_deg=20.0)
    volume = read(tmp_path)
    assert "and 0 columns added" in volume.record[0]
    assert volume.array.shape[0] == 8


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
    pixels = ct_series(tmp_path, spacing=(0.75, 0.75))
    with pytest.raises(ReadError, match=r"has 4 slices, one picture is needed.*#frame=2"):
        read_image(tmp_path)
    image = read_image(f"{tmp_path}#frame=3")
    np.testing.assert_array_equal(image.array, pixels[3].astype(np.float32) - 1024)
    assert image.spacing_mm == pytest.approx((0.75, 0.75))
    with pytest.raises(ReadError, match="frames 0 to 3, not 9"):
        read_image(f"{tmp_path}#frame=9")


def test_slice_of_a_volume_gets_square_pixels_and_the_volume_keeps_its_own(tmp_path):
    """6 rows 0.75 mm apart are 9 rows of 0.5 mm; the rows between are interpolated."""
    pixels = ct_series(tmp_path, spacing=(0.75, 0.5))
    image = read_image(f"{tmp_path}#frame=3")
    assert image.array.shape == (9, 5) and image.spacing_mm == pytest.approx((0.5, 0.5))
    assert "not square: 6 × 5 interpolated to 9 × 5" in image.record[-1]
    stored = pixels[3].astype(np.float32) - 1024
    np.testing.assert_array_equal(image.array[1::3], (stored[::2] + stored[1::2]) / 2)  # half way between
    assert read(tmp_path).array.shape == (5, 6, 4)


# --- what must not become a volume unsaid ---------------------------------------------------------------


def test_colour_and_palette_slices_make_no_volume(tmp_path):
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
    for number in range(3):
        place["ImagePositionPatient"] = [0, 0, 2 * number]
        pixels = np.full((4, 12), number, np.uint8)
        rgb = dicom(pixels, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB",
                    Columns=4, InstanceNumber=number, **place)  # fmt: skip
        save(rgb, tmp_path / f"{number}.dcm")
    with pytest.raises(ReadError, match="3 colour pictures"):
        read(tmp_path)
    assert read(tmp_path / "2.dcm").is_colour
    ct_series(tmp_path / "palette", PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(ReadError, match="4 colour pictures"):
        read(tmp_path / "palette")


def test_modality_lut_of_a_series_is_applied(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "OD"
    table.LUTData = (3 * np.arange(4096)).astype(np.uint16).tobytes()
    pixels = ct_series(tmp_path, ModalityLUTSequence=[table], **NO_RESCALE)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array.T, 3.0 * pixels)
    assert "modality LUT applied" in volume.record
    np.testing.assert_array_equal(read(next(tmp_path.glob("*.dcm"))).array.max() % 3, 0)


@pytest.mark.parametrize("value", [0, float("inf")])
def test_impossible_rescale_of_a_series_is_refused(tmp_path, value):
    ct_series(tmp_path, RescaleSlope=str(value))
    with pytest.raises(ReadError, match="has rescale slope"):
        read(tmp_path)


def test_slices_of_different_scale_or_polarity_are_refused(tmp_path):
    ct_series(tmp_path / "a", slices=4, missing=[1])
    ct_series(
        tmp_path / "b",
        slices=4,
        missing=[0, 2, 3],
        RescaleSlope=None,
        RescaleIntercept=None,
        RescaleType=None,
    )
    with pytest.raises(ReadError, match="different units"):
        read(tmp_path)
    shutil.rmtree(tmp_path / "b")
    ct_series(tmp_path / "b", slices=4, missing=[0, 2, 3], PhotometricInterpretation="MONOCHROME1")
    with pytest.raises(ReadError, match="different polarity"):
        read(tmp_path)


def test_monochrome1_volume_keeps_its_values_and_its_pictures_are_inverted(tmp_path):
    pixels = ct_series(tmp_path, Modality="MR", PhotometricInterpretation="MONOCHROME1", spacing=(0.5, 0.5),
                       **NO_RESCALE)  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path).array.T, pixels)
    image = read_image(f"{tmp_path}#frame=1")
    np.testing.assert_array_equal(image.array, pixels.max() + pixels.min() - pixels[1].astype(np.float32))
    assert "MONOCHROME1 inverted" in image.record[-1]


def test_slices_finer_than_vendors_round_are_places_of_their_own(tmp_path):
    """Micro-CT: 5 µm from slice to slice."""
    pixels = ct_series(tmp_path, step=0.005, spacing=(0.005, 0.005))
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array.T, pixels.astype(np.float32) - 1024)
    np.testing.assert_allclose(volume.spacing_mm, 0.005)
    ct_series(tmp_path / "more", slices=1, origin=(-10.0, -20.0, 30.022))
    for path in (tmp_path / "more").glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.PixelSpacing = [0.005, 0.005]
        data.save_as(path)
    with pytest.raises(ReadError, match="unevenly spaced"):
        read(tmp_path)


def test_slices_far_aside_are_no_gantry_tilt(tmp_path):
    ct_series(tmp_path, slices=1)
    ct_series(tmp_path / "more", slices=1, origin=(90.0, -20.0, 32.0))
    with pytest.raises(ReadError, match=r"sideways by 100\.00 mm at each step of 2\.00 mm"):
        read(tmp_path)
    shutil.rmtree(tmp_path / "more")
    ct_series(tmp_path / "more", slices=1, origin=(-8.5, -20.0, 32.0))
    assert "tilt of 36.87 degrees" in read(tmp_path).record[0]
    with pytest.raises(ReadError, match="above the limit of 70"):
        read(tmp_path, max_values=70)  # 60 voxels before, 96 after


def test_slices_lost_at_regular_intervals_are_said(tmp_path):
    """Positions stay even, so that only the header's own distance tells."""
    ct_series(tmp_path, slices=3, missing=[1])
    assert read(tmp_path).record == (
        "slices lie 4 mm apart where the header says 2 mm: gaps between them, or files missing at regular "
        "intervals",
    )


def test_one_slice_of_a_negative_distance_is_not_turned_round(tmp_path):
    ct_series(tmp_path, slices=1, SpacingBetweenSlices=-3)
    ct_series(tmp_path / "echo", slices=1, SpacingBetweenSlices=-3, EchoTime=3)
    volume = read(tmp_path, stack=0)
    assert volume.affine[2, 2] == 3 and np.linalg.det(volume.affine[:3, :3]) > 0


@pytest.mark.parametrize("orientation", [[1.05, 0, 0, 0, 1, 0], [1, 0.009, 0, 0, 1, 0]])
def test_orientation_beyond_rounding_is_refused(tmp_path, orientation):
    ct_series(tmp_path, ImageOrientationPatient=orientation)
    with pytest.raises(ReadError, match="not perpendicular unit vectors"):
        read(tmp_path)


def test_times_written_in_two_ways_still_order(tmp_path):
    late = ct_series(tmp_path / "a", seed=1, AcquisitionTime="101110")
    early = ct_series(tmp_path / "b", seed=2, AcquisitionTime="10:10:10")
    np.testing.assert_array_equal(read(tmp_path).array.T, np.stack([early, late]).astype(np.float32) - 1024)


def mosaic(path: Path, count: object, vr: str) -> Path:
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    data = dicom(pixels, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], PixelSpacing=[1, 1],
                 ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                 SpacingBetweenSlices=3)  # fmt: skip
    data.add_new(0x0019100A, vr, count)
    return save(data, path)


@pytest.mark.parametrize(("count", "vr"), [(4, "US"), (b"\4\0", "UN")])
def test_mosaic_by_its_plain_element(tmp_path, count, vr):
    """Files whose private creator was removed give the count as bytes."""
    volume = read(mosaic(tmp_path / "a.dcm", count, vr))
    assert volume.array.shape == (4, 4, 4)
    assert volume.array[0, 0].tolist() == [-1024, -1020, -992, -988]
    assert volume.affine[2, 2] == 3


def test_mosaic_that_does_not_part_into_tiles_is_refused(tmp_path):
    for count in (9, 65535):
        with pytest.raises(ReadError, match=r"8 × 8 pixels do not part into"):
            read(mosaic(tmp_path / "a.dcm", count, "US"))


# --- enhanced objects -----------------------------------------------------------------------------------


def enhanced(
    path: Path, frames: int, *, slopes: tuple[float, ...] = (2.0,), placed: bool = True,
    spacing: tuple[float, float] = (0.75, 0.5),
) -> np.ndarray:  # fmt: skip
    """A CT with one functional group a frame; slopes are taken in turn, none with ()."""
    pixels = np.arange(frames * 12, dtype=np.uint16).reshape(frames, 3, 4)
    data = dicom(pixels[0], NumberOfFrames=frames, **NO_RESCALE)
    data.PixelData = pixels.tobytes()

    def item(**values: object) -> list[Dataset]:
        made = Dataset()
        for name, value in values.items():
            setattr(made, name, value)
        return [made]

    groups = []
    for k in range(frames):
        group = Dataset()
        if placed:
            group.PlanePositionSequence = item(ImagePositionPatient=[0, 0, 2.0 * k])
        if slopes:
            slope = slopes[k % len(slopes)]
            group.PixelValueTransformationSequence = item(
                RescaleSlope=slope, RescaleIntercept=-1000, RescaleType="HU"
            )
        group.FrameVOILUTSequence = item(WindowCenter=-980.5, WindowWidth=40)
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    data.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=item(PixelSpacing=list(spacing), SliceThickness=2),
    )
    save(data, path)
    return pixels


def test_enhanced_volume_takes_the_rescale_of_each_frame(tmp_path):
    pixels = enhanced(tmp_path / "a.dcm", 3, slopes=(2.0, 3.0, 4.0))
    volume = read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(volume.array.T, pixels * np.array([2, 3, 4])[:, None, None] - 1000.0)
    assert volume.unit == "HU"
    np.testing.assert_allclose(volume.spacing_mm, [0.5, 0.75, 2])


def test_enhanced_single_frame_takes_rescale_window_and_spacing_of_its_group(tmp_path):
    pixels = enhanced(tmp_path / "a.dcm", 1, spacing=(0.75, 0.75))
    image = read(tmp_path / "a.dcm")
    assert isinstance(image, Image)
    np.testing.assert_array_equal(image.array, 2.0 * pixels[0] - 1000)
    assert (image.unit, image.spacing_mm, image.display_range) == ("HU", (0.75, 0.75), (-1000.5, -961.5))


def test_enhanced_frames_without_a_place(tmp_path):
    pixels = enhanced(tmp_path / "a.dcm", 3, placed=False, spacing=(0.5, 0.5))
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array, 2.0 * pixels - 1000)
    enhanced(tmp_path / "b.dcm", 3, placed=False, slopes=(2.0, 3.0))
    with pytest.raises(ReadError, match="rescales its frames differently"):
        read(tmp_path / "b.dcm")


@pytest.mark.parametrize("frames", [1, 3])
def test_enhanced_without_a_rescale_is_not_hounsfield(tmp_path, frames):
    enhanced(tmp_path / "a.dcm", frames, slopes=())
    content = read(tmp_path / "a.dcm")
    assert content.unit == "a.u." and "CT without rescale: values are not HU" in content.record
