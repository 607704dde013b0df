"""How many products wait, told to many pages and counted seldom.

Every page asks after each verdict. Counting 150,000 takes 0.1 s of the database, so twenty people
would keep it busy with nothing else; few are counted anew each time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from tagging import desk
from tagging.database.session import Database

MANY: Final = 10_000
"""From so many on a number of them is told again for a while."""

KEPT_S: Final = 2.0
"""For how long."""


class WaitingCounts:
    """`desk.counts` of each retailer. Thread-safe; one per process.

    Args:
        monotonic: a clock, in seconds.
    """

    def __init__(
        self, database: Database, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._known: dict[int, tuple[float, dict[str, Any]]] = {}
        self._locks: dict[int, threading.Lock] = {}

    def of(self, retailer_id: int) -> dict[str, Any]:
        """As `desk.counts`; where many wait, as they were at most `KEPT_S` and a count's time ago.

        Not to be changed.
        """
        lock = self._locks.setdefault(retailer_id, threading.Lock())
        known = self._known.get(retailer_id)
        if known is not None and self._is_fresh(known):
            return known[1]
        # Who comes while it is counted is told what was known before; where nothing was, they wait.
        if not lock.acquire(blocking=known is None) and known is not None:
            return known[1]
        try:
            known = self._known.get(retailer_id)
            if known is not None and self._is_fresh(known):
                return known[1]
            counted = desk.counts(self._database, retailer_id)
            if counted["waiting"] + counted["audit"] >= MANY:
                self._known[retailer_id] = (self._monotonic(), counted)
            else:
                self._known.pop(retailer_id, None)
            return counted
        finally:
            lock.release()

    def _is_fresh(self, known: tuple[float, dict[str, Any]]) -> bool:
        return self._monotonic() < known[0] + KEPT_S
