"""Alembic's entry: runs the migrations on the connection that `tagging.database.schema` passes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from tagging.database.tables import Base


def run() -> None:
    connection: sa.Connection = context.config.attributes["connection"]
    if connection.dialect.name == "postgresql":
        # A migration that cannot have its lock soon gives up instead of blocking every worker.
        connection.execute(sa.text("SET lock_timeout = '10s'"))
        connection.execute(sa.text("SET statement_timeout = '15min'"))
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    context.run_migrations()


run()
