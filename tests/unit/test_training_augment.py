"""Changes to training images, and the order they come in."""

from __future__ import annotations

import numpy as np

from model_training.augment import Augmentation, augment
from model_training.batches import epoch_batches, epoch_order, mixed, steps_per_epoch
from model_training.datasets.fashion_mnist import CATEGORIES
from model_training.datasets.labelled import LabelledImages

NOTHING = Augmentation(shift=0, flip=0, stretch=0, tone=0, erase=0)


def shapes(n: int = 40) -> np.ndarray:
    images = np.zeros((n, 28, 28, 1), np.uint8)
    images[:, 8:20, 10:18] = np.random.default_rng(0).integers(60, 200, (n, 12, 8, 1))
    return images


def labelled(n: int = 40) -> LabelledImages:
    return LabelledImages(images=shapes(n), labels=np.arange(n) % 10, categories=CATEGORIES)


def test_the_same_generator_state_gives_the_same_pixels() -> None:
    one = augment(shapes(), Augmentation(), np.random.default_rng(3))
    two = augment(shapes(), Augmentation(), np.random.default_rng(3))
    three = augment(shapes(), Augmentation(), np.random.default_rng(4))
    assert (one == two).all()
    assert (one != three).any()
    assert one.shape == (40, 28, 28, 1)
    assert one.dtype == np.uint8


def test_every_step_left_out_changes_nothing() -> None:
    images = shapes()
    result = augment(images, NOTHING, np.random.default_rng(0))
    assert (result == images).all()
    assert not np.shares_memory(result, images)


def test_the_images_given_stay_as_they_are() -> None:
    images = shapes()
    before = images.copy()
    augment(images, Augmentation(tone=1, stretch=1, erase=1), np.random.default_rng(0))
    assert (images == before).all()


def test_a_flip_mirrors_left_and_right() -> None:
    settings = Augmentation(shift=0, flip=1, stretch=0, tone=0, erase=0)
    images = shapes()
    assert (augment(images, settings, np.random.default_rng(0)) == images[:, :, ::-1]).all()


def test_a_shift_moves_whole_pixels_and_fills_with_ground() -> None:
    settings = Augmentation(shift=2, flip=0, stretch=0, tone=0, erase=0)
    images = shapes()
    moved = augment(images, settings, np.random.default_rng(0))
    assert (moved.sum(axis=(1, 2, 3)) == images.sum(axis=(1, 2, 3))).all()
    assert (moved != images).any()


def test_tone_leaves_the_ground_at_0() -> None:
    settings = Augmentation(shift=0, flip=0, stretch=0, tone=1, erase=0)
    images = shapes()
    toned = augment(images, settings, np.random.default_rng(0))
    assert (toned[images == 0] == 0).all()
    assert (toned[images > 0] != images[images > 0]).any()


def test_stretch_keeps_an_image_about_its_size() -> None:
    settings = Augmentation(shift=0, flip=0, stretch=1, stretch_limit=0.1, tone=0, erase=0)
    images = shapes()
    stretched = augment(images, settings, np.random.default_rng(0))
    ratio = stretched.sum(axis=(1, 2, 3)) / images.sum(axis=(1, 2, 3))
    assert 0.7 < ratio.min() < 0.95
    assert 1.05 < ratio.max() < 1.3


def test_erase_covers_at_most_its_limit() -> None:
    settings = Augmentation(shift=0, flip=0, stretch=0, tone=0, erase=1, erase_limit=0.4)
    images = shapes(200)
    changed = (augment(images, settings, np.random.default_rng(0)) != images).any(axis=3)
    assert changed.any(axis=2).sum(axis=1).max() <= 0.4 * 28 + 1
    assert changed.any(axis=(1, 2)).mean() > 0.9


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    assert (epoch_order(50, seed=1, epoch=7) == epoch_order(50, seed=1, epoch=7)).all()
    assert (epoch_order(50, seed=1, epoch=7) != epoch_order(50, seed=1, epoch=8)).any()
    assert (epoch_order(50, seed=1, epoch=7) != epoch_order(50, seed=2, epoch=7)).any()
    assert sorted(epoch_order(50, seed=1, epoch=7).tolist()) == list(range(50))


def test_batches_are_whole_shuffled_and_repeatable() -> None:
    def run(epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(
            epoch_batches(
                labelled(), batch_size=16, seed=1, epoch=epoch, augmentation=Augmentation()
            )
        )

    first, again, other = run(2), run(2), run(3)
    assert [x.shape for x, _ in first] == [(16, 28, 28, 1)] * 2
    assert [y.shape for _, y in first] == [(16, 10)] * 2
    assert all(
        (a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(first, again, strict=True)
    )
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))
    order = epoch_order(40, seed=1, epoch=2)
    assert first[0][1].argmax(axis=1).tolist() == (order[:16] % 10).tolist()


def test_fewer_images_than_a_batch_make_one_step() -> None:
    assert steps_per_epoch(5, 16) == 1
    batches = list(epoch_batches(labelled(5), batch_size=16, seed=0, epoch=0, augmentation=NOTHING))
    assert [len(x) for x, _ in batches] == [5]


def test_blended_images_have_blended_targets() -> None:
    n = 200
    images = np.zeros((n, 2, 2, 1), np.uint8)
    images[n // 2 :] = 200
    targets = np.eye(2, dtype=np.float32)[(images[:, 0, 0, 0] > 0).astype(int)]
    blended, soft = mixed(images, targets, 1.0, np.random.default_rng(0))
    assert blended.dtype == np.uint8
    assert soft.dtype == np.float32
    # What share of the brighter picture is in it, its target says.
    np.testing.assert_allclose(blended[:, 0, 0, 0] / 200, soft[:, 1], atol=0.003)
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    assert (np.take_along_axis(soft, targets.argmax(axis=1)[:, None], axis=1) >= 0.5).all()
    assert ((soft > 0.1) & (soft < 0.9)).any(axis=1).mean() > 0.2


def test_blending_is_repeatable_and_off_by_default() -> None:
    def run(mixup: float) -> list[tuple[np.ndarray, np.ndarray]]:
        return list(
            epoch_batches(
                labelled(), batch_size=16, seed=1, epoch=2, augmentation=NOTHING, mixup=mixup
            )
        )

    for a, b in zip(run(0.4), run(0.4), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    assert all((y.max(axis=1) == 1).all() for _, y in run(0))
    assert any((y.max(axis=1) < 1).any() for _, y in run(0.4))
