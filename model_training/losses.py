"""What training makes small. This module imports Keras; light code must not import it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tagging.domain import Taxonomy


class TreeCrossentropy(keras.losses.Loss):  # type: ignore[misc]  # Keras ships no types
    """Cross-entropy of the categories, plus a weight times that of each level above them.

    A parent's probability is the sum of its categories', so a mistake within a parent costs less
    than one across (the hierarchical cross-entropy of Bertinetto et al. 2020, "Making Better
    Mistakes", eq. 5, with one weight for all levels).

    Args:
        taxonomy: its leaves in the order of the logits.
        weight: of each level; 0 leaves the cross-entropy alone.
    """

    def __init__(self, taxonomy: Taxonomy, weight: float) -> None:
        super().__init__(name="tree_crossentropy")
        self._weight = weight
        self._levels = levels(taxonomy)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Targets (batch, categories) that sum to 1, logits (batch, categories) -> (batch,)."""
        log_probs = keras.ops.log_softmax(y_pred)
        loss = -keras.ops.sum(y_true * log_probs, axis=-1)
        for groups in self._levels:
            each = [keras.ops.logsumexp(keras.ops.take(log_probs, g, axis=-1), -1) for g in groups]
            aims = [keras.ops.sum(keras.ops.take(y_true, g, axis=-1), axis=-1) for g in groups]
            for aim, log_prob in zip(aims, each, strict=True):
                loss = loss - self._weight * aim * log_prob
        return loss


def levels(taxonomy: Taxonomy) -> list[list[npt.NDArray[np.int64]]]:
    """For each level above the categories, which of them belong together (indices, int64).

    A category without an ancestor that high stands for its highest one, or for itself.
    """
    chains = [(leaf, *taxonomy.wider(leaf)) for leaf in taxonomy.leaves]
    found = []
    for level in range(1, max(map(len, chains))):
        names: Sequence[str] = [chain[min(level, len(chain) - 1)] for chain in chains]
        found.append(
            [
                np.array([i for i, own in enumerate(names) if own == name], np.int64)
                for name in dict.fromkeys(names)
            ]
        )
    return found
