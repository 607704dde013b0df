"""Known answers: decisions that an administrator vouches for, by which others are scored."""

from __future__ import annotations

import datetime as dt

from tagging.answers import person
from tagging.database import opinions, reviews
from tagging.database.session import Database
from tagging.database.tables import Product
from tagging.domain import Status
from tagging.errors import NotFoundError, ReviewError


def mark(database: Database, retailer_id: int, sku: str, *, by: str, now: dt.datetime) -> bool:
    """Mark what a person decided on a product as known; False where it was already.

    Raises:
        NotFoundError: the retailer has no such product.
        ReviewError: no person decided on it.
    """
    who = person(by)
    with database.write("known.mark") as session:
        product = _found(reviews.lock_product(session, retailer_id, sku), sku)
        review = reviews.standing(session, product.id)
        if product.status is not Status.REVIEWED or review is None or review.before is None:
            raise ReviewError(
                f"no person decided on {sku!r} ({product.status}); decide on it first, then it can "
                "be known"
            )
        old = opinions.known_of(session, product.id)
        if old is not None and old.review_id == review.id:
            return False
        if old is not None:
            # It stands otherwise than when it was marked.
            old.withdrawn_by, old.withdrawn_at = who, now
            session.flush()
        opinions.unwant(session, review.id)
        opinions.add_known(session, review, retailer_id, by=who, now=now)
        session.commit()
        return True


def withdraw(database: Database, retailer_id: int, sku: str, *, by: str, now: dt.datetime) -> None:
    """Ask for a known answer no more; what was replied to it scores nobody.

    Raises:
        NotFoundError: the retailer has no such product, or it is not known.
    """
    who = person(by)
    with database.write("known.withdraw") as session:
        product = _found(reviews.lock_product(session, retailer_id, sku), sku)
        answer = opinions.known_of(session, product.id)
        if answer is None:
            raise NotFoundError(
                f"{sku!r} is no known answer; `atelier review known list` shows them"
            )
        answer.withdrawn_by, answer.withdrawn_at = who, now
        session.commit()


def _found(product: Product | None, sku: str) -> Product:
    if product is None:
        raise NotFoundError(
            f"this retailer has no product {sku!r}; `atelier products list` shows them"
        )
    return product
