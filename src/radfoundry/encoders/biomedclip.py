"""BiomedCLIP's image tower, read from the released open_clip checkpoint: open_clip itself is not needed.

The tower is timm's `vit_base_patch16_224` with a linear projection beside it. The text tower, which lies in
the same file, is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from radfoundry.encoders import weights
from radfoundry.encoders.card import MIT, RADIOLOGY_2D, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.huggingface import CLIP_MEAN, CLIP_STD, LATERAL
from radfoundry.encoders.torch_backend import plain_backend, pooled, runner, seeded
from radfoundry.errors import WeightsError
from radfoundry.optional import require
from radfoundry.preprocess.recipe import Recipe

CONFIG = "open_clip_config.json"
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names that open_clip gives to weights on the hub, the safer one first."""
TEXT = ("text.", "logit_scale", "logit_bias")
# What open_clip_config.json has to say, where it says it. An empty pool leaves timm's own, the class token.
VISION = {"timm_model_name": ("vit_base_patch16_224",), "timm_pool": ("", "token"), "timm_proj": ("linear",)}
PIXELS: dict[str, Any] = {
    "mean": list(CLIP_MEAN), "std": list(CLIP_STD), "interpolation": "bicubic", "resize_mode": "shortest",
}  # fmt: skip

CARD = EncoderCard(
    name="biomedclip",
    title="BiomedCLIP ViT-B/16, figures of PubMed Central",
    source="hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    revision="9f341de24bfb00180f1b847274256e9b65a3a32e",
    weights_file="open_clip_pytorch_model.bin",
    checksum="52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be",
    licence=MIT,
    modalities=RADIOLOGY_2D,
    colour=True,
    recipe=Recipe("shortest-edge", 224, 224, mean=CLIP_MEAN, std=CLIP_STD),
    output="projected image feature (encode_image), not normalised",
    dim=512,
    needs=("torch",),
    extra="hf",
    citation="Zhang et al. 2023, BiomedCLIP, arXiv:2303.00915",
    traps=(
        "checkpoint and configuration were replaced on the hub once: the later ones are pinned here",
        "trained on journal figures, JPEG artefacts, arrows and all",
        LATERAL,
    ),
    architecture={"width": 768, "layers": 12, "heads": 12, "image": 224, "patch": 16},
)


@register(CARD)
def build(request: Request) -> Backend:
    """The image tower with its projection, every tensor of it filled from the checkpoint."""
    require("torch", extra="hf")
    from radfoundry.encoders.nets.vit import ProjectedViT

    with seeded(request.seed):
        net = ProjectedViT(**request.card.architecture, dim=request.card.dim)
    if request.random:
        return plain_backend(net, request, None)
    path, commit = _weights(request)
    digest, verified = _digest(path, request)
    _fill(net, path)
    forward, engine = runner(net, request, pooled)
    return Backend(forward, engine, digest, commit, verified)


def _weights(request: Request) -> tuple[Path, str]:
    """(checkpoint, commit): the file or folder the user gave, else the hub's at the card's revision."""
    card, commit = request.card, ""
    if request.weights is not None:
        place = weights.existing(request.weights, card)
    else:
        repo = card.source.removeprefix("hf-hub:")
        place, commit = weights.hub_folder(
            repo, request.revision or card.revision, card, patterns=(CONFIG, *FILES)
        )
    if place.is_file():
        _check_config(place.parent / CONFIG)
        return place, commit
    _check_config(place / CONFIG)
    found = [place / name for name in FILES if (place / name).is_file()]
    if not found:
        raise WeightsError(f"{place} holds neither {' nor '.join(FILES)}. {weights.how_to_get(card)}")
    return found[0], commit


def _digest(path: Path, request: Request) -> tuple[str, bool]:
    """(digest, verified); the card has no checksum for a revision that the user chose."""
    if request.revision in (None, request.card.revision):
        return weights.verified_digest(path, request.card)
    return weights.digest(path), False


def _fill(net: Any, path: Path) -> None:
    torch = require("torch", extra="hf")
    state = {k: v for k, v in weights.read_state_dict(path).items() if not k.startswith(TEXT)}
    # Under its published prefix, so that an error names the keys as they stand in the file.
    weights.load_strict(torch.nn.ModuleDict({"visual": net}), state, path)


def _check_config(path: Path) -> None:
    """Refuse a tower that has the same tensors but pools, projects or is fed otherwise."""
    if not path.is_file():  # nothing beside the tensors contradicts the card
        return
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        vision = {"timm_pool": "avg", "timm_proj": "linear"} | stated["model_cfg"]["vision_cfg"]
        pixels = PIXELS | (stated.get("preprocess_cfg") or {})
    except (ValueError, KeyError, TypeError) as cause:
        raise WeightsError(
            f"{path} is no configuration of open_clip ({type(cause).__name__}: {cause}). "
            f"{weights.how_to_get(CARD)}"
        ) from cause
    wrong = [f"{k}={vision.get(k)!r}" for k, known in VISION.items() if vision.get(k) not in known]
    wrong += [f"{k}={pixels[k]!r}" for k, known in PIXELS.items() if pixels[k] != known]
    if wrong:
        raise WeightsError(
            f"{path} describes another model than {CARD.name}: {', '.join(wrong)}. Bring the folder as it "
            f"is at revision {CARD.revision}. {weights.how_to_get(CARD)}"
        )
