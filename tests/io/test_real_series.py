"""Agreement with SimpleITK, nibabel and dcm2niix on real series of GE, Siemens, Philips, UIH and Hitachi."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from scipy.ndimage import map_coordinates, minimum_filter1d

from radfoundry.errors import ReadError
from radfoundry.io import read
from radfoundry.types import Image, Volume
from tests._data import data_dir

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # "highly experimental"
    from nibabel.nicom import dicomwrappers

sitk = pytest.importorskip("SimpleITK")
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

# Regular series: read alike by SimpleITK, pixels and geometry.
REGULAR = [
    "dicom_series/dcm_qa_agfa__11_ep2d-fid-weisskoff-25slc",
    "dicom_series/dcm_qa_asl__5_T1-mprage-ns-sag-p2-iso-1-0mm-",
    "dicom_series/dcm_qa_enh__6_REST1-w-SMS-PF7-8",
    "dicom_series/dcm_qa_fmap__4_gre-field-ph",
    "dicom_series/dcm_qa_ge__14_Ax-fMRI-HB3-48sl-int-asc",
    "dicom_series/dcm_qa_ge__5_3D-Ax-T1-MP-RAGE-R22",
    "dicom_series/dcm_qa_philips_asl__201_pCASL",
    "dicom_series/dcm_qa_philips_asl__401_3D-pCASL-6mm",
    "dicom_mr/HEADERS_ONLY_dicom2nifti/hitachi_anatomical_001",
    "dicom_mr/philips_cs_dl/201_T1W_TSE_Sno_CSno_CSAIno",
    "dicom_mr/philips_cs_dl/401_T1W_FFE_Sno_CS2",
    "dicom_mr/philips_cs_dl/501_T1W_TSE_Sno_CSno_CSAI2",
]
# Several volumes in one series: SimpleITK gets the files of one volume, chosen by this element (its remainder
# by 8 for the multi-phase series, whose eight phases have consecutive instance numbers at each position).
REPEATED = {
    "dicom_series/dcm_qa_philips__201_EPI-asc": ("TemporalPositionIdentifier", {}),
    "dicom_series/dcm_qa_philips_asl__301_ASL-MultiPhase": ("InstanceNumber", {"modulo": 8}),
    "dicom_series/dcm_qa_fmap__2_gre-field-magph": ("EchoTime", {"echo": [5.19, 7.65]}),
    "dicom_series/dcm_qa_pdt2__3_pd-t2-tse-sag-ISO-1-8mm": ("EchoTime", {"echo": [11, 92]}),
}
# Grids of tiles, which SimpleITK leaves flat: checked against dcm2niix.
MOSAIC = [
    "dicom_series/dcm_qa_asl__11_pasl-3d",
    "dicom_series/dcm_qa_asl__13_pasl-3d-m0",
    "dicom_series/dcm_qa_asl__15_pcasl-3d",
    "dicom_series/dcm_qa_asl__3_pasl-2d",
    "dicom_mr/nih_ge_siemens/20180918Si_mr_0003",
    "dicom_mr/nih_ge_siemens/20180918Si_mr_0004",
    "dicom_mr/nih_ge_siemens/20180918Si_mr_0005",
    "dicom_mr/nih_ge_siemens/20180918Si_mr_0006",
    "dicom_mr/siemens_dcm_qa/ax_axasc35",
    "dicom_mr/siemens_dcm_qa/axmb_AxInt36mb",
    "dicom_mr/siemens_dcm_qa/cor_corint36",
    "dicom_mr/siemens_dcm_qa/prisma_epi_AP",
    "dicom_mr/siemens_dcm_qa/sag_sagdesc35",
    "dicom_mr/uih_dcm_qa_uih/DTI_132225_dti_tra_dir16_PA_rot_S",
    "dicom_mr/uih_dcm_qa_uih/DTI_134434_dti_tra_dir16_AP_SaveB",
]
# Single slices, read as pictures.
PICTURES = [
    "dicom_series/dcm_qa_ct__100_",
    "dicom_mr/heudiconv/01-anat-scout",
    "dicom_mr/heudiconv/01-fmap_acq-3mm",
    "dicom_mr/heudiconv/phantom",
]
IRREGULAR = {
    "dicom_series/dcm_qa_ct__2_": "unevenly spaced",  # 4.2 mm in the posterior fossa, 7.4 mm above
    "dicom_series/dcm_qa_enh__801_B0-NS": "2 stacks that differ in echoes and image type",
    "dicom_series/dcm_qa_fmap__2_gre-field-magph": "2 stacks that differ in echoes",
    "dicom_series/dcm_qa_me__4_me-fMRI": "2 stacks that differ in echoes",
    "dicom_series/dcm_qa_pdt2__3_pd-t2-tse-sag-ISO-1-8mm": "2 stacks that differ in echoes",
    "dicom_series/dcm_qa_philips__601_dti-ax": "between 6 and 17 different images",
    "dicom_mr/nih_ge_siemens/20180918GE_mr_0004": "unevenly spaced",  # thinned to 8 of 150 files
    "dicom_mr/nih_ge_siemens/20180918GE_mr_0005": "unevenly spaced",
    "dicom_mr/nih_ge_siemens/20180918GE_mr_0006": "unevenly spaced",
    "dicom_mr/nih_ge_siemens/20180918GE_mr_0007": "unevenly spaced",
    "dicom_mr/philips_cs_dl/501_T1W_FFE_Sno_CS4": "unevenly spaced",  # thinned to 6 of 24 files
    "dicom_mr/uih_dcm_qa_uih/DTI_134434_t1_gre_fsp_3d_sag__134": "unevenly spaced",  # 6 of 160 files
}
# Regular, but neither of the above: whole volumes in order of instance number, and identical repeats.
OTHER = ["dicom_series/dcm_qa_fmap__6_B0map", "dicom_series/dcm_qa_ge__1_Ax-DWI-TENSOR-R2"]


def itk(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(array as (…, K, rows, columns), RAS affine) by SimpleITK."""
    if len(files) > 1:
        series = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(files[0].parent))
        image = sitk.ReadImage([name for name in series if Path(name) in set(files)])
    else:
        image = sitk.ReadImage(str(files[0]))
    size = image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = (
        np.array(image.GetDirection()).reshape(size, size)[:3, :3] * np.array(image.GetSpacing())[:3]
    )
    affine[:3, 3] = image.GetOrigin()[:3]
    return sitk.GetArrayFromImage(image), np.diag([-1, -1, 1, 1]) @ affine


def assert_same(volume: Volume, array: np.ndarray, affine: np.ndarray) -> None:
    assert array.std() > 0
    np.testing.assert_allclose(volume.array.T, array, rtol=2e-6, atol=1e-6 * np.abs(array).max())
    np.testing.assert_allclose(volume.affine, affine, atol=2e-4)


def slope(data: pydicom.Dataset) -> float:
    """The one rescale slope of a file without intercept, classic or enhanced."""
    frames = data.get("PerFrameFunctionalGroupsSequence", [])
    scales = [frame.PixelValueTransformationSequence[0] for frame in frames] or [data]
    (pair,) = {
        (float(scale.get("RescaleSlope", 1)), float(scale.get("RescaleIntercept", 0))) for scale in scales
    }
    assert pair[1] == 0
    return pair[0]


def assert_same_in_space(volume: Volume, other: nibabel.Nifti1Image) -> None:
    """Every voxel of one lies on a voxel of the other, with the same value; axes may be flipped."""
    there = np.linalg.inv(other.affine) @ volume.affine
    assert np.abs(there - there.round()).max() < 2e-3
    index = np.indices(volume.array.shape[:3]).reshape(3, -1)
    target = (there[:3, :3].round() @ index + there[:3, 3:].round()).astype(int)
    assert target.min() >= 0 and (target.max(axis=1) < other.shape[:3]).all()
    values = np.asarray(other.get_fdata(dtype=np.float32))[tuple(target)]
    np.testing.assert_allclose(volume.array[tuple(index)], values, rtol=1e-6)


def dcm2niix(folder: Path, out: Path, pattern: str) -> nibabel.Nifti1Image:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    program = shutil.which("dcm2niix", path=beside)
    if program is None:
        pytest.skip("dcm2niix is not installed (extra dev)")
    subprocess.run(
        [program, "-b", "n", "-z", "n", "-f", "x", "-o", out, folder], check=True, capture_output=True
    )
    return nibabel.load(next(out.glob(pattern)))


def test_every_series_with_pixels_is_in_one_list():
    roots = data_dir("dicom_series"), data_dir("dicom_mr")
    folders = {
        f"{root.name}/{path.parent.relative_to(root)}"
        for root in roots
        for path in root.rglob("*.dcm")
        if "HEADERS_ONLY" not in str(path) or "hitachi" in str(path)
    }
    assert folders == {*REGULAR, *REPEATED, *MOSAIC, *PICTURES, *IRREGULAR, *OTHER}


@pytest.mark.parametrize("name", REGULAR)
def test_regular_series_agree_with_simpleitk(name):
    folder = data_dir(*name.split("/"))
    volume = read(folder)
    assert not any("resampled" in line or "sheared" in line for line in volume.record)
    assert_same(volume, *itk(sorted(folder.glob("*.dcm"))))


@pytest.mark.filterwarnings("ignore:Unable to find Philips private scale")
@pytest.mark.parametrize(
    "name",
    [
        *REGULAR,
        *(name for name, (_, choice) in REPEATED.items() if "echo" not in choice),
        *(name for name in MOSAIC if "uih" not in name),
        *OTHER,
    ],
)
def test_regular_series_agree_with_nibabel(name):
    """nibabel has a DICOM reader of its own: each of its voxels lies on one of ours, with the same value.

    It does not know the grids of United Imaging, nor how the slices of a series belong together, and of
    Philips it prefers the private scale to the rescale of the standard: there its stored values are compared.
    """
    folder = data_dir(*name.split("/"))
    volume = read(folder)
    times = volume.array.reshape(*volume.array.shape[:3], -1)
    inverse, found = np.linalg.inv(volume.affine), set()
    for path in folder.glob("*.dcm"):
        one = dicomwrappers.wrapper_from_file(path)
        data = np.atleast_3d(one.get_unscaled_data())
        if one.vendor == dicomwrappers.Vendor.PHILIPS:
            data = data * np.float64(slope(one.dcm_data))
        else:
            data = np.atleast_3d(one.get_data())
        there = inverse @ np.diag([-1, -1, 1, 1]) @ one.affine  # nibabel leaves it in LPS
        assert np.abs(there[:, 3] - there[:, 3].round()).max() < 5e-3
        index = np.indices(data.shape).reshape(3, -1)
        target = (there[:3, :3] @ index + there[:3, 3:]).round().astype(int)
        ours = times[tuple(target)]  # (voxels, T)
        scale = 1e-6 * np.abs(data).max()
        same = [t for t in range(ours.shape[1]) if np.abs(ours[:, t] - data.ravel()).max() <= scale]
        assert same, path.name
        found |= {(t, k) for t in same for k in set(target[2])}
    assert len(found) == times.shape[3] * times.shape[2]


@pytest.mark.parametrize("name", REPEATED)
def test_each_of_several_volumes_agrees_with_simpleitk(name, tmp_path):
    folder = data_dir(*name.split("/"))
    element, choice = REPEATED[name]
    groups: dict[float, list[Path]] = {}
    for path in folder.glob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[element])
        value = float(header[element].value)
        groups.setdefault((value - 1) % choice["modulo"] if "modulo" in choice else value, []).append(path)
    assert len(groups) > 1
    for number, value in enumerate(sorted(groups)):
        if "echo" in choice:
            part = read(folder, echo=choice["echo"][number])
        else:
            whole = read(folder)
            part = Volume(whole.array[..., number], whole.affine)
        alone = tmp_path / str(number)  # GDCM sorts a folder by position only when no position repeats
        alone.mkdir()
        assert_same(part, *itk([Path(shutil.copy(path, alone)) for path in groups[value]]))


@pytest.mark.parametrize("name", MOSAIC)
def test_mosaics_agree_with_dcm2niix(name, tmp_path):
    folder = data_dir(*name.split("/"))
    assert_same_in_space(read(folder), dcm2niix(folder, tmp_path, "x*.nii"))


def test_echoes_of_a_mosaic_agree_with_dcm2niix(tmp_path):
    folder = data_dir("dicom_series", "dcm_qa_me__4_me-fMRI")
    assert_same_in_space(read(folder, echo=20), dcm2niix(folder, tmp_path, "x_e1*.nii"))


@pytest.mark.parametrize("name", PICTURES)
def test_single_slices_agree_with_simpleitk(name):
    folder = data_dir(*name.split("/"))
    image = read(folder)
    assert isinstance(image, Image)
    np.testing.assert_array_equal(image.array, itk(list(folder.glob("*.dcm")))[0][0])


@pytest.mark.parametrize("name", IRREGULAR)
def test_irregular_series_are_refused_with_the_reason(name):
    with pytest.raises(ReadError, match=IRREGULAR[name]):
        read(data_dir(*name.split("/")))


def test_field_map_frames_by_stack():
    folder = data_dir("dicom_series", "dcm_qa_enh__801_B0-NS")
    magnitude, field = read(folder, stack=0), read(folder, stack=1)
    assert magnitude.array.shape == field.array.shape == (64, 64, 32)
    assert magnitude.array.min() >= 0 > field.array.min()


def test_repeats_without_a_clock_are_ordered_by_instance_number():
    volume = read(data_dir(*OTHER[0].split("/")))
    assert volume.array.shape == (128, 128, 16, 2)
    assert "instance number" in volume.record[0]
    # The publisher copied one b = 0 volume over all others, so identical repeats remain one.
    volume = read(data_dir(*OTHER[1].split("/")))
    assert volume.array.shape == (256, 256, 2)
    assert volume.record == ("12 duplicate images dropped",)


@pytest.mark.parametrize("part", [slice(0, 14), slice(14, 28)], ids=["4.2 mm", "7.4 mm"])
def test_tilted_ct_agrees_with_dcm2niix(part, tmp_path):
    """Each evenly spaced half of the tilted head CT: same grid, same values up to its rounding."""
    files = sorted(data_dir("dicom_series", "dcm_qa_ct__2_").glob("*.dcm"), key=_height)[part]
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for path in files:
        shutil.copy(path, folder)
    volume, other = read(files), dcm2niix(folder, out, "*_Tilt_1.nii")
    assert "gantry tilt of 18.50 degrees" in volume.record[0]
    assert volume.unit == "HU"
    there = np.linalg.inv(other.affine) @ volume.affine
    assert np.abs(there - there.round()).max() < 1e-3
    flipped = volume.array[:, ::-1]
    assert flipped.shape == other.shape
    values = other.get_fdata(dtype=np.float32)
    # Away from the padding around the round field of view, which the two mix in differently.
    inner = minimum_filter1d(np.minimum(flipped, values), 5, axis=1) > -1400
    difference = np.abs(flipped - values)[inner]
    assert inner.mean() > 0.3
    assert np.quantile(difference, 0.9999) <= 0.51


def test_whole_tilted_ct_is_evened_on_request():
    folder = data_dir("dicom_series", "dcm_qa_ct__2_")
    volume = read(folder, irregular="resample")
    assert len(volume.record) == 2 and "tilt of 18.50" in volume.record[0] and "uneven" in volume.record[1]
    axes = volume.affine[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    # Each original slice is found again where it was, up to the smoothing of interpolation.
    data = pydicom.dcmread(sorted(folder.glob("*.dcm"), key=_height)[20])
    row, column = np.split(np.array(data.ImageOrientationPatient, float), 2)
    r, c = np.mgrid[100:400:3, 100:400:3].reshape(2, -1)
    spacing = [float(v) for v in data.PixelSpacing]
    lps = (
        np.array(data.ImagePositionPatient, float)[:, None]
        + np.outer(row, c * spacing[1])
        + np.outer(column, r * spacing[0])
    )
    ijk = np.linalg.inv(volume.affine) @ [-lps[0], -lps[1], lps[2], np.ones(len(r))]
    there = map_coordinates(volume.array, ijk[:3], order=1)
    here = data.pixel_array[r, c] * float(data.RescaleSlope) + float(data.RescaleIntercept)
    assert np.corrcoef(here, there)[0, 1] > 0.95


def _height(path: Path) -> float:
    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])
