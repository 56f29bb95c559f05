"""Where the real test data lies; tests that need it skip with a reason when it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_dir(*parts: str) -> Path:
    """Path inside the real data, or a skip that says how to provide it."""
    root = Path(os.environ.get("RADFOUNDRY_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    path = root.joinpath(*parts).resolve()
    if not path.exists():
        pytest.skip(f"real data not found: {'/'.join(parts)}. Set RADFOUNDRY_DATA to the data folder")
    return path
