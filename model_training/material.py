"""What a model is made from. Free of Keras, so that light code may import it."""

from __future__ import annotations

from dataclasses import dataclass

from model_training.datasets.labelled import LabelledImages
from model_training.shop_photos import ShopPhotos
from model_training.splits import Split


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a model is made from.

    Attributes:
        data: what the labelled images are called.
        labelled: all of them.
        split: their three parts.
        limit: of how many images were used, None for all.
        photos: shop photos, for the sentinel; None where there are none.
    """

    data: str
    labelled: LabelledImages
    split: Split
    limit: int | None
    photos: ShopPhotos | None = None
