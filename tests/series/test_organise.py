"""Trees of classified series: what is placed, what is refused, and what an interruption leaves behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import DataElement, dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from radfoundry import optional
from radfoundry.errors import ReadError, RunError
from radfoundry.io.dicom import open_dicom
from radfoundry.series import bids, journal, naming
from radfoundry.series import organise as module
from radfoundry.series.dcm2niix_program import warnings_of
from radfoundry.series.find import Series, find
from radfoundry.series.organise import dicom_folders, index_rows, organise
from radfoundry.series.origin import hidden_uid
from radfoundry.series.verdict import Attributes, Verdict


def write_image(
    path: Path, series: str = "1.2.1", number: int = 1, *, patient: str = "P1", **elements: object
) -> None:
    """A readable MR image of 16 × 16 pixels."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"{series}.{number}"
    image.SeriesInstanceUID, image.StudyInstanceUID = series, "1.2"
    image.PatientID, image.PatientName, image.Modality, image.Manufacturer = (
        patient,
        "Doe^Jane",
        "MR",
        "SIEMENS",
    )
    image.StudyDate, image.SeriesNumber, image.InstanceNumber = "20200101", int(series.split(".")[-1]), number
    image.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 3.0 * number]
    image.PixelSpacing, image.SliceThickness = [1, 1], 3
    image.RepetitionTime, image.EchoTime, image.MRAcquisitionType = 500, 10, "2D"
    image.Rows = image.Columns = 16
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.PixelData = np.arange(256, dtype="<u2").tobytes()
    for name, value in elements.items():
        setattr(image, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for series in ("1.2.3", "1.2.4", "1.2.5"):
        for number in (1, 2, 3):
            write_image(tmp_path / "in" / "study" / f"s{series[-1]}" / f"{number}.dcm", series, number)
    return tmp_path / "in"


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}  # fmt: skip


def verdicts_of(series: list[Series], *labels: str) -> list[Verdict]:
    return [Verdict(one.uid, label, anatomy="Brain", attributes=Attributes("axial", "2D"))
            for one, label in zip(series, labels or ["T1"] * len(series))]  # fmt: skip


def images_in(out: Path) -> list[str]:
    return sorted(str(p.relative_to(out)) for p in out.rglob("*.dcm") if ".radfoundry" not in p.parts)


def test_the_dicom_tree_holds_every_byte_and_the_input_is_untouched(archive: Path, tmp_path: Path) -> None:
    before = digests(archive)
    series = find(archive)
    index = organise(series, verdicts_of(series, "T1", "T2*", "T2-FLAIR"), tmp_path / "out")
    assert digests(archive) == before
    subject = series[0].subject
    place = f"sub-{subject}/ses-1"
    assert images_in(tmp_path / "out") == [
        f"{place}/{name}/000{n}.dcm"
        for name in ("003-T1-axial", "004-T2star-axial", "005-T2-FLAIR-axial")
        for n in (1, 2, 3)
    ]
    copied = digests(tmp_path / "out")
    assert copied[f"{place}/003-T1-axial/0002.dcm"] == before["study/s3/2.dcm"]
    assert [row["path_out"] for row in index.rows] == [
        f"{place}/{n}" for n in ("003-T1-axial", "004-T2star-axial", "005-T2-FLAIR-axial")
    ]


def test_the_index_is_the_same_in_csv_and_parquet_and_names_no_patient(archive: Path, tmp_path: Path) -> None:
    series = find(archive)
    organise(series, verdicts_of(series), tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "index.csv")
    assert list(table["uid"]) == ["1.2.3", "1.2.4", "1.2.5"]
    assert list(table["path_in"]) == ["study/s3", "study/s4", "study/s5"]
    parquet = pd.read_parquet(tmp_path / "out" / "index.parquet")
    assert list(parquet.columns) == list(table.columns) == list(module.COLUMNS)
    assert list(parquet["path_out"]) == list(table["path_out"])
    for name in ("index.csv", "index.parquet", ".radfoundry/journal.jsonl"):
        content = (tmp_path / "out" / name).read_bytes()
        assert b"Doe" not in content
        assert b"P1" not in content.replace(b"PAR1", b"")


def test_hostile_text_is_no_formula_and_no_path(archive: Path, tmp_path: Path) -> None:
    series = [replace(one, where='=HYPERLINK("http://x")', subject="../../etc") for one in find(archive)]
    verdicts = [
        replace(v, modality="other", kind="../../../x y", trace=("@SUM(1)",)) for v in verdicts_of(series)
    ]
    index = organise(series, verdicts, tmp_path / "out", root=archive)
    assert {row["path_out"] for row in index.rows} == {f"sub-etc/ses-1/00{n}-xy-axial" for n in (3, 4, 5)}
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}
    table = pd.read_csv(tmp_path / "out" / "index.csv")
    assert set(table["path_in"]) == {'\'=HYPERLINK("http://x")'}
    assert set(table["trace"]) == {"'@SUM(1)"}


def test_a_second_call_copies_nothing_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = find(archive)
    first = organise(series, verdicts_of(series), tmp_path / "out")
    monkeypatch.setattr(shutil, "copyfile", lambda *_: pytest.fail("copied again"))
    second = organise(find(archive), verdicts_of(series), tmp_path / "out")
    assert second == first


@pytest.mark.parametrize("what", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_call_leaves_whole_series_and_the_next_goes_on(
    what: BaseException, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = find(archive)
    copy, out, seen = shutil.copyfile, tmp_path / "out", []

    def stops(source: Path, to: Path) -> None:
        seen.append(to)
        if len(seen) == 5:  # the second file of the second series
            raise what
        copy(source, to)

    monkeypatch.setattr(shutil, "copyfile", stops)
    with pytest.raises((KeyboardInterrupt, RunError)):
        organise(series, verdicts_of(series), out)
    assert [Path(name).parts[2] for name in images_in(out)] == ["003-T1-axial"] * 3
    assert not (out / "index.csv").exists()
    monkeypatch.setattr(shutil, "copyfile", lambda source, to: (seen.append(to), copy(source, to)))
    seen.clear()
    organise(series, verdicts_of(series), out)
    assert len(seen) == 6
    assert len(images_in(out)) == 9
    assert not (out / ".radfoundry" / "stage").exists()


def test_a_call_that_was_killed_while_placing_is_cleaned_up(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    journal = out / ".radfoundry" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:7])  # placed, but its end was cut short
    (out / json.loads(lines[-2])["files"][2]).unlink()
    organise(series, verdicts_of(series), out)
    assert len(images_in(out)) == 9
    assert json.loads(journal.read_text().splitlines()[-1]) == {"end": naming.series_key(series[2])}


def test_a_corrected_label_moves_its_series_and_leaves_no_empty_folder(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series, "T1", "T1", "T1"), out)
    organise(series, verdicts_of(series, "T1", "T2", "T1"), out)
    names = {Path(name).parts[2] for name in images_in(out)}
    assert names == {"003-T1-axial", "004-T2-axial", "005-T1-axial"}
    assert {p.name for p in out.glob("sub-*/ses-1/*")} == names


def test_two_series_may_swap_names(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    alike = [replace(one, number=7) for one in series]
    organise(alike, verdicts_of(alike, "T1", "T2", "T1"), out)
    index = organise(alike, verdicts_of(alike, "T2", "T1", "T1"), out)
    for row in index.rows:
        first = next(iter(sorted((out / row["path_out"]).iterdir())))
        assert open_dicom(first).get("SeriesInstanceUID") == row["uid"]


def test_a_changed_input_is_copied_again(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    write_image(archive / "study" / "s4" / "4.dcm", "1.2.4", 4)
    series = find(archive)
    organise(series, verdicts_of(series), out)
    assert len(images_in(out)) == 10


def test_names_that_clash_are_numbered_in_the_order_of_the_uids() -> None:
    series = [Series(uid, "1.2", "ab", "", 3, "x", ()) for uid in ("9", "7", "8")]
    verdicts = [Verdict("", "T1"), Verdict("", "T1"), Verdict("", "t1")]
    found = dicom_folders(series, verdicts, [("ab", 1)] * 3, {})
    assert [folder for _, _, folder in found] == [
        "sub-ab/ses-1/003-T1-3", "sub-ab/ses-1/003-T1", "sub-ab/ses-1/003-t1-2",
    ]  # fmt: skip


def test_instances_of_one_number_are_counted(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_image(tmp_path / "in" / f"{number}.dcm", "1.2.3", number, InstanceNumber=1)
    series = find(tmp_path / "in")
    organise(series, verdicts_of(series), tmp_path / "out")
    copies = sorted((tmp_path / "out").rglob("0*.dcm"))
    assert [p.name for p in copies] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    assert [str(open_dicom(p).get("SOPInstanceUID")) for p in copies] == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]


def test_links_share_their_bytes_with_the_input(archive: Path, tmp_path: Path) -> None:
    series = find(archive)
    organise(series, verdicts_of(series), tmp_path / "out", copy="link")
    one = tmp_path / "out" / f"sub-{series[0].subject}" / "ses-1" / "003-T1-axial" / "0001.dcm"
    assert os.path.samefile(one, archive / "study" / "s3" / "1.dcm")


def test_without_hard_links_files_are_copied(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuses)
    series = find(archive)
    organise(series, verdicts_of(series), tmp_path / "out", copy="link")
    assert len(images_in(tmp_path / "out")) == 9


def test_unsure_series_stay_out_when_asked_and_problems_do_not(archive: Path, tmp_path: Path) -> None:
    series = find(archive)
    series[2] = replace(series[2], problem="1 of 4 files unreadable")
    verdicts = verdicts_of(series)
    verdicts[1] = replace(verdicts[1], unsure=True)
    index = organise(series, verdicts, tmp_path / "out", only_sure=True)
    assert [row["left_out"] for row in index.rows] == ["", "unsure", ""]
    assert [bool(row["path_out"]) for row in index.rows] == [True, False, True]
    assert index.rows[2]["problem"] == "1 of 4 files unreadable"


def test_a_series_whose_files_are_gone_is_reported_and_the_rest_goes_on(
    archive: Path, tmp_path: Path
) -> None:
    series = find(archive)
    shutil.rmtree(archive / "study" / "s4")
    index = organise(series, verdicts_of(series), tmp_path / "out")
    assert [row["left_out"] for row in index.rows] == ["", "failed", ""]
    assert "s4" in index.rows[1]["problem"]
    assert len(images_in(tmp_path / "out")) == 6


@pytest.mark.parametrize("place", ["in/out", "in/study/s3/out", "in", ".", "in/study"])
def test_a_target_inside_or_around_the_input_is_refused(place: str, archive: Path, tmp_path: Path) -> None:
    before, series = digests(tmp_path), find(archive)
    with pytest.raises(RunError, match="lie within each other"):
        organise(series, verdicts_of(series), tmp_path / place)
    assert digests(tmp_path) == before


def test_a_link_that_leads_into_the_input_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(archive)
    series = find(archive)
    with pytest.raises(RunError, match="lie within each other"):
        organise(series, verdicts_of(series), tmp_path / "elsewhere" / "out")
    assert not (archive / "out").exists()


def test_a_link_inside_the_tree_does_not_lead_out_of_it(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    (tmp_path / "other").mkdir()
    shutil.move(out / f"sub-{series[0].subject}", tmp_path / "other" / "sub")
    (out / f"sub-{series[0].subject}").symlink_to(tmp_path / "other" / "sub")
    before = digests(tmp_path / "other")
    with pytest.raises(RunError, match="leads out"):
        organise(series, verdicts_of(series, "T2", "T2", "T2"), out)
    assert digests(tmp_path / "other") == before


def test_a_folder_of_somebody_else_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("mine")
    series = find(archive)
    with pytest.raises(RunError, match="not of an organised tree"):
        organise(series, verdicts_of(series), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.docx"]


def test_a_file_that_is_in_the_way_is_kept_and_told(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series[:1], verdicts_of(series[:1]), out)
    strange = out / f"sub-{series[0].subject}" / "ses-1" / "004-T1-axial"
    strange.mkdir()
    (strange / "0002.dcm").write_text("mine")
    index = organise(series, verdicts_of(series), out)
    assert index.rows[1]["left_out"] == "failed"
    assert "004-T1-axial/0002.dcm is in the tree already" in index.rows[1]["problem"]
    assert {p.name: p.read_text() for p in strange.iterdir()} == {"0002.dcm": "mine"}
    assert index.rows[2]["path_out"]


@pytest.mark.parametrize("change", ["a correction", "the input"])
def test_a_file_that_a_person_put_beside_images_stays(change: str, archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    place = out / organise(series, verdicts_of(series), out).rows[1]["path_out"]
    (place / "my_segmentation.nii").write_text("mine")
    if change == "the input":
        write_image(archive / "study" / "s4" / "4.dcm", "1.2.4", 4)
        series = find(archive)
    index = organise(series, verdicts_of(series, "T1", "T2" if change == "a correction" else "T1", "T1"), out)
    assert (place / "my_segmentation.nii").read_text() == "mine"
    moved = out / index.rows[1]["path_out"]
    assert len(list(moved.glob("*.dcm"))) == (3 if change == "a correction" else 4)
    if change == "a correction":
        assert moved != place and [p.name for p in place.iterdir()] == ["my_segmentation.nii"]
        assert any("004-T1-axial was kept: it holds 1 file" in note for note in index.rows[1]["notes"])
    else:
        assert moved == place and index.rows[1]["notes"] == ()


def test_a_file_that_a_person_added_to_a_series_left_out_later_stays_and_is_told(
    archive: Path, tmp_path: Path
) -> None:
    series, out = find(archive), tmp_path / "out"
    place = out / organise(series, verdicts_of(series), out).rows[1]["path_out"]
    (place / "notes").mkdir()
    (place / "notes" / "a.txt").write_text("mine")
    verdicts = verdicts_of(series)
    verdicts[1] = replace(verdicts[1], unsure=True)
    index = organise(series, verdicts, out, only_sure=True)
    assert [p.name for p in place.rglob("*")] == ["notes", "a.txt"]
    assert index.rows[1]["left_out"] == "unsure" and "was kept" in index.rows[1]["notes"][-1]


def test_a_tree_of_an_earlier_format_is_named_as_such(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    journal = out / ".radfoundry" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"format": 3', '"format": 2'))
    with pytest.raises(RunError, match="made by another version"):
        organise(series, verdicts_of(series, "T2", "T2", "T2"), out)


def test_a_tree_of_another_input_or_layout_is_refused(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    before = digests(out)
    with pytest.raises(RunError, match="2 series of another input"):
        organise(series[:1], verdicts_of(series[:1]), out)
    with pytest.raises(RunError, match="another layout"):
        organise(series, verdicts_of(series), out, layout="bids")
    with pytest.raises(RunError, match="a tree already"):
        organise(series, verdicts_of(series), out, resume=False)
    assert digests(out) == before


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[1]",
        "no json",
        '{"begin": "x", "files": ["../in"], "digest": "", "target": "", "held": "", "notes": []}',
    ],
)
def test_a_damaged_journal_is_refused(line: str, archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    journal = out / ".radfoundry" / "journal.jsonl"
    journal.write_text(journal.read_text() + line + "\n")
    with pytest.raises(RunError, match="damaged"):
        organise(series, verdicts_of(series), out)
    assert archive.exists()


def test_two_calls_at_once_do_not_share_a_tree(archive: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    with FileLock(out / ".radfoundry" / "lock"), pytest.raises(RunError, match="another call"):
        organise(series, verdicts_of(series), out)


def test_a_read_only_target_is_told(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    series = find(archive)
    monkeypatch.setattr(Path, "mkdir", refuses)
    with pytest.raises(RunError, match="cannot be written: Read-only file system"):
        organise(series, verdicts_of(series), tmp_path / "out")


def test_a_target_that_is_a_file_is_told(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    series = find(archive)
    with pytest.raises(RunError, match="is a file"):
        organise(series, verdicts_of(series), tmp_path / "out")
    with pytest.raises(RunError, match="cannot be written"):
        organise(series, verdicts_of(series), tmp_path / "out" / "below")


def test_too_little_space_is_told_before_anything_is_copied(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 100))
    series = find(archive)
    with pytest.raises(RunError, match="free, but the series need"):
        organise(series, verdicts_of(series), tmp_path / "out")
    assert images_in(tmp_path / "out") == []


def test_without_dcm2niix_every_series_says_so(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "available", lambda _: False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    series = find(archive)
    index = organise(series, verdicts_of(series), tmp_path / "out", layout="bids")
    assert {row["left_out"] for row in index.rows} == {"failed"}
    assert all("radfoundry[series" in row["problem"] for row in index.rows)
    assert (tmp_path / "out" / "index.csv").exists()


def test_progress_counts_series(archive: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    series = find(archive)
    organise(series, verdicts_of(series), tmp_path / "out", progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_an_interrupt_between_two_images_of_a_series_leaves_neither(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(one: Series, target: bids.Target, stage: Path, **_: object) -> bids.Converted:
        files = [(stage / f"{echo}", f"{target.folder}/{target.stem}_echo-{echo}.nii.gz") for echo in (1, 2)]
        for path, _ in files:
            path.write_text(one.uid)
        return bids.Converted(tuple(files))

    rename, renamed = os.rename, []

    def stops(source: Path, to: Path) -> None:
        renamed.append(to)
        if len(renamed) == 4:  # the second image of the second series
            raise KeyboardInterrupt
        rename(source, to)

    monkeypatch.setattr(bids, "convert", convert)
    monkeypatch.setattr(os, "rename", stops)
    series, out = find(archive), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        organise(series, verdicts_of(series, "T1", "T2", "T1c"), out, layout="bids")
    assert [path.name.split("_")[3] for path in sorted(out.rglob("*.nii.gz"))] == ["T1w", "T1w"]
    organise(series, verdicts_of(series, "T1", "T2", "T1c"), out, layout="bids")
    assert len(renamed) == 8  # what was whole was not made again
    assert len(list(out.rglob("*.nii.gz"))) == 6


@pytest.mark.filterwarnings("ignore:.*VR")
def test_a_series_number_of_nonsense_does_not_stop_the_index(archive: Path, tmp_path: Path) -> None:
    write_image(archive / "odd" / "1.dcm", "1.2.6")
    path = archive / "odd" / "1.dcm"
    image = dcmread(path)
    image["SeriesNumber"] = DataElement(0x00200011, "UN", b"1e25")
    image["InstanceNumber"] = DataElement(0x00200013, "UN", b"9" * 300)
    image.save_as(path)
    series = find(archive)
    index = organise(series, verdicts_of(series), tmp_path / "out")
    assert [row["number"] for row in index.rows] == [3, 4, 5, None]
    assert index.rows[3]["path_out"].endswith("/000-T1-axial")
    assert images_in(tmp_path / "out")[0].endswith("000-T1-axial/0001.dcm")


def test_one_uid_in_two_studies_makes_two_rows_with_ids_of_their_own(archive: Path, tmp_path: Path) -> None:
    write_image(archive / "again" / "1.dcm", "1.2.4", StudyInstanceUID="1.9")
    series = find(archive)
    index = organise(series, verdicts_of(series, "T1", "T1", "T1", "T2"), tmp_path / "out")
    ids = [row["uid"] for row in index.rows]
    assert len(set(ids)) == 4 and [uid for uid in ids if "-" not in uid] == ["1.2.3", "1.2.5"]
    assert len(images_in(tmp_path / "out")) == 10


@pytest.mark.parametrize("layout", ["dicom", "sheet"])
def test_folder_names_stay_out_of_the_index_when_asked(layout: str, archive: Path, tmp_path: Path) -> None:
    (archive / "study").rename(archive / "DOE^JOHN 1950-01-01")
    series, out = find(archive), tmp_path / "out"
    verdicts = verdicts_of(series)
    lost = series[0].files[0].path
    verdicts[0] = replace(verdicts[0], trace=("TR 500 → T1", f"pixels not read: {lost} is damaged"))
    shutil.rmtree(archive / "DOE^JOHN 1950-01-01" / "s5")
    if layout == "dicom":
        index = organise(series, verdicts, out, hide_origin=True)
        assert "DOE" not in (out / "index.csv").read_text()
        assert b"DOE" not in (out / "index.parquet").read_bytes()
        assert index.rows[2]["left_out"] == "failed"
    else:
        index = index_rows(series, verdicts, hide_origin=True)
    assert "DOE" not in json.dumps(index.rows)
    assert len({row["path_in"] for row in index.rows}) == 3
    assert index.rows[0]["trace"][0] == "TR 500 → T1"
    assert index.rows[0]["trace"][1].endswith(" is damaged")


def test_a_placed_series_that_went_missing_is_placed_again(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    shutil.rmtree(out / organise(series, verdicts_of(series), out).rows[1]["path_out"])
    organise(series, verdicts_of(series), out)
    assert len(images_in(out)) == 9


# --- what stays where a person works


def later(archive: Path, series: str, study: str, date: str, folder: str = "later") -> None:
    for number in (1, 2, 3):
        write_image(
            archive / folder / f"{number}.dcm", series, number, StudyInstanceUID=study, StudyDate=date
        )


def test_an_older_study_that_arrives_later_takes_the_next_number_and_no_image_moves(
    archive: Path, tmp_path: Path
) -> None:
    series, out = find(archive), tmp_path / "out"
    before = [row["path_out"] for row in organise(series, verdicts_of(series), out).rows]
    mask = out / before[0] / "mask.nii"
    mask.write_text("of the study of 2020")
    later(archive, "1.2.3.9", "1.1", "20100101")
    series = find(archive)
    rows = organise(series, verdicts_of(series), out).rows
    old, *known = rows if rows[0]["path_in"] == "later" else (rows[-1], *rows[:-1])
    assert [row["path_out"] for row in known] == before and {row["session"] for row in known} == {1}
    assert (old["session"], old["path_out"].split("/")[1]) == (2, "ses-2")
    told = "sessions are numbered as they came; in order of date they are 2, 1"
    assert all(told in row["notes"] for row in rows)
    assert [path.name for path in sorted(mask.parent.iterdir())][-1] == "mask.nii"
    later(archive, "1.2.3.8", "1.3", "20300101", "last")
    series = find(archive)
    rows = organise(series, verdicts_of(series), out).rows
    assert {row["path_in"]: row["session"] for row in rows}["last"] == 3
    assert [row["path_out"] for row in rows if row["session"] == 1] == before


def test_a_study_keeps_its_number_though_nothing_of_it_is_in_the_tree(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    unsure = [replace(verdict, unsure=True) for verdict in verdicts_of(series)]
    organise(series, unsure, out, only_sure=True)
    later(archive, "1.2.3.9", "1.1", "20100101")
    series = find(archive)
    rows = organise(series, verdicts_of(series), out).rows
    assert {row["path_in"]: row["session"] for row in rows} == {
        "study/s3": 1, "study/s4": 1, "study/s5": 1, "later": 2,
    }  # fmt: skip


def test_sessions_in_order_of_date_need_no_note(archive: Path, tmp_path: Path) -> None:
    later(archive, "1.2.3.9", "1.1", "20100101")
    series = find(archive)
    rows = organise(series, verdicts_of(series), tmp_path / "out").rows
    assert {row["path_in"]: row["session"] for row in rows}["later"] == 1
    assert all(row["notes"] == () for row in rows)


@pytest.mark.parametrize("layout", ["dicom", "bids"])
def test_of_equal_names_each_series_keeps_its_own_and_no_other_ever_gets_it(
    layout: module.Layout, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bids, "convert", converted)
    alike = [replace(one, number=7) for one in find(archive)]
    out = tmp_path / "out"

    def places(series: list[Series], *labels: str) -> dict[str, str]:
        rows = organise(series, verdicts_of(series, *labels), out, layout=layout).rows
        return {row["uid"][-1]: row["path_out"] for row in rows}

    first = places(alike[1:], "T1", "T1")
    both = places(alike, "T1", "T1", "T1")
    assert {uid: both[uid] for uid in "45"} == first and len(set(both.values())) == 3
    moved = places(alike, "T1", "T2", "T1")
    assert {uid: moved[uid] for uid in "35"} == {uid: both[uid] for uid in "35"}
    assert places(alike, "T1", "T1", "T1") == both
    swapped = places(alike, "T2", "T1", "T1")
    assert {uid: swapped[uid] for uid in "45"} == {uid: both[uid] for uid in "45"}
    assert swapped["3"] not in {*both.values(), moved["4"]}


def converted(one: Series, target: bids.Target, stage: Path, **_: object) -> bids.Converted:
    """Stands in for dcm2niix: an image that says of which files it was made."""
    (stage / "image").write_text(f"{one.uid} of {len(one.files)} files")
    return bids.Converted(((stage / "image", target.path),))


def fails(one: Series, target: bids.Target, stage: Path, **_: object) -> bids.Converted:
    raise ReadError(f"{one.where}: dcm2niix failed")


def damaged(series: list[Series]) -> list[Series]:
    """The second of the series has one file less, and says so."""
    return [replace(one, files=one.files[:2], problem="1 of 3 files unreadable") if i == 1 else one
            for i, one in enumerate(series)]  # fmt: skip


@pytest.mark.parametrize("layout", ["dicom", "bids"])
def test_an_image_stays_when_its_series_is_damaged_later(
    layout: module.Layout, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bids, "convert", converted)
    series, out = find(archive), tmp_path / "out"
    place = organise(series, verdicts_of(series), out, layout=layout).rows[1]["path_out"]
    before = {name: d for name, d in digests(out).items() if name.startswith("sub-")}
    for only_sure in (False, True):
        verdicts = verdicts_of(series, "T1", "T2", "T1")
        verdicts[1] = replace(verdicts[1], unsure=only_sure)
        index = organise(damaged(series), verdicts, out, layout=layout, only_sure=only_sure)
        row = index.rows[1]
        assert (row["path_out"], row["left_out"], row["problem"]) == (place, "", "1 of 3 files unreadable")
        assert module.KEPT in row["notes"]
        assert {name: d for name, d in digests(out).items() if name.startswith("sub-")} == before
    whole = organise(series, verdicts_of(series, "T1", "T2", "T1"), out, layout=layout).rows[1]
    assert whole["path_out"] != place and not (out / place).exists() and whole["notes"] == ()


def test_an_image_stays_until_the_one_that_replaces_it_is_there(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bids, "convert", converted)
    series, out = find(archive), tmp_path / "out"
    place = organise(series, verdicts_of(series), out, layout="bids").rows[1]["path_out"]
    monkeypatch.setattr(bids, "convert", fails)
    row = organise(series, verdicts_of(series, "T1", "T2", "T1"), out, layout="bids").rows[1]
    assert (row["path_out"], row["left_out"]) == (place, "") and "dcm2niix failed" in row["problem"]
    assert (out / place).read_text() == "1.2.4 of 3 files"
    monkeypatch.setattr(bids, "convert", converted)
    row = organise(series, verdicts_of(series, "T1", "T2", "T1"), out, layout="bids").rows[1]
    assert row["path_out"].endswith("_T2w.nii.gz") and not (out / place).exists()
    (out / row["path_out"]).unlink()  # now there is nothing to keep
    monkeypatch.setattr(bids, "convert", fails)
    row = organise(series, verdicts_of(series, "T1", "T2", "T1"), out, layout="bids").rows[1]
    assert (row["path_out"], row["left_out"]) == ("", "failed")


@pytest.mark.parametrize("stop", [1, 2, 4, 5])
@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_replacement_leaves_the_image_that_was_there(
    killed: bool, stop: int, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    before = {name: d for name, d in digests(out).items() if name.startswith("sub-")}
    rename, renamed = os.rename, []

    def stops(source: Path, to: Path) -> None:
        renamed.append(to)
        if len(renamed) == stop:  # three files set aside, then three put in place
            raise KeyboardInterrupt
        rename(source, to)

    write_image(archive / "study" / "s4" / "1.dcm", "1.2.4", 1, EchoTime=99)
    series = find(archive)
    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(os, "rename", stops)
        if killed:
            during.setattr(journal.Journal, "_undo", lambda *_: None)
        organise(series, verdicts_of(series), out)
    if killed:
        assert {name: d for name, d in digests(out).items() if name.startswith("sub-")} != before or stop == 1
        monkeypatch.setattr(module, "_to_folder", lambda *_: (_ for _ in ()).throw(ReadError("unreadable")))
        organise(series, verdicts_of(series), out)
    assert {name: d for name, d in digests(out).items() if name.startswith("sub-")} == before
    monkeypatch.undo()
    organise(series, verdicts_of(series), out)
    assert len(images_in(out)) == 9
    assert {name: d for name, d in digests(out).items() if name.startswith("sub-")} != before
    assert not list((out / ".radfoundry" / "aside").glob("*"))


def test_files_left_aside_by_one_killed_call_are_never_put_back_for_another_series(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    remove = shutil.rmtree

    def killed(path: Path, **how: object) -> None:
        if Path(path).name == "aside" and any(Path(path).iterdir()):
            raise KeyboardInterrupt
        remove(path, **how)  # type: ignore[call-overload]

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(shutil, "rmtree", killed)  # the first series is in place, its old files still aside
        organise(series, verdicts_of(series, "T2", "T1", "T1"), out)
    assert len(list((out / ".radfoundry" / "aside").iterdir())) == 3
    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(journal.Journal, "_set_aside", stopped)  # the second is begun, nothing of it is moved
        during.setattr(journal.Journal, "_undo", lambda *_: None)
        organise(series, verdicts_of(series, "T2", "T2", "T1"), out)
    index = organise(series, verdicts_of(series, "T2", "T1", "T1"), out)
    for row in index.rows:
        placed = [dcmread(path).SeriesInstanceUID for path in (out / row["path_out"]).glob("*.dcm")]
        assert placed == [row["uid"]] * 3


def test_an_aside_folder_that_cannot_be_cleared_stops_the_call_before_a_series_is_begun(
    archive: Path, tmp_path: Path
) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    (out / ".radfoundry" / "aside").write_text("no folder")
    before = digests(out)
    with pytest.raises(RunError, match="cannot be written"):
        organise(series, verdicts_of(series, "T2", "T1", "T1"), out)
    assert digests(out) == before


@pytest.mark.parametrize("kind", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_line_that_was_written_in_part_does_not_ruin_the_journal(
    kind: BaseException, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    before = {name: d for name, d in digests(out).items() if name.startswith("sub-")}
    sync, synced = os.fsync, []

    def full(file: int) -> None:
        synced.append(file)
        if len(synced) == 2:  # "begin", then "end"
            os.ftruncate(file, os.fstat(file).st_size - 9)
            raise kind
        sync(file)

    with monkeypatch.context() as during, pytest.raises((RunError, KeyboardInterrupt)):
        during.setattr(os, "fsync", full)
        organise(series, verdicts_of(series, "T2", "T1", "T1"), out)
    assert {name: d for name, d in digests(out).items() if name.startswith("sub-")} == before
    lines = (out / ".radfoundry" / "journal.jsonl").read_text().splitlines()
    assert [next(iter(json.loads(line))) for line in lines[-2:]] == ["begin", "void"]
    assert "003-T2" in organise(series, verdicts_of(series, "T2", "T1", "T1"), out).rows[0]["path_out"]


def test_a_call_that_is_refused_gives_no_session_number_away(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    shutil.copytree(archive, tmp_path / "whole")
    later(tmp_path / "whole", "1.2.3.7", "1.7", "20210101", "never")
    whole = find(tmp_path / "whole")
    with monkeypatch.context() as during, pytest.raises(RunError, match="free, but the series need"):
        usage = namedtuple("usage", "total used free")
        during.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 100))
        organise(whole, verdicts_of(whole), out)
    with pytest.raises(RunError, match="another input"):
        organise(whole[-1:], verdicts_of(whole[-1:]), out)
    later(archive, "1.2.3.9", "1.9", "20220101")
    series = find(archive)
    rows = organise(series, verdicts_of(series), out).rows
    assert {row["path_in"]: row["session"] for row in rows}["later"] == 2
    assert all(row["notes"] == () for row in rows)


@pytest.mark.parametrize("more", [{"patient": "P2"}, {"SeriesNumber": 7}], ids=["person", "series number"])
def test_a_series_whose_uid_another_has_later_keeps_its_place_and_the_other_is_added(
    more: dict[str, object], archive: Path, tmp_path: Path
) -> None:
    series, out = find(archive), tmp_path / "out"
    first = {row["path_in"]: row["path_out"] for row in organise(series, verdicts_of(series), out).rows}
    before = digests(out / first["study/s4"])
    write_image(archive / "later" / "1.dcm", "1.2.4", 9, **more)  # type: ignore[arg-type]
    series = find(archive)
    for _ in range(2):  # the second call finds what the first one noted
        rows = {row["path_in"]: row for row in organise(series, verdicts_of(series), out).rows}
        assert {name: rows[name]["path_out"] for name in first} == first
        assert digests(out / first["study/s4"]) == before and len(images_in(out)) == 10
        assert rows["later"]["path_out"] not in {"", *first.values()}
    write_image(archive / "study" / "s4" / "1.dcm", "1.2.4", 1, EchoTime=99)
    series = find(archive)
    rows = {row["path_in"]: row for row in organise(series, verdicts_of(series), out).rows}
    assert rows["study/s4"]["path_out"] == first["study/s4"]
    assert digests(out / first["study/s4"]) != before


def test_a_series_that_shares_its_uid_and_changed_too_stops_the_call_and_nothing_is_touched(
    archive: Path, tmp_path: Path
) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    before = digests(out)
    write_image(archive / "later" / "1.dcm", "1.2.4", 9, patient="P2")
    write_image(archive / "study" / "s4" / "1.dcm", "1.2.4", 1, EchoTime=99)
    series = find(archive)
    with pytest.raises(RunError, match="holds 1 series of another input, or of a Series Instance UID"):
        organise(series, verdicts_of(series), out)
    assert digests(out) == before


def test_a_replacement_that_was_killed_is_taken_back_though_the_uid_is_shared_since(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    before = {name: d for name, d in digests(out).items() if name.startswith("sub-")}
    rename = os.rename

    def stops(source: Path, to: Path) -> None:
        if "004-T2-" in str(to):
            raise KeyboardInterrupt
        rename(source, to)

    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(os, "rename", stops)
        during.setattr(journal.Journal, "_undo", lambda *_: None)
        organise(series, verdicts_of(series, "T1", "T2", "T1"), out)
    write_image(archive / "later" / "1.dcm", "1.2.4", 9, patient="P2")
    series, copied = find(archive), []
    to_folder = module._to_folder

    def counted(one: Series, *how: object) -> bids.Converted:
        copied.append(one.where)
        return to_folder(one, *how)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_to_folder", counted)
    organise(series, verdicts_of(series), out)
    after = digests(out)
    assert {name: after[name] for name in before} == before and len(images_in(out)) == 10
    assert copied == ["later"]  # put back, and not copied anew


def touched_alike(*folders: Path) -> None:
    for folder in folders:
        for path in folder.rglob("*.dcm"):
            os.utime(path, (1_600_000_000, 1_600_000_000))


def test_of_series_alike_in_files_the_one_of_the_same_person_is_known_again(
    archive: Path, tmp_path: Path
) -> None:
    """Names, sizes and times are the same: the person tells them apart, and without that nothing does."""
    touched_alike(archive)
    series, out = find(archive), tmp_path / "out"
    first = {row["path_in"]: row["path_out"] for row in organise(series, verdicts_of(series), out).rows}
    for number in (1, 2, 3):
        write_image(archive / "later" / f"{number}.dcm", "1.2.4", number, patient="P2")
    touched_alike(archive)
    series = find(archive)
    rows = {row["path_in"]: row["path_out"] for row in organise(series, verdicts_of(series), out).rows}
    assert {name: rows[name] for name in first} == first and rows["later"]
    assert rows["later"].split("/")[0] != rows["study/s4"].split("/")[0]

    other = tmp_path / "other"
    series = find(archive / "study")
    organise(series, verdicts_of(series), other)
    for number in (1, 2, 3):
        write_image(archive / "study" / "twin" / f"{number}.dcm", "1.2.4", number, SeriesNumber=7)
    touched_alike(archive)
    series = find(archive / "study")
    with pytest.raises(RunError, match="holds 1 series of another input"):
        organise(series, verdicts_of(series), other)


def test_a_uid_may_be_shared_by_ever_more_series_and_by_one_again(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    first = {row["path_in"]: row["path_out"] for row in organise(series, verdicts_of(series), out).rows}
    held, ids = dict(first), set()
    for folder, more in (("person", {"patient": "P2"}), ("number", {"SeriesNumber": 9})):
        write_image(archive / folder / "1.dcm", "1.2.4", 9, **more)  # type: ignore[arg-type]
        series = find(archive)
        rows = {row["path_in"]: row["path_out"] for row in organise(series, verdicts_of(series), out).rows}
        assert {name: rows[name] for name in held} == held
        held = rows
        ids |= {one.uid for one in series if one.where == "study/s4"}
    assert len(ids) == 1  # a correction that names it stays right
    fresh = tmp_path / "fresh"
    series = [one for one in find(archive) if one.where != "person"]
    verdicts = [replace(v, unsure=one.where == "number") for one, v in zip(series, verdicts_of(series))]
    before = {
        row["path_in"]: row["path_out"] for row in organise(series, verdicts, fresh, only_sure=True).rows
    }
    assert before["number"] == ""
    shutil.rmtree(archive / "number")
    shutil.rmtree(archive / "person")
    series = find(archive)
    rows = {row["path_in"]: row["path_out"] for row in organise(series, verdicts_of(series), fresh).rows}
    assert rows == {name: place for name, place in before.items() if name != "number"}


def test_a_file_in_the_way_of_a_folder_is_named_and_costs_no_image(archive: Path, tmp_path: Path) -> None:
    series, out = find(archive), tmp_path / "out"
    place = organise(series, verdicts_of(series), out).rows[0]["path_out"]
    (out / place).with_name("003-T2-axial").write_text("a note")
    row = organise(series, verdicts_of(series, "T2", "T1", "T1"), out).rows[0]
    assert row["path_out"] == place and len(images_in(out)) == 9
    assert "003-T2-axial is in the tree already, and is no folder. Move it away" in row["problem"]
    assert not organise(series, verdicts_of(series), out).rows[0]["problem"]


def test_a_placing_that_cannot_be_taken_back_stops_the_call_and_the_next_one_mends_it(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, out = find(archive), tmp_path / "out"
    organise(series, verdicts_of(series), out)
    before = {name: d for name, d in digests(out).items() if name.startswith("sub-")}
    rename = os.rename

    def broken(source: Path, to: Path) -> None:
        if "003-T2-" in str(to):
            raise OSError(errno.EIO, "Input/output error")
        rename(source, to)

    def stuck(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as during, pytest.raises(RunError, match="Input/output error"):
        during.setattr(os, "rename", broken)
        during.setattr(journal.Journal, "_remove", stuck)
        organise(series, verdicts_of(series, "T2", "T2", "T1"), out)
    after = digests(out)
    assert {name: after[name] for name in before} == before  # put back at once
    rows = organise(series, verdicts_of(series, "T2", "T2", "T1"), out).rows
    assert [row["label"] for row in rows if row["path_out"]] == ["T2", "T2", "T1"] and len(
        images_in(out)
    ) == 9


def test_a_place_behind_links_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RunError, match="cannot be followed"):
        module.refuse_overlap(tmp_path / "loop", tmp_path / "in")


# --- a tree that leaves the house


@pytest.mark.parametrize("layout", ["bids", "sheet"])
def test_uids_stay_out_of_index_and_journal_when_asked(
    layout: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(one: Series, target: bids.Target, stage: Path, **_: object) -> bids.Converted:
        said = warnings_of(f"Warning: {one.uid} is odd")
        return replace(converted(one, target, stage), notes=tuple(said))

    root = "1.3.12.2.1107.5.2.43.66012.2020010112"
    monkeypatch.setattr(bids, "convert", told)
    shutil.rmtree(archive)
    for k in (1, 2):
        write_image(archive / str(k) / "1.dcm", f"{root}{k}", 1, StudyInstanceUID=f"{root}9")
    series = find(archive)
    verdicts = verdicts_of(series)
    verdicts[0] = replace(verdicts[0], trace=(f"as in {root}7",))
    out = tmp_path / "out"
    if layout == "bids":
        index = organise(series, verdicts, out, layout="bids", hide_origin=True)
        for name in ("index.csv", "index.parquet", ".radfoundry/journal.jsonl"):
            assert b"66012" not in (out / name).read_bytes()
    else:
        index = index_rows(series, verdicts, hide_origin=True)
    assert "66012" not in json.dumps(index.rows)
    assert [row["uid"] for row in index.rows] == [hidden_uid(f"{root}{k}") for k in (1, 2)]
