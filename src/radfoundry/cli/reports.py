"""`radfoundry reports extract | validate | compare | chart | dictionary`: findings of reports, and drafts."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from radfoundry.text.extractors import Reading


@dataclass(frozen=True, kw_only=True)
class Extract(Reading):
    """Read the findings of reports: one row a report and finding, with the words that say so."""

    reports: tyro.conf.Positional[Path]
    """CSV, Parquet, a folder of texts, or one text."""
    out: Path | None = None
    """Findings table to write: .parquet, .csv or .jsonl."""
    review: Path | None = None
    """Review queue to write, likewise: disagreements of an ensemble, and texts with instructions in them."""
    seed: int = 0
    """Seed of a language model."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.cli import report_tables

        return report_tables.extract(self)


@dataclass(frozen=True, kw_only=True)
class Judging(Reading):
    """How reports are read, and what is made of their findings."""

    uncertain: Literal["present", "absent", "left out"] = "present"
    """What an uncertain finding counts as."""
    match: Literal["related", "exact"] = "related"
    """related: a finding worded more or less exactly is the same."""
    n_boot: int = 2000
    """Bootstrap draws."""
    seed: int = 0
    """Seed of the bootstrap, and of a language model."""
    json: bool = False
    """Print JSON: every estimate."""


@dataclass(frozen=True, kw_only=True)
class Validate(Judging):
    """Hold an extractor, or a findings table, against annotated reports."""

    annotations: tyro.conf.Positional[Path]
    """Findings by hand: report_id, finding, status (present, absent, uncertain)."""
    reports: Path | None = None
    """The texts, to be read by --extractor."""
    findings: Path | None = None
    """Or a findings table that was made already."""

    def run(self) -> int:
        from radfoundry.cli import report_tables

        return report_tables.validate(self)


@dataclass(frozen=True, kw_only=True)
class Compare(Judging):
    """Compare drafts with radiologists' reports; --monitor keeps them for charts over time."""

    reports: tyro.conf.Positional[Path]
    """Radiologists' reports."""
    drafts: tyro.conf.Positional[Path]
    """Drafts with the same report_id."""
    out: Path | None = None
    """Table of omissions and inventions to write: .csv, .parquet or .jsonl."""
    monitor: str = ""
    """SQLite file or postgresql:// URL; needs a column `date`."""
    stream: str = "drafts"
    """Name of the stream in the monitor."""
    replace: bool = False
    """Events that are known with other content get a new version; otherwise they are refused."""

    def run(self) -> int:
        from radfoundry.cli import report_tables

        return report_tables.compare(self)


@dataclass(frozen=True)
class Chart:
    """Control charts of a stream in the monitor."""

    monitor: tyro.conf.Positional[str]
    """SQLite file or postgresql:// URL."""
    stream: str = "drafts"
    """Name of the stream."""
    by: Literal["", "view", "site", "model_version"] = ""
    """One CUSUM for each view, site or model version, instead of p-chart, EWMA and CUSUM of all."""
    baseline_weeks: int = 12
    """First weeks, in which all is taken to be in control."""
    arl0: float = 370.0
    """Mean weeks to a false alarm of EWMA and CUSUM."""
    alpha: float = 0.0027
    """False alarms a week of the p-chart."""
    out: Path | None = None
    """Folder for the drawings (PNG, SVG) and their data (CSV)."""
    seed: int = 0
    """Seed of simulated limits."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.cli import report_tables

        return report_tables.chart(self)


@dataclass(frozen=True)
class DictionaryCommand:
    """List the dictionaries, show one, or check your own: every fault is explained."""

    name: tyro.conf.Positional[str] = ""
    """A name, or a YAML file."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.text import findings

        if not self.name:
            rows: Any = {name: len(findings.load(name)) for name in findings.names()}
            lines = [f"{name:24} {n:4} findings" for name, n in rows.items()]
        else:
            found = findings.load(self.name)
            rows = [{"id": f.id, "name": f.name, "region": f.region, "criticality": f.criticality,
                     "parent": f.parent, "codes": dict(f.codes)} for f in found]  # fmt: skip
            lines = [f"{f.id:36} {f.criticality:15} {f.region:14} {f.name}" for f in found]
        print(jsonlib.dumps(rows, indent=2, ensure_ascii=False) if self.json else "\n".join(lines))
        if self.name:
            print(f"{self.name}: {len(rows)} findings, no fault", file=sys.stderr)
        return 0


@dataclass(frozen=True)
class ReportsCommand:
    """Findings of radiology reports, and what drafts of reports omit or invent."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Annotated[Extract, tyro.conf.subcommand("extract")]
        | Annotated[Validate, tyro.conf.subcommand("validate")]
        | Annotated[Compare, tyro.conf.subcommand("compare")]
        | Annotated[Chart, tyro.conf.subcommand("chart")]
        | Annotated[DictionaryCommand, tyro.conf.subcommand("dictionary")]
    ]

    def run(self) -> int:
        return self.command.run()
