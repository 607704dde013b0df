"""The charts of a report, one function each: numbers in, a figure out, its title says the finding.

Call them inside `style.house_style()`. Pictures of photos are in `sheets`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from model_training.report.style import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    ORANGE,
    SKY,
    chart_name,
    new_figure,
    percent,
    percent_ticks,
)

Json = Mapping[str, Any]
Floats = npt.NDArray[np.float64]

PART_COLOURS: Final = {"train": BLUE, "select": AMBER, "holdout": GREEN}
PART_NAMES: Final = {"train": "train", "select": "select", "holdout": "hold-out"}
MOST_NUMBERED: Final = 15
"""A confusion matrix of more categories has no room for numbers in its cells."""


def distribution(by_category: Mapping[str, Mapping[str, int]]) -> Figure:
    """Photos per category, stacked by part."""
    names = list(by_category)
    totals = [sum(counts.values()) for counts in by_category.values()]
    figure, axes = _rows(len(names))
    left = np.zeros(len(names))
    for part, colour in PART_COLOURS.items():
        widths = np.array([counts[part] for counts in by_category.values()])
        axes.barh(range(len(names)), widths, left=left, color=colour, label=PART_NAMES[part])
        left += widths
    low, high = min(totals), max(totals)
    if high == low:
        title = f"Every category has {low:,} photos"
    elif high <= 1.1 * low:
        title = f"All categories are about equally common:\n{low:,} to {high:,} photos"
    else:
        rare, common = (chart_name(names[totals.index(n)], 20) for n in (low, high))
        title = f"From {low:,} photos of {rare}\nto {high:,} of {common}"
    _title(figure, title)
    axes.set_xlabel("photos")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="x")
    _name_rows(axes, names)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def learning_curves(epochs: Sequence[Json]) -> Figure:
    """Loss while training and on select (natural log), and select accuracy, by epoch."""
    figure = new_figure(4.6)
    upper, lower = figure.subplots(2, sharex=True)
    at = [epoch["epoch"] for epoch in epochs]
    accuracy = [epoch["select_accuracy"] for epoch in epochs]
    upper.plot(at, [e["loss"] for e in epochs], color=BLUE, label="train (changed photos)")
    upper.plot(at, [e["select_nll"] for e in epochs], color=ORANGE, label="select (new photos)")
    upper.set_yscale("log")
    upper.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    upper.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    upper.yaxis.set_minor_locator(NullLocator())
    upper.set_ylabel("loss (log scale)")
    upper.set_title(f"{percent(accuracy[-1], 1)} right on new photos after {len(epochs)} epochs")
    upper.legend()
    lower.plot(at, accuracy, color=ORANGE)
    # The first epochs, of a network that knows nothing yet, would flatten all that follow.
    settled = accuracy[len(accuracy) // 4 :]
    lower.set_ylim(max(0.0, min(settled) - 0.02), min(1.0, max(accuracy) + 0.01))
    lower.yaxis.set_major_formatter(percent_ticks())
    lower.set_ylabel("right on select")
    lower.set_xlabel("epoch (one pass over the train part)")
    lower.set_xlim(left=at[0])
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        axes.grid(axis="y")
    return figure


def confusion(matrix: npt.NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Of each category's photos (a row), the share that got each answer."""
    k = len(names)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    figure = new_figure(5.0) if k <= MOST_NUMBERED else new_figure(9.0, width=9.0)
    axes = figure.subplots()
    axes.imshow(shares**0.5, cmap="Blues", vmin=0, vmax=1.15)
    size = 8.5 if k <= MOST_NUMBERED else max(4.0, min(8.0, 320 / k))
    if k <= MOST_NUMBERED:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            share = shares[i, j]
            text = f"{100 * share:.0f}" if share >= 0.01 else "<1"
            colour = "white" if share > 0.5 else INK
            axes.text(j, i, text, ha="center", va="center", size=size, color=colour)
    short = [chart_name(name, 22) for name in names]
    axes.set_xticks(range(k), short, rotation=90 if k > MOST_NUMBERED else 45, size=size)
    axes.set_yticks(range(k), short, size=size)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("center" if k > MOST_NUMBERED else "right")
        label.set_rotation_mode("default" if k > MOST_NUMBERED else "anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_anchor("N")
    axes.set_xlabel("the model's answer")
    axes.set_ylabel("what it is")
    off = shares * ~np.eye(k, dtype=bool)
    i, j = divmod(int(off.argmax()), k)
    title = "No photo was mixed up"
    if matrix[i, j] and i != j:
        title = (
            f"Commonest mix-up: {percent(off[i, j])} of {chart_name(names[i], 18)}\n"
            f"are taken for {chart_name(names[j], 18)}"
        )
    # At the figure's edge: the names beside the matrix would push an axes title to the right.
    _title(figure, title + (" (in %)" if k <= MOST_NUMBERED else ""))
    return figure


def precision_recall(categories: Mapping[str, Json]) -> Figure:
    """Both with their 95 % intervals, the weakest category at the bottom."""
    rows = sorted(categories, key=lambda name: categories[name]["recall"] or 0.0, reverse=True)
    figure, axes = _rows(len(rows), each=0.36)
    for key, colour, marker, shift in (
        ("precision", BLUE, "o", -0.14),
        ("recall", ORANGE, "s", 0.14),
    ):
        known = [(i, categories[n]) for i, n in enumerate(rows) if categories[n][key] is not None]
        values = np.array([row[key] for _, row in known])
        ends = np.array([row[f"{key}_interval"] for _, row in known]).reshape(-1, 2)
        axes.errorbar(
            values,
            [i + shift for i, _ in known],
            xerr=np.abs(ends.T - values),
            fmt=marker,
            color=colour,
            markersize=5,
            elinewidth=1.2,
            label=key,
        )
    weakest = categories[rows[-1]]["recall"] or 0.0
    if weakest < 1:
        _title(figure, f"Hardest to find: {chart_name(rows[-1], 24)} ({percent(weakest)})")
    else:
        _title(figure, "Every photo was found")
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_xlabel("share that is right, with its 95 % interval")
    axes.grid(axis="x")
    _name_rows(axes, rows)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def steps(image: npt.NDArray[np.uint8], rescaling: tuple[float, float] | None) -> Figure:
    """One photo (height, width, channels) as a row of bytes, as a picture, and as numbers."""
    figure = new_figure(3.3)
    _title(figure, "How a photo becomes numbers")
    spaces = figure.subplot_mosaic(
        [["bytes", "bytes"], ["picture", "values"]], height_ratios=[1, 5], width_ratios=[2, 3]
    )
    flat, (height, width, channels) = image.ravel(), image.shape
    row = spaces["bytes"]
    row.imshow(flat[np.newaxis], aspect="auto", cmap="gray", vmin=0, vmax=255)
    row.set_title(f"1. As stored: {len(flat):,} bytes in a row", size=9.5)
    row.set_yticks([])
    row.set_xticks([])
    picture = spaces["picture"]
    picture.imshow(image if channels == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)
    picture.set_title("2. Reshaped", size=9.5)
    picture.set_xlabel(f"{height} x {width} x {channels}")
    picture.set_xticks([])
    picture.set_yticks([])
    values = spaces["values"]
    values.hist(flat, bins=32, range=(0, 256), color=SKY)
    values.set_title("3. Its values, before rescaling", size=9.5)
    values.set_xlabel("as stored, 0 to 255")
    values.set_yticks([])
    values.spines["left"].set_visible(False)
    if rescaling is not None:
        scale, offset = rescaling
        low, high = offset, 255 * scale + offset
        values.set_xlabel(f"0 to 255 as stored;\nthe network sees {low:g} to {high:g}")
    return figure


def _rows(count: int, each: float = 0.28) -> tuple[Figure, Axes]:
    """A figure with room for `count` named rows."""
    figure = new_figure(max(2.2, 1.4 + each * count))
    return figure, figure.subplots()


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [chart_name(name) for name in names])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.margins(y=0.5 / max(1, len(names)))


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", weight="bold", size=11)
