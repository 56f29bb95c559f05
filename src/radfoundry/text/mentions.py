"""Reports in, findings out: what every extractor takes and gives, and the findings table.

An extractor says for each report which findings of its dictionary are present, absent or uncertain, each with
a verbatim span of the report. What a report does not speak of has no entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from radfoundry.errors import TableError, UnknownName
from radfoundry.registry import nearest
from radfoundry.text.findings import Dictionary

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["present", "absent", "uncertain"]
STATUSES: tuple[Status, ...] = get_args(Status)
Laterality = Literal["", "left", "right", "bilateral"]
Severity = Literal["", "mild", "moderate", "severe"]

MOST_CHARACTERS = 2_000_000
"""Of one report; a longer one is refused, not cut."""
COLUMNS = ("report_id", "finding", "status", "evidence", "start", "end", "laterality", "severity",
           "extractor", "extractor_version")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """One report. text: plain text, with its section headers where it has some."""

    report_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A finding as a report has it. evidence is text[start:end], characters of the report."""

    finding: str
    status: Status
    evidence: str
    start: int
    end: int
    laterality: Laterality = ""
    severity: Severity = ""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What one report holds: at most one mention a finding.

    dropped: how often something was refused, by reason (evidence that the report does not contain, an id
    that the dictionary lacks). error: why the report could not be read at all; then there are no findings,
    which is not the same as a normal report.
    """

    report_id: str
    findings: tuple[Mention, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    error: str = ""

    def ids(self, *statuses: Status) -> set[str]:
        """Findings that have one of the statuses, present when none is named."""
        wanted = statuses or ("present",)
        return {one.finding for one in self.findings if one.status in wanted}


class Extractor(Protocol):
    """Reports to findings. version changes whenever a result could."""

    name: str
    dictionary: Dictionary

    @property
    def version(self) -> str: ...

    def extract(self, reports: Iterable[Report]) -> Iterator[Extraction]:
        """One extraction a report, in their order; a report that fails stops no other."""
        ...


RANK = {"present": 2, "uncertain": 1, "absent": 0}


def strongest(mentions: Iterable[Mention]) -> tuple[Mention, ...]:
    """One mention a finding: present before uncertain before absent, the first of equals; in text order."""
    best: dict[str, Mention] = {}
    for one in mentions:
        known = best.get(one.finding)
        if known is None or RANK[one.status] > RANK[known.status]:
            best[one.finding] = one
    return in_text_order(best.values())


def in_text_order(mentions: Iterable[Mention]) -> tuple[Mention, ...]:
    """By the place of their evidence."""
    return tuple(sorted(mentions, key=lambda m: (m.start, m.end, m.finding)))


def table(extractions: Iterable[Extraction], extractor: str, version: str) -> pd.DataFrame:
    """The findings table, one row a report x finding; columns as in `COLUMNS`.

    A report without any finding has no row, so keep the list of reports beside it.
    """
    import pandas as pd

    rows = [
        (e.report_id, m.finding, m.status, m.evidence, m.start, m.end, m.laterality, m.severity, extractor,
         version)
        for e in extractions for m in e.findings
    ]  # fmt: skip
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    return found.astype({"start": "int64", "end": "int64"}) if len(found) else found


NEEDED = ("report_id", "finding", "status")
HEADER = re.compile(r"(?!.*\d{3})[^\W\d][\w -]{0,29}")
"""A name of a column; hardly an identifier or a sentence."""
PLAIN = re.compile(r"(?=.{1,40}$)[a-z]+(?:_[a-z]+)*")
"""A word as ids of findings are: a value that a message may repeat."""


def check(
    found: pd.DataFrame, dictionary: Dictionary | None = None, *, name: str = "findings"
) -> pd.DataFrame:
    """A findings table as anybody may have written it, with text where text belongs.

    Needed: report_id, finding, status. TableError, or UnknownName for a finding that the dictionary lacks,
    names the first wrong row and column, and the value where it is a plain word.
    """
    for column in NEEDED:
        if column not in found:
            raise TableError(f"{name} has no column {column!r}. {column_names(found.columns)}")
    found = found.copy()
    for column in NEEDED:
        row = _first(found[column].isna())
        if row is not None:
            raise TableError(f"{name}: row {row + 2}: {column} is empty")
        found[column] = found[column].astype(str).str.strip()
    row = _first(~found["status"].isin(STATUSES))
    if row is not None:
        status = _shown(found["status"].iloc[row])
        raise TableError(f"{name}: row {row + 2}: status{status} is none of: {', '.join(STATUSES)}")
    row = None if dictionary is None else _first(~found["finding"].isin(set(dictionary.findings)))
    if dictionary is not None and row is not None:
        finding = found["finding"].iloc[row]
        hint = nearest(finding, dictionary.findings) if _shown(finding) else ""
        raise UnknownName(
            f"{name}: row {row + 2}: finding{_shown(finding)} is not in {dictionary.name}.{hint} "
            f"It has {len(dictionary)}: radfoundry reports dictionary {dictionary.name}"
        )
    row = _first(found.duplicated(["report_id", "finding"]))
    if row is not None:
        finding = found["finding"].iloc[row] if _shown(found["finding"].iloc[row]) else "a finding"
        raise TableError(f"{name}: row {row + 2}: {finding} of one report occurs twice. Keep one")
    for column in COLUMNS:
        if column not in found:
            found[column] = -1 if column in ("start", "end") else ""
    return found


def column_names(columns: Iterable[object]) -> str:
    """What columns a table has, for a message; without them where the first row may be a report.

    >>> column_names(["id", "befund"]), column_names(["4711", "Small left effusion."])
    ('It has: id, befund', 'Its first row does not look like names of columns: add a header')
    """
    names = [str(one) for one in columns]
    if all(HEADER.fullmatch(one) for one in names):
        return f"It has: {', '.join(names[:12])}"
    return "Its first row does not look like names of columns: add a header"


def _first(which: pd.Series) -> int | None:
    """Number of the first row that is meant, from 0."""
    rows = which.to_numpy().nonzero()[0]
    return int(rows[0]) if len(rows) else None


def _shown(value: str) -> str:
    """A value for a message, or nothing where it may be an identifier or report text (swapped columns)."""
    return f" {value!r}" if PLAIN.fullmatch(value) else ""
