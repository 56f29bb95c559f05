"""Extraction: the same numbers as mirp on the whole image, independent of crop and position; bad input."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radfoundry.errors import InputMismatch, MissingExtra, RadfoundryError
from radfoundry.radiomics import PRESETS, RadiomicsSettings, feature_names, features, settings_of
from radfoundry.radiomics.names import names_of
from radfoundry.types import Volume
from tests.radiomics._made import LESION, lesion

mirp = pytest.importorskip("mirp", reason="radiomics need the extra radiomics")

PLAIN = PRESETS["ct-plain"]
NATIVE = replace(PLAIN, resample_mm=None)
QUICK = replace(NATIVE, families=("shape", "firstorder", "histogram"))


@pytest.mark.parametrize("text", ["ct,log_mm=1", "ct-plain,resample_mm=none", "mr"])
def test_same_as_mirp_on_files_of_the_whole_image(text: str, tmp_path: Path) -> None:
    """Through mirp's public function, from NIfTI, uncropped: axis order, spacing, grid, settings."""
    import nibabel as nib

    settings = settings_of(text)
    volume, mask = lesion(spacing=(0.8, 1.0, 2.5), shape=(72, 60, 36))
    for name, part in (("image", volume), ("mask", mask)):
        nib.save(nib.Nifti1Image(part.array, part.affine), tmp_path / f"{name}.nii.gz")
    table = _mirps_own(tmp_path, settings)
    ours = features(volume, mask, settings)
    for name, value in zip(ours.names, ours.values, strict=True):
        assert value == pytest.approx(table[name], rel=2e-5, abs=1e-5), name
    assert len(ours.names) == {"ct,log_mm=1": 314, "ct-plain,resample_mm=none": 143, "mr": 143}[text]


def _mirps_own(folder: Path, settings: RadiomicsSettings) -> dict[str, float]:
    """Our names to the values of `mirp.extract_features`; the arguments are written out, not ours."""
    arguments: dict[str, Any] = {
        "image": str(folder / "image.nii.gz"), "mask": str(folder / "mask.nii.gz"), "image_modality": "CT",
        "base_feature_families": ["morphology", "stat", "ih", "glcm", "rlm", "szm", "ngldm", "ngtdm"],
        "glcm_spatial_method": "3d_average", "glrlm_spatial_method": "3d_average", "ibsi_compliant": False,
    }  # fmt: skip
    if settings.bin_number:
        arguments |= {"base_discretisation_method": "fixed_bin_number", "base_discretisation_n_bins": 32}
        arguments |= {"intensity_normalisation": "standardisation", "tissue_mask_type": "none"}
    else:
        arguments |= {"base_discretisation_method": "fixed_bin_size", "base_discretisation_bin_width": 25.0}
    if settings.resample_mm:
        arguments["new_spacing"] = 1.0
    if settings.log_mm:
        arguments |= {
            "filter_kernels": ["laplacian_of_gaussian", "separable_wavelet"],
            "laplacian_of_gaussian_sigma": 1.0, "separable_wavelet_families": "coif1",
            "separable_wavelet_set": "all", "separable_wavelet_rotation_invariance": False,
        }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mirp tells where it took a default
        row = mirp.extract_features(**arguments)[0].iloc[0].to_dict()
    plain = names_of(settings.families)
    found = {}
    for column, value in row.items():
        prefix, code = _split(column)
        base = next((c for c in sorted(plain, key=len, reverse=True) if _is_code(code, c)), None)
        if base is not None:
            found[f"{prefix}{plain[base]}"] = value
    return found


def _split(column: str) -> tuple[str, str]:
    if column.startswith("log_s_"):
        sigma, _, code = column.removeprefix("log_s_").partition("_")
        return f"log-{float(sigma):g}mm_", code
    if column.startswith("wavelet_coif1_"):
        band, _, code = column.removeprefix("wavelet_coif1_").partition("_level_1_")
        return f"wavelet-{band.upper()}_", code
    return "", column


def _is_code(column: str, code: str) -> bool:
    """Whether mirp's column is this code, with or without what it appends (_d1_3d_avg_fbs_w25.0)."""
    rest = column.removeprefix(code)
    return column.startswith(code) and (not rest or rest.startswith(("_fb", "_d1", "_3d")))


def test_result_does_not_depend_on_what_is_far_away() -> None:
    """A larger picture around the lesion changes nothing, although the crop is cut elsewhere."""
    volume, mask = lesion(spacing=(1.0, 1.0, 1.0))
    wide = np.pad(volume.array, 30, mode="reflect"), np.pad(mask.array, 30)
    padded = replace(volume, array=wide[0]), replace(mask, array=wide[1])
    settings = replace(PRESETS["ct"], log_mm=(1.0,))
    near, far = features(volume, mask, settings), features(*padded, settings)
    same = [not name.startswith(("log", "wavelet")) for name in near.names]
    np.testing.assert_allclose(near.values[same], far.values[same], rtol=1e-9)


def test_settings_with_and_without_filters_share_one_grid() -> None:
    volume, mask = lesion()
    plain, filtered = features(volume, mask, PLAIN), features(volume, mask, PRESETS["ct"])
    np.testing.assert_allclose(filtered.values[: len(plain.values)], plain.values, rtol=1e-12)
    assert filtered.names[: len(plain.names)] == plain.names


def test_turned_and_mirrored_lesion_keeps_its_features() -> None:
    """13 directions on cubic voxels: permuted and flipped axes are the same lesion."""
    volume, mask = lesion(spacing=(1.0, 1.0, 1.0))

    def turned(part: Volume) -> Volume:
        return replace(part, array=np.ascontiguousarray(part.array.transpose(2, 0, 1)[::-1]))

    settings = replace(NATIVE, families=("firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"))
    np.testing.assert_allclose(
        features(turned(volume), turned(mask), settings).values,
        features(volume, mask, settings).values,
        rtol=1e-9,
    )


def test_names_without_mirp_are_those_of_the_result() -> None:
    volume, mask = lesion()
    for settings in (PRESETS["mr"], replace(QUICK, filtered=("firstorder", "glcm"), log_mm=(2.5,))):
        assert features(volume, mask, settings).names == feature_names(settings)
        assert len(set(feature_names(settings))) == len(feature_names(settings))
    assert "log-2.5mm_glcm_Contrast" in feature_names(settings)


def test_mirp_says_nothing_and_leaves_the_logger_alone(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters), root.level)
    with caplog.at_level(logging.INFO):
        features(*lesion(), QUICK)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert (list(root.handlers), list(root.filters)) == before[:2]


def test_constant_region_gives_reasons() -> None:
    volume, mask = lesion()
    flat = replace(volume, array=np.full_like(volume.array, 40.0))
    found = features(flat, mask, NATIVE)
    assert np.isnan(found.as_dict()["glcm_InverseVariance"])
    assert found.undefined["glcm_InverseVariance"] == "all 224 voxels have the value 40"
    assert found.as_dict()["firstorder_Variance"] == 0.0
    assert set(found.undefined) == {n for n, v in found.as_dict().items() if np.isnan(v)}


def test_one_bin_is_named() -> None:
    wide = replace(NATIVE, bin_width=5000.0, families=("glcm",))
    assert set(features(*lesion(), wide).undefined.values()) == {"all 224 voxels fall into one bin"}


def test_mask_of_one_slice_has_no_ellipsoid() -> None:
    def slice_(array: np.ndarray) -> None:
        array[5:12, 5:12, 6] = 1

    found = features(*lesion(region=slice_), NATIVE)
    assert found.undefined == dict.fromkeys(
        ("shape_VolumeDensityEllipsoid", "shape_AreaDensityEllipsoid"), "the mask is one voxel thick"
    )


def test_record_tells_voxels_and_settings() -> None:
    settings = replace(PLAIN, resegment=(0.0, 200.0))
    record = features(*lesion(), settings).record
    assert record[1].startswith("mask of 224 voxels, ") and record[1].endswith(" at 1 mm")
    assert record[2].endswith("voxels outside the value range left out of intensity features")
    assert "values 0 to 200" in record[3]


def test_resegmentation_leaves_shape_alone() -> None:
    volume, mask = lesion()
    narrow = features(volume, mask, replace(QUICK, resegment=(0.0, 100.0))).as_dict()
    full = features(volume, mask, QUICK).as_dict()
    inside = volume.array[LESION][(volume.array[LESION] >= 0) & (volume.array[LESION] <= 100)]
    assert narrow["firstorder_Mean"] == pytest.approx(inside.mean(dtype=float))
    assert narrow["shape_MeshVolume"] == full["shape_MeshVolume"]


def test_normalisation_uses_the_whole_image() -> None:
    volume, mask = lesion("a.u.")
    values = volume.array.astype(float)
    found = features(volume, mask, replace(QUICK, normalise="image", bin_width=None, bin_number=8)).as_dict()
    assert found["firstorder_Mean"] == pytest.approx((values[LESION].mean() - values.mean()) / values.std())
    black = replace(volume, array=np.where(np.indices(values.shape)[0] < 5, 0.0, values))
    used = black.array[black.array != 0]
    found = features(black, mask, replace(QUICK, normalise="nonzero", bin_width=None, bin_number=8)).as_dict()
    assert found["firstorder_Mean"] == pytest.approx((values[LESION].mean() - used.mean()) / used.std())


def _write(value: int, *where: slice | int) -> Callable[[np.ndarray], None]:
    def write(array: np.ndarray) -> None:
        array[where] = value

    return write


def _labels(array: np.ndarray) -> None:
    array[LESION] = 1
    array[0:3, 0:3, 0:3] = 4


BAD_MASKS = {
    "empty": (_write(0, slice(None)), "is empty"),
    "one voxel": (_write(1, 4, 4, 4), "has one voxel"),
    "several labels": (_labels, r"holds the labels 1, 4. Choose one"),
}


@pytest.mark.parametrize(("region", "message"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_bad_mask(region: Callable[[np.ndarray], None], message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        features(*lesion(region=region), NATIVE)


def test_label_chooses_the_region() -> None:
    volume, mask = lesion(region=_labels)
    corner = features(volume, mask, QUICK, label=4).as_dict()
    assert corner["firstorder_Mean"] == pytest.approx(volume.array[:3, :3, :3].mean(dtype=float))
    both = features(volume, mask, QUICK, label=0).as_dict()
    voxel = 0.8 * 0.8 * 2.5
    assert both["shape_VoxelVolume"] == pytest.approx((224 + 27) * voxel)
    with pytest.raises(InputMismatch, match=r"has no label 3. It holds: 1, 4"):
        features(volume, mask, QUICK, label=3)


def test_mask_of_another_geometry() -> None:
    volume, mask = lesion()
    with pytest.raises(InputMismatch, match=r"24x20x11 voxels against 24x20x12 of the image"):
        features(volume, replace(mask, array=mask.array[:, :, :11]), NATIVE)
    moved = mask.affine.copy()
    moved[2, 3] += 2.5
    with pytest.raises(InputMismatch, match=r"its first voxel lies .* from the image's"):
        features(volume, replace(mask, affine=moved), NATIVE)
    turned = mask.affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    with pytest.raises(InputMismatch, match="another geometry"):
        features(volume, replace(mask, affine=turned), NATIVE)
    rounded = mask.affine + 1e-5
    rounded[3] = (0, 0, 0, 1)
    features(volume, replace(mask, affine=rounded), QUICK)  # rounding in a header is no fault


def test_bad_volumes() -> None:
    volume, mask = lesion()
    with pytest.raises(InputMismatch, match="is 4D"):
        features(replace(volume, array=volume.array[..., None]), mask, NATIVE)
    broken = volume.array.copy()
    broken[10, 10, 6] = np.nan
    with pytest.raises(InputMismatch, match="not finite"):
        features(replace(volume, array=broken), mask, NATIVE)
    sheared = volume.affine.copy()
    sheared[0, 2] = 1.0
    with pytest.raises(InputMismatch, match="not perpendicular"):
        features(replace(volume, affine=sheared), replace(mask, affine=sheared), NATIVE)
    with pytest.raises(InputMismatch, match="no labels"):
        features(volume, replace(mask, array=mask.array * 0.5), NATIVE)
    with pytest.raises(InputMismatch, match="cannot be normalised"):
        features(replace(volume, array=np.zeros_like(broken)), mask, PRESETS["mr"])


def test_region_that_vanishes() -> None:
    volume, mask = lesion(region=_write(1, slice(5, 7), 5, 6), spacing=(0.3, 0.3, 0.3))
    with pytest.raises(InputMismatch, match=r"has 2 voxels, 0 after resampling to 4 mm. Use native"):
        features(volume, mask, replace(PLAIN, resample_mm=4.0))
    with pytest.raises(
        InputMismatch, match=r"0 of the mask's 224 voxels have values within .*values 3000 to open"
    ):
        features(*lesion(), replace(NATIVE, resegment=(3000.0, None)))


def test_bins_of_fixed_width_need_a_beginning() -> None:
    volume, mask = lesion("a.u.")
    with pytest.raises(InputMismatch, match=r"is in a\.u\.,.*radiomics:mr"):
        features(volume, mask, NATIVE)
    features(volume, mask, replace(QUICK, resegment=(-500.0, None)))
    features(volume, mask, replace(NATIVE, families=("shape", "firstorder")))


def test_unknown_wavelet_is_named() -> None:
    with pytest.raises(InputMismatch, match="no wavelet 'coif99'"):
        features(*lesion(), replace(NATIVE, wavelet="coif99"))


def test_without_mirp_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mirp", None)
    with pytest.raises(MissingExtra, match=r"radfoundry\[radiomics\]"):
        features(*lesion(), NATIVE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ctt", "no preset 'ctt'. Did you mean 'ct'"),
        ("ct,bin_widht=10", "Did you mean 'bin_width'"),
        ("ct,bin_width=wide", "value of the wrong kind"),
        ("ct,bin_number=32", "either bin_width or bin_number"),
        ("ct,bin_width=none,bin_number=1", "2 to 1024"),
        ("ct,resample_mm=-1", "positive number"),
        ("ct,families=shape+glm", "no 'glm'.*Did you mean"),
        ("ct,filtered=none", "compute nothing"),
        ("ct,resegment=10+5", "resegment is"),
        ("ct,normalise=zscore", "Known: none, image, nonzero"),
    ],
)
def test_bad_settings(text: str, message: str) -> None:
    with pytest.raises(RadfoundryError, match=message):
        settings_of(text)


def test_settings_from_text() -> None:
    found = settings_of("mr,resegment=none+4,families=shape+glcm,log_mm=1+2.5,wavelet=none,resample_mm=none")
    assert found == replace(
        PRESETS["mr"], resegment=(None, 4.0), families=("shape", "glcm"), log_mm=(1.0, 2.5), resample_mm=None
    )
    assert settings_of("bin_width=10") == replace(PRESETS["ct"], bin_width=10.0)


def test_a_fresh_process_prints_nothing_and_keeps_its_logger() -> None:
    """mirp would send its log to stdout and leave a handler on the root logger."""
    code = (
        "import logging\nfrom tests.radiomics._made import lesion\n"
        "from radfoundry.radiomics import features, settings_of\n"
        "features(*lesion(), settings_of('ct-plain,families=shape,resample_mm=none'))\n"
        "assert not logging.getLogger().handlers and not logging.getLogger().filters"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_give_the_same_numbers() -> None:
    volume, mask = lesion()
    alone = features(volume, mask, NATIVE).values
    shifted = replace(volume, array=volume.array + 100)
    before = list(warnings.filters)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda v: features(v, mask, NATIVE).values, [volume, shifted] * 2))
    for found, expected in zip(both, [alone, features(shifted, mask, NATIVE).values] * 2, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert warnings.filters == before
