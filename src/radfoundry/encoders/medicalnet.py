"""MedicalNet (Med3D): 3D ResNets trained to segment 23 sets of CT and MR. MONAI holds the network."""

from __future__ import annotations

from typing import Any

from radfoundry.encoders.card import MIT, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.huggingface import UNPINNED
from radfoundry.encoders.torch_backend import seeded
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import VolumeRecipe, ZScore

DEPTHS = (10, 18, 34, 50)
RECIPE = VolumeRecipe(
    "SPL", ZScore(nonzero=True, percentiles=(0.5, 99.5), noise=0), spacing_mm=(1.0, 1.0, 1.0),
    size=(48, 48, 48), crop="roi", border="centred",
)  # fmt: skip


def _card(depth: int) -> EncoderCard:
    return EncoderCard(
        name=f"medicalnet-resnet{depth}",
        title=f"MedicalNet 3D ResNet-{depth}, CT and MR, 48 mm around a lesion",
        source=f"hf-hub:TencentMedicalNet/MedicalNet-Resnet{depth}",
        weights_file=f"resnet_{depth}_23dataset.pth",
        licence=MIT,
        modalities=("CT", "MR"),
        recipe=RECIPE,
        output="global average of the last feature map",
        dim=512 if depth < 50 else 2048,
        needs=("torch", "monai"),
        extra="volume",
        citation="Chen et al. 2019, Med3D, arXiv:1904.00625",
        traps=(
            "background (voxels that are 0) is filled with noise, as in training; the noise is drawn from a "
            "fixed seed, so that a volume has one embedding",
            "in CT the value 0 is water, not background: those voxels become noise too, as upstream does",
            "strides and dilations are those of training; MONAI's pretrained=True takes stride 1 at first "
            "and none of the dilations, and gives other vectors (layout: monai, in the card's architecture)",
            UNPINNED,
        ),
        architecture={"depth": depth, "width": 64, "layout": "original"},
    )


CARDS = tuple(_card(depth) for depth in DEPTHS)


@register(*CARDS)
def build(request: Request) -> Backend:
    """A ResNet of the card's depth, in the layout of the card's architecture."""
    require("torch", extra="volume")
    from radfoundry.encoders.nets.monai_resnet import medicalnet

    sizes = request.card.architecture
    with seeded(request.seed):
        net = medicalnet(**sizes)
    return checkpoint_backend(net, request, plain, beside=("conv_seg.",), note=f"layout {sizes['layout']}")


def plain(net: Any, batch: Any) -> Any:
    """What the network itself returns."""
    return net(batch)
