"""Vision transformer with the key names of timm, and a linear projection beside it as in open_clip.

Dosovitskiy et al. 2021, arXiv:2010.11929: layer norm before attention and MLP, exact GELU, a class token.
timm sets the epsilon of its layer norms to 1e-6; open_clip's projection has no bias.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

EPS = 1e-6
MLP_RATIO = 4
INITIAL_STD = 0.02


class Attention(nn.Module):
    """Multi-head self-attention; rows of `qkv` are queries, keys, values, each ordered by head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a two-layer MLP, each on normalised tokens and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(width, MLP_RATIO * width),
                act=nn.GELU(),
                fc2=nn.Linear(MLP_RATIO * width, width),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Trunk(nn.Module):
    """(B, 3, image, image) -> (B, width): the class token after the final layer norm."""

    def __init__(self, *, width: int, layers: int, heads: int, image: int, patch: int) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1)
        return self.norm(self.blocks(tokens + self.pos_embed))[:, 0]


class ProjectedViT(nn.Module):
    """embed: (B, 3, image, image) -> (B, dim). image and patch in pixels."""

    def __init__(self, *, width: int, layers: int, heads: int, image: int, patch: int, dim: int) -> None:
        super().__init__()
        self.trunk = Trunk(width=width, layers=layers, heads=heads, image=image, patch=patch)
        self.head = nn.ModuleDict({"proj": nn.Linear(width, dim, bias=False)})
        _initialise(self)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """The projected class token, not normalised."""
        return self.head["proj"](self.trunk(x))


def _initialise(net: ProjectedViT) -> None:
    """Normal of the usual width, zero biases; He's rule is for ReLU, not for transformers."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=INITIAL_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for tokens in (net.trunk.cls_token, net.trunk.pos_embed):
        nn.init.normal_(tokens, std=INITIAL_STD)
