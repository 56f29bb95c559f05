"""Both databases that a store may lie in: an SQLite file, and a PostgreSQL server started for these tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FOLDERS = "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"


def _server() -> Path | None:
    """Folder of initdb and postgres, the newest version first."""
    found = [path for pattern in FOLDERS for path in Path("/").glob(pattern[1:] + "/initdb")]
    on_path = shutil.which("initdb")
    found += [Path(on_path).resolve()] if on_path else []
    return max(found, key=lambda path: path.parts).parent if found else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL prefix of a running PostgreSQL on the loopback, to which a database name is added.

    PostgreSQL refuses to run as root, so there it runs as the user `postgres`.
    """
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'radfoundry[monitor]'")
    binaries = _server()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    as_user: list[str] = []
    if os.getuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root needs setpriv to start PostgreSQL as another user")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    home = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path may have 107 characters
    if as_user:
        shutil.chown(home, "postgres", "postgres")
    data, port = home / "data", _free_port()
    try:
        subprocess.run(
            [*as_user, binaries / "initdb", "-D", data, "-U", "radfoundry", "-A", "trust", "-E", "UTF8",
             "--locale=C", "--no-sync"],
            check=True, capture_output=True, cwd=home,
        )  # fmt: skip
        with (home / "log").open("wb") as log:
            server = subprocess.Popen(
                [*as_user, binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", home,
                 "-c", "fsync=off", "-c", "max_connections=40"],
                stdout=log, stderr=log, cwd=home,
            )  # fmt: skip
        try:
            _wait(port, server, home / "log")
            yield f"postgresql+psycopg://radfoundry:not-checked@127.0.0.1:{port}/"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing in it is wanted again
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    until = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=radfoundry dbname=postgres").close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes addresses of empty places for a store, of either kind."""
    if request.param == "sqlite":
        return lambda: str(tmp_path / f"{uuid.uuid4().hex[:8]}.db")
    prefix = request.getfixturevalue("postgres")

    def make() -> str:
        import psycopg

        name = f"m{uuid.uuid4().hex[:12]}"  # a schema, because a database takes a thousand files
        with psycopg.connect(prefix.replace("+psycopg", "") + "postgres", autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{prefix}postgres?options=-csearch_path%3D{name}"

    return make


@pytest.fixture
def place(new_place: Callable[[], str]) -> str:
    """Address of one empty place."""
    return new_place()
