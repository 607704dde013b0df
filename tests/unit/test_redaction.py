"""No password is shown, whatever is wrong with the setting that holds it."""

from __future__ import annotations

import logging
import sys
import threading

import pytest
import structlog
from pydantic import ValidationError

from tagging.redaction import Redactor, secrets_in, shown_url
from tagging.settings import Settings
from worker.logs import configure_logging, redact_uncaught

CANARY = "Canary7f3a"
DATABASES = [
    f"postgresql+psycopg://atelier:{CANARY}@127.0.0.1:{CANARY}/x",
    f"postgresql+psycopg://atelier:pa@{CANARY}@127.0.0.1/x",
    f"postgresql+psycopg://{CANARY} @127.0.0.1:port/x",
    f"mysql://atelier:{CANARY}@127.0.0.1/x",
    f"postgresql+psycopg2://atelier:{CANARY}@127.0.0.1/x",
    f"atelier:{CANARY}@127.0.0.1/x",
    CANARY,
]
BROKERS = [
    f"redis://:{CANARY}@127.0.0.1:{CANARY}/0",
    f"redis://:{CANARY}@127.0.0.1:6379/{CANARY}",
    f"redis://:pa#{CANARY}@127.0.0.1:6379/0",
    f"redis://:pa/{CANARY}@127.0.0.1:6379/0",
    f"redis://:pa?{CANARY}@127.0.0.1:6379/0",
    f"redis://127.0.0.1:6379/0?password={CANARY}",
    f"redis://:pa\uff1a{CANARY}@127.0.0.1:6379/0",
    f"redis://:pa\uff0f{CANARY}@127.0.0.1:6379/0",
    f"redis://127.0.0.1:6379/0;redis://:{CANARY}@127.0.0.1:{CANARY}/0",
    f"amqp://atelier:{CANARY}@127.0.0.1:{CANARY}//",
    f"redix://:{CANARY}@127.0.0.1/0",
    f"atelier:{CANARY}@127.0.0.1",
    CANARY,
]


@pytest.mark.parametrize(
    ("variable", "url"),
    [("ATELIER_DATABASE_URL", url) for url in DATABASES]
    + [("ATELIER_BROKER_URL", url) for url in BROKERS],
)
def test_a_url_that_is_none_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    (one,) = caught.value.errors()
    assert f"ATELIER_{one['loc'][0]}".upper() == variable
    assert CANARY not in one["msg"]
    assert "://" in one["msg"]  # it says how one is written


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("DATABASE_URL", f"postgresql+psycopg://atelier:{CANARY}@db.example:5432/shop"),
        ("DATABASE_URL", f"postgresql://atelier:{CANARY}%40%2F@[::1]:5432/shop"),
        ("DATABASE_URL", "postgresql+psycopg://postgres:@/x?host=%2Ftmp%2Fsocket"),
        ("DATABASE_URL", "sqlite:////tmp/x.db"),
        ("BROKER_URL", f"redis://:{CANARY}@cache.example:6379/0"),
        ("BROKER_URL", f"rediss://me:{CANARY}%23@cache.example:6379?ssl_cert_reqs=required"),
        (
            "BROKER_URL",
            f"amqp://atelier:{CANARY}@a:5672/vhost;amqp://atelier:{CANARY}@b:5672/vhost",
        ),
    ],
)
def test_a_sound_url_is_taken_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(f"ATELIER_{variable}", url)
    settings = Settings()
    assert getattr(settings, f"resolved_{variable.lower()}")() == url
    assert CANARY not in repr(settings)
    assert CANARY not in str(settings.model_dump())


def test_where_a_database_is_may_be_shown() -> None:
    url = f"postgresql+psycopg://atelier:{CANARY}@db:5432/shop?password={CANARY}&sslmode=require"
    assert shown_url(url) == "postgresql+psycopg://atelier:***@db:5432/shop"
    for broken in DATABASES:
        assert CANARY not in shown_url(broken)


def test_passwords_are_known_however_they_are_written() -> None:
    found = secrets_in(
        {
            "ATELIER_DATABASE_URL": "postgresql+psycopg://me:with%40sign@db/x?password=in-query",
            "ATELIER_BROKER_URL": "redis://:first@a/0;redis://:s@d@b:port/0",
            "PGPASSWORD": "libpq-word",
            "PATH": "/usr/bin:/bin",
        }
    )
    assert found == {"with%40sign", "with@sign", "in-query", "first", "libpq-word"}
    text = Redactor(found).text("with@sign with%40sign; first, libpq-word: short stays")
    assert text == "*** ***; ***, ***: short stays"


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_log_line_has_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    monkeypatch.setenv("ATELIER_BROKER_URL", f"redis://:{CANARY}@127.0.0.1/0")
    another = CANARY[::-1]  # one that nobody knows to take out
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        configure_logging(form)  # type: ignore[arg-type]
        log = structlog.get_logger("test")
        log.warning("said", url=f"redis://:{CANARY}@127.0.0.1/0")
        logging.getLogger("a.library").error("cannot connect as %s", CANARY)
        try:
            fail(another)
        except ValueError:
            log.exception("failed")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        structlog.reset_defaults()
    told = capsys.readouterr().err
    assert "cannot connect as ***" in told
    assert "no such thing" in told  # the error itself is told, and where it came from
    assert "in fail" in told
    assert CANARY not in told
    assert another not in told  # nor what variables held


def fail(password: str) -> None:
    raise ValueError("no such thing" if password else "")


def test_an_error_that_nobody_catches_has_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ATELIER_DATABASE_URL", f"postgresql+psycopg://me:{CANARY}@db/x")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    redact_uncaught()
    try:
        raise RuntimeError(f"connection to me:{CANARY}@db failed")
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    thread = threading.Thread(target=lambda: fail(CANARY))
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert "RuntimeError: connection to me:***@db failed" in told
    assert "no such thing" in told
    assert CANARY not in told
