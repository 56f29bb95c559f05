"""Fits are kept as soon as they are done, named by all that decides them, and made again when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.adapt.cross import cross_predict
from radfoundry.adapt.fits import Fit, Fits
from radfoundry.adapt.mlp import BalancedEpochMLP
from radfoundry.adapt.prior import AtTrainingPrevalence
from radfoundry.errors import RunError
from radfoundry.splits import Fold, kfold


def noted(x: np.ndarray, seed: int, notes: Path) -> pd.DataFrame:
    """A fit that writes down that it was made."""
    with (notes / "made.txt").open("a") as file:
        file.write(f"{seed}\n")
    return pd.DataFrame({"score": x * seed})


def failing(x: np.ndarray, seed: int, notes: Path) -> pd.DataFrame:
    if seed == 2:
        raise KeyboardInterrupt
    return noted(x, seed, notes)


def training(x: np.ndarray, checkpoint: Path | None = None) -> pd.DataFrame:
    assert checkpoint is not None
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "state").write_text("half way")
    return pd.DataFrame({"score": x})


def fits(notes: Path, seeds: list[int], make=noted) -> list[Fit]:
    return [Fit(str(s), make, {"x": np.arange(3.0), "seed": s, "notes": notes}) for s in seeds]


def made(notes: Path) -> list[str]:
    return (notes / "made.txt").read_text().split()


def test_what_is_on_disk_is_not_made_again(tmp_path: Path) -> None:
    kept = Fits(tmp_path / "fits")
    first = kept.run(fits(tmp_path, [1, 2]), log=lambda _: None)
    said: list[str] = []
    second = kept.run(fits(tmp_path, [2, 3, 1]), log=said.append)
    assert made(tmp_path) == ["1", "2", "3"] and said == ["2 of 3 fits were on disk already"]
    for a, b in zip([first[1], first[0]], [second[0], second[2]]):
        pd.testing.assert_frame_equal(a, b)


def test_an_interrupted_run_goes_on_from_there(tmp_path: Path) -> None:
    kept = Fits(tmp_path / "fits")
    with pytest.raises(KeyboardInterrupt):
        kept.run(fits(tmp_path, [1, 2, 3], failing), log=print)
    assert made(tmp_path) == ["1"] and len(list((tmp_path / "fits").rglob("*.parquet"))) == 1
    kept.run(fits(tmp_path, [1, 3], failing), log=print)
    assert made(tmp_path) == ["1", "3"]


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    kept = Fits(tmp_path / "fits")
    [table] = kept.run(fits(tmp_path, [4]), log=print)
    [file] = (tmp_path / "fits").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:40])
    [again] = kept.run(fits(tmp_path, [4]), log=print)
    pd.testing.assert_frame_equal(table, again)
    pd.testing.assert_frame_equal(pd.read_parquet(file), table)


def test_processes_give_the_same_as_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), np.arange(60) % 2
    jobs = [
        Fit("a", cross_predict, {"head": "logistic", "X": x, "y": y, "folds": [f], "groups": np.arange(60)})
        for f in kfold(np.arange(60), y, n_splits=3)
    ]
    alone, shared = Fits(None).run(jobs, log=print), Fits(tmp_path / "fits").run(jobs, jobs=2, log=print)
    for a, b in zip(alone, shared):
        pd.testing.assert_frame_equal(a, b)
    assert not list((tmp_path / "fits").rglob(".*"))


BASE = {"x": np.arange(3.0), "fold": Fold(np.arange(2), np.arange(2, 3)), "head": "knn", "seed": 0}


@pytest.mark.parametrize(
    "other",
    [
        {"x": np.arange(3.0) + 1e-9},
        {"x": np.arange(3, dtype=np.float32)},
        {"fold": Fold(np.arange(2), np.arange(2, 3), repeat=1)},
        {"fold": Fold(np.arange(1), np.arange(2, 3))},
        {"head": AtTrainingPrevalence(BalancedEpochMLP(seeds=2))},
        {"seed": 1},
        {"names": np.array(["a", None], dtype=object)},
    ],
    ids=str,
)
def test_the_name_follows_everything_that_decides(other: dict) -> None:
    assert Fit("", noted, BASE).key == Fit("", noted, dict(BASE)).key
    assert Fit("", noted, BASE).key != Fit("", noted, BASE | other).key
    assert Fit("", noted, BASE).key != Fit("", failing, BASE).key


def test_a_fit_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    key = Fit.key.fget
    monkeypatch.setattr(Fit, "key", property(lambda fit: (named.append(fit.name), key(fit))[1]))
    Fits(tmp_path / "fits").run(fits(tmp_path, [1, 2]), log=print)
    assert named == ["1", "2"]


def test_settings_of_a_head_are_part_of_the_name() -> None:
    heads = [AtTrainingPrevalence(BalancedEpochMLP(seeds=s)) for s in (2, 3)]
    assert len({Fit("", noted, {"head": head}).key for head in heads}) == 2


def test_what_cannot_be_named_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be named"):
        _ = Fit("", noted, {"head": object()}).key


def test_checkpoints_go_when_the_fit_is_done(tmp_path: Path) -> None:
    Fits(tmp_path / "fits").run([Fit("", training, {"x": np.arange(2.0)}, scratch="checkpoint")], log=print)
    assert [p.suffix for p in (tmp_path / "fits").rglob("*") if p.is_file()] == [".parquet"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "fits").write_text("a file")
    with pytest.raises(RunError, match="--store"):
        Fits(tmp_path / "fits").run(fits(tmp_path, [1]), log=print)
