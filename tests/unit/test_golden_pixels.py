"""Wrong pixels are worse than crashes: every orientation x mode x format against plain NumPy.

The tolerance of a format that loses nothing is what rounding may differ by, 0 or 1 of 255; of one
that does, it stands beside the format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image, features

from tagging.images.decode import decode_image
from tagging.images.model_input import to_model_input
from tagging.images.protocol import WireSpec
from tagging.images.rejection import ImageLimits
from tests import reference_pixels as reference
from tests.hostile.pictures import encoded, orientation, srgb_profile
from tests.reference_pixels import Array

HEIGHT, WIDTH = 24, 40
GREY28 = WireSpec(kind="fashion-mnist", height=28, width=28, channels=1)
PHOTO = WireSpec(kind="photo", height=224, width=224, channels=3)

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")


def decoded(data: bytes) -> Array:
    return np.asarray(decode_image(data, ImageLimits())).astype(float)


def assert_shows(data: bytes, expected: Array, tolerance: float) -> None:
    """`expected`: (h, w) for grey, (h, w, 3) for colour; before rounding."""
    result = decoded(data)
    assert result.shape == expected.shape
    # Half a step more: `expected` is not rounded, and which way a half goes is nobody's promise.
    assert np.abs(result - expected).max() <= tolerance + 0.51


def slope(channels: int, dtype: Any = np.uint8) -> Array:
    """(HEIGHT, WIDTH, channels), smooth, over the whole range, different in each corner."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    down, across = down / (HEIGHT - 1), across / (WIDTH - 1)
    made = (
        0.7 * across + 0.3 * down,
        1 - 0.6 * across - 0.4 * down,
        down,
        0.2 + 0.8 * across,
    )
    return (np.stack(made[:channels], axis=-1) * np.iinfo(dtype).max).round().astype(dtype)


PALETTE: Final = np.array([[10, 20, 30], [200, 100, 0], [0, 250, 0], [90, 90, 250]], np.uint8)
PALETTE_ALPHA: Final = np.array([255, 0, 100, 200], np.uint8)


def indices() -> Array:
    """(HEIGHT, WIDTH) uint8, each pixel its own colour of the four."""
    return (slope(1)[..., 0] // 64 + np.arange(WIDTH, dtype=np.uint8)) % 4


# What each mode is as Pillow holds it, and what it must look like, stored upright.


def bilevel() -> tuple[Image.Image, Array]:
    values = slope(1)[..., 0] % 2 * np.uint8(255)
    return Image.fromarray(values).convert("1", dither=Image.Dither.NONE), values.astype(float)


def grey() -> tuple[Image.Image, Array]:
    values = slope(1)[..., 0]
    return Image.fromarray(values), values.astype(float)


def grey_alpha() -> tuple[Image.Image, Array]:
    values = slope(2)
    image = Image.merge(
        "LA", [Image.fromarray(np.ascontiguousarray(values[..., i])) for i in (0, 1)]
    )
    return image, reference.on_white(values[..., :1], values[..., 1])[..., 0]


def palette() -> tuple[Image.Image, Array]:
    image = Image.fromarray(indices())
    image.putpalette(PALETTE.tobytes())
    return image, PALETTE[indices()].astype(float)


def rgb() -> tuple[Image.Image, Array]:
    return Image.fromarray(slope(3)), slope(3).astype(float)


def rgba() -> tuple[Image.Image, Array]:
    return Image.fromarray(slope(4)), reference.on_white(slope(4)[..., :3], slope(4)[..., 3])


def cmyk() -> tuple[Image.Image, Array]:
    inks = slope(4) // 2
    return Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes()), reference.of_inks(inks)


def ycbcr() -> tuple[Image.Image, Array]:
    values = slope(3) // 2 + 64
    image = Image.frombytes("YCbCr", (WIDTH, HEIGHT), values.tobytes())
    return image, reference.of_ycbcr(values)


def sixteen_bits() -> tuple[Image.Image, Array]:
    values = slope(1, np.uint16)[..., 0]
    return Image.fromarray(values), reference.of_16_bits(values)


def floats() -> tuple[Image.Image, Array]:
    values = (slope(1, np.uint16)[..., 0] / 65535).astype(np.float32)
    return Image.fromarray(values), 255.0 * values


Source = Callable[[], tuple[Image.Image, Array]]

LOSSLESS_TIFF: Final = {"compression": "tiff_lzw"}
JPEG: Final = {"quality": 100, "subsampling": 0}
JPEG_TOLERANCE: Final = 3
AVIF: Final = {"quality": 100, "subsampling": "4:4:4", "speed": 10}
AVIF_GREY: Final = {"quality": 100, "speed": 10}
AVIF_TOLERANCE: Final = 4

TURNED: Final[list[Any]] = [
    ("PNG", bilevel, {}, 0),
    ("PNG", grey, {}, 0),
    ("PNG", grey_alpha, {}, 1),
    ("PNG", palette, {}, 0),
    ("PNG", rgb, {}, 0),
    ("PNG", rgba, {}, 1),
    ("PNG", sixteen_bits, {}, 0),
    ("JPEG", grey, JPEG, JPEG_TOLERANCE),
    ("JPEG", rgb, JPEG, JPEG_TOLERANCE),
    ("JPEG", rgb, {**JPEG, "keep_rgb": True}, JPEG_TOLERANCE),
    ("JPEG", rgb, {**JPEG, "progressive": True}, JPEG_TOLERANCE),
    ("JPEG", cmyk, JPEG, JPEG_TOLERANCE),
    ("JPEG", ycbcr, JPEG, JPEG_TOLERANCE),
    ("WEBP", rgb, {"lossless": True}, 0),
    ("WEBP", rgba, {"lossless": True, "exact": True}, 1),
    ("TIFF", bilevel, {"compression": "group4"}, 0),
    ("TIFF", grey, LOSSLESS_TIFF, 0),
    ("TIFF", grey_alpha, LOSSLESS_TIFF, 1),
    ("TIFF", palette, LOSSLESS_TIFF, 0),
    ("TIFF", rgb, LOSSLESS_TIFF, 0),
    ("TIFF", rgba, LOSSLESS_TIFF, 1),
    ("TIFF", cmyk, LOSSLESS_TIFF, 1),
    ("TIFF", ycbcr, {}, 1),
    ("TIFF", sixteen_bits, LOSSLESS_TIFF, 0),
    ("TIFF", floats, LOSSLESS_TIFF, 0),
    ("TIFF", rgb, {}, 0),
    pytest.param("AVIF", grey, AVIF_GREY, AVIF_TOLERANCE, marks=needs_avif),
    pytest.param("AVIF", rgb, AVIF, AVIF_TOLERANCE, marks=needs_avif),
    pytest.param("AVIF", rgba, AVIF, AVIF_TOLERANCE, marks=needs_avif),
]
"""Format, mode, how it is written, tolerance: formats that say how a picture is turned."""


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(("kind", "source", "options", "tolerance"), TURNED)
def test_every_mode_of_every_format_in_every_orientation(
    kind: str, source: Source, options: dict[str, Any], tolerance: float, turn: int
) -> None:
    image, upright = source()
    data = encoded(image, kind, exif=orientation(turn), **options)
    assert_shows(data, reference.UPRIGHT[turn](upright), tolerance)


@pytest.mark.parametrize(
    ("kind", "source", "options"),
    [
        ("GIF", bilevel, {}),
        ("GIF", palette, {}),
        ("GIF", palette, {"interlace": 0}),
        ("BMP", bilevel, {}),
        ("BMP", grey, {}),
        ("BMP", palette, {}),
        ("BMP", rgb, {}),
    ],
)
def test_formats_that_know_no_orientation(
    kind: str, source: Source, options: dict[str, Any]
) -> None:
    image, shown = source()
    result = decoded(encoded(image, kind, **options))
    assert np.array_equal(result.reshape(HEIGHT, WIDTH, -1), _as_rows(shown, result.ndim))


def _as_rows(shown: Array, dimensions: int) -> Array:
    """Grey as grey, or thrice, as a format that knows palettes only gives it."""
    if shown.ndim == 2:
        return np.repeat(shown[..., np.newaxis], 3 if dimensions == 3 else 1, axis=2)
    return shown


def bmp_with_alpha(pixels: Array) -> bytes:
    """32 bits with masks (BITMAPV4HEADER), bottom row first; Pillow writes none with alpha."""
    height, width = pixels.shape[:2]
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, 0, 0, 0, 0, 0) + masks
    head += b"BGRs" + bytes(48)
    body = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    return (
        struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(body), 0, 0, 14 + len(head))
        + head
        + body
    )


def test_alpha_of_a_bmp_is_laid_on_white() -> None:
    assert_shows(bmp_with_alpha(slope(4)), rgba()[1], 1)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_palette_with_alpha_in_every_orientation(turn: int) -> None:
    image, opaque = palette()
    expected = reference.on_white(opaque, PALETTE_ALPHA[indices()])
    data = encoded(image, "PNG", transparency=PALETTE_ALPHA.tobytes(), exif=orientation(turn))
    assert_shows(data, reference.UPRIGHT[turn](expected), 1)


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_8_and_16_bits_whole_and_interlaced(
    channels: int, depth: Any, interlaced: bool, turn: int
) -> None:
    pixels = slope(channels, depth)
    shown = reference.of_16_bits(pixels) if depth is np.uint16 else pixels.astype(float)
    if channels in (2, 4):
        alpha = shown[..., -1]
        shown = reference.on_white(shown[..., :-1], alpha)
    if channels == 1 or (channels == 2 and depth is np.uint8):
        shown = shown[..., 0]
    elif channels == 2:  # Pillow opens it as colour
        shown = np.repeat(shown, 3, axis=-1)
    exif = orientation(turn).tobytes()[6:]
    data = reference.png(pixels, interlaced=interlaced, exif=exif)
    # Pillow takes the upper byte of 16-bit colour, which is the rounded quotient or one off; so may
    # be the alpha that it is laid on white with.
    tolerance = {1: 0, 2: 1, 3: 0, 4: 1}[channels] + (depth is np.uint16 and channels > 1)
    assert_shows(data, reference.UPRIGHT[turn](shown), tolerance)


@pytest.mark.parametrize("value", [0, 9, 255, 65_535])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_orientation_that_there_is_not_turns_nothing(kind: str, value: int) -> None:
    image, upright = rgb()
    options = {"WEBP": {"lossless": True}, "JPEG": JPEG}.get(kind, {})
    data = encoded(image, kind, exif=orientation(value), **options)
    assert_shows(data, upright, JPEG_TOLERANCE if kind == "JPEG" else 0)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_an_orientation_may_stand_in_xmp_alone(kind: str, turn: int) -> None:
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{turn}"/></rdf:RDF>'
        "</x:xmpmeta>"
    ).encode()
    image, upright = rgb()
    options = JPEG if kind == "JPEG" else {"lossless": True}
    data = encoded(image, kind, xmp=xmp, **options)
    tolerance = JPEG_TOLERANCE if kind == "JPEG" else 0
    assert_shows(data, reference.UPRIGHT[turn](upright), tolerance)


# Profiles.

PRESS: Final = np.random.default_rng(5).integers((15, -25, -25), (90, 25, 25), (2, 2, 2, 2, 3))
"""The L*a*b* of each full overprint. White is white, and all inks are black, as on any press: else
LittleCMS, which compensates for the black point, would stretch the lightness."""
PRESS[0, 0, 0, 0], PRESS[1, 1, 1, 1] = (100, 0, 0), (0, 0, 0)


def wide_gamut(options: dict[str, Any]) -> dict[str, Any]:
    profile = reference.rgb_profile(reference.ADOBE, reference.ADOBE_GAMMA)
    return {**options, "icc_profile": profile}


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 1),
        ("TIFF", LOSSLESS_TIFF, 1),
        ("WEBP", {"lossless": True, "exact": True}, 1),
        ("JPEG", JPEG, 1 + 2 * JPEG_TOLERANCE),
        pytest.param("AVIF", AVIF, 1 + 2 * AVIF_TOLERANCE, marks=needs_avif),
    ],
)
def test_a_wide_gamut_comes_to_srgb(
    kind: str, options: dict[str, Any], tolerance: float, turn: int
) -> None:
    """One of 255 for LittleCMS's 8-bit steps; what the format loses grows where sRGB is steeper."""
    pixels = slope(3) // 6 + 106
    expected = reference.of_matrix_profile(pixels, reference.ADOBE, reference.ADOBE_GAMMA)
    data = encoded(Image.fromarray(pixels), kind, exif=orientation(turn), **wide_gamut(options))
    assert_shows(data, reference.UPRIGHT[turn](expected), tolerance)
    assert np.abs(expected - pixels).max() > 10  # the profile does something


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_comes_before_the_white_ground(kind: str) -> None:
    pixels = slope(4)
    colour = reference.of_matrix_profile(pixels[..., :3], reference.ADOBE, reference.ADOBE_GAMMA)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(pixels), kind, **wide_gamut(options))
    assert_shows(data, reference.on_white(colour, pixels[..., 3]), 3)


def test_a_profile_of_a_palette() -> None:
    colours = reference.of_matrix_profile(PALETTE, reference.ADOBE, reference.ADOBE_GAMMA)
    assert_shows(encoded(palette()[0], "PNG", **wide_gamut({})), colours[indices()], 2)


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        *(
            (kind, source)
            for kind in ("PNG", "TIFF")
            for source in (grey, grey_alpha, sixteen_bits)
        ),
        ("JPEG", grey),
    ],
)
def test_a_profile_of_grey(kind: str, source: Source) -> None:
    image = source()[0]
    values = slope(1)[..., 0]
    expected = reference.of_grey_profile(values, 1.8)
    if source is grey_alpha:
        expected = reference.on_white(expected[..., np.newaxis], slope(2)[..., 1])[..., 0]
    options = JPEG if kind == "JPEG" else {}
    data = encoded(image, kind, icc_profile=reference.grey_profile(1.8), **options)
    # 16 bits are scaled to 8 before the profile, which is steep in the dark; see `colour`.
    assert_shows(data, expected, 6 if kind == "JPEG" else 3)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_a_profile_of_a_press(kind: str) -> None:
    """The sixteen full overprints, each a block of 8 x 8, whose colours the profile lists."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(2, 8, 4)
    inks = np.kron(corners, np.ones((8, 8, 1))).astype(np.uint8) * 255
    lab = np.kron(PRESS.reshape(2, 8, 3), np.ones((8, 8, 1)))
    image = Image.frombytes("CMYK", (64, 16), inks.tobytes())
    data = encoded(
        image, kind, icc_profile=reference.cmyk_profile(PRESS), **(JPEG if kind == "JPEG" else {})
    )
    assert_shows(data, reference.of_lab(lab), 3 + (JPEG_TOLERANCE if kind == "JPEG" else 0))


@pytest.mark.parametrize(
    "profile",
    [
        srgb_profile(),
        b"no profile at all",
        reference.rgb_profile(reference.ADOBE, 2.2)[:300],
        reference.grey_profile(1.8),
        reference.cmyk_profile(PRESS),
        reference.rgb_profile(reference.ADOBE, 2.2).replace(b"acsp", b"none"),
        bytes(200_000),
    ],
    ids=["sRGB", "words", "cut off", "of grey", "of a press", "no signature", "zeros"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_profiles_that_say_nothing_leave_colours_alone(kind: str, profile: bytes) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": JPEG}.get(kind, {})
    image, expected = rgb()
    data = encoded(image, kind, icc_profile=profile, **options)
    assert_shows(data, expected, JPEG_TOLERANCE if kind == "JPEG" else 0)


# First frames.


def in_the_middle(frame: Array, ground: tuple[int, ...] = (255, 255, 255)) -> Array:
    """`frame` (HEIGHT, WIDTH, 3) at left 6, top 4 of a canvas of 60 x 40."""
    canvas = np.empty((40, 60, 3))
    canvas[:] = ground
    canvas[4 : 4 + HEIGHT, 6 : 6 + WIDTH] = frame
    return canvas


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
@pytest.mark.parametrize("background", [0, 2])
@pytest.mark.parametrize("transparent", [None, 1])
def test_the_first_frame_of_a_gif_on_its_canvas(
    disposal: int, background: int, transparent: int | None
) -> None:
    """Where it lies, and white where it does not: browsers let the page show through there."""
    first = indices()
    data = reference.gif(
        (60, 40),
        PALETTE,
        [(6, 4, first), (0, 0, 3 - first)],
        transparent=transparent,
        disposal=disposal,
        background=background,
    )
    colours = PALETTE.astype(float)
    if transparent is not None:
        colours[transparent] = 255
    assert_shows(data, in_the_middle(colours[first]), 0)


@pytest.mark.parametrize("alpha", [False, True])
def test_the_first_frame_of_an_animated_webp_on_its_canvas(alpha: bool) -> None:
    first, expected = rgb()
    frames = [encoded(image, "WEBP", lossless=True) for image in (first, first.rotate(180))]
    data = reference.webp_animation((60, 40), [(6, 4, frames[0]), (0, 0, frames[1])], alpha=alpha)
    assert_shows(data, in_the_middle(expected), 0)


def test_the_first_frame_of_an_animated_png() -> None:
    first, expected = rgb()
    frames = {"save_all": True, "append_images": [first.rotate(180)], "duration": 40}
    assert_shows(encoded(first, "PNG", **frames, disposal=1, blend=1), expected, 0)


def test_of_an_animated_png_with_a_still_picture_the_still_one() -> None:
    still, expected = rgb()
    frames = {"append_images": [still.rotate(180), still.rotate(90)], "duration": 40}
    data = encoded(still, "PNG", save_all=True, default_image=True, **frames)
    assert_shows(data, expected, 0)


@needs_avif
def test_the_first_frame_of_an_animated_avif() -> None:
    first, expected = rgb()
    frames = {"save_all": True, "append_images": [first.rotate(180)], "duration": 40}
    assert_shows(encoded(first, "AVIF", **frames, **AVIF), expected, AVIF_TOLERANCE)


@pytest.mark.parametrize("source", [bilevel, grey, rgb, cmyk])
def test_the_first_page_of_a_tiff(source: Source) -> None:
    first, expected = source()
    data = encoded(first, "TIFF", save_all=True, append_images=[first.rotate(180)])
    assert_shows(data, expected, 1 if source is cmyk else 0)


# Reduced scale, and grey for a grey model.


@pytest.mark.parametrize("options", [{}, {"keep_rgb": True}, {"progressive": True}])
@pytest.mark.parametrize("turn", [1, 6])
def test_a_jpeg_read_as_grey_is_its_luma(options: dict[str, Any], turn: int) -> None:
    image, expected = rgb()
    data = encoded(image, "JPEG", exif=orientation(turn), **{**JPEG, **options})
    result = decode_image(data, ImageLimits(), for_input=GREY28)
    luma = reference.UPRIGHT[turn](expected @ np.array([0.299, 0.587, 0.114]))
    assert result.mode == "L"
    assert np.abs(np.asarray(result) - luma).max() <= JPEG_TOLERANCE


def textured(seed: int) -> Image.Image:
    """1200 x 896: a soft picture with an edge and fine grain, as a photo has them."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((1200, 896), Image.Resampling.BICUBIC)).astype(float)
    down, across = np.mgrid[0:896, 0:1200]
    disc = (across - 500) ** 2 + (down - 450) ** 2 < 250**2
    soft[disc] = 255 - soft[disc]
    grain = rng.normal(0, 8, (896, 1200, 1))
    return Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8))


DRAFT_MEAN: Final = 1.0
DRAFT_99: Final = 12.0
"""How far a JPEG read at reduced scale may be from the same area's average at full scale, of 255:
on average, and 99 of 100 values. Measured: 0.7 and 10 at most. Single values beside hard edges
differ by up to 100, where colour is stored at half the resolution."""


def assert_reduced_scale_shows_the_same(data: bytes, spec: WireSpec) -> None:
    full = decode_image(data, ImageLimits())
    reduced = decode_image(data, ImageLimits(), for_input=spec)
    factor = round(full.width / reduced.width)
    assert factor > 1  # something was saved
    averaged = full.convert(reduced.mode).reduce(factor)
    assert averaged.size == reduced.size
    difference = np.abs(np.asarray(averaged).astype(float) - np.asarray(reduced))
    assert difference.mean() <= DRAFT_MEAN
    assert np.percentile(difference, 99) <= DRAFT_99


@pytest.mark.parametrize("spec", [GREY28, PHOTO], ids=lambda spec: spec.kind)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0, "quality": 95},
        {"exif": orientation(6)},
        {"icc_profile": reference.rgb_profile(reference.ADOBE, reference.ADOBE_GAMMA)},
    ],
    ids=["plain", "progressive", "fine", "turned", "wide gamut"],
)
def test_a_jpeg_at_reduced_scale_is_as_good(spec: WireSpec, options: dict[str, Any]) -> None:
    for seed in range(2):
        assert_reduced_scale_shows_the_same(encoded(textured(seed), "JPEG", **options), spec)


def test_real_photos_at_reduced_scale_are_as_good(data_dir: Path) -> None:
    for folder in ("worn-photos", "studio-catalog"):
        for path in sorted((data_dir / folder).rglob("*.jpg"))[::300]:
            assert_reduced_scale_shows_the_same(path.read_bytes(), GREY28)


def test_what_a_model_sees_of_a_jpeg_at_reduced_scale() -> None:
    data = encoded(textured(0), "JPEG")
    full, reduced = (
        to_model_input(decode_image(data, ImageLimits(), for_input=wanted), PHOTO).astype(float)
        for wanted in (None, PHOTO)
    )
    assert np.abs(full - reduced).mean() <= DRAFT_MEAN
    assert np.abs(full - reduced).max() <= DRAFT_99
