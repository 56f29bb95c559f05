"""Heads: tuned on their own training rows only, exact where they claim it, saved without pickle."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from radfoundry import adapt
from radfoundry.adapt import persist, probe
from radfoundry.adapt.logistic import FALLBACK, LogisticPath, rotation
from radfoundry.adapt.prior import AtTrainingPrevalence
from radfoundry.adapt.thresholds import choose
from radfoundry.errors import InputError, MissingExtra, NotEnoughData, UnknownName, WeightsError
from radfoundry.splits import Fold as SplitFold

from ._made import embeddings

NAMES = ("logistic", "svm-linear", "svm-rbf", "knn", "xgboost", "lightgbm", "mlp")


@dataclass
class Fold:
    train: np.ndarray
    test: np.ndarray
    repeat: int = 0
    fold: int = 0


def halves(groups: np.ndarray) -> list[Fold]:
    even = np.flatnonzero(groups % 2 == 0)
    odd = np.flatnonzero(groups % 2 == 1)
    return [Fold(even, odd, 0, 0), Fold(odd, even, 0, 1)]


def head(name: str):
    if name in ("xgboost", "lightgbm"):
        pytest.importorskip(name, reason="the boost extra is not installed")
    return adapt.make_head(name, seed=3)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_head_learns_and_is_saved(name: str, k: int, tmp_path) -> None:
    X, y, patient = embeddings(160, 12, k, effect=3)
    labels = np.array(["atelectasis", "fibrosis", "none"])[y]
    train = patient % 2 == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = head(name).fit(X[train], labels[train], groups=patient[train])
    proba = fitted.predict_proba(X[~train])
    assert proba.shape == (80, k)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    assert (fitted.predict(X[~train]) == labels[~train]).mean() > 0.8
    again = clone(fitted).fit(X[train], labels[train], groups=patient[train])
    np.testing.assert_array_equal(again.predict_proba(X[~train]), proba)
    read = adapt.load_head(adapt.save_head(fitted, tmp_path / "head.skops"))
    np.testing.assert_array_equal(read.predict_proba(X[~train]), proba)
    assert read.classes_.tolist() == sorted(set(labels))


@pytest.mark.parametrize(("n", "p", "k"), [(40, 300, 2), (120, 10, 2), (60, 150, 3)])
def test_logistic_is_the_exact_optimum(n: int, p: int, k: int) -> None:
    """Gradient of the penalised loss is zero in all p dimensions, and the full solver agrees."""
    X, y, _ = embeddings(n, p, k)
    Z = StandardScaler().fit_transform(X)
    for strength in (1e-3, 1.0):
        ours = LogisticPath(strengths=(strength,)).fit(Z, y)
        error = ours.predict_proba(Z) - np.eye(k)[y]
        residual = (error[:, 1:] if k == 2 else error).T @ Z * strength + ours.coef_
        assert np.abs(residual).max() < 2e-5 * max(1, np.abs(ours.coef_).max()) * n
        full = LogisticRegression(C=strength, tol=1e-10, max_iter=20000).fit(Z, y)
        np.testing.assert_allclose(ours.predict_proba(Z), full.predict_proba(Z), atol=2e-5)
    assert (rotation(Z) is None) == (n >= p)


@pytest.mark.parametrize(("n", "p"), [(24, 60), (90, 40)])
def test_inner_losses_are_those_of_plain_fits(n: int, p: int) -> None:
    """The strength is chosen by the mean log loss over inner test cases, each fold solved on its own."""
    X, y, patient = embeddings(n, p)
    Z = StandardScaler().fit_transform(X)
    splits = probe.inner_splits(y, patient, 3)
    ours = LogisticPath().fit(Z, y, splits=splits)
    for strength, loss in ours.inner_log_loss_.items():
        plain = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        each = [log_loss(y[b], plain.fit(Z[a], y[a]).predict_proba(Z[b]), normalize=False) for a, b in splits]
        assert loss == pytest.approx(sum(each) / n, rel=1e-6)
    assert min(ours.inner_log_loss_, key=ours.inner_log_loss_.__getitem__) == ours.C_


def test_rotation_keeps_every_inner_product() -> None:
    Z = np.random.default_rng(0).normal(size=(30, 400))
    Z[3] = Z[4]  # a duplicate image: the rows no longer are independent
    Q = rotation(Z)
    assert Q is not None and Q.shape == (400, 30)
    np.testing.assert_allclose((Z @ Q) @ (Z @ Q).T, Z @ Z.T, atol=1e-9)


def test_strength_follows_the_signal() -> None:
    """Pure noise wants the strongest penalty, a clear signal a weaker one."""
    noise, y, patient = embeddings(200, 30, effect=0)
    clear, *_ = embeddings(200, 30, effect=3)
    on_noise = adapt.make_head("logistic").fit(noise, y, groups=patient).chosen_["C"]
    assert on_noise <= 1e-4 < adapt.make_head("logistic").fit(clear, y, groups=patient).chosen_["C"]


def test_inner_folds_hold_patients_together() -> None:
    _, y, patient = embeddings(60, 3)
    splits = probe.inner_splits(y, patient, 5)
    assert len(splits) == 5
    assert np.array_equal(np.sort(np.concatenate([test for _, test in splits])), np.arange(60))
    assert not any(np.isin(patient[test], patient[train]).any() for train, test in splits)
    assert len(probe.inner_splits(np.r_[np.zeros(20, int), [1, 1, 1]], None, 5)) == 3
    assert probe.inner_splits(np.array([0, 0, 1, 1]), np.array([1, 2, 3, 3])) == []


def test_patient_leak_in_the_inner_folds_would_be_seen() -> None:
    """Labels that a patient's twin image gives away: grouping must not let kNN profit (k stays large)."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 2)
    X = np.repeat(rng.normal(size=(60, 20)), 2, axis=0) + rng.normal(size=(120, 20)) * 1e-3
    y = np.repeat(rng.permutation(np.arange(60) % 2), 2)
    model = adapt.make_head("logistic")
    assert model.fit(X, y, groups=patient).chosen_["C"] < model.fit(X, y).chosen_["C"]


def test_too_few_patients_for_inner_folds() -> None:
    X, y = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 0, 0, 0, 0, 1])
    fitted = adapt.make_head("logistic").fit(X, y)
    assert (fitted.inner_folds_, fitted.chosen_) == (0, {"C": FALLBACK})
    with pytest.raises(NotEnoughData, match="two patients of every class"):
        adapt.make_head("svm-linear").fit(X, y)


def test_make_head_refuses(monkeypatch) -> None:
    with pytest.raises(UnknownName, match="logistic"):
        adapt.make_head("logistc")
    monkeypatch.setitem(__import__("sys").modules, "xgboost", None)
    with pytest.raises(MissingExtra, match=r"radfoundry\[boost\]"):
        adapt.make_head("xgboost")


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_fit_refuses_bad_input(name: str) -> None:
    X, y, patient = embeddings(20, 4)
    model = adapt.make_head(name)
    with pytest.raises(NotEnoughData, match="two classes"):
        model.fit(X, np.ones(20, int))
    with pytest.raises(InputError, match="row 3"):
        model.fit(np.where(np.arange(20)[:, None] == 3, np.nan, X), y)
    with pytest.raises(InputError, match="as many labels"):
        model.fit(X, y[:5])
    with pytest.raises(InputError, match="another encoder"):
        model.fit(X, y, groups=patient).predict_proba(X[:, :3])


def test_cross_predict_rows() -> None:
    X, y, patient = embeddings(120, 8, effect=3)
    folds = halves(patient)
    case = np.array([f"c{i}" for i in range(120)])
    table = adapt.cross_predict(
        "logistic", X, y, folds, patient, target="ila", case_id=case, covariates={"age": np.arange(120)},
        threshold_rule="youden", seed=5,
    )  # fmt: skip
    assert sorted(table.case_id) == sorted(case) and set(table.fold) == {0, 1}
    assert (table.decision == (table.score >= table.threshold)).all()
    assert (table.decision == table.y_true).mean() > 0.9
    row = table.set_index("case_id").loc["c7"]
    assert (row.patient_id, row.target, row.split, row.age, row.seed) == ("3", "ila", "test", 7, 5)
    fitted = adapt.make_head("logistic", seed=5).fit(
        X[folds[0].train], y[folds[0].train], patient[folds[0].train]
    )
    expected = fitted.predict_proba(X[folds[0].test])[:, 1]
    np.testing.assert_array_equal(table.score[table.fold == 0], expected)


def test_cross_predict_of_test_rows_does_not_depend_on_their_labels() -> None:
    """Threshold and hyper-parameters come from training rows: flipping test labels changes no score."""
    X, y, patient = embeddings(80, 6)
    fold = halves(patient)[:1]
    flipped = y.copy()
    flipped[fold[0].test] = 1 - flipped[fold[0].test]
    a = adapt.cross_predict("logistic", X, y, fold, patient, threshold_rule="f1")
    b = adapt.cross_predict("logistic", X, flipped, fold, patient, threshold_rule="f1")
    assert a[["score", "threshold"]].equals(b[["score", "threshold"]]) and not a.y_true.equals(b.y_true)


def test_cross_predict_classes_estimators_and_factories() -> None:
    X, y, patient = embeddings(90, 6, 3)
    a = adapt.cross_predict(adapt.make_head("logistic"), X, y, halves(patient), patient, model="m")
    b = adapt.cross_predict(lambda: adapt.make_head("logistic"), X, y, halves(patient), patient, model="m")
    assert a.equals(b) and {"score:0", "score:1", "score:2"} <= set(a.columns)


class Memory(ClassifierMixin, BaseEstimator):
    """Knows the label of every row it was fitted on, and nothing else."""

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        self.seen_ = {row.tobytes(): label for row, label in zip(np.asarray(X), y, strict=True)}
        return self

    def predict_proba(self, X):
        p = np.array([self.seen_.get(row.tobytes(), 0.5) for row in np.asarray(X)], float)
        return np.column_stack([1 - p, p])


def test_the_threshold_never_comes_from_scores_of_rows_that_were_fitted() -> None:
    X, y, patient = embeddings(80, 6)
    found = adapt.cross_predict(Memory(), X, y, halves(patient), patient, threshold_rule="youden")
    assert (found.inner_auroc == 0.5).all()  # 1.0 where a row met the head that had learned it


def test_the_threshold_comes_from_the_validation_rows_where_a_fold_has_them() -> None:
    X, y, patient = embeddings(120, 6, effect=1)
    train, held, test = (np.flatnonzero(patient % 3 == k) for k in range(3))
    fold = SplitFold(train, test, validation=held)
    found = adapt.cross_predict("logistic", X, y, [fold], patient, threshold_rule="youden")
    score = adapt.make_head("logistic").fit(X[train], y[train], patient[train]).predict_proba(X[held])[:, 1]
    chosen = choose(y[held], score, "youden")
    assert found.threshold.unique() == pytest.approx(chosen.value)
    assert found.inner_auroc.unique() == pytest.approx(roc_auc_score(y[held], score))


def test_cross_predict_of_named_labels_is_a_prediction_table() -> None:
    X, y, patient = embeddings(80, 6, effect=3)
    named = np.where(y == 1, "sick", "healthy")
    plain = adapt.cross_predict("logistic", X, y, halves(patient), patient, threshold_rule="youden")
    found = adapt.cross_predict("logistic", X, named, halves(patient), patient, threshold_rule="youden")
    assert found.equals(plain) and found.y_true.isin((0, 1)).all()


def test_cross_predict_refuses_validation_patients_who_are_tested_or_trained_on() -> None:
    X, y, patient = embeddings(80, 6)
    fold = halves(patient)[0]
    for other, words in ((fold.test, "validation and test"), (fold.train, "training and validation")):
        leaky = SplitFold(fold.train, fold.test, validation=other[:10])
        with pytest.raises(InputError, match=f"both {words} of repeat 0, fold 0"):
            adapt.cross_predict("logistic", X, y, [leaky], patient, threshold_rule="youden")


def test_cross_predict_refuses_leaks_and_missing_classes() -> None:
    X, y, patient = embeddings(40, 4)
    rows = np.arange(40)
    with pytest.raises(InputError, match="both training and test of repeat 0, fold 0"):
        adapt.cross_predict("logistic", X, y, [Fold(rows[::2], rows[1::2])], patient)
    with pytest.raises(NotEnoughData, match="absent from the training part"):
        adapt.cross_predict("logistic", X, y, [Fold(rows[y == 0], rows[y == 1])])
    with pytest.raises(InputError, match="no folds"):
        adapt.cross_predict("logistic", X, y, [])


def test_a_balanced_head_at_its_training_prevalence_is_saved(tmp_path) -> None:
    X, y, _ = embeddings(60, 5)
    fitted = AtTrainingPrevalence(adapt.make_head("logistic")).fit(X, y)
    read = adapt.load_head(adapt.save_head(fitted, tmp_path / "head.skops"))
    np.testing.assert_array_equal(read.predict_proba(X), fitted.predict_proba(X))


class Foreign(ClassifierMixin, BaseEstimator):
    """A head that the loader has never heard of."""


def test_unknown_types_are_refused(tmp_path) -> None:
    import skops.io

    path = tmp_path / "foreign.skops"
    with pytest.raises(WeightsError, match="Foreign"):
        adapt.save_head(Foreign(), path)
    assert list(tmp_path.iterdir()) == []
    skops.io.dump(Foreign(), path)
    with pytest.raises(WeightsError, match="Foreign"):
        adapt.load_head(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_damaged_head_files(content, tmp_path) -> None:
    path = tmp_path / "head.skops"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"head\.skops could not be read"):
        persist.load_head(path)
