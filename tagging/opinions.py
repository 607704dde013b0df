"""Opinions: what a person says of a product that another has decided on, and which moves nothing.

Of what people decide, a keyed hash picks a share (`second_opinion_share`) on which another person
is asked, too: that says how far people agree (`tagging.agreement`), and finds mistakes
(`tagging.disagreements`). And an administrator may mark decisions as known, which are put among the
cards of others (`known_answer_share`) to score them. Who is asked sees what who decided saw and not
what they said, and is told neither which of the two it is nor that they were not the first.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy.orm import Session

from tagging.answers import Answer, Opined, category_of, require_seen
from tagging.database import autopilots, desk, reviews, rules
from tagging.database import opinions as rows
from tagging.database.opinions import Asked
from tagging.database.tables import Opinion, Product, Review
from tagging.domain import OpinionKind, Status, Verdict
from tagging.errors import ReviewError

FASTER: Final = 2.0
"""Second opinions are asked so many times as fast as they arise: what arose while nobody else was
there to be asked is caught up with."""


def drawn(key: bytes, *named: int | str) -> float:
    """A number in [0, 1) that looks random to who does not have the key, and is always the same.

    `named`: begins with what it is for, so that no two uses of a key have anything in common.
    """
    digest = hmac.digest(key, json.dumps(named).encode(), hashlib.sha256)
    # 53 bits: all that a float holds, so that it stays below 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def in_second_sample(
    key: bytes, *, product_id: int, image_set: str, review_id: int, share: float
) -> bool:
    """Whether another person is asked about a decision, too; a larger share contains a smaller."""
    return drawn(key, "second opinion", product_id, image_set, review_id) < share


def draw(session: Session, product: Product, review: Review, *, now: dt.datetime) -> None:
    """Put a fresh decision on the list of those that another person is asked about, if it is drawn.

    Only what people are shown: one that was decided from a file while it was tagged would stand out
    among the cards.
    """
    before = {} if review.before is None else review.before
    if review.verdict is Verdict.UNSURE or not (
        product.audit or before.get("status") == Status.NEEDS_REVIEW
    ):
        return
    if _is_in_sample(session, product, review, now=now):
        rows.want(session, review, product.retailer_id)


def mix_in(
    session: Session,
    retailer_id: int,
    reviewer: str,
    decisions: Sequence[int],
    *,
    count: int,
    most: int,
    audit: bool,
    suggestion: str | None,
    but: Collection[int],
    now: dt.datetime,
    until: dt.datetime,
) -> list[tuple[int, int | None]]:
    """Products for a person's cards: those that they decide on, and opinions in between.

    Behind which card one comes is drawn by the key, so the same cards taken again bring no more;
    behind each comes at most one second opinion and one known answer. Where fewer decisions wait
    than are wished, second opinions fill the hand-out; known answers come with decisions only.

    Args:
        decisions: keys of the products that were handed out to them.
        count: how many they wished.
        most: products in all.

    Returns:
        (product's key, key of the decision that the opinion is about or None), in order. What is
        asked is reserved for them.
    """
    asked_for = rules.in_force(session, retailer_id)
    second, known = asked_for.second_opinion_share, asked_for.known_answer_share
    if not second and not known:
        return [(product_id, None) for product_id in decisions]
    key = autopilots.audit_key(session, retailer_id, now=now)
    behind = {
        kind: [
            product_id
            for product_id in decisions
            if drawn(key, "opinion card", kind.value, retailer_id, reviewer, product_id) < share
        ]
        for kind, share in (
            (OpinionKind.SECOND, FASTER * second),
            (OpinionKind.KNOWN, known),
        )
    }
    room = most - len(decisions)
    asked = Asked(
        retailer_id=retailer_id,
        reviewer=reviewer,
        audit=audit,
        suggestion=suggestion,
        but={*but, *decisions},
        now=now,
    )
    known_most = min(len(behind[OpinionKind.KNOWN]), room)
    knowns = rows.known(session, asked, most=known_most) if known_most else []
    spare = max(count - len(decisions) - len(knowns), len(behind[OpinionKind.SECOND]))
    seconds: list[tuple[int, int]] = []
    if second and (second_most := min(spare, room - len(knowns))) > 0:
        taken = {product_id for product_id, _ in knowns}
        found = rows.wanted(session, asked, most=second_most + len(taken))
        seconds = [one for one in found if one[0] not in taken][:second_most]
    ids = [product_id for product_id, _ in (*knowns, *seconds)]
    reserved = desk.reserve(session, ids, reviewer, now=now, until=until)
    left = {
        OpinionKind.KNOWN: [one for one in knowns if one[0] in reserved],
        OpinionKind.SECOND: [one for one in seconds if one[0] in reserved],
    }
    mixed: list[tuple[int, int | None]] = []
    for product_id in decisions:
        mixed.append((product_id, None))
        for kind, places in behind.items():
            if product_id in places and left[kind]:
                mixed.append(left[kind].pop(0))
    return [*mixed, *left[OpinionKind.KNOWN], *left[OpinionKind.SECOND]]


def about(session: Session, product: Product, reviewer: str) -> Review | None:
    """The decision that a person may have an opinion on; None where there is none of another's."""
    if product.status is not Status.REVIEWED:
        return None
    review = reviews.standing(session, product.id)
    return None if review is None or review.reviewer == reviewer else review


def record(
    session: Session,
    product: Product,
    about: Review,
    answer: Answer,
    reviewer: str,
    *,
    action: str,
    now: dt.datetime,
) -> Opined:
    """Append an opinion on a locked product beside the decision that stands; nothing moves.

    Raises:
        ReviewError: nobody asked for one, they gave another one already, or the answer makes no
            sense of the product as it stands.
    """
    require_seen(product, answer)
    kind = _asked_kind(session, product, about, now=now)
    if kind is None:
        raise ReviewError(
            f"{about.reviewer} decided on {product.sku!r} at {about.created_at:%Y-%m-%d %H:%M} "
            "UTC, and no further opinion is asked",
            why="decided",
            who=about.reviewer,
            at=about.created_at.isoformat(),
            verdict=about.verdict,
            category=about.category,
        )
    category = category_of(session, product, answer)
    said = rows.standing(session, about.id)
    mine = next((one for one in said if one.reviewer == reviewer), None)
    if mine is not None:
        if (mine.verdict, mine.category) != (answer.verdict, category):
            raise ReviewError(
                f"you answered for {product.sku!r} at {mine.created_at:%Y-%m-%d %H:%M} UTC; take "
                "that back first",
                why="answered",
                at=mine.created_at.isoformat(),
            )
        return repeated(session, mine)
    row = rows.add(
        session,
        about,
        kind,
        verdict=answer.verdict,
        category=category,
        reviewer=reviewer,
        action=action,
        now=now,
    )
    if row.verdict is not Verdict.UNSURE:
        rows.unwant(session, about.id)
    desk.release(session, reviewer, [product.id])
    return _told(session, row)


def undo(
    session: Session, product: Product, opinion: Opinion, who: str, action: str, *, now: dt.datetime
) -> Opined:
    """Take an opinion on a locked product back; it is asked for again where it was wanted.

    Raises:
        ReviewError: it was taken back already, or what it was about does not stand any more.
    """
    if opinion.undoes_id is not None or rows.is_taken_back(session, opinion.id):
        raise ReviewError(
            f"the answer for {product.sku!r} was taken back already", why="taken_back"
        )
    review = about(session, product, opinion.reviewer)
    if review is None or review.id != opinion.about_review_id:
        raise ReviewError(
            f"the answer for {product.sku!r} cannot be undone: somebody decided on it since",
            why="changed_since",
        )
    row = rows.add(
        session,
        review,
        opinion.kind,
        verdict=opinion.verdict,
        category=opinion.category,
        reviewer=who,
        action=action,
        now=now,
        undoes_id=opinion.id,
    )
    left = [one for one in rows.standing(session, review.id) if one.verdict is not Verdict.UNSURE]
    if opinion.kind is OpinionKind.SECOND and not left:
        rows.want(session, review, product.retailer_id)
    return _told(session, row)


def heard(session: Session, opinion: Opinion, who: str, *, undone: bool) -> Opined | ReviewError:
    """For an opinion that this act brought already: nothing, if it is the same act."""
    if (opinion.reviewer, opinion.undoes_id is not None) != (who, undone):
        return ReviewError(
            "another act of this name brought an opinion on this product; give each a new one"
        )
    return repeated(session, opinion)


def repeated(session: Session, opinion: Opinion) -> Opined:
    """What was recorded before is told again."""
    return dataclasses.replace(_told(session, opinion), repeated=True)


def _told(session: Session, opinion: Opinion) -> Opined:
    """What a decision of the same words, or taking it back, would have brought."""
    if opinion.undoes_id is not None:
        before = session.get_one(Review, opinion.about_review_id).before or {}
        status = Status(before.get("status", Status.NEEDS_REVIEW))
        return Opined(opinion_id=opinion.id, status=status, category=before.get("category"))
    unsure = opinion.verdict is Verdict.UNSURE
    return Opined(
        opinion_id=opinion.id,
        status=Status.NEEDS_REVIEW if unsure else Status.REVIEWED,
        category=opinion.category,
    )


def _asked_kind(
    session: Session, product: Product, about: Review, *, now: dt.datetime
) -> OpinionKind | None:
    known = rows.known_of(session, product.id)
    if known is not None and known.review_id == about.id:
        return OpinionKind.KNOWN
    # One that came late, after another's, is as good: two people are compared with the first then.
    if rows.is_wanted(session, about.id) or _is_in_sample(session, product, about, now=now):
        return OpinionKind.SECOND
    return None


def _is_in_sample(session: Session, product: Product, review: Review, *, now: dt.datetime) -> bool:
    share = rules.in_force(session, product.retailer_id).second_opinion_share
    if not share:
        return False
    key = autopilots.audit_key(session, product.retailer_id, now=now)
    return in_second_sample(
        key,
        product_id=product.id,
        image_set=review.image_set,
        review_id=review.id,
        share=share,
    )
