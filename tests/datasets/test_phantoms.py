"""Phantoms: one seed, one picture; the knobs do what they say; the truth is where it is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radfoundry.cohort import read_cohort
from radfoundry.datasets import phantoms

SIZE = 96


def test_a_case_does_not_depend_on_n(tmp_path: Path) -> None:
    small = phantoms.make(tmp_path / "small", n=3, size=SIZE)
    large = phantoms.make(tmp_path / "large", n=9, size=SIZE)
    assert small.digest() == large.subset(range(3)).digest()
    for i in range(3):
        assert small.image_path(i).read_bytes() == large.image_path(i).read_bytes()


def test_seed_and_site_change_the_picture() -> None:
    base = phantoms.draw(0, size=SIZE).picture
    assert (phantoms.draw(0, size=SIZE).picture == base).all()
    assert (phantoms.draw(0, size=SIZE, seed=1).picture != base).mean() > 0.3
    assert (phantoms.draw(0, size=SIZE, site="B").picture != base).mean() > 0.3


@pytest.mark.parametrize("task", phantoms.TASKS)
def test_without_effect_the_label_leaves_no_trace(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patient drawn with either label: lungs, shape and report are equal when effect is 0."""
    shapes = []
    monkeypatch.setattr(phantoms, "attenuation", _record(phantoms.attenuation, shapes))
    for label in (0, 1):
        anatomy = phantoms._anatomy(task, 50 if task == "ila" else 3, "F", np.random.default_rng(1))
        _, mask = phantoms._radiograph(
            task, label, anatomy, 0, 0.0, "AP", phantoms.LOOKS["A-1"], np.random.default_rng(2), SIZE
        )
        assert not mask.any()
    assert shapes[0] == shapes[1]
    reports = {phantoms._report(task, label, 0, 0.0, "AP", np.random.default_rng(3)) for label in (0, 1)}
    assert len(reports) == 1


def _record(function, seen):
    def wrapped(anatomy, *args, **kwargs):
        seen.append(anatomy)
        return function(anatomy, *args, **kwargs)

    return wrapped


@pytest.mark.parametrize("task", phantoms.TASKS)
def test_the_mask_lies_where_the_label_changes_the_picture(task: str) -> None:
    for i in range(4):
        p = phantoms.draw(i, task=task, size=SIZE, effect=1.0)
        assert p.mask.any()
        assert p.mask.mean() < 0.3
        rows = np.flatnonzero(p.mask.any(1))
        assert 0.05 * SIZE < rows.mean() < 0.9 * SIZE


def test_reticulation_is_basal_and_adds_detail() -> None:
    i = next(i for i in range(20) if phantoms.draw(i, size=32).label == 1)
    none, full = (phantoms.draw(i, size=192, effect=e) for e in (0.0, 1.5))
    rows = np.flatnonzero(full.mask.any(1))
    assert rows.mean() > 0.45 * 192
    inside = full.mask
    change = np.abs(full.picture.astype(float) - none.picture)
    assert change[inside].mean() > 2 * change[~inside].mean()


def test_air_trapping_darkens_the_side() -> None:
    for i in range(12):
        p = phantoms.draw(i, task="fba", size=SIZE, effect=1.5)
        if p.label:
            calm = phantoms.draw(i, task="fba", size=SIZE, effect=0.0)
            assert p.picture[p.mask].mean() < calm.picture[p.mask].mean()
            assert p.side in p.report


@pytest.mark.parametrize(("confounder", "low", "high"), [(0.0, 0.35, 0.65), (1.0, 1.0, 1.0)])
def test_confounder_ties_the_scanner_to_the_label(confounder: float, low: float, high: float) -> None:
    cases = [phantoms.draw(i, size=32, confounder=confounder, follow_ups=False) for i in range(120)]
    agree = np.mean([(p.scanner == "A-2") == bool(p.label) for p in cases])
    assert low <= agree <= high


def test_prevalence_is_exact_and_follow_ups_share_the_patient() -> None:
    cases = [phantoms.draw(i, size=32, prevalence=51 / 251, follow_ups=False) for i in range(251)]
    assert sum(p.label for p in cases) == 51
    first, second = (phantoms.draw(i, size=SIZE) for i in (6, 7))
    assert first.patient_id == second.patient_id
    assert (first.age, first.sex, first.label) == (second.age, second.sex, second.label)
    assert (first.picture != second.picture).any()


def test_what_is_written(tmp_path: Path) -> None:
    made = phantoms.make(tmp_path, n=2, size=SIZE, task="fba")
    cohort = read_cohort(tmp_path)
    assert cohort.digest() == made.digest()
    assert cohort.meta["modality"] == "DX"
    assert cohort.covariates == ["age", "sex", "site", "scanner", "view", "date"]  # truth is not among them
    mask = np.asarray(Image.open(cohort.mask_path(0) or ""))
    assert mask.shape == (SIZE, SIZE)
    image = np.asarray(Image.open(cohort.image_path(0)))
    assert image.dtype == np.uint8
    assert image.std() > 20


@pytest.mark.parametrize(
    ("option", "value"),
    [("n", 1), ("task", "x"), ("effect", -1), ("effect", float("nan")), ("confounder", 2), ("site", "C")],
)
def test_options_out_of_range(tmp_path: Path, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        phantoms.make(tmp_path / "x", **{option: value})
    assert not (tmp_path / "x").exists()
