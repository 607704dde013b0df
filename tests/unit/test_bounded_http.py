"""What a real server keeps of heads and trailers that do not end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from worker.bounded_http import UNSEEN_BYTES, BoundedHttp

PIECE = b"x" * (1 << 14)
GET = b"GET /a?"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"


async def lengths(_: Scope, receive: Receive, send: Send) -> None:
    """Answers with how long the body was."""
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(lengths, http=BoundedHttp, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (GET, PIECE),
        (b"GET / HTTP/1.1\r\nA: ", PIECE),
        (b"GET / HTTP/1.1\r\n", b"A: " + PIECE + b"\r\n"),
        (POST + b"A: ", PIECE),
        (POST, b"A: " + PIECE + b"\r\n"),
    ],
    ids=["an address", "a header", "headers", "a trailer", "trailers"],
)
def test_what_does_not_end_is_not_kept(port: int, begin: bytes, again: bytes) -> None:
    sent, most = 0, 64 << 20
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(begin)
        # It ends somewhere between what is kept and what the system's own buffers take besides.
        with contextlib.suppress(ConnectionError):
            while sent < most:
                connection.sendall(again)
                sent += len(again)
    assert UNSEEN_BYTES // 2 < sent < most


def test_bodies_and_many_requests_have_no_such_bound(port: int) -> None:
    body = 40 * PIECE
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        answers = connection.makefile("rb")
        for _ in range(3):
            connection.sendall(head + body)
            line = answers.readline()
            assert line.startswith(b"HTTP/1.1 200")
            while answers.readline() != b"\r\n":
                pass
            assert int(answers.readline(), 16) == len(str(len(body)))
            assert answers.readline() == b"%d\r\n" % len(body)
            assert answers.readline() + answers.readline() == b"0\r\n\r\n"
