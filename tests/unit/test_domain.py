"""Decisions are pure: from evidence and rules to a status."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagging.domain import (
    TOP_K,
    Autopilot,
    CategoryConfidence,
    Decision,
    ImageEvidence,
    OodBounds,
    Prediction,
    ReviewReason,
    Rules,
    Status,
    Taxonomy,
    Thresholds,
    aggregate,
    decide,
    softmax_log_probs,
)

CATEGORIES = ("A", "B", "C")
NEVER_STRANGE = 100.0
logits = st.lists(st.floats(-50, 50), min_size=3, max_size=3)


TREE = Taxonomy(
    leaves=("shirt", "coat", "boot", "bag"),
    parents={
        "shirt": "tops",
        "coat": "tops",
        "tops": "clothes",
        "boot": "shoes",
        "shoes": "clothes",
    },
)


def prediction(
    confidence: float = 0.95,
    *,
    strange: bool = False,
    disagreeing: tuple[str, ...] = (),
    **ancestors: float,
) -> Prediction:
    return Prediction(
        top_k=(CategoryConfidence(category="A", confidence=confidence),),
        ood_score=0.0,
        out_of_distribution=strange,
        disagreeing=disagreeing,
        ancestors=tuple(
            CategoryConfidence(category=name, confidence=c) for name, c in ancestors.items()
        ),
    )


def rules(autopilot: Autopilot = Autopilot.PROVISIONAL, **by_category: float) -> Rules:
    return Rules(autopilot=autopilot, thresholds=Thresholds(fallback=0.9, by_category=by_category))


def evidence(probabilities: list[float], score: float = 0.0, name: str = "x") -> ImageEvidence:
    return ImageEvidence(sha256=name, log_probs=np.log(probabilities), ood_score=score)


def combined(*images: ImageEvidence, threshold: float = NEVER_STRANGE) -> Prediction:
    return aggregate(
        images,
        taxonomy=Taxonomy(leaves=CATEGORIES),
        ood_bounds=OodBounds(fallback=threshold),
        thresholds=Thresholds(fallback=0.9),
    )


@pytest.mark.parametrize(
    ("given_prediction", "given_rules", "reason"),
    [
        (prediction(0.89), rules(), ReviewReason.LOW_CONFIDENCE),
        (prediction(0.95), rules(A=0.96), ReviewReason.LOW_CONFIDENCE),
        (prediction(1.0), rules(A=1.01), ReviewReason.LOW_CONFIDENCE),
        (prediction(strange=True), rules(), ReviewReason.OUT_OF_DISTRIBUTION),
        (prediction(strange=True), rules(Autopilot.OFF), ReviewReason.OUT_OF_DISTRIBUTION),
        (prediction(), rules(Autopilot.OFF), ReviewReason.AUTOPILOT_OFF),
        (prediction(disagreeing=("A", "B")), rules(), ReviewReason.IMAGES_DISAGREE),
    ],
)
def test_what_goes_to_a_person_and_why(
    given_prediction: Prediction, given_rules: Rules, reason: ReviewReason
) -> None:
    decision = decide(given_prediction, given_rules)
    assert decision == Decision(
        status=Status.NEEDS_REVIEW,
        category=None,
        review_reason=reason,
        suggested=given_prediction.top_k[0],
    )


@pytest.mark.parametrize("autopilot", [Autopilot.PROVISIONAL, Autopilot.CERTIFIED])
def test_at_the_threshold_a_product_is_tagged(autopilot: Autopilot) -> None:
    decision = decide(prediction(0.9), rules(autopilot))
    assert decision == Decision(
        status=Status.TAGGED,
        category="A",
        review_reason=None,
        suggested=CategoryConfidence(category="A", confidence=0.9),
    )


def test_a_category_of_its_own_threshold_ignores_the_fallback() -> None:
    assert decide(prediction(0.5), rules(A=0.4)).status is Status.TAGGED


class TestBackingOffUpTheTree:
    @staticmethod
    def rules(*, accept_parent: bool) -> Rules:
        return Rules(
            autopilot=Autopilot.PROVISIONAL,
            thresholds=Thresholds(fallback=0.9, by_parent={"tops": 0.95, "clothes": 0.95}),
            accept_parent=accept_parent,
        )

    def test_a_sure_parent_is_preselected_for_the_person(self) -> None:
        decision = decide(prediction(0.6, tops=0.96, clothes=0.99), self.rules(accept_parent=False))
        assert decision.status is Status.NEEDS_REVIEW
        assert decision.review_reason is ReviewReason.LOW_CONFIDENCE
        assert decision.category is None
        assert decision.suggested == CategoryConfidence(category="tops", confidence=0.96)

    def test_a_sure_parent_is_accepted_where_the_retailer_says_so(self) -> None:
        decision = decide(prediction(0.6, tops=0.96), self.rules(accept_parent=True))
        assert (decision.status, decision.category) == (Status.TAGGED, "tops")

    def test_the_nearest_sure_ancestor_is_taken(self) -> None:
        decision = decide(prediction(0.6, tops=0.94, clothes=0.97), self.rules(accept_parent=True))
        assert decision.category == "clothes"

    def test_a_sure_category_needs_no_parent(self) -> None:
        decision = decide(prediction(0.91, tops=0.99), self.rules(accept_parent=True))
        assert decision.category == "A"

    def test_an_ancestor_without_a_threshold_is_never_accepted(self) -> None:
        decision = decide(prediction(0.6, shoes=1.0), self.rules(accept_parent=True))
        assert (decision.status, decision.suggested.category) == (Status.NEEDS_REVIEW, "A")

    def test_nothing_is_accepted_of_a_strange_picture(self) -> None:
        strange = prediction(0.6, strange=True, tops=1.0)
        assert decide(strange, self.rules(accept_parent=True)).status is Status.NEEDS_REVIEW

    def test_a_parent_is_as_sure_as_all_its_categories(self) -> None:
        found = aggregate(
            [evidence([0.5, 0.3, 0.15, 0.05])],
            taxonomy=TREE,
            ood_bounds=OodBounds(fallback=NEVER_STRANGE),
            thresholds=Thresholds(fallback=0.9),
        )
        assert [a.category for a in found.ancestors] == ["tops", "clothes"]
        assert [a.confidence for a in found.ancestors] == pytest.approx([0.8, 0.95])


class TestTaxonomy:
    def test_ancestors_go_up_to_the_top(self) -> None:
        assert TREE.ancestors("shirt") == ("tops", "clothes")
        assert TREE.ancestors("bag") == ()

    def test_an_ancestor_that_holds_no_more_is_not_wider(self) -> None:
        assert TREE.wider("boot") == ("clothes",)

    def test_leaves_under_a_node(self) -> None:
        assert TREE.leaves_under("clothes").tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("one", "other", "steps"),
        [("shirt", "shirt", 0), ("shirt", "coat", 2), ("shirt", "boot", 4), ("boot", "bag", 4)],
    )
    def test_distance_counts_steps_up_and_down(self, one: str, other: str, steps: int) -> None:
        assert TREE.distance(one, other) == TREE.distance(other, one) == steps


def test_strangeness_is_judged_by_the_category_an_image_looks_like() -> None:
    bounds = OodBounds(fallback=10.0, by_category={"B": 1.0})
    images = [evidence([0.9, 0.05, 0.05], 5.0, "a"), evidence([0.05, 0.9, 0.05], 5.0, "b")]
    found = aggregate(
        images,
        taxonomy=Taxonomy(leaves=CATEGORIES),
        ood_bounds=bounds,
        thresholds=Thresholds(fallback=0.9),
    )
    assert (found.suggestion, found.out_of_distribution) == ("A", False)


@given(logits, st.floats(0.1, 10))
def test_calibrated_probabilities_add_up_to_one(row: list[float], temperature: float) -> None:
    log_probs = softmax_log_probs(np.array([row], np.float32), temperature)
    assert log_probs.dtype == np.float64
    assert math.isclose(np.exp(log_probs).sum(), 1.0, rel_tol=1e-9)


def test_temperature_softens_and_keeps_the_order() -> None:
    row = np.array([3.0, 1.0, 0.0], np.float32)
    sharp, soft = softmax_log_probs(row, 1.0), softmax_log_probs(row, 4.0)
    assert np.exp(sharp).max() > np.exp(soft).max()
    assert list(np.argsort(sharp)) == list(np.argsort(soft))


def test_one_image_keeps_its_probabilities() -> None:
    found = combined(evidence([0.7, 0.2, 0.1]))
    assert [t.category for t in found.top_k] == ["A", "B", "C"]
    assert [t.confidence for t in found.top_k] == pytest.approx([0.7, 0.2, 0.1])
    assert (found.suggestion, found.disagreeing) == ("A", ())


def test_two_images_are_the_mean_of_their_log_probabilities() -> None:
    found = combined(evidence([0.8, 0.1, 0.1]), evidence([0.2, 0.7, 0.1]))
    weights = np.sqrt([0.8 * 0.2, 0.1 * 0.7, 0.1 * 0.1])
    assert found.confidence == pytest.approx(weights[0] / weights.sum())


def test_confident_contradiction_is_told() -> None:
    found = combined(evidence([0.95, 0.04, 0.01]), evidence([0.04, 0.95, 0.01]))
    assert set(found.disagreeing) == {"A", "B"}


def test_an_unsure_image_contradicts_nobody() -> None:
    assert combined(evidence([0.95, 0.04, 0.01]), evidence([0.3, 0.6, 0.1])).disagreeing == ()


def test_strange_images_are_left_out_while_others_are_familiar() -> None:
    found = combined(evidence([0.1, 0.1, 0.8], 5.0), evidence([0.9, 0.05, 0.05], 0.0), threshold=1)
    assert (found.suggestion, found.out_of_distribution, found.ood_score) == ("A", False, 0.0)


def test_only_strange_images_make_a_strange_product() -> None:
    found = combined(evidence([0.9, 0.05, 0.05], 5.0), threshold=1)
    assert found.out_of_distribution
    assert found.suggestion == "A"


def test_no_evidence_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        combined()


@given(st.lists(logits, min_size=1, max_size=4))
def test_confidences_are_probabilities_in_order(rows: list[list[float]]) -> None:
    images = [
        ImageEvidence(
            sha256=str(i),
            log_probs=softmax_log_probs(np.array(row, np.float32), 1.0),
            ood_score=0.0,
        )
        for i, row in enumerate(rows)
    ]
    confidences = [t.confidence for t in combined(*images).top_k]
    assert confidences == sorted(confidences, reverse=True)
    assert all(0 <= c <= 1 for c in confidences)
    assert len(confidences) <= TOP_K
