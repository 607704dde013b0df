"""What broken pictures cost the good ones: images per second, clean and with a tenth broken.

    python -m tests.benchmarks.broken_images

Catalogues of drawn photos (224 x 224 JPEG) are taken in and tagged by the real decoders with a
network that takes no time, so nothing hides what decoding costs. Both kinds take turns; the ratio
is of one run. Broken are: cut in half, empty, no picture at all, a format that is not allowed, and
bytes changed at random. Exits with 1 below `GOAL`.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import sqlalchemy as sa
from PIL import Image, ImageDraw

from tagging.catalog.opening import open_delivery
from tagging.database import schema
from tagging.database.session import Database
from tagging.database.tables import Product
from tagging.domain import Status
from tagging.images.decoders import DecoderPool
from tests.stand_in import LIMITS, make_services

GOAL: Final = 0.85
"""Of the rate of clean ones."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.broken_images")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--decoders", type=int, default=2)
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    rates: dict[str, list[float]] = {"clean": [], "a tenth broken": []}
    with DecoderPool(given.decoders, LIMITS) as pool:
        for turn in range(given.turns):
            for name, found in rates.items():
                with tempfile.TemporaryDirectory() as folder:
                    photos = Path(folder) / "in"
                    broken = write(photos, given.images, rng, 0.1 if "broken" in name else 0.0)
                    rate, failed = tagged(Path(folder), photos, pool)
                found.append(rate)
                print(
                    f"{turn}: {name}: {rate:.0f} images/s, {len(failed & broken)} of {len(broken)} "
                    "broken ones failed"
                )
                if failed - broken:
                    raise SystemExit(f"good pictures failed: {sorted(failed - broken)[:5]}")
    clean, mixed = (float(np.median(found)) for found in rates.values())
    print(f"clean {clean:.0f} images/s, a tenth broken {mixed:.0f}: {mixed / clean:.1%}")
    if mixed < GOAL * clean:
        raise SystemExit(f"goal missed: at least {GOAL:.0%}")


def write(folder: Path, count: int, rng: np.random.Generator, share: float) -> set[str]:
    """Draw them; the names (without .jpg) of those that are broken."""
    folder.mkdir()
    broken: set[str] = set()
    for number in range(count):
        picture = Image.new("RGB", (224, 224), "white")
        pen = ImageDraw.Draw(picture)
        for _ in range(6):
            corners = sorted(rng.integers(20, 200, 2)), sorted(rng.integers(20, 200, 2))
            box = [int(corners[0][0]), int(corners[1][0]), int(corners[0][1]), int(corners[1][1])]
            pen.ellipse(box, fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=88)
        data = stream.getvalue()
        if rng.random() < share:
            data = spoilt(data, len(broken) % 5, rng)
            broken.add(f"{number:06}")
        (folder / f"{number:06}.jpg").write_bytes(data)
    return broken


def spoilt(data: bytes, how: int, rng: np.random.Generator) -> bytes:
    match how:
        case 0:
            return data[: len(data) // 2]
        case 1:
            return data[:1]
        case 2:
            return b"<html>404: no such picture</html>" + bytes(rng.integers(32, 127, 200))
        case 3:
            return b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(rng.integers(32, 127, 200))
        case _:
            found = bytearray(data)
            for place in rng.integers(0, len(data), 40):
                found[place] = int(rng.integers(0, 256))
            return bytes(found)


def tagged(folder: Path, photos: Path, pool: DecoderPool) -> tuple[float, set[str]]:
    """Images per second from the first lease to the last write; the products that failed."""
    database = Database(f"sqlite:///{folder / 'atelier.db'}")
    schema.upgrade(database)
    services = make_services(database, folder, batch_images=256)
    with open_delivery(photos) as delivery:
        services.ingest.accept_upload(delivery, retailer_id=services.retailer_id)
    services.tagger = replace(services.tagger, decoders=pool)
    began = time.perf_counter()
    services.tag_all()
    seconds = time.perf_counter() - began
    with database.read() as session:
        failed = set(session.scalars(sa.select(Product.sku).where(Product.status == Status.FAILED)))
    database.close()
    assert len(failed) == sum(one.failed for one in services.reports)
    return sum(one.images for one in services.reports) / seconds, failed


if __name__ == "__main__":
    main()
