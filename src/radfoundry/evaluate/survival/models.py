"""Cox regression by lifelines, its assumption checked, and what a model adds over clinical variables.

Source of the check: Grambsch and Therneau, Biometrika 1994;81:515 (scaled Schoenfeld residuals). lifelines is
imported when a model is fitted.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from radfoundry.errors import InputMismatch, NotEnoughData, TableError
from radfoundry.evaluate.compare import Comparison, holm, p_words
from radfoundry.evaluate.survival.accuracy import columns_of, compare_c, followed
from radfoundry.evaluate.survival.curves import check_times, need_events
from radfoundry.optional import require
from radfoundry.registry import nearest
from radfoundry.splits import kfold
from radfoundry.types import Estimate

EVENTS_PER_COEFFICIENT = 10  # Peduzzi et al., J Clin Epidemiol 1995;48:1503


@dataclass(frozen=True)
class Design:
    """How covariates become numbers: a number as it is, a category as one 0/1 column a level but the first.

    levels: covariate to its levels, reference first; None for a number.
    """

    levels: Mapping[str, tuple[str, ...] | None]

    @classmethod
    def of(cls, table: pd.DataFrame, covariates: Sequence[str]) -> Design:
        """The commonest level is the reference. TableError for a missing column, NotEnoughData for a
        covariate that never varies."""
        levels: dict[str, tuple[str, ...] | None] = {}
        for name in covariates:
            if name not in table:
                raise TableError(f"no column {name!r}.{nearest(name, [str(c) for c in table.columns])}")
            column = table[name]
            if column.nunique(dropna=True) < 2:
                raise NotEnoughData(
                    f"covariate {name!r} has one value in all {len(table)} cases: leave it out"
                )
            numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
            levels[name] = None if numeric else tuple(column.astype(str)[column.notna()].value_counts().index)
        return cls(levels)

    def matrix(self, table: pd.DataFrame) -> pd.DataFrame:
        """(n, coefficients); TableError for a missing value or an unknown level."""
        parts = {}
        for name, known in self.levels.items():
            column = table[name]
            if column.isna().any():
                raise TableError(
                    f"column {name!r}: {int(column.isna().sum())} cases have no value. Leave them out and "
                    "say so, or impute inside the training part"
                )
            if known is None:
                parts[name] = column.astype(float).to_numpy()
                continue
            text = column.astype(str)
            if not text.isin(known).all():
                odd = sorted(set(text) - set(known))
                raise TableError(f"column {name!r}: {odd[0]!r} did not occur when the model was fitted")
            parts |= {f"{name}={level}": (text == level).to_numpy(float) for level in known[1:]}
        return pd.DataFrame(parts, index=table.index)


@dataclass(frozen=True)
class CoxFit:
    """A fitted Cox model.

    estimates: one `hazard_ratio:<coefficient>` each, against the reference level or for one unit more.
    centre: mean of each column of the design. baseline: cumulative hazard (Breslow) of a case at the centre,
    by time; empty with strata. proportional: the check, one row a coefficient: chi_square, p, p_holm; empty
    with a penalty.
    """

    estimates: tuple[Estimate, ...]
    coefficients: pd.Series
    centre: pd.Series
    baseline: pd.Series
    design: Design
    log_likelihood: float
    log_likelihood_null: float
    n: int
    events: int
    proportional: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def df(self) -> int:
        return len(self.coefficients)

    def risk(self, table: pd.DataFrame) -> np.ndarray:
        """(n,) log relative hazard against a case at the centre of the fit; higher is worse."""
        return (self.design.matrix(table) - self.centre).to_numpy() @ self.coefficients.to_numpy()

    def survival(self, table: pd.DataFrame, horizons: Sequence[float]) -> np.ndarray:
        """(n, horizons) predicted probability to be free of the event beyond each horizon.

        Raises NotEnoughData beyond the follow-up of the fit, or where strata have a baseline each.
        """
        if self.baseline.empty:
            raise NotEnoughData("a stratified model has no single baseline: predict without strata")
        at = np.asarray(horizons, float)
        if (at > self.baseline.index[-1]).any():
            raise NotEnoughData(f"the model was fitted on {self.baseline.index[-1]:g} of follow-up at most")
        steps = np.concatenate([[0.0], self.baseline.to_numpy()])
        hazard = steps[np.searchsorted(self.baseline.index.to_numpy(float), at, "right")]
        return np.exp(-np.exp(self.risk(table))[:, None] * hazard)

    def __str__(self) -> str:
        lines = [str(e) for e in self.estimates]
        for name, row in self.proportional.iterrows():
            if row["p_holm"] < 0.05:
                lines.append(f"{name}: the hazard ratio changes over time (Schoenfeld, Holm "
                             f"{p_words(row['p_holm'])}); read it as an average")  # fmt: skip
        return "\n".join([*lines, f"n = {self.n}, {self.events} events", *self.notes])


@dataclass(frozen=True)
class LikelihoodRatio:
    """Twice the gain in log partial likelihood of the larger of two nested Cox models."""

    statistic: float
    df: int
    p: float
    n: int
    events: int
    note: str | None = None

    def __str__(self) -> str:
        note = f"; {self.note}" if self.note else ""
        return (f"likelihood ratio chi-square {self.statistic:.2f} on {self.df} df, {p_words(self.p)} "
                f"(n = {self.n}, {self.events} events{note})")  # fmt: skip


def cox(
    table: pd.DataFrame, covariates: Sequence[str], *, time: str, event: str, strata: Sequence[str] = (),
    patient: str | None = None, penalty: float = 0.0, l1_ratio: float = 0.0, level: float = 0.95,
) -> CoxFit:  # fmt: skip
    """Cox proportional hazards (Efron's ties) of columns of a table; names are column names.

    patient: ids where patients own several rows: robust variance. penalty, l1_ratio: of the elastic net, on
    standardised covariates; intervals are then only descriptive. Raises NotEnoughData where the model does
    not converge, and says why it may be; TableError, InputMismatch for wrong columns.
    """
    lifelines = require("lifelines", extra="survival")
    if not covariates:
        raise InputMismatch("a Cox model needs at least one covariate")
    t, e = check_times(table[time], table[event])
    need_events(e, "a Cox model")
    design = Design.of(table, covariates)
    x = design.matrix(table)
    data = x.assign(__time=t, __event=e, **{f"__stratum {s}": table[s].astype(str) for s in strata})
    cluster = None
    if patient is not None and table[patient].nunique() < len(table):
        data["__patient"], cluster = table[patient].to_numpy(), "__patient"
    fitter = lifelines.CoxPHFitter(penalizer=penalty, l1_ratio=l1_ratio, alpha=1 - level)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        try:
            fitter.fit(data, "__time", "__event", strata=[f"__stratum {s}" for s in strata] or None,
                       cluster_col=cluster)  # fmt: skip
        except (lifelines.exceptions.ConvergenceError, np.linalg.LinAlgError, ValueError) as cause:
            raise NotEnoughData(_why(x, e)) from cause
    spread = fitter.standard_errors_.to_numpy() * x.std().to_numpy()  # of one SD: beyond 50 it is separation
    if not np.isfinite(spread).all() or (spread > 50).any():
        raise NotEnoughData(_why(x, e))
    null = float(fitter.log_likelihood_ratio_test().test_statistic) / -2 + fitter.log_likelihood_
    patients = int(table[patient].nunique()) if cluster else len(t)
    baseline = pd.Series(dtype=float) if strata else fitter.baseline_cumulative_hazard_.iloc[:, 0]
    return CoxFit(
        estimates=tuple(_hazard_ratios(fitter, level, len(t), patients, penalty)),
        coefficients=fitter.params_.rename_axis(None),
        centre=x.mean(),
        baseline=baseline,
        design=design,
        log_likelihood=float(fitter.log_likelihood_),
        log_likelihood_null=float(null),
        n=len(t),
        events=int(e.sum()),
        proportional=_proportional(lifelines, fitter, data, penalty),
        notes=tuple(_doubts(x, e, penalty)),
    )


def _hazard_ratios(fitter: Any, level: float, n: int, patients: int, penalty: float) -> list[Estimate]:
    limits = np.exp(fitter.confidence_intervals_.to_numpy())
    ps = 2 * stats.norm.sf(np.abs(fitter.params_ / fitter.standard_errors_))
    method = "Cox, Efron" + (", robust by patient" if patients < n else "")
    said = f"penalty {penalty:g}: shrunken, its interval is no test" if penalty else None
    return [
        Estimate(
            f"hazard_ratio:{name}",
            float(np.exp(b)),
            float(low),
            float(high),
            level,
            method,
            n,
            patients,
            note=said or p_words(float(p)),
        )
        for (name, b), (low, high), p in zip(fitter.params_.items(), limits, ps)
    ]


def _proportional(lifelines: Any, fitter: Any, data: pd.DataFrame, penalty: float) -> pd.DataFrame:
    columns = ["chi_square", "p", "p_holm"]
    if penalty:
        return pd.DataFrame(columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = lifelines.statistics.proportional_hazard_test(fitter, data, time_transform="rank")
    values = np.atleast_1d(found.test_statistic), np.atleast_1d(found.p_value)
    order = list(found.name) if isinstance(found.name, list) else [found.name]
    table = pd.DataFrame({"chi_square": values[0], "p": values[1]}, index=order)
    return table.assign(p_holm=holm(table["p"].tolist())).reindex(fitter.params_.index).rename_axis(None)


def _why(x: pd.DataFrame, event: np.ndarray) -> str:
    """What most likely stops a Cox model, by name."""
    reasons = []
    dead = x[event == 1]
    still = [str(c) for c in x if dead[c].nunique() < 2]
    if still:
        reasons.append(
            f"{', '.join(still)} never varies among the {len(dead)} cases with the event (separation)"
        )
    if x.shape[1] > 1 and np.linalg.matrix_rank(x - x.mean()) < x.shape[1]:
        r = np.triu(np.abs(np.corrcoef(x.to_numpy().T)), 1)
        i, j = np.unravel_index(int(r.argmax()), r.shape)
        reasons.append(f"columns depend on each other, as {x.columns[i]} and {x.columns[j]} may")
    if len(dead) < EVENTS_PER_COEFFICIENT * x.shape[1]:
        reasons.append(f"{len(dead)} events for {x.shape[1]} coefficients")
    said = "; ".join(reasons) or "a covariate may tell survivors from the dead without exception"
    return f"the Cox model did not converge: {said}. Drop or merge covariates, or give a penalty"


def _doubts(x: pd.DataFrame, event: np.ndarray, penalty: float) -> list[str]:
    events = int(event.sum())
    if penalty or events >= EVENTS_PER_COEFFICIENT * x.shape[1]:
        return []
    return [f"{events} events for {x.shape[1]} coefficients, fewer than {EVENTS_PER_COEFFICIENT} each: "
            "hazard ratios are unstable"]  # fmt: skip


def likelihood_ratio(full: CoxFit, nested: CoxFit) -> LikelihoodRatio:
    """Test what `full` has beyond `nested`, fitted to the same cases without a penalty."""
    if (full.n, full.events) != (nested.n, nested.events):
        raise InputMismatch(f"the models saw {full.n} and {nested.n} cases. Fit both to the same ones")
    if full.df <= nested.df or not set(nested.coefficients.index) <= set(full.coefficients.index):
        raise InputMismatch("the first model must hold every covariate of the second, and more")
    gain = max(0.0, 2 * (full.log_likelihood - nested.log_likelihood))
    df = full.df - nested.df
    return LikelihoodRatio(gain, df, float(stats.chi2.sf(gain, df)), full.n, full.events)


@dataclass(frozen=True)
class AddedValue:
    """What a model's score adds over a clinical one, both out of sample.

    test: nested Cox models, clinical against clinical + model. hazard_ratio: of one SD of the model's score
    beside the clinical one. delta: C of the two together minus C of the clinical one. alone: C of the model
    minus C of the clinical one.
    """

    test: LikelihoodRatio
    hazard_ratio: Estimate
    delta: Comparison
    alone: Comparison

    def __str__(self) -> str:
        return "\n".join([f"added: {self.test}", str(self.hazard_ratio), f"together - clinical: {self.delta}",
                          f"model - clinical: {self.alone}"])  # fmt: skip


def added_value(
    time: Any, event: Any, clinical: Any, model: Any, patient: Any = None, *, together: Any = None,
    n_splits: int = 10, level: float = 0.95, n_boot: int = 2000, seed: int = 0,
) -> AddedValue:  # fmt: skip
    """Does `model` add to `clinical`: two scores (n,), both predicted for cases that neither was fitted on.

    together: (n,) an out-of-sample score of both, where there is one; else the two are weighed by a Cox model
    of their standardised values, cross-fitted by patient in `n_splits` folds, so that no case helps to weigh
    itself. Differences of C by bootstrap over patients; a score that is noise lowers C a little, since a
    weight is estimated for it. Where patients own several rows the likelihood ratio takes these as
    independent, and says so. Raises as `cox` and `compare_c`.
    """
    data = followed(time, event, patient, what="an added value")
    scores = {}
    for name, values in (("clinical", clinical), ("model", model)):
        column = columns_of(values, data.n, name)
        if column.shape[1] > 1:
            raise InputMismatch(f"{name} has {column.shape[1]} repeats. Give one score a case")
        if np.ptp(column) == 0:
            raise NotEnoughData(f"the {name} score is constant: nothing can be added to it, or by it")
        scores[name] = (column[:, 0] - column.mean()) / column.std()
    table = pd.DataFrame(scores).assign(time=data.time, event=data.event, patient=data.codes)
    fits = [cox(table, names, time="time", event="event", patient="patient", level=level)
            for names in (["clinical", "model"], ["clinical"])]  # fmt: skip
    test = likelihood_ratio(*fits)
    if data.g < data.n:
        test = replace(test, note="rows of one patient taken as independent")
    own = next(e for e in fits[0].estimates if e.name.endswith(":model"))
    if together is None:
        together = _weighed(table, n_splits, seed)
    ways = [compare_c(data.time, data.event, a, scores["clinical"], data.codes, level=level, n_boot=n_boot,
                      rng=np.random.default_rng(seed)) for a in (together, scores["model"])]  # fmt: skip
    return AddedValue(test, replace(own, name="hazard_ratio:model, per SD"), *ways)


def _weighed(table: pd.DataFrame, n_splits: int, seed: int) -> np.ndarray:
    """(n,) linear predictor of both scores, each case weighed by the others."""
    out = np.full(len(table), math.nan)
    for fold in kfold(table["patient"].to_numpy(), table["event"].to_numpy(), n_splits=n_splits, seed=seed):
        fit = cox(table.iloc[fold.train], ["clinical", "model"], time="time", event="event")
        out[fold.test] = fit.risk(table.iloc[fold.test])
    return out
