"""Commands that write a folder: on a full disk nothing of it is left, and the message says where."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli import report_tables
from radfoundry.cli.main import main
from radfoundry.errors import RunError
from radfoundry.monitor import figures as monitor_figures
from radfoundry.report import figures


def full(*_: object, **__: object) -> None:
    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(60)], "y_true": np.arange(60) % 2})
    table.assign(score=rng.random(60)).to_csv(tmp_path / "p.csv", index=False)
    return tmp_path / "p.csv"


@pytest.mark.parametrize("out", ["judged", "new/deep/judged"])
def test_evaluate_leaves_no_half_folder(
    predictions: Path, out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, folder = pd.DataFrame.to_csv, predictions.parent

    def until_curves(self: pd.DataFrame, path: Any = None, **how: Any) -> Any:
        return full() if Path(str(path)).name == "roc.csv" else plain(self, path, **how)

    monkeypatch.setattr(pd.DataFrame, "to_csv", until_curves)
    assert main(["evaluate", str(predictions), "--n-boot", "100", "--out", str(folder / out)]) == 2
    said = capsys.readouterr().err
    assert f"cannot write {folder / out}: File too large" in said and "choose another place" in said
    assert [p.name for p in folder.iterdir()] == ["p.csv"]


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_evaluate_leaves_no_half_file(
    predictions: Path, ending: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = predictions.with_name(f"m.{ending}")
    monkeypatch.setattr(Path, "write_text", full)
    assert main(["evaluate", str(predictions), "--n-boot", "100", "--out", str(out)]) == 2
    assert f"cannot write {out}: File too large" in capsys.readouterr().err
    assert [p.name for p in predictions.parent.iterdir()] == ["p.csv"]


def test_evaluate_into_a_folder_that_is_there_keeps_the_rest(predictions: Path) -> None:
    out = predictions.with_name("judged")
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert main(["evaluate", str(predictions), "--n-boot", "100", "--out", str(out)]) == 0
    assert {"mine.txt", "metrics.json", "metrics.csv", "roc.csv"} <= {p.name for p in out.iterdir()}
    assert {p.name for p in predictions.parent.iterdir()} == {"p.csv", "judged"}


def test_sample_size_leaves_no_half_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures, "save", full)
    words = ["plan", "sample-size", "auc", "--auc", "0.8", "--prevalence", "0.2", "--width", "0.1"]
    assert main([*words, "--out", str(tmp_path / "size")]) == 2
    assert f"cannot write {tmp_path / 'size'}: File too large" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_learning_curve_leaves_no_half_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(n, r, 0.9 - 0.6 * n**-0.5 + 0.004 * r) for n in (5, 10, 20, 30, 50, 100) for r in range(3)]
    pd.DataFrame(rows, columns=["n", "repeat", "value"]).to_csv(tmp_path / "c.csv", index=False)
    monkeypatch.setattr(figures, "save", full)
    words = ["plan", "learning-curve", "--curve", str(tmp_path / "c.csv"), "--goal", "0.8"]
    assert main([*words, "--out", str(tmp_path / "curve")]) == 2
    assert f"cannot write {tmp_path / 'curve'}: File too large" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["c.csv"]


def test_drawings_of_charts_leave_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_figures, "chart_panels", lambda _: (None, pd.DataFrame({"week": [1]})))
    monkeypatch.setattr(figures, "save", lambda _, stem: stem.with_suffix(".svg").write_text("half"))
    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(RunError, match=r"cannot write .*charts: File too large"):
        report_tables._draw(tmp_path / "charts", {"omissions, all": {"ewma": None}})
    assert not list(tmp_path.iterdir())
