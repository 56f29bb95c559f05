"""Are predicted survival probabilities true: Brier scores and calibration at a horizon.

survival: (n,) or (n, repeats) predicted probability to be free of the event beyond the horizon, out of
sample. Censored cases enter by weights of inverse probability of censoring (IPCW): 1 / G(t-) of an event at
t, 1 / G(h) of those followed beyond the horizon h, so that the mean weight is 1. Sources: Graf et al., Stat
Med 1999;18:2529 (Brier); Austin, Harrell and van Klaveren, Stat Med 2020;39:2714 (calibration).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import integrate

from radfoundry.errors import InputMismatch
from radfoundry.evaluate.intervals import estimate_from_draws, z_of
from radfoundry.evaluate.survival.accuracy import (
    Followed,
    case_weights,
    columns_of,
    followed,
    in_draws,
    unusable,
)
from radfoundry.evaluate.survival.curves import kaplan_meier, survival_at
from radfoundry.evaluate.survival.ranks import Censoring, divide
from radfoundry.types import Estimate


def check_survival(survival: Any, n: int, horizon: float) -> np.ndarray:
    """(n, repeats) probabilities, or InputMismatch."""
    s = columns_of(survival, n, f"survival at {horizon:g}")
    if ((s < 0) | (s > 1)).any():
        row = int(np.argwhere((s < 0) | (s > 1))[0][0])
        raise InputMismatch(
            f"survival at {horizon:g}, case {row}: {s[row].tolist()} is no probability. Give the chance to "
            "be free of the event beyond that time, from 0 to 1"
        )
    return s


def brier(
    time: Any, event: Any, survival: Mapping[float, Any], patient: Any = None, *, level: float = 0.95,
    n_boot: int = 2000, rng: np.random.Generator,
) -> list[Estimate]:  # fmt: skip
    """Brier score at each horizon of `survival`, and integrated over them where there are two or more.

    Beside each stands `_trivial`: the Kaplan-Meier curve of the judged cases themselves, the same for all,
    and `brier_skill`: the share of its score that the model takes away, 0 where it tells nothing. The
    integral is by trapezoids over the horizons, divided by their range. NaN with a note as in `auc_at`.
    """
    data = followed(time, event, patient, what="a Brier score")
    horizons = sorted(float(h) for h in survival)
    given = {float(h): check_survival(s, data.n, float(h)) for h, s in survival.items()}
    notes = {h: unusable(data, h) for h in horizons}
    usable = [h for h in horizons if notes[h] is None]
    out: list[Estimate] = [
        Estimate(f"brier@{h:g}", math.nan, level=level, n=data.n, n_clusters=data.g, note=notes[h])
        for h in horizons if notes[h] is not None
    ]  # fmt: skip
    if usable:
        scores = _scores(data, given, usable)
        values = scores(np.ones((data.n, 1)))[:, :, 0]
        draws = in_draws(scores, data, n_boot, rng)
        for i, h in enumerate(usable):
            out += _beside(f"brier@{h:g}", values[:, i], draws[:, i], data, level)
        if len(usable) > 1:
            mean = [
                integrate.trapezoid(x, usable, axis=1) / (usable[-1] - usable[0]) for x in (values, draws)
            ]
            out += _beside(
                "brier_integrated", mean[0], mean[1], data, level, f"{usable[0]:g} to {usable[-1]:g}"
            )
    return out


def _scores(data: Followed, given: Mapping[float, np.ndarray], horizons: list[float]) -> Any:
    """A function of row counts (n, draws): (2, horizons, draws), of the model and of Kaplan-Meier."""
    censoring = Censoring(data.time, data.event)

    def scores(weight: np.ndarray) -> np.ndarray:
        kept, alive = censoring.kept(weight), censoring.survival(weight)
        total = weight.sum(axis=0)
        found = []
        for h in horizons:
            dead = weight * case_weights(censoring, kept, data, h)
            beyond = weight * (data.time > h)[:, None] * divide(1.0, censoring.at(kept, h))
            model = (given[h] ** 2).mean(axis=1) @ dead + ((1 - given[h]) ** 2).mean(axis=1) @ beyond
            s = censoring.at(alive, h)
            found.append(
                [model / total, (s**2 * dead.sum(axis=0) + (1 - s) ** 2 * beyond.sum(axis=0)) / total]
            )
        return np.array(found).transpose(1, 0, 2)

    return scores


def _beside(
    name: str, value: np.ndarray, draws: np.ndarray, data: Followed, level: float, over: str = ""
) -> list[Estimate]:
    method = "Graf, IPCW" + (f", integrated over {over}" if over else "")
    found = estimate_from_draws(name, float(value[0]), draws[0], level, data.n, data.g)
    trivial = Estimate(f"{name}_trivial", float(value[1]), level=level, method="Kaplan-Meier of these cases",
                       n=data.n, n_clusters=data.g)  # fmt: skip
    skill = estimate_from_draws(
        name.replace("brier", "brier_skill"), 1 - float(divide(value[0], value[1])),
        1 - divide(draws[0], draws[1]), level, data.n, data.g,
    )  # fmt: skip
    return [replace(e, method=f"{method}; {e.method}") for e in (found,)] + [
        trivial, replace(skill, method=f"1 - Brier / Kaplan-Meier's; {skill.method}"),
    ]  # fmt: skip


def calibration_at(
    time: Any, event: Any, survival: Any, horizon: float, patient: Any = None, *, groups: int = 5,
    level: float = 0.95,
) -> tuple[list[Estimate], pd.DataFrame]:  # fmt: skip
    """Observed against predicted risk at a horizon: (estimates, one row a group of predicted risk).

    Groups are quantiles of the predicted risk; `observed` is one minus Kaplan-Meier in the group. Columns:
    group, n, predicted, observed, low, high. Estimates: `observed_expected` (all events by then over those
    predicted), `calibration_intercept` (0 where right on average, on the complementary log-log scale) and
    `calibration_slope` (1 where neither too bold nor too timid), both of an IPCW-weighted regression with a
    variance by patient. Repeats are averaged first.
    """
    data = followed(time, event, patient, what="calibration")
    risk = 1 - check_survival(survival, data.n, horizon).mean(axis=1)
    note = unusable(data, horizon)
    names = ("observed_expected", "calibration_intercept", "calibration_slope")
    if note is not None:
        none = [Estimate(f"{n}@{horizon:g}", math.nan, level=level, n=data.n, n_clusters=data.g, note=note)
                for n in names]  # fmt: skip
        return none, pd.DataFrame(columns=["group", "n", "predicted", "observed", "low", "high"])
    whole = survival_at(kaplan_meier(data.time, data.event, _ids(data), level=level), horizon)
    expected = float(risk.mean())
    value, low, high = [
        (1 - v) / expected if expected > 0 else math.nan for v in (whole.value, whole.high, whole.low)
    ]
    method = "Kaplan-Meier over mean predicted risk"
    ratio = Estimate(f"{names[0]}@{horizon:g}", value, low, high, level, method, data.n, data.g)
    return [ratio, *_recalibration(data, risk, horizon, level)], _by_risk(data, risk, horizon, groups, level)


def _ids(data: Followed) -> np.ndarray | None:
    return None if data.g == data.n else data.codes


def _by_risk(data: Followed, risk: np.ndarray, horizon: float, groups: int, level: float) -> pd.DataFrame:
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, groups + 1)[1:-1]))
    which = np.searchsorted(edges, risk, "right")
    rows: list[tuple[float, ...]] = []
    for group in np.unique(which):
        mine = which == group
        ids = None if data.g == data.n else data.codes[mine]
        alive = survival_at(kaplan_meier(data.time[mine], data.event[mine], ids, level=level), horizon)
        observed = (1 - v for v in (alive.value, alive.high, alive.low))
        rows.append((len(rows) + 1, int(mine.sum()), risk[mine].mean(), *observed))
    return pd.DataFrame(rows, columns=["group", "n", "predicted", "observed", "low", "high"])


def _recalibration(data: Followed, risk: np.ndarray, horizon: float, level: float) -> list[Estimate]:
    """Weighted complementary log-log regression of the event by the horizon on the predicted one."""
    censoring = Censoring(data.time, data.event)
    kept = censoring.plain[:, None]
    weight = case_weights(censoring, kept, data, horizon)[:, 0]
    beyond = data.time > horizon
    weight = np.where(beyond, 1 / censoring.at(kept, horizon)[0], weight)
    p = np.clip(risk, 1e-6, 1 - 1e-6)
    x = np.log(-np.log1p(-p))
    y = (~beyond & (data.event == 1)).astype(float)
    out = []
    for name, design, offset, which in (
        ("calibration_intercept", np.ones((data.n, 1)), x, 0),
        ("calibration_slope", np.column_stack([np.ones(data.n), x]), np.zeros(data.n), 1),
    ):
        base = Estimate(f"{name}@{horizon:g}", math.nan, level=level, n=data.n, n_clusters=data.g,
                        method="cloglog regression, IPCW, variance by patient")  # fmt: skip
        if which == 1 and np.ptp(risk) == 0:
            out.append(replace(base, note="every predicted risk is the same: no slope"))
            continue
        fit = _cloglog(design, y, weight, offset, data)
        if fit is None:
            out.append(replace(base, note="the regression did not converge: too few events, or all alike"))
            continue
        value, se = float(fit[0][which]), float(fit[1][which])
        out.append(replace(base, value=value, low=value - z_of(level) * se, high=value + z_of(level) * se))
    return out


def _cloglog(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, offset: np.ndarray, data: Followed
) -> tuple[np.ndarray, np.ndarray] | None:
    """(coefficients, sandwich standard errors) by Fisher scoring, or None where it does not converge."""
    beta = np.zeros(x.shape[1])
    if x.shape[1] > 1:
        beta[1] = 1.0
    for _ in range(50):
        eta = np.clip(x @ beta + offset, -30, 3.4)
        p = np.clip(-np.expm1(-np.exp(eta)), 1e-12, 1 - 1e-12)
        slope = np.exp(eta - np.exp(eta))  # dp / d eta
        score = x * (weight * (y - p) * slope / (p * (1 - p)))[:, None]
        bread = (x * (weight * slope**2 / (p * (1 - p)))[:, None]).T @ x
        if not np.isfinite(bread).all() or np.linalg.cond(bread) > 1e12:
            return None
        move = np.linalg.solve(bread, score.sum(axis=0))
        beta = beta + np.clip(move, -2, 2)
        if np.abs(move).max() < 1e-9:
            sums = np.stack([np.bincount(data.codes, s, data.g) for s in score.T], axis=1)
            inverse = np.linalg.inv(bread)
            meat = sums.T @ sums * data.g / max(data.g - 1, 1)
            return beta, np.sqrt(np.diag(inverse @ meat @ inverse))
    return None
