"""What one worker process has in hand: leases, their progress, and the way to hand them back.

Shared by the threads that tag, the one that beats, and the one that ends the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tagging.database.batches import Lease


@dataclass(eq=False, kw_only=True)
class Work:
    """One leased batch in hand. Its lease beats for `step_s` after each step, not longer."""

    lease: Lease
    step_s: float
    monotonic: Callable[[], float]
    alive_until: float = field(init=False)

    def __post_init__(self) -> None:
        self.step()

    def step(self) -> None:
        """Say that the work moved on."""
        self.alive_until = self.monotonic() + self.step_s


@dataclass(eq=False, kw_only=True)
class InHand:
    """The leases of this process. Thread-safe.

    `step_s`: how long a step of the work may take before its lease stops beating, seconds.
    `load_s`: how long a model may take to load before the work that waits for it counts as stuck.
    """

    step_s: float
    load_s: float = 300.0
    monotonic: Callable[[], float] = time.monotonic
    _works: set[Work] = field(default_factory=set)
    _abandoned: dict[str, Lease] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _gate: threading.Condition = field(default_factory=threading.Condition)
    _sharing: int = 0
    _alone: bool = False
    _waiting_alone: int = 0
    _loading: list[float] = field(default_factory=list)
    _unleased: dict[object, float] = field(default_factory=dict)
    _deliveries: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def room(self, *, alone: bool) -> Iterator[None]:
        """Wait until this work may start: with others, or as the sole work in hand.

        Work that may have crashed a worker runs alone, so that a further crash convicts it and
        nobody else.
        """
        with self._gate:
            if alone:
                # Announced, so that the others let it in before they go on among themselves.
                self._waiting_alone += 1
                self._gate.wait_for(lambda: not self._alone and self._sharing == 0)
                self._waiting_alone -= 1
                self._alone = True
            else:
                self._gate.wait_for(lambda: not self._alone and not self._waiting_alone)
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
        work = Work(lease=lease, step_s=self.step_s, monotonic=self.monotonic)
        with self._lock:
            self._works.add(work)
        try:
            yield work
        finally:
            with self._lock:
                self._works.discard(work)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """While the one inferring thread loads a model, all work may wait for it."""
        until = self.monotonic() + self.load_s
        with self._lock:
            self._loading.append(until)
        try:
            yield
        finally:
            with self._lock:
                self._loading.remove(until)
                for work in self._works:
                    work.step()

    @contextmanager
    def unleased(self, *, loads: bool) -> Iterator[None]:
        """While a batch is looked for, got ready or leased, or its message taken or acknowledged.

        `loads`: its model is loaded for it.
        """
        key, most_s = object(), self.load_s if loads else self.step_s
        with self._lock:
            self._unleased[key] = self.monotonic() + most_s
        try:
            yield
        finally:
            with self._lock:
                del self._unleased[key]

    def overdue(self, beyond_s: float) -> bool:
        """Whether something without a lease should have ended `beyond_s` ago or longer."""
        now = self.monotonic()
        with self._lock:
            return any(now >= until + beyond_s for until in self._unleased.values())

    @property
    def busy(self) -> bool:
        """Whether anything is in hand, or got ready to be."""
        with self._lock:
            return bool(self._works or self._unleased)

    def forgive(self) -> None:
        """Count from now on: this process was stopped, and nothing in it could move."""
        now = self.monotonic()
        with self._lock:
            for work in self._works:
                work.step()
            for key in self._unleased:
                self._unleased[key] = max(self._unleased[key], now + self.step_s)

    def deliver(self) -> None:
        """Say that a message came in."""
        with self._lock:
            self._deliveries += 1

    @property
    def deliveries(self) -> int:
        """How many messages came in so far."""
        with self._lock:
            return self._deliveries

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

    def stuck(self, beyond_s: float) -> list[Lease]:
        """The leases whose work stopped beating `beyond_s` ago or longer."""
        now = self.monotonic()
        with self._lock:
            return [work.lease for work in self._works if now >= self._until(work) + beyond_s]

    def alive(self) -> list[Lease]:
        """The leases whose work made a step recently enough to beat."""
        now = self.monotonic()
        with self._lock:
            return [work.lease for work in self._works if now < self._until(work)]

    def _until(self, work: Work) -> float:
        return max([work.alive_until, *self._loading])
