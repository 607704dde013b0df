"""Let finished models teach: their mean answer to each changed image stands beside its label.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", with the teachers
shown the very image that the pupil sees (Beyer et al. 2022, "Knowledge distillation: A good teacher
is patient and consistent"). What two categories have in common is in their answers and not in a
label, so a small pupil ranks its own answers better.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from model_training.bundle import load_networks
from model_training.datasets.labelled import LabelledImages
from model_training.splits import Split
from tagging.domain import softmax_log_probs
from tagging.errors import TrainingDataError
from tagging.model_card import ModelCard, card_fingerprint


class Teachers:
    """One or several classifiers with their temperatures. `fingerprints`: of their cards."""

    def __init__(self, taught: Sequence[tuple[ModelCard, keras.Model]]) -> None:
        self._taught = taught
        self.fingerprints = [card_fingerprint(card) for card, _ in taught]

    def answer(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The mean of their calibrated probabilities for (batch, height, width, channels): float32
        (batch, categories).
        """
        each = [
            np.exp(
                softmax_log_probs(np.asarray(network.predict_on_batch(images)), card.temperature)
            )
            for card, network in self._taught
        ]
        mean: npt.NDArray[np.float32] = np.mean(each, axis=0).astype(np.float32)
        return mean


def load_teachers(
    bundles: Sequence[Path], labelled: LabelledImages, split: Split
) -> Teachers | None:
    """The models in `bundles`; None of none.

    Raises:
        BundleError: a bundle is damaged.
        TrainingDataError: one knows other categories, eats other images, or learned from another
            division of the data, so that it may know the select and hold-out images by heart.
    """
    taught = []
    names = [category.name for category in labelled.categories]
    for bundle in bundles:
        card, networks = load_networks(bundle)
        if card.category_names != names or card.input != labelled.spec:
            raise TrainingDataError(
                f"{bundle} cannot teach this: it tells {card.category_names} apart in "
                f"{card.input}, asked for are {names} in {labelled.spec}."
            )
        if card.data.get("split", {}).get("fingerprint") != split.fingerprint:
            raise TrainingDataError(
                f"{bundle} cannot teach this: it was made from another division of the data, and "
                "may have learned what is held out here. Train a teacher on this data first."
            )
        taught.append((card, networks.classifier))
    return Teachers(taught) if taught else None
