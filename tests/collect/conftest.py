"""Databases for tests: SQLite files, and a PostgreSQL server where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ethosteer.collect.database import Database

NUMBERS = count(1)


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close at the end of a test the connections of all collections that it opened."""
    databases: list[Database] = []
    make = Database.__init__

    def remember(self: Database, url: str) -> None:
        databases.append(self)
        make(self, url)

    monkeypatch.setattr(Database, "__init__", remember)
    yield
    for database in databases:
        if hasattr(database, "_engine"):
            database.close()


def _program(name: str) -> str | None:
    """Return a program of PostgreSQL's server; Debian keeps them off the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the folder of the socket of a server that was started for the tests."""
    pytest.importorskip("psycopg")
    initdb, server = _program("initdb"), _program("pg_ctl")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed")
    # a short name, since that of a socket has at most about 100 bytes
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user: list[str] = []
    if os.name == "posix" and os.getuid() == 0:  # the server does not run as root
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("there is no user postgres to run the server")
        user = ["runuser", "-u", "postgres", "--"]

    def run(*command: str) -> None:
        subprocess.run([*user, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL)

    data = str(folder / "data")
    run(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-k {folder} -c listen_addresses=''"
    run(server, "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield str(folder)
    finally:
        run(server, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'collection' / 'collection.sqlite'}"
    folder = request.getfixturevalue("postgres")
    import psycopg

    name = f"collection{next(NUMBERS)}"
    with psycopg.connect(f"host={folder} user=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://postgres@/{name}?host={folder}"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path / 'collection' / 'collection.sqlite'}"
