"""Every query that writes what a worker found, and that lists products."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database import priorities, uploads
from tagging.database.session import Database
from tagging.database.tables import (
    Base,
    Image,
    ImagePrediction,
    ImageSetImage,
    Model,
    Prediction,
    Product,
    Retailer,
    UploadItem,
)
from tagging.domain import Decision, FailureCode, ReviewReason, Status
from tagging.domain import Prediction as Predicted

PAGE = 1000
"""Rows per read transaction of a listing: on SQLite a longer one would hold up the writers."""


@dataclass(frozen=True, kw_only=True)
class ImageFailure:
    """Why one image could not be used."""

    sha256: str
    code: FailureCode
    detail: str


@dataclass(frozen=True, kw_only=True)
class Classified:
    """A product with a prediction and what was decided of it."""

    product_id: int
    image_set: str
    prediction: Predicted
    decision: Decision
    failures: tuple[ImageFailure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A product none of whose images could be used, or that brings workers down."""

    product_id: int
    image_set: str
    code: FailureCode
    detail: str


@dataclass(frozen=True, kw_only=True)
class ImageLogits:
    """A fresh image prediction. `logits`: float32 little-endian bytes, one per category;
    `features`: int8, by which pictures are compared.
    """

    sha256: str
    logits: bytes
    ood_score: float
    features: bytes


@dataclass(frozen=True, kw_only=True)
class ProductFilter:
    """Which products to list; None leaves a field open."""

    retailer: str | None = None
    upload: str | None = None
    status: Status | None = None
    category: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class ProductLine:
    """A product as listings show it. `images`: sha256s in order. `top_k`: best first."""

    retailer: str
    sku: str
    title: str | None
    category: str | None
    confidence: float | None
    status: Status
    review_reason: str | None
    failure_code: str | None
    failure_detail: str | None
    model: str | None
    images: list[str]
    top_k: list[dict[str, Any]]
    suggestion: str | None
    attributes: dict[str, Any]


def known_logits(
    session: Session, sha256s: Sequence[str], *, model_id: int, preprocessing_version: str
) -> dict[str, tuple[bytes, float]]:
    """Image predictions that exist already, by the unique index: (logits, ood score)."""
    rows = session.execute(
        sa.select(ImagePrediction.sha256, ImagePrediction.logits, ImagePrediction.ood_score).where(
            ImagePrediction.model_id == model_id,
            ImagePrediction.preprocessing_version == preprocessing_version,
            ImagePrediction.sha256.in_(sha256s),
        )
    )
    return {sha256: (logits, score) for sha256, logits, score in rows}


def add_image_predictions(
    session: Session,
    rows: Sequence[ImageLogits],
    *,
    model_id: int,
    preprocessing_version: str,
    now: dt.datetime,
) -> None:
    """Append; one that another worker wrote meanwhile stays as it is."""
    uploads.insert_ignoring(
        session,
        ImagePrediction,
        [
            {
                "sha256": row.sha256,
                "model_id": model_id,
                "preprocessing_version": preprocessing_version,
                "logits": row.logits,
                "ood_score": row.ood_score,
                "features": row.features,
                "created_at": now,
            }
            for row in rows
        ],
        key=("sha256",),
    )


def write_outcomes(
    session: Session,
    classified: Sequence[Classified],
    failed: Sequence[Failed],
    *,
    batch_id: int,
    model_id: int,
    preprocessing_version: str,
    now: dt.datetime,
    replacing: bool,
    audited: Mapping[int, float],
) -> None:
    """Append predictions and move products, only those that still have the photos that were seen.

    A product on which a person decided, or asked others to, keeps status and category; only its
    suggestion changes, or why there is none. What has a tag and no readable photo now keeps it.
    `replacing`: whether what a model said before of the same photos may be replaced.
    `audited`: ids of the accepted products that are in the audit sample, with their chance of it.
    The caller holds the lease's row locked. All products are locked first, in the order of their
    keys, as filing does.
    """
    written = [one.product_id for one in classified] + [one.product_id for one in failed]
    before = session.execute(
        sa.select(Product.id, Product.status)
        .where(Product.id.in_(written))
        .order_by(Product.id)
        .with_for_update(key_share=True)
    ).all()
    uploads.insert_ignoring(
        session,
        Prediction,
        [
            {
                "product_id": one.product_id,
                "image_set": one.image_set,
                "model_id": model_id,
                "preprocessing_version": preprocessing_version,
                "suggestion": one.prediction.suggestion,
                "confidence": one.prediction.confidence,
                "top_k": [
                    {"category": top.category, "confidence": top.confidence}
                    for top in one.prediction.top_k
                ],
                "ood_score": one.prediction.ood_score,
                "out_of_distribution": one.prediction.out_of_distribution,
                "disagreeing": list(one.prediction.disagreeing),
                "image_failures": [
                    {"sha256": f.sha256, "code": f.code.value, "detail": f.detail}
                    for f in one.failures
                ],
                "batch_id": batch_id,
                "created_at": now,
            }
            for one in classified
        ],
        key=("product_id",),
    )
    prediction_ids = {
        (product_id, image_set): prediction_id
        for product_id, image_set, prediction_id in session.execute(
            sa.select(Prediction.product_id, Prediction.image_set, Prediction.id).where(
                Prediction.product_id.in_([one.product_id for one in classified]),
                Prediction.model_id == model_id,
                Prediction.preprocessing_version == preprocessing_version,
            )
        )
    }
    _move_classified(
        session, classified, prediction_ids, replacing=replacing, audited=audited, now=now
    )
    _move_failed(session, failed, now=now)
    # A number that the retailer gave is kept up to date where people wait for the product, or will.
    priorities.renew_waiting(session, [one for one, status in before if status is Status.TAGGED])


def _move_classified(
    session: Session,
    classified: Sequence[Classified],
    prediction_ids: dict[tuple[int, str], int],
    *,
    replacing: bool,
    audited: Mapping[int, float],
    now: dt.datetime,
) -> None:
    ordered = sorted(classified, key=lambda one: one.product_id)
    rows = [
        {
            "at_id": one.product_id,
            "at_set": one.image_set,
            "to_status": one.decision.status,
            "to_category": one.decision.category,
            "to_decided_by": "model" if one.decision.category is not None else None,
            "to_reason": one.decision.review_reason,
            "to_audit": one.product_id in audited,
            "to_audit_share": audited.get(one.product_id),
            "to_suggestion": one.decision.suggested.category,
            "to_confidence": one.decision.suggested.confidence,
            "to_margin": one.prediction.margin,
            "to_top": one.prediction.confidence,
            "to_prediction": prediction_ids[one.product_id, one.image_set],
        }
        for one in ordered
    ]
    if not rows:
        return
    products = Base.metadata.tables["products"]
    seen = sa.and_(
        products.c.id == sa.bindparam("at_id"),
        products.c.image_set == sa.bindparam("at_set"),
        sa.true() if replacing else products.c.prediction_id.is_(None),
    )
    by_person = sa.or_(
        sa.func.coalesce(products.c.decided_by, "") == "person",
        # Somebody withdrew the tag, or asked for a person: what a model says is no answer to that.
        products.c.review_reason.is_not_distinct_from(ReviewReason.REQUESTED),
    )
    suggestion: dict[str, Any] = {
        "audit": sa.bindparam("to_audit"),
        "audit_share": sa.bindparam("to_audit_share"),
        "suggestion": sa.bindparam("to_suggestion"),
        "confidence": sa.bindparam("to_confidence"),
        "margin": sa.bindparam("to_margin"),
        "top_confidence": sa.bindparam("to_top"),
        "prediction_id": sa.bindparam("to_prediction"),
        "failure_code": None,
        "failure_detail": None,
        "tagged_at": now,
        "updated_at": now,
    }
    session.connection().execute(
        sa.update(products)
        .where(
            seen,
            ~by_person,
            products.c.status != Status.REVIEWED,
            products.c.status != Status.FAILED,
        )
        .values(
            status=sa.bindparam("to_status", type_=products.c.status.type),
            category=sa.bindparam("to_category"),
            decided_by=sa.bindparam("to_decided_by"),
            review_reason=sa.bindparam("to_reason", type_=products.c.review_reason.type),
            **suggestion,
        ),
        rows,
    )
    # Where a person decided on older photos, only what the model now suggests is written. It
    # accepted nothing, so an audit of its tags has nothing to ask there.
    session.connection().execute(
        sa.update(products)
        .where(
            seen,
            by_person,
            products.c.status == Status.NEEDS_REVIEW,
            products.c.prediction_id.is_distinct_from(sa.bindparam("to_prediction")),
        )
        .values(**suggestion),
        [
            {key: row[key] for key in row if key not in _DECISION_KEYS}
            | {"to_audit": False, "to_audit_share": None}
            for row in rows
        ],
    )


_DECISION_KEYS = {
    "to_status",
    "to_category",
    "to_decided_by",
    "to_reason",
}


def _move_failed(session: Session, failed: Sequence[Failed], *, now: dt.datetime) -> None:
    for one in sorted(failed, key=lambda f: f.product_id):
        fail(session, one, now=now)


def fail(session: Session, one: Failed, *, now: dt.datetime) -> None:
    """Say why a product could not be classified, if it still has the photos that were seen.

    What was queued has failed. Where a person decided on older photos, status and category are
    theirs, and only why there is no suggestion of the new ones is written. What has a suggestion
    keeps it: a photo that cannot be read any more makes no tag wrong. By primary key.
    """
    seen = sa.and_(Product.id == one.product_id, Product.image_set == one.image_set)
    why = {"failure_code": one.code, "failure_detail": one.detail, "updated_at": now}
    session.execute(
        sa.update(Product)
        .where(seen, Product.status == Status.NEEDS_REVIEW, Product.prediction_id.is_(None))
        .values(**why)
    )
    session.execute(
        sa.update(Product)
        .where(seen, Product.status == Status.QUEUED)
        .values(status=Status.FAILED, tagged_at=now, **why)
    )


def listing(
    database: Database, wanted: ProductFilter, *, limit: int | None = None
) -> Iterator[ProductLine]:
    """Products in the order of their key, in pages with a read transaction each.

    Keyset paging on products.id with the filter's index; memory does not grow with the result.
    """
    after, left = 0, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        with database.read() as session:
            rows = page(session, wanted, after=after, size=size)
            images = images_of(session, [product.image_set for product, *_ in rows])
        for product, retailer, name, version, top_k in rows:
            yield ProductLine(
                retailer=retailer,
                sku=product.sku,
                title=product.title,
                category=product.category,
                confidence=product.confidence,
                status=product.status,
                review_reason=product.review_reason,
                failure_code=product.failure_code,
                failure_detail=product.failure_detail,
                model=None if name is None else f"{name}:{version}",
                images=images[product.image_set],
                top_k=top_k or [],
                suggestion=product.suggestion,
                attributes=product.attributes,
            )
        if len(rows) < size:
            return
        after = rows[-1][0].id
        left = None if left is None else left - len(rows)


def page(
    session: Session, wanted: ProductFilter, *, after: int, size: int
) -> Sequence[tuple[Product, str, str | None, str | None, list[dict[str, Any]] | None]]:
    """The next `size` products after a key, with retailer, model's name and version, and top-k."""
    query = (
        sa.select(Product, Retailer.name, Model.name, Model.version, Prediction.top_k)
        .join(Retailer, Retailer.id == Product.retailer_id)
        .outerjoin(Prediction, Prediction.id == Product.prediction_id)
        .outerjoin(Model, Model.id == Prediction.model_id)
        .where(Product.id > after)
        .order_by(Product.id)
        .limit(size)
    )
    if wanted.retailer is not None:
        # By its key, of which the database knows how many products have it; of a name it does not.
        key = session.scalar(sa.select(Retailer.id).where(Retailer.name == wanted.retailer))
        if wanted.status is None and wanted.category is None:
            query = query.where(by_key_of(session, key))
        else:
            query = query.where(Product.retailer_id == key)
    if wanted.status is not None:
        query = query.where(Product.status == wanted.status)
    if wanted.category is not None:
        query = query.where(Product.category == wanted.category)
    if wanted.min_confidence is not None:
        query = query.where(Product.confidence >= wanted.min_confidence)
    if wanted.max_confidence is not None:
        query = query.where(Product.confidence <= wanted.max_confidence)
    if wanted.upload is not None:
        query = query.where(
            sa.exists().where(
                UploadItem.upload_id == wanted.upload,
                UploadItem.sku == Product.sku,
                UploadItem.product_id == Product.id,
            )
        )
    return session.execute(query).all()


def by_key_of(session: Session, retailer_id: int | None) -> sa.ColumnElement[bool]:
    """That a product is one retailer's, where these are read page by page in the order of keys.

    PostgreSQL has an index on (retailer, id). SQLite has none, and for every page would find all of
    the retailer's by another index and sort them; a sum it cannot look up in one. So it goes by the
    primary key, past the products of others, of whom there are hardly ever any.
    """
    if session.get_bind().dialect.name == "sqlite":
        return Product.retailer_id + 0 == retailer_id
    return Product.retailer_id == retailer_id


def existing(session: Session, product_ids: Collection[int]) -> set[int]:
    """Those of some keys that are products', by primary key."""
    return set(session.scalars(sa.select(Product.id).where(Product.id.in_(product_ids))))


def image_exists(session: Session, sha256: str) -> bool:
    """Whether an image was delivered, by primary key."""
    return session.get(Image, sha256) is not None


def images_of(session: Session, image_sets: Sequence[str]) -> dict[str, list[str]]:
    """Image set -> sha256s, the main photo first; by primary key."""
    found: dict[str, list[str]] = {}
    rows = session.execute(
        sa.select(ImageSetImage.image_set, ImageSetImage.sha256)
        .where(ImageSetImage.image_set.in_(image_sets))
        .order_by(ImageSetImage.image_set, ImageSetImage.position)
    )
    for image_set, sha256 in rows:
        found.setdefault(image_set, []).append(sha256)
    return found
