"""EfficientNet-Lite0: inverted residuals without squeeze-excitation, ReLU6 throughout (1280 features).

Tan & Le 2019, arXiv:1905.11946. Key names follow the widely used PyTorch port (`_blocks.N._expand_conv`).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from radfoundry.encoders.nets import initialise

# (repeats, kernel, stride of the first, expansion, channels out)
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's "SAME": the odd pixel goes to the right and the bottom."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for axis in (1, 0):  # F.pad counts from the last axis
            size, stride, kernel = x.shape[2 + axis], self.stride[axis], self.kernel_size[axis]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        even = (pads[3], pads[1])
        if pads == [even[1], even[1], even[0], even[0]]:  # of every stride of 1; spares a copy of x
            return F.conv2d(x, self.weight, self.bias, self.stride, even, 1, self.groups)
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)  # TensorFlow's epsilon and 1 - 0.99


class Block(nn.Module):
    """Expand 1x1, depthwise kxk, project 1x1; the input is added where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expands, self.adds = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = _norm(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """embed: (B, 3, H, W) -> (B, 1280). forward: -> (B, classes)."""

    dim = 1280

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for index in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, self.dim, 1, bias=False)
        self._bn1 = _norm(self.dim)
        self._fc = nn.Linear(self.dim, classes)
        initialise(self)

    def feature_map(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 1280, H/32, W/32)."""
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)), inplace=True)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 1280): global average of the last map."""
        return self.feature_map(x).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._fc(F.dropout(self.embed(x), 0.2, self.training))


def folded(net: EfficientNetLite0) -> EfficientNetLite0:
    """The net in place, for inference alone, with every batch norm folded into its convolution.

    Computes the same up to rounding, faster on a CPU; channels come last in memory.
    """
    pairs: list[tuple[nn.Module, str, str]] = [(net, "_conv_stem", "_bn0"), (net, "_conv_head", "_bn1")]
    for block in net._blocks:
        names = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        pairs += [(block, *one) for one in ([("_expand_conv", "_bn0")] if block.expands else []) + names]
    net.eval()
    for owner, conv, norm in pairs:
        setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
        setattr(owner, norm, nn.Identity())
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stub
