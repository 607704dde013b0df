"""A worker that starts brings its database up to date, however long that takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagging.settings import Settings
from worker import run
from worker.watchdog import StartClock


def test_a_long_migration_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is over before the clock runs that ends a worker whose start hangs."""
    happened: list[str] = []

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    monkeypatch.setattr(StartClock, "begin", lambda _: happened.append("clock"))
    monkeypatch.setattr(run, "open_worker", stop)
    monkeypatch.setattr("tagging.database.schema.upgrade", lambda _: happened.append("migration"))
    with pytest.raises(Stop):
        run.run_worker(Settings(home=tmp_path / "home"))
    assert happened == ["migration", "clock"]
