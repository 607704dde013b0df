"""Two million products in PostgreSQL: how long each query takes there, and each delivery.

    python -m tests.benchmarks.rows_under_load [--products N] [--calls N] [--delivered N]
        [--folder DIR] [--part queries|deliveries|retag]

Rows are made as `tests/benchmarks/million.py` says, with a ledger, batches and a small retailer
beside. Goals: no query reads a table from end to end that grows with the catalogue (by PostgreSQL's
own plans), and each answers within 50 ms (p99). A delivery into it takes at most 1.2 times as long
as into an empty database, in constant memory: the whole of ingest and tagging in a process of its
own, with a stand-in model and tiny pictures in memory, so that little but rows is left to take
time. Empty and full take turns. `atelier retag --missing`, where all is of the model in charge,
ends within 60 s per million and classifies nothing. With `--folder` the catalogue is kept there and
found again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from tagging.catalog.delivery import DeliveredRow, Delivery, Row
from tagging.database import counts, models, retags, schema
from tagging.database.session import Database
from tagging.database.tables import Product, RetagScope
from tagging.domain import Status
from tagging.retag import Asked
from tests import servers
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
from tests.stand_in import make_services, picture

GOAL_MS: Final = 50.0
GOAL_RATIO: Final = 1.2
GOAL_RETAG_S: Final = 60.0
ROUNDS: Final = 2
BATCH_IMAGES: Final = 256
FRIDAY_LINES: Final = 100_000
SETTINGS: Final = {
    # Rows named by sha256 go anywhere in an index. With a cache of 128 MiB, as it comes, a delivery
    # into two million products took 1.3 times as long; and the first row to go to a page after a
    # checkpoint brings the whole page into the log, 8 KiB for a row.
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
}
"""As docker-compose.yml starts it."""
SHADES: Final = tuple(picture(shade, size=(8, 8)) for shade in (0, 64, 128, 192, 255))


def main() -> int:
    """Print the tables; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=2_000_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--delivered", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--part", choices=("queries", "deliveries", "retag"), action="append")
    parser.add_argument("--into", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.into is not None:
        print(json.dumps(vars(take_in(wanted.into, wanted.delivered))))
        return 0
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
            missed += time_retag(database, wanted.products, console)
        if "deliveries" in parts:
            missed += compare_deliveries(server, url, wanted.delivered, wanted.rounds, console)
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


def time_retag(database: Database, products: int, console: Console) -> int:
    """`--missing` where nothing is: print how long it takes, and that it queues nothing."""
    with tempfile.TemporaryDirectory() as folder:
        retagging = make_services(database, Path(folder), batch_images=BATCH_IMAGES).retagging
        began = time.perf_counter()
        (made,) = retagging.request(Asked(scope=RetagScope.MISSING), ["default"], by="benchmark")
        while retagging.step(most_s=2.5):
            pass
        took = time.perf_counter() - began
    with database.read() as session:
        (line,) = retags.lines(session, [made])
    per_million = took * 1_000_000 / products
    good = line.complete and line.queued == 0 and per_million <= GOAL_RETAG_S
    console.print(
        f"retag --missing: {line.looked_at:,} seen ({line.reviewed:,} decided by people), "
        f"{line.queued:,} queued, {took:,.1f} s; {per_million:,.1f} s per million, goal "
        f"{GOAL_RETAG_S:.0f}: {'reached' if good else 'MISSED'}"
    )
    return int(not good)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a delivery cost, in seconds of the wall, and of processor time in its process and in the
    database's server, which other work on the machine lengthens less.

    `peak_kib`: the most memory of its process, `before_kib` of these before it began.
    """

    products: int
    receive_and_file_s: float
    tag_s: float
    cpu_s: float
    server_s: float
    before_kib: int
    peak_kib: int

    @property
    def whole_s(self) -> float:
        return self.receive_and_file_s + self.tag_s


def compare_deliveries(
    server: str, full: str, delivered: int, rounds: int, console: Console
) -> int:
    """The same deliveries into an empty database and into the full one, in turns."""
    empty: list[Taken] = []
    crowded: list[Taken] = []
    few: list[Taken] = []
    for number in range(rounds):
        servers.execute(server, f"DROP DATABASE IF EXISTS empty_{number} WITH (FORCE)")
        url = servers.create_database(server, f"empty_{number}")
        fresh = Database(url)
        schema.upgrade(fresh)
        fresh.close()
        few.append(_in_its_own_process(full, delivered // 10))
        empty.append(_in_its_own_process(url, delivered))
        crowded.append(_in_its_own_process(full, delivered))
    table = Table(title="Deliveries", box=None, header_style="bold", title_justify="left")
    table.add_column("into")
    for name in (
        "products",
        "receive, file s",
        "tag s",
        "whole s",
        "cpu s",
        "server s",
        "peak MiB",
    ):
        table.add_column(name, justify="right")
    for kind, runs in (("empty", empty), ("full", crowded), ("full", few)):
        for one in runs:
            table.add_row(
                kind,
                f"{one.products:,}",
                f"{one.receive_and_file_s:,.1f}",
                f"{one.tag_s:,.1f}",
                f"{one.whole_s:,.1f}",
                f"{one.cpu_s:,.1f}",
                f"{one.server_s:,.1f}",
                f"{one.peak_kib / 1024:,.0f}",
            )
    console.print(table)
    ratio, worked = (
        statistics.median(cost(one) for one in crowded)
        / statistics.median(cost(one) for one in empty)
        for cost in (lambda one: one.whole_s, lambda one: one.cpu_s + one.server_s)
    )
    growth = max(one.peak_kib for one in crowded) / max(one.peak_kib for one in few)
    good = ratio <= GOAL_RATIO and growth <= 1.05
    console.print(
        f"full / empty: {ratio:.2f} (of processor time {worked:.2f}), goal {GOAL_RATIO}; "
        f"memory at {delivered:,} / at {delivered // 10:,}: {growth:.2f}, goal 1.05: "
        f"{'reached' if good else 'MISSED'}"
    )
    return int(not good)


def _in_its_own_process(url: str, products: int) -> Taken:
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "tests.benchmarks.rows_under_load"),
            *("--into", url, "--delivered", str(products)),
        ],
        check=True,
        stdout=subprocess.PIPE,
    )
    return Taken(**json.loads(done.stdout))


def take_in(url: str, products: int) -> Taken:
    """Deliver and tag so many new products of a retailer of their own."""
    database = Database(url)
    memory = Path("/dev/shm")  # not the disk's own time for each picture
    with tempfile.TemporaryDirectory(
        prefix="atelier-rows-", dir=memory if memory.is_dir() else None
    ) as folder:
        services = make_services(database, Path(folder), batch_images=BATCH_IMAGES)
        with database.write("test") as session:
            name = f"delivers {hashlib.sha256(str(time.time_ns()).encode()).hexdigest()[:8]}"
            retailer_id = models.add_retailer(
                session, name, model_id=services.model_id, now=services.clock.now()
            )
            session.commit()
        before = _peak_kib()
        began, processor = time.perf_counter(), time.process_time()
        services.ingest.accept_upload(Tiny(products, salt=name), retailer_id=retailer_id)
        filed = time.perf_counter()
        while services.bell.messages:
            services.tagger.tag_batch(services.bell.messages.pop(0))
        ended, spent = time.perf_counter(), time.process_time() - processor
        served = _server_s(database)
        with database.read() as session:
            left = session.scalar(
                sa.select(sa.func.count())
                .select_from(Product)
                .where(Product.retailer_id == retailer_id, Product.status == Status.QUEUED)
            )
        assert left == 0
    database.close()
    return Taken(
        products=products,
        receive_and_file_s=filed - began,
        tag_s=ended - filed,
        cpu_s=spent,
        server_s=served,
        before_kib=before,
        peak_kib=_peak_kib(),
    )


def _server_s(database: Database) -> float:
    """Processor time, in seconds, of the server's processes behind this one's connections."""
    with database.read() as session:
        pids = session.scalars(
            sa.text(
                "SELECT pid FROM pg_stat_activity WHERE client_port IS NOT NULL AND "
                "datname = current_database() AND application_name = ''"
            )
        ).all()
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True, kw_only=True)
class TinyImage:
    """A picture of one shade; what stands behind its end makes its bytes unique."""

    name: str
    shade: int

    def open(self) -> BinaryIO:
        return io.BytesIO(SHADES[self.shade] + self.name.encode())

    def identity(self, _stream: BinaryIO, /) -> None:
        return None


class Tiny(Delivery):
    """So many products with a picture each, made as they are read."""

    def __init__(self, products: int, *, salt: str) -> None:
        super().__init__(kind="manifest", name=f"{products} tiny pictures")
        self._products = products
        self._salt = salt

    def rows(self) -> Iterator[Row]:
        for number in range(1, self._products + 1):
            image = TinyImage(name=f"{self._salt}-{number}", shade=number % len(SHADES))
            yield DeliveredRow(
                line=number,
                sku=f"SKU-{number:08}",
                images=(image,),
                title=f"no. {number}",
                attributes={"colour": "navy", "brand": "Petit Port"},
            )

    def estimated_rows(self) -> int:
        return self._products


if __name__ == "__main__":
    sys.exit(main())
