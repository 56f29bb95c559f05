"""What a phantom report says: facts drawn at the rates of a table, and the sentences that say them.

Used for whole reports (`phantom_reports`) and for sentences that are put into real ones (`simulated_drafts`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from typing import Any, cast

import numpy as np

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
from radfoundry.text.findings import CRITICALITIES, Criticality, Dictionary
from radfoundry.text.mentions import Laterality, Severity, Status

NORMAL = 0.4
"""So many reports have no finding; the rates of the table are those of the others."""
UNCHANGED, RESOLVED, DOUBT, GROUPED = 0.2, 0.06, 0.12, 0.5
"""How often a finding is called unchanged, and one has gone; how many are doubted for each that is there; how
often two plain findings, or all denials, share a sentence."""
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


@cache
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


class Writer:
    """Draws what reports and drafts say of a dictionary's findings, and puts it into sentences.

    close: finding to those that are neither denied nor invented beside it (`kin`).
    """

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.close = kin(dictionary)

    def level(self, key: str) -> Criticality:
        """The criticality of a finding."""
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
            facts[pick(free, rng)] = Fact("absent")
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
        named = [pick([key for key, entry in entries().items() if entry.denied], rng) for _ in range(2)]
        asked = pick(ASKED, rng)
        earlier = (day - timedelta(days=int(rng.integers(2, 400)))).isoformat()
        film = f"Chest radiograph of {earlier}"
        compared = pick(("None.", f"{film}.", f"{film} with {{n}}."), rng)
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
                sentence, absent = pick(usual, rng)
                lines.append(sentence)
                spoken |= {key: Fact("absent") for key in absent}
            group = [key for key in denied if entries()[key].region == region and not whole]
            group = list(denied) if whole and region == entries()[denied[0]].region else group
            if group:
                lines.append(pick(DENY[style.voice], rng).format(n=_listed([_noun(key) for key in group])))
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
            lines = [pick(FINE, rng)]
        if style.numbered and len(lines) > 1:
            return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
        return " ".join(lines)


def pick(options: Sequence[Any], rng: np.random.Generator) -> Any:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def drawn_fact(entry: Entry, rng: np.random.Generator) -> Fact:
    """That a finding is there: its side, its size and its place, where the table gives it one."""
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
    """One sentence about one finding, by one of the templates (see `phantom_sentences` for their fields)."""
    noun, side = pick(entry.nouns, rng), fact.laterality
    many, counted = noun.startswith("+"), noun.startswith("a ")
    noun = noun.removeprefix("a ").removeprefix("+")
    if counted and side == "bilateral":
        noun, many, counted = _plural(noun), True, False
    size = pick(WORDS[entry.scale, fact.severity], rng) if fact.severity else ""
    front = side if entry.side in ("pre", "one") else ""
    phrase = " ".join(word for word in (size, front, noun.format(side=side)) if word)
    whole = f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}" if counted else phrase
    places = (
        PLACES[side][: 2 if entry.side == "lobe" else 3] if entry.side in ("in", "lobe") and side else ("",)
    )
    place = f" {places[fact.place % len(places)]}".rstrip()
    adverb = {"": "", "mild": "mildly", "moderate": "moderately", "severe": "markedly"}[fact.severity]
    sentence = pick(templates, rng).format(
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
