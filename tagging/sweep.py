"""The sweeper: what fell silent is taken back, what is queued but forgotten is announced again.

Any worker may be the sweeper, one at a time: the chair is a row whose beat must move. Silence is
measured on each worker's own monotonic clock, from the first time that it sees a beat, so that
neither a jump of the wall clock nor clocks that differ between machines take work from a worker
that lives. Who is not in the chair looks, too, and does nothing: what fell silent together with the
last sweeper is taken back soon after another sits there. Whenever the database could not be asked,
every observation starts anew: a server that was away says nothing about the workers.

Of a process that is known to be gone (`tagging/worker_names.py`) nothing is waited for: its leases
are taken back, and its chair is taken, at the next look.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog
from sqlalchemy.exc import DBAPIError

from tagging.database import backlog, batches, counts, leaders, uploads
from tagging.database.batches import BatchPulse
from tagging.database.session import Database, is_away
from tagging.ingest import Ingest
from tagging.pauses import Pauses
from tagging.retag import Retagging
from tagging.settings import LOOKS
from tagging.worker_names import is_gone

ROLE: Final = "sweeper"
ANNOUNCE_TOGETHER: Final = 50
ANNOUNCE_AT_ONCE: Final = 500
"""Most messages sent in one sweep: the broker never holds many more than are queued."""

log = structlog.get_logger("sweeper")


class Doorbell(Protocol):
    """The broker, as far as the sweeper needs it."""

    def announce(self, batch_ids: Sequence[int]) -> None:
        """Send one message per batch."""

    def depth(self) -> int | None:
        """Messages that wait on the broker; None if it cannot be asked."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A value since it was first seen. `silent_s`: what counts of the `passed_s`; `calm_s`: of
    that, what is later than the last look that had to wait.
    """

    silent_s: float = 0.0
    passed_s: float = 0.0
    calm_s: float = 0.0

    def later(self, passed_s: float, most_s: float, *, waited: bool) -> _Seen:
        counts_s = min(passed_s, most_s)
        return _Seen(
            silent_s=self.silent_s + counts_s,
            passed_s=self.passed_s + passed_s,
            calm_s=0.0 if waited else self.calm_s + counts_s,
        )


@dataclass(frozen=True, kw_only=True)
class _Shortage:
    """Batches that wait, and the fewer messages on the broker that tell of them."""

    queued: int
    depth: int


@dataclass(kw_only=True)
class Silence:
    """How long values have been seen unchanged.

    Of the time between two looks only so much counts as lets `LOOKS` of them make up the patience:
    this process may have been stopped, and whoever beats with it. Where a look had to wait for the
    database, a beat may wait as well, and longer: the patience begins anew. But where look after
    look waits silence must end, too, once a beat has had the time to come or to give up.

    Args:
        patience_s: for how long a value may be the same.
        wait_s: how long a beat may wait for the database.
    """

    patience_s: float
    wait_s: float = 0.0
    _seen: dict[Hashable, _Seen] = field(default_factory=dict)
    _last_look: float = 0.0

    def outlasted(self, seen: Sequence[Hashable], now_s: float, *, waited: bool) -> list[Hashable]:
        """Remember what is seen now, forget the rest; return what was seen for too long.

        `waited`: it took long to see it.
        """
        passed_s, self._last_look = now_s - self._last_look, now_s
        most_s = self.patience_s / LOOKS
        before = self._seen
        self._seen = {
            key: before[key].later(passed_s, most_s, waited=waited) if key in before else _Seen()
            for key in seen
        }
        return [key for key, since in self._seen.items() if self._is_over(since)]

    def _is_over(self, since: _Seen) -> bool:
        if since.calm_s >= self.patience_s:
            return True
        enough_s = self.patience_s + self.wait_s
        return since.silent_s >= self.patience_s and since.passed_s >= enough_s

    def forget(self) -> None:
        self._seen.clear()


@dataclass(kw_only=True)
class Sweeper:
    """One process's candidate for the chair. `step` is called every `sweep_s`.

    Args:
        stale_s: what showed no life for so long is taken back.
        wait_s: how long whoever beats may wait for the database.
    """

    database: Database
    ingest: Ingest
    doorbell: Doorbell
    holder: str
    stale_s: float
    wait_s: float
    now: Callable[[], dt.datetime]
    monotonic: Callable[[], float]
    retagging: Retagging

    def __post_init__(self) -> None:
        self.in_chair = False
        self._chair = Silence(patience_s=self.stale_s, wait_s=self.wait_s)
        self._leases = Silence(patience_s=self.stale_s, wait_s=self.wait_s)
        self._uploads = Silence(patience_s=self.stale_s, wait_s=self.wait_s)
        self._unannounced = Silence(patience_s=self.stale_s)
        self._filing: set[str] = set()
        self._filing_fails = Pauses[str](monotonic=self.monotonic)
        self._retag_fails = Pauses[int](monotonic=self.monotonic)

    def step(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Keep or seek the chair; in it, sweep once. `on_progress` is called as it moves on.

        Raises:
            DBAPIError: the database could not be asked. Where that was so for a look at who lives,
                it says nothing of them, and all looks start anew.
        """
        began, sat = self.monotonic(), self.in_chair
        try:
            sits = self._sit(on_progress)
            on_progress()  # each wait for the database is bounded by itself
            with self.database.read() as session:
                pulses, waiting = batches.pulses(session), uploads.unfiled(session)
        except DBAPIError:
            self.forget_everything()
            raise
        now = self.monotonic()
        waited = self._is_long(now - began)
        if waited and not sat:
            # Who is not in the chair only reads, and on SQLite that waits for no writer: that all
            # beats had to wait until now, only taking the chair can tell.
            self._leases.forget()
            self._uploads.forget()
        silent = set(self._leases.outlasted(pulses, now, waited=waited))
        cut_off = set(self._uploads.outlasted(waiting, now, waited=waited))
        if not sat:
            # Who sits down just now acts at the next look: beats that waited for its lock come now.
            silent.clear()
            cut_off.clear()
        # Of a worker that is gone for certain no beat will come: nobody need wait for one.
        silent |= {pulse for pulse in pulses if is_gone(pulse.worker)}
        on_progress()
        if sits:  # before the broker is asked, which may take its time
            pulses = [pulse for pulse in pulses if pulse in silent]
            self._take_back_leases(pulses, on_progress)
        short = self._shortage()
        on_progress()
        if not sits:
            self._filing.clear()
            return
        self._announce(short, on_progress)
        self._file_uploads(waiting, cut_off, on_progress)
        self._keep_counts_few()
        on_progress()
        self._retag(on_progress)

    def _is_long(self, seconds: float) -> bool:
        return seconds > self.stale_s / LOOKS

    def forget_everything(self) -> None:
        """Start all observations anew: after the database was away no silence says anything."""
        for silence in (self._chair, self._leases, self._uploads, self._unannounced):
            silence.forget()
        self._filing.clear()

    def leave(self) -> None:
        """Free the chair at a clean shutdown."""
        if self.in_chair:
            with self.database.write("sweep.leave") as session:
                leaders.leave_chair(session, ROLE, holder=self.holder)
                session.commit()
            self.in_chair = False

    def _keep_chair(self) -> None:
        with self.database.write("sweep.keep_chair") as session:
            self.in_chair = leaders.keep_chair(session, ROLE, holder=self.holder)
            session.commit()

    def _sit(self, on_progress: Callable[[], None]) -> bool:
        if self.in_chair:
            self._keep_chair()
            return self.in_chair
        began = self.monotonic()
        with self.database.read() as session:
            seen = leaders.chair(session, ROLE)
        now = self.monotonic()
        silent = self._chair.outlasted([seen], now, waited=self._is_long(now - began))
        if seen[0] and not silent and not is_gone(seen[0]):
            return False
        on_progress()
        with self.database.write("sweep.take_chair") as session:
            self.in_chair = leaders.take_chair(session, ROLE, holder=self.holder, displacing=seen)
            session.commit()
        if self.in_chair:
            log.info("sweeping", holder=self.holder)
        return self.in_chair

    def _take_back_leases(
        self, silent: Sequence[BatchPulse], on_progress: Callable[[], None]
    ) -> None:
        for pulse in silent:
            with self.database.write("sweep.take_back") as session:
                taken = batches.take_back(session, pulse, now=self.now())
                session.commit()
            if taken is not None:
                log.warning("batch_taken_back", batch=pulse.batch_id, now=taken.outcome)
                self.doorbell.announce(taken.queued)
            on_progress()

    def _file_uploads(
        self,
        waiting: Sequence[tuple[str, dt.datetime]],
        silent: Set[Hashable],
        on_progress: Callable[[], None],
    ) -> None:
        def keep_on() -> None:
            on_progress()
            self._keep_chair()
            on_progress()

        self._filing &= {upload_id for upload_id, _ in waiting}
        # Some seconds of it at a time: what falls silent is looked for in between.
        until = self.monotonic() + self.stale_s / 4
        paused = self._filing_fails.waiting()
        for upload in waiting:
            if upload in silent and upload[0] not in self._filing:
                log.warning("filing_taken_up", upload=upload[0])
                self._filing.add(upload[0])
            if upload[0] not in self._filing or upload[0] in paused:
                continue
            try:
                self.ingest.file_upload(
                    upload[0], on_page=keep_on, go_on=lambda: self.monotonic() < until
                )
            except Exception as error:
                if is_away(error):
                    raise
                # What cannot be filed must not keep others from it, nor leases and messages.
                log.exception("filing_failed", upload=upload[0])
                self._filing_fails.failed(upload[0])
            else:
                self._filing_fails.worked(upload[0])
        on_progress()

    def _keep_counts_few(self) -> None:
        with self.database.read() as session:
            many = counts.are_many(session)
        if many:
            with self.database.write("sweep.counts") as session:
                counts.put_together(session)
                session.commit()

    def _retag(self, on_progress: Callable[[], None]) -> None:
        def on_page() -> None:
            on_progress()
            self._keep_chair()
            on_progress()

        try:
            # Shorter than anybody's patience: what falls silent is looked for in between.
            self.retagging.step(most_s=self.stale_s / 4, on_page=on_page, leave=self._retag_fails)
        except Exception as error:
            if is_away(error):
                raise
            # What cannot be worked off must not keep leases from being taken back.
            log.exception("retag_failed")

    def _shortage(self) -> _Shortage | None:
        """How many batches wait and how many messages, once these were too few for long enough.

        Messages on their way (sent, not yet counted; fetched, not yet leased) look lost for a
        moment, so it must last.
        """
        with self.database.read() as session:
            queued = backlog.due_count(session, now=self.now())
        depth = self.doorbell.depth() if queued else 0
        if depth is None or depth >= queued:
            self._unannounced.forget()
            return None
        if not self._unannounced.outlasted(["short"], self.monotonic(), waited=False):
            return None
        return _Shortage(queued=queued, depth=depth)

    def _announce(self, short: _Shortage | None, on_progress: Callable[[], None]) -> None:
        if short is None:
            return
        with self.database.write("sweep.announce") as session:
            now = self.now()
            missing = batches.to_announce(
                session,
                older_than=now - dt.timedelta(seconds=self.stale_s / 2),
                now=now,
                limit=min(short.queued - short.depth, ANNOUNCE_AT_ONCE),
            )
            if missing:
                batches.mark_announced(session, missing, now=self.now())
            session.commit()
        if missing:
            log.info(
                "announced_again",
                batches=len(missing),
                queued=short.queued,
                on_broker=short.depth,
            )
            for start in range(0, len(missing), ANNOUNCE_TOGETHER):
                self.doorbell.announce(missing[start : start + ANNOUNCE_TOGETHER])
                on_progress()
