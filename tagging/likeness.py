"""Which products look alike to the model: pure numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Directions = npt.NDArray[np.float64]


def directions(features: Mapping[int, bytes], keys: Sequence[int]) -> Directions:
    """(n, k), a row per key: what the model saw, less what it saw in all of them, of length 1.

    What all have in common says nothing of who is like whom. A key without features, and one that
    is as all are, has zeros, which are like nothing.
    """
    width = max((len(raw) for raw in features.values()), default=0)
    rows = np.zeros((len(keys), width))
    known = np.zeros(len(keys), dtype=bool)
    for number, key in enumerate(keys):
        raw = features.get(key, b"")
        if raw and len(raw) == width:
            row = np.frombuffer(raw, np.int8).astype(np.float64)
            known[number] = row.any()
            rows[number] = row / max(1.0, float(np.linalg.norm(row)))
    if known.any():
        rows[known] -= rows[known].mean(axis=0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Directions = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-9)
    return unit


def most_alike(seen: Directions, first: int, count: int) -> list[int]:
    """`first` and the rows most like it, `count` in all if there are so many; by their cosine.

    Of rows that are as much alike, those that stand earlier.
    """
    cosines = seen @ seen[first]
    cosines[first] = np.inf
    return [int(row) for row in np.argsort(-cosines, kind="stable")[:count]]


def laid_out(seen: Directions) -> list[int]:
    """Every row once, each after the one of the others that it is most like, from the one that is
    most like all: so what does not belong stands out, and ends up last.
    """
    left = list(range(len(seen)))
    if not left:
        return []
    alike = seen @ seen.T
    at = int(np.argmax(alike.sum(axis=1)))
    order = []
    while True:
        left.remove(at)
        order.append(at)
        if not left:
            return order
        at = left[int(np.argmax(alike[at, left]))]
