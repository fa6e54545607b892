"""The tables of a collection, in SQLAlchemy Core; ``migrations`` makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
)

VERSION_TABLE = "collection_version"
"""Where Alembic keeps the revision; not its default name, which other programs use too."""
ID_LENGTH = 32
"""Characters of an assignment's id, at most."""


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC; SQLite has no time zones, so it is given and returned as one of UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a time to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ANN401
        """Return a stored time with its time zone."""
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

collection = Table(
    "collection",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("created", UtcTime, nullable=False),
    Column("settings", Text, nullable=False),  # JSON of CollectionSettings
    Column("owner_hash", String(64)),
    CheckConstraint("id = 1", name="one_row"),
)

pairs = Table(
    "pairs",
    metadata,
    Column("id", Integer, primary_key=True),  # the pair's position in the pool
    Column("key", String(64), nullable=False, unique=True),
    Column("kind", String(8), nullable=False),
    Column("content", Text, nullable=False),  # JSON of Pair, in ASCII
)

annotators = Table(
    "annotators",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("joined", UtcTime, nullable=False),
    Column("deleted", UtcTime),
    sqlite_autoincrement=True,  # the number of a deleted annotator is not given again
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("note", Text, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("annotator_id", ForeignKey("annotators.id", ondelete="SET NULL")),
    Column("revoked", UtcTime),
    sqlite_autoincrement=True,
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("annotator_id", ForeignKey("annotators.id", ondelete="CASCADE"), nullable=False),
    Column("created", UtcTime, nullable=False),
)

assignments = Table(
    "assignments",
    metadata,
    Column("number", Integer, primary_key=True),  # in the order in which they were made
    Column("id", String(ID_LENGTH), nullable=False, unique=True),
    Column("annotator_id", ForeignKey("annotators.id", ondelete="CASCADE"), nullable=False),
    Column("pair_id", ForeignKey("pairs.id"), nullable=False),
    Column("first_is_left", Boolean, nullable=False),
    Column("selection", String(16), nullable=False),
    Column("assigned", UtcTime, nullable=False),
    Index(None, "annotator_id"),
    Index(None, "pair_id"),
    sqlite_autoincrement=True,
)

judgements = Table(
    "judgements",
    metadata,
    Column("number", Integer, primary_key=True),  # in the order in which they came
    Column(
        "assignment",
        ForeignKey("assignments.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,  # what a repeated form cannot get past
    ),
    Column("preference", SmallInteger),
    Column("flagged", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("judged", UtcTime, nullable=False),
    Column("withdrawn", UtcTime),
    CheckConstraint("preference BETWEEN -2 AND 2", name="preference"),
    CheckConstraint("preference IS NOT NULL OR flagged", name="answered"),
    sqlite_autoincrement=True,
)
