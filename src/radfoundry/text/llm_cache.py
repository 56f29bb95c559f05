"""Answers of a language model on disk, named by all that decides them: a second run asks for nothing twice.

The files hold evidence, that is pieces of reports: keep the folder where the reports may lie. It is made for
its owner alone (mode 0700).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radfoundry.errors import RunError

FORMAT = 1
MOST_BYTES = 5_000_000


def key_of(decides: Mapping[str, Any]) -> str:
    """Digest of plain values, whatever the order of their names.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    True
    """
    plain = json.dumps(decides, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


@dataclass(frozen=True)
class Cache:
    """JSON files by key; without a folder nothing is kept."""

    folder: Path | None = None

    def path(self, key: str) -> Path | None:
        """Where the answer of a key lies, or would."""
        return None if self.folder is None else self.folder / key[:2] / f"{key}.json"

    def read(self, key: str) -> Any | None:
        """What was kept, or None. A damaged file counts as none and will be replaced."""
        path = self.path(key)
        try:
            if path is None or path.stat().st_size > MOST_BYTES:
                return None
            loaded = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):  # absent, unreadable or no JSON: asked again
            return None
        if not isinstance(loaded, dict) or loaded.get("format") != FORMAT or loaded.get("key") != key:
            return None
        return loaded.get("value")

    def write(self, key: str, value: Any) -> None:
        """Keep a value, whole or not at all; RunError where the folder cannot be written."""
        path = self.path(key)
        if path is None or self.folder is None:
            return
        half_way = ""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle, half_way = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump({"format": FORMAT, "key": key, "value": value}, file)
            os.replace(half_way, path)
        except OSError as cause:
            if half_way:
                Path(half_way).unlink(missing_ok=True)
            raise RunError(
                f"{self.folder} cannot be written ({cause.strerror}). Give another folder for the cache"
            ) from cause
