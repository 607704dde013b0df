"""Every query that puts waiting products before people, and keeps two from having the same."""

from __future__ import annotations

import datetime as dt
import enum
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from tagging.database import autopilots, rules
from tagging.database.models import in_charge
from tagging.database.products import images_of
from tagging.database.tables import (
    ImagePrediction,
    ImageSetImage,
    KnownAnswer,
    Prediction,
    Product,
    Reservation,
    Review,
    WantedOpinion,
)
from tagging.domain import FailureCode, Purpose, ReviewReason, Status, Verdict
from tagging.errors import NotFoundError

LONGEST_RESERVATION: Final = dt.timedelta(minutes=10)

UNSURE_FOR: Final = dt.timedelta(days=1)
"""For how long who was unsure of a product is not asked again, so that somebody else is."""

TRIES: Final = 20
"""How often another look is taken where others were quicker."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A product that waits for a person, with all that they need to decide on it.

    `category`: in force, of one of the audit sample or whose photo changed. `images`: sha256s, the
    main photo first. `top_k`: best first, [{"category": ..., "confidence": ...}]. `disagreeing`:
    categories that single images point to, if several. `failure`: why there is no suggestion of
    these photos, and never will be. `purpose`: to be sent back with the answer.
    """

    product_id: int
    sku: str
    title: str | None
    attributes: dict[str, Any]
    status: Status
    category: str | None
    suggestion: str | None
    confidence: float | None
    reason: ReviewReason | None
    audit: bool
    images: list[str]
    image_set: str
    prediction_id: int | None
    top_k: list[Any]
    disagreeing: list[Any]
    failure: FailureCode | None = None
    purpose: Purpose = Purpose.DECIDE


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A product to compare another with. `image`: sha256 of its main photo."""

    product_id: int
    sku: str
    title: str | None
    category: str
    image: str


class Order(enum.StrEnum):
    """In which order a person takes what waits."""

    CHEAPEST = "cheapest"
    """The surest first: most of them need one key."""
    UNCERTAIN = "uncertain"
    """The least sure of any single category first (least confidence: Lewis and Gale 1994)."""
    VALUABLE = "valuable"
    """What the next model learns most of: where two categories are nearly as likely."""
    OLDEST = "oldest"
    """As it was first delivered."""
    PRIORITY = "priority"
    """What the retailer's own column puts first; what has no number there comes last."""


_ORDERS: Final = {
    Order.CHEAPEST: (Product.confidence.desc(), Product.id.desc()),
    Order.UNCERTAIN: (Product.top_confidence, Product.id),
    Order.VALUABLE: (Product.margin, Product.id),
    Order.OLDEST: (Product.id,),
    Order.PRIORITY: (Product.priority.desc().nulls_last(), Product.id),
}


def hand_out(
    session: Session,
    retailer_id: int,
    reviewer: str,
    *,
    count: int,
    order: Order,
    now: dt.datetime,
    until: dt.datetime,
    audit: bool = False,
    suggestion: str | None = None,
    but: Collection[int] = (),
) -> list[int]:
    """Keys of at most `count` products that wait, each reserved for `reviewer` until `until`.

    What is on another person's screen is left out; what is on `reviewer`'s own comes again, unless
    it is named in `but`. With `audit` the tags whose verdict the autopilot waits for, in the order
    of their delivery, so that which come first has nothing to do with the tags. By the partial
    indexes on what waits. Commits what it reserves.
    """
    awaited = None
    if audit:
        model = in_charge(session, retailer_id)
        awaited, order = autopilots.awaited(session, retailer_id, model.id), Order.OLDEST
    mine: list[int] = []
    for _ in range(TRIES):
        found = session.scalars(
            _free(
                retailer_id,
                reviewer,
                awaited=awaited,
                order=order,
                now=now,
                suggestion=suggestion,
                but=[*but, *mine],
            ).limit(count - len(mine))
        ).all()
        if not found:
            break
        got = reserve(session, found, reviewer, now=now, until=until)
        # At once: who held these rows while asking for others could wait for who does the reverse.
        session.commit()
        mine += [product_id for product_id in found if product_id in got]
        if len(mine) == count:
            break
    return mine


def alike_candidates(
    session: Session,
    retailer_id: int,
    reviewer: str,
    *,
    count: int,
    order: Order,
    now: dt.datetime,
    suggestion: str | None = None,
    but: Collection[int] = (),
) -> list[int]:
    """Keys of at most `count` products that nobody else has before them and that have one
    suggestion, the given one or the first one's, in this order. By the indexes on what waits.
    """
    if suggestion is None:
        free = _free(
            retailer_id,
            reviewer,
            awaited=None,
            order=order,
            now=now,
            suggestion=None,
            but=but,
        )
        first = session.scalars(free.where(Product.suggestion.is_not(None)).limit(1)).first()
        if first is None:
            return []
        suggestion = suggestion_of(session, first)
    free = _free(
        retailer_id,
        reviewer,
        awaited=None,
        order=order,
        now=now,
        suggestion=suggestion,
        but=but,
    )
    return list(session.scalars(free.limit(count)))


def suggestion_of(session: Session, product_id: int) -> str | None:
    """What the model takes a product for, by its key."""
    return session.scalars(
        sa.select(Product.suggestion).where(Product.id == product_id)
    ).one_or_none()


def features(session: Session, retailer_id: int, product_ids: Collection[int]) -> dict[int, bytes]:
    """Product's key -> what the model in charge saw in its main photo, of those that it classified
    since that is kept: what two models see cannot be compared. By primary keys and unique indexes.
    """
    rows = session.execute(
        sa.select(Product.id, ImagePrediction.features)
        .join(Prediction, Prediction.id == Product.prediction_id)
        .join(
            ImageSetImage,
            sa.and_(ImageSetImage.image_set == Product.image_set, ImageSetImage.position == 0),
        )
        .join(
            ImagePrediction,
            sa.and_(
                ImagePrediction.sha256 == ImageSetImage.sha256,
                ImagePrediction.model_id == Prediction.model_id,
                ImagePrediction.preprocessing_version == Prediction.preprocessing_version,
            ),
        )
        .where(
            Product.id.in_(product_ids),
            Prediction.model_id == in_charge(session, retailer_id).id,
            ImagePrediction.features.is_not(None),
        )
    )
    return {product_id: raw for product_id, raw in rows if raw is not None}


def newest_of_suggestion(
    session: Session, retailer_id: int, product_id: int, *, most: int
) -> list[Neighbour]:
    """The newest products in force in the category that is suggested for another. By the index
    on (retailer, category, id).

    Raises:
        NotFoundError: the retailer has no such product.
    """
    about = session.execute(
        sa.select(Product.suggestion).where(
            Product.id == product_id, Product.retailer_id == retailer_id
        )
    ).one_or_none()
    if about is None:
        raise NotFoundError(f"this retailer has no product with the key {product_id}")
    rows = session.execute(
        sa.select(Product.id, Product.sku, Product.title, Product.category, ImageSetImage.sha256)
        .join(
            ImageSetImage,
            sa.and_(ImageSetImage.image_set == Product.image_set, ImageSetImage.position == 0),
        )
        .where(
            Product.retailer_id == retailer_id,
            Product.category == about.suggestion,
            Product.status.in_((Status.TAGGED, Status.REVIEWED)),
            Product.id != product_id,
        )
        .order_by(Product.id.desc())
        .limit(most)
    )
    return [
        Neighbour(product_id=key, sku=sku, title=title, category=category, image=sha256)
        for key, sku, title, category, sha256 in rows
        if category is not None
    ]


def waiting(session: Session, product_ids: Sequence[int]) -> list[Waiting]:
    """Products as they stand, in the order of `product_ids`; those that nobody need decide on any
    more are left out. By primary keys.
    """
    rows = session.execute(
        sa.select(Product, Prediction)
        .outerjoin(Prediction, Prediction.id == Product.prediction_id)
        .where(Product.id.in_(product_ids), _undecided())
    ).all()
    images = images_of(session, [product.image_set for product, _ in rows])
    found = {
        product.id: card(product, prediction, images[product.image_set])
        for product, prediction in rows
    }
    return [found[product_id] for product_id in product_ids if product_id in found]


def waits(session: Session, retailer_id: int, product_id: int) -> bool:
    """Whether this product is the retailer's and somebody may decide on it. By primary key."""
    found = session.scalars(
        sa.select(Product.id).where(
            Product.id == product_id, Product.retailer_id == retailer_id, _undecided()
        )
    )
    return found.one_or_none() is not None


def card(product: Product, prediction: Prediction | None, images: list[str]) -> Waiting:
    """What a person sees of a product as it stands."""
    return Waiting(
        product_id=product.id,
        sku=product.sku,
        title=product.title,
        attributes=product.attributes,
        status=product.status,
        category=product.category,
        suggestion=product.suggestion,
        confidence=product.confidence,
        reason=product.review_reason,
        audit=product.audit,
        images=images,
        image_set=product.image_set,
        prediction_id=product.prediction_id,
        top_k=[] if prediction is None else prediction.top_k,
        disagreeing=[] if prediction is None else prediction.disagreeing,
        failure=product.failure_code,
    )


def counts(session: Session, retailer_id: int) -> dict[str, Any]:
    """How many products wait for a person, and why; how many audited tags wait for a verdict; and
    whether a column of the retailer's can say what comes first.

    Reads all of the partial indexes on what waits: 0.1 s on PostgreSQL where 150,000
    products wait.
    """
    rows = session.execute(
        sa.select(Product.review_reason, Product.suggestion, sa.func.count())
        .where(
            Product.retailer_id == retailer_id,
            Product.status == sa.literal_column("'needs_review'"),
        )
        .group_by(Product.review_reason, Product.suggestion)
    ).all()
    model = in_charge(session, retailer_id)
    by_reason: Counter[str] = Counter()
    by_suggestion: Counter[str] = Counter()
    for reason, suggestion, count in rows:
        by_reason[str(reason)] += count
        by_suggestion[suggestion or ""] += count
    return {
        "waiting": sum(by_reason.values()),
        "by_reason": dict(by_reason.most_common()),
        "by_suggestion": dict(by_suggestion.most_common()),
        "priority": rules.in_force(session, retailer_id).priority is not None,
        "audit": session.execute(
            sa.select(sa.func.count(Product.id)).where(
                autopilots.awaited(session, retailer_id, model.id)
            )
        ).scalar_one(),
    }


def release(session: Session, reviewer: str, product_ids: Collection[int] | None = None) -> None:
    """Give back what is reserved for `reviewer`: these products, or all. By index."""
    query = sa.select(Reservation.product_id).where(Reservation.reviewer == reviewer)
    if product_ids is not None:
        query = query.where(Reservation.product_id.in_(product_ids))
    # In the order of their keys, as `reserve` locks them.
    mine = session.scalars(query.order_by(Reservation.product_id).with_for_update()).all()
    session.execute(
        sa.delete(Reservation).where(
            Reservation.product_id.in_(mine), Reservation.reviewer == reviewer
        )
    )


def _undecided() -> sa.ColumnElement[bool]:
    return sa.or_(
        Product.status == Status.NEEDS_REVIEW,
        sa.and_(Product.audit, Product.status == Status.TAGGED),
    )


def _free(
    retailer_id: int,
    reviewer: str,
    *,
    awaited: sa.ColumnElement[bool] | None,
    order: Order,
    now: dt.datetime,
    suggestion: str | None,
    but: Collection[int],
) -> sa.Select[int]:
    taken = sa.exists().where(
        Reservation.product_id == Product.id,
        is_reserved(now),
        Reservation.reviewer != reviewer,
    )
    query = sa.select(Product.id).where(
        ~taken, ~_unsure(reviewer, since=now - UNSURE_FOR), Product.id.not_in(but)
    )
    if awaited is not None:
        query = query.where(awaited)
    else:
        query = query.where(
            Product.retailer_id == retailer_id,
            # Written out: SQLite uses a partial index only where the text itself implies it.
            Product.status == sa.literal_column("'needs_review'"),
        )
    if suggestion is not None:
        query = query.where(Product.suggestion == suggestion)
    return query.order_by(*_ORDERS[order])


def _unsure(reviewer: str, *, since: dt.datetime) -> sa.ColumnElement[bool]:
    """Whether this person could not say what a product is, of the same photos, and did not take
    that back. By the index on (product, id).
    """
    undo = aliased(Review)
    return sa.exists().where(
        Review.product_id == Product.id,
        Review.image_set == Product.image_set,
        Review.reviewer == reviewer,
        Review.verdict == Verdict.UNSURE,
        Review.created_at > since,
        Review.undoes_id.is_(None),
        ~sa.exists().where(undo.undoes_id == Review.id),
    )


def to_keep(session: Session, reviewer: str, product_ids: Collection[int]) -> set[int]:
    """Those of `product_ids` that a person can still say something of: nobody decided on them
    meanwhile, or an opinion is asked and they were handed the card. By primary keys.
    """
    asked = sa.and_(
        Product.status == Status.REVIEWED,
        sa.exists().where(Reservation.product_id == Product.id, Reservation.reviewer == reviewer),
        sa.or_(
            sa.exists().where(WantedOpinion.product_id == Product.id),
            sa.exists().where(
                KnownAnswer.product_id == Product.id, KnownAnswer.withdrawn_at.is_(None)
            ),
        ),
    )
    return set(
        session.scalars(
            sa.select(Product.id).where(Product.id.in_(product_ids), sa.or_(_undecided(), asked))
        )
    )


def is_reserved(now: dt.datetime) -> sa.ColumnElement[bool]:
    """Whether a reservation still holds. One that seems to hold for longer than any was made before
    the clock was set back.
    """
    return sa.and_(Reservation.until > now, Reservation.until <= now + LONGEST_RESERVATION)


def reserve(
    session: Session,
    product_ids: Collection[int],
    reviewer: str,
    *,
    now: dt.datetime,
    until: dt.datetime,
) -> set[int]:
    """Reserve products; those of `product_ids` that nobody else has.

    The database decides row by row, so of two people who want the same product one gets it.
    """
    if not product_ids:
        return set()
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(Reservation).values(
        [
            {"product_id": product_id, "reviewer": reviewer, "until": until}
            for product_id in sorted(product_ids)
        ]
    )
    taking = statement.on_conflict_do_update(
        index_elements=[Reservation.product_id],
        set_={"reviewer": statement.excluded.reviewer, "until": statement.excluded.until},
        where=sa.or_(~is_reserved(now), Reservation.reviewer == reviewer),
    ).returning(Reservation.product_id)
    return set(session.scalars(taking))
