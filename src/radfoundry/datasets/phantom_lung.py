"""A piece of lung on CT, drawn from a handful of lengths: parenchyma, vessels, chest wall, and two scanners.

Coordinates: millimetres from the middle of the piece; x grows to the patient's left, y to the back, z to the
head. Arrays are (I, J, K) along x, y, z. The picture is meant to be read, not to be measured: nothing here
reproduces a scanner or a patient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field as field_of

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter, gaussian_filter1d

AIR, FAT, MUSCLE, MARROW, CORTEX = -1000.0, -100.0, 50.0, 250.0, 800.0  # HU
LUNG_HU = -865.0
THINNEST = 0.4  # mm, radius of the last vessel that is followed (thicker where voxels could not show it)
SUBPLEURAL = 4.0  # mm below the pleura in which no vessel is seen


@dataclass(frozen=True)
class Field:
    """The voxels of a piece. shape: (I, J, K); spacing: mm along x, y, z."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    def axis(self, which: int) -> np.ndarray:
        """Position of the voxel centres along one axis, (n,) float32 in mm, shaped to broadcast."""
        n = self.shape[which]
        along = (np.arange(n, dtype=np.float32) - (n - 1) / 2) * np.float32(self.spacing[which])
        return along.reshape([n if a == which else 1 for a in range(3)])

    @property
    def half(self) -> np.ndarray:
        """Half the extent along x, y, z in mm, (3,)."""
        return np.array(self.shape) * np.array(self.spacing) / 2

    @property
    def edge(self) -> float:
        """Width over which a drawn border runs from 0 to 1, in mm: about a voxel."""
        return float(np.prod(self.spacing)) ** (1 / 3)

    def box(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice, slice]:
        """The voxels between two corners in mm; a slice is empty where the box lies outside."""
        spacing, n = np.array(self.spacing), np.array(self.shape)
        first = np.clip(np.floor(low / spacing + (n - 1) / 2), 0, n).astype(int)
        last = np.clip(np.ceil(high / spacing + (n - 1) / 2) + 1, first, n).astype(int)
        i, j, k = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return i, j, k

    def noise(self, rng: np.random.Generator, correlation_mm: float) -> np.ndarray:
        """Smooth noise of mean 0 and standard deviation 1, float32."""
        sigma = [correlation_mm / s for s in self.spacing]
        # Blobs larger than a few voxels are drawn on a coarser grid, which looks the same and is far faster.
        step = [max(1, int(s / 1.5)) for s in sigma]
        coarse = [-(-n // k) + 1 for n, k in zip(self.shape, step, strict=True)]
        fine = [s / k for s, k in zip(sigma, step, strict=True)]
        out = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), fine, mode="wrap", truncate=3)
        for axis, (n, k) in enumerate(zip(self.shape, step, strict=True)):
            out = _stretched(out, axis, n, k)
        return (out - out.mean()) / max(float(out.std()), 1e-6)


@dataclass(frozen=True)
class Wall:
    """The inside of the chest: an ellipsoid that the lung fills. centre: (x, y, z) mm; radius: in a slice."""

    centre: tuple[float, float, float]
    radius: float
    flat: float = 0.55  # of the radius in a slice over that from base to apex
    fat: float = 14.0  # mm of subcutaneous fat begin so far outside
    rib_phase: float = 0.0

    def depth(self, field: Field) -> np.ndarray:
        """Depth below the pleura in mm, negative in the chest wall."""
        x, y, z = (field.axis(a) - np.float32(self.centre[a]) for a in range(3))
        return np.float32(self.radius) - np.sqrt(x * x + y * y + (np.float32(self.flat) * z) ** 2)

    def depth_at(self, point: np.ndarray) -> float:
        """Depth of one point (x, y, z), mm."""
        d = point - np.array(self.centre)
        return self.radius - float(np.sqrt(d[0] ** 2 + d[1] ** 2 + (self.flat * d[2]) ** 2))


@dataclass(frozen=True)
class Chest:
    """What the lesions of a patient share. medial: +1 where the heart lies towards +x (right lung)."""

    medial: int = 1
    emphysema: float = 0.0  # 0 none .. 1 much
    blood: float = 40.0  # HU
    haze: float = 0.0  # HU above a lung in full inspiration


@dataclass(frozen=True)
class Rod:
    """A tapering rod. start, end: (3,) mm; radius at both: mm; weight: coverage on its axis."""

    start: np.ndarray
    end: np.ndarray
    radius: tuple[float, float]
    weight: float = 1.0


@dataclass(frozen=True)
class Tree:
    """Vessels, and the wall and lumen of the bronchi that run with them."""

    blood: list[Rod] = field_of(default_factory=list)
    walls: list[Rod] = field_of(default_factory=list)
    lumen: list[Rod] = field_of(default_factory=list)


@dataclass(frozen=True)
class Scanner:
    """psf: standard deviation of the blur in a slice, mm; noise: HU; grain: correlation of the noise, mm;
    sharpening: share of the detail that the kernel adds again."""

    psf: float
    noise: float
    grain: float
    sharpening: float


SCANNERS = {"CT-1": Scanner(0.62, 22, 0.75, 0.0), "CT-2": Scanner(0.45, 42, 0.5, 0.55)}
"""A smooth and a sharp reconstruction kernel."""


def lung(field: Field, chest: Chest, wall: Wall | None, rng: np.random.Generator) -> np.ndarray:
    """Lung with vessels, bronchi and, where given, chest wall: HU before the scanner, float32."""
    y = field.axis(1)
    hu = LUNG_HU + chest.haze + np.float32(0.35) * y + 10 * field.noise(rng, 1.4) + 9 * field.noise(rng, 7.0)
    if chest.emphysema:
        hole = np.clip(field.noise(rng, 3.0) - np.float32(1.2 - chest.emphysema), 0, 1)
        hu = hu - 90 * chest.emphysema * hole
    fissure = _fissure(field, rng)
    if fissure is not None:
        hu = hu + 170 * fissure
    tree = _vessels(field, chest, wall, rng)
    for drawn, density in ((tree.walls, -200.0), (tree.lumen, AIR + 30), (tree.blood, chest.blood)):
        hu = hu + rods(field, drawn) * (np.float32(density) - hu)
    if wall is not None:
        depth = wall.depth(field)
        outside = cover(-depth, field.edge)
        hu = hu + outside * (_chest_wall(field, wall, -depth, rng) - hu)
    return hu.astype(np.float32)


def scan(hu: np.ndarray, field: Field, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """What the scanner makes of it: blur, kernel and noise of its grain; int16 HU."""
    sx, sy, _ = field.spacing
    out = gaussian_filter1d(hu, scanner.psf / sx, axis=0, truncate=3)
    out = gaussian_filter1d(out, scanner.psf / sy, axis=1, truncate=3)
    out = gaussian_filter1d(out, 0.35, axis=2, truncate=3)  # a slice is about as thick as its increment
    if scanner.sharpening:
        soft = gaussian_filter1d(gaussian_filter1d(out, 0.9 / sx, axis=0, truncate=3), 0.9 / sy, axis=1)
        out = out + np.float32(scanner.sharpening) * (out - soft)
    out = out + _grain(field, scanner, rng)
    return np.clip(np.rint(out), -1024, 3071).astype(np.int16)


def cover(inside_mm: np.ndarray, edge: float) -> np.ndarray:
    """Share of a voxel that a body covers, from the distance to its border (positive inside)."""
    return np.clip(inside_mm * np.float32(1 / edge) + np.float32(0.5), 0, 1)


def rods(field: Field, drawn: list[Rod]) -> np.ndarray:
    """Coverage of the voxels by tapering rods, float32: balls along each axis, close enough to be one rod."""
    out = np.zeros(field.shape, np.float32)
    if not drawn:
        return out
    ends = np.array([[*r.start, *r.end, *r.radius, r.weight] for r in drawn], np.float32)
    beads = 1 + np.ceil(np.linalg.norm(ends[:, 3:6] - ends[:, :3], axis=1) / (0.6 * field.edge)).astype(int)
    rod = np.repeat(np.arange(len(ends)), beads)
    t = (np.arange(len(rod)) - np.repeat(np.cumsum(beads) - beads, beads)) / np.maximum(beads[rod] - 1, 1)
    t = t.astype(np.float32)[:, None]
    at = ends[rod, :3] * (1 - t) + ends[rod, 3:6] * t
    radius = ends[rod, 6] * (1 - t[:, 0]) + ends[rod, 7] * t[:, 0]
    size = np.ceil(2 * (radius / field.edge)).astype(int)
    for one in np.unique(size):  # balls of one size share the offsets of the voxels that they reach
        chosen = size == one
        _balls(out, field, at[chosen], radius[chosen], ends[rod[chosen], 8])
    return out


def _balls(out: np.ndarray, field: Field, at: np.ndarray, radius: np.ndarray, weight: np.ndarray) -> None:
    """Raise `out` to the coverage by balls. at: (m, 3) mm; radius, weight: (m,)."""
    spacing, shape = np.array(field.spacing, np.float32), np.array(field.shape)
    reach = np.ceil((float(radius.max()) + field.edge / 2) / spacing).astype(int)
    exact = at / spacing + (shape - 1) / 2
    middle = np.rint(exact).astype(int)
    near = ((middle >= -reach) & (middle < shape + reach)).all(axis=1)
    exact, middle, radius, weight = exact[near], middle[near], radius[near], weight[near]
    room = shape + 4 * reach  # so wide that no ball has to be cut at the border
    square, flat = np.float32(0), 0
    for axis, r in enumerate(reach):
        index = middle[:, axis, None] + np.arange(-r, r + 1)
        gap = (index - exact[:, axis, None]).astype(np.float32) * spacing[axis]
        into = [slice(None), *(slice(None) if a == axis else None for a in range(3))]
        square = square + (gap * gap)[tuple(into)]
        flat = flat * room[axis] + (index + 2 * r)[tuple(into)]
    # A rod thinner than a voxel covers part of it only.
    thin = weight * np.minimum(radius * np.float32(1.6 / field.edge), 1)
    each = (slice(None), None, None, None)
    value = thin[each] * cover(radius[each] - np.sqrt(square), field.edge)
    kept = value > 0
    wide = np.zeros(int(np.prod(room)), np.float32)
    np.maximum.at(wide, np.broadcast_to(flat, value.shape)[kept], value[kept])
    middle_part = tuple(slice(2 * r, 2 * r + n) for r, n in zip(reach, shape, strict=True))
    np.maximum(out, wide.reshape(room)[middle_part], out=out)


def turned(direction: np.ndarray, angle: float, rng: np.random.Generator) -> np.ndarray:
    """A unit vector at `angle` (radians) from `direction`, towards a random side."""
    return math.cos(angle) * direction + math.sin(angle) * _beside(direction, rng.standard_normal(3))


def _beside(direction: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """The unit vector across `direction` that is nearest to `hint`."""
    side = hint - (hint @ direction) * direction
    return side / max(math.sqrt(side @ side), 1e-9)


# --- vessels and bronchi -------------------------------------------------------------------------------


def _vessels(field: Field, chest: Chest, wall: Wall | None, rng: np.random.Generator) -> Tree:
    """Vessels of every calibre; the larger ones of two trees have their bronchus."""
    tree, half, thinnest = Tree(), field.half, max(THINNEST, 0.25 * field.edge)
    for number in range(int(rng.integers(7, 12))):
        # Trees enter from the hilum, which lies beyond the medial border, and spread to the pleura.
        at = np.array([chest.medial * half[0], *rng.uniform(-0.9, 0.9, 2) * half[1:]])
        aim = np.array([-chest.medial * half[0] * rng.uniform(0.2, 1), *rng.uniform(-0.9, 0.9, 2) * half[1:]])
        direction = (aim - at) / np.linalg.norm(aim - at)
        _grow(tree, half, thinnest, wall, rng, at, direction, float(rng.uniform(0.9, 2.4)), number < 2)
    for _ in range(int(rng.integers(14, 24))):  # twigs whose trunk lies above or below
        up = float(rng.choice([-1, 1]))
        at = np.array([*rng.uniform(-1, 1, 2), up * rng.uniform(0.3, 1)]) * half
        direction = turned(np.array([0.0, 0.0, -up]), float(rng.uniform(0.3, 1.4)), rng)
        _grow(tree, half, thinnest, wall, rng, at, direction, float(rng.uniform(0.5, 1.0)), False)
    return tree


def _grow(
    tree: Tree, half: np.ndarray, thinnest: float, wall: Wall | None, rng: np.random.Generator,
    at: np.ndarray, direction: np.ndarray, radius: float, airway: bool,
) -> None:  # fmt: skip
    """Add one vessel branch by branch: radii of daughters follow Murray's law, branches bend and taper."""
    beyond, stack = half + 3, [(at, direction, radius, airway)]
    while stack:
        at, direction, radius, airway = stack.pop()
        across = _beside(direction, np.array([0.3, 0.5, 0.8]))
        for _ in range(int(rng.integers(2, 5))):
            end, thinner = at + direction * (2.2 + 1.6 * radius), radius * 0.96
            tree.blood.append(Rod(at, end, (radius, thinner)))
            if airway and radius > 0.8:
                side, inner = across * (1.9 * radius + 0.8), 0.75 * radius
                tree.walls.append(Rod(at + side, end + side, (inner + 0.7, inner + 0.7)))
                tree.lumen.append(Rod(at + side, end + side, (inner, inner)))
            at, radius = end, thinner
            direction = turned(direction, abs(float(rng.normal(0, 0.16))), rng)
            if (np.abs(at) > beyond).any() or (wall is not None and wall.depth_at(at) < SUBPLEURAL):
                break
        else:
            share = float(rng.uniform(0.2, 0.5))  # of the flow, to the smaller daughter
            for part, angle in ((1 - share, 0.25), (share, 0.75)):
                daughter = radius * part ** (1 / 3) * 0.97
                if daughter > thinnest:
                    towards = turned(direction, float(rng.normal(angle, 0.12)), rng)
                    stack.append((at, towards, daughter, airway and part > 0.5))


# --- what surrounds the lung ---------------------------------------------------------------------------


def _fissure(field: Field, rng: np.random.Generator) -> np.ndarray | None:
    """A thin bent sheet in one piece of four."""
    there, tilt, at = rng.random() < 0.25, rng.normal(0, 0.35, 2), rng.uniform(-0.6, 0.6)
    bend = rng.normal(0, 0.003)
    if not there:
        return None
    x, y, z = (field.axis(a) for a in range(3))
    sheet = y * np.float32(0.75) - z * np.float32(0.65) + x * np.float32(tilt[0]) + x * x * np.float32(bend)
    return np.exp(-(((sheet - np.float32(at * field.half[1])) / np.float32(0.55 * field.edge)) ** 2))


def _chest_wall(field: Field, wall: Wall, out: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """HU of the wall, by the distance `out` (mm) outside the pleura: muscle, ribs, then fat."""
    x, y, z = (field.axis(a) for a in range(3))
    stripes = field.noise(rng, 2.5)
    hu = MUSCLE + 12 * stripes
    hu = hu + cover(1.4 - np.abs(out - np.float32(2.6)) + 0.5 * stripes, 2 * field.edge) * (FAT - hu) * 0.7
    around = np.arctan2(y - wall.centre[1], x - wall.centre[0]) * np.float32(wall.radius)
    along = z + np.float32(0.42) * around + np.float32(wall.rib_phase)
    pitch = np.float32(24.0)
    beside = np.abs(np.mod(along, pitch) - pitch / 2)
    rib = 1 - np.sqrt(((out - np.float32(7.5)) / np.float32(4.0)) ** 2 + (beside / np.float32(6.0)) ** 2)
    bone = np.where(rib * 4.0 > 1.3, MARROW + 40 * stripes, CORTEX)
    hu = hu + cover(rib * 4.0, field.edge) * (bone - hu)
    fat = cover(out - np.float32(wall.fat) + 1.5 * stripes, 2 * field.edge)
    return hu + fat * (FAT + 10 * stripes - hu)


# --- scanner -------------------------------------------------------------------------------------------


def _grain(field: Field, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Noise with the spectrum of filtered back projection: a ramp in each slice, cut off by the kernel."""
    white = rng.standard_normal((field.shape[2], field.shape[0], field.shape[1]), dtype=np.float32)
    u = np.fft.fftfreq(field.shape[0], field.spacing[0])[:, None]
    v = np.fft.rfftfreq(field.shape[1], field.spacing[1])[None, :]
    f = np.hypot(u, v)
    shape = ((f + 0.03) * np.exp(-2 * (np.pi * f * scanner.grain) ** 2 * 0.5)).astype(np.float32)
    noise = irfft2(rfft2(white) * shape, s=field.shape[:2])
    noise = gaussian_filter1d(noise, 0.4, axis=0, mode="wrap")
    noise *= np.float32(scanner.noise / max(float(noise.std()), 1e-9))
    return noise.transpose(1, 2, 0)


def _stretched(array: np.ndarray, axis: int, n: int, step: int) -> np.ndarray:
    """Linear interpolation along an axis onto n points, `step` of them to one old step."""
    if step == 1:
        return np.take(array, range(n), axis=axis)
    at = np.arange(n, dtype=np.float32) / step
    low = at.astype(int)
    part = (at - low).reshape([n if a == axis else 1 for a in range(array.ndim)])
    return np.take(array, low, axis=axis) * (1 - part) + np.take(array, low + 1, axis=axis) * part
