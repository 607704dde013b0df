"""Which encoding a manifest is in, found by reading all of its bytes once before any row.

A file may look like UTF-8 for its first megabytes and turn out otherwise, so a look at its
beginning is not enough; and a wrong guess would mangle names without anybody noticing.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from io import TextIOWrapper
from typing import BinaryIO, Final

from tagging.errors import DeliveryError

CHUNK_BYTES: Final = 1 << 20

_MARKS: Final = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ESCAPED_BYTE: Final = re.compile("[\udc80-\udcff]")
_NOT_ASCII: Final = re.compile("[^\x00-\x7f]")

STREAMED_UTF8: Final = "utf-8-sig"
"""The encoding of a stream that can't be scanned first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What the bytes of a manifest said.

    Text is to be read with `encoding` and `surrogateescape`; rows with a lone surrogate in them
    hold bytes that are not of that encoding. `lines`: physical lines, a last one without line end
    included.
    """

    encoding: str
    lines: int
    warning: str | None = None


def scan(stream: BinaryIO, name: str) -> Scan:
    """Read `stream` to its end in chunks.

    Without a byte order mark it is UTF-8, or else Windows-1252. A file that has more valid
    multi-byte UTF-8 characters than stray bytes is UTF-8 with damage: reading all of it as
    Windows-1252 would spoil every accent in it, where only the damaged rows need be refused.

    Raises:
        OSError: It cannot be read.
        DeliveryError: It has the mark of UTF-16 and is none, or is in UTF-32.
    """
    chunk = stream.read(CHUNK_BYTES)
    encoding = next((e for mark, e in _MARKS if chunk.startswith(mark)), "utf-8")
    if encoding == "utf-32":
        raise DeliveryError(f"'{name}' is in UTF-32; save it as UTF-8 and deliver it again")
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    stray = valid = feeds = returns = 0
    unfinished, last = False, b""
    while True:
        final = not chunk
        if final or unfinished or not chunk.isascii() or encoding == "utf-16":
            try:
                text = decoder.decode(chunk, final)
            except UnicodeDecodeError as error:
                raise DeliveryError(
                    f"'{name}' has the byte order mark of UTF-16 but is damaged; save it as UTF-8 "
                    "and deliver it again"
                ) from error
            if encoding != "utf-16" and not text.isascii():
                broken = len(_ESCAPED_BYTE.findall(text))
                stray += broken
                valid += len(_NOT_ASCII.findall(text)) - broken
            unfinished = bool(decoder.getstate()[0])
        if final:
            break
        feeds += chunk.count(b"\n")
        returns += chunk.count(b"\r")
        last, chunk = chunk[-4:], stream.read(CHUNK_BYTES)
    lines = (feeds or returns) + (not last.rstrip(b"\0").endswith((b"\n", b"\r")))
    if not stray:
        return Scan(encoding=encoding, lines=lines)
    if encoding == "utf-8-sig" or valid > stray:
        return Scan(
            encoding=encoding,
            lines=lines,
            warning=(
                f"'{name}' is UTF-8 but has {stray} stray bytes; rows that hold one are rejected"
            ),
        )
    return Scan(
        encoding="cp1252",
        lines=lines,
        warning=(
            f"'{name}' is not UTF-8 and was read as Windows-1252 (Latin-1); if letters look wrong, "
            "save it as UTF-8 and deliver it again"
        ),
    )


def text_of(stream: BinaryIO, encoding: str) -> TextIOWrapper:
    """`stream` as text whose line ends are untouched. Never raises for bytes it can't decode."""
    errors = "replace" if encoding == "utf-16" else "surrogateescape"
    return TextIOWrapper(stream, encoding=encoding, errors=errors, newline="")
