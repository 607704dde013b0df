"""Divide a labelled set into train, select and hold-out, the same way on every machine.

* **train** teaches the weights.
* **select** is what every choice is made on: network, schedule, temperature, thresholds.
* **hold-out** states the rate; it is read once per release.

Which part an image falls into depends on its bytes alone (a keyed sha256), not on its place in the
file or on a seed. Near-duplicates form a group that never stands on both sides of a split, since a
picture seen in training would make the hold-out look better than the retailer's next photo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tagging.errors import TrainingDataError

SPLIT_KEY: Final = b"atelier split 1"
"""Changing this deals all images anew; a model's card names the fingerprint that came of it."""

NEAR_MEAN_DIFFERENCE: Final = 5.0
"""Mean absolute pixel difference (0 to 255) up to which equal hashes mean the same picture.

Seen on Fashion-MNIST: up to 3, one product photographed or exported twice; from 3 to 5, those
mixed with plain trousers that look alike; around 8, different trousers and dresses. Of all pairs
of its 60,000 within 5, one of the two hashes finds 68 %; of those within 3, 35 of 36."""

HELD_BACK_SHARE: Final = 1 / 12
"""Of the whole, for select and again for hold-out: 5,000 of Fashion-MNIST's 60,000."""

_HASH_SIDE: Final = 8


@dataclass(frozen=True, kw_only=True)
class Split:
    """Indices into the set that was divided; int64, sorted, disjoint, together all of it.

    `groups`: how many groups of near-duplicates have more than one image.
    `fingerprint`: sha256 (hex) over the sorted image hashes of each part.
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


def divide(images: npt.NDArray[np.uint8]) -> Split:
    """Train, select and hold-out of `images` (n, height, width, channels).

    Select and hold-out get `round(n / 12)` images each: groups are dealt in the order of their
    hash, and one that would overshoot is passed on. Exactly so wherever single images are left to
    fill the rest, as with Fashion-MNIST's 5,000; a set of large groups alone may fall short.

    Raises:
        TrainingDataError: fewer than 36 images, or so many duplicates that a part stays empty.
    """
    n = len(images)
    if n < 36:
        raise TrainingDataError(
            f"got {n} images; at least 36 are needed to set aside some for choosing and for "
            "stating the rate. Add images."
        )
    digests = image_digests(images)
    group_of = near_duplicate_groups(images)
    members: dict[int, list[int]] = {}
    for index, group in enumerate(group_of.tolist()):
        members.setdefault(group, []).append(index)
    # A group is named by its smallest digest, so that neither file order nor a copy moves it.
    dealt = sorted(
        members.values(),
        key=lambda group: hashlib.sha256(SPLIT_KEY + min(digests[i] for i in group)).digest(),
    )
    size = round(n * HELD_BACK_SHARE)
    parts: dict[str, list[int]] = {"holdout": [], "select": [], "train": []}
    for group in dealt:
        for name in ("holdout", "select"):
            if len(parts[name]) + len(group) <= size:
                parts[name].extend(group)
                break
        else:
            parts["train"].extend(group)
    if not all(parts.values()):
        raise TrainingDataError(
            f"the {n} images are near-duplicates in {len(dealt)} groups, too large to be dealt "
            "into three parts without one picture standing in two of them. Add other images."
        )
    indices = {name: np.array(sorted(part), dtype=np.int64) for name, part in parts.items()}
    return Split(
        train=indices["train"],
        select=indices["select"],
        holdout=indices["holdout"],
        groups=sum(len(group) > 1 for group in members.values()),
        fingerprint=_fingerprint(digests, (indices[k] for k in ("train", "select", "holdout"))),
    )


def image_digests(images: npt.NDArray[np.uint8]) -> list[bytes]:
    """sha256 of each image's pixels, row-major."""
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]


def difference_hashes(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """64-bit dHash of each image: uint64 (n,).

    Mean over the channels, area-averaged to 8 rows of 9; a bit says whether a cell is brighter
    than its left neighbour (Krawetz 2013, "Kind of Like That").
    """
    cells = _area_averages(images, _HASH_SIDE, _HASH_SIDE + 1)  # (n, 8, 9)
    return _pack_bits(cells[:, :, 1:] > cells[:, :, :-1])


def average_hashes(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """64-bit aHash of each image: uint64 (n,); a bit says whether a cell is above the mean."""
    cells = _area_averages(images, _HASH_SIDE, _HASH_SIDE)  # (n, 8, 8)
    return _pack_bits(cells > cells.mean(axis=(1, 2), keepdims=True))


def near_duplicate_groups(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """int64 (n,): the smallest index in each image's group of near-duplicates.

    Two images are near when their dHash or their aHash is equal and their mean absolute pixel
    difference is at most `NEAR_MEAN_DIFFERENCE`; groups are what a chain of near pairs joins.
    """
    leader = np.arange(len(images), dtype=np.int64)

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = int(leader[index])
        return index

    flat = images.reshape(len(images), -1)
    for hashes in (difference_hashes(images), average_hashes(images)):
        for bucket in equal_hash_buckets(hashes):
            pixels = flat[bucket].astype(np.int16)
            for k in range(len(bucket) - 1):
                difference = np.abs(pixels[k + 1 :] - pixels[k]).mean(axis=1)
                for other in np.flatnonzero(difference <= NEAR_MEAN_DIFFERENCE):
                    a, b = find(int(bucket[k])), find(int(bucket[k + 1 + other]))
                    leader[max(a, b)] = min(a, b)
    return np.array([find(i) for i in range(len(images))], dtype=np.int64)


def equal_hash_buckets(
    hashes: npt.NDArray[np.uint64],
) -> Iterable[npt.NDArray[np.int64]]:
    """Index arrays of the hashes that occur more than once."""
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(hashes[order]) != 0])
    for bucket in np.split(order, starts[1:]):
        if len(bucket) > 1:
            yield bucket


def _area_averages(
    images: npt.NDArray[np.uint8], rows: int, columns: int
) -> npt.NDArray[np.float32]:
    grey = images.astype(np.float32).mean(axis=3)  # (n, height, width)
    by_row = _area_weights(grey.shape[1], rows)
    by_column = _area_weights(grey.shape[2], columns)
    averages: npt.NDArray[np.float32] = by_row @ grey @ by_column.T
    # Quantised, so that the last bit of a float sum cannot make two machines disagree.
    rounded: npt.NDArray[np.float32] = np.rint(averages * 16.0)
    return rounded


def _area_weights(size: int, cells: int) -> npt.NDArray[np.float32]:
    """float32 (cells, size): how much of each pixel lies in each cell; rows sum to 1."""
    edges = np.linspace(0.0, size, cells + 1)
    pixel = np.arange(size)
    upper = np.minimum(edges[1:, None], pixel[None, :] + 1)
    lower = np.maximum(edges[:-1, None], pixel[None, :])
    overlap = np.clip(upper - lower, 0.0, None)
    weights: npt.NDArray[np.float64] = overlap / overlap.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def _pack_bits(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    packed = np.packbits(bits.reshape(len(bits), 64), axis=1)  # (n, 8)
    return packed.view(">u8").ravel().astype(np.uint64)


def _fingerprint(digests: list[bytes], parts: Iterable[npt.NDArray[np.int64]]) -> str:
    total = hashlib.sha256(SPLIT_KEY)
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        for digest in sorted(digests[i] for i in part.tolist()):
            total.update(digest)
    return total.hexdigest()
