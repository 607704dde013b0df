"""BrokerDoorbell: tells workers of batches through the broker, and asks how many messages wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from tagging.failpoints import failpoint
from tagging.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

TASK: Final = "atelier.tag_batch"

log = structlog.get_logger("broker")


class BrokerDoorbell:
    """Announces batches and asks how many messages wait. Thread-safe: connections are pooled.

    Celery is imported at the first use: most commands ring nobody, and it takes a quarter of a
    second.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: Celery | None = None
        self._making = threading.Lock()

    @property
    def app(self) -> Celery:
        """The Celery application that it rings with; made at first use, and nothing connected."""
        with self._making:
            if self._made is None:
                from worker.app import create_app

                self._made = create_app(self._settings)
            return self._made

    def announce(self, batch_ids: Sequence[int]) -> None:
        """One message per batch. A broker that is away is logged: the sweeper rings again."""
        if not batch_ids:
            return
        sent = 0
        try:
            with self.app.producer_or_acquire() as producer:
                for batch_id in batch_ids:
                    failpoint("announce.publish")
                    self.app.send_task(TASK, args=[batch_id], producer=producer)
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
            with self.app.connection_or_acquire() as connection:
                declared = self.app.amqp.queues[self.app.conf.task_default_queue]
                queue = declared(connection.default_channel)
                # Not passively: to Kombu, an empty queue on Redis is none at all. And a broker that
                # was wiped has forgotten the binding, which nobody else would tell it again.
                queue.declare()
                return int(queue.queue_declare().message_count)
        except self._errors() as error:
            log.warning("broker_away", error=str(error))
            return None

    def _errors(self) -> tuple[type[Exception], ...]:
        from kombu.exceptions import OperationalError

        with self.app.connection_for_write() as connection:
            return (
                OperationalError,
                OSError,
                *connection.connection_errors,
                *connection.channel_errors,
            )
