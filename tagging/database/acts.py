"""What a person said last, act by act: every query on it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from tagging.database.products import images_of
from tagging.database.tables import Opinion, Product, Review
from tagging.domain import Verdict

PAGE: Final = 500


@dataclass(frozen=True, kw_only=True)
class Said:
    """What was said of one product. `category`: what it was decided to be. `image`: a sha256."""

    product_id: int
    sku: str
    title: str | None
    verdict: Verdict
    category: str | None
    image: str


@dataclass(frozen=True, kw_only=True)
class Act:
    """What a person said at once and that stands. `action`: its name, by which it is undone."""

    action: str
    at: dt.datetime
    said: list[Said]


def newest_of(session: Session, retailer_id: int, reviewer: str, *, most: int) -> list[Act]:
    """A person's newest acts, decisions and opinions alike: they are not told which is which.

    By the indexes on (reviewer, id), some hundred rows at a time.
    """
    found = [
        *_newest(session, Review, retailer_id, reviewer, most=most),
        *_newest(session, Opinion, retailer_id, reviewer, most=most),
    ]
    whole: dict[str, Act] = {}
    for act in found:
        # Both kinds in one act, where cards of both were answered at once.
        known = whole.setdefault(act.action, act)
        if known is not act:
            known.said.extend(act.said)
    return sorted(whole.values(), key=lambda act: act.at, reverse=True)[:most]


def _newest(
    session: Session,
    table: type[Review | Opinion],
    retailer_id: int,
    reviewer: str,
    *,
    most: int,
) -> list[Act]:
    undo = aliased(table)
    query = (
        sa.select(
            table.id,
            table.action,
            table.created_at,
            table.verdict,
            table.category,
            table.image_set,
            Product.id.label("product_id"),
            Product.sku,
            Product.title,
        )
        .join(Product, Product.id == table.product_id)
        .where(
            table.reviewer == reviewer,
            table.action.is_not(None),
            table.undoes_id.is_(None),
            Product.retailer_id == retailer_id,
            ~sa.exists().where(undo.undoes_id == table.id),
        )
        .order_by(table.id.desc())
        .limit(PAGE)
    )
    acts: dict[str, Act] = {}
    below: int | None = None
    # One more than is wished: of the last one, rows may be on the next page.
    while len(acts) <= most:
        page = session.execute(query if below is None else query.where(table.id < below)).all()
        images = images_of(session, [row.image_set for row in page])
        for row in page:
            act = acts.setdefault(row.action, Act(action=row.action, at=row.created_at, said=[]))
            act.said.append(
                Said(
                    product_id=row.product_id,
                    sku=row.sku,
                    title=row.title,
                    verdict=row.verdict,
                    category=row.category,
                    image=images[row.image_set][0],
                )
            )
        if len(page) < PAGE:
            return list(acts.values())
        below = page[-1].id
    return list(acts.values())[:most]
