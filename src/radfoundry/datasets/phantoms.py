"""The phantom cohort: generated chest radiographs whose truth is known, for demos, tests and power checks.

Two questions: "ila" (1: subpleural, basal reticulation; 0: plate-like atelectasis with volume loss) and
"fba" (children; 1: air trapping behind an aspirated foreign body; 0: chronic cough with bronchial cuffing).

`effect` scales every difference between the classes: 0 leaves none, so that any score above chance is a
leak. `confounder` ties scanner, projection and age to the label: at 0 they are independent of it, at 1 they
tell it. Case i is the same whatever `n`, because it is drawn from (seed, task, site, i) alone.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Raster

from radfoundry.cohort import Cohort, validate, write_cohort
from radfoundry.datasets import phantom_findings as findings
from radfoundry.datasets.cards import DatasetCard, register
from radfoundry.datasets.phantom_chest import Anatomy, attenuation
from radfoundry.datasets.phantom_display import LOOKS, Look, develop, stamp

TASKS = {"ila": ("atelectasis", "ILA"), "fba": ("chronic cough", "foreign body aspiration")}
SITES = ("A", "B")
FOLLOW_UP_EVERY = 8  # every eighth case is a second radiograph of the patient before


@dataclass(frozen=True)
class Phantom:
    """One case: what was drawn, and everything that is true about it."""

    case_id: str
    patient_id: str
    label: int
    age: float
    sex: str
    site: str
    scanner: str
    view: str
    date: str
    side: str
    severity: float
    report: str
    picture: np.ndarray
    mask: np.ndarray


WORTH_PROCESSES = 64 * 384 * 384
"""So many pixels in all are drawn quicker by several processes than by one."""


def make(
    out: Path | str,
    *,
    n: int = 200,
    task: str = "ila",
    effect: float = 1.0,
    confounder: float = 0.0,
    site: str = "A",
    size: int = 384,
    seed: int = 0,
    prevalence: float = 0.5,
    follow_ups: bool = True,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> Cohort:
    """Write `images/`, `masks/`, `cohort.csv` and `cohort.yaml` into `out`; returns the cohort.

    prevalence is met exactly over any run of patients; follow_ups adds second radiographs of some patients.
    progress is called with (done, n). workers: processes that draw; above 1 a script needs the usual
    `if __name__ == "__main__"` guard, and a small cohort is drawn by one all the same.
    """  # fmt: skip
    _check(n, task, effect, confounder, site, size, prevalence)
    out = Path(out)
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "task": task, "effect": effect, "confounder": confounder, "site": site, "size": size, "seed": seed,
        "prevalence": prevalence, "follow_ups": follow_ups,
    }  # fmt: skip
    rows = []
    with contextlib.ExitStack() as stack:
        each: Callable[..., Iterator[dict[str, object]]] = map
        if workers > 1 and n * size * size >= WORTH_PROCESSES:
            context = multiprocessing.get_context("spawn")  # fork is not safe once torch has threads
            each = stack.enter_context(ProcessPoolExecutor(workers, context)).map
        for row in each(functools.partial(_draw_and_save, out=out, options=options), range(n)):
            rows.append(row)
            if progress is not None:
                progress(len(rows), n)
    settings = {"n": n, "effect": effect, "confounder": confounder, "site": site, "seed": seed, "size": size}
    name = f"phantom-{task}-{site}"
    cohort = validate(pd.DataFrame(rows), root=out, name=name, meta=_meta(task, settings), check_files=False)
    write_cohort(cohort, out / "cohort.csv")
    return cohort


def draw(
    i: int,
    *,
    task: str = "ila",
    effect: float = 1.0,
    confounder: float = 0.0,
    site: str = "A",
    size: int = 384,
    seed: int = 0,
    prevalence: float = 0.5,
    follow_ups: bool = True,
) -> Phantom:
    """Case number i, in memory. picture: (size, size) uint8; mask: (size, size) bool."""  # fmt: skip
    person = i - i // FOLLOW_UP_EVERY - (i % FOLLOW_UP_EVERY == FOLLOW_UP_EVERY - 1) if follow_ups else i
    label = int(np.floor((person + 1) * prevalence + 0.5) - np.floor(person * prevalence + 0.5))
    who, rng = _rng(seed, task, site, "patient", person), _rng(seed, task, site, "case", i)
    tied = who.random() < 0.5 + 0.5 * confounder * (1 if label else -1)
    sex = "F" if who.random() < 0.5 else "M"
    age = _age(task, tied, confounder, who)
    anatomy = _anatomy(task, age, sex, who)
    side, base = int(who.random() < 0.4), float(who.beta(1.6, 1.6))
    severity = effect * (0.2 + 0.8 * base)
    view = "AP" if task == "fba" or rng.random() < (0.7 if tied else 0.3) else "PA"
    scanner = f"{site}-{2 if tied else 1}"
    picture, mask = _radiograph(task, label, anatomy, side, severity, view, LOOKS[scanner], rng, size)
    when = date(2019, 1, 1) + timedelta(days=int(rng.integers(0, 1800)))
    return Phantom(
        case_id=f"{task}-{site}-{i:05d}", patient_id=f"{task}-{site}-p{person:05d}", label=label, age=age,
        sex=sex, site=site, scanner=scanner, view=view, date=when.isoformat(),
        side=("right", "left")[side], severity=round(severity, 3), picture=picture, mask=mask,
        report=_report(task, label, side, severity, view, rng),
    )  # fmt: skip


# --- one patient, one exposure -------------------------------------------------------------------------


def _rng(seed: int, task: str, site: str, kind: str, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"{task}/{site}/{kind}".encode()), index])


def _age(task: str, tied: bool, confounder: float, rng: np.random.Generator) -> float:
    if task == "fba":
        return round(float(np.clip(rng.gamma(3.2, 0.75) + 0.5 + 1.5 * confounder * tied, 0.4, 9)), 1)
    return float(round(np.clip(rng.normal(62, 11) + 9 * confounder * (2 * tied - 1), 25, 95)))


def _anatomy(task: str, age: float, sex: str, rng: np.random.Generator) -> Anatomy:
    """Normal variation, wide enough that no single length gives the diagnosis away."""

    def vary(mean: float, sd: float) -> float:
        return float(mean + sd * np.clip(rng.standard_normal(), -2.3, 2.3))

    small = 0.5 if sex == "F" else 0.0
    dome = vary(24.2, 0.9)
    pair = (dome, dome + vary(1.1, 0.7))
    spine, rib_drop = vary(0, 0.4), vary(3.2, 0.7)
    gas = (max(0.9, vary(2.0, 0.6)), max(0.3, vary(1.0, 0.4)))
    if task == "fba":
        young = float(np.clip(1 - age / 7, 0, 1))
        return Anatomy(
            half_width=vary(13.2, 0.7), apex=vary(4.4, 0.4), dome=(pair[0] - 2.6, pair[1] - 2.6),
            dome_drop=(3.0, 3.0), heart=vary(1.02 + 0.06 * young, 0.06), knob=1.0,
            thymus=max(0.0, vary(1.6 * young, 0.7)), shift=vary(0, 0.25), thickness=vary(16, 1.0),
            rib_pitch=vary(1.95, 0.15), rib_drop=rib_drop - 1.1, spine_bow=spine, shoulder=vary(17.2, 0.5),
            bone=0.55 + 0.03 * age, fissure=0.0, gas=gas, arms_up=bool(rng.random() < 0.7),
        )  # fmt: skip
    return Anatomy(
        half_width=vary(13.6 - small, 0.8), apex=vary(3.6, 0.4), dome=pair,
        dome_drop=(vary(3.6, 0.4), vary(3.6, 0.4)), heart=vary(0.98 + 0.002 * (age - 60), 0.06),
        knob=vary(1.5 + 0.012 * (age - 55), 0.15), shift=vary(0, 0.25), thickness=vary(21, 1.6),
        breast=max(0.0, vary(1.7, 0.7)) if sex == "F" else 0.0, rib_pitch=vary(2.25, 0.2), rib_drop=rib_drop,
        spine_bow=spine, gas=gas, shoulder=vary(19 - small, 0.6), bone=vary(1.1 - 0.004 * (age - 50), 0.08),
        fissure=vary(14.6, 0.5) if rng.random() < 0.6 else 0.0,
    )  # fmt: skip


def _radiograph(
    task: str,
    label: int,
    normal: Anatomy,
    side: int,
    severity: float,
    view: str,
    look: Look,
    rng: np.random.Generator,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels (uint8) and the mask of the finding."""  # fmt: skip
    a = _project(normal, view, rng) if task == "ila" else _breathe(normal, rng)
    if task == "fba" and label:
        a = findings.trap_air(a, side, severity)
    if task == "ila" and not label:
        a = findings.lose_volume(a, side, severity)
    # As loosely positioned as real films: tighter, and the duplicate check takes two patients for one.
    offset = (float(rng.normal(0, 1.2)), float(rng.normal(0, 1.4)))
    zoom = float(rng.normal(1.04, 0.055) * (0.96 if look.blur > 0.6 else 1.0))
    water, bone, scene = attenuation(
        a, rng, size=size, zoom=zoom, turn=float(rng.normal(0, 2.2)), offset=offset
    )
    if task == "ila" and label:
        extra, mask = findings.reticulation(scene, severity, rng)
    elif task == "ila":
        extra, mask = findings.plates(scene, side, severity, rng, a.dome[side])
    elif label:
        extra, mask = np.zeros_like(water), (scene.lung > 0.5) & (scene.left == bool(side)) & (severity > 0)
        if rng.random() < 0.12 * min(severity, 1):
            kind = str(rng.choice(["pin", "tooth", "bead"]))
            bone = bone + findings.foreign_body(scene, a, side, kind)
    else:
        extra, mask = findings.cuffing(scene, a, 0.8 * severity, rng)
    picture = develop(np.maximum(water + extra, 0), bone, look, rng)
    return _marked(picture, look, view, rng), mask


def _project(a: Anatomy, view: str, rng: np.random.Generator) -> Anatomy:
    """An anteroposterior bedside film: larger heart, shallow breath, shoulder blades over the lungs."""
    a = _breathe(a, rng)
    if view == "PA":
        return replace(a, scapula_in=float(rng.uniform(0, 0.25)))
    lift = float(rng.uniform(0.4, 1.6))
    return replace(
        a, heart=a.heart * float(rng.uniform(1.05, 1.12)), dome=(a.dome[0] - lift, a.dome[1] - lift),
        scapula_in=float(rng.uniform(0.5, 1.0)), rib_drop=a.rib_drop - 0.5,
    )  # fmt: skip


def _breathe(a: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Depth of breath, and a hemidiaphragm that is never exactly where it was."""
    both, one = float(rng.normal(0, 0.5)), float(rng.normal(0, 0.25))
    return replace(a, dome=(a.dome[0] + both + one, a.dome[1] + both - one))


def _marked(picture: np.ndarray, look: Look, view: str, rng: np.random.Generator) -> np.ndarray:
    """Side letter on the patient's own side (their left is at the image's right), and the projection."""
    x = 0.93 if look.marker == "L" else 0.07
    at = (x + float(rng.normal(0, 0.01)), 0.07 + float(rng.normal(0, 0.012)))
    picture = stamp(picture, look.marker, at, boxed=look.boxed)
    if view == "AP":
        picture = stamp(picture, "AP", (at[0], at[1] + 0.06), boxed=False, height=0.03)
    return (picture * 255 + 0.5).astype(np.uint8)


# --- words ---------------------------------------------------------------------------------------------


def _report(task: str, label: int, side: int, severity: float, view: str, rng: np.random.Generator) -> str:
    """A short report in plain words; without a visible finding it says so."""
    where, other = ("right", "left")[side], ("left", "right")[side]
    degree = "Mild" if severity < 0.45 else "Moderate" if severity < 0.75 else "Marked"
    opening = f"Chest, {view} view."
    if severity <= 0:
        body, verdict = "The lungs are clear. Normal heart size.", "No acute abnormality."
    elif task == "ila" and label:
        body = f"{degree} reticular opacities below the pleura of both lower zones. No lobar collapse."
        verdict = "Pattern of an interstitial lung abnormality."
    elif task == "ila":
        body = f"Plate-like opacities at the {where} base. The {where} hemidiaphragm is raised."
        verdict = f"{degree} {where} basal atelectasis with volume loss."
    elif label:
        body = f"The {where} lung is hyperlucent and the {where} dome low. Heart displaced to the {other}."
        verdict = f"{degree} air trapping on the {where}; consider an aspirated foreign body."
    else:
        body = "Perihilar peribronchial cuffing on both sides. The lungs are equally aerated."
        verdict = f"{degree} bronchial wall thickening. No sign of air trapping."
    extra = str(rng.choice(["No pleural effusion.", "No pneumothorax.", "Bones without focal lesion."]))
    return f"{opening} {body} {extra} Impression: {verdict}"


# --- files ---------------------------------------------------------------------------------------------


def _draw_and_save(i: int, out: Path, options: dict[str, Any]) -> dict[str, object]:
    """One case on disk and its row; a function of its own so that a process can run it."""
    return _save(draw(i, **options), out, options["task"])


def _save(p: Phantom, out: Path, task: str) -> dict[str, object]:
    image, mask = f"images/{p.case_id}.png", f"masks/{p.case_id}.png"
    Raster.fromarray(p.picture).save(out / image, compress_level=1)
    Raster.fromarray(p.mask).save(out / mask)
    return {
        "case_id": p.case_id, "patient_id": p.patient_id, "image": image, "mask": mask, f"y:{task}": p.label,
        "age": p.age, "sex": p.sex, "site": p.site, "scanner": p.scanner, "view": p.view, "date": p.date,
        "report": p.report, "truth:side": p.side, "truth:severity": p.severity,
    }  # fmt: skip


def _meta(task: str, settings: dict[str, object]) -> dict[str, object]:
    negative, positive = TASKS[task]
    return {
        "title": f"Phantom chest radiographs: {positive} against {negative}",
        "modality": "DX",
        "licence": "Apache-2.0 (generated)",
        "source": "radfoundry.datasets.phantoms",
        "phantom": True,
        "targets": {task: {"kind": "binary", "positive": 1, "classes": {0: negative, 1: positive}}},
        "settings": settings,
    }


def _check(
    n: int, task: str, effect: float, confounder: float, site: str, size: int, prevalence: float
) -> None:
    faults = {
        f"n must be 2 or more, not {n}": n < 2,
        f"task is one of {', '.join(TASKS)}, not {task!r}": task not in TASKS,
        f"effect is 0 (none) or more, not {effect}": not effect >= 0,
        f"confounder lies between 0 and 1, not {confounder}": not 0 <= confounder <= 1,
        f"site is one of {', '.join(SITES)}, not {site!r}": site not in SITES,
        f"size is 32 pixels or more, not {size}": size < 32,
        f"prevalence lies between 0 and 1, not {prevalence}": not 0 < prevalence < 1,
    }
    for message, wrong in faults.items():
        if wrong:
            raise ValueError(message)


def _register(task: str) -> None:
    negative, positive = TASKS[task]
    card = DatasetCard(
        name=f"phantom-{task}",
        title=f"Generated chest radiographs: {positive} against {negative}",
        modality="DX",
        licence="Apache-2.0 (generated)",
        cite="radfoundry",
        source="radfoundry.datasets.phantoms",
        n=0,
        needs="out",
    )

    @register(card)
    def load(*, out: Path | str, **options: Any) -> Cohort:
        return make(out, task=task, **options)


for _task in TASKS:
    _register(_task)
