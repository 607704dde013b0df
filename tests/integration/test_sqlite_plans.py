"""SQLite reads no more of one retailer's products than the page that is asked for.

It never counted anything for its plans, so that the same ones come at any size.
(`tests/integration/test_query_plans.py` asks PostgreSQL.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tagging.database import products, retags
from tagging.database.products import ProductFilter
from tagging.database.session import Database
from tagging.database.tables import RetagScope
from tagging.domain import Status
from tests.benchmarks.query_plans import Act
from tests.stand_in import make_services
from worker.bootstrap import utc_now

BY_ITS_KEY = "USING INTEGER PRIMARY KEY (rowid>?"


@pytest.fixture
def retailer(sqlite: Database, tmp_path: Path) -> int:
    return make_services(sqlite, tmp_path).retailer_id


def steps(database: Database, act: Act) -> list[str]:
    """What SQLite does for the statement that pages through products."""
    asked: list[tuple[str, Any]] = []

    def note(*executed: Any) -> None:
        _, _, statement, parameters, _, _ = executed
        if "ORDER BY products.id" in statement:
            asked.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    act()
    sa.event.remove(database.engine, "before_cursor_execute", note)
    ((statement, parameters),) = asked
    with database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [str(row.detail) for row in plan]


@pytest.mark.parametrize(
    ("scope", "finds"),
    [
        (RetagScope.MISSING, BY_ITS_KEY),
        (RetagScope.ALL, BY_ITS_KEY),
        (RetagScope.FAILED, "ix_products_failure_retailer_id_id (retailer_id=? AND id>?"),
    ],
)
def test_a_retag_reads_page_by_page(
    sqlite: Database, retailer: int, scope: RetagScope, finds: str
) -> None:
    with sqlite.write("test") as session:
        made = retags.add(session, retailer, scope, by="Eve", now=utc_now())
        session.commit()

    def look() -> None:
        with sqlite.read() as session:
            retags.page(session, retags.get(session, made), after=0)

    told = steps(sqlite, look)
    assert any(finds in step for step in told), told
    assert not any("TEMP B-TREE" in step for step in told), told


@pytest.mark.parametrize(
    ("wanted", "finds"),
    [
        (ProductFilter(), BY_ITS_KEY),
        (ProductFilter(min_confidence=0.5), BY_ITS_KEY),
        (ProductFilter(status=Status.TAGGED), "(retailer_id=? AND status=? AND id>?"),
        (ProductFilter(category="Dark"), "(retailer_id=? AND category=? AND id>?"),
    ],
)
@pytest.mark.usefixtures("retailer")
def test_a_retailers_listing_reads_page_by_page(
    sqlite: Database, wanted: ProductFilter, finds: str
) -> None:
    of_one = ProductFilter(**vars(wanted) | {"retailer": "default"})
    told = steps(sqlite, lambda: list(products.listing(sqlite, of_one)))
    assert any(finds in step for step in told), told
    assert not any("TEMP B-TREE" in step for step in told), told
