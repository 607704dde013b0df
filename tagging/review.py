"""record_review: what a person says of a product, and what follows from it.

One short transaction appends the review, moves the product, and, where the product is of the audit
sample, counts the verdict as evidence and moves the autopilot. An opinion (`tagging.opinions`) is
recorded beside what is in force, and moves nothing. The products' rows are locked first,
in the order of their keys, then the autopilot's; so do all who lock both. `tagging.undo` takes
reviews back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import partial

from sqlalchemy.orm import Session

from tagging import opinions
from tagging.answers import (
    Answer,
    Opined,
    Recorded,
    category_of,
    heard,
    person,
    repeated,
    require_action,
    require_open,
    require_seen,
    tried,
)
from tagging.autopilot import Next
from tagging.database import autopilots, desk, models, priorities, reviews
from tagging.database import opinions as opinion_rows
from tagging.database.session import Database
from tagging.database.tables import AutopilotState, Product
from tagging.domain import Purpose, ReviewReason, Status, Verdict
from tagging.errors import AtelierError, NotFoundError, ReviewError


def record_review(database: Database, answer: Answer, *, now: dt.datetime) -> Recorded:
    """Append the answer and do what follows from it, all or nothing.

    Raises:
        NotFoundError: the retailer has no such product.
        ReviewError: the answer makes no sense, or is about what is no longer so: other photos,
            another prediction, or somebody decided already.
    """
    reviewer = person(answer.reviewer)
    with database.write("review.one") as session:
        product = reviews.lock_product(session, answer.retailer_id, answer.sku)
        recorded = record(session, product, answer, reviewer, action=None, now=now)
        session.commit()
        return recorded


def record_reviews(
    database: Database, answers: Sequence[Answer], *, action: str, now: dt.datetime
) -> list[Recorded | Opined | AtelierError]:
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
    require_action(action)
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
    with database.write("review.act") as session:
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
        known_opinions = opinion_rows.of_action(session, action)
        done: dict[str, Recorded | Opined | AtelierError] = {}
        # In the order of their delivery, whatever the page's was: audit verdicts are weighed in the
        # order of their rows, which must have nothing to do with the tags.
        for answer in sorted(answers, key=lambda one: _delivered(found.get(one.sku))):
            product = found.get(answer.sku)
            if product is not None and product.id in known:
                done[answer.sku] = heard(product, known[product.id], reviewer, undone=False)
                continue
            if product is not None and product.id in known_opinions:
                done[answer.sku] = opinions.heard(
                    session, known_opinions[product.id], reviewer, undone=False
                )
                continue
            saying = partial(_said, session, product, answer, reviewer, action=action, now=now)
            done[answer.sku] = tried(session, saying)
        session.commit()
        return [done[answer.sku] for answer in answers]


def _delivered(product: Product | None) -> int:
    return 0 if product is None else product.id


def _said(
    session: Session,
    product: Product | None,
    answer: Answer,
    reviewer: str,
    *,
    action: str,
    now: dt.datetime,
) -> Recorded | Opined:
    """Record an answer for what it is."""
    if answer.purpose is Purpose.OPINION and product is not None:
        about = opinions.about(session, product, reviewer)
        if about is not None:
            return opinions.record(
                session, product, about, answer, reviewer, action=action, now=now
            )
        # Who was asked for an opinion looked at the same as who decides, so where nothing is
        # decided any more, it is as good a decision as any.
    return record(session, product, answer, reviewer, action=action, now=now)


def record(
    session: Session,
    product: Product | None,
    answer: Answer,
    reviewer: str,
    *,
    action: str | None,
    now: dt.datetime,
    ask: bool = True,
) -> Recorded:
    """What `record_review` does with a locked product. `ask`: a second opinion, if drawn."""
    if product is None:
        raise NotFoundError(
            f"this retailer has no product {answer.sku!r}; `atelier products list` shows them"
        )
    if product.status is Status.REVIEWED:
        return _again(session, product, answer, reviewer)
    require_open(product, answer)
    require_seen(product, answer)
    if (said := _unsure_before(session, product, answer, reviewer)) is not None:
        return said
    category = category_of(session, product, answer)
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
    _move(session, product, answer.verdict, category, now=now)
    desk.release(session, reviewer, [product.id])
    if ask:
        opinions.draw(session, product, review, now=now)
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
        moved = reconsidered(session, state, now=now)
    session.flush()
    return Recorded(
        review_id=review.id,
        status=product.status,
        category=product.category,
        autopilot=moved,
    )


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
        return repeated(product, last)
    decided = last.verdict.value if last.category is None else f"{last.verdict}: {last.category}"
    raise ReviewError(
        f"{last.reviewer} decided on {product.sku!r} at {last.created_at:%Y-%m-%d %H:%M} UTC "
        f"({decided}); a decision stands until it is undone",
        why="decided",
        who=last.reviewer,
        at=last.created_at.isoformat(),
        verdict=last.verdict,
        category=last.category,
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
    return repeated(product, last)


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


def _move(
    session: Session,
    product: Product,
    verdict: Verdict,
    category: str | None,
    *,
    now: dt.datetime,
) -> None:
    product.updated_at = now
    if verdict is not Verdict.UNSURE:
        product.status, product.category = Status.REVIEWED, category
        product.decided_by, product.review_reason = "person", None
    elif product.status is Status.TAGGED:
        # Nobody stands behind the tag any more, so it is not published.
        product.status, product.review_reason = Status.NEEDS_REVIEW, ReviewReason.REQUESTED
        product.category = product.decided_by = None
        priorities.renew(session, product)


def reconsidered(session: Session, row: AutopilotState, *, now: dt.datetime) -> Next | None:
    target = autopilots.target_of(session, row.retailer_id, models.get_model(session, row.model_id))
    return autopilots.reconsider(session, row, target=target, now=now)
