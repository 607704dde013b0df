"""Pictures that show no product, drawn by other code than the one that the sentinel learnt from."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Rng = np.random.Generator


def noise(rng: Rng) -> Image.Image:
    """Snow of a dead channel, salt and pepper, or a faint grain."""
    side, kind = int(rng.integers(28, 300)), int(rng.integers(3))
    if kind == 0:
        return _picture(rng.integers(0, 256, (side, side, 3)).astype(np.float64))
    if kind == 1:
        white = rng.random((side, side)) < rng.uniform(0.02, 0.5)
        return _picture(np.where(white, 0.0, 255.0)[..., None].repeat(3, axis=2))
    return _picture(rng.normal(128, rng.uniform(10, 60), (side, side, 3)))


def blank(rng: Rng) -> Image.Image:
    """One colour, half of the time with the grain of a camera."""
    side = int(rng.integers(28, 300))
    pixels = np.ones((side, side, 3)) * rng.integers(0, 256, 3)
    if rng.random() < 0.5:
        pixels = pixels + rng.normal(0, 2, pixels.shape)
    return _picture(pixels)


def text(rng: Rng) -> Image.Image:
    """Lines of made-up words, dark on white."""
    picture = Image.new("RGB", (224, 224), "white")
    pen, size = ImageDraw.Draw(picture), int(rng.integers(12, 40))
    font, top = ImageFont.load_default(size), float(rng.integers(5, 60))
    ink = tuple(int(v) for v in rng.integers(0, 130, 3))
    for _ in range(int(rng.integers(1, 9))):
        words = (
            "".join(rng.choice(list(string.ascii_lowercase), int(rng.integers(2, 9))))
            for _ in range(int(rng.integers(1, 5)))
        )
        pen.text((float(rng.integers(4, 40)), top), " ".join(words), fill=ink, font=font)
        top += size * 1.3
    return picture


def landscape(rng: Rng) -> Image.Image:
    """Sky over hills."""
    height, width = 200, 300
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 2 * np.pi, width)[None, :]
    horizon = (
        rng.uniform(0.3, 0.7)
        + 0.08 * np.sin(x * rng.uniform(0.5, 3) + rng.uniform(0, 6))
        + 0.04 * np.sin(x * rng.uniform(3, 9))
    )
    sky, land = rng.integers(120, 256, 3), rng.integers(20, 150, 3)
    pixels = np.where(
        (y < horizon)[..., None], sky * (1 - 0.4 * y[..., None]), land * (1.2 - 0.5 * y[..., None])
    )
    return _picture(pixels + rng.normal(0, 6, (height, width, 1)))


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


KINDS: Final[Mapping[str, Callable[[Rng], Image.Image]]] = {
    "noise": noise,
    "blank": blank,
    "text": text,
    "landscape": landscape,
}
