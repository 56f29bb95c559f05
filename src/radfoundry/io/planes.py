"""Image planes in space: which belong together, in which order, and on what grid.

Everything here is in DICOM's LPS millimetres; `series.py` turns to RAS+ at the very end. A plane is one
classic slice, one frame of an enhanced object, or one tile of a mosaic; no pixels are touched.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from radfoundry.errors import ReadError

SAME_DIRECTION = 1e-3
"""Direction cosines that differ by less (0.06 degrees) are one orientation written with rounding."""
SAME_PLACE_MM = 0.01
"""Positions that differ by less are one place: vendors round to 0.01 mm. Finer grids have finer places."""
MAX_SHEAR = 5e-3
"""Lateral mm per mm of depth up to which an affine carries the shear exactly; more is a gantry tilt."""

# Attributes that tell repeats of one position apart, best first. "exact" ones must take the same values
# at every position; the clocks only have to order the repeats.
EXACT = ("temporal position", "b-value and direction", "acquisition number", "inversion time")
CLOCKS = ("trigger time", "acquisition time", "content time", "frame time")


@dataclass(frozen=True, slots=True)
class Plane:
    """One rectangle of pixels in space. position: centre of pixel (0, 0), LPS mm (PS3.3 C.7.6.2.1.1).

    row: direction in which the column index grows; column: direction in which the row index grows.
    spacing: (between rows, between columns) in mm. order: what may tell it from a repeat at its place.
    """

    position: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing: tuple[float, float]
    shape: tuple[int, int]
    file: int = 0
    frame: int = 0
    slope: float = 1.0
    intercept: float = 0.0
    echo: float | None = None
    kind: str = ""
    order: dict[str, object] = field(default_factory=dict)
    instance: int = 0
    uid: str = ""
    thickness: float | None = None

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.row, self.column)

    @property
    def facing(self) -> str:
        """axial, coronal or sagittal, with "oblique" beyond 10 degrees."""
        parts = np.abs(self.normal)
        name = ("sagittal", "coronal", "axial")[int(parts.argmax())]
        return name if parts.max() > 0.985 else f"oblique {name}"


def split(planes: list[Plane]) -> list[list[Plane]]:
    """Stacks: planes of one orientation, matrix, pixel size and echo, largest differences first.

    Image types split a stack only where positions repeat: some scanners mark parts of one volume.
    """
    stacks: list[list[Plane]] = []
    for plane in planes:
        for stack in stacks:
            if _alike(stack[0], plane):
                stack.append(plane)
                break
        else:
            stacks.append([plane])
    return [part for stack in stacks for part in _split_kinds(stack)]


def _alike(a: Plane, b: Plane) -> bool:
    return (
        a.shape == b.shape
        and a.echo == b.echo
        and abs(a.spacing[0] - b.spacing[0]) < 1e-4
        and abs(a.spacing[1] - b.spacing[1]) < 1e-4
        and float(np.abs(a.row - b.row).max()) < SAME_DIRECTION
        and float(np.abs(a.column - b.column).max()) < SAME_DIRECTION
    )


def _split_kinds(stack: list[Plane]) -> list[list[Plane]]:
    kinds = list(dict.fromkeys(plane.kind for plane in stack))
    if len(kinds) == 1 or max(Counter(place_index(stack).tolist()).values()) == 1:
        return [stack]
    return [[plane for plane in stack if plane.kind == kind] for kind in kinds]


def depths(stack: list[Plane]) -> np.ndarray:
    """(n,) positions of the planes along the first plane's normal, mm."""
    return np.array([plane.position for plane in stack]) @ stack[0].normal


def place_index(stack: list[Plane]) -> np.ndarray:
    """(n,) which distinct position, counted upwards along the normal, each plane occupies."""
    depth = depths(stack)
    order = np.argsort(depth, kind="stable")
    near = min(SAME_PLACE_MM, 0.05 * min(stack[0].spacing))
    new = np.diff(depth[order], prepend=depth[order[0]]) > near
    place = np.empty(len(stack), int)
    place[order] = np.cumsum(new)
    return place


def describe(stack: list[Plane]) -> str:
    """One line that lets a person choose, without identifiers."""
    first = stack[0]
    places = len(set(place_index(stack).tolist()))
    parts = [
        f"{first.facing}, {first.shape[0]} × {first.shape[1]}, {len(stack)} images at {places} positions"
    ]
    if first.echo is not None:
        parts.append(f"echo time {first.echo:g} ms")
    if first.kind:
        parts.append(first.kind)
    return ", ".join(parts)


def choose(stacks: list[list[Plane]], where: str, *, echo: float | None, stack: int | None) -> list[Plane]:
    """The one stack asked for; ReadError lists them when the request does not single one out."""
    numbered = list(enumerate(stacks))
    if stack is not None:
        if not 0 <= stack < len(stacks):
            raise ReadError(f"{where} has stacks 0 to {len(stacks) - 1}, not {stack}:\n{_listing(numbered)}")
        return stacks[stack]
    if echo is not None:
        numbered = [(i, s) for i, s in numbered if s[0].echo is not None and abs(s[0].echo - echo) < 0.01]
        if not numbered:
            raise ReadError(f"{where} has no echo of {echo:g} ms:\n{_listing(list(enumerate(stacks)))}")
    if len(numbered) > 1:
        differ = _differences([s for _, s in numbered])
        hint = " or echo=<ms>" if "echoes" in differ else ""
        raise ReadError(
            f"{where} is not one volume but {len(numbered)} stacks that differ in {differ}. "
            f"Choose one: read(path, stack=<number>){hint}\n{_listing(numbered)}"
        )
    return numbered[0][1]


def _differences(stacks: list[list[Plane]]) -> str:
    first = [stack[0] for stack in stacks]
    names = {
        "orientation": any(
            max(np.abs(first[0].row - p.row).max(), np.abs(first[0].column - p.column).max())
            >= SAME_DIRECTION
            for p in first
        ),
        "echoes": len({p.echo for p in first}) > 1,
        "matrix size": len({p.shape for p in first}) > 1,
        "pixel spacing": len({p.spacing for p in first}) > 1,
        "image type": len({p.kind for p in first}) > 1,
    }
    return " and ".join(name for name, yes in names.items() if yes) or "geometry"


def _listing(numbered: list[tuple[int, list[Plane]]]) -> str:
    return "\n".join(f"  stack={i}: {describe(stack)}" for i, stack in numbered)


def order_repeats(stack: list[Plane], place: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """(K, T) indices into `stack`, and the name of the attribute that orders T.

    Raises ReadError where positions hold different numbers of images, or the repeats cannot be told apart.
    """
    groups = [np.flatnonzero(place == k) for k in range(int(place.max()) + 1)]
    counts = {len(group) for group in groups}
    if len(counts) > 1:
        raise ReadError(
            f"{where} has between {min(counts)} and {max(counts)} different images at its {len(groups)} "
            "slice positions: an incomplete time series, or slices sent twice with other pixels. "
            "Remove the surplus, or pass the list of files that make one volume"
        )
    if counts == {1}:
        return np.concatenate(groups)[:, None], ""
    name = _distinguishing(stack, groups)
    rows = []
    for group in groups:
        key = [(_sortable(stack[i], name), stack[i].instance, stack[i].file, stack[i].frame) for i in group]
        rows.append(group[sorted(range(len(group)), key=key.__getitem__)])
    return np.array(rows), name


def _sortable(plane: Plane, name: str) -> tuple:
    """Times sort by value; b-values keep the order in which they were acquired, like .bval files."""
    if name in ("instance number", "b-value and direction"):
        return ()
    value = plane.order[name]
    return (isinstance(value, str), value)


def _distinguishing(stack: list[Plane], groups: list[np.ndarray]) -> str:
    for name in (*EXACT, *CLOCKS):
        values = [[stack[i].order.get(name) for i in group] for group in groups]
        if any(value is None for row in values for value in row):
            continue
        if any(len(set(row)) < len(row) for row in values):
            continue
        if name in CLOCKS or len({frozenset(row) for row in values}) == 1:
            return name
    return "instance number"


def is_distinguished(stack: list[Plane], place: np.ndarray) -> bool:
    """Whether an attribute other than the instance number tells repeats apart, at every position alike."""
    groups = [np.flatnonzero(place == k) for k in range(int(place.max()) + 1)]
    return len({len(g) for g in groups}) == 1 and _distinguishing(stack, groups) != "instance number"
