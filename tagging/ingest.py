"""accept_upload: a delivery becomes ledger lines, products and batches.

In two stages, so that a catalogue of any length passes in constant memory and rows of one product
may stand anywhere in it:

1. *Receiving* streams the delivery: images into the store, lines into the ledger as `pending`.
2. *Filing* takes pending lines in the order of their sku, page by page. Each page is one
   transaction that makes or changes products, gives every line its outcome, and makes the batches;
   after its commit the batches are announced.

An upload cut off while it was being received is delivered again (under the same id if it has
one); cut off while it was being filed, any worker's sweeper goes on with it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.catalog.delivery import (
    DeliveredRow,
    Delivery,
    DeliveryRowError,
    RejectedRow,
    Row,
    SkippedFile,
)
from tagging.database import batches, uploads
from tagging.database.session import Database
from tagging.database.tables import Product, UploadItem, UploadState
from tagging.database.uploads import LedgerLine
from tagging.domain import ItemOutcome, ReviewReason, Status
from tagging.images.decode import ImageRejected
from tagging.images.store import ImageStore, StoreSession

RECEIVE_ROWS: Final = 500
"""Ledger lines per transaction while receiving; their images are made durable together."""
FILE_LINES: Final = 2000
"""Ledger lines looked at per transaction while filing."""
MAX_PRODUCT_IMAGES: Final = 64
"""A product with more images is a mistake in the manifest more often than a product."""


class Announcer(Protocol):
    """Rings the doorbell: one message per batch, carrying its id."""

    def announce(self, batch_ids: Sequence[int]) -> None:
        """Send the messages. A broker that is away is logged, not raised: the sweeper rings."""


@dataclass(frozen=True, kw_only=True)
class UploadSummary:
    """What an upload came to; `products` counts each of its products once."""

    upload_id: str
    state: UploadState
    products: int
    created: int
    changed: int
    updated: int
    unchanged: int
    rejected: int
    skipped: int
    warnings: tuple[str, ...]

    @property
    def enqueued(self) -> int:
        """Products that a worker has to look at."""
        return self.created + self.changed


def new_upload_id(now: dt.datetime) -> str:
    """Sorts by time and is easy to read aloud: `20260131-141500-a1b2c3`."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def image_set_of(images: Sequence[str]) -> str:
    """The hash (sha256, hex) of ordered image sha256s."""
    return hashlib.sha256("\n".join(images).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """The service, with what it needs."""

    database: Database
    store: ImageStore
    announcer: Announcer
    batch_images: int
    image_max_bytes: int
    now: Callable[[], dt.datetime]

    def accept_upload(
        self,
        delivery: Delivery,
        *,
        retailer_id: int,
        upload_id: str | None = None,
        on_rows: Callable[[int], None] = lambda _: None,
    ) -> UploadSummary:
        """Take a whole delivery in. The same delivery twice changes nothing the second time.

        Args:
            delivery: open; read to its end.
            retailer_id: whose catalogue.
            upload_id: given by a caller that may have to try again after a kill: an upload of
                this id that is already filed is left alone, a cut-off one is taken up.
            on_rows: called with the number of rows received since the last call.
        """
        upload_id = upload_id or new_upload_id(self.now())
        with self.database.write() as session:
            state = uploads.begin(
                session,
                upload_id=upload_id,
                retailer_id=retailer_id,
                source=delivery.name,
                kind=delivery.kind,
                now=self.now(),
            )
            if state is UploadState.RECEIVING:
                uploads.forget_lines(session, upload_id)
            session.commit()
        if state is UploadState.RECEIVING:
            self._receive(delivery, upload_id, on_rows)
        self.file_upload(upload_id)
        return self.summary(upload_id)

    def _receive(self, delivery: Delivery, upload_id: str, on_rows: Callable[[int], None]) -> None:
        numbered = enumerate(delivery.rows(), start=1)
        while rows := list(itertools.islice(numbered, RECEIVE_ROWS)):
            lines: list[LedgerLine] = []
            images: list[tuple[str, int]] = []
            with self.store.session() as puts:
                for seq, row in rows:
                    line, stored = self._receive_row(seq, row, puts)
                    lines.append(line)
                    images.extend(stored)
                puts.flush()
            with self.database.write() as session:
                uploads.append_lines(session, upload_id, lines, images, now=self.now())
                session.commit()
            on_rows(len(rows))
        with self.database.write() as session:
            uploads.set_state(
                session,
                upload_id,
                UploadState.RECEIVED,
                now=self.now(),
                warnings=delivery.warnings,
            )
            session.commit()

    def _receive_row(
        self, seq: int, row: Row, puts: StoreSession
    ) -> tuple[LedgerLine, list[tuple[str, int]]]:
        if isinstance(row, SkippedFile):
            return LedgerLine(
                seq=seq, line=seq, outcome=ItemOutcome.SKIPPED, value=row.name, error=row.why
            ), []
        if isinstance(row, RejectedRow):
            return LedgerLine(
                seq=seq,
                line=row.line,
                outcome=ItemOutcome.REJECTED,
                sku=row.sku,
                value=row.value,
                error=row.error,
            ), []
        if len(row.images) > MAX_PRODUCT_IMAGES:
            return _rejected(
                seq,
                row,
                row.sku,
                f"the line names {len(row.images)} images; a product has at most "
                f"{MAX_PRODUCT_IMAGES}. Keep the ones that show it best.",
            ), []
        stored: list[tuple[str, int]] = []
        for image in row.images:
            try:
                with image.open() as stream:
                    stored.append(puts.put(stream, max_bytes=self.image_max_bytes))
            except ImageRejected as error:
                return _rejected(seq, row, image.name, error.detail), []
            except (OSError, DeliveryRowError) as error:
                # A full disk is no fault of the row: it must end the upload, loudly.
                if isinstance(error, OSError) and not _is_the_files_fault(error):
                    raise
                return _rejected(
                    seq, row, image.name, f"cannot be read: {error}. Deliver the file again."
                ), []
        return LedgerLine(
            seq=seq,
            line=row.line,
            outcome=ItemOutcome.PENDING,
            sku=row.sku,
            images=tuple(sha256 for sha256, _ in stored),
            title=row.title,
            attributes=dict(row.attributes),
        ), stored

    def file_upload(self, upload_id: str) -> None:
        """Give every pending line its outcome, and announce the batches that come of it."""
        while True:
            with self.database.write() as session:
                upload = uploads.lock(session, upload_id)
                if upload.state is not UploadState.RECEIVED:
                    return
                page = _Page(self, upload.id, upload.retailer_id)
                finished = page.file(session)
                if finished:
                    uploads.set_state(session, upload_id, UploadState.FILED, now=self.now())
                session.commit()
            if page.batch_ids:
                self.announcer.announce(page.batch_ids)
            if finished:
                return

    def summary(self, upload_id: str) -> UploadSummary:
        """What the ledger says of an upload. Raises NotFoundError."""
        with self.database.read() as session:
            upload = uploads.get(session, upload_id)
            counts = uploads.outcome_counts(session, upload_id)
        return UploadSummary(
            upload_id=upload_id,
            state=upload.state,
            products=sum(counts[outcome] for outcome in uploads.FILED_OUTCOMES),
            created=counts[ItemOutcome.CREATED],
            changed=counts[ItemOutcome.CHANGED],
            updated=counts[ItemOutcome.UPDATED],
            unchanged=counts[ItemOutcome.UNCHANGED],
            rejected=counts[ItemOutcome.REJECTED],
            skipped=counts[ItemOutcome.SKIPPED],
            warnings=tuple(upload.warnings),
        )


class _Page:
    """One transaction's worth of filing."""

    def __init__(self, service: Ingest, upload_id: str, retailer_id: int) -> None:
        self.service = service
        self.upload_id = upload_id
        self.retailer_id = retailer_id
        self.now = service.now()
        self.batch_ids: list[int] = []
        self._settled: list[dict[str, Any]] = []
        self._queued: list[tuple[int, str, int]] = []

    def file(self, session: Session) -> bool:
        """File the first pending products; True when none was left behind."""
        groups, last = self._groups(session)
        if not groups:
            return True
        known = uploads.existing_products(session, self.retailer_id, list(groups))
        wanted = {sku: _merge(lines) for sku, lines in groups.items()}
        uploads.add_image_sets(
            session, {merged.image_set: merged.images for merged in wanted.values()}
        )
        # Full batches only, unless these are the last products: the rest waits for the next page.
        chosen: list[str] = []
        full_until, images = 0, 0
        for sku, merged in wanted.items():
            product = known.get(sku)
            if product is None or product.image_set != merged.image_set:
                if images and images + len(merged.images) > self.service.batch_images:
                    full_until, images = len(chosen), 0
                images += len(merged.images)
            chosen.append(sku)
        if not last and full_until:
            chosen = chosen[:full_until]
        self._write_products(session, [(s, wanted[s], known.get(s), groups[s]) for s in chosen])
        self._make_batches(session)
        uploads.settle_lines(session, self._settled)
        return last and len(chosen) == len(wanted)

    def _groups(self, session: Session) -> tuple[dict[str, list[UploadItem]], bool]:
        lines = uploads.pending_lines(session, self.upload_id, FILE_LINES)
        groups: dict[str, list[UploadItem]] = {}
        for line in lines:
            groups.setdefault(str(line.sku), []).append(line)
        last = len(lines) < FILE_LINES
        if not last:
            # The page may have cut the last product's lines in two.
            final = next(reversed(groups))
            if len(groups) > 1:
                del groups[final]
            else:
                groups[final] = uploads.lines_of_sku(session, self.upload_id, final)
        return groups, last

    def _write_products(
        self,
        session: Session,
        rows: Iterable[tuple[str, _Merged, Product | None, list[UploadItem]]],
    ) -> None:
        fresh = [(sku, merged, lines) for sku, merged, product, lines in rows if product is None]
        old = [
            (product, merged, lines) for _, merged, product, lines in rows if product is not None
        ]
        if fresh:
            ids = dict(
                session.execute(
                    sa.insert(Product).returning(Product.sku, Product.id),
                    [self._new_row(sku, merged) for sku, merged, _ in fresh],
                ).all()
            )
            for sku, merged, lines in fresh:
                self._queued.append((ids[sku], merged.image_set, len(merged.images)))
                self._settle(lines, merged, ids[sku], ItemOutcome.CREATED)
        # In the order of their keys, as the workers write: two writers then cannot deadlock.
        for product, merged, lines in sorted(old, key=lambda entry: entry[0].id):
            self._settle(lines, merged, product.id, self._change(product, merged))

    def _new_row(self, sku: str, merged: _Merged) -> dict[str, Any]:
        return {
            "retailer_id": self.retailer_id,
            "sku": sku,
            "title": merged.title,
            "attributes": merged.attributes,
            "image_set": merged.image_set,
            "upload_id": self.upload_id,
            "status": Status.QUEUED,
            "audit": False,
            "created_at": self.now,
            "updated_at": self.now,
        }

    def _change(self, product: Product, merged: _Merged) -> ItemOutcome:
        described = (merged.title is None or merged.title == product.title) and (
            not merged.attributes or merged.attributes == product.attributes
        )
        if not described:
            product.title = merged.title or product.title
            product.attributes = merged.attributes or product.attributes
            product.updated_at = self.now
        if product.delisted_at is not None:
            product.delisted_at, product.updated_at = None, self.now
            described = False
        if product.image_set == merged.image_set:
            return ItemOutcome.UNCHANGED if described else ItemOutcome.UPDATED
        product.image_set = merged.image_set
        product.upload_id = self.upload_id
        product.suggestion = product.confidence = product.prediction_id = None
        product.failure_code = product.failure_detail = None
        product.audit = False
        product.updated_at = self.now
        if product.decided_by == "person":
            # The person's category stays in force until somebody has seen the new photo.
            product.status = Status.NEEDS_REVIEW
            product.review_reason = ReviewReason.PHOTO_CHANGED
        else:
            product.status = Status.QUEUED
            product.review_reason = product.category = product.decided_by = None
        self._queued.append((product.id, merged.image_set, len(merged.images)))
        return ItemOutcome.CHANGED

    def _settle(
        self, lines: Sequence[UploadItem], merged: _Merged, product_id: int, outcome: ItemOutcome
    ) -> None:
        first = True
        for line in lines:
            change: dict[str, Any] = {"upload_id": line.upload_id, "seq": line.seq}
            if line.seq in merged.too_many:
                change |= {
                    "outcome": ItemOutcome.REJECTED,
                    "value": str(line.sku),
                    "error": (
                        f"product {line.sku!r} has more than {MAX_PRODUCT_IMAGES} images; this "
                        "line's were left out. Check whether its sku is meant."
                    ),
                }
            else:
                change |= {
                    "outcome": outcome if first else ItemOutcome.MERGED,
                    "product_id": product_id,
                    "value": None,
                    "error": None,
                }
                first = False
            self._settled.append(change)

    def _make_batches(self, session: Session) -> None:
        batch: list[tuple[int, str, int]] = []
        images = 0
        for item in [*self._queued, None]:
            if batch and (item is None or images + item[2] > self.service.batch_images):
                self.batch_ids.append(
                    batches.create(
                        session,
                        retailer_id=self.retailer_id,
                        upload_id=self.upload_id,
                        items=batch,
                        now=self.now,
                    )
                )
                batch, images = [], 0
            if item is not None:
                batch.append(item)
                images += item[2]
        if self.batch_ids:
            # Marked before the messages are sent: if they get lost, the sweeper sends them again
            # as soon as this mark is old, because the broker then holds fewer than are queued.
            batches.mark_announced(session, self.batch_ids, now=self.now)


@dataclass(frozen=True, kw_only=True)
class _Merged:
    """What all lines of one sku say together."""

    images: tuple[str, ...]
    image_set: str
    title: str | None
    attributes: dict[str, Any]
    too_many: frozenset[int]


def _merge(lines: Sequence[UploadItem]) -> _Merged:
    images: dict[str, None] = {}
    attributes: dict[str, Any] = {}
    too_many: set[int] = set()
    for line in lines:
        if len(images.keys() | set(line.images)) > MAX_PRODUCT_IMAGES:
            too_many.add(line.seq)
            continue
        images.update(dict.fromkeys(line.images))
        attributes = {**line.attributes, **attributes}
    ordered = tuple(images)
    return _Merged(
        images=ordered,
        image_set=image_set_of(ordered),
        title=next((line.title for line in lines if line.title), None),
        attributes=attributes,
        too_many=frozenset(too_many),
    )


def _rejected(seq: int, row: DeliveredRow, value: str, error: str) -> LedgerLine:
    return LedgerLine(
        seq=seq,
        line=row.line,
        outcome=ItemOutcome.REJECTED,
        sku=row.sku,
        value=value,
        error=error,
    )


def _is_the_files_fault(error: OSError) -> bool:
    return isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
