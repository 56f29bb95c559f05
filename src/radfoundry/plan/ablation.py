"""Nested cross-validation of every cell of a grid, kept on disk repeat by repeat.

The cells of one feature set, sample size and repeat share their splits and are done together, fold by fold;
they are kept when the last fold is.

Outer folds, grouped by patient, test; inner folds of the training patients choose a classifier's settings by
their mean AUC; every step that learns (filling, normalisation, selection, sampling, classifier) is fitted on
training cases alone. The cells of a split share what they have in common (`parts`), which changes nothing but
the time.

Scores of different fits share no scale: two logistic regressions of tiny C differ more in their intercepts
than in anything they say of a case. So that they may be pooled, a score is given as the normal quantile of
its rank among the cases tested by the same fit. That uses no label, and asks that folds are alike, which
dealing out patients by class makes them.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from radfoundry import engines
from radfoundry.adapt.fits import Kept, key_of
from radfoundry.errors import InputError, NotEnoughData, RadfoundryError
from radfoundry.plan import classifiers
from radfoundry.plan.grid import SELF_SIZED, Cell, Grid
from radfoundry.plan.parts import Part
from radfoundry.splits import Fold, kfold

CODE_VERSION = 7
"""Raised whenever a change of the engine would change a score."""


UNUSABLE = (RadfoundryError, ValueError, ArithmeticError)
"""What a cell may raise, of its own or from a library's depths, without stopping the others."""

TIE = 1e-9
"""Mean AUCs of inner folds closer than that are the same but for rounding: the first setting is taken."""


@dataclass(frozen=True, eq=False)
class Cases:
    """y: (n,) 0/1; patient, case_id: (n,) names. matrices: feature set to (n, p)."""

    y: np.ndarray
    patient: np.ndarray
    case_id: np.ndarray
    matrices: dict[str, np.ndarray]


@dataclass(frozen=True)
class Ablation:
    """What a grid gave.

    cells: in the order of `number` in the tables. folds: one row a cell and outer fold (number, repeat, fold,
    auroc, inner_auroc, setting). scores: one row a cell, repeat and case (number, repeat, fold, row, score,
    y). failed: cells without a result, with the reason. notes: what a reader should know.
    """

    cells: tuple[Cell, ...]
    folds: pd.DataFrame
    scores: pd.DataFrame
    failed: dict[str, str]
    notes: tuple[str, ...]
    ratio: float = 0.25
    reused: int = 0
    made: int = 0

    def number(self, cell: Cell) -> int:
        """Its row in `cells`; InputError for a cell that failed or was not run."""
        if cell not in self.cells:
            raise InputError(f"no result of {cell}: {self.failed.get(cell.address, 'it was not run')}")
        return self.cells.index(cell)


def ablate(
    cases: Cases,
    grid: Grid,
    *,
    cells: Sequence[Cell] | None = None,
    store: Path | None = None,
    engine: engines.Engine = "local",
    jobs: int = 1,
    address: str | None = None,
    quiet: bool = False,
    log: Callable[[str], None] = print,
) -> Ablation:
    """Run the cells of a grid, or read those that `store` holds.

    Interrupt it (Ctrl-C) or lose a worker: what is done stays done. A cell that cannot be run or evaluated
    (too few cases of a class in a small sample, an extra that is not installed, scores that are no numbers)
    is reported in `failed` and stops no other.
    NotEnoughData: a class has fewer patients than folds. InputError: a patient across folds cannot happen,
    but labels of another length can.
    """
    planned, notes = grid.cells()
    wanted = list(planned if cells is None else cells)
    folds = kfold(cases.patient, cases.y, n_splits=grid.folds, repeats=grid.repeats, seed=grid.seed)
    most = max((cell.k for cell in wanted), default=0)
    kept = Kept(None if store is None else store / "ablation")
    keys = _keys(cases, grid, folds, wanted, most)
    found: dict[tuple[Cell, int], pd.DataFrame] = {}
    for place, key in keys.items():
        if (table := kept.read(key)) is not None:
            found[place] = table
    reused, failed = len(found), dict[str, str]()
    if reused:
        log(f"{reused} of {len(keys)} cells x repeats were on disk already")
    todo = {key: place for place, key in keys.items() if place not in found}  # equal cells are run once
    tasks, groups = _tasks(cases, grid, folds, todo, most)
    made: dict[str, pd.DataFrame | str] = {}
    shared = Counter(keys.values())
    with engines.progress(len(keys), reused, "cell", quiet=quiet) as bar:
        for index, results in engines.run(run_group, tasks, engine=engine, jobs=jobs, address=address):
            for key, result in zip(groups[index], results):
                made[key] = result
                if not isinstance(result, str):
                    kept.write(key, result)
                bar.update(shared[key])
    for place, key in keys.items():
        result = made.get(key)
        if isinstance(result, str):
            failed[place[0].address] = result
        elif result is not None:
            found[place] = result
    return _collect(cases, grid, folds, wanted, found, failed, notes, reused)


def _keys(
    cases: Cases, grid: Grid, folds: Sequence[Fold], cells: Sequence[Cell], most: int
) -> dict[tuple[Cell, int], str]:
    """The name on disk of each cell and repeat: all that decides its scores."""
    data = {name: key_of("features", {"X": matrix}) for name, matrix in cases.matrices.items()}
    labels = key_of("labels", {"y": cases.y, "patient": cases.patient.astype(str)})
    split = {
        r: key_of("folds", {"test": [f.test for f in folds if f.repeat == r]}) for r in range(grid.repeats)
    }
    keys = {}
    for cell in cells:
        run = effective(cell, cases.matrices[cell.features].shape[1])
        for repeat in range(grid.repeats):
            # The name of a set decides nothing; how far mRMR was ranked decides the order behind that.
            place = {
                "cell": replace(run, features=""), "X": data[cell.features], "labels": labels,
                "split": split[repeat], "inner": grid.inner, "seed": grid.seed, "code": CODE_VERSION,
                "most": most if run.selector == "mrmr" else 0,
            }  # fmt: skip
            keys[cell, repeat] = key_of("ablation", place)
    return keys


def effective(cell: Cell, p: int) -> Cell:
    """The cell without a selector that has fewer features than it may keep: this one is run, and kept.

    A ranking would put the columns in another order, which decides what a forest draws.

    >>> str(effective(Cell("age", selector="anova", k=20), p=1))
    'age: z, logistic'
    """
    if cell.k >= p and cell.selector not in ("none", *SELF_SIZED):
        return replace(cell, selector="none", k=0)
    return cell


def _tasks(
    cases: Cases, grid: Grid, folds: Sequence[Fold], todo: Mapping[str, tuple[Cell, int]], most: int
) -> tuple[list[tuple], list[list[str]]]:
    """Cells that share data, sample and repeat go together, in the order of the pipeline; and their keys."""
    grouped: dict[tuple[str, float, str, int], dict[Cell, str]] = {}
    for key, (cell, repeat) in todo.items():
        run = effective(cell, cases.matrices[cell.features].shape[1])
        grouped.setdefault((run.features, run.sample_size, run.labels, repeat), {})[run] = key
    tasks, groups = [], []
    for (features, _, _, repeat), keys in grouped.items():
        own = [f for f in folds if f.repeat == repeat]
        ordered = sorted(keys)
        tasks.append(
            (cases.matrices[features], cases.y, cases.patient, own, ordered, grid.inner, grid.seed, most)
        )
        groups.append([keys[cell] for cell in ordered])
    return tasks, groups


def run_group(
    X: np.ndarray,
    y: np.ndarray,
    patient: np.ndarray,
    folds: Sequence[Fold],
    cells: Sequence[Cell],
    inner: int,
    seed: int,
    most: int,
) -> list[pd.DataFrame | str]:
    """One table a cell (row, fold, score, inner_auroc, setting), or the reason why there is none.

    The cells have the same sample size and labels; folds are all those of one repeat (some of them will do
    where labels are true).
    """
    y = labels_of(y, patient, cells[0], folds, seed)
    X = np.asarray(X, float)
    tables: dict[Cell, list[pd.DataFrame] | str] = {cell: [] for cell in cells}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # networks stop at a stated number of rounds
        for fold in folds:
            try:
                rows = sample(fold, y, patient, cells[0].sample_size, seed)
            except NotEnoughData as error:  # the same for all cells here
                return [str(error)] * len(cells)
            parts = [
                Part(X, y, rows[f.train], rows[f.test], most=most, seed=seed)
                for f in inner_folds(y[rows], patient[rows], inner, seed)
            ]
            outer = Part(X, y, rows, fold.test, most=most, seed=seed)
            for cell in cells:
                before = tables[cell]
                if isinstance(before, str):
                    continue
                try:
                    before.append(_one(cell, parts, outer, fold))
                except UNUSABLE as error:  # the other cells go on
                    tables[cell] = _reason(error)
    return [t if isinstance(t, str) else pd.concat(t, ignore_index=True) for t in tables.values()]


def _reason(error: Exception) -> str:
    if isinstance(error, RadfoundryError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['without a word'])[0]}"


def inner_folds(y: np.ndarray, patient: np.ndarray, most: int, seed: int) -> list[Fold]:
    """Patient-grouped, stratified folds of training cases, fewer where a class has few patients; or none."""
    has = [len(np.unique(patient[y == label])) for label in (0, 1)]
    for n in range(min(most, *has), 1, -1):
        try:
            folds = kfold(patient, y, n_splits=n, seed=seed)
        except NotEnoughData:  # patients with both classes count for the rarer one alone
            continue
        both = all(len(np.unique(y[rows])) == 2 for f in folds for rows in (f.train, f.test))
        return folds if both else []
    return []


def labels_of(y: np.ndarray, patient: np.ndarray, cell: Cell, folds: Sequence[Fold], seed: int) -> np.ndarray:
    """The labels of a cell: the true ones, or those dealt out anew within each outer test fold.

    folds: all of one repeat. Patients with one label exchange it whole; where any patient holds both, cases
    exchange theirs.

    Folds were stratified by the true labels, so dealing over all cases could leave one with a single class.
    Within folds it is a permutation restricted to blocks (Winkler et al., NeuroImage 92, 2014): if features
    tell nothing of labels, all ways of dealing a fold's labels among its patients are equally likely, given
    the folds and how many of each class stratification put there. And the labels of a test fold depend on
    nothing that its models have seen, so the AUC to expect is one half.
    """
    if cell.labels == "true":
        return y
    _, code = np.unique(patient, return_inverse=True)
    mean = np.bincount(code, y) / np.bincount(code)
    whole = np.isin(mean, (0, 1)).all()
    dealt = y.copy()
    for fold in folds:
        rng = np.random.default_rng([seed, fold.repeat, fold.fold, 1])
        if whole:
            who, own = np.unique(code[fold.test], return_inverse=True)
            dealt[fold.test] = rng.permutation(mean[who])[own]
        else:
            dealt[fold.test] = rng.permutation(y[fold.test])
    return dealt


def sample(fold: Fold, y: np.ndarray, patient: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Training rows of a share of each class's patients; a larger share contains a smaller one.

    NotEnoughData when a class keeps fewer than two patients.
    """
    if share >= 1:
        return fold.train
    names, code = np.unique(patient[fold.train], return_inverse=True)
    positive = np.bincount(code, y[fold.train]) > 0
    order = np.random.default_rng([seed, fold.repeat, fold.fold, 2]).permutation(len(names))
    keep = np.zeros(len(names), bool)
    for group in (positive, ~positive):
        members = order[group[order]]
        count = round(share * len(members))
        if count < 2:
            raise NotEnoughData(
                f"{share:.0%} of the training cases keep {count} patients of a class; "
                "use a larger sample_size"
            )
        keep[members[:count]] = True
    return fold.train[keep[code]]


def _one(cell: Cell, parts: Sequence[Part], outer: Part, fold: Fold) -> pd.DataFrame:
    """Choose the settings on the inner parts, then score the outer one."""
    smallest = min((len(part.train) for part in parts), default=len(outer.train))
    settings = classifiers.settings(cell.classifier, smallest)
    best, inner = len(settings) // 2, np.nan
    if parts:
        within = [_numbers(part.scores(cell, settings)) for part in parts]
        area = np.mean([areas(part.y[part.test], found) for part, found in zip(parts, within)], axis=0)
        best = int(np.flatnonzero(area >= area.max() - TIE)[0])
        inner = float(area[best])
    score = _numbers(outer.scores(cell, [settings[best]]))[0]
    return pd.DataFrame({
        "row": fold.test, "fold": fold.fold, "score": placed(score), "inner_auroc": inner,
        "setting": json.dumps(settings[best]),
    })  # fmt: skip


def _numbers(scores: np.ndarray) -> np.ndarray:
    if not np.isfinite(scores).all():
        raise InputError(
            "the classifier gave scores that are no numbers; look for features of extreme size, or use "
            "another normalisation"
        )
    return scores


def placed(score: np.ndarray) -> np.ndarray:
    """Scores as normal quantiles of their ranks (Blom 1958), equal ones at their mean rank.

    >>> placed(np.array([0.1, 0.3, 7.0])).round(2).tolist()
    [-0.87, 0.0, 0.87]
    """
    return ndtri((rankdata(score) - 0.375) / (len(score) + 0.25))


def areas(y: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each row of scores (settings, m), ties counted half.

    >>> areas(np.array([0, 1, 1]), np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])).tolist()
    [1.0, 0.0]
    """
    positive = y == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        raise NotEnoughData("a fold has one class only; use fewer folds or more cases")
    ranks = rankdata(scores, axis=1)[:, positive].sum(axis=1)
    return (ranks - m * (m + 1) / 2) / (m * n)


def _collect(
    cases: Cases, grid: Grid, outer: Sequence[Fold], cells: Sequence[Cell],
    found: Mapping[tuple[Cell, int], pd.DataFrame], failed: Mapping[str, str], notes: Sequence[str],
    reused: int,
) -> Ablation:  # fmt: skip
    """Number the cells that can be evaluated; the others join those that failed."""
    labels = {
        (kind, repeat): labels_of(
            cases.y, cases.patient, Cell("", labels=kind), [f for f in outer if f.repeat == repeat], grid.seed
        )
        for kind in {cell.labels for cell in cells}
        for repeat in range(grid.repeats)
    }
    failed, whole = dict(failed), list[Cell]()
    scores, folds = list[pd.DataFrame](), list[tuple]()
    for cell in cells:
        if cell.address in failed:
            continue
        try:
            made = [
                _evaluated(len(whole), repeat, found[cell, repeat], labels[cell.labels, repeat])
                for repeat in range(grid.repeats)
            ]
        except NotEnoughData as error:
            failed[cell.address] = str(error)
            continue
        whole.append(cell)
        scores += [table for table, _ in made]
        folds += [row for _, rows in made for row in rows]
    if not whole:
        first = next(iter(failed.values()), "the grid has no cell")
        raise NotEnoughData(f"no cell of the grid gave a result. The first: {first}")
    columns = ["number", "repeat", "fold", "auroc", "inner_auroc", "setting"]
    ratio = float(np.mean([len(f.test) / len(f.train) for f in outer]))
    return Ablation(
        tuple(whole), pd.DataFrame(folds, columns=columns), pd.concat(scores, ignore_index=True), failed,
        tuple(notes), ratio, reused, len(found) - reused,
    )  # fmt: skip


def _evaluated(
    number: int, repeat: int, table: pd.DataFrame, y: np.ndarray
) -> tuple[pd.DataFrame, list[tuple]]:
    """Scores with their labels, and one row a fold, of one cell and repeat."""
    scores = pd.DataFrame({
        "number": number, "repeat": repeat, "fold": table["fold"].to_numpy(),
        "row": table["row"].to_numpy(), "score": table["score"].to_numpy(), "y": y[table["row"]],
    })  # fmt: skip
    rows = []
    for fold, own in table.groupby("fold", sort=True):
        area = float(areas(y[own["row"]], own["score"].to_numpy()[None])[0])
        rows.append((number, repeat, fold, area, own["inner_auroc"].iloc[0], own["setting"].iloc[0]))
    return scores, rows
