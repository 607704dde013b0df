"""Pictures of nothing that a shop sells, drawn at random: what a model must call strange.

They teach the sentinel (`model_training.sentinel`). Each kind is something that stands in real
catalogues beside the products: `noise` (a damaged file), `blank` (a missing one), `text` (a size
chart, "photo coming soon"), `landscape` (a mood picture), and `shapes`, solid things of no known
form, which stand for every product that a model has never seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tagging.images.model_input import to_model_input
from tagging.model_card import InputSpec

Rng = np.random.Generator
Points = npt.NDArray[np.float64]

_PHRASES: Final = (
    "sale",
    "new",
    "size chart",
    "100% cotton",
    "wash at 30",
    "free delivery",
    "photo coming soon",
    "image not available",
    "brand",
    "29.99 EUR",
    "ref. 4711",
    "no returns",
    "model wears XL",
)


def drawings(kind: str, count: int, spec: InputSpec, *, seed: int) -> npt.NDArray[np.uint8]:
    """`count` pictures of one of `KINDS`, as the model sees them.

    Args:
        kind: a key of `KINDS`.
        count: how many.
        spec: the model's input; the pictures go through the same steps as any photo.
        seed: the same seed gives the same pictures.

    Returns:
        uint8 (count, height, width, channels).
    """
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    drawn = np.empty((count, spec.height, spec.width, spec.channels), np.uint8)
    for index in range(count):
        drawn[index] = to_model_input(KINDS[kind](rng), spec)
    return drawn


def _noise(rng: Rng) -> Image.Image:
    height, width = (int(v) for v in rng.integers(20, 160, 2))
    kind = rng.integers(0, 4)
    if kind == 0:
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.float64)
    elif kind == 1:
        pixels = rng.normal(rng.uniform(40, 215), rng.uniform(5, 80), (height, width, 3))
    elif kind == 2:
        pixels = np.repeat(rng.integers(0, 256, (height, width, 1)), 3, axis=2).astype(np.float64)
    else:
        grain = int(rng.integers(2, 12))
        coarse = rng.integers(0, 256, (max(2, height // grain), max(2, width // grain), 3))
        enlarged = Image.fromarray(coarse.astype(np.uint8)).resize(
            (width, height), Image.Resampling(int(rng.choice([0, 2, 3])))
        )
        pixels = np.asarray(enlarged, np.float64)
    return _picture(pixels)


def _blank(rng: Rng) -> Image.Image:
    height, width = (int(v) for v in rng.integers(20, 200, 2))
    pixels = np.tile(np.array(_colour(rng), np.float64), (height, width, 1))
    if rng.random() < 0.5:
        pixels += rng.normal(0, rng.uniform(0.5, 3), (height, width, 3))
    if rng.random() < 0.4:
        pixels += np.linspace(-1, 1, width)[None, :, None] * rng.uniform(-40, 40)
        pixels += np.linspace(-1, 1, height)[:, None, None] * rng.uniform(-40, 40)
    return _picture(pixels)


def _text(rng: Rng) -> Image.Image:
    width, height = int(rng.integers(100, 400)), int(rng.integers(60, 400))
    ground, ink = (255, 255, 255), _colour(rng, 0, 120)
    if rng.random() < 0.3:
        ground, ink = _colour(rng), _colour(rng)
    picture = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(picture)
    size = int(rng.integers(10, 70))
    font = ImageFont.load_default(size)
    top = float(rng.integers(0, 20))
    for _ in range(int(rng.integers(1, 12))):
        words = " ".join(rng.choice(_PHRASES, int(rng.integers(1, 4))))
        pen.text((float(rng.integers(0, max(1, width // 3))), top), words, fill=ink, font=font)
        top += size * rng.uniform(1, 1.6)
    return picture


def _landscape(rng: Rng) -> Image.Image:
    width, height = int(rng.integers(100, 300)), int(rng.integers(80, 300))
    horizon = int(height * rng.uniform(0.3, 0.75))
    fall = np.linspace(0, 1, height)[:, None, None]
    sky = np.array(_colour(rng, 100)) * (1 - fall) + np.array(_colour(rng, 100)) * fall
    picture = _picture(np.tile(sky, (1, width, 1)))
    pen = ImageDraw.Draw(picture)
    _ridges(pen, rng, width, height, horizon)
    if rng.random() < 0.5:
        x, y, r = rng.uniform(0, width), rng.uniform(0, horizon), rng.uniform(5, 30)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_colour(rng, 180))
    for _ in range(int(rng.integers(0, 12))):
        x, y, r = rng.uniform(0, width), rng.uniform(horizon, height), rng.uniform(4, 30)
        pen.rectangle((x - r / 6, y - r, x + r / 6, y), fill=_colour(rng, 20, 120))
        pen.ellipse((x - r, y - 2 * r, x + r, y - r / 2), fill=_colour(rng, 20, 160))
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 8))):
            x, top = rng.uniform(0, width), rng.uniform(horizon * 0.3, horizon)
            pen.rectangle((x, top, x + rng.uniform(8, 50), height), fill=_colour(rng, 30, 220))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    if rng.random() < 0.5:
        grain = rng.normal(0, rng.uniform(2, 20), (height, width, 1))
        picture = _picture(np.asarray(picture, np.float64) + grain)
    return picture


def _ridges(pen: ImageDraw.ImageDraw, rng: Rng, width: int, height: int, horizon: int) -> None:
    for layer in range(int(rng.integers(1, 5))):
        base = horizon + layer * int(rng.integers(0, max(1, height // 6)))
        n = int(rng.integers(4, 40))
        rise = np.abs(np.cumsum(rng.normal(0, height * 0.06, n))) * rng.uniform(0.2, 1.2)
        ridge = np.stack([np.linspace(0, width, n), base - rise], axis=1)
        outline = np.concatenate([[[0, height]], ridge, [[width, height]]])
        pen.polygon(_flat(outline), fill=_colour(rng, 10, 200))


_CANVAS: Final = 112


def _shapes(rng: Rng) -> Image.Image:
    """One to eight grey solids on black, then shaded, striped, grained or blotched."""
    canvas = Image.new("L", (_CANVAS, _CANVAS), 0)
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.choice([1, 1, 1, 2, 2, 3, 5, 8]))):
        _solid(pen, rng)
    grey = np.asarray(canvas, np.float64)
    inside = grey > 0
    y, x = np.mgrid[:_CANVAS, :_CANVAS]
    surface = rng.integers(0, 5)
    middle = _CANVAS / 2
    if surface == 1:
        grey = grey + (x - middle) * rng.uniform(-0.8, 0.8) + (y - middle) * rng.uniform(-0.8, 0.8)
    elif surface == 2:
        angle = rng.uniform(0, math.pi)
        wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) / rng.uniform(1.5, 8))
        grey = grey * (1 + rng.uniform(0.1, 0.6) * np.sign(wave))
    elif surface == 3:
        grey = grey + rng.normal(0, rng.uniform(3, 50), grey.shape)
    elif surface == 4:
        side = int(rng.integers(3, 20))
        blotches = Image.fromarray(rng.uniform(0.4, 1.3, (side, side)).astype(np.float32))
        grey = grey * np.asarray(blotches.resize((_CANVAS, _CANVAS), Image.Resampling.BILINEAR))
    return Image.fromarray(np.where(inside, np.clip(grey, 8, 255), 0).astype(np.uint8))


def _solid(pen: ImageDraw.ImageDraw, rng: Rng) -> None:
    kind, grey = rng.integers(0, 5), int(rng.integers(60, 256))
    x, y = (float(v) for v in rng.uniform(20, 92, 2))
    a, b = (float(v) for v in rng.uniform(4, 54, 2))
    turn = float(rng.choice([0.0, 0.0, rng.uniform(0, math.pi)]))
    if kind == 3:
        steps = np.cumsum(rng.normal(0, 16, (int(rng.integers(2, 7)), 2)), axis=0) + np.array(
            [x, y]
        )
        pen.line(_flat(steps), fill=grey, width=int(rng.integers(2, 22)), joint="curve")
        return
    if kind == 4:
        pen.ellipse((x - a, y - b, x + a, y + b), outline=grey, width=int(rng.integers(3, 14)))
        return
    if kind == 0:
        corners = np.array([[-a, -b], [a, -b], [a, b], [-a, b]])
        corners = corners + rng.normal(0, float(rng.choice([0, 2, 8])), (4, 2))
    elif kind == 1:
        t = np.linspace(0, 2 * math.pi, 40)
        corners = np.stack([a * np.cos(t), b * np.sin(t)], axis=1)
    else:
        n = int(rng.integers(3, 9))
        t, r = np.sort(rng.uniform(0, 2 * math.pi, n)), rng.uniform(0.4, 1, n)
        corners = np.stack([a * r * np.cos(t), b * r * np.sin(t)], axis=1)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    pen.polygon(_flat(corners @ rotation + np.array([x, y])), fill=grey)


def _colour(rng: Rng, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def _flat(points: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _picture(pixels: npt.NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


KINDS: Final[Mapping[str, Callable[[Rng], Image.Image]]] = {
    "noise": _noise,
    "blank": _blank,
    "text": _text,
    "landscape": _landscape,
    "shapes": _shapes,
}
"""Kind -> how to draw one: mode "RGB" or "L", any size."""
