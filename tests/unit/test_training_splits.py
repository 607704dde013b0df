"""The division into train, select and hold-out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model_training.datasets.fashion_mnist import find_folder, load_training_set
from model_training.datasets.labelled import LabelledImages
from model_training.near_duplicates import image_digests, near_duplicate_groups
from model_training.splits import Split, divide, divide_labelled
from tagging.errors import TrainingDataError
from tagging.model_card import Category

Images = npt.NDArray[np.uint8]


def pictures(n: int, seed: int = 0, channels: int = 1) -> Images:
    """Blotchy pictures, 28x28, whose perceptual hashes differ."""
    coarse = np.random.default_rng(seed).integers(0, 250, (n, 7, 7, channels), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def labelled(
    images: Images,
    *,
    products: list[int] | None = None,
    digests: list[bytes] | None = None,
) -> LabelledImages:
    """`images` with labels, one half each of two categories."""
    return LabelledImages(
        images=images,
        labels=np.arange(len(images)) % 2,
        categories=(Category(name="Bag", parent=None), Category(name="Dress", parent=None)),
        products=None if products is None else np.array(products),
        digests=tuple(digests or ()),
    )


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


def test_too_few_images_are_refused() -> None:
    with pytest.raises(TrainingDataError, match="at least 36"):
        divide(pictures(35))


def test_nothing_but_copies_is_refused() -> None:
    with pytest.raises(TrainingDataError, match="near-duplicates in 2 groups"):
        divide(pictures(2).repeat(50, axis=0))


def test_photos_of_one_product_stay_together() -> None:
    """Five photos of each product, which look nothing alike."""
    images = pictures(600)
    products = np.arange(600) % 120
    split = divide(images, products=products)
    assert [len(part) for part in (split.train, split.select, split.holdout)] == [500, 50, 50]
    assert split.groups == 120
    sides = [set(products[sorted(part)].tolist()) for part in parts(split)]
    assert sum(map(len, sides)) == 120
    torn = [set(products[sorted(part)].tolist()) for part in parts(divide(images))]
    assert sum(map(len, torn)) > 120


def test_products_and_near_duplicates_chain() -> None:
    """Photo 0 of product 0 is photo 300 of product 1, brighter: both products are one group."""
    images = pictures(300)
    images = np.concatenate([images, images[:1] + 2])
    products = np.arange(301)
    products[1] = 300  # another photo of the product that photo 300 shows
    split = divide(images, products=products)
    assert split.groups == 1
    assert any({0, 1, 300} <= part for part in parts(split))


def test_a_set_of_files_is_dealt_by_their_digests() -> None:
    """Read in another size, the files of a set come to lie where they did."""
    images = pictures(300)
    digests = image_digests(pictures(300, seed=9))
    one = divide_labelled(labelled(images, digests=digests))
    larger = images.repeat(2, axis=1).repeat(2, axis=2)
    other = divide_labelled(labelled(larger, digests=digests))
    assert one.fingerprint == other.fingerprint
    assert one.holdout.tolist() == other.holdout.tolist()
    assert divide_labelled(labelled(images)).fingerprint == divide(images).fingerprint
    assert one.fingerprint != divide(images).fingerprint


def test_labelled_images_are_divided_with_what_is_known_of_them() -> None:
    images = pictures(120)
    products = [i // 2 for i in range(120)]
    split = divide_labelled(labelled(images, products=products))
    assert split.groups == 60
    assert split.fingerprint == divide(images, products=np.array(products)).fingerprint


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
    assert split.fingerprint == "614bac53a9d03f1930ea9924a97303efa33ab41a878daccc5c2a935099615d29"
