"""What leaves the house: no folder, no UID, no legible picture; and corrections match all the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.series.find import Series, find
from radfoundry.series.header import SeriesHeader
from radfoundry.series.origin import hidden_uid, unshown, without_origin
from radfoundry.series.verdict import Verdict
from tests.series.made import mr, put

SCANNER = "1.3.12.2.1107.5.2.43.66012"
"""Part of the UIDs below: a vendor's root and the number of a scanner."""
FLAIR = {"EchoTime": 120.0, "RepetitionTime": 9000.0, "InversionTime": 2500.0}
BOTH = pytest.mark.parametrize("switch", ["--hide-origin", "--hide-paths"])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    rng = np.random.default_rng(0)
    uids = {"SeriesInstanceUID": f"{SCANNER}.2020010112", "StudyInstanceUID": f"{SCANNER}.20200101"}
    put(folder / "DOE^JOHN 1950-01-01",
        *(mr(k, pixels=rng.integers(0, 500, (32, 32)).astype(np.uint16), **FLAIR, **uids,
             SOPInstanceUID=f"{SCANNER}.5.{k}") for k in range(1, 21)))  # fmt: skip
    return folder


def said_and_written(folder: Path, *texts: str) -> bytes:
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    return b"\n".join([*written, *(text.encode() for text in texts)])


def truth(archive: Path) -> Path:
    path = archive.parent / "truth.csv"
    path.write_text(f"series_uid,modality\n{SCANNER}.2020010112,T1\n")
    return path


def words(verb: str, archive: Path, out: Path) -> list[str]:
    more = {
        "classify": ["--out", str(out / "v.csv"), "--trace"],
        "evaluate": ["--out", str(out / "v.csv"), "--truth", str(truth(archive))],
        "bids": ["--out", str(out / "tree"), "--layout", "bids"],
        "dicom": ["--out", str(out / "tree"), "--layout", "dicom"],
        "sheet": ["--out", str(out / "tree"), "--layout", "sheet"],
    }[verb]
    verb = verb if verb in ("classify", "evaluate") else "organise"
    return ["series", verb, str(archive), "--model", "none", *more]


@BOTH
@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize("verb", ["classify", "evaluate", "bids", "dicom", "sheet"])
def test_nothing_that_is_printed_or_written_says_where_series_came_from(
    verb: str, json_too: bool, switch: str, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    more = ["--json"] if json_too else []
    main([*words(verb, archive, out), *more, switch])
    told = said_and_written(out, *capsys.readouterr())
    assert b"path-" in told
    assert not [word for word in (b"DOE", b"1950-01-01", b"66012", b"1.3.12.2") if word in told]
    main([*words(verb, archive, out), *more])
    assert b"DOE" in said_and_written(out, *capsys.readouterr())


def corrected(path: Path, uid: str, modality: str) -> Path:
    entry = {"uid": uid, "modality": modality}
    path.write_text(json.dumps({"format": 1, "corrections": [entry]}))
    return path


def label(tree: Path) -> str:
    return str(pd.read_csv(tree / "index.csv", dtype=str)["label"][0])


@BOTH
def test_a_correction_of_a_tree_without_uids_stays_in_force(
    switch: str, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, how = tmp_path / "tree", ["series", "organise", str(archive), "--model", "none", "--quiet"]
    how += ["--out", str(tree)]
    assert main([*how, switch]) == 0
    uid = str(pd.read_csv(tree / "index.csv", dtype=str)["uid"][0])
    assert f'data-uid="{uid}"' in (tree / "sheet.html").read_text() and uid.startswith("uid-")
    assert main([*how, switch, "--corrections", str(corrected(tmp_path / "c.json", uid, "SWI"))]) == 0
    assert "1 of 1 corrections are of series here" in capsys.readouterr().err
    for more in ([switch], []):
        assert main([*how, *more]) == 0
        assert "corrections in force: 1" in capsys.readouterr().err and label(tree) == "SWI"
    assert b"66012" not in (tree / "corrections.jsonl").read_bytes()
    log = ["series", "evaluate", str(archive), "--truth", str(tree / "corrections.jsonl"), "--model", "none"]
    assert main(log) == 0
    assert "SWI, called T2-FLAIR" in capsys.readouterr().out


def test_corrections_made_before_lose_their_uids_and_stay_in_force(archive: Path, tmp_path: Path) -> None:
    tree, how = tmp_path / "tree", ["series", "organise", str(archive), "--model", "none", "--quiet"]
    how += ["--out", str(tree)]
    (series,) = find(archive)
    assert main([*how, "--corrections", str(corrected(tmp_path / "c.json", series.uid, "SWI"))]) == 0
    assert b"66012" in (tree / "corrections.jsonl").read_bytes()
    assert main([*how, "--hide-origin"]) == 0
    assert b"66012" not in (tree / "corrections.jsonl").read_bytes()
    assert label(tree) == "SWI"


@pytest.mark.parametrize("switch", [[], ["--hide-origin"]])
def test_a_correction_stays_with_its_series_when_another_has_the_uid_later(
    switch: list[str], archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, how = tmp_path / "tree", ["series", "organise", str(archive), "--model", "none", "--quiet", *switch]
    how += ["--out", str(tree)]
    (series,) = find(archive)
    assert main([*how, "--corrections", str(corrected(tmp_path / "c.json", series.uid, "SWI"))]) == 0
    place = str(pd.read_csv(tree / "index.csv")["path_out"][0])
    put(archive / "other", mr(1, PatientID="P2", SeriesInstanceUID=series.uid, StudyInstanceUID=series.study))
    for _ in range(2):  # the second call reads what the first one noted
        capsys.readouterr()
        main(how)
        assert "corrections in force: 1" in capsys.readouterr().err
        table = pd.read_csv(tree / "index.csv").set_index("path_out")
        assert len(table) == 2 and table.loc[place, ["label", "source"]].tolist() == ["SWI", "person"]


def test_the_picture_of_a_screenshot_is_not_in_the_sheet(archive: Path, tmp_path: Path) -> None:
    capture = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT", "ConversionType": "WSD",
               "ImageType": ["DERIVED", "SECONDARY"]}  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 500, (64, 64)).astype(np.uint16)
    put(archive / "shot", mr(1, pixels=noise, SeriesInstanceUID="1.2.5", **capture))
    put(archive / "burned", mr(1, pixels=noise, SeriesInstanceUID="1.2.6", BurnedInAnnotation="YES", **FLAIR))
    tree, how = tmp_path / "tree", ["series", "organise", str(archive), "--model", "none", "--quiet"]
    main([*how, "--out", str(tree)])
    page = (tree / "sheet.html").read_text()
    assert page.count("data:image/jpeg") == 1  # of the series of the fixture
    assert page.count("its pixels may name a patient") == 2
    main([*how, "--out", str(tree), "--corrections", str(corrected(tmp_path / "c.json", "1.2.5", "T1"))])
    assert (tree / "sheet.html").read_text().count("data:image/jpeg") == 1  # whatever a person calls it


@pytest.mark.parametrize(
    ("sop_class", "why"),
    [
        ("1.2.840.10008.5.1.4.1.1.7", "secondary capture"),
        ("1.2.840.10008.5.1.4.1.1.7.4", "secondary capture"),
        ("1.2.840.10008.5.1.4.1.1.77.1.4", "not MR"),  # VL photographic image, DICOM PS3.4 B.5
    ],
)
def test_a_picture_that_is_not_shown_has_its_true_reason(sop_class: str, why: str) -> None:
    header = SeriesHeader(values={"SOPClassUID": (sop_class,), "Modality": ("XC",)})
    assert unshown(header, Verdict("1", "other", kind="NOT-MR")) == why


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("DOE: no files; T1 → DOE", "path-{}: no files; T1 → DOE"),
        ("as 1.2.3.4.5.6 says", f"as {hidden_uid('1.2.3.4.5.6')} says"),
        ("syntax 1.2.840.10008.1.2.4.90", "syntax 1.2.840.10008.1.2.4.90"),
        ("TR 500, TE 10.5, version 1.0.20260724", "TR 500, TE 10.5, version 1.0.20260724"),
        ("bad UID 1.2.3.4.5.6.", f"bad UID {hidden_uid('1.2.3.4.5.6')}."),
        ("MR.1.2.3.4.5.6.dcm", f"MR.{hidden_uid('1.2.3.4.5.6')}.dcm"),
        ("id_1.2.3.4.5.6_x", f"id_{hidden_uid('1.2.3.4.5.6')}_x"),
        ("MR1.2.3.4.5.6.dcm", f"MR{hidden_uid('1.2.3.4.5.6')}.dcm"),
        ("1.2.3.4.5.6a", f"{hidden_uid('1.2.3.4.5.6')}a"),
        ("MR1.2.840.10008.1.2.4.90", "MR1.2.840.10008.1.2.4.90"),
        ("syntax 1.2.840.10008.1.2.4.90.", "syntax 1.2.840.10008.1.2.4.90."),
        ("MR.1.2.840.10008.1.2.4.90.dcm", "MR.1.2.840.10008.1.2.4.90.dcm"),
        ("odd uid ab-cd-ef-gh", f"odd uid {hidden_uid('ab-cd-ef-gh')}"),
    ],
)
def test_uids_and_folders_go_from_a_text_and_the_rest_stays(text: str, wanted: str) -> None:
    one = Series("ab-cd-ef-gh", "1.2", "", "", 1, "DOE", ())
    assert without_origin(text, one) == wanted.format(without_origin("DOE:", one)[5:-1])
