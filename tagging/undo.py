"""take_back: what people said is undone, and each product stands exactly as it did before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import partial

from sqlalchemy.orm import Session

from tagging import opinions
from tagging.answers import Opined, Recorded, heard, person, require_action, tried
from tagging.database import autopilots, batches, priorities, retags, reviews
from tagging.database import opinions as opinion_rows
from tagging.database.session import Database
from tagging.database.tables import Opinion, Product, Review
from tagging.domain import ReviewReason, Status
from tagging.errors import AtelierError, NotFoundError, ReviewError
from tagging.review import reconsidered


def take_back(
    database: Database,
    review_ids: Sequence[int],
    *,
    by: str,
    action: str,
    now: dt.datetime,
    of_others: bool = False,
    retailer_id: int | None = None,
    opinion_ids: Sequence[int] = (),
) -> list[Recorded | Opined | AtelierError]:
    """Undo reviews: each product stands exactly as it did before, and a further row says so.

    One transaction, as in `record_reviews`. A verdict of the audit sample that is taken back is no
    evidence any more; an autopilot that it had switched off stays off until a person turns it on.

    Args:
        review_ids: which.
        by: who undoes.
        action: the act's name, made by who sends it.
        now: when.
        of_others: whether `by` may undo what other people said.
        retailer_id: only what was said of this retailer's products is there.
        opinion_ids: which opinions besides; they moved nothing, and are asked for again.

    Returns:
        For each review and then each opinion, in their order, where its product stands now or why
        it was not undone: it is not theirs, it was undone before, or something newer happened to
        the product.

    Raises:
        ReviewError: `by` or `action` is no name.
    """
    require_action(action)
    who = person(by)
    with database.write("review.undo") as session:
        rows: dict[int, tuple[Review | Opinion, int, str]] = {
            row[0].id: row
            for row in reviews.with_skus(session, review_ids)
            if retailer_id in (None, row[1])
        }
        opined: dict[int, tuple[Review | Opinion, int, str]] = {
            row[0].id: row
            for row in opinion_rows.with_skus(session, opinion_ids)
            if retailer_id in (None, row[1])
        }
        products = _locked(session, [*rows.values(), *opined.values()])
        judged = {autopilots.audited(session, review_id) for review_id in rows}
        autopilots.lock_in_order(session, {one for one in judged if one is not None})
        known = reviews.of_action(session, action)
        known_opinions = opinion_rows.of_action(session, action)
        moved: set[int] = set()
        done: list[Recorded | Opined | AtelierError] = []
        named = [("review", rows.get(one), one) for one in review_ids]
        named += [("opinion", opined.get(one), one) for one in opinion_ids]
        for what, row, key in named:
            if row is None:
                done.append(NotFoundError(f"there is no {what} {key}"))
                continue
            said, product = row[0], products[row[0].product_id]
            if product.id in known:
                done.append(heard(product, known[product.id], who, undone=True))
            elif product.id in known_opinions:
                done.append(opinions.heard(session, known_opinions[product.id], who, undone=True))
            elif not of_others and said.reviewer != who:
                done.append(
                    ReviewError(
                        f"{said.reviewer} decided on {product.sku!r}; ask them, or an "
                        "administrator, to take it back"
                    )
                )
            elif product.id in moved:
                done.append(
                    ReviewError(
                        f"a newer review of {product.sku!r} was undone in this act; undo the older "
                        "one in another"
                    )
                )
            else:
                undoing = partial(_undo, session, product, said, who, action, now=now)
                outcome = tried(session, undoing)
                if not isinstance(outcome, AtelierError):
                    moved.add(product.id)
                done.append(outcome)
        session.commit()
        return done


def _undo(
    session: Session,
    product: Product,
    said: Review | Opinion,
    who: str,
    action: str,
    *,
    now: dt.datetime,
) -> Recorded | Opined:
    if isinstance(said, Opinion):
        return opinions.undo(session, product, said, who, action, now=now)
    undone = undo(session, product, said, who, action, now=now)
    if product.status is Status.NEEDS_REVIEW:
        _ask_the_model(session, product, now=now)
    return undone


def _ask_the_model(session: Session, product: Product, *, now: dt.datetime) -> None:
    """Have what waits again without a suggestion classified.

    While a decision stood, a batch with its new photos may have come to its end: that left the
    product alone. What the model said of the photos then is known, and not computed again.
    """
    if product.prediction_id is not None or product.failure_code is not None:
        return
    session.flush()
    seen = {product.id: product.image_set}
    if retags.queue_again(session, seen, now=now):
        images = retags.image_counts(session, seen.values())
        batches.create(
            session,
            retailer_id=product.retailer_id,
            upload_id=product.upload_id,
            items=[(product.id, product.image_set, images[product.image_set])],
            now=now,
        )


def _locked(
    session: Session, rows: Sequence[tuple[Review | Opinion, int, str]]
) -> dict[int, Product]:
    """The products of reviews and opinions, locked, by their keys."""
    products: dict[int, Product] = {}
    for retailer_id in sorted({retailer_id for _, retailer_id, _ in rows}):
        skus = {sku for _, owner, sku in rows if owner == retailer_id}
        locked = reviews.lock_products(session, retailer_id, skus).values()
        products |= {product.id: product for product in locked}
    return products


def undo(
    session: Session,
    product: Product,
    review: Review,
    who: str,
    action: str | None,
    *,
    now: dt.datetime,
    weigh: bool = True,
) -> Recorded:
    """Put a locked product back to where it stood before `review`.

    `weigh`: the evidence that is left, at once; not where a further verdict follows in the same
    transaction.
    """
    newest = reviews.standing(session, product.id)
    if newest is None or newest.id != review.id:
        gone = newest is None or newest.id < review.id
        later = (
            "it was taken back already"
            if newest is None or gone
            else f"{newest.reviewer} decided on it since"
        )
        raise ReviewError(
            f"the review of {product.sku!r} cannot be undone: {later}",
            why="taken_back" if gone else "changed_since",
        )
    if review.undoes_id is not None or review.before is None:
        raise ReviewError(
            f"the review of {product.sku!r} cannot be undone: it does not say what was before"
        )
    if (product.image_set, product.prediction_id) != (review.image_set, review.prediction_id):
        raise ReviewError(
            f"the review of {product.sku!r} cannot be undone: its photos or its suggestion changed "
            "since; look at it anew",
            why="changed_since",
        )
    # Compared as it was kept, not with the review's own time: clocks of machines differ.
    if review.before.get("tagged_at", at := reviews.tagged_at(product)) != at:
        raise ReviewError(
            f"the review of {product.sku!r} cannot be undone: it was classified again since; "
            "look at it anew",
            why="changed_since",
        )
    audited = autopilots.audited(session, review.id)
    state = None if audited is None else autopilots.lock(session, *audited)
    undoing = reviews.add_review(
        session,
        product,
        verdict=review.verdict,
        category=review.category,
        reviewer=who,
        action=action,
        undoes_id=review.id,
        now=now,
    )
    before = review.before
    product.status, product.category = Status(before["status"]), before["category"]
    product.decided_by = before["decided_by"]
    reason = before["review_reason"]
    product.review_reason = None if reason is None else ReviewReason(reason)
    product.updated_at = now
    priorities.renew(session, product)
    opinion_rows.unwant(session, review.id)
    session.flush()
    return Recorded(
        review_id=undoing.id,
        status=product.status,
        category=product.category,
        autopilot=reconsidered(session, state, now=now) if weigh and state is not None else None,
    )
