"""What a phantom study holds: which series, in which order, and which are computed from another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry.datasets.phantom_series_functional import (
    adc,
    asl,
    bold,
    calibration,
    computed_tomography,
    dce,
    diffusion_map,
    dsc,
    dwi,
    field_map,
    localiser,
    mra,
    perfusion_map,
    projection,
    screen,
    spin_epi,
)  # fmt: skip
from radfoundry.datasets.phantom_series_protocols import JOINTS, SPINES, Draw, Protocol
from radfoundry.datasets.phantom_series_weighted import flair, mixed, pd, phase, ssfp, swi, t1, t2, t2_star

MAKERS: dict[str, Callable[[Draw], Protocol]] = {
    "T1": t1, "T2": t2, "T2-FLAIR": flair, "DWI": dwi, "MRA": mra, "T2*": t2_star, "SWI": swi, "SSFP": ssfp,
    "ASL": asl,
    "CAL": calibration, "LOC": localiser, "other:BOLD": bold, "other:EPI": spin_epi, "other:PD": pd,
    "other:DSC": dsc,
    "other:DCE": dce, "other:MIXED": mixed, "other:SCREEN": screen, "other:NOT-MR": computed_tomography,
}  # fmt: skip
"""One series of a label; the rest are made from another series of the study."""

BRAIN = {
    "T1": 1.5, "T1c": 0.9, "T2": 1.2, "T2-FLAIR": 1.2, "DWI": 1.3, "MRA": 1.0, "T2*": 0.7, "SWI": 0.8,
    "SSFP": 0.5, "ASL": 0.8, "other:BOLD": 0.7,
    "other:EPI": 0.5, "other:FIELDMAP": 0.7, "other:PD": 0.3, "other:DSC": 0.5, "other:MIXED": 0.3,
    "other:DCE": 0.15,
}  # fmt: skip
SPINE = {
    "T1": 1.5,
    "T1c": 0.8,
    "T2": 2.2,
    "T2*": 0.8,
    "SSFP": 0.5,
    "DWI": 0.4,
    "other:PD": 0.2,
    "T2-FLAIR": 0.05,
}
JOINT = {
    "T1": 1.4,
    "T1c": 0.6,
    "T2": 1.5,
    "T2*": 0.8,
    "SSFP": 0.4,
    "other:PD": 1.8,
    "other:MIXED": 0.3,
    "DWI": 0.15,
    "other:DCE": 0.2,
}
NECK = {"T1": 1.3, "T1c": 1.0, "T2": 1.6, "MRA": 1.0, "DWI": 0.6, "SSFP": 0.2, "other:DCE": 0.2}
TRUNK = {"T1": 1.5, "T1c": 1.0, "T2": 1.8, "DWI": 0.9, "SSFP": 0.9, "other:DCE": 0.8, "MRA": 0.3}
PORTABLE = {"T1": 1.0, "T2": 1.3, "T2-FLAIR": 1.2, "DWI": 1.2}


def plan_of(d: Draw) -> list[Protocol]:
    """Protocols in the order in which they are run."""
    pool = (
        PORTABLE if d.vendor == "hyperfine" else BRAIN if d.anatomy == "Brain" else SPINE
        if d.anatomy in SPINES else NECK if d.anatomy == "Neck"
        else JOINT if d.anatomy in JOINTS else TRUNK
    )  # fmt: skip
    labels = [label for label in pool if label != "T1c"]
    weights = np.array([pool[label] for label in labels])
    count = min(d.n(7, 11) if d.anatomy == "Brain" else d.n(5, 8), len(labels))
    chosen = list(d.rng.choice(len(labels), size=count, replace=False, p=weights / weights.sum()))
    plan = [localiser(d)]
    if d.chance(0.15):
        plan.append(localiser(d))
    if d.vendor != "hyperfine" and d.chance({"ge": 0.65, "philips": 0.6}.get(d.vendor, 0.25)):
        plan.append(calibration(d))
    for label in (labels[i] for i in chosen):
        plan += _one(label, d)
        if label in ("T1", "T2", "other:PD") and d.chance(0.3):
            plan += _one(label, d)
    if "T1c" in pool and d.agent:
        plan += [t1(d, d.agent) for _ in range(d.n(1, 2))]
    if d.chance(0.18):
        plan.append(screen(d))
    if d.chance(0.1):
        plan.append(computed_tomography(d))
    if d.vendor == "hyperfine":
        plan = [_portable(p, d) for p in plan]
    return plan


def _one(label: str, d: Draw) -> list[Protocol]:
    """A series and what is computed from it."""
    if label == "other:FIELDMAP":
        return field_map(d)
    first = MAKERS[label](d)
    found = [first]
    if label == "DWI":
        if d.chance(0.75):
            found.append(adc(d, first))
        if d.chance(0.35) and d.vendor != "hyperfine":
            found.append(diffusion_map(d, first))
    elif (
        (label == "MRA" and d.chance(0.45))
        or (label == "SWI" and d.chance(0.4))
        or (label == "T1" and first.dimension == "3D" and d.chance(0.2))
    ):
        found.append(projection(d, first))
    elif label in ("other:DSC", "ASL") and d.chance(0.55):
        found += [perfusion_map(d, first) for _ in range(d.n(1, 2))]
    if label in ("SWI", "T2*", "MRA") and first.sequence in ("swi", "megre", "pc") and d.chance(0.5):
        found.insert(1, phase(d, first))
    return found


def _portable(p: Protocol, d: Draw) -> Protocol:
    """Hyperfine: everything is a 3D fast spin echo, coarse, with long times."""
    if p.label == "other:SCREEN" or p.label == "other:NOT-MR":
        return p
    plane = d.pick(("axial", "axial", "sagittal", "coronal"))
    thick = d.pick((5.0, 5.0, 1.5, 1.6))
    values: dict[str, Any] = {
        "T1": {"sequence": "tse", "tr": d.u(1000, 1600), "tes": (d.u(4.5, 7),), "train": d.n(20, 32),
        "ti": None}, "T2": {"sequence": "tse", "tr": d.u(1800, 2200), "tes": (d.u(160, 250),),
        "train": d.n(60, 90), "ti": None},
        "T2-FLAIR": {"sequence": "ir-tse", "tr": d.u(3600, 4300), "tes": (d.u(150, 230),),
        "ti": d.u(1200, 1500), "train": d.n(60, 90)}, "LOC": {"sequence": "loc", "tr": d.u(200, 800),
        "tes": (d.u(5, 20),)},
    }.get(p.modality, {"sequence": "epi-dwi", "tr": d.u(900, 1200), "tes": (d.u(70, 110),),
    "b_values": tuple(b and 900.0 for b in p.b_values)})  # fmt: skip
    return replace(
        p, **values, planes=p.planes if p.label == "LOC" else (plane,), dimension="3D", thickness=thick,
        step=thick, rows=d.pick((112, 144, 224)), columns=d.pick((112, 144, 182)), spacing=d.u(1.5, 1.8),
        slices=36 if thick > 4 else 116, matrix=(112, 136), bandwidth=d.u(400, 600, 0), fat="", flip=90.0,
        agent="", volumes=min(p.volumes, 2), directions=min(p.directions, 3),
    )  # fmt: skip
