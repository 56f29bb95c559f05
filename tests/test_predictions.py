"""The prediction table: familiar names, and every fault named by row and column."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.errors import ReadError, TableError
from radfoundry.predictions import (
    covariates,
    horizon_columns,
    is_survival,
    read_predictions,
    survival_targets,
    validate,
    write_predictions,
)


def good(**changes) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "case_id": ["a", "b", "c", "d"],
            "patient_id": ["p", "p", "q", "r"],
            "target": "effusion",
            "y_true": [0, 1, 0, 1],
            "score": [0.1, 0.8, 0.3, 0.6],
            "model": "m",
            "age": [40, 40, 61, 70],
        }
    )
    return table.assign(**changes)


def test_a_good_table_passes_unchanged_and_names_its_covariates() -> None:
    found = validate(good())
    pd.testing.assert_frame_equal(found[good().columns], good(), check_dtype=False)
    assert covariates(found) == ["age"] and found.attrs["notes"] == []
    assert validate(found).equals(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": [0.1, np.nan, 0.3, 0.6]}, r"row 3, column 'score': NaN"),
        ({"score": [0.1, 0.8, np.inf, 0.6]}, r"row 4, column 'score': infinite"),
        ({"score": [0.1, 0.8, 0.3, "high"]}, r"row 5, column 'score': 'high' is not a number"),
        ({"y_true": [0, 1, "sick", 1]}, r"row 4, column 'y_true': 'sick' is neither 0 nor 1"),
        ({"y_true": [1, 2, 1, 2]}, r"row 3, column 'y_true': 2 is neither 0 nor 1"),
        ({"y_true": [np.nan] * 4}, r"'y_true' is empty in every row"),
        ({"case_id": ["a", "b", "a", "d"]}, r"row 4: a second score .* Keep one row each"),
        ({"case_id": ["a", None, "c", "d"]}, r"row 3, column 'case_id': empty"),
        ({"decision": [0, 1, 0, 7]}, r"row 5, column 'decision': 7 is neither 0 nor 1"),
        ({"split": ["train", "test", "test", "test"]}, r"row 3, column 'split': .* 'train' and in 'test'"),
    ],
)  # fmt: skip
def test_faults_are_named_by_row_and_column(changes: dict, message: str) -> None:
    with pytest.raises(TableError, match=message):
        validate(good(**changes))


def test_row_numbers_do_not_depend_on_the_index() -> None:
    wrong = good(score=[0.1, 0.8, np.nan, 0.6]).set_index(pd.Index([7, 5, 3, 1]))
    with pytest.raises(TableError, match="row 4, column 'score'"):
        validate(wrong)


def test_missing_columns_suggest_the_nearest() -> None:
    with pytest.raises(TableError, match=r"'score' is missing. Did you mean 'scores'\?"):
        validate(good().rename(columns={"score": "scores"}))
    with pytest.raises(TableError, match=r"'case_id' is missing. Did you mean 'caseid'\?"):
        validate(good().rename(columns={"case_id": "caseid"}))
    with pytest.raises(TableError, match=r"'y_true' is missing.*Columns found: case_id"):
        validate(good().drop(columns="y_true"))
    with pytest.raises(TableError, match="no rows"):
        validate(good().iloc[:0])


@pytest.mark.parametrize("y", ["y", "label", "Ground Truth", "truth"])
@pytest.mark.parametrize("score", ["prob", "p", "pred", "Probability", "y_score"])
def test_familiar_names_are_understood(y: str, score: str) -> None:
    table = good()[["case_id", "y_true", "score"]].rename(columns={"y_true": y, "score": score})
    found = validate(table, model="vendor")
    assert found["score"].tolist() == [0.1, 0.8, 0.3, 0.6] and (found["model"] == "vendor").all()
    notes = " ".join(found.attrs["notes"])
    assert f"{score!r} was read as score" in notes and "no patient_id" in notes
    assert found.attrs["notes"] == validate(found).attrs["notes"]  # they survive a second check


def test_pred_beside_a_score_is_a_decision() -> None:
    found = validate(good().assign(pred=[0, 1, 1, 1]))
    assert found["decision"].tolist() == [0, 1, 1, 1]


def test_identifiers_keep_their_leading_zeros(tmp_path: Path) -> None:
    path = tmp_path / "vendor.csv"
    path.write_text("Image Index,Patient,y,p\n007,01,0,.2\n008,02,1,.9\n")
    found = read_predictions(path)
    assert found["case_id"].tolist() == ["007", "008"] and found["patient_id"].tolist() == ["01", "02"]
    assert (found["model"] == "vendor").all()


def test_a_wide_table_becomes_one_row_a_finding() -> None:
    wide = pd.DataFrame(
        {"case_id": ["a", "b"], "age": [1, 2], "y_Mass": [0, 1], "p_Mass": [0.2, 0.7], "y_Hernia": [0, 0],
         "p_Hernia": [0.1, 0.3]}
    )  # fmt: skip
    found = validate(wide)
    assert sorted(zip(found["target"], found["case_id"], found["y_true"], found["score"], strict=True)) == [
        ("Hernia", "a", 0, 0.1), ("Hernia", "b", 0, 0.3), ("Mass", "a", 0, 0.2), ("Mass", "b", 1, 0.7),
    ]  # fmt: skip
    assert covariates(found) == ["age"]
    with pytest.raises(TableError, match="row 3, column 'p_Mass': NaN"):
        validate(wide.assign(p_Mass=[0.2, np.nan]))


def test_unknown_truths_are_left_out_aloud() -> None:
    found = validate(good(y_true=[0, np.nan, 0, 1]))
    assert len(found) == 3 and "1 rows without y_true" in found.attrs["notes"][0]


def test_scores_that_are_no_probabilities_are_noted() -> None:
    assert any("no probabilities" in n for n in validate(good(score=[-3.0, 2, 1, 4])).attrs["notes"])


def test_resamples_are_not_duplicates_but_folds_of_one_patient_are_noted() -> None:
    twice = pd.concat([good(repeat=0), good(repeat=1)], ignore_index=True)
    assert len(validate(twice)) == 8
    notes = validate(good(fold=[0, 1, 1, 1])).attrs["notes"]
    assert any("1 patients are in several folds" in n for n in notes)
    crossed = pd.concat([good(fold=0, split="train"), good(fold=1, split="test")], ignore_index=True)
    assert len(validate(crossed)) == 8  # training in one fold and tested in another is cross-validation


def test_several_classes_are_checked() -> None:
    many = good(y_true=["x", "y", "x", "y"]).drop(columns="score")
    many = many.assign(**{"score:x": [0.9, 0.2, 0.7, 0.4], "score:y": [0.1, 0.8, 0.3, 0.6]})
    assert validate(many)["y_true"].tolist() == ["x", "y", "x", "y"]
    with pytest.raises(TableError, match=r"row 3, column 'y_true': class 'z' .* Classes scored: x, y"):
        validate(many.assign(y_true=["x", "z", "x", "y"]))
    with pytest.raises(TableError, match="row 4, column 'score:y': NaN"):
        validate(many.assign(**{"score:y": [0.1, 0.8, np.nan, 0.6]}))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    write_predictions(good(), tmp_path / name)
    found = read_predictions(tmp_path / name)
    pd.testing.assert_frame_equal(found, validate(good()), check_dtype=False)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_refused_table_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TableError):
        write_predictions(good(score=np.nan), tmp_path / "t.parquet")
    with pytest.raises(TableError, match=r"\.parquet or \.csv"):
        write_predictions(good(), tmp_path / "t.xlsx")
    assert not list(tmp_path.iterdir())


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(TableError, match="empty"):
        read_predictions(tmp_path / "empty.csv")
    for name in ("broken.parquet", "binary.csv"):
        (tmp_path / name).write_bytes(b"\x89PNG\x00\xff\xfe" * 20)
        with pytest.raises((ReadError, TableError), match=name):
            read_predictions(tmp_path / name)


# --- other people's files ------------------------------------------------------------------------------

ROWS = [("a", "0", "0.125"), ("b", "1", "0.75"), ("c", "1", "0.5")]


def written(
    path: Path, separator: str = ",", decimal: str = ".", encoding: str = "utf-8", top: str = ""
) -> Path:
    lines = ["case_id,patient_id,y_true,score".replace(",", separator)]
    lines += [separator.join((case, "01", y, p.replace(".", decimal))) for case, y, p in ROWS]
    path.write_bytes((top + "\n".join(lines) + "\n").encode(encoding))
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"separator": ";", "decimal": ","},  # what a spreadsheet of continental Europe saves as CSV
        {"separator": ";", "decimal": ",", "top": "sep=;\n"},
        {"separator": ";"},
        {"separator": "\t", "decimal": ","},
        {"separator": "|"},
        {"encoding": "utf-16"},
        {"encoding": "utf-8-sig"},
    ],
    ids=str,
)
def test_separators_decimal_signs_and_encodings(tmp_path: Path, options: dict) -> None:
    found = read_predictions(written(tmp_path / "vendor.csv", **options))
    assert found["score"].tolist() == [0.125, 0.75, 0.5] and found["y_true"].tolist() == [0, 1, 1]
    assert found["patient_id"].tolist() == ["01"] * 3
    said = " ".join(found.attrs["notes"])
    assert ("decimal comma" in said) == (options.get("decimal") == ",")


def test_windows_text_and_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "umlaut.csv"
    path.write_bytes("case_id,y_true,score\nMüller,0,.1\nMeier,1,.9\n".encode("cp1252"))
    found = read_predictions(path)
    assert found["case_id"].tolist() == ["Müller", "Meier"] and "Windows-1252" in found.attrs["notes"][0]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(written(tmp_path / "t.csv").read_bytes()))
    assert read_predictions(tmp_path / "t.csv.gz")["score"].tolist() == [0.125, 0.75, 0.5]


def test_workbooks_and_blank_rows(tmp_path: Path) -> None:
    (tmp_path / "book.csv").write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(ReadError, match=r"workbook. Save its sheet as CSV"):
        read_predictions(tmp_path / "book.csv")
    path = written(tmp_path / "t.csv", ";")
    path.write_text(path.read_text() + ";;;\n;;;\n")
    found = read_predictions(path)
    assert len(found) == 3 and any("2 rows without any entry" in n for n in found.attrs["notes"])


def test_a_row_is_the_row_of_the_spreadsheet(tmp_path: Path) -> None:
    """The header is row 1, also where a wide table was unfolded or Excel put a line before the header."""
    path = written(tmp_path / "t.csv", ";", top="sep=;\n")
    path.write_text(path.read_text().replace("0.75", "high"))
    with pytest.raises(TableError, match=r"row 4, column 'score': 'high'"):
        read_predictions(path)
    wide = pd.DataFrame({"y_A": [0, 1, 0], "p_A": [0.1, 0.2, 0.3], "y_B": [0, 7, 1], "p_B": [0.1, 0.2, 0.3]})
    with pytest.raises(TableError, match=r"row 3, column 'y_true': 7"):
        validate(wide)


@pytest.mark.parametrize(
    "labels",
    [["no", "yes"], ["Negative", "Positive"], ["absent", "present"], [False, True], ["FALSE", "TRUE"]],
)
def test_words_for_yes_and_no(labels: list) -> None:
    found = validate(good(y_true=labels * 2, decision=labels * 2))
    assert found["y_true"].tolist() == found["decision"].tolist() == [0, 1, 0, 1]


def test_other_labels_need_the_positive_one_named() -> None:
    sick = good(y_true=["sick", "well", "sick", "odd"])
    with pytest.raises(TableError, match=r"Labels found: odd, sick, well. Name the one .*--positive"):
        validate(sick)
    found = validate(sick, positive="sick")
    assert found["y_true"].tolist() == [1, 0, 1, 0]
    assert "column 'y_true': sick was read as 1, odd, well as 0" in found.attrs["notes"]
    with pytest.raises(
        TableError, match=r"no case of column 'y_true' is 'ill'. Labels found: odd, sick, well"
    ):
        validate(sick, positive="ill")
    assert validate(good(y_true=[-1, 1, -1, 1]), positive="1")["y_true"].tolist() == [0, 1, 0, 1]


def test_models_in_a_column_or_as_columns() -> None:
    wide = (
        good().drop(columns=["score", "model"]).assign(resnet=[0.1, 0.8, 0.3, 0.6], vit=[0.2, 0.3, 0.4, 0.5])
    )
    with pytest.raises(TableError, match=r"'score' is missing. .* resnet, vit. .* --model COLUMN"):
        validate(wide)
    found = validate(wide, models=["resnet", "vit"])
    assert found.groupby("model")["score"].sum().round(6).to_dict() == {"resnet": 1.8, "vit": 1.4}
    long = pd.concat([good(), good(model="n")], ignore_index=True)
    assert validate(long, models=["n"])["model"].unique().tolist() == ["n"]
    with pytest.raises(TableError, match=r"no model 'x' in column 'model'. Models: m, n"):
        validate(long, models=["x"])
    with pytest.raises(TableError, match=r"no column 'rsnet' .* Did you mean 'resnet'"):
        validate(wide, models=["rsnet"])


def test_truth_of_any_name() -> None:
    table = good().rename(columns={"y_true": "Biopsy result"})
    with pytest.raises(TableError, match=r"'y_true' is missing.*--truth COLUMN"):
        validate(table)
    assert validate(table, truth="Biopsy result")["y_true"].tolist() == [0, 1, 0, 1]
    assert validate(good(biopsy=[1, 1, 0, 0]), truth="biopsy")["y_true"].tolist() == [1, 1, 0, 0]


def test_columns_of_class_probabilities() -> None:
    table = pd.DataFrame({"label": ["b", "a", "c"], "prob_a": [0.2, 0.7, 0.1], "prob_b": [0.5, 0.2, 0.1],
                          "prob_c": [0.3, 0.1, 0.8]})  # fmt: skip
    found = validate(table)
    assert {"score:a", "score:b", "score:c"} <= set(found) and found["y_true"].tolist() == ["b", "a", "c"]
    two = pd.DataFrame({"y_true": [0, 1], "prob_0": [0.9, 0.2], "prob_1": [0.1, 0.8]})
    assert validate(two)["score"].tolist() == [0.1, 0.8]
    named = table[:2][["label", "prob_a", "prob_b"]]
    assert validate(named, positive="b")["score"].tolist() == [0.5, 0.2]
    with pytest.raises(TableError, match=r"no column score:B. Columns of scores: score:a, score:b"):
        validate(named, positive="B")
    unlike = table.assign(label=[0, 1, 1])  # nothing says which class is 1: never guessed
    with pytest.raises(TableError, match=r"'score' is missing"):
        validate(unlike)


@pytest.mark.parametrize(
    "names", [("label_{}", "pred_{}"), ("{}", "prob_{}"), ("true_{}", "score_{}")], ids=str
)
def test_pairs_of_other_names(names: tuple[str, str]) -> None:
    y, p = names
    wide = pd.DataFrame({y.format("Mass"): [0, 1], p.format("Mass"): [0.2, 0.7], "age": [1, 2]})
    found = validate(wide)
    assert found["target"].unique().tolist() == ["Mass"] and found["score"].tolist() == [0.2, 0.7]
    assert covariates(found) == ["age"]


def test_calls_without_a_score() -> None:
    found = validate(good(decision=[0, 1, 1, 1]).drop(columns="score"))
    assert found["score"].tolist() == [0, 1, 1, 1] and "the decision serves" in " ".join(found.attrs["notes"])
    named = validate(pd.DataFrame({"y_true": list("abca"), "y_pred": list("abcc")}))
    assert named["score:c"].tolist() == [0, 0, 1, 1] and named["decision"].tolist() == list("abcc")
    keras = validate(pd.DataFrame({"y_true": [0, 1], "y_pred": [0.25, 0.5]}))  # a probability by that name
    assert keras["score"].tolist() == [0.25, 0.5]
    with pytest.raises(TableError, match=r"row 2, column 'y_true': 'sick' is neither"):
        validate(pd.DataFrame({"truth": ["sick", "well"], "predicted": ["sick", "well"]}))


def test_percentages() -> None:
    assert validate(good(score=["10%", "80 %", "30.5%", "60%"]))["score"].tolist() == [0.1, 0.8, 0.305, 0.6]
    assert "If they are percentages" in " ".join(validate(good(score=[10, 80, 30, 60])).attrs["notes"])
    assert "percentages" not in " ".join(validate(good(score=[-1, 8, 3, 6])).attrs["notes"])


@pytest.mark.parametrize("column", ["threshold", "decision"])
def test_a_threshold_or_decision_for_some_cases_only_is_refused(column: str) -> None:
    """Else the default of 0.5 would take its place without a word."""
    with pytest.raises(TableError, match=f"row 4, column '{column}': empty, though other cases"):
        validate(good(**{column: [1, 1, np.nan, 1]}))
    other = pd.concat([good(**{column: 1}), good(model="n")], ignore_index=True)
    assert validate(other)[column].notna().sum() == 4


# --- times to an event -----------------------------------------------------------------------------------


def timed(**changes) -> pd.DataFrame:
    rows = good().drop(columns="y_true").assign(target="os")
    return rows.assign(
        **{"time:os": [3.5, 10, 8, 1], "event:os": [1, 0, 1, 0], "score": [2, -1, 0.5, 0.2]} | changes
    )


def test_a_time_to_an_event_needs_no_y_true() -> None:
    found = validate(timed(**{"surv:12": [0.1, 0.9, 0.4, 0.5]}))
    assert found["y_true"].isna().all() and found["score"].tolist() == [2, -1, 0.5, 0.2]
    assert is_survival(found).all() and survival_targets(found) == ["os"]
    assert horizon_columns(found) == {12.0: "surv:12"} and covariates(found) == ["age"]
    assert found.attrs["notes"] == []  # a risk is no probability, and need not be one
    assert validate(found).equals(found)


def test_times_and_binary_targets_share_a_table(tmp_path: Path) -> None:
    both = pd.concat([good(), timed()], ignore_index=True)
    for name in ("t.csv", "t.parquet"):
        write_predictions(both, tmp_path / name)
        found = read_predictions(tmp_path / name)
        assert found[~is_survival(found)]["y_true"].tolist() == [0, 1, 0, 1]
        assert found[is_survival(found)]["time:os"].tolist() == [3.5, 10, 8, 1]
    with pytest.raises(TableError, match=r"'y_true' is empty in every row"):
        validate(both.assign(y_true=np.nan))


def test_events_coded_1_and_2_alone_are_noted() -> None:
    given = {"lung": [1, 2] * 2, "causes": [0, 1, 2, 1], "deaths": 1, "three": [1, 2, 3, 1]}
    codes = {name: validate(timed(**{"event:os": c})).attrs["notes"] for name, c in given.items()}
    assert [name for name, notes in codes.items() if any("subtract 1" in n for n in notes)] == ["lung"]


def test_a_column_called_time_is_a_covariate_as_before() -> None:
    assert covariates(validate(good(**{"time:scan": 3.0}))) == ["age", "time:scan"]
    found = validate(good(**{"time:os": 3.0, "event:os": 1}))  # of another target: binary as before
    assert not is_survival(found).any() and found["y_true"].tolist() == [0, 1, 0, 1]
