"""One registry for encoders, datasets and studies: a name, an object, plug-ins by entry point."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from radfoundry.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to objects; `group` is the entry-point group that outsiders may fill.

    >>> shapes = Registry[int]("shape", "radfoundry.shapes")
    >>> shapes.add("square", 4)
    >>> shapes.get("square"), list(shapes)
    (4, ['square'])
    >>> shapes.get("sqare")
    Traceback (most recent call last):
    radfoundry.errors.UnknownName: no shape named 'sqare'. Did you mean 'square'? Known: square
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._items: dict[str, T] = {}
        self._plugins_loaded = False

    def add(self, name: str, item: T) -> None:
        """Register `item`; the same name twice is a programming error."""
        if name in self._items:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._items[name] = item

    def get(self, name: str) -> T:
        """The item of that name; UnknownName suggests the nearest."""
        self._load_plugins()
        if name in self._items:
            return self._items[name]
        hint = nearest(name, self._items)
        raise UnknownName(f"no {self.kind} named {name!r}.{hint} Known: {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._items

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for point in entry_points(group=self.group):
            if point.name not in self._items:
                self.add(point.name, point.load())


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to append to an error, or "" when nothing known is close.

    >>> nearest("evalute", ["embed", "evaluate"])
    " Did you mean 'evaluate'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else ""
