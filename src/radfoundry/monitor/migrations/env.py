"""Alembic's environment: migrate over the connection that `radfoundry.monitor.database` hands in."""

from __future__ import annotations

from alembic import context


def run() -> None:
    """Run the revisions in the caller's transaction, so that a crash leaves the old tables whole."""
    handed = context.config.attributes
    context.configure(connection=handed["connection"], version_table=handed["version_table"])
    with context.begin_transaction():
        context.run_migrations()


# Absent while anything but alembic imports this file, a collector of doctests for example.
if getattr(context, "config", None) is not None:
    run()
