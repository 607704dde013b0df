"""Labelled photos from what people decided of a retailer's products."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from model_training.datasets.files import LabelledFile, Listing
from model_training.datasets.labelled import LeftOut
from tagging.database import models, reviews
from tagging.database.session import Database
from tagging.database.training import DecidedProduct, decided_products
from tagging.domain import Taxonomy
from tagging.errors import TrainingDataError
from tagging.images.store import ImageStore

AUDITED: Final = "its verdict measures the model in charge; it is trained on once another one is"


@dataclass(frozen=True, kw_only=True)
class Reviews:
    """Where the reviews of one retailer are found."""

    database: Database
    store: ImageStore
    retailer: str


def list_reviews(origin: Reviews) -> Listing:
    """Every photo of a product that a person decided on, under the category that is in force.

    Left out are verdicts on the audit sample of the model in charge (trained on, they would no
    longer measure it), and categories that have categories below them: a product of which it is
    only known that it is one of the tops may be any of them.

    Raises:
        NotFoundError: there is no such retailer.
        TrainingDataError: nothing that people decided can be trained on.
    """
    with origin.database.read() as session:
        retailer_id = models.retailer_id(session, origin.retailer)
        taxonomy = reviews.taxonomy(session, retailer_id)
    files: list[LabelledFile] = []
    left_out: list[LeftOut] = []
    for product in decided_products(origin.database, retailer_id):
        why = _unfit(product, taxonomy)
        if why is not None:
            left_out.append(LeftOut(where=product.sku, why=why))
            continue
        parents = tuple(reversed(taxonomy.ancestors(product.category)))
        files += [
            LabelledFile(
                path=origin.store.path(sha256),
                name=f"{product.sku}, image {sha256[:12]}",
                sha256=sha256,
                product=product.sku,
                label=product.category,
                parents=parents,
            )
            for sha256 in product.images
        ]
    if not files:
        raise TrainingDataError(
            f"people decided on no product of {origin.retailer!r} that can be trained on "
            f"({len(left_out)} left out). Let people review first: atelier review list"
        )
    decided = "".join(f"{file.sha256} {file.label}\n" for file in files)
    digest = hashlib.md5(decided.encode(), usedforsecurity=False).hexdigest()
    return Listing(files=tuple(files), left_out=tuple(left_out), sources={"reviews": digest})


def _unfit(product: DecidedProduct, taxonomy: Taxonomy) -> str | None:
    if product.audited:
        return AUDITED
    below = [n for n, parent in taxonomy.parents.items() if parent == product.category]
    if below:
        return f"{product.category!r} is wider than {', '.join(map(repr, below[:3]))}"
    return None
