"""The database below the monitor store: its address, connections, locks and the version of its tables.

SQLite is a file; PostgreSQL is a URL and is spoken to by psycopg 3. A new database gets its tables when it is
opened. An older one is upgraded only by `upgrade`, because programs of the older version that share it can
read it no more afterwards; a newer one is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from radfoundry.errors import InputError, RadfoundryError, RunError
from radfoundry.optional import require

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory
    from sqlalchemy import URL, Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "radfoundry_monitor_version"
"""Of our own name, so that a database may hold another program's `alembic_version`."""

TABLES = ("ingest", "event", "outcome")
IN_PROCESS = threading.Lock()
"""Alembic's `op` and `context` are one a process."""

BUSY_S = 60
"""How long a writer waits for another."""

DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
EXAMPLE = "postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE"
# Also what was meant as a URL: a path that holds a password would be printed.
LIKE_URL = re.compile(r"[A-Za-z][\w+.-]+:/|postgres[\w+]*(:|//)|.*//.*:.*@", re.IGNORECASE)


def address(where: str | Path) -> URL:
    """The URL of a store: of PostgreSQL as given, or of the SQLite file at a path.

    Raises InputError, without the text that was given: it may hold a password.
    """
    sa = require("sqlalchemy", extra="monitor")
    if isinstance(where, str) and LIKE_URL.match(where):
        try:
            url = sa.make_url(where)
        except (sa.exc.ArgumentError, ValueError):
            raise InputError(
                f"the address of the store is not a URL that can be read. Write it as {EXAMPLE}, with "
                "special characters of the password percent-encoded, or give the path of an SQLite file"
            ) from None  # the cause may quote the password
        if url.drivername not in DRIVERS:
            raise InputError(f"a store lies in SQLite or PostgreSQL, not {url.drivername!r}. Use {EXAMPLE}")
        url = url.set(drivername=DRIVERS[url.drivername])
    else:
        url = sa.URL.create(DRIVERS["sqlite"], database=os.fspath(where))
    if url.get_backend_name() == "sqlite" and (url.database or ":memory:").startswith((":memory:", "file:")):
        raise InputError("a store in memory would be lost. Give the path of a file, such as monitor.db")
    return url


def shown(url: URL) -> str:
    """The address as it may be printed: no password, and no query, which may hold one."""
    return url.database or "" if url.get_backend_name() == "sqlite" else (
        url.set(query={}).render_as_string(hide_password=True)
    )  # fmt: skip


def connect(url: URL) -> Engine:
    """An engine. Values never stand in its errors: they may identify a patient."""
    sa = require("sqlalchemy", extra="monitor")
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_S})
        sa.event.listen(engine, "connect", _sqlite_connected)
        sa.event.listen(engine, "begin", _sqlite_begins)
        return engine
    require("psycopg", extra="monitor")
    late = {} if "connect_timeout" in url.query else {"connect_timeout": 10}
    # A stricter level would fix what a writer sees before it has waited for its lock; readers ask for one.
    return sa.create_engine(
        url, hide_parameters=True, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=late
    )


def _sqlite_connected(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: see below
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(
        "PRAGMA synchronous = FULL"
    )  # a batch that was reported as stored survives a power cut
    until = time.monotonic() + BUSY_S
    # The switch to WAL does not wait for other connections by itself, as everything else does.
    while connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as cause:
            if "locked" not in str(cause) or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _sqlite_begins(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer; IMMEDIATE can.
    write = connection.get_execution_options().get("radfoundry_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state of the store, whatever is written meanwhile."""
    with refusals(engine.url), engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # SQLite's transactions do so by themselves
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextlib.contextmanager
def writing(engine: Engine, lock: str) -> Iterator[Connection]:
    """One transaction, alone among the writers of `lock`: all of it is kept, or nothing.

    RunError when the lock does not come free within a minute.
    """
    sa = require("sqlalchemy", extra="monitor")
    with refusals(engine.url), engine.connect() as connection:
        connection = connection.execution_options(radfoundry_write=True)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                key = int.from_bytes(hashlib.sha256(f"radfoundry.monitor/{lock}".encode()).digest()[:8],
                                     "big", signed=True)  # fmt: skip
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{BUSY_S}s'"))
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            yield connection


@contextlib.contextmanager
def refusals(url: URL) -> Iterator[None]:
    """What the database refuses, as errors that say what next and hold no password.

    The cause is not chained: drivers quote connection strings and rows.
    """
    sa = require("sqlalchemy", extra="monitor")
    try:
        yield
    except RadfoundryError:
        raise
    except sa.exc.SQLAlchemyError as cause:
        raise _explained(url, str(getattr(cause, "orig", None) or cause)) from None


def _explained(url: URL, said: str) -> RadfoundryError:
    where, reason = shown(url), without_password(said, url)
    if "database is locked" in said or "lock timeout" in said:
        return RunError(
            f"the store {where} was busy for {BUSY_S} s: another program is writing. What was being stored "
            "is not in it; run again, which stores nothing twice"
        )
    if "not a database" in said:
        return InputError(f"{where} is not an SQLite database. Give another path; a new file is made there")
    if "unable to open database file" in said:
        return RunError(f"the store {where} cannot be opened or made. Check the folder and its permissions")
    return RunError(
        f"the store {where}: {reason}. What was being stored is not in it; mend this and run again"
    )


def without_password(said: str, url: URL) -> str:
    """The first line of a database's words, with every password of the address blotted out."""
    secrets = {str(url.password or "")}
    secrets |= {str(value) for key, value in url.query.items() if "pass" in key.lower()}
    for secret in sorted((s for s in secrets if s), key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            said = said.replace(form, "***")
    return said.strip().splitlines()[0][:300].rstrip(". ") if said.strip() else "no reason was given"


def prepare(engine: Engine, *, create: bool) -> None:
    """See that the tables are those of this version, making them in an empty database.

    Raises InputError for an older or newer store, a database of something else, and an empty one unless
    `create`. Two programs may open a new store at once: one makes it, the other waits.
    """
    found, newest, where = _found(engine), _script().get_current_head(), shown(engine.url)
    if found == "" and not create:
        raise InputError(f"{where} holds no monitor store yet. Ingest into it first, or check the address")
    if found == "":
        migrate(engine)
    elif found != newest:
        raise InputError(
            f"the store {where} has tables of revision {found}; this version needs {newest}. Make a copy, "
            "then call radfoundry.monitor.store.upgrade with its address; older versions cannot open it "
            "afterwards"
        )


def upgradable(engine: Engine) -> None:
    """InputError unless there is a store of this version or an older one."""
    if _found(engine) == "":
        raise InputError(f"{shown(engine.url)} holds no monitor store. Check the address")


def _found(engine: Engine) -> str:
    """Revision of the tables, "" in an empty database; InputError for a newer store or something else."""
    where = shown(engine.url)
    with reading(engine) as connection:
        found, others = _revision(connection), _others(connection)
    if found is None and others:
        raise InputError(
            f"{where} holds tables that no monitor store made ({', '.join(others[:5])}). Use another file, "
            "database or schema (PostgreSQL: add ?options=-csearch_path%3DSCHEMA to the URL)"
        )
    known = {revision.revision for revision in _script().walk_revisions()}
    if found is not None and found not in known:
        raise InputError(
            f"the store {where} has tables of revision {found}, which is newer than this version knows "
            f"({_script().get_current_head()}). Install a newer radfoundry, or use another store"
        )
    return found or ""


def migrate(engine: Engine, to: str = "head") -> tuple[str, str]:
    """Run the missing revisions in one transaction; the revisions before ("" for none) and after.

    Safe when called by several programs at once: they take turns, and the later ones find it done.
    """
    require("alembic", extra="monitor")
    from alembic import command

    with IN_PROCESS, writing(engine, "tables") as connection:
        before = _revision(connection) or ""
        config = _config()
        config.attributes["connection"] = connection
        config.attributes["version_table"] = VERSION_TABLE
        command.upgrade(config, to)
        return before, _revision(connection) or ""


def _config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _script() -> ScriptDirectory:
    require("alembic", extra="monitor")
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _revision(connection: Connection) -> str | None:
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _others(connection: Connection) -> list[str]:
    """Tables in the way of ours: of the same name in PostgreSQL, any in an SQLite file."""
    names = set(require("sqlalchemy", extra="monitor").inspect(connection).get_table_names())
    return sorted(names & set(TABLES) if connection.dialect.name == "postgresql" else names)
