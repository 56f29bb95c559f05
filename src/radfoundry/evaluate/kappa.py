"""Kappa: agreement of categories beyond chance, with the truth and between readers.

Disagreement of two categories: 0 or 1 (none), their distance (linear) or its square (quadratic); kappa is one
minus the observed over the expected. Distances are between the numbers themselves, so that a category which
nobody used keeps its place; for 1, 2, ... k this is w = (i - j)^2 / (k - 1)^2 of the books. The formulas and
their sources stand in `kappa_counts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from radfoundry.errors import InputError, InputMismatch, NotEnoughData
from radfoundry.evaluate.compare import Comparison, from_draws, holm, p_words
from radfoundry.evaluate.intervals import z_of
from radfoundry.evaluate.kappa_counts import Asymptotic, cohen_from_table, fleiss_from_counts
from radfoundry.evaluate.resample import codes_of, draw_blocks, percentile
from radfoundry.types import Estimate

Weights = Literal["none", "linear", "quadratic"]
Missing = Literal["refuse", "drop"]


def cohen(
    a: np.ndarray, b: np.ndarray, *, weights: Weights = "none", missing: Missing = "refuse",
    patient: np.ndarray | None = None, rng: np.random.Generator | None = None, draws: int = 2000,
    level: float = 0.95,
) -> Estimate:  # fmt: skip
    """Cohen's kappa of two raters (n,), weighted or not; SE and p against chance in the note.

    Interval: asymptotic, or with rng from `draws` draws of cases, or of patients: (n,) ids.
    missing: refuse, or drop the case and count it. Raises InputMismatch for unequal lengths, missing values
    and weights of categories that are no numbers; NotEnoughData below two cases.

    >>> print(cohen(np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 0, 0])))
    kappa 0.667 (95% CI 0.104 to 1.000; asymptotic; n = 6; SE 0.287, against chance p = 0.083)
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.ndim != 1 or first.shape != second.shape:
        raise InputMismatch(
            f"two raters of the same cases are needed, not {first.shape} and {second.shape}: lists of "
            "unequal length are never paired by position"
        )
    rated = rate(np.stack([_objects(first), _objects(second)]), weights)
    keep, dropped = _complete(rated.codes, missing)
    one, other = rated.codes[:, keep]
    k = len(rated.categories)
    table = np.bincount(one * k + other, minlength=k * k).reshape(k, k)
    found = cohen_from_table(table, 1 - rated.far)
    named = "kappa" if weights == "none" else f"kappa_{weights}"
    constant = (table.sum(axis=1) > 0).sum() == 1 or (table.sum(axis=0) > 0).sum() == 1
    interval = None
    if rng is not None and math.isfinite(found.value):
        codes, groups = codes_of(None if patient is None else np.asarray(patient)[keep], int(keep.sum()))
        hot = rated.hot()[:, :, keep]
        drawn = [
            pair_kappa(hot[0], hot[1], rated.far, c[codes]).value for c in draw_blocks(groups, draws, rng)
        ]
        interval = (np.concatenate(drawn), "cases", groups)
    return _estimate(named, found, level, interval, constant, dropped)


def fleiss(
    readings: np.ndarray, *, missing: Missing = "refuse", patient: np.ndarray | None = None,
    rng: np.random.Generator | None = None, draws: int = 2000, level: float = 0.95,
) -> Estimate:  # fmt: skip
    """Fleiss' kappa of readings (targets, raters); who is which rater does not matter.

    Interval and missing as in `cohen` (drop leaves out targets that were not read by all).
    """
    x = _objects(np.asarray(readings))
    if x.ndim != 2 or x.shape[1] < 2:
        raise InputMismatch(f"readings are (targets, raters) of two raters at least, not {x.shape}")
    rated = rate(x.T, "none")
    keep, dropped = _complete(rated.codes, missing)
    counts = rated.hot()[:, :, keep].sum(axis=0).T  # (targets, categories)
    found = fleiss_from_counts(counts)
    interval = None
    if rng is not None and math.isfinite(found.value):
        codes, groups = codes_of(None if patient is None else np.asarray(patient)[keep], len(counts))
        m = x.shape[1]
        agreed = ((counts**2).sum(axis=1) - m) / (m * (m - 1))
        table = np.vstack([np.ones(len(counts)), agreed, counts.T / m])
        blocks = [table @ c[codes] for c in draw_blocks(groups, draws, rng)]
        n, observed, *share = np.concatenate(blocks, axis=1)
        expected = (np.array(share) ** 2).sum(axis=0) / n**2
        drawn = _beyond(1 - observed / n, 1 - expected)
        interval = (drawn, "targets", groups)
    return _estimate("kappa_fleiss", found, level, interval, False, dropped)


def _estimate(
    name: str, found: Asymptotic, level: float, interval: tuple[np.ndarray, str, int] | None, constant: bool,
    dropped: int,
) -> Estimate:  # fmt: skip
    notes = [f"{dropped} cases without all readings were left out"] if dropped else []
    if not math.isfinite(found.value):
        notes.insert(0, "all ratings are equal: kappa is not defined")
        return Estimate(name, math.nan, level=level, n=found.n, note="; ".join(notes))
    if constant:
        notes.insert(
            0, "no interval: one rater used one category only, so kappa is 0 whatever the other says"
        )
        return Estimate(name, found.value, level=level, n=found.n, note="; ".join(notes))
    method, groups = "asymptotic", found.n if interval is None else interval[2]
    if groups == found.n:  # both take cases as independent
        notes.insert(0, f"SE {found.se:.3f}, against chance {p_words(found.p)}")
    if interval is None:
        half = z_of(level) * found.se
        low, high = max(-1.0, found.value - half), min(1.0, found.value + half)
        if found.se == 0:
            low = high = math.nan
            notes.append("no interval: the standard error is 0")
    else:
        drawn, what, _ = interval
        what = "patients" if groups < found.n else what
        low, high, lost = percentile(drawn, level)
        method = f"{what} resampled, {len(drawn)} draws"
        notes += [f"{lost} of {len(drawn)} draws were undefined and left out"] if lost else []
        if low == high:
            low = high = math.nan
            notes.append("no interval: every draw gave the same value")
    note = "; ".join(notes) or None
    return Estimate(name, found.value, low, high, level, method, found.n, groups, note=note)


@dataclass(frozen=True)
class Rated:
    """Ratings as numbers of categories. codes: (raters, cases), -1 where missing; far: (k, k) disagreement,
    0 on the diagonal and 1 at most; weights: what made it."""

    codes: np.ndarray
    categories: tuple[object, ...]
    far: np.ndarray
    weights: Weights

    def hot(self) -> np.ndarray:
        """(raters, k, cases), 1 where the rater chose that category; all 0 where there is no rating."""
        return (self.codes[:, None] == np.arange(len(self.categories))[:, None]).astype(float)


def rate(readings: np.ndarray, weights: Weights) -> Rated:
    """Ratings (raters, cases) of any kind, NaN or None where missing, as categories shared by all raters.

    InputMismatch where weights are asked for and a category is no number: its place on the scale is unknown.
    """
    if weights not in ("none", "linear", "quadratic"):
        raise ValueError(f"weights are none, linear or quadratic, not {weights!r}")
    x = _objects(np.asarray(readings))
    found, categories = pd.factorize(x.reshape(-1), sort=True)  # missing values are -1
    if weights == "none":
        far = 1 - np.eye(len(categories))
    else:
        try:
            at = np.array(list(categories), float)
        except (TypeError, ValueError) as cause:
            raise InputMismatch(
                f"{weights} weights need numbers, and a category is {categories[0]!r}. Number the categories "
                "in their order"
            ) from cause
        far = np.abs(at[:, None] - at[None])
        far = far / far.max() if far.size and far.max() > 0 else far
        far = far**2 if weights == "quadratic" else far
    return Rated(found.reshape(x.shape), tuple(categories), far, weights)


def _objects(values: np.ndarray) -> np.ndarray:
    """Numbers as float, so that 1 and 1.0 and True are one category; anything else as it is."""
    if values.dtype.kind in "biuf":
        return values.astype(float)
    try:
        return values.astype(float)
    except (TypeError, ValueError):
        return values.astype(object)


def _complete(codes: np.ndarray, missing: Missing) -> tuple[np.ndarray, int]:
    """Cases (n,) that everybody rated, and how many are left out."""
    keep = np.asarray((codes >= 0).all(axis=0))
    dropped = int((~keep).sum())
    if dropped and missing != "drop":
        raise InputMismatch(
            f"{dropped} of {len(keep)} cases lack a rating; the first is number {int(np.argmin(keep)) + 1}. "
            'Leave them out with missing="drop", which counts them'
        )
    if keep.sum() < 2:
        raise NotEnoughData(f"{int(keep.sum())} cases were rated by all: kappa needs two at least")
    return keep, dropped


@dataclass(frozen=True)
class Pair:
    """Kappa of two raters in each draw, (draws,), and how many cases it rests on."""

    value: np.ndarray
    n: np.ndarray


def pair_kappa(one: np.ndarray, other: np.ndarray, far: np.ndarray, counts: np.ndarray) -> Pair:
    """Kappa of two raters for many draws at once, over the cases that both rated.

    one, other: (k, cases) as of `Rated.hot`; far: (k, k); counts: (cases, draws), how often a case was drawn.
    """
    both = one.sum(axis=0) * other.sum(axis=0)
    apart = ((far @ other) * one).sum(axis=0)
    n, observed, *margins = np.vstack([both, apart, one * both, other * both]) @ counts
    rows, columns = np.array(margins[: len(far)]), np.array(margins[len(far) :])
    with np.errstate(invalid="ignore", divide="ignore"):
        return Pair(_beyond(observed / n, (rows * (far @ columns)).sum(axis=0) / n**2), n)


def _beyond(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """One minus observed over expected disagreement; NaN where none could be expected."""
    usable = expected > 1e-12
    return np.where(usable, 1 - observed / np.where(usable, expected, 1.0), np.nan)


@dataclass(frozen=True)
class ReaderKappa:
    """Of a reader study.

    estimates: kappa_truth by reader (its subgroup) and averaged, kappa_pairwise (mean of Cohen over pairs of
    readers) and kappa_fleiss, each by modality (its model). differences: later modality minus earlier, or
    each other minus the reference, with Holm over those of each statistic where there are several.
    """

    estimates: tuple[Estimate, ...]
    differences: tuple[Comparison, ...]


AVERAGES = ("kappa_truth", "kappa_pairwise", "kappa_fleiss")


def reader_kappa(
    readings: np.ndarray, y: np.ndarray, *, rng: np.random.Generator, modalities: Sequence[str] = (),
    readers: Sequence[str] = (), weights: Weights = "none", missing: Missing = "refuse",
    patient: np.ndarray | None = None, readers_random: bool = True, reference: str | None = None,
    draws: int = 2000, level: float = 0.95,
) -> ReaderKappa:  # fmt: skip
    """Kappa of readings (modalities, readers, cases) with the truth (cases,) and between the readers.

    readings: decisions, or ratings on the scale of y; NaN where there is no read. missing="drop" keeps the
    cases that a pair shares, and of a difference those read in both modalities; what is left out is counted.
    Averages and differences: readers and cases (or patients) are drawn together, one draw for all modalities;
    cases alone with readers_random=False or two readers. Single readers: asymptotic, or by the draws of
    patients where some have several cases. A reader drawn twice makes no pair with himself. Drawing both is
    cautious: the noise of single reads counts up to three times (Owen, Ann Appl Stat 2007;1:386).
    reference: the modality to take from each other one (default: all pairs). kappa_fleiss is of nominal
    categories whatever the weights. InputMismatch, NotEnoughData as in `cohen`, InputError for a reference
    that is no modality.
    """
    x = _objects(np.asarray(readings))
    if x.ndim != 3 or np.shape(y) != x.shape[2:]:
        raise InputMismatch(
            f"readings are (modalities, readers, cases) and y (cases,), not {x.shape} and {np.shape(y)}"
        )
    i, j, n = x.shape
    truth = np.broadcast_to(_objects(np.asarray(y)), (1, n))
    rated = rate(np.concatenate([x.reshape(-1, n), truth]), weights)
    codes, true = rated.codes[:-1].reshape(i, j, n), rated.codes[-1]
    if (true < 0).any():
        raise InputMismatch(f"case {int(np.argmax(true < 0)) + 1} has no truth. Leave it out")
    if (gaps := int((codes < 0).sum())) and missing != "drop":
        raise InputMismatch(f'{gaps} reads are missing. Leave them out, counted, with missing="drop"')
    codes_of_patients, groups = codes_of(patient, n)
    names = _names(modalities, i, "modality"), _names(readers, j, "reader")
    both_random = readers_random and j > 2
    panels = [_Panel(codes[m], true, rated) for m in range(i)]
    pairs = _pairs(names[0], reference)
    shared = [
        [_Panel(np.where((codes[a] >= 0) & (codes[b] >= 0), codes[m], -1), true, rated) for m in (b, a)]
        if gaps else [panels[b], panels[a]]
        for a, b in pairs
    ]  # fmt: skip
    every = list({id(p): p for p in [*panels, *(p for two in shared for p in two)]}.values())
    blocks, single = [], []
    for block in draw_blocks(groups, draws, rng):
        size = block.shape[1]
        who = rng.multinomial(j, np.full(j, 1 / j), size).T if both_random else np.ones((j, size))
        blocks.append([p.averages(block[codes_of_patients], who) for p in every])
        if groups < n:
            single.append([p.with_truth(block[codes_of_patients]) for p in panels])
    drawn = {id(p): np.concatenate([b[at] for b in blocks], axis=1) for at, p in enumerate(every)}
    unit = "cases" if groups == n else "patients"
    method = f"{'readers and ' if both_random else ''}{unit} resampled, {draws} draws"
    found: list[Estimate] = []
    for m, panel in enumerate(panels):
        own = np.concatenate([b[m] for b in single], axis=1) if single else None
        found += _by_reader(panel, names[0][m], names[1], level, own, codes_of_patients)
        found += _averages(panel, drawn[id(panel)], method, names[0][m], level, groups)
    differences = [
        one for (a, b), (later, earlier) in zip(pairs, shared)
        for one in _differences(later, earlier, drawn, method, names[0][b], names[0][a], level, groups)
    ]  # fmt: skip
    return ReaderKappa(tuple(found), tuple(_with_holm(differences)))


class _Panel:
    """One modality: codes (readers, cases), -1 where missing, with the truth (cases,)."""

    def __init__(self, codes: np.ndarray, true: np.ndarray, rated: Rated) -> None:
        self.codes, self.far = codes, rated.far
        kinds = np.arange(len(rated.categories))[:, None]
        self.hot = (codes[:, None] == kinds).astype(float)
        self.true, self.hot_true = true, (true == kinds).astype(float)
        self.whole = np.asarray((codes >= 0).all(axis=0))  # Fleiss' kappa needs cases read by all
        self.missing = int((codes < 0).sum())
        ones = np.ones((codes.shape[1], 1)), np.ones((len(codes), 1))
        self.point = self.averages(*ones)[:, 0]
        self.by_reader = self.with_truth(ones[0])[:, 0]

    def with_truth(self, counts: np.ndarray) -> np.ndarray:
        """(readers, draws)."""
        return np.array([pair_kappa(hot, self.hot_true, self.far, counts).value for hot in self.hot])

    def averages(self, counts: np.ndarray, who: np.ndarray) -> np.ndarray:
        """(3, draws) in the order of AVERAGES; counts (cases, draws), who (readers, draws)."""
        each = self.with_truth(counts)
        sums = np.zeros((4, counts.shape[1]))
        whole = counts * self.whole[:, None]
        for a in range(len(self.hot)):
            for b in range(a):
                pair = pair_kappa(self.hot[a], self.hot[b], self.far, counts).value
                weight = who[a] * who[b]
                usable = np.isfinite(pair)
                sums[0] += np.where(usable, weight * pair, 0)
                sums[1] += weight * usable
                sums[2] += weight * ((self.codes[a] != self.codes[b]) @ whole)
                sums[3] += weight
        share = np.einsum("jkn,nd,jd->kd", self.hot, whole, who, optimize=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = share / share.sum(axis=0)
            fleiss_drawn = _beyond(sums[2] / (sums[3] * whole.sum(axis=0)), 1 - (share**2).sum(axis=0))
            weight = who * np.isfinite(each)
            truth = np.where(np.isfinite(each), each, 0)
            return np.stack(
                [(weight * truth).sum(axis=0) / weight.sum(axis=0), sums[0] / sums[1], fleiss_drawn]
            )


def _pairs(modalities: Sequence[str], reference: str | None) -> list[tuple[int, int]]:
    """(earlier or reference, later or other)."""
    if reference is None:
        return [(a, b) for b in range(len(modalities)) for a in range(b)]
    if reference not in modalities:
        raise InputError(f"no modality {reference!r} to refer to. There are {', '.join(modalities)}")
    at = modalities.index(reference)
    return [(at, b) for b in range(len(modalities)) if b != at]


def _by_reader(
    panel: _Panel, modality: str, readers: Sequence[str], level: float, drawn: np.ndarray | None,
    patients: np.ndarray,
) -> list[Estimate]:  # fmt: skip
    """drawn: (readers, draws) where patients have several cases; patients: (cases,) codes."""
    found = []
    for j, (reader, codes) in enumerate(zip(readers, panel.codes, strict=True)):
        keep = codes >= 0
        if keep.sum() < 2:
            one = Estimate("kappa", math.nan, level=level, n=int(keep.sum()), note="fewer than two reads")
        else:
            k = len(panel.far)
            table = np.bincount(codes[keep] * k + panel.true[keep], minlength=k * k).reshape(k, k)
            constant = 1 in ((table.sum(axis=1) > 0).sum(), (table.sum(axis=0) > 0).sum())
            asymptotic = cohen_from_table(table, 1 - panel.far)
            interval = None if drawn is None else (drawn[j], "patients", len(np.unique(patients[keep])))
            one = _estimate("kappa", asymptotic, level, interval, constant, int((~keep).sum()))
        found.append(replace(one, name="kappa_truth", model=modality, subgroup=reader))
    return found


def _averages(
    panel: _Panel, drawn: np.ndarray, method: str, modality: str, level: float, groups: int
) -> list[Estimate]:
    j, n = panel.codes.shape
    found = []
    for name, value, draws in zip(AVERAGES, panel.point, drawn, strict=True):
        low, high, lost = percentile(draws, level)
        notes = [f"over {j} readers"]
        undefined = int((~np.isfinite(panel.by_reader)).sum())
        if name == "kappa_truth" and undefined:
            notes.append(f"{undefined} of them without a kappa, all ratings equal")
        if panel.missing:
            used = f", {int(panel.whole.sum())} cases read by all" if name == "kappa_fleiss" else ""
            notes.append(f"{panel.missing} reads missing{used}")
        if not math.isfinite(value):
            notes.append(_undefined(panel))
        elif lost:
            notes.append(f"{lost} of {len(draws)} draws undefined and left out")
        if low == high or not math.isfinite(value):
            low = high = math.nan
        found.append(
            Estimate(name, float(value), low, high, level, method, n, groups, model=modality,
                     note="; ".join(notes))
        )  # fmt: skip
    return found


def _undefined(panel: _Panel) -> str:
    if len(panel.codes) < 2:
        return "not defined: one reader"
    return "not defined: " + ("all ratings are equal" if panel.whole.any() else "no case was read by all")


def _differences(
    later: _Panel, earlier: _Panel, drawn: dict[int, np.ndarray], method: str, name_later: str,
    name_earlier: str, level: float, groups: int,
) -> list[Comparison]:  # fmt: skip
    found = []
    n = later.codes.shape[1]
    for at, name in enumerate(AVERAGES):
        draws = drawn[id(later)][at] - drawn[id(earlier)][at]
        one = from_draws(name, later.point[at], earlier.point[at], draws, level, n, groups)
        lacking = f"{int((later.codes >= 0).sum())} pairs of reads" if later.missing else None
        note = "; ".join(filter(None, (one.note, lacking))) or None
        found.append(replace(one, method=method, model_a=name_later, model_b=name_earlier, note=note))
    return found


def _with_holm(differences: Sequence[Comparison]) -> list[Comparison]:
    found = list(differences)
    for name in AVERAGES:
        rows = [at for at, one in enumerate(found) if one.name == name]
        if len(rows) < 2:
            continue
        for at, p in zip(rows, holm([found[row].p for row in rows])):
            found[at] = replace(found[at], p_holm=float(p))
    return found


def _names(given: Sequence[str], n: int, what: str) -> list[str]:
    names = [str(one) for one in given] or [f"{what} {i + 1}" for i in range(n)]
    if len(names) != n:
        raise ValueError(f"{len(names)} names for {n} in place of each {what}")
    return names
