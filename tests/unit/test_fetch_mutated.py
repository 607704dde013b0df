"""Addresses and answers changed at random: each is understood or refused, none ends an upload.

More of them: `ATELIER_FETCH_MUTATIONS=500000 pytest tests/unit/test_fetch_mutated.py`.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence

import httpcore2
import pytest

from tagging.fetch.address import FetchError, WebAddress, follow, parse_address
from tagging.fetch.fetcher import FetchLimits, WebFetcher
from tagging.fetch.patience import HostPatience
from tagging.fetch.public import Address
from tagging.images.rejection import ImageRejected
from tests.stand_in import picture

ROUNDS = int(os.environ.get("ATELIER_FETCH_MUTATIONS", "800"))
PHOTO = picture(9)

ADDRESSES = (
    "http://127.0.0.1/",
    "https://shop.example:443/a?b#c",
    "http://[::1]/",
    "http://xn--caf-dma.example",
    "http://user@shop.example/",
    "https://①②⑦.0.0.1",
    "//cdn.example/x",
    "../a",
    "http:x",
)
LETTERS = (
    "abcxn-._0189:/?#@[]%\\ \t\r\n\x00\x7f|'\"<>éß☃。．１⓪\u200b\u200d\u0660\u0301\u05d0\u0627"
    "\u3164\ud800\udcff\U0001f600\u2488"
)
PARTS = ("xn--", "%2e", "0x", "..", "[", "]", "://", "@")


@pytest.mark.parametrize("seed", range(4))
def test_every_text_is_an_address_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    here = parse_address("https://shop.example/a/b?c")
    understood = 0
    for _ in range(ROUNDS):
        text = rng.choice(ADDRESSES)
        for _ in range(rng.randrange(1, 8)):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice((*LETTERS, *PARTS)) + text[at + rng.randrange(2) :]
        understood += _consistent(lambda text=text: parse_address(text))  # type: ignore[misc]
        understood += _consistent(lambda text=text: follow(here, text))  # type: ignore[misc]
    assert understood > ROUNDS / 10


def _consistent(read: Callable[[], WebAddress]) -> bool:
    """Whether there is an address; it must read the same once more."""
    try:
        found = read()
    except FetchError:
        return False
    assert found.host.isascii()
    assert found.port in (80, 443)
    assert found.target.startswith("/")
    assert all("!" <= letter <= "~" for letter in found.target)
    assert parse_address(f"{found.scheme}://{found.authority}{found.target}") == found
    return True


ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO,
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nabcde",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(PHOTO)
    + PHOTO
    + b"\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /x\xe9?\xff\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: Thu, 01 Jan 2026 00:00:09 GMT\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 99999999999\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + PHOTO,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + PHOTO,
)
PIECES = (
    b"\r\n",
    b"\0",
    b"\xff",
    b": ",
    b",",
    b"-1",
    b"99999999999999999999999",
    b"Location: http://[\r\n",
    b"Retry-After: Thu, 99 Foo 99999 25:61:61 +9999\r\n",
    b"Retry-After: Mon, 01 Jan 0001 00:00:00 +2359\r\n",
    b"Content-Length: 0\r\n",
    b"HTTP/1.1 999 \r\n",
    b"Connection: upgrade\r\n",
)


class MutatedNetwork:
    """Every connection is answered by a changed answer, in pieces of any size."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def resolve(self, host: str, timeout_s: float) -> Sequence[str]:  # noqa: ARG002
        return ["93.184.216.34"]

    def is_own(self, address: Address) -> bool:  # noqa: ARG002
        return False

    def connect(self, _address: Address, _port: int, _s: float) -> httpcore2.NetworkStream:
        return _Answer(self.rng, self._mutated())

    def _mutated(self) -> bytes:
        rng, data = self.rng, bytearray(self.rng.choice(ANSWERS))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(min(90, len(data)) if rng.random() < 0.7 else len(data))
            match rng.randrange(4):
                case 0:
                    data[at:at] = rng.choice(PIECES)
                case 1:
                    data[at] = rng.randrange(256)
                case 2:
                    del data[at : at + rng.randrange(1, 9)]
                case 3:
                    other = rng.randrange(len(data))
                    data[at:at] = data[other : other + 20]
        return bytes(data)


class _Answer(httpcore2.NetworkStream):
    def __init__(self, rng: random.Random, data: bytes) -> None:
        self.rng = rng
        self.data = data

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        size = self.rng.randrange(1, 200)
        found, self.data = self.data[:size], self.data[size:]
        return found

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Nobody reads it."""

    def close(self) -> None:
        """Nothing is open."""


class NoWait(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        return False


@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_an_image_or_refused(seed: int) -> None:
    fetcher = WebFetcher(
        limits=FetchLimits(max_bytes=100_000, tries=2),
        network=MutatedNetwork(random.Random(seed)),
        patience=HostPatience(failures=10**9),
    )
    address, images, said = parse_address("http://shop.example/a.png"), 0, set()
    for _ in range(ROUNDS // 2):
        try:
            with fetcher.open(address, NoWait()) as stream:
                images += len(stream.read()) > 0
        except (FetchError, ImageRejected) as error:
            said.add(str(error))
    assert images > ROUNDS / 20
    assert len(said) > 5
    assert all(text.isprintable() for text in said)
