"""Radiomics: numbers of a region's shape, intensities and texture, by mirp and after IBSI.

>>> from radfoundry.radiomics import PRESETS
>>> print(PRESETS["ct-plain"])
1 mm; bins of 25; shape, firstorder, histogram, glcm, glrlm, glszm, gldm, ngtdm
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from radfoundry.radiomics.settings import PRESETS, RadiomicsSettings, settings_of

if TYPE_CHECKING:
    from radfoundry.radiomics.extract import Features, feature_names, features
    from radfoundry.radiomics.masks import SIZE_NAMES, region, size_features

__all__ = [
    "PRESETS", "SIZE_NAMES", "Features", "RadiomicsSettings", "feature_names", "features", "region",
    "settings_of", "size_features",
]  # fmt: skip

_LATE = {
    "Features": "extract", "feature_names": "extract", "features": "extract", "SIZE_NAMES": "masks",
    "region": "masks", "size_features": "masks",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what needs numpy on first use."""
    if name in _LATE:
        return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
