"""Multi-reader multi-case studies: do readers do better with one modality than with another.

`analyse` takes the reads of several readers on the same cases (`reads.arrange`) and gives each reader's
figure of merit, the average over readers, and the difference between modalities with an interval that holds
for other readers and other cases (or for these readers, or these cases, alone).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal, get_args

import numpy as np
from scipy import stats

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.compare import Comparison, delong_paired, from_draws, holm, mcnemar
from radfoundry.evaluate.intervals import delong, wilson
from radfoundry.evaluate.readers import anova
from radfoundry.evaluate.readers.anova import EFFECTS, Effects, GlobalTest
from radfoundry.evaluate.readers.binormal import is_degenerate
from radfoundry.evaluate.readers.bootstrap import two_way_bootstrap, weighted_mean
from radfoundry.evaluate.readers.merits import Merit, Method, covariance, data_of, merit_of
from radfoundry.evaluate.readers.merits import estimates as estimates_of
from radfoundry.evaluate.readers.reads import Reads
from radfoundry.evaluate.readers.result import ReaderStudy, Scope, titled
from radfoundry.evaluate.readers.u_statistics import UStatistics, Weights, u_statistics
from radfoundry.evaluate.resample import percentile
from radfoundry.types import Estimate

Analysis = Literal["auto", "obuchowski-rockette", "u-statistics", "bootstrap"]
GRADES = 10  # a scale with more grades than this is not noted for grades left unused
HOLD = {
    "random": "random readers and cases", "fixed readers": "fixed readers, random cases",
    "fixed cases": "random readers, fixed cases",
}  # fmt: skip


def analyse(
    reads: Reads,
    *,
    merit: str | Merit = "auroc",
    effects: Effects = "random",
    method: Analysis = "obuchowski-rockette",
    covariance: Method | None = None,
    weights: Weights = "reads",
    margin: float | None = None,
    reference: str | None = None,
    complete_cases: bool = False,
    level: float = 0.95,
    n_boot: int = 1000,
    seed: int = 0,
) -> ReaderStudy:
    """Compare modalities over readers and cases.

    merit: auroc (empirical), auroc_binormal, sensitivity, specificity, accuracy, or a range of the curve by
    `merits.partial_auroc`. effects: what the result is to hold for: other readers and cases
    ("random"), these readers, or these cases. method: "obuchowski-rockette" needs every read;
    "u-statistics" takes whatever was read (weights: see `u_statistics`); "bootstrap" draws readers and
    cases; "auto" is the first of these that can take the reads. covariance: of Obuchowski-Rockette, "delong"
    for auroc and else "jackknife" by default. margin: how much worse the first modality of a pair may be and
    still count as not inferior. reference: the modality that is taken from each other one (default: all
    pairs, in the order of `reads`). complete_cases: leave out the cases that some reader did not read.

    Raises NotEnoughData for too few readers, cases or classes, and for missing reads that the method cannot
    take; InputError for options that do not fit together.

    >>> import pandas as pd
    >>> from radfoundry.evaluate.readers.reads import arrange
    >>> rows = [(c, int(c > 5), r, m, (c * r + 3 * (m == "aided") * (c > 5)) % 11)
    ...         for c in range(12) for r in (1, 2, 3) for m in ("aided", "unaided")]
    >>> table = pd.DataFrame(rows, columns=["case", "truth", "reader", "modality", "rating"])
    >>> study = analyse(arrange(table))
    >>> print(study.test)
    F(1, 6.84) = 0.330, p = 0.5842
    """
    chosen = merit_of(merit)
    if method == "auto":
        method = _suited(reads, chosen, effects, complete_cases)
    _check(effects, method, margin, covariance, seed)
    reads, notes = _prepared(reads, chosen, method, complete_cases)
    if len(reads.readers) < 2 and effects != "fixed readers":
        raise NotEnoughData(
            "one reader: nothing can be said about others. Use effects='fixed readers', for this reader alone"
        )
    pairs = _pairs(reads, reference)
    if not pairs:
        notes.append("one modality: nothing to compare it with")
    scope = Scope(reads, chosen.name, HOLD[effects], level, pairs, margin)
    if method == "obuchowski-rockette":
        kind = covariance or ("delong" if chosen.name == "auroc" else "jackknife")
        found = _by_anova(scope, chosen, effects, kind, n_boot, seed, notes)
    elif method == "u-statistics":
        found = _by_u_statistics(scope, chosen, weights, notes)
    else:
        found = _by_bootstrap(scope, chosen, effects, n_boot, seed, notes)
    if len(pairs) > 1:
        adjusted = holm([one.p for one in found.differences])
        one_sided = holm([one.p for one in found.noninferiority])
        found = replace(
            found,
            differences=tuple(replace(one, p_holm=float(p)) for one, p in zip(found.differences, adjusted)),
            noninferiority=tuple(
                scope.corrected(one, float(p)) for one, p in zip(found.noninferiority, one_sided)
            ),
        )
    return replace(found, effects=effects, notes=tuple(dict.fromkeys([*reads.notes, *notes])))


def _check(effects: str, method: str, margin: float | None, covariance: str | None, seed: int) -> None:
    if seed < 0:
        raise InputError(f"seed must be 0 or above, not {seed}. Any whole number from 0 on will do")
    if effects not in EFFECTS:
        raise InputError(f"effects is one of {', '.join(EFFECTS)}, not {effects!r}")
    if method not in get_args(Analysis):
        raise InputError(f"method is one of {', '.join(get_args(Analysis))}, not {method!r}")
    if margin is not None and not 0 < margin < 1:
        raise InputError(f"a margin of non-inferiority lies between 0 and 1, not {margin}")
    if covariance is not None and method != "obuchowski-rockette":
        raise InputError(f"covariance is an option of obuchowski-rockette, not of {method}")
    if method == "u-statistics" and effects != "random":
        raise InputError(f"u-statistics take readers and cases as random, not {effects}: use bootstrap")


def _suited(reads: Reads, merit: Merit, effects: Effects, complete_cases: bool) -> Analysis:
    """The first method that can take these reads: U-statistics are of means and areas, readers random."""
    relevant = data_of(reads, merit)[..., merit.relevant(reads.y)]
    if complete_cases or np.isfinite(relevant).all():
        return "obuchowski-rockette"
    mean_or_area = merit.is_mean or merit.name == "auroc"
    return "u-statistics" if mean_or_area and effects == "random" else "bootstrap"


def _pairs(reads: Reads, reference: str | None) -> tuple[tuple[int, int], ...]:
    every = range(len(reads.modalities))
    if reference is None:
        return tuple(combinations(every, 2))
    if reference not in reads.modalities:
        raise InputError(f"no modality {reference!r} to refer to. There are {', '.join(reads.modalities)}")
    at = reads.modalities.index(reference)
    return tuple((i, at) for i in every if i != at)


def _prepared(reads: Reads, merit: Merit, method: Analysis, complete_cases: bool) -> tuple[Reads, list[str]]:
    """The cases that the figure of merit depends on, all read where the method needs it; and notes."""
    notes: list[str] = []
    data = data_of(reads, merit)
    relevant = merit.relevant(reads.y)
    if not relevant.all():
        reads = reads.kept(
            relevant, f"{merit.name}: {int(relevant.sum())} {merit.cases} of {len(relevant)} cases"
        )
        data = data_of(reads, merit)
    missing = ~np.isfinite(data)
    per_case = missing.any(axis=(0, 1))
    if complete_cases and per_case.any():
        whole = (
            f"{int((~per_case).sum())} of {len(per_case)} cases were read by all readers in all modalities"
        )
        if per_case.all():
            raise NotEnoughData(f"{whole}: none is left. U-statistics take what was read")
        reads = reads.kept(~per_case, f"{whole}; the others were left out")
        data = data_of(reads, merit)
    elif method == "obuchowski-rockette" and missing.any():
        raise NotEnoughData(
            f"{int(missing.sum())} of {missing.size} reads are missing ({int(per_case.sum())} of "
            f"{len(per_case)} cases): the analysis of variance needs every one. Use method='u-statistics', "
            "which takes what was read, or complete_cases=True, which leaves those cases out"
        )
    elif missing.any():
        notes.append(f"{int(missing.sum())} of {missing.size} reads are missing, or were not planned")
        notes += _other_readers(reads, missing.all(axis=2))
    if merit.uses == "rating":
        notes += _grades(reads)
    if merit.name == "auroc_binormal":
        notes += _degenerate(reads)
    return reads, notes


def _other_readers(reads: Reads, absent: np.ndarray) -> list[str]:
    """A note where modalities were read by different readers; absent: (I, J)."""
    if not (absent.any(axis=0) & ~absent.all(axis=0)).any():
        return []
    told = [f"{m} {int((~a).sum())} of {a.size}" for m, a in zip(reads.modalities, absent)]
    return [f"the modalities were read by different readers ({', '.join(told)}): averages are over those"]


def _grades(reads: Reads) -> list[str]:
    """Who left part of a short rating scale unused; and who gave one rating to all."""
    scale = np.unique(reads.rating[np.isfinite(reads.rating)])
    constant, partly = [], []
    for i, j in np.argwhere(np.isfinite(reads.rating).any(axis=2)):
        own = reads.rating[i, j]
        used = len(np.unique(own[np.isfinite(own)]))
        who = f"{titled(reads.readers[j])} in {reads.modalities[i]}"
        if used == 1:
            constant.append(who)
        elif used < len(scale) <= GRADES:
            partly.append(f"{who} ({used})")
    notes = [f"one rating for every case: {_some(constant)}"] if constant else []
    return notes + ([f"fewer than the {len(scale)} grades used: {_some(partly)}"] if partly else [])


def _degenerate(reads: Reads) -> list[str]:
    who = []
    for i, j in np.argwhere(np.isfinite(reads.rating).any(axis=2)):
        there = np.isfinite(reads.rating[i, j])
        if is_degenerate(reads.y[there], reads.rating[i, j, there]):
            who.append(f"{titled(reads.readers[j])} in {reads.modalities[i]}")
    if not who:
        return []
    return [
        f"no binormal curve is determined by the ratings of {_some(who)} (too few operating points with both "
        "rates between 0 and 1): their empirical AUC stands in for it"
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _by_anova(
    scope: Scope, merit: Merit, effects: Effects, kind: Method, n_boot: int, seed: int, notes: list[str]
) -> ReaderStudy:
    reads, level = scope.reads, scope.level
    i, j = len(reads.modalities), len(reads.readers)
    theta = estimates_of(reads, merit)
    cov = np.full((i, j, i, j), np.nan)
    words = f"Obuchowski-Rockette, {scope.method}"
    if effects != "fixed cases":
        rng = np.random.default_rng(seed)
        cov = covariance(reads, merit, kind, n_boot=n_boot, rng=rng)
        words += f", {kind} covariance"
    found = anova.components(theta, cov)
    single = replace(scope, method=f"{kind}, over cases")
    if effects == "fixed cases":
        single = replace(single, method="", without="cases are fixed, so nothing varies for one reader")
    scope = replace(scope, method=words)
    contrasts = [anova.difference(theta, found, a, b, effects, level) for a, b in scope.pairs]
    means = theta.mean(axis=1)
    differences = [scope.comparison(c, means, pair) for c, pair in zip(contrasts, scope.pairs)]
    inferior = []
    if scope.margin is not None:
        inferior = [
            scope.not_inferior(one, c.p_above(-scope.margin)) for one, c in zip(differences, contrasts)
        ]
    notes += _negative(found, cov, i, j, effects)
    return ReaderStudy(
        merit.name, effects, words, level,
        tuple(single.estimate(anova.one_reader(theta, cov, a, r, level), a, r)
              for a in range(i) for r in range(j)),
        tuple(scope.estimate(anova.average(theta, cov, a, effects, level), a) for a in range(i)),
        tuple(differences),
        tuple(single.comparison(anova.reader_difference(theta, cov, a, b, r, level), theta[:, r], (a, b), r)
              for a, b in scope.pairs for r in range(j)) if effects != "fixed cases" else (),
        tuple(inferior),
        anova.global_test(found, i, j, effects) if i > 1 else None,
        found,
    )  # fmt: skip


def _negative(found: anova.Components, cov: np.ndarray, i: int, j: int, effects: Effects) -> list[str]:
    """What was done about variance estimates below zero."""
    notes = []
    across = found.cov2 - found.cov3
    if across < -anova.ROUNDING and i > 1 and effects == "random":
        notes.append(f"Cov2 - Cov3 is negative ({across:.3g}): taken as 0 in the error term, as Hillis does")
    elif across < -anova.ROUNDING and i > 1 and effects == "fixed readers":
        notes.append(f"Cov2 - Cov3 is negative ({across:.3g}): kept in the error term")
    for name, value in (("readers", found.reader), ("modality x reader", found.modality_reader)):
        if value < -anova.ROUNDING:
            notes.append(f"variance component of {name} is negative ({value:.3g}): kept as estimated")
    inside = [anova.components(np.zeros((1, j)), cov[[a]][:, :, [a]]).cov2 for a in range(i)]
    below = [value for value in inside if value < -anova.ROUNDING]
    if below and effects == "random":
        notes.append(f"Cov2 of a single modality is negative ({min(below):.3g}): taken as 0 in its interval")
    if i > 1:
        error, _ = anova.denominator(found, i, j, effects)
        if not error > anova.ROUNDING:
            notes.append(f"the error term is not positive ({error:.3g}): no test and no interval is given")
    return notes


def _by_u_statistics(scope: Scope, merit: Merit, weights: Weights, notes: list[str]) -> ReaderStudy:
    reads, level = scope.reads, scope.level
    i = len(reads.modalities)
    found = u_statistics(reads, merit, weights)
    if scope.patients < scope.n:
        notes.append("some patients have several cases: U-statistics take cases as independent")
    scope = replace(scope, method=f"U-statistics, {scope.method}, {weights} weigh alike")
    contrasts = [found.contrast(_minus(i, pair), level) for pair in scope.pairs]
    differences = [scope.comparison(c, found.value, pair) for c, pair in zip(contrasts, scope.pairs)]
    inferior = []
    if scope.margin is not None:
        inferior = [
            scope.not_inferior(one, c.p_above(-scope.margin)) for one, c in zip(differences, contrasts)
        ]
    if any(math.isnan(c.se) for c in contrasts):
        notes.append("a variance estimate is not positive: refused. Use method='bootstrap', or more readers")
    single, compared = _reader_by_reader(scope, merit)
    return ReaderStudy(
        merit.name, "random", scope.method, level, tuple(single),
        tuple(scope.estimate(found.contrast(np.eye(i)[a], level), a) for a in range(i)),
        tuple(differences), tuple(compared), tuple(inferior), _wald(found, i, level) if i > 1 else None,
    )  # fmt: skip


def _minus(i: int, pair: tuple[int, int]) -> np.ndarray:
    weights = np.zeros(i)
    weights[list(pair)] = 1.0, -1.0
    return weights


def _wald(found: UStatistics, i: int, level: float) -> GlobalTest:
    """All averages equal: F of the contrasts with the last, with the smallest df of any pair."""
    rows = np.stack([_minus(i, (a, i - 1)) for a in range(i - 1)])
    df2 = min(found.contrast(_minus(i, pair), level).df for pair in combinations(range(i), 2))
    spread = rows @ found.cov @ rows.T
    if np.linalg.eigvalsh(spread)[0] <= anova.ROUNDING:
        return GlobalTest(math.nan, i - 1, df2, math.nan, math.nan)
    apart = rows @ found.value
    f = float(apart @ np.linalg.solve(spread, apart)) / (i - 1)
    return GlobalTest(f, i - 1, df2, float(stats.f.sf(f, i - 1, df2)), math.nan)


def _reader_by_reader(scope: Scope, merit: Merit) -> tuple[list[Estimate], list[Comparison]]:
    """Each reader from his own reads: DeLong for an AUC, Wilson, and McNemar of pairs, for a proportion."""
    reads, data = scope.reads, data_of(scope.reads, merit)
    right = data if merit.name in ("auroc", "sensitivity") else (data == reads.y).astype(float)
    right = np.where(np.isfinite(data), right, np.nan)
    found, compared = [], []
    for a, r in np.argwhere(np.isfinite(data).any(axis=2)):
        there = np.isfinite(data[a, r])
        y, own, patient = reads.y[there], right[a, r, there], reads.patient[there]
        if merit.name == "auroc":
            one = delong(y, own, scope.level, cluster=patient)
        else:
            low, high = wilson(float(own.sum()), len(own), scope.level)
            method = f"Wilson, {int(own.sum())}/{len(own)}"
            one = Estimate(merit.name, float(own.mean()), low, high, scope.level, method, len(own))
        where = {"model": reads.modalities[a], "subgroup": titled(reads.readers[r])}
        found.append(replace(one, name=merit.name, **where))
    for a, b in scope.pairs:
        for r, reader in enumerate(reads.readers):
            there = np.isfinite(data[[a, b], r]).all(axis=0)
            y, first, second = reads.y[there], right[a, r, there], right[b, r, there]
            if not there.any() or (merit.name == "auroc" and len(np.unique(y)) < 2):
                continue
            if merit.name == "auroc":
                pair = delong_paired(y, first, second, scope.level, cluster=reads.patient[there])
            else:
                pair = mcnemar(first == 1, second == 1, scope.level)
            compared.append(replace(
                pair, name=merit.name, model_a=reads.modalities[a], model_b=reads.modalities[b],
                subgroup=titled(reader),
            ))  # fmt: skip
    return found, compared


def _by_bootstrap(
    scope: Scope, merit: Merit, effects: Effects, n_boot: int, seed: int, notes: list[str]
) -> ReaderStudy:
    reads, level = scope.reads, scope.level
    theta = estimates_of(reads, merit)
    draws = two_way_bootstrap(reads, merit, effects, n=n_boot, rng=np.random.default_rng(seed))
    value = weighted_mean(theta[..., None], np.ones((len(reads.readers), 1)))[:, 0]
    words = f"bootstrap, {scope.method}, {n_boot} draws"
    if effects == "random":
        notes.append("drawing readers and cases both makes intervals too wide rather than too narrow")

    def one(point: float, drawn: np.ndarray, a: int, reader: str | None = None) -> Estimate:
        low, high, lost = percentile(drawn, level)
        note = f"{lost} of {n_boot} draws were undefined and left out" if lost else None
        if low == high:
            low = high = math.nan
            note = "no interval: every draw gave the same value"
        return Estimate(merit.name, float(point), low, high, level, words, scope.n, scope.patients,
                        model=reads.modalities[a], subgroup=reader, note=note)  # fmt: skip

    def two(first: float, second: float, drawn: np.ndarray, pair: tuple[int, int]) -> Comparison:
        found = from_draws(merit.name, first, second, drawn, level, scope.n, scope.patients)
        a, b = pair
        return replace(found, method=words, model_a=reads.modalities[a], model_b=reads.modalities[b])

    apart = {pair: draws.average[pair[0]] - draws.average[pair[1]] for pair in scope.pairs}
    differences = [two(value[a], value[b], drawn, (a, b)) for (a, b), drawn in apart.items()]
    inferior = []
    if scope.margin is not None:
        for found, drawn in zip(differences, apart.values()):
            kept = drawn[np.isfinite(drawn)]
            inferior.append(
                scope.not_inferior(found, float((kept <= -scope.margin).sum() + 1) / (len(kept) + 1))
            )
    there = [(a, r) for a, r in np.argwhere(np.isfinite(theta))]
    by_reader = [
        replace(two(theta[a, r], theta[b, r], draws.of_readers[a, r] - draws.of_readers[b, r], (a, b)),
                subgroup=titled(name))
        for a, b in scope.pairs for r, name in enumerate(reads.readers) if np.isfinite(theta[[a, b], r]).all()
    ]  # fmt: skip
    return ReaderStudy(
        merit.name, effects, words, level,
        tuple(one(theta[a, r], draws.of_readers[a, r], a, titled(reads.readers[r])) for a, r in there),
        tuple(one(value[a], draws.average[a], a) for a in range(len(value))),
        tuple(differences), tuple(by_reader) if effects != "fixed cases" else (), tuple(inferior),
    )  # fmt: skip
