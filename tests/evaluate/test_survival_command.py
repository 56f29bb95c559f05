"""`radfoundry evaluate` and `compare` on tables with a time to an event."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main


def table(n: int = 200, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    time, lost = rng.exponential(600 * np.exp(-risk)), rng.exponential(900, n)
    other = np.random.default_rng(seed + 1).normal(size=n)
    return pd.DataFrame({
        "case_id": [f"case-{i}" for i in range(n)], "patient_id": [f"patient-{i}" for i in range(n)],
        "target": "os", "model": "ours", "score": risk + noise * other,
        "time:os": np.minimum(time, lost), "event:os": (time <= lost).astype(int),
        "split": np.where(np.arange(n) % 2, "test", "train"), "sex": np.where(np.arange(n) % 3, "F", "M"),
    })  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    table().to_csv(tmp_path / "ours.csv", index=False)
    return tmp_path / "ours.csv"


def test_evaluate_prints_c_beside_chance_and_judges_test_cases_alone(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(file), "--horizon", "365", "--cutoff", "train:0.5", "--n-boot", "100"]
    assert main(words) == 0
    said = capsys.readouterr()
    line = next(one for one in said.out.splitlines() if one.startswith("c_harrell"))
    assert " 0.500 " in line and " 100 " in line
    assert "auc@365" in said.out and "hazard_ratio:high risk" in said.out
    assert said.err.count("100 rows of split train were left out") == 1


def test_the_folder_holds_curves_of_both_sides_of_the_cutoff(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "judged"
    words = ["evaluate", str(file), "--cutoff", "0", "--n-boot", "100", "--out", str(out)]
    assert main(words) == 0
    assert {path.name for path in out.iterdir()} == {
        "metrics.json", "metrics.csv",
        *(f"kaplan_meier_os_ours.{kind}" for kind in ("svg", "png", "csv")),
    }  # fmt: skip
    drawn = pd.read_csv(out / "kaplan_meier_os_ours.csv")
    assert set(drawn["group"]) == {"low risk", "high risk"}
    assert "Log-rank p" in (out / "kaplan_meier_os_ours.svg").read_text()


def test_a_subgroup_of_survival_rows_asks_for_no_gaps(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(file), "--subgroup", "sex", "--json", "--n-boot", "100"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "gaps" not in found
    assert {e["subgroup"] for e in found["estimates"]} == {None, "sex F", "sex M"}


def test_training_cases_alone_are_refused_unless_forced(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table().query("split == 'train'").to_csv(tmp_path / "train.csv", index=False)
    words = ["evaluate", str(tmp_path / "train.csv"), "--n-boot", "100"]
    assert main(words) == 2
    assert "fitted on the cases" in capsys.readouterr().err
    assert main([*words, "--in-sample", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["estimates"]
    assert all("fitted" in e["note"] for e in found if not e["name"].endswith("_trivial"))


def test_another_cause_has_to_be_declared(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table()
    rows.loc[::7, "event:os"] = 2
    rows.to_csv(tmp_path / "causes.csv", index=False)
    words = ["evaluate", str(tmp_path / "causes.csv"), "--horizon", "365", "--n-boot", "100"]
    assert main(words) == 2
    assert "another cause" in capsys.readouterr().err
    assert main([*words, "--competing"]) == 0
    assert "cumulative_incidence@365" in capsys.readouterr().out


def test_compare_gives_the_difference_of_both_c_on_shared_cases(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = table().query("split == 'test'").drop(columns="split")
    tests.to_csv(tmp_path / "ours.csv", index=False)
    noisy = table(noise=2.0).query("split == 'test'").drop(columns="split").assign(model="theirs")
    noisy.iloc[5:].to_csv(tmp_path / "theirs.csv", index=False)
    words = ["compare", str(tmp_path / "ours.csv"), str(tmp_path / "theirs.csv"), "--n-boot", "100", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unmatched"] == {"a": 5, "b": 0}
    assert [one["name"] for one in found["comparisons"]] == ["c_harrell", "c_uno"]
    assert all(one["n"] == 95 and one["difference"] > 0 for one in found["comparisons"])


def test_compare_refuses_times_that_differ(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table().assign(model="theirs")
    rows.loc[3, "time:os"] += 1
    rows.to_csv(tmp_path / "theirs.csv", index=False)
    assert main(["compare", str(file), str(tmp_path / "theirs.csv")]) == 2
    assert "column 'time:os' differs between the tables in 1 cases" in capsys.readouterr().err


def test_compare_keeps_times_and_labels_apart(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = pd.DataFrame({"case_id": [f"case-{i}" for i in range(200)], "target": "os", "model": "b",
                           "y_true": np.arange(200) % 2, "score": 0.5})  # fmt: skip
    labels.to_csv(tmp_path / "labels.csv", index=False)
    assert main(["compare", str(file), str(tmp_path / "labels.csv")]) == 2
    assert "Compare them apart" in capsys.readouterr().err
