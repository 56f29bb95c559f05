"""A learning curve as it was measured: values by repeat and size, with what is known of their errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.errors import InputError, NotEnoughData, TableError
from radfoundry.evaluate.classification import METRICS
from radfoundry.evaluate.intervals import auc_covariance
from radfoundry.plan.precision import auc_se
from radfoundry.plan.ranges import RANGES


@dataclass(frozen=True, eq=False)
class AtTest:
    """What a curve did on its test patients, so that two curves of the same ones can be compared.

    y, patient (n,): of the cases that were tested. fixed: whether none of them was ever trained on.
    components (R, S, n): DeLong's, by repeat (AUC). draws (B, S): the mean curve over test patients drawn
    with replacement, NaN where it is not defined (other metrics). One of the two is there.
    """

    y: np.ndarray
    patient: np.ndarray
    fixed: bool
    components: np.ndarray | None = None
    draws: np.ndarray | None = None

    def same_cases(self, other: AtTest) -> bool:
        """Whether both are of the same cases in the same order."""
        return np.array_equal(self.y, other.y) and np.array_equal(self.patient, other.patient)

    def covariance(self) -> np.ndarray | None:
        """(S, S) of the mean curve, everything trained being the same; None where most draws say nothing."""
        if self.components is not None:
            return auc_covariance(self.y, self.components.mean(axis=0, dtype=float), self.patient)
        assert self.draws is not None  # one of the two is there
        whole = self.draws[np.isfinite(self.draws).all(axis=1)]
        return np.atleast_2d(np.cov(whole.T)) if 2 * len(whole) >= len(self.draws) else None

    def of_sizes(self, keep: np.ndarray) -> AtTest:
        """With some of the sizes; keep (S,) of booleans."""
        components, draws = self.components, self.draws
        return replace(
            self, components=None if components is None else components[:, keep],
            draws=None if draws is None else draws[:, keep],
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Measured:
    """values (R, S): a metric by repeat and size; n (S,): positives in training, rising.

    chance: what knowing nothing reaches; NaN where that has no meaning. pool_positives: positives that the
    subsets were drawn from (None: unknown or endless). test_covariance (S, S): of the mean curve over test
    patients (None: unknown). negatives: k of 1:k. missing: what a reader should know of the features: what
    was done about missing ones, and which tells the label alone. tested: what `test_covariance` came from.

    Raises InputError for sizes that do not rise, and for values that the metric cannot have.
    """

    n: np.ndarray
    values: np.ndarray
    metric: str = "auroc"
    name: str = "curve"
    target: str = ""
    chance: float = 0.5
    pool_positives: int | None = None
    test_covariance: np.ndarray | None = None
    test_cases: int | None = None
    test_positives: int | None = None
    negatives: float | None = None
    design: str = ""
    note: str = ""
    missing: str = ""
    tested: AtTest | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.n):
            raise InputError(f"values must be (repeats, {len(self.n)} sizes), not {self.values.shape}")
        if len(self.n) == 0 or (np.diff(self.n) <= 0).any() or (self.n < 2).any():
            raise InputError("sizes must rise and start at 2 positives or more")
        if not np.isfinite(self.values).all():
            at = int(self.n[np.flatnonzero(~np.isfinite(self.values).all(axis=0))[0]])
            raise InputError(f"{self.name}: {self.metric} is not defined at {at} positives in every repeat. "
                             "Leave that size out, or choose another metric")  # fmt: skip
        wrong = self.values[_outside(self.values, self.metric)]
        if len(wrong):
            raise InputError(f"{self.name}: {_no_value(wrong[0], self.metric)}")

    @property
    def mean(self) -> np.ndarray:
        """(S,) mean over repeats."""
        return self.values.mean(axis=0)

    @property
    def label(self) -> str:
        """Target and name, as a figure or a table shows them."""
        return f"{self.target}, {self.name}" if self.target else self.name

    def upto(self, n: float) -> Measured:
        """The part of the curve with at most n positives."""
        keep = self.n <= n
        if not keep.any():
            raise NotEnoughData(f"{self.label}: no size of {n:g} positives or fewer was measured")
        covariance = None if self.test_covariance is None else self.test_covariance[np.ix_(keep, keep)]
        tested = None if self.tested is None else self.tested.of_sizes(keep)
        return replace(
            self, n=self.n[keep], values=self.values[:, keep], test_covariance=covariance, tested=tested
        )

    def table(self) -> pd.DataFrame:
        """One row a repeat and size: target, name, metric, n, repeat, value."""
        repeats, sizes = self.values.shape
        return pd.DataFrame({
            "target": self.target, "name": self.name, "metric": self.metric,
            "n": np.tile(self.n.astype(int), repeats), "repeat": np.repeat(np.arange(repeats), sizes),
            "value": self.values.ravel(),
        })  # fmt: skip


def pool_variance(between: np.ndarray, n: np.ndarray, pool_positives: int) -> np.ndarray:
    """(S,) variance over pools of a mean over repeats, which no repeat can show; from that between repeats.

    With a share f of the pool in each subset, repeats vary by (1 − f) of the variance V of independent
    training sets, and their mean by f V over pools. Beyond f = 1/2 little of V is left to see: there it falls
    as 1 / n.
    """
    share = np.minimum(n / pool_positives, 1.0)
    seen = max(int((share <= 0.5).sum()), 1)
    whole = between / np.maximum(1 - share, 0.5)
    whole[seen:] = whole[seen - 1] * n[seen - 1] / n[seen:]
    return share * whole


def lowest(metric: str) -> float:
    """The least value that a metric of `METRICS` can have; the largest is 1.

    >>> lowest("auroc"), lowest("mcc")
    (0.0, -1.0)
    """
    return -1.0 if metric == "mcc" else 0.0


def _outside(values: Any, metric: str) -> Any:
    """Which of an array or a column the metric cannot have; a mean of ones may lie above 1 by rounding."""
    return (values < lowest(metric) - 1e-9) | (values > 1 + 1e-9)


def _no_value(value: float, metric: str) -> str:
    return (
        f"{value:g} is no value of {metric}, which lies between {lowest(metric):g} and 1. "
        "Divide percentages by 100"
    )


def chance_of(metric: str, prevalence: float) -> float:
    """What a rule that knows nothing reaches with a metric at a prevalence; NaN where there is no such value.

    >>> chance_of("auroc", 0.1), chance_of("auprc", 0.1), round(chance_of("f1", 0.5), 3)
    (0.5, 0.1, 0.667)
    """
    known = {
        "auroc": 0.5, "balanced_accuracy": 0.5, "auprc": prevalence, "sens_at_spec90": 0.1, "mcc": 0.0,
        "f1": 2 * prevalence / (1 + prevalence), "accuracy": max(prevalence, 1 - prevalence),
        "brier": prevalence * (1 - prevalence),
    }  # fmt: skip
    return known.get(metric, float("nan"))


CONSTANT = ("chance", "pool_positives", "test_positives", "test_cases")
"""Optional columns of a measured curve that hold one number a curve."""


def read_curves(path: Path, *, metric: str | None = None) -> list[Measured]:
    """Curves that were measured elsewhere: a CSV with the columns n, repeat, value.

    Optional columns: name, target, metric, and (constant in a curve) those of `CONSTANT`. With test_positives
    and test_cases an AUC gets Hanley and McNeil's test-set error, taken as common to all sizes. Raises
    TableError with row and column for a wrong value.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError as cause:
        raise TableError(f"{path}: no such file. Check the path") from cause
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as cause:
        raise TableError(
            f"{path.name}: not readable as CSV ({cause}). It needs the columns n, repeat, value"
        ) from cause
    for column in ("n", "repeat", "value"):
        if column not in table:
            raise TableError(f"{path.name}: no column {column!r}. A measured curve has n, repeat and value; "
                             f"this table has {', '.join(map(str, table))}")  # fmt: skip
    table = table.assign(**{c: _numbers(table, c, path.name) for c in ("n", "value")})
    least, most, _ = RANGES["sizes"]
    _refuse(
        table["n"], (table["n"] < least) | (table["n"] > most), path.name,
        f"must lie between {least:g} and {most:,.0f} positives",
    )  # fmt: skip
    table = table.assign(**{c: "" for c in ("name", "target") if c not in table})
    table = table.fillna({"name": "", "target": ""})
    found = []
    for (target, name), own in table.groupby(["target", "name"], sort=False):
        found.append(_one(own, str(target), str(name) or "curve", path.name, metric))
    return found


def _numbers(table: pd.DataFrame, column: str, where: str) -> pd.Series:
    values = pd.to_numeric(table[column], errors="coerce").astype(float)
    bad = ~np.isfinite(values)
    if bad.any():
        wrong = table.loc[bad, column].iloc[0]
        words = "empty. Fill it in" if pd.isna(wrong) else f"{str(wrong)!r} is not a number. Mend it"
        raise TableError(f"{where}: row {_row(bad)}, column {column!r}: {words}")
    return values


def _refuse(values: pd.Series, wrong: pd.Series, where: str, why: str) -> None:
    """TableError with row and column of the first wrong value."""
    if wrong.any():
        at = f"{where}: row {_row(wrong)}, column {values.name!r}"
        raise TableError(f"{at}: {values[wrong].iloc[0]:g} {why}")


def _row(wrong: pd.Series) -> int:
    """Row of a spreadsheet in which the first wrong value stands."""
    return int(wrong.index[wrong.to_numpy()][0]) + 2


def _one(own: pd.DataFrame, target: str, name: str, where: str, metric: str | None) -> Measured:
    twice = own.duplicated(["n", "repeat"])
    if twice.any():
        at = own[twice].iloc[0]
        raise TableError(f"{where}: row {_row(twice)}: size {at['n']:g} of repeat {at['repeat']} is there "
                         "twice. Give each curve its own `name`")  # fmt: skip
    what = _metric(own, name, where, metric)
    wrong = _outside(own["value"], what)
    if wrong.any():
        why = _no_value(own.loc[wrong, "value"].iloc[0], what)
        raise TableError(f"{where}: row {_row(wrong)}, column 'value': {why}")
    wide = own.pivot(index="repeat", columns="n", values="value")
    if wide.isna().any().any():
        size = wide.columns[wide.isna().any().to_numpy()][0]
        raise TableError(
            f"{where}: size {size:g} was not measured in every repeat. Leave it out or complete it"
        )
    if len(wide) < 2:
        raise NotEnoughData(
            f"{where}: {name} has {len(wide)} repeat; its spread needs two or more. Ten are usual"
        )
    given = _constants(own, what, where)
    positives, cases = given.get("test_positives"), given.get("test_cases")
    prevalence = positives / cases if positives and cases else float("nan")
    covariance = None
    if what == "auroc" and positives and cases:
        error = np.array([auc_se(v, positives, cases - positives) for v in wide.mean().clip(0.01, 0.99)])
        covariance = np.outer(error, error)
    pool = given.get("pool_positives")
    return Measured(
        wide.columns.to_numpy(float), wide.to_numpy(float), what, name, target,
        given.get("chance", chance_of(what, prevalence)),
        None if pool is None else int(pool), covariance, None if cases is None else int(cases),
        None if positives is None else int(positives), design="measured elsewhere",
    )  # fmt: skip


def _metric(own: pd.DataFrame, name: str, where: str, asked: str | None) -> str:
    """What was asked for, or what the column says, which is one metric a curve and no other than asked."""
    stated = [] if "metric" not in own else own["metric"].dropna().astype(str).unique().tolist()
    if len(stated) > 1:
        raise TableError(
            f"{where}: {name} has {' and '.join(stated)} in the column 'metric'. Give each its own `name`"
        )
    if asked and stated and stated != [asked]:
        raise TableError(
            f"column 'metric' of {where} says {stated[0]}, and {asked} was asked for. Ask for {stated[0]} "
            "or for none, or correct the column"
        )
    what = asked or (stated[0] if stated else "auroc")
    if what not in METRICS:
        raise TableError(f"{where}: column 'metric': {what!r} is not one of {', '.join(METRICS)}")
    return what


def _constants(own: pd.DataFrame, metric: str, where: str) -> dict[str, float]:
    """What the columns of `CONSTANT` say of one curve; an empty column says nothing."""
    found = {}
    for column in (c for c in CONSTANT if c in own):
        known = own[own[column].notna()]
        if known.empty:
            continue
        values = _numbers(known, column, where)
        first = float(values.iloc[0])
        _refuse(values, values != first, where, f"after {first:g}: a curve has one value there")
        if column == "chance":
            wrong = (values < lowest(metric)) | (values >= 1)
            _refuse(values, wrong, where, f"is no chance of {metric}. Divide percentages by 100")
        else:
            _refuse(values, (values < 1) | (values > 1e9), where, "is no number of cases")
        found[column] = first
    if found.get("test_positives", 0) >= found.get("test_cases", np.inf):
        raise TableError(
            f"{where}: {found['test_positives']:g} test_positives of {found['test_cases']:g} test_cases "
            "leave no negative case. test_cases counts both"
        )
    return found
