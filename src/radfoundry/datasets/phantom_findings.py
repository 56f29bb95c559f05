"""What disease does to a phantom: first to its shape, then to its thickness. Severity runs from 0 to 1.

Every finding returns the extra water along the beam (cm) and its mask, so that the truth of a picture is
known to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from radfoundry.datasets.phantom_chest import Anatomy, Scene, ridge, rod, step

Side = int  # 0 right, 1 left


def lose_volume(a: Anatomy, side: Side, severity: float) -> Anatomy:
    """Atelectasis: the hemidiaphragm rises, the mediastinum follows, the minor fissure sinks."""
    sign = 1.0 if side else -1.0
    return replace(
        a,
        dome=_with(a.dome, side, a.dome[side] - 3.2 * severity),
        shift=a.shift + sign * 1.0 * severity,
        fissure=a.fissure + (1.6 * severity if side == 0 and a.fissure else 0.0),
    )


def trap_air(a: Anatomy, side: Side, severity: float) -> Anatomy:
    """A ball valve in one bronchus: a lucent lung with thin vessels, a low flat dome, the heart away."""
    sign = 1.0 if side else -1.0
    return replace(
        a,
        dome=_with(a.dome, side, a.dome[side] + 1.7 * severity),
        dome_drop=_with(a.dome_drop, side, a.dome_drop[side] * (1 - 0.5 * severity)),
        density=_with(a.density, side, a.density[side] - 0.13 * severity),
        vessels=_with(a.vessels, side, a.vessels[side] * (1 - 0.45 * severity)),
        shift=a.shift - sign * 1.4 * severity,
    )


def reticulation(scene: Scene, severity: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Interstitial lung abnormality: a net of fine lines below the pleura, densest at the bases.

    The lines are the zero crossings of band-limited noise: closed, irregular meshes of 3 to 6 mm.
    """
    n, px = scene.x.shape[0], scene.px_per_cm
    where = _subpleural(scene, severity) * (0.7 + 0.3 * _patches(n, 2.2 * px, rng))
    net = np.zeros_like(scene.x)
    for mesh_cm, line in ((0.42, 0.30), (0.7, 0.22)):
        noise = _unit(_noise(n, 0.32 * mesh_cm * px, rng) - _noise(n, 0.8 * mesh_cm * px, rng))
        net += np.exp(-((noise / line) ** 2)) - 0.28
    amount = min(severity, 1.5)
    haze = 2.0 * gaussian_filter(where, 0.5 * px)
    return where * net * (3.0 * amount) + haze * amount, (where > 0.22) & (amount > 0)


def plates(
    scene: Scene, side: Side, severity: float, rng: np.random.Generator, dome_y: float
) -> tuple[np.ndarray, np.ndarray]:
    """Plate-like atelectasis: one to three bands, nearly level, above one hemidiaphragm."""
    sign = 1.0 if side else -1.0
    bands = np.zeros_like(scene.x)
    for i in range(int(rng.integers(1, 4))):
        length, half = rng.uniform(3.0, 7.0), rng.uniform(0.10, 0.26)
        x0, y0 = rng.uniform(4.2, 7.0), dome_y - rng.uniform(0.8, 3.2) - 1.3 * i
        tilt = rng.normal(0.02, 0.16)
        start = _point([sign * x0, y0])
        end = _point([sign * (x0 + length * np.cos(tilt)), y0 + length * np.sin(tilt)])
        band = rod(scene.x, scene.y, start, end, float(half), bow=float(rng.normal(0, 0.35)))
        bands = np.maximum(bands, band * float(rng.uniform(0.7, 1.0)))
    bands = bands * scene.lung * step(scene.rim - 0.1, 0.2)
    crowd = np.exp(-(((scene.y - dome_y) / 2.2) ** 2)) * scene.lung * (scene.left == bool(side))
    return (3.4 * bands + 0.8 * crowd) * severity, (bands > 0.3) & (severity > 0)


def cuffing(
    scene: Scene, a: Anatomy, severity: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Chronic cough: rings and tram lines of thickened bronchial walls around the hila, and some haze."""
    extra = np.zeros_like(scene.x)
    for sign in (-1.0, 1.0):
        hilum = np.array([a.shift + sign * 3.6, a.apex + 10.6])
        for _ in range(int(rng.integers(3, 7))):
            spot = hilum + np.array([sign * abs(rng.normal(0.8, 1.2)), rng.normal(0.6, 2.0)])
            extra += _ring(scene, spot, rng.uniform(0.28, 0.5))
        for _ in range(int(rng.integers(2, 5))):
            extra += _tram(scene, hilum, sign, rng)
        d = np.hypot(scene.x - hilum[0].astype(np.float32), (scene.y - hilum[1].astype(np.float32)) * 0.7)
        extra += 0.5 * np.exp(-((d / 3.0) ** 2))
    extra = extra * scene.lung
    return extra * severity, (extra > 0.45) & (severity > 0)


def foreign_body(scene: Scene, a: Anatomy, side: Side, kind: str) -> np.ndarray:
    """cm of dense matter in a main bronchus: a 'pin', a 'tooth' or a 'bead'."""
    sign = 1.0 if side else -1.0
    x, y = a.shift + sign * 2.2, a.apex + 10.6
    if kind == "pin":
        body = rod(scene.x, scene.y, (x - sign * 0.6, y - 1.0), (x + sign * 0.6, y + 1.2), 0.14)
        return 5 * np.maximum(body, ridge(np.hypot(scene.x - x + sign * 0.6, scene.y - y + 1.0), 0.32))
    if kind == "tooth":
        return 3 * rod(scene.x, scene.y, (x, y - 0.4), (x + sign * 0.3, y + 0.5), 0.38)
    return 4 * ridge(np.hypot(scene.x - x, scene.y - y), 0.42)


def _subpleural(scene: Scene, severity: float) -> np.ndarray:
    """0..1: within some centimetres of the pleura and more so towards the base."""
    near = 1 - step(scene.rim - (1.6 + 1.6 * min(severity, 1)), 1.6)
    basal = step(scene.y - (19.5 - 5.0 * min(severity, 1)), 4.5)
    return (near * basal * scene.lung).astype(np.float32)


def _ring(scene: Scene, at: np.ndarray, radius: float) -> np.ndarray:
    d = np.hypot(scene.x - np.float32(at[0]), scene.y - np.float32(at[1]))
    return np.exp(-(((d - np.float32(radius)) / 0.11) ** 2)) - 0.3 * (d < radius)


def _tram(scene: Scene, hilum: np.ndarray, sign: float, rng: np.random.Generator) -> np.ndarray:
    angle, length, gap = rng.uniform(-0.3, 1.1), rng.uniform(2.0, 4.0), 0.26
    along = np.array([sign * np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]]) * gap
    start = hilum + along * 0.8
    walls = [
        rod(scene.x, scene.y, _point(start + off), _point(start + off + along * length), 0.1)
        for off in (across, -across)
    ]
    return 0.7 * (walls[0] + walls[1])


def _noise(n: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return _unit(gaussian_filter(rng.standard_normal((n, n), dtype=np.float32), sigma, truncate=3))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.float32(values.std() + 1e-6)


def _patches(n: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Slow noise in 0..1, made on a coarse grid because nothing finer is in it."""
    coarse = _noise(max(n // 8, 4), sigma / 8, rng)
    smooth = np.kron(coarse, np.ones((8, 8), np.float32))
    smooth = np.pad(smooth, ((0, max(0, n - len(smooth))),) * 2, mode="edge")[:n, :n]
    return np.clip(0.5 + 0.4 * gaussian_filter(smooth, 5), 0, 1)


def _with(pair: tuple[float, float], side: Side, value: float) -> tuple[float, float]:
    return (pair[0], value) if side else (value, pair[1])


def _point(at: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Python floats, because NumPy doubles would turn every float32 map into float64."""
    return float(at[0]), float(at[1])
