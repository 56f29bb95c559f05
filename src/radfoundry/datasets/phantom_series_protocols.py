"""Protocols of phantom studies: what a scanner is told to do, in one language for all vendors.

Times in ms, lengths in mm, angles in degrees, b-values in s/mm², field in tesla.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
SUPPRESSED = frozenset({"fatsat", "spair", "stir", "we", "water"})
AGENTS = (
    "GADOVIST", "Gadavist", "DOTAREM", "Dotarem", "MULTIHANCE", "PROHANCE", "GADOLINIUM", "Gd-DTPA",
    "Magnevist",
    "15 ML GADAVIST", "CLARISCAN", "ClariScan 10ml", "OMNISCAN", "Contrast", "GAD", "YES", "10cc Prohance",
    "Gadoterate meglumine", "GADOBUTROL", "PRIMOVIST", "APPLIED", "gd",
)  # fmt: skip


@dataclass(frozen=True)
class Region:
    """How a body part is imaged. fov: range in mm; cover: mm along the normal of axial, sagittal, coronal.

    planes: the usual ones, the commonest first.
    """

    fov: tuple[float, float]
    cover: tuple[float, float, float]
    planes: tuple[str, ...]


REGIONS = {
    "Brain": Region((200, 260), (145, 155, 180), ("axial", "axial", "sagittal", "coronal")),
    "Neck": Region((200, 300), (180, 110, 120), ("axial", "axial", "coronal", "sagittal")),
    "C-spine": Region((200, 260), (110, 48, 50), ("sagittal", "sagittal", "axial", "coronal")),
    "T-spine": Region((320, 400), (180, 55, 60), ("sagittal", "sagittal", "axial", "coronal")),
    "L-spine": Region((260, 340), (140, 65, 70), ("sagittal", "sagittal", "axial", "coronal")),
    "Wrist": Region((80, 130), (70, 60, 45), ("coronal", "coronal", "axial", "sagittal")),
    "Hip": Region((180, 420), (170, 120, 120), ("coronal", "axial", "coronal", "sagittal")),
    "Elbow": Region((120, 170), (100, 70, 65), ("coronal", "axial", "sagittal")),
    "Knee": Region((140, 190), (105, 100, 95), ("sagittal", "coronal", "axial")),
    "Abdomen": Region((320, 430), (210, 240, 200), ("axial", "axial", "coronal")),
    "Breast": Region((280, 380), (160, 200, 150), ("axial", "axial", "sagittal")),
    "Ankle": Region((140, 190), (110, 80, 90), ("sagittal", "coronal", "axial")),
    "Shoulder": Region((140, 190), (100, 90, 85), ("coronal", "axial", "sagittal")),
    "Chest": Region((320, 420), (200, 220, 180), ("axial", "coronal", "sagittal")),
    "Thigh": Region((250, 450), (260, 240, 180), ("axial", "coronal")),
}
ANATOMIES = ("Brain", "Neck", "C-spine", "T-spine", "L-spine", "Wrist", "Hip", "Elbow", "Knee", "other")
OTHERS = ("Abdomen", "Breast", "Ankle", "Shoulder", "Chest", "Thigh")
SPINES = ("C-spine", "T-spine", "L-spine")
JOINTS = ("Wrist", "Hip", "Elbow", "Knee", "Ankle", "Shoulder", "Thigh")
RECON = (192, 256, 256, 256, 288, 320, 320, 352, 384, 400, 448, 480, 512, 512, 512, 560, 640)


@dataclass(frozen=True)
class Protocol:
    """One series as the physics sees it.

    label: modality, or other:KIND. sequence: the pulse sequence, a key of the vendors' tables. image: what
    the pixels are, magnitude or something derived. tes: echo times, one image of each. matrix: acquired
    (frequency, phase). rows, columns, spacing: as reconstructed; step: distance from slice to slice. planes:
    one stack each. volumes: repeats of the stack.
    """

    label: str
    sequence: str
    anatomy: str
    planes: tuple[str, ...]
    dimension: str
    tr: float
    tes: tuple[float, ...]
    flip: float
    rows: int
    columns: int
    spacing: float
    thickness: float
    step: float
    slices: int
    matrix: tuple[int, int]
    bandwidth: float
    train: int = 1
    averages: float = 1
    ti: float | None = None
    fat: str = ""
    agent: str = ""
    image: str = "magnitude"
    b_values: tuple[float, ...] = ()
    directions: int = 0
    volumes: int = 1
    name: str = ""
    tilt: float = 0.0
    phase_fov: float = 100.0

    @property
    def modality(self) -> str:
        return self.label.partition(":")[0]

    @property
    def kind(self) -> str:
        return self.label.partition(":")[2]

    @property
    def plane(self) -> str:
        return self.planes[0] if len(self.planes) == 1 else "mixed"


class Draw:
    """Chance and what the whole study shares, for the functions that draw one protocol."""

    def __init__(self, rng: np.random.Generator, anatomy: str, tesla: float, vendor: str, agent: str) -> None:
        self.rng, self.anatomy, self.tesla, self.vendor, self.agent = rng, anatomy, tesla, vendor, agent
        self.region = REGIONS[anatomy]

    def u(self, low: float, high: float, digits: int = 2) -> float:
        return round(float(low + (high - low) * self.rng.random()), digits)

    def n(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    @property
    def high(self) -> bool:
        return self.tesla >= 2.5

    def round_ms(self, value: float) -> float:
        """Sites and vendors round times to whole numbers or to fractions of a ms."""
        digits = 0 if self.vendor == "siemens" and self.chance(0.75) else 1 if self.chance(0.5) else 3
        return float(round(value, digits))

    def plane(self) -> str:
        return self.pick(self.region.planes)

    def small(self) -> bool:
        return self.region.fov[1] < 200

    def protocol(
        self, label: str, sequence: str, *, plane: str = "", dimension: str = "2D", tr: float, te: Any,
        flip: float,
        thickness: tuple[float, float], rows: int | None = None, matrix: tuple[int, int] | None = None,
        gap: tuple[float, float] = (0.0, 0.3), slices: tuple[int, int] | None = None,
        fov: float | None = None,
        bandwidth: tuple[float, float] = (80, 400), **more: Any,
    ) -> Protocol:  # fmt: skip
        """Fill in the geometry: field of view and coverage of the region, matrix, and small tilts."""
        planes = more.pop("planes", None) or (plane or self.plane(),)
        recon = rows or int(self.pick(RECON))
        width = fov or self.u(*self.region.fov, 0)
        thick = self.u(*thickness, 1 if self.chance(0.7) else 2)
        step = thick if dimension == "3D" else round(thick * (1 + self.u(*gap)), 2)
        if dimension == "3D" and self.chance(0.1):
            step = round(thick / 2, 3)  # interpolated or overlapping partitions
        cover = self.region.cover[("axial", "sagittal", "coronal").index(planes[0])]
        count = self.n(*slices) if slices else max(6, round(cover * self.u(0.8, 1.15) / max(step, 0.4)))
        if slices and sequence != "scout3d":  # a stack that leaves the body is no stack of it
            most = (2.4 if label == "CAL" else 1.3) * cover if label != "LOC" else 1.5 * cover
            count = min(count, max(1, round(most / max(step, 0.4))))
        shrink = self.pick((1.0, 1.0, 1.0, 0.8125, 0.875, 0.75)) if recon >= 192 else 1.0
        acquired = matrix or self._matrix(recon)
        times = tuple(float(t) for t in (te if isinstance(te, tuple) else (te,)))
        return Protocol(
            label, sequence, self.anatomy, tuple(planes), dimension, float(tr), times, float(flip), recon,
            int(recon * shrink) // 2 * 2, round(width / recon, 6), thick, step, int(min(count, 320)),
            acquired,
            bandwidth=self.u(*bandwidth, 0), tilt=self.u(-12, 12) if self.chance(0.6) else 0.0,
            phase_fov=round(100 * shrink, 3), **more,
        )  # fmt: skip

    def _matrix(self, recon: int) -> tuple[int, int]:
        base = recon if self.chance(0.5) else int(recon * self.u(0.5, 0.95))
        return base, max(32, int(base * self.u(0.6, 1.0)))

    def fatsat(self, p: float) -> str:
        return str(self.pick(("fatsat", "fatsat", "spair"))) if self.chance(p) else ""
