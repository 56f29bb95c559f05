"""MONAI's 3D ResNets as encoders: as MedicalNet trained them, and as BrainIAC v1 did."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from radfoundry.errors import RadfoundryError
from radfoundry.optional import require

# depth: (block, blocks a layer, shortcut). MedicalNet's shallow nets pad their shortcuts with zeros ("A").
DEPTHS: dict[int, tuple[str, tuple[int, int, int, int], str]] = {
    10: ("basic", (1, 1, 1, 1), "B"), 18: ("basic", (2, 2, 2, 2), "A"), 34: ("basic", (3, 4, 6, 3), "A"),
    50: ("bottleneck", (3, 4, 6, 3), "B"),
}  # fmt: skip
DILATION = {"layer3": 2, "layer4": 4}


def resnet3d(
    depth: int, *, width: int = 64, bias_downsample: bool = False, shortcut: str = "", first_stride: int = 2
) -> Any:
    """MONAI's ResNet without classifier: (B, 1, D, H, W) -> (B, 8 * width), four times that for bottlenecks.

    first_stride: of the first convolution. MONAI's default is 1, the published weights were trained with 2.
    """
    resnet = require("monai.networks.nets.resnet", extra="volume")
    block, layers, usual = DEPTHS[depth]
    return resnet.ResNet(
        block,
        list(layers),
        [width * 2**i for i in range(4)],
        n_input_channels=1,
        conv1_t_stride=first_stride,
        shortcut_type=shortcut or usual,
        bias_downsample=bias_downsample,
        feed_forward=False,
    )


def medicalnet(depth: int, *, width: int = 64, layout: str = "original") -> Any:
    """A MedicalNet encoder.

    layout: "original" keeps the strides and dilations the weights were trained with (the last two layers are
        dilated by 2 and 4 instead of halving the map); "monai" is what `resnetN(pretrained=True)` of MONAI
        computes with the same weights (no stride in the first convolution, no dilation).
    """
    if layout not in ("original", "monai"):
        raise RadfoundryError(f"layout {layout!r} is unknown: use original or monai.")
    net = resnet3d(depth, width=width, first_stride=2 if layout == "original" else 1)
    if layout == "original":
        for name, rate in DILATION.items():
            _dilate(getattr(net, name), rate)
    return net


def _dilate(layer: nn.Sequential, rate: int) -> None:
    """Replace the stride of a layer by a dilation of its 3x3x3 convolutions."""
    for module in layer.modules():
        if isinstance(module, nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (rate,) * 3
    shortcut = layer[0].downsample
    if isinstance(shortcut, partial):  # padded with zeros, without a module of its own
        shortcut.keywords["stride"] = 1
