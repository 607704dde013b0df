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
from model_training.teacher import load_akin, named
from tagging.model_card import NetworkSpec


def committee_of(bundles: Sequence[Path], labelled: LabelledImages, split: Split) -> Made:
    """The classifiers in `bundles` as a committee, with the first one's sentinel.

    Raises:
        BundleError: a bundle is damaged.
        TrainingDataError: one was made from other images, or they were divided otherwise.
    """
    loaded = [load_akin(bundle, labelled, split) for bundle in bundles]
    cards = [card for card, _ in loaded]
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
        training={"members": [named(card) for card in cards]},
    )
