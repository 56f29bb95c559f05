"""Judge a table with predictions of a time to an event.

A row says `time:<name>`, `event:<name>`, target `<name>` and a score, higher is worse; optionally
`surv:<horizon>`, the predicted probability to be free of the event beyond that time. Only predictions made
out of sample are judged.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.errors import InputMismatch, NotEnoughData, Notice, TableError
from radfoundry.evaluate.compare import Comparison, p_words
from radfoundry.evaluate.subgroups import groups
from radfoundry.evaluate.survival.accuracy import (
    Kind,
    auc_at,
    compare_c,
    harrell_c,
    uno_c,
)
from radfoundry.evaluate.survival.calibration import brier, calibration_at
from radfoundry.evaluate.survival.curves import (
    aalen_johansen,
    check_horizon,
    follow_up,
    kaplan_meier,
    logrank,
    quantile_time,
    survival_at,
)
from radfoundry.evaluate.survival.cutoffs import (
    FORCED,
    REFUSED,
    TRAINING,
    Cutoff,
    RiskGroups,
    check_cutoff,
    joined,
    risk_groups,
)
from radfoundry.evaluate.survival.models import cox
from radfoundry.optional import available
from radfoundry.predictions import horizon_columns, is_survival, survival_targets, validate
from radfoundry.types import Estimate

FEW_EVENTS = 10
RATIO = "hazard_ratio:high risk"
AS_CENSORED = "other causes count as censored"
INDEPENDENT = "rows of one patient taken as independent"
NO_UNO = "not given: its weights would take the other causes as censored"


@dataclass(frozen=True)
class SurvivalPart:
    """One model on one outcome and split (or a subgroup of it).

    rows: one repeat's rows in case order. score: (n, repeats). survival: horizon to (n, repeats). training:
    rows of split train of the same model and outcome, for cut-offs alone.
    """

    model: str
    target: str
    label: str | None
    rows: pd.DataFrame
    score: np.ndarray
    survival: dict[float, np.ndarray]
    training: pd.DataFrame
    in_sample: bool = False

    @property
    def time(self) -> np.ndarray:
        return self.rows[f"time:{self.target}"].to_numpy(float)

    @property
    def event(self) -> np.ndarray:
        return self.rows[f"event:{self.target}"].to_numpy(int)

    @property
    def patient(self) -> np.ndarray:
        return self.rows["patient_id"].to_numpy(str)

    @property
    def n_patients(self) -> int:
        return int(self.rows["patient_id"].nunique())

    @property
    def clustered(self) -> bool:
        """Whether any patient owns several rows."""
        return self.n_patients < len(self.rows)

    def only(self, mask: np.ndarray, label: str) -> SurvivalPart:
        """The rows of `mask` (n,), under a name."""
        survival = {h: s[mask] for h, s in self.survival.items()}
        whole = f"{self.label}, {label}" if self.label else label
        return replace(self, rows=self.rows[mask], score=self.score[mask], survival=survival, label=whole)


def evaluate_survival(
    table: pd.DataFrame,
    *,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
    horizons: Sequence[float] = (),
    subgroups: Sequence[str] = (),
    min_n: int = 20,
    cutoff: Cutoff = None,
    competing: bool = False,
    in_sample: bool = False,
) -> list[Estimate]:
    """Estimates of every model x outcome x split of a prediction table that hold a time to an event.

    Events, follow-up and median survival; survival and AUC at each of `horizons` (default: those of the
    columns `surv:<horizon>`); Harrell's and Uno's C; where there are `surv:` columns, Brier score beside
    Kaplan-Meier's and calibration. cutoff: of the score, for groups of low and high risk (`risk_groups`).
    subgroups: covariates; below `min_n` patients a note stands instead of a value. competing: events of 2 and
    more are other causes; then incidence is Aalen and Johansen's, and no AUC or Brier score is given. Rows of
    split train are left out aloud, and refused where there are no others, unless `in_sample`, which every
    estimate then says. What cannot be had, a cut-off that leaves one group too, is NaN with a note. Raises
    TableError where the table is wrong, InputMismatch for a horizon below 0 or a cut-off that means nothing.
    """
    out: list[Estimate] = []
    horizons = [check_horizon(h) for h in horizons]
    check_cutoff(cutoff)
    for part in survival_parts(table, in_sample=in_sample):
        at = tuple(sorted({float(h) for h in horizons})) or tuple(part.survival)
        _declared(part, competing)
        found = _labelled(_whole(part, at, competing, level=level, n_boot=n_boot, seed=seed), part)
        for covariate in dict.fromkeys(subgroups):
            for name, mask in groups(part.rows, covariate).items():
                piece = part.only(mask, name)
                found += _labelled(_piece(piece, at, competing, level, min_n), piece)
        if cutoff is not None:
            found += _by_cutoff(part, cutoff, at, level, min_n, competing)
        out += [replace(e, note=joined(FORCED, e.note)) for e in found] if part.in_sample else found
    return out


def survival_parts(table: pd.DataFrame, *, in_sample: bool = False) -> Iterator[SurvivalPart]:
    """Every model x outcome x split of a table, validated; the other rows of the table are left alone.

    Raises TableError where no row has a time to an event, where all are training cases (unless `in_sample`),
    and where repeats do not score the same cases.
    """
    checked = validate(table)
    timed = checked[is_survival(checked)]
    if timed.empty:
        raise TableError(
            "no row predicts a time to an event. Give columns time:<name> and event:<name>, and <name> in "
            "the column target"
        )
    for (model, target), rows in timed.groupby(["model", "target"], sort=False):
        for split, judged, training in _judged(rows, in_sample):
            yield _part(judged, str(model), str(target), split, training, in_sample)


def _judged(rows: pd.DataFrame, in_sample: bool) -> list[tuple[str | None, pd.DataFrame, pd.DataFrame]]:
    """(split, rows to judge, training rows), one a split."""
    if "split" not in rows:
        return [(None, rows, rows.iloc[:0])]
    fitted = rows["split"].astype(str).str.lower().isin(TRAINING)
    training = rows[fitted]
    if in_sample:
        judged = rows
    elif fitted.all():
        raise TableError(REFUSED.format(split=str(rows["split"].iloc[0])))
    else:
        judged = rows[~fitted]
        if len(training):
            warnings.warn(
                Notice(f"{len(training)} rows of split train were left out: only predictions made out of "
                       "sample are judged"), stacklevel=4,
            )  # fmt: skip
    several = judged["split"].nunique() > 1
    return [(f"split {split}" if several else None, part, training)
            for split, part in judged.groupby("split", sort=False, dropna=False)]  # fmt: skip


def _part(
    rows: pd.DataFrame, model: str, target: str, label: str | None, training: pd.DataFrame, in_sample: bool
) -> SurvivalPart:
    rows = rows.sort_values("case_id", kind="stable")
    resample = [c for c in ("repeat", "seed") if c in rows]
    repeats = [r for _, r in rows.groupby(resample, dropna=False)] if resample else [rows]
    first = repeats[0]
    fixed = ["case_id", f"time:{target}", f"event:{target}"]
    if any(
        len(r) != len(first) or not (r[fixed].to_numpy() == first[fixed].to_numpy()).all() for r in repeats
    ):
        raise TableError(
            f"model {model!r}, target {target!r}: repeats score other cases, or give a case another time or "
            "event. Judge repeats of the same cases"
        )
    columns = {h: c for h, c in horizon_columns(rows).items() if first[c].notna().all()}
    survival = {h: np.stack([r[c].to_numpy(float) for r in repeats], axis=1) for h, c in columns.items()}
    score = np.stack([r["score"].to_numpy(float) for r in repeats], axis=1)
    split = rows["split"].astype(str).str.lower() if "split" in rows else pd.Series("train", rows.index)
    fitted = in_sample and bool(split.isin(TRAINING).any())
    return SurvivalPart(model, target, label, first, score, survival, training, fitted)


def _declared(part: SurvivalPart, competing: bool) -> None:
    if competing or not (part.event > 1).any():
        return
    column = f"event:{part.target}"
    if set(part.event) <= {1, 2}:
        raise TableError(
            f"column {column!r} is coded 1 and 2. If 2 means the event and 1 censored, as in the lung data "
            "of R, subtract 1. If 2 is another cause and nobody is censored, declare competing risks "
            "(competing=True, --competing)"
        )
    raise TableError(
        f"column {column!r} holds {int(part.event.max())}: an event of another cause. Declare competing "
        "risks (competing=True, --competing), or code those cases 0 or 1 and say why"
    )


def _labelled(found: Sequence[Estimate], part: SurvivalPart) -> list[Estimate]:
    return [replace(e, model=part.model, target=part.target, subgroup=part.label) for e in found]


def _whole(
    part: SurvivalPart, at: Sequence[float], competing: bool, *, level: float, n_boot: int, seed: int
) -> list[Estimate]:
    """Everything about one part."""
    event = (part.event == 1).astype(int)
    out = [*_described(part, at, competing, level)]
    tau = max((h for h in at if h <= part.time.max()), default=None)
    if not event.any():
        names = ["c_harrell", "c_uno", *(f"auc@{h:g}" for h in at), *(f"brier@{h:g}" for h in part.survival)]
        return out + [
            _none(part, name, level, f"not defined: no event among {len(event)} cases") for name in names
        ]
    out.append(_c(part, event, level, competing))
    if competing:
        return out + [_none(part, name, level, NO_UNO) for name in ("c_uno", *(f"auc@{h:g}" for h in at))]
    given: dict[str, Any] = {"level": level, "n_boot": n_boot}
    who = part.patient
    try:
        out.append(
            uno_c(part.time, event, part.score, who, tau=tau, rng=np.random.default_rng(seed), **given)
        )
    except NotEnoughData as reason:
        out.append(_none(part, "c_uno", level, f"not defined: {reason}"))
    out += auc_at(part.time, event, part.score, at, who, rng=np.random.default_rng(seed), **given)
    out += [_constant(part, e.name) for e in out if e.name.startswith(("c_", "auc@"))]
    if part.survival:
        out += brier(part.time, event, part.survival, who, rng=np.random.default_rng(seed), **given)
        for h, s in part.survival.items():
            out += calibration_at(part.time, event, s, h, who, level=level)[0]
    return out


def _constant(part: SurvivalPart, name: str) -> Estimate:
    return Estimate(f"{name}_trivial", 0.5, method="any constant score", n=len(part.rows))


def _none(part: SurvivalPart, name: str, level: float, note: str) -> Estimate:
    return Estimate(name, math.nan, level=level, n=len(part.rows), n_clusters=part.n_patients, note=note)


def _described(part: SurvivalPart, at: Sequence[float], competing: bool, level: float) -> list[Estimate]:
    """Events, follow-up, and how many are free of the event; nothing of the score."""
    event, n, patients = part.event, len(part.rows), part.n_patients
    who = part.patient if part.clustered else None
    deaths = int((event == 1).sum())
    words = f"{int((event == 0).sum())} censored" + (
        f", {int((event > 1).sum())} of other causes" if competing else "")  # fmt: skip
    out = [Estimate("events", float(deaths), level=level, n=n, n_clusters=patients, note=words),
           follow_up(part.time, (event > 0).astype(int), who, level=level)]  # fmt: skip
    if competing:
        if deaths:
            curve = replace(aalen_johansen(part.time, event, level=level), n_clusters=patients)
            found = [survival_at(curve, h, "cumulative_incidence") for h in at]
            doubt = INDEPENDENT if part.clustered else None
            out += [replace(e, note=joined(e.note, doubt)) for e in found]
        return out
    curve = kaplan_meier(part.time, event, who, level=level)
    return [*out, quantile_time(curve), *(survival_at(curve, h) for h in at)]


def _c(part: SurvivalPart, event: np.ndarray, level: float, competing: bool) -> Estimate:
    try:
        found = harrell_c(part.time, event, part.score, part.patient, level=level)
    except NotEnoughData as reason:
        return _none(part, "c_harrell", level, f"not defined: {reason}")
    doubt = "below one half: is a higher score worse?" if found.high < 0.5 else None
    causes = AS_CENSORED if competing else None
    return replace(found, note=joined(found.note, doubt, causes))


def _piece(
    part: SurvivalPart, at: Sequence[float], competing: bool, level: float, min_n: int
) -> list[Estimate]:
    """A subgroup: description and Harrell's C."""
    patients = part.n_patients
    stem = "cumulative_incidence" if competing else "survival"
    if patients < min_n:
        note = f"too few: {len(part.rows)} cases of {patients} patients, at least {min_n} asked for"
        return [
            _none(part, name, level, note) for name in ("events", *(f"{stem}@{h:g}" for h in at), "c_harrell")
        ]
    found = _described(part, at, competing, level)
    event = (part.event == 1).astype(int)
    if not event.any():
        return [*found, _none(part, "c_harrell", level, f"not defined: no event among {len(event)} cases")]
    c = _c(part, event, level, competing)
    few = f"{int(event.sum())} events only" if event.sum() < FEW_EVENTS else None
    return [*found, replace(c, note=joined(c.note, few))]


# --- groups of risk ------------------------------------------------------------------------------------


def _risk_groups(part: SurvivalPart, cutoff: float | str) -> RiskGroups:
    """Of the first repeat."""
    training = part.training["score"] if len(part.training) else None
    return risk_groups(part.score[:, 0], cutoff, training=training)


def part_groups(part: SurvivalPart, cutoff: float | str) -> dict[str, np.ndarray]:
    """Who is of low and of high risk, (n,) bool each; errors as `risk_groups`."""
    label = _risk_groups(part, cutoff).label
    return {name: label == name for name in ("low risk", "high risk")}


def _by_cutoff(
    part: SurvivalPart, cutoff: float | str, at: Sequence[float], level: float, min_n: int, competing: bool
) -> list[Estimate]:
    """Both groups described, and the hazard ratio between them with its log-rank test.

    Where the scores of this model cannot be cut so, a hazard ratio of NaN with the reason: others can.
    """
    try:
        found = _risk_groups(part, cutoff)
    except (InputMismatch, NotEnoughData) as reason:
        return _labelled([_none(part, RATIO, level, str(reason))], part)
    note = joined(found.note, "first repeat" if part.score.shape[1] > 1 else None)
    out = []
    for name in ("low risk", "high risk"):
        piece = part.only(found.label == name, name)
        described = [e for e in _piece(piece, at, competing, level, min_n) if e.name != "c_harrell"]
        out += _labelled([replace(e, note=joined(e.note, note)) for e in described], piece)
    event = (part.event == 1).astype(int)
    if not event.any():
        return out
    test = logrank(part.time, event, found.label)
    words = f"log-rank chi-square {test.statistic:.2f}, {p_words(test.p)}"
    if part.clustered:
        words = "no log-rank test: patients own several rows"
    return out + _labelled([_ratio(part, event, found.label, level, joined(words, test.note, note))], part)


def _ratio(
    part: SurvivalPart, event: np.ndarray, label: np.ndarray, level: float, note: str | None
) -> Estimate:
    if not available("lifelines"):
        return _none(part, RATIO, level, joined(note, "no hazard ratio: lifelines is not installed") or "")
    data = pd.DataFrame({"t": part.time, "e": event, "high": (label == "high risk").astype(float),
                         "who": part.patient})  # fmt: skip
    try:
        found = cox(data, ["high"], time="t", event="e", patient="who", level=level).estimates[0]
    except NotEnoughData as reason:
        return _none(part, RATIO, level, joined(note, str(reason)) or "")
    return replace(found, name=RATIO, note=note)


# --- two models ----------------------------------------------------------------------------------------


def compare_models(
    table: pd.DataFrame, a: str, b: str, *, target: str | None = None, kind: Kind = "harrell",
    tau: float | None = None, level: float = 0.95, n_boot: int = 2000, seed: int = 0, competing: bool = False,
) -> Comparison:  # fmt: skip
    """C of model `a` minus C of model `b` of one table, on the same cases; see `compare_c`.

    competing: events of 2 and more are other causes; they count as censored in Harrell's C, which says so,
    and Uno's is refused (InputMismatch). Raises TableError where a model is absent, where other causes are
    not declared, and where the two do not score exactly the same cases with the same times and events.
    """
    if competing and kind == "uno":
        raise InputMismatch(f"Uno's C of competing risks is {NO_UNO}. Take Harrell's")
    checked = validate(table)
    names = survival_targets(checked)
    target = target or (names[0] if len(names) == 1 else None)
    if target not in names:
        raise TableError(
            f"target {target!r}: choose one of {', '.join(names) or 'none: no time to an event'}"
        )
    absent = [m for m in (a, b) if m not in set(checked["model"])]
    if absent:
        raise TableError(f"no model {absent[0]!r}. Models: {', '.join(checked['model'].unique())}")
    wanted = checked["model"].isin([a, b]) & (checked["target"] == target)
    found = {(p.model, p.label): p for p in survival_parts(checked[wanted])}
    if len(found) != 2:
        raise TableError(
            f"{a!r} and {b!r} hold several splits of {target!r}, or one of them none. Keep one split"
        )
    first, second = (next(p for p in found.values() if p.model == m) for m in (a, b))
    ids = [p.rows["case_id"].to_numpy(str) for p in (first, second)]
    if not np.array_equal(*ids):
        raise TableError(
            f"{a!r} scores {len(ids[0])} cases, {b!r} {len(ids[1])}, and not the same ones. Keep those that "
            "both scored"
        )
    if not (np.array_equal(first.time, second.time) and np.array_equal(first.event, second.event)):
        differ = int(((first.time != second.time) | (first.event != second.event)).sum())
        raise TableError(
            f"{a!r} and {b!r} have another time or event of {target!r} in {differ} cases. One case, one "
            "follow-up: correct it"
        )
    _declared(first, competing)
    rng = np.random.default_rng(seed) if kind == "uno" else None
    result = compare_c(first.time, (first.event == 1).astype(int), first.score, second.score, first.patient,
                      kind=kind, tau=tau, level=level, n_boot=n_boot, rng=rng)  # fmt: skip
    note = joined(result.note, AS_CENSORED if competing and (first.event > 1).any() else None)
    return replace(result, target=target, model_a=a, model_b=b, note=note)
