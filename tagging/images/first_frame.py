"""Where the first frame of an animation leaves its canvas bare.

Viewers show the page through it, so it is transparent. Pillow fills it: with the first colour of
the palette (GIF), or with black (a WebP that announces no transparency).
"""

from __future__ import annotations

import struct
from typing import Final

from PIL import Image

_Box = tuple[int, int, int, int]
_ANIMATED: Final = 0b10
_ALPHA: Final = 0b10000


def covered_box(image: Image.Image, data: bytes) -> _Box | None:
    """Left, top, right, bottom of what the first frame covers, if that is not all of `image`.

    Args:
        image: just opened, not loaded.
        data: its file.

    Returns:
        None where it covers everything, or where Pillow knows that the rest is transparent.
    """
    box = None
    if image.format == "GIF" and "transparency" not in image.info:
        box = _gif_box(image)
    elif image.format == "WEBP":
        box = _webp_box(data)
    return None if box is None or box == (0, 0, *image.size) else box


def lay_bare(image: Image.Image, box: _Box) -> None:
    """Make a loaded picture transparent outside of `box`; in place."""
    covered = Image.new("L", image.size, 0)
    covered.paste(255, box)
    image.putalpha(covered)


def _gif_box(image: Image.Image) -> _Box | None:
    tiles = getattr(image, "tile", [])
    if len(tiles) != 1:
        return None
    left, top, right, bottom = tiles[0].extents
    return left, top, right, bottom


def _webp_box(data: bytes) -> _Box | None:
    """From the first ANMF chunk (RFC 9649, 2.7.1): left and top halved, width and height less 1."""
    if data[12:16] != b"VP8X" or data[20] & (_ANIMATED | _ALPHA) != _ANIMATED:
        return None
    at = 12
    while at + 24 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"ANMF":
            left, top, width, height = (
                int.from_bytes(data[start : start + 3], "little")
                for start in range(at + 8, at + 20, 3)
            )
            return 2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1
        at += 8 + size + size % 2
    return None
