"""Container health check: exits 0 if the `atelier` process of this container is at work.

    python -I -S deploy/health.py

Standard library only and no import of the project: it runs every 30 s beside a worker, and
importing Celery or TensorFlow would cost more than the worker's own idling. It asserts two things:

1. The main thread of `atelier worker` or `atelier watch` moves: the kernel counts its turns. It
   polls at least every 10 s when idle (Celery's event loop; the inbox's loop every 0.5 s), so one
   that stood still for 12 s is stopped or stuck. Returns at the first movement.
2. A worker that was given a broker by URL holds a TCP connection to it. The kernel's table says
   so without asking the broker anything.

It cannot see that a batch in hand is stuck: that is the sweeper's to notice, from the database.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

SILENCE_S: Final = 12.0
"""Celery's event loop waits 10 s at most, see kombu.asynchronous.hub.Hub.fire_timers."""
LOOK_AGAIN_S: Final = 0.25
LOOPS: Final = ("worker", "watch")
PORTS: Final = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671}
_ESTABLISHED: Final = "01"


class Unhealthy(Exception):
    """The message is what `docker inspect` shows."""


class Process(NamedTuple):
    pid: int
    command: str


def find_process(proc: Path) -> Process:
    """The first process whose command line is `[python] .../atelier ... worker|watch`."""
    for folder in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # ended while we look, or another user's
            continue
        if any(Path(word).name == "atelier" for word in words[:2]):
            for word in words[1:]:
                if word in LOOPS:
                    return Process(int(folder.name), word)
    raise Unhealthy(f"no process runs `atelier {'` or `atelier '.join(LOOPS)}`")


def turns(proc: Path, pid: int) -> tuple[str, ...]:
    """What changes whenever the main thread runs: its context switches and processor time."""
    task = proc / str(pid) / "task" / str(pid)
    try:
        status = (task / "status").read_text()
        # The name in brackets may hold spaces; utime and stime are fields 14 and 15 (proc(5)).
        after_name = (task / "stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise Unhealthy(f"process {pid} ended while it was looked at") from error
    switches = [line for line in status.splitlines() if "ctxt_switches" in line]
    return (*switches, *after_name[11:13])


def require_movement(proc: Path, pid: int, silence_s: float) -> None:
    """Raise Unhealthy if the main thread stands still for `silence_s` seconds."""
    before, deadline = turns(proc, pid), time.monotonic() + silence_s
    while turns(proc, pid) == before:
        if time.monotonic() >= deadline:
            raise Unhealthy(f"the main thread of process {pid} has not moved for {silence_s:g} s")
        time.sleep(LOOK_AGAIN_S)


def require_connection(proc: Path, url: str) -> None:
    """Raise Unhealthy if nothing here is connected to the port of the broker's `url`."""
    broker = urlsplit(url)
    port = broker.port or PORTS.get(broker.scheme)
    if port is None:  # a transport that is no TCP server
        return
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:  # no IPv6 here
            continue
        for line in lines:
            _, _, remote, state = line.split()[:4]
            if state == _ESTABLISHED and int(remote.rpartition(":")[2], 16) == port:
                return
    # Not the URL: it may hold a password.
    raise Unhealthy(f"no connection to the broker at {broker.hostname}:{port}")


def examine(proc: Path, broker_url: str | None, silence_s: float = SILENCE_S) -> None:
    """Raise Unhealthy with the reason, or return."""
    process = find_process(proc)
    require_movement(proc, process.pid, silence_s)
    if process.command == "worker" and broker_url:
        require_connection(proc, broker_url)


def main() -> int:
    try:
        examine(Path("/proc"), os.environ.get("ATELIER_BROKER_URL"))
    except Unhealthy as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
