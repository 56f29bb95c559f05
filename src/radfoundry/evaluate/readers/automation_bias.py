"""Do readers follow the AI when it is right, and do they follow it when it is wrong.

Every read is paired with the same reader's read of the same case without the AI, so that what the AI changed
is seen: a positive flip was wrong alone and is right with a right AI, a negative flip was right alone and is
wrong with a wrong AI. Commission: calling a case positive where the AI is falsely positive; omission: calling
it negative where the AI is falsely negative (Goddard et al., J Am Med Inform Assoc 2012;19:121).
Over-reliance: the share of negative flips where the reader alone was right and the AI wrong; under-reliance:
the share that stays wrong where the reader alone was wrong and the AI right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from radfoundry.errors import NotEnoughData, TableError
from radfoundry.evaluate.compare import Comparison, from_draws
from radfoundry.evaluate.resample import codes_of, draw_blocks, percentile
from radfoundry.predictions.columns import ROW
from radfoundry.types import Estimate

AI = "AI alone"
RIGHT, WRONG = "AI right", "AI wrong"


@dataclass(frozen=True)
class AutomationBias:
    """What readers did with the AI's advice.

    estimates: each names its modality in `model` and the cases it is about in `subgroup`; n counts reads.
    differences: aided minus unaided, and aided minus the AI alone. switches: reads by whether the reader
    alone, the AI and the aided reader were right. readers: one row a reader. notes: what was left out.
    """

    estimates: tuple[Estimate, ...]
    differences: tuple[Comparison, ...]
    switches: pd.DataFrame
    readers: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pairs:
    """Reads with and without the AI. unaided, aided: (readers, cases) of 0 and 1, NaN where the pair is not
    whole; y, ai: (cases,) of 0 and 1; patient: (cases,)."""

    readers: tuple[str, ...]
    y: np.ndarray
    ai: np.ndarray
    unaided: np.ndarray
    aided: np.ndarray
    patient: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Share:
    """counted out of possible, (readers, cases) bool; pooled: over readers together, not their mean."""

    name: str
    model: str
    subgroup: str | None
    counted: np.ndarray
    possible: np.ndarray
    pooled: bool = False


def automation_bias(
    table: pd.DataFrame, *, rng: np.random.Generator, unaided: str = "unaided", aided: str = "aided",
    readers_random: bool = True, draws: int = 2000, level: float = 0.95,
) -> AutomationBias:  # fmt: skip
    """Accuracy where the AI is right and wrong, switched decisions, and how far readers rely on the AI.

    table: one row a read: reader, case_id, modality, y_true, decision, ai_decision (0 or 1, one a case; rows
    without the AI may leave it empty), optional patient_id. Only cases that a reader read in both modalities
    count; the others are counted and left out. Shares are means of the readers' own; flips and reliance,
    which some readers have few chances for, are pooled. Intervals: readers and patients drawn together
    (patients alone with readers_random=False or below three readers). Beside them the AI alone, which is also
    the reader who always follows it. Drawing both is cautious (Owen, Ann Appl Stat 2007;1:386).

    Raises TableError (row and column) for a missing column or modality, a decision that is neither 0 nor 1,
    two truths or two AI decisions of a case, a case read twice; NotEnoughData when no read has its pair.
    """
    pairs = paired_reads(table, unaided=unaided, aided=aided)
    shares = _shares(pairs, unaided, aided)
    drawn, lone, unit = _draw(pairs, shares, readers_random, draws, rng)
    groups = codes_of(pairs.patient, len(pairs.y))
    found = [_estimate(s, d, unit, level, groups[0]) for s, d in zip(shares, drawn)]
    lone_share = float((pairs.y == pairs.ai).mean())
    low, high, _ = percentile(lone, level)
    who = f"{'patients' if groups[1] < len(pairs.y) else 'cases'} resampled, {draws} draws"
    if low == high:
        low = high = math.nan
    found.append(
        Estimate("accuracy", lone_share, low, high, level, who, len(pairs.y), groups[1], model=AI,
                 note="also of a reader who always follows it")
    )  # fmt: skip
    differences = _differences(shares, found, drawn, lone, (unaided, aided), unit, level)
    return AutomationBias(
        tuple(found),
        tuple(differences),
        switches(pairs),
        _by_reader(pairs, shares),
        pairs.notes,
    )


def paired_reads(table: pd.DataFrame, *, unaided: str = "unaided", aided: str = "aided") -> Pairs:
    """The reads that a reader gave of a case in both modalities; errors as `automation_bias` says."""
    rows = _checked(table, unaided, aided)
    notes = []
    told = rows.groupby("case_id")["ai_decision"].transform("first")
    if lacking := rows.loc[told.isna(), "case_id"].nunique():
        notes.append(f"{lacking} cases without a decision of the AI were left out")
    rows = rows[told.notna()]
    wide = rows.pivot(index=["reader", "case_id"], columns="modality", values="decision")
    wide = wide.reindex(columns=[unaided, aided])
    both = wide.notna().all(axis=1)
    if not both.any():
        raise NotEnoughData(
            f"no reader decided on the same case in {unaided!r} and in {aided!r}: what the AI changed cannot "
            "be seen. Compare the modalities' accuracies instead"
        )
    if out := int(wide[~both].notna().sum().sum()):
        notes.append(f"{out} reads without their pair in the other modality were left out")
    wide = wide[both]
    cases = rows[rows["case_id"].isin(wide.index.get_level_values("case_id"))].groupby("case_id", sort=True)
    y, ai = cases["y_true"].first(), cases["ai_decision"].first()
    patient = cases["patient_id"].first() if "patient_id" in rows else pd.Series(y.index, y.index)
    arrays = [wide[m].unstack("case_id").reindex(columns=y.index) for m in (unaided, aided)]
    readers = tuple(map(str, arrays[0].index))
    return Pairs(
        readers, y.to_numpy(float), ai.to_numpy(float), arrays[0].to_numpy(float), arrays[1].to_numpy(float),
        patient.to_numpy(), tuple(notes),
    )  # fmt: skip


def _checked(table: pd.DataFrame, unaided: str, aided: str) -> pd.DataFrame:
    rows = table.reset_index(drop=True)
    for column in ("reader", "case_id", "modality", "y_true", "decision", "ai_decision"):
        if column not in rows:
            raise TableError(
                f"no column {column!r}. Automation bias needs reader, case_id, modality, y_true, decision "
                "and ai_decision"
            )
    number = rows[ROW].to_numpy() if ROW in rows else np.arange(2, len(rows) + 2)
    rows["modality"] = rows["modality"].astype(str)
    for name in (unaided, aided):
        if name not in set(rows["modality"]):
            there = ", ".join(sorted(rows["modality"].unique()))
            raise TableError(f"no read has modality {name!r}. Modalities: {there}")
    keep = rows["modality"].isin([unaided, aided]).to_numpy()
    rows, number = rows[keep].reset_index(drop=True), number[keep]
    for column in ("y_true", "decision", "ai_decision"):
        values = pd.to_numeric(rows[column], errors="coerce").astype(float)
        bad = ~values.isin([0, 1]) & (rows[column].notna() | (column == "y_true"))
        if bad.any():
            at = int(np.argmax(bad))
            raise TableError(
                f"row {number[at]}, column {column!r}: {rows[column].iloc[at]} is neither 0 nor 1. Code it so"
            )
        rows[column] = values
    for column in ("y_true", "ai_decision"):
        other = rows[column].notna() & (rows[column] != rows.groupby("case_id")[column].transform("first"))
        if other.any():
            raise TableError(
                f"row {number[int(np.argmax(other))]}, column {column!r}: another value than an earlier row "
                "gives the same case. One case, one value"
            )
    again = rows.duplicated(["reader", "case_id", "modality"])
    if again.any():
        raise TableError(
            f"row {number[int(np.argmax(again))]}: the reader read this case twice in one modality. "
            "Keep one read"
        )
    return rows


def _shares(p: Pairs, unaided: str, aided: str) -> list[_Share]:
    both = np.isfinite(p.aided)
    good, says = p.y == p.ai, p.ai == 1
    alone, helped = p.unaided == p.y, p.aided == p.y
    found = []
    for model, right, decision in ((unaided, alone, p.unaided), (aided, helped, p.aided)):
        found += [
            _Share("accuracy", model, None, right, both),
            _Share("accuracy", model, RIGHT, right, both & good),
            _Share("accuracy", model, WRONG, right, both & ~good),
            _Share("agreement_with_ai", model, None, decision == p.ai, both),
            _Share("commission_error", model, "AI falsely positive", ~right, both & ~good & says),
            _Share("omission_error", model, "AI falsely negative", ~right, both & ~good & ~says),
        ]
    return [
        *found,
        _Share("positive_flips", aided, None, ~alone & helped & good, both, True),
        _Share("negative_flips", aided, None, alone & ~helped & ~good, both, True),
        _Share("over_reliance", aided, "reader alone right, AI wrong", ~helped, both & alone & ~good, True),
        _Share("under_reliance", aided, "reader alone wrong, AI right", ~helped, both & ~alone & good, True),
        # whoever reads twice changes some decisions: those that the AI did not suggest, to compare with
        _Share(
            "changed_to_wrong_unprompted",
            aided,
            "reader alone right, AI right",
            ~helped,
            both & alone & good,
            True,
        ),
        _Share(
            "changed_to_right_unprompted",
            aided,
            "reader alone wrong, AI wrong",
            helped,
            both & ~alone & ~good,
            True,
        ),
    ]


def _draw(
    p: Pairs, shares: list[_Share], readers_random: bool, draws: int, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray, str]:
    """Each share in every draw, the AI's accuracy in every draw, and what was drawn."""
    codes, groups = codes_of(p.patient, len(p.y))
    j = len(p.readers)
    both_random = readers_random and j > 2
    blocks, lone = [], []
    for block in draw_blocks(groups, draws, rng):
        counts, size = block[codes], block.shape[1]
        who = rng.multinomial(j, np.full(j, 1 / j), size).T if both_random else np.ones((j, size))
        blocks.append([_share(s, counts, who) for s in shares])
        lone.append((p.y == p.ai) @ counts / counts.sum(axis=0))
    unit = "patients" if groups < len(p.y) else "cases"
    what = f"{'readers and ' if both_random else ''}{unit} resampled, {draws} draws"
    return [np.concatenate(column) for column in zip(*blocks)], np.concatenate(lone), what


def _share(share: _Share, counts: np.ndarray, who: np.ndarray) -> np.ndarray:
    """(draws,); counts: (cases, draws), who: (readers, draws)."""
    top = (share.counted & share.possible).astype(float) @ counts
    bottom = share.possible.astype(float) @ counts
    if share.pooled:
        top, bottom = (who * top).sum(axis=0), (who * bottom).sum(axis=0)
    else:
        usable = bottom > 0
        own = np.divide(top, bottom, out=np.zeros_like(top), where=usable)
        top, bottom = (who * own).sum(axis=0), (who * usable).sum(axis=0)
    return np.divide(top, bottom, out=np.full(top.shape, math.nan), where=bottom > 0)


def _value(share: _Share) -> float:
    j, n = share.possible.shape
    return float(_share(share, np.ones((n, 1)), np.ones((j, 1)))[0])


def _estimate(share: _Share, drawn: np.ndarray, unit: str, level: float, patients: np.ndarray) -> Estimate:
    low, high, lost = percentile(drawn, level)
    clusters = len(np.unique(patients[share.possible.any(axis=0)]))
    notes = []
    if not share.possible.any():
        notes.append("no such read")
    without = int((~share.possible.any(axis=1)).sum())
    if without and not share.pooled and share.possible.any():
        notes.append(f"{without} of {len(share.possible)} readers have no such read")
    if lost and share.possible.any():
        notes.append(f"{lost} of {len(drawn)} draws were undefined and left out")
    if low == high:  # zero width would claim certainty
        low = high = math.nan
        notes.append("no interval: every draw gave the same value")
    method = f"{'pooled over readers' if share.pooled else 'mean of readers'}; {unit}"
    return Estimate(
        share.name, _value(share), low, high, level, method, int(share.possible.sum()), clusters,
        subgroup=share.subgroup, model=share.model, note="; ".join(notes) or None,
        cluster="patient" if "patients" in unit else "case",
    )  # fmt: skip


def _differences(
    shares: list[_Share], found: list[Estimate], drawn: list[np.ndarray], lone: np.ndarray,
    models: tuple[str, str], unit: str, level: float,
) -> list[Comparison]:  # fmt: skip
    """Aided minus unaided of each share that both have, and the aided reader minus the AI alone."""
    at: Mapping[tuple[str, str, str | None], int] = {
        (s.name, s.model, s.subgroup): i for i, s in enumerate(shares)
    }
    rows = []
    for (name, model, subgroup), i in at.items():
        if model == models[0] and (name, models[1], subgroup) in at:
            j = at[name, models[1], subgroup]
            rows.append((name, subgroup, models, found[j], found[i], drawn[j] - drawn[i]))
    i = at["accuracy", models[1], None]
    rows.append(("accuracy", None, (AI, models[1]), found[i], found[-1], drawn[i] - lone))
    out = []
    for name, subgroup, (before, after), one, other, draws in rows:
        clusters = one.n_clusters or 0
        result = from_draws(name, one.value, other.value, draws, level, one.n, clusters)
        if result.low == result.high:  # a few reads that nothing changed: zero width would claim certainty
            none = "no interval: every draw gave the same difference"
            result = replace(result, low=math.nan, high=math.nan, p=math.nan, note=none)
        out.append(replace(result, method=unit, model_a=after, model_b=before, subgroup=subgroup))
    return out


def switches(pairs: Pairs) -> pd.DataFrame:
    """Reads by whether the reader alone, the AI and the aided reader were right: what, reads, share."""
    both = np.isfinite(pairs.aided)
    alone, helped = pairs.unaided == pairs.y, pairs.aided == pairs.y
    good = np.broadcast_to(pairs.y == pairs.ai, both.shape)
    words = {
        (False, True, True): "positive flip", (True, False, False): "negative flip",
        (False, False, True): "to right against the AI", (True, True, False): "to wrong against the AI",
        (False, True, False): "right advice not taken", (True, False, True): "wrong advice withstood",
        (True, True, True): "all right", (False, False, False): "all wrong",
    }  # fmt: skip
    rows = []
    for (before, ai, after), word in words.items():
        n = int((both & (alone == before) & (good == ai) & (helped == after)).sum())
        rows.append({"reader_alone_right": before, "ai_right": ai, "aided_right": after, "what": word,
                     "reads": n, "share": n / both.sum()})  # fmt: skip
    return pd.DataFrame(rows)


def _by_reader(pairs: Pairs, shares: list[_Share]) -> pd.DataFrame:
    """One row a reader: its pairs of reads, accuracies where the AI is right and wrong, flips."""
    columns: dict[str, np.ndarray] = {"pairs": np.isfinite(pairs.aided).sum(axis=1)}
    for share in shares:
        if share.name not in ("accuracy", "agreement_with_ai", "positive_flips", "negative_flips"):
            continue
        flips = share.name.endswith("flips")
        name = share.name if flips else f"{share.name}:{share.model}"
        name += f":{share.subgroup}" if share.subgroup else ""
        top = (share.counted & share.possible).sum(axis=1)
        bottom = share.possible.sum(axis=1)
        columns[name] = (
            top if flips
            else np.divide(top, bottom, out=np.full(len(top), math.nan), where=bottom > 0)
        )  # fmt: skip
    return pd.DataFrame({"reader": list(pairs.readers), **columns})
