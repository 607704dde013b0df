"""What is put before a person: products that wait, with all that is needed to decide on them.

A product that is shown to one person is reserved for them and shown to nobody else meanwhile. A
reservation is a courtesy, not a lock: it runs out by itself, and a verdict that comes later counts
if nobody else gave one (`tagging.review`).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tagging import likeness, opinions
from tagging.answers import person
from tagging.database import acts, desk, products
from tagging.database import opinions as opinion_rows
from tagging.database.acts import Act
from tagging.database.desk import Neighbour, Order, Waiting
from tagging.database.session import Database
from tagging.likeness import laid_out, most_alike

RESERVED_S: Final = 120.0
"""How long a product that was shown to one person is shown to nobody else."""

MOST_CARDS: Final = 96

POOL: Final = 4
"""How many times as many products are looked at as are put together for being alike."""

UNDOABLE: Final = 50
"""Acts that a person is shown of what they said last."""

NEIGHBOURS_AMONG: Final = 200
"""How many of the newest products of a category are looked at for neighbours."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person wants to decide on next.

    `audit`: accepted tags of the audit sample instead of what waits. `suggestion`: only what the
    model takes for this category. `but`: keys of products that they have before them already.
    `opinions`: whether cards may come in between on which others decided (`tagging.opinions`).
    """

    count: int
    order: Order = Order.CHEAPEST
    audit: bool = False
    suggestion: str | None = None
    but: Collection[int] = ()
    opinions: bool = True


def take(
    database: Database, retailer_id: int, reviewer: str, wish: Wish, *, now: dt.datetime
) -> list[Waiting]:
    """Reserve the next products for a person; fewer than wished if no more wait.

    Where the retailer's rules ask for opinions, cards for these come in between, over and above
    what is wished (`tagging.opinions`).

    Raises:
        ReviewError: `reviewer` is no name.
        ValueError: fewer than 1 or more than `MOST_CARDS` are wished.
    """
    who = person(reviewer)
    _require_count(wish.count)
    until = now + dt.timedelta(seconds=RESERVED_S)
    with database.write("desk.take") as session:
        taken = desk.hand_out(
            session,
            retailer_id,
            who,
            count=wish.count,
            order=wish.order,
            now=now,
            until=until,
            audit=wish.audit,
            suggestion=wish.suggestion,
            but=wish.but,
        )
        mixed: list[tuple[int, int | None]] = [(product, None) for product in taken]
        if wish.opinions:
            mixed = opinions.mix_in(
                session,
                retailer_id,
                who,
                taken,
                count=wish.count,
                most=MOST_CARDS,
                audit=wish.audit,
                suggestion=wish.suggestion,
                but=wish.but,
                now=now,
                until=until,
            )
        session.commit()
    with database.read() as session:
        found = desk.waiting(session, taken)
        about = [(product, review) for product, review in mixed if review is not None]
        found += opinion_rows.cards(session, about)
    place = {product: number for number, (product, _) in enumerate(mixed)}
    return sorted(found, key=lambda one: place[one.product_id])


def take_alike(
    database: Database, retailer_id: int, reviewer: str, wish: Wish, *, now: dt.datetime
) -> list[Waiting]:
    """Reserve products that can be looked over at once, laid out so that like stands by like.

    They are of one suggested category: the wished one, or that of the product that comes first in
    the wished order. Of several times as many as are wished, in that order, those are taken that
    look most like the first one to the model. The audit sample is taken as `take` takes it,
    whatever is in it, and only laid out by category and likeness: which come first must have
    nothing to do with the tags.

    Raises:
        ReviewError: `reviewer` is no name.
        ValueError: fewer than 1 or more than `MOST_CARDS` are wished.
    """
    if wish.audit:
        # A grid asks one question, and its answers are decisions.
        wish = dataclasses.replace(wish, opinions=False)
        found = take(database, retailer_id, reviewer, wish, now=now)
        with database.read() as session:
            return _by_category(
                found, desk.features(session, retailer_id, [one.product_id for one in found])
            )
    who = person(reviewer)
    _require_count(wish.count)
    until = now + dt.timedelta(seconds=RESERVED_S)
    but = set(wish.but)
    taken: list[int] = []
    features: dict[int, bytes] = {}
    with database.write("desk.take_alike") as session:
        while len(taken) < wish.count:
            pool = desk.alike_candidates(
                session,
                retailer_id,
                who,
                count=POOL * wish.count,
                order=wish.order,
                now=now,
                suggestion=wish.suggestion,
                but=but,
            )
            if not pool:
                break
            features |= desk.features(session, retailer_id, pool)
            seen = likeness.directions(features, pool)
            chosen = [pool[row] for row in most_alike(seen, 0, wish.count - len(taken))]
            got = desk.reserve(session, chosen, who, now=now, until=until)
            # At once, as in `hand_out`.
            session.commit()
            taken += [product_id for product_id in chosen if product_id in got]
            if got and wish.suggestion is None:
                # Others of the same category only: a grid asks one question.
                wish = dataclasses.replace(wish, suggestion=desk.suggestion_of(session, taken[0]))
            but |= set(chosen)
        session.commit()
    with database.read() as session:
        return _by_category(desk.waiting(session, taken), features)


def neighbours(
    database: Database, retailer_id: int, product_id: int, *, count: int = 4
) -> list[Neighbour]:
    """Products whose category a model was trusted with or a person decided on, and that is what is
    suggested for this one: of the newest, those that look most like it to the model.

    Raises:
        NotFoundError: the retailer has no such product.
    """
    with database.read() as session:
        near = desk.newest_of_suggestion(session, retailer_id, product_id, most=NEIGHBOURS_AMONG)
        keys = [product_id, *(one.product_id for one in near)]
        seen = likeness.directions(desk.features(session, retailer_id, keys), keys)
    return [near[row - 1] for row in most_alike(seen, 0, count + 1) if row > 0]


def take_again(
    database: Database, retailer_id: int, reviewer: str, product_id: int, *, now: dt.datetime
) -> Waiting | None:
    """Reserve one product that a person had before them, to be looked at as it is now.

    None where nobody may decide on it now (decided, in work, another retailer's) or somebody else
    has it.
    """
    who = person(reviewer)
    with database.write("desk.take_again") as session:
        if not desk.waits(session, retailer_id, product_id):
            return None
        kept = desk.reserve(
            session,
            [product_id],
            who,
            now=now,
            until=now + dt.timedelta(seconds=RESERVED_S),
        )
        session.commit()
    with database.read() as session:
        found = desk.waiting(session, sorted(kept))
    return found[0] if found else None


def keep(
    database: Database, reviewer: str, product_ids: Collection[int], *, now: dt.datetime
) -> set[int]:
    """Reserve anew what a person still has before them; the keys that are still theirs, and on
    which nobody decided meanwhile.
    """
    who = person(reviewer)
    with database.write("desk.keep") as session:
        kept = desk.reserve(
            session,
            desk.to_keep(session, who, product_ids),
            who,
            now=now,
            until=now + dt.timedelta(seconds=RESERVED_S),
        )
        session.commit()
    return kept


def hand_back(
    database: Database, reviewer: str, product_ids: Collection[int], *, now: dt.datetime
) -> None:
    """Reserve what a person took back what they said of, unless somebody else has it by now."""
    who = person(reviewer)
    with database.write("desk.hand_back") as session:
        desk.reserve(
            session,
            products.existing(session, product_ids),
            who,
            now=now,
            until=now + dt.timedelta(seconds=RESERVED_S),
        )
        session.commit()


def said_by(database: Database, retailer_id: int, reviewer: str) -> list[Act]:
    """What a person said last and did not take back, the newest first; `UNDOABLE` acts."""
    who = person(reviewer)
    with database.read() as session:
        return acts.newest_of(session, retailer_id, who, most=UNDOABLE)


def leave(database: Database, reviewer: str, product_ids: Collection[int] | None = None) -> None:
    """Give back what a person has before them and does not decide on: these products, or all."""
    who = person(reviewer)
    with database.write("desk.leave") as session:
        desk.release(session, who, product_ids)
        session.commit()


def counts(database: Database, retailer_id: int) -> dict[str, Any]:
    """How many products wait, by reason and by suggested category, and how many are audited."""
    with database.read() as session:
        return desk.counts(session, retailer_id)


def _require_count(count: int) -> None:
    if not 1 <= count <= MOST_CARDS:
        raise ValueError(f"between 1 and {MOST_CARDS} products can be taken, not {count}")


def _by_category(found: Sequence[Waiting], features: Mapping[int, bytes]) -> list[Waiting]:
    """Category by category, the most frequent first, and in each like by like."""
    groups: dict[str, list[Waiting]] = {}
    for one in found:
        groups.setdefault(one.category or one.suggestion or "", []).append(one)
    return [
        group[row]
        for group in sorted(groups.values(), key=len, reverse=True)
        for row in laid_out(likeness.directions(features, [one.product_id for one in group]))
    ]
