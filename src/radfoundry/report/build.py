"""A run folder, summarised: the JSON that the page fills in, `radfoundry show` prints and tests compare.

Nothing is computed here. Every number comes from metrics.json or from a table a study stored; this module
picks, orders and words them.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radfoundry.errors import RunError

FORMAT = 1

# key: (title, shown half as wide). A key may carry a suffix, `roc-external`; None is the place of all others.
PLACES: dict[str | None, tuple[str, bool]] = {
    "question": ("The question", False),
    "table_one": ("Table 1. Who was studied", False),
    "flow": ("Flow of cases", False),
    "performance": ("Performance", False),
    "roc": ("ROC curve", True),
    "precision_recall": ("Precision and recall", True),
    "scores": ("Distribution of scores", True),
    "calibration": ("Calibration", True),
    "decision_curve": ("Decision curve", True),
    "history": ("Training history", True),
    "thresholds": ("Operating points", False),
    "subgroups": ("Subgroups", False),
    "comparison": ("Comparison of models", False),
    "comparison_table": ("Paired tests", False),
    None: ("", False),
    "audit": ("Audit: can the score be believed?", False),
    "errors": ("Most confident errors", False),
    "methods": ("Methods", False),
}
KINDS = ("text", "table", "figure", "gallery", "estimates", "audit", "texts")

# Words for the metrics' names, as they stand in a paper.
LABELS = {
    "auroc": "AUC (ROC)",
    "auprc": "Average precision",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "sens_at_spec90": "Sensitivity at 90 % specificity",
    "prevalence": "Prevalence",
    "mcc": "Matthews correlation",
}


def build(run_dir: Path | str, *, embed: bool = True) -> dict[str, Any]:
    """Everything the report shows, JSON-ready.

    embed: put figures (SVG text) and pictures (data URIs) in, as the page needs them; without, only their
    paths within the run folder.

    Raises RunError when the folder is no run folder, or its files cannot be read.
    """
    folder = Path(run_dir)
    manifest = _read(folder, "manifest.json")
    if manifest.get("format") != FORMAT:
        raise RunError(
            f"{folder} has run format {manifest.get('format')!r}; this version reads {FORMAT}. "
            "Use the version of radfoundry that wrote it"
        )
    estimates = [describe(record, index) for index, record in enumerate(_read(folder, "metrics.json"))]
    content = _read(folder, "sections.json")
    warnings = list(content.get("notes", []))
    sections = [_section(section, estimates, folder, embed) for section in content.get("sections", [])]
    verdict = next((s for s in sections if s["key"] == "verdict"), None) or _default_verdict(estimates)
    for item in verdict["items"]:
        if item["estimate"] is None:
            warnings.append(f"The headline asks for “{item['label']}”, which metrics.json does not hold.")
    return {
        "format": FORMAT,
        "title": content.get("title") or manifest.get("title") or folder.name,
        "subtitle": content.get("subtitle", ""),
        "status": manifest.get("status", "unknown"),
        "verdict": verdict,
        "warnings": warnings,
        "sections": _arranged([s for s in sections if s["key"] != "verdict"]),
        "estimates": estimates,
        "manifest": manifest,
    }


def describe(record: Mapping[str, Any], index: int) -> dict[str, Any]:
    """One record of metrics.json with the words the page and the terminal print for it.

    >>> describe({"name": "auroc", "value": 0.7434, "low": 0.697, "high": 0.79, "n": 210,
    ...           "n_clusters": 200}, 0)["text"]
    {'label': 'AUC (ROC)', 'value': '0.743', 'interval': '0.697 to 0.790', 'n': '210 (200 patients)'}
    """
    clusters = record.get("n_clusters")
    unit = record.get("cluster", "patient")  # runs of earlier versions resampled nothing else
    n = f"{record.get('n', 0):,}"
    return {
        **record,
        "index": index,
        "text": {
            "label": label(record["name"]),
            "value": number(record.get("value")),
            "interval": interval(record),
            "n": n if clusters in (None, record.get("n")) else f"{n} ({clusters:,} {unit}s)",
        },
    }


def label(name: str) -> str:
    """A metric's name in words; `sensitivity@specificity=0.9` keeps its condition.

    >>> label("sensitivity@0.9"), label("net_benefit")
    ('Sensitivity at 0.9', 'Net benefit')
    """
    stem, _, condition = name.partition("@")
    words = LABELS.get(stem) or stem.replace("_", " ")[:1].upper() + stem.replace("_", " ")[1:]
    return f"{words} at {condition.replace('=', ' ').replace('_', ' ')}" if condition else words


def number(value: Any) -> str:
    """Three decimals for small numbers, fewer for large; a dash for none.

    >>> number(0.74349), number(1234), number(56.123), number(None)
    ('0.743', '1,234', '56.1', '–')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def p_value(value: Any) -> str:
    """As journals print it.

    >>> p_value(0.0004), p_value(0.0312), p_value(0.4)
    ('<0.001', '0.031', '0.40')
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return number(value)
    if value < 0.001:
        return "<0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def interval(record: Mapping[str, Any]) -> str:
    """The interval of an estimate in words, or a dash where there is none."""
    low, high = record.get("low"), record.get("high")
    return "–" if low is None or high is None else f"{number(low)} to {number(high)}"


def _read(folder: Path, name: str) -> Any:
    path = folder / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{folder} is not a run folder: it has no {name}. Give the folder that --out named"
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}). Run the study again, with --force") from error


def _section(section: dict[str, Any], estimates: list[dict], folder: Path, embed: bool) -> dict[str, Any]:
    key, kind = section["key"], section.get("kind", "text")
    title = section.get("title") or PLACES.get(key.split("-")[0], (_titled(key), False))[0]
    shown = {**section, "kind": kind, "title": title}
    if key == "verdict":
        shown["items"] = [_headline(item, estimates) for item in section.get("items", [])]
    elif kind == "figure":
        shown["figures"] = [_figure(name, folder, embed) for name in section.get("figures", [])]
    elif kind == "gallery":
        shown["items"] = [_picture(item, folder, embed) for item in section.get("items", [])]
    elif kind == "estimates":
        chosen = section.get("pick")
        shown["estimates"] = (
            estimates
            if chosen is None
            else [e for e in estimates if any(_matches(e, pick) for pick in chosen)]
        )
    elif kind == "table":
        shown |= _table(section)
    elif kind not in KINDS:
        raise RunError(f"section {key!r} has kind {kind!r}. Kinds: {', '.join(KINDS)}")
    return shown


def _table(section: dict[str, Any]) -> dict[str, Any]:
    """Columns and rows as text, and which columns hold numbers (they are set to the right)."""
    source = section.get("table") or section
    columns, rows = source.get("columns", []), source.get("rows", [])
    cells = [
        [p_value(v) if _is_p(name) else number(v) for name, v in zip(columns, row, strict=True)]
        for row in rows
    ]
    numeric = [
        any(row[i] != "–" for row in cells) and all(_looks_numeric(row[i]) for row in cells)
        for i in range(len(columns))
    ]
    return {"columns": columns, "rows": cells, "numeric": numeric}


def _is_p(column: str) -> bool:
    return column == "p" or column.lower().startswith(("p ", "p_", "p(", "p-", "p,"))


def _looks_numeric(cell: str) -> bool:
    return cell in ("", "–") or cell.lstrip("<>≤≥−-+").lstrip()[:1].isdigit()


def _headline(item: dict[str, Any], estimates: list[dict]) -> dict[str, Any]:
    def find(pick: dict[str, Any] | None) -> dict | None:
        return next((e for e in estimates if pick and _matches(e, pick)), None)

    baseline = find(item.get("baseline"))
    trivial = (baseline or {}).get("name", "").endswith("_trivial")
    named = (baseline or {}).get("method" if trivial else "model")
    against = item.get("against") or named or "trivial baseline"
    return {
        "label": item.get("label", ""),
        "estimate": find(item.get("pick")),
        "baseline": baseline,
        "against": against,
    }


def _default_verdict(estimates: list[dict]) -> dict[str, Any]:
    """Without a verdict of the study's own: the AUCs of whole groups, at most four."""
    chosen = [e for e in estimates if e["name"] == "auroc" and not e.get("subgroup")] or [
        e for e in estimates if not e.get("subgroup")
    ]
    items = [
        {
            "label": " · ".join(filter(None, [e["text"]["label"], e.get("target"), e.get("model")])),
            "estimate": e,
            "baseline": None,
            "against": "",
        }
        for e in chosen[:4]
    ]
    return {"key": "verdict", "kind": "verdict", "title": "", "text": "", "items": items}


def _matches(estimate: Mapping[str, Any], pick: Mapping[str, Any]) -> bool:
    return all(
        estimate.get(name) in wanted if isinstance(wanted, list) else estimate.get(name) == wanted
        for name, wanted in pick.items()
    )


def _figure(name: str, folder: Path, embed: bool) -> dict[str, Any]:
    figure = {"name": name, "svg": f"figures/{name}.svg", "data": f"figures/{name}.csv"}
    if embed:
        figure["markup"] = _bytes(folder, figure["svg"]).decode("utf-8", errors="replace")
    return figure


def _picture(item: dict[str, Any], folder: Path, embed: bool) -> dict[str, Any]:
    shown = {"title": "", "text": "", "tag": "", **item}
    if embed:
        shown["uri"] = "data:image/png;base64," + base64.b64encode(_bytes(folder, item["file"])).decode()
    return shown


def _bytes(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):  # sections.json may come from somebody else
        raise RunError(f"{name} lies outside the run folder {folder}. Do not trust this run")
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(
            f"{path} cannot be read ({error.strerror}). Run the study again, with --force"
        ) from error


def _arranged(sections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of PLACES, and of setting within a place; `half` where two narrow ones stand together."""
    order = list(PLACES)

    def place(section: dict[str, Any]) -> int:
        stem = section["key"].split("-")[0]
        return order.index(stem if stem in PLACES else None)

    arranged = sorted(sections, key=place)
    narrow = [s["kind"] == "figure" and PLACES[order[place(s)]][1] for s in arranged]
    for section in arranged:
        section["half"] = False
    index = 0
    while index + 1 < len(arranged):
        paired = narrow[index] and narrow[index + 1]
        arranged[index]["half"] |= paired
        arranged[index + 1]["half"] |= paired
        index += 2 if paired else 1
    return arranged


def _titled(key: str) -> str:
    return key.replace("_", " ").replace("-", " ").capitalize()
