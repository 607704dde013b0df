"""Images are fetched ahead of their turn: several at once, in order, and not without bounds."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import BinaryIO

import pytest

from tagging.catalog.delivery import DeliveredRow, ImageSource, RejectedRow, Row, SkippedFile
from tagging.catalog.web_images import WebImage, with_web_images
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.fetch.address import FetchError, WebAddress, parse_address
from tagging.fetch.ahead import IMAGES_AHEAD, MOST_S, fetched_ahead

THREADS = 4


@dataclass
class StandInFetcher:
    """Answers with the address. Remembers what is open, and the most that was held at once."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    open_streams: list[BinaryIO] = field(default_factory=list)
    begun: int = 0
    stopped: int = 0
    most: int = 0
    barrier: threading.Barrier | None = None

    def open(self, address: WebAddress, stopped: threading.Event | None = None) -> BinaryIO:
        assert stopped is not None
        with self.lock:
            self.begun += 1
        if "hang" in address.target:
            seen = stopped.wait(20)
            with self.lock:
                self.stopped += seen
            raise FetchError("stopped")
        if "bad" in address.target:
            raise FetchError(f"{address} is bad")
        if self.barrier is not None:
            self.barrier.wait(20)
        stream = io.BytesIO(str(address).encode())
        with self.lock:
            self.open_streams.append(stream)
            self.most = max(self.most, sum(not one.closed for one in self.open_streams))
        return stream


@dataclass(frozen=True)
class File:
    name: str

    def open(self) -> BinaryIO:
        return io.BytesIO(b"file")

    def identity(self, _stream: BinaryIO, /) -> None:
        return None


def web(fetcher: StandInFetcher, name: str) -> WebImage:
    return WebImage(address=parse_address(f"https://shop.example/{name}"), fetcher=fetcher)


def row(line: int, *images: ImageSource) -> DeliveredRow:
    return DeliveredRow(line=line, sku=f"s{line}", images=images, title=None, attributes={})


def read(row: Row) -> list[bytes]:
    assert isinstance(row, DeliveredRow)
    found = []
    for image in row.images:
        with image.open() as stream:
            found.append(stream.read())
    return found


def ahead(rows: Iterator[Row], max_images: int = 64) -> closing:  # type: ignore[type-arg]
    return closing(fetched_ahead(rows, threads=THREADS, max_images=max_images))


def test_rows_keep_their_order_and_their_images() -> None:
    fetcher = StandInFetcher()
    given: list[Row] = []
    for line in range(0, 300, 3):
        given += [
            row(line, web(fetcher, f"{line}a"), File("f"), web(fetcher, f"{line}b")),
            RejectedRow(line=line + 1, code=FailureCode.BAD_ROW, value="x", error="y"),
            row(line + 2, File("g")),
        ]
    given.append(SkippedFile(name="n", code=FailureCode.NOT_AN_IMAGE, why="w"))
    with ahead(iter(given)) as rows:
        seen = [read(one) if isinstance(one, DeliveredRow) else one for one in rows]
    expected: list[object] = []
    for line in range(0, 300, 3):
        a, b = (f"https://shop.example/{line}{x}".encode() for x in "ab")
        expected += [[a, b"file", b], given[line + 1], [b"file"]]
    assert seen == [*expected, given[-1]]
    assert all(stream.closed for stream in fetcher.open_streams)


def test_the_name_of_an_image_stays() -> None:
    with ahead(iter([row(1, web(StandInFetcher(), "a?sig=SECRET"))])) as rows:
        (image,) = next(rows).images
        assert image.name == "https://shop.example/a?…"


def test_several_are_fetched_at_once() -> None:
    fetcher = StandInFetcher(barrier=threading.Barrier(THREADS))
    given = (row(line, web(fetcher, str(line))) for line in range(THREADS * 5))
    with ahead(given) as rows:
        assert [len(read(one)) > 0 for one in rows] == [True] * THREADS * 5


def test_no_more_are_held_than_said_however_many_there_are() -> None:
    fetcher, taken = StandInFetcher(), 0

    def given() -> Iterator[Row]:
        nonlocal taken
        for line in range(5000):
            taken += 1
            yield row(line, web(fetcher, str(line)))

    with ahead(given()) as rows:
        for at, one in enumerate(rows, start=1):
            assert taken <= at + THREADS * IMAGES_AHEAD
            read(one)
    assert taken == fetcher.begun == 5000
    assert fetcher.most <= THREADS * IMAGES_AHEAD + 1


def test_rows_behind_one_that_is_fetched_do_not_pile_up() -> None:
    fetcher, taken = StandInFetcher(), 0

    def given() -> Iterator[Row]:
        nonlocal taken
        for line in range(5000):
            taken += 1
            yield row(line, web(fetcher, "one") if line % 1000 == 0 else File("f"))

    with ahead(given()) as rows:
        for at, one in enumerate(rows, start=1):
            assert taken <= at + THREADS * IMAGES_AHEAD
            read(one)
    assert taken == 5000


def test_rows_without_web_images_are_not_read_ahead() -> None:
    taken = []

    def given() -> Iterator[Row]:
        for line in range(10):
            taken.append(line)
            yield row(line, File("f"))

    before = threading.active_count()
    with ahead(given()) as rows:
        next(rows)
        assert taken == [0]
        assert threading.active_count() == before


def test_a_failure_is_that_of_its_image_alone() -> None:
    fetcher = StandInFetcher()
    given = [row(line, web(fetcher, "bad" if line == 3 else "good")) for line in range(9)]
    seen = []
    with ahead(iter(given)) as rows:
        for one in rows:
            try:
                seen.append(read(one)[0].decode())
            except FetchError as error:
                seen.append(str(error))
    good, bad = "https://shop.example/good", "https://shop.example/bad is bad"
    assert seen == [bad if line == 3 else good for line in range(9)]


def test_what_is_not_opened_is_let_go() -> None:
    fetcher = StandInFetcher()
    given = [row(line, *(web(fetcher, f"{line}-{n}") for n in range(5))) for line in range(30)]
    with ahead(iter(given)) as rows:
        for one in rows:
            one.images[0].open()
    assert all(stream.closed for stream in fetcher.open_streams)


def test_a_row_with_too_many_images_is_passed_on_and_not_fetched() -> None:
    fetcher = StandInFetcher()
    given = [row(1, *(web(fetcher, str(n)) for n in range(3)))]
    with ahead(iter(given), max_images=2) as rows:
        assert list(rows) == given
    assert fetcher.begun == 0


def test_leaving_early_ends_what_is_on_its_way() -> None:
    fetcher = StandInFetcher()
    given = [row(1, web(fetcher, "good")), *(row(n, web(fetcher, "hang")) for n in range(2, 500))]
    threads = threading.active_count()
    with ahead(iter(given)) as rows:
        read(next(rows))
    assert threading.active_count() == threads
    assert fetcher.begun <= 1 + THREADS
    assert fetcher.stopped == fetcher.begun - 1
    assert all(stream.closed for stream in fetcher.open_streams)


def test_a_delivery_that_breaks_off_ends_what_is_on_its_way() -> None:
    fetcher = StandInFetcher()

    def given() -> Iterator[Row]:
        yield row(1, web(fetcher, "good"))
        yield row(2, web(fetcher, "hang"))
        raise DeliveryError("the disk is gone")

    threads = threading.active_count()
    with ahead(given()) as rows, pytest.raises(DeliveryError):
        list(rows)
    assert threading.active_count() == threads
    assert fetcher.stopped == fetcher.begun - 1


def test_it_is_shown_that_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagging.fetch.ahead._LOOK_S", 0.01)
    fetcher = StandInFetcher(barrier=threading.Barrier(2))
    waited = 0

    def on_wait() -> None:
        nonlocal waited
        waited += 1
        if waited == 3:
            assert fetcher.barrier is not None
            fetcher.barrier.wait(20)

    rows = fetched_ahead(
        iter([row(1, web(fetcher, "a"))]), threads=1, max_images=1, on_wait=on_wait
    )
    with closing(rows):
        assert [read(one) for one in rows] == [[b"https://shop.example/a"]]
    assert waited >= 3


@pytest.mark.parametrize("text", ["https://shop.example/a.jpg?sig=SECRET", "HTTP:/x?SECRET"])
def test_where_it_is_not_allowed_the_setting_is_named(text: str) -> None:
    with pytest.raises(FetchError, match="only where ATELIER_ALLOW_URLS is true") as caught:
        with_web_images(File, None)(text)
    assert caught.value.code is FailureCode.URLS_OFF
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("text", ["a.jpg", "https.jpg", "ftp://x/a.jpg"])
def test_all_else_is_looked_for_among_the_files(text: str) -> None:
    assert with_web_images(File, StandInFetcher())(text) == File(text)


@pytest.mark.parametrize("spent", ["bytes", "time"])
def test_no_more_is_fetched_for_one_delivery_than_said(
    monkeypatch: pytest.MonkeyPatch, spent: str
) -> None:
    """Nor for longer, whatever its servers do; each line that goes without says what to do."""
    now = [0.0]
    fetcher = StandInFetcher()
    rows = [row(line, web(fetcher, f"{line}.png")) for line in range(THREADS * IMAGES_AHEAD + 9)]
    if spent == "bytes":
        monkeypatch.setattr("tagging.fetch.ahead.MOST_BYTES", 1)
    gone_without: list[str] = []
    with closing(
        fetched_ahead(iter(rows), threads=1, max_images=9, monotonic=lambda: now[0])
    ) as found:
        for one in found:
            try:
                read(one)
            except FetchError as error:
                gone_without.append(str(error))
            if spent == "time":
                now[0] = MOST_S
    assert fetcher.begun < len(rows)
    assert len(gone_without) == len(rows) - fetcher.begun
    said = "0 GB were fetched" if spent == "bytes" else "took 12 hours"
    assert all(said in error and "Deliver the rest" in error for error in gone_without)
    assert all(stream.closed for stream in fetcher.open_streams)
