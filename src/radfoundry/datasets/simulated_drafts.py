"""Drafts of real reports with errors at known rates: sentences taken out, invented ones put in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.datasets.phantom_reports import INVENTION, OMISSION, check_rates
from radfoundry.datasets.phantom_sentences import PRESENT
from radfoundry.datasets.phantom_writer import Writer, drawn_fact, entries, say
from radfoundry.errors import InputError
from radfoundry.text.context import of_language
from radfoundry.text.findings import Criticality, Dictionary
from radfoundry.text.mentions import Extraction, Extractor, Mention, Report
from radfoundry.text.sections import COUNTED, Splitter

ROUNDS = 20
"""A draft is read again at most so often, until nothing of an omitted finding is left."""


@dataclass(frozen=True)
class SimulatedDrafts:
    """Drafts in the order of the reports. changes: report_id, finding, criticality, change ("omitted",
    "invented"), drawn (False for a finding that fell with the sentence of another)."""

    drafts: tuple[Report, ...]
    changes: pd.DataFrame
    settings: Mapping[str, Any]


def simulate_drafts(
    reports: Sequence[Report],
    found: Iterable[Extraction],
    dictionary: Dictionary,
    *,
    omission: Mapping[str, float] = OMISSION,
    invention: Mapping[str, float] = INVENTION,
    seed: int = 0,
    extractor: Extractor | None = None,
) -> SimulatedDrafts:
    """Take sentences with findings out of real reports, and put invented ones in, at known rates.

    Each present finding is drawn with the omission rate of its criticality, and every sentence that holds it
    (not those that deny it) goes, with all that the sentence holds besides. A finding counts as omitted when
    no sentence that was found to hold it is left. Extractions with one mention a finding know only one of its
    sentences: give the extractor too, and drafts are read again until none is left. Raises InputError for a
    report without extraction, and for a dictionary that is not English; ValueError for impossible rates.
    """
    omission, invention = {**OMISSION, **omission}, {**INVENTION, **invention}
    check_rates(omission=omission, invention=invention)
    if dictionary.language != "en":
        raise InputError(f"{dictionary.name} is not English, and invented sentences are. Use an English one")
    by_id = {one.report_id: one for one in found}
    lacking = sum(one.report_id not in by_id or bool(by_id[one.report_id].error) for one in reports)
    if lacking:
        raise InputError(
            f"{lacking} of {len(reports)} reports have no extraction. Leave them out or read them"
        )
    editor = _Editor(Writer(dictionary), Splitter(of_language("en")), extractor)
    drafts, changes = [], []
    for number, report in enumerate(reports):
        rng = np.random.default_rng([seed, number])
        text, changed = editor.edit(report, by_id[report.report_id].findings, omission, invention, rng)
        drafts.append(Report(report.report_id, text))
        changes += [(report.report_id, *change) for change in changed]
    columns = ["report_id", "finding", "criticality", "change", "drawn"]
    settings = {"seed": seed, "omission": omission, "invention": invention, "dictionary": dictionary.name}
    return SimulatedDrafts(tuple(drafts), pd.DataFrame(changes, columns=columns), settings)


@dataclass(frozen=True)
class _Editor:
    """Takes sentences out of a text and puts some in."""

    writer: Writer
    splitter: Splitter
    extractor: Extractor | None

    def edit(
        self, report: Report, mentions: Sequence[Mention], omission: Mapping[str, float],
        invention: Mapping[str, float], rng: np.random.Generator,
    ) -> tuple[str, list[tuple[str, Criticality, str, bool]]]:  # fmt: skip
        """The draft, and (finding, criticality, change, drawn)."""
        level = self.writer.level
        said = [one for one in mentions if one.status != "absent"]
        present = sorted({one.finding for one in said if one.status == "present"})
        chances = rng.random(len(present))
        drawn = {key for key, chance in zip(present, chances, strict=True) if chance < omission[level(key)]}
        blocked = set().union(*(self.writer.close[one.finding] for one in said))
        invented = self.writer.invented(blocked, invention, rng)
        spans = self.sentences(report.text)
        holding = _around(spans, [one for one in said if one.finding in drawn])
        denying = _around(spans, [one for one in mentions if one.finding in invented])
        denying -= _around(spans, said)  # a draft does not deny what it states
        fell = {one.finding for one in said if _around(spans, [one]) & holding}
        left = {one.finding for one in said if _around(spans, [one]) - holding}
        text = _without(report.text, holding | denying)
        if drawn and self.extractor is not None:
            text, more, left = self.until_gone(text, drawn)
            fell |= more
        for key in invented:
            text = self.insert(text, say(entries()[key], drawn_fact(entries()[key], rng), PRESENT[2], rng))
        gone = [key for key in present if key in fell and key not in left]
        changes = [(key, level(key), "omitted", key in drawn) for key in gone]
        return text, changes + [(key, level(key), "invented", True) for key in invented]

    def sentences(self, text: str) -> list[tuple[int, int]]:
        """Where each sentence begins and ends."""
        return [
            span for part in self.splitter.sections(text)
            for span in self.splitter.sentences(text, part.start, part.end)
        ]  # fmt: skip

    def until_gone(self, text: str, drawn: set[str]) -> tuple[str, set[str], set[str]]:
        """Read again until no drawn finding is left: the text, what fell, and what it still says."""
        assert self.extractor is not None
        fell: set[str] = set()
        for _ in range(ROUNDS):
            (again,) = self.extractor.extract([Report("", text)])
            said = [one for one in again.findings if one.status != "absent"]
            spans = self.sentences(text)
            holding = _around(spans, [one for one in said if one.finding in drawn])
            if not holding:
                break
            fell |= {one.finding for one in said if _around(spans, [one]) & holding}
            text = _without(text, holding)
        return text, fell, {one.finding for one in said}

    def insert(self, text: str, sentence: str) -> str:
        """At the end of the findings, or of the last section that counts."""
        parts = self.splitter.sections(text)
        ends = [part.end for part in parts if part.kind == "findings"][:1]
        ends = ends or [part.end for part in parts if part.kind in COUNTED][-1:] or [len(text)]
        at = len(text[: ends[0]].rstrip())
        stop = "." if at and text[at - 1].isalnum() else ""
        return f"{text[:at]}{stop} {sentence}{text[at:]}".lstrip()


def _around(spans: Sequence[tuple[int, int]], found: Iterable[Mention]) -> set[tuple[int, int]]:
    """Spans of the sentences that hold a mention."""
    return {(a, b) for one in found for a, b in spans if a < one.end and one.start < b}


LONELY_NUMBER = re.compile(r"(?<=[.:\n])\s*\d{1,2}\.(?=\s*(?:$|\n|\d{1,2}\.\s))")
"""The number of a list whose sentence has gone."""


def _without(text: str, spans: set[tuple[int, int]]) -> str:
    for a, b in sorted(spans, reverse=True):
        text = text[:a] + text[b:]
    return LONELY_NUMBER.sub("", text) if spans else text
