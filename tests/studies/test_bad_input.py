"""A study that is given something wrong says what, where and what next, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.cohort import read_cohort, write_cohort
from radfoundry.errors import InputError
from radfoundry.studies.inputs import labelled

STUDIES = {"ila_vs_atelectasis": "ila", "foreign_body_aspiration": "fba"}


def no_label(table: pd.DataFrame) -> pd.DataFrame:
    return table[[c for c in table if not c.startswith("y:")]]


def constant(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{c: 1 for c in table if c.startswith("y:")})


def words(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(age=["old"] + ["50"] * (len(table) - 1))


def two_splits(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(patient_id="p1", split=["train", "test"] * (len(table) // 2))


def missing_file(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(image=["images/absent.png", *table["image"][1:]])


def twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.head(1)])


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_label, "label column"),
        (constant, "y:"),
        (words, "row 2, column 'age'"),
        (two_splits, "column 'split'"),
        (missing_file, "row 2, column 'image'"),
        (twice, "case_id"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_a_wrong_table_is_refused(
    study: str, spoil: Callable, said: str, cohorts: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    cohort = read_cohort(cohorts[STUDIES[study]])
    write_cohort(cohort, tmp_path / "data" / "cohort.csv")
    table = pd.read_csv(tmp_path / "data" / "cohort.csv", dtype=str)
    spoil(table).to_csv(tmp_path / "data" / "cohort.csv", index=False)
    code = main(
        ["study", "run", study, "--cohort", str(tmp_path / "data" / "cohort.csv"), "--out",
         str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    )  # fmt: skip
    error = capsys.readouterr().err
    assert code == 2 and "error: " in error and said in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--encoder", "rad-dinno"], "rad-dino"),
        (["--encoder", "medsiglip"], "--accept-licence"),
        (["--target", "fracture"], "fracture"),
        (["--design", "split"], "column 'split'"),
        (["--repeats", "0"], "--repeats must be at least 1, not 0"),
        (["--jobs", "-3"], "--jobs must be at least 0"),
    ],
    ids=lambda v: v[-1] if isinstance(v, list) else "",
)
def test_a_wrong_option_is_refused(
    study: str, options: list[str], said: str, cohorts: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = ["--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    encoder = [] if "--encoder" in options else ["--encoder", "raw-pixels"]
    code = main(["study", "run", study, "--cohort", str(cohorts[STUDIES[study]]), "--no-controls",
                 *encoder, *options, *places])  # fmt: skip
    assert code != 0 and said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "few-case"], "Did you mean 'few-cases'?"),
        (["--transfer", "resnet"], "Known: efficientnet-lite0, mobilenet-v2"),
        (["--loss", "hinge"], "weighted-bce, focal"),
        (["--size", "100"], "multiple of 32"),
        (["--transfer-weights", "nowhere.pt"], "no file 'nowhere.pt' for efficientnet-lite0"),
    ],
    ids=lambda v: v[-1] if isinstance(v, list) else "",
)
def test_a_wrong_setting_of_the_networks_is_refused_at_once(
    options: list[str], said: str, cohorts: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = ["--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    code = main(
        ["study", "run", "foreign_body_aspiration", "--cohort", str(cohorts["fba"]), *options, *places]
    )
    assert code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_broken_image_is_left_out_and_said(cohorts: dict[str, Path], tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(cohorts["ila"].parent, tmp_path / "data")
    cohort = read_cohort(tmp_path / "data")
    broken = cohort.image_path(3, "image")
    broken.write_bytes(broken.read_bytes()[:60])
    places = ["--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    few = [
        "--no-controls",
        "--repeats",
        "1",
        "--seeds",
        "1",
        "--n-boot",
        "50",
        "--n-perm",
        "5",
        "--jobs",
        "1",
    ]
    code = main(["study", "run", "ila_vs_atelectasis", "--cohort", str(tmp_path / "data" / "cohort.csv"),
                 "--encoder", "raw-pixels", *few, *places])  # fmt: skip
    assert code == 0
    notes = json.loads((tmp_path / "run" / "sections.json").read_text())["notes"]
    assert any("1 images of" in note and "gave no vector" in note for note in notes)
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert table["case_id"].nunique() == len(cohort) - 1


def test_a_wrong_modality_is_refused_with_the_remedy(
    cohorts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = read_cohort(cohorts["ila"])
    cohort.meta["modality"] = "US"
    write_cohort(cohort, tmp_path / "data" / "cohort.csv")
    controls = ["--no-controls", "--encoder", "random:torchxrayvision-densenet121-all"]
    places = ["--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    code = main(["study", "run", "ila_vs_atelectasis", "--cohort", str(tmp_path / "data" / "cohort.csv"),
                 *controls, *places])  # fmt: skip
    assert code == 2 and "mend `modality:` in cohort.yaml" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("positive", "names"), [(1, ("well", "sick")), (0, ("sick", "well"))])
def test_names_follow_the_positive_class(
    positive: int, names: tuple[str, str], cohorts: dict[str, Path]
) -> None:
    cohort = read_cohort(cohorts["ila"])
    before = cohort.labels("ila")
    cohort.meta["targets"] = {
        "ila": {"kind": "binary", "positive": positive, "classes": {0: "well", 1: "sick"}}
    }
    data = labelled(cohort, "ila")
    assert (data.negative, data.positive) == names
    np.testing.assert_array_equal(data.y, before if positive == 1 else 1 - before)


def test_three_classes_are_refused(cohorts: dict[str, Path]) -> None:
    cohort = read_cohort(cohorts["ila"])
    cohort.table["y:stage"] = np.arange(len(cohort)) % 3
    with pytest.raises(InputError, match="3 classes"):
        labelled(cohort, "stage")
