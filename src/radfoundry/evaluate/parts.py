"""Cut a prediction table into what is judged as one: model x target x split, with its repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from radfoundry.evaluate.resample import Ranked
from radfoundry.predictions import class_columns, class_name


@dataclass(frozen=True)
class Repeat:
    """One score a case. y: (n,) class numbers; score: (n, k), k = 1 for two classes, else one a class;
    decision: (n,) class numbers, or None where no threshold can be justified; codes: (n,) patients."""

    y: np.ndarray
    score: np.ndarray
    decision: np.ndarray | None
    case: np.ndarray
    codes: np.ndarray
    n_patients: int

    @cached_property
    def ranked(self) -> list[Ranked]:
        """One ranking a score column: class 1, or each class against the rest."""
        wanted = [1] if self.score.shape[1] == 1 else range(self.score.shape[1])
        return [
            Ranked(self.y == k, self.score[:, i], self.codes, self.n_patients) for i, k in enumerate(wanted)
        ]


@dataclass(frozen=True)
class Part:
    """All repeats of one model on one target and split (or one subgroup of it).

    patient: (n_patients,) ids by code. rule: how scores became decisions, in words.
    """

    model: str
    target: str
    label: str | None
    classes: tuple[str, ...]
    repeats: tuple[Repeat, ...]
    rule: str
    rows: pd.DataFrame

    @property
    def binary(self) -> bool:
        return self.repeats[0].score.shape[1] == 1

    @property
    def n(self) -> int:
        """Cases, each counted once however many repeats there are."""
        return len(np.unique(np.concatenate([r.case for r in self.repeats])))

    @property
    def n_patients(self) -> int:
        return self.repeats[0].n_patients

    @property
    def aligned(self) -> bool:
        """Whether every repeat scores the same cases (rows are in case order)."""
        return all(np.array_equal(r.case, self.repeats[0].case) for r in self.repeats)

    @property
    def is_probability(self) -> bool:
        """Whether scores lie in 0 to 1, add up to 1 over classes, and are not mere calls of 0 and 1."""
        score = np.concatenate([r.score for r in self.repeats])
        inside = bool((score >= 0).all() and (score <= 1).all())
        calls = bool(np.isin(score, (0, 1)).all())
        rounding = 0.006 * score.shape[1]  # of probabilities printed with two decimals
        return inside and not calls and (self.binary or bool((abs(score.sum(axis=1) - 1) <= rounding).all()))


def parts(table: pd.DataFrame, threshold: float | None = None) -> Iterator[Part]:
    """Every model x target x split of a validated table, in the order of first appearance."""
    keys = ["model", "target"] + (["split"] if "split" in table and table["split"].nunique() > 1 else [])
    for key, rows in table.groupby(keys, sort=False, dropna=False):
        label = f"split {key[2]}" if len(keys) == 3 else None
        yield make_part(rows, key[0], key[1], label, threshold)


def make_part(
    rows: pd.DataFrame, model: str, target: str, label: str | None, threshold: float | None
) -> Part:
    """Rows of one model, target and split as a Part. Rows are put in case order within each repeat."""
    columns = [c for c in class_columns(rows) if rows[c].notna().any()]
    classes = tuple(c.removeprefix("score:") for c in columns) or ("0", "1")
    rows = rows.sort_values("case_id", kind="stable")
    decision: np.ndarray | None
    codes, patients = pd.factorize(rows["patient_id"], sort=True)
    score = rows[columns or ["score"]].to_numpy(float)
    if columns:
        number = {name: i for i, name in enumerate(classes)}
        y = rows["y_true"].map(class_name).map(number).to_numpy(int)
        decision, rule = _decide_class(rows, score, number)
    else:
        y = pd.to_numeric(rows["y_true"]).to_numpy(int)
        decision, rule = _decide(rows, score[:, 0], threshold)
    resample = [c for c in ("repeat", "seed") if c in rows]
    which = rows.groupby(resample, dropna=False).ngroup().to_numpy() if resample else np.zeros(len(rows), int)
    case = rows["case_id"].to_numpy(str)
    repeats = tuple(
        Repeat(
            y[which == r],
            score[which == r],
            None if decision is None else decision[which == r],
            case[which == r],
            codes[which == r],
            len(patients),
        )
        for r in np.unique(which)
    )
    return Part(model, target, label, classes, repeats, rule, rows)


def _decide(rows: pd.DataFrame, score: np.ndarray, threshold: float | None) -> tuple[np.ndarray | None, str]:
    """Decisions of a binary target. A threshold is never chosen here: these are the data it is judged on."""
    if "decision" in rows and rows["decision"].notna().all():
        return pd.to_numeric(rows["decision"]).to_numpy(int), "decisions as given"
    if "threshold" in rows and rows["threshold"].notna().all():
        given = rows["threshold"].to_numpy(float)
        low, high = given.min(), given.max()
        words = f"threshold {low:.4g}" if low == high else f"thresholds {low:.4g} to {high:.4g}"
        return (score >= given).astype(int), f"{words} from the table"
    if threshold is not None:
        return (score >= threshold).astype(int), f"threshold {threshold:.4g} as asked"
    if score.min() >= 0 and score.max() <= 1:
        return (score >= 0.5).astype(int), "threshold 0.5 by default, not tuned"
    return None, "no decisions: scores are not probabilities and no threshold was given"


def _decide_class(rows: pd.DataFrame, score: np.ndarray, number: dict[str, int]) -> tuple[np.ndarray, str]:
    if "decision" in rows and rows["decision"].notna().all():
        named = rows["decision"].map(class_name)
        if named.isin(list(number)).all():
            return named.map(number).to_numpy(int), "decisions as given"
    return score.argmax(axis=1), "class of the highest score"
