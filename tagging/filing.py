"""Filing: pending ledger lines become products and batches, one page to a transaction.

A page takes the first pending lines in the order of their sku, so that all lines of a product
stand together, gives each its outcome, and makes full batches of what must be classified.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database import batches, rules, uploads
from tagging.database.tables import Product, UploadItem
from tagging.domain import FailureCode, ItemOutcome, ReviewReason, Status
from tagging.priority import priority_of

FILE_LINES: Final = 2000
FILE_CHARS: Final = 8_000_000
"""Ledger lines, and characters of their texts, looked at per transaction: what memory holds."""
MAX_PRODUCT_LINES: Final = 2000
"""A manifest with more lines of one sku has something else in its column sku."""
MAX_PRODUCT_CHARS: Final = 200_000
"""Characters of a product's attributes, of all its lines together."""
MAX_PRODUCT_IMAGES: Final = 64
"""A product with more images is a mistake in the manifest more often than a product."""


def image_set_of(images: Sequence[str]) -> str:
    """The hash (sha256, hex) of ordered image sha256s."""
    return hashlib.sha256("\n".join(images).encode()).hexdigest()


class Page:
    """One transaction's worth of filing.

    `batch_ids` are to be announced after its commit. From then on no line of `last_sku`, or of one
    before it, is pending: the next page's `after_sku`, which so need not read past what is filed.
    """

    def __init__(
        self,
        *,
        upload_id: str,
        retailer_id: int,
        batch_images: int,
        now: dt.datetime,
        after_sku: str | None = None,
        overtaken: bool = False,
    ) -> None:
        self.upload_id = upload_id
        self.retailer_id = retailer_id
        self.batch_images = batch_images
        self.now = now
        self.after_sku = after_sku
        self.overtaken = overtaken
        self.last_sku: str | None = None
        self.batch_ids: list[int] = []
        self._younger: Mapping[str, uploads.Younger] = {}
        self._settled: list[dict[str, Any]] = []
        self._queued: list[tuple[int, str, int]] = []
        self._priority: str | None = None

    def file(self, session: Session) -> bool:
        """File the first pending products; True when none was left behind."""
        groups, last = self._groups(session)
        if not groups:
            return True
        self._priority = rules.in_force(session, self.retailer_id).priority
        known = uploads.existing_products(session, self.retailer_id, list(groups))
        wanted = {sku: _merge(lines) for sku, lines in groups.items()}
        self._younger = self._younger_of(session, known, wanted)
        uploads.add_image_sets(
            session, {merged.image_set: merged.images for merged in wanted.values()}
        )
        # Full batches only, unless these are the last products: the rest waits for the next page.
        chosen: list[str] = []
        full_until, images = 0, 0
        for sku, merged in wanted.items():
            product = known.get(sku)
            if product is None or (
                product.image_set != merged.image_set and sku not in self._younger
            ):
                if images and images + len(merged.images) > self.batch_images:
                    full_until, images = len(chosen), 0
                images += len(merged.images)
            chosen.append(sku)
        if not last and full_until:
            chosen = chosen[:full_until]
        self.last_sku = chosen[-1]
        self._write_products(session, [(s, wanted[s], known.get(s), groups[s]) for s in chosen])
        self._make_batches(session)
        uploads.settle_lines(session, self._settled)
        return last and len(chosen) == len(wanted)

    def _younger_of(
        self, session: Session, known: Mapping[str, Product], wanted: Mapping[str, _Merged]
    ) -> Mapping[str, uploads.Younger]:
        """Of the products of which this page says anything new."""
        if not self.overtaken:
            return {}
        news = [sku for sku in wanted if sku in known and not wanted[sku].says_the_same(known[sku])]
        if not news:
            return {}
        return uploads.younger(session, self.upload_id, set(news), first=news[0], last=news[-1])

    def _groups(self, session: Session) -> tuple[dict[str, list[UploadItem]], bool]:
        lines, last = uploads.pending_lines(
            session,
            self.upload_id,
            after_sku=self.after_sku,
            most=FILE_LINES,
            most_chars=FILE_CHARS,
        )
        groups: dict[str, list[UploadItem]] = {}
        for line in lines:
            groups.setdefault(str(line.sku), []).append(line)
        if not last:
            # The page may have cut the last product's lines in two.
            final = next(reversed(groups))
            if len(groups) > 1:
                del groups[final]
            else:
                groups[final] = self._lines_of(session, final)
        return groups, last

    def _lines_of(self, session: Session, sku: str) -> list[UploadItem]:
        """The lines of one product, as many as are taken; those behind them are rejected."""
        lines, all_there = uploads.lines_of_sku(
            session, self.upload_id, sku, most=MAX_PRODUCT_LINES, most_chars=FILE_CHARS
        )
        if not all_there:
            uploads.reject_lines_of_sku(
                session,
                self.upload_id,
                sku,
                after_seq=lines[-1].seq,
                code=FailureCode.TOO_MANY_LINES,
                error=(
                    f"{len(lines)} lines before this one name the product {sku!r}, which is as "
                    "much as is read of one product; check which column is the sku"
                ),
            )
        return lines

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
            since = self._younger.get(product.sku)
            if since is not None and product.image_set != merged.image_set:
                described = self._describe(product, merged.without_what(since))
                self._supersede(lines, merged, since, texts_taken=not described)
            else:
                said = merged if since is None else merged.without_what(since)
                self._settle(lines, merged, product.id, self._change(product, said))

    def _new_row(self, sku: str, merged: _Merged) -> dict[str, Any]:
        return {
            "retailer_id": self.retailer_id,
            "sku": sku,
            "title": merged.title,
            "attributes": merged.attributes,
            "priority": priority_of(merged.attributes, self._priority),
            "image_set": merged.image_set,
            "upload_id": self.upload_id,
            "status": Status.QUEUED,
            "audit": False,
            "created_at": self.now,
            "updated_at": self.now,
        }

    def _change(self, product: Product, merged: _Merged) -> ItemOutcome:
        described = self._describe(product, merged)
        if product.delisted_at is not None:
            product.delisted_at, product.updated_at = None, self.now
            described = False
        if (
            product.image_set == merged.image_set
            and product.status in (Status.FAILED, Status.NEEDS_REVIEW)
            and product.failure_code is FailureCode.MISSING
        ):
            # Its stored bytes were lost; this delivery brought them back. What waits for a person
            # goes on waiting, with a suggestion then.
            if product.status is Status.FAILED:
                product.status = Status.QUEUED
            product.failure_code = product.failure_detail = None
            product.updated_at = self.now
            self._queued.append((product.id, merged.image_set, len(merged.images)))
            return ItemOutcome.CHANGED
        if product.image_set == merged.image_set:
            return ItemOutcome.UNCHANGED if described else ItemOutcome.UPDATED
        product.image_set = merged.image_set
        product.upload_id = self.upload_id
        product.suggestion = product.confidence = product.prediction_id = None
        product.failure_code = product.failure_detail = None
        product.audit, product.audit_share = False, None
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

    def _describe(self, product: Product, merged: _Merged) -> bool:
        """Give it its title and attributes; whether it had them already."""
        described = merged.describes(product)
        if not described:
            product.title = merged.title or product.title
            product.attributes = merged.attributes or product.attributes
            product.updated_at = self.now
        product.priority = priority_of(product.attributes, self._priority)
        return described

    def _supersede(
        self,
        lines: Sequence[UploadItem],
        merged: _Merged,
        since: uploads.Younger,
        *,
        texts_taken: bool,
    ) -> None:
        taken = "; of this one its texts were taken" if texts_taken else ""
        self._refuse_left_out(lines, merged)
        for line in lines:
            if line.seq not in merged.left_out:
                self._settled.append(
                    _key(line)
                    | uploads.refused(
                        ItemOutcome.SKIPPED,
                        FailureCode.SUPERSEDED,
                        str(line.sku),
                        f"delivery {since.upload}, which began later, had other photos of "
                        f"{line.sku!r}, and they stay{taken}. If these are the right ones, deliver "
                        "them again",
                    )
                )

    def _settle(
        self, lines: Sequence[UploadItem], merged: _Merged, product_id: int, outcome: ItemOutcome
    ) -> None:
        self._refuse_left_out(lines, merged)
        for line in lines:
            if line.seq not in merged.left_out:
                self._settled.append(
                    _key(line)
                    | {
                        "outcome": outcome,
                        "product_id": product_id,
                        "code": None,
                        "value": None,
                        "error": None,
                    }
                )
                outcome = ItemOutcome.MERGED

    def _refuse_left_out(self, lines: Sequence[UploadItem], merged: _Merged) -> None:
        for line in lines:
            if line.seq in merged.left_out:
                code, bound = merged.left_out[line.seq]
                self._settled.append(
                    _key(line)
                    | uploads.refused(
                        ItemOutcome.REJECTED,
                        code,
                        str(line.sku),
                        f"product {line.sku!r} has more than {bound}; this line's were left out. "
                        "Check whether its sku is meant.",
                    )
                )

    def _make_batches(self, session: Session) -> None:
        self.batch_ids = batches.create_full(
            session,
            self._queued,
            batch_images=self.batch_images,
            retailer_id=self.retailer_id,
            upload_id=self.upload_id,
            now=self.now,
        )


@dataclass(frozen=True, kw_only=True)
class _Merged:
    """What all lines of one sku say together."""

    images: tuple[str, ...]
    image_set: str
    title: str | None
    attributes: dict[str, Any]
    left_out: Mapping[int, tuple[FailureCode, str]]
    """By their seq the lines that were too much: of what, and what there was more than."""

    def describes(self, product: Product) -> bool:
        """Whether the product has these texts, where there are any."""
        return (self.title is None or self.title == product.title) and (
            not self.attributes or self.attributes == product.attributes
        )

    def says_the_same(self, product: Product) -> bool:
        return self.image_set == product.image_set and self.describes(product)

    def without_what(self, younger: uploads.Younger) -> _Merged:
        """What is left to be said once a younger delivery has spoken."""
        return dataclasses.replace(
            self,
            title=None if younger.title else self.title,
            attributes={} if younger.attributes else self.attributes,
        )


def _key(line: UploadItem) -> dict[str, Any]:
    return {"upload_id": line.upload_id, "seq": line.seq}


def _merge(lines: Sequence[UploadItem]) -> _Merged:
    images: dict[str, None] = {}
    attributes: dict[str, Any] = {}
    left_out: dict[int, tuple[FailureCode, str]] = {}
    chars = 0
    for line in lines:
        if len(images.keys() | set(line.images)) > MAX_PRODUCT_IMAGES:
            left_out[line.seq] = FailureCode.TOO_MANY_IMAGES, f"{MAX_PRODUCT_IMAGES} images"
            continue
        fresh = {k: v for k, v in line.attributes.items() if k not in attributes}
        more = sum(len(k) + len(v) for k, v in fresh.items())
        if chars and chars + more > MAX_PRODUCT_CHARS:
            left_out[line.seq] = (
                FailureCode.TOO_MANY_LINES,
                f"{MAX_PRODUCT_CHARS} characters of attributes",
            )
            continue
        images.update(dict.fromkeys(line.images))
        attributes |= fresh
        chars += more
    ordered = tuple(images)
    return _Merged(
        images=ordered,
        image_set=image_set_of(ordered),
        title=next((line.title for line in lines if line.title), None),
        attributes=attributes,
        left_out=left_out,
    )
