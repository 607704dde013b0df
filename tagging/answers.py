"""What a person says of a product, and whether it makes sense of the product as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy.orm import Session

from tagging.autopilot import Next
from tagging.database import reviews
from tagging.database.tables import Product, Review
from tagging.domain import Purpose, Status, Verdict
from tagging.errors import AtelierError, ReviewError

NAME_CHARS: Final = 100

Done = TypeVar("Done")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a person says of a product, and what they saw when they said it.

    `category`: the right one, with `corrected` only. `image_set` and `prediction_id`: of the
    photos and the prediction that they looked at. `purpose`: as their card said.
    """

    retailer_id: int
    sku: str
    image_set: str
    prediction_id: int | None
    verdict: Verdict
    reviewer: str
    category: str | None = None
    purpose: Purpose = Purpose.DECIDE


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


@dataclass(frozen=True, kw_only=True)
class Opined:
    """What became of an opinion. `repeated`: the same person had said the same already.

    `status`, `category`: what a decision of the same words would have brought, for who gives an
    opinion is not told that somebody decided already. The product stays as it is.
    """

    opinion_id: int
    status: Status
    category: str | None
    repeated: bool = False


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


def require_action(action: str) -> None:
    if not re.fullmatch(r"[0-9A-Za-z-]{8,36}", action):
        raise ReviewError(f"{action!r} names no act; give a UUID, a new one for each act")


def tried(session: Session, act: Callable[[], Done]) -> Done | AtelierError:
    """One answer of several: what is wrong with it leaves no trace and stops no other."""
    try:
        with session.begin_nested():
            return act()
    except AtelierError as error:
        return error


def heard(product: Product, review: Review, who: str, *, undone: bool) -> Recorded | ReviewError:
    """For a product that this act brought a review already: nothing, if it is the same act."""
    if (review.reviewer, review.undoes_id is not None) != (who, undone):
        return ReviewError(
            f"another act of this name brought {product.sku!r} a review; give each a new one"
        )
    return repeated(product, review)


def repeated(product: Product, review: Review) -> Recorded:
    return Recorded(
        review_id=review.id, status=product.status, category=product.category, repeated=True
    )


def require_open(product: Product, answer: Answer) -> None:
    if product.status is Status.QUEUED and answer.image_set != product.image_set:
        raise ReviewError(
            f"the photos of {product.sku!r} changed since they were looked at; the new ones are "
            "being classified, and come to a person if the model is unsure of them",
            why="being_replaced",
        )
    if product.status is Status.QUEUED:
        raise ReviewError(
            f"{product.sku!r} is being classified; wait until it is and look again",
            why="being_classified",
        )
    if product.status is Status.FAILED:
        raise ReviewError(
            f"{product.sku!r} failed ({product.failure_code}), so there is no photo to look at; "
            "deliver another one"
        )


def require_seen(product: Product, answer: Answer) -> None:
    if answer.image_set != product.image_set:
        raise ReviewError(
            f"the photos of {product.sku!r} changed since they were looked at; look again and "
            "answer for the new ones",
            why="photos_changed",
        )
    if answer.prediction_id != product.prediction_id:
        raise ReviewError(
            f"{product.sku!r} was classified again since it was looked at; look again and answer "
            "for the new suggestion",
            why="classified_again",
        )


def category_of(session: Session, product: Product, answer: Answer) -> str | None:
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
