"""Single pictures: photometric interpretation, windows, LUTs, colour, compression, raster files."""

from __future__ import annotations

import gzip
import struct
import tempfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from scipy.spatial.transform import Rotation

from radfoundry.errors import ReadError
from radfoundry.io import read, read_image
from radfoundry.io.square import squared
from radfoundry.preprocess.recipe import eight_bit
from radfoundry.types import Frames, Image
from tests.io.synthetic import dicom, save

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
DX = {"Modality": "DX", "RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None, "BitsStored": 12,
      "HighBit": 11}  # fmt: skip


def written(tmp_path, pixels=RAMP, **elements):
    return read_image(save(dicom(pixels, **{**DX, **elements}), tmp_path / "a.dcm"))


def test_monochrome1_is_inverted_with_its_window(tmp_path):
    """The same radiograph stored both ways must display the same."""
    plain = written(tmp_path, WindowCenter=1000, WindowWidth=801)
    inverted = written(
        tmp_path,
        4095 - RAMP,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=4095 - 1000 + 1,
        WindowWidth=801,
    )
    np.testing.assert_array_equal(inverted.array, plain.array)
    assert plain.display_range == inverted.display_range == (599.5, 1399.5)
    assert "MONOCHROME1 inverted: 4095 - value" in inverted.record


@pytest.mark.parametrize(
    ("function", "expected"),
    [(None, (-160.0, 239.0)), ("LINEAR", (-160.0, 239.0)), ("LINEAR_EXACT", (-160, 240))],
)
def test_first_window_is_the_display_range(tmp_path, function, expected):
    """PS3.3 C.11.2.1.2.1: c = 40, w = 400 is black at 40 - 0.5 - 399/2 = -160 and white at 239."""
    path = save(
        dicom(RAMP, WindowCenter=[40, -600], WindowWidth=[400, 1500], VOILUTFunction=function),
        tmp_path / "a.dcm",
    )
    image = read_image(path)
    assert image.display_range == expected
    assert image.unit == "HU"
    np.testing.assert_array_equal(image.array, RAMP.astype(np.float32) - 1024)


def test_sigmoid_and_voi_lut_agree_with_pydicom(tmp_path):
    image = written(tmp_path, WindowCenter=2000, WindowWidth=1000, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(image.array, 1 / (1 + np.exp(-4 * (RAMP - 2000.0) / 1000)), rtol=1e-5)
    assert image.display_range == (0.0, 1.0)

    item = Dataset()
    item.LUTDescriptor = [4096, 0, 10]
    item.LUTData = (np.sqrt(np.arange(4096) / 4095) * 1023).astype(np.uint16).tobytes()
    image = written(tmp_path, VOILUTSequence=[item])
    expected = pydicom.pixels.apply_voi_lut(RAMP, pydicom.dcmread(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.array, expected)
    assert image.display_range == (0.0, 1023.0)


def test_impossible_window_is_ignored_and_said(tmp_path):
    image = written(tmp_path, WindowCenter=100, WindowWidth=0)
    assert image.display_range == (0.0, 4095.0)
    assert any("window of width 0 ignored" in line for line in image.record)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_bit_depths_and_stray_high_bits(tmp_path, bits, signed):
    """Overlay bits above Bits Stored must not leak into the values."""
    low = -(2 ** (bits - 1)) if signed else 0
    true = np.linspace(low, low + 2**bits - 1, 64).round().astype(np.int32).reshape(8, 8)
    mask = (1 << bits) - 1
    stored = (true & mask).astype(np.uint16)
    if bits < 16:
        stored[0] |= np.uint16(1 << bits)
    path = save(
        dicom(stored, **{**DX, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(signed)}),
        tmp_path / "a.dcm",
    )
    np.testing.assert_array_equal(read_image(path).array, true)


def test_localizer_and_unscaled_ct_are_not_hounsfield(tmp_path):
    assert written(tmp_path, Modality="CT").unit == "a.u."
    path = save(dicom(RAMP, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "b.dcm")
    assert read_image(path).unit == "a.u."


def test_spacing_from_the_detector_is_said(tmp_path):
    image = written(tmp_path, ImagerPixelSpacing=[0.2, 0.2])
    assert image.spacing_mm == (0.2, 0.2)
    assert "spacing is at the detector, not the patient" in image.record


# --- padding --------------------------------------------------------------------------------------------

DETECTOR = {"BitsStored": 14, "HighBit": 13}
"""14 bits of which the anatomy uses 600 values, without a window."""


def anatomy() -> np.ndarray:
    return np.random.default_rng(0).integers(2000, 2600, (50, 50)).astype(np.uint16)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("stored", "elements"),
    [
        (0, {"PixelPaddingValue": 0}),
        (16383, {"PixelPaddingValue": 16383}),
        (7, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 20}),
        (16380, {"PixelPaddingValue": 16383, "PixelPaddingRangeLimit": 16000}),
    ],
)
def test_padding_is_black_and_does_not_decide_the_range(tmp_path, stored, elements, inverted):
    """PS3.3 C.7.5.1.1.2: padding is no part of the dynamic range; the anatomy looks the same."""
    pixels = anatomy()
    photometric = {"PhotometricInterpretation": f"MONOCHROME{1 if inverted else 2}"}
    whole = written(tmp_path, pixels, **DETECTOR, **photometric)
    pixels[:, :10] = stored
    padded = written(tmp_path, pixels, **DETECTOR, **photometric, **elements)
    np.testing.assert_array_equal(eight_bit(padded)[:, 10:], eight_bit(whole)[:, 10:])
    assert len(np.unique(eight_bit(padded)[:, 10:])) == 256
    assert (padded.display()[:, :10] == 0).all()
    said = [line for line in padded.record if line.startswith("padding (stored")]
    assert len(said) == 1 and "20.0% of the pixels" in said[0] and "shown black" in said[0]
    assert not any("padding" in line for line in whole.record)


def test_padding_with_a_window_is_black_too(tmp_path):
    pixels = anatomy()
    pixels[:5] = 0
    image = written(tmp_path, pixels, **DETECTOR, PixelPaddingValue=0, WindowCenter=2300, WindowWidth=601,
                    PhotometricInterpretation="MONOCHROME1")  # fmt: skip
    assert (image.display()[:5] == 0).all()  # the inversion alone would make it white
    np.testing.assert_array_equal(image.array[5:], 16383 - pixels[5:].astype(np.float32))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_padding_of_signed_pixels_keeps_hounsfield_units(tmp_path, syntax):
    """GE pads the corners of a CT slice with -2000, also where the file does not say the type."""
    pixels = np.random.default_rng(0).integers(0, 2000, (20, 20)).astype(np.int16)
    pixels[:2] = -2000
    data = dicom(pixels, PixelPaddingValue=-2000)
    data["PixelPaddingValue"].VR = "SS"
    data.file_meta.TransferSyntaxUID = syntax
    image = read_image(save(data, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.array, pixels.astype(np.float32) - 1024)
    assert image.unit == "HU" and image.display_range == (pixels[2:].min() - 1024, pixels[2:].max() - 1024)


def test_nothing_but_padding_shows_nothing(tmp_path):
    image = written(tmp_path, np.full((8, 8), 300, np.uint16), **DETECTOR, PixelPaddingValue=300)
    assert not image.display().any()
    unused = written(tmp_path, anatomy(), **DETECTOR, PixelPaddingValue=0)
    assert unused.record == ("no window: display range from the pixels",)


def test_raw_detector_data_are_said(tmp_path):
    line = "raw detector data, not for presentation"
    assert line in written(tmp_path, PresentationIntentType="FOR PROCESSING").record
    assert line not in written(tmp_path, PresentationIntentType="FOR PRESENTATION").record


# --- pixels that are not square -------------------------------------------------------------------------


def disc(shape: tuple[int, int], tall: float) -> np.ndarray:
    """A disc of a third of the picture's height, as pixels `tall` times as high as wide store it."""
    rows, columns = np.indices(shape)
    down, across = (rows - (shape[0] - 1) / 2) * tall, columns - (shape[1] - 1) / 2
    return np.where(np.hypot(down, across) < shape[0] * tall / 6, 4095, 0).astype(np.uint16)


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({"PixelSpacing": [0.4, 0.2]}, (0.2, 0.2)),
        ({"ImagerPixelSpacing": [0.4, 0.2]}, (0.2, 0.2)),
        ({"NominalScannedPixelSpacing": [0.4, 0.2]}, (0.2, 0.2)),
        ({"PixelAspectRatio": [2, 1]}, None),
        ({"PixelAspectRatio": [1, 1], "PixelSpacing": [0.4, 0.2]}, (0.2, 0.2)),
    ],
)
def test_tall_pixels_are_made_square(tmp_path, elements, spacing):
    """PS3.3 C.7.6.3.1.7: the first number is the height of a pixel. A disc must come out round."""
    image = written(tmp_path, disc((60, 120), 2), **elements)
    assert image.array.shape == (120, 120)
    assert image.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    inside = image.display() > 0.5
    assert abs(int(inside.any(1).sum()) - int(inside.any(0).sum())) <= 2
    assert any("not square: 60 × 120 interpolated to 120 × 120" in line for line in image.record)


def test_wide_pixels_of_a_colour_cine_are_made_square(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (2, 20, 10, 3), dtype=np.uint8)
    data = dicom(pixels[0], **{**DX, "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 3, "NumberOfFrames": 2,
                               "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB",
                               "PixelSpacing": [0.2, 0.6], "Columns": 10})  # fmt: skip
    data.PixelData = pixels.tobytes()
    cine = read(save(data, tmp_path / "a.dcm"))
    assert isinstance(cine, Frames) and cine.array.shape == (2, 20, 30, 3)
    assert cine.spacing_mm == pytest.approx((0.2, 0.2))
    np.testing.assert_array_equal(cine.array[:, :, 1::3], pixels)  # a centre in three is one of the file


@pytest.mark.parametrize(
    "elements",
    [{"PixelSpacing": ["0.143", "0.1427"]}, {"PixelAspectRatio": [100, 101]}, {"PixelAspectRatio": [0, 1]}],
)
def test_rounding_and_nonsense_leave_the_pixels_alone(tmp_path, elements):
    image = written(tmp_path, **elements)
    np.testing.assert_array_equal(image.array, RAMP)
    assert not any("square" in line for line in image.record)


def test_a_size_beyond_all_sense_is_refused(tmp_path):
    with pytest.raises(ReadError, match=r"made square, announces .* above the limit"):
        written(tmp_path, PixelSpacing=[1000, 0.0001])


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 40), columns=st.integers(2, 40), down=st.floats(0.05, 5), across=st.floats(0.05, 5)
)
def test_square_pixels_keep_the_field_of_view_and_the_values(rows, columns, down, across):
    array = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    image = squared(Image(array, (0.0, 1.0), spacing_mm=(down, across)))
    assert image.spacing_mm is not None
    field = np.multiply(image.array.shape, image.spacing_mm)
    np.testing.assert_allclose(field, (rows * down, columns * across))
    assert array.min() - 1e-5 <= image.array.min() and image.array.max() <= array.max() + 1e-5
    finer = int(down > across)
    assert image.spacing_mm[finer] == (down, across)[finer] and image.array.shape[finer] == array.shape[finer]
    assert image.array.size >= array.size
    if image.record:  # square up to the whole number of rows or columns
        made = image.array.shape[1 - finer]
        assert abs(image.spacing_mm[1 - finer] / min(down, across) - 1) <= 0.5 / made + 1e-9


GREY = ["JPEG-LL.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "CT_small.dcm",
        "JPGExtended.dcm", "image_dfl.dcm"]  # fmt: skip


@pytest.mark.parametrize("name", GREY)
def test_transfer_syntaxes_agree_with_pydicom(name):
    path = get_testdata_file(name, read=False)
    data = pydicom.dcmread(path, force=True)
    expected = pydicom.pixels.apply_modality_lut(pydicom.pixels.pixel_array(data), data)
    image = read_image(path)
    shown = image.array
    if data.PhotometricInterpretation == "MONOCHROME1":
        raise AssertionError("choose files that are not inverted")
    if not any("applied" in line for line in image.record):
        np.testing.assert_allclose(shown, expected, rtol=1e-6)
    assert shown.std() > 0


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb.dcm",
        "SC_rgb_rle.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "US1_J2KR.dcm",
    ],
)
def test_colour_agrees_with_pydicom(name):
    path = get_testdata_file(name, read=False)
    expected = pydicom.pixels.pixel_array(path)
    image = read_image(path)
    assert image.is_colour and image.display_range == (0.0, 255.0)
    np.testing.assert_array_equal(image.array, expected)


def test_palette_becomes_colour():
    path = get_testdata_file("OT-PAL-8-face.dcm", read=False)
    data = pydicom.dcmread(path, force=True)
    data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    image = read_image(path)
    assert image.is_colour and image.record == ("palette expanded to RGB",)
    np.testing.assert_array_equal(image.array, pydicom.pixels.apply_color_lut(data.pixel_array, data))


def test_cine_is_frames_and_one_can_be_chosen():
    path = get_testdata_file("SC_rgb_2frame.dcm", read=False)
    cine = read(path)
    assert isinstance(cine, Frames) and cine.array.shape == (2, 100, 100, 3)
    with pytest.raises(ReadError, match="has 2 frames, one picture is needed"):
        read_image(path)
    np.testing.assert_array_equal(read_image(f"{path}#frame=1").array, cine.array[1])


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_grey_raster(tmp_path, name):
    picture = np.random.default_rng(0).integers(0, 256, (30, 20), dtype=np.uint8)
    Pillow.fromarray(picture).save(tmp_path / name)
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.array, np.asarray(Pillow.open(tmp_path / name)))
    assert image.array.dtype == np.float32 and image.display_range == (0.0, 255.0)


def test_sixteen_bit_png_keeps_its_values(tmp_path):
    picture = np.random.default_rng(0).integers(0, 65536, (30, 20)).astype(np.uint16)
    Pillow.fromarray(picture).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.array, picture)
    assert image.display_range == (0.0, 65535.0)


def test_exif_orientation_transparency_and_palette(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    picture = Pillow.fromarray(np.repeat(np.arange(0, 240, 8, dtype=np.uint8)[:, None], 20, 1))
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert image.array.shape == (20, 30) and image.record == ("EXIF orientation 6 applied",)
    assert image.array[0, 0] > image.array[0, -1]  # turned clockwise: the dark top is now at the right

    Pillow.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "b.png")
    image = read_image(tmp_path / "b.png")
    assert image.array.max() == 0 and image.record == ("transparency composited on black",)
    Pillow.new("RGB", (4, 4), (200, 100, 50)).convert("P").save(tmp_path / "c.png")
    assert read_image(tmp_path / "c.png").array.shape == (4, 4, 3)


def test_nifti_agrees_with_nibabel(tmp_path):
    rng = np.random.default_rng(0)
    affine = np.array([[-2.0, 0.1, 0, 9], [0, 3, 0.2, -8], [0, 0, 4, 7], [0, 0, 0, 1]])
    file = nibabel.Nifti1Image(rng.integers(-1000, 3000, (4, 5, 6, 2)).astype(np.int16), affine)
    file.header.set_slope_inter(0.5, 3)
    nibabel.save(file, tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text('{"Modality": "CT"}')
    volume, other = read(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.array, other.get_fdata(), rtol=1e-6)
    np.testing.assert_array_equal(volume.affine, other.affine)
    assert (volume.unit, volume.modality) == ("HU", "CT")


def test_nifti_units_and_affines(tmp_path):
    file = nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), np.diag([0.002, 0.002, 0.002, 1]))
    file.header.set_xyzt_units("meter")
    nibabel.save(file, tmp_path / "a.nii")
    np.testing.assert_allclose(read(tmp_path / "a.nii").spacing_mm, 2)
    for bad, reason in ((np.nan, "non-finite affine"), (0.0, "singular")):
        affine = np.eye(4)
        affine[0, 0] = bad
        file = nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), None)
        file.header["sform_code"] = 1
        file.header["srow_x"], file.header["srow_y"], file.header["srow_z"] = affine[:3]
        (tmp_path / "b.nii").write_bytes(
            file.header.binaryblock + bytes(4) + np.ones(27, np.float32).tobytes()
        )
        content = bytearray((tmp_path / "b.nii").read_bytes())
        content[108:112] = np.float32(352).tobytes()
        (tmp_path / "b.nii").write_bytes(content)
        with pytest.raises(ReadError, match=reason):
            read(tmp_path / "b.nii")


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd_agrees_with_simpleitk(tmp_path, encoding):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 99, (3, 4, 5)).astype(np.int16))
    image.SetSpacing((0.5, 0.7, 2.0))
    image.SetOrigin((1.0, 2.0, 3.0))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"), useCompression=encoding == "gzip")
    volume = read(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array.T, sitk.GetArrayFromImage(image))
    lps = np.array(image.TransformIndexToPhysicalPoint((4, 2, 1)))
    np.testing.assert_allclose((volume.affine @ [4, 2, 1, 1])[:3], lps * [-1, -1, 1], atol=1e-6)


def test_nrrd_without_patient_space_is_refused(tmp_path):
    import nrrd

    nrrd.write(str(tmp_path / "a.nrrd"), np.ones((3, 3, 3)), {"spacings": [1, 1, 1]})
    with pytest.raises(ReadError, match="does not say its patient space"):
        read(tmp_path / "a.nrrd")
    (tmp_path / "b.nhdr").write_text(
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nspace: left-posterior-superior\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\ndata file: ../../../etc/hostname\n"
    )
    with pytest.raises(ReadError, match="outside its folder"):
        read(tmp_path / "b.nhdr")


# --- what must not be bent unsaid -----------------------------------------------------------------------


def test_voi_lut_of_negative_values_without_a_sign_in_the_pixels(tmp_path):
    """Unsigned pixels rescaled below zero: the LUT's first entry, -1024, reads as 64512 (PS3.3 C.11.2.1)."""
    item = Dataset()
    item.LUTDescriptor = [4096, 64512, 12]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = np.arange(4096)[::-1].astype(np.uint16).tobytes()
    image = written(tmp_path, Modality="MR", RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=[item])
    np.testing.assert_array_equal(image.array, 4095 - RAMP.astype(np.float32))


def test_window_of_width_one_is_a_step(tmp_path):
    """PS3.3 C.11.2.1.2.1: c = 100, w = 1 is black up to 99.5 and white beyond."""
    image = written(tmp_path, WindowCenter=100, WindowWidth=1)
    np.testing.assert_array_equal(image.display(), RAMP > 99.5)


def test_unstated_photometric_interpretation_is_said(tmp_path):
    image = written(tmp_path, PhotometricInterpretation=None)
    np.testing.assert_array_equal(image.array, RAMP)
    assert "no photometric interpretation: taken as MONOCHROME2" in image.record


def test_palette_of_sixteen_bits(tmp_path):
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    data = dicom(
        pixels, **{**DX, "BitsStored": 8, "HighBit": 7, "PhotometricInterpretation": "PALETTE COLOR"}
    )
    for name, factor in (("Red", 257), ("Green", 128), ("Blue", 1)):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = (factor * np.arange(256)).astype(np.uint16)
        setattr(data, f"{name}PaletteColorLookupTableData", table.tobytes())
    image = read_image(save(data, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.array, pixels[..., None] * np.array([257, 128, 1], np.float32))
    assert image.display_range == (0.0, 65535.0)


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_colour_png_is_reduced_and_said(tmp_path, colour, samples):
    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    pixel = np.array([0x1234] * samples, ">u2")
    if colour != 2:
        pixel[-1] = 0xFFFF  # opaque
    rows = (b"\0" + np.tile(pixel, 4).tobytes()) * 3
    header = struct.pack(">IIBBBBB", 4, 3, 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    image = read_image(tmp_path / "a.png")
    assert set(np.unique(image.array)) == {0x12} and image.display_range == (0.0, 255.0)
    assert "16-bit colour reduced to 8 bit (the high bytes)" in image.record


def test_nifti_with_two_opinions_takes_the_sform_and_says_it(tmp_path):
    file = nibabel.Nifti1Image(np.ones((3, 4, 5), np.float32), None)
    sform = np.diag([2.0, 2, 2, 1])
    file.set_sform(sform, 1)
    file.set_qform(np.diag([-2.0, 2, 2, 1]), 1)
    nibabel.save(file, tmp_path / "a.nii.gz")
    volume = read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.affine, sform)
    assert volume.record == ("sform and qform place a corner 8.00 mm apart: the sform is used",)
    file.set_qform(sform, 1)
    nibabel.save(file, tmp_path / "a.nii.gz")
    assert read(tmp_path / "a.nii.gz").record == ()


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (80, -2.0, "pixdim[1,2,3] should be positive"),
        (76, 0.0, "pixdim[0] (qfac) should be 1 (default) or -1"),
    ],
)
def test_nifti_header_that_nibabel_repairs_is_said(tmp_path, at, value, said):
    file = nibabel.Nifti1Image(np.ones((3, 3, 3), np.float32), None)
    file.set_qform(np.diag([2.0, 2, 2, 1]), 1)
    nibabel.save(file, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[at : at + 4] = np.float32(value).tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    assert f"header: {said}" in read(tmp_path / "a.nii").record


def test_slice_with_nan_is_refused(tmp_path):
    voxels = np.ones((3, 3, 3), np.float32)
    voxels[0, 0, 1] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ReadError, match="1 pixels in slice 1 that are no numbers"):
        read_image(f"{tmp_path / 'a.nii'}#frame=1")
    assert read_image(f"{tmp_path / 'a.nii'}#frame=0").display_range == (1.0, 1.0)


SPACE = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": [1, 2, 3]}


def test_nrrd_that_means_something_else_is_refused(tmp_path):
    import nrrd

    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), np.ones((3, 3, 3)), {**SPACE, "space units": ["um", "um", "um"]})
    with pytest.raises(ReadError, match="'space units' um"):
        read(path)
    nrrd.write(str(path), np.ones((3, 3, 3)), {**SPACE, "space units": ["mm", "mm", "mm"]})
    assert read(path).record == ()
    colours = {"kinds": ["RGB-color", "domain", "domain", "domain"],
               "space directions": np.vstack([np.full(3, np.nan), np.eye(3)])}  # fmt: skip
    nrrd.write(str(path), np.ones((3, 3, 3, 3)), {**SPACE, **colours})
    with pytest.raises(ReadError, match="kind 'RGB-color'"):
        read(path)
    nrrd.write(str(path), np.ones((3, 3, 3)), {k: v for k, v in SPACE.items() if k != "space origin"})
    assert "no 'space origin'" in read(path).record[0]


def test_nrrd_byte_skip_is_not_ignored(tmp_path):
    voxels = np.arange(27, dtype="<i2").reshape(3, 3, 3)
    junk = b"sixsix" + voxels.tobytes("F")
    head = (
        "NRRD0004\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: 3 3 3\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nendian: little\n"
    )
    path = tmp_path / "a.nrrd"
    path.write_bytes(f"{head}encoding: raw\nbyte skip: 6\n\n".encode() + junk)
    np.testing.assert_array_equal(read(path).array, voxels)
    path.write_bytes(f"{head}encoding: gzip\nbyte skip: 6\n\n".encode() + gzip.compress(junk))
    with pytest.raises(ReadError, match="truncated or damaged"):  # pynrrd 1.1 skips it twice
        read(path)


# --- round trips ----------------------------------------------------------------------------------------

turns = st.tuples(*[st.floats(-3, 3)] * 3)
spacings = st.tuples(*[st.floats(0.2, 5)] * 3)
shapes = st.tuples(*[st.integers(1, 5)] * 3)


def grid(turn: tuple, spacing: tuple, mirror: bool) -> np.ndarray:
    """An affine of any orientation, right- or left-handed."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(turn).as_matrix() * spacing * [-1 if mirror else 1, 1, 1]
    affine[:3, 3] = 10 * np.array(turn)
    return affine


@settings(max_examples=20, deadline=None)
@given(turn=turns, spacing=spacings, shape=shapes, mirror=st.booleans(), seed=st.integers(0, 99))
def test_nifti_round_trip(turn, spacing, shape, mirror, seed):
    voxels = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    affine = grid(turn, spacing, mirror)
    with tempfile.TemporaryDirectory() as name:
        nibabel.save(nibabel.Nifti1Image(voxels, affine), Path(name) / "a.nii.gz")
        volume = read(Path(name) / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-5, atol=1e-5)  # the file keeps float32


@settings(max_examples=20, deadline=None)
@given(turn=turns, spacing=spacings, shape=shapes, mirror=st.booleans(),
       space=st.sampled_from(["LPS", "RAS", "LAS", "left-posterior-superior", "right-anterior-superior"]),
       encoding=st.sampled_from(["raw", "gzip", "ascii", "bzip2"]))  # fmt: skip
def test_nrrd_round_trip(turn, spacing, shape, mirror, space, encoding):
    import nrrd

    voxels = np.random.default_rng(0).integers(-999, 999, shape).astype(np.int16)
    affine = grid(turn, spacing, mirror)
    first = [word[0].upper() for word in space.split("-")] if "-" in space else list(space)
    there = np.diag([-1.0 if first[0] == "L" else 1, -1 if first[1] == "P" else 1, 1, 1]) @ affine
    header = {"space": space, "space directions": there[:3, :3].T, "space origin": there[:3, 3],
              "encoding": encoding}  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        nrrd.write(str(Path(name) / "a.nrrd"), voxels, header)
        volume = read(Path(name) / "a.nrrd")
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), deep=st.booleans(), seed=st.integers(0, 99))
def test_png_round_trip(shape, deep, seed):
    kind = np.uint16 if deep else np.uint8
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, shape).astype(kind)
    with tempfile.TemporaryDirectory() as name:
        Pillow.fromarray(pixels).save(Path(name) / "a.png")
        image = read_image(Path(name) / "a.png")
    np.testing.assert_array_equal(image.array, pixels)
    assert image.display_range == (0.0, float(np.iinfo(kind).max))


@settings(max_examples=40, deadline=None)
@given(bits=st.integers(1, 16), spare=st.integers(0, 15), signed=st.booleans(), inverted=st.booleans(),
       slope=st.sampled_from([1.0, 0.5, 2.25]), intercept=st.integers(-2000, 2000),
       compress=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
def test_dicom_round_trip(bits, spare, signed, inverted, slope, intercept, compress, seed):
    """Any bit depth at any height in the word, signed or not, MONOCHROME1 or 2, native or RLE."""
    compress = compress and bits > 8  # pydicom's encoder would choose bytes
    spare = 0 if compress else min(spare, 16 - bits)
    low = -(2 ** (bits - 1)) if signed else 0
    true = np.random.default_rng(seed).integers(low, low + 2**bits, (5, 6))
    stored = ((true & ((1 << bits) - 1)) << spare).astype(np.uint16)
    if compress and signed:
        stored = true.astype(np.int16).view(np.uint16)  # pydicom wants the sign extended before it encodes
    data = dicom(stored, **{**DX, "BitsStored": bits, "HighBit": bits - 1 + spare,
                            "PixelRepresentation": int(signed), "RescaleSlope": slope,
                            "RescaleIntercept": intercept,
                            "PhotometricInterpretation": f"MONOCHROME{1 if inverted else 2}"})  # fmt: skip
    if compress:
        data.compress(RLELossless)
    with tempfile.TemporaryDirectory() as name:
        image = read_image(save(data, Path(name) / "a.dcm"))
    expected = slope * true + intercept
    if inverted:
        expected = slope * (2 * low + 2**bits - 1) + 2 * intercept - expected
    np.testing.assert_array_equal(image.array, expected.astype(np.float32))
