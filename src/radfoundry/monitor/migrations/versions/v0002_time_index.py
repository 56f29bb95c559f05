"""An index for reading a stream by time, which charts do."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index events by stream and time."""
    op.create_index("event_by_time", "event", ["stream", "happened_at"])
