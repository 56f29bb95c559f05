"""The audit finds what was planted, and keeps still where nothing was."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from radfoundry.audit import (
    Audit,
    AuditItem,
    adds_over,
    audit,
    baselines,
    comparison,
    confounding,
    covariates,
    duplicates,
    evidence,
    explanations,
)
from radfoundry.audit import run as audit_run
from radfoundry.cohort import Cohort
from radfoundry.errors import InputError, NotEnoughData, ReadError, TableError
from radfoundry.evaluate import evaluate
from radfoundry.evaluate.intervals import placements
from radfoundry.splits import Fold, kfold
from radfoundry.types import Embeddings, Image

SIDE = 96


def picture(rng: np.random.Generator) -> np.ndarray:
    """(96, 96) uint8: two dark lungs that all share, and a texture of its own."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    lungs = sum(np.exp(-(((columns - c) / 0.15) ** 2) - ((rows - 0.5) / 0.3) ** 2) for c in (0.3, 0.7))
    texture = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3)
    return np.clip(170 - 90 * lungs + 25 * texture / texture.std(), 0, 255).astype(np.uint8)


def jpeg(array: np.ndarray, quality: int = 60) -> np.ndarray:
    buffer = io.BytesIO()
    PilImage.fromarray(array).save(buffer, "JPEG", quality=quality)
    return np.asarray(PilImage.open(buffer))


def resized(array: np.ndarray) -> np.ndarray:
    return np.asarray(PilImage.fromarray(array).resize((60, 60), PilImage.Resampling.BICUBIC))


def brighter(array: np.ndarray) -> np.ndarray:
    return np.clip(array * 1.1 + 8, 0, 255).astype(np.uint8)


COPIES = {
    "exact": lambda a: a,
    "resized": resized,
    "brighter": brighter,
    "jpeg": jpeg,
    "mirrored": lambda a: a[:, ::-1],
}


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch):
    """make(n, **columns) -> Cohort whose images live in memory, by name; make.images may be changed."""

    def build(n: int = 60, seed: int = 0, **columns: object) -> Cohort:
        rng = np.random.default_rng(seed)
        build.images = {f"{i}.png": picture(rng) for i in range(n)}
        table = pd.DataFrame(
            {
                "case_id": [f"c{i}" for i in range(n)],
                "patient_id": [f"p{i}" for i in range(n)],
                "image": list(build.images),
                "y:sick": rng.permutation(np.arange(n) % 2),
                **columns,
            }
        )
        return Cohort(table, Path("."), "planted")

    def read(path: Path) -> Image:
        return Image(build.images[path.name].astype(np.float32), (0.0, 255.0))

    monkeypatch.setattr(audit_run, "read_image", read)
    return build


def embedded(vectors: np.ndarray, name: str = "trained") -> dict[str, Embeddings]:
    n = len(vectors)
    case = np.array([f"c{i}" for i in range(n)], object)
    column, key = np.full(n, "image", object), case.copy()
    return {name: Embeddings(vectors.astype(np.float32), case, column, key, name, name)}


def halves(n: int) -> list[str]:
    return ["train"] * (n // 2) + ["test"] * (n - n // 2)


def look(cohort: Cohort, **options: object) -> Audit:
    return audit(cohort, "sick", **{"n_perm": 20, "n_boot": 200, **options})


# --- leaks ---------------------------------------------------------------------------------------------


def test_clean_cohort_raises_no_alarm(make) -> None:
    found = look(make(80, split=halves(80)))
    assert found.item("duplicates").status == "ok"
    assert found.item("duplicates").rows == []
    assert found.item("patients").status == "ok"
    assert "fail" not in {item.status for item in found.items}


@pytest.mark.parametrize("copy", COPIES)
def test_planted_copy_across_the_split_fails(make, copy: str) -> None:
    cohort = make(40, split=halves(40))
    make.images["30.png"] = COPIES[copy](make.images["3.png"])
    item = look(cohort).item("duplicates")
    assert item.status == "fail"
    [row] = item.rows
    assert {row["case_a"], row["case_b"]} == {"c3", "c30"}
    assert row["kind"] == (copy if copy in ("exact", "mirrored") else "near")
    assert row["across_parts"] and row["across_patients"]


def test_copy_within_one_part_warns_and_within_one_patient_passes(make) -> None:
    cohort = make(40, split=halves(40))
    make.images["4.png"] = jpeg(make.images["3.png"])
    assert look(cohort).item("duplicates").status == "warn"
    cohort.table.loc[4, "patient_id"] = "p3"
    item = look(cohort).item("duplicates")
    assert item.status == "ok"
    assert len(item.rows) == 1


def test_folds_of_predictions_reveal_a_shared_picture(make) -> None:
    cohort = make(40)
    make.images["1.png"] = make.images["0.png"]
    scored = pd.DataFrame(
        {"case_id": cohort.table["case_id"], "score": np.linspace(0, 1, 40), "fold": np.arange(40) % 2}
    )
    assert look(cohort).item("duplicates").status == "warn"
    assert look(cohort, score=scored).item("duplicates").status == "fail"


def test_patient_on_both_sides_fails(make) -> None:
    cohort = make(40, split=halves(40))
    cohort.table.loc[[3, 30], "patient_id"] = "twice"
    found = look(cohort)
    item = found.item("patients")
    assert item.status == "fail" == found.verdict
    assert {row["case_id"] for row in item.rows} == {"c3", "c30"}
    assert "twice" not in json.dumps(found.as_dict())  # patients are not named


def test_patients_named_like_cases_are_a_guess_and_said_aloud(make) -> None:
    cohort = make(20)
    cohort.table["patient_id"] = cohort.table["case_id"]
    assert look(cohort).item("patients").status == "warn"


def test_patient_in_train_and_test_of_given_folds_fails(make) -> None:
    cohort = make(40)
    cohort.table.loc[[3, 30], "patient_id"] = "twice"
    assert look(cohort).item("patients").status == "ok"
    fold = Fold(np.arange(20), np.arange(20, 40))
    assert look(cohort, folds=[fold]).item("patients").status == "fail"


def test_embedding_twins_are_named_as_candidates(make) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 64))
    clean = look(make(60, split=halves(60)), embeddings=embedded(vectors)).item("embedding-duplicates")
    assert clean.status == "ok"
    vectors[50] = vectors[5] + 0.05 * rng.normal(size=64)
    item = look(make(60, split=halves(60)), embeddings=embedded(vectors)).item("embedding-duplicates")
    assert item.status == "warn"
    assert [(row["case_a"], row["case_b"]) for row in item.rows] == [("c5", "c50")]
    assert "Heuristic" in item.summary


def test_unreadable_image_is_counted_and_stops_nothing(make, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, good = make(30), audit_run.read_image

    def read(path: Path) -> Image:
        if path.name == "7.png":
            raise ReadError("7.png: truncated")
        return good(path)

    monkeypatch.setattr(audit_run, "read_image", read)
    assert "1 image could not be read" in look(cohort).item("duplicates").summary


# --- trivial explanations ------------------------------------------------------------------------------


def test_metadata_that_give_the_label_away_fail(make) -> None:
    cohort = make(80)
    cohort.table["age"] = 40 + 30.0 * cohort.table["y:sick"] + np.random.default_rng(1).normal(0, 3, 80)
    cohort.table["sex"] = np.random.default_rng(2).choice(["F", "M"], 80)
    item = look(cohort).item("metadata")
    assert item.status == "fail"
    assert item.rows[0]["covariate"] == "age"
    assert item.rows[0]["auroc"] > 0.95 > item.rows[1]["auroc"]


def test_metadata_without_a_link_pass(make) -> None:
    rng = np.random.default_rng(3)
    item = look(make(80, age=rng.normal(60, 10, 80), sex=rng.choice(["F", "M"], 80))).item("metadata")
    assert item.status == "ok"
    assert all(e.low < 0.5 < e.high for e in item.estimates)
    assert {e.level for e in item.estimates} == {0.975}  # two heads are tried: Bonferroni


def test_a_missing_value_that_tells_the_label_is_seen(make) -> None:
    cohort = make(80)
    cohort.table["age"] = np.where(cohort.table["y:sick"] == 1, np.nan, 60 + np.arange(80) % 7)
    assert look(cohort).item("metadata").status == "fail"


def test_shuffled_floor_lies_near_one_half_and_signal_above_it(make) -> None:
    cohort = make(80)
    y = cohort.table["y:sick"].to_numpy()
    vectors = np.random.default_rng(4).normal(size=(80, 30))
    noise = look(cohort, embeddings=embedded(vectors), n_perm=200).item("shuffled-labels")
    assert noise.status == "warn"
    floor = noise.estimates[1]
    assert abs(floor.value - 0.5) < 0.03
    assert 0.3 < floor.low < 0.45 and 0.55 < floor.high < 0.7
    vectors[:, 0] += 2.5 * y
    signal = look(cohort, embeddings=embedded(vectors), n_perm=200).item("shuffled-labels")
    assert signal.status == "ok"
    assert signal.estimates[2].value == pytest.approx(1 / 201)


def test_trained_features_must_beat_untrained_ones(make) -> None:
    cohort = make(120)
    y = cohort.table["y:sick"].to_numpy()
    rng = np.random.default_rng(5)
    good = rng.normal(size=(120, 20))
    good[:, 0] += 2.5 * y
    control = embedded(rng.normal(size=(120, 20)), "random:trained")
    better = look(cohort, embeddings={**embedded(good), **control}).item("encoder-floor")
    assert better.status == "ok"
    assert {row["baseline"] for row in better.rows} == {"random:trained", "raw-pixels"}
    no_better = look(cohort, embeddings={**embedded(rng.normal(size=(120, 20))), **control})
    assert no_better.item("encoder-floor").status == "warn"
    assert "added nothing" in no_better.item("encoder-floor").summary


def test_planted_site_confounder_is_found(make) -> None:
    cohort = make(100)
    y, rng = cohort.table["y:sick"].to_numpy(), np.random.default_rng(6)
    site = np.where(rng.random(100) < 0.85, y, 1 - y)
    vectors = rng.normal(size=(100, 20))
    vectors[:, 0] += 3 * site
    cohort.table["site"] = np.where(site == 1, "north", "south")
    item = look(cohort, embeddings=embedded(vectors)).item("site")
    assert item.status == "fail"
    assert item.estimates[0].low > 0.8
    cohort.table["site"] = rng.permutation(cohort.table["site"].to_numpy())
    assert look(cohort, embeddings=embedded(vectors)).item("site").status == "ok"


def test_site_that_is_readable_but_balanced_passes(make) -> None:
    cohort = make(100)
    y, rng = cohort.table["y:sick"].to_numpy(), np.random.default_rng(7)
    site = np.zeros(100, int)
    for label in (0, 1):
        site[np.flatnonzero(y == label)[::2]] = 1
    vectors = rng.normal(size=(100, 10))
    vectors[:, 0] += 4 * site
    cohort.table["site"] = np.array(["south", "north"])[site]
    item = look(cohort, embeddings=embedded(vectors)).item("site")
    assert item.status == "ok"
    assert "tells site" in item.summary and "does not go with the label" in item.summary


def test_score_that_only_repeats_age_is_said_to_add_nothing(make) -> None:
    rng = np.random.default_rng(8)
    cohort = make(120)
    age = 60 + 8 * cohort.table["y:sick"] + rng.normal(0, 8, 120)
    cohort.table["age"] = age
    scored = pd.DataFrame(
        {"case_id": cohort.table["case_id"], "target": "sick", "score": age, "model": "net"}
    )
    item = look(cohort, score=scored).item("score")
    assert item.status == "warn"
    assert item.rows[0]["verdict"] != "better"


def predicted(cohort: Cohort, **columns: object) -> pd.DataFrame:
    y = cohort.table["y:sick"].to_numpy(int)
    score = y + np.random.default_rng(1).normal(size=len(y))
    table = pd.DataFrame({"case_id": cohort.table["case_id"], "target": "sick", "y_true": y, "score": score})
    return table.assign(**columns)


def test_predictions_of_other_cases_do_not_stop_the_audit(make) -> None:
    cohort = make(40, age=np.arange(40.0))
    found = look(cohort, score=predicted(cohort, case_id="elsewhere"))
    assert found.item("score").status == "skipped" and "no tested case" in found.item("score").summary
    assert look(cohort, score=predicted(cohort, target="y")).item("score").status != "skipped"
    assert look(cohort, score=predicted(cohort, target="other")).item("score").status == "skipped"


def test_predictions_of_a_time_to_an_event_are_skipped_with_the_reason(make) -> None:
    cohort = make(40)
    timed = predicted(cohort).drop(columns="y_true").assign(**{"time:sick": 5.0, "event:sick": 1})
    item = look(cohort, score=timed).item("score")
    assert item.status == "skipped" and "of a time to an event, not of a label" in item.summary


def test_predictions_with_another_truth_fail(make) -> None:
    cohort = make(40)
    table = predicted(cohort)
    table.loc[[3, 7], "y_true"] = 1 - table.loc[[3, 7], "y_true"]
    item = look(cohort, score=table).item("score")
    assert item.status == "fail" and "in 2 of 40 cases" in item.summary


def test_scores_of_training_cases_are_not_believed(make) -> None:
    cohort = make(80)
    part = np.where(np.arange(80) < 40, "train", "test")
    table = predicted(cohort, split=part)
    table["score"] = table["score"].where(part == "test", 9.0 * table["y_true"])  # learned by heart
    [found] = look(cohort, score=table).item("score").estimates
    assert found.n == 40
    assert found.value == pytest.approx(roc_auc_score(table["y_true"][40:], table["score"][40:]))


def test_split_and_named_folds_of_predictions_reveal_a_shared_picture(make) -> None:
    cohort = make(40)
    make.images["1.png"] = make.images["0.png"]
    for column, values in (("fold", ["left", "right"] * 20), ("split", ["train", "test"] * 20)):
        item = look(cohort, score=predicted(cohort, **{column: values})).item("duplicates")
        assert item.status == "fail", column


def test_few_shuffles_of_few_cases_raise_no_false_alarm() -> None:
    """Twenty shuffles of 30 cases: their median is off 0.50 by more than 0.05 in one cohort of seven."""
    alarms, stray = 0, 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        task = baselines.make_task("sick", np.arange(30) % 2, np.arange(30).astype(str), seed=seed)
        vectors, cohort = (
            rng.normal(size=(30, 40)),
            Cohort(pd.DataFrame({"case_id": np.arange(30)}), Path(".")),
        )
        item = explanations.shuffled(
            evidence.Evidence(cohort, "sick", task, "", (), None, {}, {"trained": vectors}, seed=seed,
                              n_perm=20, n_boot=20)
        )  # fmt: skip
        alarms += item.status == "fail"
        stray += abs(item.estimates[1].value - 0.5) > 0.05
    assert alarms == 0 and stray >= 2


# --- repeats of cross-validation -----------------------------------------------------------------------


def repeated(cohort: Cohort, repeats: int = 5) -> tuple[list[Fold], pd.DataFrame]:
    """Folds of repeated cross-validation, and weak scores with fresh noise in every repeat."""
    y, rng = cohort.table["y:sick"].to_numpy(int), np.random.default_rng(3)
    folds = kfold(cohort.patients, y, repeats=repeats)
    rows = [
        pd.DataFrame({
            "case_id": cohort.table["case_id"].to_numpy()[f.test], "patient_id": cohort.patients[f.test],
            "target": "sick", "y_true": y[f.test], "score": 0.5 * y[f.test] + rng.normal(size=len(f.test)),
            "model": "net", "split": "test", "repeat": f.repeat, "fold": f.fold,
        })
        for f in folds
    ]  # fmt: skip
    return folds, pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize("images_a_patient", [1, 2])
def test_the_audit_gives_the_auc_that_evaluate_gives_over_repeats(make, images_a_patient: int) -> None:
    cohort = make(80, age=np.random.default_rng(0).normal(60, 9, 80))
    cohort.table["patient_id"] = [f"p{i // images_a_patient}" for i in range(80)]
    cohort.table["y:sick"] = np.arange(80) // images_a_patient % 2
    folds, table = repeated(cohort)
    item = look(cohort, folds=folds, score=table).item("score")
    wanted = next(e for e in evaluate(table, n_boot=50) if e.name == "auroc")
    found = item.estimates[0]
    assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
    assert item.rows[0]["auroc"] == pytest.approx(wanted.value)
    mean = table.groupby("case_id")[["score", "y_true"]].mean()
    assert roc_auc_score(mean["y_true"], mean["score"]) > wanted.value + 0.1  # the ensemble, not reported


def test_repeats_of_every_baseline_are_averaged_by_their_areas(make) -> None:
    cohort, rng = make(80), np.random.default_rng(11)
    y = cohort.table["y:sick"].to_numpy(int)
    features = 0.4 * y[:, None] + rng.normal(size=(80, 6))
    folds, _ = repeated(cohort, 3)
    whole = baselines.make_task("sick", y, cohort.patients, folds=folds)
    apart = [replace(whole, folds=tuple(f for f in folds if f.repeat == r)) for r in range(3)]

    def areas(task: baselines.Task) -> dict[str, np.ndarray]:
        scores = baselines.cross_scores(features, task.indicators(), task.folds)
        site, _ = confounding.predictability(task, features, head="ridge", seed=0, n_boot=50, model="x")
        return {
            "real": np.array([baselines.estimate("auroc", task, scores).value]),
            "shuffled": baselines.shuffled_floor(task, features, n_perm=5),
            "site": np.array([site.value]),
        }

    each, found = [areas(task) for task in apart], areas(whole)
    for name in ("real", "shuffled", "site"):
        np.testing.assert_allclose(found[name], np.mean([one[name] for one in each], axis=0), err_msg=name)
    assert baselines.head_scores(whole, {"x": features})["x"].shape == (3, 80, 1)


@pytest.mark.parametrize("kind", ["vectors", "covariates"])
def test_the_measurement_on_nih_films_averages_areas_over_repeats(kind: str) -> None:
    path = Path(__file__).parents[1] / "benchmarks" / "measure_nih.py"
    spec = importlib.util.spec_from_file_location("measure_nih_of_tests", path)
    assert spec and spec.loader
    measure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(measure)
    rng = np.random.default_rng(12)
    rows, truth = np.arange(20, 100), np.arange(100) % 2
    age = 60 + 4 * truth + rng.normal(0, 9, 100)
    columns = covariates.read(pd.DataFrame({"age": age}), ["age"])
    features = columns if kind == "covariates" else np.column_stack([age, rng.normal(size=(100, 3))])
    y, who = truth[rows], np.arange(80).astype(str)
    scores = measure.out_of_fold(features, y, rows, kfold(who, y, repeats=3))
    assert scores.shape == (3, 80)
    found = measure.mean_auroc(y, scores, who)
    assert found.value == pytest.approx(np.mean([roc_auc_score(y, s) for s in scores]))
    assert found.low < found.value < found.high


def test_one_score_a_case_is_held_against_covariates_of_several_repeats(make) -> None:
    cohort = make(80, age=np.random.default_rng(0).normal(60, 9, 80))
    folds, table = repeated(cohort)
    once = table[table["repeat"] == 0].drop(columns=["repeat", "fold"])
    found = look(cohort, folds=folds, score=once)
    assert found.item("score").rows[0]["auroc"] == pytest.approx(roc_auc_score(once["y_true"], once["score"]))
    covariate = max(found.item("metadata").estimates, key=lambda e: e.low)
    assert found.item("score").rows[0]["auroc_baseline"] == pytest.approx(covariate.value)


def test_scores_that_nothing_tells_apart_are_not_averaged(make) -> None:
    cohort = make(40)
    _, table = repeated(cohort, 2)
    item = look(cohort, score=table.drop(columns=["repeat", "fold"])).item("score")
    assert item.status == "skipped" and "nothing tells them apart" in item.summary


def test_a_case_tested_twice_in_a_repeat_is_refused() -> None:
    folds = [Fold(np.arange(10), np.arange(10, 20)), Fold(np.arange(5), np.arange(15, 20))]
    with pytest.raises(InputError, match="tested twice in repeat 0"):
        baselines.cross_scores(np.zeros((20, 2)), (np.arange(20) % 2)[:, None].astype(float), folds)


# --- covariates ----------------------------------------------------------------------------------------


def test_the_encoding_of_covariates_is_learned_from_training_rows() -> None:
    age = np.array([10.0, 20, 30, np.nan, 40, 50, 1000])
    site = ["a"] * 3 + ["b", "a", "a", "c"]
    table = pd.DataFrame({"age": age, "site": site, "date": pd.date_range("2020-01-01", periods=7)})
    found = covariates.read(table, ["age", "site", "date"])
    assert found.numeric == (True, False, True)
    learned = covariates.learn(found.values[:6], found.numeric)
    (mean, spread), levels, _ = learned.columns
    assert (mean, spread) == pytest.approx((30.0, np.std([10, 20, 30, 40, 50])))
    assert len(levels) == 1  # "a" alone has five training cases
    encoded = learned.apply(found.values)
    np.testing.assert_allclose(encoded[:, 0], np.where(np.isnan(age), 0, (age - 30) / spread))
    np.testing.assert_allclose(encoded[:, 1], encoded[:, 0] ** 2)
    assert encoded[:, 2].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert encoded[:, 3].tolist() == [1, 1, 1, 0, 1, 1, 0]
    assert encoded[:, 4].tolist() == [0, 0, 0, 1, 0, 0, 1]  # a rare level, and one never seen


def test_a_test_row_changes_no_score_of_another() -> None:
    rng = np.random.default_rng(0)
    y, age = np.arange(60) % 2, rng.normal(60, 9, 60)
    target, fold = y[:, None].astype(float), [Fold(np.arange(40), np.arange(40, 60))]
    order = []
    for outlier in (age[59], 1e6):
        table = pd.DataFrame({"age": np.append(age[:59], outlier)})
        scores = baselines.cross_scores(covariates.read(table, ["age"]), target, fold)
        order.append(np.argsort(scores[0, 40:59, 0]).tolist())
    assert order[0] == order[1]


# --- counts and odd targets ----------------------------------------------------------------------------


def test_constant_covariate_and_few_events_are_named(make) -> None:
    cohort = make(60, scanner="one", site=["a", "b"] * 30)
    cohort.table["y:sick"] = (np.arange(60) < 6).astype(int)
    found = look(cohort)
    assert found.item("covariates").status == "warn"
    assert found.item("covariates").summary.startswith("scanner constant")
    assert found.item("counts").status == "fail"
    assert {row["class"]: row["patients"] for row in found.item("counts").rows} == {"0": 54, "1": 6}


@pytest.mark.parametrize(("events", "status"), [(9, "fail"), (10, "warn"), (49, "warn"), (50, "ok")])
def test_patients_of_the_rarest_class_are_counted(make, events: int, status: str) -> None:
    cohort = make(110)
    cohort.table["y:sick"] = (np.arange(110) < events).astype(int)
    item = look(cohort).item("counts")
    assert (item.status, item.estimates[0].value) == (status, events)


def test_hanley_mcneil_half_width() -> None:
    # Hanley & McNeil 1982, formula (1)-(2) by hand: area 0.8, 50 and 50 give a standard error of 0.0449.
    from radfoundry.audit.checks import _hanley_mcneil

    assert _hanley_mcneil(0.8, 50, 50) / 1.96 == pytest.approx(0.0449, abs=5e-4)


def test_one_class_skips_what_needs_two(make) -> None:
    cohort = make(20)
    cohort.table["y:sick"] = 1
    found = look(cohort)
    assert found.item("metadata").status == "skipped"
    assert "single class" in found.item("counts").summary
    assert found.item("duplicates").status == "ok"


def test_number_target_is_skipped_with_a_reason(make) -> None:
    cohort = make(30)
    cohort.table["y:sick"] = np.random.default_rng(0).normal(size=30)
    assert "is a number" in look(cohort).item("shuffled-labels").summary


def test_three_classes(make) -> None:
    cohort = make(90)
    grade = np.arange(90) % 3
    cohort.table["y:sick"] = grade
    vectors = np.random.default_rng(9).normal(size=(90, 10)) + 3 * np.eye(10)[grade]
    found = look(cohort, embeddings=embedded(vectors))
    assert found.item("shuffled-labels").estimates[0].value > 0.9
    assert found.item("encoder-floor").status == "ok"


def test_unknown_target_says_which_there_are(make) -> None:
    with pytest.raises(TableError, match="y:sick"):
        audit(make(20), "sik")


def test_result_is_json_and_the_same_twice(make) -> None:
    cohort = make(40, age=np.arange(40.0))
    first, second = (json.dumps(look(cohort).as_dict(), allow_nan=False) for _ in range(2))
    assert first == second
    assert json.loads(first)["verdict"] in ("ok", "warn", "fail")


def test_verdict_is_the_worst() -> None:
    def of(*statuses: str) -> str:
        return Audit("c", "y", tuple(AuditItem(s, s, ".") for s in statuses)).verdict  # type: ignore[arg-type]

    assert of("ok", "fail", "warn") == "fail"
    assert of("ok", "skipped") == "ok"
    assert of("skipped") == "skipped"


# --- the comparison ------------------------------------------------------------------------------------


def scores(seed: int, effects: tuple[float, float], n: int = 200) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return *(effect * y + rng.normal(size=n) for effect in effects), y


def test_better_worse_and_equivalent_follow_the_rule() -> None:
    weak, strong, y = scores(0, (0.3, 2.0))
    who = np.arange(200)
    assert adds_over(weak, strong, y, who).verdict == "better"
    assert adds_over(strong, weak, y, who).verdict == "worse"
    same = adds_over(strong, strong, y, who)
    assert same.verdict == "equivalent"
    assert (same.difference.low, same.difference.high) == (0.0, 0.0)


def test_repeats_of_cross_validation_are_averaged_by_their_areas() -> None:
    one, other, y = scores(2, (0.5, 0.9))
    for who in (np.arange(200), np.arange(200) // 2):
        found = adds_over(np.stack([one, other]), np.stack([other, other]), y, who, n_boot=200)
        areas = [roc_auc_score(y, s) for s in (one, other)]
        assert found.baseline.value == pytest.approx(np.mean(areas))
        assert found.model.value == pytest.approx(areas[1])
        same = adds_over(np.stack([one] * 3), np.stack([other] * 3), y, who, n_boot=200)
        alone = adds_over(one, other, y, who, n_boot=200)
        assert (same.difference.low, same.difference.high) == pytest.approx(
            (alone.difference.low, alone.difference.high)
        )
    with pytest.raises(TableError, match="2 and 1 repeats"):
        adds_over(np.stack([one, other]), other, y, np.arange(200))


def folds_of_unlike_scales() -> tuple[np.ndarray, ...]:
    """y, a good and a weak score and their folds: each fold has its own scale, and folds differ in size."""
    rng = np.random.default_rng(4)
    y = rng.permutation((np.arange(151) < 42).astype(int))
    fold = np.empty(151, int)
    for label in (0, 1):
        rows = np.flatnonzero(y == label)
        fold[rows] = np.arange(len(rows)) % 4
    good, weak = (effect * y + rng.normal(size=151) for effect in (1.6, 0.4))
    return y, good, weak, fold


def mean_of_folds(y: np.ndarray, score: np.ndarray, fold: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(y[fold == f], score[fold == f]) for f in np.unique(fold)]))


def test_placements_within_folds_average_to_the_mean_of_the_folds_areas() -> None:
    y, good, _, fold = folds_of_unlike_scales()
    parts = comparison.fold_placements(y, good, fold)
    for label in (0, 1):
        assert parts[y == label].mean() == pytest.approx(mean_of_folds(y, good, fold))
    moved = comparison.fold_placements(y, good * (1 + fold) + 10 * fold, fold)
    np.testing.assert_allclose(moved, parts)
    one = comparison.fold_placements(y, good, np.zeros(151, int))
    np.testing.assert_allclose(one, placements(y, good))


@pytest.mark.parametrize("images_a_patient", [1, 2])
def test_a_comparison_within_folds_needs_no_common_scale(images_a_patient: int) -> None:
    y, good, weak, fold = folds_of_unlike_scales()
    who = np.arange(151) // images_a_patient
    kept, moved = (
        adds_over(weak, good + shift * fold, y, who, fold=fold, n_boot=200) for shift in (0.0, 9.0)
    )
    assert kept.model.value == pytest.approx(mean_of_folds(y, good, fold))
    assert kept.baseline.value == pytest.approx(mean_of_folds(y, weak, fold))
    for part in ("model", "difference"):
        a, b = getattr(kept, part), getattr(moved, part)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    assert adds_over(weak, good + 9 * fold, y, who, n_boot=200).model.value < kept.model.value - 0.1
    with pytest.raises(TableError, match="name the fold of every score"):
        adds_over(weak, good, y, who, fold=fold[:-1])


def test_small_sample_is_not_distinguishable_and_says_so() -> None:
    a, b, y = scores(1, (1.0, 1.0), n=60)
    found = adds_over(a, b, y, np.arange(60), baseline="age, sex and view")
    assert found.verdict == "not distinguishable"
    assert found.sentence.startswith(
        "The image model added nothing measurable over age, sex and view with these 60 patients (AUC "
    )
    assert f"{found.model.value:.2f} against {found.baseline.value:.2f}" in found.sentence


def test_areas_equal_scikit_learn_and_delong_variance_equals_the_loop() -> None:
    a, b, y = scores(2, (0.8, 1.2), n=90)
    found = adds_over(a, b, y, np.arange(90))
    assert found.baseline.value == pytest.approx(roc_auc_score(y, a))
    assert found.model.value == pytest.approx(roc_auc_score(y, b))
    parts = []
    for s in (a, b):
        wins = np.sign(s[y == 1][:, None] - s[y == 0][None, :]) / 2 + 0.5
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    variance = sum(np.var(parts[1][k] - parts[0][k], ddof=1) / len(parts[0][k]) for k in (0, 1))
    half = (found.difference.high - found.difference.low) / 2
    assert half == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-4)


def test_ten_copies_of_every_image_narrow_nothing() -> None:
    a, b, y = scores(3, (0.8, 1.2), n=80)
    once = adds_over(a, b, y, np.arange(80))
    ten = adds_over(*(np.repeat(x, 10) for x in (a, b, y)), np.repeat(np.arange(80), 10))
    assert ten.difference.value == pytest.approx(once.difference.value)
    width = [x.difference.high - x.difference.low for x in (once, ten)]
    assert width[1] == pytest.approx(width[0], rel=0.15)
    assert ten.difference.n_clusters == 80


def test_comparison_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(TableError, match="length"):
        adds_over(np.zeros(3), np.zeros(4), np.zeros(4), np.zeros(4))
    with pytest.raises(TableError, match="0 or 1"):
        adds_over(np.zeros(3), np.zeros(3), np.array([0, 1, 2]), np.arange(3))
    with pytest.raises(NotEnoughData, match="one class"):
        adds_over(np.zeros(3), np.zeros(3), np.ones(3), np.arange(3))


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0.001, 0.2))
def test_every_interval_gets_one_verdict(low: float, width: float, margin: float) -> None:
    verdict = comparison.judge(low, low + width, margin)
    assert (verdict == "better") == (low > 0)
    assert (verdict == "worse") == (low + width < 0)
    if verdict == "equivalent":
        assert -margin <= low <= 0 <= low + width <= margin


# --- parts ---------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_hamming_counts_differing_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 256, size=(n, 32), dtype=np.uint8) for n in (5, 7))
    naive = (np.unpackbits(a, axis=1)[:, None] != np.unpackbits(b, axis=1)[None]).sum(axis=2)
    assert (duplicates.hamming(a, b) == naive).all()


def test_popcount_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).integers(0, 2**63, size=(4, 6), dtype=np.uint64)
    expected = np.vectorize(lambda w: bin(w).count("1"))(words)
    assert (duplicates._popcount(words) == expected).all()
    if hasattr(np, "bitwise_count"):
        monkeypatch.delattr(np, "bitwise_count")
    assert (duplicates._popcount(words) == expected).all()


def test_blocks_give_the_same_pairs_as_one(make, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = make(30)
    for copy, original in ((7, 2), (25, 2), (29, 11)):
        make.images[f"{copy}.png"] = jpeg(make.images[f"{original}.png"])
    prints = duplicates.fingerprint(audit_run._jobs(cohort))
    whole = {(p.first, p.second, p.kind) for p in duplicates.find(prints)}
    assert {(2, 7), (2, 25), (7, 25), (11, 29)} == {pair[:2] for pair in whole}
    monkeypatch.setattr(duplicates, "BLOCK", 4)
    assert {(p.first, p.second, p.kind) for p in duplicates.find(prints)} == whole
    group = duplicates.groups(duplicates.find(prints), 30)
    assert group[2] == group[7] == group[25] != group[11] == group[29]


def test_blank_images_are_not_near_duplicates(make) -> None:
    cohort = make(20)
    make.images["3.png"] = np.full((SIDE, SIDE), 12, np.uint8)
    make.images["4.png"] = np.full((SIDE, SIDE), 99, np.uint8)
    item = look(cohort).item("duplicates")
    assert item.rows == []
    assert "2 images blank" in item.summary


def test_ridge_is_scikit_learns_at_the_chosen_penalty() -> None:
    rng = np.random.default_rng(0)
    for n, d in ((60, 8), (30, 80)):  # more rows than columns, and the reverse
        x, new = rng.normal(size=(n, d)), rng.normal(size=(10, d))
        y = (x[:, :1] + rng.normal(size=(n, 1)) > 0).astype(float)
        z, fresh = ((v - x.mean(0)) / x.std(0) for v in (x, new))
        power = np.linalg.svd(z - z.mean(0), compute_uv=False) ** 2
        power = power[power > power.max() * 1e-10]
        grid = power.mean() * np.logspace(-3, 4, 15)
        each = [Ridge(alpha=a).fit(z, y[:, 0]).predict(fresh) for a in grid]
        mine = baselines.ridge(x, y, new)[:, 0]
        gap = [np.abs(mine - other).max() for other in each]
        errors = [_left_out(z, y[:, 0], a) for a in grid]
        assert int(np.argmin(gap)) == int(np.argmin(errors))
        assert min(gap) < 1e-6


def _left_out(z: np.ndarray, y: np.ndarray, alpha: float) -> float:
    """Mean squared leave-one-out error of ridge with a fixed mean, by the plain hat matrix."""
    hat = z @ np.linalg.solve(z.T @ z + alpha * np.eye(z.shape[1]), z.T) + 1 / len(z)
    return float(np.mean(((y - hat @ y) / (1 - np.diag(hat))) ** 2))


def test_constant_model_scores_one_half_not_its_mirror() -> None:
    rng = np.random.default_rng(0)
    y = rng.permutation((np.arange(40) < 10).astype(int))
    folds = [Fold(np.setdiff1d(np.arange(40), part), part) for part in np.array_split(np.arange(40), 8)]
    found = baselines.cross_scores(np.zeros((40, 3)), y[:, None].astype(float), folds)
    assert roc_auc_score(y, found[0, :, 0]) == pytest.approx(0.5)


def test_scores_never_come_from_a_fold_that_saw_the_row() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    x = np.eye(80) * 5  # an identity tag: perfect memory, no generalisation
    folds = kfold(np.arange(80).astype(str), y, seed=0)
    found = baselines.cross_scores(x, y[:, None].astype(float), folds)
    areas = baselines.column_aurocs(y[:, None], found[0])
    assert 0.3 < areas[0] < 0.7


def test_shuffling_keeps_patients_together_and_the_counts() -> None:
    patient = np.repeat(np.arange(30), 4).astype(str)
    code = np.repeat(np.arange(30) % 2, 4)
    code[:4] = -1
    dealt = baselines.shuffle_by_patient(code, patient, np.random.default_rng(0))
    assert (dealt[:4] == -1).all()
    assert (np.bincount(dealt[4:]) == np.bincount(code[4:])).all()
    assert all(len(np.unique(dealt[patient == p])) == 1 for p in np.unique(patient))
    assert (dealt != code).any()


def test_cramers_v_of_published_table() -> None:
    # Bergsma's estimator for counts [[20, 5], [5, 20]]: chi2 = 18, phi2 = 0.36, corrected by hand:
    # phi2+ = 0.36 - 1/49 = 0.339592, k~ = 2 - 1/49 = 1.979592, V = sqrt(0.339592 / 0.979592) = 0.588784.
    a = np.repeat([0, 0, 1, 1], [20, 5, 5, 20])
    b = np.repeat([0, 1, 0, 1], [20, 5, 5, 20])
    assert confounding.cramers_v(a, b) == pytest.approx(0.588784, abs=1e-5)


def test_embeddings_are_matched_by_case_not_by_order(make) -> None:
    cohort = make(10)
    vectors = np.arange(10.0)[:, None] * np.ones((1, 3))
    [one] = embedded(vectors).values()
    order = np.array([4, 2, 9, 0])
    part = replace(one, **{k: getattr(one, k)[order] for k in ("vectors", "case_id", "column", "key")})
    aligned = baselines.align(cohort, part)
    assert (aligned[order, 0] == order).all()
    assert np.isnan(np.delete(aligned[:, 0], order)).all()


# --- the command ---------------------------------------------------------------------------------------


@pytest.fixture
def on_disk(tmp_path: Path) -> Path:
    """A cohort of 40 pictures, half for training; one test picture is a recompressed training picture."""
    from radfoundry.cohort import write_cohort

    rng = np.random.default_rng(0)
    pictures = [picture(rng) for _ in range(40)]
    pictures[30] = jpeg(pictures[3])
    for i, array in enumerate(pictures):
        PilImage.fromarray(array).save(tmp_path / f"{i}.png")
    table = pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(40)],
            "patient_id": [f"p{i}" for i in range(40)],
            "image": [f"{i}.png" for i in range(40)],
            "y:sick": np.arange(40) % 2,
            "age": np.arange(40.0) * 7 % 31,
            "split": halves(40),
        }
    )
    return write_cohort(Cohort(table, tmp_path, "disk"), tmp_path / "cohort.csv")


def test_command_prints_json_and_fails_only_when_strict(
    on_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from radfoundry.cli.main import main

    words = ["audit", str(on_disk), "--target", "sick", "--permutations", "10"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "fail"
    [duplicate] = [item for item in found["items"] if item["name"] == "duplicates"]
    assert {duplicate["rows"][0]["case_a"], duplicate["rows"][0]["case_b"]} == {"c3", "c30"}
    assert main([*words, "--strict"]) == 1
    assert "FAIL      duplicates: 1 pair of images show" in capsys.readouterr().out


def test_command_writes_a_run_folder_and_takes_an_encoder(
    on_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from radfoundry.cli.main import main

    out = tmp_path / "run"
    words = ["audit", str(on_disk), "--target", "sick", "--permutations", "10"]
    assert main([*words, "--encoder", "random-projection", "--out", str(out)]) == 0
    assert "skipped   encoder-floor" in capsys.readouterr().out  # a control is not a trained encoder
    assert "duplicates" in (out / "report.html").read_text(encoding="utf-8")
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def test_command_refuses_an_unknown_target(on_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from radfoundry.cli.main import main

    assert main(["audit", str(on_disk), "--target", "sik"]) == 2
    assert "y:sick" in capsys.readouterr().err
