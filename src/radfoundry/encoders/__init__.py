"""Encoders: cards that print without torch, thin loaders, the embedding loop and its store.

>>> "raw-pixels" in names()
True
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from radfoundry.encoders.catalogue import card, load, names
from radfoundry.encoders.encoder import Encoder

if TYPE_CHECKING:
    from radfoundry.encoders.efficientnet import build_efficientnet_lite0
    from radfoundry.encoders.embed import EmbedResult, embed
    from radfoundry.encoders.mobilenet import build_mobilenet_v2
    from radfoundry.encoders.store import Store

__all__ = [
    "EmbedResult", "Encoder", "Store", "build_efficientnet_lite0", "build_mobilenet_v2", "card", "embed",
    "load", "names",
]  # fmt: skip

_LATE = {
    "EmbedResult": "embed",
    "Store": "store",
    "build_efficientnet_lite0": "efficientnet",
    "build_mobilenet_v2": "mobilenet",
}


def __getattr__(name: str) -> Any:
    """Import what needs pandas or pyarrow on first use."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)


class _Package(ModuleType):
    """`embed` names a submodule and the function in it; importing the first must not hide the second."""

    @property
    def embed(self) -> Any:
        return import_module("radfoundry.encoders.embed").embed

    @embed.setter
    def embed(self, submodule: ModuleType) -> None:
        pass  # the import system binds the submodule here; sys.modules keeps it


sys.modules[__name__].__class__ = _Package
