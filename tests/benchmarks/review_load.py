"""Twenty people review for two minutes while a catalogue is delivered: is anything lost?

    python -m tests.benchmarks.review_load [--minutes M] [--people N]

A real PostgreSQL, Redis, `atelier web` and `atelier worker`, and `atelier ingest` again and again:
each portion has new photos, and others for some products of the portion before. The people are
threads that make the page's requests (tests/reviewing.py has their habits). Afterwards what each of
them was answered is compared with the database; anything lost, doubled or shown to two people is
told and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from rich.console import Console

from tagging.database import schema
from tagging.database.session import Database
from tests import servers
from tests.benchmarks.figures import Timings, machine, server_facts
from tests.benchmarks.million import draw
from tests.processes import Place
from tests.reviewers import wait_for_server
from tests.reviewing import Account, judge, review_at_once

PORTION: Final = 600
CHANGED: Final = 30
FIRST_PORTIONS: Final = 3
SIZE: Final = (240, 300)


def main() -> int:
    """Print what came of it; 1 if anything is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--people", type=int, default=20)
    wanted = parser.parse_args()
    console = Console(width=100)
    console.print(f"python -m tests.benchmarks.review_load {' '.join(sys.argv[1:])}")
    console.print(machine())
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atelier-load-")))
        server = stack.enter_context(servers.postgresql())
        url = servers.create_database(server, "load")
        broker = stack.enter_context(servers.redis())
        place = Place(
            home=root / "home",
            environment={"ATELIER_DATABASE_URL": url, "ATELIER_BROKER_URL": broker},
        )
        place.home.mkdir()
        database = Database(url, pool_size=wanted.people)
        stack.callback(database.close)
        schema.upgrade(database)
        catalogue = Catalogue(place, root / "photos")
        port = servers.free_port()
        stack.enter_context(place.started("worker"))
        stack.enter_context(place.started("web", "--port", str(port)))
        address = f"http://127.0.0.1:{port}"
        wait_for_server(address)
        # Something must wait when the people come.
        before = sum(catalogue.deliver(portion) for portion in range(FIRST_PORTIONS))
        _until_tagged(place)
        console.print(f"{server_facts(database)}; {before:,} products, {_waiting(database):,} wait")
        timings = Timings()
        account = review_at_once(
            address,
            database,
            [f"Person {number}" for number in range(wanted.people)],
            seconds=60 * wanted.minutes,
            deliver=lambda portion: catalogue.deliver(portion + FIRST_PORTIONS),
            timed=timings.add,
        )
        account.delivered += before
        _until_tagged(place)
        broken = judge(database, account)
        _tell(console, account, timings, _waiting(database))
    for line in broken[:20]:
        console.print(f"BROKEN: {line}", markup=False)
    console.print(
        "nothing lost, doubled or shown to two people; the ledgers add up"
        if not broken
        else f"{len(broken)} things are broken"
    )
    return int(bool(broken))


class Catalogue:
    """Photos in portions, drawn as they are needed, delivered by `atelier ingest`."""

    def __init__(self, place: Place, folder: Path) -> None:
        self._place = place
        self._folder = folder

    def deliver(self, portion: int) -> int:
        """Deliver a portion; its number of lines. A few are new photos of the one before."""
        folder = self._folder / f"{portion:04}"
        folder.mkdir(parents=True)
        # Few are drawn; a number behind the end of each makes its bytes its own.
        drawn = draw(60, seed=portion, size=SIZE)
        names = [f"{portion:04}-{number:04}" for number in range(PORTION)]
        if portion:
            names += [f"{portion - 1:04}-{number:04}" for number in range(CHANGED)]
        for number, name in enumerate(names):
            data = drawn[number % len(drawn)] + f"{portion} {number}".encode()
            (folder / f"{name}.jpg").write_bytes(data)
        self._place.run("ingest", str(folder))
        return len(names)


def _until_tagged(place: Place) -> None:
    queued = "SELECT count(*) FROM products WHERE status = 'queued'"
    place.wait_until(lambda: place.scalar(queued) == 0, timeout_s=300, what="all is tagged")


def _waiting(database: Database) -> int:
    with database.read() as session:
        query = "SELECT count(*) FROM products WHERE status = 'needs_review'"
        return int(session.execute(sa.text(query)).scalar_one())


def _tell(console: Console, account: Account, timings: Timings, waiting: int) -> None:
    minutes = account.seconds / 60
    did = account.did
    console.print(
        f"{did['verdicts']:,} verdicts, {did['verdicts'] / minutes:,.0f} a minute; "
        f"{did['products shown']:,} products shown, {account.delivered:,} lines delivered, "
        f"{waiting:,} products wait at the end"
    )
    console.print(
        f"{did['undone']:,} taken back; {did['answers lost']:,} acts sent again after their answer "
        f"was lost; {did['reservations run out']:,} reservations run out before the answer"
    )
    told = ", ".join(f"{count:,} “{why}”" for why, count in account.refused.most_common())
    console.print(f"refused with a reason: {told or 'none'}", markup=False)
    console.print(timings.table("Requests, all people at once"))


if __name__ == "__main__":
    sys.exit(main())
