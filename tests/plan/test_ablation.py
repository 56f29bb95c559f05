"""The quick way equals the plain one; nothing of a test case is used; cells are kept; controls are judged."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV

from radfoundry.cli.main import main
from radfoundry.errors import InputError, NotEnoughData, UnknownName
from radfoundry.plan import ablation, classifiers, selectors, verdicts
from radfoundry.plan.ablation import Cases, ablate, areas, inner_folds, labels_of, placed, sample
from radfoundry.plan.grid import Cell, FeatureSpec, Grid, grid_from, matching, read_grid
from radfoundry.plan.parts import Part, plain_pipeline
from radfoundry.splits import Fold, kfold


def made(n: int = 80, p: int = 300, *, signal: float = 1.0, seed: int = 0, per: int = 1) -> Cases:
    """n cases of n / per patients; two features carry the label, one is constant, one has missing values."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) // per % 3 == 0).astype(int)
    X = rng.normal(size=(n, p)) + 5.0
    X[:, :2] += signal * y[:, None]
    X[:, 2] = 7.0
    X[rng.integers(n, size=4), 3] = np.nan
    X *= np.exp(rng.normal(size=p))
    who = np.array([f"p{i // per:03d}" for i in range(n)])
    names = np.array([f"c{i:03d}" for i in range(n)])
    return Cases(
        y, who, names, {"made": X.astype(np.float32), "noise": rng.normal(size=(n, 20)).astype(np.float32)}
    )


def plain_auc(cases: Cases, cell: Cell, fold: object, inner: int = 5) -> float:
    """Outer AUC of GridSearchCV over the plain pipeline, on the same inner folds."""
    X, y = cases.matrices[cell.features].astype(float), cases.y
    train, test = fold.train, fold.test  # type: ignore[attr-defined]
    cuts = [(f.train, f.test) for f in inner_folds(y[train], cases.patient[train], inner, 0)]
    pipe, grid = plain_pipeline(cell, min(len(a) for a, _ in cuts))
    if cell.classifier == "logistic":  # L-BFGS stops too early where C is tiny: a pair of cases may swap
        pipe.set_params(classify__solver="newton-cholesky", classify__tol=1e-12)
    search = GridSearchCV(pipe, grid, scoring="roc_auc", cv=cuts, refit=False).fit(X[train], y[train])
    mean = search.cv_results_["mean_test_score"]
    first = int(np.flatnonzero(mean >= mean.max() - 1e-9)[0])  # rounding decides between ties otherwise
    found = clone(pipe).set_params(**search.cv_results_["params"][first]).fit(X[train], y[train])
    score = (
        found.decision_function(X[test])
        if hasattr(found, "decision_function")
        else found.predict_proba(X[test])[:, 1]
    )
    return float(roc_auc_score(y[test], score))


EXACT = [
    Cell("made"),
    Cell("made", normalisation="none"),
    Cell("made", normalisation="robust", imbalance="class-weight"),
    Cell("made", normalisation="min-max", selector="anova", k=10),
    Cell("made", selector="pca", k=8),
    Cell("made", selector="mrmr", k=6),
    Cell("made", selector="rfe", k=12),
    Cell("made", normalisation="l2"),
    Cell("made", imbalance="over"),
    Cell("made", imbalance="smote", selector="anova", k=10),
    Cell("made", classifier="svm-linear"),
    Cell("made", classifier="svm-rbf", imbalance="class-weight"),
    Cell("made", classifier="knn", selector="anova", k=10),
    Cell("made", classifier="lda", selector="anova", k=20),
    Cell("made", classifier="lda"),
    Cell("made", imbalance="under", selector="anova", k=10),
    Cell("made", classifier="mlp", selector="anova", k=10),
    Cell("made", classifier="xgboost"),
    Cell("made", classifier="lightgbm", imbalance="under"),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a network's rounds are given
@pytest.mark.parametrize("cell", EXACT, ids=str)
def test_the_quick_way_gives_the_auc_of_the_plain_pipeline(cell: Cell) -> None:
    cases = made(60, 120)
    grid = Grid({"made": FeatureSpec()}, repeats=1, folds=2, inner=3, shuffled_labels=False)
    found = ablate(cases, grid, cells=[cell], log=lambda _: None)
    for fold, row in zip(kfold(cases.patient, cases.y, n_splits=2), found.folds.itertuples()):
        assert row.auroc == pytest.approx(plain_auc(cases, cell, fold, 3), abs=1e-9), row.setting


def test_test_cases_decide_nothing() -> None:
    """Scores of a case change with its own features alone: the others of its fold may be anything."""
    cases = made()
    fold = kfold(cases.patient, cases.y, n_splits=4)[0]
    X = cases.matrices["made"].astype(float)
    other = X.copy()
    other[fold.test[1:]] = 1e3
    for cell in (
        Cell("made"),
        Cell("made", normalisation="quantile", selector="mrmr", k=5, classifier="knn"),
    ):
        first, second = (
            Part(m, cases.y, fold.train, fold.test, most=5, seed=0).scores(cell)[:, 0] for m in (X, other)
        )
        assert np.array_equal(first, second)


@pytest.mark.parametrize("name", ["anova", "mutual-information", "mrmr", "rfe", "forest", "l1"])
def test_every_ranking_puts_the_informative_features_first(name: str) -> None:
    cases = made(150, 40, signal=2.5)
    X = np.nan_to_num(np.delete(cases.matrices["made"].astype(float), 2, axis=1))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    order = selectors.rank(name, X, cases.y, most=5)
    assert set(order[:2].tolist()) == {0, 1}
    assert len(np.unique(order)) == len(order)
    if name != "l1":
        assert len(order) == X.shape[1]


def test_mrmr_leaves_a_copy_of_a_chosen_feature_for_later() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1], 100)
    strong, weak = rng.normal(size=200) + 2.0 * y, rng.normal(size=200) + 1.5 * y
    X = np.column_stack([strong, strong + 0.01 * rng.normal(size=200), weak, rng.normal(size=200)])
    assert selectors.rank("anova", X, y, most=4)[:2].tolist() != [0, 2]
    assert set(selectors.rank("mrmr", X, y, most=2)[:2].tolist()) in ({0, 2}, {1, 2})


def test_patients_are_never_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    cases, seen = made(90, 30, per=3), []
    real = Part.__init__

    def spy(self: Part, X: object, y: object, train: np.ndarray, test: np.ndarray, **rest: object) -> None:
        seen.append(set(cases.patient[train]) & set(cases.patient[test]))
        real(self, X, y, train, test, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Part, "__init__", spy)
    ablate(cases, Grid({"made": FeatureSpec()}, repeats=1, folds=3, inner=3), log=lambda _: None)
    assert len(seen) == 2 * 3 * 4 and not any(seen)


def test_samples_are_nested_by_patient_and_too_small_ones_are_refused() -> None:
    cases = made(90, 5, per=3)
    fold = kfold(cases.patient, cases.y, n_splits=3)[0]
    small, large = (set(sample(fold, cases.y, cases.patient, share, 0)) for share in (0.3, 0.6))
    assert small < large < set(fold.train)
    for rows in (small, large):
        kept = cases.patient[list(rows)]
        assert all((cases.patient[fold.train] == p).sum() == (kept == p).sum() for p in set(kept))
    with pytest.raises(NotEnoughData, match="larger sample_size"):
        sample(fold, cases.y, cases.patient, 0.05, 0)


@pytest.mark.parametrize("level", ["xgboost", "lightgbm", "mlp", "under"])
def test_what_runs_plainly_learns_in_an_ablation(level: str) -> None:
    vary = {"imbalance": ("under",)} if level == "under" else {"classifier": (level,)}
    grid = Grid({"made": FeatureSpec()}, vary, repeats=1, folds=2, inner=2, shuffled_labels=False)
    found = ablate(made(80, 6, signal=2.5), grid, log=lambda _: None)
    (cell,) = found.cells
    assert not found.failed and level in (cell.classifier, cell.imbalance)
    assert len(found.folds) == 2 and (found.folds["auroc"] > 0.8).all()
    assert len(found.scores) == 80 and found.scores["score"].nunique() > 20


def test_cells_are_kept_and_equal_ones_are_run_once(tmp_path: Path) -> None:
    cases = made()
    grid = Grid(
        {"made": FeatureSpec(), "noise": FeatureSpec()},
        {"selector": ("none", "anova"), "k": (50,)},
        repeats=2,
        folds=3,
    )
    said: list[str] = []
    first = ablate(cases, grid, store=tmp_path, log=said.append)
    # noise has 20 features, so the best 50 of them are all: 2 + 1 cells and 2 with shuffled labels
    assert len(list(tmp_path.rglob("*.parquet"))) == 2 * (2 + 1 + 2)
    again = ablate(cases, grid, store=tmp_path, log=said.append)
    assert again.made == 0 and "on disk already" in said[-1]
    pd.testing.assert_frame_equal(first.folds, again.folds)
    changed = Cases(
        cases.y, cases.patient, cases.case_id, {**cases.matrices, "noise": cases.matrices["noise"] + 1}
    )
    assert ablate(changed, grid, store=tmp_path, log=said.append).made == 2 * 3


def test_an_interrupted_ablation_goes_on_from_the_cells_that_were_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, said, run_group, calls = made(), [], ablation.run_group, []
    grid = Grid({"made": FeatureSpec(), "noise": FeatureSpec()}, {"classifier": ("logistic", "lda")},
                repeats=2, folds=3, shuffled_labels=False)  # fmt: skip
    whole = ablate(cases, grid, log=lambda _: None)

    def stopped(*task: object) -> list:
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run_group(*task)  # type: ignore[arg-type]

    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(ablation, "run_group", stopped)
        ablate(cases, grid, store=tmp_path, log=said.append)
    assert len(list(tmp_path.rglob("*.parquet"))) == 4  # two of the four groups, of two cells each
    again = ablate(cases, grid, store=tmp_path, log=said.append)
    assert "4 of 8 cells x repeats were on disk already" in said and again.made == 4
    pd.testing.assert_frame_equal(again.folds, whole.folds)
    pd.testing.assert_frame_equal(again.scores, whole.scores)


def test_a_cell_scores_alike_whatever_else_is_in_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer features than k the ranking would order the columns, and the order decides a forest."""
    cases = made(60, 8)
    grid = Grid(
        {"noise": FeatureSpec()}, {"classifier": ("forest",), "selector": ("none", "anova"), "k": (20,)},
        repeats=1, folds=2, inner=2, shuffled_labels=False,
    )  # fmt: skip
    planned, _ = grid.cells()
    assert {c.selector for c in planned} == {"none", "anova"}
    few = RandomForestClassifier(20, random_state=0)
    monkeypatch.setattr(classifiers, "_estimator", lambda *_: few)
    alone, both = (ablate(cases, grid, cells=c, log=lambda _: None) for c in (planned[:1], planned))
    assert planned[0].selector == "anova" and [c.selector for c in both.cells] == ["anova", "none"]
    for _, own in both.scores.groupby("number"):
        np.testing.assert_array_equal(own["score"], alone.scores["score"])
    once = ablate(cases, grid, cells=planned[:1], store=tmp_path, log=lambda _: None)
    assert once.made == 1 and ablate(cases, grid, store=tmp_path, log=lambda _: None).reused == 2


def test_one_cell_that_cannot_be_run_stops_no_other() -> None:
    grid = Grid(
        {"made": FeatureSpec()}, {"sample_size": (1.0, 0.05)}, repeats=1, folds=3, shuffled_labels=False
    )
    found = ablate(made(), grid, log=lambda _: None)
    assert [c.sample_size for c in found.cells] == [1.0]
    assert "larger sample_size" in next(iter(found.failed.values()))


def test_no_feature_left_scores_every_case_alike() -> None:
    cases = made()
    X = np.full((80, 3), 2.0, np.float32)
    X[0] = 1.0  # varies in two training parts, whose test cases are all alike; nothing varies in the third
    found = ablate(
        Cases(cases.y, cases.patient, cases.case_id, {"flat": X}),
        Grid({"flat": FeatureSpec()}, repeats=1, folds=3, shuffled_labels=False), log=lambda _: None,
    )  # fmt: skip
    assert (found.folds["auroc"] == 0.5).all() and len(found.folds) == 3


def test_what_is_no_number_is_filled_like_what_is_missing() -> None:
    cases = made()
    fold = kfold(cases.patient, cases.y, n_splits=4)[0]
    X = cases.matrices["made"].astype(float)
    missing, wrong = X.copy(), X.copy()
    for row, bad in zip((fold.train[0], fold.train[1], fold.test[0]), (np.inf, -1e300, 1e39)):
        missing[row, 0], wrong[row, 0] = np.nan, bad
    for cell in (Cell("made"), Cell("made", classifier="forest")):
        first, second = (
            Part(m, cases.y, fold.train, fold.test, most=0, seed=0).scores(cell) for m in (missing, wrong)
        )
        assert np.array_equal(first, second)


def flat_nan(name: str, data: object, chosen: list | None = None) -> np.ndarray:
    if name == "knn":
        raise ValueError("array must not contain infs\nat the depth of a library")
    found = real_scores(name, data, chosen)  # type: ignore[arg-type]
    outer = chosen is not None and len(chosen) == 1  # inner folds try all the settings
    return found * np.nan if name == "lda" or (name == "naive-bayes" and outer) else found


real_scores = classifiers.scores


def test_a_cell_that_breaks_or_scores_nothing_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "scores", flat_nan)
    vary = {"classifier": ("lda", "naive-bayes", "knn", "logistic")}
    grid = Grid({"noise": FeatureSpec()}, vary, repeats=1, folds=3, inner=2, shuffled_labels=False)
    found = ablate(made(), grid, log=lambda _: None)
    assert [c.classifier for c in found.cells] == ["logistic"] and set(found.folds["number"]) == {0}
    reasons = {address.rpartition("=")[2]: reason for address, reason in found.failed.items()}
    assert reasons["knn"] == "ValueError: array must not contain infs"
    assert "no numbers" in reasons["lda"] and "no numbers" in reasons["naive-bayes"]


# -- shuffled labels --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_labels_of_a_rare_class_leave_every_fold_both_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = (np.arange(60) < 6).astype(int)
    who = np.arange(60).astype(str)
    cases = Cases(y, who, who, {"made": rng.normal(size=(60, 3)).astype(np.float32)})
    grid = Grid({"made": FeatureSpec()}, {"classifier": ("lda",)}, repeats=10, folds=5, inner=2, seed=seed)
    found = ablate(cases, grid, log=lambda _: None)
    assert [c.labels for c in found.cells] == ["true", "shuffled"] and not found.failed
    assert len(found.folds) == 2 * 50 and found.folds["auroc"].notna().all()
    counts = found.scores.groupby(["number", "repeat", "fold"])["y"].sum().unstack("number")
    assert (counts[0] == counts[1]).all()


@pytest.mark.parametrize("both", [False, True])
def test_labels_are_dealt_by_patient_within_folds(both: bool) -> None:
    cases = made(120, 4, per=3)
    y = cases.y.copy()
    if both:
        y[0] = 1 - y[0]
    moved = 0
    for repeat in range(3):
        folds = [f for f in kfold(cases.patient, y, n_splits=4, repeats=3) if f.repeat == repeat]
        dealt = labels_of(y, cases.patient, Cell("made", labels="shuffled"), folds, seed=0)
        moved += int((dealt != y).sum())
        for fold in folds:
            assert dealt[fold.test].sum() == y[fold.test].sum()
        shares = pd.Series(dealt).groupby(cases.patient).mean()
        assert shares.isin((0, 1)).all() != both
        again = labels_of(y, cases.patient, Cell("made", labels="shuffled"), folds, seed=0)
        other = labels_of(y, cases.patient, Cell("made", labels="shuffled"), folds, seed=1)
        assert np.array_equal(dealt, again) and not np.array_equal(dealt, other)
    assert moved > 60
    assert labels_of(y, cases.patient, Cell("made"), folds, seed=0) is y


def test_inner_folds_where_most_patients_hold_both_classes() -> None:
    """Patients with both count for the rarer class, which leaves two of the other: two folds, not five."""
    patient = np.repeat(np.arange(12), 2)
    y = np.tile([0, 1], 12)
    y[-4:] = 0
    assert len(inner_folds(y, patient, 5, 0)) == 2
    y[-2:] = [0, 1]  # one such patient is too few
    assert inner_folds(y, patient, 5, 0) == []


def test_a_class_with_fewer_patients_than_folds_is_refused() -> None:
    cases = made()
    y = np.zeros(80, int)
    y[:3] = 1
    with pytest.raises(NotEnoughData, match="Use fewer folds"):
        ablate(Cases(y, cases.patient, cases.case_id, cases.matrices), Grid({"made": FeatureSpec()}))


def test_places_keep_order_and_ties() -> None:
    score = np.array([3.0, 1.0, 1.0, 900.0])
    z = placed(score)
    assert z[1] == z[2] < z[0] < z[3] and abs(z.sum()) < 0.1
    np.testing.assert_array_equal(placed(score * 1e-9 + 5), z)


@pytest.mark.parametrize("classifier", ["logistic", "naive-bayes", "knn"])
def test_one_feature_pools_as_it_ranks_within_folds(classifier: str) -> None:
    """Every C ranks one feature alike, so the smallest is taken, and fits differ in their intercepts most."""
    rng = np.random.default_rng(3)
    y = (rng.random(200) < 0.2).astype(int)
    x = (rng.normal(size=200) + 2 * y)[:, None].astype(np.float32)
    cases = Cases(y, np.arange(200).astype(str), np.arange(200).astype(str), {"age": x})
    grid = Grid(
        {"age": FeatureSpec()}, {"classifier": (classifier,)}, repeats=2, folds=5, shuffled_labels=False
    )
    result = ablate(cases, grid, log=lambda _: None)
    one = verdicts.one_cell(result, result.cells[0])
    pooled = np.mean([roc_auc_score(y, row) for row in one.matrix(200)])
    assert pooled == pytest.approx(one.fold_aucs.mean(), abs=0.03)


def test_areas_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, scores = rng.integers(2, size=60), rng.integers(9, size=(4, 60)).astype(float)
    np.testing.assert_allclose(areas(y, scores), [roc_auc_score(y, s) for s in scores], atol=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_areas_of_one_class_are_refused(label: int) -> None:
    with pytest.raises(NotEnoughData, match="a fold has one class only; use fewer folds or more cases"):
        areas(np.full(5, label), np.zeros((2, 5)))


def test_a_fold_of_one_class_says_so_for_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds that were not stratified: the last one has no positive."""
    cases = made(60, 5)
    rows, last = np.arange(60), np.flatnonzero(cases.y == 0)[:10]
    other = np.setdiff1d(rows, last)
    parts = (other[:25], other[25:], last)
    cut = [Fold(np.setdiff1d(rows, test), test, 0, i) for i, test in enumerate(parts)]
    real = ablation.kfold
    monkeypatch.setattr(ablation, "kfold", lambda p, y, **k: cut if len(y) == 60 else real(p, y, **k))
    grid = Grid({"made": FeatureSpec()}, repeats=1, folds=3, inner=2, shuffled_labels=False)
    with pytest.raises(NotEnoughData, match=r"gave a result\. The first: a fold has one class only"):
        ablate(cases, grid, log=lambda _: None)


# -- what the tables say ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strong() -> tuple[Cases, Grid, ablation.Ablation]:
    cases = made(120, 60, signal=2.0)
    grid = Grid(
        {"made": FeatureSpec(), "noise": FeatureSpec(role="control", of="made")},
        {"normalisation": ("z", "none"), "classifier": ("logistic", "knn")}, repeats=3, folds=4,
    )  # fmt: skip
    return cases, grid, ablate(cases, grid, log=lambda _: None)


def test_the_choice_made_inside_never_sees_the_outer_scores(strong: tuple) -> None:
    _, grid, result = strong
    cells = verdicts.main_cells(result, grid, "made")
    chosen = verdicts.chosen_inside(result, cells, "made")
    by_hand = result.folds[result.folds["number"].isin([result.number(c) for c in cells])]
    for row in chosen.folds.itertuples():
        own = by_hand[(by_hand["repeat"] == row.repeat) & (by_hand["fold"] == row.fold)]
        assert (
            row.number
            == own.sort_values(["inner_auroc", "number"], ascending=[False, True])["number"].iloc[0]
        )
    swapped = result.folds.assign(auroc=np.random.default_rng(0).permutation(result.folds["auroc"]))
    other = verdicts.chosen_inside(ablation.replace(result, folds=swapped), cells, "made")
    assert (other.folds["number"] == chosen.folds["number"]).all()


def test_a_control_at_chance_holds_and_one_that_works_is_named(strong: tuple) -> None:
    cases, grid, result = strong
    made_, noise = (
        verdicts.chosen_inside(result, verdicts.main_cells(result, grid, n), n) for n in ("made", "noise")
    )
    assert verdicts.against_original(made_, noise, cases, "x").held
    assert verdicts.against_original(noise, noise, cases, "x").result == "says nothing"
    assert not verdicts.against_original(made_, made_, cases, "x").held
    shuffled = [c for c in result.cells if c.labels == "shuffled"]
    assert [c.features for c in shuffled] == ["made"]
    assert verdicts.at_chance(verdicts.one_cell(result, shuffled[0]), verdicts.SHUFFLED).held
    wrong = verdicts.at_chance(made_, verdicts.SHUFFLED)
    assert not wrong.held and "should be at chance and is not" in wrong.sentence
    below = replace(made_, folds=made_.folds.assign(auroc=1 - made_.folds["auroc"]))
    for kind in (verdicts.SHUFFLED, "control"):
        judged = verdicts.at_chance(below, kind)
        assert not judged.held and "below it" in judged.sentence and "leak" in judged.sentence


def test_controls_of_shuffled_labels_are_judged_jointly(strong: tuple) -> None:
    _, _, result = strong
    shuffled = next(c for c in result.cells if c.labels == "shuffled")
    one = verdicts.one_cell(result, shuffled)
    alone, among = (verdicts.at_chance(one, verdicts.SHUFFLED, among=n) for n in (1, 5))
    assert among.estimate.level == pytest.approx(0.99) and "joint over 5" in among.sentence
    assert among.estimate.low < alone.estimate.low and among.estimate.high > alone.estimate.high


def test_the_choice_of_any_set_is_made_inside_and_needs_two(strong: tuple) -> None:
    _, grid, result = strong
    assert verdicts.chosen_of_any(result, grid) is None  # the other set is a control
    both = Grid({"made": FeatureSpec(), "noise": FeatureSpec()}, grid.vary, repeats=3, folds=4)
    found = verdicts.chosen_of_any(result, both)
    assert found is not None and found.name == "any set"
    true = result.folds[result.folds["number"].isin([result.number(c) for c in found_cells(result)])]
    best = true.groupby(["repeat", "fold"])["inner_auroc"].max().to_numpy()
    taken = true.merge(found.folds[["repeat", "fold", "number"]], on=["repeat", "fold", "number"])
    np.testing.assert_array_equal(taken.sort_values(["repeat", "fold"])["inner_auroc"], best)
    assert len(found.fold_aucs) == 12


def found_cells(result: ablation.Ablation) -> list[Cell]:
    return [c for c in result.cells if c.labels == "true"]


def test_pooled_scores_agree_with_the_folds(strong: tuple) -> None:
    cases, grid, result = strong
    one = verdicts.chosen_inside(result, verdicts.main_cells(result, grid, "made"), "made")
    pooled = np.mean([roc_auc_score(cases.y, row) for row in one.matrix(len(cases.y))])
    assert pooled == pytest.approx(one.fold_aucs.mean(), abs=0.03)


def test_variance_shares_recover_what_was_put_in() -> None:
    """Fold AUCs made from known effects: the factor that moves them most is named, noise is not."""
    rng = np.random.default_rng(0)
    cells = [
        Cell("a", normalisation=n, classifier=c) for n in ("z", "none") for c in ("logistic", "knn", "lda")
    ]
    effect = {"z": 0.05, "none": -0.05}
    split = rng.normal(scale=0.03, size=50)
    rows = [
        (i, s // 5, s % 5, 0.7 + effect[c.normalisation] + split[s] + rng.normal(scale=0.01), 0.7, "{}")
        for i, c in enumerate(cells) for s in range(50)
    ]  # fmt: skip
    folds = pd.DataFrame(rows, columns=["number", "repeat", "fold", "auroc", "inner_auroc", "setting"])
    result = ablation.Ablation(tuple(cells), folds, pd.DataFrame(), {}, ())
    shares = {s.source: s for s in verdicts.what_mattered(result, cells)}
    expected = 0.05**2 / (0.05**2 + split.var() + 0.01**2)
    assert shares["normalisation"].share == pytest.approx(expected, abs=0.05)
    assert shares["normalisation"].low < expected < shares["normalisation"].high
    assert shares["classifier"].share < 0.005 and shares["interactions"].share < 0.005
    assert sum(s.share for s in shares.values()) == pytest.approx(1, abs=1e-9)
    means = verdicts.marginal_means(result, cells).set_index(["factor", "level"])
    assert means.loc[("normalisation", "z"), "value"] - means.loc[
        ("normalisation", "none"), "value"
    ] == pytest.approx(0.1, abs=0.01)


# -- the grid file ----------------------------------------------------------------------------------

GRID = {"features": {"a": {"columns": ["age"]}}, "vary": {"classifier": ["logistic", "knn"]}}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"vary": {"clasifier": ["knn"]}}, UnknownName, "Did you mean 'classifier'"),
        ({"vary": {"classifier": ["logistc"]}}, UnknownName, "Did you mean 'logistic'"),
        ({"vary": {"k": [0]}}, InputError, "whole numbers from 1"),
        ({"vary": {"sample_size": [20]}}, InputError, "at most 1"),
        ({"vary": {"classifier": []}}, InputError, "at least one level"),
        ({"features": {}}, InputError, "at least one feature set"),
        ({"features": {"a": {"join": ["b"]}}}, UnknownName, "no feature set"),
        ({"features": {"a": {"table": "x.csv", "role": "contrl"}}}, InputError, "role"),
        ({"features": {"a": {"table": "x.csv", "join": ["a"]}}}, InputError, "either"),
        ({"desing": "full"}, UnknownName, "Did you mean 'design'"),
        ({"repeats": "ten"}, InputError, "whole number"),
        ({"folds": 1}, InputError, "folds"),
        ({"shuffled_labels": "false"}, InputError, "should be true or false"),
        ({"shuffled_labels": 0}, InputError, "should be true or false"),
        ({"features": {"a,b": {"columns": ["age"]}}}, InputError, "without commas"),
        ({"features": {"a=b": {"columns": ["age"]}}}, InputError, "without commas"),
        ({"features": {" a": {"columns": ["age"]}}}, InputError, "spaces around"),
        ({"features": {"any set": {"columns": ["age"]}}}, InputError, "another name"),
        ({"vary": {"selector": ["none", "anova", "l1"]}}, InputError, "selector anova: how many features"),
        ({"vary": {"selector": ["mrmr"], "k": ["all"]}}, InputError, "selector mrmr: how many"),
        ({"reference": {"selector": "rfe"}}, InputError, "selector rfe: how many"),
    ],
)  # fmt: skip
def test_a_wrong_grid_is_refused_by_name(change: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        grid_from({**GRID, **change}, Path())


def test_selectors_that_size_themselves_need_no_number() -> None:
    grid = grid_from({**GRID, "vary": {"selector": ["none", "l1", "pca"]}, "shuffled_labels": False}, Path())
    assert [(c.selector, c.k) for c in grid.cells()[0]] == [("l1", 0), ("none", 0), ("pca", 0)]
    both = grid_from({**GRID, "vary": {"selector": ["anova", "l1"], "k": ["all", 5]}}, Path()).cells()[0]
    assert {(c.selector, c.k) for c in both} == {("anova", 5), ("l1", 0), ("l1", 5), ("none", 0)}


def test_l1_keeps_every_feature_with_a_weight() -> None:
    cases = made()
    part = Part(cases.matrices["made"], cases.y, np.arange(60), np.arange(60, 80), most=0, seed=0)
    kept = part.data(Cell("made", selector="l1", k=0))
    order = selectors.rank("l1", part.data(Cell("made")).A, cases.y[:60], most=0)
    assert 0 < len(order) < cases.matrices["made"].shape[1] and kept.A.shape[1] == len(order)


def test_a_key_that_stands_twice_in_a_grid_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(
        "features:\n  a: {columns: [age]}\nvary:\n  classifier: [logistic]\n  classifier: [lda]\n"
    )
    with pytest.raises(InputError, match="vary has 'classifier' twice, in lines 4 and 5"):
        read_grid(tmp_path / "g.yaml")


def test_contrasts_of_a_page_are_those_of_the_published_tests(strong: tuple) -> None:
    """Formulas of Nadeau and Bengio 2003, Corani and Benavoli 2015 and Holm 1979, written out."""
    cases, grid, result = strong
    named = {
        n: verdicts.chosen_inside(result, verdicts.main_cells(result, grid, n), n) for n in grid.features
    }
    a, b = named["made"], named["noise"]
    gap = a.fold_aucs - b.fold_aucs
    k, ratio = len(gap), result.ratio
    assert ratio == pytest.approx(1 / (grid.folds - 1), rel=0.1)
    error = math.sqrt((1 / k + ratio) * gap.var(ddof=1))
    found = verdicts.contrast(a, b, cases)
    assert found.corrected.p == pytest.approx(2 * stats.t.sf(abs(gap.mean() / error), k - 1))
    ahead = stats.t.sf((0.02 - gap.mean()) / error, k - 1)
    assert found.posterior.better == pytest.approx(ahead)
    own = verdicts.mean_auc(a)
    half = stats.t.ppf(0.975, k - 1) * math.sqrt((1 / k + ratio) * a.fold_aucs.var(ddof=1))
    assert own.low == pytest.approx(max(0, a.fold_aucs.mean() - half))
    three = [replace(found, corrected=replace(found.corrected, p=p)) for p in (0.01, 0.04, 0.03)]
    judged = verdicts.family(three)
    assert [c.corrected.p_holm for c in judged] == pytest.approx([0.03, 0.06, 0.06])
    assert [c.corrected.p_bh for c in judged] == pytest.approx([0.03, 0.04, 0.04])


def test_shares_of_variance_leave_out_what_noise_adds() -> None:
    """Cells that differ by nothing but noise: uncorrected, a factor of four levels explains some."""
    rng = np.random.default_rng(0)
    cells = [Cell("made", classifier=c) for c in ("logistic", "knn", "lda", "forest")]
    shares = [verdicts._shares(rng.normal(size=(4, 10)), cells, ["classifier"]) for _ in range(200)]
    assert np.mean([s["classifier"] for s in shares]) < 0.06  # plain sums of squares: 3/39 = .077
    assert np.mean([s["split"] for s in shares]) < 0.17  # 9/39 = .23


def test_a_grid_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("features: [")
    with pytest.raises(InputError, match="not readable as YAML"):
        read_grid(tmp_path / "g.yaml")
    (tmp_path / "g.yaml").write_text("features: !!python/object/apply:os.system ['true']")
    with pytest.raises(InputError, match="not readable as YAML"):
        read_grid(tmp_path / "g.yaml")
    with pytest.raises(InputError, match="no grid file"):
        read_grid(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"is a folder\. Give the YAML file"):
        read_grid(tmp_path)


def test_cells_of_both_designs() -> None:
    vary = {
        "selector": ["none", "anova"],
        "k": [5, 10],
        "classifier": ["logistic", "knn"],
        "imbalance": ["none", "class-weight"],
    }
    full, notes = grid_from({**GRID, "vary": vary}, Path()).cells()
    true = [c for c in full if c.labels == "true"]
    # (none + anova 5 + anova 10) x (logistic with and without weights, knn without)
    assert len(true) == 3 * 3 and len(set(true)) == len(true)
    assert "knn" in notes[0]
    star, _ = grid_from({**GRID, "vary": vary, "design": "one-at-a-time"}, Path()).cells()
    assert len([c for c in star if c.labels == "true"]) == 1 + 2 + 1 + 1
    sizes = grid_from({**GRID, "vary": {"sample_size": [0.25, 1.0, 0.5]}}, Path())
    assert sizes.reference_cell("a").sample_size == 1.0
    assert [c.classifier for c in matching(full, "classifier=knn,k=5")] == ["knn"]
    with pytest.raises(UnknownName, match="Did you mean 'classifier'"):
        matching(full, "clasifier=knn")
    with pytest.raises(InputError, match="no cell"):
        matching(full, "k=77")


# -- the page ---------------------------------------------------------------------------------------


def page_grid(folder: Path) -> Path:
    """Two image sets, a control that is nearly a copy of the first, and one that is truly scrambled."""
    rng = np.random.default_rng(0)
    cases = [f"c{i:03d}" for i in range(90)]
    y = (np.arange(90) % 3 == 0).astype(int)
    pd.DataFrame({"case_id": cases, "patient_id": cases, "y:grows": y}).to_csv(
        folder / "cohort.csv", index=False
    )
    image = rng.normal(size=(90, 4)) + 1.2 * y[:, None]
    tables = {
        "image": image,
        "other": rng.normal(size=(90, 4)) + 0.3 * y[:, None],
        "copy": image + 0.01 * rng.normal(size=image.shape),
        "scrambled": rng.permutation(image),
    }
    for name, values in tables.items():
        table = pd.DataFrame(values, columns=[f"v{i}" for i in range(4)]).assign(case_id=cases)
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "grid.yaml").write_text(
        """
cohort: cohort.csv
target: grows
features:
  image: {table: image.csv}
  other: {table: other.csv}
  near copy: {table: copy.csv, role: control, of: image}
  scrambled voxels: {table: scrambled.csv, role: control, of: image}
repeats: 2
folds: 3
inner: 2
"""
    )
    return folder / "grid.yaml"


def ablate_command(grid: Path, *more: str) -> int:
    folder = grid.parent
    words = ["ablate", str(grid), "--out", str(folder / "run"), "--store", str(folder / "store")]
    return main([*words, *([] if "--jobs" in more else ["--jobs", "1"]), *more])


def test_the_page_names_the_control_that_did_not_hold_and_no_other(tmp_path: Path) -> None:
    assert ablate_command(page_grid(tmp_path)) == 0
    out = tmp_path / "run"
    sections = {s["key"]: s for s in json.loads((out / "sections.json").read_text())["sections"]}
    assert "1 of 4 negative controls did not hold: near copy." in sections["verdict"]["text"]
    assert "scrambled" not in sections["verdict"]["text"]
    page = (out / "report.html").read_text()
    assert "1 of 4 negative controls did not hold: near copy." in page
    results = {row[1]: row[4] for row in sections["controls"]["rows"]}
    assert results.pop("near copy") == "did not hold"
    assert set(results.values()) == {"held"} and "scrambled voxels" in results

    # The choice among both image sets stands on the page with its interval, and in no comparison.
    estimates = {e["model"]: e for e in json.loads((out / "metrics.json").read_text())}
    assert 0.5 < estimates["any set"]["low"] < estimates["any set"]["value"] < estimates["any set"]["high"]
    assert "AUC, any set" in [item["label"] for item in sections["verdict"]["items"]]
    picks = [row for row in sections["picks"]["rows"] if row[0] == "any set"]
    assert picks[0][1].startswith("image") and picks[0][2] > 0.8
    assert [row[0] for row in sections["contrasts"]["rows"]] == ["image against other"]
    assert "any set" in set(pd.read_parquet(out / "predictions.parquet")["model"])
    assert "any set (chosen inside)" in (out / "figures" / "comparison.csv").read_text()
    assert "the same choice among the cells of all image sets" in page


def test_without_the_whole_sample_the_largest_is_the_headline_and_the_page_says_so(tmp_path: Path) -> None:
    grid = page_grid(tmp_path)
    grid.write_text(grid.read_text() + "vary: {sample_size: [0.4, 0.6], classifier: [lda]}\n")
    assert ablate_command(grid) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "the headline is that of 60% of them" in page
    estimates = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"image", "other", "any set"} <= {e["model"] for e in estimates}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--ray-address", "127.0.0.1:6379"], "Add --engine ray"),
        (["--jobs", "-3"], "0 for one a CPU"),
        (["--only", "labels=shuffled"], "Leave labels= out"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate_command(page_grid(tmp_path), *more) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "run").exists()


# -- engines ----------------------------------------------------------------------------------------


def test_processes_give_what_one_gives() -> None:
    cases, grid = made(60, 20), Grid({"made": FeatureSpec()}, repeats=2, folds=3)
    one, two = (ablate(cases, grid, jobs=jobs, log=lambda _: None) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one.folds, two.folds)
