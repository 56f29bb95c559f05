"""One file of tensors, of which the encoder is often a part: find it, cut the part out, load it strictly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.encoders import weights
from radfoundry.encoders.catalogue import Request
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import pooled, runner
from radfoundry.errors import WeightsError

if TYPE_CHECKING:
    import torch

FILES = (*weights.WEIGHT_FILES, "*.ckpt")


def checkpoint_backend(
    net: torch.nn.Module,
    request: Request,
    embed: Callable[[Any, Any], Any] = pooled,
    *,
    prefixes: tuple[str, ...] = ("",),
    beside: tuple[str, ...] = (),
    note: str = "",
) -> Backend:
    """`net` with the weights the request asks for, run by `embed(net, batch)`.

    prefixes: what published files put before the encoder's keys; the one that fits best is taken.
    beside: how keys of other parts of the same file begin (decoder, text tower); any other key is an error.
    note: a choice that changes vectors but not weights; it enters the fingerprint by the engine's name.
    """
    card = request.card
    if request.random or (card.source == "none" and request.weights is None):
        digest, commit, verified = weights.text_digest(card.name, request.seed), "", True
    else:
        path, commit = locate(request)
        digest, verified = weights.verified_digest(path, card)
        fill(net, path, prefixes=prefixes, beside=beside)
    forward, engine = runner(net, request, embed)
    return Backend(forward, f"{engine}, {note}" if note else engine, digest, commit, verified)


def locate(request: Request) -> tuple[Path, str]:
    """(file, commit): what the user gave, a file or a folder, else the hub's or the URL's of the card."""
    card, commit = request.card, ""
    if request.weights is not None:
        place = weights.existing(request.weights, card)
    elif card.source.startswith("hf-hub:"):
        repo = card.source.removeprefix("hf-hub:")
        revision = request.revision or card.revision
        place, commit = weights.hub_folder(repo, revision, card, patterns=(card.weights_file,))
    elif card.source.endswith(f"/{card.weights_file}"):
        return weights.file_of(card, None), ""
    else:  # published behind a page, not at an address
        raise WeightsError(f"{card.name} cannot be fetched from here. {weights.how_to_get(card)}")
    if place.is_file():
        return place, commit
    named = place / card.weights_file
    found = [named] if named.is_file() else sorted({p for pattern in FILES for p in place.glob(pattern)})
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise WeightsError(
            f"{place} should hold {card.weights_file}; weight files in it: {names}. Pass the file itself."
        )
    return found[0], commit


def fill(
    net: torch.nn.Module, path: Path, *, prefixes: tuple[str, ...] = ("",), beside: tuple[str, ...] = ()
) -> None:
    """Load the encoder's part of the file at `path` into `net`; WeightsError names keys that do not fit."""
    state = {k.removeprefix("module."): v for k, v in weights.read_state_dict(path).items()}
    prefix = _best(prefixes, net.state_dict(), state)
    part = {k: v for k, v in state.items() if not k.startswith(beside)} if beside else state
    weights.load_strict(net, part, path, prefix=prefix)


def _best(prefixes: tuple[str, ...], own: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """The prefix under which most of the network's own keys are found; the first of equals."""
    return max(prefixes, key=lambda prefix: sum(prefix + k in state for k in own))
