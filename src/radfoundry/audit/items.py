"""What an audit says: one item a check, with its numbers, its table and its advice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from radfoundry.types import Estimate

Status = Literal["ok", "warn", "fail", "skipped"]

ROWS_KEPT = 200  # a table longer than this is not read; the summary carries the full count


@dataclass(frozen=True, slots=True)
class AuditItem:
    """One check.

    summary: what was found, in one plain sentence.
    estimates: the numbers behind the sentence.
    rows: a table (list of flat dicts; cases are named by case_id, never by patient).
    advice: what to do next; empty when there is nothing to do.
    """

    name: str
    status: Status
    summary: str
    estimates: list[Estimate] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready record; at most 200 rows of the table."""
        return {
            "name": self.name,
            "status": self.status,
            "summary": self.summary,
            "estimates": [estimate.as_dict() for estimate in self.estimates],
            "rows": [{key: _plain(value) for key, value in row.items()} for row in self.rows[:ROWS_KEPT]],
            "n_rows": len(self.rows),
            "advice": self.advice,
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """All checks on one cohort and target."""

    cohort: str
    target: str
    items: tuple[AuditItem, ...]

    @property
    def verdict(self) -> Status:
        """The worst status among the checks that ran; 'skipped' when none did.

        >>> Audit("c", "y", (AuditItem("a", "ok", "."), AuditItem("b", "warn", "."))).verdict
        'warn'
        """
        found = {item.status for item in self.items}
        order: tuple[Status, ...] = ("fail", "warn", "ok")
        return next((status for status in order if status in found), "skipped")

    @property
    def headline(self) -> str:
        """One sentence: how many checks of each kind."""
        count = {s: sum(item.status == s for item in self.items) for s in ("fail", "warn", "ok", "skipped")}
        verdict = {
            "fail": "Do not believe a score on this cohort before the failed checks are settled",
            "warn": "A score on this cohort needs the caveats below",
            "ok": "No check found a reason to distrust a score on this cohort",
            "skipped": "No check could run",
        }[self.verdict]
        return (
            f"{verdict} ({count['fail']} failed, {count['warn']} warnings, {count['ok']} passed, "
            f"{count['skipped']} skipped)."
        )

    def item(self, name: str) -> AuditItem:
        """The check of that name; KeyError lists the names there are."""
        for item in self.items:
            if item.name == name:
                return item
        raise KeyError(f"no audit item {name!r}; there are: {', '.join(item.name for item in self.items)}")

    def section(self) -> dict[str, Any]:
        """The audit as a report section: `run.set_section("audit", found.section())`."""
        return {"kind": "audit", "title": "", "checks": [item.as_dict() for item in self.items]}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: cohort, target, verdict, headline, items."""
        return {
            "format": 1,
            "cohort": self.cohort,
            "target": self.target,
            "verdict": self.verdict,
            "headline": self.headline,
            "items": [item.as_dict() for item in self.items],
        }


def _plain(value: Any) -> Any:
    """A JSON scalar: numpy scalars unwrapped, NaN to null, the rest to text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
