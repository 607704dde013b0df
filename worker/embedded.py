"""Everything on one machine with no server installed: a worker process that belongs to a command.

The worker is a process of its own, so that the command stays small and the worker can be killed
and started again without the command noticing more than a pause.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tagging.errors import AtelierError
from tagging.settings import Settings

MOST_FAILED_STARTS: Final = 3
"""A worker that ends with an error so often without getting ready is given up."""


class WorkerFailedError(AtelierError):
    """The worker process cannot run; the message holds the end of its log."""


class EmbeddedWorker:
    """A worker process that is started again when it dies. `watch` must be called regularly."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.log_path = settings.home / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._started_at = 0.0

    def start(self) -> None:
        settings = self._settings
        environment = dict(os.environ)
        environment["ATELIER_HOME"] = str(settings.home.absolute())
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "worker", "--with-parent"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self._started_at = time.monotonic()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def watch(self) -> None:
        """Start the worker again if it died.

        Raises:
            WorkerFailedError: it failed several times in a row soon after its start.
        """
        if self._process is None or self._process.poll() is None:
            return
        soon = time.monotonic() - self._started_at < 60
        code = self._process.returncode
        # A kill (negative code) is an accident; an exit code of 1 is the worker's own verdict.
        self._failures = self._failures + 1 if code > 0 and soon else 0
        if self._failures >= MOST_FAILED_STARTS:
            raise WorkerFailedError(
                f"the worker ended {self._failures} times with exit code {code}. "
                f"The end of {self.log_path}:\n{_tail(self.log_path)}"
            )
        self._close_pipe()
        self.start()

    def stop(self) -> None:
        """End the worker: it finishes or gives back what it has in hand."""
        if self._process is None:
            return
        # End of its standard input: it sees its parent gone, and shuts down cleanly.
        self._close_pipe()
        try:
            self._process.wait(timeout=self._settings.stop_s + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


@contextmanager
def embedded_worker(settings: Settings) -> Iterator[EmbeddedWorker]:
    """A running worker that ends with the block."""
    worker = EmbeddedWorker(settings)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def _tail(path: Path, most_bytes: int = 2000) -> str:
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - most_bytes))
        return stream.read().decode(errors="replace")
