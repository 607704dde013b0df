"""Waiting for an upload with a live picture of how it goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from tagging.database import backlog, retags, uploads
from tagging.database.tables import UploadState
from tagging.domain import Status
from tagging.errors import AtelierError
from worker.bootstrap import Runtime
from worker.console import status_line
from worker.embedded import EmbeddedWorker

POLL_S: Final = 0.25
STEP_S: Final = 2.0
STILL_S: Final = 60.0


class UploadStuckError(AtelierError):
    """Batches of an upload cannot be done; they stay queued."""


class RetagStuckError(AtelierError):
    """Batches of a retag cannot be done; they stay queued."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where an upload stands. `errors`: why it cannot go on; none while any of it still does.
    `crashes`: workers' deaths that count against batches by now.
    """

    filed: bool
    counts: dict[Status, int]
    errors: list[str]
    crashes: int = 0

    @property
    def products(self) -> int:
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        return self.products - self.counts[Status.QUEUED]

    @property
    def complete(self) -> bool:
        return self.filed and self.counts[Status.QUEUED] == 0


def standing(runtime: Runtime, upload_id: str) -> Standing:
    with runtime.database.read() as session:
        upload = uploads.get(session, upload_id)
        errors = backlog.last_errors(session, upload_id)
        return Standing(
            filed=upload.state is UploadState.FILED,
            counts=uploads.status_counts(session, upload_id),
            errors=[] if errors and backlog.goes_on(session, upload_id=upload_id) else errors,
            crashes=backlog.crashes_counted(session),
        )


def progress_bar(console: Console) -> Progress:
    """Nothing is drawn where standard error is no terminal."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def wait_for_upload(
    runtime: Runtime,
    upload_id: str,
    console: Console,
    *,
    worker: EmbeddedWorker | None = None,
    poll_s: float = POLL_S,
) -> Standing:
    """Return when every product of the upload reached an end.

    Raises:
        UploadStuckError: what is left was given back because it cannot be done (a broken bundle, a
            store that is away). It stays queued: nothing is lost.
        WorkerFailedError: `worker` cannot run.
    """
    began = time.monotonic()
    still = _Still(console)
    with progress_bar(console) as progress:
        bar = progress.add_task("tagging", total=None, rate="starting the worker")
        while True:
            asked = time.monotonic()
            now = standing(runtime, upload_id)
            # Counting a long upload takes a while, and the worker wants the database too.
            pause_s = max(poll_s, 5 * (time.monotonic() - asked))
            rate = now.ended / max(1e-9, time.monotonic() - began)
            progress.update(
                bar,
                total=now.products,
                completed=now.ended,
                rate=f"{rate:,.0f}/s  {status_line(now.counts)}" if now.ended else "starting",
            )
            if now.complete:
                return now
            if now.errors:
                raise UploadStuckError(
                    f"upload {upload_id} cannot go on: {'; '.join(now.errors)} "
                    f"Its {now.counts[Status.QUEUED]:,} products stay queued; mend this and start "
                    "a worker."
                )
            if worker is not None:
                worker.watch(now.ended + now.crashes)
            else:
                still.look(now.ended)
            time.sleep(pause_s)


def nothing_left(runtime: Runtime, retag_ids: Sequence[int]) -> bool:
    """Look for what open retags are about, until enough is queued; whether these are complete."""
    while runtime.retagging.step(most_s=STEP_S):
        pass
    with runtime.database.read() as session:
        lines = retags.lines(session, retag_ids, most=len(retag_ids))
    return all(line.complete for line in lines)


def wait_for_retags(
    runtime: Runtime,
    retag_ids: Sequence[int],
    console: Console,
    *,
    worker: EmbeddedWorker | None = None,
    poll_s: float = POLL_S,
) -> None:
    """Return when everything that these retags are about was classified. Works at them, too.

    Raises:
        RetagStuckError: what is left was given back because it cannot be done. It stays queued.
        WorkerFailedError: `worker` cannot run.
    """
    still = _Still(console)
    with progress_bar(console) as progress:
        bar = progress.add_task("tagging again", total=None, rate="looking for them")
        while True:
            runtime.retagging.step(most_s=STEP_S)
            with runtime.database.read() as session:
                lines = retags.lines(session, retag_ids, most=len(retag_ids))
                errors = backlog.retag_errors(session, retag_ids)
                crashes = backlog.crashes_counted(session)
                if errors and backlog.goes_on(session, retag_ids=retag_ids):
                    errors = []
            done = sum(line.classified for line in lines)
            progress.update(bar, total=sum(line.queued for line in lines), completed=done, rate="")
            if all(line.complete for line in lines):
                return
            if errors:
                raise RetagStuckError(
                    f"retag {', '.join(map(str, retag_ids))} cannot go on: {'; '.join(errors)} "
                    "What is left stays queued, every tag as it is; mend this and start a worker."
                )
            if worker is not None:
                worker.watch(done + crashes)
            else:
                still.look(done)
            time.sleep(poll_s)


class _Still:
    """Tells once who waits for others' workers that nothing was done for long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done = -1
        self._since: float | None = 0.0

    def look(self, done: int) -> None:
        now = time.monotonic()
        if done != self._done:
            self._done, self._since = done, now
        elif self._since is not None and now - self._since >= STILL_S:
            self._since = None
            self._console.print(
                f"nothing was classified for {STILL_S:.0f} s; does a worker run? `atelier worker` "
                "starts one, `atelier check` says what it needs. Still waiting."
            )
