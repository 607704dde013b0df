"""What a worker has in hand."""

from __future__ import annotations

import threading

from tagging.database.batches import Lease
from tagging.in_hand import InHand


def lease(number: int) -> Lease:
    return Lease(batch_id=number, token=str(number), retailer_id=1, model_id=1, alone=False)


def test_a_lease_beats_while_its_work_makes_steps() -> None:
    now = [0.0]
    hand = InHand(step_s=30.0, monotonic=lambda: now[0])
    with hand.hold(lease(1)) as work:
        now[0] = 29.0
        assert hand.alive() == [lease(1)]
        now[0] = 31.0
        assert hand.alive() == []
        work.step()
        assert hand.alive() == [lease(1)]
    assert hand.leases() == []


def test_while_a_model_is_loaded_no_work_is_stuck() -> None:
    now = [0.0]
    hand = InHand(step_s=30.0, load_s=300.0, monotonic=lambda: now[0])
    with hand.hold(lease(1)):
        with hand.loading():
            now[0] = 299.0
            assert hand.alive() == [lease(1)]
            now[0] = 310.0
            assert hand.alive() == []
            assert hand.stuck(10.0) == [lease(1)]
        assert hand.alive() == [lease(1)]
        now[0] = 340.0
        assert hand.alive() == []
        assert hand.stuck(10.0) == []
        now[0] = 350.0
        assert hand.stuck(10.0) == [lease(1)]
        hand.forgive()
        assert hand.stuck(10.0) == []


def test_abandoned_leases_are_kept_until_they_are_settled() -> None:
    hand = InHand(step_s=1.0)
    hand.abandon(lease(1))
    assert hand.abandoned() == [lease(1)]
    hand.settled(lease(1))
    hand.settled(lease(1))
    assert hand.abandoned() == []


def test_work_that_must_be_alone_waits_for_the_others_and_keeps_them_out() -> None:
    hand = InHand(step_s=1.0)
    order: list[str] = []
    sharing, alone_waits = threading.Event(), threading.Event()

    def share() -> None:
        with hand.room(alone=False):
            sharing.set()
            alone_waits.wait(10)
            order.append("shared")

    def be_alone() -> None:
        sharing.wait(10)
        alone_waits.set()
        with hand.room(alone=True):
            order.append("alone")

    threads = [threading.Thread(target=share), threading.Thread(target=be_alone)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert order == ["shared", "alone"]


def test_what_is_got_ready_without_a_lease_is_watched_too() -> None:
    now = [0.0]
    hand = InHand(step_s=30.0, load_s=300.0, monotonic=lambda: now[0])
    with hand.unleased(loads=False):
        assert hand.busy
        now[0] = 39.0
        assert not hand.overdue(10.0)
        now[0] = 40.0
        assert hand.overdue(10.0)
    assert not hand.busy
    assert not hand.overdue(0.0)
    with hand.unleased(loads=True):
        now[0] = 349.0
        assert not hand.overdue(10.0)
        now[0] = 350.0
        assert hand.overdue(10.0)
        hand.forgive()  # this process was stopped meanwhile
        assert not hand.overdue(10.0)
        now[0] = 390.0
        assert hand.overdue(10.0)
