"""The audit sample and the switch."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from tagging.autopilot import in_audit_sample, next_state
from tagging.domain import Autopilot
from tagging.evidence import ALARM_RUN, Evidence, weigh

KEY = bytes(range(32))
TARGET = 0.99


def sampled(sku: str, share: float, **other: object) -> bool:
    named = {"key": KEY, "retailer_id": 1, "image_set": "a" * 64, "model": "m" * 64, **other}
    return in_audit_sample(sku=sku, share=share, **named)  # type: ignore[arg-type]


def test_the_sample_is_a_uniform_share_and_the_same_for_everybody_who_asks() -> None:
    skus = [f"sku-{i}" for i in range(20_000)]
    chosen = {sku for sku in skus if sampled(sku, 0.05)}
    assert chosen == {sku for sku in skus if sampled(sku, 0.05)}
    assert abs(len(chosen) / len(skus) - 0.05) < 0.006  # four standard deviations


def test_a_larger_share_contains_a_smaller_one() -> None:
    skus = [f"sku-{i}" for i in range(2_000)]
    shares = (0.0, 0.01, 0.05, 0.3, 1.0)
    samples = [{sku for sku in skus if sampled(sku, share)} for share in shares]
    assert all(small < large for small, large in pairwise(samples))
    assert (len(samples[0]), len(samples[-1])) == (0, len(skus))


@pytest.mark.parametrize(
    "other", [{"key": bytes(32)}, {"retailer_id": 2}, {"image_set": "b" * 64}, {"model": "n" * 64}]
)
def test_another_key_retailer_photo_or_model_draws_another_sample(other: dict[str, object]) -> None:
    skus = [f"sku-{i}" for i in range(1_000)]
    both = [(sampled(sku, 0.5), sampled(sku, 0.5, **other)) for sku in skus]
    agree = sum(one is two for one, two in both)
    assert 400 < agree < 600  # as two coins


def test_the_sample_of_a_key_is_the_same_in_every_release() -> None:
    chosen = [i for i in range(200) if sampled(f"sku-{i}", 0.05)]
    assert chosen == [7, 32, 34, 38, 60, 74, 105, 182]


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        sampled("a", share)


def evidence(*, lower: float, upper: float, alarm: bool = False) -> Evidence:
    log = math.log(ALARM_RUN)
    return Evidence(
        verdicts=900, errors=3, lower=lower, upper=upper, log_drift=log if alarm else log - 1
    )


UNDER, BETWEEN, OVER = (0.001, 0.009), (0.001, 0.02), (0.02, 0.05)


@pytest.mark.parametrize(
    ("current", "bounds", "alarm", "expected"),
    [
        (Autopilot.PROVISIONAL, UNDER, False, Autopilot.CERTIFIED),
        (Autopilot.PROVISIONAL, BETWEEN, False, Autopilot.PROVISIONAL),
        (Autopilot.PROVISIONAL, OVER, False, Autopilot.OFF),
        (Autopilot.PROVISIONAL, UNDER, True, Autopilot.OFF),
        (Autopilot.CERTIFIED, UNDER, False, Autopilot.CERTIFIED),
        (Autopilot.CERTIFIED, BETWEEN, False, Autopilot.PROVISIONAL),
        (Autopilot.CERTIFIED, OVER, False, Autopilot.OFF),
        (Autopilot.CERTIFIED, UNDER, True, Autopilot.OFF),
        (Autopilot.OFF, UNDER, False, Autopilot.OFF),
        (Autopilot.OFF, BETWEEN, False, Autopilot.OFF),
        (Autopilot.OFF, OVER, True, Autopilot.OFF),
    ],
)
def test_the_switch(
    current: Autopilot, bounds: tuple[float, float], alarm: bool, expected: Autopilot
) -> None:
    found = next_state(current, evidence(lower=bounds[0], upper=bounds[1], alarm=alarm), TARGET)
    assert found.state is expected
    assert (
        "person" in found.reason if current is Autopilot.OFF else "3 wrong of 900" in found.reason
    )


def test_at_exactly_the_error_allowed_it_is_certified_and_not_off() -> None:
    allowed = 1 - TARGET
    found = next_state(Autopilot.PROVISIONAL, evidence(lower=allowed, upper=allowed), TARGET)
    assert found.state is Autopilot.CERTIFIED


def test_without_a_verdict_nothing_is_certified_or_stopped() -> None:
    nothing = weigh(np.zeros(0, np.bool_), TARGET)
    assert next_state(Autopilot.PROVISIONAL, nothing, TARGET).state is Autopilot.PROVISIONAL


def test_verdicts_certify_lapse_certify_again_and_switch_off_for_good() -> None:
    wrong = np.zeros(720, np.bool_)
    wrong[400] = wrong[700:710] = True
    state, moves = Autopilot.PROVISIONAL, []
    for n in range(1, len(wrong) + 1):
        found = next_state(state, weigh(wrong[:n], TARGET), TARGET).state
        if found is not state:
            moves.append((n, found))
        state = found
    assert moves == [
        (357, Autopilot.CERTIFIED),
        (401, Autopilot.PROVISIONAL),
        (626, Autopilot.CERTIFIED),
        (701, Autopilot.PROVISIONAL),
        (704, Autopilot.OFF),
    ]
