"""Picture files taken apart into the pieces that their formats are made of, and put together again.

Lenient, as what they get may be damaged already: what is left over comes as a last piece.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_BOXES_INSIDE: Final = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"iinf": 6}
"""ISO base media boxes that hold boxes, and how many bytes come before the first."""


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk with its right checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pieces(data: bytes) -> list[bytes]:
    """`data` as its signature or header, then one piece per chunk, segment, block or box.

    At least one piece, even of no bytes.
    """
    if data.startswith(PNG_SIGNATURE):
        return [data[:8], *_png_chunks(data)]
    if data.startswith(b"\xff\xd8"):
        return [data[:2], *_jpeg_segments(data)]
    if data.startswith(b"RIFF"):
        return [data[:12], *_riff_chunks(data)]
    if data.startswith(b"GIF8"):
        return _gif_blocks(data)
    if data[4:8] == b"ftyp":
        return [data[start:end] for start, end in boxes(data, 0, len(data))]
    return [data[at : at + 64] for at in range(0, len(data), 64)] or [data]


def joined(parts: Sequence[bytes]) -> bytes:
    """The file of these pieces; the size in a RIFF's header is set right."""
    data = b"".join(parts)
    if data.startswith(b"RIFF") and len(data) >= 12:
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    return data


def boxes(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Where the ISO base media boxes between `start` and `end` begin and end; not those inside."""
    found = []
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        stop = min(end, start + size) if size >= 8 else end
        found.append((start, stop))
        start = stop
    if start < end:
        found.append((start, end))
    return found


def all_boxes(data: bytes) -> list[tuple[int, int]]:
    """The boxes of a file and those inside of them, outer ones first."""
    found = []
    waiting = boxes(data, 0, len(data))
    while waiting:
        start, end = waiting.pop(0)
        found.append((start, end))
        before = _BOXES_INSIDE.get(data[start + 4 : start + 8])
        if before is not None:
            waiting += boxes(data, start + 8 + before, end)
    return found


def tiff_entries(data: bytes) -> list[int]:
    """Where the 12 bytes of each entry of the first directory of a (not big) TIFF begin."""
    order = tiff_order(data)
    if len(data) < 10:
        return []
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    if directory + 2 > len(data):
        return []
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    starts = range(directory + 2, directory + 2 + 12 * count, 12)
    return [start for start in starts if start + 12 <= len(data)]


def tiff_order(data: bytes) -> str:
    """How `struct` writes the byte order of a TIFF."""
    return ">" if data.startswith(b"MM") else "<"


def _png_chunks(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        found.append(data[at:end])
        at = end
    if at < len(data):
        found.append(data[at:])
    return found


def _jpeg_segments(data: bytes) -> list[bytes]:
    """Segments up to the first scan; the rest in pieces that begin at a marker."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append(data[at:end])
        at = end
    scan = at
    while (marker := data.find(b"\xff", scan + 2)) >= 0:
        if data[marker + 1 : marker + 2] not in (b"", b"\0"):
            found.append(data[at:marker])
            at = marker
        scan = marker
    found.append(data[at:])
    return found


def _riff_chunks(data: bytes) -> list[bytes]:
    found, at = [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        found.append(data[at:end])
        at = end
    if at < len(data):
        found.append(data[at:])
    return found


def _gif_blocks(data: bytes) -> list[bytes]:
    """Header with its palette, then extensions and images, each with its sub-blocks."""
    if len(data) < 13:
        return [data]
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    found = [data[:at]]
    while at < len(data):
        start = at
        if data[at] == 0x21:
            at += 2
        elif data[at] == 0x2C and at + 10 <= len(data):
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            break
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        found.append(data[start:at])
    if at < len(data):
        found.append(data[at:])
    return found
