"""Measure a learning curve: the same test patients, training subsets that grow inside one another.

A size is a number of positive cases; each comes with k negatives. One repeat shuffles the patients of the
training pool once and takes longer and longer beginnings of that order, so that every subset holds the one
before. The test patients stay the same at every size: a fixed test part, or each fold of a repeated,
patient-grouped cross-validation in turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from radfoundry.adapt.cross import cross_predict
from radfoundry.adapt.fits import Fit, Fits
from radfoundry.cohort import Cohort
from radfoundry.errors import InputError, NotEnoughData, UnknownName
from radfoundry.evaluate.classification import METRICS, compute
from radfoundry.evaluate.intervals import placements
from radfoundry.plan.label_columns import telling
from radfoundry.plan.measured import AtTest, Measured, chance_of
from radfoundry.plan.ranges import check_ranges
from radfoundry.plan.tables import finite
from radfoundry.registry import nearest
from radfoundry.splits import Fold, check_patients, given, kfold, three_way

SIZES = (5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10000)
"""Numbers of positives measured where none are asked for, as far as the cases go."""

TEST_SHARE = 0.3
"""Share of the patients in the test part of the design `holdout`."""

DRAWS = 100
"""Bootstrap draws of test patients behind the covariance of a metric other than AUC."""


@dataclass(frozen=True)
class Plan:
    """How a curve is measured.

    sizes: numbers of positives (empty: `SIZES` as far as the cases go). negatives: k of 1:k. repeats:
    shuffles of the pool. folds: of the cross-validation, where there is no fixed test part. head: a name of
    `make_head`. metric: a name of `METRICS`; those that need a decision use the threshold that `threshold`
    finds on inner folds of the training subset (see `adapt.thresholds`).
    """

    sizes: tuple[int, ...] = ()
    negatives: float = 5.0
    repeats: int = 10
    folds: int = 5
    head: str = "logistic"
    metric: str = "auroc"
    threshold: str = "youden"
    seed: int = 0

    def check(self) -> None:
        """InputError or UnknownName for a setting that cannot be meant, before anything is fitted."""
        if self.metric not in METRICS:
            raise UnknownName(
                f"no metric {self.metric!r}.{nearest(self.metric, METRICS)} Known: {', '.join(METRICS)}"
            )
        check_ranges(
            sizes=self.sizes, negatives=self.negatives, repeats=self.repeats, folds=self.folds, seed=self.seed
        )
        if len(set(self.sizes)) < len(self.sizes):
            raise InputError(f"sizes are different numbers of positives, not {self.sizes}")


@dataclass(frozen=True)
class Chain:
    """Growing training subsets and the rows they are tested on: row numbers of the cohort.

    subsets: (size, rows) from small to large, each containing the one before.
    """

    subsets: tuple[tuple[int, np.ndarray], ...]
    test: np.ndarray
    repeat: int
    fold: int = 0


@dataclass(frozen=True)
class Pool:
    """What a set of chains draws from.

    positives, negatives: cases of the (smallest) training pool. note: what limited the sizes, if anything
    did.
    """

    chains: tuple[Chain, ...]
    positives: int
    negatives: int
    sizes: tuple[int, ...]
    note: str = ""


def make_chains(
    y: np.ndarray,
    patient: np.ndarray,
    plan: Plan,
    *,
    train: np.ndarray | None = None,
    test: np.ndarray | None = None,
) -> Pool:
    """All chains of a plan: repeats with a fixed test part (`train`, `test`: rows), else repeats x folds.

    y: (n,) 0/1; patient: (n,). Raises TableError for a patient on both sides, NotEnoughData where the
    smallest subset, or a size that was asked for, has too few cases.
    """
    plan.check()
    y, patient = np.asarray(y).astype(int), np.asarray(patient).astype(str)
    if (train is None) != (test is None):
        raise InputError("give both the training pool and the test part, or neither (cross-validation)")
    if train is None or test is None:
        cuts = kfold(patient, y, n_splits=plan.folds, repeats=plan.repeats, seed=plan.seed)
    else:
        rows, part = np.concatenate([train, test]), np.repeat(["train", "test"], [len(train), len(test)])
        check_patients(patient[rows], part, where="learning curve")
        if len(np.unique(y[test])) < 2:
            raise NotEnoughData(
                "the test part holds one class only. Add cases of the other, or use cross-validation"
            )
        cuts = [Fold(np.asarray(train), np.asarray(test), repeat) for repeat in range(plan.repeats)]
    positives = min(int(y[c.train].sum()) for c in cuts)
    negatives = min(int((1 - y[c.train]).sum()) for c in cuts)
    sizes, note = _sizes(plan, positives, negatives)
    chains = tuple(
        Chain(
            nested_subsets(y, patient, c.train, sizes, plan.negatives, (plan.seed, c.repeat, c.fold)),
            c.test, c.repeat, c.fold,
        )
        for c in cuts
    )  # fmt: skip
    return Pool(chains, positives, negatives, sizes, note)


def split_rows(
    cohort: Cohort, y: np.ndarray, design: str, *, seed: int = 0
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Rows of the training pool and of the test part of a labelled cohort; (None, None): cross-validation.

    design: `split` (the cohort's own column; its validation rows join the pool), `holdout` (TEST_SHARE of the
    patients), `cv`, or `auto`: the own column where it is complete, else cross-validation. Raises InputError
    for a split that the cohort does not have.
    """
    has_split = "split" in cohort.table and cohort.table["split"].notna().all()
    if design == "split" and not has_split:
        raise InputError(f"{cohort.name} has no complete column 'split'. Add one, or use --design cv")
    if has_split and design in ("auto", "split"):
        parts = given(cohort.table["split"].to_numpy(object), patient=cohort.patients)
        pool = [parts[name] for name in ("train", "validation") if name in parts]
        return np.sort(np.concatenate(pool)), parts["test"]
    if design == "holdout":
        part = three_way(cohort.patients, y, fractions=(1 - TEST_SHARE, 0, TEST_SHARE), seed=seed)
        return np.flatnonzero(part == "train"), np.flatnonzero(part == "test")
    return None, None


def nested_subsets(
    y: np.ndarray, patient: np.ndarray, pool: np.ndarray, sizes: Sequence[int], k: float, seed: Sequence[int]
) -> tuple[tuple[int, np.ndarray], ...]:
    """(size, rows) for each size: the first positives and the first k x size negatives of one random order.

    Patients are shuffled, and their cases follow one another, so that few patients are cut by a size.
    """
    rng = np.random.default_rng(seed)
    names, code = np.unique(patient[pool], return_inverse=True)
    place = rng.permutation(len(names))[code]
    ordered = pool[np.lexsort((rng.random(len(pool)), place))]
    positive, negative = ordered[y[ordered] == 1], ordered[y[ordered] == 0]
    return tuple((n, np.concatenate([positive[:n], negative[: negatives_for(n, k)]])) for n in sorted(sizes))


def negatives_for(n: int, k: float) -> int:
    """How many negatives come with n positives at 1:k; at least 2.

    >>> negatives_for(10, 5), negatives_for(5, 0.1)
    (50, 2)
    """
    return max(2, round(n * k))


def _sizes(plan: Plan, positives: int, negatives: int) -> tuple[tuple[int, ...], str]:
    """The sizes to measure, and what limited them."""
    fits = [n for n in range(2, positives + 1) if negatives_for(n, plan.negatives) <= negatives]
    most = max(fits, default=0)
    short = "" if most == positives else (
        f" (at 1:{plan.negatives:g} the {negatives} negatives of the pool last for {most} positives)"
    )  # fmt: skip
    asked = sorted(plan.sizes) or [n for n in SIZES if n <= most]
    if not plan.sizes and asked and most >= 1.15 * asked[-1]:
        asked.append(most)
    if not asked or asked[0] > most:
        least = min(plan.sizes) if plan.sizes else SIZES[0]
        raise NotEnoughData(
            f"the training pool has {positives} positives and {negatives} negatives, too few for the "
            "smallest "
            f"subset of {least} positives at 1:{plan.negatives:g}. Ask for smaller sizes, fewer negatives a "
            "positive, or label more cases"
        )
    if asked[-1] > most:
        raise NotEnoughData(
            f"a subset of {asked[-1]} positives was asked for, the training pool gives {most}{short}. "
            "Leave that size out, take fewer negatives a positive, or label more cases"
        )
    return tuple(asked), f"sizes end at {asked[-1]} positives{short}" if short and not plan.sizes else ""


def score_chain(
    head: str, X: np.ndarray, y: np.ndarray, patient: np.ndarray, subsets: Sequence[tuple[int, np.ndarray]],
    test: np.ndarray, threshold_rule: str | None, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Fit the head on each subset, score the test rows: n, row (position in `test`), score, threshold.

    X may hold NaN: each fit imputes what is missing, see `imputed`.
    """
    place = {int(row): i for i, row in enumerate(test)}
    tables = []
    with threadpool_limits(1):
        for n, rows in subsets:
            found = cross_predict(
                head, imputed(X, rows), y, [Fold(np.sort(rows), test)], patient, case_id=np.arange(len(y)),
                threshold_rule=threshold_rule, seed=seed,
            )  # fmt: skip
            row = found["case_id"].astype(int).map(place).to_numpy()
            threshold = found["threshold"].to_numpy() if threshold_rule else np.nan
            tables.append(pd.DataFrame({"n": n, "row": row, "score": found["score"], "threshold": threshold}))
    return pd.concat(tables, ignore_index=True)


def imputed(X: np.ndarray, train: np.ndarray) -> np.ndarray:
    """X with missing values replaced by the median of the training rows; nothing of the others is used.

    A feature without any value in the training rows can teach nothing and is 0 everywhere.

    >>> imputed(np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 7.0]]), np.array([0, 1])).tolist()
    [[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]]
    """
    if np.isfinite(X).all():
        return X
    X = X.astype(float)  # the mean of two large float32 would overflow
    unknown = np.isnan(X[train]).all(axis=0)
    X[:, unknown] = 0.0
    return np.where(np.isnan(X), np.nanmedian(X[train], axis=0), X)


def usable_features(name: str, x: np.ndarray) -> tuple[np.ndarray, str]:
    """(n, p) float32 with NaN for what is missing, without empty features; and what a reader should know.

    Infinity, and numbers that float32 cannot hold, count as missing. Raises InputError where every feature is
    empty.
    """
    found = finite(x)
    missing = np.isnan(found)
    if not missing.any():
        return found, ""
    empty = missing.all(axis=0)
    if empty.all():
        raise InputError(f"{name}: no feature has a finite value in any case. Look at how it was made")
    words = []
    if empty.any():
        words.append(f"{name}: {empty.sum()} of {found.shape[1]} features are empty and were left out")
    found, missing = found[:, ~empty], missing[:, ~empty]
    if missing.any():
        where = f"{int(missing.sum())} values in {int(missing.any(axis=1).sum())} cases"
        words.append(
            f"{name}: {where} are missing or infinite; each fit gives them the median of its training subset"
        )
    return found, "; ".join(words)


def measure(
    features: Mapping[str, np.ndarray], y: np.ndarray, patient: np.ndarray, plan: Plan, *, target: str = "y",
    train: np.ndarray | None = None, test: np.ndarray | None = None, fits: Fits | None = None, jobs: int = 1,
    quiet: bool = False, log: Callable[[str], None] = lambda _: None,
) -> list[Measured]:  # fmt: skip
    """The measured curve of each feature set, on the same subsets and test patients.

    features: name to (n, p). y: (n,) 0/1. patient: (n,). train, test: rows of a fixed split; neither means
    repeated cross-validation. fits: where finished chains are kept, so that an interrupted run goes on.
    What is missing among the features is said by `usable_features` and imputed in each fit; a column that
    tells the label alone is said by `telling`.

    Raises InputError for another number of rows or features that are all empty, and what `make_chains`
    raises.
    """
    y, patient = np.asarray(y).astype(int), np.asarray(patient).astype(str)
    clean = {}
    for name, x in features.items():
        if len(x) != len(y):
            raise InputError(f"{name}: needs one vector a case, not {len(x)} for {len(y)} cases. Embed again")
        usable, words = usable_features(name, x)
        clean[name] = usable, "; ".join(w for w in (words, *telling(name, finite(x), y)) if w)
        if clean[name][1]:
            log(clean[name][1])
    pool = make_chains(y, patient, plan, train=train, test=test)
    if pool.note:
        log(pool.note)
    rule = plan.threshold if METRICS[plan.metric].kind == "decision" else None
    keys = list(itertools.product(features, pool.chains))
    work = [_fit(name, clean[name][0], y, patient, chain, plan, rule) for name, chain in keys]
    tables = (fits or Fits(None)).run(work, jobs=jobs, quiet=quiet, log=log)
    found = []
    for index, name in enumerate(features):
        own = tables[index * len(pool.chains) : (index + 1) * len(pool.chains)]
        curve = _summary(name, target, own, pool, y, patient, plan, fixed=test is not None)
        found.append(replace(curve, missing=clean[name][1]))
    return found


def _fit(
    name: str, x: np.ndarray, y: np.ndarray, patient: np.ndarray, chain: Chain, plan: Plan, rule: str | None
) -> Fit:
    """One chain as a fit that holds its own rows only: cheap to name, cheap to send."""
    rows = np.unique(np.concatenate([chain.subsets[-1][1], chain.test]))
    subsets = [(n, np.searchsorted(rows, r)) for n, r in chain.subsets]
    words = f"{name} {chain.repeat + 1}" + (f".{chain.fold + 1}" if chain.fold else "")
    return Fit(words, score_chain, {
        "head": plan.head, "X": x[rows], "y": y[rows],
        "patient": patient[rows].astype(object), "subsets": subsets,
        "test": np.searchsorted(rows, chain.test), "threshold_rule": rule, "seed": plan.seed,
    })  # fmt: skip


def _summary(
    name: str, target: str, tables: Sequence[pd.DataFrame], pool: Pool, y: np.ndarray, patient: np.ndarray,
    plan: Plan, *, fixed: bool,
) -> Measured:  # fmt: skip
    sizes = np.array(pool.sizes)
    values = np.zeros((plan.repeats, len(sizes)))
    parts = np.zeros(plan.repeats)
    scored = []
    for table, chain in zip(tables, pool.chains):
        score = table.pivot(index="n", columns="row", values="score").to_numpy()
        cut = table.groupby("n")["threshold"].first().to_numpy()
        scored.append((chain, score, cut))
        values[chain.repeat] += _values(plan.metric, y[chain.test], score, cut)
        parts[chain.repeat] += 1
    tested = np.unique(np.concatenate([c.test for c in pool.chains]))
    drawn_from = pool.positives if fixed else int(y[tested].sum())  # folds are dealt anew in every repeat
    cross = f"{plan.repeats} x {plan.folds}-fold cross-validation by patient"
    at_test = _tested(plan, scored, y, patient, fixed=fixed)
    return Measured(
        n=sizes.astype(float), values=values / parts[:, None], metric=plan.metric, name=name, target=target,
        chance=chance_of(plan.metric, float(y[tested].mean())), pool_positives=drawn_from,
        test_covariance=at_test.covariance(), test_cases=len(tested),
        test_positives=int(y[tested].sum()), negatives=plan.negatives,
        design="fixed test part" if fixed else cross,
        note=pool.note, tested=at_test,
    )  # fmt: skip


def _values(metric: str, y: np.ndarray, score: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """The metric at every size; score (S, n), cut (S,)."""
    return np.array([compute(metric, y, s, threshold=c) for s, c in zip(score, cut)])


Scored = Sequence[tuple[Chain, np.ndarray, np.ndarray]]


def _tested(plan: Plan, scored: Scored, y: np.ndarray, patient: np.ndarray, *, fixed: bool) -> AtTest:
    """What tells how the mean curve would vary with other test patients, all trained being the same."""
    seen = np.unique(np.concatenate([chain.test for chain, _, _ in scored]))
    if plan.metric != "auroc":
        return AtTest(y[seen], patient[seen], fixed, draws=_bootstrap(plan, scored, y, patient))
    found = np.zeros((plan.repeats, len(scored[0][1]), len(y)), np.float32)  # a case is tested once a repeat
    for chain, score, _ in scored:
        found[chain.repeat][:, chain.test] = np.stack([placements(y[chain.test], s) for s in score])
    return AtTest(y[seen], patient[seen], fixed, components=found[:, :, seen])


def _bootstrap(plan: Plan, scored: Scored, y: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """(DRAWS, S) the mean curve over test patients drawn with replacement, alike for every feature set."""
    rng = np.random.default_rng(plan.seed)
    size = len(scored[0][1])
    names, code = np.unique(patient, return_inverse=True)
    draws = []
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[code]
        with np.errstate(invalid="ignore"):
            each = [_drawn(plan.metric, y, chain, score, cut, times) for chain, score, cut in scored]
        draws.append(
            np.mean([e for e in each if e is not None], axis=0)
            if any(e is not None for e in each)
            else np.full(size, np.nan)
        )
    return np.array(draws)


def _drawn(
    metric: str, y: np.ndarray, chain: Chain, score: np.ndarray, cut: np.ndarray, times: np.ndarray
) -> np.ndarray | None:
    rows = np.repeat(np.arange(len(chain.test)), times[chain.test])
    truth = y[chain.test][rows]
    if len(np.unique(truth)) < 2:
        return None
    return _values(metric, truth, score[:, rows], cut)


def early_slope(curve: Measured, *, until: float = 50) -> float:
    """Gain of the mean metric for each doubling of the positives, over the sizes up to `until`."""
    early = curve.n <= until
    if early.sum() < 2:
        early = np.arange(len(curve.n)) < 2
    return float(np.polyfit(np.log2(curve.n[early]), curve.values.mean(axis=0)[early], 1)[0])


def slope_against_final(curves: Sequence[Measured], *, until: float = 50) -> dict[str, Any]:
    """Spearman's rank correlation of the early slope with the value at the largest size, across curves.

    Returns rho, its p (two-sided; None below four curves, whose ranks prove nothing), n, and the rows.
    """
    from scipy.stats import spearmanr

    rows = [
        {"target": c.target, "name": c.name, "slope": early_slope(c, until=until), "n": float(c.n[-1]),
         "final": float(c.values[:, -1].mean())}
        for c in curves
    ]  # fmt: skip
    if len(rows) < 4 or len({r["slope"] for r in rows}) < 2 or len({r["final"] for r in rows}) < 2:
        return {"rho": None, "p": None, "n": len(rows), "rows": rows}
    found = spearmanr([r["slope"] for r in rows], [r["final"] for r in rows])
    return {"rho": float(found.statistic), "p": float(found.pvalue), "n": len(rows), "rows": rows}
