"""What a trial of rules reads: the newest products, and what the model in charge said of them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.products import images_of, known_logits
from tagging.database.tables import Product
from tagging.domain import Status

DECIDED: Final = (Status.TAGGED, Status.NEEDS_REVIEW, Status.REVIEWED)


@dataclass(frozen=True, kw_only=True)
class TriedProduct:
    """A product that was classified. `category`: in force, which a person decided if `reviewed`."""

    id: int
    sku: str
    image_set: str
    status: Status
    category: str | None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model said of images. `images`: image set -> sha256s; `logits`: (categories,) each."""

    images: dict[str, list[str]]
    logits: dict[str, npt.NDArray[np.float32]]
    scores: dict[str, float]


def newest_products(session: Session, retailer_id: int, *, most: int) -> list[TriedProduct]:
    """Those that were delivered last, newest first; by the index on (retailer, status, id)."""
    by_status = [
        session.execute(
            sa.select(Product.id, Product.sku, Product.image_set, Product.status, Product.category)
            .where(Product.retailer_id == retailer_id, Product.status == status)
            .order_by(Product.id.desc())
            .limit(most)
        ).all()
        for status in DECIDED
    ]
    rows = heapq.nlargest(most, (row for rows in by_status for row in rows), key=lambda row: row.id)
    return [
        TriedProduct(
            id=row.id,
            sku=row.sku,
            image_set=row.image_set,
            status=row.status,
            category=row.category,
        )
        for row in rows
    ]


def answers(
    session: Session,
    products: Sequence[TriedProduct],
    *,
    model_id: int,
    preprocessing_version: str,
) -> Answers:
    """Of all images of some products, as far as the model saw them; by unique indexes."""
    images = images_of(session, [product.image_set for product in products])
    known = known_logits(
        session,
        [sha256 for one in images.values() for sha256 in one],
        model_id=model_id,
        preprocessing_version=preprocessing_version,
    )
    return Answers(
        images=images,
        logits={sha256: np.frombuffer(raw, dtype="<f4") for sha256, (raw, _) in known.items()},
        scores={sha256: score for sha256, (_, score) in known.items()},
    )
