"""Cases to develop, or to validate, a model that predicts the risk of a binary outcome (Riley and others).

Development: Riley et al., Stat Med 2019;38:1276 (part II) and BMJ 2020;368:m441; the mean absolute error of
predicted risks after van Smeden et al., Stat Methods Med Res 2019;28:2455; R2 from an AUC after Riley et al.,
Stat Med 2021;40:859. Validation: Riley et al., Stat Med 2021;40:4230.

The development criteria were made for regression with few predictors. A head on embeddings has hundreds of
them and is penalised: there a learning curve on real labels says more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.intervals import z_of
from radfoundry.plan.requirement import (
    MOST,
    Criterion,
    Requirement,
    better_than_chance,
    cases,
    cases_of_both,
    fewest,
    interval_width,
    share,
    smallest,
    split,
)

MAPE_PARAMETERS = 30  # van Smeden's formula was fitted to simulations with at most 30 predictors


def r2_maximum(prevalence: float) -> float:
    """The largest Cox-Snell R2 that an outcome of this prevalence allows: 1 - (p^p (1-p)^(1-p))^2.

    >>> round(r2_maximum(0.05), 2), round(r2_maximum(0.5), 2)
    (0.33, 0.75)
    """
    entropy = -(special.xlogy(prevalence, prevalence) + special.xlog1py(1 - prevalence, -prevalence))
    return float(1 - math.exp(-2 * entropy))


def r2_from_auc(auc: float, prevalence: float) -> float:
    """Cox-Snell R2 of a well calibrated model with this AUC.

    Riley et al. 2021 simulate a linear predictor that is normal in both classes with one variance and fit a
    logistic model to it. That model holds exactly there, so its expected log-likelihood is an integral, and
    R2 = 1 - exp(-2 (entropy of the outcome - expected entropy given the predictor)).

    >>> round(r2_from_auc(0.78, 0.2), 3)
    0.159
    """
    risk = _binormal(auc, prevalence)
    given = risk.mean(lambda lp: -special.xlogy(special.expit(lp), special.expit(lp)) - _other(lp))
    entropy = -(special.xlogy(prevalence, prevalence) + special.xlog1py(1 - prevalence, -prevalence))
    return float(1 - math.exp(-2 * (entropy - given)))


def _other(lp: np.ndarray) -> np.ndarray:
    return special.xlogy(special.expit(-lp), special.expit(-lp))


class LinearPredictor(NamedTuple):
    """Distribution of a model's linear predictor (log odds of risk): rising points with weights, (k,)."""

    points: np.ndarray
    weights: np.ndarray
    words: str

    def mean(self, of: Callable[[np.ndarray], np.ndarray]) -> float:
        """Expectation of a function of the linear predictor."""
        return float(self.weights @ of(self.points))


def _normal(mean: float, sd: float) -> LinearPredictor:
    if not (math.isfinite(mean) and 0 < sd < 50):
        raise InputError(f"a normal linear predictor needs a mean and an SD above 0, not {mean:g} and {sd:g}")
    points = mean + sd * GRID
    return LinearPredictor(points, _bells(points, sd, {mean: 1.0}), f"normal, mean {mean:g}, SD {sd:g}")


def _binormal(auc: float, prevalence: float) -> LinearPredictor:
    """Calibrated, normal in each class with one variance: means differ by the variance, 2 z(AUC)^2."""
    sd = math.sqrt(2) * float(special.ndtri(auc))
    middle = float(special.logit(prevalence))
    low, high = middle - sd**2 / 2, middle + sd**2 / 2
    points = np.linspace(low + sd * GRID[0], high + sd * GRID[-1], len(GRID))
    weights = _bells(points, sd, {low: 1 - prevalence, high: prevalence})
    return LinearPredictor(points, weights, f"normal in both classes, from AUC {auc:g}")


GRID = np.linspace(-9, 9, 8001)  # equal steps: for such smooth densities the sum is exact to rounding


def _bells(points: np.ndarray, sd: float, means: dict[float, float]) -> np.ndarray:
    density = sum(share_ * np.exp(-(((points - m) / sd) ** 2) / 2) for m, share_ in means.items())
    return np.asarray(density / np.sum(density))


def _beta(a: float, b: float) -> LinearPredictor:
    """Risks that follow a beta distribution, by equal shares of probability (midpoints)."""
    if not (a > 0 and b > 0):
        raise InputError(f"a beta distribution of risks needs two numbers above 0, not {a:g} and {b:g}")
    middles = (np.arange(100_000) + 0.5) / 100_000
    risk = np.clip(stats.beta.ppf(middles, a, b), 1e-12, 1 - 1e-12)
    return LinearPredictor(
        special.logit(risk), np.full(len(risk), 1 / len(risk)), f"risks beta({a:g}, {b:g})"
    )


def develop_model(
    prevalence: float,
    parameters: int,
    *,
    r2: float | None = None,
    r2_nagelkerke: float | None = None,
    auc: float | None = None,
    shrinkage: float = 0.9,
    optimism: float = 0.05,
    risk_margin: float = 0.05,
    mape: float | None = 0.05,
    n: int | None = None,
) -> Requirement:
    """Cases to develop a model of a binary outcome: every criterion must hold, the largest binds.

    parameters: candidate predictor parameters, counted before any selection. Give one of r2 (Cox-Snell),
    r2_nagelkerke, auc. Criteria: expected shrinkage at least `shrinkage`; apparent minus adjusted Nagelkerke
    R2 at most `optimism`; overall risk within +- `risk_margin` (95 %); mean absolute error of predicted
    risks at most `mape` (None leaves it out; it is left out, with a note, above 30 parameters).
    n: say instead what that many cases reach. Raises InputError, naming the largest possible R2.

    >>> develop_model(0.174, 24, r2=0.288, mape=None).n
    662
    """
    share(prevalence, "prevalence")
    parameters = cases(parameters, 1, "parameters")
    best = r2_maximum(prevalence)
    value = _chosen_r2(prevalence, best, r2, r2_nagelkerke, auc)
    share(shrinkage, "shrinkage", hint="0.9 is usual")
    share(optimism, "optimism", hint="0.05 is usual")
    share(risk_margin, "risk margin", hint="0.05 is usual")
    if value >= shrinkage:
        raise InputError(f"R2 {value:.3g} must stay below the shrinkage asked for, {shrinkage:g}. Raise it")
    targets = {"shrinkage": shrinkage, "optimism of R2": optimism, "overall risk": risk_margin}
    notes = []
    if mape is not None and parameters <= MAPE_PARAMETERS:
        targets["error of risks"] = share(mape, "mape", hint="0.05 is usual")
    elif mape is not None:
        notes.append(f"error of risks left out: its formula holds up to {MAPE_PARAMETERS} parameters")
    whole = _development_needs(targets, parameters, value, best, prevalence)
    total = cases(n, 2) if n is not None else max(whole.values())
    reached = _development_reached(total, parameters, value, best, prevalence)
    criteria = tuple(
        Criterion(name, QUANTITIES[name], targets[name], reached[name], need if n is None else None)
        for name, need in whole.items()
    )
    events = total * min(prevalence, 1 - prevalence) / parameters
    notes.append(f"{events:.1f} cases of the rarer class for each parameter")
    given = {"auc": auc} if auc is not None else {}
    return Requirement(
        f"Developing a model with {parameters} parameter{'s' if parameters > 1 else ''}",
        total,
        criteria,
        *split(total, prevalence),
        given=n is not None,
        assumptions={"prevalence": prevalence, **given, "Cox-Snell R2": value, "largest possible R2": best},
        method="criteria for a binary outcome; R2 from the AUC by integration" if given else
        "criteria for a binary outcome",
        source="Riley et al., Stat Med 2019;38:1276 and BMJ 2020;368:m441"
        + ("; van Smeden et al., Stat Methods Med Res 2019;28:2455" if "error of risks" in targets else "")
        + ("; Riley et al., Stat Med 2021;40:859" if given else ""),
        notes=tuple(notes),
    )  # fmt: skip


def _development_needs(
    targets: dict[str, float], parameters: int, r2: float, best: float, prevalence: float
) -> dict[str, int]:
    """Cases that each target needs. best: the largest possible Cox-Snell R2."""
    tight = r2 / (r2 + targets["optimism of R2"] * best)
    needs = {
        "shrinkage": _shrinkage_n(parameters, r2, targets["shrinkage"]),
        "optimism of R2": _shrinkage_n(parameters, r2, tight),
        "overall risk": (z_of(0.95) / targets["overall risk"]) ** 2 * prevalence * (1 - prevalence),
    }
    if "error of risks" in targets:
        at_one = _log_mape(min(prevalence, 1 - prevalence), parameters)
        needs["error of risks"] = math.exp((at_one - math.log(targets["error of risks"])) / 0.544)
    return {name: _whole(need, name) for name, need in needs.items()}


def _development_reached(
    total: int, parameters: int, r2: float, best: float, prevalence: float
) -> dict[str, float]:
    """What so many cases reach in each criterion. best: the largest possible Cox-Snell R2."""
    expected = _expected_shrinkage(total, parameters, r2)
    error = _log_mape(min(prevalence, 1 - prevalence), parameters) - 0.544 * math.log(total)
    return {
        "shrinkage": expected,
        "optimism of R2": r2 * (1 - expected) / expected / best if expected > 0 else math.inf,
        "overall risk": z_of(0.95) * math.sqrt(prevalence * (1 - prevalence) / total),
        "error of risks": math.exp(error),
    }


QUANTITIES = {
    "shrinkage": "expected shrinkage",
    "optimism of R2": "optimism",
    "overall risk": "margin",
    "error of risks": "mean error",
}


def _chosen_r2(
    prevalence: float, best: float, r2: float | None, nagelkerke: float | None, auc: float | None
) -> float:
    if sum(x is not None for x in (r2, nagelkerke, auc)) != 1:
        raise InputError("say how well the model will predict by one of: AUC, Cox-Snell R2, Nagelkerke R2")
    if auc is not None:
        return r2_from_auc(better_than_chance(auc), prevalence)
    if nagelkerke is not None:
        return share(nagelkerke, "Nagelkerke R2") * best
    assert r2 is not None
    if not 0 < r2 < best:
        raise InputError(
            f"Cox-Snell R2 must lie above 0 and below {best:.4f}, the largest possible at prevalence "
            f"{prevalence:g}, not {r2:g}. If you have a Nagelkerke R2, give that"
        )
    return r2


def _shrinkage_n(parameters: int, r2: float, shrinkage: float) -> float:
    """n = P / ((S - 1) ln(1 - R2 / S)): Riley et al. 2019, from van Houwelingen's heuristic shrinkage."""
    return parameters / ((shrinkage - 1) * math.log1p(-r2 / shrinkage))


def _expected_shrinkage(n: int, parameters: int, r2: float) -> float:
    """The S of `_shrinkage_n` at a given n; 0 where n is too small for any.

    As S falls towards R2 the n it needs first falls, then rises again; the root with the larger S counts.
    """
    grid = np.linspace(r2, 1, 2001)[1:-1]
    needs = np.array([_shrinkage_n(parameters, r2, s) for s in grid])
    lowest = int(needs.argmin())
    if n < needs[lowest]:
        return 0.0
    low, high = float(grid[lowest]), 1 - 1e-12
    return float(optimize.brentq(lambda s: _shrinkage_n(parameters, r2, s) - n, low, high, xtol=1e-14))


def _log_mape(rarer: float, parameters: int) -> float:
    """ln of the mean absolute prediction error at n = 1; each e-fold of n takes 0.544 away."""
    return -0.508 + 0.259 * math.log(rarer) + 0.504 * math.log(parameters)


def _whole(need: float, name: str) -> int:
    if not need <= MOST:
        raise NotEnoughData(
            f"{name} would need more than {MOST:,} cases. Expect more of the model, or ask for less"
        )
    return math.ceil(need - 1e-9)


def validate_model(
    prevalence: float,
    auc: float,
    *,
    lp_normal: tuple[float, float] | None = None,
    risk_beta: tuple[float, float] | None = None,
    oe_width: float = 0.2,
    slope_width: float = 0.2,
    auc_width: float = 0.1,
    threshold: float | None = None,
    sensitivity: float | None = None,
    specificity: float | None = None,
    benefit_width: float = 0.2,
    level: float = 0.95,
    n: int | None = None,
) -> Requirement:
    """Cases to validate a model of a binary outcome that is expected to be well calibrated.

    Criteria, each the width of an interval: observed/expected events; calibration slope; AUC; and, where a
    risk `threshold` is given, standardised net benefit there (at the sensitivity and specificity given, else
    those that the distribution of the linear predictor implies).
    lp_normal: (mean, SD) of the linear predictor; risk_beta: the two parameters of a beta distribution of
    predicted risks. Without either, the predictor is normal in both classes, as AUC and prevalence imply.

    >>> validate_model(0.2, 0.78, lp_normal=(-1.75, 1.22)).binding
    'calibration slope'
    """
    share(prevalence, "prevalence")
    better_than_chance(auc)
    share(level, "level", hint="For 95 % give 0.95")
    risk = _expected_risk(prevalence, auc, lp_normal, risk_beta)
    targets = {"observed/expected": _positive(oe_width, "O/E width")}
    targets["calibration slope"] = _positive(slope_width, "slope width")
    targets["AUC"] = interval_width(auc_width, "AUC width")
    variance = {"calibration slope": slope_variance(risk)}
    assumptions: dict[str, float | str] = {"prevalence": prevalence, "auc": auc, "level": level}
    assumptions["linear predictor"] = risk.words
    if threshold is not None:
        found = _at_threshold(risk, threshold, sensitivity, specificity)
        variance["net benefit"] = benefit_variance(prevalence, threshold, *found)
        targets["net benefit"] = _positive(benefit_width, "net benefit width")
        assumptions |= {"threshold": threshold, "sensitivity": found[0], "specificity": found[1]}
    elif sensitivity is not None or specificity is not None:
        raise InputError("sensitivity and specificity serve net benefit: give the risk threshold too")
    z = z_of(level)
    widths: dict[str, Callable[[int], float]] = {
        "observed/expected": lambda k: 2 * math.sinh(min(z * oe_se(prevalence, k), 700)),
        "calibration slope": lambda k: 2 * z * math.sqrt(variance["calibration slope"] / k),
        "AUC": lambda k: 2 * z * newcombe_se(auc, k * prevalence, k * (1 - prevalence)),
        "net benefit": lambda k: 2 * z * math.sqrt(variance["net benefit"] / k),
    }
    total, criteria = _narrow_enough(widths, targets, prevalence, n)
    return Requirement(
        f"Validating a model with AUC {auc:g}",
        total,
        criteria,
        *split(total, prevalence),
        given=n is not None,
        assumptions=assumptions,
        method="precision of calibration, discrimination and net benefit of a well calibrated model",
        source="Riley et al., Stat Med 2021;40:4230-4251",
        notes=(*_coherence(risk, prevalence, auc), *_events(total, prevalence)),
    )


def _expected_risk(
    prevalence: float,
    auc: float,
    lp_normal: tuple[float, float] | None,
    risk_beta: tuple[float, float] | None,
) -> LinearPredictor:
    """The distribution of the linear predictor: as given, else as AUC and prevalence imply."""
    if lp_normal is not None and risk_beta is not None:
        raise InputError("give the linear predictor as normal or the risks as beta, not both")
    if lp_normal is not None:
        return _normal(*lp_normal)
    return _beta(*risk_beta) if risk_beta is not None else _binormal(auc, prevalence)


def _narrow(width: Callable[[int], float], target: float) -> Callable[[int], bool]:
    return lambda k: width(k) <= target


def _narrow_enough(
    widths: dict[str, Callable[[int], float]], targets: dict[str, float], prevalence: float, n: int | None
) -> tuple[int, tuple[Criterion, ...]]:
    """Cases with which every interval is as narrow as its target, or `n`; and the width of each with them."""
    needs = {
        name: smallest(
            _narrow(widths[name], target), f"an interval of {name} {target:g} wide", start=fewest(prevalence)
        )
        for name, target in targets.items()
    }
    total = cases_of_both(n, prevalence) if n is not None else max(needs.values())
    return total, tuple(
        Criterion(name, "width", target, widths[name](total), needs[name] if n is None else None)
        for name, target in targets.items()
    )


def _positive(width: float, name: str) -> float:
    if not 0 < width < math.inf:
        raise InputError(f"{name} must be a number above 0, not {width:g}: upper minus lower limit")
    return width


def oe_se(prevalence: float, n: float) -> float:
    """SE of ln(observed/expected) where O/E is 1: sqrt((1 - prevalence) / (n prevalence)).

    >>> round(oe_se(0.018, 905), 4)
    0.2455
    """
    return math.sqrt((1 - prevalence) / (n * prevalence))


def slope_variance(risk: LinearPredictor) -> float:
    """n times the variance of the calibration slope, where calibration is perfect.

    I_a / (I_a I_b - I_ab^2) with I_a = E[p(1-p)], I_ab = E[LP p(1-p)], I_b = E[LP^2 p(1-p)]: the inverse of
    Fisher's information of the logistic model of the outcome on the linear predictor.
    """
    unit = special.expit(risk.points) * special.expit(-risk.points)
    a, ab, b = (float(risk.weights @ (risk.points**power * unit)) for power in (0, 1, 2))
    return a / (a * b - ab**2)


def newcombe_se(auc: float, positives: float, negatives: float) -> float:
    """SE of an AUC after Newcombe (Stat Med 2006;25:559, method 4), as Riley et al. 2021 use it.

    Hanley and McNeil's formula with both class sizes replaced by their mean in the two last terms.
    """
    half = (positives + negatives) / 2 - 1
    spread = 1 + half * (1 - auc) / (2 - auc) + half * auc / (1 + auc)
    return math.sqrt(auc * (1 - auc) * spread / (positives * negatives))


def benefit_variance(prevalence: float, threshold: float, sensitivity: float, specificity: float) -> float:
    """n times the variance of standardised net benefit, sens - w (1 - spec), w = odds(t) / odds(prevalence).

    Marsh et al., Epidemiology 2020; Riley et al. 2021: the classes' binomial variances, and that of w
    through the prevalence seen.
    """
    w = (1 - prevalence) / prevalence * threshold / (1 - threshold)
    return (
        sensitivity * (1 - sensitivity) / prevalence
        + w**2 * specificity * (1 - specificity) / (1 - prevalence)
        + w**2 * (1 - specificity) ** 2 / (prevalence * (1 - prevalence))
    )


def _at_threshold(
    risk: LinearPredictor, threshold: float, sensitivity: float | None, specificity: float | None
) -> tuple[float, float]:
    share(threshold, "threshold", hint="It is a risk, such as 0.1")
    if (sensitivity is None) != (specificity is None):
        raise InputError("give both sensitivity and specificity at the threshold, or neither")
    if sensitivity is not None and specificity is not None:
        return share(sensitivity, "sensitivity"), share(specificity, "specificity")
    above = _step(risk, threshold)
    positive, negative = special.expit(risk.points) * risk.weights, special.expit(-risk.points) * risk.weights
    return float(above @ positive / positive.sum()), float(1 - above @ negative / negative.sum())


def _step(risk: LinearPredictor, threshold: float) -> np.ndarray:
    """Share of each point's cell that lies above the threshold; (k,)."""
    edges = (risk.points[1:] + risk.points[:-1]) / 2
    left, right = np.r_[risk.points[0], edges], np.r_[edges, risk.points[-1]]
    return np.clip((right - special.logit(threshold)) / np.maximum(right - left, 1e-300), 0, 1)


def _coherence(risk: LinearPredictor, prevalence: float, auc: float) -> tuple[str, ...]:
    """A note where the distribution given implies another prevalence or AUC than those stated."""
    implied = risk.mean(special.expit)
    p, w = special.expit(risk.points), risk.weights
    positive, negative = p * w, (1 - p) * w
    below = np.cumsum(negative) - negative / 2
    ranked = float(positive @ below / (positive.sum() * negative.sum()))
    if abs(implied / prevalence - 1) < 0.1 and abs(ranked - auc) < 0.02:
        return ()
    return (
        f"this linear predictor implies prevalence {implied:.3f} and AUC {ranked:.3f}, not those stated; the "
        "slope's n rests on it",
    )


def _events(total: int, prevalence: float) -> tuple[str, ...]:
    events = min(split(total, prevalence))
    if events >= 100:
        return ()
    return (
        f"{events} cases of the rarer class; below 100 the widths seen will scatter (Collins et al., Stat "
        "Med 2016;35:214)",
    )
