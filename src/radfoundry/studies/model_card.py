"""The model card of a run, as Hugging Face reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from radfoundry.types import Estimate


def card_text(card: Mapping[str, Any], estimates: Sequence[Estimate] = ()) -> str:
    """A model card: YAML front matter as Hugging Face reads it, then headings and text.

    >>> print(card_text({"license": "apache-2.0", "title": "Head", "intended_use": "Research."}))
    ---
    license: apache-2.0
    ---
    <BLANKLINE>
    # Head
    <BLANKLINE>
    ## Intended use
    <BLANKLINE>
    Research.
    <BLANKLINE>
    """
    import yaml

    front_keys = (
        "license",
        "license_name",
        "license_link",
        "language",
        "library_name",
        "pipeline_tag",
        "tags",
        "datasets",
        "metrics",
        "base_model",
    )
    front = {key: card[key] for key in front_keys if key in card}
    parts = [f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()}\n---"]
    parts.append(f"# {card.get('title', 'Model')}")
    for key, text in card.items():
        if key in front or key == "title":
            continue
        body = "\n".join(f"- {item}" for item in text) if isinstance(text, list) else str(text)
        parts.append(f"## {key.replace('_', ' ').capitalize()}\n\n{body}")
    if estimates:
        lines = "\n".join(f"- {', '.join(filter(None, (e.target, e.model)))}: {e}" for e in estimates)
        parts.append(f"## Measured performance\n\n{lines}")
    return "\n\n".join(parts) + "\n"
