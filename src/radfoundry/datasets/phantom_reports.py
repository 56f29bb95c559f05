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
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from radfoundry.datasets.phantom_sentences import (
    APART,
    ASKED,
    DENIED,
    DENY,
    DOUBTED,
    FINE,
    GONE,
    KIN,
    NORMALS,
    PLACES,
    PRESENT,
    SAME,
    TABLE,
    WORDS,
)
from radfoundry.text import findings
from radfoundry.text.findings import CRITICALITIES, Criticality, Dictionary
from radfoundry.text.mentions import Laterality, Report, Severity, Status

DICTIONARY = "chest-radiograph"
NORMAL = 0.4
"""So many reports have no finding; the rates below are those of the others."""
OMISSION: Mapping[str, float] = {"critical": 0.04, "significant": 0.10, "minor": 0.25, "normal variant": 0.5}
"""Probability that a draft leaves out a finding that is present."""
INVENTION: Mapping[str, float] = {
    "critical": 0.01,
    "significant": 0.05,
    "minor": 0.08,
    "normal variant": 0.02,
}
"""Probability that a draft states a finding of that criticality which is not there."""
UNCHANGED, RESOLVED, DOUBT, GROUPED = 0.2, 0.06, 0.12, 0.5
ROUNDS = 20
"""A draft is read again at most so often, until nothing of an omitted finding is left."""
PORTABLE = {"central_venous_catheter": 4.0, "endotracheal_tube_malposition": 4.0, "pulmonary_edema": 2.5,
            "low_lung_volumes": 2.0, "pleural_effusion": 1.6, "hyperinflation": 0.5}  # fmt: skip
"""How much more often a portable radiograph shows it."""


@dataclass(frozen=True)
class Style:
    """How a site writes. voice: which of the templates. numbered: the impression is a list."""

    headers: tuple[str, str, str, str]
    voice: int
    numbered: bool


STYLES = (
    Style(("INDICATION", "COMPARISON", "FINDINGS", "IMPRESSION"), 0, True),
    Style(("Reason for exam", "Comparison", "Findings", "Conclusion"), 1, False),
)
DRAFT = Style(("", "", "FINDINGS", "IMPRESSION"), 2, False)


@dataclass(frozen=True)
class Fact:
    """One finding as a text has it."""

    status: Status
    laterality: Laterality = ""
    severity: Severity = ""
    unchanged: bool = False
    place: int = 0


@dataclass(frozen=True)
class Entry:
    """One row of TABLE."""

    id: str
    region: str
    rate: float
    side: str
    scale: str
    nouns: tuple[str, ...]
    own: tuple[str, ...]
    denied: bool


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


@lru_cache(maxsize=1)
def entries() -> Mapping[str, Entry]:
    """The findings that phantom reports speak of, in the order of TABLE."""
    found: dict[str, Entry] = {}
    region = ""
    for line in TABLE.strip().splitlines():
        if "|" not in line:
            region = line
            continue
        key, rate, side, scale, nouns, own, *_ = [*(cell.strip() for cell in line.split("|")), ""]
        found[key] = Entry(
            key, region, float(rate) / 100, side, scale, tuple(nouns.lstrip("!").split("; ")),
            tuple(own.split("; ")) if own else (), not nouns.startswith("!"),
        )  # fmt: skip
    return found


def kin(dictionary: Dictionary) -> Mapping[str, set[str]]:
    """Finding -> those that are not denied or invented beside it, itself among them."""
    above = {one.id: dictionary.ancestors(one.id) for one in dictionary}
    found = {key: {key, *above[key]}.union(*(group for group in KIN if key in group)) for key in above}
    for key, parents in above.items():
        for parent in parents:
            found[parent].add(key)
    return found


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
    check_rates(
        n, seed, weeks, sites, views, shift, {"omission": omission, "shift": later, "invention": invention}
    )
    shipped = findings.load(DICTIONARY)
    writer = Writer(shipped, kin(shipped))
    first = date.fromisoformat(start)
    reports, drafts, truth, drafts_truth, changes, meta = [], [], [], [], [], []
    for i in range(n):
        rng = np.random.default_rng([seed, i, 0])
        key, day = f"P{i:05d}", int(rng.integers(7 * weeks))
        site, view = _pick(sites, rng), _pick(views, rng)
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


def check_rates(
    n: int, seed: int, weeks: int, sites: Sequence[str], views: Sequence[str], shift: Any,
    rates: Mapping[str, Mapping[str, float]],
) -> None:  # fmt: skip
    faults = {
        f"n must be 1 or more, not {n}": n < 1,
        f"seed must be 0 or more, not {seed}": seed < 0,
        f"weeks must be 1 or more, not {weeks}": weeks < 1,
        "sites and views need a name each": not sites or not views,
        f"shift begins in a week from 1 to {weeks - 1}": bool(shift) and not 0 < shift[0] < weeks,
    }
    for name, by in rates.items():
        for one, rate in by.items():
            faults[f"{name}: {one!r} is none of {', '.join(CRITICALITIES)}"] = one not in CRITICALITIES
            faults[f"{name}: the rate of {one} lies between 0 and 1, not {rate}"] = not 0 <= rate <= 1
    for message, wrong in faults.items():
        if wrong:
            raise ValueError(message)


class Writer:
    """Facts to sentences."""

    def __init__(self, dictionary: Dictionary, close: Mapping[str, set[str]]) -> None:
        self.dictionary = dictionary
        self.close = close

    def level(self, key: str) -> Criticality:
        return self.dictionary[key].criticality

    def blocked(self, facts: Mapping[str, Fact]) -> set[str]:
        """What may be neither denied nor invented."""
        return set().union(*(self.close[key] for key in facts))

    def facts(self, view: str, rng: np.random.Generator) -> dict[str, Fact]:
        """What a report says is there, may be there, or has gone; nothing in NORMAL of them."""
        facts: dict[str, Fact] = {}
        abnormal = rng.random() >= NORMAL
        while abnormal and not any(fact.status == "present" for fact in facts.values()):
            facts = {}
            for key, entry in entries().items():
                rate = entry.rate * (PORTABLE.get(key, 1.0) if view == "portable" else 1.0)
                chance = rng.random()
                if any(key in group and group & set(facts) for group in APART):
                    continue
                if chance < rate:
                    same = self.level(key) != "critical" and rng.random() < UNCHANGED
                    facts[key] = replace(drawn_fact(entry, rng), unchanged=same)
                elif chance < rate * (1 + DOUBT) and entry.denied:
                    facts[key] = replace(drawn_fact(entry, rng), status="uncertain", severity="")
        blocked = self.blocked(facts)
        free = [key for key, entry in entries().items() if entry.denied and key not in blocked]
        if rng.random() < RESOLVED:
            facts[_pick(free, rng)] = Fact("absent")
        return facts

    def draft(
        self, facts: Mapping[str, Fact], omission: Mapping[str, float], invention: Mapping[str, float],
        rng: np.random.Generator,
    ) -> tuple[dict[str, Fact], list[tuple[str, Criticality, str]]]:  # fmt: skip
        """What the draft says, and (finding, criticality, change). What is doubted stays doubted."""
        kept, changes = {}, []
        chances = dict(zip(entries(), rng.random(len(entries())), strict=True))  # the same for every rate
        positive = {key: fact for key, fact in facts.items() if fact.status != "absent"}
        for key, fact in positive.items():
            if fact.status == "present" and chances[key] < omission[self.level(key)]:
                changes.append((key, self.level(key), "omitted"))
            else:
                kept[key] = replace(fact, unchanged=False)
        blocked = self.blocked(positive)
        for key in self.invented(blocked, invention, rng):
            kept[key] = drawn_fact(entries()[key], rng)
            changes.append((key, self.level(key), "invented"))
        return kept, changes

    def invented(
        self, blocked: set[str], invention: Mapping[str, float], rng: np.random.Generator
    ) -> list[str]:
        """At most one finding a criticality, none beside its kin."""
        found: list[str] = []
        for one in CRITICALITIES:
            chance, which = rng.random(2)
            taken = blocked.union(*(self.close[key] for key in found))
            free = [k for k in entries() if k in self.close and k not in taken and self.level(k) == one]
            if free and chance < invention[one]:
                found.append(free[int(which * len(free))])
        return found

    def head(
        self, facts: Mapping[str, Fact], style: Style, day: date, rng: np.random.Generator
    ) -> tuple[str, list[str]]:
        """Indication and comparison, and the findings that they name."""
        named = [_pick([key for key, entry in entries().items() if entry.denied], rng) for _ in range(2)]
        asked = _pick(ASKED, rng)
        earlier = (day - timedelta(days=int(rng.integers(2, 400)))).isoformat()
        film = f"Chest radiograph of {earlier}"
        compared = _pick(("None.", f"{film}.", f"{film} with {{n}}."), rng)
        if compared == "None." and any(fact.unchanged or fact.status == "absent" for fact in facts.values()):
            compared = f"{film}."
        told = list(zip(style.headers, (asked, compared), named, strict=False))
        text = "".join(f"{header}: {line.format(n=_noun(key))}\n" for header, line, key in told)
        return text, [key for _, line, key in told if "{n}" in line]

    def body(
        self, facts: Mapping[str, Fact], style: Style, rng: np.random.Generator
    ) -> tuple[str, dict[str, Fact]]:
        """Findings and impression, and all that they say."""
        spoken = dict(facts)
        blocked = self.blocked(facts)
        denied = [
            key for key, chance in zip(entries(), rng.random(len(entries())), strict=True)
            if entries()[key].denied and key not in blocked and chance < DENIED.get(key, 0.01)
        ]  # fmt: skip
        spoken |= dict.fromkeys(denied, Fact("absent"))
        whole = rng.random() < GROUPED and denied
        regions = list(dict.fromkeys(entry.region for entry in entries().values()))
        turn = int(rng.integers(len(regions)))
        lines = []
        for region in regions[turn:] + regions[:turn]:
            here = {key: fact for key, fact in facts.items() if entries()[key].region == region}
            lines += _positive(here, style, rng)
            usual = [one for one in NORMALS.get(region, ()) if not blocked & set(one[1])]
            if not here and usual and rng.random() < 0.7:
                sentence, absent = _pick(usual, rng)
                lines.append(sentence)
                spoken |= {key: Fact("absent") for key in absent}
            group = [key for key in denied if entries()[key].region == region and not whole]
            group = list(denied) if whole and region == entries()[denied[0]].region else group
            if group:
                lines.append(_pick(DENY[style.voice], rng).format(n=_listed([_noun(key) for key in group])))
        gap = "\n" if style.numbered else " "
        text = f"{style.headers[2]}: {' '.join(lines) or FINE[0]}\n{style.headers[3]}:{gap}"
        return text + self.impression(facts, style, rng), spoken

    def impression(self, facts: Mapping[str, Fact], style: Style, rng: np.random.Generator) -> str:
        """The main findings again, in other words."""
        present = [key for key, fact in facts.items() if fact.status == "present"]
        main = [key for key in present if self.level(key) in CRITICALITIES[:2]]
        main = sorted(main, key=lambda key: CRITICALITIES.index(self.level(key)))[:4] or present[:1]
        doubted = [key for key, fact in facts.items() if fact.status == "uncertain"][:1]
        lines = [
            say(entries()[key], facts[key], SAME[:2] if facts[key].unchanged else PRESENT[1][:1], rng)
            for key in main
        ] + [say(entries()[key], facts[key], DOUBTED, rng) for key in doubted]
        if not lines or (not doubted and self.level(main[0]) not in CRITICALITIES[:2] and rng.random() < 0.6):
            lines = [_pick(FINE, rng)]
        if style.numbered and len(lines) > 1:
            return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
        return " ".join(lines)


def _pick(options: Sequence[Any], rng: np.random.Generator) -> Any:
    return options[int(rng.integers(len(options)))]


def drawn_fact(entry: Entry, rng: np.random.Generator) -> Fact:
    """A present finding with a side and a size where it has them."""
    side, scale = rng.random(2)
    laterality, severity = "", ""
    if entry.side in ("one", "slot"):
        laterality = "left" if side < 0.5 else "right"
    elif entry.side and (entry.side == "pre" or side < 0.9):
        laterality = "left" if side < 0.35 else "right" if side < 0.7 else "bilateral"
    if entry.scale and scale < 0.6:
        severity = "mild" if scale < 0.3 else "moderate" if scale < 0.48 else "severe"
    place = int(rng.integers(6))
    return Fact("present", cast(Laterality, laterality), cast(Severity, severity), place=place)


def _noun(key: str) -> str:
    return entries()[key].nouns[0].removeprefix("a ").removeprefix("+")


def _listed(nouns: Sequence[str]) -> str:
    """a, a or b, and a, b, or c."""
    return " or ".join(nouns) if len(nouns) < 3 else f"{', '.join(nouns[:-1])}, or {nouns[-1]}"


def _plural(noun: str) -> str:
    for end, ends in (("thorax", "thoraces"), ("opacity", "opacities"), ("mass", "masses")):
        if noun.endswith(end):
            return noun.removesuffix(end) + ends
    return noun + "s"


def say(entry: Entry, fact: Fact, templates: Sequence[str], rng: np.random.Generator) -> str:
    """One sentence about one finding."""
    noun, side = _pick(entry.nouns, rng), fact.laterality
    many, counted = noun.startswith("+"), noun.startswith("a ")
    noun = noun.removeprefix("a ").removeprefix("+")
    if counted and side == "bilateral":
        noun, many, counted = _plural(noun), True, False
    size = _pick(WORDS[entry.scale, fact.severity], rng) if fact.severity else ""
    front = side if entry.side in ("pre", "one") else ""
    phrase = " ".join(word for word in (size, front, noun.format(side=side)) if word)
    whole = f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}" if counted else phrase
    places = (
        PLACES[side][: 2 if entry.side == "lobe" else 3] if entry.side in ("in", "lobe") and side else ("",)
    )
    place = f" {places[fact.place % len(places)]}".rstrip()
    adverb = {"": "", "mild": "mildly", "moderate": "moderately", "severe": "markedly"}[fact.severity]
    sentence = _pick(templates, rng).format(
        n=phrase, a=whole, place=place, size=size, side=side, adverb=adverb,
        N=phrase[0].upper() + phrase[1:], A=whole[0].upper() + whole[1:],
        **{"is": "are" if many else "is", "has": "have" if many else "has"},
    )  # fmt: skip
    return re.sub(" +", " ", sentence)


def _positive(here: Mapping[str, Fact], style: Style, rng: np.random.Generator) -> list[str]:
    """Sentences about the findings of one region; two plain ones may share a sentence."""
    plain = [k for k, f in here.items() if f == replace(Fact("present"), place=f.place)][:2]
    lines = []
    if len(plain) == 2 and rng.random() < GROUPED:
        first, second = (say(entries()[key], here[key], ("{n}",), rng) for key in plain)
        lines.append(f"{first[0].upper()}{first[1:]} and {second} are noted.")
    else:
        plain = []
    for key, fact in here.items():
        if key in plain:
            continue
        entry = entries()[key]
        if fact.status == "present" and not fact.unchanged:
            own = [one for one in entry.own if _fits(one, fact)]
            templates = own if own and rng.random() < 0.5 else list(PRESENT[style.voice])
        else:
            templates = list({"uncertain": DOUBTED, "absent": GONE, "present": SAME}[fact.status])
        lines.append(say(entry, fact, templates, rng))
    return lines


def _fits(sentence: str, fact: Fact) -> bool:
    """Whether a sentence says all of a fact."""
    sized = not fact.severity or "{size}" in sentence or "{adverb}" in sentence
    if "{place}" in sentence:
        return sized
    return sized and fact.laterality != "bilateral" and ("{side}" in sentence) == bool(fact.laterality)
