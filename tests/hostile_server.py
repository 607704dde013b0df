"""A web server that behaves as badly as it is told, and a network on which it seems public."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpcore2

from tagging.fetch.network import LookupFailed
from tagging.fetch.public import Address

SHOP = "93.184.216.34"
"""The public address that leads to the hostile server in tests."""
SHOP_V6 = "2606:2800:220:1:248:1893:25c8:1946"


@dataclass(frozen=True)
class Asked:
    """A request as the server got it. `hit`: how many times this path was asked for, from 1."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    hit: int

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


class Connection:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self.closing = closing

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self, status: str = "200 OK", *headers: str, body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status}", *headers, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def image(self, body: bytes, *headers: str) -> None:
        self.reply("200 OK", f"Content-Length: {len(body)}", *headers, body=body)

    def drip(self, data: bytes, every_s: float) -> None:
        """One byte at a time, from the start again at the end, until the client has had enough."""
        at = 0
        while not self.closing.wait(every_s):
            self.send(data[at : at + 1])
            at = (at + 1) % len(data)

    def flood(self, data: bytes) -> None:
        while not self.closing.is_set():
            self.send(data)

    def hang(self) -> None:
        """Nothing more, until the server is closed."""
        self.closing.wait(20)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


Answer = Callable[[Connection, Asked], None]


class HostileServer:
    """Listens on the loopback and counts. `answers`: path without query -> what to do."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.raw: Callable[[Connection], None] | None = None
        """Instead of all else: what to do with a connection before a word was said."""
        self.connections = 0
        self.asked: list[Asked] = []
        self.names: list[str | None] = []
        """What clients called the server in TLS."""
        self._tls = tls
        if tls is not None:
            tls.sni_callback = lambda _sock, name, _context: self.names.append(name)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._wake, self._woken = socket.socketpair()
        self.port: int = self._listening.getsockname()[1]
        self._start(self._accept)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            ready, _, _ = select.select([self._listening, self._woken], [], [])
            if self._woken in ready:
                return
            sock, _ = self._listening.accept()
            with self._lock:
                self.connections += 1
            self._start(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.settimeout(20)
            if self.raw is not None:
                self.raw(Connection(sock, self._closing))
                return
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with sock:
                asked = self._read(sock)
                if asked is not None:
                    path = asked.target.partition("?")[0]
                    self.answers.get(path, _nothing)(Connection(sock, self._closing), asked)

    def _read(self, sock: socket.socket) -> Asked | None:
        head = b""
        while b"\r\n\r\n" not in head:
            block = sock.recv(65536)
            if not block:
                return None
            head += block
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split(" ")
        headers = tuple((key, value.strip()) for key, _, value in (x.partition(":") for x in lines))
        path = target.partition("?")[0]
        with self._lock:
            hit = 1 + sum(one.target.partition("?")[0] == path for one in self.asked)
            self.asked.append(Asked(method, target, headers, hit))
            return self.asked[-1]

    def close(self) -> None:
        self._closing.set()
        self._wake.close()
        for thread in self._threads:
            thread.join(20)
        self._listening.close()
        self._woken.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _nothing(connection: Connection, _: Asked) -> None:
    connection.reply("404 Not Found", "Content-Length: 0")


@dataclass
class StandInNetwork:
    """A network on which `routes` lead to hostile servers, and every other address inside.

    Names have the answers of `names`, one for each look-up, the last one for all further ones;
    a name that is no name but a number is understood as the system's resolver would.
    """

    inside: HostileServer
    routes: dict[tuple[str, int], HostileServer] = field(default_factory=dict)
    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    lookups: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    def resolve(self, host: str, timeout_s: float) -> Sequence[str]:
        assert timeout_s > 0
        self.lookups.append(host)
        if host in self.failing:
            raise LookupFailed("try again")
        answers = self.names.get(host)
        if answers is not None:
            return answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            found = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        except OSError:
            return ()
        return [str(one[4][0]) for one in found]

    def is_own(self, address: Address) -> bool:
        return str(address) in self.own

    def connect(self, address: Address, port: int, timeout_s: float) -> httpcore2.NetworkStream:
        self.connected.append((str(address), port))
        server = self.routes.get((str(address), port), self.inside)
        return httpcore2.SyncBackend().connect_tcp("127.0.0.1", server.port, timeout=timeout_s)
