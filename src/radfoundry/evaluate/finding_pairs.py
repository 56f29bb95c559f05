"""Two extractors on the same reports: zero-shot against one-shot, rules against a language model.

Cells of one report are not independent, so McNemar's test is taken in Obuchowski's clustered form.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import stats

from radfoundry.errors import InputMismatch
from radfoundry.evaluate import classification as cl
from radfoundry.evaluate.compare import Comparison, from_draws, holm, mcnemar
from radfoundry.evaluate.finding_cells import Cells, draw_counts
from radfoundry.evaluate.intervals import z_of
from radfoundry.evaluate.resample import codes_of


def mcnemar_clustered(
    right_a: np.ndarray, right_b: np.ndarray, cluster: np.ndarray | None, level: float = 0.95
) -> Comparison:
    """Two proportions on the same cells, which come in clusters (Obuchowski, Stat Med 1998;17:1495).

    right_a, right_b: (cells,) bool; cluster: (cells,) ids of reports. With d_j the cells of cluster j that a
    alone has right less those that b alone has right, n_j its cells, and m clusters, N cells:

        chi2 = (m - 1)/m (sum d_j)^2 / sum d_j^2          one degree of freedom, variance under no difference
        se^2 = m/(m - 1) sum (d_j - n_j delta)^2 / N^2    of the difference delta, for its interval

    The first is his statistic with the pooled proportion, in the form of Yang, Sun and Hardin (Biom J
    2010;52:638). With one cell in each cluster it is McNemar's chi-square without continuity correction
    times (m - 1)/m. Both rest on many clusters; below some twenty take a permutation.
    """
    right_a, right_b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    n = len(right_a)
    codes, m = codes_of(cluster, n)
    if n == 0:
        nothing = "no cell to compare"
        return Comparison("accuracy", math.nan, math.nan, math.nan, level=level, note=nothing)
    d = np.bincount(codes, weights=right_a.astype(float) - right_b, minlength=m)
    sizes = np.bincount(codes, minlength=m)
    delta = float(d.sum() / n)
    chi2 = p = low = high = math.nan
    note = None
    if m < 2:
        note = "one cluster: nothing to test against"
    elif not d.any():
        note, chi2, p = "no cluster in which one is better", 0.0, 1.0
    else:
        chi2 = float((m - 1) / m * d.sum() ** 2 / (d**2).sum())
        p = float(stats.chi2.sf(chi2, 1))
        half = z_of(level) * math.sqrt(m / (m - 1) * ((d - sizes * delta) ** 2).sum()) / n
        low, high = (max(-1.0, delta - half), min(1.0, delta + half)) if half > 0 else (math.nan, math.nan)
    return Comparison(
        "accuracy", float(right_a.mean()), float(right_b.mean()), delta, low, high, level, chi2, p,
        method="clustered McNemar (Obuchowski)", n=n, n_clusters=m, note=note,
    )  # fmt: skip


def compare_extractors(
    a: Cells,
    b: Cells,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    model_a: str = "a",
    model_b: str = "b",
) -> list[Comparison]:
    """a minus b against one reference: sensitivity, specificity and accuracy over all findings and by
    criticality (clustered McNemar), micro F1 (paired bootstrap), exact matches (McNemar by report, clustered
    where patients are named).

    A cell that either leaves out counts for neither. p_holm: over the criticalities of one measure.
    InputMismatch unless both judge the same reports and findings against the same reference.
    """
    a, b = _aligned(a, b)
    found: list[Comparison] = []
    for metric in ("sensitivity", "specificity", "accuracy"):
        found += _corrected(
            [
                replace(_paired(a, b, metric, mask, level), name=f"micro_{metric}", subgroup=name)
                for name, mask in a.groups.items()
            ]
        )
    found += _corrected(_f1_differences(a, b, rng, draws, level))
    right_a, right_b = (~(one.cells(True, False) | one.cells(False, True)).any(1) for one in (a, b))
    if a.patient_id is None:
        exact = mcnemar(right_a, right_b, level)
    else:
        exact = mcnemar_clustered(right_a, right_b, a.clusters[0], level)
    found.append(replace(exact, name="exact_match"))
    return [replace(one, model_a=model_a, model_b=model_b) for one in found]


def _corrected(rows: list[Comparison]) -> list[Comparison]:
    """Holm over the criticalities, which follow the row of all findings."""
    p = holm([one.p for one in rows[1:]])
    return rows[:1] + [replace(one, p_holm=float(new)) for one, new in zip(rows[1:], p, strict=True)]


def _aligned(a: Cells, b: Cells) -> tuple[Cells, Cells]:
    if a.findings != b.findings or not np.array_equal(a.report_id, b.report_id):
        raise InputMismatch(
            "the two extractors judged other reports or findings. Give both the same, in one order"
        )
    known = np.ones(a.reference.shape, bool)
    for one in (a, b):
        known = known if one.known is None else known & one.known
    if (a.reference != b.reference)[known].any():
        raise InputMismatch("the two extractors were held against different references. Use one for both")
    return replace(a, known=known), replace(b, known=known, patient_id=a.patient_id)


def _paired(a: Cells, b: Cells, metric: str, mask: np.ndarray, level: float) -> Comparison:
    counted = a.known[:, mask]  # type: ignore[index]
    if metric != "accuracy":
        counted = counted & (a.reference[:, mask] == (metric == "sensitivity"))
    right_a, right_b = ((one.call == one.reference)[:, mask][counted] for one in (a, b))
    return mcnemar_clustered(right_a, right_b, a.clusters[0][np.nonzero(counted)[0]], level)


def _f1_differences(
    a: Cells, b: Cells, rng: np.random.Generator, draws: int, level: float
) -> list[Comparison]:
    # Both see the same draws: the generator of b is a copy of that of a.
    seed = int(rng.integers(2**63))
    cm = [draw_counts(one, draws, np.random.default_rng(seed)) for one in (a, b)]
    found = []
    for name, mask in a.groups.items():
        value_a, value_b = (float(cl.f1(one.counts[:, :, mask].sum(2))) for one in (a, b))
        drawn = [cl.f1(one[:, :, mask].sum(2)) for one in cm]
        n, difference = int(a.counts[:, :, mask].sum()), drawn[0] - drawn[1]
        made = from_draws("micro_f1", value_a, value_b, difference, level, n, a.clusters[1])
        note = made.note.replace("patients", f"{a.unit}s") if made.note else None
        found.append(
            replace(made, method=f"paired {a.unit} bootstrap, {draws} draws", subgroup=name, note=note)
        )
    return found
