"""The groups that `fairness` compares: their patients, their metrics, and bootstrap draws of these."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from radfoundry.evaluate import calibration
from radfoundry.evaluate.fairness import permutation
from radfoundry.evaluate.fairness.permutation import Cells, Ratio, Rows, Values
from radfoundry.evaluate.intervals import estimate_from_draws, wilson
from radfoundry.evaluate.parts import Part, Repeat, make_part
from radfoundry.evaluate.resample import draw_blocks
from radfoundry.evaluate.subgroups import groups as masks
from radfoundry.evaluate.subgroups import is_unknown
from radfoundry.evaluate.table import BINS, estimate_of, labelled, prevalence
from radfoundry.types import Estimate

SHARES = ("sensitivity", "specificity", "ppv", "selection_rate")
NAMES = ("prevalence", "auroc", *SHARES, "observed_minus_expected", "calibration_slope", "ece")
NEEDS = {"auroc": (0, 1), "sensitivity": (1,), "specificity": (0,), "fpr": (0,), "calibration_slope": (0, 1)}
WHOLE = ""  # the name of all rows together, the value behind the groups
OF_WHOLE = ("auroc", *SHARES, "observed_minus_expected")
ECE_FROM = 100  # patients: ten a bin


@dataclass(frozen=True, eq=False)
class Group:
    """One group of a part. patient: (n_patients,) numbers of its patients within the whole part."""

    name: str
    part: Part
    patient: np.ndarray
    unknown: bool
    decided: bool
    probability: bool

    @cached_property
    def n(self) -> int:
        """Cases."""
        return self.part.n

    @cached_property
    def class_sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of class 0 and of class 1 by patient, mean over repeats; (n_patients,) each."""
        n, repeats = self.part.n_patients, self.part.repeats
        negative, positive = np.zeros(n), np.zeros(n)
        for r in repeats:
            negative += np.bincount(r.codes[r.y == 0], minlength=n) / len(repeats)
            positive += np.bincount(r.codes[r.y == 1], minlength=n) / len(repeats)
        return negative, positive

    def patients_of(self, label: int) -> int:
        """How many patients have a row of this class."""
        return int((self.class_sizes[label] > 0).sum())

    @property
    def mixed(self) -> bool:
        """Whether any patient has rows of both classes."""
        return bool(((self.class_sizes[0] > 0) & (self.class_sizes[1] > 0)).any())

    @cached_property
    def bins(self) -> list[np.ndarray]:
        """Observed minus expected by calibration bin, summed by patient; (bins, n_patients) a repeat."""
        out = []
        for r in self.part.repeats:
            which, off = calibration.bins_of(r.score[:, 0], BINS), r.y - r.score[:, 0]
            inside = [off * (which == b) for b in range(which.max() + 1)]
            out.append(np.stack([np.bincount(r.codes, w, r.n_patients) for w in inside]))
        return out

    @cached_property
    def ratios(self) -> dict[str, Ratio]:
        """Top and bottom of every rate, summed by the group's patients; repeats together."""
        found = [_row_ratios(r, self.decided, self.probability) for r in self.part.repeats]
        n = self.part.n_patients

        def total(name: str, which: int) -> np.ndarray:
            pairs = zip(found, self.part.repeats, strict=True)
            return sum((np.bincount(r.codes, f[name][which], n) for f, r in pairs), np.zeros(n))

        return {name: Ratio(total(name, 0), total(name, 1)) for name in found[0]}


def _row_ratios(r: Repeat, decided: bool, probability: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    y, one = r.y.astype(float), np.ones(len(r.y))
    out: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if decided and r.decision is not None:
        d = r.decision.astype(float)
        out = {
            "sensitivity": (y * d, y),
            "specificity": ((1 - y) * (1 - d), 1 - y),
            "fpr": ((1 - y) * d, 1 - y),
            "ppv": (y * d, d),
            "selection_rate": (d, one),
        }
    if probability:
        out["observed_minus_expected"] = (y - r.score[:, 0], one)
    return out


def split(part: Part, covariate: str, threshold: float | None) -> list[Group]:
    """The groups of a part by a covariate, in natural order, that without a value last."""
    patients = pd.Index(np.unique(part.rows["patient_id"].to_numpy()))
    decided = part.repeats[0].decision is not None
    out = []
    for name, mask in masks(part.rows, covariate).items():
        label = f"{part.label}, {name}" if part.label else name
        piece = make_part(part.rows[mask], part.model, part.target, label, threshold)
        piece = replace(piece, classes=part.classes)
        where = patients.get_indexer(np.unique(piece.rows["patient_id"].to_numpy()))
        unknown = is_unknown(part.rows, covariate, name)
        out.append(Group(name, piece, where, unknown, decided, part.is_probability))
    return out


@dataclass(frozen=True)
class Draws:
    """Bootstrap draws of each group's metrics and of what they weigh; the same patients for all groups."""

    values: dict[tuple[int, str], np.ndarray]
    weights: dict[tuple[int, str], np.ndarray]

    def value(self, group: Group, metric: str) -> np.ndarray:
        return self.values[id(group), metric]

    def weight(self, group: Group, metric: str) -> np.ndarray:
        return self.weights[id(group), metric]


def whole(part: Part) -> Group:
    """All rows of a part as a group without a name: the value that groups are looked at against."""
    decided = part.repeats[0].decision is not None
    return Group(WHOLE, part, np.arange(part.n_patients), True, decided, part.is_probability)


def draws(part: Part, found: dict[str, list[Group]], n: int, seed: int) -> Draws:
    """Patients of the whole part are drawn, so groups that share patients keep their correlation."""
    values: dict[tuple[int, str], list[np.ndarray]] = {}
    weights: dict[tuple[int, str], list[np.ndarray]] = {}
    for counts in draw_blocks(part.n_patients, n, np.random.default_rng(seed)):
        for group in (g for groups in found.values() for g in groups):
            for name, (value, weight) in _drawn(group, counts[group.patient]).items():
                values.setdefault((id(group), name), []).append(value)
                weights.setdefault((id(group), name), []).append(weight)
    return Draws(*({k: np.concatenate(v) for k, v in kept.items()} for kept in (values, weights)))


def _drawn(group: Group, counts: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Metric to (value, weight) (draws,). counts: (the group's patients, draws)."""
    out = {}
    sums = [v for r in group.ratios.values() for v in (r.top, r.bottom)]
    found = np.stack([*sums, *group.class_sizes]) @ counts
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, name in enumerate(group.ratios):
            out[name] = found[2 * i] / found[2 * i + 1], found[2 * i + 1]
        if group.name != WHOLE and min(group.patients_of(0), group.patients_of(1)):
            out["auroc"] = _auroc(group, counts), found[-1] * found[-2]
        if group.name != WHOLE and group.probability and group.part.n_patients >= ECE_FROM:
            out["ece"] = _ece(group, counts), found[-1] + found[-2]
    return out


def _auroc(group: Group, counts: np.ndarray) -> np.ndarray:
    return np.mean(
        [r.ranked[0].auroc(counts) for r in group.part.repeats if len(np.unique(r.y)) == 2], axis=0
    )


def _ece(group: Group, counts: np.ndarray) -> np.ndarray:
    size = sum(group.class_sizes) @ counts
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean([np.abs(b @ counts).sum(axis=0) for b in group.bins], axis=0) / size


def estimates(
    groups: Sequence[Group], drawn: Draws, level: float, seed: int, min_n: int, min_class: int
) -> list[Estimate]:
    """Every metric of every group; too few patients, or too few of a class, give no value but a note."""
    out = []
    for group in groups:
        wanted = [n for n in (OF_WHOLE if group.name == WHOLE else NAMES) if _possible(group, n)]
        base = Estimate("", math.nan, level=level, n=group.n, n_clusters=group.part.n_patients)
        for name in wanted:
            short = too_few(group, name, min_n, min_class)
            if short:
                found = replace(base, name=name, note=short)
            else:
                found = _estimate(replace(base, name=name), group, drawn, seed)
            out.append(labelled(found, group.part))
    return out


def _possible(group: Group, name: str) -> bool:
    if name in SHARES:
        return group.decided
    return group.probability or name in ("prevalence", "auroc")


def _estimate(base: Estimate, group: Group, drawn: Draws, seed: int) -> Estimate:
    name, piece = base.name, group.part
    if name == "prevalence":
        return prevalence(piece, base.level)
    if name == "calibration_slope":
        y, p, codes = (np.concatenate([f(r) for r in piece.repeats]) for f in (
            lambda r: r.y, lambda r: r.score[:, 0], lambda r: r.codes))  # fmt: skip
        return replace(calibration.slope_intercept(y, p, base.level, codes)[0], n=piece.n)
    if name == "ece" and (id(group), name) not in drawn.values:
        return replace(
            base, note=f"too few for ten bins: {piece.n_patients} patients, at least {ECE_FROM} needed"
        )
    if name in group.ratios:
        return _rate(base, group, group.ratios[name], drawn.value(group, name))
    once = np.ones((piece.n_patients, 1))
    value = float((_auroc if name == "auroc" else _ece)(group, once)[0])
    return estimate_of(piece, name, value, drawn.values.get((id(group), name)), base.level, seed)


def _rate(base: Estimate, group: Group, ratio: Ratio, drawn_: np.ndarray) -> Estimate:
    """A share by Wilson's interval where every row is a patient; else, and for a mean, by the draws."""
    top, bottom, share = ratio.top.sum(), ratio.bottom.sum(), base.name in SHARES
    if not bottom:
        return replace(base, note="not defined: its denominator is zero")
    value, note = float(top / bottom), group.part.rule if share else None
    base = replace(base, value=value, note=note)
    if share and group.n == group.part.n_patients and len(group.part.repeats) == 1:
        low, high = wilson(top, bottom, base.level)
        return replace(base, low=low, high=high, method=f"Wilson, {top:.0f}/{bottom:.0f}")
    found = estimate_from_draws(base.name, value, drawn_, base.level, group.n, group.part.n_patients)
    if share and math.isnan(found.low) and value in (0.0, 1.0):
        behind = int((ratio.bottom > 0).sum())
        low, high = wilson(value * behind, behind, base.level)
        method = f"Wilson by patients, {value * behind:.0f}/{behind}"
        return replace(base, low=low, high=high, method=method)
    return replace(found, note="; ".join(filter(None, (found.note, note))) or None)


def too_few(group: Group, name: str, min_n: int, min_class: int) -> str:
    """Why a metric gets no value in this group; empty where it does."""
    n = group.part.n_patients
    if n < min_n:
        rows = "" if group.n == n else f"{group.n} cases of "
        return f"too few: {rows}{n} patients, at least {min_n} asked for"
    for label in NEEDS.get(name, ()):
        if group.patients_of(label) < min_class:
            has = group.patients_of(label)
            return f"too few of class {label}: {has} patients, at least {min_class} asked for"
    return ""


def notes(part: Part, covariate: str, groups: Sequence[Group], min_n: int, min_class: int) -> Iterator[str]:
    """What takes no part in the gaps, and why."""
    for group in groups:
        size = f"{group.n} cases" + (
            "" if group.n == group.part.n_patients else f" of {group.part.n_patients} patients"
        )
        if group.unknown:
            yield f"{group.name}: {size} without a value are shown as a group and take no part in gaps"
        elif short := too_few(group, "", min_n, min_class):
            yield f"{group.name} takes no part in gaps: {short}"
        elif short := too_few(group, "auroc", min_n, min_class):
            yield f"{part.target}, {group.name}: {short}, so no gap in AUC, sensitivity or false positives"
    if sum(not g.unknown for g in groups) < 2:
        yield f"{covariate}: one value only, so there is nothing to compare"


@dataclass(frozen=True)
class Engine:
    """The rows of several groups, ready to be compared under any labelling of their cells."""

    cells: Cells
    ranked: list[permutation.Components]
    ratios: dict[str, Ratio]

    @classmethod
    def of(cls, groups: Sequence[Group], asked: Sequence[str]) -> Engine:
        """asked: names of metrics; equalised odds come of sensitivity and fpr."""
        rows = [_rows(groups, r) for r in range(max(len(g.part.repeats) for g in groups))]
        patient, number = (np.concatenate(x) for x in zip(*(r[:2] for r in rows), strict=True))
        cell, owner, label = permutation.cells_of(patient, number)
        at = np.split(cell, np.cumsum([len(r[0]) for r in rows])[:-1])
        y = np.concatenate([r[2].y for r in rows])
        n = len(owner)
        cells = Cells(
            owner,
            label,
            len(groups),
            np.bincount(cell[y == 1], minlength=n),
            np.bincount(cell[y == 0], minlength=n),
        )
        ranked = []
        if "auroc" in asked:
            ranked = [permutation.Components(r[2].y, r[2].score, c, n) for r, c in zip(rows, at, strict=True)]
        names = [m for m in asked if m not in ("auroc", "equalised_odds")]
        ratios = {m: _cell_ratio(groups, m, owner, label) for m in names}
        return cls(cells, ranked, ratios)

    def values(self, labels: np.ndarray, *, one: bool = False) -> dict[str, Values]:
        """Every metric by group under each labelling; one: with influences, of the labels as they are."""
        out, chosen = {}, permutation.choices(labels, self.cells.k)
        if self.ranked:
            with np.errstate(divide="ignore", invalid="ignore"):  # a permuted group may lack a class
                out["auroc"] = permutation.auroc_by_group(self.cells, self.ranked, chosen, one)
        if self.ratios:
            found = permutation.rates_by_group(self.cells, list(self.ratios.values()), chosen, one)
            out |= dict(zip(self.ratios, found, strict=True))
        return out


def _rows(groups: Sequence[Group], repeat: int) -> tuple[np.ndarray, np.ndarray, Rows]:
    """(patient, group number, rows) of one repeat of all groups."""
    held = [(i, g, g.part.repeats[repeat]) for i, g in enumerate(groups) if repeat < len(g.part.repeats)]
    patient = np.concatenate([g.patient[r.codes] for _, g, r in held])
    number = np.concatenate([np.full(len(r.y), i) for i, _, r in held])
    y, score = (np.concatenate([f(r) for *_, r in held]) for f in (lambda r: r.y, lambda r: r.score[:, 0]))
    return patient, number, Rows(y, score)


def _cell_ratio(groups: Sequence[Group], metric: str, owner: np.ndarray, label: np.ndarray) -> Ratio:
    top, bottom = np.zeros(len(owner)), np.zeros(len(owner))
    for i, group in enumerate(groups):
        mine = label == i  # cells of a group are in the order of its patients
        top[mine], bottom[mine] = group.ratios[metric].top, group.ratios[metric].bottom
    return Ratio(top, bottom)
