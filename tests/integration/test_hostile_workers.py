"""Hostile pictures through real workers: none ends, and whatever is good beside them is tagged.

`make hostile-images` delivers 20,000, to SQLite and the broker file and to PostgreSQL and Redis.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tagging.domain import FailureCode


@pytest.mark.timeout(600)
def test_no_picture_ends_a_worker_or_costs_its_neighbours() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "tests.hostile.workers"),
            *("--kind", "embedded", "--seeds", "0:300"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    came_to = json.loads(done.stdout.splitlines()[-1])
    assert came_to["faults"] == []
    assert (came_to["mutants"], came_to["neighbours"]) == (300, 75)
    assert came_to["outcomes"]["tagged"] > 60  # not all of them are hopeless...
    assert came_to["outcomes"][FailureCode.UNREADABLE] > 60  # ...and many are hurt
