"""Pixels of phantom series: the tissue map of a patient seen by a protocol, with the faults of real images.

Distortion and dropout of echo-planar images, blur of a coarse matrix, thick slices, a bias field, Rician
noise, an arbitrary scale. All lengths in mm, LPS.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from radfoundry.datasets.phantom_series_anatomy import Tissue, TissueMap, head
from radfoundry.datasets.phantom_series_body import BODIES, MIDDLES
from radfoundry.datasets.phantom_series_headers import Stack
from radfoundry.datasets.phantom_series_joints import JOINT_BODIES
from radfoundry.datasets.phantom_series_protocols import Protocol
from radfoundry.datasets.phantom_series_signal import map_values, tissue_signal
from radfoundry.datasets.phantom_series_vendors import Frame, Scanner

MAPPED = frozenset(
    {"adc", "expadc", "fa", "colfa", "md", "tensor-trace", "cbf", "cbv", "mtt", "ttp", "tmax", "ct"}
)
PHASES = frozenset({"phase", "phasediff", "b0map"})
SLAB_SAMPLES = 12


class Scene:
    """One patient. Shape differs from the map by an affine change and a smooth bend of the coordinates."""

    def __init__(self, part: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.part = part
        self.map: TissueMap = head(rng) if part == "Brain" else (BODIES | JOINT_BODIES)[part](rng)
        self.occupied = ndimage.maximum_filter((self.map.labels > 0).view(np.uint8), 3).astype(bool)
        self.mixed: tuple[np.ndarray, ...] = ()
        if self.map.fractions is not None:
            plain = np.isin(self.map.labels, (Tissue.GREY, Tissue.WHITE, Tissue.CSF))
            soft = np.flatnonzero((sum(self.map.fractions) > 0) & plain)
            self.mixed = (soft, *(part.ravel()[soft] for part in self.map.fractions))
        self.middle = np.array(MIDDLES.get(part, (0.0, 0.0, 0.0)))
        spread = 0.06 if part == "Brain" else 0.09
        shear = rng.normal(0, 0.025, (3, 3))
        self.matrix = np.diag(rng.uniform(1 - spread, 1 + spread, 3)) + shear * (1 - np.eye(3))
        self.bends = [
            (rng.normal(0, 1, 3) / rng.uniform(35, 80), rng.uniform(0, 6.28), rng.normal(0, 1.6, 3))
            for _ in range(3)
        ]
        self.side = float(rng.choice([-1, 1]))
        self.field = rng.normal(0, 1, 6)

    def signal(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """(x, y, z) float32 of the map: the value of each voxel's tissue, mixed in the brain."""
        out = values.astype(np.float32)[self.map.labels]
        if self.mixed:
            soft, grey, white, fluid = self.mixed
            g, w, f = (np.float32(values[t]) for t in (Tissue.GREY, Tissue.WHITE, Tissue.CSF))
            out.ravel()[soft] = grey * g + white * w + fluid * f
        return out if weights is None else out * weights

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """Voxel coordinates (3, ...) of points (3, ...) in mm about the middle of the body part."""
        bent = points.astype(np.float32)
        shift = np.zeros_like(bent)
        for wave, offset, reach in self.bends:
            swing = np.sin(np.tensordot(wave.astype(np.float32), bent, 1) + np.float32(offset))
            shift += reach.astype(np.float32)[:, None, None, None] * swing
        moved = (
            np.tensordot(self.matrix.astype(np.float32), bent + shift, 1)
            + self.middle.astype(np.float32)[:, None, None, None]
        )
        size = np.array(self.map.labels.shape, np.float32)[:, None, None, None]
        return moved / np.float32(self.map.step) + (size - 1) / 2

    def off_resonance(self, points: np.ndarray) -> np.ndarray:
        """Smooth field about the middle, in arbitrary units of about 1; strong above air in the head."""
        x, y, z = (axis / np.float32(80) for axis in points)
        a = self.field
        smooth = (
            a[0] * x
            + a[1] * y
            + a[2] * z
            + 0.6 * a[3] * x * y
            + 0.6 * a[4] * (z * z - 0.3)
            + 0.6 * a[5] * x * z
        )
        if self.part != "Brain":
            return smooth
        sinus = np.exp(-(((x * 80) / 16) ** 2 + ((y * 80 + 52) / 22) ** 2 + ((z * 80 + 28) / 16) ** 2))
        ears = sum(
            np.exp(-(((x * 80 - s * 46) / 14) ** 2 + ((y * 80 - 2) / 14) ** 2 + ((z * 80 + 46) / 12) ** 2))
            for s in (-1, 1)
        )
        return smooth * 0.5 + 3.2 * sinus + 2.2 * ears


class Trilinear:
    """Linear interpolation at fixed voxel coordinates (3, ...), for many volumes of one shape.

    Several times quicker than a general resampler, since places and weights are found once. Beyond the grid
    its border is repeated, so that a body goes on above and below its map.
    """

    def __init__(self, at: np.ndarray, occupied: np.ndarray) -> None:
        """occupied: voxels that differ from air, or touch one that does; elsewhere nothing is computed."""
        shape = occupied.shape
        self.shape = at.shape[1:]
        self.strides = (shape[1] * shape[2], shape[2], 1)
        axes = [np.clip(axis, 0, size - 1.001).ravel() for axis, size in zip(at, shape)]
        lows = [axis.astype(np.int32) for axis in axes]
        first = (lows[0] * shape[1] + lows[1]) * shape[2] + lows[2]
        self.inside = np.flatnonzero(occupied.ravel().take(first))
        self.first = first[self.inside]
        self.weights = [(axis[self.inside] - low[self.inside]) for axis, low in zip(axes, lows)]
        self.air = int(np.argmin(occupied))

    def __call__(self, source: np.ndarray) -> np.ndarray:
        flat = source.ravel()
        x, y, z = self.weights
        rows = []
        for i in (0, self.strides[0]):
            for j in (0, self.strides[1]):
                low, high = flat.take(self.first + (i + j)), flat.take(self.first + (i + j + 1))
                high -= low
                high *= z
                high += low
                rows.append(high)
        front, back = rows[0] + (rows[1] - rows[0]) * y, rows[2] + (rows[3] - rows[2]) * y
        out = np.full(int(np.prod(self.shape)), flat[self.air], np.float32)
        out[self.inside] = front + (back - front) * x
        return out.reshape(self.shape)


def images(
    p: Protocol, frames: list[Frame], stacks: list[Stack], scene: Scene, scanner: Scanner, origin: np.ndarray,
    rng: np.random.Generator
) -> tuple[np.ndarray, float, float]:  # fmt: skip
    """((frames, rows, columns) uint16, rescale slope, intercept); pages of text have an axis of colour."""
    if p.image == "screen":
        return _pages(p, rng), 1.0, 0.0
    if scene.part == "Hip" and p.rows * p.spacing < 260:
        origin = origin - np.array([scene.side * 84.0, 0, 0])
    if p.image in ("turning-mip",):
        return _stored(p, _turning(p, stacks, scene, scanner, rng), scanner, rng)
    seen = _Seen(p, scene, scanner, origin, rng)
    out = np.empty((len(frames), p.rows, p.columns), np.float32)
    made: dict[tuple, np.ndarray] = {}
    for i, frame in enumerate(frames):
        key = (frame.stack, frame.echo, frame.volume, frame.part)
        if key not in made:
            made[key] = seen.volume(stacks[frame.stack], frame)
        out[i] = made[key][frame.slice]
    return _stored(p, out, scanner, rng)


class _Seen:
    """The stacks of one series, sampled once each and shown through its contrasts."""

    def __init__(
        self, p: Protocol, scene: Scene, scanner: Scanner, origin: np.ndarray, rng: np.random.Generator
    ) -> None:
        self.p, self.scene, self.scanner, self.origin, self.rng = p, scene, scanner, origin, rng
        self.grids: dict[int, tuple[np.ndarray, Callable[[float], Trilinear]]] = {}
        self.bases: dict[tuple, np.ndarray] = {}
        self.epi = p.sequence.startswith(("epi", "asl2d"))
        self.snr = float(np.exp(rng.uniform(np.log(9 if self.epi else 14), np.log(70)))) * (
            0.7 if scanner.tesla < 1 else 1
        )
        if p.b_values and p.image not in MAPPED:
            self.snr *= 2.2  # many averages
        self.noise: float | None = None
        self.bias = rng.normal(0, 0.22, 4) * (0.6 if rng.random() < 0.5 else 1.6)
        self.masked = rng.random() < 0.8
        self.polarity = float(rng.choice([-1, 1])) * rng.uniform(1.5, 5.0)
        self.top = 1.0

    def volume(self, stack: Stack, frame: Frame) -> np.ndarray:
        """One volume with its own noise, (slices, rows, columns)."""
        p = self.p
        points, coordinates = self.grid(stack, frame.stack)
        if (p.image in PHASES and frame.part != "M") or frame.part in ("P", "R", "I"):
            return self.phase_like(points, coordinates, stack, frame)
        base = self.base(coordinates, points, stack, frame)
        if p.image in MAPPED:
            return self.computed(base)
        level = self.noise if self.noise is not None else max(self.top, 1e-6) / self.snr
        self.noise = level
        if p.image == "m0" or p.label == "other:BOLD":
            base = base * np.float32(1 + self.rng.normal(0, 0.004))
        noisy = np.hypot(
            base + self.rng.standard_normal(base.shape, np.float32) * np.float32(level),
            self.rng.standard_normal(base.shape, np.float32) * np.float32(level),
        )
        return noisy.astype(np.float32)

    def grid(self, stack: Stack, number: int) -> tuple[np.ndarray, Callable[[float], Trilinear]]:
        """Points (3, slices, rows, columns) in mm about the middle; how to sample at mm along the normal."""
        if number not in self.grids:
            p = self.p
            k = (np.arange(stack.slices) - (stack.slices - 1) / 2) * stack.step
            r, c = (
                (np.arange(p.rows) - (p.rows - 1) / 2) * p.spacing,
                (np.arange(p.columns) - (p.columns - 1) / 2) * p.spacing,
            )
            points = (
                (stack.centre - self.origin)[:, None, None, None] + stack.normal[:, None, None,
                None] * k[None, :, None, None]
                + stack.column[:, None, None, None] * r[None, None, :, None] + stack.row[:, None, None,
                    None] * c[None, None, None, :]
            ).astype(np.float32)  # fmt: skip
            seen = points
            if self.epi:
                pull = self.scene.off_resonance(points) * np.float32(self.polarity)
                seen = points + stack.column.astype(np.float32)[:, None, None, None] * pull
            at = self.scene.coordinates(seen)
            along = (self.scene.matrix @ stack.normal / self.scene.map.step).astype(np.float32)[
                :, None, None, None
            ]
            self.grids[number] = (
                points,
                functools.cache(lambda r: Trilinear(at + along * np.float32(r), self.scene.occupied)),
            )
        return self.grids[number]

    def base(
        self, coordinates: Callable[[float], Trilinear], points: np.ndarray, stack: Stack, frame: Frame
    ) -> np.ndarray:
        """The volume before noise; volumes that differ in noise alone share it."""
        p = self.p
        phase = (
            frame.volume
            if p.label in ("other:DSC", "other:DCE", "ASL", "DWI")
            or (p.volumes > 1 and p.sequence == "ce-mra")
            else 0
        )
        key = (frame.stack, frame.echo, phase)
        if key not in self.bases:
            values = self.values(frame)
            source = self.scene.signal(values, self.anisotropy(frame))
            found = self.sampled(source, coordinates, stack)
            if p.fat == "opp":
                found = np.abs(found)
            found = self.blurred(found)
            if p.image not in MAPPED:
                found = self.shaded(found, points)
                if p.sequence in ("epi-gre", "asl2d", "gre", "swi", "megre") and self.scene.part == "Brain":
                    loss = 0.8 if p.sequence == "epi-gre" else 0.35
                    found = found * np.exp(
                        -loss
                        * np.clip(self.scene.off_resonance(points), 0, None)
                        * np.float32(p.tes[min(frame.echo, len(p.tes) - 1)] / 25)
                    )
            self.top = max(self.top if self.bases else 0.0, float(np.percentile(found[:, ::2, ::2], 97)))
            self.bases[key] = found.astype(np.float32)
        return self.bases[key]

    def values(self, frame: Frame) -> np.ndarray:
        p, tesla = self.p, self.scanner.tesla
        if p.image in MAPPED:
            return map_values(p.image, tesla, max(p.b_values, default=1000.0))
        if p.label == "other:DCE":
            return tissue_signal(
                p, tesla, dose=0.0 if frame.volume == 0 else min(1.0, 0.5 + 0.3 * frame.volume)
            )
        s = tissue_signal(
            p, tesla, echo=frame.echo, b=frame.b or 0.0, dose=0.0 if p.label == "other:DSC" else None
        )
        if p.label == "other:DSC" and frame.volume:
            blood = map_values("cbv", tesla, 0)
            s = s * np.exp(-blood * 0.13 / max(frame.volume, 1) ** 2)
        if p.label == "ASL" and p.image == "asl":
            flow = map_values("cbf", tesla, 0)
            s = (
                flow * s.max() / 120
                if self.scanner.vendor == "ge"
                else s * (1 - (flow * 4e-4 if frame.volume % 2 == 0 else 0))
            )
        return s

    def anisotropy(self, frame: Frame) -> np.ndarray | None:
        """Weights of white matter in one diffusion direction; fibres of the crown fan out from the middle."""
        fractions = self.scene.map.fractions
        if frame.direction is None or not frame.b or fractions is None:
            return None
        x, y, z = self.scene.map.axes()
        dx, dy, dz = (np.float32(part) for part in frame.direction)
        commissure = np.exp(-((x / 14) ** 2))
        fx, fy, fz = x * (0.35 + commissure) + 8 * commissure, y * 0.35, np.abs(z) + 12 * (1 - commissure)
        along = (fx * dx + fy * dy + fz * dz) ** 2 / (fx**2 + fy**2 + fz**2 + 1)
        return 1 + fractions[1] * (
            np.exp(-np.float32(frame.b) * np.float32(0.75e-3) * (2.0 * along - 0.66)) - 1
        )

    def sampled(
        self, source: np.ndarray, coordinates: Callable[[float], Trilinear], stack: Stack
    ) -> np.ndarray:
        """Slices of their thickness; slabs show their brightest or darkest voxel."""
        p, reach = self.p, None
        if p.image in ("mip", "minip"):
            reach = np.linspace(-0.5, 0.5, min(SLAB_SAMPLES, max(3, int(p.thickness / 3)))) * p.thickness
        elif p.thickness > 2.6 * self.scene.map.step and p.image != "ct":
            reach = np.array([-0.25, 0.25]) * p.thickness
        if reach is None:
            return coordinates(0.0)(source)
        join = {"mip": np.maximum, "minip": np.minimum}.get(p.image, np.add)
        found = coordinates(float(reach[0]))(source)
        for r in reach[1:]:
            found = join(found, coordinates(float(r))(source))
        return found / np.float32(len(reach)) if join is np.add else found

    def blurred(self, found: np.ndarray) -> np.ndarray:
        """Fewer acquired than reconstructed samples; long trains blur along the phase."""
        p = self.p
        coarse = np.array([p.rows / max(p.matrix[1], 8), p.columns / max(p.matrix[0], 8)])
        sigma = np.sqrt(np.clip(coarse**2 - 1, 0, None)) * 0.45
        if p.sequence in ("haste", "asl3d", "haste-loc"):
            sigma[0] += 0.6
        if sigma.max() < 0.15:
            return found
        return ndimage.gaussian_filter(found, (0, float(sigma[0]), float(sigma[1])), truncate=2.5)

    def shaded(self, found: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Coil sensitivity: a smooth exponential of position; a reference scan shows it nakedly."""
        x, y, z = (axis / np.float32(100) for axis in points)
        a = self.bias * (2.2 if self.p.modality == "CAL" else 1.0)
        lean = 0.9 if self.scene.part in ("L-spine", "T-spine", "C-spine") else 0.0  # coils lie in the table
        reach = (
            np.exp(-((points[2] / np.float32(215)) ** 4))
            if self.p.rows * self.p.spacing > 270
            else np.float32(1)
        )
        return (
            reach
            * found
            * np.exp(
                np.float32(a[0]) * x
                + np.float32(a[1] + lean) * y
                + np.float32(a[2]) * z
                + np.float32(0.5 * abs(a[3])) * (x * x + y * y)
            )
        )

    def computed(self, base: np.ndarray) -> np.ndarray:
        """A map: noisy inside, and outside either nothing or the noise of a quotient."""
        p = self.p
        if p.image == "ct":
            return base + self.rng.standard_normal(base.shape, np.float32) * np.float32(
                self.rng.uniform(5, 25)
            )
        inside = base > 1e-3
        scale = float(np.percentile(base[inside], 90)) if inside.any() else 1.0
        spread = np.float32(scale * self.rng.uniform(0.03, 0.14))
        found = base + self.rng.standard_normal(base.shape, np.float32) * spread
        outside = (
            0
            if self.masked
            else np.abs(self.rng.standard_normal(base.shape, np.float32)) * np.float32(scale * 0.5)
        )
        return np.clip(np.where(inside, found, outside), 0, None).astype(np.float32)

    def phase_like(
        self, points: np.ndarray, coordinates: Callable[[float], Trilinear], stack: Stack, frame: Frame
    ) -> np.ndarray:
        """Wrapped phase, a field in Hz, or real and imaginary parts."""
        p = self.p
        field = self.scene.off_resonance(points)
        te = (p.tes[min(frame.echo, len(p.tes) - 1)] if p.tes else 5.0) / 5.0
        vein = np.zeros(len(Tissue))
        vein[[Tissue.VEIN, Tissue.IRON]] = 1.2, 0.8
        local = self.sampled(self.scene.signal(vein), coordinates, stack)
        angle = field * (1.2 * te if p.image != "phasediff" else 1.1) + local * (
            te if p.image == "phase" else 0
        )
        if p.image == "phase":
            angle = angle - ndimage.gaussian_filter(angle, (0, 12, 12)) * (
                0.9 if p.sequence == "swi" and self.masked else 0
            )
        magnitude = self.sampled(
            self.scene.signal(tissue_signal(p, self.scanner.tesla, echo=frame.echo)), coordinates, stack
        )
        level = max(float(np.percentile(magnitude, 97)), 1e-6) / self.snr
        signal = (
            magnitude * np.exp(1j * angle)
            + (self.rng.standard_normal(angle.shape) + 1j * self.rng.standard_normal(angle.shape)) * level
        )
        if p.image == "b0map":
            inside = magnitude > 0.15 * np.percentile(magnitude, 97)
            return (
                np.where(
                    inside | (not self.masked), field * 60 + self.rng.standard_normal(field.shape) * 4, 0
                )
                + 500
            ).astype(np.float32)
        part = frame.part
        if part == "R":
            return (np.real(signal) / level / self.snr * 900 + 2048).astype(np.float32)
        if part == "I":
            return (np.imag(signal) / level / self.snr * 900 + 2048).astype(np.float32)
        return ((np.angle(signal) + math.pi) / (2 * math.pi) * 4094).astype(np.float32)


def _turning(
    p: Protocol, stacks: list[Stack], scene: Scene, scanner: Scanner, rng: np.random.Generator
) -> np.ndarray:
    """Projections of the vessels along the normal of each single-slice stack."""
    source = np.ascontiguousarray(scene.signal(tissue_signal(p, scanner.tesla))[::2, ::2, ::2])
    occupied = np.ascontiguousarray(scene.occupied[::2, ::2, ::2])
    size, step = np.array(source.shape), scene.map.step * 2
    depth = np.arange(-80, 81, 5.0)
    out = np.empty((len(stacks), p.rows, p.columns), np.float32)
    r, c = (
        (np.arange(p.rows) - (p.rows - 1) / 2) * p.spacing,
        (np.arange(p.columns) - (p.columns - 1) / 2) * p.spacing,
    )
    for i, stack in enumerate(stacks):
        points = (
            stack.normal[:, None, None, None] * depth[None, :, None, None]
            + stack.column[:, None, None, None] * r[None, None, :, None]
            + stack.row[:, None, None, None] * c[None, None, None, :]
        )
        at = points / step + (size[:, None, None, None] - 1) / 2 + (scene.middle / step)[:, None, None, None]
        out[i] = Trilinear(at.astype(np.float32), occupied)(source).max(axis=0)
    level = np.percentile(out, 97) / 40
    return np.hypot(out + rng.standard_normal(out.shape) * level, level).astype(np.float32)


def _stored(
    p: Protocol, found: np.ndarray, scanner: Scanner, rng: np.random.Generator
) -> tuple[np.ndarray, float, float]:
    """Whole numbers on the scale of the vendor; maps keep their units, times a slope where there is one."""
    if p.image == "ct":
        return np.clip(found + 1024, 0, 4095).astype(np.uint16), 1.0, -1024.0
    top = 32767 if scanner.vendor in ("ge",) else 4095
    if p.image in MAPPED or p.image in PHASES or p.image == "real-imaginary":
        factor = 10.0 if p.image in ("cbv", "mtt", "tmax") else 1.0
        return np.clip(found * factor, 0, top).astype(np.uint16), 1.0, 0.0
    peak = max(float(np.percentile(found, 99.7)), 1e-9)
    bright = float(np.exp(rng.uniform(np.log(250), np.log(3500))))
    stored = np.clip(found * (bright / peak), 0, top).round().astype(np.uint16)
    slope = round(float(rng.uniform(0.2, 4.0)), 6) if scanner.vendor == "philips" else 1.0
    return stored, slope, 0.0


TEXTS = (
    "Dose report", "Patient: PHANTOM", "Series summary", "Table position", "ROI 1  mean", "SAR  W/kg",
    "Time intensity curve", "Results", "Scan time", "Exam card", "Volume  ml", "Cursor  A", "Total mAs",
    "FINDINGS",
)  # fmt: skip


def _pages(p: Protocol, rng: np.random.Generator) -> np.ndarray:
    """Pages of text, a curve or a table, in colour."""
    from PIL import Image, ImageDraw

    out = []
    for _ in range(p.slices):
        dark = rng.random() < 0.7
        page = Image.new("RGB", (p.columns, p.rows), (0, 0, 0) if dark else (250, 250, 250))
        pen: Any = ImageDraw.Draw(page)
        ink = (235, 235, 235) if dark else (10, 10, 10)
        for y in range(4, p.rows - 10, 13):
            if rng.random() < 0.75:
                pen.text(
                    (4 + int(rng.integers(0, 20)), y),
                    f"{TEXTS[int(rng.integers(len(TEXTS)))]} {rng.uniform(0, 99):.1f}",
                    fill=ink,
                )
        if rng.random() < 0.5:
            xs = np.linspace(p.columns * 0.35, p.columns * 0.95, 20)
            ys = p.rows * (
                0.8 - 0.5 * np.exp(-((np.linspace(0, 1, 20) - 0.4) ** 2) / 0.02) * rng.uniform(0.4, 1)
            )
            pen.line(list(zip(xs.tolist(), ys.tolist())), fill=(230, 40, 40), width=2)
        out.append(np.asarray(page, np.uint16))
    return np.stack(out)
