"""What was read of an upload that was cut off, and that nobody will deliver again, is removed."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from typing import Final

from tagging.database import uploads
from tagging.database.session import Database

LINES: Final = 10_000
"""Ledger lines removed in one transaction: it holds up no writer for long."""


def forget_upload(database: Database, upload_id: str, *, now: Callable[[], dt.datetime]) -> int:
    """Remove an upload whose receiving was cut off; how many ledger lines it had.

    Nothing of it was filed, so no product and no batch names it; its images stay stored, for others
    may have the same. Cut off itself, it is done again.

    Raises:
        NotFoundError: there is no such upload.
        DeliveryError: all of it was received, or somebody receives it now.
    """
    receiver = secrets.token_hex(16)
    with database.write("upload.forget") as session:
        uploads.take_from_the_dead(session, upload_id, receiver=receiver, now=now())
        session.commit()
    forgotten = 0
    left = True
    while left:
        with database.write("upload.forget_lines") as session:
            removed = uploads.remove_lines(
                session, upload_id, receiver=receiver, most=LINES, now=now()
            )
            left = removed > 0
            if not left:
                uploads.remove(session, upload_id)
            session.commit()
        forgotten += removed
    return forgotten
