"""docs/reference/encoders.md is made from the cards: `python -m tests.encoders.test_reference_page`."""

from __future__ import annotations

from pathlib import Path

import radfoundry.encoders as encoders
from radfoundry.cli.encoders import weights_of
from radfoundry.encoders.card import input_text

PAGE = Path(__file__).parents[2] / "docs/reference/encoders.md"
HEAD = """# Encoders

Made from the cards; `radfoundry encoders info NAME` prints one in full. A star marks a licence that has to
be accepted by name.
"""


def reference_page() -> str:
    """The page as Markdown: a table, then the traps of each encoder."""
    columns = "name | dim | input | preparation | embedding | modalities | licence | weights"
    rows = [f"| {columns} |", "|" + "---|" * 8]
    traps = []
    for card in map(encoders.card, encoders.names()):
        star = "*" if card.licence.restricted else ""
        cells = (
            f"`{card.name}`", card.dim, input_text(card.recipe), card.recipe, card.output,
            "any 2D" if len(card.modalities) > 8 else " ".join(card.modalities),
            f"[{card.licence.name}]({card.licence.url}){star}", f"{weights_of(card)}: {card.source}",
        )  # fmt: skip
        rows.append("| " + " | ".join(map(str, cells)) + " |")
        traps += [f"\n### {card.name}\n", f"{card.title}. Cite: {card.citation}.\n"]
        traps += [f"- {trap}" for trap in card.traps]
    return "\n".join([HEAD, *rows, "\n## Known traps", *traps]) + "\n"


def test_reference_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_page(), __doc__


if __name__ == "__main__":
    PAGE.write_text(reference_page(), encoding="utf-8")
