"""Adapt a finished model to the photos of one shop: a new bundle, with thresholds of its own.

What is learned, and how it is measured, is in `adjustment`. The sentinel and its bound stay the
base model's. The thresholds come from the cross-fitted answers to one photo of each product
(`pooled_acceptance_spec`). The stated rate is thus that of models fitted to four fifths of the
photos; the one that is shipped knew all of them. It holds for products like these, so they must be
a random sample of what the shop sells, not what a model doubted. What the shop's own audit then
finds is what counts in daily work.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from model_training.adjustment import FOLDS, CrossFitted, cross_fit
from model_training.bundle import Networks, software_versions
from model_training.calibrate import find_temperature
from model_training.datasets.labelled import LabelledImages, LeftOut
from model_training.figures import acceptance_counts, cuts_of, figures, judge_by_card
from model_training.finish import OPERATING_POINTS, TARGET_PRECISION
from model_training.networks import with_adjustment, with_features
from model_training.predict import in_batches
from model_training.splits import Group, digests_of, grouped
from model_training.teacher import named
from model_training.thresholds import accepted, pooled_acceptance_spec
from tagging.domain import softmax_log_probs
from tagging.errors import TrainingDataError
from tagging.images.model_input import PREPROCESSING_VERSION
from tagging.model_card import ModelCard, NetworkSpec


def relabelled(
    labelled: LabelledImages, card: ModelCard, meaning: Mapping[str, str | None]
) -> LabelledImages:
    """The photos under the categories of `card`.

    Args:
        labelled: with labels of the shop's own.
        card: of the model that is to be adapted.
        meaning: label -> category, or None to leave its photos out; a label that is not there
            means the category of the same name.

    Raises:
        TrainingDataError: a label means no category of the model, or `meaning` has one that no
            photo has.
    """
    names = card.category_names
    means = {c.name: meaning.get(c.name, c.name) for c in labelled.categories}
    if unused := sorted({*meaning} - {*means}):
        raise TrainingDataError(
            f"--labels says what {unused} mean, but no photo has such a label; there are "
            f"{sorted(means)}. Mend the spelling, or leave them out."
        )
    unknown = sorted(label for label, to in means.items() if to is not None and to not in names)
    if unknown:
        raise TrainingDataError(
            f"the labels {unknown} mean no category of {card.title}, which has {names}. Say in a "
            'file for --labels what each of them means, as {"label": "category"}, or null for '
            "photos to leave out."
        )
    index = np.array(
        [-1 if (to := means[c.name]) is None else names.index(to) for c in labelled.categories],
        np.int64,
    )[labelled.labels]
    kept = np.flatnonzero(index >= 0)
    left = tuple(
        LeftOut(where=labelled.categories[label].name, why="left out by --labels")
        for label in labelled.labels[index < 0].tolist()
    )
    return replace(
        labelled.take(kept),
        labels=index[kept],
        categories=tuple(card.categories),
        parents=tuple(card.parents),
        left_out=(*labelled.left_out, *left),
        options={**labelled.options, "meaning": dict(meaning)},
    )


def adapt(
    folder_name: str, base: ModelCard, networks: Networks, photos: LabelledImages, *, data: str
) -> tuple[ModelCard, Networks]:
    """The adapted networks and their card. No file is written here.

    Args:
        folder_name: of the bundle to be, `<name>-<version>`.
        base: the card of the model that is adapted ...
        networks: ... and its networks.
        photos: see `relabelled`.
        data: what the photos are called.

    Raises:
        TrainingDataError: the photos are of another form than the model's input, or too few.
        BundleError: this model cannot be adapted.
    """
    if photos.spec != base.input:
        raise TrainingDataError(
            f"{base.title} takes {base.input}, but the photos were read as {photos.spec}."
        )
    both = with_features(networks.classifier, base.network.name, base.network.parameters)
    logits, features = in_batches(both.predict_on_batch, photos.images)
    log_probs = softmax_log_probs(logits, base.temperature)
    inputs = np.concatenate([log_probs, features.astype(np.float64)], axis=1)
    groups = grouped(photos.images, digests_of(photos), photos.products)
    found = cross_fit(log_probs, inputs, photos.labels, groups)
    classifier = with_adjustment(both, base.temperature)
    classifier.get_layer("adjust").set_weights([found.adjustment.kernel, found.adjustment.bias])
    adapted = Networks(classifier=classifier, sentinel=networks.sentinel)
    (scores,) = in_batches(lambda part: (networks.sentinel.predict_on_batch(part),), photos.images)
    name, _, number = folder_name.rpartition("-")
    card = base.model_copy(
        update={
            "name": name or folder_name,
            "version": number if name else "1",
            "description": f"{base.title} adapted to {len(photos)} photos of {data}",
            "network": NetworkSpec(
                name="adapted",
                parameters={
                    "of": base.network.name,
                    "parameters": base.network.parameters,
                    "temperature": base.temperature,
                },
            ),
            "preprocessing_version": PREPROCESSING_VERSION,
            "temperature": find_temperature(found.logits, photos.labels),
            "data": {
                "name": data,
                "files_md5": dict(photos.sources),
                "limit": None,
                "base": named(base) | {"data": dict(base.data)},
                **photos.facts(),
            },
            "versions": software_versions(),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {},
        }
    )
    return _judged(card, base, found, photos, groups, logits, scores[:, 0]), adapted


def _judged(
    card: ModelCard,
    base: ModelCard,
    found: CrossFitted,
    photos: LabelledImages,
    groups: Sequence[Group],
    logits: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
) -> ModelCard:
    """The card with thresholds, and with what the base and the adapted model make of the photos."""
    one_each = np.array(sorted(group.members[0] for group in groups))
    judged = judge_by_card(card, found.logits[one_each], scores[one_each], photos.labels[one_each])
    points = {
        f"{target:g}": pooled_acceptance_spec(judged, taxonomy=card.taxonomy, target=target)
        for target in OPERATING_POINTS
    }
    card = card.model_copy(
        update={"acceptance": points[f"{TARGET_PRECISION:g}"], "operating_points": points}
    )
    before = judge_by_card(base, logits, scores, photos.labels)
    return card.model_copy(
        update={
            "metrics": {
                "crossfitted": figures(card, found.logits, scores, photos),
                "before": {
                    "accuracy": round(float(before.right.mean()), 5),
                    **acceptance_counts(
                        accepted(before, cuts_of(base, base.acceptance)), before.right
                    ),
                },
                "adaptation": {
                    "photos": len(photos),
                    "products": len(groups),
                    "folds": FOLDS,
                    "penalty": found.penalty,
                    "nll_by_penalty": {f"{p:g}": round(v, 5) for p, v in found.tried.items()},
                },
            }
        }
    )
