"""Real bundles of tiny untrained networks: two of them differ in their weights alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from model_training.datasets.labelled import LabelledImages
from tagging.model_card import CARD_NAME, ModelCard, NetworkSpec, read_bundle
from tests.stand_in import stand_in_card

WEIGHTS: Final = ("model.weights.h5", "sentinel.weights.h5")
_SHAPE: Final = {"input_shape": [8, 8, 3], "stem": 2, "widths": [4], "blocks": [1]}
CLASSIFIER: Final = NetworkSpec(name="preact-resnet", parameters=_SHAPE | {"categories": 3})
SENTINEL: Final = NetworkSpec(name="sentinel", parameters=dict(_SHAPE))


def toy_card(version: str = "1") -> ModelCard:
    """Without the files; `write_bundle` adds them."""
    plain = stand_in_card(name="toy", version=version)
    guard = plain.out_of_distribution.model_copy(
        update={"network": SENTINEL, "weights": WEIGHTS[1], "threshold": 1e9}
    )
    return plain.model_copy(
        update={
            "network": CLASSIFIER,
            "out_of_distribution": guard,
            "weights": WEIGHTS[0],
            "files": {},
        }
    )


def no_images() -> LabelledImages:
    """What a bundle without a split is made from, as far as `write_bundle` looks."""
    card = toy_card()
    return LabelledImages(
        images=np.zeros((0, 8, 8, 3), np.uint8),
        labels=np.zeros(0, np.int64),
        categories=tuple(card.categories),
    )


def write_toy(folder: Path, *, seed: int, version: str = "1") -> Path:
    """A bundle at `folder`; the same seed gives the same weights."""
    import keras

    from model_training.bundle import Networks, write_bundle
    from model_training.networks import build

    keras.utils.set_random_seed(seed)
    networks = Networks(
        classifier=build(CLASSIFIER.name, CLASSIFIER.parameters),
        sentinel=build(SENTINEL.name, SENTINEL.parameters),
    )
    for network in (networks.classifier, networks.sentinel):
        # So large that two networks never answer alike, whatever is in the picture.
        network.layers[-1].bias.assign(
            np.random.default_rng(seed).normal(0, 9, network.output_shape[-1:])
        )
    write_bundle(folder, networks, toy_card(version), no_images(), None, replace=False)
    return folder


def put_in_place(folder: Path, other: Path) -> None:
    """All files of `other` under the names of those in `folder`, its card included."""
    for name in (*read_bundle(other).files, CARD_NAME):
        (folder / name).write_bytes((other / name).read_bytes())
