"""A folder per class: `root/<class>/*.png`, or `root/<train|val|test>/<class>/*.png`. Nothing is copied."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from radfoundry.cohort import Cohort, validate
from radfoundry.cohort_columns import SPLIT_WORDS
from radfoundry.cohort_files import MISSING
from radfoundry.errors import TableError

ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".ima", ".nii", ".nii.gz", ".nrrd")
"""What `io.read` reads: a TIFF in a class would make a cohort whose images are refused later."""


def read(
    root: Path | str, *, modality: str = "", target: str = "class", positive: str | None = None
) -> Cohort:
    """One case a file; the class is the folder's name. Patients are not known from folders: each file is one.

    positive names the positive class of two; without it the second in the alphabet. Raises TableError.
    """
    root = Path(root)
    if not root.is_dir():
        raise TableError(f"{root}: no such folder. Give the folder whose subfolders are the classes")
    tops = _subfolders(root)
    splits = {top: SPLIT_WORDS[top.name.lower()] for top in tops if top.name.lower() in SPLIT_WORDS}
    pairs: list[tuple[Path, str | None]] = [(c, splits[top]) for top in splits for c in _subfolders(top)]
    pairs = pairs or [(c, None) for c in tops]
    rows = [
        {"case_id": file.relative_to(root).as_posix(), "image": file.relative_to(root).as_posix(),
         f"y:{target}": folder.name, "split": split}
        for folder, split in pairs
        for file in sorted(folder.iterdir())
        if file.name.lower().endswith(ENDINGS) and not file.name.startswith(".")
    ]  # fmt: skip
    if not rows:
        raise TableError(
            f"{root}: no images in its subfolders. Expected {root.name}/<class>/<image>, ending in "
            f"{', '.join(ENDINGS)}"
        )
    table = pd.DataFrame(rows)
    classes = sorted(table[f"y:{target}"].unique())
    unnamed = [name for name in classes if name in MISSING]
    if unnamed:
        raise TableError(f"{root}: a folder {unnamed[0]!r} reads as a missing label. Rename it")
    if len(classes) < 2:
        raise TableError(f"{root}: one class only ({classes[0]!r}). Add a folder of the other class")
    if positive is not None and positive not in classes:
        raise TableError(
            f"{root}: no folder {positive!r} to be the positive class. Found: {', '.join(classes)}"
        )
    about: dict[str, object] = {"kind": "class", "classes": classes}
    if len(classes) == 2:
        about = {"kind": "binary", "positive": positive or classes[1], "classes": classes}
    if not splits:
        table = table.drop(columns="split")
    meta = {"modality": modality, "targets": {target: about}}
    return validate(table, root=root, name=root.name, meta=meta, where=root.name, check_files=False)


def _subfolders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
