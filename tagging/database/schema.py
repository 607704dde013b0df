"""Bringing a database to the schema that this version needs (Alembic), and checking that it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import migrations
from tagging.database.session import Database
from tagging.errors import SchemaError


def upgrade(database: Database, revision: str = "head") -> None:
    """Run the migrations up to `revision`, all in one transaction."""
    _run(database, lambda config: command.upgrade(config, revision))


def downgrade(database: Database, revision: str) -> None:
    """Run the migrations down to `revision` ("base" empties the database)."""
    _run(database, lambda config: command.downgrade(config, revision))


def current(database: Database) -> str | None:
    """The revision that the database is at; None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


@functools.cache
def head() -> str:
    """The revision that this version of Atelier needs; its scripts are read once."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise SchemaError("this installation has no migrations; install Atelier again")
    return revision


def knows(revision: str) -> bool:
    """Whether this version of Atelier has the revision: it can be brought to `head` from there."""
    scripts = ScriptDirectory.from_config(_config())
    return any(script.revision == revision for script in scripts.walk_revisions())


def require_current(database: Database) -> None:
    """Raise SchemaError unless the database is at `head`."""
    found, needed = current(database), head()
    if found != needed:
        raise SchemaError(
            f"the database is at migration {found or 'none'}, this version needs {needed}; "
            "run `atelier db upgrade`"
        )


def ensure_current(database: Database) -> None:
    """For the embedded default: migrate if that is needed. Two processes may call it at once."""
    if current(database) != head():
        upgrade(database)


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _run(database: Database, action: Callable[[Config], None]) -> None:
    with database.connect_to_write() as connection:
        action(_config(connection))
