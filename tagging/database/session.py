"""The connection to the database: short read and write transactions, rolled back unless committed.

    with database.write("products.delist") as session:
        ...
        session.commit()

A write has a name, by which tests make it fail around its commit (`tagging/failpoints.py`).

SQLite (the embedded default): a write begins with BEGIN IMMEDIATE, so that it waits for its turn
at the start instead of failing in the middle. SQLite releases before 3.51.3 (3.50.7 and 3.44.6
excepted) can corrupt a database in WAL mode when it is reset under a reader, so those run with
`journal_mode=DELETE, synchronous=FULL`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from tagging.failpoints import commitpoint, failpoint
from tagging.private_files import make_private_file

WAIT_S: Final = 60.0
BACKUP_WAIT_S: Final = 30 * 60.0
"""How long a write may wait while a backup copies the database: some hundreds of gigabytes."""
_WRITE: Final = "atelier_write"


class Database:
    """An engine and the two kinds of transaction. Thread-safe; one per process.

    Args:
        url: SQLAlchemy URL; `sqlite:///FILE` or `postgresql+psycopg://...`.
        pool_size: how many connections a PostgreSQL engine keeps.
        wait_s: how long a transaction waits for what another one has locked, in seconds; and how
            long one that does nothing may keep others waiting (PostgreSQL ends its session).
        backup_wait_s: how long a write waits in all while a backup copies an SQLite database
            (`copy_mark`), if that is longer. 0 for who tries again by itself.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 5,
        wait_s: float = WAIT_S,
        backup_wait_s: float = BACKUP_WAIT_S,
    ) -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        # Errors would tell what was written: a session's token, the hash of a password.
        options: dict[str, Any] = {"hide_parameters": True}
        if self.is_sqlite:
            options["connect_args"] = {"timeout": wait_s}
        else:
            # pool_pre_ping: a restarted server costs a reconnect, not a failed batch.
            options |= {"pool_size": pool_size, "pool_pre_ping": True, "pool_timeout": wait_s}
            if self.url.get_driver_name() == "psycopg":
                options["connect_args"] = _of_psycopg(self.url, wait_s)
        self.engine = sa.create_engine(self.url, **options)
        if self.is_sqlite:
            if self.url.database not in (None, "", ":memory:"):
                sa.event.listen(self.engine, "do_connect", _make_private)
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", partial(_begin_sqlite, backup_wait_s))
        self._writing = self.engine.execution_options(**{_WRITE: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read transaction; what it changes is thrown away."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, name: str) -> Iterator[Session]:
        """A write transaction; nothing is kept without a visible `session.commit()`.

        `name`: of what it writes; its failpoints are `NAME.commit` and `NAME.committed`.
        """
        with _WritingSession(self._writing, name) as session:
            yield session

    @contextmanager
    def connect_to_write(self) -> Iterator[sa.Connection]:
        """A bare connection in a write transaction that commits at the end; for migrations."""
        with self._writing.begin() as connection:
            yield connection
            failpoint("schema.upgrade.commit")
        failpoint("schema.upgrade.committed")

    def close(self) -> None:
        self.engine.dispose()


def is_away(error: BaseException) -> bool:
    """Whether it says that the database as a whole could not be used, not what it was asked."""
    if isinstance(error, PoolTimeoutError | OperationalError | InterfaceError):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


class _WritingSession(Session):
    """A session with a failpoint before and after its commit."""

    def __init__(self, engine: sa.Engine, name: str) -> None:
        super().__init__(engine, expire_on_commit=False)
        self._name = name

    def commit(self) -> None:
        commitpoint(self._name, "commit")
        super().commit()
        commitpoint(self._name, "committed")


def wal_is_safe(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite is free of the WAL-reset bug (mended in 3.51.3, 3.50.7 and 3.44.6)."""
    if version >= (3, 51, 3):
        return True
    return (version[:2] == (3, 50) and version >= (3, 50, 7)) or (
        version[:2] == (3, 44) and version >= (3, 44, 6)
    )


def _of_psycopg(url: sa.URL, wait_s: float) -> dict[str, Any]:
    """libpq's parameters, but for those that the URL names."""
    wait_ms = round(wait_s * 1000)
    limits = f"-c lock_timeout={wait_ms} -c idle_in_transaction_session_timeout={wait_ms}"
    asked = url.query.get("options", "")
    parameters = {
        # A server that vanished without a word is given up in seconds, not after two hours, and
        # that and the next try to connect must end before who waits counts as stuck.
        "connect_timeout": max(2, min(10, round(wait_s / 6))),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": round(wait_s * 500),
        "options": f"{limits} {asked if isinstance(asked, str) else ' '.join(asked)}".strip(),
    }
    return {
        name: value
        for name, value in parameters.items()
        if name == "options" or name not in url.query
    }


def _make_private(_dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
    """SQLite would make a missing file by the umask; its journals get the mode of the file."""
    # Where it cannot be made, SQLite says so itself.
    with contextlib.suppress(OSError):
        make_private_file(Path(arguments[0]))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # None: the driver begins nothing by itself; `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    if wal_is_safe():
        cursor.execute("PRAGMA journal_mode=WAL")
    else:
        cursor.execute("PRAGMA journal_mode=DELETE")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def copy_mark(database: Path) -> Path:
    """The file beside an SQLite database that is there while a backup keeps writers out of it, and
    whose time of change moves as long as the backup gets on."""
    return database.with_name(f"{database.name}.copying")


def _begin_sqlite(backup_wait_s: float, connection: sa.Connection) -> None:
    if not connection.get_execution_options().get(_WRITE, False):
        connection.exec_driver_sql("BEGIN DEFERRED")
        return
    until = time.monotonic() + backup_wait_s
    seen: int | None = None
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            # Here alone: nothing was read or written yet, and no backup takes a lock from who is
            # further.
            before, seen = seen, _copied_at(connection)
            if not _is_locked(error) or seen in (None, before) or time.monotonic() >= until:
                raise
        else:
            return


def _copied_at(connection: sa.Connection) -> int | None:
    """When the backup that keeps writers out last got on, as its file system has it."""
    name = connection.engine.url.database
    if not name:
        return None
    try:
        return copy_mark(Path(name)).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _is_locked(error: OperationalError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY
