"""Everything on one machine with no server installed: a worker process that belongs to a command.

The worker is a process of its own, so that the command stays small and the worker can be killed
and started again without the command noticing more than a pause.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from tagging.errors import AtelierError
from tagging.private_files import make_private_folder, open_private
from tagging.settings import Settings
from worker.watchdog import STUCK_CODE

MOST_FAILURES: Final = 3
"""A worker that ends with an error of its own so often, while nothing gets done, is given up."""
MOST_DEATHS: Final = 10
"""The same for one that is killed or crashes: the sweeper needs some to convict a product."""


class WorkerFailedError(AtelierError):
    """The worker process cannot run; the message holds the end of its log."""


class EmbeddedWorker:
    """A worker process that is started again when it dies. `watch` must be called regularly."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.log_path = settings.home / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._deaths = 0
        self._progress = -1

    def start(self) -> None:
        environment = {**os.environ, **environment_of(self._settings)}
        for name in unset_in(self._settings):
            environment.pop(name, None)
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        make_private_folder(self.log_path.absolute().parent)
        with os.fdopen(open_private(self.log_path, os.O_WRONLY | os.O_APPEND), "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "worker", "--with-parent"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def watch(self, progress: int) -> None:
        """Start the worker again if it died.

        Args:
            progress: grows while work gets done; what came before it grew is forgiven.

        Raises:
            WorkerFailedError: it dies again and again while nothing gets done.
        """
        if progress != self._progress:
            self._progress, self._failures, self._deaths = progress, 0, 0
        if self._process is None or self._process.poll() is None:
            return
        code = self._process.returncode
        self._deaths += 1
        # A positive code is the worker's own verdict, a negative one the signal that killed it.
        # That it was stuck is no verdict on itself: the sweeper needs some of these, too.
        self._failures += code > 0 and code != STUCK_CODE
        if self._failures >= MOST_FAILURES or self._deaths >= MOST_DEATHS:
            raise WorkerFailedError(
                f"the worker ended {self._deaths} times, the last time with exit code {code}. "
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


def environment_of(settings: Settings) -> dict[str, str]:
    """`ATELIER_*` for a child that must work with exactly these settings, wherever it stands."""
    found: dict[str, str] = {}
    for name, value in settings.model_dump().items():
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
        elif isinstance(value, Path):
            text = str(value.absolute())
        elif isinstance(value, tuple):
            text = json.dumps(value)
        else:
            text = str(value)
        if value is not None:
            found[f"ATELIER_{name.upper()}"] = text
    return found


def unset_in(settings: Settings) -> list[str]:
    """`ATELIER_*` that must not reach such a child from the environment."""
    return [f"ATELIER_{n.upper()}" for n, value in settings.model_dump().items() if value is None]


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
