"""The tables of the monitor store, as the newest migration leaves them (a test compares the two).

    ingest     one row a batch that wrote something: when, from where, how much
    event      one row a judged case and version of its content; the one that counts has no `replaced_in`
    outcome    one row an event and item

Nothing is deleted: a correction adds a version and marks the one before. SQLAlchemy is imported here, so this
module is imported only where a store is opened.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa


class Moment(sa.types.TypeDecorator[datetime]):
    """UTC in and out: TIMESTAMP WITH TIME ZONE on PostgreSQL; SQLite has none and gets the plain UTC time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


METADATA = sa.MetaData()


def _filled(kind: Any, *names: str) -> list[sa.Column[Any]]:
    """Columns that are never empty."""
    return [sa.Column(name, kind, nullable=False) for name in names]


INGEST = sa.Table(
    "ingest",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *_filled(sa.Text, "stream", "source", "program"),
    *_filled(Moment, "ingested_at"),
    *_filled(sa.Integer, "events", "outcomes", "replaced"),
)

EVENT = sa.Table(
    "event",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *_filled(sa.Text, "stream", "event_id"),
    *_filled(sa.Integer, "version"),
    *_filled(Moment, "happened_at"),
    *_filled(sa.Text, "model", "model_version", "site", "view", "covariates", "digest"),
    *_filled(Moment, "ingested_at"),
    sa.Column("ingest", sa.Integer, sa.ForeignKey("ingest.id"), nullable=False),
    sa.Column("replaced_in", sa.Integer, sa.ForeignKey("ingest.id")),
    sa.UniqueConstraint("stream", "event_id", "version", name="event_version"),
    sa.Index("event_by_ingest", "ingest"),
    sa.Index("event_by_time", "stream", "happened_at"),
)

OUTCOME = sa.Table(
    "outcome",
    METADATA,
    sa.Column("event", sa.Integer, sa.ForeignKey("event.id"), primary_key=True, autoincrement=False),
    sa.Column("item", sa.Text, primary_key=True),
    *_filled(sa.Text, "criticality"),
    sa.Column("expected", sa.SmallInteger),
    sa.Column("observed", sa.SmallInteger),
    sa.Column("value", sa.Double),
    sa.CheckConstraint("expected IN (0, 1)", name="expected_is_binary"),
    sa.CheckConstraint("observed IN (0, 1)", name="observed_is_binary"),
    sqlite_with_rowid=False,
)
