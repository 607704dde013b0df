"""Installations without proxies in the way, and a worker process at work in one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from tagging.settings import Settings
from worker.embedded import environment_of, unset_in

READY_S: Final = 120.0
STOP_S: Final = 60.0
SWEEPS: Final = b"sweeping"
"""What a worker's log says once it sits in the sweeper's chair, a moment after it is ready."""


def on_servers(home: Path, database: str, broker: str) -> Settings:
    """Of an installation with servers at these URLs, and all else in `home`."""
    return Settings(
        home=home,
        images_dir=home / "images",
        database_url=SecretStr(database),
        broker_url=SecretStr(broker),
    )


def environment(settings: Settings) -> dict[str, str]:
    """Of a process that works with exactly these settings."""
    unset = unset_in(settings)
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return {**inherited, **environment_of(settings)}


@contextmanager
def working(settings: Settings, log: Path, *, stand_in: bool = False) -> Iterator[None]:
    """A worker that is ready and sweeps, until the block ends.

    `log`: where it writes; a file that is not there yet. `stand_in`: its model is, and takes no
    time.

    Raises:
        RuntimeError: it ended, or is not ready in time.
    """
    shipped = ("worker", "worker", "--with-parent")
    module = ("tests.faults.stand_in_worker",) if stand_in else shipped
    with log.open("xb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *module],
            env=environment(settings),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    assert process.stdin is not None
    try:
        until = time.monotonic() + READY_S
        while SWEEPS not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > until:
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the worker is not ready ({process.returncode}): {said}")
            time.sleep(0.05)
        yield
        if process.poll() is not None:
            said = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the worker ended with {process.returncode}: {said}")
    finally:
        process.stdin.close()  # it ends when its parent does
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
