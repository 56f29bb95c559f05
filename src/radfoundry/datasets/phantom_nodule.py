"""A lung nodule drawn from three numbers: volume, spiculation and heterogeneity.

The body is star-shaped: its border lies at a radius that depends on the direction alone, so that it is one
piece, holds its centre, and can be scaled to a wanted volume whatever its shape. Spiculation sets height and
number of its spikes and of the strands that go on into the lung; heterogeneity sets how far patches of less
density go. Both leave the mean density and the volume of the body as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from radfoundry.datasets.phantom_lung import Field, Rod, Wall, cover, rods, turned

QUIET_HU = 8.0  # standard deviation inside a homogeneous nodule
PATCH_HU = 450.0  # how much less dense the patches of a fully heterogeneous nodule are
STRAND_HU = 0.0


@dataclass(frozen=True)
class Nodule:
    """volume: mm3, of the body if nothing cuts it off. spiculation, heterogeneity: 0 to 1. density: mean HU.
    centre: (x, y, z) mm from the middle of the piece."""

    volume: float
    spiculation: float
    heterogeneity: float
    density: float
    centre: tuple[float, float, float]

    @property
    def radius(self) -> float:
        """Of the sphere of the same volume, mm."""
        return (3 * self.volume / (4 * math.pi)) ** (1 / 3)


@dataclass(frozen=True)
class Shape:
    """The border, as a radius (mm) by direction. axes: (3, 3) of the ellipsoid; waves: lobes; spikes: unit
    vectors (n, 3) with height (n,) as a part of the radius and width (n,) as a chord."""

    axes: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    swell: np.ndarray
    spikes: np.ndarray
    height: np.ndarray
    width: np.ndarray
    scale: float = 1.0

    def radius(self, direction: np.ndarray) -> np.ndarray:
        """direction: (m, 3) unit vectors; returns (m,) mm."""
        r = 1 / np.linalg.norm(direction @ self.axes, axis=1)
        r = r * (1 + np.cos(direction @ self.waves + self.phases) @ self.swell)
        if len(self.spikes):
            chord = np.sqrt(np.maximum(2 - 2 * direction @ self.spikes.T, 0))
            peak = np.maximum(1 - chord / self.width, 0)
            r = r + (peak * np.sqrt(peak)) @ self.height
        return self.scale * r


def draw(
    hu: np.ndarray, field: Field, nodule: Nodule, wall: Wall | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(HU with the nodule, mask): arrays as the field; where a wall is given it cuts the nodule off."""
    shape = _shape(nodule, rng)
    box, inside = _inside(field, nodule, shape)
    free = np.float32(np.inf) if wall is None else wall.depth(field)[box]
    body = cover(np.minimum(inside, free), field.edge)
    mask = np.zeros(field.shape, bool)
    mask[box] = (inside > 0) & (free > 0)
    strands = _strands(field, nodule, shape, wall, rng)
    hu = hu + strands * np.maximum(STRAND_HU - hu, 0)
    texture = _texture(field, box, nodule, mask[box], rng)
    part = hu[box]
    hu[box] = part + body * (texture - part)
    return hu, mask


def _shape(nodule: Nodule, rng: np.random.Generator) -> Shape:
    """Ellipsoid, lobes and spikes, scaled to the volume."""
    s = nodule.spiculation
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    count = round(8 + 44 * s)
    rough = Shape(
        axes=_single(turn / rng.uniform(0.82, 1.2, 3)),
        waves=_single(rng.standard_normal((3, 7)) * 2.2),
        phases=_single(rng.uniform(0, 2 * np.pi, 7)),
        swell=_single(rng.standard_normal(7) * (0.02 + 0.03 * s)),
        spikes=_directions(count, rng),
        height=_single(0.6 * s**1.2 * rng.uniform(0.15, 1.0, count) ** 1.3),
        width=_single(rng.uniform(0.2, 0.45, count)),
    )
    volume = 4 * math.pi / 3 * float(np.mean(rough.radius(_sphere(2000)) ** 3))
    return replace(rough, scale=(nodule.volume / volume) ** (1 / 3))


def _inside(field: Field, nodule: Nodule, shape: Shape) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """The box around the nodule, and how far its voxels lie inside the border along the radius (mm)."""
    centre = np.array(nodule.centre)
    reach = float(shape.radius(_sphere(2000)).max()) * 1.1 + 2 * field.edge
    box = field.box(centre - reach, centre + reach)
    x, y, z = np.broadcast_arrays(
        *(np.take(field.axis(a), range(box[a].start, box[a].stop), axis=a) - centre[a] for a in range(3))
    )
    r = np.sqrt(x * x + y * y + z * z)
    inside = np.full(r.shape, -1e3, np.float32)
    near = r < reach
    away = np.maximum(r[near], 1e-6)
    direction = _single(np.stack([x[near], y[near], z[near]], axis=1) / away[:, None])
    inside[near] = shape.radius(direction) - r[near]
    return box, inside


def _strands(
    field: Field, nodule: Nodule, shape: Shape, wall: Wall | None, rng: np.random.Generator
) -> np.ndarray:
    """Coverage by thin strands that go on from the spikes into the lung; no part of the mask."""
    drawn: list[Rod] = []
    s, centre = nodule.spiculation, np.array(nodule.centre)
    starts = _directions(round(90 * max(s - 0.12, 0)), rng)
    for start, border in zip(starts, shape.radius(starts), strict=True):
        at, direction = centre + start * border * 0.8, start
        length = (0.25 + s) * rng.gamma(3, 0.3) * (3.0 + 0.35 * nodule.radius) + 0.2 * border
        radius = rng.uniform(0.6, 1.05)
        for step in range(3):
            if wall is not None and wall.depth_at(at) < 0:
                break
            end = at + direction * length / 3
            drawn.append(Rod(at, end, (radius * (1 - step / 4), radius * (1 - (step + 1) / 4))))
            at, direction = end, turned(direction, abs(float(rng.normal(0, 0.12))), rng)
    return rods(field, drawn)


def _texture(
    field: Field, box: tuple[slice, slice, slice], nodule: Nodule, mask: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """HU inside the nodule: its mean over the mask is the nodule's density."""
    n = [b.stop - b.start for b in box]
    part = Field((n[0], n[1], n[2]), field.spacing)
    size = 0.9 + 0.08 * nodule.radius
    patches = 1 / (1 + np.exp(-5 * (part.noise(rng, size) - 0.75)))
    fine = part.noise(rng, 1.0)
    h = nodule.heterogeneity
    hu = (QUIET_HU + 30 * h) * fine - PATCH_HU * h * patches
    return (nodule.density + hu - float(hu[mask].mean())).astype(np.float32)


def _directions(n: int, rng: np.random.Generator) -> np.ndarray:
    """n random unit vectors, (n, 3)."""
    out = rng.standard_normal((n, 3))
    return _single(out / np.linalg.norm(out, axis=1, keepdims=True))


def _single(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)


def _sphere(n: int) -> np.ndarray:
    """n directions spread evenly, (n, 3): the golden spiral."""
    i = np.arange(n) + 0.5
    z, angle = 1 - 2 * i / n, np.pi * (1 + 5**0.5) * i
    r = np.sqrt(1 - z * z)
    return _single(np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1))
