"""Fetches the images of the next rows while those before them are stored."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from tagging.catalog.delivery import DeliveredRow, ImageSource, Row, shown
from tagging.catalog.web_images import WebImage
from tagging.fetch.address import FetchError

IMAGES_AHEAD: Final = 8
"""Images per thread that are fetched or on their way before they are stored. One slow server holds
up the others only when all of these wait behind it. With the fetcher's spool this is what bounds
memory (8 x 8 x 0.5 MiB) and disk (8 x 8 x the largest image)."""
MOST_BYTES: Final = 200 * 1000**3
MOST_S: Final = 43_200.0
"""What is fetched for one delivery, bytes and seconds: some lines can name what fills a disk, or
servers that answer slowly enough to keep the next delivery waiting for days."""
_LOOK_S: Final = 1.0


def fetched_ahead(
    rows: Iterator[Row],
    *,
    threads: int,
    max_images: int,
    on_wait: Callable[[], None] = lambda: None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Generator[Row]:
    """The same rows in the same order, their web images fetched by `threads` threads.

    A row's images must be opened before the next row is asked for: then what was not opened is
    dropped. Close the generator to end what is still being fetched.

    Args:
        rows: of a delivery.
        threads: how many images are fetched at once.
        max_images: a row with more is passed on as it is.
        on_wait: called about once a second while an image that is opened is still on its way.
        monotonic: seconds.

    What exceeds `MOST_BYTES` or `MOST_S` is not fetched: its row says so when it is opened.
    """
    stopped = threading.Event()
    budget = _Budget(until=monotonic() + MOST_S, monotonic=monotonic)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
    waiting: deque[_Held] = deque()

    def begin(image: WebImage) -> Future[BinaryIO]:
        return pool.submit(budget.fetch, image, stopped)

    try:
        in_flight = 0
        for row in rows:
            held = _Held(row)
            if isinstance(row, DeliveredRow) and len(row.images) <= max_images:
                held.fetch(row, begin, on_wait)
            waiting.append(held)
            in_flight += len(held.fetched)
            # Also rows without such images: a million may stand behind one that is fetched.
            held_now = max(in_flight, len(waiting))
            while waiting and (not waiting[0].fetched or held_now > threads * IMAGES_AHEAD):
                first = waiting.popleft()
                yield first.row
                first.drop()
                in_flight -= len(first.fetched)
                held_now = max(in_flight, len(waiting))
        while waiting:
            first = waiting.popleft()
            yield first.row
            first.drop()
    finally:
        stopped.set()
        for held in waiting:
            held.drop()
        pool.shutdown(cancel_futures=True)


@dataclass(kw_only=True)
class _Budget:
    """What may still be fetched for a delivery. Thread-safe; what is on its way is not cut off."""

    until: float
    monotonic: Callable[[], float]
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, image: WebImage, stopped: threading.Event) -> BinaryIO:
        """Raises FetchError where nothing more may be."""
        if self._bytes >= MOST_BYTES:
            spent = f"{MOST_BYTES / 1000**3:,.0f} GB were fetched for this delivery"
        elif self.monotonic() >= self.until:
            spent = f"fetching for this delivery took {MOST_S / 3600:,.0f} hours"
        else:
            stream = image.fetch(stopped)
            with self._lock:
                self._bytes += stream.seek(0, io.SEEK_END)
            stream.seek(0)
            return stream
        raise FetchError(
            f"'{shown(image.name)}' was not fetched: {spent}, and no more is. Deliver the rest of "
            "its lines by themselves, or as files"
        )


@dataclass(slots=True)
class _Held:
    """A row whose turn has not come, with its images that are on their way."""

    row: Row
    fetched: list[_FetchedImage] = field(default_factory=list)

    def fetch(
        self,
        row: DeliveredRow,
        begin: Callable[[WebImage], Future[BinaryIO]],
        on_wait: Callable[[], None],
    ) -> None:
        images: list[ImageSource] = []
        for image in row.images:
            if isinstance(image, WebImage):
                one = _FetchedImage(name=image.name, future=begin(image), on_wait=on_wait)
                self.fetched.append(one)
                images.append(one)
            else:
                images.append(image)
        self.row = replace(row, images=tuple(images))

    def drop(self) -> None:
        for image in self.fetched:
            image.future.cancel()
            image.future.add_done_callback(_close)


@dataclass(frozen=True, kw_only=True, slots=True)
class _FetchedImage:
    """An image on its way. The main thread looks up every second: who watches this process
    (deploy/health.py) takes one that stands still for stuck."""

    name: str
    future: Future[BinaryIO]
    on_wait: Callable[[], None]

    def open(self) -> BinaryIO:
        while True:
            try:
                return self.future.result(_LOOK_S)
            except TimeoutError:
                if self.future.done():
                    return self.future.result()
                self.on_wait()

    def identity(self, _stream: BinaryIO, /) -> Hashable | None:
        return None


def _close(future: Future[BinaryIO]) -> None:
    """Let go of an image, whether it was opened or not."""
    if not future.cancelled() and future.exception() is None:
        future.result().close()
