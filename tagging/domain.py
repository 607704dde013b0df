"""The values that the whole of Atelier speaks in: statuses, reasons, predictions, and `decide`.

Nothing here reads a clock, a database or a setting: every function is pure, so that a decision can
be repeated from what the rows say.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

TOP_K: Final = 5
"""How many categories a stored prediction keeps, best first."""


class Status(enum.StrEnum):
    """Where a product stands."""

    QUEUED = "queued"
    """Taken in; waits for a worker, or a worker has it in hand."""
    TAGGED = "tagged"
    """The model's answer was accepted: `category` is in force without a person."""
    NEEDS_REVIEW = "needs_review"
    """A person must decide; `review_reason` says why, `suggestion` is the model's best answer."""
    REVIEWED = "reviewed"
    """A person decided; no machine write changes it."""
    FAILED = "failed"
    """No prediction could be made; `failure_code` and `failure_detail` say why."""


class ReviewReason(enum.StrEnum):
    """Why a product waits for a person."""

    LOW_CONFIDENCE = "low_confidence"
    """The confidence lies under the threshold of its category."""
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    """The picture looks like nothing the model was trained on."""
    IMAGES_DISAGREE = "images_disagree"
    """Two pictures of the product confidently show different categories."""
    PHOTO_CHANGED = "photo_changed"
    """A person decided on other photos than the ones delivered now."""
    AUTOPILOT_OFF = "autopilot_off"
    """The model in charge may not accept anything for this retailer."""
    RULE = "rule"
    """A rule of the retailer asks for a person."""
    REQUESTED = "requested"
    """Somebody asked for a review."""


class FailureCode(enum.StrEnum):
    """Why an image, or a product none of whose images could be used, failed."""

    UNREADABLE = "unreadable"
    """The bytes claim to be an allowed format but do not decode (truncated, damaged)."""
    UNSUPPORTED_FORMAT = "unsupported_format"
    """The bytes are no picture, or one of a format that is not allowed."""
    TOO_LARGE = "too_large"
    """The file has more bytes than `ATELIER_IMAGE_MAX_BYTES`."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """The picture has more pixels than `ATELIER_IMAGE_MAX_PIXELS`."""
    DECODE_TIMEOUT = "decode_timeout"
    """Decoding took longer than `ATELIER_IMAGE_MAX_SECONDS`."""
    DECODE_MEMORY = "decode_memory"
    """Decoding needed more memory than `ATELIER_IMAGE_MAX_MEMORY_BYTES`."""
    DECODER_CRASH = "decoder_crash"
    """The decoder process died on this picture."""
    MISSING = "missing"
    """The stored image is gone, or its bytes no longer match its sha256."""
    WORKER_CRASH = "worker_crash"
    """This product alone, and nothing else in hand, brought down three workers."""


class Autopilot(enum.StrEnum):
    """What the model in charge may do without a person, for one retailer."""

    PROVISIONAL = "provisional"
    """Accepts by the bundle's thresholds; the stated rate is that of the bundle's own hold-out."""
    CERTIFIED = "certified"
    """Audit verdicts put the upper bound of this retailer's own error under the target."""
    OFF = "off"
    """The lower bound of the error passed the target: everything goes to review."""


class Verdict(enum.StrEnum):
    """What a person said of a product."""

    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    UNSURE = "unsure"
    NOT_A_PRODUCT = "not_a_product"


class ItemOutcome(enum.StrEnum):
    """What became of one line of an upload."""

    PENDING = "pending"
    """Received and stored; not yet filed under its product."""
    CREATED = "created"
    """A product that this retailer did not have; queued."""
    CHANGED = "changed"
    """A known product with other images than before; queued (or flagged, if a person decided)."""
    UPDATED = "updated"
    """A known product with the same images but another title or attribute; nothing to classify."""
    UNCHANGED = "unchanged"
    """A known product, delivered exactly as it stands; nothing to do."""
    MERGED = "merged"
    """A further line of a product whose first line carries the outcome."""
    REJECTED = "rejected"
    """A bad line: `error` says what was received and what to do. No product was made of it."""
    SKIPPED = "skipped"
    """A file that is no picture; listed, not an error."""


@dataclass(frozen=True, kw_only=True)
class CategoryConfidence:
    """A category and the calibrated probability (0 to 1) that it is the right one."""

    category: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class ImageEvidence:
    """What the model said of one image.

    `log_probs`: (categories,) float64, calibrated natural log-probabilities.
    `ood_score`: higher is stranger; at or above the card's threshold is out of distribution.
    """

    sha256: str
    log_probs: npt.NDArray[np.float64]
    ood_score: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one model said of one product's image set.

    `top_k`: best first, at most `TOP_K`. `ood_score` is that of the least strange image.
    `disagreeing`: the categories that single images point to confidently, when more than one.
    """

    top_k: tuple[CategoryConfidence, ...]
    ood_score: float
    out_of_distribution: bool
    disagreeing: tuple[str, ...] = ()

    @property
    def suggestion(self) -> str:
        return self.top_k[0].category

    @property
    def confidence(self) -> float:
        return self.top_k[0].confidence


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From which confidence a category is accepted. `by_category` overrides `fallback`.

    A threshold above 1 accepts nothing.
    """

    fallback: float
    by_category: Mapping[str, float] = field(default_factory=dict)

    def of(self, category: str) -> float:
        return self.by_category.get(category, self.fallback)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A snapshot of what governs acceptance: the autopilot's state and the thresholds."""

    autopilot: Autopilot
    thresholds: Thresholds


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Where a prediction puts a product. `category` is set only when `status` is `tagged`."""

    status: Status
    category: str | None
    review_reason: ReviewReason | None


def softmax_log_probs(
    logits: npt.NDArray[np.floating], temperature: float
) -> npt.NDArray[np.float64]:
    """Calibrated log-probabilities of `logits` (images, categories); same shape, float64.

    Temperature scaling as in Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 9.
    """
    scaled = logits.astype(np.float64) / temperature
    shifted = scaled - scaled.max(axis=-1, keepdims=True)
    normalised: npt.NDArray[np.float64] = shifted - np.log(
        np.exp(shifted).sum(axis=-1, keepdims=True)
    )
    return normalised


def aggregate(
    evidence: Sequence[ImageEvidence],
    *,
    categories: Sequence[str],
    ood_threshold: float,
    thresholds: Thresholds,
) -> Prediction:
    """One prediction from all readable images of a product: the mean of their log-probabilities.

    Images at or above `ood_threshold` are left out; if that leaves none, all count and the
    prediction says `out_of_distribution`. Images disagree when at least two of those that count
    pass the threshold of different categories by themselves.

    Raises:
        ValueError: `evidence` is empty (a product without a readable image has no prediction).
    """
    if not evidence:
        raise ValueError("aggregate needs the evidence of at least one image, got none")
    familiar = [e for e in evidence if e.ood_score < ood_threshold]
    counted = familiar or list(evidence)
    mean = np.mean([e.log_probs for e in counted], axis=0)  # (categories,)
    mean = mean - (mean.max() + math.log(np.exp(mean - mean.max()).sum()))
    order = np.argsort(-mean, kind="stable")[:TOP_K]
    confident: dict[str, None] = {}
    for one in counted:
        best = int(np.argmax(one.log_probs))
        if math.exp(one.log_probs[best]) >= thresholds.of(categories[best]):
            confident[categories[best]] = None
    return Prediction(
        top_k=tuple(
            CategoryConfidence(category=categories[i], confidence=min(1.0, math.exp(mean[i])))
            for i in order
        ),
        ood_score=min(e.ood_score for e in counted),
        out_of_distribution=not familiar,
        disagreeing=tuple(confident) if len(confident) > 1 else (),
    )


def decide(prediction: Prediction, rules: Rules) -> Decision:
    """Accept the prediction, or say why a person must look.

    The first reason that holds is given, strangest first: a picture of no known kind says more to
    a reviewer than its low confidence does.
    """
    if prediction.out_of_distribution:
        return _flag(ReviewReason.OUT_OF_DISTRIBUTION)
    if rules.autopilot is Autopilot.OFF:
        return _flag(ReviewReason.AUTOPILOT_OFF)
    if prediction.disagreeing:
        return _flag(ReviewReason.IMAGES_DISAGREE)
    # Asked this way round, so that a confidence that is no number is not accepted either.
    if not prediction.confidence >= rules.thresholds.of(prediction.suggestion):
        return _flag(ReviewReason.LOW_CONFIDENCE)
    return Decision(status=Status.TAGGED, category=prediction.suggestion, review_reason=None)


def _flag(reason: ReviewReason) -> Decision:
    return Decision(status=Status.NEEDS_REVIEW, category=None, review_reason=reason)
