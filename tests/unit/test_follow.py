"""Who waits for workers that do not run is told so."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from worker import follow


def test_that_nothing_is_done_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("worker.follow.time.monotonic", lambda: now)
    said = io.StringIO()
    still = follow._Still(Console(file=said, width=200))

    def told(done: int, seconds: float) -> bool:
        nonlocal now
        now += seconds
        before = said.getvalue()
        still.look(done)
        return said.getvalue() != before

    assert not told(0, 0)
    assert not told(0, follow.STILL_S - 1)
    assert not told(4, 2)
    assert not told(4, follow.STILL_S - 1)
    assert told(4, 1)
    assert "atelier worker" in said.getvalue()
    assert not told(4, 10 * follow.STILL_S)
    assert not told(5, 1)
    assert told(5, follow.STILL_S)
