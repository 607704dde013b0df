"""Calibration, thresholds, and the promise they make."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest

from model_training.calibrate import find_temperature
from model_training.measures import (
    accuracy,
    expected_calibration_error,
    negative_log_likelihood,
)
from model_training.thresholds import (
    NEVER,
    Judged,
    acceptance_spec,
    accepted,
    accepted_parents,
    cuts_by_category,
    error_interval,
    error_upper_bound,
    inner_nodes,
    judge,
    pooled_acceptance_spec,
    shift_cuts,
)
from tagging.domain import OodBounds, Taxonomy, softmax_log_probs
from tagging.errors import TrainingDataError

NAMES = [f"c{i}" for i in range(5)]
TAXONOMY = Taxonomy(leaves=tuple(NAMES))
TREE = Taxonomy(leaves=tuple(NAMES), parents={"c0": "low", "c1": "low", "c2": "low", "c3": "high"})


def calibrated_sample(
    n: int, seed: int, sharpness: float = 3.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Logits whose softmax is exactly the distribution that the labels were drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness, (n, len(NAMES)))
    probabilities = np.exp(softmax_log_probs(logits, 1.0))
    labels = (probabilities.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return logits, labels.astype(np.int64)


def judged(n: int, seed: int, sharpness: float = 6.0) -> Judged:
    logits, labels = calibrated_sample(n, seed, sharpness)
    return judge(
        logits,
        no_scores(labels),
        labels,
        temperature=1.0,
        taxonomy=TAXONOMY,
        ood_bounds=OodBounds(fallback=math.inf),
    )


def no_scores(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Nothing is strange."""
    return np.zeros(len(labels))


class TestCalibration:
    @pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
    def test_a_known_temperature_is_found(self, temperature: float) -> None:
        logits, labels = calibrated_sample(40_000, seed=1)
        assert find_temperature(logits * temperature, labels) == pytest.approx(
            temperature, rel=0.03
        )

    def test_calibrated_logits_have_a_small_error_and_overconfident_ones_a_large(self) -> None:
        logits, labels = calibrated_sample(40_000, seed=2)
        assert expected_calibration_error(logits, labels) < 0.01
        assert expected_calibration_error(logits * 3, labels) > 0.04
        assert expected_calibration_error(logits * 3, labels, temperature=3.0) < 0.01

    def test_by_hand(self) -> None:
        logits = np.log(np.array([[0.8, 0.2], [0.6, 0.4]]))
        labels = np.array([0, 1])
        assert accuracy(logits, labels) == 0.5
        assert negative_log_likelihood(logits, labels) == pytest.approx(
            -(math.log(0.8) + math.log(0.4)) / 2
        )
        # one bin: |(0.8 + 0.6) / 2 - 1 / 2|; two bins: (|0.6 - 0| + |0.8 - 1|) / 2
        assert expected_calibration_error(logits, labels, bins=1) == pytest.approx(0.2)
        assert expected_calibration_error(logits, labels, bins=2) == pytest.approx(0.4)

    def test_nothing_and_nonsense_are_refused(self) -> None:
        with pytest.raises(TrainingDataError, match="0 images"):
            find_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))
        with pytest.raises(TrainingDataError, match="not all finite"):
            find_temperature(np.array([[np.nan, 0.0]]), np.array([0]))


class TestBounds:
    def test_known_values(self) -> None:
        """Zero errors of n: the bound solves (1 - p)^n = 0.05, the "rule of three"."""
        assert error_upper_bound(0, 299) == pytest.approx(1 - 0.05 ** (1 / 299))
        assert error_upper_bound(0, 299) <= 0.01 < error_upper_bound(0, 298)
        assert error_upper_bound(0, 0) == 1.0
        assert error_upper_bound(7, 7) == 1.0

    def test_the_interval_holds_the_rate(self) -> None:
        lower, upper = error_interval(5, 100)
        assert lower == pytest.approx(0.01643, abs=1e-4)
        assert upper == pytest.approx(0.11284, abs=1e-4)
        assert error_interval(0, 0) == (0.0, 1.0)


class TestThresholds:
    def test_out_of_distribution_is_never_accepted(self) -> None:
        logits, labels = calibrated_sample(100, seed=0)
        strange = judge(
            logits,
            no_scores(labels),
            labels,
            temperature=1.0,
            taxonomy=TAXONOMY,
            ood_bounds=OodBounds(fallback=-math.inf),
        )
        assert not accepted(strange, np.zeros(len(NAMES))).any()
        assert (cuts_by_category(strange, categories=len(NAMES), target=0.9) == NEVER).all()

    def test_a_cut_never_splits_equal_confidences(self) -> None:
        answer = np.zeros(400, np.int64)
        confidence = np.full(400, 0.9)
        right = np.r_[np.ones(390, bool), np.zeros(10, bool)]
        everything = Judged(
            answer=answer,
            confidence=confidence,
            right=right,
            familiar=np.ones(400, bool),
            above=np.zeros((400, 0)),
            node=np.zeros((400, 0), np.int64),
            right_above=np.zeros((400, 0), bool),
        )
        assert cuts_by_category(everything, categories=1, target=0.99)[0] == NEVER
        assert cuts_by_category(everything, categories=1, target=0.97)[0] == pytest.approx(0.9)

    def test_a_category_that_is_never_answered_is_never_accepted(self) -> None:
        some = judged(2_000, seed=0)
        cuts = cuts_by_category(some, categories=len(NAMES) + 1, target=0.9)
        assert cuts[-1] == NEVER
        assert (cuts[:-1] <= 1).all()

    def test_moving_cuts_keeps_never_and_the_order(self) -> None:
        cuts = np.array([0.5, 0.99, 1.0, NEVER])
        stricter, looser = shift_cuts(cuts, 1.0), shift_cuts(cuts, -1.0)
        assert stricter[-1] == looser[-1] == NEVER
        assert (stricter[:3] >= cuts[:3] - 1e-11).all()
        assert (looser[:2] < cuts[:2]).all()
        assert (stricter[:3] <= 1).all()

    def test_the_spec_states_what_the_holdout_says(self) -> None:
        select, holdout = judged(4_000, seed=1), judged(4_000, seed=2)
        spec = acceptance_spec(select, holdout, taxonomy=TAXONOMY, target=0.98)
        cuts = np.array([spec.thresholds().of(name) for name in NAMES])
        taken = accepted(holdout, cuts)
        assert spec.holdout_n == 4_000
        assert spec.holdout_accepted == taken.sum() > 1_000
        assert spec.holdout_errors == (taken & ~holdout.right).sum()
        assert spec.error_upper <= 0.02
        assert spec.fallback == NEVER

    def test_a_model_that_knows_nothing_accepts_nothing(self) -> None:
        rng = np.random.default_rng(0)
        logits = rng.normal(0, 6, (3_000, len(NAMES)))
        labels = rng.integers(0, len(NAMES), 3_000)
        blind = judge(
            logits,
            no_scores(labels),
            labels,
            temperature=1.0,
            taxonomy=TAXONOMY,
            ood_bounds=OodBounds(fallback=math.inf),
        )
        spec = acceptance_spec(blind, blind, taxonomy=TAXONOMY, target=0.99)
        assert spec.holdout_accepted == spec.holdout_errors == 0
        assert spec.error_upper == 1.0
        assert all(cut == NEVER for cut in spec.by_category.values())

    @pytest.mark.parametrize("overconfidence", [1.0, 2.0])
    def test_the_promise_holds_in_95_of_100_deliveries(self, overconfidence: float) -> None:
        """Fresh select, hold-out and delivery each time; the delivery large enough to be truth.

        Also with a confidence that is not calibrated: the promise rests on counts, not on it.
        """
        target, broken, coverage = 0.98, 0, []
        rounds = 100
        for seed in range(rounds):
            parts = [
                calibrated_sample(n, seed=3 * seed + k, sharpness=6.0)
                for k, n in enumerate((1_500, 1_500, 20_000))
            ]
            select, holdout, delivery = (
                judge(
                    logits,
                    no_scores(labels),
                    labels,
                    temperature=1 / overconfidence,
                    taxonomy=TAXONOMY,
                    ood_bounds=OodBounds(fallback=math.inf),
                )
                for logits, labels in parts
            )
            spec = acceptance_spec(select, holdout, taxonomy=TAXONOMY, target=target)
            taken = accepted(delivery, np.array([spec.by_category[name] for name in NAMES]))
            broken += (taken & ~delivery.right).sum() > (1 - target) * taken.sum()
            coverage.append(taken.mean())
        # At a true rate of 5 %, more than 10 of 100 happens in 1 of 90 seeds; these are fixed.
        assert broken <= 10
        assert np.mean(coverage) > 0.4


class TestParents:
    """A model that knows the parent better than the category."""

    @staticmethod
    def muddled(n: int, seed: int) -> Judged:
        """c0, c1 and c2 are told from the others, but in half of the cases not from each other."""
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 5, n)
        logits = np.where(np.eye(5, dtype=bool)[labels], 9.0, 0.0)
        blurred = (labels < 3) & (rng.random(n) < 0.5)
        middle = np.array([4.0, 4.0, 4.0, -6.0, -6.0])
        logits[blurred] = middle + rng.normal(0, 0.5, (blurred.sum(), 5))
        return judge(
            logits,
            no_scores(labels),
            labels,
            taxonomy=TREE,
            temperature=1.0,
            ood_bounds=OodBounds(fallback=math.inf),
        )

    def test_a_parent_with_one_category_is_no_way_out(self) -> None:
        assert inner_nodes(TREE) == ["low"]

    def test_what_the_category_cannot_accept_the_parent_does(self) -> None:
        select, holdout = self.muddled(4_000, seed=1), self.muddled(4_000, seed=2)
        spec = acceptance_spec(select, holdout, taxonomy=TREE, target=0.99)
        cuts = np.array([spec.by_category[name] for name in NAMES])
        extra, right = accepted_parents(holdout, cuts, np.array([spec.parents.by_parent["low"]]))
        assert spec.parents.holdout_accepted == extra.sum() > 800
        assert spec.parents.holdout_errors == (extra & ~right).sum()
        assert spec.parents.error_upper <= 0.01
        assert not (extra & accepted(holdout, cuts)).any()

    def test_parents_that_are_wrong_too_often_are_not_accepted(self) -> None:
        select, holdout = self.muddled(4_000, seed=1), self.muddled(4_000, seed=2)
        lying = dataclasses.replace(holdout, right_above=np.zeros_like(holdout.right_above))
        spec = acceptance_spec(select, lying, taxonomy=TREE, target=0.99)
        assert spec.parents.holdout_errors <= 0.01 * spec.holdout_accepted
        assert spec.parents.holdout_accepted < 60

    def test_without_a_tree_there_is_no_parent(self) -> None:
        spec = acceptance_spec(
            judged(3_000, seed=1), judged(3_000, seed=2), taxonomy=TAXONOMY, target=0.98
        )
        assert spec.parents.by_parent == {}


def test_of_a_model_that_knows_a_fifth_that_fifth_is_accepted() -> None:
    def part(n: int, seed: int) -> Judged:
        """Of category 0 it is sure and right; of the others it knows nothing."""
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, len(NAMES), n).astype(np.int64)
        logits = rng.normal(0, 0.5, (n, len(NAMES)))
        logits[labels == 0, 0] += 12
        return judge(
            logits,
            no_scores(labels),
            labels,
            temperature=1.0,
            taxonomy=TAXONOMY,
            ood_bounds=OodBounds(fallback=math.inf),
        )

    spec = acceptance_spec(part(4000, 0), part(4000, 1), taxonomy=TAXONOMY, target=0.99)
    assert 0.15 * spec.holdout_n < spec.holdout_accepted < 0.25 * spec.holdout_n
    assert spec.error_upper <= 0.01


class TestFromOneSet:
    def test_the_promise_is_kept_on_fresh_images(self) -> None:
        """95 % of the sets must keep it; 60 of them allow for 8 that do not (binomial, 99 %)."""
        fresh = judged(40_000, seed=10_000)
        broken = 0
        for seed in range(60):
            spec = pooled_acceptance_spec(judged(2_000, seed), taxonomy=TAXONOMY, target=0.98)
            assert spec.holdout_accepted > 400
            assert spec.error_upper <= 0.02
            taken = accepted(fresh, np.array([spec.by_category[name] for name in NAMES]))
            broken += float((taken & ~fresh.right).sum() / taken.sum()) > 0.02
        assert broken <= 8

    def test_one_cut_holds_for_all(self) -> None:
        spec = pooled_acceptance_spec(judged(2_000, 1), taxonomy=TAXONOMY, target=0.98)
        assert len(set(spec.by_category.values())) == 1
        assert spec.holdout_n == 2_000

    def test_too_few_to_prove_anything_accept_nothing(self) -> None:
        spec = pooled_acceptance_spec(judged(200, 1), taxonomy=TAXONOMY, target=0.99)
        assert spec.holdout_accepted == 0
        assert spec.error_upper == 1
        assert set(spec.by_category.values()) == {NEVER}

    def test_one_error_among_the_surest_does_not_end_it(self) -> None:
        sample = judged(2_000, 3)
        surest = int(sample.confidence.argmax())
        right = sample.right.copy()
        right[surest] = False
        spec = pooled_acceptance_spec(
            dataclasses.replace(sample, right=right), taxonomy=TAXONOMY, target=0.99
        )
        assert spec.holdout_accepted > 450
