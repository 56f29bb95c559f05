"""A small multi-layer perceptron on embeddings, trained on class-balanced epochs.

Each epoch sees every case of the rarest class and a fresh draw of the same size from every other
class, without replacement. That is not a weighted sampler: within an epoch no case repeats. Scores
therefore belong to balanced classes; `prior.correct` moves them to a real prevalence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from radfoundry.adapt.checks import check_training_data, check_vectors
from radfoundry.adapt.persist import save_tensors
from radfoundry.errors import WeightsError
from radfoundry.optional import require

if TYPE_CHECKING:
    import torch

FORMAT = "radfoundry-mlp-1"
_ARRAYS = ("w1", "b1", "w2", "b2", "mean", "scale")


def balanced_epoch(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of one epoch in random order: n_min of every class, none twice.

    y: (n,) class of each case. The rarest class is always there in full.

    >>> len(balanced_epoch(np.array([0, 0, 0, 0, 1, 1]), np.random.default_rng(0)))
    4
    """
    members = [np.flatnonzero(y == c) for c in np.unique(y)]
    fewest = min(map(len, members))
    return rng.permutation(np.concatenate([rng.choice(m, fewest, replace=False) for m in members]))


class BalancedEpochMLP(ClassifierMixin, BaseEstimator):
    """dim -> hidden -> classes, ReLU, dropout, Adam on cross-entropy, averaged over several seeds.

    Inputs are standardised with the training mean and standard deviation. The nets of all seeds train
    side by side in one batched product; each has its own generator, so the net of a seed does not
    depend on how many others there are, and the process-wide random state is never touched.

    Fitted: classes_ (k,); w1_ (seeds, p, hidden), b1_, w2_ (seeds, hidden, k), b2_, mean_ (p,),
    scale_ (p,) as float32 arrays, so that prediction needs no torch; history_ (epochs, seeds) mean
    training loss.
    """

    def __init__(
        self, hidden: int = 256, dropout: float = 0.2, lr: float = 1e-3, batch_size: int = 32,
        epochs: int = 10, seeds: int = 5, seed: int = 0, device: str = "cpu",
    ) -> None:  # fmt: skip
        self.hidden = hidden
        self.dropout = dropout
        self.lr = lr
        self.batch_size = batch_size
        self.epochs = epochs
        self.seeds = seeds
        self.seed = seed
        self.device = device

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> BalancedEpochMLP:
        """X: (n, p) embeddings; y: (n,) labels. `groups` is accepted and not needed: nothing is tuned."""
        torch = require("torch", extra="torch")
        X, y = check_training_data(X, y)
        self.classes_, code = np.unique(y, return_inverse=True)
        self.mean_ = X.mean(0).astype(np.float32)
        spread = X.std(0)
        self.scale_ = np.where(spread > 1e-12, spread, 1.0).astype(np.float32)
        z = torch.as_tensor(self._standardise(X), device=self.device)
        params = _initial(z.shape[1], self.hidden, len(self.classes_), self._generators(), self.device)
        self.history_ = self._train(z, code, params)
        for name, value in zip(_ARRAYS, params):
            setattr(self, f"{name}_", value.detach().cpu().numpy())
        self.n_features_in_ = X.shape[1]
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, classes): softmax averaged over the seeds."""
        check_is_fitted(self, "w1_")
        z = self._standardise(check_vectors(X, self.n_features_in_))
        total = np.zeros((len(z), len(self.classes_)))
        for w1, b1, w2, b2 in zip(self.w1_, self.b1_, self.w2_, self.b2_):
            logit = np.maximum(z @ w1 + b1, 0) @ w2 + b2
            e = np.exp(logit - logit.max(1, keepdims=True), dtype=float)
            total += e / e.sum(1, keepdims=True)
        return total / len(self.w1_)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The most probable class of each row, at the balanced prior of training."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    def save(self, path: str | Path) -> None:
        """One safetensors file: the arrays, and in its header the settings and classes as JSON.

        RunError: it cannot be written.
        """
        check_is_fitted(self, "w1_")
        from safetensors.numpy import save_file

        head = {"format": FORMAT, "params": self.get_params(), "classes": self.classes_.tolist()}
        arrays = {name: np.ascontiguousarray(getattr(self, f"{name}_")) for name in _ARRAYS}
        about = {"radfoundry": json.dumps(head)}
        save_tensors(
            Path(path), lambda part: save_file(arrays | {"history": self.history_}, part, metadata=about)
        )

    @classmethod
    def load(cls, path: str | Path) -> BalancedEpochMLP:
        """Read what `save` wrote. WeightsError: another kind of file, or a damaged one."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "np") as file:
                head = json.loads((file.metadata() or {}).get("radfoundry", "{}"))
                if head.get("format") != FORMAT:
                    raise WeightsError(f"{path} is no {FORMAT} file; write one with BalancedEpochMLP.save")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no __iter__
        except (OSError, SafetensorError, ValueError) as cause:
            raise WeightsError(
                f"{path} could not be read as safetensors ({cause}); save the model again"
            ) from cause
        model = cls(**head["params"])
        model.classes_ = np.asarray(head["classes"])
        for name in (*_ARRAYS, "history"):
            setattr(model, f"{name}_", arrays[name])
        model.n_features_in_ = len(model.mean_)
        return model

    def _standardise(self, X: np.ndarray) -> np.ndarray:
        return ((X - self.mean_) / self.scale_).astype(np.float32)

    def _generators(self) -> list[torch.Generator]:
        import torch

        entropy = [np.random.SeedSequence([self.seed, s]).generate_state(1)[0] for s in range(self.seeds)]
        return [torch.Generator().manual_seed(int(e)) for e in entropy]

    def _train(self, z: torch.Tensor, code: np.ndarray, params: list[torch.Tensor]) -> np.ndarray:
        """Adam over balanced epochs, in place; returns the mean loss (epochs, seeds)."""
        import torch

        masks = self._generators()
        draws = [np.random.default_rng([self.seed, s, 1]) for s in range(self.seeds)]
        target = torch.as_tensor(code, device=self.device)
        adam = torch.optim.Adam(params, lr=self.lr)
        history = []
        for _ in range(self.epochs):
            order = torch.as_tensor(np.stack([balanced_epoch(code, rng) for rng in draws]))
            total = torch.zeros(self.seeds)
            for rows in order.split(self.batch_size, dim=1):
                loss = _loss(z[rows.to(z.device)], target[rows.to(z.device)], params, self.dropout, masks)
                adam.zero_grad()
                loss.sum().backward()  # the seeds share no parameter: the sum trains each on its own loss
                adam.step()
                total += loss.detach().cpu() * rows.shape[1]
            history.append((total / order.shape[1]).numpy())
        return np.array(history, dtype=np.float32).reshape(self.epochs, self.seeds)


def _initial(
    p: int, hidden: int, k: int, generators: list[torch.Generator], device: str
) -> list[torch.Tensor]:
    """Weights and biases of all seeds, uniform within 1/sqrt(fan in) as torch.nn.Linear draws them."""
    import torch

    def uniform(fan_in: int, *shape: int) -> torch.Tensor:
        drawn = torch.stack([torch.rand(shape, generator=g) for g in generators])
        return ((drawn * 2 - 1) / fan_in**0.5).to(device).requires_grad_()

    return [uniform(p, p, hidden), uniform(p, 1, hidden), uniform(hidden, hidden, k), uniform(hidden, 1, k)]


def _loss(
    x: torch.Tensor, target: torch.Tensor, params: list[torch.Tensor], dropout: float,
    generators: list[torch.Generator],
) -> torch.Tensor:  # fmt: skip
    """Cross-entropy of each seed on its own batch. x: (seeds, batch, p); target: (seeds, batch)."""
    import torch

    w1, b1, w2, b2 = params
    h = torch.relu(torch.baddbmm(b1, x, w1))
    if dropout > 0:
        keep = torch.stack([torch.rand(h.shape[1:], generator=g) for g in generators]).to(h.device) >= dropout
        h = h * keep / (1 - dropout)
    logit = torch.baddbmm(b2, h, w2)
    each = torch.nn.functional.cross_entropy(logit.flatten(0, 1), target.flatten(), reduction="none")
    return each.view(target.shape).mean(1)
