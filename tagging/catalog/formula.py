"""The quotes that keep spreadsheets from running a cell as a formula, and their removal.

A cell that begins with = + - @ (or one of their full-width forms), a tab or a line end is executed
or swallowed by spreadsheet programs (OWASP, "CSV Injection"). So is the rest of a cell after a
semicolon, tab or line end where the program of another country cuts it there: in much of Europe
the semicolon parts the cells of a CSV. Exports therefore put a `'` in front of both.

The rule: a place is guarded when what stands there is **any number of quotes (`'` or `"`, which
such a program takes away) and then one of these characters**, a place being the beginning of the
cell and what follows each `;`, tab or line end. `guard` puts one `'` more in front of each such
place, `unguard` takes one away if there is one. Cells like `'80s dress` or `''quoted''` are never
touched, in either direction. So `unguard(guard(cell)) == cell` for every string: `guard` makes no
place and ends none, and each place of that form gets a quote that `unguard` takes away again; the
others neither changes. In a file that was not written by us, the one kind of cell that reads
differently is one that has such a place with a quote.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

_STARTS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_CUTS: Final = ";\t\r\n"
_FIRST: Final = rf"['\"]*[{_STARTS}\t\r\n]"
_LATER: Final = rf"['\"]*[{_STARTS}]"
_PLACE: Final = re.compile(rf"\A(?={_FIRST})|(?<=[{_CUTS}])(?={_LATER})")
_GUARD: Final = re.compile(rf"\A'(?={_FIRST})|(?<=[{_CUTS}])'(?={_LATER})")


def guard(cell: str) -> str:
    """`cell` as it can safely be written into a CSV that people open in a spreadsheet."""
    return _PLACE.sub("'", cell)


def unguard(cell: str) -> str:
    """The cell that `guard` was given."""
    return _GUARD.sub("", cell)


def write_csv(
    stream: TextIO, header: Sequence[str], rows: Iterable[Sequence[str | float | None]]
) -> int:
    """Write a CSV of which no text can start a formula; returns the number of rows.

    Every export goes through here. All texts stand in quotes: Python before 3.13 leaves a cell
    with a lone carriage return without, and what follows it would be a row of its own, to a
    spreadsheet and to whoever reads the file back.
    """
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    count = 0
    for row in rows:
        count += 1
        writer.writerow([_exported(value) for value in row])
    return count


def _exported(value: str | float | None) -> str | float:
    return guard(value) if isinstance(value, str) else "" if value is None else value
