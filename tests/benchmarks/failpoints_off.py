"""What failpoints cost where they are off: how often a product passes one, and at what price.

    python -m tests.benchmarks.failpoints_off

A drawn catalogue is taken in and tagged twice: once with every failpoint counted that is passed in
this process, once as usual and timed, with a network that takes no time, so that the share is the
largest there is. The loop and the call are part of the cost. Exits with 1 above `GOAL`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import timeit
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from tagging import failpoints
from tagging.catalog.opening import open_delivery
from tagging.database import schema
from tagging.database.session import Database
from tagging.images.decoders import DecoderPool
from tests.benchmarks.broken_images import CLEAN, write
from tests.stand_in import LIMITS, make_services

GOAL: Final = 1e-3
"""Of the time that a product takes."""
CALLS: Final = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.failpoints_off")
    parser.add_argument("--images", type=int, default=2000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "in"
        write(photos, images, np.random.default_rng(1), CLEAN, [])
        with DecoderPool(2, LIMITS) as pool:
            passed = _passed(Path(folder) / "counted", photos, pool)
            seconds = _seconds(Path(folder) / "timed", photos, pool)
    cost = _cost("failpoint('tag.decode')", "failpoint")
    transaction = _cost("commitpoint('tag.write', 'commit')", "commitpoint")
    dearest = max(cost, transaction)
    share = passed * dearest / seconds
    print(f"{images} products taken in and tagged in {seconds:.2f} s")
    print(f"failpoints passed: {passed}, {passed / images:.2f} for each product")
    print(f"passing one that is off: {cost * 1e9:.0f} ns, at a commit {transaction * 1e9:.0f} ns")
    print(f"all of them together: {passed * dearest * 1e6:.0f} µs, {share:.6%} of the time")
    if share > GOAL:
        raise SystemExit(f"goal missed: at most {GOAL:.1%}")


def _passed(folder: Path, photos: Path, pool: DecoderPool) -> int:
    count = 0

    def counted(_path: Path, _key: str | None) -> None:
        nonlocal count
        count += 1

    obey = failpoints._obey
    failpoints.switch_on(folder)
    failpoints._obey = counted
    try:
        _work(folder, photos, pool)
    finally:
        failpoints._obey = obey
        failpoints.switch_on(None)
    return count


def _seconds(folder: Path, photos: Path, pool: DecoderPool) -> float:
    began = time.perf_counter()
    _work(folder, photos, pool)
    return time.perf_counter() - began


def _work(folder: Path, photos: Path, pool: DecoderPool) -> None:
    folder.mkdir()
    database = Database(f"sqlite:///{folder / 'atelier.db'}")
    schema.upgrade(database)
    services = make_services(database, folder, batch_images=256)
    with open_delivery(photos) as delivery:
        services.ingest.accept_upload(delivery, retailer_id=services.retailer_id)
    services.tagger = replace(services.tagger, decoders=pool)
    services.tag_all()
    database.close()


def _cost(statement: str, name: str) -> float:
    """Seconds for one call: the best of five runs, as timeit's documentation advises."""
    setup = f"from tagging.failpoints import {name}"
    return min(timeit.repeat(statement, setup, repeat=5, number=CALLS)) / CALLS


if __name__ == "__main__":
    main()
