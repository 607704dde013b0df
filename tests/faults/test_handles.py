"""A worker that lives through a bad network holds no more afterwards than before."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

ROUNDS = int(os.environ.get("ATELIER_NETWORK_ROUNDS", "1"))
SPARE = 2
"""Files or threads that come and go."""


@pytest.mark.timeout(300 + 120 * ROUNDS)
def test_who_lives_through_network_faults_gives_back_all_that_they_cost() -> None:
    """Eight faults of the ways to the database and to the broker for each round, after one that
    warms up: connections that are cut, closed by halves, late, or slow.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.handles", "--rounds", str(ROUNDS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["faults"] == 8 * (ROUNDS + 1)
    assert told["ended"] == []
    assert told["broken"] == ""
    for name in ("files", "threads", "children"):
        assert told["after"][name] <= told["before"][name] + SPARE, told
    assert told["after"]["memory_kib"] <= 1.05 * told["before"]["memory_kib"], told
