"""The verbs of `radfoundry series` without a model: what they print, write, refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.series.corrections import Correction, append
from radfoundry.series.examples import read_labels
from radfoundry.series.find import find
from radfoundry.series.labels import load
from tests.series.made import mr, put


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    put(
        folder / "flair",
        *(mr(k, EchoTime=120.0, RepetitionTime=9000.0, InversionTime=2500.0) for k in (1, 2, 3)),
    )
    return folder


def _truth(archive: Path, label: str) -> Path:
    path = archive.parent / "truth.csv"
    path.write_text(f"series_dir,modality,anatomy\nflair,{label},Brain\n")
    return path


def test_classify_prints_says_that_rules_judged_and_writes(archive, capsys, monkeypatch):
    monkeypatch.chdir(archive.parent)
    assert main(["series", "classify", "archive", "--out", "v.csv"]) == 0
    said = capsys.readouterr()
    assert "T2-FLAIR" in said.out
    assert "rules alone: no model yet" in said.err
    assert pd.read_csv("v.csv")["label"].tolist() == ["T2-FLAIR"]


def test_classify_as_json_is_nothing_else(archive, capsys):
    assert main(["series", "classify", str(archive), "--model", "none", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)[0]["label"] == "T2-FLAIR"
    assert "rules alone" not in said.err


@pytest.mark.parametrize(("label", "right"), [("T2-FLAIR", 1.0), ("T1", 0.0)])
def test_evaluate_counts_what_was_right(archive, capsys, label, right):
    words = [
        "series",
        "evaluate",
        str(archive),
        "--truth",
        str(_truth(archive, label)),
        "--model",
        "none",
        "--json",
    ]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    (accuracy,) = [e for e in told["estimates"] if e["name"] == "accuracy"]
    assert (accuracy["value"], accuracy["n"]) == (right, 1)
    assert len(told["errors"]) == 1 - right


def test_corrections_are_labels(archive, capsys):
    (series,) = find(archive)
    path = archive.parent / "corrections.jsonl"
    append(path, [Correction(series.uid, "other", "PD", "Knee")])
    assert read_labels(path, load()) == {series.uid: ("other:PD", "Knee")}
    assert main(["series", "evaluate", str(archive), "--truth", str(path), "--model", "none"]) == 0
    assert "other:PD, called T2-FLAIR" in capsys.readouterr().out


def test_evaluate_hides_tags(archive, capsys):
    words = [
        "series",
        "evaluate",
        str(archive),
        "--truth",
        str(_truth(archive, "T2-FLAIR")),
        "--model",
        "none",
    ]
    assert main([*words, "--hide", "InversionTime", "EchoTime", "RepetitionTime", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [e["value"] for e in told["estimates"] if e["name"] == "accuracy"] == [0.0]
    assert told["errors"][0]["verdict"] == "other:UNKNOWN"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["classify", "archive", "--out", "v.txt"], "Write .csv, .parquet or .jsonl"),
        (["classify", "archive", "--model", "archive"], "no model of the series sorter"),
        (["evaluate", "archive", "--truth", "truth.csv", "--hide", "Nonsense"], "no DICOM keyword"),
        (["organise", "archive", "--out", "archive/tree"], "lie within each other"),
        (["organise", "archive", "--out", "theirs", "--layout", "sheet"], "holds other files"),
        (["train", "--descriptions"], "needs --out"),
        (["train", "--dir", "archive"], "both --dir and --truth"),
        (["train", "--out", "m", "--phantoms", "0", "--pictures", "0"], "nothing to learn from"),
        (["train", "--out", "m", "--image-tower", "r3d"], "no image tower"),
    ],
)
def test_wrong_input_is_named_and_nothing_is_written(archive, words, said, capsys, monkeypatch):
    monkeypatch.chdir(archive.parent)
    _truth(archive, "T2-FLAIR")
    (archive.parent / "theirs").mkdir()
    (archive.parent / "theirs" / "index.csv").write_text("theirs")
    before = {p: p.read_bytes() for p in archive.parent.rglob("*") if p.is_file()}
    assert main(["series", *words]) == 2
    assert said in capsys.readouterr().err
    assert {p: p.read_bytes() for p in archive.parent.rglob("*") if p.is_file()} == before
