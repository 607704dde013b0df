"""Every query on retags: requests to classify products again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database import batches
from tagging.database.products import by_key_of
from tagging.database.tables import (
    Batch,
    BatchState,
    ImageSetImage,
    Model,
    Prediction,
    Product,
    Retag,
    RetagScope,
    RetagState,
    Retailer,
)
from tagging.domain import Status
from tagging.errors import NotFoundError

PAGE: Final = 1000
"""Products looked at, and put into batches, in one transaction: it holds up no writer for long."""


@dataclass(frozen=True, kw_only=True)
class SeenProduct:
    """A product as a retag finds it. `model_id`, `preprocessing_version`: behind its suggestion.

    `failed`: whether its photos could not be classified, be it at its end or waiting for a person.
    """

    product_id: int
    image_set: str
    status: Status
    delisted: bool
    model_id: int | None
    preprocessing_version: str | None
    failed: bool = False

    @property
    def without_suggestion(self) -> bool:
        """Whether it failed, or waits for a person without one. A batch may be about to give it
        one."""
        return self.status is Status.FAILED or (
            self.status is Status.NEEDS_REVIEW and self.model_id is None
        )


@dataclass(frozen=True, kw_only=True)
class RetagLine:
    """A retag as it is told. `model`: `name:version`, of the scope of this name.

    `looked_at`: products seen so far, the sum of the counts after it. `batches`: by their state;
    `classified`: products in those that are done.
    """

    id: int
    retailer: str
    scope: RetagScope
    model: str | None
    skus: list[str] | None
    state: RetagState
    looked_at: int
    queued: int
    not_asked: int
    in_work: int
    reviewed: int
    failed: int
    delisted: int
    batches: dict[str, int]
    classified: int
    requested_by: str
    created_at: dt.datetime
    finished_at: dt.datetime | None
    cancelled_by: str | None

    @property
    def complete(self) -> bool:
        """Whether nothing of it is left to be done."""
        return self.state is not RetagState.OPEN and not (
            self.batches[BatchState.QUEUED] or self.batches[BatchState.LEASED]
        )


def add(
    session: Session,
    retailer_id: int,
    scope: RetagScope,
    *,
    model_id: int | None = None,
    skus: Sequence[str] | None = None,
    by: str,
    now: dt.datetime,
) -> int:
    """Record a request about the products that there are now; its key."""
    newest = session.execute(
        # By the index on (retailer, id); the greatest of the column alone would be all retailers'.
        sa.select(Product.id)
        .where(Product.retailer_id == retailer_id)
        .order_by(Product.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    retag = Retag(
        retailer_id=retailer_id,
        scope=scope,
        model_id=model_id,
        skus=None if skus is None else list(skus),
        state=RetagState.OPEN,
        after_id=0,
        until_id=newest or 0,
        queued=0,
        not_asked=0,
        in_work=0,
        reviewed=0,
        failed=0,
        delisted=0,
        requested_by=by,
        created_at=now,
        moved_at=now,
    )
    session.add(retag)
    session.flush()
    return retag.id


def get(session: Session, retag_id: int) -> Retag:
    """By primary key. Raises NotFoundError."""
    found = session.get(Retag, retag_id)
    if found is None:
        raise NotFoundError(f"no retag {retag_id}; `atelier retag status` lists the latest ones")
    return found


def open_ids(
    session: Session,
    *,
    most: int,
    but: Collection[int] = (),
    but_retailers: Collection[int] = (),
) -> list[int]:
    """The oldest open retags, which go first. By the state's index.

    `but`: keys, and `but_retailers`: keys of retailers, that are left out.
    """
    return list(
        session.scalars(
            sa.select(Retag.id)
            .where(
                Retag.state == RetagState.OPEN,
                Retag.id.not_in(but),
                Retag.retailer_id.not_in(but_retailers),
            )
            .order_by(Retag.id)
            .limit(most)
        )
    )


def unknown_skus(session: Session, retailer_id: int, skus: Collection[str]) -> list[str]:
    """Those that a retailer has no product of, by the unique index on (retailer, sku)."""
    known = set(
        session.scalars(
            sa.select(Product.sku).where(Product.retailer_id == retailer_id, Product.sku.in_(skus))
        )
    )
    return [sku for sku in skus if sku not in known]


def page(session: Session, retag: Retag, *, after: int, most: int = PAGE) -> list[SeenProduct]:
    """The next products that a retag has to look at, in the order of their keys.

    By the index on (retailer, id), which on SQLite is the primary key, that on what failed or
    (retailer, sku); predictions by primary key.
    """
    of_retailer = by_key_of(session, retag.retailer_id)
    if retag.scope in (RetagScope.FAILED, RetagScope.SKU):
        of_retailer = Product.retailer_id == retag.retailer_id
    query = (
        sa.select(
            Product.id,
            Product.image_set,
            Product.status,
            Product.delisted_at,
            Product.failure_code,
            Prediction.model_id,
            Prediction.preprocessing_version,
        )
        .outerjoin(Prediction, Prediction.id == Product.prediction_id)
        .where(
            of_retailer,
            Product.id > after,
            Product.id <= retag.until_id,
        )
        .order_by(Product.id)
        .limit(most)
    )
    if retag.scope is RetagScope.FAILED:
        query = query.where(Product.failure_code.is_not(None))
    elif retag.scope is RetagScope.SKU:
        query = query.where(Product.sku.in_(retag.skus or []))
    return [
        SeenProduct(
            product_id=r.id,
            image_set=r.image_set,
            status=r.status,
            delisted=r.delisted_at is not None,
            model_id=r.model_id,
            preprocessing_version=r.preprocessing_version,
            failed=r.failure_code is not None,
        )
        for r in session.execute(query)
    ]


def image_counts(session: Session, image_sets: Collection[str]) -> dict[str, int]:
    """How many images each image set has, by the primary key."""
    rows = session.execute(
        sa.select(ImageSetImage.image_set, sa.func.count())
        .where(ImageSetImage.image_set.in_(image_sets))
        .group_by(ImageSetImage.image_set)
    )
    return dict(rows.all())


def move(
    session: Session,
    retag_id: int,
    *,
    seen_at: int,
    after: int,
    counts: Mapping[str, int],
    done: bool,
    now: dt.datetime,
) -> bool:
    """Say that a retag came from the product `seen_at` to `after`; locks its row until the commit.

    False: somebody else moved it, or it was cancelled; then
    nothing of the page may be written.
    """
    moved = session.execute(
        sa.update(Retag)
        .where(Retag.id == retag_id, Retag.state == RetagState.OPEN, Retag.after_id == seen_at)
        .values(
            after_id=after,
            moved_at=now,
            **{name: getattr(Retag, name) + more for name, more in counts.items()},
            **({"state": RetagState.DONE, "finished_at": now} if done else {}),
        )
        .returning(Retag.id)
    ).one_or_none()
    return moved is not None


def queue_again(session: Session, seen: Mapping[int, str], *, now: dt.datetime) -> set[int]:
    """Have products that got no suggestion classified again, {key: image set}; those that are
    still as they were seen, and in no batch that is still to be done.

    What failed is queued. What waits for a person goes on waiting, with what they decided in force.
    Locked in the order of their keys, as filing and workers do.
    """
    if not seen:
        return set()
    locked = session.execute(
        sa.select(Product.id, Product.image_set, Product.status)
        .where(
            Product.id.in_(seen),
            Product.status.in_((Status.FAILED, Status.NEEDS_REVIEW)),
            Product.prediction_id.is_(None),
        )
        .order_by(Product.id)
        .with_for_update(key_share=True)
    ).all()
    same = {row.id: row.status for row in locked if seen[row.id] == row.image_set}
    waiting = {key for key, status in same.items() if status is Status.NEEDS_REVIEW}
    # Asked after the lock: who queued it a moment ago held that.
    still = same.keys() - batches.carried(session, waiting)
    again = {"failure_code": None, "failure_detail": None, "updated_at": now}
    session.execute(sa.update(Product).where(Product.id.in_(still & waiting)).values(**again))
    session.execute(
        sa.update(Product)
        .where(Product.id.in_(still - waiting))
        .values(status=Status.QUEUED, review_reason=None, **again)
    )
    return set(still)


def cancel(session: Session, retag_id: int, *, by: str, now: dt.datetime) -> bool:
    """Make no more batches of it. False if it was not open any more. By primary key."""
    ended = session.execute(
        sa.update(Retag)
        .where(Retag.id == retag_id, Retag.state == RetagState.OPEN)
        .values(state=RetagState.CANCELLED, cancelled_by=by, finished_at=now, moved_at=now)
        .returning(Retag.id)
    ).one_or_none()
    return ended is not None


def lines(
    session: Session, retag_ids: Collection[int] | None = None, *, most: int = 10
) -> list[RetagLine]:
    """These retags, or the newest, newest first; their batches by the index on (retag, state)."""
    query = (
        sa.select(Retag, Retailer.name, Model.name, Model.version)
        .join(Retailer, Retailer.id == Retag.retailer_id)
        .outerjoin(Model, Model.id == Retag.model_id)
        .order_by(Retag.id.desc())
        .limit(most)
    )
    if retag_ids is not None:
        query = query.where(Retag.id.in_(retag_ids))
    rows = session.execute(query).all()
    counted = session.execute(
        sa.select(Batch.retag_id, Batch.state, sa.func.count(), sa.func.sum(Batch.products))
        .where(Batch.retag_id.in_([retag.id for retag, *_ in rows]))
        .group_by(Batch.retag_id, Batch.state)
    ).all()
    in_state = {
        (retag_id, state): (int(n), int(products)) for retag_id, state, n, products in counted
    }
    return [
        RetagLine(
            id=retag.id,
            retailer=retailer,
            scope=retag.scope,
            model=None if name is None else f"{name}:{version}",
            skus=retag.skus,
            state=retag.state,
            looked_at=retag.queued
            + retag.not_asked
            + retag.in_work
            + retag.reviewed
            + retag.failed
            + retag.delisted,
            queued=retag.queued,
            not_asked=retag.not_asked,
            in_work=retag.in_work,
            reviewed=retag.reviewed,
            failed=retag.failed,
            delisted=retag.delisted,
            batches={
                state.value: in_state.get((retag.id, state), (0, 0))[0] for state in BatchState
            },
            classified=in_state.get((retag.id, BatchState.DONE), (0, 0))[1],
            requested_by=retag.requested_by,
            created_at=retag.created_at,
            finished_at=retag.finished_at,
            cancelled_by=retag.cancelled_by,
        )
        for retag, retailer, name, version in rows
    ]
