"""What equal sensitivity, or an equal false positive rate, in every group would cost: an analysis only.

A threshold for each group is chosen on one split of the table and judged on another. It is nothing to deploy
as it stands: deciding by a group's name is a choice of policy, and may be unlawful.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd

from radfoundry.errors import InputError, NotEnoughData, TableError
from radfoundry.evaluate.parts import Part, make_part
from radfoundry.evaluate.subgroups import groups, is_unknown
from radfoundry.evaluate.table import part_estimates
from radfoundry.predictions import is_survival, validate
from radfoundry.types import Estimate

Equal = Literal["sensitivity", "fpr"]
JUDGED = ("sensitivity", "specificity", "ppv")
ANALYSIS = "an analysis, nothing to deploy: the threshold depends on the group"


@dataclass(frozen=True)
class GroupThreshold:
    """One group under the common rule and under a threshold of its own.

    goal: the sensitivity or false positive rate that all groups shall have, as on the rows of `chosen_on`.
    n_chosen: their patients of the class that decides. common, own: estimates on the rows of `judged_on`.
    """

    model: str
    target: str
    covariate: str
    group: str
    equal: str
    goal: float
    threshold: float
    chosen_on: str
    judged_on: str
    n_chosen: int
    common: tuple[Estimate, ...]
    own: tuple[Estimate, ...]
    note: str = ANALYSIS

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null."""
        record = {k: v for k, v in asdict(self).items() if k not in ("common", "own")}
        record["threshold"] = self.threshold if math.isfinite(self.threshold) else None
        return {**record, **{k: [e.as_dict() for e in getattr(self, k)] for k in ("common", "own")}}


def group_thresholds(
    df: pd.DataFrame,
    covariate: str,
    *,
    chosen_on: str,
    judged_on: str,
    equal: Equal = "sensitivity",
    at: float | None = None,
    threshold: float | None = None,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    min_class: int = 10,
) -> list[GroupThreshold]:
    """A threshold for each group with the same sensitivity, or the same false positive rate, in all.

    chosen_on, judged_on: names in the column `split`. at: the rate to reach; default that of the common rule
    (decision, threshold, argument or 0.5) over all rows of `chosen_on`. A group's threshold is the highest
    that reaches a sensitivity, or the lowest that keeps a false positive rate. Scores need one repeat a case.
    Raises InputError when both splits are the same (a threshold is never judged on the rows it was chosen
    on), TableError without such splits, NotEnoughData when no group has `min_class` patients of the class.
    """
    if chosen_on == judged_on:
        raise InputError(f"thresholds chosen on {chosen_on!r} cannot be judged there. Name another split")
    if at is not None and not 0 < at < 1:
        raise InputError(f"the {equal} to reach must lie between 0 and 1, not {at}")
    table = validate(df)
    for name in (chosen_on, judged_on):
        check_split(table, name)
    table = table[~is_survival(table)]
    out: list[GroupThreshold] = []
    for _, rows in table.groupby(["model", "target"], sort=False):
        out += _one(
            rows, covariate, chosen_on, judged_on, equal, at, threshold, level, n_boot, seed, min_class
        )
    if not out:
        raise NotEnoughData(f"no group of {covariate!r} has {min_class} patients of the class that decides")
    return out


def check_split(table: pd.DataFrame, name: str) -> None:
    """TableError where no row with a label (a time to an event has none) is of a split."""
    labelled = table[~is_survival(table)]
    if labelled.empty:
        raise TableError(
            "every row predicts a time to an event: thresholds of groups need a target of two classes. "
            "Groups of low and high risk: --cutoff, cutoff= in Python"
        )
    known = sorted(map(str, labelled["split"].dropna().unique())) if "split" in labelled else []
    if name not in known:
        has = f"it has {', '.join(known)}" if known else "the table has no such column"
        raise TableError(f"no rows with {name!r} in column 'split': {has}. Mark the rows to choose on")


def _one(
    rows: pd.DataFrame, covariate: str, chosen_on: str, judged_on: str, equal: Equal, at: float | None,
    threshold: float | None, level: float, n_boot: int, seed: int, min_class: int,
) -> list[GroupThreshold]:  # fmt: skip
    masks, label = groups(rows, covariate), 1 if equal == "sensitivity" else 0
    whole = {s: _part(rows[rows["split"].astype(str) == s], threshold) for s in (chosen_on, judged_on)}
    goal = _common_rate(whole[chosen_on], label) if at is None else at
    out = []
    for name, mask in masks.items():
        held = rows[mask]
        fit, test = (held[held["split"].astype(str) == s] for s in (chosen_on, judged_on))
        decides = fit[pd.to_numeric(fit["y_true"]) == label]
        patients = decides["patient_id"].nunique()
        fewest = min(patients, test["patient_id"].nunique())
        if is_unknown(rows, covariate, name) or fewest < min_class:
            continue
        cut = _threshold(decides["score"].to_numpy(float), goal, equal)
        judge = partial(part_estimates, level=level, n_boot=n_boot, seed=seed, only=JUDGED)
        common = whole[judged_on]
        judged = make_part(test, common.model, common.target, name, threshold)
        own = make_part(_decided(test, cut), common.model, common.target, name, None)
        found = GroupThreshold(
            common.model, common.target, covariate, name, equal, goal, cut, chosen_on, judged_on, patients,
            tuple(judge(judged)), tuple(judge(own)),
        )  # fmt: skip
        out.append(found)
    return out


def _part(rows: pd.DataFrame, threshold: float | None) -> Part:
    part = make_part(rows, str(rows["model"].iloc[0]), str(rows["target"].iloc[0]), None, threshold)
    if not part.binary or len(part.repeats) > 1:
        raise InputError(f"{part.target}: thresholds of groups need two classes and one score a case")
    if part.repeats[0].decision is None:
        raise InputError(f"{part.target}: {part.rule}. Give a threshold to start from")
    return part


def _common_rate(part: Part, label: int) -> float:
    (repeat,) = part.repeats
    assert repeat.decision is not None
    return float(repeat.decision[repeat.y == label].mean()) if (repeat.y == label).any() else math.nan


def _threshold(scores: np.ndarray, goal: float, equal: Equal) -> float:
    """The rule is `score >= threshold`; scores of the class that decides.

    >>> _threshold(np.array([0.1, 0.2, 0.3, 0.4]), 0.5, "sensitivity")
    0.3
    >>> _threshold(np.array([0.1, 0.2, 0.3, 0.4]), 0.25, "fpr")
    0.4
    """
    cuts = np.unique(scores)
    reached = (scores >= cuts[:, None]).mean(axis=1)
    if equal == "sensitivity":
        return float(cuts[np.flatnonzero(reached >= goal - 1e-12).max()])
    allowed = cuts[reached <= goal + 1e-12]
    return float(allowed.min()) if len(allowed) else float(np.nextafter(cuts[-1], math.inf))


def _decided(rows: pd.DataFrame, cut: float) -> pd.DataFrame:
    return rows.assign(decision=(rows["score"].to_numpy(float) >= cut).astype(int))


def table_of(found: Sequence[GroupThreshold]) -> pd.DataFrame:
    """One row a group and rule: group, rule, threshold, and each metric with its limits."""
    rows = []
    for one in found:
        for rule, estimates in (("common", one.common), ("own", one.own)):
            row: dict[str, object] = {
                "model": one.model,
                "target": one.target,
                "group": one.group,
                "rule": rule,
            }
            row["threshold"] = one.threshold if rule == "own" else math.nan
            for e in estimates:
                row |= {e.name: e.value, f"{e.name}_low": e.low, f"{e.name}_high": e.high}
            rows.append({**row, "n": estimates[0].n, "n_patients": estimates[0].n_clusters})
    return pd.DataFrame(rows)
