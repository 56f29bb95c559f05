"""How well a risk score ranks times to an event: C-indices, their paired difference, AUC at a time.

Scores are out of sample, higher is worse; (n,) for one score a case or (n, repeats) for repeats of
cross-validation, over which the mean is taken. Patients are resampled, not rows. Sources: Harrell 1982 with
infinitesimal jackknife; Uno et al., Stat Med 2011;30:1105; Uno et al., JASA 2007;102:527 and Hung and Chiang
2010 (cumulative/dynamic AUC, weights of inverse probability of censoring, IPCW).

An event at t is weighted by 1 / G(t-), the chance to be uncensored just before t; who was followed beyond a
horizon h by 1 / G(h). scikit-survival takes G(t) for events as well: the same where nobody is censored at the
time of an event, and too large a weight where times are rounded to months.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from radfoundry.errors import InputMismatch, NotEnoughData
from radfoundry.evaluate.compare import Comparison, from_draws
from radfoundry.evaluate.intervals import _auc_limits, estimate_from_draws, z_of
from radfoundry.evaluate.resample import codes_of, draw_blocks
from radfoundry.evaluate.survival.curves import check_times, need_events
from radfoundry.evaluate.survival.ranks import Censoring, ComparablePairs, Ordered, divide
from radfoundry.types import Estimate

Kind = Literal["harrell", "uno"]


@dataclass(frozen=True)
class Followed:
    """Checked times (n,) and events (n,), with the patient number of each row."""

    time: np.ndarray
    event: np.ndarray
    codes: np.ndarray
    g: int

    @property
    def n(self) -> int:
        return len(self.time)


def followed(time: Any, event: Any, patient: Any = None, *, what: str = "a C-index") -> Followed:
    """Times, events and patients, checked; NotEnoughData without an event."""
    time, event = check_times(time, event)
    need_events(event, what)
    codes, g = codes_of(None if patient is None else np.asarray(patient), len(time))
    return Followed(time, event, codes, g)


def columns_of(score: Any, n: int, what: str = "score") -> np.ndarray:
    """(n, repeats) finite numbers; InputMismatch for another length or a missing one."""
    values = np.asarray(score, float)
    if values.ndim not in (1, 2) or len(values) != n:
        raise InputMismatch(f"{what} has shape {values.shape} for {n} cases. Give one a case, in their order")
    if not np.isfinite(values).all():
        raise InputMismatch(f"{what} {int(np.argwhere(~np.isfinite(values))[0][0])} is missing or not finite")
    return values.reshape(n, -1)


def harrell_c(time: Any, event: Any, score: Any, patient: Any = None, *, level: float = 0.95) -> Estimate:
    """Harrell's C, interval by the infinitesimal jackknife summed by patient.

    It counts pairs whose order is known, so its value depends on who was censored; Uno's does not. A constant
    score has 0.5 and no interval. Raises InputMismatch, or NotEnoughData without an event.

    >>> print(harrell_c([1.0, 2, 3, 4, 5, 6], [1, 1, 0, 1, 0, 1], [6.0, 4, 5, 3, 1, 2]))
    c_harrell 0.909 (95% CI 0.367 to 0.994; infinitesimal jackknife, logit scale; n = 6)
    """
    data = followed(time, event, patient)
    found = _influences(data, columns_of(score, data.n))
    return replace(_by_influence(data, *found, level, score), name="c_harrell")


def _influences(data: Followed, score: np.ndarray) -> tuple[float, np.ndarray]:
    """(C, (g,) influence of each patient), means over repeats."""
    each = [ComparablePairs(data.time, data.event, s).influence() for s in score.T]
    value, rows = float(np.mean([c for c, _ in each])), np.mean([inf for _, inf in each], axis=0)
    if math.isnan(value):
        raise NotEnoughData("no two cases can be compared: nobody was followed beyond the first event")
    return value, np.bincount(data.codes, rows, data.g)


def _by_influence(data: Followed, value: float, influence: np.ndarray, level: float, score: Any) -> Estimate:
    base = Estimate("c", value, level=level, method="infinitesimal jackknife", n=data.n, n_clusters=data.g)
    if np.ptp(np.asarray(score, float)) == 0:
        return replace(base, note="the score is constant: no interval")
    if data.g < 3:
        return replace(base, note="no interval: fewer than three patients")
    se = math.sqrt(float((influence**2).sum()) * data.g / (data.g - 1))
    if se < 1e-12:
        return replace(base, note="no interval: the ranking is perfect, or perfectly wrong")
    low, high, scale = _auc_limits(value, se, level, "auto")
    return replace(base, low=low, high=high, method=f"infinitesimal jackknife{scale}")


def uno_c(
    time: Any, event: Any, score: Any, patient: Any = None, *, tau: float | None = None, level: float = 0.95,
    n_boot: int = 2000, rng: np.random.Generator,
) -> Estimate:  # fmt: skip
    """Uno's C: pairs weighted by the inverse squared chance to be uncensored, events before `tau` alone.

    tau: default just beyond the last event. Weights are 1 / G(t-)^2. Censoring is taken as independent of the
    score, and is estimated anew in every draw of patients. Raises as `harrell_c`.
    """
    data = followed(time, event, patient)
    columns = columns_of(score, data.n)
    tau = last_weighted(data) if tau is None else float(tau)
    value, draws = _drawn(data, columns, tau, n_boot, rng)
    if math.isnan(value):
        raise NotEnoughData(f"no event before {tau:g}, or nobody followed beyond one: no C-index")
    found = estimate_from_draws("c_uno", value, draws, level, data.n, data.g)
    words = f"IPCW, events before {tau:g}; {found.method}"
    constant = "the score is constant: no interval" if np.ptp(columns) == 0 else found.note
    return replace(found, method=words, note=constant)


def last_weighted(data: Followed) -> float:
    """Just beyond the last event: whoever has one had a chance above zero to be uncensored until then."""
    return float(np.nextafter(data.time[data.event == 1].max(), np.inf))


def _drawn(
    data: Followed, score: np.ndarray, tau: float | None, n_boot: int, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """(value, (n_boot,) draws) of Uno's C, or Harrell's without `tau`; means over repeats."""
    pairs = [ComparablePairs(data.time, data.event, s) for s in score.T]
    censoring = Censoring(data.time, data.event)

    def value(weight: np.ndarray) -> np.ndarray:
        if tau is None:
            return np.mean([p.concordance(weight) for p in pairs], axis=0)
        until = censoring.until(censoring.kept(weight))
        found = []
        for p in pairs:
            chance = until[p.cases]
            early = (data.time[p.cases] < tau)[:, None] & (chance > 0)
            by_case = np.where(early, 1 / np.where(chance > 0, chance, 1.0) ** 2, 0.0)
            found.append(p.concordance(weight, by_case))
        return np.mean(found, axis=0)

    return float(value(np.ones((data.n, 1)))[0]), in_draws(value, data, n_boot, rng)


def in_draws(function: Any, data: Followed, n_boot: int, rng: np.random.Generator) -> np.ndarray:
    """`function` of row counts (n, draws), for all draws of patients; the draws are its last axis."""
    blocks = draw_blocks(data.g, n_boot, rng, cells=max(4_000_000 * data.g // max(data.n, 1), data.g))
    return np.concatenate([function(counts.astype(np.float32)[data.codes]) for counts in blocks], axis=-1)


def compare_c(
    time: Any, event: Any, a: Any, b: Any, patient: Any = None, *, kind: Kind = "harrell",
    tau: float | None = None, level: float = 0.95, n_boot: int = 2000, rng: np.random.Generator | None = None,
) -> Comparison:  # fmt: skip
    """C of score `a` minus C of score `b` on the same patients.

    harrell: infinitesimal jackknife of the difference, or with `rng` a bootstrap. uno: a bootstrap, rng is
    needed. In a bootstrap both scores see the same draws of patients. Raises InputMismatch where the scores
    are not of the same cases.
    """
    data = followed(time, event, patient)
    first, second = columns_of(a, data.n, "score a"), columns_of(b, data.n, "score b")
    if kind == "uno" and rng is None:
        raise ValueError("Uno's C is compared by resampling: pass rng")
    if rng is not None:
        tau = (last_weighted(data) if tau is None else float(tau)) if kind == "uno" else None
        seed = int(rng.integers(2**63))
        (va, da), (vb, db) = (
            _drawn(data, s, tau, n_boot, np.random.default_rng(seed)) for s in (first, second)
        )
        found = from_draws(f"c_{kind}", va, vb, da - db, level, data.n, data.g)
        words = f"IPCW, events before {tau:g}; " if tau is not None else ""
        return replace(found, method=words + found.method)
    (va, ia), (vb, ib) = _influences(data, first), _influences(data, second)
    se = math.sqrt(float(((ia - ib) ** 2).sum()) * data.g / max(data.g - 1, 1))
    base = Comparison("c_harrell", va, vb, va - vb, level=level, method="paired infinitesimal jackknife",
                      n=data.n, n_clusters=data.g)  # fmt: skip
    if se < 1e-12:
        return replace(base, note="the two rankings agree in every pair, or nothing varies")
    z, half = (va - vb) / se, z_of(level) * se
    return replace(
        base, low=va - vb - half, high=va - vb + half, statistic=z, p=float(2 * stats.norm.sf(abs(z)))
    )


def auc_at(
    time: Any, event: Any, score: Any, horizons: Sequence[float], patient: Any = None, *, level: float = 0.95,
    n_boot: int = 2000, rng: np.random.Generator,
) -> list[Estimate]:  # fmt: skip
    """Cumulative/dynamic AUC at each horizon: had the event by then, against followed beyond it.

    Cases are weighted by the inverse chance to be uncensored at their time. NaN with a note where a horizon
    lies beyond the follow-up, or has no event before it.
    """
    data = followed(time, event, patient, what="an AUC at a time")
    columns = columns_of(score, data.n)
    notes = {h: unusable(data, h) for h in horizons}
    usable = [h for h in horizons if notes[h] is None]
    out = {h: Estimate(f"auc@{h:g}", math.nan, level=level, n=data.n, n_clusters=data.g, note=notes[h])
           for h in horizons}  # fmt: skip
    if usable:
        areas = _areas(data, columns, usable)
        values, draws = areas(np.ones((data.n, 1)))[:, 0], in_draws(areas, data, n_boot, rng)
        for h, value, drawn in zip(usable, values, draws):
            cases = int(((data.time <= h) & (data.event == 1)).sum())
            found = estimate_from_draws(f"auc@{h:g}", float(value), drawn, level, data.n, data.g)
            words = f"{cases} events by then, {int((data.time > h).sum())} followed beyond"
            out[h] = replace(found, method=f"cumulative/dynamic, IPCW; {found.method}",
                             note="; ".join(filter(None, (words, found.note))))  # fmt: skip
    return [out[h] for h in horizons]


def auc_curve(
    time: Any, event: Any, score: Any, times: Any = None, patient: Any = None, *, level: float = 0.95,
    n_boot: int = 500, rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """AUC over time, one row a time: time, auc, low, high, events, followed.

    times: default 30 between the 10th and 90th percentile of the event times; those that cannot be judged are
    left out.
    """
    data = followed(time, event, patient, what="an AUC over time")
    if times is None:
        early, late = np.quantile(data.time[data.event == 1], [0.1, 0.9])
        times = np.linspace(float(early), float(late), 30)
    found = auc_at(time, event, score, list(np.unique(times)), patient, level=level, n_boot=n_boot, rng=rng)
    rows = [(h, e.value, e.low, e.high, int(((data.time <= h) & (data.event == 1)).sum()),
             int((data.time > h).sum())) for h, e in zip(np.unique(times), found)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["time", "auc", "low", "high", "events", "followed"])
    return table[table["auc"].notna()].reset_index(drop=True)


def unusable(data: Followed, horizon: float) -> str | None:
    """Why nothing can be judged at a horizon, or None."""
    if not horizon > 0 or not math.isfinite(horizon):
        return "not defined: a horizon is a time above zero"
    if not (data.time > horizon).any():
        return f"not defined: nobody was followed beyond it (longest {data.time.max():g})"
    if not ((data.time <= horizon) & (data.event == 1)).any():
        first = data.time[data.event == 1].min()
        return f"not defined: no event before it (the first is at {first:g})"
    return None


def case_weights(censoring: Censoring, kept: np.ndarray, data: Followed, horizon: float) -> np.ndarray:
    """(n, draws) 1 / G(t-) of those with the event at t by the horizon; else 0. kept: of `Censoring`."""
    chance = censoring.until(kept)
    early = ((data.time <= horizon) & (data.event == 1))[:, None] & (chance > 0)
    return np.where(early, 1 / np.where(chance > 0, chance, 1.0), 0.0)


def _areas(data: Followed, columns: np.ndarray, horizons: Sequence[float]) -> Any:
    """A function of row counts (n, draws): (horizons, draws) AUCs, means over repeats."""
    ordered = [Ordered(s) for s in columns.T]
    censoring = Censoring(data.time, data.event)

    def areas(weight: np.ndarray) -> np.ndarray:
        kept = censoring.kept(weight)
        found = []
        for h in horizons:
            rows = np.flatnonzero((data.time <= h) & (data.event == 1))
            own = (weight * case_weights(censoring, kept, data, h))[rows]
            beyond = weight * (data.time > h)[:, None]
            won = [(own * o.below(beyond, rows)).sum(axis=0) for o in ordered]
            found.append(divide(np.mean(won, axis=0), own.sum(axis=0) * beyond.sum(axis=0)))
        return np.stack(found)

    return areas
