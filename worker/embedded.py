"""Everything on one machine with no server installed: a worker process that belongs to a command.

The worker is a process of its own, so that the command stays small and the worker can be killed
and started again without the command noticing more than a pause.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

import structlog
from pydantic import SecretStr

from tagging.errors import AtelierError
from tagging.private_files import make_private_folder, open_private
from tagging.settings import Settings
from worker.watchdog import STUCK_CODE

MOST_FAILURES: Final = 3
"""A worker that ends with an error of its own so often, while nothing gets done, is given up."""
MOST_DEATHS: Final = 10
"""The same for one that is killed or crashes."""
LOOK_S: Final = 0.2
PAUSE_S: Final = 1.0
"""Before another worker is started: one that dies at once must not take the whole machine."""
SOUND_S: Final = 60.0
"""A worker that ran for so long could run; whatever ended it may be over."""


log = structlog.get_logger("worker")


class WorkerFailedError(AtelierError):
    """The worker process cannot run; the message holds the end of its log."""


class WorkerProcess:
    """`atelier worker` with exactly these settings, as a child that ends when this process does."""

    def __init__(self, settings: Settings, *, log_path: Path | None = None) -> None:
        """`log_path`: where its output goes; None for this process's own."""
        self._settings = settings
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or another one where it ended."""
        self._close_pipe()
        environment = {**os.environ, **environment_of(self._settings)}
        for name in unset_in(self._settings):
            environment.pop(name, None)
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with ExitStack() as to_close:
            output: IO[bytes] | None = None
            if self._log_path is not None:
                make_private_folder(self._log_path.absolute().parent)
                flags = os.O_WRONLY | os.O_APPEND
                output = to_close.enter_context(
                    os.fdopen(open_private(self._log_path, flags), "ab")
                )
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "worker", "--with-parent"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment,
            )

    def code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs or was not started."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """End it: it finishes or gives back what it has in hand."""
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


class EmbeddedWorker:
    """A worker process that is started again when it dies. `watch` must be called regularly."""

    def __init__(self, settings: Settings) -> None:
        self.log_path = settings.home / "worker.log"
        self._process = WorkerProcess(settings, log_path=self.log_path)
        self._failures = 0
        self._deaths = 0
        self._progress = -1

    def start(self) -> None:
        self._process.start()

    def watch(self, progress: int) -> None:
        """Start the worker again if it died.

        Args:
            progress: grows while work gets done, or while deaths are counted against what may have
                caused them; what came before it grew is forgiven.

        Raises:
            WorkerFailedError: it dies again and again while nothing gets done.
        """
        if progress != self._progress:
            self._progress, self._failures, self._deaths = progress, 0, 0
        code = self._process.code()
        if code is None:
            return
        self._deaths += 1
        self._failures += is_its_own_verdict(code)
        if self._failures >= MOST_FAILURES or self._deaths >= MOST_DEATHS:
            raise WorkerFailedError(
                f"the worker ended {self._deaths} times, the last time with exit code {code}. "
                f"The end of {self.log_path}:\n{_tail(self.log_path)}"
            )
        self._process.start()

    def stop(self) -> None:
        """End the worker: it finishes or gives back what it has in hand."""
        self._process.stop()


def is_its_own_verdict(code: int) -> bool:
    """Whether a worker that ended so could not run; else something ended it, or it was stuck."""
    return code > 0 and code != STUCK_CODE


def supervise(settings: Settings, *, pause_s: float = PAUSE_S) -> int:
    """Run a worker until SIGTERM or SIGINT, another one whenever it is killed or stuck.

    One that ends by a verdict of its own within `SOUND_S` of its start has said what to do, and no
    other would do better.

    Returns:
        The exit code: 0 after it was told to stop, else the worker's.
    """
    told = threading.Event()
    process = WorkerProcess(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    while not told.is_set():
        process.start()
        began = time.monotonic()
        while (code := process.code()) is None and not told.wait(LOOK_S):
            pass
        if code is None:
            break
        if code == 0 or (is_its_own_verdict(code) and time.monotonic() - began < SOUND_S):
            return code
        log.warning("worker_ended", code=code, next="another one is started")
        told.wait(pause_s)
    process.stop()
    return 0


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
