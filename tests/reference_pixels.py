"""What a picture's pixels must come out as, written anew in plain NumPy; and files that Pillow
cannot write, byte by byte. Nothing here looks at how `tagging` does it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

UPRIGHT: Final[Mapping[int, Callable[[Array], Array]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""EXIF 2.32, tag 0x0112: on which sides the stored row 0 and column 0 stand, undone."""


def on_white(colour: Array, alpha: Array) -> Array:
    """Porter and Duff 1984, `over`, with a white ground. (h, w, c) and (h, w), 0 to 255."""
    part = alpha[..., np.newaxis].astype(float) / 255
    return colour * part + 255 * (1 - part)


def of_16_bits(values: Array) -> Array:
    """65,535 is 255; rounded."""
    return np.floor(values.astype(float) * 255 / 65535 + 0.5)


def of_inks(inks: Array) -> Array:
    """Cyan, magenta, yellow, black (h, w, 4), 255 all ink, to RGB: each lets its rest through."""
    rest = 1 - inks.astype(float) / 255
    return 255 * rest[..., :3] * rest[..., 3:]


def of_ycbcr(ycbcr: Array) -> Array:
    """JFIF 1.02, section 7 (ITU-R BT.601, full range)."""
    y, cb, cr = np.moveaxis(ycbcr.astype(float), -1, 0)
    cb, cr = cb - 128, cr - 128
    rgb = (y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb)
    return np.clip(np.stack(rgb, axis=-1), 0, 255)


D50: Final = np.array([0.9642, 1.0, 0.8249])
SRGB: Final = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
"""Linear sRGB to CIE XYZ under D50 (IEC 61966-2-1, adapted by Bradford's method)."""
ADOBE: Final = np.array(
    [
        [0.6097559, 0.2052401, 0.1492240],
        [0.3111242, 0.6256560, 0.0632197],
        [0.0194811, 0.0608902, 0.7448387],
    ]
)
"""Linear Adobe RGB (1998) to CIE XYZ under D50, adapted likewise."""
ADOBE_GAMMA: Final = 563 / 256


def srgb_encoded(light: Array) -> Array:
    """IEC 61966-2-1, the transfer function of sRGB; light, 0 to 1 -> 0 to 255."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def of_matrix_profile(rgb: Array, matrix: Array, gamma: float) -> Array:
    """ICC.1:2004, annex E: device values by their curve and matrix to XYZ; from there to sRGB."""
    xyz = (rgb.astype(float) / 255) ** gamma @ matrix.T
    return srgb_encoded(xyz @ np.linalg.inv(SRGB).T)


def of_grey_profile(grey: Array, gamma: float) -> Array:
    """The neutral colour of that light."""
    return srgb_encoded((grey.astype(float) / 255) ** gamma)


def of_lab(lab: Array) -> Array:
    """CIE L*a*b* under D50 (..., 3) to sRGB (CIE 15:2004, 8.2.1.1)."""
    lightness, a, b = np.moveaxis(lab.astype(float), -1, 0)
    fy = (lightness + 16) / 116
    f = np.stack((fy + a / 500, fy, fy - b / 200), axis=-1)
    xyz = D50 * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    return srgb_encoded(xyz @ np.linalg.inv(SRGB).T)


def rgb_profile(matrix: Array, gamma: float) -> bytes:
    """An ICC 2.4 profile by primaries and one gamma for all."""
    tags = {
        name + b"XYZ": _xyz(*column)
        for name, column in zip((b"r", b"g", b"b"), matrix.T, strict=True)
    }
    tags |= {name + b"TRC": _gamma(gamma) for name in (b"r", b"g", b"b")}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    """An ICC 2.4 profile of grey."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _gamma(gamma)})


def cmyk_profile(corners: Array) -> bytes:
    """An ICC 2.4 profile of a press: `corners` (2, 2, 2, 2, 3), the L*a*b* of each full overprint.

    A table (`lut8`) with two points a channel; between them is interpolated.
    """
    lightness, a, b = np.moveaxis(corners, -1, 0)
    coded = np.stack((lightness * 255 / 100, a + 128, b + 128), axis=-1).round().astype(np.uint8)
    identity = np.eye(3) * 65536
    ramp = bytes(range(256))
    table = (
        b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + struct.pack(">9i", *identity.astype(int).ravel())
        + 4 * ramp + coded.tobytes() + 3 * ramp
    )  # fmt: skip
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table, b"A2B1": table})


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _profile(kind: bytes, space: bytes, between: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """ICC.1:2001-04, sections 6 and 7."""
    all_tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"cprt": b"text\0\0\0\0x\0\0\0",
        b"wtpt": _xyz(*D50),
        **tags,
    }
    entries, body = struct.pack(">I", len(all_tags)), b""
    start = 128 + 4 + 12 * len(all_tags)
    for name, value in all_tags.items():
        entries += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s4sII4s8sI12s4s44s",
        start + len(body), b"lcms", 0x02400000, kind, space, between,
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", b"APPL", 0, 0, b"", b"", 0,
        _xyz(*D50)[8:], b"", b"",
    )  # fmt: skip
    return head + entries + body


_PNG_COLOUR: Final = {1: 0, 2: 4, 3: 2, 4: 6}
_ADAM7: Final = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
"""PNG 1.2, section 2.6: first row, first column, and the steps of each pass."""


def png(pixels: Array, *, interlaced: bool = False, exif: bytes = b"") -> bytes:
    """A PNG of (h, w, 1 to 4) uint8 or uint16: grey, grey and alpha, RGB, RGBA."""
    height, width, channels = pixels.shape
    wide = pixels.astype(">u2") if pixels.dtype == np.uint16 else pixels
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        b"\0" + row.tobytes()
        for top, left, down, across in passes
        if (part := wide[top::down, left::across]).size
        for row in part
    )
    depth = 8 * wide.itemsize
    head = struct.pack(">IIBBBBB", width, height, depth, _PNG_COLOUR[channels], 0, 0, interlaced)
    chunks = [(b"IHDR", head), *([(b"eXIf", exif)] if exif else []), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _png_chunk(*chunk) for chunk in (*chunks, (b"IEND", b""))
    )


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def gif(
    screen: tuple[int, int],
    palette: Array,
    frames: Sequence[tuple[int, int, Array]],
    *,
    transparent: int | None = None,
    disposal: int = 0,
    background: int = 0,
) -> bytes:
    """A GIF89a. `screen`: width, height. `palette`: (4, 3) uint8. `frames`: left, top, (h, w) uint8
    below 4. LZW without compression: a clear code before the table would outgrow its three bits.
    """
    data = b"GIF89a" + struct.pack("<HHBBB", *screen, 0b10000001, background, 0) + palette.tobytes()
    for left, top, pixels in frames:
        flags = disposal << 2 | (transparent is not None)
        data += b"\x21\xf9\x04" + struct.pack("<BHB", flags, 4, transparent or 0) + b"\0"
        data += b"," + struct.pack("<HHHHB", left, top, pixels.shape[1], pixels.shape[0], 0)
        packed = _lzw(pixels.ravel().tolist())
        data += b"\x02" + b"".join(
            bytes((len(packed[at : at + 255]),)) + packed[at : at + 255]
            for at in range(0, len(packed), 255)
        )
        data += b"\0"
    return data + b";"


def _lzw(values: Sequence[int]) -> bytes:
    """GIF89a, appendix F, with codes of 3 bits: clear (4), two values, clear, ..., end (5)."""
    codes = []
    for at, value in enumerate(values):
        codes += [4, value] if at % 2 == 0 else [value]
    bits = "".join(f"{code:03b}"[::-1] for code in (*codes, 5))
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def riff_webp(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A WebP of these chunks."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_animation(
    canvas: tuple[int, int], frames: Sequence[tuple[int, int, bytes]], *, alpha: bool
) -> bytes:
    """An animated WebP. `canvas`: width, height. `frames`: left and top (even), a simple WebP file.

    The background is red, which viewers may ignore.
    """

    def three(value: int) -> bytes:
        return struct.pack("<I", value)[:3]

    flags = 0b10 | (0b10000 if alpha else 0)
    chunks = [
        (b"VP8X", struct.pack("<I", flags) + three(canvas[0] - 1) + three(canvas[1] - 1)),
        (b"ANIM", b"\0\0\xff\xff\0\0"),
    ]
    for left, top, simple in frames:
        bits = int.from_bytes(
            simple[21:25], "little"
        )  # VP8L: width and height less 1, 14 bits each
        width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
        place = b"".join(map(three, (left // 2, top // 2, width, height, 40))) + b"\0"
        chunks.append((b"ANMF", place + simple[12:]))
    return riff_webp(chunks)
