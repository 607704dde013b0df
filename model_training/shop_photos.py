"""Photos from shops that a model was not made from: some show its categories, some are foreign.

They teach and test what tells strange pictures apart. Half of the familiar photos and half of the
foreign kinds are `reserved`: neither trained nor tuned on, only reported on. Foreign ones are
dealt by kind, since the question is what a model makes of things that it has never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_training.near_duplicates import image_digests
from tagging.errors import TrainingDataError

FOREIGN = -1
"""The category of what fits none."""


@dataclass(frozen=True, kw_only=True)
class ShopPhotos:
    """Photos as the model sees them, and what they show.

    Attributes:
        images: uint8 (n, height, width, channels).
        kinds: str (n,), the shop's own name for what is shown.
        category: int64 (n,), index of the model's category that it fits, or `FOREIGN`.
        reserved: bool (n,), only to be reported on.
    """

    images: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.str_]
    category: npt.NDArray[np.int64]
    reserved: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def foreign(self) -> npt.NDArray[np.bool_]:
        """bool (n,): fits no category."""
        mask: npt.NDArray[np.bool_] = self.category == FOREIGN
        return mask

    def take(self, chosen: npt.NDArray[np.bool_]) -> ShopPhotos:
        """Those where `chosen` (bool, n)."""
        return ShopPhotos(
            images=self.images[chosen],
            kinds=self.kinds[chosen],
            category=self.category[chosen],
            reserved=self.reserved[chosen],
        )

    def tuning_quarter(self) -> npt.NDArray[np.bool_]:
        """bool (n,): unreserved ones that the sentinel is not trained on, to choose by."""
        last = np.array([digest[1] & 3 for digest in image_digests(self.images)]) == 3
        quarter: npt.NDArray[np.bool_] = last & ~self.reserved
        return quarter


def shop_photos(
    images: npt.NDArray[np.uint8],
    kinds: Sequence[str],
    category: npt.NDArray[np.int64],
    *,
    reserved_kinds: frozenset[str],
) -> ShopPhotos:
    """Deal photos: foreign ones by kind, familiar ones by the digest of their pixels.

    Args:
        images: uint8 (n, height, width, channels).
        kinds: what each shows.
        category: int64 (n,), `FOREIGN` for what fits none.
        reserved_kinds: of the foreign.

    Raises:
        TrainingDataError: no photo, or no kind of a side that is needed, is there.
    """
    named = np.array(kinds, dtype=np.str_)
    foreign = category == FOREIGN
    halves = np.array([digest[0] & 1 for digest in image_digests(images)], dtype=bool)
    reserved = np.where(foreign, np.isin(named, sorted(reserved_kinds)), halves)
    for side, chosen in (("familiar", ~foreign), ("foreign", foreign)):
        if not (chosen & reserved).any() or not (chosen & ~reserved).any():
            raise TrainingDataError(
                f"the shop photos have no {side} ones to tune on, or none to report on: "
                f"{int((chosen & ~reserved).sum())} and {int((chosen & reserved).sum())}. Name "
                "kinds for both in the recipe."
            )
    return ShopPhotos(images=images, kinds=named, category=category, reserved=reserved)
