"""Which pictures are taken for one, and which only look alike to a hash."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model_training import near_duplicates
from model_training.near_duplicates import (
    average_hashes,
    difference_hashes,
    equal_pairs,
    joined,
    near_duplicate_groups,
    step_hashes,
)
from tests.unit.test_training_splits import pictures

Images = npt.NDArray[np.uint8]


def square(shade: int, ground: int = 0) -> Images:
    """One grey picture of a square, (1, 28, 28, 1)."""
    image = np.full((1, 28, 28, 1), ground, np.uint8)
    image[:, 7:21, 7:21] = shade
    return image


def on_white(shade: int) -> Images:
    """One colour photo of a square on white, (1, 48, 48, 3)."""
    image = np.full((1, 48, 48, 3), 255, np.uint8)
    image[:, 12:36, 12:36] = shade
    return image


def photos(n: int) -> Images:
    """Smooth pictures in one tint, (n, 48, 48, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (n, 6, 6), dtype=np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(one).resize((48, 48))) for one in coarse])
    return (grey[..., None] * np.array([1.0, 0.9, 0.8])).astype(np.uint8)


def saved_anew(image: Images, quality: int) -> Images:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def test_a_dark_and_a_bright_square_have_equal_hashes_and_are_two_pictures() -> None:
    both = np.concatenate([square(40), square(240)])
    assert len(set(difference_hashes(both).tolist())) == 1
    assert len(set(average_hashes(both).tolist())) == 1
    assert near_duplicate_groups(both).tolist() == [0, 1]


def test_chains_join() -> None:
    first = pictures(1)
    chain = np.concatenate([first, first + 4, first + 8])
    assert near_duplicate_groups(np.concatenate([chain[:1], chain[2:]])).tolist() == [0, 1]
    assert near_duplicate_groups(chain).tolist() == [0, 0, 0]


def test_groups_are_named_by_their_smallest_index() -> None:
    base = pictures(3)
    mixed = np.concatenate([base[:1], base[1:2], base[:1] + 1, base[2:], base[1:2]])
    assert near_duplicate_groups(mixed).tolist() == [0, 1, 0, 3, 1]


def test_no_images_make_no_groups() -> None:
    assert near_duplicate_groups(pictures(5)[:0]).tolist() == []


def test_photos_that_were_saved_anew_are_found() -> None:
    originals = photos(40)
    again = np.stack([saved_anew(image, 60) for image in originals])
    assert (again != originals).any(axis=(1, 2, 3)).all()
    groups = near_duplicate_groups(np.concatenate([originals, again]))
    assert groups.tolist() == [*range(40), *range(40)]


def test_a_third_hash_proposes_photos_that_two_would_miss() -> None:
    """Noise on the white ground decides bits of the dHash, a cell of average brightness one of
    the aHash."""
    both = np.random.default_rng(0).integers(245, 256, (2, 48, 48, 3), dtype=np.uint8)
    both[:, 24:] = 90
    both[:, :6, :6] = np.array([165, 175], np.uint8)[:, None, None, None]
    assert len(set(difference_hashes(both).tolist())) == 2
    assert len(set(average_hashes(both).tolist())) == 2
    assert len(set(step_hashes(both).tolist())) == 1
    assert near_duplicate_groups(both).tolist() == [0, 0]


def test_white_things_on_white_are_not_one_picture() -> None:
    """They differ by little, but by more than half of what there is to see in either."""
    both = np.concatenate([on_white(249), on_white(237)])
    assert len(set(average_hashes(both).tolist())) == 1
    distance = np.abs(both[0].astype(int) - both[1]).mean()
    assert near_duplicates.SURE_MEAN_DIFFERENCE < distance < near_duplicates.NEAR_MEAN_DIFFERENCE
    assert near_duplicate_groups(both).tolist() == [0, 1]
    strong = np.concatenate([on_white(100), on_white(88)])
    assert np.abs(strong[0].astype(int) - strong[1]).mean() == distance
    assert near_duplicate_groups(strong).tolist() == [0, 0]


def test_blank_photos_differ_by_noise_alone() -> None:
    noise = np.random.default_rng(0).integers(254, 256, (3, 48, 48, 3), dtype=np.uint8)
    assert near_duplicate_groups(noise).tolist() == [0, 0, 0]


def test_noise_on_an_even_ground_sets_no_bit_of_a_step_hash() -> None:
    noise = np.random.default_rng(0).integers(245, 256, (4, 48, 48, 3), dtype=np.uint8)
    assert step_hashes(noise).tolist() == [0] * 4
    assert len(set(difference_hashes(noise).tolist())) == 4
    noise[:, 30:] = 90
    noise[:, 44:] = 240
    assert len(set(step_hashes(noise).tolist())) == 1
    assert step_hashes(noise)[0] != 0


@pytest.mark.parametrize(("neighbours", "compared"), [(1000, 64), (4, 2)])
def test_a_large_bucket_is_chained_with_few_comparisons(
    monkeypatch: pytest.MonkeyPatch, neighbours: int, compared: int
) -> None:
    """Fifty blank pictures in three shades, all of one hash; each shade is a group."""
    monkeypatch.setattr(near_duplicates, "MOST_NEIGHBOURS", neighbours)
    monkeypatch.setattr(near_duplicates, "MOST_COMPARED", compared)
    shade = np.arange(50) % 3
    images = np.full((50, 16, 16, 3), 60, np.uint8) + (80 * shade)[:, None, None, None].astype("u1")
    images += np.random.default_rng(0).integers(0, 3, images.shape, dtype=np.uint8)
    images[:, :8] = 255  # a ground that all have
    assert len(set(average_hashes(images).tolist())) == 1
    assert near_duplicate_groups(images).tolist() == shade.tolist()


def test_the_order_of_the_images_does_not_matter() -> None:
    base = pictures(60)
    images = np.concatenate([base, base[:20] + 3, base[:10]])
    order = np.random.default_rng(2).permutation(len(images))

    def groups(of: Images, numbers: npt.NDArray[np.int64]) -> set[frozenset[int]]:
        found = near_duplicate_groups(of)
        return {frozenset(numbers[found == g].tolist()) for g in set(found.tolist())}

    first = groups(images, np.arange(len(images)))
    assert sorted(map(len, first)) == [1] * 40 + [2] * 10 + [3] * 10
    assert groups(images[order], order) == first


def test_pairs_chain_to_the_smallest() -> None:
    assert joined(6, [(4, 2), (5, 4), (1, 0)]).tolist() == [0, 0, 2, 3, 2, 2]
    assert list(equal_pairs("abab")) == [(0, 0), (1, 1), (2, 0), (3, 1)]
