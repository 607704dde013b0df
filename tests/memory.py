"""Temporary files in memory: tests make thousands of commits, and none is about power cuts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
ROOM: Final = 8 << 30
"""Bytes that must be free there, and in all of the machine."""


def write_there() -> None:
    """Where there is plenty of memory (Linux), have it hold temporary files, those of processes
    started from here, too. TMPDIR says otherwise.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(told["MemAvailable"].removesuffix("kB")) << 10
    if min(shutil.disk_usage(MEMORY).free, available) >= ROOM:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None
