"""Reading lists: complete, balanced, reproducible, silent about the truth; bad wishes refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry import table_files
from radfoundry.errors import InputError, NotEnoughData, TableError
from radfoundry.plan.reader_design import KINDS, design, sequences


def some_cases(n: int = 60, positives: int = 24, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "case_id": [f"c{k:03d}" for k in rng.permutation(n)],
            "y_true": (np.arange(n) < positives).astype(int),
            "site": rng.choice(["A", "B"], n),
        }
    )


@given(
    kind=st.sampled_from(KINDS),
    halves=st.sampled_from(["readers", "cases"]),
    modalities=st.integers(2, 3),
    more=st.integers(1, 2),
    readers=st.integers(6, 9),
    n=st.integers(50, 70),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=25, deadline=None)
def test_every_list_is_complete_and_no_case_comes_twice_too_soon(
    kind: Any, halves: Any, modalities: int, more: int, readers: int, n: int, seed: int
) -> None:
    modes = ["unaided", "aided", "report"][:modalities]
    cases = some_cases(n, 26, seed)
    found = design(
        cases, readers, modes, kind, halves=halves, sessions=more * modalities, washout_days=30, seed=seed
    )
    lists = found.lists
    own = {name: set(part["case_id"]) for name, part in lists.groupby("reader")}
    assert len(own) == readers
    assert lists.groupby(["reader", "case_id"])["modality"].agg(set).map(set(modes).__eq__).all()
    assert len(lists) == sum(len(part) for part in own.values()) * modalities
    if kind == "split-plot":
        parts = set(map(frozenset, own.values()))
        assert len(parts) == 2 and set.union(*map(set, parts)) == set(cases["case_id"])
        assert not set.intersection(*map(set, parts))
    else:
        assert all(part == set(cases["case_id"]) for part in own.values())
    for _, session in lists.groupby(["reader", "session"]):
        assert list(session["order"]) == list(range(1, len(session) + 1))
        assert kind == "sequential" or session["case_id"].is_unique
    gap = lists.sort_values("earliest_day").groupby(["reader", "case_id"])["earliest_day"].diff().dropna()
    assert kind == "sequential" or (gap >= 30).all()
    first = lists.groupby("reader")["earliest_day"].min()
    assert (first == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("halves", ["readers", "cases"])
def test_positives_and_strata_are_shared_out_evenly(kind: Any, halves: Any) -> None:
    cases = some_cases(80, 32)
    found = design(cases, 8, kind=kind, halves=halves, sessions=2, strata=["site"], seed=5)
    assert found.balance["prevalence"].between(0.36, 0.44).all()
    counts = found.balance.groupby("modality")[["cases", "positives"]].sum()
    assert (counts.loc["aided"] == counts.loc["unaided"]).all()
    site = found.lists["case_id"].map(cases.set_index("case_id")["site"]) == "A"
    shares = site.groupby([found.lists["reader"], found.lists["session"]]).mean()
    assert shares.max() - shares.min() < 0.08
    assert found.balance.groupby("modality")["mean_order"].mean().between(0.45, 0.55).all()


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_of_a_period_are_alike(kind: Any) -> None:
    found = design(some_cases(80, 32), 4, kind=kind, halves="cases", groups=2, sessions=4, seed=2)
    parts = found.balance.groupby(["reader", "session"])[["cases", "positives"]].sum()
    spread = (parts.groupby("reader").max() - parts.groupby("reader").min()).max()
    assert spread["cases"] <= 2 and spread["positives"] <= 2


@pytest.mark.parametrize(("kind", "readers"), [("crossover", 8), ("split-plot", 6), ("split-plot", 8)])
def test_half_of_the_readers_start_aided(kind: Any, readers: int) -> None:
    for seed in range(6):
        found = design(some_cases(), readers, kind=kind, seed=seed)
        first = found.lists[found.lists["session"] == 1].groupby("reader")["modality"].first()
        assert (first == "aided").sum() == readers / 2
        assert not any("evenly" in note for note in found.notes)
    odd = design(some_cases(), 5)
    assert any("do not start evenly" in note for note in odd.notes)


def test_halves_of_cases_swap_their_modality_between_periods_and_readers() -> None:
    lists = design(some_cases(), 4, halves="cases", seed=1).lists
    wide = lists.pivot(index="case_id", columns=["reader", "session"], values="modality")
    for reader in wide.columns.levels[0]:
        assert (wide[reader][1] != wide[reader][2]).all()
        assert (wide[reader][1] == "aided").sum() == 30
    by_reader = (wide.xs(1, axis=1, level="session") == "aided").sum(axis=1)
    assert (by_reader == 2).all()  # of four readers, two see each case aided first


def test_sequential_lists_read_each_case_unaided_and_then_at_once_aided() -> None:
    found = design(some_cases(), 3, kind="sequential")
    for _, part in found.lists.groupby("reader"):
        pairs = part["case_id"].to_numpy().reshape(-1, 2)
        assert (pairs[:, 0] == pairs[:, 1]).all()
        assert part["modality"].tolist() == ["unaided", "aided"] * 60
    assert any("second look" in note for note in found.notes)


def test_case_order_differs_between_readers_and_sessions() -> None:
    lists = design(some_cases(), 4).lists
    orders = {tuple(part["case_id"]) for _, part in lists.groupby(["reader", "session"])}
    assert len(orders) == 8


def test_a_seed_makes_the_lists_again_and_another_seed_makes_others() -> None:
    first, again, other = (design(some_cases(), 4, seed=s).lists for s in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_orders_balance_position_and_what_came_before(count: int) -> None:
    rows = np.array(sequences(count))
    for column in rows.T:
        assert len(set(np.bincount(column, minlength=count))) == 1
    before = np.zeros((count, count), int)
    for row in rows:
        for a, b in pairwise(row):
            before[a, b] += 1
    assert len(set(before[~np.eye(count, dtype=bool)])) == 1


def test_cases_of_a_patient_stay_in_one_group() -> None:
    cases = some_cases().assign(patient_id=[f"p{k // 2}" for k in range(60)])
    found = design(cases, 4, kind="split-plot")
    owner = cases.set_index("case_id")["patient_id"]
    groups = found.lists.assign(patient=found.lists["case_id"].map(owner)).merge(
        found.balance[["reader", "group"]].drop_duplicates(), on="reader"
    )
    assert (groups.groupby("patient")["group"].nunique() == 1).all()
    assert any("30 patients have several cases" in note for note in found.notes)


def test_ids_that_tell_the_truth_are_noted() -> None:
    told = pd.DataFrame({"case_id": [f"{k}" for k in range(1, 61)], "y_true": [1] * 24 + [0] * 36})
    assert any("give neutral ones" in note for note in design(told, 4).notes)
    assert design(some_cases(), 4).notes == ()


# --- files ---


def test_files_are_one_a_reader_and_an_overview_and_tell_no_truth(tmp_path: Path) -> None:
    names = ["Dr. Müller/A", "../../x", "Dr. Müller A"]
    found = design(some_cases(), names, seed=2)
    folder = found.write(tmp_path / "lists")
    files = sorted(p.name for p in folder.iterdir())
    assert len(files) == 4 and "overview.csv" in files
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.") for name in files)
    for name, file in found.files().items():
        table = pd.read_csv(folder / file, dtype={"case_id": str})
        assert list(table) == ["session", "order", "case_id", "modality", "earliest_day"]
        own = found.lists[found.lists["reader"] == name].drop(columns="reader").reset_index(drop=True)
        pd.testing.assert_frame_equal(table, own, check_dtype=False)
    overview = pd.read_csv(folder / "overview.csv")
    assert list(overview) == ["reader", "file", "session", "modality", "cases", "earliest_day"]
    assert overview["cases"].sum() == len(found.lists)
    text = "".join(p.read_text(encoding="utf-8") for p in folder.iterdir())
    assert "y_true" not in text and "positives" not in text


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = design(some_cases(), 3)
    write, done = table_files.write, []

    def failing(table: pd.DataFrame, path: Path) -> None:
        if len(done) == 2:
            raise OSError("disk full")
        done.append(path)
        write(table, path)

    monkeypatch.setattr(table_files, "write", failing)
    with pytest.raises(OSError, match="disk full"):
        found.write(tmp_path / "lists")
    assert list(tmp_path.iterdir()) == []


def test_lists_are_never_mixed_with_what_is_there(tmp_path: Path) -> None:
    found = design(some_cases(), 3)
    found.write(tmp_path / "lists")
    with pytest.raises(InputError, match="not empty"):
        found.write(tmp_path / "lists")
    (tmp_path / "empty").mkdir()
    assert len(list(found.write(tmp_path / "empty").iterdir())) == 4


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"case_id": "c001"}, "second row of the same case"),
        ({"case_id": None}, "row 5, column 'case_id': empty"),
        ({"case_id": "=1+1"}, "spreadsheet"),
        ({"y_true": 2}, "row 5, column 'y_true'"),
        ({"y_true": None}, "row 5, column 'y_true'"),
        ({"site": None}, "row 5, column 'site'"),
    ],
)
def test_wrong_cases_are_refused_by_row_and_column(change: dict[str, Any], words: str) -> None:
    cases = some_cases().astype(object)
    cases.loc[3, list(change)] = list(change.values())
    with pytest.raises(TableError, match=words):
        design(cases, 4, strata=["site"])


@pytest.mark.parametrize("column", ["case_id", "y_true"])
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(TableError, match=f"column '{column}' is missing"):
        design(some_cases().drop(columns=column), 4)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"readers": 1}, NotEnoughData, "two readers"),
        ({"readers": 3, "kind": "split-plot"}, NotEnoughData, "two readers a group"),
        ({"readers": 2, "modalities": ["a", "b", "c"]}, NotEnoughData, "halves='cases'"),
        ({"readers": ["x", "x"]}, InputError, "two readers are called 'x'"),
        ({"readers": ["x", ""]}, InputError, "has no name"),
        ({"readers": ["x", "=y"]}, InputError, "spreadsheet"),
        ({"kind": "latin"}, InputError, "no design 'latin'"),
        ({"halves": "none"}, InputError, "halves"),
        ({"modalities": ["a"]}, InputError, "two different modalities"),
        ({"modalities": ["a", "a"]}, InputError, "two different modalities"),
        ({"sessions": 3}, InputError, "2 periods of equal length"),
        ({"sessions": 1}, InputError, "needs 2 sessions"),
        ({"washout_days": -1}, InputError, "washout_days"),
        ({"kind": "split-plot", "groups": 1}, InputError, "two groups or more"),
        ({"sessions": 60}, NotEnoughData, "24 patients with a positive case"),
        ({"cases": some_cases(60, 0)}, NotEnoughData, "0 patients with a positive case"),
        ({"seed": -1}, InputError, "seed"),
    ],
)
def test_impossible_wishes_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        design(**{"cases": some_cases(), "readers": 4} | options)


def test_the_truth_may_be_words_as_in_reader_tables() -> None:
    numbers = some_cases()
    words = numbers.assign(y_true=numbers["y_true"].map({0: "No", 1: "yes"}))
    assert design(words, 4).lists.equals(design(numbers, 4).lists)
