"""What a worker process is called, and whether one that is called so is gone for certain.

    name_here()                                  # "shop-1:4711:5e3c9a1f-4026531836"
    is_gone("shop-1:4712:5e3c9a1f-4026531836")   # there is no process 4712 here

A name says where its process number counts: in which boot of which machine's kernel, and in which
namespace of processes (a container has its own). Of a worker elsewhere nothing is known.
"""

from __future__ import annotations

import os
import re
import socket
from functools import cache
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[^:]*:(?P<pid>[1-9][0-9]{0,9}):(?P<place>[0-9a-f]{8}-[0-9]+)(?::.*)?")


def name_here() -> str:
    """Of this process: host, process number and, where the system tells it (Linux), its place."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    place = _place()
    return name if place is None else f"{name}:{place}"


def is_gone(name: str | None) -> bool:
    """Whether no such process is left that could still write. Never said of one elsewhere.

    A number that another process has by now says nothing, either.
    """
    found = None if name is None else _NAME.fullmatch(name)
    if found is None or found["place"] != _place():
        return False
    pid = int(found["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is somebody else's, so it is there
        return False
    return _is_dead(pid)


def _is_dead(pid: int) -> bool:
    """Whether nobody has taken note yet of its end."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("Z", "X")  # proc_pid_stat(5)


@cache
def _place() -> str | None:
    """The boot, and the namespace of processes (namespaces(7))."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None
    return f"{boot[:8]}-{namespace}"
