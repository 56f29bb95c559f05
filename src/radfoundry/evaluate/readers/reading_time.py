"""Reading time: how much faster or slower with one modality than with another, and what else moves the clock.

Seconds are analysed on the log scale, so effects are ratios of geometric means. The model has modality,
session and order within the session as fixed effects, and reader, case and reader-by-modality as crossed
random effects (`mixed_model`). Beside it stand the readers' own ratios, by t and by Wilcoxon's signed ranks.
Crossover designs: Jones and Kenward, Design and Analysis of Cross-Over Trials, 2014, chapter 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from radfoundry.errors import NotEnoughData, TableError
from radfoundry.evaluate.compare import holm, p_note, p_words
from radfoundry.evaluate.readers.mixed_model import Fit, crossed
from radfoundry.predictions.columns import ROW
from radfoundry.types import Estimate, json_ready

FAR = 3.0
"""A time is called far where its log lies this many SDs, estimated by the median absolute deviation, from the
median of its reader and modality. Far times are counted and kept."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Geometric mean seconds in modality a over those in modality b; p is two-sided, of a ratio of 1.

    >>> print(Ratio("aided", "unaided", 0.6, 0.5, 0.72, p=0.001, method="mixed model", n=400, readers=8))
    aided / unaided 0.600 (95% CI 0.500 to 0.720; p = 0.001; mixed model; n = 400, 8 readers)
    """

    modality_a: str
    modality_b: str
    value: float
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    p: float = math.nan
    p_holm: float = math.nan
    method: str = ""
    n: int = 0
    readers: int = 0
    note: str | None = None

    def __str__(self) -> str:
        parts = []
        if math.isfinite(self.low) and math.isfinite(self.high):
            parts.append(f"{self.level:.0%} CI {self.low:.3f} to {self.high:.3f}")
        parts += [p_words(self.p)] if math.isfinite(self.p) else []
        parts += [self.method, f"n = {self.n}, {self.readers} readers"] + ([self.note] if self.note else [])
        return f"{self.modality_a} / {self.modality_b} {self.value:.3f} ({'; '.join(parts)})"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes null."""
        return json_ready(self)

    def estimate(self) -> Estimate:
        """The same as an Estimate, its p-values in the note: for a run folder's metrics.json."""
        return Estimate(
            "time_ratio", self.value, self.low, self.high, self.level, self.method, self.n, self.readers,
            model=f"{self.modality_a} over {self.modality_b}", note=p_note(self.p, self.p_holm, self.note),
            cluster="reader",
        )  # fmt: skip


@dataclass(frozen=True)
class ReadingTime:
    """What the clock says.

    means: geometric mean seconds by modality (over readers). ratios: later modality over earlier, by the
    mixed model, or where it did not converge the readers' own ratios. by_reader: the readers' own ratios, t
    and Wilcoxon. terms: learning per 10 cases (percent), ratio of each session to the first, SDs of log
    seconds. crossover: carry-over, and where sequences differ the period and the modality without the mixed
    model. readers: reader, modality, seconds (geometric mean), n.
    """

    means: tuple[Estimate, ...]
    ratios: tuple[Ratio, ...]
    by_reader: tuple[Ratio, ...]
    terms: tuple[Estimate, ...]
    crossover: tuple[Estimate, ...]
    readers: pd.DataFrame
    converged: bool
    notes: tuple[str, ...] = ()


def reading_time(
    table: pd.DataFrame, *, modalities: Sequence[str] = (), reader_slope: bool = True,
    missing: Literal["refuse", "drop"] = "refuse", level: float = 0.95,
) -> ReadingTime:  # fmt: skip
    """Ratios of reading times by modality, learning and carry-over, from a table with one row a read.

    table: reader, case_id, modality, seconds; optional session and order. modalities: which, in which order
    (default: all, sorted); a ratio is the later over the earlier. reader_slope: readers differ in what a
    modality does to them, which the interval then includes (t with readers - 1 degrees of freedom, less one a
    session after the first); without it the result holds for these readers only. missing: refuse reads
    without seconds, or drop and count them.

    An order or session that is empty somewhere is left out of the model, with a note. Raises TableError (row
    and column) for a missing column, a time that is zero, negative or infinite, an order or session that is
    no number, and a case read twice; NotEnoughData below two readers or cases.
    """
    reads, notes = times(table, missing=missing)
    names = [str(m) for m in modalities] or sorted(reads["modality"].unique())
    if absent := sorted(set(names) - set(reads["modality"])):
        raise TableError(f"no read has modality {absent[0]!r}. Modalities: {_listed(reads['modality'])}")
    reads = reads[reads["modality"].isin(names)].reset_index(drop=True)
    n_readers = reads["reader"].nunique()
    if n_readers < 2 or reads["case_id"].nunique() < 2:
        raise NotEnoughData(
            f"{n_readers} readers and {reads['case_id'].nunique()} cases: two of each at least"
        )
    if far := _far(reads):
        notes.append(f"{far} of {len(reads)} times are more than {FAR:g} SD from their reader's median; kept")
    design, columns, said = _design(reads, names)
    notes += said
    groups = [_codes(reads, ["reader"]), _codes(reads, ["case_id"])]
    slope = reader_slope and len(names) > 1
    groups += [_codes(reads, ["reader", "modality"])] if slope else []
    fit = crossed(reads["log"].to_numpy(), design, groups)
    by_reader = [one for a, b in _pairs(names) for one in _own_ratios(reads, a, b, level)]
    if fit.converged:
        sessions = sum(name.startswith("session") for name in columns)
        df = max(n_readers - 1 - sessions, 1) if slope else math.inf
        ratios = [_ratio(fit, columns, a, b, df, reads, level) for a, b in _pairs(names)]
        terms = _terms(fit, columns, len(reads), slope, df, level)
        zero = [word for word, sd in zip(("reader", "case", "reader-by-modality"), fit.sd[:-1]) if sd < 1e-6]
        notes += [f"no variance between {word} effects was found" for word in zero]
    else:
        notes.append(
            "the mixed model did not converge: ratios are the readers' own, paired, with t intervals"
        )
        ratios, terms = [one for one in by_reader if one.method.endswith("t")], []
    crossover, said = carry_over(reads, names, level)
    return ReadingTime(
        tuple(_mean(reads, name, level) for name in names), tuple(_holm(ratios)), tuple(by_reader),
        tuple(terms), tuple(crossover), reader_means(reads), fit.converged, tuple(notes + said),
    )  # fmt: skip


def times(
    table: pd.DataFrame, *, missing: Literal["refuse", "drop"] = "refuse"
) -> tuple[pd.DataFrame, list[str]]:
    """The reads with a usable time and their `log` seconds, and notes; errors as `reading_time` says."""
    for column in ("reader", "case_id", "modality", "seconds"):
        if column not in table:
            raise TableError(
                f"no column {column!r}. Reading times need reader, case_id, modality and seconds"
            )
    reads = table.reset_index(drop=True)
    row = reads[ROW].to_numpy() if ROW in reads else np.arange(2, len(reads) + 2)
    keep, notes = np.ones(len(reads), bool), []
    for column in (c for c in ("seconds", "session", "order") if c in reads):
        values = pd.to_numeric(reads[column], errors="coerce").astype(float)
        bad = ~np.isfinite(values) | ((values <= 0) if column == "seconds" else False)
        lacking = reads[column].isna()
        bad &= ~lacking if column != "seconds" else True
        if column == "seconds" and missing == "drop":
            keep &= ~lacking.to_numpy()
            bad &= ~lacking
        if bad.any():
            at = int(np.argmax(bad))
            shown = reads[column].iloc[at]
            raise TableError(
                f"row {row[at]}, column {column!r}: {shown} is not "
                + ("a time above zero" if column == "seconds" else "a number")
                + f" ({int(bad.sum())} such rows). Correct it, or leave the read out"
            )
        reads[column] = values
        if column != "seconds" and lacking.any():
            notes.append(f"{column} is empty in {int(lacking.sum())} of {len(reads)} reads: it was left out")
            reads = reads.drop(columns=column)
    if not keep.all():
        notes.append(f"{int((~keep).sum())} reads without seconds were left out")
    reads = reads[keep].reset_index(drop=True)
    again = reads.duplicated(["reader", "case_id", "modality"])
    if again.any():
        raise TableError(
            f"row {row[keep][int(np.argmax(again))]}: the reader read this case twice in one modality. "
            "Keep one read"
        )
    reads["log"] = np.log(reads["seconds"])
    reads["modality"] = reads["modality"].astype(str)
    return reads, notes


def _codes(reads: pd.DataFrame, columns: list[str]) -> np.ndarray:
    return reads.groupby(columns, sort=True).ngroup().to_numpy()


def _design(reads: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, list[str], list[str]]:
    """Columns of the fixed effects, their names, and notes on those that cannot be told apart."""
    parts: list[tuple[str, np.ndarray]] = [("intercept", np.ones(len(reads)))]
    parts += [(f"modality {m}", (reads["modality"] == m).to_numpy(float)) for m in names[1:]]
    sessions = sorted(reads["session"].unique()) if "session" in reads else []
    parts += [(f"session {s:g}", (reads["session"] == s).to_numpy(float)) for s in sessions[1:]]
    notes = []
    if "order" in reads and reads["order"].nunique() > 1:
        centred = reads["order"] - reads["order"].mean()
        parts.append(("order", centred.to_numpy(float) / 10))
        if (reads.groupby("case_id")["order"].nunique() == 1).all():
            notes.append("all read the cases in one order: learning cannot be told from what the cases are")
    kept: list[tuple[str, np.ndarray]] = []
    for name, column in parts:
        tried = np.column_stack([c for _, c in kept] + [column])
        if np.linalg.matrix_rank(tried) == tried.shape[1]:
            kept.append((name, column))
        else:
            notes.append(f"{name} cannot be told from the modality and was left out of the model")
    return np.column_stack([c for _, c in kept]), [name for name, _ in kept], notes


def _ratio(
    fit: Fit, columns: list[str], a: str, b: str, df: float, reads: pd.DataFrame, level: float
) -> Ratio:
    contrast = np.array([float(name == f"modality {a}") - float(name == f"modality {b}") for name in columns])
    value, se = float(contrast @ fit.beta), math.sqrt(float(contrast @ fit.covariance @ contrast))
    low, high, p = _t(value, se, df, level)
    rows = reads["modality"].isin([a, b])
    method = "mixed model, " + ("normal" if math.isinf(df) else f"t with {df:g} degrees of freedom")
    return Ratio(
        a, b, math.exp(value), math.exp(low), math.exp(high), level, p, method=method, n=int(rows.sum()),
        readers=reads.loc[rows, "reader"].nunique(),
    )  # fmt: skip


def _terms(fit: Fit, columns: list[str], n: int, slope: bool, df: float, level: float) -> list[Estimate]:
    found = []
    for at, name in enumerate(columns):
        value, se = float(fit.beta[at]), math.sqrt(float(fit.covariance[at, at]))
        # a session is as long as a reader's reads of it: its effect is known no better than the modality's
        low, high, p = _t(value, se, df if name.startswith("session") else math.inf, level)
        shared = {"level": level, "method": "mixed model", "n": n, "note": p_words(p)}
        if name == "order":
            percent = [100 * math.expm1(v) for v in (value, low, high)]
            found.append(Estimate("learning_percent_per_10_cases", *percent, **shared))  # type: ignore[arg-type]
        elif name.startswith("session"):
            ratio = [math.exp(v) for v in (value, low, high)]
            one = Estimate("session_ratio", *ratio, **shared)  # type: ignore[arg-type]
            found.append(replace(one, subgroup=name))
    words = ["sd_reader", "sd_case", *(["sd_reader_by_modality"] if slope else []), "sd_residual"]
    found += [
        Estimate(word, float(sd), level=level, method="mixed model", n=n, note="of log seconds; no interval")
        for word, sd in zip(words, fit.sd, strict=True)
    ]
    return found


def _own_ratios(reads: pd.DataFrame, a: str, b: str, level: float) -> list[Ratio]:
    """a over b by reader, on the cases that the reader read in both."""
    wide = reads.pivot(index=["reader", "case_id"], columns="modality", values="log")
    both = wide.reindex(columns=[a, b]).dropna()
    d = (both[a] - both[b]).groupby(level="reader").mean().to_numpy()
    lost = int(reads["modality"].isin([a, b]).sum() - 2 * len(both))
    note = f"{lost} reads without their pair left out" if lost else None
    shared: dict[str, Any] = {"level": level, "n": 2 * len(both), "readers": len(d)}
    if len(d) < 2:
        note = "fewer than two readers read a case in both modalities"
        return [Ratio(a, b, math.nan, method="paired by reader, t", note=note, **shared)]
    mean, se = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(len(d))
    low, high, p = _t(mean, se, len(d) - 1, level)
    walsh = (d[:, None] + d)[np.triu_indices(len(d))] / 2
    signed = float(stats.wilcoxon(d).pvalue) if d.any() else math.nan
    return [
        Ratio(a, b, math.exp(mean), math.exp(low), math.exp(high), p=p, method="paired by reader, t",
              note=note, **shared),
        Ratio(a, b, math.exp(float(np.median(walsh))), p=signed, method="Wilcoxon signed ranks of readers",
              note="; ".join(filter(None, ["Hodges and Lehmann's ratio", note])), **shared),
    ]  # fmt: skip


def carry_over(
    reads: pd.DataFrame, names: Sequence[str], level: float = 0.95
) -> tuple[list[Estimate], list[str]]:
    """Does the first session leave something behind: sequence and period in a design of two by two.

    reads: as `times` gives them. carry_over: how many times as long a reading of the first modality takes
    for coming after the other one, over the same ratio of the second modality; only this quotient can be
    told from the sessions, and where the second modality leaves nothing behind it is the ratio of the first.
    Where every reader has one modality a session it is the time of both sessions multiplied, of the readers
    who began with the second modality over that of the others (twice the sequence effect on log seconds; a
    test between readers, so of little power), and beside it stand session_ratio, second session over first,
    and time_ratio, the modalities free of the session. Where a session mixes the modalities it is the ratio
    of the modalities in the second session over that in the first, within readers, by the mixed model.
    Elsewhere nothing but a note.
    """
    if "session" not in reads or len(names) != 2:
        return [], []
    sessions = sorted(reads["session"].unique())
    if len(sessions) != 2:
        return [], [f"{len(sessions)} sessions: carry-over is tested in designs of two"]
    # less the case's mean: where reads are missing, sequences are not told apart by their cases
    centred = reads.assign(log=reads["log"] - reads.groupby("case_id")["log"].transform("mean"))
    cells = centred.pivot_table(index="reader", columns=["session", "modality"], values="log", aggfunc="mean")
    cells = cells.reindex(columns=pd.MultiIndex.from_product([sessions, names]))
    x = cells.to_numpy().reshape(len(cells), 2, 2)  # reader, session, modality
    seen = np.isfinite(x)
    whole = seen.all(axis=(1, 2))
    if whole.sum() >= 2:
        own = reads[reads["reader"].isin(cells.index[whole])].reset_index(drop=True)
        return [_interaction(own, names, level)], _left(~whole)
    first = seen[:, 0, 0] & seen[:, 1, 1] & (seen.sum(axis=(1, 2)) == 2)
    second = seen[:, 0, 1] & seen[:, 1, 0] & (seen.sum(axis=(1, 2)) == 2)
    sizes = int(first.sum()), int(second.sum())
    if 0 in sizes:
        begun = names[0] if sizes[0] else names[1]
        return [], [
            f"all readers began with {begun}: what the second session adds looks like the modality"
            if sum(sizes) else "no reader read one modality a session: no sequences to compare"
        ]  # fmt: skip
    if min(sizes) < 2:
        return [], [f"sequences of {sizes[0]} and {sizes[1]} readers: carry-over needs two in each"]
    groups = [np.column_stack([x[first, 0, 0], x[first, 1, 1]]), np.column_stack([x[second, 0, 1],
              x[second, 1, 0]])]  # fmt: skip
    change = [g[:, 1] - g[:, 0] for g in groups]  # second session less first
    over = f"{names[0]} after {names[1]}"
    method = f"between sequences of {sizes[0]} and {sizes[1]} readers, t"
    return [
        _from_t("carry_over", [g.sum(axis=1) for g in groups[::-1]], [1, -1], level, method, over),
        _from_t("session_ratio", change, [0.5, 0.5], level, method),
        _from_t("time_ratio", change, [0.5, -0.5], level, method, f"{names[1]} over {names[0]}"),
    ], _left(~(first | second))  # fmt: skip


def _interaction(reads: pd.DataFrame, names: Sequence[str], level: float) -> Estimate:
    """Modality by session in the mixed model, with an effect of each reader's modality in each session."""
    design = _design(reads, names)[0]
    both = (reads["modality"] == names[0]) & (reads["session"] == reads["session"].max())
    groups = [_codes(reads, c) for c in (["reader"], ["case_id"], ["reader", "modality", "session"])]
    fit = crossed(reads["log"].to_numpy(), np.column_stack([design, both]), groups)
    readers, method = reads["reader"].nunique(), "within readers, mixed model, t"
    if not fit.converged:
        return Estimate("carry_over", math.nan, level=level, method=method, n=readers, note="no convergence")
    value, se = float(fit.beta[-1]), math.sqrt(float(fit.covariance[-1, -1]))
    low, high, p = _t(value, se, readers - 1, level)
    return Estimate(
        "carry_over", math.exp(value), math.exp(low), math.exp(high), level, method, readers,
        model=f"{names[0]} after {names[1]}", note=p_words(p),
    )  # fmt: skip


def _left(out: np.ndarray) -> list[str]:
    return (
        [f"{int(out.sum())} readers of another design were left out of the carry-over"] if out.any() else []
    )


def _from_t(
    name: str, groups: Sequence[np.ndarray], weights: Sequence[float], level: float, method: str,
    model: str | None = None,
) -> Estimate:  # fmt: skip
    """exp of the weighted sum of group means, with the groups' pooled variance."""
    n, df = sum(map(len, groups)), sum(map(len, groups)) - len(groups)
    pooled = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / df
    value = sum(w * float(g.mean()) for w, g in zip(weights, groups))
    se = math.sqrt(pooled * sum(w * w / len(g) for w, g in zip(weights, groups)))
    low, high, p = _t(value, se, df, level)
    return Estimate(
        name, math.exp(value), math.exp(low), math.exp(high), level, method, n, model=model,
        note=p_words(p) if math.isfinite(p) else "no variance between readers",
    )  # fmt: skip


def _t(value: float, se: float, df: float, level: float) -> tuple[float, float, float]:
    """(low, high, two-sided p); a normal law where df is infinite; NaN without variance."""
    if not se > 0:
        return math.nan, math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, df)) * se  # t with infinite df is the normal law
    return value - half, value + half, float(2 * stats.t.sf(abs(value / se), df))


def _mean(reads: pd.DataFrame, modality: str, level: float) -> Estimate:
    own = reads[reads["modality"] == modality]
    logs = own.groupby("reader")["log"].mean().to_numpy()
    mean = float(logs.mean())
    low = high = math.nan
    if len(logs) > 1:
        low, high, _ = _t(mean, float(logs.std(ddof=1)) / math.sqrt(len(logs)), len(logs) - 1, level)
    return Estimate(
        "geometric_mean_seconds", math.exp(mean), math.exp(low), math.exp(high), level, "t over readers",
        len(own), len(logs), model=modality, cluster="reader",
    )  # fmt: skip


def reader_means(reads: pd.DataFrame) -> pd.DataFrame:
    """reader, modality, seconds (geometric mean), n; reads as `times` gives them."""
    found = reads.groupby(["reader", "modality"], sort=True)["log"].agg(["mean", "size"]).reset_index()
    return found.assign(seconds=np.exp(found["mean"]), n=found["size"]).drop(columns=["mean", "size"])


def by_order(table: pd.DataFrame, *, width: int = 10) -> pd.DataFrame:
    """Geometric mean seconds along the reading list: modality, session, order (middle), seconds, n.

    width: how many places of the list make one point. Reads without an order are left out, without any no
    row is left. TableError without a column `order`.
    """
    if "order" not in table:
        raise TableError("no column 'order'. Seconds over the reading order need it")
    if ROW not in table:
        table = table.reset_index(drop=True).assign(**{ROW: np.arange(2, len(table) + 2)})
    placed = table[table["order"].notna()]
    if len(placed) == 0:
        return pd.DataFrame(columns=["modality", "session", "order", "seconds", "n"])
    reads, _ = times(placed, missing="drop")
    if "session" not in reads:
        reads["session"] = 1.0
    reads["bin"] = ((reads["order"] - 1) // width).astype(int)
    found = reads.groupby(["modality", "session", "bin"])["log"].agg(["mean", "size"]).reset_index()
    found["order"] = found["bin"] * width + (width + 1) / 2
    found = found.assign(seconds=np.exp(found["mean"]), n=found["size"])
    return found[["modality", "session", "order", "seconds", "n"]]


def _far(reads: pd.DataFrame) -> int:
    logs = reads.groupby(["reader", "modality"])["log"]
    away = (reads["log"] - logs.transform("median")).abs()
    spread = away.groupby([reads["reader"], reads["modality"]]).transform("median") * 1.4826
    return int((away > FAR * spread)[spread > 0].sum())


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """(later, earlier)."""
    return [(names[b], names[a]) for b in range(len(names)) for a in range(b)]


def _holm(ratios: Sequence[Ratio]) -> list[Ratio]:
    return [replace(one, p_holm=float(p)) for one, p in zip(ratios, holm([one.p for one in ratios]))]


def _listed(values: pd.Series) -> str:
    return ", ".join(sorted(map(str, values.unique())))
