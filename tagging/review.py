"""record_review: what a person says of a product, and what follows from it; take_back undoes it.

One short transaction appends the review, moves the product, and, where the product is of the audit
sample, counts the verdict as evidence and moves the autopilot. The products' rows are locked first,
in the order of their keys, then the autopilot's; so do all who lock both.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy.orm import Session

from tagging.autopilot import Next
from tagging.database import autopilots, desk, models, reviews
from tagging.database.session import Database
from tagging.database.tables import AutopilotState, Product, Review
from tagging.domain import ReviewReason, Status, Verdict
from tagging.errors import AtelierError, NotFoundError, ReviewError

NAME_CHARS: Final = 100


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a person says of a product, and what they saw when they said it.

    `category`: the right one, with `corrected` only. `image_set` and `prediction_id`: of the
    photos and the prediction that they looked at.
    """

    retailer_id: int
    sku: str
    image_set: str
    prediction_id: int | None
    verdict: Verdict
    reviewer: str
    category: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of an answer. `repeated`: the same person had said the same already.

    `autopilot`: where the autopilot moved because of it, and why; None if it stayed.
    """

    review_id: int
    status: Status
    category: str | None
    repeated: bool = False
    autopilot: Next | None = None


def record_review(database: Database, answer: Answer, *, now: dt.datetime) -> Recorded:
    """Append the answer and do what follows from it, all or nothing.

    Raises:
        NotFoundError: the retailer has no such product.
        ReviewError: the answer makes no sense, or is about what is no longer so: other photos,
            another prediction, or somebody decided already.
    """
    reviewer = person(answer.reviewer)
    with database.write() as session:
        product = reviews.lock_product(session, answer.retailer_id, answer.sku)
        recorded = _record(session, product, answer, reviewer, action=None, now=now)
        session.commit()
        return recorded


def record_reviews(
    database: Database, answers: Sequence[Answer], *, action: str, now: dt.datetime
) -> list[Recorded | AtelierError]:
    """Record what one person said of several products of one retailer in one act.

    One transaction: what can be recorded is, and each answer that cannot has its reason in its
    place. The same act sent again, because the answer to it was lost on the way, changes nothing.

    Args:
        answers: by the same person, of the same retailer, each of another product.
        action: the act's name, made by who sends it (a UUID).
        now: when it was said.

    Returns:
        For each answer, in their order, what came of it or why nothing did.

    Raises:
        ReviewError: the answers are not by one person, of one retailer and of different products,
            or `action` is no name.
    """
    _require_action(action)
    if not answers:
        return []
    people = {(answer.reviewer, answer.retailer_id) for answer in answers}
    if len(people) > 1 or len({answer.sku for answer in answers}) < len(answers):
        raise ReviewError(
            "answers that are sent together must be one person's, of one retailer and each of "
            "another product; send the others apart"
        )
    (said_by, retailer_id) = people.pop()
    reviewer = person(said_by)
    with database.write() as session:
        found = reviews.lock_products(session, retailer_id, {answer.sku for answer in answers})
        audited = {
            product.prediction_id
            for product in found.values()
            if product.audit and product.prediction_id is not None
        }
        autopilots.lock_in_order(
            session, {(retailer_id, model) for model in reviews.models_of(session, audited)}
        )
        known = reviews.of_action(session, action)
        done: dict[str, Recorded | AtelierError] = {}
        # In the order of their delivery, whatever the page's was: audit verdicts are weighed in the
        # order of their rows, which must have nothing to do with the tags.
        for answer in sorted(answers, key=lambda one: _delivered(found.get(one.sku))):
            product = found.get(answer.sku)
            if product is not None and product.id in known:
                done[answer.sku] = _heard(product, known[product.id], reviewer, undone=False)
                continue
            done[answer.sku] = _tried(
                session,
                partial(_record, session, product, answer, reviewer, action=action, now=now),
            )
        session.commit()
        return [done[answer.sku] for answer in answers]


def take_back(
    database: Database,
    review_ids: Sequence[int],
    *,
    by: str,
    action: str,
    now: dt.datetime,
    of_others: bool = False,
    retailer_id: int | None = None,
) -> list[Recorded | AtelierError]:
    """Undo reviews: each product stands exactly as it did before, and a further row says so.

    One transaction, as in `record_reviews`. A verdict of the audit sample that is taken back is no
    evidence any more; an autopilot that it had switched off stays off until a person turns it on.

    Args:
        review_ids: which.
        by: who undoes.
        action: the act's name, made by who sends it.
        now: when.
        of_others: whether `by` may undo what other people said.
        retailer_id: only reviews of this retailer's products are there.

    Returns:
        For each review, in their order, where its product stands now or why it was not undone: it
        is not theirs, it was undone before, or something newer happened to the product.

    Raises:
        ReviewError: `by` or `action` is no name.
    """
    _require_action(action)
    who = person(by)
    with database.write() as session:
        rows = {
            row[0].id: row
            for row in reviews.with_skus(session, review_ids)
            if retailer_id in (None, row[1])
        }
        products: dict[int, Product] = {}
        for owner in sorted({owner for _, owner, _ in rows.values()}):
            skus = {sku for _, whose, sku in rows.values() if whose == owner}
            locked = reviews.lock_products(session, owner, skus).values()
            products |= {product.id: product for product in locked}
        judged = {autopilots.audited(session, review_id) for review_id in rows}
        autopilots.lock_in_order(session, {one for one in judged if one is not None})
        known = reviews.of_action(session, action)
        moved: set[int] = set()
        done: list[Recorded | AtelierError] = []
        for review_id in review_ids:
            if review_id not in rows:
                done.append(NotFoundError(f"there is no review {review_id}"))
                continue
            review = rows[review_id][0]
            product = products[review.product_id]
            if product.id in known:
                done.append(_heard(product, known[product.id], who, undone=True))
                continue
            if not of_others and review.reviewer != who:
                done.append(
                    ReviewError(
                        f"{review.reviewer} decided on {product.sku!r}; ask them, or an "
                        "administrator, to take it back"
                    )
                )
                continue
            if product.id in moved:
                done.append(
                    ReviewError(
                        f"a newer review of {product.sku!r} was undone in this act; undo the older "
                        "one in another"
                    )
                )
                continue
            outcome = _tried(
                session, partial(_undo, session, product, review, who, action, now=now)
            )
            if isinstance(outcome, Recorded):
                moved.add(product.id)
            done.append(outcome)
        session.commit()
        return done


def _record(
    session: Session,
    product: Product | None,
    answer: Answer,
    reviewer: str,
    *,
    action: str | None,
    now: dt.datetime,
) -> Recorded:
    """What `record_review` does with a locked product."""
    if product is None:
        raise NotFoundError(
            f"this retailer has no product {answer.sku!r}; `atelier products list` shows them"
        )
    if product.status is Status.REVIEWED:
        return _again(session, product, answer, reviewer)
    _require_open(product)
    _require_seen(product, answer)
    if (said := _unsure_before(session, product, answer, reviewer)) is not None:
        return said
    category = _category(session, product, answer)
    state = _audited_by(session, product, answer.verdict)
    accepted = product.suggestion
    review = reviews.add_review(
        session,
        product,
        verdict=answer.verdict,
        category=category,
        reviewer=reviewer,
        action=action,
        now=now,
    )
    _move(product, answer.verdict, category, now=now)
    desk.release(session, reviewer, [product.id])
    moved = None
    if state is not None and accepted is not None:
        right = reviews.taxonomy(session, state.retailer_id).covers(accepted, review.category)
        autopilots.add_verdict(
            session,
            review.id,
            retailer_id=state.retailer_id,
            model_id=state.model_id,
            accepted=accepted,
            wrong=not right,
            share=product.audit_share,
            accepted_at=product.tagged_at,
        )
        moved = _reconsidered(session, state, now=now)
    session.flush()
    return Recorded(
        review_id=review.id,
        status=product.status,
        category=product.category,
        autopilot=moved,
    )


def _undo(
    session: Session, product: Product, review: Review, who: str, action: str, *, now: dt.datetime
) -> Recorded:
    """Put a locked product back to where it stood before `review`."""
    newest = reviews.standing(session, product.id)
    if newest is None or newest.id != review.id:
        later = (
            "it was taken back already"
            if newest is None or newest.id < review.id
            else (f"{newest.reviewer} decided on it since")
        )
        raise ReviewError(f"the review of {product.sku!r} cannot be undone: {later}")
    if review.undoes_id is not None or review.before is None:
        raise ReviewError(
            f"the review of {product.sku!r} cannot be undone: it does not say what was before"
        )
    if (product.image_set, product.prediction_id) != (review.image_set, review.prediction_id):
        raise ReviewError(
            f"the review of {product.sku!r} cannot be undone: its photos or its suggestion changed "
            "since; look at it anew"
        )
    # Compared as it was kept, not with the review's own time: clocks of machines differ.
    if review.before.get("tagged_at", at := reviews.tagged_at(product)) != at:
        raise ReviewError(
            f"the review of {product.sku!r} cannot be undone: it was classified again since; "
            "look at it anew"
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
    session.flush()
    return Recorded(
        review_id=undoing.id,
        status=product.status,
        category=product.category,
        autopilot=None if state is None else _reconsidered(session, state, now=now),
    )


def _delivered(product: Product | None) -> int:
    return 0 if product is None else product.id


def _tried(session: Session, act: Callable[[], Recorded]) -> Recorded | AtelierError:
    """One answer of several: what is wrong with it leaves no trace and stops no other."""
    try:
        with session.begin_nested():
            return act()
    except AtelierError as error:
        return error


def _heard(product: Product, review: Review, who: str, *, undone: bool) -> Recorded | AtelierError:
    """For a product that this act brought a review already: nothing, if it is the same act."""
    if (review.reviewer, review.undoes_id is not None) != (who, undone):
        return ReviewError(
            f"another act of this name brought {product.sku!r} a review; give each a new one"
        )
    return _repeated(product, review)


def _repeated(product: Product, review: Review) -> Recorded:
    return Recorded(
        review_id=review.id, status=product.status, category=product.category, repeated=True
    )


def _require_action(action: str) -> None:
    if not re.fullmatch(r"[0-9A-Za-z-]{8,36}", action):
        raise ReviewError(f"{action!r} names no act; give a UUID, a new one for each act")


def person(name: str) -> str:
    """The name of who decides, without blanks around it.

    Raises:
        ReviewError: it is empty, too long or cannot be printed.
    """
    stripped = name.strip()
    if not stripped or len(stripped) > NAME_CHARS or not stripped.isprintable():
        raise ReviewError(
            f"{name!r} names no person; give 1 to {NAME_CHARS} printable characters, so that it "
            "is on record who decided"
        )
    return stripped


def _again(session: Session, product: Product, answer: Answer, reviewer: str) -> Recorded:
    """For a product that a person decided on: the same answer again changes nothing."""
    last = reviews.last_review(session, product.id)
    if last is None:
        raise ReviewError(f"{product.sku!r} is reviewed, but its review is missing")
    said = last.category if answer.verdict is Verdict.CONFIRMED else answer.category
    if (last.reviewer, last.image_set, last.verdict, last.category) == (
        reviewer,
        answer.image_set,
        answer.verdict,
        said,
    ):
        return _repeated(product, last)
    decided = last.verdict.value if last.category is None else f"{last.verdict}: {last.category}"
    raise ReviewError(
        f"{last.reviewer} decided on {product.sku!r} at {last.created_at:%Y-%m-%d %H:%M} UTC "
        f"({decided}); a decision stands until it is undone"
    )


def _unsure_before(
    session: Session, product: Product, answer: Answer, reviewer: str
) -> Recorded | None:
    """Who was unsure of it and is so again, with nothing new to see, says nothing new."""
    if answer.verdict is not Verdict.UNSURE or product.status is not Status.NEEDS_REVIEW:
        return None
    last = reviews.last_review(session, product.id)
    if last is None or (
        last.reviewer,
        last.verdict,
        last.image_set,
        last.prediction_id,
        last.undoes_id,
    ) != (reviewer, Verdict.UNSURE, answer.image_set, answer.prediction_id, None):
        return None
    return _repeated(product, last)


def _require_open(product: Product) -> None:
    if product.status is Status.QUEUED:
        raise ReviewError(f"{product.sku!r} is being classified; wait until it is and look again")
    if product.status is Status.FAILED:
        raise ReviewError(
            f"{product.sku!r} failed ({product.failure_code}), so there is no photo to look at; "
            "deliver another one"
        )


def _require_seen(product: Product, answer: Answer) -> None:
    if answer.image_set != product.image_set:
        raise ReviewError(
            f"the photos of {product.sku!r} changed since they were looked at; look again and "
            "answer for the new ones"
        )
    if answer.prediction_id != product.prediction_id:
        raise ReviewError(
            f"{product.sku!r} was classified again since it was looked at; look again and answer "
            "for the new suggestion"
        )


def _category(session: Session, product: Product, answer: Answer) -> str | None:
    """What the answer puts in force, checked against the retailer's taxonomy."""
    if answer.verdict is not Verdict.CORRECTED:
        if answer.category is not None:
            raise ReviewError(
                f"the verdict {answer.verdict} on {product.sku!r} goes without a category, got "
                f"{answer.category!r}; leave it out, or say corrected"
            )
        if answer.verdict is not Verdict.CONFIRMED:
            return None
        if product.suggestion is None:
            raise ReviewError(
                f"{product.sku!r} has no suggestion to confirm yet; wait until it is classified, "
                "or say corrected with the category"
            )
        return product.suggestion
    known = reviews.taxonomy(session, answer.retailer_id).leaves
    if answer.category is None or answer.category not in known:
        some = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        raise ReviewError(
            f"{answer.category!r} is no category of this retailer ({product.sku!r}); it has {some}"
        )
    if answer.category == product.suggestion:
        raise ReviewError(
            f"{answer.category!r} is what was suggested for {product.sku!r}; say confirmed"
        )
    return answer.category


def _audited_by(session: Session, product: Product, verdict: Verdict) -> AutopilotState | None:
    """The locked autopilot whose tag the verdict judges, if it judges one.

    Somebody who is unsure says nothing of the tag. A tag that was accepted before the autopilot
    was last turned on is no evidence on what it accepts since.
    """
    if not product.audit or verdict is Verdict.UNSURE or product.prediction_id is None:
        return None
    model_id = reviews.model_of(session, product.prediction_id)
    row = autopilots.lock(session, product.retailer_id, model_id)
    since = autopilots.stretch(session, product.retailer_id, model_id).since
    if since is not None and (product.tagged_at is None or product.tagged_at <= since):
        return None
    return row


def _move(product: Product, verdict: Verdict, category: str | None, *, now: dt.datetime) -> None:
    product.updated_at = now
    if verdict is not Verdict.UNSURE:
        product.status, product.category = Status.REVIEWED, category
        product.decided_by, product.review_reason = "person", None
    elif product.status is Status.TAGGED:
        # Nobody stands behind the tag any more, so it is not published.
        product.status, product.review_reason = Status.NEEDS_REVIEW, ReviewReason.REQUESTED
        product.category = product.decided_by = None


def _reconsidered(session: Session, row: AutopilotState, *, now: dt.datetime) -> Next | None:
    target = autopilots.target_of(session, row.retailer_id, models.get_model(session, row.model_id))
    return autopilots.reconsider(session, row, target=target, now=now)
