"""The doorbell on either broker: what is announced waits, and what was lost can be told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import Connection
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from tagging.settings import Settings
from worker.app import QUEUE
from worker.doorbell import BrokerDoorbell
from worker.redis_broker import AHEAD_S, Channel

# Kombu's models use a loading strategy that SQLAlchemy 2.1 calls legacy.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(params=["file", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    return Settings(home=tmp_path, broker_url=None if url is None else SecretStr(url), stuck_s=14)


@pytest.fixture
def doorbell(settings: Settings) -> Iterator[BrokerDoorbell]:
    found = BrokerDoorbell(settings)
    yield found
    found.app.close()


def wipe(settings: Settings) -> None:
    if settings.broker_url is None:
        settings.broker_file().unlink()
    else:
        with redis.Redis.from_url(settings.broker_url.get_secret_value()) as client:
            client.flushall()


def test_an_empty_queue_is_a_queue(doorbell: BrokerDoorbell) -> None:
    assert doorbell.depth() == 0


def test_what_was_announced_waits(doorbell: BrokerDoorbell) -> None:
    doorbell.announce([1, 2, 3])
    assert doorbell.depth() == 3


def test_a_broker_that_was_wiped_is_told_everything_anew(
    doorbell: BrokerDoorbell, settings: Settings
) -> None:
    doorbell.announce([1, 2, 3])
    wipe(settings)
    seen = [doorbell.depth() for _ in range(3)]  # the first may notice only that it is gone
    assert seen[-1] == 0
    doorbell.announce([1, 2])
    assert doorbell.depth() == 2


def test_what_was_taken_before_the_clock_was_set_back_is_let_go(redis_url: str) -> None:
    """Kombu remembers by the clock when a message was taken; this one says: in an hour."""
    settings = Settings(broker_url=SecretStr(redis_url), stuck_s=14)
    doorbell = BrokerDoorbell(settings)
    doorbell.announce([1])
    with (
        Connection(redis_url, transport=doorbell.app.conf.broker_transport) as connection,
        redis.Redis.from_url(redis_url) as client,
    ):
        channel = connection.channel()
        assert isinstance(channel, Channel)
        channel.basic_get(QUEUE)
        (tag,) = client.zrange("unacked_index", 0, -1)
        client.zadd("unacked_index", {tag: time.time() + 3600})
        channel.qos.restore_visible(interval=1)
        assert client.zscore("unacked_index", tag) <= time.time() + AHEAD_S
    doorbell.app.close()


def test_what_a_worker_that_died_had_taken_comes_back_and_leaves_no_key(redis_url: str) -> None:
    """Unacknowledged, it stays in two keys of Kombu's, until its time is up."""
    settings = Settings(broker_url=SecretStr(redis_url), stuck_s=14)
    doorbell = BrokerDoorbell(settings)
    doorbell.announce([1, 2])
    with redis.Redis.from_url(redis_url) as client:
        before = set(client.keys())
        with (
            Connection(redis_url, transport=doorbell.app.conf.broker_transport) as dead,
            doorbell.app.connection() as living,
        ):
            channel = dead.channel()
            channel.basic_get(QUEUE)
            assert set(client.keys()) == before | {b"unacked", b"unacked_index"}
            (tag,) = client.zrange("unacked_index", 0, -1)
            client.zadd("unacked_index", {tag: time.time() - 2 * settings.stuck_s})
            living.channel().qos.restore_visible(interval=1)
            assert set(client.keys()) == before
            assert doorbell.depth() == 2
            channel.qos._delivered.clear()  # the dead give nothing back
    doorbell.app.close()


@pytest.mark.parametrize("how", ["ack", "reject"])
def test_who_cannot_acknowledge_goes_on_to_hear(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its hands were full when the server went; what it has done must not fill them for ever."""
    doorbell = BrokerDoorbell(Settings(broker_url=SecretStr(redis_url), stuck_s=14))
    doorbell.announce([1, 2, 3])
    with Connection(redis_url, transport=doorbell.app.conf.broker_transport) as connection:
        channel = connection.channel()
        channel.basic_qos(0, 2, False)
        messages = [channel.basic_get(QUEUE) for _ in range(2)]
        assert not channel.qos.can_consume()
        with monkeypatch.context() as away:
            away.setattr(channel, "_create_client", client_of_nobody)
            for message in messages:
                with pytest.raises(redis.ConnectionError):
                    getattr(message, how)()
        assert channel.qos.can_consume()
        third = channel.basic_get(QUEUE)
        assert third is not None
        third.ack()
        # The two are forgotten here and come again from there.
        assert channel.qos._delivered.keys() - channel.qos._dirty == set()
        with redis.Redis.from_url(redis_url) as client:
            assert client.zcard("unacked_index") == 2
    doorbell.app.close()


def client_of_nobody() -> redis.Redis:
    """Of a server that is away."""
    return redis.Redis(host="127.0.0.1", port=1, protocol=2, retry=Retry(NoBackoff(), 0))


def test_who_dies_while_it_gives_back_holds_up_nobody_for_long(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves a lock: until that is gone, nobody gives anything back."""
    doorbell = BrokerDoorbell(Settings(broker_url=SecretStr(redis_url), stuck_s=14))
    doorbell.announce([1])
    left_s: list[float] = []
    with (
        Connection(redis_url, transport=doorbell.app.conf.broker_transport) as dead,
        doorbell.app.connection() as living,
        redis.Redis.from_url(redis_url) as client,
    ):
        channel = dead.channel()
        channel.basic_get(QUEUE)
        (tag,) = client.zrange("unacked_index", 0, -1)
        client.zadd("unacked_index", {tag: time.time() - 60})
        looks = living.channel().qos
        monkeypatch.setattr(
            looks, "restore_by_tag", lambda *_: left_s.append(client.pttl("unacked_mutex") / 1000)
        )
        looks.restore_visible(interval=1)
        channel.qos._delivered.clear()
    doorbell.app.close()
    assert 0 < left_s[0] <= 10
