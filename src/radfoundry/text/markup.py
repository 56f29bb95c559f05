"""HTML, RTF and HL7 version 2 to plain text, told by content and never by the name of a file."""

from __future__ import annotations

import html
import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

from radfoundry.errors import InputError
from radfoundry.text.mentions import MOST_CHARACTERS

NEWLINE = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def plain_text(raw: str) -> tuple[str, tuple[str, ...]]:
    """Plain text with \\n between lines, and the markup that was taken off ("HL7", "RTF", "HTML").

    >>> plain_text("<p>Nodule &lt; 5 mm.</p><p>No effusion.</p>")
    ('Nodule < 5 mm.\\nNo effusion.', ('HTML',))
    >>> plain_text("Nodule < 5 mm, no change > 1 year.")
    ('Nodule < 5 mm, no change > 1 year.', ())

    Raises InputError for zero bytes, several HL7 messages in one, or more than ten times MOST_CHARACTERS.
    """
    if len(raw) > 10 * MOST_CHARACTERS:
        raise InputError(f"has {len(raw):,} characters, more than {MOST_CHARACTERS:,}")
    if "\0" in raw:
        raise InputError("holds binary data (zero bytes), no text")
    text, kinds = NEWLINE.sub("\n", raw), []
    if SEGMENT.search(text):
        text, kinds = _from_hl7(text), ["HL7"]
    if text.lstrip().startswith("{\\rtf"):
        text, kinds = _from_rtf(text), [*kinds, "RTF"]
    elif TAG.search(text) or ENTITY.search(text):
        text, kinds = _from_html(text), [*kinds, "HTML"]
    return CONTROL.sub("", NEWLINE.sub("\n", text)).strip(), tuple(kinds)


NAMES = ("html|head|body|title|meta|p|br|div|span|[uod]l|li|dt|dd|table|thead|tbody|t[rdh]|b|i|u|em|strong"
         "|pre|h[1-6]|font|style|script|a|su[pb]|hr|center|section")  # fmt: skip
ATTRIBUTE = r"""\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'|[^\s<>"']+)"""
TAG = re.compile(rf"</?(?:{NAMES})(?:{ATTRIBUTE})*\s*/?>|<!doctype\s+html", re.IGNORECASE)
BLOCKS = "p|div|[uod]l|li|d[td]|table|tr|h[1-6]|hr|section|center"
ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
STRAY = re.compile(r"<(?![^<>]*>)|<(?![a-zA-Z/!?])")


class _Text(HTMLParser):
    """Collects what a reader would see."""

    def __init__(self, flowing: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden = ""
        self.flowing = flowing

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("script", "style", "title"):
            self.hidden = tag
        elif tag == "br" or re.fullmatch(BLOCKS, tag):
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.hidden:
            self.hidden = ""
        elif re.fullmatch(BLOCKS, tag):
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(re.sub(r"\s+", " ", data) if self.flowing else data)


def _from_html(text: str) -> str:
    """Where no tag breaks lines, the line breaks of the source are the report's own and are kept."""
    opened = text.split("<!--")
    text = opened[0] + "".join(part.partition("-->")[2] for part in opened[1:])
    if not TAG.search(text):
        return html.unescape(text)
    # the parser would search all that follows for the end of every stray '<'
    parser = _Text(bool(re.search(rf"<(?:br|{BLOCKS})\b", text, re.IGNORECASE)))
    parser.feed(STRAY.sub("&lt;", text))
    parser.close()
    lines = (line.strip() if parser.flowing else line for line in "".join(parser.parts).split("\n"))
    return re.sub(r"\n{2,}", "\n", "\n".join(lines)) if parser.flowing else "\n".join(lines)


SEGMENT = re.compile(r"^[ \t]*(?:MSH([^\w\s])\S{3,5}\1|(?:PID|PV1|ORC|OBR|NTE|OBX)\|)", re.MULTILINE)
HL7_LETTERS = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", "H": "", "N": ""}
HL7_ESCAPE = re.compile(
    r"\\([FSTREHN]|\.(?:br|sp|ce|fi|nf|in|ti|sk)[+-]?\d{0,4}|X(?:[0-9A-Fa-f]{2}){1,99})\\"
)


def _from_hl7(text: str) -> str:
    """Text of the OBX segments of type TX, FT and ST; every other segment is dropped."""
    sign = next((found[1] for found in SEGMENT.finditer(text) if found[1]), "|")
    found: list[str] = []
    heads: Counter[str] = Counter()
    inside = False
    for line in text.split("\n"):
        head, *fields = line.lstrip().split(sign)
        if fields and re.fullmatch("[A-Z][A-Z0-9]{2}", head):
            heads[head] += 1
            inside = head == "OBX" and len(fields) > 4 and fields[1] in ("TX", "FT", "ST")
            found += fields[4].split("~") if inside else []
        elif inside and line.strip():  # senders that break lines within a field
            found += line.split(sign, 1)[0].split("~")
    if heads["MSH"] > 1 or heads["PID"] > 1:
        raise InputError("holds several HL7 messages. Split it: one report a file or row")
    return "\n".join(HL7_ESCAPE.sub(_hl7_letter, line) for line in found)


def _hl7_letter(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] == "X":
        return bytes.fromhex(code[1:]).decode("cp1252", errors="replace")
    return HL7_LETTERS.get(code, "\n" if code[:3] in (".br", ".sp", ".ce") else " ")


RTF = re.compile(
    r"\\'(?P<byte>[0-9a-fA-F]{2})|\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?"
    r"|\\(?P<sign>[^a-zA-Z])|(?P<brace>[{}])|\n|(?P<text>[^\\{}\n]+)|\\"
)
RTF_SKIPPED = re.compile("fonttbl|colortbl|stylesheet|info|pict|object|(header|footer)[lrf]?|fldinst")
"""Groups without text of the page, besides those that a star marks."""
RTF_WORDS = {**dict.fromkeys(("par", "line", "sect", "page", "row", "\n"), "\n"), "tab": "\t", "cell": "\t",
             "emdash": "—", "endash": "–", "bullet": "•", "lquote": "‘", "rquote": "’", "ldblquote": "“",
             "rdblquote": "”", "~": " ", "_": "-", "\\": "\\", "{": "{", "}": "}"}  # fmt: skip
PAGES = {n: f"cp{n}" for n in (437, 850, 852, 866, 874, 932, 936, 949, 950, *range(1250, 1259))}


def _from_rtf(text: str) -> str:
    """The visible text of an RTF document (RTF 1.9.1); groups that hold no text of the page are skipped."""
    out: list[str] = []
    groups: list[tuple[bool, int]] = []
    hidden, stand_in = False, 1  # stand_in: characters after a \u for readers that do not know it
    page, pending, skip, at = "cp1252", bytearray(), 0, 0
    while (match := RTF.match(text, at)) is not None:
        at = match.end()
        word, number = match["word"] or match["sign"] or "", int(match["number"] or 0)
        shown = ""
        if match["byte"]:
            if skip:
                skip -= 1
            elif not hidden:  # bytes that follow each other may be one letter
                pending += bytes.fromhex(match["byte"])
            continue
        if pending:
            out.append(pending.decode(page, errors="replace"))
            pending.clear()
        if match["brace"] == "{":
            groups.append((hidden, stand_in))
            skip = 0
        elif match["brace"] and groups:
            hidden, stand_in = groups.pop()
        elif match["text"]:
            shown = match["text"][skip:]
            skip = max(0, skip - len(match["text"]))
        elif word == "*" or RTF_SKIPPED.fullmatch(word):
            hidden = True
        elif word == "bin":
            at += max(0, number)
        elif word == "ansicpg":
            page = PAGES.get(number, "utf-8" if number == 65001 else "cp1252")
        elif word == "uc":
            stand_in = max(0, number)
        elif word == "u":
            shown, skip = chr(number % 65536), stand_in
        else:
            shown = RTF_WORDS.get(word, "")
        if not hidden:
            out.append(shown)
    out.append(pending.decode(page, errors="replace"))
    return "".join(out).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
