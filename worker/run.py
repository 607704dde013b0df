"""A worker process, from start to shutdown.

Threads: Celery's consumer (main), `--concurrency` that tag, one that infers, one that beats, one
that sweeps. On SIGTERM nothing new is taken; work in hand may finish for `stop_s`, what is left
is then given back and the process ends, whatever its threads are doing.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import structlog
from celery import signals
from celery.apps.worker import Worker
from celery.exceptions import SecurityWarning
from sqlalchemy.exc import DBAPIError

from tagging.database import batches
from tagging.database.batches import Lease
from tagging.settings import Settings
from worker.bootstrap import WorkerRuntime, open_worker
from worker.tasks import register_tasks

log = structlog.get_logger("worker")


def run_worker(settings: Settings, *, with_parent: bool = False) -> None:
    """Run until SIGTERM or SIGINT; returns after a clean shutdown.

    Args:
        settings: `concurrency` batches are in flight at once.
        with_parent: end when standard input does: the process that started this one is gone.

    Raises:
        AtelierError: the worker could do nothing (no database, no usable model).
    """
    if with_parent:
        threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    with open_worker(settings) as work:
        work.preload()
        register_tasks(work.runtime.app, work.tagger.tag_batch)
        ended = threading.Event()
        loops = [
            threading.Thread(target=_beat, args=(work, ended), name="beat", daemon=True),
            threading.Thread(target=_sweep, args=(work, ended), name="sweep", daemon=True),
        ]
        for loop in loops:
            loop.start()

        def on_stopping(**_: Any) -> None:
            if not work.in_hand.stopping.is_set():
                work.in_hand.stopping.set()
                log.info("stopping", in_hand=len(work.in_hand.leases()))
                # The last one is for a database that answers to nothing: the sweeper takes over.
                for timer in (
                    threading.Timer(settings.stop_s, _give_back_and_exit, args=(work, 0)),
                    threading.Timer(settings.stop_s + 1.5, os._exit, args=(0,)),
                ):
                    timer.daemon = True
                    timer.start()

        # weak=False: Celery would drop the closure at once.
        signals.worker_shutting_down.connect(on_stopping, weak=False)
        signals.setup_logging.connect(_leave_logging_alone, weak=False)
        # It warns root of pickled messages; this application takes JSON only.
        warnings.simplefilter("ignore", SecurityWarning)
        worker: Any = Worker(
            app=work.runtime.app,
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


def _leave_logging_alone(**_: Any) -> None:
    """Connected so that Celery does not set up its own."""


def _follow_parent() -> None:
    # Not through sys.stdin: a thread that reads it when the interpreter ends aborts the process.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _beat(work: WorkerRuntime, ended: threading.Event) -> None:
    """Show progress of the leases in hand; give back what could not be given back before."""
    database, in_hand = work.runtime.database, work.in_hand
    while not ended.wait(work.runtime.settings.beat_s):
        stuck = in_hand.stuck(work.runtime.settings.stale_s)
        if stuck:
            # A thread cannot be ended from outside, so the process goes, and its supervisor starts
            # another. The stuck lease is left to the sweeper: it counts against the batch.
            log.error("stuck", batches=[lease.batch_id for lease in stuck])
            faulthandler.dump_traceback(all_threads=True)
            _give_back_and_exit(work, 1, but=stuck)
        alive, abandoned = in_hand.alive(), in_hand.abandoned()
        if not alive and not abandoned:
            continue
        try:
            with database.write("worker.beat") as session:
                batches.beat(session, alive)
                for lease in abandoned:
                    batches.give_back(session, lease, error=None)
                session.commit()
        except DBAPIError as error:
            log.warning("database_away", error=str(error.orig))
        except Exception:  # a dead beat would cost every lease
            log.exception("beat_failed")
        else:
            for lease in abandoned:
                in_hand.settled(lease)


def _sweep(work: WorkerRuntime, ended: threading.Event) -> None:
    while not ended.wait(work.runtime.settings.sweep_s):
        if work.in_hand.stopping.is_set():
            continue  # a process that is about to go takes no chair
        try:
            work.sweeper.step()
        except DBAPIError as error:
            work.sweeper.forget_everything()
            log.warning("database_away", error=str(error.orig))
        except Exception:  # without a sweeper, what falls silent would wait for ever
            work.sweeper.forget_everything()
            log.exception("sweep_failed")


def _give_back_and_exit(work: WorkerRuntime, code: int, but: Sequence[Lease] = ()) -> None:
    in_hand = work.in_hand
    leases = [lease for lease in in_hand.leases() + in_hand.abandoned() if lease not in but]
    try:
        with work.runtime.database.write("worker.give_back") as session:
            for lease in leases:
                batches.give_back(session, lease, error=None)
            session.commit()
        log.warning("gave_back", batches=[lease.batch_id for lease in leases])
    except DBAPIError as error:
        log.error("could_not_give_back", error=str(error.orig))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
