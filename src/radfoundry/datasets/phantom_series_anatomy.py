"""Tissue maps of phantom studies: the head, from the MNI152 maps that nilearn brings, or from ellipsoids.

A map is a grid of tissue numbers in LPS mm about its own centre. The rest of the body is drawn in
`phantom_series_body`; tissue values stand in `phantom_series_signal`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from radfoundry.optional import available, require

Point = Sequence[float] | np.ndarray
"""Three numbers, x, y and z."""


class Tissue(IntEnum):
    """What a voxel is made of."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    CORTICAL = 3
    MARROW = 4
    CARTILAGE = 5
    FLUID = 6
    CSF = 7
    GREY = 8
    WHITE = 9
    CORD = 10
    DISC = 11
    LIGAMENT = 12
    SKIN = 13
    ARTERY = 14
    VEIN = 15
    LIVER = 16
    KIDNEY = 17
    SPLEEN = 18
    BOWEL = 19
    LUNG = 20
    GLAND = 21
    TUMOUR = 22
    LESION = 23
    STROKE = 24
    IRON = 25
    MUCOSA = 26
    DRY_DISC = 27


@dataclass
class TissueMap:
    """labels: (x, y, z) uint8 of Tissue, steps of `step` mm in LPS, centre of the grid at 0.

    fractions: grey and white matter and CSF of voxels in the brain, each (x, y, z) float32; None elsewhere.
    """

    labels: np.ndarray
    step: float
    fractions: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates in mm along x (left), y (back) and z (head), ready to broadcast."""
        lines = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * self.step for n in self.labels.shape]
        return lines[0][:, None, None], lines[1][None, :, None], lines[2][None, None, :]

    def box(self, centre: Point, reach: Point) -> tuple[slice, slice, slice] | None:
        """Voxels within `reach` of a point, or None where there are none."""
        found = []
        for c, r, n in zip(centre, reach, self.labels.shape):
            low = int(np.floor((c - r) / self.step + (n - 1) / 2))
            high = int(np.ceil((c + r) / self.step + (n - 1) / 2)) + 1
            low, high = max(low, 0), min(high, n)
            if low >= high:
                return None
            found.append(slice(low, high))
        return found[0], found[1], found[2]

    def ellipsoid(
        self, tissue: Tissue, centre: Point, radii: Point, *, power: float = 2.0,
        over: Sequence[Tissue] | None = None, turn: float = 0.0
    ) -> None:  # fmt: skip
        """Fill |x/a|^p + |y/b|^p + |z/c|^p <= 1; power above 2 squares it; turn: degrees in the x-y plane.

        over: tissues that may be painted over, all when None.
        """
        reach = radii if not turn else (max(radii[:2]), max(radii[:2]), radii[2])
        box = self.box(centre, reach)
        if box is None:
            return
        x, y, z = (
            axis[tuple(b if axis.shape[i] > 1 else slice(None) for i, b in enumerate(box))] - centre[k]
            for k, axis in enumerate(self.axes())
        )
        if turn:
            c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
            x, y = x * c + y * s, y * c - x * s
        inside = (
            np.abs(x / radii[0]) ** power + np.abs(y / radii[1]) ** power + np.abs(z / radii[2]) ** power <= 1
        )
        self._fill(box, inside, tissue, over)

    def column(
        self,
        tissue: Tissue,
        radii: tuple[float, float],
        low: float,
        high: float,
        *,
        over: Sequence[Tissue] | None = None,
        power: float = 2.0,
        centre: tuple[float, float] = (0, 0),
    ) -> None:
        """An elliptic cylinder along z from low to high."""
        middle = (low + high) / 2
        box = self.box((*centre, middle), (*radii, (high - low) / 2))
        if box is None:
            return
        x, y, _ = self.axes()
        inside = (
            np.abs((x[box[0]] - centre[0]) / radii[0]) ** power
            + np.abs((y[:, box[1]] - centre[1]) / radii[1]) ** power
            <= 1
        )
        self._fill(box, np.broadcast_to(inside, self.labels[box].shape), tissue, over)

    def _fill(
        self,
        box: tuple[slice, slice, slice],
        inside: np.ndarray,
        tissue: Tissue,
        over: Sequence[Tissue] | None,
    ) -> None:
        part = self.labels[box]
        if over is not None:
            inside = inside & np.isin(part, [int(t) for t in over])
        part[inside] = int(tissue)

    def tube(
        self,
        tissue: Tissue,
        points: Any,
        radii: Any,
        *,
        over: Sequence[Tissue] | None = None,
        flat: Point = (1, 1, 1),
    ) -> None:
        """A string of balls along points, (n, 3) mm, of one radius or one a point; flat scales their axes."""
        points = np.asarray(points, float)
        radii = np.broadcast_to(np.asarray(radii, float), len(points))
        for (a, b), (ra, rb) in zip(itertools.pairwise(points), itertools.pairwise(radii)):
            count = max(2, int(np.linalg.norm(b - a) / max(min(ra, rb) * 0.6, self.step * 0.5)) + 1)
            for t in np.linspace(0, 1, count):
                r = ra + (rb - ra) * t
                self.ellipsoid(tissue, a + (b - a) * t, [r * f for f in flat], over=over)


def curve(points: Any, count: int = 24) -> np.ndarray:
    """A smooth line through points, (count, 3)."""
    from scipy.interpolate import PchipInterpolator

    points = np.asarray(points, float)
    at = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    return np.asarray(PchipInterpolator(at, points)(np.linspace(0, at[-1], count)))


# --- the head -------------------------------------------------------------------------------------------

HEAD_STEP, HEAD_SHAPE = 2.0, (100, 124, 124)
CENTRE_RAS = (0.0, -18.0, -2.0)
"""Point of MNI space that lies at the centre of the map."""


def _mni(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(values, affine) of one of the maps that nilearn ships."""
    nilearn, nibabel = require("nilearn", extra="series"), require("nibabel", extra="series")
    folder = Path(str(nilearn.__file__)).parent / "datasets" / "data"
    image = nibabel.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
    return np.asarray(image.dataobj, dtype=np.float32), image.affine


@functools.cache
def base_head(mni: bool | None = None) -> TissueMap:
    """The unvaried head, made once a process; from MNI152 where nilearn is installed. Not to be changed."""
    grey, white, brain = _mni_maps() if (available("nilearn") if mni is None else mni) else _ellipsoid_maps()
    head = TissueMap(np.zeros(HEAD_SHAPE, np.uint8), HEAD_STEP)
    _skull_and_scalp(head, brain)
    fluid = np.clip(1 - grey - white, 0, 1)
    head.labels[brain & (white > grey)] = Tissue.WHITE
    head.labels[brain & (grey >= white)] = Tissue.GREY
    head.labels[brain & (fluid > 0.5)] = Tissue.CSF
    _vessels(head)
    for side in (-1, 1):
        head.ellipsoid(Tissue.IRON, _mm(20 * side, -4, 0), (5, 9, 5), over=(Tissue.GREY, Tissue.WHITE))
        head.ellipsoid(Tissue.IRON, _mm(5 * side, -20, -9), (3.4, 3.4, 3.4), over=(Tissue.GREY, Tissue.WHITE))
        head.ellipsoid(Tissue.IRON, _mm(10 * side, -16, -12), (4, 4, 3), over=(Tissue.GREY, Tissue.WHITE))
    soft = np.isin(head.labels, (Tissue.GREY, Tissue.WHITE, Tissue.CSF)) & brain
    a, b, c = (np.where(soft, part, 0).astype(np.float32) for part in (grey, white, fluid))
    head.fractions = a, b, c
    return head


def _mm(x: float, y: float, z: float) -> tuple[float, float, float]:
    """MNI coordinates (RAS) to those of the map (LPS about its centre)."""
    return -(x - CENTRE_RAS[0]), -(y - CENTRE_RAS[1]), z - CENTRE_RAS[2]


def _mni_maps() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    out = []
    for name in ("gm", "wm", "t1"):
        values, affine = _mni(name)
        values = ndimage.uniform_filter(values, 2)
        scale = np.diag([-HEAD_STEP, -HEAD_STEP, HEAD_STEP])
        corner = np.array([*_corner()])
        inverse = np.linalg.inv(affine)
        out.append(
            ndimage.affine_transform(
                values,
                inverse[:3, :3] @ scale,
                inverse[:3, :3] @ corner + inverse[:3, 3],
                HEAD_SHAPE,
                order=1,
            )
        )
    grey, white, t1 = out
    grey, white = (part / max(float(part.max()), 1e-6) for part in (grey, white))
    brain = ndimage.binary_fill_holes((t1 > 0.12 * t1.max()) | (grey + white > 0.3))
    return grey, white, ndimage.binary_opening(brain, iterations=2)


def _corner() -> tuple[float, float, float]:
    """MNI coordinates (RAS) of the first voxel of the map."""
    half = [(n - 1) / 2 * HEAD_STEP for n in HEAD_SHAPE]
    return CENTRE_RAS[0] + half[0], CENTRE_RAS[1] + half[1], CENTRE_RAS[2] - half[2]


def _ellipsoid_maps() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A brain without nilearn: folded ellipsoids of cortex and white matter, ventricles, cerebellum, stem."""
    head = TissueMap(np.zeros(HEAD_SHAPE, np.uint8), HEAD_STEP)
    x, y, z = head.axes()
    cx, cy, cz = _mm(0, -18, 10)
    radius = np.sqrt(((x - cx) / 68) ** 2 + ((y - cy) / 86) ** 2 + ((z - cz) / 66) ** 2)
    fold = 0.035 * (
        np.sin(x / 4.2 + 2 * np.sin(y / 9))
        + np.sin(y / 4.6 + 2 * np.sin(z / 8))
        + np.sin(z / 4.4 + 2 * np.sin(x / 9))
    )
    brain: np.ndarray = (radius <= 1) & (z > cz - 50)
    white = brain & (radius + fold < 0.86)
    parts = [(brain & ~white).astype(np.float32), white.astype(np.float32)]
    for place, radii in ((_mm(0, -62, -36), (46, 28, 24)), (_mm(0, -26, -40), (13, 13, 30))):
        inside = (
            ((x - place[0]) / radii[0]) ** 2
            + ((y - place[1]) / radii[1]) ** 2
            + ((z - place[2]) / radii[2]) ** 2
        )
        brain |= inside <= 1
        parts[0] = np.where((inside <= 1) & (inside > 0.6), 1, np.where(inside <= 0.6, 0, parts[0]))
        parts[1] = np.where(inside <= 0.6, 1, np.where(inside <= 1, 0, parts[1]))
    for side in (-1, 1):
        place = _mm(13 * side, -10, 14)
        hole = ((x - place[0]) / 6) ** 2 + ((y - place[1]) / 30) ** 2 + ((z - place[2]) / 9) ** 2 <= 1
        parts = [np.where(hole, 0, part) for part in parts]
    return parts[0].astype(np.float32), parts[1].astype(np.float32), brain


def _skull_and_scalp(head: TissueMap, brain: np.ndarray) -> None:
    """Layers by distance from the brain; below it a face and a neck."""
    x, y, z = head.axes()
    away = ndimage.distance_transform_edt(~brain, sampling=head.step).astype(np.float32)
    lower = _face(x, y, z)
    depth = ndimage.distance_transform_edt(lower, sampling=head.step).astype(np.float32)
    labels = head.labels
    labels[lower & (depth > 0)] = Tissue.SKIN
    labels[lower & (depth > 3)] = Tissue.FAT
    labels[lower & (depth > 9)] = Tissue.MUSCLE
    upper = z > _mm(0, 0, -62)[2]
    for reach, tissue in (
        (15.5, Tissue.SKIN),
        (13.5, Tissue.FAT),
        (9.5, Tissue.CORTICAL),
        (8.0, Tissue.MARROW),
        (5.0, Tissue.CORTICAL),
        (3.4, Tissue.CSF),
    ):
        labels[(away <= reach) & upper & ~(lower & (depth > 9) & (reach > 9.6))] = tissue
    over = (Tissue.MUSCLE, Tissue.FAT)
    for side in (-1, 1):
        head.ellipsoid(
            Tissue.FAT,
            _mm(31 * side, 52, -38),
            (18, 22, 17),
            over=(Tissue.MUSCLE, Tissue.CORTICAL, Tissue.MARROW, Tissue.FAT, Tissue.SKIN),
        )
        head.ellipsoid(Tissue.FLUID, _mm(31 * side, 60, -38), (12, 12, 12))
        head.tube(Tissue.WHITE, [_mm(31 * side, 48, -38), _mm(14 * side, 22, -28)], 2.5)
        head.ellipsoid(Tissue.AIR, _mm(26 * side, 46, -66), (13, 14, 15), over=over)
        head.ellipsoid(Tissue.CORTICAL, _mm(46 * side, -22, -52), (16, 14, 9), over=over)
        head.ellipsoid(Tissue.AIR, _mm(44 * side, -24, -52), (6, 5, 4))
        head.ellipsoid(Tissue.MARROW, _mm(40 * side, 20, -92), (6, 22, 12), over=over)
        head.tube(Tissue.MUCOSA, [_mm(9 * side, 62, -58), _mm(9 * side, 30, -60)], 4)
    head.ellipsoid(Tissue.AIR, _mm(0, 44, -56), (6, 24, 12), over=over)
    head.ellipsoid(Tissue.AIR, _mm(0, 26, -34), (10, 9, 8), over=(*over, Tissue.CORTICAL, Tissue.MARROW))
    head.ellipsoid(
        Tissue.AIR, _mm(0, 66, -8), (14, 7, 10), over=(Tissue.MARROW, Tissue.CORTICAL, Tissue.MUSCLE)
    )
    head.tube(Tissue.AIR, [_mm(0, 12, -62), _mm(0, 4, -122)], [7, 6], over=over)
    head.ellipsoid(Tissue.MUSCLE, _mm(0, 44, -92), (20, 30, 18), over=(*over, Tissue.AIR))
    head.tube(Tissue.MARROW, [_mm(0, -14, -58), _mm(0, -12, -126)], [8, 10], over=over)
    head.tube(
        Tissue.CSF, [_mm(0, -32, -50), _mm(0, -32, -126)], 9, over=(*over, Tissue.CORTICAL, Tissue.MARROW)
    )
    head.tube(Tissue.CORD, [_mm(0, -30, -60), _mm(0, -32, -126)], 5, over=(Tissue.CSF,))
    head.ellipsoid(
        Tissue.MUCOSA, _mm(0, 4, -34), (6, 5, 4), over=(*over, Tissue.CORTICAL, Tissue.MARROW, Tissue.CSF)
    )


def _face(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Where face and neck are."""
    fx, fy, fz = _mm(0, 22, -62)
    face = (np.abs(x - fx) / 66) ** 2.4 + (np.abs(y - fy) / 66) ** 2.4 + (np.abs(z - fz) / 62) ** 2.4 <= 1
    nx, ny, nz = _mm(0, -22, -100)
    neck = (((x - nx) / 58) ** 2 + ((y - ny) / 58) ** 2 <= 1) & (z < nz + 26)
    tx, ty, tz = _mm(0, 88, -50)
    nose = ((x - tx) / 12) ** 2 + ((y - ty) / 17) ** 2 + ((z - tz) / 20) ** 2 <= 1
    return face | neck | nose


ARTERIES = (
    (((22, -22, -120), (24, -16, -80), (24, -14, -56), (16, -4, -40), (12, 4, -28), (15, 2, -18),
    (14, 4, -10)), 2.9),
    (((14, 4, -10), (28, 2, -16), (40, 0, -10), (44, -8, 4), (44, -24, 12), (48, -44, 16)), 2.1),
    (((40, 0, -10), (46, 14, 4), (48, 24, 18)), 1.5), (((44, -8, 4), (56, -10, 20), (54, -14, 42)), 1.3),
    (((14, 4, -10), (4, 12, -10), (3, 30, -4), (2, 38, 14), (2, 26, 34), (2, -4, 44), (2, -30, 46)), 1.6),
    (((2, -16, -18), (12, -20, -14), (22, -30, -10), (16, -58, -2), (12, -80, 4)), 1.8),
    (((13, 0, -14), (10, -16, -15)), 1.2), (((12, -34, -120), (14, -34, -80), (8, -30, -58), (1, -26, -48)),
    2.2), (((6, -28, -44), (20, -50, -52), (26, -66, -50)), 1.2),
)  # fmt: skip
VEINS = (
    (((0, 64, 14), (0, 48, 50), (0, 10, 74), (0, -36, 72), (0, -76, 40), (0, -92, 4)), 3.4),
    (((0, -92, 4), (34, -86, -10), (56, -58, -22), (54, -44, -40), (42, -34, -60), (36, -24, -120)), 3.2),
    (((0, -40, 12), (0, -64, 8), (0, -90, 4)), 2.2), (((10, -6, 20), (4, -30, 12), (0, -40, 10)), 1.3),
    (((14, -4, 26), (22, -6, 36), (26, -8, 50)), 1.0), (((12, -24, 24), (24, -30, 34), (30, -34, 48)), 1.0),
    (((14, 10, 22), (22, 22, 32), (24, 30, 44)), 1.0), (((30, 0, 66), (12, -8, 74), (0, -10, 74)), 1.4),
)  # fmt: skip
"""Courses in MNI mm of the left side, and radii; the other side is mirrored. Larger than life by the grid."""


def _vessels(head: TissueMap) -> None:
    for tissue, courses in ((Tissue.VEIN, VEINS), (Tissue.ARTERY, ARTERIES)):
        for points, radius in courses:
            for side in (-1, 1):
                head.tube(tissue, [_mm(side * px, py, pz) for px, py, pz in curve(points)], radius)
    head.tube(Tissue.ARTERY, [_mm(0, -26, -48), _mm(0, -24, -34), _mm(0, -16, -16)], 2.2)


def head(rng: np.random.Generator) -> TissueMap:
    """A head with its own lesions: spots of the white matter, sometimes a stroke or a tumour."""
    base = base_head()
    assert base.fractions is not None
    out = TissueMap(base.labels.copy(), base.step, base.fractions)
    white = np.argwhere(base.fractions[1] > 0.8)
    white = white[::50]
    spots = int(rng.poisson(4)) if rng.random() < 0.6 else 0
    for index in rng.integers(len(white), size=spots):
        out.ellipsoid(Tissue.LESION, _place(out, white[index]), rng.uniform(2, 6, 3), over=(Tissue.WHITE,))
    if rng.random() < 0.12:
        out.ellipsoid(
            Tissue.STROKE,
            _place(out, white[rng.integers(len(white))]),
            rng.uniform(8, 20, 3),
            over=(Tissue.WHITE, Tissue.GREY),
        )
    if rng.random() < 0.15:
        at, size = _place(out, white[rng.integers(len(white))]), rng.uniform(8, 18)
        out.ellipsoid(Tissue.LESION, at, (size * 1.7, size * 1.6, size * 1.5), over=(Tissue.WHITE,))
        out.ellipsoid(Tissue.TUMOUR, at, (size, size, size * 0.9))
        out.ellipsoid(Tissue.LESION, at, (size * 0.55, size * 0.5, size * 0.5))
    painted = np.isin(out.labels, (Tissue.LESION, Tissue.STROKE, Tissue.TUMOUR))
    if painted.any():
        grey, bright, fluid = (np.where(painted, 0, part) for part in base.fractions)
        out.fractions = grey, bright, fluid
    return out


def _place(tissue_map: TissueMap, index: np.ndarray) -> np.ndarray:
    return (index - (np.array(tissue_map.labels.shape) - 1) / 2) * tissue_map.step
