"""Batches, events and outcomes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables."""
    # Written out column by column, and not taken from `monitor.schema`: this is what the first release made,
    # whatever the tables have become since.
    op.create_table(
        "ingest",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("program", sa.Text, nullable=False),
        sa.Column("ingested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("outcomes", sa.Integer, nullable=False),
        sa.Column("replaced", sa.Integer, nullable=False),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("view", sa.Text, nullable=False),
        sa.Column("covariates", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("ingested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ingest", sa.Integer, sa.ForeignKey("ingest.id"), nullable=False),
        sa.Column("replaced_in", sa.Integer, sa.ForeignKey("ingest.id")),
        sa.UniqueConstraint("stream", "event_id", "version", name="event_version"),
    )
    op.create_index("event_by_ingest", "event", ["ingest"])
    op.create_table(
        "outcome",
        sa.Column("event", sa.Integer, sa.ForeignKey("event.id"), primary_key=True, autoincrement=False),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("criticality", sa.Text, nullable=False),
        sa.Column("expected", sa.SmallInteger),
        sa.Column("observed", sa.SmallInteger),
        sa.Column("value", sa.Double),
        sa.CheckConstraint("expected IN (0, 1)", name="expected_is_binary"),
        sa.CheckConstraint("observed IN (0, 1)", name="observed_is_binary"),
        sqlite_with_rowid=False,
    )
