"""YAML of plain values in which no key of a mapping is lost: YAML itself keeps the last of two alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Repeated:
    """A key that one mapping has twice. where: path of the mapping, "" for the file; first, second: lines."""

    where: str
    key: str
    first: int
    second: int


def parse(text: str) -> tuple[Any, list[Repeated]]:
    """(the values, the keys that stand twice in one mapping). Raises yaml.YAMLError or RecursionError.

    >>> parse("a: {b: 1, b: 2}")
    ({'a': {'b': 2}}, [Repeated(where='a', key='b', first=1, second=1)])
    """
    import yaml

    loader = yaml.SafeLoader(text)
    node = loader.get_single_node()
    twice = list(_twice(node))
    return (None if node is None else loader.construct_document(node)), twice


def _twice(root: Any) -> Iterator[Repeated]:
    """Each part of the tree is looked at once."""
    seen: set[int] = set()
    left = [(root, "")]
    while left:
        node, where = left.pop()
        if node is None or id(node) in seen:  # an alias leads to the part that it stands for
            continue
        seen.add(id(node))
        if node.id == "sequence":
            left += [(one, f"{where}[{n}]") for n, one in reversed(list(enumerate(node.value, 1)))]
        elif node.id == "mapping":
            lines: dict[str, int] = {}
            below = []
            for key, value in node.value:
                if key.id != "scalar":
                    continue
                line, name = key.start_mark.line + 1, key.value
                below.append((value, f"{where}.{name}" if where else name))
                if name in lines:
                    yield Repeated(where, name, lines[name], line)
                lines.setdefault(name, line)
            left += reversed(below)
