"""Do groups of patients fare alike: every metric by group, the gaps between groups, and what n could tell.

Patients are the unit throughout: rows of one patient are drawn, permuted and counted together. A gap comes
with an interval (bootstrap over patients), a p-value (`permutation`), corrections for the number
of gaps looked at, and, where it cannot be told from none, the gap that this n could have found.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

from radfoundry.evaluate.compare import benjamini_hochberg, holm, p_note, p_words
from radfoundry.evaluate.fairness import groups as by_group
from radfoundry.evaluate.fairness import permutation
from radfoundry.evaluate.fairness.groups import Group
from radfoundry.evaluate.fairness.permutation import Cells, Contrasts, Values
from radfoundry.evaluate.parts import Part, parts
from radfoundry.evaluate.resample import percentile
from radfoundry.evaluate.subgroups import groups as subgroups
from radfoundry.evaluate.subgroups import is_unknown
from radfoundry.predictions import validate
from radfoundry.types import Estimate, json_ready

GIVEN_CLASS = ("auroc", "sensitivity", "fpr", "equalised_odds")
OF_ALL = ("selection_rate", "observed_minus_expected")
METRICS = (*GIVEN_CLASS, *OF_ALL)
SPREAD, REST = "highest minus lowest", "against the rest"
POWER = 0.8
MOST_GROUPS = 100
NOT_TOLD = "not distinguishable with this n"


@dataclass(frozen=True, slots=True)
class Gap:
    """A difference between two groups, or between a group and the rest.

    kind: "highest minus lowest" or "against the rest". by_chance: the mean gap of permuted groups, which is
    what the largest of several differences shows when there is none. detectable: the smallest gap that this
    n finds with 80 % power at the corrected level. more_patients: how many more, of the same mix, would
    find a gap as large as the one seen; NaN where it is told already. n, n_clusters: rows and patients of
    all groups compared. groups: how many of them.
    """

    metric: str
    covariate: str
    kind: str
    group_a: str
    group_b: str
    value_a: float = math.nan
    value_b: float = math.nan
    gap: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    se: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    p_bh: float = math.nan
    by_chance: float = math.nan
    detectable: float = math.nan
    more_patients: float = math.nan
    tests: int = 1
    groups: int = 2
    n: int = 0
    n_clusters: int = 0
    method: str = ""
    target: str | None = None
    model: str | None = None
    split: str | None = None
    note: str | None = None

    def __str__(self) -> str:
        who = f"{self.metric} {self.group_a} - {self.group_b}"
        if not math.isfinite(self.gap):
            return f"{who}: {self.note}"
        parts_ = [f"{self.value_a:.3f} - {self.value_b:.3f} = {self.gap:+.3f}"]
        if math.isfinite(self.low) and math.isfinite(self.high):
            parts_.append(f"{self.level:.0%} CI {self.low:+.3f} to {self.high:+.3f}")
        parts_.append(p_words(self.p))
        if math.isfinite(self.p_holm):
            parts_.append(f"Holm {p_words(self.p_holm)} over {self.tests}")
        parts_ += [f"n = {self.n}, {self.n_clusters} patients", *filter(None, [self.verdict()])]
        return f"{who} {'; '.join(parts_)}"

    @property
    def distinguishable(self) -> bool:
        """Whether the corrected p lies below 1 - level."""
        return self.p_holm <= 1 - self.level + 1e-12

    def verdict(self) -> str:
        """What this n can say: nothing where the gap is told, else what it could have told."""
        if not math.isfinite(self.p_holm) or self.distinguishable:
            return self.note or ""
        words = NOT_TOLD
        if math.isfinite(self.detectable):
            words += f": it finds a gap of {self.detectable:.3f} with 80 % power"
        if math.isfinite(self.more_patients):
            more = about(self.more_patients)
            words += f"; a true gap of {self.gap:.3f} would need about {more} more patients"
        return "; ".join(filter(None, [words, self.note]))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null."""
        return {**json_ready(self), "verdict": self.verdict()}

    def estimate(self) -> Estimate:
        """The gap as an Estimate, for metrics.json: its groups in `subgroup`, the p-values in the note."""
        who = f"{self.group_a} minus {self.group_b}"
        return Estimate(
            f"{self.metric}_gap", self.gap, self.low, self.high, self.level, self.method, self.n,
            self.n_clusters, self.target, f"{self.split}, {who}" if self.split else who, self.model,
            note=p_note(self.p, self.p_holm, self.verdict()),
        )  # fmt: skip


@dataclass(frozen=True)
class Fairness:
    """Estimates by group, the gaps between groups, and what was left out and why.

    groups: for each (model, target) the subgroups of each covariate and split, in order, as the estimates
    name them.
    """

    estimates: list[Estimate] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    groups: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict)


def fairness(
    df: pd.DataFrame,
    covariates: Sequence[str],
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
    min_n: int = 20,
    min_class: int = 10,
    threshold: float | None = None,
) -> Fairness:
    """Metrics by group and gaps between groups for every binary model x target x split of a table.

    covariates: as `subgroups.groups` understands them. Gaps in AUC, sensitivity, false positive rate and
    equalised odds (the larger gap of the last two) need `min_class` patients of each class in a group; those
    in selection rate and observed minus expected (mean outcome less mean score) need `min_n` patients. Rows
    without a value are a group of the estimates, and of no gap. The rest of a group is the mean of the other
    groups, weighted as they count; for AUCs pairs are compared within a group only. p: permutation; Holm and
    Benjamini-Hochberg within a model, metric and kind of gap, over targets, splits, covariates and groups.
    A covariate with more than 100 groups is left out with a note: it looks like an identifier.
    Raises TableError when the table is wrong or lacks a covariate.
    """
    table = validate(df)
    found = list(parts(table, threshold))
    for covariate in covariates:  # a wrong name is refused before the work begins
        subgroups(found[0].rows, covariate)

    def judge(numbered: tuple[int, Part]) -> Fairness:
        number, part = numbered
        rng = np.random.default_rng([seed, number])
        return _judge(part, covariates, level, n_boot, n_perm, seed, min_n, min_class, threshold, rng)

    # One thread a core, each on its own target: matrix libraries that start threads of their own lose time.
    with threadpool_limits(1), ThreadPoolExecutor(min(len(found), os.cpu_count() or 1)) as pool:
        each = list(pool.map(judge, enumerate(found)))
    gaps = corrected([g for one in each for g in one.gaps])
    notes = [*dict.fromkeys(n for one in each for n in one.notes), *_resolution(gaps, n_perm)]
    names: dict[tuple[str, str], list[list[str]]] = {}
    for one in each:
        for key, labels in one.groups.items():
            names.setdefault(key, []).extend(labels)
    return Fairness([e for one in each for e in one.estimates], gaps, notes, names)


def _judge(
    part: Part, covariates: Sequence[str], level: float, n_boot: int, n_perm: int, seed: int, min_n: int,
    min_class: int, threshold: float | None, rng: np.random.Generator,
) -> Fairness:  # fmt: skip
    """One part; p-values not yet corrected."""
    if not part.binary:
        return Fairness(notes=[f"{part.target}: gaps need a target of two classes; this one has several"])
    out = Fairness()
    found = {}
    for covariate in dict.fromkeys(covariates):
        many = sum(not is_unknown(part.rows, covariate, name) for name in subgroups(part.rows, covariate))
        if many > MOST_GROUPS:
            out.notes.append(
                f"{covariate}: {many} groups, more than {MOST_GROUPS}: it looks like an identifier, so no "
                "gaps. Merge its values, or ask for quantiles"
            )
        else:
            found[covariate] = by_group.split(part, covariate, threshold)
    whole = [by_group.whole(part)]
    draws = by_group.draws(part, {**found, "": whole}, n_boot, seed)
    out.estimates.extend(by_group.estimates(whole, draws, level, seed, 0, 1))
    for covariate, groups in found.items():
        out.groups.setdefault((part.model, part.target), []).append([str(g.part.label) for g in groups])
        out.estimates.extend(by_group.estimates(groups, draws, level, seed, min_n, min_class))
        out.notes.extend(by_group.notes(part, covariate, groups, min_n, min_class))
        out.gaps.extend(_gaps(part, covariate, groups, draws, level, n_perm, rng, min_n, min_class))
    return out


def _resolution(gaps: list[Gap], n_perm: int) -> Iterator[str]:
    """Says when even the rarest permutation could not become significant."""
    most, alpha = max((g.tests for g in gaps), default=0), 1 - max((g.level for g in gaps), default=0.95)
    if most / (n_perm + 1) > alpha:
        yield (
            f"{n_perm} permutations give no corrected p below {most / (n_perm + 1):.2g} over {most} gaps: "
            f"take at least {math.ceil(most / alpha)}"
        )


def corrected(gaps: Sequence[Gap]) -> list[Gap]:
    """Holm and Benjamini-Hochberg by family (model, metric, kind), and what the n of each gap can tell.

    With m gaps in the family and k groups, each difference is tested at alpha' = alpha / (m k (k - 1) / 2)
    (alpha / m against the rest), which Holm's first step and the choice of a pair come to. The detectable
    gap is (z[1 - alpha'/2] + z[0.8]) SE, with SE^2 = V_a + V_b - 2 C_ab from DeLong's variances clustered by
    patient (for a rate, the linearised variance of the ratio). As V falls with 1/n, N patients find a gap d
    where N = n (detectable / d)^2; more patients = N - n.
    """
    out = list(gaps)
    families: dict[tuple[str | None, str, str], list[int]] = {}
    for i, gap in enumerate(out):
        families.setdefault((gap.model, gap.metric, gap.kind), []).append(i)
    for members in families.values():
        p = [out[i].p for i in members]
        tests = int(np.isfinite(p).sum())
        for i, by_holm, by_bh in zip(members, holm(p), benjamini_hochberg(p), strict=True):
            told = replace(out[i], p_holm=float(by_holm), p_bh=float(by_bh), tests=tests)
            out[i] = _with_power(told)
    return out


def _with_power(gap: Gap) -> Gap:
    if not (math.isfinite(gap.p_holm) and gap.se > 0):
        return gap
    pairs = gap.groups * (gap.groups - 1) // 2 if gap.kind == SPREAD else 1
    pairs *= 2 if gap.metric == "equalised_odds" else 1
    alpha = (1 - gap.level) / (gap.tests * pairs)
    detectable = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(POWER)) * gap.se
    told = replace(gap, detectable=detectable)
    if told.distinguishable or not gap.gap or detectable <= abs(gap.gap):
        return told
    return replace(told, more_patients=math.ceil(gap.n_clusters * ((detectable / gap.gap) ** 2 - 1)))


def _gaps(
    part: Part, covariate: str, groups: list[Group], draws: by_group.Draws, level: float, n_perm: int,
    rng: np.random.Generator, min_n: int, min_class: int,
) -> list[Gap]:  # fmt: skip
    known = [g for g in groups if not g.unknown and g.part.n_patients >= min_n]
    judged = [g for g in known if min(g.patients_of(0), g.patients_of(1)) >= min_class]
    wanted = [m for m in METRICS if m == "auroc" or part.repeats[0].decision is not None]
    wanted = [m for m in wanted if m != OF_ALL[1]] + [OF_ALL[1]] * part.is_probability
    out: list[Gap] = []
    sets = [(GIVEN_CLASS, judged), (OF_ALL, known)]
    if len(judged) == len(known) and any(g.mixed for g in known):
        sets = [(METRICS, known)]  # no strata, the same groups: all metrics share their permutations
    for names, chosen in sets:
        asked = [m for m in names if m in wanted]
        base = Gap("", covariate, SPREAD, "highest", "lowest", level=level, groups=len(chosen),
                   target=part.target, model=part.model, split=part.label)  # fmt: skip
        if len(chosen) < 2:
            why = f"no gap: {len(chosen)} group{'' if len(chosen) == 1 else 's'} with enough patients"
            out += [replace(base, metric=m, note=why) for m in asked]
        elif asked:
            out += _tested(base, chosen, asked, draws, n_perm, rng)
    return out


def _tested(
    base: Gap, groups: list[Group], asked: list[str], draws: by_group.Draws, n_perm: int,
    rng: np.random.Generator,
) -> list[Gap]:  # fmt: skip
    """Every gap of one covariate and one set of groups, with its permutation p."""
    engine = by_group.Engine.of(groups, asked)
    cells = engine.cells
    seen = engine.values(cells.observed(), one=True)
    observed = {name: permutation.contrasts(v, cells.patient) for name, v in seen.items()}
    if "equalised_odds" in asked:
        observed["equalised_odds"] = _larger(observed)
    tally = {name: _Tally(found) for name, found in observed.items()}
    for labels in cells.shuffled(n_perm, rng, by_class="auroc" in asked):
        drawn = {n: permutation.contrasts(v, cells.patient) for n, v in engine.values(labels).items()}
        if "equalised_odds" in asked:
            drawn["equalised_odds"] = _larger(drawn)
        for name, found in drawn.items():
            tally[name].add(found)
    moved = "patients" if len(np.unique(cells.patient)) == len(cells.patient) else "patients' rows of a group"
    within = " within class" if "auroc" in asked and cells.strata.any() else ""
    method = f"studentised permutation of {moved}{within}, {n_perm} draws; patient bootstrap interval"
    base = replace(base, method=method, n=sum(g.n for g in groups), n_clusters=len(np.unique(cells.patient)))
    spreads = {m: _spread(base, m, v, groups, cells, draws, tally[m]) for m, v in seen.items()}
    if "equalised_odds" in asked:
        larger = max((spreads["sensitivity"], spreads["fpr"]), key=lambda g: (g.gap, math.isfinite(g.p)))
        both = tally["equalised_odds"]
        spreads["equalised_odds"] = replace(
            larger, metric="equalised_odds", by_chance=both.by_chance,
            p=both.p_spread if math.isfinite(larger.p) else math.nan,
            note=f"the larger gap, that of {larger.metric}",
        )  # fmt: skip
    out = [spreads[m] for m in asked]
    if len(groups) > 2:
        for m in (name for name in asked if name in seen):
            out += list(_rests(base, m, seen[m], groups, cells, draws, tally[m]))
    return out


def _larger(found: dict[str, Contrasts]) -> Contrasts:
    a, b = found["sensitivity"], found["fpr"]
    return Contrasts(np.maximum(a.spread, b.spread), np.maximum(a.t_spread, b.t_spread), a.t_rest * np.nan)


class _Tally:
    """How often permuted groups differ as much as the real ones; these are counted too, so p is never 0."""

    def __init__(self, observed: Contrasts) -> None:
        self.observed = observed
        self.spread, self.rest, self.draws, self.sum = 1.0, np.ones(len(observed.t_rest)), 0, 0.0
        self.known = 0

    def add(self, drawn: Contrasts) -> None:
        # A permuted group without a class has no value: counted as differing, so that p is never too small.
        nearly = 1 - permutation.NEARLY
        self.spread += float((~(drawn.t_spread < self.observed.t_spread * nearly)).sum())
        self.rest += (~(drawn.t_rest < self.observed.t_rest[:, :1] * nearly)).sum(axis=1)
        known = drawn.spread[np.isfinite(drawn.spread)]
        self.sum += float(known.sum())
        self.known += len(known)
        self.draws += len(drawn.spread)

    @property
    def p_spread(self) -> float:
        return self.spread / (self.draws + 1)

    @property
    def p_rest(self) -> np.ndarray:
        return self.rest / (self.draws + 1)

    @property
    def by_chance(self) -> float:
        return self.sum / self.known if self.known else math.nan


def _spread(
    base: Gap, metric: str, values: Values, groups: list[Group], cells: Cells, draws: by_group.Draws,
    tally: _Tally,
) -> Gap:  # fmt: skip
    value = values.value[:, 0]
    a, b = int(np.argmax(value)), int(np.argmin(value))
    b = b if a != b else (a + 1) % len(value)  # all alike
    covariance = permutation.covariances(values, cells.patient)[..., 0]
    variance = covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]
    drawn = draws.value(groups[a], metric) - draws.value(groups[b], metric)
    names = groups[a].name, groups[b].name
    gap = replace(
        base, metric=metric, group_a=names[0], group_b=names[1], p=tally.p_spread, by_chance=tally.by_chance
    )
    return _with_interval(gap, value[a], value[b], variance, drawn)


def _rests(
    base: Gap, metric: str, values: Values, groups: list[Group], cells: Cells, draws: by_group.Draws,
    tally: _Tally,
) -> Iterator[Gap]:  # fmt: skip
    covariance = permutation.covariances(values, cells.patient)
    drawn = np.stack([draws.value(g, metric) for g in groups])
    weight = np.stack([draws.weight(g, metric) for g in groups])
    for i, group in enumerate(groups):
        difference, variance = permutation.against_rest(values, covariance, i)
        others = np.delete(np.arange(len(groups)), i)
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = np.nansum(weight[others] * drawn[others], axis=0) / weight[others].sum(axis=0)
        own = float(values.value[i, 0])
        gap = replace(
            base, metric=metric, kind=REST, group_a=group.name, group_b="the rest", p=float(tally.p_rest[i])
        )
        yield _with_interval(gap, own, own - float(difference[0]), float(variance[0]), drawn[i] - rest)


def _with_interval(gap: Gap, a: float, b: float, variance: float, drawn: np.ndarray) -> Gap:
    low, high, lost = percentile(drawn, gap.level)
    note = f"{lost} of {len(drawn)} draws were undefined and left out" if lost else gap.note
    if low == high:
        low = high = math.nan
        note = "no interval: every draw of patients gave the same difference"
        if a == b:
            gap, note = replace(gap, p=math.nan), "the groups have the same value, whoever is drawn: no test"
    se = math.sqrt(max(float(variance), 0.0))
    return replace(
        gap, value_a=float(a), value_b=float(b), gap=float(a - b), low=low, high=high, se=se, note=note
    )


def about(n: float) -> str:
    """A number of patients with two digits: more would pretend to know.

    >>> about(1234), about(87), about(3e7)
    ('1,200', '87', 'over a million')
    """
    if n > 1e6:
        return "over a million"
    digits = max(0, math.floor(math.log10(max(n, 1))) - 1)
    return f"{round(n, -digits):,.0f}"
