"""Drafts against radiologists' reports: what the draft leaves out and what it invents.

The reference is what an extractor read in the radiologist's report, the call what it read in the draft, so
these rates hold the extractor's own errors; `draft_correction` takes them out. Conventions as in `findings`.

- omission: in the report, not in the draft. omission_rate = omissions / findings in reports, 1 - sensitivity.
- invention: in the draft, not in the report. invention_rate = inventions / findings in drafts, 1 - PPV.
- A normal report holds at most normal variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from radfoundry.evaluate import classification as cl
from radfoundry.evaluate.finding_cells import Cells, draw_counts, draw_means, proportion, resampled
from radfoundry.evaluate.findings import (
    INDEPENDENT,
    by_report,
    normal_and_abnormal,
    pooled,
    within,
)
from radfoundry.types import Estimate

NO_REFERENCE = "not in any report"
NO_DRAFT = "not in any draft"


def compare_drafts(
    cells: Cells,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    strata: Mapping[str, np.ndarray] | None = None,
) -> list[Estimate]:
    """Omissions and inventions by finding, criticality, report and stratum.

    strata: label to a mask over the reports (view, site, draft-model version), as `subgroups.groups` makes
    them; normal and abnormal reports are always told apart. n of a row says how many.
    """
    found = by_finding(cells, level) + _parts(cells, rng, draws, level)
    for label, reports in {**normal_and_abnormal(cells), **(strata or {})}.items():
        part = cells.take(reports)
        if len(part):
            found += [within(label, one) for one in _parts(part, rng, draws, level)]
    return found


def by_finding(cells: Cells, level: float = 0.95) -> list[Estimate]:
    """Each finding: omission and invention rate, how often it is in reports and in drafts; by Wilson."""
    found = []
    for i, finding in enumerate(cells.findings):
        where = {"target": finding, "subgroup": cells.level[i]}
        found += _rates(cells.counts[:, :, i], level, cells.wilson, where)
    return found


def _rates(counts: np.ndarray, level: float, method: str, where: Mapping[str, Any]) -> list[Estimate]:
    n, shared = counts.sum(), dict(where, method=method)
    in_report, in_draft = counts[1].sum(), counts[:, 1].sum()
    return [
        proportion("omission_rate", counts[1, 0], in_report, level, empty=NO_REFERENCE, **shared),
        proportion("invention_rate", counts[0, 1], in_draft, level, empty=NO_DRAFT, **shared),
        proportion("prevalence_reference", in_report, n, level, **shared),
        proportion("prevalence_draft", in_draft, n, level, **shared),
    ]


def _parts(cells: Cells, rng: np.random.Generator, draws: int, level: float) -> list[Estimate]:
    """All that is said of a set of reports as a whole: pooled, per report, and the baseline."""
    cm = draw_counts(cells, draws, rng)
    found = []
    for name, mask in cells.groups.items():
        counts, drawn = cells.counts[:, :, mask].sum(2), cm[:, :, mask].sum(2)
        where = {"subgroup": name, **cells.counted}
        found += _rates(counts, level, INDEPENDENT, where)
        for metric, function, n, empty in (
            ("omission_rate", omission_rate, counts[1].sum(), NO_REFERENCE),
            ("invention_rate", invention_rate, counts[:, 1].sum(), NO_DRAFT),
        ):
            value, note = float(function(counts)), None if n else empty
            found.append(resampled(metric, value, function(drawn), level, cells, n, subgroup=name, note=note))
    found += [one for one in pooled(cells, cm, level) if one.name in ("micro_accuracy", "micro_f1")]
    found += per_report(cells, rng, draws, level)
    return found + by_report(cells, rng, draws, level)


def omission_rate(cm: np.ndarray) -> np.ndarray:
    """Omissions over findings in reports; cm (2, 2, ...), [report, draft]."""
    return cl.divide(cm[1, 0], cm[1].sum(0))


def invention_rate(cm: np.ndarray) -> np.ndarray:
    """Inventions over findings in drafts; cm (2, 2, ...), [report, draft]."""
    return cl.divide(cm[0, 1], cm[:, 1].sum(0))


def per_report(cells: Cells, rng: np.random.Generator, draws: int, level: float) -> list[Estimate]:
    """Omissions and inventions in a report, all and by criticality.

    Their mean number by bootstrap; the share of drafts with any invention, any_invention, by Wilson.
    """
    keys = [(kind, name) for kind in ("omissions", "inventions") for name in cells.groups]
    wrong = {"omissions": cells.cells(True, False), "inventions": cells.cells(False, True)}
    values = np.column_stack([wrong[kind][:, cells.groups[name]].sum(1) for kind, name in keys]).astype(float)
    drawn = draw_means(values, cells, draws, rng)
    found = [
        resampled(f"{kind}_per_report", each.mean(), some, level, cells, len(cells), subgroup=name)
        for (kind, name), each, some in zip(keys, values.T, drawn, strict=True)
    ]
    return found + [
        proportion("any_invention", (each > 0).sum(), len(cells), level, method=cells.wilson, subgroup=name)
        for (kind, name), each in zip(keys, values.T, strict=True)
        if kind == "inventions"
    ]
