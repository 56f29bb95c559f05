"""Import an optional dependency late, or say which extra installs it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from radfoundry.errors import MissingExtra


def require(module: str, *, extra: str, hint: str = "") -> ModuleType:
    """Import `module`, or raise MissingExtra with the install command.

    >>> require("math", extra="torch").pi > 3
    True
    """
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        command = hint or f"pip install 'radfoundry[{extra}]'"
        raise MissingExtra(
            f"{module!r} is needed here and could not be imported ({cause}). Install it: {command}"
        ) from cause


def available(module: str) -> bool:
    """Whether `module` is installed; nothing is imported.

    >>> available("math"), available("no_such_module")
    (True, False)
    """
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing or half initialised
        return False
