"""Our own pictures, drawn here: every allowed format in the modes and variants that Pillow writes.

What the mutations start from, and good neighbours whose pixels are known.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms, features

_LOSSLESS: Final = ("PNG", "TIFF", "BMP")
"""Those that keep grey as grey."""

_MADE_AT: Final = range(24, 36)
"""Where an ICC profile says when it was made: six numbers of two bytes."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An encoded picture. `kind`: its format, as Pillow calls it."""

    name: str
    kind: str
    data: bytes


def scene(mode: str, width: int = 48, height: int = 36, *, turn: int = 0) -> Image.Image:
    """A slope with a bright disc, different in each corner, in any mode; `turn` shifts it."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float64)
    across, down = (across + turn) % width / width, (down + 2 * turn) % height / height
    disc = (across - 0.4) ** 2 + (down - 0.6) ** 2 < 0.05
    light = np.where(disc, 1.0, 0.6 * across + 0.3 * down)  # (h, w), 0 to 1
    grey = (255 * light).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((65535 * light).astype(np.uint16))
    if mode == "I":
        return Image.fromarray((65535 * light).astype(np.int32))
    if mode == "F":
        return Image.fromarray(light.astype(np.float32))
    rgb = np.stack([grey, 255 - grey, (255 * down).astype(np.uint8)], axis=-1)
    colour = Image.fromarray(rgb)
    if mode in ("1", "L", "RGB", "CMYK", "YCbCr"):
        return (Image.fromarray(grey) if mode in ("1", "L") else colour).convert(mode)
    if mode == "P":
        return colour.quantize(64)
    if mode == "LAB":
        return Image.merge("LAB", colour.split())
    alpha = Image.fromarray(np.where(disc, 255, (255 * across).astype(np.uint8)).astype(np.uint8))
    if mode == "LA":
        return Image.merge("LA", (Image.fromarray(grey), alpha))
    return Image.merge("RGBA", (*colour.split(), alpha))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of the file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def orientation(value: int) -> Image.Exif:
    """EXIF that says how the picture is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = value
    exif[0x010E] = "drawn by a test"
    return exif


def srgb_profile() -> bytes:
    """An ICC profile of sRGB, without the time at which it was made: always the same bytes."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made[: _MADE_AT.start] + bytes(len(_MADE_AT)) + made[_MADE_AT.stop :]


@functools.cache
def pictures() -> tuple[Picture, ...]:
    """All of them, in a fixed order; 200 bytes to 40 kB each."""
    found = [*_jpeg(), *_png(), *_gif(), *_bmp(), *_tiff()]
    if features.check("webp"):
        found += _webp()
    if features.check("avif"):
        found += _avif()
    return tuple(found)


def _picture(name: str, kind: str, image: Image.Image, **options: Any) -> Picture:
    return Picture(name=f"{kind} {name}", kind=kind, data=encoded(image, kind, **options))


def _frames(count: int = 3) -> dict[str, Any]:
    """The options that make `save` write an animation."""
    return {
        "save_all": True,
        "append_images": [scene("RGB", turn=5 * at) for at in range(1, count)],
        "duration": 40,
    }


def _jpeg() -> list[Picture]:
    wide, profile = scene("RGB", 400, 300), srgb_profile()
    metadata = {"exif": orientation(6), "icc_profile": profile, "comment": b"drawn"}
    return [
        *(_picture(mode, "JPEG", scene(mode)) for mode in ("L", "RGB", "CMYK", "YCbCr")),
        _picture("4:4:4", "JPEG", scene("RGB"), subsampling=0, quality=95),
        _picture("progressive", "JPEG", wide, progressive=True),
        _picture("large", "JPEG", wide),
        _picture("restarts", "JPEG", scene("RGB"), restart_marker_blocks=2),
        _picture("metadata", "JPEG", scene("RGB"), **metadata),
        _picture("optimized", "JPEG", scene("L", 200, 100), optimize=True),
    ]


def _png() -> list[Picture]:
    modes = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
    transparent = {"transparency": bytes(range(0, 256, 4))}
    metadata = {"exif": orientation(8), "icc_profile": srgb_profile()}
    return [
        *(_picture(mode, "PNG", scene(mode)) for mode in modes),
        _picture("palette with alpha", "PNG", scene("P"), **transparent),
        _picture("colour key", "PNG", scene("RGB"), transparency=(255, 0, 0)),
        _picture("metadata", "PNG", scene("RGB"), **metadata),
        _picture("animated", "PNG", scene("RGB"), **_frames()),
        _picture("large", "PNG", scene("RGB", 300, 200)),
        _picture("16 colours", "PNG", scene("RGB").quantize(16), bits=4),
    ]


def _gif() -> list[Picture]:
    return [
        *(_picture(mode, "GIF", scene(mode)) for mode in ("1", "L", "P", "RGB")),
        _picture("transparent", "GIF", scene("P"), transparency=3),
        _picture("plain rows", "GIF", scene("P"), interlace=0),
        _picture("animated", "GIF", scene("RGB"), **_frames(), disposal=2, loop=0),
        _picture("animated, kept", "GIF", scene("RGB"), **_frames(), disposal=1),
    ]


def _bmp() -> list[Picture]:
    return [_picture(mode, "BMP", scene(mode)) for mode in ("1", "L", "P", "RGB", "RGBA")]


def _tiff() -> list[Picture]:
    modes = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
    packed = (
        ("1", "group4"),
        ("1", "packbits"),
        ("L", "tiff_lzw"),
        ("RGB", "tiff_adobe_deflate"),
        ("RGB", "jpeg"),
        ("RGBA", "tiff_lzw"),
        ("I;16", "tiff_lzw"),
        ("RGB", "packbits"),
        ("F", "tiff_adobe_deflate"),
    )
    metadata = {"exif": orientation(5), "icc_profile": srgb_profile()}
    return [
        *(_picture(mode, "TIFF", scene(mode)) for mode in modes),
        *(_picture(f"{mode} {how}", "TIFF", scene(mode), compression=how) for mode, how in packed),
        _picture("metadata", "TIFF", scene("RGB"), **metadata),
        _picture("pages", "TIFF", scene("RGB"), **_frames()),
        _picture("big", "TIFF", scene("RGB"), big_tiff=True),
        _picture("strips", "TIFF", scene("RGB"), tiffinfo={278: 8}, compression="tiff_lzw"),
    ]


def _webp() -> list[Picture]:
    metadata = {"exif": orientation(3), "icc_profile": srgb_profile()}
    return [
        _picture("lossy", "WEBP", scene("RGB")),
        _picture("lossless", "WEBP", scene("RGB"), lossless=True),
        _picture("alpha", "WEBP", scene("RGBA")),
        _picture("lossless alpha", "WEBP", scene("RGBA"), lossless=True),
        _picture("metadata", "WEBP", scene("RGB"), **metadata),
        _picture("animated", "WEBP", scene("RGB"), **_frames()),
        _picture("large", "WEBP", scene("RGB", 400, 300)),
    ]


def _avif() -> list[Picture]:
    metadata = {"exif": orientation(7), "icc_profile": srgb_profile()}
    return [
        *(_picture(mode, "AVIF", scene(mode), speed=10) for mode in ("L", "RGB", "RGBA")),
        _picture("metadata", "AVIF", scene("RGB"), speed=10, **metadata),
        _picture("animated", "AVIF", scene("RGB"), speed=10, **_frames()),
    ]


_LARGE: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGBA", {"compress_level": 1}),
    ("PNG", "I;16", {"compress_level": 1}),
    ("PNG", "1", {}),
    ("GIF", "L", {}),
    ("BMP", "1", {}),
    ("TIFF", "RGBA", {"compression": "tiff_lzw"}),
    ("TIFF", "F", {"compression": "tiff_lzw"}),
    ("TIFF", "CMYK", {"compression": "packbits"}),
    ("TIFF", "1", {"compression": "group4"}),
    ("WEBP", "RGB", {"method": 0}),
    ("AVIF", "RGB", {"speed": 10}),
)


@functools.cache
def large_picture(number: int) -> Picture:
    """One of those just under the bound on pixels, lying on its side where its format says so.

    Of one colour, so that the file is small; what they cost is memory, and time to turn.
    """
    kind, mode, options = _LARGE[number % len(_LARGE)]
    side = 4_000 if kind in ("WEBP", "AVIF") else 7_000
    image = Image.new(mode, (side, side))
    if kind not in ("GIF", "BMP"):
        options = {**options, "exif": orientation(6)}
    return _picture(f"large {mode}", kind, image, **options)


def good_neighbour(seed: int, side: int, channels: int) -> tuple[bytes, np.ndarray]:
    """A sound file, and the (side, side, channels) uint8 that a model of this input is to see.

    Grey with a black border, or in colour; in both cases what `to_model_input` passes bit for bit.
    """
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)
    pixels[[0, -1], :] = pixels[:, [0, -1]] = 0
    kind = _LOSSLESS[seed % len(_LOSSLESS)]
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    return encoded(image, kind), pixels
