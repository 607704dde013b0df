"""Several finished models as one, which ranks its answers better and costs what all of them cost.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model_training.bundle import Networks
from model_training.configuration import SentinelConfig
from model_training.datasets.labelled import LabelledImages
from model_training.finish import Made
from model_training.networks import sitting_together
from model_training.splits import Split
from model_training.teacher import classifier_fingerprint, load_akin, named
from tagging.errors import TrainingDataError
from tagging.model_card import ModelCard, NetworkSpec


def committee_of(bundles: Sequence[Path], labelled: LabelledImages, split: Split) -> Made:
    """The classifiers in `bundles` as a committee, with the first one's sentinel.

    Raises:
        BundleError: a bundle is damaged.
        TrainingDataError: one was made from other images, or they were divided otherwise, or two
            are the same classifier.
    """
    loaded = [load_akin(bundle, labelled, split) for bundle in bundles]
    cards = [card for card, _ in loaded]
    _ensure_different(cards)
    first, first_networks = loaded[0]
    classifier = sitting_together(
        [networks.classifier for _, networks in loaded], [card.temperature for card in cards]
    )
    members = [
        {
            "of": card.network.name,
            "parameters": card.network.parameters,
            "temperature": card.temperature,
        }
        for card in cards
    ]
    return Made(
        networks=Networks(classifier=classifier, sentinel=first_networks.sentinel),
        classifier=NetworkSpec(name="committee", parameters={"members": members}),
        sentinel=first.out_of_distribution.network,
        sentinel_config=SentinelConfig(**first.metrics.get("sentinel", {}).get("config", {})),
        description=f"committee of {', '.join(card.title for card in cards)}",
        training={
            "members": [
                named(card) | {"training": card.metrics.get("training", {})} for card in cards
            ]
        },
    )


def _ensure_different(cards: Sequence[ModelCard]) -> None:
    seen: dict[str, ModelCard] = {}
    for card in cards:
        same = seen.setdefault(classifier_fingerprint(card), card)
        if same is not card:
            raise TrainingDataError(
                f"{same.title} and {card.title} are the same classifier, which would only cost "
                "twice the time. Name bundles that were trained apart, for example with another "
                "--seed."
            )
