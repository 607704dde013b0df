"""Every query on uploads and their ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tagging.database.session import Database
from tagging.database.tables import (
    Image,
    ImageSetImage,
    Product,
    Retailer,
    Upload,
    UploadItem,
    UploadState,
)
from tagging.domain import ItemOutcome, Status
from tagging.errors import NotFoundError

FILED_OUTCOMES = (
    ItemOutcome.CREATED,
    ItemOutcome.CHANGED,
    ItemOutcome.UPDATED,
    ItemOutcome.UNCHANGED,
)
"""Exactly one line of every product of an upload has one of these."""


@dataclass(frozen=True, kw_only=True)
class LedgerLine:
    """A line as it goes into the ledger; `images` are sha256s."""

    seq: int
    line: int
    outcome: ItemOutcome
    sku: str | None = None
    images: tuple[str, ...] = ()
    title: str | None = None
    attributes: dict[str, str] | None = None
    value: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class RejectedLine:
    line: int
    value: str
    error: str


def insert_ignoring(session: Session, table: type, rows: Sequence[dict[str, Any]]) -> None:
    """INSERT ... ON CONFLICT DO NOTHING, on SQLite and PostgreSQL."""
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    session.execute(insert(table).on_conflict_do_nothing(), list(rows))


def begin(
    session: Session,
    *,
    upload_id: str,
    retailer_id: int,
    source: str,
    kind: str,
    now: dt.datetime,
) -> UploadState:
    """A new upload, or where a cut-off one of the same id stands."""
    upload = session.get(Upload, upload_id)
    if upload is not None:
        return upload.state
    session.add(
        Upload(
            id=upload_id,
            retailer_id=retailer_id,
            source=source,
            kind=kind,
            state=UploadState.RECEIVING,
            warnings=[],
            created_at=now,
            beat_at=now,
        )
    )
    session.flush()
    return UploadState.RECEIVING


def forget_lines(session: Session, upload_id: str) -> None:
    """Drop the ledger of an upload whose receiving was cut off; it is read from the start again."""
    session.execute(
        sa.delete(UploadItem).where(
            UploadItem.upload_id == upload_id,
            sa.exists().where(Upload.id == upload_id, Upload.state == UploadState.RECEIVING),
        )
    )


def append_lines(
    session: Session,
    upload_id: str,
    lines: Sequence[LedgerLine],
    images: Sequence[tuple[str, int]],
    *,
    now: dt.datetime,
) -> None:
    """Write ledger lines and the images they brought: (sha256, size in bytes)."""
    insert_ignoring(
        session,
        Image,
        [
            {"sha256": sha256, "size_bytes": size, "created_at": now}
            for sha256, size in dict(images).items()
        ],
    )
    if lines:
        session.execute(
            sa.insert(UploadItem),
            [
                {
                    "upload_id": upload_id,
                    "seq": line.seq,
                    "line": line.line,
                    "sku": line.sku,
                    "images": list(line.images),
                    "title": line.title,
                    "attributes": line.attributes or {},
                    "outcome": line.outcome,
                    "value": line.value,
                    "error": line.error,
                }
                for line in lines
            ],
        )
    session.execute(sa.update(Upload).where(Upload.id == upload_id).values(beat_at=now))


def set_state(
    session: Session,
    upload_id: str,
    state: UploadState,
    *,
    now: dt.datetime,
    warnings: Sequence[str] | None = None,
) -> None:
    values: dict[str, Any] = {"state": state, "beat_at": now}
    if warnings is not None:
        values["warnings"] = list(warnings)
    if state is UploadState.FILED:
        values["filed_at"] = now
    session.execute(sa.update(Upload).where(Upload.id == upload_id).values(**values))


def lock(session: Session, upload_id: str) -> Upload:
    """The upload's row, locked, and its retailer's: filings of one retailer take turns."""
    upload = session.execute(
        sa.select(Upload).where(Upload.id == upload_id).with_for_update()
    ).scalar_one_or_none()
    if upload is None:
        raise NotFoundError(f"no upload {upload_id!r}; `atelier status` lists the latest ones")
    session.execute(
        sa.select(Retailer.id).where(Retailer.id == upload.retailer_id).with_for_update()
    )
    return upload


def pending_lines(session: Session, upload_id: str, limit: int) -> list[UploadItem]:
    """The first pending lines by sku, so that all lines of a product stand together.

    An index range on (upload, sku, seq); filed lines at its beginning are skipped by the filter,
    and `after_sku` of the last page keeps that from growing.
    """
    return list(
        session.execute(
            sa.select(UploadItem)
            .where(UploadItem.upload_id == upload_id, UploadItem.outcome == ItemOutcome.PENDING)
            .order_by(UploadItem.sku, UploadItem.seq)
            .limit(limit)
        ).scalars()
    )


def lines_of_sku(session: Session, upload_id: str, sku: str) -> list[UploadItem]:
    """All pending lines of one product, by the index on (upload, sku, seq)."""
    return list(
        session.execute(
            sa.select(UploadItem)
            .where(
                UploadItem.upload_id == upload_id,
                UploadItem.sku == sku,
                UploadItem.outcome == ItemOutcome.PENDING,
            )
            .order_by(UploadItem.seq)
        ).scalars()
    )


def settle_lines(session: Session, changes: Sequence[dict[str, Any]]) -> None:
    """Write the outcome of ledger lines: rows of the table's key and the values to set."""
    if changes:
        session.execute(sa.update(UploadItem), list(changes))


def add_image_sets(session: Session, sets: dict[str, tuple[str, ...]]) -> None:
    """Make the image sets known: {hash: ordered sha256s}."""
    insert_ignoring(
        session,
        ImageSetImage,
        [
            {"image_set": image_set, "position": position, "sha256": sha256}
            for image_set, images in sets.items()
            for position, sha256 in enumerate(images)
        ],
    )


def existing_products(
    session: Session, retailer_id: int, skus: Sequence[str]
) -> dict[str, Product]:
    """Products of a page of skus, by the unique index on (retailer, sku)."""
    rows = session.execute(
        sa.select(Product).where(Product.retailer_id == retailer_id, Product.sku.in_(skus))
    ).scalars()
    return {product.sku: product for product in rows}


def outcome_counts(session: Session, upload_id: str) -> dict[ItemOutcome, int]:
    """Ledger lines by outcome, from the index on (upload, outcome)."""
    rows = session.execute(
        sa.select(UploadItem.outcome, sa.func.count())
        .where(UploadItem.upload_id == upload_id)
        .group_by(UploadItem.outcome)
    )
    found = dict(rows.all())
    return {outcome: found.get(outcome, 0) for outcome in ItemOutcome}


def rejected_lines(database: Database, upload_id: str) -> Iterator[RejectedLine]:
    """The rejected lines in order."""
    return _lines_with(database, upload_id, ItemOutcome.REJECTED)


def skipped_lines(database: Database, upload_id: str) -> Iterator[RejectedLine]:
    """The skipped files in order."""
    return _lines_with(database, upload_id, ItemOutcome.SKIPPED)


def _lines_with(database: Database, upload_id: str, outcome: ItemOutcome) -> Iterator[RejectedLine]:
    """In pages of 1,000 with a transaction each, by the index on (upload, outcome, seq)."""
    after = 0
    while True:
        with database.read() as session:
            page = session.execute(
                sa.select(UploadItem.seq, UploadItem.line, UploadItem.value, UploadItem.error)
                .where(
                    UploadItem.upload_id == upload_id,
                    UploadItem.outcome == outcome,
                    UploadItem.seq > after,
                )
                .order_by(UploadItem.seq)
                .limit(1000)
            ).all()
        for row in page:
            yield RejectedLine(line=row.line, value=row.value or "", error=row.error or "")
        if len(page) < 1000:
            return
        after = page[-1].seq


def status_counts(session: Session, upload_id: str | None = None) -> dict[Status, int]:
    """Products by status: of an upload (by its ledger), or of all."""
    query = sa.select(Product.status, sa.func.count()).group_by(Product.status)
    if upload_id is not None:
        query = query.join(UploadItem, UploadItem.product_id == Product.id).where(
            UploadItem.upload_id == upload_id, UploadItem.outcome.in_(FILED_OUTCOMES)
        )
    found = dict(session.execute(query).all())
    return {status: found.get(status, 0) for status in Status}


def get(session: Session, upload_id: str) -> Upload:
    """By primary key. Raises NotFoundError."""
    upload = session.get(Upload, upload_id)
    if upload is None:
        raise NotFoundError(f"no upload {upload_id!r}; `atelier status` lists the latest ones")
    return upload


def is_received(session: Session, upload_id: str) -> bool:
    """Whether an upload of this id exists and all of it is in the ledger; by primary key."""
    upload = session.get(Upload, upload_id)
    return upload is not None and upload.state is not UploadState.RECEIVING


def latest(session: Session, limit: int = 10) -> list[Upload]:
    """The youngest uploads; their ids begin with their time."""
    return list(
        session.execute(sa.select(Upload).order_by(Upload.id.desc()).limit(limit)).scalars()
    )


def unfiled(session: Session) -> list[tuple[str, dt.datetime]]:
    """Received but not filed uploads, with their last progress; a handful by the state's index."""
    rows = session.execute(
        sa.select(Upload.id, Upload.beat_at).where(Upload.state == UploadState.RECEIVED)
    )
    return [(row.id, row.beat_at) for row in rows]
