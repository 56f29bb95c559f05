"""What is known about an encoder before it is loaded: source, licence, input contract, output, traps.

No torch here: cards are listed and printed on any machine, at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from radfoundry.errors import LicenceNotAccepted
from radfoundry.optional import available
from radfoundry.preprocess.recipe import Recipe
from radfoundry.preprocess.volume_recipe import VolumeRecipe, ZScore

RADIOGRAPH = ("CR", "DX", "RG")
"""DICOM codes of projection radiographs: computed, digital, plain film."""

RADIOLOGY_2D = ("CR", "DX", "RG", "MG", "RF", "XA", "IO", "PX", "BMD", "US", "CT", "MR", "PT", "NM")
"""DICOM codes whose single pictures an encoder of natural images may look at."""


@dataclass(frozen=True)
class Licence:
    """name is what `--accept-licence` has to say when `restricted`."""

    name: str
    allowed_use: str
    url: str
    restricted: bool = False


APACHE = Licence("Apache-2.0", "any use, with notice", "https://www.apache.org/licenses/LICENSE-2.0")
MIT = Licence("MIT", "any use, with notice", "https://opensource.org/license/mit")
BSD3 = Licence("BSD-3-Clause", "any use, with notice", "https://opensource.org/license/bsd-3-clause")
CC_BY_NC = Licence(
    "CC-BY-NC-4.0", "non-commercial use with attribution",
    "https://creativecommons.org/licenses/by-nc/4.0/", restricted=True,
)  # fmt: skip
MSRLA = Licence(
    "MSRLA", "research only; not for clinical or commercial use",
    "https://huggingface.co/microsoft/rad-dino-maira-2", restricted=True,
)  # fmt: skip
HAI_DEF = Licence(
    "HAI-DEF", "research and products under Google's Health AI Developer Foundations terms; "
    "prohibited uses apply", "https://developers.google.com/health-ai-developer-foundations/terms",
    restricted=True,
)  # fmt: skip
UNSTATED = Licence("unstated", "unknown: read the model's own page before use", "")


@dataclass(frozen=True)
class EncoderCard:
    """Everything that must be known to use an encoder honestly.

    source: "package:NAME", "hf-hub:ORG/NAME", "url:...", "local:..." or "none" (controls).
    revision: branch, tag or commit; the resolved commit and the weights' digest go into the fingerprint.
    checksum: SHA-256 of `weights_file`, whole or its first digits as published; "" when none is published.
    modalities: DICOM codes the encoder may be shown; anything else is refused.
    recipe: a Recipe for pictures, a VolumeRecipe for volumes (which also says whether a lesion is needed).
    colour: whether colour pictures are accepted (grey ones always are).
    photometric: what bright must mean; images are handed over as MONOCHROME2.
    output: which tensor is the embedding. dim: its length.
    needs: modules to import; extra: the extra that installs them.
    architecture: sizes of the network, enough to build it with random weights.
    """

    name: str
    title: str
    source: str
    licence: Licence
    modalities: tuple[str, ...]
    recipe: Recipe | VolumeRecipe
    output: str
    dim: int
    citation: str
    traps: tuple[str, ...]
    revision: str = "main"
    weights_file: str = ""
    checksum: str = ""
    photometric: str = "MONOCHROME2: bright is dense (MONOCHROME1 is inverted on reading)"
    colour: bool = False
    needs: tuple[str, ...] = ()
    extra: str = ""
    architecture: Mapping[str, Any] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether every module it needs can be imported; nothing is imported to find out."""
        return all(available(module) for module in self.needs)

    @property
    def weights_at_hand(self) -> bool:
        """Whether the weights need no download: packaged, or no weights at all."""
        return self.source == "none" or (self.source.startswith("package:") and self.installed)

    @property
    def is_3d(self) -> bool:
        """Whether it is shown volumes rather than pictures."""
        return isinstance(self.recipe, VolumeRecipe)

    @property
    def picture_recipe(self) -> Recipe:
        """The recipe of an encoder of pictures; TypeError for one of volumes."""
        if isinstance(self.recipe, VolumeRecipe):
            raise TypeError(f"{self.name} takes volumes, not pictures")
        return self.recipe

    @property
    def needs_lesion(self) -> bool:
        """Whether each case has to point out a lesion, by `roi_x|y|z` or a mask."""
        return isinstance(self.recipe, VolumeRecipe) and self.recipe.needs_lesion

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, with what is installed."""
        record = asdict(self)
        record["architecture"] = dict(self.architecture)
        record["recipe"] = self.recipe.as_dict()
        size = self.recipe.size if isinstance(self.recipe, VolumeRecipe) else self.recipe.input_size
        record["input"] = {
            "size": size,
            "channels": self.recipe.channels,
            "range": value_range(self.recipe),
            "volume": self.is_3d,
            "lesion": self.needs_lesion,
        }
        return record | {"installed": self.installed, "weights_at_hand": self.weights_at_hand}


def value_range(recipe: Recipe | VolumeRecipe) -> tuple[float, float] | None:
    """Smallest and largest value the model can receive (before bicubic overshoot); None: no fixed range."""
    if isinstance(recipe, VolumeRecipe):
        rule = recipe.intensity
        return rule.out if not isinstance(rule, ZScore) and rule.clip else None
    if recipe.value_range is not None:
        return recipe.value_range
    pairs = list(zip(recipe.mean or (), recipe.std or (), strict=True))
    return round(min(-m / s for m, s in pairs), 3), round(max((1 - m) / s for m, s in pairs), 3)


def require_licence(card: EncoderCard, accepted: Sequence[str]) -> None:
    """Refuse a restricted licence that is not among `accepted` by its exact name."""
    licence = card.licence
    if not licence.restricted or licence.name in accepted:
        return
    raise LicenceNotAccepted(
        f"{card.name} is under a restricted licence, {licence.name}: {licence.allowed_use}. "
        f"Read {licence.url}; if your use fits, pass --accept-licence {licence.name} "
        f"(Python: accept_licences=[{licence.name!r}]). The acceptance is written to the run's manifest."
    )


def input_text(recipe: Recipe | VolumeRecipe) -> str:
    """The shape of what the model receives, as short text: 224x224x3, 1x50x50x50, (slices)x3x224x224."""
    if isinstance(recipe, Recipe):
        return f"{recipe.input_size}x{recipe.input_size}x{recipe.channels}"
    if recipe.size is None and not recipe.bag:
        return f"{recipe.channels}x(any size)"
    lengths = ["any" if n is None else str(n) for n in recipe.shape]
    if recipe.bag and recipe.shape[0] is None:
        lengths[0] = "(slices)"
    return "x".join(lengths)
