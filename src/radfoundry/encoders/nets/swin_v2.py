"""Swin Transformer V2 with torchvision's key names (`features.1.0.attn.cpb_mlp.0.weight`).

Liu et al. 2022, arXiv:2111.09883: cosine attention in shifted windows, norms after each branch, a position
bias computed from log-spaced offsets. Tokens are kept as (B, H, W, C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

BIAS_HIDDEN = 512
LARGEST_SCALE = math.log(100.0)


def offset_table(window: int) -> torch.Tensor:
    """(1, 2w-1, 2w-1, 2): row and column offset within a window, log-spaced, about -1 to 1."""
    steps = torch.arange(-(window - 1), window, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)[None]
    grid = grid * (8 / (window - 1))
    return torch.sign(grid) * torch.log2(grid.abs() + 1.0) / 3.0


def offset_index(window: int) -> torch.Tensor:
    """(w^4,): for each pair of places in a window, the row of the offset table that holds their offset."""
    place = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    offset = place[:, None] - place[None] + window - 1
    return (offset[..., 0] * (2 * window - 1) + offset[..., 1]).flatten()


class WindowAttention(nn.Module):
    """Cosine attention among the tokens of one window; `shift` moves the windows by that many tokens."""

    relative_coords_table: torch.Tensor
    relative_position_index: torch.Tensor

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, BIAS_HIDDEN), nn.ReLU(), nn.Linear(BIAS_HIDDEN, heads, bias=False)
        )
        self.register_buffer("relative_coords_table", offset_table(window))
        self.register_buffer("relative_position_index", offset_index(window))

    def position_bias(self) -> torch.Tensor:
        """(1, heads, w*w, w*w), between 0 and 16."""
        area = self.window**2
        bias = self.cpb_mlp(self.relative_coords_table).view(-1, self.heads)[self.relative_position_index]
        return 16 * torch.sigmoid(bias.view(area, area, self.heads).permute(2, 0, 1)[None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape[1:3]
        w = self.window
        x = F.pad(x, (0, 0, 0, -columns % w, 0, -rows % w))
        # A window as large as the map has nowhere to move.
        shift = [0 if w >= size else self.shift for size in x.shape[1:3]]
        if any(shift):
            x = torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
        y = _windows_back(self._attend(_windows(x, w), _borders(x, w, shift)), x.shape, w)
        if any(shift):
            y = torch.roll(y, (shift[0], shift[1]), dims=(1, 2))
        return y[:, :rows, :columns].contiguous()

    def _attend(self, x: torch.Tensor, borders: torch.Tensor | None) -> torch.Tensor:
        """x: (windows, w*w, C), all windows of an image one after the other."""
        count, area, width = x.shape
        bias = self.qkv.bias.clone()
        bias[width : 2 * width] = 0  # keys have no bias: it would matter to cosines
        qkv = F.linear(x, self.qkv.weight, bias)
        q, k, v = qkv.view(count, area, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        scores = scores * self.logit_scale.clamp(max=LARGEST_SCALE).exp() + self.position_bias()
        if borders is not None:
            images = count // len(borders)
            scores = scores + borders.repeat(images, 1, 1)[:, None]
        y = scores.softmax(dim=-1) @ v
        return self.proj(y.transpose(1, 2).reshape(count, area, width))


def _windows(x: torch.Tensor, w: int) -> torch.Tensor:
    """(B, H, W, C) -> (B * windows, w*w, C)."""
    b, rows, columns, width = x.shape
    x = x.view(b, rows // w, w, columns // w, w, width)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, width)


def _windows_back(x: torch.Tensor, shape: Sequence[int], w: int) -> torch.Tensor:
    """The inverse of `_windows`; shape: of its input."""
    b, rows, columns, width = shape
    x = x.view(b, rows // w, columns // w, w, w, width)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, rows, columns, width)


def _borders(x: torch.Tensor, w: int, shift: Sequence[int]) -> torch.Tensor | None:
    """(windows, w*w, w*w): -100 between tokens that only the roll has made neighbours."""
    if not any(shift):
        return None
    region = x.new_zeros(x.shape[1:3])
    for axis, moved in enumerate(shift):
        size = x.shape[1 + axis]
        place = torch.arange(size, device=x.device)
        part = (place >= size - w).to(x.dtype) + (place >= size - moved).to(x.dtype)
        region = region * 3 + (part[:, None] if axis == 0 else part[None, :])
    region = _windows(region[None, ..., None], w)[..., 0]
    return (region[:, None] != region[:, :, None]).to(x.dtype) * -100.0


class Block(nn.Module):
    """Attention, then a two-layer perceptron; each is normalised and added to its input."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift)
        self.norm2 = nn.LayerNorm(width)
        # Dropout stays so that the second layer keeps its published name, `mlp.3`.
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.0), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


class Merge(nn.Module):
    """Two by two tokens become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.norm(self.reduction(torch.cat(parts, dim=-1)))


class Permute(nn.Module):
    """(B, C, H, W) -> (B, H, W, C)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


class SwinV2(nn.Module):
    """forward: (B, 3, H, W) -> (B, H/32, W/32, 8 * width) of four stages, before the last norm.

    The last norm belongs to torchvision's classifier; it is kept because the published files hold it.
    """

    def __init__(
        self,
        width: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 8,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(3, width, 4, stride=4), Permute(), nn.LayerNorm(width))
        ]
        widths = [width * 2**stage for stage in range(len(depths))]
        for stage, depth in enumerate(depths):
            shifts = [0 if i % 2 == 0 else window // 2 for i in range(depth)]
            blocks = [Block(widths[stage], heads[stage], window, shift) for shift in shifts]
            layers.append(nn.Sequential(*blocks))
            if stage + 1 < len(depths):
                layers.append(Merge(widths[stage]))
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(widths[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)
