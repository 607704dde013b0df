"""Reviews as a CSV: the queue is written, filled in by people, and read back.

A file that comes back needs the column `sku` and one of `verdict` and `category`. `image_set` and
`prediction` say what was looked at, as the queue was written; without them a line is taken to be
about what the product shows now.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TextIO

from tagging.answers import Answer, person
from tagging.autopilot import Next
from tagging.catalog.delivery import DeliveryLimits, shown
from tagging.catalog.encoding import scan, text_of
from tagging.catalog.formula import unguard, write_csv
from tagging.catalog.manifest import DELIMITERS
from tagging.catalog.manifest_row import is_blank
from tagging.catalog.records import Record, csv_records
from tagging.database import reviews
from tagging.database.reviews import QueueLine
from tagging.database.session import Database
from tagging.domain import Verdict
from tagging.errors import AtelierError, DeliveryError, ReviewError
from tagging.review import record_review

COLUMNS: Final = (
    "sku",
    "title",
    "suggestion",
    "confidence",
    "reason",
    "failure",
    "audit",
    "image",
    "image_set",
    "prediction",
    "verdict",
    "category",
)


_MOST: Final = (1 << 63) - 1
"""The greatest number of a row that a database holds."""

_UNREADABLE: Final = re.compile("[\0\udc80-\udcff]")


@dataclass(frozen=True, kw_only=True)
class LineError:
    """A line that was not recorded: the physical line, its sku, why, and what to do."""

    line: int
    sku: str
    error: str


@dataclass(kw_only=True)
class Imported:
    """What became of a file: every line that is not blank is in one of these.

    `unanswered`: neither verdict nor category. `moves`: of the autopilot, in their order.
    """

    recorded: int = 0
    repeated: int = 0
    unanswered: int = 0
    errors: list[LineError] = field(default_factory=list)
    moves: list[Next] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def write_queue(lines: Iterable[QueueLine], stream: TextIO, path_of: Callable[[str], Path]) -> int:
    """A header and a row per product, `verdict` and `category` left open; returns how many rows.

    Text cells cannot start a spreadsheet formula. `path_of`: where an image lies, by its sha256;
    several images of a product are put apart by `|`.
    """
    return write_csv(stream, COLUMNS, (_cells(line, path_of) for line in lines))


def _cells(line: QueueLine, path_of: Callable[[str], Path]) -> list[str | int | None]:
    return [
        line.sku,
        line.title,
        line.suggestion,
        None if line.confidence is None else f"{line.confidence:.4f}",
        line.reason,
        line.failure,
        "yes" if line.audit else None,
        "|".join(str(path_of(sha256)) for sha256 in line.images),
        line.image_set,
        line.prediction_id,
        None,
        None,
    ]


def import_reviews(
    database: Database,
    path: Path,
    *,
    retailer_id: int,
    reviewer: str,
    now: Callable[[], dt.datetime],
) -> Imported:
    """Record every line of a CSV in a transaction of its own; a bad one stops none of the others.

    Raises:
        DeliveryError: the file can't be read or lacks a column.
        ReviewError: `reviewer` is no name.
    """
    person(reviewer)
    done = Imported()
    for record, cells in _rows(path, done.warnings):
        sku = cells.get("sku", "")
        try:
            if record.problem is not None:
                raise ReviewError(record.problem)
            answer = _answer(database, cells, retailer_id=retailer_id, reviewer=reviewer)
            if answer is None:
                done.unanswered += 1
                continue
            recorded = record_review(database, answer, now=now())
        except AtelierError as error:
            done.errors.append(LineError(line=record.line, sku=shown(sku), error=str(error)))
            continue
        if recorded.repeated:
            done.repeated += 1
        else:
            done.recorded += 1
        if recorded.autopilot is not None:
            done.moves.append(recorded.autopilot)
    return done


def _answer(
    database: Database, cells: dict[str, str], *, retailer_id: int, reviewer: str
) -> Answer | None:
    """What a line says; None if it is unanswered. Raises ReviewError."""
    sku, said, category = cells["sku"], cells.get("verdict", ""), cells.get("category", "")
    if not said and not category:
        return None
    with database.read() as session:
        seen = reviews.seen_now(session, retailer_id, sku)
    if seen is None:
        raise ReviewError(
            f"this retailer has no product {shown(sku)!r}; `atelier products list` shows them"
        )
    if said:
        verdict = _verdict(said)
    else:
        verdict = Verdict.CONFIRMED if category == seen.suggestion else Verdict.CORRECTED
    if verdict is Verdict.CONFIRMED and category:
        # The category stands there to be read by people; it must be the one they confirm.
        if category != seen.suggestion:
            raise ReviewError(
                f"confirmed, but {shown(category)!r} is not what is suggested now "
                f"({seen.suggestion!r}); say corrected, or leave the category out"
            )
        category = ""
    if cells.get("image_set") == "":
        raise ReviewError(
            "the cell image_set is empty, so it is not known which photos were looked at; leave "
            "that column as it was written"
        )
    prediction_id = seen.prediction_id
    if "prediction" in cells and "image_set" in cells:
        prediction_id = _number(cells["prediction"])
    return Answer(
        retailer_id=retailer_id,
        sku=sku,
        image_set=cells.get("image_set", seen.image_set),
        prediction_id=prediction_id,
        verdict=verdict,
        category=category or None,
        reviewer=reviewer,
    )


def _verdict(text: str) -> Verdict:
    try:
        return Verdict(text.lower())
    except ValueError as error:
        known = ", ".join(Verdict)
        raise ReviewError(f"{shown(text)!r} is no verdict; write one of {known}") from error


def _number(text: str) -> int | None:
    if not text:
        return None
    # The length first: Python reads no number of 4,301 digits, and says so in an error of its own.
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(_MOST))
    if not (digits and int(text) <= _MOST):
        raise ReviewError(
            f"{shown(text)!r} is no number of a prediction; leave that column as it was written"
        )
    return int(text)


def _rows(path: Path, warnings: list[str]) -> Iterator[tuple[Record, dict[str, str]]]:
    """The records after the header with their cells by column. Raises DeliveryError."""
    try:
        with path.open("rb") as stream:
            found = scan(stream, path.name)
        if found.warning is not None:
            warnings.append(found.warning)
        headers = {one: _header(path, found.encoding, one) for one in DELIMITERS}
        delimiter = max(headers, key=lambda one: ("sku" in headers[one], len(headers[one])))
        columns = headers[delimiter]
        _require_columns(columns, path.name)
        if "image_set" not in columns or "prediction" not in columns:
            warnings.append(
                f"'{path.name}' has no columns image_set and prediction, so its lines are taken to "
                "be about the photos that the products have now"
            )
        with text_of(path.open("rb"), found.encoding) as text:
            records = csv_records(text, delimiter, DeliveryLimits())
            next(records)
            for record in records:
                if not is_blank(record):
                    # A short row has empty cells at its end.
                    cells = [unguard(cell.strip()) for cell in record.cells]
                    cells += [""] * (len(columns) - len(cells))
                    problem = record.problem or _problem(cells, columns)
                    yield (
                        replace(record, problem=problem),
                        dict(zip(columns, cells, strict=False)),
                    )
    except OSError as error:
        raise DeliveryError(f"'{path}' cannot be read: {error.strerror}") from error


def _problem(cells: list[str], columns: list[str]) -> str | None:
    """Why a row cannot be understood, and what to do; None if it can."""
    if any(cells[len(columns) :]):
        return (
            f"the row has {len(cells)} cells, the header {len(columns)}; put a cell that holds the "
            "delimiter into double quotes"
        )
    if any(_UNREADABLE.search(cell) for cell in cells):
        return "the row holds bytes that are no text; save the file as UTF-8"
    return None


def _header(path: Path, encoding: str, delimiter: str) -> list[str]:
    with text_of(path.open("rb"), encoding) as text:
        first = next(csv_records(text, delimiter, DeliveryLimits()), None)
    return [] if first is None else [unguard(cell.strip()).lower() for cell in first.cells]


def _require_columns(columns: list[str], name: str) -> None:
    twice = sorted({one for one in columns if one and columns.count(one) > 1})
    if twice:
        raise DeliveryError(
            f"'{name}' has the column {twice[0]!r} twice; remove or rename one of them"
        )
    if "sku" in columns and ("verdict" in columns or "category" in columns):
        return
    raise DeliveryError(
        f"'{name}' needs the column sku and one of verdict and category in its first line, got "
        f"{', '.join(columns) or 'nothing'}; `atelier review list --csv` writes such a file"
    )
