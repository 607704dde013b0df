"""What is said of a model on one part of the data, and how its card judges answers; no Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model_training.datasets.labelled import LabelledImages
from model_training.measures import (
    accuracy,
    expected_calibration_error,
    negative_log_likelihood,
)
from model_training.thresholds import (
    NEVER,
    Judged,
    accepted,
    accepted_parents,
    error_interval,
    error_upper_bound,
    inner_nodes,
    judge,
)
from tagging.domain import Taxonomy
from tagging.model_card import AcceptanceSpec, ModelCard

FEWEST_TO_STATE: Final = 300
"""With fewer accepted, not even zero errors would put the 95 % bound under 1 %."""


def figures(
    card: ModelCard,
    logits: npt.NDArray[np.floating],
    ood_scores: npt.NDArray[np.floating],
    part: LabelledImages,
) -> dict[str, Any]:
    """Everything that is said of a model on one part of the data; plain JSON values.

    `accuracy`, `ece`, `nll` are of all images; `accepted`, `errors`, `error_upper` (one-sided
    95 %) and `flagged` (out of distribution) of what serving would do. `by_category` counts by
    the model's answer, with a two-sided 95 % interval of the accepted error, or `too_few`;
    `targets` says the same of every prepared target precision; `tree_distance` is the mean over
    the wrong answers of the steps between answer and label in the tree of categories. Of no
    images at all, only that is said.
    """
    if not len(part):
        return {"images": 0}
    judged = judge_by_card(card, logits, ood_scores, part.labels)
    cuts = cuts_of(card, card.acceptance)
    taken = accepted(judged, cuts)
    n = len(part)
    return {
        "images": n,
        "accuracy": round(accuracy(logits, part.labels), 5),
        "nll": round(negative_log_likelihood(logits, part.labels, card.temperature), 5),
        "ece": round(expected_calibration_error(logits, part.labels, card.temperature), 5),
        "ece_uncalibrated": round(expected_calibration_error(logits, part.labels), 5),
        "flagged": int((~judged.familiar).sum()),
        **acceptance_counts(taken, judged.right),
        "tree_distance": tree_distance(card.taxonomy, judged.answer, part.labels),
        "targets": {
            f"{spec.target_precision:g}": _at_target(card, spec, judged)
            for spec in card.operating_points.values()
        },
        "by_category": _by_category(card.category_names, cuts, judged, taken, part.labels),
    }


def judge_by_card(
    card: ModelCard,
    logits: npt.NDArray[np.floating],
    ood_scores: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
) -> Judged:
    """`thresholds.judge` with the card's own temperature, taxonomy and bounds."""
    return judge(
        logits,
        ood_scores,
        labels,
        taxonomy=card.taxonomy,
        temperature=card.temperature,
        ood_bounds=card.out_of_distribution.bounds(),
    )


def cuts_of(card: ModelCard, spec: AcceptanceSpec) -> npt.NDArray[np.float64]:
    """float64 (categories,): the threshold of each category, in the order of the outputs."""
    thresholds = spec.thresholds()
    return np.array([thresholds.of(name) for name in card.category_names])


def acceptance_counts(taken: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """How many of `right` (bool, n) are `taken` (bool, n), and how many of those are wrong.

    `error_upper` is the one-sided 95 % Clopper-Pearson bound.
    """
    n, kept, errors = len(taken), int(taken.sum()), int((taken & ~right).sum())
    return {
        "accepted": kept,
        "coverage": round(kept / n, 5),
        "errors": errors,
        "error": round(errors / kept, 5) if kept else None,
        "error_upper": round(error_upper_bound(errors, kept), 5),
    }


def _at_target(card: ModelCard, spec: AcceptanceSpec, judged: Judged) -> dict[str, Any]:
    """`with_parents`: as it is for a retailer who lets parent categories be accepted as well."""
    cuts = cuts_of(card, spec)
    taken = accepted(judged, cuts)
    by_parent = spec.parents.by_parent
    by_node = np.array([by_parent.get(n, np.inf) for n in inner_nodes(card.taxonomy)])
    extra, extra_right = accepted_parents(judged, cuts, by_node)
    right = np.where(taken, judged.right, extra_right)
    return {
        **acceptance_counts(taken, judged.right),
        "with_parents": acceptance_counts(taken | extra, right),
    }


def tree_distance(
    taxonomy: Taxonomy, answers: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
) -> float | None:
    """Mean steps in the tree between answer and label (int64, n) where they differ, if anywhere."""
    wrong = np.flatnonzero(answers != labels)
    if not len(wrong):
        return None
    steps = [
        taxonomy.distance(taxonomy.leaves[answer], taxonomy.leaves[label])
        for answer, label in zip(answers[wrong], labels[wrong], strict=True)
    ]
    return round(float(np.mean(steps)), 5)


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
