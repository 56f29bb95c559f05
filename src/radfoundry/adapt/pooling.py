"""Several lesions of one patient, one vector or one score: mean, maximum, the largest lesion, attention.

    bags, patients = make_bags(X, patient)                       # one row a lesion -> one bag a patient
    pool(bags, "mean")                                           # (patients, p)
    cross_predict(PooledHead("largest", size_column=0), bags, y, folds, patients)
    cross_predict(AttentionPool(), bags, y, folds, patients)     # trained on each fold's training patients

Bags are one array (patients, most lesions of a patient, p), padded with rows of NaN, so that indexing by
patient, and with it every split, keeps the lesions of a patient together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from radfoundry.adapt.checks import check_training_data
from radfoundry.adapt.probe import make_head
from radfoundry.errors import InputError
from radfoundry.optional import require

if TYPE_CHECKING:
    import torch

How = Literal["mean", "max", "largest"]


def make_bags(X: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X: (lesions, p); patient: (lesions,). Bags (patients, most lesions, p) and their patients, sorted.

    >>> bags, patients = make_bags(np.array([[1.0], [2.0], [3.0]]), np.array(["b", "a", "b"]))
    >>> patients.tolist(), bags[:, :, 0].tolist()
    (['a', 'b'], [[2.0, nan], [1.0, 3.0]])
    """
    X, patient = np.asarray(X, dtype=np.float64), np.asarray(patient)
    if X.ndim != 2 or patient.shape != (len(X),) or not len(X):
        raise InputError(f"lesions are (n, p) with one patient each, not {X.shape} with {patient.shape}")
    lost = np.flatnonzero(np.isnan(X).all(axis=1))
    if len(lost):
        raise InputError(f"lesion {lost[0]} has no number at all. Leave it out, or extract it again")
    patients, of = np.unique(patient, return_inverse=True)
    counts = np.bincount(of)
    order = np.argsort(of, kind="stable")
    place = np.arange(len(X)) - np.repeat(np.cumsum(counts) - counts, counts)
    bags = np.full((len(patients), counts.max(), X.shape[1]), np.nan)
    bags[of[order], place] = X[order]
    return bags, patients


def patient_labels(y: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """One label a patient, in the order of `make_bags`, from one a lesion.

    Raises InputError for a patient whose lesions differ: such a target belongs to lesions and is not pooled.
    """
    y, patient = np.asarray(y), np.asarray(patient)
    patients, first, of = np.unique(patient, return_index=True, return_inverse=True)
    mixed = np.flatnonzero(y != y[first][of])
    if len(mixed):
        raise InputError(
            f"{len(np.unique(of[mixed]))} of {len(patients)} patients have lesions with different labels. "
            "Pool only what is true of the patient; keep targets of single lesions as rows, split by patient"
        )
    return np.asarray(y[first])


def pool(bags: np.ndarray, how: How, *, size_column: int | None = None) -> np.ndarray:
    """(patients, lesions, p) -> (patients, p); nothing is fitted.

    mean, max: of each feature over the lesions that have it (NaN where none has). largest: the lesion with
    the largest value in `size_column`, the first of equals.
    """
    bags = _checked(bags)
    there = _present(bags)
    if how == "largest":
        if size_column is None or not -bags.shape[2] <= size_column < bags.shape[2]:
            raise InputError(
                f"largest needs size_column, the feature that is the lesion's volume: 0 to "
                f"{bags.shape[2] - 1}, not {size_column}"
            )
        size = np.where(there, bags[:, :, size_column], -np.inf)
        if np.isnan(size).any():
            raise InputError(
                f"column {size_column} has no volume for some lesions. Choose a feature without NaN"
            )
        return np.asarray(bags[np.arange(len(bags)), size.argmax(axis=1)])
    if how not in get_args(How):
        raise InputError(f"no pooling {how!r}: use one of {', '.join(get_args(How))}, or AttentionPool")
    known = np.isfinite(bags)
    if how == "max":
        return np.where(known.any(axis=1), np.where(known, bags, -np.inf).max(axis=1), np.nan)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, bags, 0.0).sum(axis=1) / known.sum(axis=1))


class PooledHead(ClassifierMixin, BaseEstimator):
    """Pool by a fixed rule, then a head of `make_head` (tuned by inner folds of the patients given to fit).

    Fitted: head_, classes_ (k,).
    """

    def __init__(
        self, how: How = "mean", head: str = "logistic", size_column: int | None = None, seed: int = 0
    ) -> None:
        self.how = how
        self.head = head
        self.size_column = size_column
        self.seed = seed

    def fit(self, bags: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> PooledHead:
        """bags: (patients, lesions, p); y: (patients,); groups: (patients,)."""
        pooled = pool(bags, self.how, size_column=self.size_column)
        self.head_ = make_head(self.head, seed=self.seed).fit(pooled, y, groups=groups)
        self.classes_ = self.head_.classes_
        return self

    def predict_proba(self, bags: np.ndarray) -> np.ndarray:
        """(patients, classes)."""
        check_is_fitted(self, "head_")
        return np.asarray(self.head_.predict_proba(pool(bags, self.how, size_column=self.size_column)))

    def predict(self, bags: np.ndarray) -> np.ndarray:
        """The most probable class of each patient."""
        return np.asarray(self.classes_[self.predict_proba(bags).argmax(axis=1)])


class AttentionPool(ClassifierMixin, BaseEstimator):
    """Gated attention over lesions and a linear classifier, trained together (Ilse et al. 2018).

    a_k = softmax_k(w' (tanh(V h_k) * sigmoid(U h_k))), logit = C sum_k a_k h_k + b, on lesions standardised
    by the training lesions. Full-batch AdamW with classes weighted to be equally heavy; several seeds are
    averaged, each with its own generator. Weights say where the score came from, not why, and with few
    patients they are close to equal: compare with `PooledHead("mean")` before believing them.

    Fitted: classes_ (k,); mean_, scale_ (p,); v_, u_ (seeds, p, hidden), w_ (seeds, hidden),
    c_ (seeds, p, k), b_ (seeds, k) float32; history_ (epochs, seeds) training loss.
    Reference: arXiv:1802.04712.
    """

    def __init__(
        self, hidden: int = 32, epochs: int = 150, lr: float = 5e-3, weight_decay: float = 1e-2,
        seeds: int = 3, seed: int = 0,
    ) -> None:  # fmt: skip
        self.hidden = hidden
        self.epochs = epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.seeds = seeds
        self.seed = seed

    def fit(self, bags: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> AttentionPool:
        """bags: (patients, lesions, p); y: (patients,). `groups` is not needed: nothing is tuned.

        Raises MissingExtra without torch; InputError for features that are NaN in some lesions.
        """
        require("torch", extra="torch")
        bags = _checked(bags)
        there = _present(bags)
        lesions = bags[there]
        check_training_data(np.zeros((len(bags), 1)), y, groups)
        self.mean_ = lesions.mean(axis=0)
        spread = lesions.std(axis=0)
        self.scale_ = np.where(spread > 1e-12, spread, 1.0)
        self.n_features_in_ = bags.shape[2]
        h = self._standardised(bags)  # refuses NaN
        self.classes_, code = np.unique(np.asarray(y), return_inverse=True)
        fitted = [self._train(h, there, code, number) for number in range(self.seeds)]
        for at, name in enumerate(("v_", "u_", "w_", "c_", "b_")):
            setattr(self, name, np.stack([parameters[at] for parameters, _ in fitted]))
        self.history_ = np.stack([losses for _, losses in fitted], axis=1)
        return self

    def attention(self, bags: np.ndarray) -> np.ndarray:
        """(patients, lesions): weights that sum to 1 over a patient's lesions, 0 at padding."""
        return self._weights(bags).mean(axis=0)

    def transform(self, bags: np.ndarray) -> np.ndarray:
        """(patients, p): the attention-weighted mean of the lesions, in the units of the features.

        Of patients given to fit it has seen the label: a head on top is tested on others.
        """
        weights = self.attention(bags)
        return np.einsum("nk,nkp->np", weights, np.nan_to_num(_checked(bags)))

    def predict_proba(self, bags: np.ndarray) -> np.ndarray:
        """(patients, classes): softmax averaged over the seeds, for classes that are equally frequent."""
        weights = self._weights(bags)
        pooled = np.einsum("snk,nkp->snp", weights, self._standardised(_checked(bags)))
        logit = np.einsum("snp,spc->snc", pooled, self.c_.astype(float)) + self.b_[:, None, :]
        return np.asarray(softmax(logit, axis=2).mean(axis=0))

    def predict(self, bags: np.ndarray) -> np.ndarray:
        """The most probable class of each patient."""
        return np.asarray(self.classes_[self.predict_proba(bags).argmax(axis=1)])

    def _weights(self, bags: np.ndarray) -> np.ndarray:
        check_is_fitted(self, "v_")
        bags = _checked(bags, self.n_features_in_)
        there = _present(bags)
        h = self._standardised(bags)
        gate = np.tanh(np.einsum("nkp,sph->snkh", h, self.v_.astype(float)))
        gate = gate * expit(np.einsum("nkp,sph->snkh", h, self.u_.astype(float)))
        score = np.where(there, np.einsum("snkh,sh->snk", gate, self.w_.astype(float)), -np.inf)
        return np.asarray(softmax(score, axis=2))

    def _standardised(self, bags: np.ndarray) -> np.ndarray:
        """Lesions in standard deviations of the training lesions; padding becomes 0."""
        there = _present(bags)
        lost = np.isnan(bags[there]).any(axis=0)
        if lost.any():
            raise InputError(
                f"{int(lost.sum())} features have no value in some lesions, the first is feature "
                f"{int(np.flatnonzero(lost)[0])}. Attention needs all: impute or drop them, on training data"
            )
        return np.where(there[:, :, None], (bags - self.mean_) / self.scale_, 0.0)

    def _train(
        self, h: np.ndarray, there: np.ndarray, code: np.ndarray, number: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """One seed's parameters (v, u, w, c, b) and its losses (epochs,)."""
        import torch

        entropy = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(entropy))
        p, k = h.shape[2], int(code.max()) + 1
        parameters = [
            _uniform(generator, p, p, self.hidden), _uniform(generator, p, p, self.hidden),
            _uniform(generator, self.hidden, self.hidden), _uniform(generator, p, p, k),
            torch.zeros(k, requires_grad=True),
        ]  # fmt: skip
        x, shown = torch.as_tensor(h, dtype=torch.float32), torch.as_tensor(there)
        target = torch.as_tensor(code)
        heavy = torch.as_tensor(len(code) / (k * np.bincount(code, minlength=k)), dtype=torch.float32)
        adam = torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
        losses = []
        for _ in range(self.epochs):
            loss = torch.nn.functional.cross_entropy(_logit(x, shown, parameters), target, weight=heavy)
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(float(loss.detach()))
        return [part.detach().numpy() for part in parameters], np.array(losses)


def _logit(x: torch.Tensor, shown: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    """(patients, classes). x: (patients, lesions, p), 0 at padding; shown: (patients, lesions)."""
    import torch

    v, u, w, c, b = parameters
    score = ((torch.tanh(x @ v) * torch.sigmoid(x @ u)) @ w).masked_fill(~shown, -torch.inf)
    return (torch.softmax(score, dim=1)[:, :, None] * x).sum(dim=1) @ c + b


def _uniform(generator: torch.Generator, fan_in: int, *shape: int) -> torch.Tensor:
    """Uniform within 1/sqrt(fan in), as torch.nn.Linear draws."""
    import torch

    return ((torch.rand(shape, generator=generator) * 2 - 1) / fan_in**0.5).requires_grad_()


def _present(bags: np.ndarray) -> np.ndarray:
    """(patients, lesions): which places hold a lesion."""
    return ~np.isnan(bags).all(axis=2)


def _checked(bags: np.ndarray, dim: int | None = None) -> np.ndarray:
    bags = np.asarray(bags, dtype=np.float64)
    if bags.ndim != 3 or not bags.shape[2]:
        raise InputError(
            f"bags are (patients, lesions, features), not {bags.shape}. Make them with make_bags"
        )
    if dim is not None and bags.shape[2] != dim:
        raise InputError(f"fitted on {dim} features, these lesions have {bags.shape[2]}: another encoder?")
    if np.isinf(bags).any():
        raise InputError("some lesions hold infinite numbers: embed these images again")
    empty = np.flatnonzero(~_present(bags).any(axis=1))
    if len(empty):
        raise InputError(f"patient {empty[0]} has no lesion with numbers. Leave the patient out")
    return bags
