"""Readers and cases for a reader study: power and sample size by Hillis and Obuchowski.

Two modalities, every case read in both; the test meant is Obuchowski and Rockette's with Hillis' degrees of
freedom. Power comes from the noncentral F distribution (Hillis, Obuchowski and Berbaum, Acad Radiol
2011;18:129; Hillis and Schartz, J Med Imaging 2018;5:045503), out of variance components that are published
or estimated from a pilot. Split-plot: Hillis, Stat Med 2014;33:330.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, stats

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.plan.precision import auc_se
from radfoundry.plan.requirement import MOST, better_than_chance, share, split
from radfoundry.types import json_ready

Random = Literal["readers and cases", "cases", "readers"]
TESTS: dict[str, str] = {
    "readers and cases": "F, readers and cases random",
    "cases": "chi-square, readers fixed, cases random",
    "readers": "F, readers random, cases fixed",
}
"""What varies from study to study, and the test that goes with it."""


@dataclass(frozen=True, slots=True)
class Components:
    """Obuchowski-Rockette components of a figure of merit, for a study of `positives` and `negatives`.

    error: variance of one reader's figure in one modality over cases. cov1: same reader, other modality;
    cov2: other reader, same modality; cov3: both other. var_treatment_reader: modality x reader;
    var_reader plays no part in a comparison. readers: how many the pilot had, None where not known. merit:
    the figure of merit, on which it depends which cases its variance over cases shrinks with.
    """

    var_treatment_reader: float
    error: float
    cov1: float
    cov2: float
    cov3: float
    positives: int
    negatives: int
    var_reader: float = math.nan
    readers: int | None = None
    source: str = ""
    merit: str = "auroc"

    def __post_init__(self) -> None:
        given = (self.var_treatment_reader, self.error, self.cov1, self.cov2, self.cov3)
        if not all(math.isfinite(v) for v in given):
            raise InputError(f"components must be finite numbers, not {given}")
        if self.error <= 0:
            raise InputError(
                f"the error variance must be above 0, not {self.error:g}. Give that of the pilot"
            )
        if max(abs(self.cov1), abs(self.cov2), abs(self.cov3)) >= self.error:
            raise InputError(
                f"covariances {self.cov1:g}, {self.cov2:g}, {self.cov3:g} must stay below the error variance "
                f"{self.error:g}. Give covariances, not correlations; `from_correlations` takes those"
            )
        if min(self.positives, self.negatives) < 2:
            raise InputError(
                f"{self.positives} positives and {self.negatives} negatives in the pilot: two of each are "
                "the least that components can come from"
            )

    @classmethod
    def from_pilot(
        cls, var_reader: float, var_treatment_reader: float, error: float, cov1: float, cov2: float,
        cov3: float, positives: int, negatives: int, *, readers: int | None = None, source: str = "pilot",
        merit: str = "auroc",
    ) -> Components:  # fmt: skip
        """From the numbers that an Obuchowski-Rockette analysis of a pilot prints, in the order it does."""
        return cls(
            var_treatment_reader, error, cov1, cov2, cov3, positives, negatives, var_reader, readers, source,
            merit,
        )  # fmt: skip

    @classmethod
    def from_correlations(
        cls, var_treatment_reader: float, auc: float, r1: float, r2: float, r3: float,
        positives: int, negatives: int, *, source: str = "conjectured",
    ) -> Components:  # fmt: skip
        """Without a pilot: error variance of a binormal AUC, covariances from correlations of the AUCs."""
        error = auc_se(better_than_chance(auc), positives, negatives, "binormal") ** 2
        return cls(
            var_treatment_reader, error, r1 * error, r2 * error, r3 * error, positives, negatives,
            source=source,
        )  # fmt: skip

    @property
    def cases(self) -> int:
        """Cases of the pilot."""
        return self.positives + self.negatives

    @property
    def is_area(self) -> bool:
        """Whether the figure of merit is an area under the curve, or under a part of it."""
        return "auroc" in self.merit

    @property
    def notes(self) -> tuple[str, ...]:
        """What is uncertain about these components, and what a negative one was taken for."""
        found = []
        if self.var_treatment_reader < 0:
            found.append(
                f"the variance of modality x reader is estimated as {self.var_treatment_reader:.3g}: 0 is "
                "used"
            )
        if self.cov2 < self.cov3:
            found.append(
                f"Cov2 {self.cov2:.3g} is below Cov3 {self.cov3:.3g}: their difference is taken as 0"
            )
        if self.readers is not None:
            found.append(
                f"components estimated from {self.readers} readers and {self.cases} cases: that of modality "
                f"x reader rests on {self.readers - 1} degrees of freedom, and the power with it"
            )
        return tuple(found)


VAN_DYKE = Components.from_pilot(
    0.0015349993, 0.0002004025, 0.0008022883, 0.0003466137, 0.0003440748, 0.0002390284, 45, 69,
    readers=5, source="Van Dyke et al. 1993, by MRMCaov (Smith and Hillis 2020), jackknife, empirical AUC",
)  # fmt: skip
"""Spin-echo against cine MRI for aortic dissection: components that MRMCaov's vignette prints."""


@dataclass(frozen=True, slots=True)
class ReaderPower:
    """Power of one reader study. cases: in all; positives, negatives: expected, not whole where n is small.

    se: standard error of the difference that the components predict. ncp, df2: noncentrality and
    denominator degrees of freedom (infinite for chi-square).
    """

    power: float
    difference: float
    readers: int
    cases: int
    positives: float
    negatives: float
    se: float
    ncp: float
    df2: float
    alpha: float
    random: Random
    groups: int = 1
    margin: float | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        aim = f"difference {self.difference:g}, two-sided {self.alpha:g}"
        if self.margin is not None:
            aim = f"not worse by {self.margin:g} where truly {self.difference:+g}, one-sided {self.alpha:g}"
        grouped = f" in {self.groups} groups, each with its own cases" if self.groups > 1 else ""
        lines = [
            f"{self.readers} readers x {self.cases} cases{grouped}: power {self.power:.3f}",
            f"aim       {aim}",
            f"test      {TESTS[self.random]}; df {self.df2:.1f}, SE of the difference {self.se:.4f}",
            f"from      {self.source or 'components as given'}",
        ]
        return "\n".join([*lines, *(f"note      {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; infinity becomes null."""
        return json_ready(self)


def reader_power(
    components: Components,
    difference: float,
    readers: int,
    cases: int,
    *,
    prevalence: float | None = None,
    auc: float | None = None,
    alpha: float | None = None,
    random: Random = "readers and cases",
    groups: int = 1,
    margin: float | None = None,
) -> ReaderPower:
    """Power to find a difference of two modalities, or to show that one is not worse by `margin`.

    difference: of the figures averaged over readers; its sign matters with a margin alone (positive is in
    favour of the new modality). cases: in all. prevalence: share of positives, the pilot's by default. For
    another one give `auc` too where the merit is an area: covariances then change as the variance of a
    binormal AUC does; those of sensitivity change with the positives, of specificity with the negatives, of
    accuracy with all cases. random: what a
    next study would draw anew. groups: split-plot, readers and cases in so many groups, each group reads its
    own. alpha: 0.05 two-sided, or 0.025 one-sided with a margin. Raises InputError for impossible values,
    NotEnoughData for too few readers.

    >>> round(reader_power(VAN_DYKE, 0.043800322, readers=10, cases=165).power, 5)
    0.80542
    """
    alpha = share((0.05 if margin is None else 0.025) if alpha is None else alpha, "alpha")
    _check(difference, readers, cases, random, groups, margin)
    rate = components.positives / components.cases if prevalence is None else share(prevalence, "prevalence")
    positives, negatives = cases * rate, cases * (1 - rate)
    if min(positives, negatives) / groups < 2:
        raise NotEnoughData(
            f"{cases} cases with a share of {rate:.3g} positives leave fewer than two of a class"
            f"{' in a group' if groups > 1 else ''}. Plan more cases"
        )
    scale = _scale(components, positives, negatives, auc, changed=prevalence is not None) * groups
    own, shared = _parts(components, scale, readers // groups)
    den = {"readers and cases": own + shared, "cases": own + shared, "readers": own}[random]
    df2 = {"readers": float(readers - groups), "cases": math.inf}.get(random, math.nan)
    if random == "cases":
        den -= max(components.var_treatment_reader, 0.0)
    elif random == "readers and cases":
        df2 = den**2 / (own**2 / (readers - groups))
    se = math.sqrt(2 * den / readers)
    shift = difference if margin is None else difference + margin
    power = _power(shift / se, df2, alpha, two_sided=margin is None)
    return ReaderPower(
        power, difference, readers, cases, positives, negatives, se, (shift / se) ** 2, df2, alpha, random,
        groups, margin, components.source, components.notes,
    )  # fmt: skip


def _check(
    difference: float, readers: int, cases: int, random: str, groups: int, margin: float | None
) -> None:
    if random not in TESTS:
        raise InputError(f"random must be one of {', '.join(map(repr, TESTS))}, not {random!r}")
    if not -1 < difference < 1:
        raise InputError(f"a difference of figures of merit lies between -1 and 1, not {difference:g}")
    if margin is None and difference == 0:
        raise InputError("a difference of 0 is none to find. Give the one you hope for, or a margin")
    if margin is not None and not 0 < margin < 1:
        raise InputError(f"the margin must lie between 0 and 1, not {margin:g}: 0.05 allows a loss of 0.05")
    if margin is not None and difference <= -margin:
        raise InputError(
            f"a true difference of {difference:g} is worse than the margin {margin:g} allows. Give what you "
            "expect, such as 0"
        )
    if groups < 1 or readers != int(readers) or readers % groups:
        raise InputError(f"{readers} readers do not make {groups} groups of equal size")
    if readers < 2 * groups:
        raise NotEnoughData(
            f"{readers} readers in {groups} groups: two readers a group are the least"
            if groups > 1
            else "one reader is no sample of readers: plan two at least"
        )
    if not (4 <= cases <= MOST and cases == int(cases)):
        raise InputError(f"cases must be a whole number from 4 to {MOST:,}, not {cases:g}")


def _scale(
    components: Components, positives: float, negatives: float, auc: float | None, *, changed: bool
) -> float:
    """Covariances of the planned study over those of the pilot."""
    total = positives + negatives
    if not components.is_area:
        if auc is not None:
            raise InputError(f"auc is for areas under the curve, not for {components.merit}. Leave it out")
        proportions = {
            "sensitivity": (components.positives, positives),
            "specificity": (components.negatives, negatives),
        }
        pilot, planned = proportions.get(components.merit, (components.cases, total))
        return pilot / planned
    same = math.isclose(positives / total, components.positives / components.cases, rel_tol=1e-9)
    if not changed or same:
        return components.cases / total
    if auc is None:
        raise InputError(
            f"the pilot had a share of {components.positives / components.cases:.3g} positives, the plan has "
            f"{positives / total:.3g}: give auc too, from which the change of the variance follows"
        )
    better_than_chance(auc)
    new = auc_se(auc, positives, negatives, "binormal") ** 2
    return new / auc_se(auc, components.positives, components.negatives, "binormal") ** 2


def _parts(components: Components, scale: float, readers: int) -> tuple[float, float]:
    """(expected MS of modality x reader, what readers on shared cases add); readers: of one group."""
    shared = scale * max(components.cov2 - components.cov3, 0.0)
    own = max(components.var_treatment_reader, 0.0) + scale * (components.error - components.cov1) - shared
    if own <= 0:
        raise InputError(
            f"error {components.error:g}, Cov1 {components.cov1:g}, Cov2 {components.cov2:g}, Cov3 "
            f"{components.cov3:g} leave no variance of modality x reader. Components of a pilot do not "
            "look so: check them"
        )
    return own, readers * shared


def _power(z: float, df2: float, alpha: float, *, two_sided: bool) -> float:
    """Of t squared (two-sided) or t; z: difference over its standard error; df2 infinite for a normal."""
    if two_sided:
        if math.isinf(df2):
            return float(stats.ncx2.sf(stats.chi2.isf(alpha, 1), 1, z * z))
        return float(stats.ncf.sf(stats.f.isf(alpha, 1, df2), 1, df2, z * z))
    if math.isinf(df2):
        return float(stats.norm.sf(stats.norm.isf(alpha) - z))
    return float(stats.nct.sf(stats.t.isf(alpha, df2), df2, z))


def power_table(
    components: Components, difference: float, readers: Sequence[int], cases: Sequence[int], **options: Any
) -> pd.DataFrame:
    """Power of each number of readers (rows) with each of cases (columns); options of `reader_power`."""
    rows = [[reader_power(components, difference, j, n, **options).power for n in cases] for j in readers]
    return pd.DataFrame(
        rows, index=pd.Index(readers, name="readers"), columns=pd.Index(cases, name="cases"), dtype=float
    )


def reader_sample_size(
    components: Components, difference: float, readers: Sequence[int], *, power: float = 0.8, **options: Any
) -> pd.DataFrame:
    """The fewest cases that reach the power, a row a number of readers; options of `reader_power`.

    Columns readers, cases (missing where no number of cases is enough: then only more readers help),
    positives, negatives (whole), power (of those cases) and best (the highest power that any number of cases
    gives). With few readers power falls again beyond it: what cases add no longer pays for the degrees of
    freedom, which approach readers - 1.

    >>> int(reader_sample_size(VAN_DYKE, 0.043800322, [6])["cases"][0])
    251
    """
    share(power, "power", hint="0.8 is usual")
    rate = options.get("prevalence") or components.positives / components.cases
    start = max(4, math.ceil(2 * options.get("groups", 1) / min(rate, 1 - rate)))
    grid = np.unique(np.round(np.geomspace(start, MOST, 150)).astype(int))
    rows: list[tuple[Any, ...]] = []
    for j in readers:

        def reached(n: int, j: int = j) -> float:
            return reader_power(components, difference, j, n, **options).power

        found = np.array([reached(int(n)) for n in grid])
        best = float(found.max())
        if best < power:  # readers differ too much for any number of cases
            rows.append((j, pd.NA, pd.NA, pd.NA, math.nan, best))
            continue
        at = int(np.argmax(found >= power))
        n = int(grid[at]) if at == 0 else _between(int(grid[at - 1]), int(grid[at]), reached, power)
        rows.append((j, n, *split(n, rate), reached(n), best))
    table = pd.DataFrame(rows, columns=["readers", "cases", "positives", "negatives", "power", "best"])
    return table.astype({"cases": "Int64", "positives": "Int64", "negatives": "Int64"})


def _between(low: int, high: int, reached: Callable[[int], float], power: float) -> int:
    """The first n above low with the power, where low has not reached it and high has."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return high


def detectable_difference(
    components: Components, readers: int, cases: int, *, power: float = 0.8, **options: Any
) -> float:
    """The smallest difference that readers and cases find with that power; options of `reader_power`.

    Raises NotEnoughData where even a difference of 0.5 is not found.
    """
    share(power, "power", hint="0.8 is usual")

    def missing(difference: float) -> float:
        return reader_power(components, difference, readers, cases, **options).power - power

    least = 1e-6
    if missing(least) >= 0:
        raise InputError(f"power {power:g} is what chance alone gives. Try 0.8")
    if missing(0.5) < 0:
        raise NotEnoughData(
            f"{readers} readers and {cases} cases do not find a difference of 0.5 with power {power:g}. Plan "
            "more readers"
        )
    return float(optimize.brentq(missing, least, 0.5, xtol=1e-7))


def power_if(
    components: Components, difference: float, readers: int, cases: int, *,
    factors: Sequence[float] = (0.5, 1.0, 2.0), **options: Any,
) -> pd.DataFrame:  # fmt: skip
    """Power if the pilot misjudged a component: modality x reader, or all terms of the cases, times a factor.

    Columns modality_reader, cases (the two factors) and power. No interval: how wrong a pilot is cannot be
    told from its components, so the table shows what would follow.
    """
    rows = []
    for one in factors:
        for other in factors:
            changed = replace(
                components,
                var_treatment_reader=one * components.var_treatment_reader,
                **{k: other * getattr(components, k) for k in ("error", "cov1", "cov2", "cov3")},
            )
            rows.append((one, other, reader_power(changed, difference, readers, cases, **options).power))
    return pd.DataFrame(np.array(rows, float), columns=["modality_reader", "cases", "power"])
