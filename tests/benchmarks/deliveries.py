"""A delivery into a table of millions, and the same into one that holds next to nothing.

Part of `python -m tests.benchmarks.rows_under_load`. The retailer that has the millions delivers:
of each ten lines eight are new skus, spread over the whole range of those that there are, one is a
product with another photo, and one is a product as it is. What these two are about, a fifth as many
lines as the delivery has, was delivered before, into either database, as a warm-up; the empty one
holds nothing else. Then statistics are taken anew in both (`VACUUM ANALYZE`), as the server does by
and by. Each delivery is the whole of ingest and tagging in a process of its own, with a stand-in
model and tiny pictures in memory, so that little but rows is left to take time; each goes into a
fresh copy of the database, so that none is the next one's past. Which of the two comes first takes
turns, and each is compared with the other of its turn.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from tagging.catalog.delivery import DeliveredRow, Delivery, Row
from tagging.database import models, schema
from tagging.database.session import Database
from tagging.database.tables import Product
from tagging.domain import Status
from tagging.ingest import UploadSummary
from tests import servers
from tests.stand_in import make_services, picture

GOAL_RATIO: Final = 1.2
GOAL_GROWTH: Final = 1.05
"""Of memory: what the whole delivery may take of what a fifth of it does."""
BATCH_IMAGES: Final = 256
OF: Final = 10
CHANGED: Final = 0
UNCHANGED: Final = 5
"""Which of ten lines these are."""
SHADES: Final = tuple(picture(shade, size=(8, 8)) for shade in (0, 64, 128, 192, 255))
COPY: Final = "rows_copy"
ENDED_S: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a delivery cost, in seconds of the wall, and of processor time in its process and in the
    database's server, which other work on the machine lengthens less.

    `read`: rows of tables that the server read for it. `peak_kib`: the most memory of its process.
    """

    lines: int
    receive_and_file_s: float
    tag_s: float
    cpu_s: float
    server_s: float
    read: int
    peak_kib: int

    @property
    def whole_s(self) -> float:
        return self.receive_and_file_s + self.tag_s

    @property
    def worked_s(self) -> float:
        return self.cpu_s + self.server_s


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A delivery into the full database and the warm-up before it, and the same into the empty."""

    full: Taken
    empty: Taken
    warm_full: Taken
    warm_empty: Taken


def compare_deliveries(
    server: str, full: str, products: int, lines: int, rounds: int, console: Console
) -> int:
    """The same deliveries into copies of the full database and of an empty one; 1 if a goal was
    missed.

    Args:
        server: its URL.
        full: name of a database of `products` products of the retailer `default`, which nobody is
            connected to. Nothing in it changes.
        products: see there.
        lines: of the delivery, a multiple of `OF`.
        rounds: pairs; an even number, so that either comes first as often.
        console: where to print.
    """
    empty = "rows_empty"
    servers.execute(server, f"DROP DATABASE IF EXISTS {empty} WITH (FORCE)")
    fresh = Database(servers.create_database(server, empty))
    schema.upgrade(fresh)
    fresh.close()
    pairs: list[Pair] = []
    for number in range(rounds):
        found: dict[str, tuple[Taken, Taken]] = {}
        for name in (full, empty)[:: 1 if number % 2 else -1]:
            found[name] = _into_a_copy(server, name, products, lines)
        (warm_full, into_full), (warm_empty, into_empty) = found[full], found[empty]
        pairs.append(
            Pair(full=into_full, empty=into_empty, warm_full=warm_full, warm_empty=warm_empty)
        )
    console.print(_table(pairs))
    return int(not _judged(pairs, console))


def _table(pairs: list[Pair]) -> Table:
    table = Table(title="Deliveries", box=None, header_style="bold", title_justify="left")
    table.add_column("into")
    for name in ("lines", "receive, file s", "tag s", "whole s", "cpu s", "server s"):
        table.add_column(name, justify="right")
    table.add_column("rows read", justify="right")
    table.add_column("peak MiB", justify="right")
    for number, pair in enumerate(pairs):
        rows = [
            ("empty, warm-up", pair.warm_empty),
            ("empty", pair.empty),
            ("full, warm-up", pair.warm_full),
            ("full", pair.full),
        ]
        for kind, one in rows[2:] + rows[:2] if number % 2 else rows:  # as they came
            table.add_row(
                kind,
                f"{one.lines:,}",
                f"{one.receive_and_file_s:,.1f}",
                f"{one.tag_s:,.1f}",
                f"{one.whole_s:,.1f}",
                f"{one.cpu_s:,.1f}",
                f"{one.server_s:,.1f}",
                f"{one.read:,}",
                f"{one.peak_kib / 1024:,.0f}",
            )
    return table


def _judged(pairs: list[Pair], console: Console) -> bool:
    """Print the ratios; whether the goals are reached."""

    def ratios(cost: Callable[[Taken], float]) -> list[float]:
        return [cost(pair.full) / cost(pair.empty) for pair in pairs]

    whole, worked = ratios(lambda one: one.whole_s), ratios(lambda one: one.worked_s)
    ratio = statistics.median(whole)
    growth = max(pair.full.peak_kib for pair in pairs) / max(
        pair.warm_full.peak_kib for pair in pairs
    )
    good = ratio <= GOAL_RATIO and growth <= GOAL_GROWTH
    lines, warm = pairs[0].full.lines, pairs[0].warm_full.lines
    console.print(
        f"full / empty: {ratio:.2f} ({_told(whole)}), goal {GOAL_RATIO}; of processor time "
        f"{statistics.median(worked):.2f} ({_told(worked)}); memory at {lines:,} / at {warm:,}: "
        f"{growth:.2f}, goal {GOAL_GROWTH}: {'reached' if good else 'MISSED'}"
    )
    return good


def _told(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _into_a_copy(server: str, name: str, products: int, lines: int) -> tuple[Taken, Taken]:
    """The warm-up and the delivery, into a copy of the database of this name, which then goes."""
    servers.execute(server, f"DROP DATABASE IF EXISTS {COPY} WITH (FORCE)")
    # By files: else all of it would go through the log first.
    servers.execute(server, f"CREATE DATABASE {COPY} TEMPLATE {name} STRATEGY file_copy")
    url = servers.with_name(server, COPY)
    warm = _in_its_own_process(url, products, lines, before=True)
    servers.execute(url, "VACUUM ANALYZE")
    taken = _in_its_own_process(url, products, lines, before=False)
    servers.execute(server, f"DROP DATABASE {COPY} WITH (FORCE)")
    return warm, taken


def _in_its_own_process(url: str, products: int, lines: int, *, before: bool) -> Taken:
    given = {"url": url, "products": products, "lines": lines, "before": before}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.deliveries", json.dumps(given)],
        check=True,
        stdout=subprocess.PIPE,
    )
    return Taken(**json.loads(done.stdout))


def take_in(url: str, products: int, lines: int, *, before: bool) -> Taken:
    """Deliver and tag in this process. `before`: what must be there before the delivery."""
    database = Database(url)
    memory = Path("/dev/shm")  # not the disk's own time for each picture
    with tempfile.TemporaryDirectory(
        prefix="atelier-rows-", dir=memory if memory.is_dir() else None
    ) as folder:
        services = make_services(database, Path(folder), batch_images=BATCH_IMAGES)
        with database.write("test") as session:
            models.put_in_charge(
                session, services.retailer_id, services.model_id, now=services.clock.now()
            )
            session.commit()
        delivery = Spread(lines, over=products, before=before)
        database.close()
        read = _read(url)
        began, processor = time.perf_counter(), time.process_time()
        summary = services.ingest.accept_upload(delivery, retailer_id=services.retailer_id)
        filed = time.perf_counter()
        while services.bell.messages:
            services.tagger.tag_batch(services.bell.messages.pop(0))
        ended, spent = time.perf_counter(), time.process_time() - processor
        served = _server_s(database)
        _require(summary, delivery, _queued(database, services.retailer_id))
    database.close()
    return Taken(
        lines=delivery.count,
        receive_and_file_s=filed - began,
        tag_s=ended - filed,
        cpu_s=spent,
        server_s=served,
        read=_read(url) - read,
        peak_kib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )


def _queued(database: Database, retailer_id: int) -> int:
    with database.read() as session:
        return session.scalar(
            sa.select(sa.func.count())
            .select_from(Product)
            .where(Product.retailer_id == retailer_id, Product.status == Status.QUEUED)
        )


def _require(summary: UploadSummary, delivery: Spread, queued: int) -> None:
    """Raises ValueError where the lines came to something else than they were made for."""
    tenth = delivery.count // OF
    wanted = (delivery.count, 0, 0) if delivery.before else (8 * tenth, tenth, tenth)
    found = (summary.created, summary.changed, summary.unchanged)
    if (*found, queued) != (*wanted, 0):
        raise ValueError(f"{found} lines are new, changed, unchanged, not {wanted}; {queued} wait")


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


def _read(url: str) -> int:
    """Rows of tables that were read in this database so far, by whichever way.

    Sessions tell what they read when they end, so this waits until no other is left.

    Raises:
        TimeoutError: one is.
    """
    others = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
        "backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    read = sa.text(
        "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) "
        "FROM pg_stat_user_tables"
    )
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    until = time.monotonic() + ENDED_S
    with engine.connect() as connection:
        while left := connection.scalar(others):
            if time.monotonic() > until:
                raise TimeoutError(f"{left} sessions go on in {connection.engine.url.database}")
            time.sleep(0.01)
        found = int(connection.scalar(read))
    engine.dispose()
    return found


@dataclass(frozen=True, kw_only=True)
class TinyImage:
    """A picture of one shade; what stands behind its end makes its bytes unique."""

    name: str
    shade: int

    def open(self) -> BinaryIO:
        return io.BytesIO(SHADES[self.shade] + self.name.encode())

    def identity(self, _stream: BinaryIO, /) -> None:
        return None


class Spread(Delivery):
    """Lines with a picture each, made as they are read, spread over the skus of so many products.

    Args:
        lines: of the delivery; a multiple of `OF`.
        over: how many products there are, `SKU-00000001` and so on.
        before: of these lines only those of products that must be there before; as they are then.
    """

    def __init__(self, lines: int, *, over: int, before: bool) -> None:
        super().__init__(kind="manifest", name=f"{lines} tiny pictures")
        if lines % OF:
            raise ValueError(f"the lines must be a multiple of {OF}, got {lines}")
        self.before = before
        self.count = 2 * lines // OF if before else lines
        self._lines = lines
        self._over = over

    def rows(self) -> Iterator[Row]:
        line = 0
        for number in range(self._lines):
            what = number % OF
            if self.before and what not in (CHANGED, UNCHANGED):
                continue
            line += 1
            photo = "new" if what == CHANGED and not self.before else "old"
            # Behind the one of this number, wherever in the index that is.
            sku = f"SKU-{1 + number * self._over // self._lines:08}-{number:07}"
            yield DeliveredRow(
                line=line,
                sku=sku,
                images=(TinyImage(name=f"{photo}-{sku}", shade=number // OF % len(SHADES)),),
                title=f"no. {number}",
                attributes={"colour": "navy", "brand": "Petit Port"},
            )

    def estimated_rows(self) -> int:
        return self.count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("delivery", type=json.loads, help="what `take_in` takes, as JSON")
    print(json.dumps(vars(take_in(**parser.parse_args().delivery))))
