"""Random changes to training images that keep what they show; numpy only, seeded, vectorised.

All functions take uint8 (n, height, width, channels) and give the same shape and type. Inside, the
ground is 0, as in Fashion-MNIST; pictures on another ground are turned round before and after. The
photometric steps touch the foreground alone: the ground of a product cut-out stays what it was
whatever the light was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How strong each step is; a probability or strength of 0 leaves it out.

    Attributes:
        shift: pixels, largest shift up, down, left and right.
        flip: probability of a mirror image.
        stretch: probability of a change of scale and aspect ...
        stretch_limit: ... by factors from 1 - limit to 1 + limit, drawn apart for each axis.
        tone: probability of a change of gamma and brightness ...
        gamma_limit: ... gamma from exp(-limit) to exp(limit), drawn log-uniformly, and ...
        gain_limit: ... brightness factors from 1 - limit to 1 + limit.
        erase: probability of one grey or noisy rectangle (Zhong et al. 2017, "Random Erasing") ...
        erase_limit: ... of sides up to this share of the image's.
    """

    shift: int = 2
    flip: float = 0.5
    stretch: float = 0.3
    stretch_limit: float = 0.1
    tone: float = 0.3
    gamma_limit: float = 0.35
    gain_limit: float = 0.2
    erase: float = 0.4
    erase_limit: float = 0.45


GROUND: Final = {"fashion-mnist": 0, "photo": 255}
"""The grey level that lies around a product, by the kind of input (`InputSpec.kind`)."""


def augment(
    images: Images, settings: Augmentation, rng: np.random.Generator, *, ground: int = 0
) -> Images:
    """A changed copy of `images`; the same `rng` state gives the same pixels.

    Args:
        images: see the module's text.
        settings: what is done how strongly.
        rng: is moved on.
        ground: 0 or 255, what comes in where a picture is moved.

    Raises:
        ValueError: `ground` is neither.
    """
    if ground not in (0, 255):
        raise ValueError(f"the ground of pictures is 0 or 255, got {ground}")
    changed = _tone(images ^ np.uint8(ground), settings, rng)  # x ^ 255 is 255 - x
    changed = _move(changed, settings, rng)
    return _erase(changed, settings, rng) ^ np.uint8(ground)


def _tone(images: Images, settings: Augmentation, rng: np.random.Generator) -> Images:
    """Gamma and brightness through one table of 256 values per image; 0 stays 0."""
    n = len(images)
    chosen = np.flatnonzero(rng.random(n) < settings.tone)
    gamma = np.exp(rng.uniform(-settings.gamma_limit, settings.gamma_limit, n))[chosen]
    gain = rng.uniform(1 - settings.gain_limit, 1 + settings.gain_limit, n)[chosen]
    if not len(chosen):
        return images.copy()
    levels = np.linspace(0.0, 1.0, 256)
    tables = 255.0 * gain[:, None] * levels[None, :] ** gamma[:, None]
    tables_u8 = np.clip(np.rint(tables), 0, 255).astype(np.uint8)  # (chosen, 256)
    changed = images.copy()
    flat = images[chosen].reshape(len(chosen), -1)
    changed[chosen] = np.take_along_axis(tables_u8, flat.astype(np.intp), axis=1).reshape(
        images[chosen].shape
    )
    return changed


def _move(images: Images, settings: Augmentation, rng: np.random.Generator) -> Images:
    """Flip, shift and stretch in one look-up; what comes in from outside is ground (0).

    Images that are not stretched move by whole pixels and keep their exact values; stretched ones
    are interpolated linearly, one axis after the other.
    """
    n: int = len(images)
    height, width = images.shape[1:3]
    down = rng.integers(-settings.shift, settings.shift + 1, n)
    right = rng.integers(-settings.shift, settings.shift + 1, n)
    mirrored = rng.random(n) < settings.flip
    stretched = rng.random(n) < settings.stretch
    limit = settings.stretch_limit
    scale_y = np.where(stretched, rng.uniform(1 - limit, 1 + limit, n), 1.0)
    scale_x = np.where(stretched, rng.uniform(1 - limit, 1 + limit, n), 1.0)

    rows = _source_positions(height, down, scale_y, np.zeros(n, dtype=bool))  # (n, height)
    columns = _source_positions(width, right, scale_x, mirrored)  # (n, width)
    moved = _sample_whole(images, rows, columns)
    chosen = np.flatnonzero(stretched)
    if len(chosen):
        by_row = _sample_linear(images[chosen].astype(np.float32), rows[chosen], axis=1)
        by_both = _sample_linear(by_row, columns[chosen], axis=2)
        moved[chosen] = np.clip(np.rint(by_both), 0, 255).astype(np.uint8)
    return moved


def _source_positions(
    size: int,
    shift: npt.NDArray[np.int64],
    scale: npt.NDArray[np.float64],
    mirrored: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Where each of `size` target pixels comes from: float64 (n, size), may lie outside."""
    middle = (size - 1) / 2
    target = np.arange(size, dtype=np.float64)[None, :] - middle - shift[:, None]
    target = np.where(mirrored[:, None], -target, target)
    return target / scale[:, None] + middle


def _sample_whole(
    images: Images, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]
) -> Images:
    n, height, width, _ = images.shape
    r = np.rint(rows).astype(np.intp)
    c = np.rint(columns).astype(np.intp)
    inside_r = (r >= 0) & (r < height)
    inside_c = (c >= 0) & (c < width)
    picked = images[
        np.arange(n)[:, None, None],
        np.clip(r, 0, height - 1)[:, :, None],
        np.clip(c, 0, width - 1)[:, None, :],
    ]
    picked[~(inside_r[:, :, None] & inside_c[:, None, :])] = 0
    return picked


def _sample_linear(
    images: npt.NDArray[np.float32], positions: npt.NDArray[np.float64], *, axis: int
) -> npt.NDArray[np.float32]:
    """Linear interpolation along `axis` (1 or 2) at `positions` (n, size); outside is 0."""
    size = images.shape[axis]
    low = np.floor(positions).astype(np.intp)
    share = (positions - low).astype(np.float32)
    shape = (len(images), -1, 1, 1) if axis == 1 else (len(images), 1, -1, 1)
    total = np.zeros_like(images)
    for index, weight in ((low, 1.0 - share), (low + 1, share)):
        inside = (index >= 0) & (index < size)
        picked = np.take_along_axis(images, np.clip(index, 0, size - 1).reshape(shape), axis=axis)
        total += picked * (weight * inside).reshape(shape)
    return total


def _erase(images: Images, settings: Augmentation, rng: np.random.Generator) -> Images:
    n: int = len(images)
    height, width, channels = images.shape[1:]
    chosen = rng.random(n) < settings.erase
    tall = rng.uniform(0.1, max(settings.erase_limit, 0.1), n) * height
    wide = rng.uniform(0.1, max(settings.erase_limit, 0.1), n) * width
    top = rng.random(n) * (height - tall)
    left = rng.random(n) * (width - wide)
    noise = rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    grey = rng.integers(0, 256, (n, 1, 1, channels), dtype=np.uint8)
    noisy = (rng.random(n) < 0.5)[:, None, None, None]
    y = np.arange(height)[None, :]
    x = np.arange(width)[None, :]
    in_y = (y >= top[:, None]) & (y < (top + tall)[:, None])
    in_x = (x >= left[:, None]) & (x < (left + wide)[:, None])
    hole = (chosen[:, None, None] & in_y[:, :, None] & in_x[:, None, :])[..., None]
    return np.where(hole, np.where(noisy, noise, grey), images)
