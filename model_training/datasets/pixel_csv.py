"""Labelled grey images as CSV: `label`, then one column per pixel in row-major order.

**Which pixel a column is** is decided by its place: the first column is the label, the next ones
are the pixels of row 0 from left to right, then those of row 1, and so on. The header is checked
but not needed to find them, since two ways of naming the same columns are about:

* `pixel0` ... `pixel783`: the number is `row * 28 + column`. `pixel31` is row 1, column 3 (both
  counted from 0): "the fourth column from the left, and the second row from the top", as the text
  that accompanies the set says.
* `pixel1` ... `pixel784`, as in the file itself: the same columns in the same order, numbered from
  1, so that row 1, column 3 stands under the name `pixel32`.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from tagging.errors import TrainingDataError

_HEAD_BYTES: Final = 1 << 15
"""A first line of 785 quoted names has some 10,000 bytes."""

_PIXEL_NAME: Final = re.compile(r"pixel\d+")
_WHOLE_NUMBER: Final = re.compile(r"\d{1,3}")


def is_pixel_csv(path: Path, *, pixels: int = 784) -> bool:
    """Whether the first line of `path` is that of labelled pixels, and not a manifest's.

    That is a header of `label` and nothing but `pixel` names, however many, so that one with a
    column too few is told so by `read_pixel_csv` and not taken for a manifest; or, where the
    header is missing, as many small whole numbers as a label and `pixels` pixels make. Only the
    first 32 KiB are read.

    Raises:
        TrainingDataError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise TrainingDataError(
            f"{path} cannot be read ({error.strerror}); check its permissions."
        ) from error
    # Latin-1 takes any byte: what is no text at all has no such line either.
    first = head.removeprefix(codecs.BOM_UTF8).decode("latin-1").splitlines()[:1]
    try:
        cells = [cell.strip().lower() for cell in next(csv.reader(first), [])]
    except csv.Error:
        return False
    if not cells:
        return False
    label, *rest = cells
    if label == "label":
        return bool(rest) and all(map(_PIXEL_NAME.fullmatch, rest))
    return len(rest) == pixels and all(map(_WHOLE_NUMBER.fullmatch, cells))


def read_pixel_csv(
    path: Path, *, height: int, width: int, categories: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], str]:
    """Read images and labels.

    Args:
        path: a UTF-8 CSV with a header line.
        height: of every image, pixels.
        width: of every image, pixels.
        categories: how many there are; labels run from 0 to one less.

    Returns:
        uint8 (n, height, width, 1), int64 (n,), and the md5 (hex) of the file.

    Raises:
        TrainingDataError: no such file, another header, or a line with the wrong number of
            columns, a pixel outside 0 to 255 or a label without a category; it names the line.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise TrainingDataError(
            f"{path} does not exist. Give the path of a CSV with a label and {height * width} "
            "pixels per line."
        ) from error
    try:
        lines = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
        _check_header(path, next(lines, []), height * width)
        rows = [
            _parse_row(path, lines.line_num, row, height * width, categories)
            for row in lines
            if row
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingDataError(
            f"{path} is no UTF-8 CSV ({error}). Save it as plain CSV, comma separated."
        ) from error
    if not rows:
        raise TrainingDataError(f"{path} has a header but no images; add at least one line.")
    table = np.stack(rows)  # (n, 1 + height * width), int64
    images = table[:, 1:].astype(np.uint8).reshape(-1, height, width, 1)
    return images, table[:, 0], hashlib.md5(raw, usedforsecurity=False).hexdigest()


def _check_header(path: Path, header: list[str], pixels: int) -> None:
    names = [name.strip().lower() for name in header]
    for first in (0, 1):
        if names == ["label", *(f"pixel{i}" for i in range(first, first + pixels))]:
            return
    shown = ",".join(header[:3]) + (f",...,{header[-1]}" if len(header) > 3 else "")
    raise TrainingDataError(
        f"{path}, line 1: the header must be label,pixel1,...,pixel{pixels} (or pixel0 to "
        f"pixel{pixels - 1}), {pixels + 1} columns in this order; got {len(header)} columns: "
        f"{shown or '(nothing)'}. Add the header, or put the label first."
    )


def _parse_row(
    path: Path, line: int, row: list[str], pixels: int, categories: int
) -> npt.NDArray[np.int64]:
    if len(row) != pixels + 1:
        raise TrainingDataError(
            f"{path}, line {line}: expected {pixels + 1} columns (a label and {pixels} pixels), "
            f"got {len(row)}. Mend or remove the line."
        )
    try:
        values = np.array(row, dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise TrainingDataError(
            f"{path}, line {line}: not a whole number: {error}. Mend or remove the line."
        ) from error
    if not 0 <= values[0] < categories:
        raise TrainingDataError(
            f"{path}, line {line}: label {values[0]} is none of 0 to {categories - 1}. "
            "Mend or remove the line."
        )
    wrong = np.flatnonzero((values[1:] < 0) | (values[1:] > 255))
    if len(wrong):
        place = int(wrong[0])
        raise TrainingDataError(
            f"{path}, line {line}: the value {values[1 + place]} in column {place + 2} is outside "
            "0 to 255. Mend or remove the line."
        )
    return values
