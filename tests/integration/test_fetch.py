"""Images from the web, fetched from a server that does what it can to get inside or to hang us.

Everything runs with the real rules: only what the operating system would do (look names up and
connect) is a stand-in, on which public addresses lead to the hostile server, all others inside.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import logging
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpcore2
import pytest
import trustme

from tagging.fetch import network as fetch_network
from tagging.fetch.address import FetchError, WebAddress, parse_address
from tagging.fetch.fetcher import FetchLimits, WebFetcher
from tagging.fetch.network import LookupFailed, SystemNetwork
from tagging.fetch.patience import HostPatience
from tagging.images.rejection import ImageRejected, ImageTooLarge
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
from tests.unit.test_fetch_address import INSIDE

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
        self.inside.answers["/"] = _photo
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


def _photo(connection: Connection, _: Asked) -> None:
    connection.image(PHOTO)


def to(location: str, status: str = "302 Found") -> Answer:
    def answer(connection: Connection, _: Asked) -> None:
        connection.reply(status, f"Location: {location}", "Content-Length: 0")

    return answer


# What is fetched


def test_an_image_is_fetched_byte_for_byte(stage: Stage) -> None:
    assert stage.answered(_photo) == PHOTO
    assert stage.network.connected == [(SHOP, 80)]


def test_what_is_asked_says_no_more_than_it_must(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{stage.inside.port}")
    monkeypatch.setenv("NETRC", str(Path(__file__)))
    assert stage.answered(_photo) == PHOTO
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

    stage.shop.answers["/b.png"] = _photo
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
    stage.shop.answers["/a.png"] = _photo
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
    assert stage.answered(_photo) == PHOTO
    assert stage.network.connected == [("93.184.216.35", 80), (SHOP, 80)]
    assert stage.network.lookups == ["shop.example"]
    stage.network.lookups.append("for the second connection")


def test_an_odd_path_is_asked_for_as_it_stands(stage: Stage) -> None:
    stage.shop.answers["/%C3%A9t%C3%A9%201.png"] = _photo
    assert stage.fetch("http://shop.example/été 1.png?sig=a%2Fb") == PHOTO
    assert stage.shop.asked[0].target == "/%C3%A9t%C3%A9%201.png?sig=a%2Fb"


# Inside: no connection, whatever is tried

LITERALS = [
    f"http://[{address}]/" if ":" in address else f"http://{address}/"
    for address in INSIDE
    if "%" not in address
]
DISGUISED = (
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://127.0.0.1:80/",
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://[::ffff:7f00:1]/",
    "http://[::FFFF:127.0.0.1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[fe80::1%25lo]/",
    "http://localhost/",
    "http://LocalHost./",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://metadata.google.internal/",
    "http://shop.example@127.0.0.1/",
    "http://shop.example\\@127.0.0.1/",
    "http://127.0.0.1\\.shop.example/",
    "http://127.0.0.1#.shop.example/",
    "http://127.0.0.1?.shop.example/",
    "http://shop.example:80@inside.example/",
    "http://inside.example/",
    "http://INSIDE.example./",
    "http://nowhere.example/",
    "http://shop.example:22/",
    "file:///etc/passwd",
)


@pytest.mark.parametrize("text", [*LITERALS, *DISGUISED])
def test_no_form_of_an_address_leads_inside(stage: Stage, text: str) -> None:
    with pytest.raises(FetchError):
        stage.fetch(text)
    assert stage.network.connected == []


@pytest.mark.parametrize("address", INSIDE)
def test_no_name_leads_inside(stage: Stage, address: str) -> None:
    stage.network.names["turn.example"] = [[address]]
    with pytest.raises(FetchError, match="leads to no public address"):
        stage.fetch("http://turn.example/")
    assert stage.network.connected == []


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_with_one_inner_address_among_others_is_refused(stage: Stage, address: str) -> None:
    stage.network.names["turn.example"] = [[SHOP, SHOP_V6, address]]
    with pytest.raises(FetchError, match="leads to no public address"):
        stage.fetch("http://turn.example/")
    assert stage.network.connected == []


@pytest.mark.parametrize("text", [*LITERALS, *DISGUISED])
def test_no_redirect_leads_inside(stage: Stage, text: str) -> None:
    location = text.encode("utf-8").decode("latin-1")
    with pytest.raises(FetchError):
        stage.answered(to(location))
    assert stage.network.connected == [(SHOP, 80)]


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "64:ff9b::7f00:1"])
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 T", "308 P"])
def test_no_redirect_to_a_name_leads_inside(stage: Stage, status: str, address: str) -> None:
    stage.network.names["turn.example"] = [[address]]
    with pytest.raises(FetchError, match="leads to no public address"):
        stage.answered(to("//turn.example/", status))
    assert stage.network.connected == [(SHOP, 80)]


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "::1", "fd00:ec2::254"])
def test_a_name_that_turns_inside_after_its_check_is_not_followed(
    stage: Stage, address: str
) -> None:
    """Rebinding: one look-up for the check and the connection, whatever the next one would say."""
    stage.network.names["shop.example"] = [[SHOP], [address]]
    assert stage.answered(_photo) == PHOTO
    assert stage.network.lookups == ["shop.example"]
    with pytest.raises(FetchError, match="leads to no public address"):
        stage.fetch("http://shop.example/a.png")
    assert stage.network.connected == [(SHOP, 80)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_name_that_turns_inside_between_hops_is_not_followed(stage: Stage, address: str) -> None:
    stage.network.names["shop.example"] = [[SHOP], [address]]
    with pytest.raises(FetchError, match="leads to no public address"):
        stage.answered(to("/b.png"))
    assert stage.network.connected == [(SHOP, 80)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_name_that_turns_inside_between_tries_is_not_followed(stage: Stage, address: str) -> None:
    stage.network.names["shop.example"] = [[SHOP], [address]]
    with pytest.raises(FetchError, match="leads to no public address"):
        stage.answered(
            lambda connection, _: connection.reply("503 Busy", "Content-Length: 0"), AGAIN
        )
    assert stage.network.connected == [(SHOP, 80)]


def test_a_public_address_that_is_this_machine_is_not_connected_to(stage: Stage) -> None:
    stage.network.own.add(SHOP)
    with pytest.raises(FetchError, match="leads to no public address"):
        stage.answered(_photo)
    assert stage.network.connected == []


def test_it_is_not_told_which_names_exist_inside(stage: Stage) -> None:
    said = []
    for name in ("inside.example", "nowhere.example"):
        with pytest.raises(FetchError) as caught:
            stage.fetch(f"http://{name}/")
        said.append(str(caught.value).replace(name, "NAME"))
    assert said[0] == said[1]
    assert "10.0.0.5" not in said[0]


# Inside, with the system's own network

FORMS = (
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.9.9.9",
    "localhost",
    "0.0.0.0",
    "0",
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "::",
)


@pytest.mark.parametrize("host", FORMS)
def test_the_system_connects_to_none_of_these(stage: Stage, host: str) -> None:
    """Behind the reading of addresses, which refuses most of these: the check of the connection."""
    address = WebAddress(scheme="http", host=host, port=stage.inside.port, target="/")
    with pytest.raises(FetchError, match="leads to no public address"):
        WebFetcher(limits=ONCE, network=SystemNetwork()).open(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_without_the_check_it_would_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """So the canary can sing."""
    monkeypatch.setattr(fetch_network, "is_public", lambda _: True)
    system = SystemNetwork()
    monkeypatch.setattr(system, "is_own", lambda _: False)
    with HostileServer() as inside:
        inside.answers["/"] = _photo
        address = WebAddress(scheme="http", host=host, port=inside.port, target="/")
        with WebFetcher(limits=ONCE, network=system, spool_dir=tmp_path).open(address) as stream:
            assert stream.read() == PHOTO
        assert inside.connections == 1


def test_this_machine_knows_its_own_addresses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SystemNetwork().is_own(fetch_network.ip_address("127.0.0.1"))
    assert not SystemNetwork().is_own(fetch_network.ip_address(SHOP))
    monkeypatch.setattr(fetch_network, "is_public", lambda _: True)
    address = WebAddress(scheme="http", host="127.0.0.1", port=stage.inside.port, target="/")
    with pytest.raises(FetchError, match="leads to no public address"):
        WebFetcher(limits=ONCE, network=SystemNetwork()).open(address)


def test_a_name_that_does_not_exist_has_no_address() -> None:
    assert SystemNetwork().resolve("127.0.0.1", 5.0) == ["127.0.0.1"]
    assert SystemNetwork().resolve("::1", 5.0) == ["::1"]


def test_a_name_is_asked_for_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dot at its end keeps the resolver from adding our own domain to it."""
    asked = []

    def getaddrinfo(host: bytes, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert SystemNetwork().resolve("shop.example", 5.0) == ()
    assert asked == [b"shop.example."]


def test_a_look_up_that_hangs_or_fails_is_no_missing_name(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait(20) and [])
    with pytest.raises(LookupFailed, match="timed out"):
        SystemNetwork().resolve("shop.example", 0.05)
    end.set()

    def fail(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(LookupFailed, match="try again"):
        SystemNetwork().resolve("shop.example", 5.0)


# Redirects


def test_redirects_are_followed_to_the_image(stage: Stage) -> None:
    stage.shop.answers["/b.png"] = to("http://cdn.example/c.png", "301 Moved")
    stage.shop.answers["/c.png"] = to("//SIX.example/d.png", "308 Permanent")
    stage.shop.answers["/d.png"] = _photo
    assert stage.answered(to("b.png")) == PHOTO
    assert stage.network.connected == [(SHOP, 80)] * 3 + [(SHOP_V6, 80)]
    assert [asked.header("host") for asked in stage.shop.asked] == [
        ["shop.example"],
        ["shop.example"],
        ["cdn.example"],
        ["six.example"],
    ]


def test_a_loop_of_redirects_ends(stage: Stage) -> None:
    with pytest.raises(FetchError, match="more than 5 times"):
        stage.answered(to("/a.png"))
    assert stage.shop.connections == 6


def test_an_endless_chain_of_redirects_ends(stage: Stage) -> None:
    with pytest.raises(FetchError, match="more than 5 times"):
        stage.answered(lambda c, asked: to(f"/a.png?{asked.hit}")(c, asked))
    assert stage.shop.connections == 6


def test_a_redirect_with_an_endless_body_is_not_read(stage: Stage) -> None:
    def answer(connection: Connection, _: Asked) -> None:
        connection.reply("302 Found", "Location: /b.png")
        connection.flood(bytes(65536))

    stage.shop.answers["/b.png"] = _photo
    assert stage.answered(answer) == PHOTO


@pytest.mark.parametrize("status", ["300 Choices", "302 Found", "304 Not Modified", "305 Proxy"])
def test_a_redirect_to_nowhere_is_refused(stage: Stage, status: str) -> None:
    with pytest.raises(FetchError, match=status[:3]):
        stage.answered(lambda c, _: c.reply(status, "Content-Length: 0"))
    assert stage.shop.connections == 1


def test_redirects_share_one_deadline(stage: Stage) -> None:
    def slowly(connection: Connection, asked: Asked) -> None:
        connection.closing.wait(0.15)
        to("/a.png")(connection, asked)

    with pytest.raises(FetchError, match="took too long"):
        stage.answered(slowly, FetchLimits(total_s=0.4, tries=1))
    assert stage.shop.connections <= 4


# Time


@pytest.mark.parametrize(
    "answer",
    [
        lambda c, _: c.hang(),
        lambda c, _: c.drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60000, 0.02),
        lambda c, _: c.drip(b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
        lambda c, _: (c.reply("200 OK", "Content-Length: 5000"), c.drip(PHOTO, 0.02)),
        lambda c, _: (c.reply("200 OK"), c.drip(PHOTO, 0.02)),
        lambda c, _: (c.reply("200 OK", "Transfer-Encoding: chunked"), c.drip(b"1\r\nx\r\n", 0.01)),
        lambda c, _: (c.reply("200 OK", "Transfer-Encoding: chunked"), c.drip(b"5;" + b"x" * 9, 0)),
        lambda c, _: (c.reply("200 OK", "Content-Length: 5000", body=PHOTO), c.hang()),
        lambda c, _: (
            c.reply("200 OK", "Transfer-Encoding: chunked", body=b"0\r\n"),
            c.drip(b"X: y\r\n", 0.01),
        ),
    ],
    ids=[
        "silence",
        "headers",
        "continues",
        "length",
        "no length",
        "chunks",
        "chunk size",
        "half a body",
        "trailers",
    ],
)
def test_however_slowly_it_comes_it_ends_in_time(stage: Stage, answer: Answer) -> None:
    with pytest.raises((FetchError, ImageRejected), match=r"too long|speak HTTP"):
        stage.answered(answer, SHORT)


def test_a_server_that_accepts_and_says_nothing_in_tls_ends_in_time(stage: Stage) -> None:
    stage.secure.raw = lambda connection: connection.hang()
    with pytest.raises(FetchError, match="took too long"):
        stage.fetch("https://shop.example/a.png", SHORT)


def test_a_handshake_that_drips_ends_in_time(stage: Stage) -> None:
    stage.secure.raw = lambda connection: connection.drip(
        b"\x16\x03\x03\x40\x00" + bytes(999), 0.02
    )
    with pytest.raises(FetchError, match=r"too long|could not be reached"):
        stage.fetch("https://shop.example/a.png", SHORT)


def test_a_look_up_that_uses_the_time_up_leaves_none_to_connect(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: str, timeout_s: float) -> list[str]:
        threading.Event().wait(timeout_s + 0.01)
        return [SHOP]

    monkeypatch.setattr(stage.network, "resolve", slow)
    with pytest.raises(FetchError, match="took too long"):
        stage.fetch("http://shop.example/a.png", FetchLimits(total_s=0.1, tries=1))
    assert stage.network.connected == []


@pytest.mark.parametrize("secure", [False, True])
def test_a_fetch_that_nobody_waits_for_ends(stage: Stage, secure: bool) -> None:
    stopped, begun = threading.Event(), threading.Event()

    def drip(connection: Connection, _: Asked) -> None:
        connection.reply("200 OK", "Content-Length: 5000")
        begun.set()
        connection.drip(PHOTO, 0.01)

    server, scheme = (stage.secure, "https") if secure else (stage.shop, "http")
    server.answers["/a.png"] = drip
    errors: list[Exception] = []

    def fetch() -> None:
        try:
            stage.fetcher(FetchLimits(total_s=60, idle_s=60)).open(
                parse_address(f"{scheme}://shop.example/a.png"), stopped
            )
        except FetchError as error:
            errors.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    assert begun.wait(10)
    stopped.set()
    thread.join(10)
    assert [str(error) for error in errors] == [
        f"'{scheme}://shop.example/a.png' was not fetched to its end"
    ]


# Size


@pytest.mark.parametrize(
    "answer",
    [
        lambda c, _: (c.reply("200 OK", f"Content-Length: {MAX_BYTES + 1}"), c.hang()),
        lambda c, _: (c.reply("200 OK", "Content-Length: 99999999999999999999"), c.hang()),
        lambda c, _: (c.reply(body=PHOTO), c.flood(bytes(4096))),
        lambda c, _: c.reply(body=PHOTO + bytes(MAX_BYTES)),
        lambda c, _: (
            c.reply("200 OK", "Transfer-Encoding: chunked"),
            c.flood(b"1000\r\n" + bytes(4096) + b"\r\n"),
        ),
        lambda c, _: (
            c.reply("200 OK", "Transfer-Encoding: chunked", body=b"7fffffffffffffff\r\n"),
            c.flood(bytes(65536)),
        ),
        # Little in it, but endless around it
        lambda c, _: (
            c.reply("200 OK", "Transfer-Encoding: chunked"),
            c.flood((b"1;" + b"x" * 2000 + b"\r\n\xff\r\n") * 30),
        ),
        lambda c, _: c.flood(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 500),
    ],
    ids=[
        "declared",
        "declared absurdly",
        "endless",
        "one byte more",
        "endless chunks",
        "one huge chunk",
        "endless framing",
        "endless hints",
    ],
)
def test_what_is_too_much_is_not_read_on(stage: Stage, answer: Answer) -> None:
    with pytest.raises(ImageTooLarge, match="more than the 100,000 bytes allowed"):
        stage.answered(answer, FetchLimits(max_bytes=MAX_BYTES, total_s=30, tries=1))


def test_an_image_of_exactly_the_size_allowed_passes(stage: Stage) -> None:
    body = PHOTO + bytes(MAX_BYTES - len(PHOTO))
    assert stage.answered(lambda connection, _: connection.reply(body=body)) == body


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Bomb: " + b"x" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60_000 + b"\r\n",
        b"HTTP/1.1 200 " + b"O" * 300_000 + b"\r\n\r\n",
    ],
    ids=["one header", "many headers", "a long reason"],
)
def test_a_bomb_of_headers_is_bounded(stage: Stage, head: bytes) -> None:
    with pytest.raises(FetchError, match="did not speak HTTP"):
        stage.answered(lambda connection, _: connection.send(head))


def test_endless_headers_are_bounded(stage: Stage) -> None:
    def answer(connection: Connection, _: Asked) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\n")
        connection.flood(b"X: y\r\n" * 1000)

    with pytest.raises(FetchError, match="did not speak HTTP"):
        stage.answered(answer)


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "x-unknown", "identity, gzip"]
)
def test_nothing_is_unpacked(stage: Stage, encoding: str) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(FetchError, match="compressed"):
        stage.answered(lambda c, _: c.image(bomb, f"Content-Encoding: {encoding}"))


def test_a_bomb_that_does_not_say_so_stays_packed(stage: Stage) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert stage.answered(lambda c, _: c.image(bomb)) == bomb


def test_identity_is_no_compression(stage: Stage) -> None:
    assert stage.answered(lambda c, _: c.image(PHOTO, "Content-Encoding: identity")) == PHOTO


# Answers that are none


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\n",
        PHOTO,
        b"<html><body>HTTP/0.9 has no headers</body></html>",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + PHOTO,
        b"HTTP/2 200 OK\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200\r\nContent Length: 3\r\n\r\nabc",
        b"HTTP/1.1 abc OK\r\n\r\n" + PHOTO,
        b"HTTP/1.1 20 OK\r\n\r\n" + PHOTO,
        b"ICY 200 OK\r\n\r\n" + PHOTO,
        b"SSH-2.0-OpenSSH_9.7\r\n",
        b"220 mail.example ESMTP\r\n",
        b"-ERR unknown command 'GET'\r\n",
        b"\x15\x03\x03\x00\x02\x02\x0a",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" + gzip.compress(PHOTO),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\n Folded: first\r\n\r\n" + PHOTO,
        b"HTTP/1.1 200 OK\r\nX\x00Y: z\r\n\r\n" + PHOTO,
    ],
)
def test_junk_is_no_image(stage: Stage, junk: bytes) -> None:
    with pytest.raises(FetchError, match=r"broke off|speak HTTP") as caught:
        stage.answered(lambda connection, _: connection.send(junk))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("cut", [1, 20, 60, 90])
def test_a_connection_that_is_reset_is_no_image(stage: Stage, cut: int) -> None:
    def answer(connection: Connection, _: Asked) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PHOTO)}\r\n\r\n".encode()
        connection.send((head + PHOTO)[:cut])
        connection.reset()

    with pytest.raises(FetchError, match=r"broke off|reached"):
        stage.answered(answer)


def test_a_length_that_is_too_short_gives_no_more_and_a_broken_image(stage: Stage) -> None:
    found = stage.answered(lambda c, _: c.reply("200 OK", "Content-Length: 20", body=PHOTO))
    assert found == PHOTO[:20]


def test_what_follows_an_image_is_not_taken_for_the_next_one(stage: Stage) -> None:
    other = picture(10)
    hidden = f"HTTP/1.1 200 OK\r\nContent-Length: {len(other)}\r\n\r\n".encode() + other
    fetcher = stage.fetcher()
    stage.shop.answers["/a.png"] = lambda c, _: (
        c.image(PHOTO, "Connection: keep-alive") or c.send(hidden)
    )
    stage.shop.answers["/b.png"] = _photo
    for path in ("a", "b"):
        with fetcher.open(parse_address(f"http://shop.example/{path}.png")) as stream:
            assert stream.read() == PHOTO
    assert stage.shop.connections == 2


@pytest.mark.parametrize(
    "status",
    [
        "201 Created",
        "202 Accepted",
        "203 Non-Authoritative",
        "204 No Content",
        "205 Reset Content",
        "206 Partial Content",
        "226 IM Used",
        "400 Bad Request",
        "401 Unauthorized",
        "402 Pay",
        "403 Forbidden",
        "404 Not Found",
        "405 Method",
        "406 Not Acceptable",
        "410 Gone",
        "416 Range",
        "418 Teapot",
        "451 Law",
        "501 No",
        "505 Version",
        "599 Odd",
        "600 Odder",
        "999 Blocked",
    ],
)
def test_only_200_is_an_image_and_nothing_else_is_tried_again(stage: Stage, status: str) -> None:
    def answer(connection: Connection, _: Asked) -> None:
        none = status[:3] in ("204", "205")
        connection.reply(status, "Content-Length: 0") if none else connection.reply(
            status, f"Content-Length: {len(PHOTO)}", body=PHOTO
        )

    with pytest.raises(FetchError, match=f"answered with {status[:3]}") as caught:
        stage.answered(answer, AGAIN)
    assert "deliver the file" in str(caught.value)
    assert stage.shop.connections == 1


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "an empty file"),
        (b"<!doctype html><title>Log in</title>", "HTML"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\r\n\r\n  <html lang=en>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b'{"error": "not found"}', "a text"),
        (b"Access denied", "a text"),
        (b"root:x:0:0:root:/root:/bin/bash\n" * 100, "a text"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"8BPS" + bytes(1000), "Photoshop"),
    ],
)
def test_what_is_plainly_no_image_is_refused_whatever_it_is_called(
    stage: Stage, body: bytes, what: str
) -> None:
    with pytest.raises(ImageRejected, match=what) as caught:
        stage.answered(lambda c, _: c.image(body, "Content-Type: image/png"), AGAIN)
    assert "http://shop.example/a.png" in caught.value.detail
    assert stage.shop.connections == 1


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream", "", "image/svg+xml"])
def test_an_image_is_one_whatever_it_is_called(stage: Stage, kind: str) -> None:
    assert stage.answered(lambda c, _: c.image(PHOTO, f"Content-Type: {kind}")) == PHOTO


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_that_is_read_is_let_through(stage: Stage, form: str) -> None:
    body = picture(90, form=form)
    assert stage.answered(lambda connection, _: connection.image(body)) == body


# TLS


def test_a_server_is_verified_by_the_name_of_the_address(stage: Stage) -> None:
    stage.secure.answers["/a.png"] = _photo
    assert stage.fetch("https://shop.example/a.png") == PHOTO
    assert stage.fetch(f"https://{SHOP}/a.png") == PHOTO
    assert stage.secure.names == ["shop.example", None]
    assert stage.network.connected == [(SHOP, 443)] * 2
    assert stage.secure.asked[0].header("host") == ["shop.example"]


@pytest.mark.parametrize("names", [("other.example",), ("*.example.org",), ("cdn.shop.example",)])
def test_a_certificate_of_another_name_is_refused(stage: Stage, names: tuple[str, ...]) -> None:
    with HostileServer(stage.certificate(*names)) as server:
        stage.network.routes[SHOP, 443] = server
        with pytest.raises(FetchError, match="no valid certificate"):
            stage.fetch("https://shop.example/a.png", AGAIN)
        assert (server.connections, server.asked) == (1, [])


def test_a_certificate_of_an_unknown_authority_is_refused(stage: Stage) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("shop.example").configure_cert(context)
    with HostileServer(context) as server:
        stage.network.routes[SHOP, 443] = server
        with pytest.raises(FetchError, match="no valid certificate"):
            stage.fetch("https://shop.example/a.png")
        assert server.asked == []


def test_a_certificate_that_ran_out_is_refused(stage: Stage) -> None:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with HostileServer(
        stage.certificate("shop.example", not_before=past, not_after=past + dt.timedelta(days=9))
    ) as server:
        stage.network.routes[SHOP, 443] = server
        with pytest.raises(FetchError, match="no valid certificate"):
            stage.fetch("https://shop.example/a.png")
        assert server.asked == []


def test_the_default_verifies_servers(stage: Stage) -> None:
    with pytest.raises(FetchError, match="no valid certificate"):
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
        with pytest.raises(FetchError, match="could not be reached"):
            stage.fetch("https://shop.example/a.png")
        assert server.asked == []


def test_a_server_without_tls_is_not_spoken_to_in_the_clear(stage: Stage) -> None:
    stage.network.routes[SHOP, 443] = stage.shop
    stage.shop.raw = lambda connection: connection.reply(body=PHOTO)
    with pytest.raises(FetchError, match="could not be reached"):
        stage.fetch("https://shop.example/a.png")


def test_https_does_not_lead_to_http(stage: Stage) -> None:
    stage.secure.answers["/a.png"] = to("http://shop.example/a.png")
    with pytest.raises(FetchError, match="from https to http"):
        stage.fetch("https://shop.example/a.png")
    assert stage.shop.connections == 0


def test_http_may_lead_to_https(stage: Stage) -> None:
    stage.secure.answers["/a.png"] = _photo
    assert stage.answered(to("https://shop.example/a.png")) == PHOTO


def test_a_redirect_to_a_name_without_certificate_is_refused(stage: Stage) -> None:
    stage.network.names["other.example"] = [[SHOP]]
    stage.secure.answers["/a.png"] = to("https://other.example/a.png")
    with pytest.raises(FetchError, match="no valid certificate"):
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
    with pytest.raises(FetchError, match=rf"answered {status} .*\(3 tries\)\. Deliver the line"):
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
    with pytest.raises(FetchError, match="could not be looked up"):
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
    with pytest.raises(FetchError, match="answered 503"):
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


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


def down(stage: Stage, clock: list[float]) -> WebFetcher:
    """A fetcher whose `shop.example` has failed three images in a row, the last one just now."""
    stage.shop.answers["/a.png"] = failing(9, lambda c: c.reply("503 Busy", "Content-Length: 0"))
    patience = HostPatience(failures=3, pause_s=15, give_up_s=60, monotonic=lambda: clock[0])
    fetcher = stage.fetcher(patience=patience)
    for _ in range(3):
        with pytest.raises(FetchError, match="503"):
            fetcher.open(parse_address("http://shop.example/a.png"))
    return fetcher


def test_a_server_that_is_down_is_waited_for(stage: Stage, clock: list[float]) -> None:
    fetcher = down(stage, clock)
    stage.shop.answers["/a.png"] = _photo
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
    with pytest.raises(FetchError, match="answered 503"):  # one look whether it is back
        fetcher.open(parse_address("http://shop.example/a.png"))
    for _ in range(100):
        with pytest.raises(FetchError, match="failed 4 times in a row"):
            fetcher.open(parse_address("http://shop.example/a.png?sig=SECRET"))
    assert stage.shop.connections == 4


def test_a_server_that_is_back_is_asked_as_before(stage: Stage, clock: list[float]) -> None:
    fetcher = down(stage, clock)
    stage.shop.answers["/a.png"] = _photo
    clock[0] = 100.0
    for _ in range(3):
        with fetcher.open(parse_address("http://shop.example/a.png")) as stream:
            assert stream.read() == PHOTO


def test_other_servers_are_asked_meanwhile(stage: Stage, clock: list[float]) -> None:
    fetcher = down(stage, clock)
    stage.shop.answers["/b.png"] = _photo
    with fetcher.open(parse_address("http://cdn.example/b.png")) as stream:
        assert stream.read() == PHOTO


def test_a_server_that_answers_no_is_not_down(stage: Stage) -> None:
    fetcher = stage.fetcher(patience=HostPatience(failures=3))
    for _ in range(9):
        with pytest.raises(FetchError, match="404"):
            fetcher.open(parse_address("http://shop.example/none.png"))
    assert stage.shop.connections == 9


# Secrets


def test_a_token_is_sent_and_told_to_nobody(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    errors = []
    stage.shop.answers["/302.png"] = to("/404.png?sig=SECRET&x=SECRET")
    for path in ("404", "302"):
        with pytest.raises(FetchError) as caught:
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
    with pytest.raises(FetchError) as caught:
        stage.answered(lambda c, _: c.send(b"HTTP/1.1 404 SECRET\r\nSECRET: x\r\n\r\nSECRET"))
    assert "SECRET" not in str(caught.value)
    with pytest.raises(FetchError) as caught:
        stage.answered(lambda c, _: c.send(b"SECRET of a service that speaks no HTTP\r\n\r\n"))
    assert "SECRET" not in str(caught.value)


# The door itself


class Recorder(httpcore2.NetworkStream):
    """Remembers how long each step might have taken."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        self.closed = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        return bytes(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self.timeouts.append(timeout)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002
        server_hostname: str | None = None,  # noqa: ARG002
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        self.timeouts.append(timeout)
        return self

    def close(self) -> None:
        self.closed = True


def test_no_step_may_take_longer_than_what_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    recorder = Recorder()

    def connect(_address: object, _port: int, timeout_s: float) -> httpcore2.NetworkStream:
        recorder.timeouts.append(timeout_s)
        return recorder

    monkeypatch.setattr(stage.network, "connect", connect)
    deadline = fetch_network.Deadline(10.0, threading.Event(), monotonic=lambda: clock[0])
    backend = fetch_network.CheckedBackend(stage.network, deadline, max_bytes=100)
    stream = backend.connect_tcp("shop.example", 80, timeout=5.0)
    clock[0] = 8.0
    secure = stream.start_tls(stage.trusted, "shop.example", timeout=5.0)
    secure.write(b"GET", timeout=1.0)
    secure.read(1, timeout=5.0)
    secure.read(1, timeout=None)
    assert recorder.timeouts == [5.0, 2.0, 1.0, 2.0, 2.0]
    clock[0] = 10.0
    for step in (
        lambda: backend.connect_tcp("shop.example", 80, timeout=5.0),
        lambda: secure.write(b"GET", timeout=5.0),
        lambda: secure.read(1, timeout=5.0),
        lambda: stream.start_tls(stage.trusted, "shop.example", timeout=5.0),
    ):
        with pytest.raises(httpcore2.TimeoutException):
            step()
    assert len(recorder.timeouts) == 5
    assert recorder.closed


def test_no_unix_socket_can_be_reached(stage: Stage) -> None:
    backend = fetch_network.CheckedBackend(
        stage.network, fetch_network.Deadline(1.0, threading.Event()), max_bytes=1
    )
    with pytest.raises(NotImplementedError):
        backend.connect_unix_socket("/run/docker.sock")
    assert isinstance(backend, httpcore2.NetworkBackend)


def test_a_disk_that_is_full_is_no_fault_of_the_image(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tagging.fetch.fetcher.SpooledTemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match="No space left"):
        stage.answered(_photo, AGAIN)
    assert stage.shop.connections == 1
