"""Who is let in and who is not, over real databases."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tagging import accounts
from tagging.database import users
from tagging.database.session import Database
from tagging.database.tables import Base, User, WebSession
from tagging.domain import Role
from tagging.errors import LoginError, NotFoundError, ReviewError
from tests.people import at_once

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PASSWORD = "correct horse battery"


def later(**ago: float) -> dt.datetime:
    return NOW + dt.timedelta(**ago)


@pytest.fixture
def ann(database: Database) -> Database:
    accounts.add(database, "Ann", Role.REVIEWER, PASSWORD, now=NOW)
    return database


def enter(database: Database, password: str = PASSWORD, now: dt.datetime = NOW) -> str:
    return accounts.enter_by_password(database, "Ann", password, now=now)


def test_who_knows_the_password_comes_in_and_goes(ann: Database) -> None:
    token = enter(ann)
    visitor = accounts.visitor(ann, token, now=NOW)
    assert visitor is not None
    assert (visitor.name, visitor.role) == ("Ann", Role.REVIEWER)
    other = accounts.visitor(ann, enter(ann), now=NOW)
    assert other is not None
    assert other.csrf != visitor.csrf
    accounts.leave(ann, token)
    assert accounts.visitor(ann, token, now=NOW) is None
    assert accounts.visitor(ann, "made up", now=NOW) is None


@pytest.mark.parametrize(("name", "password"), [("Ann", "wrong"), ("Bob", PASSWORD), ("", "")])
def test_who_does_not_is_not_told_what_was_wrong(ann: Database, name: str, password: str) -> None:
    with pytest.raises(LoginError, match=r"^name or password is wrong$"):
        accounts.enter_by_password(ann, name, password, now=NOW)


def test_nothing_in_the_database_opens_the_door(ann: Database) -> None:
    secrets = {PASSWORD, enter(ann), accounts.make_link(ann, "Ann", now=NOW)}
    with ann.read() as session:
        stored = {
            str(value)
            for table in Base.metadata.sorted_tables
            for row in session.execute(sa.select(table))
            for value in row
        }
    assert not any(secret in value for secret in secrets for value in stored)
    for value in stored:
        assert accounts.visitor(ann, value, now=NOW) is None


def test_an_error_of_the_database_tells_no_value(database: Database) -> None:
    """Such errors go to the log; a statement of a log-in holds the token of the session."""
    statement = sa.text("INSERT INTO nowhere VALUES (:word)")
    with pytest.raises(DBAPIError, match="INSERT INTO nowhere") as told, database.read() as session:
        session.execute(statement, {"word": PASSWORD})
    assert PASSWORD not in str(told.value)


def test_a_session_runs_out_and_use_prolongs_it(ann: Database) -> None:
    token = enter(ann)
    assert accounts.visitor(ann, token, now=later(hours=11)) is not None
    assert accounts.visitor(ann, token, now=later(hours=22)) is not None
    assert accounts.visitor(ann, token, now=later(hours=34, seconds=1)) is None


def test_after_some_wrong_passwords_none_is_looked_at_for_a_while(ann: Database) -> None:
    for _ in range(accounts.FREE_TRIES):
        with pytest.raises(LoginError, match="wrong"):
            enter(ann, "wrong")
    with pytest.raises(LoginError, match=r"wait 1 minute$"):
        enter(ann)
    with pytest.raises(LoginError, match="name or password"):
        enter(ann, "wrong", now=later(minutes=1))
    with pytest.raises(LoginError, match=r"wait 2 minutes$"):
        enter(ann, now=later(minutes=1))
    assert enter(ann, now=later(minutes=3))
    with ann.read() as session:
        assert session.execute(sa.select(User.failures)).scalar_one() == 0
    for _ in range(40):
        with ann.write("test") as session:
            session.execute(sa.update(User).values(locked_until=None))
            session.commit()
        with pytest.raises(LoginError):
            enter(ann, "wrong")
    with pytest.raises(LoginError, match=r"wait 15 minutes$"):
        enter(ann)


def test_no_try_goes_uncounted(ann: Database) -> None:
    def wrong() -> str:
        return enter(ann, "wrong")

    at_once([wrong] * accounts.FREE_TRIES)
    with pytest.raises(LoginError, match="wait"):
        enter(ann)


def test_a_session_ends_after_a_week_however_much_it_is_used(ann: Database) -> None:
    token = enter(ann)
    for hours in range(6, 7 * 24, 6):
        assert accounts.visitor(ann, token, now=later(hours=hours)) is not None
    assert accounts.visitor(ann, token, now=later(days=7)) is None


def test_nothing_is_held_up_while_a_password_is_looked_at(
    ann: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    pool = ann.engine.pool
    assert isinstance(pool, sa.pool.QueuePool)

    def look(hashed: str, password: str) -> bool:
        held.append(pool.checkedout())
        return verify(hashed, password)

    verify = accounts._verify
    monkeypatch.setattr(accounts, "_verify", look)
    assert enter(ann)
    for name in ("Ann", "Bob"):
        with pytest.raises(LoginError, match="wrong"):
            accounts.enter_by_password(ann, name, "wrong", now=NOW)
    assert held == [0, 0, 0]


def test_only_so_many_may_try_at_a_time(ann: Database) -> None:
    for _ in range(accounts.MOST_TRIES):
        assert accounts._TRIES.acquire(blocking=False)
    try:
        with pytest.raises(LoginError, match="at this moment; try again"):
            enter(ann)
    finally:
        accounts._TRIES.release(accounts.MOST_TRIES)
    assert enter(ann)
    with pytest.raises(LoginError, match="wrong"):
        enter(ann, "wrong")
    assert enter(ann)


def test_a_password_that_changes_meanwhile_lets_nobody_in(
    ann: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = accounts._verify

    def slow(hashed: str, password: str) -> bool:
        accounts.change(ann, "Ann", password="another password", now=NOW)
        return verify(hashed, password)

    monkeypatch.setattr(accounts, "_verify", slow)
    with pytest.raises(LoginError, match="wrong"):
        enter(ann)


def test_who_comes_by_a_link_while_they_are_changed_has_no_session_left(ann: Database) -> None:
    link = accounts.make_link(ann, "Ann", now=NOW)
    with ThreadPoolExecutor(1) as pool:
        with ann.write("test") as session:
            # As `change` begins; on SQLite nobody else writes meanwhile in any case.
            user = users.lock(session, "Ann")
            assert user is not None
            entering = pool.submit(accounts.enter_by_link, ann, link, now=NOW)
            wait([entering], timeout=1)
            users.end_sessions(session, user.id)
            session.commit()
        with pytest.raises(LoginError):
            entering.result()
    with ann.read() as session:
        assert session.scalars(sa.select(WebSession)).all() == []


def test_a_link_opens_once_and_not_for_long(ann: Database) -> None:
    link = accounts.make_link(ann, "Ann", now=NOW)
    outcomes = at_once([partial(accounts.enter_by_link, ann, link, now=NOW)] * 3)
    assert [isinstance(one, LoginError) for one in outcomes].count(False) == 1
    old = accounts.make_link(ann, "Ann", now=NOW)
    with pytest.raises(LoginError, match="too old"):
        accounts.enter_by_link(ann, old, now=NOW + accounts.LINK)
    with pytest.raises(LoginError):
        accounts.enter_by_link(ann, old, now=NOW)
    with pytest.raises(NotFoundError, match="users list"):
        accounts.make_link(ann, "Bob", now=NOW)


def test_who_is_changed_or_kept_out_must_log_in_again(ann: Database) -> None:
    tokens = [enter(ann)]
    link = accounts.make_link(ann, "Ann", now=NOW)
    accounts.change(ann, "Ann", role=Role.ADMIN, now=NOW)
    with pytest.raises(LoginError):
        accounts.enter_by_link(ann, link, now=NOW)
    tokens.append(enter(ann))
    accounts.change(ann, "Ann", password="another password", now=NOW)
    with pytest.raises(LoginError):
        enter(ann)
    tokens.append(enter(ann, "another password"))
    accounts.change(ann, "Ann", disabled=True, now=NOW)
    assert [accounts.visitor(ann, token, now=NOW) for token in tokens] == [None, None, None]
    with pytest.raises(LoginError, match="wrong"):
        enter(ann, "another password")
    late = accounts.make_link(ann, "Ann", now=NOW)
    with pytest.raises(LoginError):
        accounts.enter_by_link(ann, late, now=NOW)
    accounts.change(ann, "Ann", disabled=False, now=NOW)
    visitor = accounts.visitor(ann, enter(ann, "another password"), now=NOW)
    assert visitor is not None
    assert visitor.role is Role.ADMIN


def test_accounts_that_cannot_be_made(ann: Database) -> None:
    with pytest.raises(LoginError, match="already"):
        accounts.add(ann, " Ann ", Role.VIEWER, None, now=NOW)
    with pytest.raises(LoginError, match="12 to 1000 characters, got 5"):
        accounts.add(ann, "Bob", Role.VIEWER, "short", now=NOW)
    with pytest.raises(ReviewError, match="names no person"):
        accounts.add(ann, "\t", Role.VIEWER, PASSWORD, now=NOW)
    with pytest.raises(NotFoundError, match="'Bob'"):
        accounts.change(ann, "Bob", role=Role.ADMIN, now=NOW)
    accounts.add(ann, "Bob", Role.VIEWER, None, now=NOW)
    assert [(one.name, one.has_password) for one in accounts.everybody(ann)] == [
        ("Ann", True),
        ("Bob", False),
    ]
    with pytest.raises(LoginError, match="wrong"):
        accounts.enter_by_password(ann, "Bob", "", now=NOW)


def test_a_role_includes_those_before_it() -> None:
    assert [[one.may(other) for other in Role] for one in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
