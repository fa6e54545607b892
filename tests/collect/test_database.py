from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from ethosteer.collect import database
from ethosteer.collect.database import Database, collection_url
from ethosteer.collect.schema import VERSION_TABLE, metadata
from ethosteer.collect.store import Store
from ethosteer.errors import InputError
from tests.collect.small import PLAIN, assigned, join, pool

NEXT_VERSION = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    with op.batch_alter_table("annotators") as batch:
        batch.add_column(sa.Column("language", sa.String(8), server_default="en", nullable=False))
"""


def test_migrations_make_the_tables_of_the_schema(url: str) -> None:
    store = Store.create(url, PLAIN, [])
    with store._database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
        constraints = inspect(connection).get_check_constraints("judgements")
    assert {entry["name"] for entry in constraints} == {
        "ck_judgements_preference",
        "ck_judgements_answered",
    }


def test_an_older_schema_is_migrated_with_its_judgements(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(url, PLAIN, pool())
    annotator = join(store)
    store.judge(annotator, assigned(store, annotator).id, 1, seconds=1)
    before = (store.judgements(), store.annotators(), store.pairs(), store.settings)
    store.close()

    newer = tmp_path / "100 % newer"
    (newer / "versions").mkdir(parents=True)
    for file in (database.MIGRATIONS / "env.py", *database.MIGRATIONS.glob("versions/v*.py")):
        target = newer / file.relative_to(database.MIGRATIONS)
        target.write_text(file.read_text("utf-8"), "utf-8")
    (newer / "versions" / "v0002_language.py").write_text(NEXT_VERSION, "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", newer)
        migrated = Store.open(url)
        after = (migrated.judgements(), migrated.annotators(), migrated.pairs(), migrated.settings)
        assert after == before
        with migrated._database.reading() as connection:
            assert connection.execute(text("SELECT language FROM annotators")).scalar_one() == "en"
        assert join(migrated) == annotator + 1
        migrated.close()
        Store.open(url).close()  # which has nothing left to do

    with pytest.raises(InputError, match=r"a newer version of ethosteer .schema 0002; .* 0001"):
        Store.open(url)


def test_a_failed_migration_leaves_the_collection_as_it_was(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.create(url, PLAIN, pool()).close()
    newer = tmp_path / "newer"
    (newer / "versions").mkdir(parents=True)
    for file in (database.MIGRATIONS / "env.py", *database.MIGRATIONS.glob("versions/v*.py")):
        target = newer / file.relative_to(database.MIGRATIONS)
        target.write_text(file.read_text("utf-8"), "utf-8")
    broken = NEXT_VERSION + "    op.execute('SELECT 1 FROM nothing')\n"
    (newer / "versions" / "v0002_language.py").write_text(broken, "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", newer)
        with pytest.raises(Exception, match="nothing"):
            Store.open(url)
    store = Store.open(url)
    assert len(store.pairs()) == 6
    with store._database.reading() as connection:
        names = {column["name"] for column in inspect(connection).get_columns("annotators")}
    assert names == {"id", "name", "joined", "deleted"}


def test_a_collection_is_not_made_twice(url: str) -> None:
    Store.create(url, PLAIN, pool(1)).close()
    with pytest.raises(InputError, match="has a collection already"):
        Store.create(url, PLAIN, pool(2))
    assert len(Store.open(url).pairs()) == 1


def test_another_programs_tables_are_left_alone(url: str) -> None:
    Store.create(url, PLAIN, []).close()
    other = Database(url)
    with other.writing() as connection:
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    with pytest.raises(InputError, match="has a table 'annotators' of another program's"):
        Store.create(url, PLAIN, [])
    with pytest.raises(InputError, match="is no collection of `ethosteer collect`"):
        Store.open(url)


def test_an_empty_database_is_no_collection(url: str) -> None:
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir()
        path.touch()
    with pytest.raises(InputError, match="is no collection"):
        Store.open(url)
    assert len(Store.create(url, PLAIN, pool(1)).pairs()) == 1


@pytest.mark.parametrize("content", [b"not a database, but a text" * 50, b"SQLite format 3\0" * 90])
@pytest.mark.parametrize("make", [True, False])
def test_a_file_that_is_no_database_is_one_line(tmp_path: Path, content: bytes, make: bool) -> None:
    path = tmp_path / "collection.sqlite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"collection\.sqlite: .+") as caught:
        Store.create(f"sqlite:///{path}", PLAIN, []) if make else Store.open(f"sqlite:///{path}")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_folder_without_a_collection_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"collection\.sqlite: no such collection"):
        Store.open(collection_url(str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_sqlite_syncs_every_commit_and_its_file_is_the_owners_alone(sqlite_url: str) -> None:
    store = Store.create(sqlite_url, PLAIN, pool())
    with store._database.writing() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }
    path = store._database.path
    assert path is not None
    if os.name == "posix":
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_write_that_waits_too_long_is_one_line(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PRAGMAS", ("busy_timeout = 1", *database.PRAGMAS[1:]))
    store = Store.create(sqlite_url, PLAIN, pool())
    assert store._database.path is not None
    with sqlite3.connect(store._database.path) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert len(store.pairs()) == 6  # readers do not wait
        with pytest.raises(InputError, match="database is locked"):
            store.invite()
        holder.rollback()
    holder.close()
    assert store.invite()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "nonsense: no such collection"),
        ("://", "is no URL of a database"),
        ("mysql://host/name", "mysql is not supported; postgresql is"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://u:secret@127.0.0.1:1/x", r"127\.0\.0\.1:1/x: .*refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(url: str, problem: str) -> None:
    if "postgresql:" in url:
        pytest.importorskip("psycopg")
    with pytest.raises(InputError, match=problem) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_and_a_url_name_a_collection(tmp_path: Path) -> None:
    assert collection_url("postgresql://h/n") == "postgresql://h/n"
    assert collection_url(str(tmp_path)) == f"{tmp_path}/collection.sqlite"
    odd = tmp_path / "100 % ü?#"
    store = Store.create(collection_url(str(odd)), PLAIN, pool(1))
    assert store.name == str(odd / "collection.sqlite")
    assert (odd / "collection.sqlite").is_file()
