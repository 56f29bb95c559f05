"""`radfoundry audit COHORT --target NAME`: leaks, shortcuts and trivial explanations."""

from __future__ import annotations

import json as jsonlib
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.audit import Audit, AuditItem
    from radfoundry.cohort import Cohort
    from radfoundry.encoders import Encoder
    from radfoundry.types import Embeddings

MARKS = {"ok": "ok     ", "warn": "WARN   ", "fail": "FAIL   ", "skipped": "skipped"}
WIDTH = 100


@dataclass(frozen=True)
class AuditCommand:
    """Before a score is believed: patients and pictures on both sides of a split, labels that age or site
    give away, and what shuffled labels, raw pixels and untrained encoders reach.

    Needs no encoder: pictures are then compared by hash and small raw pixels. Exits 0 whatever it finds,
    unless --strict.
    """

    cohort: tyro.conf.Positional[Path]
    """Cohort table (CSV or Parquet), or a folder that holds one."""
    target: str
    """Name of the label column behind `y:`."""
    encoder: tuple[str, ...] = ()
    """Encoders; the first trained one is audited, random:NAME and random-projection serve as floors."""
    store: Path | None = None
    """Folder of stored vectors; without it they are computed and not kept."""
    predictions: Path | None = None
    """Prediction table whose score is to be believed: compared with the covariates alone."""
    head: str = "ridge"
    """ridge, or a head of adapt (logistic, svm-linear, ...)."""
    permutations: int | None = None
    """Label shuffles; by default 200 with ridge, 20 with other heads."""
    accept_licence: tuple[str, ...] = ()
    """Names of restricted licences that you accept."""
    device: str = "cpu"
    """cpu, cuda, cuda:N or mps."""
    rows: int = 5
    """Rows of each table to print."""
    out: Path | None = None
    """Also write a run folder with a report."""
    force: bool = False
    """Replace an existing run folder."""
    strict: bool = False
    """Exit 1 when a check fails."""
    seed: int = 0
    """Seed for folds, shuffles and resampling."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        from radfoundry.audit import audit
        from radfoundry.cohort import read_cohort

        cohort = read_cohort(self.cohort)
        cohort.labels(self.target, allow_constant=True)  # a wrong name is refused before anything is computed
        score = None
        if self.predictions is not None:
            from radfoundry.predictions import read_predictions

            score = read_predictions(self.predictions)
            for note in score.attrs["notes"]:
                print(f"note: {note}", file=sys.stderr)
        used, embeddings = self._embed(cohort)
        found = audit(
            cohort,
            self.target,
            embeddings=embeddings,
            score=score,
            head=self.head,
            seed=self.seed,
            n_perm=self.permutations,
            progress=lambda step: print(f"  {step}", file=sys.stderr),
        )
        if self.out is not None:
            self._write(cohort, found, used, score)
        if self.json:
            print(jsonlib.dumps(found.as_dict(), indent=2, ensure_ascii=False))
        else:
            print(text(found, rows=self.rows))
        return 1 if self.strict and found.verdict == "fail" else 0

    def _embed(self, cohort: Cohort) -> tuple[dict[str, Encoder], dict[str, Embeddings]]:
        """The encoders asked for, by the name they were asked for, and the vectors of each."""
        if not self.encoder:
            return {}, {}
        from radfoundry import encoders

        used, found = {}, {}
        with tempfile.TemporaryDirectory(prefix="radfoundry-audit-") as scratch:
            for name in self.encoder:
                encoder = encoders.load(
                    name, device=self.device, accept_licences=self.accept_licence, seed=self.seed
                )
                result = encoders.embed(cohort, encoder, self.store or scratch)
                for case, column, message in result.failures:
                    print(f"failed: case {case}, {column}: {message}", file=sys.stderr)
                used[name], found[name] = encoder, result.embeddings
        return used, found

    def _write(
        self, cohort: Cohort, found: Audit, used: Mapping[str, Encoder], score: pd.DataFrame | None
    ) -> None:
        from radfoundry.encoders.weights import digest
        from radfoundry.studies.run import Run, command_line

        assert self.out is not None  # the caller asked
        with Run(
            self.out, command=command_line(), config=self, seed=self.seed,
            title=f"Audit of {cohort.name}", subtitle=f"Target: {found.target}", force=self.force,
        ) as run:  # fmt: skip
            run.add_data(cohort.name, cohort.digest(), len(cohort))
            if self.predictions is not None and score is not None:
                run.add_data(self.predictions.name, digest(self.predictions), len(score))
            for name, encoder in used.items():
                run.add_encoder(name, encoder.fingerprint)
                if encoder.card.licence.restricted:
                    run.add_licence(name, encoder.card.licence.name)
            run.verdict(found.headline)
            run.set_section("audit", found.section())
            for item in found.items:
                run.add_estimates(item.estimates)
                if item.rows:
                    rows = item.as_dict()["rows"]
                    columns = list(rows[0])
                    cells = [[row[c] for c in columns] for row in rows]
                    run.section(f"Table: {item.name}", "table", columns=columns, rows=cells)
        print(f"run folder: {self.out}", file=sys.stderr)


def text(found: Audit, *, rows: int = 5) -> str:
    """The audit for a terminal: a headline, then a paragraph a check with the first rows of its table."""
    title = f"Audit of {found.cohort}, target {found.target}"
    blocks = [f"{title}\n{'─' * min(len(title), WIDTH)}", textwrap.fill(found.headline, WIDTH)]
    return "\n\n".join([*blocks, *(_block(item, rows) for item in found.items)])


def _block(item: AuditItem, rows: int) -> str:
    indent = " " * 10
    head = f"{MARKS[item.status]}   {item.name}: "
    lines = [textwrap.fill(item.summary, WIDTH, initial_indent=head, subsequent_indent=indent)]
    if item.advice:
        lines.append(
            textwrap.fill(item.advice, WIDTH, initial_indent=f"{indent}→ ", subsequent_indent=indent + "  ")
        )
    table = item.as_dict()["rows"]
    if table and rows:
        lines.append(textwrap.indent(_aligned(table[:rows]), indent))
        hidden = len(item.rows) - min(rows, len(table))
        lines += [f"{indent}and {hidden} more (--rows, --json)"] if hidden else []
    return "\n".join(lines)


def _aligned(table: list[dict[str, Any]]) -> str:
    columns = list(table[0])
    cells = [columns, *([_cell(row[c]) for c in columns] for row in table)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
