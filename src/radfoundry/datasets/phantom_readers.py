"""A phantom reader study: readers without and with an AI, and everything that was planted in the table.

Ratings follow Roe and Metz; the AI has an AUC of its own, and a reader with aid adds `reliance` times the
AI's evidence to the own impression, right or wrong: that is where the gain comes from, and the automation
bias. Seconds are lognormal with effects of reader, case, modality, session and order. It is a crossover: half
of the readers begin with aid. An analysis that finds what was planted is not broken; more it does not show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from radfoundry import table_files
from radfoundry.datasets.simulated_readers import RoeMetz, simulate_ratings
from radfoundry.errors import InputError

UNAIDED, AIDED = "unaided", "aided"


@dataclass(frozen=True, slots=True)
class ReadingTime:
    """Seconds a read: typical with y = 0, unaided, first session, and what multiplies or scatters them.

    aided, second_session: ratios. learning: ratio over the whole list of a session, last case to first.
    reader, case, reader_modality, noise: SD of the logarithm.
    """

    typical: float = 60.0
    aided: float = 0.8
    second_session: float = 0.92
    learning: float = 0.85
    positive: float = 1.15
    reader: float = 0.25
    case: float = 0.2
    reader_modality: float = 0.06
    noise: float = 0.3

    def __post_init__(self) -> None:
        for name in ("typical", "aided", "second_session", "learning", "positive"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0, not {getattr(self, name):g}: seconds or a ratio")
        for name in ("reader", "case", "reader_modality", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is a standard deviation, at least 0, not {getattr(self, name):g}")


@dataclass(frozen=True)
class PhantomReaders:
    """table: a reader table, one row a read. truth: what was planted, by name. settings: how it was made."""

    table: pd.DataFrame
    truth: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path | str) -> Path:
        """reads.csv and phantom.json in a folder."""
        folder = Path(folder)
        table_files.write(self.table, folder / "reads.csv")
        told = {"format": 1, "phantom": True, "settings": self.settings, "truth": self.truth}
        (folder / "phantom.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return folder


def make(
    readers: int = 8,
    cases: int = 160,
    *,
    prevalence: float = 0.4,
    auc: float = 0.80,
    ai_auc: float = 0.88,
    reliance: float = 0.6,
    shared_difficulty: float = 0.3,
    effects: RoeMetz | None = None,
    threshold_sd: float = 0.3,
    levels: int = 100,
    missing: float = 0.01,
    time: ReadingTime | None = None,
    seed: int = 0,
) -> PhantomReaders:
    """A reader table with ratings, decisions, order, session, seconds and what the AI said; crossover.

    auc: of the readers without aid, expected over readers and cases. ai_auc: of the AI. reliance: weight of
    the AI's evidence in an aided rating; 0 leaves the readers as they are. shared_difficulty: correlation of
    the AI's error with how the case looks to readers. effects: variances (its `auc` is not used).
    threshold_sd: how much readers differ in what they call positive. levels: grades of the score, from 0 to
    levels - 1; a decision is positive from the middle on. missing: share of reads that are lost. Raises
    InputError for values that are impossible.
    """
    for name, value in (("prevalence", prevalence), ("auc", auc), ("ai_auc", ai_auc)):
        if not 0 < value < 1:
            raise InputError(f"{name} must lie between 0 and 1, not {value:g}")
    if not 0 <= missing < 0.5:
        raise InputError(f"missing is the share of reads that are lost, from 0 to 0.5, not {missing:g}")
    if not 0 <= shared_difficulty <= 1 or not 0 <= reliance < math.inf:
        raise InputError("shared_difficulty lies between 0 and 1, reliance is at least 0")
    if readers < 2 or cases < 4 or levels < 2 or levels % 2 or threshold_sd < 0:
        raise InputError("a phantom has 2 readers, 4 cases and an even number of levels at least")
    time = time or ReadingTime()
    given = effects or RoeMetz((auc, auc))
    variances = {k: v for k, v in asdict(given).items() if k != "auc"}
    model = RoeMetz((auc, auc), **variances)
    positives = min(max(round(cases * prevalence), 1), cases - 1)
    rng = np.random.default_rng(seed)
    y = (np.arange(cases) < positives).astype(int)
    look, own = rng.standard_normal((2, cases))
    ai = shared_difficulty * look + math.sqrt(1 - shared_difficulty**2) * own
    ai = ai + math.sqrt(2) * float(special.ndtri(ai_auc)) * (y - 0.5)  # centred between the classes
    ratings = simulate_ratings(
        rng, 1, model, readers, positives, cases - positives, case_noise=look[None]
    )[0]  # fmt: skip
    ratings[1] += reliance * ai
    middle = model.means[0] / 2 + rng.normal(0, threshold_sd, readers)
    above = special.ndtr(ratings - middle[:, None])
    grade = np.minimum(np.floor(above * levels), levels - 1)
    table = _table(y, ai, grade, levels, time, rng)
    table = table[rng.random(len(table)) >= missing].reset_index(drop=True)
    settings = {
        "readers": readers, "cases": cases, "prevalence": prevalence, "reliance": reliance, "levels": levels,
        "shared_difficulty": shared_difficulty, "threshold_sd": threshold_sd, "missing": missing,
        "seed": seed, "effects": variances, "time": asdict(time),
    }  # fmt: skip
    aided = aided_auc(model, ai_auc, reliance, shared_difficulty)
    truth = {
        "auc_unaided": auc, "auc_aided": aided, "auc_difference": aided - auc, "auc_ai": ai_auc,
        "time_ratio": time.aided, "session_ratio": time.second_session, "learning_ratio": time.learning,
    }  # fmt: skip
    return PhantomReaders(table, truth, settings)


def aided_auc(model: RoeMetz, ai_auc: float, reliance: float, shared_difficulty: float = 0.0) -> float:
    """Expected AUC of ratings to which `reliance` times the AI's evidence was added.

    model: of the readers alone, both modalities alike. Raises InputError where positives vary more than
    negatives, because the AI's evidence does not.
    """
    if model.spread != 1:
        raise InputError("the phantom takes effects with spread 1 alone")
    gain = reliance * math.sqrt(2) * float(special.ndtri(ai_auc))
    together = reliance**2 + 2 * reliance * shared_difficulty * math.sqrt(model.case)
    return float(special.ndtr((model.means[0] + gain) / math.sqrt(model.of_difference + 2 * together)))


def _table(
    y: np.ndarray, ai: np.ndarray, grade: np.ndarray, levels: int, time: ReadingTime, rng: np.random.Generator
) -> pd.DataFrame:
    """Rows in the order they were read; grade: (2, readers, cases), unaided first."""
    _, readers, n = grade.shape
    label = rng.permutation(n) + 1  # so that an id tells nothing
    width = len(str(n))
    ids = np.array([f"case-{k:0{width}d}" for k in label], object)
    log_case = rng.normal(0, time.case, n) + math.log(time.positive) * y
    log_reader = time.reader * rng.standard_normal((readers,))
    log_mode = rng.normal(0, time.reader_modality, (readers, 2))
    log_mode[:, 1] += math.log(time.aided)
    aided_first = rng.permutation(readers) % 2
    rows = []
    for reader in range(readers):
        for session in (0, 1):
            mode = session ^ int(aided_first[reader])
            order = rng.permutation(n)
            place = np.arange(n) / max(n - 1, 1)
            log_seconds = math.log(time.typical) + log_reader[reader] + log_mode[reader, mode]
            log_seconds = log_seconds + log_case[order] + session * math.log(time.second_session)
            log_seconds = log_seconds + math.log(time.learning) * place + rng.normal(0, time.noise, n)
            score = grade[mode, reader, order]
            rows.append(
                pd.DataFrame(
                    {
                        "case_id": ids[order],
                        "patient_id": np.char.replace(ids[order].astype(str), "case", "patient").astype(
                            object
                        ),
                        "y_true": y[order],
                        "score": score.astype(int),
                        "decision": (score >= levels / 2).astype(int),
                        "reader": f"reader {reader + 1:0{len(str(readers))}d}",
                        "modality": AIDED if mode else UNAIDED,
                        "order": np.arange(1, n + 1),
                        "session": session + 1,
                        "seconds": np.round(np.exp(log_seconds), 1),
                        "ai_score": np.round(special.ndtr(ai[order]), 4),
                        "ai_decision": (ai[order] > 0).astype(int),
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)
