"""Fuzz target: any bytes are a picture, or refused with a code; and refused only if Pillow does."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from random import Random
from typing import Final

from PIL import Image

from tagging.domain import FailureCode
from tagging.images.content import allowed_formats
from tagging.images.decode import decode_image
from tagging.images.model_input import to_model_input
from tagging.images.protocol import WireSpec
from tagging.images.rejection import ImageLimits, ImageRejected
from tests.hostile.mutations import MUTATIONS, huge_profile, scans_repeated
from tests.hostile.pictures import pictures

MAX_BYTES: Final = 1 << 14
LIMITS: Final = ImageLimits(max_pixels=250_000)  # small, so that many are tried in a second
SPECS: Final = (
    None,
    WireSpec(kind="fashion-mnist", height=28, width=28, channels=1),
    WireSpec(kind="photo", height=16, width=24, channels=3),
)
CODES: Final = {
    FailureCode.UNREADABLE,
    FailureCode.UNSUPPORTED_FORMAT,
    FailureCode.TOO_MANY_PIXELS,
    FailureCode.DECODE_MEMORY,
}
"""Those that need no process around the decoder."""
_MUTATIONS: Final = [
    function for function in MUTATIONS.values() if function not in (huge_profile, scans_repeated)
]


def seeds() -> Mapping[str, bytes]:
    """Our own pictures, those that are small."""
    return {
        picture.name.replace(" ", "-"): picture.data
        for picture in pictures()
        if len(picture.data) < MAX_BYTES
    }


def mutated(data: bytes, random: Random) -> bytes:
    """By one of the mutations that know the formats."""
    return random.choice(_MUTATIONS)(data, random)


def try_one(data: bytes) -> None:
    """Raises AssertionError, or what `decode_image` must not raise."""
    spec = SPECS[len(data) % len(SPECS)]
    image = _decoded(data, spec)
    if isinstance(image, ImageRejected):
        assert image.code in CODES, image.code
        assert image.detail.endswith("."), image.detail
        if image.code in (FailureCode.UNREADABLE, FailureCode.UNSUPPORTED_FORMAT):
            assert not _pillow_loads(data), f"refused, but Pillow loads it: {image.detail}"
        return
    assert image.mode in ("L", "RGB"), image.mode
    assert image.width * image.height <= LIMITS.max_pixels
    if spec is not None:
        pixels = to_model_input(image, spec)
        assert pixels.shape == (spec.height, spec.width, spec.channels)


def _decoded(data: bytes, spec: WireSpec | None) -> Image.Image | ImageRejected:
    try:
        return decode_image(data, LIMITS, for_input=spec)
    except ImageRejected as refused:
        return refused


def _pillow_loads(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=allowed_formats()) as image:
                if image.width * image.height > LIMITS.max_pixels:
                    return False
                image.load()
        except Exception:
            return False
    return True
