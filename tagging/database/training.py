"""What people decided, as training data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from tagging.database.products import PAGE, images_of
from tagging.database.session import Database
from tagging.database.tables import ModelInCharge, Prediction, Product
from tagging.domain import Status


@dataclass(frozen=True, kw_only=True)
class DecidedProduct:
    """A product whose category a person put in force. `images`: sha256s, the main photo first.

    `audited`: the verdict judges a tag of the model that is in charge now.
    """

    sku: str
    category: str
    images: list[str]
    audited: bool


def decided_products(database: Database, retailer_id: int) -> Iterator[DecidedProduct]:
    """Reviewed products with a category, in the order of their keys.

    A photo that changed since puts a product back into the queue, so the photos are those that
    the person saw. In pages with a read transaction each, by the index on (retailer, status, id).
    """
    after = 0
    audited = sa.and_(Product.audit, Prediction.model_id == ModelInCharge.model_id)
    while True:
        query = (
            sa.select(
                Product.id,
                Product.sku,
                Product.category,
                Product.image_set,
                sa.func.coalesce(audited, sa.false()),
            )
            .outerjoin(Prediction, Prediction.id == Product.prediction_id)
            .outerjoin(ModelInCharge, ModelInCharge.retailer_id == Product.retailer_id)
            .where(
                Product.retailer_id == retailer_id,
                Product.status == Status.REVIEWED,
                Product.category.is_not(None),
                Product.decided_by == "person",
                Product.id > after,
            )
            .order_by(Product.id)
            .limit(PAGE)
        )
        with database.read() as session:
            page = session.execute(query).all()
            images = images_of(session, [row.image_set for row in page])
        for _, sku, category, image_set, is_audited in page:
            if category is not None:  # Said above in SQL, which the types do not know.
                yield DecidedProduct(
                    sku=sku, category=category, images=images[image_set], audited=bool(is_audited)
                )
        if len(page) < PAGE:
            return
        after = page[-1].id
