"""`atelier retag --missing` where nothing is missing: the command itself, beside a real worker.

Part of `python -m tests.benchmarks.rows_under_load`. A worker of the shipped network is ready and
sweeps, with the settings that users get. Then the command is run twice: with `--wait`, where it
looks through the products itself and the worker's sweeper does, too; and without, where the
sweeper alone does, some seconds at a time. Told is how long it takes from the command's start until
the request is complete, scaled to a million products. Nothing may be queued.

On PostgreSQL the products are those of `tests/benchmarks/million.py`. On SQLite they are written
here, with all that such a request reads: products and predictions, and no photos.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from tagging.database import counts, models, retags, schema
from tagging.database.session import Database
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.model_card import read_card
from tagging.settings import Settings
from tests.benchmarks.workers import environment, working
from worker.bootstrap import DEFAULT_BUNDLE, utc_now

GOAL_S: Final = 60.0
"""Per million products."""
LOOK_S: Final = 0.05
PATIENCE_S: Final = 1800.0


def time_retag(settings: Settings, products: int, where: str, console: Console) -> int:
    """Print how long it takes, and that it queues nothing; how many of the two missed the goal.

    Args:
        settings: of an installation with so many products of the retailer `default`, all of them
            of the model in charge.
        products: see there.
        where: what this installation is called.
        console: where to print.
    """
    database = Database(settings.resolved_database_url())
    missed = 0
    with tempfile.TemporaryDirectory() as folder, working(settings, Path(folder) / "worker.log"):
        for waits in (True, False):
            began = time.perf_counter()
            line = _retag(settings, database, wait=waits)
            took = time.perf_counter() - began
            per_million = took * 1_000_000 / products
            good = line.complete and line.queued == 0 and per_million <= GOAL_S
            missed += not good
            console.print(
                f"retag --missing{' --wait' if waits else ', left to the worker'} ({where}): "
                f"{line.looked_at:,} seen ({line.reviewed:,} decided by people), "
                f"{line.queued:,} queued, {took:,.1f} s; {per_million:,.1f} s per million, goal "
                f"{GOAL_S:.0f}: {'reached' if good else 'MISSED'}"
            )
    database.close()
    return missed


def _retag(settings: Settings, database: Database, *, wait: bool) -> retags.RetagLine:
    """Run the command; the request, once it is complete.

    Raises:
        TimeoutError: it is not.
    """
    asked = ("retag", "--missing", "--retailer", "default", "--by", "benchmark", "--json")
    subprocess.run(
        [sys.executable, "-m", "worker", *asked, *(["--wait"] if wait else [])],
        env=environment(settings),
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=PATIENCE_S,
    )
    until = time.monotonic() + PATIENCE_S
    while True:
        with database.read() as session:
            (line,) = retags.lines(session, most=1)
        if line.complete:
            return line
        if time.monotonic() > until:
            raise TimeoutError(f"retag {line.id} is not done after {PATIENCE_S:.0f} s: {line}")
        time.sleep(LOOK_S)


def fill_embedded(home: Path, products: int) -> None:
    """Make an embedded installation with so many products of the retailer `default`, all tagged by
    the shipped model."""
    home.mkdir(mode=0o700)
    file = home / "atelier.db"
    database = Database(f"sqlite:///{file}")
    schema.upgrade(database)
    with database.write("test") as session:
        models.add_retailer(
            session,
            "default",
            model_id=models.register(
                session, read_card(DEFAULT_BUNDLE), DEFAULT_BUNDLE, now=utc_now()
            ),
            now=utc_now(),
        )
        session.commit()
    connection = sqlite3.connect(file, isolation_level=None)
    # Nobody needs what is half written; and each row's trigger would append a row.
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
    for trigger in counts.SQLITE_TRIGGERS:
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("BEGIN")
    for statement in _STATEMENTS:
        values = {"count": products, "preprocessing": PREPROCESSING_VERSION}
        connection.execute(statement, values)
    connection.execute("COMMIT")
    connection.close()
    with database.write("test") as session:
        counts.make_triggers(session)
        session.commit()
    database.close()


_NUMBERS: Final = (
    "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count) "
)
_NOW: Final = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
_FIRST: Final = "(SELECT name FROM categories WHERE parent IS NOT NULL ORDER BY name LIMIT 1)"
_STATEMENTS: Final = (
    f"""
    INSERT INTO uploads (id, retailer_id, source, kind, state, warnings, receiver, created_at,
                         beat_at, filed_at)
    VALUES ('million', 1, 'benchmark', 'folder', 'filed', '[]', 'benchmark', {_NOW}, {_NOW}, {_NOW})
    """,
    f"""
    INSERT INTO batches (id, retailer_id, upload_id, state, products, images, attempts, crashes,
                         hindered, lease_alone, beat, created_at, finished_at)
    VALUES (1, 1, 'million', 'done', :count, :count, 1, 0, 0, 0, 1, {_NOW}, {_NOW})
    """,
    _NUMBERS
    + f"""
    INSERT INTO products (id, retailer_id, sku, title, attributes, image_set, upload_id, status,
        category, decided_by, suggestion, confidence, margin, top_confidence, prediction_id, audit,
        tagged_at, created_at, updated_at)
    SELECT n, 1, printf('SKU-%08d', n), 'no. ' || n,
           json_object('colour', 'navy', 'brand', 'Petit Port', 'price', n % 300),
           lower(hex(randomblob(32))), 'million', 'tagged', {_FIRST}, 'model', {_FIRST}, 0.99,
           0.985, 0.99, n, 0, {_NOW}, {_NOW}, {_NOW}
    FROM numbers
    """,
    """
    INSERT INTO predictions (id, product_id, image_set, model_id, preprocessing_version,
        suggestion, confidence, top_k, ood_score, out_of_distribution, disagreeing,
        image_failures, batch_id, created_at)
    SELECT id, id, image_set, 1, :preprocessing, suggestion, confidence,
           json_array(json_object('category', suggestion, 'confidence', confidence)),
           -1, 0, '[]', '[]', 1, created_at
    FROM products
    """,
)
