"""When a worker counts as stuck or deaf."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any, cast

import pytest

from tagging.database.batches import Lease
from tagging.in_hand import InHand
from tests.unit.test_in_hand import lease
from worker.watchdog import STUCK_CODE, Ear, Rounds, Watchdog


def test_a_loop_that_does_not_come_round_is_overdue() -> None:
    now = [0.0]
    rounds = Rounds(monotonic=lambda: now[0])
    rounds.mark("beat")
    now[0] = 5.0
    rounds.mark("sweep")
    now[0] = 40.0
    assert rounds.overdue(40.0) == ["beat"]
    rounds.mark("beat")
    assert rounds.overdue(40.0) == []
    now[0] = 100.0
    rounds.forgive()
    assert rounds.overdue(40.0) == []


def test_who_hears_nothing_while_messages_wait_is_deaf() -> None:
    now = [0.0]
    hand = InHand(step_s=30.0)
    ear = Ear(in_hand=hand, patience_s=40.0, monotonic=lambda: now[0])
    assert not ear.deaf(3)
    now[0] = 39.0
    assert not ear.deaf(3)
    now[0] = 41.0
    assert ear.deaf(3)


def test_whatever_may_explain_the_silence_is_no_deafness() -> None:
    now = [0.0]
    hand = InHand(step_s=30.0)
    ear = Ear(in_hand=hand, patience_s=40.0, monotonic=lambda: now[0])

    def later(depth: int | None) -> bool:
        now[0] += 39.0
        return ear.deaf(depth)

    assert not ear.deaf(3)
    assert not later(0)  # nothing waits
    assert not later(3)
    assert not later(None)  # the broker is away
    assert not later(3)
    hand.deliver()
    assert not later(3)  # something came
    with hand.hold(lease(1)):
        assert not later(3)  # hands full
    assert not later(3)
    with hand.unleased(loads=True):
        assert not later(3)  # a model is loaded, which may take long
    assert not later(3)
    now[0] += 1.0
    assert later(3)


def test_a_model_that_hangs_while_it_is_loaded_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no lease that would tell of it."""
    ended = threading.Event()
    died: list[dict[str, object]] = []

    def die(_: Watchdog, *, but: list[Lease], **said: object) -> None:
        died.append(said | {"but": but})
        ended.set()

    monkeypatch.setattr(Watchdog, "die", die)
    hand = InHand(step_s=0.01, load_s=0.05)
    dog = Watchdog(
        database=cast("Any", None),
        in_hand=hand,
        rounds=Rounds(),
        every_s=0.01,
        stuck_s=0.01,
        stale_s=0.05,
    )
    with hand.unleased(loads=True):
        thread = threading.Thread(target=dog.watch, args=(ended,))
        thread.start()
        thread.join(10)
    ended.set()
    thread.join()
    assert died[0]["unleased"]
    assert died[0]["but"] == []


def ended(code: str) -> tuple[int, str]:
    """Exit code and standard error of a process that runs this."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr


def test_a_worker_whose_log_takes_nothing_ends_all_the_same() -> None:
    """Whoever hangs may hang in the middle of a log line, and hold its lock."""
    code = (
        "import threading, worker.watchdog as w\n"
        "class Log:\n    def error(self, *_, **__): threading.Event().wait()\n"
        "w.log = Log()\n"
        "dog = w.Watchdog(database=None, in_hand=None, rounds=None, every_s=1, stuck_s=1, "
        "stale_s=1)\n"
        "dog.die()"
    )
    assert ended(code)[0] == STUCK_CODE


def test_a_start_that_hangs_ends_as_stuck_with_its_stacks() -> None:
    """By a verdict of its own no other worker would be started."""
    code = (
        "import threading; from worker.watchdog import StartClock\n"
        "clock = StartClock(0.2)\n"
        "clock.begin(); clock.begin()\n"
        "def hang_for_ever(): threading.Event().wait()\n"
        "hang_for_ever()"
    )
    status, said = ended(code)
    assert status == STUCK_CODE
    assert "hang_for_ever" in said


def test_a_start_that_is_over_ends_nobody() -> None:
    code = (
        "import time; from worker.watchdog import StartClock\n"
        "clock = StartClock(0.2)\n"
        "clock.begin(); clock.end(); time.sleep(0.6)"
    )
    assert ended(code) == (0, "")
