"""What one row of a manifest says: a product, or what is wrong with the row and what to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tagging.catalog.delivery import (
    SHOWN_CHARS,
    DeliveredRow,
    DeliveryLimits,
    DeliveryRowError,
    ImageSource,
    RejectedRow,
    failure_of,
    shown,
)
from tagging.catalog.formula import unguard
from tagging.catalog.naming import is_utf8, nfc, sku_problem
from tagging.catalog.records import Record
from tagging.catalog.redaction import row_without_secrets
from tagging.domain import FailureCode
from tagging.errors import DeliveryError

REQUIRED: Final = ("sku", "image")
IMAGE_SEPARATOR: Final = "|"

FindImage = Callable[[str], ImageSource]
"""The image that a path in a manifest names. Raises DeliveryRowError or OSError."""


def is_blank(record: Record) -> bool:
    """Whether a CSV record says nothing. Spreadsheets write rows of bare delimiters."""
    return record.problem is None and not any(cell.strip() for cell in record.cells)


def required_columns_missing(header: Record) -> list[str]:
    names = {_column(unguard(cell.strip())) for cell in header.cells}
    return [name for name in REQUIRED if name not in names]


def column_names(header: Record, manifest: str) -> tuple[str, ...]:
    """The columns of a CSV in lower case. One without a name is called `column_N`, from 1.

    Raises:
        DeliveryError: A required column is missing, a name is there twice, or the header can't be
            read.
    """
    if header.problem is not None:
        raise DeliveryError(f"the header of '{manifest}' cannot be read: {header.problem}")
    missing = required_columns_missing(header)
    if missing:
        hint = ""
        if any("\0" in cell for cell in header.cells):
            hint = "; the file looks like UTF-16 without its byte order mark, so save it as UTF-8"
        raise DeliveryError(
            f"'{manifest}' has no column {' and no column '.join(missing)}. Its first line must "
            f"name the columns sku and image (and may name title and others), with a comma, "
            f"semicolon or tab between them; found: {_listed(header.cells)}{hint}"
        )
    names = tuple(
        _column(unguard(cell.strip())) or f"column_{at}" for at, cell in enumerate(header.cells, 1)
    )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DeliveryError(
            f"'{manifest}' has the column {_listed(twice)} more than once; rename or remove one "
            f"(several images of one product go into one cell, with {IMAGE_SEPARATOR} between them)"
        )
    unstorable = [name for name in names if _unstorable(name)]
    if unstorable:
        raise DeliveryError(
            f"'{manifest}' has a column name that is no valid text: {_listed(unstorable)}; save "
            "the file as UTF-8"
        )
    return names


class RowReader:
    """Understands rows and finds their images."""

    def __init__(self, find_image: FindImage, limits: DeliveryLimits) -> None:
        self._find_image = find_image
        self._limits = limits

    def from_csv(self, record: Record, columns: tuple[str, ...]) -> DeliveredRow | RejectedRow:
        """A row under the header `columns`. Cells are stripped of white space, then unguarded."""
        if record.problem is not None:
            return _reject(record, record.problem)
        if len(record.cells) != len(columns):
            return _reject(
                record,
                f"the row has {len(record.cells)} cells where the header has {len(columns)}; "
                "put quotes around a cell that holds the delimiter, and leave no cell out",
            )
        fields = {
            name: unguard(cell.strip()) for name, cell in zip(columns, record.cells, strict=True)
        }
        return self._product(record, fields, fields["image"].split(IMAGE_SEPARATOR))

    def from_json(self, record: Record) -> DeliveredRow | RejectedRow:
        """A line that holds one object. Values that are no strings are kept as JSON text."""
        if record.problem is not None:
            return _reject(record, record.problem)
        (line,) = record.cells
        if not is_utf8(line):
            return _reject(record, "the line is not valid UTF-8; save the file as UTF-8")
        try:
            found = json.loads(line, object_pairs_hook=_object, parse_constant=_no_constant)
            if not isinstance(found, dict):
                return _reject(record, 'the line is no JSON object; write {"sku": ..., ...}')
            fields, images = _json_fields(found)
        except (ValueError, RecursionError) as error:
            return _reject(
                record, f"the line is not usable JSON ({error}); write one object per line"
            )
        return self._product(record, fields, images)

    def _product(
        self, record: Record, fields: Mapping[str, str], images: Iterable[str]
    ) -> DeliveredRow | RejectedRow:
        sku = nfc(fields["sku"].strip())
        for name, value in fields.items():
            unstorable = _unstorable(name) or _unstorable(value)
            if unstorable:
                return _reject(record, f"'{shown(name)}' {unstorable}")
            if len(value) > self._limits.max_cell_chars:
                return _reject(
                    record,
                    f"'{shown(name)}' has {len(value)} characters; shorten it to "
                    f"{self._limits.max_cell_chars} or fewer",
                )
        problem = sku_problem(sku)
        if problem is not None:
            return _reject(record, problem, code=FailureCode.BAD_SKU)
        # Named twice, it counts once.
        paths = list(dict.fromkeys(path for path in map(str.strip, images) if path))
        if not paths:
            return _reject(record, "the image is empty; name at least one image file", sku=sku)
        if len(paths) > self._limits.max_images_per_row:
            return _reject(
                record,
                f"the row names {len(paths)} images; name {self._limits.max_images_per_row} or "
                "fewer",
                code=FailureCode.TOO_MANY_IMAGES,
                sku=sku,
            )
        found: list[ImageSource] = []
        for path in paths:
            try:
                found.append(self._find_image(path))
            except (DeliveryRowError, OSError) as error:
                return _reject(record, str(error), code=failure_of(error), value=path, sku=sku)
        return DeliveredRow(
            line=record.line,
            sku=sku,
            images=tuple(found),
            title=fields.get("title") or None,
            attributes={
                name: value
                for name, value in fields.items()
                if value and name not in ("sku", "image", "title")
            },
        )


def _json_fields(found: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The values of an object as text, by column name, and its image paths.

    Raises:
        ValueError: A required value is missing or has the wrong type, or a name is there twice.
    """
    values: dict[str, Any] = {}
    for key, value in found.items():
        name = _column(key)
        if name in values:
            raise ValueError(f"'{shown(name)}' is there twice")
        values[name] = value
    missing = [name for name in REQUIRED if values.get(name) is None]
    if missing:
        raise ValueError(f"it has no {' and no '.join(missing)}; found: {_listed(found)}")
    sku, image = values["sku"], values["image"]
    if not isinstance(sku, str) and type(sku) is not int:
        raise ValueError("its sku is neither a string nor a whole number; put it in quotes")
    images = image if isinstance(image, list) else None
    if isinstance(image, str):
        images = image.split(IMAGE_SEPARATOR)
    if images is None or not all(isinstance(path, str) for path in images):
        raise ValueError("its image is neither a path nor a list of paths")
    fields = {name: _as_text(value) for name, value in values.items() if value is not None}
    return fields, images


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice in one object")
    return found


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


def _column(name: str) -> str:
    return nfc(name.strip().strip("\ufeff").strip()).lower()


def _unstorable(text: str) -> str | None:
    """Why no database and no file name can hold `text`, or None."""
    if "\0" in text:
        return "has a NUL character in it; remove it (is the file UTF-16? save it as UTF-8)"
    if not is_utf8(text):
        return "holds bytes that are no valid text; save the file as UTF-8"
    return None


def _listed(names: Iterable[str]) -> str:
    listed = [f"'{shown(name)}'" for name in names]
    return ", ".join(listed[:20]) + (", ..." if len(listed) > 20 else "")


def _reject(
    record: Record,
    why: str,
    *,
    code: FailureCode = FailureCode.BAD_ROW,
    value: str | None = None,
    sku: str | None = None,
) -> RejectedRow:
    return RejectedRow(
        line=record.line,
        code=code,
        value=_start(record) if value is None else value,
        error=f"line {record.line}: {why}",
        sku=sku,
    )


def _start(record: Record) -> str:
    return row_without_secrets(record.start, cut=len(record.start) > SHOWN_CHARS)
