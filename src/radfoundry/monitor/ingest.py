"""Writing to the monitor store: a batch of events, checked, compared with what is known, and added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from radfoundry import __version__
from radfoundry.errors import InputError, RunError
from radfoundry.monitor.records import Event, Row, row_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH = 500
"""Events a transaction, and ids a query: SQLite of 2020 took at most 999 values."""

Placed = tuple[int, Row]
"""A checked event with its place among those given, from 1."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest did, in events.

    unchanged: were in the store with the same content. superseded: were in it with the same content, which a
    later correction has replaced; the correction stays. outcomes: rows written.
    """

    new: int = 0
    unchanged: int = 0
    replaced: int = 0
    superseded: int = 0
    outcomes: int = 0

    def __add__(self, other: Ingested) -> Ingested:
        return Ingested(
            self.new + other.new,
            self.unchanged + other.unchanged,
            self.replaced + other.replaced,
            self.superseded + other.superseded,
            self.outcomes + other.outcomes,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """An event of the store. digests: all versions' digests; the last one counts."""

    id: int
    version: int
    digests: tuple[str, ...]


def batches(events: Iterable[Event], size: int, replace: bool) -> Iterator[tuple[dict[str, Placed], int]]:
    """Checked events by id, `size` at a time, and how many in between repeated one of the same batch."""
    rows: dict[str, Placed] = {}
    repeats = 0
    for place, event in enumerate(events, start=1):
        row = row_of(event, f"event {place} of those given")
        name = row.event["event_id"]
        earlier = rows.get(name)
        if earlier is not None and earlier[1].digest == row.digest:
            repeats += 1
            continue
        if earlier is not None and not replace:
            raise InputError(
                f"events {earlier[0]} and {place} of those given have one id and different content. Keep "
                "one, or pass replace=True to let the later one count"
            )
        if earlier is not None or len(rows) == size:
            yield rows, repeats
            rows, repeats = {}, 0
        rows[name] = (place, row)
    if rows:
        yield rows, repeats


def write(
    connection: Connection, stream: str, rows: dict[str, Placed], source: str, replace: bool
) -> Ingested:
    """Store one batch in the caller's transaction. rows: by event id.

    Raises InputError for changed content without `replace`. A batch that brings nothing new writes nothing.
    """
    known = _known(connection, stream, list(rows))
    fresh, changed, done = _sorted_out(stream, rows, known, replace)
    if not fresh and not changed:
        return done
    now = datetime.now(UTC)
    made = _begin_batch(connection, stream, source, now, fresh, changed)
    old = [known[row.event["event_id"]] for row in changed]
    _mark_replaced(connection, [one.id for one in old], made)
    both = [*((row, 1) for row in fresh), *((row, one.version + 1) for row, one in zip(changed, old))]
    events = [
        {**row.event, "stream": stream, "version": version, "digest": row.digest, "ingest": made,
         "ingested_at": now}
        for row, version in both
    ]  # fmt: skip
    outcomes = _insert(connection, events, [row for row, _ in both], made)
    return done + Ingested(new=len(fresh), replaced=len(changed), outcomes=outcomes)


def _sorted_out(
    stream: str, rows: dict[str, Placed], known: dict[str, Known], replace: bool
) -> tuple[list[Row], list[Row], Ingested]:
    """Rows to add, rows that replace, and the count of those that change nothing."""
    fresh, changed, unchanged, superseded = [], [], 0, 0
    for name, (place, row) in sorted(rows.items()):
        old = known.get(name)
        if old is None:
            fresh.append(row)
        elif row.digest == old.digests[-1]:
            unchanged += 1
        elif replace:
            changed.append(row)
        elif row.digest in old.digests:
            superseded += 1
        else:
            raise InputError(
                f"event {place} of those given is in stream {stream!r} with other content (version "
                f"{old.version}, SHA-256 {old.digests[-1][:12]}, not {row.digest[:12]}). If this is a "
                "correction, pass replace=True, which keeps the history; if not, give the case its own id. "
                "Nothing of this batch was stored"
            )
    return fresh, changed, Ingested(unchanged=unchanged, superseded=superseded)


def _known(connection: Connection, stream: str, names: list[str]) -> dict[str, Known]:
    import sqlalchemy as sa

    from radfoundry.monitor.schema import EVENT

    asked = (
        sa.select(EVENT.c.event_id, EVENT.c.id, EVENT.c.version, EVENT.c.digest)
        .where(EVENT.c.stream == stream, EVENT.c.event_id.in_(names))
        .order_by(EVENT.c.event_id, EVENT.c.version)
    )
    found: dict[str, Known] = {}
    for name, key, version, digest in connection.execute(asked):
        earlier = found[name].digests if name in found else ()
        found[name] = Known(key, version, (*earlier, digest))
    return found


def _begin_batch(
    connection: Connection, stream: str, source: str, now: datetime, fresh: list[Row], changed: list[Row]
) -> int:
    import sqlalchemy as sa

    from radfoundry.monitor.schema import INGEST

    made = connection.execute(
        sa.insert(INGEST).values(
            stream=stream,
            source=source,
            program=f"radfoundry {__version__}",
            ingested_at=now,
            events=len(fresh) + len(changed),
            outcomes=sum(len(row.outcomes) for row in (*fresh, *changed)),
            replaced=len(changed),
        )
    )
    return int(made.inserted_primary_key[0])  # type: ignore[index]  # an insert of one row has its key


def _mark_replaced(connection: Connection, keys: list[int], made: int) -> None:
    import sqlalchemy as sa

    from radfoundry.monitor.schema import EVENT

    if keys:
        connection.execute(sa.update(EVENT).where(EVENT.c.id.in_(keys)).values(replaced_in=made))


def _insert(connection: Connection, written: list[dict[str, Any]], rows: list[Row], made: int) -> int:
    """Events, then their outcomes under the keys that the database gave them."""
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite

    from radfoundry.monitor.schema import EVENT, OUTCOME

    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(EVENT).on_conflict_do_nothing(), written)
    asked = sa.select(EVENT.c.event_id, EVENT.c.id).where(EVENT.c.ingest == made)
    keys = {row.event_id: row.id for row in connection.execute(asked)}
    if len(keys) != len(rows):
        # Writers of a stream take turns, so this was a program that does not know of our lock.
        raise RunError("another program wrote the same events at this moment. Nothing was stored; run again")
    outcomes = [(keys[row.event["event_id"]], *outcome) for row in rows for outcome in row.outcomes]
    if outcomes:
        # Straight to the driver: by far the most rows, and a statement object would double their time.
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        names = [column.name for column in OUTCOME.columns]
        connection.exec_driver_sql(
            f"INSERT INTO outcome ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})", outcomes
        )
    return len(outcomes)
