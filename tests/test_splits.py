"""Splits: patients stay whole, every row is used, classes stay balanced, order does not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry import splits
from radfoundry.errors import NotEnoughData, TableError


@st.composite
def studies(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Patients with one to three rows each, two or three classes, at least 6 patients a class."""
    classes = draw(st.integers(2, 3))
    sizes = draw(st.lists(st.integers(1, 3), min_size=6 * classes, max_size=60))
    patient = np.repeat([f"p{i}" for i in range(len(sizes))], sizes)
    y = np.repeat(np.arange(len(sizes)) % classes, sizes)
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(y))
    return patient[order], y[order]


@settings(max_examples=40, deadline=None)
@given(studies(), st.integers(0, 5))
def test_kfold(study: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    patient, y = study
    folds = splits.kfold(patient, y, n_splits=5, repeats=2, seed=seed)
    assert [(f.repeat, f.fold) for f in folds] == [(r, k) for r in range(2) for k in range(5)]
    for repeat in range(2):
        tested = np.concatenate([f.test for f in folds if f.repeat == repeat])
        assert sorted(tested) == list(range(len(y)))
    for fold in folds:
        assert not set(patient[fold.train]) & set(patient[fold.test])
        assert sorted([*fold.train, *fold.test]) == list(range(len(y)))
        assert set(y[fold.test]) == set(y)
        for label in set(y):  # within a patient's rows of the fair share
            fair = np.sum(y == label) / 5
            assert abs(np.sum(y[fold.test] == label) - fair) <= 3


@settings(max_examples=30, deadline=None)
@given(studies(), st.integers(0, 5))
def test_three_way(study: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    patient, y = study
    part = splits.three_way(patient, y, seed=seed)
    assert set(part) == set(splits.PARTS)
    for name in set(patient):
        assert len(set(part[patient == name])) == 1
    order = np.random.default_rng(seed).permutation(len(y))
    assert (splits.three_way(patient[order], y[order], seed=seed) == part[order]).all()


def test_three_way_shares() -> None:
    y = np.repeat([0, 1], [800, 200])
    part = splits.three_way(np.arange(1000), y, seed=3)
    for label, n in ((0, 800), (1, 200)):
        counts = [np.sum((part == name) & (y == label)) for name in splits.PARTS]
        assert counts == pytest.approx([0.8 * n, 0.1 * n, 0.1 * n], abs=1)


def test_kfold_does_not_see_row_order_but_sees_the_seed() -> None:
    patient, y = np.arange(100), np.arange(100) % 2
    order = np.random.default_rng(0).permutation(100)
    plain = [set(patient[f.test]) for f in splits.kfold(patient, y, seed=1)]
    shuffled = [set(patient[order][f.test]) for f in splits.kfold(patient[order], y[order], seed=1)]
    other = [set(patient[f.test]) for f in splits.kfold(patient, y, seed=2)]
    assert plain == shuffled
    assert plain != other
    repeats = splits.kfold(patient, y, repeats=2, seed=1)
    assert set(repeats[0].test) != set(repeats[5].test)


def test_a_mixed_patient_counts_for_the_rare_class() -> None:
    patient = np.repeat(np.arange(40), 2)
    y = np.zeros(80, int)
    y[np.arange(0, 20, 2)] = 1  # ten patients with one positive row each
    for fold in splits.kfold(patient, y, n_splits=5):
        assert y[fold.test].sum() == 2


def test_too_few() -> None:
    with pytest.raises(NotEnoughData, match=r"class '1' has 2.*fewer folds"):
        splits.kfold(np.arange(20), np.r_[np.zeros(18, int), 1, 1])
    with pytest.raises(NotEnoughData, match="class '1' has 1"):
        splits.three_way(np.arange(20), np.r_[np.zeros(19, int), 1])
    with pytest.raises(NotEnoughData, match="no cases"):
        splits.kfold([], [])


def test_by_column() -> None:
    site = ["A", "A", "B", "B"]
    fold = splits.by_column(site, "B", patient=["1", "1", "2", "3"])
    assert fold.train.tolist() == [0, 1]
    assert fold.test.tolist() == [2, 3]
    with pytest.raises(TableError, match=r"row 4.*'test'.*'train'.*row 2"):
        splits.by_column(site, "B", patient=["1", "2", "1", "3"])
    with pytest.raises(NotEnoughData, match="Values found: A, B"):
        splits.by_column(site, "C")
    for one in ("B", ["B"], np.array(["B"]), {"B"}):
        assert splits.by_column(site, one).test.tolist() == [2, 3]
    assert splits.by_column([1.0, 2.0, 2.0], "2").test.tolist() == [1, 2]
    with pytest.raises(TableError, match="row 3, the column to split by: empty"):  # it may belong to B
        splits.by_column(["A", None, "B"], "B")


def test_by_date() -> None:
    dates = ["2020-01-01", "2021-06-01", "2020-12-31"]
    fold = splits.by_date(dates, "2021-01-01")
    assert fold.train.tolist() == [0, 2]
    assert fold.test.tolist() == [1]
    with pytest.raises(NotEnoughData, match="2020-01-01 to 2021-06-01"):
        splits.by_date(dates, "2030-01-01")
    with pytest.raises(TableError, match="row 3, column 'date'"):
        splits.by_date(["2020-01-01", None], "2021-01-01")
    for text in ("soon", "03/02/2020", "2020-13-01"):  # day and month are never guessed
        with pytest.raises(TableError, match=f"row 3, column 'date': '{text}' is not a date"):
            splits.by_date(["2020-01-01", text], "2021-01-01")
    with pytest.raises(TableError, match="cut '2020-15-15' is not a date"):
        splits.by_date(dates, "2020-15-15")
    assert splits.by_date([20200101, 20210601], "20200601").test.tolist() == [1]
    zoned = pd.Series(pd.to_datetime(dates).tz_localize("UTC"), index=[5, 6, 7])
    assert splits.by_date(zoned, "2021-01-01").test.tolist() == [1]


def test_given() -> None:
    parts = splits.given(["train", "test", "train"], patient=["1", "2", "1"])
    assert {k: v.tolist() for k, v in parts.items()} == {"train": [0, 2], "test": [1]}
    with pytest.raises(TableError, match="row 4"):
        splits.given(["train", "test", "test"], patient=["1", "2", "1"])
    with pytest.raises(NotEnoughData, match="no 'test' rows"):
        splits.given(["train", "train"])
    parts = splits.given(["train", "test", np.nan, np.nan], patient=["1", "2", "3", "3"])
    assert {k: v.tolist() for k, v in parts.items()} == {"train": [0], "test": [1]}
    with pytest.raises(TableError, match=r"row 4.*'test' here and in 'train' in row 2"):
        splits.given(["train", None, "test"], patient=["1", "2", "1"])


def test_one_patient_written_in_two_ways_is_one() -> None:
    with pytest.raises(TableError, match="row 3"):
        splits.check_patients([7, "7"], ["train", "test"])
    patient = np.array([i if i % 2 else f"{i // 2 * 2 + 1}" for i in range(40)], dtype=object)
    for fold in splits.kfold(patient, np.arange(40) // 2 % 2):
        assert not set(map(str, patient[fold.train])) & set(map(str, patient[fold.test]))
    with pytest.raises(TableError, match="row 3, column 'patient_id': empty"):
        splits.kfold(["a", None, "b"], [0, 1, 0], n_splits=2)


def test_measurements_are_stratified_by_quintile_and_many_classes_by_class() -> None:
    days = np.arange(100)
    for fold in splits.kfold(np.arange(100), days):
        assert np.histogram(days[fold.test], np.arange(0, 101, 20))[0].tolist() == [4] * 5
    organ = np.arange(220) % 11
    for fold in splits.kfold(np.arange(220), organ):
        assert np.bincount(organ[fold.test]).tolist() == [4] * 11
