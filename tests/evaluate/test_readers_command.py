"""`radfoundry readers design | power | analyse`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.datasets import phantom_readers
from tests._data import data_dir

COMPONENTS = [
    "--error", "0.0008022883", "--cov", "0.0003466137", "0.0003440748", "0.0002390284",
    "--modality-reader", "0.0002004025", "--positives", "45", "--negatives", "69",
]  # fmt: skip


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reads")
    made = phantom_readers.make(4, 40, missing=0, seed=1)
    made.write(folder)
    made.table.drop_duplicates("case_id")[["case_id", "y_true"]].to_csv(folder / "cases.csv", index=False)
    return folder


def test_analyse_prints_averages_readers_and_differences(
    reads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["readers", "analyse", str(reads / "reads.csv"), "--reference", "unaided"]) == 0
    out = capsys.readouterr().out
    assert "Obuchowski-Rockette, random readers and cases" in out
    assert "all modalities equal: F(1, " in out
    assert out.count("aided - unaided") == 5  # the average and four readers


def test_analyse_as_json_and_as_a_file_agree(
    reads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    words = ["readers", "analyse", str(reads / "reads.csv"), "--merit", "specificity:0.8:1", "--json"]
    assert main([*words, "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text()) and printed["format"] == 1
    assert printed["merit"] == "partial_auroc at specificity 0.8 to 1"
    assert {one["model"] for one in printed["averages"]} == {"aided", "unaided"}


def test_analyse_takes_what_was_read_and_says_so(
    reads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(reads / "reads.csv").sample(frac=0.95, random_state=0)
    table.to_csv(tmp_path / "some.csv", index=False)
    assert main(["readers", "analyse", str(tmp_path / "some.csv")]) == 0
    said = capsys.readouterr()
    assert "U-statistics" in said.out and "16 of 320 reads are missing" in said.err
    for merit, method in (("sensitivity", "U-statistics"), ("auroc-binormal", "bootstrap")):
        words = ["readers", "analyse", str(tmp_path / "some.csv"), "--merit", merit, "--n-boot", "100"]
        assert main(words) == 0
        assert method in capsys.readouterr().out.splitlines()[0]


def test_non_inferiority_is_printed_with_its_margin(reads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["readers", "analyse", str(reads / "reads.csv"), "--margin", "0.05"]) == 0
    assert "aided not worse than unaided by 0.05: shown" in capsys.readouterr().out


def test_van_dyke_as_printed_by_mrmcaov(capsys: pytest.CaptureFixture[str]) -> None:
    path = data_dir("reader_studies", "VanDyke.csv")
    assert main(["readers", "analyse", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["test"]["statistic"] == pytest.approx(4.484854, abs=5e-7)
    assert found["test"]["p"] == pytest.approx(0.05123303, abs=5e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--merit", "auc"], "no figure of merit"),
        (["--merit", "specificity:2:3"], "lies within 0 to 1"),
        (["--reference", "nobody"], "no modality 'nobody'"),
        (["--modality", "nobody"], "no modality 'nobody'"),
        (["--level", "2"], "between 0 and 1"),
        (["--truth", "gold"], "no column 'gold'"),
    ],
)
def test_a_wrong_option_of_analyse_is_explained(
    options: list[str], said: str, reads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["readers", "analyse", str(reads / "reads.csv"), *options]) == 2
    assert said in capsys.readouterr().err


def test_lists_are_written_without_the_truth(
    reads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lists"
    words = ["readers", "design", str(reads / "cases.csv"), "--readers", "4", "--out", str(out)]
    assert main(words) == 0
    assert "crossover: 4 readers, 40 cases, 320 reads" in capsys.readouterr().out
    files = sorted(path.name for path in out.iterdir())
    assert files == ["overview.csv", *(f"reader-{i}-reader-{i}.csv" for i in range(1, 5))]
    own = pd.read_csv(out / files[1])
    assert "y_true" not in own and sorted(own["session"].unique()) == [1, 2] and len(own) == 80
    assert main(words) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_fault_of_the_cases_names_the_row_of_the_file_and_no_column_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.csv").write_text("case_id,y_true\na,0\n,\nb,1\nb,0\n")
    words = ["readers", "design", str(tmp_path / "cases.csv"), "--readers", "4", "--out", str(tmp_path / "l")]
    assert main(words) == 2
    assert "row 5, column 'case_id': a second row" in capsys.readouterr().err
    assert main([*words, "--stratum", "site"]) == 2
    assert capsys.readouterr().err.strip().endswith("Columns found: case_id, y_true")


def test_names_or_a_number_of_readers_but_not_both(
    reads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["readers", "design", str(reads / "cases.csv"), "--out", str(tmp_path / "lists")]
    assert main(words) == 2
    assert main([*words, "--readers", "4", "--reader", "A"]) == 2
    assert capsys.readouterr().err.count("give either --readers") == 2
    assert main([*words, "--reader", "Anna", "--reader", "Bo", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert {row["reader"] for row in made["overview"]} == {"Anna", "Bo"}


def test_power_is_that_of_published_software(capsys: pytest.CaptureFixture[str]) -> None:
    """RJafroc's tests for Van Dyke: 10 readers, 163 cases and a difference of 0.0438 have power 0.8."""
    words = ["readers", "power", "--difference", "0.043800322", "--readers", "6", "10", "--cases", "165"]
    assert main([*words, *COMPONENTS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["power"][1]["165"] == pytest.approx(0.80542, abs=5e-6)
    assert found["cases_needed"][0]["cases"] == 251


def test_power_from_a_pilot_and_by_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reads = phantom_readers.make(8, 160, missing=0, reliance=0.2, seed=0).write(tmp_path)
    words = ["readers", "power", "--difference", "0.08", "--readers", "4", "--cases", "40", "--pilot",
             str(reads / "reads.csv"), "--simulate", "100"]  # fmt: skip
    assert main(words) == 2
    assert "--auc" in capsys.readouterr().err
    assert main([*words, "--auc", "0.8"]) == 0
    said = capsys.readouterr()
    assert "pilot reads.csv, auroc" in said.out and "simulated 4 readers x 40 cases" in said.out
    assert "components estimated from 8 readers and 160 cases" in said.err


def test_components_come_from_one_place(reads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["readers", "power", "--difference", "0.05"]) == 2
    assert "give --pilot READS" in capsys.readouterr().err
    both = ["readers", "power", "--difference", "0.05", "--pilot", str(reads / "reads.csv"), *COMPONENTS]
    assert main(both) == 2
    assert "brings its own components" in capsys.readouterr().err


def test_unaided_is_the_reference_where_none_is_named(
    reads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(reads / "reads.csv").replace({"modality": {"aided": "with AI", "unaided": "no AI"}})
    table.assign(modality=table["modality"].replace("with AI", "zeta")).to_csv(
        tmp_path / "z.csv", index=False
    )
    words = ["readers", "analyse", str(tmp_path / "z.csv")]
    assert main(words) == 0
    assert "zeta - no AI" in capsys.readouterr().out
    assert main([*words, "--modality", "no AI", "--modality", "zeta"]) == 0
    assert "no AI - zeta" in capsys.readouterr().out


def test_a_seed_below_zero_is_refused_by_every_command(
    reads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["analyse", str(reads / "reads.csv"), "--method", "bootstrap"],
        ["design", str(reads / "cases.csv"), "--readers", "4", "--out", str(tmp_path / "lists")],
        ["power", "--difference", "0.05", *COMPONENTS],
    ):
        assert main(["readers", *words, "--seed", "-1"]) == 2
        assert "seed must lie between 0" in capsys.readouterr().err


def test_counts_of_a_pilot_are_of_the_cases_that_enter_the_figure(
    reads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(reads / "reads.csv")
    negative = table[(table["y_true"] == 0)]["case_id"].iloc[0]
    table = table.drop(index=table.index[table["case_id"] == negative][0])
    table.to_csv(tmp_path / "pilot.csv", index=False)
    counts = table.drop_duplicates("case_id")["y_true"].value_counts()
    words = ["readers", "power", "--difference", "0.1", "--pilot", str(tmp_path / "pilot.csv"), "--json"]
    for merit, lost in (("sensitivity", 0), ("specificity", 1)):
        assert main([*words, "--merit", merit]) == 0
        found = json.loads(capsys.readouterr().out)["components"]
        assert (found["positives"], found["negatives"]) == (counts[1], counts[0] - lost)
        assert found["merit"] == merit
    assert main([*words, "--merit", "sensitivity", "--prevalence", "0.2"]) == 0
    capsys.readouterr()
    for options in (["--auc", "0.8", "--prevalence", "0.2"], ["--auc", "0.8", "--simulate", "50"]):
        assert main([*words, "--merit", "sensitivity", *options]) == 2
        assert "sensitivity" in capsys.readouterr().err


def test_a_simulation_in_groups_rounds_the_counts_and_shows_its_components(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["readers", "power", "--difference", "0.05", *COMPONENTS, "--readers", "4", "--cases", "113",
             "--groups", "2", "--simulate", "100", "--auc", "0.85"]  # fmt: skip
    assert main(words) == 0
    said = capsys.readouterr()
    assert "simulated with 44 positive and 68 negative cases instead of 113 in all" in said.err
    line = next(line for line in said.out.splitlines() if line.startswith("model "))
    assert "Cov1" in line and "(0.000347)" in line and line.endswith("in brackets as given")
