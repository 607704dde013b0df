"""The decoder child: reads hostile files so that the worker need not.

    python -m tagging.images.decoder '{"max_bytes": ..., ...}' FAILPOINTS-OR-'' measured-OR-''

It is started, asked and ended by `decoders.DecoderPool` (the messages: `protocol`), holds no
secrets, and imports Pillow and NumPy only. The kernel bounds it: address space, processor time per
image, no core file, no writing of files; and keeps it from others (`confinement`). It ends with its
parent: at the end of its input, and on Linux at its parent's death.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import resource
import signal
import stat
import sys
import time
import warnings
from pathlib import Path
from typing import Any, BinaryIO, Final

from PIL import AvifImagePlugin

from tagging.domain import FailureCode
from tagging.failpoints import failpoint, switch_on
from tagging.images.confinement import confine
from tagging.images.decode import align_pillow_bound, decode_image, memory_exceeded
from tagging.images.model_input import to_model_input
from tagging.images.protocol import WireSpec, pack, unpack_from
from tagging.images.rejection import ImageLimits, ImageRejected, ImageTooLarge

_OPEN_FILES: Final = 32
_NO_FILE: Final = (errno.ELOOP, errno.ENXIO)  # links in a ring, a socket
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def main() -> None:
    """Serve until the input ends.

    Arguments: the `ImageLimits` as JSON; the failpoints' folder, or nothing; `measured`, if each
    answer is to tell its cost.
    """
    limits = ImageLimits(**json.loads(sys.argv[1]))
    orders = Path(sys.argv[2]) if sys.argv[2] else None
    switch_on(orders)
    meter = _Meter() if sys.argv[3] == "measured" else None
    with contextlib.suppress(BrokenPipeError):  # the parent is gone: nobody to answer
        answers = _claim_output()
        _outlive_nobody()
        warnings.simplefilter("ignore")  # this process prints nothing
        align_pillow_bound(limits)
        # Pictures are spread over processes; threads within one would each take address space.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        confine(writable=orders)
        idle_bytes = _set_limits(limits)
        _write(answers, pack({"ready": True}))
        marks = os.dup(sys.stderr.fileno())
        # Until here a traceback tells the parent why the start failed.
        os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
        _serve(sys.stdin.buffer, answers, marks, limits, idle_bytes, meter)


def _serve(
    requests: BinaryIO,
    answers: int,
    marks: int,
    limits: ImageLimits,
    idle_bytes: int,
    meter: _Meter | None,
) -> None:
    buffer = bytearray()
    while True:
        message = unpack_from(buffer, payload_max_bytes=0)
        if message is None:
            more = os.read(requests.fileno(), 1 << 16)
            if not more:
                return
            buffer += more
            continue
        spec = WireSpec(**message[0]["spec"])
        for sha256, path in message[0]["images"]:
            if meter is not None:
                meter.begin()
            _allow_seconds(limits.max_seconds)
            header, payload = _answer(sha256, Path(path), spec, limits, marks)
            if meter is not None:
                header["cost"] = meter.read()
            # After a MemoryError, and whenever the heap has kept much (fragments, leaks of a C
            # library), a fresh process is the only one whose memory bound means what it says.
            grown = _address_space_bytes() - idle_bytes
            if header.get("code") == FailureCode.DECODE_MEMORY or (
                grown > limits.max_memory_bytes // 4
            ):
                header["retire"] = True
            failpoint("decoder.answer", sha256)
            _write(answers, pack(header, payload))
            if "retire" in header:
                return


def _answer(
    sha256: str, path: Path, spec: WireSpec, limits: ImageLimits, marks: int
) -> tuple[dict[str, Any], bytes]:
    """Header and payload for one image. Whatever is not foreseen here may end the process."""
    try:
        data = _stored_bytes(path, sha256, limits)
    except (ImageRejected, MemoryError, OSError) as error:
        os.write(marks, b".")
        return _reason(error, path, limits), b""
    os.write(marks, b".")
    try:
        failpoint("decoder.image", sha256)
        image = decode_image(data, limits, for_input=spec)
        del data
        pixels = to_model_input(image, spec)  # (h, w, c) uint8
    except (ImageRejected, MemoryError) as error:
        return _reason(error, path, limits), b""
    return {"shape": pixels.shape}, pixels.tobytes()


def _reason(
    error: ImageRejected | MemoryError | OSError, path: Path, limits: ImageLimits
) -> dict[str, Any]:
    """The header that tells why there are no pixels."""
    if isinstance(error, OSError):
        return {"unread": f"{path}: {error.strerror or error}"}
    refused = memory_exceeded(limits) if isinstance(error, MemoryError) else error
    return {"code": refused.code, "detail": refused.detail}


def _stored_bytes(path: Path, sha256: str, limits: ImageLimits) -> bytes:
    """The bytes of a stored image, verified.

    Raises:
        ImageRejected: it is `too_large`, or `missing`: gone, no file, or of other bytes.
        OSError: the disk does not give them; whether they are there is not known.
    """
    try:
        # Non-blocking matters to a FIFO in the file's place only: opening one would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise _missing(sha256, "is not a regular file")
            if found.st_size > limits.max_bytes:
                raise ImageTooLarge(limits.max_bytes, f"{found.st_size:,} bytes")
            failpoint("decoder.read", sha256)
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as stream:
                data = stream.readall()
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise _missing(sha256, "is gone") from error
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _missing(sha256, "is not a regular file") from error
        raise
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _missing(sha256, "was altered: the stored bytes no longer match their sha256")
    return data


def _missing(sha256: str, what: str) -> ImageRejected:
    return ImageRejected(
        FailureCode.MISSING,
        f"The stored image {sha256} {what}; restore it from a backup, or delete it from the image "
        "store and deliver it again.",
    )


def _claim_output() -> int:
    """The pipe to the parent, as a descriptor of our own: no library's print can reach it."""
    answers = os.dup(sys.stdout.fileno())
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    return answers


def _outlive_nobody() -> None:
    """End with the parent, and only then: Ctrl-C and a group's SIGTERM are the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        # For a child that hangs in a decoder and so does not see its input end. It is the death of
        # the *thread* that started us which counts; the pool's threads live as long as the pool.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _set_limits(limits: ImageLimits) -> int:
    """Set the limits that hold for life; returns the address space in use now, in bytes.

    macOS refuses RLIMIT_AS; there, `max_memory_bytes` is not enforced.
    """
    idle_bytes = _address_space_bytes()
    _limit(resource.RLIMIT_CORE, 0, for_life=True)
    _limit(resource.RLIMIT_FSIZE, 0, for_life=True)  # pipes and devices are no files in this sense
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES, for_life=True)
    if idle_bytes:
        _limit(resource.RLIMIT_AS, idle_bytes + limits.max_memory_bytes, for_life=True)
    return idle_bytes


def _limit(which: int, value: int, *, for_life: bool = False) -> None:
    """Set a soft limit (and the hard one) to `value`, or to the hard limit if that is lower."""
    _, hard = resource.getrlimit(which)
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (soft, soft if for_life else hard))


def _allow_seconds(max_seconds: float) -> None:
    """Start the processor time of an image anew.

    Its end raises SIGPROF, which ends the process; the parent reads that from its status. Not
    RLIMIT_CPU, which counts whole seconds from the start of the process: an image would get up to
    one more.
    """
    signal.setitimer(signal.ITIMER_PROF, max_seconds)


class _Meter:
    """Measures what an image takes. Linux; elsewhere the memory reads as 0. Made before `confine`,
    after which no file is opened for writing.

    `ru_maxrss` would not do: it is never reset, and begins with what the parent had.
    """

    def __init__(self) -> None:
        self._reset: int | None = None
        with contextlib.suppress(FileNotFoundError):
            self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY)
        self._idle_bytes = self._cpu_seconds = 0.0
        self.begin()
        self._idle_bytes = self._peak_bytes()

    def begin(self) -> None:
        self._cpu_seconds = time.process_time()
        if self._reset is not None:
            os.write(self._reset, b"5")  # proc(5): resets the peak

    def read(self) -> tuple[float, int]:
        """Processor seconds and peak memory, in bytes over the idle process, since `begin`."""
        peak = self._peak_bytes()
        return time.process_time() - self._cpu_seconds, int(peak - self._idle_bytes)

    @staticmethod
    def _peak_bytes() -> int:
        try:
            status = Path("/proc/self/status").read_text()
        except FileNotFoundError:
            return 0
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) * 1024 if found else 0


def _address_space_bytes() -> int:
    """What RLIMIT_AS counts; 0 where the system does not say (macOS)."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    except FileNotFoundError:
        return 0


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    main()
