"""The worker that belongs to a command gets exactly the command's settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tagging.settings import Settings
from worker.embedded import (
    MOST_DEATHS,
    MOST_FAILURES,
    EmbeddedWorker,
    WorkerFailedError,
    environment_of,
    supervise,
    unset_in,
)
from worker.watchdog import STUCK_CODE


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_a_child_reads_the_very_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("ATELIER_")]:
        monkeypatch.delenv(name)
    given = Settings(
        home=tmp_path,
        database_url="postgresql+psycopg://u:p@h/d",
        classify_shapes=(3, 5),
        batch_images=7,
    )
    monkeypatch.setenv("ATELIER_BROKER_URL", "redis://another")
    for name, value in environment_of(given).items():
        monkeypatch.setenv(name, value)
    for name in unset_in(given):
        monkeypatch.delenv(name, raising=False)
    assert Settings() == given


def test_a_relative_data_folder_stays_the_same_folder(tmp_path: Path) -> None:
    relative = Path(os.path.relpath(tmp_path))
    found = environment_of(Settings(home=relative))["ATELIER_HOME"]
    assert Path(found).is_absolute()
    assert Path(found).resolve() == tmp_path.resolve()


@dataclass
class Dying:
    """In the place of a worker's process: each ends at once, with the next of these codes."""

    codes: list[int]
    started: int = 0

    def start(self) -> None:
        self.started += 1

    def code(self) -> int | None:
        return self.codes[self.started - 1]

    def stop(self) -> None:
        pass


def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> EmbeddedWorker:
    process = Dying(codes)
    monkeypatch.setattr("worker.embedded.WorkerProcess", lambda *_, **__: process)
    worker = EmbeddedWorker(Settings(home=tmp_path))
    worker.log_path.write_text("what it said last")
    worker.start()
    return worker


def test_a_worker_is_given_up_when_it_dies_and_nothing_comes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = dying(tmp_path, monkeypatch, [-9] * 20)
    for _ in range(MOST_DEATHS - 1):
        worker.watch(5)
    with pytest.raises(WorkerFailedError, match="what it said last"):
        worker.watch(5)


def test_one_that_says_that_it_cannot_run_is_given_up_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = dying(tmp_path, monkeypatch, [1] * 20)
    for _ in range(MOST_FAILURES - 1):
        worker.watch(5)
    with pytest.raises(WorkerFailedError):
        worker.watch(5)


def test_deaths_that_count_against_batches_are_not_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four pictures that end every worker need fourteen deaths, and nothing is tagged meanwhile."""
    worker = dying(tmp_path, monkeypatch, [-9] * 60)
    for deaths in range(50):
        worker.watch(deaths)


def test_who_supervises_starts_another_for_what_was_killed_or_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Dying([-9, STUCK_CODE, -11, 3])
    monkeypatch.setattr("worker.embedded.WorkerProcess", lambda *_: process)
    assert supervise(Settings(home=tmp_path), pause_s=0) == 3
    assert process.started == 4
