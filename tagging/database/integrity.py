"""Queries that look for rows that must not be. Each page is one statement: what others write
meanwhile is seen whole or not at all, so a sound installation shows nothing while it works.

All are keyset pages of 1,000 rows by an index, with a few primary-key look-ups per row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from tagging.database.tables import (
    Batch,
    BatchItem,
    BatchState,
    Image,
    ImagePrediction,
    ImageSetImage,
    Prediction,
    Product,
    Retailer,
    Review,
    Upload,
    UploadItem,
    UploadState,
)
from tagging.database.uploads import FILED_OUTCOMES
from tagging.domain import ItemOutcome, ReviewReason, Status

PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class ProductLook:
    """A product, and what is wrong with it."""

    id: int
    retailer: str
    sku: str
    status: str
    queued_nowhere: bool
    unlawful: bool
    foreign_prediction: bool
    unknown_images: bool
    not_in_ledger: bool


def products(
    session: Session, *, after: int = 0, limit: int = PAGE, among: Sequence[int] | None = None
) -> list[ProductLook]:
    """The next products by their key; `among`: only these."""
    item, batch = aliased(BatchItem), aliased(Batch)
    in_live_batch = sa.exists().where(
        item.product_id == Product.id,
        item.image_set == Product.image_set,
        batch.id == item.batch_id,
        batch.state.in_([BatchState.QUEUED, BatchState.LEASED]),
    )
    own_prediction = sa.exists().where(
        Prediction.id == Product.prediction_id,
        Prediction.product_id == Product.id,
        Prediction.image_set == Product.image_set,
    )
    known_images = sa.exists().where(ImageSetImage.image_set == Product.image_set)
    in_ledger = sa.exists().where(
        UploadItem.upload_id == Product.upload_id,
        UploadItem.sku == Product.sku,
        UploadItem.product_id == Product.id,
        UploadItem.outcome.in_([ItemOutcome.CREATED, ItemOutcome.CHANGED]),
    )
    status = _text(Product.status)
    rows = session.execute(
        sa.select(
            Product.id,
            Retailer.name,
            Product.sku,
            status.label("status"),
            _holds(sa.and_(status == Status.QUEUED.value, ~in_live_batch)).label("queued_nowhere"),
            (1 - _holds(_lawful())).label("unlawful"),
            _holds(sa.and_(Product.prediction_id.is_not(None), ~own_prediction)).label("foreign"),
            _holds(~known_images).label("unknown_images"),
            _holds(~in_ledger).label("not_in_ledger"),
        )
        .join(Retailer, Retailer.id == Product.retailer_id)
        .where(Product.id > after, sa.true() if among is None else Product.id.in_(among))
        .order_by(Product.id)
        .limit(limit)
    )
    return [
        ProductLook(
            id=r.id,
            retailer=r.name,
            sku=r.sku,
            status=r.status,
            queued_nowhere=bool(r.queued_nowhere),
            unlawful=bool(r.unlawful),
            foreign_prediction=bool(r.foreign),
            unknown_images=bool(r.unknown_images),
            not_in_ledger=bool(r.not_in_ledger),
        )
        for r in rows
    ]


def _lawful() -> sa.ColumnElement[bool]:
    """What a product's status asks of its other columns."""
    status = _text(Product.status)
    decided_by = sa.func.coalesce(Product.decided_by, "")
    nothing_in_force = sa.and_(Product.category.is_(None), decided_by == "")
    reviewed = sa.exists().where(Review.product_id == Product.id)
    return sa.or_(
        sa.and_(status == Status.QUEUED.value, nothing_in_force),
        sa.and_(
            status == Status.TAGGED.value,
            decided_by == "model",
            Product.category.is_not(None),
            Product.prediction_id.is_not(None),
            Product.review_reason.is_(None),
        ),
        sa.and_(
            status == Status.NEEDS_REVIEW.value,
            Product.review_reason.is_not(None),
            sa.or_(
                nothing_in_force,
                # What a person decided on older photos stays in force.
                sa.and_(
                    decided_by == "person",
                    _text(Product.review_reason) == ReviewReason.PHOTO_CHANGED.value,
                ),
            ),
        ),
        sa.and_(
            status == Status.REVIEWED.value,
            decided_by == "person",
            Product.review_reason.is_(None),
            reviewed,
        ),
        sa.and_(
            status == Status.FAILED.value,
            nothing_in_force,
            Product.failure_code.is_not(None),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class PredictionLook:
    """A prediction; `same`: what no other one may share with it."""

    id: int
    product_id: int
    same: tuple[object, ...]
    unknown_images: bool


def predictions(
    session: Session, *, after: tuple[int, int], limit: int = PAGE
) -> list[PredictionLook]:
    """The next predictions by (product, key)."""
    product_id, key = after
    known_images = sa.exists().where(ImageSetImage.image_set == Prediction.image_set)
    rows = session.execute(
        sa.select(
            Prediction.id,
            Prediction.product_id,
            Prediction.image_set,
            Prediction.model_id,
            Prediction.preprocessing_version,
            _holds(~known_images).label("unknown_images"),
        )
        .where(
            Prediction.product_id >= product_id,
            sa.or_(Prediction.product_id > product_id, Prediction.id > key),
        )
        .order_by(Prediction.product_id, Prediction.id)
        .limit(limit)
    )
    return [
        PredictionLook(
            id=r.id,
            product_id=r.product_id,
            same=(r.product_id, r.image_set, r.model_id, r.preprocessing_version),
            unknown_images=bool(r.unknown_images),
        )
        for r in rows
    ]


def image_predictions(
    session: Session, *, after: tuple[str, int], limit: int = PAGE
) -> list[tuple[str, int, tuple[object, ...]]]:
    """The next image predictions by (sha256, key): these two, and what no other may share."""
    sha256, key = after
    rows = session.execute(
        sa.select(
            ImagePrediction.id,
            ImagePrediction.sha256,
            ImagePrediction.model_id,
            ImagePrediction.preprocessing_version,
        )
        .where(
            ImagePrediction.sha256 >= sha256,
            sa.or_(ImagePrediction.sha256 > sha256, ImagePrediction.id > key),
        )
        .order_by(ImagePrediction.sha256, ImagePrediction.id)
        .limit(limit)
    )
    return [(r.sha256, r.id, (r.sha256, r.model_id, r.preprocessing_version)) for r in rows]


@dataclass(frozen=True, kw_only=True)
class SetLook:
    """One image of an image set; `known`: whether the table of images has it."""

    image_set: str
    position: int
    sha256: str
    known: bool


def image_sets(session: Session, *, after: tuple[str, int], limit: int = PAGE) -> list[SetLook]:
    """The next images of image sets by (image set, position)."""
    image_set, position = after
    known = sa.exists().where(Image.sha256 == ImageSetImage.sha256)
    rows = session.execute(
        sa.select(
            ImageSetImage.image_set,
            ImageSetImage.position,
            ImageSetImage.sha256,
            _holds(known).label("known"),
        )
        .where(
            ImageSetImage.image_set >= image_set,
            sa.or_(ImageSetImage.image_set > image_set, ImageSetImage.position > position),
        )
        .order_by(ImageSetImage.image_set, ImageSetImage.position)
        .limit(limit)
    )
    return [
        SetLook(image_set=r.image_set, position=r.position, sha256=r.sha256, known=bool(r.known))
        for r in rows
    ]


def filed_uploads(session: Session, *, after: str, limit: int = PAGE) -> list[tuple[str, int]]:
    """The next filed uploads by their key: (id, retailer's id)."""
    rows = session.execute(
        sa.select(Upload.id, Upload.retailer_id)
        .where(Upload.id > after, Upload.state == UploadState.FILED)
        .order_by(Upload.id)
        .limit(limit)
    )
    return [(r.id, r.retailer_id) for r in rows]


@dataclass(frozen=True, kw_only=True)
class LineLook:
    """A line of a filed upload's ledger, and whether it adds up with the products."""

    seq: int
    line: int
    sku: str | None
    outcome: str
    wrong: bool


def ledger_lines(
    session: Session, upload_id: str, retailer_id: int, *, after: int, limit: int = PAGE
) -> list[LineLook]:
    """The next lines of a filed upload.

    Wrong is: one that is still pending; one that was filed under no product, or under one of
    another sku or retailer; a second line that counts the same product; one that was merged into a
    line that is not there; a rejected or skipped one with a product; another with the code of one.
    (That a rejected one has no code is not wrong: those of before there were codes have none.)
    """
    other = aliased(UploadItem)
    outcome = _text(UploadItem.outcome)
    filed = [one.value for one in FILED_OUTCOMES]
    product_fits = sa.exists().where(
        Product.id == UploadItem.product_id,
        Product.sku == UploadItem.sku,
        Product.retailer_id == retailer_id,
    )
    uncoded = UploadItem.code.is_(None)
    another_counts = sa.exists().where(
        other.upload_id == UploadItem.upload_id,
        other.sku == UploadItem.sku,
        other.seq != UploadItem.seq,
        _text(other.outcome).in_(filed),
    )
    fits = sa.or_(
        sa.and_(outcome.in_(filed), uncoded, product_fits, ~another_counts),
        sa.and_(outcome == ItemOutcome.MERGED.value, uncoded, product_fits, another_counts),
        sa.and_(
            outcome.in_([ItemOutcome.REJECTED.value, ItemOutcome.SKIPPED.value]),
            UploadItem.product_id.is_(None),
        ),
    )
    rows = session.execute(
        sa.select(
            UploadItem.seq,
            UploadItem.line,
            UploadItem.sku,
            outcome.label("outcome"),
            (1 - _holds(fits)).label("wrong"),
        )
        .where(UploadItem.upload_id == upload_id, UploadItem.seq > after)
        .order_by(UploadItem.seq)
        .limit(limit)
    )
    return [
        LineLook(seq=r.seq, line=r.line, sku=r.sku, outcome=r.outcome, wrong=bool(r.wrong))
        for r in rows
    ]


def unfinished_uploads(session: Session, *, before: dt.datetime) -> list[tuple[str, str]]:
    """(id, state) of uploads whose receiving or filing made no progress since `before`.

    A handful of rows by the state's index.
    """
    rows = session.execute(
        sa.select(Upload.id, Upload.state)
        .where(Upload.state != UploadState.FILED, Upload.beat_at < before)
        .order_by(Upload.id)
    )
    return [(r.id, r.state.value) for r in rows]


def lock_to_batch(
    session: Session, product_ids: Sequence[int]
) -> list[tuple[int, str, int, int, str]]:
    """Those of some queued products that no live batch has, locked in the order of their keys.

    Returns (retailer's id, upload's id, product's id, number of images, image set) of each.
    """
    session.execute(
        sa.select(Product.id)
        .where(Product.id.in_(product_ids))
        .order_by(Product.id)
        .with_for_update(key_share=True)
    ).all()
    lost = [one.id for one in products(session, among=product_ids) if one.queued_nowhere]
    images = (
        sa.select(sa.func.count())
        .where(ImageSetImage.image_set == Product.image_set)
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(
            Product.retailer_id,
            Product.upload_id,
            Product.id,
            images.label("images"),
            Product.image_set,
        )
        .where(Product.id.in_(lost))
        .order_by(Product.retailer_id, Product.upload_id, Product.id)
    )
    return [(r.retailer_id, r.upload_id, r.id, r.images, r.image_set) for r in rows]


def _text(column: sa.orm.InstrumentedAttribute[object]) -> sa.ColumnElement[str]:
    """An enum's column as it is stored, so that a value that is none does not end the look."""
    return sa.type_coerce(column, sa.String)


def _holds(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """1 where it holds, 0 where it does not or cannot be told."""
    return sa.case((condition, 1), else_=0)
