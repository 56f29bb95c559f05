"""CT-FM: a SegResNet encoder, pretrained by contrast on 148 000 CT volumes. MONAI holds the network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from radfoundry.encoders.card import APACHE, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.huggingface import UNPINNED
from radfoundry.encoders.torch_backend import seeded
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import VolumeRecipe, Window

HU = Window(-1024, 2048)
SPL = "the axes are superior, posterior, left (slice, row, column): an array in RAS gives wrong vectors"

CARD = EncoderCard(
    name="ct-fm",
    title="CT-FM SegResNet encoder, whole CT volumes",
    source="hf-hub:project-lighter/ct_fm_feature_extractor",
    weights_file="model.safetensors",
    licence=APACHE,
    modalities=("CT",),
    recipe=VolumeRecipe("SPL", HU, spacing_mm=(3.0, 1.0, 1.0), crop="foreground", foreground=-1024.0),
    output="global average of the last level",
    dim=512,
    needs=("torch", "monai"),
    extra="volume",
    citation="Pai et al. 2025, arXiv:2501.09001",
    traps=(
        SPL,
        "resampled to 3 x 1 x 1 mm, the base of its pretraining; its model page shows native spacing",
        "a whole volume is one item: batches hold one volume unless all have one size",
        "keys lie bare in ct_fm_feature_extractor and under `encoder.` in ct_fm_segresnet; both are read",
        UNPINNED,
    ),
    architecture={"init_filters": 32, "blocks_down": (1, 2, 2, 4, 4)},
)
LESION = replace(
    CARD,
    name="ct-fm-lesion",
    title="CT-FM SegResNet encoder, 48 mm around a lesion",
    recipe=VolumeRecipe(
        "SPL", HU, spacing_mm=(1.0, 1.0, 1.0), size=(48, 48, 48), crop="roi", border="centred"
    ),
    traps=(
        SPL,
        "pretrained on larger patches: a crop of 48 mm leaves 3x3x3 places to average on the last level",
        UNPINNED,
    ),
)


@register(CARD, LESION)
def build(request: Request) -> Backend:
    """The encoder, of the feature extractor's file or of the whole segmentation network's."""
    with seeded(request.seed):
        net = segres_encoder(**request.card.architecture)
    return checkpoint_backend(net, request, last_level, prefixes=("", "encoder."), beside=("up_layers.",))


def segres_encoder(**sizes: Any) -> Any:
    """MONAI's SegResEncoder: (B, 1, X, Y, Z) -> maps of every level, the last 16 times as wide."""
    require("torch", extra="volume")
    segresnet = require("monai.networks.nets.segresnet_ds", extra="volume")
    return segresnet.SegResEncoder(**sizes)


def last_level(net: Any, batch: Any) -> Any:
    """Global average of the last of several maps."""
    return net(batch)[-1].mean(dim=(2, 3, 4))
