"""From a trained network to a card: calibrate, set thresholds, state the rates.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from model_training.bundle import (
    SENTINEL_NAME,
    WEIGHTS_NAME,
    LoadedNetwork,
    Networks,
    software_versions,
)
from model_training.calibrate import find_temperature
from model_training.configuration import SentinelConfig
from model_training.figures import figures, judge_by_card
from model_training.material import Material
from model_training.outsiders import strangers
from model_training.predict import in_batches
from model_training.thresholds import acceptance_spec
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.model_card import AcceptanceSpec, ModelCard, NetworkSpec, OutOfDistributionSpec

TARGET_PRECISION: Final = 0.99
OPERATING_POINTS: Final = (0.95, 0.98, 0.99, 0.995)
"""The target precisions that a bundle comes with thresholds for."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """The networks of a bundle to be, and how they were made.

    Attributes:
        networks: float32.
        classifier: what builds the one ...
        sentinel: ... and what builds the other.
        sentinel_config: how that was taught.
        description: for the card, in words.
        training: for the card's metrics.
    """

    networks: Networks
    classifier: NetworkSpec
    sentinel: NetworkSpec
    sentinel_config: SentinelConfig
    description: str
    training: Mapping[str, Any]


def finish(folder_name: str, made: Made, material: Material) -> ModelCard:
    """Do everything between training and writing the bundle. No file is written here."""
    labelled, split = material.labelled, material.split
    network = LoadedNetwork(made.networks, made.classifier)
    select, holdout = labelled.take(split.select), labelled.take(split.holdout)
    select_logits, select_scores = in_batches(network.answer, select.images)
    holdout_logits, holdout_scores = in_batches(network.answer, holdout.images)
    blank = _blank_card(folder_name, made, material)
    card = blank.model_copy(
        update={
            "temperature": find_temperature(select_logits, select.labels),
            "out_of_distribution": OutOfDistributionSpec(
                method="sentinel",
                network=made.sentinel,
                weights=SENTINEL_NAME,
                threshold=float(np.quantile(select_scores, 1 - made.sentinel_config.flagged_share)),
            ),
        }
    )
    parts = [
        judge_by_card(card, logits, scores, part.labels)
        for logits, scores, part in (
            (select_logits, select_scores, select),
            (holdout_logits, holdout_scores, holdout),
        )
    ]
    points = {
        f"{target:g}": acceptance_spec(*parts, taxonomy=card.taxonomy, target=target)
        for target in OPERATING_POINTS
    }
    card = card.model_copy(
        update={"acceptance": points[f"{TARGET_PRECISION:g}"], "operating_points": points}
    )
    metrics = {
        "select": figures(card, select_logits, select_scores, select),
        "holdout": figures(card, holdout_logits, holdout_scores, holdout),
        "training": dict(made.training),
        "sentinel": {"config": made.sentinel_config.as_dict()},
        **strangers(card, network, material.photos),
    }
    return card.model_copy(update={"metrics": metrics})


def _blank_card(folder_name: str, made: Made, material: Material) -> ModelCard:
    """The card before anything was measured."""
    name, _, number = folder_name.rpartition("-")
    labelled = material.labelled
    nothing = AcceptanceSpec(
        target_precision=TARGET_PRECISION,
        fallback=1.01,
        holdout_n=len(material.split.holdout),
        holdout_accepted=0,
        holdout_errors=0,
        error_upper=1.0,
    )
    return ModelCard(
        name=name or folder_name,
        version=number if name else "1",
        description=made.description,
        network=made.classifier,
        categories=list(labelled.categories),
        parents=list(labelled.parents),
        input=labelled.spec,
        preprocessing_version=PREPROCESSING_VERSION,
        temperature=1.0,
        acceptance=nothing,
        out_of_distribution=OutOfDistributionSpec(
            method="sentinel",
            network=made.sentinel,
            weights=SENTINEL_NAME,
            threshold=0.0,
        ),
        weights=WEIGHTS_NAME,
        metrics={},
        data=_data_facts(material),
        versions=software_versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
    )


def _data_facts(material: Material) -> Mapping[str, Any]:
    return {
        "name": material.data,
        "files_md5": dict(material.labelled.sources),
        "limit": material.limit,
        "split": dict(material.split.facts()),
        **material.labelled.facts(),
    }
