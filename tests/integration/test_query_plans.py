"""No query that somebody waits for reads more where there is more.

PostgreSQL plans what the code sends, and counts the rows that each step reads. At sizes that a test
can fill, reading from end to end is often the best plan; so it is told that rows are dear
(`forced`), as they are where there are many. `make rows-under-load` asks at two million products
for the plans as they come, and how long each takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
import sqlalchemy as sa

from tagging.database import reviews
from tagging.database.session import Database
from tests.benchmarks.million import Photos, fill
from tests.benchmarks.query_plans import (
    Act,
    counting,
    fill_ledger,
    queries,
    read_to_the_end,
    rows_read,
    some,
    working,
)
from tests.servers import execute, with_name

FEW: Final = 5000
MANY: Final = 4 * FEW
NO_MORE: Final = 2.0
SLACK: Final = 400
"""What reads all of something reads four times as many. What stops at a page may have found less
than a page among the few: the rows are drawn anew each time. So less than 4 % is not seen."""
COUNTED: Final = {
    "count: an upload's ledger": 1.0,
    "count: an upload's products by status": 2.0,
    "count: what waits": 0.25,
    "count: autopilots": 0.25,
    "count: tags to audit": 0.25,
}
"""Rows read of each product there is. An upload's are all of them; 15 % wait, 2 % are to be
audited. What is left, `SQL: ...`, is anybody's SQL over the view `tagged_catalog`, and reads it
whole."""
BY_CATEGORY: Final = "list --category"
"""Without a retailer no index begins with it. Either all are read until a page of it is found, or
all of the category, whichever is less: that grows with the root of how many there are."""


@pytest.fixture(scope="module")
def catalogues(postgresql_server: str, postgresql_template: str) -> Iterator[list[Database]]:
    """With `FEW` products and with `MANY`, else the same."""
    found = []
    for count in (FEW, MANY):
        name = f"plans_{count}"
        execute(postgresql_server, f"CREATE DATABASE {name} TEMPLATE {postgresql_template}")
        database = Database(with_name(postgresql_server, name))
        fill(database, Photos(drawn=[b"a photo"]), count)
        fill_ledger(database)
        found.append(database)
    yield found
    for database in found:
        database.close()
        execute(postgresql_server, f"DROP DATABASE {database.url.database} WITH (FORCE)")


def asking(database: Database, statement: str) -> Act:
    def ask() -> None:
        with database.read() as session:
            session.execute(sa.text(statement)).all()

    return ask


def waited_for(database: Database) -> dict[str, Act]:
    """What somebody waits for, and by the names of `wrong` what reads too much."""
    about = some(database)
    wrong = {
        "wrong: a whole table": "SELECT max(title) FROM products",
        "wrong: a whole index": "SELECT sku FROM products ORDER BY retailer_id, sku",
        "wrong: all of a retailer": "SELECT count(title) FROM products WHERE retailer_id = 1",
        "wrong: all that waits": "SELECT id FROM products WHERE status = 'needs_review' "
        "ORDER BY title LIMIT 10",
    }
    return {
        **queries(database, about),
        **working(database, about),
        **{name: asking(database, statement) for name, statement in wrong.items()},
    }


def test_every_query_reads_as_many_rows_where_there_are_four_times_as_many(
    catalogues: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "PAGE", 100)  # else there is less than a page
    few, many = (
        {name: rows_read(one, act, forced=True) for name, act in waited_for(one).items()}
        for one in catalogues
    )
    assert len(many) > 50
    growing = {name for name, rows in many.items() if rows > NO_MORE * few[name] + SLACK}
    wrong = {name for name in many if name.startswith("wrong")}
    assert {name: (few[name], many[name]) for name in growing - wrong - {BY_CATEGORY}} == {}
    assert many[BY_CATEGORY] < 3 * (101 * MANY) ** 0.5
    assert wrong <= growing, "else all is found"


def test_every_query_finds_what_it_needs_by_an_index(catalogues: list[Database]) -> None:
    acts = waited_for(catalogues[0])
    found = {name: read_to_the_end(catalogues[0], act, forced=True) for name, act in acts.items()}
    assert {name: tables for name, tables in found.items() if tables} == {
        "wrong: a whole table": ["products"]
    }


def test_what_is_counted_is_counted_by_an_index_and_nothing_else_is_read(
    catalogues: list[Database],
) -> None:
    database = catalogues[1]
    acts = counting(database, some(database))
    assert {name for name in acts if not name.startswith("SQL: ")} == COUNTED.keys()
    for name, share in COUNTED.items():
        assert read_to_the_end(database, acts[name], forced=True) == [], name
        assert rows_read(database, acts[name], forced=True) <= share * MANY + SLACK, name
