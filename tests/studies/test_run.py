"""A run folder is whole or not there."""

from __future__ import annotations

import getpass
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import pytest

from radfoundry.errors import RunError
from radfoundry.studies.run import Run
from radfoundry.types import Estimate


@dataclass(frozen=True)
class Config:
    cohort: Path = Path.home() / "cohort.csv"
    seeds: tuple[int, ...] = (0, 1)
    limit: float = float("nan")


def run_at(out: Path, **options: object) -> Run:
    return Run(out, command="radfoundry study run x", config=Config(), seed=3, title="T", **options)


def test_manifest_says_what_was_run_and_names_nobody(tmp_path: Path) -> None:
    with run_at(tmp_path / "run") as run:
        run.add_data("phantoms", "sha256:1", 10)
        run.add_encoder("raw-pixels", "f")
        run.add_licence("rad-dino", "MSRLA")
    text = (tmp_path / "run" / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["format"] == 1 and manifest["status"] == "complete" and manifest["seeds"] == [3]
    assert manifest["config"] == {"cohort": "~/cohort.csv", "seeds": [0, 1], "limit": None}
    assert manifest["data"] == [{"name": "phantoms", "digest": "sha256:1", "n": 10}]
    assert manifest["licences"][0]["item"] == "rad-dino"
    assert manifest["start"] <= manifest["end"] and {"radfoundry", "numpy"} <= set(manifest["packages"])
    for name in (platform.node(), str(Path.home()), f"/{getpass.getuser()}/"):
        assert name not in text


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), run_at(tmp_path / "run") as run:
        run.log("half way")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_log_is_kept_on_request(tmp_path: Path) -> None:
    with pytest.raises(ValueError), run_at(tmp_path / "run", keep_log=True):
        raise ValueError
    assert [p.name for p in tmp_path.iterdir()] == ["run.failed-log.txt"]
    assert "stopped by ValueError" in (tmp_path / "run.failed-log.txt").read_text()


def test_the_name_appears_only_when_whole(tmp_path: Path) -> None:
    with run_at(tmp_path / "run") as run:
        assert not (tmp_path / "run").exists() and run.folder.is_dir()
    assert (tmp_path / "run" / "report.html").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_existing_run_is_refused_then_replaced(tmp_path: Path) -> None:
    with run_at(tmp_path / "run"):
        pass
    with pytest.raises(RunError, match="--force"), run_at(tmp_path / "run"):
        pass
    with run_at(tmp_path / "run", force=True) as run:
        run.add_estimates([Estimate("auroc", 0.5)])
    assert len(json.loads((tmp_path / "run" / "metrics.json").read_text())) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_force_does_not_replace_another_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not a run folder"), run_at(tmp_path, force=True):
        pass
    assert (tmp_path / "thesis.txt").exists()


def test_failed_run_with_force_leaves_the_old_one(tmp_path: Path) -> None:
    with run_at(tmp_path / "run"):
        pass
    with pytest.raises(ValueError), run_at(tmp_path / "run", force=True):
        raise ValueError
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no space left.*--out"), run_at(tmp_path / "run") as run:
        (run.folder / "log.txt").unlink()
        (run.folder / "log.txt").symlink_to("/dev/full")
        run.log("x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Choose another place"), run_at(tmp_path / "file" / "run"):
        pass


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
def test_read_only_place() -> None:
    with pytest.raises(RunError, match="cannot write /proc/run"), run_at(Path("/proc/run")):
        pass


def test_log_holds_no_identifiers(tmp_path: Path) -> None:
    with run_at(tmp_path / "run") as run:
        run.hide(["MRN-0042"])
        run.log(f"could not read MRN-0042, MRN-00421 in {Path.home()}/x.png")
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "could not read [id], MRN-00421 in ~/x.png" in text


def test_model_card(tmp_path: Path) -> None:
    estimate = Estimate("auroc", 0.8, 0.7, 0.9, n=50, model="mlp")
    with run_at(tmp_path / "run") as run:
        run.verdict("Works.", [("AUC", estimate, None)])
        run.model_card({"license": "apache-2.0", "tags": ["x"], "limitations": ["one site"]})
    text = (tmp_path / "run" / "model" / "README.md").read_text()
    assert text.startswith("---\nlicense: apache-2.0\ntags:\n- x\n---\n")
    assert "- one site" in text and "mlp: auroc 0.800" in text


@pytest.mark.parametrize("name", ["../x", "a b", "", "x.svg"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="named with letters"), run_at(tmp_path / "run") as run:
        run.set_section(name, {"kind": "text"})
