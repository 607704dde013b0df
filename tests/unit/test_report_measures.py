"""Measures that only the report shows, against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_training.measures import (
    adaptive_calibration_error_by_category,
    calibration_bins,
    expected_calibration_error,
    risk_coverage,
    roc,
)

TENTHS = st.integers(0, 10).map(lambda n: n / 10)
JUDGED = st.lists(st.tuples(TENTHS, st.booleans()), min_size=1, max_size=40)


def test_bins_have_equal_mass_and_give_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1000, 4)) * 3
    labels = rng.integers(0, 4, 1000)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1)
    bins = calibration_bins(confidence, logits.argmax(axis=1) == labels)
    assert len(bins.images) == 15
    assert set(bins.images.tolist()) <= {66, 67}
    assert (np.diff(bins.confidence) > 0).all()
    assert bins.error() == pytest.approx(expected_calibration_error(logits, labels))


def test_few_images_make_fewer_bins_and_none_make_no_error() -> None:
    assert len(calibration_bins(np.array([0.4, 0.6]), np.array([True, False])).images) == 2
    assert calibration_bins(np.zeros(0), np.zeros(0, bool)).error() == 0


def test_the_calibration_of_a_category_looks_at_its_own_probability() -> None:
    # The first category is always given 0.9 and is right half of the time; the other two share
    # the rest, one of them rightly never.
    logits = np.log(np.tile([0.9, 0.05, 0.05], (100, 1)))
    labels = np.array([0, 1] * 50)
    errors = adaptive_calibration_error_by_category(logits, labels, ranges=1)
    assert errors == pytest.approx([0.4, 0.45, 0.05])


@given(JUDGED)
def test_the_risk_coverage_curve_is_what_each_threshold_would_accept(
    judged: list[tuple[float, bool]],
) -> None:
    confidence = np.array([c for c, _ in judged])
    right = np.array([r for _, r in judged])
    curve = risk_coverage(confidence, right)
    thresholds = sorted(set(confidence.tolist()), reverse=True)
    risks = {t: float((~right[confidence >= t]).mean()) for t in thresholds}
    assert curve.coverage == pytest.approx([float((confidence >= t).mean()) for t in thresholds])
    assert curve.risk == pytest.approx(list(risks.values()))
    assert curve.area == pytest.approx(np.mean([risks[c] for c in confidence.tolist()]))


@given(st.lists(TENTHS, min_size=1, max_size=20), st.lists(TENTHS, min_size=1, max_size=20))
def test_the_roc_area_is_the_chance_that_the_foreign_one_is_stranger(
    belonging: list[float], foreign: list[float]
) -> None:
    curve = roc(np.array(belonging), np.array(foreign))
    wins = [(f > b) + (f == b) / 2 for f in foreign for b in belonging]
    assert curve.area == pytest.approx(np.mean(wins))
    assert (curve.false_alarms[0], curve.caught[0]) == (0, 0)
    assert (curve.false_alarms[-1], curve.caught[-1]) == (1, 1)


def test_a_roc_of_one_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="got 2 that belong and 0 foreign"):
        roc(np.ones(2), np.zeros(0))
