"""An encoder that is loaded: it checks an image, prepares it, and turns batches into vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from radfoundry.encoders.card import EncoderCard
from radfoundry.errors import InputMismatch
from radfoundry.preprocess import recipe as recipes
from radfoundry.preprocess.volume_recipe import VolumeRecipe, Window
from radfoundry.types import Image, Volume

if TYPE_CHECKING:
    import numpy as np

    from radfoundry.preprocess.lesion import Lesion

CODE_VERSION = 2
"""Raised whenever a change here, in `preprocess.recipe` or in how `io` reads would change an embedding."""

_UNSTATED_MODALITY = ("", "OT")


@dataclass(frozen=True)
class Backend:
    """A network ready to run. forward: (B, C, H, W) float32 -> (B, dim) float32.

    For volumes (B, C, *size); for a bag of slices one bag at a time, (slices, C, H, W) -> (1, dim).

    engine: what runs it and in which precision, for the manifest ("OpenVINO bf16", "torch fp32 on cpu").
    weights: SHA-256 of the weights (for random ones, of the recipe that made them).
    revision: the commit that was resolved, where the source has commits.
    verified: whether the weights were checked against the card's checksum.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    engine: str
    weights: str
    revision: str = ""
    verified: bool = False


@dataclass(frozen=True)
class Encoder:
    """card: what it is. fingerprint: changes when a vector could. provenance: for the manifest."""

    card: EncoderCard
    backend: Backend
    fingerprint: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.card.dim

    @property
    def keeps_nan(self) -> bool:
        """A vector with NaN is a fault of the engine, never stored."""
        return False

    def check(self, image: Image | Volume) -> tuple[str, ...]:
        """Hold an image against the input contract: raises InputMismatch, or returns what to note."""
        return check_input(self.card, image)

    def prepare(self, image: Image | Volume, lesion: Lesion | None = None) -> np.ndarray:
        """The model's input, (C, H, W) float32 or `VolumeRecipe.shape`, after the contract was checked."""
        return self.prepared(image, lesion)[0]

    def prepared(
        self, image: Image | Volume, lesion: Lesion | None = None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """The model's input, and what the contract's check and the preparation have to say."""
        notes = self.check(image)
        recipe = self.card.recipe
        if isinstance(recipe, VolumeRecipe):
            from radfoundry.preprocess import volume_input

            assert isinstance(image, Volume)  # check() refused anything else
            array, said = volume_input.apply(image, recipe, lesion)
            return array, (*notes, *said)
        assert isinstance(image, Image)
        return recipes.apply(image, recipe), notes

    def encode(self, batch: np.ndarray) -> np.ndarray:
        """(B, C, H, W) float32, or (B, *VolumeRecipe.shape), -> (B, dim) float32."""
        import numpy as np

        recipe = self.card.recipe
        if isinstance(recipe, VolumeRecipe):
            return self._encode_volumes(batch, recipe)
        expected = (recipe.channels, recipe.input_size, recipe.input_size)
        if batch.ndim != 4 or batch.shape[1:] != expected:
            raise InputMismatch(
                f"{self.card.name} takes batches of {expected} (channels, rows, columns), not "
                f"{batch.shape[1:]}. Make them with encoder.prepare(image)."
            )
        return self._forward(np.ascontiguousarray(batch, dtype=np.float32))

    def _encode_volumes(self, batch: np.ndarray, recipe: VolumeRecipe) -> np.ndarray:
        import numpy as np

        shape = recipe.shape
        fits = batch.ndim == 5 and all(s in (None, n) for s, n in zip(shape, batch.shape[1:], strict=True))
        if not fits:
            expected = ", ".join("any" if n is None else str(n) for n in shape)
            raise InputMismatch(
                f"{self.card.name} takes batches of ({expected}), not {batch.shape[1:]}. Make them with "
                "encoder.prepare(volume)."
            )
        batch = np.ascontiguousarray(batch, dtype=np.float32)
        if recipe.bag:
            return np.concatenate([self._forward(bag) for bag in batch])
        return self._forward(batch)

    def _forward(self, batch: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.ascontiguousarray(self.backend.forward(batch), dtype=np.float32)


def make_encoder(card: EncoderCard, backend: Backend) -> Encoder:
    """Put card and network together and fingerprint them."""
    identity = {
        "name": card.name,
        "revision": backend.revision or card.revision,
        "weights": backend.weights,
        "recipe": card.recipe.as_dict(),
        "output": card.output,
        "engine": backend.engine,
        "code": CODE_VERSION,
    }
    text = json.dumps(identity, sort_keys=True)
    provenance = identity | {
        "source": card.source,
        "checksum_verified": backend.verified,
        "licence": card.licence.name,
        "licence_restricted": card.licence.restricted,
    }
    return Encoder(card, backend, hashlib.sha256(text.encode()).hexdigest(), provenance)


def check_input(card: EncoderCard, image: Image | Volume) -> tuple[str, ...]:
    """Refuse what the encoder was not made for; note what is doubtful.

    Raises InputMismatch, naming the image and the way to mend it.
    """
    where = image.source or "image"
    if isinstance(image, Volume) != card.is_3d:
        raise InputMismatch(
            f"{where} is {'a picture' if card.is_3d else 'a volume'}; {card.name} takes "
            f"{'volumes' if card.is_3d else 'pictures: choose a slice by path#frame=N'}. "
            "Choose another encoder, or other images (`radfoundry encoders`)"
        )
    if image.modality in _UNSTATED_MODALITY:
        raise InputMismatch(
            f"{where} does not say its modality, and {card.name} accepts only {_listed(card.modalities)}. "
            f"State it once for the cohort: `modality: {card.modalities[0]}` in cohort.yaml."
        )
    if image.modality not in card.modalities:
        raise InputMismatch(
            f"{where} has modality {image.modality}; {card.name} was made for {_listed(card.modalities)}. "
            "Choose an encoder for this modality (`radfoundry encoders`), or mend `modality:` in cohort.yaml."
        )
    if isinstance(image, Volume):
        return _check_voxels(card, image, where)
    if image.unit == "HU" and "CT" not in card.modalities:
        raise InputMismatch(
            f"{where} is in Hounsfield units, as CT is; {card.name} was made for {_listed(card.modalities)}. "
            "Choose an encoder that accepts CT (`radfoundry encoders`)."
        )
    return (*_check_colour(card, image, where), *_check_pixels(card, image, where), *_check_intent(image))


def _check_voxels(card: EncoderCard, volume: Volume, where: str) -> tuple[str, ...]:
    import numpy as np

    recipe = card.recipe
    if volume.array.ndim != 3:
        raise InputMismatch(
            f"{where} is a 4D series {volume.array.shape}; {card.name} takes one volume. "
            "Save the one you mean"
        )
    low, high = float(volume.array.min()), float(volume.array.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN and infinity survive min and max
        raise InputMismatch(
            f"{where} holds voxels that are not finite. Replace them by the background's value"
        )
    if low == high:
        raise InputMismatch(f"{where} is constant (every voxel is {low:g}): it shows nothing. Leave it out.")
    rule = recipe.intensity if isinstance(recipe, VolumeRecipe) else None
    if not (isinstance(rule, Window) and rule.unit == "HU"):
        return ()
    if volume.modality == "CT" and (volume.unit != "HU" or low >= 0):
        raise InputMismatch(
            f"{where} is CT, but its values ({low:g} to {high:g}) are not the Hounsfield units that "
            f"{card.name} needs. Export it with rescale slope and intercept applied (air is -1000)"
        )
    return () if volume.unit == "HU" else (f"{volume.modality} read through a window made for HU",)


def _check_colour(card: EncoderCard, image: Image, where: str) -> tuple[str, ...]:
    if not image.is_colour:
        return ()
    if recipes.same_channels(image):
        return ("three equal channels read as grey",)
    if not card.colour:
        raise InputMismatch(
            f"{where} is a colour picture; {card.name} reads grey ones only. Export it without colour "
            "overlays or annotations, or use an encoder of natural images."
        )
    return ()


def _check_pixels(card: EncoderCard, image: Image, where: str) -> tuple[str, ...]:
    import numpy as np

    low, high = float(image.array.min()), float(image.array.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN and infinity survive min and max
        raise InputMismatch(f"{where} holds pixels that are not finite. Export it again from its source.")
    if low == high:
        raise InputMismatch(f"{where} is constant (every pixel is {low:g}): it shows nothing. Leave it out.")
    bottom, top = image.display_range
    if not bottom < top:
        raise InputMismatch(f"{where} has the empty display range {bottom:g} to {top:g}. Set a window.")
    if high <= bottom or low >= top:
        raise InputMismatch(
            f"{where} lies outside its display range ({low:g} to {high:g}, shown {bottom:g} to {top:g}), so "
            "it would be all black or white. Correct the window."
        )
    size, shortest = card.picture_recipe.input_size, min(image.array.shape[:2])
    if shortest * 4 < size:
        rows, columns = image.array.shape[:2]
        return (f"too small: {rows}x{columns} enlarged to {size}, the encoder sees blur",)
    return ()


def _check_intent(image: Image) -> tuple[str, ...]:
    """A note for what a detector gives before it is made fit to be looked at: encoders saw it afterwards."""
    if not image.record:
        return ()
    from radfoundry.io.picture import FOR_PROCESSING

    return (FOR_PROCESSING,) if FOR_PROCESSING in image.record else ()


def _listed(codes: tuple[str, ...]) -> str:
    return ", ".join(codes)
