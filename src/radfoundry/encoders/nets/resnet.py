"""ResNet-50 with torchvision's key names.

He et al. 2015, arXiv:1512.03385, with the stride in the 3x3 convolution ("v1.5"), as torchvision trains it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from radfoundry.encoders.nets import initialise

LAYERS = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """1x1 to `width`, 3x3, 1x1 to four times `width`; the shortcut is projected where shapes differ."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(nn.Module):
    """embed: (B, 3, H, W) -> (B, 2048). forward: -> (B, classes)."""

    dim = 2048

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for index, count in enumerate(LAYERS):
            width = 64 * 2**index
            blocks = []
            for position in range(count):
                blocks.append(Bottleneck(inputs, width, 2 if index and position == 0 else 1))
                inputs = 4 * width
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)
        initialise(self)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Global average of the last map."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for index in range(len(LAYERS)):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return x.mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.embed(x))
