"""Kombu's Redis transport with the wire protocol said aloud, a clock that may be set back, and a
server that may be away when work is done.

redis-py chooses RESP3 or RESP2 by its own release; a URL cannot say which (Kombu refuses unknown
query parameters), so it is said here. RESP2 is what every Redis and its managed imitations speak.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kombu.transport import redis as kombu_redis

TRANSPORT: Final = "worker.redis_broker:Transport"
AHEAD_S: Final = 60.0
"""By how much the clocks of two workers may differ."""


class QoS(kombu_redis.QoS):
    """Kombu's, which also lets go of what was taken before the clock was set back, and of what is
    done while the server is away.

    Kombu's counts a message as in hand for as long as it cannot be acknowledged. A worker that had
    its hands full when the server went, so that it waited for no message and saw no connection
    break, took none from then on and never looked for the server either. Letting go is safe: a
    message that stands there unacknowledged comes again after its time-out, and rings for a batch
    that is done.
    """

    def ack(self, delivery_tag: str) -> None:
        with self._let_go_if_it_fails(delivery_tag):
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        with self._let_go_if_it_fails(delivery_tag):
            super().reject(delivery_tag, requeue)

    @contextmanager
    def _let_go_if_it_fails(self, delivery_tag: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._quick_ack(delivery_tag)
            raise

    def restore_visible(self, *args: Any, **kwargs: Any) -> Any:
        with self.channel.conn_or_acquire() as client:
            now = time.time()
            ahead = client.zrange(
                self.unacked_index_key, now + AHEAD_S, "+inf", byscore=True, offset=0, num=100
            )
            if ahead:
                # As if taken just now: still long before anything would look forgotten.
                client.zadd(self.unacked_index_key, dict.fromkeys(ahead, now), xx=True)
        return super().restore_visible(*args, **kwargs)


class Channel(kombu_redis.Channel):
    QoS = QoS

    def _connparams(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._connparams(*args, **kwargs)
        return {**parameters, "protocol": 2}


class Transport(kombu_redis.Transport):
    """See the module's text."""

    Channel = Channel
