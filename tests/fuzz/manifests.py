"""Fuzz target: any bytes are a manifest's rows, rejected rows, or one DeliveryError."""

from __future__ import annotations

import atexit
import functools
import io
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Final

from tagging.catalog.delivery import DeliveredRow, Delivery, DeliveryLimits, RejectedRow, Row
from tagging.catalog.manifest import FileManifest, StreamedManifest
from tagging.catalog.naming import is_utf8, nfc
from tagging.catalog.paths import ImageFolder
from tagging.domain import FailureCode
from tagging.errors import DeliveryError

MAX_BYTES: Final = 1 << 12
LIMITS: Final = DeliveryLimits(
    max_cell_chars=60, max_row_chars=200, max_columns=8, max_images_per_row=3
)
"""Small, so that they are reached."""
_WORDS: Final = (
    *(
        b",",
        b";",
        b"\t",
        b"|",
        b'"',
        b'""',
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
    ),
    *(
        b"a.jpg",
        b"b/c.jpg",
        b"../secret.jpg",
        b"link.jpg",
        b"b\\c.jpg",
        b"%2e%2e/",
        b"\xe9",
        b"'=",
        b"=",
    ),
    *(
        b'{"sku": "1", "image": "a.jpg"}',
        b'"image": ["a.jpg"]',
        b"\\ud800",
        b"[[[[",
        b"NaN",
        b"1e999",
    ),
    *(b"sku", b"image", b"title", b"9" * 70, b"e\xcc\x81", b"\xe2\x80\xae", b"sep=;"),
)
INSIDE: Final = b"inside"
OUTSIDE: Final = b"outside"


def seeds() -> Mapping[str, bytes]:
    """A first byte that says CSV (c), JSON lines (j) or the same from a stream (s); a manifest."""
    table = "sku,image,title\nA1,a.jpg,Red dress\n"
    return {
        "csv": b"c" + table.encode(),
        "quoted": b'c"sku";"image";"price"\r\n"A ""1""";"b/c.jpg|a.jpg";"1,5"\r\n',
        "excel": b"csep=\t\r\n\xef\xbb\xbfsku\timage\r\n'=A1\ta.jpg\r\n",
        "utf-16": b"c" + table.encode("utf-16"),
        "latin-1": b"csku,image,title\nA1,a.jpg,Caf\xe9\n",
        "open quote": b'csku,image\nA1,"a.jpg\nA2,a.jpg\n',
        "paths": b"csku,image\n1,../secret.jpg\n2,/etc/passwd\n3,b\\c.jpg\n4,a.jpg|%2e%2e/x\n",
        "json": b'j{"sku": "A1", "image": ["a.jpg", "b/c.jpg"], "n": [1, {"x": null}]}\n',
        "stream": b's{"sku": "A1", "image": "a.jpg"}\n\n{"sku": 1e3, "image": []}',
        "json mixed": b'j{"sku": 7, "image": "a.jpg|b/c.jpg"}\r\n\r\n{"sku": "\\ud800"}\n[1]\n{\n',
    }


def mutated(data: bytes, random: Random) -> bytes:
    """A piece of a manifest's syntax put in, or what stands between two of them moved."""
    words = re.split(b'([,;\t|"\r\n{}:])', data)
    at = random.randrange(len(words))
    if random.random() < 0.5:
        words.insert(at, random.choice(_WORDS))
    else:
        words[at : at + 1] = [words[random.randrange(len(words))]] * random.randrange(3)
    return b"".join(words)


def try_one(data: bytes) -> None:
    """Raises AssertionError, or what reading a manifest must not raise."""
    read = _read(data)
    if isinstance(read, DeliveryError):
        assert len(str(read)) > 20
        return
    manifest, rows = read
    lines = [_checked(row) for row in rows]
    assert lines == sorted(lines)
    again = [] if isinstance(manifest, StreamedManifest) else rows  # a stream is at its end
    assert [_comparable(row) for row in manifest.rows()] == [_comparable(row) for row in again]


def _read(data: bytes) -> tuple[Delivery, list[Row]] | DeliveryError:
    content = data[1:]
    find_image = ImageFolder(_folder(), place="beside the manifest").find
    try:
        manifest: Delivery
        if data[:1] == b"s":
            stream = io.BytesIO(content)
            manifest = StreamedManifest(stream, find_image=find_image, limits=LIMITS)
        else:
            manifest = FileManifest(
                kind="manifest",
                name="products",
                manifest="products",
                is_json=data[:1] == b"j",
                open_bytes=lambda: io.BytesIO(content),
                find_image=find_image,
                limits=LIMITS,
            )
        return manifest, list(manifest.rows())
    except DeliveryError as error:
        return error


CODES = frozenset(
    {
        FailureCode.BAD_ROW,
        FailureCode.BAD_SKU,
        FailureCode.CANNOT_OPEN,
        FailureCode.MISSING,
        FailureCode.REFUSED_PATH,
        FailureCode.TOO_MANY_IMAGES,
        FailureCode.URLS_OFF,
    }
)
"""What a row of a manifest alone can be rejected for."""


def _checked(row: Row) -> int:
    """The line of a row that keeps its promises."""
    if isinstance(row, RejectedRow):
        assert row.error.startswith(f"line {row.line}: ")
        assert row.code in CODES
        assert row.value.isprintable()
        assert len(row.value) <= 200
    else:
        assert isinstance(row, DeliveredRow)
        texts = [row.sku, row.title or "", *row.attributes, *row.attributes.values()]
        assert row.sku == nfc(row.sku.strip()) != ""
        assert 1 <= len(row.images) <= LIMITS.max_images_per_row
        assert all(is_utf8(text) and "\0" not in text for text in texts)
        assert all(len(text) <= LIMITS.max_row_chars for text in texts)
        for image in row.images:
            with image.open() as stream:
                assert stream.read() == INSIDE
    assert row.line >= 1
    return row.line


def _comparable(row: Row) -> object:
    if isinstance(row, DeliveredRow):
        images = [image.name for image in row.images]
        return row.line, row.sku, images, row.title, dict(row.attributes)
    return row


@functools.cache
def _folder() -> Path:
    """A folder with two images; beside it lies what no manifest may reach."""
    outside = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, outside)
    (outside / "secret.jpg").write_bytes(OUTSIDE)
    inside = outside / "inside"
    (inside / "b").mkdir(parents=True)
    (inside / "a.jpg").write_bytes(INSIDE)
    (inside / "b" / "c.jpg").write_bytes(INSIDE)
    (inside / "link.jpg").symlink_to(outside / "secret.jpg")
    return inside
