"""Copying an SQLite database while others work on it: SQLite's online backup."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from tagging.database.session import WAIT_S, copy_mark
from tagging.errors import BackupError
from tagging.private_files import open_private

STEP_PAGES: Final = 2048
"""8 MiB at SQLite's usual page: writers wait a few milliseconds for a step."""
_BUSY_PAUSE_S: Final = 0.02


def copy_database(
    source: Path,
    target: Path,
    *,
    step_pages: int = STEP_PAGES,
    patience_s: float = WAIT_S,
) -> None:
    """Make `target` the database `source` as one commit left it; nobody is stopped for it.

    First in steps, between which others may write. A write in between makes SQLite begin anew, and
    under steady writes that would never end. So from the first one on writers are kept out until
    all is copied: they wait before they begin (`Database`), and whoever reads goes on. Were they
    let begin, the first that wants to commit would wait with a lock that keeps new readers out,
    too. With a WAL a copy in one step keeps nobody waiting.

    Args:
        source: an SQLite file that may be in use.
        target: a file; what it holds is gone.
        step_pages: pages to a step.
        patience_s: how long another process may keep the file locked, each time, before this gives
            up.

    Raises:
        BackupError: the source stays locked, or one of the two cannot be read or written.
    """
    try:
        # No time-out of its own: `_Watch` counts, whoever holds the lock.
        with closing(_connect(source, timeout_s=0)) as reading:
            try:
                _copy(reading, target, step_pages, _Watch(patience_s, restarts=False))
            except _Overtaken:
                if _keeps_wal(source, patience_s):
                    _copy(reading, target, -1, _Watch(patience_s, restarts=True))
                    return
                with _writers_kept_out(source, patience_s) as on_step:
                    watch = _Watch(patience_s, restarts=True, on_step=on_step)
                    _copy(reading, target, step_pages, watch)
    except sqlite3.Error as error:
        raise BackupError(
            f"the database {source} cannot be copied to {target.parent}: {error}. Make room there, "
            "or name another file; `atelier check` looks at the database"
        ) from error


@contextmanager
def _writers_kept_out(source: Path, patience_s: float) -> Iterator[Callable[[], None]]:
    """Hold the lock of who writes, without writing; yields what shows that the copy gets on."""
    mark = copy_mark(source)
    with closing(_connect(source, timeout_s=patience_s)) as holding:
        _patiently(holding, "BEGIN IMMEDIATE", patience_s)
        try:
            # A mark of one that was killed is taken over.
            os.close(open_private(mark, os.O_WRONLY))
            yield lambda: os.utime(mark)
        finally:
            # In this order: who gives up waiting looks for the mark.
            holding.execute("ROLLBACK")
            mark.unlink(missing_ok=True)


def _keeps_wal(source: Path, patience_s: float) -> bool:
    # To ask needs a moment in which nobody commits.
    with closing(_connect(source, timeout_s=patience_s)) as asking:
        (mode,) = _patiently(asking, "PRAGMA journal_mode", patience_s).fetchone()
    return bool(mode == "wal")


def _patiently(connection: sqlite3.Connection, sql: str, patience_s: float) -> sqlite3.Cursor:
    try:
        return connection.execute(sql)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise BackupError(_locked_for(patience_s)) from error
        raise


def _locked_for(patience_s: float) -> str:
    return (
        f"the database was locked for {patience_s:.0f} s by another process; try again when that "
        "has ended"
    )


class _Overtaken(Exception):
    """Somebody wrote in between, and SQLite began anew."""


class _Watch:
    """Looks at the progress of a copy."""

    def __init__(
        self,
        patience_s: float,
        *,
        restarts: bool,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._patience_s = patience_s
        self._restarts = restarts
        self._on_step = on_step
        self._left: int | None = None
        self._moved = time.monotonic()

    def __call__(self, status: int, left: int, _total: int) -> None:
        stepped = status == sqlite3.SQLITE_OK  # else it is locked, or done
        if stepped and self._left is not None and left >= self._left and not self._restarts:
            raise _Overtaken
        now = time.monotonic()
        if left != self._left:
            self._left, self._moved = left, now
            self._on_step()
        elif now - self._moved > self._patience_s:
            raise BackupError(_locked_for(self._patience_s))


def _copy(reading: sqlite3.Connection, target: Path, pages: int, watch: _Watch) -> None:
    # Emptied, for a copy that was broken off, without a journal, leaves anything.
    os.close(open_private(target, os.O_RDWR | os.O_TRUNC))
    with closing(_connect(target, timeout_s=0)) as writing:
        # The copy is of no worth until it is whole, and is flushed then.
        writing.execute("PRAGMA journal_mode=OFF")
        writing.execute("PRAGMA synchronous=OFF")
        reading.backup(writing, pages=pages, progress=watch, sleep=_BUSY_PAUSE_S)


def _connect(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=timeout_s, isolation_level=None
    )
