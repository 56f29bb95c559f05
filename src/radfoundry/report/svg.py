"""Make a drawing safe and self-contained before it goes into a page.

A run folder may have come by mail: only shapes, text and references within the drawing pass; scripts,
styles for the whole page, event handlers and links to elsewhere do not.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from radfoundry.errors import RunError

SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}href"
ELEMENTS = re.compile(
    "svg|g|defs|path|rect|circle|ellipse|line|polyline|polygon|text|tspan|use|clipPath|image|title|desc"
)
ATTRIBUTES = re.compile(
    "id|d|x|y|[xy][12]|c[xy]|r|r[xy]|width|height|points|transform|viewBox|style|opacity|href"
    "|fill|fill-opacity|fill-rule|stroke|stroke-(width|opacity|linecap|linejoin|dasharray)"
    "|clip-path|clip-rule|clipPathUnits|font-(size|family|weight)|text-anchor|preserveAspectRatio"
)


def clean(markup: str, *, prefix: str, label: str) -> str:
    """The drawing with nothing active in it, its ids made unique by `prefix`, and `label` for screen readers.

    Raises RunError where it is not an SVG drawing.
    """
    if "<!ENTITY" in markup:
        raise RunError(
            f"the drawing {label!r} defines XML entities, which a figure never needs. Draw it again"
        )
    try:
        root = ET.fromstring(markup)
    except ET.ParseError as error:
        raise RunError(f"the drawing {label!r} is not an SVG ({error}). Draw it again") from error
    if root.tag != f"{{{SVG}}}svg":
        raise RunError(f"the drawing {label!r} is not an SVG but a {root.tag!r}. Draw it again")
    _strip(root, prefix)
    for name in ("width", "height"):  # the page sets the size; viewBox keeps the proportions
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("style", "stroke-linejoin:round;stroke-linecap:butt")  # matplotlib's style for the whole page
    ET.register_namespace("", SVG)
    return ET.tostring(root, encoding="unicode")


def _strip(node: ET.Element, prefix: str) -> None:
    for name, value in list(node.attrib.items()):
        kept = _attribute(name, value, prefix)
        del node.attrib[name]
        if kept is not None:
            node.set(*kept)
    for child in list(node):
        tag = child.tag if isinstance(child.tag, str) else ""
        if tag.startswith(f"{{{SVG}}}") and ELEMENTS.fullmatch(tag.removeprefix(f"{{{SVG}}}")):
            _strip(child, prefix)
        else:
            node.remove(child)


def _attribute(name: str, value: str, prefix: str) -> tuple[str, str] | None:
    name = "href" if name == XLINK else name
    if not ATTRIBUTES.fullmatch(name):
        return None
    if name == "href":
        if value.startswith("#"):
            return name, f"#{prefix}{value[1:]}"
        return (name, value) if re.match(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\s]*$", value) else None
    if name == "id":
        return name, prefix + value
    value = re.sub(r"url\(\s*['\"]?#([^)'\"]+)['\"]?\s*\)", rf"url(#{prefix}\1)", value)
    elsewhere = re.sub(rf"url\(#{re.escape(prefix)}[^)]*\)", "", value).lower()
    if any(word in elsewhere for word in ("url(", "expression", "javascript:", "@import", "\\")):
        return None
    return name, value
