"""Reports x findings as two truth tables: what the reference says is present, and what is judged says.

One cell is one finding of one report. Cells of one report are not independent (nor are reports of one
patient), so pooled figures are resampled by report, or by patient where patients are named. Counts are
confusion matrices (2, 2, findings, ...), reference first, as in `classification`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy import sparse

from radfoundry.errors import InputMismatch, TableError
from radfoundry.evaluate.intervals import estimate_from_draws, wilson
from radfoundry.evaluate.resample import codes_of, draw_blocks
from radfoundry.types import Estimate

if TYPE_CHECKING:
    import pandas as pd

Uncertain = Literal["present", "absent", "left out"]
LEVELS = ("critical", "significant", "minor", "normal variant")
"""Criticalities from the worst down; others follow in the order of the findings."""

CRITICAL, NORMAL_VARIANT = LEVELS[0], LEVELS[-1]


@dataclass(frozen=True, eq=False)
class Cells:
    """Two readings of the same reports.

    reference, call: (reports, findings) bool. findings: ids. criticality: id to criticality.
    report_id: (reports,) unique. known: (reports, findings) bool, False for cells left out of everything;
    None when none is. patient_id: (reports,), where patients rather than reports are to be resampled.
    TableError for an id that occurs twice or has no criticality; InputMismatch for unequal shapes.
    """

    reference: np.ndarray
    call: np.ndarray
    findings: tuple[str, ...]
    criticality: Mapping[str, str]
    report_id: np.ndarray
    known: np.ndarray | None = None
    patient_id: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.report_id), len(self.findings))
        for name in ("reference", "call", "known"):
            given = getattr(self, name)
            if given is not None and np.shape(given) != shape:
                raise InputMismatch(
                    f"{name} has shape {np.shape(given)}, not {shape}. Give reports x findings"
                )
            if given is not None and np.asarray(given).dtype != bool:
                raise InputMismatch(
                    f"{name} must hold True and False. Make them with finding_cells.present()"
                )
        if self.patient_id is not None and len(self.patient_id) != shape[0]:
            raise InputMismatch(
                f"{len(self.patient_id)} patient ids for {shape[0]} reports. Give one a report"
            )
        _unique(self.findings, "finding")
        _unique(self.report_id, "report_id")
        lacking = [one for one in self.findings if one not in self.criticality]
        if lacking:
            raise TableError(f"finding {lacking[0]!r} has no criticality. Add it to the dictionary")

    def __len__(self) -> int:
        return len(self.report_id)

    @property
    def unit(self) -> str:
        """What is resampled, in a word."""
        return "report" if self.patient_id is None else "patient"

    @property
    def counted(self) -> dict[str, Any]:
        """The fields of an Estimate that say how many were resampled, and what they are."""
        return {"n_clusters": self.clusters[1], "cluster": self.unit}

    @property
    def wilson(self) -> str:
        """Wilson's interval of a share of reports, by name: it does not mind that a patient owns several."""
        return "Wilson" if self.patient_id is None else "Wilson, reports taken as independent"

    @cached_property
    def clusters(self) -> tuple[np.ndarray, int]:
        """(number of the resampled unit of each report, how many there are)."""
        return codes_of(self.patient_id, len(self))

    @cached_property
    def level(self) -> np.ndarray:
        """Criticality of each finding, (findings,) of str."""
        return np.array([self.criticality[one] for one in self.findings], dtype=object)

    @cached_property
    def groups(self) -> dict[str | None, np.ndarray]:
        """Masks over the findings: None for all of them, then each criticality, the worst first."""
        found = list(dict.fromkeys(self.level))
        order = [one for one in LEVELS if one in found] + [one for one in found if one not in LEVELS]
        return {None: np.ones(len(self.findings), bool), **{one: self.level == one for one in order}}

    def cells(self, reference: bool, call: bool) -> np.ndarray:
        """(reports, findings): where the reference and the call are so, left-out cells never."""
        found = (self.reference == reference) & (self.call == call)
        return found if self.known is None else found & self.known

    @cached_property
    def counts(self) -> np.ndarray:
        """Confusion matrix of each finding, (2, 2, findings): [reference, call]."""
        return np.array([[self.cells(bool(r), bool(c)).sum(0) for c in (0, 1)] for r in (0, 1)])

    @property
    def left_out(self) -> int:
        """How many cells count nowhere."""
        return 0 if self.known is None else int((~self.known).sum())

    def take(self, reports: np.ndarray) -> Cells:
        """Some of the reports, by mask or index."""
        return replace(
            self,
            reference=self.reference[reports],
            call=self.call[reports],
            report_id=np.asarray(self.report_id)[reports],
            known=None if self.known is None else self.known[reports],
            patient_id=None if self.patient_id is None else np.asarray(self.patient_id)[reports],
        )

    def all_negative(self) -> Cells:
        """The same reports, with nothing called."""
        return replace(self, call=np.zeros_like(self.call))


def present(status: np.ndarray, uncertain: Uncertain = "present") -> tuple[np.ndarray, np.ndarray]:
    """(present, known), both bool, from statuses in words.

    status: text "present", "absent", "uncertain", or "" where a report says nothing, which counts as absent.
    uncertain: what an uncertain status counts as; "left out" makes the cell unknown.

    >>> present(np.array([["present", "uncertain", ""]]), "left out")
    (array([[ True, False, False]]), array([[ True, False,  True]]))
    """
    if uncertain not in get_args(Uncertain):
        raise ValueError(f"uncertain is {uncertain!r}. Use one of: {', '.join(get_args(Uncertain))}")
    status = np.asarray(status, dtype=object)
    strange = ~np.isin(status, ["present", "absent", "uncertain", ""])
    if strange.any():
        raise TableError(f"status {status[strange][0]!r}. Use present, absent, uncertain or an empty text")
    doubtful = status == "uncertain"
    found = (status == "present") | (doubtful if uncertain == "present" else False)
    return found, ~doubtful if uncertain == "left out" else np.ones(status.shape, bool)


def from_tables(
    reference: pd.DataFrame,
    call: pd.DataFrame,
    *,
    report_id: Sequence[str],
    criticality: Mapping[str, str],
    uncertain: Uncertain = "present",
    patient_id: Sequence[str] | None = None,
) -> Cells:
    """Cells from two findings tables (columns report_id, finding, status; one row a report x finding).

    report_id: every report that was read, since one without findings has no row. The findings are those of
    `criticality`, in its order. A cell that is uncertain on either side follows `uncertain`.
    TableError when a table names another report or finding, or one of them twice.
    """
    findings = tuple(criticality)
    (ref, ref_known), (said, said_known) = (
        present(_statuses(table, name, report_id, findings), uncertain)
        for table, name in ((reference, "reference"), (call, "call"))
    )
    known = ref_known & said_known
    return Cells(
        ref,
        said,
        findings,
        criticality,
        np.asarray(report_id, dtype=object),
        None if known.all() else known,
        None if patient_id is None else np.asarray(patient_id, dtype=object),
    )


def _statuses(
    table: pd.DataFrame, name: str, reports: Sequence[str], findings: tuple[str, ...]
) -> np.ndarray:
    import pandas as pd

    out = np.full((len(reports), len(findings)), "", dtype=object)
    rows = pd.Index(reports).get_indexer(table["report_id"]) if len(table) else np.empty(0, int)
    columns = pd.Index(findings).get_indexer(table["finding"]) if len(table) else np.empty(0, int)
    for column, at in (("report_id", rows), ("finding", columns)):
        if (at < 0).any():
            row = int(np.argmax(at < 0))
            # A report id may identify a patient: the row number is enough to find it.
            raise TableError(
                f"{name}: row {row + 2}: {column} is not among those compared. Drop it or add it"
            )
    if len(set(zip(rows.tolist(), columns.tolist(), strict=True))) < len(rows):
        raise TableError(f"{name}: a finding of one report occurs twice. Keep one row for each")
    out[rows, columns] = table["status"].to_numpy(dtype=object)
    return out


def _unique(values: Sequence[str] | np.ndarray, name: str) -> None:
    _, first = np.unique(np.asarray(values, dtype=str), return_index=True)
    if len(first) < len(values):
        row = int(np.setdiff1d(np.arange(len(values)), first)[0])
        raise TableError(f"{name} {row + 1} of {len(values)} occurs twice. Every {name} must be unique")


def draw_counts(cells: Cells, n: int, rng: np.random.Generator) -> np.ndarray:
    """Confusion matrices of n draws of reports (or patients) with replacement: (2, 2, findings, n).

    A draw is a vector of multinomial weights over the reports, so all draws of all findings are one product
    with sparse matrices: present findings are rare.
    """
    codes, g = cells.clusters
    parts = {
        (r, c): by_cluster(cells.cells(r, c), codes, g)
        for r, c in ((True, True), (True, False), (False, True))
    }
    hidden = None if cells.known is None else by_cluster(~cells.known, codes, g)
    sizes = np.bincount(codes, minlength=g).astype(float)
    blocks = []
    for weights in draw_blocks(g, n, rng):
        total = np.broadcast_to(sizes @ weights, (len(cells.findings), weights.shape[1]))
        total = total if hidden is None else total - hidden @ weights
        cm = np.zeros((2, 2, *total.shape))
        for (r, c), part in parts.items():
            cm[int(r), int(c)] = part @ weights
        cm[0, 0] = total - cm.sum((0, 1))
        blocks.append(cm)
    return np.concatenate(blocks, axis=3)


def by_cluster(cells: np.ndarray, codes: np.ndarray, g: int) -> sparse.csr_array:
    """Sums of cells (reports, findings) by report or patient, sparse: (findings, g)."""
    report, finding = np.nonzero(cells)
    shape = (cells.shape[1], g)
    return sparse.csr_array(sparse.coo_array((np.ones(len(report)), (finding, codes[report])), shape=shape))


def draw_means(values: np.ndarray, cells: Cells, n: int, rng: np.random.Generator) -> np.ndarray:
    """Means of values (reports, k) in n draws of reports (or patients): (k, n)."""
    codes, g = cells.clusters
    sizes = np.bincount(codes, minlength=g)
    sums = np.stack([np.bincount(codes, weights=column, minlength=g) for column in values.T])
    return np.concatenate([sums @ weights / (sizes @ weights) for weights in draw_blocks(g, n, rng)], axis=1)


def proportion(
    name: str,
    k: float,
    n: float,
    level: float,
    *,
    method: str = "Wilson",
    empty: str = "nothing to count",
    note: str | None = None,
    **where: Any,
) -> Estimate:
    """k of n with Wilson's interval; NaN and `empty` as its note when n is 0. where: target, subgroup, ..."""
    low, high = wilson(float(k), float(n), level)
    value = float(k / n) if n else math.nan
    return Estimate(name, value, low, high, level, method, int(n), note=note if n else empty, **where)


def resampled(
    name: str,
    value: float,
    draws: np.ndarray,
    level: float,
    cells: Cells,
    n: float,
    *,
    note: str | None = None,
    **where: Any,
) -> Estimate:
    """Percentile interval of finished draws, saying what was drawn; none when the value is NaN."""
    made = estimate_from_draws(name, float(value), draws, level, int(n), cells.clusters[1])
    words = [w for w in (note, made.note) if w]
    if not np.isfinite(value):
        made, words = replace(made, low=math.nan, high=math.nan), [note or "nothing to count"]
    said = "; ".join(words).replace("draw of patients", f"draw of {cells.unit}s") or None
    method = f"{cells.unit} bootstrap, {len(draws)} draws"
    return replace(made, method=method, note=said, cluster=cells.unit, **where)
