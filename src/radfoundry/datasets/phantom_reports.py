"""Phantom chest-radiograph reports with known truth, and AI drafts of them with planted errors.

A draft leaves out each finding of the radiologist's report with a probability that depends on how bad the
miss is, and now and then states one that is not there. The rates are planted, the counts are kept, and from a
given week on the rates may change, as they do with a new version of a model: what a monitor has to find.
`simulated_drafts` does the same to real reports by taking sentences out and putting some in.

Sections that must not count (the indication, the comparison) name findings on purpose. Report i is the same
whatever `n`, because it is drawn from (seed, i) alone. The language is that of templates: an extractor that
does well here has shown that it is not broken, no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry.datasets.phantom_writer import DRAFT, NORMAL, STYLES, Fact, Writer, entries, pick
from radfoundry.text import findings
from radfoundry.text.findings import CRITICALITIES
from radfoundry.text.mentions import Report

DICTIONARY = "chest-radiograph"
OMISSION: Mapping[str, float] = {"critical": 0.04, "significant": 0.10, "minor": 0.25, "normal variant": 0.5}
"""Probability that a draft leaves out a finding that is present."""
INVENTION: Mapping[str, float] = {
    "critical": 0.01,
    "significant": 0.05,
    "minor": 0.08,
    "normal variant": 0.02,
}
"""Probability that a draft states a finding of that criticality which is not there."""


@dataclass(frozen=True)
class PhantomReports:
    """Reports, drafts and all that is true about them.

    truth, drafts_truth: report_id, finding, status, laterality, severity; what a text does not speak of has
    no row. changes: report_id, finding, criticality, change ("omitted", "invented"). meta: index report_id;
    date, week (from 0), site, view, model_version, and named_elsewhere (where it must not count).
    """

    reports: tuple[Report, ...]
    truth: pd.DataFrame
    drafts: tuple[Report, ...]
    drafts_truth: pd.DataFrame
    changes: pd.DataFrame
    meta: pd.DataFrame
    settings: Mapping[str, Any]

    def counts(self) -> pd.DataFrame:
        """Planted rates and what was drawn, a row a model version x criticality.

        Omissions are counted among findings present in the radiologist's reports, inventions among reports.
        """
        shipped = findings.load(DICTIONARY)
        version = self.meta["model_version"]
        present = self.truth[self.truth["status"] == "present"]
        kind = present["finding"].map(lambda f: shipped[f].criticality)
        rows = []
        for name in sorted(version.unique()):
            planted = self.settings["omission" if name == "1.0" else "omission_shifted"]
            for one in CRITICALITIES:
                n = int((version == name).sum())
                among = int(((kind == one) & (present["report_id"].map(version) == name)).sum())
                own = self.changes[(self.changes["criticality"] == one)
                                   & (self.changes["report_id"].map(version) == name)]  # fmt: skip
                omitted, invented = ((own["change"] == what).sum() for what in ("omitted", "invented"))
                rows.append((name, one, n, among, int(omitted), planted[one], int(invented),
                             self.settings["invention"][one]))  # fmt: skip
        return pd.DataFrame(rows, columns=["model_version", "criticality", "reports", "present", "omitted",
                                           "omission_planted", "invented", "invention_planted"])  # fmt: skip

    def write(self, folder: Path | str) -> Path:
        """reports.csv, drafts.csv, truth.csv, drafts_truth.csv, changes.csv and phantom.json in a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about = self.meta.assign(date=self.meta["date"].dt.strftime("%Y-%m-%d"))
        for name, texts in (("reports", self.reports), ("drafts", self.drafts)):
            table = about[["date", "site", "view", *(["model_version"] if name == "drafts" else [])]]
            table = table.assign(text=[one.text for one in texts])
            table.to_csv(folder / f"{name}.csv")
        for name in ("truth", "drafts_truth", "changes"):
            getattr(self, name).to_csv(folder / f"{name}.csv", index=False)
        counts = self.counts().to_dict("records")
        told = {"format": 1, "phantom": True, "settings": self.settings, "counts": counts}
        (folder / "phantom.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return folder


def make(
    n: int = 600,
    *,
    seed: int = 0,
    weeks: int = 26,
    sites: Sequence[str] = ("A", "B"),
    views: Sequence[str] = ("PA", "portable"),
    start: str = "2026-01-05",
    shift: tuple[int, Mapping[str, float]] | None = None,
    omission: Mapping[str, float] = OMISSION,
    invention: Mapping[str, float] = INVENTION,
) -> PhantomReports:
    """n reports and their drafts, spread evenly over `weeks` from `start` (YYYY-MM-DD).

    shift: from this week on (0 is the first) the omission rates given take the place of the others; the
    model is then called 2.0 instead of 1.0. omission and invention may name some criticalities; the rest stay
    as they are by default. Raises ValueError for impossible settings.
    """
    omission, invention = {**OMISSION, **omission}, {**INVENTION, **invention}
    later = {**omission, **(shift[1] if shift else {})}
    _check(n, seed, weeks, sites, views, shift)
    check_rates(omission=omission, shift=later, invention=invention)
    shipped = findings.load(DICTIONARY)
    writer = Writer(shipped)
    first = date.fromisoformat(start)
    reports, drafts, truth, drafts_truth, changes, meta = [], [], [], [], [], []
    for i in range(n):
        rng = np.random.default_rng([seed, i, 0])
        key, day = f"P{i:05d}", int(rng.integers(7 * weeks))
        site, view = pick(sites, rng), pick(views, rng)
        facts = writer.facts(view, rng)
        style = STYLES[list(sites).index(site) % len(STYLES)]
        head, elsewhere = writer.head(facts, style, first + timedelta(days=day), rng)
        body, spoken = writer.body(facts, style, rng)
        reports.append(Report(key, head + body))
        truth += _rows(key, spoken)
        new = shift is not None and day // 7 >= shift[0]
        rng = np.random.default_rng([seed, i, 1])
        kept, changed = writer.draft(facts, later if new else omission, invention, rng)
        body, spoken = writer.body(kept, DRAFT, rng)
        drafts.append(Report(key, body))
        drafts_truth += _rows(key, spoken)
        changes += [(key, *change) for change in changed]
        meta.append((key, pd.Timestamp(first + timedelta(days=day)), day // 7, site, view,
                     "2.0" if new else "1.0", " ".join(elsewhere)))  # fmt: skip
    settings = {
        "n": n, "seed": seed, "weeks": weeks, "sites": list(sites), "views": list(views), "start": start,
        "shift_week": shift[0] if shift else None, "omission": omission, "omission_shifted": later,
        "invention": invention, "normal": NORMAL, "rates": {one.id: one.rate for one in entries().values()},
    }  # fmt: skip
    about = ["report_id", "date", "week", "site", "view", "model_version", "named_elsewhere"]
    return PhantomReports(
        tuple(reports), _truth(truth), tuple(drafts), _truth(drafts_truth),
        pd.DataFrame(changes, columns=["report_id", "finding", "criticality", "change"]),
        pd.DataFrame(meta, columns=about).set_index("report_id"), settings,
    )  # fmt: skip


def _rows(key: str, spoken: Mapping[str, Fact]) -> list[tuple[str, ...]]:
    order = [name for name in entries() if name in spoken]
    return [(key, k, spoken[k].status, spoken[k].laterality, spoken[k].severity) for k in order]


def _truth(rows: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["report_id", "finding", "status", "laterality", "severity"])


def _check(
    n: int, seed: int, weeks: int, sites: Sequence[str], views: Sequence[str],
    shift: tuple[int, Mapping[str, float]] | None,
) -> None:  # fmt: skip
    faults = {
        f"n must be 1 or more, not {n}": n < 1,
        f"seed must be 0 or more, not {seed}": seed < 0,
        f"weeks must be 1 or more, not {weeks}": weeks < 1,
        "sites and views need a name each": not sites or not views,
        f"shift begins in a week from 1 to {weeks - 1}": shift is not None and not 0 < shift[0] < weeks,
    }
    for message, wrong in faults.items():
        if wrong:
            raise ValueError(message)


def check_rates(**rates: Mapping[str, float]) -> None:
    """ValueError for rates, by criticality, of an unknown criticality or outside 0 to 1; named as given.

    >>> check_rates(omission={"critical": 0.04}, invention={})
    """
    for name, by in rates.items():
        for one, rate in by.items():
            if one not in CRITICALITIES:
                raise ValueError(f"{name}: {one!r} is none of {', '.join(CRITICALITIES)}")
            if not 0 <= rate <= 1:
                raise ValueError(f"{name}: the rate of {one} lies between 0 and 1, not {rate}")
