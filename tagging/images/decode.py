"""Bytes -> an upright 8-bit sRGB picture, or a reason why not.

The order is fixed, and part of `model_input.PREPROCESSING_VERSION`: first frame, EXIF orientation,
then what `colour` does (ICC profile to sRGB, 16 bits to 8, alpha on white, RGB or grey).

`decode_image` bounds bytes and pixels by itself. Time and memory cannot be bounded from within a
process; for files from outside use `decoders.DecoderPool`, which runs this in children that the
kernel limits. Training on files of one's own may call it directly.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from types import TracebackType
from typing import ClassVar, Final

from PIL import ExifTags, Image, UnidentifiedImageError

from tagging.domain import FailureCode
from tagging.images import colour
from tagging.images.content import allowed_formats, claimed_format, describe_content
from tagging.images.first_frame import covered_box, lay_bare
from tagging.images.model_input import ModelInput, detail_edge
from tagging.images.rejection import ImageLimits, ImageRejected, ImageTooLarge

__all__ = ["ImageLimits", "ImageRejected", "ImageTooLarge", "decode_image", "open_image"]

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, tag 0x0112: what brings each of the eight orientations upright; 1 is upright."""


def decode_image(
    data: bytes, limits: ImageLimits, *, for_input: ModelInput | None = None
) -> Image.Image:
    """The first frame of an encoded picture, upright, sRGB, 8 bits a channel, on white.

    Args:
        data: the whole file.
        limits: `max_bytes` and `max_pixels` are held here; see the module's text for the others.
        for_input: the model that will see the picture. If given, the picture may come back
            smaller, with its longest edge still at least `detail_edge(for_input)`, and grey if the
            model is; nothing that the model sees is lost, and it is several times faster.

    Returns:
        A loaded picture of mode "L" (the source is grey) or "RGB".

    Raises:
        ImageRejected: with the code and one sentence for a person.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(limits.max_bytes, f"{len(data):,} bytes")
    image: Image.Image | None = None
    try:
        with _QuietWarnings():
            image = open_image(data, limits)
            factor = _reduce_while_reading(image, for_input)
            covered = covered_box(image, data)
            image.load()
            if covered is not None:
                lay_bare(image, covered)
            image = _upright(image)
            return colour.to_srgb(image, reduce=factor)
    except ImageRejected:
        raise
    except MemoryError as error:
        raise memory_exceeded(limits) from error
    except Exception as error:
        # A damaged file can raise nearly anything from the depths of a decoder: OSError,
        # SyntaxError, struct.error, KeyError, zlib.error... All mean the same to the retailer.
        if "out of memory" in str(error):
            raise memory_exceeded(limits) from error
        raise _unreadable(data, error) from error


def open_image(data: bytes, limits: ImageLimits) -> Image.Image:
    """The header of an allowed picture: format, size and mode are known, no pixel is decoded.

    Raises:
        ImageRejected: not an allowed format (`unsupported_format`), a damaged header
            (`unreadable`), or too many pixels (`too_many_pixels`).
    """
    try:
        image = Image.open(io.BytesIO(data), formats=allowed_formats())
    except UnidentifiedImageError as error:
        if claimed_format(data) is None:
            raise ImageRejected(
                FailureCode.UNSUPPORTED_FORMAT,
                f"The file is {describe_content(data)}; deliver one of "
                f"{', '.join(allowed_formats())}.",
            ) from error
        raise _unreadable(data, ValueError("its header is damaged or incomplete")) from error
    except Image.DecompressionBombError as error:
        # Pillow's text is the only place where it tells how many.
        told = re.search(r"\d+ pixels", str(error))
        raise _too_many_pixels(limits, told[0] if told else "far more pixels") from error
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        found = f"{image.width:,} x {image.height:,} = {pixels:,} pixels"
        raise _too_many_pixels(limits, found)
    return image


def align_pillow_bound(limits: ImageLimits) -> None:
    """Make Pillow's own bound the same as ours, for the whole process: for decoder children.

    Pillow refuses above twice its bound, some plugins before they allocate a canvas, which is
    earlier than we can look. It only warns above once its bound, and that is kept quiet.
    """
    Image.MAX_IMAGE_PIXELS = (limits.max_pixels + 1) // 2


def memory_exceeded(limits: ImageLimits) -> ImageRejected:
    """The rejection of a picture that needed more memory than it may have."""
    return ImageRejected(
        FailureCode.DECODE_MEMORY,
        f"Decoding needed more than the {limits.max_memory_bytes:,} bytes of memory allowed; "
        "deliver a smaller picture or raise ATELIER_IMAGE_MAX_MEMORY_BYTES.",
    )


def _reduce_while_reading(image: Image.Image, for_input: ModelInput | None) -> int:
    """Tell a JPEG to decode at a reduced scale; returns the factor that is left to average by.

    A JPEG's own scaling leaves out high frequencies before they are computed, and luma alone is
    the very grey that a grey model gets; but not where a profile must see the colours first.
    """
    if for_input is None:
        return 1
    edge = detail_edge(for_input)
    scale = max(1, max(image.size) // edge)
    grey = (
        for_input.channels == 1
        and image.mode == "RGB"
        and colour.is_srgb(image.info.get("icc_profile"), "RGB")
    )
    size = (max(1, image.width // scale), max(1, image.height // scale))
    image.draft("L" if grey else None, size)
    return max(1, max(image.size) // edge)


def _upright(image: Image.Image) -> Image.Image:
    """`image` as its EXIF (or XMP) orientation says; a new picture if it had to be turned.

    TIFF is turned by Pillow as it loads, which also takes the tag away.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        method = _UPRIGHT.get(orientation)
    except MemoryError:
        raise
    except Exception:
        # Cameras and editors write broken EXIF into sound pictures, and the parser raises nearly
        # anything. The pixels are there; most such pictures stand upright.
        return image
    return image if method is None else image.transpose(method)


def _too_many_pixels(limits: ImageLimits, found: str) -> ImageRejected:
    return ImageRejected(
        FailureCode.TOO_MANY_PIXELS,
        f"The picture has {found}, over the {limits.max_pixels:,} allowed; deliver a smaller one "
        "or raise ATELIER_IMAGE_MAX_PIXELS.",
    )


def _unreadable(data: bytes, error: Exception) -> ImageRejected:
    reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
    name = claimed_format(data) or "picture"
    return ImageRejected(
        FailureCode.UNREADABLE,
        f"The {name} file does not decode ({reason}); export it again and deliver the new file.",
    )


class _QuietWarnings:
    """Silences warnings while at least one thread decodes.

    Pillow warns of odd metadata in pictures that decode well. `warnings.catch_warnings` alone is
    for one thread: two that overlap restore each other's filters in the wrong order. Here the
    first in saves them and the last out restores them.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _inside: ClassVar[int] = 0
    _saved: ClassVar[warnings.catch_warnings[None] | None] = None

    def __enter__(self) -> None:
        cls = type(self)
        with cls._lock:
            if cls._inside == 0:
                cls._saved = warnings.catch_warnings()
                cls._saved.__enter__()
                warnings.simplefilter("ignore")
            cls._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cls = type(self)
        with cls._lock:
            cls._inside -= 1
            if cls._inside == 0 and cls._saved is not None:
                cls._saved.__exit__(kind, error, trace)
                cls._saved = None
