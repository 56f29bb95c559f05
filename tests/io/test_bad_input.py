"""What is no image, or no whole image, is refused with what, where and what next."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag
from pydicom.uid import RLELossless

from radfoundry.errors import ReadError
from radfoundry.io import read, read_image, scan
from tests.io.synthetic import ct_series, dicom, save


@pytest.fixture
def picture(tmp_path):
    return save(dicom(np.arange(4096, dtype=np.uint16).reshape(64, 64)), tmp_path / "a.dcm")


def test_missing_file_and_empty_folder(tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        read(tmp_path / "none.dcm")
    with pytest.raises(ReadError, match="is empty"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.dcm", "a.png", "a.jpg", "a.nii", "a.nii.gz", "a.nrrd", "a.zip"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ReadError, match="is empty"):
        read(tmp_path / name)


@pytest.mark.parametrize("content", [b"hello, this is no image", b"%PDF-1.7" + b"x" * 400, b"\0" * 1000])
def test_other_content(tmp_path, content):
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(ReadError):
        read(tmp_path / "a.dcm")


@pytest.mark.parametrize("keep", [140, 300, 600, -5000, -1])
def test_truncated_dicom(picture, keep):
    picture.write_bytes(picture.read_bytes()[:keep])
    with pytest.raises(ReadError, match=r"truncated|no pixels|no DICOM"):
        read(picture)


def test_truncated_compressed_dicom(tmp_path):
    data = Path(get_testdata_file("JPEG2000.dcm", read=False)).read_bytes()
    (tmp_path / "a.dcm").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError):
        read(tmp_path / "a.dcm")


def test_truncated_raster_nifti_nrrd(tmp_path):
    import nrrd

    noise = np.random.default_rng(0).integers(0, 255, (90, 80), dtype=np.uint8)
    Pillow.fromarray(noise).save(tmp_path / "a.png")
    Pillow.fromarray(noise).save(tmp_path / "a.jpg")
    volume = noise.reshape(10, 9, 80)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    space = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": [0, 0, 0]}
    nrrd.write(str(tmp_path / "a.nrrd"), volume, space)
    for name in ("a.png", "a.jpg", "a.nii", "a.nii.gz", "a.nrrd"):
        path = tmp_path / name
        read(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ReadError, match="truncated"):
            read(path)


def test_dicom_without_pixels(picture):
    data = pydicom.dcmread(picture)
    del data.PixelData
    data.save_as(picture)
    with pytest.raises(ReadError, match=r"no pixels \(CT Image Storage\)"):
        read(picture)


@pytest.mark.parametrize("name", ["reportsi.dcm", "rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm"])
def test_dicom_of_other_kinds(name):
    with pytest.raises(ReadError, match="has no pixels"):
        read(get_testdata_file(name, read=False))


def test_announced_size_is_checked_before_allocating(picture, tmp_path):
    data = pydicom.dcmread(picture)
    data.Rows = data.Columns = 65535
    data.NumberOfFrames = 100
    data.save_as(picture)
    with pytest.raises(ReadError, match="decompression bomb"):
        read(picture)
    data.NumberOfFrames = 1
    data.Rows = data.Columns = 20000
    data.save_as(picture)
    with pytest.raises(ReadError, match="truncated"):
        read(picture)
    with pytest.raises(ReadError, match="above the limit of 100"):
        read(picture, max_values=100)


def test_compressed_stream_larger_than_its_header(tmp_path):
    data = pydicom.dcmread(get_testdata_file("JPEG2000.dcm", read=False))
    data.Rows = data.Columns = 16
    data.save_as(tmp_path / "a.dcm")
    with pytest.raises(ReadError, match="compressed stream is 1024 × 256"):
        read(tmp_path / "a.dcm")


def test_bombs_in_png_nifti_and_zip(tmp_path):
    Pillow.new("L", (3000, 3000)).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match="above the limit"):
        read(tmp_path / "a.png", max_values=10**6)
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write(header.binaryblock + b"\0" * 100)
    with pytest.raises(ReadError, match="decompression bomb"):
        read(tmp_path / "a.nii.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(20 * 2**20))
    with pytest.raises(ReadError, match="decompression bomb"):
        read(tmp_path / "a.zip")


def test_impossible_geometry(tmp_path):
    ct_series(tmp_path, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    with pytest.raises(ReadError, match="impossible Image Orientation"):
        read(tmp_path)


def test_empty_slice_in_a_series_is_not_passed_over(tmp_path):
    ct_series(tmp_path)
    (tmp_path / "009.dcm").touch()
    with pytest.raises(ReadError, match=r"009\.dcm is empty"):
        read(tmp_path)


def test_options_behind_the_path_are_checked(picture):
    for text, reason in (
        ("#frame=x", "must be a number"),
        ("#colour=1", "no option"),
        ("#", "nothing is said"),
    ):
        with pytest.raises(ReadError, match=reason):
            read_image(f"{picture}{text}")
    with pytest.raises(ReadError, match="no frame 4"):
        read_image(f"{picture}#frame=4")
    with pytest.raises(ReadError, match="does not exist"):
        read(f"{picture}.not#frame=1")


def test_scan_of_a_missing_folder(tmp_path):
    with pytest.raises(ReadError, match="is no folder"):
        scan(tmp_path / "none")


ILL_TYPED = [
    ("Rows", "US", b"abc "), ("NumberOfFrames", "IS", b"1e400 "), ("SamplesPerPixel", "LO", b"many"),
    ("BitsAllocated", "US", b""), ("DiffusionBValue", "FD", b"abc "), ("InstanceNumber", "UN", b"1e400 "),
    ("EchoTime", "DS", b"1\\2 "), ("PixelSpacing", "DS", b"-1"), ("SliceThickness", "DS", b"thin"),
    ("ImageOrientationPatient", "DS", b"abc "), ("ImagePositionPatient", "DS", b"7 "),
    ("ModalityLUTSequence", "SQ", b"abc "), ("VOILUTSequence", "OB", b"abc "),
    ("PerFrameFunctionalGroupsSequence", "SQ", b"abc "), ("SharedFunctionalGroupsSequence", "OB", b"abc "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "vr", "value"), ILL_TYPED, ids=[name for name, _, _ in ILL_TYPED])
def test_ill_typed_elements_never_escape_as_another_error(tmp_path, name, vr, value):
    """In all slices of a series, in one of them alone, and in the scan of the folder."""
    ct_series(tmp_path, slices=3)
    for number, path in enumerate(sorted(tmp_path.glob("*.dcm"))):
        data = pydicom.dcmread(path)
        tag = Tag(name)
        data[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        data.save_as(path)
        for attempt in (path, tmp_path):
            try:
                read(attempt)
            except ReadError as error:
                assert str(tmp_path) in str(error)
        table = scan(tmp_path)
        assert table["files"].sum() == 3
        assert number == 0 or table["format"].isin(["dicom", "unreadable"]).all()


def test_one_bad_header_is_a_row_of_the_scan(tmp_path):
    ct_series(tmp_path, slices=3)
    bad = sorted(tmp_path.glob("*.dcm"))[1]
    data = pydicom.dcmread(bad)
    data["EchoTime"] = RawDataElement(Tag("EchoTime"), "DS", 4, b"1\\2 ", 0, False, True)
    data.save_as(bad)
    table = scan(tmp_path).set_index("format")
    assert table.loc["dicom", "files"] == 2
    assert table.loc["unreadable", "path"] == bad.name


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsStored": 12, "HighBit": 7},
        {"BitsStored": 12, "HighBit": 40},
        {"BitsStored": 20, "HighBit": 19},
        {"BitsStored": 0},
    ],
)
def test_impossible_bits_are_refused(tmp_path, elements):
    path = save(dicom(np.zeros((4, 4), np.uint16), **elements), tmp_path / "a.dcm")
    with pytest.raises(ReadError, match=r"bits stored of 16 allocated.*impossible"):
        read(path)


@pytest.mark.parametrize(
    ("samples", "photometric"), [(1, "RGB"), (1, "FOO"), (2, "MONOCHROME2"), (4, "ARGB")]
)
def test_colour_model_must_fit_the_samples(tmp_path, samples, photometric):
    pixels = np.zeros((4, 4 * samples), np.uint8)
    data = dicom(pixels, SamplesPerPixel=samples, PhotometricInterpretation=photometric, Columns=4)
    with pytest.raises(ReadError, match=f"{samples} samples a pixel but is {photometric}"):
        read(save(data, tmp_path / "a.dcm"))


def test_codec_that_panics_is_an_error_of_the_file(tmp_path, capfd):
    """pylibjpeg-rle is written in Rust: a segment longer than the frame panics, which is no Exception."""
    pytest.importorskip("rle")
    data = dicom(np.zeros((2, 2), np.uint16))
    long = bytes([127]) + bytes(128)  # "128 bytes follow as they are", where 4 fit
    header = np.array([2, 64, 64 + len(long)] + [0] * 13, "<u4").tobytes()
    data.PixelData = encapsulate([header + long + long])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = RLELossless
    path = save(data, tmp_path / "a.dcm")
    with pytest.raises(ReadError, match="could not be decoded"):
        read(path)


def test_second_frame_larger_than_its_header(tmp_path):
    data = pydicom.dcmread(get_testdata_file("JPEG2000.dcm", read=False))
    small = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm", read=False))
    frames = [next(generate_frames(d.PixelData, number_of_frames=1)) for d in (small, data)]
    small.NumberOfFrames, small.PixelData = 2, encapsulate(frames)
    small.save_as(tmp_path / "a.dcm")
    with pytest.raises(ReadError, match="compressed stream is 1024 × 256"):
        read(tmp_path / "a.dcm")


def test_overwritten_slice_is_not_passed_over(tmp_path):
    ct_series(tmp_path)
    (tmp_path / "009.dcm").write_bytes(b"\0" * 1000)
    with pytest.raises(ReadError, match=r"009\.dcm is not an image"):
        read(tmp_path)
    Pillow.new("L", (4, 4)).save(tmp_path / "009.dcm", format="PNG")
    with pytest.raises(ReadError, match=r"009\.dcm is named like DICOM but is png"):
        read(tmp_path)


def test_choices_that_a_file_does_not_offer_are_refused(tmp_path, picture):
    data = pydicom.dcmread(picture)
    data.EchoTime = 11
    data.save_as(picture)
    Pillow.new("L", (4, 4)).save(tmp_path / "a.png")
    assert read(f"{picture}#echo=11").array.shape == (64, 64)
    for path, text, reason in (
        (picture, "#echo=50", "echo time of 11.0 ms, not 50"),
        (picture, "#stack=1", "no stack 1"),
        (picture, "#series=1.2", "no series 1.2"),
        (tmp_path / "a.png", "#echo=5", "is png: echo= chooses among DICOM"),
    ):
        with pytest.raises(ReadError, match=reason):
            read(f"{path}{text}")
    with pytest.raises(ReadError, match="irregular must be"):
        read([picture], irregular="guess")


def test_pictures_beyond_pillow_s_limit(tmp_path, monkeypatch):
    """The process keeps Pillow's own limit, and meets it as a refusal."""
    limit = Pillow.MAX_IMAGE_PIXELS
    Pillow.new("L", (300, 300)).save(tmp_path / "a.png")
    read(tmp_path / "a.png")
    assert limit == Pillow.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ReadError, match="exceeds limit"):
        read(tmp_path / "a.png")
