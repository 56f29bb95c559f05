"""The risk-adjusted CUSUM: a chart that moves with every case and knows how risky each was.

Steiner, Cook, Farewell and Treasure, Biostatistics 2000; 1: 441-452. For a rate that differs by finding, view
or reader in known ways, where weekly counts would wait for the end of the week.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.monitor.chart import Chart
from radfoundry.monitor.charts import last_zero
from radfoundry.monitor.run_length import CaseWalk, at_limit, calibrate, cumulative

PATHS = 2_000


def scores(risk: np.ndarray, odds_ratio: float) -> np.ndarray:
    """What a hit (row 0) and none (row 1) add: log-likelihood ratios of odds `odds_ratio` times to one.

    risk: probability of a hit in control, (n,). Returns (2, n).

    >>> scores(np.array([0.5]), 2.0).round(4).ravel().tolist()
    [0.2877, -0.4055]
    """
    log = np.log1p((odds_ratio - 1) * risk)
    return np.stack([math.log(odds_ratio) - log, -log])


def risk_adjusted_cusum(
    when: Any,
    hit: Any,
    risk: Any,
    *,
    arl0: float,
    rng: np.random.Generator,
    odds_ratio: float = 2.0,
    limit: float | None = None,
    paths: int = PATHS,
    name: str = "",
) -> Chart:
    """C_t = max(0, C_{t-1} + W_t) over cases in order of time, W the score of each; alarm above h.

    when: times, (n,). hit: 0 or 1, (n,). risk: each case's probability of a hit in control, (n,), from a
    model fitted on other cases. odds_ratio: the change to be found; below 1, an improvement. arl0: wanted
    mean cases to a false alarm; h is found by simulating cases with these risks. limit: h itself, whose ARL0
    is then simulated.
    Raises InputError for risks outside (0, 1) or lengths that differ, NotEnoughData without cases.
    """
    if not odds_ratio > 0 or odds_ratio == 1:
        raise ValueError(f"odds_ratio must be above 0 and not 1, not {odds_ratio}")
    times = np.asarray(when).astype("datetime64[s]")
    hit, risk = np.asarray(hit, float), np.asarray(risk, float)
    if not len(times) == len(hit) == len(risk):
        raise InputError(f"when, hit and risk differ in length: {len(times)}, {len(hit)}, {len(risk)}")
    if not len(hit):
        raise NotEnoughData("no case to chart")
    wrong = np.flatnonzero(~((risk > 0) & (risk < 1) & np.isin(hit, (0, 1)) & ~np.isnat(times)))
    if len(wrong):
        raise InputError(f"case {wrong[0]}: risk must lie between 0 and 1, hit be 0 or 1, and when a time")
    order = np.argsort(times, kind="stable")
    times, hit, risk = times[order], hit[order], risk[order]
    gain = scores(risk, odds_ratio)
    walk = CaseWalk(risk, gain)
    if limit is None:
        found = calibrate(walk, arl0, 0.8 * math.log(arl0), rng, paths)
    else:
        found = at_limit(walk, limit, arl0, rng, paths)
    path = cumulative(np.where(hit == 1, gain[0], gain[1])[:, None], 0.0, np.zeros(1))[:, 0]
    alarm = path > found.value
    none = np.full(len(path), math.nan)
    return Chart(
        kind="risk-adjusted cusum", name=name, start=times, n=np.ones(len(path), int), count=hit.astype(int),
        value=path, centre=np.zeros(len(path)), low=none, high=np.full(len(path), found.value), alarm=alarm,
        baseline=np.zeros(len(path), bool), lower=none, p_value=none,
        since=np.where(alarm, last_zero(path, times), np.datetime64("NaT")), rate=float(risk.mean()),
        limit=found.value, false_alarm=found.false_alarm(len(path)), arl0=found.arl0, arl0_se=found.se,
        unit="cases", side="up", tuning=odds_ratio,
        how=f"log-likelihood ratio for odds {odds_ratio:g} times; h = {found.value:.3f}; "
            f"{found.said('cases')}",
    )  # fmt: skip
