"""Fill the page's template with what `build` gathered: one HTML file, without scripts or outside requests."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from radfoundry.report.build import number
from radfoundry.report.svg import clean


def render(report: dict[str, Any]) -> str:
    """The report as a self-contained HTML page; `report` is `build(run_dir)`.

    All text is escaped; figures pass `svg.clean`. The page's own security policy forbids scripts and
    requests, so that even text that slipped through could do nothing.
    """
    environment = Environment(
        loader=PackageLoader("radfoundry.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "figure": _figure, "pretty": _pretty, "percent": _percent}
    return environment.get_template("report.html.j2").render(report=report, scale=_scale)


def _figure(figure: dict[str, Any], title: str) -> Markup:
    # Safe to mark: every element and attribute outside an allowed list was removed.
    return Markup(clean(figure["markup"], prefix=f"{figure['name']}-", label=title))


def _pretty(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _percent(value: float) -> str:
    """A place on a track from 0 to 1, as CSS wants it."""
    return f"{100 * min(max(value, 0.0), 1.0):.1f}%"


def _scale(estimate: dict[str, Any] | None) -> bool:
    """Whether an estimate fits a track from 0 to 1."""
    if estimate is None:
        return False
    values = [estimate.get(name) for name in ("value", "low", "high")]
    return all(v is not None and 0 <= v <= 1 for v in values)
