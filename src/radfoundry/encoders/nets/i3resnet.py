"""ResNet-152 whose 2D convolutions were inflated to 3D, as in Merlin and Astra, with their key names.

Carreira & Zisserman 2017, arXiv:1705.07750; Blankemeier et al. 2024, arXiv:2406.06512. Strides act on all
three axes, except that the first convolution keeps every slice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from radfoundry.encoders.nets import initialise

LAYERS = (3, 8, 36, 3)


class Bottleneck(nn.Module):
    """1x1x1 to `width`, 3x3x3, 1x1x1 to four times `width`; the shortcut is projected where shapes differ."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class I3ResNet(nn.Module):
    """embed: (B, 1, X, Y, Z) -> (B, 32 * width), or (B, contrastive) where a contrastive head is asked for.

    Slices, the last axis of the input, are the first axis inside; the one channel is repeated three times.
    """

    def __init__(
        self, layers: Sequence[int] = LAYERS, width: int = 64, contrastive: int | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        inputs = width
        for index, blocks in enumerate(layers):
            middle = width * 2**index
            layer = [Bottleneck(inputs, middle, stride=1 if index == 0 else 2)]
            layer += [Bottleneck(4 * middle, middle, stride=1) for _ in range(1, blocks)]
            setattr(self, f"layer{index + 1}", nn.Sequential(*layer))
            inputs = 4 * middle
        self.contrastive_head = nn.Conv3d(inputs, contrastive, 1) if contrastive else None
        initialise(self)

    def feature_map(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) -> (B, 32 * width, Z/16, X/32, Y/32)."""
        x = x.permute(0, 1, 4, 2, 3).expand(-1, 3, -1, -1, -1)
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
        return x

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Global average of the last map, through the contrastive head where there is one."""
        x = self.feature_map(x).mean(dim=(2, 3, 4), keepdim=True)
        if self.contrastive_head is not None:
            x = self.contrastive_head(x)
        return x.flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(x)
