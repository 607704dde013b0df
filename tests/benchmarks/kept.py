"""How many bytes of the database each thing takes that is kept.

    python -m tests.benchmarks.kept [--products 1000]

A catalogue of products with a photo each is tagged by the shipped model on SQLite, delivered
again, classified again, and what waits is reviewed. After each step it is told by how much each
table grew, with its indexes: bytes per product that the step was about.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from tests.processes import Place
from tests.stand_in import picture


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.kept")
    parser.add_argument("--products", type=int, default=1000)
    count = parser.parse_args().products
    with tempfile.TemporaryDirectory(prefix="atelier-kept-") as folder:
        place, photos = Place(home=Path(folder) / "home"), Path(folder) / "photos"
        photos.mkdir()
        for number in range(count):
            size = (24 + number // 256, 40)
            (photos / f"SKU-{number:06}.png").write_bytes(picture(number % 256, size=size))
        place.run("status")  # makes an empty one
        before = _sizes(place)
        place.run("tag", str(photos))
        before = _told("delivered and tagged", place, before, count)
        place.run("ingest", str(photos))
        before = _told("delivered again, unchanged", place, before, count)
        place.run("retag", "--all", "--by", "Eve", "--here")
        before = _told("classified again by the same model", place, before, count)
        reviewed = _review(place, Path(folder) / "queue.csv")
        before = _told("reviewed", place, before, reviewed)
        print(f"\nbroker.db: {(place.home / 'broker.db').stat().st_size:,} bytes in all")
        print(f"worker.log: {(place.home / 'worker.log').stat().st_size / count:,.0f} a product")


def _review(place: Place, path: Path) -> int:
    """Confirm all that waits."""
    place.run("review", "list", "--csv", "--output", str(path))
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with path.open("w", newline="") as stream:
        written = csv.DictWriter(stream, rows[0].keys())
        written.writeheader()
        written.writerows({**row, "verdict": "confirmed"} for row in rows)
    place.run("review", "import", str(path), "--by", "Eve")
    return len(rows)


def _told(what: str, place: Place, before: Mapping[str, int], count: int) -> dict[str, int]:
    found = _sizes(place)
    grown = {table: size - before[table] for table, size in found.items()}
    print(f"\n{what}: {count:,} products, {sum(grown.values()) / count:,.0f} bytes each")
    for table, size in sorted(grown.items(), key=lambda one: -one[1]):
        if size:
            print(f"  {table:<20} {size / count:8,.0f}")
    return found


def _sizes(place: Place) -> dict[str, int]:
    """Bytes of each table and its indexes, by SQLite's own count of pages."""
    query = (
        "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_master USING (name) "
        "WHERE aggregate = TRUE GROUP BY tbl_name"
    )
    with place.database() as session:
        return {table: int(size) for table, size in session.execute(sa.text(query))}


if __name__ == "__main__":
    main()
