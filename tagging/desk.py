"""What is put before a person: products that wait, with all that is needed to decide on them.

A product that is shown to one person is reserved for them and shown to nobody else meanwhile. A
reservation is a courtesy, not a lock: it runs out by itself, and a verdict that comes later counts
if nobody else gave one (`tagging.review`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from tagging.database import desk
from tagging.database.desk import Order, Waiting
from tagging.database.session import Database
from tagging.review import person

RESERVED_S: Final = 120.0
"""How long a product that was shown to one person is shown to nobody else."""

MOST_CARDS: Final = 96


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person wants to decide on next.

    `audit`: accepted tags of the audit sample instead of what waits. `suggestion`: only what the
    model takes for this category. `but`: keys of products that they have before them already.
    """

    count: int
    order: Order = Order.CHEAPEST
    audit: bool = False
    suggestion: str | None = None
    but: Collection[int] = ()


def take(
    database: Database, retailer_id: int, reviewer: str, wish: Wish, *, now: dt.datetime
) -> list[Waiting]:
    """Reserve the next products for a person; fewer than wished if no more wait.

    Raises:
        ReviewError: `reviewer` is no name.
        ValueError: fewer than 1 or more than `MOST_CARDS` are wished.
    """
    who = person(reviewer)
    if not 1 <= wish.count <= MOST_CARDS:
        raise ValueError(f"between 1 and {MOST_CARDS} products can be taken, not {wish.count}")
    with database.write() as session:
        taken = desk.hand_out(
            session,
            retailer_id,
            who,
            count=wish.count,
            order=wish.order,
            now=now,
            until=now + dt.timedelta(seconds=RESERVED_S),
            audit=wish.audit,
            suggestion=wish.suggestion,
            but=wish.but,
        )
        session.commit()
    with database.read() as session:
        return desk.waiting(session, taken)


def keep(
    database: Database, reviewer: str, product_ids: Collection[int], *, now: dt.datetime
) -> set[int]:
    """Reserve anew what a person still has before them; the keys that are still theirs."""
    who = person(reviewer)
    with database.write() as session:
        kept = desk.reserve(
            session,
            product_ids,
            who,
            now=now,
            until=now + dt.timedelta(seconds=RESERVED_S),
        )
        session.commit()
    return kept


def leave(database: Database, reviewer: str, product_ids: Collection[int] | None = None) -> None:
    """Give back what a person has before them and does not decide on: these products, or all."""
    who = person(reviewer)
    with database.write() as session:
        desk.release(session, who, product_ids)
        session.commit()


def counts(database: Database, retailer_id: int) -> dict[str, Any]:
    """How many products wait, by reason and by suggested category, and how many are audited."""
    with database.read() as session:
        return desk.counts(session, retailer_id)
