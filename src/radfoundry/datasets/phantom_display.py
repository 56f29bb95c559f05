"""From thickness to a picture: Beer-Lambert, photon noise, the look of a site, and the side marker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image as Raster
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

MU_WATER = 0.155  # per cm; below the narrow-beam value, because scatter lowers contrast
MU_BONE = 0.30  # per cm, beyond the water it replaces


@dataclass(frozen=True)
class Look:
    """How a scanner shows a radiograph.

    photons: detected in air per pixel. gamma > 1 darkens the lungs. sharpen: gain of the fine detail.
    local: gain of mid-sized detail (multi-frequency processing). marker: its text, style and place.
    """

    photons: float = 9e4
    gamma: float = 1.0
    sharpen: float = 0.5
    local: float = 0.25
    black: float = 0.0
    white: float = 1.0
    blur: float = 0.45
    marker: str = "L"
    boxed: bool = False


LOOKS = {
    "A-1": Look(marker="L"),
    "A-2": Look(photons=6e4, gamma=1.12, sharpen=0.7, local=0.15, marker="R", boxed=True),
    "B-1": Look(3e4, gamma=0.85, sharpen=1.1, local=0.5, black=0.05, white=0.95, blur=0.7, boxed=True),
    "B-2": Look(photons=2.2e4, gamma=1.25, sharpen=0.3, local=0.1, black=0.02, blur=0.9, marker="R"),
}  # fmt: skip


def develop(water: np.ndarray, bone: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Grey levels in [0, 1], bone bright. water, bone: (n, n) cm."""
    size = water.shape[0]
    optical = MU_WATER * water + MU_BONE * bone
    scale = size / 384
    optical = gaussian_filter(optical, look.blur * scale)
    noise = rng.standard_normal(optical.shape, dtype=np.float32)
    # the variance of -log of a Poisson count is about one over the count
    optical = optical + noise * np.exp(optical / 2) / np.float32(np.sqrt(look.photons))
    fine = optical - gaussian_filter(optical, 1.6 * scale)
    middle = optical - gaussian_filter(optical, 14 * scale)
    shown = optical + np.float32(look.sharpen) * fine + np.float32(look.local) * middle
    low, high = _window(optical)
    level = np.clip((shown - low) / (high - low), 0, 1.2)
    curve = level ** np.float32(look.gamma * 1.25)
    curve = curve / (1 + 0.3 * curve * curve * curve) * 1.12  # the shoulder of the film
    return np.clip(look.black + (look.white - look.black) * curve, 0, 1)


def stamp(
    picture: np.ndarray, text: str, at: tuple[float, float], *, boxed: bool, height: float = 0.05
) -> np.ndarray:
    """The picture with a lead marker; at: (x, y) as fractions of the side."""
    size = picture.shape[0]
    canvas = Raster.fromarray((picture * 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    place = (at[0] * size, at[1] * size)
    font = _font(max(8, round(height * size)))
    if boxed:
        r = 0.6 * height * size
        ring = (place[0] - r, place[1] - r, place[0] + r, place[1] + r)
        pen.ellipse(ring, outline=245, width=max(1, round(size / 250)))
    pen.text(place, text, fill=250, font=font, anchor="mm")
    return np.asarray(canvas, dtype=np.float32) / 255


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _window(optical: np.ndarray) -> tuple[float, float]:
    """What automatic exposure does: black at the darkest tissue, white near the densest."""
    sample = optical[::4, ::4]
    inside = sample[sample > 0.35]
    low, high = np.quantile(inside if inside.size > 100 else sample, [0.01, 0.985])
    return float(low) - 0.25, float(high)
