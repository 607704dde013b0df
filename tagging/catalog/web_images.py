"""Images of a manifest that lie on the web: fetched where that is allowed, refused elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from tagging.catalog.delivery import ImageSource, shown
from tagging.catalog.manifest_row import FindImage
from tagging.catalog.redaction import without_secrets
from tagging.domain import FailureCode
from tagging.fetch.address import FetchError, WebAddress, is_web_address, parse_address


class ImageFetcher(Protocol):
    """Gets images from the web. See `tagging.fetch.fetcher.WebFetcher`."""

    def open(self, address: WebAddress, stopped: threading.Event | None = None) -> BinaryIO: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class WebImage:
    """An image that a manifest names by its address; `open` fetches it."""

    address: WebAddress
    fetcher: ImageFetcher

    @property
    def name(self) -> str:
        return str(self.address)

    def open(self) -> BinaryIO:
        return self.fetcher.open(self.address)

    def identity(self, _stream: BinaryIO, /) -> Hashable | None:
        """None: a server may answer otherwise each time."""
        return None

    def fetch(self, stopped: threading.Event) -> BinaryIO:
        """As `open`, and given up once `stopped` is set."""
        return self.fetcher.open(self.address, stopped)


def with_web_images(find_file: FindImage, fetcher: ImageFetcher | None) -> FindImage:
    """Finds web images by their address, and all others by `find_file`. None: none is fetched."""

    def find(text: str) -> ImageSource:
        if not is_web_address(text):
            return find_file(text)
        if fetcher is None:
            raise FetchError(
                f"'{shown(without_secrets(text))}' is an address, and images are fetched only "
                "where ATELIER_ALLOW_URLS is true (for training never); download the image and "
                "write its relative path",
                code=FailureCode.URLS_OFF,
            )
        return WebImage(address=parse_address(text), fetcher=fetcher)

    return find
