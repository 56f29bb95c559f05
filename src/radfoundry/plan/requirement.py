"""What a sample-size question is answered with, and the searches and refusals that all questions share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from scipy import stats

from radfoundry.errors import InputError, NotEnoughData

MOST = 10_000_000  # cases; nobody labels more, and a formula asked for more was asked for nonsense


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing the cases have to be enough for.

    needs: cases in all, counted at the prevalence, from which on it is met; None where n was given.
    target: the number asked for; reached: the same quantity at the n of the requirement.
    """

    name: str
    quantity: str
    target: float | None
    reached: float
    needs: int | None = None

    @property
    def symbol(self) -> str:
        """How reached relates to target when it is met: a width at most, a power at least."""
        return "≥" if self.quantity in AT_LEAST else "≤"

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        slack = 1e-9 * abs(self.target)
        if self.symbol == "≥":
            return self.reached >= self.target - slack
        return self.reached <= self.target + slack


AT_LEAST = ("power", "expected shrinkage")


@dataclass(frozen=True, slots=True)
class Requirement:
    """How many cases a question needs, or what a given number of cases gives.

    n: cases in all; n_positive and n_negative: their expected split (None where classes play no part).
    given: n was an input, and the criteria say what it reaches.
    assumptions: every number the answer rests on. source: where the formulas come from.
    """

    question: str
    n: int
    criteria: tuple[Criterion, ...]
    n_positive: int | None = None
    n_negative: int | None = None
    given: bool = False
    assumptions: dict[str, Any] = field(default_factory=dict)
    method: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def binding(self) -> str | None:
        """Name of the criterion that asks for most cases; None where n was given."""
        return None if self.given else max(self.criteria, key=lambda c: c.needs or 0).name

    def __str__(self) -> str:
        classes = f" ({self.n_positive} positive, {self.n_negative} negative)"
        classes = "" if self.n_positive is None else classes
        lines = [f"{self.question}: {'with' if self.given else 'needs'} {self.n} cases{classes}", ""]
        lines += _table(self.criteria, self.n)
        if self.binding and len(self.criteria) > 1:
            lines += ["", f"binding   {self.binding}"]
        lines += ["", *(_wrapped("assumed", [f"{k} {_value(v)}" for k, v in self.assumptions.items()]))]
        lines += [*_wrapped("method", [self.method]), *_wrapped("source", [self.source])]
        for note in self.notes:
            lines += _wrapped("note", [note])
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN and infinity become null."""
        content = {"format": 1, **_plain(asdict(self)), "binding": self.binding}
        for row, criterion in zip(content["criteria"], self.criteria, strict=True):
            row["met"] = criterion.met
        return content


def _table(criteria: tuple[Criterion, ...], n: int) -> list[str]:
    rows = [["criterion", "needs", "asked for", f"at {n} cases", ""]]
    for c in criteria:
        asked = "" if c.target is None else f"{c.quantity} {c.symbol} {c.target:.3g}"
        rows.append([c.name, "" if c.needs is None else str(c.needs), asked, f"{c.quantity} {c.reached:.4f}"])
        rows[-1].append("not met" if c.met is False else "")
    used = [i for i in range(5) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in used}
    text = ["  ".join(row[i].ljust(widths[i]) for i in used).rstrip() for row in rows]
    return [text[0], "  ".join("-" * widths[i] for i in used), *text[1:]]


def _wrapped(label: str, parts: list[str], width: int = 100) -> list[str]:
    import textwrap

    text = f"{label:<9} {', '.join(part for part in parts if part)}"
    return textwrap.wrap(text, width, subsequent_indent=" " * 10, break_long_words=False)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def smallest(enough: Callable[[int], bool], what: str, *, start: int = 2) -> int:
    """The smallest n from `start` on with enough(n), for a condition that stays true once it is.

    Raises NotEnoughData, saying `what` was asked for, when even ten million cases are not enough.
    """
    high = start
    while not enough(high):
        if high >= MOST:
            raise NotEnoughData(f"{what} is not reached with {MOST:,} cases. Ask for less, and try again")
        high = min(high * 2, MOST)
    low = max(start, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def share(value: float, name: str, *, hint: str = "") -> float:
    """A number strictly between 0 and 1, or InputError."""
    if not 0 < value < 1:
        raise InputError(f"{name} must lie between 0 and 1, both excluded, not {value:g}. {hint}".rstrip())
    return float(value)


def better_than_chance(auc: float, name: str = "auc") -> float:
    """An AUC above 0.5 and below 1, or InputError that says why."""
    if auc == 1:
        raise InputError(f"{name} must stay below 1: a perfect ranking has no variance to plan. Try 0.99")
    if not 0.5 < auc < 1:
        why = "is no better than chance" if 0 <= auc <= 0.5 else "is no AUC"
        raise InputError(f"{name} {auc:g} {why}. Give the AUC you expect, above 0.5 and below 1, such as 0.8")
    return float(auc)


def interval_width(width: float, name: str = "width") -> float:
    """The whole width of an interval on a scale from 0 to 1, or InputError."""
    if not 0 < width < 1:
        raise InputError(
            f"{name} must lie between 0 and 1, not {width:g}: it is the whole interval, upper minus lower "
            "limit. For plus or minus 0.05 give 0.1"
        )
    return float(width)


def cases(n: float, least: int = 2, name: str = "n") -> int:
    """A whole number of cases, or InputError."""
    if not (least <= n <= MOST and n == int(n)):
        raise InputError(f"{name} must be a whole number from {least} to {MOST:,}, not {n:g}")
    return int(n)


def cases_of_both(n: float, prevalence: float, each: int = 1) -> int:
    """A whole number of cases that are expected to hold `each` of both classes, or InputError."""
    least = fewest(prevalence, each)
    if n < least:
        raise InputError(
            f"{n:g} cases at prevalence {prevalence:g} are expected to hold fewer than {each} of the rarer "
            f"class. Give at least {least}"
        )
    return cases(n, least)


def fewest(prevalence: float, each: int = 1) -> int:
    """The smallest n that is expected to hold `each` positives and as many negatives.

    >>> fewest(0.01), fewest(0.5, 2)
    (100, 4)
    """
    return math.ceil(each / min(prevalence, 1 - prevalence) - 1e-9)


def draws_of(draws: float) -> int:
    """A number of simulated studies, or InputError."""
    if not (100 <= draws <= 1_000_000 and draws == int(draws)):
        raise InputError(f"draws must lie between 100 and 1,000,000, not {draws:g}. 1000 is usual")
    return int(draws)


def correlation_of(value: float, name: str) -> float:
    """A number strictly between -1 and 1, or InputError."""
    if not -1 < value < 1:
        raise InputError(f"the {name} must lie between -1 and 1, both excluded, not {value:g}")
    return float(value)


def one_of(**options: float | None) -> None:
    """InputError unless exactly one of the two or more is given."""
    given = [name for name, value in options.items() if value is not None]
    if len(given) != 1:
        found = "neither" if not given else "both"
        raise InputError(f"give exactly one of {' and '.join(options)}, not {found}")


def split(n: int, prevalence: float) -> tuple[int, int]:
    """Expected positives and negatives among n, rounded to whole cases.

    >>> split(404, 0.2)
    (81, 323)
    """
    positive = min(max(round(n * prevalence), 1), n - 1)
    return positive, n - positive


def certain_screening(needed: int, prevalence: float, certainty: float = 0.9) -> int:
    """Cases to screen so that at least `needed` are positive with that certainty (negative binomial).

    >>> certain_screening(139, 0.2)
    763
    """
    return needed + int(stats.nbinom.ppf(certainty, needed, prevalence))
