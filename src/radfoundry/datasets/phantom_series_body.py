"""Tissue maps of neck, spine and trunk, drawn from ellipsoids and tubes.

Coordinates are LPS mm about the middle of the region: x to the left, y to the back, z to the head. Anatomy is
what a radiologist needs to name the part; sizes are those of an adult.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from radfoundry.datasets.phantom_series_anatomy import Tissue as T
from radfoundry.datasets.phantom_series_anatomy import TissueMap, curve

SOFT = (T.FAT, T.MUSCLE)


def empty(half: tuple[float, float, float], step: float) -> TissueMap:
    """An empty map that reaches `half` mm to each side."""
    return TissueMap(np.zeros([int(2 * h / step) + 1 for h in half], np.uint8), step)


def trunk(
    m: TissueMap,
    rx: float,
    ry: float,
    fat: float,
    muscle: float,
    *,
    centre: tuple[float, float] = (0, 0),
    power: float = 2.3,
) -> None:
    """An elliptic cylinder along z of skin, fat and muscle around fat."""
    reach = m.labels.shape[2] * m.step * 8
    for inset, tissue in ((0, T.SKIN), (2.2, T.FAT), (fat, T.MUSCLE), (fat + muscle, T.FAT)):
        m.ellipsoid(tissue, (*centre, 0), (rx - inset, ry - inset, reach), power=power)


def bone(
    m: TissueMap, points: Any, radii: Any, shell: float = 1.6, *, over: tuple[T, ...] | None = None
) -> None:
    """A tube of marrow in cortical bone."""
    radii = np.broadcast_to(np.asarray(radii, float), len(points))
    m.tube(T.CORTICAL, points, radii, over=over)
    m.tube(T.MARROW, points, np.maximum(radii - shell, 0.6), over=(T.CORTICAL,))


def ball(
    m: TissueMap,
    centre: Any,
    radii: Any,
    *,
    shell: float = 1.5,
    cartilage: float = 0.0,
    power: float = 2.0,
    turn: float = 0.0,
) -> None:
    """A bone of marrow in a cortical shell, perhaps covered by cartilage."""
    outer = np.asarray(radii, float)
    if cartilage:
        m.ellipsoid(
            T.CARTILAGE, centre, outer + cartilage, power=power, turn=turn, over=(*SOFT, T.FLUID, T.AIR)
        )
    m.ellipsoid(T.CORTICAL, centre, outer, power=power, turn=turn)
    m.ellipsoid(T.MARROW, centre, np.maximum(outer - shell, 0.6), power=power, turn=turn)


# --- the spine ------------------------------------------------------------------------------------------


def _spine(
    m: TissueMap,
    rng: np.random.Generator,
    *,
    count: int,
    height: float,
    disc: float,
    width: float,
    depth: float,
    canal: float,
    cord: float,
    bend: Callable[[float], float],
    cord_to: float,
) -> None:
    """Vertebrae from the top of the map downwards with discs, canal, cord and spinous processes."""
    top = m.labels.shape[2] * m.step / 2 - 4
    ticks = np.linspace(-top - 20, top + 20, 60)
    line = lambda shift, low=-1e3: [(0.0, bend(z) + shift, z) for z in ticks if z > low]  # noqa: E731
    m.tube(T.FAT, line(depth / 2 + canal + 5), canal + 9)
    m.tube(T.LIGAMENT, line(depth / 2 + canal * 0.9), canal + 1.4)
    m.tube(T.CSF, line(depth / 2 + canal * 0.9), canal)
    m.tube(T.CORD, line(depth / 2 + canal * 0.85, cord_to), cord, flat=(1.25, 0.9, 1))
    if cord_to > -top:
        for _root in range(9):
            x, y = rng.uniform(-0.6, 0.6) * canal, rng.uniform(0.1, 0.6) * canal
            m.tube(
                T.CORD,
                [(x, p[1] + y, p[2]) for p in line(depth / 2 + canal * 0.7) if p[2] < cord_to + 6],
                0.9,
                over=(T.CSF,),
            )
    z = top - height / 2 + rng.uniform(-6, 6)
    for _ in range(count):
        y = bend(z)
        for side in (-1, 1):
            bone(
                m,
                [
                    (side * width * 0.32, y + depth / 2 - 1, z + height * 0.15),
                    (side * width * 0.42, y + depth / 2 + canal * 1.6, z),
                ],
                height * 0.2,
                1.2,
            )
        ball(m, (0, y + depth / 2 + canal * 2 + 9, z - height * 0.35), (4.5, 12, height * 0.32), power=2.5)
        ball(m, (0, y, z), (width / 2, depth / 2, height / 2), power=4.5)
        slump = rng.random() < 0.25
        gap = disc * (0.6 if slump else 1.0)
        at = (0, bend(z - (height + disc) / 2), z - (height + disc) / 2)
        m.ellipsoid(
            T.LIGAMENT,
            at,
            (width / 2 + 1, depth / 2 + (3 if slump else 1.2), gap / 2 + 0.6),
            power=3.5,
            over=(*SOFT, T.CSF, T.LIGAMENT, T.BOWEL),
        )
        m.ellipsoid(T.DRY_DISC if slump else T.DISC, at, (width / 2 - 3, depth / 2 - 3, gap / 2), power=3)
        z -= height + disc
        height, width = height * 1.012, width * 1.015


def _paraspinal(m: TissueMap, y: float, rx: float, ry: float) -> None:
    reach = m.labels.shape[2] * m.step * 8
    for side in (-1, 1):
        m.ellipsoid(T.MUSCLE, (side * (rx + 3), y, 0), (rx, ry, reach), power=2.4, over=SOFT)
        m.ellipsoid(T.FAT, (side * (rx + 5), y + 1, 0), (1.0, ry * 0.8, reach), over=(T.MUSCLE,))


def neck(rng: np.random.Generator) -> TissueMap:
    """Cervical spine with skull base, airway, vessels and thyroid; shoulders below."""
    m = empty((105, 100, 118), 1.9)
    trunk(m, 66, 64, rng.uniform(4, 11), 100, centre=(0, 2))
    for side in (-1, 1):
        m.ellipsoid(T.FAT, (side * 70, 14, -118), (60, 50, 50), over=(T.AIR, T.SKIN, T.FAT))
        m.ellipsoid(T.MUSCLE, (side * 66, 14, -122), (54, 42, 46), over=(T.AIR, T.FAT, T.SKIN))
        m.ellipsoid(T.LUNG, (side * 38, 4, -140), (28, 40, 52))
        m.tube(T.MUSCLE, [(side * 44, 26, 70), (side * 26, -30, -80)], 10)
        m.tube(T.FAT, [(side * 30, 2, 60), (side * 34, 4, -80)], 9)
        m.tube(
            T.ARTERY,
            curve([(side * 24, -8, 100), (side * 26, -12, 40), (side * 22, -14, -40), (side * 16, -8, -118)]),
            3.6,
        )
        m.tube(
            T.VEIN,
            curve([(side * 32, -2, 100), (side * 35, -4, 30), (side * 30, -10, -60), (side * 24, -8, -110)]),
            5.2,
        )
        m.tube(T.ARTERY, [(side * 16, 10, 60), (side * 16, 14, -90)], 2.2)
        m.ellipsoid(T.GLAND, (side * 46, -6, 66), (12, 18, 22), over=SOFT)
        m.ellipsoid(T.GLAND, (side * 15, -24, -46), (9, 9, 22), over=SOFT)
        ball(m, (side * 40, -40, 78), (7, 26, 14))
        for _k in range(4):
            m.ellipsoid(
                T.GLAND,
                (side * rng.uniform(30, 46), rng.uniform(-16, 16), rng.uniform(-60, 60)),
                rng.uniform(2, 5, 3),
                over=SOFT,
            )
    _paraspinal(m, 42, 20, 18)
    bow, lean = rng.uniform(2, 10), rng.uniform(-0.08, 0.12)
    _spine(
        m,
        rng,
        count=9,
        height=14.5,
        disc=5,
        width=26,
        depth=16,
        canal=7.5,
        cord=4.6,
        bend=lambda h: 12 - bow * np.cos(h / 60) + lean * h * 0.4,
        cord_to=-1e3,
    )
    m.tube(
        T.AIR, curve([(0, -24, 92), (0, -14, 50), (0, -22, 0), (0, -20, -118)]), 8.5, over=(*SOFT, T.GLAND)
    )
    m.tube(T.MUSCLE, [(0, -6, 40), (0, -6, -118)], 7, over=SOFT)
    m.ellipsoid(T.MUSCLE, (0, -52, 70), (22, 26, 22), over=(T.FAT, T.AIR, T.MUSCLE))
    m.ellipsoid(T.LIGAMENT, (0, -33, -14), (14, 4, 13), over=SOFT)
    m.ellipsoid(T.CSF, (0, 34, 124), (58, 44, 34), over=(*SOFT, T.CORTICAL, T.MARROW, T.SKIN, T.AIR))
    m.ellipsoid(T.GREY, (0, 40, 122), (50, 32, 26), over=(T.CSF,))
    m.ellipsoid(T.WHITE, (0, 40, 124), (34, 20, 17), over=(T.GREY,))
    m.tube(T.CORD, [(0, 26, 70), (0, 18, 118)], [7, 12], over=(T.CSF, T.GREY, *SOFT))
    return m


def thoracic(rng: np.random.Generator) -> TissueMap:
    """Thoracic spine with lungs, heart, great vessels, liver and spleen."""
    m = empty((150, 118, 190), 2.6)
    trunk(m, 146, 108, rng.uniform(8, 22), 10)
    for side in (-1, 1):
        m.ellipsoid(T.LUNG, (side * 76, -8, 30), (54, 76, 175), power=2.4)
    m.ellipsoid(T.MUSCLE, (12, -46, -20), (52, 40, 62))
    m.ellipsoid(T.VEIN, (22, -48, -28), (26, 22, 38))
    m.ellipsoid(T.LIVER, (-50, -10, -160), (86, 80, 60))
    m.ellipsoid(T.SPLEEN, (84, 26, -160), (34, 40, 50))
    m.tube(T.ARTERY, curve([(6, -30, 40), (8, -20, 84), (18, 8, 80), (20, 16, 20), (14, 12, -190)]), 12)
    m.tube(T.AIR, [(0, -16, 190), (0, -12, 70)], 9)
    bow = rng.uniform(14, 30)
    _paraspinal(m, 62, 24, 18)
    _spine(
        m,
        rng,
        count=15,
        height=20,
        disc=5,
        width=31,
        depth=27,
        canal=7.8,
        cord=4.0,
        bend=lambda h: 38 - bow * (h / 190) ** 2,
        cord_to=-1e3,
    )
    return m


def lumbar(rng: np.random.Generator) -> TissueMap:
    """Lumbar spine and sacrum with kidneys, psoas, iliac wings, bowel and great vessels."""
    m = empty((150, 118, 165), 2.3)
    trunk(m, 146, 106, rng.uniform(10, 30), 12)
    for side in (-1, 1):
        m.ellipsoid(T.KIDNEY, (side * 62, 34, 96), (26, 24, 52))
        m.tube(
            T.MUSCLE,
            [(side * 30, 28, 120), (side * 46, 16, -40), (side * 70, -10, -165)],
            [14, 23, 24],
            over=SOFT,
        )
        ball(m, (side * 84, 44, -110), (34, 22, 62), shell=2, turn=side * 30.0)
        m.tube(T.ARTERY, [(side * 2, 0, -40), (side * 40, -12, -150)], 5)
    m.ellipsoid(T.LIVER, (-86, -10, 150), (66, 76, 60), over=(*SOFT, T.BOWEL))
    for _ in range(16):
        at = (rng.uniform(-90, 90), rng.uniform(-75, -20), rng.uniform(-140, 90))
        m.ellipsoid(T.BOWEL, at, rng.uniform(10, 22, 3), over=SOFT)
        m.ellipsoid(T.FLUID if rng.random() < 0.6 else T.AIR, at, rng.uniform(4, 9, 3), over=(T.BOWEL,))
    m.tube(T.ARTERY, [(8, 4, 165), (6, 4, -40)], 9)
    m.tube(T.VEIN, [(-16, 6, 165), (-14, 6, -45)], 11)
    _paraspinal(m, 76, 30, 22)
    bow, base = rng.uniform(6, 26), rng.uniform(26, 36)
    _spine(
        m,
        rng,
        count=7,
        height=27.5,
        disc=10,
        width=46,
        depth=34,
        canal=9.0,
        cord=4.2,
        bend=lambda h: base - bow * np.cos((h + 20) / 80) + (0.004 * (h + 90) ** 2 if h < -90 else 0),
        cord_to=55,
    )
    sacrum = curve([(0, 30, -112), (0, 46, -135), (0, 60, -165)])
    bone(m, sacrum, 18, 2)
    return m


# --- trunk ----------------------------------------------------------------------------------------------


def abdomen(rng: np.random.Generator) -> TissueMap:
    """Upper abdomen: liver with vessels and a lesion, gall bladder, stomach, pancreas, kidneys."""
    m = empty((185, 130, 130), 2.8)
    trunk(m, 178, 122, rng.uniform(12, 34), 9)
    for _ in range(26):
        at = (rng.uniform(-110, 110), rng.uniform(-78, 0), rng.uniform(-130, 20))
        m.ellipsoid(T.BOWEL, at, rng.uniform(12, 24, 3), over=SOFT)
        m.ellipsoid(T.FLUID if rng.random() < 0.5 else T.AIR, at, rng.uniform(4, 11, 3), over=(T.BOWEL,))
    m.ellipsoid(T.LIVER, (-72, -12, 50), (82, 74, 74), power=2.2)
    m.ellipsoid(T.LIVER, (-6, -44, 62), (56, 34, 42))
    m.ellipsoid(T.FLUID, (-58, -42, 4), (13, 16, 24))
    m.ellipsoid(T.BOWEL, (62, -30, 46), (46, 36, 44), over=SOFT)
    m.ellipsoid(T.FLUID, (62, -24, 40), (32, 24, 28), over=(T.BOWEL,))
    m.ellipsoid(T.SPLEEN, (112, 36, 48), (30, 36, 48))
    m.tube(T.GLAND, curve([(-30, 4, 0), (0, -6, 12), (50, 10, 24), (86, 24, 30)]), 11, over=(*SOFT, T.BOWEL))
    for side in (-1, 1):
        m.ellipsoid(T.KIDNEY, (side * 66, 48, -16), (27, 27, 54), turn=side * 20.0)
        m.ellipsoid(T.FAT, (side * 56, 44, -16), (8, 8, 22))
        m.tube(T.MUSCLE, [(side * 30, 44, 60), (side * 44, 36, -130)], [13, 24], over=SOFT)
        m.ellipsoid(T.LUNG, (side * 84, 16, 150), (62, 78, 62))
        m.ellipsoid(T.TUMOUR, (side * -80, -10, 50), rng.uniform(4, 16, 3), over=(T.LIVER,))
    m.tube(T.ARTERY, [(10, 26, 130), (6, 26, -130)], 10)
    m.tube(T.VEIN, [(-18, 18, 130), (-16, 26, -130)], 12)
    m.tube(T.VEIN, curve([(-14, 0, -10), (-30, -10, 30), (-70, -14, 56)]), 7, over=(T.LIVER, *SOFT))
    for x in (-110, -90, -50):
        m.tube(T.VEIN, [(-22, 14, 80), (x, rng.uniform(-30, 20), rng.uniform(20, 80))], 3.5, over=(T.LIVER,))
    _paraspinal(m, 88, 32, 22)
    _spine(
        m,
        rng,
        count=8,
        height=26,
        disc=9,
        width=44,
        depth=33,
        canal=8.5,
        cord=4.2,
        bend=lambda h: 50,
        cord_to=20,
    )
    return m


def chest(rng: np.random.Generator) -> TissueMap:
    """Thorax centred on the heart and its chambers."""
    m = thoracic(rng)
    m.ellipsoid(T.MUSCLE, (22, -40, -40), (60, 48, 66), over=(T.LUNG, *SOFT, T.MUSCLE, T.VEIN))
    for at, radii in (
        ((34, -40, -50), (30, 26, 44)),
        ((4, -52, -44), (26, 22, 40)),
        ((20, -22, -4), (24, 18, 20)),
    ):
        m.ellipsoid(T.ARTERY if at[0] > 20 else T.VEIN, at, radii, over=(T.MUSCLE, T.VEIN))
    return m


def breast(rng: np.random.Generator) -> TissueMap:
    """Both breasts, with gland, and the chest wall behind them."""
    m = empty((185, 150, 110), 2.8)
    m.ellipsoid(T.SKIN, (0, 70, 0), (172, 92, 900), power=2.5)
    m.ellipsoid(T.FAT, (0, 70, 0), (169, 89, 900), power=2.5)
    m.ellipsoid(T.MUSCLE, (0, 74, 0), (150, 74, 900), power=2.5)
    for side in (-1, 1):
        m.ellipsoid(T.LUNG, (side * 70, 84, 10), (56, 54, 160))
        size = rng.uniform(0.85, 1.15)
        m.ellipsoid(T.SKIN, (side * 78, -20, 0), (68 * size, 92 * size, 78 * size), over=(T.AIR, T.SKIN))
        m.ellipsoid(T.FAT, (side * 78, -20, 0), (66 * size, 90 * size, 76 * size), over=(T.AIR, T.SKIN))
        dense = rng.uniform(0.5, 1.1)
        m.ellipsoid(T.GLAND, (side * 80, -44, 0), (38 * dense, 48 * dense, 38 * dense), over=(T.FAT,))
        for _ in range(25):
            at = (side * 80 + rng.uniform(-36, 36), -44 + rng.uniform(-40, 40), rng.uniform(-36, 36))
            m.ellipsoid(
                T.FAT if rng.random() < 0.6 else T.GLAND, at, rng.uniform(3, 11, 3), over=(T.GLAND, T.FAT)
            )
    m.ellipsoid(T.TUMOUR, (78, -40, 6), rng.uniform(5, 13, 3), over=(T.GLAND, T.FAT))
    m.ellipsoid(T.VEIN, (24, 70, -20), (46, 40, 56))
    m.ellipsoid(T.MUSCLE, (24, 70, -20), (50, 44, 60), over=(T.LUNG,))
    return m


def thigh(rng: np.random.Generator) -> TissueMap:
    """Both thighs with femur, muscle groups and fat."""
    m = empty((200, 100, 180), 2.9)
    for side in (-1, 1):
        x, fat = side * 94, rng.uniform(8, 20)
        for radius, tissue in ((86, T.SKIN), (84, T.FAT), (84 - fat, T.MUSCLE)):
            m.tube(
                tissue,
                [(x, 0, 200), (x * 0.94, 0, -200)],
                [radius, radius * 0.72],
                over=(T.AIR, T.SKIN, T.FAT),
            )
        for angle in np.linspace(0, 2 * np.pi, 8)[:-1] + 0.3:
            reach = np.array([np.cos(angle), np.sin(angle)]) * 62
            for z in np.linspace(-180, 180, 40):
                for t in (0.35, 0.5, 0.65, 0.8, 0.95):
                    m.ellipsoid(T.FAT, (x + reach[0] * t, reach[1] * t, z), (2.2, 2.2, 6), over=(T.MUSCLE,))
        bone(m, [(x - side * 4, -6, 200), (x, -2, -200)], [15, 14], 5)
        m.tube(T.ARTERY, [(x - side * 40, -20, 200), (x - side * 16, 20, -200)], 4.5, over=SOFT)
        m.tube(T.VEIN, [(x - side * 46, -14, 200), (x - side * 22, 24, -200)], 5.5, over=SOFT)
    return m


BODIES: dict[str, Callable[[np.random.Generator], TissueMap]] = {
    "Neck": neck, "C-spine": neck, "T-spine": thoracic, "L-spine": lumbar, "Abdomen": abdomen,
    "Breast": breast,
    "Chest": chest, "Thigh": thigh,
}  # fmt: skip
MIDDLES = {
    "C-spine": (0.0, 12.0, 0.0),
    "Neck": (0.0, -4.0, 0.0),
    "T-spine": (0.0, 40.0, 0.0),
    "L-spine": (0.0, 34.0, -12.0),
}
"""Where the middle of the images lies in the map, mm; elsewhere its centre."""
