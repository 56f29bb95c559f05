"""Figures of merit of a reader, and the covariance matrix of all readers and modalities.

A figure of merit is a function of how often each case counts, so that the estimate (every case once), a
jackknife (all but one patient) and a bootstrap (patients drawn) are one call with other counts. Sources:
DeLong et al., Biometrics 1988;44:837 with Obuchowski, Biometrics 1997;53:567 (patients with several cases);
Gallas et al., J Opt Soc Am A 2007;24:B70 (unbiased); McClish, Med Decis Making 1989;9:190 (partial area).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from radfoundry.errors import InputError, NotEnoughData
from radfoundry.evaluate.intervals import auc_covariance, placements
from radfoundry.evaluate.readers.binormal import binormal_auc
from radfoundry.evaluate.readers.reads import Reads
from radfoundry.evaluate.resample import Ranked, codes_of

Method = Literal["delong", "jackknife", "bootstrap", "unbiased"]
BLOCK = 512  # draws at once: memory stays at cases x 512 for any number of draws


@dataclass(frozen=True)
class Merit:
    """What is averaged over readers.

    uses: the rating or the decision. cases: those it depends on; only they are left out by a jackknife.
    span: ("specificity" or "sensitivity", from, to) of a partial area.
    """

    name: str
    uses: Literal["rating", "decision"] = "rating"
    cases: Literal["all", "positives", "negatives"] = "all"
    span: tuple[str, float, float] | None = None

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean over cases, as a proportion is."""
        return self.uses == "decision"

    def relevant(self, y: np.ndarray) -> np.ndarray:
        """(n,) which cases it depends on."""
        return {"all": np.full(len(y), True), "positives": y == 1, "negatives": y == 0}[self.cases]


MERITS = {
    "auroc": Merit("auroc"),
    "auroc_binormal": Merit("auroc_binormal"),
    "sensitivity": Merit("sensitivity", "decision", "positives"),
    "specificity": Merit("specificity", "decision", "negatives"),
    "accuracy": Merit("accuracy", "decision"),
}


def partial_auroc(
    *, specificity: tuple[float, float] | None = None, sensitivity: tuple[float, float] | None = None
) -> Merit:
    """Mean sensitivity over a range of specificity, or mean specificity over a range of sensitivity.

    It is the partial area divided by the width of the range, so that 1 is perfect whatever the range.

    >>> partial_auroc(specificity=(0.8, 1)).name
    'partial_auroc at specificity 0.8 to 1'
    """
    given = {"specificity": specificity, "sensitivity": sensitivity}
    named = [(kind, *span) for kind, span in given.items() if span is not None]
    if len(named) != 1:
        raise InputError("give either a range of specificity or one of sensitivity")
    kind, low, high = named[0]
    if not 0 <= low < high <= 1:
        raise InputError(f"a range of {kind} lies within 0 to 1, not {low} to {high}")
    return Merit(f"partial_auroc at {kind} {low:g} to {high:g}", span=(kind, float(low), float(high)))


def merit_of(merit: str | Merit) -> Merit:
    """A figure of merit by its name; InputError names those there are."""
    if isinstance(merit, Merit):
        return merit
    if merit not in MERITS:
        raise InputError(
            f"no figure of merit {merit!r}. There are {', '.join(MERITS)} and partial_auroc(...)"
        )
    return MERITS[merit]


def merits(name: str) -> Merit:
    """A figure of merit as a user writes it, such as auroc, or specificity:0.8:1 for a part of the curve.

    InputError names those there are.

    >>> merits("specificity:0.8:1").name
    'partial_auroc at specificity 0.8 to 1'
    """
    kind, *span = name.split(":")
    if not span:
        return merit_of(name.replace("-", "_"))
    try:
        low, high = map(float, span)
    except ValueError:
        low, high = math.nan, math.nan
    if kind not in ("specificity", "sensitivity") or math.isnan(low + high):
        raise InputError(f"merit {name!r}: a part of the curve is written specificity:0.8:1")
    return partial_auroc(**{kind: (low, high)})


def data_of(reads: Reads, merit: Merit) -> np.ndarray:
    """(I, J, n) ratings or decisions; NotEnoughData where there are none, or a class of cases is absent."""
    data = reads.rating if merit.uses == "rating" else reads.decision
    there = np.isfinite(data)
    if not there.any():
        remedy = "Give a column 'decision', or a threshold" if merit.uses == "decision" else "Give a score"
        raise NotEnoughData(f"{merit.name} needs a {merit.uses} for each read. {remedy}")
    wanted = {"positives": (1,), "negatives": (0,), "all": (0, 1)}[merit.cases]
    for klass in wanted if merit.name != "accuracy" else ():
        what = "positive" if klass else "negative"
        if not (reads.y == klass).any():
            raise NotEnoughData(f"{merit.name} needs {what} cases: there is none. Add cases of that class")
        empty = there.any(axis=2) & ~there[..., reads.y == klass].any(axis=2)
        if empty.any():
            i, j = np.argwhere(empty)[0]
            raise NotEnoughData(
                f"{merit.name}: reader {reads.readers[j]} read no {what} case in modality "
                f"{reads.modalities[i]}. Leave that reader out, or add such cases"
            )
    return data


def values(reads: Reads, merit: Merit, counts: np.ndarray) -> np.ndarray:
    """(I, J, draws) figure of merit of each modality, reader and draw; NaN where there is no read.

    counts: (n, draws), how often each case counts.
    """
    data = data_of(reads, merit)
    out = np.full((*data.shape[:2], counts.shape[1]), np.nan)
    for i, j in np.argwhere(np.isfinite(data).any(axis=2)):
        there = np.isfinite(data[i, j])
        out[i, j] = _one(merit, reads.y[there], data[i, j, there], counts[there])
    return out


def _one(merit: Merit, y: np.ndarray, x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if merit.name == "auroc":
        return Ranked(y, x, np.arange(len(y)), len(y)).auroc(counts)
    if merit.name == "auroc_binormal":
        return binormal_auc(y, x, counts)
    if merit.span is not None:
        return _partial(y, x, counts, *merit.span)
    used = merit.relevant(y)
    right = x[used] if merit.name == "sensitivity" else (x == y)[used].astype(float)
    total = counts[used].sum(axis=0)
    return np.divide(right @ counts[used], total, out=np.full(counts.shape[1], np.nan), where=total > 0)


def operating_points(y: np.ndarray, x: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(false positive rate, sensitivity), each (k + 1, draws), from the strictest cut to none."""
    grades, at = np.unique(-np.asarray(x, float), return_inverse=True)
    rates = []
    for klass in (0, 1):
        here = np.flatnonzero(y == klass)
        by_grade = sparse.csr_array((np.ones(len(here)), (at[here], here)), shape=(len(grades), len(y)))
        cumulated = np.cumsum(by_grade @ counts, axis=0)
        total = np.where(cumulated[-1] > 0, cumulated[-1], np.nan)
        rates.append(np.vstack([np.zeros((1, counts.shape[1])), cumulated / total]))
    return rates[0], rates[1]


def _partial(
    y: np.ndarray, x: np.ndarray, counts: np.ndarray, kind: str, low: float, high: float
) -> np.ndarray:
    fpr, sensitivity = operating_points(y, x, counts)
    if kind == "specificity":
        across, height, low, high = fpr, sensitivity, 1 - high, 1 - low
    else:
        across, height = sensitivity, 1 - fpr
    x0, x1, y0, y1 = across[:-1], across[1:], height[:-1], height[1:]
    left, right = np.clip(x0, low, high), np.clip(x1, low, high)
    width = np.where(x1 > x0, x1 - x0, 1.0)  # a vertical segment has no area
    at_left, at_right = (y0 + (y1 - y0) * (edge - x0) / width for edge in (left, right))
    return ((right - left) * (at_left + at_right) / 2).sum(axis=0) / (high - low)


def estimates(reads: Reads, merit: Merit) -> np.ndarray:
    """(I, J) figure of merit, NaN where a reader did not read a modality."""
    return values(reads, merit, np.ones((len(reads.cases), 1)))[..., 0]


def leave_one_out(reads: Reads, merit: Merit) -> np.ndarray:
    """(I, J, patients) figure of merit without each patient on whom it depends, patients sorted.

    Sensitivity leaves out patients with a positive case alone, specificity those with a negative one: the
    other cases do not enter, and counting them changes the variance (methods differ here between programs).
    """
    codes, _ = codes_of(reads.patient, len(reads.cases))
    units = np.unique(codes[merit.relevant(reads.y)])
    parts = []
    for start in range(0, len(units), BLOCK):
        block = units[start : start + BLOCK]
        parts.append(values(reads, merit, (codes[:, None] != block).astype(float)))
    return np.concatenate(parts, axis=2)


def draw_cases(reads: Reads, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n cases, draws) how often each case counts; patients drawn apart by having a positive case."""
    codes, groups = codes_of(reads.patient, len(reads.cases))
    positive = np.bincount(codes, reads.y, minlength=groups) > 0
    counts = np.zeros((n, groups))
    for stratum in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        if len(stratum):
            for row in counts:
                drawn = rng.integers(len(stratum), size=len(stratum))
                row[stratum] = np.bincount(drawn, minlength=len(stratum))
    return np.ascontiguousarray(counts.T)[codes]


def covariance(
    reads: Reads, merit: Merit, method: Method, *, n_boot: int = 1000, rng: np.random.Generator | None = None
) -> np.ndarray:
    """(I, J, I, J) covariance of the figures of merit over cases, readers and modalities being fixed.

    Needs every reader to have read every case in every modality. delong: AUC alone. unbiased: AUC alone (for
    proportions the jackknife is unbiased already). bootstrap: n_boot draws of patients within the classes.
    InputError where method and merit do not fit, NotEnoughData where a class has fewer than two cases.
    """
    data = data_of(reads, merit)
    i, j, n = data.shape
    if not np.isfinite(data).all():
        raise InputError("a covariance matrix of all readers needs every read")
    for klass in (0, 1):
        if merit.relevant(reads.y)[reads.y == klass].sum() == 1 and merit.name != "accuracy":
            raise NotEnoughData(f"{merit.name}: one case of class {klass}. A covariance needs two or more")
    if method in ("delong", "unbiased") and merit.name != "auroc":
        raise InputError(f"covariance {method!r} is for the empirical AUC. Use 'jackknife' for {merit.name}")
    if method == "delong":
        parts = np.stack([placements(reads.y, x) for x in data.reshape(i * j, n)])
        found = auc_covariance(reads.y, parts, reads.patient)
    elif method == "unbiased":
        found = _unbiased(reads, data.reshape(i * j, n))
    elif method == "jackknife":
        left = leave_one_out(reads, merit).reshape(i * j, -1)
        centred = left - left.mean(axis=1, keepdims=True)
        found = (left.shape[1] - 1) / left.shape[1] * centred @ centred.T
    elif method == "bootstrap":
        if rng is None:
            raise ValueError("covariance 'bootstrap' draws patients: pass a seed")
        drawn = [
            values(reads, merit, draw_cases(reads, min(BLOCK, n_boot - start), rng)).reshape(i * j, -1)
            for start in range(0, n_boot, BLOCK)
        ]
        found = np.atleast_2d(np.cov(np.concatenate(drawn, axis=1)))
    else:
        raise InputError(f"no covariance {method!r}. There are delong, jackknife, bootstrap and unbiased")
    return found.reshape(i, j, i, j)


def _unbiased(reads: Reads, data: np.ndarray) -> np.ndarray:
    """Product of two AUCs less the mean product over pairs of cases that share neither case."""
    if len(np.unique(reads.patient)) < len(reads.cases):
        raise InputError(
            "covariance 'unbiased' takes cases as independent: use delong, jackknife or bootstrap"
        )
    positive, negative = data[:, reads.y == 1], data[:, reads.y == 0]
    k, m, n = len(data), positive.shape[1], negative.shape[1]
    wins, by_negative = np.zeros((k, m)), np.zeros((k, n))
    same = np.zeros((k, k))
    for at in range(m):
        kernel = (positive[:, at, None] > negative) + 0.5 * (positive[:, at, None] == negative)
        wins[:, at] = kernel.sum(axis=1)
        by_negative += kernel
        same += kernel @ kernel.T
    total = wins.sum(axis=1)
    product = np.outer(total, total)
    apart = product - wins @ wins.T - by_negative @ by_negative.T + same
    return product / (m * n) ** 2 - apart / (m * (m - 1) * n * (n - 1))
