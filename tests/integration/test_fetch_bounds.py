"""A fetch ends, in time and at its size, whatever its server sends."""

from __future__ import annotations

import gzip
import io
import ssl
import threading
from typing import Any

import httpcore2
import pytest

from tagging.fetch import network as fetch_network
from tagging.fetch.address import FetchError, parse_address
from tagging.fetch.fetcher import FetchLimits
from tagging.images.rejection import ImageRejected, ImageTooLarge
from tests import fetch_stage
from tests.fetch_stage import AGAIN, FAILED, MAX_BYTES, PHOTO, SHORT, Stage, photo
from tests.hostile_server import (
    SHOP,
    Answer,
    Asked,
    Connection,
)
from tests.stand_in import picture

authority = fetch_stage.authority
stage = fetch_stage.stage
clock = fetch_stage.clock


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
    with pytest.raises(FetchError, match="took too long", check=FAILED):
        stage.fetch("https://shop.example/a.png", SHORT)


def test_a_handshake_that_drips_ends_in_time(stage: Stage) -> None:
    stage.secure.raw = lambda connection: connection.drip(
        b"\x16\x03\x03\x40\x00" + bytes(999), 0.02
    )
    with pytest.raises(FetchError, match=r"too long|could not be reached", check=FAILED):
        stage.fetch("https://shop.example/a.png", SHORT)


def test_a_look_up_that_uses_the_time_up_leaves_none_to_connect(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: str, timeout_s: float) -> list[str]:
        threading.Event().wait(timeout_s + 0.01)
        return [SHOP]

    monkeypatch.setattr(stage.network, "resolve", slow)
    with pytest.raises(FetchError, match="took too long", check=FAILED):
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
    with pytest.raises(FetchError, match="did not speak HTTP", check=FAILED):
        stage.answered(lambda connection, _: connection.send(head))


def test_endless_headers_are_bounded(stage: Stage) -> None:
    def answer(connection: Connection, _: Asked) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\n")
        connection.flood(b"X: y\r\n" * 1000)

    with pytest.raises(FetchError, match="did not speak HTTP", check=FAILED):
        stage.answered(answer)


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "x-unknown", "identity, gzip"]
)
def test_nothing_is_unpacked(stage: Stage, encoding: str) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(FetchError, match="compressed", check=FAILED):
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
    with pytest.raises(FetchError, match=r"broke off|speak HTTP", check=FAILED) as caught:
        stage.answered(lambda connection, _: connection.send(junk))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("cut", [1, 20, 60, 90])
def test_a_connection_that_is_reset_is_no_image(stage: Stage, cut: int) -> None:
    def answer(connection: Connection, _: Asked) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PHOTO)}\r\n\r\n".encode()
        connection.send((head + PHOTO)[:cut])
        connection.reset()

    with pytest.raises(FetchError, match=r"broke off|reached", check=FAILED):
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
    stage.shop.answers["/b.png"] = photo
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

    with pytest.raises(FetchError, match=f"answered with {status[:3]}", check=FAILED) as caught:
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
        stage.answered(photo, AGAIN)
    assert stage.shop.connections == 1
