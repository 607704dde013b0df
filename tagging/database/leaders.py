"""Every query on the chair: the row that says which process holds a role that only one may hold.

The holder bumps the row's beat while it lives; who sees it unchanged for too long may take it.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.tables import Leader


def take_chair(session: Session, role: str, *, holder: str, displacing: tuple[str, int]) -> bool:
    """Become the one process with this role.

    `displacing` is the (holder, beat) seen unchanged for too long, ("", 0) where there was none.
    """
    if displacing[0]:
        taken = session.execute(
            sa.update(Leader)
            .where(
                Leader.role == role, Leader.holder == displacing[0], Leader.beat == displacing[1]
            )
            .values(holder=holder, beat=Leader.beat + 1)
            .returning(Leader.role)
        ).one_or_none()
        return taken is not None
    exists = session.execute(sa.select(Leader.role).where(Leader.role == role)).one_or_none()
    if exists:
        return False
    session.add(Leader(role=role, holder=holder, beat=1))
    session.flush()
    return True


def keep_chair(session: Session, role: str, *, holder: str) -> bool:
    """Bump the beat of the role that `holder` has; False if somebody else took it."""
    kept = session.execute(
        sa.update(Leader)
        .where(Leader.role == role, Leader.holder == holder)
        .values(beat=Leader.beat + 1)
        .returning(Leader.role)
    ).one_or_none()
    return kept is not None


def chair(session: Session, role: str) -> tuple[str, int]:
    """Who holds the role, and its beat; ("", 0) if nobody ever did."""
    row = session.execute(
        sa.select(Leader.holder, Leader.beat).where(Leader.role == role)
    ).one_or_none()
    return ("", 0) if row is None else (row.holder, row.beat)


def leave_chair(session: Session, role: str, *, holder: str) -> None:
    """Free the role at a clean shutdown, so that the next one need not wait."""
    session.execute(sa.delete(Leader).where(Leader.role == role, Leader.holder == holder))
