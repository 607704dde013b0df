"""Every query on who may log in, and on the browsers that are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.tables import LoginLink, User, WebSession
from tagging.domain import Role


def find(session: Session, name: str) -> User | None:
    """By the unique index on the name."""
    return session.execute(sa.select(User).where(User.name == name)).scalar_one_or_none()


def lock(session: Session, name: str) -> User | None:
    """As `find`, locked until the commit, so that no try goes uncounted."""
    return session.execute(
        sa.select(User).where(User.name == name).with_for_update()
    ).scalar_one_or_none()


def add(
    session: Session, name: str, role: Role, password_hash: str | None, *, now: dt.datetime
) -> None:
    """A new account."""
    session.add(User(name=name, role=role, password_hash=password_hash, failures=0, created_at=now))
    session.flush()


def everybody(session: Session) -> Sequence[User]:
    """All accounts, by name; some dozens."""
    return session.scalars(sa.select(User).order_by(User.name)).all()


def lock_of_link(session: Session, token_hash: str) -> User | None:
    """Whom a link lets in, locked until the commit. By primary keys."""
    return session.execute(
        sa.select(User)
        .join(LoginLink, LoginLink.user_id == User.id)
        .where(LoginLink.token_hash == token_hash)
        .with_for_update(of=User)
    ).scalar_one_or_none()


def take_link(session: Session, token_hash: str) -> LoginLink | None:
    """A link, which is gone then: of two who follow it at once, one gets in. By primary key."""
    return session.scalars(
        sa.delete(LoginLink).where(LoginLink.token_hash == token_hash).returning(LoginLink)
    ).one_or_none()


def session_of(session: Session, token_hash: str) -> tuple[WebSession, User] | None:
    """A browser's session and whose it is. By primary keys."""
    row = session.execute(
        sa.select(WebSession, User)
        .join(User, User.id == WebSession.user_id)
        .where(WebSession.token_hash == token_hash)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def prolong(session: Session, token_hash: str, *, until: dt.datetime) -> None:
    """By primary key."""
    session.execute(
        sa.update(WebSession).where(WebSession.token_hash == token_hash).values(expires_at=until)
    )


def end_session(session: Session, token_hash: str) -> None:
    """By primary key."""
    session.execute(sa.delete(WebSession).where(WebSession.token_hash == token_hash))


def end_sessions(session: Session, user_id: int) -> None:
    """All of one person, and their links. By index."""
    session.execute(sa.delete(WebSession).where(WebSession.user_id == user_id))
    session.execute(sa.delete(LoginLink).where(LoginLink.user_id == user_id))


def forget_old(session: Session, *, now: dt.datetime) -> None:
    """Sessions and links that ran out; some dozens of rows."""
    session.execute(sa.delete(WebSession).where(WebSession.expires_at <= now))
    session.execute(sa.delete(LoginLink).where(LoginLink.expires_at <= now))
