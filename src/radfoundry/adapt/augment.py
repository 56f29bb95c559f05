"""Random views of radiographs for training: small rotation, shift, zoom, brightness, contrast; no flips.

Left and right mean something in a chest radiograph, so nothing is mirrored. Rotation, shift, zoom and
the change of size are one interpolation, so that a small image is not blurred twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Augment:
    """Half-widths of uniform draws. rotation in degrees; shift as a fraction of the half width (1 is the
    edge seen from the centre); scale, contrast as a fraction of 1; brightness as a fraction of the
    display range."""

    rotation: float = 7.0
    shift: float = 0.05
    scale: float = 0.0
    brightness: float = 0.1
    contrast: float = 0.0

    def view(self, images: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """Random views (n, C, size, size) of images (n, C, H, W) in [0, 1]; draws come from `generator`."""

        def draw(*shape: int) -> torch.Tensor:
            return (torch.rand(shape, generator=generator) * 2 - 1).to(images.device)

        n = len(images)
        angle = draw(n) * math.radians(self.rotation)
        zoom = 1 + draw(n) * self.scale
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        shift = draw(2, n) * self.shift
        theta = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
        x = _sample(images, theta, size)
        x = (x - 0.5) * (1 + draw(n, 1, 1, 1) * self.contrast) + 0.5 + draw(n, 1, 1, 1) * self.brightness
        return x.clamp_(0, 1)


def plain_view(images: torch.Tensor, size: int) -> torch.Tensor:
    """The same resampling without any change: (n, C, H, W) -> (n, C, size, size)."""
    theta = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
    return _sample(images, theta, size).clamp_(0, 1)


def shrink(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images (n, C, H, W) larger than `size` brought down to it with antialiasing; smaller ones as they are.

    Sampling a large image on a coarse grid would alias; enlarging is left to the view.
    """
    if max(images.shape[2:]) <= size:
        return images
    parts = [
        F.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)
        for part in images.split(256)
    ]
    return torch.cat(parts)


def _sample(images: torch.Tensor, theta: torch.Tensor, size: int) -> torch.Tensor:
    grid = F.affine_grid(theta, [len(images), 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
