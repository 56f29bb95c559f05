"""ResNet-50 from torchvision's published ImageNet weights; torchvision itself is not needed."""

from __future__ import annotations

from radfoundry.encoders import weights
from radfoundry.encoders.card import BSD3, RADIOLOGY_2D, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import plain_backend, seeded
from radfoundry.optional import require
from radfoundry.preprocess.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe

CARD = EncoderCard(
    name="resnet50",
    title="ResNet-50, ImageNet-1k",
    source="url:https://download.pytorch.org/models/resnet50-0676ba61.pth",
    revision="IMAGENET1K_V1",
    weights_file="resnet50-0676ba61.pth",
    checksum="0676ba61",  # torchvision names its files by the first digits of their SHA-256
    licence=BSD3,
    modalities=RADIOLOGY_2D,
    colour=True,
    recipe=Recipe("shortest-edge", 256, 224, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    output="global average of the last feature map",
    dim=2048,
    needs=("torch",),
    extra="torch",
    citation="He et al. 2015, arXiv:1512.03385",
    traps=(
        "trained on photographs: on radiographs it sees texture and edges, not findings",
        "V1 weights (0676ba61); V2 (11ad3fa6) were trained for a resize to 232 and differ",
        "the crop of 224 out of 256 loses the outer 6 % on each side",
    ),
)


@register(CARD)
def build(request: Request) -> Backend:
    """The network without its classifier."""
    require("torch", extra="torch")
    from radfoundry.encoders.nets.resnet import ResNet50

    with seeded(request.seed):
        net = ResNet50()
    return plain_backend(net, request, None if request.random else weights.file_of(CARD, request.weights))
