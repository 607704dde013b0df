"""A watched inbox that is killed and restarted while things land in it: each ingested once."""

from __future__ import annotations

import json
import random
import signal
import time
import zipfile
from pathlib import Path

from tagging.failpoints import fired
from tests.processes import Place
from tests.stand_in import picture

LOOSE = 500


def test_each_thing_is_ingested_exactly_once(embedded: Place, tmp_path: Path) -> None:
    rng = random.Random(11)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with embedded.started("watch", str(inbox), "--settle-s", "0.5") as watch:
        for part in range(5):
            for number in range(part * LOOSE // 5, (part + 1) * LOOSE // 5):
                (inbox / f"loose{number}.png").write_bytes(picture(number % 256))
            if part == 1:
                with zipfile.ZipFile(inbox / "more.zip.part", "w") as archive:
                    for number in range(40):
                        archive.writestr(f"zipped{number}.png", picture(number))
                (inbox / "more.zip.part").rename(inbox / "more.zip")
            if part == 2:
                folder = inbox / "autumn"
                folder.mkdir()
                for number in range(20):
                    (folder / f"{number}.png").write_bytes(picture(number))
                rows = "".join(f"M{number},{number}.png\n" for number in range(20))
                (folder / "products.csv").write_text("sku,image\n" + rows)
            if part == 3:
                rows = "".join(f"B{number},beside/{number}.png\n" for number in range(20))
                (inbox / "list.csv").write_text("sku,image\n" + rows)
                (inbox / "beside").mkdir()
                for number in range(20):
                    (inbox / "beside" / f"{number}.png").write_bytes(picture(number + 100))
            time.sleep(0.8 + rng.random() * 1.5)
            watch.restart()
        embedded.wait_until(
            lambda: (
                sorted(p.name for p in inbox.iterdir()) == [".atelier", "done", "rejected"]
                and not list((inbox / ".atelier" / "plans").iterdir())
            ),
            timeout_s=120,
            what="the inbox is empty",
        )
    rows = embedded.export()
    expected = {f"loose{n}" for n in range(LOOSE)}
    expected |= {f"zipped{n}" for n in range(40)} | {f"M{n}" for n in range(20)}
    expected |= {f"B{n}" for n in range(20)}
    assert set(rows) == expected
    assert list((inbox / "rejected").iterdir()) == []
    # Once each: no ledger line found its product there already, as a second ingest would.
    outcomes = embedded.scalar(
        "SELECT group_concat(DISTINCT outcome) FROM upload_items WHERE outcome <> 'skipped'"
    )
    assert outcomes == "created"
    assert embedded.scalar("SELECT count(*) FROM upload_items") == len(expected)
    assert embedded.scalar("SELECT count(*) FROM uploads WHERE state <> 'filed'") == 0


def test_an_end_that_was_asked_for_is_no_fault_of_the_delivery(
    embedded: Place, tmp_path: Path
) -> None:
    orders = tmp_path / "orders"
    orders.mkdir()
    (orders / "upload.begin.committed").write_text("hang")
    embedded.environment["ATELIER_FAILPOINTS"] = str(orders)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "a.png").write_bytes(picture(1))
    with embedded.started("watch", str(inbox), "--settle-s", "0.1") as watch:
        embedded.wait_until(
            lambda: fired(orders, "upload.begin.committed") is not None,
            timeout_s=60,
            what="the delivery is being read",
        )
        (plan,) = (inbox / ".atelier" / "plans").iterdir()
        assert json.loads(plan.read_text())["tries"] == 1
        watch.kill(signal.SIGTERM)
        assert json.loads(plan.read_text())["tries"] == 0
