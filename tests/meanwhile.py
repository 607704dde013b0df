"""Two acts on one product: the second is done where the first reaches a boundary.

Where the first act is in the middle of a transaction, the second begins in a thread and may have to
wait for it. Everything that happens to a product is written down by the journal of the fault tests,
and read at the end: each step must have had the right to happen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import sqlalchemy as sa

from tagging.database.tables import Product, ProductCount
from tagging.domain import Status
from tests.faults.journal import install
from tests.faults.promises import check_rows
from tests.stand_in import Services

UNLEASED: Final = ("lease", "tag.model", "tag.model_ready")
LEASING: Final = ("batch.lease.commit", "batch.lease.committed")
BETWEEN: Final = ("tag.decode", "tag.decoded", "tag.image", "tag.classify", "tag.classified")
WRITING: Final = ("batch.write.commit", "batch.write.committed")
TAGGING: Final = (*UNLEASED, *LEASING, *BETWEEN, *WRITING)
STORING: Final = ("image.write", "image.written", "image.synced", "image.renamed", "image.stored")
RECEIVING: Final = (
    "upload.begin.commit",
    "upload.begin.committed",
    *STORING,
    "upload.receive.commit",
    "upload.receive.committed",
    "upload.received.commit",
    "upload.received.committed",
)
FILING: Final = ("upload.file.commit", "upload.file.committed")
RETAGGING: Final = (
    "retag.request.commit",
    "retag.request.committed",
    "retag.looked",
    "retag.page.commit",
    "retag.page.committed",
)
REVIEWING: Final = {
    "one": ("review.one.commit", "review.one.committed"),
    "act": ("review.act.commit", "review.act.committed"),
}
UNDOING: Final = ("review.undo.commit", "review.undo.committed")

WEIGHTS: Final = {status: 1000**number for number, status in enumerate(Status)}
_SAID: Final = sa.func.sum(
    ProductCount.products * sa.case(WEIGHTS, value=ProductCount.status, else_=0).cast(sa.BigInteger)
)
"""What `product_counts` says of each status, as one number."""
_THERE: Final = sa.func.sum(sa.case(WEIGHTS, value=Product.status).cast(sa.BigInteger))
_COUNTED: Final = sa.select(
    sa.select(sa.func.coalesce(_SAID, 0).cast(sa.BigInteger)).scalar_subquery(),
    sa.select(sa.func.coalesce(_THERE, 0).cast(sa.BigInteger)).scalar_subquery(),
)
"""In one statement: another act may commit between two."""
_HELD_UP: Final = sa.text(
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event IN ('transactionid', 'tuple')"
)


class Watched:
    """Acts whose commits are all watched, and whose boundaries are told to `_reach`."""

    def __init__(self, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        install(services.database)
        self._services = services
        monkeypatch.setattr("tagging.tag.failpoint", self._pass)
        monkeypatch.setattr("tagging.retag.failpoint", self._pass)
        monkeypatch.setattr("tagging.images.store.failpoint", self._pass)
        monkeypatch.setattr(
            "tagging.database.session.commitpoint",
            lambda transaction, moment: self._pass(f"{transaction}.{moment}"),
        )

    def watch(self) -> None:
        """What is counted is what is there."""
        with self._services.database.read() as session:
            said, there = session.execute(_COUNTED).one()
        assert said == there, f"counted as {said}, there are {there}"

    def check(self) -> None:
        """Read the journal and the rows, once nothing is in hand any more."""
        with self._services.database.read() as session:
            broken = check_rows(session)
        assert not broken, str(broken)

    def _pass(self, boundary: str, _: str | None = None) -> None:
        if boundary.endswith(".committed"):
            self.watch()
        self._reach(boundary)

    def _reach(self, boundary: str) -> None:
        """Called in the thread of whoever is at a boundary; goes on when this returns."""
        raise NotImplementedError


class Meanwhile(Watched):
    """An act that happens once, where another one reaches a boundary; and all commits watched.

    The clock moves on with each act, so that the journal tells one machine's write from the next.
    """

    def __init__(self, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(services, monkeypatch)
        self._at: tuple[str, Callable[[], object], bool] | None = None
        self._thread: threading.Thread | None = None
        self._raised: list[BaseException] = []

    @contextmanager
    def at(
        self, boundary: str, act: Callable[[], object], *, waits: bool | None = None
    ) -> Iterator[None]:
        """Within the block, `act` is done when `boundary` is reached; both are over at its end.

        `waits`: whether it must be held up until the first act's commit. None: at the commit of
        what a worker found, for whatever is done to a product, its photos or who is in charge
        waits for that.
        """
        self._services.clock.seconds += 1
        self._at = (boundary, act, boundary == "batch.write.commit" if waits is None else waits)
        if boundary == "lease":
            self._reach(boundary)
        yield
        assert self._at is None, f"{boundary} was not reached"
        if self._thread is not None:
            self._thread.join(30)
            assert not self._thread.is_alive()
            self._thread = None
        if self._raised:
            raise self._raised.pop()
        self._services.clock.seconds += 1
        self.watch()

    def _reach(self, boundary: str) -> None:
        if self._at is None or self._at[0] != boundary:
            return
        (_, act, must_wait), self._at = self._at, None
        self._services.clock.seconds += 1
        if boundary.endswith(".commit"):
            began = threading.Event()
            self._thread = threading.Thread(target=self._do, args=(act, began))
            self._thread.start()
            began.wait()
            if not self._is_held_up(self._thread) and must_wait:
                self._raised.append(AssertionError(f"nothing waited at {boundary}"))
        else:
            self._do(act, threading.Event())
            self._services.clock.seconds += 1

    def _is_held_up(self, thread: threading.Thread) -> bool:
        """Wait until the act in this thread is over, or waits for the transaction of this one."""
        until = time.monotonic() + 20
        while thread.is_alive() and time.monotonic() < until:
            if self._services.database.is_sqlite:
                # Whoever writes waits from the beginning of their transaction.
                thread.join(0.05)
                break
            with self._services.database.read() as session:
                if session.scalar(_HELD_UP):
                    break
            thread.join(0.005)
        return thread.is_alive()

    def _do(self, act: Callable[[], object], began: threading.Event) -> None:
        began.set()
        try:
            act()
        except BaseException as error:
            self._raised.append(error)


def named(boundaries: tuple[str, ...]) -> dict[str, str]:
    """A product for each boundary."""
    return {boundary: f"p{i:02}" for i, boundary in enumerate(boundaries)}
