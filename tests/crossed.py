"""Two acts on one product that take turns: one goes on to a boundary, then the other one does.

In `tests/meanwhile.py` one act is done as a whole at a boundary of the other; here both are in the
middle at once. Each has a thread, and only one of them goes on at a time, so an order comes out the
same whenever it is played. Who waits for what the other one has locked is not waited for: the other
one goes on to its next boundary, which lies behind its commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import pytest
import sqlalchemy as sa

from tests.meanwhile import Watched
from tests.stand_in import Services

_LOOK_S: Final = 0.005
"""How often PostgreSQL is asked whether somebody waits, where somebody may."""
_END_S: Final = 60.0
_NEXT: Final = "the next boundary"
_WAITING: Final = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0"
)


class Crossed(Watched):
    """Plays orders of two acts; all commits are watched.

    The clock moves on with each turn, so that the journal tells one machine's write from the next.
    """

    def __init__(self, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(services, monkeypatch)
        self._turn = threading.Condition()
        self._came: dict[str, bool] = {}
        if services.database.is_sqlite:
            sa.event.listen(services.database.engine, "before_cursor_execute", self._begin)

    def play(
        self, first: Callable[[], object], there: str, second: Callable[[], object], here: str
    ) -> None:
        """`first` goes on to its boundary `there`, `second` to `here`, then each to its end.

        Where `second` finds less to do, it comes to its end and not to `here`.
        """
        one, other = _Acting(first, self._turn), _Acting(second, self._turn)
        try:
            self._go(one, other, until=there)
            if one.at != there:
                raise AssertionError(f"{there} was not reached") from one.raised
            self._go(other, one, until=here)
            self._came[here] = self._came.get(here, False) or other.at == here
            self._go(one, other)
            self._go(other, one)
        finally:
            for acting in (one, other):
                acting.end()
        for acting in (one, other):
            if acting.raised is not None:
                raise acting.raised
        self._services.clock.seconds += 1
        self.watch()

    def check(self) -> None:
        """Also that second acts came to each of the boundaries where they were to stand."""
        super().check()
        missed = [here for here, came in self._came.items() if not came]
        assert not missed, f"never reached: {missed}"

    def _go(self, acting: _Acting, other: _Acting, until: str | None = None) -> None:
        """Let it go on until it stands at this boundary, or is over."""
        self._services.clock.seconds += 1
        acting.go_on(until)
        while not self._stands(acting, other):
            other.go_on(_NEXT)
            self._stands(other, acting)

    def _stands(self, acting: _Acting, other: _Acting) -> bool:
        """Wait until it stands or is over; False: it waits for what the other one has locked."""
        with self._turn:
            while acting.goes:
                # Who stands elsewhere than before a commit has nothing locked.
                if other.in_transaction and self._waits(acting):
                    return False
                self._turn.wait(_LOOK_S if other.in_transaction else None)
        return True

    def _waits(self, acting: _Acting) -> bool:
        if self._services.database.is_sqlite:
            return acting.begins
        with self._services.database.read() as session:
            return bool(session.scalar(_WAITING))

    def _reach(self, boundary: str) -> None:
        if isinstance(acting := threading.current_thread(), _Acting):
            acting.reach(boundary)

    def _begin(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        """On SQLite whoever writes waits here for whoever is in the middle of a write."""
        acting = threading.current_thread()
        if isinstance(acting, _Acting) and statement == "BEGIN IMMEDIATE":
            with self._turn:
                acting.begins = True
                self._turn.notify_all()


class _Acting(threading.Thread):
    """An act that goes on when it is told to. `at`: the boundary at which it stands; `begins`:
    it begins a write (told on SQLite alone); `raised`: by what it was ended.
    """

    def __init__(self, act: Callable[[], object], turn: threading.Condition) -> None:
        super().__init__(daemon=True)
        self.at: str | None = None
        self.begins = False
        self.raised: BaseException | None = None
        self._act = act
        self._turn = turn
        self._until: str | None = None
        self._over = False

    @property
    def goes(self) -> bool:
        return self.at is None and not self._over

    @property
    def in_transaction(self) -> bool:
        return self.at is not None and self.at.endswith(".commit")

    def go_on(self, until: str | None) -> None:
        """Go on until this boundary; None: to the end."""
        with self._turn:
            self._until, self.at = until, None
            self._turn.notify_all()
        if self.ident is None:
            self.start()

    def reach(self, boundary: str) -> None:
        """In its own thread: stand here, if it is the boundary to stand at."""
        with self._turn:
            self.begins = False
            if self._until in (boundary, _NEXT):
                self.at = boundary
                self._turn.notify_all()
                self._turn.wait_for(lambda: self.at is None)

    def end(self) -> None:
        """Wherever it is, let it come to its end."""
        self.go_on(None)
        self.join(_END_S)
        assert not self.is_alive()

    def run(self) -> None:
        try:
            self._act()
        except BaseException as error:
            self.raised = error
        with self._turn:
            self._over = True
            self._turn.notify_all()
