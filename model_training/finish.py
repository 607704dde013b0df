"""From a trained network to a card: teach the sentinel, calibrate, set thresholds, state the rates.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from rich.console import Console

from model_training.bundle import (
    SENTINEL_NAME,
    WEIGHTS_NAME,
    LoadedNetwork,
    Networks,
    software_versions,
)
from model_training.calibrate import find_temperature
from model_training.configuration import SentinelConfig, TrainingConfig
from model_training.datasets.labelled import LabelledImages
from model_training.figures import figures, judge_by_card
from model_training.outsiders import strangers
from model_training.predict import in_batches
from model_training.sentinel import NETWORK, train_sentinel
from model_training.shop_photos import ShopPhotos
from model_training.splits import Split
from model_training.thresholds import acceptance_spec
from model_training.train import TrainedNetwork
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.model_card import AcceptanceSpec, ModelCard, NetworkSpec, OutOfDistributionSpec

TARGET_PRECISION: Final = 0.99
OPERATING_POINTS: Final = (0.95, 0.98, 0.99, 0.995)
"""The target precisions that a bundle comes with thresholds for."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a model is made from.

    Attributes:
        data: what the labelled images are called.
        labelled: all of them.
        split: their three parts.
        limit: of how many images were used, None for all.
        photos: shop photos, for the sentinel; None where there are none.
    """

    data: str
    labelled: LabelledImages
    split: Split
    limit: int | None
    photos: ShopPhotos | None = None


def finish(
    folder_name: str,
    trained: TrainedNetwork,
    settings: TrainingConfig,
    material: Material,
    *,
    sentinel: SentinelConfig,
    console: Console,
) -> tuple[ModelCard, Networks]:
    """Do everything between training and writing the bundle. No file is written here."""
    labelled, split = material.labelled, material.split
    guard, guard_parameters = train_sentinel(
        labelled.take(split.train).images,
        material.photos,
        labelled.spec,
        sentinel,
        console=console,
    )
    networks = Networks(classifier=trained.model, sentinel=guard)
    network = LoadedNetwork(networks)
    select, holdout = labelled.take(split.select), labelled.take(split.holdout)
    select_logits, select_scores = in_batches(network.answer, select.images)
    holdout_logits, holdout_scores = in_batches(network.answer, holdout.images)
    blank = _blank_card(folder_name, trained, settings, material)
    card = blank.model_copy(
        update={
            "temperature": find_temperature(select_logits, select.labels),
            "out_of_distribution": OutOfDistributionSpec(
                method="sentinel",
                network=NetworkSpec(name=NETWORK, parameters=dict(guard_parameters)),
                weights=SENTINEL_NAME,
                threshold=float(np.quantile(select_scores, 1 - sentinel.flagged_share)),
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
        "training": {"config": settings.as_dict(), "epochs": list(trained.history)},
        "sentinel": {"config": sentinel.as_dict()},
        **strangers(card, network, material.photos),
    }
    return card.model_copy(update={"metrics": metrics}), networks


def _blank_card(
    folder_name: str,
    trained: TrainedNetwork,
    settings: TrainingConfig,
    material: Material,
) -> ModelCard:
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
        description=(
            f"{settings.network} trained on {material.data} for {len(trained.history)} epochs"
        ),
        network=trained.network,
        categories=list(labelled.categories),
        parents=list(labelled.parents),
        input=labelled.spec,
        preprocessing_version=PREPROCESSING_VERSION,
        temperature=1.0,
        acceptance=nothing,
        out_of_distribution=OutOfDistributionSpec(
            method="sentinel",
            network=NetworkSpec(name=NETWORK, parameters={}),
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
