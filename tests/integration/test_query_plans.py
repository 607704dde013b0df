"""No query that somebody waits for reads a table from end to end that grows with the catalogue.

`make rows-under-load` asks the same at two million products, and how long each takes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tagging.database.session import Database
from tests.benchmarks.million import Photos, fill
from tests.benchmarks.query_plans import (
    fill_ledger,
    queries,
    read_to_the_end,
    some,
    working,
)

PRODUCTS = 3000
"""So few that reading them from end to end is the best plan. So PostgreSQL is told to do that only
where there is no other way."""


@pytest.fixture
def catalogue(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    fill(database, Photos(drawn=[b"a photo"]), PRODUCTS)
    fill_ledger(database)
    yield database
    database.close()


def test_every_query_finds_what_it_needs_by_an_index(catalogue: Database) -> None:
    about = some(catalogue)
    acts = queries(catalogue, about) | working(catalogue, about)
    assert len(acts) > 50
    found = {name: read_to_the_end(catalogue, act, forced=True) for name, act in acts.items()}
    assert {name: tables for name, tables in found.items() if tables} == {}

    def by_title() -> None:
        with catalogue.read() as session:
            session.connection().exec_driver_sql("SELECT max(title) FROM products").all()

    assert read_to_the_end(catalogue, by_title, forced=True) == ["products"], "else all is found"
