"""Kombu's Redis transport with the wire protocol said aloud, and a clock that may be set back.

redis-py chooses RESP3 or RESP2 by its own release; a URL cannot say which (Kombu refuses unknown
query parameters), so it is said here. RESP2 is what every Redis and its managed imitations speak.
"""

from __future__ import annotations

import time
from typing import Any, Final

from kombu.transport import redis as kombu_redis

TRANSPORT: Final = "worker.redis_broker:Transport"
AHEAD_S: Final = 60.0
"""By how much the clocks of two workers may differ."""


class QoS(kombu_redis.QoS):
    """Kombu's, which also lets go of what was taken before the clock was set back."""

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
