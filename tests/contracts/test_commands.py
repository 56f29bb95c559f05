"""Every verb explains itself, refuses nonsense with a reason, and is documented."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radfoundry.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_exits_zero_and_names_the_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"radfoundry {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", COMMANDS)
def test_unknown_option_is_refused(verb: str) -> None:
    assert main([verb, "--no-such-option"]) == 2


@pytest.mark.parametrize("verb", COMMANDS)
def test_module_exists_and_has_a_runner(verb: str) -> None:
    module, name, _ = COMMANDS[verb]
    assert callable(getattr(importlib.import_module(f"radfoundry.cli.{module}"), name).run)


@pytest.mark.parametrize("verb", COMMANDS)
def test_verb_is_documented(verb: str) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert f"radfoundry {verb}" in text


def test_unknown_verb_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evalaute"]) == 2
    assert "Did you mean 'evaluate'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["scan", "nowhere"],
        ["embed", "nowhere.csv", "--encoder", "raw-pixels", "--store", "store"],
        ["evaluate", "nowhere.csv"],
        ["compare", "nowhere.csv", "neither.csv"],
        ["audit", "nowhere.csv", "--target", "x"],
        ["show", "nowhere"],
        ["readers", "analyse", "nowhere.csv"],
        ["readers", "design", "nowhere.csv", "--readers", "4", "--out", "lists"],
        ["readers", "power", "--difference", "0.05", "--pilot", "nowhere.csv"],
        ["cohort", "check", "nowhere.csv"],
        ["encoders", "info", "no-such-encoder"],
        ["study", "info", "no_such_study"],
        ["study", "run", "ila_vs_atelectasis", "--cohort", "nowhere.csv", "--out", "run"],
        [
            "study",
            "run",
            "draft_report_monitoring",
            "--reports",
            "nowhere.csv",
            "--drafts",
            "n",
            "--out",
            "x",
        ],
        ["reports", "extract", "nowhere.csv"],
        ["reports", "validate", "nowhere.csv", "--findings", "neither.csv"],
        ["reports", "compare", "nowhere.csv", "neither.csv", "--monitor", "store.sqlite"],
        ["reports", "chart", "nowhere.sqlite"],
        ["reports", "dictionary", "no-such-dictionary"],
        ["series", "classify", "nowhere"],
        ["series", "organise", "nowhere", "--out", "tree"],
        ["series", "evaluate", "nowhere", "--truth", "nowhere.csv"],
        [
            "series",
            "train",
            "--dir",
            "nowhere",
            "--truth",
            "nowhere.csv",
            "--out",
            "model",
            "--phantoms",
            "0",
            "--pictures",
            "0",
        ],
    ],
    ids=lambda words: words[0],
)
def test_what_is_missing_is_named_and_nothing_is_written(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) in (2, 3)
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert any(word in captured.err for word in words if "nowhere" in word or "no" in word[:3])
    assert not captured.out.strip()
    assert not list(tmp_path.iterdir())


def _script() -> str:
    script = shutil.which("radfoundry", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("the package is not installed with its console script")
    return script


def test_console_script_answers_at_once() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([_script(), "--help"], check=True, capture_output=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.skipif(os.name == "nt", reason="the time that a finished process took is not told here")
def test_listing_the_encoders_costs_less_than_half_a_second() -> None:
    """Of the process itself: it is near enough to the limit for other tests to push it over on the wall."""

    def seconds() -> float:
        before = os.times()
        subprocess.run([_script(), "encoders"], check=True, capture_output=True)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])  # user and system time of children

    assert min(seconds() for _ in range(5)) < 0.5
