"""The values that the whole of Atelier speaks in: statuses, reasons, predictions, and `decide`.

Nothing here reads a clock, a database or a setting: every function is pure, so that a decision can
be repeated from what the rows say.
"""

from __future__ import annotations

import dataclasses
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
    """Why an image or a product failed, or a line, a file or all of a delivery was not taken in.

    A product has one of `PRODUCT_FAILURES` only.
    """

    UNREADABLE = "unreadable"
    """The bytes claim to be an allowed format but do not decode (truncated, damaged)."""
    UNSUPPORTED_FORMAT = "unsupported_format"
    """The bytes are no picture, or one of a format that is not allowed."""
    TOO_LARGE = "too_large"
    """More bytes than are read: an image above `ATELIER_IMAGE_MAX_BYTES`; an archive, an entry of
    one or a manifest above the bounds of deliveries, or that unpacks to too many times its size."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """The picture has more pixels than `ATELIER_IMAGE_MAX_PIXELS`."""
    DECODE_TIMEOUT = "decode_timeout"
    """Decoding took longer than `ATELIER_IMAGE_MAX_SECONDS`."""
    DECODE_MEMORY = "decode_memory"
    """Decoding needed more memory than `ATELIER_IMAGE_MAX_MEMORY_BYTES`."""
    DECODER_CRASH = "decoder_crash"
    """The decoder process died on this picture."""
    MISSING = "missing"
    """No file is there by that name; or the stored image is gone, or its bytes no longer match its
    sha256."""
    WORKER_CRASH = "worker_crash"
    """This product alone, and nothing else in hand, brought down three workers."""
    REFUSED_PATH = "refused_path"
    """A path, link or web address that is not followed: it leads out of the delivery or into a
    network that is not public, or it is none."""
    CANNOT_OPEN = "cannot_open"
    """Something is there, but nothing that can be read as a file: a folder, a device, a path that
    is too long, no permission, a disk that does not give it."""
    BAD_ENTRY = "bad_entry"
    """An entry of an archive that is damaged, encrypted, packed in another way, there twice, or not
    what the archive's directory says."""
    BAD_ROW = "bad_row"
    """A line of a manifest that cannot be read as a product: too few or many cells, too long, no
    valid text, no JSON, no image named."""
    BAD_SKU = "bad_sku"
    """No product can have this sku or this file's name for one: it is empty, too long, no valid
    text, or nothing tells it apart from its neighbour's."""
    TOO_MANY_IMAGES = "too_many_images"
    """The line names more images than a product has, or brings its product's above that."""
    TOO_MANY_LINES = "too_many_lines"
    """The lines before this one say as much of its product as is read of one."""
    URLS_OFF = "urls_off"
    """The image is named by its web address, and those are not fetched here."""
    FETCH_FAILED = "fetch_failed"
    """The server of a web address did not send the image."""
    NOT_AN_IMAGE = "not_an_image"
    """A file that is not called like a picture, or hides behind a dot; it is skipped."""
    NESTED = "nested"
    """A zip or a manifest within a delivery, which is not read; it is skipped."""
    SUPERSEDED = "superseded"
    """A delivery that began later had other photos of the product, which stay; it is skipped."""
    BAD_DELIVERY = "bad_delivery"
    """A delivery as a whole that cannot be read: damaged, empty, of another format, no columns."""
    NO_PRODUCT = "no_product"
    """A dropped delivery of which no line became a product; each line has its own code."""


PRODUCT_FAILURES: Final = (
    FailureCode.UNREADABLE,
    FailureCode.UNSUPPORTED_FORMAT,
    FailureCode.TOO_LARGE,
    FailureCode.TOO_MANY_PIXELS,
    FailureCode.DECODE_TIMEOUT,
    FailureCode.DECODE_MEMORY,
    FailureCode.DECODER_CRASH,
    FailureCode.MISSING,
    FailureCode.WORKER_CRASH,
)
"""Why a product, or an image that was taken in, can fail; the database refuses any other."""


class Autopilot(enum.StrEnum):
    """What the model in charge may do without a person, for one retailer."""

    PROVISIONAL = "provisional"
    """Accepts by the bundle's thresholds; the stated rate is the bundle's own."""
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


class Purpose(enum.StrEnum):
    """What an answer is for, as far as who gives it may know."""

    DECIDE = "decide"
    """It moves the product."""
    OPINION = "opinion"
    """Somebody decided already; it is compared with what is known."""


class OpinionKind(enum.StrEnum):
    """What an opinion is compared with. Who gives it is not told."""

    SECOND = "second"
    """With what another person decided."""
    KNOWN = "known"
    """With the answer that an administrator marked as known."""


class Role(enum.StrEnum):
    """What a person who logs in may do; each may do what the one before may."""

    VIEWER = "viewer"
    """Looks at the catalogue and the queue."""
    REVIEWER = "reviewer"
    """Decides on products, and takes back what they decided."""
    ADMIN = "admin"
    """Changes rules, turns the autopilot on and off, takes back what others decided."""

    def may(self, needed: Role) -> bool:
        """Whether this role includes `needed`."""
        return list(Role).index(self) >= list(Role).index(needed)


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
    """A bad line: `code` says why, `error` what was received and what to do. No product was made
    of it."""
    SKIPPED = "skipped"
    """A file that is no picture, or photos that a younger delivery replaced before these were here;
    listed with its `code`, not an error."""


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
    `ancestors`: of the best category, the wider ones (`Taxonomy.wider`), nearest first, each with
    the sum over all its categories.
    """

    top_k: tuple[CategoryConfidence, ...]
    ood_score: float
    out_of_distribution: bool
    disagreeing: tuple[str, ...] = ()
    ancestors: tuple[CategoryConfidence, ...] = ()

    @property
    def suggestion(self) -> str:
        return self.top_k[0].category

    @property
    def confidence(self) -> float:
        return self.top_k[0].confidence

    @property
    def margin(self) -> float:
        """How much surer the best category is than the second, 0 to 1.

        The smaller, the more a person's answer teaches (margin sampling: Scheffer et al. 2001,
        "Active Hidden Markov Models for Information Extraction").
        """
        return self.confidence - (self.top_k[1].confidence if len(self.top_k) > 1 else 0.0)


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The categories that a model tells apart, and what they belong to.

    `leaves`: in the order of the model's outputs. `parents`: leaf or inner node -> its parent; one
    without an entry stands at the top.
    """

    leaves: tuple[str, ...]
    parents: Mapping[str, str] = field(default_factory=dict)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """From the parent of `name` up to the top."""
        found: list[str] = []
        while (above := self.parents.get(name)) is not None and above not in found:
            found.append(above)
            name = above
        return tuple(found)

    def covers(self, accepted: str, category: str | None) -> bool:
        """Whether a tag is right where a person says `category`; None for no product at all.

        Who names a narrower category does not say that the wider one is wrong.
        """
        return category is not None and accepted in (category, *self.ancestors(category))

    def leaves_under(self, node: str) -> npt.NDArray[np.int64]:
        """Indices into `leaves`, int64."""
        return np.array(
            [i for i, leaf in enumerate(self.leaves) if node in self.ancestors(leaf)], np.int64
        )

    def wider(self, leaf: str) -> tuple[str, ...]:
        """The ancestors of `leaf` that hold more leaves than the node below, nearest first.

        Falling back from Trouser to Bottoms says nothing new where Trouser is all that there is.
        """
        found: list[str] = []
        held = 1
        for node in self.ancestors(leaf):
            if (now := len(self.leaves_under(node))) > held:
                found.append(node)
                held = now
        return tuple(found)

    def distance(self, one: str, other: str) -> int:
        """Steps from one node up to the nearest node that both belong to and down to the other.

        0 for the same, 2 for two with the same parent; the tops of the tree hang on one root.
        """
        left, right = (one, *self.ancestors(one)), (other, *self.ancestors(other))
        shared = len({*left} & {*right})
        return len(left) + len(right) - 2 * shared


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """From which confidence a category is accepted. `by_category` overrides `fallback`.

    `by_parent` is the same for the inner nodes of the taxonomy, which have no fallback: one that
    is not listed is never accepted. A threshold above 1 accepts nothing.
    """

    fallback: float
    by_category: Mapping[str, float] = field(default_factory=dict)
    by_parent: Mapping[str, float] = field(default_factory=dict)

    def of(self, category: str) -> float:
        return self.by_category.get(category, self.fallback)

    def sure_ancestor(self, prediction: Prediction) -> CategoryConfidence | None:
        """The nearest ancestor of the best category that reaches its threshold, if any."""
        for one in prediction.ancestors:
            if one.confidence >= self.by_parent.get(one.category, math.inf):
                return one
        return None


@dataclass(frozen=True, kw_only=True)
class OodBounds:
    """From which score an image is out of distribution, by the category it looks most like."""

    fallback: float
    by_category: Mapping[str, float] = field(default_factory=dict)

    def of(self, category: str) -> float:
        return self.by_category.get(category, self.fallback)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A snapshot of what governs acceptance.

    `accept_parent`: whether a product whose category is unsure, but whose parent category is sure
    enough, is tagged with the parent; otherwise it goes to a person with the parent pre-selected.
    `require_certificate`: whether a provisional autopilot accepts nothing. `always_review`: nodes
    of the taxonomy that no product is tagged with, nor tagged at all while they are its best
    answer. `flag_strange`, `flag_disagreeing`: whether pictures that are out of distribution or
    disagree go to a person whatever the confidence.
    """

    autopilot: Autopilot
    thresholds: Thresholds
    accept_parent: bool = False
    require_certificate: bool = False
    always_review: frozenset[str] = frozenset()
    flag_strange: bool = True
    flag_disagreeing: bool = True


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Where a prediction puts a product. `category` is set only when `status` is `tagged`.

    `suggested`: the category, or the parent category, that the product stands under or that a
    person finds pre-selected, with its confidence. `withheld`: it would have been accepted, had
    the autopilot the certificate that the retailer requires; what people say of it is evidence.
    """

    status: Status
    category: str | None
    review_reason: ReviewReason | None
    suggested: CategoryConfidence
    withheld: bool = False


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
    taxonomy: Taxonomy,
    ood_bounds: OodBounds,
    thresholds: Thresholds,
) -> Prediction:
    """One prediction from all readable images of a product: the mean of their log-probabilities.

    Images out of distribution are left out; if that leaves none, all count and the prediction says
    `out_of_distribution`. Images disagree when at least two of those that count pass the threshold
    of different categories by themselves.

    Raises:
        ValueError: `evidence` is empty (a product without a readable image has no prediction).
    """
    if not evidence:
        raise ValueError("aggregate needs the evidence of at least one image, got none")
    leaves = taxonomy.leaves
    familiar = [
        e for e in evidence if e.ood_score < ood_bounds.of(leaves[int(np.argmax(e.log_probs))])
    ]
    counted = familiar or list(evidence)
    mean = np.mean([e.log_probs for e in counted], axis=0)  # (categories,)
    mean = mean - (mean.max() + math.log(np.exp(mean - mean.max()).sum()))
    order = np.argsort(-mean, kind="stable")[:TOP_K]
    confident: dict[str, None] = {}
    for one in counted:
        best = int(np.argmax(one.log_probs))
        if math.exp(one.log_probs[best]) >= thresholds.of(leaves[best]):
            confident[leaves[best]] = None
    return Prediction(
        top_k=tuple(
            CategoryConfidence(category=leaves[i], confidence=min(1.0, math.exp(mean[i])))
            for i in order
        ),
        ood_score=min(e.ood_score for e in counted),
        out_of_distribution=not familiar,
        disagreeing=tuple(confident) if len(confident) > 1 else (),
        ancestors=tuple(
            CategoryConfidence(
                category=node,
                confidence=min(1.0, float(np.exp(mean[taxonomy.leaves_under(node)]).sum())),
            )
            for node in taxonomy.wider(leaves[int(order[0])])
        ),
    )


def decide(prediction: Prediction, rules: Rules) -> Decision:
    """Accept the prediction, or say why a person must look.

    The first reason that holds is given, strangest first: a picture of no known kind says more to
    a reviewer than its low confidence does.
    """
    best = prediction.top_k[0]
    if prediction.out_of_distribution and rules.flag_strange:
        return _flag(ReviewReason.OUT_OF_DISTRIBUTION, best)
    if rules.autopilot is Autopilot.OFF:
        return _flag(ReviewReason.AUTOPILOT_OFF, best)
    if prediction.disagreeing and rules.flag_disagreeing:
        return _flag(ReviewReason.IMAGES_DISAGREE, best)
    # Asked this way round, so that a confidence that is no number is not accepted either.
    if best.confidence >= rules.thresholds.of(best.category):
        return _accept(best, best, rules)
    parent = rules.thresholds.sure_ancestor(prediction)
    if parent is None or not rules.accept_parent:
        return _flag(ReviewReason.LOW_CONFIDENCE, parent or best)
    return _accept(parent, best, rules)


def _accept(suggested: CategoryConfidence, best: CategoryConfidence, rules: Rules) -> Decision:
    """What is sure enough is accepted, unless a rule says that a person must look all the same."""
    if not rules.always_review.isdisjoint((suggested.category, best.category)):
        return _flag(ReviewReason.RULE, suggested)
    if rules.require_certificate and rules.autopilot is not Autopilot.CERTIFIED:
        return dataclasses.replace(_flag(ReviewReason.RULE, suggested), withheld=True)
    return Decision(
        status=Status.TAGGED,
        category=suggested.category,
        review_reason=None,
        suggested=suggested,
    )


def _flag(reason: ReviewReason, suggested: CategoryConfidence) -> Decision:
    return Decision(
        status=Status.NEEDS_REVIEW, category=None, review_reason=reason, suggested=suggested
    )
