"""Whether the power that the formula promises is there: whole reader studies drawn, each one analysed.

`RoeMetz` and `simulate_ratings` draw the ratings; `components_of` says which Obuchowski-Rockette components
such ratings have, exactly; `fit_model` finds ratings with given components; `check_power` counts in how many
studies the analysis finds the difference. Hillis, J Med Imaging 2018;5:045501 relates the two models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, stats

from radfoundry.datasets.simulated_readers import RoeMetz, simulate_ratings
from radfoundry.errors import InputError
from radfoundry.plan.ranges import check_ranges
from radfoundry.plan.reader_power import Components, Random, reader_power
from radfoundry.plan.requirement import draws_of
from radfoundry.types import json_ready

__all__ = [
    "RoeMetz", "SimulatedReaderPower", "check_power", "components_of", "empirical_aucs",
    "fit_model", "fixed_readers", "null_of", "or_covariances", "or_p_values", "simulate_ratings",
]  # fmt: skip
CELLS = 2_000_000  # ratings held at once: 16 MB a copy


def components_of(model: RoeMetz, positives: int, negatives: int) -> Components:
    """Obuchowski-Rockette components of the empirical AUC under the model, exact for two modalities.

    Every moment is a bivariate normal probability. Error and Cov2 are means over the modalities, as the
    analysis takes them. Raises InputError unless the model has two modalities.
    """
    _two(model)
    pairs = {"error": ((0, 0), (1, 1)), "cov1": ((0, 1),), "cov2": ((0, 0), (1, 1)), "cov3": ((0, 1),)}
    found = {}
    for name, modalities in pairs.items():
        same = name in ("error", "cov1")
        terms = [_covariance(model, a, b, positives, negatives, same) for a, b in modalities]
        found[name] = float(np.mean(terms))
    both = float(np.mean([_reader_term(model, i, i) for i in (0, 1)]))
    reader = _reader_term(model, 0, 1)
    return Components(
        both - reader, found["error"], found["cov1"], found["cov2"], found["cov3"], positives, negatives,
        var_reader=reader, source="Roe and Metz model",
    )  # fmt: skip


def _two(model: RoeMetz) -> None:
    if len(model.auc) != 2:
        raise InputError(f"power is that of two modalities; the model has {len(model.auc)}")


def _reader_term(model: RoeMetz, a: int, b: int) -> float:
    """Covariance of one reader's true AUCs in modalities a and b: nothing but the reader is shared."""
    joint = model.concordance(a, b, reader=True, positive=False, negative=False)
    return joint - model.auc[a] * model.auc[b]


def _covariance(model: RoeMetz, a: int, b: int, positives: int, negatives: int, same: bool) -> float:
    """Covariance over cases of two empirical AUCs, less what readers alone would give."""

    def joint(positive: bool, negative: bool) -> float:
        return model.concordance(a, b, reader=same, positive=positive, negative=negative)

    apart = joint(False, False)
    terms = (
        joint(True, True) - apart
        + (negatives - 1) * (joint(True, False) - apart)
        + (positives - 1) * (joint(False, True) - apart)
    )  # fmt: skip
    return terms / (positives * negatives)


def fit_model(components: Components, auc: tuple[float, float]) -> RoeMetz:
    """A Roe and Metz model whose empirical AUCs have these components, with the AUCs of the two modalities.

    Matched are the variances of reader and of modality x reader and the three covariances as shares of the
    error variance; the error variance itself follows from the AUCs and the numbers of cases, so compare
    `components_of(model, ...)` with what was asked. Raises InputError where no such model exists.
    """
    if not components.is_area:
        raise InputError(f"the model is of ratings and their AUC, not of {components.merit}")
    if math.isnan(components.var_reader):
        raise InputError("the model needs var_reader too. Give it, 0.001 if nothing is known")
    wanted = np.array(
        [
            max(components.var_reader, 0.0),
            max(components.var_treatment_reader, 0.0),
            *(c / components.error for c in (components.cov1, components.cov2, components.cov3)),
        ]
    )
    weight = np.array([1 / max(wanted[0], 1e-4), 1 / max(wanted[1], 1e-4), 10.0, 10.0, 10.0])

    def model_of(x: np.ndarray) -> RoeMetz:
        shares = np.exp(np.append(x[2:], 0.0))
        case, modality_case, reader_case, error = shares / shares.sum()
        effects = (*np.exp(x[:2]), case, modality_case, reader_case, error)
        return RoeMetz(auc, *map(float, effects))

    def off(x: np.ndarray) -> np.ndarray:
        one = components_of(model_of(x), components.positives, components.negatives)
        shares = (c / one.error for c in (one.cov1, one.cov2, one.cov3))
        return weight * (np.array([one.var_reader, one.var_treatment_reader, *shares]) - wanted)

    start = np.array([math.log(0.02), math.log(0.01), 0.0, -1.0, -0.5])
    fit = optimize.least_squares(off, start, bounds=(-16, 4), xtol=1e-10, ftol=1e-10, diff_step=1e-4)
    if np.abs(fit.fun).max() > 0.1:
        raise InputError(
            f"no Roe and Metz model has AUCs {auc[0]:g} and {auc[1]:g} with these components. Check that "
            "Cov1 and Cov2 are above Cov3, and Cov1 + Cov2 - Cov3 below the error variance"
        )
    return model_of(fit.x)


def empirical_aucs(ratings: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUCs (R, I, J) of ratings (R, I, J, cases), positives first, and the placements of both classes.

    Placements: (R, I, J, positives) and (R, I, J, negatives); ties count one half.
    """
    negatives = ratings.shape[-1] - positives
    ranks = stats.rankdata(ratings, axis=-1)
    own = [stats.rankdata(part, axis=-1) for part in np.split(ratings, [positives], axis=-1)]
    above = (ranks[..., :positives] - own[0]) / negatives
    below = 1 - (ranks[..., positives:] - own[1]) / positives
    return above.mean(axis=-1), above, below


def or_covariances(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """(R, 4) error variance, Cov1, Cov2, Cov3 by DeLong, from placements as `empirical_aucs` gives them."""
    replicates, modalities, readers = above.shape[:3]
    k = modalities * readers
    total = np.zeros((replicates, k, k))
    for part in (above, below):
        m = part.shape[-1]
        centred = (part - part.mean(axis=-1, keepdims=True)).reshape(replicates, k, m)
        total += centred @ centred.transpose(0, 2, 1) / (m * (m - 1))
    i, j = np.divmod(np.arange(k), readers)
    same_i, same_j = i[:, None] == i, j[:, None] == j
    kinds = (same_i & same_j, ~same_i & same_j, same_i & ~same_j, ~same_i & ~same_j)
    return np.stack([total[:, kind].mean(axis=1) for kind in kinds], axis=1)


def or_p_values(
    aucs: np.ndarray,
    covariances: np.ndarray,
    *,
    random: Random = "readers and cases",
    margin: float | None = None,
) -> np.ndarray:
    """P values (R,) of Obuchowski and Rockette's test of two modalities, Hillis' degrees of freedom.

    aucs: (R, groups, 2, J) figures of merit, J readers a group. covariances: (R, groups, 4), as
    `or_covariances` orders them. margin: one-sided p of "the second modality is worse by the margin or
    more"; None for the two-sided test of no difference. One group is the fully crossed study.
    """
    groups, readers = aucs.shape[1], aucs.shape[3]
    own_difference = aucs[:, :, 1] - aucs[:, :, 0]  # (R, groups, J)
    mean = own_difference.mean(axis=2, keepdims=True)
    total = groups * readers
    ms_tr = ((own_difference - mean) ** 2).sum(axis=(1, 2)) / 2 / (total - groups)
    error, cov1, cov2, cov3 = np.moveaxis(covariances.mean(axis=1), 1, 0)
    difference = mean[:, :, 0].mean(axis=1)
    between = cov2 - cov3
    df: np.ndarray | float
    if random == "readers":
        den, df = ms_tr, float(total - groups)
    elif random == "cases":
        den, df = error - cov1 + (readers - 1) * between, np.inf
    else:
        den = ms_tr + np.maximum(readers * between, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            df = np.where(ms_tr > 0, den**2 / (ms_tr**2 / (total - groups)), np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = (difference + (margin or 0.0)) / np.sqrt(2 * np.maximum(den, 0.0) / total)
    tail = stats.t.sf(np.abs(t) if margin is None else t, df)
    p = np.minimum(2 * tail, 1.0) if margin is None else tail
    return np.where(np.isnan(t), 1.0, p)  # no difference and no variance: nothing was found


@dataclass(frozen=True, slots=True)
class SimulatedReaderPower:
    """Share of simulated studies whose analysis finds the difference, beside what the formula predicts.

    power_error: Monte-Carlo error of power. predicted: by `reader_power` from the model's exact components,
    NaN where the model holds no difference (power is then the true size of the test).
    """

    power: float
    power_error: float
    predicted: float
    difference: float
    mean_difference: float
    readers: int
    positives: int
    negatives: int
    groups: int
    alpha: float
    random: Random
    margin: float | None
    levels: int | None
    replicates: int
    seed: int

    def __str__(self) -> str:
        told = "size" if math.isnan(self.predicted) else "power"
        formula = "" if math.isnan(self.predicted) else f"; by the formula {self.predicted:.3f}"
        scale = "decision variables" if self.levels is None else f"ratings of {self.levels} grades"
        aim = "two-sided" if self.margin is None else f"margin {self.margin:g}, one-sided"
        return (
            f"simulated {self.readers} readers x {self.positives + self.negatives} cases "
            f"(± Monte-Carlo error)\n"
            f"{told:<9} {self.power:.3f} ± {self.power_error:.3f}{formula}\n"
            f"test      {aim} {self.alpha:g}, random {self.random}\n"
            f"studies   {self.replicates} with {self.positives} positive, {self.negatives} negative cases"
            f"{f', {self.groups} groups' if self.groups > 1 else ''}; {scale}; seed {self.seed}"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null."""
        return json_ready(self)


def check_power(
    model: RoeMetz,
    readers: int,
    positives: int,
    negatives: int,
    *,
    groups: int = 1,
    alpha: float | None = None,
    random: Random = "readers and cases",
    margin: float | None = None,
    levels: int | None = None,
    replicates: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> SimulatedReaderPower:
    """Draw whole studies from the model and analyse each; equal AUCs give the true size of the test.

    readers, positives, negatives: of the whole study; with `groups` (split-plot) each group has an equal
    share of them. levels: grades of the rating scale, None for the decision variable. Where readers are fixed
    (random="cases") they are the same in every study, all alike: `fixed_readers` of the model is drawn from.
    Raises InputError where the counts do not divide by the groups.
    """
    _two(model)
    model = fixed_readers(model) if random == "cases" else model
    draws_of(replicates)
    check_ranges(seed=seed)
    for name, count in (("readers", readers), ("positives", positives), ("negatives", negatives)):
        if count % groups or count < 2 * groups:
            raise InputError(f"{count} {name} do not make {groups} equal groups of two at least")
    alpha = (0.05 if margin is None else 0.025) if alpha is None else alpha
    difference = model.auc[1] - model.auc[0]
    predicted = math.nan
    if margin is not None or difference:
        predicted = reader_power(
            components_of(model, positives, negatives), difference, readers, positives + negatives,
            alpha=alpha, random=random, groups=groups, margin=margin,
        ).power  # fmt: skip
    rng = np.random.default_rng(seed)
    hits, total, done = 0, 0.0, 0
    shape = (readers // groups, positives // groups, negatives // groups)
    for size in _blocks(replicates, groups, shape):
        ratings = simulate_ratings(rng, size * groups, model, *shape, levels=levels)
        aucs, above, below = empirical_aucs(ratings, shape[1])
        by_group = aucs.reshape(size, groups, 2, shape[0])
        covariances = or_covariances(above, below).reshape(size, groups, 4)
        p = or_p_values(by_group, covariances, random=random, margin=margin)
        hits += int((p < alpha).sum())
        total += float((by_group[:, :, 1] - by_group[:, :, 0]).mean(axis=(1, 2)).sum())
        done += size
        if progress is not None:
            progress(done, replicates)
    power = hits / replicates
    error = math.sqrt(max(power * (1 - power), 1 / replicates) / replicates)
    return SimulatedReaderPower(
        power, error, predicted, difference, total / replicates, readers, positives, negatives, groups, alpha,
        random, margin, levels, replicates, seed,
    )  # fmt: skip


def _blocks(replicates: int, groups: int, shape: tuple[int, int, int]) -> Iterator[int]:
    """Numbers of studies drawn at once."""
    readers, positives, negatives = shape
    size = max(1, min(replicates, CELLS // (groups * 2 * readers * (positives + negatives))))
    for start in range(0, replicates, size):
        yield min(size, replicates - start)


def fixed_readers(model: RoeMetz) -> RoeMetz:
    """The same model with readers who do not differ: drawing them anew then changes nothing."""
    return replace(model, reader=0.0, modality_reader=0.0)


def null_of(model: RoeMetz) -> RoeMetz:
    """The same model with both AUCs at their mean: what a test of no difference should leave alone."""
    mean = sum(model.auc) / len(model.auc)
    return replace(model, auc=(mean,) * len(model.auc))
