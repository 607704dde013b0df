"""Answers to many images at one fixed batch shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # Keras takes seconds to import; whoever has a model has imported it
    import keras


def predict_logits(
    model: keras.Model, images: npt.NDArray[np.uint8], batch: int = 256
) -> npt.NDArray[np.float32]:
    """Run `images` (n, height, width, channels) through `model`: float32 (n, categories)."""
    (logits,) = in_batches(lambda part: (model.predict_on_batch(part),), images, batch)
    return logits.astype(np.float32, copy=False)


def in_batches(
    answer: Callable[[npt.NDArray[np.uint8]], tuple[Any, ...]],
    images: npt.NDArray[np.uint8],
    batch: int = 256,
) -> tuple[npt.NDArray[Any], ...]:
    """What `answer` gives for `images` (n, height, width, channels), concatenated.

    Every call has the same shape, the last one padded with zeros, so that the backend compiles
    once; `Model.predict` in a loop leaks and is slow. Of no images, `answer` is asked once all the
    same, so that the parts have their width.
    """
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for start in range(0, max(1, len(images)), batch):
        part = images[start : start + batch]
        padded = part
        if len(part) < batch:
            padded = np.zeros((batch, *images.shape[1:]), dtype=np.uint8)
            padded[: len(part)] = part
        parts.append(tuple(np.asarray(one)[: len(part)] for one in answer(padded)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
