"""The idx format of LeCun's MNIST page, which Fashion-MNIST uses too, gzipped.

Four bytes of magic (0, 0, type, dimensions), one big-endian uint32 per dimension, then the values
in row-major order. Only type 8 (unsigned byte) occurs here.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagging.errors import TrainingDataError

_UNSIGNED_BYTE = 8


def read_idx(
    path: Path, *, dimensions: int, md5: str | None = None
) -> tuple[npt.NDArray[np.uint8], str]:
    """The values of a gzipped idx file, and the md5 (hex) of the file as it lies there.

    Args:
        path: the `.gz` file.
        dimensions: how many it must have (3 for images, 1 for labels).
        md5: the checksum that the file must have; None takes any.

    Raises:
        TrainingDataError: no such file, another checksum, no gzip, or no such idx file.
    """
    try:
        packed = path.read_bytes()
    except FileNotFoundError as error:
        raise TrainingDataError(
            f"{path} does not exist. Name the folder that holds it in ATELIER_DATA_DIR, or leave "
            "that unset to have the set downloaded."
        ) from error
    found = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise TrainingDataError(
            f"{path} has md5 {found}, the published file has {md5}: it is damaged or altered. "
            "Delete it and fetch it again."
        )
    try:
        raw = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise TrainingDataError(
            f"{path} is no complete gzip file ({error}); fetch it again."
        ) from error
    head = 4 + 4 * dimensions
    if len(raw) < head or raw[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
        raise TrainingDataError(
            f"{path} is no idx file of bytes with {dimensions} dimension(s): it starts with "
            f"{raw[:4].hex()}, not {bytes([0, 0, _UNSIGNED_BYTE, dimensions]).hex()}. "
            "Check that images and labels were not swapped."
        )
    shape = tuple(int(n) for n in np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4))
    if len(raw) - head != int(np.prod(shape)):
        raise TrainingDataError(
            f"{path} announces {shape} values but holds {len(raw) - head} bytes of them; "
            "the file is cut off or has something appended. Fetch it again."
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=head).reshape(shape), found


def write_idx(path: Path, values: npt.NDArray[np.uint8]) -> None:
    """Write `values` as a gzipped idx file (for exports and tests); the bytes are reproducible."""
    head = bytes([0, 0, _UNSIGNED_BYTE, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + values.tobytes(), mtime=0))
