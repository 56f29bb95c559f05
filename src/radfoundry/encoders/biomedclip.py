"""BiomedCLIP through open_clip, which is installed by the extra `biomedclip`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radfoundry.encoders import weights
from radfoundry.encoders.card import MIT, RADIOLOGY_2D, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.huggingface import CLIP_MEAN, CLIP_STD
from radfoundry.encoders.torch_backend import runner, seeded
from radfoundry.errors import WeightsError
from radfoundry.optional import require
from radfoundry.preprocess.recipe import Recipe

CARD = EncoderCard(
    name="biomedclip",
    title="BiomedCLIP ViT-B/16, figures of PubMed Central",
    source="hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    licence=MIT,
    modalities=RADIOLOGY_2D,
    colour=True,
    recipe=Recipe("shortest-edge", 224, 224, mean=CLIP_MEAN, std=CLIP_STD),
    output="projected image feature (encode_image), not normalised",
    dim=512,
    needs=("torch", "open_clip"),
    extra="biomedclip",
    citation="Zhang et al. 2023, BiomedCLIP, arXiv:2303.00915",
    traps=(
        "checkpoint and configuration were replaced on the hub: pin a revision (`--revision COMMIT`)",
        "trained on journal figures, JPEG artefacts, arrows and all",
    ),
)


@register(CARD)
def build(request: Request) -> Backend:
    """The image tower; the text tower is built by open_clip and left unused."""
    clip = require("open_clip", extra="biomedclip")
    if request.random:
        with seeded(request.seed):
            model = clip.create_model("ViT-B-16", pretrained=None)  # the same trunk and width
        digest, commit = weights.text_digest(request.card.name, request.seed), ""
    else:
        folder, commit = _folder(request)
        model = _load(clip, folder)
        digest = weights.digest(folder)
    forward, engine = runner(model, request, _encode_image)
    return Backend(forward, engine, digest, commit)


def _encode_image(model: Any, batch: Any) -> Any:
    return model.encode_image(batch)


def _folder(request: Request) -> tuple[Path, str]:
    if request.weights is not None:
        return weights.existing(request.weights, request.card), ""
    repo = CARD.source.removeprefix("hf-hub:")
    return weights.hub_folder(
        repo, request.revision or CARD.revision, request.card, patterns=("open_clip*", "*.json", "*.txt")
    )


def _load(clip: Any, folder: Path) -> Any:
    try:
        return clip.create_model(f"local-dir:{folder}")
    except Exception as cause:  # open_clip wraps errors of timm, transformers and torch in none of its own
        raise WeightsError(
            f"open_clip could not load {folder} ({type(cause).__name__}: {cause}). The folder needs "
            f"open_clip_config.json and the weights beside it. {weights.how_to_get(CARD)}"
        ) from cause
