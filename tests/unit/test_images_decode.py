"""Bytes -> an upright sRGB picture, against references in plain NumPy."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, features

from tagging.domain import FailureCode
from tagging.images.decode import ImageLimits, ImageRejected, ImageTooLarge, decode_image
from tagging.model_card import InputSpec

LIMITS = ImageLimits()
GREY28 = InputSpec(kind="fashion-mnist", height=28, width=28, channels=1)

Array = npt.NDArray[Any]

UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""EXIF 2.32, tag 0x0112: where the stored row 0 and column 0 stand, undone."""


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Array:
    return np.asarray(decode_image(data, LIMITS)).astype(int)


def slope(mode: str) -> Image.Image:
    """40 x 24, smooth, different in each corner."""
    across, down = np.meshgrid(np.linspace(0, 200, 40), np.linspace(0, 50, 24))
    grey = (across + down).astype(np.uint8)
    if mode == "L":
        return Image.fromarray(grey)
    channels = [grey, 255 - grey, (down * 5).astype(np.uint8), np.full_like(grey, 255)]
    return Image.fromarray(np.stack(channels[: len(mode)], axis=-1))


def rejection(data: bytes, limits: ImageLimits = LIMITS) -> ImageRejected:
    with pytest.raises(ImageRejected) as caught:
        decode_image(data, limits)
    assert caught.value.detail.endswith(".")
    assert str(caught.value) == caught.value.detail
    return caught.value


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "mode", "options", "tolerance"),
    [
        ("JPEG", "L", {"quality": 100}, 3),
        ("JPEG", "RGB", {"quality": 100, "subsampling": 0}, 5),
        ("PNG", "L", {}, 0),
        ("PNG", "RGB", {}, 0),
        ("PNG", "RGBA", {}, 0),
        ("WEBP", "RGB", {"lossless": True}, 0),
        ("WEBP", "RGBA", {"lossless": True}, 0),
        ("TIFF", "L", {}, 0),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}, 0),
        ("TIFF", "RGBA", {}, 0),
        pytest.param(
            "AVIF",
            "RGB",
            {"quality": 100, "subsampling": "4:4:4"},
            6,
            marks=pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF"),
        ),
    ],
)
def test_every_orientation_stands_upright(
    kind: str, mode: str, options: dict[str, Any], tolerance: int, orientation: int
) -> None:
    source = slope(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = decode_image(encoded(source, kind, exif=exif, **options), LIMITS)
    expected = UPRIGHT[orientation](np.asarray(source.convert("RGB" if mode != "L" else "L")))
    assert result.mode == ("L" if mode == "L" else "RGB")
    assert np.asarray(result).shape == expected.shape
    assert np.abs(np.asarray(result).astype(int) - expected).max() <= tolerance


def test_broken_exif_costs_nothing() -> None:
    data = encoded(slope("RGB"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x01")
    assert decode_image(data, LIMITS).size == (40, 24)


def test_alpha_is_laid_on_white() -> None:
    pixels = np.zeros((8, 256, 4), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = 200, 17
    pixels[..., 3] = np.arange(256)
    alpha = pixels[..., 3:].astype(float) / 255
    expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
    result = decoded(encoded(Image.fromarray(pixels), "PNG"))
    assert np.abs(result - expected).max() <= 1


def test_a_palette_picture_that_lost_its_palette_is_read_as_pillow_reads_it() -> None:
    image = Image.new("P", (40, 24), 1)
    image.putpalette([10, 20, 30, 200, 100, 0])
    data = encoded(image, "PNG")
    at = data.index(b"PLTE") - 4
    cut = data[:at] + data[at + 12 + int.from_bytes(data[at : at + 4], "big") :]
    result = decode_image(cut, LIMITS)
    assert (result.mode, result.size) == ("RGB", (40, 24))


def test_grey_alpha_stays_grey() -> None:
    image = Image.merge("LA", (Image.new("L", (5, 5), 100), Image.new("L", (5, 5), 0)))
    result = decode_image(encoded(image, "PNG"), LIMITS)
    assert result.mode == "L"
    assert result.getextrema() == (255, 255)


@pytest.mark.parametrize(
    ("mode", "colours", "key"),
    [("L", (40, 90), 40), ("RGB", ((1, 2, 3), (9, 9, 9)), (1, 2, 3)), ("1", (0, 255), 0)],
)
def test_a_colour_key_is_transparent(mode: str, colours: Any, key: Any) -> None:
    image = Image.new(mode, (4, 2), colours[1])
    image.paste(colours[0], (0, 0, 2, 2))
    result = decoded(encoded(image, "PNG", transparency=key))
    assert (result[:, :2] == 255).all()
    assert (result[:, 2:] == colours[1]).all()


@pytest.mark.parametrize(("kind", "transparency"), [("PNG", 1), ("PNG", b"\xff\x00"), ("GIF", 1)])
def test_palette_transparency_by_index_and_by_bytes(kind: str, transparency: int | bytes) -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.paste(1, (2, 0, 4, 2))
    result = decoded(encoded(image, kind, transparency=transparency))
    assert (result[:, :2] == (10, 20, 30)).all()
    assert (result[:, 2:] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    wide = np.linspace(0, 65535, 300).astype(np.uint16).reshape(10, 30)
    result = decoded(encoded(Image.fromarray(wide), kind))
    np.testing.assert_array_equal(result, np.round(wide / 257))


def test_big_endian_sixteen_bits() -> None:
    wide = np.linspace(0, 65535, 300).astype(">u2").reshape(10, 30)
    image = Image.frombytes("I;16B", (30, 10), wide.tobytes())
    result = decoded(encoded(image, "TIFF"))
    np.testing.assert_array_equal(result, np.round(wide / 257))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),  # leaves all customary ranges: stretched
        ([np.nan, np.inf, 1.0], [0, 255, 255]),
        ([np.nan, np.nan, -np.inf], [0, 0, 0]),
        ([-np.inf, 5.0, np.inf], [0, 5, 255]),
        ([7e4, 7e4, 7e4], [0, 0, 0]),
    ],
)
def test_floats_by_the_smallest_range_that_holds_them(
    values: list[float], expected: list[int]
) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert decoded(encoded(image, "TIFF"))[0].tolist() == expected


def test_32_bit_integers_follow_the_same_rule() -> None:
    image = Image.fromarray(np.array([[0, 25700, 65535]], dtype=np.int32))
    assert decoded(encoded(image, "TIFF"))[0].tolist() == [0, 100, 255]


@pytest.mark.parametrize(("kind", "mode"), [("TIFF", "LAB"), ("JPEG", "CMYK"), ("TIFF", "1")])
def test_odd_modes_are_converted(kind: str, mode: str) -> None:
    result = decode_image(encoded(Image.new(mode, (9, 9)), kind), LIMITS)
    assert result.mode == ("L" if mode == "1" else "RGB")


def test_cmyk_of_adobe_is_not_inverted_twice() -> None:
    data = encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG", quality=100)
    assert decoded(data).min() >= 250  # no ink is white


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several(kind: str) -> None:
    first, second = Image.new("RGB", (20, 10), (250, 0, 0)), Image.new("RGB", (20, 10), (0, 0, 250))
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert (decoded(data) == (250, 0, 0)).all()


def linear_profile(space: bytes) -> bytes:
    """An ICC 2.4 profile with sRGB's primaries, but linear: (v / 255) is the light itself."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    xyz, curve = b"XYZ \0\0\0\0", b"curv\0\0\0\0" + struct.pack(">I", 0)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"cprt": b"text\0\0\0\0x\0\0\0",
        b"wtpt": xyz + fixed(0.9642, 1.0, 0.8249),
    }
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        primaries = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
        for letter, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
            tags[letter + b"XYZ"] = xyz + fixed(*primary)
            tags[letter + b"TRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s4sII4s8sI12s4s44s",
        start + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ",
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", b"APPL", 0, 0, b"", b"", 0,
        fixed(0.9642, 1.0, 0.8249), b"", b"",
    )  # fmt: skip
    return head + table + body


def srgb_encoded(light: Array) -> Array:
    """IEC 61966-2-1, the transfer function of sRGB; 0 to 1 -> 0 to 255."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    ("mode", "space", "kind"),
    [
        ("RGB", b"RGB ", "PNG"),
        ("RGBA", b"RGB ", "PNG"),
        ("L", b"GRAY", "PNG"),
        ("RGB", b"RGB ", "TIFF"),
    ],
)
def test_a_profile_is_applied(mode: str, space: bytes, kind: str) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[np.newaxis], 4, axis=0)
    image = Image.fromarray(ramp).convert(mode)
    result = decode_image(encoded(image, kind, icc_profile=linear_profile(space)), LIMITS)
    assert result.mode == ("L" if mode == "L" else "RGB")
    expected = srgb_encoded(np.arange(256) / 255)
    pixels = np.asarray(result).reshape(4, 256, -1).astype(int)
    assert np.abs(pixels - expected[np.newaxis, :, np.newaxis]).max() <= 3


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"not a profile at all",
        linear_profile(b"RGB ")[:200],
        linear_profile(b"GRAY"),  # of another kind of picture
    ],
    ids=["srgb", "garbage", "cut off", "grey profile in a colour picture"],
)
def test_srgb_and_useless_profiles_change_nothing(profile: bytes) -> None:
    source = slope("RGB")
    data = encoded(source, "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decoded(data), np.asarray(source))


def test_a_large_picture_in_bands_equals_a_small_one() -> None:
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (2100, 2100, 4), dtype=np.uint8)  # over 4 million
    alpha = pixels[..., 3:].astype(float) / 255
    expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
    result = decoded(encoded(Image.fromarray(pixels), "PNG", compress_level=0))
    assert np.abs(result - expected).max() <= 1


def test_a_jpeg_is_read_no_finer_than_the_model_needs() -> None:
    data = encoded(slope("RGB").resize((1000, 600)), "JPEG")
    small = decode_image(data, LIMITS, for_input=GREY28)
    assert (small.mode, small.size) == ("L", (125, 75))
    assert decode_image(data, LIMITS).size == (1000, 600)


def test_a_profile_is_applied_before_a_jpeg_becomes_grey() -> None:
    data = encoded(slope("RGB"), "JPEG", icc_profile=linear_profile(b"RGB "))
    assert decode_image(data, LIMITS, for_input=GREY28).mode == "RGB"


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", FailureCode.UNSUPPORTED_FORMAT, "an empty file"),
        (b"%PDF-1.7 ...", FailureCode.UNSUPPORTED_FORMAT, "a PDF document"),
        (b"hello, world", FailureCode.UNSUPPORTED_FORMAT, "68 65 6c 6c 6f"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", FailureCode.UNSUPPORTED_FORMAT, "a HEIC picture"),
        (b"\x89PNG\r\n\x1a\n", FailureCode.UNREADABLE, "The PNG file"),
        (encoded(slope("RGB"), "JPEG")[:400], FailureCode.UNREADABLE, "The JPEG file"),
        (encoded(slope("RGB"), "PNG")[:200], FailureCode.UNREADABLE, "The PNG file"),
        (encoded(slope("RGB"), "PPM"), FailureCode.UNSUPPORTED_FORMAT, "deliver one of JPEG, PNG"),
    ],
)
def test_what_is_no_picture_is_refused_by_content(
    data: bytes, code: FailureCode, words: str
) -> None:
    refused = rejection(data)
    assert refused.code is code
    assert words in refused.detail
    assert " at 0x" not in refused.detail


def test_a_file_with_too_many_bytes() -> None:
    refused = rejection(encoded(slope("RGB"), "PNG"), ImageLimits(max_bytes=100))
    assert isinstance(refused, ImageTooLarge)
    assert refused.code is FailureCode.TOO_LARGE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_the_pixel_bound_is_exact(kind: str) -> None:
    data = encoded(slope("RGB"), kind)  # 40 x 24 = 960
    assert decode_image(data, ImageLimits(max_pixels=960)).size == (40, 24)
    refused = rejection(data, ImageLimits(max_pixels=959))
    assert refused.code is FailureCode.TOO_MANY_PIXELS
    assert "40 x 24 = 960 pixels" in refused.detail


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of about 60 bytes that announces any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("edge", [10_000, 40_000, 2_000_000_000])
def test_a_header_that_announces_a_bomb_is_refused_unread(edge: int) -> None:
    assert rejection(png_claiming(edge, edge)).code is FailureCode.TOO_MANY_PIXELS


def test_warnings_of_pillow_go_nowhere_and_filters_come_back() -> None:
    before = list(warnings.filters)
    data = encoded(
        slope("RGB"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\0\0\0"
    )

    def work() -> None:
        for _ in range(50):
            decode_image(data, LIMITS)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_pixels must be above 0, got 0"):
        ImageLimits(max_pixels=0)
