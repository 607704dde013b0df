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
import errno
import itertools
import secrets
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, Protocol

from tagging.catalog.delivery import (
    DeliveredRow,
    Delivery,
    DeliveryRowError,
    ImageSource,
    RejectedRow,
    Row,
    SkippedFile,
    failure_of,
)
from tagging.catalog.web_images import ImageFetcher
from tagging.database import uploads
from tagging.database.session import Database
from tagging.database.tables import UploadState
from tagging.database.uploads import LedgerLine, PendingLine, RefusedLine
from tagging.domain import FailureCode, ItemOutcome
from tagging.errors import MachineError
from tagging.fetch.address import FetchError
from tagging.fetch.ahead import fetched_ahead
from tagging.filing import MAX_PRODUCT_IMAGES, Page
from tagging.images.decode import ImageRejected
from tagging.images.store import ImageStore, StoreSession

RECEIVE_ROWS: Final = 500
"""Ledger lines per transaction while receiving; their images are made durable together."""
RECEIVE_CHARS: Final = 8_000_000
"""Characters of their texts, after which a transaction takes no further line."""
KNOWN_IMAGES: Final = 10_000
"""Images of a delivery that are told by their identity while it is received."""
BEAT: Final = dt.timedelta(seconds=10)


class Announcer(Protocol):
    """Rings the doorbell: one message per batch, carrying its id."""

    def announce(self, batch_ids: Sequence[int]) -> None:
        """Send the messages. A broker that is away is logged, not raised: the sweeper rings."""


@dataclass(frozen=True, kw_only=True)
class UploadSummary:
    """What an upload came to; `products` counts each of its products once. `skipped`: files that
    are no pictures; `superseded`: lines whose photos a younger delivery had replaced already."""

    upload_id: str
    state: UploadState
    products: int
    created: int
    changed: int
    updated: int
    unchanged: int
    rejected: int
    skipped: int
    superseded: int
    warnings: tuple[str, ...]

    @property
    def enqueued(self) -> int:
        """Products that a worker has to look at."""
        return self.created + self.changed


def new_upload_id(now: dt.datetime) -> str:
    """Sorts by time and is easy to read aloud: `20260131-141500-a1b2c3`."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """The service, with what it needs."""

    database: Database
    store: ImageStore
    announcer: Announcer
    batch_images: int
    image_max_bytes: int
    now: Callable[[], dt.datetime]
    fetcher: ImageFetcher | None = None
    """Gets the images that manifests name by web addresses; None: they are rejected."""
    fetch_threads: int = 8

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

        Raises:
            DeliveryError: the delivery as a whole cannot be read to its end.
            MachineError: this machine or its image store takes no more.
        """
        upload_id = upload_id or new_upload_id(self.now())
        receiver = secrets.token_hex(16)
        with self.database.write("upload.begin") as session:
            state = uploads.begin(
                session,
                upload_id=upload_id,
                retailer_id=retailer_id,
                source=delivery.name,
                kind=delivery.kind,
                receiver=receiver,
                now=self.now(),
            )
            if state is UploadState.RECEIVING:
                uploads.forget_lines(session, upload_id)
            session.commit()
        if state is UploadState.RECEIVING:
            self._receive(delivery, upload_id, receiver, on_rows)
        self.file_upload(upload_id)
        return self.summary(upload_id)

    def _receive(
        self, delivery: Delivery, upload_id: str, receiver: str, on_rows: Callable[[int], None]
    ) -> None:
        beat = self._beat(upload_id, receiver)
        intake = _Intake(max_bytes=self.image_max_bytes)
        rows = fetched_ahead(
            delivery.rows(),
            threads=self.fetch_threads,
            max_images=MAX_PRODUCT_IMAGES,
            on_wait=beat,
        )
        with closing(rows):
            numbered = enumerate(rows, start=1)
            while self._receive_page(
                upload_id, receiver, _next_rows(numbered), intake, on_rows, beat
            ):
                pass
        with self.database.write("upload.received") as session:
            uploads.end_receiving(
                session,
                upload_id,
                receiver=receiver,
                warnings=delivery.warnings,
                now=self.now(),
            )
            session.commit()

    def _receive_page(
        self,
        upload_id: str,
        receiver: str,
        rows: Iterator[tuple[int, Row]],
        intake: _Intake,
        on_rows: Callable[[int], None],
        beat: Callable[[], None],
    ) -> bool:
        """Store and write down the next rows, one by one as they come; False at the end."""
        lines: list[LedgerLine] = []
        images: list[tuple[str, int]] = []
        with self.store.session() as puts:
            for seq, row in rows:
                line, stored = self._receive_row(seq, row, intake, puts)
                lines.append(line)
                images.extend(stored)
                beat()
            puts.flush()
        if not lines:
            return False
        self._append(upload_id, receiver, lines, images)
        on_rows(len(lines))
        return True

    def _append(
        self,
        upload_id: str,
        receiver: str,
        lines: Sequence[LedgerLine],
        images: Sequence[tuple[str, int]],
    ) -> None:
        with self.database.write("upload.receive") as session:
            uploads.append_lines(
                session, upload_id, lines, images, receiver=receiver, now=self.now()
            )
            session.commit()

    def _beat(self, upload_id: str, receiver: str) -> Callable[[], None]:
        """Called about once a second while an image is waited for, it shows now and then that the
        upload is still coming in. Ends it (DeliveryError) if another process has taken it over."""
        last = self.now()

        def beat() -> None:
            nonlocal last
            if abs(self.now() - last) >= BEAT:  # backwards: the clock was set back
                last = self.now()
                self._append(upload_id, receiver, [], [])

        return beat

    def _receive_row(
        self, seq: int, row: Row, intake: _Intake, puts: StoreSession
    ) -> tuple[LedgerLine, list[tuple[str, int]]]:
        if isinstance(row, SkippedFile):
            return RefusedLine(
                seq=seq,
                line=seq,
                outcome=ItemOutcome.SKIPPED,
                code=row.code,
                value=row.name,
                error=row.why,
            ), []
        if isinstance(row, RejectedRow):
            return RefusedLine(
                seq=seq,
                line=row.line,
                outcome=ItemOutcome.REJECTED,
                code=row.code,
                sku=row.sku,
                value=row.value,
                error=row.error,
            ), []
        if len(row.images) > MAX_PRODUCT_IMAGES:
            return _rejected(
                seq,
                row,
                FailureCode.TOO_MANY_IMAGES,
                row.sku,
                f"the line names {len(row.images)} images; a product has at most "
                f"{MAX_PRODUCT_IMAGES}. Keep the ones that show it best.",
            ), []
        stored: list[tuple[str, int]] = []
        for image in row.images:
            try:
                stored.append(intake.put(image, puts))
            except ImageRejected as error:
                return _rejected(seq, row, error.code, image.name, error.detail), []
            except FetchError as error:
                return _rejected(seq, row, error.code, image.name, str(error)), []
            except (OSError, DeliveryRowError) as error:
                return _rejected(
                    seq,
                    row,
                    failure_of(error),
                    image.name,
                    f"cannot be read: {_why(error)}. Deliver the file again.",
                ), []
        return PendingLine(
            seq=seq,
            line=row.line,
            sku=row.sku,
            images=tuple(sha256 for sha256, _ in stored),
            title=row.title,
            attributes=dict(row.attributes),
        ), stored

    def file_upload(
        self,
        upload_id: str,
        *,
        on_page: Callable[[], None] = lambda: None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """Give every pending line its outcome, and announce the batches that come of it.

        Older uploads of the same retailer that were cut off before their filing are filed first.

        Args:
            upload_id: an upload whose receiving has ended; a filed one is left alone.
            on_page: called after each transaction.
            go_on: asked after each; where it says no, the rest stays pending.
        """
        filed = False
        reached: dict[str, str] = {}
        overtaken: dict[str, bool] = {}
        while not filed:
            with self.database.write("upload.file") as session:
                upload = uploads.lock(session, upload_id)
                if upload.state is not UploadState.RECEIVED:
                    return
                first = uploads.first_received(session, upload.retailer_id)
                if first != upload_id:
                    upload = uploads.lock(session, first)
                if upload.id not in overtaken:
                    overtaken[upload.id] = uploads.is_overtaken(session, upload.id)
                page = Page(
                    upload_id=upload.id,
                    retailer_id=upload.retailer_id,
                    batch_images=self.batch_images,
                    now=self.now(),
                    after_sku=reached.get(upload.id),
                    overtaken=overtaken[upload.id],
                )
                upload.beat_at = self.now()
                if page.file(session):
                    upload.state, upload.filed_at = UploadState.FILED, self.now()
                    filed = upload.id == upload_id
                session.commit()
            if page.last_sku is not None:
                reached[page.upload_id] = page.last_sku
            if page.batch_ids:
                self.announcer.announce(page.batch_ids)
            on_page()
            if not go_on():
                return

    def summary(self, upload_id: str) -> UploadSummary:
        """What the ledger says of an upload. Raises NotFoundError."""
        with self.database.read() as session:
            upload = uploads.get(session, upload_id)
            counts = uploads.outcome_counts(session, upload_id)
            skipped = counts[ItemOutcome.SKIPPED]
            superseded = uploads.superseded_count(session, upload_id) if skipped else 0
        return UploadSummary(
            upload_id=upload_id,
            state=upload.state,
            products=sum(counts[outcome] for outcome in uploads.FILED_OUTCOMES),
            created=counts[ItemOutcome.CREATED],
            changed=counts[ItemOutcome.CHANGED],
            updated=counts[ItemOutcome.UPDATED],
            unchanged=counts[ItemOutcome.UNCHANGED],
            rejected=counts[ItemOutcome.REJECTED],
            skipped=skipped - superseded,
            superseded=superseded,
            warnings=tuple(upload.warnings),
        )


def _next_rows(numbered: Iterator[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """The rows of the next transaction: few of those that hold a book."""
    chars = 0
    for seq, row in itertools.islice(numbered, RECEIVE_ROWS):
        yield seq, row
        if isinstance(row, DeliveredRow):
            chars += row.chars
            if chars >= RECEIVE_CHARS:
                return


_Refusal = ImageRejected | DeliveryRowError


@dataclass(frozen=True, kw_only=True)
class _Intake:
    """Puts the images of one delivery into the store, each of them once.

    A manifest may name one image in every row: read, written and hashed for each, a few files would
    be terabytes of work.
    """

    max_bytes: int
    _known: dict[Hashable, tuple[str, int] | _Refusal] = field(default_factory=dict)

    def put(self, image: ImageSource, puts: StoreSession) -> tuple[str, int]:
        """sha256 and size. Raises as `ImageSource.open` and `StoreSession.put` do."""
        with image.open() as stream:
            identity = image.identity(stream)
            if identity is None:
                return puts.put(stream, max_bytes=self.max_bytes)
            known = self._known.get(identity)
            if isinstance(known, Exception):
                raise _anew(known)
            if known is not None and puts.has(*known):
                return known
            if len(self._known) >= KNOWN_IMAGES:
                self._known.clear()
            try:
                stored = puts.put(stream, max_bytes=self.max_bytes)
            except (ImageRejected, DeliveryRowError) as error:
                self._known[identity] = _anew(error)
                raise
            self._known[identity] = stored
            return stored


def _anew(error: _Refusal) -> _Refusal:
    """The same error without its traceback, whose frames hold an image each."""
    found = error.__class__.__new__(error.__class__)
    found.args = error.args
    found.__dict__.update(error.__dict__)
    return found


def _rejected(seq: int, row: DeliveredRow, code: FailureCode, value: str, error: str) -> LedgerLine:
    return RefusedLine(
        seq=seq,
        line=row.line,
        outcome=ItemOutcome.REJECTED,
        code=code,
        sku=row.sku,
        value=value,
        error=error,
    )


_OF_THIS_MACHINE: Final = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    }
)
"""No room (for what is fetched from the web, and kept until it is stored), files or memory left."""


def _why(error: OSError | DeliveryRowError) -> str:
    """What stood in the way of reading an image, whoever's disk it lies on.

    Raises:
        MachineError: it is no fault of the image, and must end the upload, loudly.
    """
    if not isinstance(error, OSError):
        return str(error)
    if error.errno in _OF_THIS_MACHINE:
        raise MachineError(
            f"this machine cannot take the delivery in: {error}. Make room (also in its folder for "
            "temporary files), or raise its limits, and deliver again"
        ) from error
    return error.strerror or str(error)
