"""`radfoundry plan learning-curve`: from a feature table, from a measured curve, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.errors import TableError
from radfoundry.plan.learning_curve import Plan, measure
from radfoundry.plan.measured import read_curves

RNG = np.random.default_rng(0)
SMALL = [
    "--sizes",
    "5",
    "8",
    "12",
    "20",
    "25",
    "--negatives",
    "1",
    "--repeats",
    "3",
    "--folds",
    "2",
    "--jobs=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of 120 cases with two labels, and a table of 10 features for 118 of them."""
    root = tmp_path_factory.mktemp("plan")
    y = np.arange(120) % 2
    case = [f"c{i:03d}" for i in range(120)]
    (root / "a.png").write_bytes(b"")
    table = pd.DataFrame({"case_id": case, "patient_id": [f"p{i:03d}" for i in RNG.permutation(120)],
                          "image": "a.png", "y:ila": y, "y:noise": RNG.permutation(y)})  # fmt: skip
    table.to_csv(root / "cohort.csv", index=False)
    x = pd.DataFrame(RNG.standard_normal((120, 10)) + 0.7 * y[:, None] * (np.arange(10) < 4), index=case)
    x.columns = [f"f{i}" for i in range(10)]
    x.rename_axis("case_id").reset_index().iloc[:118].to_csv(root / "radiomics.csv", index=False)
    return root


def run(folder: Path, *words: str) -> int:
    """The command on the cohort and its table, with the options of SMALL that `words` do not set."""
    cohort, features = str(folder / "cohort.csv"), str(folder / "radiomics.csv")
    usual, kept = ["--features", features, *SMALL], []
    for index, word in enumerate(usual):
        flag = next(w.partition("=")[0] for w in reversed(usual[: index + 1]) if w.startswith("--"))
        kept += [] if flag in words else [word]
    return main(["plan", "learning-curve", cohort, *kept, *words])


def test_feature_table_to_forecast(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(folder, "--target", "ila", "--goal", "0.8", "--back-test-from", "12",
               "--prevalence", "0.1", "--price", "5", "--out", str(tmp_path / "out"), "--json")  # fmt: skip
    assert code == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    (curve,) = content["curves"]
    assert (curve["target"], curve["name"], curve["goal"]) == ("ila", "radiomics", 0.8)
    assert [r["n"] for r in curve["back_test"]["rows"]] == [20, 25]
    assert "2 cases without features were left out" in captured.err
    if curve["n_at"] is not None:
        assert curve["cost"]["cases"] == pytest.approx(np.ceil(curve["n_at"]) / 0.1)
        assert curve["cost"]["budget"] == pytest.approx(5 * curve["cost"]["cases"])
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "curves.csv", "forecast.json", "learning_curve.svg", "learning_curve.png",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "forecast.json").read_text()) == content


def test_measured_values_are_those_of_the_library(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "--target", "ila", "--out", str(tmp_path / "curves.csv")) == 0
    written = (
        pd.read_csv(tmp_path / "curves.csv").pivot(index="repeat", columns="n", values="value").to_numpy()
    )
    cohort = pd.read_csv(folder / "cohort.csv").iloc[:118]
    x = pd.read_csv(folder / "radiomics.csv").drop(columns="case_id").to_numpy()
    plan = Plan((5, 8, 12, 20, 25), 1, 3, 2)
    (found,) = measure({"r": x}, cohort["y:ila"].to_numpy(), cohort["patient_id"].to_numpy(), plan)
    np.testing.assert_allclose(written, found.values, rtol=1e-9)


def test_what_was_measured_can_be_forecast_from_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "--target", "ila", "noise", "--out", str(tmp_path / "curves.csv"))
    capsys.readouterr()
    assert main(["plan", "learning-curve", "--curve", str(tmp_path / "curves.csv"), "--goal", "0.85"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("mean auroc by positives in training") and "ila, radiomics" in text
    assert "noise, radiomics" in text and "The next 10 labels" in text


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([], "2 label columns"),
        (["--target", "ila", "--goal", "1.2"], "must lie between 0 and 1"),
        (["--target", "ila", "--goal", "0.4"], "not above chance"),
        (["--target", "ila", "--price", "5"], "--price needs --prevalence"),
        (["--target", "ila", "--prevalence", "1.5"], "prevalence must lie"),
        (["--target", "ila", "--prevalence", "0.1", "--price", "nan"], "price must lie between"),
        (["--target", "ila", "--prevalence", "0.1", "--price", "inf"], "price must lie between"),
        (["--target", "ila", "--horizon", "nan"], "horizon must lie between"),
        (["--target", "ila", "--horizon", "inf"], "horizon must lie between"),
        (["--target", "ila", "--level", "nan"], "level must lie between"),
        (["--target", "ila", "--worth", "nan"], "worth must lie between"),
        (["--target", "ila", "--negatives", "inf"], "negatives must lie between"),
        (["--target", "ila", "--back-test-from", "nan"], "back-test-from must lie between"),
        (["--target", "ila", "--draws", "1000000000"], "draws must lie between"),
        (["--target", "ila", "--folds", "1"], "folds must lie between"),
        (["--target", "ila", "--jobs", "-3"], "jobs must lie between"),
        (["--target", "ila", "--seed", "-1"], "seed must lie between"),
        (["--target", "ila", "--goal", "nan"], "the goal for auroc must lie"),
        (["--target", "ila", "--metric", "brier"], "falls as a model gets better"),
        (["--target", "ila", "--families", "powr"], "Did you mean 'power'"),
        (["--target", "ila", "--sizes", "90"], "too few for the smallest subset"),
        (["--target", "ila", "--features", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--target", "ila", "--features"], "name at least one --encoder"),
        (["--target", "ila", "--curve", "x.csv"], "either a cohort, or --curve"),
    ],
)
def test_what_is_refused(
    words: list[str],
    match: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert run(folder, *words) == 2
    captured = capsys.readouterr()
    assert match in captured.err and not captured.out
    assert sorted(folder.iterdir()) == before


def measured(folder: Path, cohort: Path, features: Path, out: Path) -> pd.DataFrame:
    words = [str(cohort), "--features", str(features), *SMALL, "--target", "ila", "--out", str(out / "c.csv")]
    assert main(["plan", "learning-curve", *words]) == 0
    return pd.read_csv(out / "c.csv")


@pytest.mark.parametrize("column", ["none", "gone.png"])
def test_feature_tables_need_no_images(column: str, folder: Path, tmp_path: Path) -> None:
    cohort = pd.read_csv(folder / "cohort.csv")
    changed = cohort.drop(columns="image") if column == "none" else cohort.assign(image=column)
    changed.to_csv(tmp_path / "cohort.csv", index=False)
    found = measured(folder, tmp_path / "cohort.csv", folder / "radiomics.csv", tmp_path)
    expected = measured(folder, folder / "cohort.csv", folder / "radiomics.csv", tmp_path)
    pd.testing.assert_frame_equal(found, expected)


def test_only_cases_that_a_table_lacks_are_left_out(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(folder / "radiomics.csv")
    table.loc[:40, "f3"] = np.nan
    table.loc[[3, 50], "f1"] = [np.inf, 1e300]
    table.assign(f9=np.nan).to_csv(tmp_path / "holes.csv", index=False)
    measured(folder, folder / "cohort.csv", tmp_path / "holes.csv", tmp_path)
    captured = capfd.readouterr()
    assert "2 cases without features were left out" in captured.err and "Warning" not in captured.err
    assert "note: holes: 1 of 10 features are empty and were left out" in captured.out
    assert "43 values in 42 cases are missing or infinite" in captured.out


def test_labels_in_a_feature_table_are_no_features(folder: Path, tmp_path: Path) -> None:
    table = pd.read_csv(folder / "radiomics.csv")
    label = pd.read_csv(folder / "cohort.csv")["y:ila"].iloc[:118]
    table.assign(**{"y:ila": label, "time:death": label, "event:death": label}).to_csv(
        tmp_path / "radiomics.csv", index=False
    )
    found = measured(folder, folder / "cohort.csv", tmp_path / "radiomics.csv", tmp_path)
    expected = measured(folder, folder / "cohort.csv", folder / "radiomics.csv", tmp_path)
    pd.testing.assert_frame_equal(found, expected)


def test_case_ids_keep_their_leading_zeros(folder: Path, tmp_path: Path) -> None:
    for name in ("cohort", "radiomics"):
        table = pd.read_csv(folder / f"{name}.csv")
        table["case_id"] = table["case_id"].str.removeprefix("c")
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    assert len(measured(folder, tmp_path / "cohort.csv", tmp_path / "radiomics.csv", tmp_path)) == 15


def test_tables_without_a_common_case_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(folder / "radiomics.csv")
    for name, rows in (("a", slice(0, 60)), ("b", slice(60, 118))):
        table.iloc[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    words = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert run(folder, "--target", "ila", "--features", *words) == 2
    assert "no labelled case has features in all of a, b" in capsys.readouterr().err


def test_curves_in_percent_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "curve.csv").write_text("n,repeat,value\n5,0,61\n10,0,70\n5,1,62\n10,1,71\n")
    assert main(["plan", "learning-curve", "--curve", str(tmp_path / "curve.csv")]) == 2
    captured = capsys.readouterr()
    assert "row 2, column 'value'" in captured.err and "by 100" in captured.err and not captured.out


def test_labels_of_one_class_are_shown_as_plain_numbers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(folder / "cohort.csv").assign(**{"y:ila": 0.0})
    table.to_csv(tmp_path / "cohort.csv", index=False)
    words = [str(tmp_path / "cohort.csv"), "--features", str(folder / "radiomics.csv"), "--target", "ila"]
    assert main(["plan", "learning-curve", *words]) == 2
    error = capsys.readouterr().err
    assert "every labelled row is 0" in error and "np." not in error


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("case,f1\nc001,1\n", "no column 'case_id'"),
        ("case_id,f1\nc001,1\nc001,2\n", "row 3: case 'c001' occurs twice"),
        ("case_id,f1\nc001,a\nc002,b\n", "no column of numbers"),
        ("case_id,f1\nx1,1\nx2,2\n", "no case_id of"),
    ],
)  # fmt: skip
def test_wrong_feature_tables(
    text: str, match: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    assert run(folder, "--target", "ila", "--features", str(tmp_path / "bad.csv")) == 2
    assert match in capsys.readouterr().err


def written_curves(path: Path, metric: str = "", **columns: object) -> Path:
    """Four curves of two labels at six sizes, as somebody else measured them."""
    rng = np.random.default_rng(0)
    n = np.array([5, 10, 15, 20, 30, 50])
    tables = []
    for index, (target, name) in enumerate([("rare", "a"), ("rare", "b"), ("common", "a"), ("common", "b")]):
        value = 0.9 - (0.5 + 0.1 * index) * n**-0.5 + 0.005 * rng.standard_normal((10, 6))
        table = pd.DataFrame(value, columns=n).assign(repeat=range(10)).melt("repeat", var_name="n")
        cases = {"test_cases": 200, "test_positives": 10 if target == "rare" else 100}
        tables.append(table.assign(target=target, name=name, **cases, **columns))
    whole = pd.concat(tables)
    (whole.assign(metric=metric) if metric else whole).to_csv(path, index=False)
    return path


def forecast_of(path: Path, *words: str) -> int:
    return main(["plan", "learning-curve", "--curve", str(path), "--goal", "0.85", "--draws", "100", *words])


@pytest.mark.parametrize("option", [
    ["--target", "rare"], ["--encoder", "raw-pixels"], ["--weights", "a.pt"], ["--features", "x.csv"],
    ["--sizes", "5", "10"], ["--negatives", "5"], ["--repeats", "3"], ["--folds", "2"], ["--design", "cv"],
    ["--head", "knn"], ["--store", "s"], ["--device", "cuda"], ["--accept-licence", "A"], ["--jobs", "1"],
])  # fmt: skip
def test_options_that_measure_are_refused_beside_a_measured_curve(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forecast_of(written_curves(tmp_path / "curve.csv"), *option) == 2
    captured = capsys.readouterr()
    assert f"{option[0]}: for measuring a curve" in captured.err and not captured.out


def test_metric_of_a_measured_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare, named = written_curves(tmp_path / "bare.csv"), written_curves(tmp_path / "named.csv", "auprc")
    for path, words in ((bare, ["--metric", "auprc"]), (named, ["--metric", "auprc"]), (named, [])):
        assert forecast_of(path, "--json", *words) == 0
        assert {c["metric"] for c in json.loads(capsys.readouterr().out)["curves"]} == {"auprc"}
    assert forecast_of(bare, "--json") == 0
    assert {c["metric"] for c in json.loads(capsys.readouterr().out)["curves"]} == {"auroc"}


@pytest.mark.parametrize(
    ("metric", "match"),
    [("f1", "column 'metric' of curve.csv says auprc"), ("auroc", "says auprc"), ("auk", "no metric 'auk'"),
     ("brier", "falls as a model gets better")],
)  # fmt: skip
def test_another_metric_than_the_files_is_refused(
    metric: str, match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = "" if metric == "brier" else "auprc"
    assert forecast_of(written_curves(tmp_path / "curve.csv", stated), "--metric", metric) == 2
    assert match in capsys.readouterr().err


def test_a_curve_of_two_metrics_is_refused_and_python_callers_are_told_too(tmp_path: Path) -> None:
    path = written_curves(tmp_path / "curve.csv", "auprc")
    with pytest.raises(TableError, match="says auprc, and auroc was asked for"):
        read_curves(path, metric="auroc")
    table = pd.read_csv(path)
    table.loc[3, "metric"] = "f1"
    table.to_csv(path, index=False)
    with pytest.raises(TableError, match="has auprc and f1 in the column 'metric'"):
        read_curves(path)


def test_cost_of_a_curve_whose_ratio_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written_curves(tmp_path / "curve.csv")
    assert forecast_of(path, "--prevalence", "0.7") == 0
    assert "Positives alone are counted" in capsys.readouterr().out
    assert forecast_of(path, "--prevalence", "0.7", "--json") == 0
    known = [c["cost"] for c in json.loads(capsys.readouterr().out)["curves"] if c["cost"]]
    assert known and all(c["negatives"] is None and c["binds"] == "positives" for c in known)
    assert forecast_of(path, "--prevalence", "1") == 0  # nothing is known of negatives to miss


def test_cost_counts_the_negatives_of_the_curve(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = ["--target", "ila", "--goal", "0.7", "--store", str(tmp_path / "store"), "--draws", "100"]
    words = [*alike, "--prevalence", "0.8"]
    assert run(folder, *words, "--json") == 0
    (curve,) = json.loads(capsys.readouterr().out)["curves"]
    assert curve["cost"]["binds"] == "negatives"
    assert curve["cost"]["cases"] == pytest.approx(np.ceil(curve["n_at"]) / 0.2)
    assert curve["next_labels"]["positives"] == pytest.approx(2)
    assert run(folder, *words) == 0
    assert "The negatives bind: " in capsys.readouterr().out
    assert run(folder, *alike, "--prevalence", "0.1") == 0
    assert "The positives bind: " in capsys.readouterr().out
    assert run(folder, *alike, "--prevalence", "1") == 2
    assert "no negative case is ever found" in capsys.readouterr().err


def test_early_slope_ends_where_the_back_test_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from radfoundry.plan.learning_curve import early_slope
    from radfoundry.plan.measured import read_curves

    path = written_curves(tmp_path / "curve.csv")
    for until in (15, 50):
        assert forecast_of(path, "--back-test-from", str(until), "--json") == 0
        slope = json.loads(capsys.readouterr().out)["early_slope"]
        assert slope["until"] == until
        expected = [early_slope(m, until=until) for m in read_curves(path)]
        assert [r["slope"] for r in slope["rows"]] == pytest.approx(expected)
    assert forecast_of(path, "--back-test-from", "15") == 0
    assert "Early slope (up to 15 positives)" in capsys.readouterr().out


def test_every_label_is_drawn_with_its_own_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from radfoundry.report import figures

    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, *_: drawn.append(figure))
    path = written_curves(tmp_path / "curve.csv")
    assert forecast_of(path, "--metric", "auprc", "--out", str(tmp_path / "out")) == 0
    assert [levels(axes) for axes in drawn[0].axes] == [{0.85, 0.05}, {0.85, 0.5}]


def levels(axes) -> set[float]:
    """Heights of the level lines of a panel."""
    heights = [np.unique(np.asarray(own.get_ydata(), float)) for own in axes.lines]
    return {round(float(y[0]), 3) for y in heights if len(y) == 1}


def test_tables_that_would_share_a_name_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = next(folder.glob("*.csv"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text(table.read_text())
    words = ["--features", str(tmp_path / "a" / "x.csv"), str(tmp_path / "b" / "x.csv")]
    assert main(["plan", "learning-curve", str(folder / "cohort.csv"), *words, "--goal", "0.9"]) != 0
    assert "would be called x, as" in capsys.readouterr().err


def test_gains_beyond_the_horizon_are_not_made_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written_curves(tmp_path / "curve.csv")
    assert forecast_of(path, "--horizon", "1") == 0
    said = capsys.readouterr().out
    assert "they lie beyond the horizon. Raise --horizon" in said and "expected to buy" not in said
