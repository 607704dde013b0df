"""Figures of merit of logits against labels; numpy only.

`logits` are (n, categories) of any float type, `labels` int64 (n,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagging.domain import softmax_log_probs

Logits = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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


@dataclass(frozen=True, kw_only=True)
class CalibrationBins:
    """Images in bins of equal mass by confidence, the least sure first. All (bins,).

    Attributes:
        confidence: float64, the mean in each bin, 0 to 1.
        accuracy: float64, the share that is right, 0 to 1.
        images: int64, how many.
    """

    confidence: Floats
    accuracy: Floats
    images: npt.NDArray[np.int64]

    def error(self) -> float:
        """The expected calibration error, 0 to 1; 0 of no images."""
        total = self.images.sum()
        gaps = self.images * np.abs(self.confidence - self.accuracy)
        return float(gaps.sum() / total) if total else 0.0


def calibration_bins(
    confidence: Floats, right: npt.NDArray[np.bool_], bins: int = 15
) -> CalibrationBins:
    """What a reliability diagram shows: `bins` bins of equal mass, fewer where images are fewer.

    Nixon et al. 2019, "Measuring Calibration in Deep Learning", section 3 (adaptive ranges).
    `error()` of the result is `expected_calibration_error`.
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return CalibrationBins(
        confidence=np.array([confidence[part].mean() for part in parts]),
        accuracy=np.array([right[part].mean() for part in parts]),
        images=np.array([len(part) for part in parts], dtype=np.int64),
    )


def adaptive_calibration_error_by_category(
    logits: Logits, labels: Labels, temperature: float = 1.0, ranges: int = 15
) -> Floats:
    """float64 (categories,), 0 to 1: the mean gap between probability and frequency.

    Nixon et al. 2019, "Measuring Calibration in Deep Learning", section 3, the inner sum of the
    adaptive calibration error (ACE): for each category all images are sorted by the probability
    of that category, whether it was the answer or not, and cut into `ranges` of equal mass. Its
    mean over the categories is the ACE. With many categories most probabilities are next to
    nothing and so are their gaps: compare categories of one model, not models.
    """
    probabilities = np.exp(softmax_log_probs(logits, temperature))
    errors = []
    for category in range(probabilities.shape[1]):
        found = calibration_bins(probabilities[:, category], labels == category, ranges)
        gaps = np.abs(found.confidence - found.accuracy)
        errors.append(float(gaps.mean()) if len(gaps) else 0.0)
    return np.array(errors)


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """Share of errors among the surest images, as less and less sure ones are added.

    Attributes:
        coverage: float64 (points,), rising, the share of images that is accepted, 0 to 1.
        risk: float64 (points,), the share of those that is wrong, 0 to 1.
        area: under the curve (AURC), 0 to 1, lower is better.
    """

    coverage: Floats
    risk: Floats
    area: float


def risk_coverage(confidence: Floats, right: npt.NDArray[np.bool_]) -> RiskCoverage:
    """The risk-coverage curve of Geifman and El-Yaniv 2017, "Selective Classification for Deep
    Neural Networks", section 2, and its area after Geifman, Uziel and El-Yaniv 2019,
    "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", eq. 1.

    Images of equal confidence are accepted together, so that ties favour nobody: one point for
    each confidence that occurs, and the area is the mean risk over the images.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    taken = np.arange(1, len(order) + 1)
    errors = np.cumsum(~right[order])
    last_of_equals = np.r_[sorted_confidence[1:] < sorted_confidence[:-1], True][: len(order)]
    at = np.flatnonzero(last_of_equals)
    risk = errors[at] / taken[at]
    weight = np.diff(taken[at], prepend=0)
    area = float((risk * weight).sum() / len(order)) if len(order) else 0.0
    return RiskCoverage(coverage=taken[at] / max(1, len(order)), risk=risk, area=area)


@dataclass(frozen=True, kw_only=True)
class Roc:
    """How well a score tells foreign images from those that belong, at every threshold.

    Attributes:
        false_alarms: float64 (points,), rising: the share of images that belong and are flagged.
        caught: float64 (points,), the share of foreign images that is flagged.
        area: under the curve (AUROC): the chance that a foreign image scores above one that
            belongs, ties counted half.
    """

    false_alarms: Floats
    caught: Floats
    area: float


def roc(belonging: Floats, foreign: Floats) -> Roc:
    """The receiver operating characteristic of scores (n,) and (m,), higher is stranger.

    Raises:
        ValueError: one of the two is empty.
    """
    if not len(belonging) or not len(foreign):
        raise ValueError(
            f"a ROC needs scores of both kinds, got {len(belonging)} that belong and "
            f"{len(foreign)} foreign ones."
        )
    cuts = np.unique(np.r_[belonging, foreign])[::-1]
    alarms = 1 - np.searchsorted(np.sort(belonging), cuts, side="left") / len(belonging)
    caught = 1 - np.searchsorted(np.sort(foreign), cuts, side="left") / len(foreign)
    false_alarms, found = np.r_[0.0, alarms], np.r_[0.0, caught]
    return Roc(
        false_alarms=false_alarms,
        caught=found,
        area=float(np.trapezoid(found, false_alarms)),
    )
