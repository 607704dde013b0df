"""Two million products in PostgreSQL: how long each query takes there, and each delivery.

    python -m tests.benchmarks.rows_under_load [--products N] [--calls N] [--delivered N]
        [--rounds N] [--embedded N] [--folder DIR] [--part queries|deliveries|retag]

Rows are made as `tests/benchmarks/million.py` says, with a ledger, batches and a small retailer
beside. Goals: no query reads a table from end to end that grows with the catalogue (by PostgreSQL's
own plans), and each answers within 50 ms (p99). A delivery of the retailer that has the two million
takes at most 1.2 times as long as the same into a database that holds next to nothing, in constant
memory (`tests/benchmarks/deliveries.py`). `atelier retag --missing`, where all is of the model in
charge, ends within 60 s per million and classifies nothing, there and among `--embedded` products
in SQLite (`tests/benchmarks/retag_missing.py`). With `--folder` the catalogues are kept there and
found again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from rich.console import Console

from tagging.database import counts, schema
from tagging.database.session import Database
from tagging.settings import Settings
from tests import servers
from tests.benchmarks.deliveries import compare_deliveries
from tests.benchmarks.figures import Timings, machine, server_facts
from tests.benchmarks.million import Photos, fill
from tests.benchmarks.query_plans import (
    counting,
    fill_ledger,
    queries,
    read_to_the_end,
    some,
    working,
)
from tests.benchmarks.retag_missing import fill_embedded, time_retag
from tests.benchmarks.workers import on_servers

GOAL_MS: Final = 50.0
ROUNDS: Final = 4
FRIDAY_LINES: Final = 100_000
SETTINGS: Final = {
    # Rows named by sha256 go anywhere in an index. With a cache of 128 MiB, as it comes, a delivery
    # into two million products took 1.3 times as long; and the first row to go to a page after a
    # checkpoint brings the whole page into the log, 8 KiB for a row.
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
}
"""As docker-compose.yml starts it."""


def main() -> int:
    """Print the tables; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=2_000_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--delivered", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--embedded", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=("queries", "deliveries", "retag"), action="append")
    wanted = parser.parse_args()
    parts = wanted.part or ["queries", "retag", "deliveries"]
    console = Console(width=110)
    console.print(f"python -m tests.benchmarks.rows_under_load {' '.join(sys.argv[1:])}")
    console.print(machine())
    with ExitStack() as stack:
        root = wanted.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o755)  # the server's user must reach its files
        configure(root / "pg")
        server = stack.enter_context(servers.postgresql(root / "pg"))
        url = filled(server, wanted.products, console)
        database = Database(url)
        stack.callback(database.close)
        schema.upgrade(database)
        console.print(f"{wanted.products:,} products; {server_facts(database)}")
        missed = 0
        if "queries" in parts:
            missed += time_queries(database, wanted.calls, console)
        if "retag" in parts:
            missed += time_retags(url, root, wanted.products, wanted.embedded, console)
        if "deliveries" in parts:
            database.close()  # it is copied, which it can be while nobody is connected to it
            name = str(database.url.database)
            missed += compare_deliveries(
                server, name, wanted.products, wanted.delivered, wanted.rounds, console
            )
    return int(missed > 0)


def configure(data: Path) -> None:
    """Set a server up as for tables of this size, from its next start on."""
    with servers.postgresql(data) as server:
        for name, value in SETTINGS.items():
            servers.execute(server, f"ALTER SYSTEM SET {name} = '{value}'")


def filled(server: str, products: int, console: Console) -> str:
    """The URL of a database with so many products, made now or before."""
    name = f"rows_{products}"
    url = servers.with_name(server, name)
    if not servers.has_database(server, name):
        console.print(f"writing {products:,} products (some minutes) ...")
        servers.execute(server, f"DROP DATABASE IF EXISTS {name}_new")
        fresh = Database(servers.create_database(server, f"{name}_new"))
        schema.upgrade(fresh)
        fill(fresh, Photos(drawn=[b"a photo"]), products)
        fill_ledger(fresh, friday=FRIDAY_LINES)
        fresh.close()
        servers.execute(server, f"ALTER DATABASE {name}_new RENAME TO {name}")
    return url


def time_queries(database: Database, calls: int, console: Console) -> int:
    """Print how long each takes and what it reads from end to end; how many missed a goal."""
    while _put_together(database):
        pass
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))  # as the server does by and by
    about = some(database)
    timings, missed = Timings(), 0
    groups = (
        (queries(database, about), calls, True),
        (counting(database, about), max(1, calls // 10), False),
        (working(database, about), max(1, calls // 10), False),
    )
    for acts, count, must in groups:
        for name, act in acts.items():
            scanned = read_to_the_end(database, act)
            act()  # whoever comes first after a start reads from the disk
            for _ in range(count):
                began = time.perf_counter()
                act()
                timings.add(name, time.perf_counter() - began)
            late = must and timings.percentile(name, 99) > GOAL_MS
            if scanned:
                console.print(f"{name}: reads {', '.join(scanned)} from end to end")
            if late:
                console.print(f"{name}: p99 {timings.percentile(name, 99):,.1f} ms")
            missed += bool(must and (scanned or late))
    console.print(timings.table("Queries, one after another"))
    console.print(
        f"goal: no table from end to end, p99 <= {GOAL_MS:.0f} ms (counts, thousands of rows and "
        f"whole batches aside): {f'{missed} MISSED' if missed else 'reached'}"
    )
    return missed


def _put_together(database: Database) -> bool:
    """What the sweeper does with counts; whether there is more."""
    with database.write("test") as session:
        many = counts.are_many(session)
        if many:
            counts.put_together(session)
            session.commit()
        return many


def time_retags(url: str, root: Path, products: int, embedded: int, console: Console) -> int:
    """`--missing` where nothing is, on either kind of installation; how many missed the goal."""
    with servers.redis() as broker, tempfile.TemporaryDirectory() as folder:
        settings = on_servers(Path(folder) / "home", url, broker)
        missed = time_retag(settings, products, "PostgreSQL, Redis", console)
    home = root / f"embedded_{embedded}"
    if not home.exists():
        console.print(f"writing {embedded:,} products into SQLite (a minute or two) ...")
        fresh = root / f"{home.name}_new"
        shutil.rmtree(fresh, ignore_errors=True)
        fill_embedded(fresh, embedded)
        fresh.rename(home)
    return missed + time_retag(Settings(home=home), embedded, "SQLite", console)


if __name__ == "__main__":
    sys.exit(main())
