"""Labels that are probably wrong: confident learning.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
as `cleanlab` does it. Probabilities of images that the network was trained on are in-sample: it may
have learnt a wrong label by heart, so there the method finds less, and what it finds is surer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cleanlab.filter import find_label_issues

Labelled = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Indices into the whole set (n,), labels (n,), calibrated probabilities (n, categories)."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An image whose label is doubtful.

    Attributes:
        part: where its probabilities come from.
        index: into the whole set.
        label: what it is said to be.
        suggestion: what the model says instead.
        label_probability: calibrated, of the label, 0 to 1.
        suggestion_probability: the same of the suggestion.
    """

    part: str
    index: int
    label: int
    suggestion: int
    label_probability: float
    suggestion_probability: float


def suspects(parts: Mapping[str, Labelled]) -> tuple[Suspect, ...]:
    """The doubtful labels of each part, the most doubtful first.

    Args:
        parts: by name.
    """
    return tuple(suspect for name, (i, y, p) in parts.items() for suspect in _of_one(name, i, y, p))


def _of_one(
    name: str,
    indices: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
) -> list[Suspect]:
    # One process: a fork after TensorFlow has started threads may hang.
    found = find_label_issues(
        labels=labels,
        pred_probs=probabilities,
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    best = probabilities.argmax(axis=1)
    return [
        Suspect(
            part=name,
            index=int(indices[at]),
            label=int(labels[at]),
            suggestion=int(best[at]),
            label_probability=float(probabilities[at, labels[at]]),
            suggestion_probability=float(probabilities[at, best[at]]),
        )
        for at in found.tolist()
        if best[at] != labels[at]
    ]
