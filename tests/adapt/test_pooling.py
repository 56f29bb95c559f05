"""Lesions to patients: invariances of each rule, and that attention learns from training patients alone."""

from __future__ import annotations

import copy
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from radfoundry.adapt import cross_predict
from radfoundry.adapt.pooling import AttentionPool, PooledHead, make_bags, patient_labels, pool
from radfoundry.errors import InputError, MissingExtra, NotEnoughData
from radfoundry.splits import kfold

pytest.importorskip("torch", reason="the torch extra is not installed")
SMALL = AttentionPool(hidden=4, epochs=5, seeds=2)


def lesions(patients: int = 60, p: int = 6, seed: int = 0, key: float = 3.0) -> tuple[np.ndarray, ...]:
    """One lesion in each ill patient carries the signal (feature 1), and a mark (feature 2) that says which.

    In healthy patients the marked lesion is like the others. X (n, p), patient (n,), y (patients,).
    """
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 6, patients)
    patient = np.repeat(np.arange(patients), counts)
    y = np.arange(patients) % 2
    X = rng.normal(size=(len(patient), p))
    first = np.cumsum(counts) - counts
    X[first, 2] += 4.0
    X[first, 1] += key * (2 * y - 1)
    shuffled = rng.permutation(len(patient))
    return X[shuffled], patient[shuffled], y


def fitted(pooler: AttentionPool = SMALL) -> tuple[AttentionPool, np.ndarray]:
    X, patient, y = lesions()
    bags, _ = make_bags(X, patient)
    return clone(pooler).fit(bags, y), bags


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 99))
def test_bags_hold_each_lesion_once(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    patient = rng.permutation(np.repeat([f"p{i}" for i in range(len(counts))], counts))
    X = np.arange(len(patient), dtype=float)[:, None]
    bags, patients = make_bags(X, patient)
    for row, name in zip(bags[:, :, 0], patients, strict=True):
        assert row[~np.isnan(row)].tolist() == X[patient == name, 0].tolist()


@pytest.mark.parametrize("how", ["mean", "max", "largest"])
@settings(deadline=None)
@given(seed=st.integers(0, 99))
def test_order_and_padding_change_nothing(how: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bags, _ = make_bags(rng.normal(size=(9, 3)), np.repeat([0, 1, 2], [4, 2, 3]))
    turned = bags[:, rng.permutation(4)]
    wider = np.concatenate([bags, np.full((3, 2, 3), np.nan)], axis=1)
    expected = pool(bags, how, size_column=0)
    np.testing.assert_allclose(pool(turned, how, size_column=0), expected, rtol=1e-12)
    np.testing.assert_array_equal(pool(wider, how, size_column=0), expected)


def test_rules_by_hand() -> None:
    bags, _ = make_bags(np.array([[1.0, 5.0], [3.0, 4.0], [2.0, 9.0]]), np.array([0, 0, 1]))
    assert pool(bags, "mean").tolist() == [[2.0, 4.5], [2.0, 9.0]]
    assert pool(bags, "max").tolist() == [[3.0, 5.0], [2.0, 9.0]]
    assert pool(bags, "largest", size_column=0).tolist() == [[3.0, 4.0], [2.0, 9.0]]
    assert pool(bags, "largest", size_column=-1).tolist() == [[1.0, 5.0], [2.0, 9.0]]


def test_missing_features_are_left_out_of_mean_and_maximum() -> None:
    bags, _ = make_bags(np.array([[1.0, np.nan], [3.0, 4.0], [2.0, np.nan]]), np.array([0, 0, 1]))
    for how in ("mean", "max"):
        found = pool(bags, how)
        assert found[0, 1] == 4.0 and np.isnan(found[1, 1])
    assert np.isnan(pool(bags, "largest", size_column=0)[1, 1])
    with pytest.raises(InputError, match="no volume for some lesions"):
        pool(bags, "largest", size_column=1)


@pytest.mark.parametrize("how", ["mean", "max", "largest", "attention"])
def test_one_lesion_is_itself(how: Any) -> None:
    X = np.random.default_rng(0).normal(size=(8, 3))
    bags, _ = make_bags(X, np.arange(8))
    if how == "attention":
        model = clone(SMALL).fit(bags, np.arange(8) % 2)
        np.testing.assert_allclose(model.transform(bags), X, rtol=1e-12)
    else:
        np.testing.assert_array_equal(pool(bags, how, size_column=0), X)


def test_attention_weights_sum_to_one_and_skip_padding() -> None:
    model, bags = fitted()
    weights = model.attention(bags)
    there = ~np.isnan(bags[:, :, 0])
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    assert (weights[~there] == 0).all() and (weights[there] > 0).all()


def test_attention_ignores_order_and_padding() -> None:
    model, bags = fitted()
    order = np.random.default_rng(1).permutation(bags.shape[1])
    np.testing.assert_allclose(model.predict_proba(bags[:, order]), model.predict_proba(bags), rtol=1e-9)
    np.testing.assert_allclose(model.attention(bags[:, order]), model.attention(bags)[:, order], rtol=1e-9)
    wider = np.concatenate([bags, np.full((len(bags), 3, bags.shape[2]), np.nan)], axis=1)
    np.testing.assert_allclose(model.transform(wider), model.transform(bags), rtol=1e-12)


def test_network_in_torch_and_in_numpy_agree() -> None:
    import torch

    from radfoundry.adapt.pooling import _logit

    model, bags = fitted()
    there = ~np.isnan(bags).all(axis=2)
    h = torch.as_tensor(
        np.where(there[:, :, None], (bags - model.mean_) / model.scale_, 0.0), dtype=torch.float32
    )
    seeds = [
        torch.softmax(_logit(h, torch.as_tensor(there), [torch.as_tensor(a[s]) for a in (
            model.v_, model.u_, model.w_, model.c_, model.b_)]), dim=1).numpy()
        for s in range(2)
    ]  # fmt: skip
    np.testing.assert_allclose(model.predict_proba(bags), np.mean(seeds, axis=0), rtol=2e-5)


def test_attention_finds_the_lesion_that_matters() -> None:
    """The signal sits in one marked lesion: attention beats the mean, and points at it."""
    X, patient, y = lesions(200, seed=4, key=1.2)
    bags, patients = make_bags(X, patient)
    folds = kfold(patients, y, n_splits=4)
    auc = {}
    for name, head in {"attention": AttentionPool(), "mean": PooledHead("mean")}.items():
        table = cross_predict(head, bags, y, folds, patients)
        auc[name] = roc_auc_score(table["y_true"], table["score"])
    assert auc["attention"] > auc["mean"] + 0.02
    assert auc["attention"] > 0.8
    model = AttentionPool().fit(bags, y)
    several = (~np.isnan(bags[:, :, 0])).sum(axis=1) > 2
    marked = np.nanargmax(bags[:, :, 2], axis=1)
    share = model.attention(bags)[np.arange(len(bags)), marked][several]
    equal = 1.0 / (~np.isnan(bags[:, :, 0])).sum(axis=1)[several]
    assert (share > equal).mean() > 0.9


def test_fit_sees_training_patients_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every fold, what is fitted does not depend on the bags or labels of the test patients."""
    X, patient, y = lesions()
    bags, patients = make_bags(X, patient)
    seen: list[AttentionPool] = []
    real = AttentionPool.fit

    def spy(self: AttentionPool, *args: Any, **named: Any) -> AttentionPool:
        seen.append(copy.deepcopy(real(self, *args, **named)))
        return self

    monkeypatch.setattr(AttentionPool, "fit", spy)
    fold = kfold(patients, y, n_splits=3)[0]
    other, turned = bags.copy(), y.copy()
    other[fold.test] *= 1e6
    turned[fold.test] = 1 - turned[fold.test]
    cross_predict(SMALL, bags, y, [fold], patients)
    cross_predict(SMALL, other, turned, [fold], patients)
    for name in ("mean_", "scale_", "v_", "u_", "w_", "c_", "b_", "history_"):
        np.testing.assert_array_equal(getattr(seen[0], name), getattr(seen[1], name))
    lesions_of_training = bags[fold.train]
    np.testing.assert_allclose(seen[0].mean_, np.nanmean(lesions_of_training, axis=(0, 1)))


def test_seeds_decide_and_nothing_else() -> None:
    import torch

    X, patient, y = lesions()
    bags, _ = make_bags(X, patient)
    before = torch.random.get_rng_state()
    one, two = (clone(SMALL).fit(bags, y).predict_proba(bags) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not np.allclose(clone(SMALL).set_params(seed=1).fit(bags, y).predict_proba(bags), one)
    single = AttentionPool(hidden=4, epochs=5, seeds=1).fit(bags, y)
    np.testing.assert_array_equal(single.v_[0], clone(SMALL).fit(bags, y).v_[0])


def test_rare_class_weighs_as_much() -> None:
    X, patient, _ = lesions(90, seed=5)
    bags, _ = make_bags(X, patient)
    y = (np.arange(90) < 12).astype(int)
    bags[:12, :, 0] += 2.5
    model = AttentionPool(hidden=8, epochs=80, seeds=1).fit(bags, y)
    predicted = model.predict(bags)
    assert predicted[y == 1].mean() > 0.7 and predicted[y == 0].mean() < 0.3


def test_three_classes_and_words() -> None:
    X, patient, _ = lesions(30)
    bags, _ = make_bags(X, patient)
    y = np.array(["a", "b", "c"])[np.arange(30) % 3]
    for model in (clone(SMALL).fit(bags, y), PooledHead("max", "knn").fit(bags, y)):
        assert model.predict_proba(bags).shape == (30, 3)
        assert set(model.predict(bags)) <= {"a", "b", "c"}


def test_labels_of_patients() -> None:
    patient = np.array(["b", "a", "b"])
    assert patient_labels(np.array([1, 0, 1]), patient).tolist() == [0, 1]
    with pytest.raises(InputError, match="1 of 2 patients have lesions with different labels"):
        patient_labels(np.array([1, 0, 0]), patient)


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    model, bags = fitted()
    y = np.arange(len(bags)) % 2
    with pytest.raises(InputError, match="make_bags"):
        pool(bags[:, 0], "mean")
    with pytest.raises(InputError, match="needs size_column"):
        pool(bags, "largest")
    with pytest.raises(InputError, match="no pooling 'median'"):
        pool(bags, "median")  # type: ignore[arg-type]  # the test
    with pytest.raises(InputError, match="infinite"):
        pool(np.where(np.isnan(bags), np.nan, np.inf), "mean")
    with pytest.raises(InputError, match="patient 3 has no lesion"):
        pool(np.where(np.arange(len(bags))[:, None, None] == 3, np.nan, bags), "mean")
    with pytest.raises(InputError, match="has no number at all"):
        make_bags(np.array([[np.nan, np.nan]]), np.array([0]))
    with pytest.raises(InputError, match="one patient each"):
        make_bags(np.zeros((3, 2)), np.array([0, 1]))
    holes = bags.copy()
    holes[0, 0, 1] = np.nan
    with pytest.raises(InputError, match=r"the first is feature 1.*impute"):
        clone(SMALL).fit(holes, y)
    with pytest.raises(InputError, match="fitted on 6 features"):
        model.predict_proba(bags[:, :, :5])
    with pytest.raises(NotEnoughData, match="two classes"):
        clone(SMALL).fit(bags, np.zeros(len(bags)))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"radfoundry\[torch\]"):
        clone(SMALL).fit(bags, y)
