"""BrainIAC, brain MR: version 1 is a 3D ResNet-50 (MONAI holds it), version 2 a 3D ViT-B/16."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from radfoundry.encoders.card import CC_BY_NC, EncoderCard, Licence
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import seeded
from radfoundry.errors import RadfoundryError
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import Percentiles, VolumeRecipe, ZScore

MGB_NC = Licence(
    "MGB-NC", "non-commercial academic research within Mass General Brigham's terms",
    "https://github.com/AIM-KannLab/BrainIAC", restricted=True,
)  # fmt: skip
READY = (
    "expects a brain that was bias-corrected (N4), registered to an atlas at 1 mm and skull-stripped "
    "(HD-BET); a raw head gives plausible, wrong vectors"
)
OTHER = "both versions are published as BrainIAC.ckpt: the tensors tell them apart, the name does not"
PREFIXES = ("backbone.", "backbone.backbone.")
BESIDE = ("projection_head.", "projector.", "fc.", "classifier.")
TOKENS = ("first", "mean")
CROSS_ATTENTION = ("norm_cross_attn", "cross_attn")
"""What MONAI 1.4 and later put into every block of a ViT and never run here."""

V1 = EncoderCard(
    name="brainiac-v1",
    title="BrainIAC 1, 3D ResNet-50, brain MR",
    source="url:https://github.com/AIM-KannLab/BrainIAC",
    revision="v1",
    weights_file="BrainIAC.ckpt",
    licence=CC_BY_NC,
    modalities=("MR",),
    recipe=VolumeRecipe(
        "RAS", Percentiles(0.0, 100.0), spacing_mm=(1.0, 1.0, 1.0), size=(128, 128, 128), resize=True
    ),
    output="global average of the last feature map",
    dim=2048,
    needs=("torch", "monai"),
    extra="volume",
    citation="Tak et al. 2024, medRxiv 10.1101/2024.12.02.24317992",
    traps=(
        READY,
        OTHER,
        "shortcuts carry a bias and the first convolution has stride 2, unlike MONAI's pretrained ResNet-50",
    ),
    architecture={"width": 64},
)
V2 = EncoderCard(
    name="brainiac-v2",
    title="BrainIAC 2, 3D ViT-B/16, brain MR",
    source="url:https://github.com/AIM-KannLab/BrainIAC",
    revision="v2",
    weights_file="BrainIAC.ckpt",
    licence=MGB_NC,
    modalities=("MR",),
    recipe=VolumeRecipe("RAS", ZScore(nonzero=True), size=(96, 96, 96), resize=True),
    output="first patch token after the final norm, as published",
    dim=768,
    needs=("torch",),
    extra="torch",
    citation="Tak et al. 2026, Nature Neuroscience",
    traps=(
        "there is no class token: the published rule takes token 0, the patch at the corner with the lowest "
        "indices, which attention has to fill; brainiac-v2-mean averages all tokens instead",
        READY,
        OTHER,
        "files saved with MONAI 1.4 or later hold unused cross-attention tensors; they are left out",
    ),
    architecture={
        "image": (96, 96, 96), "patch": (16, 16, 16), "width": 768, "hidden": 3072, "layers": 12, "heads": 12,
        "token": "first",
    },
)  # fmt: skip
V2_MEAN = replace(
    V2,
    name="brainiac-v2-mean",
    title="BrainIAC 2, 3D ViT-B/16, brain MR, mean of tokens",
    output="mean of all patch tokens after the final norm",
    architecture={**V2.architecture, "token": "mean"},
)


@register(V1)
def build_v1(request: Request) -> Backend:
    """MONAI's ResNet-50 with one input channel and biased shortcuts."""
    require("torch", extra="volume")
    from radfoundry.encoders.nets.monai_resnet import resnet3d

    with seeded(request.seed):
        net = resnet3d(50, bias_downsample=True, **request.card.architecture)
    return checkpoint_backend(net, request, _plain, prefixes=PREFIXES, beside=BESIDE)


@register(V2, V2_MEAN)
def build_v2(request: Request) -> Backend:
    """A ViT without a class token; which token is the embedding is said in the card's architecture."""
    require("torch", extra="torch")
    from radfoundry.encoders.nets.vit3d import ViT3D

    sizes = dict(request.card.architecture)
    token = sizes.pop("token")
    if token not in TOKENS:
        raise RadfoundryError(f"token {token!r} is unknown: use {' or '.join(TOKENS)}.")
    with seeded(request.seed):
        net = ViT3D(**sizes)
    embed = _first_token if token == "first" else _mean_token
    unused = tuple(
        f"{prefix}blocks.{i}.{part}."
        for prefix in PREFIXES
        for i in range(len(net.blocks))
        for part in CROSS_ATTENTION
    )
    return checkpoint_backend(
        net, request, embed, prefixes=PREFIXES, beside=(*BESIDE, *unused), note=f"{token} token"
    )


def _plain(net: Any, batch: Any) -> Any:
    return net(batch)


def _first_token(net: Any, batch: Any) -> Any:
    return net(batch)[:, 0]


def _mean_token(net: Any, batch: Any) -> Any:
    return net(batch).mean(dim=1)
