"""Reports in, findings out: what every extractor takes and gives, and the findings table.

An extractor says for each report which findings of its dictionary are present, absent or uncertain, each with
a verbatim span of the report. What a report does not speak of has no entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from radfoundry.errors import TableError
from radfoundry.text.findings import Dictionary

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["present", "absent", "uncertain"]
STATUSES: tuple[Status, ...] = get_args(Status)
Laterality = Literal["", "left", "right", "bilateral"]
Severity = Literal["", "mild", "moderate", "severe"]

FORMAT = 1
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
    return tuple(sorted(best.values(), key=lambda m: (m.start, m.end, m.finding)))


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


def check(
    found: pd.DataFrame, dictionary: Dictionary | None = None, *, name: str = "findings"
) -> pd.DataFrame:
    """A findings table as anybody may have written it, with text where text belongs.

    Needed: report_id, finding, status. TableError names the first wrong row and column.
    """
    for column in ("report_id", "finding", "status"):
        if column not in found:
            raise TableError(
                f"{name} has no column {column!r}. It has: {', '.join(map(str, found.columns[:12]))}"
            )
    found = found.copy()
    for column in ("report_id", "finding", "status"):
        empty = found[column].isna().to_numpy().nonzero()[0]
        if len(empty):
            raise TableError(f"{name}: row {empty[0] + 2}: {column} is empty")
        found[column] = found[column].astype(str).str.strip()
    wrong = (~found["status"].isin(STATUSES)).to_numpy().nonzero()[0]
    if len(wrong):
        raise TableError(
            f"{name}: row {wrong[0] + 2}: status {found['status'].iloc[wrong[0]]!r}. "
            f"Use one of: {', '.join(STATUSES)}"
        )
    if dictionary is not None:
        strange = (~found["finding"].isin(set(dictionary.findings))).to_numpy().nonzero()[0]
        if len(strange):
            dictionary[found["finding"].iloc[strange[0]]]  # raises UnknownName with the nearest
    twice = found.duplicated(["report_id", "finding"]).to_numpy().nonzero()[0]
    if len(twice):
        row = found.iloc[twice[0]]
        raise TableError(f"{name}: row {twice[0] + 2}: {row['finding']} of one report occurs twice. Keep one")
    for column in COLUMNS:
        if column not in found:
            found[column] = -1 if column in ("start", "end") else ""
    return found
