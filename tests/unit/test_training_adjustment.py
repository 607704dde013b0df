"""The linear adjustment of a model's answers to one shop, and how it is measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from model_training.adjustment import FEWEST, FOLDS, cross_fit, fit, folds_of
from model_training.splits import Group
from tagging.domain import softmax_log_probs
from tagging.errors import TrainingDataError

Floats = npt.NDArray[np.float64]
CATEGORIES = 4


def alone(n: int) -> list[Group]:
    """Every photo a group of its own."""
    return [Group(members=[i], key=bytes([i % 251, i // 251, 7])) for i in range(n)]


def answers(n: int, seed: int = 0) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """A model that calls 0 what this shop calls 1, and the reverse; features say nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CATEGORIES, n)
    said = np.array([1, 0, 2, 3])[labels]
    logits = rng.normal(0, 1, (n, CATEGORIES))
    logits[np.arange(n), said] += 4
    log_probs = softmax_log_probs(logits, 1.0)
    return log_probs, np.c_[log_probs, rng.normal(0, 1, (n, 6))], labels


def test_another_shops_names_are_learned() -> None:
    log_probs, inputs, labels = answers(600)
    assert (log_probs.argmax(axis=1) == labels).mean() < 0.6
    found = cross_fit(log_probs, inputs, labels, alone(600))
    assert (found.logits.argmax(axis=1) == labels).mean() > 0.9
    fresh_probs, fresh_inputs, fresh_labels = answers(600, seed=1)
    adjusted = found.adjustment.apply(fresh_probs, fresh_inputs)
    assert (adjusted.argmax(axis=1) == fresh_labels).mean() > 0.9


def test_the_scale_of_a_feature_does_not_matter() -> None:
    log_probs, inputs, labels = answers(300)
    one = fit(log_probs, inputs, labels, penalty=3.0)
    scaled = inputs * np.r_[np.ones(CATEGORIES), 7 * np.ones(6)] + 5
    other = fit(log_probs, scaled, labels, penalty=3.0)
    np.testing.assert_allclose(
        one.apply(log_probs, inputs), other.apply(log_probs, scaled), atol=0.02
    )


def test_what_hardly_ever_fires_here_does_not_decide_elsewhere() -> None:
    log_probs, inputs, labels = answers(600)
    rare = np.zeros((600, 1))
    rare[0] = 1e-3  # one photo, by chance of category labels[0]
    found = fit(log_probs, np.c_[inputs, rare], labels, penalty=0.3)
    fires = np.c_[inputs[:50], np.ones((50, 1))]
    silent = np.c_[inputs[:50], np.zeros((50, 1))]
    moved = found.apply(log_probs[:50], fires) - found.apply(log_probs[:50], silent)
    assert np.abs(moved).max() < 1


def test_without_evidence_the_answers_stay() -> None:
    log_probs, inputs, labels = answers(300)
    held = fit(log_probs, inputs, labels, penalty=1e9)
    assert np.abs(held.kernel).max() < 1e-3
    # A bias is all but free: this shop may have more of one thing than the model expects.
    free = fit(log_probs, inputs, labels, penalty=1.0)
    assert np.abs(free.kernel).max() > 0.05


def test_cross_fitted_answers_know_nothing_of_their_own_label() -> None:
    """Labels that nothing explains: as many inputs as photos fit them, and still guess."""
    rng = np.random.default_rng(0)
    n = FEWEST
    log_probs = softmax_log_probs(rng.normal(0, 0.1, (n, CATEGORIES)), 1.0)
    inputs = rng.normal(0, 1, (n, n))
    labels = rng.integers(0, CATEGORIES, n)
    found = cross_fit(log_probs, inputs, labels, alone(n))
    fitted = fit(log_probs, inputs, labels, penalty=min(found.tried))
    assert (fitted.apply(log_probs, inputs).argmax(axis=1) == labels).mean() > 0.95
    assert (found.logits.argmax(axis=1) == labels).mean() < 0.4  # by chance: 0.25
    assert found.penalty == max(found.tried)


def test_what_belongs_together_is_left_out_together() -> None:
    groups = [Group(members=[2 * i, 2 * i + 1], key=bytes([i * 37 % 256])) for i in range(100)]
    fold = folds_of(groups, 200)
    assert (fold[::2] == fold[1::2]).all()
    assert np.bincount(fold).tolist() == [200 // FOLDS] * FOLDS


def test_a_category_that_the_shop_does_not_have_stays_finite() -> None:
    log_probs, inputs, labels = answers(400)
    mine = labels != 3
    found = fit(log_probs[mine], inputs[mine], labels[mine], penalty=1.0)
    assert np.isfinite(found.bias).all()
    assert np.abs(found.bias).max() < 6


@pytest.mark.parametrize("n", [FEWEST - 1, FEWEST])
def test_too_little_is_refused(n: int) -> None:
    log_probs, inputs, labels = answers(n)
    if n == FEWEST:
        labels[:] = 2
    with pytest.raises(TrainingDataError, match=r"at least 200 products of two or more"):
        cross_fit(log_probs, inputs, labels, alone(n))
