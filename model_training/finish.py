"""From a trained network to a card: calibrate, set thresholds, state the rates.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from model_training.bundle import (
    STATISTICS_NAME,
    WEIGHTS_NAME,
    LoadedNetwork,
    software_versions,
)
from model_training.calibrate import find_temperature
from model_training.configuration import TrainingConfig
from model_training.datasets.labelled import LabelledImages
from model_training.evaluate import figures
from model_training.networks import with_features
from model_training.predict import in_batches
from model_training.splits import Split
from model_training.strangeness import METHOD, Strangeness, fit
from model_training.thresholds import acceptance_spec, judge, ood_threshold
from model_training.train import TrainedNetwork
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.model_card import InputSpec, ModelCard, NetworkSpec, OutOfDistributionSpec

TARGET_PRECISION: Final = 0.99


def finish(
    folder_name: str,
    data_name: str,
    trained: TrainedNetwork,
    settings: TrainingConfig,
    labelled: LabelledImages,
    split: Split,
    limit: int | None,
) -> tuple[ModelCard, Strangeness]:
    """Calibrate, set the thresholds, and write down what came of it. No file is written here."""
    both = with_features(trained.model)
    train = labelled.take(split.train)
    _, features = in_batches(both.predict_on_batch, train.images)
    strangeness = fit(features, train.labels)
    network = LoadedNetwork(model=both, strangeness=strangeness)
    select, holdout = labelled.take(split.select), labelled.take(split.holdout)
    select_logits, select_scores = in_batches(network.answer, select.images)
    holdout_logits, holdout_scores = in_batches(network.answer, holdout.images)
    temperature = find_temperature(select_logits, select.labels)
    strange = ood_threshold(select_scores)
    cut = {"temperature": temperature, "ood_threshold": strange}
    names = [category.name for category in labelled.categories]
    acceptance = acceptance_spec(
        judge(select_logits, select_scores, select.labels, **cut),
        judge(holdout_logits, holdout_scores, holdout.labels, **cut),
        names=names,
        target=TARGET_PRECISION,
    )
    name, _, number = folder_name.rpartition("-")
    height, width, channels = labelled.images.shape[1:]
    card = ModelCard(
        name=name or folder_name,
        version=number if name else "1",
        description=f"{settings.network} trained on {data_name} for {settings.epochs} epochs",
        network=NetworkSpec(name=settings.network, parameters=dict(trained.parameters)),
        categories=list(labelled.categories),
        input=InputSpec(kind="fashion-mnist", height=height, width=width, channels=channels),
        preprocessing_version=PREPROCESSING_VERSION,
        temperature=temperature,
        acceptance=acceptance,
        out_of_distribution=OutOfDistributionSpec(
            method=METHOD, threshold=strange, statistics=STATISTICS_NAME
        ),
        weights=WEIGHTS_NAME,
        metrics={},
        data={
            "name": data_name,
            "files_md5": dict(labelled.sources),
            "limit": limit,
            "split": dict(split.facts()),
        },
        versions=software_versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files={},
    )
    metrics = {
        "select": figures(card, select_logits, select_scores, select),
        "holdout": figures(card, holdout_logits, holdout_scores, holdout),
        "training": {"config": settings.as_dict(), "epochs": list(trained.history)},
    }
    return card.model_copy(update={"metrics": metrics}), strangeness
