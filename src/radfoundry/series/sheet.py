"""The contact sheet: one HTML page of all series, the unsure ones first, on which a person corrects labels.

Thumbnails are JPEG inside the page, some 4 KB each, so the page is one file that may be moved or sent: 2,000
series make about 12 MB. Browsers lay out and decode only the cards in view. The page asks nobody for
anything: its security policy forbids every request and every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.errors import RunError
from radfoundry.series import labels as names
from radfoundry.series.labels import Label, Labels
from radfoundry.series.origin import LEGIBLE

SIDE = 176
"""Longest side of a thumbnail in pixels."""
QUALITY = 80
SEARCHED = ("label", "anatomy", "path_in", "path_out", "subject")
TEMPLATES = Path(__file__).with_name("templates")


def write_sheet(
    rows: Sequence[Mapping[str, Any]], out_html: Path | str, *,
    thumbnails: Mapping[str, np.ndarray | None] | None = None,
    facts: Mapping[str, Sequence[str]] | None = None, unshown: Mapping[str, str] | None = None,
    labels: Labels | None = None, title: str = "MRI series",
) -> Path:  # fmt: skip
    """Write the page and return its path.

    rows: as `Index.rows` or `index_row` make them, each with a uid of its own (`find.unique_ids`).
    thumbnails: that uid -> (rows, columns) uint8. facts: that uid -> short phrases, such as `rules.explain`
    makes. unshown: that uid -> why its picture may not be shown (`origin.unshown`); pictures of screenshots
    and of what is not MR are never shown. Raises RunError where the page cannot be written.
    """
    known, reasons = labels or names.load(), unshown or {}
    cards = sorted(
        (_card(i, row, (thumbnails or {}).get(row["uid"]), (facts or {}).get(row["uid"], ()), known,
               reasons.get(row["uid"], "") or LEGIBLE.get(row["kind"], ""))
         for i, row in enumerate(rows)),
        key=lambda card: card["order"],
    )  # fmt: skip
    text = _render(cards, known, title)
    path = Path(out_html)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as cause:
        raise RunError(f"{path} cannot be written: {cause.strerror or cause}. Pass another place") from cause
    return path


def _render(cards: Sequence[Mapping[str, Any]], labels: Labels, title: str) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("radfoundry.series"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    script = (TEMPLATES / "sheet.js").read_text(encoding="utf-8")
    uids = "\n".join(sorted(card["uid"] for card in cards))
    data = {
        "sheet": hashlib.sha256(uids.encode("utf-8", "replace")).hexdigest()[:16],
        "modalities": _options(labels.modalities),
        "kinds": _options(labels.kinds),
        "anatomies": _options(labels.anatomies),
    }
    return environment.get_template("sheet.html.j2").render(
        title=title, cards=cards, data=data, script=script, hash=_hash(script),
        counts=Counter(card["label"] for card in cards), parts=Counter(card["anatomy"] for card in cards),
        unsure=sum(card["unsure"] for card in cards), left=sum(bool(card["left_out"]) for card in cards),
    )  # fmt: skip


def _hash(script: str) -> str:
    """What allows this very script in the page's security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _options(labels: Mapping[str, Label]) -> list[list[str]]:
    return [[label.id, label.name] for label in labels.values()]


def _card(
    number: int, row: Mapping[str, Any], thumbnail: np.ndarray | None, facts: Sequence[str], labels: Labels,
    unshown: str,
) -> dict[str, Any]:  # fmt: skip
    """What the template shows of one series; `order` puts the least sure first, problems next."""
    confidence = row["confidence"]
    modality, kind = row["modality"], row["kind"] or ""
    known = labels.kinds.get(kind) or labels.modalities.get(modality)
    first = 0 if row["unsure"] else 1 if row["problem"] else 2
    return {
        **{name: row[name] for name in ("uid", "label", "anatomy", "source", "problem", "left_out")},
        "modality": modality, "kind": kind, "unsure": bool(row["unsure"]), "number": row["number"],
        "subject": row["subject"], "session": row["session"], "files": row["files"],
        "name": known.name if known else "", "part": _name(labels.anatomies, row["anatomy"]),
        "confidence": None if confidence is None or np.isnan(confidence) else float(confidence),
        "candidates": [label for label in _listed(row["candidates"]) if label != row["label"]][:6],
        "trace": _listed(row["trace"]), "notes": _listed(row["notes"]),
        "facts": list(facts) or _own_facts(row), "folder": row["path_in"],
        "picture": None if unshown else _picture(thumbnail), "unshown": unshown,
        "order": (first, confidence if first == 0 and confidence is not None else 0.0, number),
        "search": " ".join(map(str, (*(row[name] for name in SEARCHED), *facts))).lower(),
    }  # fmt: skip


def _name(labels: Mapping[str, Label], label: str) -> str:
    return labels[label].name if label in labels else label


def _listed(value: Any) -> list[str]:
    """A tuple of an index row, or the text that its CSV holds."""
    if isinstance(value, str):
        value = value.split("; ") if value else ()
    return [str(part) for part in value]


def _own_facts(row: Mapping[str, Any]) -> list[str]:
    """Facts that the index has, where no others were given."""
    echoes, b_values = _listed(row["echo_times"]), _listed(row["b_values"])
    return [
        fact
        for fact in (
            row["plane"], row["dimension"], "TE " + ", ".join(echoes[:4]) if echoes else "",
            "b " + ", ".join(b_values[:4]) if b_values else "",
            "fat suppressed" if row["fat_suppressed"] else "", "agent" if row["contrast_agent"] else "",
        )
        if fact
    ]  # fmt: skip


def _picture(thumbnail: np.ndarray | None) -> dict[str, Any] | None:
    """A thumbnail as a data URI with its size; None where there is none."""
    if thumbnail is None or thumbnail.ndim != 2 or 0 in thumbnail.shape:
        return None
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(thumbnail, np.uint8))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    return {"uri": f"data:image/jpeg;base64,{data}", "width": image.width, "height": image.height}
