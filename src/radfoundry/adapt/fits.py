"""Many fits of one study: several at a time, with progress, each kept on disk as soon as it is done.

A fit is a function and its arguments; its name on disk is the digest of both, of the data in them and of the
versions of the libraries that decide the numbers. So an interrupted study goes on from where it stopped, a
changed setting is never answered from an old fit, and deleting the folder costs time only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radfoundry import engines
from radfoundry.errors import RunError

CODE_VERSION = 2
"""Raised whenever a change of the code that fits (heads, thresholds, networks) would change a fit."""

LIBRARIES = ("radfoundry", "numpy", "scipy", "scikit-learn", "torch", "xgboost-cpu", "lightgbm",
             "imbalanced-learn")  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """One fit: `make(**arguments)` returns rows of a prediction table.

    make: a function of a module (it is sent to other processes). arguments: plain values, arrays,
    dataclasses, scikit-learn estimators; they must decide the result. name: what a progress bar shows.
    scratch: the argument that takes a folder for checkpoints, which stays until the fit is done.
    """

    name: str
    make: Callable[..., pd.DataFrame]
    arguments: Mapping[str, Any]
    scratch: str = ""

    @property
    def key(self) -> str:
        """Digest of the function, the arguments and the versions.

        >>> one = Fit("a", print, {"x": np.arange(3), "seed": 0})
        >>> one.key == Fit("b", print, {"x": np.arange(3), "seed": 0}).key
        True
        >>> one.key == Fit("a", print, {"x": np.arange(3), "seed": 1}).key
        False
        """
        return key_of(f"{self.make.__module__}.{self.make.__qualname__}", self.arguments)


def key_of(what: str, decides: Mapping[str, Any]) -> str:
    """Digest of a name, of everything that decides a result, and of the versions of code and libraries.

    >>> key_of("fit", {"seed": 0}) == key_of("fit", {"seed": 1})
    False
    """
    made = hashlib.sha256(what.encode())
    made.update(json.dumps([CODE_VERSION, _plain(decides), _versions()], sort_keys=True).encode())
    return made.hexdigest()


@dataclass(frozen=True)
class Kept:
    """Tables on disk by key; without a folder nothing is kept."""

    folder: Path | None

    def path(self, key: str) -> Path | None:
        """Where the table of a key lies, or would."""
        return None if self.folder is None else self.folder / key[:2] / f"{key}.parquet"

    def read(self, key: str) -> pd.DataFrame | None:
        """The table of a key, or None; a damaged file counts as none and will be replaced."""
        return _kept(self.path(key))

    def write(self, key: str, table: pd.DataFrame) -> None:
        """Keep a table, whole or not at all; RunError where the folder cannot be written."""
        path = self.path(key)
        if path is not None:
            _write(path, table)


@dataclass(frozen=True)
class Fits:
    """A folder of finished fits, or none (nothing is kept)."""

    folder: Path | None

    def run(
        self, fits: Sequence[Fit], *, jobs: int = 1, quiet: bool = False, log: Callable[[str], None] = print
    ) -> list[pd.DataFrame]:
        """The tables of `fits`, in their order; those on disk are read, the others made by `jobs` processes.

        A bar on stderr where that is a terminal. Interrupt it (Ctrl-C): what is done stays done.
        Raises what a fit raises, and RunError when the folder cannot be written.
        """
        paths = [self._path(fit) for fit in fits]  # once each: a name costs a pass over all the data
        found = {i: table for i, path in enumerate(paths) if (table := _kept(path)) is not None}
        missing = [i for i in range(len(fits)) if i not in found]
        if found:
            log(f"{len(found)} of {len(fits)} fits were on disk already")
        work = [(fits[i], paths[i]) for i in missing]
        with (
            engines.progress(len(fits), len(found), "fit", quiet=quiet) as bar,
            contextlib.closing(engines.run(_finish, work, jobs=jobs)) as done,
        ):
            for place, table in done:
                found[missing[place]] = table
                bar.set_postfix_str(work[place][0].name)
                bar.update()
        return [found[i] for i in range(len(fits))]

    def _path(self, fit: Fit) -> Path | None:
        if self.folder is None:
            return None
        return Kept(self.folder).path(fit.key)


def _kept(path: Path | None) -> pd.DataFrame | None:
    if path is None or not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except Exception:  # whatever pyarrow says of a damaged file: the fit is made again and replaces it
        return None


def processes(asked: int = 0) -> int:
    """How many processes to use: as asked, else one a CPU that this process may use."""
    if asked > 0:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _finish(fit: Fit, path: Path | None) -> pd.DataFrame:
    """Make a fit and keep it, whole or not at all."""
    if path is None:
        return fit.make(**fit.arguments)
    half_way = path.with_suffix(".partial")
    table = fit.make(**fit.arguments, **({fit.scratch: half_way} if fit.scratch else {}))
    _write(path, table)
    shutil.rmtree(half_way, ignore_errors=True)
    return table


def _write(path: Path, table: pd.DataFrame) -> None:
    """A table to a file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(temporary, index=False)
        os.replace(temporary, path)
    except OSError as cause:
        with contextlib.suppress(OSError):  # the folder may be what failed
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"cannot keep a finished fit in {path.parent}: {cause.strerror}. Free space there, or choose "
            "another store with --store"
        ) from cause


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):  # an extra that is not installed decides nothing
            found[name] = version(name)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        whole = np.ascontiguousarray(value)
        data = json.dumps(whole.tolist()).encode() if whole.dtype == object else whole.tobytes()
        return [str(whole.dtype), whole.shape, hashlib.sha256(data).hexdigest()]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [type(value).__qualname__, fields]
    if hasattr(value, "get_params"):
        return [type(value).__qualname__, _plain(value.get_params(deep=False))]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not say what it holds, so a fit cannot be named by it")
