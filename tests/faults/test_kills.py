"""kill -9 of the worker at seeded moments: every product ends, each with one prediction.

    ATELIER_KILL_IMAGES=10000 ATELIER_KILLS=10 pytest tests/faults/test_kills.py -s

The defaults are small, for every run of the tests; `make faults-large` runs the sizes above.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import Place

IMAGES = int(os.environ.get("ATELIER_KILL_IMAGES", "1500"))
KILLS = int(os.environ.get("ATELIER_KILLS", "3"))
SEED = int(os.environ.get("ATELIER_KILL_SEED", "7"))


def leases(place: Place) -> int:
    return int(place.scalar("SELECT count(*) FROM batches WHERE state = 'leased'") or 0)


def queued(place: Place) -> int:
    return int(place.scalar("SELECT count(*) FROM products WHERE status = 'queued'") or 0)


def write_pictures(folder: Path, count: int, seed: int) -> None:
    folder.mkdir()
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{number:05}.png", compress_level=0)


@pytest.mark.timeout(1200)
def test_kill_9_loses_and_doubles_nothing(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    write_pictures(tmp_path / "photos", IMAGES, SEED)
    place.environment["ATELIER_BATCH_IMAGES"] = str(max(32, IMAGES // 40))
    upload = place.run_json("ingest", str(tmp_path / "photos"))["upload"]
    assert queued(place) == IMAGES
    held = 0
    with place.started("worker") as worker:
        for kill in range(KILLS):
            # A kill counts only while there is work; so each waits for a lease, then for a
            # seeded moment within the time that a batch takes.
            place.wait_until(
                lambda: leases(place) > 0 or queued(place) == 0,
                timeout_s=90,
                what=f"a lease before kill {kill}",
            )
            time.sleep(rng.random() * 0.3)
            worker.kill()
            held += leases(place) > 0
            assert queued(place) > 0, f"all was done before kill {kill}; use more images"
            worker.start()
        left = queued(place)
        while left:
            place.wait_until(
                lambda before=left: queued(place) < before,  # type: ignore[misc]
                timeout_s=90,
                what=f"one more of {left} products ended",
            )
            left = queued(place)
    with capsys.disabled():
        print(f"\n{KILLS} kills, {held} of them while a lease was held, {IMAGES} images")
    assert held >= 0.8 * KILLS
    status = place.run_json("status", upload)
    assert status["products"] == IMAGES
    assert status["by_status"]["queued"] == status["by_status"]["failed"] == 0
    assert place.scalar("SELECT count(*) FROM predictions") == IMAGES
    assert place.scalar("SELECT count(DISTINCT product_id) FROM predictions") == IMAGES
    assert place.scalar("SELECT count(*) FROM image_predictions") == IMAGES
    ledger = place.scalar(
        "SELECT count(*) FROM upload_items i JOIN products p ON p.id = i.product_id "
        "WHERE i.outcome = 'created' AND p.status <> 'queued'"
    )
    assert ledger == IMAGES
