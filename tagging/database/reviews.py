"""Every query on what people decide: the queue, what stands now, and the rows that record it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from tagging.database import autopilots
from tagging.database.models import in_charge
from tagging.database.products import PAGE, images_of
from tagging.database.session import Database
from tagging.database.tables import Category, Model, Prediction, Product, Review
from tagging.domain import FailureCode, ReviewReason, Status, Taxonomy, Verdict


@dataclass(frozen=True, kw_only=True)
class QueueLine:
    """A product that waits for a person. `images`: sha256s, the main photo first.

    `reason` is None for one of the audit sample, whose tag is in force. `failure`: why there is no
    suggestion, where none of its new photos could be classified.
    """

    sku: str
    title: str | None
    suggestion: str | None
    confidence: float | None
    reason: ReviewReason | None
    failure: FailureCode | None
    audit: bool
    images: list[str]
    image_set: str
    prediction_id: int | None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a person has in front of them when they look at a product now."""

    image_set: str
    prediction_id: int | None
    suggestion: str | None


def seen_now(session: Session, retailer_id: int, sku: str) -> Seen | None:
    """By the unique index on (retailer, sku); None if there is no such product."""
    row = session.execute(
        sa.select(Product.image_set, Product.prediction_id, Product.suggestion).where(
            Product.retailer_id == retailer_id, Product.sku == sku
        )
    ).first()
    if row is None:
        return None
    return Seen(image_set=row[0], prediction_id=row[1], suggestion=row[2])


def lock_product(session: Session, retailer_id: int, sku: str) -> Product | None:
    """The product, locked until the commit as workers and filing lock it. By the unique index."""
    return session.execute(
        sa.select(Product)
        .where(Product.retailer_id == retailer_id, Product.sku == sku)
        .with_for_update(key_share=True)
    ).scalar_one_or_none()


def lock_products(session: Session, retailer_id: int, skus: Collection[str]) -> dict[str, Product]:
    """Several products by their sku, locked until the commit in the order of their keys, as workers
    and filing lock them. By the unique index.
    """
    rows = session.scalars(
        sa.select(Product)
        .where(Product.retailer_id == retailer_id, Product.sku.in_(skus))
        .order_by(Product.id)
        .with_for_update(key_share=True)
    )
    return {product.sku: product for product in rows}


def of_action(session: Session, action: str) -> dict[int, Review]:
    """Product's key -> the review that this act brought it, by the index on (action, product)."""
    rows = session.scalars(sa.select(Review).where(Review.action == action))
    return {review.product_id: review for review in rows}


def standing(session: Session, product_id: int) -> Review | None:
    """The newest review of a product that was not taken back, by the index on (product, id)."""
    undo = aliased(Review)
    return session.execute(
        sa.select(Review)
        .where(
            Review.product_id == product_id,
            Review.undoes_id.is_(None),
            ~sa.exists().where(undo.undoes_id == Review.id),
        )
        .order_by(Review.id.desc())
        .limit(1)
    ).scalar_one_or_none()


def standing_of(session: Session, retailer_id: int, sku: str) -> int | None:
    """The key of the newest review of a product that was not taken back, by its sku."""
    product_id = session.execute(
        sa.select(Product.id).where(Product.retailer_id == retailer_id, Product.sku == sku)
    ).scalar_one_or_none()
    found = None if product_id is None else standing(session, product_id)
    return None if found is None else found.id


def with_skus(session: Session, review_ids: Collection[int]) -> list[tuple[Review, int, str]]:
    """Reviews with their product's retailer and sku, oldest first. By primary keys."""
    rows = session.execute(
        sa.select(Review, Product.retailer_id, Product.sku)
        .join(Product, Product.id == Review.product_id)
        .where(Review.id.in_(review_ids))
        .order_by(Review.id)
    )
    return [(review, retailer_id, sku) for review, retailer_id, sku in rows]


def last_review(session: Session, product_id: int) -> Review | None:
    """The newest review of a product, by the index on (product, id)."""
    return session.execute(
        sa.select(Review).where(Review.product_id == product_id).order_by(Review.id.desc()).limit(1)
    ).scalar_one_or_none()


def add_review(
    session: Session,
    product: Product,
    *,
    verdict: Verdict,
    category: str | None,
    reviewer: str,
    now: dt.datetime,
    action: str | None = None,
    undoes_id: int | None = None,
) -> Review:
    """Append what a person said of a product as it stands; to be called before it moves."""
    review = Review(
        product_id=product.id,
        image_set=product.image_set,
        prediction_id=product.prediction_id,
        reviewer=reviewer,
        verdict=verdict,
        category=category,
        undoes_id=undoes_id,
        action=action,
        before={
            "status": product.status,
            "category": product.category,
            "decided_by": product.decided_by,
            "review_reason": product.review_reason,
            "tagged_at": tagged_at(product),
        },
        created_at=now,
    )
    session.add(review)
    session.flush()
    return review


def tagged_at(product: Product) -> str | None:
    """When a product was last classified, as a review keeps it."""
    return None if product.tagged_at is None else product.tagged_at.isoformat()


def taxonomy(session: Session, retailer_id: int) -> Taxonomy:
    """A retailer's categories, every one as a leaf: a person may choose a parent, too.

    By the primary key; some dozens of rows.
    """
    rows = session.execute(
        sa.select(Category.name, Category.parent)
        .where(Category.retailer_id == retailer_id)
        .order_by(Category.name)
    ).all()
    return Taxonomy(
        leaves=tuple(name for name, _ in rows),
        parents={name: parent for name, parent in rows if parent is not None},
    )


def model_of(session: Session, prediction_id: int) -> int:
    """The model behind a prediction, by primary key."""
    return session.execute(
        sa.select(Model.id)
        .join(Prediction, Prediction.model_id == Model.id)
        .where(Prediction.id == prediction_id)
    ).scalar_one()


def models_of(session: Session, prediction_ids: Collection[int]) -> set[int]:
    """The models behind predictions, by primary keys."""
    return set(
        session.scalars(
            sa.select(Prediction.model_id).where(Prediction.id.in_(prediction_ids)).distinct()
        )
    )


def queue(database: Database, retailer_id: int, *, audit: bool) -> Iterator[QueueLine]:
    """What waits for a person, or with `audit` the tags whose verdict the autopilot waits for.

    The latter are those that the model in charge accepted since the autopilot was last turned on.
    In the order of the products' keys, in pages with a read transaction each, by the index on
    (retailer, status, id) or the one on the audit sample.
    """
    after = 0
    while True:
        with database.read() as session:
            page = queue_page(session, retailer_id, audit=audit, after=after)
            images = images_of(session, [product.image_set for product in page])
        for product in page:
            yield QueueLine(
                sku=product.sku,
                title=product.title,
                suggestion=product.suggestion,
                confidence=product.confidence,
                reason=product.review_reason,
                failure=product.failure_code,
                audit=product.audit,
                images=images[product.image_set],
                image_set=product.image_set,
                prediction_id=product.prediction_id,
            )
        if len(page) < PAGE:
            return
        after = page[-1].id


def queue_page(
    session: Session, retailer_id: int, *, audit: bool, after: int
) -> Sequence[sa.Row[Any]]:
    """The next products of the queue after a key: what `queue` tells of each, and its key."""
    query = (
        sa.select(
            Product.id,
            Product.sku,
            Product.title,
            Product.suggestion,
            Product.confidence,
            Product.review_reason,
            Product.failure_code,
            Product.audit,
            Product.image_set,
            Product.prediction_id,
        )
        .where(Product.retailer_id == retailer_id, Product.id > after)
        .order_by(Product.id)
        .limit(PAGE)
    )
    if audit:
        model = in_charge(session, retailer_id)
        query = query.where(autopilots.awaited(session, retailer_id, model.id))
    else:
        query = query.where(Product.status == Status.NEEDS_REVIEW)
    rows: Sequence[sa.Row[Any]] = session.execute(query).all()  # type: ignore[assignment]
    return rows
