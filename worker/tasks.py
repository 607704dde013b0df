"""The Celery tasks; each is a few lines that call one service."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from celery import Celery
from celery.worker.request import Request
from sqlalchemy.exc import DBAPIError

from tagging.errors import AtelierError
from tagging.failpoints import failpoint
from tagging.in_hand import InHand
from tagging.tag import BatchReport
from worker.doorbell import TASK

log = structlog.get_logger("worker")


class AcknowledgedRequest(Request):  # type: ignore[misc]  # Celery has no types
    """Celery's own, which the watchdog sees while the acknowledgement is handed over.

    The work is done then and its lease gone, but a thread that does not come back is lost: others
    of this worker may go on, and it would be short of one for good. It is Celery's main thread that
    sends the acknowledgement; one that hangs there hears nothing more (`worker.watchdog.Ear`).
    """

    def acknowledge(self) -> None:
        with self.task.in_hand.unleased(loads=False):
            failpoint("task.acknowledge")
            super().acknowledge()
            failpoint("task.acknowledged")


def register_tasks(
    app: Celery, tag_batch: Callable[[int], BatchReport | None], in_hand: InHand
) -> None:
    """Put the tasks on `app`. `tag_batch` is `Tagger.tag_batch`."""

    def task(batch_id: int) -> None:
        with in_hand.unleased(loads=False):
            failpoint("task.delivered")
        try:
            report = tag_batch(batch_id)
        except AtelierError as error:
            # Given back with its reason; the sweeper announces it again.
            log.error("batch_given_back", batch=batch_id, error=str(error))
        except DBAPIError as error:
            # The database is away: the lease, if there is one, falls silent and is taken back.
            log.error("database_away", batch=batch_id, error=str(error.orig))
        except Exception:
            # Given back as well: an error of ours must not look like a crash of the picture.
            log.exception("batch_given_back", batch=batch_id)
        else:
            if report is None:
                log.info("batch_not_ours", batch=batch_id)
            else:
                log.info(
                    "batch",
                    id=report.batch_id,
                    products=report.products,
                    images=report.images,
                    failed=report.failed,
                    left=report.left,
                    decode_s=round(report.decode_s, 3),
                    classify_s=round(report.classify_s, 3),
                    write_s=round(report.write_s, 3),
                    images_per_s=round(report.images_per_s, 1),
                )

    app.task(
        name=TASK,
        shared=False,  # with other applications of this process
        acks_late=True,
        ignore_result=True,
        Request="worker.tasks:AcknowledgedRequest",
        in_hand=in_hand,
    )(task)
