"""A cohort of generated lung nodules on CT with known truth: volume crops, masks, seed points and a label.

`effect` sets how far malignant nodules are more spiculated and more heterogeneous: the two traits are normal
with means `SEPARATION * effect` standard deviations apart, so that either alone has an AUC of .84 at 1 and
none at 0. `volume_effect` does the same for the log volume: volume alone has an AUC of .58 at 0.3 and
none at 0. Age, sex, site and scanner tell nothing; `t_stage` follows size, read with an error.

All nodules of a patient share the label. Case i is the same whatever `n`, because it is drawn from (seed, i)
and from its patient alone.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import math
import multiprocessing
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from nibabel import orientations
from threadpoolctl import threadpool_limits

from radfoundry.cohort import Cohort, validate, write_cohort
from radfoundry.datasets import phantom_lung, phantom_nodule
from radfoundry.datasets.cards import DatasetCard, register
from radfoundry.datasets.phantom_lung import SCANNERS, Chest, Field, Wall
from radfoundry.datasets.phantom_nodule import Nodule

TARGET = "malignant"
SEPARATION = 1.4  # standard deviations between the classes, for each trait, at effect 1
FAMILY = 0.5  # correlation of the traits of two nodules of one patient
GRID = (96, 96, 48)
SPACING_MM = (0.8, 0.8, 1.5)
SIZE_MM = (9.0, 32.0)
STAGES_MM = (12.0, 17.0, 24.0)  # diameters at which t_stage rises from 1 to 4
READING_ERROR = 0.12  # standard deviation of the log diameter that t_stage is read from
ORIENTATIONS = ("LPS", "LPS", "LPS", "LPS", "RAS", "LAS", "PSR", "oblique")
WORTH_PROCESSES = 12 * 96 * 96 * 48
"""So many voxels in all are drawn quicker by several processes than by one."""


@dataclass(frozen=True)
class Truth:
    """Everything that is true about one case.

    volume_mm3: of the mask as it lies in the file. diameter_mm: of the sphere of that volume. spiculation,
    heterogeneity: 0 to 1. density_hu: mean inside, before the scanner. orientation: of the array in the file.
    """

    case_id: str
    patient_id: str
    malignant: int
    volume_mm3: float
    diameter_mm: float
    spiculation: float
    heterogeneity: float
    density_hu: float
    place: str
    side: str
    age: float
    sex: str
    site: str
    scanner: str
    t_stage: int
    orientation: str


@dataclass(frozen=True)
class Lesion:
    """image: (I, J, K) int16 HU; mask: the same shape, uint8; affine: index to RAS mm; seed_lps: mm."""

    truth: Truth
    image: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    seed_lps: tuple[float, float, float]


def make(
    out: Path | str,
    *,
    n: int = 120,
    effect: float = 1.0,
    volume_effect: float = 0.3,
    seed: int = 0,
    prevalence: float = 0.5,
    several: float = 0.2,
    grid: tuple[int, int, int] = GRID,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    size_mm: tuple[float, float] = SIZE_MM,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> Cohort:
    """Write `images/`, `masks/` (.nii.gz), `truth.csv`, `cohort.csv` and `cohort.yaml`; returns the cohort.

    prevalence: share of malignant patients, met exactly over any run of patients. several: share of patients
    with two or three nodules. size_mm: diameters between which 95 % of the nodules lie; none lies beyond.
    grid, spacing_mm: voxels and their size along left-right, front-back and head-feet; the pixel size of a
    patient is up to a tenth smaller or larger. workers: processes that draw; above 1 a script needs the usual
    `if __name__ == "__main__"` guard. Files do not depend on it.
    Raises ValueError for an option out of its range.
    """  # fmt: skip
    options: dict[str, Any] = {
        "effect": effect, "volume_effect": volume_effect, "seed": seed, "prevalence": prevalence,
        "several": several, "grid": tuple(grid), "spacing_mm": tuple(spacing_mm), "size_mm": tuple(size_mm),
    }  # fmt: skip
    _check(n, **options)
    out = Path(out)
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rows, truths = [], []
    with contextlib.ExitStack() as stack:
        each: Callable[..., Iterator[tuple[dict[str, object], Truth]]] = map
        if workers > 1 and n * math.prod(grid) >= WORTH_PROCESSES:
            context = multiprocessing.get_context("spawn")  # fork is not safe once torch has threads
            each = stack.enter_context(ProcessPoolExecutor(workers, context)).map
        for row, truth in each(functools.partial(_draw_and_save, out=out, options=options), range(n)):
            rows.append(row)
            truths.append(truth)
            if progress is not None:
                progress(len(rows), n)
    _write_truth(truths, out / "truth.csv")
    settings = {"n": n, **{k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}}
    cohort = validate(
        pd.DataFrame(rows), root=out, name="phantom-lesions", meta=_meta(settings), check_files=False
    )
    write_cohort(cohort, out / "cohort.csv")
    return cohort


def draw(
    i: int,
    *,
    effect: float = 1.0,
    volume_effect: float = 0.3,
    seed: int = 0,
    prevalence: float = 0.5,
    several: float = 0.2,
    grid: tuple[int, int, int] = GRID,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    size_mm: tuple[float, float] = SIZE_MM,
) -> Lesion:
    """Case number i, in memory."""  # fmt: skip
    person = patient_of(i, seed=seed, several=several)
    label = int(np.floor((person + 1) * prevalence + 0.5) - np.floor(person * prevalence + 0.5))
    who, rng = _rng(seed, "patient", person), _rng(seed, "case", i)
    about, chest, pixel, traits = _patient(who)
    volume, spiculation, heterogeneity = _traits(traits, label, effect, volume_effect, size_mm, rng)
    field = Field(grid, (spacing_mm[0] * pixel, spacing_mm[1] * pixel, spacing_mm[2]))
    nodule, wall, place = _placed(field, chest, volume, spiculation, heterogeneity, rng)
    with threadpool_limits(1):  # small products, and processes share the cores already
        hu = phantom_lung.lung(field, chest, wall, _rng(seed, "lung", i))
        hu, inside = phantom_nodule.draw(hu, field, nodule, wall, _rng(seed, "nodule", i))
        image = phantom_lung.scan(hu, field, SCANNERS[about["scanner"]], _rng(seed, "noise", i))
    volume = float(inside.sum() * math.prod(field.spacing))
    diameter = (6 * volume / math.pi) ** (1 / 3)
    truth = Truth(
        case_id=f"lesion-{i:05d}", patient_id=f"lesion-p{person:05d}", malignant=label,
        volume_mm3=round(volume, 3), diameter_mm=round(diameter, 2), spiculation=round(spiculation, 4),
        heterogeneity=round(heterogeneity, 4), density_hu=round(nodule.density, 1), place=place,
        side="right" if chest.medial > 0 else "left", t_stage=_stage(diameter, rng), **about,
    )  # fmt: skip
    return _laid_out(truth, image, inside, field, nodule, rng)


def patient_of(i: int, *, seed: int = 0, several: float = 0.2) -> int:
    """Number of the patient whom case i belongs to."""
    # i + 1 patients are enough for i + 1 cases, and the first of a stream do not depend on how many follow.
    many, three = (_rng(seed, kind, 0).random(i + 1) for kind in ("several", "three"))
    cases = np.where(many < several, np.where(three < 0.5, 3, 2), 1)
    return int(np.searchsorted(np.cumsum(cases), i, side="right"))


# --- one patient, one nodule ---------------------------------------------------------------------------


def _rng(seed: int, kind: str, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"lesions/{kind}".encode()), index])


def _patient(rng: np.random.Generator) -> tuple[dict[str, Any], Chest, float, np.ndarray]:
    """(covariates and storage, chest, factor of the pixel size, the patient's share of the traits)."""
    site = "A" if rng.random() < 0.6 else "B"
    mostly = ("CT-1", "CT-2") if site == "A" else ("CT-2", "CT-1")
    about = {
        "age": float(round(np.clip(rng.normal(64, 10), 30, 90))),
        "sex": "F" if rng.random() < 0.45 else "M",
        "site": site,
        "scanner": mostly[int(rng.random() < 0.25)],
        "orientation": ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))],
    }
    chest = Chest(
        medial=1 if rng.random() < 0.55 else -1, blood=float(rng.choice([40.0, 120.0])),
        emphysema=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.3 else 0.0, haze=float(rng.normal(0, 22)),
    )  # fmt: skip
    return about, chest, float(rng.choice([0.9, 1.0, 1.1])), rng.standard_normal(3)


def _traits(
    shared: np.ndarray, label: int, effect: float, volume_effect: float, size_mm: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[float, float, float]:  # fmt: skip
    """(volume in mm3, spiculation, heterogeneity). shared: (3,) standard normal, the patient's part."""
    z = math.sqrt(FAMILY) * shared + math.sqrt(1 - FAMILY) * rng.standard_normal(3)
    apart = np.array([volume_effect, SEPARATION * effect, SEPARATION * effect])
    z = z + apart * (label - 0.5)
    low, high = np.log(size_mm)
    diameter = math.exp(np.clip((low + high) / 2 + (high - low) / 3.92 * z[0], low, high))
    spiculation, heterogeneity = (0.5 + 0.5 * math.tanh(0.65 * v) for v in z[1:])
    return math.pi / 6 * diameter**3, spiculation, heterogeneity


def _placed(
    field: Field, chest: Chest, volume: float, spiculation: float, heterogeneity: float,
    rng: np.random.Generator,
) -> tuple[Nodule, Wall | None, str]:  # fmt: skip
    """The nodule near the middle of the piece, and the chest wall where it is close."""
    centre = rng.uniform(-1, 1, 3) * np.minimum(6.0, 0.12 * field.half)
    density = float(rng.normal(25, 15))
    x, y, z = (float(c) for c in centre)
    nodule = Nodule(volume, spiculation, heterogeneity, density, (x, y, z))
    place = str(rng.choice(["central", "peripheral", "pleural"], p=[0.45, 0.35, 0.2]))
    # All is drawn whatever the place, so that the numbers that follow do not depend on it.
    away = (
        nodule.radius * (0.85 if place == "pleural" else 1.2) + rng.uniform(0, 1) * (place != "pleural") * 9
    )
    angle, tilt = rng.uniform(-0.9, 0.9), rng.normal(0, 0.12)
    radius, fat, phase = rng.uniform(75, 115), rng.uniform(12, 20), rng.uniform(0, 24)
    if place == "central":
        return nodule, None, place
    outwards = np.array([-chest.medial * math.cos(angle), math.sin(angle), tilt])
    outwards /= np.linalg.norm(outwards)
    middle = centre + outwards * (away - radius)
    middle[2] = z + rng.normal(0, 12)
    cx, cy, cz = (float(c) for c in middle)
    return nodule, Wall((cx, cy, cz), float(radius), fat=float(fat), rib_phase=float(phase)), place


def _stage(diameter: float, rng: np.random.Generator) -> int:
    """1 to 4 by diameter, as if measured with an error."""
    measured = diameter * math.exp(rng.normal(0, READING_ERROR))
    return 1 + sum(measured > limit for limit in STAGES_MM)


def _laid_out(
    truth: Truth, image: np.ndarray, inside: np.ndarray, field: Field, nodule: Nodule,
    rng: np.random.Generator,
) -> Lesion:  # fmt: skip
    """Arrays in the order of the file, their affine, and a seed point near the middle of the mask."""
    where = np.array([-75.0 if truth.side == "right" else 75.0, rng.uniform(-40, 40), rng.uniform(-250, -60)])
    affine = np.diag([*field.spacing, 1.0])
    affine[:3, 3] = where - (np.array(field.shape) - 1) / 2 * np.array(field.spacing)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # drawn along LPS; NIfTI speaks RAS
    if truth.orientation == "oblique":  # a tilted gantry, the patient lying a little turned
        affine = _turn(float(rng.uniform(6, 14)), float(rng.uniform(-6, 6))) @ affine
    else:
        codes = orientations.axcodes2ornt(tuple(truth.orientation))
        turn = orientations.ornt_transform(orientations.io_orientation(affine), codes)
        affine = affine @ orientations.inv_ornt_aff(turn, image.shape)
        image, inside = (orientations.apply_orientation(a, turn) for a in (image, inside))
    index = np.argwhere(inside)
    aim = index.mean(axis=0) + rng.normal(0, 0.2, 3) * nodule.radius / np.linalg.norm(affine[:3, :3], axis=0)
    nearest = index[np.argmin(((index - aim) ** 2).sum(axis=1))]
    ras = (affine @ [*nearest, 1.0])[:3]
    seed = (round(float(-ras[0]), 2), round(float(-ras[1]), 2), round(float(ras[2]), 2))
    return Lesion(truth, np.ascontiguousarray(image), inside.astype(np.uint8), affine, seed)


def _turn(about_x: float, about_z: float) -> np.ndarray:
    """A rotation by degrees about the origin, (4, 4)."""
    a, c = math.radians(about_x), math.radians(about_z)
    tilt = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    roll = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3] = roll @ tilt
    return out


# --- files ---------------------------------------------------------------------------------------------


def _draw_and_save(i: int, out: Path, options: dict[str, Any]) -> tuple[dict[str, object], Truth]:
    """One case on disk, its row and its truth; a function of its own so that a process can run it."""
    lesion = draw(i, **options)
    truth = lesion.truth
    image, mask = (f"{folder}/{truth.case_id}.nii.gz" for folder in ("images", "masks"))
    for array, name in ((lesion.image, image), (lesion.mask, mask)):
        nifti = nibabel.Nifti1Image(array, lesion.affine)
        nifti.header.set_xyzt_units("mm")
        nifti.set_sform(lesion.affine, code=1)
        nifti.set_qform(lesion.affine, code=1)
        nibabel.save(nifti, out / name)
    x, y, z = lesion.seed_lps
    row: dict[str, object] = {
        "case_id": truth.case_id, "patient_id": truth.patient_id, "image": image, "mask": mask,
        "roi_x": x, "roi_y": y, "roi_z": z, f"y:{TARGET}": truth.malignant, "age": truth.age,
        "sex": truth.sex, "site": truth.site, "scanner": truth.scanner, "t_stage": truth.t_stage,
        "truth:volume_mm3": truth.volume_mm3, "truth:spiculation": truth.spiculation,
        "truth:heterogeneity": truth.heterogeneity,
    }  # fmt: skip
    return row, truth


def _write_truth(truths: list[Truth], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(asdict(truths[0])), lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(t) for t in truths)


def _meta(settings: dict[str, Any]) -> dict[str, object]:
    return {
        "title": "Phantom lung nodules on CT: malignant against benign",
        "modality": "CT",
        "licence": "Apache-2.0 (generated)",
        "source": "radfoundry.datasets.phantom_lesions",
        "phantom": True,
        "targets": {TARGET: {"kind": "binary", "positive": 1, "classes": {0: "benign", 1: "malignant"}}},
        "truth": "truth.csv",
        "settings": settings,
    }


def _check(
    n: int, effect: float, volume_effect: float, seed: int, prevalence: float, several: float,
    grid: tuple[int, ...], spacing_mm: tuple[float, ...], size_mm: tuple[float, ...],
) -> None:  # fmt: skip
    del seed
    pairs = list(zip(grid, spacing_mm, strict=False))
    room = 0.6 * min((g * s for g, s in pairs), default=0)
    coarse = max(spacing_mm, default=0)
    faults = {
        f"n must be 2 or more, not {n}": n < 2,
        f"effect is 0 (none) or more, not {effect}": not effect >= 0,
        f"volume_effect is 0 (none) or more, not {volume_effect}": not volume_effect >= 0,
        f"prevalence lies between 0 and 1, not {prevalence}": not 0 < prevalence < 1,
        f"several lies between 0 and 1, not {several}": not 0 <= several <= 1,
        f"grid is three numbers of voxels, 16 or more each, not {grid}": len(grid) != 3 or min(grid) < 16,
        f"spacing_mm is three lengths above 0, not {spacing_mm}": len(spacing_mm) != 3
        or not min(spacing_mm) > 0,
        f"size_mm is a smaller and a larger diameter, not {size_mm}": len(size_mm) != 2
        or not 0 < size_mm[0] < size_mm[1],
    }
    for message, wrong in faults.items():
        if wrong:
            raise ValueError(message)
    if size_mm[1] > room or size_mm[0] < 2 * coarse:
        raise ValueError(
            f"size_mm {size_mm}: on a grid of {grid} voxels of {spacing_mm} mm nodules may measure from "
            f"{2 * coarse:g} to {room:g} mm. Change the sizes or the grid"
        )


CARD = DatasetCard(
    name="phantom-lesions",
    title="Generated lung nodules on CT: malignant against benign",
    modality="CT",
    licence="Apache-2.0 (generated)",
    cite="radfoundry",
    source="radfoundry.datasets.phantom_lesions",
    n=0,
    needs="out",
)


@register(CARD)
def load(*, out: Path | str, **options: Any) -> Cohort:
    """`make` under the name that datasets have."""
    return make(out, **options)
