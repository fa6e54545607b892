"""How Alembic runs the migrations: on the connection, and in the transaction, of ``database``."""

from __future__ import annotations

from alembic import context

from ethosteer.collect.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite changes a table by writing it anew
)
with context.begin_transaction():
    context.run_migrations()
