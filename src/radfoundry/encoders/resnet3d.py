"""3D networks to compare with: torchvision's video ResNet-18, and an SE-ResNet-50 without weights."""

from __future__ import annotations

from typing import Any

from radfoundry.encoders.card import APACHE, BSD3, EncoderCard
from radfoundry.encoders.catalogue import Request, register
from radfoundry.encoders.checkpoint import checkpoint_backend
from radfoundry.encoders.encoder import Backend
from radfoundry.encoders.torch_backend import seeded
from radfoundry.optional import require
from radfoundry.preprocess.volume_recipe import Percentiles, VolumeRecipe, ZScore

KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)

R3D = EncoderCard(
    name="r3d-18",
    title="3D ResNet-18, films of human action (Kinetics-400), 64 mm around a lesion",
    source="url:https://download.pytorch.org/models/r3d_18-b3b3357e.pth",
    revision="KINETICS400_V1",
    weights_file="r3d_18-b3b3357e.pth",
    checksum="b3b3357e",  # torchvision names its files by the first digits of their SHA-256
    licence=BSD3,
    modalities=("CT", "MR", "PT"),
    recipe=VolumeRecipe(
        "SPL", Percentiles(0.5, 99.5), spacing_mm=(1.0, 1.0, 1.0), size=(64, 64, 64), crop="roi",
        border="centred", channels=3,
    ),
    output="global average of the last feature map",
    dim=512,
    needs=("torch",),
    extra="torch",
    citation="Tran et al. 2018, arXiv:1711.11248",
    traps=(
        "trained on films: slices take the place of time",
        "0..1 by the crop's own percentiles, so Hounsfield units are lost; then Kinetics' mean and std",
    ),
    architecture={"width": 64, "classes": 400},
)  # fmt: skip
SE_RESNET50 = EncoderCard(
    name="se-resnet50-3d",
    title="3D SE-ResNet-50, never trained (a floor), 64 mm around a lesion",
    source="none",
    licence=APACHE,
    revision="random",
    modalities=("CT", "MR", "PT"),
    recipe=VolumeRecipe(
        "SPL", ZScore(nonzero=False), spacing_mm=(1.0, 1.0, 1.0), size=(64, 64, 64), crop="roi",
        border="centred",
    ),
    output="global average of the last feature map",
    dim=2048,
    needs=("torch", "monai"),
    extra="volume",
    citation="Hu et al. 2018, arXiv:1709.01507",
    traps=(
        "nobody has published weights of it: drawn from the seed, it is a floor for trained encoders",
        "--weights FILE loads your own training of MONAI's SEResNet50(spatial_dims=3, in_channels=1)",
    ),
    architecture={"layers": (3, 4, 6, 3)},
)  # fmt: skip


@register(R3D)
def build_r3d(request: Request) -> Backend:
    """torchvision's r3d_18 without its classifier; torchvision itself is not needed."""
    require("torch", extra="torch")
    from radfoundry.encoders.nets.r3d import VideoResNet18

    with seeded(request.seed):
        net = VideoResNet18(**request.card.architecture)
    return checkpoint_backend(net, request, _film)


@register(SE_RESNET50)
def build_se_resnet50(request: Request) -> Backend:
    """MONAI's SEResNet50; its classifier is left out, and out of a file that holds one."""
    torch = require("torch", extra="volume")
    senet = require("monai.networks.nets.senet", extra="volume")
    with seeded(request.seed):
        net = senet.SEResNet50(spatial_dims=3, in_channels=1, num_classes=1, **request.card.architecture)
    net.last_linear = torch.nn.Identity()
    return checkpoint_backend(net, request, _features, beside=("last_linear.",))


def _film(net: Any, batch: Any) -> Any:
    mean, std = (batch.new_tensor(v)[:, None, None, None] for v in (KINETICS_MEAN, KINETICS_STD))
    return net.embed((batch - mean) / std)


def _features(net: Any, batch: Any) -> Any:
    return net.features(batch).mean(dim=(2, 3, 4))
