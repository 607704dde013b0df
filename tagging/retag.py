"""Retag: products are classified again, because somebody asked for it.

A request is a row, worked off in the order of the products' keys by whichever sweeper comes first,
or by the command itself. What it finds goes into batches, as a delivery's products do; status and
category stay in force until the batch is written. Each page is one transaction that also says how
far the request came, so that a kill at any moment loses nothing and doubles nothing.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from tagging.answers import person
from tagging.database import backlog, batches, models, retags
from tagging.database.retags import PAGE, SeenProduct
from tagging.database.session import Database, is_away
from tagging.database.tables import Retag, RetagScope, RetagState
from tagging.domain import Status
from tagging.errors import AtelierError, NotFoundError, RetagError
from tagging.failpoints import failpoint
from tagging.ingest import Announcer
from tagging.pauses import Pauses

log = structlog.get_logger("retag")

AHEAD: Final = 100
"""Queued batches beyond which no more are made: what is delivered meanwhile need not wait long.

Those that could not be done so far (of a retailer whose bundle is broken, say) keep their own
retailer's requests waiting, and nobody else's.
"""
LOOKED_S: Final = 1.0
"""After so long without anything to queue, how far a request came is written down."""
MOST_SKUS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which products are to be classified again: a scope, and what it needs.

    `model`: `name:version`, for the scope of this name; `skus`: likewise, of one retailer.
    """

    scope: RetagScope
    model: str | None = None
    skus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.model is not None) is not (self.scope is RetagScope.MODEL):
            raise RetagError("a model goes with the scope `model`, and with no other")
        if bool(self.skus) is not (self.scope is RetagScope.SKU):
            raise RetagError("skus go with the scope `sku`, and with no other")
        if len(self.skus) > MOST_SKUS:
            raise RetagError(
                f"{len(self.skus):,} skus were named; ask for at most {MOST_SKUS:,} at a time"
            )


@dataclass(frozen=True, kw_only=True)
class Retagging:
    """The service, with what it needs."""

    database: Database
    announcer: Announcer
    batch_images: int
    preprocessing_version: str
    now: Callable[[], dt.datetime]
    monotonic: Callable[[], float] = time.monotonic

    def request(self, asked: Asked, retailers: Sequence[str] | None, *, by: str) -> list[int]:
        """Record that products are to be classified again; the requests' keys, one per retailer.

        Args:
            asked: which of their products.
            retailers: whose; None for everybody's.
            by: who asks; it stays on record.

        Raises:
            NotFoundError: there is no such retailer, model, or product.
            RetagError: skus were named without one retailer.
            ReviewError: `by` is no name.
        """
        who = person(by)
        with self.database.write("retag.request") as session:
            names = (
                [one.name for one in models.retailers(session)] if retailers is None else retailers
            )
            ids = [models.retailer_id(session, name) for name in names]
            model_id = None if asked.model is None else models.find_model(session, asked.model).id
            if asked.skus:
                if len(ids) != 1:
                    raise RetagError("skus are those of one retailer; name it with --retailer")
                if unknown := retags.unknown_skus(session, ids[0], asked.skus):
                    raise NotFoundError(
                        f"{names[0]} has no product {', '.join(map(repr, unknown[:10]))}"
                        + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
                        + "; nothing was asked for. `atelier products list` shows the known ones"
                    )
            made = [
                retags.add(
                    session,
                    retailer_id,
                    asked.scope,
                    model_id=model_id,
                    skus=asked.skus or None,
                    by=who,
                    now=self.now(),
                )
                for retailer_id in ids
            ]
            session.commit()
        return made

    def cancel(self, retag_id: int, *, by: str) -> bool:
        """Make no more batches of a request; False if it had ended before.

        Raises:
            NotFoundError: there is no such request.
            ReviewError: `by` is no name.
        """
        who = person(by)
        with self.database.write("retag.cancel") as session:
            retags.get(session, retag_id)
            ended = retags.cancel(session, retag_id, by=who, now=self.now())
            session.commit()
        return ended

    def step(
        self,
        *,
        most_s: float,
        on_page: Callable[[], None] = lambda: None,
        leave: Pauses[int] | None = None,
    ) -> bool:
        """Work off open requests for about so long, or until enough batches wait for a worker.

        Args:
            most_s: seconds.
            on_page: called after each page.
            leave: where a request cannot go on, log why, go on with the next, and come back to it
                after a pause that is kept here.

        Returns:
            Whether anything was done.

        Raises:
            Exception: a request cannot go on (and is not left): its model cannot be read, say.
        """
        until = self.monotonic() + most_s
        done = False
        while self.monotonic() < until:
            with self.database.read() as session:
                queued = backlog.waiting(session)
                full = {retailer for retailer, one in queued.items() if one.batches >= AHEAD}
                left = set[int]() if leave is None else leave.waiting()
                first = retags.open_ids(session, most=1, but=left, but_retailers=full)
            ready = sum(one.batches - one.hindered for one in queued.values())
            if not first or ready >= AHEAD:
                break
            try:
                self.advance(first[0])
                done = True
            except Exception as error:
                if leave is None or is_away(error):
                    raise
                # It keeps nobody else waiting, whatever it is.
                log.error(
                    "retag_hindered",
                    retag=first[0],
                    error=str(error),
                    exc_info=not isinstance(error, AtelierError),
                )
                leave.failed(first[0])
            else:
                if leave is not None:
                    leave.worked(first[0])
            on_page()
        return done

    def advance(self, retag_id: int) -> None:
        """Look for the next products of an open request that fill a batch, and queue them.

        Nothing is locked while they are looked for. Whoever else worked at the same request, or
        cancelled it meanwhile, came first: then nothing is written.
        """
        with self.database.read() as session:
            retag = retags.get(session, retag_id)
            if retag.state is not RetagState.OPEN:
                return
            in_charge = models.in_charge(session, retag.retailer_id).id
        stretch = _Stretch(batch_images=self.batch_images, after=retag.after_id)
        until = self.monotonic() + LOOKED_S
        while not stretch.enough and self.monotonic() < until:
            with self.database.read() as session:
                found = retags.page(session, retag, after=stretch.after, most=stretch.room)
                left = [
                    (one, left_alone(one, retag, in_charge, self.preprocessing_version))
                    for one in found
                ]
                images = retags.image_counts(
                    session, {one.image_set for one, why in left if why is None}
                )
            ended = len(found) < stretch.room
            for one, why in left:
                stretch.add(one, why, images.get(one.image_set, 0))
            if ended:
                stretch.ended = True
        self._queue(retag, stretch)

    def _queue(self, retag: Retag, stretch: _Stretch) -> None:
        stretch.cut()
        failpoint("retag.looked")
        with self.database.write("retag.page") as session:
            again = {
                one.product_id: one.image_set for one, _ in stretch.chosen if one.without_suggestion
            }
            still = retags.queue_again(session, again, now=self.now())
            counts = stretch.counts
            counts["queued"] -= len(again) - len(still)
            counts["in_work"] += len(again) - len(still)
            if not retags.move(
                session,
                retag.id,
                seen_at=retag.after_id,
                after=stretch.after,
                counts=counts,
                done=stretch.ended,
                now=self.now(),
            ):
                return
            made = batches.create_full(
                session,
                [
                    (one.product_id, one.image_set, images)
                    for one, images in stretch.chosen
                    if not one.without_suggestion or one.product_id in still
                ],
                batch_images=self.batch_images,
                retailer_id=retag.retailer_id,
                retag_id=retag.id,
                now=self.now(),
            )
            session.commit()
        if made:
            self.announcer.announce(made)


def left_alone(
    product: SeenProduct, retag: Retag, in_charge: int, preprocessing_version: str
) -> str | None:
    """Why a retag leaves a product as it is: the name of the count that tells it. None: it is asked
    for. Pure.

    What a person decided stays decided; what is being classified is not classified twice; what
    failed, or waits for a person because its new photos did, is asked for by its name or because it
    failed only. What has neither suggestion nor failure is missing: it is being classified, which
    `queue_again` sees, or an earlier version left it so when somebody took back what they decided.
    """
    if product.status is Status.REVIEWED:
        return "reviewed"
    if product.delisted:
        return "delisted"
    named = retag.scope in (RetagScope.SKU, RetagScope.FAILED)
    if product.status is Status.QUEUED:
        return "in_work"
    if product.failed:
        return None if named else "failed"
    match retag.scope:
        case RetagScope.MISSING:
            now = (in_charge, preprocessing_version)
            up_to_date = (product.model_id, product.preprocessing_version) == now
            return "not_asked" if up_to_date else None
        case RetagScope.MODEL:
            return None if product.model_id == retag.model_id else "not_asked"
        case RetagScope.FAILED:
            return "not_asked"
        case _:
            return None


class _Stretch:
    """What was looked at since a request was last written down."""

    def __init__(self, *, batch_images: int, after: int) -> None:
        self.batch_images = batch_images
        self.after = after
        self.ended = False
        self.counts: Counter[str] = Counter()
        self.chosen: list[tuple[SeenProduct, int]] = []
        self._images = 0
        # Where the last batch that is surely full ends: products chosen, place and counts there.
        self._full: tuple[int, int, Counter[str]] | None = None

    @property
    def room(self) -> int:
        """How many more products one transaction may take."""
        return PAGE - len(self.chosen)

    @property
    def enough(self) -> bool:
        return self.ended or self._full is not None or not self.room

    def add(self, product: SeenProduct, left: str | None, images: int) -> None:
        if left is None:
            if self._images and self._images + images > self.batch_images:
                self._full = (len(self.chosen), self.after, self.counts.copy())
                self._images = 0
            self._images += images
            self.chosen.append((product, images))
        self.counts[left or "queued"] += 1
        self.after = product.product_id

    def cut(self) -> None:
        """Leave what would make a batch that is not full to the next page, if there is one."""
        if not self.ended and self._full is not None:
            chosen, self.after, self.counts = self._full
            del self.chosen[chosen:]
