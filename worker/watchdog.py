"""Stuck is dead: ends a worker whose threads no longer come round, so that another one is started.

A thread cannot be ended from outside, so the process goes: it writes the stacks of its threads,
gives back what is not stuck, and exits; its supervisor starts another. The thread that watches asks
neither database nor broker, so that nothing which hangs them hangs it.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from tagging.database import batches
from tagging.database.batches import Lease
from tagging.database.session import Database
from tagging.in_hand import InHand

STUCK_CODE: Final = 75
"""Exit code of a worker that was stuck: EX_TEMPFAIL of sysexits.h, try again."""
FAREWELL_S: Final = 1.5
"""How long the database may take to take leases back before the process ends without it."""

log = structlog.get_logger("worker")


@dataclass(eq=False, kw_only=True)
class Rounds:
    """When each loop of this process last came round. Thread-safe."""

    monotonic: Callable[[], float] = time.monotonic
    _last: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mark(self, loop: str) -> None:
        """Say that this loop moved on."""
        with self._lock:
            self._last[loop] = self.monotonic()

    def forgive(self) -> None:
        """Count from now on: this process was stopped, and nothing in it could move."""
        with self._lock:
            self._last = dict.fromkeys(self._last, self.monotonic())

    def overdue(self, after_s: float) -> list[str]:
        """The loops that did not move on for so long."""
        now = self.monotonic()
        with self._lock:
            return [loop for loop, last in self._last.items() if now - last >= after_s]


@dataclass(eq=False, kw_only=True)
class Ear:
    """Whether messages that wait on the broker still reach this process.

    A connection whose answers were lost on the way looks as one on which nothing comes. So: with
    nothing in hand, messages on the broker and none delivered for `patience_s`, it is deaf.
    """

    in_hand: InHand
    patience_s: float
    monotonic: Callable[[], float] = time.monotonic
    _since: float | None = None
    _heard: int = -1

    def deaf(self, depth: int | None) -> bool:
        """`depth`: messages that wait just now; None if the broker could not be asked."""
        heard, now = self.in_hand.deliveries, self.monotonic()
        if not depth or self.in_hand.busy:
            self._since = None
            return False
        if self._since is None or heard != self._heard:
            self._heard, self._since = heard, now
        return now - self._since >= self.patience_s


@dataclass(eq=False, kw_only=True)
class Watchdog:
    """Looks every `every_s`, in a thread of its own, until `ended`.

    Work may go without a step, and a loop without coming round, for `stuck_s`; for the last
    `stale_s` of these the lease does not beat any more. To load a model it may take `load_s` and
    `stale_s`; there is no lease then.
    """

    database: Database
    in_hand: InHand
    rounds: Rounds
    every_s: float
    stuck_s: float
    stale_s: float

    def watch(self, ended: threading.Event) -> None:
        """The thread's body."""
        looked = self.rounds.monotonic()
        while not ended.wait(self.every_s):
            before, looked = looked, self.rounds.monotonic()
            if looked - before > self.every_s + self.stale_s:
                self.rounds.forgive()
                self.in_hand.forgive()
                continue
            stuck = self.in_hand.stuck(self.stale_s)
            overdue = self.rounds.overdue(self.stuck_s)
            unleased = self.in_hand.overdue(self.stale_s)
            if stuck or overdue or unleased:
                # The stuck leases are left to the sweeper: they count against their batches.
                self.die(
                    batches=[lease.batch_id for lease in stuck],
                    loops=overdue,
                    unleased=unleased,
                    but=stuck,
                )

    def die(self, *, but: Sequence[Lease] = (), **said: object) -> None:
        """Say why and with which stacks, and end the process."""
        _end_after(2 * FAREWELL_S, STUCK_CODE)  # whoever hangs may be in the middle of a log line
        log.error("stuck", **said)
        _dump_stacks()
        give_back_and_exit(self.database, self.in_hand, STUCK_CODE, but=but)


class StartClock:
    """Ends a process whose start hangs, before there is a lease that could tell of it."""

    def __init__(self, most_s: float) -> None:
        """`most_s`: how long each part of the start may take, seconds."""
        self._most_s = most_s
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """A part begins, and whatever was before it is over."""
        self.end()
        self._timer = threading.Timer(self._most_s, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        # Where no thread of Python runs any more; its exit code cannot be chosen.
        faulthandler.dump_traceback_later(self._most_s + FAREWELL_S, exit=True)

    def end(self) -> None:
        """All parts are over."""
        faulthandler.cancel_dump_traceback_later()
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        _end_after(FAREWELL_S, STUCK_CODE)
        log.error("stuck", start=True)
        _dump_stacks()
        os._exit(STUCK_CODE)


def _end_after(seconds: float, code: int) -> None:
    last = threading.Timer(seconds, os._exit, args=(code,))
    last.daemon = True
    last.start()


def _dump_stacks() -> None:
    # A full disk, or no standard error, saves nobody.
    with suppress(OSError, ValueError, RuntimeError):
        faulthandler.dump_traceback(all_threads=True)


def give_back_and_exit(
    database: Database, in_hand: InHand, code: int, but: Sequence[Lease] = ()
) -> None:
    """Give all leases back but these, and end the process, also if the database does not answer."""
    _end_after(FAREWELL_S, code)
    leases = [lease for lease in in_hand.leases() + in_hand.abandoned() if lease not in but]
    try:
        with database.write("worker.give_back") as session:
            for lease in leases:
                batches.give_back(session, lease)
            session.commit()
        log.warning("gave_back", batches=[lease.batch_id for lease in leases])
    except DBAPIError as error:
        log.error("could_not_give_back", error=str(error.orig))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
