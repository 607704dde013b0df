"""Images with labels, as every loader here gives them and every trainer takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tagging.errors import TrainingDataError
from tagging.model_card import Category


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """A set of labelled images that fit into memory.

    Attributes:
        images: uint8 (n, height, width, channels).
        labels: int64 (n,), indices into `categories`.
        categories: in the order of the labels.
        sources: file name -> md5 (hex) of the bytes that this came from.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    categories: tuple[Category, ...]
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise TrainingDataError(
                f"got {len(self.images)} images but {len(self.labels)} labels; "
                "the two files do not belong together. Fetch both again from one place."
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.categories
        ):
            raise TrainingDataError(
                f"labels run from {self.labels.min()} to {self.labels.max()}, but there are "
                f"{len(self.categories)} categories (0 to {len(self.categories) - 1}). "
                "Use the label file that belongs to these images."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> LabelledImages:
        """The images at `indices`, in that order."""
        return LabelledImages(
            images=self.images[indices],
            labels=self.labels[indices],
            categories=self.categories,
            sources=self.sources,
        )

    def first(self, limit: int | None) -> LabelledImages:
        """The first `limit` images, or all of them."""
        return self if limit is None else self.take(np.arange(min(limit, len(self))))
