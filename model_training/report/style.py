"""The house style of the pictures: one font, few lines, colours that colour-blind people can tell.

The colours are those of Okabe and Ito 2008, "Color Universal Design". Nothing here touches
`pyplot`: figures are plain objects, drawn by Agg, so that no window system is asked for.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
SKY: Final = "#56B4E9"
AMBER: Final = "#E69F00"
PINK: Final = "#CC79A7"
INK: Final = "#1d2530"
QUIET: Final = "#5b6673"
PALE: Final = "#d9dee4"
SERIES: Final = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER, INK)

WIDTH: Final = 5.2
"""Inches: narrow, so that its letters can still be read on a telephone's screen."""

DPI: Final = 200

_MARGIN: Final = 0.06  # inches

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Figures made and saved inside look alike."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of this size, inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def png(figure: Figure) -> bytes:
    """The figure as a PNG, empty rows at its top and bottom cut off.

    Pictures of a fixed shape leave some empty, and how much cannot be known before the names
    beside them have been laid out. The width stays, so that all letters have one size.
    """
    # The layout is right at its second go only: in the first, pictures had no size yet.
    figure.draw_without_rendering()
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    drawn = Image.open(stream).convert("RGB")
    filled = np.flatnonzero(np.asarray(drawn).min(axis=(1, 2)) < 255)
    margin = round(_MARGIN * figure.dpi)
    top, bottom = int(filled[0]) - margin, int(filled[-1]) + margin
    cut = drawn.crop((0, max(0, top), drawn.width, min(drawn.height, bottom)))
    kept = io.BytesIO()
    cut.save(kept, "PNG")
    return kept.getvalue()


def percent(share: float, digits: int = 0) -> str:
    """0.804 -> "80 %", with a space that does not break."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def percent_ticks(digits: int = 0) -> PercentFormatter:
    """For an axis of shares, 0 to 1."""
    return PercentFormatter(1, decimals=digits, symbol="\N{NO-BREAK SPACE}%")


def shortened(name: str, limit: int = 26) -> str:
    """`name`, cut in the middle to `limit` characters, since long names differ at both ends."""
    if len(name) <= limit:
        return name
    tail = (limit - 1) // 2
    return f"{name[: limit - 1 - tail].rstrip()}…{name[-tail:].lstrip()}"


def chart_name(name: str, limit: int = 26) -> str:
    """`name`, shortened, its dollar signs kept from being read as a formula."""
    return shortened(name, limit).replace("$", r"\$")
