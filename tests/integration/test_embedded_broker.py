"""The broker file: messages go through, and a damaged or missing file is made anew."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tagging.settings import Settings
from worker import embedded_broker
from worker.app import QUEUE
from worker.doorbell import TASK, BrokerDoorbell
from worker.embedded_broker import Channel, mend

# Kombu's models use a loading strategy that SQLAlchemy 2.1 calls legacy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture
def doorbell(tmp_path: Path) -> Iterator[BrokerDoorbell]:
    found = BrokerDoorbell(Settings(home=tmp_path, database_url=None, broker_url=None))
    yield found
    found.app.close()


def taken(doorbell: BrokerDoorbell) -> list[int]:
    """Take and acknowledge every message, as a worker does."""
    found = []
    with doorbell.app.connection() as connection:
        queue = connection.SimpleQueue(QUEUE)
        while queue.qsize():
            message = queue.get(timeout=5)
            found.append(message.payload[0][0])
            message.ack()
        queue.close()
    return found


def test_messages_carry_only_ids_and_leave_nothing_behind(
    doorbell: BrokerDoorbell, tmp_path: Path
) -> None:
    doorbell.announce([3, 5])
    assert doorbell.depth() == 2
    connection = sqlite3.connect(tmp_path / "broker.db")
    (payload,) = connection.execute("SELECT payload FROM kombu_message LIMIT 1").fetchone()
    assert TASK in payload
    assert taken(doorbell) == [3, 5]
    assert connection.execute("SELECT count(*) FROM kombu_message").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "gone"])
def test_a_damaged_file_is_replaced_and_work_goes_on(
    doorbell: BrokerDoorbell, tmp_path: Path, damage: str
) -> None:
    doorbell.announce([1])
    file = tmp_path / "broker.db"
    if damage == "garbage":
        file.write_bytes(b"\x17" * 9000)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
    for _ in range(3):  # the first may notice the damage, the next find the new file
        doorbell.announce([2])
    assert 2 in taken(doorbell)


def test_a_sound_or_missing_file_is_left_alone(doorbell: BrokerDoorbell, tmp_path: Path) -> None:
    assert not mend(tmp_path / "nothing.db")
    doorbell.announce([1])
    assert not mend(tmp_path / "broker.db")
    assert doorbell.depth() == 1


def test_what_cannot_be_given_back_leaves_no_file(
    doorbell: BrokerDoorbell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stops while the broker's disk is full has messages that it did not finish."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    doorbell.announce([7])
    with doorbell.app.connection() as connection:
        channel = connection.channel()
        assert isinstance(channel, Channel)
        assert channel.basic_get(QUEUE).payload[0] == [7]
        tried = []

        def full(*arguments: object, **_: object) -> None:
            tried.append(arguments)
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(channel, "_put", full)
        channel.close()
        assert len(tried) == 1
        assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("code", "least_s", "most_s"), [(None, 1.0, 1.5), (0, 0.0, 0.5)])
def test_who_waits_for_messages_hears_that_it_is_to_stop(
    doorbell: BrokerDoorbell,
    monkeypatch: pytest.MonkeyPatch,
    code: int | None,
    least_s: float,
    most_s: float,
) -> None:
    slept: list[float] = []  # no time passes but this
    monkeypatch.setattr("kombu.transport.virtual.base.sleep", slept.append)
    monkeypatch.setattr("kombu.transport.virtual.base.monotonic", lambda: sum(slept))
    monkeypatch.setattr(embedded_broker, "time", SimpleNamespace(monotonic=lambda: sum(slept)))
    monkeypatch.setattr("celery.worker.state.should_stop", code)
    with doorbell.app.connection() as connection:
        queue = connection.SimpleQueue(QUEUE)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=1.0)
        assert least_s <= sum(slept) <= most_s
        doorbell.announce([7])
        assert queue.get(timeout=5).payload[0] == [7]
        queue.close()


def test_the_depth_follows_a_file_that_was_replaced(
    doorbell: BrokerDoorbell, tmp_path: Path
) -> None:
    doorbell.announce([1, 2, 3])
    assert doorbell.depth() == 3
    (tmp_path / "broker.db").unlink()
    seen = [doorbell.depth() for _ in range(3)]
    assert seen[-1] == 0
