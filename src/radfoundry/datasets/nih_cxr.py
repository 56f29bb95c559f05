"""NIH ChestX-ray images with their 14 labels, read in place: `labels_images.csv` beside `images/`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from radfoundry.cohort import Cohort, validate
from radfoundry.datasets.cards import DatasetCard, register
from radfoundry.errors import TableError
from radfoundry.registry import nearest

LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip


@register(
    DatasetCard(
        name="nih_cxr",
        title="NIH ChestX-ray: frontal chest radiographs with 14 labels read from reports",
        modality="DX",
        licence="NIH Clinical Center: free use with attribution",
        cite="Wang et al., ChestX-ray8, CVPR 2017",
        source="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        n=112120,
        needs="root",
    )
)
def load(*, root: Path | str, only: tuple[str, str] | None = None) -> Cohort:
    """All cases with `y:<label>` for 14 labels, patient, age, sex and view; nothing is copied.

    only=("Fibrosis", "Atelectasis") keeps cases with one of the two and not the other, as the target
    `y:Fibrosis` (1) against Atelectasis (0). Raises TableError when a column or an image is missing.
    """
    root = Path(root)
    file = root / "labels_images.csv"
    if not file.is_file():
        raise TableError(f"{root}: no labels_images.csv. Give the folder that holds it and images/ as root")
    raw = pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""])
    needed = ("file", "patient_id", "age", "sex", "view", *LABELS)
    for column in needed:
        if column not in raw:
            raise TableError(
                f"{file.name}: no column {column!r}.{nearest(column, raw.columns)} Columns: {', '.join(raw)}"
            )
    table = raw[["patient_id", "age", "sex", "view"]].copy()
    table.insert(0, "case_id", raw["file"].str.rsplit(".", n=1).str[0])
    table["image"] = "images/" + raw["file"]
    for label in LABELS:
        table[f"y:{label}"] = raw[label]
    name, targets = "nih_cxr", {label: {"kind": "binary", "positive": 1} for label in LABELS}
    meta = {
        "modality": "DX",
        "licence": "NIH Clinical Center: free use with attribution",
        "cite": "Wang et al., ChestX-ray8, CVPR 2017",
        "targets": targets,
    }
    cohort = validate(table, root=root, name=name, meta=meta, where=file.name)
    return cohort if only is None else _only(cohort, *only)


def _only(cohort: Cohort, positive: str, negative: str) -> Cohort:
    one, other = cohort.labels(positive), cohort.labels(negative)
    chosen = cohort.subset(one != other)
    columns = [f"y:{label}" for label in LABELS if label != positive]
    about = {"kind": "binary", "positive": 1, "classes": {0: negative, 1: positive}}
    meta = {**cohort.meta, "targets": {positive: about}}
    note = f"cases with {positive} or {negative} but not both: {len(chosen)} of {len(cohort)}"
    name = f"{cohort.name}: {positive} against {negative}"
    return Cohort(chosen.table.drop(columns=columns), cohort.root, name, meta, (*cohort.notes, note))
