"""What a file is by its first bytes: the formats that are allowed, and the names of some others."""

from __future__ import annotations

import functools
import re
from typing import Final

# The imports register the formats. Without them Pillow would import all of its 40 plugins at the
# first picture, among them parsers that no shop photo needs.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
    features,
)

_ALWAYS: Final = ("JPEG", "PNG", "GIF", "BMP", "TIFF")  # MPO files come in through JPEG
_IF_BUILT: Final = (("WEBP", "webp"), ("AVIF", "avif"))

_FOREIGN: Final = (
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop picture"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"DDS ", "a DirectDraw texture"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file (perhaps an SVG drawing)"),
    (b"<!DOCTYPE html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
_HEIF_BRANDS: Final = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@functools.cache
def allowed_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read: six, and AVIF where Pillow was built with it."""
    return _ALWAYS + tuple(name for name, feature in _IF_BUILT if features.check(feature))


def claimed_format(data: bytes) -> str | None:
    """The allowed format whose signature `data` begins with, whether it decodes or not."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    for signature, name in (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF8", "GIF"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
    ):
        if data.startswith(signature):
            return name
    return None


def describe_content(data: bytes) -> str:
    """In a few words what `data`, which is no allowed picture, looks like."""
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "a HEIC picture"
    known = _known_foreign(data)
    return known or f"no picture of a known format (it begins with the bytes {data[:8].hex(' ')})"


def foreign_content(data: bytes) -> str | None:
    """What `data` plainly is if it is no picture, as web servers send pages in place of one.

    None where it may be a picture: the decoder decides. `data` may be the first few hundred bytes.
    """
    if not data:
        return "an empty file"
    if claimed_format(data) is not None:
        return None
    known = _known_foreign(data)
    if known is not None:
        return known
    if data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return "an HTML or XML page"
    return "a text" if _TEXT.fullmatch(data) else None


_TEXT: Final = re.compile(rb"[\t\n\f\r\x20-\x7e]+")


def _known_foreign(data: bytes) -> str | None:
    return next((name for signature, name in _FOREIGN if data.startswith(signature)), None)
