"""One Patient ID may be of several people; names and birth dates part them and are kept nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from radfoundry.series.find import Found, from_datasets, survey
from radfoundry.series.people import is_placeholder
from tests._data import data_dir
from tests.io.synthetic import uid
from tests.series.made import mr, put

BIRTH, OTHER = "19500101", "20100101"


def _archive(folder: Path, *people: dict[str, object], studies: int = 1) -> Found:
    """One folder and study of two slices for each of the people, all with the ID that they name."""
    for k, person in enumerate(people):
        for visit in range(studies):
            name = f"{k}-{visit}"
            shown = {"PatientName": None, "StudyInstanceUID": uid("study", name),
                     "SeriesInstanceUID": uid("series", name), **person}  # fmt: skip
            put(folder / name, *(mr(i, SOPInstanceUID=uid(name, i), **shown) for i in (1, 2)))
    return survey(folder)


def _subjects(found: Found) -> list[int]:
    """Of each folder, in order of name, which subject it is: numbered as they appear."""
    known: dict[str, int] = {}
    in_order = sorted(found.series, key=lambda one: one.where)
    return [known.setdefault(one.subject, len(known)) for one in in_order]


def _person(birth: str = "", name: str = "", sex: str = "") -> dict[str, object]:
    return {"PatientBirthDate": birth, "PatientName": name, "PatientSex": sex}


@pytest.mark.parametrize(
    ("people", "subjects"),
    [
        ([_person(BIRTH), _person(OTHER)], [0, 1]),
        ([_person(sex="M"), _person(sex="F")], [0, 1]),
        ([_person(BIRTH, sex="M"), _person(BIRTH, sex="F")], [0, 1]),
        ([_person(name="Roe^A"), _person(name="Doe^B")], [0, 1]),
        ([_person(name="Roe^A"), _person(name="ROE^A^")], [0, 0]),
        ([_person(BIRTH, "Roe^A"), _person(BIRTH, "Doe^A")], [0, 0]),  # married, or spelt in another way
        ([_person(BIRTH, sex="F"), _person(BIRTH), _person()], [0, 0, 0]),
        ([_person(sex="O"), _person(sex="F")], [0, 0]),  # O is also "nobody said"
        ([_person("19000101"), _person(BIRTH)], [0, 0]),  # a dummy
        ([_person(name="ANONYMOUS"), _person(name="Roe^A")], [0, 0]),
        ([_person(BIRTH), _person(OTHER), _person()], [0, 1, 2]),  # of which of them?
        ([_person(BIRTH), _person(OTHER), _person(BIRTH)], [0, 1, 0]),
        ([_person(BIRTH, "Roe"), _person(OTHER, "Doe"), _person(name="Doe")], [0, 1, 1]),
    ],
)
def test_people_under_one_id_are_parted_by_what_both_tell(people, subjects, tmp_path: Path) -> None:
    found = _archive(tmp_path, *people)
    assert _subjects(found) == subjects
    n = max(subjects) + 1
    said = f"its Patient ID is of {n} people by birth date, sex or name"
    assert {note for one in found.series for note in one.notes} == ({said} if n > 1 else set())
    assert len(found.warnings) == (n > 1)
    assert not found.warnings or found.warnings[0].startswith(f"one Patient ID stands for {n} people")


def test_names_birth_dates_and_ids_leave_no_trace(tmp_path: Path) -> None:
    people = [
        {"PatientName": "Roe^Ann", "PatientBirthDate": BIRTH},
        {"PatientName": "Doe^Bob", "PatientBirthDate": OTHER},
    ]
    found = _archive(tmp_path, *people, {"PatientID": "ANON"}, studies=2)
    for word in ("Roe", "Doe", BIRTH, OTHER, "secret", 'ANON"'):
        assert word not in repr(found)
    headers = [file.header for one in found.series for file in one.files]
    assert not any(name in header for header in headers
                   for name in ("PatientID", "PatientName", "PatientBirthDate"))  # fmt: skip


def test_people_in_memory_are_parted_and_the_caller_s_data_left_alone() -> None:
    data = [mr(1, PatientBirthDate=BIRTH), mr(2, PatientBirthDate=OTHER)]
    assert len({one.subject for one in from_datasets(data)}) == 2
    assert (data[0].PatientBirthDate, str(data[0].PatientName)) == (BIRTH, "Secret^Name")


@pytest.mark.parametrize("word", ["ANONYMOUS", "Anon", "unknown", "0", "0000", "Anonymized^^"])
def test_a_placeholder_for_everybody_is_warned_of(word: str, tmp_path: Path) -> None:
    found = _archive(tmp_path, {"PatientID": word}, {"PatientID": word})
    assert _subjects(found) == [0, 0]
    (warning,) = found.warnings
    assert warning.startswith(
        f"sub-{found.series[0].subject}: 2 studies have a Patient ID that is a placeholder"
    )
    assert found.series[0].notes == (
        "its Patient ID is a placeholder: 2 studies of one person or of several",
    )


def test_a_placeholder_is_no_reason_to_warn_where_one_study_or_a_person_is_told(tmp_path: Path) -> None:
    assert _archive(tmp_path / "a", {"PatientID": "ANON"}).warnings == ()
    person = {"PatientID": "ANON", "PatientName": "Roe^A", "PatientBirthDate": BIRTH}
    assert _archive(tmp_path / "b", person, studies=2).warnings == ()
    assert _archive(tmp_path / "c", {"PatientID": "P0012"}, studies=2).warnings == ()


def test_under_a_placeholder_a_name_parts_people_of_one_birth_date(tmp_path: Path) -> None:
    both = {"PatientID": "ANONYMOUS", "PatientBirthDate": BIRTH}
    found = _archive(tmp_path, {**both, "PatientName": "Roe"}, {**both, "PatientName": "Doe"})
    assert _subjects(found) == [0, 1]


def test_without_an_id_each_study_is_a_subject_and_that_is_said(tmp_path: Path) -> None:
    found = _archive(tmp_path, {"PatientID": ""}, {"PatientID": None})
    assert _subjects(found) == [0, 1]
    assert found.warnings == ("2 studies without Patient ID: each is taken for a subject of its own",)


def test_people_without_id_and_study_are_parted_too(tmp_path: Path) -> None:
    for k, birth in enumerate((BIRTH, OTHER)):
        gone = {"PatientID": None, "StudyInstanceUID": None, "SeriesInstanceUID": uid("s", k)}
        files = (mr(i, SOPInstanceUID=uid(k, i), PatientBirthDate=birth, **gone) for i in (1, 2))
        put(tmp_path, *files, start=10 * k)
    found = survey(tmp_path)
    assert len({one.subject for one in found.series}) == 2
    assert found.warnings[-1].startswith("1 folder without Patient ID and Study Instance UID")


def test_a_person_is_called_alike_in_an_archive_and_in_a_part_of_it(tmp_path: Path) -> None:
    people = [{"PatientBirthDate": BIRTH}, {"PatientBirthDate": OTHER}, {"PatientID": "another"}]
    whole = {one.where: one.subject for one in _archive(tmp_path, *people).series}
    (alone,) = _archive(tmp_path / "part", people[2]).series
    assert alone.subject == whole["2-0"]


def test_what_anonymisers_write_is_a_placeholder_and_a_number_is_none() -> None:
    words = ("anon", "ANON12", "00", "1", "De-Identified", "Smith")
    assert [word for word in words if is_placeholder(word)] == ["anon", "00", "De-Identified"]


def test_a_lab_s_id_on_real_series_is_of_three_people() -> None:
    """Names and birth dates differ under the ID of dcm_qa_me, dcm_qa_asl and dcm_qa_fmap."""
    found = survey(data_dir("dicom_series"))
    lab = {one.where: one.subject for one in found.series if any("3 people" in note for note in one.notes)}
    assert len(lab) == 7
    assert len(set(lab.values())) == 3
    assert {where.split("__")[0] for where in lab} == {"dcm_qa_me", "dcm_qa_asl", "dcm_qa_fmap"}
    by_study = {
        name: {lab[where] for where in lab if where.startswith(name)}
        for name in ("dcm_qa_asl", "dcm_qa_fmap")
    }
    assert all(len(subjects) == 1 for subjects in by_study.values())
