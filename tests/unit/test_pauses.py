"""Pauses between tries."""

from __future__ import annotations

from tagging.pauses import Pauses


def test_a_pause_doubles_up_to_five_minutes_and_a_success_ends_it() -> None:
    now = [0.0]
    pauses = Pauses[str](monotonic=lambda: now[0])
    for pause_s in (5, 10, 20, 40, 80, 160, 300, 300):
        pauses.failed("a")
        now[0] += pause_s - 0.1
        assert pauses.waiting() == {"a"}
        now[0] += 0.1
        assert pauses.waiting() == set()
    pauses.failed("a")
    pauses.failed("b")
    pauses.worked("a")
    assert pauses.waiting() == {"b"}
    pauses.failed("a")
    now[0] += 5
    assert pauses.waiting() == set()
