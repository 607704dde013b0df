"""What is told of batches: how many wait, how fast they get done, and what stands in their way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.batches import is_due
from tagging.database.tables import Batch, BatchItem, BatchState, Product, UploadItem
from tagging.domain import Status


def due_count(session: Session, *, now: dt.datetime) -> int:
    """How many batches may be leased; reads the few queued among the many done, by the state's
    index.
    """
    return session.execute(
        sa.select(sa.func.count())
        .select_from(Batch)
        .where(Batch.state == BatchState.QUEUED, is_due(now))
    ).scalar_one()


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How many batches of a retailer wait, and how many of these could not be done so far."""

    batches: int
    hindered: int


def waiting(session: Session) -> dict[int, Waiting]:
    """By retailer's key. Reads the few queued batches among the many done, by the state's index."""
    rows = session.execute(
        sa.select(
            Batch.retailer_id,
            sa.func.count().label("batches"),
            sa.func.count(Batch.last_error).label("hindered"),
        )
        .where(Batch.state == BatchState.QUEUED)
        .group_by(Batch.retailer_id)
    )
    return {r.retailer_id: Waiting(batches=r.batches, hindered=r.hindered) for r in rows}


def counts(session: Session, upload_id: str | None = None) -> dict[str, int]:
    """Batches by state, of one upload or of all."""
    query = sa.select(Batch.state, sa.func.count()).group_by(Batch.state)
    if upload_id is not None:
        query = query.where(Batch.upload_id == upload_id)
    found = {state.value: count for state, count in session.execute(query)}
    return {state.value: found.get(state.value, 0) for state in BatchState}


def crashes_counted(session: Session) -> int:
    """Deaths of workers that are counted against batches which are not done: it moves with each.

    Reads the few queued, leased and split batches among the many done, by the state's index.
    """
    return session.execute(
        sa.select(sa.func.coalesce(sa.func.sum(Batch.crashes), 0)).where(
            Batch.state.in_((BatchState.QUEUED, BatchState.LEASED, BatchState.SPLIT))
        )
    ).scalar_one()


def last_errors(session: Session, upload_id: str | None = None) -> list[str]:
    """Why queued batches (of an upload, or all) could not be done, each reason once."""
    query = (
        sa.select(Batch.last_error)
        .where(Batch.state == BatchState.QUEUED, Batch.last_error.is_not(None))
        .distinct()
        .limit(10)
    )
    if upload_id is not None:
        # Through the ledger: a product that this upload left unchanged may wait in the batch of an
        # older one. One that is tagged waits for nothing, though a retag of it may be in trouble.
        query = (
            query.join(BatchItem, BatchItem.batch_id == Batch.id)
            .join(Product, Product.id == BatchItem.product_id)
            .join(UploadItem, UploadItem.sku == Product.sku)
            .where(
                UploadItem.upload_id == upload_id,
                UploadItem.product_id == Product.id,
                Product.status == Status.QUEUED,
            )
        )
    return [error for error in session.execute(query).scalars() if error is not None]


def retag_errors(session: Session, retag_ids: Collection[int]) -> list[str]:
    """Why queued batches of retags could not be done, each reason once. By (retag, state)."""
    rows = session.scalars(
        sa.select(Batch.last_error)
        .where(
            Batch.retag_id.in_(retag_ids),
            Batch.state == BatchState.QUEUED,
            Batch.last_error.is_not(None),
        )
        .distinct()
        .limit(10)
    )
    return [error for error in rows if error is not None]


def goes_on(
    session: Session, *, upload_id: str | None = None, retag_ids: Collection[int] = ()
) -> bool:
    """Whether batches of an upload, or of retags, wait or are in work that had no trouble so far.

    By (upload, state) or (retag, state).
    """
    of = Batch.retag_id.in_(retag_ids) if upload_id is None else Batch.upload_id == upload_id
    live = Batch.state.in_([BatchState.QUEUED, BatchState.LEASED])
    query = sa.select(Batch.id).where(of, live, Batch.last_error.is_(None)).limit(1)
    return session.execute(query).first() is not None


def recent_rate(session: Session, *, window_s: float = 60.0) -> float:
    """Products per second over the last minute, from the batches that were done in it."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=window_s)
    done = session.execute(
        sa.select(sa.func.coalesce(sa.func.sum(Batch.products), 0)).where(
            Batch.state == BatchState.DONE, Batch.finished_at > since
        )
    ).scalar_one()
    return float(done) / window_s
