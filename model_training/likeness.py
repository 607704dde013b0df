"""What a network sees in a picture, made small enough to be kept beside every prediction."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

DIMENSIONS: Final = 64
"""Numbers kept per picture, a byte each."""


def sign_projection(width: int) -> npt.NDArray[np.float32]:
    """(width, 64) of +1 and -1, always the same.

    Random signs keep angles nearly as they are (Achlioptas 2003, "Database-friendly random
    projections"). They are read off the raw bits of a generator, whose stream NumPy promises not to
    change: what two workers of different versions keep must be comparable.
    """
    raw = np.random.PCG64(0).random_raw(width * DIMENSIONS // 64)
    bits = np.unpackbits(np.ascontiguousarray(raw.astype("<u8")).view(np.uint8), bitorder="little")
    return (2.0 * bits.reshape(width, DIMENSIONS) - 1.0).astype(np.float32)


def compact(
    seen: npt.NDArray[np.float32], projection: npt.NDArray[np.float32]
) -> npt.NDArray[np.int8]:
    """(n, width) by (width, 64) -> (n, 64) whole numbers from -127 to 127.

    Only the direction is kept: each row is scaled to its largest number. A row with anything
    infinite in it, of a picture that overflowed the network, becomes zeros, which are like nothing.
    """
    projected = np.where(np.isfinite(seen).all(axis=1, keepdims=True), seen, 0.0) @ projection
    largest = np.abs(projected).max(axis=1, keepdims=True)
    scale = np.divide(127.0, largest, out=np.zeros_like(largest), where=largest > 0)
    whole: npt.NDArray[np.int8] = np.rint(projected * scale).astype(np.int8)
    return whole
