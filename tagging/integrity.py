"""Whether what must hold holds, over all rows and the whole store: `atelier check --deep`.

It changes nothing, may run while everything works, and keeps a page of rows in memory. Every
statement sees the database as one commit left it, rows and files that come while it looks are
waited for or looked at again, so what it finds is so.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tagging.database import batches, counts, stored_images
from tagging.database import integrity as rows
from tagging.database.session import Database
from tagging.database.stored_images import NamedImage
from tagging.filing import image_set_of
from tagging.images.store import FolderImageStore, StoredFile
from tagging.ingest import Announcer

EXAMPLES: Final = 5
SETTLED_S: Final = 60 * 60.0
"""What was written in the last hour may be on its way: a file without a row, an upload."""


class Damage(enum.StrEnum):
    """What is looked for; each with a sentence on what it means."""

    UNLAWFUL_STATE = "unlawful_state"
    """A product whose columns contradict its status."""
    QUEUED_NOWHERE = "queued_nowhere"
    """A queued product that is in no batch that waits or is in hand: nobody will tag it."""
    FOREIGN_PREDICTION = "foreign_prediction"
    """A product that shows a prediction of another product or of other photos, or of none."""
    DOUBLED_PREDICTION = "doubled_prediction"
    """Two predictions for one product, image set, model and preprocessing version."""
    DOUBLED_IMAGE_PREDICTION = "doubled_image_prediction"
    """Two image predictions for one image, model and preprocessing version."""
    UNKNOWN_IMAGES = "unknown_images"
    """A product or prediction with an image set that nothing says the images of."""
    ALTERED_IMAGE_SET = "altered_image_set"
    """An image set whose images do not make its hash, or are none that the database knows."""
    MISSING_IMAGE = "missing_image"
    """An image that the database names and the store does not have."""
    ALTERED_IMAGE = "altered_image"
    """A stored image with other bytes than it is named by."""
    LEDGER = "ledger"
    """A line of a filed upload's ledger that does not add up with its product."""
    LOST_LINE = "lost_line"
    """A gap in the running numbers of a filed upload's ledger."""
    NOT_IN_LEDGER = "not_in_ledger"
    """A product that the ledger of its upload does not have."""
    WRONG_COUNT = "wrong_count"
    """A status of which a retailer has more or fewer products than is said."""
    UNFINISHED_UPLOAD = "unfinished_upload"
    """An upload that was cut off, an hour ago or longer."""
    TEMPORARY_FILE = "temporary_file"
    """What a process that died left in the store, half-written."""
    ORPHAN = "orphan"
    """A stored image, or another file in the store, that the database does not name."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a damage is told. `promise`: its number among what must hold, None for what breaks none.

    `subject`: what is counted. `remedy`: what to do.
    """

    promise: int | None
    subject: str
    said: str
    remedy: str


_RESTORE: Final = "restore a backup from before it (docs/backup.md), and report this as a defect"
KINDS: Final[dict[Damage, Kind]] = {
    Damage.UNLAWFUL_STATE: Kind(
        promise=1,
        subject="products",
        said="whose columns contradict their status",
        remedy=f"something other than Atelier wrote them: {_RESTORE}",
    ),
    Damage.QUEUED_NOWHERE: Kind(
        promise=1,
        subject="products",
        said="queued, but in no batch that waits or is in hand",
        remedy="`atelier check --deep --mend` puts them into batches; a running worker tags them",
    ),
    Damage.FOREIGN_PREDICTION: Kind(
        promise=2,
        subject="products",
        said="that show a prediction which is not theirs",
        remedy=f"something other than Atelier wrote them: {_RESTORE}",
    ),
    Damage.DOUBLED_PREDICTION: Kind(
        promise=2,
        subject="predictions",
        said="that say again what another says of the same photos",
        remedy=f"the table has lost its unique constraint: {_RESTORE}",
    ),
    Damage.DOUBLED_IMAGE_PREDICTION: Kind(
        promise=2,
        subject="image predictions",
        said="that say again what another says of the same image",
        remedy=f"the table has lost its unique constraint: {_RESTORE}",
    ),
    Damage.UNKNOWN_IMAGES: Kind(
        promise=3,
        subject="products and predictions",
        said="whose image set has no images in the database",
        remedy="deliver these products again with their photos; if it stays so, " + _RESTORE,
    ),
    Damage.ALTERED_IMAGE_SET: Kind(
        promise=3,
        subject="image sets",
        said="whose images do not make their hash",
        remedy=f"something other than Atelier wrote them: {_RESTORE}",
    ),
    Damage.MISSING_IMAGE: Kind(
        promise=3,
        subject="images",
        said="that the store does not have",
        remedy="copy them back from a backup of the store, or deliver their photos again: they are "
        "stored anew, and products that failed for want of them are queued",
    ),
    Damage.ALTERED_IMAGE: Kind(
        promise=3,
        subject="images",
        said="with other bytes than they are named by",
        remedy="check the disk; move these files away, and copy them back from a backup of the "
        "store or deliver their photos again",
    ),
    Damage.LEDGER: Kind(
        promise=7,
        subject="ledger lines",
        said="that do not add up with their products",
        remedy=f"something other than Atelier wrote them: {_RESTORE}",
    ),
    Damage.LOST_LINE: Kind(
        promise=7,
        subject="ledger lines",
        said="that follow upon a gap",
        remedy=f"lines of the ledger were deleted: {_RESTORE}; or deliver the same again",
    ),
    Damage.NOT_IN_LEDGER: Kind(
        promise=7,
        subject="products",
        said="that the ledger of their upload does not have",
        remedy=f"something other than Atelier wrote them: {_RESTORE}",
    ),
    Damage.WRONG_COUNT: Kind(
        promise=7,
        subject="counts",
        said="that are not what the products come to",
        remedy="something other than Atelier wrote them, or products past the triggers: "
        "`atelier check --deep --mend` corrects them",
    ),
    Damage.UNFINISHED_UPLOAD: Kind(
        promise=None,
        subject="uploads",
        said="cut off an hour ago or longer",
        remedy="those that were received are filed by any running worker. Deliver again those that "
        "were being received, with `--upload ID`, or `atelier uploads forget ID`",
    ),
    Damage.TEMPORARY_FILE: Kind(
        promise=None,
        subject="files in the store",
        said="left half-written by a process that died",
        remedy="nothing: the next delivery removes what is older than a day",
    ),
    Damage.ORPHAN: Kind(
        promise=None,
        subject="files in the store",
        said="that the database does not name",
        remedy="harmless: images of deliveries that were cut off. They may be deleted while "
        "nothing is delivered",
    ),
}


@dataclass(frozen=True, kw_only=True)
class DeepFinding:
    """How often a damage was found. `looked_at`: among how many; `examples`: the first few."""

    damage: Damage
    looked_at: int
    count: int
    examples: tuple[str, ...]

    @property
    def broken(self) -> bool:
        """Whether something that must hold does not."""
        return self.count > 0 and KINDS[self.damage].promise is not None


@dataclass(kw_only=True)
class _Tally:
    looked_at: int = 0
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


@dataclass(kw_only=True)
class DeepCheck:
    """One look at everything.

    Args:
        now: wall time; only to tell what is old enough to count.
        sample: of how many images the bytes are read; None: of all. Name and size are compared of
            every one.
        on_progress: called with what is looked at, how many of it were, and of how many (0: not
            known).
        seed: of the sample.
    """

    database: Database
    store: FolderImageStore
    now: dt.datetime
    sample: int | None = None
    on_progress: Callable[[str, int, int], None] = lambda _what, _done, _of: None
    seed: int | None = None
    _tallies: dict[Damage, _Tally] = field(default_factory=dict)

    def run(self) -> list[DeepFinding]:
        """Every kind of damage, found or not, in the order of `Damage`.

        Raises:
            StoreAwayError: the image store cannot be reached.
        """
        self._tallies = {damage: _Tally() for damage in Damage}
        self._products()
        self._counts()
        self._predictions()
        self._image_predictions()
        self._image_sets()
        self._uploads()
        self._images()
        return [
            DeepFinding(
                damage=damage,
                looked_at=tally.looked_at,
                count=tally.count,
                examples=tuple(tally.examples),
            )
            for damage, tally in self._tallies.items()
        ]

    def _seen(self, what: str, number: int, *damages: Damage) -> None:
        for damage in damages:
            self._tallies[damage].looked_at += number
        self.on_progress(what, self._tallies[damages[0]].looked_at, 0)

    def _products(self) -> None:
        for page in product_pages(self.database):
            self._seen(
                "products",
                len(page),
                Damage.UNLAWFUL_STATE,
                Damage.QUEUED_NOWHERE,
                Damage.FOREIGN_PREDICTION,
                Damage.UNKNOWN_IMAGES,
                Damage.NOT_IN_LEDGER,
            )
            for look in page:
                name = f"{look.retailer} {look.sku!r} ({look.status})"
                for damage, found in (
                    (Damage.UNLAWFUL_STATE, look.unlawful),
                    (Damage.QUEUED_NOWHERE, look.queued_nowhere),
                    (Damage.FOREIGN_PREDICTION, look.foreign_prediction),
                    (Damage.UNKNOWN_IMAGES, look.unknown_images),
                    (Damage.NOT_IN_LEDGER, look.not_in_ledger),
                ):
                    if found:
                        self._tallies[damage].add(name)

    def _counts(self) -> None:
        with self.database.read() as session:
            found = counts.compared(session)
        self._seen("counts", len(found), Damage.WRONG_COUNT)
        for one in found:
            if one.said != one.there:
                self._tallies[Damage.WRONG_COUNT].add(
                    f"{one.retailer} {one.status}: {one.said:,} are said, {one.there:,} are there"
                )

    def _predictions(self) -> None:
        after = (0, 0)
        same = _Same()
        while True:
            with self.database.read() as session:
                page = rows.predictions(session, after=after)
            self._seen("predictions", len(page), Damage.DOUBLED_PREDICTION, Damage.UNKNOWN_IMAGES)
            for look in page:
                if same.again(look.product_id, look.same):
                    self._tallies[Damage.DOUBLED_PREDICTION].add(f"prediction {look.id}")
                if look.unknown_images:
                    self._tallies[Damage.UNKNOWN_IMAGES].add(f"prediction {look.id}")
            if len(page) < rows.PAGE:
                return
            after = (page[-1].product_id, page[-1].id)

    def _image_predictions(self) -> None:
        after = ("", 0)
        same = _Same()
        while True:
            with self.database.read() as session:
                page = rows.image_predictions(session, after=after)
            self._seen("image predictions", len(page), Damage.DOUBLED_IMAGE_PREDICTION)
            for sha256, key, shared in page:
                if same.again(sha256, shared):
                    self._tallies[Damage.DOUBLED_IMAGE_PREDICTION].add(f"image prediction {key}")
            if len(page) < rows.PAGE:
                return
            after = page[-1][:2]

    def _image_sets(self) -> None:
        for image_set, looks in _sets(self.database):
            self._seen("image sets", 1, Damage.ALTERED_IMAGE_SET)
            hashed = image_set_of([look.sha256 for look in looks])
            whole = [look.position for look in looks] == list(range(len(looks)))
            if hashed != image_set or not whole or not all(look.known for look in looks):
                self._tallies[Damage.ALTERED_IMAGE_SET].add(image_set)

    def _uploads(self) -> None:
        after = ""
        while True:
            with self.database.read() as session:
                page = rows.filed_uploads(session, after=after)
            for upload_id, retailer_id in page:
                self._ledger(upload_id, retailer_id)
            if len(page) < rows.PAGE:
                break
            after = page[-1][0]
        before = self.now - dt.timedelta(seconds=SETTLED_S)
        with self.database.read() as session:
            unfinished = rows.unfinished_uploads(session, before=before)
        self._tallies[Damage.UNFINISHED_UPLOAD].looked_at += len(unfinished)
        for upload_id, state in unfinished:
            self._tallies[Damage.UNFINISHED_UPLOAD].add(f"{upload_id} ({state})")

    def _ledger(self, upload_id: str, retailer_id: int) -> None:
        """A filed upload's ledger; its lines never change any more."""
        self._seen("uploads", 1, Damage.UNFINISHED_UPLOAD)
        after = 0
        while True:
            with self.database.read() as session:
                page = rows.ledger_lines(session, upload_id, retailer_id, after=after)
            self._seen("ledger lines", len(page), Damage.LEDGER, Damage.LOST_LINE)
            for look in page:
                if look.wrong:
                    self._tallies[Damage.LEDGER].add(
                        f"{upload_id} line {look.line} ({look.sku!r}, {look.outcome})"
                    )
                if look.seq != after + 1:
                    self._tallies[Damage.LOST_LINE].add(
                        f"{upload_id}: number {look.seq} follows {after}"
                    )
                after = look.seq
            if len(page) < rows.PAGE:
                return

    def _images(self) -> None:
        with self.database.read() as session:
            total, _ = stored_images.totals(session)
        if total:
            self.store.require_available()
        chosen = _Sample(self.sample, total, self.seed)
        named = stored_images.in_order(self.database)
        for image, file in _merged(named, self.store.walk()):
            if image is not None:
                self._seen("images", 1, Damage.MISSING_IMAGE, Damage.ALTERED_IMAGE)
                self._image(image, read=chosen.takes())
                self.on_progress("images", self._tallies[Damage.MISSING_IMAGE].looked_at, total)
            if file is not None:
                self._seen("files", 1, Damage.ORPHAN, Damage.TEMPORARY_FILE)
                if image is None:
                    self._unnamed(file)

    def _image(self, image: NamedImage, *, read: bool) -> None:
        # Asked for by name, whatever the walk saw: it may have passed here before the file came.
        path = self.store.path(image.sha256)
        try:
            size = path.stat().st_size
            if size != image.size_bytes:
                said = f"{path}: {size:,} bytes, should be {image.size_bytes:,}"
                self._tallies[Damage.ALTERED_IMAGE].add(said)
            elif read and (found := _sha256_of(path)) != image.sha256:
                self._tallies[Damage.ALTERED_IMAGE].add(f"{path}: its sha256 is {found}")
        except FileNotFoundError:
            self._tallies[Damage.MISSING_IMAGE].add(image.sha256)
        except OSError as error:
            self._tallies[Damage.ALTERED_IMAGE].add(f"{path}: cannot be read: {error.strerror}")

    def _unnamed(self, file: StoredFile) -> None:
        try:
            age_s = time.time() - file.path.lstat().st_mtime
        except FileNotFoundError:  # it was on its way in, and has its name now
            return
        if age_s < SETTLED_S:
            return
        if file.is_temporary:
            self._tallies[Damage.TEMPORARY_FILE].add(str(file.path))
            return
        if file.sha256 is not None:
            with self.database.read() as session:
                if stored_images.is_named(session, file.sha256):
                    return
        self._tallies[Damage.ORPHAN].add(str(file.path))


def product_pages(database: Database) -> Iterator[list[rows.ProductLook]]:
    """All products in pages, with what is wrong with each."""
    after = 0
    while True:
        with database.read() as session:
            page = rows.products(session, after=after)
        yield page
        if len(page) < rows.PAGE:
            return
        after = page[-1].id


def mend_queued_nowhere(
    database: Database, announcer: Announcer, *, batch_images: int, now: dt.datetime
) -> int:
    """Put queued products that no batch carries into batches, and announce these; how many.

    A transaction per page. What cannot be classified for want of images is left alone.
    """
    mended = 0
    for page in product_pages(database):
        lost = [look.id for look in page if look.queued_nowhere and not look.unknown_images]
        if not lost:
            continue
        with database.write("integrity.mend") as session:
            found = rows.lock_to_batch(session, lost)
            made = [
                batches.create(
                    session, retailer_id=retailer_id, upload_id=upload_id, items=items, now=now
                )
                for (retailer_id, upload_id), group in itertools.groupby(
                    found, key=lambda one: one[:2]
                )
                for items in _batched([(one[2], one[4], one[3]) for one in group], batch_images)
            ]
            batches.mark_announced(session, made, now=now)
            session.commit()
        announcer.announce(made)
        mended += len(found)
    return mended


def mend_counts(database: Database) -> int:
    """Correct what is said of how many products stand where; how many counts were wrong."""
    with database.write("integrity.recount") as session:
        mended = counts.correct(session)
        session.commit()
    return mended


def _batched(
    items: Sequence[tuple[int, str, int]], batch_images: int
) -> Iterator[list[tuple[int, str, int]]]:
    """(product, image set, number of images) in lists of `batch_images` images at most."""
    batch: list[tuple[int, str, int]] = []
    for item in items:
        if batch and sum(count for _, _, count in batch) + item[2] > batch_images:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


class _Same:
    """Whether something was seen before; rows with the same first key come together."""

    def __init__(self) -> None:
        self._first: object = None
        self._seen: set[tuple[object, ...]] = set()

    def again(self, first: object, shared: tuple[object, ...]) -> bool:
        if first != self._first:
            self._first, self._seen = first, set()
        known = shared in self._seen
        self._seen.add(shared)
        return known


class _Sample:
    """Chooses exactly n of the next `total` (selection sampling, Knuth TAOCP 2, 3.4.2, S)."""

    def __init__(self, wanted: int | None, total: int, seed: int | None) -> None:
        self._random = random.Random(seed)
        self._wanted = total if wanted is None else min(wanted, total)
        self._all = wanted is None
        self._left = total

    def takes(self) -> bool:
        if self._all:
            return True
        take = self._random.random() * self._left < self._wanted
        self._left -= 1
        self._wanted -= take
        return take


def _sets(database: Database) -> Iterator[tuple[str, list[rows.SetLook]]]:
    """Image sets with their images, one after the other; a set has 64 images at most."""
    after = ("", -1)
    current: list[rows.SetLook] = []
    while True:
        with database.read() as session:
            page = rows.image_sets(session, after=after)
        for look in page:
            if current and look.image_set != current[0].image_set:
                yield current[0].image_set, current
                current = []
            current.append(look)
        if len(page) < rows.PAGE:
            break
        after = (page[-1].image_set, page[-1].position)
    if current:
        yield current[0].image_set, current


def _merged(
    named: Iterable[NamedImage], stored: Iterable[StoredFile]
) -> Iterator[tuple[NamedImage | None, StoredFile | None]]:
    """Rows and files side by side, both in the order of their sha256; a stranger stands alone."""
    rest = iter(stored)
    file = next(rest, None)
    for image in named:
        while file is not None and (file.sha256 is None or file.sha256 < image.sha256):
            yield None, file
            file = next(rest, None)
        if file is not None and file.sha256 == image.sha256:
            yield image, file
            file = next(rest, None)
        else:
            yield image, None
    while file is not None:
        yield None, file
        file = next(rest, None)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
