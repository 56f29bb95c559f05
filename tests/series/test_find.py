"""Series are found by their headers: joined, separated, counted, and never by what names a patient."""

from __future__ import annotations

import gc
import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from radfoundry.errors import ReadError
from radfoundry.series import bids, grouping
from radfoundry.series.find import Series, find, from_datasets, survey, unique_ids
from radfoundry.series.grouping import FEW
from radfoundry.series.origin import without_paths
from tests._data import data_dir
from tests.io.synthetic import uid
from tests.series.made import SECRET, bare, mr, put


def test_a_series_is_its_files_in_order_of_instance_number(tmp_path: Path) -> None:
    put(tmp_path / "a", *(mr(number) for number in (3, 10, 1, 2)))
    (series,) = find(tmp_path)
    assert [int(file.get("InstanceNumber")) for file in series.files] == [1, 2, 3, 10]
    assert (series.uid, series.study, series.number, series.where) == (uid("series"), uid("study"), 3, "a")
    assert (series.study_date, series.problem, series.notes) == ("20260102", "", ())
    assert all(file.has_pixels for file in series.files)


def test_the_garbage_collector_rests_while_headers_are_read_and_is_as_it_was_after(tmp_path: Path) -> None:
    put(tmp_path / "a", *(mr(number) for number in range(1, 31)))
    (tmp_path / "none").mkdir()
    during = []
    gc.collect()
    survey(tmp_path / "a", progress=lambda *_: during.append(gc.isenabled()))
    assert not any(during) and during and gc.isenabled()
    with pytest.raises(ReadError):
        survey(tmp_path / "none")
    assert gc.isenabled()
    gc.disable()
    try:
        found = survey(tmp_path / "a")
        assert not gc.isenabled()
        assert gc.collect() < 30 and found  # nothing is left that only the collector would free
    finally:
        gc.enable()


def test_the_subject_is_a_pseudonym_and_the_patient_is_forgotten(tmp_path: Path) -> None:
    put(tmp_path, mr())
    (series,) = find(tmp_path)
    assert series.subject == hashlib.sha256(SECRET.encode()).hexdigest()[:12]
    assert SECRET not in repr(series) and "Secret" not in str(series.files[0].header)
    assert "PatientID" not in series.files[0].header


def test_without_a_patient_the_study_names_the_subject(tmp_path: Path) -> None:
    put(tmp_path, mr(PatientID=""))
    (series,) = find(tmp_path)
    assert series.subject == hashlib.sha256(uid("study").encode()).hexdigest()[:12]


def test_a_series_split_over_folders_is_joined(tmp_path: Path) -> None:
    put(tmp_path / "disk 2", mr(2))
    put(tmp_path / "disk 1", mr(1))
    (series,) = find(tmp_path)
    assert len(series.files) == 2 and series.where == "disk 1, disk 2"


def test_series_mixed_in_one_folder_are_separated_and_ordered(tmp_path: Path) -> None:
    for k, number in enumerate((7, 2, 11)):
        put(tmp_path, *(
            mr(i, SeriesInstanceUID=uid("s", number), SeriesNumber=number, SOPInstanceUID=uid(number, i))
            for i in (1, 2)
        ), start=10 * k)  # fmt: skip
    assert [(s.number, len(s.files)) for s in find(tmp_path)] == [(2, 2), (7, 2), (11, 2)]


def test_missing_series_uids_group_by_folder_number_and_orientation(tmp_path: Path) -> None:
    slices = range(1, FEW + 2)
    for folder in ("a", "b"):
        put(tmp_path / folder, *(mr(k, SeriesInstanceUID=None) for k in slices))
    turned = [1, 0, 0, 0, 0, -1]
    put(tmp_path / "a", mr(30, SeriesInstanceUID=None, ImageOrientationPatient=turned), start=50)
    found = find(tmp_path)
    assert sorted((s.where, len(s.files)) for s in found) == [("a", 1), ("a", 13), ("b", 13)]
    assert len({s.uid for s in found}) == 3
    assert all(s.uid.startswith("no-uid-") for s in found)
    assert [s.uid for s in find(tmp_path)] == [s.uid for s in found]


def test_ct_among_mr_under_one_uid_is_said_and_left_out(tmp_path: Path) -> None:
    put(tmp_path, *(mr(k) for k in (1, 2, 3)), mr(4, Modality="CT", SOPInstanceUID=uid("ct")))
    (series,) = find(tmp_path)
    assert [file.get("Modality") for file in series.files] == ["MR"] * 3
    assert series.problem == "CT among MR (1 CT passed over)"


def test_a_series_of_another_modality_stays_a_series(tmp_path: Path) -> None:
    put(tmp_path, mr(1), mr(2, Modality="US", SeriesInstanceUID=uid("us")))
    assert sorted(str(s.files[0].get("Modality")) for s in find(tmp_path)) == ["MR", "US"]


def test_objects_without_an_image_make_no_series_but_are_counted(tmp_path: Path) -> None:
    put(tmp_path, mr(1), bare(modality="SR"), bare(modality="KO", SeriesInstanceUID=uid("series")))
    found = survey(tmp_path)
    (series,) = found.series
    assert len(series.files) == 1
    assert found.passed_over == {"SR without an image": 1}
    assert series.notes == ("1 × KO without an image",)


def test_images_without_pixels_are_a_series_with_a_problem(tmp_path: Path) -> None:
    data = [mr(1), mr(2)]
    for one in data:
        del one.PixelData
    put(tmp_path, *data)
    (series,) = find(tmp_path)
    assert len(series.files) == 2 and series.problem == "no image with pixels"


def test_spectroscopy_is_a_series_without_pixels(tmp_path: Path) -> None:
    put(tmp_path, bare(modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4.2"))
    (series,) = find(tmp_path)
    assert series.problem == "no image with pixels"


def test_a_screenshot_is_a_series(tmp_path: Path) -> None:
    picture = mr(1, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT", ImagePositionPatient=None,
                 ImageOrientationPatient=None)  # fmt: skip
    put(tmp_path, picture)
    assert len(find(tmp_path)) == 1


def test_what_is_no_dicom_is_passed_over_and_counted(tmp_path: Path) -> None:
    put(tmp_path, mr(1))
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / ".hidden.dcm").write_bytes(b"\0" * 128 + b"DICM")
    put(tmp_path / ".trash", mr(2))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 10_000_000)
    os.mkfifo(tmp_path / "pipe")
    found = survey(tmp_path)
    assert [len(s.files) for s in found.series] == [1]
    assert found.passed_over == {"not DICOM": 4, "DICOMDIR": 1, "hidden": 2}


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", mr(1, SeriesInstanceUID=uid("other")))
    inside = put(tmp_path / "inside", mr(1))
    (inside / "out.dcm").symlink_to(outside / "0000.dcm")
    (inside / "far").symlink_to(outside)
    (inside / "round").symlink_to(inside / "round")
    found = survey(inside)
    assert [s.uid for s in found.series] == [uid("series")]
    assert found.passed_over["link out of the folder"] == 3


def test_linked_copies_inside_the_folder_count_once(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", mr(1), mr(2))
    (folder / "again.dcm").symlink_to(folder / "0000.dcm")
    (series,) = find(tmp_path)
    assert len(series.files) == 2
    assert series.notes == ("1 × copy of another image",)


def test_images_that_only_share_their_uid_are_kept(tmp_path: Path) -> None:
    """Some anonymisers write one SOP Instance UID into every file."""
    put(tmp_path, *(mr(k, SOPInstanceUID=uid("same")) for k in range(1, 6)))
    (series,) = find(tmp_path)
    assert len(series.files) == 5


def test_unreadable_files_are_counted_in_the_problem(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", *(mr(k) for k in (1, 2, 3)))
    (folder / "x.dcm").write_bytes((folder / "0000.dcm").read_bytes()[:300])
    (folder / "y.dcm").write_bytes(b"not at all")
    (series,) = find(tmp_path)
    assert series.problem == "2 of 5 files unreadable"


def test_headers_emptied_by_anonymisation_are_still_sorted(tmp_path: Path) -> None:
    empty = (
        "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "SOPInstanceUID", "Modality", "SOPClassUID",
        "InstanceNumber", "SeriesNumber", "StudyDate", "Manufacturer",
    )  # fmt: skip
    put(tmp_path, *(mr(k, **dict.fromkeys(empty)) for k in (1, 2)))
    (series,) = find(tmp_path)
    assert len(series.files) == 2 and series.number is None and series.study == ""
    assert len(series.subject) == 12


@pytest.mark.parametrize("content", [None, b"hello"])
def test_a_folder_without_dicom_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ReadError, match="holds no DICOM"):
        find(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="is no folder"):
        find(tmp_path / "nowhere")


def test_names_that_cannot_be_printed_are_escaped(tmp_path: Path) -> None:
    put(tmp_path / os.fsdecode(b"caf\xe9\x1b[31m"), mr(1))
    (series,) = find(tmp_path)
    assert series.where.isprintable() and series.where.startswith("caf")


def test_progress_ends_with_all_files_and_threads_find_the_same(tmp_path: Path) -> None:
    put(tmp_path, *(mr(k) for k in range(1, 130)))
    told: list[tuple[int, int]] = []
    (one,) = find(tmp_path, progress=lambda done, total: told.append((done, total)))
    (two,) = find(tmp_path, threads=4)
    assert told == [(100, 129), (129, 129)]
    assert [f.path for f in one.files] == [f.path for f in two.files]


def test_a_4d_series_of_thousands_of_files_is_one_series(tmp_path: Path) -> None:
    template = mr(1, pixels=np.zeros((2, 2), np.uint16))
    path = put(tmp_path / "x", template) / "0000.dcm"
    content = path.read_bytes()
    path.unlink()
    place, name = b"IS\x02\x001 ", template.SOPInstanceUID.encode()
    start = content.index(b"\x20\x00\x13\x00" + place) + 8
    for k in range(2000):
        copy = bytearray(content.replace(name, name[:-4] + f"{k:04d}".encode()))
        copy[start - 2 : start + 2] = b"\x04\x00" + f"{k:04d}"[:2].encode()
        (tmp_path / "x" / f"{k}").write_bytes(copy[:start] + f"{k:04d}".encode() + copy[start + 2 :])
    (series,) = find(tmp_path)
    assert len(series.files) == 2000
    assert [int(f.get("InstanceNumber")) for f in series.files[::500]] == [0, 500, 1000, 1500]


def test_datasets_in_memory_are_sorted_alike(tmp_path: Path) -> None:
    data = [mr(k) for k in (2, 1)] + [mr(3, SeriesInstanceUID=uid("second"), SeriesNumber=4)]
    found = from_datasets([*data, bare()])
    assert [(s.number, len(s.files), s.where) for s in found] == [(3, 2, "memory"), (4, 1, "memory")]
    assert found[0].files[0].header is data[1]
    assert data[0].PatientID == SECRET  # the caller's dataset is left as it was
    put(tmp_path, *data)
    assert [s.uid for s in find(tmp_path)] == [s.uid for s in found]
    with pytest.raises(ReadError, match="no dataset"):
        from_datasets([])


def test_real_folders_hold_one_series_each() -> None:
    root = data_dir("dicom_series")
    found = survey(root)
    folders = [path.name for path in root.iterdir() if path.is_dir()]
    assert sorted(s.where for s in found.series) == sorted(folders)
    assert sum(len(s.files) for s in found.series) == 532
    assert found.passed_over == {"not DICOM": 2}
    assert {s.problem for s in found.series} == {""}


def test_values_that_are_no_text_do_not_stop_the_search(tmp_path: Path) -> None:
    data = mr(1)
    data.add_new(0x00200013, "OB", b"\xff\xfe\xfd\xfc")
    data.add_new(0x0020000E, "OB", b"\xff\xfe")
    data.add_new(0x00280010, "LO", "4")
    path = tmp_path / "a.dcm"
    pydicom.dcmwrite(path, data)
    (series,) = find(tmp_path)
    assert len(series.files) == 1


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("text", ["1e25", "-1e25", "2147483648"])
def test_a_series_number_that_dicom_cannot_say_is_none(text: str, tmp_path: Path) -> None:
    put(tmp_path, mr(SeriesNumber=7))
    path = tmp_path / "0000.dcm"
    data = pydicom.dcmread(path)
    data["SeriesNumber"] = pydicom.DataElement(0x00200011, "UN", text.encode().ljust(12))
    data.save_as(path)
    assert find(tmp_path)[0].number is None


def test_ids_are_uids_unless_two_studies_share_one_or_it_is_none() -> None:
    series = [Series(*names, "", "", 1, "", ()) for names in (
        ("1.2", "a"), ("1.3", "a"), ("1.2", "b"), ("1.2.3 <b>x", "a"), ("1.2.3 <b>y", "a"), ("no-uid-12", ""),
    )]  # fmt: skip
    ids = unique_ids(series)
    assert (ids[1], ids[5]) == ("1.3", "no-uid-12")
    assert ids[0].startswith("1.2-") and ids[2].startswith("1.2-") and len(ids[0]) == len("1.2-") + 8
    assert ids[3].startswith("odd-uid-")
    assert len(set(ids)) == 6
    assert unique_ids(series[::-1]) == ids[::-1]


def test_paths_are_taken_out_of_messages_and_nothing_else_is(tmp_path: Path) -> None:
    put(tmp_path / "DOE^JOHN 1950-01-01" / "T1", mr())
    (series,) = find(tmp_path)
    file = series.files[0].path
    for text in (f"{file} has no pixels", f"{series.where}: no files are left", f"{file.parent} is gone"):
        said = without_paths(text, series)
        assert "DOE" not in said and "1950" not in said and said.startswith("path-")
    assert without_paths("TR 500 → T1; 1 of 2", series) == "TR 500 → T1; 1 of 2"


def _drawn(number: int, **elements: object) -> pydicom.FileDataset:
    """A slice whose header is like all others' and whose pixels are not."""
    pixels = np.random.default_rng(number).integers(0, 500, (4, 4)).astype(np.uint16)
    return mr(1, pixels=pixels, **{"InstanceNumber": None, "SOPInstanceUID": uid("same"), **elements})


def test_other_images_under_one_uid_are_no_copies_and_it_is_said(tmp_path: Path) -> None:
    """An anonymiser wrote one SOP Instance UID into all files and took Instance Number away."""
    for k in range(1, 13):
        put(tmp_path, _drawn(k), start=k)
        (tmp_path / f"{k:04d}.dcm").rename(tmp_path / f"IM{k}.dcm")
    (series,) = find(tmp_path)
    assert [file.path.stem for file in series.files] == [f"IM{k}" for k in range(1, 13)]
    assert series.problem.startswith("12 images share SOP Instance UIDs, and neither number nor position")
    assert series.notes == ()


def test_repeated_uids_of_images_that_numbers_tell_apart_are_a_note(tmp_path: Path) -> None:
    put(tmp_path, *(_drawn(k, InstanceNumber=k) for k in (1, 2, 3)))
    (series,) = find(tmp_path)
    assert (len(series.files), series.problem) == (3, "")
    assert series.notes == ("3 images share SOP Instance UIDs",)


@pytest.mark.parametrize("name", [uid("same"), None])
def test_files_of_the_same_bytes_are_copies_whatever_their_uid(name: str | None, tmp_path: Path) -> None:
    put(tmp_path / "a", *(_drawn(k, SOPInstanceUID=name) for k in (1, 2, 1)))
    put(tmp_path / "b", _drawn(2, SOPInstanceUID=name))
    (series,) = find(tmp_path)
    assert [str(file.path.relative_to(tmp_path)) for file in series.files] == ["a/0000.dcm", "a/0001.dcm"]
    assert series.notes[0] == "2 × copy of another image"


def test_no_file_is_read_whole_where_uids_are_distinct(tmp_path: Path, monkeypatch) -> None:
    read: list[Path] = []
    real = grouping._bytes
    monkeypatch.setattr(grouping, "_bytes", lambda file: read.append(file.path) or real(file))
    put(tmp_path / "a", *(mr(k) for k in range(1, 6)))
    find(tmp_path)
    assert read == []
    put(tmp_path / "b", mr(5))
    (series,) = find(tmp_path)
    assert len(series.files) == 5
    assert sorted(path.parent.name for path in read) == ["a", "b"]  # the two that share a UID


def test_datasets_in_memory_are_copies_only_with_the_same_pixels() -> None:
    (series,) = from_datasets([_drawn(1), _drawn(2), _drawn(1)])
    assert len(series.files) == 2
    assert series.notes == ("1 × copy of another image",)


def test_patients_whose_uids_an_anonymiser_made_alike_stay_apart(tmp_path: Path) -> None:
    for k, patient in enumerate(("P1", "P2")):
        put(tmp_path / patient, *(_drawn(10 * k + i, PatientID=patient, InstanceNumber=i) for i in (1, 2, 3)))
    found = find(tmp_path)
    assert [len(one.files) for one in found] == [3, 3]
    assert len({one.subject for one in found}) == len({one.uid for one in found}) == 2
    assert len(set(unique_ids(found))) == 2
    assert all(one.uid.startswith(f"{uid('series')}-") for one in found)
    assert {one.notes[0] for one in found} == {"its Series Instance UID stands for 2 series"}


@pytest.mark.parametrize(
    ("name", "values"), [("PatientID", ("P1", "P2")), ("StudyDate", ("20200101", "20260101"))]
)
def test_patients_and_days_without_uids_stay_apart_in_one_folder(
    name: str, values: tuple[str, str], tmp_path: Path
) -> None:
    gone = {"SeriesInstanceUID": None, "StudyInstanceUID": None}
    for k, value in enumerate(values):
        put(tmp_path, *(_drawn(10 * k + i, InstanceNumber=i, SOPInstanceUID=None, **gone, **{name: value})
                        for i in (1, 2, 3)), start=10 * k)  # fmt: skip
    found = find(tmp_path)
    assert [len(one.files) for one in found] == [3, 3]
    assert len({one.uid for one in found}) == 2
    assert len(set(bids.sessions(found))) == 2


def test_visits_without_a_study_uid_are_sessions_by_their_date(tmp_path: Path) -> None:
    for name, day in (("a", "20200101"), ("b", "20200101"), ("c", "20260101")):
        put(tmp_path / name, *(mr(k, StudyInstanceUID=None, StudyDate=day, SeriesInstanceUID=uid(name),
                                  SOPInstanceUID=uid(name, k)) for k in (1, 2)))  # fmt: skip
    found = find(tmp_path)
    sessions = {one.where: session for one, (_, session) in zip(found, bids.sessions(found))}
    assert sessions == {"a": 1, "b": 1, "c": 2}


def test_series_numbers_part_what_one_series_uid_puts_together(tmp_path: Path) -> None:
    put(tmp_path, *(mr(k, SeriesNumber=2 + k % 2) for k in range(1, 7)))
    found = find(tmp_path)
    assert [(one.number, len(one.files)) for one in found] == [(2, 3), (3, 3)]
    assert len({one.uid for one in found}) == 2
    put(tmp_path, mr(7, SeriesNumber=None), start=20)  # no longer said of each image
    assert [len(one.files) for one in find(tmp_path)] == [7]


@pytest.mark.parametrize("edge", [0.0, 0.005, -0.015])
def test_planes_that_differ_by_rounding_are_one_series(edge: float, tmp_path: Path) -> None:
    for k in range(-10, 11):
        turned = [1, 0, 0, 0, 1, round(edge + 1e-6 * k, 7)]
        gone = {"SeriesInstanceUID": None, "SeriesNumber": None}  # no localiser then, however few slices
        put(tmp_path, mr(k, ImageOrientationPatient=turned, **gone), start=20 + k)
    (series,) = find(tmp_path)
    assert len(series.files) == 21


PLANES = ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])


@pytest.mark.parametrize(
    ("number", "slices", "series"), [(3, 3, 1), (3, FEW, 1), (3, FEW + 1, 3), (None, 3, 3)]
)
def test_three_planes_of_few_slices_without_uid_are_one_localiser(
    number: int | None, slices: int, series: int, tmp_path: Path
) -> None:
    put(tmp_path, *(mr(k, SeriesInstanceUID=None, SeriesNumber=number, SOPInstanceUID=uid("loc", k),
                       ImageOrientationPatient=PLANES[k % 3]) for k in range(3 * slices)))  # fmt: skip
    found = find(tmp_path)
    assert [len(one.files) for one in found] == [3 * slices // series] * series


def test_folders_and_files_that_cannot_be_opened_are_counted(tmp_path: Path, monkeypatch) -> None:
    put(tmp_path / "a", mr(1))
    (tmp_path / "locked").mkdir()
    (tmp_path / "a" / "IM0002").symlink_to(tmp_path / "a" / "gone")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = survey(tmp_path)
    assert found.passed_over == {"unreadable folder": 1, "unreadable": 1}
    assert found.unreadable == 2


def test_what_was_passed_over_is_said_with_the_unreadable_first(tmp_path: Path) -> None:
    put(tmp_path, mr(1))
    for name in ("a.txt", "b.txt", "broken.dcm"):
        (tmp_path / name).write_text("no")
    found = survey(tmp_path)
    assert str(found) == "1 unreadable, 2 not DICOM"
    assert found.unreadable == 1
