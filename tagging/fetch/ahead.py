"""Fetches the images of the next rows while those before them are stored."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from tagging.catalog.delivery import DeliveredRow, ImageSource, Row
from tagging.catalog.web_images import WebImage

IMAGES_AHEAD: Final = 8
"""Images per thread that are fetched or on their way before they are stored. One slow server holds
up the others only when all of these wait behind it. With the fetcher's spool this is what bounds
memory (8 x 8 x 0.5 MiB) and disk (8 x 8 x the largest image)."""
_LOOK_S: Final = 1.0


def fetched_ahead(
    rows: Iterator[Row],
    *,
    threads: int,
    max_images: int,
    on_wait: Callable[[], None] = lambda: None,
) -> Generator[Row]:
    """The same rows in the same order, their web images fetched by `threads` threads.

    A row's images must be opened before the next row is asked for: then what was not opened is
    dropped. Close the generator to end what is still being fetched.

    Args:
        rows: of a delivery.
        threads: how many images are fetched at once.
        max_images: a row with more is passed on as it is.
        on_wait: called about once a second while an image that is opened is still on its way.
    """
    stopped = threading.Event()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
    waiting: deque[_Held] = deque()
    try:
        in_flight = 0
        for row in rows:
            held = _Held(row)
            if isinstance(row, DeliveredRow) and len(row.images) <= max_images:
                held.fetch(row, pool, stopped, on_wait)
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


@dataclass(slots=True)
class _Held:
    """A row whose turn has not come, with its images that are on their way."""

    row: Row
    fetched: list[_FetchedImage] = field(default_factory=list)

    def fetch(
        self,
        row: DeliveredRow,
        pool: ThreadPoolExecutor,
        stopped: threading.Event,
        on_wait: Callable[[], None],
    ) -> None:
        images: list[ImageSource] = []
        for image in row.images:
            if isinstance(image, WebImage):
                future = pool.submit(image.fetch, stopped)
                one = _FetchedImage(name=image.name, future=future, on_wait=on_wait)
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
