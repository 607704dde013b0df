"""How often it is counted what waits, over real databases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tagging import desk, waiting_counts
from tagging.domain import Verdict
from tagging.waiting_counts import KEPT_S, WaitingCounts
from tests.people import say, tagged
from tests.stand_in import Services

UNSURE = {"p.png": 64, "q.png": 60, "r.png": 56}


@pytest.fixture
def counts(services: Services, tmp_path: Path) -> WaitingCounts:
    tagged(services, tmp_path / "in", UNSURE)
    return WaitingCounts(services.database, monotonic=services.clock.monotonic)


def test_few_are_counted_each_time(services: Services, counts: WaitingCounts) -> None:
    assert counts.of(services.retailer_id)["waiting"] == 3
    say(services, "p", Verdict.CONFIRMED)
    assert counts.of(services.retailer_id)["waiting"] == 2


def test_many_are_counted_again_after_a_while(
    services: Services, counts: WaitingCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_counts, "MANY", 3)
    assert counts.of(services.retailer_id)["waiting"] == 3
    say(services, "p", Verdict.CONFIRMED)  # which takes a second
    assert counts.of(services.retailer_id)["waiting"] == 3
    services.clock.seconds += KEPT_S
    assert counts.of(services.retailer_id)["waiting"] == 2
    say(services, "q", Verdict.CONFIRMED)
    assert counts.of(services.retailer_id)["waiting"] == 1


def test_who_asks_while_it_is_counted_does_not_wait(
    services: Services, counts: WaitingCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_counts, "MANY", 1)
    before = counts.of(services.retailer_id)
    services.clock.seconds += KEPT_S
    counting, go_on = threading.Event(), threading.Event()
    really = desk.counts

    def slowly(*given: Any) -> dict[str, Any]:
        counting.set()
        assert go_on.wait(30)
        return really(*given)

    monkeypatch.setattr(desk, "counts", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(counts.of, services.retailer_id)
        assert counting.wait(30)
        assert counts.of(services.retailer_id) is before
        go_on.set()
        assert first.result(30)["waiting"] == 3
