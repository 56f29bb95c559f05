"""The verbs of `radfoundry series` without a model: what they print, write, refuse."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli import series_commands
from radfoundry.cli.main import main
from radfoundry.series.corrections import Correction, append
from radfoundry.series.examples import read_labels
from radfoundry.series.find import find
from radfoundry.series.labels import PACKAGED, load
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
    assert json.loads(said.out)["series"][0]["label"] == "T2-FLAIR"
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


def _said(capsys) -> tuple[str, str]:
    return tuple(capsys.readouterr())


def _organise(archive: Path, *words: str) -> int:
    return main(["series", "organise", str(archive), "--model", "none", "--quiet", *words])


def _corrected(path: Path, *entries: tuple[str, str]) -> Path:
    fixed = [{"uid": uid, "modality": modality} for uid, modality in entries]
    path.write_text(json.dumps({"format": 1, "corrections": fixed}))
    return path


def _labels(index: Path) -> dict[str, str]:
    table = pd.read_csv(index, dtype=str)
    return dict(zip(table["uid"], table["label"]))


@pytest.fixture
def two(archive: Path) -> list[str]:
    put(archive / "t2", *(mr(k, SeriesInstanceUID="1.2.9", SeriesNumber=4, SOPInstanceUID=f"1.2.9.{k}",
                             ScanningSequence="SE", EchoTime=90.0) for k in (1, 2)))  # fmt: skip
    return [series.uid for series in find(archive)]


@pytest.mark.parametrize("layout", ["dicom", "sheet"])
def test_a_plain_call_and_another_round_leave_earlier_corrections_in_force(
    archive, two, layout, tmp_path, capsys
):
    first, second = two
    out = str(tmp_path / "tree")
    how = ["--out", out, "--layout", layout]
    path = _corrected(tmp_path / "c.json", (first, "T1"))
    assert _organise(archive, *how, "--corrections", str(path)) == 0
    assert "1 of 1 corrections are of series here\n" in _said(capsys)[1]
    assert _organise(archive, *how) == 0
    assert "corrections in force: 1" in _said(capsys)[1]
    assert _labels(tmp_path / "tree" / "index.csv")[first] == "T1"
    _corrected(path, (second, "SWI"), ("1.9.9", "T1"))
    assert _organise(archive, *how, "--corrections", str(path)) == 0
    said = _said(capsys)[1]
    assert "corrections in force: 2" in said
    assert "1 of 2 corrections are of series here; the others" in said
    assert _labels(tmp_path / "tree" / "index.csv") == {first: "T1", second: "SWI"}
    assert "1.9.9" not in (tmp_path / "tree" / "corrections.jsonl").read_text()


def test_a_sheet_alone_says_that_nothing_was_placed(archive, tmp_path, capsys):
    assert _organise(archive, "--out", str(tmp_path / "s"), "--layout", "sheet") == 0
    assert "a sheet of 1 series, none of them placed" in _said(capsys)[0]


@pytest.mark.parametrize("left", [["index.csv", "index.parquet"], ["index.csv"], [".index.csv.partial-1"]])
def test_a_sheet_that_was_cut_off_is_gone_on_with(archive, left, tmp_path, capsys):
    out = tmp_path / "s"
    assert _organise(archive, "--out", str(out), "--layout", "sheet") == 0
    for path in list(out.iterdir()):
        if path.name not in left:
            path.unlink()
    if left[0].startswith("."):
        (out / left[0]).write_text("uid,sub")
    assert _organise(archive, "--out", str(out), "--layout", "sheet") == 0
    assert (out / "sheet.html").exists()


def test_a_sheet_does_not_replace_the_index_of_a_tree(archive, tmp_path, capsys):
    out = tmp_path / "tree"
    assert _organise(archive, "--out", str(out)) == 0
    before = (out / "index.csv").read_bytes()
    assert _organise(archive, "--out", str(out), "--layout", "sheet") == 2
    assert "holds a tree" in _said(capsys)[1]
    assert (out / "index.csv").read_bytes() == before


def test_a_sheet_that_cannot_be_written_is_told(archive, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert _organise(archive, "--out", str(tmp_path / "file" / "s"), "--layout", "sheet") == 2
    assert "cannot be written: Not a directory. Pass another folder" in _said(capsys)[1]


@pytest.mark.parametrize("layout", ["dicom", "sheet"])
def test_folder_names_stay_out_of_index_and_sheet_when_asked(archive, layout, tmp_path, capsys):
    (archive / "flair").rename(archive / "DOE^JOHN 1950-01-01")
    out = tmp_path / "tree"
    assert _organise(archive, "--out", str(out), "--layout", layout, "--hide-paths", "--json") == 0
    assert "DOE" not in _said(capsys)[0]
    for name in ("index.csv", "index.parquet", "sheet.html"):
        assert b"DOE" not in (out / name).read_bytes()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("uid", ["1.2.3 <b>x", "1.2.3"])
def test_a_series_with_an_odd_or_repeated_uid_can_be_corrected_on_the_sheet(archive, uid, tmp_path, capsys):
    put(archive / "odd", mr(SeriesInstanceUID=uid, StudyInstanceUID="1.8", SOPInstanceUID="1.8.1"))
    put(archive / "odd2", mr(SeriesInstanceUID=uid, StudyInstanceUID="1.9", SOPInstanceUID="1.9.1"))
    out = tmp_path / "tree"
    assert _organise(archive, "--out", str(out)) == 0
    table = pd.read_csv(out / "index.csv", dtype=str).set_index("path_in")
    assert f'data-uid="{table.uid["odd2"]}"' in (out / "sheet.html").read_text()
    path = _corrected(tmp_path / "c.json", (table.uid["odd2"], "DWI"))
    assert _organise(archive, "--out", str(out), "--corrections", str(path)) == 0
    after = pd.read_csv(out / "index.csv", dtype=str).set_index("path_in")["label"]
    assert after["odd2"] == "DWI" and after["odd"] != "DWI"
    words = ["series", "evaluate", str(archive), "--truth", str(out / "corrections.jsonl"), "--model", "none"]
    assert main(words) == 0
    said = _said(capsys)
    assert "odd2: DWI, called" in said[0] and "odd:" not in said[0]


def test_one_uid_in_two_studies_is_held_against_the_labels_of_each(archive, tmp_path, capsys):
    for name in ("a", "b"):
        put(archive / name, mr(SeriesInstanceUID="1.2.3", StudyInstanceUID=f"1.{ord(name)}"))
    truth = tmp_path / "t.csv"
    truth.write_text("series_dir,modality\na,T1\nb,T2\nnowhere,T2\n")
    words = ["series", "evaluate", str(archive), "--truth", str(truth), "--model", "none", "--json"]
    assert main(words) == 0
    out, err = _said(capsys)
    told = json.loads(out)
    assert {row["where"]: row["truth"] for row in told["errors"]} == {"a": "T1", "b": "T2"}
    assert told["truth"] == {"rows": 3, "without_series": 1}
    assert "2 of 3 series are labelled; 1 of 3 rows" in err


def test_json_has_no_nan_and_text_no_none(archive, capsys):
    words = ["series", "evaluate", str(archive), "--truth", str(_truth(archive, "T1")), "--model", "none"]

    def never(word: str) -> None:
        raise AssertionError(word)

    assert main([*words, "--json"]) == 0
    told = json.loads(_said(capsys)[0], parse_constant=never)
    assert told["coverage"][0]["confidence"] is None
    assert main(words) == 0
    assert "T1, called T2-FLAIR (no probability)" in _said(capsys)[0]


def test_verdicts_do_not_replace_the_truth(archive, capsys):
    truth = _truth(archive, "T1")
    before = truth.read_bytes()
    same = archive.parent / "archive" / ".." / "truth.csv"
    words = ["series", "evaluate", str(archive), "--truth", str(truth), "--model", "none", "--out", str(same)]
    assert main(words) == 2
    assert "is the table of --truth" in _said(capsys)[1]
    assert truth.read_bytes() == before


@pytest.mark.parametrize("verb", ["classify", "evaluate", "organise"])
def test_labels_that_lack_what_rules_say_are_refused_before_any_work(archive, verb, tmp_path, capsys):
    short = tmp_path / "lab.yaml"
    lines = PACKAGED.read_text(encoding="utf-8").splitlines()
    short.write_text("\n".join(line for line in lines if not line.startswith("  MRA:")))
    more = {"classify": [], "evaluate": ["--truth", str(_truth(archive, "T1"))],
            "organise": ["--out", str(tmp_path / "tree"), "--layout", "bids"]}[verb]  # fmt: skip
    assert main(["series", verb, str(archive), "--model", "none", "--labels", str(short), *more]) == 2
    assert "lacks modalities MRA, which the rules" in _said(capsys)[1]
    assert not (tmp_path / "tree").exists()


def test_classify_names_labels_as_their_file_does(archive, tmp_path, capsys):
    own = tmp_path / "lab.yaml"
    own.write_text(
        PACKAGED.read_text(encoding="utf-8").replace("T2-weighted, fluid attenuated", "Dunkelwasser")
    )
    words = ["series", "classify", str(archive), "--model", "none", "--labels", str(own), "--json"]
    assert main(words) == 0
    assert json.loads(_said(capsys)[0])["series"][0]["name"] == "Dunkelwasser"


def test_without_torch_it_says_that_torch_is_missing(archive, capsys, monkeypatch):
    monkeypatch.setattr(series_commands, "available", lambda name: name != "torch")
    assert main(["series", "classify", str(archive)]) == 0
    said = _said(capsys)[1]
    assert "a model needs torch, which is not installed" in said and "no model yet" not in said


@pytest.mark.parametrize("epochs", [16, 20])
def test_training_says_how_to_use_a_model_that_is_not_the_default(epochs, tmp_path, capsys, monkeypatch):
    from radfoundry.series import default

    made = SimpleNamespace(
        trained={"history": [{"tags": 1.0, "pixels": 1.0, "both": float("nan"), "nll": 1.0}]}
    )
    monkeypatch.setattr(default, "drawn", lambda *_, **__: [1])
    monkeypatch.setattr(default, "fit_and_save", lambda *_, **__: made)
    assert main(["series", "train", "--epochs", str(epochs), "--store", str(tmp_path)]) == 0
    out, err = _said(capsys)
    assert (f"--model {out.split(':')[0]}" in err) == (epochs != default.Recipe().training.epochs)


BESIDE = "passed over: 5 unreadable, 2 not DICOM, 1 hidden, 1 link out of the folder\n"


def _beside(archive: Path) -> None:
    """A series of five cut-off files, a link out, a hidden folder, a zip and a NIfTI, beside a good one."""
    put(archive / "broken", *(mr(k, SeriesInstanceUID="1.2.5") for k in range(5)))
    for path in (archive / "broken").iterdir():
        path.write_bytes(path.read_bytes()[:140])
    (archive / "linked").symlink_to(put(archive.parent / "outside", mr(1, SeriesInstanceUID="1.2.6")))
    put(archive / ".hidden", mr(1, SeriesInstanceUID="1.2.7"))
    (archive / "x.zip").write_bytes(b"PK\3\4junk")
    (archive / "y.nii").write_bytes(bytes(400))


def _words(verb: str, archive: Path, tmp_path: Path) -> list[str]:
    more = {"classify": [], "evaluate": ["--truth", str(_truth(archive, "T2-FLAIR"))],
            "organise": ["--out", str(tmp_path / "tree")]}[verb]  # fmt: skip
    return ["series", verb, str(archive), "--model", "none", *more]


@pytest.mark.parametrize(("verb", "code"), [("classify", 1), ("organise", 1), ("evaluate", 0)])
def test_what_was_passed_over_is_told_and_unreadable_files_end_in_one(verb, code, archive, tmp_path, capsys):
    words = _words(verb, archive, tmp_path)
    assert main(words) == 0
    assert "passed over" not in _said(capsys)[1]
    _beside(archive)
    assert main([*words, "--json"]) == code
    out, err = _said(capsys)
    assert BESIDE in err
    told = json.loads(out)["passed_over"]
    assert told == {"unreadable": 5, "not DICOM": 2, "hidden": 1, "link out of the folder": 1}


@pytest.mark.parametrize("verb", ["classify", "organise"])
def test_what_is_no_dicom_is_told_and_ends_in_zero(verb, archive, tmp_path, capsys):
    (archive / "readme.txt").write_text("hello")
    assert main(_words(verb, archive, tmp_path)) == 0
    assert "passed over: 1 not DICOM\n" in _said(capsys)[1]


@pytest.mark.parametrize("verb", ["classify", "organise"])
def test_a_folder_that_cannot_be_listed_is_told_and_ends_in_one(verb, archive, tmp_path, capsys, monkeypatch):
    (archive / "locked").mkdir()
    real = os.scandir

    def scandir(path="."):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert main(_words(verb, archive, tmp_path)) == 1
    assert "passed over: 1 unreadable folder\n" in _said(capsys)[1]


@pytest.mark.parametrize("verb", ["classify", "organise", "evaluate"])
def test_people_under_one_patient_id_are_told_without_their_names(verb, archive, tmp_path, capsys):
    for name, birth in (("a", "19500101"), ("b", "20100101")):
        put(archive / name, mr(SeriesInstanceUID=f"1.{ord(name)}", StudyInstanceUID=f"1.2.{ord(name)}",
                               PatientID="ANON", PatientName="Doe^J", PatientBirthDate=birth))  # fmt: skip
    assert main([*_words(verb, archive, tmp_path), "--json"]) == 0
    out, err = _said(capsys)
    line = "one Patient ID stands for 2 people by birth date, sex or name: sub-"
    assert line in err
    told = json.loads(out)
    assert [warning.startswith(line) for warning in told["warnings"]] == [True]
    if verb != "evaluate":
        assert "its Patient ID is of 2 people" in str(told["series"])
    assert not any(word in out + err for word in ("ANON", "Doe", "19500101", "20100101"))


def test_organise_loses_no_image_where_an_anonymiser_made_all_uids_alike(archive, tmp_path, capsys):
    same = {"SOPInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3"}
    rng = np.random.default_rng(0)
    for patient, numbers in (("P1", (1, 2, 3)), ("P2", (1, 2, 3)), ("P3", (None, None, None))):
        pixels = rng.integers(0, 500, (3, 4, 4)).astype(np.uint16)
        put(archive / patient, *(mr(1, pixels=image, PatientID=patient, **{**same, "InstanceNumber": n})
                                 for n, image in zip(numbers, pixels)))  # fmt: skip
    assert _organise(archive, "--out", str(tmp_path / "tree")) == 1
    assert "1 with a problem" in _said(capsys)[1]
    given = sorted(path.read_bytes() for path in archive.rglob("*.dcm"))
    assert sorted(path.read_bytes() for path in (tmp_path / "tree").rglob("*.dcm")) == given
    index = pd.read_csv(tmp_path / "tree" / "index.csv", dtype=str).set_index("path_in")
    assert len(set(index["subject"])) == len(set(index["uid"])) == 4
    assert index["problem"]["P3"].startswith("3 images share SOP Instance UIDs, and neither number")
    assert "its Series Instance UID stands for 3 series" in index["notes"]["P1"]


def test_evaluate_prints_how_accuracy_grows_as_the_least_sure_are_left_out(archive, two, capsys):
    truth = archive.parent / "truth.csv"
    truth.write_text("series_dir,modality\nflair,T2-FLAIR\nt2,T1\n")
    put(archive / "empty", mr(1, SeriesInstanceUID="1.2.10", EchoTime=None, RepetitionTime=None))
    truth.write_text(truth.read_text() + "empty,T1\n")
    assert main(["series", "evaluate", str(archive), "--truth", str(truth), "--model", "none"]) == 0
    lines = _said(capsys)[0].splitlines()
    (start,) = [i for i, line in enumerate(lines) if line.split()[:3] == ["coverage", "n", "accuracy"]]
    assert lines[start].split() == ["coverage", "n", "accuracy", "low", "high", "confidence"]
    points = [line.split() for line in lines[start + 1 : start + 3]]
    assert [point[:3] for point in points] == [["0.667", "2", "0.500"], ["1.000", "3", "0.333"]]
    assert all(float(low) <= float(accuracy) <= float(high) for _, _, accuracy, low, high, _ in points)


@pytest.mark.parametrize("place", ["c.csv", "flair/deep/c.csv"])
@pytest.mark.parametrize("verb", ["classify", "evaluate", "train"])
def test_nothing_is_written_into_the_input(verb, place, archive, tmp_path, capsys):
    truth = _truth(archive, "T1")
    (tmp_path / "link").symlink_to(archive)
    words = {"classify": [str(archive)], "evaluate": [str(archive), "--truth", str(truth)],
             "train": ["--dir", str(archive), "--truth", str(truth)]}[verb]  # fmt: skip
    before = sorted(archive.rglob("*"))
    for out in (archive / place, tmp_path / "link" / place):
        assert main(["series", verb, *words, "--out", str(out)]) == 2
        assert "which is never changed" in _said(capsys)[1]
    assert sorted(archive.rglob("*")) == before
