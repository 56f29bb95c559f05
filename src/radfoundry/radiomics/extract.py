"""Radiomics of one volume and one mask, computed by mirp (IBSI-conformant) on a crop around the mask.

mirp wants files; it is given arrays instead, through its own image and mask classes. `Volume` is (I, J, K),
mirp is (z, y, x): arrays are transposed, so that x, y, z are I, J, K, and the directions of textures and
wavelets follow the voxel axes of the file.

Reference: Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145; manual arXiv:1612.07003.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from radfoundry.errors import InputMismatch
from radfoundry.optional import require
from radfoundry.radiomics.masks import region
from radfoundry.radiomics.names import names_of
from radfoundry.radiomics.settings import BINNED, LOWEST_HU, PRESETS, RadiomicsSettings
from radfoundry.types import Volume

if TYPE_CHECKING:
    from types import ModuleType

EXTRA = "radiomics"
MARGIN_VOXELS = 10
"""Voxels kept around the mask: a cubic spline forgets what lies beyond (0.27**10 < 2e-6 of a step)."""
LOG_TRUNCATE = 4.0
"""Laplacian-of-Gaussian kernels end at so many standard deviations (mirp's default)."""
PEAK_REACH_MM = 8.0
"""The sphere of 1 cm3 of intensity peaks has a radius of 6.2 mm."""
FILTERED_BINS = 16
WAVELET_BANDS = ("LLL", "LLH", "LHL", "LHH", "HLL", "HLH", "HHL", "HHH")
"""Low or high pass along I, J and K."""

_ONE_AT_A_TIME = Lock()

# mirp's tags of families.
_MIRP_FAMILY = {
    "shape": "morphology", "firstorder": "statistics", "histogram": "intensity_histogram", "glcm": "glcm",
    "glrlm": "glrlm", "glszm": "glszm", "gldm": "ngldm", "ngtdm": "ngtdm", "gldzm": "gldzm", "ivh": "ivh",
    "localintensity": "local_intensity",
}  # fmt: skip
_PERCENTILE = re.compile(r"(stat_p|ih_p|ivh_v|ivh_i|ivh_diff_v|ivh_diff_i)\d.*")
"""Codes whose generator in mirp makes several percentiles under one name."""


@dataclass(frozen=True)
class Features:
    """names and values (float64) in the order of `feature_names`; NaN where a feature has no value.

    undefined: why, for each name whose value is NaN.
    record: what was done to the image and the mask.
    """

    names: tuple[str, ...]
    values: np.ndarray
    undefined: Mapping[str, str] = field(default_factory=dict)
    record: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, float]:
        """Value by name."""
        return dict(zip(self.names, self.values.tolist(), strict=True))


def feature_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """`family_Feature`, then `log-3mm_family_Feature` and `wavelet-LLH_family_Feature`; mirp is not needed.

    >>> names = feature_names(PRESETS["ct"])
    >>> len(names), names[0], names[-1]
    (352, 'shape_MeshVolume', 'wavelet-HHH_firstorder_TotalEnergy')
    """
    plain = tuple(names_of(settings.families).values())
    filtered = tuple(names_of(settings.filtered).values())
    return plain + tuple(f"{tag}_{name}" for tag in _filter_tags(settings) for name in filtered)


def features(
    volume: Volume,
    mask: Volume,
    settings: RadiomicsSettings = PRESETS["ct"],
    *,
    label: int | None = None,
) -> Features:
    """Features of the region that `mask` marks in `volume`.

    volume: (I, J, K), HU for CT. mask: on the same voxels; 0 is background. label: the value that marks the
        region, or 0 for every value but 0; needed where the mask holds several.

    mirp keeps matrices in global caches, so that threads take turns; use processes to go faster.
    Raises InputMismatch: mask of another geometry, empty, of several labels, of one voxel, gone after
        resampling or resegmentation; a 4D or sheared volume; values that are not finite; bins of fixed width
        without a place to begin. Raises MissingExtra without mirp.
    """
    require("mirp", extra=EXTRA)
    found = region(volume, mask, label)
    _check_bins(volume, settings)
    box, margin = _box(found, volume.spacing_mm, settings)
    shift = _grid_shift(found.shape, box, volume.spacing_mm, settings.resample_mm)
    array = volume.array[box].astype(np.float64)
    found = found[box]
    if not np.isfinite(array).all():
        raise InputMismatch(
            f"{_where(volume)} holds values that are not finite near the mask. Export it from its source"
        )
    array = _normalised(array, volume, settings)
    is_ct = volume.unit == "HU" and settings.normalise == "none"
    with _ONE_AT_A_TIME, _quiet(), threadpool_limits(1):
        computed, facts = _compute(array, found, volume.spacing_mm, shift, settings, is_ct, _where(volume))
    names = feature_names(settings)
    values = np.array([computed[name] for name in names], dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    undefined = {n: _reason(n, facts) for n, v in zip(names, values, strict=True) if np.isnan(v)}
    return Features(names, values, undefined, _record(settings, facts, margin, found))


def _where(volume: Volume) -> str:
    return volume.source or "the volume"


def _check_bins(volume: Volume, settings: RadiomicsSettings) -> None:
    """Bins of fixed width need a lower edge that is the same for every patient."""
    if settings.bin_width is None or settings.bin_origin == "minimum":
        return
    if not set(settings.families) & set(BINNED):
        return
    if settings.resegment is not None and settings.resegment[0] is not None:
        return
    if volume.unit != "HU" or settings.normalise != "none":
        unit = "normalised" if settings.normalise != "none" else f"in {volume.unit}"
        raise InputMismatch(
            f"{_where(volume)} is {unit}, where bins of fixed width have no place to begin. Give a number of "
            "bins (radiomics:mr, or bin_width=none,bin_number=32), or a range (resegment=LOW+HIGH). If it is "
            "CT, say so: `modality: CT` in cohort.yaml"
        )


def _normalised(array: np.ndarray, volume: Volume, settings: RadiomicsSettings) -> np.ndarray:
    """`array`, a part of the volume, z-scored with mean and deviation of the whole where settings say so."""
    if settings.normalise != "none":
        whole = volume.array[volume.array != 0] if settings.normalise == "nonzero" else volume.array
        mean, spread = float(np.mean(whole, dtype=np.float64)), float(np.std(whole, dtype=np.float64))
        if not 0 < spread < np.inf:
            raise InputMismatch(
                f"{_where(volume)} cannot be normalised: its values are constant or not finite. Leave it out"
            )
        array = (array - mean) / spread
    return array * settings.scale


def _box(
    found: np.ndarray, spacing: np.ndarray, settings: RadiomicsSettings
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Slices around the mask wide enough that spline and filters do not notice the crop; the margin."""
    reach_mm = LOG_TRUNCATE * max(settings.log_mm, default=0.0)
    if settings.wavelet:
        reach_mm = max(reach_mm, _wavelet_length(settings.wavelet) * (settings.resample_mm or max(spacing)))
    margin = MARGIN_VOXELS + np.ceil(reach_mm / spacing).astype(int)
    used = [np.flatnonzero(found.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    low = [max(int(axis[0]) - m, 0) for axis, m in zip(used, margin, strict=True)]
    high = [int(axis[-1]) + m + 1 for axis, m in zip(used, margin, strict=True)]
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), margin


def _grid_shift(
    shape: tuple[int, ...], box: tuple[slice, ...], spacing: np.ndarray, new_mm: float | None
) -> np.ndarray:
    """Fraction of a new voxel by which the crop's grid is moved, so that it is a part of the whole image's.

    mirp centres the new grid on the image (IBSI); centred on a crop, it would depend on the margin.
    """
    if new_mm is None:
        return np.zeros(3)
    step = new_mm / spacing  # a new voxel in old ones
    low = np.array([part.start for part in box], dtype=float)
    size = np.array([min(part.stop, n) - part.start for part, n in zip(box, shape, strict=True)])
    apart = (_grid_start(np.array(shape), step) - low - _grid_start(size, step)) / step
    apart -= np.floor(apart)
    return np.where(np.isclose(apart, 1.0, atol=1e-9), 0.0, apart)


def _grid_start(size: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Where mirp puts the first new voxel, in old voxels."""
    return np.asarray(0.5 * (size - 1.0) - 0.5 * (np.ceil(size / step) - 1.0) * step)


def _wavelet_length(name: str) -> int:
    pywt: Any = require("pywt", extra=EXTRA)
    try:
        return int(pywt.Wavelet(name).dec_len)
    except ValueError as cause:
        raise InputMismatch(
            f"radiomics: no wavelet {name!r}. Use one of PyWavelets, such as coif1"
        ) from cause


def _filter_tags(settings: RadiomicsSettings) -> list[str]:
    """Names of the filtered images, in the order in which mirp makes them."""
    bands = WAVELET_BANDS if settings.wavelet else ()
    return [f"log-{sigma:g}mm" for sigma in settings.log_mm] + [f"wavelet-{band}" for band in bands]


def _compute(
    array: np.ndarray, found: np.ndarray, spacing: np.ndarray, shift: np.ndarray,
    settings: RadiomicsSettings, is_ct: bool, where: str,
) -> tuple[dict[str, float], dict[str, Any]]:  # fmt: skip
    """Value by name, and facts about the region as it was measured."""
    workflow, mirp_settings = _workflow(array, found, spacing, shift, settings, is_ct)
    tags = iter(_filter_tags(settings))
    crop = _mirp("mirp._image_processing.cropping").crop
    around_mm = PEAK_REACH_MM if "localintensity" in (*settings.families, *settings.filtered) else 0.0
    computed: dict[str, float] = {}
    facts: dict[str, Any] = {}
    for number, (image, (mask,)) in enumerate(workflow.standard_image_processing()):
        image, mask = crop(image, mask, boundary=around_mm)  # filters are done: features need the mask only
        if number == 0:
            facts = _facts(image, mask, settings, where, int(found.sum()))
            names = names_of(settings.families)
            computed |= _values(image, mask, mirp_settings.feature_extr, names)
        else:
            tag = next(tags)
            values = _values(
                image, mask, mirp_settings.img_transform.feature_settings, names_of(settings.filtered)
            )
            computed |= {f"{tag}_{name}": value for name, value in values.items()}
    return computed, facts


def _values(image: Any, mask: Any, mirp_settings: Any, names: Mapping[str, str]) -> dict[str, float]:
    """mirp's features by our names; those that share a matrix are computed one after the other."""
    generator: Any = require("mirp._features.feature_generator", extra=EXTRA)
    asked = dict.fromkeys(_PERCENTILE.sub(r"\1", code) for code in names)
    made = generator.generate_features(mirp_settings, features=list(asked))
    wanted = [feature for feature in made if feature.abbr_name in names]
    previous = None
    for feature in wanted:
        feature.compute(image=image, mask=mask)
        if previous is not None:
            previous.clear_local_cache(other=feature)
        previous = feature
    for feature in wanted:
        feature.clear_cache()
    return {names[feature.abbr_name]: float(feature.value) for feature in wanted}


def _workflow(
    array: np.ndarray, found: np.ndarray, spacing: np.ndarray, shift: np.ndarray,
    settings: RadiomicsSettings, is_ct: bool,
) -> tuple[Any, Any]:  # fmt: skip
    """mirp's extraction of one image with one mask, ready to run, and its settings."""
    images, masks, workflows, generic = (_mirp(name) for name in _MIRP_MODULES)
    geometry: dict[str, Any] = {
        "image_spacing": tuple(float(mm) for mm in spacing[::-1]),
        "image_origin": (0.0, 0.0, 0.0),
        "image_orientation": np.eye(3),
        "image_dimensions": array.shape[::-1],
        "sample_name": "",  # never a patient's name: mirp writes it to its log
    }
    image = images.GenericImage(
        image_data=np.ascontiguousarray(array.T), image_modality="ct" if is_ct else "generic", **geometry
    )
    image.associated_masks = [
        masks.BaseMask(
            roi_name="region", image_data=np.ascontiguousarray(found.T), image_modality="generic", **geometry
        )
    ]
    mirp_settings = generic.SettingsClass(**_arguments(settings, is_ct))
    mm = settings.resample_mm
    workflow = workflows.StandardWorkflow(
        image_file=image, settings=mirp_settings, export_features=True, write_dir=None,
        new_image_spacing=None if mm is None else (mm, mm, mm),
        translation=tuple(float(part) for part in shift[::-1]),
    )  # fmt: skip
    return workflow, mirp_settings


_MIRP_MODULES = (
    "mirp._images.generic_image", "mirp._masks.base_mask", "mirp._workflows.standardWorkflow",
    "mirp.settings.generic",
)  # fmt: skip


def _mirp(name: str) -> ModuleType:
    return require(name, extra=EXTRA)


def _arguments(settings: RadiomicsSettings, is_ct: bool) -> dict[str, Any]:
    """Our settings in mirp's words."""
    merged = "3d_volume_merge" if settings.aggregation == "merge" else "3d_average"
    low, high = settings.resegment or (None, None)
    arguments: dict[str, Any] = {
        "ibsi_compliant": False,  # only widens the choice: bins from the minimum, total energy
        "base_feature_families": [_MIRP_FAMILY[family] for family in settings.families],
        "glcm_spatial_method": merged,
        "glrlm_spatial_method": merged,
        "resegmentation_sigma": settings.resegment_sigma,
    }
    if settings.resample_mm is not None:
        arguments["new_spacing"] = [settings.resample_mm] * 3
    if low is not None or high is not None:
        arguments["resegmentation_intensity_range"] = [
            float("nan") if low is None else float(low), float("nan") if high is None else float(high),
        ]  # fmt: skip
    if settings.bin_number is not None:
        arguments |= {
            "base_discretisation_method": "fixed_bin_number",
            "base_discretisation_n_bins": settings.bin_number,
        }
    else:
        minimum = settings.bin_origin == "minimum"
        arguments |= {
            "base_discretisation_method": "fixed_bin_size_pyradiomics" if minimum else "fixed_bin_size",
            "base_discretisation_bin_width": float(settings.bin_width or 0),
        }
    kernels = []
    if settings.log_mm:
        kernels.append("laplacian_of_gaussian")
        arguments |= {
            "laplacian_of_gaussian_sigma": list(settings.log_mm),
            "laplacian_of_gaussian_kernel_truncate": LOG_TRUNCATE,
        }
    if settings.wavelet:
        kernels.append("separable_wavelet")
        arguments |= {
            "separable_wavelet_families": settings.wavelet,
            "separable_wavelet_set": [band.lower() for band in WAVELET_BANDS],
            "separable_wavelet_rotation_invariance": False,
        }
    if kernels:
        arguments |= {
            "filter_kernels": kernels,
            "response_map_feature_families": [_MIRP_FAMILY[family] for family in settings.filtered],
            "response_map_discretisation_method": "fixed_bin_number",
            "response_map_discretisation_n_bins": FILTERED_BINS,
        }
    return arguments


def _facts(image: Any, mask: Any, settings: RadiomicsSettings, where: str, before: int) -> dict[str, Any]:
    """Voxels of the region as measured; refuses one that resampling or resegmentation has emptied."""
    shape = mask.roi_morphology.get_voxel_grid()
    if shape.sum() < 2:
        raise InputMismatch(
            f"{where}: the mask has {before} voxels, {int(shape.sum())} after resampling to "
            f"{settings.resample_mm:g} mm. Use native voxels (resample_mm=none) or leave the lesion out"
        )
    intensity = mask.roi_intensity.get_voxel_grid()
    if intensity.sum() < 2:
        raise InputMismatch(
            f"{where}: {int(intensity.sum())} of the mask's {int(shape.sum())} voxels have values within "
            f"{settings}. Widen resegment, or check that the image is in the unit that it means"
        )
    values = image.get_voxel_grid()[intensity]
    low, high = float(values.min()), float(values.max())
    return {
        "voxels": int(shape.sum()),
        "intensity_voxels": int(intensity.sum()),
        "low": low,
        "high": high,
        "one_bin": settings.bin_width is not None and _same_bin(low, high, settings),
        "flat": bool((np.ptp(np.argwhere(shape), axis=0) == 0).any()),
    }


def _same_bin(low: float, high: float, settings: RadiomicsSettings) -> bool:
    start = LOWEST_HU
    if settings.bin_origin == "minimum":
        start = 0.0
    elif settings.resegment is not None and settings.resegment[0] is not None:
        start = settings.resegment[0]
    width = settings.bin_width or 1.0
    return bool(np.floor((low - start) / width) == np.floor((high - start) / width))


def _reason(name: str, facts: Mapping[str, Any]) -> str:
    if facts["low"] == facts["high"]:
        return f"all {facts['intensity_voxels']} voxels have the value {facts['low']:g}"
    if facts["one_bin"] and "shape_" not in name:
        return f"all {facts['intensity_voxels']} voxels fall into one bin"
    if facts["flat"] and "shape_" in name:
        return "the mask is one voxel thick"
    return f"not defined for this region of {facts['intensity_voxels']} voxels"


def _record(
    settings: RadiomicsSettings, facts: Mapping[str, Any], margin: np.ndarray, found: np.ndarray
) -> tuple[str, ...]:
    before, after, kept = int(found.sum()), facts["voxels"], facts["intensity_voxels"]
    steps = [f"cropped to the mask and {'x'.join(map(str, margin))} voxels around it"]
    steps.append(
        f"mask of {before} voxels"
        + (f", {after} at {settings.resample_mm:g} mm" if settings.resample_mm else "")
    )
    if kept != after:
        steps.append(f"{after - kept} voxels outside the value range left out of intensity features")
    return (*steps, str(settings))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep mirp off the terminal and leave the root logger as it was.

    mirp calls `logging.basicConfig(level=INFO, stream=stdout)`, which does nothing while a handler is there,
    and logs to the root logger.
    """
    root = logging.getLogger()
    handler = logging.NullHandler()

    def foreign(record: logging.LogRecord) -> bool:
        return "mirp" not in record.pathname.replace("\\", "/").split("/")

    root.addHandler(handler)
    root.addFilter(foreign)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(foreign)
        root.removeHandler(handler)
