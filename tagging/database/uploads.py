"""Every query on uploads and their ledger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tagging.database.session import Database
from tagging.database.tables import (
    BigId,
    Image,
    ImageSetImage,
    Product,
    Retailer,
    Upload,
    UploadItem,
    UploadState,
)
from tagging.domain import FailureCode, ItemOutcome, Status
from tagging.errors import DeliveryError, NotFoundError

FILED_OUTCOMES = (
    ItemOutcome.CREATED,
    ItemOutcome.CHANGED,
    ItemOutcome.UPDATED,
    ItemOutcome.UNCHANGED,
)
"""Exactly one line of every product of an upload has one of these."""

SILENT: Final = dt.timedelta(seconds=60)
"""Who receives or files an upload shows so every ten seconds; after so long it is dead."""

_FETCHED = 100
"""Lines fetched at a time where each may hold a book."""


@dataclass(frozen=True, kw_only=True)
class PendingLine:
    """A line that waits to be filed, as it goes into the ledger; `images` are sha256s."""

    seq: int
    line: int
    sku: str
    images: tuple[str, ...]
    title: str | None
    attributes: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RefusedLine:
    """A line of which no product is made, as it goes into the ledger: why, and what to do."""

    seq: int
    line: int
    outcome: Literal[ItemOutcome.REJECTED, ItemOutcome.SKIPPED]
    code: FailureCode
    value: str
    error: str
    sku: str | None = None


LedgerLine = PendingLine | RefusedLine


@dataclass(frozen=True, kw_only=True)
class RejectedLine:
    """A rejected or skipped line. `code`: None of one that is older than codes of lines are."""

    line: int
    code: FailureCode | None
    value: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Younger:
    """What deliveries that began later, and are filed already, said of a product besides its
    photos. `upload`: one of these deliveries."""

    upload: str
    title: bool
    attributes: bool


@dataclass(frozen=True, kw_only=True)
class CutOff:
    """An upload whose receiver died. `lines`: of its ledger, that were read. `since`: its last sign
    of life."""

    upload: str
    retailer: str
    source: str
    lines: int
    since: dt.datetime


def insert_ignoring(
    session: Session, table: type, rows: Sequence[dict[str, Any]], *, key: tuple[str, ...]
) -> None:
    """INSERT ... ON CONFLICT DO NOTHING, on SQLite and PostgreSQL.

    In the order of `key`, the columns that may conflict: two transactions that insert the same
    rows in opposite orders would wait for each other.
    """
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    ordered = sorted(rows, key=lambda row: tuple(row[column] for column in key))
    session.execute(insert(table).on_conflict_do_nothing(), ordered)


def begin(
    session: Session,
    *,
    upload_id: str,
    retailer_id: int,
    source: str,
    kind: str,
    receiver: str,
    now: dt.datetime,
) -> UploadState:
    """A new upload, or where a cut-off one of the same id stands.

    Who begins (or begins again) is the receiver from then on: lines of any other are refused.
    Uploads are filed in the order of `created_at`, so none is older than the retailer's one before
    it, though the clock was set back.

    Raises:
        DeliveryError: the upload of this id is another retailer's.
    """
    upload = session.execute(
        sa.select(Upload).where(Upload.id == upload_id).with_for_update()
    ).scalar_one_or_none()
    if upload is not None:
        if upload.retailer_id != retailer_id:
            raise DeliveryError(
                f"upload {upload_id} is another retailer's; name whose it is with --retailer"
            )
        if upload.state is UploadState.RECEIVING:
            upload.receiver, upload.source, upload.kind = receiver, source, kind
            upload.beat_at = now
            session.flush()
        return upload.state
    newest = session.execute(
        sa.select(sa.func.max(Upload.created_at)).where(Upload.retailer_id == retailer_id)
    ).scalar_one()
    after_it = now if newest is None else newest + dt.timedelta(microseconds=1)
    session.add(
        Upload(
            id=upload_id,
            retailer_id=retailer_id,
            source=source,
            kind=kind,
            state=UploadState.RECEIVING,
            warnings=[],
            receiver=receiver,
            created_at=max(now, after_it),
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


def cut_off(session: Session, *, now: dt.datetime, most: int = 10) -> list[CutOff]:
    """Uploads whose receiver died, the oldest first.

    A handful of rows by the state's index; their newest lines by the primary key.
    """
    lines = (
        sa.select(sa.func.max(UploadItem.seq))
        .where(UploadItem.upload_id == Upload.id)
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(Upload.id, Retailer.name, Upload.source, Upload.beat_at, lines.label("lines"))
        .join(Retailer, Retailer.id == Upload.retailer_id)
        .where(Upload.state == UploadState.RECEIVING, ~_showed(now))
        .order_by(Upload.id)
        .limit(most)
    )
    return [
        CutOff(upload=r.id, retailer=r.name, source=r.source, lines=r.lines or 0, since=r.beat_at)
        for r in rows
    ]


def take_from_the_dead(
    session: Session, upload_id: str, *, receiver: str, now: dt.datetime
) -> None:
    """Become the receiver of an upload whose own one died; it wakes up to being refused.

    Raises:
        NotFoundError: there is no such upload.
        DeliveryError: all of it was received, or its receiver lives.
    """
    upload = get(session, upload_id)
    if upload.state is not UploadState.RECEIVING:
        raise DeliveryError(
            f"all of upload {upload_id} was received ({upload.state}), so it is kept: products "
            "came of it"
        )
    mine = session.execute(
        sa.update(Upload)
        .where(Upload.id == upload_id, Upload.state == UploadState.RECEIVING, ~_showed(now))
        .values(receiver=receiver, beat_at=now)
        .returning(Upload.id)
    ).one_or_none()
    if mine is None:
        raise DeliveryError(
            f"upload {upload_id} is being received, or was a moment ago; let it finish, or stop it "
            f"and try again {SILENT.seconds} s later"
        )


def remove_lines(
    session: Session, upload_id: str, *, receiver: str, most: int, now: dt.datetime
) -> int:
    """Remove the first lines of an upload that `receiver` receives; how many, 0 at their end.

    By the primary key. Raises DeliveryError as `append_lines` does.
    """
    _keep_receiving(session, upload_id, receiver=receiver, now=now)
    first = session.scalar(
        sa.select(sa.func.min(UploadItem.seq)).where(UploadItem.upload_id == upload_id)
    )
    if first is None:
        return 0
    these = sa.and_(UploadItem.upload_id == upload_id, UploadItem.seq < first + most)
    removed = session.scalar(sa.select(sa.func.count()).select_from(UploadItem).where(these))
    session.execute(sa.delete(UploadItem).where(these))
    return removed or 0


def remove(session: Session, upload_id: str) -> None:
    """Remove an upload that has no ledger and was never filed, by primary key."""
    session.execute(
        sa.delete(Upload).where(Upload.id == upload_id, Upload.state == UploadState.RECEIVING)
    )


def append_lines(
    session: Session,
    upload_id: str,
    lines: Sequence[LedgerLine],
    images: Sequence[tuple[str, int]],
    *,
    receiver: str,
    now: dt.datetime,
) -> None:
    """Write ledger lines and the images they brought: (sha256, size in bytes).

    Raises:
        DeliveryError: another process receives this upload now.
    """
    _keep_receiving(session, upload_id, receiver=receiver, now=now)
    insert_ignoring(
        session,
        Image,
        [
            {"sha256": sha256, "size_bytes": size, "created_at": now}
            for sha256, size in dict(images).items()
        ],
        key=("sha256",),
    )
    if lines:
        session.execute(sa.insert(UploadItem), [_row(upload_id, line) for line in lines])


def _row(upload_id: str, line: LedgerLine) -> dict[str, Any]:
    row: dict[str, Any] = {
        "upload_id": upload_id,
        "seq": line.seq,
        "line": line.line,
        "sku": line.sku,
        "images": [],
        "title": None,
        "attributes": {},
        "outcome": ItemOutcome.PENDING,
        "code": None,
        "value": None,
        "error": None,
    }
    if isinstance(line, PendingLine):
        return row | {
            "images": list(line.images),
            "title": line.title,
            "attributes": line.attributes,
        }
    return row | refused(line.outcome, line.code, line.value, line.error)


def refused(
    outcome: Literal[ItemOutcome.REJECTED, ItemOutcome.SKIPPED],
    code: FailureCode,
    value: str,
    error: str,
) -> dict[str, Any]:
    """The columns of a line of which no product is made. There is no other way to make one, so
    that none is without a code."""
    return {"outcome": outcome, "code": code, "value": value, "error": error}


def end_receiving(
    session: Session,
    upload_id: str,
    *,
    receiver: str,
    warnings: Sequence[str],
    now: dt.datetime,
) -> None:
    """All of the delivery is in the ledger. Raises DeliveryError as `append_lines` does."""
    _keep_receiving(session, upload_id, receiver=receiver, now=now)
    session.execute(
        sa.update(Upload)
        .where(Upload.id == upload_id)
        .values(state=UploadState.RECEIVED, warnings=list(warnings))
    )


def _keep_receiving(session: Session, upload_id: str, *, receiver: str, now: dt.datetime) -> None:
    mine = session.execute(
        sa.update(Upload)
        .where(
            Upload.id == upload_id,
            Upload.state == UploadState.RECEIVING,
            Upload.receiver == receiver,
        )
        .values(beat_at=now)
        .returning(Upload.id)
    ).one_or_none()
    if mine is None:
        raise DeliveryError(
            f"upload {upload_id} is received by another process now, or was forgotten; let that "
            "one finish, or deliver again"
        )


def lock(session: Session, upload_id: str) -> Upload:
    """The upload's row, locked, after its retailer's: filings of one retailer take turns.

    The retailer first, whatever the upload: who holds it may then lock any upload of it.
    """
    upload = get(session, upload_id)
    session.execute(
        sa.select(Retailer.id)
        .where(Retailer.id == upload.retailer_id)
        .with_for_update(key_share=True)
    )
    return session.execute(
        sa.select(Upload)
        .where(Upload.id == upload_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).scalar_one()


def first_received(session: Session, retailer_id: int) -> str:
    """The oldest upload of a retailer that waits to be filed; at least one does.

    Uploads are filed in the order in which they came: a cut-off older one must not put its photos
    over those of a younger one. A handful of rows by the state's index.
    """
    return session.execute(
        sa.select(Upload.id)
        .where(Upload.state == UploadState.RECEIVED, Upload.retailer_id == retailer_id)
        .order_by(Upload.created_at, Upload.id)
        .limit(1)
    ).scalar_one()


def is_overtaken(session: Session, upload_id: str) -> bool:
    """Whether a delivery that began later was received earlier.

    Once this one is received that does not change: uploads are filed in the order in which they
    came. A look at the retailer's uploads.
    """
    return bool(session.scalar(sa.select(sa.exists(_later(upload_id)))))


def younger(
    session: Session, upload_id: str, skus: Collection[str], *, first: str, last: str
) -> dict[str, Younger]:
    """Those of the products that were filed from deliveries that began after this one.

    `first` and `last`: skus, in the database's order, between which they all are. Read are the
    lines of those deliveries between the two, by the index on (upload, sku, seq), as a stream: page
    by page, that is each of their lines once, however many deliveries they are.
    """
    rows = session.execute(
        sa.select(
            UploadItem.sku,
            UploadItem.upload_id,
            UploadItem.outcome,
            UploadItem.code,
            (sa.func.coalesce(UploadItem.title, "") != "").label("title"),
            (UploadItem.attributes != {}).label("attributes"),
        )
        .where(UploadItem.upload_id.in_(_later(upload_id)), UploadItem.sku.between(first, last))
        .execution_options(yield_per=1000)
    )
    photos: dict[str, str] = {}
    titles, attributes = set(), set()
    for row in rows:
        filed = row.outcome in FILED_OUTCOMES or row.outcome is ItemOutcome.MERGED
        # Of one that was overtaken itself the texts may have been taken.
        if row.sku not in skus or not (filed or row.code is FailureCode.SUPERSEDED):
            continue
        if filed:
            photos[row.sku] = row.upload_id
        if row.title:
            titles.add(row.sku)
        if row.attributes:
            attributes.add(row.sku)
    return {
        sku: Younger(upload=upload, title=sku in titles, attributes=sku in attributes)
        for sku, upload in photos.items()
    }


def _later(upload_id: str) -> sa.Select[str]:
    """Ids of the retailer's uploads that began after this one and are received."""
    mine = sa.select(Upload).where(Upload.id == upload_id).subquery()
    return (
        sa.select(Upload.id)
        .join(mine, mine.c.retailer_id == Upload.retailer_id)
        .where(
            Upload.state != UploadState.RECEIVING,
            sa.or_(
                Upload.created_at > mine.c.created_at,
                sa.and_(Upload.created_at == mine.c.created_at, Upload.id > mine.c.id),
            ),
        )
    )


def pending_lines(
    session: Session, upload_id: str, *, after_sku: str | None, most: int, most_chars: int
) -> tuple[list[UploadItem], bool]:
    """The first pending lines by sku, so that all lines of a product stand together; are these all?

    At most `most`, and no further one once their texts have `most_chars` characters: a line may
    hold a paragraph or a book. An index range on (upload, sku, seq), read as a stream. Behind
    `after_sku` only; without, the filter skips those of a million that are filed already.
    """
    query = _pending(upload_id).order_by(UploadItem.sku, UploadItem.seq)
    if after_sku is not None:
        query = query.where(UploadItem.sku > after_sku)
    return _first_of(session, query, most=most, most_chars=most_chars)


def lines_of_sku(
    session: Session, upload_id: str, sku: str, *, most: int, most_chars: int
) -> tuple[list[UploadItem], bool]:
    """The first pending lines of one product, as `pending_lines`; are these all?"""
    query = _pending(upload_id).where(UploadItem.sku == sku).order_by(UploadItem.seq)
    return _first_of(session, query, most=most, most_chars=most_chars)


def reject_lines_of_sku(
    session: Session, upload_id: str, sku: str, *, after_seq: int, code: FailureCode, error: str
) -> None:
    """Reject what is pending of a product behind a line, by the index on (upload, sku, seq)."""
    session.execute(
        sa.update(UploadItem)
        .where(
            UploadItem.upload_id == upload_id,
            UploadItem.sku == sku,
            UploadItem.seq > after_seq,
            UploadItem.outcome == ItemOutcome.PENDING,
        )
        .values(**refused(ItemOutcome.REJECTED, code, sku, error))
        .execution_options(synchronize_session=False)
    )


def _pending(upload_id: str) -> sa.Select[UploadItem]:
    return sa.select(UploadItem).where(
        UploadItem.upload_id == upload_id, UploadItem.outcome == ItemOutcome.PENDING
    )


def _first_of(
    session: Session, query: sa.Select[UploadItem], *, most: int, most_chars: int
) -> tuple[list[UploadItem], bool]:
    lines: list[UploadItem] = []
    chars = 0
    found = session.execute(query.limit(most).execution_options(yield_per=_FETCHED))
    for line in found.scalars():
        lines.append(line)
        chars += line.chars
        if chars >= most_chars:
            found.close()
            return lines, False
    return lines, len(lines) < most


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
        key=("image_set", "position"),
    )


def existing_products(
    session: Session, retailer_id: int, skus: Sequence[str]
) -> dict[str, Product]:
    """Products of a page of skus, locked, by the unique index on (retailer, sku).

    Locked in the order of their keys, as the workers lock them: what is decided here of a product
    must not be decided of a state that a worker is just replacing.
    """
    rows = session.execute(
        sa.select(Product)
        .where(Product.retailer_id == retailer_id, Product.sku.in_(skus))
        .order_by(Product.id)
        .with_for_update(key_share=True)
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


def superseded_count(session: Session, upload_id: str) -> int:
    """How many of the skipped lines are superseded, by the index on (upload, outcome)."""
    return session.execute(
        sa.select(sa.func.count()).where(
            UploadItem.upload_id == upload_id,
            UploadItem.outcome == ItemOutcome.SKIPPED,
            UploadItem.code == FailureCode.SUPERSEDED,
        )
    ).scalar_one()


def rejected_lines(database: Database, upload_id: str) -> Iterator[RejectedLine]:
    """The rejected lines in order."""
    return _lines_with(database, upload_id, ItemOutcome.REJECTED)


def skipped_lines(database: Database, upload_id: str) -> Iterator[RejectedLine]:
    """The skipped files and lines in order."""
    return _lines_with(database, upload_id, ItemOutcome.SKIPPED)


def _lines_with(database: Database, upload_id: str, outcome: ItemOutcome) -> Iterator[RejectedLine]:
    """In pages of 1,000 with a transaction each, by the index on (upload, outcome, seq)."""
    after = 0
    while True:
        with database.read() as session:
            page = session.execute(
                sa.select(
                    UploadItem.seq,
                    UploadItem.line,
                    UploadItem.code,
                    UploadItem.value,
                    UploadItem.error,
                )
                .where(
                    UploadItem.upload_id == upload_id,
                    UploadItem.outcome == outcome,
                    UploadItem.seq > after,
                )
                .order_by(UploadItem.seq)
                .limit(1000)
            ).all()
        for row in page:
            yield RejectedLine(
                line=row.line, code=row.code, value=row.value or "", error=row.error or ""
            )
        if len(page) < 1000:
            return
        after = page[-1].seq


def status_counts(session: Session, upload_id: str) -> dict[Status, int]:
    """An upload's products by status, by its ledger. (Of all there are: `counts.by_status`.)

    From two indexes alone, on PostgreSQL. Products that came together stand together: both are
    read from the first of them to the last.
    """
    ends = session.execute(
        sa.select(sa.func.min(UploadItem.product_id), sa.func.max(UploadItem.product_id)).where(
            UploadItem.upload_id == upload_id
        )
    ).one()
    # As numbers in the text: of parameters the planner would not know how much lies between them.
    first, last = (sa.bindparam(None, end or 0, BigId, literal_execute=True) for end in ends)
    query = (
        sa.select(Product.status, sa.func.count())
        .join(UploadItem, UploadItem.product_id == Product.id)
        .where(
            UploadItem.upload_id == upload_id,
            UploadItem.outcome.in_(FILED_OUTCOMES),
            Product.id.between(first, last),
        )
        .group_by(Product.status)
    )
    found = dict(session.execute(query).all())
    return {status: found.get(status, 0) for status in Status}


def get(session: Session, upload_id: str) -> Upload:
    """By primary key. Raises NotFoundError."""
    upload = session.get(Upload, upload_id)
    if upload is None:
        raise NotFoundError(f"no upload {upload_id!r}; `atelier status` lists the latest ones")
    return upload


def _showed(now: dt.datetime) -> sa.ColumnElement[bool]:
    """Whether an upload showed lately that somebody has it in hand."""
    # Not a long time from now: the clock was set back since.
    return sa.and_(Upload.beat_at > now - SILENT, Upload.beat_at < now + SILENT)


def coming_in(session: Session, upload_id: str | None, *, now: dt.datetime) -> bool:
    """Whether an upload (or any) is still being received or filed, and showed so lately.

    A handful of rows by the state's index.
    """
    query = sa.select(Upload.id).where(Upload.state != UploadState.FILED, _showed(now))
    if upload_id is not None:
        query = query.where(Upload.id == upload_id)
    return session.execute(query.limit(1)).one_or_none() is not None


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
