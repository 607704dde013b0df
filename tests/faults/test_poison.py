"""A few pictures that end every worker cost themselves, and nobody else.

    ATELIER_POISON_IMAGES=10000 ATELIER_POISON_KILLS=5 pytest tests/faults/test_poison.py -s

The defaults are small, for every run of the tests; `make faults-large` runs the sizes above.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

IMAGES = os.environ.get("ATELIER_POISON_IMAGES", "400")
KILLS = os.environ.get("ATELIER_POISON_KILLS", "1")


@pytest.mark.timeout(1800)
def test_what_ends_every_worker_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "tests.faults.poison"),
            *("--images", IMAGES, "--kills", KILLS),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    came_of_it = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(f"\n{came_of_it}")
    assert came_of_it["broken"] == ""
    assert came_of_it["ended"]
    assert came_of_it["failed"] == came_of_it["guilty"] == 3
    assert came_of_it["workers_ended"] >= 3 * 3
