"""The reader table: what is understood, and what is refused with row and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.errors import ReadError, TableError
from radfoundry.evaluate.readers.reads import arrange, default_reference, is_unaided, natural, read
from radfoundry.predictions.columns import ROW
from tests._data import data_dir


def table(**columns: object) -> pd.DataFrame:
    """Two modalities, two readers, three cases."""
    rows = [
        (case, int(case > 1), reader, modality, case + reader + len(modality))
        for case in (1, 2, 3)
        for reader in (1, 2)
        for modality in ("aided", "unaided")
    ]
    frame = pd.DataFrame(rows, columns=["case_id", "y_true", "reader", "modality", "score"])
    return frame.assign(**columns)


def test_reads_lie_where_modality_reader_and_case_say() -> None:
    reads = arrange(table())
    assert (reads.modalities, reads.readers, reads.cases) == (
        ("aided", "unaided"),
        ("1", "2"),
        ("1", "2", "3"),
    )
    assert reads.y.tolist() == [0, 1, 1]
    assert reads.rating[0, 0].tolist() == [7, 8, 9] and reads.rating[1, 1].tolist() == [10, 11, 12]
    assert np.isnan(reads.decision).all()
    assert len(reads.rows) == 12 and "no patient_id: every case counts as its own patient" in reads.notes


def test_the_order_of_rows_changes_nothing() -> None:
    one, other = arrange(table()), arrange(table().sample(frac=1, random_state=3))
    assert np.array_equal(one.rating, other.rating) and np.array_equal(one.y, other.y)
    assert one.cases == other.cases and one.readers == other.readers


def test_names_of_obuchowski_rockette_programs_are_understood() -> None:
    names = {"case_id": "case", "y_true": "truth", "modality": "treatment", "score": "rating"}
    reads = arrange(table().rename(columns=names))
    assert np.array_equal(reads.rating, arrange(table()).rating)
    assert "column 'treatment' was read as modality" in reads.notes


def imrmc() -> pd.DataFrame:
    """The same reads as `table`, with iMRMC's names and its rows of truth."""
    reads = table().rename(columns={"case_id": "caseID", "reader": "readerID", "modality": "modalityID"})
    truth = pd.DataFrame({"caseID": [1, 2, 3], "score": [0, 1, 1]})
    truth = truth.assign(readerID="truth", modalityID="truth")
    return pd.concat([truth, reads.drop(columns="y_true")], ignore_index=True)


def test_truth_rows_of_imrmc_become_the_truth() -> None:
    reads = arrange(imrmc())
    assert reads.y.tolist() == [0, 1, 1] and reads.readers == ("1", "2")
    assert np.array_equal(reads.rating, arrange(table()).rating)


def test_a_case_without_a_truth_row_is_refused() -> None:
    rows = imrmc().drop(index=1)
    with pytest.raises(TableError, match=r"row \d+, column 'case_id': no row of truth"):
        arrange(rows)


def test_an_imrmc_text_file_is_read_after_its_header(tmp_path: Path) -> None:
    rows = imrmc()[["readerID", "caseID", "modalityID", "score"]].to_csv(index=False, header=False)
    path = tmp_path / "study.imrmc"
    path.write_text(f"a study\nN0:1\nN1:2\nNR:2\nNM:2\nBEGIN DATA:\n{rows}")
    assert np.array_equal(read(path).rating, arrange(table()).rating)
    path.write_text(f"BEGIN DATA:\n{rows}".replace("1,2,aided", "1,2,aided,x"))
    with pytest.raises(ReadError, match="hold reader, case, modality, score"):
        read(path)


def test_csv_tsv_and_parquet_give_the_same(tmp_path: Path) -> None:
    for name in ("reads.csv", "reads.tsv", "reads.parquet"):
        path = tmp_path / name
        if name.endswith("parquet"):
            table().to_parquet(path)
        else:
            table().to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
        assert np.array_equal(read(path).rating, arrange(table()).rating)


def test_an_error_in_a_file_names_the_file_and_the_row(tmp_path: Path) -> None:
    path = tmp_path / "reads.csv"
    rows = table().astype({"score": object})
    rows.loc[4, "score"] = "high"
    rows.to_csv(path, index=False)
    with pytest.raises(TableError, match=r"reads\.csv: row 6, column 'score': 'high' is not a number"):
        read(path)


def test_a_threshold_turns_scores_into_decisions() -> None:
    assert arrange(table(), threshold=9).decision[0, 0].tolist() == [0, 0, 1]
    assert arrange(table(threshold=8.0)).decision[0, 0].tolist() == [0, 1, 1]
    given = arrange(table(decision="yes"))
    assert (given.decision == 1).all()
    replaced = arrange(table(decision=1), threshold=99)
    assert (replaced.decision == 0).all() and any("replaced by score >= 99" in n for n in replaced.notes)


def test_decisions_alone_are_enough() -> None:
    reads = arrange(table(decision=1).drop(columns="score"))
    assert np.isnan(reads.rating).all() and (reads.decision == 1).all()
    with pytest.raises(TableError, match="no threshold can be applied"):
        arrange(table(decision=1).drop(columns="score"), threshold=2)


def test_modalities_are_kept_in_the_order_asked_for() -> None:
    assert arrange(table(), modalities=("unaided", "aided")).modalities == ("unaided", "aided")
    one = arrange(table(), modalities=("unaided",))
    assert one.rating.shape == (1, 2, 3) and "modalities left out: aided" in one.notes
    with pytest.raises(TableError, match=r"no modality 'double'\. Modalities: aided, unaided"):
        arrange(table(), modalities=("double",))


def test_a_missing_read_is_nan_and_a_row_without_a_score_is_no_read() -> None:
    assert np.isnan(arrange(table().drop(index=0)).rating[0, 0, 0])
    rows = table().astype({"score": float})
    rows.loc[0, "score"] = np.nan
    reads = arrange(rows)
    assert np.isnan(reads.rating[0, 0, 0]) and len(reads.rows) == 11
    assert "1 rows without score and decision are no reads (first: row 2)" in reads.notes


def test_a_second_read_of_the_same_case_is_refused() -> None:
    with pytest.raises(TableError, match="row 14: a second read of the case of row 2"):
        arrange(pd.concat([table(), table().iloc[[0]]]))


def test_two_truths_of_one_case_are_refused() -> None:
    rows = table()
    rows.loc[5, "y_true"] = 0
    with pytest.raises(TableError, match="row 7, column 'y_true': another truth than row 6"):
        arrange(rows)


def test_two_patients_of_one_case_are_refused() -> None:
    rows = table(patient_id=table()["case_id"] * 10)
    rows.loc[11, "patient_id"] = 10
    with pytest.raises(TableError, match="column 'patient_id': another patient"):
        arrange(rows)


@pytest.mark.parametrize("bad", [2, "maybe", 0.5])
def test_a_truth_that_is_neither_0_nor_1_is_refused(bad: object) -> None:
    rows = table().astype({"y_true": object})
    rows.loc[3, "y_true"] = bad
    with pytest.raises(TableError, match=r"row 5, column 'y_true'.*neither 0 nor 1"):
        arrange(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "reader"}, "column 'reader' is missing"),
        ({"drop": "score"}, "neither 'score' nor 'decision'"),
        ({"column": "reader", "value": None}, "row 2, column 'reader': empty"),
        ({"column": "score", "value": np.inf}, "row 2, column 'score': infinite"),
        ({"column": "decision", "value": 3}, "row 2, column 'decision': 3 is neither 0 nor 1"),
        ({"column": "seconds", "value": "soon"}, "row 2, column 'seconds': 'soon' is not a number"),
    ],
)
def test_faults_name_row_and_column(change: dict, message: str) -> None:
    rows = table(decision=0, seconds=1.0)
    if "drop" in change:
        rows = rows.drop(columns=[change["drop"], "decision"])
    else:
        rows = rows.astype({change["column"]: object})
        rows.loc[0, change["column"]] = change["value"]
    with pytest.raises(TableError, match=message):
        arrange(rows)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(TableError, match="no rows"):
        arrange(table().iloc[:0])


def test_no_message_holds_an_identifier() -> None:
    rows = pd.concat([table(case_id="SECRET-1").iloc[[0]], table(case_id="SECRET-1").iloc[[0]]])
    with pytest.raises(TableError) as refused:
        arrange(rows)
    assert "SECRET" not in str(refused.value)


def test_patients_follow_the_cases() -> None:
    reads = arrange(table(patient_id=table()["case_id"].map({1: "p2", 2: "p1", 3: "p1"})))
    assert reads.patient.tolist() == ["p2", "p1", "p1"]
    kept = reads.kept(reads.y == 1, "positives")
    assert kept.cases == ("2", "3") and kept.rating.shape == (2, 2, 2) and "positives" in kept.notes
    assert set(kept.rows["case_id"]) == {"2", "3"}


def test_readers_are_sorted_as_people_count() -> None:
    assert sorted(["R10", "R9", "R1"], key=natural) == ["R1", "R9", "R10"]


def test_the_two_viper_files_are_read() -> None:
    part = read(data_dir("reader_studies", "viper_mrmcInput.csv"))
    assert (len(part.readers), part.modalities, (part.y == 0).sum(), part.y.sum()) == (
        20, ("FFDM", "SFM"), 347, 72,
    )  # fmt: skip
    whole = read(data_dir("reader_studies", "viper_observations.csv.gz"), truth="cancerStatus455")
    assert whole.rating.shape == (2, 43, 715) and np.isfinite(whole.rating).sum() == 20_382


def test_a_raised_digit_is_no_number() -> None:
    assert sorted(["A2", "A1²", "A10"], key=natural) == ["A1²", "A2", "A10"]


def test_rows_keep_their_place_in_the_file() -> None:
    rows = table().astype({"score": float})
    rows.loc[2, "score"] = np.nan
    assert arrange(rows).rows[ROW].tolist() == [2, 3, *range(5, 14)]


@pytest.mark.parametrize(
    ("modalities", "expected"),
    [
        (["aided", "Unaided"], "Unaided"), (["with AI", "without-AI"], "without-AI"),
        (["AI", "no_ai"], "no_ai"),
        (["no ai", "unaided"], "unaided"), (["FFDM", "SFM"], "FFDM"),
    ],
)  # fmt: skip
def test_the_modality_without_the_ai_is_the_reference(modalities: list[str], expected: str) -> None:
    assert default_reference(modalities) == expected
    assert is_unaided(expected) is (expected != "FFDM")


def test_a_reader_called_na_is_refused_with_the_reason(tmp_path: Path) -> None:
    table(reader=table()["reader"].map({1: "NA", 2: "B"})).to_csv(tmp_path / "reads.csv", index=False)
    with pytest.raises(TableError, match=r"row 2, column 'reader': empty.*NA or None are read as empty"):
        read(tmp_path / "reads.csv")
