"""A report cut into sections and sentences, as spans of its characters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from radfoundry.text.context import Context
from radfoundry.text.phrases import fold

COUNTED = ("findings", "impression", "")
"""Sections whose statements are findings; "" is text under no header."""

END = re.compile(
    r"[.!?]+(?=[\s\"')\]]*(?:\s|$))"  # a full stop before a space
    r"|(?<=[a-z)])\.(?=[A-Z])"  # the space was forgotten
    r"|\n\s*\n|\n(?=\s*(?:[-*\u2022]|\d{1,2}[.)]\s))|\n(?=[ \t]*[A-Z][A-Z /]{2,40}:)"
)


@dataclass(frozen=True, slots=True)
class Section:
    """text[start:end] under a header of a kind, without the header; kind is "" under none."""

    kind: str
    start: int
    end: int


class Splitter:
    """Sections by the headers of a language, sentences by punctuation and line structure."""

    def __init__(self, context: Context) -> None:
        self.kinds = {fold(h): kind for kind, headers in context.sections.items() for h in headers}
        options = "|".join(
            re.escape(h).replace(r"\ ", r"\s+") for h in sorted(self.kinds, key=len, reverse=True)
        )
        # A header stands at the start of a line or sentence, or anywhere when in capitals before a colon.
        self.header = re.compile(
            rf"(?:^|(?<=[.;!?\s]))[ \t>*_#]*(?P<name>{options})[ \t*_]*(?P<mark>:|[ \t]-\s|(?=\r?\n))",
            re.IGNORECASE,
        )
        self.abbreviations = {fold(word).rstrip(".") for word in context.abbreviations}

    def sections(self, text: str) -> list[Section]:
        """Spans in order; the headers themselves belong to none."""
        folded = fold(text)
        found: list[Section] = []
        kind, start = "", 0
        for match in self.header.finditer(folded):
            if not self._is_header(text, match):
                continue
            if match.start() > start:
                found.append(Section(kind, start, match.start()))
            kind, start = self.kinds[" ".join(match["name"].split())], match.end()
        if start < len(text):
            found.append(Section(kind, start, len(text)))
        return found

    def _is_header(self, text: str, match: re.Match[str]) -> bool:
        """Words in the middle of a sentence are headers only in capitals with a colon."""
        before = text[: match.start("name")].rstrip(" \t>*_#")
        opens_line = not before or before.endswith(("\n", "\r"))
        name = text[match.start("name") : match.end("name")]
        if match["mark"] == ":":
            return (
                opens_line or name.isupper() or (before.endswith((".", ";", "!", "?")) and name[0].isupper())
            )
        return opens_line and name[0].isupper()

    def sentences(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Spans of the sentences of text[start:end]."""
        at = start
        for match in END.finditer(text, start, end):
            if match.group().startswith(".") and self._abbreviated(text, match.start()):
                continue
            if match.end() > at:
                yield at, match.end()
            at = match.end()
        if at < end:
            yield at, end

    def _abbreviated(self, text: str, stop: int) -> bool:
        begin = stop
        while begin > 0 and (text[begin - 1].isalpha() or text[begin - 1] == "."):
            begin -= 1
        word = fold(text[begin:stop])
        return word in self.abbreviations or (len(word) == 1 and word.isalpha() and stop - begin == 1)
