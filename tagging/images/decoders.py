"""The pool of decoder children: stored images -> model inputs, whatever the files contain.

    with DecoderPool(2, ImageLimits()) as pool:  # before TensorFlow is imported
        decoded = pool.decode(requests, card.input)

One thread per child does its talking, restarts it, and never shares it. Callers put their images
into one queue in small chunks, so that two batches at once are served fairly and every child works
as long as anything waits.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Final

from tagging.domain import FailureCode
from tagging.errors import StoreAwayError
from tagging.images.decoder_process import (
    DecoderDied,
    DecoderProcess,
    DecoderUnavailable,
    DiskStalled,
)
from tagging.images.model_input import ModelInput, detail_edge
from tagging.images.protocol import Decoded, DecodeRequest
from tagging.images.rejection import ImageLimits

__all__ = ["DecodeRequest", "Decoded", "DecoderPool", "DecoderUnavailable"]

_CHUNK: Final = 32  # long enough that asking costs nothing, short enough to spread a batch
_START_TRIES: Final = 3
_STALLS: Final = 2
_PROGRESS_SECONDS: Final = 0.5


class DecoderPool:
    """A fixed number of decoder children. Thread-safe; a context manager.

    **Who is blamed.** Each child answers in order, so when it dies, exactly one image was in hand.
    That image fails: `decode_timeout` if it used up its processor time or the child gave no answer
    within twice `max_seconds` and 5 s more of wall time and does not work any more (a machine that
    is short of processors is no fault of the image), `decoder_crash` otherwise; the others go on in
    a new child. Two deaths are not held against the image at once: that of a child which had
    not answered anything yet (it may have been the start), and one by a signal that no picture
    raises (SIGKILL, as the kernel sends when the machine is short of memory, SIGTERM...). Then the
    image is tried once more, alone, in a fresh child, and that outcome stands.

    Never blamed is an image whose bytes the child did not have yet. Whose disk gives an error, or
    nothing for as long as a child may give no answer, is `unread`. Twice nothing in a row from one
    child and the next, or a child that cannot even be ended while it waits, is a disk that is away:
    the call fails. No further child is started beside one that does not end, or each try would
    leave another; until it ends, the others do its work.
    """

    def __init__(self, processes: int, limits: ImageLimits, *, measured: bool = False) -> None:
        """Start `processes` children and wait until they are ready (about 0.3 s).

        Args:
            processes: how many.
            limits: what each image may cost.
            measured: whether answers tell what each image did cost; for tests, not for speed.

        Raises:
            ValueError: `processes` is under 1.
            DecoderUnavailable: they do not start; says why.
        """
        if processes < 1:
            raise ValueError(f"DecoderPool needs at least 1 process, got {processes}")
        self._queue: queue.SimpleQueue[_Chunk | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pulse = _Pulse()
        self._lanes = [
            _Lane(self._queue, partial(DecoderProcess, limits, measured=measured), self._closed)
            for _ in range(processes)
        ]
        for lane in self._lanes:
            lane.others = [other for other in self._lanes if other is not lane]
        for lane in self._lanes:
            lane.start()
        failures = [failure for lane in self._lanes if (failure := lane.await_start()) is not None]
        if failures:
            self.close()
            raise failures[0]

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def process_ids(self) -> list[int]:
        """The ids of the children that run at this moment."""
        return [pid for lane in self._lanes if (pid := lane.process_id) is not None]

    def decode(
        self,
        items: Sequence[DecodeRequest],
        spec: ModelInput,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Decoded]:
        """Decode `items` for `spec`; one answer each, in the same order. Blocks.

        Args:
            items: images of the store; the same image may stand there twice.
            spec: the input spec of the model's card.
            on_progress: called in this thread, at most every half second and once at the end, with
                the number of `items` finished so far, whenever that has grown, or a child has shown
                that it works on one that takes long, be it another call's: this one's turn comes.
                What it raises ends the call.

        Raises:
            ValueError: this version knows no preprocessing of `spec.kind`.
            DecoderUnavailable: the pool is closed, or children no longer start.
            StoreAwayError: the disk or server that the images lie on does not answer. In either
                case no image is to blame, and none was judged: try again later.
        """
        detail_edge(spec)
        job = _Job(items, spec, self._pulse)
        size = max(1, min(_CHUNK, -(-len(items) // (2 * len(self._lanes)))))
        with self._lock:
            if self._closed.is_set():
                raise _pool_closed()
            for start in range(0, len(items), size):
                self._queue.put(_Chunk(job, range(start, min(start + size, len(items)))))
        return job.wait(on_progress)

    def close(self) -> None:
        """End all children; calls in progress raise DecoderUnavailable. May be called twice."""
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                for _ in self._lanes:
                    self._queue.put(None)
        for lane in self._lanes:
            lane.join()


class _Pulse:
    """Grows with everything that any child gets done: who waits for a turn is not stuck."""

    def __init__(self) -> None:
        self.beats = 0  # a beat lost between two threads is made up for by the next one


class _Job:
    """One call of `decode`: its items, what is known of them, and whether it is still wanted."""

    def __init__(self, items: Sequence[DecodeRequest], spec: ModelInput, pulse: _Pulse) -> None:
        self._pulse = pulse
        self.items = items
        self.spec = spec
        self.over = False  # answered, failed or given up; later answers are not wanted
        self._answers: list[Decoded | None] = [None] * len(items)
        self._finished = 0
        self._error: Exception | None = None
        self._changed = threading.Condition()

    def finish(self, index: int, answer: Decoded) -> None:
        with self._changed:
            self._pulse.beats += 1
            self._answers[index] = answer
            self._finished += 1
            if self._finished == len(self.items):
                self._changed.notify_all()

    def show_work(self) -> None:
        with self._changed:
            self._pulse.beats += 1
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def wait(self, on_progress: Callable[[int], None] | None) -> list[Decoded]:
        reported, felt = 0, self._pulse.beats
        try:
            while True:
                with self._changed:
                    if self._error is not None:
                        raise self._error
                    finished = self._finished
                    if finished < len(self.items) and finished == reported:
                        # Woken at the end only: a wake-up per image would cost more than it says.
                        self._changed.wait(_PROGRESS_SECONDS)
                        finished = self._finished
                before, felt = felt, self._pulse.beats
                if on_progress is not None and (finished > reported or felt != before):
                    on_progress(finished)
                reported = finished
                if finished == len(self.items):
                    return [answer for answer in self._answers if answer is not None]
        finally:
            self.over = True


class _Chunk:
    """A run of consecutive items of a job: what is asked of a child at once."""

    def __init__(self, job: _Job, indices: range) -> None:
        self.job = job
        self.indices = indices


class _Lane(threading.Thread):
    """The thread that owns one child: starts it, feeds it chunks, replaces it when it dies."""

    def __init__(
        self,
        chunks: queue.SimpleQueue[_Chunk | None],
        start_child: Callable[..., DecoderProcess],
        closed: threading.Event,
    ) -> None:
        super().__init__(name="decoder-lane", daemon=True)  # a forgotten close() must not hang
        self.others: list[_Lane] = []
        self._chunks = chunks
        self._start_child = start_child
        self._closed = closed
        self._child: DecoderProcess | None = None
        self._unended: DecoderProcess | None = None
        self._stalls = 0  # since a child last answered
        self._first_start = threading.Event()
        self._start_failure: DecoderUnavailable | None = None

    @property
    def process_id(self) -> int | None:
        child = self._child
        return child.pid if child is not None and child.usable else None

    def await_start(self) -> DecoderUnavailable | None:
        """Wait for the first child; what went wrong, if anything."""
        self._first_start.wait()
        return self._start_failure

    def run(self) -> None:
        # Children inherit the mask: Ctrl-C in a terminal reaches them too, and must not end one
        # before it has come to ignore it. The main thread still takes the signal for us.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._running_child()
        except DecoderUnavailable as failure:
            self._start_failure = failure
        finally:
            self._first_start.set()
        while (chunk := self._next_chunk()) is not None:
            try:
                self._serve(chunk)
            except Exception as error:
                # Not only DecoderUnavailable: whatever goes wrong here belongs to the caller, who
                # waits; a lane that died of it would leave every later caller waiting too.
                self._drop_child()
                chunk.job.fail(error)
        if self._child is not None:
            self._child.close()

    def _next_chunk(self) -> _Chunk | None:
        while self._must_wait() and not self._closed.is_set():
            self._look_after_unended(_PROGRESS_SECONDS)
        return self._chunks.get()

    def _serve(self, chunk: _Chunk) -> None:
        job, waiting = chunk.job, deque(chunk.indices)
        tried_alone: int | None = None
        refusals = 0
        while waiting and not job.over:
            if self._closed.is_set():
                raise _pool_closed()
            if self._idle_child() is None and self._must_wait():
                self._chunks.put(_Chunk(job, range(waiting[0], waiting[-1] + 1)))
                return
            asked = [waiting[0]] if tried_alone == waiting[0] else list(waiting)
            child = self._running_child(job)
            try:
                requests = [job.items[i] for i in asked]
                for answer in child.exchange(job.spec, requests, job.show_work):
                    job.finish(waiting.popleft(), answer)
                    refusals = self._stalls = 0
                    if job.over or self._closed.is_set():
                        break
            except DiskStalled as stall:
                self._stalls += 1
                if self._stalls >= _STALLS:
                    raise _disk_away(str(stall)) from stall
                index = waiting.popleft()
                job.finish(index, Decoded(sha256=job.items[index].sha256, unread=str(stall)))
            except DecoderDied as death:
                suspect = waiting[0]
                if not death.has_bytes:
                    refusals += 1
                    if refusals == _START_TRIES:
                        raise DecoderUnavailable(
                            f"Decoder processes end before they have read an image: {death}"
                        ) from death
                elif tried_alone != suspect and _may_be_innocent(death, child):
                    tried_alone = suspect
                else:
                    code, detail = death.verdict
                    sha256 = job.items[waiting.popleft()].sha256
                    job.finish(suspect, Decoded(sha256=sha256, code=code, detail=detail))
            if waiting and (job.over or self._closed.is_set()):
                self._drop_child()  # it would go on answering what nobody wants

    def _running_child(self, job: _Job | None = None) -> DecoderProcess:
        """The child if it lives, or a new one.

        Raises:
            DecoderUnavailable: after three tries.
            StoreAwayError: the one before does not end.
        """
        child = self._idle_child()
        if child is not None:
            return child
        self._await_unended(job)
        for attempt in range(1, _START_TRIES + 1):
            try:
                self._child = self._start_child(
                    on_working=(lambda: None) if job is None else job.show_work
                )
            except DecoderUnavailable:
                if attempt == _START_TRIES or self._closed.is_set():
                    raise
            else:
                return self._child
        raise AssertionError("unreachable: the last try returns or raises")

    def _idle_child(self) -> DecoderProcess | None:
        """The child, if it may be asked; one that may not is dropped."""
        if self._child is not None and not self._child.is_idle_and_alive():
            self._drop_child()
        return self._child

    def _must_wait(self) -> bool:
        """Whether its child does not end, and another lane can do its work meanwhile."""
        return self._unended is not None and any(other.works for other in self.others)

    @property
    def works(self) -> bool:
        return self._unended is None

    def _look_after_unended(self, within_seconds: float) -> None:
        if self._unended is not None and self._unended.has_ended(within_seconds):
            self._unended = None

    def _drop_child(self) -> None:
        if self._child is not None:
            if self._child.end() is None:
                self._unended = self._child
            self._child = None

    def _await_unended(self, job: _Job | None) -> None:
        """Wait for a child that was killed and still waits for its disk. Raises StoreAwayError.

        As long as for any answer: longer, and who waits for the job could not do better meanwhile;
        shorter, and a job that fails at once would be tried again at once.
        """
        began = time.monotonic()
        while self._unended is not None:
            waited = time.monotonic() - began >= self._unended.wall_seconds
            if job is None or job.over or self._closed.is_set() or waited:
                raise _disk_away(f"decoder process {self._unended.pid} cannot be ended")
            job.show_work()
            self._look_after_unended(_PROGRESS_SECONDS)


def _may_be_innocent(death: DecoderDied, child: DecoderProcess) -> bool:
    """Whether to try the image in hand once more; see `DecoderPool`, "Who is blamed"."""
    crashed = death.verdict[0] is FailureCode.DECODER_CRASH
    return crashed and (death.outside or child.answered == 0)


def _disk_away(what: str) -> StoreAwayError:
    return StoreAwayError(
        f"the disk or server that the images lie on does not answer ({what}); see what ails it, or "
        "correct ATELIER_IMAGES_DIR"
    )


def _pool_closed() -> DecoderUnavailable:
    return DecoderUnavailable("The decoder pool is closed; make a new one to decode more.")
