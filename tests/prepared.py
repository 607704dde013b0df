"""Commands that start at once: forked from a process that has imported what they import.

A command of `atelier` spends a second on imports and, in most tests, less than a tenth on its work.
Each of them is a process of its own all the same, with its own arguments, environment, streams and
end; what it starts itself (workers, decoders) is started as ever. Tests that start `python -m
worker` or run the demo see to it that the imports work, too.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

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
    "worker.app",
)
"""What commands import only once they need it, besides their own modules."""
MOST_BYTES: Final = 128 * 1024
"""Of one request: arguments, folder and environment."""


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
    """
    if sys.platform != "linux":  # where a process with libraries loaded had better not fork
        return subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        _fed(stdin) as given,
        contextlib.ExitStack() as to_close,
    ):
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ear, mouth = (to_close.enter_context(end) for end in pair)
        request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": environment}
        socket.send_fds(
            _server(),
            [json.dumps(request).encode()],
            [given, out.fileno(), err.fileno(), mouth.fileno()],
        )
        mouth.close()
        pid = int(ear.recv(64))
        try:
            if not select.select([ear], [], [], timeout_s)[0]:
                raise subprocess.TimeoutExpired(["atelier", *arguments], timeout_s)
            status = int(ear.recv(64))
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            ear.recv(64)  # it has ended
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(
            ["atelier", *arguments], os.waitstatus_to_exitcode(status), out.read(), err.read()
        )


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


@functools.cache
def _server() -> socket.socket:
    """Where this process sends its requests. The server ends when this process does."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.prepared", str(its.fileno())],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")},
                "PYTHONWARNINGS": "default",
            },
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            pass_fds=[its.fileno()],
        )

    def end() -> None:
        ours.close()
        server.wait(timeout=30)

    atexit.register(end)
    return ours


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
