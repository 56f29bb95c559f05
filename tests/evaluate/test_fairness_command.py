"""`radfoundry evaluate --subgroup`: groups as ever, then the gaps; files, JSON and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main

QUICK = ["--n-boot", "100", "--n-perm", "100"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    n = 240
    y = (rng.random(n) < 0.4).astype(int)
    row, parts = np.arange(n), np.repeat(["validation", "test"], [160, 80])
    table = pd.DataFrame(
        {"case_id": [f"c{i}" for i in row], "patient_id": [f"p{i // 2}" for i in row], "y_true": y,
         "score": np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0.01, 0.99), "sex": np.where(row % 4 < 2, "F", "M"),
         "age": np.repeat(rng.integers(20, 90, n // 2), 2), "split": parts}
    )  # fmt: skip
    path = tmp_path / "p.csv"
    table.to_csv(path, index=False)
    table[table["split"] == "test"].drop(columns="split").to_csv(tmp_path / "one.csv", index=False)
    return path


def test_groups_come_as_before_and_then_the_gaps(file: Path, capsys) -> None:
    assert main(["evaluate", str(file.with_name("one.csv")), "--subgroup", "sex", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert (
        printed.index("sex F: auroc") < printed.index("by subgroup") < printed.index("Gaps between subgroups")
    )
    assert "not distinguishable with this n" in printed and "equalised odds" in printed
    assert "Highest and lowest were picked on these data" in printed
    assert main(["evaluate", str(file.with_name("one.csv")), *QUICK]) == 0
    assert "Gaps" not in capsys.readouterr().out


def test_json_keeps_its_format_and_gains_gaps(file: Path, capsys) -> None:
    words = ["evaluate", str(file.with_name("one.csv")), "--json", *QUICK]
    assert main(words) == 0
    before = json.loads(capsys.readouterr().out)
    assert main([*words, "--subgroup", "sex", "--subgroup", "sex*age:quantile=2", "--min-n", "5"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["format"] == before["format"] == 1 and "gaps" not in before
    whole = [e for e in content["estimates"] if e["subgroup"] is None]
    assert whole[: len(before["estimates"])] == before["estimates"]
    assert {"selection_rate", "observed_minus_expected"} == {
        e["name"] for e in whole[len(before["estimates"]) :]
    }
    assert {g["covariate"] for g in content["gaps"]} == {"sex", "sex*age:quantile=2"}
    auc = next(g for g in content["gaps"] if g["metric"] == "auroc" and g["covariate"] == "sex")
    assert auc["gap"] == pytest.approx(auc["value_a"] - auc["value_b"]) and 0 < auc["p"] <= 1
    assert {"p_holm", "p_bh", "detectable", "more_patients", "by_chance", "verdict"} <= set(auc)


def test_a_subgroup_asked_for_twice_comes_once(file: Path, capsys) -> None:
    printed = []
    for words in (["--subgroup", "sex"], ["--subgroup", "sex", "--subgroup", "sex"]):
        assert (
            main(["evaluate", str(file), *words, "--group-thresholds", "validation", "--json", *QUICK]) == 0
        )
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_that_differ_in_signs_alone_have_a_forest_each(file: Path, tmp_path: Path) -> None:
    one = pd.read_csv(file.with_name("one.csv"))
    rows = pd.concat([one.assign(target=t) for t in ("x/y", "x y", "肺炎")])
    rows.to_csv(tmp_path / "three.csv", index=False)
    words = ["evaluate", str(tmp_path / "three.csv"), "--subgroup", "sex", "--out", str(tmp_path / "out")]
    assert main([*words, *QUICK]) == 0
    assert {p.name for p in (tmp_path / "out").glob("subgroups*.svg")} == {
        "subgroups_x-y.svg", "subgroups_x-y_2.svg", "subgroups_肺炎.svg",
    }  # fmt: skip


def test_a_folder_gets_the_gaps_and_the_forest_plot(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["evaluate", str(file.with_name("one.csv")), "--subgroup", "sex", "--out", str(out), *QUICK]
    assert main(words) == 0
    assert {"gaps.csv", "subgroups.svg", "subgroups.png", "subgroups.csv"} <= {p.name for p in out.iterdir()}
    records = json.loads((out / "metrics.json").read_text())
    gap = next(e for e in records if e["name"] == "auroc_gap")
    assert " minus " in gap["subgroup"] and "p = " in gap["note"]
    assert set(pd.read_csv(out / "metrics.csv")["name"]) == {e["name"] for e in records}
    assert pd.read_csv(out / "gaps.csv")["metric"].tolist()[0] == "auroc"


def test_against_the_rest_is_printed_when_asked_for(file: Path, capsys) -> None:
    words = ["evaluate", str(file.with_name("one.csv")), "--subgroup", "age:tertile", "--min-n", "5", *QUICK]
    assert main(words) == 0
    short = capsys.readouterr().out
    assert "the rest" not in short.replace("against the rest", "") and "--all prints it" in short
    assert main([*words, "--all"]) == 0
    assert capsys.readouterr().out.count("the rest") >= 6


def test_thresholds_by_group_are_an_analysis_on_other_rows(file: Path, capsys) -> None:
    words = ["evaluate", str(file), "--subgroup", "sex", "--group-thresholds", "validation", *QUICK]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert (
        "Equal sensitivity in every subgroup, thresholds chosen on split validation: an analysis" in printed
    )
    assert main([*words, "--json", "--equal", "fpr"]) == 0
    found = json.loads(capsys.readouterr().out)["group_thresholds"]
    assert [f["group"] for f in found] == ["sex F", "sex M"]
    assert {(f["chosen_on"], f["judged_on"], f["equal"]) for f in found} == {("validation", "test", "fpr")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--subgroup", "sx"], "Did you mean 'sex'"),
        (["--subgroup", "age:quartle"], "'quartle' is not understood"),
        (["--subgroup", "sex", "--group-thresholds", "nowhere"], "no rows with 'nowhere' in column 'split'"),
        (["--group-thresholds", "validation"], "needs --subgroup"),
        (["--subgroup", "sex", "--n-perm", "5"], "--n-perm must be at least 100"),
    ],
)
def test_what_is_wrong_is_refused_with_the_reason(file: Path, words: list[str], message: str, capsys) -> None:
    assert main(["evaluate", str(file), "--n-boot", "100", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and not captured.out
    assert (
        main(["evaluate", str(file.with_name("one.csv")), "--subgroup", "sex", "--group-thresholds", "x"])
        == 2
    )
    assert "the table has no such column" in capsys.readouterr().err
