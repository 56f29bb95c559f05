"""UMedPT for volumes: a 2D Swin-V2 on every slice, a squeezer to 512 numbers, a pool over the bag of slices.

Schäfer et al. 2024, doi:10.1038/s43588-024-00662-z. Key names are those of the released blocks side by side:
`encoder.model.wrapped_model.*`, `squeezer.*`, `grouper.*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from radfoundry.encoders.nets.swin_v2 import SwinV2
from radfoundry.errors import RadfoundryError

Pool = Literal["weighted", "attention", "gated", "mean"]
SLICES_AT_ONCE = 16


class Weighted(nn.Module):
    """g = (1/n) sum_i sigmoid(w h_i + b) h_i: divided by the number of slices, not by the sum of weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weightgiver = nn.Linear(dim, 1)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return (torch.sigmoid(self.weightgiver(h)) * h).mean(dim=0)


class Attention(nn.Module):
    """g = sum_i a_i h_i, a = softmax(w tanh(V h_i)). Ilse et al. 2018, arXiv:1802.04712."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(dim, dim // 2), nn.Tanh(), nn.Linear(dim // 2, 1))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return (self.attention(h).softmax(dim=0) * h).sum(dim=0)


class GatedAttention(nn.Module):
    """As Attention, with a gate: a = softmax(w (tanh(V h_i) * sigmoid(U h_i))), then a linear map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention_v = nn.Sequential(nn.Linear(dim, dim // 3), nn.Tanh())
        self.attention_u = nn.Sequential(nn.Linear(dim, dim // 3), nn.Sigmoid())
        self.attention = nn.Linear(dim // 3, 1)
        self.mapper = nn.Sequential(nn.Dropout(0.0), nn.Linear(dim, dim))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        weight = self.attention(self.attention_v(h) * self.attention_u(h)).softmax(dim=0)
        return self.mapper((weight * h).sum(dim=0))


POOLS: dict[str, Any] = {"weighted": Weighted, "attention": Attention, "gated": GatedAttention}


class UMedPT(nn.Module):
    """embed: a bag of slices (S, 3, H, W) -> (1, dim)."""

    def __init__(
        self,
        width: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 8,
        dim: int = 512,
        pool: Pool = "weighted",
    ) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise RadfoundryError(f"pool {pool!r} is unknown: use {', '.join(get_args(Pool))}.")
        swin = SwinV2(width, depths, heads, window)
        self.encoder = nn.ModuleDict({"model": nn.ModuleDict({"wrapped_model": swin})})
        last = width * 2 ** (len(depths) - 1)
        # One group: the released blocks replace every batch norm by it.
        self.squeezer = nn.ModuleDict({"norm": nn.GroupNorm(1, dim), "conv": nn.Conv2d(last, dim, 1)})
        self.grouper = nn.ModuleDict({} if pool == "mean" else {"reducer": POOLS[pool](dim)})

    def slice_vectors(self, slices: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W) -> (n, dim): pool, 1x1 convolution, norm, GELU, in the released order."""
        found = []
        for part in slices.split(SLICES_AT_ONCE):
            maps = self.encoder["model"]["wrapped_model"](part)  # type: ignore[index]
            latent = maps.mean(dim=(1, 2))[..., None, None]
            found.append(F.gelu(self.squeezer["norm"](self.squeezer["conv"](latent))).flatten(1))
        return torch.cat(found)

    def embed(self, bag: torch.Tensor) -> torch.Tensor:
        """One bag pooled; slices of one value throughout, which are padding, are left out of it."""
        h = self.slice_vectors(bag[_filled(bag)])
        pooled = self.grouper["reducer"](h) if "reducer" in self.grouper else h.mean(dim=0)
        return pooled[None]

    def forward(self, bag: torch.Tensor) -> torch.Tensor:
        return self.embed(bag)


def _filled(bag: torch.Tensor) -> torch.Tensor:
    """Which slices show something; all of them when none does."""
    flat = bag.flatten(1)
    filled = flat.amax(dim=1) > flat.amin(dim=1)
    return filled if bool(filled.any()) else torch.ones_like(filled)
