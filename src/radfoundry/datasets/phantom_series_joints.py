"""Tissue maps of the joints, drawn from ellipsoids and tubes, in LPS mm about the middle of the joint."""

from __future__ import annotations

import numpy as np

from radfoundry.datasets.phantom_series_anatomy import Tissue as T
from radfoundry.datasets.phantom_series_anatomy import TissueMap
from radfoundry.datasets.phantom_series_body import SOFT, ball, bone, empty, trunk


def knee(rng: np.random.Generator) -> TissueMap:
    """Tissue map of a knee with menisci, cruciate ligaments, cartilage and patella."""
    m = empty((78, 78, 92), 1.4)
    trunk(m, 60, 58, rng.uniform(6, 14), 0.1, centre=(0, 6))
    for x, y, r in ((-26, -30, 17), (26, -30, 17), (0, -38, 16), (-24, 34, 18), (24, 34, 18)):
        m.tube(
            T.MUSCLE,
            [(x, y, 96), (x * 0.9, y * (0.9 if y < 0 else 1), 40 if y < 0 else 8)],
            [r, r * 0.45],
            over=(T.FAT,),
        )
    for x in (-18, 18):
        m.tube(T.MUSCLE, [(x, 30, -4), (x, 34, -96)], [7, 20], over=(T.FAT,))
    m.tube(T.MUSCLE, [(24, -10, -30), (30, -6, -96)], [6, 15], over=(T.FAT,))
    effusion = rng.random() < 0.5
    if effusion:
        m.ellipsoid(T.FLUID, (0, -30, 50), (26, rng.uniform(3, 9), 22), over=(T.FAT,))
    m.ellipsoid(T.FLUID, (0, -4, 0), (36, 22, 4), over=(T.FAT,))
    bone(m, [(0, 2, 100), (0, 4, 40)], [15, 17], 3.5)
    for side in (-1, 1):
        ball(m, (side * 21, 5, 19), (19, 29, 21), cartilage=2.6)
    ball(m, (0, -4, 32), (26, 20, 20))
    bone(m, [(0, 8, -28), (0, 6, -100)], [24, 14], 3)
    m.ellipsoid(T.CARTILAGE, (0, 5, -6), (36, 25, 5), power=3.5, over=(*SOFT, T.FLUID))
    ball(m, (0, 5, -20), (37, 26, 14), power=3)
    ball(m, (0, -18, -30), (12, 10, 10))
    bone(m, [(34, 22, -24), (35, 22, -100)], [8, 6])
    for side in (-1, 1):
        ring = [
            (side * (21 + 15 * np.cos(a)), 5 + 19 * np.sin(a), -3.4)
            for a in np.linspace(-2.0 if side > 0 else 1.14, 2.0 if side > 0 else 5.14, 18)
        ]
        m.tube(T.LIGAMENT, ring, 3.4, over=(*SOFT, T.FLUID, T.CARTILAGE), flat=(1, 1, 0.75))
    m.tube(T.LIGAMENT, [(4, 18, 12), (-3, -8, -6)], 3.5, over=(*SOFT, T.FLUID))
    m.tube(T.LIGAMENT, [(-5, -4, 14), (2, 26, -14)], 4, over=(*SOFT, T.FLUID))
    ball(m, (0, -41, 26), (20, 9, 20), cartilage=2.4)
    m.tube(T.LIGAMENT, [(0, -43, 8), (0, -27, -34)], 3, over=SOFT, flat=(3, 1, 1))
    m.tube(T.LIGAMENT, [(0, -44, 44), (0, -40, 90)], 3, over=SOFT, flat=(3, 1, 1))
    m.tube(T.ARTERY, [(2, 30, 92), (2, 34, -90)], 3.4, over=SOFT)
    m.tube(T.VEIN, [(-4, 34, 92), (-4, 38, -90)], 4, over=SOFT)
    if rng.random() < 0.4:
        m.ellipsoid(
            T.LESION,
            (rng.choice([-20, 20]), 4, rng.choice([14, -18])),
            rng.uniform(4, 10, 3),
            over=(T.MARROW,),
        )
    return m


def hip(rng: np.random.Generator) -> TissueMap:
    """Tissue map of the pelvis with both hips."""
    m = empty((205, 125, 135), 2.4)
    trunk(m, 190, 116, rng.uniform(14, 34), 4)
    m.ellipsoid(T.FAT, (0, 0, 0), (150, 86, 400), power=2.6)
    for side in (-1, 1):
        m.ellipsoid(T.MUSCLE, (side * 86, 62, 10), (66, 34, 95), over=SOFT)
        m.ellipsoid(T.MUSCLE, (side * 140, 0, 30), (20, 50, 80), over=SOFT)
        m.tube(
            T.MUSCLE,
            [(side * 62, -30, 135), (side * 88, -40, 20), (side * 108, -10, -50)],
            [24, 19, 13],
            over=SOFT,
        )
        m.ellipsoid(T.MUSCLE, (side * 76, -30, -120), (48, 46, 70), over=SOFT)
        m.ellipsoid(T.MUSCLE, (side * 104, 34, -120), (44, 32, 70), over=SOFT)
        m.tube(T.MUSCLE, [(side * 30, -10, -10), (side * 60, 20, -10)], 10, over=SOFT)
        ball(m, (side * 96, 34, 96), (15, 46, 50), shell=2, turn=side * 32.0)
        ball(m, (side * 70, 4, 18), (25, 27, 36), shell=2)
        bone(m, [(side * 60, -20, 0), (side * 12, -56, -22)], 9, 1.8)
        bone(m, [(side * 62, 30, -20), (side * 46, 30, -58), (side * 14, -44, -36)], 10, 1.8)
        m.ellipsoid(T.FLUID, (side * 88, 0, 0), (27.5, 27.5, 27.5), over=SOFT)
        m.ellipsoid(T.CARTILAGE, (side * 86, 0, 2), (27, 27, 27))
        bone(m, [(side * 90, 0, -2), (side * 122, 6, -32)], [16, 15], 2)
        bone(m, [(side * 126, 10, -30), (side * 118, 4, -140)], [17, 15], 4)
        ball(m, (side * 132, 14, -18), (13, 16, 17))
        ball(m, (side * 87, 0, 1), (24, 24, 24), cartilage=0)
        m.tube(T.ARTERY, [(side * 40, -30, 135), (side * 62, -64, 0), (side * 72, -56, -135)], 4.2, over=SOFT)
        m.tube(T.VEIN, [(side * 34, -22, 135), (side * 54, -60, 0), (side * 66, -50, -135)], 5.5, over=SOFT)
    ball(m, (0, 62, 76), (48, 20, 58), shell=2)
    m.ellipsoid(T.BOWEL, (0, 36, 10), (18, 17, 60), over=SOFT)
    m.ellipsoid(T.AIR if rng.random() < 0.5 else T.BOWEL, (0, 36, 16), (8, 7, 22), over=(T.BOWEL,))
    female = rng.random() < 0.5
    if female:
        m.ellipsoid(T.MUSCLE, (0, 4, 40), (26, 20, 30))
        m.ellipsoid(T.GLAND, (0, 4, 42), (9, 6, 18))
    else:
        m.ellipsoid(T.GLAND, (0, -14, -14), (22, 18, 18))
    full = rng.uniform(0.6, 1.2)
    m.ellipsoid(T.MUSCLE, (0, -34, 22), (36 * full + 3, 28 * full + 3, 28 * full + 3), over=SOFT)
    m.ellipsoid(T.FLUID, (0, -34, 22), (36 * full, 28 * full, 28 * full))
    return m


def wrist(rng: np.random.Generator) -> TissueMap:
    """Tissue map of a wrist with its carpal bones."""
    m = empty((52, 36, 82), 1.0)
    for low, high, rx, ry in ((-90, -20, 25, 19), (-30, 30, 32, 19), (20, 90, 40, 16)):
        for inset, tissue in ((0, T.SKIN), (1.6, T.FAT)):
            m.column(tissue, (rx - inset, ry - inset), low, high, over=(T.AIR, T.SKIN))
    m.tube(T.MUSCLE, [(-24, -7, 10), (-34, -6, 44)], [7, 11], over=(T.FAT, T.AIR, T.SKIN))
    m.tube(T.MUSCLE, [(24, -7, 10), (28, -6, 44)], [6, 8], over=(T.FAT,))
    m.tube(T.MUSCLE, [(-6, -9, -90), (-4, -9, -30)], [11, 6], over=(T.FAT,), flat=(1.6, 0.8, 1))
    m.tube(T.MUSCLE, [(4, 8, -90), (2, 8, -36)], [9, 4], over=(T.FAT,), flat=(1.7, 0.7, 1))
    for x in np.linspace(-12, 12, 7):
        m.tube(T.LIGAMENT, [(x * 0.8, -10, -60), (x * 0.7, -11, 0), (x * 1.8, -10, 80)], 1.7, over=SOFT)
        m.tube(T.LIGAMENT, [(x * 1.3, 11, -50), (x * 1.4, 12, 0), (x * 2.2, 9, 80)], 1.3, over=SOFT)
    m.tube(T.GLAND, [(-2, -13, -40), (-2, -14, 30)], 2, over=(*SOFT, T.LIGAMENT))
    m.ellipsoid(T.FLUID, (0, 0, -9), (20, 8, 4), over=SOFT)
    bone(m, [(-9, 1, -90), (-9, 1, -34), (-8, 0, -22)], [6.5, 9, 13], 1.6)
    ball(m, (-9, 0, -19), (14, 10, 9), cartilage=1.3)
    bone(m, [(13, 2, -90), (13, 2, -24)], [5.5, 7], 1.5)
    m.ellipsoid(T.LIGAMENT, (11, 0, -14), (9, 6, 3), over=SOFT)
    jitter = lambda: rng.uniform(-0.8, 0.8, 3)  # noqa: E731
    for centre, radii in (
        ((-16, 0, -3), (7.5, 8, 9)),
        ((-3, 0, -6), (7.5, 9, 7)),
        ((9, 1, -4), (6.5, 8, 7)),
        ((13, -9, -3), (4.5, 4.5, 5)),
        ((-19, -1, 12), (6.5, 8, 6.5)),
        ((-10, 1, 14), (5.2, 8, 6.5)),
        ((0, 0, 12), (7, 9, 11)),
        ((12, 0, 11), (7, 9, 8.5)),
    ):
        ball(m, np.array(centre) + jitter(), radii, shell=1.1, cartilage=1.2)
    for x0, x1 in ((-12, -20), (-2, -5), (8, 10), (17, 24)):
        bone(m, [(x0, 1, 24), (x0 + (x1 - x0) * 0.5, 1, 50), (x1, 0, 88)], [6.2, 4.2, 5.5], 1.4)
    bone(m, [(-22, -5, 20), (-38, -9, 56)], [6, 5], 1.4)
    return m


def elbow(rng: np.random.Generator) -> TissueMap:
    """Tissue map of an elbow."""
    m = empty((62, 60, 92), 1.25)
    for inset, tissue in ((0, T.SKIN), (1.8, T.FAT)):
        m.column(tissue, (47 - inset, 42 - inset), -100, 100, over=(T.AIR, T.SKIN))
    for points, radii in (
        ([(4, -22, 96), (2, -18, 14)], [21, 11]),
        ([(-4, 23, 96), (-2, 22, 22)], [20, 9]),
        ([(-22, -8, 20), (-18, -10, -96)], [9, 21]),
        ([(22, -6, 24), (20, -8, -96)], [9, 20]),
        ([(6, 20, -10), (4, 22, -96)], [6, 16]),
    ):
        m.tube(T.MUSCLE, points, radii, over=(T.FAT,))
    m.ellipsoid(T.FLUID, (0, 0, -2), (22, 14, 6), over=SOFT)
    bone(m, [(0, 2, 100), (0, 2, 40), (0, 1, 20)], [11, 12, 15], 3)
    ball(m, (-24, 2, 16), (9, 8, 10))
    ball(m, (-10, 0, 6), (12, 12, 10), cartilage=1.5)
    ball(m, (13, -1, 6), (10, 11, 10), cartilage=1.5)
    bone(m, [(-10, 20, 14), (-10, 14, -12)], [9, 10], 2)
    bone(m, [(-9, 10, -16), (-10, 8, -100)], [11, 7], 2)
    m.ellipsoid(T.CARTILAGE, (13, -2, -10), (9.5, 9.5, 6), over=(*SOFT, T.FLUID))
    ball(m, (13, -2, -12), (9, 9, 6), power=3)
    bone(m, [(13, -1, -18), (14, 0, -100)], [6.5, 7], 2)
    m.tube(T.LIGAMENT, [(-24, 2, 12), (-18, 6, -14)], 2.2, over=SOFT)
    m.tube(T.LIGAMENT, [(24, 0, 10), (22, -2, -14)], 2.2, over=SOFT)
    m.tube(T.LIGAMENT, [(0, 24, 40), (-8, 26, 16)], 3, over=SOFT)
    m.tube(T.LIGAMENT, [(6, -22, 20), (12, -8, -30)], 2.6, over=SOFT)
    m.tube(T.ARTERY, [(-12, -18, 90), (-4, -20, 0), (6, -20, -90)], 2.4, over=SOFT)
    m.tube(T.VEIN, [(-22, -30, 90), (-14, -33, -90)], 2.2, over=SOFT)
    return m


def shoulder(rng: np.random.Generator) -> TissueMap:
    """Tissue map of a shoulder with the rotator cuff."""
    m = empty((90, 80, 90), 1.6)
    m.ellipsoid(T.SKIN, (30, 4, -60), (84, 70, 118), power=2.4)
    m.ellipsoid(T.FAT, (30, 4, -60), (82, 68, 116), power=2.4)
    m.ellipsoid(T.MUSCLE, (28, 4, -60), (72, 58, 106), power=2.4)
    m.ellipsoid(T.LUNG, (96, 0, -70), (46, 60, 90))
    m.ellipsoid(T.FAT, (40, -8, -40), (22, 16, 40))
    m.ellipsoid(T.FAT, (0, 0, 0), (33, 33, 33))
    for at, radii in (
        ((40, -20, 4), (34, 10, 28)),
        ((44, 26, 0), (36, 12, 30)),
        ((44, 6, 32), (40, 14, 13)),
        ((-24, 0, -24), (11, 40, 60)),
    ):
        m.ellipsoid(T.MUSCLE, at, radii, over=SOFT)
    m.tube(T.LIGAMENT, [(20, 2, 29), (-12, 0, 24)], 3.6, over=SOFT)
    m.ellipsoid(T.FLUID, (18, 0, -4), (9, 14, 20), over=SOFT)
    bone(m, [(-6, 0, -16), (-8, 0, -100)], [15, 12], 3)
    ball(m, (0, 0, 0), (23, 23, 23), cartilage=2)
    ball(m, (-18, -4, 6), (10, 12, 15))
    ball(m, (31, 2, -6), (8, 14, 19), cartilage=2)
    bone(m, [(36, 6, -6), (70, 26, -50)], [9, 6], 1.5)
    bone(m, [(-10, 10, 38), (30, 30, 34), (70, 34, 20)], 8, 1.6)
    bone(m, [(2, -12, 40), (80, -22, 40)], 7, 1.6)
    m.tube(T.ARTERY, [(90, -20, 20), (44, -14, -30), (20, -10, -90)], 4, over=SOFT)
    return m


def ankle(rng: np.random.Generator) -> TissueMap:
    """Tissue map of an ankle and the hindfoot."""
    m = empty((60, 95, 92), 1.5)
    for inset, tissue in ((0, T.SKIN), (1.8, T.FAT)):
        m.tube(tissue, [(0, 14, 110), (0, 14, -20)], [40 - inset, 34 - inset], over=(T.AIR, T.SKIN))
        m.tube(
            tissue,
            [(0, 46, -44), (0, -110, -52)],
            [34 - inset, 28 - inset],
            over=(T.AIR, T.SKIN),
            flat=(1.1, 1, 0.95),
        )
    m.tube(T.MUSCLE, [(0, 34, 110), (0, 34, 40)], [20, 6], over=(T.FAT,))
    m.tube(T.MUSCLE, [(-6, -12, 110), (-4, -6, 40)], [14, 5], over=(T.FAT,))
    m.tube(T.MUSCLE, [(0, 20, -66), (0, -90, -64)], 9, over=(T.FAT,), flat=(2, 1, 1))
    m.tube(T.LIGAMENT, [(0, 44, 90), (0, 48, -16)], 3.5, over=SOFT, flat=(1.8, 1, 1))
    m.ellipsoid(T.FLUID, (0, 8, -2), (20, 20, 5), over=SOFT)
    bone(m, [(-2, 8, 110), (-2, 8, 24), (-2, 8, 10)], [13, 15, 21], 3)
    bone(m, [(22, 16, 110), (24, 16, 0), (24, 14, -12)], [6, 8, 8], 1.6)
    m.ellipsoid(T.CARTILAGE, (0, 4, -14), (18, 28, 14), over=(*SOFT, T.FLUID))
    ball(m, (0, 4, -15), (17, 27, 13), power=2.6)
    ball(m, (2, 30, -44), (16, 36, 17), power=2.4)
    ball(m, (-4, -34, -28), (15, 9, 13), cartilage=1.5)
    for x in (-16, -4, 8):
        ball(m, (x, -52, -38 - abs(x) * 0.3), (6.5, 9, 10), cartilage=1)
        bone(m, [(x * 1.2, -64, -42), (x * 1.5, -120, -58)], 6.5, 1.4)
    ball(m, (20, -30, -44), (10, 14, 10), cartilage=1.2)
    return m


JOINT_BODIES = {
    "Wrist": wrist,
    "Hip": hip,
    "Elbow": elbow,
    "Knee": knee,
    "Ankle": ankle,
    "Shoulder": shoulder,
}
