"""The order of the images and their changes, epoch by epoch, from a seed alone.

Epoch `e` of seed `s` is the same whether the run got there in one go or was resumed: nothing is
carried over from the epochs before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from model_training.augment import GROUND, Augmentation, augment
from model_training.datasets.labelled import LabelledImages

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]

_ORDER, _CHANGES = 0, 1


def epoch_order(n: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 to n - 1, int64 (n,)."""
    return np.random.default_rng([seed, epoch, _ORDER]).permutation(n).astype(np.int64)


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Whole batches in `n` images, at least one (then it is smaller)."""
    return max(1, n // batch_size)


def mixed(
    images: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.float32],
    parameter: float,
    rng: np.random.Generator,
) -> Batch:
    """Each image blended with another of the batch, and its targets likewise.

    Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"; an image keeps at least half of
    itself.

    Args:
        images: uint8 (b, h, w, c).
        targets: float32 (b, categories).
        parameter: above 0; shares are drawn from Beta(parameter, parameter), one per image.
        rng: is moved on.
    """
    n = len(images)
    share = rng.beta(parameter, parameter, n).astype(np.float32)
    share = np.maximum(share, 1 - share)
    other = rng.permutation(n)
    s = share[:, None, None, None]
    blended = np.rint(s * images + (1 - s) * images[other]).astype(np.uint8)
    s = share[:, None]
    return blended, s * targets + (1 - s) * targets[other]


def epoch_batches(
    data: LabelledImages,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augmentation: Augmentation,
    mixup: float = 0.0,
) -> Iterator[Batch]:
    """Shuffled, changed batches: uint8 (b, h, w, c) and targets, float32 (b, categories).

    The targets are one-hot, or with `mixup`, parameter of a Beta distribution, blended as the
    images are: `mixed`. The next batch is made on a thread while the caller trains on this one;
    numpy lets go of the interpreter for most of it.
    """
    order = epoch_order(len(data), seed=seed, epoch=epoch)
    size = min(batch_size, len(data))
    one_hot = np.eye(len(data.categories), dtype=np.float32)

    def make(step: int) -> Batch:
        chosen = order[step * size : (step + 1) * size]
        rng = np.random.default_rng([seed, epoch, _CHANGES, step])
        changed = augment(data.images[chosen], augmentation, rng, ground=GROUND[data.kind])
        targets = one_hot[data.labels[chosen]]
        return mixed(changed, targets, mixup, rng) if mixup else (changed, targets)

    steps = steps_per_epoch(len(data), batch_size)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="augment") as pool:
        following: Future[Batch] = pool.submit(make, 0)
        for step in range(steps):
            batch = following.result()
            if step + 1 < steps:
                following = pool.submit(make, step + 1)
            yield batch
