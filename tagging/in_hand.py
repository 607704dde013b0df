"""What one worker process has in hand: leases, their progress, and the way to hand them back.

Shared by the threads that tag, the one that beats, and the one that ends the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tagging.database.batches import Lease


@dataclass(eq=False, kw_only=True)
class Work:
    """One leased batch in hand. `progress` counts steps; only a change of it earns a beat."""

    lease: Lease
    progress: int = 0
    beaten: int = -1

    def step(self) -> None:
        """Say that the work moved on."""
        self.progress += 1


@dataclass(eq=False)
class InHand:
    """The leases of this process. Thread-safe."""

    _works: set[Work] = field(default_factory=set)
    _abandoned: dict[str, Lease] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _gate: threading.Condition = field(default_factory=threading.Condition)
    _sharing: int = 0
    _alone: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def room(self, *, alone: bool) -> Iterator[None]:
        """Wait until this work may start: with others, or as the sole work in hand.

        Work that may have crashed a worker runs alone, so that a further crash convicts it and
        nobody else.
        """
        with self._gate:
            if alone:
                self._gate.wait_for(lambda: not self._alone and self._sharing == 0)
                self._alone = True
            else:
                self._gate.wait_for(lambda: not self._alone)
                self._sharing += 1
        try:
            yield
        finally:
            with self._gate:
                if alone:
                    self._alone = False
                else:
                    self._sharing -= 1
                self._gate.notify_all()

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[Work]:
        """Register a lease while it is worked on."""
        work = Work(lease=lease)
        with self._lock:
            self._works.add(work)
        try:
            yield work
        finally:
            with self._lock:
                self._works.discard(work)

    def leases(self) -> list[Lease]:
        """All leases in hand."""
        with self._lock:
            return [work.lease for work in self._works]

    def abandon(self, lease: Lease) -> None:
        """Remember a lease that could not be given back because the database was away."""
        with self._lock:
            self._abandoned[lease.token] = lease

    def abandoned(self) -> list[Lease]:
        """Leases that are still to be given back."""
        with self._lock:
            return list(self._abandoned.values())

    def settled(self, lease: Lease) -> None:
        """An abandoned lease was given back (or was not ours any more)."""
        with self._lock:
            self._abandoned.pop(lease.token, None)

    def moved_since_last_beat(self) -> list[Lease]:
        """The leases that moved on since this was last asked."""
        with self._lock:
            moved = [work for work in self._works if work.progress != work.beaten]
            for work in moved:
                work.beaten = work.progress
            return [work.lease for work in moved]
