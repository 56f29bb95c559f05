"""The balanced-epoch MLP: its sampler, its seeds, its file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from radfoundry.adapt import mlp
from radfoundry.adapt.mlp import BalancedEpochMLP, balanced_epoch
from radfoundry.errors import WeightsError

from ._made import embeddings

torch = pytest.importorskip("torch", reason="the torch extra is not installed")


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=4), st.integers(0, 1000))
def test_an_epoch_is_balanced_and_repeats_nobody(counts: list[int], seed: int) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    rows = balanced_epoch(y, np.random.default_rng(seed))
    assert len(np.unique(rows)) == len(rows) == min(counts) * len(counts)
    assert (np.bincount(y[rows]) == min(counts)).all()
    rarest = int(np.argmin(counts))
    assert set(np.flatnonzero(y == rarest)) <= set(rows)


def test_epochs_draw_afresh() -> None:
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(50, int), np.ones(10, int)]
    seen = set(np.concatenate([balanced_epoch(y, rng) for _ in range(30)]))
    assert len(seen) == 60


def test_training_draws_anew_for_every_epoch_and_seed(monkeypatch) -> None:
    drawn = []

    def spy(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        drawn.append(balanced_epoch(y, rng))
        return drawn[-1]

    monkeypatch.setattr(mlp, "balanced_epoch", spy)
    X, _, _ = embeddings(60, 5)
    y = (np.arange(60) < 10).astype(int)
    BalancedEpochMLP(hidden=4, epochs=4, seeds=2).fit(X, y)
    majority = {tuple(sorted(rows[y[rows] == 0])) for rows in drawn}
    assert len(drawn) == len(majority) == 8
    assert all(set(np.flatnonzero(y == 1)) <= set(rows) for rows in drawn)


def test_learns_imbalanced_data_and_is_balanced() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random(400) < 0.12).astype(int)
    X = rng.normal(size=(400, 10)) * 50 + 7
    X[:, 0] += y * 120
    model = BalancedEpochMLP(hidden=32, epochs=15, seeds=3).fit(X[:250], y[:250])
    proba = model.predict_proba(X[250:])[:, 1]
    assert roc_auc_score(y[250:], proba) > 0.85
    assert 0.25 < proba.mean() < 0.6  # scores belong to a prevalence of one half, not .12
    assert model.history_.shape == (15, 3) and (model.history_[-1] < model.history_[0]).all()


def test_a_seed_does_not_depend_on_the_others_nor_on_the_process() -> None:
    X, y, _ = embeddings(60, 5)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global state itself
    one = BalancedEpochMLP(hidden=8, epochs=2, seeds=1).fit(X, y)
    three = BalancedEpochMLP(hidden=8, epochs=2, seeds=3).fit(X, y)
    np.testing.assert_allclose(one.w1_[0], three.w1_[0], atol=1e-6)
    assert np.abs(three.w1_[0] - three.w1_[1]).max() > 0.01
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_agrees_with_a_plain_torch_net() -> None:
    """Prediction in numpy equals torch.nn with the same weights."""
    X, y, _ = embeddings(50, 6, 3)
    model = BalancedEpochMLP(hidden=16, epochs=3, seeds=2).fit(X, y)
    z = torch.as_tensor((X - model.mean_) / model.scale_, dtype=torch.float32)
    total = 0
    for s in range(2):
        net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
        arrays = model.w1_[s].T, model.b1_[s][0], model.w2_[s].T, model.b2_[s][0]
        for parameter, value in zip(net.parameters(), arrays, strict=True):
            parameter.data = torch.as_tensor(value)
        total = total + net(z).softmax(1).detach().numpy()
    np.testing.assert_allclose(model.predict_proba(X), total / 2, atol=1e-6)


def test_file_round_trip_and_refusals(tmp_path) -> None:
    X, y, _ = embeddings(40, 4)
    model = BalancedEpochMLP(hidden=8, epochs=1, seeds=2).fit(X, np.array(["a", "b"])[y])
    path = tmp_path / "mlp.safetensors"
    model.save(path)
    read = BalancedEpochMLP.load(path)
    np.testing.assert_array_equal(read.predict_proba(X), model.predict_proba(X))
    assert read.get_params() == model.get_params() and read.classes_.tolist() == ["a", "b"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="could not be read"):
        BalancedEpochMLP.load(path)
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(2)}, str(path))
    with pytest.raises(WeightsError, match="no radfoundry-mlp-1 file"):
        BalancedEpochMLP.load(path)
