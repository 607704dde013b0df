"""Divide a labelled set into train, select and hold-out, the same way on every machine.

* **train** teaches the weights.
* **select** is what every choice is made on: network, schedule, temperature, thresholds.
* **hold-out** states the rate; it is read once per release.

Which part an image falls into depends on its bytes alone (a keyed sha256), not on its place in the
file or on a seed. Near-duplicates, and all photos of one product, form a group that never stands on
both sides of a split, since a picture seen in training would make the hold-out look better than the
retailer's next photo.

A split is kept with the model that was trained on it: see `stored_split`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model_training.datasets.labelled import LabelledImages
from model_training.near_duplicates import equal_pairs, image_digests, joined, near_duplicate_groups
from tagging.errors import TrainingDataError

SPLIT_KEY: Final = b"atelier split 1"
"""Changing this deals all images anew; a model's card names the fingerprint that came of it."""

HELD_BACK_SHARE: Final = 1 / 12
"""Of the whole, for select and again for hold-out: 5,000 of Fashion-MNIST's 60,000."""

PARTS: Final = ("train", "select", "holdout")


@dataclass(frozen=True, kw_only=True)
class Split:
    """Indices into the set that was divided; int64, sorted, disjoint, together all of it.

    `groups`: how many groups of near-duplicates or of one product have more than one image.
    `fingerprint`: sha256 (hex) over the sorted image digests of each part.
    """

    train: npt.NDArray[np.int64]
    select: npt.NDArray[np.int64]
    holdout: npt.NDArray[np.int64]
    groups: int
    fingerprint: str

    def facts(self) -> Mapping[str, Any]:
        """What a card says of the split."""
        return {
            "train": len(self.train),
            "select": len(self.select),
            "holdout": len(self.holdout),
            "near_duplicate_groups": self.groups,
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images that may not be torn apart. `members`: their indices, ascending.

    `key`: 32 bytes by which it is dealt, of its smallest digest, so that neither file order nor a
    further copy moves it.
    """

    members: Sequence[int]
    key: bytes


def divide_labelled(labelled: LabelledImages) -> Split:
    """`divide` with all that is known of `labelled`.

    Raises:
        TrainingDataError: see `divide`.
    """
    return divide(labelled.images, products=labelled.products, digests=digests_of(labelled))


def divide(
    images: npt.NDArray[np.uint8],
    *,
    products: npt.NDArray[np.int64] | None = None,
    digests: Sequence[bytes] | None = None,
) -> Split:
    """Train, select and hold-out of `images`.

    Select and hold-out get `round(n / 12)` images each: groups are dealt in the order of their
    hash, and one that would overshoot is passed on. Exactly so wherever single images are left to
    fill the rest, as with Fashion-MNIST's 5,000; a set of large groups alone may fall short.

    Args:
        images: uint8 (n, height, width, channels).
        products: int64 (n,), equal for photos of one product; None where nothing is known.
        digests: n, by which images are dealt; None for the sha256 of their pixels.

    Raises:
        TrainingDataError: fewer than 36 images, or so many duplicates that a part stays empty.
    """
    n = len(images)
    if n < 36:
        raise TrainingDataError(
            f"got {n} images; at least 36 are needed to set aside some for choosing and for "
            "stating the rate. Add images."
        )
    names = image_digests(images) if digests is None else digests
    groups = grouped(images, names, products)
    size = round(n * HELD_BACK_SHARE)
    parts: dict[str, list[int]] = {"holdout": [], "select": [], "train": []}
    for group in sorted(groups, key=lambda group: group.key):
        for name in ("holdout", "select"):
            if len(parts[name]) + len(group.members) <= size:
                parts[name].extend(group.members)
                break
        else:
            parts["train"].extend(group.members)
    if not all(parts.values()):
        raise TrainingDataError(
            f"the {n} images are near-duplicates in {len(groups)} groups, too large to be dealt "
            "into three parts without one picture standing in two of them. Add other images."
        )
    return split_of(parts, groups, names)


def digests_of(labelled: LabelledImages) -> Sequence[bytes]:
    """n digests, 32 bytes each: of the files, or where a set came as pixels, of the pixels.

    Files are better: they are the same in whatever size they are read.
    """
    return labelled.digests or image_digests(labelled.images)


def grouped(
    images: npt.NDArray[np.uint8],
    digests: Sequence[bytes],
    products: npt.NDArray[np.int64] | None,
) -> list[Group]:
    """What may not be torn apart: near-duplicates and photos of one product, and their chains.

    Equal files need no rule of their own, since they have equal pixels.
    """
    near = equal_pairs(near_duplicate_groups(images).tolist())
    same = () if products is None else equal_pairs(products.tolist())
    members: dict[int, list[int]] = {}
    for index, group in enumerate(joined(len(images), chain(near, same)).tolist()):
        members.setdefault(group, []).append(index)
    return [
        Group(
            members=group,
            key=hashlib.sha256(SPLIT_KEY + min(digests[i] for i in group)).digest(),
        )
        for group in members.values()
    ]


def split_of(
    parts: Mapping[str, Iterable[int]], groups: Iterable[Group], digests: Sequence[bytes]
) -> Split:
    """The split with these indices in its `PARTS`, in any order."""
    indices = {name: np.array(sorted(parts[name]), dtype=np.int64) for name in PARTS}
    return Split(
        **indices,
        groups=sum(len(group.members) > 1 for group in groups),
        fingerprint=_fingerprint(digests, indices.values()),
    )


def _fingerprint(digests: Sequence[bytes], parts: Iterable[npt.NDArray[np.int64]]) -> str:
    total = hashlib.sha256(SPLIT_KEY)
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        for digest in sorted(digests[i] for i in part.tolist()):
            total.update(digest)
    return total.hexdigest()
