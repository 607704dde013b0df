"""One image from the web: bounded in time, size, redirects and tries, and from public addresses.

    fetcher = WebFetcher(limits=FetchLimits(), network=SystemNetwork(), spool_dir=home)
    with fetcher.open(parse_address("https://shop.example/a.jpg")) as stream:
        ...

HTTP itself is httpcore2's, which knows no cookies, proxies, redirects, caches and encodings, and
lets us make the connections. Each request has a connection of its own, so that nothing left over
from one answer can be taken for the next.
"""

from __future__ import annotations

import datetime as dt
import random
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Final, cast

import httpcore2

from tagging.catalog.delivery import shown
from tagging.domain import FailureCode
from tagging.fetch.address import FetchError, WebAddress, follow, not_public
from tagging.fetch.network import (
    CheckedBackend,
    Deadline,
    LookupFailed,
    Network,
    NotPublicError,
    StoppedError,
    SystemNetwork,
    TooMuchError,
)
from tagging.fetch.patience import HostPatience
from tagging.images.content import foreign_content
from tagging.images.rejection import ImageRejected, ImageTooLarge

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be another one a moment later."""
_HTTP_DATE: Final = re.compile(
    r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
"""RFC 9110, 5.6.7: IMF-fixdate, the one form that servers may send."""
_HEAD_BYTES: Final = 512
_SPOOL_BYTES: Final = 512 * 1024
"""An image of up to this size stays in memory until it is stored, a larger one on the disk."""
_FRAMING_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """What one image may cost.

    `total_s`: of one try, with the look-up of its name and all its redirects. `idle_s`: between
    two reads. `wait_s`: before the second try; doubled before each further one, then spread by up
    to half. `longest_wait_s`: that a server may ask for (`Retry-After`).
    """

    max_bytes: int = 50 * 1024 * 1024
    connect_s: float = 5.0
    idle_s: float = 10.0
    total_s: float = 30.0
    redirects: int = 5
    tries: int = 3
    wait_s: float = 1.0
    longest_wait_s: float = 30.0


class _PassingError(Exception):
    """What failed may work a moment later. `wait_s`: what the server asks for, if it does."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class WebFetcher:
    """Gets images; may be used by several threads at once."""

    def __init__(
        self,
        *,
        limits: FetchLimits,
        network: Network | None = None,
        tls: ssl.SSLContext | None = None,
        patience: HostPatience | None = None,
        spool_dir: Path | None = None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        """
        Args:
            limits: see `FetchLimits`.
            network: what connects; this machine's if left out.
            tls: verifies servers; by the system's authorities if left out.
            patience: with servers that fail again and again.
            spool_dir: where larger images lie until they are stored; the system's folder for
                temporary files if left out.
            now: to understand a `Retry-After` that is a date.
        """
        self.limits = limits
        self._network = network or SystemNetwork()
        self._tls = tls or httpcore2.default_ssl_context()
        self._patience = patience or HostPatience()
        self._spool_dir = spool_dir
        self._now = now

    def open(self, address: WebAddress, stopped: threading.Event | None = None) -> BinaryIO:
        """The bytes of the image, complete, to be closed by the caller.

        Args:
            address: of the image.
            stopped: once set, the fetch ends soon, with a FetchError.

        Raises:
            FetchError: it cannot be had; the text says why and what to do.
            ImageRejected: what is there is too large, or no image.
            OSError: this machine cannot keep it (a full disk).
        """
        stopped = stopped or threading.Event()
        try:
            return self._open(address, stopped)
        except StoppedError:
            raise FetchError(f"'{shown(str(address))}' was not fetched to its end") from None

    def _open(self, address: WebAddress, stopped: threading.Event) -> BinaryIO:
        why = self._patience.wait_for(address.host, stopped)
        if why is not None:
            raise FetchError(f"'{shown(str(address))}': {why}")
        for attempt in range(1, self.limits.tries + 1):
            try:
                found = self._try(address, stopped)
            except _PassingError as error:
                wait_s = self._wait_before_next(attempt, error.wait_s)
                if wait_s is None:
                    self._patience.failed(address.host)
                    raise FetchError(
                        f"'{shown(str(address))}' could not be fetched: {error} "
                        f"({attempt} {'try' if attempt == 1 else 'tries'}). Deliver the line again "
                        "when its server answers, or deliver the file."
                    ) from error
                if stopped.wait(wait_s):
                    raise StoppedError from error
            except (FetchError, ImageRejected):
                self._patience.answered(address.host)
                raise
            else:
                self._patience.answered(address.host)
                return found
        raise AssertionError("unreachable: the last try returns or raises")

    def _wait_before_next(self, attempt: int, asked_s: float | None) -> float | None:
        """Seconds until the try after this one; None: there is none."""
        if attempt >= self.limits.tries or (asked_s or 0.0) > self.limits.longest_wait_s:
            return None
        own_s = self.limits.wait_s * float(2 ** (attempt - 1)) * random.uniform(1.0, 1.5)
        return max(own_s, asked_s or 0.0)

    def _try(self, start: WebAddress, stopped: threading.Event) -> BinaryIO:
        """One try, along all redirects, within `total_s`."""
        address = start
        deadline = Deadline(self.limits.total_s, stopped)
        for _ in range(self.limits.redirects + 1):
            with self._asked(address, deadline) as response:
                if response.status in _REDIRECTS:
                    address = follow(address, _location(address, response))
                else:
                    self._check(address, response)
                    return self._received(address, response)
        raise FetchError(
            f"'{shown(str(start))}' leads from one address to the next more than "
            f"{self.limits.redirects} times; write the address of the image itself"
        )

    @contextmanager
    def _asked(self, address: WebAddress, deadline: Deadline) -> Iterator[httpcore2.Response]:
        """The answer to one request, its body not yet read; errors become ours."""
        limits = self.limits
        url = httpcore2.URL(
            scheme=address.scheme, host=address.host, port=address.port, target=address.target
        )
        backend = CheckedBackend(
            self._network, deadline, max_bytes=2 * limits.max_bytes + _FRAMING_BYTES
        )
        try:
            with (
                httpcore2.HTTPConnection(
                    url.origin, ssl_context=self._tls, network_backend=backend
                ) as connection,
                connection.stream(
                    "GET",
                    url,
                    headers=[
                        ("Host", address.authority),
                        ("User-Agent", "Atelier"),
                        ("Accept", "image/*"),
                        ("Accept-Encoding", "identity"),
                        ("Connection", "close"),
                    ],
                    extensions={
                        "timeout": {
                            "connect": limits.connect_s,
                            "read": limits.idle_s,
                            "write": limits.idle_s,
                        }
                    },
                ) as response,
            ):
                yield response
        except NotPublicError:
            raise not_public(address) from None
        except TooMuchError:
            raise ImageTooLarge(limits.max_bytes, "far more bytes") from None
        except LookupFailed as error:
            raise _PassingError("its host could not be looked up") from error
        except httpcore2.TimeoutException as error:
            raise _PassingError("its server took too long") from error
        except httpcore2.ProtocolError as error:
            raise _PassingError("its server broke off, or did not speak HTTP") from error
        except httpcore2.NetworkError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise FetchError(
                    f"'{shown(str(address))}' was not fetched: its server has no valid "
                    "certificate for this host. Correct the address, or deliver the file."
                ) from error
            raise _PassingError("its server could not be reached, or broke off") from error

    def _check(self, address: WebAddress, response: httpcore2.Response) -> None:
        """Raises unless the answer is an image of a size that is allowed, as far as it says."""
        status = response.status
        if status in _PASSING:
            raise _PassingError(f"its server answered {_named(status)}", self._asked_wait(response))
        if status != HTTPStatus.OK:
            raise FetchError(
                f"'{shown(str(address))}' was answered with {_named(status)} where an image was "
                "expected; correct the address, make it public, or deliver the file"
            )
        encodings = [value.strip().lower() for value in _values(response, b"content-encoding")]
        if any(encoding not in (b"", b"identity") for encoding in encodings):
            raise FetchError(
                f"'{shown(str(address))}' was sent compressed, though that was not asked for, and "
                "is not unpacked; let its server send the image as it is, or deliver the file"
            )
        for value in _values(response, b"content-length"):
            if int(value) > self.limits.max_bytes:
                raise ImageTooLarge(self.limits.max_bytes, f"{int(value):,} bytes")

    def _received(self, address: WebAddress, response: httpcore2.Response) -> BinaryIO:
        """The body, read to its end; by its first bytes refused if it is plainly no image."""
        folder = None if self._spool_dir is None else str(self._spool_dir)
        spool = cast(
            BinaryIO,
            SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=folder),  # noqa: SIM115 - goes out open
        )
        try:
            size, head = 0, b""
            for chunk in response.iter_stream():
                size += len(chunk)
                if size > self.limits.max_bytes:
                    raise ImageTooLarge(self.limits.max_bytes, f"at least {size:,} bytes")
                if len(head) < _HEAD_BYTES:
                    head += chunk[: _HEAD_BYTES - len(head)]
                    if len(head) == _HEAD_BYTES:
                        _refuse_foreign(address, head)
                spool.write(chunk)
            if size < _HEAD_BYTES:
                _refuse_foreign(address, head)
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        return spool

    def _asked_wait(self, response: httpcore2.Response) -> float | None:
        """Seconds that `Retry-After` asks for (RFC 9110, 10.2.3); None: nothing readable."""
        for value in _values(response, b"retry-after"):
            text = value.decode("latin-1").strip()
            if text.isascii() and text.isdigit():
                return float(text[:9])
            # The library reads a lot more than HTTP's own form, and overflows on some of it.
            if not _HTTP_DATE.fullmatch(text):
                return None
            try:
                until = parsedate_to_datetime(text)
            except ValueError:  # such as a day 32
                return None
            return max(0.0, (until - self._now()).total_seconds())
        return None


def _values(response: httpcore2.Response, name: bytes) -> list[bytes]:
    return [value for key, value in response.headers if key.lower() == name]


def _location(address: WebAddress, response: httpcore2.Response) -> str:
    locations = _values(response, b"location")
    if not locations:
        raise FetchError(
            f"'{shown(str(address))}' leads elsewhere ({_named(response.status)}) without saying "
            "where; write the address of the image itself"
        )
    return locations[0].decode("utf-8", "surrogateescape")


def _named(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _refuse_foreign(address: WebAddress, head: bytes) -> None:
    what = foreign_content(head)
    if what is not None:
        raise ImageRejected(
            FailureCode.UNSUPPORTED_FORMAT,
            f"'{shown(str(address))}' leads to {what} where an image was expected; correct the "
            "address, make the image public, or deliver the file.",
        )
