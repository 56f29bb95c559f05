"""Is an extractor of findings right? Per finding, pooled, by criticality and by report.

Conventions, in every table made here:

- target is a finding; rows without one are pooled. subgroup is a criticality, a stratum, or both.
- n is the denominator of a proportion (for sensitivity the positives); for F1 the cells. A ratio without
  anything below the line is NaN, never 0.
- `micro_` pools cells, so common findings decide. It comes twice: by Wilson, which takes cells as independent
  and is too narrow when reports differ, and by resampling reports.
- `macro_` is the unweighted mean over findings with at least `minimum_positives` positives; a finding whose
  ratio is undefined (in a draw, too) is left out of that mean.
- Beside every accuracy stands the all-negative baseline: an extractor that finds nothing. Where findings are
  rare it is hard to beat, which is why sensitivity, PPV and F1 come first.
- Two empty reports agree: Jaccard index and F1 of a report with nothing on either side are 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from radfoundry.evaluate import classification as cl
from radfoundry.evaluate.finding_cells import (
    CRITICAL,
    NORMAL_VARIANT,
    Cells,
    draw_counts,
    draw_means,
    proportion,
    resampled,
)
from radfoundry.types import Estimate

ALL_NEGATIVE = "all-negative baseline"
INDEPENDENT = "Wilson, cells taken as independent"
PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
MACRO: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sensitivity": cl.sensitivity,
    "specificity": cl.specificity,
    "ppv": cl.ppv,
    "f1": cl.f1,
}
EMPTY = {
    "sensitivity": "the reference has no positive",
    "specificity": "the reference has no negative",
    "ppv": "nothing was called present",
    "npv": "nothing was called absent",
    "accuracy": "no cell is known",
    "f1": "neither in the reference nor called",
}


def validate(
    cells: Cells,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    minimum_positives: int = 5,
    strata: Mapping[str, np.ndarray] | None = None,
    model: str | None = None,
) -> list[Estimate]:
    """An extractor (`call`) against annotated reports (`reference`).

    strata: label to a mask over the reports, as `subgroups.groups` makes them; each is judged on its own,
    pooled and by report. model: name of the extractor, carried into the rows.
    """
    cm = draw_counts(cells, draws, rng)
    found = by_finding(cells, cm, level)
    found += pooled(cells, cm, level) + macro(cells, cm, level, minimum_positives)
    found += by_report(cells, rng, draws, level)
    for label, reports in (strata or {}).items():
        part = cells.take(reports)
        if len(part):
            rows = pooled(part, draw_counts(part, draws, rng), level) + by_report(part, rng, draws, level)
            found += [within(label, one) for one in rows]
    return [one if one.model else replace(one, model=model) for one in found]


def within(stratum: str, estimate: Estimate) -> Estimate:
    """The same row, said of a stratum."""
    words = [stratum] + ([estimate.subgroup] if estimate.subgroup else [])
    return replace(estimate, subgroup=", ".join(words))


def by_finding(cells: Cells, cm: np.ndarray, level: float = 0.95) -> list[Estimate]:
    """Each finding: proportions by Wilson, F1 by bootstrap, prevalence, and the baseline.

    cm: draws as `draw_counts` makes them.
    """
    counts, drawn = cells.counts, cl.f1(cm)
    values = cl.f1(counts)
    found = []
    for i, finding in enumerate(cells.findings):
        where = {"target": finding, "subgroup": cells.level[i]}
        one = counts[:, :, i]
        found += proportions(one, level, where, cells.wilson)
        note = None if np.isfinite(values[i]) else EMPTY["f1"]
        found.append(resampled("f1", values[i], drawn[i], level, cells, one.sum(), note=note, **where))
        found.append(proportion("prevalence", one[1].sum(), one.sum(), level, method=cells.wilson, **where))
    return found


def proportions(
    counts: np.ndarray, level: float, where: Mapping[str, Any], method: str, prefix: str = ""
) -> list[Estimate]:
    """Sensitivity to accuracy of one confusion matrix (2, 2), the all-negative baseline behind them."""
    found = []
    for name in PROPORTIONS:
        k, n = _share(name, counts)
        found.append(proportion(prefix + name, k, n, level, method=method, empty=EMPTY[name], **where))
    found.append(
        proportion(
            f"{prefix}accuracy",
            counts[0].sum(),
            counts.sum(),
            level,
            method=method,
            empty=EMPTY["accuracy"],
            model=ALL_NEGATIVE,
            **where,
        )
    )
    positives = int(counts[1].sum())
    found.append(
        Estimate(
            f"{prefix}sensitivity", 0.0 if positives else float("nan"), level=level, n=positives,
            model=ALL_NEGATIVE, note="0 because nothing is called" if positives else EMPTY["sensitivity"],
            **where,
        )
    )  # fmt: skip
    return found


def pooled(cells: Cells, cm: np.ndarray, level: float = 0.95) -> list[Estimate]:
    """Micro figures over all cells and by criticality, by Wilson and by bootstrap."""
    found = []
    for name, mask in cells.groups.items():
        where = {"subgroup": name, **cells.counted}
        counts, drawn = cells.counts[:, :, mask].sum(2), cm[:, :, mask].sum(2)
        found += proportions(counts, level, where, INDEPENDENT, "micro_")
        found.append(
            proportion("micro_prevalence", counts[1].sum(), counts.sum(), level, method=INDEPENDENT, **where)
        )
        left = _left_out(cells, mask)
        for metric in (*PROPORTIONS, "f1"):
            function = cl.METRICS[metric].function
            value = float(function(counts))
            n = counts.sum() if metric == "f1" else _share(metric, counts)[1]
            note = left if np.isfinite(value) else EMPTY[metric]
            found.append(
                resampled(
                    f"micro_{metric}", value, function(drawn), level, cells, n, subgroup=name, note=note
                )
            )
    return found


def macro(cells: Cells, cm: np.ndarray, level: float = 0.95, minimum_positives: int = 5) -> list[Estimate]:
    """Unweighted means over findings with enough positives, all and by criticality; bootstrap intervals.

    A mean of F1 over rare findings comes out a little low in resamples, so its percentile interval reaches
    further down than up.
    """
    found = []
    positives = cells.counts[1].sum(0)
    for name, mask in cells.groups.items():
        kept = mask & (positives >= minimum_positives)
        say = f"{kept.sum()} of {mask.sum()} findings have at least {minimum_positives} positives"
        for metric, function in MACRO.items():
            each = function(cells.counts[:, :, kept])
            undefined = int((~np.isfinite(each)).sum())
            note = say + (f"; undefined in {undefined} of them ({EMPTY[metric]})" if undefined else "")
            found.append(
                resampled(
                    f"macro_{metric}", float(_mean(each)), _mean(function(cm[:, :, kept])), level, cells,
                    int(cells.counts[:, :, kept].sum()), subgroup=name, note=note,
                )
            )  # fmt: skip
    return found


def by_report(
    cells: Cells, rng: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> list[Estimate]:
    """Report by report: exact match, any critical miss, mean Jaccard index and mean F1.

    any_critical_miss counts among all reports, any_critical_miss_where_present among those whose reference
    has a critical finding. Proportions by Wilson (reports independent), means by bootstrap.
    """
    grave = cells.level == CRITICAL
    missed = cells.cells(True, False)[:, grave].any(1)
    has = missed | cells.cells(True, True)[:, grave].any(1)
    exact = ~(cells.cells(True, False) | cells.cells(False, True)).any(1)
    none = f"no finding is {CRITICAL}" if not grave.any() else f"no reference has a {CRITICAL} finding"
    n = len(cells)
    critical = {"method": cells.wilson, "empty": none, "subgroup": CRITICAL}
    found = [
        proportion("exact_match", exact.sum(), n, level, method=cells.wilson),
        proportion("any_critical_miss", missed.sum(), n if grave.any() else 0, level, **critical),
        proportion("any_critical_miss_where_present", missed.sum(), has.sum(), level, **critical),
    ]
    values = np.column_stack([jaccard(cells), report_f1(cells)])
    drawn = draw_means(values, cells, draws, rng)
    for name, each, some in zip(("mean_jaccard", "mean_report_f1"), values.T, drawn, strict=True):
        found.append(resampled(name, each.mean(), some, level, cells, n, note="two empty reports agree: 1"))
    return found


def jaccard(cells: Cells) -> np.ndarray:
    """Findings on both sides over findings on either, (reports,); 1 when both are empty."""
    both = cells.cells(True, True).sum(1)
    either = both + cells.cells(True, False).sum(1) + cells.cells(False, True).sum(1)
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))


def report_f1(cells: Cells) -> np.ndarray:
    """2 J / (1 + J) of the Jaccard index J, which is F1 within a report; 1 when both are empty."""
    index = jaccard(cells)
    return 2 * index / (1 + index)


def normal_and_abnormal(cells: Cells) -> dict[str, np.ndarray]:
    """Masks over the reports by their reference: normal ones hold at most normal variants."""
    abnormal: np.ndarray = np.any(cells.reference[:, cells.level != NORMAL_VARIANT], axis=1)
    return {"normal reports": np.logical_not(abnormal), "abnormal reports": abnormal}


def _share(metric: str, counts: np.ndarray) -> tuple[float, float]:
    """What is counted and among how many, for a metric of PROPORTIONS."""
    share = cl.METRICS[metric].proportion
    assert share is not None, f"{metric} is no proportion"
    return share(counts)


def _left_out(cells: Cells, mask: np.ndarray) -> str | None:
    if cells.known is None:
        return None
    return f"{int((~cells.known[:, mask]).sum())} uncertain cells left out"


def _mean(values: np.ndarray) -> np.ndarray:
    return cl.divide(np.nan_to_num(values).sum(0), np.isfinite(values).sum(0))
