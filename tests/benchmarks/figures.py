"""What benchmarks print: times by kind, and the machine that they were taken on."""

from __future__ import annotations

import os
import platform
import threading
from collections import defaultdict
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from rich.table import Table

from tagging.database.session import Database


class Timings:
    """Seconds by kind of request. Thread-safe."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, kind: str, seconds: float) -> None:
        with self._lock:
            self._seconds[kind].append(seconds)

    def percentile(self, kind: str, percent: float) -> float:
        """In milliseconds."""
        return 1000 * float(np.percentile(self._seconds[kind], percent))

    def table(self, title: str) -> Table:
        """A row per kind, in milliseconds."""
        found = Table(title=title, box=None, header_style="bold", title_justify="left")
        found.add_column("ms")
        for name in ("n", "p50", "p95", "p99", "most"):
            found.add_column(name, justify="right")
        for kind, seconds in self._seconds.items():
            figures = 1000 * np.percentile(seconds, (50, 95, 99, 100))
            found.add_row(kind, f"{len(seconds):,}", *(f"{value:,.1f}" for value in figures))
        return found


def machine() -> str:
    """Processor, cores, memory, system and load, in a line."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}; load before: {load}"
    )


def server_facts(database: Database) -> str:
    """Version, size and cache of a PostgreSQL."""
    with database.read() as session:
        version, size, cache = session.execute(
            sa.text(
                "SELECT current_setting('server_version'), "
                "pg_size_pretty(pg_database_size(current_database())), "
                "current_setting('shared_buffers')"
            )
        ).one()
    return f"PostgreSQL {version}, {size}, shared_buffers {cache}"
