"""The only door to the network: every connection is made here, to an address that was checked.

A name is looked up once for a connection, every address that it has is checked, and one of those
very addresses is connected to. A name that leads elsewhere a moment later ("rebinding") leads us
nowhere. `Host` and the name in TLS stay those of the web address.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from ssl import SSLContext
from typing import Any, Final, Protocol

import httpcore2

from tagging.fetch.public import Address, is_public

MOST_ADDRESSES: Final = 64
"""A name with more has its answer cut; all that is left of it is checked."""
TRIED_ADDRESSES: Final = 4
"""How many addresses of a name are connected to, one after the other, until one answers."""

_SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


class LookupFailed(Exception):
    """The name service did not answer; it may do so later."""


class NotPublicError(Exception):
    """A host has no address, or one that is not public, or is this very machine."""


class StoppedError(Exception):
    """Nobody wants the answer any more."""


class TooMuchError(Exception):
    """The server sent more than an image and its framing can have."""


class Network(Protocol):
    """What is asked of the operating system."""

    def resolve(self, host: str, timeout_s: float) -> Sequence[str]:
        """All addresses of a name or of an address. Empty: it has none. Raises LookupFailed."""

    def is_own(self, address: Address) -> bool:
        """Whether `address` is one of this machine, so that a connection would not leave it."""

    def connect(self, address: Address, port: int, timeout_s: float) -> httpcore2.NetworkStream:
        """Connect to exactly this address.

        Raises:
            httpcore2.ConnectError, httpcore2.ConnectTimeout
        """


class SystemNetwork:
    """The network of this machine."""

    def resolve(self, host: str, timeout_s: float) -> Sequence[str]:
        """See `Network.resolve`.

        In a thread of its own: `getaddrinfo` cannot be told how long it may take. One that hangs
        is left behind; the resolver's own time-outs end it.
        """
        answer: list[Sequence[str] | OSError] = []

        def ask() -> None:
            try:
                answer.append(_addresses(host))
            except OSError as error:
                answer.append(error)

        thread = threading.Thread(target=ask, name=f"resolve {host}", daemon=True)
        thread.start()
        thread.join(timeout_s)
        if not answer:
            raise LookupFailed("timed out")
        if isinstance(answer[0], OSError):
            if isinstance(answer[0], socket.gaierror) and answer[0].errno in _NO_SUCH_NAME:
                return ()
            raise LookupFailed(str(answer[0])) from answer[0]
        return answer[0]

    def is_own(self, address: Address) -> bool:
        """See `Network.is_own`. A UDP socket that is connected sends nothing, but gets as its own
        address the one from which the kernel would speak to `address`: the same for our own."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((str(address), 9))
                return ip_address(probe.getsockname()[0]) == address
        except OSError:  # no way leads there; connecting will say so
            return False

    def connect(self, address: Address, port: int, timeout_s: float) -> httpcore2.NetworkStream:
        """See `Network.connect`."""
        return httpcore2.SyncBackend().connect_tcp(str(address), port, timeout=timeout_s)


_NO_SUCH_NAME: Final = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
}


def _addresses(host: str) -> Sequence[str]:
    # A dot at the end of a name keeps the resolver from trying our own domains after it.
    name = host if _is_address(host) else f"{host}."
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found[:MOST_ADDRESSES]]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Deadline:
    """When a try is over, whatever the other side is doing."""

    def __init__(
        self,
        seconds: float,
        stopped: threading.Event,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds
        self._stopped = stopped

    def within(self, timeout_s: float | None) -> float:
        """`timeout_s`, or what is left if that is less; above 0.

        Raises:
            httpcore2.ReadTimeout: nothing is left.
            StoppedError: nobody waits any longer.
        """
        if self._stopped.is_set():
            raise StoppedError
        left = self._end - self._monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for all of it is over")
        return left if timeout_s is None else min(left, timeout_s)


class CheckedBackend(httpcore2.NetworkBackend):
    """Connections of one try: to checked addresses only, all within one deadline.

    `max_bytes` bounds what is read off a connection, headers and framing included.
    """

    def __init__(self, network: Network, deadline: Deadline, *, max_bytes: int) -> None:
        self._network = network
        self._deadline = deadline
        self._max_bytes = max_bytes

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the library's signature
        socket_options: Iterable[_SocketOption] | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        """See httpcore2. Raises NotPublicError and LookupFailed besides."""
        failure: Exception | None = None
        for address in self._checked(host, timeout)[:TRIED_ADDRESSES]:
            try:
                stream = self._network.connect(address, port, self._deadline.within(timeout))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self._deadline, _Budget(self._max_bytes))
        raise failure or NotPublicError(host)

    def _checked(self, host: str, timeout: float | None) -> list[Address]:
        """The addresses of `host`, all of them public. One that is not condemns the name."""
        texts = self._network.resolve(host, self._deadline.within(timeout))
        found = [ip_address(text) for text in texts]
        if not found or not all(map(is_public, found)) or any(map(self._network.is_own, found)):
            raise NotPublicError(host)
        return list(dict.fromkeys(found))


class _Budget:
    """Bytes that may still be read."""

    def __init__(self, left: int) -> None:
        self.left = left


class _Stream(httpcore2.NetworkStream):
    """A connection that ends at the deadline, however slowly or much the other side sends."""

    def __init__(self, inner: httpcore2.NetworkStream, deadline: Deadline, budget: _Budget) -> None:
        self._inner = inner
        self._deadline = deadline
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._deadline.within(timeout))
        self._budget.left -= len(data)
        if self._budget.left < 0:
            raise TooMuchError
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.within(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            within = self._deadline.within(timeout)
        except BaseException:
            self.close()
            raise
        return _Stream(
            self._inner.start_tls(ssl_context, server_hostname, within),
            self._deadline,
            self._budget,
        )

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
