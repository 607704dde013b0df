"""How many products stand where, without counting them.

Two million rows take a tenth of a second to count, and everybody asks. So triggers on `products`
append what each transaction changed, in the same transaction: nobody waits for anybody, nothing can
be forgotten, and the sum of all rows is right at every commit. The sweeper keeps the rows few.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.tables import Product, ProductCount
from tagging.domain import Status

MANY: Final = 1000
"""From so many rows on they are put together."""
MOST: Final = 20_000
"""Rows that are put together in one transaction."""


def by_status(session: Session) -> dict[Status, int]:
    """All products by status: the sum of some rows."""
    rows = session.execute(
        sa.select(ProductCount.status, sa.func.sum(ProductCount.products)).group_by(
            ProductCount.status
        )
    )
    found = {status: int(products) for status, products in rows}
    return {status: found.get(status.value, 0) for status in Status}


def are_many(session: Session) -> bool:
    """Whether the rows are worth putting together; looks at `MANY` at most."""
    some = sa.select(ProductCount.id).limit(MANY).subquery()
    return session.execute(sa.select(sa.func.count()).select_from(some)).scalar_one() == MANY


def put_together(session: Session) -> None:
    """Replace the oldest rows by their sums. Rows that others are about to append stay."""
    oldest = sa.select(ProductCount.id).order_by(ProductCount.id).limit(MOST)
    sums: Counter[tuple[int, str]] = Counter()
    for retailer_id, status, products in session.execute(
        sa.delete(ProductCount)
        .where(ProductCount.id.in_(oldest.scalar_subquery()))
        .returning(ProductCount.retailer_id, ProductCount.status, ProductCount.products)
    ):
        sums[retailer_id, status] += products
    rows = [
        {"retailer_id": retailer_id, "status": status, "products": products}
        for (retailer_id, status), products in sorted(sums.items())
        if products
    ]
    if rows:
        session.execute(sa.insert(ProductCount), rows)


_ADD: Final = "INSERT INTO product_counts (retailer_id, status, products)"
SQLITE_TRIGGERS: Final = {
    "products_inserted": (
        "CREATE TRIGGER products_inserted AFTER INSERT ON products BEGIN "
        f"{_ADD} VALUES (NEW.retailer_id, NEW.status, 1); END"
    ),
    "products_moved": (
        "CREATE TRIGGER products_moved AFTER UPDATE OF status ON products "
        "WHEN OLD.status <> NEW.status BEGIN "
        f"{_ADD} VALUES (OLD.retailer_id, OLD.status, -1), (NEW.retailer_id, NEW.status, 1); END"
    ),
    "products_deleted": (
        "CREATE TRIGGER products_deleted AFTER DELETE ON products BEGIN "
        f"{_ADD} VALUES (OLD.retailer_id, OLD.status, -1); END"
    ),
}
"""As migration 0014 makes them; a restored file's are not believed by their names."""


def make_triggers(session: Session) -> None:
    """Make those that an SQLite file lacks, and count anew."""
    there = set(
        session.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
    )
    for name, statement in SQLITE_TRIGGERS.items():
        if name not in there:
            session.connection().exec_driver_sql(statement)
    recount(session)


def recount(session: Session) -> None:
    """Count all products anew: where rows were written past the triggers, as a bulk load may.

    Nobody else may write products meanwhile.
    """
    session.execute(sa.delete(ProductCount))
    session.execute(
        sa.insert(ProductCount).from_select(
            ["retailer_id", "status", "products"],
            sa.select(Product.retailer_id, Product.status, sa.func.count()).group_by(
                Product.retailer_id, Product.status
            ),
        )
    )
