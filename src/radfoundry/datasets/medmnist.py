"""MedMNIST files (Yang et al., Sci Data 2023): a local .npz, or one downloaded by name with its checksum.

The file holds {train,val,test}_{images,labels}; the images become PNGs in a folder the caller chooses, and
the official split is kept. Patients are not named in MedMNIST: every image counts as one.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Raster

from radfoundry.cohort import Cohort, read_cohort, validate, write_cohort
from radfoundry.datasets.cards import DatasetCard, register
from radfoundry.errors import ReadError, UnknownName
from radfoundry.registry import nearest

SOURCE = "https://zenodo.org/records/10519652/files/{name}.npz?download=1"
PARTS = {"train": "train", "val": "validation", "test": "test"}

# name: (md5 of the official 28-pixel file, modality, n, class names)
KNOWN: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "pneumoniamnist": ("28209eda62fecd6e6a2d98b1501bb15f", "DX", 5856, ("normal", "pneumonia")),
}


def read(
    file: Path | str, *, out: Path | str | None = None, target: str | None = None, modality: str | None = None
) -> Cohort:
    """A cohort from a local .npz; PNGs, cohort.csv and cohort.yaml go to `out` (default: beside the file).

    A folder already made from the same file is read again instead of being written again.
    Raises ReadError for a file that is not a MedMNIST one.
    """
    file = Path(file)
    out = Path(out) if out is not None else file.with_suffix("")
    parts = _arrays(file)
    known = next((k for k in KNOWN if file.stem.startswith(k)), None)
    target = target or (KNOWN[known][3][-1] if known else "label")
    meta: dict[str, Any] = {
        "modality": modality if modality is not None else (KNOWN[known][1] if known else ""),
        "licence": "CC BY 4.0",
        "cite": "doi:10.1038/s41597-022-01721-8",
        "source_md5": _md5(file),
    }
    classes = dict(enumerate(KNOWN[known][3])) if known else {}
    meta["targets"] = {target: {"positive": 1, "classes": classes} if classes else {}}
    if (out / "cohort.csv").is_file():
        made = read_cohort(out)
        if made.meta.get("source_md5") == meta["source_md5"] and made.targets == [target]:
            return made
    rows = [
        row for part, (images, labels) in parts.items() for row in _save(part, images, labels, out, target)
    ]
    cohort = validate(
        pd.DataFrame(rows), root=out, name=file.stem, meta=meta, where=file.name, check_files=False
    )
    write_cohort(cohort, out / "cohort.csv")
    return cohort


def fetch(
    name: str, out: Path | str, *, opener: Callable[..., Any] = urllib.request.urlopen, timeout: float = 60
) -> Path:
    """Download the official file into `out` unless it is there already; the checksum is always compared.

    Raises UnknownName, or ReadError when offline or when the content is not the published one.
    """
    if name not in KNOWN:
        raise UnknownName(f"no checksum known for {name!r}.{nearest(name, KNOWN)} Known: {', '.join(KNOWN)}")
    file = Path(out) / f"{name}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    url = SOURCE.format(name=name)
    if not file.is_file():
        temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            with opener(url, timeout=timeout) as answer, temporary.open("wb") as sink:
                while chunk := answer.read(1 << 20):
                    sink.write(chunk)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as cause:
            temporary.unlink(missing_ok=True)
            raise ReadError(
                f"{url} could not be reached ({cause}). Download it on another machine and give the file: "
                f"radfoundry cohort from {name}.npz --out DIR"
            ) from cause
        os.replace(temporary, file)
    found = _md5(file)
    if found != KNOWN[name][0]:
        raise ReadError(f"{file}: md5 {found}, published {KNOWN[name][0]}. Delete the file and try again")
    return file


@register(
    DatasetCard(
        name="pneumoniamnist",
        title="PneumoniaMNIST: paediatric chest radiographs at 28 pixels, normal against pneumonia",
        modality="DX",
        licence="CC BY 4.0",
        cite="Yang et al., Sci Data 2023;10:41; Kermany et al., Cell 2018;172:1122",
        source=SOURCE.format(name="pneumoniamnist"),
        n=5856,
        needs="out",
    )
)
def pneumoniamnist(*, out: Path | str, root: Path | str | None = None) -> Cohort:
    """The official file, downloaded into `out`; or a local .npz given as `root`."""
    file = Path(root) if root is not None else fetch("pneumoniamnist", out)
    return read(file, out=Path(out) / "pneumoniamnist", target="pneumonia", modality="DX")


def _arrays(file: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if not file.is_file():
        raise ReadError(f"{file}: no such file. Check the path")
    try:
        with np.load(file, allow_pickle=False) as archive:
            parts = {
                part: (archive[f"{part}_images"], archive[f"{part}_labels"])
                for part in PARTS
                if f"{part}_images" in archive
            }
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as cause:
        raise ReadError(
            f"{file.name}: not readable as a MedMNIST .npz ({cause}). Download it again"
        ) from cause
    if not parts:
        raise ReadError(f"{file.name}: no array 'train_images' in it. Give a MedMNIST .npz file")
    for part, (images, labels) in parts.items():
        if (
            images.dtype != np.uint8
            or images.ndim not in (3, 4)
            or (images.ndim == 4 and images.shape[3] != 3)
        ):
            raise ReadError(
                f"{file.name}: {part}_images is {images.dtype} {images.shape}; expected "
                "uint8 (n, rows, columns[, 3]). "
                "3D sets are not read here"
            )
        if len(images) != len(labels) or labels.reshape(len(labels), -1).shape[1] != 1:
            raise ReadError(
                f"{file.name}: {part}_labels is {labels.shape}; {len(images)} images need one each"
            )
    return parts


def _save(
    part: str, images: np.ndarray, labels: np.ndarray, out: Path, target: str
) -> list[dict[str, object]]:
    (out / part).mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for i, (image, label) in enumerate(zip(images, labels.ravel(), strict=True)):
        relative = f"{part}/{i:06d}.png"
        Raster.fromarray(image).save(out / relative, compress_level=1)
        rows.append(
            {"case_id": f"{part}-{i:06d}", "image": relative, f"y:{target}": int(label), "split": PARTS[part]}
        )
    return rows


def _md5(file: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
