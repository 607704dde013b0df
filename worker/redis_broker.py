"""Kombu's Redis transport with the wire protocol said aloud.

redis-py chooses RESP3 or RESP2 by its own release; a URL cannot say which (Kombu refuses unknown
query parameters), so it is said here. RESP2 is what every Redis and its managed imitations speak.
"""

from __future__ import annotations

from typing import Any, Final

from kombu.transport import redis as kombu_redis

TRANSPORT: Final = "worker.redis_broker:Transport"


class Channel(kombu_redis.Channel):
    def _connparams(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._connparams(*args, **kwargs)
        return {**parameters, "protocol": 2}


class Transport(kombu_redis.Transport):
    """See the module's text."""

    Channel = Channel
