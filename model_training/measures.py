"""Figures of merit of logits against labels; numpy only.

`logits` are (n, categories) of any float type, `labels` int64 (n,).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tagging.domain import softmax_log_probs

Logits = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


def accuracy(logits: Logits, labels: Labels) -> float:
    """Share, 0 to 1, of images whose largest logit is the label's."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def negative_log_likelihood(logits: Logits, labels: Labels, temperature: float = 1.0) -> float:
    """Mean of minus the natural log-probability of the label, at `temperature`."""
    log_probs = softmax_log_probs(logits, temperature)
    return float(-log_probs[np.arange(len(labels)), labels].mean())


def expected_calibration_error(
    logits: Logits, labels: Labels, temperature: float = 1.0, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over `bins` bins with equally many images, 0 to 1.

    Guo et al. 2017, eq. 3, but with bins of equal mass (Nixon et al. 2019): most of a good model's
    confidences lie in the last of fifteen equally wide bins, which would then be the only one.
    """
    log_probs = softmax_log_probs(logits, temperature)
    confidence = np.exp(log_probs.max(axis=1))
    right = logits.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    gaps = [
        len(part) * abs(float(confidence[part].mean()) - float(right[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]
    return float(sum(gaps) / len(labels))
