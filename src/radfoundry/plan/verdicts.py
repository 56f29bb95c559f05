"""What an ablation shows: the pipeline chosen inside, honest comparisons, and whether the controls held.

The best of many cells is too good by the luck of the draw. Here each outer fold takes the cell that did best
on the inner folds of its own training cases (Varma and Simon, BMC Bioinformatics 2006), and that estimate is
the headline; the best cell stands beside it to show the optimism.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from radfoundry.audit.comparison import Comparison as Paired
from radfoundry.audit.comparison import adds_over
from radfoundry.errors import InputError
from radfoundry.evaluate.compare import (
    Comparison,
    Posterior,
    benjamini_hochberg,
    correlated_t,
    holm,
    nadeau_bengio,
)
from radfoundry.plan.ablation import Ablation, Cases
from radfoundry.plan.grid import ANY, FACTORS, Cell, Grid
from radfoundry.types import Estimate

SHUFFLED = "shuffled labels"
HELD: Literal["held"] = "held"
BROKEN: Literal["did not hold"] = "did not hold"

ROPE = 0.02
"""Half-width, in AUC, of what counts as practically the same."""


@dataclass(frozen=True, eq=False)
class Selected:
    """A pipeline, or the choice among several made inside.

    folds: (repeat, fold, auroc, number). scores: (repeat, fold, row, score, y). picks: address to the share
    of outer folds that took it.
    """

    name: str
    folds: pd.DataFrame
    scores: pd.DataFrame
    picks: dict[str, float]
    ratio: float

    @property
    def fold_aucs(self) -> np.ndarray:
        """(repeats x folds,) in the order of repeat and fold, the same for every pipeline of an ablation."""
        return self.folds["auroc"].to_numpy(float)

    def matrix(self, n: int) -> np.ndarray:
        """(repeats, n) scores, NaN for cases that were not tested."""
        found = np.full((int(self.scores["repeat"].max()) + 1, n), np.nan)
        found[self.scores["repeat"], self.scores["row"]] = self.scores["score"]
        return found


def chosen_inside(result: Ablation, cells: Sequence[Cell], name: str) -> Selected:
    """In each outer fold the cell of best inner AUC; ties go to the earlier cell."""
    numbers = [result.number(cell) for cell in cells]
    if not numbers:
        raise InputError(f"no cell of {name!r} gave a result, so none can be chosen")
    own = result.folds[result.folds["number"].isin(numbers)].copy()
    own["inner_auroc"] = own["inner_auroc"].fillna(-1.0)  # too few patients for inner folds: never preferred
    order = own.sort_values(["repeat", "fold", "inner_auroc", "number"], ascending=[True, True, False, True])
    best = order.groupby(["repeat", "fold"], sort=True).head(1).reset_index(drop=True)
    scores = result.scores.merge(best[["number", "repeat", "fold"]], on=["number", "repeat", "fold"])
    share = best["number"].value_counts(normalize=True)
    picks = {result.cells[int(number)].address: float(part) for number, part in share.items()}
    columns = ["repeat", "fold", "auroc", "number"]
    return Selected(name, best[columns], scores.drop(columns="number"), picks, result.ratio)


def one_cell(result: Ablation, cell: Cell) -> Selected:
    """A single cell in the form of a choice."""
    return chosen_inside(result, [cell], str(cell))


def mean_auc(selected: Selected, *, level: float = 0.95, n: int = 0, patients: int | None = None) -> Estimate:
    """Mean AUC over the outer folds with the corrected resampled interval (Nadeau and Bengio 2003).

    Folds share their training cases, so the plain interval over folds is too narrow; the correction adds
    n_test / n_train to 1 / k.
    """
    areas = selected.fold_aucs
    test = nadeau_bengio(areas, np.full(len(areas), 0.5), test_train_ratio=selected.ratio, level=level)
    return Estimate(
        "auroc", float(areas.mean()), max(0.0, 0.5 + test.low), min(1.0, 0.5 + test.high), level,
        f"mean of {len(areas)} outer folds, Nadeau-Bengio interval", n or selected.scores["row"].nunique(),
        patients, model=selected.name,
    )  # fmt: skip


@dataclass(frozen=True)
class Contrast:
    """Pipeline a minus pipeline b, judged in three ways.

    corrected: over outer folds (its p_holm or p_bh is filled in a family). posterior: of the mean fold
    difference. paired: on the pooled out-of-fold scores of the same cases (None where labels differ).
    """

    a: str
    b: str
    corrected: Comparison
    posterior: Posterior
    paired: Paired | None


def contrast(a: Selected, b: Selected, cases: Cases | None = None, *, seed: int = 0) -> Contrast:
    """Compare two pipelines on the same outer folds; with cases, on the pooled scores too."""
    first, second = a.fold_aucs, b.fold_aucs
    corrected = nadeau_bengio(first, second, test_train_ratio=a.ratio)
    corrected = replace(corrected, name="auroc", model_a=a.name, model_b=b.name)
    paired = None
    if cases is not None:
        n = len(cases.y)
        paired = adds_over(
            b.matrix(n), a.matrix(n), cases.y, cases.patient, baseline=b.name, model=a.name, seed=seed
        )
    posterior = correlated_t(first, second, test_train_ratio=a.ratio, rope=ROPE)
    return Contrast(a.name, b.name, corrected, posterior, paired)


def family(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Holm and Benjamini-Hochberg over the corrected tests of a family."""
    p = [c.corrected.p for c in contrasts]
    return [
        replace(c, corrected=replace(c.corrected, p_holm=float(h), p_bh=float(q)))
        for c, h, q in zip(contrasts, holm(p), benjamini_hochberg(p))
    ]


@dataclass(frozen=True)
class Control:
    """A check that must fail to find anything.

    kind: shuffled labels, control, scrambled images or volume only. result: held (at chance; or clearly below
    the set it is held against), did not hold, or says nothing (both are at chance). sentence: says so with
    its numbers.
    """

    name: str
    kind: str
    estimate: Estimate
    result: Literal["held", "did not hold", "says nothing"]
    sentence: str

    @property
    def held(self) -> bool:
        return self.result != "did not hold"

    @property
    def at_chance(self) -> bool:
        """Whether its interval holds one half: a control may hold against its set without that."""
        return self.estimate.low <= 0.5 <= self.estimate.high


def at_chance(selected: Selected, kind: str, *, among: int = 1) -> Control:
    """Whether a control's interval holds one half; one that lies below it is no more chance than one above.

    among: how many such controls are judged together; their intervals hold jointly (Bonferroni), else one in
    ten pages with five controls would warn of nothing.

    Labels are shuffled anew in each repeat, so the repeats are independent draws under chance and make the
    interval (Student's t); the folds of one repeat share a shuffle and would make it too narrow.
    """
    level = 1 - 0.05 / among
    e = mean_auc(selected, level=level)
    areas = selected.folds.groupby("repeat")["auroc"].mean().to_numpy()
    if kind == SHUFFLED and len(areas) > 1:
        half = float(stats.t.ppf((1 + level) / 2, len(areas) - 1) * areas.std(ddof=1) / math.sqrt(len(areas)))
        low, high = max(0.0, e.value - half), min(1.0, e.value + half)
        e = replace(e, low=low, high=high, method=f"{len(areas)} shuffles, Student's t over them")
    held = e.low <= 0.5 <= e.high
    words = _words(e, among)
    if held:
        text = f"{selected.name}: at chance, as it must be ({words})."
    elif e.low > 0.5:
        text = f"{selected.name}: should be at chance and is not ({words})."
    else:
        text = (
            f"{selected.name}: should be at chance and is below it ({words}). An order that is wrong "
            "more often than luck makes it is a trace of labels too: they leak through the folds, or so few "
            "cases were dealt to folds by class that those left to train on tell which were taken."
        )
    return Control(selected.name, kind, e, HELD if held else BROKEN, text)


def against_original(
    original: Selected, control: Selected, cases: Cases, kind: str, *, among: int = 1, seed: int = 0
) -> Control:
    """Whether a set does better than its own control, which has lost what the set is said to see.

    The rule is that of the whole toolkit (`audit.comparison`): better means that the interval of the paired
    difference lies above 0. A set that is not above chance has nothing to lose: its control says nothing,
    unless the control is above chance, and then it does not hold. A control that the set beats may be above
    chance (random weights often are, and volume): it holds, and its sentence says so.

    among: how many controls of that set are judged together; their intervals hold jointly (Bonferroni).
    """
    found = contrast(original, control, cases, seed=seed)
    assert found.paired is not None
    e, own = mean_auc(control, level=1 - 0.05 / among), mean_auc(original)
    itself = _off_chance(control.name, _words(e, among), e)
    if own.low <= 0.5 and e.low > 0.5:
        text = (
            f"{control.name}: above chance ({_words(e, among)}), while {original.name}, which it was held "
            f"against, is not ({_words(own)}). Something other than what {original.name} is said to see "
            "tells the labels, or they leak."
        )
        return Control(control.name, kind, e, BROKEN, text)
    if own.low <= 0.5:
        text = f"{original.name} is not above chance itself ({_words(own)}), so {control.name} says nothing."
        return Control(control.name, kind, e, "says nothing", text + itself)
    text = found.paired.sentence
    if found.paired.verdict == "better":
        return Control(control.name, kind, e, HELD, text + itself)
    text += (
        f" Over the outer folds the probability that {original.name} is ahead by more than {ROPE:g} is "
        f"{found.posterior.better:.2f}."
    )
    return Control(control.name, kind, e, BROKEN, text)


def _off_chance(name: str, words: str, e: Estimate) -> str:
    """What to say of a control that does not fail its set and is not at chance all the same."""
    if e.low > 0.5:
        return f" {name} is itself above chance ({words}): part of what the labels follow is left in it."
    if e.high < 0.5:
        return (
            f" {name} is itself below chance ({words}): an order that is wrong more often than luck makes it "
            "is a trace of labels too."
        )
    return ""


def _words(e: Estimate, among: int = 1) -> str:
    joint = "" if among == 1 else f", joint over {among} such controls"
    return f"AUC {e.value:.2f}, 95% CI {e.low:.2f} to {e.high:.2f}{joint}"


# -- what mattered ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """Part of the variance of fold AUCs that a source explains, with a bootstrap interval over repeats."""

    source: str
    share: float
    low: float
    high: float
    levels: int


def what_mattered(
    result: Ablation, cells: Sequence[Cell], *, n_boot: int = 500, seed: int = 0
) -> list[Share]:
    """Variance of the fold AUCs by source: the split, each factor, their interactions, and the rest.

    A linear model of AUC on outer fold and factors, main effects by type II sums of squares on the cell means
    (each factor given the others), corrected for the noise they contain (omega squared: SS − df × MS of cell
    by fold). `interactions` is what cells differ beyond the main effects, `split` the luck of the draw of
    test cases, `cell by split` what no factor explains. Interval: repeats are resampled.
    """
    table = _wide(result, cells)
    factors = _varied(cells)
    point = _shares(table.to_numpy(), cells, factors)
    repeats = table.columns.get_level_values("repeat").to_numpy()
    names = np.unique(repeats)
    low, high = dict.fromkeys(point, math.nan), dict.fromkeys(point, math.nan)
    if len(names) > 2:
        rng = np.random.default_rng(seed)
        columns = {r: np.flatnonzero(repeats == r) for r in names}
        draws = []
        for _ in range(n_boot):
            picked = np.concatenate([columns[r] for r in rng.choice(names, len(names))])
            draws.append(_shares(table.to_numpy()[:, picked], cells, factors))
        drawn = pd.DataFrame(draws)
        low, high = drawn.quantile(0.025).to_dict(), drawn.quantile(0.975).to_dict()
    levels = {f: len({c.level(f) for c in cells}) for f in factors}
    return [Share(name, value, low[name], high[name], levels.get(name, 0)) for name, value in point.items()]


def marginal_means(result: Ablation, cells: Sequence[Cell], reference: Cell | None = None) -> pd.DataFrame:
    """Mean AUC of each level of each varied factor: factor, level, value, low, high, cells.

    Over all cells that have the level; with a reference (a grid that varies one factor at a time) over the
    cells that differ from it in that factor alone. The interval is that of the difference from the mean of
    all levels, fold by fold (Nadeau-Bengio), moved to that mean.
    """
    table = _wide(result, cells)
    areas = table.to_numpy()
    rows = []
    for factor in _varied(cells):
        use = np.array([reference is None or _differ_only(c, reference, factor) for c in cells])
        own = np.array([c.level(factor) for c in cells])
        has = {level: (own == level) & use for level in dict.fromkeys(own)}
        means = {level: areas[rows_].mean(axis=0) for level, rows_ in has.items() if rows_.any()}
        if len(means) < 2:
            continue
        middle = np.mean(list(means.values()), axis=0)
        for level, mine in means.items():
            test = nadeau_bengio(mine, middle, test_train_ratio=result.ratio)
            centre = float(middle.mean())
            bounds = (centre + test.low, centre + test.high)
            rows.append((factor, level, float(mine.mean()), *bounds, int(has[level].sum())))
    return pd.DataFrame(rows, columns=["factor", "level", "value", "low", "high", "cells"])


def _differ_only(cell: Cell, reference: Cell, factor: str) -> bool:
    """A selector comes with its number of features, so these two count as one."""
    tied = ("selector", "k") if factor in ("selector", "k") else (factor,)
    return all(cell.level(f) == reference.level(f) for f in FACTORS if f not in tied)


def _wide(result: Ablation, cells: Sequence[Cell]) -> pd.DataFrame:
    numbers = [result.number(cell) for cell in cells]
    own = result.folds[result.folds["number"].isin(numbers)]
    return own.pivot(index="number", columns=["repeat", "fold"], values="auroc").loc[numbers]


def _varied(cells: Sequence[Cell]) -> list[str]:
    return [f for f in FACTORS if len({c.level(f) for c in cells}) > 1]


def _shares(areas: np.ndarray, cells: Sequence[Cell], factors: Sequence[str]) -> dict[str, float]:
    """areas: (cells, folds)."""
    c, s = areas.shape
    total = float(((areas - areas.mean()) ** 2).sum())
    names = ["split", *factors, "interactions", "cell by split"]
    if total <= 0:
        return dict.fromkeys(names, 0.0)
    means = areas.mean(axis=1)
    split = c * float(((areas.mean(axis=0) - areas.mean()) ** 2).sum())
    between = s * float(((means - means.mean()) ** 2).sum())
    rest = max(total - split - between, 0.0)
    noise = rest / max((c - 1) * (s - 1), 1)
    whole, df_whole = _residual(means, cells, factors)
    found = {"split": max(split - (s - 1) * noise, 0.0)}
    for factor in factors:
        without, df = _residual(means, cells, [f for f in factors if f != factor])
        found[factor] = max(s * (without - whole) - (df - df_whole) * noise, 0.0)
    found["interactions"] = max(s * whole - df_whole * noise, 0.0)
    explained = {name: value / total for name, value in found.items()}
    return explained | {"cell by split": max(1.0 - sum(explained.values()), 0.0)}


def _residual(means: np.ndarray, cells: Sequence[Cell], factors: Sequence[str]) -> tuple[float, int]:
    """Residual sum of squares of the cell means on the factors, and its degrees of freedom."""
    columns = [np.ones(len(cells))]
    for factor in factors:
        levels = [c.level(factor) for c in cells]
        columns += [np.array([level == one for level in levels], float) for one in sorted(set(levels))[1:]]
    design = np.column_stack(columns)
    weight, _, rank, _ = np.linalg.lstsq(design, means, rcond=None)
    return float(((means - design @ weight) ** 2).sum()), len(cells) - int(rank)


def main_cells(result: Ablation, grid: Grid, features: str | None = None) -> list[Cell]:
    """Cells with true labels and the largest sample, of one feature set or of all image sets."""
    names = grid.of_role("main") if features is None else [features]
    size = main_size(result)
    return [
        c for c in result.cells if c.labels == "true" and c.features in names and c.sample_size == size
    ]  # fmt: skip


def main_size(result: Ablation) -> float:
    """The largest share of the training patients that a cell with true labels had; 0 where there is none."""
    return max((c.sample_size for c in result.cells if c.labels == "true"), default=0.0)


# -- the verdicts of a grid -------------------------------------------------------------------------


def chosen_sets(result: Ablation, grid: Grid) -> dict[str, Selected]:
    """The choice made inside, for each feature set that has a result."""
    own = {name: main_cells(result, grid, name) for name in grid.features}
    return {name: chosen_inside(result, cells, name) for name, cells in own.items() if cells}


def chosen_of_any(result: Ablation, grid: Grid) -> Selected | None:
    """The choice made inside among the pipelines of all image sets that compete, where there are several.

    What a reader may expect who would take whichever set looks best: picking the best row afterwards
    promises more. It is no feature set of its own, and stands in no comparison with those it is made of.
    """
    cells = main_cells(result, grid)
    return chosen_inside(result, cells, ANY) if len({c.features for c in cells}) > 1 else None


def contrasts(grid: Grid, chosen: Mapping[str, Selected], cases: Cases) -> list[Contrast]:
    """Every competing image set against each other and against the clinical and volume sets; one family."""
    mains = [n for n in chosen if grid.features[n].role == "main"]
    plain = [n for n in chosen if grid.features[n].role in ("clinical", "volume")]
    pairs = [(a, b) for i, a in enumerate(mains) for b in mains[i + 1 :]] + [
        (a, b) for a in mains for b in plain
    ]
    return family([contrast(chosen[a], chosen[b], cases, seed=grid.seed) for a, b in pairs])


def controls(grid: Grid, chosen: Mapping[str, Selected], result: Ablation, cases: Cases) -> list[Control]:
    """Every control of the grid judged, those of shuffled labels first and jointly."""
    found = []
    shuffled = [cell for cell in result.cells if cell.labels == "shuffled"]
    for cell in shuffled:
        one = replace(one_cell(result, cell), name=f"{cell.features} with shuffled labels")
        found.append(at_chance(one, SHUFFLED, among=len(shuffled)))
    for name, one in chosen.items():
        spec = grid.features[name]
        if spec.role == "control" and spec.of in chosen:
            original = chosen[spec.of]
            among = sum(grid.features[n].role == "control" and grid.features[n].of == spec.of for n in chosen)
            found.append(
                against_original(original, one, cases, "scrambled images", among=among, seed=grid.seed)
            )
        elif spec.role == "control":
            found.append(at_chance(one, "control"))
        elif spec.role == "volume":
            found += [
                against_original(chosen[main], one, cases, "volume only", seed=grid.seed)
                for main in chosen
                if grid.features[main].role == "main"
            ]
    return found
