"""A broker from which nothing comes back, for longer than a worker may be stuck."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.proxy import Proxy
from tests.processes import Place
from tests.stand_in import picture

STUCK_S = 7.0


def test_a_black_hole_before_the_broker_costs_time_and_nothing_else(
    servers: Place, tmp_path: Path
) -> None:
    """It opens while batches are in hand and others wait, and lasts twice as long as a worker may
    hear nothing. The worker may end itself or connect anew; its supervisor starts another.
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
    for number in range(40):
        (folder / f"{number}.png").write_bytes(picture(6 * number))

    def done() -> int:
        return int(servers.scalar("SELECT count(*) FROM batches WHERE state = 'done'"))

    try:
        servers.run("ingest", str(folder))
        with servers.started("worker", "--supervise", "--concurrency", "1") as worker:
            servers.wait_until(lambda: done() >= 2, timeout_s=90, what="work goes on")
            proxy.behave("blackhole")
            time.sleep(2 * STUCK_S)
            before = done()
            assert before < 10
            proxy.behave("pass")
            servers.wait_until(lambda: done() == 10, timeout_s=180, what="work goes on again")
            worker.terminate()
        rows = servers.export()
    finally:
        proxy.close()
    assert len(rows) == 40
    assert all(row["status"] in ("tagged", "needs_review") for row in rows.values())
    assert servers.scalar("SELECT count(*) FROM predictions") == 40
    assert servers.scalar("SELECT max(crashes) FROM batches") == 0
