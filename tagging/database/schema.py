"""Bringing a database to the schema that this version needs (Alembic), and checking that it is.

Every command checks, and hardly any migrates: Alembic is imported by those only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

import migrations
from tagging.database.session import Database
from tagging.errors import SchemaError

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS: Final = Path(migrations.__file__).parent
AT: Final = sa.table("alembic_version", sa.column("version_num", sa.String))
"""Alembic's own table, of one row."""


def upgrade(database: Database, revision: str = "head") -> None:
    """Run the migrations up to `revision`, all in one transaction."""
    from alembic import command

    _run(database, lambda config: command.upgrade(config, revision))


def downgrade(database: Database, revision: str) -> None:
    """Run the migrations down to `revision` ("base" empties the database)."""
    from alembic import command

    _run(database, lambda config: command.downgrade(config, revision))


def current(database: Database) -> str | None:
    """The revision that the database is at; None for an empty one.

    Raises:
        SchemaError: it says that it is at several.
    """
    with database.engine.connect() as connection:
        if not sa.inspect(connection).has_table(AT.name):
            return None
        found = connection.scalars(sa.select(AT.c.version_num).limit(10)).all()
    if len(found) > 1:
        raise SchemaError(
            f"the database says that it is at several migrations ({', '.join(sorted(found))}); "
            "restore a backup"
        )
    return found[0] if found else None


def head() -> str:
    """The revision that this version of Atelier needs. Raises SchemaError as `revisions` does."""
    return revisions()[-1]


def knows(revision: str) -> bool:
    """Whether this version of Atelier has the revision: it can be brought to `head` from there."""
    return revision in revisions()


def revisions() -> list[str]:
    """Every revision of this version, oldest first: its file is named by it and by what it does.

    Raises:
        SchemaError: this installation has no migrations.
    """
    found = sorted(path.name.split("_")[0] for path in SCRIPTS.glob("versions/[0-9]*_*.py"))
    if not found:
        raise SchemaError("this installation has no migrations; install Atelier again")
    return found


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
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _run(database: Database, action: Callable[[Config], None]) -> None:
    with database.connect_to_write() as connection:
        action(_config(connection))
