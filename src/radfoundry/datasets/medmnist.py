"""MedMNIST files (Yang et al., Sci Data 2023): a local .npz, or one downloaded by name with its checksum.

The file holds {train,val,test}_{images,labels}; the images become PNGs in a folder the caller chooses, and
the official split is kept. Patients are not named in MedMNIST: every image counts as one.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Release:
    """The official 28-pixel file of one data set: its md5, and what its labels 0, 1, ... mean.

    positive: the label that counts as the positive class of two; None for more classes than two.
    """

    md5: str
    modality: str
    n: int
    target: str
    classes: tuple[str, ...]
    positive: int | None
    title: str
    cite: str


ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left",
    "lung-right", "pancreas", "spleen",
)  # fmt: skip
LITS = "Bilic et al., Med Image Anal 2023;84:102680"
# The radiological sets with one label an image. md5, n and classes: medmnist/info.py of MedMNIST 3.0.
KNOWN = {
    "pneumoniamnist": Release(
        "28209eda62fecd6e6a2d98b1501bb15f", "DX", 5856, "pneumonia", ("normal", "pneumonia"), 1,
        "PneumoniaMNIST: paediatric chest radiographs at 28 pixels, normal against pneumonia",
        "Kermany et al., Cell 2018;172:1122",
    ),
    "breastmnist": Release(
        "750601b1f35ba3300ea97c75c52ff8f6", "US", 780, "malignant", ("malignant", "normal or benign"), 0,
        "BreastMNIST: breast ultrasound at 28 pixels, malignant against normal or benign",
        "Al-Dhabyani et al., Data Brief 2020;28:104863",
    ),
    "organamnist": Release(
        "68e3f8846a6bd62f0c9bf841c0d9eacc", "CT", 58830, "organ", ORGANS, None,
        "OrganAMNIST: axial abdominal CT crops at 28 pixels, 11 organs", LITS,
    ),
    "organcmnist": Release(
        "b9ceb9546e10131b32923c5bbeaea2b1", "CT", 23583, "organ", ORGANS, None,
        "OrganCMNIST: coronal abdominal CT crops at 28 pixels, 11 organs", LITS,
    ),
    "organsmnist": Release(
        "9ab87b696fb54e2a387ebe992d6ed5f1", "CT", 25211, "organ", ORGANS, None,
        "OrganSMNIST: sagittal abdominal CT crops at 28 pixels, 11 organs", LITS,
    ),
}  # fmt: skip


def read(
    file: Path | str,
    *,
    out: Path | str | None = None,
    target: str | None = None,
    modality: str | None = None,
    name: str | None = None,
) -> Cohort:
    """A cohort from a local .npz; PNGs, cohort.csv and cohort.yaml go to `out` (default: beside the file).

    name: which data set it is, where the file's own name does not begin with it; that decides the words for
    the labels, and the positive class becomes 1. A folder already made from the same file is read again
    instead of being written again. Raises ReadError for a file that is not a MedMNIST one.
    """
    file = Path(file)
    out = Path(out) if out is not None else file.with_suffix("")
    parts = _arrays(file)
    known = next((release for key, release in KNOWN.items() if (name or file.stem).startswith(key)), None)
    target = target or (known.target if known else "label")
    meta: dict[str, Any] = {
        "modality": modality if modality is not None else (known.modality if known else ""),
        "licence": "CC BY 4.0",
        "cite": "doi:10.1038/s41597-022-01721-8",
        "source_md5": _md5(file),
    }
    meta["targets"] = {target: _meaning(known)}
    if (out / "cohort.csv").is_file():
        made = read_cohort(out)
        if made.meta.get("source_md5") == meta["source_md5"] and made.targets == [target]:
            return made
    if known and known.positive == 0:  # the positive class is 1 in every cohort of ours
        parts = {part: (images, (labels == 0).astype(int)) for part, (images, labels) in parts.items()}
    rows = [
        row for part, (images, labels) in parts.items() for row in _save(part, images, labels, out, target)
    ]
    cohort = validate(
        pd.DataFrame(rows), root=out, name=file.stem, meta=meta, where=file.name, check_files=False
    )
    write_cohort(cohort, out / "cohort.csv")
    return cohort


def _meaning(known: Release | None) -> dict[str, Any]:
    """The target's entry in cohort.yaml."""
    if known is None:
        return {}
    if known.positive is None:
        return {"kind": "class", "classes": dict(enumerate(known.classes))}
    words = known.classes if known.positive == 1 else known.classes[::-1]
    return {"kind": "binary", "positive": 1, "classes": dict(enumerate(words))}


def fetch(
    name: str, out: Path | str, *, opener: Callable[..., Any] = urllib.request.urlopen, timeout: float = 60
) -> Path:
    """Download the official file into `out` unless it is there already; the checksum is always compared.

    A download gets its name only when its checksum is right. Raises UnknownName, or ReadError when offline or
    when the content is not the published one.
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
            _compare(temporary, name, f"What {url} sent is not the published file. Try again later")
            os.replace(temporary, file)
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as cause:
            raise ReadError(
                f"{url} could not be reached ({cause}). Download it on another machine and give the file: "
                f"radfoundry cohort from {name}.npz --out DIR"
            ) from cause
        finally:
            temporary.unlink(missing_ok=True)
    _compare(file, name, "Delete the file and try again")
    return file


def _compare(file: Path, name: str, advice: str) -> None:
    found = _md5(file)
    if found != KNOWN[name].md5:
        raise ReadError(f"{file}: md5 {found}, published {KNOWN[name].md5}. {advice}")


def _register(name: str, known: Release) -> None:
    card = DatasetCard(
        name=name,
        title=known.title,
        modality=known.modality,
        licence="CC BY 4.0",
        cite=f"Yang et al., Sci Data 2023;10:41; {known.cite}",
        source=SOURCE.format(name=name),
        n=known.n,
        needs="out",
    )

    @register(card)
    def load(*, out: Path | str, root: Path | str | None = None) -> Cohort:
        file = Path(root) if root is not None else fetch(name, out)
        return read(file, out=Path(out) / name, name=name)


for _name, _known in KNOWN.items():
    _register(_name, _known)


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
