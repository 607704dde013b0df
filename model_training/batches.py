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


def epoch_batches(
    data: LabelledImages,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augmentation: Augmentation,
) -> Iterator[Batch]:
    """Shuffled, changed batches: uint8 (b, h, w, c) and one-hot float32 (b, categories).

    The next batch is made on a thread while the caller trains on this one; numpy lets go of the
    interpreter for most of it.
    """
    order = epoch_order(len(data), seed=seed, epoch=epoch)
    size = min(batch_size, len(data))
    one_hot = np.eye(len(data.categories), dtype=np.float32)

    def make(step: int) -> Batch:
        chosen = order[step * size : (step + 1) * size]
        rng = np.random.default_rng([seed, epoch, _CHANGES, step])
        changed = augment(data.images[chosen], augmentation, rng, ground=GROUND[data.kind])
        return changed, one_hot[data.labels[chosen]]

    steps = steps_per_epoch(len(data), batch_size)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="augment") as pool:
        following: Future[Batch] = pool.submit(make, 0)
        for step in range(steps):
            batch = following.result()
            if step + 1 < steps:
                following = pool.submit(make, step + 1)
            yield batch
