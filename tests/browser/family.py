"""Processes and all that they started, so that a test can see that nothing is left of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

Process = tuple[int, int]
"""A process id, and when that process began: ids are given again."""

PATIENCE_S = 20.0


@contextmanager
def none_left() -> Iterator[Callable[[], None]]:
    """Fails if a process that was started within lives on for long after it.

    Yields a function that looks who is there. It must be called before anything is stopped:
    whose parent is dead already cannot be told from strangers.
    """
    before = family(os.getpid())
    seen: set[Process] = set()

    def look() -> None:
        seen.update(family(os.getpid()) - before)

    yield look
    must_end(seen)


def must_end(processes: set[Process]) -> None:
    """Fails if one of them lives on for long; then it is killed."""
    until = time.monotonic() + PATIENCE_S
    while (left := living(processes)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid, _ in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if left:
        pytest.fail(f"these processes were left behind: {sorted(left)}")


def family(root: int) -> set[Process]:
    """The process `root`, all that it started, all that these started, and so on (Linux)."""
    everybody = {pid: (parent, began) for pid, parent, began in _all()}
    found = {root} & everybody.keys()
    while children := {
        pid for pid, (parent, _) in everybody.items() if parent in found and pid not in found
    }:
        found |= children
    return {(pid, everybody[pid][1]) for pid in found}


def living(processes: set[Process]) -> set[Process]:
    """Those that still run; who ended and was not waited for yet does not count."""
    return processes & {(pid, began) for pid, _, began in _all()}


def _all() -> Iterator[tuple[int, int, int]]:
    """(id, id of the parent, when it began in ticks) of every process that runs."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name stands in brackets and may hold anything.
            state, parent, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            if state not in "ZX":
                yield int(folder.name), int(parent), int(rest[17])
