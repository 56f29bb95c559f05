"""`radfoundry plan learning-curve`: from a feature table, from a measured curve, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.plan.learning_curve import Plan, measure

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
    cohort, features = str(folder / "cohort.csv"), str(folder / "radiomics.csv")
    return main(["plan", "learning-curve", cohort, "--features", features, *SMALL, *words])


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
        (["--target", "ila", "--prevalence", "1.5"], "--prevalence must lie"),
        (["--target", "ila", "--metric", "brier"], "falls as a model gets better"),
        (["--target", "ila", "--families", "powr"], "Did you mean 'power'"),
        (["--target", "ila", "--sizes", "90"], "too few for the smallest subset"),
        (["--target", "ila", "--features", "nowhere.csv"], "no such file"),
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


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("case,f1\nc001,1\n", "no column 'case_id'"),
        ("case_id,f1\nc001,1\nc001,2\n", "is there twice"),
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
