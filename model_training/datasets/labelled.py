"""Images with labels, as every loader here gives them and every trainer takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tagging.domain import Taxonomy
from tagging.errors import TrainingDataError
from tagging.model_card import Category, InputSpec, taxonomy_of


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A category with too few images, and the one that its images teach instead."""

    category: str
    images: int
    into: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An image (or a row that names some) that is not trained on, and why."""

    where: str
    why: str


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """A set of labelled images that fit into memory.

    Attributes:
        images: uint8 (n, height, width, channels).
        labels: int64 (n,), indices into `categories`.
        categories: in the order of the labels.
        parents: the inner nodes of the taxonomy, outer ones first, each with its own parent.
        sources: file name -> md5 (hex) of the bytes that this came from.
        kind: by which steps the images were made of pictures (`InputSpec.kind`).
        digests: the sha256 of the file behind each image; empty where a set came as pixels.
        products: int64 (n,); images of one product have one number. None: each has its own.
        merged: what was too small to be a category.
        left_out: what could not be used.
        options: how this was read, plain JSON values.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    categories: tuple[Category, ...]
    parents: tuple[Category, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["fashion-mnist", "photo"] = "fashion-mnist"
    digests: tuple[bytes, ...] = ()
    products: npt.NDArray[np.int64] | None = None
    merged: tuple[Merged, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise TrainingDataError(
                f"got {len(self.images)} images but {len(self.labels)} labels; "
                "the two files do not belong together. Fetch both again from one place."
            )
        for name, given in (("digests", self.digests or None), ("products", self.products)):
            if given is not None and len(given) != len(self.labels):
                raise TrainingDataError(
                    f"got {len(given)} {name} for {len(self.labels)} images; give one for each."
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

    @property
    def spec(self) -> InputSpec:
        """What a network that is trained on these images eats."""
        height, width, channels = self.images.shape[1:]
        return InputSpec(kind=self.kind, height=height, width=width, channels=channels)

    @property
    def taxonomy(self) -> Taxonomy:
        """The categories and what they belong to."""
        return taxonomy_of(self.categories, self.parents)

    def facts(self) -> Mapping[str, Any]:
        """What a card says of the data besides its files and its split; plain JSON values."""
        return {
            "options": dict(self.options),
            "merged": [
                {"category": m.category, "images": m.images, "into": m.into} for m in self.merged
            ],
            "left_out": len(self.left_out),
        }

    def take(self, indices: npt.NDArray[np.int64]) -> LabelledImages:
        """The images at `indices`, in that order."""
        return replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            digests=tuple(self.digests[i] for i in indices.tolist()) if self.digests else (),
            products=None if self.products is None else self.products[indices],
        )

    def first(self, limit: int | None) -> LabelledImages:
        """The first `limit` images, or all of them."""
        return self if limit is None else self.take(np.arange(min(limit, len(self))))
