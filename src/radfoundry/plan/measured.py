"""A learning curve as it was measured: values by repeat and size, with what is known of their errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from radfoundry.errors import InputError, NotEnoughData, TableError
from radfoundry.evaluate.classification import METRICS
from radfoundry.plan.precision import auc_se


@dataclass(frozen=True, eq=False)
class Measured:
    """values (R, S): a metric by repeat and size; n (S,): positives in training, rising.

    chance: what knowing nothing reaches; NaN where that has no meaning. pool_positives: positives that the
    subsets were drawn from (None: unknown or endless). test_covariance (S, S): of the mean curve over test
    patients (None: unknown). negatives: k of 1:k.
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

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.n):
            raise InputError(f"values must be (repeats, {len(self.n)} sizes), not {self.values.shape}")
        if len(self.n) == 0 or (np.diff(self.n) <= 0).any() or (self.n < 2).any():
            raise InputError("sizes must rise and start at 2 positives or more")
        if not np.isfinite(self.values).all():
            at = int(self.n[np.flatnonzero(~np.isfinite(self.values).all(axis=0))[0]])
            raise InputError(f"{self.name}: {self.metric} is not defined at {at} positives in every repeat. "
                             "Leave that size out, or choose another metric")  # fmt: skip

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
        return replace(self, n=self.n[keep], values=self.values[:, keep], test_covariance=covariance)

    def table(self) -> pd.DataFrame:
        """One row a repeat and size: target, name, metric, n, repeat, value."""
        repeats, sizes = self.values.shape
        return pd.DataFrame({
            "target": self.target, "name": self.name, "metric": self.metric,
            "n": np.tile(self.n.astype(int), repeats), "repeat": np.repeat(np.arange(repeats), sizes),
            "value": self.values.ravel(),
        })  # fmt: skip


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


def read_curves(path: Path, *, metric: str | None = None) -> list[Measured]:
    """Curves that were measured elsewhere: a CSV with the columns n, repeat, value.

    Optional columns: name, target, metric, and (constant in a curve) chance, pool_positives, test_positives,
    test_cases. With test_positives and test_cases an AUC gets Hanley and McNeil's test-set error, taken as
    common to all sizes. Raises TableError with row and column for a wrong value.
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
    table = table.assign(**{c: "" for c in ("name", "target") if c not in table})
    table = table.fillna({"name": "", "target": ""})
    found = []
    for (target, name), own in table.groupby(["target", "name"], sort=False):
        found.append(_one(own, str(target), str(name) or "curve", path.name, metric))
    return found


def _numbers(table: pd.DataFrame, column: str, where: str) -> pd.Series:
    values = pd.to_numeric(table[column], errors="coerce")
    bad = np.flatnonzero(~np.isfinite(values.to_numpy(float)))
    if len(bad):
        wrong = table[column].iloc[bad[0]]
        raise TableError(f"{where}: row {bad[0] + 2}, column {column!r}: {wrong!r} is not a number. Mend it")
    return values.astype(float)


def _one(own: pd.DataFrame, target: str, name: str, where: str, metric: str | None) -> Measured:
    twice = own.duplicated(["n", "repeat"])
    if twice.any():
        row = int(np.flatnonzero(own.index == own.index[twice.to_numpy()][0])[0])
        at = own.iloc[row]
        raise TableError(f"{where}: row {own.index[row] + 2}: size {at['n']:g} of repeat {at['repeat']} "
                         "is there "
                         "twice. Give each curve its own `name`")  # fmt: skip
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
    stated = str(own["metric"].iloc[0]) if "metric" in own else "auroc"
    what = metric or stated
    if what not in METRICS:
        raise TableError(f"{where}: column 'metric': {what!r} is not one of {', '.join(METRICS)}")
    given = {
        c: float(own[c].iloc[0])
        for c in ("chance", "pool_positives", "test_positives", "test_cases")
        if c in own
    }
    positives, cases = given.get("test_positives"), given.get("test_cases")
    prevalence = positives / cases if positives and cases else float("nan")
    covariance = None
    if what == "auroc" and positives and cases and cases > positives:
        error = np.array([auc_se(v, positives, cases - positives) for v in wide.mean().clip(0.01, 0.99)])
        covariance = np.outer(error, error)
    pool = given.get("pool_positives")
    return Measured(
        wide.columns.to_numpy(float), wide.to_numpy(float), what, name, target,
        given.get("chance", chance_of(what, prevalence)),
        None if pool is None else int(pool), covariance, None if cases is None else int(cases),
        None if positives is None else int(positives), design="measured elsewhere",
    )  # fmt: skip
