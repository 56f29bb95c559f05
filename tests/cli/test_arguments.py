"""A flag that comes twice loses no value in silence, whichever command it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

import radfoundry
from radfoundry.cli.arguments import parse
from radfoundry.cli.evaluate import Evaluate
from radfoundry.cli.main import main
from radfoundry.cli.readers import ReadersCommand
from radfoundry.errors import InputError
from radfoundry.studies.options import Options


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["study", "run", "samples_needed", "--encoder", "fmcib", "--encoder", "astra-ct"], "encoder"),
        (["plan", "learning-curve", "c.csv", "--target", "a", "--encoder", "x", "--target", "b"], "target"),
        (["audit", "c.csv", "--target=a", "--target", "b"], "target"),
        (["embed", "c.csv", "--encoder", "x", "--store", "s", "--batch_size", "1", "--batch-size", "2"],
         "batch-size"),
        (["evaluate", "p.csv", "--model", "a", "--model", "b", "--level", ".9", "--level", ".8"], "level"),
    ],
)  # fmt: skip
def test_a_repeated_flag_is_refused_by_name(
    words: list[str], flag: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"--{flag} is given 2 times" in error and "several values go behind one flag" in error
    assert not list(tmp_path.iterdir())


def test_a_switch_and_its_opposite_are_one_flag() -> None:
    with pytest.raises(InputError, match="--controls is given 2 times"):
        parse(Options, ["--no-controls", "--controls"])
    assert not parse(Options, ["--no-controls"]).controls


def test_options_that_collect_may_be_repeated() -> None:
    words = ["p.csv", "--model", "a", "--model", "b", "--subgroup", "sex", "--subgroup", "age"]
    found = parse(Evaluate, words)
    assert (found.model, found.subgroup) == (("a", "b"), ("sex", "age"))
    words = ["design", "c.csv", "--out", "lists", "--reader", "r1", "--reader", "r2"]
    assert parse(ReadersCommand, words).command.reader == ("r1", "r2")


def test_several_values_behind_one_flag_are_all_kept() -> None:
    assert parse(Options, ["--weights", "a=1", "b=2"]).weights == ("a=1", "b=2")


def test_no_command_is_parsed_elsewhere() -> None:
    package = Path(radfoundry.__file__).parent
    found = [p.name for p in package.rglob("*.py") if "tyro.cli(" in p.read_text(encoding="utf-8")]
    assert found == ["arguments.py"]
