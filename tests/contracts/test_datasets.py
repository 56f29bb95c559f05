"""Every dataset: a full card, and a cohort that meets the contract where it can be made here."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from radfoundry import datasets
from radfoundry.cohort import Cohort, read_cohort, write_cohort
from radfoundry.io import read
from tests._data import data_dir


def made(name: str, out: Path) -> Cohort:
    if name == "phantom-lesions":
        return datasets.load(name, out=out, n=4, grid=(32, 32, 28), spacing_mm=(2.4, 2.4, 2.5))
    if name.startswith("phantom-"):
        return datasets.load(name, out=out, n=4, size=64)
    if name == "pneumoniamnist":
        return datasets.load(name, out=out, root=data_dir("medmnist", "pneumoniamnist_restored.npz"))
    return datasets.load(name, root=data_dir(name))


@pytest.mark.parametrize("name", datasets.names())
def test_card_is_complete(name: str) -> None:
    card = datasets.card(name)
    assert card.name == name
    for field in fields(card):
        if field.name != "n":
            assert getattr(card, field.name), f"{name}: {field.name} is empty"
    assert card.needs in ("out", "root")


@pytest.mark.parametrize("name", datasets.names())
def test_cohort_meets_the_contract(name: str, tmp_path: Path) -> None:
    cohort = made(name, tmp_path / "data")
    assert cohort.table["case_id"].is_unique
    assert cohort.table["patient_id"].notna().all()
    assert cohort.targets
    for target in cohort.targets:
        assert len(set(cohort.labels(target))) >= 2
    assert cohort.meta["modality"]
    assert cohort.meta["licence"]
    image = read(cohort.image_path(0))
    assert min(image.array.shape) >= 28
    copy = read_cohort(write_cohort(cohort, tmp_path / "copy" / "cohort.csv"))
    assert copy.digest() == cohort.digest()
