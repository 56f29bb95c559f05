"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from radfoundry.errors import InputError, RunError
from radfoundry.table_files import whole, whole_folder

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("fault", [FULL, KeyboardInterrupt(), InputError("something else")])
@pytest.mark.parametrize("place", ["a.csv", "new/deep/a.csv"])
def test_a_file_that_was_not_finished_leaves_nothing(
    tmp_path: Path, place: str, fault: BaseException
) -> None:
    wanted = RunError if fault is FULL else type(fault)
    with pytest.raises(wanted) as stopped, whole(tmp_path / place) as part:
        part.write_text("half")
        raise fault
    assert not list(tmp_path.iterdir())
    if fault is FULL:
        said = str(stopped.value)
        assert said.startswith(f"cannot write {tmp_path / place}: No space left on device.")
        assert "choose another place" in said


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("old")
    with pytest.raises(RunError), whole(file) as part:
        part.write_text("half")
        assert file.read_text() == "old"
        raise FULL
    assert file.read_text() == "old"
    with whole(file) as part:
        part.write_text("new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.csv", "new")]


def test_a_folder_appears_with_all_its_files_or_not_at_all(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"cannot write .*/deep/out"),
        whole_folder(tmp_path / "deep/out") as part,
    ):
        (part / "a.csv").write_text("a")
        raise FULL
    assert not list(tmp_path.iterdir())
    with whole_folder(tmp_path / "deep/out") as part:
        (part / "a.csv").write_text("a")
        assert not (tmp_path / "deep/out").exists()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_folder_that_is_there_keeps_what_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(RunError), whole_folder(tmp_path) as part:
        (part / "a.csv").write_text("new")
        raise FULL
    assert (tmp_path / "a.csv").read_text() == "old"
    with whole_folder(tmp_path) as part:
        (part / "a.csv").write_text("new")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"mine.txt": "mine", "a.csv": "new"}
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


@pytest.mark.parametrize("make", [whole, whole_folder])
def test_a_file_where_a_folder_belongs_is_named(tmp_path: Path, make) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"cannot write .*file/a"), make(tmp_path / "file" / "a") as part:
        part.write_text("x")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("name", [".", "..", "../sub"])
def test_a_folder_may_be_named_from_where_one_stands(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "top" / "sub"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    with whole_folder(Path(name)) as part:
        (part / "a.csv").write_text("new")
    assert (here / name / "a.csv").read_text() == "new"
    assert len(list(tmp_path.rglob("*"))) == 3  # two folders, one file, no part left anywhere
