"""How long a server that fails again and again is waited for.

Without it, a manifest of 10,000 images on a server that is down would take days to say so; with too
little of it, a minute without that server would cost them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from tagging.fetch.network import StoppedError

FAILURES: Final = 10
"""So many images in a row that could not be fetched are taken for a server that is down."""
MOST_HOSTS: Final = 10_000
"""Hosts remembered; then all are forgotten."""

log = structlog.get_logger("fetch")


@dataclass(slots=True)
class _Run:
    """Failures in a row. `asked_at`: when it was last looked whether the server is back."""

    failures: int
    since: float
    asked_at: float


class HostPatience:
    """Counts failures of each host. A host that is down is asked once in `pause_s`; while it has
    been down for less than `give_up_s`, images wait for that, later ones are refused at once."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        pause_s: float = 15.0,
        give_up_s: float = 300.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._pause_s = pause_s
        self._give_up_s = give_up_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}

    def wait_for(self, host: str, stopped: threading.Event) -> str | None:
        """Return when `host` may be asked: None, or why it is not.

        Raises:
            StoppedError: nobody waits any longer.
        """
        while True:
            with self._lock:
                run = self._runs.get(host)
                if run is None or run.failures < self._failures:
                    return None
                now = self._monotonic()
                if now - run.asked_at >= self._pause_s:
                    run.asked_at = now
                    return None
                if now - run.since >= self._give_up_s:
                    return (
                        f"its server failed {run.failures} times in a row, so it was not asked "
                        "again. Deliver the line again when it answers, or deliver the file."
                    )
                left_s = run.asked_at + self._pause_s - now
            if stopped.wait(min(left_s, 1.0)):
                raise StoppedError

    def answered(self, host: str) -> None:
        """The server works, whatever it said."""
        with self._lock:
            self._runs.pop(host, None)

    def failed(self, host: str) -> None:
        """All tries for one image failed."""
        now = self._monotonic()
        with self._lock:
            if host not in self._runs and len(self._runs) >= MOST_HOSTS:
                self._runs.clear()
            run = self._runs.setdefault(host, _Run(failures=0, since=now, asked_at=now))
            run.failures += 1
            run.asked_at = now
            begins_to_wait = run.failures == self._failures
        if begins_to_wait:
            log.warning(
                "server fails",
                host=host,
                images=self._failures,
                note=f"asked again every {self._pause_s:.0f} s; after {self._give_up_s:.0f} s its "
                "images are rejected",
            )
