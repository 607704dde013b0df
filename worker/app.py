"""The Celery application: what is on it, and why it is set so.

A message is a doorbell: it carries a batch's id, and losing or doubling it loses or doubles
nothing. So: no result backend, no remote control, no events, JSON only, late acks, one message
in reserve per batch in flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog
from celery import Celery
from kombu import Connection, Queue
from kombu.exceptions import OperationalError

from tagging.failpoints import failpoint
from tagging.settings import Settings
from worker import embedded_broker, redis_broker

QUEUE: Final = "atelier.batches"
TASK: Final = "atelier.tag_batch"

log = structlog.get_logger("broker")


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


class BrokerDoorbell:
    """Announces batches and asks how many messages wait. Thread-safe: connections are pooled."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def announce(self, batch_ids: Sequence[int]) -> None:
        """One message per batch. A broker that is away is logged: the sweeper rings again."""
        sent = 0
        try:
            with self._app.producer_or_acquire() as producer:
                for batch_id in batch_ids:
                    failpoint("announce.publish")
                    self._app.send_task(TASK, args=[batch_id], producer=producer, queue=QUEUE)
                    sent += 1
                failpoint("announce.published")
        except self._errors() as error:
            log.warning(
                "broker_away",
                sent=sent,
                of=len(batch_ids),
                error=str(error),
                note="nothing is lost; a running worker announces the rest",
            )

    def depth(self) -> int | None:
        """Messages that wait; None if the broker cannot be asked."""
        try:
            with self._app.connection_or_acquire() as connection:
                queue = self._app.amqp.queues[QUEUE](connection.default_channel)
                # Not passively: to Kombu, an empty queue on Redis is none at all. And a broker that
                # was wiped has forgotten the binding, which nobody else would tell it again.
                queue.declare()
                return int(queue.queue_declare().message_count)
        except self._errors() as error:
            log.warning("broker_away", error=str(error))
            return None

    def _errors(self) -> tuple[type[Exception], ...]:
        with self._app.connection_for_write() as connection:
            return (
                OperationalError,
                OSError,
                *connection.connection_errors,
                *connection.channel_errors,
            )
