"""A few pictures that end every worker cost themselves, and nobody else.

    ATELIER_POISON_IMAGES=10000 ATELIER_POISON_KILLS=5 pytest tests/faults/test_poison.py -s

The defaults are small, for every run of the tests; `make faults-large` runs the sizes above.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import Place
from tests.stand_in import picture

IMAGES = os.environ.get("ATELIER_POISON_IMAGES", "400")
KILLS = os.environ.get("ATELIER_POISON_KILLS", "1")


LARGE = int(IMAGES) >= 10_000


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("guilty", (3, 1) if LARGE else (3,))
@pytest.mark.parametrize("kind", ("embedded", "servers") if LARGE else ("embedded",))
def test_what_ends_every_worker_fails_alone(
    kind: str, guilty: int, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "tests.faults.poison"),
            *("--kind", kind, "--images", IMAGES, "--kills", KILLS, "--guilty", str(guilty)),
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
    assert came_of_it["failed"] == came_of_it["guilty"] == guilty
    assert came_of_it["workers_ended"] >= 3 * guilty
    for detail in came_of_it["told"]:
        found = re.search(r"alone brought down 3 workers \((\d+) attempts\)", detail)
        assert found is not None, detail
        assert int(found[1]) >= 3


@pytest.mark.timeout(900)
@pytest.mark.skipif(not LARGE, reason="starts fourteen workers; make faults-large does it")
def test_a_delivery_of_nothing_else_ends_too(embedded: Place, tmp_path: Path) -> None:
    """With the supervisor that `atelier tag` has: it must not give up before all are convicted."""
    (tmp_path / "in").mkdir()
    (tmp_path / "orders").mkdir()
    pictures = [picture(20 * number) for number in range(4)]
    for number, data in enumerate(pictures):
        (tmp_path / "in" / f"{number}.png").write_bytes(data)
    keys = ",".join(hashlib.sha256(data).hexdigest() for data in pictures)
    (tmp_path / "orders" / "tag.image").write_text(f"kill key={keys} always")
    embedded.environment |= {
        "ATELIER_FAILPOINTS": str(tmp_path / "orders"),
        "ATELIER_BEAT_S": "0.5",
        "ATELIER_SWEEP_S": "0.5",
        "ATELIER_STALE_S": "3",
    }
    counts = embedded.run_json("tag", str(tmp_path / "in"), timeout_s=800)["by_status"]
    assert counts["failed"] == 4
    assert {row["failure_code"] for row in embedded.export().values()} == {"worker_crash"}
