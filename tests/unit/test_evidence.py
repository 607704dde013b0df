"""The bounds at every look and the detector of drift: formulas, and how often they mislead."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from tagging.evidence import (
    ALARM_RUN,
    BAD,
    FLAT,
    GOOD,
    LEVEL,
    drift_steps,
    drifts,
    log_drift,
    lower_bound,
    upper_bound,
    verdicts_to_certify,
    weigh,
)
from tests.simulations import autopilot as simulation

TARGET = 0.99
Errors = npt.NDArray[np.float64]


def test_the_bounds_at_their_ends() -> None:
    assert (lower_bound(0, 0, TARGET), upper_bound(0, 0, TARGET)) == (0.0, 1.0)
    assert lower_bound(500, 0, TARGET) == 0.0
    assert upper_bound(7, 7, TARGET) == 1.0


@given(
    verdicts=st.integers(1, 3_000),
    part=st.floats(0, 1),
    target=st.sampled_from([0.5, 0.9, 0.99, 0.999]),
)
@settings(max_examples=60, deadline=None)
def test_an_error_raises_both_bounds_and_a_right_tag_lowers_them(
    verdicts: int, part: float, target: float
) -> None:
    errors = round(part * verdicts)
    low, high = lower_bound(verdicts, errors, target), upper_bound(verdicts, errors, target)
    assert 0 <= low <= errors / verdicts <= high <= 1
    assert lower_bound(verdicts + 1, errors + 1, target) >= low - 1e-9
    assert upper_bound(verdicts + 1, errors + 1, target) >= high - 1e-9
    assert lower_bound(verdicts + 1, errors, target) <= low + 1e-9
    assert upper_bound(verdicts + 1, errors, target) <= high + 1e-9


@pytest.mark.parametrize(("verdicts", "errors"), [(50, 0), (400, 1), (1_000, 10), (300, 60)])
def test_looking_at_every_verdict_costs_width_over_looking_once(verdicts: int, errors: int) -> None:
    once = beta.ppf(LEVEL, errors + 1, verdicts - errors)
    assert once < upper_bound(verdicts, errors, TARGET) < 2 * once
    if errors:
        once = beta.ppf(1 - LEVEL, errors, verdicts - errors + 1)
        assert 0 < lower_bound(verdicts, errors, TARGET) < once


def test_more_confidence_is_a_wider_interval() -> None:
    levels = (0.5, 0.8, 0.95, 0.999)
    lows = [lower_bound(700, 9, TARGET, level=level) for level in levels]
    highs = [upper_bound(700, 9, TARGET, level=level) for level in levels]
    assert lows == sorted(lows, reverse=True)
    assert highs == sorted(highs)
    assert len({*lows, *highs}) == 8


def test_the_bounds_are_where_the_mixture_as_written_reaches_the_limit() -> None:
    verdicts, errors, allowed = 700, 4, 1 - TARGET

    def ratio(theta: float, p: float) -> float:
        return float((theta / p) ** errors * ((1 - theta) / (1 - p)) ** (verdicts - errors))

    high = upper_bound(verdicts, errors, TARGET)
    good = beta(1, 1 / (GOOD * allowed))
    below, _ = quad(
        lambda t: ((1 - FLAT) * good.pdf(t) + FLAT) * ratio(t, high), 0, high, epsrel=1e-9
    )
    assert below == pytest.approx(1 / (1 - LEVEL), rel=1e-6)
    low = lower_bound(verdicts, errors, TARGET)
    bad = beta(1, 1 / (BAD * allowed))
    above, _ = quad(lambda t: bad.pdf(t) * ratio(t, low), low, 0.1, epsrel=1e-9)
    assert above == pytest.approx(1 / (1 - LEVEL), rel=1e-6)


@pytest.mark.parametrize(("verdicts", "errors"), [(3, 4), (3, -1)])
def test_counts_that_make_no_sense_are_refused(verdicts: int, errors: int) -> None:
    for bound in (lower_bound, upper_bound):
        with pytest.raises(ValueError, match="errors"):
            bound(verdicts, errors, TARGET)
        with pytest.raises(ValueError, match="target"):
            bound(3, 1, 1.0)


@pytest.fixture(scope="module")
def table() -> simulation.Limits:
    return simulation.limits(most_errors=120, most_verdicts=4_000)


@pytest.mark.parametrize(
    ("target", "error", "level"),
    [
        (0.99, 0.01, 0.95),
        (0.99, 0.01, 0.8),
        (0.95, 0.05, 0.95),
        (0.998, 0.002, 0.95),
        (0.99, 0.002, 0.95),  # the bounds hold for every error, not only for the one allowed
        (0.99, 0.03, 0.95),
        (0.99, 0.08, 0.95),
    ],
)
def test_the_chance_that_any_look_misleads_is_what_is_promised(
    target: float, error: float, level: float
) -> None:
    """Exactly, over every path: the true error is `error` at each verdict."""
    verdicts = min(3_000, round(60 / error))
    most = round(verdicts * error + 10 * math.sqrt(verdicts * error))
    asked = simulation.limits(most, verdicts, target=target, error=error, level=level)
    up, low = simulation.chances(asked, np.full(verdicts, error))
    assert up <= 1 - level
    assert low <= 1 - level
    # They are bounds that say something: neither is met only by never speaking.
    assert up > (1 - level) / 20
    assert low > (1 - level) / 20


def in_turns(*parts: float) -> Errors:
    return np.repeat(np.array(parts), 4_000 // len(parts))


@pytest.mark.parametrize(
    "errors",
    [
        in_turns(0.02, 0.0),
        in_turns(0.05, 0.0, 0.0, 0.0),
        np.tile([0.1, *[0.0] * 9], 400),
        np.linspace(0.02, 0.0, 4_000),
    ],
)
def test_a_changing_error_whose_average_never_was_below_is_certified_as_seldom(
    table: simulation.Limits, errors: Errors
) -> None:
    average = errors.cumsum() / np.arange(1, len(errors) + 1)
    assert (average > 0.01 - 1e-5).all()
    assert simulation.chances(table, errors)[0] <= 0.05


@pytest.mark.parametrize(
    "errors",
    [
        in_turns(0.0, 0.02),
        in_turns(0.0, 0.0, 0.0, 0.04),
        np.tile([*[0.0] * 9, 0.1], 400),
        np.linspace(0.0, 0.02, 4_000),
    ],
)
def test_a_changing_error_whose_average_never_was_above_is_refuted_as_seldom(
    table: simulation.Limits, errors: Errors
) -> None:
    average = errors.cumsum() / np.arange(1, len(errors) + 1)
    assert (average < 0.01 + 1e-5).all()
    assert simulation.chances(table, errors)[1] <= 0.05


def test_the_exact_chances_are_those_of_drawn_streams(table: simulation.Limits) -> None:
    errors = np.full(4_000, 0.01)
    up, low = simulation.chances(table, errors)
    wrong = simulation.draw(errors, 2_000)
    certified = simulation.certified(wrong, table).any(axis=1).mean()
    refuted = (simulation.refuted_after(wrong, table) != simulation.NEVER).mean()
    for exact, seen in ((up, certified), (low, refuted)):
        assert abs(exact - seen) < 4 * math.sqrt(exact * (1 - exact) / 2_000)


def test_a_good_model_is_certified_soon_and_a_bad_one_stopped_soon(
    table: simulation.Limits,
) -> None:
    assert table.certify[0] == 357
    assert simulation.fixed_limit(0) == 299
    certified = simulation.certified(simulation.draw(np.full(3_000, 0.002), 500), table)
    assert np.median(simulation.first(certified)) <= 700
    bad = simulation.refuted_after(simulation.draw(np.full(3_000, 0.05), 500), table)
    assert np.median(bad) <= 120


@pytest.mark.parametrize(("verdicts", "errors"), [(0, 0), (100, 0), (200, 3), (1_000, 2)])
def test_so_many_more_right_tags_certify_and_one_less_does_not(verdicts: int, errors: int) -> None:
    more = verdicts_to_certify(weigh(np.arange(verdicts) < errors, TARGET), TARGET)
    allowed = 1 - TARGET
    assert upper_bound(verdicts + more, errors, TARGET) <= allowed
    assert more == 0 or upper_bound(verdicts + more - 1, errors, TARGET) > allowed


def test_the_detector_is_the_recursion_of_shiryaev_and_roberts() -> None:
    wrong = np.random.default_rng(3).random(400) < 0.02
    raised = drifts(TARGET)
    if_wrong, if_right = drift_steps(raised, 1 - TARGET)
    detector = np.zeros(len(raised))
    for now in wrong:
        detector = (detector + 1) * np.exp(if_wrong if now else if_right)
    assert log_drift(wrong, TARGET) == pytest.approx(math.log(detector.mean()), rel=1e-9)
    assert log_drift(wrong[:0], TARGET) == -math.inf


@pytest.mark.parametrize("target", [0.5, 0.8, 0.99, 0.999])
def test_the_detector_watches_for_errors_above_the_one_allowed(target: float) -> None:
    raised = drifts(target)
    assert ((raised > 1 - target) & (raised < 1)).all()


def test_an_error_raises_the_detector_the_more_the_later_it_is() -> None:
    right = np.zeros(500, np.bool_)
    found = [log_drift(right, TARGET)]
    for at in (0, 250, 400, 499):
        one = right.copy()
        one[at] = True
        found.append(log_drift(one, TARGET))
    assert found == sorted(found)
    assert len({*found}) == 5


@pytest.mark.parametrize("errors", [np.full(6_000, 0.01), np.tile([0.0, 0.005, 0.01], 2_000)])
def test_without_a_drift_alarms_are_as_seldom_as_promised(errors: Errors) -> None:
    run, paths = 300, 2_000
    (after,) = simulation.alarmed_after(simulation.draw(errors, paths), (run,))
    # Cutting the waits at 6,000 makes their average smaller, never larger.
    assert np.minimum(after, 6_000).mean() > run
    for n in (15, 60, 150):
        chance = n / run
        assert (after <= n).mean() <= chance + 4 * math.sqrt(chance * (1 - chance) / paths)


@pytest.mark.parametrize("target", [0.9, 0.999])
def test_so_they_are_at_other_targets(target: float) -> None:
    run = 300
    paths = simulation.draw(np.full(3_000, 1 - target), 1_000)
    (after,) = simulation.alarmed_after(paths, (run,), target)
    assert np.minimum(after, 3_000).mean() > run


def test_a_drift_is_found_long_before_the_bound_moves() -> None:
    good = np.zeros(5_000, np.bool_)
    good[::200] = True  # 0.5 %
    drifted = np.r_[good, np.arange(400) % 10 == 0]  # then 10 %
    found = weigh(drifted, TARGET)
    assert found.drifting
    assert found.lower < 1 - TARGET
    assert not weigh(good, TARGET).drifting
    assert simulation.alarmed_after(drifted[np.newaxis], (ALARM_RUN,))[0][0] < 5_150
