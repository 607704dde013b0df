"""A wall clock that the driver can set forward and back in all processes that it forked.

`install()` must run before anything takes `time.time` by name; see `tests/faults/__main__.py`.
"""

from __future__ import annotations

import datetime as dt
import mmap
import struct
import time

_true = time.time
_shared = mmap.mmap(-1, 8)  # anonymous, so the children of a fork see the same eight bytes


def offset_s() -> float:
    """By how much the shown time differs from the true one, in seconds."""
    found: float = struct.unpack("d", _shared[:8])[0]
    return found


def jump(seconds: float) -> None:
    """Set the clock forward (or back) at once, everywhere."""
    _shared[:8] = struct.pack("d", offset_s() + seconds)


def shown() -> float:
    """Takes the place of `time.time`."""
    return _true() + offset_s()


def utc_now() -> dt.datetime:
    """Takes the place of `worker.bootstrap.utc_now`."""
    return dt.datetime.fromtimestamp(shown(), dt.UTC)


def install() -> None:
    time.time = shown
