"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ethosteer.collect.schema import UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "collection",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created", UtcTime, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("owner_hash", sa.String(64)),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "pairs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False, unique=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "annotators",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("joined", UtcTime, nullable=False),
        sa.Column("deleted", UtcTime),
        sqlite_autoincrement=True,
    )
    annotator = "annotators.id"
    op.create_table(
        "invitations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created", UtcTime, nullable=False),
        sa.Column("annotator_id", sa.Integer, sa.ForeignKey(annotator, ondelete="SET NULL")),
        sa.Column("revoked", UtcTime),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column(
            "annotator_id", sa.Integer, sa.ForeignKey(annotator, ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created", UtcTime, nullable=False),
    )
    _judging(annotator)


def _judging(annotator: str) -> None:
    op.create_table(
        "assignments",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column(
            "annotator_id", sa.Integer, sa.ForeignKey(annotator, ondelete="CASCADE"), nullable=False
        ),
        sa.Column("pair_id", sa.Integer, sa.ForeignKey("pairs.id"), nullable=False),
        sa.Column("first_is_left", sa.Boolean, nullable=False),
        sa.Column("selection", sa.String(16), nullable=False),
        sa.Column("assigned", UtcTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_assignments_annotator_id"), "assignments", ["annotator_id"])
    op.create_index(op.f("ix_assignments_pair_id"), "assignments", ["pair_id"])
    op.create_table(
        "judgements",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column(
            "assignment",
            sa.String(32),
            sa.ForeignKey("assignments.id", ondelete="CASCADE"),
            nullable=False,
            unique=True,
        ),
        sa.Column("preference", sa.SmallInteger),
        sa.Column("flagged", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("judged", UtcTime, nullable=False),
        sa.Column("withdrawn", UtcTime),
        sa.CheckConstraint("preference BETWEEN -2 AND 2", name="preference"),
        sa.CheckConstraint("preference IS NOT NULL OR flagged", name="answered"),
        sqlite_autoincrement=True,
    )
