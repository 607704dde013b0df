"""A worker process, from start to shutdown.

Threads: Celery's consumer (main), `--concurrency` that tag, one that infers, one that beats, one
that sweeps, and one that watches over the others (`worker/watchdog.py`). On SIGTERM nothing new is
taken; work in hand may finish for `stop_s`, what is left is then given back and the process ends,
whatever its threads are doing.
"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog
from celery import signals
from celery.apps.worker import Worker
from celery.exceptions import SecurityWarning
from sqlalchemy.exc import DBAPIError

from tagging.database import batches
from tagging.settings import Settings
from worker.bootstrap import (
    MakeShelf,
    WorkerRuntime,
    bring_up_to_date,
    keras_shelf,
    open_worker,
)
from worker.tasks import register_tasks
from worker.watchdog import Ear, Rounds, StartClock, Watchdog, give_back_and_exit

log = structlog.get_logger("worker")


def run_worker(
    settings: Settings,
    *,
    with_parent: bool = False,
    make_shelf: MakeShelf = keras_shelf,
) -> None:
    """Run until SIGTERM or SIGINT; returns after a clean shutdown.

    Args:
        settings: `concurrency` batches are in flight at once.
        make_shelf: builds the classifiers; the Keras ones.
        with_parent: end when standard input does: the process that started this one is gone.

    Raises:
        AtelierError: the worker could do nothing (no database, no usable model).
    """
    if with_parent:
        threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    # Before the clock below runs: a long migration that is cut off begins anew, and never ends.
    bring_up_to_date(settings)
    with ExitStack() as to_close:
        # What hangs here has nothing in hand yet, so no lease tells of it.
        start = StartClock(settings.load_s)
        start.begin()
        try:
            work = to_close.enter_context(open_worker(settings, make_shelf))
            with _told_to_stop(work):
                work.preload(before_each=start.begin)
        finally:
            start.end()
        register_tasks(work.runtime.doorbell.app, work.tagger.tag_batch, work.in_hand)
        ended = threading.Event()
        watchdog = Watchdog(
            database=work.runtime.database,
            in_hand=work.in_hand,
            rounds=Rounds(),
            every_s=settings.beat_s,
            stuck_s=settings.stuck_s,
            stale_s=settings.stale_s,
        )
        targets: list[tuple[str, Callable[..., None], tuple[object, ...]]] = [
            ("beat", _beat, (work, watchdog.rounds, ended)),
            ("sweep", _sweep, (work, watchdog, ended)),
            ("watchdog", watchdog.watch, (ended,)),
        ]
        loops = [
            threading.Thread(target=target, args=args, name=name, daemon=True)
            for name, target, args in targets
        ]
        for loop in loops:
            loop.start()

        def on_stopping(**_: Any) -> None:
            if not work.in_hand.stopping.is_set():
                work.in_hand.stopping.set()
                timer = threading.Timer(  # before all that may hang
                    settings.stop_s,
                    give_back_and_exit,
                    args=(work.runtime.database, work.in_hand, 0),
                )
                timer.daemon = True
                timer.start()
                work.loads.forget()
                log.info("stopping", in_hand=len(work.in_hand.leases()))

        # weak=False: Celery would drop the closure at once.
        signals.worker_shutting_down.connect(on_stopping, weak=False)
        signals.setup_logging.connect(_leave_logging_alone, weak=False)
        # It warns root of pickled messages; this application takes JSON only.
        warnings.simplefilter("ignore", SecurityWarning)
        worker: Any = Worker(
            app=work.runtime.doorbell.app,
            pool="threads",
            concurrency=settings.concurrency,
            hostname=f"atelier@{work.tagger.worker}",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
            loglevel="WARNING",
        )
        log.info(
            "ready",
            worker=work.tagger.worker,
            concurrency=settings.concurrency,
            decoders=settings.decoders,
        )
        try:
            worker.start()
        finally:
            signals.worker_shutting_down.disconnect(on_stopping)
            ended.set()
            for loop in loops:
                loop.join(timeout=settings.stop_s)
            try:
                work.sweeper.leave()
            except DBAPIError as error:
                log.warning("chair_not_left", error=str(error.orig))
        log.info("stopped")
    if worker.exitcode:
        raise SystemExit(worker.exitcode)


@contextmanager
def _told_to_stop(work: WorkerRuntime) -> Iterator[None]:
    """While models are loaded, no model is blamed for a stop that is asked for."""

    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, _frame: object) -> None:
        work.loads.forget()
        signal.signal(number, before)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave_logging_alone(**_: Any) -> None:
    """Connected so that Celery does not set up its own."""


def _follow_parent() -> None:
    # Not through sys.stdin: a thread that reads it when the interpreter ends aborts the process.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _beat(work: WorkerRuntime, rounds: Rounds, ended: threading.Event) -> None:
    """Show progress of the leases in hand; give back what could not be given back before."""
    database, in_hand = work.runtime.database, work.in_hand
    while not ended.wait(work.runtime.settings.beat_s):
        rounds.mark("beat")
        alive, abandoned = in_hand.alive(), in_hand.abandoned()
        if not alive and not abandoned:
            continue
        try:
            with database.write("worker.beat") as session:
                batches.beat(session, alive)
                for lease in abandoned:
                    batches.give_back(session, lease)
                session.commit()
        except DBAPIError as error:
            log.warning("database_away", error=str(error.orig))
        except Exception:  # a dead beat would cost every lease
            log.exception("beat_failed")
        else:
            for lease in abandoned:
                in_hand.settled(lease)


def _sweep(work: WorkerRuntime, watchdog: Watchdog, ended: threading.Event) -> None:
    settings = work.runtime.settings
    ear = Ear(in_hand=work.in_hand, patience_s=settings.stuck_s)
    began = False
    while not ended.wait(settings.sweep_s):
        watchdog.rounds.mark("sweep")
        try:
            if not began:
                work.runtime.try_again()
                began = True
            if work.in_hand.stopping.is_set():
                work.sweeper.leave()  # a process that is about to go keeps no chair
                continue
            work.sweeper.step(on_progress=lambda: watchdog.rounds.mark("sweep"))
        except DBAPIError as error:
            log.warning("database_away", error=str(error.orig))
        except Exception:  # without a sweeper, what falls silent would wait for ever
            log.exception("sweep_failed")
        watchdog.rounds.mark("sweep")
        if ear.deaf(None if work.in_hand.busy else work.runtime.doorbell.depth()):
            watchdog.die(deaf=True)
