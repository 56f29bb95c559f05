"""A plain 3D Vision Transformer without a class token, with MONAI's key names (`blocks.0.attn.qkv.weight`).

Dosovitskiy et al. 2021, arXiv:2010.11929, on cubes instead of squares. MONAI's own class needs einops
and, from version 1.4 on, holds tensors that weights trained with 1.3 lack; so it is written out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class PatchEmbedding(nn.Module):
    """Cubes of voxels to tokens, in the order of the array, plus a learned position each."""

    def __init__(self, image: Sequence[int], patch: Sequence[int], width: int) -> None:
        super().__init__()
        tokens = prod(n // p for n, p in zip(image, patch, strict=True))
        cube: Any = tuple(patch)
        self.patch_embeddings = nn.Conv3d(1, width, cube, stride=cube)
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, width))
        nn.init.trunc_normal_(self.position_embeddings, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.patch_embeddings(x).flatten(2).transpose(1, 2) + self.position_embeddings


class Attention(nn.Module):
    """Self-attention; queries, keys and values come from one layer without bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, width = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(y.transpose(1, 2).reshape(b, n, width))


class Perceptron(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear2(F.gelu(self.linear1(x)))


class Block(nn.Module):
    """Attention, then perceptron; each is normalised before and added to its input."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT3D(nn.Module):
    """forward: (B, 1, *image) -> (B, tokens, width), after the final norm."""

    def __init__(
        self,
        image: Sequence[int] = (96, 96, 96),
        patch: Sequence[int] = (16, 16, 16),
        width: int = 768,
        hidden: int = 3072,
        layers: int = 12,
        heads: int = 12,
    ) -> None:
        super().__init__()
        self.patch_embedding = PatchEmbedding(image, patch, width)
        self.blocks = nn.ModuleList(Block(width, hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embedding(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
