"""Feature tables of a grid: what is refused, what is imputed, and lesions pooled by patient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radfoundry.cli.main import main
from radfoundry.cohort import read_cohort
from radfoundry.errors import InputError, RadfoundryError, TableError, UnknownName
from radfoundry.plan import tables
from radfoundry.plan.grid import grid_from, read_grid
from radfoundry.plan.label_columns import holding, telling
from radfoundry.plan.lesions import by_patient

N = 24
GRID = """
cohort: cohort.csv
target: grows
features:
  texture: {table: texture.csv}
  size: {table: size.csv, columns: [volume_mm3], role: volume}
  age: {columns: [age], role: clinical}
  both: {join: [texture, size]}
repeats: 2
folds: 3
inner: 2
"""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """24 patients with two lesions each, tables by lesion, and a grid."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(N), 2)
    y = (patient % 3 == 0).astype(int)
    cases = [f"c{i:02d}" for i in range(2 * N)]
    pd.DataFrame({
        "case_id": cases, "patient_id": [f"p{i:02d}" for i in patient], "y:grows": y, "age": 40.0 + patient,
    }).to_csv(tmp_path / "cohort.csv", index=False)  # fmt: skip
    texture = rng.normal(size=(2 * N, 6)) + y[:, None]
    pd.DataFrame(texture, columns=[f"t{i}" for i in range(6)]).assign(case_id=cases).to_csv(
        tmp_path / "texture.csv", index=False
    )
    pd.DataFrame({"case_id": cases, "volume_mm3": rng.uniform(50, 900, 2 * N)}).to_csv(
        tmp_path / "size.csv", index=False
    )
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path


def read(folder: Path) -> tables.Features:
    cohort = read_cohort(folder / "cohort.csv", need_images=False)
    return tables.read(read_grid(folder / "grid.yaml"), cohort)


def change(folder: Path, name: str, **columns: object) -> None:
    pd.read_csv(folder / name).assign(**columns).to_csv(folder / name, index=False)  # type: ignore[arg-type]


def test_constant_and_missing_features_are_counted_or_refused(made: Path) -> None:
    first = pd.read_csv(made / "texture.csv")["t1"].where(np.arange(2 * N) > 3)
    change(made, "texture.csv", t0=3.0, t1=first)
    notes = " ".join(read(made).notes)
    assert "texture: 1 of 6 columns are constant" in notes and "values are missing" in notes
    change(made, "texture.csv", **{f"t{i}": np.nan if i % 2 else 1.0 for i in range(6)})
    with pytest.raises(InputError, match="texture: all 6 columns are constant or empty over 48"):
        read(made)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("kind", ["columns", "vector"])
def test_what_is_no_number_counts_as_missing_and_is_said(
    made: Path, bad: float, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(made / "texture.csv")
    table.loc[[3, 5], "t1"] = bad
    table.loc[7, "t1"] = np.nan
    if kind == "vector":
        values = table.drop(columns="case_id").to_numpy()
        table = pd.DataFrame({"case_id": table["case_id"], "vector": list(values)})
        table.to_parquet(made / "texture.parquet")
        (made / "grid.yaml").write_text(GRID.replace("texture.csv", "texture.parquet"))
    else:
        table.to_csv(made / "texture.csv", index=False)
    found = read(made)
    assert np.isnan(found.matrices["texture"][[3, 5, 7], 1]).all()
    assert int(np.isnan(found.matrices["texture"]).sum()) == int(np.isnan(found.matrices["both"]).sum()) == 3
    notes = " ".join(found.notes)
    assert (
        "texture: 2 values are infinite or too large" in notes and "1.0% of the values are missing" in notes
    )
    out = made / "run"
    options = ["--out", str(out), "--store", str(made / "store"), "--jobs", "1"]
    assert main(["ablate", str(made / "grid.yaml"), *options]) == 0
    assert "texture: 2 values are infinite" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        ({"case_id": "c00"}, TableError, "row 3: case 'c00' occurs twice"),
        ({"case_id": [f"x{i}" for i in range(48)]}, TableError, "no case of .* is in its table"),
        ({"volume_mm3": "large"}, TableError, r"column 'volume_mm3' .* holds text \('large'\)"),
    ],
)
def test_a_wrong_table_is_named_with_its_set(
    made: Path, columns: dict, error: type[Exception], words: str
) -> None:
    change(made, "size.csv", **columns)
    with pytest.raises(error, match=words):
        read(made)


def test_labels_and_ids_in_a_table_are_no_features_and_ids_keep_their_leading_zeros(made: Path) -> None:
    before = read(made).matrices["texture"]
    for name in ("cohort", "texture", "size"):
        table = pd.read_csv(made / f"{name}.csv")
        ids = table["case_id"].str.removeprefix("c")
        table.assign(case_id=ids).to_csv(made / f"{name}.csv", index=False)
    y = pd.read_csv(made / "cohort.csv")["y:grows"]
    labels = {f"{kind}:grows": y for kind in ("y", "time", "event", "truth")}
    table = pd.read_csv(made / "texture.csv", dtype={"case_id": str})
    table.assign(patient_id=np.arange(len(table)), **labels).to_csv(made / "texture.csv", index=False)
    found = read(made)
    assert found.complete.all() and found.names["texture"] == tuple(f"t{i}" for i in range(6))
    np.testing.assert_array_equal(found.matrices["texture"], before)


def labels(folder: Path) -> pd.Series:
    return pd.read_csv(folder / "cohort.csv")["y:grows"]


@pytest.mark.parametrize("name", ["grows", "GROWS", " grows ", "os"])
def test_a_column_named_like_a_label_is_refused_whatever_it_holds(made: Path, name: str) -> None:
    change(made, "cohort.csv", **{"time:os": np.linspace(1, 90, 2 * N), "event:os": 1})
    change(made, "texture.csv", **{name: np.random.default_rng(1).normal(size=2 * N)})
    with pytest.raises(TableError, match=rf"texture: .*column '{name}' is named like the label"):
        read(made)


def test_a_pattern_does_not_let_a_label_in(made: Path) -> None:
    change(made, "texture.csv", **{"y:grows": labels(made), "truth:other": 1.0})
    (made / "grid.yaml").write_text(GRID.replace("texture.csv}", "texture.csv, columns: ['t*']}"))
    with pytest.raises(TableError, match="column 'truth:other' is named like the label"):
        read(made)


@pytest.mark.parametrize("coding", ["as it is", "turned", "1 and 2", "with gaps", "text labels", "a time"])
def test_a_column_that_holds_a_label_is_refused_under_any_name(made: Path, coding: str) -> None:
    y = labels(made).astype(float)
    if coding == "text labels":
        change(made, "cohort.csv", **{"y:grows": np.where(y == 1, "fast", "slow")})
    if coding == "a time":
        change(made, "cohort.csv", **{"time:os": np.linspace(1, 90, 2 * N), "event:os": 1})
    held = {"turned": 1 - y, "1 and 2": 1 + y, "with gaps": y.where(np.arange(2 * N) > 4),
            "a time": np.linspace(1, 90, 2 * N)}.get(coding, y)  # fmt: skip
    change(made, "texture.csv", outcome=held)
    with pytest.raises(TableError, match=r"'outcome' holds the values of the label '(y:grows|time:os)'"):
        read(made)


@pytest.mark.parametrize("kind", ["one wrong", "mostly missing", "constant", "finer"])
def test_a_column_that_is_no_label_stays(made: Path, kind: str) -> None:
    y = labels(made).astype(float)
    at = np.arange(2 * N)
    kept = {"one wrong": y.where(at != 7, 1 - y), "mostly missing": y.where(at < 20), "constant": 0 * y,
            "finer": y + at / 100}[kind]  # fmt: skip
    change(made, "texture.csv", other=kept)
    assert "other" in read(made).names["texture"]


def test_a_label_known_in_a_handful_of_cases_refuses_no_column_that_meets_it_by_luck() -> None:
    few = pd.Series([0.0, 0, 0, 0, 1, 1, 1, 1] + [np.nan] * 292)
    many = pd.Series([0.0, 1] * 150)
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 2, (300, 100)).astype(float)
    columns[:, 7], columns[:8, 9] = many, few[:8]
    assert not len(holding(columns, few))
    assert holding(columns, many).tolist() == [7]
    assert holding(columns[:4, :1], pd.Series([0.0, 0, 1, 1])).tolist() == []


@pytest.mark.parametrize("values", ["number", "words"])
def test_a_covariate_that_is_the_label_asked_for_is_refused_and_another_label_is_not(
    made: Path, values: str
) -> None:
    y = labels(made)
    held = np.where(y == 1, "yes", "no") if values == "words" else 3 - y
    change(made, "cohort.csv", kind=held)
    (made / "grid.yaml").write_text(GRID.replace("[age]", "[kind]"))
    grid, cohort = read_grid(made / "grid.yaml"), read_cohort(made / "cohort.csv", need_images=False)
    with pytest.raises(TableError, match=r"age: .* column 'kind' holds the values of the label 'y:grows'"):
        tables.read(grid, cohort, "grows", y.to_numpy())
    change(made, "cohort.csv", **{"y:kind": held, "y:grows": np.arange(2 * N) % 2})
    cohort = read_cohort(made / "cohort.csv", need_images=False)
    with pytest.raises(TableError, match="column 'kind' is named like the label 'y:kind'"):
        tables.read(grid, cohort, "kind", y.to_numpy())
    assert tables.read(grid, cohort).complete.all()


def test_a_label_in_a_table_stops_the_commands_and_one_column_that_tells_it_is_noted(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    y = labels(made)
    nearly = y + np.linspace(0, 0.5, 2 * N)  # tells the label, and is not its values
    change(made, "texture.csv", t1=nearly.where(np.arange(2 * N) != 5))
    out, store = made / "run", made / "store"
    grid = ["ablate", str(made / "grid.yaml"), "--out", str(out), "--store", str(store), "--jobs", "1"]
    curve = ["plan", "learning-curve", str(made / "cohort.csv"), "--features", str(made / "texture.csv")]
    curve += ["--sizes", "4", "6", "--negatives", "1", "--repeats", "2", "--folds", "2", "--jobs", "1"]
    assert main(grid) == 0
    (noted,) = [
        note for note in json.loads((out / "sections.json").read_text())["notes"] if "alone tells" in note
    ]
    assert noted.startswith("texture: column 't1' alone tells the label (AUC 1.000). Make sure")
    capsys.readouterr()
    assert main(curve) == 0
    assert "texture: column 2 of 6 alone tells the label (AUC 1.000)" in capsys.readouterr().out
    change(made, "texture.csv", grows=y)
    for command in ([*grid, "--force"], curve):
        assert main(command) == 2
        assert "column 'grows' is named like the label 'y:grows'" in capsys.readouterr().err


def test_with_few_cases_the_note_says_what_luck_gives() -> None:
    y = np.array([1, 0, 0, 0, 1, 0])
    (words,) = telling("many", np.column_stack([1 - y, y * np.nan, np.arange(6), y + np.arange(6) / 10]), y)
    assert "column 1 of 4 and 1 more alone tells" in words and "luck gives 0.53 such columns" in words
    assert telling("few", np.arange(6.0)[:, None], y) == []


def test_an_unknown_column_and_a_missing_file(made: Path) -> None:
    grid = made / "grid.yaml"
    grid.write_text(GRID.replace("volume_mm3", "volum_mm3"))
    with pytest.raises(UnknownName, match="Did you mean 'volume_mm3'"):
        read(made)
    grid.write_text(GRID.replace("texture.csv", "absent.csv"))
    with pytest.raises(InputError, match=r"absent\.csv does not exist"):
        read(made)


def test_lesions_are_pooled_by_the_grid_or_the_set(made: Path) -> None:
    texture, size = (pd.read_csv(made / f"{n}.csv").drop(columns="case_id") for n in ("texture", "size"))
    patient = pd.read_csv(made / "cohort.csv")["patient_id"].to_numpy(str)[::-1].copy()
    grid = grid_from(
        {
            "pool": "mean",
            "features": {
                "texture": {"table": "t.csv"},
                "peak": {"table": "t.csv", "pool": "max"},
                "main": {"table": "t.csv", "pool": "largest"},
                "size": {"table": "s.csv", "role": "volume", "pool": "max"},
                "both": {"join": ["main", "size"]},
            },
        },
        made,
    )
    matrices = {name: texture.to_numpy() for name in ("texture", "peak", "main")}
    matrices |= {"size": size.to_numpy(), "both": np.zeros((2 * N, 7))}
    pooled, rows = by_patient(matrices, grid, patient)
    # pandas as the other way round: groups in the order in which patients first occur.
    groups = texture.groupby(patient, sort=False)
    assert rows.tolist() == list(range(0, 2 * N, 2))
    np.testing.assert_allclose(pooled["texture"], groups.mean(), rtol=1e-6)
    np.testing.assert_allclose(pooled["peak"], groups.max(), rtol=1e-6)
    largest = size.groupby(patient, sort=False)["volume_mm3"].idxmax()
    np.testing.assert_allclose(pooled["main"], texture.loc[largest], rtol=1e-6)
    np.testing.assert_array_equal(pooled["both"], np.hstack([pooled["main"], pooled["size"]]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pool: median", "no pool 'median'"),
        ("pool: attention", "AttentionPool"),
        ("features: {size: {table: size.csv, pool: mean}}", "Add `pool: mean`"),
        ("features: {texture: {table: texture.csv}}\npool: largest", "role: volume"),
    ],
)
def test_a_pool_that_cannot_be(made: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    sets = GRID[GRID.index("features") : GRID.index("repeats")]
    grid, out = made / "grid.yaml", made / "run"
    grid.write_text(f"{GRID.replace(sets, '') if 'features' in text else GRID}{text}\n")
    code = main(["ablate", str(grid), "--out", str(out), "--store", str(made / "store")])
    assert code and words in capsys.readouterr().err and not (made / "run").exists()


def test_a_patient_whose_lesions_differ_is_not_pooled(made: Path) -> None:
    change(made, "cohort.csv", **{"y:grows": np.arange(2 * N) % 2})
    (made / "grid.yaml").write_text(GRID + "pool: mean\n")
    with pytest.raises(RadfoundryError, match="24 of 24 patients have lesions with different labels"):
        from radfoundry.studies.ablation import AblateConfig, run

        run(AblateConfig(made / "grid.yaml", out=made / "run", store=made / "store", jobs=1))


def test_the_command_pools_and_says_so(made: Path) -> None:
    (made / "grid.yaml").write_text(GRID + "pool: largest\n")
    out = made / "run"
    options = ["--out", str(out), "--store", str(made / "store"), "--jobs", "1"]
    assert main(["ablate", str(made / "grid.yaml"), *options]) == 0
    table = pd.read_parquet(out / "predictions.parquet")
    assert set(table["case_id"]) == {f"p{i:02d}" for i in range(N)} == set(table["patient_id"])
    estimates = json.loads((out / "metrics.json").read_text())
    assert {e["n"] for e in estimates if e["name"] == "auroc"} == {N}
    assert "48 lesions of 24 patients" in (out / "report.html").read_text()
