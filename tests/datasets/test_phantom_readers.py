"""The phantom reader study holds what was planted in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from radfoundry.datasets.phantom_readers import PhantomReaders, ReadingTime, aided_auc, make
from radfoundry.datasets.simulated_readers import RoeMetz
from radfoundry.errors import InputError
from radfoundry.evaluate.intervals import delong
from radfoundry.evaluate.readers.reads import arrange


@pytest.fixture(scope="module")
def large() -> PhantomReaders:
    return make(40, 600, missing=0.0, seed=3)


def aucs(table: pd.DataFrame, modality: str) -> np.ndarray:
    own = table[table["modality"] == modality].groupby("reader")
    return np.array([delong(g["y_true"].to_numpy(), g["score"].to_numpy()).value for _, g in own])


def test_it_is_a_reader_table() -> None:
    made = make()
    reads = arrange(made.table)
    assert reads.rating.shape == (2, 8, 160) and reads.notes == ()
    assert reads.modalities == ("aided", "unaided")
    lost = np.isnan(reads.rating).mean()
    assert 0 < lost < 0.03
    assert int(reads.y.sum()) == 64
    assert ((made.table["score"] >= 50) == (made.table["decision"] == 1)).all()
    assert made.table["score"].between(0, 99).all()


def test_readers_reach_the_planted_aucs(large: PhantomReaders) -> None:
    for modality in ("unaided", "aided"):
        found = aucs(large.table, modality)
        assert found.mean() == pytest.approx(large.truth[f"auc_{modality}"], abs=0.025)
    assert large.truth["auc_difference"] > 0.05
    cases = large.table.drop_duplicates("case_id")
    ai = delong(cases["y_true"].to_numpy(), cases["ai_score"].to_numpy())
    assert ai.value == pytest.approx(large.truth["auc_ai"], abs=0.03)


def test_readers_follow_the_ai_where_it_is_wrong_too(large: PhantomReaders) -> None:
    table = large.table.assign(
        right=large.table["decision"] == large.table["y_true"],
        ai_right=large.table["ai_decision"] == large.table["y_true"],
    )
    right = table.groupby(["ai_right", "modality"])["right"].mean().unstack()
    assert right.loc[True, "aided"] - right.loc[True, "unaided"] > 0.08
    assert right.loc[False, "aided"] - right.loc[False, "unaided"] < -0.06


def test_without_reliance_the_aid_changes_nothing() -> None:
    made = make(40, 600, reliance=0.0, missing=0.0, seed=3)
    assert made.truth["auc_difference"] == pytest.approx(0, abs=1e-12)
    assert aucs(made.table, "aided").mean() == pytest.approx(aucs(made.table, "unaided").mean(), abs=0.02)


def test_seconds_hold_the_planted_ratios(large: PhantomReaders) -> None:
    """Least squares on log seconds within readers; the design is a balanced crossover."""
    table = large.table
    length = table.groupby(["reader", "session"])["order"].transform("max")
    x = pd.DataFrame(
        {
            "aided": table["modality"] == "aided",
            "session": table["session"] == 2,
            "place": (table["order"] - 1) / (length - 1),
            "y": table["y_true"],
        }
    ).astype(float)
    y = np.log(table["seconds"])
    within = x - x.groupby(table["reader"]).transform("mean")
    found = np.exp(np.linalg.lstsq(within, y - y.groupby(table["reader"]).transform("mean"), rcond=None)[0])
    truth = large.truth
    assert found[0] == pytest.approx(truth["time_ratio"], rel=0.04)
    assert found[1] == pytest.approx(truth["session_ratio"], rel=0.04)
    assert found[2] == pytest.approx(truth["learning_ratio"], rel=0.03)


def test_it_is_a_crossover_and_ids_tell_nothing() -> None:
    made = make(10, 80, missing=0.0)
    first = made.table[made.table["session"] == 1].groupby("reader")["modality"].agg(["first", "nunique"])
    assert (first["nunique"] == 1).all()
    assert (first["first"] == "aided").sum() == 5
    number = made.table["case_id"].str[-2:].astype(int)
    positive = made.table["y_true"] == 1
    assert abs(number[positive].mean() - number[~positive].mean()) < 15


def test_the_expected_aided_auc_is_that_of_many_studies() -> None:
    effects = RoeMetz((0.7, 0.7), reader=0.1, modality_reader=0.0)
    found = []
    for seed in range(40):
        made = make(4, 150, auc=0.7, effects=effects, reliance=1.0, shared_difficulty=0.8, seed=seed)
        found.append(aucs(made.table, "aided").mean())
    expected = aided_auc(effects, 0.88, 1.0, 0.8)
    assert made.truth["auc_aided"] == expected
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / 40**0.5)
    assert 4 * np.std(found) / 40**0.5 < 0.025


def test_the_same_seed_gives_the_same_table(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(make(3, 20).table, make(3, 20).table)
    assert not make(3, 20).table.equals(make(3, 20, seed=1).table)
    folder = make(3, 20).write(tmp_path / "phantom")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "reads.csv"), make(3, 20).table, check_dtype=False)
    told = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
    assert told["phantom"] is True and told["truth"]["time_ratio"] == 0.8


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prevalence": 0.0}, "prevalence"),
        ({"auc": 1.0}, "auc"),
        ({"missing": 0.9}, "missing"),
        ({"reliance": -1.0}, "reliance"),
        ({"readers": 1}, "2 readers"),
        ({"levels": 5}, "even number of levels"),
        ({"effects": RoeMetz((0.8, 0.8), spread=1.5)}, "spread 1"),
    ],
)
def test_impossible_phantoms_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make(**wrong)


@pytest.mark.parametrize("wrong", [{"typical": 0.0}, {"aided": -1.0}, {"noise": -0.1}])
def test_impossible_times_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        ReadingTime(**wrong)
