"""Tables for other people's software: CSV, Parquet or JSON Lines, whole or not at all, no cell a formula."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radfoundry.errors import InputError

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
    """Write by the ending; readers see the old file or the new. Raises InputError for another ending."""
    check_endings(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        WRITERS[path.suffix](table, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_endings(*paths: Path | None) -> None:
    """InputError for a path that `write` would refuse: before hours of work, not after them."""
    for path in paths:
        if path is not None and path.suffix not in WRITERS:
            raise InputError(f"{path} ends in {path.suffix or 'nothing'}. Write .csv, .parquet or .jsonl")
