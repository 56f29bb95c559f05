"""Findings by rules: wordings of a dictionary in one automaton, then denial, doubt and history around them.

All wordings of all findings, and all trigger words of the language, stand in one Aho-Corasick automaton over
the stemmed words of a sentence (pyahocorasick), so the time hardly grows with the number of findings. Around
each hit the triggers of the sentence decide, after NegEx (Chapman et al. 2001, doi:10.1006/jbin.2001.1029)
and ConText (Harkema et al. 2009, doi:10.1016/j.jbi.2009.05.002): a trigger reaches forwards or backwards up
to a word that begins another statement.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from radfoundry.errors import InputError
from radfoundry.optional import require
from radfoundry.text.context import Context, of_language
from radfoundry.text.findings import Dictionary
from radfoundry.text.mentions import Extraction, Laterality, Mention, Report, Severity, Status, strongest
from radfoundry.text.phrases import WORD, fold, parts, stem, words
from radfoundry.text.sections import COUNTED, Splitter

CODE_VERSION = 2
GAP_WORDS = 6
"""So many words may stand in a gap of a phrase."""
MOST_WORDS = 300
"""A longer sentence is no sentence, and is read in pieces of so many words."""
DOUBT = 4
"""So many words after a word of doubt still belong to its wording."""
NEAR = 8
"""Side and size are looked for within so many words of a finding."""


@dataclass(frozen=True, slots=True)
class _Phrase:
    """kind: finding, exclusion or normal. findings: its id; all that a normal statement denies."""

    kind: str
    findings: tuple[str, ...]
    parts: int


@dataclass(frozen=True, slots=True)
class _Hit:
    """A phrase found in a sentence: spans of word numbers [a, b), one a part."""

    phrase: _Phrase
    spans: tuple[tuple[int, int], ...]

    @property
    def first(self) -> int:
        return self.spans[0][0]

    @property
    def last(self) -> int:
        return self.spans[-1][1]

    @property
    def size(self) -> int:
        return sum(b - a for a, b in self.spans)

    def words(self) -> Iterator[int]:
        """Numbers of its words; those in its gaps are not."""
        return (word for a, b in self.spans for word in range(a, b))

    def covers(self, other: _Hit) -> bool:
        return all(any(a <= c and d <= b for a, b in self.spans) for c, d in other.spans)


class Rules:
    """Report to findings without a model; the `Extractor` that is always there.

    >>> from radfoundry.text import findings
    >>> effusion = findings.Finding("pleural_effusion", "Pleural effusion", "pleura", "significant")
    >>> one = findings.Dictionary("tiny", "1", "en", {"pleural_effusion": effusion})
    >>> [(m.status, m.laterality) for m in Rules(one).read("Small left pleural effusion.")]
    [('present', 'left')]
    >>> [m.status for m in Rules(one).read("No pleural effusion.")]
    ['absent']
    """

    name = "rules"

    def __init__(self, dictionary: Dictionary, *, context: Context | None = None) -> None:
        """context: rules of the language; those of the package for the dictionary's language when None.

        Raises MissingExtra without pyahocorasick, InputError for rules of another language.
        """
        self.dictionary = dictionary
        self.context = context or of_language(dictionary.language)
        if self.context.language != dictionary.language:
            raise InputError(
                f"the context rules are in {self.context.language!r} and {dictionary.name} in "
                f"{dictionary.language!r}. Both need the same `language:`"
            )
        self.splitter = Splitter(self.context)
        self._language = dictionary.language
        self._phrases: list[_Phrase] = []
        self._keys: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for finding in dictionary:
            for phrase in finding.phrases:
                self._add(phrase, "finding", (finding.id,))
            for phrase in finding.exclusions:
                self._add(phrase, "exclusion", (finding.id,))
        for normal in dictionary.normals:
            for phrase in normal.phrases:
                self._add(phrase, "normal", normal.absent)
        self._add_context()
        ahocorasick = require("ahocorasick", extra="reports")
        self._automaton = ahocorasick.Automaton()
        for key, payload in self._keys.items():
            self._automaton.add_word(f" {key} ", (len(key.split()), tuple(payload)))
        self._automaton.make_automaton()

    @property
    def version(self) -> str:
        """Changes with the code, the dictionary and the context rules."""
        return f"{CODE_VERSION}-{self.dictionary.digest[:10]}-{self.context.digest[:10]}"

    def extract(self, reports: Iterable[Report]) -> Iterator[Extraction]:
        """One extraction a report, in their order."""
        for report in reports:
            yield Extraction(report.report_id, strongest(self.read(report.text)))

    def read(self, text: str) -> list[Mention]:
        """Every mention in the sections that count, in the order of the text."""
        folded = fold(text)
        found: list[Mention] = []
        for section in self.splitter.sections(text):
            if section.kind in COUNTED:
                for start, end in self.splitter.sentences(text, section.start, section.end):
                    spans = [match.span() for match in WORD.finditer(folded, start, end)]
                    for at in range(0, len(spans), MOST_WORDS):
                        found += self._sentence(text, folded, spans[at : at + MOST_WORDS])
        return found

    # -- building -----------------------------------------------------------------------------------

    def _add(self, phrase: str, kind: str, findings: tuple[str, ...]) -> None:
        pieces = parts(phrase, self._language)
        number = len(self._phrases)
        self._phrases.append(_Phrase(kind, findings, len(pieces)))
        for place, piece in enumerate(pieces):
            for wording in piece:
                self._keys[" ".join(wording)].append(("part", (number, place)))

    def _add_context(self) -> None:
        context = self.context
        marks: list[tuple[str, Any, Sequence[str]]] = [
            *((kind, side, phrases) for (kind, side), phrases in context.reaches.items()),
            ("pseudo", "", context.pseudo_negation), ("stop", "", context.stop),
            ("restart", "", context.restart), ("block", "", context.block),
        ]  # fmt: skip
        marks += [("laterality", value, [phrase]) for phrase, value in context.laterality.items()]
        marks += [("severity", value, [phrase]) for phrase, value in context.severity.items()]
        for kind, value, phrases in marks:
            for phrase in phrases:
                self._keys[" ".join(words(phrase, self._language))].append((kind, value))

    # -- reading ------------------------------------------------------------------------------------

    def _sentence(self, text: str, folded: str, spans: list[tuple[int, int]]) -> list[Mention]:
        stems = [stem(folded[a:b], self._language) for a, b in spans]
        line = _Line(text, spans)
        pieces: dict[tuple[int, int], list[tuple[int, int]]] = {}
        ends: list[int] = []
        place = 0
        for one in stems:
            place += len(one) + 1
            ends.append(place)
        for at, (size, payload) in self._automaton.iter(f" {' '.join(stems)} "):
            last = bisect_left(ends, at) + 1
            for kind, value in payload:
                if kind == "part":
                    pieces.setdefault(value, []).append((last - size, last))
                else:
                    line.marks[kind].append((last - size, last, value))
        hits = list(self._hits(pieces, line))
        if not any(hit.phrase.kind != "exclusion" for hit in hits):
            return []
        line.settle([hit.first for hit in hits])
        return [m for hit in self._narrowest(_longest(hits)) for m in self._mentions(hit, line)]

    def _hits(self, pieces: dict[tuple[int, int], list[tuple[int, int]]], line: _Line) -> Iterator[_Hit]:
        for (number, place), spans in pieces.items():
            if place:
                continue
            phrase = self._phrases[number]
            if phrase.parts == 1:
                for span in spans:
                    yield _Hit(phrase, (span,))
                continue
            if any((number, later) not in pieces for later in range(1, phrase.parts)):
                continue
            for span in spans:
                chain = [span]
                for later in range(1, phrase.parts):
                    following = line.next_part(chain[-1][1], pieces[number, later])
                    if following is None:
                        break
                    chain.append(following)
                else:
                    yield _Hit(phrase, tuple(chain))

    def _narrowest(self, hits: list[_Hit]) -> list[_Hit]:
        """Without wider findings said by the words of a narrower one: "degenerative changes of the spine"."""
        if len(hits) < 2:
            return hits
        said: dict[int, set[str]] = defaultdict(set)
        for hit in hits:
            if hit.phrase.kind == "finding":
                for word in hit.words():
                    said[word].update(self.dictionary.ancestors(hit.phrase.findings[0]))
        return [
            hit for hit in hits
            if hit.phrase.kind != "finding" or not any(hit.phrase.findings[0] in said[w] for w in hit.words())
        ]  # fmt: skip

    def _mentions(self, hit: _Hit, line: _Line) -> Iterator[Mention]:
        status = line.status(hit)
        if hit.phrase.kind == "normal":
            status = "absent" if status == "present" else None
        if status is None:
            return
        start, end = line.spans[hit.first][0], line.spans[hit.last - 1][1]
        evidence = line.text[start:end]
        side, size = line.laterality(hit), line.severity(hit)
        for finding in hit.phrase.findings:
            yield Mention(finding, status, evidence, start, end, side, size)


def _longest(hits: Sequence[_Hit]) -> list[_Hit]:
    """Without those whose words all lie in a longer hit, or in an exclusion of their finding."""
    by_size = sorted(hits, key=lambda hit: -hit.size)
    at: dict[int, list[_Hit]] = defaultdict(list)
    kept = []
    for hit in by_size:
        if any(_shadows(rival, hit) for rival in at.get(hit.first, ())):
            continue
        for word in hit.words():
            at[word].append(hit)
        if hit.phrase.kind != "exclusion":
            kept.append(hit)
    return sorted(kept, key=lambda hit: (hit.first, hit.last))


def _shadows(rival: _Hit, hit: _Hit) -> bool:
    """Whether a hit that is as long, or longer, leaves nothing for another to say."""
    if rival.phrase.kind == "normal" or not rival.covers(hit):
        return False
    own = rival.phrase.findings == hit.phrase.findings
    return own or (rival.phrase.kind != "exclusion" and rival.size > hit.size)


@dataclass(frozen=True, slots=True)
class _Reach:
    """Words [start, end) that a trigger acts on; the trigger is words [first, last)."""

    start: int
    end: int
    first: int
    last: int


class _Line:
    """One sentence: its words, the marks found in it, and how far each trigger reaches."""

    def __init__(self, text: str, spans: list[tuple[int, int]]) -> None:
        self.text = text
        self.spans = spans
        self.marks: dict[str, list[tuple[int, int, Any]]] = defaultdict(list)
        self.reach: dict[str, list[_Reach]] = defaultdict(list)

    def between(self, a: int, b: int) -> str:
        """The characters between word a and word b."""
        return self.text[self.spans[a][1] : self.spans[b][0]]

    def next_part(self, after: int, spans: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        """The nearest span within a gap that no mark and no end of a clause closes."""
        for a, b in spans:
            if after <= a <= after + GAP_WORDS:
                if any(after <= x < a for x, _, _ in self.marks["block"]):
                    return None
                if any(set(";:") & set(self.between(i, i + 1)) for i in range(after - 1, a)):
                    return None
                return a, b
        return None

    def settle(self, hits: Sequence[int]) -> None:
        """Find what each trigger reaches. hits: the words at which a phrase begins."""
        n = len(self.spans)
        triggers = [
            (a, b, kind, side)
            for kind in ("negation", "uncertainty", "history")
            for a, b, side in self.marks[kind]
        ]
        pseudo = [(a, b) for a, b, _ in self.marks["pseudo"]]
        spoken = [(a, b) for a, b, _, _ in triggers] + pseudo
        stops = sorted({a for a, b, _ in self.marks["stop"] if not _inside(a, b, spoken)})
        restarts = {a for a, _, _ in self.marks["restart"]}
        commas = [i for i in range(n - 1) if "," in self.between(i, i + 1)]
        walls = [i for i in range(n - 1) if set(";:") & set(self.between(i, i + 1))]
        for a, b, kind, side in triggers:
            if _inside(a, b, pseudo) or _within_longer(a, b, triggers):
                continue
            if side == "before":
                # "may be due to", "could be compatible with": what doubts may hold a stop itself
                ahead = [s for s in stops if s >= b + DOUBT] if kind == "uncertainty" else stops
                end = self._forward(b, n, ahead, walls, commas, restarts)
                self.reach[kind].append(_Reach(b, end, a, b))
            elif (
                kind != "negation"
                or (a, b, kind, "before") not in triggers
                or not any(b <= hit < self._forward(b, n, stops, walls, commas, restarts) for hit in hits)
            ):
                # What acts on either side ("no se observa") acts on what follows where something does.
                self.reach[kind].append(_Reach(self._backward(a, stops, walls, commas), a, a, b))

    def _forward(
        self, start: int, n: int, stops: Sequence[int], walls: Sequence[int], commas: Sequence[int],
        restarts: set[int],
    ) -> int:  # fmt: skip
        end = min([n, *(s for s in stops if s >= start), *(w + 1 for w in walls if w + 1 >= start)])
        for comma in commas:
            if start <= comma + 1 < end and comma + 1 in restarts and not self._listed(comma + 1, end):
                return comma + 1
        return end

    def _backward(self, stop: int, stops: Sequence[int], walls: Sequence[int], commas: Sequence[int]) -> int:
        begin = max([0, *(s for s in stops if s < stop), *(w + 1 for w in walls if w + 1 <= stop)])
        for comma in reversed(commas):
            if begin <= comma < stop and not self._listed(comma + 1, stop):
                return comma + 1
        return begin

    def _listed(self, a: int, b: int) -> bool:
        """Whether a list goes on there: `or`, `nor`, `and` between its members."""
        return any(self._word(i) in ("or", "nor", "ni", "o") for i in range(a, b))

    def _word(self, i: int) -> str:
        a, b = self.spans[i]
        return self.text[a:b].lower()

    def status(self, hit: _Hit) -> Status | None:
        """None: spoken of, but not as a finding of this examination."""
        for kind, status in (("history", None), ("negation", "absent"), ("uncertainty", "uncertain")):
            for one in self.reach[kind]:
                if any(one.start < d and c < one.end for c, d in hit.spans) and not _inside(
                    one.first, one.last, hit.spans
                ):  # a phrase that holds the trigger itself ("no acute disease") means what it says
                    return cast(Status | None, status)
        return "present"

    def laterality(self, hit: _Hit) -> Laterality:
        """The nearest side in the same clause; both sides are bilateral."""
        near = self._near(hit, "laterality", NEAR)
        sides = {value for _, value in near}
        if "bilateral" in sides or {"left", "right"} <= {v for d, v in near if d <= 3}:
            return "bilateral"
        return cast(Laterality, min(near)[1]) if near else ""

    def severity(self, hit: _Hit) -> Severity:
        """The nearest word of size within a few words."""
        near = self._near(hit, "severity", NEAR // 2)
        return cast(Severity, min(near)[1]) if near else ""

    def _near(self, hit: _Hit, kind: str, most: int) -> list[tuple[int, str]]:
        found = []
        for a, b, value in self.marks[kind]:
            distance = max(hit.first - b, a - hit.last, -1) + 1
            if distance <= most and not self._apart(*((b, hit.first) if b <= hit.first else (hit.last, a))):
                found.append((distance, value))
        return found

    def _apart(self, a: int, b: int) -> bool:
        """Whether a clause ends between the word before a and word b."""
        return any(set(";,") & set(self.between(i, i + 1)) for i in range(a - 1, b))


def _inside(a: int, b: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(c <= a and b <= d for c, d in spans)


def _within_longer(a: int, b: int, triggers: Sequence[tuple[int, int, str, str]]) -> bool:
    return any(c <= a and b <= d and d - c > b - a for c, d, _, _ in triggers)
