"""ResNet-18 with 3D convolutions, with the key names of torchvision's `r3d_18` (`layer1.0.conv1.0.weight`).

Tran et al. 2018, arXiv:1711.11248 ("R3D"). The first axis, time in a film, is the slice axis here.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from radfoundry.encoders.nets import initialise


def _conv(inputs: int, outputs: int, stride: int) -> tuple[nn.Conv3d, nn.BatchNorm3d]:
    """3x3x3 convolution and its norm."""
    return nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm3d(outputs)


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, projected where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*_conv(inputs, outputs, stride), nn.ReLU())
        self.conv2 = nn.Sequential(*_conv(outputs, outputs, 1))
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class VideoResNet18(nn.Module):
    """embed: (B, 3, T, H, W) -> (B, 8 * width). forward: -> (B, classes)."""

    def __init__(self, width: int = 64, classes: int = 400) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(width), nn.ReLU()
        )
        inputs = width
        for index in range(4):
            outputs = width * 2**index
            first = BasicBlock(inputs, outputs, stride=1 if index == 0 else 2)
            setattr(self, f"layer{index + 1}", nn.Sequential(first, BasicBlock(outputs, outputs, stride=1)))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)
        initialise(self)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Global average of the last map."""
        x = self.stem(x)
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
        return x.mean(dim=(2, 3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.embed(x))
