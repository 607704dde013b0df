"""Where a second opinion differs from what was decided: an administrator looks, and settles it."""

from __future__ import annotations

import datetime as dt

from tagging.answers import Answer, Recorded, person, repeated, require_action
from tagging.database import autopilots, opinions, reviews
from tagging.database.opinions import Disagreement
from tagging.database.session import Database
from tagging.database.tables import Review
from tagging.domain import Verdict
from tagging.errors import NotFoundError, ReviewError
from tagging.review import reconsidered, record
from tagging.undo import undo

MOST_LISTED = 200


def disagreements(
    database: Database, retailer_id: int, *, most: int = MOST_LISTED
) -> list[Disagreement]:
    """What people said differently of and nobody settled, oldest first."""
    with database.read() as session:
        return opinions.disagreements(session, retailer_id, most=most)


def settle(
    database: Database,
    retailer_id: int,
    sku: str,
    *,
    category: str | None,
    by: str,
    action: str,
    now: dt.datetime,
    about: int | None = None,
) -> Recorded:
    """Decide what a product is that two people said different things of.

    One transaction takes the first decision back and records this one in its place, also where it
    says the same. What it says of an accepted tag takes the place of what the first said of it, and
    the evidence is weighed once, after both.

    Args:
        category: what it is; None where it is not a product.
        action: the act's name, made by who sends it; sent again it changes nothing.
        about: the id of the decision (a review) that was looked at; None for what stands now.

    Raises:
        NotFoundError: the retailer has no such product.
        ReviewError: nobody disagrees on it (any more), not about that decision, or there is no such
            category.
    """
    require_action(action)
    who = person(by)
    with database.write("review.settle") as session:
        product = reviews.lock_product(session, retailer_id, sku)
        if product is None:
            raise NotFoundError(
                f"this retailer has no product {sku!r}; `atelier products list` shows them"
            )
        known = reviews.of_action(session, action)
        if product.id in known:
            return repeated(product, known[product.id])
        found = opinions.disagreements(session, retailer_id, sku=sku, most=1)
        if not found:
            raise ReviewError(
                f"nobody disagrees on {sku!r}, or it was settled already; `atelier review "
                "disagreements` lists what is open"
            )
        if about not in (None, found[0].review_id):
            raise ReviewError(f"somebody decided on {sku!r} again since; look at it once more")
        first = session.get_one(Review, found[0].review_id)
        answer = Answer(
            retailer_id=retailer_id,
            sku=sku,
            image_set=product.image_set,
            prediction_id=product.prediction_id,
            verdict=_verdict(category, product.suggestion),
            category=None if category == product.suggestion else category,
            reviewer=who,
        )
        undo(session, product, first, who, None, now=now, weigh=False)
        recorded = record(session, product, answer, who, action=action, now=now, ask=False)
        audited = autopilots.audited(session, first.id)
        if audited is not None and autopilots.audited(session, recorded.review_id) is None:
            # The evidence is one less, and nothing took its place.
            reconsidered(session, autopilots.lock(session, *audited), now=now)
        session.commit()
        return recorded


def _verdict(category: str | None, suggestion: str | None) -> Verdict:
    if category is None:
        return Verdict.NOT_A_PRODUCT
    return Verdict.CONFIRMED if category == suggestion else Verdict.CORRECTED
