"""Any mode that Pillow opens -> 8-bit sRGB on white, mode "L" where the source is grey, else "RGB".

In the fixed order: ICC profile to sRGB, 16 bits scaled to 8, alpha on white, RGB. Each step looks
at one pixel at a time, so a large picture goes through in bands of rows, and may be averaged down
on the way: never more than the source and a small copy are held.

One deviation: grey of more than 8 bits is scaled *before* its profile is applied, because Pillow
reaches LittleCMS with 8 bits a channel only.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_BAND_PIXELS: Final = 1 << 22  # 4 million: 16 MiB a copy, and few enough rounds
_PROFILE_MAX_BYTES: Final = 4 * 1024 * 1024  # the largest press profiles have about 3
_PROFILE_SPACES: Final = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_Transform = Callable[[Image.Image], Image.Image]
_SAME_COLOUR: Final = 2
"""A profile that moves no colour by more than this (of 255) is sRGB, whatever it is called."""


def to_srgb(image: Image.Image, *, reduce: int = 1) -> Image.Image:
    """8-bit sRGB of a loaded picture of any mode: "L" if it is grey, else "RGB".

    `reduce`: average this many pixels a side into one on the way (as `Image.reduce`).
    """
    profile = image.info.get("icc_profile")
    span = _value_span(image)
    rows = max(1, _BAND_PIXELS // max(1, image.width) // reduce) * reduce
    if image.height <= rows:
        return _band_to_srgb(image, profile, span, reduce)
    result: Image.Image | None = None
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        done = _band_to_srgb(band, profile, span, reduce)
        if result is None:
            result = Image.new(done.mode, (done.width, -(-image.height // reduce)))
        result.paste(done, (0, top // reduce))
    assert result is not None  # the loop ran: image.height > rows >= 1
    return result


def is_srgb(profile: object, mode: str) -> bool:
    """Whether `profile` (as found in `Image.info`) leaves pictures of `mode` as they are."""
    return mode != "CMYK" and _transform_of(profile, mode) is None


def _band_to_srgb(
    image: Image.Image, profile: object, span: tuple[float, float] | None, reduce: int
) -> Image.Image:
    image = _opened_up(image, span)
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha is not None:
        image = image.getchannel("L") if image.mode == "LA" else _convert(image, "RGB")
    transform = _transform_of(profile, image.mode)
    if transform is not None:
        image = transform(image)
    elif image.mode == "CMYK":
        image = _convert(image, "RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        ground = Image.new(image.mode, image.size, "white")
        ground.paste(image, mask=alpha)
        image = ground
    return image.reduce(reduce) if reduce > 1 else image


def _opened_up(image: Image.Image, span: tuple[float, float] | None) -> Image.Image:
    """`image` as one of L, LA, RGB, RGBA, CMYK: palettes, colour keys and odd modes resolved."""
    if span is not None:
        return _scaled_to_8_bits(image, span)
    if image.mode in ("1", "L", "LA", "La"):
        wanted = "LA" if image.has_transparency_data else "L"
    elif image.mode == "CMYK":
        wanted = "CMYK"
    elif image.mode == "P" and image.palette is None:  # a damaged file; Pillow asserts that it has
        wanted = "RGB"
    else:  # P, PA, RGB, RGBA, RGBa, RGBX, YCbCr, HSV, LAB and whatever comes next
        wanted = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode == wanted and "transparency" not in image.info:
        return image
    return _convert(image, wanted)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    """Pillow's conversion; a colour key that does not fit the picture is dropped, not fatal."""
    try:
        return image.convert(mode)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        bare = image.copy()
        bare.info.pop("transparency", None)
        return bare.convert("RGB")


def _value_span(image: Image.Image) -> tuple[float, float] | None:
    """The values that become 0 and 255 in a grey picture of more than 8 bits; None for others.

    `I;16*` is 0 to 65,535 by definition. `I` (32-bit integers) and `F` (floats) do not say; the
    smallest customary range that holds every finite value is taken: 0 to 1 (F only), 0 to 255,
    0 to 65,535; and a picture that leaves them all is stretched from its least to its greatest.
    """
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    if image.mode not in ("I", "F"):
        return None
    low, high = np.inf, -np.inf
    rows = max(1, _BAND_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low >= 0:  # also where no value is finite: low is then +inf, high -inf
        for top_value in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
            if high <= top_value:
                return 0.0, top_value
    return (low, high) if high > low else (low, low + 1.0)


def _scaled_to_8_bits(image: Image.Image, span: tuple[float, float]) -> Image.Image:
    """`I;16*`, `I` or `F` -> "L", or "LA" where a colour key is given. NaN is `span[0]`.

    65,535 goes to 255 by division with 257, rounded, so that 8 bits written as 16 come back exact.
    """
    values = np.asarray(image)  # (h, w) uint16, int32 or float32
    low, high = span
    wide: npt.NDArray[np.float64] = np.nan_to_num(
        values.astype(np.float64), nan=low, posinf=high, neginf=low
    )
    scaled = np.clip((wide - low) * (255.0 / (high - low)) + 0.5, 0, 255).astype(np.uint8)
    grey = Image.fromarray(scaled)
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, alpha))


def _transform_of(profile: object, mode: str) -> _Transform | None:
    """How to get from `profile` to sRGB; None where there is nothing to do, or no way to do it."""
    if mode not in _PROFILE_SPACES or not isinstance(profile, bytes):
        return None
    if not 0 < len(profile) <= _PROFILE_MAX_BYTES:
        return None
    return _cached_transform(profile, mode)


@functools.lru_cache(maxsize=4)  # a retailer's photos share few profiles; building one takes 1 ms
def _cached_transform(profile: bytes, mode: str) -> _Transform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None  # made for another kind of picture than the one that it came with
        return _grey_transform(source) if mode == "L" else _colour_transform(source, mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):
        # A broken profile (or a Pillow without LittleCMS): the pixels as they stand are still the
        # best there is, and nearly always sRGB. Refusing the photo would help nobody.
        return None


def _grey_transform(source: ImageCms.ImageCmsProfile) -> _Transform | None:
    """By a table of all 256 values: exact, where LittleCMS's own shortcut is off by 10 in the dark.

    LittleCMS gives three equal channels; any of them is the grey value.
    """
    ramp = np.arange(256, dtype=np.uint8)
    transform = ImageCms.buildTransform(
        source, _srgb(), "L", "RGB", flags=ImageCms.Flags.NOOPTIMIZE
    )
    table = np.asarray(transform.apply(Image.fromarray(ramp[np.newaxis])))[0, :, 1]  # (256,)
    if np.abs(table.astype(np.int16) - ramp).max() <= _SAME_COLOUR:
        return None
    values = table.tolist()
    return lambda image: image.point(values)


def _colour_transform(source: ImageCms.ImageCmsProfile, mode: str) -> _Transform | None:
    """From "RGB" or "CMYK"; None if it moves no colour of a 9 x 9 x 9 lattice.

    Tried out, not read from the profile's name, which is often wrong.
    """
    transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    if mode == "RGB":
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        lattice = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
        moved = np.asarray(transform.apply(Image.fromarray(lattice))).astype(np.int16) - lattice
        if np.abs(moved).max() <= _SAME_COLOUR:
            return None
    return transform.apply


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
