"""The estimate of the accepted error: unbiased, and its bounds hold at every look."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagging.estimate import FEWEST, Tally, estimate, tally, weighted_lower, weighted_upper
from tagging.evidence import LEVEL, lower_bound, upper_bound

TARGET = 0.99
Verdicts = list[tuple[float | None, bool]]


def audit(
    random: np.random.Generator,
    shares: npt.NDArray[np.float64],
    errors: npt.NDArray[np.float64],
) -> Verdicts:
    """Draw the audit of so many accepted tags: (tags,) shares and chances of being wrong."""
    picked = random.random(len(shares)) < shares
    wrong = random.random(len(shares)) < errors
    return list(zip(shares[picked].tolist(), wrong[picked].tolist(), strict=True))


def test_one_share_is_estimated_and_bounded_as_the_switch_does() -> None:
    found = estimate(tally([(0.05, False)] * 497 + [(0.05, True)] * 3), TARGET)
    assert (found.verdicts, found.errors, found.error) == (500, 3, 0.006)
    assert found.lower == lower_bound(500, 3, TARGET)
    assert found.upper == upper_bound(500, 3, TARGET)
    assert (found.weighted, found.stated) == (False, True)


def test_nothing_is_known_of_nothing_and_little_of_few() -> None:
    nothing = estimate([], TARGET)
    assert (nothing.verdicts, nothing.error, nothing.lower, nothing.upper) == (0, None, 0.0, 1.0)
    assert not estimate(tally([(0.05, False)] * (FEWEST - 1)), TARGET).stated
    assert estimate(tally([(0.05, False)] * FEWEST), TARGET).upper > 0.03


def test_tags_that_were_looked_at_more_often_count_less() -> None:
    # 1,000 tags, all audited, 10 wrong; 1,000 tags, a tenth audited, 3 of 100 wrong.
    found = estimate(
        [Tally(share=0.1, verdicts=100, errors=3), Tally(share=1.0, verdicts=1000, errors=10)],
        TARGET,
    )
    assert found.error == pytest.approx((10 + 30) / 2000)
    assert found.weighted
    assert found.lower < found.error < found.upper


def test_a_share_that_is_not_known_counts_as_the_smallest_that_is() -> None:
    found = tally([(None, True), (0.5, False), (0.1, False), (0.1, True)])
    assert found == [
        Tally(share=0.1, verdicts=3, errors=2),
        Tally(share=0.5, verdicts=1, errors=0),
    ]
    assert tally([(None, True), (None, False)]) == [Tally(share=1.0, verdicts=2, errors=1)]


@pytest.mark.parametrize(
    "senseless",
    [
        Tally(share=0.0, verdicts=1, errors=0),
        Tally(share=1.1, verdicts=1, errors=0),
        Tally(share=0.5, verdicts=1, errors=2),
    ],
)
def test_what_no_audit_brings_is_refused(senseless: Tally) -> None:
    with pytest.raises(ValueError, match="no audit brings"):
        estimate([senseless], TARGET)


def test_the_estimate_is_unbiased_though_the_share_changes_with_the_error() -> None:
    """The share is raised when the catalogue turns bad: counting all alike would mislead."""
    random = np.random.default_rng(20_260_102)
    shares = np.r_[np.full(8_000, 0.05), np.full(2_000, 0.5)]
    errors = np.r_[np.full(8_000, 0.01), np.full(2_000, 0.06)]
    found, alike = [], []
    for _ in range(400):
        seen = audit(random, shares, errors)
        found.append(estimate(tally(seen), TARGET).error or 0.0)
        alike.append(np.mean([wrong for _, wrong in seen]))
    spread = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found) - errors.mean()) < 4 * spread
    assert np.mean(alike) > 2 * errors.mean()


CASES = {
    "raised": (np.r_[np.full(4_000, 0.05), np.full(2_000, 0.5)], np.full(6_000, 0.01)),
    "lowered": (np.r_[np.full(1_000, 1.0), np.full(5_000, 0.1)], np.full(6_000, 0.03)),
    "raised as it turned bad": (
        np.r_[np.full(4_000, 0.1), np.full(2_000, 0.4)],
        np.r_[np.full(4_000, 0.005), np.full(2_000, 0.05)],
    ),
    "every other day": (np.tile([0.5, 0.1], 3_000), np.tile([0.002, 0.04], 3_000)),
}
FOR_LONG = ("raised", "every other day")
"""Left to `make test-heavy`: the two others ask the same of the same code."""


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.heavy if c in FOR_LONG else ()) for c in CASES]
)
def test_the_bounds_hold_at_many_looks(case: str) -> None:
    """Streams of accepted tags, looked at every so often; the truth is the average until then."""
    shares, errors = CASES[case]
    truth = errors.cumsum() / np.arange(1, len(errors) + 1)
    random = np.random.default_rng(20_260_103)
    paths, low, high = 150, 0, 0
    smallest = shares.min()
    for _ in range(paths):
        picked = random.random(len(shares)) < shares
        wrong = random.random(len(shares)) < errors
        missed_low = missed_high = False
        for n in range(250, len(shares) + 1, 250):
            # The smallest share is in it from the start, as between two times that it is lowered.
            tallies = [
                Tally(
                    share=float(share),
                    verdicts=int((picked[:n] & (shares[:n] == share)).sum()),
                    errors=int((picked[:n] & wrong[:n] & (shares[:n] == share)).sum()),
                )
                for share in sorted({float(smallest), *shares[:n].tolist()})
            ]
            tallies = [t for t in tallies if t.verdicts or t.share == smallest]
            if not any(t.verdicts for t in tallies):
                continue
            found = weighted(tallies)
            missed_low |= found[0] > truth[n - 1]
            missed_high |= found[1] < truth[n - 1]
        low += missed_low
        high += missed_high
    allowed = paths * (1 - LEVEL) + 3 * math.sqrt(paths * (1 - LEVEL) * LEVEL)
    assert low <= allowed
    assert high <= allowed


def weighted(tallies: list[Tally]) -> tuple[float, float]:
    weights = [1 / t.share for t in tallies]
    error = sum(w * t.errors for w, t in zip(weights, tallies, strict=True)) / sum(
        w * t.verdicts for w, t in zip(weights, tallies, strict=True)
    )
    return weighted_lower(tallies, error, TARGET), weighted_upper(tallies, error, TARGET)


@given(
    verdicts=st.lists(st.integers(0, 3_000), min_size=1, max_size=4),
    part=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_the_bounds_enclose_the_estimate(verdicts: list[int], part: float) -> None:
    tallies = [
        Tally(share=0.8 / (n + 1), verdicts=count, errors=round(part * count))
        for n, count in enumerate(verdicts)
        if count
    ]
    found = estimate(tallies, TARGET)
    if found.error is not None:
        assert 0 <= found.lower <= found.error + 1e-12
        assert found.error - 1e-12 <= found.upper <= 1


@pytest.mark.parametrize(("verdicts", "errors"), [(200, 0), (400, 2), (2_000, 8), (500, 40)])
def test_with_equal_shares_the_weighted_bounds_are_near_those_of_the_switch(
    verdicts: int, errors: int
) -> None:
    one = [Tally(share=0.05, verdicts=verdicts, errors=errors)]
    low, high = weighted(one)
    assert high == pytest.approx(upper_bound(verdicts, errors, TARGET), rel=0.15)
    assert low == pytest.approx(lower_bound(verdicts, errors, TARGET), rel=0.15, abs=1e-9)
