"""A manifest: a CSV or JSON lines file that lists products and where their images are.

It needs the columns `sku` and `image`; `title` is optional, and every further column is kept as an
attribute. Column names are compared without case. A cell of `image` may hold several paths, put
apart by `|`; several rows may name one sku. An image that a product has twice counts once. What one
row says is read in `manifest_row`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from tagging.catalog.delivery import (
    Delivery,
    DeliveryLimits,
    DeliveryRowError,
    Kind,
    Row,
    failure_of,
    shown,
)
from tagging.catalog.encoding import STREAMED_UTF8, scan, text_of
from tagging.catalog.manifest_row import (
    FindImage,
    RowReader,
    column_names,
    is_blank,
    required_columns_missing,
)
from tagging.catalog.naming import JSONL_ENDINGS, ending
from tagging.catalog.paths import ImageFolder, open_plain
from tagging.catalog.records import Record, csv_records, json_lines, too_many_lines
from tagging.catalog.web_images import ImageFetcher, with_web_images
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.printable import printable

DELIMITERS: Final = (",", ";", "\t")

_SEPARATOR_HINT: Final = re.compile(r"\ufeff?\"?sep=.?\"?", re.IGNORECASE)
"""A first line that Excel writes and reads. The delimiter is found without it."""


def open_manifest(
    path: Path,
    *,
    limits: DeliveryLimits,
    follow_link: bool,
    fetcher: ImageFetcher | None = None,
) -> Delivery:
    """The manifest at `path`; its images are looked up in the folder that it stands in.

    `follow_link`: whether `path` itself may be a link.

    Raises:
        DeliveryError: It can't be read, is empty, or lacks a column.
    """
    path = path.absolute()
    with _readable(shown(path.name)), open_plain(path, follow_link=follow_link) as stream:
        size = os.fstat(stream.fileno()).st_size
    if size > limits.max_manifest_bytes:
        raise DeliveryError(
            f"'{shown(path.name)}' has {size} bytes, more than the {limits.max_manifest_bytes} "
            "allowed; deliver it in parts",
            code=FailureCode.TOO_LARGE,
        )
    return FileManifest(
        kind="manifest",
        name=path.name,
        manifest=path.name,
        is_json=ending(path.name) in JSONL_ENDINGS,
        open_bytes=lambda: open_plain(path, follow_link=follow_link),
        find_image=ImageFolder(path.parent, place="beside the manifest").find,
        fetcher=fetcher,
        limits=limits,
    )


def manifest_from_stdin(
    stdin: BinaryIO, *, limits: DeliveryLimits, fetcher: ImageFetcher | None = None
) -> Delivery:
    """JSON lines from a stream that can be read once; image paths begin in the current folder."""
    folder = ImageFolder(Path.cwd(), place="in the current folder")
    return StreamedManifest(stdin, find_image=folder.find, limits=limits, fetcher=fetcher)


class FileManifest(Delivery):
    """A manifest that can be opened several times: a file, or an entry of an archive.

    `manifest` is what errors call it, `name` what the delivery is called.
    """

    def __init__(
        self,
        *,
        kind: Kind,
        name: str,
        manifest: str,
        is_json: bool,
        open_bytes: Callable[[], BinaryIO],
        find_image: FindImage,
        limits: DeliveryLimits,
        fetcher: ImageFetcher | None = None,
    ) -> None:
        super().__init__(kind=kind, name=printable(name))
        self._open_bytes = open_bytes
        self._limits = limits
        self._manifest = shown(manifest)
        with _readable(self._manifest), open_bytes() as stream:
            found = scan(stream, self._manifest)
        if found.lines > limits.max_lines:
            raise too_many_lines(limits)
        self._encoding, self._lines = found.encoding, found.lines
        if found.warning is not None:
            self.warnings.append(found.warning)
        self._reader = RowReader(with_web_images(find_image, fetcher), limits)
        self._delimiter: str | None = None
        """None: JSON lines."""
        with _readable(self._manifest):
            if not is_json:
                self._delimiter, self._columns = self._find_columns()
            elif next(self._json_rows(), None) is None:
                raise DeliveryError(
                    f"'{self._manifest}' is empty; write one JSON object per line, with at least "
                    "sku and image"
                )

    def rows(self) -> Iterator[Row]:
        with _readable(self._manifest):
            if self._delimiter is None:
                yield from self._json_rows()
            else:
                yield from self._csv_rows(self._delimiter)

    def estimated_rows(self) -> int:
        return self._lines if self._delimiter is None else max(0, self._lines - 1)

    def _json_rows(self) -> Iterator[Row]:
        with text_of(self._open_bytes(), self._encoding) as text:
            for record in json_lines(text, self._limits):
                yield self._reader.from_json(record)

    def _csv_rows(self, delimiter: str) -> Iterator[Row]:
        records = self._csv_records(delimiter)
        next(records, None)  # the header
        for record in records:
            if not is_blank(record):
                yield self._reader.from_csv(record, self._columns)

    def _csv_records(self, delimiter: str) -> Iterator[Record]:
        """The records from the header on."""
        before_header = True
        with text_of(self._open_bytes(), self._encoding) as text:
            for record in csv_records(text, delimiter, self._limits):
                if before_header and (is_blank(record) or _SEPARATOR_HINT.fullmatch(record.start)):
                    continue
                before_header = False
                yield record

    def _find_columns(self) -> tuple[str, tuple[str, ...]]:
        """The delimiter and the column names.

        The delimiter is the one that makes the header line hold the required columns; if several
        do, the one that makes the most columns. Rows of data have no say: prices and titles are
        full of commas and semicolons.
        """
        headers = [
            (next(self._csv_records(delimiter), None), delimiter) for delimiter in DELIMITERS
        ]
        found = [(header, delimiter) for header, delimiter in headers if header is not None]
        if not found:
            raise DeliveryError(
                f"'{self._manifest}' is empty; its first line must name the columns, at least "
                "sku,image"
            )
        header, delimiter = max(
            found, key=lambda one: (not required_columns_missing(one[0]), len(one[0].cells))
        )
        return delimiter, column_names(header, self._manifest)


class StreamedManifest(Delivery):
    """JSON lines from standard input, in UTF-8."""

    def __init__(
        self,
        stream: BinaryIO,
        *,
        find_image: FindImage,
        limits: DeliveryLimits,
        fetcher: ImageFetcher | None = None,
    ) -> None:
        super().__init__(kind="stdin", name="-")
        self._stream = stream
        self._reader = RowReader(with_web_images(find_image, fetcher), limits)
        self._limits = limits

    def rows(self) -> Iterator[Row]:
        """See `Delivery.rows`; a second call finds the stream at its end."""
        text = text_of(self._stream, STREAMED_UTF8)
        try:
            with _readable("standard input"):
                for record in json_lines(text, self._limits):
                    yield self._reader.from_json(record)
        finally:
            text.detach()  # The stream is the caller's to close.

    def estimated_rows(self) -> None:
        return None


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turns what a disk or an archive raises into the end of the delivery."""
    try:
        yield
    except (OSError, DeliveryRowError) as error:
        raise DeliveryError(
            f"'{name}' cannot be read ({error}); check the file and deliver it again",
            code=failure_of(error),
        ) from error
