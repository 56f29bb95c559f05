"""Readers: a folder per class, MedMNIST files and the NIH images, on small files in the true layout."""

from __future__ import annotations

import hashlib
import http.client
import io
import urllib.error
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests._data import data_dir

from radfoundry import datasets
from radfoundry.cohort import read_cohort
from radfoundry.datasets import folder, medmnist, nih_cxr
from radfoundry.errors import ReadError, TableError, UnknownName


def picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)


def test_folder_per_class(tmp_path: Path) -> None:
    for name in ("ila/1.png", "ila/2.png", "atelectasis/1.png"):
        picture(tmp_path / name)
    (tmp_path / "ila" / "notes.txt").write_text("not an image")
    cohort = datasets.load(tmp_path, modality="DX", positive="ila")
    assert sorted(cohort.table["case_id"]) == ["atelectasis/1.png", "ila/1.png", "ila/2.png"]
    assert cohort.labels("class").sum() == 2
    assert cohort.meta["modality"] == "DX"
    assert all(cohort.image_path(i).exists() for i in range(3))


def test_folder_with_given_split(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        for name in ("a", "b"):
            picture(tmp_path / part / name / "x.png")
    cohort = folder.read(tmp_path)
    assert sorted(cohort.table["split"]) == ["test", "test", "train", "train", "validation", "validation"]
    assert sorted(cohort.labels("class")) == [0, 0, 0, 1, 1, 1]


def test_folder_faults(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"no images in its subfolders.*<class>/<image>"):
        folder.read(tmp_path)
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.tif").write_bytes(b"II*\0")  # nothing here reads TIFF
    with pytest.raises(TableError, match="one class only"):
        folder.read(tmp_path)
    picture(tmp_path / "b" / "1.png")
    with pytest.raises(TableError, match=r"no folder .c. to be the positive class\. Found: a, b"):
        folder.read(tmp_path, positive="c")
    assert len(folder.read(tmp_path)) == 2
    picture(tmp_path / "NA" / "1.png")  # would come back from cohort.csv as no label at all
    with pytest.raises(TableError, match="folder 'NA' reads as a missing label"):
        folder.read(tmp_path)


def archive(path: Path, **replace: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 6), ("val", 2), ("test", 4)):
        arrays[f"{part}_images"] = rng.integers(0, 255, (n, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 2).reshape(n, 1).astype(np.uint8)
    np.savez(path, **(arrays | replace))
    return path


def test_medmnist_file(tmp_path: Path) -> None:
    file = archive(tmp_path / "pneumoniamnist_small.npz")
    cohort = datasets.load(file, out=tmp_path / "out")
    assert cohort.table["split"].value_counts().to_dict() == {"train": 6, "test": 4, "validation": 2}
    assert cohort.targets == ["pneumonia"]
    with np.load(file) as arrays:
        for i, part in ((7, "val"), (9, "test")):
            row = int(cohort.table["case_id"].iloc[i].split("-")[1])
            assert (np.asarray(Image.open(cohort.image_path(i))) == arrays[f"{part}_images"][row]).all()
            assert cohort.labels("pneumonia")[i] == arrays[f"{part}_labels"][row, 0]
    written = (tmp_path / "out" / "train" / "000000.png").stat().st_mtime_ns
    assert medmnist.read(file, out=tmp_path / "out").digest() == cohort.digest()
    assert (tmp_path / "out" / "train" / "000000.png").stat().st_mtime_ns == written  # made once


def test_breastmnist_counts_malignant_as_positive(tmp_path: Path) -> None:
    """Its label 0 is the malignant class (medmnist/info.py)."""
    file = archive(tmp_path / "any.npz")
    cohort = datasets.load("breastmnist", root=file, out=tmp_path / "out")
    with np.load(file) as arrays:
        stored = np.concatenate([arrays[f"{part}_labels"].ravel() for part in ("train", "val", "test")])
    assert cohort.labels("malignant").tolist() == (1 - stored.astype(int)).tolist()
    assert cohort.meta["targets"]["malignant"]["classes"] == {0: "normal or benign", 1: "malignant"}
    assert read_cohort(tmp_path / "out" / "breastmnist").digest() == cohort.digest()


def test_organmnist_has_classes(tmp_path: Path) -> None:
    cohort = datasets.load(archive(tmp_path / "organamnist.npz"), out=tmp_path / "out")
    assert (cohort.kind("organ"), cohort.meta["modality"]) == ("class", "CT")
    assert cohort.meta["targets"]["organ"]["classes"][10] == "spleen"


def test_medmnist_faults(tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"not a zip")
    with pytest.raises(ReadError, match=r"bad.npz: not readable as a MedMNIST .npz"):
        medmnist.read(bad)
    np.savez(bad, other=np.zeros(3))
    with pytest.raises(ReadError, match="no array 'train_images'"):
        medmnist.read(bad)
    archive(bad, train_images=np.zeros((6, 8, 8, 8), np.uint8))
    with pytest.raises(ReadError, match="3D sets are not read"):
        medmnist.read(bad)
    archive(bad, train_labels=np.zeros((6, 14), np.uint8))
    with pytest.raises(ReadError, match="train_labels is"):
        medmnist.read(bad)
    archive(bad, train_labels=np.array([[None]] * 6, dtype=object))  # needs pickle: refused
    with pytest.raises(ReadError, match="not readable"):
        medmnist.read(bad)


def test_download_compares_the_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"published"
    known = medmnist.KNOWN["pneumoniamnist"]
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(medmnist.KNOWN, "tiny", replace(known, md5=digest))
    file = medmnist.fetch("tiny", tmp_path, opener=lambda url, timeout: io.BytesIO(content))
    assert file.read_bytes() == content
    file.write_bytes(b"damaged")
    with pytest.raises(ReadError, match="md5"):
        medmnist.fetch("tiny", tmp_path)
    file.unlink()
    for answer in (lambda url, timeout: io.BytesIO(b"a login page"), cut_off):
        with pytest.raises(ReadError, match=r"not the published file|could not be reached"):
            medmnist.fetch("tiny", tmp_path, opener=answer)
        assert not list(tmp_path.iterdir())  # so that the next try downloads again


def cut_off(url: str, timeout: float) -> io.BytesIO:
    class Answer(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise http.client.IncompleteRead(b"publ")

    return Answer()


def test_download_offline_says_what_next(tmp_path: Path) -> None:
    def offline(url: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no route")

    with pytest.raises(ReadError, match=r"could not be reached.*another machine"):
        medmnist.fetch("pneumoniamnist", tmp_path, opener=offline)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UnknownName, match="Did you mean 'pneumoniamnist'"):
        medmnist.fetch("pneumonia", tmp_path)


def nih(tmp_path: Path) -> Path:
    labels = {label: [0, 0, 0] for label in nih_cxr.LABELS}
    labels |= {"Fibrosis": [1, 0, 1], "Atelectasis": [0, 1, 1]}
    base = {"file": ["1.jpg", "2.jpg", "3.jpg"], "patient_id": ["1", "2", "3"], "age": [50, 60, 70]}
    table = pd.DataFrame(base | {"sex": list("FMF"), "view": ["PA", "AP", "PA"]} | labels)
    table.to_csv(tmp_path / "labels_images.csv", index=False)
    for name in table["file"]:
        picture(tmp_path / "images" / name)
    return tmp_path


def test_nih_layout(tmp_path: Path) -> None:
    cohort = datasets.load(nih(tmp_path))
    assert cohort.targets == list(nih_cxr.LABELS)
    assert cohort.covariates == ["age", "sex", "view"]
    only = nih_cxr.load(root=tmp_path, only=("Fibrosis", "Atelectasis"))
    assert only.labels("Fibrosis").tolist() == [1, 0]
    assert "2 of 3" in only.notes[-1]
    (tmp_path / "images" / "2.jpg").unlink()
    with pytest.raises(TableError, match="row 3, column 'image': no such file"):
        nih_cxr.load(root=tmp_path)


def test_nih_real() -> None:
    cohort = nih_cxr.load(root=data_dir("nih_cxr"))
    assert len(cohort) == 621
    assert cohort.table["patient_id"].nunique() == 621
    only = nih_cxr.load(root=data_dir("nih_cxr"), only=("Fibrosis", "Atelectasis"))
    assert only.labels("Fibrosis").sum() > 40


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'phantom-ila'"):
        datasets.load("phantom-iia")
    with pytest.raises(TableError, match="no such file or folder"):
        datasets.load(tmp_path / "gone.csv")
