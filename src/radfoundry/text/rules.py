"""Findings by rules: wordings of a dictionary in one automaton, then denial, doubt and history around them.

All wordings of all findings, and all trigger words of the language, stand in one Aho-Corasick automaton over
the stemmed words of a sentence (pyahocorasick), so the time hardly grows with the number of findings. Around
each hit the triggers of the sentence decide, after NegEx (Chapman et al. 2001, doi:10.1006/jbin.2001.1029)
and ConText (Harkema et al. 2009, doi:10.1016/j.jbi.2009.05.002): a trigger reaches forwards or backwards up
to a word that begins another statement.
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from radfoundry.errors import InputError, Notice
from radfoundry.optional import require
from radfoundry.text.context import SAMPLE, Context, foreign, of_language
from radfoundry.text.findings import Dictionary
from radfoundry.text.mentions import Extraction, Mention, Report, strongest
from radfoundry.text.phrases import WORD, fold, parts, stem, words
from radfoundry.text.reach import GAP_WORDS as GAP_WORDS
from radfoundry.text.reach import Hit, Line, Phrase
from radfoundry.text.sections import COUNTED, Splitter

CODE_VERSION = 3
MOST_WORDS = 300
"""A longer sentence is no sentence, and is read in pieces of so many words."""
NEXT_LABEL = re.compile(r"\n(?=[ \t]*[^\W_]+(?:[ \t/]+[^\W_]+){0,4}[ \t]*:)")
"""A line that begins with a label begins a statement, with or without a full stop before it."""


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
        self._phrases: list[Phrase] = []
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
        """One extraction a report, in their order; one Notice where they are in another language."""
        sample: list[str] = []
        for report in reports:
            if len(sample) < SAMPLE:
                sample.append(report.text)
                if len(sample) == SAMPLE:
                    self._warn_of_language(sample)
            yield Extraction(report.report_id, strongest(self.read(report.text)))
        if len(sample) < SAMPLE:
            self._warn_of_language(sample)

    def _warn_of_language(self, texts: Sequence[str]) -> None:
        other = foreign(texts, self.context)
        if other:
            warnings.warn(
                f"most of these reports seem to be in {other!r}, but {self.dictionary.name} is in "
                f"{self._language!r}: that it finds nothing there says nothing. Give a dictionary with "
                f"`language: {other}`",
                Notice,
                stacklevel=3,
            )

    def read(self, text: str) -> list[Mention]:
        """Every mention in the sections that count, in the order of the text."""
        folded = fold(text)
        found: list[Mention] = []
        for section in self.splitter.sections(text):
            if section.kind in COUNTED:
                for start, end in self._statements(text, section.start, section.end):
                    spans = [match.span() for match in WORD.finditer(folded, start, end)]
                    for at in range(0, len(spans), MOST_WORDS):
                        found += self._sentence(text, folded, spans[at : at + MOST_WORDS])
        return found

    def _statements(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Sentences; lines of a list "label: answer" are one each."""
        for begin, stop in self.splitter.sentences(text, start, end):
            for match in NEXT_LABEL.finditer(text, begin, stop):
                yield begin, match.end()
                begin = match.end()
            yield begin, stop

    # -- building -----------------------------------------------------------------------------------

    def _add(self, phrase: str, kind: str, findings: tuple[str, ...]) -> None:
        pieces = parts(phrase, self._language)
        number = len(self._phrases)
        self._phrases.append(Phrase(kind, findings, len(pieces)))
        for place, piece in enumerate(pieces):
            for wording in piece:
                self._keys[" ".join(wording)].append(("part", (number, place)))

    def _add_context(self) -> None:
        context = self.context
        marks: list[tuple[str, Any, Sequence[str]]] = [
            *((kind, side, phrases) for (kind, side), phrases in context.reaches.items() if side != "answer"),
            # What denies a finding behind it answers its label too: "is absent", "not seen".
            *(("answer", kind, phrases) for (kind, side), phrases in context.reaches.items()
              if side != "before"),
            ("pseudo", "", context.pseudo_negation), ("stop", "", context.stop),
            ("restart", "", context.restart), ("block", "", context.block),
            ("bridge", "", context.bridge), ("answer_end", "", context.answer_end),
            ("side_stop", "", context.side_stop), ("direction", "", context.direction),
        ]  # fmt: skip
        marks += [("laterality", value, [phrase]) for phrase, value in context.laterality.items()]
        marks += [("severity", value, [phrase]) for phrase, value in context.severity.items()]
        for kind, value, phrases in marks:
            for phrase in phrases:
                self._keys[" ".join(words(phrase, self._language))].append((kind, value))

    # -- reading ------------------------------------------------------------------------------------

    def _sentence(self, text: str, folded: str, spans: list[tuple[int, int]]) -> list[Mention]:
        stems = [stem(folded[a:b], self._language) for a, b in spans]
        line = Line(text, spans)
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
        line.settle([(hit.first, hit.last) for hit in hits if hit.phrase.kind != "exclusion"])
        said = [(hit, m) for hit in self._narrowest(_longest(hits)) for m in self._mentions(hit, line)]
        if not line.labels:
            return [one for _, one in said]
        return [one for hit, one in said if not self._only_label(hit, one, said, line)]

    def _only_label(
        self, hit: Hit, one: Mention, said: Sequence[tuple[Hit, Mention]], line: Line
    ) -> bool:  # fmt: skip
        """Whether it heads a statement that denies or doubts it: "Pneumothorax: No pneumothorax".

        "Fracture: no rib fracture" speaks of fractures no more; "Effusion: no loculation" leaves one.
        """
        end = line.labelled(hit) if one.status == "present" else None
        if end is None:
            return False
        last = hit.last
        statuses = {
            other.status for later, other in said
            if last <= later.first < end and self._repeats(other, one)
        }  # fmt: skip
        return bool(statuses) and "present" not in statuses

    def _repeats(self, other: Mention, one: Mention) -> bool:
        if other.finding == one.finding:
            return True
        if other.finding in self.dictionary.ancestors(one.finding):
            return other.status == "absent"
        if one.finding not in self.dictionary.ancestors(other.finding):
            return False
        return words(other.evidence, self._language)[-1] == words(one.evidence, self._language)[-1]

    def _hits(self, pieces: dict[tuple[int, int], list[tuple[int, int]]], line: Line) -> Iterator[Hit]:
        for (number, place), spans in pieces.items():
            if place:
                continue
            phrase = self._phrases[number]
            if phrase.parts == 1:
                for span in spans:
                    yield Hit(phrase, (span,))
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
                    yield Hit(phrase, tuple(chain))

    def _narrowest(self, hits: list[Hit]) -> list[Hit]:
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

    def _mentions(self, hit: Hit, line: Line) -> Iterator[Mention]:
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


def _longest(hits: Sequence[Hit]) -> list[Hit]:
    """Without those whose words all lie in a longer hit, or in an exclusion of their finding."""
    by_size = sorted(hits, key=lambda hit: -hit.size)
    at: dict[int, list[Hit]] = defaultdict(list)
    kept = []
    for hit in by_size:
        if any(_shadows(rival, hit) for rival in at.get(hit.first, ())):
            continue
        for word in hit.words():
            at[word].append(hit)
        if hit.phrase.kind != "exclusion":
            kept.append(hit)
    return sorted(kept, key=lambda hit: (hit.first, hit.last))


def _shadows(rival: Hit, hit: Hit) -> bool:
    """Whether a hit that is as long, or longer, leaves nothing for another to say."""
    if rival.phrase.kind == "normal" or not rival.covers(hit):
        return False
    own = rival.phrase.findings == hit.phrase.findings
    return own or (rival.phrase.kind != "exclusion" and rival.size > hit.size)
