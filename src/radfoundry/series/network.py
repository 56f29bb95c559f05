"""The network of the series sorter: tag tokens and image tokens through one transformer, two heads.

After the published design (BERT over tags, an image network over slices, six transformer layers, heads for
modality and anatomy), with one token a tag instead of one a word: a missing tag is then a token too, and the
vectors of phrases can be computed once. Either half may be absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; with the labels they decide every tensor of a checkpoint."""

    text_tags: int
    number_tags: int
    text_dim: int
    number_dim: int
    image_tokens: int
    image_dim: int
    modalities: int
    anatomies: int
    width: int = 96
    layers: int = 6
    heads: int = 8
    feed_forward: int = 192
    dropout: float = 0.1


class SeriesNet(nn.Module):
    """forward: six arrays of `encode.Tokens` as tensors -> (modality logits, anatomy logits, embedding).

    embedding: (B, 2 × width), the two class tokens after the last layer; open-set distances use it.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        d = shape.width
        self.phrase = nn.Linear(shape.text_dim, d)
        self.number = nn.Parameter(torch.empty(shape.number_tags, shape.number_dim, d))
        self.image = nn.Sequential(nn.LayerNorm(shape.image_dim), nn.Linear(shape.image_dim, d))
        self.histogram = nn.Linear(shape.image_dim, d)
        tokens = shape.text_tags + shape.number_tags + shape.image_tokens
        self.place = nn.Parameter(torch.empty(tokens, d))
        self.missing = nn.Parameter(torch.empty(tokens, d))
        self.classes = nn.Parameter(torch.empty(2, d))
        layer = nn.TransformerEncoderLayer(
            d, shape.heads, shape.feed_forward, shape.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, shape.layers, nn.LayerNorm(d), enable_nested_tensor=False)
        self.modality = nn.Linear(d, shape.modalities)
        self.anatomy = nn.Linear(d, shape.anatomies)
        for table in (self.number, self.place, self.missing, self.classes):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(
        self, phrases: torch.Tensor, phrases_known: torch.Tensor, numbers: torch.Tensor,
        numbers_known: torch.Tensor, images: torch.Tensor, images_known: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        pictures = torch.cat([self.image(images[:, :-1]), self.histogram(images[:, -1:])], dim=1)
        values = torch.einsum("bnw,nwd->bnd", numbers, self.number)
        found = torch.cat([self.phrase(phrases), values, pictures], dim=1)
        known = torch.cat([phrases_known, numbers_known, images_known], dim=1)[..., None]
        tokens = torch.where(known, found, self.missing) + self.place
        first = self.classes.expand(tokens.shape[0], -1, -1)
        out = self.layers(torch.cat([first, tokens], dim=1))
        return self.modality(out[:, 0]), self.anatomy(out[:, 1]), out[:, :2].flatten(1)
