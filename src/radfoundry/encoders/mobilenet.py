"""MobileNetV2 from torchvision's published ImageNet weights; torchvision itself is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from radfoundry.encoders import weights
from radfoundry.encoders.card import BSD3, RADIOLOGY_2D, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import plain_backend, seeded
from radfoundry.optional import require
from radfoundry.preprocess.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe

if TYPE_CHECKING:
    from radfoundry.encoders.nets.mobilenet import MobileNetV2

CARD = EncoderCard(
    name="mobilenet-v2",
    title="MobileNetV2, ImageNet-1k",
    source="url:https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
    revision="IMAGENET1K_V1",
    weights_file="mobilenet_v2-b0353104.pth",
    checksum="b0353104",  # torchvision names its files by the first digits of their SHA-256
    licence=BSD3,
    modalities=RADIOLOGY_2D,
    colour=True,
    recipe=Recipe("shortest-edge", 256, 224, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    output="global average of the last feature map",
    dim=1280,
    needs=("torch",),
    extra="torch",
    citation="Sandler et al. 2018, arXiv:1801.04381",
    traps=(
        "trained on photographs: on radiographs it sees texture and edges, not findings",
        "Keras weights differ: other padding, and x/127.5 - 1 instead of mean and std",
        "the crop of 224 out of 256 loses the outer 6 % on each side",
    ),
)


@register(CARD)
def build(request: Request) -> Backend:
    """The network without its classifier."""
    net = build_mobilenet_v2(pretrained=False, seed=request.seed)
    return plain_backend(net, request, None if request.random else weights.file_of(CARD, request.weights))


def build_mobilenet_v2(
    *, pretrained: bool = True, weights_file: Path | None = None, seed: int = 0
) -> MobileNetV2:
    """The torch module, for fine-tuning too: `embed(x)` is (B, 1280), `forward(x)` the 1000 logits.

    weights_file: a state dict to load instead of torchvision's. seed: initial weights when not pretrained.
    """
    require("torch", extra="torch")
    from radfoundry.encoders.nets.mobilenet import MobileNetV2

    with seeded(seed):
        net = MobileNetV2()
    if pretrained or weights_file is not None:
        path = weights.file_of(CARD, weights_file)
        weights.verified_digest(path, CARD)
        weights.load_strict(net, weights.read_state_dict(path), path)
    return net
