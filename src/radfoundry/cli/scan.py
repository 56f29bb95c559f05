"""`radfoundry scan DIR`: the image series below a folder, one row each."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

SHOWN = [
    "path",
    "format",
    "modality",
    "description",
    "files",
    "frames",
    "rows",
    "columns",
    "positions",
    "problem",
]


@dataclass(frozen=True)
class Scan:
    """List the image series below a folder, one row each, from headers alone.

    Exits 1 when a file could not be read; its row says why.
    """

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder that holds the images, at any depth."""
    json: bool = False
    """Print every column as JSON, one object a series."""

    def run(self) -> int:
        from radfoundry.io.scan import scan

        table = scan(self.dir)
        failed = int((table["format"] == "unreadable").sum())
        if self.json:
            print(jsonlib.dumps(jsonlib.loads(table.to_json(orient="records")), indent=2, ensure_ascii=False))
        elif len(table):
            short = table[SHOWN].assign(problem=table["problem"].str.slice(0, 60))
            print(short.to_string(index=False, na_rep="", justify="left", max_colwidth=48))
        files = int(table["files"].sum())
        print(f"{len(table)} series, {files} files, {failed} unreadable", file=sys.stderr)
        return 1 if failed else 0
