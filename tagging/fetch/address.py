"""A web address that somebody else wrote, taken apart once and strictly.

What is checked is what is used: the parts of a `WebAddress` go to the connection and into the
request as they stand, so no second reading of the text can understand it differently.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, urljoin

import idna

from tagging.catalog.delivery import DeliveryRowError, shown
from tagging.catalog.naming import is_utf8
from tagging.catalog.redaction import without_secrets
from tagging.domain import FailureCode

MAX_ADDRESS_CHARS: Final = 4096
PORTS: Final = {"http": 80, "https": 443}
"""The default port of each scheme; other ports than these two are refused."""

Scheme = Literal["http", "https"]

_WEB_ADDRESS: Final = re.compile(r"https?:[/\\]", re.IGNORECASE)
_PARTS: Final = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?:#.*)?", re.IGNORECASE
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]*\]|[^\[\]:]*)(?::(?P<port>[0-9]{0,5}))?")
"""No zone (`%eth0`) in brackets: it means something on this machine alone."""
_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))+")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NEVER_PUBLIC: Final = ("localhost", "localdomain", "local", "internal", "home.arpa")
"""Names in these zones lead inside by definition (RFC 6761, 6762, 8375; ICANN on `.internal`)."""
_TARGET_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"


class FetchError(DeliveryRowError):
    """An image cannot be fetched. Its text names the address without what may be secret in it."""

    def __init__(self, said: str, *, code: FailureCode = FailureCode.FETCH_FAILED) -> None:
        super().__init__(said, code=code)


def is_web_address(text: str) -> bool:
    """Whether a path of a manifest means something on the web, well-formed or not."""
    return _WEB_ADDRESS.match(text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class WebAddress:
    """An http or https address.

    `host`: a lower-case ASCII name with at least one dot and none at its end, or an IP address
    (v6 without brackets). `target`: path and query as they go into the request, ASCII.
    """

    scheme: Scheme
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        """Without the query, which may hold a token; user and password are never kept."""
        return without_secrets(f"{self.scheme}://{self.authority}{self.target}")

    def __repr__(self) -> str:
        return f"<WebAddress {self}>"

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse_address(text: str) -> WebAddress:
    """The address that `text` is.

    Raises:
        FetchError: it is none, or one that is never fetched; the text says what to do.
    """
    if len(text) > MAX_ADDRESS_CHARS:
        raise refused_address(text, f"is longer than {MAX_ADDRESS_CHARS} characters; shorten it")
    if not is_utf8(text):
        raise refused_address(text, "is not valid Unicode; write it in UTF-8")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in text):
        raise refused_address(text, "has an invisible character in it; write it anew")
    if "\\" in text:
        raise refused_address(text, "has a backslash in it; write / (or %5C)")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise refused_address(text, "is no web address; write https://host/path")
    if "@" in parts["authority"]:
        raise refused_address(
            text, "has a user or password in it; remove them, or deliver the file"
        )
    authority = _AUTHORITY.fullmatch(parts["authority"])
    if authority is None:
        raise refused_address(text, "has no readable host and port; write https://host/path")
    scheme: Scheme = "https" if parts["scheme"].lower() == "https" else "http"
    port = int(authority["port"] or PORTS[scheme])
    if port not in PORTS.values():
        raise refused_address(text, f"names port {port}; only the ports 80 and 443 are asked")
    target = parts["target"]
    return WebAddress(
        scheme=scheme,
        host=_host(text, authority["host"]),
        port=port,
        target=quote(target if target.startswith("/") else f"/{target}", safe=_TARGET_SAFE),
    )


def follow(address: WebAddress, location: str) -> WebAddress:
    """Where a redirect from `address` leads. Raises FetchError, also from https to http."""
    base = f"{address.scheme}://{address.authority}{address.target}"
    try:
        joined = urljoin(base, location.strip(" \t"))
    except ValueError as error:  # such as a bracket that is never closed
        raise refused_address(location, "is no address that a server may lead to") from error
    found = parse_address(joined)
    if address.scheme == "https" and found.scheme == "http":
        raise FetchError(
            f"'{shown(str(address))}' leads from https to http, which is not followed; write the "
            "address of the image itself",
            code=FailureCode.REFUSED_PATH,
        )
    return found


def _host(text: str, host: str) -> str:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError as error:
            raise refused_address(text, "has no valid IPv6 address in its brackets") from error
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise refused_address(text, "has a host that is no valid name; correct it") from error
    host = host.lower().removesuffix(".")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        # inet_aton reads 127.1, 0x7f.1 and 2130706433 as addresses; four plain numbers are one.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise refused_address(
                text, "has a number for its host; write its name, or four plain numbers"
            ) from error
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise refused_address(
            text, "has a host that is no full name; write it as in www.example.com"
        )
    if any(host == zone or host.endswith(f".{zone}") for zone in _NEVER_PUBLIC):
        raise not_public(text)
    return host


def not_public(address: WebAddress | str) -> FetchError:
    """The error of an address that leads inside, or nowhere: which of both is told to nobody."""
    return refused_address(
        str(address),
        "leads to no public address; correct its host, or deliver the image as a file",
    )


def refused_address(text: str, why: str) -> FetchError:
    """The error of an address that nobody is asked for."""
    return FetchError(f"'{shown(without_secrets(text))}' {why}", code=FailureCode.REFUSED_PATH)
