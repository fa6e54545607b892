"""A collection's database: SQLite in its folder, or PostgreSQL by URL; connections and migrations.

SQLite keeps a write-ahead log and syncs it at every commit, so that what was committed outlives a
crash of the machine. Every write begins with BEGIN IMMEDIATE, and so waits for its turn instead of
failing when it finds that another write came first.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from ethosteer.collect.schema import VERSION_TABLE, metadata
from ethosteer.errors import InputError
from ethosteer.files import make_folder, usable_path, writing

FILE = "collection.sqlite"
MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30
"""How long a write waits for another process's."""
PRAGMAS = (
    f"busy_timeout = {BUSY_SECONDS * 1000}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",  # a deleted name leaves no bytes in the file
)
MIGRATION_LOCK = 0x6574686F
"""The key of the lock that one process at a time holds on PostgreSQL while it migrates."""


def collection_url(name: str) -> str:
    """Return where a collection's database is: the file in its folder, or the URL itself."""
    return name if "://" in name else str(usable_path(name) / FILE)


class Database:
    """Connections to one database, whose failures are InputError with its name and one line.

    It is named by a URL of SQLAlchemy's, or by the path of an SQLite file.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked_url(url)
        self.path = Path(self._url.database or "") if self._is_sqlite else None
        self.name = str(self.path or self._url.render_as_string(hide_password=True))
        self._engine = _engine(self._url)
        self._writer = self._engine.execution_options(begin="IMMEDIATE")
        # SQLite polls for its lock; threads of one process take turns without
        self._turn: Lock | nullcontext[None] = Lock() if self._is_sqlite else nullcontext()

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that changes nothing."""
        with self._faults_named(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection whose changes are on the disk when the block ends, or none of them."""
        with self._faults_named(), self._turn, self._writer.begin() as connection:
            yield connection

    @contextmanager
    def creating(self) -> Iterator[Connection]:
        """Yield a connection to new, empty tables; InputError where some are there already."""
        if self.path is not None:
            make_folder(self.path.parent)
            with writing(self.path):
                # the file is the owner's alone to read: it has names and judgements
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        with self.writing() as connection:
            self._lock_migrations(connection)
            tables = set(inspect(connection).get_table_names())
            if "collection" in tables and VERSION_TABLE in tables:
                raise InputError(f"{self.name}: has a collection already")
            if taken := sorted(tables & {*metadata.tables, VERSION_TABLE}):
                raise InputError(f"{self.name}: has a table {taken[0]!r} of another program's")
            command.upgrade(_config(connection), "head")
            yield connection

    def migrate(self) -> None:
        """Bring the tables up to date; InputError where there are none, or newer ones."""
        if self.path is not None and not self.path.is_file():
            raise InputError(f"{self.name}: no such collection")
        with self.reading() as connection:
            if self._is_current(connection):
                return
        with self.writing() as connection:
            self._lock_migrations(connection)
            command.upgrade(_config(connection), "head")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def forget_deleted(self) -> None:
        """Have SQLite's log hold nothing of what was deleted; elsewhere there is nothing to do."""
        if self._is_sqlite:
            with self._faults_named(), self._turn, self._engine.connect() as connection:
                connection.execution_options(begin="").exec_driver_sql(
                    "PRAGMA wal_checkpoint(TRUNCATE)"
                )

    def _is_current(self, connection: Connection) -> bool:
        tables = inspect(connection).get_table_names()
        if not {"collection", VERSION_TABLE} <= set(tables):
            raise InputError(f"{self.name}: is no collection of `ethosteer collect`")
        options = {"version_table": VERSION_TABLE}
        revision = MigrationContext.configure(connection, opts=options).get_current_revision()
        scripts = ScriptDirectory.from_config(_config(connection))
        try:
            scripts.get_revision(revision or "base")
        except CommandError as fault:
            raise InputError(
                f"{self.name}: was written by a newer version of ethosteer (schema {revision}; "
                f"this one knows up to {scripts.get_current_head()}); update ethosteer"
            ) from fault
        return revision == scripts.get_current_head()

    def _lock_migrations(self, connection: Connection) -> None:
        if not self._is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as fault:
            raise InputError(f"{self.name}: has no connection left; try again") from fault
        except (DatabaseError, InterfaceError, sqlite3.DatabaseError) as fault:
            # others, such as a violated constraint, are faults of the program
            if type(fault) not in {
                DatabaseError,
                InterfaceError,
                OperationalError,
                sqlite3.DatabaseError,
                sqlite3.OperationalError,
            }:
                raise
            reason = str(getattr(fault, "orig", None) or fault)
            raise InputError(f"{self.name}: {reason}") from fault


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """Yield a database, which stays open unless the block fails."""
    database = Database(url)
    try:
        yield database
    except BaseException:
        database.close()
        raise


def _checked_url(text: str) -> URL:
    """Return a URL of a database that a collection can be in; InputError for any other."""
    try:
        # a path is no part of a text that is parsed: it may have a question mark
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
    except ArgumentError as fault:
        raise InputError(f"{text}: is no URL of a database; postgresql://HOST/NAME is") from fault
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise InputError(
            f"{url.render_as_string()}: {url.drivername} is not supported; postgresql is"
        )
    if url.drivername == "sqlite" and url.database in {None, "", ":memory:"}:
        raise InputError(f"{url.render_as_string()}: names no file")
    return url


def _engine(url: URL) -> Engine:
    if url.drivername != "sqlite":
        try:
            # a connection that was lost while it was idle is replaced before it is used
            return create_engine(url, pool_pre_ping=True, pool_size=16, max_overflow=16)
        except ImportError as fault:
            raise InputError(
                "PostgreSQL needs the package psycopg: pip install 'ethosteer[postgres]'"
            ) from fault
    engine = create_engine(url, pool_size=16, max_overflow=48)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin below, not where the driver thinks
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("begin", "DEFERRED")
        if mode:
            connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
