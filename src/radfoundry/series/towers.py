"""Image towers: slices of a series -> tokens for the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.errors import InputError
from radfoundry.series.pixels import BINS, SLICES, Pixels

NAMES = ("efficientnet-lite0",)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageTower:
    """tokens(pixels): (k + 1, dim) float32 for k slices; the last row is the histogram, padded with zeros."""

    name: str
    dim: int
    slices: int
    embed: Callable[[np.ndarray], np.ndarray]

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens of a series at most, dim)."""
        return self.slices + 1, self.dim

    def tokens(self, pixels: Pixels) -> np.ndarray:
        """Tokens of one series; the histogram token also says how many slices there are, how many late."""
        found = self.embed(pixels.slices)
        last = np.zeros((1, self.dim), np.float32)
        last[0, : 2 * BINS] = pixels.histogram.ravel()
        last[0, 2 * BINS] = len(pixels.slices) / self.slices
        last[0, 2 * BINS + 1] = pixels.late.mean()
        return np.concatenate([found.astype(np.float32), last])


def build(name: str) -> ImageTower:
    """A tower by name. InputError for an unknown one; MissingExtra without its packages."""
    check(name)
    return ImageTower(name, 1280, SLICES, _Lite0())


def check(name: str) -> None:
    """InputError unless a tower has that name."""
    if name not in NAMES:
        raise InputError(f"no image tower is called {name!r}. Known: {', '.join(NAMES)}")


class _Lite0:
    """EfficientNet-Lite0 with its packaged ImageNet weights, frozen; loaded at the first slice."""

    def __init__(self) -> None:
        self._net: Any = None

    def __call__(self, slices: np.ndarray) -> np.ndarray:
        """(n, rows, columns) in 0..1 -> (n, 1280)."""
        import torch

        if self._net is None:
            from radfoundry.encoders.efficientnet import build_efficientnet_lite0
            from radfoundry.encoders.nets.efficientnet_lite import folded

            self._net = folded(build_efficientnet_lite0())
        grey = torch.from_numpy(np.ascontiguousarray(slices, np.float32))[:, None]
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        with torch.inference_mode():
            x = ((grey.expand(-1, 3, -1, -1) - mean) / std).contiguous(memory_format=torch.channels_last)
            return self._net.embed(x).numpy()
