"""How many products stand where, without counting them.

Two million rows take a tenth of a second to count, and everybody asks. So triggers on `products`
append what each transaction changed, in the same transaction: nobody waits for anybody, nothing can
be forgotten, and the sum of all rows is right at every commit. The sweeper keeps the rows few.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.tables import Product, ProductCount, Retailer
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


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Of one retailer and status: how many products are said to be there, and how many are."""

    retailer: str
    status: str
    said: int
    there: int


def compared(session: Session) -> list[Compared]:
    """Every count with what it should be, in the order of retailers and statuses.

    One statement, so that it sees both as one commit left them. It reads all products.
    """
    both = _both()
    rows = session.execute(
        sa.select(
            sa.func.coalesce(Retailer.name, "(none)").label("retailer"),
            both.c.status,
            sa.func.sum(both.c.said).label("said"),
            sa.func.sum(both.c.there).label("there"),
        )
        .select_from(both.outerjoin(Retailer, Retailer.id == both.c.retailer_id))
        .group_by(both.c.retailer_id, Retailer.name, both.c.status)
        .order_by(both.c.retailer_id, both.c.status)
    )
    return [
        Compared(retailer=r.retailer, status=r.status, said=int(r.said), there=int(r.there))
        for r in rows
    ]


def correct(session: Session) -> int:
    """Append what is missing to every count that is wrong; how many were. Others may write.

    What others are about to append, and the products that it is of, are seen both or neither.
    """
    # Two that correct at once would both append it.
    session.execute(
        sa.select(Retailer.id).order_by(Retailer.id).with_for_update(key_share=True)
    ).all()
    both = _both()
    missing = sa.func.sum(both.c.there - both.c.said)
    rows = session.execute(
        sa.select(both.c.retailer_id, both.c.status, missing.label("missing"))
        .group_by(both.c.retailer_id, both.c.status)
        .having(missing != 0)
    ).all()
    if rows:
        session.execute(
            sa.insert(ProductCount),
            [
                {"retailer_id": r.retailer_id, "status": r.status, "products": int(r.missing)}
                for r in rows
            ],
        )
    return len(rows)


def _both() -> sa.Subquery:
    """Rows of (retailer, status, said, there): what is said, and the products themselves."""
    status = sa.type_coerce(Product.status, sa.String)
    return sa.union_all(
        sa.select(
            ProductCount.retailer_id,
            ProductCount.status.label("status"),
            ProductCount.products.label("said"),
            sa.literal(0).label("there"),
        ),
        sa.select(Product.retailer_id, status, sa.literal(0), sa.func.count()).group_by(
            Product.retailer_id, Product.status
        ),
    ).subquery()


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
