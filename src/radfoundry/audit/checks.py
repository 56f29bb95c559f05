"""Who is in the table: patients on both sides, the same picture twice, counts and covariates.

One function a check: the evidence in, an AuditItem out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.audit import baselines, duplicates
from radfoundry.audit.evidence import Evidence
from radfoundry.audit.items import AuditItem, Status
from radfoundry.types import Embeddings, Estimate


def patients(e: Evidence) -> AuditItem:
    """(1) A patient on both sides of a split."""
    name, patient = "patients", e.patient
    own = len(np.unique(patient)) == len(patient) and (patient == e.case).all()
    leaked: set[str] = set()
    for side in e.parts:
        table = pd.DataFrame({"patient": patient, "side": side})[side != ""]
        spread = table.groupby("patient")["side"].nunique()
        leaked |= set(spread.index[spread > 1])
        leaked |= set(table["patient"][table["side"] == "train and test"])
    if leaked:
        numbers = {p: k for k, p in enumerate(sorted(leaked), start=1)}
        shown = [i for i in range(len(patient)) if patient[i] in leaked]
        rows = [
            {"case_id": e.case[i], "shared_patient": numbers[patient[i]]}
            | {f"part_{k}": side[i] for k, side in enumerate(e.parts[:3])}
            for i in shown
        ]
        rows.sort(key=lambda row: row["shared_patient"])
        return AuditItem(
            name, "fail",
            f"{_count(len(leaked), 'patient')} ({_count(len(shown), 'case')}) in training and in test data.",
            rows=rows,
            advice="Move all cases of a patient to one part: radfoundry.splits groups by patient_id.",
        )  # fmt: skip
    if own:
        return AuditItem(
            name, "warn",
            "Every case counts as its own patient, so a patient with two images would not be noticed.",
            advice="Give a column patient_id, or state that there is one image a patient.",
        )  # fmt: skip
    n = len(np.unique(patient))
    if not e.parts:
        return AuditItem(
            name, "ok",
            f"{_count(len(patient), 'case')} of {_count(n, 'patient')}; no split was given: the folds used "
            "here are grouped by patient.",
        )  # fmt: skip
    return AuditItem(name, "ok", f"None of {_count(n, 'patient')} is on both sides of a split.")


def image_duplicates(e: Evidence) -> AuditItem:
    """(2) The same picture twice, by digest and perceptual hash."""
    name, prints = "duplicates", e.prints
    if len(prints.row) < 2:
        why = f" First reason: {prints.failures[0][2]}" if prints.failures else ""
        return AuditItem(name, "skipped", f"Fewer than two images could be read.{why}")
    return _duplicate_item(e, name, duplicates.find(prints), prints.row, proven=True, extra=_unread(prints))


def embedding_duplicates(e: Evidence) -> AuditItem:
    """(2) Pairs of different patients with suspiciously close embeddings."""
    name = "embedding-duplicates"
    trained = [key for key in e.embeddings if not baselines.is_control(key)]
    if not trained:
        return AuditItem(name, "skipped", "No embeddings were given.", advice="Give --encoder.")
    vectors = e.embeddings[trained[0]]
    place = {case: row for row, case in enumerate(e.case)}
    row = np.array([place.get(str(case), -1) for case in vectors.case_id], int)
    keep = row >= 0
    vectors = Embeddings(
        vectors.vectors[keep], vectors.case_id[keep], vectors.column[keep], vectors.key[keep],
        vectors.encoder, vectors.fingerprint,
    )  # fmt: skip
    pairs, threshold = duplicates.find_by_embedding(vectors, e.patient[row[keep]])
    if math.isnan(threshold):
        return AuditItem(
            name, "skipped", "Fewer than 30 images: no nearest-neighbour distribution to judge by."
        )
    extra = f" Heuristic: standardised {trained[0]} vectors, cosine of at least {threshold:.3f}."
    return _duplicate_item(e, name, pairs, row[keep], proven=False, extra=extra)


def _duplicate_item(
    e: Evidence, name: str, pairs: list[duplicates.Pair], row: np.ndarray, *, proven: bool, extra: str
) -> AuditItem:
    pairs = [p for p in pairs if row[p.first] != row[p.second]]
    separate = np.zeros(len(pairs), bool)
    for side in e.parts:
        separate |= duplicates.across(pairs, side[row])
    strangers = duplicates.across(pairs, e.patient[row])
    disagree = duplicates.across(pairs, e.label[row])
    shown = {"label": e.label[row]} | ({"part": e.parts[0][row]} if e.parts else {})
    table = duplicates.rows(pairs, e.case[row], shown)
    for entry, apart, strange in zip(table, separate, strangers, strict=True):
        entry["across_parts"], entry["across_patients"] = bool(apart), bool(strange)
    table.sort(key=lambda entry: (not entry["across_parts"], not entry["across_patients"]))
    return AuditItem(
        name,
        _duplicate_status(separate, strangers, proven),
        _duplicate_sentence(pairs, separate, strangers, disagree, len(row), bool(e.parts), proven) + extra,
        rows=table,
        advice=_duplicate_advice(separate, strangers, proven),
    )


def _duplicate_status(separate: np.ndarray, strangers: np.ndarray, proven: bool) -> Status:
    if separate.any() and proven:
        return "fail"
    return "warn" if separate.any() or strangers.any() else "ok"


def _duplicate_sentence(
    pairs: list[duplicates.Pair],
    separate: np.ndarray,
    strangers: np.ndarray,
    disagree: np.ndarray,
    n: int,
    has_parts: bool,
    proven: bool,
) -> str:
    what = "show the same picture" if proven else "are suspiciously alike"
    if not pairs:
        return f"No two of {n} images {what}."
    kinds = {k: sum(p.kind == k for p in pairs) for k in ("exact", "near", "mirrored")}
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    affected = len({p.first for p in pairs} | {p.second for p in pairs})
    text = f"{_count(len(pairs), 'pair')} of images {what}" + (f" ({listed})" if listed else "")
    text += f", {affected} of {n} images: {int(strangers.sum())} across patients"
    text += f", {int(separate.sum())} across parts of the split" if has_parts else ""
    return text + (f"; {int(disagree.sum())} with different labels." if disagree.any() else ".")


def _duplicate_advice(separate: np.ndarray, strangers: np.ndarray, proven: bool) -> str:
    if not (separate.any() or strangers.any()):
        return ""
    if not proven:
        return "Look at these pairs; a machine cannot tell a copy from a twin by its embedding."
    return "Look at the pairs; keep one image of each, or give both the same patient_id and split again."


def _unread(prints: duplicates.Prints) -> str:
    blank = int(prints.blank.sum())
    text = f" {_count(blank, 'image')} blank." if blank else ""
    return text + (f" {_count(len(prints.failures), 'image')} could not be read." if prints.failures else "")


def counts(e: Evidence) -> AuditItem:
    """(7) Cases and patients a class, and what an AUC can be worth with so few events."""
    name = "counts"
    if e.task is None:
        return AuditItem(name, "skipped", e.refusal)
    task = e.task
    cases = {label: int((task.code == k).sum()) for k, label in enumerate(task.classes)}
    patients = {label: len(np.unique(task.patient[task.code == k])) for k, label in enumerate(task.classes)}
    events = min(patients.values())
    half = _hanley_mcneil(0.8, events, sum(patients.values()) - events)
    missing = int((task.code < 0).sum())
    without = f", {missing} without label" if missing else ""
    ratio = "".join(
        f" {key} has {x.shape[1]} dimensions: {events / x.shape[1]:.2g} such patients for each."
        for key, x in e.features.items()
        if not baselines.is_control(key)
    )
    status: Status = "fail" if events < 10 else "warn" if events < 50 else "ok"
    rarest = Estimate("events", events, method="patients of the rarest class", target=e.target)
    return AuditItem(
        name, status,
        f"{', '.join(f'{n} of class {label}' for label, n in cases.items())}{without}; the rarest class has "
        f"{_count(events, 'patient')}, so an AUC of 0.80 carries about ±{half:.2f} if all are tested.{ratio}",
        [replace(rarest, n=int(task.known.sum()))],
        [{"class": label, "cases": n, "patients": patients[label]} for label, n in cases.items()],
        "" if status == "ok" else "Use penalised heads with few tuned settings, and report intervals.",
    )  # fmt: skip


def _hanley_mcneil(area: float, positive: int, negative: int) -> float:
    """Half-width of the 95% interval of an AUC (Hanley & McNeil, Radiology 1982;143:29)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positive - 1) * (q1 - area**2) + (negative - 1) * (q2 - area**2)
    return 1.96 * math.sqrt(spread / max(positive * negative, 1))


def covariates(e: Evidence) -> AuditItem:
    """(7) Covariates that say nothing, or are missing for many."""
    name, table = "covariates", e.cohort.table
    names = e.cohort.covariates
    if not names:
        return AuditItem(
            name, "skipped", "The cohort has no covariates (age, sex, site, scanner, view, date).",
            advice="Add them: without them a shortcut cannot be found.",
        )  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"covariate": c, "values": int(table[c].nunique()), "missing": float(table[c].isna().mean())}
        for c in names
    ]
    constant = [row["covariate"] for row in rows if row["values"] < 2]
    sparse = [row["covariate"] for row in rows if row["missing"] > 0.5]
    wanted = [c for c in ("age", "sex", "site", "scanner", "date", "view") if c not in names]
    faults = [f"{', '.join(constant)} constant"] * bool(constant)
    faults += [f"{', '.join(sparse)} missing in more than half of the cases"] * bool(sparse)
    absent = f" Not in the table: {', '.join(wanted)}." if wanted else ""
    if not faults:
        return AuditItem(name, "ok", f"{', '.join(names)} vary and are mostly present.{absent}", rows=rows)
    advice = "A constant covariate cannot be audited, nor a claim made across its other values."
    return AuditItem(name, "warn", f"{'; '.join(faults)}.{absent}", rows=rows, advice=advice)


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
