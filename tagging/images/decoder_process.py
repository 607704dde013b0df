"""The parent's handle of one decoder child: start it, ask it, and say what it died of."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from tagging import failpoints
from tagging.domain import FailureCode
from tagging.errors import AtelierError
from tagging.images.model_input import ModelInput
from tagging.images.protocol import (
    Decoded,
    DecodeRequest,
    ProtocolError,
    pack_request,
    read_answer,
    unpack_from,
)
from tagging.images.rejection import ImageLimits

_START_SECONDS: Final = 60.0  # normally 0.3; a busy machine with a cold disk may need a hundredfold
_END_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 5.0
_PROBE_SECONDS: Final = 1.0
_WORKING_SHARE: Final = 0.01
"""A child that takes long works if it uses so much of a processor; a starved one does, too."""

_INHERITED: Final = frozenset(
    {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "PYTHONHOME", "TMPDIR"}
)
_INHERITED_PREFIXES: Final = ("LD_", "DYLD_")
_OUTSIDE_SIGNALS: Final = frozenset(
    {
        *(signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
        signal.SIGXCPU,
    }
)
"""Signals that no picture raises: a person, a supervisor, the kernel short of memory, or a limit on
the processor time of whole processes (`ulimit -t`) that is not ours sent it."""


class DecoderUnavailable(AtelierError):
    """No decoder child can be started, or the pool is closed; no picture is to blame."""


class DecoderDied(Exception):
    """A child ended before it answered all that it was asked.

    `has_bytes`: it had those of the next unanswered image; else that one has no part in it.
    `verdict`: code and sentence for that image, if the image is to blame.
    `outside`: what ended it did not come from the picture.
    """

    def __init__(
        self, code: FailureCode, detail: str, *, has_bytes: bool, outside: bool = False
    ) -> None:
        super().__init__(detail)
        self.verdict = code, detail
        self.has_bytes = has_bytes
        self.outside = outside


class DiskStalled(Exception):
    """A child was ended while it waited for an image's bytes; the message names their file."""


class DecoderProcess:
    """One running child. Used by one thread at a time, the one that made it.

    Attributes:
        answered: how many images it has answered since it started.
        usable: whether it may be asked; False once it died, retired or was ended.
        wall_seconds: how long it may use no processor time before it counts as hanging.
    """

    def __init__(
        self,
        limits: ImageLimits,
        *,
        measured: bool = False,
        on_working: Callable[[], None] = lambda: None,
    ) -> None:
        """Start a child and wait until it is ready. Raises DecoderUnavailable.

        Args:
            measured: whether its answers tell what each image cost.
            on_working: called now and then while it gets on with its start, however slowly.
        """
        self._limits = limits
        self.wall_seconds = wall_seconds(limits)
        self._buffer = bytearray()
        self._marks = 0
        self.answered = 0
        self.usable = True
        arguments = [
            json.dumps(dataclasses.asdict(limits)),
            str(failpoints.folder() or ""),
            "measured" if measured else "",
        ]
        try:
            # Popen execs at once (vfork, no Python in between), which is safe beside TensorFlow's
            # threads; fork or multiprocessing would not be.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-m", "tagging.images.decoder", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                close_fds=True,
                env=_environment(),
            )
        except OSError as error:
            raise DecoderUnavailable(
                f"No decoder process can be started: {error}. Check {sys.executable} and the "
                "limits on processes and open files."
            ) from error
        self._stdin: IO[bytes] = _present(self._process.stdin)
        self._stdout: IO[bytes] = _present(self._process.stdout)
        self._stderr: IO[bytes] = _present(self._process.stderr)
        os.set_blocking(self._stdin.fileno(), False)
        self._await_ready(on_working)
        os.set_blocking(self._stderr.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_idle_and_alive(self) -> bool:
        """Whether it may be asked now; one that was killed while it waited may not."""
        return self.usable and self._process.poll() is None

    def exchange(
        self,
        spec: ModelInput,
        requests: list[DecodeRequest],
        on_working: Callable[[], None] = lambda: None,
    ) -> Iterator[Decoded]:
        """Ask for `requests`, yield the answers in order as they come.

        Ends early, with `usable` False, if the child retires. A caller that stops early must
        `end()` the child, which would go on answering.

        Args:
            on_working: called every few seconds while the child takes long over an image, and
                works, or waits for its bytes, which it may do for so long only.

        Raises:
            DecoderDied: the image after the last one yielded was in hand. The child is ended.
            DiskStalled: that image's bytes do not come. The child is ended.
        """
        self._has_bytes()  # what came of the last request makes room in the pipe
        self._send(pack_request(spec, requests))
        payload_max_bytes = spec.height * spec.width * spec.channels
        for request in requests:
            try:
                header, payload = self._await_answer(payload_max_bytes, on_working)
                answer = read_answer(header, payload, request, spec)
            except TimeoutError as error:
                raise self._killed_for_hanging(request) from error
            except (EOFError, ProtocolError, OSError) as error:
                raise self._post_mortem(error) from error
            self.answered += 1
            if header.get("retire"):
                self.usable = False
            yield answer
            if not self.usable:
                return

    def end(self, *, patience_seconds: float = 0.0) -> int | None:
        """End the child and release all that belongs to it; returns its status as Popen gives it.

        None: it does not end, for the kernel itself waits with it for a disk. Ask `has_ended`.

        Args:
            patience_seconds: how long it may take to end by itself once its input has ended.
        """
        self.usable = False
        self._stdin.close()
        if not self.has_ended(patience_seconds):
            self._process.kill()  # also ends a stopped process
            self.has_ended(_END_SECONDS)
        self._stdout.close()
        self._stderr.close()
        return self._process.returncode

    def has_ended(self, within_seconds: float) -> bool:
        """Whether the process is gone, or goes within this time."""
        try:
            self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End an idle child the gentle way."""
        self.end(patience_seconds=_END_SECONDS)

    def _await_ready(self, on_working: Callable[[], None]) -> None:
        try:
            header = self._first_message(on_working)
            if header.get("ready") is True:
                return
            reason = f"it said {header!r}"
        except (TimeoutError, EOFError, ProtocolError, OSError) as error:
            reason = str(error)
        self._process.kill()
        printed = self._stderr.read(1 << 16).decode(errors="replace").strip()
        status = self.end()
        raise DecoderUnavailable(
            f"A decoder process did not start ({reason}, status {status}): "
            f"{printed[-1000:] or 'it printed nothing'}. Check the installation of Pillow and "
            "NumPy, and ATELIER_IMAGE_MAX_MEMORY_BYTES."
        )

    def _first_message(self, on_working: Callable[[], None]) -> dict[str, Any]:
        """Raises TimeoutError, EOFError, ProtocolError."""
        deadline, used = time.monotonic() + _START_SECONDS, 0.0
        while True:
            try:
                return self._receive(0, _PROBE_SECONDS)[0]
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"not within {_START_SECONDS:g} s") from None
                before, used = used, processor_seconds(self.pid)
                if used > before:
                    on_working()

    def _send(self, message: bytes) -> None:
        """Raises DecoderDied."""
        poller = select.poll()
        poller.register(self._stdin.fileno(), select.POLLOUT)
        deadline = time.monotonic() + self.wall_seconds
        view = memoryview(message)
        try:
            while view:
                if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise TimeoutError(f"it did not within {self.wall_seconds:g} s")
                view = view[os.write(self._stdin.fileno(), view) :]
        except OSError as error:
            self.end()
            raise DecoderDied(
                FailureCode.DECODER_CRASH, f"the decoder took no request: {error}", has_bytes=False
            ) from error

    def _await_answer(
        self, payload_max_bytes: int, on_working: Callable[[], None]
    ) -> tuple[dict[str, Any], bytearray]:
        """The next message, however long it takes while the child uses processor time.

        On a busy machine a sound picture may take long; what it may use in all, the child's own
        limit bounds. Raises TimeoutError if it uses none, as well as EOFError, ProtocolError.
        """
        used: float | None = None
        idle_seconds, reading = 0.0, True
        while True:
            try:
                return self._receive(payload_max_bytes, _PROBE_SECONDS)
            except TimeoutError:
                before, used = used, processor_seconds(self.pid)
                was_reading, reading = reading, not self._has_bytes()
                idle_seconds += _PROBE_SECONDS
                worked = before is not None and used - before >= _WORKING_SHARE * _PROBE_SECONDS
                if worked or reading != was_reading:  # how long the disk took counts for nothing
                    idle_seconds = 0.0
                if worked or reading:
                    on_working()
                if idle_seconds >= self.wall_seconds:
                    raise

    def _has_bytes(self) -> bool:
        """Whether the child wants nothing more of the disk for the image that is in hand."""
        with contextlib.suppress(BlockingIOError):
            while marks := os.read(self._stderr.fileno(), 1 << 16):
                self._marks += len(marks)
        return self._marks > self.answered

    def _receive(self, payload_max_bytes: int, seconds: float) -> tuple[dict[str, Any], bytearray]:
        """The next message. Raises TimeoutError, EOFError, ProtocolError."""
        poller = select.poll()
        poller.register(self._stdout.fileno(), select.POLLIN)
        deadline = time.monotonic() + seconds
        while True:
            message = unpack_from(self._buffer, payload_max_bytes=payload_max_bytes)
            if message is not None:
                return message
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"no answer within {seconds:g} s")
            received = os.read(self._stdout.fileno(), 1 << 16)
            if not received:
                raise EOFError("it ended")
            self._buffer += received

    def _killed_for_hanging(self, request: DecodeRequest) -> DecoderDied | DiskStalled:
        has_bytes = self._has_bytes()
        self.end()
        if not has_bytes:
            return DiskStalled(f"{request.path}: no bytes within {self.wall_seconds:g} s")
        return DecoderDied(
            FailureCode.DECODE_TIMEOUT,
            f"Decoding came to a stop: no answer within {self.wall_seconds:g} s; export the "
            "picture again, or raise ATELIER_IMAGE_MAX_SECONDS if the machine is slow.",
            has_bytes=True,
        )

    def _post_mortem(self, error: Exception) -> DecoderDied:
        has_bytes = self._has_bytes()
        # A child that talks nonsense still runs; one whose output ended is about to be gone.
        status = self.end(patience_seconds=_END_SECONDS if isinstance(error, EOFError) else 0.0)
        if status == -signal.SIGPROF:
            return DecoderDied(
                FailureCode.DECODE_TIMEOUT,
                f"Decoding took more than {self._limits.max_seconds:g} s of processor time; "
                "deliver a smaller or simpler file, or raise ATELIER_IMAGE_MAX_SECONDS.",
                has_bytes=True,  # waiting for a disk takes none
            )
        if status is None:
            manner = "does not end"
        elif isinstance(error, ProtocolError):
            manner = f"sent nonsense ({error})"
        elif status < 0:
            manner = f"was ended by {signal.Signals(-status).name}"
        else:
            manner = f"ended with status {status}"
        return DecoderDied(
            FailureCode.DECODER_CRASH,
            f"The decoder {manner} while it had this picture in hand; export the picture again "
            "and deliver the new file.",
            has_bytes=has_bytes,
            outside=isinstance(error, EOFError) and -(status or 0) in _OUTSIDE_SIGNALS,
        )


def wall_seconds(limits: ImageLimits) -> float:
    """How long a child may use no processor time before it counts as hanging."""
    return 2 * limits.max_seconds + _GRACE_SECONDS


def processor_seconds(pid: int) -> float:
    """What a process has used, in steps of a hundredth; 0 where the system does not say (macOS)."""
    try:
        # proc(5): user and system time are the 14th and 15th words; the second may hold blanks.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # also where this process may open nothing more: no picture is to blame
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _environment() -> dict[str, str]:
    """What a child may know: where to import from, and that it has one thread. No secrets.

    Its import path is ours, so that it finds the same packages however we were started. One thread
    and one malloc arena, since each further one reserves address space that RLIMIT_AS counts; and
    large blocks go back to the system when freed.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    threads = (
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
    return {
        **kept,
        **dict.fromkeys(threads, "1"),
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024),
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
    }


def _present(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:  # Popen gives a stream for every PIPE that it was asked for
        raise DecoderUnavailable("a decoder process has no pipe")
    return stream
