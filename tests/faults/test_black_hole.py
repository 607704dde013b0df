"""A broker from which nothing comes back, for longer than a worker may hear nothing."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import Proxy
from tests.processes import Place
from tests.stand_in import picture
from worker.watchdog import STUCK_CODE

STUCK_S = 7.0
BATCHES = 12


@pytest.mark.timeout(600)
def test_black_holes_before_the_broker_cost_time_and_nothing_else(
    servers: Place, tmp_path: Path
) -> None:
    """The first swallows everything, while batches are in hand and others wait. Who asks or
    acknowledges gives up by itself; Kombu connects anew, or the watchdog ends the worker: both
    will do. The second swallows what is said to who waits for a message, on any connection, while
    the broker says that messages wait: only another worker helps. (One test, for a worker with the
    real network takes ten seconds of processor time to start.)
    """
    found = urlsplit(servers.environment["ATELIER_BROKER_URL"])
    proxy = Proxy((found.hostname or "", found.port or 0))
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "tag.classified").write_text("delay 1 always")
    servers.environment |= {
        "ATELIER_BROKER_URL": f"redis://127.0.0.1:{proxy.port}/0",
        "ATELIER_FAILPOINTS": str(tmp_path / "orders"),
        "ATELIER_BATCH_IMAGES": "4",
        "ATELIER_CLASSIFY_SHAPES": "[4]",
        "ATELIER_STUCK_S": str(STUCK_S),
        "ATELIER_STALE_S": "3",
        "ATELIER_BEAT_S": "0.5",
        "ATELIER_SWEEP_S": "0.5",
    }
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4 * BATCHES):
        (folder / f"{number}.png").write_bytes(picture(5 * number))

    def done() -> int:
        return int(servers.scalar("SELECT count(*) FROM batches WHERE state = 'done'"))

    try:
        servers.run("ingest", str(folder))
        with servers.started("worker", "--supervise", "--concurrency", "1") as worker:
            servers.wait_until(lambda: done() >= 2, timeout_s=90, what="work goes on")
            proxy.behave("blackhole")
            time.sleep(2 * STUCK_S)
            before = done()
            assert before < BATCHES // 2
            proxy.behave("pass")
            servers.wait_until(lambda: done() > before, timeout_s=180, what="it goes on again")
            proxy.behave("unheard")
            heard = worker.text()
            assert "broker_away" in heard

            def since() -> str:
                return worker.text()[len(heard) :]

            servers.wait_until(
                lambda: "worker_ended" in since(), timeout_s=120, what="the deaf worker ends"
            )
            servers.wait_until(
                lambda: " ready " in since().partition("worker_ended")[2],
                timeout_s=120,
                what="another is ready",
            )
            assert done() < BATCHES
            proxy.behave("pass")
            servers.wait_until(lambda: done() == BATCHES, timeout_s=180, what="all is done")
            worker.terminate()
        rows = servers.export()
    finally:
        proxy.close()
    said, _, of_supervisor = since().partition("worker_ended")
    why, _, stacks = said.partition(" stuck ")[2].partition("\n")
    assert "deaf=True" in why
    assert {"_sweep", "_beat", "watch", "start"} <= functions_in(stacks)
    assert f"code={STUCK_CODE} " in of_supervisor
    assert len(rows) == 4 * BATCHES
    assert all(row["status"] in ("tagged", "needs_review") for row in rows.values())
    assert servers.scalar("SELECT count(*) FROM predictions") == 4 * BATCHES
    assert servers.scalar("SELECT max(crashes) FROM batches") == 0


def functions_in(stacks: str) -> set[str]:
    """Of all threads whose stacks `faulthandler` wrote."""
    return {line.rpartition(" in ")[2] for line in stacks.splitlines() if " in " in line}
