"""What of a URL may be shown, and what must never be: where it leads, not who may get in.

shown_url("postgresql+psycopg://me:word@db/shop")  # "postgresql+psycopg://me:***@db/shop"
Redactor(secrets_in(os.environ)).text(line)        # the line, with *** for every password
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

HIDDEN: Final = "***"
DATABASES: Final = ("postgresql", "postgresql+psycopg", "sqlite", "sqlite+pysqlite")
BROKERS: Final = ("redis", "rediss", "amqp", "amqps")
URL_VARIABLES: Final = ("ATELIER_DATABASE_URL", "ATELIER_BROKER_URL")
OTHER_VARIABLES: Final = ("PGPASSWORD",)
SHORTEST: Final = 4
"""Shorter passwords are not looked for in texts: they stand in too many words."""
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_NUMBER: Final = re.compile(r"(/[0-9]*)?")
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]*")
_QUOTE: Final = (
    "write `@` in a name or password as %40, `/` as %2F, `:` as %3A, `#` as %23, `?` as %3F. What "
    "was received is not shown, for it may hold a password"
)


def shown_url(url: str) -> str:
    """Scheme, user, host, port and path of a URL; its password and its query are left out.

    What cannot be taken apart is not shown but for its scheme: a password with an unquoted `@` or
    `/` may stand anywhere in it.
    """
    try:
        require_database_url(url)
        found = sa.make_url(url)
    except ValueError:
        scheme, mark, _ = url.partition("://")
        return f"{scheme}://{HIDDEN}" if mark and _SCHEME.fullmatch(scheme) else HIDDEN
    password = HIDDEN if found.password is not None else None
    return found.set(password=password, query={}).render_as_string(hide_password=True)


def require_database_url(url: str) -> None:
    """Raises ValueError, without the URL in it, for what is no address of a database."""
    try:
        found = sa.make_url(url)
        sound = _HOST.fullmatch(found.host or "") is not None
    except (ArgumentError, ValueError):
        sound = False
    if not sound:
        raise ValueError(
            "it is no URL of a database, like postgresql+psycopg://USER:PASSWORD@HOST:5432/NAME; "
            + _QUOTE
        )
    if found.drivername not in DATABASES:
        raise ValueError(f"it must begin with one of {', '.join(f'{one}://' for one in DATABASES)}")


def require_broker_url(urls: str) -> None:
    """The same for brokers, several of which are parted by semicolons."""
    for url in urls.split(";"):
        if url.partition("://")[0].lower() not in BROKERS:
            raise ValueError(
                f"it must begin with one of {', '.join(f'{one}://' for one in BROKERS)}"
            )
        try:
            found = urlsplit(url)  # which shows what it refuses, such as a full-width colon
            sound = [
                found.port != 0,
                not found.fragment,
                _HOST.fullmatch(found.hostname or "") is not None,
                not [*_secrets_of_query(url)],
                found.scheme.startswith("amqp") or _NUMBER.fullmatch(found.path) is not None,
            ]
        except ValueError:
            sound = [False]
        if not all(sound):
            raise ValueError(
                f"it is no URL of a broker, like redis://:PASSWORD@HOST:6379/0; {_QUOTE}"
            )


def secrets_in(environment: Mapping[str, str]) -> frozenset[str]:
    """Every password in the variables that may hold one, sound or not: as written, and unquoted."""
    found = {environment[name] for name in OTHER_VARIABLES if name in environment}
    for name in URL_VARIABLES:
        for url in environment.get(name, "").split(";"):
            found.update(_secrets_of(url))
    return frozenset(one for one in found if len(one) >= SHORTEST)


def _secrets_of(url: str) -> Iterator[str]:
    whose, at, _ = url.partition("://")[2].rpartition("@")
    password = whose.partition(":")[2] if at else ""
    if password:
        yield password
        yield unquote(password)
    yield from _secrets_of_query(url)


def _secrets_of_query(url: str) -> Iterator[str]:
    for key, value in parse_qsl(url.partition("?")[2]):
        if "pass" in key.lower() or "secret" in key.lower():
            yield value


@dataclass(frozen=True)
class Redactor:
    """Takes known secrets out of a text: the last door, behind those that let none out."""

    secrets: Collection[str] = ()

    def text(self, text: str) -> str:
        for secret in sorted(self._written(), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def _written(self) -> set[str]:
        """Every secret as it stands in a text, and as JSON writes it."""
        found = set(self.secrets)
        for secret in self.secrets:
            found |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        return found
