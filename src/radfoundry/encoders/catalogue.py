"""Which encoders exist, and how an id becomes a loaded encoder.

A family file holds cards and one builder, and registers them here. Ids: a card's name, `random:NAME` (its
randomly initialised twin), `hf-hub:org/name@revision`, `local:/path`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

from radfoundry.encoders.card import APACHE, EncoderCard, require_licence
from radfoundry.encoders.encoder import Backend, Encoder, make_encoder
from radfoundry.encoders.weights import existing
from radfoundry.errors import RadfoundryError, WeightsError
from radfoundry.registry import Registry

Precision = Literal["auto", "fp32", "bf16", "openvino"]

FAMILIES = (
    "controls", "dinov2_focus", "efficientnet", "huggingface", "torchxrayvision", "resnet", "mobilenet",
    "biomedclip", "astra", "fmcib", "ct_fm", "merlin", "vista3d", "models_genesis", "medicalnet",
    "brainiac", "umedpt", "resnet3d",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What a builder is asked for.

    weights: a local file or folder, else the card's source is used. random: no weights, drawn from `seed`.
    """

    card: EncoderCard
    weights: Path | None = None
    revision: str | None = None
    device: str = "cpu"
    precision: Precision = "auto"
    seed: int = 0
    random: bool = False


Builder = Callable[[Request], Backend]


@dataclass(frozen=True)
class Entry:
    """A card and the function that builds its network."""

    card: EncoderCard
    build: Builder


_registry: Registry[Entry] = Registry("encoder", "radfoundry.encoders")


def register(*cards: EncoderCard) -> Callable[[Builder], Builder]:
    """Decorate a family's builder with the cards it can build."""

    def decorate(build: Builder) -> Builder:
        for item in cards:
            _registry.add(item.name, Entry(item, build))
        return build

    return decorate


def names() -> list[str]:
    """Every short name, sorted."""
    return list(_families())


def cards() -> list[EncoderCard]:
    """Every card, in the order of its short name."""
    return [_families().get(name).card for name in _families()]


def card(name: str) -> EncoderCard:
    """The card of a short name, or of `random:NAME`; UnknownName suggests the nearest."""
    if name.startswith("random:"):
        return random_twin(card(name.removeprefix("random:")))
    return _families().get(name).card


def load(
    encoder: str | EncoderCard,
    *,
    weights: str | Path | None = None,
    revision: str | None = None,
    device: str = "cpu",
    precision: str = "auto",
    accept_licences: Sequence[str] = (),
    seed: int = 0,
) -> Encoder:
    """An encoder ready to prepare images and encode batches.

    encoder: a short name, `random:NAME`, `hf-hub:org/name@revision`, `local:/path`, or a card (a changed copy
        of a registered one).
    weights: local file or folder to use instead of the card's source.
    precision: "fp32" is the reference; "auto" takes what is faster and proven equal (cosine >= .9999).
    seed: for controls and random twins.

    Raises UnknownName, LicenceNotAccepted, MissingExtra, WeightsError.
    """
    if precision not in get_args(Precision):
        raise RadfoundryError(
            f"precision {precision!r} is unknown: use one of {', '.join(get_args(Precision))}."
        )
    given = Path(weights).expanduser() if weights is not None else None
    entry, found = _resolve(encoder, revision, given)
    is_random = entry.card.name.startswith("random:")
    if not is_random:
        require_licence(entry.card, accept_licences)
    request = Request(
        card=entry.card,
        weights=given,
        revision=revision or found,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked against get_args above
        seed=seed,
        random=is_random,
    )
    if request.weights is not None:
        existing(request.weights, request.card)  # before a large network is built for nothing
    return make_encoder(entry.card, entry.build(request))


def random_twin(original: EncoderCard) -> EncoderCard:
    """The card of an encoder's untrained copy: same shape, no knowledge, no licence to accept."""
    if original.source == "none":
        raise WeightsError(f"{original.name} has no weights, so it has no random twin. Use it as it is.")
    return replace(
        original,
        name=f"random:{original.name}",
        title=f"{original.title}, randomly initialised (control)",
        source="none",
        licence=APACHE,
        checksum="",
        weights_file="",
        traps=("a floor, not a model: whatever it reaches, pretraining did not bring", *original.traps),
    )


def _resolve(
    encoder: str | EncoderCard, revision: str | None, given: Path | None
) -> tuple[Entry, str | None]:
    """The entry behind an id, and the revision the id itself names. given: local weights."""
    if isinstance(encoder, EncoderCard):
        name = encoder.name.removeprefix("random:")
        return Entry(encoder, _families().get(name).build), None
    if encoder.startswith("random:"):
        entry, named = _resolve(encoder.removeprefix("random:"), revision, given)
        return Entry(random_twin(entry.card), entry.build), named
    if encoder.startswith(("hf-hub:", "local:")):
        from radfoundry.encoders import huggingface

        source, named = _address(encoder)
        for name in _families():
            # A known model keeps its card, so its licence cannot be walked around by its address.
            if _families().get(name).card.source.lower() == source.lower():
                return _families().get(name), named
        found = huggingface.describe(source, revision or named, given)
        return Entry(found, huggingface.build), named
    return _families().get(encoder), None


def _address(encoder: str) -> tuple[str, str | None]:
    """(source, revision) of an id. The hub ignores case and outer slashes, so they mustn't hide a card."""
    if encoder.startswith("local:"):
        return encoder, None
    repo, _, named = encoder.removeprefix("hf-hub:").partition("@")
    return f"hf-hub:{repo.strip().strip('/')}", named.strip().strip("/") or None


def _families() -> Registry[Entry]:
    for family in FAMILIES:
        import_module(f"radfoundry.encoders.{family}")
    return _registry
