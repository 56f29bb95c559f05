"""`radfoundry evaluate` and `compare` on tables with a time to an event."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.evaluate.survival import aalen_johansen


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


def written(folder: Path, name: str, rows: pd.DataFrame) -> str:
    rows.to_csv(folder / f"{name}.csv", index=False)
    return str(folder / f"{name}.csv")


def test_compare_refuses_times_that_differ_and_names_no_case(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table().assign(model="theirs")
    rows.loc[3, "time:os"] += 1
    assert main(["compare", str(file), written(tmp_path, "theirs", rows)]) == 2
    said = capsys.readouterr().err
    assert "column 'time:os' differs between the tables in 1 cases (target os)" in said
    assert "case-3" not in said


def test_compare_leaves_training_cases_out_aloud_and_refuses_them_alone(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = table(noise=2.0).assign(model="theirs")
    other = written(tmp_path, "theirs", noisy)
    assert main(["compare", str(file), other, "--n-boot", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["n"] for one in found["comparisons"]] == [100, 100]
    assert "first table: 100 rows of split train were left out" in " ".join(found["notes"])
    tests = [t.query("split == 'test'").drop(columns="split") for t in (table(), noisy)]
    alone = [written(tmp_path, name, t) for name, t in zip("ab", tests, strict=True)]
    assert main(["compare", *alone, "--n-boot", "100", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["comparisons"]
    assert [one["difference"] for one in again] == [one["difference"] for one in found["comparisons"]]
    train = written(tmp_path, "train", noisy.query("split == 'train'"))
    assert main(["compare", str(file), train]) == 2
    assert "every time to an event of the second table is of split train" in capsys.readouterr().err


def test_compare_takes_competing_causes_where_they_are_declared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for name, noise in (("a", 0.0), ("b", 2.0)):
        rows = table(noise=noise).drop(columns="split").assign(model=name)
        rows.loc[::7, "event:os"] = 2
        files.append(written(tmp_path, name, rows))
    assert main(["compare", *files, "--n-boot", "100"]) == 2
    assert "--competing" in capsys.readouterr().err
    assert main(["compare", *files, "--competing", "--n-boot", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["comparisons"]] == ["c_harrell"]
    assert "other causes count as censored" in found["comparisons"][0]["note"]
    assert any("c_uno not given" in note for note in found["notes"])


def labels(model: str) -> pd.DataFrame:
    return pd.DataFrame({"case_id": [f"case-{i}" for i in range(200)], "model": model, "target": "mass",
                         "patient_id": [f"patient-{i}" for i in range(200)],
                         "y_true": np.arange(200) % 2,
                         "score": np.random.default_rng(len(model)).random(200)})  # fmt: skip


def test_compare_keeps_times_and_labels_apart(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(file), written(tmp_path, "labels", labels("b").assign(target="os"))]) == 2
    assert "Compare them apart" in capsys.readouterr().err


def test_compare_tests_times_and_labels_of_one_table_each_in_its_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = (
        pd.concat([table(noise=n).drop(columns="split").assign(model=m), labels(m)], ignore_index=True)
        for m, n in (("ours", 0.0), ("theirs", 2.0))
    )
    files = [written(tmp_path, name, t) for name, t in (("a", ours), ("b", theirs))]
    assert main(["compare", *files, "--n-boot", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    by_target = {t: {c["name"] for c in found["comparisons"] if c["target"] == t} for t in ("os", "mass")}
    assert by_target["os"] == {"c_harrell", "c_uno"} and "auroc" in by_target["mass"]
    assert found["unmatched"] == {"a": 0, "b": 0}
    alone = written(tmp_path, "alone", labels("theirs"))
    assert main(["compare", files[0], alone, "--n-boot", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {c["target"] for c in found["comparisons"]} == {"mass"} and found["unmatched"]["a"] == 200
    assert any("times to an event stand in the first table alone: 200" in n for n in found["notes"])


@pytest.mark.parametrize("horizon", ["-1", "0", "nan", "inf"])
def test_a_horizon_is_a_time_above_zero(file: Path, horizon: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(file), "--horizon", horizon]) == 2
    assert "--horizon must be a time above zero" in capsys.readouterr().err


def test_competing_risks_are_drawn_as_incidence(file: Path, tmp_path: Path) -> None:
    rows = table()
    rows.loc[::7, "event:os"] = 2
    causes, out = written(tmp_path, "causes", rows), tmp_path / "judged"
    words = ["evaluate", causes, "--competing", "--cutoff", "0", "--n-boot", "100", "--out", str(out)]
    assert main(words) == 0
    assert {p.name for p in out.glob("*.svg")} == {"cumulative_incidence_os_ours.svg"}
    drawn = pd.read_csv(out / "cumulative_incidence_os_ours.csv")
    high = rows[(rows["split"] == "test") & (rows["score"] >= 0)]
    curve = aalen_johansen(high["time:os"], high["event:os"])
    assert drawn.loc[drawn["group"] == "high risk", "value"].tolist() == pytest.approx(curve.value.tolist())


def test_rows_of_one_patient_are_drawn_without_a_log_rank_p(tmp_path: Path) -> None:
    rows = table().drop(columns="split").assign(patient_id=lambda t: [f"p{i // 2}" for i in range(len(t))])
    out = tmp_path / "judged"
    words = ["evaluate", written(tmp_path, "rows", rows), "--cutoff", "0", "--n-boot", "100"]
    assert main([*words, "--out", str(out)]) == 0
    assert "Log-rank" not in (out / "kaplan_meier_os_ours.svg").read_text()


def test_many_models_have_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [table(noise=n).drop(columns="split").assign(model=f"m{n}") for n in range(4)]
    path = written(tmp_path, "four", pd.concat([*rows, labels("m")], ignore_index=True))
    assert main(["evaluate", path, "--n-boot", "100"]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines() if line.startswith("os ")]
    assert [line[1] for line in lines] == ["m0", "m1", "m2", "m3"]
    assert main(["evaluate", path, "--n-boot", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["estimates"]
    for line in lines:
        own = {e["name"]: e for e in found if (e["model"], e["target"]) == (line[1], "os")}
        c, n = own["c_harrell"], str(own["events"]["n"])
        assert line[2:5] == [n, f"{own['events']['value']:.0f}", f"{c['value']:.3f}"]
        assert line[5:8] == [f"{c['low']:.3f}", "to", f"{c['high']:.3f}"]
        assert line[8] == f"{own['c_uno']['value']:.3f}"
    assert "mass" in said and "auroc" in said


@pytest.mark.filterwarnings("ignore:Glyph")  # the drawing's font may lack the sign, the name of its file not
@pytest.mark.parametrize(
    ("names", "files"),
    [
        (("肺炎", "肿瘤"), {"kaplan_meier_肺炎.svg", "kaplan_meier_肿瘤.svg"}),
        (("x/y", "x y"), {"kaplan_meier_x-y.svg", "kaplan_meier_x-y_2.svg"}),
    ],
)
def test_outcomes_of_any_name_have_a_file_each(
    names: tuple[str, str], files: set[str], tmp_path: Path
) -> None:
    rows = (
        table()
        .drop(columns="split")
        .rename(columns={f"{w}:os": f"{w}:{names[0]}" for w in ("time", "event")})
    )
    rows = rows.assign(target=names[0], **{f"time:{names[1]}": 7.0, f"event:{names[1]}": 1})
    both = pd.concat([rows, rows.assign(target=names[1])], ignore_index=True)
    out = tmp_path / "judged"
    assert main(["evaluate", written(tmp_path, "two", both), "--n-boot", "100", "--out", str(out)]) == 0
    assert {p.name for p in out.glob("*.svg")} == files


def test_a_cutoff_that_suits_one_model_alone_stops_neither_numbers_nor_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = table().drop(columns="split")
    path = written(tmp_path, "two", pd.concat([ours, ours.assign(model="far", score=ours["score"] + 99)]))
    out = tmp_path / "judged"
    assert main(["evaluate", path, "--cutoff", "0", "--n-boot", "100", "--out", str(out)]) == 0
    assert "all 200 cases are of high risk" in capsys.readouterr().out
    assert set(pd.read_csv(out / "kaplan_meier_os_far.csv")["group"]) == {"all"}


def test_thresholds_of_groups_need_labels_and_a_split_to_judge_on_before_any_work(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("the bootstraps began")

    monkeypatch.setattr("radfoundry.evaluate.evaluate", never)
    words = ["--subgroup", "sex", "--group-thresholds", "test"]
    assert main(["evaluate", str(file), *words]) == 2
    assert "every row predicts a time to an event" in capsys.readouterr().err
    only = written(tmp_path, "only", labels("m").assign(split="test", sex="F"))
    assert main(["evaluate", only, *words]) == 2
    assert "need another split to be judged on" in capsys.readouterr().err
    assert main(["evaluate", only, *words[:-1], "tuning"]) == 2
    assert "no rows with 'tuning' in column 'split'" in capsys.readouterr().err
