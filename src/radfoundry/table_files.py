"""Tables for other people's software: CSV, Parquet or JSON Lines, whole or not at all, no cell a formula.

`whole` and `whole_folder` do the same for any file: readers see the old one or the new, never a part.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.errors import InputError, RunError

if TYPE_CHECKING:
    import pandas as pd

WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": lambda table, path: table.map(no_formula).to_csv(path, index=False, lineterminator="\n"),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".jsonl": lambda table, path: table.to_json(path, orient="records", lines=True, force_ascii=False),
}


def no_formula(cell: Any) -> Any:
    """The cell, with an apostrophe before what a spreadsheet would run as a formula.

    >>> no_formula("=1+1"), no_formula("-"), no_formula(-3)
    ("'=1+1", '-', -3)
    """
    risky = isinstance(cell, str) and len(cell) > 1 and cell.startswith(("=", "+", "@", "-", "\t"))
    return f"'{cell}" if risky else cell


def write(table: pd.DataFrame, path: Path) -> None:
    """Write by the ending. Raises InputError for another ending, and what `whole` raises."""
    check_endings(path)
    with whole(path) as part:
        WRITERS[path.suffix](table, part)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write: the file takes the name `path` when the block ends well, else it is removed.

    Folders are made. Raises RunError, which names the path, for whatever the disk refuses inside the block.
    """
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with _nothing_left(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(path)
        finally:
            with suppress(OSError):  # the folder may be what failed
                part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write files into: they lie in `folder` when the block ends well, else they are removed.

    What `folder` held under other names stays. Raises RunError as `whole` does.
    """
    place = Path(os.path.abspath(folder))  # "." has no name that a part could be called by
    part = place.with_name(f".{place.name}.partial-{os.getpid()}")
    with _nothing_left(folder):
        try:
            part.mkdir(parents=True, exist_ok=True)
            yield part
            if not place.exists():
                part.rename(place)
            else:
                for file in sorted(part.iterdir()):
                    file.replace(place / file.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _nothing_left(path: Path) -> Iterator[None]:
    """A failed disk as a RunError that says where and what next; folders that were made for it go again."""
    made: list[Path] = []
    try:
        made = [parent for parent in path.parents if not parent.exists()]
        yield
    except BaseException as cause:
        for parent in made:
            with suppress(OSError):  # not made yet, or not empty
                parent.rmdir()
        if not isinstance(cause, OSError):
            raise
        raise RunError(
            f"cannot write {path}: {cause.strerror or cause}. Nothing was left there. "
            "Free space or mend the rights, or choose another place"
        ) from cause


def check_endings(*paths: Path | None) -> None:
    """InputError for a path that `write` would refuse: before hours of work, not after them."""
    for path in paths:
        if path is not None and path.suffix not in WRITERS:
            raise InputError(f"{path} ends in {path.suffix or 'nothing'}. Write .csv, .parquet or .jsonl")
