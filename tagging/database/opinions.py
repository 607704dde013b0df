"""Every query on second opinions and known answers."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from tagging.database import uploads
from tagging.database.desk import Waiting, card, is_reserved
from tagging.database.products import images_of
from tagging.database.tables import (
    KnownAnswer,
    Opinion,
    Prediction,
    Product,
    Reservation,
    Review,
    WantedOpinion,
)
from tagging.domain import OpinionKind, Purpose, ReviewReason, Status, Verdict


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Of whom an opinion is asked, and on what.

    `audit`: on what is of the audit sample, instead of on what waited for a person. `but`: keys of
    products that are not asked about.
    """

    retailer_id: int
    reviewer: str
    audit: bool
    suggestion: str | None
    but: Collection[int]
    now: dt.datetime


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two people's words on one product. `first`, `second`: categories, None for no product."""

    review_id: int
    first_reviewer: str
    first: str | None
    second_reviewer: str
    second: str | None


@dataclass(frozen=True, kw_only=True)
class Disagreement(Compared):
    """Two people who said different things of a product that stands as the first one said."""

    sku: str
    title: str | None
    suggestion: str | None
    images: list[str]
    said_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class KnownLine:
    """A known answer. `usable`: whether the product still stands as it did when it was marked."""

    sku: str
    category: str | None
    added_by: str
    created_at: dt.datetime
    usable: bool


def want(session: Session, review: Review, retailer_id: int) -> None:
    """Put a decision on the list of those on which another person is to be asked."""
    row = {"review_id": review.id, "retailer_id": retailer_id, "product_id": review.product_id}
    uploads.insert_ignoring(session, WantedOpinion, [row], key=("review_id",))


def unwant(session: Session, review_id: int) -> None:
    """Take a decision off that list. By primary key."""
    session.execute(sa.delete(WantedOpinion).where(WantedOpinion.review_id == review_id))


def is_wanted(session: Session, review_id: int) -> bool:
    """By primary key."""
    return session.get(WantedOpinion, review_id) is not None


def wanted(session: Session, asked: Asked, *, most: int) -> list[tuple[int, int]]:
    """(Product, review) keys of decisions on which this person may be asked, the oldest first.

    The list of work by its index; what was answered has left it.
    """
    query = (
        sa.select(Product.id, Review.id)
        .select_from(WantedOpinion)
        .join(Review, Review.id == WantedOpinion.review_id)
        .join(Product, Product.id == WantedOpinion.product_id)
        .where(WantedOpinion.retailer_id == asked.retailer_id, *_may_be_asked(asked))
        .order_by(WantedOpinion.review_id)
        .limit(most)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def known(session: Session, asked: Asked, *, most: int) -> list[tuple[int, int]]:
    """The same of known answers that this person has not been asked for yet.

    By the index on (retailer, id); as many rows as an administrator marked.
    """
    query = (
        sa.select(Product.id, Review.id)
        .select_from(KnownAnswer)
        .join(Review, Review.id == KnownAnswer.review_id)
        .join(Product, Product.id == KnownAnswer.product_id)
        .where(
            KnownAnswer.retailer_id == asked.retailer_id,
            KnownAnswer.withdrawn_at.is_(None),
            KnownAnswer.added_by != asked.reviewer,
            *_may_be_asked(asked),
        )
        .order_by(KnownAnswer.id)
        .limit(most)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def cards(session: Session, about: Sequence[tuple[int, int]]) -> list[Waiting]:
    """What a person sees who is asked for an opinion: exactly what who decided saw, and not what
    they said. For (product, review) keys, in their order. By primary keys.
    """
    rows = session.execute(
        sa.select(Product, Prediction, Review)
        .join(Review, Review.product_id == Product.id)
        .outerjoin(Prediction, Prediction.id == Product.prediction_id)
        .where(Review.id.in_([review_id for _, review_id in about]), *_stands())
    ).all()
    images = images_of(session, [product.image_set for product, _, _ in rows])
    found: dict[int, Waiting] = {}
    for product, prediction, review in rows:
        before = review.before
        if before is None:
            raise ValueError(f"review {review.id} does not say what was before it")
        reason = before["review_reason"]
        found[review.id] = dataclasses.replace(
            card(product, prediction, images[product.image_set]),
            status=Status(before["status"]),
            category=before["category"],
            reason=None if reason is None else ReviewReason(reason),
            purpose=Purpose.OPINION,
        )
    return [found[review_id] for _, review_id in about if review_id in found]


def add(
    session: Session,
    about: Review,
    kind: OpinionKind,
    *,
    verdict: Verdict,
    category: str | None,
    reviewer: str,
    action: str,
    now: dt.datetime,
    undoes_id: int | None = None,
) -> Opinion:
    """Append what a person said beside a decision."""
    row = Opinion(
        product_id=about.product_id,
        about_review_id=about.id,
        kind=kind,
        image_set=about.image_set,
        reviewer=reviewer,
        verdict=verdict,
        category=category,
        undoes_id=undoes_id,
        action=action,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def of_action(session: Session, action: str) -> dict[int, Opinion]:
    """Product's key -> the opinion that this act brought on it. By the index on the action."""
    rows = session.scalars(sa.select(Opinion).where(Opinion.action == action))
    return {opinion.product_id: opinion for opinion in rows}


def standing(session: Session, review_id: int) -> list[Opinion]:
    """What was said beside a decision and not taken back, oldest first. By index; a handful."""
    return list(
        session.scalars(
            sa.select(Opinion)
            .where(Opinion.about_review_id == review_id, *_not_taken_back())
            .order_by(Opinion.id)
        )
    )


def with_skus(session: Session, opinion_ids: Collection[int]) -> list[tuple[Opinion, int, str]]:
    """Opinions with their product's retailer and sku, oldest first. By primary keys."""
    rows = session.execute(
        sa.select(Opinion, Product.retailer_id, Product.sku)
        .join(Product, Product.id == Opinion.product_id)
        .where(Opinion.id.in_(opinion_ids))
        .order_by(Opinion.id)
    )
    return [(opinion, retailer_id, sku) for opinion, retailer_id, sku in rows]


def is_taken_back(session: Session, opinion_id: int) -> bool:
    """Whether a further row undoes an opinion. By index."""
    query = sa.select(sa.exists().where(Opinion.undoes_id == opinion_id))
    return bool(session.execute(query).scalar_one())


def second_opinions(session: Session, retailer_id: int) -> list[Compared]:
    """Every second opinion that was not taken back and named something, with what it is beside.

    What became of the first decision since does not matter: both said what they said. Reads all of
    a retailer's opinions; a share of what people decided.
    """
    rows = session.execute(
        sa.select(Review.id, Review.reviewer, Review.category, Opinion.reviewer, Opinion.category)
        .select_from(Opinion)
        .join(Review, Review.id == Opinion.about_review_id)
        .join(Product, Product.id == Opinion.product_id)
        .where(Product.retailer_id == retailer_id, *_second())
        .order_by(Opinion.id)
    )
    return [
        Compared(
            review_id=review_id,
            first_reviewer=first_reviewer,
            first=first,
            second_reviewer=second_reviewer,
            second=second,
        )
        for review_id, first_reviewer, first, second_reviewer, second in rows
    ]


def disagreements(
    session: Session, retailer_id: int, *, sku: str | None = None, most: int
) -> list[Disagreement]:
    """Second opinions that differ from the decision that is in force, oldest first. `sku`: of one
    product alone. Reads a retailer's opinions, or one product's.
    """
    query = (
        sa.select(Product, Review, Opinion)
        .select_from(Opinion)
        .join(Review, Review.id == Opinion.about_review_id)
        .join(Product, Product.id == Opinion.product_id)
        .where(
            Product.retailer_id == retailer_id,
            *_second(),
            *_stands(),
            Review.category.is_distinct_from(Opinion.category),
        )
        .order_by(Opinion.id)
        .limit(most)
    )
    if sku is not None:
        query = query.where(Product.sku == sku)
    rows = session.execute(query).all()
    images = images_of(session, [product.image_set for product, _, _ in rows])
    return [
        Disagreement(
            review_id=review.id,
            sku=product.sku,
            title=product.title,
            suggestion=product.suggestion,
            images=images[product.image_set],
            first_reviewer=review.reviewer,
            first=review.category,
            second_reviewer=opinion.reviewer,
            second=opinion.category,
            said_at=opinion.created_at,
        )
        for product, review, opinion in rows
    ]


def add_known(
    session: Session, review: Review, retailer_id: int, *, by: str, now: dt.datetime
) -> None:
    """Mark what a decision says as known."""
    session.add(
        KnownAnswer(
            retailer_id=retailer_id,
            product_id=review.product_id,
            review_id=review.id,
            image_set=review.image_set,
            category=review.category,
            added_by=by,
            created_at=now,
        )
    )
    session.flush()


def known_of(session: Session, product_id: int) -> KnownAnswer | None:
    """The known answer of a product that was not withdrawn. By the partial index."""
    return session.execute(
        sa.select(KnownAnswer).where(
            KnownAnswer.product_id == product_id, KnownAnswer.withdrawn_at.is_(None)
        )
    ).scalar_one_or_none()


def known_lines(session: Session, retailer_id: int) -> list[KnownLine]:
    """A retailer's known answers, oldest first. By the index on (retailer, id)."""
    rows = session.execute(
        sa.select(KnownAnswer, Product.sku, sa.and_(*_stands()))
        .join(Product, Product.id == KnownAnswer.product_id)
        .join(Review, Review.id == KnownAnswer.review_id)
        .where(KnownAnswer.retailer_id == retailer_id, KnownAnswer.withdrawn_at.is_(None))
        .order_by(KnownAnswer.id)
    )
    return [
        KnownLine(
            sku=sku,
            category=answer.category,
            added_by=answer.added_by,
            created_at=answer.created_at,
            usable=bool(usable),
        )
        for answer, sku, usable in rows
    ]


def known_replies(
    session: Session, retailer_id: int
) -> list[tuple[str, Verdict, str | None, str | None]]:
    """(Who, verdict, category said, category known) for each reply to a known answer.

    Without those that were withdrawn. By the index on (retailer, id) and the one on the decision.
    """
    rows = session.execute(
        sa.select(Opinion.reviewer, Opinion.verdict, Opinion.category, KnownAnswer.category)
        .select_from(KnownAnswer)
        .join(Opinion, Opinion.about_review_id == KnownAnswer.review_id)
        .where(
            KnownAnswer.retailer_id == retailer_id,
            KnownAnswer.withdrawn_at.is_(None),
            Opinion.kind == OpinionKind.KNOWN,
            *_not_taken_back(),
        )
        .order_by(Opinion.id)
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def _stands() -> tuple[sa.ColumnElement[bool], ...]:
    """That a product is as `Review` decided, with the photos and the prediction of then."""
    undo = aliased(Review)
    return (
        Product.status == Status.REVIEWED,
        Product.image_set == Review.image_set,
        Product.prediction_id.is_not_distinct_from(Review.prediction_id),
        Review.undoes_id.is_(None),
        ~sa.exists().where(undo.undoes_id == Review.id),
    )


def _may_be_asked(asked: Asked) -> tuple[sa.ColumnElement[bool], ...]:
    taken = sa.exists().where(
        Reservation.product_id == Product.id,
        is_reserved(asked.now),
        Reservation.reviewer != asked.reviewer,
    )
    said = sa.exists().where(
        Opinion.about_review_id == Review.id,
        Opinion.reviewer == asked.reviewer,
        *_not_taken_back(),
    )
    # Otherwise it would stand out among the cards that it is put between.
    alike = (
        Product.audit.is_(True)
        if asked.audit
        else Review.before["status"].as_string() == Status.NEEDS_REVIEW.value
    )
    return (
        *_stands(),
        alike,
        Review.reviewer != asked.reviewer,
        ~taken,
        ~said,
        Product.id.not_in(asked.but),
        sa.true() if asked.suggestion is None else Product.suggestion == asked.suggestion,
    )


def _second() -> tuple[sa.ColumnElement[bool], ...]:
    return (
        Opinion.kind == OpinionKind.SECOND,
        Opinion.verdict != Verdict.UNSURE,
        *_not_taken_back(),
    )


def _not_taken_back() -> tuple[sa.ColumnElement[bool], ...]:
    undo = aliased(Opinion)
    return (Opinion.undoes_id.is_(None), ~sa.exists().where(undo.undoes_id == Opinion.id))
