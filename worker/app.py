"""The Celery application: what is on it, and why it is set so.

A message is a doorbell: it carries a batch's id, and losing or doubling it loses or doubles
nothing. So: no result backend, no remote control, no events, JSON only, late acks, one message
in reserve per batch in flight.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery
from kombu import Connection, Queue

from tagging.settings import Settings
from worker import embedded_broker, redis_broker

QUEUE: Final = "atelier.batches"


class SoonConnection(Connection):  # type: ignore[misc]  # Kombu has no types
    """Kombu's, which asks for a server that is away every five seconds at least, not thirty."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        soon = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 5.0}
        return super().ensure_connection(*args, **{**soon, **kwargs})


def create_app(settings: Settings) -> Celery:
    """A Celery application for these settings. Nothing is connected yet."""
    embedded_broker.register()
    url = settings.resolved_broker_url()
    # A publish is tried three times; all of them must end before its thread counts as stuck.
    socket_s = max(2.0, min(10.0, settings.step_s / 4))
    app = Celery("atelier", broker=url, set_as_current=False)
    app.amqp.Connection = SoonConnection
    if _is_redis(url):
        app.conf.broker_transport = redis_broker.TRANSPORT
    app.conf.update(
        task_default_queue=QUEUE,
        # Classic queues do: the database is the record, the message need not outlive the broker.
        task_queues=[Queue(QUEUE, durable=True)],
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # A lost connection must not cancel work in hand: its lease still stands.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=socket_s,
        broker_transport_options=_transport_options(url, socket_s, settings.stuck_s),
        task_publish_retry=True,
        task_publish_retry_policy={
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
    )
    return app


def _is_redis(url: str) -> bool:
    return url.startswith(("redis://", "rediss://"))


def _transport_options(url: str, socket_s: float, stuck_s: float) -> dict[str, Any]:
    if not _is_redis(url):
        return {}
    return {
        "socket_timeout": socket_s,
        "socket_connect_timeout": socket_s,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # A worker that died leaves its message unacknowledged. The sweeper rings before this; the
        # time-out cleans Redis up, and a message that comes twice does no harm.
        "visibility_timeout": max(5, round(stuck_s)),
        # Who is killed while it looks leaves Kombu's lock, for five minutes unless told otherwise.
        # A look takes milliseconds, and two at once do no harm.
        "unacked_mutex_expire": 10,
        "unacked_restore_throttle": 1,  # look every ten seconds, not every hundred
    }
