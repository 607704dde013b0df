"""Measure a finished bundle: on the two parts that it was chosen with, and, once, on the test set.

This module imports Keras (through the bundle); light code must not import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_training.bundle import load_network, record_metrics
from model_training.datasets.labelled import LabelledImages
from model_training.datasets.sources import Source
from model_training.measures import (
    accuracy,
    expected_calibration_error,
    negative_log_likelihood,
)
from model_training.predict import in_batches
from model_training.splits import divide, near_duplicate_groups
from model_training.thresholds import (
    NEVER,
    Judged,
    accepted,
    error_interval,
    error_upper_bound,
    judge,
)
from tagging.errors import BundleError
from tagging.model_card import ModelCard

FEWEST_TO_STATE = 300
"""With fewer accepted, not even zero errors would put the 95 % bound under 1 %."""


def evaluate_bundle(
    bundle: Path, source: Source, *, test: bool, record: bool = False
) -> dict[str, Any]:
    """Measure `bundle` on the parts of the data that it was made from.

    Args:
        bundle: verified before anything is measured.
        source: the data that the bundle was trained on.
        test: also read and score the test set. Once per released model.
        record: write the test figures into the card, where they then stay.

    Returns:
        `model`, then `select` and `holdout`, and with `test` also `test` and
        `test_without_duplicates` (without the images that have a near-duplicate among the
        training set's). Each as `figures` says.

    Raises:
        BundleError: the bundle is damaged, `record` without `test`, or recorded before otherwise.
        TrainingDataError: the data is missing or altered.
    """
    if record and not test:
        raise BundleError("only test figures are recorded; ask for the test set as well.")
    card, network = load_network(bundle)
    data = source.load().first(card.data.get("limit"))
    split = divide(data.images)
    if split.fingerprint != card.data.get("split", {}).get("fingerprint"):
        raise BundleError(
            f"{bundle} was made from other data than {source}: measured here, it might be scored "
            "on its own training images. Give the data that its card names under 'data'."
        )
    parts = {"select": data.take(split.select), "holdout": data.take(split.holdout)}
    if test:
        parts["test"] = source.load_test()
        seen = _seen_in(data.images, parts["test"].images)
        parts["test_without_duplicates"] = parts["test"].take(np.flatnonzero(~seen))
    report: dict[str, Any] = {"model": card.title}
    for name, part in parts.items():
        logits, ood_scores = in_batches(network.answer, part.images)
        report[name] = figures(card, logits, ood_scores, part)
    if record:
        record_metrics(bundle, {k: report[k] for k in ("test", "test_without_duplicates")})
    return report


def figures(
    card: ModelCard,
    logits: npt.NDArray[np.floating],
    ood_scores: npt.NDArray[np.floating],
    part: LabelledImages,
) -> dict[str, Any]:
    """Everything that is said of a model on one part of the data; plain JSON values.

    `accuracy`, `ece`, `nll` are of all images; `accepted`, `errors`, `error_upper` (one-sided
    95 %) and `flagged` (out of distribution) of what serving would do. `by_category` counts by
    the model's answer, with a two-sided 95 % interval of the accepted error, or `too_few`. Of no
    images at all, only that is said.
    """
    if not len(part):
        return {"images": 0}
    thresholds = card.acceptance.thresholds()
    judged = judge(
        logits,
        ood_scores,
        part.labels,
        temperature=card.temperature,
        ood_threshold=card.out_of_distribution.threshold,
    )
    cuts = np.array([thresholds.of(name) for name in card.category_names])
    taken = accepted(judged, cuts)
    n, kept, errors = len(part), int(taken.sum()), int((taken & ~judged.right).sum())
    return {
        "images": n,
        "accuracy": round(accuracy(logits, part.labels), 5),
        "nll": round(negative_log_likelihood(logits, part.labels, card.temperature), 5),
        "ece": round(expected_calibration_error(logits, part.labels, card.temperature), 5),
        "ece_uncalibrated": round(expected_calibration_error(logits, part.labels), 5),
        "flagged": int((~judged.familiar).sum()),
        "accepted": kept,
        "coverage": round(kept / n, 5),
        "errors": errors,
        "error": round(errors / kept, 5) if kept else None,
        "error_upper": round(error_upper_bound(errors, kept), 5),
        "by_category": _by_category(card.category_names, cuts, judged, taken, part.labels),
    }


def _by_category(
    names: Sequence[str],
    cuts: npt.NDArray[np.float64],
    judged: Judged,
    taken: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.int64],
) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for index, name in enumerate(names):
        mine = taken & (judged.answer == index)
        kept, errors = int(mine.sum()), int((mine & ~judged.right).sum())
        row: dict[str, Any] = {
            "images": int((labels == index).sum()),
            "found": int(((labels == index) & judged.right).sum()),
            "threshold": round(float(cuts[index]), 6) if cuts[index] < NEVER else None,
            "accepted": kept,
            "errors": errors,
        }
        if kept < FEWEST_TO_STATE:
            row["too_few"] = True
        else:
            row["error_interval"] = [round(v, 5) for v in error_interval(errors, kept)]
        table[name] = row
    return table


def _seen_in(training: npt.NDArray[np.uint8], test: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """bool (tests,): which test images have a near-duplicate among the training images."""
    group_of = near_duplicate_groups(np.concatenate([training, test]))
    return np.isin(group_of[len(training) :], group_of[: len(training)])
