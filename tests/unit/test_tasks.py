"""What Celery runs for a message: whatever it hangs in, the watchdog sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from celery import Celery
from kombu import Message

from tagging.in_hand import InHand
from worker import tasks
from worker.doorbell import TASK
from worker.tasks import AcknowledgedRequest, register_tasks


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def hand(now: list[float]) -> InHand:
    return InHand(step_s=20, monotonic=lambda: now[0])


@pytest.fixture
def app(hand: InHand) -> Iterator[Celery]:
    found = Celery("test", broker="memory://", set_as_current=False)
    register_tasks(found, lambda _: None, hand)
    yield found
    found.close()


@contextmanager
def seen(hand: InHand, now: list[float]) -> Iterator[None]:
    """For as long as the block does not end, and not longer, the watchdog gets impatient."""
    assert not hand.overdue(10)
    now[0] += 29
    assert not hand.overdue(10)
    now[0] += 1
    assert hand.overdue(10)
    yield
    now[0] += 1000


def test_a_message_that_is_never_acknowledged_is_seen(
    app: Celery, hand: InHand, now: list[float]
) -> None:
    acknowledged = []

    def acknowledge(*_: object) -> None:
        with seen(hand, now):
            acknowledged.append(True)

    headers, properties, body, _ = app.amqp.as_task_v2("1", TASK, (7,))
    message = Message(
        body=json.dumps(body),
        headers=headers,
        properties=properties,
        content_type="application/json",
        content_encoding="utf-8",
    )
    request = AcknowledgedRequest(message, on_ack=acknowledge, app=app, task=app.tasks[TASK])
    request.acknowledge()
    assert acknowledged
    assert not hand.overdue(10)


def test_a_message_that_nothing_is_begun_for_is_seen(
    app: Celery, hand: InHand, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def hang(name: str) -> None:
        with seen(hand, now):
            begun.append(name)

    monkeypatch.setattr(tasks, "failpoint", hang)
    app.tasks[TASK](7)
    assert begun == ["task.delivered"]
    assert not hand.overdue(10)
