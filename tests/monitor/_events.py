"""Events with known content, the same in every process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from radfoundry.monitor.store import Event, Outcome

START = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
ITEMS = ("pneumothorax", "pleural_effusion", "nodule")


def events(n: int = 60, first: int = 0) -> Iterator[Event]:
    """Events `first` to `first + n`, three outcomes each, one every five hours."""
    for i in range(first, first + n):
        yield Event(
            f"case-{i:05d}",
            START + timedelta(hours=5 * i),
            tuple(
                Outcome(item, ("critical", "significant", "minor")[j], int(i % (j + 2) == 0), int(i % 3 == j))
                for j, item in enumerate(ITEMS)
            ),
            model="drafter",
            model_version=("1.0", "1.1")[i >= 40],
            site="ab"[i % 2],
            view=("PA", "portable")[i % 3 == 0],
            covariates={"age": 20 + i % 60, "sex": "FM"[i % 2]},
        )
