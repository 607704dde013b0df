"""A small photo studio: soft-shaded, anti-aliased cut-outs drawn from outlines.

Outlines are lists of points in product units (about 100 units for the longer side, y down).
A point ``(x, y)`` is smooth, a point ``(x, y, 1)`` is a corner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Point = tuple[float, ...]
Array = NDArray[Any]
Pattern = Callable[[Array, Array, Array], Array]
MARGIN = 3.0  # free units kept around every product


def rgb(colour: str) -> Array:
    """Return a ``#rrggbb`` colour as three floats from 0 to 1."""
    return np.divide(ImageColor.getrgb(colour)[:3], 255, dtype=np.float32)


def curve(points: Sequence[Point], closed: bool = True, steps: int = 12) -> list[Point]:
    """Sample a smooth curve through the points; three-element points are corners."""
    pts = [np.array(p[:2], float) for p in points]
    n = len(pts)
    out: list[Point] = []
    for i in range(n if closed else n - 1):
        a, b = pts[i], pts[(i + 1) % n]
        seg = b - a
        length = float(np.hypot(*seg))

        def tangent(k: int, seg: Array = seg, length: float = length) -> Array:
            k %= n
            if len(points[k]) > 2 or (not closed and k in (0, n - 1)):
                return seg
            across = pts[(k + 1) % n] - pts[k - 1]
            tilt: Array = across / max(float(np.hypot(*across)), 1e-6) * length
            return tilt

        m0, m1 = tangent(i), tangent(i + 1)
        for t in np.linspace(0, 1, steps, endpoint=False):
            q = (
                (2 * t**3 - 3 * t**2 + 1) * a
                + (t**3 - 2 * t**2 + t) * m0
                + (3 * t**2 - 2 * t**3) * b
                + (t**3 - t**2) * m1
            )
            out.append((float(q[0]), float(q[1])))
    if not closed:
        out.append((float(pts[-1][0]), float(pts[-1][1])))
    return out


def mirror(half: Sequence[Point]) -> list[Point]:
    """Complete an outline given from top centre to bottom centre on the right side."""
    left = [(-p[0], *p[1:]) for p in reversed(half) if abs(p[0]) > 1e-6]
    return [*half, *left]


def flip(points: Sequence[Point], side: int) -> list[Point]:
    """Multiply the x coordinates by ``side`` (+1 or -1)."""
    return [(p[0] * side, *p[1:]) for p in points]


def band(axis: Sequence[Point], widths: Sequence[float]) -> list[Point]:
    """Return the outline of a ribbon along an axis with widths spread over its length."""
    line = np.array(curve(axis, closed=False))
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1])[:, None], 1e-6)
    normal = np.stack([along[:, 1], -along[:, 0]], 1)
    place = np.linspace(0, 1, len(line))
    half = np.interp(place, np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    both = np.concatenate([line + normal * half, (line - normal * half)[::-1]])
    return [(float(x), float(y), 1) for x, y in both]


def tail(axis: Sequence[Point], share: float) -> list[Point]:
    """Return the last ``share`` of an axis (to draw a cuff on a sleeve)."""
    line = curve(axis, closed=False)
    return [(*p, 1) for p in line[int(len(line) * (1 - share)) - 1 :]]


def _hash(ix: Array, iy: Array, k: float) -> Array:
    scrambled: Array = np.abs(np.sin(ix * 12.9898 + iy * 78.233 + k * 37.7)) * 43758.5453
    return scrambled - np.floor(scrambled)


def stripes(colour: str, period: float, share: float, vertical: bool = False) -> Pattern:
    """Straight stripes; ``share`` of every period has the second colour."""

    def paint(x: Array, y: Array, base: Array) -> Array:
        on = np.modf((x if vertical else y) / period + 50)[0] < share
        return np.where(on[..., None], rgb(colour), base)

    return paint


def checks(colour: str, period: float, line: str | None = None) -> Pattern:
    """Woven checks: two half-strength stripe sets, with an optional thin over-check."""

    def paint(x: Array, y: Array, base: Array) -> Array:
        fx, fy = np.modf(x / period + 50.25)[0], np.modf(y / period + 50)[0]
        weight = 0.5 * (fx < 0.5) + 0.5 * (fy < 0.5)
        out: Array = base * (1 - weight[..., None]) + rgb(colour) * weight[..., None]
        if line:
            thin = (np.abs(fx - 0.75) < 0.05) | (np.abs(fy - 0.75) < 0.05)
            out = np.where(thin[..., None], rgb(line), out)
        return out

    return paint


def blooms(colours: Sequence[str], period: float, petals: int = 5) -> Pattern:
    """Scattered flowers on a jittered grid (``petals=0`` gives round dots)."""

    def paint(x: Array, y: Array, base: Array) -> Array:
        out = base
        for k, colour in enumerate(colours):
            row = np.floor(y / period + k * 0.37)
            col = np.floor(x / period + k * 0.61 + 0.5 * (row % 2))
            dx = x / period + k * 0.61 + 0.5 * (row % 2) - col - 0.5
            dy = y / period + k * 0.37 - row - 0.5
            if petals:
                dx = dx + 0.3 * (_hash(col, row, k) - 0.5)
                dy = dy + 0.3 * (_hash(row, col, k + 5) - 0.5)
            turn = 6.3 * _hash(col, row, k + 9)
            edge = 0.2 + (0.1 * np.cos(petals * np.arctan2(dy, dx) + turn) if petals else 0)
            on = np.hypot(dx, dy) < edge
            out = np.where(on[..., None], rgb(colour), out)
        return out

    return paint


@dataclass(frozen=True)
class Cloth:
    """How a surface looks: colour, pattern, grain, fold strength and edge shading."""

    colour: str
    pattern: Pattern | None = None
    grain: float = 0.018
    folds: float = 0.07
    shade: float = 0.22
    gloss: float = 0.10

    def toned(self, factor: float) -> Cloth:
        """The same material, darker (< 1) or lighter (> 1), without its pattern."""
        tone = np.clip(rgb(self.colour) * factor, 0, 1) * 255
        return replace(self, colour="#" + bytes(tone.astype(np.uint8)).hex(), pattern=None)


class Studio:
    """A working canvas on which one product is put together part by part."""

    def __init__(self, size: tuple[int, int], fill: float, seed: int) -> None:
        self.size, self.fill = size, fill
        self.rng = np.random.default_rng(seed)

    def frame(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Say which box (in product units) the product occupies; must come first."""
        per_unit = min(self.size[0] / (x1 - x0), self.size[1] / (y1 - y0)) * self.fill
        self.over = 2 if max(self.size) > 640 else 3
        self.scale = per_unit * self.over
        self.x0, self.y0 = x0 - MARGIN, y0 - MARGIN
        w = int((x1 - x0 + 2 * MARGIN) * self.scale)
        h = int((y1 - y0 + 2 * MARGIN) * self.scale)
        self.colour = np.zeros((h, w, 3), np.float32)
        self.alpha = np.zeros((h, w), np.float32)

    def _pixels(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        return [((p[0] - self.x0) * self.scale, (p[1] - self.y0) * self.scale) for p in points]

    def _soft(self, mask: Image.Image, units: float) -> Array:
        blurred = mask.filter(ImageFilter.GaussianBlur(units * self.scale))
        return np.asarray(blurred, np.float32) / 255

    def _window(self, pts: Sequence[tuple[float, float]], pad: float) -> tuple[int, int, int, int]:
        xs, ys = [p[0] for p in pts], [p[1] for p in pts]
        h, w = self.alpha.shape
        pad *= self.scale
        return (
            int(max(min(xs) - pad, 0)),
            int(max(min(ys) - pad, 0)),
            int(min(max(xs) + pad + 2, w)),
            int(min(max(ys) + pad + 2, h)),
        )

    def part(
        self,
        outline: Sequence[Point],
        cloth: Cloth,
        *,
        angle: float = 0.0,
        depth: float = 5.0,
        cast: float = 0.28,
        holes: Sequence[Sequence[Point]] = (),
        inside: bool = False,
    ) -> None:
        """Lay one piece of material down: edge shading, folds, grain and a cast shadow.

        ``angle`` turns the pattern, ``depth`` is how far the rounding reaches inwards,
        ``inside`` keeps the piece within what is already drawn.
        """
        pts = self._pixels(curve(outline))
        x0, y0, x1, y1 = self._window(pts, depth)
        if x1 <= x0 or y1 <= y0:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0), 0)
        ImageDraw.Draw(mask).polygon([(x - x0, y - y0) for x, y in pts], fill=255)
        for hole in holes:
            cut = Image.new("L", mask.size, 0)
            ring = [(x - x0, y - y0) for x, y in self._pixels(curve(hole))]
            ImageDraw.Draw(cut).polygon(ring, fill=255)
            mask = ImageChops.subtract(mask, cut)
        window = np.s_[y0:y1, x0:x1]
        hard = np.asarray(mask, np.float32) / 255
        if inside:
            hard = hard * self.alpha[window]
        soft = self._soft(mask, depth * 0.5)
        core = np.clip(soft * 2 - 1, 0, 1)
        step = max(int(depth * 0.4 * self.scale), 1)
        relief = np.roll(soft, -step, (0, 1)) - np.roll(soft, step, (0, 1))

        yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        yy, xx = yy / self.scale + self.y0, xx / self.scale + self.x0
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        base = np.broadcast_to(rgb(cloth.colour), (*hard.shape, 3))
        if cloth.pattern:
            base = cloth.pattern(xx * c + yy * s, yy * c - xx * s, base)
        tone = 1 - cloth.shade * (1 - core) ** 1.6 + cloth.gloss * relief
        tone = tone + cloth.folds * self._cloudy(hard.shape, 16, 26)
        tone = tone + cloth.grain * self._cloudy(hard.shape, 1.1, 1.1)
        painted = np.clip(base * tone[..., None], 0, 1)

        if cast:
            dark = 1 - cast * self._soft(mask, 1.3)[..., None]
            self.colour[window] *= dark
        m = hard[..., None]
        self.colour[window] = self.colour[window] * (1 - m) + painted * m
        self.alpha[window] = np.maximum(self.alpha[window], hard)

    def _cloudy(self, shape: tuple[int, int], wide: float, tall: float) -> Array:
        """Smooth noise around zero whose blobs measure about wide x tall units."""
        rows = max(int(shape[0] / self.scale / tall), 1) + 2
        cols = max(int(shape[1] / self.scale / wide), 1) + 2
        grid = self.rng.normal(0, 1, (rows, cols)).clip(-2, 2).astype(np.float32)
        big = Image.fromarray(grid).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        return np.asarray(big)

    def line(
        self,
        points: Sequence[Point],
        width: float = 0.5,
        colour: str = "#000000",
        opacity: float = 0.5,
        *,
        dash: int = 0,
        blur: float = 0.0,
    ) -> None:
        """Draw a seam, stitch row (``dash``) or fold (``blur``) on what is already there."""
        pts = self._pixels(curve(points, closed=False))
        x0, y0, x1, y1 = self._window(pts, width + 3 * blur)
        if x1 <= x0 or y1 <= y0:
            return
        mask = Image.new("L", (x1 - x0, y1 - y0), 0)
        pen = ImageDraw.Draw(mask)
        local = [(x - x0, y - y0) for x, y in pts]
        thick = max(round(width * self.scale), 1)
        if dash:
            for i in range(0, len(local) - 1, dash + 1):
                pen.line(local[i : i + dash], fill=255, width=thick)
        else:
            pen.line(local, fill=255, width=thick, joint="curve")
        m = self._soft(mask, blur) if blur else np.asarray(mask, np.float32) / 255
        window = np.s_[y0:y1, x0:x1]
        m = (m * opacity * (self.alpha[window] > 0))[..., None]
        self.colour[window] = self.colour[window] * (1 - m) + rgb(colour) * m

    def fold(self, points: Sequence[Point], width: float = 2.0, depth: float = 0.3) -> None:
        """A soft crease: positive depth is a shadow, negative a highlight."""
        colour = "#000000" if depth > 0 else "#ffffff"
        self.line(points, width, colour, abs(depth), blur=width * 0.6)

    def dot(self, x: float, y: float, radius: float, colour: str, cast: float = 0.4) -> None:
        """A button, eyelet or rivet."""
        ring = [(x + radius, y), (x, y + radius), (x - radius, y), (x, y - radius)]
        self.part(ring, Cloth(colour, grain=0, folds=0), depth=radius * 0.7, cast=cast)

    def cutout(self) -> Image.Image:
        """The finished product, transparent around it, at its final scale."""
        data = np.concatenate([self.colour, self.alpha[..., None]], 2)
        image = Image.fromarray((data * 255 + 0.5).clip(0, 255).astype(np.uint8), "RGBA")
        target = (max(image.width // self.over, 1), max(image.height // self.over, 1))
        return image.resize(target, Image.Resampling.LANCZOS)
