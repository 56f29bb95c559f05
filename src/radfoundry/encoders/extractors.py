"""Features of a lesion that no network makes, by name: `radiomics[:SETTINGS]` and `lesion-size`.

They are stored, read and compared as embeddings are. A card says what they are; nothing heavy is imported
until one is loaded.

>>> [card(name).dim for name in names()]
[3, 352]
>>> card("radiomics:mr").dim, card("radiomics:ct-plain,families=shape").dim
(143, 23)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from radfoundry.encoders.card import APACHE, Licence
from radfoundry.errors import RadfoundryError, UnknownName
from radfoundry.optional import available, require
from radfoundry.radiomics.settings import PRESETS, RadiomicsSettings, settings_of
from radfoundry.registry import nearest

if TYPE_CHECKING:
    import numpy as np

    from radfoundry.encoders.extract import Extractor
    from radfoundry.types import Volume

CODE_VERSION = 1
"""Raised whenever a change in `radfoundry.radiomics` would change a number."""

EUPL = Licence(
    "EUPL-1.2", "any use; whoever passes on a changed mirp passes on its source",
    "https://joinup.ec.europa.eu/collection/eupl/eupl-text-eupl-12",
)  # fmt: skip

TRAPS = (
    "volume hides in most features: compare with lesion-size before crediting texture",
    "segmentation, slice thickness, kernel and contrast change textures more than many diseases do",
    "MR has no units: use radiomics:mr, and do not mix scanners without harmonising inside the folds",
    "bins of 25 HU begin at -1000 HU (IBSI), those of pyradiomics below each lesion's minimum",
    "names equal those of pyradiomics only where the definitions do; kurtosis and axis lengths differ",
    "hundreds of correlated features on few patients: choose features inside the folds",
)  # fmt: skip


@dataclass(frozen=True)
class ExtractorCard:
    """recipe: what is done, in a line. output: what the numbers are. dim: how many.

    needs: modules to import; extra: the extra that installs them.
    """

    name: str
    title: str
    licence: Licence
    modalities: tuple[str, ...]
    recipe: str
    output: str
    dim: int
    citation: str
    traps: tuple[str, ...]
    needs: tuple[str, ...] = ()
    extra: str = ""

    @property
    def installed(self) -> bool:
        """Whether every module it needs can be imported; nothing is imported to find out."""
        return all(available(module) for module in self.needs)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, with what is installed."""
        return asdict(self) | {"source": "none", "installed": self.installed, "weights_at_hand": True}


@dataclass(frozen=True)
class Radiomics:
    """(volume, mask) to the features of `settings`, in the order of `feature_names`; NaN where undefined."""

    settings: RadiomicsSettings

    def __call__(self, volume: Volume, mask: Volume | None) -> np.ndarray:
        from radfoundry.radiomics.extract import features

        assert mask is not None  # `Extractor.needs_mask`
        return features(volume, mask, self.settings).values


def lesion_size(volume: Volume, mask: Volume | None) -> np.ndarray:
    """(volume, mask) to mm3, its logarithm and the largest diameter."""
    from radfoundry.radiomics.masks import size_features

    assert mask is not None  # `Extractor.needs_mask`
    return size_features(volume, mask)


def names() -> list[str]:
    """Names that `card` and `load` know; `radiomics` may be followed by `:SETTINGS`."""
    return ["lesion-size", "radiomics"]


def is_extractor(name: str) -> bool:
    """Whether a name is one of these, and not an encoder's.

    >>> is_extractor("radiomics:mr"), is_extractor("raw-pixels")
    (True, False)
    """
    return name.partition(":")[0] in names()


def card(name: str) -> ExtractorCard:
    """What is known of an extractor. Raises UnknownName, and RadfoundryError for settings that are wrong."""
    head, settings = _parsed(name)
    if settings is None:
        return ExtractorCard(
            "lesion-size", "Size of the lesion alone (control)", APACHE, ("any 3D with a mask",),
            "voxels of the mask times their volume; corners of voxels that lie farthest apart",
            "volume in mm3, its natural logarithm, largest diameter in mm", 3, "none: a baseline",
            ("whatever does not beat it has found how large the lesion is",),
        )  # fmt: skip
    from radfoundry.radiomics.names import names_of

    filters = len(settings.log_mm) + (8 if settings.wavelet else 0)
    dim = len(names_of(settings.families)) + filters * len(names_of(settings.filtered))
    return ExtractorCard(
        head, "Radiomics by mirp, IBSI-conformant", EUPL, ("any 3D with a mask",), str(settings),
        "features named family_Feature, those of filtered images log-3mm_family_Feature and so on", dim,
        "Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145; mirp: doi:10.21105/joss.06413", TRAPS,
        ("mirp",), "radiomics",
    )  # fmt: skip


def load(name: str) -> Extractor:
    """An extractor for `encoders.extract.extract`.

    Raises UnknownName, RadfoundryError for wrong settings, MissingExtra without mirp.
    """
    from radfoundry.encoders.extract import Extractor
    from radfoundry.radiomics.extract import feature_names
    from radfoundry.radiomics.masks import SIZE_NAMES

    head, settings = _parsed(name)
    if settings is None:
        return Extractor(head, SIZE_NAMES, lesion_size, {"code": CODE_VERSION})
    require("mirp", extra="radiomics")
    about = {"code": CODE_VERSION, "mirp": version("mirp")}
    return Extractor(
        head, feature_names(settings), Radiomics(settings), about | settings.as_dict(), missing=True
    )


def _parsed(name: str) -> tuple[str, RadiomicsSettings | None]:
    """The name as the store has it, and the settings; None for an extractor without any."""
    head, colon, text = name.replace(" ", "").partition(":")
    if head not in names():
        raise UnknownName(f"no extractor named {head!r}.{nearest(head, names())} Known: {', '.join(names())}")
    if head == "lesion-size":
        if text:
            raise RadfoundryError(f"lesion-size has no settings, but {text!r} was given. Write lesion-size")
        return head, None
    if colon and not text:
        raise RadfoundryError(f"radiomics: no settings behind the colon. Presets: {', '.join(PRESETS)}")
    settings = settings_of(text or "ct")
    return ("radiomics" if settings == PRESETS["ct"] else f"radiomics:{text}"), settings
