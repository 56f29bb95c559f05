"""Judge a prediction table: every metric with its interval, its n, and what would be trivial.

Repeated cross-validation: out-of-fold scores are pooled within a repeat, the metric is taken per
repeat, and the estimate is the mean over repeats. Its interval rests on patients, not on repeats:
DeLong on components averaged over repeats, or a bootstrap that draws patients and takes the mean over
repeats in each draw. So more repeats never shrink an interval below what the patients allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from radfoundry.evaluate import calibration
from radfoundry.evaluate.baselines import trivial
from radfoundry.evaluate.classification import METRICS, brier_rows, f1_per_class, recalls
from radfoundry.evaluate.classification import divide as _divide
from radfoundry.evaluate.intervals import (
    delong_from,
    estimate_from_draws,
    placements,
    wilson,
)
from radfoundry.evaluate.parts import Part, Repeat, make_part, parts
from radfoundry.evaluate.resample import (
    average_precision,
    draw_blocks,
    patient_sums,
    percentile,
    sensitivity_at,
)
from radfoundry.evaluate.subgroups import groups
from radfoundry.predictions import is_survival, validate
from radfoundry.types import Estimate

HEADLINE = ("prevalence", "auroc", "accuracy", "sensitivity", "specificity")
HEADLINE_CLASSES = ("accuracy", "balanced_accuracy", "auroc_ovr_macro")
BINS = 10


def evaluate(
    df: pd.DataFrame,
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    subgroups: Sequence[str] = (),
    min_n: int = 20,
    threshold: float | None = None,
    horizons: Sequence[float] = (),
    cutoff: float | str | None = None,
    competing: bool = False,
    in_sample: bool = False,
) -> list[Estimate]:
    """Metrics with intervals for every model x target x split of a prediction table.

    Decisions come from the column `decision`, else from the column `threshold`, else from the argument
    `threshold`, else from 0.5 (said in the method); a threshold is never chosen here. Intervals are
    Wilson's and DeLong's where patients own one row each, otherwise clustered by patient. Trivial
    scores follow their metric as `<metric>_trivial`. `subgroups` names covariate columns; a subgroup
    below `min_n` patients gets no value but a note. Where only one class occurs, AUC and its kin are NaN
    with a note. Rows that predict a time to an event go to `survival.evaluate_survival`, with horizons,
    cutoff, competing and in_sample. Raises TableError when the table is wrong.
    """
    table = validate(df)
    out: list[Estimate] = []
    timed = is_survival(table)
    if timed.any():
        from radfoundry.evaluate.survival import evaluate_survival  # it uses this module's neighbours

        out += evaluate_survival(
            table[timed], level=level, n_boot=n_boot, seed=seed, horizons=horizons, subgroups=subgroups,
            min_n=min_n, cutoff=cutoff, competing=competing, in_sample=in_sample,
        )  # fmt: skip
        table = table[~timed]
    for part in parts(table, threshold):
        whole = part_estimates(part, level=level, n_boot=n_boot, seed=seed)
        out += whole
        wanted = HEADLINE if part.binary else HEADLINE_CLASSES
        scored = {e.name for e in whole} - {"prevalence"}  # what a group too small to judge lacks
        missing = [name for name in wanted if name in scored]
        for covariate in dict.fromkeys(subgroups):
            for name, mask in groups(part.rows, covariate).items():
                label = f"{part.label}, {name}" if part.label else name
                rows = part.rows[mask]
                if rows["patient_id"].nunique() < min_n:
                    out += _too_few(rows, part, label, missing, min_n, level)
                    continue
                piece = make_part(rows, part.model, part.target, label, threshold)
                out += _subgroup(piece, part, wanted, level=level, n_boot=n_boot, seed=seed)
    return out


def part_estimates(
    part: Part, *, level: float, n_boot: int, seed: int, only: Sequence[str] | None = None
) -> list[Estimate]:
    """Every estimate of one part, or those named in `only` (then without trivial scores)."""
    point = metric_values(part, np.ones((part.n_patients, 1)))
    boot = _needs_bootstrap(part, point, only)
    ranks = only is None or not part.aligned or not {"auprc", "sens_at_spec90"}.isdisjoint(only)
    drawn = _bootstrap(part, n_boot, seed, ranks=ranks) if boot else {}
    out = [prevalence(part, level)] if part.binary else []
    for name, value in point.items():
        if only is not None and name not in only:
            continue
        out.append(estimate_of(part, name, float(value[0]), drawn.get(name), level, seed))
        if name == "auroc" and math.isfinite(value[0]) and only is None:
            out.append(_bootstrap_interval(part, "auroc_bootstrap", float(value[0]), drawn["auroc"], level))
        if only is None and (beside := _trivial(part, name, seed)):
            out.append(beside)
    if only is None and part.binary and part.is_probability:
        out += _calibration(part, level)
    return [labelled(e, part) for e in out if only is None or e.name in only]


def labelled(estimate: Estimate, part: Part) -> Estimate:
    """The estimate with the names of its model, target and subgroup."""
    return replace(estimate, model=part.model, target=part.target, subgroup=part.label)


def _too_few(
    rows: pd.DataFrame, part: Part, label: str, names: Sequence[str], min_n: int, level: float
) -> list[Estimate]:
    """NaN with a note for each name; `rows` are not made a part, as an identifier has thousands of groups."""
    n, patients = rows["case_id"].nunique(), rows["patient_id"].nunique()
    has = f"{n} cases" + ("" if patients == n else f" of {patients} patients")
    none = Estimate("", math.nan, level=level, n=n, n_clusters=patients, target=part.target, subgroup=label,
                    model=part.model, note=f"too few: {has}, at least {min_n} asked for")  # fmt: skip
    return [replace(none, name=name) for name in names]


def _subgroup(
    piece: Part, whole: Part, wanted: Sequence[str], *, level: float, n_boot: int, seed: int
) -> list[Estimate]:
    found = part_estimates(
        replace(piece, classes=whole.classes), level=level, n_boot=n_boot, seed=seed, only=wanted
    )
    return sorted(found, key=lambda e: wanted.index(e.name))


# --- values: each metric as a function of how often every patient was drawn -------------------------


def metric_values(part: Part, counts: np.ndarray, *, ranks: bool = True) -> dict[str, np.ndarray]:
    """Metric name to (draws,), the mean over repeats. counts: (patients, draws).

    ranks: without, those of two classes that need the order of the scores are left out: they take longest.
    """
    found = [
        _binary_values(part, repeat, counts, ranks) if part.binary else _class_values(part, repeat, counts)
        for repeat in part.repeats
    ]
    return {name: np.mean([f[name] for f in found], axis=0) for name in found[0]}


def _binary_values(part: Part, repeat: Repeat, counts: np.ndarray, ranks: bool) -> dict[str, np.ndarray]:
    ranked = repeat.ranked[0]
    if not ranks:
        out = {}
    elif len(ranked.thresholds):
        operating = ranked.operating(counts)
        out = {
            "auroc": ranked.auroc(counts),
            "auprc": average_precision(*operating[:3]),
            "sens_at_spec90": sensitivity_at(0.9, *operating),
        }
        if (repeat.y == 1).all():
            out = {name: np.full(counts.shape[1], np.nan) for name in out}
    else:
        nan = np.full(counts.shape[1], np.nan)
        out = {"auroc": nan, "auprc": nan, "sens_at_spec90": nan}
    if repeat.decision is not None:
        cm = _confusions(repeat, 2, counts)
        out |= {name: m.function(cm) for name, m in METRICS.items() if m.kind == "decision"}
    if part.is_probability:
        p = repeat.score[:, 0]
        out["brier"] = _weighted_mean((p - repeat.y)[:, None] ** 2, repeat, counts)[0]
        which = calibration.bins_of(p, BINS)
        gaps = (which[:, None] == np.arange(which.max() + 1)) * (repeat.y - p)[:, None]
        out["ece"] = np.abs(_weighted_mean(gaps, repeat, counts)).sum(axis=0)
    return out


def _class_values(part: Part, repeat: Repeat, counts: np.ndarray) -> dict[str, np.ndarray]:
    k = len(part.classes)
    areas = np.stack(
        [r.auroc(counts) if len(r.thresholds) else np.full(counts.shape[1], np.nan) for r in repeat.ranked]
    )
    cm = _confusions(repeat, k, counts)
    shares = _divide(cm.sum(1), cm.sum((0, 1)))
    out = {"auroc_ovr_macro": areas.mean(axis=0), "auroc_ovr_weighted": (areas * shares).sum(axis=0)}
    out |= {name: m.function(cm) for name, m in METRICS.items() if m.multiclass}
    if part.is_probability:
        rows = brier_rows(repeat.y, repeat.score)[:, None]
        out["brier_multiclass"] = _weighted_mean(rows, repeat, counts)[0]
    recall, f1s = recalls(cm), f1_per_class(cm)
    precision = _divide(np.stack([cm[i, i] for i in range(k)]), cm.sum(0))
    for i, name in enumerate(part.classes):
        out |= {f"auroc:{name}": areas[i], f"sensitivity:{name}": recall[i]}
        out |= {f"ppv:{name}": precision[i], f"f1:{name}": f1s[i]}
    return out


def _confusions(repeat: Repeat, k: int, counts: np.ndarray) -> np.ndarray:
    """(k, k, draws)"""
    assert repeat.decision is not None
    cell = (repeat.y * k + repeat.decision)[:, None] == np.arange(k * k)
    sums = patient_sums(cell.astype(float), repeat.codes, repeat.n_patients)
    return (sums.T @ counts).reshape(k, k, -1)


def _weighted_mean(values: np.ndarray, repeat: Repeat, counts: np.ndarray) -> np.ndarray:
    """Mean over drawn rows of values (n, m); (m, draws)."""
    sums = patient_sums(values, repeat.codes, repeat.n_patients)
    size = np.bincount(repeat.codes, minlength=repeat.n_patients)
    return _divide(sums.T @ counts, size @ counts)


# --- intervals ---------------------------------------------------------------------------------------


def _simple(part: Part) -> bool:
    """One repeat and one row a patient: Wilson's interval applies as it stands."""
    return len(part.repeats) == 1 and part.n_patients == part.n


def _needs_bootstrap(part: Part, point: dict[str, np.ndarray], only: Sequence[str] | None) -> bool:
    if only is None or not part.aligned:
        return True
    return any(
        name in point and not name.startswith("auroc:") and name != "auroc" and not _has_wilson(part, name)
        for name in only
    )


def _bootstrap(part: Part, n_boot: int, seed: int, *, ranks: bool = True) -> dict[str, np.ndarray]:
    """Draws of every metric from the same patients; the same seed gives every part the same draws."""
    rng = np.random.default_rng(seed)
    cells = 4_000_000 if part.n < 50_000 else 16_000_000
    blocks = [
        metric_values(part, counts, ranks=ranks)
        for counts in draw_blocks(part.n_patients, n_boot, rng, cells=cells)
    ]
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}


def estimate_of(
    part: Part, name: str, value: float, drawn: np.ndarray | None, level: float, seed: int
) -> Estimate:
    """One metric of a part with its interval: DeLong's, Wilson's, or from `drawn`, its bootstrap draws."""
    base = Estimate(name, value, level=level, n=part.n, n_clusters=part.n_patients)
    if math.isnan(value):
        return replace(base, note=_why_undefined(part, name))
    if (name == "auroc" or name.startswith("auroc:")) and part.aligned:
        return _delong(part, name, level)
    if _has_wilson(part, name):
        return _with_notes(part, _wilson(part, base))
    if drawn is None:
        return base
    if name == "ece":
        return _ece_interval(part, base, drawn, seed)
    return _with_notes(part, _bootstrap_interval(part, name, value, drawn, level))


def _delong(part: Part, name: str, level: float) -> Estimate:
    which = 0 if name == "auroc" else part.classes.index(name.removeprefix("auroc:"))
    positive = 1 if name == "auroc" else which
    y = (part.repeats[0].y == positive).astype(int)
    mean = np.mean([placements(y, r.score[:, which]) for r in part.repeats], axis=0)
    found = delong_from(y, mean, level, cluster=part.repeats[0].codes)
    if found.high < 0.5:
        doubt = "below one half: does a higher score mean more likely positive?"
        found = replace(found, note="; ".join(filter(None, (found.note, doubt))))
    return replace(found, name=name, method=_prefix(part) + found.method)


def _bootstrap_interval(part: Part, name: str, value: float, drawn: np.ndarray, level: float) -> Estimate:
    found = estimate_from_draws(name, value, drawn, level, part.n, part.n_patients)
    found = replace(found, method=_prefix(part) + found.method)
    metric = METRICS.get(name.split(":")[0])
    is_share = bool(metric and metric.proportion) or name.startswith(("sensitivity:", "ppv:"))
    if math.isnan(found.low) and is_share and value in (0.0, 1.0):
        n = min(_patients_behind(part, repeat, name) for repeat in part.repeats)
        low, high = wilson(value * n, n, level)
        note = f"every draw gave the same value: Wilson interval of {n} patients"
        return replace(found, low=low, high=high, method=_prefix(part) + "Wilson by patients", note=note)
    return found


def _patients_behind(part: Part, repeat: Repeat, name: str) -> int:
    """How many patients have a row in the denominator of a share."""
    metric, _, label = name.partition(":")
    one = part.classes.index(label) if label else 0 if metric in ("specificity", "npv") else 1
    rows = np.ones(len(repeat.y), bool)
    if metric in ("sensitivity", "specificity"):
        rows = repeat.y == one
    elif metric in ("ppv", "npv"):
        rows = np.asarray(repeat.decision == one)
    return len(np.unique(repeat.codes[rows]))


def _ece_interval(part: Part, base: Estimate, drawn: np.ndarray, seed: int) -> Estimate:
    """Percentiles reflected about the value, from 0 where chance alone explains the ECE.

    Noise can only add to an ECE, and a resample adds it a second time: plain percentiles lie too high, often
    above the value itself.
    """
    q_low, q_high, _ = percentile(drawn, base.level)
    if not q_low < q_high:
        return replace(base, note="no interval: every draw of patients gave the same value")
    by_chance = base.value <= np.quantile(_ece_by_chance(part, seed), (1 + base.level) / 2)
    low = 0.0 if by_chance else max(0.0, 2 * base.value - q_high)
    high = max(base.value, 2 * base.value - q_low) or q_high  # an ECE of 0 by luck is no certainty
    method = f"{_prefix(part)}patient bootstrap, {len(drawn)} draws, reflected"
    note = "not above what calibrated scores show by chance" if by_chance else None
    return replace(base, low=low, high=high, method=method, note=note)


def _ece_by_chance(part: Part, seed: int) -> np.ndarray:
    """(draws,) mean over repeats, which share the drawn outcomes as they share the true ones."""
    each = [
        calibration.ece_by_chance(r.score[:, 0], BINS, rng=np.random.default_rng(seed)) for r in part.repeats
    ]
    return np.mean(each, axis=0)


def _has_wilson(part: Part, name: str) -> bool:
    metric = METRICS.get(name.split(":")[0])
    return bool(_simple(part) and metric and metric.proportion)


def _wilson(part: Part, base: Estimate) -> Estimate:
    repeat, (metric, _, name) = part.repeats[0], base.name.partition(":")
    cm = _confusions(repeat, len(part.classes), np.ones((part.n_patients, 1)))[..., 0]
    if name:  # one class against the rest
        i = part.classes.index(name)
        right, truth, decided = cm[i, i], cm[i].sum(), cm[:, i].sum()
        cm = np.array([[cm.sum() - truth - decided + right, decided - right], [truth - right, right]])
    cells = METRICS[metric].proportion
    assert cells is not None
    k, n = cells(cm)
    low, high = wilson(float(k), float(n), base.level)
    return replace(base, low=low, high=high, method=f"Wilson, {int(k)}/{int(n)}")


def prevalence(part: Part, level: float) -> Estimate:
    """Share of positives, with Wilson's interval at the number of patients."""
    repeat = part.repeats[0]
    k, n = int(repeat.y.sum()), len(repeat.y)
    low, high = wilson(k * part.n_patients / n, part.n_patients, level)
    method = f"Wilson, {k}/{n}" + ("" if part.n_patients == n else ", at the number of patients")
    return Estimate("prevalence", k / n, low, high, level, method, part.n, part.n_patients)


def _trivial(part: Part, name: str, seed: int) -> Estimate | None:
    if name == "ece":
        value = float(_ece_by_chance(part, seed).mean())
        rule = "expected by chance from perfectly calibrated scores"
    elif name.startswith("auroc") or ":" in name:
        return None
    else:
        found = trivial(name, part.repeats[0].y, len(part.classes))
        if found is None:
            return None
        value, rule = found.value, found.rule
    return Estimate(f"{name}_trivial", value, method=rule, n=part.n, n_clusters=part.n_patients)


def _calibration(part: Part, level: float) -> list[Estimate]:
    y = np.concatenate([r.y for r in part.repeats])
    p = np.concatenate([r.score[:, 0] for r in part.repeats])
    codes = np.concatenate([r.codes for r in part.repeats])
    names = ("calibration_slope", "calibration_intercept")
    if len(np.unique(y)) < 2:
        why = _why_undefined(part, "auroc")
        return [
            Estimate(n, math.nan, level=level, n=part.n, n_clusters=part.n_patients, note=why) for n in names
        ]
    stacked = f"{len(part.repeats)} repeats stacked; " if len(part.repeats) > 1 else ""
    found = calibration.slope_intercept(y, p, level, codes)
    return [replace(e, n=part.n, method=stacked + e.method) for e in found]


def _with_notes(part: Part, estimate: Estimate) -> Estimate:
    """Say which threshold was used, and when an accuracy does not beat naming the commonest class."""
    name, notes = estimate.name, [estimate.note] if estimate.note else []
    metric = METRICS.get(name.split(":")[0])
    if metric and metric.kind == "decision":
        notes.append(part.rule)
    if name == "sens_at_spec90":
        notes.append("threshold found on these data: describes the ROC curve only")
    if name == "accuracy":
        common = trivial(name, part.repeats[0].y, len(part.classes))
        if common and not estimate.low > common.value:
            notes.append(f"not above {common.rule} ({common.value:.3f})")
    return replace(estimate, note="; ".join(notes) or None)


def _why_undefined(part: Part, name: str) -> str:
    present = np.unique(np.concatenate([r.y for r in part.repeats]))
    ranks = name.startswith("au") or name in ("sens_at_spec90", "calibration_slope")
    if len(present) == 1 and ranks:
        only = part.classes[int(present[0])]
        return f"not defined: every case is of class {only}. Add cases of another class"
    if ranks and len(present) < len(part.classes):
        absent = [c for i, c in enumerate(part.classes) if i not in present]
        return f"not defined: no case of class {', '.join(absent)}"
    return "not defined: its denominator is zero"


def _prefix(part: Part) -> str:
    return f"mean over {len(part.repeats)} repeats; " if len(part.repeats) > 1 else ""
