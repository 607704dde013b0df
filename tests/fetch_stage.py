"""What the tests of fetching share: a hostile server and a canary, under the real rules.

Only what the operating system would do (look names up and connect) is a stand-in, on which public
addresses lead to the hostile server, all others inside.
"""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tagging.domain import FailureCode
from tagging.fetch.address import parse_address
from tagging.fetch.fetcher import FetchLimits, WebFetcher
from tagging.fetch.patience import HostPatience
from tests.coded import coded
from tests.hostile_server import (
    SHOP,
    SHOP_V6,
    Answer,
    Asked,
    Connection,
    HostileServer,
    StandInNetwork,
)
from tests.stand_in import picture

FAILED = coded(FailureCode.FETCH_FAILED)
REFUSED = coded(FailureCode.REFUSED_PATH)
PHOTO = picture(200)
MAX_BYTES = 100_000
ONCE = FetchLimits(
    max_bytes=MAX_BYTES, connect_s=2.0, idle_s=2.0, total_s=5.0, tries=1, wait_s=0.01
)
SHORT = FetchLimits(
    max_bytes=MAX_BYTES, connect_s=0.15, idle_s=0.15, total_s=0.3, tries=1, wait_s=0.01
)
AGAIN = FetchLimits(
    max_bytes=MAX_BYTES,
    connect_s=2.0,
    idle_s=2.0,
    total_s=5.0,
    tries=3,
    wait_s=0.01,
    longest_wait_s=0.5,
)


class Stage:
    """A hostile server that the network takes for `shop.example`, and a canary inside."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.authority = authority
        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(trusted)
        self.trusted = trusted
        self.shop = HostileServer()
        self.secure = HostileServer(self.certificate("shop.example", "cdn.example", SHOP))
        self.inside = HostileServer()
        self.inside.answers["/"] = photo
        self.network = StandInNetwork(
            inside=self.inside,
            routes={
                (SHOP, 80): self.shop,
                (SHOP_V6, 80): self.shop,
                (SHOP, 443): self.secure,
            },
            names={
                "shop.example": [[SHOP]],
                "cdn.example": [[SHOP]],
                "six.example": [[SHOP_V6]],
                "inside.example": [["10.0.0.5"]],
            },
        )
        self.folder = folder

    def certificate(self, *names: str, **how: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names, **how).configure_cert(context)
        return context

    def fetcher(
        self, limits: FetchLimits = ONCE, *, patience: HostPatience | None = None
    ) -> WebFetcher:
        return WebFetcher(
            limits=limits,
            network=self.network,
            tls=self.trusted,
            patience=patience,
            spool_dir=self.folder,
            now=lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        )

    def fetch(self, text: str, limits: FetchLimits = ONCE) -> bytes:
        """As a manifest would have it: read the address, then fetch."""
        with self.fetcher(limits).open(parse_address(text)) as stream:
            return stream.read()

    def answered(self, answer: Answer, limits: FetchLimits = ONCE) -> bytes:
        self.shop.answers["/a.png"] = answer
        return self.fetch("http://shop.example/a.png", limits)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def stage(tmp_path: Path, authority: trustme.CA) -> Iterator[Stage]:
    made = Stage(tmp_path, authority)
    with made.shop, made.secure, made.inside:
        yield made
    assert made.inside.connections == 0
    # Each connection had a look-up of its own, and went to an address of its answer.
    assert len(made.network.lookups) >= len(made.network.connected)
    assert list(tmp_path.iterdir()) == []


def photo(connection: Connection, _: Asked) -> None:
    connection.image(PHOTO)


def to(location: str, status: str = "302 Found") -> Answer:
    def answer(connection: Connection, _: Asked) -> None:
        connection.reply(status, f"Location: {location}", "Content-Length: 0")

    return answer


@pytest.fixture
def clock() -> list[float]:
    return [0.0]
