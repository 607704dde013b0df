"""Copies of product photos that are no product photos any more: what a model must call strange.

Each has the light, the grain and the details of the real thing and not its form, so that a network
that learns to tell them apart must look at the form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Image8 = npt.NDArray[np.uint8]  # (height, width, channels)
Rng = np.random.Generator


def distort(images: Image8, *, ground: int, rng: Rng) -> Image8:
    """A broken copy of each of `images`.

    Args:
        images: uint8 (n, height, width, channels), n >= 2.
        ground: the grey level (0 to 255) of what lies around a product.
        rng: the same state gives the same pixels.

    Returns:
        uint8, the same shape. Each image is turned far, pressed thin, cut into quarters that
        changed places, reduced to one detail, joined with half of another, or tiled with itself.
    """
    broken = np.empty_like(images)
    for index, image in enumerate(images):
        if rng.random() < 1 / (len(_WAYS) + 1):
            other = images[int(rng.integers(0, len(images)))]
            broken[index] = _joined(image, other, rng)
        else:
            broken[index] = _WAYS[int(rng.integers(0, len(_WAYS)))](image, ground, rng)
    return broken


def _turned(image: Image8, ground: int, rng: Rng) -> Image8:
    angle = float(rng.choice([-1, 1]) * rng.uniform(35, 145))
    channels = [
        np.asarray(
            Image.fromarray(image[:, :, c]).rotate(
                angle, resample=Image.Resampling.BILINEAR, fillcolor=ground
            )
        )
        for c in range(image.shape[2])
    ]
    return np.stack(channels, axis=2)


def _pressed(image: Image8, ground: int, rng: Rng) -> Image8:
    height, width = image.shape[:2]
    share = rng.uniform(0.15, 0.45)
    pressed = np.full_like(image, ground)
    if rng.random() < 0.5:
        rows = max(3, int(height * share))
        top = (height - rows) // 2
        pressed[top : top + rows] = _resized(image, rows, width)
    else:
        columns = max(3, int(width * share))
        left = (width - columns) // 2
        pressed[:, left : left + columns] = _resized(image, height, columns)
    return pressed


def _quartered(image: Image8, ground: int, rng: Rng) -> Image8:
    y, x = image.shape[0] // 2, image.shape[1] // 2
    quarters = [
        image[:y, :x],
        image[:y, x : 2 * x],
        image[y : 2 * y, :x],
        image[y : 2 * y, x : 2 * x],
    ]
    order = rng.permutation(4)
    while (order == np.arange(4)).sum() > 2:
        order = rng.permutation(4)
    a, b, c, d = (quarters[i] for i in order)
    mixed = np.full_like(image, ground)
    mixed[: 2 * y, : 2 * x] = np.concatenate(
        [np.concatenate([a, b], axis=1), np.concatenate([c, d], axis=1)]
    )
    return mixed


def _detail(image: Image8, _ground: int, rng: Rng) -> Image8:
    height, width = image.shape[:2]
    share = rng.uniform(0.28, 0.53)
    rows, columns = max(3, int(height * share)), max(3, int(width * share))
    top, left = rng.uniform(0.07, 0.93 - share, 2) * (height, width)
    part = image[int(top) : int(top) + rows, int(left) : int(left) + columns]
    return _resized(part, height, width)


def _tiled(image: Image8, ground: int, rng: Rng) -> Image8:
    n = int(rng.integers(2, 4))
    height, width = image.shape[0] // n, image.shape[1] // n
    tiled = np.full_like(image, ground)
    tiled[: n * height, : n * width] = np.tile(_resized(image, height, width), (n, n, 1))
    return tiled


def _joined(image: Image8, other: Image8, rng: Rng) -> Image8:
    joined = image.copy()
    if rng.random() < 0.5:
        joined[: image.shape[0] // 2] = other[: image.shape[0] // 2]
    else:
        joined[:, : image.shape[1] // 2] = other[:, : image.shape[1] // 2]
    return joined


def _resized(image: Image8, height: int, width: int) -> Image8:
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(image[:, :, c])).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for c in range(image.shape[2])
    ]
    return np.stack(channels, axis=2)


_WAYS: Final[tuple[Callable[[Image8, int, Rng], Image8], ...]] = (
    _turned,
    _pressed,
    _quartered,
    _detail,
    _tiled,
)
