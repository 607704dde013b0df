"""Every query that makes, leases and ends batches. (What is told of them: `backlog`.)

A lease is a token in the row. All changes of a leased batch ask for the token, so that a worker
whose lease was taken back changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.products import Failed, fail
from tagging.database.tables import (
    Batch,
    BatchItem,
    BatchState,
    ImageSetImage,
    ModelInCharge,
    Product,
)
from tagging.domain import FailureCode
from tagging.printable import storable

SPLIT_WAYS = 16
"""Into how many parts a batch goes that crashed its worker twice."""
CRASHES_BEFORE_SPLIT = 2
CRASHES_BEFORE_FAILED = 3
"""How many workers a single product must bring down, alone in hand, to be failed."""
FIRST_PAUSE_S: Final = 5.0
MOST_PAUSE_S: Final = 300.0
"""How long what cannot be done waits before it is tried again: doubled each time, up to this."""
SUSPECT_PAUSE_S: Final = 15.0
"""How long a single product that was alone in hand as a worker died waits, doubled each time.

Longer than a worker takes to start: if it is not the product that ends them, something else is in
hand when the next one dies.
"""
CLOCK_S: Final = 60.0
"""By how much the clocks of two machines may differ."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write one batch's outcome. `retags`: of products that were tagged before;
    `hindered`: how often in a row it could not be done.
    """

    batch_id: int
    token: str
    retailer_id: int
    model_id: int
    alone: bool
    retags: bool = False
    hindered: int = 0


@dataclass(frozen=True, kw_only=True)
class QueuedBatch:
    """A batch that may be leased. `alone`: only as the sole work in hand, for it is one product
    that may have crashed a worker.
    """

    batch_id: int
    retailer_id: int
    alone: bool
    hindered: int


@dataclass(frozen=True, kw_only=True)
class Hindrance:
    """Why a batch could not be done, and when. It waits before it is tried again, longer each time,
    but `most_s` seconds at most.
    """

    error: str
    at: dt.datetime
    most_s: float = MOST_PAUSE_S

    def values(self, times: int) -> dict[str, object]:
        """Of the batch's row, the `times`th time in a row."""
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(times - 1, 32), self.most_s)
        return {
            "last_error": storable(self.error),
            "hindered": times,
            "not_before": self.at + dt.timedelta(seconds=pause_s),
        }


@dataclass(frozen=True, kw_only=True)
class LeasedProduct:
    """A product as the lease's holder saw it. `images`: sha256s in order."""

    product_id: int
    sku: str
    image_set: str
    images: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BatchPulse:
    """What the sweeper watches of a leased batch. `worker`: the name of who holds it."""

    batch_id: int
    token: str
    beat: int
    worker: str | None = None


def create(
    session: Session,
    *,
    retailer_id: int,
    upload_id: str | None,
    items: Sequence[tuple[int, str, int]],
    now: dt.datetime,
    parent_id: int | None = None,
    retag_id: int | None = None,
    error: str | None = None,
) -> int:
    """A queued batch of `items`: (product id, image set, number of images). Returns its id.

    Of an upload or of a retag. `error`: why they could not be done so far.
    """
    batch = Batch(
        retailer_id=retailer_id,
        upload_id=upload_id,
        retag_id=retag_id,
        parent_id=parent_id,
        state=BatchState.QUEUED,
        products=len(items),
        images=sum(count for _, _, count in items),
        attempts=0,
        crashes=0,
        hindered=0,
        lease_alone=False,
        beat=0,
        last_error=None if error is None else storable(error),
        created_at=now,
    )
    session.add(batch)
    session.flush()
    session.execute(
        sa.insert(BatchItem),
        [
            {"batch_id": batch.id, "product_id": product_id, "image_set": image_set}
            for product_id, image_set, _ in items
        ],
    )
    return batch.id


def create_full(
    session: Session,
    items: Sequence[tuple[int, str, int]],
    *,
    batch_images: int,
    retailer_id: int,
    upload_id: str | None = None,
    retag_id: int | None = None,
    now: dt.datetime,
) -> list[int]:
    """Queued batches of `items`, as `create` takes them, in order and as full as may be.

    Marked as announced before the messages are sent: if they get lost, the sweeper sends them
    again as soon as this mark is old, because the broker then holds fewer than are queued.
    """
    parts: list[list[tuple[int, str, int]]] = []
    images = 0
    for item in items:
        if not parts or images + item[2] > batch_images:
            parts.append([])
            images = 0
        parts[-1].append(item)
        images += item[2]
    made = [
        create(
            session,
            retailer_id=retailer_id,
            upload_id=upload_id,
            retag_id=retag_id,
            items=part,
            now=now,
        )
        for part in parts
    ]
    if made:
        mark_announced(session, made, now=now)
    return made


def due(session: Session, batch_id: int, *, now: dt.datetime) -> QueuedBatch | None:
    """A batch that may be leased now; None if it is not queued, or waits before its next try.

    A primary-key look-up.
    """
    row = session.execute(
        sa.select(
            Batch.retailer_id, Batch.products, Batch.attempts, Batch.parent_id, Batch.hindered
        ).where(Batch.id == batch_id, Batch.state == BatchState.QUEUED, is_due(now))
    ).one_or_none()
    if row is None:
        return None
    return QueuedBatch(
        batch_id=batch_id,
        retailer_id=row.retailer_id,
        alone=row.products == 1 and (row.attempts > 0 or row.parent_id is not None),
        hindered=row.hindered,
    )


def is_due(now: dt.datetime) -> sa.ColumnElement[bool]:
    """Whether a queued batch may be tried.

    One that waits for longer than any does was hindered before the clock was set back.
    """
    return sa.or_(
        Batch.not_before.is_(None),
        Batch.not_before <= now,
        Batch.not_before > now + dt.timedelta(seconds=MOST_PAUSE_S + CLOCK_S),
    )


def lease(
    session: Session,
    batch_id: int,
    *,
    token: str,
    worker: str,
    alone: bool,
    model_id: int | None = None,
) -> Lease | None:
    """Take a queued batch: token, attempt + 1, the model then in charge.

    None if it is not queued, or if another model is in charge than `model_id`, where that is given.
    One conditional update by primary key; of two workers with the same message one gets it.
    """
    in_charge = (
        sa.select(ModelInCharge.model_id)
        .where(ModelInCharge.retailer_id == Batch.retailer_id)
        .scalar_subquery()
    )
    asked = [] if model_id is None else [in_charge == model_id]
    row = session.execute(
        sa.update(Batch)
        .where(Batch.id == batch_id, Batch.state == BatchState.QUEUED, *asked)
        .values(
            state=BatchState.LEASED,
            lease_token=token,
            lease_worker=worker,
            lease_alone=alone,
            lease_model_id=in_charge,
            attempts=Batch.attempts + 1,
            beat=Batch.beat + 1,
            not_before=None,
        )
        .returning(Batch.retailer_id, Batch.lease_model_id, Batch.retag_id, Batch.hindered)
    ).one_or_none()
    if row is None:
        return None
    return Lease(
        batch_id=batch_id,
        token=token,
        retailer_id=row.retailer_id,
        model_id=row.lease_model_id,
        alone=alone,
        retags=row.retag_id is not None,
        hindered=row.hindered,
    )


def leased_products(session: Session, batch_id: int) -> list[LeasedProduct]:
    """The batch's products that still have the photos it was made for, in order.

    Two index scans over one batch's items. A product whose photos changed meanwhile is in a
    younger batch and left out here.
    """
    rows = session.execute(
        sa.select(BatchItem.product_id, Product.sku, BatchItem.image_set, ImageSetImage.sha256)
        .join(Product, Product.id == BatchItem.product_id)
        .join(ImageSetImage, ImageSetImage.image_set == BatchItem.image_set)
        .where(BatchItem.batch_id == batch_id, Product.image_set == BatchItem.image_set)
        .order_by(BatchItem.product_id, ImageSetImage.position)
    ).all()
    grouped: dict[int, tuple[str, str, list[str]]] = {}
    for product_id, sku, image_set, sha256 in rows:
        grouped.setdefault(product_id, (sku, image_set, []))[2].append(sha256)
    return [
        LeasedProduct(product_id=product_id, sku=sku, image_set=image_set, images=tuple(images))
        for product_id, (sku, image_set, images) in grouped.items()
    ]


def carried(session: Session, product_ids: Collection[int]) -> set[int]:
    """Those of some products that a batch which waits or is in hand carries, with the photos that
    they have. By the index on batch_items.product_id.
    """
    return set(
        session.scalars(
            sa.select(Product.id)
            .join(BatchItem, BatchItem.product_id == Product.id)
            .join(Batch, Batch.id == BatchItem.batch_id)
            .where(
                Product.id.in_(product_ids),
                BatchItem.image_set == Product.image_set,
                Batch.state.in_((BatchState.QUEUED, BatchState.LEASED)),
            )
        )
    )


def finish(session: Session, held: Lease, *, now: dt.datetime) -> bool:
    """End the lease as done. False if the lease is no longer ours: then nothing may be written.

    Call it first in the writing transaction: it locks the row until the commit.
    """
    return _end(session, held, state=BatchState.DONE, finished_at=now, last_error=None, hindered=0)


def give_back(session: Session, held: Lease, hindrance: Hindrance | None = None) -> bool:
    """Queue the batch again; the attempt does not count. False if the lease is no longer ours.

    Without a hindrance it may be tried at once.
    """
    told = {"last_error": None} if hindrance is None else hindrance.values(held.hindered + 1)
    return _end(session, held, state=BatchState.QUEUED, attempts=Batch.attempts - 1, **told)


def hinder(session: Session, queued: QueuedBatch, hindrance: Hindrance) -> None:
    """Say why a batch that nobody holds could not be leased. By primary key."""
    session.execute(
        sa.update(Batch)
        .where(Batch.id == queued.batch_id, Batch.state == BatchState.QUEUED)
        .values(**hindrance.values(queued.hindered + 1))
    )


def resume(session: Session, retailer_id: int | None = None) -> None:
    """Have what could not be done (of one retailer, or of all) tried again at once.

    Reads the few queued batches by the state's index. One that somebody else is about to change is
    left to them, so that nobody waits here.
    """
    waiting = (
        sa.select(Batch.id)
        .where(
            Batch.state == BatchState.QUEUED,
            sa.or_(Batch.hindered > 0, Batch.last_error.is_not(None)),
        )
        .with_for_update(skip_locked=True)
    )
    if retailer_id is not None:
        waiting = waiting.where(Batch.retailer_id == retailer_id)
    session.execute(
        sa.update(Batch)
        .where(Batch.id.in_(waiting))
        .values(last_error=None, hindered=0, not_before=None)
    )


def leave_over(
    session: Session,
    held: Lease,
    products: Sequence[LeasedProduct],
    *,
    error: str,
    now: dt.datetime,
) -> int:
    """Move products of a batch that was just finished to a new queued one; returns its id.

    Not all of them, and in the transaction of `finish`. `error`: why they could not be done.
    """
    images = sum(len(product.images) for product in products)
    batch = session.execute(
        sa.update(Batch)
        .where(Batch.id == held.batch_id)
        .values(products=Batch.products - len(products), images=Batch.images - images)
        .returning(Batch.upload_id, Batch.retag_id)
    ).one()
    session.execute(
        sa.delete(BatchItem).where(
            BatchItem.batch_id == held.batch_id,
            BatchItem.product_id.in_([product.product_id for product in products]),
        )
    )
    made = create(
        session,
        retailer_id=held.retailer_id,
        upload_id=batch.upload_id,
        retag_id=batch.retag_id,
        items=[(one.product_id, one.image_set, len(one.images)) for one in products],
        now=now,
        error=error,
    )
    mark_announced(session, [made], now=now)  # not at once: the sweeper does, in its time
    return made


def _end(session: Session, held: Lease, **values: object) -> bool:
    ended = session.execute(
        sa.update(Batch)
        .where(Batch.id == held.batch_id, Batch.lease_token == held.token)
        .values(lease_token=None, lease_alone=False, **values)
        .returning(Batch.id)
    ).one_or_none()
    return ended is not None


def beat(session: Session, leases: Iterable[Lease]) -> None:
    """Show that these leases make progress. Primary-key updates, at most `concurrency` of them.

    One whose row somebody is changing needs none, and is not waited for: the others would fall
    silent meanwhile.
    """
    for held in leases:
        free = (
            sa.select(Batch.id)
            .where(Batch.id == held.batch_id, Batch.lease_token == held.token)
            .with_for_update(skip_locked=True)
        )
        session.execute(
            sa.update(Batch).where(Batch.id == free.scalar_subquery()).values(beat=Batch.beat + 1)
        )


def pulses(session: Session) -> list[BatchPulse]:
    """All leased batches: as many as workers have in hand."""
    rows = session.execute(
        sa.select(Batch.id, Batch.lease_token, Batch.beat, Batch.lease_worker).where(
            Batch.state == BatchState.LEASED
        )
    ).all()
    return [
        BatchPulse(batch_id=r.id, token=r.lease_token, beat=r.beat, worker=r.lease_worker)
        for r in rows
    ]


@dataclass(frozen=True, kw_only=True)
class TakenBack:
    """What became of a silent batch: `queued`, `split` or `failed`; which batches to announce."""

    outcome: str
    queued: tuple[int, ...]


def take_back(session: Session, pulse: BatchPulse, *, now: dt.datetime) -> TakenBack | None:
    """End the lease of a batch that fell silent; None if it moved on meanwhile.

    The crash counts against a batch of several products, and against a single product only if it
    was the sole work in hand; that waits then, so that other work comes first. Twice: a batch is
    split by 16, with fresh counters. Three times: the single product is failed as `worker_crash`.
    """
    batch = session.execute(
        sa.select(Batch)
        .where(
            Batch.id == pulse.batch_id,
            Batch.state == BatchState.LEASED,
            Batch.lease_token == pulse.token,
            Batch.beat == pulse.beat,
        )
        .with_for_update()
    ).scalar_one_or_none()
    if batch is None:
        return None
    suspect = batch.products == 1 and batch.lease_alone
    if batch.products > 1 or batch.lease_alone:
        batch.crashes += 1
    batch.lease_token, batch.lease_alone = None, False
    if batch.products > 1 and batch.crashes >= CRASHES_BEFORE_SPLIT:
        return TakenBack(outcome="split", queued=_split(session, batch, now=now))
    if batch.products == 1 and batch.crashes >= CRASHES_BEFORE_FAILED:
        _fail_single(session, batch, now=now)
        return TakenBack(outcome="failed", queued=())
    if suspect:
        pause_s = SUSPECT_PAUSE_S * 2.0 ** (batch.crashes - 1)
        batch.not_before = now + dt.timedelta(seconds=pause_s)
        # Nothing stood in its way, so nothing that gets done elsewhere ends this pause.
        batch.last_error, batch.hindered = None, 0
    batch.state, batch.announced_at = BatchState.QUEUED, now
    return TakenBack(outcome="queued", queued=() if suspect else (batch.id,))


def _split(session: Session, batch: Batch, *, now: dt.datetime) -> tuple[int, ...]:
    rows = session.execute(
        sa.select(BatchItem.product_id, BatchItem.image_set, sa.func.count())
        .join(ImageSetImage, ImageSetImage.image_set == BatchItem.image_set)
        .where(BatchItem.batch_id == batch.id)
        .group_by(BatchItem.product_id, BatchItem.image_set)
        .order_by(BatchItem.product_id)
    ).all()
    items = [(product_id, image_set, count) for product_id, image_set, count in rows]
    size = -(-len(items) // SPLIT_WAYS)
    parts = tuple(
        create(
            session,
            retailer_id=batch.retailer_id,
            upload_id=batch.upload_id,
            retag_id=batch.retag_id,
            items=items[start : start + size],
            now=now,
            parent_id=batch.id,
        )
        for start in range(0, len(items), size)
    )
    mark_announced(session, parts, now=now)
    batch.state, batch.finished_at = BatchState.SPLIT, now
    return parts


def _fail_single(session: Session, batch: Batch, *, now: dt.datetime) -> None:
    item = session.execute(sa.select(BatchItem).where(BatchItem.batch_id == batch.id)).scalar_one()
    crashed = Failed(
        product_id=item.product_id,
        image_set=item.image_set,
        code=FailureCode.WORKER_CRASH,
        detail=(
            f"This product alone brought down {batch.crashes} workers ({batch.attempts} "
            "attempts). Deliver another photo of it; please report this one as a defect."
        ),
    )
    fail(session, crashed, now=now)
    batch.state, batch.finished_at = BatchState.DONE, now


def to_announce(
    session: Session, *, older_than: dt.datetime, now: dt.datetime, limit: int
) -> list[int]:
    """Batches that may be leased, not announced since `older_than`, oldest announcement first.

    An announcement after `now` was made before the clock was set back, and says nothing.
    """
    return list(
        session.execute(
            sa.select(Batch.id)
            .where(
                Batch.state == BatchState.QUEUED,
                is_due(now),
                sa.or_(
                    Batch.announced_at.is_(None),
                    Batch.announced_at < older_than,
                    Batch.announced_at > now + dt.timedelta(seconds=CLOCK_S),
                ),
            )
            .order_by(Batch.announced_at.asc().nulls_first(), Batch.id)
            .limit(limit)
        ).scalars()
    )


def mark_announced(session: Session, batch_ids: Sequence[int], *, now: dt.datetime) -> None:
    """Remember when a message was last sent for these batches."""
    session.execute(sa.update(Batch).where(Batch.id.in_(batch_ids)).values(announced_at=now))
