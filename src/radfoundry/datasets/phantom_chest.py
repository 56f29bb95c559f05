"""A frontal chest radiograph drawn from a handful of lengths: path lengths through tissue, then Beer-Lambert.

Coordinates: centimetres of an adult; x grows to the image's right, which is the patient's left; y grows
downwards from the root of the neck; the frame is 40 by 40. A child is drawn in the same frame with a child's
proportions. Thickness maps are (size, size) float32 in cm of water or of bone along the beam.

The picture is meant to be read, not to be measured: nothing here reproduces a scanner or a patient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Raster
from PIL import ImageDraw
from scipy.ndimage import gaussian_filter

FRAME_CM = 40.0
LUNG_DENSITY = 0.26  # of water, in full inspiration


@dataclass(frozen=True)
class Anatomy:
    """Lengths in cm of the adult frame; drawn once a patient, changed by view and by findings."""

    half_width: float = 13.6
    apex: float = 3.6
    dome: tuple[float, float] = (24.2, 25.4)  # y of the top of the right and left hemidiaphragm
    dome_drop: tuple[float, float] = (3.6, 3.6)  # how far the costophrenic angles lie below
    heart: float = 1.0  # scale of the heart
    knob: float = 1.7  # radius of the aortic arch
    thymus: float = 0.0
    shift: float = 0.0  # of the mediastinum, to the patient's left
    thickness: float = 21.0  # of the chest
    breast: float = 0.0  # cm of tissue
    rib_pitch: float = 2.25
    rib_drop: float = 3.2
    spine_bow: float = 0.0
    shoulder: float = 19.0
    bone: float = 1.0  # mineral content
    density: tuple[float, float] = (LUNG_DENSITY, LUNG_DENSITY)  # right, left lung
    vessels: tuple[float, float] = (1.0, 1.0)  # calibre, right and left
    scapula_in: float = 0.0  # how far the shoulder blades overlie the lungs
    gas: tuple[float, float] = (2.6, 1.7)  # half width and height of the stomach bubble
    fissure: float = 14.6  # y of the minor fissure; 0 hides it
    arms_up: bool = False


@dataclass(frozen=True)
class Scene:
    """What findings need: x, y (cm), lung (0..1, aerated lung in the beam), left (which side),
    rim (depth below the pleura, cm), and the lateral border of the lung (cm)."""

    x: np.ndarray
    y: np.ndarray
    lung: np.ndarray
    left: np.ndarray
    rim: np.ndarray
    lateral: np.ndarray
    px_per_cm: float


def attenuation(
    anatomy: Anatomy,
    rng: np.random.Generator,
    *,
    size: int,
    zoom: float = 1.0,
    turn: float = 0.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray, Scene]:
    """Water and bone thickness (cm) and the scene.

    zoom magnifies the patient, turn rotates in degrees, offset moves in cm; rng draws vessels and texture.
    """  # fmt: skip
    x, y = _grid(size, zoom, turn, offset)
    lung, depth, scene = _lungs(anatomy, x, y, size * zoom / FRAME_CM)
    solid = _mediastinum(anatomy, x, y)
    depth = depth * (1 - 0.93 * solid)
    scene = replace(scene, lung=lung * (1 - 0.9 * solid))
    density = np.where(scene.left, np.float32(anatomy.density[1]), np.float32(anatomy.density[0]))
    vessels = _vessels(anatomy, scene, rng, size)
    texture = gaussian_filter(rng.standard_normal((size, size), dtype=np.float32), 0.0035 * size) * 0.4
    air = depth * (1 - density) - lung * np.minimum(depth / 9, 1) * (vessels + 0.35 * texture)
    water = np.maximum(_body(anatomy, x, y) - air, 0)
    water = water + _soft(anatomy, x, y, scene) - _airways(anatomy, x, y, scene)
    water = water + (0.55 * lung * (1 - solid)) * _fissure(anatomy, x, y)
    return np.maximum(water, 0), anatomy.bone * _bones(anatomy, x, y, scene), scene


def ridge(distance: np.ndarray, half: float | np.ndarray) -> np.ndarray:
    """Path length through a rod of radius `half` at a distance from its axis, in units of its diameter."""
    return np.sqrt(np.maximum(1 - (distance / half) ** 2, 0))


def step(value: np.ndarray, width: float) -> np.ndarray:
    """0 below -width, 1 above +width, smooth between."""
    t = np.clip(value / (2 * width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def blob(
    x: np.ndarray,
    y: np.ndarray,
    at: tuple[float, float],
    radii: tuple[float, float],
    turn: float = 0.0,
    *,
    roots: int = 1,
) -> np.ndarray:
    """An ellipsoid's path length, 1 at its centre. turn in degrees; roots crisp the edge."""  # fmt: skip
    angle = math.radians(turn)
    cos, sin = math.cos(angle), math.sin(angle)
    dx, dy = x - at[0], y - at[1]
    along, across = (cos * dx + sin * dy) / radii[0], (cos * dy - sin * dx) / radii[1]
    out = np.maximum(1 - along * along - across * across, 0)
    for _ in range(roots):
        out = np.sqrt(out)
    return out


def rod(
    x: np.ndarray,
    y: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    half: float,
    bow: float = 0.0,
) -> np.ndarray:
    """A straight or bowed rod between two points (cm), 1 on its axis."""  # fmt: skip
    along = np.subtract(end, start)
    length = float(np.hypot(*along))
    ux, uy = np.float32(along[0] / length), np.float32(along[1] / length)
    s = (x - np.float32(start[0])) * ux + (y - np.float32(start[1])) * uy
    d = (y - np.float32(start[1])) * ux - (x - np.float32(start[0])) * uy
    t = s / np.float32(length)
    d = d + np.float32(bow) * 4 * t * (1 - t)
    return ridge(d, half) * step(s, 0.3) * step(np.float32(length) - s, 0.3)


def _grid(size: int, zoom: float, turn: float, offset: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * np.float32(FRAME_CM / zoom)
    u, v = axis[None, :] - np.float32(offset[0]), axis[:, None] - np.float32(offset[1])
    cos, sin = np.float32(np.cos(np.deg2rad(turn))), np.float32(np.sin(np.deg2rad(turn)))
    return cos * u + sin * v, cos * v - sin * u + np.float32(FRAME_CM / 2 - 2.5)


def _lungs(
    a: Anatomy, x: np.ndarray, y: np.ndarray, px_per_cm: float
) -> tuple[np.ndarray, np.ndarray, Scene]:
    """Lung (0..1), its depth along the beam (cm), and the scene."""
    ax, left = np.abs(x), x > 0
    top = np.where(left, np.float32(a.dome[1]), np.float32(a.dome[0]))
    drop = np.where(left, np.float32(a.dome_drop[1]), np.float32(a.dome_drop[0]))
    t = np.clip((y - np.float32(a.apex)) / np.float32(22.0), 0, 1)
    apex_x = np.float32(0.42 * a.half_width)
    bulge = np.sqrt(1 - (1 - t) * (1 - t) * np.sqrt(1 - t))
    lateral = apex_x + (np.float32(a.half_width) - apex_x) * bulge
    medial = apex_x - (apex_x - 1.7) * np.sqrt(1 - (1 - np.minimum(t / 0.16, 1)) ** 2)
    centre = np.float32(0.47 * a.half_width)
    across = (ax - centre) / np.where(
        ax > centre, np.float32(a.half_width) - centre, np.float32(2.2) * centre
    )
    floor = top + drop * across**2 * np.where(ax > centre, np.float32(1.0), np.float32(0.75))
    lung = (
        step(lateral - ax, 0.18)
        * step(ax - medial, 0.25)
        * step(floor - y, 0.16)
        * step(y - a.apex - 0.2, 0.25)
    )
    behind = (
        step(lateral - ax, 0.18)
        * step(ax - 2.5, 0.5)
        * step(floor + 2.6 - y, 2.4)
        * (1 - step(floor - y, 0.16))
    )
    girth = np.sqrt(np.maximum(1 - (ax / (lateral + 0.25)) ** 2, 0))
    girth = np.sqrt(girth) * np.sqrt(np.sqrt(girth))
    depth = np.float32(0.72 * a.thickness) * girth * np.minimum(0.45 + 1.6 * t, 1)
    rim = np.minimum(lateral - ax, floor - y)
    scene = Scene(x, y, lung, left, rim, lateral, px_per_cm)
    return lung, depth * (lung + np.float32(0.16) * behind * (1 - lung)), scene


def _body(a: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Water thickness of trunk, neck, shoulders and arms without their air."""
    ax = np.abs(x)
    flank = a.half_width + 2.6 + 0.10 * np.maximum(y - 18, 0)
    trunk = a.thickness * np.sqrt(np.maximum(1 - (ax / flank) ** 4, 0)) * step(y - 3.0, 5.0)
    neck = 13 * np.sqrt(np.maximum(1 - (ax / (5.4 + 0.22 * np.maximum(y, 0) ** 2)) ** 2, 0)) * step(11 - y, 7)
    slope = y - 0.4 - 0.016 * ax * ax if not a.arms_up else y - 1.2 + 0.05 * ax
    shoulder = (
        (0.68 * a.thickness)
        * np.sqrt(step(slope, 2.2))
        * step(a.shoulder + 3.0 - ax, 1.6)
        * step(13 - y - 0.1 * ax, 5)
    )
    if a.arms_up:
        chin = 10 * blob(x, y, (0.4, -5.2), (6.0, 6.2), roots=2)
        return np.maximum(np.maximum(trunk, neck + 0.6 * chin), 0.75 * shoulder)
    arm = 10.5 * ridge(ax - (a.shoulder + 0.3 + 0.06 * y), 3.3) * step(y - 5, 3)
    return np.maximum(np.maximum(trunk, neck), np.maximum(shoulder, arm))


def _mediastinum(a: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """0..1: how much of the depth is heart, great vessels or other solid tissue."""
    mid = x - np.float32(a.shift) * step(y - 8, 6)
    h, base = a.heart, 0.4 * a.dome[0] + 0.6 * a.dome[1] + 0.3
    parts = [
        blob(mid, y, (2.6 * h, base - 3.6 * h), (7.2 * h, 4.6 * h), 36, roots=2),  # left ventricle
        blob(mid, y, (-1.0 * h, base - 3.4 * h), (3.6 * h, 5.2 * h), 0, roots=2),  # right atrium
        blob(mid, y, (1.7, a.apex + 6.6), (a.knob + 0.3, a.knob + 0.5), 0, roots=2) * 0.9,  # aortic arch
        rod(mid, y, (2.1, a.apex + 7.0), (1.6, base + 2), 1.15) * 0.7,  # descending aorta
        blob(mid, y, (1.2, base - 9.6), (3.0 * math.sqrt(h), 3.4), 25, roots=2) * 0.85,  # pulmonary trunk
        blob(mid, y, (-1.0, base - 11.0), (2.0, 7.5), 2, roots=2) * 0.7,  # superior vena cava
        0.5 * blob(mid, y, (-3.0, a.apex + 11.4), (2.2, 3.6), -12, roots=0),  # right hilum
        0.5 * blob(mid, y, (3.3, a.apex + 10.4), (2.2, 3.2), 14, roots=0),  # left hilum
        0.97 * step(2.35 - np.abs(x - 0.2 - 0.5 * a.shift), 0.75),  # spine and its muscles
    ]
    if a.thymus:
        parts.append(blob(mid, y, (0.6, a.apex + 6.5), (3.0 + a.thymus, 5.0), 0, roots=2) * 0.9)
    return np.minimum(np.maximum.reduce(parts), 1)


def _soft(a: Anatomy, x: np.ndarray, y: np.ndarray, scene: Scene) -> np.ndarray:
    """Breasts, axillary folds and the gas of the stomach."""
    ax = np.abs(x)
    extra = np.zeros_like(x)
    if a.breast:
        place = (0.56 * a.half_width, 20.2 + 0.55 * a.breast)
        extra += a.breast * blob(ax, y, place, (0.47 * a.half_width, 4.4 + 0.4 * a.breast), 8)
    fold = ax - (a.half_width + 0.8 + 0.05 * (18 - y))
    extra += 1.6 * ridge(fold, 1.6) * step(y - 7, 2) * step(20 - y, 5)
    gas = blob(x, y, (6.2, a.dome[1] + 1.1 + a.gas[1]), a.gas, 8) * step(y - a.dome[1] - 1.0, 0.3)
    return extra - 1.5 * a.gas[1] * gas


def _airways(a: Anatomy, x: np.ndarray, y: np.ndarray, scene: Scene) -> np.ndarray:
    """Trachea and main bronchi, cm of air."""
    mid = x - np.float32(a.shift) * step(y - 4, 8) + 0.25 * step(y - 6, 4)
    carina = a.apex + 8.6
    trachea = 2.7 * ridge(mid, 0.95) * step(carina - y, 0.6)
    right = 2.2 * rod(mid, y, (-0.2, carina - 0.4), (-3.6, carina + 3.6), 0.65)
    left = 2.0 * rod(mid, y, (0.2, carina - 0.4), (4.6, carina + 2.7), 0.6)
    return np.maximum(trachea, np.maximum(right, left))


def _fissure(a: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if not a.fissure:
        return np.zeros_like(x)
    line = y - (a.fissure + 0.012 * (x + 7) ** 2)
    return ridge(line, 0.09) * step(-3.5 - x, 0.5) * 0.5


# --- skeleton ------------------------------------------------------------------------------------------


def _bones(a: Anatomy, x: np.ndarray, y: np.ndarray, scene: Scene) -> np.ndarray:
    """cm of bone along the beam."""
    return _ribs(a, x, y) + _spine(a, x, y) + _girdle(a, x, y)


def _ribs(a: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Each rib runs round the chest and falls as it goes: y = start + drop (1 - cos), with x = width sin.

    Solving for the start at a given pixel draws all ribs of the back, and of the front, in one pass.
    """
    ax = np.abs(x - np.float32(a.spine_bow) * 0.3)
    t = np.clip((y - np.float32(a.apex - 0.9)) / np.float32(20.0), 0, 1)
    width = np.float32(0.44 * a.half_width) + np.float32(0.56 * a.half_width + 0.55) * np.sqrt(
        1 - (1 - t) * (1 - t) * np.sqrt(1 - t)
    )
    s = np.minimum(ax / width, 0.9995)
    cos = np.sqrt(1 - s * s)
    drop = np.float32(a.rib_drop) * (0.7 + 0.035 * y)
    tilt = np.sqrt(1 + np.minimum(drop * s / (width * cos), 2.2) ** 2)
    inside = (ax < width) * step(ax - 1.7, 0.4)
    back = _rib_profile(a, y - drop * (1 - cos), tilt, 0.50, last=11) * inside
    front = _rib_profile(a, y - drop * (1 + 0.92 * cos) - 0.3, tilt, 0.62, last=7) * inside
    front *= step(ax - width * 0.46, 1.2)  # cartilage towards the sternum
    edge = np.minimum(1 / (cos + 0.35), 1.7)
    return (0.95 * back + 0.55 * front) * edge


def _rib_profile(a: Anatomy, start: np.ndarray, tilt: np.ndarray, half: float, *, last: int) -> np.ndarray:
    """Cortical shell of the nearest rib; start is the height at the spine (cm)."""
    rank = (start - np.float32(a.apex + 0.4)) / np.float32(a.rib_pitch)
    k = np.rint(rank)
    d = (rank - k) * np.float32(a.rib_pitch) / tilt
    shell = ridge(d, half) - 0.62 * ridge(d, 0.72 * half)
    lower = 1 + 0.25 * np.clip(d / half, -1, 1)  # the lower margin is the denser one
    return shell * lower * ((k >= 0) & (k <= last))


def _spine(a: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Vertebral bodies with end plates, pedicles and spinous processes."""
    bow = np.float32(a.spine_bow) * np.sin(y / 9.0)
    mid = x - bow
    pitch = 1.95 + 0.018 * y
    phase = y / pitch - np.floor(y / pitch)
    gap = np.abs(phase - 0.5) * 2  # 1 in the disc, 0 in the middle of a body
    body = np.clip((1.0 - gap) * 7, 0, 1)
    plate = np.exp(-(((gap - 0.82) / 0.09) ** 2))
    wide = step(np.float32(1.75) + 0.01 * y + 0.22 * gap - np.abs(mid), 0.12)
    pedicle = blob(np.abs(mid), (phase - 0.42) * pitch, (1.15, 0.0), (0.36, 0.5))
    process = blob(mid, (phase - 0.75) * pitch, (0.0, 0.0), (0.24, 0.55))
    return wide * (0.15 + 0.35 * body + 0.4 * plate) + 0.35 * pedicle + 0.4 * process


def _girdle(a: Anatomy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Clavicles, shoulder blades, humeri and the manubrium."""
    ax = np.abs(x)
    lift = 0.9 - 1.1 * a.scapula_in
    out = a.shoulder - 2.6
    clavicle = ax * np.float32(1)
    wave = y + 0.55 * np.sin((ax - 2) / (out - 2) * 2 * np.pi) * step(ax - 2, 0.1)
    bone = rod(clavicle, wave, (1.9, a.apex + 4.4 + lift), (out, a.apex + 1.6 + lift), 0.72)
    inner = rod(clavicle, wave, (1.9, a.apex + 4.4 + lift), (out, a.apex + 1.6 + lift), 0.5)
    clavicle = 1.7 * bone - 0.8 * inner
    edge_x = a.half_width - 0.7 - 2.6 * a.scapula_in
    blade = rod(ax, y, (edge_x - 0.6, a.apex + 3.2), (edge_x + 0.8, a.apex + 13.2), 0.28, bow=0.7)
    border = rod(ax, y, (a.shoulder - 2.2, a.apex + 5.4), (edge_x + 0.9, a.apex + 13.2), 0.45, bow=-0.5)
    spine = rod(ax, y, (edge_x - 0.2, a.apex + 4.6), (a.shoulder - 1.2, a.apex + 1.3), 0.4, bow=0.3)
    sheet = (
        step(ax - edge_x, 0.3)
        * step(a.shoulder - 1.6 - 0.55 * (y - a.apex - 5) - ax, 0.5)
        * step(y - a.apex - 3, 0.8)
    )
    scapula = 0.28 * blade + 0.42 * border + 0.38 * spine + 0.12 * sheet * step(a.apex + 13 - y, 0.6)
    joint = (a.shoulder - 0.4, a.apex + 3.6)
    foot = (a.shoulder + 1.4, a.apex + 24) if not a.arms_up else (a.shoulder + 2.2, a.apex - 12)
    head = blob(ax, y, joint, (2.1, 2.1))
    shaft = rod(ax, y, joint, foot, 1.15) - 0.55 * rod(ax, y, joint, foot, 0.75)
    manubrium = 0.3 * step(2.4 - ax, 0.3) * step(y - a.apex - 2.6, 0.4) * step(a.apex + 7.2 - y, 0.6)
    return clavicle + scapula + 1.3 * np.maximum(head * 0.8, shaft) + manubrium


# --- vessels -------------------------------------------------------------------------------------------


def _vessels(a: Anatomy, scene: Scene, rng: np.random.Generator, size: int) -> np.ndarray:
    """cm of blood beyond the parenchyma: trees that fan out from each hilum, drawn twice as fine."""
    canvas = Raster.new("F", (2 * size, 2 * size))
    pen = ImageDraw.Draw(canvas)
    to_px = _to_pixels(scene, 2)
    for left in (False, True):
        points, width = _tree(a, left, rng)
        width = width * a.vessels[int(left)]
        thick = np.maximum(1, np.rint(2 * width * scene.px_per_cm)).astype(int)
        order = np.argsort(width)
        lines = to_px(points[order]).reshape(len(order), -1).tolist()
        for line, value, px in zip(lines, (2.6 * width[order]).tolist(), thick[order].tolist()):
            pen.line(line, fill=value, width=px)
    drawn = np.asarray(canvas.resize((size, size), Raster.Resampling.BOX))
    return gaussian_filter(drawn, 0.0017 * size)


def _tree(a: Anatomy, left: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Branches as (n, 3, 2) points in cm and (n,) widths in cm; three generations from the hilum.

    Vessels to the bases are the wider ones, as in an upright patient.
    """
    sign = 1.0 if left else -1.0
    hilum = np.array([a.shift + sign * 3.2, a.apex + (9.8 if left else 10.8)])
    angle = np.deg2rad(np.linspace(-84, 84, 11) + rng.normal(0, 6, 11))
    up, down = hilum[1] - a.apex, 0.5 * sum(a.dome) - hilum[1] + 2.5
    reach = np.where(angle > 0, down, up)
    length = 0.92 / np.hypot(np.cos(angle) / (a.half_width - 3.0), np.sin(angle) / reach)
    start = hilum + rng.normal(0, 0.6, (11, 2)) * [0.6, 1.4]
    width = rng.uniform(0.42, 0.75, 11) * np.where(angle > 0, 1.15, 0.85)
    points, widths = [], []
    for _ in range(4):
        path, heading = _grow(start, angle, length, sign, rng)
        for i, taper in enumerate((1.0, 0.72, 0.5)):
            points.append(path[:, 2 * i : 2 * i + 3])
            widths.append(width * taper)
        at = rng.integers(1, 6, (len(start), 3))  # three daughters leave each branch on the way
        rows = np.repeat(np.arange(len(start)), 3)
        at = at.ravel()
        turn = rng.uniform(0.3, 0.85, len(rows)) * rng.choice([-1.0, 1.0], len(rows))
        start, angle = path[rows, at], heading[rows, at - 1] + turn
        length = length[rows] * (1 - at / 7.5) * rng.uniform(0.55, 0.95, len(rows))
        width = width[rows] * (0.78 - 0.07 * at)
        keep = (length > 0.9) & (width > 0.035)
        start, angle, length, width = start[keep], angle[keep], length[keep], width[keep]
    return np.concatenate(points), np.concatenate(widths)


def _grow(
    start: np.ndarray, angle: np.ndarray, length: np.ndarray, sign: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Wandering paths (n, 7, 2) and the heading of each of their six steps (n, 6)."""
    heading = angle[:, None] + np.cumsum(rng.normal(0, 0.17, (len(start), 6)), 1)
    steps = np.stack([sign * np.cos(heading), np.sin(heading)], 2) * (length / 6)[:, None, None]
    return np.concatenate([start[:, None], start[:, None] + np.cumsum(steps, 1)], 1), heading


def _to_pixels(scene: Scene, factor: int):
    """Centimetres to pixel positions of a canvas `factor` times as fine; undoes shift and rotation."""
    x, y, n = scene.x, scene.y, scene.x.shape[0]
    base = np.array([x[0, 0], y[0, 0]])
    across = np.array([x[0, -1] - x[0, 0], y[0, -1] - y[0, 0]]) / (n - 1)
    down = np.array([x[-1, 0] - x[0, 0], y[-1, 0] - y[0, 0]]) / (n - 1)
    inverse = np.linalg.inv(np.stack([across, down], 1))
    return lambda points: ((points - base) @ inverse.T + 0.5) * factor
