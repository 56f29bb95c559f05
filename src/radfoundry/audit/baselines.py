"""What a score must beat: metadata alone, shuffled labels, and images seen by no trained encoder.

One cross-validation serves them all (`Task.folds`), so that real labels, shuffled labels, real
embeddings and random ones differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from radfoundry.audit.covariates import Covariates, learn
from radfoundry.cohort import Cohort
from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.parts import make_part
from radfoundry.evaluate.table import part_estimates
from radfoundry.splits import Fold, kfold
from radfoundry.types import Embeddings, Estimate

FAST_HEAD = "ridge"
CONTROLS = ("random:", "random-projection", "raw-pixels")


@dataclass(frozen=True, slots=True)
class Task:
    """A classification to be cross-validated.

    code: (n,) int, class number, -1 where the label is missing. classes: their names.
    patient: (n,) str. folds: who trains and who tests, as row numbers.
    """

    code: np.ndarray
    classes: tuple[str, ...]
    patient: np.ndarray
    folds: tuple[Fold, ...]
    name: str = "target"

    @property
    def known(self) -> np.ndarray:
        return self.code >= 0

    @property
    def columns(self) -> int:
        """Score columns: one for two classes, else one a class."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    def indicators(self, code: np.ndarray | None = None) -> np.ndarray:
        """(n, columns) float: one class against the rest; for two classes, the second."""
        code = self.code if code is None else code
        wanted = [1] if self.columns == 1 else range(len(self.classes))
        return np.stack([(code == k).astype(float) for k in wanted], axis=1)


def make_task(
    name: str,
    labels: np.ndarray,
    patient: np.ndarray,
    *,
    folds: Sequence[Fold] | None = None,
    split: np.ndarray | None = None,
    seed: int = 0,
) -> Task:
    """A Task from labels of any type, with folds: the given ones, else train to test, else 5 by patient.

    labels: (n,), missing as NaN, None or "". split: (n,) parts of the cohort.
    Raises NotEnoughData when fewer than two classes have two patients.
    """
    values = pd.Series(labels)
    missing = (values.isna() | (values.astype(str) == "")).to_numpy()
    classes, code = np.unique(_text(values[~missing]), return_inverse=True)
    full = np.full(len(values), -1)
    full[~missing] = code
    if len(classes) < 2:
        raise NotEnoughData(f"{name}: a single class; nothing can be predicted. Add cases of another class")
    if folds is None:
        folds = _folds(full, patient, split, seed)
    return Task(full, tuple(classes), patient.astype(str), tuple(folds), name)


def _text(values: pd.Series) -> np.ndarray:
    """Class names; whole numbers without their '.0'."""
    if pd.api.types.is_numeric_dtype(values):
        whole = (values % 1 == 0).all()
        return values.astype(int).astype(str).to_numpy() if whole else values.astype(str).to_numpy()
    return values.astype(str).to_numpy()


def _folds(code: np.ndarray, patient: np.ndarray, split: np.ndarray | None, seed: int) -> list[Fold]:
    known = np.flatnonzero(code >= 0)
    if split is not None:
        part = pd.Series(split).astype(str).to_numpy()
        train = known[np.isin(part[known], ("train", "validation"))]
        test = known[part[known] == "test"]
        if len(np.unique(code[train])) > 1 and len(np.unique(code[test])) > 1:
            return [Fold(train, test)]
    patients = pd.DataFrame({"code": code[known], "patient": patient[known]}).groupby("code")["patient"]
    n_splits = int(min(5, patients.nunique().min()))
    if n_splits < 2:
        raise NotEnoughData("a class has a single patient: no cross-validation is possible. Merge or add")
    return [
        Fold(known[f.train], known[f.test], f.repeat, f.fold)
        for f in kfold(patient[known], code[known], n_splits=n_splits, seed=seed)
    ]


def cross_scores(
    features: np.ndarray | Covariates,
    target: np.ndarray,
    folds: Sequence[Fold],
    *,
    head: str = FAST_HEAD,
    seed: int = 0,
) -> np.ndarray:
    """Out-of-fold scores, (repeats, n, m), as ranks within their test fold; NaN where a row was not tested.

    features: (n, d), rows with NaN are left out; or covariates, whose encoding is learned in each fold from
    its training rows. target: (n, m), each column a separate 0/1 problem. Ranks in (0, 1), because models of
    different folds need not share a scale, and a constant one must score 0.5, not the mirror image of its
    training prevalence. Repeats stay apart: scores averaged over them would be an ensemble, better than any
    model that a repeat judges. head: 'ridge', or any name of `adapt.probe.make_head`.
    InputError: a row is tested twice in one repeat.
    """
    values = features.values if isinstance(features, Covariates) else features
    usable = np.ones(len(values), bool)
    if not isinstance(features, Covariates):
        usable = np.isfinite(values).all(axis=1)
    repeats = sorted({fold.repeat for fold in folds})
    scores = np.full((len(repeats), *target.shape), np.nan)
    for fold in folds:
        train, test = fold.train[usable[fold.train]], fold.test[usable[fold.test]]
        if len(train) < 4 or not len(test):
            continue
        mine = scores[repeats.index(fold.repeat)]
        if np.isfinite(mine[test]).any():
            raise InputError(f"a case is tested twice in repeat {fold.repeat}: number repeats in Fold.repeat")
        x, new = values[train], values[test]
        if isinstance(features, Covariates):
            encoding = learn(x, features.numeric)
            x, new = encoding.apply(x), encoding.apply(new)
        raw = _fit_predict(x, target[train], new, head, seed)
        mine[test] = (rankdata(raw, axis=0) - 0.5) / len(test)
    return scores


def _fit_predict(x: np.ndarray, y: np.ndarray, new: np.ndarray, head: str, seed: int) -> np.ndarray:
    if head == FAST_HEAD:
        return ridge(x, y, new)
    if head == "trees":
        return _trees(x, y, new, seed)
    from radfoundry.adapt.probe import make_head

    def column(target: np.ndarray) -> np.ndarray:
        if len(np.unique(target)) < 2:
            return np.zeros(len(new))
        return make_head(head, seed=seed).fit(x, target.astype(int)).predict_proba(new)[:, 1]

    return np.stack([column(y[:, k]) for k in range(y.shape[1])], axis=1)


def _trees(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    columns = []
    for k in range(y.shape[1]):
        if len(np.unique(y[:, k])) < 2:
            columns.append(np.zeros(len(new)))
            continue
        model = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=8, min_samples_leaf=max(5, len(x) // 50), random_state=seed
        )
        columns.append(model.fit(x, y[:, k].astype(int)).predict_proba(new)[:, 1])
    return np.stack(columns, axis=1)


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Ridge regression on 0/1 labels, many columns at once: (n, d), (n, m), (k, d) to (k, m) scores.

    Features are standardised on the training rows. The penalty is chosen for each column by
    leave-one-out error in closed form (Hastie, Tibshirani & Friedman, Elements of Statistical Learning,
    2nd ed., 7.10), on the training rows alone. One decomposition serves a thousand shuffled labels,
    which is why it is the head of the audit.
    """
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(
        scale > 1e-9 * np.maximum(1, np.abs(centre)), scale, np.inf
    )  # a constant counts for nothing
    z, fresh = ((x - centre) / scale).astype(np.float64), ((new - centre) / scale).astype(np.float64)
    mean = y.mean(axis=0)
    left, power, project = _decompose(z, fresh)
    if not len(power):
        return np.broadcast_to(mean, (len(new), y.shape[1])).copy()
    coefficients = left.T @ (y - mean)
    best, chosen = np.full(y.shape[1], np.inf), np.zeros((len(power), y.shape[1]))
    for alpha in power.mean() * np.logspace(-3, 4, 15):
        shrink = power / (power + alpha)
        leverage = np.minimum((left**2) @ shrink + 1 / len(x), 0.999)
        residual = (y - mean - left @ (shrink[:, None] * coefficients)) / (1 - leverage)[:, None]
        error = (residual**2).mean(axis=0)
        better = error < best
        best[better] = error[better]
        chosen[:, better] = shrink[:, None] * coefficients[:, better]
    return mean + project @ chosen


def _decompose(z: np.ndarray, fresh: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left vectors U, squared singular values, and `fresh @ V / s`, from the smaller Gram matrix."""
    n, d = z.shape
    if d <= n:
        power, right = np.linalg.eigh(z.T @ z)
        keep = power > max(power[-1], 0) * 1e-10
        right, power = right[:, keep], power[keep]
        root = np.sqrt(power)
        return z @ right / root, power, fresh @ right / root
    power, left = np.linalg.eigh(z @ z.T)
    keep = power > max(power[-1], 0) * 1e-10
    left, power = left[:, keep], power[keep]
    return left, power, fresh @ (z.T @ (left / power))


def column_aurocs(indicators: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(n, m) 0/1 and (n, m) scores to (m,) areas by mid-ranks; NaN for a column of one class."""
    rank = rankdata(scores, axis=0)
    positive = indicators.sum(axis=0)
    negative = len(indicators) - positive
    u = (rank * indicators).sum(axis=0) - positive * (positive + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((positive > 0) & (negative > 0), u / (positive * negative), np.nan)


def mean_aurocs(indicators: np.ndarray, scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(m,) areas, the mean over repeats. indicators: (n, m); scores: (repeats, n, m); known: (n,) bool."""
    areas = []
    for repeat in scores:
        tested = known & np.isfinite(repeat).all(axis=1)
        areas.append(column_aurocs(indicators[tested], repeat[tested]))
    return np.mean(areas, axis=0)


def estimate(
    name: str,
    task: Task,
    scores: np.ndarray,
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    model: str | None = None,
) -> Estimate:
    """AUC of out-of-fold scores as `evaluate` gives it: the mean over repeats, its interval from patients.

    scores: (repeats, n, task.columns), NaN where not tested. More than two classes: the mean of one against
    the rest.
    """
    which, row = np.nonzero(task.known & np.isfinite(scores).all(axis=2))
    nothing = Estimate(name, float("nan"), target=task.name, model=model, note="too few tested cases")
    present = task.indicators()[np.unique(row)].sum(axis=0)
    n = len(np.unique(row))
    if n < 4 or not ((present > 0) & (present < n)).all():
        return replace(nothing, n=n)
    table = pd.DataFrame({
        "case_id": row.astype(str), "patient_id": task.patient[row], "repeat": which,
        "y_true": task.code[row] if task.columns == 1 else np.array(task.classes, object)[task.code[row]],
    })  # fmt: skip
    columns = ["score"] if task.columns == 1 else [f"score:{label}" for label in task.classes]
    table[columns] = scores[which, row]
    wanted = "auroc" if task.columns == 1 else "auroc_ovr_macro"
    part = make_part(table, str(model), task.name, None, None)
    found = next(iter(part_estimates(part, level=level, n_boot=n_boot, seed=seed, only=(wanted,))), nothing)
    return replace(found, name=name, model=model, method=f"{found.method}; out of fold")


def align(cohort: Cohort, embeddings: Embeddings) -> np.ndarray:
    """(n, dim) float64 in the cohort's order: the mean over a case's images, NaN where none was embedded."""
    place = {case: row for row, case in enumerate(cohort.table["case_id"].astype(str))}
    at = np.array([place.get(str(case), -1) for case in embeddings.case_id], int)
    dim = embeddings.vectors.shape[1]
    total, count = np.zeros((len(cohort), dim)), np.zeros(len(cohort))
    np.add.at(total, at[at >= 0], embeddings.vectors[at >= 0])
    np.add.at(count, at[at >= 0], 1)
    total[count == 0] = np.nan
    return total / np.maximum(count, 1)[:, None]


def is_control(name: str) -> bool:
    """Whether embeddings of that name come from no training: random weights, projections, raw pixels."""
    return name.startswith(CONTROLS)


def shuffle_by_patient(code: np.ndarray, patient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels dealt anew among the labelled rows, patient by patient.

    The patients' blocks of labels are put in random order and laid over the rows, so that images of one
    patient mostly keep a common label, as they had; with one image a patient it is a plain permutation.
    """
    known = np.flatnonzero(code >= 0)
    place = known[np.argsort(patient[known], kind="stable")]
    _, first = np.unique(patient[place], return_index=True)
    blocks = np.split(code[place], first[1:])
    dealt = code.copy()
    dealt[place] = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    return dealt


def shuffled_floor(
    task: Task, features: np.ndarray, *, n_perm: int, head: str = FAST_HEAD, seed: int = 0
) -> np.ndarray:
    """(n_perm,) AUCs of the same features, folds and head with labels dealt anew among patients."""
    rng = np.random.default_rng(seed)
    codes = [shuffle_by_patient(task.code, task.patient, rng) for _ in range(n_perm)]
    areas = []
    for start in range(0, n_perm, 50):
        block = np.concatenate([task.indicators(code) for code in codes[start : start + 50]], axis=1)
        scores = cross_scores(features, block, task.folds, head=head, seed=seed)
        areas.append(mean_aurocs(block, scores, task.known).reshape(-1, task.columns).mean(axis=1))
    return np.concatenate(areas)


def head_scores(
    task: Task, features: Mapping[str, np.ndarray], *, head: str = FAST_HEAD, seed: int = 0
) -> dict[str, np.ndarray]:
    """`cross_scores` of one head on several feature sets, over the rows that all of them have."""
    complete = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in features.values()])
    folds = [Fold(f.train[complete[f.train]], f.test[complete[f.test]], f.repeat, f.fold) for f in task.folds]
    return {
        name: cross_scores(x, task.indicators(), folds, head=head, seed=seed) for name, x in features.items()
    }
