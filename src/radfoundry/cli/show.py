"""`radfoundry show RUN`: what a finished run found, what it cannot support, and where its report lies."""

from __future__ import annotations

import json as jsonlib
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True)
class Show:
    """Print a finished run: title, headline estimates, limits, and where the report lies."""

    run_folder: tyro.conf.Positional[Path]
    """A run folder, as --out named it."""
    json: bool = False
    """Print JSON: everything the report shows, without pictures."""

    def run(self) -> int:
        from radfoundry.report.build import build

        report = build(self.run_folder, embed=False)
        page = self.run_folder / "report.html"
        if self.json:
            print(jsonlib.dumps({**report, "page": str(page)}, indent=2, ensure_ascii=False))
        else:
            print(summary(report))
            print(f"\nReport: {page}")
        return 0


def summary(report: dict[str, Any]) -> str:
    """The report's first screen as text, 100 columns wide."""
    parts = [f"{report['title']}\n{'─' * min(len(report['title']), 100)}"]
    verdict = report["verdict"]
    if verdict.get("text"):
        parts.append(textwrap.fill(verdict["text"], 100))
    rows = [_row(item) for item in verdict["items"] if item["estimate"]]
    if rows:
        parts.append(_aligned([("", "value", "interval", "n", "trivial baseline"), *rows]))
    if report["warnings"]:
        lines = [
            textwrap.fill(w, 100, initial_indent="  ! ", subsequent_indent="    ") for w in report["warnings"]
        ]
        parts.append("What this data cannot support\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    text, baseline = item["estimate"]["text"], item["baseline"]
    against = f"{baseline['text']['value']} ({item['against']})" if baseline else ""
    return item["label"], text["value"], text["interval"], text["n"], against


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
