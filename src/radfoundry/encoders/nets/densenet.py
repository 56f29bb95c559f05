"""DenseNet-121 with the key names of TorchXRayVision (and torchvision).

Huang et al. 2017, arXiv:1608.06993: growth 32, blocks of 6, 12, 24 and 16 layers, 1024 features.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from radfoundry.encoders.nets import initialise

GROWTH, BOTTLENECK = 32, 4
BLOCKS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1; BN, ReLU, 3x3; the 32 new channels are appended to the input."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        hidden = BOTTLENECK * GROWTH
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv1(F.relu(self.norm1(x)))
        new = self.conv2(F.relu(self.norm2(new)))
        return torch.cat([x, new], dim=1)


def _transition(inputs: int) -> nn.Sequential:
    """BN, ReLU, 1x1 to half the channels, 2x2 average pooling."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(),
            conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet121(nn.Module):
    """embed: (B, channels, H, W) -> (B, 1024). `features` is the convolutional part, not pooled."""

    dim = 1024

    def __init__(self, channels: int = 1, classes: int = 18) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(64),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        width = 64
        for index, layers in enumerate(BLOCKS, start=1):
            block = nn.Sequential()
            for i in range(layers):
                block.add_module(f"denselayer{i + 1}", DenseLayer(width + i * GROWTH))
            parts[f"denseblock{index}"] = block
            width += layers * GROWTH
            if index < len(BLOCKS):
                parts[f"transition{index}"] = _transition(width)
                width //= 2
        parts["norm5"] = nn.BatchNorm2d(width)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(width, classes)
        initialise(self)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """ReLU and global average over the final map: TorchXRayVision's `features2`."""
        return F.relu(self.features(x)).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.embed(x))
