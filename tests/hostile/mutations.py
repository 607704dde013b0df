"""Hostile files made by seed from our own pictures: the same seed, the same file.

mutant(17)  # -> what was done to which picture, and the bytes
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.hostile.containers import (
    all_boxes,
    joined,
    pieces,
    png_chunk,
    tiff_entries,
    tiff_order,
)
from tests.hostile.pictures import (
    encoded,
    large_picture,
    orientation,
    pictures,
    scene,
    srgb_profile,
)

SIZES: Final = (0, 1, 2, 7, 255, 256, 4_097, 7_000, 32_767, 65_535, 1 << 24, 2**31 - 1, 2**32 - 1)
"""What headers claim: nothing, a little other than the truth, over each of the bounds."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A hostile file. `name` tells how it was made: seed, mutations, the picture it was."""

    name: str
    data: bytes


def mutant(seed: int) -> Mutant:
    """The mutant of this seed: one mutation in three of four, two to four in the others.

    The last 20 of 2,000 are made from pictures of nearly 50 megapixels; half of these stay as they
    were.
    """
    rng = Random(seed)
    times = rng.choice((1, 1, 1, rng.randint(2, 4)))
    if seed % 2_000 >= 1_980:
        source, times = large_picture(seed % 20 + seed // 2_000), rng.randrange(2)
    else:
        source = rng.choice(pictures())
    names = rng.choices(list(MUTATIONS), k=times)
    data = source.data
    for name in names:
        data = MUTATIONS[name](data, rng)
    made = " + ".join(names) or "nothing"
    return Mutant(name=f"{seed}: {made} of {source.name}", data=data)


def truncated(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def bits_flipped(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def bytes_changed(data: bytes, rng: Random) -> bytes:
    """Up to 64 bytes; half of the time within the first 128, where the headers are."""
    changed = bytearray(data)
    reach = min(len(changed), rng.choice((128, len(changed))))
    for _ in range(rng.randint(1, 64) if reach else 0):
        changed[rng.randrange(reach)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def span_overwritten(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    length = min(len(data) - start, rng.choice((4, 64, 1_024)))
    filling = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    return data[:start] + filling + data[start + length :]


def span_removed_or_repeated(data: bytes, rng: Random) -> bytes:
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[start:stop] * rng.choice((0, 2, 9)) + data[stop:]


def spliced(data: bytes, rng: Random) -> bytes:
    """The beginning of this and the end of another, or a piece of another inside of this."""
    other = rng.choice(pictures()).data
    cut = rng.randrange(len(data) + 1)
    start, stop = sorted(rng.randrange(len(other) + 1) for _ in range(2))
    return data[:cut] + (other[start:] if rng.random() < 0.5 else other[start:stop] + data[cut:])


def pieces_shuffled(data: bytes, rng: Random) -> bytes:
    """A chunk, segment, block or box is repeated (up to 2,000 times), removed or moved."""
    parts = pieces(data)
    at, to = rng.randrange(len(parts)), rng.randrange(len(parts) + 1)
    what = rng.randrange(4)
    if what == 0:
        parts[to:to] = [parts[at]] * rng.choice((1, 2, 30, 2_000 if len(parts[at]) < 2_000 else 2))
    elif what == 1:
        del parts[at]
    elif what == 2:
        parts.insert(to, parts.pop(at))
    else:
        parts[1:] = rng.sample(parts[1:], len(parts) - 1)
    return joined(parts)


def piece_of_another(data: bytes, rng: Random) -> bytes:
    """A chunk, segment, block or box of another picture of the same kind, in place of ours."""
    kin = [one for one in pictures() if one.data[:4] == data[:4]] or pictures()
    parts, others = pieces(data), pieces(rng.choice(kin).data)
    at = rng.randrange(len(parts))
    parts[at : at + rng.randrange(2)] = [rng.choice(others)]
    return joined(parts)


def chunk_changed(data: bytes, rng: Random) -> bytes:
    """PNG: bytes inside of a chunk, whose checksum is made right, so that they are read."""
    parts = pieces(data)
    chosen = rng.randrange(len(parts))
    piece = parts[chosen]
    if data.startswith(b"\x89PNG") and chosen and len(piece) > 12:
        parts[chosen] = png_chunk(piece[4:8], bytes_changed(piece[8:-4], rng))
    else:
        parts[chosen] = bytes_changed(piece, rng)
    return joined(parts)


def size_lied_about(data: bytes, rng: Random) -> bytes:
    """The header announces another size, number of channels, of strips, of bytes..."""
    if data.startswith(b"\x89PNG"):
        return _png_lie(data, rng)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_lie(data, rng)
    if data.startswith((b"II", b"MM")):
        return _tiff_lie(data, rng)
    if data.startswith(b"GIF8"):
        return _gif_lie(data, rng)
    if data.startswith(b"BM"):
        at = rng.choice((2, 10, 14, 18, 22, 28, 30, 34, 46))  # BITMAPFILEHEADER, BITMAPINFOHEADER
        return _put(data, at, "<I", rng.choice((_size(rng), -_size(rng) % 2**32)))
    if data.startswith(b"RIFF"):
        return _webp_lie(data, rng)
    if data[4:8] == b"ftyp":
        return _avif_lie(data, rng)
    return bytes_changed(data, rng)


def scans_repeated(data: bytes, rng: Random) -> bytes:
    """JPEG: the last scan again and again. Few bytes, and of a large picture minutes of work."""
    at = data.rfind(b"\xff\xda")
    if not data.startswith(b"\xff\xd8") or at < 0:
        return pieces_shuffled(data, rng)
    end = data.rfind(b"\xff\xd9")
    stop = end if end > at else len(data)
    return data[:stop] + data[at:stop] * rng.choice((3, 30, 300)) + data[stop:]


def huge_profile(data: bytes, rng: Random) -> bytes:
    """An ICC profile, EXIF, XMP or text of up to 5 MB, sound at its beginning or not at all."""
    size = rng.choice((100, 100, 65_000, 65_000, 1_000_000, 5_000_000))
    begins = rng.choice((srgb_profile(), b"", orientation(6).tobytes()))
    filled = (begins + rng.choice((b"\0", b"\xff", b"Exif\0\0II*\0\x08\0\0\0")) * size)[:size]
    if data.startswith(b"\x89PNG"):
        return _png_metadata(data, filled, rng)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_metadata(data, filled, rng)
    if data.startswith(b"RIFF"):
        flags = struct.pack("<4sIB3x6s", b"VP8X", 10, 0x2C, b"\x2f\0\0\x23\0\0")
        name = rng.choice((b"ICCP", b"EXIF", b"XMP "))
        chunk = struct.pack("<4sI", name, len(filled)) + filled + b"\0" * (len(filled) % 2)
        return joined([data[:12], flags, chunk, *pieces(data)[1:]])
    if data.startswith((b"II", b"MM")) and (starts := tiff_entries(data)):
        tag = rng.choice((34_675, 34_665, 700, 33_723, 270))  # ICC, EXIF, XMP, IPTC, description
        entry = struct.pack(f"{tiff_order(data)}HHII", tag, 7, len(filled), len(data))
        at = rng.choice(starts)
        return data[:at] + entry + data[at + 12 :] + filled
    if data.startswith(b"GIF8"):
        blocks = b"".join(
            bytes((len(filled[at : at + 255]),)) + filled[at : at + 255]
            for at in range(0, len(filled), 255)
        )
        parts = pieces(data)
        name = rng.choice((b"\x21\xff\x0bICCRGBG1012", b"\x21\xff\x0bXMP DataXMP", b"\x21\xfe"))
        return joined([parts[0], name + blocks + b"\0", *parts[1:]])
    if data[4:8] == b"ftyp":
        return encoded(scene("RGB"), "AVIF", icc_profile=filled, speed=10)
    return data + filled


def _png_metadata(data: bytes, filled: bytes, rng: Random) -> bytes:
    packed = zlib.compress(filled, 1)
    chunk = rng.choice(
        (
            png_chunk(b"iCCP", b"x\0\0" + packed),
            png_chunk(b"eXIf", filled),
            png_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10 * len(filled)), 1)),
            png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        )
    )
    parts = pieces(data)
    return joined([*parts[:2], chunk, *parts[2:]])


def _jpeg_metadata(data: bytes, filled: bytes, rng: Random) -> bytes:
    """APP2 segments with a profile in numbered parts, or APP1 segments with EXIF."""
    runs = [filled[at : at + 65_000] for at in range(0, len(filled), 65_000)]
    numbered = [bytes((at % 256, len(runs) % 256)) for at in range(1, len(runs) + 1)]
    is_profile = rng.random() < 0.5
    segments = []
    for number, run in zip(numbered, runs, strict=True):
        body = b"ICC_PROFILE\0" + number + run if is_profile else b"Exif\0\0" + run
        marker = b"\xff\xe2" if is_profile else b"\xff\xe1"
        segments.append(marker + struct.pack(">H", 2 + len(body)) + body)
    return data[:2] + b"".join(segments) + data[2:]


def _size(rng: Random) -> int:
    return rng.choice((*SIZES, rng.randrange(1, 100)))


def _put(data: bytes, at: int, layout: str, value: int) -> bytes:
    """`data` with a number written over what stands at `at`, cut to fit its bytes."""
    bits = 8 * struct.calcsize(layout)
    written = struct.pack(layout, value % (1 << bits))
    return data[:at] + written + data[at + len(written) :]


def _png_lie(data: bytes, rng: Random) -> bytes:
    """IHDR: width, height, depth, colour type, filter, interlace; with its right checksum. Or a
    chunk's length."""
    parts = pieces(data)
    if rng.random() < 0.3 or len(parts) < 2 or len(parts[1]) != 25:
        at = rng.randrange(len(parts))
        parts[at] = _put(parts[at], 0, ">I", _size(rng)) if len(parts[at]) > 3 else parts[at]
        return joined(parts)
    head = parts[1][8:21]
    if rng.random() < 0.6:
        head = _put(head, rng.choice((0, 4)), ">I", _size(rng))
    else:
        head = _put(head, rng.randrange(8, 13), ">B", rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)))
    return joined([parts[0], png_chunk(b"IHDR", head), *parts[2:]])


def _jpeg_lie(data: bytes, rng: Random) -> bytes:
    """SOF: precision, height, width, channels and their sampling; or the length of a segment."""
    frames = [at for sof in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2") if (at := data.find(sof)) >= 0]
    if not frames or rng.random() < 0.2:
        return _put(data, data.find(b"\xff", 2 + rng.randrange(len(data))) + 2, ">H", _size(rng))
    at = rng.choice(frames)
    if rng.random() < 0.6:
        return _put(data, at + rng.choice((5, 7)), ">H", _size(rng))
    return _put(data, at + rng.choice((4, 9, 10, 11, 12, 13, 14)), ">B", rng.randrange(256))


def _tiff_lie(data: bytes, rng: Random) -> bytes:
    """An entry of the first directory: tag, type, count or value (sizes, depth, offsets...)."""
    starts = tiff_entries(data)
    if not starts:
        return bytes_changed(data, rng)
    order, start = tiff_order(data), rng.choice(starts)
    field, layout = rng.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I"), (8, "I")))
    value = rng.choice((254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 330, 339))
    if field:
        value = rng.randrange(20) if field == 2 else _size(rng)
    return _put(data, start + field, order + layout, value)


def _gif_lie(data: bytes, rng: Random) -> bytes:
    """The logical screen, or the place and size of an image upon it."""
    if rng.random() < 0.5:
        return _put(data, rng.choice((6, 8)), "<H", _size(rng))
    parts = pieces(data)
    images = [at for at, part in enumerate(parts) if part[:1] == b","]
    if images:
        at = rng.choice(images)
        parts[at] = _put(parts[at], rng.choice((1, 3, 5, 7)), "<H", _size(rng))
    return joined(parts)


def _webp_lie(data: bytes, rng: Random) -> bytes:
    """The canvas (VP8X), the picture (VP8, VP8L), a frame of an animation, or a chunk's length."""
    name = rng.choice((b"VP8X", b"VP8 ", b"VP8L", b"ANMF", b"ALPH", b"ICCP"))
    at = data.find(name)
    if at < 0:
        at = 12
    if rng.random() < 0.25:
        return _put(data, at + 4, "<I", _size(rng))
    place = {b"VP8X": (12, 15), b"VP8 ": (14, 16), b"VP8L": (9, 11), b"ANMF": (8, 11, 14, 17)}
    return _put(data, at + rng.choice(place.get(name, (8, 12))), "<H", _size(rng))


def _avif_lie(data: bytes, rng: Random) -> bytes:
    """The size in `ispe`, or any number within a box, or a box's length."""
    at = data.find(b"ispe")
    if at >= 0 and rng.random() < 0.4:
        return _put(data, at + rng.choice((8, 12)), ">I", _size(rng))
    start, end = rng.choice(all_boxes(data))
    inside = start + rng.choice((0, rng.randrange(max(1, end - start))))
    return _put(data, inside, rng.choice((">I", ">H", ">B")), _size(rng))


MUTATIONS: Final[Mapping[str, Callable[[bytes, Random], bytes]]] = {
    function.__name__.replace("_", " "): function
    for function in (
        truncated,
        bits_flipped,
        bytes_changed,
        span_overwritten,
        span_removed_or_repeated,
        spliced,
        pieces_shuffled,
        piece_of_another,
        chunk_changed,
        size_lied_about,
        scans_repeated,
        huge_profile,
    )
}
