"""One sentence: what was found in it, and what each word of denial, doubt, history, side and size reaches."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from radfoundry.text.mentions import Laterality, Severity, Status

GAP_WORDS = 6
"""So many words may stand in a gap of a phrase."""
DOUBT = 4
"""So many words after a word of doubt still belong to its wording."""
NEAR = 8
"""Side and size are looked for within so many words of a finding."""
LABEL = re.compile(r"[^;,.\n]*?(?:[:=\u2013\u2014]|\s-|-\s)")
"""What stands between a label and its answer: "Pneumothorax: none", "Pneumothorax - none"."""
ANSWER_END = re.compile(r"[,;:.()\[\]/|\u2013\u2014]|\s-|-\s")
"""What ends an answer, as does a line that begins with a capital."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """kind: finding, exclusion or normal. findings: its id; all that a normal statement denies."""

    kind: str
    findings: tuple[str, ...]
    parts: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A phrase found in a sentence: spans of word numbers [a, b), one a part."""

    phrase: Phrase
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

    def covers(self, other: Hit) -> bool:
        return all(any(a <= c and d <= b for a, b in self.spans) for c, d in other.spans)


@dataclass(frozen=True, slots=True)
class _Reach:
    """Words [start, end) that a trigger acts on; the trigger is words [first, last)."""

    start: int
    end: int
    first: int
    last: int


class Line:
    """One sentence: its words, the marks found in it, and how far each trigger reaches."""

    def __init__(self, text: str, spans: list[tuple[int, int]]) -> None:
        self.text = text
        self.spans = spans
        self.marks: dict[str, list[tuple[int, int, Any]]] = defaultdict(list)
        self.reach: dict[str, list[_Reach]] = defaultdict(list)
        self.hits: list[tuple[int, int]] = []
        self.labels: list[int] = []
        """Words before a colon or dash."""

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

    def settle(self, hits: Sequence[tuple[int, int]]) -> None:
        """Find what each trigger reaches. hits: words [a, b) of findings and of statements of normality."""
        n = len(self.spans)
        self.hits = sorted(hits)
        triggers = [
            (a, b, kind, side)
            for kind in ("negation", "uncertainty", "history")
            for a, b, side in self.marks[kind]
        ]
        pseudo = [(a, b) for a, b, _ in self.marks["pseudo"]]
        spoken = [(a, b) for a, b, _, _ in triggers] + pseudo
        stops = sorted({a for a, b, _ in self.marks["stop"] if not _inside(a, b, spoken)})
        restarts = {a for a, _, _ in self.marks["restart"]}
        gaps = [(i, gap) for i in range(n - 1) if (gap := self.between(i, i + 1)) != " "]
        commas = [i for i, gap in gaps if "," in gap]
        walls = [i for i, gap in gaps if ";" in gap or ":" in gap]
        self.labels = [i for i, gap in gaps if LABEL.match(gap)]
        answers = self._answers(pseudo, stops, commas, walls) if self.labels else []
        for a, b, kind, side in triggers:
            if _inside(a, b, pseudo) or _inside(a, b, answers) or _within_longer(a, b, triggers):
                continue
            if side == "before":
                ahead = self._ahead(a, b, stops, commas)
                # "may be due to", "could be compatible with": what doubts may hold a stop itself
                ahead = [s for s in ahead if s >= b + DOUBT] if kind == "uncertainty" else ahead
                end = self._forward(b, n, ahead, walls, commas, restarts)
                self.reach[kind].append(_Reach(b, end, a, b))
            elif (
                kind != "negation"
                or (a, b, kind, "before") not in triggers
                or not any(b <= h < self._forward(b, n, stops, walls, commas, restarts) for h, _ in hits)
            ):
                # What acts on either side ("no se observa") acts on what follows where something does.
                self.reach[kind].append(_Reach(self._backward(a, stops, walls, commas), a, a, b))

    def _ahead(self, a: int, b: int, stops: Sequence[int], commas: Sequence[int]) -> Sequence[int]:
        """Stops of what follows a trigger, without those in "no findings consistent with pneumonia".

        In "hyperinflation without consolidation consistent with emphysema" the stop holds.
        """
        bridges = [(c, d) for c, d, _ in self.marks["bridge"] if c >= b]
        if not bridges or any(first < a for first, _ in self.hits):
            return stops
        return [
            s for s in stops
            if not _inside(s, s + 1, bridges) or any(b - 1 <= comma < s for comma in commas)
        ]  # fmt: skip

    def _answers(
        self, pseudo: Sequence[tuple[int, int]], stops: Sequence[int], commas: Sequence[int],
        walls: Sequence[int],
    ) -> list[tuple[int, int]]:  # fmt: skip
        """The answers to labels that name a finding ("Pneumothorax: none"); notes what they reach."""
        found: list[tuple[int, int]] = []
        for a, b, kind in sorted(self.marks["answer"], key=lambda mark: (mark[0], -mark[1])):
            if a - 1 not in self.labels or _inside(a, b, pseudo) or any(a == c for c, _ in found):
                continue
            begin = self._label_begin(a, stops, commas, walls)
            named = any(begin <= first and last <= a for first, last in self.hits)
            if named and self._complete(b, kind, stops):
                self.reach[kind].append(_Reach(begin, a, a, b))
                found.append((a, b))
        return found

    def _label_begin(self, a: int, stops: Sequence[int], commas: Sequence[int], walls: Sequence[int]) -> int:
        """Where the label before word a begins; before a colon a comma may be of its list."""
        ends = [w + 1 for w in (*walls, *self.labels) if w + 1 < a]
        ends += [s for s in stops if s < a and not any(first < s < last for first, last in self.hits)]
        begin = max([0, *ends])
        colon = bool(set(":=") & set(self.between(a - 1, a)))
        said = [x for kind in ("severity", "laterality", "negation", "uncertainty") for x in self.marks[kind]]
        for comma in reversed(commas):
            if begin <= comma < a - 1:
                opens = max([begin, *(c + 1 for c in commas if c < comma)])
                if any(opens <= x <= comma for x, _, _ in said) or not (colon or self._listed(comma + 1, a)):
                    return comma + 1
        return begin

    def _complete(self, b: int, kind: str, stops: Sequence[int]) -> bool:
        """Whether an answer that ends before word b is all that is said of its label."""
        n = len(self.spans)
        kinds = ("answer_end", "laterality", *(("severity",) if kind == "uncertainty" else ()))
        ends = {w for name in kinds for c, d, _ in self.marks[name] for w in range(c, d)}
        at = b
        while at < n and at in ends and not self._answered(at):
            at += 1
        if at == n:
            return True
        labelled = any(first == at and last - 1 in self.labels for first, last in self.hits)
        if not labelled and at not in stops and not self._answered(at):
            return False
        # "None on the right, small on the left": more is said of it before another finding is
        rest = min([n, *(i for i in self.labels if i >= at)])
        other = min([n, *(first for first, _ in self.hits if first >= at)])
        if other <= rest:
            rest = max([at, *(i for i in range(at, other) if self._apart(i, i))]) if other < n else n
        return not any(at <= c < rest for name in ("laterality", "severity") for c, _, _ in self.marks[name])

    def _answered(self, at: int) -> bool:
        gap = self.between(at - 1, at)
        return bool(ANSWER_END.search(gap)) or ("\n" in gap and not self.text[self.spans[at][0]].islower())

    def labelled(self, hit: Hit) -> int | None:
        """The word at which the statement under a label ends that holds the finding and nothing more."""
        k = bisect_left(self.labels, hit.last - 1)
        if k == len(self.labels) or self.labels[k] != hit.last - 1:
            return None
        begin = self.labels[k - 1] + 1 if k else 0
        begin = max([begin, *(i + 1 for i in range(begin, hit.first) if self._apart(i + 1, i + 1))])
        if hit.first - begin > 1 or any(
            begin <= c < hit.last for name in ("laterality", "severity") for c, _, _ in self.marks[name]
        ):
            return None
        return self.labels[k + 1] if k + 1 < len(self.labels) else len(self.spans)

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

    def status(self, hit: Hit) -> Status | None:
        """None: spoken of, but not as a finding of this examination."""
        for kind, status in (("history", None), ("negation", "absent"), ("uncertainty", "uncertain")):
            for one in self.reach[kind]:
                if any(one.start < d and c < one.end for c, d in hit.spans) and not _inside(
                    one.first, one.last, hit.spans
                ):  # a phrase that holds the trigger itself ("no acute disease") means what it says
                    return cast(Status | None, status)
        return "present"

    def laterality(self, hit: Hit) -> Laterality:
        """The nearest side in the same clause; both sides are bilateral."""
        near = self._near(hit, "laterality", NEAR)
        beyond = []
        if near and (self.marks["side_stop"] or self.marks["direction"]):
            beyond = [one for one in near if self._beyond(hit, one[2])]
            near = [one for one in near if one not in beyond] or [one for one in beyond if one[2] < hit.first]
        sides = {value for _, value, _ in near}
        if "bilateral" in sides or {"left", "right"} <= {v for d, v, _ in near if d <= 3}:
            return "bilateral"
        return cast(Laterality, min(near)[1]) if near else ""

    def _beyond(self, hit: Hit, at: int) -> bool:
        """Whether a side belongs to something else: "pneumothorax with shift to the left"."""
        bridges = [(c, d) for c, d, _ in self.marks["bridge"]]
        a, b = (hit.spans[0][1], at) if at >= hit.last else (at, hit.first)
        if any(a <= c < b and not _inside(c, d, bridges) for c, d, _ in self.marks["side_stop"]):
            return True
        # Right behind the finding it is its own: "mediastinal shift to the left"
        return at >= hit.last and any(hit.last + 1 < c < at for c, _, _ in self.marks["direction"])

    def severity(self, hit: Hit) -> Severity:
        """The nearest word of size within a few words."""
        near = self._near(hit, "severity", NEAR // 2)
        return cast(Severity, min(near)[1]) if near else ""

    def _near(self, hit: Hit, kind: str, most: int) -> list[tuple[int, str, int]]:
        """Distance in words, value and first word of each mark in the clause."""
        found = []
        first, last = hit.first, hit.last
        for a, b, value in self.marks[kind]:
            distance = max(first - b, a - last, -1) + 1
            if distance <= most and not self._apart(*((b, first) if b <= first else (last, a))):
                found.append((distance, value, a))
        return found

    def _apart(self, a: int, b: int) -> bool:
        """Whether a clause ends between the word before a and word b."""
        return any(set(";,") & set(self.between(i, i + 1)) for i in range(a - 1, b))


def _inside(a: int, b: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(c <= a and b <= d for c, d in spans)


def _within_longer(a: int, b: int, triggers: Sequence[tuple[int, int, str, str]]) -> bool:
    return any(c <= a and b <= d and d - c > b - a for c, d, _, _ in triggers)
