"""`radfoundry encoders [list | info NAME]`: cards, licences, what is installed. Loads no model."""

from __future__ import annotations

import json as jsonlib
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import tyro

from radfoundry import encoders
from radfoundry.encoders import extractors
from radfoundry.encoders.card import EncoderCard, input_text, value_range
from radfoundry.encoders.extractors import ExtractorCard
from radfoundry.errors import RadfoundryError


@dataclass(frozen=True)
class Encoders:
    """List encoder cards, or print one."""

    action: tyro.conf.Positional[Literal["list", "info"]] = "list"
    """list: one row an encoder. info: the whole card of one."""
    name: tyro.conf.Positional[str] = ""
    """Which encoder, for info."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        if self.action == "info":
            return self._info()
        cards = [encoders.card(name) for name in encoders.names()]
        others = [extractors.card(name) for name in extractors.names()]
        if self.json:
            records = [*(card.as_dict() for card in cards), *(other.as_dict() for other in others)]
            print(jsonlib.dumps(records, indent=2, ensure_ascii=False))
        else:
            print(table(cards, others))
        return 0

    def _info(self) -> int:
        if not self.name:
            raise RadfoundryError("say which encoder: radfoundry encoders info NAME")
        if extractors.is_extractor(self.name):
            other = extractors.card(self.name)
            content, text = other.as_dict(), extractor_page(other)
        else:
            card = encoders.card(self.name)
            content, text = card.as_dict(), page(card)
        print(jsonlib.dumps(content, indent=2, ensure_ascii=False) if self.json else text)
        return 0


def table(cards: list[EncoderCard], others: list[ExtractorCard]) -> str:
    """One row an encoder or extractor; a star marks a licence that has to be accepted by name."""
    rows = [("name", "dim", "input", "made for", "licence", "weights", "runs here")]
    for card in cards:
        rows.append(
            (
                card.name,
                str(card.dim),
                input_text(card.recipe),
                made_for(card),
                card.licence.name + ("*" if card.licence.restricted else ""),
                weights_of(card),
                "yes" if card.installed else f"needs [{card.extra}]",
            )
        )
    for other in others:
        runs = "yes" if other.installed else f"needs [{other.extra}]"
        rows.append((other.name, str(other.dim), "mask", "any 3D", other.licence.name, "none", runs))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = (
        "\n\n* restricted: pass --accept-licence NAME where the encoder is used."
        "\nneeds [x]: pip install 'radfoundry[x]'. Also: random:NAME, hf-hub:org/name@revision, local:/path."
        "\nradiomics:SETTINGS chooses features and bins. One card in full: radfoundry encoders info NAME"
    )
    return "\n".join(lines) + notes


def page(card: EncoderCard) -> str:
    """The whole card as text."""
    ends = value_range(card.recipe)
    values = f"values {ends[0]:g} to {ends[1]:g}" if ends else "values of no fixed range"
    colour = "; colour accepted" if card.colour else "; grey only"
    lesion = "; each case points out a lesion" if card.needs_lesion else ""
    licence = f"{card.licence.name}: {card.licence.allowed_use} ({card.licence.url})"
    if card.licence.restricted:
        licence += f". Restricted: pass --accept-licence {card.licence.name}"
    extra = f"pip install 'radfoundry[{card.extra}]'"
    fields = {
        "source": f"{card.source} @ {card.revision}",
        "weights": weights_of(card) + (f", {card.weights_file}" if card.weights_file else ""),
        "checksum": f"SHA-256 {card.checksum}" if card.checksum else "none published; the digest is recorded",
        "licence": licence,
        "modalities": " ".join(card.modalities) + ("; volumes" if card.is_3d else colour),
        "photometric": card.photometric,
        "input": f"{input_text(card.recipe)}, {values}{lesion}",
        "preparation": str(card.recipe),
        "embedding": f"{card.output}; {card.dim} numbers",
        "runs here": "yes" if card.installed else f"no: {extra}",
        "cite": card.citation,
    }
    return _page(f"{card.name}: {card.title}", fields, card.traps)


def extractor_page(card: ExtractorCard) -> str:
    """The whole card of features that no network makes, as text."""
    fields = {
        "licence": f"{card.licence.name}: {card.licence.allowed_use} ({card.licence.url})",
        "modalities": ", ".join(card.modalities),
        "preparation": card.recipe,
        "features": f"{card.output}; {card.dim} numbers",
        "runs here": "yes" if card.installed else f"no: pip install 'radfoundry[{card.extra}]'",
        "cite": card.citation,
    }
    return _page(f"{card.name}: {card.title}", fields, card.traps)


def _page(title: str, fields: Mapping[str, str], traps: Sequence[str]) -> str:
    lines = [title, ""]
    for label, text in fields.items():
        lines += textwrap.wrap(f"{label:<12} {text}", 100, subsequent_indent=" " * 13, break_long_words=False)
    lines += ["", "Known traps"]
    for trap in traps:
        lines += textwrap.wrap(f"- {trap}", 100, subsequent_indent="  ")
    return "\n".join(lines)


def made_for(card: EncoderCard) -> str:
    """The modalities in a word or two."""
    if len(card.modalities) > 8:
        return "any 3D" if card.is_3d else "any 2D"
    return " ".join(card.modalities) + (" 3D" if card.is_3d else "")


def weights_of(card: EncoderCard) -> str:
    """Where the weights come from, in a word."""
    kinds = {"package": "packaged", "hf-hub": "hub", "url": "download", "local": "local", "none": "none"}
    return kinds[card.source.partition(":")[0]]
