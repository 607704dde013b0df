"""Images from the web: what is fetched, how redirects, TLS and failures are taken, what is told."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tagging.fetch.address import FetchError, parse_address
from tagging.fetch.fetcher import FetchLimits, WebFetcher
from tagging.fetch.patience import HostPatience
from tests import fetch_stage
from tests.fetch_stage import AGAIN, FAILED, ONCE, PHOTO, REFUSED, Stage, photo, to
from tests.hostile_server import (
    SHOP,
    SHOP_V6,
    Answer,
    Asked,
    Connection,
    HostileServer,
)

authority = fetch_stage.authority
stage = fetch_stage.stage
clock = fetch_stage.clock


# What is fetched


def test_an_image_is_fetched_byte_for_byte(stage: Stage) -> None:
    assert stage.answered(photo) == PHOTO
    assert stage.network.connected == [(SHOP, 80)]


def test_what_is_asked_says_no_more_than_it_must(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{stage.inside.port}")
    monkeypatch.setenv("NETRC", str(Path(__file__)))
    assert stage.answered(photo) == PHOTO
    (asked,) = stage.shop.asked
    assert (asked.method, asked.target) == ("GET", "/a.png")
    assert sorted(asked.headers) == [
        ("Accept", "image/*"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
        ("Host", "shop.example"),
        ("User-Agent", "Atelier"),
    ]


def test_no_cookie_is_kept_and_no_address_told(stage: Stage) -> None:
    def cookie(connection: Connection, _: Asked) -> None:
        connection.reply("302 Found", "Location: /b.png", "Set-Cookie: a=b", "Content-Length: 0")

    stage.shop.answers["/b.png"] = photo
    assert stage.answered(cookie) == PHOTO
    assert stage.shop.asked[1].target == "/b.png"
    assert stage.shop.asked[1].header("cookie") == []
    assert stage.shop.asked[1].header("referer") == []


def test_a_large_image_passes_over_the_disk(stage: Stage) -> None:
    large = PHOTO + bytes(3_000_000)
    found = stage.answered(
        lambda connection, _: connection.image(large),
        FetchLimits(max_bytes=len(large), total_s=20),
    )
    assert found == large


def test_chunks_are_put_together(stage: Stage) -> None:
    def chunked(connection: Connection, _: Asked) -> None:
        connection.reply("200 OK", "Transfer-Encoding: chunked")
        for at in range(0, len(PHOTO), 7):
            part = PHOTO[at : at + 7]
            connection.send(f"{len(part):x};x=y\r\n".encode() + part + b"\r\n")
        connection.send(b"0\r\nX-Trailer: 1\r\n\r\n")

    assert stage.answered(chunked) == PHOTO


def test_a_body_that_ends_with_its_connection_is_taken(stage: Stage) -> None:
    assert stage.answered(lambda connection, _: connection.reply(body=PHOTO)) == PHOTO


def test_early_hints_are_skipped(stage: Stage) -> None:
    def hinted(connection: Connection, _: Asked) -> None:
        connection.reply("100 Continue")
        connection.reply("103 Early Hints", "Link: </x>")
        connection.image(PHOTO)

    assert stage.answered(hinted) == PHOTO


def test_ipv6_is_spoken(stage: Stage) -> None:
    stage.shop.answers["/a.png"] = photo
    assert stage.fetch("http://six.example/a.png") == PHOTO
    assert stage.fetch(f"http://[{SHOP_V6}]/a.png") == PHOTO
    assert stage.network.connected == [(SHOP_V6, 80)] * 2
    assert stage.shop.asked[1].header("host") == [f"[{SHOP_V6}]"]


def test_another_address_of_the_name_is_tried_when_one_is_away(stage: Stage) -> None:
    away = socket.create_server(("127.0.0.1", 0))
    port = away.getsockname()[1]
    away.close()
    gone = HostileServer()
    gone.close()
    gone.port = port
    stage.network.routes["93.184.216.35", 80] = gone
    stage.network.names["shop.example"] = [["93.184.216.35", SHOP]]
    assert stage.answered(photo) == PHOTO
    assert stage.network.connected == [("93.184.216.35", 80), (SHOP, 80)]
    assert stage.network.lookups == ["shop.example"]
    stage.network.lookups.append("for the second connection")


def test_an_odd_path_is_asked_for_as_it_stands(stage: Stage) -> None:
    stage.shop.answers["/%C3%A9t%C3%A9%201.png"] = photo
    assert stage.fetch("http://shop.example/été 1.png?sig=a%2Fb") == PHOTO
    assert stage.shop.asked[0].target == "/%C3%A9t%C3%A9%201.png?sig=a%2Fb"


# Redirects


def test_redirects_are_followed_to_the_image(stage: Stage) -> None:
    stage.shop.answers["/b.png"] = to("http://cdn.example/c.png", "301 Moved")
    stage.shop.answers["/c.png"] = to("//SIX.example/d.png", "308 Permanent")
    stage.shop.answers["/d.png"] = photo
    assert stage.answered(to("b.png")) == PHOTO
    assert stage.network.connected == [(SHOP, 80)] * 3 + [(SHOP_V6, 80)]
    assert [asked.header("host") for asked in stage.shop.asked] == [
        ["shop.example"],
        ["shop.example"],
        ["cdn.example"],
        ["six.example"],
    ]


def test_a_loop_of_redirects_ends(stage: Stage) -> None:
    with pytest.raises(FetchError, match="more than 5 times", check=FAILED):
        stage.answered(to("/a.png"))
    assert stage.shop.connections == 6


def test_an_endless_chain_of_redirects_ends(stage: Stage) -> None:
    with pytest.raises(FetchError, match="more than 5 times", check=FAILED):
        stage.answered(lambda c, asked: to(f"/a.png?{asked.hit}")(c, asked))
    assert stage.shop.connections == 6


def test_a_redirect_with_an_endless_body_is_not_read(stage: Stage) -> None:
    def answer(connection: Connection, _: Asked) -> None:
        connection.reply("302 Found", "Location: /b.png")
        connection.flood(bytes(65536))

    stage.shop.answers["/b.png"] = photo
    assert stage.answered(answer) == PHOTO


@pytest.mark.parametrize("status", ["300 Choices", "302 Found", "304 Not Modified", "305 Proxy"])
def test_a_redirect_to_nowhere_is_refused(stage: Stage, status: str) -> None:
    with pytest.raises(FetchError, match=status[:3], check=FAILED):
        stage.answered(lambda c, _: c.reply(status, "Content-Length: 0"))
    assert stage.shop.connections == 1


def test_redirects_share_one_deadline(stage: Stage) -> None:
    def slowly(connection: Connection, asked: Asked) -> None:
        connection.closing.wait(0.15)
        to("/a.png")(connection, asked)

    with pytest.raises(FetchError, match="took too long", check=FAILED):
        stage.answered(slowly, FetchLimits(total_s=0.4, tries=1))
    assert stage.shop.connections <= 4


# TLS


def test_a_server_is_verified_by_the_name_of_the_address(stage: Stage) -> None:
    stage.secure.answers["/a.png"] = photo
    assert stage.fetch("https://shop.example/a.png") == PHOTO
    assert stage.fetch(f"https://{SHOP}/a.png") == PHOTO
    assert stage.secure.names == ["shop.example", None]
    assert stage.network.connected == [(SHOP, 443)] * 2
    assert stage.secure.asked[0].header("host") == ["shop.example"]


@pytest.mark.parametrize("names", [("other.example",), ("*.example.org",), ("cdn.shop.example",)])
def test_a_certificate_of_another_name_is_refused(stage: Stage, names: tuple[str, ...]) -> None:
    with HostileServer(stage.certificate(*names)) as server:
        stage.network.routes[SHOP, 443] = server
        with pytest.raises(FetchError, match="no valid certificate", check=FAILED):
            stage.fetch("https://shop.example/a.png", AGAIN)
        assert (server.connections, server.asked) == (1, [])


def test_a_certificate_of_an_unknown_authority_is_refused(stage: Stage) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("shop.example").configure_cert(context)
    with HostileServer(context) as server:
        stage.network.routes[SHOP, 443] = server
        with pytest.raises(FetchError, match="no valid certificate", check=FAILED):
            stage.fetch("https://shop.example/a.png")
        assert server.asked == []


def test_a_certificate_that_ran_out_is_refused(stage: Stage) -> None:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with HostileServer(
        stage.certificate("shop.example", not_before=past, not_after=past + dt.timedelta(days=9))
    ) as server:
        stage.network.routes[SHOP, 443] = server
        with pytest.raises(FetchError, match="no valid certificate", check=FAILED):
            stage.fetch("https://shop.example/a.png")
        assert server.asked == []


def test_the_default_verifies_servers(stage: Stage) -> None:
    with pytest.raises(FetchError, match="no valid certificate", check=FAILED):
        WebFetcher(limits=ONCE, network=stage.network).open(
            parse_address("https://shop.example/a.png")
        )
    assert stage.secure.asked == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_not_spoken(stage: Stage, version: ssl.TLSVersion) -> None:
    context = stage.certificate("shop.example")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = version
        context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with HostileServer(context) as server:
        stage.network.routes[SHOP, 443] = server
        with pytest.raises(FetchError, match="could not be reached", check=FAILED):
            stage.fetch("https://shop.example/a.png")
        assert server.asked == []


def test_a_server_without_tls_is_not_spoken_to_in_the_clear(stage: Stage) -> None:
    stage.network.routes[SHOP, 443] = stage.shop
    stage.shop.raw = lambda connection: connection.reply(body=PHOTO)
    with pytest.raises(FetchError, match="could not be reached", check=FAILED):
        stage.fetch("https://shop.example/a.png")


def test_https_does_not_lead_to_http(stage: Stage) -> None:
    stage.secure.answers["/a.png"] = to("http://shop.example/a.png")
    with pytest.raises(FetchError, match="from https to http", check=REFUSED):
        stage.fetch("https://shop.example/a.png")
    assert stage.shop.connections == 0


def test_http_may_lead_to_https(stage: Stage) -> None:
    stage.secure.answers["/a.png"] = photo
    assert stage.answered(to("https://shop.example/a.png")) == PHOTO


def test_a_redirect_to_a_name_without_certificate_is_refused(stage: Stage) -> None:
    stage.network.names["other.example"] = [[SHOP]]
    stage.secure.answers["/a.png"] = to("https://other.example/a.png")
    with pytest.raises(FetchError, match="no valid certificate", check=FAILED):
        stage.fetch("https://shop.example/a.png")


# Again


def failing(times: int, fail: Callable[[Connection], None]) -> Answer:
    def answer(connection: Connection, asked: Asked) -> None:
        if asked.hit > times:
            connection.image(PHOTO)
        else:
            fail(connection)

    return answer


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(stage: Stage, status: int) -> None:
    fail = failing(2, lambda c: c.reply(f"{status} x", "Content-Length: 0"))
    assert stage.answered(fail, AGAIN) == PHOTO
    assert stage.shop.connections == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_does_not_pass_is_given_up(stage: Stage, status: int) -> None:
    fail = failing(9, lambda c: c.reply(f"{status} x", "Content-Length: 0"))
    with pytest.raises(
        FetchError, match=rf"answered {status} .*\(3 tries\)\. Deliver the line", check=FAILED
    ):
        stage.answered(fail, AGAIN)
    assert stage.shop.connections == 3


def test_a_connection_that_breaks_off_is_tried_again(stage: Stage) -> None:
    fail = failing(2, lambda c: c.reply("200 OK", "Content-Length: 5000", body=PHOTO))
    assert stage.answered(fail, AGAIN) == PHOTO


def test_a_time_out_is_tried_again(stage: Stage) -> None:
    limits = FetchLimits(idle_s=0.1, wait_s=0.01)
    assert stage.answered(failing(1, lambda c: c.hang()), limits) == PHOTO


def test_a_name_service_that_fails_is_asked_again(stage: Stage) -> None:
    stage.network.failing.add("shop.example")
    with pytest.raises(FetchError, match="could not be looked up", check=FAILED):
        stage.fetch("http://shop.example/a.png", AGAIN)
    assert stage.network.lookups == ["shop.example"] * 3


class Waits(threading.Event):
    """Remembers how long it was waited for, and waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        return False


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("7", [7.0, 7.0]),
        ("0", None),
        ("Thu, 01 Jan 2026 00:00:09 GMT", [9.0, 9.0]),
        ("Wed, 31 Dec 2025 23:00:00 GMT", None),
        ("soon", None),
        ("Thu, 32 Jan 2026 00:00:09 GMT", None),
        ("Thu, 01 Jan 0000 00:00:09 GMT", None),
        ("Thu, 01 Jan 99999999999 00:00:09 GMT", None),
        ("Thu, 01 Jan 2026 99:99:99 GMT", None),
        ("Thu, 01 Jan 0001 00:00:00 +2359", None),
        ("-5", None),
        ("٣", None),
        ("", None),
        ("30", [30.0, 30.0]),
        ("31", []),
        ("86400", []),
        ("9" * 400, []),
        ("Fri, 02 Jan 2026 00:00:00 GMT", []),
    ],
)
def test_it_is_waited_as_long_as_asked_within_bounds(
    stage: Stage, asked: str, waited: list[float] | None
) -> None:
    value = asked.encode("utf-8").decode("latin-1")
    stage.shop.answers["/a.png"] = failing(
        9, lambda c: c.reply("503 Busy", "Content-Length: 0", f"Retry-After: {value}")
    )
    waits = Waits()
    with pytest.raises(FetchError, match="answered 503", check=FAILED):
        stage.fetcher(FetchLimits(wait_s=1.0)).open(
            parse_address("http://shop.example/a.png"), waits
        )
    if waited is None:
        first, second = waits.seconds
        assert 1.0 <= first <= 1.5
        assert 2.0 <= second <= 3.0
    else:
        assert waits.seconds == waited


# Servers that are down


def down(stage: Stage, clock: list[float]) -> WebFetcher:
    """A fetcher whose `shop.example` has failed three images in a row, the last one just now."""
    stage.shop.answers["/a.png"] = failing(9, lambda c: c.reply("503 Busy", "Content-Length: 0"))
    patience = HostPatience(failures=3, pause_s=15, give_up_s=60, monotonic=lambda: clock[0])
    fetcher = stage.fetcher(patience=patience)
    for _ in range(3):
        with pytest.raises(FetchError, match="503", check=FAILED):
            fetcher.open(parse_address("http://shop.example/a.png"))
    return fetcher


def test_a_server_that_is_down_is_waited_for(stage: Stage, clock: list[float]) -> None:
    fetcher = down(stage, clock)
    stage.shop.answers["/a.png"] = photo
    waits = Waits()
    waits.wait = lambda timeout=None: bool(clock.__setitem__(0, clock[0] + (timeout or 0)))  # type: ignore[method-assign]
    with fetcher.open(parse_address("http://shop.example/a.png"), waits) as stream:
        assert stream.read() == PHOTO
    assert clock[0] == 15.0


def test_a_server_that_stays_down_is_not_asked_for_each_image(
    stage: Stage, clock: list[float]
) -> None:
    fetcher = down(stage, clock)
    clock[0] = 60.0
    with pytest.raises(
        FetchError, match="answered 503", check=FAILED
    ):  # one look whether it is back
        fetcher.open(parse_address("http://shop.example/a.png"))
    for _ in range(100):
        with pytest.raises(FetchError, match="failed 4 times in a row", check=FAILED):
            fetcher.open(parse_address("http://shop.example/a.png?sig=SECRET"))
    assert stage.shop.connections == 4


def test_a_server_that_is_back_is_asked_as_before(stage: Stage, clock: list[float]) -> None:
    fetcher = down(stage, clock)
    stage.shop.answers["/a.png"] = photo
    clock[0] = 100.0
    for _ in range(3):
        with fetcher.open(parse_address("http://shop.example/a.png")) as stream:
            assert stream.read() == PHOTO


def test_other_servers_are_asked_meanwhile(stage: Stage, clock: list[float]) -> None:
    fetcher = down(stage, clock)
    stage.shop.answers["/b.png"] = photo
    with fetcher.open(parse_address("http://cdn.example/b.png")) as stream:
        assert stream.read() == PHOTO


def test_a_server_that_answers_no_is_not_down(stage: Stage) -> None:
    fetcher = stage.fetcher(patience=HostPatience(failures=3, pause_s=3600, give_up_s=0))
    for _ in range(9):
        with pytest.raises(FetchError, match="404", check=FAILED):
            fetcher.open(parse_address("http://shop.example/none.png"))
    assert stage.shop.connections == 9


# Secrets


def test_a_token_is_sent_and_told_to_nobody(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    errors = []
    stage.shop.answers["/302.png"] = to("/404.png?sig=SECRET&x=SECRET")
    for path in ("404", "302"):
        with pytest.raises(FetchError, check=FAILED) as caught:
            stage.fetch(f"http://shop.example/{path}.png?sig=SECRET#SECRET")
        errors.append(str(caught.value))
    assert [asked.target for asked in stage.shop.asked] == [
        "/404.png?sig=SECRET",
        "/302.png?sig=SECRET",
        "/404.png?sig=SECRET&x=SECRET",
    ]
    assert all("shop.example/404.png?…" in error for error in errors)
    assert "SECRET" not in "".join(errors) + caplog.text


def test_the_library_tells_no_headers_whatever_the_level() -> None:
    from worker.logs import configure_logging

    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure_logging("json", level=logging.DEBUG)
        assert not logging.getLogger("httpcore2.http11").isEnabledFor(logging.DEBUG)
    finally:
        root.handlers[:], level = before
        root.setLevel(level)


def test_an_answer_is_not_repeated_in_an_error(stage: Stage) -> None:
    with pytest.raises(FetchError, check=FAILED) as caught:
        stage.answered(lambda c, _: c.send(b"HTTP/1.1 404 SECRET\r\nSECRET: x\r\n\r\nSECRET"))
    assert "SECRET" not in str(caught.value)
    with pytest.raises(FetchError, check=FAILED) as caught:
        stage.answered(lambda c, _: c.send(b"SECRET of a service that speaks no HTTP\r\n\r\n"))
    assert "SECRET" not in str(caught.value)
