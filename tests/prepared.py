"""Commands that start at once: forked from a process that has imported what they import.

A command of `atelier` spends most of its time on imports and, in most tests, a tenth on its work.
Each of them is a process of its own all the same, with its own arguments, folder, umask, streams,
environment and end; where what is read of an environment only as a process starts differs from what
the prepared process was started with, the command is started as a shell would. What it starts
itself (workers, decoders) is started as ever. Limits of resources are the prepared process's. That
imports work, the commands see that tests start plainly: `worker`, `web` where no browser looks at
it, `train`, `report`, the demo, and one of each module in `tests/integration/test_prepared.py`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

import sqlalchemy as sa

import worker
from worker import cli

ROOT: Final = Path(__file__).resolve().parents[1]
LOADED_LATE: Final = (
    "alembic.command",
    "celery.app.amqp",
    "kombu.transport.redis",
    "kombu.transport.sqlalchemy",
    "scipy.special",
    "tagging.inbox",
    "tagging.web.app",
    "uvicorn",
    "worker.app",
    "worker.bounded_http",
)
"""What commands import only once they need it, besides their own modules."""
FIXED: Final = ("PYTHON", "LANG", "LC_", "TZ", "LD_", "MALLOC_", "OMP_", "OPENBLAS_", "MKL_")
MOST_BYTES: Final = 128 * 1024
"""Of one request: arguments, folder and environment."""
_BEGIN_S: Final = 60.0


def run_command(
    arguments: tuple[str, ...],
    *,
    environment: dict[str, str],
    stdin: bytes,
    timeout_s: float,
) -> subprocess.CompletedProcess[bytes]:
    """Run `atelier ARGUMENTS` to its end, as `subprocess.run` would with captured output.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
        RuntimeError: the prepared process is gone. The next call starts another.
    """
    words = ["atelier", *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _fed(stdin) as given:
        streams = (given, out.fileno(), err.fileno())
        command = begin_command(arguments, environment=environment, streams=streams)
        try:
            status = command.wait(timeout_s)
        except BaseException as error:
            command.kill()
            command.wait(30)
            if isinstance(error, subprocess.TimeoutExpired):
                raise subprocess.TimeoutExpired(words, timeout_s, _all(out), _all(err)) from None
            raise
        return subprocess.CompletedProcess(words, status, _all(out), _all(err))


def begin_command(
    arguments: tuple[str, ...], *, environment: dict[str, str], streams: tuple[int, int, int]
) -> Command:
    """Begin `atelier ARGUMENTS`, as `subprocess.Popen` would; `streams` are its 0, 1 and 2.

    Raises:
        RuntimeError: the prepared process is gone. The next call starts another.
    """
    request = json.dumps(
        {
            "arguments": arguments,
            "folder": str(Path.cwd()),
            "umask": _umask(),
            "environment": environment,
        }
    ).encode()
    if len(request) > MOST_BYTES or not _fits(environment):
        given, out, err = streams
        return subprocess.Popen(
            [sys.executable, "-m", "worker", *arguments],
            env=environment,
            stdin=given,
            stdout=out,
            stderr=err,
        )
    ear, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.ExitStack() as if_it_fails:
        if_it_fails.enter_context(ear)
        with mouth, _server_that_lives() as server:
            ear.settimeout(_BEGIN_S)
            socket.send_fds(server.requests, [request], [*streams, mouth.fileno()])
            mouth.close()
            command = Forked(arguments, int(ear.recv(64)), ear)
        if_it_fails.pop_all()
    return command


class Command(Protocol):
    """A process that was begun: what of `subprocess.Popen` serves for a forked one, too."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def kill(self) -> None: ...


class Forked:
    """A command that the prepared process forked; its warden tells here how it ended.

    It must be waited for, as `subprocess.Popen` must.
    """

    def __init__(self, arguments: tuple[str, ...], pid: int, ear: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._arguments = arguments
        self._ear = ear

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._ear.settimeout(timeout)
            try:
                status = int(self._ear.recv(64))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(
                    ["atelier", *self._arguments], timeout or 0
                ) from None
            self._ear.close()
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _all(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read()


def _umask() -> int:
    """This process's, which can be asked for only by setting it, or by reading this."""
    found = re.search(r"^Umask:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1], 8) if found else 0o022


@contextlib.contextmanager
def _fed(content: bytes) -> Iterator[int]:
    """The reading end of a pipe that `content` comes through."""
    reading, writing = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as stream:
            stream.write(content)

    feeding = threading.Thread(target=feed, daemon=True)
    feeding.start()
    try:
        yield reading
    finally:
        os.close(reading)
        feeding.join()


@dataclass(frozen=True, kw_only=True)
class Server:
    """The prepared process: where to send requests, and what it was started with."""

    process: subprocess.Popen[bytes]
    requests: socket.socket
    environment: dict[str, str]


def _fixed(environment: dict[str, str]) -> dict[str, str]:
    """What Python and the libraries that are loaded read once, as they start."""
    return {k: v for k, v in environment.items() if k.startswith(FIXED)}


def _fits(environment: dict[str, str]) -> bool:
    """Whether the prepared process can stand for one that is started with this."""
    if sys.platform != "linux":  # where a process with libraries loaded had better not fork
        return False
    return _fixed(environment) == _fixed(_server().environment)


def make_ready() -> None:
    """Start the prepared process now, if it does not run."""
    _server()


@functools.cache
def _server() -> Server:
    """This process's own. It ends when this process does."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")}
    environment = {**inherited, "PYTHONWARNINGS": "default"}
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.prepared", str(its.fileno())],
            env={**environment, "OPENBLAS_NUM_THREADS": "1"},  # who has threads had better not fork
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            pass_fds=[its.fileno()],
            start_new_session=True,  # Ctrl-C is for us, and we tell it
        )

    def end() -> None:
        ours.close()
        process.wait(timeout=30)

    atexit.register(end)
    return Server(process=process, requests=ours, environment=environment)


@contextlib.contextmanager
def _server_that_lives() -> Iterator[Server]:
    """To begin a command with, in a `with` block. Raises RuntimeError if it is gone by its end."""
    server = _server()
    try:
        yield server
    except (BrokenPipeError, ConnectionResetError, TimeoutError, ValueError) as error:
        server.process.kill()
        ended = server.process.wait()
        _server.cache_clear()
        raise RuntimeError(
            f"the prepared process answers no more; it ended with {ended}"
        ) from error


def _serve(requests: socket.socket) -> list[str] | None:
    """Fork for every request. Returns in each fork, with its arguments; None at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # wardens leave nothing behind
    while True:
        message, fds, _, _ = socket.recv_fds(requests, MOST_BYTES, 4)
        if not message:
            return None
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    # A warden, which tells how the command ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    requests.close()
    *streams, mouth = fds
    command = os.fork()
    if command:
        for fd in streams:
            os.close(fd)
        os.write(mouth, b"%d" % command)
        os.write(mouth, b"%d" % os.waitpid(command, 0)[1])
        os._exit(0)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    request = json.loads(message)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    arguments: list[str] = request["arguments"]
    return arguments


if __name__ == "__main__":
    commands = (file.stem for file in Path(worker.__file__).parent.glob("cli*.py"))
    for module in (*(f"worker.{name}" for name in commands), *LOADED_LATE):
        importlib.import_module(module)
    sa.orm.configure_mappers()
    gc.freeze()  # as `atelier` itself does
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        given = _serve(requests)
    if given is not None:
        # As a user's shell starts it; what it raises ends this process, as it would any.
        __package__ = None  # type: ignore[assignment]
        sys.argv = ["atelier", *given]
        cli.main()
