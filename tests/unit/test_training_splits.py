"""The division into train, select and hold-out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model_training.datasets.fashion_mnist import find_folder, load_training_set
from model_training.splits import (
    Split,
    average_hashes,
    difference_hashes,
    divide,
    image_digests,
    near_duplicate_groups,
)
from tagging.errors import TrainingDataError

Images = npt.NDArray[np.uint8]


def pictures(n: int, seed: int = 0) -> Images:
    """Blotchy pictures whose perceptual hashes differ."""
    coarse = np.random.default_rng(seed).integers(0, 250, (n, 7, 7, 1), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def parts(split: Split) -> list[set[int]]:
    return [set(p.tolist()) for p in (split.train, split.select, split.holdout)]


def test_the_parts_are_disjoint_complete_and_of_the_announced_size() -> None:
    split = divide(pictures(600))
    train, select, holdout = parts(split)
    assert train | select | holdout == set(range(600))
    assert len(train) + len(select) + len(holdout) == 600
    assert (len(select), len(holdout)) == (50, 50)


def test_order_in_the_file_moves_no_image() -> None:
    images = pictures(300)
    shuffled = np.random.default_rng(1).permutation(300)
    first, second = divide(images), divide(images[shuffled])
    assert first.fingerprint == second.fingerprint
    assert sorted(shuffled[second.holdout].tolist()) == first.holdout.tolist()
    assert divide(pictures(300, seed=5)).fingerprint != first.fingerprint


def test_near_and_exact_duplicates_stay_together() -> None:
    base = pictures(200)
    images = np.concatenate([base, base + 2, base])  # brighter by 2 of 255, and exact copies
    split = divide(images)
    assert split.groups == 200
    for part in parts(split):
        assert {i % 200 for i in part} == {i % 200 for i in part if i < 200}
        assert all({i, i + 200, i + 400} <= part for i in part if i < 200)


def test_equal_hashes_of_different_pictures_are_not_joined() -> None:
    """A dark and a bright picture of one shape: every bit alike, yet far apart."""
    dark = np.zeros((1, 28, 28, 1), np.uint8)
    dark[:, 7:21, 7:21] = 40
    bright = np.zeros((1, 28, 28, 1), np.uint8)
    bright[:, 7:21, 7:21] = 240
    both = np.concatenate([dark, bright])
    assert len(set(difference_hashes(both).tolist())) == 1
    assert len(set(average_hashes(both).tolist())) == 1
    assert near_duplicate_groups(both).tolist() == [0, 1]


def test_chains_join() -> None:
    first = pictures(1)
    chain = np.concatenate([first, first + 4, first + 5, first + 200])
    assert near_duplicate_groups(chain).tolist()[:3] == [0, 0, 0]


def test_too_few_images_are_refused() -> None:
    with pytest.raises(TrainingDataError, match="at least 36"):
        divide(pictures(35))


def test_nothing_but_copies_is_refused() -> None:
    with pytest.raises(TrainingDataError, match="near-duplicates in 2 groups"):
        divide(pictures(2).repeat(50, axis=0))


def test_fashion_mnist_is_divided_into_50000_5000_5000(data_dir: Path) -> None:
    images = load_training_set(find_folder(data_dir)).images
    split = divide(images)
    assert [len(p) for p in (split.train, split.select, split.holdout)] == [50_000, 5_000, 5_000]
    side_of = np.zeros(len(images), np.int64)
    side_of[split.select], side_of[split.holdout] = 1, 2
    for keys in (near_duplicate_groups(images).tolist(), image_digests(images)):
        sides: dict[object, set[int]] = {}
        for key, side in zip(keys, side_of.tolist(), strict=True):
            sides.setdefault(key, set()).add(side)
        assert max(len(s) for s in sides.values()) == 1
    # The shipped bundle's rate is stated on this division; a change needs a new bundle.
    assert split.fingerprint.startswith("614bac53a9d03f19")
