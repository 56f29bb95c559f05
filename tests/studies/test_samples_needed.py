"""The study end to end on small phantoms, with encoders that need no weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from radfoundry.cli.main import main
from radfoundry.cohort import read_cohort, write_cohort
from radfoundry.studies import samples_needed as study

SMALL = {"sizes": (3, 4, 6, 8, 12), "negatives": 1.0, "repeats": 3, "folds": 2, "back_test_from": 6,
         "n_boot": 200, "n_perm": 5, "jobs": 1}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(cohorts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms with a second label: age above its median."""
    found = read_cohort(cohorts["ila"])
    found.table["y:old"] = (found.table["age"] > found.table["age"].median()).astype(int)
    return write_cohort(found, tmp_path_factory.mktemp("cohort") / "cohort.csv")


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    config = study.Config(
        cohort=cohort, targets=("ila", "old"), encoder=("random-projection",), out=root / "run",
        store=root / "store", price=3.0, prevalence=0.2, **SMALL,
    )  # fmt: skip
    return study.run(config)


def sections(run: Path) -> dict[str, dict]:
    return {s["key"]: s for s in json.loads((run / "sections.json").read_text())["sections"]}


def test_the_run_folder_is_whole(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"manifest.json", "metrics.json", "report.html", "figures", "log.txt"} <= names
    assert (finished / "figures" / "learning_curve.svg").is_file()
    assert (finished / "figures" / "learning_curve-2.png").is_file()
    assert (finished / "figures" / "curves_by_label.svg").is_file()
    manifest = json.loads((finished / "manifest.json").read_text())
    assert {e["name"] for e in manifest["encoders"]} == {"random-projection", "raw-pixels"}


def test_every_label_and_encoder_has_its_verdict(finished: Path) -> None:
    rows = sections(finished)["samples_needed"]["rows"]
    assert {(r[0], r[1]) for r in rows} == {
        (t, n) for t in ("ila", "old") for n in ("random-projection", "raw-pixels")
    }
    known = {"reached", "forecast", "beyond the horizon", "not reached", "below chance", "falling", "no fit"}
    assert {r[3] for r in rows} <= known


def test_back_test_and_metrics_agree(finished: Path) -> None:
    rows = sections(finished)["back_test"]["rows"]
    assert rows and all(r[2] > 6 for r in rows)
    metrics = {e["name"]: e for e in json.loads((finished / "metrics.json").read_text())}
    assert metrics["back_test_mae"]["value"] == pytest.approx(np.mean([abs(r[6]) for r in rows]))
    assert metrics["back_test_coverage"]["value"] == pytest.approx(np.mean([r[7] == "yes" for r in rows]))


def test_report_holds_methods_audit_and_slope(finished: Path) -> None:
    found = sections(finished)
    assert {"question", "methods", "audit", "families", "early_slope"} <= set(found)

    assert "3 x 2-fold" in found["methods"]["text"] and "3 repeats" in found["methods"]["text"]
    assert "Spearman" in found["early_slope"]["caption"]


def test_no_identifier_in_the_log(finished: Path, cohort: Path) -> None:
    log = (finished / "log.txt").read_text()
    assert not [p for p in read_cohort(cohort).patients if p in log]


def test_interrupted_study_goes_on_from_kept_fits(finished: Path, cohort: Path, tmp_path: Path) -> None:
    store = finished.parent / "store"
    places = {"out": tmp_path / "run", "store": store}
    config = study.Config(cohort=cohort, targets=("ila",), encoder=("random-projection",), **places, **SMALL)
    log = (study.run(config) / "log.txt").read_text()
    assert "12 of 12 fits were on disk already" in log


def test_single_missing_features_cost_no_case(
    finished: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = study.inputs.matrix

    def holed(cohort, found):
        x = real(cohort, found)
        x[::2, 1], x[5] = np.nan, np.nan  # an undefined feature, and a case that gave no vector
        return x

    monkeypatch.setattr(study.inputs, "matrix", holed)
    config = study.Config(
        cohort=cohort, targets=("ila",), encoder=("random-projection",), controls=False,
        out=tmp_path / "run", store=finished.parent / "store", **SMALL,
    )  # fmt: skip
    out = study.run(config)
    notes = " ".join(json.loads((out / "sections.json").read_text())["notes"])
    assert "values in" in notes and "are missing or infinite" in notes
    n = {e["n"] for e in json.loads((out / "metrics.json").read_text()) if e["name"].startswith("auroc@")}
    assert n == {len(read_cohort(cohort)) - 1}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--target", "ila", "--sizes", "3", "500", "--negatives", "1"], "500 positives was asked for"),
        (["--target", "ila", "--sizes", "200", "--negatives", "1"], "too few for the smallest subset"),
        (["--target", "ila", "--goal", "0.4"], "not above chance"),
        (["--target", "ila", "--metric", "auk"], "no metric 'auk'"),
        (["--target", "ila", "--design", "split"], "no complete column 'split'"),
        (["--target", "ila", "--prevalence", "2"], "prevalence must lie"),
        (["--target", "ila", "--price", "nan"], "price must lie"),
        (["--target", "ila", "--horizon", "inf"], "horizon must lie"),
        (["--target", "ila", "--worth", "nan"], "worth must lie"),
        (["--target", "ila", "--negatives", "nan"], "negatives must lie"),
        (["--target", "ila", "--back-test-from", "0"], "back-test-from must lie"),
        (["--repeats", "1"], "repeats must lie between 2"),
        ([], "2 label columns"),
    ],
)  # fmt: skip
def test_bad_input_leaves_nothing(
    words: list[str],
    match: str,
    finished: Path,
    cohort: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = [
        "--cohort",
        str(cohort),
        "--store",
        str(finished.parent / "store"),
        "--out",
        str(tmp_path / "run"),
    ]
    options = ["--encoder", "random-projection", "--jobs", "1", "--folds", "2"]
    assert main(["study", "run", "samples_needed", *places, *options, *words]) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
