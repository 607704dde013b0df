"""Let finished models teach: their mean answer to each changed image stands beside its label.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", with the teachers
shown the very image that the pupil sees (Beyer et al. 2022, "Knowledge distillation: A good teacher
is patient and consistent"). What two categories have in common is in their answers and not in a
label, so a small pupil ranks its own answers better.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from model_training.bundle import Networks, networks_of
from model_training.datasets.labelled import LabelledImages
from model_training.own_data import refuse_adapted
from model_training.splits import Split
from tagging.domain import softmax_log_probs
from tagging.errors import TrainingDataError
from tagging.model_card import ModelCard, read_content


class Teachers:
    """One or several classifiers with their temperatures.

    `fingerprints`: of what decides their answers, which is not all of a bundle. `named`: for cards.
    """

    def __init__(self, taught: Sequence[tuple[ModelCard, keras.Model]]) -> None:
        self._taught = taught
        self.named = [named(card) for card, _ in taught]
        self.fingerprints = [classifier_fingerprint(card) for card, _ in taught]
        self._remembered: dict[tuple[int, int], npt.NDArray[np.float32]] = {}

    def answer(
        self, images: npt.NDArray[np.uint8], *, remember: tuple[int, int] | None = None
    ) -> npt.NDArray[np.float32]:
        """The mean of their calibrated probabilities for (batch, height, width, channels): float32
        (batch, categories).

        Args:
            images: uint8.
            remember: the name of these images; asked for the same name again, the answer of the
                first time is given.
        """
        if remember is None:
            return self._asked(images)
        if remember not in self._remembered:
            self._remembered[remember] = self._asked(images)
        return self._remembered[remember]

    def _asked(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        each = [
            np.exp(
                softmax_log_probs(np.asarray(network.predict_on_batch(images)), card.temperature)
            )
            for card, network in self._taught
        ]
        mean: npt.NDArray[np.float32] = np.mean(each, axis=0).astype(np.float32)
        return mean


def classifier_fingerprint(card: ModelCard) -> str:
    """sha256 (hex) of the classifier: its network, weights and temperature."""
    parts = [card.network.model_dump(mode="json"), card.files[card.weights], card.temperature]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_teachers(
    bundles: Sequence[Path], labelled: LabelledImages, split: Split
) -> Teachers | None:
    """The models in `bundles`; None of none.

    Raises:
        BundleError: a bundle is damaged.
        TrainingDataError: see `load_akin`.
    """
    taught = []
    for bundle in bundles:
        card, networks = load_akin(bundle, labelled, split)
        taught.append((card, networks.classifier))
    return Teachers(taught) if taught else None


def load_akin(bundle: Path, labelled: LabelledImages, split: Split) -> tuple[ModelCard, Networks]:
    """The card and the networks of a bundle that was made from the same images, divided the same.

    Raises:
        BundleError: it is damaged, or an adapted one.
        TrainingDataError: it knows other categories, eats other images, or learned from another
            division of the data, so that it may know the select and hold-out images by heart.
    """
    content = read_content(bundle)
    card = content.card
    refuse_adapted(bundle, card)
    names = [category.name for category in labelled.categories]
    if card.category_names != names or card.input != labelled.spec:
        raise TrainingDataError(
            f"{bundle} cannot be used for this: it tells {card.category_names} apart in "
            f"{card.input}, asked for are {names} in {labelled.spec}."
        )
    if card.data.get("split", {}).get("fingerprint") != split.fingerprint:
        raise TrainingDataError(
            f"{bundle} cannot be used for this: it was made from another division of the data, "
            "and may have learned what is held out here. Train it on this data first."
        )
    return card, networks_of(content)


def named(card: ModelCard) -> dict[str, str]:
    """How a card mentions another model that it owes something to."""
    return {"title": card.title, "classifier": classifier_fingerprint(card)}
