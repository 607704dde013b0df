"""The loss that knows the tree of categories."""

from __future__ import annotations

import numpy as np
import pytest

from tagging.domain import Taxonomy

# Keras 3.15 reads its own variables with numpy's old protocol; nothing of ours to mend.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

TREE = Taxonomy(
    leaves=("shirt", "top", "boot", "sandal", "bag"),
    parents={
        "shirt": "upper",
        "top": "upper",
        "upper": "clothes",
        "boot": "shoes",
        "sandal": "shoes",
        "shoes": "clothes",
        "bag": "bags",
    },
)
LOGITS = np.array([[2.0, 1.0, 0.0, -1.0, 0.5]], np.float32)


def loss(label: int, weight: float, taxonomy: Taxonomy = TREE) -> float:
    from model_training.losses import TreeCrossentropy

    target = np.eye(5, dtype=np.float32)[[label]]
    return float(TreeCrossentropy(taxonomy, weight)(target, LOGITS))


def test_levels_are_partitions() -> None:
    from model_training.losses import levels

    found = [[group.tolist() for group in level] for level in levels(TREE)]
    assert found == [[[0, 1], [2, 3], [4]], [[0, 1, 2, 3], [4]]]
    assert levels(Taxonomy(leaves=("a", "b"))) == []


def test_it_is_the_cross_entropy_of_every_level() -> None:
    p = np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum()
    expected = -np.log(p[1]) - 0.5 * (np.log(p[:2].sum()) + np.log(p[:4].sum()))
    assert loss(1, 0.5) == pytest.approx(expected, rel=1e-5)
    assert loss(1, 0.0) == pytest.approx(-np.log(p[1]), rel=1e-5)


def test_a_mistake_within_a_parent_costs_less() -> None:
    def added(label: int) -> float:
        return loss(label, 1.0) - loss(label, 0.0)

    assert added(1) < added(3) < added(4)


def test_without_parents_it_is_the_plain_one() -> None:
    flat = Taxonomy(leaves=TREE.leaves)
    assert loss(3, 1.0, flat) == pytest.approx(loss(3, 0.0), rel=1e-6)
