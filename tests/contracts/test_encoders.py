"""One contract for every encoder card: complete, loadable, deterministic, gated, printable."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import radfoundry.encoders as encoders
from radfoundry.cli.main import main
from radfoundry.encoders.card import EncoderCard
from radfoundry.encoders.catalogue import random_twin
from radfoundry.encoders.huggingface import UNPINNED
from radfoundry.errors import InputMismatch, LicenceNotAccepted, WeightsError
from radfoundry.preprocess.lesion import Lesion
from radfoundry.preprocess.volume_recipe import VolumeRecipe
from radfoundry.types import Image, Volume
from tests.encoders.tiny import chest, small_card, write_weights
from tests.encoders.tiny_volumes import scan

NAMES = encoders.names()
RESTRICTED = [n for n in NAMES if encoders.card(n).licence.restricted]
LESION = Lesion((0.0, 0.0, 0.0), "point")
LEARNED = [n for n in NAMES if encoders.card(n).source != "none"]


def load(card: EncoderCard, folder: Path, *, seed: int = 0) -> encoders.Encoder:
    if card.source.startswith("package:") and not card.installed:
        pytest.skip(f"{card.source} is not installed")
    weights = write_weights(card, folder, seed=seed)
    return encoders.load(
        card, weights=weights, accept_licences=[card.licence.name], precision="fp32", seed=seed
    )


def shape_of(card: EncoderCard) -> tuple[int | None, ...]:
    """What the model receives, without the batch; None is any length."""
    if isinstance(card.recipe, VolumeRecipe):
        return card.recipe.shape
    return card.recipe.channels, card.recipe.input_size, card.recipe.input_size


def picture(card: EncoderCard, *, seed: int = 0, modality: str | None = None) -> Image | Volume:
    """An image of the kind and modality the card takes."""
    modality = card.modalities[0] if modality is None else modality
    if not card.is_3d:
        return chest(seed=seed, modality=modality)
    return replace(scan(seed=seed, modality=card.modalities[0]), modality=modality)


def prepared(encoder: encoders.Encoder, *, seed: int = 0) -> np.ndarray:
    return encoder.prepare(picture(encoder.card, seed=seed), LESION if encoder.card.needs_lesion else None)


def test_the_catalogue_holds_what_is_promised() -> None:
    promised = {
        "rad-dino", "rad-dino-maira-2", "medsiglip", "clip-vit-b16", "resnet50", "mobilenet-v2", "biomedclip",
        "torchxrayvision-densenet121-all", "efficientnet-lite0", "dinov2-s-focus", "raw-pixels",
        "random-projection", *(f"dinov2-{s}" for s in ("small", "base", "large", "giant")),
    }  # fmt: skip
    assert promised <= set(NAMES)
    assert sum(n.startswith(("xrayclip-", "xraysiglip-")) for n in NAMES) == 8


@pytest.mark.parametrize("name", NAMES)
def test_card_is_complete(name: str) -> None:
    card = encoders.card(name)
    kind, _, rest = card.source.partition(":")
    assert kind in ("none", "package", "hf-hub", "url") and bool(rest) == (kind != "none")
    for text in (card.title, card.output, card.citation, card.revision, card.photometric):
        assert text.strip()
    assert card.licence.name and card.licence.allowed_use and card.licence.url.startswith("https://")
    assert card.dim > 0 and card.modalities and all(n is None or n > 0 for n in shape_of(card))
    assert card.traps and all(t.strip() for t in card.traps)
    assert kind != "package" or len(card.checksum) == 64
    assert not card.needs or card.extra
    assert kind != "hf-hub" or re.fullmatch("[0-9a-f]{40}", card.revision) or UNPINNED in card.traps


@pytest.mark.parametrize("name", NAMES)
def test_output_matches_the_card_and_repeats(name: str, tmp_path: Path) -> None:
    card = small_card(name)
    encoder = load(card, tmp_path)
    batch = np.stack([prepared(encoder, seed=s) for s in (0, 1, 2)])
    expected = shape_of(card)
    assert batch.ndim == len(expected) + 1 and batch.dtype == np.float32
    assert all(s in (None, n) for s, n in zip(expected, batch.shape[1:], strict=True))
    z = encoder.encode(batch)
    assert z.shape == (3, card.dim) and z.dtype == np.float32
    assert np.isfinite(z).all() and np.abs(z[0] - z[1]).max() > 1e-6
    assert np.array_equal(z, encoder.encode(batch))
    assert np.allclose(z[2], encoder.encode(batch[2:])[0], rtol=1e-3, atol=1e-4), "the batch must not matter"


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint_changes_with_weights_and_recipe(name: str, tmp_path: Path) -> None:
    card = small_card(name)
    first = load(card, tmp_path / "a")
    assert load(card, tmp_path / "b").fingerprint == first.fingerprint
    if isinstance(card.recipe, VolumeRecipe):
        moved = replace(card, recipe=replace(card.recipe, pad_value=0.5))
    else:
        moved = replace(card, recipe=replace(card.recipe, interpolation="box", antialias=True))
    if moved.recipe != card.recipe:
        assert load(moved, tmp_path / "c").fingerprint != first.fingerprint
    if name == "dinov2-s-focus":
        other = encoders.load(f"random:{name}")
    else:
        other = load(card, tmp_path / "d", seed=1)
    assert (other.fingerprint != first.fingerprint) == (name != "raw-pixels")
    assert first.provenance["weights"] and first.provenance["licence"] == card.licence.name


@pytest.mark.parametrize("name", RESTRICTED)
def test_restricted_licence_is_refused_until_named(name: str) -> None:
    card = encoders.card(name)
    for accepted in ([], ["yes"], [card.licence.name.lower()]):
        with pytest.raises(LicenceNotAccepted) as refusal:
            encoders.load(name, accept_licences=accepted)
    text = str(refusal.value)
    assert card.licence.url in text and card.licence.allowed_use in text
    assert f"--accept-licence {card.licence.name}" in text


@pytest.mark.parametrize("name", [n for n in RESTRICTED if encoders.card(n).source.startswith("hf-hub:")])
def test_a_known_address_keeps_its_licence(name: str) -> None:
    with pytest.raises(LicenceNotAccepted):
        encoders.load(f"{encoders.card(name).source}@main")


@pytest.mark.parametrize("name", LEARNED)
def test_random_twin_has_the_shape_and_depends_on_the_seed(name: str) -> None:
    card = random_twin(small_card(name))
    twins = [encoders.load(card, seed=seed, precision="fp32") for seed in (0, 0, 1)]
    batch = np.stack([prepared(twins[0])])
    a, b, c = (twin.encode(batch) for twin in twins)
    assert a.shape == (1, card.dim)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert twins[0].fingerprint == twins[1].fingerprint != twins[2].fingerprint
    assert not twins[0].provenance["licence_restricted"]


@pytest.mark.parametrize("name", NAMES)
def test_foreign_modality_is_refused(name: str) -> None:
    from radfoundry.encoders.encoder import check_input

    card = encoders.card(name)
    with pytest.raises(InputMismatch, match="EEG"):
        check_input(card, picture(card, modality="EEG"))
    with pytest.raises(InputMismatch, match=r"modality: \w+` in cohort.yaml"):
        check_input(card, picture(card, modality=""))


@pytest.mark.parametrize("name", NAMES)
def test_info_prints_the_card(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "info", name]) == 0
    text = capsys.readouterr().out
    card = encoders.card(name)
    assert name in text and card.licence.name in text and str(card.dim) in text
    assert all(trap.split()[0] in text for trap in card.traps)


@pytest.mark.parametrize(
    "name", [n for n in LEARNED if encoders.card(n).source.startswith(("url:", "hf-hub:"))]
)
def test_missing_weights_say_how_to_bring_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        encoders.load(name, weights=tmp_path / "nowhere", accept_licences=[encoders.card(name).licence.name])
