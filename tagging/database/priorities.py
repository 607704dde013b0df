"""Every query on the priorities that retailers give their products."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database import rules
from tagging.database.tables import Product, Retailer
from tagging.domain import Status
from tagging.priority import priority_of

AHEAD: Final = (Status.QUEUED, Status.NEEDS_REVIEW)
"""Where products wait for a person, or will; what comes back from elsewhere is renewed then."""
PAGE: Final = 1000
"""Products that are renewed in one transaction: no writer waits long."""


def renew(session: Session, product: Product) -> None:
    """Give a product the priority that the rules in force say. The rules by the unique index."""
    column = rules.in_force(session, product.retailer_id).priority
    product.priority = priority_of(product.attributes, column)


def renew_waiting(session: Session, product_ids: Collection[int]) -> None:
    """The same for those of some products that wait for a person. By primary key."""
    if not product_ids:
        return
    waiting = session.scalars(
        sa.select(Product)
        .where(Product.id.in_(product_ids), Product.status == Status.NEEDS_REVIEW)
        .order_by(Product.id)
        .execution_options(populate_existing=True)
    ).all()
    for product in waiting:
        renew(session, product)
    session.flush()


def renew_page(
    session: Session, retailer_id: int, status: Status, *, after: int, most: int
) -> int | None:
    """The same for the next products of a status in the order of their keys; the last key, None
    at the end. By the index on (retailer, status, id).

    Locks as filing does, the retailer and then products: what is filed meanwhile by the older rules
    is filed before this, and seen.
    """
    session.execute(
        sa.select(Retailer.id).where(Retailer.id == retailer_id).with_for_update(key_share=True)
    )
    column = rules.in_force(session, retailer_id).priority
    page = session.scalars(
        sa.select(Product)
        .where(Product.retailer_id == retailer_id, Product.status == status, Product.id > after)
        .order_by(Product.id)
        .limit(most)
        .with_for_update(key_share=True)
    ).all()
    for product in page:
        product.priority = priority_of(product.attributes, column)
    session.flush()
    return page[-1].id if len(page) == most else None
