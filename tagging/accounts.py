"""Who may come in: accounts, passwords, one-time links, and the sessions of browsers.

Secrets are handed out once and kept as their sha256 only: who reads the database cannot log in with
what stands there. Passwords are argon2id (RFC 9106) by argon2-cffi.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy.orm import Session

from tagging.answers import person
from tagging.database import users
from tagging.database.session import Database
from tagging.database.tables import LoginLink, User, WebSession
from tagging.domain import Role
from tagging.errors import LoginError, NotFoundError

PASSWORD_CHARS: Final = (12, 1000)
SESSION: Final = dt.timedelta(hours=12)
PROLONGED_AFTER: Final = dt.timedelta(minutes=10)
LONGEST_SESSION: Final = dt.timedelta(days=7)
LINK: Final = dt.timedelta(minutes=15)
FREE_TRIES: Final = 5
LONGEST_LOCK: Final = dt.timedelta(minutes=15)

_HASHER: Final = PasswordHasher()

MOST_TRIES: Final = 24
"""Passwords looked at or waiting to be, at a time: the threads of a server that strangers can hold.
"""
_TRIES: Final = threading.BoundedSemaphore(MOST_TRIES)
_HASHING: Final = threading.BoundedSemaphore(2)
"""Each takes a processor, and 64 MiB (RFC 9106, section 4, the second recommended option)."""


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Who is logged in. `csrf`: what their changing requests must name."""

    name: str
    role: Role
    csrf: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account, for lists."""

    name: str
    role: Role
    has_password: bool
    disabled: bool


def add(
    database: Database, name: str, role: Role, password: str | None, *, now: dt.datetime
) -> None:
    """Make an account; without a password it is entered by links only.

    Raises:
        LoginError: there is one of that name, or the password is too short or too long.
        ReviewError: `name` is no name.
    """
    who = person(name)
    hashed = None if password is None else _hashed(password)
    with database.write("accounts.add") as session:
        if users.find(session, who) is not None:
            raise LoginError(f"there is an account {who!r} already; `atelier users list` shows it")
        users.add(session, who, role, hashed, now=now)
        session.commit()


def change(
    database: Database,
    name: str,
    *,
    now: dt.datetime,
    role: Role | None = None,
    password: str | None = None,
    disabled: bool | None = None,
) -> None:
    """Change an account; who has another password or role, or is kept out, must log in again.

    Raises:
        NotFoundError: there is no such account.
        LoginError: the password is too short or too long.
    """
    hashed = None if password is None else _hashed(password)
    with database.write("accounts.change") as session:
        user = _require(users.lock(session, name.strip()), name)
        if role is not None:
            user.role = role
        if hashed is not None:
            user.password_hash, user.failures, user.locked_until = hashed, 0, None
        if disabled is not None:
            user.disabled_at = now if disabled else None
        users.end_sessions(session, user.id)
        session.commit()


def everybody(database: Database) -> list[Account]:
    """All accounts, by name."""
    with database.read() as session:
        return [
            Account(
                name=user.name,
                role=user.role,
                has_password=user.password_hash is not None,
                disabled=user.disabled_at is not None,
            )
            for user in users.everybody(session)
        ]


def make_link(database: Database, name: str, *, now: dt.datetime) -> str:
    """A secret that lets its holder in as `name`, once, within the next minutes.

    Raises:
        NotFoundError: there is no such account.
    """
    token = secrets.token_urlsafe(32)
    with database.write("accounts.link") as session:
        user = _require(users.find(session, name.strip()), name)
        session.add(LoginLink(token_hash=_digest(token), user_id=user.id, expires_at=now + LINK))
        session.commit()
    return token


def enter_by_link(database: Database, token: str, *, now: dt.datetime) -> str:
    """The secret of a new session. Raises LoginError: the link was used or is too old."""
    with database.write("accounts.enter_by_link") as session:
        # The account before the link, as `change` locks them.
        user = users.lock_of_link(session, _digest(token))
        link = users.take_link(session, _digest(token))
        if link is None or link.expires_at <= now or user is None or user.disabled_at is not None:
            session.commit()
            raise LoginError(
                "this link was used already or is too old; `atelier users link` makes another"
            )
        opened = _open(session, user, now=now)
        session.commit()
        return opened


def enter_by_password(database: Database, name: str, password: str, *, now: dt.datetime) -> str:
    """The secret of a new session.

    After five wrong passwords none is looked at for a while, longer with each further one.

    Raises:
        LoginError: name or password is wrong (it is not said which), the account is locked, or
            too many try at this moment.
    """
    who = name.strip()
    with _a_try():
        # Counted before it is looked at, so that none goes uncounted; and looked at outside of a
        # transaction, so that strangers who try hold up nobody who writes.
        hashed = _begin_try(database, who, now=now)
        right = _verify(hashed or _nobody(), password)
        if hashed is None or not right:
            raise LoginError("name or password is wrong")
        renewed = _HASHER.hash(password) if _HASHER.check_needs_rehash(hashed) else hashed
    with database.write("accounts.enter_by_password") as session:
        user = users.lock(session, who)
        if user is None or user.password_hash != hashed or user.disabled_at is not None:
            raise LoginError("name or password is wrong")
        user.failures, user.locked_until, user.password_hash = 0, None, renewed
        opened = _open(session, user, now=now)
        session.commit()
        return opened


def visitor(database: Database, token: str, *, now: dt.datetime) -> Visitor | None:
    """Who holds the session of this secret; None if it ran out. Using it prolongs it, for a week
    at most.
    """
    digest = _digest(token)
    with database.read() as session:
        found = users.session_of(session, digest)
    if found is None or found[0].expires_at <= now or found[1].disabled_at is not None:
        return None
    opened, user = found
    if opened.created_at + LONGEST_SESSION <= now:
        return None
    if opened.expires_at < now + SESSION - PROLONGED_AFTER:
        with database.write("accounts.prolong") as session:
            users.prolong(session, digest, until=now + SESSION)
            session.commit()
    return Visitor(name=user.name, role=user.role, csrf=opened.csrf)


def leave(database: Database, token: str) -> None:
    """End the session of this secret."""
    with database.write("accounts.leave") as session:
        users.end_session(session, _digest(token))
        session.commit()


def _open(session: Session, user: User, *, now: dt.datetime) -> str:
    token = secrets.token_urlsafe(32)
    users.forget_old(session, now=now)
    session.add(
        WebSession(
            token_hash=_digest(token),
            user_id=user.id,
            csrf=secrets.token_urlsafe(32),
            created_at=now,
            expires_at=now + SESSION,
        )
    )
    return token


@contextmanager
def _a_try() -> Iterator[None]:
    """Room for one more try of a password; raises LoginError where there is none."""
    if not _TRIES.acquire(blocking=False):
        raise LoginError("too many people log in at this moment; try again")
    try:
        with _HASHING:
            yield
    finally:
        _TRIES.release()


def _begin_try(database: Database, name: str, *, now: dt.datetime) -> str | None:
    """The account's hash to compare with, after a failure was counted; None if it has none."""
    with database.write("accounts.try") as session:
        user = users.lock(session, name)
        if user is None or user.disabled_at is not None or user.password_hash is None:
            return None
        if user.locked_until is not None and user.locked_until > now:
            minutes = -(-(user.locked_until - now) // dt.timedelta(minutes=1))
            raise LoginError(
                f"too many wrong passwords; wait {minutes} minute{'s' * (minutes > 1)}"
            )
        _count_failure(user, now=now)
        session.commit()
        return user.password_hash


@cache
def _nobody() -> str:
    """Compared with where there is no such account, so that the time taken does not tell."""
    return _HASHER.hash(secrets.token_urlsafe())


def _count_failure(user: User, *, now: dt.datetime) -> None:
    user.failures += 1
    beyond = user.failures - FREE_TRIES
    if beyond >= 0:
        # 1, 2, 4, 8 minutes, then a quarter of an hour each.
        user.locked_until = now + min(LONGEST_LOCK, dt.timedelta(minutes=2 ** min(beyond, 10)))


def _require(user: User | None, name: str) -> User:
    if user is None:
        raise NotFoundError(f"there is no account {name!r}; `atelier users list` shows all")
    return user


def _hashed(password: str) -> str:
    least, most = PASSWORD_CHARS
    if not least <= len(password) <= most:
        raise LoginError(f"a password has {least} to {most} characters, got {len(password)}")
    return _HASHER.hash(password)


def _verify(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
