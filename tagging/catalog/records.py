"""Physical lines and CSV records, read with bounded memory whatever the file holds.

Python's `csv` cannot do this: a quote that is never closed makes it hold the rest of the file, its
limit on a cell is one number for the whole process, and past that limit it goes on reading in the
middle of the cell, so that what was text becomes rows. Here a cell or row that is too long is
dropped while it is scanned, and the next record begins where it really begins.

The dialect is RFC 4180 with any line end: a cell that begins with `"` ends at the next single `"`,
`""` inside it is a quote, and a quote anywhere else is a letter.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TextIO

from tagging.catalog.delivery import SHOWN_CHARS, DeliveryLimits
from tagging.domain import FailureCode
from tagging.errors import DeliveryError

PIECE_CHARS: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One row of a manifest before it is understood.

    `line`: the physical line on which it begins. `start`: its first characters, for a report.
    `problem`: why it cannot be read and what to do; its cells then mean nothing.
    """

    line: int
    start: str
    cells: list[str]
    problem: str | None = None


def pieces(text: TextIO) -> Iterator[tuple[str, str]]:
    """Lines as (content, line end), a line end being LF, CR or CRLF.

    A line longer than `PIECE_CHARS` comes in pieces, of which all but the last have the line end
    ''; so has a last line that has none. `text` must have been opened with `newline=""`.
    """
    while piece := text.readline(PIECE_CHARS):
        if piece.endswith("\r\n"):
            yield piece[:-2], "\r\n"
        elif piece.endswith("\n"):
            yield piece[:-1], "\n"
        elif piece.endswith("\r"):
            # Cut between CR and LF by the length limit: the LF comes as a line of its own.
            rest = text.readline(1) if len(piece) == PIECE_CHARS else ""
            if rest in ("", "\n"):
                yield piece[:-1], f"\r{rest}"
            else:
                yield piece[:-1], "\r"
                yield (rest[:-1], "\r") if rest == "\r" else (rest, "")
        else:
            yield piece, ""


def json_lines(text: TextIO, limits: DeliveryLimits) -> Iterator[Record]:
    """Every physical line that is not blank, as a record of one cell."""
    line, start, parts, chars = 1, "", [""], 0
    for content, end in pieces(text):
        if line > limits.max_lines:
            raise too_many_lines(limits)
        if not chars:
            start = content[: SHOWN_CHARS + 1]
        chars += len(content)
        if chars <= limits.max_row_chars:
            parts.append(content)
        if end:
            yield from _json_line(line, start, parts, chars, limits)
            line, parts, chars = line + 1, [], 0
    yield from _json_line(line, start, parts, chars, limits)


def too_many_lines(limits: DeliveryLimits) -> DeliveryError:
    """The error of a manifest that the ledger cannot count."""
    return DeliveryError(
        f"the manifest has more than {limits.max_lines} lines; leave blank lines out, or deliver "
        "it in parts",
        code=FailureCode.TOO_LARGE,
    )


def _json_line(
    line: int, start: str, parts: list[str], chars: int, limits: DeliveryLimits
) -> Iterator[Record]:
    if chars > limits.max_row_chars:
        problem = (
            f"the line has {chars} characters, more than the {limits.max_row_chars} allowed; "
            "write one product per line"
        )
        yield Record(line=line, start=start, cells=[], problem=problem)
    elif content := "".join(parts).strip():
        yield Record(line=line, start=start, cells=[content])


def csv_records(text: TextIO, delimiter: str, limits: DeliveryLimits) -> Iterator[Record]:
    """The records of a CSV, blank ones included as a record of one empty cell."""
    builder = _Builder(1, delimiter, limits)
    line = 1
    for content, end in pieces(text):
        if line > limits.max_lines:
            raise too_many_lines(limits)
        done = builder.feed(content, end, line)
        line += bool(end)
        if done:
            yield builder.record()
            builder = _Builder(line, delimiter, limits)
    if builder.started:
        builder.finish(line)
        yield builder.record()


class _At(enum.Enum):
    """Where in a record the scan stands."""

    CELL_START = enum.auto()
    PLAIN = enum.auto()
    QUOTED = enum.auto()
    QUOTE_SEEN = enum.auto()
    """After a quote in a quoted cell: it ends the cell unless another quote follows."""
    CLOSED = enum.auto()
    """After the end of a quoted cell, before the delimiter."""


class _Builder:
    """One record under construction."""

    def __init__(self, line: int, delimiter: str, limits: DeliveryLimits) -> None:
        self.started = False
        self._line = line
        self._delimiter = delimiter
        self._limits = limits
        self._at = _At.CELL_START
        self._start = ""
        self._cells: list[str] = []
        self._parts: list[str] = []
        self._cell_chars = 0
        self._row_chars = 0
        self._quote_line = line
        self._problem: str | None = None

    def record(self) -> Record:
        return Record(line=self._line, start=self._start, cells=self._cells, problem=self._problem)

    def feed(self, content: str, end: str, line: int) -> bool:
        """Take in a piece that stands on `line`; True when the record ends with it."""
        if not self.started:
            self.started = True
            self._start = content[: SHOWN_CHARS + 1]
            if end and '"' not in content and len(content) <= self._limits.max_cell_chars:
                self._cells = content.split(self._delimiter)
                self._check_columns(len(self._cells))
                return True
        at = 0
        while True:
            if self._at is _At.CELL_START:
                if at == len(content) and not end:
                    return False
                quoted = content.startswith('"', at)
                self._at, self._quote_line = (_At.QUOTED if quoted else _At.PLAIN), line
                at += quoted
            elif self._at is _At.QUOTED:
                quote = content.find('"', at)
                if quote < 0:
                    self._add(content[at:] + end)
                    return False
                self._add(content[at:quote])
                self._at, at = _At.QUOTE_SEEN, quote + 1
            elif self._at is _At.QUOTE_SEEN:
                if at == len(content) and not end:
                    return False
                doubled = content.startswith('"', at)
                if doubled:
                    self._add('"')
                self._at = _At.QUOTED if doubled else _At.CLOSED
                at += doubled
            else:
                stop = content.find(self._delimiter, at)
                self._add_unquoted(content[at : stop if stop >= 0 else len(content)], line)
                if stop >= 0 or end:
                    self._end_cell()
                if stop < 0:
                    return bool(end)
                at = stop + 1

    def finish(self, line: int) -> None:
        """The file is over on `line`."""
        if self._at is _At.QUOTED:
            self._problem = (
                f"a quote opened on line {self._quote_line} is never closed, so lines "
                f"{self._line} to {line} could not be read; close it and deliver them again"
            )
        else:
            self._end_cell()

    def _add(self, text: str) -> None:
        self._cell_chars += len(text)
        self._row_chars += len(text)
        if self._problem is None:
            self._parts.append(text)
            if self._cell_chars > self._limits.max_cell_chars:
                self._drop(
                    f"a cell that begins on line {self._quote_line} has more than "
                    f"{self._limits.max_cell_chars} characters; shorten it, or close its quote"
                )
            elif self._row_chars > self._limits.max_row_chars:
                self._drop(f"the row has more than {self._limits.max_row_chars} characters")

    def _add_unquoted(self, text: str, line: int) -> None:
        if self._at is _At.PLAIN:
            self._add(text)
        elif text.strip():
            self._drop(
                f"on line {line} there is text after a closing quote; write a quote inside a "
                'quoted cell twice (""), or close the one opened on line '
                f"{self._quote_line}"
            )

    def _end_cell(self) -> None:
        if self._problem is None:
            self._cells.append("".join(self._parts))
            self._check_columns(len(self._cells))
        self._parts.clear()
        self._cell_chars = 0
        self._at = _At.CELL_START

    def _check_columns(self, count: int) -> None:
        if count > self._limits.max_columns:
            self._drop(
                f"the row has more than {self._limits.max_columns} cells; check the delimiter"
            )

    def _drop(self, problem: str) -> None:
        """Keep no more of this record; go on scanning to find where it ends."""
        self._problem = self._problem or problem
        self._parts.clear()
        self._cells = []
