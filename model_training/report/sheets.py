"""Sheets of photos: many small pictures in one, with the names of their rows and columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from model_training.augment import Augmentation, augment
from model_training.datasets.labelled import LabelledImages
from model_training.report.style import WIDTH, chart_name, new_figure

Images = npt.NDArray[np.uint8]

PER_ROW: Final = 8
ROWS_PER_SHEET: Final = 15
"""What a printed page holds; more categories take more sheets."""

EXACT_PIXELS: Final = 64
TILE_PIXELS: Final = 112
"""Photos with longer sides are shown smaller: a page of them must stay light."""

_GAP: Final = 2
_NAMES_SHARE: Final = 0.27


def samples(data: LabelledImages, indices: npt.NDArray[np.int64]) -> list[Figure]:
    """The first photos of each category among `indices`, a row each, 15 rows to a sheet."""
    names = [category.name for category in data.categories]
    rows = [
        (name, data.images[indices[data.labels[indices] == c][:PER_ROW]])
        for c, name in enumerate(names)
    ]
    pages = [rows[at : at + ROWS_PER_SHEET] for at in range(0, len(rows), ROWS_PER_SHEET)]
    return [_sheet(page, "What each category looks like") for page in pages]


def augmentations(
    data: LabelledImages, indices: npt.NDArray[np.int64], settings: Augmentation, *, seed: int
) -> Figure:
    """One photo of each category (at most ten) as it is, and changed as in training."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, Images]] = []
    for c, category in enumerate(data.categories):
        mine = indices[data.labels[indices] == c]
        if len(mine) and len(rows) < 10:
            original = data.images[mine[:1]]
            changed = augment(original.repeat(PER_ROW - 1, axis=0), settings, rng)
            rows.append((category.name, np.concatenate([original, changed])))
    return _sheet(rows, "Left as it is; beside it as the network saw it")


def tile(image: Images) -> tuple[str, bytes]:
    """A photo (height, width, channels) as a small file: its media type and its bytes.

    Up to 64 pixels it is a PNG, bit for bit; a PNG of a larger photo would be five times a JPEG.
    """
    picture = Image.fromarray(image if image.shape[2] == 3 else image[..., 0])
    stream = io.BytesIO()
    if max(picture.size) <= EXACT_PIXELS:
        picture.save(stream, "PNG", optimize=True)
        return "image/png", stream.getvalue()
    picture.thumbnail((TILE_PIXELS, TILE_PIXELS), Image.Resampling.LANCZOS)
    picture.save(stream, "JPEG", quality=85)
    return "image/jpeg", stream.getvalue()


def contact_sheet(images: Images, captions: Sequence[str], title: str) -> Figure:
    """Photos (n, height, width, channels) with a caption of up to three lines each, in tens."""
    columns = 10
    lines = -(-len(images) // columns)
    figure = new_figure(0.5 + 1.08 * max(1, lines), width=9.6)
    figure.suptitle(title, x=0.01, ha="left", weight="bold", size=11)
    spaces = figure.subplots(max(1, lines), columns, squeeze=False)
    for space in spaces.flat:
        space.set_axis_off()
    for space, image, caption in zip(spaces.flat, images, captions, strict=False):
        shown = image if image.shape[2] == 3 else image[..., 0]
        space.imshow(shown, cmap="gray", vmin=0, vmax=255)
        space.set_title(caption, size=6, weight="normal", loc="center", pad=2)
    return figure


def _sheet(rows: Sequence[tuple[str, Images]], title: str) -> Figure:
    """Rows of at most `PER_ROW` photos each, white where a row has fewer."""
    height, width, channels = rows[0][1].shape[1:]
    step_y, step_x = height + _GAP, width + _GAP
    board = np.full((len(rows) * step_y, PER_ROW * step_x, channels), 255, dtype=np.uint8)
    for i, (_, images) in enumerate(rows):
        for j, image in enumerate(images):
            top, left = i * step_y, j * step_x
            board[top : top + height, left : left + width] = image
    figure = new_figure(0.4 + WIDTH * (1 - _NAMES_SHARE) * board.shape[0] / board.shape[1])
    axes = figure.subplots()
    axes.imshow(
        board if channels == 3 else board[..., 0],
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="none",
    )
    centres = [i * step_y + height / 2 for i in range(len(rows))]
    axes.set_yticks(centres, [chart_name(name, 20) for name, _ in rows])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_anchor("N")
    figure.suptitle(title, x=0.01, ha="left", weight="bold", size=11)
    return figure
