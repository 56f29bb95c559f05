"""The contracting half of Models Genesis' 3D U-Net, with its key names (`down_tr64.ops.0.conv1.weight`).

Zhou et al. 2021, arXiv:1912.07818. The published network normalises by the statistics of the batch at hand
even after training; which statistics to use is therefore an argument here.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from radfoundry.errors import RadfoundryError

NormMode = Literal["per-sample", "running", "batch"]


class ModeNorm(nn.BatchNorm3d):
    """Batch normalisation by chosen statistics; the stored ones are never changed.

    "per-sample": of each volume by itself, which is what the published code computes for a batch of one.
    "running": those stored while training. "batch": of the whole batch, as the published code does.
    """

    mode: NormMode = "per-sample"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "running":
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if self.mode == "batch":
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class Layer(nn.Module):
    """3x3x3 convolution, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.bn1 = ModeNorm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn1(self.conv1(x)))


class Level(nn.Module):
    """Two layers at one resolution."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.ops = nn.Sequential(Layer(inputs, middle), Layer(middle, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ops(x)


class GenesisEncoder(nn.Module):
    """embed: (B, 1, X, Y, Z), each divisible by 8 -> (B, 16 * width): global average of the bottleneck."""

    def __init__(self, width: int = 32, bn_mode: NormMode = "per-sample") -> None:
        super().__init__()
        if bn_mode not in get_args(NormMode):
            raise RadfoundryError(f"bn_mode {bn_mode!r} is unknown: use {', '.join(get_args(NormMode))}.")
        self.down_tr64 = Level(1, width, 2 * width)
        self.down_tr128 = Level(2 * width, 2 * width, 4 * width)
        self.down_tr256 = Level(4 * width, 4 * width, 8 * width)
        self.down_tr512 = Level(8 * width, 8 * width, 16 * width)
        for module in self.modules():
            if isinstance(module, ModeNorm):
                module.mode = bn_mode

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Global average of the bottleneck, the feature the authors' classifiers start from."""
        for level in (self.down_tr64, self.down_tr128, self.down_tr256):
            x = F.max_pool3d(level(x), 2)
        return self.down_tr512(x).mean(dim=(2, 3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(x)
