"""Alembic's migrations of a collection's tables, one module per version in ``versions``."""
