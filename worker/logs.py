"""Log lines: for people on a terminal, JSON for machines; always on standard error.

No password is in them: no line is made with one, tracebacks show no variables, and whatever library
says a known one all the same has it taken out at last.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Literal

import structlog

from tagging.redaction import Redactor, secrets_in


def configure_logging(form: Literal["console", "json"], *, level: int = logging.INFO) -> None:
    """Send structlog and the standard library's loggers through the same renderer."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    last: list[Any]
    if form == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=20,
                # Rich's, which it would choose, shows the variables of every frame.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _RedactingFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Celery tells of every task it receives; our own line per batch says more. httpcore2 tells
    # headers, which may hold secrets.
    for name in ("celery", "kombu", "amqp", "alembic", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def redactor() -> Redactor:
    """Of the passwords that this process was given: read from the environment, for settings with
    one may have been refused.
    """
    return Redactor(secrets_in(os.environ))


def redact_uncaught() -> None:
    """Errors that nobody catches, in whichever thread, are told without passwords."""
    hidden = redactor()

    def tell(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stderr.write(hidden.text("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = tell
    threading.excepthook = lambda args: tell(args.exc_type, args.exc_value, args.exc_traceback)


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Takes what is secret out of a finished line, whoever wrote it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._redactor = redactor()

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(super().format(record))
