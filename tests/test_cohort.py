"""The cohort table: what it understands, and that each fault is named with row, column and next step."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from radfoundry.cohort import Cohort, read_cohort, table_one, write_cohort
from radfoundry.errors import RunError, TableError
from radfoundry.table_one import as_text, smd_categorical, smd_continuous

GOOD = (
    "case_id,patient_id,image,y:ila,age,sex,split\n"
    "c1,007,a.png,1,60,F,train\n"
    "c2,007,b.png,0,,Female,train\n"
    "c3,008,a.png,0,045Y,m,test\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"any")
    return tmp_path


def put(folder: Path, text: str, name: str = "cohort.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_good_table(folder: Path) -> None:
    cohort = read_cohort(put(folder, GOOD))
    assert cohort.table["patient_id"].tolist() == ["007", "007", "008"]  # leading zeros survive
    assert cohort.labels("ila").tolist() == [1, 0, 0]
    assert cohort.labels("ila").dtype == np.int64
    assert cohort.table["sex"].tolist() == ["F", "F", "M"]
    assert cohort.table["age"].iloc[[0, 2]].tolist() == [60, 45]
    assert cohort.covariates == ["age", "sex"]
    assert cohort.image_path(1) == folder / "b.png"
    assert read_cohort(folder).digest() == cohort.digest()


def test_familiar_names_and_separators(folder: Path) -> None:
    text = "image_path;target;coordX;Patient ID;gender\na.png;1;10.5;7;F\nb.png;0;11;8;M\n"
    cohort = read_cohort(put(folder, text, "list.csv"))
    assert cohort.image_columns == ["image"]
    assert cohort.targets == ["target"]
    assert cohort.table["roi_x"].tolist() == [10.5, 11.0]
    assert cohort.patients.tolist() == ["7", "8"]
    assert any("case_id" in note for note in cohort.notes)
    assert any("'image_path' was read as 'image'" in note for note in cohort.notes)


def test_patient_default_is_said_aloud(folder: Path) -> None:
    cohort = read_cohort(put(folder, "case_id,image,y:a\nc1,a.png,1\nc2,b.png,0\n"))
    assert cohort.patients.tolist() == ["c1", "c2"]
    assert any("patient_id" in note for note in cohort.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("c3,", "c1,"), ["row 4", "'case_id'", "row 2"]),
        (GOOD.replace("c3,008", "c3,007"), ["row 4", "'split'", "'test'", "'train'", "row 2"]),
        (GOOD.replace("b.png", "gone.png"), ["row 3", "'image'", "gone.png", "no such file"]),
        (GOOD.replace("045Y", "old"), ["row 4", "'age'", "'old'", "number"]),
        (GOOD.replace("b.png,0", "b.png,yes"), ["row 3", "'y:ila'", "'yes'", "number"]),
        (GOOD.replace("045Y", "999"), ["row 4", "'age'"]),
        (GOOD.replace(",test", ",later"), ["row 4", "'split'", "'later'"]),
        (GOOD.replace("b.png", ""), ["row 3", "'image'", "empty"]),
        (GOOD.replace(",image,", ",picture,"), ["no column 'image'"]),
        (GOOD.replace("sex", "age"), ["row 1", "'age'", "twice"]),
        (GOOD.replace("c3,", 'c3,"'), ["unreadable"]),
        (GOOD.replace("m,test", "m,test,9,9"), ["unreadable"]),
        (GOOD.split("\n", 1)[0] + "\n", ["no cases"]),
        (GOOD.split("\n", 1)[0] + "\n,,,,,,\n", ["no cases"]),
        ("", ["empty"]),
        (GOOD.replace("F,train", "F,train,9", 1), ["row 2", "8 cells", "header has 7"]),
        (GOOD.replace("0,,Female,train", "0"), ["row 3", "4 cells", "header has 7"]),
        ("\n" + GOOD, ["row 1 is blank"]),
        (GOOD.replace(",age,", ",,"), ["row 1 has no name for column 5"]),
        (GOOD.replace(",sex,", ", age,"), ["row 1", "'age'", "twice"]),
        (GOOD.replace("y:ila", "y:"), ["'y:'", "without a name"]),
        (
            GOOD.replace(",age,", ",bmi,").replace(",60,", ',"20,5",').replace("045Y", "21"),
            ["row 2", "'bmi'", "'20,5'"],
        ),
        (GOOD.replace(",age,", ",event:os,").replace("045Y", "0"), ["'event:os'", "'time:os'"]),
        (GOOD.replace("b.png", "b.png#colour=1"), ["row 3", "'image'", "'colour' is no option"]),
        (GOOD.replace("b.png", "pa:gone.png"), ["row 3", "'image'", "no such file"]),
        (
            GOOD.replace("split", "fold").replace("train", "3"),
            ["row 2", "column 'fold' (read as 'split')", "'3'"],
        ),
    ],
)
def test_each_fault_is_named(folder: Path, text: str, words: list[str]) -> None:
    with pytest.raises(TableError) as caught:
        read_cohort(put(folder, text))
    for word in words:
        assert word in str(caught.value)
    assert "007" not in str(caught.value)  # a patient's name never enters a message


def test_rows_are_counted_as_in_the_spreadsheet(folder: Path) -> None:
    with pytest.raises(TableError, match="row 6"):
        read_cohort(put(folder, GOOD + "\nc9,9,gone.png,1,1,F,train\n"))


def test_one_patient_written_with_and_without_a_decimal(folder: Path) -> None:
    """pandas writes 7 as 7.0 once a cell of the column is empty; then 7 and 7.0 would be two patients."""
    text = GOOD.replace("c1,007", "c1,7.0").replace("c2,007", "c2,12").replace("c3,008", "c3,7")
    with pytest.raises(TableError, match=r"row 4, column 'split': this patient"):
        read_cohort(put(folder, text))
    cohort = read_cohort(put(folder, text.replace(",test", ",train")))
    assert cohort.patients.tolist() == ["7", "12", "7"]
    assert "numbers in 'patient_id' were read without their '.0'" in cohort.notes
    table = pd.DataFrame({"image": ["a.png", "b.png"], "patient_id": [7.0, np.nan], "case_id": [1, 2]})
    table.to_parquet(folder / "p.parquet")
    assert read_cohort(folder / "p.parquet").patients.tolist() == ["7", "2"]


def test_spreadsheet_leftovers_are_harmless(folder: Path) -> None:
    """A byte order mark, Windows line ends, columns and rows of empty cells."""
    text = "\ufeff" + GOOD.replace("\n", ",,\r\n") + ",,,,,,,,\r\n"
    (folder / "cohort.csv").write_bytes(text.encode())
    plain = put(folder, GOOD, "plain.csv")
    pd.testing.assert_frame_equal(read_cohort(folder).table, read_cohort(plain).table)


def test_what_read_is_to_choose_stands_behind_the_path(folder: Path) -> None:
    (folder / "series").mkdir()
    for choice in ("echo=11", "stack=1&frame=3", "series=1.2.3", "frame=2"):
        cohort = read_cohort(put(folder, GOOD.replace("b.png", f"series#{choice}")))
        assert cohort.image_path(1) == folder / f"series#{choice}"


def test_parquet_as_found(folder: Path) -> None:
    base = {"case_id": ["c1", "c2"], "image": ["a.png", "b.png"]}
    file = folder / "C.PARQUET"
    pd.DataFrame(base | {"y:t": pd.Categorical([1, 0]), "site": pd.Categorical(["A", "B"])}).to_parquet(file)
    assert read_cohort(file).labels("t").tolist() == [1, 0]
    pd.DataFrame(base | {"patient_id": ["", ""], "split": ["train", "test"]}).to_parquet(file)
    assert read_cohort(file).patients.tolist() == ["c1", "c2"]  # nobody's name is not a name
    pd.DataFrame(base | {"image": ["a.png", ""]}).to_parquet(file)
    with pytest.raises(TableError, match="row 3, column 'image': empty"):
        read_cohort(file)
    file.write_bytes(b"PAR1 no")
    with pytest.raises(TableError, match="not readable as Parquet"):
        read_cohort(file)


def test_not_text(folder: Path) -> None:
    (folder / "cohort.csv").write_bytes(b"case_id,image\nc1,\xff\xfe\n")
    with pytest.raises(TableError, match="row 2 is not UTF-8"):
        read_cohort(folder)
    with pytest.raises(TableError, match="no such file"):
        read_cohort(folder / "absent.csv")
    with pytest.raises(TableError, match=r"\.csv or \.parquet"):
        read_cohort(folder / "a.png")


def test_labels_missing_constant_or_empty(folder: Path) -> None:
    cohort = read_cohort(put(folder, GOOD))
    with pytest.raises(TableError, match=r"no column 'y:iia'.*Did you mean 'y:ila'"):
        cohort.labels("iia")
    with pytest.raises(TableError, match=r"'y:ila' is constant.*other class"):
        cohort.subset([1, 2]).labels("ila")
    assert cohort.subset([1, 2]).labels("ila", allow_constant=True).tolist() == [0, 0]
    empty = read_cohort(put(folder, "case_id,image,y:a\nc1,a.png,\nc2,b.png,\n", "e.csv"))
    with pytest.raises(TableError, match="empty in every row"):
        empty.labels("a")


def test_words_as_labels(folder: Path) -> None:
    put(folder, "case_id,image,y:dx\nc1,a.png,ILA\nc2,b.png,atelectasis\n", "w.csv")
    (folder / "w.yaml").write_text(yaml.safe_dump({"targets": {"dx": {"kind": "binary", "positive": "ILA"}}}))
    cohort = read_cohort(folder / "w.csv")
    assert cohort.kind("dx") == "binary"
    assert cohort.labels("dx").tolist() == [1, 0]


def test_the_positive_class(folder: Path) -> None:
    put(folder, "case_id,image,y:dx\nc1,a.png,1\nc2,b.png,0\n", "p.csv")
    for positive, expected in (("1", [1, 0]), ("0", [0, 1]), ("'1'", [1, 0])):
        (folder / "p.yaml").write_text(f"targets: {{dx: {{positive: {positive}}}}}")
        assert read_cohort(folder / "p.csv").labels("dx").tolist() == expected
    (folder / "p.yaml").write_text("targets: {dx: {kind: binary, positive: 2}}")
    with pytest.raises(TableError, match="positive class 2 is not in"):
        read_cohort(folder / "p.csv").labels("dx")


def test_true_and_false_are_labels(folder: Path) -> None:
    """As pandas writes booleans; in Parquet they are booleans."""
    words = put(folder, "case_id,image,y:dx\nc1,a.png,True\nc2,b.png,False\nc3,b.png,\n", "b.csv")
    assert read_cohort(words).labels("dx")[:2].tolist() == [1, 0]
    (folder / "b.yaml").write_text("targets: {dx: {kind: binary, positive: true}}")
    assert read_cohort(words).labels("dx")[:2].tolist() == [1, 0]
    pd.DataFrame({"image": ["a.png", "b.png"], "y:dx": [True, False]}).to_parquet(folder / "b.parquet")
    assert read_cohort(folder / "b.parquet").labels("dx").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("targets: [dx]", "no names with properties"),
        ("targets: {dx: binary}", "target 'dx' is 'binary', no properties"),
        ("targets: {dx: {kind: bnary}}", "Did you mean 'binary'"),
        ("format: new", "format new is not known"),
        ("format: 2", "format 2 is not known"),
        ("[1]", "expected `name: value` lines"),
        ("x: !!python/object/apply:os.getcwd []", "not readable as YAML"),
        ("targets: {dx: {kind: binary, positive: 1}}", r"row 4, column 'y:dx': 2.* is a third value"),
    ],
)
def test_faults_of_the_yaml_file(folder: Path, text: str, reason: str) -> None:
    file = put(folder, "case_id,image,y:dx\nc1,a.png,1\nc2,b.png,0\nc3,b.png,2\n", "y.csv")
    (folder / "y.yaml").write_text(text)
    with pytest.raises(TableError, match=reason):
        read_cohort(file)


def test_a_target_that_only_the_yaml_knows_is_said(folder: Path) -> None:
    (folder / "cohort.yaml").write_text("targets: {illa: {kind: binary, positive: 1}}")
    assert any("'illa'" in note for note in read_cohort(put(folder, GOOD)).notes)


def test_a_stated_number_refuses_words(folder: Path) -> None:
    put(folder, "case_id,image,y:kl\nc1,a.png,low\nc2,b.png,high\n", "k.csv")
    (folder / "k.yaml").write_text("targets: {kl: {kind: ordinal}}")
    with pytest.raises(TableError, match="row 2, column 'y:kl'"):
        read_cohort(folder / "k.csv")
    (folder / "k.yaml").write_text("targets: {kl: [")
    with pytest.raises(TableError, match="not readable as YAML"):
        read_cohort(folder / "k.csv")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_round_trip(folder: Path, tmp_path_factory: pytest.TempPathFactory, ending: str) -> None:
    text = GOOD.replace("sex,split", "date,split").replace("F,", "2020-02-29,")
    text = text.replace("Female,", ",").replace("m,", "20210101,")
    cohort = read_cohort(put(folder, text))
    elsewhere = tmp_path_factory.mktemp("elsewhere") / f"copy.{ending}"
    again = read_cohort(write_cohort(cohort, elsewhere))
    pd.testing.assert_frame_equal(
        again.table.drop(columns="image"), cohort.table.drop(columns="image"), check_dtype=False
    )
    assert again.image_path(2).resolve() == cohort.image_path(2).resolve()
    assert again.digest() == cohort.digest()
    assert {p.name for p in elsewhere.parent.iterdir()} == {f"copy.{ending}", "copy.yaml"}


@pytest.mark.parametrize(
    ("owner", "method", "path", "named"),
    [
        (pd.DataFrame, "to_csv", "c.csv", "c.csv"),
        (pd.DataFrame, "to_parquet", "c.parquet", "c.parquet"),
        (Path, "write_text", "c.csv", "c.yaml"),
    ],
)
def test_a_full_disk_leaves_no_half_cohort(
    folder: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, path: str, named: str
) -> None:
    cohort = read_cohort(put(folder, GOOD))

    def fill(self: object, *place: object, **_: object) -> None:
        file = self if isinstance(self, Path) else place[0]
        Path(str(file)).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {p: p.read_bytes() for p in folder.iterdir()}
    monkeypatch.setattr(owner, method, fill)
    for place in (folder / path, folder / "new" / "deep" / path):
        with pytest.raises(
            RunError, match=rf"cannot write {place.parent}/{named}: No space .* choose another"
        ):
            write_cohort(cohort, place)
        assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_digest_sees_labels(folder: Path) -> None:
    one = read_cohort(put(folder, GOOD))
    two = read_cohort(put(folder, GOOD.replace("b.png,0", "b.png,1")))
    assert one.digest() != two.digest()


def test_views_and_missing_ones(folder: Path) -> None:
    text = "case_id,image:pa,image:lat,y:a\nc1,a.png,b.png,1\nc2,b.png,,0\n"
    cohort = read_cohort(put(folder, text))
    assert cohort.image_columns == ["image:pa", "image:lat"]
    with pytest.raises(TableError, match="'c2' has no image in column 'image:lat'"):
        cohort.image_path(1, "image:lat")


# --- Table 1 -------------------------------------------------------------------------------------------


def cohort_of(table: pd.DataFrame) -> Cohort:
    table = table.assign(case_id=[str(i) for i in range(len(table))], image="x.png")
    return Cohort(table.assign(patient_id=table["case_id"]), Path("."))


def test_table_one_by_hand() -> None:
    table = pd.DataFrame(
        {
            "y:a": [0, 0, 0, 1, 1, 1],
            "age": [10.0, 20, 31, 40, 50.5, np.nan],
            "sex": ["F", "F", "M", "M", "M", None],
        }
    )
    frame = table_one(cohort_of(table), by="a")
    assert frame.loc[("age", "median [IQR]"), "y:a=0"] == "20.0 [15.0 to 25.5]"
    assert frame.loc[("age", "mean (SD)"), "y:a=0"] == "20.3 (10.5)"
    assert frame.loc[("sex", "F"), "y:a=0"] == "2 (66.7%)"
    assert frame.loc[("sex", "M"), "y:a=1"] == "2 (100.0%)"  # missing values leave the denominator
    assert frame.loc[("sex", "missing"), "y:a=1"] == "1 (33.3%)"
    assert frame.loc[("cases", "n"), "overall"] == "6"
    assert "smd" in as_text(frame).splitlines()[0]


def test_table_one_by_a_measurement_is_refused() -> None:
    table = pd.DataFrame({"age": np.arange(30.0), "sex": ["F", "M"] * 15})
    assert list(table_one(cohort_of(table), by="sex").columns) == ["overall", "sex=F", "sex=M", "smd"]
    with pytest.raises(TableError, match="column 'age' has 30 values, too many"):
        table_one(cohort_of(table), by="age")


def test_standardised_differences_published() -> None:
    # Austin, Stat Med 2009: d = (m1 - m2) / sqrt((s1^2 + s2^2) / 2), proportions with p (1 - p) as variance
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 500), rng.normal(0.5, 2, 400)
    expected = abs(a.mean() - b.mean()) / np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
    assert smd_continuous(a, b) == pytest.approx(expected)
    p, q = np.array(["x"] * 30 + ["y"] * 70), np.array(["x"] * 50 + ["y"] * 50)
    assert smd_categorical(p, q) == pytest.approx(0.2 / np.sqrt((0.21 + 0.25) / 2))
    three = np.array(list("abc") * 10)
    assert smd_categorical(three, three) == 0
    assert smd_categorical(np.array(["x"] * 9), np.array(["y"] * 9)) == np.inf
