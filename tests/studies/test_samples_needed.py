"""The study end to end on small phantoms, with encoders that need no weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from radfoundry.cli.main import main
from radfoundry.cohort import read_cohort, write_cohort
from radfoundry.plan.measured import AtTest, Measured
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


def test_the_headline_prints_the_gap_to_raw_pixels_with_its_interval(finished: Path) -> None:
    words = sections(finished)["verdict"]["text"]
    number = r"([+-]0\.\d{3})"
    found = re.findall(rf"raw pixels \({number}, 95% CI {number} to {number}\)", words)
    metrics = json.loads((finished / "metrics.json").read_text())
    gaps = [e for e in metrics if e["name"] == "auroc_difference"]
    assert found and [(f"{e['value']:+.3f}", f"{e['low']:+.3f}", f"{e['high']:+.3f}") for e in gaps] == found
    assert {e["model"] for e in gaps} == {"random-projection minus raw-pixels"}
    assert "old" in {e["target"] for e in gaps}  # of the other label raw pixels are the best features


def curve(name: str, level: float, *, tested: bool = True) -> study._Answer:
    """Six repeats on 90 patients whose components differ by themselves and, by `level`, all together."""
    rng = np.random.default_rng(len(name))
    y = (np.arange(90) % 3 == 0).astype(int)
    parts = np.repeat(np.clip(level + rng.normal(0, 0.05, 90), 0, 1)[None, None], 6, axis=0)
    values = parts[:, :, y == 1].mean(axis=2) + rng.normal(0, 0.002, (6, 1))
    luck = AtTest(y, np.arange(90).astype(str), True, components=parts) if tested else None
    measured = Measured(np.array([20.0]), values, name=name, pool_positives=100, tested=luck)
    return study._Answer(SimpleNamespace(measured=measured), None, 0.3)  # type: ignore[arg-type]


def test_an_encoder_is_ahead_of_raw_pixels_by_more_than_the_luck_of_patients() -> None:
    plain = curve("raw-pixels", 0.7)
    assert "enc is ahead of raw pixels (+0.09" in study._against(curve("enc", 0.8), plain)[0]
    assert "enc is behind raw pixels (-0.10" in study._against(curve("enc", 0.6), plain)[0]
    alone, joint = (study._against(curve("enc", 0.742), plain, among)[0] for among in (1, 4))
    assert "is ahead of" in alone and "is not ahead of" in joint and "joint over 4 encoders" in joint
    said, _ = study._against(curve("enc", 0.8, tested=False), plain)
    assert "no test is made" in said and "ahead" not in said


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


class Page:
    """A run that keeps its tables and figures."""

    def __init__(self) -> None:
        self.tables: dict[str, dict] = {}
        self.figures: dict[str, Figure] = {}

    def set_section(self, key: str, content: dict) -> None:
        self.tables[key] = content

    def save_figure(self, name: str, figure: Figure, *_: object, **__: object) -> None:
        self.figures[name] = figure

    def rows(self, key: str, column: str) -> list:
        at = self.tables[key]["columns"].index(column)
        return [row[at] for row in self.tables[key]["rows"]]


def two_labels(config: study.Config) -> list[study._Answer]:
    """The same curve at 1:5 for a common and for a rare label of 1,000 cases, with their own chance."""
    n, noise = np.array([5, 10, 15, 20, 30, 50.0]), np.random.default_rng(0).standard_normal((10, 6))
    found = []
    for target, positives in (("common", 300), ("rare", 50)):
        measured = Measured(n, 0.95 - 0.8 * n**-0.6 + 0.005 * noise, metric=config.metric, target=target,
                            chance=positives / 1000, negatives=5)  # fmt: skip
        data = SimpleNamespace(y=np.arange(1000) < positives)
        found.append(study._answer(config, data, measured))  # type: ignore[arg-type]  # only y is looked at
    return found


@pytest.mark.parametrize("prevalence", [None, 0.2])
def test_cost_and_next_labels_are_of_one_prevalence(prevalence: float | None) -> None:
    config, page = study.Config(n_boot=200, goal=0.9, prevalence=prevalence), Page()
    answers = two_labels(config)
    study._table(page, config, answers)
    study._labels_to_come(page, config, answers)
    shares = [prevalence or 0.3, prevalence or 0.05]
    assert page.rows("cost", "prevalence") == pytest.approx(shares)
    used = [min(p, (1 - p) / 5) for p in shares]  # positives a case, each with five negatives
    assert [float(x) for x in page.rows("next_labels", "positives more")] == pytest.approx(
        [10 * u for u in used], rel=0.01
    )
    further = [np.ceil(a.forecast.named - 50) for a in answers]
    words = page.rows("cost", "further cases to label")
    cases = [float(found.split(" (")[0].replace(",", "")) for found in words]
    assert cases == pytest.approx([f / u for f, u in zip(further, used)], abs=0.5)
    last = ["negatives" if p > 1 / 6 else "positives" for p in shares]
    assert page.rows("cost", "found last") == last


def test_every_panel_shows_the_chance_of_its_label() -> None:
    config, page = study.Config(n_boot=200, goal=0.9, metric="auprc"), Page()
    study._drawings(page, config, two_labels(config))

    def level(axes: Axes) -> set[float]:
        heights = [np.unique(np.asarray(own.get_ydata(), float)) for own in axes.lines]
        return {round(float(y[0]), 3) for y in heights if len(y) == 1}

    panels = page.figures["curves_by_label"].axes
    assert [level(axes) for axes in panels[:2]] == [{0.9, 0.3}, {0.9, 0.05}]
    single = [page.figures[name].axes[0] for name in ("learning_curve", "learning_curve-2")]
    assert [level(axes) for axes in single] == [{0.9, 0.3}, {0.9, 0.05}]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--target", "ila", "--sizes", "3", "500", "--negatives", "1"], "500 positives was asked for"),
        (["--target", "ila", "--sizes", "200", "--negatives", "1"], "too few for the smallest subset"),
        (["--target", "ila", "--goal", "0.4"], "not above chance"),
        (["--target", "ila", "--metric", "auk"], "no metric 'auk'"),
        (["--target", "ila", "--design", "split"], "no complete column 'split'"),
        (["--target", "ila", "--prevalence", "2"], "prevalence must lie"),
        (["--target", "ila", "--prevalence", "1"], "no negative case is ever found"),
        (["--target", "ila", "--weights", "a.pt"], "no encoder of --encoder has weights"),
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
