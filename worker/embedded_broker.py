"""The broker of one machine: Kombu's SQLAlchemy transport on an SQLite file of its own.

The file holds doorbell messages only; everything in it can be made again from the database. So it
is written without fsync, a message is deleted when it is taken (Kombu keeps taken ones for ever),
and a file that is damaged or gone is replaced by an empty one: the sweeper then rings again.

`doorbell+sqlite:////path/to/broker.db`, after `register()`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
import structlog
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import sqlalchemy as kombu_sqlalchemy
from kombu.transport.virtual.base import Empty
from kombu.transport.virtual.base import QoS as VirtualQoS
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import sessionmaker

from tagging.private_files import make_private_file

SCHEME: Final = "doorbell"
BUSY_TIMEOUT_S: Final = 20.0

log = structlog.get_logger("broker")


def register() -> None:
    """Make the `doorbell+sqlite` scheme known to Kombu."""
    TRANSPORT_ALIASES[SCHEME] = "worker.embedded_broker:Transport"


def mend(path: Path) -> bool:
    """Put a damaged broker file aside; True if there was one. A missing file is no damage."""
    if not path.exists():
        return False
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            return False
        verdict = str(error)
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict == "ok":
        return False
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    log.warning(
        "broker_file_damaged",
        file=str(path),
        found=verdict,
        put_aside=str(aside),
        note="nothing is lost: the messages are made again from the database",
    )
    return True


class QoS(VirtualQoS):
    """Kombu's, which keeps no copy of what it cannot give back: it would write a file into the
    folder for temporary ones, each time, for nobody to read.
    """

    def restore_unacked(self) -> list[Any]:
        left = super().restore_unacked()
        if left:
            log.info(
                "messages_not_returned",
                count=len(left),
                error=str(left[0][0]),
                note="nothing is lost: their batches are announced again",
            )
        return []


class Channel(kombu_sqlalchemy.Channel):
    """A channel whose every transaction opens the file anew, so that it follows a replaced one."""

    QoS = QoS

    def _open(self) -> tuple[sa.Engine, Any]:
        # Per channel, not cached for the process as in Kombu: a reconnect after the file was
        # replaced must make the tables again.
        engine = sa.create_engine(
            self.connection.client.hostname,
            poolclass=sa.NullPool,
            connect_args={"timeout": BUSY_TIMEOUT_S},
        )
        sa.event.listen(engine, "do_connect", _make_private)
        sa.event.listen(engine, "connect", _prepare)
        database = engine.url.database
        if database:
            mend(Path(database))
        kombu_sqlalchemy.metadata.create_all(engine)
        return engine, sessionmaker(bind=engine)

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002
        found = self._get_or_create(queue)
        session = self.session
        # Closed first: BEGIN IMMEDIATE must be the first statement of the transaction.
        queue_id = found.id
        session.commit()
        message = self.message_cls.__table__
        session.execute(sa.text("BEGIN IMMEDIATE"))
        try:
            row = session.execute(
                sa.select(message.c.id, message.c.payload)
                .where(message.c.queue_id == queue_id, message.c.visible.is_(True))
                .order_by(message.c.id)
                .limit(1)
            ).one_or_none()
            if row is None:
                raise Empty()
            session.execute(sa.delete(message).where(message.c.id == row.id))
            session.commit()
        finally:
            session.rollback()
        return loads(bytes_to_str(row.payload))

    def _size(self, queue: str) -> int:
        try:
            return int(super()._size(queue))
        finally:
            # Kombu leaves the transaction open, and with it a file that may be replaced.
            self.session.rollback()


class Transport(kombu_sqlalchemy.Transport):
    """Kombu's transport, which also reconnects when the file turns out to be damaged."""

    Channel = Channel
    connection_errors = (DatabaseError, sqlite3.DatabaseError)
    # Seconds between looks when idle; one look costs well under a millisecond.
    polling_interval = 0.25

    def drain_events(self, connection: Any, timeout: float | None = None) -> Any:
        """As Kombu's, but it gives up sooner where this worker was told to stop: Celery looks for
        that once in two seconds, between two calls, and whoever runs `atelier tag` waits for it.
        """
        if timeout is None:
            return super().drain_events(connection)
        until = time.monotonic() + timeout
        while True:
            some_s = min(2 * self.polling_interval, max(0.0, until - time.monotonic()))
            try:
                return super().drain_events(connection, timeout=some_s)
            except TimeoutError:
                if _told_to_stop() or time.monotonic() >= until:
                    raise


def _told_to_stop() -> bool:
    from celery.worker import state  # who only announces needs none of it

    # Exit codes, of which 0 is one; None and False where nobody asked.
    asked = (state.should_stop, state.should_terminate)
    return any(code is not None and code is not False for code in asked)


def _make_private(_dialect: Any, _record: Any, arguments: list[Any], _options: Any) -> None:
    """SQLite would make a missing file by the umask; where it cannot be made, it says so itself."""
    with contextlib.suppress(OSError):
        make_private_file(Path(arguments[0]))


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=OFF")
    cursor.close()
